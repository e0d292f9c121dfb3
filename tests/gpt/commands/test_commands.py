"""Tests of gpt/commands: the way of a newcomer, from a text to a model, its loss, its words and its picture."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt
from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.runs.checkpoint import BEST, LAST, TrainingState, load_checkpoint, save_checkpoint
from gpt.runs.run import METRICS, SAMPLE, TRAIN_TOKENS, VAL_TOKENS, read_metrics
from gpt.text.read import python_documentation, text_sha256
from gpt.tokenizer import CharTokenizer, load_tokenizer
from gpt.training import make_optimizer

ROOT = Path(gpt.__file__).parents[1]
ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
TEXT = "Où est le café ? Là-bas.\nThe cat sat on the mat.\n" * 30
TINY = "--d-model 16 --n-layers 1 --n-heads 2 --context-length 8 --batch-size 2 --eval-batches 1"
KEYS = ["step", "loss", "val_loss", "lr", "grad_norm", "tokens_per_s", "elapsed_s"]
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "café.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of 7 steps, evaluated in 3, 6 and 7."""
    out = tmp_path_factory.mktemp("runs") / "mine"
    words = ["--data", str(text), "--tokenizer", "char", "--max-steps", "7", "--eval-every", "3", "--out", str(out)]
    assert main(["train", *words, *TINY.split()]) == 0
    return out


def test_a_run_leaves_what_was_promised(run: Path) -> None:
    files = {"config.json", METRICS, LAST, BEST, SAMPLE, TRAIN_TOKENS, VAL_TOKENS}
    assert {path.name for path in run.iterdir()} == files
    lines = [json.loads(line) for line in (run / METRICS).read_text(encoding="utf-8").splitlines()]
    assert [list(line) for line in lines] == [KEYS] * 7
    assert [line["step"] for line in lines] == list(range(1, 8))
    assert [line["step"] for line in lines if line["val_loss"] is not None] == [3, 6, 7]
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["text_sha256"] == text_sha256(TEXT)
    assert config["model"]["vocab_size"] == len(set(TEXT))
    assert config["train"]["max_steps"] == 7
    assert len((run / SAMPLE).read_text(encoding="utf-8")) == 201  # 200 characters and a line end
    assert load_checkpoint(run / LAST).state.step == 7


def test_what_is_said_before_and_after(text: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "run"
    words = ["--data", str(text), "--tokenizer", "char", "--max-steps", "2", "--out", str(out)]
    assert main(["train", *words, *TINY.split()]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    step = r"loss \d\.\d{4}  val (-|\d\.\d{4})  lr \d\.\de-05  grad \d\.\d\d  [\d,]+ tok/s  \d:\d\d left"
    patterns = [
        rf"data      .*café\.txt: 1,470 characters, sha256 {text_sha256(TEXT)[:16]}…",
        r"tokens    1,323 to train on, 147 to validate; char vocabulary of 23",
        r"model     3,808 parameters: 1 layers, d_model 16, 2 heads, context 8",
        r"memory    about \d+ kB with batches of 2",
        r"time      about \d:\d\d for 2 steps",
        "",
        rf"step 1/2  {step}",
        rf"step 2/2  {step}",
        "",
        rf"saved in {re.escape(str(out))}",
        "",
    ]
    for line, pattern in zip(shown.splitlines(), patterns, strict=False):
        assert re.fullmatch(pattern, line)
    assert "\r" not in shown  # plain lines, as this is no terminal
    sample = (out / SAMPLE).read_text(encoding="utf-8")
    assert shown.endswith(f'\n\n{sample}\nMore of it: python -m gpt sample {out} --prompt "…"\n')


def test_the_sample_is_that_of_the_best_model(run: Path, tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for path in run.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    words = ["--max-steps", "8", "--lr", "9", "--min-lr", "9", "--warmup-steps", "0"]  # which spoils it
    assert main(["train", "--resume", str(folder), *words]) == 0
    assert load_checkpoint(folder / BEST).state.step == 7
    assert load_checkpoint(folder / LAST).state.step == 8
    assert (folder / SAMPLE).read_bytes() == (run / SAMPLE).read_bytes()
    capsys.readouterr()
    assert main(["sample", str(folder)]) == 0
    assert capsys.readouterr().out == (run / SAMPLE).read_text(encoding="utf-8")
    assert main(["sample", str(folder / LAST)]) == 0
    assert capsys.readouterr().out != (run / SAMPLE).read_text(encoding="utf-8")


def test_without_arguments_it_learns_the_documentation_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *TINY.split(), "--max-steps", "1", "--vocab-size", "257"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["text_sha256"] == text_sha256(python_documentation())
    assert config["train"]["data"] is None
    capsys.readouterr()
    assert main(["info", str(folder)]) == 0
    assert "trained on the documentation of Python (sha256 " in capsys.readouterr().out


def test_without_validation_text(text: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "run"
    words = ["--data", str(text), "--tokenizer", "char", "--max-steps", "2", "--val-fraction", "0", "--out", str(out)]
    assert main(["train", *words, *TINY.split()]) == 0
    assert {record.val_loss for record in read_metrics(out)} == {None}
    assert not (out / BEST).exists()
    assert (out / SAMPLE).exists()
    capsys.readouterr()
    assert main(["eval", str(out)]) == 1
    assert "data: needs two tokens or more, one to predict from, got 0; give --data FILE" in capsys.readouterr().err


def test_a_tokenizer_of_ones_own(text: Path, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "tokenizer.json"
    assert main(["tokenizer", "train", str(text), "-o", str(path), "--vocab-size", "280"]) == 0
    assert re.fullmatch(
        r"280 tokens learned in \d\.\d s; the text is [\d,]+ of them, \d\.\d\d bytes a token; saved in .*\n",
        capsys.readouterr().out,
    )
    words = ["--data", str(text), "--tokenizer", str(path), "--max-steps", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *words, *TINY.split()]) == 0
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    assert checkpoint.tokenizer.sha256 == load_tokenizer(path).sha256
    assert checkpoint.model_config.vocab_size == 280


def test_bpe_is_learned_from_the_training_text_alone(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("ab " * 90 + "zz " * 10, encoding="utf-8")
    words = ["--data", str(tmp_path / "text.txt"), "--max-steps", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *words, *TINY.split()]) == 0
    vocab = load_checkpoint(tmp_path / "run" / LAST).tokenizer.vocab
    assert b"ab" in vocab.values()
    assert b"zz" not in vocab.values()


def test_rows_that_pad_the_table_are_never_written(text: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "run"
    words = ["--data", str(text), "--tokenizer", "char", "--vocab-size", "1000", "--max-steps", "1", "--out", str(out)]
    assert main(["train", *words, *TINY.split()]) == 0
    assert set((out / SAMPLE).read_text(encoding="utf-8")) <= set(TEXT)
    capsys.readouterr()
    assert main(["sample", str(out), "--temperature", "2"]) == 0
    assert set(capsys.readouterr().out) <= set(TEXT)


def test_a_text_of_one_line_is_sampled_too(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abc" * 50, encoding="utf-8")
    words = ["--data", str(tmp_path / "text.txt"), "--tokenizer", "char", "--out", str(tmp_path / "run")]
    assert main(["train", *words, "--max-steps", "1", *TINY.split()]) == 0
    assert re.fullmatch("[abc]{200}\n", (tmp_path / "run" / SAMPLE).read_text(encoding="utf-8"))


def test_samples_follow_seed_prompt_and_length(run: Path, capsys: Output) -> None:
    def sample(*words: str) -> str:
        assert main(["sample", str(run), *words]) == 0
        return capsys.readouterr().out

    text = sample("--prompt", "The cat", "--max-new-tokens", "30")
    assert text.startswith("The cat")
    assert len(text) == len("The cat") + 30 + 1
    assert text == sample("--prompt", "The cat", "--max-new-tokens", "30")
    assert text != sample("--prompt", "The cat", "--max-new-tokens", "30", "--seed", "1")
    assert sample("--prompt", "é", "--max-new-tokens", "0") == "é\n"
    assert sample("--temperature", "0", "--seed", "1") == sample("--top-k", "1", "--seed", "2")
    assert sample("--max-new-tokens", "5", "--prompt", "\n") == sample("--max-new-tokens", "5")


def silent(folder: Path, characters: str) -> Path:
    """Save a model whose weights are all 0, so that it thinks every next character equally likely."""
    tokenizer = CharTokenizer(characters)
    model = GPT(ModelConfig(vocab_size=len(characters), context_length=3, d_model=2, n_layers=1, n_heads=1))
    for parameter in model.parameters():
        parameter.copy_(np.zeros(parameter.shape))
    config = TrainConfig()
    save_checkpoint(folder / LAST, model, make_optimizer(model, config), config, tokenizer, TrainingState())
    return folder / LAST


def test_the_loss_of_a_model_that_knows_nothing(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "text.txt").write_text("abcdabcdab", encoding="utf-8")
    checkpoint = silent(tmp_path, "abcd")
    for batch_size in ("1", "2", "100"):
        words = ["--data", str(tmp_path / "text.txt"), "--batch-size", batch_size]
        assert main(["eval", str(checkpoint), *words]) == 0
        assert capsys.readouterr().out == (
            "text.txt: 9 tokens, 9 bytes\nloss 1.3863  perplexity 4.00  bits per byte 2.000\n"  # ln 4, and log2 4
        )


def test_bits_are_counted_by_the_byte(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "text.txt").write_text("éàéàé", encoding="utf-8")  # of two bytes each
    assert main(["eval", str(silent(tmp_path, "àé")), "--data", str(tmp_path / "text.txt")]) == 0
    assert capsys.readouterr().out == "text.txt: 4 tokens, 8 bytes\nloss 0.6931  perplexity 2.00  bits per byte 0.500\n"


def test_eval_takes_the_whole_validation_text(run: Path, capsys: Output) -> None:
    assert main(["eval", str(run)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    n_bytes = len(TEXT[-147:][1:].encode())
    assert first == f"validation text: 146 tokens, {n_bytes} bytes"
    assert 2 < float(second.split()[1]) < 4


def test_info_accounts_for_every_parameter(run: Path, capsys: Output) -> None:
    assert main(["info", str(run)]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    step = load_checkpoint(run / BEST).state.step
    assert re.fullmatch(rf".*best\.safetensors: \d+ kB, step {step}", lines[0])
    assert f"sha256 {text_sha256(TEXT)[:16]}…" in lines[1]
    assert "tokenizer: char, 23 tokens" in lines
    rows = re.findall(r"^(\S+(?: \S+)?) +([\d,]+) +([\d.]+)% +(\d+) kB$", shown, re.MULTILINE)
    blocks = {f"blocks {part}" for part in ("norm1", "attn", "norm2", "mlp")}
    assert {name for name, *_ in rows} == {"tok_emb", "pos_emb", *blocks, "norm", "all"}
    *parts, (_, total, share, _) = rows
    assert sum(int(size.replace(",", "")) for _, size, *_ in parts) == int(total.replace(",", ""))
    assert sum(float(share) for _, _, share, _ in parts) == pytest.approx(100, abs=0.5)
    assert share == "100.0"


def test_info_says_what_a_token_costs(run: Path, capsys: Output) -> None:
    """TINY: 23 tokens in the vocabulary, context 8, d_model 16, one block; batches of 2."""
    assert main(["info", str(run)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    step = load_checkpoint(run / BEST).state.step
    assert f"has seen {step * 2 * 8:,} tokens in {step * 2:,} windows" in lines
    # the matrices of the block, 2 products with 4½ tokens in the mean, and the head
    forward = 2 * (12 * 16 * 16 + 2 * 4.5 * 16 + 23 * 16)
    assert f"forward {forward / 1e3:.3g} kFLOP per token, in a full context of 8" in lines
    assert f"training {3 * forward / 1e3:.3g} kFLOP per token, forward and backward" in lines
    assert "cache 0 kB per token, 1 kB when full" in lines  # 2 · 16 · 4 bytes, and 8 times that


def test_plot_draws_one_run_or_several(run: Path, tmp_path: Path, capsys: Output) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "curves.png"
    assert main(["plot", str(run), str(run), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"drawn: {out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")


def test_ids_go_there_and_back(text: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "tokenizer.json")
    assert main(["tokenizer", "train", str(text), "-o", path, "--vocab-size", "260"]) == 0
    capsys.readouterr()
    sentence = "Là-bas, 3 € 😀"
    assert main(["tokenizer", "encode", path, sentence]) == 0
    ids = capsys.readouterr().out.split()
    assert [int(id) for id in ids] == load_tokenizer(path).encode(sentence)
    assert main(["tokenizer", "decode", path, *ids]) == 0
    assert capsys.readouterr().out == sentence + "\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sentence.encode()), encoding="ascii"))
    assert main(["tokenizer", "encode", path]) == 0  # from standard input, whatever its encoding
    assert capsys.readouterr().out.split() == ids
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(ids)))
    assert main(["tokenizer", "decode", path]) == 0
    assert capsys.readouterr().out == sentence + "\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert main(["tokenizer", "encode", path]) == 1
    assert "encode: standard input must be UTF-8" in capsys.readouterr().err


def test_without_an_action_the_tokenizer_explains_itself(capsys: Output) -> None:
    assert main(["tokenizer"]) == 0
    assert "python -m gpt tokenizer encode tokenizer.json" in capsys.readouterr().out


def test_text_comes_out_as_utf8_whatever_the_locale(run: Path) -> None:
    env = {**ENV, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "gpt", "sample", str(run), "--max-new-tokens", "400", "--temperature", "3"]
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    assert done.stderr == b""
    assert set("éùà") & set(done.stdout.decode("utf-8"))


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("command", ["train", "sample"])
def test_a_reader_that_takes_one_line_is_no_traceback(run: Path, text: Path, tmp_path: Path, command: str) -> None:
    words = {
        "train": ["train", "--data", str(text), "--out", str(tmp_path / "run"), "--max-steps", "100000", *TINY.split()],
        "sample": ["sample", str(run), "--max-new-tokens", "100000"],
    }[command]
    with subprocess.Popen(
        [sys.executable, "-m", "gpt", *words], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141
