"""Make ops.npz: what PyTorch computes for each neural op. Run it where torch is installed: python tests/golden/make_ops.py

An entry is "<case>/in0", … (the float64 inputs and integer ids), "<case>/dy" (a random cotangent), "<case>/y" and
"<case>/dx0", … (one for each floating input). The cases carry the names that test_golden_ops.py gives our calls.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

PATH = Path(__file__).with_name("ops.npz")
Torch = Callable[..., torch.Tensor]


def rope(x: torch.Tensor, interleaved: bool, base: float = 10000.0) -> torch.Tensor:
    """Turn each pair by complex multiplication, which shares no line with our formula."""
    T, D = x.shape[-2:]
    angle = torch.arange(T, dtype=torch.float64)[:, None] * base ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    turn = torch.polar(torch.ones_like(angle), angle)
    pairs = x.unflatten(-1, (D // 2, 2)) if interleaved else x.unflatten(-1, (2, D // 2)).transpose(-1, -2)
    turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
    return turned.flatten(-2) if interleaved else turned.transpose(-1, -2).flatten(-2)


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, **options: Any) -> torch.Tensor:
    """Score logits (…, V): PyTorch has the classes on axis 1."""
    losses = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), **options)
    return losses.reshape(targets.shape) if options.get("reduction") == "none" else losses


def dpo(chosen: torch.Tensor, rejected: torch.Tensor, *reference: torch.Tensor, **options: Any) -> torch.Tensor:
    """Compare the log-ratios of policy and reference, as equation 7 of Rafailov et al. 2023 is usually coded."""
    beta, smoothing = options.get("beta", 0.1), options.get("smoothing", 0.0)
    z = beta * ((chosen - rejected) - (reference[0] - reference[1]))
    return (-(1 - smoothing) * F.logsigmoid(z) - smoothing * F.logsigmoid(-z)).mean()


MASK = torch.tensor([[1, 0, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]], dtype=torch.bool)


def cases(rng: np.random.Generator) -> dict[str, tuple[Torch, list[np.ndarray]]]:
    """Return the torch function and the inputs of each case."""

    def n(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape)

    def ids(high: int, *shape: int) -> np.ndarray:
        return rng.integers(0, high, shape)

    some = np.array([2, -100, 0, 5, -100, 2])
    sdpa = F.scaled_dot_product_attention
    made: dict[str, tuple[Torch, list[np.ndarray]]] = {
        "mse": (F.mse_loss, [n(3, 4), n(3, 4)]),
        "mse sum": (lambda a, b: F.mse_loss(a, b, reduction="sum"), [n(3, 1), n(3, 1)]),
        "mse none": (lambda a, b: F.mse_loss(a, b, reduction="none"), [n(0, 3), n(0, 3)]),
        "layernorm": (lambda x, w, b: F.layer_norm(x, (5,), w, b), [n(2, 3, 5), n(5), n(5)]),
        "layernorm plain": (lambda x: F.layer_norm(x, (4,), eps=0.1), [n(3, 4).T.copy().T]),
        "layernorm no tokens": (lambda x, w, b: F.layer_norm(x, (5,), w, b), [n(0, 5), n(5), n(5)]),
        "rmsnorm": (lambda x, w: F.rms_norm(x, (5,), w, eps=1e-5), [n(2, 3, 5), n(5)]),
        "rmsnorm plain": (lambda x: F.rms_norm(x, (1,), eps=0.1), [n(3, 1)]),
        "embedding": (lambda w, i: F.embedding(i, w), [n(5, 3), np.array([[1, 1, 4], [0, 1, 4]])]),
        "embedding nothing": (lambda w, i: F.embedding(i, w), [n(5, 3), np.zeros((2, 0), np.int64)]),
        "gelu": (F.gelu, [3 * n(4, 5)]),
        "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), [3 * n(4, 5)]),
        "silu": (F.silu, [3 * n(4, 5)]),
        "swiglu": (lambda a, b: F.silu(a) * b, [n(2, 3, 4), n(2, 3, 4)]),
        "relu": (F.relu, [np.append(n(7), 0.0)]),
        "attention": (sdpa, [n(2, 3, 4), n(2, 5, 4), n(2, 5, 2)]),
        "attention causal": (lambda q, k, v: sdpa(q, k, v, is_causal=True), [n(2, 3, 4, 2) for _ in range(3)]),
        "attention mask": (lambda q, k, v: sdpa(q, k, v, attn_mask=MASK), [n(2, 3, 4), n(2, 5, 4), n(2, 5, 1)]),
        "attention scale": (lambda q, k, v: sdpa(q, k, v, scale=0.3), [n(1, 1, 4), n(1, 5, 4), n(1, 5, 3)]),
        "attention grouped": (
            lambda q, k, v: sdpa(q, k, v, is_causal=True, enable_gqa=True),
            [n(2, 6, 4, 3), n(2, 2, 4, 3), n(2, 2, 4, 3)],
        ),
        "attention one key head": (
            lambda q, k, v: sdpa(q, k, v, attn_mask=MASK, enable_gqa=True),
            [n(1, 4, 3, 2), n(1, 1, 5, 2), n(1, 1, 5, 3)],
        ),
        "rope": (lambda x: rope(x, False), [n(2, 3, 5, 6)]),
        "rope interleaved": (lambda x: rope(x, True, 100.0), [n(4, 2)]),
        "einsum matmul": (lambda a, b: torch.einsum("ik,kj->ij", a, b), [n(2, 3), n(3, 4)]),
        "einsum dots": (lambda a, b: torch.einsum("...ik,...kj->...ij", a, b), [n(2, 1, 2, 3), n(4, 3, 2)]),
        "einsum three": (lambda a, b, c: torch.einsum("ij,jk,k->i", a, b, c), [n(2, 3), n(3, 4), n(4)]),
        "einsum alone": (lambda a, b: torch.einsum("ijk,j->j", a, b), [n(2, 3, 4), n(3)]),
        "einsum stretched": (lambda a, b: torch.einsum("ij,ij->i", a, b), [n(2, 1), n(2, 3)]),
        "prod": (torch.prod, [n(2, 3)]),
        "prod zero": (lambda x: x.prod(-1), [np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0], [1.5, -1.0, 2.0]])]),
        "prod nothing": (lambda x: x.prod(0), [n(0, 3)]),
        "cumsum": (lambda x: x.cumsum(-2), [n(2, 3, 4)]),
        "cumsum nothing": (lambda x: x.cumsum(0), [n(0, 3)]),
        "std": (lambda x: x.std(-1, correction=0), [n(3, 4)]),
        "std Bessel": (lambda x: x.std((0, 2), correction=1, keepdim=True), [n(2, 3, 4)]),
        "norm": (lambda x: torch.linalg.vector_norm(x, dim=-1), [np.append(n(2, 3), np.zeros((1, 3)), 0)]),
        "norm all": (torch.linalg.vector_norm, [n(2, 3, 1)]),
        "logsumexp": (lambda x: torch.logsumexp(x, (0, -1)), [30 * n(2, 3, 4)]),
        "logsumexp one": (lambda x: torch.logsumexp(x, 1, keepdim=True), [n(3, 1)]),
    }
    for name, of in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
        made[name] = (lambda x, of=of: of(x, -1), [5 * n(3, 4)])
        made[f"{name} first axis"] = (lambda x, of=of: of(x, 0), [n(2, 3, 4)])
        made[f"{name} of one"] = (lambda x, of=of: of(x, -1), [n(3, 1)])
        made[f"{name} of nothing"] = (lambda x, of=of: of(x, -2), [n(2, 0, 3)])
    for reduction in ("mean", "sum", "none"):
        for smoothing in (0.0, 0.2):
            options = {"reduction": reduction, "label_smoothing": smoothing}
            call = lambda z, t, options=options: cross_entropy(z, t, **options)  # noqa: E731 - a name for one line
            made[f"cross_entropy {reduction} {smoothing}"] = (call, [4 * n(6, 7), some])
            made[f"cross_entropy sequences {reduction} {smoothing}"] = (call, [n(2, 3, 5), ids(5, 2, 3)])
    made["dpo"] = (dpo, [30 * n(5) for _ in range(4)])
    made["dpo smoothed"] = (lambda *each: dpo(*each, beta=2.0, smoothing=0.1), [30 * n(5) for _ in range(4)])
    made["cross_entropy class ignored"] = (lambda z, t: cross_entropy(z, t, ignore_index=1), [n(4, 3), ids(3, 4)])
    return made


def make() -> dict[str, np.ndarray]:
    """Return everything that ops.npz holds."""
    rng = np.random.default_rng(30)
    held: dict[str, np.ndarray] = {}
    for name, (function, inputs) in cases(rng).items():
        tensors = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
        y = function(*tensors)
        dy = torch.tensor(rng.standard_normal(tuple(y.shape)))
        y.backward(dy)
        held |= {f"{name}/y": y.detach().numpy(), f"{name}/dy": dy.numpy()}
        for i, x in enumerate(tensors):
            held[f"{name}/in{i}"] = x.detach().numpy()
            if x.requires_grad:
                held[f"{name}/dx{i}"] = np.zeros_like(inputs[i]) if x.grad is None else x.grad.numpy()
    return held


if __name__ == "__main__":
    np.savez_compressed(PATH, **make())  # type: ignore[arg-type]  # names are free, NumPy's stub thinks of its own option
    print(f"{PATH}: {PATH.stat().st_size:,} bytes")
