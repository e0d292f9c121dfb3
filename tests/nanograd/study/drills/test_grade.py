"""Drills: every named mistake is caught where it should be, told as what it looks like, and by its name."""

import dataclasses
import inspect

import numpy as np
import pytest

from nanograd.study.drills import DRILLS
from nanograd.study.drills.drill import plant
from nanograd.study.drills.grade import grade
from nanograd.study.drills.train_gpt import compare_training

# Of each mistake: the stage that must catch it, and a piece of what must be said
EXPECTED = {
    "mul": {
        "own factor": ("random cotangents", "it is db"),
        "dy forgotten": ("random cotangents", "it does not depend on dy"),
        "sum rule": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "a quotient": ("extremes", "1 of 3 entries are NaN or infinite"),
        "written into dy": ("mutation", "dy was written into"),
        "a minus": ("random cotangents", "a constant factor, exactly -1×"),
    },
    "add": {
        "no un-broadcast": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "a not summed": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "a mean": ("random cotangents", "a constant factor, exactly 1/2×"),
        "stretch forgotten": ("odd shapes", "missing un-broadcast, the sum along axis 1"),
        "first axis only": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "axes vanish": ("odd shapes", "right after a reshape"),
    },
    "sub": {
        "sign forgotten": ("random cotangents", "a constant factor, exactly -1×"),
        "signs swapped": ("random cotangents", "a constant factor, exactly -1×"),
        "b not summed": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "a not summed": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "negated in place": ("mutation", "dy was written into"),
    },
    "div": {
        "sign forgotten": ("random cotangents", "a constant factor, exactly -1×"),
        "product rule": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "1/b missing": ("random cotangents", "3 of 3 entries are wrong"),
        "b not summed": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "a not summed": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "b squared": ("extremes", "1 of 1 entries are NaN or infinite"),
    },
    "exp": {
        "exp twice": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "dy forgotten": ("random cotangents", "it does not depend on dy"),
        "saved handed out": ("mutation", "what forward saved was written into"),
        "backward of log": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "divided by dy": ("linearity in dy", "dx is not zero for dy = 0"),
    },
    "log": {
        "product": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "of the logarithm": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "base 10": ("random cotangents", "a constant factor, 0.434294×"),
        "an eps": ("extremes", "a constant factor, 0.00990099×"),
        "a minus": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "written into dy": ("mutation", "dy was written into"),
    },
    "sum": {
        "not spread": ("shape and dtype", "the gradient has shape (2,), the input (2, 3)"),
        "axis kept at 1": ("shape and dtype", "the gradient has shape (2, 1), the input (2, 3)"),
        "a mean": ("random cotangents", "a 1/n too much"),
        "ones": ("random cotangents", "it does not depend on dy"),
        "last axis assumed": ("odd shapes", "ValueError: operan"),
        "one dy for all": ("random cotangents", "off by the same amount all along axis 1"),
    },
    "mean": {
        "1/n missing": ("random cotangents", "a mean's 1/n is missing"),
        "n of the wrong axis": ("random cotangents", "a constant factor, exactly 2×"),
        "n of all entries": ("random cotangents", "a constant factor, exactly 1/2×"),
        "not spread": ("shape and dtype", "the gradient has shape (2,), the input (2, 4)"),
        "n - 1": ("random cotangents", "a constant factor, 1.33333×"),
        "float64": ("shape and dtype", "dx is float64 where x is float32"),
    },
    "matmul": {
        "order of db": ("shape and dtype", "right after a transpose to axes (1, 0)"),
        "transposed da": ("shape and dtype", "right after a transpose to axes (1, 0)"),
        "b not transposed": ("shape and dtype", "ValueError: matmul"),
        ".T of a batch": ("odd shapes", "ValueError: matmul"),
        "dy forgotten": ("random cotangents", "it does not depend on dy"),
        "a minus": ("random cotangents", "a constant factor, exactly -1×"),
    },
    "transpose": {
        "forward again": ("shape and dtype", "right after a transpose to axes (1, 2, 0)"),
        "all reversed": ("shape and dtype", "right after a transpose to axes (0, 2, 1)"),
        "axes reversed": ("shape and dtype", "right after a transpose to axes (1, 0, 2)"),
        "a reshape": ("random cotangents", "the right numbers in the wrong places"),
        "passed on": ("shape and dtype", "right after a transpose to axes (2, 0, 1)"),
        "a minus": ("random cotangents", "a constant factor, exactly -1×"),
    },
    "reshape": {
        "passed on": ("shape and dtype", "right after a reshape"),
        "column by column": ("random cotangents", "the right numbers in the wrong places"),
        "flat": ("shape and dtype", "right after a reshape"),
        "transposed": ("random cotangents", "the right numbers in the wrong places"),
        "reversed": ("random cotangents", "the right numbers in the wrong places"),
    },
    "linear": {
        "bias not summed": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "dweight transposed": ("shape and dtype", "right after a transpose to axes (1, 0)"),
        "first axis only": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "weight transposed": ("shape and dtype", "ValueError: matmul"),
        "a mean": ("random cotangents", "a constant factor, 0.333333×"),
        "a mean of dweight": ("random cotangents", "a constant factor, 0.333333×"),
    },
    "relu": {
        "relu of dy": ("random cotangents", "differs only where the input is negative"),
        "passed on": ("random cotangents", "differs only where the input is negative"),
        "other side": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "times x": ("random cotangents", "differs only"),
        "a leak": ("random cotangents", "differs only where the input is negative"),
        "a threshold": ("extremes", "differs only at 3 along axis 0"),
        "written into dy": ("mutation", "dy was written into"),
    },
    "sigmoid": {
        "sigmoid twice": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "derivative of tanh": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "half": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "sign": ("random cotangents", "a constant factor, exactly -1×"),
        "through a logit": ("extremes", "1 of 4 entries are NaN or infinite"),
        "dy forgotten": ("random cotangents", "it does not depend on dy"),
    },
    "tanh": {
        "tanh twice": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "not squared": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "derivative of sigmoid": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "sign": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "through sinh": ("extremes", "1 of 5 entries are NaN or infinite"),
        "dy forgotten": ("random cotangents", "it does not depend on dy"),
    },
    "gelu_tanh": {
        "no second term": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "no first term": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "3 missing": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "tanh not differentiated": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "du/dx missing": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "½ missing": ("random cotangents", "a constant factor, exactly 2×"),
        "float64": ("shape and dtype", "dx is float64 where x is float32"),
    },
    "swiglu": {
        "a once": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "only through σ": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "b forgotten": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "gate without σ": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "sigmoid alone": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "swapped": ("random cotangents", "it is db"),
    },
    "softmax": {
        "no row sum": ("random cotangents", "8 entries take nothing from places in y that they move"),
        "y left out": ("random cotangents", "right for a uniform cotangent, wrong for a random one"),
        "a mean for the sum": ("random cotangents", "8 of 8 entries are wrong"),
        "y missing in the sum": ("random cotangents", "8 entries take nothing from places in y that they move"),
        "one sum for all rows": ("random cotangents", "8 entries take from places in y that they do not move"),
        "diagonal only": ("random cotangents", "the Jacobian's diagonal alone"),
        "plus": ("random cotangents", "8 of 8 entries are wrong"),
    },
    "log_softmax": {
        "y for p": ("random cotangents", "8 of 8 entries are wrong"),
        "no sum": ("random cotangents", "8 entries take nothing from places in y that they move"),
        "own dy only": ("random cotangents", "the Jacobian's diagonal alone"),
        "backward of softmax": ("random cotangents", "8 of 8 entries are wrong"),
        "a mean for the sum": ("random cotangents", "8 of 8 entries are wrong"),
        "plus": ("random cotangents", "8 of 8 entries are wrong"),
        "one sum for all rows": ("random cotangents", "8 entries take from places in y that they do not move"),
    },
    "cross_entropy": {
        "1/N missing": ("random cotangents", "a mean's 1/n is missing"),
        "1/(N V)": ("random cotangents", "a 1/n too much"),
        "no target": ("random cotangents", "differs only"),
        "whole columns": ("random cotangents", "differs only"),
        "sign": ("random cotangents", "a constant factor, exactly -1×"),
        "dy forgotten": ("random cotangents", "it does not depend on dy"),
        "p changed in place": ("mutation", "what forward saved was written into"),
    },
    "rmsnorm": {
        "r a constant": ("random cotangents", "12 entries take nothing from places in y that they move"),
        "a sum for the mean": ("random cotangents", "12 of 12 entries are wrong"),
        "weight forgotten": ("random cotangents", "12 of 12 entries are wrong"),
        "dy in the mean": ("random cotangents", "12 of 12 entries are wrong"),
        "r forgotten": ("random cotangents", "off by a factor that is one all along axis 1"),
        "layernorm's": ("random cotangents", "off by the same amount all along axis 1"),
        "one axis of tokens": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
    },
    "layernorm": {
        "mean's term missing": ("random cotangents", "off by the same amount all along axis 1"),
        "scale's term missing": ("random cotangents", "12 of 12 entries are wrong"),
        "both terms missing": ("random cotangents", "12 entries take nothing from places in y that they move"),
        "weight forgotten": ("random cotangents", "12 of 12 entries are wrong"),
        "r forgotten": ("random cotangents", "off by a factor that is one all along axis 1"),
        "n not in dweight": ("random cotangents", "it is dbias"),
        "n of the third term": ("random cotangents", "12 of 12 entries are wrong"),
        "dweight not summed": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "a mean of dbias": ("random cotangents", "a constant factor, 0.333333×"),
    },
    "embedding": {
        "last one wins": ("repeated ids", "differs only where an index repeats"),
        "shape of y": ("shape and dtype", "the gradient has shape (3, 3), the input (5, 3)"),
        "averaged": ("repeated ids", "differs only where an index repeats"),
        "float64": ("shape and dtype", "dweight is float64 where weight is float32"),
        "by position": ("random cotangents", "the right numbers in the wrong places"),
        "not from zero": ("random cotangents", "off by the same amount all along axis 0"),
    },
    "tied": {
        "head only": ("random cotangents", "differs only"),
        "lookup only": ("random cotangents", "15 entries take nothing from places in y that they move"),
        "second overwrites": ("random cotangents", "differs only"),
        "last one wins": ("repeated ids", "differs only where an index repeats"),
        "averaged": ("random cotangents", "a constant factor, exactly 1/2×"),
        "dx is x": ("random cotangents", "differs only"),
        "subtracted": ("random cotangents", "differs only"),
    },
    "dropout": {
        "passed on": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "scale forgotten": ("random cotangents", "a constant factor, exactly 1/2×"),
        "scale twice": ("random cotangents", "a constant factor, exactly 2×"),
        "drawn again": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
        "divided": ("random cotangents", "5 of 12 entries are NaN or infinite"),
        "the dropped ones": ("random cotangents", "the Jacobian is right off its diagonal, and wrong on it"),
    },
    "attention": {
        "scale forgotten": ("random cotangents", "a constant factor, 1.73205×"),
        "softmax skipped": ("random cotangents", "3 entries take from places in y that they do not move"),
        "no row sum": ("random cotangents", "3 entries take from places in y that they do not move"),
        "sum over queries": ("random cotangents", "12 entries take from places in y that they do not move"),
        "dk without ᵀ": ("random cotangents", "9 entries take nothing from places in y that they move"),
        "dv without ᵀ": ("random cotangents", "9 entries take from places in y that they do not move"),
        "later keys": ("random cotangents", "3 entries take from places in y that they do not move"),
        "√D again": ("random cotangents", "a mean's 1/n is missing"),
    },
    "flash": {
        "lse not subtracted": ("random cotangents", "differs only at 1, 2, 3 along axis 0"),
        "no mask": ("random cotangents", "differs only"),
        "no row sum": ("random cotangents", "3 entries take from places in y that they do not move"),
        "row of v": ("random cotangents", "differs only at 1, 2, 3 along axis 0"),
        "scale left out of S": ("random cotangents", "differs only at 1, 2, 3 along axis 0"),
        "mask transposed": ("random cotangents", "3 entries take from places in y that they do not move"),
        "dk without ᵀ": ("random cotangents", "9 entries take nothing from places in y that they move"),
        "√D again": ("random cotangents", "a mean's 1/n is missing"),
    },
    "block": {
        "first fork": ("random cotangents", "12 of 12 entries are wrong"),
        "second fork": ("random cotangents", "12 of 12 entries are wrong"),
        "residual only": ("random cotangents", "12 of 12 entries are wrong"),
        "dy for dh": ("random cotangents", "12 of 12 entries are wrong"),
        "relu forgotten": ("random cotangents", "12 of 12 entries are wrong"),
        "norm1 forgotten": ("random cotangents", "12 of 12 entries are wrong"),
        "scale forgotten": ("random cotangents", "12 of 12 entries are wrong"),
        "q and k swapped": ("random cotangents", "12 of 12 entries are wrong"),
        "dw_out from dy": ("random cotangents", "16 entries take nothing from places in y that they move"),
    },
    "train": {
        "heads mixed": ("random cotangents", "52 entries take from places in y that they do not move"),
        "order of q, k, v": ("random cotangents", "differs only"),
        "ordered by heads": ("random cotangents", "differs only at 2, 3, 4, 5, 6, 7, 8, 9 along axis 2"),
        "scale forgotten": ("random cotangents", "differs only"),
        "no row sum": ("random cotangents", "differs only"),
        "values alone": ("random cotangents", "differs only"),
        "reshaped only": ("random cotangents", "the right numbers in the wrong places"),
    },
}
MUTANTS = [(name, mutant) for name, drill in DRILLS.items() for mutant in drill.mutants]


@pytest.mark.parametrize(("name", "mutant"), MUTANTS, ids=[f"{name}: {mutant.name}" for name, mutant in MUTANTS])
def test_a_named_mistake_is_told_as_what_it_is(name: str, mutant: object) -> None:
    drill = dataclasses.replace(DRILLS[name], trains=False)
    stage, said = EXPECTED[name][mutant.name]
    verdict = grade(drill, plant(drill, mutant))
    assert verdict.failed == stage
    assert said in verdict.said
    assert verdict.mistake == f"{mutant.name}: {mutant.wrong}"


def test_there_are_enough_drills_and_mistakes() -> None:
    assert len(DRILLS) >= 24
    for name, drill in DRILLS.items():
        assert len(drill.mutants) >= 5
        assert list(EXPECTED[name]) == [mutant.name for mutant in drill.mutants]
        source = inspect.getsource(drill.backward)
        assert all(source.count(mutant.old) == 1 for mutant in drill.mutants), name


def test_a_mistake_without_a_name_is_told_by_the_general_rules() -> None:
    verdict = grade(DRILLS["tanh"], lambda dy, saved: (dy * (1 - saved * saved) * 4,))
    assert (verdict.failed, verdict.mistake) == ("random cotangents", "")
    assert verdict.said.startswith("dx, with x (2, 3): a constant factor, exactly 4×\n  index ")
    assert verdict.passed == ["shape and dtype", "mutation"]


def test_the_numbers_told_are_those_of_the_worst_entries() -> None:
    verdict = grade(
        DRILLS["mul"],
        lambda dy, saved: (dy * saved[1] + np.array([[0, 0, 0], [0, 1.0, 0]]).astype(dy.dtype), dy * saved[0]),
    )
    first, _, worst = verdict.said.splitlines()
    assert first.startswith("da, with a (2, 3), b (2, 3): differs only at 1 along axis 0")
    _, analytic, numeric, _ = worst.replace(", ", ",").split()
    assert float(analytic) - float(numeric) == pytest.approx(1, abs=1e-8)


FORMS = [
    (lambda dy, saved: dy * saved[1], "return (da, db), one entry for each array of the forward; got 1, with a (2, 3)"),
    (lambda dy, saved: (dy, dy, dy), "return (da, db), one entry for each array of the forward; got 3"),
    (lambda dy, saved: (dy, None), "db must be a NumPy array, got NoneType"),
    (lambda dy, saved: (1.0, dy), "da must be a NumPy array, got float"),
    (lambda dy, saved: None, "got 1"),
    (lambda dy, saved: iter(()), "got 1"),
    (lambda dy, saved: (dy[0], dy), "da, with a (2, 3), b (2, 3): the gradient has shape (3,), the input (2, 3)"),
    (lambda dy, saved: (dy.astype(np.float16), dy), "da is float16 where a is float64"),
    (lambda dy, saved: (dy + 1j, dy), "da is complex128 where a is float64"),
    (lambda dy, saved: (dy[7], dy), "IndexError: index 7 is out of bounds for axis 0 with size 2, with a (2, 3)"),
]


@pytest.mark.parametrize(("backward", "said"), FORMS, ids=[said for _, said in FORMS])
def test_a_wrong_form_is_told(backward: object, said: str) -> None:
    verdict = grade(DRILLS["mul"], backward)
    assert verdict.failed == "shape and dtype"
    assert said in verdict.said


def test_ids_have_no_gradient() -> None:
    assert "return (dweight, None)" in grade(DRILLS["embedding"], lambda dy, saved: np.zeros(saved[1], dy.dtype)).said


def test_a_gradient_that_lies_in_what_was_saved() -> None:
    verdict = grade(DRILLS["mul"], lambda dy, saved: (saved[1], dy * saved[0]))
    assert verdict.failed == "mutation"
    assert verdict.said.startswith("da shares memory with what forward saved")


def test_what_bends_dy_is_not_linear() -> None:
    """Right for every cotangent that is neither too large nor too small: only sums of cotangents show it."""
    verdict = grade(DRILLS["exp"], lambda dy, saved: (np.clip(dy, -3.2, 3.2) * saved,))
    assert verdict.failed == "linearity in dy"
    assert verdict.said.startswith("dx of 2u - 3v is not 2 dx of u - 3 dx of v, with x (2, 3)")


def test_what_depends_on_the_memory_layout_is_seen_by_gradcheck() -> None:
    """All inputs of the other stages lie row by row."""
    verdict = grade(DRILLS["exp"], lambda dy, saved: (dy.ravel("K").reshape(dy.shape) * saved,))
    assert verdict.failed == "finite differences"
    assert "the memory layout matters" in verdict.said


def test_a_wrong_backward_trains_another_gpt() -> None:
    drill = DRILLS["train"]
    ok, said = compare_training(drill.forward, drill.backward, plant(drill, drill.mutants[4]), steps=3)
    assert not ok
    assert said.startswith("the GPT learns otherwise with your backward: the loss of step 1 is ")
