"""The classifier: it reads the last real token, ignores padding, and learns."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.finetune.classification_data import Row, balance, read_labelled, split
from gpt.finetune.classifier import (
    ClassifyConfig,
    EncodedText,
    GPTClassifier,
    choose_context,
    collate_texts,
    encode_texts,
    probabilities,
    text_loss,
)
from gpt.finetune.task import make_objective, set_trainable
from gpt.model import GPT
from gpt.tokenizer import BPETokenizer, CharTokenizer
from gpt.training import Record, accumulate_gradients, fit, in_shards, make_optimizer, mean_loss

SHAPE = ModelConfig(vocab_size=11, context_length=12, d_model=16, n_layers=2, n_heads=2)
LLAMA = dataclasses.replace(SHAPE, norm="rmsnorm", position="rope", mlp="gated", bias=False, n_kv_heads=1)
IDS = [1, 2, 3], [4, 5], [6], [7, 8, 9, 10, 1, 2, 3], [3, 1, 4, 1, 5]
TEXTS = [EncodedText(ids, label) for ids, label in zip(IDS, (0, 2, 1, 1, 0), strict=True)]
CLASSES = np.array([text.label for text in TEXTS])
ALL = np.arange(len(TEXTS))


def classifier(shape: ModelConfig = SHAPE) -> GPTClassifier:
    """Return a classifier of three classes in float64, whose logits are not small."""
    rng = np.random.default_rng(3)
    model = GPTClassifier(GPT(shape, rng), 3, rng).astype(np.float64)
    for parameter in model.parameters():
        parameter.copy_(parameter.data + 0.3 * rng.standard_normal(parameter.shape))
    return model.eval()


def logits(model: GPTClassifier, ids: list[int], padding: list[int]) -> np.ndarray:
    """Return the logits (K,) of one text followed by padding."""
    y: np.ndarray = model(np.array([ids + padding]), np.array([len(ids)])).data[0]
    return y


# The last real token


@pytest.mark.parametrize("shape", [SHAPE, LLAMA])
def test_padding_does_not_change_the_logits_of_a_text(shape: ModelConfig) -> None:
    model = classifier(shape)
    for ids in IDS:
        alone = logits(model, ids, [])
        for padding in ([0], [0] * 5, [9, 3, 7]):
            assert logits(model, ids, padding) == pytest.approx(alone, rel=1e-12, abs=1e-13)
    batch = model(*collate_texts(TEXTS).rows[:2]).data
    for row, ids in zip(batch, IDS, strict=True):
        assert row == pytest.approx(logits(model, ids, []), rel=1e-12, abs=1e-13)


def test_every_real_token_changes_the_logits() -> None:
    model = classifier()
    ids = IDS[4]
    alone = logits(model, ids, [])
    for i in range(len(ids)):
        changed = [*ids[:i], 0, *ids[i + 1 :]]
        assert np.abs(logits(model, changed, [0, 0]) - alone).max() > 1e-3


def test_the_head_reads_the_hidden_state_of_the_last_real_token() -> None:
    model = classifier()
    x = model.gpt.hidden_states(np.array([[4, 5, 0, 0]])).data[0, 1]
    by_hand = model.head.weight.data @ x + model.head.bias.data  # type: ignore[union-attr]
    assert logits(model, [4, 5], [0, 0]) == pytest.approx(by_hand, rel=1e-12)


def test_the_gradient_does_not_reach_the_padding() -> None:
    model = classifier()
    text_loss(model, np.array([[4, 5, 9, 9]]), np.array([2]), np.array([1])).backward()
    gradient = model.gpt.tok_emb.weight.grad
    assert gradient is not None
    assert np.abs(gradient[9]).max() == 0  # exactly
    assert np.abs(gradient[[4, 5]]).max() > 1e-3


@pytest.mark.parametrize("lengths", [[0], [4], [2, 2]])
def test_invalid_lengths_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="lengths must be 1 to T, one a text of ids"):
        classifier()(np.array([[1, 2, 3]]), np.array(lengths))


# Batches


def test_the_composition_of_batches_changes_neither_loss_nor_gradient() -> None:
    results = []
    for groups in ([ALL], [[i] for i in ALL], [[3, 0], [2, 4, 1]], [[1, 2], [0, 4], [3]]):
        model = classifier()
        losses = [text_loss(model, *collate_texts([TEXTS[i] for i in group]).rows) for group in groups]
        for loss in losses:
            loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        results.append((sum(loss.item() for loss in losses), gradients))
    (loss, gradients), *others = results
    for other_loss, other_gradients in others:
        assert other_loss == pytest.approx(loss, rel=1e-12)
        for name, gradient in gradients.items():
            other = other_gradients[name]
            assert gradient is not None
            assert other is not None
            assert np.abs(other - gradient).max() <= 1e-10 * max(1.0, np.abs(gradient).max()), name


def test_micro_batches_of_different_sizes_give_the_mean_over_the_texts_of_a_step() -> None:
    config = ClassifyConfig(batch_size=2, grad_accum_steps=3, shards=2)  # 2, 2 and 1 texts: a whole epoch
    model = classifier()
    objective = make_objective(TEXTS, TEXTS, collate_texts, text_loss, config)
    loss, n = accumulate_gradients(in_shards(model, objective, config), objective, config, 0)
    assert n == len(TEXTS)
    by_hand = -np.log(probabilities(model, TEXTS).astype(np.float64)[ALL, CLASSES]).mean()
    assert loss == pytest.approx(by_hand, rel=1e-5)


def test_the_validation_loss_is_a_mean_over_texts() -> None:
    model = classifier()
    config = ClassifyConfig(batch_size=2, shards=1)
    batches = make_objective(TEXTS, TEXTS, collate_texts, text_loss, config).val_batches
    assert batches is not None
    by_hand = -np.log(probabilities(model, TEXTS).astype(np.float64)[ALL, CLASSES]).mean()
    assert mean_loss(model, batches(), text_loss) == pytest.approx(
        by_hand, rel=1e-5
    )  # a mean of means of batches of 2, 2 and 1 would not be it


def test_probabilities_are_in_the_order_of_the_texts() -> None:
    model = classifier()
    p = probabilities(model, TEXTS, batch_size=2)
    for row, ids in zip(p, IDS, strict=True):
        z = np.exp(logits(model, ids, []))
        assert row == pytest.approx(z / z.sum(), rel=1e-5)


# Texts


def test_what_encoding_loses_is_counted() -> None:
    tokenizer = CharTokenizer("abc")
    rows = [Row(1, "abcab", "y"), Row(2, "a?b!", "x"), Row(3, "c")]
    texts, notes = encode_texts(tokenizer, rows, ["x", "y"], 3)
    assert texts == [EncodedText([0, 1, 2], 1), EncodedText([0, 1], 0), EncodedText([2], 0)]
    assert notes == [
        "1 text cut to the context of 3 tokens, at the end",
        "2 characters left out that the tokenizer does not have",
    ]


def test_an_end_of_text_written_in_a_text_is_text() -> None:
    tokenizer = BPETokenizer.train("", 257)
    (text,), _ = encode_texts(tokenizer, [Row(1, "<|endoftext|>")], ["x"], 99)
    assert tokenizer.eot_id not in text.ids
    assert len(text) == 13


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row(4, ""), "line 4: the text is empty; take it out"),
        (Row(4, " "), "line 4: the text is empty"),
        (Row(4, "???"), r"line 4: the text has no character that the tokenizer has: '\?\?\?'"),
        (Row(4, "a", "egg"), "line 4: the classifier has no label 'egg'; did you mean eggs"),
        (Row(4, "a", "7"), "line 4: the classifier has no label '7'; it knows eggs, ham"),
    ],
)
def test_texts_that_cannot_be_classified(row: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_texts(CharTokenizer("abc"), [Row(3, "a"), row], ["eggs", "ham"], 3)


def test_the_context_holds_99_of_100_texts() -> None:
    assert choose_context([3]) == 16
    assert choose_context([16, 17]) == 32
    assert choose_context([20] * 990 + [100] * 10) == 32
    assert choose_context([20] * 989 + [100] * 11) == 112
    assert choose_context([5000]) == 256


# Learning


def last_token_decides() -> list[EncodedText]:
    """Return texts whose class is their last token modulo 3."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 11, rng.integers(1, 9)).tolist() for _ in range(200)]
    return [EncodedText(row, row[-1] % 3) for row in ids]


@pytest.mark.parametrize(
    "settings",
    [{}, {"freeze": "all_but_last_block"}, {"freeze": "all_but_head"}, {"lora_rank": 2, "lora_alpha": 2.0}],
    ids=lambda settings: " ".join(map(str, settings.values())) or "all",
)
def test_it_learns_and_frozen_parameters_stay(settings: dict[str, Any]) -> None:
    texts = last_token_decides()
    config = ClassifyConfig(max_steps=60, batch_size=20, lr=2e-2, warmup_steps=5, shards=1, **settings)
    model = GPTClassifier(GPT(SHAPE, np.random.default_rng(1)), 3, np.random.default_rng(2))
    before = {name: array.copy() for name, array in model.state_dict().items()}
    set_trainable(model, config, np.random.default_rng(0))
    records: list[Record] = []
    fit(
        model,
        make_optimizer(model, config),
        make_objective(texts, texts, collate_texts, text_loss, config),
        config,
        after_step=records.append,
    )
    right = (probabilities(model.eval(), texts).argmax(axis=1) == [text.label for text in texts]).mean()
    assert right >= 0.8  # a coin of three sides: 0.33
    after = model.state_dict()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    last_block = {name for name in before if name.startswith(("gpt.blocks.1.", "gpt.norm."))}
    head = {"head.weight", "head.bias"}
    if not settings:
        assert changed == set(before)
    elif "lora_rank" in settings:
        assert changed == head
    else:
        assert changed == (head | last_block if settings["freeze"] == "all_but_last_block" else head)


def test_a_real_collection_in_seconds(data_dir: Path) -> None:
    """A few hundred messages: far above the 50 % of a coin."""
    data = read_labelled(data_dir / "SMSSpamCollection.tsv")
    drawn = balance(data.rows, 0)
    splits = split(drawn[:: len(drawn) // 400], 0)
    tokenizer = BPETokenizer.train("\n".join(row.text for row in splits.train), 300)
    train, test = (encode_texts(tokenizer, rows, data.labels, 64)[0] for rows in (splits.train, splits.test))
    shape = dataclasses.replace(SHAPE, vocab_size=tokenizer.vocab_size, context_length=64, d_model=32)
    model = GPTClassifier(GPT(shape, np.random.default_rng(1)), 2, np.random.default_rng(2))
    config = ClassifyConfig(max_steps=60, batch_size=16, lr=3e-3, warmup_steps=5, shards=2)
    objective = dataclasses.replace(make_objective(train, test, collate_texts, text_loss, config), val_batches=None)
    fit(model, make_optimizer(model, config), objective, config, after_step=lambda record: None)
    right = (probabilities(model.eval(), test).argmax(axis=1) == [text.label for text in test]).mean()
    assert right >= 0.85
