"""Tensors that still lie in their files: their shapes are known, their numbers are read one tensor at a time.

So a model can be filled with little more memory than it takes itself, and everything about the shapes is checked before
a number is read.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpt.runs.safetensors import Entry, map_tensor

BLOCK = 1 << 22  # bytes that are read at a time, of a tensor whose rows can be read alone
FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class Stored:
    """One tensor in a file: `where` names it in errors, `read` gives its numbers, as a view of the file if it can.

    dtype is called as in safetensors. `rows`, where a part can be read alone, gives the rows from one to another.
    """

    where: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    dtype: str = "F32"
    rows: Callable[[int, int], np.ndarray] | None = None


class Link(NamedTuple):
    """How one of our tensors is written elsewhere: as `theirs`, which stacked row upon row are ours.

    GPT-2's matrices are (in, out) there, ours (out, in): `transposed` says so, and `shapes` are theirs.
    """

    ours: str
    theirs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    transposed: bool = False


class Weights(Mapping[str, np.ndarray]):
    """Our tensors by name, each read when it is asked for.

    Raises ValueError, naming the tensor, for one that holds NaN or infinity.
    """

    def __init__(self, stored: Mapping[str, Stored]) -> None:
        self.stored = stored

    def __getitem__(self, name: str) -> np.ndarray:
        return _checked(self.stored[name].read(), self.stored[name])

    def copy_into(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Fill arrays, which must be ours by name and shape, with the weights, one after the other.

        Raises ValueError where a number of the file is too large for an array of fewer bits.
        """
        assert arrays.keys() == self.stored.keys(), arrays.keys() ^ self.stored.keys()
        for name, array in arrays.items():
            stored = self.stored[name]
            assert array.shape == stored.shape, (name, array.shape, stored.shape)
            if stored.rows is None:
                _copy(array, self[name], stored)
                continue
            step = max(1, BLOCK // max(1, array[:1].nbytes))
            for begin in range(0, len(array), step):
                part = array[begin : begin + step]
                _copy(part, _checked(stored.rows(begin, begin + len(part)), stored), stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def _copy(array: np.ndarray, weights: np.ndarray, stored: Stored) -> None:
    with np.errstate(over="ignore"):
        array[...] = weights
    if weights.dtype.itemsize > array.dtype.itemsize and not _finite(array):
        raise ValueError(f"{stored.where}: holds {weights.dtype} too large for {array.dtype}")


def _checked(array: np.ndarray, stored: Stored) -> np.ndarray:
    if not _finite(array):
        kind = "NaN" if np.isnan(array.min()) else "infinity"
        raise ValueError(
            f"{stored.where}: holds {kind}: the weights are lost or damaged; take them from the source again"
        )
    return array


def _finite(array: np.ndarray) -> bool:
    """Tell whether all numbers are finite, without an array of answers: min and max pass NaN on."""
    return not array.size or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def from_safetensors(path: Path, entries: Mapping[str, Entry]) -> dict[str, Stored]:
    """Return the tensors that the header of a file tells of."""

    def rows(entry: Entry, begin: int, end: int) -> np.ndarray:
        row = (entry.end - entry.begin) // entry.shape[0]  # bytes
        shape = (end - begin, *entry.shape[1:])
        return map_tensor(path, Entry(entry.dtype, shape, entry.begin + begin * row, entry.begin + end * row))

    return {
        name: Stored(
            f"{path}: {shown(name)}", entry.shape, partial(map_tensor, path, entry), entry.dtype, partial(rows, entry)
        )
        for name, entry in entries.items()
    }


def raw(path: Path, name: str, shape: tuple[int, ...], offset: int) -> Stored:
    """Return a tensor of little-endian float32 that begins at byte `offset` of a file, whose length was checked."""

    def rows(begin: int, end: int) -> np.ndarray:
        at = offset + 4 * begin * prod(shape[1:])
        return np.memmap(path, np.dtype("<f4"), "r", at, (end - begin, *shape[1:])).view(np.ndarray)

    return Stored(f"{path}: {shown(name)}", shape, lambda: rows(0, shape[0]), rows=rows)


def connect(
    source: str,
    found: Mapping[str, Stored],
    links: Sequence[Link],
    *,
    spare: str,
    twins: Mapping[str, str] | None = None,
) -> Weights:
    """Return our tensors, made of those `found` elsewhere; every name and shape is checked, and no number read yet.

    `spare` is a pattern of names that hold no weights. `twins` names copies that may stand beside a tensor: such a copy
    is passed over where it has the same numbers, and refused where it has not.
    """
    wanted = {name: shape for link in links for name, shape in zip(link.theirs, link.shapes, strict=True)}
    if missing := [name for name in wanted if name not in found]:
        why = "are these all its files, and is config.json its own?"
        raise ValueError(f"{source}: {len(missing)} tensors are missing, among them {missing[0]}; {why}")
    for name in found.keys() - wanted.keys():
        twin = (twins or {}).get(name)
        if twin is not None:
            _check_same(found[name], found[twin], f"{name} must equal {twin}, to which config.json ties it")
        elif not re.fullmatch(spare, name):
            raise ValueError(f"{found[name].where}: is no tensor of this model as config.json describes it")
    for name, shape in wanted.items():
        if found[name].shape != shape:
            raise ValueError(f"{found[name].where}: must have shape {shape} by config.json, found {found[name].shape}")
        if found[name].dtype not in FLOATS:
            rule = f"must be {', '.join(FLOATS[:-1])} or {FLOATS[-1]}; quantised weights cannot be read"
            raise ValueError(f"{found[name].where}: {rule}, found {found[name].dtype}")
    return Weights({link.ours: _joined([found[name] for name in link.theirs], link) for link in links})


def _joined(parts: list[Stored], link: Link) -> Stored:
    """Return one of our tensors as its parts give it."""
    if len(parts) == 1 and not link.transposed:
        return parts[0]
    shape = (sum(shape[0] for shape in link.shapes), *link.shapes[0][1:])

    def read() -> np.ndarray:
        arrays = [part.read() for part in parts]
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return whole.T if link.transposed else whole

    return Stored(parts[0].where, shape[::-1] if link.transposed else shape, read)


def _check_same(copy: Stored, original: Stored, rule: str) -> None:
    if copy.shape != original.shape or not np.array_equal(copy.read(), original.read(), equal_nan=True):
        raise ValueError(f"{copy.where}: {rule}, and has other numbers")


def shown(name: str) -> str:
    """Return a name as one short line, whatever stands in it."""
    text = name if name.isprintable() else repr(name)
    return text if len(text) <= 100 else f"{text[:97]}..."
