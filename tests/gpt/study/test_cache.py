"""The page of the key-value cache: its counts are those of the ops, and the logits agree."""

from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.generation.decoder import Decoder
from gpt.model import GPT
from gpt.study import cache
from nanograd.op import Observer, observe

CONFIGS = [
    ModelConfig(vocab_size=11, context_length=6, d_model=8, n_layers=3, n_heads=2),
    ModelConfig(
        vocab_size=11, context_length=6, d_model=8, n_layers=2, n_heads=4, n_kv_heads=2, mlp="gated", norm="rmsnorm",
        position="rope",
    ),
]  # fmt: skip


class Multiplications(Observer):
    """Count the multiplications of the matrix products of a forward pass, but for the logits of all rows but the last."""

    total = 0

    def after_forward(self, op: Any, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Any) -> None:
        if op.name == "linear":
            rows = arrays[0].size // arrays[0].shape[-1]
            self.total += arrays[1].size * (1 if y.shape[-1] == 11 else rows)
        if op.name == "packed_attention":
            T = arrays[0].shape[1]
            self.total += 2 * T * T * y.shape[-1]  # q kᵀ and P v; H D features


@pytest.mark.parametrize("config", CONFIGS)
def test_the_count_without_cache_is_that_of_the_ops(config: ModelConfig) -> None:
    model, shape = GPT(config, np.random.default_rng(0)), cache.shape_of(config)
    for T in (1, 4, 6):
        seen = Multiplications()
        with observe(seen):
            model(np.zeros((1, T), int))
        assert seen.total == cache.without_cache(T, shape)
    assert cache.with_cache(1, shape) == cache.without_cache(1, shape)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_memory_is_that_of_the_cache(config: ModelConfig) -> None:
    model = GPT(config, np.random.default_rng(0))
    arrays = Decoder(model).cache
    assert cache.totals(cache.shape_of(config))["memory"] == sum(a.nbytes for a in [*arrays.keys, *arrays.values])


def test_logits_agree_and_a_wrong_cache_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = GPT(CONFIGS[1], np.random.default_rng(0)), np.arange(6)
    assert cache.difference(model, ids) < 1e-6
    step = Decoder.step

    def forgetful(self: Decoder, ids: np.ndarray) -> np.ndarray:
        self.cache.keys[0][:, :, 0] = 0
        return step(self, ids)

    monkeypatch.setattr(Decoder, "step", forgetful)
    assert cache.difference(model, ids) > 1e-5  # small weights: attention changes the logits little
    for p in model.parameters():
        p.copy_(p.data * 5)
    with pytest.raises(RuntimeError, match="the decoder's logits differ"):
        cache.topic(model, ids)


def test_the_page_has_its_numbers_and_the_same_bytes() -> None:
    page = cache.topic().page()
    assert page == cache.topic().page()
    assert page.count('class="computed"') == cache.PICTURE * (cache.PICTURE + 1) // 2 + cache.PICTURE
    assert "def _decode_step(" in cache.topic().text()
