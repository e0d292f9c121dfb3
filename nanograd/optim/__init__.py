"""Optimizers. In the order to read:

- `adamw.py`     SGD and AdamW
- `muon.py`      Muon, which makes the update of a matrix orthogonal
- `clipping.py`  gradient clipping
- `schedule.py`  the learning rate over the steps
"""

from typing import TYPE_CHECKING, Any

from nanograd.optim.adamw import CHUNK, SGD, AdamW, name_parameters
from nanograd.optim.clipping import (
    check_max_norm,
    clip_factor,
    clip_grad_norm,
    norm_of,
    pieces_of,
    root_of_sum,
    sums_of_squares,
)
from nanograd.optim.muon import Muon, newton_schulz
from nanograd.optim.schedule import scheduled, warmup_cosine
from nanograd.runtime.pytorch_names import missing_name

__all__ = [
    "CHUNK",
    "SGD",
    "AdamW",
    "Muon",
    "check_max_norm",
    "clip_factor",
    "clip_grad_norm",
    "name_parameters",
    "newton_schulz",
    "norm_of",
    "pieces_of",
    "root_of_sum",
    "scheduled",
    "sums_of_squares",
    "warmup_cosine",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(f"module {__name__!r}", name)
