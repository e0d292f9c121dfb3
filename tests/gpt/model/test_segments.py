"""GPT: documents that are packed into one row are read as if each were alone."""

from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import readable
from nanograd.seeds import DROPOUT, seeds

LENGTHS = [[30, 1, 49], [80]]  # of the documents in two rows
SEGMENTS = np.array([np.repeat(np.arange(len(row)), row) for row in LENGTHS])
KINDS: dict[str, dict[str, Any]] = {
    "learned": {},
    "rope": {"position": "rope"},
    "rope, a window": {"position": "rope", "window": 7},
    "learned, a window, grouped": {"window": 20, "n_kv_heads": 1},
}


def small(**options: Any) -> GPT:
    config = ModelConfig(vocab_size=11, context_length=80, d_model=16, n_layers=2, n_heads=2, **options)
    model = GPT(config, np.random.default_rng(0)).astype(np.float64)
    for p in model.parameters():
        p.copy_(p.data * 3)  # attention that is far from uniform
    return model


def draw_ids(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 11, SEGMENTS.shape)


@pytest.mark.parametrize("pair", ["fast", "readable"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_document_packed_with_others_gets_the_logits_that_it_gets_alone(kind: str, pair: str) -> None:
    model, ids = small(**KINDS[kind]), draw_ids(1)
    if pair == "readable":
        with readable():
            logits = model(ids, segments=SEGMENTS).data
    else:
        logits = model(ids, segments=SEGMENTS).data
    for row in range(2):
        for segment in range(len(LENGTHS[row])):
            inside = SEGMENTS[row] == segment
            alone = model(ids[row : row + 1, inside]).data[0]
            np.testing.assert_allclose(logits[row, inside], alone, rtol=0, atol=1e-12)
    assert np.abs(logits[0, 31:] - model(ids).data[0, 31:]).max() > 1e-3  # else the test would prove nothing


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_sum_of_those_of_the_documents(kind: str) -> None:
    ids, targets = draw_ids(1), draw_ids(2)
    packed, apart = small(**KINDS[kind]), small(**KINDS[kind])
    packed.loss(ids, targets, segments=SEGMENTS, reduction="sum").backward()
    for row in range(2):
        for segment in range(len(LENGTHS[row])):
            inside = SEGMENTS[row] == segment
            apart.loss(ids[row : row + 1, inside], targets[row : row + 1, inside], reduction="sum").backward()
    for (name, p), q in zip(packed.named_parameters(), apart.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        np.testing.assert_allclose(p.grad, q.grad, rtol=0, atol=1e-12 * np.abs(q.grad).max(), err_msg=name)


def test_recomputed_blocks_know_the_segments() -> None:
    """Also with dropout, whose masks are drawn again."""
    gradients = []
    for recompute in (False, True):
        model = small(dropout=0.3)
        model.recompute = recompute
        with seeds(0, DROPOUT, 0, 0, 0):
            model.loss(draw_ids(1), draw_ids(2), segments=SEGMENTS).backward()
        gradients.append([p.grad.tobytes() for p in model.parameters() if p.grad is not None])
    assert gradients[0] == gradients[1]
