"""What users read first: every --help fits 80 columns and states true defaults; errors and the README name what exists.

The parsers are caught in this process, at the moment when a command is about to parse its arguments.
"""

import ast
import contextlib
import importlib
import io
import json
import random
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from unittest import mock

import pytest

import gpt.__main__
import gpt.commands.train
import nanograd.__main__
from gpt.commands.arguments import FOREIGN
from gpt.config import ModelConfig, SampleConfig, TrainConfig
from nanograd.runtime.arguments import Parser, format_value

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PROGRAMS: dict[str, Callable[[list[str]], int]] = {"gpt": gpt.__main__.main, "nanograd": nanograd.__main__.main}


class Caught(BaseException):
    """Carry a parser out of a command."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser


class Command(NamedTuple):
    """A parser, and the function of a command that made it."""

    parser: Parser
    module: str
    function: str


def catch(words: str) -> Command:
    """Return the parser of a command such as "gpt data prepare"."""
    program, *rest = words.split()

    def parse(self: Parser, arguments: object = None) -> None:
        raise Caught(self)

    with mock.patch.object(Parser, "parse", parse):
        try:
            PROGRAMS[program](rest)
        except Caught as caught:
            frames = list(frames_of(caught.__traceback__))
            after_dispatch = max(i for i, (_, name) in enumerate(frames) if name == "dispatch")
            calls = [frame for frame in frames[after_dispatch + 1 :] if frame[1] != "run_command"]
            if hasattr(sys.modules[calls[0][0]], "TOPICS"):  # its main only chooses the function
                del calls[0]
            return Command(caught.parser, *calls[0])
    raise AssertionError(f"{words} parsed nothing")


def frames_of(traceback: TracebackType | None) -> Iterator[tuple[str, str]]:
    """Yield module and function of each call, from the outside in."""
    while traceback is not None:
        code = traceback.tb_frame
        yield code.f_globals["__name__"], code.f_code.co_name
        traceback = traceback.tb_next


def actions_of(command: str) -> list[str]:
    """Return the actions of a command of gpt, such as prepare and info of data; none if it has none.

    `study` has topics, and is a command without them too.
    """
    module = importlib.import_module(f"gpt.commands.{gpt.__main__.MODULES.get(command, command)}")
    if hasattr(module, "TOPICS"):
        return ["", *module.TOPICS]
    if not hasattr(module, "dispatch"):
        return []
    with mock.patch.object(module, "dispatch", return_value=0) as dispatch:
        module.main([])
    return list(dispatch.call_args.args[2])


def all_commands() -> list[str]:
    """Return all commands that parse arguments, with their program."""
    names = [f"gpt {name} {action}".rstrip() for name in gpt.__main__.COMMANDS for action in actions_of(name) or [""]]
    return names + [f"nanograd {name}" for name in nanograd.__main__.COMMANDS]


COMMANDS = all_commands()


@cache
def command(words: str) -> Command:
    return catch(words)


def overview(words: str) -> str:
    """Return the help of a program, or of a command with actions."""
    program, *rest = words.split()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert PROGRAMS[program](rest) == 0
    return out.getvalue()


# 80 columns


@pytest.mark.parametrize("columns", ["80", "200"])
def test_every_help_fits_80_columns(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    helps = {words: catch(words).parser.format_help() for words in COMMANDS}
    helps |= {words: overview(words) for words in ("gpt", "nanograd", "gpt data", "gpt finetune", "gpt tokenizer")}
    for words, text in helps.items():
        assert f"usage: python -m {words} " in text
        assert not [line for line in text.splitlines() if len(line) > 80], words
    assert len(helps) >= 33


def test_flags_of_train_are_in_groups() -> None:
    parser = command("gpt train").parser
    sizes = {group.title: len(group._group_actions) for group in parser._action_groups if group._group_actions}
    assert list(sizes) == [
        "options",
        "Data",
        "How a model is pretrained",
        "Batches and memory",
        "Evaluation and checkpoints",
        "The shape of a GPT",
        "Attention and positions",
    ]
    assert max(sizes.values()) <= 20
    assert all(len(str(title)) < 60 for title in sizes)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_version(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAMS[program](["--version"]) == 0
    version = importlib.import_module(program).__version__
    assert capsys.readouterr().out == f"{program} {version}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_explains_itself_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("gpt.training.fit", None)
    modules = set(sys.modules)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    for name in set(sys.modules) - modules:
        if name.startswith("bench_"):
            del sys.modules[name]
    text = capsys.readouterr().out
    assert stopped.value.code in (0, None)
    assert text.startswith(f"usage: {path.name} ")
    assert not [line for line in text.splitlines() if len(line) > 80]
    if path.name not in ("bench_worker.py", "torch_gpt.py"):  # which are not run by hand
        assert re.search(r"second|minute|hour", text), "it says how long it takes"


# Defaults


SYLLABLES = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in ("n", "r", "s", "lo", "mi")]


def sentences(n: int) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choice(SYLLABLES) + draw.choice(SYLLABLES) for _ in range(12)) + "." for _ in range(n)]


class Stop(Exception):
    """End a command that has said what it would use."""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what commands use without flags, by command and name of the flag, where the namespace does not tell.

    The commands run up to the point at which they would begin to work.
    """
    folder = tmp_path_factory.mktemp("used")
    text, table, answers, pairs = (folder / name for name in ("text.txt", "data.tsv", "answers.json", "pairs.json"))
    lines = sentences(400)
    text.write_text("\n".join(lines), encoding="utf-8")
    rows = [f"{'ab'[i % 2]}\t{line}" for i, line in enumerate(lines)]
    table.write_text("\n".join(rows), encoding="utf-8")
    shared = [{"instruction": line[:20], "output": line[20:30]} for line in lines[:60]]
    answers.write_text(json.dumps(shared), encoding="utf-8")
    pairs.write_text(
        json.dumps([{"prompt": e["instruction"], "chosen": e["output"], "rejected": "no"} for e in shared]),
        encoding="utf-8",
    )
    result: dict[str, dict[str, Any]] = {}

    def run(words: str, *more: object, **patches: Any) -> None:
        """Run a command, with functions of its module replaced."""
        name = words.split()[0]
        module = importlib.import_module(f"gpt.commands.{gpt.__main__.MODULES.get(name, name)}")
        with contextlib.ExitStack() as stack, contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Stop):
            for attribute, value in patches.items():
                owner, _, last = attribute.rpartition("__")
                stack.enter_context(mock.patch.object(getattr(module, owner) if owner else module, last, value))
            assert gpt.__main__.main([*words.split(), *map(str, more)]) in (0, 130)

    def record(words: str) -> Callable[..., Any]:
        """Return a function that records the configs of a run instead of running it."""

        def run_training(run: Any, *_: Any) -> bool:
            shape = getattr(run.model, "gpt", run.model).config
            result[words] = {**shape.to_dict(), **run.config.to_dict()}
            return False

        return run_training

    run("train", "--data", text, "--out", folder / "run", run_training=record("gpt train"))
    tiny = "--d-model 8 --n-layers 1 --n-heads 1 --vocab-size 400 --context-length 512 --max-steps 1 --batch-size 1"
    run(f"train {tiny}", "--data", text, "--out", folder / "base", write_sample=lambda run: None)
    base = folder / "base"
    for task, data in (("classify", table), ("instruct", answers), ("prefer", pairs)):
        words = f"finetune {task}"
        start = "random" if task == "classify" else base
        out = folder / task
        run(words, "--data", data, "--init", start, "--out", out, run_training=record(f"gpt {words}"))

    def show(writer: Any, prompt: str, config: SampleConfig) -> None:
        result["gpt sample"] = {**vars(writer), **config.to_dict()}

    def interact(config: SampleConfig, *_: Any, **options: Any) -> None:
        result["gpt chat"] = config.to_dict()

    run("sample", base, Writer__show=show)
    run("chat --template alpaca", base, interact=interact)
    prepared = result["gpt data prepare"] = {}

    def train_tokenizer(files: Any, vocab_size: int, val_fraction: float) -> mock.Mock:
        prepared.update(vocab_size=vocab_size, text_key=files.text_key)
        return mock.Mock(vocab_size=vocab_size)

    def prepare(files: Any, out: Path, tokenizer: Any, **options: Any) -> None:
        prepared.update(options)
        raise Stop

    with contextlib.suppress(Stop):
        run(
            "data prepare --tokenizer bpe",
            text,
            "-o",
            folder / "data",
            train_tokenizer=train_tokenizer,
            prepare=prepare,
        )

    def train_files(paths: Any, vocab_size: int, **options: Any) -> None:
        result["gpt tokenizer train"] = {
            "vocab_size": vocab_size,
            **options,
            "special_token": options["special_tokens"],
        }
        raise Stop

    run("tokenizer train", text, "-o", folder / "tokenizer.json", BPETokenizer__train_files=train_files)

    def page(name: str, shape: Any, seed: int, **options: Any) -> None:
        result["nanograd study"] = {"shape": shape, "seed": seed}
        raise Stop

    with mock.patch("nanograd.study.page.study_page", page), contextlib.suppress(Stop):
        nanograd.__main__.main(["study", "softmax"])
    result["gpt train"]["profile"] = gpt.commands.train.STEPS  # where --profile has no number
    return result


def false_defaults(parser: Parser, used: dict[str, Any]) -> list[str]:
    """Return what is wrong with the defaults that a help states, next to what a run without flags uses."""
    wrong = []
    for action in parser._actions:
        text = str(action.help)
        if action.required or action.dest == "help" or "SUPPRESS" in text:
            continue
        namespace = None if action.default in ("==SUPPRESS==", False) else action.default
        value = used.get(action.dest, namespace)
        stated = re.search(r"\(default ([^)]*)\)", text)
        if stated is None:
            silent = value in (None, "", [], False) or re.search(r"if none|default:", text)
            if not silent and action.dest not in ("data", "init"):  # which this test gives
                wrong.append(f"{action.dest}: nothing is stated, and {value!r} is used")
            continue
        forms = [",".join(map(str, value)) if isinstance(value, tuple) else format_value(value)]
        if isinstance(value, int):
            forms.append(f"{value:,}")
        if stated[1] not in forms:
            wrong.append(f"{action.dest}: {stated[1]} is stated, and {value!r} is used")
    return wrong


@pytest.mark.parametrize("words", COMMANDS)
def test_the_defaults_in_a_help_are_those_of_a_run(words: str, used: dict[str, dict[str, Any]]) -> None:
    assert false_defaults(command(words).parser, used.get(words, {})) == []


def test_defaults_in_words_are_true(used: dict[str, dict[str, Any]]) -> None:
    """A default that depends on the data is a sentence; its numbers are checked here."""
    help_of = {words: " ".join(command(words).parser.format_help().split()) for words in COMMANDS}
    assert "(default: 1024 for a new bpe tokenizer, else the tokenizer's)" in help_of["gpt train"]
    assert used["gpt train"]["vocab_size"] == 1024
    classify, flags = help_of["gpt finetune classify"], used["gpt finetune classify"]
    assert "(default: 512 for a new bpe tokenizer, else the tokenizer's)" in classify
    assert flags["vocab_size"] == 512
    assert "(default: enough for 99 of 100 texts, at most 256)" in classify
    assert flags["context_length"] in range(16, 257, 16)
    assert "updates of the parameters (default: those of --epochs)" in classify
    assert flags["max_steps"] == 8 * 280 / 32  # epochs, texts to train on, texts in a batch


def test_every_flag_of_a_run_is_compared(used: dict[str, dict[str, Any]]) -> None:
    for words, configs in {"gpt train": (TrainConfig, ModelConfig), "gpt sample": (SampleConfig,)}.items():
        assert all(config.__dataclass_fields__.keys() <= used[words].keys() for config in configs)


def test_a_false_default_is_found(used: dict[str, dict[str, Any]]) -> None:
    parser = catch("gpt train").parser
    (lr,) = (action for action in parser._actions if action.dest == "lr")
    lr.help = "highest learning rate (default 0.003)"
    assert false_defaults(parser, used["gpt train"]) == ["lr: 0.003 is stated, and 0.0078125 is used"]
    lr.help = "highest learning rate"
    assert false_defaults(parser, used["gpt train"]) == ["lr: nothing is stated, and 0.0078125 is used"]


def test_choices_are_shown() -> None:
    texts = {words: command(words).parser.format_help() for words in ("gpt train", "gpt finetune instruct")}
    for choices in ("norm {layernorm,rmsnorm}", "position {learned,rope}", "mlp {plain,gated}"):
        assert f"--{choices}" in texts["gpt train"]
    assert "--activation {gelu_tanh,gelu,relu,silu}" in texts["gpt train"]
    assert "--sampling {random,epochs}" in texts["gpt train"]
    assert "--freeze {none,all_but_last_block,all_but_head}" in texts["gpt finetune instruct"]


# One name for one thing

ONE_FORM = {  # in every command that has them: all forms of the flag, and what its value is
    "--init": ("--init", "RUN"),
    "--base": ("--base", "FILE"),
    "--resume": ("--resume", "RUN"),
    "--samples": ("-n --samples", "N"),
    "--max-new-tokens": ("--max-new-tokens", "N"),
    "--seed": ("--seed", "N"),
    "--out": ("-o --out", "FILE DIR RUN"),
    "--data": ("--data", "FILE"),
}
OLD = {"--file", "--tie-head", "--no-tie-head"}  # which work, but are not shown


def test_what_means_one_thing_has_one_name_in_all_commands() -> None:
    seen = set()
    for words in [words for words in COMMANDS if words.startswith("gpt")]:
        for action in command(words).parser._actions:
            forms, last = " ".join(action.option_strings), (action.option_strings or [""])[-1]
            if action.help == "==SUPPRESS==":
                assert last in OLD, words
                continue
            assert last not in OLD, words
            assert (last == "--base") == ("where the base of LoRA adapters is" in str(action.help)), words
            assert last != "--ckpt", words
            if last in ONE_FORM:
                form, values = ONE_FORM[last]
                assert (forms, action.metavar in values.split()) == (form, True), words
                seen.add(last)
    assert seen == ONE_FORM.keys()


# Names of others


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("train --n-embd 384", "did you mean --d-model?"),
        ("train --n_embd=384", "did you mean --d-model?"),
        ("train --hidden-size 384", "did you mean --d-model?"),
        ("train --n-head 6", "did you mean --n-heads?"),
        ("train --n-layer 6", "did you mean --n-layers?"),
        ("train --block-size 256", "did you mean --context-length?"),
        ("train --learning-rate 1e-3", "did you mean --lr?"),
        ("train --max-iters 9", "did you mean --max-steps?"),
        ("train --num-epochs 9", "did you mean --max-steps?"),
        ("train --epochs 9", "did you mean --max-steps?"),
        ("finetune classify --num-epochs 9", "did you mean --epochs?"),
        ("train --ckpt runs/a", "did you mean --init?"),
        ("finetune classify --ckpt runs/a", "did you mean --init?"),
        ("sample --ckpt runs/a", "give RUN without a flag"),
        ("sample runs/a --temp 1", "did you mean --temperature?"),
        ("sample runs/a --start Once", "did you mean --prompt?"),
        ("score runs/a --prompt Once", "give TEXT without a flag"),
        ("clean --input a.txt -o b.txt", "give IN without a flag"),
        ("train --input a.txt", "did you mean --data?"),
        ("train a.txt", "did you mean --data 'a.txt'?"),
        ("train --model-size small", "did you mean --size?"),
        ("train --bs 4", "did you mean --batch-size?"),
        ("train --lr-decay 4", "did you mean --min-lr?"),
        ("train --decay-lr 4", "did you mean --min-lr?"),
        ("train --dry-run", "did you mean --estimate?"),
        ("train --config-file a.json", "did you mean --config?"),
        ("train --mixed-precision x", "unknown flag --mixed-precision; see"),  # no hint is better than a wrong one
    ],
)
def test_a_name_of_another_program_leads_to_ours(words: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpt.__main__.main(words.split())
    assert hint in capsys.readouterr().err


def test_foreign_names_lead_to_flags_that_exist() -> None:
    parsers = [command(words).parser for words in COMMANDS]
    flags = {flag.removeprefix("--") for parser in parsers for flag in parser._option_string_actions}
    arguments = {str(action.metavar) for parser in parsers for action in parser._get_positional_actions()}
    assert {ours for names in FOREIGN for ours in names.split()} <= flags | arguments
    names = [name for names in FOREIGN.values() for name in names.split()]
    assert len(names) == len(set(names))


# Hints in errors

FLAG = re.compile(r"(?<![\w-])--([a-z][\w-]*\w)(?![\w-]*\{)")
OTHER_COMMANDS = re.compile(r"\b(python -m|finetune|clean|data prepare|llama2\.c)\b")
LEFT_OUT = {  # what the other tasks alone call: all have methods of the same names
    "gpt finetune classify": ("sft", "dpo", "conversations", "templates"),
    "gpt finetune instruct": ("classifier", "classification_data", "dpo"),
    "gpt finetune prefer": ("classifier", "classification_data"),
}
NEVER = {  # the command calls the function, but not so that it fails like that
    ("gpt finetune instruct", "dropout"),  # the remedy of gpt train
    ("gpt finetune prefer", "dropout"),
    ("gpt finetune classify", "show-mask"),  # of instruct
    ("gpt finetune prefer", "show-mask"),
    ("gpt classify", "lora-rank"),  # freezes nothing
    ("gpt classify", "init"),  # begins no run
    ("gpt import", "base"),  # has no adapters
    ("gpt doctor", "base"),  # refuses fine-tuned models
}
Key = tuple[str, str]  # of a definition: its module and its name, Class.method for a method


class Module:
    """The definitions of a module, and where the names come from that it imports."""

    def __init__(self, name: str, source: str) -> None:
        self.imported: dict[str, Key] = {}
        self.defined: dict[str, ast.AST] = {}
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                self.imported |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.defined[node.name] = node
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    self.defined |= {n.id: node for n in ast.walk(target) if isinstance(n, ast.Name)}
        for node in [n for n in self.defined.values() if isinstance(n, ast.ClassDef)]:
            self.defined |= {f"{node.name}.{f.name}": f for f in node.body if isinstance(f, ast.FunctionDef)}


@cache
def modules() -> dict[str, Module]:
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.glob("gpt/**/*.py")}
    paths |= {f"nanograd.runtime.{path.stem}": path for path in ROOT.glob("nanograd/runtime/*.py")}
    return {
        name.removesuffix(".__init__"): Module(name, path.read_text(encoding="utf-8")) for name, path in paths.items()
    }


def resolve(module: str, name: str) -> Key | None:
    """Return where a name of a module is defined; None for names of the outside, and of modules."""
    while module in modules():
        if name in modules()[module].defined:
            return module, name
        if name not in modules()[module].imported:
            return None
        module, name = modules()[module].imported[name]
    return None


def reachable(root: Key, left_out: tuple[str, ...] = ()) -> set[Key]:
    """Return the definitions that a function may call: by name, and methods of the classes that it may meet."""
    todo, done, classes, attributes = [root], set(), set(), set()
    while todo:
        key = todo.pop()
        if key in done or key[0].endswith(tuple(f".{name}" for name in left_out)):
            continue
        done.add(key)
        module, name = key
        node = modules()[module].defined[name]
        body: list[ast.AST] = [node]
        if isinstance(node, ast.ClassDef):
            classes.add(key)
            body = [part for part in ast.iter_child_nodes(node) if not isinstance(part, ast.FunctionDef)]
        for part in (part for whole in body for part in ast.walk(whole)):
            if isinstance(part, ast.Name) and (found := resolve(module, part.id)):
                todo.append(found)
            elif isinstance(part, ast.Attribute):
                attributes.add(part.attr)
                origin = modules()[module].imported.get(part.value.id) if isinstance(part.value, ast.Name) else None
                if origin and (found := resolve(".".join(origin), part.attr)):
                    todo.append(found)
        for owner, cls in classes:
            for method in modules()[owner].defined:
                own, _, last = method.partition(".")
                if own == cls and last and (last in attributes or last.startswith("__")):
                    todo.append((owner, method))
    return done


def flags_of_messages(tree: ast.AST) -> Iterator[str]:
    """Yield the flags that texts in a function name, except where a text names another command."""
    if isinstance(tree, ast.Call) and getattr(tree.func, "attr", "") in ("option", "add_argument"):
        return
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Constant):  # a docstring
        return
    text = text_of(tree)
    if len(text.split()) > 2 and not OTHER_COMMANDS.search(text):
        yield from FLAG.findall(text)
    if not isinstance(tree, ast.JoinedStr):
        for child in ast.iter_child_nodes(tree):
            yield from flags_of_messages(child)


def text_of(tree: ast.AST) -> str:
    """Return a text, or an f-string with {} for its values; nothing for other code."""
    if isinstance(tree, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in tree.values)
    return tree.value if isinstance(tree, ast.Constant) and isinstance(tree.value, str) else ""


def hints(words: str) -> dict[str, str]:
    """Return the flags that messages of a command may name, and the function of each."""
    _, module, function = command(words)
    keys = reachable((module, function), LEFT_OUT.get(words, ()))
    functions = [(key, modules()[key[0]].defined[key[1]]) for key in sorted(keys)]
    return {
        flag: ".".join(key)
        for key, node in functions
        if isinstance(node, ast.FunctionDef)
        for flag in flags_of_messages(node)
    }


@pytest.mark.parametrize("words", [words for words in COMMANDS if words.startswith("gpt")])
def test_a_flag_that_an_error_names_is_one_of_the_command(words: str) -> None:
    known = {flag.removeprefix("--") for flag in command(words).parser._option_string_actions}
    unknown = {flag: where for flag, where in hints(words).items() if flag not in known}
    assert {flag: where for flag, where in unknown.items() if (words, flag) not in NEVER} == {}


def texts_of(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a function, an f-string whole and with … for its values: its `<` tells that it is HTML."""
    if text := text_of(tree):
        yield text.replace("{}", "…")
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(tree, ast.JoinedStr) and isinstance(child, ast.Constant)):
            yield from texts_of(child)


PYTHON = re.compile(r"\b\w+=[({'\"]|\b\w+=None\b|\b\w+\.\w+\(")
NOT_IN_A_COMMAND = {
    "gpt.api.save_model",  # gpt.train saves nothing so
    "gpt.finetune.templates.Template.to_jinja",  # writes Jinja, no error
    "gpt.tokenizer.base.check_text",  # of bytes
    "gpt.tokenizer.pretokens.check_chunks",  # `tokenizer encode` and `explain`, which alone meet it, name --special
}


def test_an_error_of_a_command_quotes_no_python() -> None:
    functions = {
        key
        for words in COMMANDS
        if words.startswith("gpt")
        for key in reachable(command(words)[1:], LEFT_OUT.get(words, ()))
    }
    found = {
        ".".join(key)
        for key in functions
        if isinstance(modules()[key[0]].defined[key[1]], ast.FunctionDef)
        for text in texts_of(modules()[key[0]].defined[key[1]])
        if len(text.split()) > 2 and PYTHON.search(text) and not re.search(r"python -[cm]|[<\n]", text)
    }
    assert found <= NOT_IN_A_COMMAND
    assert PYTHON.search("replace it with text.encode('utf-8')")
    assert PYTHON.search("allowed_special={'a'} gives its id")


def test_a_flag_that_nanograd_names_is_one_of_a_command() -> None:
    """Messages of nanograd's own commands name their flags; the library, which has none, names none."""
    parsers = [command(words).parser for words in COMMANDS if words.startswith("nanograd")]
    known = {flag.removeprefix("--") for parser in parsers for flag in parser._option_string_actions}
    seen = set()
    for path in ROOT.glob("nanograd/**/*.py"):
        if path.parent.name == "runtime":  # which gpt's commands call too: the test above has its messages
            continue
        flags = set(flags_of_messages(ast.parse(path.read_text(encoding="utf-8"))))
        assert flags <= (known if path.stem in ("__main__", "command") else set()), path
        seen |= flags
    assert {"book", "shape", "seconds"} <= seen


def test_hints_are_found() -> None:
    assert hints("gpt train")["val-fraction"] == "gpt.runs.pretrain.open_prepared"
    assert hints("gpt eval")["base"] == "gpt.runs.checkpoint.load_checkpoint"
    assert {"out", "resume"} <= hints("gpt finetune prefer").keys()

    def flags(text: str) -> list[str]:
        return list(flags_of_messages(ast.parse(f"raise ValueError({text!r})")))

    assert flags("name it with --text-key of the file") == ["text-key"]
    assert flags("name it with --text-key of clean or data prepare") == []


# The README

PAGES = sorted(ROOT.glob("*.md"))


def code_of(page: Path) -> list[str]:
    """Return the lines of the code blocks of a page, and the spans of code in its sentences."""
    text, block = page.read_text(encoding="utf-8"), re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", block.sub("", text))]
    return [line for lines in block.findall(text) for line in lines.splitlines()] + spans


def commands_in(code: str) -> Iterator[list[str]]:
    """Yield the words of the commands in a line of code; an explanation stands at least two blanks away."""
    for start in re.finditer(r"(?:^|[;&|$] *|python -m )(gpt|nanograd)(?= \w| -|$)", code):
        yield [start[1], *shlex.split(re.split(r"  |[;&|>#]", code[start.end() :])[0])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_accepted(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [words for line in code_of(page) for words in commands_in(line)]
    for program, *rest in found:
        if not rest or rest[0] in ("COMMAND", "…", "--help", "--version"):
            continue
        n = 2 if rest[0] in ("data", "finetune", "tokenizer") else 1
        name = " ".join([program, *rest[:n]])
        assert name in COMMANDS, name
        if "--help" in rest or "…" in rest:
            continue
        parser = command(name).parser
        flags = {word.partition("=")[0] for word in rest if re.match("--?[a-z]", word)}
        assert flags <= parser._option_string_actions.keys(), f"{name}: {flags}"
        try:
            _, unknown = parser.parse_known_args(rest[n:])
        except SystemExit:  # a sentence may name a command without all of its arguments
            error = capsys.readouterr().err
            assert "arguments are required" in error, error
        else:
            assert not unknown, f"{name}: {unknown}"
    assert len(found) > 10 or page.name != "README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_of_a_page_exists_and_has_the_flags(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for code in code_of(page):
        for name, words in re.findall(r"(?:^|[\s(/])(\w+\.py)\b((?: (?! )[^\s|;&`]+)*)", code):
            path = ROOT / "examples" / name
            if f"examples/{name}" in code:
                assert path.is_file(), code
            if path.is_file() and (flags := FLAG.findall(words)):
                done = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, check=True)
                assert all(f"--{flag}" in done.stdout for flag in flags), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_link_of_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```|`[^`]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    ):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        assert (page.parent / path).exists() if path else anchor in headings(text), target
    for code in code_of(page):
        if re.fullmatch(r"(nanograd|gpt|tests|examples|\.ci)/[\w./-]*", code):
            assert (ROOT / code).exists(), code


def headings(markdown: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ +(.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_commands_are_found_in_a_page() -> None:
    assert list(commands_in("python -m gpt train --data FILE            a text, or more")) == [
        ["gpt", "train", "--data", "FILE"]
    ]
    assert list(commands_in('pip install -e . && gpt score RUN "a b"; nanograd drill')) == [
        ["gpt", "score", "RUN", "a b"],
        ["nanograd", "drill"],
    ]
    assert list(commands_in("nanograd.gradcheck(op)")) == []
    assert list(commands_in("from gpt import GPT")) == []
    assert headings("# A b\n## What's `new`?\n") == {"a-b", "whats-new"}
