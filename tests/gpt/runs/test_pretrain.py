"""Tests of gpt/runs/pretrain.py: what a run is made of, from its options, without the command line."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.data.batches import document_windows
from gpt.data.dataset import read_shard
from gpt.runs.checkpoint import LAST, load_checkpoint
from gpt.runs.pretrain import (
    MOST_DECAY,
    PASSES,
    begin_pretraining,
    model_vocabulary,
    prepare,
    read_texts,
    resume_pretraining,
    weight_decay,
)
from gpt.runs.run import TRAIN_TOKENS, VAL_TOKENS
from gpt.tokenizer import CharTokenizer
from gpt.training import evaluate

TEXT = "the cat sat on the mat. " * 20
Output = pytest.CaptureFixture[str]


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    shape = {"d_model": 8, "n_layers": 1, "n_heads": 2, "context_length": 8}
    return {"data": str(path), "tokenizer": "char", "batch_size": 2, "max_steps": 3, "seed": 5, **shape}


def test_prepare_resolves_tokenizer_vocabulary_and_shards_and_writes_nothing(
    flags: dict[str, Any], tmp_path: Path, capsys: Output
) -> None:
    model, data, state = prepare(flags)
    assert (model.config.vocab_size, model.config.d_model) == (len(set(TEXT)), 8)
    assert (data.config.seed, data.config.shards) == (5, 1)
    assert (state.step, state.text_sha256, state.init) == (0, data.sha256, "")
    assert len(data.train) + len(data.val) == len(TEXT)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    words = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert words == ["data", "tokens", "model", "memory"]
    again, _, _ = prepare(flags)
    other, _, _ = prepare({**flags, "seed": 6})
    for name, array in model.state_dict().items():
        assert (again.state_dict()[name] == array).all()
    assert (other.tok_emb.weight.data != model.tok_emb.weight.data).any()


def test_a_run_begins_and_resumes_with_the_same_batches(flags: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    run, objective = begin_pretraining({**flags, "out": str(out)})
    assert load_checkpoint(out / LAST).train_config == run.config
    run.unlock()
    resumed, objective_again = resume_pretraining(str(out), {"max_steps": 4, "out": None})
    assert resumed.config.max_steps == 4
    for step in range(3):
        rows = zip(objective.batch_of(step, 0).rows, objective_again.batch_of(step, 0).rows, strict=True)
        assert all((one == other).all() for one, other in rows)
    assert objective.val_batches is not None
    assert objective_again.val_batches is not None
    for batch, again in zip(objective.val_batches(), objective_again.val_batches(), strict=True):
        np.testing.assert_array_equal(batch.rows, again.rows)


def test_an_invalid_option_is_refused_before_any_data_is_read(flags: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="d_model must be divisible by n_heads"):
        prepare({**flags, "data": "missing.txt", "n_heads": 3})


def test_a_folder_in_use_is_refused_before_any_data_is_read(flags: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="already exists and is not empty"):
        begin_pretraining({**flags, "data": "missing.txt", "out": str(tmp_path)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context_length": 999}, "data: the training text has .* give more text or a smaller --context-length"),
        ({"val_fraction": 0.9 / len(TEXT)}, "data: the validation text has 1 token"),
    ],
)
def test_too_little_data_is_refused(flags: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare({**flags, **changes})


def test_the_weight_decay_follows_the_passes_over_the_text(flags: dict[str, Any]) -> None:
    model = ModelConfig(context_length=10)
    config = TrainConfig(
        lr=0.01, batch_size=5, grad_accum_steps=2, max_steps=1000, optimizer="muon"
    )  # 100 tokens a step

    def decay(n_tokens: int, **changes: Any) -> float:
        return weight_decay(dataclasses.replace(config, **changes), n_tokens, model)

    assert decay(50_000) == pytest.approx(1 / (0.01 * PASSES * 500))  # an update lasts for PASSES of 500 steps
    assert decay(50_000, lr=0.02) == pytest.approx(decay(50_000) / 2)
    assert decay(10**9) == decay(10**6) == pytest.approx(1 / (0.01 * PASSES * 1000))  # the run is shorter than a pass
    assert decay(100) == MOST_DECAY["muon"] > decay(100, optimizer="adamw") == MOST_DECAY["adamw"]
    assert decay(100, lr=0.5) == pytest.approx(0.1 / 0.5)  # a step removes a tenth at most
    assert prepare({**flags, "weight_decay": None})[1].config.weight_decay == MOST_DECAY["adamw"]
    assert prepare({**flags, "weight_decay": 0.3})[1].config.weight_decay == 0.3
    assert prepare(flags)[1].config.weight_decay == 0.1  # as before there was the rule


def test_the_vocabulary_is_that_of_the_tokenizer_or_larger() -> None:
    tokenizer = CharTokenizer("abc")
    char, bpe = TrainConfig(tokenizer="char"), TrainConfig(tokenizer="bpe")
    assert model_vocabulary(char, {}, tokenizer) == 3
    assert model_vocabulary(char, {"vocab_size": 64}, tokenizer) == 64
    assert model_vocabulary(bpe, {"vocab_size": 64}, tokenizer) == 3  # there the flag is the size to train
    with pytest.raises(ValueError, match="vocab_size=2 is below the tokenizer's 3 tokens; leave --vocab-size out"):
        model_vocabulary(char, {"vocab_size": 2}, tokenizer)


def test_training_that_does_not_fit_in_memory_is_refused(
    flags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt.runs.estimate.available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"training would take about .* and 1 kB are free"):
        prepare(flags)


def test_a_folder_is_read_whatever_is_in_it_and_the_rest_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("a text of some length. " * 200, encoding="utf-8")
    (tmp_path / "sub" / "b.md").write_text("tiny", encoding="utf-8")
    (tmp_path / "c.html").write_text("<style>p {}</style>" + "<p>a <b>page</b>.</p>" * 50, encoding="utf-8")
    (tmp_path / "d.pdf").write_bytes(b"%PDF")
    (tmp_path / "e.py").write_text("print(1)\n" * 30, encoding="utf-8")
    (tmp_path / "f.txt").write_bytes(b"")
    (tmp_path / "g.jsonl").write_text('{"text": "one"}\n{"txt": "two"}\n', encoding="utf-8")
    data = read_texts(TrainConfig(data=str(tmp_path), tokenizer="char"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "documents 5, 10.0% of the characters to validate"
    assert lines[2:] == [
        "skipped   1 of other kinds: d.pdf",
        f"skipped   1 empty: {tmp_path / 'f.txt'} is empty",
        f"skipped   1 unreadable: {tmp_path / 'g.jsonl'}, line 2: there is no 'text', only 'txt'; name it with "
        "--text-key of clean or data prepare",
        "html      1 page of HTML, without tags and scripts",
    ]
    text = "".join(data.tokenizer.decode(tokens[:].tolist()) for tokens in (data.train, data.val))
    assert "<" not in text
    assert "{}" not in text
    assert len(data.val) / len(text) == pytest.approx(0.1, abs=0.001)
    page = read_texts(TrainConfig(data=str(tmp_path / "c.html"), tokenizer="char"), {})
    assert "p" in page.tokenizer.decode(page.train[:].tolist())
    assert "<" not in page.tokenizer.decode(page.train[:].tolist())


def test_a_folder_of_which_nothing_can_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"content": "a"}\n' * 9, encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"there is no text in .*: 9 unreadable: .*line 1: there is no 'text', only 'content'"
    ):
        read_texts(TrainConfig(data=str(tmp_path)), {})


@pytest.mark.parametrize("names", [("big.txt", "zz.txt"), ("zz.txt", "big.txt")])
def test_a_large_text_and_a_tiny_one(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, text in zip(names, ("Words of a large text. " * 2000, "only a few words, in all thirty."), strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    data = read_texts(TrainConfig(data=str(tmp_path), tokenizer="char"), {})
    assert len(data.val) / (len(data.train) + len(data.val)) == pytest.approx(0.1, abs=0.001)


def test_patience_needs_a_text_to_validate_with(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a text of some length. " * 200, encoding="utf-8")
    flags = {"data": str(tmp_path / "a.txt"), "val_fraction": 0.0, "patience": 2, "tokenizer": "char"}
    with pytest.raises(
        ValueError, match="patience: there is no text to validate with; leave --patience or --val-fraction"
    ):
        prepare(flags)


def test_documents_of_a_folder_are_kept_apart(tmp_path: Path, capsys: Output) -> None:
    """gpt eval reads the validation text in the windows of the run: the losses are equal."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for n in range(40):
        (texts / f"{n}.txt").write_text(f"{n} bottles " * (n % 5 + 1), encoding="utf-8")
    out = tmp_path / "run"
    shape = "--d-model 8 --n-layers 1 --n-heads 2 --context-length 24 --batch-size 2 --vocab-size 260"
    options = "--documents apart --max-steps 2 --warmup-steps 1 --lr 0.1 --eval-batches none --val-fraction 0.2"
    assert main(["train", "--data", str(texts), "--out", str(out), *shape.split(), *options.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    (windows,) = (line for line in lines if line.startswith("windows"))
    checkpoint, tokens = load_checkpoint(out / LAST), read_shard(out / TRAIN_TOKENS).tokens
    end = checkpoint.tokenizer.eot_id
    assert end is not None
    n_windows, n_documents = len(document_windows(tokens, 24, end)), int((tokens == end).sum()) + 1
    assert min(n_windows, n_documents) > 10
    assert windows.startswith(f"windows   {n_windows} of {n_documents} documents; ")
    assert main(["eval", str(out / LAST)]) == 0
    assert f"\nloss {checkpoint.state.val_loss:.4f} " in capsys.readouterr().out
    joined = evaluate(checkpoint.model(), read_shard(out / VAL_TOKENS).tokens, 2)
    assert joined != pytest.approx(checkpoint.state.val_loss, rel=1e-4)


@pytest.mark.parametrize("text", ["a b c " * 200, "a b c " * 200 + "<|endoftext|>"])
def test_documents_of_one_text_cannot_be_kept_apart(text: str, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(text, encoding="utf-8")
    with pytest.raises(
        ValueError, match="documents: the training text is one document; leave --documents out, or give"
    ):
        prepare({"data": str(tmp_path / "one.txt"), "documents": "apart", "vocab_size": 260, "context_length": 8})
