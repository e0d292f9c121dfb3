"""Tensors that stay in their file until they are used: shapes are known at once, numbers are read tensor by tensor.

Loading a model then needs no more memory than the model itself, and all shapes are checked before a number is read.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from gpt.runs.safetensors import CAN_MAP, DTYPES, Entry, map_tensor

BLOCK = 1 << 22  # bytes read at a time from a tensor whose rows can be read separately


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


class LazyTensors(Mapping[str, np.ndarray]):
    """Our tensors by name, each read when it is looked up.

    Raises ValueError, naming the tensor, for one that holds NaN or infinity.
    """

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self.tensors = tensors

    def __getitem__(self, name: str) -> np.ndarray:
        return _checked(self.tensors[name].read(), self.tensors[name])

    def arrays(self, dtype: np.dtype) -> dict[str, np.ndarray]:
        """Return the weights by name, of a dtype and contiguous: views of the file where possible, copies elsewhere.

        A view takes no memory besides the pages of the file. Raises ValueError if a number is too large for a dtype of
        fewer bits.
        """
        return {name: self._array(name, tensor, dtype) for name, tensor in self.tensors.items()}

    def _array(self, name: str, tensor: LazyTensor, dtype: np.dtype) -> np.ndarray:
        """Return one tensor as `arrays` does; a copy is made in blocks of rows where they can be read separately."""
        if CAN_MAP and tensor.rows is not None and DTYPES[tensor.dtype] == dtype:
            view = self[name]
            if view.flags.aligned:  # a header of any length may precede it
                return view
        array = np.empty(tensor.shape, dtype)
        if tensor.rows is None:
            _copy(array, self[name], tensor)
            return array
        step = max(1, BLOCK // max(1, array[:1].nbytes))
        for begin in range(0, len(array), step):
            rows = array[begin : begin + step]
            _copy(rows, _checked(tensor.rows(begin, begin + len(rows)), tensor), tensor)
        return array

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


def lazy_tensors(path: Path, entries: Mapping[str, Entry]) -> dict[str, LazyTensor]:
    """Return the tensors of a file whose types, shapes and offsets were checked."""

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


def shown(name: str) -> str:
    """Return a name as one short printable line."""
    text = name if name.isprintable() else repr(name)
    return text if len(text) <= 100 else f"{text[:97]}..."
