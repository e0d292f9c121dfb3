"""The NumPy of a page runs from top to bottom, where nothing is defined but np, and computes what the op computes."""

import contextlib
import html
import io
import re
from typing import Any

import numpy as np
import pytest

from nanograd.check.cases import CASES
from nanograd.op import OPS
from nanograd.study.derivation import derivation
from nanograd.study.helpers import HELPERS, helper_source
from nanograd.study.line_check import check
from nanograd.study.page import study_page
from nanograd.study.program import given_code, helpers_of, literal, outputs, program, script
from nanograd.study.sections import derivation_section
from nanograd.study.study_data import study_op
from nanograd.study.worked_example import MOST, WorkedExample, run_example, run_on

LAST = "The whole program"


def boxes(page: str) -> dict[str, str]:
    """Return the code boxes of a page by their labels, in the order printed."""
    found = re.findall(r'<pre [^>]*aria-label="([^"]*)"[^>]*><code>(.*?)</code></pre>', page, re.DOTALL)
    assert len(dict(found)) == len(found)
    return {html.unescape(label): html.unescape(re.sub(r"<[^>]*>", "", text)) for label, text in found}


def run(source: str, namespace: dict[str, Any]) -> str:
    """Execute source, and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), np.errstate(all="ignore"):
        exec(source, namespace)
    return printed.getvalue()


def assert_computes(worked: WorkedExample, namespace: dict[str, Any]) -> None:
    """Compare the result and all gradients of a namespace with those of the op, in value and shape."""
    result, *gradients = outputs(worked.op.name)
    values = [namespace[result]]
    values += namespace["dxs"] if worked.op.variadic else [namespace[name] for name in gradients]
    wanted = [
        worked.y,
        *(worked.gradients[i] for i in range(len(worked.needs)) if i not in worked.op.nondifferentiable),
    ]
    for value, right in zip(values, wanted, strict=True):
        if right is not None:
            assert np.shape(value) == right.shape
            np.testing.assert_allclose(value, right, rtol=1e-9, atol=1e-11)


def test_the_boxes_of_a_page_run_in_the_order_printed(op_name: str) -> None:
    page = derivation_section(study_op(op_name, (2, 4)))
    bare: dict[str, Any] = {"np": np}
    printed = boxes(page)
    whole = printed.pop(LAST)
    for box in printed.values():
        run(box, bare)
    assert_computes(run_example(op_name, (2, 4)), bare)
    alone: dict[str, Any] = {}
    assert all(f"{output} =" in run(whole, alone) for output in outputs(op_name))
    assert_computes(run_example(op_name, (2, 4)), alone)


def assert_its_program_computes(worked: WorkedExample) -> None:
    namespace: dict[str, Any] = {}
    run(script(worked), namespace)
    assert_computes(worked, namespace)


@pytest.mark.parametrize("name", sorted(set(OPS) - {"embedding"}))
def test_the_program_runs_at_another_shape(name: str) -> None:
    assert_its_program_computes(run_example(name, (2, 3, 4), seed=3))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPS))
def test_the_program_of_every_case_runs(name: str) -> None:
    """Every case at which the printed lines hold; test_line_check knows the others."""
    for case in CASES[name]:
        arrays = case.arrays()
        if all(a is None or np.size(a) <= MOST for a in arrays):
            worked = run_on(
                name, [a if a is None or a.dtype.kind != "f" else a.astype(float) for a in arrays], case.options
            )
            holds = False
            with contextlib.suppress(ValueError):  # the lines are not about a shift of two axes
                holds = all(line.ok for line in check(name, arrays, case.options))
            if holds:
                assert_its_program_computes(worked)


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_definition_stands_once_and_above_what_needs_it(name: str) -> None:
    statements = program(name)
    names = [statement.name for statement in statements]
    assert len(names) == len(set(names))
    assert [s.number for s in statements if s.number] == [line.number for line in derivation(name)]


def test_statements_out_of_order_are_caught() -> None:
    """Planted: the definitions after the line that needs them, as pages once printed them."""
    worked = run_example("attention", (2, 4))
    statements = sorted(program("attention"), key=lambda s: s.number is None)
    source = "\n".join(
        [*map(helper_source, helpers_of("attention")), given_code(worked), *(s.text for s in statements)]
    )
    with pytest.raises(TypeError, match="NoneType"):  # scale, before it is given its default
        run(source, {"np": np})


@pytest.mark.parametrize("name", sorted(HELPERS))
def test_a_helper_is_a_few_lines_that_run_alone(name: str) -> None:
    source = helper_source(name)
    assert len(source.splitlines()) <= 15
    assert max(map(len, source.splitlines())) <= 120
    assert '"""' in source.splitlines()[1]
    run(source, {})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.array([[0.5, -1.0], [2.0, 0.1]]), "np.array([[0.5, -1.0],\n          [2.0, 0.1]])"),
        (np.array(3), "np.array(3)"),
        (np.array([True]), "np.array([True])"),
        (np.zeros((0, 2)), "np.zeros((0, 2), 'float64')"),
        (np.array([-np.inf, np.nan]), "np.array([-np.inf, np.nan])"),
        (np.array([1.5], np.float32), "np.array([1.5], 'float32')"),
        ((slice(1, None), ...), "(slice(1, None, None), Ellipsis)"),
        (np.float32, "np.float32"),
        (np.dtype(np.int8), "np.dtype('int8')"),
    ],
)
def test_literals(value: Any, written: str) -> None:
    assert literal(value) == written
    np.testing.assert_array_equal(eval(written), value)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPS))
def test_what_is_code_is_set_as_code(name: str) -> None:
    """No identifier with an underscore and no x_i stands in prose as it was typed."""
    main = study_page(name).partition("<main")[2].partition("</main>")[0]
    prose = re.sub(r"<(code|math|pre|figcaption|caption)\b.*?</\1>|<[^>]*>", " ", main, flags=re.DOTALL)
    assert re.findall(r"\S*[_`]\S*", html.unescape(prose)) == []
