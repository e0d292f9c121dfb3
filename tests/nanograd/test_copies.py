"""deepcopy, copy and pickle of tensors, parameters, modules and optimizers: a copy never changes with its original."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.lora import add_lora, merge_lora
from gpt.model import GPT
from nanograd import nn, optim
from nanograd._tensor import Tensor

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
CONFIG = ModelConfig(vocab_size=11, context_length=6, d_model=8, n_heads=2, n_layers=2)
IDS = np.arange(10).reshape(2, 5)


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


every_copy = pytest.mark.parametrize("copied", [copy.deepcopy, pickled])


class Tied(nn.Module):
    """Two layers with one weight, and options of many kinds."""

    def __init__(self) -> None:
        self.layers = {"a": nn.Linear(3, 3, rng=0), "b": [nn.Linear(3, 3, rng=1)]}
        self.layers["b"][0].weight = self.layers["a"].weight  # type: ignore[index,union-attr]
        self.activation = ng.gelu
        self.dropout = nn.Dropout(0.0)

    def forward(self, x: Any) -> Tensor:
        return self.dropout(self.layers["b"][0](self.activation(self.layers["a"](x)))).sum()  # type: ignore


def optimizer_of(model: nn.Module, kind: str) -> Any:
    return {"AdamW": optim.AdamW, "SGD": optim.SGD}[kind](model.named_parameters(), lr=0.1)


def arrays(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in model.state_dict().items()}


def assert_equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray], equal: bool = True) -> None:
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a) == equal


# Tensors


@every_copy
@pytest.mark.parametrize("kind", [Tensor, nn.Parameter])
def test_a_leaf_keeps_its_values_its_gradient_and_its_class(copied: Callable[..., Any], kind: Any) -> None:
    x = kind(np.array([1.0, 2.0]))
    x.requires_grad = True
    (x * x).sum().backward()
    again = copied(x)
    assert type(again) is kind
    assert again.requires_grad
    assert again.tolist() == [1, 2]
    assert again.grad.tolist() == [2, 4]
    again.data[0] = again.grad[0] = 9
    assert x.tolist() == [1, 2]
    assert x.grad.tolist() == [2, 4]


@every_copy
def test_a_frozen_parameter_stays_frozen(copied: Callable[..., Any]) -> None:
    p = nn.Parameter([1.0])
    p.requires_grad = False
    assert not copied(p).requires_grad


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, pickled])
def test_a_recorded_result_is_refused(copied: Callable[..., Any]) -> None:
    y = Tensor([1.0], requires_grad=True) * 2
    with pytest.raises(
        RuntimeError, match=r"this tensor is the result of mul, and a recorded graph is not copied.*detach"
    ):
        copied(y)
    assert copied(y.detach()).tolist() == [2]
    with ng.no_grad():
        assert copied(Tensor([1.0], requires_grad=True) * 2).tolist() == [2]


@pytest.mark.parametrize("kind", [Tensor, nn.Parameter])
def test_a_shallow_copy_shares_the_array_and_no_gradient(kind: Any) -> None:
    x = kind([1.0])
    x.requires_grad = True
    (x * 3).sum().backward()
    again = copy.copy(x)
    assert again.data is x.data
    assert again.grad is None
    (again * 5).sum().backward()
    assert x.grad.tolist() == [3]


@every_copy
def test_a_subclass_keeps_its_own_attributes(copied: Callable[..., Any]) -> None:
    x = Labelled([1.0])
    x.label = "loss"
    assert copied(x).label == "loss"


class Labelled(Tensor):
    label = ""


# Modules, before and after an optimizer was made


@every_copy
@pytest.mark.parametrize("kind", ["none", "SGD", "AdamW"])
@pytest.mark.parametrize("make", [Tied, lambda: GPT(CONFIG, np.random.default_rng(0))])
def test_a_copy_of_a_module_is_independent(copied: Callable[..., Any], kind: str, make: Callable[[], Any]) -> None:
    model = make()
    inputs: tuple[Any, ...] = (X,) if isinstance(model, Tied) else (IDS, IDS)
    optimizer = None if kind == "none" else optimizer_of(model, kind)
    model(*inputs).backward()
    before, gradients = arrays(model), [p.grad.copy() for p in model.parameters()]
    again = copied(model)
    assert type(again) is type(model)
    assert_equal(arrays(again), before)
    assert all(np.array_equal(p.grad, g) for p, g in zip(again.parameters(), gradients, strict=True))
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        assert not np.shares_memory(p.data, q.data)
        assert not np.shares_memory(p.grad, q.grad)
        assert not q.is_bound
    assert again(*inputs).item() == model(*inputs).item()

    optimizer_of(again, "AdamW").step()  # the copy learns, and the original stays
    assert_equal(arrays(again), before, equal=False)
    assert_equal(arrays(model), before)
    learned = arrays(again)
    if optimizer is not None:
        optimizer.step()
        assert_equal(arrays(model), before, equal=False)
    assert_equal(arrays(again), learned)


@every_copy
def test_a_shared_parameter_stays_shared(copied: Callable[..., Any]) -> None:
    model = Tied()
    optimizer_of(model, "AdamW")
    again = copied(model)
    assert again.layers["b"][0].weight is again.layers["a"].weight
    assert len(list(again.parameters())) == 3


@every_copy
def test_an_op_of_a_copied_module_is_the_op(copied: Callable[..., Any]) -> None:
    assert copied(Tied()).activation is ng.gelu
    gated = GPT(ModelConfig(**{**CONFIG.__dict__, "mlp": "gated", "activation": "silu"}))
    assert copied(gated).blocks[0].mlp.activation is ng.silu  # so the copy takes the fused path too


@every_copy
def test_a_copy_of_a_bound_model_may_be_converted_and_frozen(copied: Callable[..., Any]) -> None:
    model = Tied()
    _kept = optimizer_of(model, "AdamW")
    again = copied(model).astype("float64")
    for p in again.parameters():
        p.requires_grad = False
    assert all(p.dtype == np.float32 and p.requires_grad for p in model.parameters())


@every_copy
def test_adapters_are_copied(copied: Callable[..., Any]) -> None:
    model = GPT(CONFIG, np.random.default_rng(0))
    add_lora(model, 2, 4.0, ("w_qkv",), np.random.default_rng(1))
    for p in model.parameters():
        p.copy_(p.data + 0.01)
    again = copied(model)
    merge_lora(again)
    np.testing.assert_allclose(again(IDS).data, model(IDS).data, atol=1e-5)
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]


def test_an_average_of_weights_follows_a_model_in_training() -> None:
    model = Tied()
    optimizer = optimizer_of(model, "AdamW")
    average, start = copy.deepcopy(model), arrays(model)
    for _ in range(3):
        optimizer.zero_grad()
        model(X).backward()
        optimizer.step()
        for a, p in zip(average.parameters(), model.parameters(), strict=True):
            a.data = 0.9 * a.data + 0.1 * p.data
    assert_equal(arrays(average), start, equal=False)
    assert_equal(arrays(average), arrays(model), equal=False)


def test_another_process_reads_a_pickled_model(tmp_path: Path) -> None:
    model = GPT(CONFIG, np.random.default_rng(0))
    optimizer = optimizer_of(model, "AdamW")
    model(IDS, IDS).backward()
    optimizer.step()
    (tmp_path / "model.pickle").write_bytes(pickle.dumps((model, optimizer)))
    code = (
        "import pickle, sys; import numpy as np; model, optimizer = pickle.load(open(sys.argv[1], 'rb'));"
        "ids = np.arange(10).reshape(2, 5); print(repr(model(ids, ids).item()), optimizer.t)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.pickle")], capture_output=True, text=True, check=True
    )
    loss, t = run.stdout.split()
    assert float(loss) == pytest.approx(model(IDS, IDS).item(), rel=1e-6)
    assert t == "1"


# Optimizers


@every_copy
@pytest.mark.parametrize("make", [
    lambda p: optim.AdamW(p, 0.1, beta1=0.5, beta2=0.6, eps=1e-3, weight_decay=0.3),
    lambda p: optim.SGD(p, 0.1, momentum=0.5),
])  # fmt: skip
def test_a_model_and_its_optimizer_are_copied_together(copied: Callable[..., Any], make: Callable[..., Any]) -> None:
    model = Tied()
    optimizer = make(model.named_parameters())

    def step(model: nn.Module, optimizer: Any) -> None:
        optimizer.zero_grad()
        model(X).backward()
        optimizer.step()

    step(model, optimizer)
    twin, twin_optimizer = copied((model, optimizer))
    assert_equal(arrays(twin), arrays(model))
    step(model, optimizer)
    assert_equal(arrays(twin), arrays(model), equal=False)  # the twin stayed
    for _ in range(2):
        step(twin, twin_optimizer)
    step(model, optimizer)
    assert_equal(arrays(twin), arrays(model))  # and takes the same steps by itself


@every_copy
def test_the_copy_of_an_optimizer_alone_steps_its_own_parameters(copied: Callable[..., Any]) -> None:
    model = Tied()
    optimizer = optimizer_of(model, "AdamW")
    model(X).backward()
    before = arrays(model)
    copied(optimizer).step()
    assert_equal(arrays(model), before)
    optimizer.step()
    assert_equal(arrays(model), before, equal=False)
