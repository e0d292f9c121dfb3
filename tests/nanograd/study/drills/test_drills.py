"""Right solutions pass, also alternative ones; the references agree with the engine."""

import ast
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nanograd import OPS, Tensor
from nanograd.check.mutator import function_tree, mistakes, mutations, redefine
from nanograd.ops.normalization import layernorm_backward
from nanograd.study.drills import DRILLS, naming, suspects
from nanograd.study.drills.calls import Call, gradient_names, make_call, near, observe, target_of
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.grade import grade
from nanograd.study.drills.naming import Named

STAGES = ["shape and dtype", "mutation", "random dy", "odd shapes"]


def add(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, ...]:
    """Sum axis by axis over axes that were added or have size 1."""

    def sum_to(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        padded = (1,) * (g.ndim - len(shape)) + shape
        for axis, size in enumerate(padded):
            if size == 1:
                g = np.add.reduce(g, axis=axis, keepdims=True)
        return g.reshape(shape)

    return sum_to(dy, saved[0]), sum_to(dy, saved[1])


def one_hot(ids: np.ndarray, size: int, dtype: Any) -> np.ndarray:
    return np.eye(size, dtype=dtype)[ids.ravel()]  # (N, V)


def softmax_by_its_jacobian(dy: np.ndarray, saved: Any) -> np.ndarray:
    jacobian = saved[..., :, None] * np.eye(saved.shape[-1], dtype=dy.dtype) - saved[..., :, None] * saved[..., None, :]
    return np.einsum("...j,...ji->...i", dy, jacobian)


def log_softmax(dy: np.ndarray, saved: Any) -> np.ndarray:
    p = np.exp(saved)
    return dy * (1 - p) + p * (dy - dy.sum(axis=-1, keepdims=True))


def layernorm(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, ...]:
    """Project dn off the directions 1 and n, both of length √C."""
    n, r, weight = saved
    C = n.shape[-1]
    ones = np.ones((C, C), dy.dtype) / C
    dn = dy * weight
    dx = dn @ (np.eye(C, dtype=dy.dtype) - ones) - np.einsum("...i,...j,...j->...i", n, n, dn) / C
    flat, rows = dy.reshape(-1, C), n.reshape(-1, C)
    return dx * r, np.einsum("tc,tc->c", flat, rows), np.ones(len(flat), dy.dtype) @ flat


def rmsnorm(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    n, r, weight = saved
    along = np.einsum("...c,...c,c->...", dy, n, weight)[..., None] / n.shape[-1]
    return dy * weight * r - n * r * along, np.einsum(
        "tc,tc->c", dy.reshape(-1, len(weight)), n.reshape(-1, len(weight))
    )


def attend(dy: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, ...]:
    """Use the Jacobian of the softmax of a row, diag(p) - p pᵀ."""
    scale = 1 / math.sqrt(q.shape[-1])
    J = p[..., :, None] * np.eye(p.shape[-1], dtype=p.dtype) - p[..., :, None] * p[..., None, :]
    ds = np.einsum("...ts,...tsr->...tr", np.einsum("...te,...se->...ts", dy, v), J) * scale
    return (
        np.einsum("...ts,...sd->...td", ds, k),
        np.einsum("...ts,...td->...sd", ds, q),
        np.einsum("...ts,...te->...se", p, dy),
    )


def flash(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, ...]:
    """Go through the keys one by one, and hold one column of P at a time."""
    q, k, v, y, lse = saved
    scale = 1 / math.sqrt(q.shape[-1])
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for s in range(k.shape[-2]):
        column = k[..., s : s + 1, :]
        p = np.exp(scale * (q * column).sum(axis=-1, keepdims=True) - lse)  # (…, T, 1)
        p[..., :s, :] = 0
        ds = p * ((dy * v[..., s : s + 1, :]).sum(axis=-1, keepdims=True) - (dy * y).sum(axis=-1, keepdims=True))
        dq += scale * ds * column
        dk[..., s, :] = scale * (ds * q).sum(axis=-2)
        dv[..., s, :] = (p * dy).sum(axis=-2)
    return dq, dk, dv


def block(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, ...]:
    """Keep q, k and v apart, and add their three contributions to dn1."""
    n1, norm1, q, k, v, p, a, n2, norm2, u, w_qkv, w_out, w_up, w_down = saved
    du = np.where(u > 0, dy @ w_down, 0)
    dh = layernorm_backward(du @ w_up, norm2)[0] + dy
    gradients = attend(dh @ w_out, q, k, v, p)
    weights = np.split(w_qkv, 3)
    dn1 = gradients[0] @ weights[0] + gradients[1] @ weights[1] + gradients[2] @ weights[2]
    dw_qkv = np.concatenate([gradient.T @ n1 for gradient in gradients])
    return layernorm_backward(dn1, norm1)[0] + dh, dw_qkv, (a.T @ dh).T, (n2.T @ du).T, (u.T @ dy).T


def heads(dy: np.ndarray, saved: Any) -> np.ndarray:
    """Go through the heads one at a time."""
    q, k, v, p, _ = saved
    B, H, T, D = q.shape
    dqkv = np.empty((B, T, 3, H, D), dy.dtype)
    for h in range(H):
        gradients = attend(dy[..., h * D : (h + 1) * D], q[:, h], k[:, h], v[:, h], p[:, h])
        for index, gradient in enumerate(gradients):
            dqkv[:, :, index, h] = gradient
    return dqkv.reshape(B, T, 3 * H * D)


def gelu_tanh(dy: np.ndarray, saved: Any) -> np.ndarray:
    """½ (1 + tanh u) = sigmoid(2u) = h, whose derivative is 2 h (1 - h) du."""
    x, t = saved
    h = (1 + t) / 2
    return dy * (h + 2 * x * h * (1 - h) * math.sqrt(2 / math.pi) * (1 + 0.134145 * x * x))


def tied(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, None]:
    weight, ids, x = saved
    return dy.T @ x + one_hot(ids, len(weight), dy.dtype).T @ (dy @ weight), None


def cross_entropy(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, None]:
    p, targets = saved
    return dy / len(p) * (p - one_hot(targets, p.shape[1], p.dtype)), None


def linear(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, ...]:
    x, weight = saved
    dweight = np.tensordot(dy, x, (tuple(range(x.ndim - 1)),) * 2)
    return (
        np.einsum("...o,oi->...i", dy, weight),
        dweight,
        dy.reshape(-1, len(weight)).T @ np.ones(dy.size // len(weight), dy.dtype),
    )


# For every drill a solution that computes otherwise than the reference
ALTERNATIVES = {
    "mul": lambda dy, saved: [saved[1] * dy, np.einsum("...,...->...", saved[0], dy)],
    "add": add,
    "sub": lambda dy, saved: (add(dy, saved)[0], add(-dy, saved)[1]),
    "div": lambda dy, saved: (
        add(dy / saved[0], (saved[2], ()))[:1] + add(dy * (saved[1] / -saved[0]), ((), saved[0].shape))[1:]
    ),
    "exp": lambda dy, saved: np.where(saved > 0, np.exp(np.log(np.where(saved > 0, saved, 1))), 0) * dy,
    "log": lambda dy, saved: dy * np.exp(-np.log(saved)),
    "sum": lambda dy, saved: np.repeat(np.expand_dims(dy, saved[1]), saved[0][saved[1]], axis=saved[1]),
    "mean": lambda dy, saved: np.expand_dims(dy, saved[1]) * np.full(saved[0], 1 / saved[0][saved[1]], dy.dtype),
    "matmul": lambda dy, saved: (
        np.einsum("...nm,...km->...nk", dy, saved[1]),
        np.swapaxes(np.swapaxes(dy, -1, -2) @ saved[0], -1, -2),
    ),
    "transpose": lambda dy, saved: np.moveaxis(dy, range(dy.ndim), saved),
    "reshape": lambda dy, saved: np.array(dy.flat, dy.dtype).reshape(saved),
    "linear": linear,
    "relu": lambda dy, saved: np.where(saved < 0, 0, dy),
    "sigmoid": lambda dy, saved: dy * (0.25 - (saved - 0.5) * (saved - 0.5)),
    "tanh": lambda dy, saved: dy * (1 - saved) * (1 + saved),
    "gelu_tanh": gelu_tanh,
    "swiglu": lambda dy, saved: (
        dy * saved[1] * (saved[2] + saved[0] * saved[2] * (1 - saved[2])),
        dy * (saved[0] * saved[2]),
    ),
    "softmax": softmax_by_its_jacobian,
    "log_softmax": log_softmax,
    "cross_entropy": cross_entropy,
    "rmsnorm": rmsnorm,
    "layernorm": layernorm,
    "embedding": lambda dy, saved: (one_hot(saved[0], saved[1][0], dy.dtype).T @ dy.reshape(-1, saved[1][1]), None),
    "tied": tied,
    "dropout": lambda dy, saved: np.where(saved == 0, 0, dy * saved.max(initial=0)),
    "attention": lambda dy, saved: attend(dy, *saved[:4]),
    "flash": flash,
    "block": block,
    "train": heads,
}


@pytest.mark.parametrize("name", DRILLS)
def test_the_reference_is_right(name: str) -> None:
    drill = dataclasses.replace(DRILLS[name], trains=False)
    verdict = grade(drill, drill.backward)
    assert verdict.ok, verdict.message
    assert [stage for stage in verdict.passed if stage not in ("repeated ids", "extremes")] == [
        *STAGES,
        "linearity in dy",
        "finite differences",
    ]


@pytest.mark.parametrize("name", DRILLS)
def test_an_alternative_is_right_too(name: str) -> None:
    verdict = grade(dataclasses.replace(DRILLS[name], trains=False), ALTERNATIVES[name])
    assert verdict.ok, verdict.message


@pytest.mark.parametrize("name", [name for name in DRILLS if name in OPS and name != "dropout"])
def test_the_reference_is_the_engine(name: str) -> None:
    """Except for dropout, whose mask is drawn differently."""
    drill = DRILLS[name]
    for case in (*drill.cases, *drill.odd_shapes):
        inputs = [Tensor(x, requires_grad=True) if x.dtype.kind == "f" else x for x in case.arrays()]
        y = OPS[name](*inputs, **case.options, **({"causal": True} if name == "attention" else {}))
        expected, saved = drill.forward(*case.arrays(), **case.options)
        np.testing.assert_allclose(y.data, expected, atol=1e-12)
        dy = np.asarray(np.random.default_rng(0).standard_normal(y.shape))
        y.backward(dy)
        for x, dx in zip(inputs, drill.backward(dy, saved), strict=True):
            if isinstance(x, Tensor):
                np.testing.assert_allclose(x.grad, dx, atol=1e-10)


def test_softmax_by_hand() -> None:
    """Two equal scores: y = (½, ½), and by (3) dx = ½ (dy - ½ Σ dy)."""
    y, saved = DRILLS["softmax"].forward(np.array([[3.0, 3.0]]))
    np.testing.assert_allclose(y, [[0.5, 0.5]])
    np.testing.assert_allclose(DRILLS["softmax"].backward(np.array([[1.0, 0.0]]), saved)[0], [[0.25, -0.25]])


SOLUTIONS = {
    "softmax": softmax_by_its_jacobian, "log_softmax": log_softmax, "layernorm": layernorm, "rmsnorm": rmsnorm,
    "flash": flash, "block": block, "gelu_tanh": gelu_tanh, "tied": tied, "cross_entropy": cross_entropy, "linear": linear,
}  # fmt: skip


def random_answers(count: int) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield backwards with one or two random mistakes: in an alternative solution, or in the reference."""
    rng = np.random.default_rng(3)
    names = [*DRILLS]
    for _ in range(count):
        name = names[rng.integers(len(names))]
        right = SOLUTIONS[name] if name in SOLUTIONS and rng.random() < 0.6 else DRILLS[name].backward
        tree = function_tree(right)
        for _ in range(rng.integers(1, 3)):
            choices = [*mutations(tree, mistakes)]
            tree = ast.parse(choices[rng.integers(len(choices))].source)
        yield name, redefine(right, ast.unparse(tree), f"random {name}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_random_mistake_gets_a_false_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named mistake gives the same gradients on draws that the grader did not see, or raises on both sides."""
    recognised: list[tuple[Drill, Any, Call, list[Named]]] = []

    def recording(drill: Drill, backward: Any, call: Call) -> list[Named]:
        recognised.append((drill, backward, call, found := naming_recognise(drill, backward, call)))
        return found

    naming_recognise = naming.recognise
    monkeypatch.setattr(naming, "recognise", recording)
    monkeypatch.setattr(suspects, "PAIRS", 100)  # a quarter, for the time
    failed = 0
    for name, backward in random_answers(200):
        failed += not grade(dataclasses.replace(DRILLS[name], trains=False), backward).ok
    named_answers = [row for row in recognised if row[3]]
    assert failed > 150
    assert len(named_answers) > 70
    with np.errstate(all="ignore"):
        for drill, backward, call, found in named_answers:
            for draw in range(50, 53):
                fresh = make_call(drill, call.case, draw, call.dy.dtype, draw)
                ours = observe(drill, backward, fresh)
                for named in found:
                    _, saved = target_of(drill, backward, fresh).run_forward()
                    theirs = named.run(fresh, saved)
                    assert (ours.raised is not None) == (theirs is None), (drill.name, named.suspect)
                    for i in gradient_names(drill, fresh) if theirs is not None else ():
                        if i in named.gradients or not named.gradients:
                            assert near(ours.gradients[i], theirs[i]), (drill.name, named.suspect)
