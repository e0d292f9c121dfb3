"""Printed equations as NumPy."""

import numpy as np
import pytest

from nanograd.study.notation.code import NotInSymbols, Scope, write_code
from nanograd.study.notation.parser import parse


def test_two_letters_are_two_axes() -> None:
    """Of scores ln 1 and ln 3, with y = ¼, ¾, ∂y_2/∂x_1 is ¾ (0 - ¼) = -3/16."""
    equation = parse("∂y_j/∂x_i = y_j (1[i = j] - y_i)")
    code = write_code(equation.operands[1], equation, Scope({"x", "y", "dy"}, set(), {}))
    y = np.array([0.25, 0.75])
    np.testing.assert_allclose(eval(code, {"np": np, "y": y}), np.array([[3, -3], [-3, 3]]) / 16)


@pytest.mark.parametrize("line", ["y = x_t", "y = blue(x)", "dbias_o = dy_to", "y = zz"])
def test_a_name_or_letter_without_a_value_is_refused(line: str) -> None:
    try:
        equation = parse(line)
    except ValueError:
        return  # not even a formula
    with pytest.raises(NotInSymbols):
        write_code(equation.operands[1], equation, Scope({"x", "y", "dy"}, set(), {}))


@pytest.mark.parametrize("line", ["y_to = Σ_t x_ti weight_oi", "y_to = Σ_k x_ti weight_oi", "y_o = Σ_i x_ti"])
def test_a_sum_over_other_letters_than_it_contains_is_refused(line: str) -> None:
    equation = parse(line)
    scope = Scope({"x", "y", "weight"}, set(), {}, matrices=True)
    code = "np.einsum('...ti,...oi->...to', x, weight)"
    assert write_code(parse("y_to = Σ_i x_ti weight_oi").operands[1], parse("y_to = Σ_i x_ti weight_oi"), scope) == code
    with pytest.raises(NotInSymbols):
        write_code(equation.operands[1], equation, scope)
