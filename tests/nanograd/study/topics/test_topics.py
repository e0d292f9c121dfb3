"""The pages of topics: what they compute is what the product computes, and each is one page with all its numbers."""

import importlib
import math
import re
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd.inspect.player.html import number
from nanograd.optim import AdamW, clip_grad_norm
from nanograd.study.topics import adamw, clipping, initialisation, schedule
from nanograd.study.topics.chart import Chart, draw, round_up
from nanograd.study.topics.parts import Code, Grid, Prose, to_html


def module(name: str) -> Any:
    return importlib.import_module(f"nanograd.study.topics.{name}")


@pytest.mark.parametrize("seed", range(5))
def test_the_steps_are_those_of_adamw(seed: int) -> None:
    rng = np.random.default_rng(seed)
    options = {"lr": 0.1 * rng.random(), "beta1": rng.random(), "beta2": rng.random(), "eps": 1e-6, "weight_decay": 0.3}
    p, g = rng.standard_normal(3), rng.standard_normal((4, 3))
    parameter = ng.Tensor(p[None].copy(), requires_grad=True)  # a matrix, so that it decays
    optimizer = AdamW([("p", parameter)], **options)
    computed = adamw.steps(p, g, **options)
    for t, gradient in enumerate(g):
        parameter.grad = gradient[None].copy()
        optimizer.step()
        np.testing.assert_allclose(computed["m"][t], optimizer.m["p"][0], rtol=1e-12)
        np.testing.assert_allclose(computed["v"][t], optimizer.v["p"][0], rtol=1e-12)
        np.testing.assert_allclose(computed["after"][t], parameter.data[0], rtol=1e-12)


def test_the_correction_is_the_quotient_of_a_step_without_and_with_it() -> None:
    g = np.full((5, 1), 0.3)
    values = adamw.steps(np.zeros(1), g, **{**adamw.OPTIONS, "weight_decay": 0.0})
    _, lengths = adamw.correction(0.9, 0.999)
    for t in (1, 2, 3, 5):
        uncorrected = values["m"][t - 1, 0] / math.sqrt(values["v"][t - 1, 0])
        assert uncorrected == pytest.approx(lengths[adamw.TIMES.index(t)], rel=1e-12)


def test_decay_is_decoupled_from_the_size_of_gradients_and_l2_is_not() -> None:
    l2, decoupled = adamw.decay_by_gradient(n=100, count=300)
    assert np.ptp(decoupled) < 0.02
    assert l2[0] < decoupled[0] - 0.1
    assert l2[2] > decoupled[2] + 0.01


@pytest.mark.parametrize("limit", [0.5, 2.0, 100.0])
def test_clipping_is_that_of_the_product(limit: float) -> None:
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal((2, 3)), rng.standard_normal((1, 2))]
    parameters = [ng.Tensor(np.zeros(g.shape), requires_grad=True) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.copy()
    norm = clip_grad_norm(parameters, limit)
    computed = clipping.clip(*gradients, limit)
    assert computed["norm"] == pytest.approx(norm, rel=1e-12)
    assert computed["cosine"] == pytest.approx(1, rel=1e-12)
    for name, parameter in zip(("weight_clipped", "bias_clipped"), parameters, strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(computed[name], parameter.grad, rtol=1e-12)


def test_a_cliff_throws_the_weight_away_unless_the_gradient_is_clipped() -> None:
    free, clipped = clipping.train_through_a_cliff(None), clipping.train_through_a_cliff(20.0)
    assert free[-1][1] == "nan"
    assert float(clipped[-1][1]) < 0.01


def test_random_numbers_are_normal() -> None:
    x = initialisation.normals(7, 40_000)
    assert abs(x.mean()) < 0.02
    assert x.std() == pytest.approx(1, abs=0.02)
    assert (x**3).mean() == pytest.approx(0, abs=0.1)
    assert (x**4).mean() == pytest.approx(3, abs=0.2)


def test_the_formulas_agree_with_the_simulation() -> None:
    for std in (0.1, 0.125, 0.2):
        lines = initialisation.stack(std, 6)
        assert lines["linear, simulated"][-1] == pytest.approx(lines["linear (1)"][-1], rel=0.3)
        assert lines["ReLU, simulated"][-1] == pytest.approx(lines["ReLU (2)"][-1], rel=0.5)
        lines = initialisation.stream(std, 6)
        assert lines["unscaled, simulated"][-1] == pytest.approx(lines["unscaled (3)"][-1], rel=0.1)
        assert lines["scaled, simulated"][-1] == pytest.approx(lines["scaled (4)"][-1], rel=0.1)


def test_steps_of_interest_have_the_rate_that_their_names_say() -> None:
    marks = schedule.marks(lr=1.0, min_lr=0.2, warmup_steps=10, max_steps=110)
    np.testing.assert_allclose(marks, [[0, 0.1], [4, 0.5], [9, 1.0], [60, 0.6], [110, 0.2]])


def test_a_chart_ends_at_a_short_number_and_keeps_to_its_frame() -> None:
    assert [round_up(x) for x in (0.97, 1.0, 1.1, 5.0, 83, 0.0)] == [1, 1, 1.2, 6, 100, 1]
    html = draw(Chart("c", "t", "x", "y", {"a": ([0.0, 1.0, 2.0], [1e-9, 1.0, math.nan])}, low=-6, high=6))
    assert 'd="M62 238L303 126"' in html  # far below the scale is its lower edge; NaN is not drawn


@pytest.mark.parametrize("name", ["adamw", "clipping", "muon"])
def test_a_page_has_its_numbers_its_code_and_the_same_bytes(name: str) -> None:
    check_page(name)


@pytest.mark.slow  # they train small networks
@pytest.mark.parametrize("name", ["initialisation", "schedule"])
def test_a_page_that_measures_has_its_numbers_its_code_and_the_same_bytes(name: str) -> None:
    check_page(name)


def check_page(name: str) -> None:
    page, topic = module(name).topic().page(), module(name).topic()
    assert page == module(name).topic().page()
    assert len(page.encode()) < 100_000
    assert not re.search(r"<[^>]* (style|onclick)=", page)
    text = module(name).topic().text()
    for block in (block for blocks in topic.sections.values() for block in blocks):
        if isinstance(block, Grid):
            assert all(number(v) in text for v in np.asarray(block.values, float).reshape(-1))
            assert page.count(f'data-{"in" if block.editable else "out"}="{block.name}"') == np.size(block.values)
        if isinstance(block, Code):
            for function in block.functions:
                assert f"<code>{function.__name__}</code>" in page
                assert f"def {function.__name__}(" in text
    assert {"Formula", "Code", "Sources"} <= topic.sections.keys()
    words = [line for line in text.splitlines() if not line.startswith(("    ", "def ", "nanograd/"))]
    assert max(map(len, words)) <= 100


def test_the_measurements_say_what_the_page_says() -> None:
    lengths = [float(length) for _, length in schedule.noise_steps((1, 10))]
    assert lengths[0] == pytest.approx(1)
    assert lengths[1] < 0.3


def test_a_value_of_a_sentence_stands_under_its_name() -> None:
    shown = to_html(Prose("With n_heads, the cosine is {cosine_cut} now.", {"cosine_cut": 0.5}), [0])
    assert shown == '<p>With <code>n_heads</code>, the cosine is <b data-out="cosine_cut">0.5</b> now.</p>'
