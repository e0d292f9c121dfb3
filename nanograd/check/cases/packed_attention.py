"""Cases of packed_attention."""

import numpy as np

from nanograd.check.cases.case import Case, booleans, case, exactly, none, normal, strided, transposed

_BLIND = exactly([[True, True, False], [False, False, False], [False, True, False]])

CASES: dict[str, list[Case]] = {
    "packed_attention": [
        case("one head", normal(3, 6), n_heads=1),
        case("two heads, causal", normal(2, 3, 12), n_heads=2, causal=True),
        case("two query heads a key head", normal(2, 3, 8), n_heads=2, n_kv_heads=1, causal=True),
        case("four query heads, two key heads", normal(1, 2, 8), n_heads=4, n_kv_heads=2),
        case("two and a half blocks", normal(5, 6), n_heads=1, causal=True),
        case("two and a half blocks, dropout", normal(2, 5, 6), n_heads=2, causal=True, dropout=0.3, seed=4),
        case("mask left out by None", normal(3, 6), none(), n_heads=2),
        case("a mask for all heads", normal(2, 3, 6), _BLIND, n_heads=2),
        case("a mask a head, causal", normal(3, 6), booleans(2, 3, 3), n_heads=2, causal=True),
        case("a mask over keys", normal(2, 3, 6), exactly([True, False, True]), n_heads=1),
        case("no query sees anything", normal(3, 6), exactly(np.zeros((3, 3), bool)), n_heads=2),
        case("grouped, masked, dropout", normal(3, 8), _BLIND, n_heads=2, n_kv_heads=1, dropout=0.4, seed=1),
        case("more axes before time", normal(2, 2, 3, 6), n_heads=2, causal=True),
        case("more axes and a mask", normal(2, 2, 3, 3), booleans(2, 2, 1, 3, 3), n_heads=1),
        case("scale", normal(3, 6), n_heads=1, scale=0.3),
        case("large scores", normal(3, 6), n_heads=1, scale=60.0),
        case("one token", normal(2, 1, 6), n_heads=2),
        case("no tokens", normal(2, 0, 6), n_heads=2, causal=True),
        case("no batch", normal(0, 3, 6), n_heads=2),
        case("column order", transposed(normal(3, 6)), n_heads=2, causal=True),
        case("strided", strided(normal(3, 6)), n_heads=2, causal=True),
    ]
}
