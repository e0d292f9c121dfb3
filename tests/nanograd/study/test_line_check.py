"""Every numbered line of every op, evaluated: it agrees with its references, and a mistake in it would be caught."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest

from nanograd.check.cases import CASES
from nanograd.check.cases.case import Case
from nanograd.check.mutator import mutations, slips
from nanograd.op import OPS
from nanograd.study.derivation import derivation
from nanograd.study.line_check import check, check_line, evaluate, random_dy
from nanograd.study.line_code import OpCode, op_code
from nanograd.study.notation import Formula, parse, to_text
from nanograd.study.notation import tree as t
from nanograd.study.reasons import REASONS
from nanograd.study.worked_example import example

EVERY = [(name, line.number) for name in sorted(OPS) for line in derivation(name)]
IN_SYMBOLS = [(name, number) for name, number in EVERY if REASONS[name].line(number).code is None]

# The cases on which a line, which computes what is printed and no more, does not apply: what happens there is prose.
LARGE = "exp of such numbers overflows; an op takes the largest score away first, which cancels on paper"
BLIND = "a row in which nothing counts is 0/0 on paper; the prose says that it gives 0"
KINK = "at a kink there is no derivative on paper; the prose says which one the op takes"
BEYOND = {
    ("cross_entropy", "large scores"): LARGE,
    ("dpo", "won and lost for sure"): LARGE,
    ("dpo", "won and lost for sure, smoothed"): LARGE,
    ("linear_cross_entropy", "large scores"): "a probability of 1 - 1e-16 is gone in softmax(z), not in its logarithm",
    ("log_softmax", "large scores"): LARGE,
    ("log_softmax", "scores of minus infinity"): BLIND,
    ("logsumexp", "large"): LARGE,
    ("masked_fill", "minus infinity"): "-∞ takes part in y, and no derivative can be measured through it",
    ("maximum", "ties"): KINK,
    ("minimum", "ties"): KINK,
    ("norm", "of nothing but zeros"): KINK,
    ("pow", "a constant base of zero"): KINK,
    ("pow", "zero to the 0"): "0 times an infinite power is NaN; line (2) says in words that it is 0",
    ("roll", "two axes"): "the line is about one axis; several are rolled one after the other",
    ("sigmoid", "saturated"): LARGE,
    ("softmax", "a row that sees nothing"): BLIND,
    ("softmax", "large scores"): LARGE,
    ("softmax", "masked along the first axis"): BLIND,
    ("softmax", "masked, a row that sees nothing"): BLIND,
    ("std", "all entries equal"): KINK,
    ("tanh", "saturated"): LARGE,
}


# A few lines against numbers worked out by hand


def test_softmax_by_hand() -> None:
    """Scores ln 1 and ln 3 give ¼ and ¾; with dy = (1, 0) the sum in (3) is ¼, so dx = (¼ · ¾, ¾ · -¼)."""
    values = evaluate("softmax", [np.log([1.0, 3.0])], {}, np.array([1.0, 0.0]))
    assert values["y"] == pytest.approx([0.25, 0.75])
    assert values["dy_dx"] == pytest.approx(np.array([[3, -3], [-3, 3]]) / 16)
    assert values["dx"] == pytest.approx([3 / 16, -3 / 16])


def test_layernorm_by_hand() -> None:
    """-1 and 1 have mean 0 and variance 1: r = 1, n = x, and of two features nothing is left once both terms are gone."""
    arrays = [np.array([[-1.0, 1.0]]), np.array([2.0, 3.0]), np.zeros(2)]
    values = evaluate("layernorm", arrays, {"eps": 0.0}, np.ones((1, 2)))
    assert values["r"] == pytest.approx(np.array([[1.0]]))
    assert values["y"] == pytest.approx(np.array([[-2.0, 3.0]]))
    assert values["dn"] == pytest.approx(np.array([[2.0, 3.0]]))
    assert values["dx"] == pytest.approx(np.array([[0.0, 0.0]]))


def test_attention_by_hand() -> None:
    """With q = 0 both keys look alike: P = ½, ½. dP = dy v = (1, 3), their mean 2, so dS = ½ (-1, 1) = (-½, ½)."""
    q, k, v = np.zeros((1, 1)), np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]])
    values = evaluate("attention", [q, k, v], {}, np.array([[1.0]]))
    assert values["P"] == pytest.approx(np.array([[0.5, 0.5]]))
    assert values["y"] == pytest.approx(np.array([[2.0]]))
    assert values["dS"] == pytest.approx(np.array([[-0.5, 0.5]]))
    assert values["dq"] == pytest.approx(np.array([[0.5]]))  # -½ · 1 + ½ · 2


def test_all_is_computed_in_float64_whatever_comes() -> None:
    x = np.array([[0.5, -1.0]], np.float32)
    values = evaluate("softmax", [x], {}, np.ones((1, 2), np.float32))
    assert {np.asarray(each).dtype for name, each in values.items() if name != "mask"} == {np.dtype(float)}
    assert evaluate("pow", [x, np.array(2)], {}, np.ones((1, 2)))["dy_da"].tolist() == [[1.0, -2.0]]


# Every line and its references


def holds(name: str, arrays: list, options: dict, seed: int = 0) -> set[int]:
    """Check all lines of an op, and return the numbers of those that were checked."""
    checked = check(name, arrays, options, seed)
    wrong = [f"({c.number}) {c.text}: {c.line.code}: {c.error:.2g} from {c.reference}" for c in checked if not c.ok]
    assert not wrong, "\n".join(wrong)
    return {c.number for c in checked}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize("name", sorted(OPS))
def test_every_line_agrees_on_the_example(name: str, seed: int) -> None:
    assert holds(name, *example(name, seed=seed), seed=seed) == set(op_code(name).lines)


@pytest.mark.parametrize("shape", [(3, 6), (2, 3, 4)])
@pytest.mark.parametrize("name", sorted(set(OPS) - {"embedding"}))
def test_every_line_agrees_on_another_shape(name: str, shape: tuple[int, ...]) -> None:
    assert holds(name, *example(name, shape, seed=3), seed=3) == set(op_code(name).lines)


WITHIN = [
    pytest.param(name, case, id=f"{name}-{case.label}", marks=pytest.mark.slow if i % 3 else ())
    for name in sorted(OPS)
    for i, case in enumerate(case for case in CASES[name] if (name, case.label) not in BEYOND)
]


@pytest.mark.parametrize(("name", "case"), WITHIN)
def test_every_line_agrees_on_every_case(name: str, case: Case) -> None:
    holds(name, case.arrays(), case.options)


@pytest.mark.parametrize(("name", "label"), sorted(BEYOND))
def test_no_case_is_left_out_without_need(name: str, label: str) -> None:
    [case] = [case for case in CASES[name] if case.label == label]
    try:
        checked = check(name, case.arrays(), case.options)
    except ValueError:  # as for a shift of two axes
        return
    assert not all(line.ok for line in checked), BEYOND[name, label]


def test_what_has_no_gradient_is_passed_over() -> None:
    """Without a bias there is nothing to hold dbias against; with an exponent of 2, a whole number, nothing for db."""
    x, weight = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    assert holds("linear", [x, weight], {}) == {1, 2, 3}
    assert holds("pow", [np.array([1.5, -2.0]), np.array(2)], {}) == {1, 2, 4}


def test_nothing_is_written_into() -> None:
    for name in sorted(OPS):
        arrays, options = example(name)
        before = copy.deepcopy(arrays)
        check(name, arrays, options)
        for a, b in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_same_seed_gives_the_same_numbers() -> None:
    for name in ("std", "dropout", "packed_attention"):
        one, two = (check(name, *example(name, seed=4), seed=4) for _ in range(2))
        for a, b in zip(one, two, strict=True):
            assert a._replace(value=0, other=0) == b._replace(value=0, other=0)
            np.testing.assert_array_equal(a.value, b.value)
            np.testing.assert_array_equal(a.other, b.other)


# The check can fail


def caught(name: str, number: int, code: OpCode) -> bool:
    """Tell whether a wrong line is caught by its own references, on the example or on a case."""
    cases = ((case.arrays(), case.options) for case in CASES[name] if (name, case.label) not in BEYOND)
    for arrays, options in (example(name, seed=5), *cases):
        try:
            checked = check_line(random_dy(name, arrays, options, 5, code), number)
        except Exception:  # an expression may make no sense any more
            return True
        if checked is not None and not checked.ok:
            return True
    return False


@pytest.mark.parametrize(("name", "number"), EVERY)
def test_one_per_cent_and_a_wrong_sign_are_caught(name: str, number: int) -> None:
    code = op_code(name)
    line = code.lines[number]
    several = line.code.startswith(("tuple(", "attention_gradients("))
    if "0" in line.also:  # 1 % of 0 is 0, so 0.01 is added
        planted = OpCode({**code.lines, number: line._replace(code=f"{line.code} + 0.01")}, code.definitions)
        assert caught(name, number, planted)
        return
    for factor in ("1.01", "(-1)"):
        wrong = f"tuple({factor} * a for a in {line.code})" if several else f"{factor} * ({line.code})"
        planted = OpCode({**code.lines, number: line._replace(code=wrong)}, code.definitions)
        assert caught(name, number, planted), wrong


def formula_slips(code: str) -> list[str]:
    """List the small slips of a formula: operators exchanged, a sign lost, a number increased; not in indices and axes."""
    tree = ast.parse(code)
    fixed = [node for node in ast.walk(tree) if isinstance(node, (ast.Subscript, ast.keyword))]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    fixed += [argument for call in calls for argument in call.args if isinstance(argument, ast.Constant)]
    skipped = {id(inner) for node in fixed for inner in ast.walk(node)}
    return [mutation.source for mutation in mutations(tree, lambda node: () if id(node) in skipped else slips(node))]


def test_slips_of_a_formula() -> None:
    assert formula_slips("-x.sum(axis=0) / 2") == ["-x.sum(axis=0) * 2", "x.sum(axis=0) / 2", "-x.sum(axis=0) / 3"]
    assert sorted(formula_slips("a - b * -2")) == ["a + b * -2", "a - b * -3", "a - b * 2", "a - b / -2"]
    assert formula_slips("a > b") == ["a < b"]
    assert formula_slips("f(x)[1:2].sum(3, axis=-1)") == []


@pytest.mark.parametrize(("name", "number"), sorted(set(EVERY) - set(IN_SYMBOLS)))
def test_small_slips_in_the_code_of_a_line_in_words_are_caught(name: str, number: int) -> None:
    code = op_code(name)
    line = code.lines[number]
    for wrong in formula_slips(line.code):
        assert caught(name, number, OpCode({**code.lines, number: line._replace(code=wrong)}, code.definitions)), wrong


def edits(part: Formula) -> Iterator[Formula]:
    """Make every small mistake that a formula has room for, one at a time."""
    match part:
        case t.Number(text) if text != "½":
            yield t.Number(str(float(text) + 1))
        case t.Minus(of) | t.Root(of) | t.Transpose(of) | t.Fence("mean", of) | t.Big(body=of):
            yield of
        case t.Power(base, _):
            yield base
        case t.Quotient(top, bottom):
            yield t.Product((t.Fence("group", top), t.Fence("group", bottom)))
            yield t.Quotient(bottom, top)
        case t.Product(factors) if len(factors) > 1:
            for i in range(len(factors)):
                left = factors[:i] + factors[i + 1 :]
                yield t.Product(left) if len(left) > 1 else left[0]
            yield t.Infix(factors, ("⊙",) * (len(factors) - 1))
        case t.Infix(operands, ("⊙", *_)):
            yield t.Product(operands)
            yield from operands
        case t.Infix(operands, signs):
            for i, sign in enumerate(signs):
                for other in {"+": "-", "-": "+", "≤": ">", "≥": "<", ">": "<", "<": ">"}.get(sign, ""):
                    yield t.Infix(operands, (*signs[:i], other, *signs[i + 1 :]))
    for field in fields(part):  # type: ignore[arg-type]
        inner = getattr(part, field.name)
        if isinstance(inner, Formula):
            yield from (replace(part, **{field.name: wrong}) for wrong in edits(inner))
        elif isinstance(inner, tuple):
            for i, child in enumerate(inner):
                if isinstance(child, Formula):
                    wrong = ((*inner[:i], other, *inner[i + 1 :]) for other in edits(child))
                    yield from (replace(part, **{field.name: children}) for children in wrong)


def with_formula(name: str, number: int, formula: Formula) -> OpCode | None:
    """Return the lines of an op with another formula for one of them; None where it has no code."""
    printed = tuple((line.number, formula if line.number == number else line.formula) for line in derivation(name))
    try:
        return op_code.__wrapped__(name, printed)
    except ValueError:
        return None


SAME = {  # side remarks about a letter, which are no equations between numbers
    ("attention", 1): ["S = scale q kᵀ + M,  M = 1.0 elsewhere"],
    ("attention", 3): ["y = (P ⊙ z) v,  z = 2.0 without dropout"],
    ("layernorm", 9): ["Σ_j (x_j - x) = 0"],  # without an index x is the same array, and x - x is 0
    ("repeat", 1): ["y[r i + k] = x[i],  k > r = repeats"],
}


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "number"), IN_SYMBOLS)
def test_a_mistake_in_a_printed_line_is_caught(name: str, number: int, every: int) -> None:
    """Each 4th of the mistakes; in the slow test, each."""
    mistakes = list(edits(derivation(name)[number - 1].formula))[::every]
    unseen = []
    for wrong in mistakes:
        code = with_formula(name, number, wrong)
        if code is not None and not caught(name, number, code):
            unseen.append(to_text(wrong))
    assert set(unseen) == set(SAME.get((name, number), [])) & set(map(to_text, mistakes))


def test_a_formula_has_many_mistakes() -> None:
    assert [to_text(wrong) for wrong in edits(parse("dx = dy (1 - y²)"))] == [
        "dx = (1 - y²)",
        "dx = dy",
        "dx = dy ⊙ (1 - y²)",
        "dx = dy (1 + y²)",
        "dx = dy (2.0 - y²)",
        "dx = dy (1 - y)",
        "dx = dy (1 - y^3.0)",
    ]


def test_a_docstring_that_changes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = OPS["exp"].pair.backward
    monkeypatch.setattr(backward, "__doc__", (backward.__doc__ or "").replace("dx = dy y ", "dx = dy / y "))
    assert to_text(derivation("exp")[1].formula) == "dx = dy / y"
    [wrong] = [
        line for line in check("exp", [np.array([0.5, -1.0])], {}, code=op_code.__wrapped__("exp")) if not line.ok
    ]
    assert wrong.number == 2
