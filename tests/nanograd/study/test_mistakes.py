"""Named mistakes: what each changes, and which test sees it."""

import numpy as np
import pytest

from nanograd.study.drills import DRILLS
from nanograd.study.mistakes import GENERIC, RIGHT, blind_spot, describe, mistakes
from nanograd.study.worked_example import run_example


@pytest.mark.parametrize("name", ["softmax", "mul", "tanh", "embedding"])
def test_named_mistakes_are_the_drills(name: str) -> None:
    listed, drill = mistakes(run_example(name)), DRILLS[name]
    assert [mistake.name for mistake in listed[: len(drill.mutants)]] == [mutant.name for mutant in drill.mutants]
    assert all(mistake.caught.startswith("drill, ") for mistake in listed[: len(drill.mutants)])


def test_the_blind_spot_of_softmax() -> None:
    spot = blind_spot(mistakes(run_example("softmax")))
    assert spot is not None
    assert spot.name == "y left out"
    assert spot.uniform is not None
    assert spot.random is not None
    np.testing.assert_allclose(spot.uniform.got[0], 0, atol=1e-12)  # dy - Σ dy y = 1 - 1
    np.testing.assert_allclose(spot.uniform.right[0], 0, atol=1e-9)
    y = run_example("softmax").y
    dy = spot.random.dy
    np.testing.assert_allclose(spot.random.got[0], dy - (dy * y).sum(-1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(spot.random.right[0], y * (dy - (dy * y).sum(-1, keepdims=True)), atol=1e-8)
    assert spot.random.error > 0.1


def test_a_mistake_that_a_uniform_cotangent_sees() -> None:
    sign = next(mistake for mistake in mistakes(run_example("mul")) if mistake.name == "a minus")
    assert not sign.hides
    assert sign.uniform is not None
    assert sign.uniform.error > 1


def test_mutants_are_described_in_words() -> None:
    described = describe("return (dy * b,) → return (None if dy * b is None else dy * b * 0,) in return (dy * b,)")
    assert described == ("all zeros", "the gradient is zero", ("return (dy * b,)", "return (dy * b * 0,)"))
    assert describe("np.flip(dy, axis) → dy in return (np.flip(dy, axis),)")[0] == "left out"
    assert describe("-t → t in db = -t")[0] == "a sign"
    assert describe("dy * y → dy / y in dx = dy * y")[2] == ("dy * y", "dy / y")


@pytest.mark.parametrize("name", ["cumsum", "rope", "max", "stack", "packed_attention"])
def test_ops_without_a_drill_have_mistakes_too(name: str) -> None:
    listed = mistakes(run_example(name))
    spot = blind_spot(listed)
    assert spot is not None
    assert spot.name not in GENERIC
    assert all(mistake.random and mistake.random.error > RIGHT for mistake in listed)
    assert all("no Case" not in mistake.caught for mistake in listed)
