"""checkpoint: keep only what goes in, and compute the rest again in backward (Chen et al. 2016, arXiv:1604.06174)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd._tensor import Tensor
from nanograd.op import CONTEXT, Needs, Op, context, no_grad
from nanograd.seeds import Seeds, current_seeds, using
from nanograd.tape import Node, accumulate_sum, backpropagate, current_accumulate


def checkpoint_forward(*xs: np.ndarray, function: Callable[..., Tensor], seeds: Seeds) -> tuple[np.ndarray, Any]:
    """Run a whole function without recording it.
    y = function(x_1, x_2, …)                              (1)
    """
    replay = seeds.copy(), CONTEXT.get()
    with no_grad(), using(seeds):
        y = function(*(Tensor(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in xs))
    return y.data, (xs, function, replay)


def checkpoint_backward(dy: np.ndarray, saved: Any, needs: Needs) -> tuple[np.ndarray | None, ...]:
    """Run (1) again, recorded and with the same random draws, and walk back through it.
    dx_k = what arrives at x_k                             (2)
    What arrives at parameters that the function uses goes where the outer walk sends its gradients.
    Check: the gradients are equal to the last bit to those without checkpoint.
    """
    xs, function, (seeds, forward_context) = saved
    outer = current_accumulate()
    leaves = [
        Tensor(x, requires_grad=need) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for x, need in zip(xs, needs, strict=True)
    ]
    found: dict[Any, np.ndarray] = {}
    own = [leaf for leaf, need in zip(leaves, needs, strict=True) if need]

    def accumulate(leaf: Any, dx: np.ndarray, owned: bool) -> None:
        if any(leaf is each for each in own):
            accumulate_sum(found, leaf, dx, owned)
        else:
            outer(leaf, dx, owned)

    changes = {**forward_context._asdict(), "observers": CONTEXT.get().observers}  # backward may run inside no_grad
    with context(**changes):
        with using(seeds.copy()):
            y = function(*leaves)
        if y.node is not None:
            backpropagate([(y.node, dy)], accumulate)
    return tuple(found.get(leaf) if need else None for leaf, need in zip(leaves, needs, strict=True))  # (2)


_checkpoint = Op(checkpoint_forward, checkpoint_backward)


def checkpoint(function: Callable[..., Tensor], *xs: Any) -> Tensor:
    """Return function(*xs), keeping only the inputs for backward, which runs the function once more.

    The gradients are the same, those of parameters inside the function too, and dropout draws the same masks. Memory
    falls to what goes in; a step computes about one forward more. xs are Tensors, arrays or anything else; the function
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
    if CONTEXT.get().grad:  # also where no input requires grad: a parameter inside may
        needs = tuple(isinstance(x, Tensor) and x.requires_grad for x in xs)
        parents = tuple((x.node or x) if need else None for x, need in zip(xs, needs, strict=True))
        out.requires_grad = True
        out.node = Node(_checkpoint, checkpoint_backward, saved, parents, needs)
    for observer in observers:
        observer.after_forward(_checkpoint, [x for x in arrays if isinstance(x, np.ndarray)], {}, y, saved, out.node)
    return out
