"""The stages of the grader: the form of a result, and the rules that a right gradient can still break."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nanograd.study.drills import DRILLS
from nanograd.study.drills.calls import make_call
from nanograd.study.drills.grade import grade

FORMS = [
    (lambda dy, saved: dy * saved[1], "return (da, db): backward returned 1 gradients for 2 inputs, with a (2, 3)"),
    (lambda dy, saved: (dy, dy, dy), "return (da, db): backward returned 3 gradients for 2 inputs"),
    (lambda dy, saved: (dy, None), "db: backward returned None, but its gradient is needed"),
    (lambda dy, saved: (1.0, dy), "da must be a NumPy array, got float"),
    (lambda dy, saved: None, "backward returned 1 gradients"),
    (lambda dy, saved: iter(()), "backward returned 1 gradients"),
    (lambda dy, saved: (dy[0], dy), "da, with a (2, 3), b (2, 3): the gradient has shape (3,), the input (2, 3)"),
    (lambda dy, saved: (dy.astype(np.float16), dy), "da is float16, the input float64"),
    (lambda dy, saved: (dy + 1j, dy), "da is complex128, the input float64"),
    (
        lambda dy, saved: (dy - dy.mean(axis=-1), dy),
        "with shapes (2,3) (2,), with a (2, 3), b (2, 3), dy (2, 3); a sum or mean loses its axis unless keepdims=True",
    ),
    (lambda dy, saved: (dy[7], dy), "IndexError: index 7 is out of bounds for axis 0 with size 2, with a (2, 3)"),
]


@pytest.mark.parametrize(("backward", "message"), FORMS, ids=[message for _, message in FORMS])
def test_a_wrong_form(backward: Callable[..., Any], message: str) -> None:
    verdict = grade(DRILLS["mul"], backward)
    assert verdict.failed == "shape and dtype"
    assert message in verdict.message


def test_ids_have_no_gradient() -> None:
    assert (
        "return (dweight, None): " in grade(DRILLS["embedding"], lambda dy, saved: np.zeros(saved[1], dy.dtype)).message
    )


def test_a_gradient_that_shares_memory_with_a_saved_array() -> None:
    verdict = grade(DRILLS["mul"], lambda dy, saved: (saved[1], dy * saved[0]))
    assert verdict.failed == "mutation"
    assert verdict.message.startswith("da shares memory with what forward saved")


def test_a_clipped_dy_is_not_linear() -> None:
    """Right for every cotangent that is neither too large nor too small: only sums of cotangents show it."""
    verdict = grade(DRILLS["exp"], lambda dy, saved: (np.clip(dy, -3.2, 3.2) * saved,))
    assert verdict.failed == "linearity in dy"
    assert verdict.message.startswith(
        "dx of 2u - 3v is not 2 dx(u) - 3 dx(v): backward must be linear in dy, with x (2, 3)"
    )


def test_gradcheck_finds_a_dependence_on_the_memory_layout() -> None:
    """All inputs of the other stages lie row by row."""
    verdict = grade(DRILLS["exp"], lambda dy, saved: (dy.ravel("K").reshape(dy.shape) * saved,))
    assert verdict.failed == "finite differences"
    assert "the memory layout matters" in verdict.message


@pytest.mark.parametrize("name", DRILLS)
def test_no_cotangent_has_the_numbers_of_an_input(name: str) -> None:
    """If dy were q, a backward that takes one for the other would be right."""
    drill = DRILLS[name]
    for seed, draw in ((0, 0), (7, 7), (8, 8)):
        call = make_call(drill, drill.cases[0], seed, draw=draw)
        assert not np.isin(call.dy, np.concatenate([x.ravel() for x in call.inputs])).any()


@pytest.mark.parametrize(("c", "text"), [(3, "D"), (1 / 3, "1/D"), (3**0.5, "√D"), (3**-0.5, "1/√D")])
def test_a_known_constant_is_named_as_a_factor(c: float, text: str) -> None:
    drill = DRILLS["attention"]

    def backward(dy: np.ndarray, saved: Any) -> Any:
        dq, dk, dv = drill.backward(dy, saved)
        return dq, dk, dv * (saved[0].shape[-1] ** math.log(c, 3))

    (mistake,) = grade(drill, backward).mistakes
    assert mistake.startswith(f"“a factor” in dv: the gradient is {text} times the right one")
