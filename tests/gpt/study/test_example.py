"""The page of one training example: the attention maps on it."""

import numpy as np

from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.study.example import AttentionRecorder, attention_maps
from nanograd.op import observe
from nanograd.ops.attention import attention_backward, attention_forward
from nanograd.ops.packed_attention import split_heads


def test_maps_are_what_attention_pulls_back() -> None:
    rng = np.random.default_rng(0)
    qkv, dy = rng.standard_normal((1, 5, 12)), rng.standard_normal((1, 5, 4))
    maps = attention_maps(qkv, dy, {"n_heads": 2, "causal": True})
    q, k, v = split_heads(qkv, 2, 2)
    _, saved = attention_forward(q, k, v, causal=True)
    heads = split_heads(dy, 2)[0]
    dq, dk, dv, _ = attention_backward(heads, saved)
    scale = 2**-0.5
    assert dq is not None
    np.testing.assert_allclose(maps["P"].sum(axis=-1), 1)
    np.testing.assert_allclose(maps["dS"].sum(axis=-1), 0, atol=1e-15)
    np.testing.assert_allclose(scale * maps["dS"] @ k[0], dq[0], atol=1e-15)
    np.testing.assert_allclose(scale * np.swapaxes(maps["dS"], -1, -2) @ q[0], dk[0], atol=1e-15)  # type: ignore[index]
    np.testing.assert_allclose(np.swapaxes(maps["P"], -1, -2) @ heads[0], dv[0], atol=1e-15)  # type: ignore[index]


def test_query_heads_that_share_a_key_head_have_maps_of_their_own() -> None:
    rng = np.random.default_rng(0)
    qkv, dy = (
        rng.standard_normal((1, 3, 8)),
        rng.standard_normal((1, 3, 4)),
    )  # two query heads, one of keys, one of values
    repeated = qkv.reshape(1, 3, 4, 2)[:, :, [0, 1, 2, 2, 3, 3]].reshape(1, 3, 12)
    maps = attention_maps(qkv, dy, {"n_heads": 2, "n_kv_heads": 1, "causal": True})
    for name, expected in attention_maps(repeated, dy, {"n_heads": 2, "causal": True}).items():
        assert expected.shape == (2, 3, 3)
        np.testing.assert_allclose(maps[name], expected, rtol=1e-12)


def test_layers_come_in_their_order() -> None:
    config = ModelConfig(vocab_size=5, context_length=4, d_model=4, n_layers=3, n_heads=2)
    recorder = AttentionRecorder()
    with observe(recorder):
        GPT(config, np.random.default_rng(0)).loss(np.array([[1, 2, 3]]), np.array([[2, 3, 4]])).backward()
    assert len(recorder.records) == 3
    for (qkv, _), (seen, _, _) in zip(recorder.nodes.values(), recorder.records, strict=True):
        assert seen is qkv
