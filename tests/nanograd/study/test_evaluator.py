"""Values of lines, and what they are compared with, on numbers worked out by hand."""

import numpy as np
import pytest

from nanograd.study.evaluator import Evaluator, NoGradient


def test_a_replaced_value_changes_what_depends_on_it() -> None:
    evaluator = Evaluator("silu", [np.array([0.0])], {}, np.array([2.0]))
    assert evaluator["σ"] == pytest.approx([0.5])
    moved = evaluator.moved({"σ": np.array([0.25])}, {"x": np.array([4.0])})
    assert moved["y"] == pytest.approx([1.0])  # x σ
    assert evaluator["y"] == pytest.approx([0.0])


def test_finite_differences_by_hand() -> None:
    """Of y = x σ at x = 0, with dy = 2: ∂y/∂x is σ = ½, and the gradient by σ is 2 x = 0."""
    evaluator = Evaluator("silu", [np.array([0.0])], {}, np.array([2.0]))
    assert evaluator.derivative("y", "x") == pytest.approx([0.5])
    assert evaluator.gradient("x") == pytest.approx([1.0])
    assert evaluator.backward("x") == pytest.approx([1.0])
    assert evaluator.by("σ") == pytest.approx([0.0], abs=1e-12)


def test_the_jacobian_of_softmax() -> None:
    """Scores ln 1 and ln 3 give ¼ and ¾; y_1 (1 - y_1) is 3/16."""
    evaluator = Evaluator("softmax", [np.log([[1.0], [3.0]])], {"axis": 0}, np.ones((2, 1)))
    np.testing.assert_allclose(evaluator.jacobian("y", "x", 0), np.array([[[3, -3], [-3, 3]]]) / 16, atol=1e-10)


def test_an_input_without_a_gradient_cannot_be_varied() -> None:
    evaluator = Evaluator("embedding", [np.ones((2, 3)), np.array([0, 1])], {}, np.ones((2, 3)))
    with pytest.raises(NoGradient, match="embedding: ids is not differentiated"):
        evaluator.gradient("ids")
    with pytest.raises(NameError, match="no line, input, option or helper is called 'blue'"):
        evaluator["blue"]


def test_a_result_has_the_shape_that_the_op_gives_it() -> None:
    evaluator = Evaluator("sum", [np.ones((2, 3))], {"axis": 1}, np.array([1.0, 2.0]))
    assert evaluator["y"].shape == (2, 1)
    assert evaluator.native("y", evaluator["y"]).shape == (2,)
    assert evaluator["dx"].tolist() == [[1.0] * 3, [2.0] * 3]
