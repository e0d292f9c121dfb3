"""Training holds no more memory after a thousand steps than after a hundred."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd.optim import AdamW, clip_grad_norm

STATM = Path("/proc/self/statm")
PR_SET_THP_DISABLE = 41


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * 4096


@pytest.fixture
def no_huge_pages() -> Iterator[None]:
    """Keep the kernel from joining pages while a test counts them: a page of 2 MB is resident when any of it is used."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
    yield
    assert prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_is_flat_over_a_thousand_steps(no_huge_pages: None) -> None:
    rng = np.random.default_rng(0)
    model = GPT(ModelConfig(vocab_size=65, context_length=16, d_model=32, n_layers=2, n_heads=2, dropout=0.1), rng)
    optimizer = AdamW(model.named_parameters(), 1e-3)
    ids = rng.integers(0, 65, (8, 17))
    seen = []
    for step in range(1, 1001):
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            seen.append(resident_bytes())
    assert seen[-1] - seen[0] < 1_000_000, f"resident bytes every hundred steps: {seen}"
