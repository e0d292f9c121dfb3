"""Reasons of dropout."""

from nanograd.study.reasons.reason import Reasons

CHAPTER = 22

REASONS: dict[str, Reasons] = {
    "dropout": Reasons(
        lines=(
            "z is 0 for the dropped entries; the others are scaled up, so that the expected value stays the same.",
            "The same seed draws the same z, a constant: y is linear in x with coefficient z.",
        ),
        definitions={"z": "keep_mask(x.shape, p, seed, x.dtype)"},
        example=lambda d: ([d.normal(*d.shape)], {"p": 0.5, "seed": d.seed}),
    )
}
