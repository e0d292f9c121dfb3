"""Reasons of abs, clip, maximum and minimum."""

from nanograd.study import draw
from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reasons

CHAPTER = 7


def _larger(d: Draw) -> Example:
    return [d.apart(*d.shape), d.apart(*d.shape[-1:]) + 0.1], {}


REASONS: dict[str, Reasons] = {
    "abs": Reasons(
        lines=(
            "The distance from zero.",
            "For positive x, y is x with derivative 1; for negative x, y is -x with derivative -1.",
        ),
        example=draw.apart(),
    ),
    "clip": Reasons(
        lines=(
            "Values below `low` are raised to it, then values above `high` are lowered to it.",
            "Between the bounds y is x with derivative 1; outside them y is constant.",
        ),
        definitions={"low": "-np.inf if low is None else low", "high": "np.inf if high is None else high"},
        example=draw.apart(low=-1.0, high=1.0),
    ),
    "maximum": Reasons(
        lines=(
            "The larger of each pair, after broadcasting.",
            "Where a is larger, y is a with derivative 1; elsewhere y does not depend on a.",
            "Where b is larger, y is b with derivative 1; elsewhere y does not depend on b.",
        ),
        example=_larger,
    ),
    "minimum": Reasons(
        lines=(
            "The smaller of each pair, after broadcasting.",
            "Where a is smaller, y is a with derivative 1; elsewhere y does not depend on a.",
            "Where b is smaller, y is b with derivative 1; elsewhere y does not depend on b.",
        ),
        example=_larger,
    ),
}
