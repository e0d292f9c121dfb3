"""Schedules of the learning rate."""

import math


def warmup_cosine(step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> float:
    """Return the learning rate of a step (from 0): linear warmup to lr, then cosine decay to min_lr at max_steps.

    The first step has the rate lr / warmup_steps, not 0. (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5.)

    >>> [warmup_cosine(step, lr=1.0, min_lr=0.0, warmup_steps=4, max_steps=12) for step in (0, 3, 4, 8)]
    [0.25, 1.0, 1.0, 0.5]
    """
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
