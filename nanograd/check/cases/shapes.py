"""Cases of reshape, transpose, expand_dims, squeeze, broadcast_to, getitem, concat and stack."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import Case, case, normal, on_shapes, strided, transposed


def _take(label: str, *shape: int, index: Any) -> Case:
    return case(label, normal(*shape), index=index)


_BASIC = [
    _take("one row", 3, 2, index=1),
    _take("last row", 3, 2, index=-1),
    _take("one entry", 3, 2, index=(1, 0)),
    _take("slice", 5, index=slice(1, 4)),
    _take("every second", 5, index=slice(None, None, 2)),
    _take("backwards", 4, index=slice(None, None, -1)),
    _take("slice of nothing", 4, index=slice(2, 2)),
    _take("slices", 3, 4, index=(slice(1, None), slice(None, -1))),
    _take("one column", 3, 2, index=(slice(None), 1)),
    _take("ellipsis", 2, 2, 3, index=(..., 0)),
    _take("ellipsis alone", 2, 3, index=...),
    _take("ellipsis in the middle", 2, 2, 3, index=(1, ..., slice(0, 2))),
    _take("new axis", 3, index=(slice(None), None)),
    _take("new axis in front", 3, index=None),
    _take("nothing indexed", 2, 3, index=()),
    _take("a number", index=()),
    _take("a number, new axis", index=(None, ...)),
    _take("NumPy integer", 3, 2, index=np.int64(1)),
    _take("no entries", 0, 3, index=(slice(None), 1)),
]
_ARRAYS = [
    _take("integer array", 4, index=np.array([2, 0])),
    _take("repeats", 4, index=np.array([2, 2, 0, 2])),
    _take("negative repeats", 3, index=np.array([-1, 2, 0])),
    _take("repeated rows", 3, 2, index=np.array([[1, 1], [0, 1]])),
    _take("repeated columns", 2, 3, index=(slice(None), np.array([1, 1, 0]))),
    _take("pairs", 3, 3, index=(np.array([0, 1, 0]), np.array([2, 1, 2]))),
    _take("grid", 3, 3, index=(np.array([[0], [2]]), np.array([1, 1]))),
    _take("integer and array", 2, 3, index=(1, np.array([0, 0, 2]))),
    _take("array, ellipsis, array", 2, 2, 3, index=(np.array([0, 1, 1]), ..., np.array([2, 0, 0]))),
    _take("array, new axis, slice", 3, 3, index=(np.array([1, 1]), None, slice(0, 2))),
    _take("no integers", 4, index=np.zeros(0, np.int64)),
    _take("one integer as array", 3, 2, index=np.array(1)),
    _take("unsigned", 4, index=np.array([3, 3], np.uint8)),
]
_MASKS = [
    _take("mask", 4, index=np.array([True, False, True, False])),
    _take("mask over two axes", 2, 3, index=np.array([[True, False, True], [False, False, True]])),
    _take("mask of rows", 3, 2, index=np.array([True, False, True])),
    _take("mask of columns", 2, 3, index=(slice(None), np.array([True, False, True]))),
    _take("mask of nothing", 3, index=np.zeros(3, bool)),
    _take("mask and integer", 3, 2, index=(np.array([True, False, True]), 1)),
    _take("mask and repeats", 3, 2, index=(np.array([True, False, True]), np.array([1, 1]))),
    _take("one as mask", 2, index=True),
]

CASES: dict[str, list[Case]] = {
    "reshape": [
        case("matrix to matrix", normal(2, 6), shape=(3, 4)),
        case("unknown size", normal(2, 6), shape=(3, -1)),
        case("flat", normal(2, 3), shape=-1),
        case("flat by size", normal(2, 3), shape=6),
        case("one entry to a number", normal(1), shape=()),
        case("a number to a matrix", normal(), shape=(1, 1)),
        case("no entries", normal(0, 3), shape=(3, 0)),
        case("no entries, flat", normal(2, 0), shape=-1),
        case("column order", transposed(normal(3, 2)), shape=(2, 3)),
        case("strided", strided(normal(2, 3)), shape=(3, 2)),
    ],
    "transpose": [
        *on_shapes(normal),
        case("three axes", normal(2, 3, 4)),
        case("a cycle", normal(2, 3, 4), axes=(1, 2, 0)),
        case("a cycle from the end", normal(2, 3, 4), axes=(-1, 0, 1)),
        case("a swap", normal(1, 2, 3, 2), axes=(0, 2, 1, 3)),
        case("nothing moves", normal(2, 3), axes=(0, 1)),
    ],
    "expand_dims": [
        case("in front", normal(2, 3), axis=0),
        case("at the end", normal(2, 3), axis=-1),
        case("between", normal(2, 3), axis=1),
        case("two", normal(2, 3), axis=(0, 2)),
        case("two from the end", normal(2, 3), axis=(-1, -3)),
        case("a number", normal(), axis=0),
        case("no entries", normal(0, 2), axis=1),
        case("column order", transposed(normal(3, 2)), axis=1),
        case("strided", strided(normal(2, 3)), axis=0),
    ],
    "squeeze": [
        case("all", normal(1, 3, 1)),
        case("the first", normal(1, 3, 1), axis=0),
        case("the last", normal(1, 3, 1), axis=-1),
        case("two", normal(1, 3, 1), axis=(0, 2)),
        case("nothing to drop", normal(2, 3)),
        case("to a number", normal(1, 1)),
        case("a number", normal()),
        case("no entries", normal(0, 1)),
        case("strided", strided(normal(2, 1, 3))),
    ],
    "broadcast_to": [
        case("a new axis", normal(3), shape=(2, 3)),
        case("two new axes", normal(2), shape=(2, 3, 2)),
        case("stretched", normal(2, 1), shape=(2, 3)),
        case("new and stretched", normal(2, 1), shape=(2, 2, 3)),
        case("a number", normal(), shape=(2, 3)),
        case("a number to a number", normal(), shape=()),
        case("nothing to do", normal(2, 3), shape=(2, 3)),
        case("to no entries", normal(1, 3), shape=(0, 3)),
        case("column order", transposed(normal(3, 2)), shape=(2, 3, 2)),
        case("strided", strided(normal(3)), shape=(2, 3)),
    ],
    "getitem": [
        *_BASIC,
        *_ARRAYS,
        *_MASKS,
        case("column order", transposed(normal(3, 2)), index=(slice(None), 0)),
        case("strided", strided(normal(2, 3)), index=(0, np.array([1, 1]))),
    ],
    "concat": [
        case("two", normal(2, 3), normal(1, 3)),
        case("three of different sizes", normal(2), normal(1), normal(3)),
        case("last axis", normal(2, 1), normal(2, 3), axis=-1),
        case("middle axis", normal(2, 1, 2), normal(2, 2, 2), axis=1),
        case("one alone", normal(2, 3)),
        case("an empty one", normal(2), normal(0), normal(1)),
        case("no entries", normal(0, 2), normal(0, 3), axis=1),
        case("column order", transposed(normal(3, 2)), normal(3, 2), axis=1),
        case("strided", strided(normal(2, 3)), strided(normal(1, 3))),
    ],
    "stack": [
        case("two", normal(2, 3), normal(2, 3)),
        case("three", normal(2), normal(2), normal(2)),
        case("last axis", normal(2, 3), normal(2, 3), axis=-1),
        case("middle axis", normal(2, 3), normal(2, 3), axis=1),
        case("numbers", normal(), normal(), normal()),
        case("one alone", normal(3)),
        case("no entries", normal(0, 2), normal(0, 2), axis=1),
        case("column order", transposed(normal(3, 2)), normal(3, 2), axis=1),
        case("strided", strided(normal(2, 3)), strided(normal(2, 3)), axis=-1),
    ],
}
