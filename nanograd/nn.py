"""Modules: parameters with names, and the layers of a GPT that own them."""

import contextlib
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Self

import numpy as np

from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.op import MODE
from nanograd.seeds import next_seed


class Parameter(Tensor):
    """A leaf that is trained.

    An optimizer may keep all parameters in one array, of which `data` is then a part: to assign to it copies in. While
    it does, neither the dtype nor requires_grad can change: TypeError and RuntimeError say so.
    """

    __slots__ = ("_array", "_trained", "grad_buffer", "keeper")
    _array: np.ndarray
    _trained: bool

    def __init__(self, data: Any) -> None:
        self.keeper: weakref.ref[Any] | None = None  # of the optimizer that keeps the array
        self.grad_buffer = None
        super().__init__(data, requires_grad=True)

    @property
    def kept(self) -> bool:
        """Tell whether an optimizer that is still there keeps this parameter's array."""
        return self.keeper is not None and self.keeper() is not None

    @property
    def data(self) -> np.ndarray:
        return self._array

    @data.setter
    def data(self, values: np.ndarray) -> None:
        if not self.kept:
            self._array = values
            return
        if values.dtype != self._array.dtype or values.shape != self._array.shape:
            raise TypeError(
                f"Parameter: an optimizer keeps this one as {self._array.dtype} {self._array.shape}, it cannot become "
                f"{values.dtype} {values.shape}; convert the model first, then make the optimizer"
            )
        self._array[...] = values

    @property
    def requires_grad(self) -> bool:
        return self._trained

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self.kept and wanted != self._trained:
            raise RuntimeError(
                "Parameter: requires_grad cannot change while an optimizer keeps this parameter; freeze first, then make "
                "the optimizer"
            )
        self._trained = wanted

    def keep(self, keeper: Any, array: np.ndarray, grad_buffer: np.ndarray) -> None:
        """Move the values into `array`, and gradients from now on into `grad_buffer`: for an optimizer."""
        array[...] = self._array
        self._array, self.grad_buffer, self.keeper = array, grad_buffer, weakref.ref(keeper)


RUNNING: ContextVar["Module | None"] = ContextVar("nanograd.running", default=None)


class Module:
    """A part of a model. Parameters and modules are found among the attributes; a list of modules counts as `name.0` ….

    Subclasses write `forward`; calling the module calls it.
    """

    training = True

    def forward(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **options: Any) -> Any:
        mode = MODE.get()
        if not mode.observers:
            return self.forward(*args, **options)
        parent = RUNNING.get()  # somebody observes: tell where in the model we are
        names = (name for name, child in parent.children() if child is self) if parent is not None else iter(())
        tokens = RUNNING.set(self), MODE.set(mode._replace(scope=(*mode.scope, next(names, type(self).__name__))))
        try:
            return self.forward(*args, **options)
        finally:
            RUNNING.reset(tokens[0])
            MODE.reset(tokens[1])

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """Yield the modules directly inside, with their names."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, (list, tuple)):
                for i, each in enumerate(value):
                    if isinstance(each, Module):
                        yield f"{name}.{i}", each

    def modules(self) -> Iterator["Module"]:
        """Yield this module and all inside it."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield each distinct parameter once, under the first name it has."""
        seen: set[int] = set()
        for name, parameter in self._all_parameters(""):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _all_parameters(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.children():
            yield from child._all_parameters(f"{prefix}{name}.")

    def parameters(self) -> Iterator[Parameter]:
        """Yield each distinct parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the arrays of all parameters by name: the arrays themselves, not copies."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> Self:
        """Copy the arrays in. Names and shapes are checked first: on a ValueError nothing has changed."""
        own = dict(self.named_parameters())
        if missing := sorted(own.keys() - state.keys()):
            raise ValueError(f"load_state_dict: {len(missing)} parameters are missing, among them {missing[0]}")
        if unknown := sorted(state.keys() - own.keys()):
            raise ValueError(f"load_state_dict: {len(unknown)} names are unknown, among them {unknown[0]}")
        for name, parameter in own.items():
            if state[name].shape != parameter.shape:
                raise ValueError(
                    f"load_state_dict: {name} has shape {parameter.shape} in the model, got {state[name].shape}"
                )
        for name, parameter in own.items():
            parameter.copy_(state[name])
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch dropout on (or off) in this module and all inside it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch dropout off."""
        return self.train(False)

    def astype(self, dtype: Any) -> Self:
        """Convert all parameters in place; gradients are dropped."""
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(dtype)
            parameter.grad = None
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None


def count_parameters(parameters: Iterable[Tensor]) -> int:
    """Return how many numbers the parameters hold."""
    return sum(parameter.size for parameter in parameters)


NO_INIT: ContextVar[bool] = ContextVar("no_init", default=False)


@contextlib.contextmanager
def no_init() -> Iterator[None]:
    token = NO_INIT.set(True)
    try:
        yield
    finally:
        NO_INIT.reset(token)


class Linear(Module):
    """Map features linearly: y = x weightᵀ + bias, weight (out, in). Weights start at variance 1/in, biases at 0."""

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = True, rng: np.random.Generator | None = None
    ) -> None:
        if NO_INIT.get():
            self.weight = Parameter(np.zeros((out_features, in_features), np.float32))
            self.bias = Parameter(np.zeros(out_features, np.float32)) if bias else None
            return
        rng = rng or np.random.default_rng()
        weight = rng.standard_normal((out_features, in_features), dtype=np.float32)
        weight *= in_features**-0.5
        self.weight = Parameter(weight)
        self.bias = Parameter(np.zeros(out_features, np.float32)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias)  # (…, in) → (…, out)


class Embedding(Module):
    """Look up one row of weight (n, d) for each id. Rows start at variance 1."""

    def __init__(self, n: int, d: int, *, rng: np.random.Generator | None = None) -> None:
        if NO_INIT.get():
            self.weight = Parameter(np.zeros((n, d), np.float32))
            return
        rng = rng or np.random.default_rng()
        self.weight = Parameter(rng.standard_normal((n, d), dtype=np.float32))

    def forward(self, ids: np.ndarray) -> Tensor:
        return ops.embedding(self.weight, ids)  # (…) → (…, d)


class LayerNorm(Module):
    """Bring each token's d features to mean 0 and variance 1, then scale and shift them."""

    def __init__(self, d: int, *, bias: bool = True, eps: float = 1e-5) -> None:
        self.weight = Parameter(np.ones(d, np.float32))
        self.bias = Parameter(np.zeros(d, np.float32)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return ops.layernorm(x, self.weight, self.bias, eps=self.eps)  # (…, d) → (…, d)


class RMSNorm(Module):
    """Bring each token's d features to mean square 1, then scale them: nothing is centred, nothing shifted."""

    def __init__(self, d: int, *, eps: float = 1e-5) -> None:
        self.weight = Parameter(np.ones(d, np.float32))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return ops.rmsnorm(x, self.weight, eps=self.eps)  # (…, d) → (…, d)


class Dropout(Module):
    """Drop each entry with probability p while training; do nothing in evaluation."""

    def __init__(self, p: float) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p is the share of entries to drop, it must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout(x, p=self.p, seed=next_seed()) if self.training and self.p else x
