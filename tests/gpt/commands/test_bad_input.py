"""Tests of what a user can get wrong: one line that says the way out, a code that is not 0, nothing half-written."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import gpt
from gpt.__main__ import main
from gpt.config import ModelConfig, known_fields
from gpt.runs import estimate
from gpt.runs.checkpoint import LAST, load_checkpoint
from gpt.runs.estimate import training_memory
from gpt.runs.presets import RECIPE
from gpt.runs.run import METRICS, VAL_TOKENS, read_metrics
from gpt.runs.safetensors import save_file

ROOT = Path(gpt.__file__).parents[1]
ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
TEXT = "the cat sat on the mat.\na dog ran.\n" * 30
TINY = (
    "--tokenizer char --d-model 16 --n-layers 1 --n-heads 2 --context-length 8 --batch-size 2 --max-steps 4 "
    "--eval-batches 1"
)
SHAPE = {"vocab_size": 15, "d_model": 16, "n_layers": 1, "n_heads": 2, "context_length": 8}
MODEL = ModelConfig(**known_fields(ModelConfig, RECIPE | SHAPE))  # what they make of TEXT
BPE = TINY.replace("char", "bpe")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the current one, with a text in it."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command, sees it refused with nothing left behind, and returns what it said."""

    def run(*words: str, code: int = 1) -> str:
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        capsys.readouterr()
        try:
            ended = main(words)
        except SystemExit as stop:
            ended = int(stop.code or 0)
        (line,) = capsys.readouterr().err.splitlines()
        assert ended == code
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        assert not (folder / "run").exists()
        command = f"gpt {words[0]}: "
        assert line.startswith(command)
        return line.removeprefix(command)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has ended."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    assert main(["train", "--data", str(folder / "text.txt"), "--out", str(folder / "run"), *TINY.split()]) == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "data: there is no file data.txt"),
        (b"", "data: data.txt is empty"),
        (b" \n \n", "data: data.txt is empty"),
        (
            b"\x00\x01\x02",
            "data: data.txt is binary, or UTF-16 without a byte-order mark: it has zero bytes; give UTF-8",
        ),
        (b"\x01\xe9", "data: data.txt is binary (more than 1 in 100 bytes are control characters); give text"),
        (
            b"short",
            "data: the training text has 4 tokens, and a window needs context_length + 1 = 9; give more text or",
        ),
        (b"a" * 12, "data: the validation text has 1 token, and needs two or more; change --val-fraction"),
    ],
)
def test_a_text_that_cannot_be_learned(
    folder: Path, refused: Callable[..., str], content: bytes | None, message: str
) -> None:
    if content is not None:
        (folder / "data.txt").write_bytes(content)
    assert refused("train", "--data", "data.txt", "--out", "run", *TINY.split()).startswith(message)


def test_a_text_that_is_not_utf_8_is_read_as_latin_1_with_one_warning(folder: Path) -> None:
    (folder / "data.txt").write_bytes((TEXT + "café").encode("latin-1"))
    words = [sys.executable, "-m", "gpt", "train", "--data", "data.txt", "--out", "run", *TINY.split()]
    done = subprocess.run(words, cwd=folder, env=ENV, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "latin-1" in line]
    assert line.startswith("note: data: data.txt is not utf-8: byte 0xe9 at position")


def test_a_folder_as_text(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "texts").mkdir()
    assert refused("train", "--data", "texts", "--out", "run").startswith("data: the folder texts has no text: no .txt")
    assert refused("tokenizer", "train", "texts", "-o", "t.json") == "data: texts is a folder; give a text file"


@pytest.mark.parametrize("words", [["--data", ""], ["--resume", ""], ["--data", "text.txt", "--out", ""]])
def test_an_empty_name_is_not_taken_for_none(refused: Callable[..., str], words: list[str]) -> None:
    assert refused("train", *words).startswith(
        ("data: . is a folder", ". holds no checkpoint", "out: . already exists")
    )


def test_a_python_without_its_documentation(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert "give a text: --data FILE" in refused("train", "--out", "run", *TINY.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--d-model", "30", "--n-heads", "4"],
            "d_model must be divisible by n_heads, got d_model=30 and n_heads=4; try",
        ),
        (["--lr", "nan"], "lr must be finite, got nan"),
        (["--lr", "-inf"], "argument --lr: expected one argument"),
        (["--lr=-inf"], "lr must be finite, got -inf"),
        (["--lr", "-1"], "lr must be at least 0, got -1.0"),
        (["--grad-clip", "inf"], "grad_clip must be finite, got inf"),
        (["--dropout", "1"], "dropout must be below 1, got 1.0"),
        (["--dropout", "-0.1"], "dropout must be at least 0, got -0.1"),
        (["--beta2", "1"], "beta2 must be below 1, got 1.0"),
        (["--val-fraction", "1"], "val_fraction must be below 1, got 1.0"),
        (["--max-steps", "0"], "max_steps must be at least 1, got 0"),
        (["--max-steps", "1e3"], "argument --max-steps: must be a whole number, got '1e3'"),
        (["--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (["--seed", "-1"], "seed must be at least 0, got -1"),
        (["--eval-every", "0"], "eval_every must be at least 1, got 0"),
        (
            ["--context-length", "100000"],
            "data: the training text has 945 tokens, and a window needs context_length + 1",
        ),
        (["--vocab-size", "5"], "vocab_size=5 is below the tokenizer's 15 tokens; leave --vocab-size out"),
        (["--tokenizer", "bep"], "tokenizer must be char, bpe or the path of a saved one, got 'bep', which is no"),
        (["--tokenizer", "."], "tokenizer must be char, bpe or the path of a saved one, got '.', which is no"),
        (["--tokenizer", "text.txt"], "load_tokenizer: text.txt: it is not JSON"),
        (["--learning-rate", "1"], "unknown flag --learning-rate"),
        (["--layers", "1"], "unknown flag --layers; did you mean --n-layers?"),
        (["text.txt"], "unexpected 'text.txt'"),
    ],
)
def test_flags_that_cannot_be(refused: Callable[..., str], words: list[str], message: str) -> None:
    code = 2 if message.startswith(("argument", "unknown", "unexpected")) else 1
    assert refused("train", "--data", "text.txt", "--out", "run", *TINY.split(), *words, code=code).startswith(message)


def test_a_bpe_vocabulary_without_room_for_the_bytes(refused: Callable[..., str]) -> None:
    line = refused("train", "--data", "text.txt", "--out", "run", *BPE.split(), "--vocab-size", "256")
    assert "vocab_size must be at least 257 (256 bytes and 1 special tokens), got 256; raise it" in line
    line = refused("tokenizer", "train", "text.txt", "-o", "run", "--vocab-size", "256")
    assert "vocab_size must be at least 257" in line


@pytest.mark.parametrize(
    ("batch_size", "way_out"),
    [("1", "make the model smaller: --d-model"), ("64", "--batch-size 2 --grad-accum-steps 32")],
)
def test_not_enough_memory(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, batch_size: str, way_out: str
) -> None:
    free = training_memory(MODEL, 2, ema=True) if batch_size == "64" else 0
    monkeypatch.setattr(estimate, "available_memory", lambda: free)
    line = refused(
        "train", "--data", "text.txt", "--out", "run", *TINY.split(), "--batch-size", batch_size, "--shards", "1"
    )
    assert line.startswith("not enough memory: training would take about")
    assert way_out in line


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_out_that_is_in_use(folder: Path, refused: Callable[..., str], kind: str) -> None:
    (folder / "used").mkdir()
    (folder / "used" / "file").touch()
    out = {"folder": "used", "file": "text.txt"}[kind]
    line = refused("train", "--data", "text.txt", "--out", out, *TINY.split())
    assert line == f"out: {out} already exists and is not empty; go on with --resume, or choose another --out"


def test_an_out_below_a_file(refused: Callable[..., str]) -> None:
    line = refused("train", "--data", "text.txt", "--out", str(Path("text.txt", "run")), *TINY.split())
    assert "text.txt" in line


def test_an_empty_folder_may_be_the_out(folder: Path) -> None:
    (folder / "run").mkdir()
    assert main(["train", "--data", "text.txt", "--out", "run", *TINY.split()]) == 0
    assert (folder / "run" / LAST).exists()


FOREIGN = "foreign holds no checkpoint (best.safetensors or last.safetensors); make one of the weights there"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "missing"], "there is no run or checkpoint at missing"),
        (["info", "missing"], "there is no run or checkpoint at missing"),
        (["eval", "missing"], "there is no run or checkpoint at missing"),
        (["plot", "missing"], "missing holds no metrics.jsonl; give the folder of a run"),
        (["train", "--resume", "missing"], "there is no run or checkpoint at missing"),
        (["sample", "empty"], "empty holds no checkpoint (best.safetensors or last.safetensors); give the folder of a run"),
        (["chat", "foreign"], f"{FOREIGN} with: python -m gpt import foreign"),
        (["sample", "foreign"], f"{FOREIGN} with: python -m gpt import foreign"),
        (["train", "--resume", "empty"], "empty holds no checkpoint"),
        (["info", "text.txt"], "text.txt: the header may take"),
        (["train", "--resume", "text.txt"], "text.txt: the header may take"),
        (["info", "other.safetensors"], "other.safetensors is no checkpoint of this program"),
        (["tokenizer", "encode", "missing.json", "a"], "missing.json: No such file or directory"),
        (["tokenizer", "decode", "text.txt", "1"], "load_tokenizer: text.txt: it is not JSON"),
        (["tokenizer", "train", "text.txt", "-o", "empty"], "out: must be a file in an existing folder, got empty"),
        (["tokenizer", "train", "text.txt", "-o", str(Path("no", "t"))], "out: must be a file in an existing folder"),
    ],
)  # fmt: skip
def test_files_that_are_something_else(
    folder: Path, refused: Callable[..., str], words: list[str], message: str
) -> None:
    import numpy as np

    (folder / "empty").mkdir()
    save_file({"w": np.zeros(2, np.float32)}, folder / "other.safetensors")
    (folder / "foreign").mkdir()
    save_file({"w": np.zeros(2, np.float32)}, folder / "foreign" / "model.safetensors")
    assert refused(*words).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "RUN", "--prompt", "Zebra €"], "prompt: encode: characters must be among the 15 of the vocabulary"),
        (["sample", "RUN", "--prompt", "\udcff"], "prompt: encode: UTF-8 cannot encode a lone surrogate"),
        (["sample", "RUN", "--temperature", "nan"], "temperature must be finite, got nan"),
        (["sample", "RUN", "--temperature", "-1"], "temperature must be at least 0, got -1.0"),
        (["sample", "RUN", "--top-k", "0"], "top_k must be at least 1, got 0"),
        (["eval", "RUN", "--data", ""], "data: . is a folder; give a text file"),
        (["eval", "RUN", "--data", "missing"], "data: there is no file missing"),
        (["eval", "RUN", "--data", "other.txt"], "encode: characters must be among the 15 of the vocabulary"),
        (["eval", "RUN", "--data", "one.txt"], "data: needs two tokens or more, one to predict from, got 1; give --data"),
    ],
)  # fmt: skip
def test_requests_that_a_trained_model_cannot_serve_are_refused(
    folder: Path, trained: Path, refused: Callable[..., str], words: list[str], message: str
) -> None:
    (folder / "other.txt").write_text("Übermut", encoding="utf-8")
    (folder / "one.txt").write_text("a", encoding="utf-8")
    assert refused(*(str(trained) if word == "RUN" else word for word in words)).startswith(message)


def test_flags_of_the_other_commands(trained: Path, refused: Callable[..., str]) -> None:
    run = str(trained)
    assert refused("eval", run, "--batch-size", "0", code=2).startswith(
        "argument --batch-size: must be a whole number from 1, got '0'"
    )
    assert refused("eval", run, "--batch", "2", code=2).startswith("unknown flag --batch; did you mean --batch-size?")
    assert refused("sample", run, "--promt", "a", code=2).startswith("unknown flag --promt; did you mean --prompt?")
    assert refused("sample", code=2).startswith("the following arguments are required: RUN")
    assert refused("plot", code=2).startswith("the following arguments are required: RUN")


def copy(trained: Path, to: Path) -> Path:
    to.mkdir()
    for path in trained.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_a_damaged_checkpoint_is_refused_by_every_command(
    folder: Path, trained: Path, refused: Callable[..., str]
) -> None:
    damaged = copy(trained, folder / "damaged")
    data = bytearray((damaged / LAST).read_bytes())
    data[-1] ^= 1
    (damaged / LAST).write_bytes(data)
    message = f"{damaged / LAST} is damaged: its content does not match its SHA-256; give another checkpoint: a run has"
    for command in ("sample", "eval", "info"):
        assert refused(command, str(damaged / LAST)).startswith(message)
    assert refused("train", "--resume", str(damaged), "--max-steps", "9").startswith(message)


def test_tokens_that_are_not_those_of_the_checkpoint(folder: Path, trained: Path, refused: Callable[..., str]) -> None:
    touched = copy(trained, folder / "touched")
    (touched / VAL_TOKENS).write_bytes((touched / VAL_TOKENS).read_bytes()[:-2])
    line = refused("eval", str(touched))
    assert "val.tokens is not the file this checkpoint was trained with" in line
    assert line.endswith("put it back, or give a text with --data")
    (touched / VAL_TOKENS).unlink()
    assert "val.tokens is missing" in refused("eval", str(touched))


def test_a_run_without_steps_has_nothing_to_draw(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "new").mkdir()
    (folder / "new" / METRICS).touch()
    assert refused("plot", "new") == "plot: new has no steps yet"


def test_without_matplotlib_plot_says_how_to_get_it(
    trained: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    line = refused("plot", str(trained), "-o", "curves.png")
    way_out = "install it with: pip install 'nanograd-gpt[plot]', or take a name that ends in .html"
    assert line == f"plot: curves.png needs matplotlib; {way_out}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["1", "x"], "decode: ids must be whole numbers"),
        (["999"], "decode: every id must be a token of this vocabulary, from 0 to"),
        (["-1"], "decode: every id must be a token of this vocabulary, from 0 to"),
    ],
)
def test_ids_that_are_none(refused: Callable[..., str], words: list[str], message: str) -> None:
    assert main(["tokenizer", "train", "text.txt", "-o", "t.json", "--kind", "char"]) == 0
    assert refused("tokenizer", "decode", "t.json", *words).startswith(message)


@pytest.mark.parametrize(
    ("words", "step", "kept"), [([], 2, 0), (["--save-every", "1"], 2, 1), (["--eval-every", "1"], 1, 0)]
)
def test_an_absurd_learning_rate_stops_the_run_and_keeps_the_checkpoint(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], step: int, kept: int
) -> None:
    absurd = ["--lr", "1e30", "--min-lr", "1e30", "--weight-decay", "0", "--warmup-steps", "0", *words]
    absurd += ["--norm", "layernorm", "--position", "learned", "--mlp", "plain", "--bias", "--optimizer", "adamw"]
    assert main(["train", "--data", "text.txt", "--out", "run", *TINY.split(), *absurd]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gpt train: step {step}: the {'validation loss' if step == 1 else 'loss'} is nan")
    assert "gradient norm" in line
    assert "learning rate 1e+30" in line
    assert "Try a lower --lr" in line
    assert line.endswith(f"; run has the checkpoint of step {kept}")
    assert load_checkpoint(folder / "run" / LAST).state.step == kept
    assert [record.step for record in read_metrics(folder / "run")] == list(range(1, step))
    if kept == 0:  # the way out works
        assert main(["train", "--resume", "run", "--lr", "1e-3", "--min-lr", "0"]) == 0
        assert [record.step for record in read_metrics(folder / "run")] == [1, 2, 3, 4]


def test_a_disk_that_is_full_from_the_start(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    line = refused("train", "--data", "text.txt", "--out", "run", *TINY.split())
    file = Path("run", "config.json")
    assert line == f"{file}: No space left on device; free some space, the files that were there are intact"


def test_a_disk_that_fills_in_the_middle(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def fail_from_step_3(old: Path, new: Path) -> None:
        if new.name == LAST and len(read_metrics(new.parent)) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(old, new)

    words = ["train", "--data", "text.txt", "--out", "run", *TINY.split(), "--save-every", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_from_step_3)
        assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"gpt train: {Path('run', LAST)}: No space left on device; free some space, the files that were there are "
        "intact; run has the checkpoint of step 2; the step after it is lost; go on with: python -m gpt train --resume run"
    )
    assert load_checkpoint(folder / "run" / LAST).state.step == 2
    assert not list((folder / "run").glob(".*"))
    assert main(["train", "--resume", "run"]) == 0
    assert [record.step for record in read_metrics(folder / "run")] == [1, 2, 3, 4]


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_file_the_system_will_not_let_grow(folder: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
        "from gpt.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["train", "--data", "text.txt", "--out", "run", *TINY.split()]
    done = subprocess.run([sys.executable, "-c", code, *words], env=ENV, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"gpt train: {Path('run', LAST)}: File too large\n")
    assert os.listdir(folder) == ["text.txt"]
