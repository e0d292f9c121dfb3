"""Tests of one-line errors: however long a value is, whatever a path is, and where standard input is closed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import gpt
import nanograd.__main__
from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.runs.checkpoint import Task, TrainingState, save_checkpoint
from gpt.tokenizer import CharTokenizer
from nanograd.runtime.arguments import LONGEST

posix_only = pytest.mark.skipif(os.name != "posix", reason="devices and pipes of POSIX")
ROOT = Path(gpt.__file__).parents[1]
MODEL = ModelConfig(vocab_size=4, context_length=8, d_model=8, n_layers=1, n_heads=2)
LONG = "very long " * 20_000
READERS = [  # every command that reads a path, which is X
    "train --data X --out new",
    "train --tokenizer X --out new",
    "train --init X --out new",
    "train --resume X",
    "sample X",
    "finetune classify --data X --init random --out new",
    "finetune instruct --data X --init model.safetensors --template chat --out new",
    "finetune prefer --data X --init model.safetensors --template chat --out new",
    "chat X",
    "chat model.safetensors --template X",
    "classify X text",
    "score X text",
    "score model.safetensors --data X",
    "eval X",
    "eval model.safetensors --data X",
    "clean X -o new",
    "data prepare X -o new",
    "data prepare text.txt --tokenizer X -o new",
    "data info X",
    "tokenizer train X -o new",
    "tokenizer encode X text",
    "tokenizer decode X 1",
    "tokenizer explain X text",
    "tokenizer convert X -o new",
    "import X --out new",
    "import given --tokenizer X --out new",
    "export X -o new",
    "merge X -o new",
    "info X",
    "study X --text abc",
    "plot X",
    "doctor X",
]
WORDS = [  # a word that is no path
    "X",
    "train --X",
    "train X",
    "train --lr X",
    "train --norm X",
    "train --sampling X",
    "train --data text.txt --X text.txt",
    "sample model.safetensors --prompt X",
    "sample model.safetensors --temperature X",
    "sample model.safetensors --top-k X",
    "clean text.txt --skip X -o new",
    "clean text.txt --encoding X -o new",
    "finetune X",
    "finetune classify --data text.txt --init random --balance X",
    "data X",
    "tokenizer X",
    "tokenizer train text.txt --pattern X -o new",
    "tokenizer decode tokenizer.json X",
    "tokenizer encode tokenizer.json X",
    "study model.safetensors --text X",
    "doctor model.safetensors X",
]
FILES = [  # a command, a file that it reads, and what is in it
    ("doctor config.json", "config.json", json.dumps({"model": {"norm": LONG}})),
    ("doctor config.json", "config.json", json.dumps({"model": {LONG: 1}})),
    ("doctor config.json", "config.json", json.dumps({LONG: 1})),
    ("tokenizer encode t.json a", "t.json", json.dumps({LONG: 1})),
    ("tokenizer encode t.json a", "t.json", json.dumps({"format": LONG})),
    ("tokenizer encode t.json a", "t.json", json.dumps({"format": "gpt-tokenizer", "version": 1, "kind": LONG})),
    ("tokenizer encode t.json a", "t.json", json.dumps({"model": {"type": LONG}})),
    ("tokenizer encode t.json a", "t.json", f'{{"{LONG}": 1, "{LONG}": 2}}'),
    ("chat model.safetensors --template t.json", "t.json", json.dumps({LONG: LONG})),
    ("clean a.jsonl -o new", "a.jsonl", json.dumps({LONG: LONG})),
    ("finetune classify --data a.csv --init random", "a.csv", f"{LONG},label\n{LONG},x\n"),
    ("finetune classify --data a.csv --init random", "a.csv", f"text,{LONG},{LONG}\na,b,c\n"),
    ("finetune classify --data a.jsonl --init random", "a.jsonl", json.dumps({LONG: LONG, "label": 3})),
    ("finetune instruct --data a.jsonl --init model.safetensors --template chat", "a.jsonl", json.dumps({LONG: LONG})),
    ("data info folder", "folder/manifest.json", json.dumps({"format": LONG})),
    ("import folder/config.json", "folder/config.json", json.dumps({"model_type": LONG})),
    ("plot folder", "folder/metrics.jsonl", json.dumps({LONG: 1}) + "\n"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a text, a tokenizer, a checkpoint and a model of others."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("abcd" * 50, encoding="utf-8")
    template = {"name": "t", "user": "{content}", "reply": "a", "end": "bc"}
    Path("template.json").write_text(json.dumps(template), encoding="utf-8")
    Path("folder").mkdir()
    tokenizer = CharTokenizer("abcd")
    tokenizer.save("tokenizer.json")
    model = GPT(MODEL, np.random.default_rng(0))
    save_checkpoint("model.safetensors", model, None, TrainConfig(), tokenizer, TrainingState(), Task("instruct"))
    return tmp_path


def error_of(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail, and return its error."""
    capsys.readouterr()
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    error = capsys.readouterr().err
    assert code in (1, 2), error
    lines = [line for line in error.splitlines() if not line.startswith(("note", "warning", "skipped"))]
    assert len(lines) == 1, error
    return lines[0]


def fill(command: str, value: str) -> list[str]:
    return [value if word == "X" else word.replace("--X", f"--{value}") for word in command.split()]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", READERS + WORDS)
def test_a_long_value_is_shortened(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(fill(command, LONG), capsys)
    assert line.startswith("gpt")
    assert len(line) <= LONGEST, len(line)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("command", "path", "content"), FILES)
def test_a_long_value_in_a_file_is_shortened(
    command: str, path: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(path).write_text(content, encoding="utf-8")
    assert len(error_of(command.split(), capsys)) <= LONGEST


@pytest.mark.parametrize("words", [["X"], ["gradcheck", "X"], ["gradcheck", "exp", "X"], ["mutants", "X"]])
def test_a_long_value_is_shortened_by_nanograd(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert nanograd.__main__.main([LONG if word == "X" else word for word in words]) == 2
    assert len(capsys.readouterr().err.rstrip("\n")) <= LONGEST


@posix_only
@pytest.mark.parametrize("kind", ["device", "pipe", "link"])
@pytest.mark.parametrize("command", READERS)
def test_a_device_is_no_input(folder: Path, command: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    if kind == "pipe":
        os.mkfifo("pipe")
    elif kind == "link":
        Path("link").symlink_to("/dev/zero")
    error_of(fill(command, "/dev/zero" if kind == "device" else kind), capsys)
    assert not Path("new").exists()


@posix_only
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("import folder", ["config.json"]),
        ("import folder", ["model.safetensors"]),
        ("import folder/model.safetensors", ["config.json"]),
        ("import folder", ["model.safetensors.index.json"]),
        ("import folder/model.ckpt.index", ["hparams.json"]),
        ("import folder/model.bin", []),
        ("tokenizer encode folder a", ["tokenizer.json"]),
        ("tokenizer encode folder a", ["vocab.json", "merges.txt"]),
        ("tokenizer encode folder a", ["o.tiktoken"]),
        ("data info folder", ["manifest.json"]),
        ("data prepare text.txt -o folder", ["unfinished.json"]),
        ("plot folder", ["metrics.jsonl"]),
        ("sample folder", ["best.safetensors"]),
        ("train --resume folder", ["last.safetensors"]),
        ("clean folder -o new", ["a.txt"]),
        ("train --data folder --out new", ["a.txt"]),
        ("doctor folder", ["config.json"]),
    ],
)
@pytest.mark.parametrize("target", ["/dev/zero", "pipe"])
def test_a_link_to_a_device_in_a_folder_is_no_input(
    command: str, names: list[str], target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo("pipe")
    for name in names:
        Path("folder", name).symlink_to(Path(target).resolve())
    for name in ("model.safetensors", "model.ckpt.index", "model.bin"):
        if f"folder/{name}" in command:
            Path("folder", name).write_bytes(bytes(100))
    error_of(command.split(), capsys)


@posix_only
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "command",
    [
        "chat model.safetensors --template template.json",
        "sample model.safetensors --interactive",
        "tokenizer encode tokenizer.json",
        "tokenizer explain tokenizer.json",
        "tokenizer decode tokenizer.json",
        "score model.safetensors -",
        "classify model.safetensors -",
    ],
)
def test_standard_input_that_is_closed_is_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed; give" in error_of(command.split(), capsys)


@posix_only
@pytest.mark.usefixtures("folder")
def test_standard_input_that_the_shell_closed() -> None:
    code = "import os, sys; os.close(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    words = ["-m", "gpt", "tokenizer", "decode", "tokenizer.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True)
    message = "gpt tokenizer: standard input is closed; give the ids as arguments, or through a pipe\n"
    assert (done.returncode, done.stderr) == (1, message)
