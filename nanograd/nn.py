"""Modules: parameters with names, and the layers of a GPT that own them."""

import contextlib
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.op import CONTEXT, Op, context
from nanograd.runtime.pytorch_names import missing_name
from nanograd.seeds import next_seed

Rng = np.random.Generator | int | None  # a generator, a seed, or None for an unpredictable seed


class Parameter(Tensor):
    """A leaf that an optimizer trains.

    An optimizer may bind the parameter to buffers of its own: `data` is then a view of its array of all parameters, and
    an assignment to `data` copies into it. As long as the optimizer lives, the dtype and requires_grad cannot change.
    A copy (deepcopy, pickle) is not bound.
    """

    __slots__ = ("_array", "_buffer_owner", "_requires_grad", "grad_buffer")
    _array: np.ndarray
    _requires_grad: bool

    def __init__(self, data: Any) -> None:
        self._buffer_owner: weakref.ref[Any] | None = None
        self.grad_buffer = None
        super().__init__(data, requires_grad=True)

    @property
    def is_bound(self) -> bool:
        """Return whether the array belongs to an optimizer that still exists."""
        return self._buffer_owner is not None and self._buffer_owner() is not None

    @property
    def data(self) -> np.ndarray:
        return self._array

    @data.setter
    def data(self, values: np.ndarray) -> None:
        if not self.is_bound:
            self._array = values
            return
        if values.dtype != self._array.dtype or values.shape != self._array.shape:
            raise TypeError(
                f"Parameter: an optimizer has bound it as {self._array.dtype} {self._array.shape}, so it cannot become "
                f"{values.dtype} {values.shape}; convert the model first, then create the optimizer"
            )
        self._array[...] = values

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.is_bound and value != self._requires_grad:
            raise RuntimeError(
                "Parameter: requires_grad cannot change after an optimizer has bound it; freeze first, then create the "
                "optimizer"
            )
        self._requires_grad = value

    def bind_buffer(self, owner: Any, array: np.ndarray, grad_buffer: np.ndarray) -> None:
        """Move the values into `array`, and store gradients in `grad_buffer`, as long as `owner` lives."""
        array[...] = self._array
        self._array, self.grad_buffer, self._buffer_owner = array, grad_buffer, weakref.ref(owner)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._buffer_owner = self.grad_buffer = None
        super().__setstate__(state)


class Module:
    """A model or a layer of one. Parameters and submodules are its attributes, also in lists, tuples and dicts.

    The names of those in `self.blocks = [Block(), …]` are blocks.0, blocks.1, …; in a dict the keys take the place of the
    numbers. Subclasses define `forward`; calling the module calls it.
    """

    training = True

    def forward(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **options: Any) -> Any:
        current = CONTEXT.get()
        if not current.observers:
            return self.forward(*args, **options)
        parent = current.module
        names = (name for name, child in parent.named_children() if child is self) if parent is not None else iter(())
        with context(module=self, scope=(*current.scope, next(names, type(self).__name__))):
            return self.forward(*args, **options)

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Yield the modules among the attributes, with their names."""
        return ((name, item) for name, item in _named_items(vars(self).items()) if isinstance(item, Module))

    def children(self) -> Iterator["Module"]:
        """Yield the modules among the attributes."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Yield this module, whose name is `prefix`, and all modules inside it, with their paths."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator["Module"]:
        """Yield this module and all modules inside it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield each distinct parameter once, under its first name: those of the module itself, then those inside it."""
        names: dict[Parameter, str] = {}
        for name, item in _named_items(vars(self).items()):
            if isinstance(item, Parameter):
                names.setdefault(item, name)
        for child_name, child in self.named_children():
            for name, parameter in child.named_parameters():
                names.setdefault(parameter, f"{child_name}.{name}")
        yield from ((name, parameter) for parameter, name in names.items())

    def parameters(self) -> Iterator[Parameter]:
        """Yield each distinct parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the arrays of all parameters by name: the arrays themselves, not copies."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, np.ndarray], *, assign: bool = False) -> Self:
        """Copy the arrays into the parameters. A ValueError for a wrong name or shape is raised before anything changes.

        With `assign`, the arrays themselves become the parameters' if they have the same dtype: no second copy is made.
        """
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
            if assign and state[name].dtype == parameter.dtype:
                parameter.data = state[name]
            else:
                parameter.copy_(state[name])
        return self

    def train(self, mode: bool = True) -> Self:
        """Set training mode (dropout on), or evaluation mode, in this module and all inside it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode: dropout off."""
        return self.train(False)

    def astype(self, dtype: Any) -> Self:
        """Convert all parameters in place; gradients are dropped."""
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(dtype)
            parameter.grad = None
        return self

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def extra_repr(self) -> str:
        """Return what `repr` shows between the parentheses: the sizes and options of a layer."""
        return ""

    def __repr__(self) -> str:
        """Return the tree of modules. Equal neighbours in a list take one line: `(blocks.0-5): 6 x Block(…)`."""
        extra = self.extra_repr()
        shown = (Module, Op) if extra else (Module, Op, Parameter)  # the sizes in `extra` are those of its parameters
        items = [(name, _text(item)) for name, item in _named_items(vars(self).items()) if isinstance(item, shown)]
        lines = [extra] if extra else []
        for (_, text), run in groupby(items, key=lambda item: (re.sub(r"(^|\.)\d+$", "", item[0]), item[1])):
            names = [name for name, _ in run]
            count = f"-{names[-1].rpartition('.')[2]}): {len(names)} x " if len(names) > 1 else "): "
            lines.append(f"({names[0]}{count}{text}")
        body = "".join(f"\n  {line}" for line in lines) + "\n" if items else extra
        return f"{type(self).__name__}({body})"

    if not TYPE_CHECKING:  # a type checker reports unknown names

        def __getattr__(self, name: str) -> Any:
            raise missing_name(f"{type(self).__name__!r} object", name)


def _named_items(attributes: Iterable[tuple[Any, Any]], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the attributes with their names; the entries of lists, tuples and dicts take the place of these."""
    for key, value in attributes:
        if isinstance(value, (list, tuple)):
            yield from _named_items(enumerate(value), f"{prefix}{key}.")
        elif isinstance(value, dict):
            yield from _named_items(value.items(), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(item: Any) -> str:
    """Return how the repr of a module shows a module, an op or a parameter inside it."""
    if isinstance(item, Parameter):
        return f"Parameter(shape={item.shape}, dtype={item.dtype})"
    return repr(item).replace("\n", "\n  ")


@contextlib.contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Set evaluation mode in a module and all inside it; after the block, restore the mode that each of them had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def no_init() -> Iterator[None]:
    """Create modules in the block with zero weights, before weights are loaded: no random number is drawn.

    These weights take no memory and are read-only until `load_state_dict` or `copy_` gives them an array.
    """
    with context(initialise=False):
        yield


def count_parameters(parameters: Iterable[Tensor]) -> int:
    """Return the total number of entries."""
    return sum(parameter.size for parameter in parameters)


def _normal(shape: tuple[int, int], std: float, rng: Rng) -> np.ndarray:
    """Draw a weight from N(0, std²); inside `no_init()` it is one zero, seen in this shape, and takes no memory."""
    if not CONTEXT.get().initialise:
        return np.broadcast_to(np.float32(0), shape)
    weight = np.random.default_rng(rng).standard_normal(shape, dtype=np.float32)
    weight *= std
    return weight


class Layer(Module):
    """A module that maps one Tensor (or one array) to a Tensor."""

    if TYPE_CHECKING:

        def __call__(self, x: Any) -> Tensor: ...


class Linear(Layer):
    """Compute y = x weightᵀ + bias, weight (out, in). Weights start with variance 1/in, biases at 0."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, rng: Rng = None) -> None:
        self.weight = Parameter(_normal((out_features, in_features), in_features**-0.5, rng))
        self.bias = Parameter(np.zeros(out_features, np.float32)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias)  # (…, in) → (…, out)

    def extra_repr(self) -> str:
        n_out, n_in = self.weight.shape
        return f"in_features={n_in}, out_features={n_out}, bias={self.bias is not None}"


class Embedding(Layer):
    """Look up one row of weight (n, d) for each id. Entries start with variance 1."""

    def __init__(self, n: int, d: int, *, rng: Rng = None) -> None:
        self.weight = Parameter(_normal((n, d), 1.0, rng))

    def forward(self, ids: np.ndarray) -> Tensor:
        return ops.embedding(self.weight, ids)  # (…) → (…, d)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class LayerNorm(Layer):
    """Normalise the d features of each token to mean 0 and variance 1, then scale and shift them."""

    def __init__(self, d: int, *, bias: bool = True, eps: float = 1e-5) -> None:
        self.weight = Parameter(np.ones(d, np.float32))
        self.bias = Parameter(np.zeros(d, np.float32)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return ops.layernorm(x, self.weight, self.bias, eps=self.eps)  # (…, d) → (…, d)

    def extra_repr(self) -> str:
        return f"{self.weight.size}, eps={self.eps}, bias={self.bias is not None}"


class RMSNorm(Layer):
    """Normalise the d features of each token to mean square 1, then scale them."""

    def __init__(self, d: int, *, eps: float = 1e-5) -> None:
        self.weight = Parameter(np.ones(d, np.float32))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return ops.rmsnorm(x, self.weight, eps=self.eps)  # (…, d) → (…, d)

    def extra_repr(self) -> str:
        return f"{self.weight.size}, eps={self.eps}"


class Dropout(Layer):
    """Set each entry to 0 with probability p in training mode; do nothing in evaluation mode."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p, the fraction of entries to drop, must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout(x, p=self.p, seed=next_seed()) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Sequential(Module):
    """Call the layers one after the other. A layer is a Module or a function: `Sequential(Linear(2, 8), ops.relu)`."""

    def __init__(self, *layers: Callable[..., Tensor]) -> None:
        for i, layer in enumerate(layers):
            setattr(self, str(i), layer)  # so parameters are named 0.weight, …

    def __iter__(self) -> Iterator[Any]:
        return (layer for name, layer in vars(self).items() if name.isdecimal())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: int) -> Any:
        return list(self)[index]

    def forward(self, x: Any) -> Any:
        for layer in self:
            x = layer(x)
        return x


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(f"module {__name__!r}", name)
