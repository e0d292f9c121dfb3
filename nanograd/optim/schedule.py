"""Schedules of the learning rate: how it rises, and how it falls, over the steps of a run.

All begin with a linear warmup to lr. Then

    cosine    falls from the first step after the warmup, slowly, fast, slowly
    linear    falls evenly
    wsd       stays (warmup, stable, decay), and falls evenly in the last `decay_steps`: a trapezoid. Until it falls, the
              rate does not depend on max_steps: such a run can be prolonged as if it had been longer from the start
    constant  stays

(cosine: Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5; wsd: Zhai et al. 2022, arXiv:2106.04560, section 3.5,
and Hägele et al. 2024, arXiv:2405.18392.)
"""

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


def scheduled(
    schedule: str, step: int, *, lr: float, min_lr: float, warmup_steps: int, max_steps: int, decay_steps: int
) -> float:
    """Return the learning rate of a step (from 0) by a schedule: cosine, linear, wsd or constant.

    >>> rates = {"lr": 1.0, "min_lr": 0.0, "warmup_steps": 2, "max_steps": 10, "decay_steps": 4}
    >>> [scheduled("wsd", step, **rates) for step in (0, 1, 5, 6, 8, 9)]
    [0.5, 1.0, 1.0, 1.0, 0.5, 0.25]
    >>> [scheduled("linear", step, **rates) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    """
    if schedule == "cosine":
        return warmup_cosine(step, lr=lr, min_lr=min_lr, warmup_steps=warmup_steps, max_steps=max_steps)
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    first = {"linear": warmup_steps, "wsd": max(warmup_steps, max_steps - decay_steps), "constant": max_steps}[schedule]
    progress = min(1.0, max(0, step - first) / max(1, max_steps - first))
    return lr + (min_lr - lr) * progress
