"""A shard: the forward and the backward of some rows of a batch.

NumPy's matrix products use all cores, but its elementwise functions use one. Splitting each op over threads is slower,
because the threads of BLAS compete with ours. Instead we split the batch: each thread, process or machine runs the whole
model on its rows, with products that use one thread. This costs a set of gradients for each.
"""

from collections.abc import Callable

import numpy as np

from nanograd._tensor import Tensor
from nanograd.op import region
from nanograd.runtime.threads import available_threads
from nanograd.tape import Accumulate, backpropagate


def forward_backward(shard: Callable[[], Tensor], gradient: float, accumulate: Accumulate) -> float:
    """Run one shard forward and backward, with `accumulate` as the callback of the walk; return its loss."""
    with region("shards"):
        loss = shard()
        dy = loss.cotangent(np.full(loss.shape, gradient, loss.dtype))
        if loss.node is not None:
            backpropagate([(loss.node, dy)], accumulate)
    return float(loss.item())


def choose_shards(batch_size: int, context_length: int) -> int:
    """Return the number of shards for a batch: one per thread, each of at least 256 tokens.

    With fewer tokens, the second set of gradients costs as much as the threads save.
    """
    return max(1, min(available_threads(), batch_size, batch_size * context_length // 256))
