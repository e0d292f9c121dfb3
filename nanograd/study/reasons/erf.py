"""Reasons of erf."""

from nanograd.study.reasons.reason import Reasons

CHAPTER = 4

REASONS: dict[str, Reasons] = {
    "erf": Reasons(
        lines=(
            "The area under a bell curve from 0 to x, scaled so that y tends to 1 for large x.",
            "The derivative of an integral by its upper limit is the integrand there.",
        )
    )
}
