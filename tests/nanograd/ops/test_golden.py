"""Our neural ops against PyTorch's numbers in golden/ops.npz, which golden/make_ops.py made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

FOLDER = Path(__file__).parents[2] / "golden"
MASK = np.array([[1, 0, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]], bool)

OURS: dict[str, Callable[..., Tensor]] = {
    "mse": ng.mse,
    "mse sum": lambda a, b: ng.mse(a, b, reduction="sum"),
    "mse none": lambda a, b: ng.mse(a, b, reduction="none"),
    "layernorm": ng.layernorm,
    "layernorm plain": lambda x: ng.layernorm(x, eps=0.1),
    "layernorm no tokens": ng.layernorm,
    "rmsnorm": ng.rmsnorm,
    "rmsnorm plain": lambda x: ng.rmsnorm(x, eps=0.1),
    "embedding": ng.embedding,
    "embedding nothing": ng.embedding,
    "gelu": ng.gelu,
    "gelu tanh": ng.gelu_tanh,
    "silu": ng.silu,
    "swiglu": ng.swiglu,
    "relu": ng.relu,
    "attention": ng.attention,
    "attention causal": lambda q, k, v: ng.attention(q, k, v, causal=True),
    "attention mask": lambda q, k, v: ng.attention(q, k, v, MASK),
    "attention scale": lambda q, k, v: ng.attention(q, k, v, scale=0.3),
    "attention grouped": lambda q, k, v: ng.attention(q, k, v, causal=True),
    "attention one key head": lambda q, k, v: ng.attention(q, k, v, MASK),
    "rope": ng.rope,
    "rope interleaved": lambda x: ng.rope(x, interleaved=True, base=100.0),
    "einsum matmul": lambda a, b: ng.einsum("ik,kj->ij", a, b),
    "einsum dots": lambda a, b: ng.einsum("...ik,...kj->...ij", a, b),
    "einsum three": lambda a, b, c: ng.einsum("ij,jk,k->i", a, b, c),
    "einsum alone": lambda a, b: ng.einsum("ijk,j->j", a, b),
    "einsum stretched": lambda a, b: ng.einsum("ij,ij->i", a, b),
    "prod": ng.prod,
    "prod zero": lambda x: ng.prod(x, axis=-1),
    "prod nothing": lambda x: ng.prod(x, axis=0),
    "cumsum": lambda x: ng.cumsum(x, axis=-2),
    "cumsum nothing": lambda x: ng.cumsum(x, axis=0),
    "std": lambda x: ng.std(x, axis=-1),
    "std Bessel": lambda x: ng.std(x, axis=(0, 2), ddof=1, keepdims=True),
    "norm": lambda x: ng.norm(x, axis=-1),
    "norm all": ng.norm,
    "logsumexp": lambda x: ng.logsumexp(x, axis=(0, -1)),
    "logsumexp one": lambda x: ng.logsumexp(x, axis=1, keepdims=True),
    "dpo": ng.dpo,
    "dpo smoothed": lambda *each: ng.dpo(*each, beta=2.0, label_smoothing=0.1),
    "cross_entropy class ignored": lambda z, t: ng.cross_entropy(z, t, ignore_index=1),
}
for _name, _op in (("softmax", ng.softmax), ("log_softmax", ng.log_softmax)):
    OURS[_name] = OURS[f"{_name} of one"] = _op
    OURS[f"{_name} first axis"] = lambda x, op=_op: op(x, axis=0)
    OURS[f"{_name} of nothing"] = lambda x, op=_op: op(x, axis=-2)
for _reduction in ("mean", "sum", "none"):
    for _smoothing in (0.0, 0.2):
        for _kind in ("", "sequences "):
            OURS[f"cross_entropy {_kind}{_reduction} {_smoothing}"] = lambda z, t, r=_reduction, s=_smoothing: (
                ng.cross_entropy(z, t, reduction=r, label_smoothing=s)
            )


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "ops.npz") as file:
        return dict(file)


def assert_near(ours: np.ndarray, theirs: np.ndarray, what: str, tolerance: float = 1e-10) -> None:
    assert ours.shape == theirs.shape, what
    error = float(np.abs(ours - theirs).max(initial=0))
    assert error <= tolerance * float(np.abs(theirs).max(initial=1e-5)), f"{what}: off by {error:.2g}"


def strided(a: np.ndarray) -> np.ndarray:
    """Lay the same numbers out as every second entry, backwards, of a larger array."""
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), 7).astype(a.dtype)
    wide[..., ::-2] = a
    return wide[..., ::-2]


LAYOUTS = {"rows": np.ascontiguousarray, "columns": np.asfortranarray, "strided": strided}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("name", OURS)
def test_value_and_gradients_are_pytorchs(
    golden: dict[str, np.ndarray], name: str, layout: Callable[[np.ndarray], np.ndarray]
) -> None:
    arrays = [golden[f"{name}/in{i}"] for i in range(sum(key.startswith(f"{name}/in") for key in golden))]
    inputs: list[Any] = [Tensor(layout(a), requires_grad=True) if a.dtype.kind == "f" else layout(a) for a in arrays]
    y = OURS[name](*inputs)
    assert_near(y.data, golden[f"{name}/y"], f"{name}: y")
    y.backward(golden[f"{name}/dy"])
    for i, x in enumerate(inputs):
        if isinstance(x, Tensor):
            assert x.grad is not None
            assert_near(x.grad, golden[f"{name}/dx{i}"], f"{name}: dx{i}")


def test_every_golden_case_has_a_gradient(golden: dict[str, np.ndarray]) -> None:
    assert (FOLDER / "ops.npz").stat().st_size < 300_000
    assert {key.partition("/")[0] for key in golden} == set(OURS)
    for name in OURS:
        dxs = [a for key, a in golden.items() if key.startswith(f"{name}/dx") and a.size]
        moved = any(a.any() for a in dxs)
        assert moved or name.endswith(("of one", "nothing", "none")) or name == "layernorm no tokens", name


@pytest.mark.slow
def test_pytorch_still_makes_the_same_numbers(
    golden: dict[str, np.ndarray], make_again: Callable[[str], dict[str, np.ndarray]]
) -> None:
    made = make_again("make_ops")
    assert made.keys() == golden.keys()
    for key, stored in golden.items():
        assert made[key].dtype == stored.dtype
        assert_near(made[key], stored, key)
