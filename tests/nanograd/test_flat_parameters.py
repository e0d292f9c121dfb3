"""AdamW keeps all parameters in one array: what that changes for who holds them, and that no number changes."""

import gc

import numpy as np
import pytest

from nanograd import optim
from nanograd._tensor import Tensor
from nanograd.nn import Linear, Parameter
from nanograd.optim import AdamW
from nanograd.runtime import threads
from nanograd.tape import accumulate_grad, accumulate_grads


def two() -> tuple[Parameter, Parameter]:
    return Parameter(np.array([1.0, 2.0, 3.0])), Parameter(np.array([[4.0, 5.0], [6.0, 7.0]]))


def test_values_move_into_one_array_matrices_first() -> None:
    bias, weight = two()
    optimizer = AdamW([("bias", bias), ("weight", weight)], 0.1)
    assert optimizer.flat[0].tolist() == [4, 5, 6, 7, 1, 2, 3]
    assert (bias.data.tolist(), weight.data.tolist()) == ([1, 2, 3], [[4, 5], [6, 7]])
    assert np.shares_memory(bias.data, optimizer.flat[0])
    assert np.shares_memory(weight.data, optimizer.flat[0])
    assert list(optimizer.parameters) == ["bias", "weight"]


def test_gradients_land_in_the_buffer() -> None:
    bias, weight = two()
    optimizer = AdamW([bias, weight], 0.1)
    (Tensor(np.ones((2, 2))) @ weight).sum().backward()
    assert weight.grad is weight.grad_buffer
    assert bias.grad is None
    assert optimizer.flat[1].tolist() == [2, 2, 2, 2, 0, 0, 0]


def test_an_assignment_copies_in() -> None:
    bias, weight = two()
    optimizer = AdamW([bias, weight], 0.1)
    bias.data = np.array([7.0, 8.0, 9.0])
    assert optimizer.flat[0][4:].tolist() == [7, 8, 9]
    for wrong in (np.ones(3, np.float32), np.ones(4)):
        with pytest.raises(TypeError, match=r"has bound it as float64 \(3,\), so it cannot become"):
            bias.data = wrong


def test_freezing_comes_before_the_optimizer() -> None:
    bias, weight = two()
    optimizer = AdamW([bias, weight], 0.1)
    bias.requires_grad = True  # no change
    with pytest.raises(RuntimeError, match="freeze first, then create the optimizer"):
        bias.requires_grad = False
    del optimizer
    gc.collect()
    bias.requires_grad = False
    bias.data = np.ones(2, np.float32)
    assert (bias.requires_grad, bias.shape) == (False, (2,))


def test_a_model_is_converted_before_the_optimizer() -> None:
    model = Linear(2, 3)
    optimizer = AdamW(model.parameters(), 0.1)
    with pytest.raises(TypeError, match="convert the model first"):
        model.astype(np.float64)
    assert optimizer.flat[0].dtype == np.float32
    with pytest.raises(TypeError, match="parameters must have one dtype, got float32 and float64"):
        AdamW([Parameter(np.ones(1)), Parameter(np.ones(1, np.float32))], 0.1)


def test_frozen_parameters_stay_where_they_are() -> None:
    bias, weight = two()
    weight.requires_grad = False
    before = weight.data
    AdamW([bias, weight], 0.1)
    assert weight.data is before


def test_the_later_optimizer_keeps_the_parameters() -> None:
    bias, weight = two()
    first, second = AdamW([bias, weight], 0.1), AdamW([bias, weight], 0.1)
    for p in (bias, weight):
        p.grad = np.ones_like(p.data)
    second.step()
    with pytest.raises(RuntimeError, match="another optimizer was made for 1 since"):
        first.step()


def test_a_gradient_that_somebody_assigned_counts() -> None:
    bias, weight = two()
    optimizer = AdamW([bias, weight], 0.1, weight_decay=0)
    bias.grad = np.array([1.0, -1.0, 0.0])
    optimizer.step()  # the first step of AdamW is lr · sign(g)
    np.testing.assert_allclose(bias.data, [0.9, 2.1, 3.0], rtol=1e-7)
    assert weight.data.tolist() == [[4, 5], [6, 7]]  # it had none


@pytest.mark.parametrize("n_threads", ["1", "2", "5"])
@pytest.mark.parametrize("piece", [1, 3, 7, 2**17])
def test_pieces_and_threads_change_no_bit(piece: int, n_threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        parameters = [
            Parameter(rng.standard_normal(shape).astype(np.float32)) for shape in ((5,), (3, 4), (1,), (2, 2))
        ]
        optimizer = AdamW(parameters, 0.1, weight_decay=0.1)
        for step in range(4):
            for i, p in enumerate(parameters):
                p.grad = None if i == step else rng.standard_normal(p.shape).astype(np.float32)  # some step without one
            optimizer.step()
        return [p.data.copy() for p in parameters]

    expected = trained()
    monkeypatch.setattr(optim, "CHUNK", piece)
    monkeypatch.setattr(threads, "PARALLEL_THRESHOLD", 1)
    monkeypatch.setenv("NANOGRAD_THREADS", n_threads)
    for a, b in zip(trained(), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_sums_of_shards_are_added_in_order() -> None:
    dxs = [
        np.array([1e8, 1.0, 2.0], np.float32),
        np.array([1.0, 1.0, 2.0], np.float32),
        np.array([-1e8, 1, 2], np.float32),
    ]
    kept, free = Parameter(np.zeros(3, np.float32)), Tensor(np.zeros(3, np.float32), requires_grad=True)
    optimizer = AdamW([kept], 0.1)
    for leaf in (kept, free):
        accumulate_grads(leaf, [dx.copy() for dx in dxs])
        expected = (dxs[0] + dxs[1]) + dxs[2]
        np.testing.assert_array_equal(leaf.grad, expected)
        accumulate_grad(leaf, np.ones(3, np.float32), False)
        np.testing.assert_array_equal(leaf.grad, expected + 1)
    assert kept.grad is optimizer.gradients["0"]
