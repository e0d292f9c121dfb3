"""AdamW on several ranks: arrays given from outside, and a part of the averages. And norms that no order changes."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from nanograd.nn import Parameter
from nanograd.optim import AdamW, adamw, clip_factor, clip_grad_norm, clipping, pieces_of, root_of_sum, sums_of_squares

RNG = np.random.default_rng(0)
SHAPES = [(7,), (3, 4), (5,), (2, 3)]
N = sum(math.prod(shape) for shape in SHAPES)
VALUES = [RNG.standard_normal(shape).astype(np.float32) for shape in SHAPES]
GRADIENTS = [[RNG.standard_normal(shape).astype(np.float32) for shape in SHAPES] for _ in range(4)]


def make(flat: Sequence[np.ndarray] | None = None) -> tuple[list[Parameter], AdamW]:
    parameters = [Parameter(value.copy()) for value in VALUES]
    return parameters, AdamW(parameters, 0.1, flat=flat)


def step(parameters: list[Parameter], optimizer: AdamW, i: int, scale: float = 1.0, skip: int = 0) -> None:
    for k, (p, g) in enumerate(zip(parameters, GRADIENTS[i], strict=True)):
        p.grad = None if skip and k == skip else g.copy()
    optimizer.step(scale)


def contents(optimizer: AdamW) -> list[bytes]:
    return [optimizer.flat[0].tobytes(), *(a.tobytes() for a in optimizer.state_dict().values())]


def test_arrays_from_outside_are_used_and_hold_the_parameters() -> None:
    flat = [np.full(N, 5, np.float32), np.full(N, np.nan, np.float32), *np.zeros((2, N), np.float32)]
    (parameters, optimizer), (own_parameters, own) = make(flat), make()
    assert all(one is other for one, other in zip(optimizer.flat, flat, strict=True))
    for value, p in zip(VALUES, parameters, strict=True):
        np.testing.assert_array_equal(p.data, value)
        assert np.shares_memory(p.data, flat[0])
    for i in range(3):
        step(parameters, optimizer, i)
        step(own_parameters, own, i)
    assert contents(optimizer) == contents(own)
    assert flat[2].any()


def test_the_arrays_may_change_between_steps() -> None:
    (parameters, optimizer), (own_parameters, own) = make(), make()
    for i in range(4):
        if i % 2:
            p, g, m, v = (a.copy() for a in optimizer.flat)
            optimizer.use_arrays([np.zeros_like(p), g, m, v])  # the parameters are copied there
        step(parameters, optimizer, i)
        step(own_parameters, own, i)
    assert contents(optimizer) == contents(own)


@pytest.mark.parametrize("chunk", [1, 4, 2**17])
@pytest.mark.parametrize("bounds", [(0, N), (0, 7, N), (0, 0, 13, 13, 18, N)])
def test_parts_update_what_one_optimizer_updates(
    chunk: int, bounds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (adamw, clipping):
        monkeypatch.setattr(module, "CHUNK", chunk)
    own_parameters, own = make()
    step(own_parameters, own, 0)
    ranks = [make() for _ in bounds[1:]]
    for parameters, optimizer in ranks:
        step(parameters, optimizer, 0)

    def gather() -> list[np.ndarray]:
        return [np.concatenate([optimizer.flat[k] for _, optimizer in ranks]) for k in (2, 3)]

    for (_, optimizer), span in zip(ranks, itertools.pairwise(bounds), strict=True):
        optimizer.keep_part(slice(*span), gather)
        assert [a.size for a in optimizer.flat[2:]] == [span[1] - span[0]] * 2
    for i in (1, 2, 3):
        step(own_parameters, own, i, 0.5, skip=i)
        for parameters, optimizer in ranks:
            before = optimizer.flat[0].copy()
            step(parameters, optimizer, i, 0.5, skip=i)
            others = np.delete(np.arange(N), np.r_[optimizer.span])
            np.testing.assert_array_equal(optimizer.flat[0][others], before[others])
        p = np.concatenate([optimizer.flat[0][optimizer.span] for _, optimizer in ranks])
        for _, optimizer in ranks:
            optimizer.flat[0][...] = p
    first = ranks[0][1]
    assert contents(first) == contents(own)  # state_dict gathers all of m and v
    assert first.m["1"].tobytes() == own.m["1"].tobytes()
    assert first.v["3"].tobytes() == own.v["3"].tobytes()
    assert first.counts == own.counts != dict.fromkeys(own.counts, own.t)
    first.keep_all()
    assert first.gather is None
    step(own_parameters, own, 0)
    step(ranks[0][0], first, 0)
    assert contents(first) == contents(own)


def test_scaling_in_a_step_is_what_clipping_before_it_does() -> None:
    (parameters, optimizer), (own_parameters, own) = make(), make()
    for i in range(3):
        for p, q, g in zip(parameters, own_parameters, GRADIENTS[i], strict=True):
            p.grad, q.grad = g.copy(), g.copy()
        optimizer.step(clip_factor(clip_grad_norm(parameters, None), 0.5))
        clip_grad_norm(own_parameters, 0.5)
        own.step()
    assert contents(optimizer) == contents(own)


def test_a_factor_is_1_where_nothing_is_clipped() -> None:
    assert [clip_factor(norm, 2.0) for norm in (0.0, 1.0, 2.0, math.inf, math.nan)] == [1.0] * 5
    assert clip_factor(9.0, None) == 1
    assert clip_factor(4.0, 2.0) == 2.0 / (4.0 + 1e-6)


def test_the_options_make_an_equal_optimizer() -> None:
    _, optimizer = make()
    optimizer.lr, optimizer.weight_decay = 0.5, 0.25
    again = AdamW([Parameter(value.copy()) for value in VALUES], **optimizer.options())
    assert again.options() == optimizer.options()
    assert (again.lr, again.weight_decay) == (0.5, 0.25)


# The norm


def test_the_norm_does_not_depend_on_the_order_of_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipping, "CHUNK", 50)
    gradient = (RNG.standard_normal(997) * 10.0 ** RNG.integers(-6, 6, 997)).astype(np.float32)
    squares = sums_of_squares(pieces_of(gradient))
    assert [len(piece) for piece in pieces_of(gradient)] == [50] * 19 + [47]
    orders = [RNG.permutation(squares) for _ in range(20)]
    assert len({float(np.sum(order)) for order in orders}) > 1  # plain sums differ
    assert {root_of_sum(order.tolist()) for order in orders} == {root_of_sum(squares)}
    p = Parameter(np.zeros(997, np.float32))
    p.grad = gradient
    assert clip_grad_norm([p], None) == root_of_sum(squares)


def test_the_norm_is_a_sum_in_float64() -> None:
    p = Parameter(np.zeros(3, np.float32))
    p.grad = np.array([1, 2.0**-13, 2.0**-13], np.float32)  # in float32 the small squares vanish
    assert clip_grad_norm([p], None) == math.sqrt(1 + 2.0**-25)


def test_a_sum_beyond_the_range_is_infinite() -> None:
    assert root_of_sum([1e308, 1e308]) == math.inf
    assert math.isnan(root_of_sum([math.nan, 1.0]))
    assert root_of_sum([]) == 0
