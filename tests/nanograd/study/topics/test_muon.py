"""The page of Muon: every printed line is evaluated, a wrong one shows, and what the page says is measured."""

import numpy as np
import pytest

from nanograd.optim import newton_schulz
from nanograd.optim.muon import COEFFICIENTS
from nanograd.study.derivation import Line
from nanograd.study.notation import parse
from nanograd.study.topics import muon

SHAPES = [(6, 6), (4, 9), (9, 4)]


def wrong_lines(lines: list[Line], shape: tuple[int, int] = (4, 9), seed: int = 0) -> list[int]:
    """Return the numbers of the lines that do not hold, on a random matrix."""
    g = np.random.default_rng(seed).standard_normal(shape)
    return [line.number for line in muon.check_derivation(lines, g, COEFFICIENTS) if not line.ok]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_line_of_the_derivation_holds(shape: tuple[int, int]) -> None:
    lines, _ = muon.derivation()
    assert [line.number for line in lines] == list(range(1, 15))
    for seed in range(3):
        assert wrong_lines(lines, shape, seed) == []


@pytest.mark.parametrize(
    ("number", "old", "new"),
    [
        (1, "U S Vᵀ", "V S Uᵀ"),
        (2, "U Vᵀ", "U S Vᵀ"),
        (3, "S_ii", "S_ii S_ii"),
        (4, "S_ii S_ii", "S_ii"),
        (5, "√(Σ_ij G_ij G_ij)", "(Σ_ij G_ij G_ij)"),
        (6, "U R Vᵀ", "U S Vᵀ"),
        (7, "+ b X", "- b X"),
        (7, "c R^5", "c R^4"),
        (8, "b s³", "b s²"),
        (9, "8 + 9 s", "8 + 8 s"),
        (10, "3 b s²", "2 b s²"),
        (11, "- √", "+ √"),
        (12, "10 c", "5 c"),
        (13, "(2 c)", "(3 c)"),
        (14, "3 - 2 a", "3 - a"),
    ],
)
def test_a_wrong_line_is_caught(number: int, old: str, new: str) -> None:
    lines, _ = muon.derivation()
    line = lines[number - 1]
    assert old in line.text
    text = line.text.replace(old, new, 1)
    lines[number - 1] = line._replace(text=text, formula=parse(text))
    assert number in wrong_lines(lines, (5, 5) if number in (1, 6) else (5, 9))


def test_a_smaller_coefficient_leaves_the_band() -> None:
    """What the derivation says of a, b, c: [minimum, maximum] of p is mapped into itself, and p leaves no value at rest."""
    marks = muon.marks(*COEFFICIENTS)
    low, high = marks["bottom"], marks["top"]
    assert (round(low, 2), round(high, 2)) == (0.68, 1.20)
    assert round(marks["slope"], 2) == -1.58
    band = muon.repeated(np.linspace(low, high, 1001), COEFFICIENTS, 1)[0]
    assert low - 1e-12 <= band.min() <= band.max() <= high + 1e-12
    a, b, c = COEFFICIENTS
    wrong = muon.repeated(np.linspace(0, 1, 1001), (a, b, 1.1 * c))[-1]
    assert wrong.max() > high + 0.05
    assert muon.marks(*muon.CLASSICAL)["slope"] == pytest.approx(0, abs=1e-12)
    assert muon.marks(*muon.CLASSICAL)["fixed"] == 1


def test_the_classical_polynomial_brings_every_value_closer_to_one() -> None:
    s = np.geomspace(1e-6, 1 - 1e-3, 1000)  # nearer to 1, the next one is 1 but for rounding
    after = muon.repeated(s, muon.CLASSICAL, 1)[0]
    assert ((after > s) & (after < 1)).all()
    assert np.allclose(muon.repeated(s, muon.CLASSICAL, 60)[-1], 1, rtol=0, atol=1e-12)


def test_what_is_drawn_is_what_newton_schulz_does_to_the_gradient() -> None:
    name = next(iter(muon.MATRICES))
    before, *after = muon.spectra(name)
    for matrix, curve in zip(after, muon.repeated(before, COEFFICIENTS), strict=True):
        np.testing.assert_allclose(np.sort(matrix), np.sort(curve), rtol=1e-5)
    g = muon.small().gradient(name)
    np.testing.assert_allclose(np.linalg.svd(newton_schulz(g[None])[0], compute_uv=False), after[-1], rtol=1e-12)


def test_the_loss_falls_fastest_along_the_polar_factor() -> None:
    rows = {label: (float(product), float(measured)) for label, product, measured in muon.falls()}
    best = rows.pop("polar factor")
    for product, measured in [best, *rows.values()]:
        assert measured == pytest.approx(product, rel=0.02, abs=2e-4)
    assert all(best[1] > 1.3 * measured for _, measured in rows.values())


def test_five_repetitions_lift_what_the_classical_coefficients_leave() -> None:
    rows = {start: (int(classical), int(ours)) for start, classical, ours in muon.lifts()}
    assert rows["0.003"][1] == 5
    assert all(classical > ours for classical, ours in rows.values())
