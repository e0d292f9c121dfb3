"""Modules: names, state and modes; layers by hand; initialisation."""

import tracemalloc

import numpy as np
import pytest

import nanograd as ng
from nanograd._tensor import Tensor
from nanograd.check.gradcheck import gradcheck
from nanograd.nn import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Module,
    Parameter,
    RMSNorm,
    Sequential,
    count_parameters,
    evaluating,
    no_init,
)
from nanograd.seeds import DROPOUT, seeds


class Pair(Module):
    """Layers in a list, another layer that shares a weight with the first, and a parameter."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.scale = Parameter(np.array([2.0, 3.0], np.float32))
        self.layers = [Linear(2, 3, rng=rng), Dropout(0.5), Linear(3, 2, bias=False, rng=rng)]
        self.name = "no module"
        self.tied = Linear(2, 3, bias=False, rng=rng)
        self.tied.weight = self.layers[0].weight  # type: ignore[attr-defined]


def copies(module: Module) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in module.state_dict().items()}


# Names


def test_parameters_are_named_by_their_path_and_a_shared_one_by_its_first() -> None:
    names = [name for name, _ in Pair().named_parameters()]
    assert names == ["scale", "layers.0.weight", "layers.0.bias", "layers.2.weight"]


def test_a_shared_parameter_is_listed_once() -> None:
    pair = Pair()
    assert len(list(pair.parameters())) == len({id(p) for p in pair.parameters()}) == 4
    assert count_parameters(pair.parameters()) == 2 + 6 + 3 + 6


def test_modules_inside_are_found_in_order() -> None:
    pair = Pair()
    assert [name for name, _ in pair.named_children()] == ["layers.0", "layers.1", "layers.2", "tied"]
    assert list(pair.children()) == [*pair.layers, pair.tied]
    assert [name for name, _ in pair.named_modules()] == ["", "layers.0", "layers.1", "layers.2", "tied"]
    assert list(pair.modules()) == [pair, *pair.layers, pair.tied]
    pair.more = (pair.tied, Linear(1, 1))  # type: ignore[attr-defined]
    assert [name for name, _ in pair.named_children()][-2:] == ["more.0", "more.1"]
    assert "more.1.weight" in dict(pair.named_parameters())


class Nested(Module):
    """Modules and parameters in dicts and lists of lists; what is neither is skipped."""

    def __init__(self) -> None:
        self.layers = {"a": Linear(1, 2), "off": None, "b": [Dropout(0.5), (Linear(2, 1, bias=False),)]}
        self.scales = [Parameter(np.ones(1, np.float32)), Parameter(np.ones(2, np.float32))]
        self.by_size = {2: {"gain": Parameter(np.ones(2, np.float32))}}
        self.settings = {"lr": 0.1, "sizes": [1, 2]}


def test_dicts_and_nested_lists_are_searched() -> None:
    model = Nested()
    assert [name for name, _ in model.named_children()] == ["layers.a", "layers.b.0", "layers.b.1.0"]
    names = ["scales.0", "scales.1", "by_size.2.gain", "layers.a.weight", "layers.a.bias", "layers.b.1.0.weight"]
    assert list(model.state_dict()) == names
    other = Nested().load_state_dict(model.state_dict())
    assert all((a == b).all() for a, b in zip(other.state_dict().values(), model.state_dict().values(), strict=True))
    assert not model.eval().layers["b"][0].training  # type: ignore[index]
    assert {p.dtype for p in model.astype("float64").parameters()} == {np.dtype("float64")}


def test_a_parameter_is_a_leaf_that_requires_grad() -> None:
    p = Parameter(np.ones(2, np.float32))
    assert p.requires_grad
    assert isinstance(p, Tensor)
    with pytest.raises(TypeError, match="only floats can require grad"):
        Parameter(np.array([1, 2]))


def test_a_module_without_forward_is_an_error() -> None:
    with pytest.raises(NotImplementedError, match=r"^Pair has no forward$"):
        Pair()(1)


# State


def test_the_state_moves_from_one_module_to_another() -> None:
    first, second = Pair(), Pair()
    for p in first.parameters():
        p.copy_(p.data + 1)
    assert second.load_state_dict(first.state_dict()) is second
    for name, array in second.state_dict().items():
        np.testing.assert_array_equal(array, first.state_dict()[name])
    assert second.tied.weight is second.layers[0].weight  # type: ignore[attr-defined]


def test_state_dict_gives_the_arrays_and_load_state_dict_copies_them() -> None:
    pair = Pair()
    arrays = {name: p.data for name, p in pair.named_parameters()}
    assert all(pair.state_dict()[name] is array for name, array in arrays.items())
    loaded = {name: array.astype(np.float64) + 1 for name, array in arrays.items()}
    pair.load_state_dict(loaded)
    loaded["scale"][:] = 99
    assert pair.state_dict()["scale"] is arrays["scale"]  # an optimizer may own it
    assert arrays["scale"].tolist() == [3, 4]
    assert arrays["scale"].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": None}, "load_state_dict: 1 parameters are missing, among them scale"),
        ({"layers.0.bias": None, "scale": None}, "load_state_dict: 2 parameters are missing, among them layers.0.bias"),
        ({"head": np.ones(1)}, "load_state_dict: 1 names are unknown, among them head"),
        (
            {"layers.2.weight": np.ones((3, 2))},
            r"load_state_dict: layers.2.weight has shape \(2, 3\) in the model, got \(3, 2\)",
        ),
        ({"layers.2.weight": np.ones(())}, r"layers.2.weight has shape \(2, 3\) in the model, got \(\)"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: dict[str, np.ndarray | None], message: str) -> None:
    pair = Pair()
    before = copies(pair)
    state = {**{name: array + 1 for name, array in before.items()}, **change}
    with pytest.raises(ValueError, match=message):
        pair.load_state_dict({name: array for name, array in state.items() if array is not None})
    for name, array in pair.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_astype_converts_in_place_and_drops_gradients() -> None:
    pair = Pair()
    weight = pair.layers[0].weight  # type: ignore[attr-defined]
    weight.grad = np.ones_like(weight.data)
    before = copies(pair)
    assert pair.astype(np.float64) is pair
    assert {p.dtype for p in pair.parameters()} == {np.dtype(np.float64)}
    assert weight.grad is None
    assert pair.tied.weight is weight
    for name, array in pair.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_zero_grad_drops_all_gradients() -> None:
    pair = Pair()
    for p in pair.parameters():
        p.grad = np.ones_like(p.data)
    pair.zero_grad()
    assert all(p.grad is None for p in pair.parameters())


# Modes


def test_train_and_eval_reach_everything_inside() -> None:
    class Deep(Module):
        def __init__(self) -> None:
            self.pairs = [Pair(), Pair()]

    deep = Deep()
    assert all(module.training for module in deep.modules())
    assert deep.eval() is deep
    assert len(list(deep.modules())) == 11
    assert not any(module.training for module in deep.modules())
    assert deep.train() is deep
    assert all(module.training for module in deep.modules())
    deep.pairs[0].eval()
    assert deep.training
    assert not deep.pairs[0].layers[1].training
    assert deep.pairs[1].layers[1].training


def test_evaluating_restores_the_mode_of_every_module() -> None:
    model = Pair()
    model.layers[1].eval()  # type: ignore[attr-defined]
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2

    def fail() -> None:
        with evaluating(model):
            assert not any(module.training for module in model.modules())
            raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        fail()
    assert [module.training for module in model.modules()] == before


# Layers


def test_linear_by_hand() -> None:
    layer = Linear(2, 3)
    layer.weight.copy_(np.array([[1, 2], [3, 4], [5, 6]]))
    assert layer.bias is not None
    layer.bias.copy_(np.array([0, 10, 20]))
    # 1·7 + 2·8, 3·7 + 4·8 + 10, 5·7 + 6·8 + 20
    assert layer(Tensor([[7.0, 8.0]])).data.tolist() == [[23, 63, 103]]
    assert layer(Tensor(np.ones((4, 5, 2), np.float32))).shape == (4, 5, 3)


def test_linear_starts_at_variance_one_over_in() -> None:
    layer = Linear(400, 100, rng=np.random.default_rng(0))
    assert layer.weight.data.std() == pytest.approx(0.05, rel=0.02)  # 40,000 draws: 4 deviations are 0.014
    assert layer.bias is not None
    assert not layer.bias.data.any()
    x = np.random.default_rng(1).standard_normal((100, 400)).astype(np.float32)
    assert layer(Tensor(x)).data.std() == pytest.approx(1, rel=0.05)
    assert Linear(2, 2, bias=False).bias is None
    assert layer.weight.dtype == layer.bias.dtype == np.float32


def test_embedding_by_hand() -> None:
    table = Embedding(3, 2, rng=np.random.default_rng(0))
    assert table.weight.dtype == np.float32
    table.weight.copy_(np.array([[1, 2], [3, 4], [5, 6]]))
    y = table(np.array([[2, 0, 2]]))
    assert y.data.tolist() == [[[5, 6], [1, 2], [5, 6]]]
    y.backward(np.array([[[1, 10], [2, 20], [4, 40]]]))
    assert table.weight.grad is not None
    assert table.weight.grad.tolist() == [[2, 20], [0, 0], [5, 50]]  # id 2 was used twice
    assert Embedding(100, 100, rng=np.random.default_rng(0)).weight.data.std() == pytest.approx(1, rel=0.03)


def test_rmsnorm_by_hand() -> None:
    norm = RMSNorm(2, eps=0.0)
    # The mean square of 1 and 7 is 25.
    np.testing.assert_allclose(norm(Tensor([[1.0, 7.0]])).data, [[0.2, 1.4]], rtol=1e-6)
    norm.weight.copy_(np.array([10, 20]))
    np.testing.assert_allclose(norm(Tensor([[1.0, 7.0]])).data, [[2, 28]], rtol=1e-6)
    norm.eps = 75.0  # √(25 + 75) = 10
    np.testing.assert_allclose(norm(Tensor([[1.0, 7.0]])).data, [[1, 14]], rtol=1e-6)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]


def test_layernorm_by_hand() -> None:
    norm = LayerNorm(2, eps=0.0)
    # mean 3, deviations -2 and 2, standard deviation 2
    assert norm(Tensor([[1.0, 5.0]])).data.tolist() == [[-1, 1]]
    norm.weight.copy_(np.array([10, 20]))
    assert norm.bias is not None
    norm.bias.copy_(np.array([1, 2]))
    assert norm(Tensor([[1.0, 5.0]])).data.tolist() == [[-9, 22]]
    # eps is added to the variance: 2 / √(4 + 12) = ½
    norm.eps = 12.0
    assert norm(Tensor([[1.0, 5.0]])).data.tolist() == [[-4, 12]]
    assert LayerNorm(2).eps == 1e-5
    assert LayerNorm(2, bias=False).bias is None
    assert LayerNorm(2, bias=False)(Tensor([[7.0, 7.0]])).data.tolist() == [[0, 0]]


def test_dropout_acts_in_training_mode_only() -> None:
    dropout, x = Dropout(0.25), Tensor(np.full((40, 40), 3.0, np.float32))
    with seeds(0, DROPOUT):
        y = dropout(x).data
    np.testing.assert_array_equal(np.unique(y), [0, 4])  # 3 / (1 - ¼)
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.05)  # 1600 draws: 4 deviations are 0.043
    assert dropout.eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_every_dropout_of_a_step_draws_another_mask() -> None:
    dropout, x = Dropout(0.5), Tensor(np.ones(64, np.float32))
    with seeds(0, DROPOUT, 3):
        first, second = dropout(x).data, dropout(x).data
    assert not np.array_equal(first, second)
    with seeds(0, DROPOUT, 3):
        np.testing.assert_array_equal(dropout(x).data, first)
        np.testing.assert_array_equal(dropout(x).data, second)


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0, float("nan")])
def test_dropout_must_be_a_fraction_below_one(p: float) -> None:
    with pytest.raises(ValueError, match=rf"Dropout: p, the fraction of entries to drop, .* \[0, 1\), got {p}"):
        Dropout(p)


def test_gradients_reach_the_parameters_of_a_chain() -> None:
    rng = np.random.default_rng(0)

    def chain(x: Tensor, w1: Tensor, b1: Tensor, gain: Tensor, shift: Tensor, w2: Tensor) -> Tensor:
        first, norm, second = Linear(3, 4), LayerNorm(4), Linear(4, 2, bias=False)
        for module, weight, bias in ((first, w1, b1), (norm, gain, shift), (second, w2, None)):
            vars(module).update(weight=weight, bias=bias)
        return second(ng.tanh(norm(first(x))))

    shapes = [(5, 3), (4, 3), (4,), (4,), (4,), (2, 4)]
    gradcheck(chain, *[rng.standard_normal(shape) for shape in shapes], tolerance=1e-9)


def test_no_init_gives_zeros_and_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    with no_init():
        layers = [Linear(3, 2, rng=rng), Embedding(3, 2, rng=rng)]
    assert all(layer.weight.dtype == np.float32 and not layer.weight.data.any() for layer in layers)
    assert [layer.weight.shape for layer in layers] == [(2, 3), (3, 2)]
    assert rng.random() == np.random.default_rng(0).random()
    assert Linear(3, 2).weight.data.all()
    layers[0].weight.copy_(np.ones((2, 3)))
    assert layers[0].weight.data.flags.writeable
    assert (layers[0].weight.data.tolist(), layers[0].weight.dtype) == ([[1, 1, 1], [1, 1, 1]], np.float32)


def test_weights_without_init_take_no_memory() -> None:
    tracemalloc.start()
    with no_init():
        layers = Linear(1000, 1000), Embedding(1000, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(layer.weight.data.nbytes for layer in layers) == 8_000_000
    assert peak < 100_000


def test_assigned_arrays_are_not_copied_and_others_are_converted() -> None:
    with no_init():
        model = Linear(3, 2)
    weight, bias = np.ones((2, 3), np.float32), np.ones(2)
    model.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    assert model.weight.data is weight
    assert (model.bias.dtype, model.bias.data.tolist()) == (np.float32, [1, 1])
    optimizer = ng.AdamW(model.parameters(), lr=0.1)
    model.load_state_dict({"weight": 2 * weight, "bias": bias}, assign=True)
    assert model.weight.data.base is not None  # still the optimizer's array
    assert (model.weight.data.tolist(), weight.tolist()) == ([[2] * 3] * 2, [[1] * 3] * 2)
    del optimizer


@pytest.mark.parametrize("rng", [0, 7])
def test_a_seed_may_take_the_place_of_a_generator(rng: int) -> None:
    expected = Linear(3, 2, rng=np.random.default_rng(rng)).weight.data
    np.testing.assert_array_equal(Linear(3, 2, rng=rng).weight.data, expected)


# Sequential


def test_sequential_calls_modules_and_functions_in_turn() -> None:
    model = Sequential(Linear(2, 3, rng=0), ng.relu, Linear(3, 1, rng=1))
    x = Tensor(np.array([[1.0, -2.0]], np.float32))
    expected = model[2](ng.relu(model[0](x)))
    np.testing.assert_array_equal(model(x).data, expected.data)
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]  # PyTorch's names
    assert len(model) == len(list(model)) == 3
    assert model[1] is ng.relu
    assert model[-1] is list(model.children())[1]


# repr


def test_the_repr_is_the_tree_with_sizes() -> None:
    assert (
        repr(Pair())
        == """Pair(
  (scale): Parameter(shape=(2,), dtype=float32)
  (layers.0): Linear(in_features=2, out_features=3, bias=True)
  (layers.1): Dropout(p=0.5)
  (layers.2): Linear(in_features=3, out_features=2, bias=False)
  (tied): Linear(in_features=2, out_features=3, bias=False)
)"""
    )
    assert repr(Embedding(5, 4)) == "Embedding(5, 4)"
    assert repr(LayerNorm(4, bias=False)) == "LayerNorm(4, eps=1e-05, bias=False)"
    assert repr(RMSNorm(4)) == "RMSNorm(4, eps=1e-05)"
    assert repr(Module()) == "Module()"


def test_equal_neighbours_in_a_list_take_one_line() -> None:
    model = Sequential(*[Sequential(Linear(2, 2), ng.relu) for _ in range(11)], Linear(2, 1), Linear(2, 1))
    assert (
        repr(model)
        == """Sequential(
  (0-10): 11 x Sequential(
    (0): Linear(in_features=2, out_features=2, bias=True)
    (1): <Op relu>
  )
  (11-12): 2 x Linear(in_features=2, out_features=1, bias=True)
)"""
    )


def test_only_neighbours_in_one_list_are_folded() -> None:
    class Model(Module):
        def __init__(self) -> None:
            self.norm1, self.norm2 = RMSNorm(2), RMSNorm(2)
            self.blocks = [[RMSNorm(2), RMSNorm(2)], [RMSNorm(2)]]
            self.named = {"a": RMSNorm(2), "b": RMSNorm(2)}

        def extra_repr(self) -> str:
            return "size=2"

    lines = [line.strip() for line in repr(Model()).splitlines()]
    norm = "RMSNorm(2, eps=1e-05)"
    assert lines == [
        "Model(",
        "size=2",
        f"(norm1): {norm}",
        f"(norm2): {norm}",
        f"(blocks.0.0-1): 2 x {norm}",
        f"(blocks.1.0): {norm}",
        f"(named.a): {norm}",
        f"(named.b): {norm}",
        ")",
    ]
