"""Reasons of masked_fill, tril, triu and where."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reasons

CHAPTER = 8


def _triangle(d: Draw) -> Example:
    return [d.normal(*d.axes(2, "two axes, rows and columns"))], {}


REASONS: dict[str, Reasons] = {
    "masked_fill": Reasons(
        lines=(
            "One value replaces all masked entries.",
            "Where mask is True, y is a constant; elsewhere y is x with derivative 1.",
        ),
        example=lambda d: ([d.normal(*d.shape), d.mask(*d.shape)], {"value": -9.0}),
    ),
    "tril": Reasons(
        lines=(
            "Keep the entries on the k-th diagonal and below it.",
            "∂y/∂x is 1 for an entry that is kept and 0 for one that is cleared.",
        ),
        example=_triangle,
    ),
    "triu": Reasons(
        lines=(
            "Keep the entries on the k-th diagonal and above it.",
            "∂y/∂x is 1 for an entry that is kept and 0 for one that is cleared.",
        ),
        example=_triangle,
    ),
    "where": Reasons(
        lines=(
            "Each entry comes from a or from b, after broadcasting.",
            "Where the condition is True, y is a with derivative 1, elsewhere y does not depend on a; then sum "
            "over the copies of each a.",
            "y depends on b exactly where it does not depend on a; then sum over the copies of each b.",
        ),
        example=lambda d: ([d.mask(*d.shape), d.normal(*d.shape), d.normal(*d.shape[-1:])], {}),
    ),
}
