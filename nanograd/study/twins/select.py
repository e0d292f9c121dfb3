"""Twins of where, masked_fill, tril and triu."""

from nanograd.study.twins.line import Twin

_PLACES = {"i": "np.arange(x.shape[-2])[:, None]", "j": "np.arange(x.shape[-1])"}  # row and column of each entry
GIVEN = {"tril": _PLACES, "triu": _PLACES}

TWINS: dict[str, dict[int, Twin]] = {
    "where": {
        1: Twin(
            "y",
            "np.where(condition, a, b)",
            "Each entry comes from one of two places; all three arrays are copied to one shape first.",
        ),
        2: Twin(
            "da",
            "U(np.where(condition, dy, 0), a.shape)",
            "Where a was taken y is a, of slope 1, elsewhere a has no part in y; then add over the copies of each a.",
        ),
        3: Twin(
            "db",
            "U(np.where(condition, 0, dy), b.shape)",
            "b has a part in y exactly where a has none; then add over the copies of each b.",
        ),
    },
    "masked_fill": {
        1: Twin("y", "np.where(mask, value, x)", "Paint the masked entries over with one value."),
        2: Twin("dx", "np.where(mask, 0, dy)", "Under the mask y is a constant, beside it y is x, of slope 1."),
    },
    "tril": {
        1: Twin("y", "x * (j <= i + k)", "Keep the entries on the k-th diagonal and to the left of it."),
        2: Twin("dx", "dy * (j <= i + k)", "A kept entry moves y one for one, a cleared one does not move it."),
    },
    "triu": {
        1: Twin("y", "x * (j >= i + k)", "Keep the entries on the k-th diagonal and to the right of it."),
        2: Twin("dx", "dy * (j >= i + k)", "A kept entry moves y one for one, a cleared one does not move it."),
    },
}
