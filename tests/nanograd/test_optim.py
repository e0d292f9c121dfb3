"""SGD, AdamW and clipping: steps by hand, and the arrays in which AdamW keeps all parameters."""

import gc
import math
from typing import Any

import numpy as np
import pytest

from nanograd._tensor import Tensor
from nanograd.nn import Linear, Parameter
from nanograd.optim import SGD, AdamW, adamw, clip_grad_norm, name_parameters
from nanograd.runtime import threads


def parameter(value: object, gradient: object = None, dtype: str = "float64") -> Parameter:
    p = Parameter(np.array(value, dtype))
    p.grad = None if gradient is None else np.array(gradient, dtype)
    return p


def step_with(optimizer: SGD | AdamW, p: Tensor, *gradients: float) -> list[float]:
    """Step with one gradient after the other; return the value of p after each."""
    values = []
    for g in gradients:
        p.grad = np.full_like(p.data, g)
        optimizer.step()
        values.append(p.item())
    return values


# SGD


def test_sgd_by_hand() -> None:
    p = parameter([1.0])
    assert step_with(SGD([p], 0.1), p, 1.0, 2.0, -4.0) == pytest.approx([0.9, 0.7, 1.1], rel=1e-14)


def test_sgd_with_momentum_by_hand() -> None:
    # g = 1:  v = 1                   p = 1 - 0.1 · 1       = 0.9
    # g = 2:  v = 0.9 · 1 + 2 = 2.9   p = 0.9 - 0.1 · 2.9   = 0.61
    # g = -1: v = 0.9 · 2.9 - 1 = 1.61  p = 0.61 - 0.1 · 1.61 = 0.449
    p = parameter([1.0])
    values = step_with(SGD([p], 0.1, momentum=0.9), p, 1.0, 2.0, -1.0)
    assert values == pytest.approx([0.9, 0.61, 0.449], rel=1e-14)


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
    optimizer = AdamW([p], 0.1, beta1=0.5, beta2=0.75, eps=1e-300, weight_decay=0.5)
    expected = [0.85, 0.8075 - 0.1 * 4 / 3 * math.sqrt(7) / 4]  # 0.719308
    assert step_with(optimizer, p, 2.0, 1.0) == pytest.approx(expected, rel=1e-14)
    assert expected[1] == pytest.approx(0.719308, abs=1e-6)
    assert optimizer.t == 2


def test_eps_is_added_to_the_root_after_its_correction() -> None:
    # As above with eps = 1: √v̂ = 2, so the step is 0.1 · 2 / (2 + 1).
    p = parameter([1.0])
    optimizer = AdamW([p], 0.1, beta1=0.5, beta2=0.75, eps=1.0)
    assert step_with(optimizer, p, 2.0) == pytest.approx([1 - 0.2 / 3], rel=1e-14)


def test_the_first_step_has_the_size_of_the_learning_rate_whatever_the_gradient() -> None:
    for g in (1e-3, 1.0, -1e3):
        p = parameter([0.0])
        assert step_with(AdamW([p], 0.1), p, g) == pytest.approx([-math.copysign(0.1, g)], rel=1e-4)


def test_decay_acts_on_matrices_and_embeddings_not_on_biases_and_gains() -> None:
    parameters = [parameter(np.full(shape, 2.0), np.zeros(shape)) for shape in ((), (3,), (2, 3), (2, 1, 3))]
    AdamW(parameters, 0.1, weight_decay=0.5).step()  # the gradient is 0, so only decay acts: 2 · (1 - 0.1 · 0.5) = 1.9
    assert [float(p.data.flat[0]) for p in parameters] == pytest.approx([2.0, 2.0, 1.9, 1.9], rel=1e-14)


def test_the_learning_rate_may_change_between_steps() -> None:
    p = parameter([0.0])
    optimizer = AdamW([p], 0.1, eps=1e-300)
    assert step_with(optimizer, p, 1.0) == pytest.approx([-0.1])
    optimizer.lr = 0.5
    assert step_with(optimizer, p, 1.0) == pytest.approx([-0.6])


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_parameter_without_a_gradient_stays(kind: type[SGD] | type[AdamW]) -> None:
    still, moved = parameter([[1.0]]), parameter([[1.0]], [[1.0]])
    kind([still, moved], 0.1).step()
    assert still.item() == 1
    assert moved.item() < 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_writes_into_the_array_and_keeps_its_dtype(dtype: str) -> None:
    p = parameter([[1.0, 2.0]], [[3.0, 4.0]], dtype)
    gradient = p.grad
    for make in (lambda: SGD([p], 0.1, momentum=0.9), lambda: AdamW([p], np.float64(0.1))):  # lr may be a NumPy scalar
        optimizer = make()
        array = p.data
        optimizer.step()
        assert p.data is array
        assert array.dtype == dtype
    assert gradient is p.grad
    assert gradient is not None
    assert gradient.tolist() == [[3, 4]]
    assert optimizer.m["0"].dtype == optimizer.v["0"].dtype == dtype  # type: ignore[union-attr]


def test_a_state_moves_from_one_optimizer_to_another() -> None:
    p, q = parameter([[1.0]]), parameter([[1.0]])
    first, second = AdamW([("w", p)], 0.1), AdamW([("w", q)], 0.1)
    step_with(first, p, 1.0, -2.0)
    q.copy_(p.data)
    state = first.state_dict()
    assert sorted(state) == ["m.w", "v.w"]
    second.load_state_dict({name: array.copy() for name, array in state.items()}, first.t)
    assert second.t == 2
    assert step_with(second, q, 3.0, 0.5) == step_with(first, p, 3.0, 0.5)
    np.testing.assert_array_equal(second.m["w"], first.m["w"])


def test_a_loaded_state_is_a_copy() -> None:
    p = parameter([[1.0]])
    optimizer = AdamW([("w", p)], 0.1)
    state = {"m.w": np.array([[5.0]]), "v.w": np.array([[6.0]])}
    optimizer.load_state_dict(state, 3)
    state["m.w"][:] = 99
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
    assert name_parameters([Tensor([1.0]), p]) == {"1": p}  # frozen tensors are left out


def test_nothing_to_train_is_an_error() -> None:
    for parameters in ([], [Tensor([1.0])]):
        with pytest.raises(ValueError, match="optimizer: got no parameter that requires grad"):
            AdamW(parameters, 0.1)


@pytest.mark.parametrize("wrong", [[{"params": []}], Linear(1, 1).state_dict().values()])
def test_what_is_no_parameter_is_refused(wrong: Any) -> None:
    with pytest.raises(
        TypeError, match=r"optimizer: expected model.parameters\(\) or model.named_parameters\(\), got a"
    ):
        AdamW(wrong, 0.1)


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
def test_a_norm_that_is_small_enough_is_not_scaled(max_norm: float | None) -> None:
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
def test_a_norm_that_is_not_finite_is_returned_and_nothing_scaled(wrong: float) -> None:
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


# AdamW's arrays


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


def test_gradients_are_stored_in_the_buffer() -> None:
    bias, weight = two()
    optimizer = AdamW([bias, weight], 0.1)
    (Tensor(np.eye(2)) @ weight).backward([[1, 2], [3, 4]])
    assert weight.grad is weight.grad_buffer
    assert bias.grad is None
    assert optimizer.flat[1].tolist() == [1, 2, 3, 4, 0, 0, 0]


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


def test_the_later_optimizer_owns_the_parameters() -> None:
    bias, weight = two()
    first, second = AdamW([bias, weight], 0.1), AdamW([bias, weight], 0.1)
    for p in (bias, weight):
        p.grad = np.ones_like(p.data)
    second.step()
    with pytest.raises(RuntimeError, match="a later optimizer owns 1"):
        first.step()


def test_an_assigned_gradient_counts() -> None:
    bias, weight = two()
    optimizer = AdamW([bias, weight], 0.1, weight_decay=0)
    bias.grad = np.array([1.0, -1.0, 0.0])
    optimizer.step()  # the first step of AdamW is lr · sign(g)
    np.testing.assert_allclose(bias.data, [0.9, 2.1, 3.0], rtol=1e-7)
    assert weight.data.tolist() == [[4, 5], [6, 7]]  # no gradient


@pytest.mark.parametrize("n_threads", ["1", "2", "5"])
@pytest.mark.parametrize("chunk", [1, 3, 7, 2**17])
def test_chunks_and_threads_change_no_bit(chunk: int, n_threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        parameters = [
            Parameter(rng.standard_normal(shape).astype(np.float32)) for shape in ((5,), (3, 4), (1,), (2, 2))
        ]
        optimizer = AdamW(parameters, 0.1, weight_decay=0.1)
        for step in range(4):
            for i, p in enumerate(parameters):
                p.grad = None if i == step else rng.standard_normal(p.shape).astype(np.float32)
            optimizer.step()
        return [p.data.copy() for p in parameters]

    expected = trained()
    monkeypatch.setattr(adamw, "CHUNK", chunk)
    monkeypatch.setattr(threads, "PARALLEL_THRESHOLD", 1)
    monkeypatch.setenv("NANOGRAD_THREADS", n_threads)
    for a, b in zip(trained(), expected, strict=True):
        np.testing.assert_array_equal(a, b)


# Arguments


@pytest.mark.parametrize("value", [-1e-3, math.nan, math.inf])
@pytest.mark.parametrize(("kind", "option"), [(SGD, "lr"), (AdamW, "lr"), (AdamW, "eps"), (AdamW, "weight_decay")])
def test_an_option_outside_its_range_is_refused_at_construction(kind: Any, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: {option} must be"):
        kind([parameter(1.0)], **{option: value})


@pytest.mark.parametrize("value", [1, 1.5, -0.1, math.nan])
@pytest.mark.parametrize(("kind", "option"), [(SGD, "momentum"), (AdamW, "beta1"), (AdamW, "beta2")])
def test_a_share_lies_in_0_to_1(kind: Any, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__}: {option} must be in \[0, 1\), got {value}"):
        kind([parameter(1.0)], **{option: value})


def test_eps_is_above_0_and_a_rate_of_0_is_allowed() -> None:
    with pytest.raises(ValueError, match="AdamW: eps must be above 0, got 0"):
        AdamW([parameter(1.0)], eps=0)
    AdamW([parameter(1.0)], lr=0.0, beta1=0, weight_decay=0)  # schedules begin at 0


@pytest.mark.parametrize("max_norm", [0, -1.0, math.nan])
def test_a_norm_to_clip_at_is_above_0(max_norm: float) -> None:
    p = parameter([0.0, 0.0], [3.0, 4.0])
    with pytest.raises(ValueError, match="clip_grad_norm: max_norm must be above 0"):
        clip_grad_norm([p], max_norm)
    assert p.grad.tolist() == [3, 4]


@pytest.mark.parametrize("use", [SGD, AdamW, lambda parameters: clip_grad_norm(parameters, 1.0)])
def test_float16_parameters_are_refused(use: Any) -> None:
    with pytest.raises(TypeError, match=r"0 is float16.*astype"):
        use([parameter([1.0], [1.0], "float16")])


@pytest.mark.parametrize(
    ("dtype", "size"), [("float32", 2e19), ("float32", 1e-30), ("float64", 1e200), ("float64", 1e-200)]
)
def test_a_norm_whose_square_overflows_or_vanishes_is_right(dtype: str, size: float) -> None:
    p, q = parameter([0.0, 0.0], [size, -size], dtype), parameter([[0.0], [0.0]], [[size], [size]], dtype)
    assert clip_grad_norm([p, q], 1.0) == pytest.approx(2 * size, rel=1e-6)
    if size > 1:
        np.testing.assert_allclose([*p.grad, *q.grad[:, 0]], [0.5, -0.5, 0.5, 0.5], rtol=1e-5)


# Steps without a gradient


def sparse_steps(optimizer: AdamW, p: Parameter, q: Parameter, steps: range) -> None:
    """Step with a gradient of q at every third step alone."""
    for step in steps:
        p.grad, q.grad = np.array([0.1 * step, 1.0]), np.array([0.2 * step, -1.0]) if step % 3 == 0 else None
        optimizer.step()


@pytest.mark.slow
def test_a_parameter_counts_the_steps_at_which_it_had_a_gradient_as_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    p, q = parameter([1.0, 2.0]), parameter([3.0, 4.0])
    sparse_steps(AdamW([p, q], lr=0.01, weight_decay=0.0), p, q, range(30))
    theirs = [torch.nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in ([1.0, 2.0], [3.0, 4.0])]
    optimizer = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.0)
    for step in range(30):
        theirs[0].grad = torch.tensor([0.1 * step, 1.0], dtype=torch.float64)
        theirs[1].grad = torch.tensor([0.2 * step, -1.0], dtype=torch.float64) if step % 3 == 0 else None
        optimizer.step()
    np.testing.assert_allclose(p.data, theirs[0].detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(q.data, theirs[1].detach().numpy(), rtol=1e-13)


def test_counts_are_saved_where_they_differ_and_an_old_state_has_none() -> None:
    p, q = parameter([1.0, 2.0]), parameter([3.0, 4.0])
    optimizer = AdamW([("p", p), ("q", q)], lr=0.01)
    sparse_steps(optimizer, p, q, range(10))
    state = {name: a.copy() for name, a in optimizer.state_dict().items()}
    assert state.keys() == {"m.p", "v.p", "m.q", "v.q", "t.q"}
    assert state["t.q"] == 4
    p2, q2 = parameter(p.data), parameter(q.data)
    again = AdamW([("p", p2), ("q", q2)], lr=0.01)
    again.load_state_dict(state, optimizer.t)
    sparse_steps(optimizer, p, q, range(10, 20))
    sparse_steps(again, p2, q2, range(10, 20))
    assert (p2.data.tolist(), q2.data.tolist()) == (p.data.tolist(), q.data.tolist())
    del state["t.q"]
    again.load_state_dict(state, 10)
    assert again.counts == {"p": 10, "q": 10}
    with pytest.raises(ValueError, match=r"other parameters than the model, among them t\.r"):
        again.load_state_dict(state | {"t.r": np.array(1)}, 10)


# The average of the parameters


def test_the_average_by_its_formula() -> None:
    rng = np.random.default_rng(0)
    values = [rng.standard_normal((3, 2)), rng.standard_normal(4)]
    parameters = [Parameter(value.copy()) for value in values]
    optimizer = AdamW(parameters, 0.1, ema=0.3)
    averages = [value.copy() for value in values]
    for t in range(1, 5):
        for i, p in enumerate(parameters):
            p.grad = None if (i, t) == (0, 2) else rng.standard_normal(p.shape)
        optimizer.step()
        d = min(0.3, (1 + t) / (10 + t))
        averages = [d * e + (1 - d) * p.data for e, p in zip(averages, parameters, strict=True)]
    last = [p.data.copy() for p in parameters]
    optimizer.swap_average()
    for p, e in zip(parameters, averages, strict=True):
        np.testing.assert_allclose(p.data, e, rtol=1e-12)
    optimizer.swap_average()
    for p, value in zip(parameters, last, strict=True):
        np.testing.assert_array_equal(p.data, value)
    assert {name[:2] for name in optimizer.state_dict()} == {"m.", "v.", "e."} | {"t."}
    with pytest.raises(ValueError, match=r"AdamW: ema must be in \[0, 1\), got 1.5"):
        AdamW([Parameter(np.zeros(1))], ema=1.5)
