"""The mutator: every small mistake that a piece of code allows, once."""

import ast

import numpy as np

from nanograd.check.mutator import function_tree, mistakes, mutations, redefine, slips
from nanograd.op import OPS


def test_slips_of_a_formula() -> None:
    slipped = [mutation.source for mutation in mutations(ast.parse("a - b * -2"), slips)]
    assert sorted(slipped) == ["a + b * -2", "a - b * -3", "a - b * 2", "a - b / -2"]
    assert mistakes_in("a > b") == {"a < b"}


def test_a_mutation_names_the_node_and_its_statement() -> None:
    tree = ast.parse("def f(x):\n    y = x - 1\n    return y")
    mutation = next(iter(mutations(tree, slips)))
    assert str(mutation) == "x - 1 → x + 1 in y = x - 1"
    assert mutation.source == "def f(x):\n    y = x + 1\n    return y"
    assert ast.unparse(tree) == "def f(x):\n    y = x - 1\n    return y"


def mistakes_in(code: str) -> set[str]:
    return {mutation.source for mutation in mutations(ast.parse(code), mistakes)}


def test_the_kinds_of_mistakes() -> None:
    assert mistakes_in("a @ b") == {"a", "b", "b @ a"}
    assert mistakes_in("a - b") == {"a", "b", "a + b", "b - a"}
    assert mistakes_in("a += b") == {"a = b", "a -= b", "pass"}
    assert mistakes_in("-a.T") == {"a.T", "-a"}
    assert mistakes_in("a if b else c") == {"c if b else a"}
    assert mistakes_in("a.sum(axis=i)") == {"a.sum()", "a"}
    assert mistakes_in("unbroadcast(dy, shape)") == {"dy", "unbroadcast(shape, dy)"}
    assert mistakes_in("np.maximum(a, b)") == {"a"}
    assert mistakes_in("np.add.at(dx, i, dy)") == {"dx.__setitem__(i, dy)", "np.add.at(i, dx, dy)"}
    assert mistakes_in("zip(a, strict=True)") == {"a"}
    assert mistakes_in("return (dx, None)") == {
        "return (None if dx is None else dx * 0, None)",
        "return (None if dx is None else dx * 1.01, None)",
        "return (None if dx is None else -dx, None)",
        "return (dy, None)",
        "return (None if dx is None else np.full_like(dx, np.mean(dx)), None)",
    }


def test_a_changed_function_can_be_run() -> None:
    backward = OPS["exp"].pair.backward
    tree = function_tree(backward)
    assert ast.unparse(tree) == "def exp_backward(dy, saved):\n    y = saved\n    return (dy * y,)"
    changed = redefine(backward, ast.unparse(tree).replace("*", "/"), "a test")
    np.testing.assert_array_equal(changed(np.array([6.0]), np.array([2.0]))[0], [3])
    np.testing.assert_array_equal(backward(np.array([6.0]), np.array([2.0]))[0], [12])
