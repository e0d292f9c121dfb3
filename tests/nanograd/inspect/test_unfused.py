"""unfused: the parts of a fused op have its value and its gradients, and each is a step of a trace."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Tensor, ops
from nanograd.inspect.trace import reachable
from nanograd.inspect.unfused import COMPOSITIONS, unfused

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


LOOKS = RNG.random((3, 3)) < 0.7
LOOKS[1] = False  # a query that may not look at anything
CALLS: dict[str, tuple[str, list[np.ndarray], list[Any], dict[str, Any]]] = {
    "one head": ("packed_attention", [normal(2, 3, 12)], [], {"n_heads": 1, "causal": True}),
    "heads": ("packed_attention", [normal(2, 3, 24)], [], {"n_heads": 2}),
    "no batch": ("packed_attention", [normal(3, 24)], [], {"n_heads": 4, "causal": True}),
    "groups": ("packed_attention", [normal(2, 3, 16)], [], {"n_heads": 4, "n_kv_heads": 2, "causal": True}),
    "mask": ("packed_attention", [normal(2, 3, 24)], [LOOKS], {"n_heads": 2, "causal": True}),
    "mask of heads": ("packed_attention", [normal(2, 3, 24)], [RNG.random((2, 2, 3, 3)) < 0.5], {"n_heads": 2}),
    "mask of one head": ("packed_attention", [normal(2, 3, 12)], [RNG.random((2, 1, 3, 3)) < 0.5], {"n_heads": 1}),
    "scale": ("packed_attention", [normal(2, 3, 24)], [], {"n_heads": 2, "scale": 0.3}),
    "dropout": ("packed_attention", [normal(2, 3, 24)], [], {"n_heads": 2, "dropout": 0.4, "seed": 7}),
    "attention": ("attention", [normal(2, 4, 3, 5), normal(2, 2, 6, 5), normal(2, 2, 6, 7)], [], {}),
    "attention, two axes": ("attention", [normal(3, 5), normal(6, 5), normal(6, 7)], [], {"causal": True}),
    "loss": ("linear_cross_entropy", [normal(2, 3, 4), normal(5, 4)], [np.array([[1, 2, 0], [4, -100, 3]])], {}),
    "sum": ("linear_cross_entropy", [normal(3, 4), normal(5, 4)], [np.array([1, 2, 0])], {"reduction": "sum"}),
    "swiglu": ("swiglu", [normal(3, 4), normal(3, 4)], [], {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_value_and_gradients_are_those_of_the_fused_op(name: str) -> None:
    op, arrays, constants, options = CALLS[name]

    def run() -> tuple[np.ndarray, ...]:
        leaves = [Tensor(a, requires_grad=True) for a in arrays]
        y = getattr(ops, op)(*leaves, *constants, **options)
        assert y.node is not None
        assert (y.node.op.name == op) == (not inside)
        y.backward(np.random.default_rng(1).standard_normal(y.shape))
        return y.data, *(leaf.grad for leaf in leaves)  # type: ignore[return-value]

    inside = False
    expected = run()
    with unfused():
        inside = True
        for got, want in zip(run(), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())


def test_every_composition_is_tested() -> None:
    assert {op for op, *_ in CALLS.values()} == COMPOSITIONS.keys()


@pytest.mark.parametrize("llama", [False, True])
def test_a_gpt_has_the_same_loss_and_gradients(llama: bool) -> None:
    options: dict[str, Any] = {
        "norm": "rmsnorm",
        "position": "rope",
        "mlp": "gated",
        "activation": "silu",
        "n_kv_heads": 1,
    }
    config = ModelConfig(
        vocab_size=7, context_length=4, d_model=8, n_layers=2, n_heads=2, bias=not llama, **(options if llama else {})
    )
    model = GPT(config, np.random.default_rng(0)).astype(np.float64)
    ids = np.array([[1, 2, 3, 4, 6]])

    def run() -> tuple[Tensor, list[np.ndarray]]:
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        return loss, ng.grad(loss, list(model.parameters()), retain_graph=True)  # type: ignore[return-value]

    fused, expected = run()
    with ng.trace(unfused=True):
        loss, got = run()
    assert abs(loss.item() - fused.item()) <= 1e-12
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())
    assert loss.node is not None
    names = [node.op.name for node in reachable(loss.node)]
    assert not COMPOSITIONS.keys() & set(names)
    at = names.index("softmax")
    assert names[at - 2 : at] == ["mul", "masked_fill"]
    assert names[at + 1] == "matmul"
    assert names[-2:] == ["linear", "cross_entropy"]
