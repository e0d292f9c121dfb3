"""The methods of Tensor: each equals the op of its name, and NumPy where NumPy has it."""

import inspect
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor, gradcheck
from nanograd.methods import Methods

X = Tensor(np.random.default_rng(0).uniform(0.5, 2, (2, 1, 3)))
M = Tensor(np.random.default_rng(1).standard_normal((3, 3)))
IDS = np.array([[[2, 0]], [[1, 1]]])
MASK = np.array([True, False, True])

SAME = (
    "exp", "log", "sqrt", "rsqrt", "square", "reciprocal", "abs", "sin", "cos", "tanh", "sigmoid", "erf", "relu", "silu",
    "gelu", "flatten", "flip", "squeeze", "softmax", "log_softmax", "sum", "mean", "max", "min", "prod", "norm",
    "logsumexp", "var", "std", "transpose",
)  # fmt: skip
EQUAL: dict[str, tuple[Any, Any]] = {
    **{name: (getattr(X, name)(), getattr(ng, name)(X)) for name in SAME},
    "gelu tanh": (X.gelu("tanh"), ng.gelu_tanh(X)),
    "pow": (X.pow(3), ng.pow(X, 3)),
    "pow 2": (X.pow(2), ng.square(X)),
    "maximum": (X.maximum(1.0), ng.maximum(X, 1.0)),
    "minimum": (X.minimum(1.0), ng.minimum(X, 1.0)),
    "clip": (X.clip(0.7, 1.2), ng.clip(X, low=0.7, high=1.2)),
    "astype": (X.astype("float32"), ng.astype(X, dtype="float32")),
    "masked_fill": (X.masked_fill(MASK, 5.0), ng.masked_fill(X, MASK, value=5.0)),
    "tril": (M.tril(1), ng.tril(M, k=1)),
    "triu": (M.triu(-1), ng.triu(M, k=-1)),
    "cumsum": (X.cumsum(-1), ng.cumsum(X, axis=-1)),
    "var ddof": (X.var(-1, ddof=1), ng.var(X, axis=-1, ddof=1)),
    "std ddof": (X.std(-1, ddof=1), ng.std(X, axis=-1, ddof=1)),
    "T": (X.T, ng.transpose(X)),
    "transpose two": (X.transpose(0, 2), ng.swapaxes(X, 0, 2)),
    "transpose all": (X.transpose(1, 0, 2), ng.transpose(X, axes=(1, 0, 2))),
    "transpose tuple": (X.transpose((1, 0, 2)), ng.transpose(X, axes=(1, 0, 2))),
    "swapaxes": (X.swapaxes(0, -1), ng.swapaxes(X, 0, -1)),
    "reshape": (X.reshape(3, 2), ng.reshape(X, shape=(3, 2))),
    "reshape tuple": (X.reshape((3, -1)), ng.reshape(X, shape=(3, -1))),
    "view": (X.view(3, 2), ng.reshape(X, shape=(3, 2))),
    "permute": (X.permute(1, 0, 2), ng.transpose(X, axes=(1, 0, 2))),
    "permute two": (M.permute((1, 0)), ng.transpose(M)),
    "matmul": (M.matmul(M), ng.matmul(M, M)),
    "reshape flat": (X.reshape(-1), ng.reshape(X, shape=-1)),
    "expand_dims": (X.expand_dims((0, 2)), ng.expand_dims(X, axis=(0, 2))),
    "unsqueeze": (X.unsqueeze(-1), ng.expand_dims(X, axis=-1)),
    "squeeze 1": (X.squeeze(1), ng.squeeze(X, axis=1)),
    "broadcast_to": (X.broadcast_to((2, 2, 3)), ng.broadcast_to(X, shape=(2, 2, 3))),
    "repeat": (X.repeat(2, 0), ng.repeat(X, repeats=2, axis=0)),
    "flip 0": (X.flip(0), ng.flip(X, axis=0)),
    "roll": (X.roll(1, -1), ng.roll(X, shift=1, axis=-1)),
    "pad": (X.pad(1, 2.0), ng.pad(X, width=1, value=2.0)),
    "take_along_axis": (X.take_along_axis(IDS, -1), ng.take_along_axis(X, IDS, axis=-1)),
    "gather": (X.gather(-1, IDS), ng.gather(X, IDS, axis=-1)),
    "split": (X.split([1], -1)[1], ng.split(X, [1], -1)[1]),
    "chunk": (X.chunk(2, -1)[0], ng.chunk(X, 2, -1)[0]),
    "chunk dim": (X.chunk(2, dim=-1)[1], ng.chunk(X, 2, dim=-1)[1]),
    "getitem": (X[0, :, [2, 0]], ng.getitem(X, index=(0, slice(None), np.array([2, 0])))),
    "getitem tensor": (M[Tensor(MASK)], ng.getitem(M, index=MASK)),
    "getitem nothing": (M[[]], ng.getitem(M, index=slice(0, 0))),
    "abs()": (abs(M), ng.abs(M)),
    "-": (-M, ng.neg(M)),
}


@pytest.mark.parametrize("name", EQUAL)
def test_a_method_is_its_op(name: str) -> None:
    ours, op = EQUAL[name]
    assert isinstance(ours, Tensor)
    assert ours.dtype == op.dtype
    np.testing.assert_array_equal(ours.data, op.data)


def test_every_method_is_compared() -> None:
    named = {name for name in vars(Methods) if not name.startswith("_")} - {"data"}
    assert named <= {name.split()[0] for name in EQUAL}


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "norm", "logsumexp", "var", "std"])
def test_dim_is_axis(name: str) -> None:
    for axis in (0, -1, (0, 2)):
        op, method = getattr(ng, name), getattr(X, name)
        expected = op(X, axis=axis, keepdims=True).data
        for ours in (method(axis, True), method(dim=axis, keepdim=True), method(axis=axis, keepdims=True)):
            np.testing.assert_array_equal(ours.data, expected)
        np.testing.assert_array_equal(method(dim=axis).data, op(X, axis=axis).data)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cumsum"])
def test_dim_is_axis_for_a_single_axis(name: str) -> None:
    np.testing.assert_array_equal(getattr(X, name)(dim=0).data, getattr(ng, name)(X, axis=0).data)
    np.testing.assert_array_equal(getattr(X, name)(0).data, getattr(ng, name)(X, axis=0).data)


A, B = np.array([2.0, 3.0]), np.array([4.0, 0.5])
OPERATORS = {
    "+": (lambda a, b: a + b, ng.add),
    "-": (lambda a, b: a - b, ng.sub),
    "*": (lambda a, b: a * b, ng.mul),
    "/": (lambda a, b: a / b, ng.div),
    "@": (lambda a, b: a @ b, ng.matmul),
    "**": (lambda a, b: a**b, ng.pow),
}


@pytest.mark.parametrize("sign", OPERATORS)
def test_operators_keep_their_order(sign: str) -> None:
    run, op = OPERATORS[sign]
    for a, b in ((Tensor(A), Tensor(B)), (Tensor(A), B), (A, Tensor(B))):
        y = run(a, b)
        assert isinstance(y, Tensor)
        np.testing.assert_array_equal(y.data, op(A, B))
    if sign != "@":
        np.testing.assert_array_equal(run(2.0, Tensor(B)).data, op(2.0, B))
        np.testing.assert_array_equal(run(Tensor(A), 3).data, op(A, 3))


def test_methods_are_recorded_and_a_power_of_two_as_square() -> None:
    x = Tensor(np.array([3.0]), requires_grad=True)
    for y, name in ((x**2, "square"), (x**2.0, "square"), (x**3, "pow"), (x.sum(dim=0), "sum"), (x.T, "transpose")):
        assert y.node is not None
        assert y.node.op.name == name


# Values, against NumPy


Y = np.arange(24.0).reshape(2, 3, 4) / 10 + 0.1


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (lambda x: x.transpose(), Y.transpose()),
        (lambda x: x.transpose(1, 2), Y.swapaxes(1, 2)),  # two axes swap
        (lambda x: x.transpose(-1, 0), Y.swapaxes(-1, 0)),
        (lambda x: x.transpose(1, 2, 0), Y.transpose(1, 2, 0)),
        (lambda x: x.transpose((1, 2, 0)), Y.transpose(1, 2, 0)),
        (lambda x: x.transpose([1, 2, 0]), Y.transpose(1, 2, 0)),
        (lambda x: x.T, Y.T),
        (lambda x: x.swapaxes(0, -1), Y.swapaxes(0, -1)),
        (lambda x: x.reshape(4, 6), Y.reshape(4, 6)),
        (lambda x: x.reshape((4, -1)), Y.reshape(4, 6)),
        (lambda x: x.reshape(-1), Y.reshape(-1)),
        (lambda x: x.expand_dims(1).squeeze(1), Y),
        (lambda x: x.broadcast_to((2, 2, 3, 4)), np.broadcast_to(Y, (2, 2, 3, 4))),
        (lambda x: x.split(2, axis=-1)[1], Y[..., 2:]),
        (lambda x: x.split(2)[1], Y[1:]),
        (lambda x: x.sum(0), Y.sum(0)),
        (lambda x: x.mean(0), Y.mean(0)),
        (lambda x: x.var(0), Y.var(0)),
        (lambda x: x.min(0), Y.min(0)),
        (lambda x: x.sum(axis=(0, 2)), Y.sum(axis=(0, 2))),
        (lambda x: x.mean(1, keepdims=True), Y.mean(1, keepdims=True)),
        (lambda x: x.var(axis=-1, ddof=1), Y.var(axis=-1, ddof=1)),
        (lambda x: x.max(axis=0), Y.max(axis=0)),
        (lambda x: x.min(), Y.min()),
        (lambda x: x.exp().log(), Y),
        (lambda x: x.square().sqrt(), Y),
        (lambda x: x.tanh(), np.tanh(Y)),
        (lambda x: x.sigmoid(), 1 / (1 + np.exp(-Y))),
        (lambda x: (x - 1.05).relu(), np.maximum(Y - 1.05, 0)),
        (lambda x: x.masked_fill(Y > 1.05, 7.0), np.where(Y > 1.05, 7, Y)),
        (lambda x: x.tril(1), np.tril(Y, 1)),
        (lambda x: x.tril(), np.tril(Y)),
        (lambda x: x.softmax(axis=1), np.exp(Y) / np.exp(Y).sum(axis=1, keepdims=True)),
        (lambda x: x.softmax(), np.exp(Y) / np.exp(Y).sum(axis=-1, keepdims=True)),
        (lambda x: x.log_softmax(), Y - np.log(np.exp(Y).sum(axis=-1, keepdims=True))),
    ],
)
def test_methods(method: Any, expected: np.ndarray) -> None:
    y = method(Tensor(Y, requires_grad=True))
    np.testing.assert_allclose(y.data, expected, rtol=1e-12)
    gradcheck(method, Y)


def test_the_function_of_arrays_gives_an_array() -> None:
    assert isinstance(ng.exp(A), np.ndarray)
    assert isinstance(ng.exp(Tensor(A)), Tensor)
    assert type(ng.sum(A)) is np.ndarray, "a 0-d array, not a NumPy scalar"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.gelu("foo"), ValueError, 'approximate must be "none" or "tanh", got \'foo\''),
        (lambda x: x.sum(axis=0, dim=1), TypeError, "axis and dim are one option under two names"),
        (lambda x: x.repeat([1, 2], 0), ValueError, "repeat: needs a whole number of repeats"),
        (lambda x: x.repeat(2, 5), ValueError, r"repeat: .* an axis of \(2, 2\)"),
        (lambda x: x.split(0), ValueError, "does not divide into 0 equal sections"),
        (lambda x: x.chunk(0), ValueError, "chunks must be at least 1"),
    ],
)
def test_a_wrong_call_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(Tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_pytorch_names_work_in_functions_too() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 5.0]])
    np.testing.assert_array_equal(ng.sum(x, dim=0, keepdim=True).data, [[4, 7]])
    np.testing.assert_array_equal(x.sum([0, 1]).data, 11)
    np.testing.assert_array_equal(ng.cat([x, x], axis=1).data, [[1, 2, 1, 2], [3, 5, 3, 5]])
    np.testing.assert_array_equal(ng.cat([x, x], dim=1).data, ng.concat([x, x], axis=1).data)
    np.testing.assert_array_equal(ng.stack([x, x], dim=2).data, ng.stack([x, x], axis=2).data)
    assert [chunk.tolist() for chunk in ng.chunk(x, 2, dim=1)] == [[[1], [3]], [[2], [5]]]
    assert len(x.split(np.int64(2))) == 2


def test_an_op_is_a_method_of_a_tensor() -> None:
    assert Tensor.exp is ng.exp
    assert X.exp.__doc__ == ng.exp.__doc__
    with pytest.raises(TypeError, match=r"exp: takes 1 arrays \(x\), got 2"):
        X.exp(1)


def test_an_op_in_the_body_of_another_class_is_called_without_its_instance() -> None:
    class Layer:
        activation = ng.relu

    assert Layer().activation(Tensor([-1.0, 2.0])).tolist() == [0, 2]


def test_every_method_shows_the_docstring_of_its_op_or_its_own() -> None:
    public = [name for name in vars(Methods) if not name.startswith("_") and name != "data"]
    assert not [name for name in public if not (getattr(Methods, name).__doc__ or "").strip()]
    assert Tensor.softmax.__doc__ == ng.softmax.__doc__
    assert str(inspect.signature(Tensor.softmax)) == "(self, axis: int = -1, *, dim: int | None = None) -> 'Tensor'"
    assert (Tensor.view.__doc__ or "").startswith("Call reshape")
