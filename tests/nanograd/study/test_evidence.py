"""The second half of a page: what is saved, the Jacobian."""

from collections.abc import Callable
from typing import Any

from nanograd.study.evidence import cost_section, jacobian_section
from nanograd.study.worked_example import run_example, saved_arrays


def test_what_is_saved_and_why(text_of: Callable[[str], str]) -> None:
    (y, axis) = saved_arrays(run_example("softmax"))
    assert (y.name, y.bytes, y.source, axis.value) == ("y", 32, "the result y itself, no copy", -1)
    assert y.used == ("row = sum_over(dy * y, axis, keepdims=True)", "return (y * (dy - row), None)")
    saved = {saved_value.name: saved_value for saved_value in saved_arrays(run_example("mul"))}
    assert saved["b"].source == "the input b itself, no copy"
    assert [(saved_value.name, saved_value.source) for saved_value in saved_arrays(run_example("square"))] == [
        ("x", "the input x itself, no copy")
    ]
    assert [saved_value.name for saved_value in saved_arrays(run_example("maximum"))] == [
        "larger_a",
        "larger_b",
        "a_shape",
        "b_shape",
    ]
    inner, _, n_heads, _ = saved_arrays(run_example("packed_attention"))
    assert len(inner.arrays) >= 4  # q, k, v, P: of the attention inside
    assert inner.used == ("gradients = attention_backward(heads, inner)[:3]",)
    assert any(line.startswith("for ") for line in n_heads.used)
    assert "Forward saves nothing" in cost_section(run_example("neg"))
    text = text_of(cost_section(run_example("softmax")))
    assert "y (2, 4) , 32 bytes" in text
    assert "Backward needs no x" in text


def test_the_jacobian_beside_the_shortcut(text_of: Callable[[str], str], by_hand: Callable[..., Any]) -> None:
    text = text_of(jacobian_section(by_hand("square", [1.0, 2.0], dy=[10.0, 100.0])))  # ∂y/∂x = diag(2, 4)
    assert "y[0] 20 0 y[1] 0 40" in text  # in units of 0.1
    assert text.count("0 20 400") == 2  # dy J, and dx
    assert "the Jacobian has 4 entries, of which 2 are 0" in text
