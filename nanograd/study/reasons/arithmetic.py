"""Reasons of add, astype, div, mul, neg and sub."""

import numpy as np

from nanograd.study import draw
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 1

REASONS: dict[str, Reasons] = {
    "add": Reasons(
        lines=(
            "The operands are added entry by entry; an operand that is broadcast is added in several entries of y.",
            "∂y/∂a is 1 for each y that a was broadcast to, so da is the sum of their dy.",
            "a and b enter y alike, so db is the sum of dy over the copies of b.",
        ),
        example=draw.row_operand,
    ),
    "astype": Reasons(
        lines=(
            Reason("Each entry becomes the nearest number that the new dtype has.", words="{}.astype(dtype)"),
            Reason(
                "Averaged over many numbers, rounding is the identity y = x, whose derivative is 1.",
                words="{}.astype(x.dtype)",
            ),
        ),
        example=draw.normal(dtype=np.float64),
    ),
    "div": Reasons(
        lines=(
            "The operands are divided entry by entry, after broadcasting.",
            "With b constant, y is linear in a with coefficient 1/b.",
            "The derivative of 1/b is -1/b²; and a/b is y.",
            "Multiply (2) by dy and sum over the copies of each a.",
            "Multiply (3) by dy, which gives -t y, and sum over the copies of each b.",
        ),
        definitions={"t": "dy / b"},
        example=lambda d: ([d.normal(*d.shape), d.positive(*d.shape[-1:])], {}),
    ),
    "mul": Reasons(
        lines=(
            "The operands are multiplied entry by entry, after broadcasting.",
            "With b constant, y is linear in a with coefficient b.",
            "With a constant, y is linear in b with coefficient a.",
        ),
        example=draw.row_operand,
    ),
    "neg": Reasons(lines=("Every number changes its sign.", "y is linear in x with coefficient -1.")),
    "sub": Reasons(
        lines=(
            "The operands are subtracted entry by entry, after broadcasting.",
            "With b constant, ∂y/∂a is 1.",
            "With a constant, ∂y/∂b is -1.",
        ),
        example=draw.row_operand,
    ),
}
