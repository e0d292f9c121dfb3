"""gradcheck passes a right backward, and catches a wrong one."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import GradcheckError, Op, Tensor, gradcheck
from nanograd.check.contract import within
from nanograd.check.numeric import finite_differences

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.6]])


def user_op(name: str, forward: Any, backward: Any) -> Op:
    """Make an op of two functions of any name."""
    forward.__name__, backward.__name__ = f"{name}_forward", f"{name}_backward"
    return Op(forward, backward)


def cube(factor: float) -> Op:
    """Make x³ with a derivative that is wrong by `factor`."""
    return user_op("cube", lambda x: (x * x * x, x), lambda dy, saved: (factor * dy * 3 * saved * saved,))


def softmax_with(backward: Any) -> Op:
    return user_op("softmax", lambda x: ng.ops.softmax.pair.forward(x), backward)


def test_a_right_backward_passes() -> None:
    gradcheck(cube(1.0), X)
    gradcheck(lambda x, y: x @ y.T + x.sum(), X, X)


# Planted mistakes


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (1.01, "a constant factor, 1.01×"),
        (1.0001, "a constant factor, 1.0001×"),
        (2.0, "a constant factor, exactly 2×"),
        (-1.0, "a constant factor, exactly -1×: a sign is wrong"),
        (0.0, "the gradient is zero everywhere"),
        (np.nan, "6 of 6 entries are NaN or infinite"),
    ],
)
def test_a_wrong_factor_is_caught_and_named(factor: float, reason: str) -> None:
    with pytest.raises(GradcheckError, match=f"cube: input 0: {reason}"):
        gradcheck(cube(factor), X)


def test_the_message_names_op_index_and_both_numbers() -> None:
    op = user_op("line", lambda x: (x * 3, None), lambda dy, saved: (dy * 3 + np.array([[0, 0, 0], [0, 1, 0]]),))
    u = np.random.default_rng(0).standard_normal(X.shape)
    numeric = 3 * u[1, 1]
    with pytest.raises(GradcheckError) as caught:
        gradcheck(op, X)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("line: input 0: ")
    assert lines[1].split() == ["index", "analytic", "numeric", "ratio"]
    index, _, row = lines[2].strip().partition("]")
    assert index == "[1, 1"
    np.testing.assert_allclose(
        [float(w) for w in row.split()], [numeric + 1, numeric, (numeric + 1) / numeric], rtol=1e-5
    )
    assert len(lines) == 3  # the other entries are right


def test_a_function_is_named_too() -> None:
    def half_forgotten(x: Tensor) -> Tensor:
        return x * x.detach()  # derivative x instead of 2x

    with pytest.raises(GradcheckError, match="half_forgotten: input 0"):
        gradcheck(half_forgotten, X)


def test_the_wrong_input_is_named() -> None:
    op = user_op("times", lambda a, b: (a * b, (a, b)), lambda dy, saved, needs: (dy * saved[1], -dy * saved[0]))
    with pytest.raises(GradcheckError, match="times: input 1"):
        gradcheck(op, X, X + 2)


MISTAKES = {
    "zeros": lambda dy, saved: (np.zeros_like(dy),),
    "the sum is left out": lambda dy, saved: (saved[0] * dy - saved[0] * dy.mean(axis=-1, keepdims=True),),
    "y is left out": lambda dy, saved: (dy - (dy * saved[0]).sum(axis=-1, keepdims=True),),
    "a uniform dy is assumed": lambda dy, saved: (saved[0] * (dy - dy[..., :1]),),
}


@pytest.mark.parametrize("backward", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_in_softmax_are_caught(backward: Any) -> None:
    with pytest.raises(GradcheckError, match="softmax: input 0"):
        gradcheck(softmax_with(backward), X)


@pytest.mark.parametrize("backward", MISTAKES.values(), ids=MISTAKES)
def test_a_uniform_cotangent_would_have_missed_them(backward: Any) -> None:
    """Each row of softmax sums to one for every x, so sum() has derivative zero, and so have all these mistakes."""
    y, saved = ng.ops.softmax.pair.forward(X)
    numeric = finite_differences(lambda: float(ng.softmax(X).sum()), X)
    assert within(backward(np.ones_like(y), saved)[0], numeric, 1e-7)


def test_a_missing_unbroadcast_is_caught() -> None:
    op = user_op("shift", lambda x, b: (x + b, None), lambda dy, saved, needs: (dy, dy))
    gradcheck(op, X, X)
    with pytest.raises(
        GradcheckError, match=r"input 1: .* shape \(2, 3\), the input \(3,\): missing un-broadcast, .* axis 0$"
    ):
        gradcheck(op, X, X[0])


def test_a_gradient_that_drops_repeats_is_caught() -> None:
    def rows_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        dx = np.zeros((2, 3))
        dx[[0, 0, 1]] = dy
        return (dx,)

    op = user_op("rows", lambda x: (x[[0, 0, 1]], None), rows_backward)
    with pytest.raises(GradcheckError, match=r"rows: input 0: differs only at 0 along axis 0"):
        gradcheck(op, X)


def test_a_lost_history_is_caught() -> None:
    with pytest.raises(GradcheckError, match="the gradient is zero everywhere; was the input detached"):
        gradcheck(lambda x: Tensor(x.data * 2), X)


# What it takes


def test_integers_and_none_are_passed_as_they_are() -> None:
    gradcheck(ng.embedding, X, np.array([1, 1, 0]))
    gradcheck(ng.linear, X, X, None)
    gradcheck(ng.layernorm, X, None, X[0], eps=0.1)


def test_float32_is_checked_in_float64_and_left_as_it_was() -> None:
    x = X.astype(np.float32)
    before = x.copy()
    gradcheck(cube(1.0), x)
    np.testing.assert_array_equal(x, before)
    assert x.dtype == np.float32


def test_an_array_without_entries_passes() -> None:
    gradcheck(ng.exp, np.zeros((0, 3)))


def test_options_and_seed_are_passed_on() -> None:
    gradcheck(ng.softmax, X, axis=0)
    gradcheck(ng.dropout, X, p=0.5, seed=4)
    gradcheck(cube(1.0), X, cotangent_seed=7)


def test_a_number_is_checked() -> None:
    gradcheck(cube(1.0), np.array(1.5))


# Kinks, large inputs, rules


def test_a_derivative_between_the_one_sided_ones_is_right() -> None:
    x = np.array([0.0, 1.0, -1.0])
    report = gradcheck(lambda x: ng.relu(x), x)
    assert (report.ok, report.kinks) == (True, 1)
    assert gradcheck(ng.abs, x).kinks == 0  # 0 is what central differences say


def test_large_inputs_are_checked_along_directions() -> None:
    x = np.random.default_rng(0).standard_normal((40, 30))
    assert gradcheck(ng.softmax, x).compared == 4
    with pytest.raises(GradcheckError, match="along a random direction the derivative is"):
        gradcheck(cube(1.001), x)


def test_float32_alone_can_be_checked_too() -> None:
    assert gradcheck(cube(1.0), X, dtype=np.float32).ok
    assert not gradcheck(cube(1.02), X, dtype=np.float32, raises=False).ok


def test_nothing_to_differentiate_is_an_error() -> None:
    with pytest.raises(ValueError, match="has no floating input"):
        gradcheck(ng.exp, np.arange(3))
