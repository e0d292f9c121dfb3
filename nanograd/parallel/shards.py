"""A step in shards of the batch: one thread a shard, each with a tape and gradient sums of its own, then one sum.

NumPy's elementwise functions use one core, and its products use all: half of a step leaves cores idle. Splitting single
ops over threads loses, since BLAS has threads too and they contend. Splitting the *batch* doubles everything at once: each
thread runs the whole model on its rows, with products that use one thread each. It costs a second set of gradients.

A shard is a function that returns a loss; where it runs does not matter to the result, so that a rank on another machine
could be one more shard. The sums are added in the order of the shards: results depend on their number, never on timing.
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
    """Run one shard forward and backward, its gradients through `accumulate`; return its loss."""
    with region("shards"):
        loss = shard()
        dy = loss.cotangent(np.full(loss.shape, gradient, loss.dtype))
        if loss.node is not None:
            backpropagate([(loss.node, dy)], accumulate)
    return float(loss.item())


def gradients(shard: Callable[[], Tensor], gradient: float = 1.0) -> tuple[float, Gradients]:
    """Run one shard forward and backward; return its loss and its gradient sums, touching no `.grad`."""
    sums: Gradients = {}
    return forward_backward(shard, gradient, partial(accumulate_sum, sums)), sums


def backward(shards: Sequence[Callable[[], Tensor]], gradient: float = 1.0) -> list[float]:
    """Run all shards, add their gradients to `.grad` in their order, and return their losses."""
    if len(shards) == 1:
        return [
            forward_backward(shards[0], gradient, accumulate_grad)
        ]  # no sums of its own: half a model less of memory
    results = run([partial(gradients, shard, gradient) for shard in shards])
    with region("gradient sums"):
        arrived: dict[Tensor, list[np.ndarray]] = {}
        for _, sums in results:
            for leaf, dx in sums.items():
                arrived.setdefault(leaf, []).append(dx)
        parallel_map(lambda leaf: accumulate_grads(leaf, arrived[leaf]), list(arrived), [leaf.size for leaf in arrived])
    return [loss for loss, _ in results]


def choose_shards(batch_size: int, context_length: int) -> int:
    """Return into how many shards to split a batch: one a thread, each of at least 256 tokens.

    Fewer tokens do not make up for a second set of gradients; there, threads inside each product are as good.
    """
    if not blas.can_set_threads():
        return 1
    return max(1, min(available_threads(), batch_size, batch_size * context_length // 256))
