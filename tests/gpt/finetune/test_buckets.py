"""Batches: each example once an epoch, little padding, and a loss that does not see how examples were put together."""

import itertools

import numpy as np
import pytest

import nanograd
from gpt.config import ModelConfig
from gpt.data.batches import IGNORE
from gpt.finetune.buckets import POOL, Buckets, epoch_order, pad
from gpt.finetune.config import FinetuneConfig
from gpt.finetune.instruct import instruction_objective, response_loss
from gpt.finetune.loss_mask import Example
from gpt.model import GPT
from gpt.training import accumulate_gradients
from nanograd import ops

VOCAB = 13


def example(n: int, rng: np.random.Generator) -> Example:
    """Return n + 1 random tokens, about half of which are learned, the last among them."""
    learned = rng.random(n + 1) < 0.5
    learned[-1] = True
    return Example((), rng.integers(0, VOCAB, n + 1), learned)


def examples(*lengths: int) -> list[Example]:
    rng = np.random.default_rng(5)
    return [example(n, rng) for n in lengths]


def model(dropout: float = 0.0) -> GPT:
    config = ModelConfig(vocab_size=VOCAB, context_length=16, d_model=8, n_layers=2, n_heads=2, dropout=dropout)
    made = GPT(config, np.random.default_rng(1))
    for _, p in made.named_parameters():
        p.copy_(p.data + np.random.default_rng(2).standard_normal(p.shape) * 0.3)
    return made.astype(np.float64)


def test_padding_is_on_the_right_and_counts_for_nothing() -> None:
    first = Example((), np.array([4, 5, 6, 7]), np.array([False, False, True, True]))
    second = Example((), np.array([8, 9]), np.array([False, True]))
    batch = pad([first, second], filler=12)
    ids, targets = batch.rows
    assert ids.tolist() == [[4, 5, 6], [8, 12, 12]]
    assert targets.tolist() == [[IGNORE, 6, 7], [9, IGNORE, IGNORE]]
    assert batch.n_targets == 3


def test_an_epoch_has_every_example_once_and_the_next_another_order() -> None:
    lengths = np.random.default_rng(3).integers(1, 99, 150).tolist()
    orders = [epoch_order(lengths, 8, seed=4, epoch=epoch) for epoch in (0, 0, 1)]
    for batches in orders:
        assert sorted(np.concatenate(batches).tolist()) == list(range(150))
        assert sorted(map(len, batches)) == [6] + [8] * 18
    flat = [np.concatenate(batches).tolist() for batches in orders]
    assert flat[0] == flat[1] != flat[2]
    companions = [{frozenset(batch.tolist()) for batch in batches} for batches in orders]
    assert len(companions[0] & companions[2]) < 4  # they do not only come in another order


def test_batches_are_of_like_length() -> None:
    lengths = np.random.default_rng(3).integers(1, 99, 8 * POOL * 2).tolist()
    buckets = Buckets([Example((), np.zeros(n + 1, np.int64), np.ones(n + 1, bool)) for n in lengths], 8, seed=0)
    assert len(buckets) == 2 * POOL
    assert 0 < buckets.padding() < 0.06
    shuffled = np.random.default_rng(0).permutation(lengths).reshape(-1, 8)
    assert 1 - shuffled.sum() / (8 * shuffled.max(axis=1)).sum() > 0.3  # without buckets
    seen = [buckets[k].rows[0].shape[1] for k in range(len(buckets))]
    assert sum(after < before for before, after in itertools.pairwise(seen)) > 5  # not the short ones first


def test_the_batches_of_a_run_go_through_the_epochs() -> None:
    buckets = Buckets(examples(*range(1, 11)), 4, seed=0)
    assert len(buckets) == 3
    for epoch in range(3):
        shapes = [buckets[3 * epoch + k].rows[0] for k in range(3)]
        lengths = [int((row != 0).sum()) for ids in shapes for row in ids + 1]
        assert sum(len(ids) for ids in shapes) == 10
        assert max(lengths) == 10
    again = Buckets(examples(*range(1, 11)), 4, seed=0)
    for ours, theirs in zip(buckets[7].rows, again[7].rows, strict=True):
        assert (ours == theirs).all()
    assert len(Buckets(examples(*range(1, 9)), 4, seed=0)) == 2


def test_how_examples_are_batched_does_not_change_the_loss() -> None:
    told, gpt = examples(3, 9, 1, 16, 5, 9, 2), model()
    losses = [response_loss(gpt, Buckets(told, size, seed=0)) for size in (1, 2, 3, 7)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-12)
    by_hand = 0.0
    for each in told:
        logits = gpt(each.ids[None]).data[0]
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        by_hand -= sum(log_p[t, each.tokens[t + 1]] for t in range(len(each.ids)) if each.learned[t + 1])
    count = sum(int(each.learned[1:].sum()) for each in told)
    assert losses[0] == pytest.approx(by_hand / count, rel=1e-10)


def gradients(told: list[Example], batch_size: int, micro: int, shards: int) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss and gradients of one step over all examples."""
    gpt = model()
    config = FinetuneConfig(batch_size=batch_size, grad_accum_steps=micro, shards=shards)
    objective = instruction_objective(gpt, Buckets(told, batch_size, seed=0), None, config)
    loss, _ = accumulate_gradients(gpt, objective, config, step=0)
    return loss, {name: p.grad.copy() for name, p in gpt.named_parameters() if p.grad is not None}


def test_how_examples_are_batched_does_not_change_the_gradient() -> None:
    told = examples(3, 9, 1, 16, 5, 9)
    loss, expected = gradients(told, 6, 1, 1)
    for batch_size, micro, shards in ((1, 6, 1), (2, 3, 2), (3, 2, 1), (6, 1, 3)):
        other, found = gradients(told, batch_size, micro, shards)
        assert other == pytest.approx(loss, rel=1e-12)
        for name, gradient in expected.items():
            np.testing.assert_allclose(found[name], gradient, rtol=0, atol=1e-11 * abs(gradient).max(), err_msg=name)


def test_what_fills_a_batch_up_changes_nothing() -> None:
    told, gpt = examples(3, 9, 1), model()
    losses = {response_loss(gpt, Buckets(told, 3, seed=0, filler=filler)) for filler in range(VOCAB)}
    assert len(losses) == 1


def test_a_prompt_teaches_nothing_whatever_its_tokens_would_have_been() -> None:
    """Other tokens where the target does not count, as targets, leave every gradient as it is, to the bit."""
    ids = np.array([[1, 2, 3, 4, 5, 6]])
    found = []
    for prompt in ([2, 3], [7, 8]):  # the tokens one step later, which the mask hides
        tokens = np.array([1, *prompt, 4, 5, 6, 9])
        targets = Example((), tokens, np.arange(7) > 2).targets[None]
        gpt = model()
        gpt.loss(ids, targets, reduction="sum").backward()
        found.append({name: p.grad for name, p in gpt.named_parameters() if p.grad is not None})
    for name, gradient in found[0].items():
        assert (gradient == found[1][name]).all(), name


def test_the_gradient_at_every_token_of_a_prompt_is_exactly_zero() -> None:
    """What the head reads where a prompt goes on, and the head's own row of a token that only a prompt has as target."""
    gpt = GPT(
        ModelConfig(vocab_size=VOCAB, context_length=8, d_model=8, n_layers=1, n_heads=2, tie_embeddings=False),
        np.random.default_rng(0),
    ).astype(np.float64)
    assert gpt.head is not None
    batch = pad([Example((), np.array([1, 2, 11, 4, 5, 6]), np.arange(6) > 2), *examples(7)], filler=12)
    ids, targets = batch.rows
    x = nanograd.Tensor(gpt.hidden_states(ids).data, requires_grad=True)
    ops.linear_cross_entropy(x, gpt.head.weight, targets, reduction="sum").backward()
    assert x.grad is not None
    assert ((x.grad == 0).all(axis=-1) == (targets == IGNORE)).all()
    rows = x.data[targets != IGNORE]  # (N, C)
    p = np.exp(rows @ gpt.head.weight.data.T)
    p /= p.sum(axis=-1, keepdims=True)
    p[np.arange(len(p)), targets[targets != IGNORE]] -= 1
    np.testing.assert_allclose(gpt.head.weight.grad, p.T @ rows, rtol=1e-10, atol=1e-14)


def test_what_is_read_only_after_the_last_target_has_an_embedding_gradient_of_exactly_zero() -> None:
    config = ModelConfig(vocab_size=VOCAB, context_length=8, d_model=8, n_layers=1, n_heads=2, tie_embeddings=False)
    for learned, moved in ((4, False), (5, True)):  # the end of a prompt: 11, and then 12, which has one more target
        gpt = GPT(config, np.random.default_rng(0)).astype(np.float64)
        each = Example((), np.array([1, 2, 3, 4, 11, 12]), np.arange(6) == learned)
        batch = pad([each, Example((), np.array([1, 2]), np.array([False, True]))], filler=0)
        gpt.loss(*batch.rows, reduction="sum").backward()
        gradient = gpt.tok_emb.weight.grad
        assert gradient is not None
        assert (gradient[11] != 0).any() == moved
        assert (gradient[0] == 0).all()  # padding
        assert (gradient[12] == 0).all()
        assert (gradient[4] != 0).any()
