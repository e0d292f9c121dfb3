"""The numbered equations of docstrings: how they are read, and what every op must state."""

import inspect
import re

import pytest

from nanograd.op import OPS
from nanograd.ops._equations import equations, numbered_equations


def test_equations_are_the_numbered_lines() -> None:
    def function() -> None:
        """Do something.

        y = 2 x      (1)
            z = y + (3)                  (2)
        as (1) and (2) say, f(3)
        """

    assert numbered_equations(function) == {1: "y = 2 x", 2: "z = y + (3)"}
    assert equations(function) == ["y = 2 x", "z = y + (3)"]
    assert numbered_equations(lambda: None) == {}


@pytest.mark.parametrize("name", sorted(OPS))
def test_equations_run_from_one_without_gaps(name: str) -> None:
    pair = OPS[name].pair
    forward, backward = numbered_equations(pair.forward), numbered_equations(pair.backward)
    assert forward, "a forward must state its equation"
    assert backward, "a backward must state its gradient"
    assert [*forward, *backward] == list(range(1, len(forward) + len(backward) + 1))


@pytest.mark.parametrize("name", sorted(OPS))
def test_a_backward_names_its_gradients_and_quotes_its_last_equation(name: str) -> None:
    op = OPS[name]
    lines = numbered_equations(op.pair.backward)
    assert any(re.search(r"\bd[a-z]+(\b|_|\[)", line) for line in lines.values()), f"no line of {lines} is a gradient"
    for array in [name for i, name in enumerate(op.arrays) if i not in op.nondifferentiable] or ["x"]:
        pattern = r"\bdz_k\b" if array == "logits" else rf"\bd{array}(\b|_)"
        assert any(re.search(pattern, line) for line in lines.values()), f"d{array} is missing in {lines}"
    body = inspect.getsource(op.pair.backward).rpartition('"""')[2]
    assert f"({max(lines)})" in body, "the code must quote the equation that it computes"


def test_a_forward_with_several_equations_quotes_them() -> None:
    for name, op in OPS.items():
        body = inspect.getsource(op.pair.forward).rpartition('"""')[2]
        if len(equations(op.pair.forward)) > 1:
            assert re.search(r"# .*\(\d+\)", body), name
