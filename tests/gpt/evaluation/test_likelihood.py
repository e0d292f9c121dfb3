"""Tests of gpt/evaluation/likelihood.py: ln p of choices against whole forward passes, and what is chosen."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.evaluation import likelihood
from gpt.evaluation.likelihood import Outcome, encode_item, mean, paired_difference, score_item, score_items
from gpt.evaluation.tasks import Item
from gpt.generation.sampling import log_probabilities
from gpt.model import GPT
from gpt.tokenizer import BPETokenizer, CharTokenizer, Tokenizer

T = 24
TEXT = "the cat sat on the mat. the dog sat on the log. the cat and the dog ran. " * 5
BPE = BPETokenizer.train(TEXT, 290)
CHARS = CharTokenizer("".join(sorted(set(TEXT + "\n"))))
ITEMS = [
    Item(1, "a", "the cat sat on", (" the mat", " a dog", " the"), 0),  # two of them begin alike
    Item(2, "a", "the dog ", ("ran", "sat on the log"), 1),  # the space belongs to the choice
    Item(3, "a", "", ("the cat", "dog"), 0),
    Item(4, "a", "the cat sat on the mat. the dog", (" sat", " ran on"), 0),  # longer than T characters
    Item(5, "a", "t", ("he", "ea"), 0),  # a token spans the end of the context
]
KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {"norm": "rmsnorm", "position": "rope", "mlp": "gated", "tie_embeddings": False, "n_kv_heads": 1},
    "window": {"position": "rope", "window": 4},
}


def gpt(tokenizer: Tokenizer, **kind: Any) -> GPT:
    config = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=T, d_model=8, n_layers=2, n_heads=2, **kind)
    model = GPT(config)
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.copy_(0.5 * rng.standard_normal(p.shape))
    return model.astype(np.float64)


def by_whole_forward_passes(model: GPT, tokenizer: Tokenizer, item: Item) -> list[float]:
    """Return ln p of each choice: ids of the text, the same cut for all, one forward pass each, no cache."""
    texts = [tokenizer.encode(item.context + choice) for choice in item.choices]
    context = tokenizer.encode(item.context.rstrip())
    n = 0
    while n < len(context) and all(n < len(ids) - 1 and ids[n] == context[n] for ids in texts):
        n += 1
    if n == 0:
        newline = tokenizer.encode("\n")
        texts, n = [newline + ids for ids in texts], 1
    cut = max(0, max(len(ids) for ids in texts) - T - 1)
    sums = []
    for ids in texts:
        ids = ids[cut:]
        log_p = log_probabilities(model(np.array([ids[:-1]])).data[0])  # (tokens, V)
        sums.append(sum(float(log_p[t - 1, ids[t]]) for t in range(n - cut, len(ids))))
    return sums


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokenizer", [BPE, CHARS], ids=["bpe", "char"])
def test_the_sums_are_those_of_whole_forward_passes(kind: str, tokenizer: Tokenizer) -> None:
    model = gpt(tokenizer, **KINDS[kind])
    for item in ITEMS:
        outcome = score_item(model, tokenizer, item)
        expected = by_whole_forward_passes(model, tokenizer, item)
        np.testing.assert_allclose(outcome.log_p, expected, rtol=1e-9)
        assert outcome.chosen == int(np.argmax(expected))
    assert not encode_item(BPE, ITEMS[0], T).n_cut
    assert encode_item(CHARS, ITEMS[3], T).n_cut == 38 - (T + 1)


def test_targets_that_are_off_by_one_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right: Callable[..., Any] = likelihood.score_targets

    def off_by_one(x: np.ndarray, head: np.ndarray, targets: np.ndarray) -> Any:
        return right(x, head, np.roll(targets, 1))

    monkeypatch.setattr(likelihood, "score_targets", off_by_one)
    with pytest.raises(AssertionError):
        test_the_sums_are_those_of_whole_forward_passes("gpt2", CHARS)


def test_the_context_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = likelihood.Decoder.hidden_states

    def count(self: Any, ids: np.ndarray, **options: Any) -> np.ndarray:
        read.append(np.size(ids))
        return original(self, ids, **options)

    monkeypatch.setattr(likelihood.Decoder, "hidden_states", count)
    score_item(gpt(CHARS), CHARS, Item(1, "a", "the cat sat on", (" a", " the"), 0))
    assert read == [13, 2, 4]  # 14 characters but the last, which is read again with all but the last of each choice


def test_white_space_at_the_end_of_a_context_belongs_to_the_choice() -> None:
    moved, plain = (encode_item(BPE, Item(1, "a", c, choices), T) for c, choices in (
        ("the cat ", ("sat", "ran")), ("the cat", (" sat", " ran")),
    ))  # fmt: skip
    assert moved == plain


def test_completions_are_right_if_greedy_decoding_writes_them() -> None:
    model = gpt(CHARS)
    ids = CHARS.encode("the c")
    for _ in range(3):
        ids.append(int(model(np.array([ids])).data[0, -1].argmax()))
    written = CHARS.decode(ids)[5:]
    outcome = score_item(model, CHARS, Item(1, "a", "the c", (written,)))
    assert (outcome.acc, outcome.acc_norm, outcome.written) == (1, 1, written)
    wrong = written[:2] + ("a" if written[2] != "a" else "o")
    outcome = score_item(model, CHARS, Item(1, "a", "the c", (wrong,)))
    assert (outcome.acc, outcome.acc_norm, outcome.written) == (0, 0, written)
    assert outcome.p_right == pytest.approx(math.exp(outcome.log_p[0]))


def outcome(number: int, log_p: tuple[float, ...], choices: tuple[str, ...], answer: int = 0) -> Outcome:
    n_tokens = tuple(len(choice) for choice in choices)
    return Outcome(Item(number, "a", "c", choices, answer), log_p, n_tokens, 0, False, "")


def test_both_rules_by_hand() -> None:
    # ln p -3 of 2 bytes and -4 of 4 (é has two; the space does not count): -1.5 and -1 a byte.
    found = outcome(1, (-3.0, -4.0), (" ab", " éab"), 1)
    assert (found.chosen, found.chosen_norm, found.acc, found.acc_norm) == (0, 1, 0, 1)
    assert found.p_right == pytest.approx(math.exp(-4) / (math.exp(-3) + math.exp(-4)))
    assert found.uniform == 0
    assert outcome(1, (-1.0, -2.0, -3.0), ("ab", "ba", "abc")).uniform == 0.5


def test_means_and_their_errors() -> None:
    p, n = 0.75, 8
    values = [1.0] * 6 + [0.0] * 2
    assert mean(values) == pytest.approx((p, math.sqrt(p * (1 - p) / (n - 1)), n))
    assert math.isnan(mean([1.0]).error)
    ours = [outcome(i, (-1.0, -2.0), ("a", "b"), answer) for i, answer in enumerate([0, 0, 1, 1])]
    theirs = [outcome(i, (-1.0, -2.0), ("a", "b"), answer) for i, answer in enumerate([0, 0, 0, 1, 0])][::-1]
    difference = paired_difference(ours, theirs, "acc")  # 0, 0, +1, 0: the fifth item has no partner
    assert difference == pytest.approx((0.25, math.sqrt(0.25 * 0.75 / 3), 4))
    assert paired_difference(ours[:1], theirs[:1], "acc") is None


def test_what_cannot_be_asked_is_skipped_with_a_reason() -> None:
    skipped: list[tuple[int, str]] = []
    items = [
        Item(1, "a", "the cat", (" sat", " ran")),
        Item(2, "a", "the €", (" sat", " ran")),
        Item(3, "a", "the cat", (" sat", " sat" * 7)),
    ]
    found = score_items(gpt(CHARS), CHARS, items, lambda item, reason: skipped.append((item.number, reason)))
    assert [outcome.item.number for outcome in found] == [1]
    assert [number for number, _ in skipped] == [2, 3]
    assert "characters must be among" in skipped[0][1]
    assert skipped[1][1] == "a choice of 28 tokens does not fit into the context of 24"
