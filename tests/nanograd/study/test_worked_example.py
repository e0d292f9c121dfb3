"""The worked examples: small, the same for the same seed, and refused in words where an op cannot take the shape."""

import re

import numpy as np
import pytest

from nanograd.check.numeric import finite_differences
from nanograd.op import OPS
from nanograd.study.worked_example import example, run_on

SHAPES = [(2, 4), (3, 6), (2, 3, 4), (4,), (), (1, 1), (3, 2)]


def refused(name: str, shape: tuple[int, ...]) -> str | None:
    """Return what is said where an op cannot take a shape."""
    try:
        example(name, shape)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_op_takes_its_example_or_the_shape_is_refused(op_name: str, shape: tuple[int, ...]) -> None:
    if message := refused(op_name, shape):
        assert shape not in ((2, 4), (3, 6))
        assert re.fullmatch(rf"example: {op_name} needs .*, got shape {re.escape(str(shape))}", message)
        return
    arrays, options = example(op_name, shape)
    worked = run_on(op_name, arrays, options)
    assert worked.y.size
    assert np.isfinite(worked.y).all()
    assert arrays[0].shape == (shape if op_name != "squeeze" or 1 in shape else (1, *shape))
    target = worked.target()
    for i in worked.differentiated:
        numeric = finite_differences(lambda: np.vdot(worked.dy, target.value(target.inputs)), target.inputs[i])
        np.testing.assert_allclose(worked.gradients[i], numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", sorted(OPS))
def test_numbers_can_be_written_down_and_come_again(name: str) -> None:
    arrays, options = example(name, seed=7)
    again, same = example(name, seed=7)
    other, _ = example(name, seed=8)
    assert repr(options) == repr(same)
    for a, b in zip(arrays, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype.kind != "f" or (a.dtype == np.float64 and (np.round(a, 2) == a).all())
    assert any((a != b).any() for a, b in zip(arrays, other, strict=True))


def test_an_example_shows_what_its_op_is_about() -> None:
    """Entries that repeat, masks of both kinds, numbers on both sides of a kink, something dropped and something kept."""
    for name in ("take_along_axis", "scatter", "scatter_add"):
        indices = example(name)[0][1]
        assert (indices[:, 0] == indices[:, 2]).all()
        assert (indices[:, 0] != indices[:, 1]).all()
    ids = example("embedding")[0][1]
    assert sorted(set(ids.tolist())) == [0, 1]
    assert len(ids) > 2
    for name, position in (("where", 0), ("masked_fill", 1)):
        mask = example(name)[0][position]
        assert mask.any()
        assert not mask.all()
    for name in ("relu", "abs", "clip"):
        x = example(name)[0][0]
        assert (x > 1).any()
        assert (x < -1).any()
        assert (np.abs(x) < 1).any()
    kept = OPS["dropout"].pair.forward(*example("dropout")[0], **example("dropout")[1])[0] != 0
    assert kept.any()
    assert not kept.all()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("softmaxx", None, "example: there is no op called 'softmaxx'"),
        ("relu", (2, 0), "example: relu: every axis needs an entry, got shape (2, 0)"),
        ("rope", (2, 3), "example: rope needs an even number of features, two a pair, got shape (2, 3)"),
        ("embedding", (4,), "example: embedding needs a table (V, C), got shape (4,)"),
        ("tril", (4,), "example: tril needs two axes, rows and columns, got shape (4,)"),
        (
            "packed_attention",
            (2, 5),
            "example: packed_attention needs a last axis that 3 or 4 divides, to be cut into queries, keys and values, "
            "got shape (2, 5)",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(name: str, shape: tuple[int, ...] | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        example(name, shape)
