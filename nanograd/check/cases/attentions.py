"""Cases of attention, packed_attention and rope."""

import numpy as np

from nanograd.check.cases.case import Case, Make, booleans, case, exactly, none, normal, strided, transposed


def _qkv(*batch: int, t: int = 3, s: int = 3, d: int = 2, e: int = 2) -> tuple[Make, Make, Make]:
    return normal(*batch, t, d), normal(*batch, s, d), normal(*batch, s, e)


_LOWER = exactly([[True, False, False], [True, True, False], [True, True, True]])
_BLIND = exactly([[True, True, False], [False, False, False], [False, True, False]])

CASES: dict[str, list[Case]] = {
    "attention": [
        case("two query heads a key head", normal(4, 3, 2), normal(2, 3, 2), normal(2, 3, 2), causal=True),
        case("one key head for all", normal(2, 3, 4, 2), normal(2, 1, 4, 2), normal(2, 1, 4, 3)),
        case("grouped, mask, dropout", normal(4, 3, 2), normal(2, 3, 2), normal(2, 3, 2), _BLIND, dropout=0.3, seed=1),
        case("one head", *_qkv()),
        case("heads", *_qkv(2, 1)),
        case("values of another size", *_qkv(2, e=3)),
        case("mask left out by None", *_qkv(), none()),
        case("causal", *_qkv(2), causal=True),
        case("causal, fewer queries", *_qkv(t=2, s=4), causal=True),
        case("causal, fewer keys", *_qkv(t=4, s=2), causal=True),
        case("two and a half blocks, causal", *_qkv(2, 1, t=5, s=5), causal=True),
        case("two and a half blocks, dropout", *_qkv(2, t=5, s=3), dropout=0.3, seed=2),
        case("two and a half blocks, more keys", *_qkv(t=5, s=7), causal=True),
        case("five axes", *_qkv(2, 1, 2), booleans(2, 1, 2, 3, 3), causal=True),
        case("fewer queries", *_qkv(2, t=1, s=4)),
        case("a mask for all heads", *_qkv(2, 2), _LOWER),
        case("a mask a head", *_qkv(2), booleans(2, 3, 3)),
        case("a mask over keys", *_qkv(2), exactly([True, False, True])),
        case("a mask over queries", *_qkv(2), exactly([[True], [False], [True]])),
        case("one mask entry for all", *_qkv(), exactly(True)),
        case("a query that sees nothing", *_qkv(2), _BLIND),
        case("a query that sees nothing, causal", *_qkv(), _BLIND, causal=True),
        case("no query sees anything", *_qkv(2), exactly(np.zeros((3, 3), bool))),
        case("scale", *_qkv(2), scale=0.3),
        case("scale zero", *_qkv(2), scale=0.0),
        case("dropout", *_qkv(2), dropout=0.4, seed=3),
        case("dropout, causal, a mask", *_qkv(2), _BLIND, causal=True, dropout=0.5, seed=1),
        case("large scores", *_qkv(), scale=60.0),
        case("one token", *_qkv(1, t=1, s=1)),
        case("no queries", *_qkv(2, t=0)),
        case("no keys", *_qkv(2, s=0)),
        case("no batch", *_qkv(0)),
        case("column order", *[transposed(x) for x in _qkv(2)], causal=True),
        case("strided", *[strided(x) for x in _qkv(2, e=3)], causal=True),
    ],
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
        case("grouped, mask, dropout", normal(3, 8), _BLIND, n_heads=2, n_kv_heads=1, dropout=0.4, seed=1),
        case("more axes before time", normal(2, 2, 3, 6), n_heads=2, causal=True),
        case("more axes and a mask", normal(2, 2, 3, 3), booleans(2, 2, 1, 3, 3), n_heads=1),
        case("scale", normal(3, 6), n_heads=1, scale=0.3),
        case("large scores", normal(3, 6), n_heads=1, scale=60.0),
        case("one token", normal(2, 1, 6), n_heads=2),
        case("no tokens", normal(2, 0, 6), n_heads=2, causal=True),
        case("no batch", normal(0, 3, 6), n_heads=2),
        case("column order", transposed(normal(3, 6)), n_heads=2, causal=True),
        case("strided", strided(normal(3, 6)), n_heads=2, causal=True),
    ],
    "rope": [
        case("halves", normal(3, 4)),
        case("interleaved", normal(3, 4), interleaved=True),
        case("heads", normal(2, 2, 3, 4)),
        case("heads, interleaved", normal(2, 2, 3, 4), interleaved=True),
        case("heads, of which two are rotated", normal(2, 3, 2, 4), rotated=2),
        case("heads, of which none is rotated", normal(2, 3, 4), rotated=0),
        case("heads, of which one is rotated, interleaved", normal(3, 2, 4), rotated=1, interleaved=True),
        case("one pair", normal(3, 2)),
        case("later positions", normal(2, 4), positions=np.array([5, 9])),
        case("positions a sequence", normal(2, 3, 4), positions=np.array([[0, 1, 2], [7, 8, 9]])),
        case("another base", normal(3, 4), base=100.0),
        case("no tokens", normal(0, 4)),
        case("column order", transposed(normal(3, 4))),
        case("strided", strided(normal(3, 4)), interleaved=True),
    ],
}
