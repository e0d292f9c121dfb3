"""The picture of a norm's backward: perpendicular parts that add up to dn, of which the last, times r, is dx."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from nanograd.inspect.player.html import number
from nanograd.study.projection import parts, projection
from nanograd.study.study_data import study_op


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["layernorm", "rmsnorm"])
def test_the_parts_add_up_and_are_perpendicular(name: str, seed: int) -> None:
    study = study_op(name, (2, 4), seed)
    taken = parts(study)
    assert taken is not None
    np.testing.assert_allclose(taken.ones + taken.along_n + taken.left, taken.dn, atol=1e-12)
    for a, b in ((taken.ones, taken.along_n), (taken.ones, taken.left), (taken.along_n, taken.left)):
        assert abs(a @ b) < 1e-12
    dx = study.worked.gradients[0][0]
    np.testing.assert_allclose(taken.r * taken.left, dx, rtol=2e-4)  # 1e-5, eps, over the variance
    assert np.abs(taken.r * (taken.left + 0.01 * taken.along_n) - dx).max() > 1e-4 * np.abs(dx).max()
    assert sum(length**2 for length in taken.lengths) == pytest.approx(float(taken.dn @ taken.dn))


def test_the_page_shows_them(text_of: Callable[[str], str]) -> None:
    study = study_op("layernorm")
    html = projection(study)
    taken = parts(study)
    assert taken is not None
    text = text_of(html)
    for vector in (taken.dn, taken.ones, taken.along_n, taken.left):
        assert " ".join(map(number, vector.tolist())) in text
    assert f"ones: {number(taken.lengths[0])}" in html
    xs = [float(x) for x in re.findall(r'<text[^>]* x="([\d.]+)"', html)]
    assert all(0 <= x <= 440 for x in xs)


@pytest.mark.parametrize(("name", "shape"), [("softmax", (2, 4)), ("layernorm", (2, 1)), ("layernorm", (1, 64))])
def test_what_has_no_picture(name: str, shape: tuple[int, ...]) -> None:
    assert projection(study_op(name, shape)) == ""
