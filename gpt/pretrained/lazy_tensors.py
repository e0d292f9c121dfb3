"""Tensors that stay in their file until they are used: shapes are known at once, numbers are read tensor by tensor.

So loading a model needs little more memory than the model itself, and all shapes are checked before a number is read.
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

BLOCK = 1 << 22  # bytes read at a time from a tensor whose rows can be read separately
FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class LazyTensor:
    """One tensor in a file: `where` names it in errors, `read` returns its numbers, if possible as a view of the file.

    dtype has the names of safetensors. `rows(begin, end)` reads some rows; it is None if that is not possible.
    """

    where: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    dtype: str = "F32"
    rows: Callable[[int, int], np.ndarray] | None = None


class Link(NamedTuple):
    """The names of one of our tensors elsewhere: `theirs`, whose rows stacked are ours; `shapes` are theirs.

    GPT-2's matrices are (in, out) there and (out, in) here: then `transposed` is True.
    """

    ours: str
    theirs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    transposed: bool = False


class LazyTensors(Mapping[str, np.ndarray]):
    """Our tensors by name, each read when it is looked up.

    Raises ValueError, naming the tensor, for one that holds NaN or infinity.
    """

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self.tensors = tensors

    def __getitem__(self, name: str) -> np.ndarray:
        return _checked(self.tensors[name].read(), self.tensors[name])

    def copy_into(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Copy the weights into arrays of our names and shapes, one after another.

        Raises ValueError if a number is too large for an array of fewer bits.
        """
        assert arrays.keys() == self.tensors.keys(), arrays.keys() ^ self.tensors.keys()
        for name, array in arrays.items():
            tensor = self.tensors[name]
            assert array.shape == tensor.shape, (name, array.shape, tensor.shape)
            if tensor.rows is None:
                _copy(array, self[name], tensor)
                continue
            step = max(1, BLOCK // max(1, array[:1].nbytes))
            for begin in range(0, len(array), step):
                rows = array[begin : begin + step]
                _copy(rows, _checked(tensor.rows(begin, begin + len(rows)), tensor), tensor)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def _copy(array: np.ndarray, weights: np.ndarray, tensor: LazyTensor) -> None:
    with np.errstate(over="ignore"):
        array[...] = weights
    if weights.dtype.itemsize > array.dtype.itemsize and not _finite(array):
        raise ValueError(f"{tensor.where}: holds {weights.dtype} too large for {array.dtype}")


def _checked(array: np.ndarray, tensor: LazyTensor) -> np.ndarray:
    if not _finite(array):
        kind = "NaN" if np.isnan(array.min()) else "infinity"
        raise ValueError(f"{tensor.where}: holds {kind}: the weights are damaged; get them from the source again")
    return array


def _finite(array: np.ndarray) -> bool:
    """Return whether all numbers are finite, without a temporary array: min and max propagate NaN."""
    return not array.size or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def from_safetensors(path: Path, entries: Mapping[str, Entry]) -> dict[str, LazyTensor]:
    """Return the tensors that the header of a file lists."""

    def rows(entry: Entry, begin: int, end: int) -> np.ndarray:
        row = (entry.end - entry.begin) // entry.shape[0]  # bytes
        shape = (end - begin, *entry.shape[1:])
        return map_tensor(path, Entry(entry.dtype, shape, entry.begin + begin * row, entry.begin + end * row))

    return {
        name: LazyTensor(
            f"{path}: {shown(name)}", entry.shape, partial(map_tensor, path, entry), entry.dtype, partial(rows, entry)
        )
        for name, entry in entries.items()
    }


def from_raw(path: Path, name: str, shape: tuple[int, ...], offset: int) -> LazyTensor:
    """Return a tensor of little-endian float32 at byte `offset` of a file, whose length was checked."""

    def rows(begin: int, end: int) -> np.ndarray:
        at = offset + 4 * begin * prod(shape[1:])
        return np.memmap(path, np.dtype("<f4"), "r", at, (end - begin, *shape[1:])).view(np.ndarray)

    return LazyTensor(f"{path}: {shown(name)}", shape, lambda: rows(0, shape[0]), rows=rows)


def connect(
    source: str,
    stored: Mapping[str, LazyTensor],
    links: Sequence[Link],
    *,
    ignored: str,
    copies: Mapping[str, str] | None = None,
) -> LazyTensors:
    """Return our tensors, made from the `stored` ones; every name and shape is checked, and no number is read yet.

    `ignored` is a pattern of names that hold no weights. `copies` maps names to the tensors that they must equal: such a
    copy is left out if it has the same numbers, and refused otherwise.
    """
    expected = {name: shape for link in links for name, shape in zip(link.theirs, link.shapes, strict=True)}
    if missing := [name for name in expected if name not in stored]:
        why = "are these all its files, and is config.json its own?"
        raise ValueError(f"{source}: {len(missing)} tensors are missing, among them {missing[0]}; {why}")
    for name in stored.keys() - expected.keys():
        original = (copies or {}).get(name)
        if original is not None:
            _check_same(stored[name], stored[original], f"{name} must equal {original}, to which config.json ties it")
        elif not re.fullmatch(ignored, name):
            raise ValueError(f"{stored[name].where}: is no tensor of this model as config.json describes it")
    for name, shape in expected.items():
        if stored[name].shape != shape:
            raise ValueError(
                f"{stored[name].where}: must have shape {shape} by config.json, found {stored[name].shape}"
            )
        if stored[name].dtype not in FLOATS:
            rule = f"must be {', '.join(FLOATS[:-1])} or {FLOATS[-1]}; quantised weights cannot be read"
            raise ValueError(f"{stored[name].where}: {rule}, found {stored[name].dtype}")
    return LazyTensors({link.ours: _joined([stored[name] for name in link.theirs], link) for link in links})


def _joined(tensors: list[LazyTensor], link: Link) -> LazyTensor:
    """Return one of our tensors, made from those of a link."""
    if len(tensors) == 1 and not link.transposed:
        return tensors[0]
    shape = (sum(shape[0] for shape in link.shapes), *link.shapes[0][1:])

    def read() -> np.ndarray:
        arrays = [tensor.read() for tensor in tensors]
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return joined.T if link.transposed else joined

    return LazyTensor(tensors[0].where, shape[::-1] if link.transposed else shape, read)


def _check_same(copy: LazyTensor, original: LazyTensor, rule: str) -> None:
    if copy.shape != original.shape or not np.array_equal(copy.read(), original.read(), equal_nan=True):
        raise ValueError(f"{copy.where}: {rule}, and has other numbers")


def shown(name: str) -> str:
    """Return a name as one short printable line."""
    text = name if name.isprintable() else repr(name)
    return text if len(text) <= 100 else f"{text[:97]}..."
