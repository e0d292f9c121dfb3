"""Mutants that no test can catch, because they compute the same: each with its proof, by op and change."""

_UNKNOWN_SIZE = "reshape takes any negative size for the one to be found, and -2 is as good as -1"
_NEVER_USED = "where y = 0 every x - ⟨x⟩, or x, is 0 too: 0 divided by 2 is 0 divided by 1"

EQUIVALENT: dict[tuple[str, str], str] = {
    ("cross_entropy", "1 → 2 in w = dy.reshape(-1) * weight"): _UNKNOWN_SIZE,
    ("embedding", "1 → 2 in np.add.at(dweight, ids.reshape(-1), dy.reshape(ids.size, shape[1]))"): _UNKNOWN_SIZE,
    (
        "einsum",
        "2 → 3 in dx = np.einsum(spec, dy, *(each for _, each in others), optimize=len(xs) > 2)",
    ): "optimize chooses the order of the products, not what they add up to",
    ("norm", "1 → 2 in return (x * spread(dy / np.where(y == 0, 1, y), x.shape, axis),)"): _NEVER_USED,
    ("std", "1 → 2 in slope = dy / np.where(y == 0, 1, y) / n"): _NEVER_USED,
    (
        "pow",
        "1 → 2 in log = np.log(np.where((a == 0) & (b >= 0), 1, a))",
    ): "where a = 0 < b, y = 0 too, and y ln 2 is y ln 1; a = b = 0, a jump, is held by tests/nanograd/ops/test_power.py",
    (
        "pow",
        "(a == 0) & (b >= 0) → a == 0 in log = np.log(np.where((a == 0) & (b >= 0), 1, a))",
    ): "differs only where a = 0 > b and y is infinite, which no slope shows; tests/nanograd/test_edges.py holds it",
    (
        "prod",
        "tuple(range(x.ndim)) → range(x.ndim) in axes = tuple(range(x.ndim)) if axis is None else tuple((a % x.ndim for "
        "a in ((axis,) if isinstance(axis, int) else axis)))",
    ): "a range holds the same axes as its tuple",
}
