"""Every numbered line of every op, put to numbers: its twin exists, agrees with its neighbours, and would be missed."""

import ast
import builtins
import copy

import numpy as np
import pytest

from nanograd.check.cases import CASES
from nanograd.check.cases.case import Case
from nanograd.op import OPS
from nanograd.study.examples import example
from nanograd.study.sheet import Sheet, parse
from nanograd.study.twin import begin, check, check_line, evaluate, given, lines
from nanograd.study.twins import GIVEN, TWINS
from nanograd.study.words import WORDS

EVERY = [(name, number) for name in sorted(OPS) for number in sorted(lines(name))]

# Where the twin of a line, which says what is printed and no more, is not to be used: what stands there is prose.
LARGE = "exp of such numbers overflows; an op takes the largest score away first, which cancels on paper"
BLIND = "a row in which nothing counts is 0/0 on paper; the prose says that it gives 0"
KINK = "at a kink there is no slope on paper; the prose says which one the op takes"
BEYOND = {
    ("cross_entropy", "large scores"): LARGE,
    ("dpo", "won and lost for sure"): LARGE,
    ("dpo", "won and lost for sure, smoothed"): LARGE,
    ("linear_cross_entropy", "large scores"): "a probability of 1 - 1e-16 is gone in softmax(z), not in its logarithm",
    ("log", "large"): "1e9 is not moved enough by a step of 0.001 for a slope to be seen",
    ("log_softmax", "large scores"): LARGE,
    ("log_softmax", "scores of minus infinity"): BLIND,
    ("logsumexp", "large"): LARGE,
    ("masked_fill", "minus infinity"): "-∞ takes part in y, and no slope can be measured through it",
    ("maximum", "ties"): KINK,
    ("minimum", "ties"): KINK,
    ("norm", "of nothing but zeros"): KINK,
    ("pow", "a constant base of zero"): KINK,
    ("sigmoid", "saturated"): LARGE,
    ("softmax", "a row that sees nothing"): BLIND,
    ("softmax", "large scores"): LARGE,
    ("softmax", "masked along the first axis"): BLIND,
    ("softmax", "masked, a row that sees nothing"): BLIND,
    ("std", "all entries equal"): KINK,
    ("tanh", "saturated"): LARGE,
}


# The lines and their twins


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_numbered_line_has_its_twin_and_no_other(name: str) -> None:
    assert sorted(TWINS[name]) == sorted(lines(name)) == list(range(1, len(TWINS[name]) + 1))


def test_no_twin_is_left_of_an_op_that_went() -> None:
    assert set(TWINS) == set(OPS)
    assert set(GIVEN) <= set(OPS)
    assert len(EVERY) == 229


@pytest.mark.parametrize("name", sorted(OPS))
def test_a_reason_is_a_sentence_of_its_own(name: str) -> None:
    assert len({twin.why for twin in TWINS[name].values()}) == len(TWINS[name])
    for number, twin in TWINS[name].items():
        assert len(twin.why.split()) > 3, (number, twin.why)
        assert twin.why.endswith("."), (number, twin.why)
        assert len(twin.why) <= 250, (number, twin.why)


# A few lines against numbers worked out by hand


def test_softmax_by_hand() -> None:
    """Scores ln 1 and ln 3 give ¼ and ¾; with dy = (1, 0) the sum in (3) is ¼, so dx = (¼ · ¾, ¾ · -¼)."""
    found = evaluate("softmax", [np.log([1.0, 3.0])], {}, np.array([1.0, 0.0]))
    assert found["y"] == pytest.approx([0.25, 0.75])
    assert found["dy_dx"] == pytest.approx(np.array([[3, -3], [-3, 3]]) / 16)
    assert found["dx"] == pytest.approx([3 / 16, -3 / 16])


def test_layernorm_by_hand() -> None:
    """-1 and 1 have mean 0 and variance 1: r = 1, n = x, and of two features nothing is left once both terms are gone."""
    arrays = [np.array([[-1.0, 1.0]]), np.array([2.0, 3.0]), np.zeros(2)]
    found = evaluate("layernorm", arrays, {"eps": 0.0}, np.ones((1, 2)))
    assert found["r"] == pytest.approx(np.array([[1.0]]))
    assert found["y"] == pytest.approx(np.array([[-2.0, 3.0]]))
    assert found["dn"] == pytest.approx(np.array([[2.0, 3.0]]))
    assert found["dx"] == pytest.approx(np.array([[0.0, 0.0]]))


def test_attention_by_hand() -> None:
    """With q = 0 both keys look alike: P = ½, ½. dP = dy v = (1, 3), their mean 2, so dS = ½ (-1, 1) = (-½, ½)."""
    q, k, v = np.zeros((1, 1)), np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]])
    found = evaluate("attention", [q, k, v], {}, np.array([[1.0]]))
    assert found["P"] == pytest.approx(np.array([[0.5, 0.5]]))
    assert found["y"] == pytest.approx(np.array([[2.0]]))
    assert found["dS"] == pytest.approx(np.array([[-0.5, 0.5]]))
    assert found["dq"] == pytest.approx(np.array([[0.5]]))  # -½ · 1 + ½ · 2


def test_a_line_knows_what_the_prose_has_given() -> None:
    assert given("div", 5) == {"t": "dy / b"}
    assert set(given("layernorm", 9)) == {"r_token", "same", "C", "n_j", "n_i"}


def test_a_line_is_shown_as_code() -> None:
    assert TWINS["sqrt"][1].shown == "y = np.sqrt(x)"
    assert TWINS["sqrt"][2].shown == "2 * y * δy == δx"
    assert TWINS["packed_attention"][3].shown.startswith("dq, dk, dv = attention_gradients(")


def test_all_is_computed_in_float64_whatever_comes() -> None:
    x = np.array([[0.5, -1.0]], np.float32)
    found = evaluate("softmax", [x], {}, np.ones((1, 2), np.float32))
    assert {np.asarray(each).dtype for name, each in found.items() if name != "mask"} == {np.dtype(float)}
    assert evaluate("pow", [x, np.array(2)], {}, np.ones((1, 2)))["dy_da"].tolist() == [[1.0, -2.0]]


def test_code_says_nothing_that_is_not_used_or_known() -> None:
    """Every name of a twin is a line, an input, an option, a word or given; every word and everything given is used."""
    used: set[str] = set()
    for name in OPS:
        codes = [code for twin in TWINS[name].values() for code in (twin.code, twin.against or "0", *twin.also)]
        read = set().union(*(parse(code)[1] for code in (*codes, *GIVEN.get(name, {}).values())))
        sheet = Sheet(name, *example(name))
        known = {*sheet.lines, *sheet.given, *sheet.raw, *vars(builtins)}
        assert {each.removeprefix("δ") for each in read} <= known, name
        spoken = (
            {"n", "r"} if name in ("flip", "repeat", "roll") else {"y"}
        )  # by the printed lines, which a machine reads
        assert set(GIVEN.get(name, {})) <= read | spoken, name
        used |= read
    assert set(WORDS) <= used


# Every line against its neighbours


def holds(name: str, arrays: list, options: dict, seed: int = 0) -> set[int]:
    """Check all lines of an op, and return which of them were."""
    checked = check(name, arrays, options, seed)
    wrong = [f"({c.number}) {c.text}: {c.twin.code}: {c.error:.2g} from {c.neighbour}" for c in checked if not c.ok]
    assert not wrong, "\n".join(wrong)
    assert all(c.text == lines(name)[c.number] for c in checked)
    return {c.number for c in checked}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(OPS))
def test_every_line_agrees_on_the_example(name: str, seed: int) -> None:
    assert holds(name, *example(name, seed=seed), seed=seed) == set(lines(name))


@pytest.mark.parametrize("shape", [(3, 6), (2, 3, 4)])
@pytest.mark.parametrize("name", sorted(set(OPS) - {"embedding"}))
def test_every_line_agrees_on_another_shape(name: str, shape: tuple[int, ...]) -> None:
    assert holds(name, *example(name, shape, seed=3), seed=3) == set(lines(name))


WITHIN = [(name, each) for name in sorted(OPS) for each in CASES[name] if (name, each.label) not in BEYOND]


@pytest.mark.parametrize(("name", "case"), [pytest.param(*each, id=f"{each[0]}-{each[1].label}") for each in WITHIN])
def test_every_line_agrees_on_every_case(name: str, case: Case) -> None:
    holds(name, case.arrays(), case.options)


@pytest.mark.parametrize(("name", "label"), sorted(BEYOND))
def test_no_case_is_left_out_that_need_not_be(name: str, label: str) -> None:
    [case] = [each for each in CASES[name] if each.label == label]
    assert not all(each.ok for each in check(name, case.arrays(), case.options)), BEYOND[name, label]


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


def planted(name: str, number: int, code: str) -> bool:
    """Tell whether a line with this code in the place of its own is caught, by what it is held against itself."""
    twins = dict(TWINS[name])
    twins[number] = twins[number]._replace(code=code)
    cases = ((each.arrays(), each.options) for each in CASES[name] if (name, each.label) not in BEYOND)
    for arrays, options in (example(name, seed=5), *cases):
        try:
            checked = check_line(begin(name, arrays, options, 5, twins), number)
        except Exception:  # an expression may make no sense any more
            return True
        if checked is not None and not checked.ok:
            return True
    return False


NOTHING = [("reciprocal", 2)]  # its two sides are 0, and 1 % of that is 0


@pytest.mark.parametrize(("name", "number"), EVERY)
def test_one_per_cent_and_a_wrong_sign_are_caught(name: str, number: int) -> None:
    code = TWINS[name][number].code
    several = code.startswith(("tuple(", "attention_gradients("))
    for factor in ("1.01", "(-1)"):
        wrong = f"tuple({factor} * each for each in {code})" if several else f"{factor} * ({code})"
        assert planted(name, number, wrong) != ((name, number) in NOTHING), wrong


SWAP = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Gt: ast.Lt, ast.Lt: ast.Gt}


class Slip(ast.NodeTransformer):
    """Make the n-th small mistake that an expression has room for: + for -, * for /, < for >, 2 for 3, no minus."""

    def __init__(self, n: int) -> None:
        self.n = n

    def due(self) -> bool:
        self.n -= 1
        return self.n == -1

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        return node  # an axis

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return node  # a place

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.args = [each if isinstance(each, ast.Constant) else self.visit(each) for each in node.args]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        swap = SWAP.get(type(node.op))
        return ast.BinOp(node.left, swap(), node.right) if swap and self.due() else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return node.operand if self.due() else node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        swap = SWAP.get(type(node.ops[0]))
        return ast.Compare(node.left, [swap()], node.comparators) if swap and self.due() else node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(node.value + 1) if isinstance(node.value, (int, float)) and self.due() else node


def slips(code: str) -> list[str]:
    """List an expression's small mistakes.

    >>> slips("-x / 2")
    ['x / 2', '-x / 3', '-x * 2']
    """
    found = []
    while True:
        slip = Slip(len(found))
        wrong = ast.unparse(slip.visit(ast.parse(code, mode="eval")))
        if slip.n >= 0:
            return found
        found.append(wrong)


@pytest.mark.parametrize(("name", "number"), EVERY)
def test_small_slips_in_a_line_are_caught(name: str, number: int) -> None:
    unseen = [wrong for wrong in slips(TWINS[name][number].code) if not planted(name, number, wrong)]
    assert not unseen
