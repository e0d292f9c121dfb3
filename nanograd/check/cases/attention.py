"""Cases of attention."""

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
        case(
            "grouped, masked, dropout", normal(4, 3, 2), normal(2, 3, 2), normal(2, 3, 2), _BLIND, dropout=0.3, seed=1
        ),
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
    ]
}
