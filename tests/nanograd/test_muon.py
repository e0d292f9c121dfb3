"""Muon: the polar factor, the update, and its state."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

from nanograd.nn import Parameter
from nanograd.optim import AdamW, Muon, adamw, newton_schulz
from nanograd.optim.muon import COEFFICIENTS, RMS, batches_of


def polar_factor(g: np.ndarray) -> np.ndarray:
    u, _, vh = np.linalg.svd(g, full_matrices=False)
    return np.asarray(u @ vh)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


# Newton–Schulz


@pytest.mark.parametrize("shape", [(64, 64), (16, 64), (64, 16), (1, 7), (5, 1), (1, 1)])
def test_the_polynomial_acts_on_the_singular_values_alone(shape: tuple[int, int]) -> None:
    g = random(2, *shape)
    u, s, vh = np.linalg.svd(g, full_matrices=False)
    s /= np.sqrt(np.square(g).sum(axis=(1, 2)))[:, None]
    a, b, c = COEFFICIENTS
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    np.testing.assert_allclose(newton_schulz(g), u * s[:, None, :] @ vh, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [32, 128])
def test_singular_values_come_near_one(rows: int) -> None:
    for shape in ((rows, 4 * rows), (4 * rows, rows)):
        s = np.linalg.svd(newton_schulz(random(3, *shape).astype(np.float32)), compute_uv=False)
        assert 0.65 <= s.min() <= s.max() <= 1.25
    s = np.linalg.svd(newton_schulz(random(3, rows, rows).astype(np.float32)), compute_uv=False)
    assert s.max() <= 1.25
    assert np.mean((s >= 0.65) & (s <= 1.25)) >= 0.8


def test_the_range_that_the_docstring_names() -> None:
    s = np.geomspace(0.003, 1, 10_000)
    a, b, c = COEFFICIENTS
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    assert (round(s.min(), 2), round(s.max(), 2)) == (0.68, 1.2)
    s = np.geomspace(0.003, 1, 10_000)
    lows = []
    for _ in range(9):
        s = (15 * s - 10 * s**3 + 3 * s**5) / 8
        lows.append(s.min())
    assert lows[-2] < 0.68 < lows[-1]


def test_no_update_of_norm_one_is_steeper_than_the_polar_factor() -> None:
    g = random(6, 9)
    best = np.vdot(g, polar_factor(g))
    assert best == pytest.approx(np.linalg.svd(g, compute_uv=False).sum())
    for seed in range(200):
        x = random(6, 9, seed=seed)
        assert np.vdot(g, x / np.linalg.norm(x, 2)) < best


def test_scale_dtype_and_zeros() -> None:
    g = random(2, 8, 12).astype(np.float32)
    assert newton_schulz(g).dtype == np.float32
    np.testing.assert_allclose(newton_schulz(1e6 * g), newton_schulz(g), atol=1e-5)
    np.testing.assert_array_equal(newton_schulz(0 * g), 0 * g)
    before = g.copy()
    newton_schulz(g)
    np.testing.assert_array_equal(g, before)


# The update


def test_a_step_by_its_formula() -> None:
    w, rest = random(6, 4), random(5, seed=1)
    p, q = Parameter(w.copy()), Parameter(rest.copy())
    muon = Muon([("w", p), ("rest", q)], 0.1, matrices={"w": (2, 4)}, weight_decay=0.3)
    alone = Parameter(rest.copy())
    adam = AdamW([("rest", alone)], 0.1, weight_decay=0.3)
    m = np.zeros_like(w)
    for t in range(4):
        g, h = random(6, 4, seed=10 + t), random(5, seed=20 + t)
        p.grad, q.grad, alone.grad = g.copy(), h.copy(), 0.5 * h
        muon.step(0.5)
        adam.step()
        m = 0.95 * m + 0.05 * 0.5 * g
        u = 0.95 * m + 0.05 * 0.5 * g
        o = np.concatenate([newton_schulz(u[None, :2])[0] * 2, newton_schulz(u[None, 2:])[0] * 2])  # √max(2, 4), √4
        w = w * (1 - 0.03) - 0.1 * RMS * o
        np.testing.assert_allclose(p.data, w, atol=1e-12)
        np.testing.assert_array_equal(q.data, alone.data)


def test_the_size_of_an_update_does_not_depend_on_the_shape() -> None:
    for shape in ((64, 64), (64, 256), (256, 64)):
        p = Parameter(np.zeros(shape))
        muon = Muon([("w", p)], 1.0, matrices={"w": shape[:1]}, weight_decay=0.0)
        p.grad = random(*shape)
        muon.step()
        assert math.sqrt(np.square(p.data).mean()) == pytest.approx(RMS, rel=0.15)


def test_batches_hold_equal_shapes_and_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {"a": (8, 8), "b": (8, 3), "c": (8, 8), "d": (3, 8)}

    def trained(chunk: int) -> list[bytes]:
        monkeypatch.setattr(adamw, "CHUNK", chunk)
        monkeypatch.setattr("nanograd.optim.muon.CHUNK", chunk)
        parameters = {name: Parameter(random(*shape).astype(np.float32)) for name, shape in shapes.items()}
        muon = Muon(parameters.items(), matrices={"a": (4, 4), "b": (8,), "c": (8,), "d": (3,)})
        for t in range(3):
            for i, p in enumerate(parameters.values()):
                p.grad = None if i == t else random(*p.shape, seed=t + i).astype(np.float32)
            muon.step()
        batches = list(batches_of([piece for pieces in muon.pieces.values() for piece in pieces]))
        assert all(len({piece.shape for piece in batch}) == 1 for batch in batches)
        assert len(batches) == (5 if chunk == 1 else 4)
        return [p.data.tobytes() for p in parameters.values()]

    assert trained(2**17) == trained(1)


def test_parts_end_where_matrices_end() -> None:
    named = [("v", Parameter(np.zeros(7))), ("w", Parameter(np.zeros((30, 10)))), ("e", Parameter(np.zeros((20, 10))))]
    muon = Muon(named, matrices={"w": (10, 20)})
    assert muon.slices == {"w": slice(0, 300), "e": slice(300, 500), "v": slice(500, 507)}
    assert muon.cuts() == [0, 300, 500, 507]


def test_state_and_copies_go_on_to_the_bit() -> None:
    def make() -> tuple[list[Parameter], Muon]:
        parameters = [Parameter(random(4, 6)), Parameter(random(3))]
        return parameters, Muon([("w", parameters[0]), ("b", parameters[1])], 0.1, matrices={"w": (2, 2)}, momentum=0.8)

    def step(parameters: list[Parameter], optimizer: Any, seed: int) -> None:
        for p in parameters:
            p.grad = random(*p.shape, seed=seed)
        optimizer.step()

    parameters, muon = make()
    step(parameters, muon, 1)
    state = muon.state_dict()
    assert set(state) == {"m.w", "m.b", "v.b"}
    others, other = make()
    other.load_state_dict({name: a.copy() for name, a in state.items()}, muon.t)
    for p, q in zip(parameters, others, strict=True):
        q.copy_(p.data)
    pairs = [(others, other), copy.deepcopy((parameters, muon)), pickle.loads(pickle.dumps((parameters, muon)))]
    step(parameters, muon, 2)
    for copies, optimizer in pairs:
        step(copies, optimizer, 2)
        assert [p.data.tobytes() for p in copies] == [p.data.tobytes() for p in parameters]
        assert optimizer.momentum == 0.8


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        ({"x": (4,)}, "matrices must be parameters that require grad, got 'x'"),
        ({"w": (3,)}, r"the pieces of w must have its rows, got \(3,\) and the shape \(4, 6\)"),
        ({"w": (4, 0)}, "the pieces of w must have its rows"),
        ({"b": (3,)}, r"the pieces of b must have its rows, got \(3,\) and the shape \(3,\)"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(matrices: dict[str, tuple[int, ...]], message: str) -> None:
    named = [("w", Parameter(random(4, 6))), ("b", Parameter(random(3)))]
    with pytest.raises(ValueError, match=message):
        Muon(named, matrices=matrices)
    with pytest.raises(ValueError, match=r"Muon: momentum must be in \[0, 1\), got 1"):
        Muon(named, matrices={}, momentum=1)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64, 64), (96, 32), (32, 96)])
def test_pytorchs_muon_which_iterates_in_bfloat16(shape: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="the peer is torch.optim.Muon", exc_type=ImportError)
    w = random(*shape).astype(np.float32)
    p, theirs = Parameter(w.copy()), torch.nn.Parameter(torch.tensor(w))
    ours = Muon([("w", p)], 0.02, matrices={"w": shape[:1]}, weight_decay=0.1)
    peer = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for t in range(5):
        g = random(*shape, seed=t).astype(np.float32)
        p.grad, theirs.grad = g.copy(), torch.tensor(g)
        ours.step()
        peer.step()
    moved = np.abs(p.data - w).max()
    assert np.abs(p.data - theirs.detach().numpy()).max() < 0.02 * moved  # bfloat16 has 8 bits
