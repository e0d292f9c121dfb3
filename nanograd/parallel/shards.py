"""Run a training step in shards of the batch, one thread per shard, and add their gradients in a fixed order.

NumPy's matrix products use all cores, but its elementwise functions use one. Splitting each op over threads is slower,
because the threads of BLAS compete with ours. Instead we split the batch: each thread runs the whole model on its rows,
with products that use one thread. This costs a second set of gradients.

A shard is a function that returns a loss. Gradients are added in the order of the shards, so results depend on the number
of shards, but never on threads or timing.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from nanograd._tensor import Tensor
from nanograd.op import region
from nanograd.runtime import blas
from nanograd.runtime.threads import available_threads, parallel_map, run
from nanograd.tape import Accumulate, accumulate_grad, accumulate_grads, accumulate_sum, backpropagate

Gradients = dict[Tensor, np.ndarray]


def forward_backward(shard: Callable[[], Tensor], gradient: float, accumulate: Accumulate) -> float:
    """Run one shard forward and backward, with `accumulate` as the callback of the walk; return its loss."""
    with region("shards"):
        loss = shard()
        dy = loss.cotangent(np.full(loss.shape, gradient, loss.dtype))
        if loss.node is not None:
            backpropagate([(loss.node, dy)], accumulate)
    return float(loss.item())


def gradients(shard: Callable[[], Tensor], gradient: float = 1.0) -> tuple[float, Gradients]:
    """Run one shard forward and backward; return its loss and its gradients, and leave `.grad` as it is."""
    sums: Gradients = {}
    return forward_backward(shard, gradient, partial(accumulate_sum, sums)), sums


def backward(shards: Sequence[Callable[[], Tensor]], gradient: float = 1.0) -> list[float]:
    """Run all shards, add their gradients to `.grad` in the order of the shards, and return their losses."""
    if len(shards) == 1:  # it adds to `.grad` directly, which saves one set of gradients
        return [forward_backward(shards[0], gradient, accumulate_grad)]
    results = run([partial(gradients, shard, gradient) for shard in shards])
    with region("gradient sums"):
        received: dict[Tensor, list[np.ndarray]] = {}
        for _, sums in results:
            for leaf, dx in sums.items():
                received.setdefault(leaf, []).append(dx)
        leaves = list(received)
        parallel_map(lambda leaf: accumulate_grads(leaf, received[leaf]), leaves, [leaf.size for leaf in leaves])
    return [loss for loss, _ in results]


def choose_shards(batch_size: int, context_length: int) -> int:
    """Return the number of shards for a batch: one per thread, each of at least 256 tokens.

    With fewer tokens, the second set of gradients costs as much as the threads save.
    """
    if not blas.can_set_threads():
        return 1
    return max(1, min(available_threads(), batch_size, batch_size * context_length // 256))
