"""Op: names, arguments and modes."""

import inspect
import threading
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd.op import CONTEXT, OPS, Op, no_grad, readable


def scale_forward(x: np.ndarray, y: np.ndarray | None = None, *, by: float = 2.0) -> tuple[np.ndarray, Any]:
    """Scale x, and add y if it is given."""
    return (x * by if y is None else x * by + y), by


def scale_backward(dy: np.ndarray, saved: Any, needs: Any = (True, True)) -> tuple[Any, ...]:
    return dy * saved if needs[0] else None, dy if needs[1] else None


def wrong_backward(dy: np.ndarray, saved: Any) -> tuple[Any, ...]:
    return (dy,)


scale = Op(scale_forward, scale_backward)


# Names and the registry


def test_an_op_takes_name_docstring_and_signature_from_its_forward() -> None:
    assert scale.name == scale.__name__ == "scale"
    assert scale.__doc__ == "Scale x, and add y if it is given."
    assert repr(scale) == "<Op scale>"
    assert str(inspect.signature(ng.mul)) == "(a: numpy.ndarray, b: numpy.ndarray)"  # needs is between Op and forward
    assert list(inspect.signature(scale).parameters) == ["x", "y", "by"]


def test_the_pair_must_share_a_name() -> None:
    with pytest.raises(
        ValueError, match="must be called <op>_forward and <op>_backward, got scale_forward and wrong_b"
    ):
        Op(scale_forward, wrong_backward)


def test_a_forward_must_be_called_forward() -> None:
    with pytest.raises(ValueError, match="must be called <op>_forward and <op>_backward, got wrong_backward"):
        Op(wrong_backward, wrong_backward)


def test_every_op_of_the_package_is_registered_under_its_name() -> None:
    assert {"add", "softmax", "concat", "attention"} <= set(OPS)
    assert all(op.name == name and op.__module__.startswith("nanograd.ops.") for name, op in OPS.items())


def test_a_second_op_of_the_package_with_the_same_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_forward, "__module__", "nanograd.ops.planted")
    monkeypatch.setitem(OPS, "scale", scale)
    with pytest.raises(ValueError, match=r"Op: scale is already defined in .*test_op"):
        Op(scale_forward, scale_backward)


def test_a_users_op_may_be_redefined_and_stays_out_of_the_registry() -> None:
    again = Op(scale_forward, scale_backward)
    assert again is not scale
    assert "scale" not in OPS


# Arguments


def test_arrays_may_go_by_keyword() -> None:
    x, w, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), np.array([5.0])
    expected = [[16.0]]  # 1·3 + 2·4 + 5
    np.testing.assert_array_equal(ng.linear(x, w, b), expected)
    np.testing.assert_array_equal(ng.linear(x, w, bias=b), expected)
    np.testing.assert_array_equal(ng.linear(bias=b, weight=w, x=x), expected)


def test_tensors_may_go_by_keyword() -> None:
    x, w = ng.Tensor([[1.0, 2.0]], requires_grad=True), ng.Tensor([[3.0, 4.0]], requires_grad=True)
    ng.linear(x=x, weight=w).backward()
    np.testing.assert_array_equal(x.grad, [[3, 4]])
    np.testing.assert_array_equal(w.grad, [[1, 2]])


def test_an_optional_array_may_be_left_out_or_none() -> None:
    np.testing.assert_array_equal(scale(np.array([1.0])), [2.0])
    np.testing.assert_array_equal(scale(np.array([1.0]), None), [2.0])
    np.testing.assert_array_equal(scale(np.array([1.0]), y=np.array([3.0]), by=10.0), [13.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ng.linear(x), "linear: weight is missing; it takes x, weight, bias"),
        (lambda x: ng.linear(x, bias=x), "linear: weight is missing"),
        (lambda x: ng.linear(x, x, weight=x), "linear: weight is given twice, by position and by keyword"),
        (lambda x: ng.add(x), "add: b is missing; it takes a, b"),
        (lambda x: ng.log_softmax(x, 1), r"log_softmax: takes 1 arrays \(x\), got 2; options go by keyword: axis"),
        (lambda x: ng.neg(x, x), r"neg: takes 1 arrays \(x\), got 2; options go by keyword: there are none"),
        (lambda x: ng.softmax(x, axes=0), "softmax: unknown option axes; did you mean axis"),
        (lambda x: ng.sum(x, keepdms=True), "sum: unknown option keepdms; did you mean keepdims"),
        (lambda x: ng.linear(x, wieght=x, weight=x), "linear: unknown option wieght; did you mean weight"),
        (lambda x: ng.softmax(x, q=0), "softmax: unknown option q; it has axis"),
        (lambda x: ng.neg(x, qqq=0), "neg: unknown option qqq; it has none"),
        (lambda x: ng.mul(x, x, needs=(True, True)), "mul: unknown option needs"),
        (lambda x: ng.concat([]), "concat: needs at least one array"),
        (lambda x: ng.add(x, "one"), "add: expected numbers, got str"),
        (lambda x: ng.add(x, object()), "add: expected numbers, got object"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(call: Any, message: str) -> None:
    for x in (np.ones(2), ng.Tensor(np.ones(2), requires_grad=True)):
        with pytest.raises(TypeError, match=message):
            call(x)


# Modes


@pytest.fixture
def double() -> tuple[Op, list[str]]:
    """Make an op with two pairs that write down when they are run."""
    ran: list[str] = []

    def double_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
        ran.append("readable forward")
        return x * 2, None

    def double_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        ran.append("readable backward")
        return (dy * 2,)

    def double_forward_fast(x: np.ndarray) -> tuple[np.ndarray, Any]:
        ran.append("fast forward")
        return x + x, None

    def double_backward_fast(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        ran.append("fast backward")
        return (dy + dy,)

    return Op(double_forward, double_backward, fast=(double_forward_fast, double_backward_fast)), ran


def test_the_fast_pair_runs_and_readable_runs_the_other(double: tuple[Op, list[str]]) -> None:
    op, ran = double
    op(ng.Tensor([1.0], requires_grad=True)).backward()
    assert ran == ["fast forward", "fast backward"]
    ran.clear()
    with readable():
        y = op(ng.Tensor([1.0], requires_grad=True))
    y.backward()  # the backward that belongs to the forward, wherever it is called
    assert ran == ["readable forward", "readable backward"]


def test_no_grad_as_context_and_as_decorator() -> None:
    x = ng.Tensor([1.0], requires_grad=True)
    with no_grad():
        assert not (x * 2).requires_grad
        with no_grad():
            pass
        assert not (x * 2).requires_grad, "leaving an inner no_grad leaves the outer one"
    assert (x * 2).requires_grad

    @no_grad()
    def evaluate() -> ng.Tensor:
        return x * 2

    assert not evaluate().requires_grad
    assert not evaluate().requires_grad
    assert (x * 2).requires_grad


def test_modes_nest_and_end_with_an_error() -> None:
    def fail() -> None:
        with no_grad(), readable():
            assert CONTEXT.get()[:2] == (False, True)
            raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        fail()
    assert CONTEXT.get()[:2] == (True, False)


def test_the_mode_belongs_to_the_thread() -> None:
    x = ng.Tensor([1.0], requires_grad=True)
    seen: list[bool] = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
        assert not (x * 2).requires_grad
    assert seen == [True]


def test_forward_is_told_that_nothing_is_needed_where_nothing_is_recorded() -> None:
    told: list[Any] = []

    def spy_forward(x: np.ndarray, y: np.ndarray, *, needs: Any = (True, True)) -> tuple[np.ndarray, Any]:
        told.append(needs)
        return x + y, None

    def spy_backward(dy: np.ndarray, saved: Any, needs: Any = (True, True)) -> tuple[Any, ...]:
        told.append(needs)
        return dy if needs[0] else None, dy if needs[1] else None

    spy = Op(spy_forward, spy_backward)
    x, y = ng.Tensor([1.0], requires_grad=True), ng.Tensor([1.0])
    spy(x, y).backward()
    with no_grad():
        spy(x, y)
    spy(x.data, y.data)
    assert told == [(True, False), (True, False), (False, False), (False, False)]
