"""checkpoint: keep only the inputs of a function, and compute it again in backward (Chen et al. 2016, arXiv:1604.06174)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd._tensor import Tensor
from nanograd.op import CONTEXT, Gradients, Needs, Op, context, no_grad
from nanograd.seeds import Seeds, current_seeds, use_seeds
from nanograd.tape import Node, accumulate_sum, backpropagate, current_accumulate


def checkpoint_forward(*xs: np.ndarray, function: Callable[..., Tensor], seeds: Seeds) -> tuple[np.ndarray, Any]:
    """Run a whole function without recording it.
    y = function(x_1, x_2, …)                              (1)
    """
    replay = seeds.copy(), CONTEXT.get()
    with no_grad(), use_seeds(seeds):
        y = function(*(Tensor(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in xs))
    return y.data, (xs, function, replay)


def checkpoint_backward(dy: np.ndarray, saved: Any, needs: Needs) -> Gradients:
    """Run (1) again, recorded and with the same random draws, and walk back through it.
    dx_k = the gradient that the walk brings to x_k        (2)
    Gradients of parameters inside the function go to the callback of the outer walk.
    Check: the gradients are equal to the last bit to those without checkpoint.
    """
    xs, function, (seeds, forward_context) = saved
    outer = current_accumulate()
    leaves = [
        Tensor(x, requires_grad=need) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for x, need in zip(xs, needs, strict=True)
    ]
    sums: dict[Any, np.ndarray] = {}
    own = [leaf for leaf, need in zip(leaves, needs, strict=True) if need]

    def accumulate(leaf: Any, dx: np.ndarray, owned: bool) -> None:
        if any(leaf is x for x in own):
            accumulate_sum(sums, leaf, dx, owned)
        else:
            outer(leaf, dx, owned)

    changes = {**forward_context._asdict(), "observers": CONTEXT.get().observers}  # backward may run inside no_grad
    with context(**changes):
        with use_seeds(seeds.copy()):
            y = function(*leaves)
        if y.node is not None:
            backpropagate([(y.node, dy)], accumulate)
    return tuple(sums.get(leaf) if need else None for leaf, need in zip(leaves, needs, strict=True))  # (2)


_checkpoint = Op(checkpoint_forward, checkpoint_backward)


def checkpoint(function: Callable[..., Tensor], *xs: Any) -> Tensor:
    """Return function(*xs), saving only the inputs for backward, which runs the function again.

    The gradients are the same, also those of parameters inside the function, and dropout draws the same masks. The tape
    holds only the inputs; a step computes about one more forward. xs are Tensors, arrays or anything else; the function
    returns one Tensor.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: (x * x).sum(), x).backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
    """
    arrays = [x.data if isinstance(x, Tensor) else x for x in xs]
    observers = CONTEXT.get().observers
    for observer in observers:
        observer.before_forward(_checkpoint)
    y, saved = checkpoint_forward(*arrays, function=function, seeds=current_seeds())
    out = Tensor(y)
    if CONTEXT.get().grad:  # even if no input requires grad: a parameter inside may
        needs = tuple(isinstance(x, Tensor) and x.requires_grad for x in xs)
        parents = tuple((x.node or x) if need else None for x, need in zip(xs, needs, strict=True))
        out.requires_grad = True
        out.node = Node(_checkpoint, checkpoint_backward, saved, parents, needs)
    for observer in observers:
        observer.after_forward(_checkpoint, [x for x in arrays if isinstance(x, np.ndarray)], {}, y, saved, out.node)
    return out
