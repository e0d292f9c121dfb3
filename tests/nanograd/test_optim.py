"""SGD, AdamW and clipping: steps worked by hand."""

import math

import numpy as np
import pytest

from nanograd._tensor import Tensor
from nanograd.nn import Parameter
from nanograd.optim import SGD, AdamW, clip_grad_norm, name_parameters


def parameter(value: object, gradient: object = None, dtype: str = "float64") -> Parameter:
    p = Parameter(np.array(value, dtype))
    p.grad = None if gradient is None else np.array(gradient, dtype)
    return p


def walk(optimizer: SGD | AdamW, p: Tensor, *gradients: float) -> list[float]:
    """Step with one gradient after the other; return where p was after each."""
    places = []
    for g in gradients:
        p.grad = np.full_like(p.data, g)
        optimizer.step()
        places.append(p.item())
    return places


# SGD


def test_sgd_by_hand() -> None:
    p = parameter([1.0])
    assert walk(SGD([p], 0.1), p, 1.0, 2.0, -4.0) == pytest.approx([0.9, 0.7, 1.1], rel=1e-14)


def test_sgd_with_momentum_by_hand() -> None:
    # g = 1:  v = 1                   p = 1 - 0.1 · 1       = 0.9
    # g = 2:  v = 0.9 · 1 + 2 = 2.9   p = 0.9 - 0.1 · 2.9   = 0.61
    # g = -1: v = 0.9 · 2.9 - 1 = 1.61  p = 0.61 - 0.1 · 1.61 = 0.449
    p = parameter([1.0])
    places = walk(SGD([p], 0.1, momentum=0.9), p, 1.0, 2.0, -1.0)
    assert places == pytest.approx([0.9, 0.61, 0.449], rel=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_leaves_the_gradient_as_it_is(momentum: float) -> None:
    p = parameter([1.0, 2.0], [3.0, 4.0])
    optimizer = SGD([p], 0.1, momentum=momentum)
    optimizer.step()
    optimizer.step()
    assert p.grad is not None
    assert p.grad.tolist() == [3, 4]
    optimizer.zero_grad()
    assert p.grad is None


# AdamW


def test_adamw_by_hand() -> None:
    # β1 = ½, β2 = ¾, lr 0.1, decay ½: each step first takes 0.1 · ½ = 5 % off p.
    # g = 2: m = 1, m̂ = 1 / ½ = 2; v = ¼ · 4 = 1, v̂ = 1 / ¼ = 4.  p = 0.95 - 0.1 · 2/2 = 0.85
    # g = 1: m = ½ + ½ = 1, m̂ = 1 / ¾; v = ¾ + ¼ = 1, v̂ = 1 / (7/16).  p = 0.95 · 0.85 - 0.1 · (4/3) · √7/4
    p = parameter([[1.0]])
    optimizer = AdamW([p], 0.1, beta1=0.5, beta2=0.75, eps=0.0, weight_decay=0.5)
    expected = [0.85, 0.8075 - 0.1 * 4 / 3 * math.sqrt(7) / 4]  # 0.719308
    assert walk(optimizer, p, 2.0, 1.0) == pytest.approx(expected, rel=1e-14)
    assert expected[1] == pytest.approx(0.719308, abs=1e-6)
    assert optimizer.t == 2


def test_eps_is_added_to_the_root_after_its_correction() -> None:
    # As above with eps = 1: √v̂ = 2, so the step is 0.1 · 2 / (2 + 1).
    p = parameter([1.0])
    optimizer = AdamW([p], 0.1, beta1=0.5, beta2=0.75, eps=1.0)
    assert walk(optimizer, p, 2.0) == pytest.approx([1 - 0.2 / 3], rel=1e-14)


def test_the_first_step_has_the_size_of_the_learning_rate_whatever_the_gradient() -> None:
    for g in (1e-3, 1.0, -1e3):
        p = parameter([0.0])
        assert walk(AdamW([p], 0.1), p, g) == pytest.approx([-math.copysign(0.1, g)], rel=1e-4)


def test_decay_acts_on_matrices_and_embeddings_not_on_biases_and_gains() -> None:
    parameters = [parameter(np.full(shape, 2.0), np.zeros(shape)) for shape in ((), (3,), (2, 3), (2, 1, 3))]
    AdamW(parameters, 0.1, weight_decay=0.5).step()  # without a gradient only decay moves: 2 · (1 - 0.1 · 0.5) = 1.9
    assert [float(p.data.flat[0]) for p in parameters] == pytest.approx([2.0, 2.0, 1.9, 1.9], rel=1e-14)


def test_the_learning_rate_may_change_between_steps() -> None:
    p = parameter([0.0])
    optimizer = AdamW([p], 0.1, eps=0.0)
    assert walk(optimizer, p, 1.0) == pytest.approx([-0.1])
    optimizer.lr = 0.5
    assert walk(optimizer, p, 1.0) == pytest.approx([-0.6])


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_what_has_no_gradient_stays(kind: type[SGD] | type[AdamW]) -> None:
    still, moved = parameter([[1.0]]), parameter([[1.0]], [[1.0]])
    kind([still, moved], 0.1).step()
    assert still.item() == 1
    assert moved.item() < 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_writes_into_the_array_and_keeps_its_dtype(dtype: str) -> None:
    p = parameter([[1.0, 2.0]], [[3.0, 4.0]], dtype)
    gradient = p.grad
    for make in (lambda: SGD([p], 0.1, momentum=0.9), lambda: AdamW([p], np.float64(0.1))):  # a schedule's NumPy scalar
        optimizer = make()
        array = p.data
        optimizer.step()
        assert p.data is array
        assert array.dtype == dtype
    assert gradient is p.grad
    assert gradient is not None
    assert gradient.tolist() == [[3, 4]]
    assert optimizer.m["0"].dtype == optimizer.v["0"].dtype == dtype  # type: ignore[union-attr]


def test_a_state_goes_from_one_optimizer_to_another() -> None:
    p, q = parameter([[1.0]]), parameter([[1.0]])
    first, second = AdamW([("w", p)], 0.1), AdamW([("w", q)], 0.1)
    walk(first, p, 1.0, -2.0)
    q.copy_(p.data)
    state = first.state_dict()
    assert sorted(state) == ["m.w", "v.w"]
    second.load_state_dict({name: array.copy() for name, array in state.items()}, first.t)
    assert second.t == 2
    assert walk(second, q, 3.0, 0.5) == walk(first, p, 3.0, 0.5)
    np.testing.assert_array_equal(second.m["w"], first.m["w"])


def test_a_loaded_state_is_a_copy() -> None:
    p = parameter([[1.0]])
    optimizer = AdamW([("w", p)], 0.1)
    given = {"m.w": np.array([[5.0]]), "v.w": np.array([[6.0]])}
    optimizer.load_state_dict(given, 3)
    given["m.w"][:] = 99
    assert (optimizer.m["w"].item(), optimizer.v["w"].item(), optimizer.t) == (5, 6, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v.w": None}, "AdamW: the state names other parameters than the model, among them v.w"),
        ({"m.x": np.ones((1, 2))}, "AdamW: the state names other parameters than the model, among them m.x"),
        ({"v.w": np.ones((2, 1))}, r"AdamW: v.w has shape \(1, 2\), got \(2, 1\)"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: dict[str, np.ndarray | None], message: str) -> None:
    optimizer = AdamW([("w", parameter([[1.0, 2.0]]))], 0.1)
    state = {"m.w": np.ones((1, 2)), "v.w": np.ones((1, 2)), **change}
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict({name: array for name, array in state.items() if array is not None}, 7)
    assert optimizer.t == 0
    assert not optimizer.m["w"].any()
    assert not optimizer.v["w"].any()


# Names


def test_parameters_keep_their_names_or_are_numbered() -> None:
    p, q = parameter([1.0]), parameter([2.0])
    assert name_parameters([p, q]) == {"0": p, "1": q}
    assert name_parameters([("a", p), ("b", q)]) == {"a": p, "b": q}
    assert name_parameters([("a", p), ("again", p)]) == {"a": p}
    assert name_parameters([Tensor([1.0]), p]) == {"1": p}  # what is frozen stays outside


def test_nothing_to_train_is_an_error() -> None:
    for parameters in ([], [Tensor([1.0])]):
        with pytest.raises(ValueError, match="optimizer: got no parameter that requires grad"):
            AdamW(parameters, 0.1)


def test_a_shared_parameter_is_updated_once() -> None:
    for kind in (SGD, AdamW):
        once, twice = parameter([1.0], [1.0]), parameter([1.0], [1.0])
        kind([once], 0.1).step()
        kind([twice, twice], 0.1).step()
        assert once.item() == twice.item() != 1


# Clipping


def test_clipping_by_hand() -> None:
    p, q = parameter([0.0, 0.0], [2.0, 4.0]), parameter([[0.0]], [[4.0]])
    assert clip_grad_norm([p, q], 3.0) == 6  # √(4 + 16 + 16)
    assert p.grad is not None
    assert q.grad is not None
    np.testing.assert_allclose(p.grad, [1, 2], rtol=1e-6)  # all of it by one factor, 3/6
    np.testing.assert_allclose(q.grad, [[2]], rtol=1e-6)
    assert clip_grad_norm([p, q], None) == pytest.approx(3, rel=1e-6)
    assert clip_grad_norm([p, q], 3.0) <= 3


@pytest.mark.parametrize("max_norm", [5.0, 7.0, None])
def test_a_norm_that_is_small_enough_is_left_alone(max_norm: float | None) -> None:
    p = parameter([0.0, 0.0], [3.0, 4.0])
    assert clip_grad_norm([p], max_norm) == 5
    assert p.grad is not None
    assert p.grad.tolist() == [3, 4]


def test_a_shared_gradient_counts_and_is_scaled_once() -> None:
    p = parameter([0.0, 0.0], [3.0, 4.0])
    assert clip_grad_norm([p, p], 2.5) == 5
    assert p.grad is not None
    np.testing.assert_allclose(p.grad, [1.5, 2], rtol=1e-6)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_norm_that_is_no_number_is_returned_and_nothing_scaled(wrong: float) -> None:
    p, q = parameter([0.0], [wrong]), parameter([0.0], [3.0])
    assert not math.isfinite(clip_grad_norm([p, q], 1.0))
    assert q.grad is not None
    assert q.grad.tolist() == [3]


def test_clipping_keeps_float32_and_the_array() -> None:
    p = parameter([0.0, 0.0], [3.0, 4.0], "float32")
    gradient = p.grad
    norm = clip_grad_norm([p], 1)
    assert type(norm) is float
    assert p.grad is gradient
    assert gradient is not None
    assert gradient.dtype == np.float32


def test_without_gradients_the_norm_is_zero() -> None:
    assert clip_grad_norm([parameter([1.0])], 1.0) == 0
