"""Tests of gpt/api.py: load, train, history and save, as a user of Python meets them."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpt
from gpt.__main__ import main
from gpt.model import GPT
from gpt.runs.checkpoint import BEST, LAST, Task, TrainingState, load_checkpoint, save_checkpoint
from gpt.runs.run import METRICS, SAMPLE, MemoryRun, Run, read_metrics
from gpt.tokenizer import BPETokenizer, CharTokenizer
from gpt.training import NotFiniteError, Record

ROOT = Path(gpt.__file__).parents[1]
HUGGING_FACE = ROOT / "tests" / "golden" / "huggingface" / "gpt2-medium"
TEXT = "Où est le café ? Là-bas.\nThe cat sat on the mat.\n" * 30
TINY: dict[str, Any] = {
    "d_model": 16,
    "n_layers": 1,
    "n_heads": 2,
    "context_length": 8,
    "batch_size": 2,
    "eval_batches": 1,
    "tokenizer": "char",
    "max_steps": 7,
    "eval_every": 3,
}
SPOILED = {"lr": 5.0, "warmup_steps": 20}  # the rate rises, and the validation loss from step 3 on
Output = pytest.CaptureFixture[str]


def same(model: GPT, other: GPT | dict[str, np.ndarray]) -> bool:
    state = other if isinstance(other, dict) else other.state_dict()
    return all(np.array_equal(array, state[name]) for name, array in model.state_dict().items())


def weights(path: Path) -> dict[str, np.ndarray]:
    return load_checkpoint(path).with_prefix("model.")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of 7 steps, evaluated in 3, 6 and 7. Tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    gpt.train(TEXT, out=folder, quiet=True, **TINY)
    return folder


# train


def test_a_text_is_trained_on_and_nothing_is_written(tmp_path: Path, capsys: Output) -> None:
    model = gpt.train(TEXT, **TINY)
    assert not list(tmp_path.iterdir())
    assert not model.training
    assert isinstance(model.tokenizer, CharTokenizer)
    assert model.history is not None
    assert [record.step for record in model.history] == list(range(1, 8))
    assert [record.step for record in model.history if record.val_loss is not None] == [3, 6, 7]
    assert len(model.generate("The", 5)) == 5
    out, errors = capsys.readouterr()
    words = [line.split()[0] for line in out.splitlines() if line]
    assert words == ["data", "tokens", "model", "memory", "optimizer", "time", "step", *["step", "sample"] * 3]
    assert out.startswith("data      a text: 1,470 characters, sha256 ")
    assert errors == ""


def test_quiet_prints_nothing(capsys: Output) -> None:
    gpt.train(TEXT, quiet=True, out="run", **TINY)
    assert capsys.readouterr() == ("", "")
    print("and stdout is as it was")
    assert capsys.readouterr().out


def test_a_run_is_that_of_the_command(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    words = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    assert main(["train", "--data", "text.txt", "--out", "command", *words]) == 0
    by_command = [line for line in capsys.readouterr().out.splitlines() if line[:4] in ("data", "toke", "mode", "memo")]
    from_file = gpt.train("text.txt", out="file", **TINY)
    out = capsys.readouterr().out
    assert out.splitlines()[:4] == by_command
    assert out.endswith("\nsaved in file\n")
    in_memory = gpt.train(TEXT, quiet=True, **TINY)
    from_text = gpt.train(TEXT, out="text", quiet=True, **TINY)
    files = {path.name for path in (tmp_path / "command").iterdir()} - {SAMPLE}
    for folder in ("file", "text"):
        assert {path.name for path in (tmp_path / folder).iterdir()} == files
        for name in (LAST, BEST):
            assert (
                weights(tmp_path / folder / name)["norm.weight"] == weights(tmp_path / "command" / name)["norm.weight"]
            ).all()
    best = weights(tmp_path / "command" / BEST)
    assert same(from_file, best)
    assert same(from_text, best)
    assert same(in_memory, best)
    for model in (from_file, from_text, in_memory):
        assert model.history is not None
        assert [r.loss for r in model.history] == [r.loss for r in read_metrics(tmp_path / "command")]
    assert main(["info", "text"]) == 0
    assert "trained on a text (sha256 " in capsys.readouterr().out


def test_the_model_has_the_best_weights(capsys: Output) -> None:
    for out in ("run", None):
        model = gpt.train(TEXT, out=out, **{**TINY, **SPOILED})
        assert capsys.readouterr().out.endswith(
            "note      the model has the weights of step 3, the best validation loss\n"
        )
        assert same(model, weights(Path("run", BEST)))
        assert not same(model, weights(Path("run", LAST)))
        assert model.history is not None
        assert min((r.val_loss, r.step) for r in model.history if r.val_loss is not None)[1] == 3


@pytest.mark.parametrize("out", [None, "run"])
def test_without_validation_it_has_the_last_weights(out: str | None, tmp_path: Path, capsys: Output) -> None:
    options = {**TINY, "val_fraction": 0}
    model = gpt.train(TEXT, out=out, **options)
    assert "the model has" not in capsys.readouterr().out
    gpt.train(TEXT, out="again", quiet=True, **options)
    assert not (tmp_path / "again" / BEST).exists()
    assert same(model, weights(tmp_path / "again" / LAST))


@pytest.mark.parametrize("val_fraction", [0.0, 0.2])
def test_with_an_average_the_model_in_memory_is_that_of_the_folder(val_fraction: float, tmp_path: Path) -> None:
    options = {**TINY, "val_fraction": val_fraction, "warmup_steps": 0}
    in_memory = gpt.train(TEXT, **options, ema=0.5)
    assert same(in_memory, gpt.train(TEXT, **options, ema=0.5, out="run"))
    assert not same(in_memory, gpt.train(TEXT, **options, ema=None))


def test_a_run_is_resumed_to_the_same_result(tmp_path: Path, run: Path) -> None:
    gpt.train(TEXT, out="run", quiet=True, **{**TINY, "max_steps": 3, "lr": 2e-3, "min_lr": 2e-3, "warmup_steps": 0})
    model = gpt.train(resume="run", max_steps=7, quiet=True)
    whole = gpt.train(TEXT, quiet=True, **{**TINY, "lr": 2e-3, "min_lr": 2e-3, "warmup_steps": 0})
    assert same(model, whole)
    assert model.history is not None
    assert len(model.history) == 7
    from_checkpoint = gpt.train(TEXT, init=run, quiet=True, max_steps=1, eval_every=1)
    assert from_checkpoint.config == gpt.load(run).config


def interrupt(monkeypatch: pytest.MonkeyPatch, kind: type[Run[Any, Any]], at: int) -> None:
    """Press Ctrl-C in a step."""
    log = kind.log

    def log_and_interrupt(self: Run[Any, Any], record: Record) -> None:
        log(self, record)
        if record.step == at:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(kind, "log", log_and_interrupt)


def test_ctrl_c_returns_the_model_trained_so_far(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    before = signal.getsignal(signal.SIGINT)
    options = {**TINY, "lr": 2e-3, "min_lr": 2e-3, "warmup_steps": 0, "val_fraction": 0}
    with monkeypatch.context() as patch:
        interrupt(patch, MemoryRun, at=2)
        model = gpt.train(TEXT, **options)
    out, errors = capsys.readouterr()
    assert out.endswith("left\n\nstopped after step 2\n")
    assert errors == "\nfinishing the step; Ctrl-C again stops at once\n"
    assert same(model, gpt.train(TEXT, quiet=True, **{**options, "max_steps": 2}))
    assert model.history is not None
    assert len(model.history) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_leaves_a_run_that_can_be_resumed(monkeypatch: pytest.MonkeyPatch, capsys: Output, run: Path) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, Run, at=4)
        model = gpt.train(TEXT, out="run", **TINY)
    out, _ = capsys.readouterr()
    assert out.endswith(
        "\nstopped after step 4\n\nsaved in run; go on with: gpt.train(resume='run')\n"
        "note      the model has the weights of step 3, the best validation loss\n"
    )
    assert same(model, weights(Path("run", BEST)))
    assert load_checkpoint(Path("run", LAST)).state.step == 4
    assert same(gpt.train(resume="run", quiet=True), gpt.load(run))


def test_training_works_in_a_thread(run: Path) -> None:
    models: list[GPT] = []
    thread = threading.Thread(target=lambda: models.append(gpt.train(TEXT, quiet=True, **TINY)))
    thread.start()
    thread.join()
    assert same(models[0], gpt.load(run))


def test_data_is_a_path_or_a_text(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "texts").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "texts" / name).write_text(TEXT, encoding="utf-8")
    quick = {**TINY, "max_steps": 1}
    for data in ("texts", Path("texts")):
        gpt.train(data, **quick)
        assert capsys.readouterr().out.startswith("data      texts: ")
    words = ["data", "prepare", "texts", "--out", "prepared", "--tokenizer", "bpe", "--vocab-size", "270"]
    assert main(words) == 0
    capsys.readouterr()
    model = gpt.train("prepared", **{name: value for name, value in quick.items() if name != "tokenizer"})
    assert capsys.readouterr().out.startswith("data      prepared: prepared from ")
    assert isinstance(model.tokenizer, BPETokenizer)
    gpt.train("word " * 60, **quick)  # no line break, but longer than a file's name can be
    assert capsys.readouterr().out.startswith("data      a text: 300 characters")
    gpt.train(None, **{**quick, "tokenizer": "bpe", "vocab_size": 257})
    assert capsys.readouterr().out.startswith("data      the documentation of Python ")


def test_options_may_be_numbers_of_numpy_and_paths(tmp_path: Path) -> None:
    CharTokenizer.train(TEXT).save(tmp_path / "tokenizer.json")
    numbers = {"d_model": np.int64(16), "lr": np.float64(1e-3), "min_lr": np.float32(0)}
    model = gpt.train(TEXT, quiet=True, **{**TINY, **numbers, "tokenizer": Path("tokenizer.json")})
    assert model.config.d_model == 16


@pytest.mark.parametrize(
    ("data", "options", "kind", "message"),
    [
        (TEXT, {"n_layer": 2}, TypeError, "train: there is no option 'n_layer'; did you mean n_layers"),
        (TEXT, {"quite": True}, TypeError, "there is no option 'quite'; did you mean quiet"),
        ([TEXT], {}, TypeError, "train: data must be a text, or paths of texts, got list; join several texts"),
        ("missing.txt", {}, FileNotFoundError, "data: there is no file missing.txt; give a path, or a text: it has a"),
        (Path("missing.txt"), {}, FileNotFoundError, "data: there is no file missing.txt"),
        ("", {}, ValueError, "data: the text is empty"),
        (" \n", {}, ValueError, "data: the text is empty"),
        ("a\nb\ud800", {}, ValueError, "UTF-8 cannot encode a lone surrogate"),
        ("one two\nthree", {}, ValueError, "the training text has 12 tokens, .* more text or a smaller context_length"),
        (TEXT, {"context_length": 9999}, ValueError, "give more text or a smaller context_length"),
        (TEXT, {"max_steps": 0}, ValueError, "max_steps must be at least 1, got 0"),
        (TEXT, {"tokenizer": "bpe", "vocab_size": 9}, ValueError, "vocab_size must be at least 257"),
        (TEXT, {"vocab_size": 9}, ValueError, "below the tokenizer's 23 tokens; leave vocab_size out"),
        (TEXT, {"batch_size": 10**9}, MemoryError, "and .* are free; batch_size .* grad_accum_steps"),
        (TEXT, {"new_tokenizer": True}, ValueError, "new_tokenizer goes with init"),
        (TEXT, {"resume": "run"}, ValueError, "data and resume exclude each other"),
        (None, {"resume": "run", "init": "run"}, ValueError, "init and resume exclude each other"),
        (None, {"resume": "missing"}, FileNotFoundError, "there is no run or checkpoint at missing"),
    ],
)  # fmt: skip
def test_what_train_refuses(
    data: Any, options: dict[str, Any], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    shape = {} if "resume" in options else {**TINY, "context_length": 12}
    with pytest.raises(kind, match=message):
        gpt.train(data, quiet=True, **{**shape, **options})
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_refused(run: Path) -> None:
    files = {path.name for path in run.iterdir()}
    with pytest.raises(ValueError, match="already exists and is not empty; go on with resume, or choose another out"):
        gpt.train(TEXT, out=run, **TINY)
    assert {path.name for path in run.iterdir()} == files


@pytest.mark.parametrize("out", [None, "run"])
def test_a_loss_that_is_not_finite_is_an_error(out: str | None) -> None:
    spoiled = {**TINY, "lr": 1e38, "weight_decay": 0, "warmup_steps": 0, "eval_every": 9}
    with pytest.raises(NotFiniteError, match="Try a lower lr, a longer warmup_steps") as error:
        gpt.train(TEXT, out=out, quiet=True, **spoiled)
    assert ("run has the checkpoint of step 0" in str(error.value)) == (out is not None)


# load, save, history


def test_a_run_is_loaded_as_its_best_checkpoint(run: Path) -> None:
    for path in (run, str(run), run / BEST):
        model = gpt.load(path)
        assert same(model, weights(run / BEST))
        assert same(GPT.from_pretrained(path), model)
        assert not model.training
        assert isinstance(model.tokenizer, CharTokenizer)
    assert gpt.load(run, dtype=np.float64).tok_emb.weight.dtype == np.float64
    assert gpt.history(run) == read_metrics(run)
    assert repr(gpt.history(run)).startswith("History of 7 steps: loss ")


def test_weights_of_others_are_loaded_too(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no tokenizer is beside the weights: .* set model.tokenizer ="):
        model = gpt.load(HUGGING_FACE)
    assert model.tokenizer is None
    assert same(model, GPT.from_pretrained(HUGGING_FACE))  # which does not warn: it promises no tokenizer
    with pytest.raises(ValueError, match="generate: the model has no tokenizer"):
        model.generate("a")
    model.tokenizer = CharTokenizer("abc")
    assert set(model.generate("a", 5)) <= set("abc")
    for path in HUGGING_FACE.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model.tokenizer.save(tmp_path / "tokenizer.json")
    assert isinstance(gpt.load(tmp_path).tokenizer, CharTokenizer)


def test_a_model_that_was_taught_to_answer_is_loaded_and_a_classifier_is_not(run: Path, tmp_path: Path) -> None:
    model = gpt.load(run)
    assert model.tokenizer is not None
    save_checkpoint("a.safetensors", model, None, gpt.TrainConfig(), model.tokenizer, TrainingState(), Task("instruct"))
    assert same(gpt.load("a.safetensors"), model)

    from gpt.finetune.classifier import GPTClassifier

    classifier, task = GPTClassifier(model, 2), Task("classify", labels=("a", "b"))
    save_checkpoint(tmp_path / LAST, classifier, None, gpt.TrainConfig(), model.tokenizer, TrainingState(), task)
    with pytest.raises(ValueError, match="was fine-tuned to classify; use python -m gpt classify"):
        gpt.load(tmp_path)


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        (
            "missing",
            FileNotFoundError,
            "there is no file or folder missing; give the folder of a run, a checkpoint, or",
        ),
        ("gpt2", FileNotFoundError, "download it with: python -m gpt import gpt2 --download"),
        (".", FileNotFoundError, "holds no weights: .*; a folder of a run has best.safetensors or last.safetensors"),
        ("text.txt", ValueError, "text.txt: must be a .safetensors file"),
        ("text.safetensors", ValueError, "text.safetensors: the header .* is it safetensors?"),
    ],
)
def test_what_load_refuses(path: str, kind: type[Exception], message: str, tmp_path: Path) -> None:
    for name in ("text.txt", "text.safetensors"):
        (tmp_path / name).write_text(TEXT, encoding="utf-8")
    for function in (gpt.load, GPT.from_pretrained):
        with pytest.raises(kind, match=message) as error:
            function(path)
        assert "\n" not in str(error.value)


def test_a_model_is_saved_and_loaded(run: Path, capsys: Output) -> None:
    model = gpt.load(run)
    model.save("model.safetensors")
    again = gpt.load("model.safetensors")
    assert same(again, model)
    assert again.generate("The") == model.generate("The")
    assert main(["sample", "model.safetensors", "--prompt", "The"]) == 0
    assert capsys.readouterr().out == f"The{model.generate('The')}\n"
    with pytest.raises(FileExistsError, match=r"save: model.safetensors exists already; choose another path"):
        model.save("model.safetensors")
    with pytest.raises(ValueError, match=r"save: the path must end in .safetensors, got model.bin"):
        model.save("model.bin")
    model.tokenizer = None
    with pytest.raises(ValueError, match="save: the model has no tokenizer"):
        model.save("other.safetensors")
    gpt.lora.add_lora(again, 2, 2.0, ["w_qkv"], np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"save: the model has LoRA adapters; call gpt\.lora\.merge_and_unload"):
        again.save("other.safetensors")
    assert not Path("other.safetensors").exists()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_a_copy_of_a_trained_model_writes_the_same(copied: Any, tokenizer: str) -> None:
    model = gpt.train(TEXT, quiet=True, **{**TINY, "tokenizer": tokenizer})
    other = copied(model)
    assert other.generate("The", 9) == model.generate("The", 9)
    assert other.history == model.history
    other.tok_emb.weight.copy_(0)
    assert model.tok_emb.weight.data.any()


# The first program


def test_the_first_program_of_a_newcomer(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import gpt\n"
        "\n"
        "text = open('my.txt', encoding='utf-8').read()\n"
        "model = gpt.train(text, out='runs/mine', d_model=16, n_layers=1, n_heads=2, context_length=8, batch_size=2,\n"
        "                  tokenizer='char', max_steps=3)\n"
        "model = gpt.load('runs/mine')\n"
        "print(model.generate('The cat', max_new_tokens=9, temperature=0.7))\n"
        "for piece in model.generate('The cat', stream=True):\n"
        "    print(piece, end='', flush=True)\n",
        encoding="utf-8",
    )
    (tmp_path / "my.txt").write_text(TEXT, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8")
    assert done.stderr == ""
    assert len(done.stdout.split("saved in runs/mine\n")[1]) == 9 + 1 + 200
    assert (tmp_path / "runs" / "mine" / METRICS).exists()


@pytest.mark.slow
def test_a_typed_program_passes_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    program = Path(__file__).with_name("typed_program.py")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir",
        "cache",
        str(program),
    ]
    env = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == "Success: no issues found in 1 source file\n"
