"""Twins of dropout."""

from nanograd.study.twins.line import Twin

GIVEN = {"dropout": {"z": "keep_mask(x.shape, p, seed, x.dtype)"}}

TWINS: dict[str, dict[int, Twin]] = {
    "dropout": {
        1: Twin("y", "x * z", "z is 0 for what is dropped; the rest is scaled up, so that the mean stays what it was."),
        2: Twin("dx", "dy * z", "The same seed draws the same z, a constant: y is a straight line in x with slope z."),
    }
}
