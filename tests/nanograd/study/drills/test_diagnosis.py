"""Every named mistake fails at the right stage, with the right diagnosis, and is recognised by its name."""

import dataclasses

import numpy as np
import pytest

from nanograd.study.drills import DRILLS
from nanograd.study.drills.drill import Mutant, code_of, plant
from nanograd.study.drills.grade import grade

# For each mistake: the stage that must catch it, and text that the message must contain
EXPECTED = {
    "mul": {
        "own factor": ("random dy", "it is db"),
        "one factor twice": ("random dy", "it is da once more"),
        "dy forgotten": ("random dy", "it does not depend on dy"),
        "sum rule": ("random dy", "6 of 6 entries are wrong"),
        "a quotient": ("extremes", "1 of 3 entries are NaN or infinite"),
        "written into dy": ("mutation", "dy was written into"),
        "a minus": ("random dy", "a constant factor, exactly -1×"),
    },
    "add": {
        "no un-broadcast": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "a not summed": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "a mean": ("random dy", "a constant factor, exactly 1/2×"),
        "stretch forgotten": ("odd shapes", "missing un-broadcast, the sum along axis 1"),
        "first axis only": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "axes vanish": ("odd shapes", "right after a reshape"),
    },
    "sub": {
        "sign forgotten": ("random dy", "a constant factor, exactly -1×"),
        "signs swapped": ("random dy", "a constant factor, exactly -1×"),
        "b not summed": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "a not summed": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "negated in place": ("mutation", "dy was written into"),
    },
    "div": {
        "sign forgotten": ("random dy", "a constant factor, exactly -1×"),
        "product rule": ("random dy", "6 of 6 entries are wrong"),
        "1/b missing": ("random dy", "3 of 3 entries are wrong"),
        "b not summed": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "a not summed": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "b squared": ("extremes", "1 of 1 entries are NaN or infinite"),
    },
    "exp": {
        "exp twice": ("random dy", "6 of 6 entries are wrong"),
        "dy forgotten": ("random dy", "it does not depend on dy"),
        "saved handed out": ("mutation", "what forward returned or saved was written into"),
        "backward of log": ("random dy", "6 of 6 entries are wrong"),
        "divided by dy": ("linearity in dy", "dy = 0 gives a gradient that is not zero"),
    },
    "log": {
        "product": ("random dy", "6 of 6 entries are wrong"),
        "of the logarithm": ("random dy", "6 of 6 entries are wrong"),
        "base 10": ("random dy", "a constant factor, 0.434294×"),
        "an eps": ("extremes", "a constant factor, 0.00990099×"),
        "a minus": ("random dy", "6 of 6 entries are wrong"),
        "written into dy": ("mutation", "dy was written into"),
    },
    "sum": {
        "not spread": ("shape and dtype", "the gradient has shape (2,), the input (2, 3)"),
        "axis kept at 1": ("shape and dtype", "the gradient has shape (2, 1), the input (2, 3)"),
        "a mean": ("random dy", "a constant factor, exactly 0.333333×, which is 1/n"),
        "ones": ("random dy", "it does not depend on dy"),
        "last axis assumed": ("odd shapes", "ValueError: operan"),
        "one dy for all": ("random dy", "off by the same amount all along axis 1"),
    },
    "mean": {
        "1/n missing": ("random dy", "a constant factor, exactly 4×, which is n"),
        "n of the wrong axis": ("random dy", "a constant factor, exactly 2×"),
        "n of all entries": ("random dy", "a constant factor, exactly 1/2×"),
        "not spread": ("shape and dtype", "the gradient has shape (2,), the input (2, 4)"),
        "n - 1": ("random dy", "a constant factor, 1.33333×"),
        "float64": ("shape and dtype", "dx is float64, the input float32"),
    },
    "matmul": {
        "order of db": ("shape and dtype", "right after a transpose to axes (1, 0)"),
        "transposed da": ("shape and dtype", "right after a transpose to axes (1, 0)"),
        "b not transposed": ("shape and dtype", "ValueError: matmul"),
        ".T of a batch": ("odd shapes", "ValueError: matmul"),
        "dy forgotten": ("random dy", "it does not depend on dy"),
        "a minus": ("random dy", "a constant factor, exactly -1×"),
    },
    "transpose": {
        "forward again": ("shape and dtype", "right after a transpose to axes (1, 2, 0)"),
        "all reversed": ("shape and dtype", "right after a transpose to axes (0, 2, 1)"),
        "axes reversed": ("shape and dtype", "right after a transpose to axes (1, 0, 2)"),
        "a reshape": ("random dy", "the right values in the wrong order"),
        "passed on": ("shape and dtype", "right after a transpose to axes (2, 0, 1)"),
        "a minus": ("random dy", "a constant factor, exactly -1×"),
    },
    "reshape": {
        "passed on": ("shape and dtype", "right after a reshape"),
        "column by column": ("random dy", "the right values in the wrong order"),
        "flat": ("shape and dtype", "right after a reshape"),
        "transposed": ("random dy", "the right values in the wrong order"),
        "reversed": ("random dy", "the right values in the wrong order"),
    },
    "linear": {
        "bias not summed": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "dweight transposed": ("shape and dtype", "right after a transpose to axes (1, 0)"),
        "first axis only": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "weight transposed": ("shape and dtype", "ValueError: matmul"),
        "a mean": ("random dy", "a constant factor, exactly 0.333333×, which is 1/N"),
        "a mean of dweight": ("random dy", "a constant factor, exactly 0.333333×, which is 1/N"),
    },
    "relu": {
        "relu of dy": ("random dy", "4 of 6 entries are wrong"),
        "passed on": ("random dy", "differs only where the input is negative"),
        "other side": ("random dy", "6 of 6 entries are wrong"),
        "times x": ("random dy", "3 of 6 entries are wrong"),
        "a leak": ("random dy", "differs only where the input is negative"),
        "a threshold": ("extremes", "differs only"),
        "written into dy": ("mutation", "dy was written into"),
    },
    "sigmoid": {
        "sigmoid twice": ("random dy", "6 of 6 entries are wrong"),
        "derivative of tanh": ("random dy", "6 of 6 entries are wrong"),
        "half": ("random dy", "6 of 6 entries are wrong"),
        "sign": ("random dy", "a constant factor, exactly -1×"),
        "through a logit": ("extremes", "1 of 4 entries are NaN or infinite"),
        "dy forgotten": ("random dy", "it does not depend on dy"),
    },
    "tanh": {
        "tanh twice": ("random dy", "6 of 6 entries are wrong"),
        "not squared": ("random dy", "6 of 6 entries are wrong"),
        "derivative of sigmoid": ("random dy", "6 of 6 entries are wrong"),
        "sign": ("random dy", "6 of 6 entries are wrong"),
        "through sinh": ("extremes", "1 of 5 entries are NaN or infinite"),
        "dy forgotten": ("random dy", "it does not depend on dy"),
    },
    "gelu_tanh": {
        "no second term": ("random dy", "6 of 6 entries are wrong"),
        "no first term": ("random dy", "6 of 6 entries are wrong"),
        "3 missing": ("random dy", "6 of 6 entries are wrong"),
        "tanh not differentiated": ("random dy", "6 of 6 entries are wrong"),
        "∂u/∂x missing": ("random dy", "6 of 6 entries are wrong"),
        "½ missing": ("random dy", "a constant factor, exactly 2×"),
        "float64": ("shape and dtype", "dx is float64, the input float32"),
    },
    "swiglu": {
        "a once": ("random dy", "6 of 6 entries are wrong"),
        "only through σ": ("random dy", "6 of 6 entries are wrong"),
        "b forgotten": ("random dy", "6 of 6 entries are wrong"),
        "gate without σ": ("random dy", "6 of 6 entries are wrong"),
        "sigmoid alone": ("random dy", "6 of 6 entries are wrong"),
        "swapped": ("random dy", "it is db"),
    },
    "softmax": {
        "no row sum": ("random dy", "8 of 8 entries are wrong"),
        "y left out": ("random dy", "8 of 8 entries are wrong"),
        "a mean for the sum": ("random dy", "8 of 8 entries are wrong"),
        "y missing in the sum": ("random dy", "8 of 8 entries are wrong"),
        "one sum for all rows": ("random dy", "8 of 8 entries are wrong"),
        "diagonal only": ("random dy", "8 of 8 entries are wrong"),
        "plus": ("random dy", "8 of 8 entries are wrong"),
        "bracket": ("random dy", "8 of 8 entries are wrong"),
    },
    "log_softmax": {
        "y for p": ("random dy", "8 of 8 entries are wrong"),
        "no sum": ("random dy", "8 of 8 entries are wrong"),
        "own dy only": ("random dy", "8 of 8 entries are wrong"),
        "backward of softmax": ("random dy", "8 of 8 entries are wrong"),
        "a mean for the sum": ("random dy", "8 of 8 entries are wrong"),
        "plus": ("random dy", "8 of 8 entries are wrong"),
        "one sum for all rows": ("random dy", "8 of 8 entries are wrong"),
    },
    "cross_entropy": {
        "1/N missing": ("random dy", "a constant factor, exactly 3×, which is N"),
        "1/(N V)": ("random dy", "a constant factor, exactly 0.2×, which is 1/V"),
        "no target": ("random dy", "differs only"),
        "whole columns": ("random dy", "differs only"),
        "sign": ("random dy", "a constant factor, exactly -1×"),
        "dy forgotten": ("random dy", "it does not depend on dy"),
        "p changed in place": ("mutation", "what forward returned or saved was written into"),
    },
    "rmsnorm": {
        "r a constant": ("random dy", "12 of 12 entries are wrong"),
        "a sum for the mean": ("random dy", "12 of 12 entries are wrong"),
        "weight forgotten": ("random dy", "12 of 12 entries are wrong"),
        "dy in the mean": ("random dy", "12 of 12 entries are wrong"),
        "r forgotten": ("random dy", "12 of 12 entries are wrong"),
        "layernorm's": ("random dy", "off by the same amount all along axis 1"),
        "one axis of tokens": ("odd shapes", "missing un-broadcast, the sum along axis 0"),
        "scale's term added": ("random dy", "12 of 12 entries are wrong"),
    },
    "layernorm": {
        "mean's term missing": ("random dy", "off by the same amount all along axis 1"),
        "scale's term missing": ("random dy", "12 of 12 entries are wrong"),
        "both terms missing": ("random dy", "12 of 12 entries are wrong"),
        "mean's term added": (
            "random dy",
            "off by the same amount all along axis 1: a sum or mean over it is missing, or one too many",
        ),
        "scale's term added": ("random dy", "12 of 12 entries are wrong"),
        "sums for means": ("random dy", "12 of 12 entries are wrong"),
        "weight forgotten": ("random dy", "12 of 12 entries are wrong"),
        "r forgotten": ("random dy", "12 of 12 entries are wrong"),
        "n not in dweight": ("random dy", "it is dbias"),
        "n of the third term": ("random dy", "12 of 12 entries are wrong"),
        "dweight not summed": ("shape and dtype", "missing un-broadcast, the sum along axis 0"),
        "a mean of dbias": ("random dy", "a constant factor, exactly 0.333333×, which is 1/N"),
    },
    "embedding": {
        "last one wins": ("repeated ids", "differs only where an index repeats"),
        "shape of y": ("shape and dtype", "the gradient has shape (3, 3), the input (5, 3)"),
        "averaged": ("repeated ids", "differs only where an index repeats"),
        "float64": ("shape and dtype", "dweight is float64, the input float32"),
        "by position": ("random dy", "the right values in the wrong order"),
        "not from zero": ("random dy", "off by the same amount all along axis 0"),
    },
    "tied": {
        "head only": ("random dy", "differs only"),
        "lookup only": ("random dy", "15 of 15 entries are wrong"),
        "second overwrites": ("random dy", "differs only"),
        "last one wins": ("repeated ids", "differs only where an index repeats"),
        "averaged": ("random dy", "a constant factor, exactly 1/2×"),
        "dx is x": ("random dy", "differs only"),
        "subtracted": ("random dy", "differs only"),
    },
    "dropout": {
        "passed on": ("random dy", "12 of 12 entries are wrong"),
        "scale forgotten": ("random dy", "a constant factor, exactly 0.5×, which is (1 - p)"),
        "scale twice": ("random dy", "a constant factor, exactly 2×"),
        "drawn again": ("random dy", "8 of 12 entries are wrong"),
        "divided": ("random dy", "5 of 12 entries are NaN or infinite"),
        "the dropped ones": ("random dy", "12 of 12 entries are wrong"),
    },
    "attention": {
        "scale forgotten": ("random dy", "a constant factor, exactly 1.73205×, which is √D"),
        "softmax skipped": ("random dy", "12 of 12 entries are wrong"),
        "no row sum": ("random dy", "12 of 12 entries are wrong"),
        "softmax elementwise": ("random dy", "9 of 12 entries are wrong"),
        "sum over queries": ("random dy", "12 of 12 entries are wrong"),
        "dk without ᵀ": ("random dy", "12 of 12 entries are wrong"),
        "dv without ᵀ": ("random dy", "12 of 12 entries are wrong"),
        "later keys": ("random dy", "12 of 12 entries are wrong"),
        "√D again": ("random dy", "a constant factor, exactly 3×, which is D"),
    },
    "flash": {
        "lse not subtracted": ("random dy", "9 of 12 entries are wrong"),
        "no mask": ("random dy", "differs only"),
        "no row sum": ("random dy", "12 of 12 entries are wrong"),
        "softmax elementwise": ("random dy", "9 of 12 entries are wrong"),
        "row of v": ("random dy", "9 of 12 entries are wrong"),
        "scale left out of S": ("random dy", "9 of 12 entries are wrong"),
        "mask transposed": ("random dy", "12 of 12 entries are wrong"),
        "dk without ᵀ": ("random dy", "12 of 12 entries are wrong"),
        "scale forgotten": ("random dy", "a constant factor, exactly 1.73205×, which is √D"),
        "√D again": ("random dy", "a constant factor, exactly 3×, which is D"),
    },
    "block": {
        "first fork": ("random dy", "12 of 12 entries are wrong"),
        "second fork": ("random dy", "12 of 12 entries are wrong"),
        "residual only": ("random dy", "12 of 12 entries are wrong"),
        "dy for dh": ("random dy", "12 of 12 entries are wrong"),
        "relu forgotten": ("random dy", "12 of 12 entries are wrong"),
        "norm1 forgotten": ("random dy", "12 of 12 entries are wrong"),
        "scale forgotten": ("random dy", "12 of 12 entries are wrong"),
        "√C again": ("random dy", "12 of 12 entries are wrong"),
        "softmax elementwise": ("random dy", "12 of 12 entries are wrong"),
        "no row sum": ("random dy", "12 of 12 entries are wrong"),
        "q and k swapped": ("random dy", "12 of 12 entries are wrong"),
        "dw_out from dy": ("random dy", "16 of 16 entries are wrong"),
    },
    "train": {
        "heads mixed": ("random dy", "52 of 72 entries are wrong"),
        "order of q, k, v": ("random dy", "differs only"),
        "ordered by heads": ("random dy", "differs only"),
        "scale forgotten": ("random dy", "differs only"),
        "√D again": ("random dy", "differs only"),
        "softmax elementwise": ("random dy", "differs only"),
        "no row sum": ("random dy", "differs only"),
        "values alone": ("random dy", "differs only"),
        "reshaped only": ("random dy", "the right values in the wrong order"),
    },
}
MUTANTS = [(name, mutant) for name, drill in DRILLS.items() for mutant in drill.mutants]


@pytest.mark.parametrize(("name", "mutant"), MUTANTS, ids=[f"{name}: {mutant.name}" for name, mutant in MUTANTS])
def test_a_named_mistake_is_recognised(name: str, mutant: Mutant) -> None:
    drill = dataclasses.replace(DRILLS[name], trains=False)
    stage, message = EXPECTED[name][mutant.name]
    verdict = grade(drill, plant(drill, mutant))
    assert verdict.failed == stage
    assert message in verdict.message
    assert verdict.mistakes == [f"“{mutant.name}”: {mutant.wrong}"]


def test_there_are_enough_drills_and_mistakes() -> None:
    assert len(DRILLS) >= 24
    for name, drill in DRILLS.items():
        assert len(drill.mutants) >= 5
        assert list(EXPECTED[name]) == [mutant.name for mutant in drill.mutants]
        source = code_of(drill.backward)
        assert all(source.count(mutant.old) == 1 for mutant in drill.mutants), name


def test_a_mistake_without_a_name_gets_a_general_diagnosis() -> None:
    verdict = grade(DRILLS["tanh"], lambda dy, saved: (dy * (1 - saved * saved) * 4,))
    assert (verdict.failed, verdict.mistakes) == ("random dy", [])
    assert verdict.message.startswith("dx, with x (2, 3): a constant factor, exactly 4×\n  index ")
    assert verdict.passed == ["shape and dtype", "mutation"]


def test_the_table_lists_the_worst_entries() -> None:
    verdict = grade(
        DRILLS["mul"],
        lambda dy, saved: (dy * saved[1] + np.array([[0, 0, 0], [0, 1.0, 0]]).astype(dy.dtype), dy * saved[0]),
    )
    first, _, worst, others = verdict.message.splitlines()
    assert others == "  db is right"
    assert first.startswith("da, with a (2, 3), b (2, 3): differs only at 1 along axis 0")
    _, analytic, numeric, _ = worst.replace(", ", ",").split()
    assert float(analytic) - float(numeric) == pytest.approx(1, abs=1e-8)
