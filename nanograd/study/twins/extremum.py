"""Twins of maximum, minimum, clip and abs."""

from nanograd.study.twins.line import Twin

GIVEN = {"clip": {"low": "-np.inf if low is None else low", "high": "np.inf if high is None else high"}}

TWINS: dict[str, dict[int, Twin]] = {
    "maximum": {
        1: Twin(
            "y",
            "np.maximum(a, b)",
            "Of each pair the larger wins; the smaller operand is copied to the shape of the larger first.",
        ),
        2: Twin(
            "da",
            "U(dy * (a > b), a.shape)",
            "Where a is larger y is a, of slope 1; elsewhere y is b, which a does not move.",
        ),
        3: Twin(
            "db",
            "U(dy * (b > a), b.shape)",
            "Where b is larger y is b, of slope 1; elsewhere y is a, which b does not move.",
        ),
    },
    "minimum": {
        1: Twin(
            "y",
            "np.minimum(a, b)",
            "Of each pair the smaller wins; the smaller array is copied to the shape of the larger first.",
        ),
        2: Twin(
            "da",
            "U(dy * (a < b), a.shape)",
            "Where a is smaller y is a, of slope 1; elsewhere y is b, which a does not move.",
        ),
        3: Twin(
            "db",
            "U(dy * (b < a), b.shape)",
            "Where b is smaller y is b, of slope 1; elsewhere y is a, which b does not move.",
        ),
    },
    "clip": {
        1: Twin(
            "y",
            "np.minimum(np.maximum(x, low), high)",
            "Lift what is too low up to `low`, then bring what is too high down.",
        ),
        2: Twin(
            "dx",
            "dy * ((low <= x) & (x <= high))",
            "Between the ends y is x, of slope 1; beyond them y stays at the end.",
        ),
    },
    "abs": {
        1: Twin("y", "np.abs(x)", "The distance from zero, on whichever side x lies."),
        2: Twin("dx", "dy * np.sign(x)", "Right of zero y is x, of slope 1; left of it y is -x, of slope -1."),
    },
}
