"""Mutation testing of every backward, and of the mutation testing itself."""

import pytest

from nanograd.check import mutants
from nanograd.check.cases import CASES, EQUIVALENT
from nanograd.check.mutants import Score, scores
from nanograd.op import OPS


@pytest.fixture(scope="module")
def all_scores() -> list[Score]:
    return list(scores())


def test_no_mutant_survives(all_scores: list[Score]) -> None:
    for score in all_scores:
        assert score.survived == [], score.name
        assert score.caught + len(score.equivalent) == score.total, score.name


def test_every_backward_has_mutants(all_scores: list[Score]) -> None:
    assert {score.name.removesuffix(", fast") for score in all_scores} == set(OPS)
    assert min(score.total for score in all_scores) >= 5
    assert sum(score.total for score in all_scores) > 1000


def test_every_equivalent_occurs_once_and_has_a_proof(all_scores: list[Score]) -> None:
    met = {(score.name.removesuffix(", fast"), change) for score in all_scores for change, _ in score.equivalent}
    assert met == set(EQUIVALENT)
    assert all(len(proof) > 30 for proof in EQUIVALENT.values())


WEAK = [  # Cases by label, and the mistake that they cannot see
    ("softmax", ["one entry a row"], "→ ", "row"),
    ("embedding", ["each row once"], "__setitem__", "np.add.at"),
    ("add", ["one shape"], "unbroadcast(dy, a_shape) → dy", ""),
]


@pytest.mark.parametrize(("name", "labels", "change", "statement"), WEAK)
def test_weak_cases_let_a_mutant_live(
    name: str, labels: list[str], change: str, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, name, [case for case in CASES[name] if case.label in labels])
    score = next(iter(scores([name])))
    assert any(change in survivor and statement in survivor for survivor in score.survived), score.survived


def test_the_mutants_of_exp() -> None:
    """By hand, for dx = dy · y: each operand left out, / for ·, and five wrong returns, of which one is `dy` again."""
    changes = [change for change, _ in mutants.mutants(OPS["exp"].pair.backward)]
    assert changes[0].startswith("return (dy * y,) → return (None if dy * y is None else dy * y * 0,)"), changes[0]
    assert "dy * y → dy / y in return (dy * y,)" in changes
    assert "dy * y → y in return (dy * y,)" in changes
    assert len(changes) == len(set(changes)) == 7
