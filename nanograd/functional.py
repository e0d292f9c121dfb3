"""grad, value_and_grad, jacobian and hvp: return derivatives instead of adding them to `.grad`."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from nanograd._tensor import Tensor
from nanograd.tape import Node, accumulate_sum, backpropagate, clock, reachable

# The arguments by which the running calls of value_and_grad and jacobian differentiate
_DIFFERENTIATED: ContextVar[tuple[Tensor, ...]] = ContextVar("nanograd.differentiated", default=())


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor] = (),
    gradients: Any = None,
    *,
    retain_graph: bool = False,
) -> Any:
    """Return the gradient of the outputs with respect to the inputs: an array for one Tensor, a tuple for several.

    gradients are those of the outputs, as in `backward`; scalars may leave them out. An input may be a leaf or not; one
    that the outputs do not depend on gets zeros. `.grad` stays as it is.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> y = x * x
    >>> grad(y.sum(), [x, y])
    (array([2., 4.], dtype=float32), array([1., 1.], dtype=float32))
    """
    if callable(outputs) and not isinstance(outputs, Tensor):
        raise TypeError(
            "grad: takes Tensors that were computed, as in grad(y, x); for a function, value_and_grad(f)(x) returns the "
            "value and the gradient"
        )
    if isinstance(inputs, tuple) and not inputs:
        raise TypeError("grad: the inputs are missing; write grad(outputs, inputs)")
    ys = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    xs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    dys = [gradients] * len(ys) if gradients is None or isinstance(outputs, Tensor) else list(gradients)
    if len(dys) != len(ys):
        raise ValueError(f"grad: there are {len(ys)} outputs and {len(dys)} gradients")
    for x in xs:
        if not isinstance(x, Tensor) or not x.requires_grad:
            raise ValueError("grad: every input must be a Tensor that requires grad")
    if outer := [x for x in _DIFFERENTIATED.get() if not any(x is own for own in xs)]:
        _refuse_lost_gradients("grad", ys, lambda parent: any(parent is x for x in outer))
    keys: list[Any] = [x.node or x for x in xs]
    sums: dict[Any, np.ndarray] = {}

    def accumulate(target: Any, dx: np.ndarray, owned: bool) -> None:
        if any(target is key for key in keys):
            accumulate_sum(sums, target, dx, owned)

    roots = []
    for y, gradient in zip(ys, dys, strict=True):
        dy = y.cotangent(gradient)
        if y.node is not None:
            roots.append((y.node, dy))
        elif y.requires_grad:
            accumulate(y, dy, False)
    backpropagate(roots, accumulate, retain_graph=retain_graph, retained={key for key in keys if isinstance(key, Node)})
    results = tuple(sums[key] if key in sums else np.zeros_like(x.data) for key, x in zip(keys, xs, strict=True))
    return results[0] if isinstance(inputs, Tensor) else results


def value_and_grad(function: Callable[..., Tensor], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Turn a function that returns a scalar Tensor into one that returns its value and its gradient.

    argnums are the positions of the arguments to differentiate by: arrays, numbers or Tensors, which stay as they are.
    Other Tensors that require grad are refused, as their gradient would be lost; parameters of modules are constants.

    >>> value_and_grad(lambda x: (x * x).sum())(np.array([1.0, 3.0]))
    (10.0, array([2., 6.]))
    """
    positions = (argnums,) if isinstance(argnums, int) else argnums

    def run(*args: Any, **options: Any) -> tuple[Any, Any]:
        all_args = list(args)
        leaves = [Tensor(args[i], requires_grad=True) for i in positions]
        for i, leaf in zip(positions, leaves, strict=True):
            all_args[i] = leaf
        y = _call(function, leaves, *all_args, **options)
        gradients = grad(y, leaves)
        return y.item(), gradients[0] if isinstance(argnums, int) else gradients

    return run


def _call(function: Callable[..., Any], leaves: list[Tensor], *args: Any, **options: Any) -> Any:
    """Call the function, and refuse a result that depends on other Tensors whose gradient would be lost."""
    start = clock()
    token = _DIFFERENTIATED.set((*_DIFFERENTIATED.get(), *leaves))
    try:
        y = function(*args, **options)
    finally:
        _DIFFERENTIATED.reset(token)

    def is_lost(parent: Any) -> bool:
        if isinstance(parent, Node):
            return parent.seq < start
        return type(parent) is Tensor and not any(parent is leaf for leaf in leaves)

    if isinstance(y, Tensor):
        _refuse_lost_gradients("value_and_grad", [y], is_lost)
    return y


def _refuse_lost_gradients(name: str, ys: Sequence[Tensor], is_lost: Callable[[Any], bool]) -> None:
    """Raise RuntimeError if any y was computed from a Node or leaf for which `is_lost` holds."""
    for node in reachable([y.node for y in ys if y.node is not None]):
        if any(map(is_lost, (node, *(node.parents or ())))):
            raise RuntimeError(
                f"{name}: the function also depends on a Tensor that requires grad and is none of the inputs; there is no "
                "double backward, so its gradient would be lost: pass it as an input, or use its .detach()"
            )


def jacobian(function: Callable[[Tensor], Tensor], x: Any) -> np.ndarray:
    """Return ∂y/∂x of y = function(x), of shape (*y.shape, *x.shape), with one backward per entry of y.

    >>> jacobian(lambda x: x * x, np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    leaf = Tensor(x, requires_grad=True)
    y = _call(function, [leaf], leaf)
    rows = np.zeros((*y.shape, *leaf.shape), leaf.dtype)
    if y.requires_grad:
        for index in np.ndindex(y.shape):
            basis = np.zeros_like(y.data)
            basis[index] = 1
            rows[index] = grad(y, leaf, basis, retain_graph=True)
    return rows


def hvp(function: Callable[[Tensor], Tensor], x: Any, v: Any, *, step: float | None = None) -> np.ndarray:
    """Return the Hessian of a scalar function times v, as a central difference of gradients (no double backward).

    (∇f(x + h v) - ∇f(x - h v)) / 2h, exact to about six digits in float64 if no entry of x is far above 1,000. Unless
    `step` sets h, the entry of x that moves most moves by 1e-5 (1e-2 in float32).

    >>> hvp(lambda x: (x * x * x).sum(), np.array([1.0, 2.0]), np.array([1.0, 0.0])).round(6)
    array([6., 0.])
    """
    x = Tensor(x, requires_grad=True).data
    v = np.asarray(v.data if isinstance(v, Tensor) else v, x.dtype)
    if v.shape != x.shape:
        raise ValueError(f"hvp: x and v must have one shape, got {x.shape} and {v.shape}")
    largest = float(np.abs(v).max(initial=0))
    if largest == 0:
        return np.zeros_like(x)
    h = step or (1e-5 if x.dtype == np.float64 else 1e-2) / largest
    f = value_and_grad(function)
    return np.asarray((f(x + h * v)[1] - f(x - h * v)[1]) / (2 * h))
