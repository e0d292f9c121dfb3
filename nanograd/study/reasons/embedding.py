"""Reasons of embedding."""

import numpy as np

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reasons

CHAPTER = 21


def _example(d: Draw) -> Example:
    d.fits(len(d.shape) == 2, "a table (V, C)")
    last = d.shape[0] - 1
    return [d.normal(*d.shape), np.array([last, 0, last])], {}  # two tokens share a row


REASONS: dict[str, Reasons] = {
    "embedding": Reasons(
        lines=(
            "Every token gets a copy of the row of its id.",
            "Row v is the y of every token whose id is v, with derivative 1: sum the dy of these tokens.",
        ),
        definitions={
            "ids": "np.ravel(ids)",
            "v": "np.arange(len(weight))[:, None]",
            "dy": "dy.reshape(ids.size, weight.shape[1])",
        },
        example=_example,
    )
}
