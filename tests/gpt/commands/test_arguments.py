"""Tests of gpt/commands/arguments.py and gpt/__main__.py: flags made of config fields, and how the program says no."""

import builtins
import contextlib
import errno
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gpt
from gpt.__main__ import COMMANDS, describe, main
from gpt.commands.arguments import Parser, add_flags, run_path, take
from gpt.config import Config, ModelConfig, SampleConfig, TrainConfig, option

ROOT = Path(gpt.__file__).parents[1]
ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
posix_only = pytest.mark.skipif(os.name != "posix", reason="pipes and file descriptors of POSIX")


@dataclass(frozen=True)
class Bakery(Config):
    """What is baked."""

    n_loaves: int = option(3, "loaves, 100 % rye", least=1)
    salt: float = option(0.5, "spoons of salt", least=0)
    guests: int | None = option(None, "who comes", least=1)
    flour: str | None = option(None, "a file of flour")
    crust: bool = option(True, "bake it dark")


def parse(*words: str) -> Bakery:
    parser = Parser(prog="python -m gpt bake")
    add_flags(parser, Bakery)
    return take(Bakery, parser.parse(words))


def test_every_field_is_a_flag_of_its_type() -> None:
    assert parse() == Bakery()
    given = parse("--n-loaves", "7", "--salt", "1", "--guests", "4", "--flour", "rye.txt", "--no-crust")
    assert given == Bakery(n_loaves=7, salt=1.0, guests=4, flour="rye.txt", crust=False)
    assert parse("--guests", "4", "--guests", "none") == Bakery()


def test_values_of_the_caller_override_the_flags() -> None:
    parser = Parser(prog="python -m gpt bake")
    add_flags(parser, Bakery)
    assert take(Bakery, parser.parse(["--n-loaves", "7"]), n_loaves=9) == Bakery(n_loaves=9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n-loafs", "2"], "unknown flag --n-loafs; did you mean --n-loaves?"),
        (["--n_loaves=2"], "unknown flag --n_loaves=2; did you mean --n-loaves?"),
        (["--n-loav", "2"], "unknown flag --n-loav; did you mean --n-loaves?"),  # no abbreviations
        (["-s", "2"], "unknown flag -s"),
        (["--qqqq"], "unknown flag --qqqq"),
        (["cake"], "unexpected 'cake'"),
        (["--salt"], "argument --salt: expected one argument"),
        (["--n-loaves", "2.5"], "argument --n-loaves: must be a whole number, got '2.5'"),
        (["--n-loaves", "none"], "argument --n-loaves: must be a whole number, got 'none'"),
        (["--guests", "all"], "argument --guests: must be a whole number or none, got 'all'"),
        (["--salt", "a bit"], "argument --salt: must be a number, got 'a bit'"),
        (["--crust=yes"], "argument --crust"),
        (["--salt\nand pepper"], "unknown flag --salt and pepper; see"),  # a line stays a line
    ],
)
def test_a_flag_that_is_wrong_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gpt bake: {message}")
    assert line.endswith("; see python -m gpt bake --help")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--salt", "nan"], "salt must be finite, got nan"),
        (["--salt", "inf"], "salt must be finite, got inf"),
        (["--salt=-inf"], "salt must be finite, got -inf"),
        (["--salt", "-1"], "salt must be at least 0, got -1.0"),
        (["--n-loaves", "0"], "n_loaves must be at least 1, got 0"),
        (["--guests", "0"], "guests must be at least 1, got 0"),
    ],
)
def test_a_value_out_of_range_is_the_configs_error(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse(*words)


def test_help_shows_phrases_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "usage: python -m gpt bake [-h] [--n-loaves N]" in text
    assert "What is baked:" in text
    assert "--n-loaves N loaves, 100 % rye (default 3)" in text
    assert "--salt X spoons of salt (default 0.5)" in text
    assert "--guests N who comes --flour" in text  # None is no default to show
    assert "--crust, --no-crust bake it dark (default True)" in text


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["help"]])
def test_without_a_command_all_are_listed(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    promised = ("train", "sample", "score", "eval", "tokenizer", "import", "export", "info", "plot", "study", "doctor")
    assert all(f"  {name} " in text for name in promised)
    assert "python -m gpt train" in text


FIELDS = {
    "train": (TrainConfig, ModelConfig),
    "sample": (SampleConfig,),
    "finetune": (),
    "classify": (),
    "chat": (SampleConfig,),
    "score": (),
    "eval": (),
    "clean": (),
    "data": (),
    "tokenizer": (),
    "import": (),
    "export": (),
    "merge": (),
    "info": (),
    "plot": (),
    "study": (),
    "guide": (),
    "doctor": (),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with contextlib.suppress(SystemExit):  # argparse's way to end
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"usage: python -m gpt {command}" in text
    for config in FIELDS[command]:
        for name, field in config.__dataclass_fields__.items():
            assert f"--{name.replace('_', '-')}" in text
            assert " ".join(field.metadata["help"].split()) in text


def test_flags_of_the_train_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    promised = """--data --tokenizer --vocab-size --out --resume --save-every --eval-every --eval-batches --seed
        --context-length --d-model --n-layers --n-heads --d-ff --dropout --no-bias --max-steps --batch-size
        --grad-accum-steps --lr --min-lr --warmup-steps --weight-decay --beta1 --beta2 --grad-clip"""
    assert set(promised.split()) <= set(re.findall(r"--[a-z0-9-]+", text))


@pytest.mark.parametrize("action", ["train", "encode", "decode"])
def test_every_action_of_the_tokenizer_explains_itself(capsys: pytest.CaptureFixture[str], action: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["tokenizer", action, "--help"])
    assert caught.value.code == 0
    assert f"usage: python -m gpt tokenizer {action}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "gpt: unknown command 'trian'; did you mean train?; see python -m gpt --help"),
        (["--train"], "gpt: unknown command '--train'; did you mean train?; see python -m gpt --help"),
        (["qqqq"], "gpt: unknown command 'qqqq'; see python -m gpt --help"),
        ([""], "gpt: unknown command ''; see python -m gpt --help"),
        (["a\nb"], r"gpt: unknown command 'a\nb'; see python -m gpt --help"),
        (
            ["tokenizer", "endcode"],
            "gpt tokenizer: unknown action 'endcode'; did you mean encode?; see python -m gpt tokenizer --help",
        ),
    ],
)
def test_a_misspelt_command_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (ValueError(), "ValueError"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.txt"), "a.txt: No such file or directory"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("no number"), "no number"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.txt"),
            "a.txt: No space left on device; free some space, the files that were there are intact",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "standard output: No space left on device"),
        (MemoryError(), "not enough memory: make the batch, the context or the model smaller"),
        (MemoryError("Unable to allocate 9 TiB"), "not enough memory: Unable to allocate 9 TiB"),
        (
            ModuleNotFoundError("No module named 'regex'", name="regex"),
            "the package regex is missing; install what is needed: python -m pip install numpy regex",
        ),
    ],
)
def test_an_error_is_described_in_one_line(error: Exception, line: str) -> None:
    assert describe(error) == line


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let the next import of `package` by a command fail, as where it was never installed."""
    imported = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_missing_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "numpy")
    assert main(["--help"]) == 0  # which needs none
    capsys.readouterr()
    assert main(["info", "run"]) == 1
    line = "gpt info: the package numpy is missing; install what is needed: python -m pip install numpy regex\n"
    assert capsys.readouterr().err == line


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> int:
        raise failure

    monkeypatch.setattr("gpt.commands.info.main", fail)
    for failure in (TypeError("ours"), ModuleNotFoundError("No module named 'gpt.inf'", name="gpt.inf")):
        with pytest.raises(type(failure)):
            main(["info"])


def test_the_traceback_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPT_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError, match="there is no run or checkpoint"):
        main(["info", str(tmp_path / "missing")])


def test_ctrl_c_at_any_time_is_exit_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gpt.commands.info.main", interrupt)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_overflow_on_the_way_is_no_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    def overflow(arguments: list[str]) -> int:
        return int(np.isinf(np.float32(3e38) * np.float32(10)))  # the suite makes a warning an error

    monkeypatch.setattr("gpt.commands.info.main", overflow)
    assert main(["info"]) == 1
    assert capsys.readouterr().err == ""


@posix_only
@pytest.mark.parametrize("words", [[], ["tokenizer"], ["train", "--help"]])
def test_a_reader_that_goes_away_is_no_traceback(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gpt", *words], env=ENV, stdout=write, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@posix_only
def test_output_that_cannot_be_written_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "gpt"], env=ENV, stdout=full, stderr=subprocess.PIPE, check=False)
    line = "gpt: standard output: No space left on device\n"
    assert (done.returncode, done.stderr.decode()) == (1, line)


@posix_only
@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_output_is_no_traceback(closed: int) -> None:
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, [sys.executable, '-m', 'gpt', 'nope'])"
    done = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stdout + done.stderr


def test_text_is_utf8_whatever_the_locale() -> None:
    env = {**ENV, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-m", "gpt"], env=env, capture_output=True, check=True)
    assert "python -m gpt COMMAND …" in done.stdout.decode("utf-8")


def test_last_is_the_newest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("runs/c/last", "runs/a/best", "runs/b/last", "runs/c/best", "elsewhere/d/last")):
        path = Path(f"{name}.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (number, number))
    Path("runs/e").mkdir()  # nothing is saved there
    assert Path(run_path("last")) == Path("runs/c")
    assert capsys.readouterr().err == f"last      {Path('runs/c')}\n"
    assert run_path("runs/a") == "runs/a"
    Path("last").mkdir()
    assert run_path("last") == "last"  # a path that exists
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "words",
    [
        *(f"{name} last" for name in ("sample", "info", "eval", "score", "classify", "chat", "doctor", "plot")),
        *("study last --text a", "export last -o a", "merge last -o a", "train --resume last", "train --init last"),
        *("finetune classify --resume last", "finetune instruct --init last"),
    ],
)
def test_every_run_may_be_the_last(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(words.split())
    error = capsys.readouterr().err
    assert re.fullmatch(r"gpt .*: argument .*: last: there is no run in runs; give the path of one; see .*\n", error)


def test_a_flag_works_under_its_old_name_too(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser()
    add_flags(parser, ModelConfig)
    assert not take(ModelConfig, parser.parse(["--no-tie-head"])).tie_embeddings
    assert take(ModelConfig, parser.parse(["--tie-head"])).tie_embeddings
    with pytest.raises(SystemExit):
        parser.parse(["--help"])
    shown = capsys.readouterr().out
    assert "--tie-embeddings" in shown
    assert "tie-head" not in shown
