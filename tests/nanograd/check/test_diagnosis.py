"""The diagnosis of a wrong gradient: each usual mistake is recognised by its pattern."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import GradcheckError, gradcheck
from nanograd.check.diagnosis import Evidence, table

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.6]])


def mean_without_n(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    return (np.broadcast_to(dy[:, None], (2, 3)).copy(),)


def embedding_without_adding(dy: np.ndarray, saved: Any, needs: Any) -> tuple[np.ndarray, None]:
    ids, shape = saved
    dw = np.zeros(shape)
    dw[ids] += dy
    return dw, None


REASONS = [
    (
        "average",
        lambda x: (x.mean(axis=1), None),
        mean_without_n,
        (X,),
        r"exactly 3×, n = the size of axis 1: a mean's 1/n",
    ),
    (
        "total",
        lambda x: (x.sum(axis=1), None),
        lambda dy, s: (np.repeat(dy[:, None], 3, 1) / 3,),
        (X,),
        r"exactly 1/3×",
    ),
    (
        "transposed",
        lambda x: (x.T * 1, None),
        lambda dy, s: (dy * 1,),
        (X[:, :2],),
        r"equal after a transpose to axes \(1, 0\)",
    ),
    (
        "other_shape",
        lambda x: (x.T * 1, None),
        lambda dy, s: (dy * 1,),
        (X,),
        r"right after a transpose to axes \(1, 0\)",
    ),
    ("softly", lambda x: ng.ops.softmax.pair.forward(x), lambda dy, s: (np.zeros_like(dy),), (X,), "zero everywhere"),
    (
        "skips",
        lambda x: (x + np.tanh(x), np.tanh(x)),
        lambda dy, t: (dy * (1 - t * t),),
        (X,),
        r"dy itself is missing: in y = x \+ f\(x\) the residual path",
    ),
    (
        "skips_twice",
        lambda x: (x + np.tanh(x), np.tanh(x)),
        lambda dy, t: (2 * dy + dy * (1 - t * t),),
        (X,),
        "dy itself is too much: a residual path was counted twice",
    ),
    (
        "softer",
        lambda x: ng.ops.softmax.pair.forward(x),
        lambda dy, s: (s[0] * (dy - dy.mean(axis=-1, keepdims=True)),),
        (X,),
        "right for a uniform cotangent, wrong for a random one: a projection term is missing",
    ),
    (
        "table",
        lambda w, ids: (w[ids], (ids, w.shape)),
        embedding_without_adding,
        (X, np.array([0, 0, 1])),
        "an index repeats",
    ),
    (
        "relu",
        lambda x: (np.maximum(x, 0), x),
        lambda dy, x: (np.where(x == 0, 7, x > 0) * dy,),
        (X * [0, 1, 1],),
        "at a kink",
    ),
    ("abs", lambda x: (np.abs(x), x), lambda dy, x: (dy,), (X,), "differs only where the input is negative"),
    (
        "centre",
        lambda x: (x - x.mean(axis=1, keepdims=True), None),
        lambda dy, s: (dy * 1,),
        (X,),
        "off by the same amount all along axis 1",
    ),
]


@pytest.mark.parametrize(("name", "forward", "backward", "inputs", "reason"), REASONS, ids=[row[0] for row in REASONS])
def test_the_report_says_why(name: str, forward: Any, backward: Any, inputs: Any, reason: str) -> None:
    with pytest.raises(GradcheckError, match=reason):
        gradcheck((forward, backward), *inputs)


def test_ties_are_distinguished_from_other_mistakes() -> None:
    def first_forward(a: np.ndarray, b: np.ndarray) -> Any:
        return np.maximum(a, b), (a, b)

    def first_backward(dy: np.ndarray, saved: Any, needs: Any) -> Any:
        a, b = saved
        return dy * (a >= b) * np.where(a == b, 3, 1), dy * (b > a)

    with pytest.raises(GradcheckError, match="differs only at a kink"):
        gradcheck((first_forward, first_backward), np.array([1.0, 2.0]), np.array([1.0, 3.0]))


def test_entries_that_are_equally_wrong_are_listed_in_their_order() -> None:
    numeric = np.random.default_rng(0).standard_normal((2, 3))
    off = np.array([[0.1], [0.2]]) * (1 + np.array([0, 1e-15, -1e-15]))  # equal but for rounding, in each row
    evidence = Evidence(
        numeric, (2, 3), numeric + off, numeric, None, np.eye(6), off > 0, 1e-9, [], [], np.zeros((2, 3), bool)
    )
    listed = [line.split("]")[0].split("[")[1] for line in table(evidence).splitlines()[1:]]
    assert listed == ["1, 0", "1, 1", "1, 2", "0, 0", "0, 1"]
