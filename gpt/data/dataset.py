"""Tokens on disk: shards, and the folder that `data prepare` writes them into.

A shard is one file, little-endian:
    8 bytes   magic "GPTTOKEN"
    uint32    version, 2
    uint32    bytes per id: 2 (uint16) or 4 (uint32)
    uint64    number of ids
    uint64    vocab_size: every id is below it
    uint64    number of documents that begin in it
    32 bytes  SHA-256 of the tokenizer; zeros if unknown
    the ids, and zeros up to a multiple of 8 bytes
    uint64    for each of these documents, the index of its first id
Version 1, of earlier runs, has the first five fields and the ids. Shards are memory-mapped: only the pages in use are read.

A prepared folder has tokenizer.json, shards, and manifest.json, which lists them and is written last: without it the
folder is not complete.
"""

import contextlib
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NotRequired, TypedDict, TypeVar, cast

import numpy as np

from gpt.tokenizer import Tokenizer, load_tokenizer
from nanograd.runtime.files import StrPath, atomic_write, file_sha256, is_plain, open_input, read_input
from nanograd.runtime.typed_json import check_form, read_json

MAGIC = b"GPTTOKEN"
VERSION = 2
HEADERS = {1: struct.Struct("<8sIIQQ"), 2: struct.Struct("<8sIIQQQ32s")}
DTYPES: dict[int, np.dtype] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
INDEX = np.dtype("<u8")
MANIFEST, UNFINISHED, TOKENIZER = "manifest.json", "unfinished.json", "tokenizer.json"
FORMAT = "gpt-dataset-1"
TRAIN: Final = "train"
VAL: Final = "val"
T = TypeVar("T")


class ShardEntry(TypedDict):
    """A shard in the manifest."""

    file: str
    tokens: int
    documents: int
    sha256: str


class Part(TypedDict):
    """The shards of a part of the text, in the manifest."""

    pieces: int
    text_bytes: int
    text_sha256: str
    train: NotRequired[ShardEntry]
    val: NotRequired[ShardEntry]


class Settings(TypedDict):
    """What `data prepare` was called with: another call that differs cannot resume its work."""

    format: str
    tokenizer_sha256: str
    vocab_size: int
    eot_id: int | None
    val_fraction: float
    shard_tokens: int
    sources: list[str]
    encoding: str | None
    text_key: str


class Unfinished(Settings):
    """The content of unfinished.json: the parts so far."""

    parts: list[Part]


class Counts(TypedDict):
    """A number for each split."""

    train: int
    val: int


class Skipped(TypedDict):
    """The texts that could not be read."""

    count: int
    first: list[str]


class Manifest(Unfinished):
    """The content of manifest.json."""

    split: str
    text_bytes: int
    tokens: Counts
    documents: Counts
    n_documents: NotRequired[int]
    skipped: Skipped


class Shard(NamedTuple):
    """The contents of a shard: ids (n,), and the indices (d,) at which documents begin; both are memory-mapped."""

    tokens: np.ndarray
    documents: np.ndarray
    vocab_size: int
    tokenizer_sha256: str


class ShardWriter:
    """Writes ids one batch after another, and the header at the end, when the counts are known."""

    def __init__(self, file: BinaryIO, vocab_size: int, tokenizer_sha256: str) -> None:
        self.file = file
        self.vocab_size = vocab_size
        self.tokenizer_sha256 = tokenizer_sha256
        self.dtype = dtype_for(vocab_size)
        self.tokens = 0
        self.starts = array("Q")
        file.write(bytes(HEADERS[VERSION].size))  # no magic yet: an interrupted file is not a shard

    def begin_document(self) -> None:
        """Record that the next id is the first of a document."""
        self.starts.append(self.tokens)

    def write(self, ids: Sequence[int] | np.ndarray) -> None:
        """Append ids (n,)."""
        ids = np.asarray(ids)
        if ids.size and not (0 <= ids.min() and ids.max() < self.vocab_size):
            raise ValueError(f"shard: ids must lie in [0, {self.vocab_size}), got {ids.min()} to {ids.max()}")
        self.file.write(ids.astype(self.dtype, copy=False).data)
        self.tokens += ids.size

    def finish(self) -> None:
        """Append the indices of the documents and write the header."""
        self.file.write(bytes(-self.tokens * self.dtype.itemsize % INDEX.itemsize))
        self.file.write(np.array(self.starts, INDEX).data)
        self.file.seek(0)
        counts = self.dtype.itemsize, self.tokens, self.vocab_size, len(self.starts)
        self.file.write(HEADERS[VERSION].pack(MAGIC, VERSION, *counts, bytes.fromhex(self.tokenizer_sha256)))


def dtype_for(vocab_size: int) -> np.dtype:
    """Return the narrowest integer type for ids below vocab_size."""
    return DTYPES[2 if vocab_size <= 65536 else 4]


@contextlib.contextmanager
def shard_writer(path: StrPath, vocab_size: int, tokenizer_sha256: str = "") -> Iterator[ShardWriter]:
    """Open a shard for writing; the file appears at `path` when it is complete."""
    with atomic_write(path) as file:
        writer = ShardWriter(file, vocab_size, tokenizer_sha256)
        yield writer
        writer.finish()


def write_tokens(path: StrPath, ids: Sequence[int] | np.ndarray, vocab_size: int, tokenizer_sha256: str = "") -> None:
    """Write ids (n,) as a shard of one document."""
    with shard_writer(path, vocab_size, tokenizer_sha256) as writer:
        if len(ids):
            writer.begin_document()
        writer.write(ids)


def read_shard(path: StrPath) -> Shard:
    """Map a shard, read-only. Raises ValueError if it is damaged or not a shard."""
    path = Path(path)
    with open_input(path) as file:
        head = file.read(HEADERS[VERSION].size)
    if len(head) < HEADERS[1].size or head[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{path} is not a token file: it does not begin with {MAGIC.decode()}")
    _, version, width, count, vocab_size = HEADERS[1].unpack_from(head)
    if version not in HEADERS or width not in DTYPES:
        raise ValueError(f"{path}: version {version} with {width} bytes per id; this program reads versions 1 and 2")
    begin, size = HEADERS[version].size, path.stat().st_size
    if len(head) < begin:
        raise ValueError(f"{path} is damaged: its header needs {begin} bytes, it has {size}")
    n_documents, sha256 = HEADERS[2].unpack(head)[5:] if version == 2 else (0, bytes(32))
    end = begin + count * width + (-count * width % INDEX.itemsize if version == 2 else 0)
    needed = end + n_documents * INDEX.itemsize
    if size != needed:
        raise ValueError(f"{path} is damaged: {count} ids and {n_documents} documents need {needed} bytes, not {size}")
    tokens, documents = _map(path, DTYPES[width], begin, count), _map(path, INDEX, end, n_documents)
    return Shard(tokens, documents, vocab_size, sha256.hex() if any(sha256) else "")


class Shards:
    """Several arrays (n,), read as one, without copying them: a slice is a view, or a copy if it spans two arrays.

    >>> tokens = Shards([np.arange(3), np.arange(3, 8)])
    >>> len(tokens), tokens[1:5].tolist()
    (8, [1, 2, 3, 4])
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = [array for array in arrays if len(array)]
        self.ends = list(accumulate(map(len, self.arrays)))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, window: slice) -> np.ndarray:
        start, stop, step = window.indices(len(self))
        if step != 1:
            raise ValueError(f"shards: a slice must have step 1, got {step}; take every {step}th of tokens[a:b]")
        slices = []
        for k in range(bisect_right(self.ends, start), len(self.arrays)):
            begin = self.ends[k] - len(self.arrays[k])
            if begin >= stop:
                break
            slices.append(self.arrays[k][max(start - begin, 0) : stop - begin])
        return slices[0] if len(slices) == 1 else np.concatenate([np.empty(0, np.uint16), *slices])


@dataclass(frozen=True)
class Dataset:
    """A complete prepared folder: its manifest, and the SHA-256 of that file."""

    path: Path
    manifest: Manifest
    sha256: str

    def tokens(self, split: str) -> Shards:
        """Return the ids of "train" or "val", all shards as one array."""
        return Shards([shard.tokens for shard in self.shards(split)])

    def documents(self, split: str) -> np.ndarray:
        """Return the indices (d,) in `tokens(split)` at which documents begin."""
        shards = self.shards(split)
        offsets = accumulate((len(shard.tokens) for shard in shards), initial=0)
        starts = [s.documents.astype(np.int64) + n for s, n in zip(shards, offsets, strict=False)]
        return np.concatenate([np.empty(0, np.int64), *starts])

    def shards(self, split: str) -> list[Shard]:
        """Map the shards of a split and check each against the manifest."""
        shards = []
        for entry in shard_entries(self.manifest["parts"], (split,)):
            path = self.path / entry["file"]
            if not path.exists():
                raise FileNotFoundError(f"{path} is missing: {MANIFEST} lists it; restore it or prepare the data again")
            shard = read_shard(path)
            contents = len(shard.tokens), shard.vocab_size, shard.tokenizer_sha256
            if contents != (entry["tokens"], self.manifest["vocab_size"], self.manifest["tokenizer_sha256"]):
                raise ValueError(f"{path} is not the shard that {MANIFEST} lists; restore it or prepare the data again")
            shards.append(shard)
        return shards

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer of the ids."""
        tokenizer = load_tokenizer(self.path / TOKENIZER)
        self.check_tokenizer(tokenizer, f"{self.path / TOKENIZER} has changed: restore it")
        return tokenizer

    def check_tokenizer(self, tokenizer: Tokenizer, way_out: str) -> None:
        """Raise ValueError unless this is the tokenizer of the ids."""
        expected = self.manifest["tokenizer_sha256"]
        if tokenizer.sha256 != expected:
            hashes = f"SHA-256 {expected[:16]}…, got {tokenizer.sha256[:16]}…"
            raise ValueError(f"tokenizer: {self.path} was prepared with the one of {hashes}; {way_out}")

    def files(self) -> list[Path]:
        """Return the paths of all shards."""
        return [self.path / entry["file"] for entry in shard_entries(self.manifest["parts"])]

    def damaged(self) -> list[str]:
        """Return the names of the shards whose bytes have changed since they were written; reads all of them."""
        entries = shard_entries(self.manifest["parts"])
        return [entry["file"] for entry in entries if file_sha256(self.path / entry["file"]) != entry["sha256"]]


def shard_entries(parts: Iterable[Part], splits: Sequence[str] = (TRAIN, VAL)) -> list[ShardEntry]:
    """Return the manifest's entries of the shards of these splits."""
    return [part[split] for part in parts for split in splits if split in part]  # type: ignore[literal-required]


def read_manifest(path: Path, form: type[T]) -> T:
    """Return the content of a manifest, finished or not; ValueError says what is wrong in it, without its name."""
    fields = read_json(read_input(path), dict[str, Any])
    if fields.get("format", FORMAT) != FORMAT:
        raise ValueError(f"its format is {fields['format']!r}; this program reads {FORMAT!r}")
    checked = check_form(fields, form)
    for entry in shard_entries(checked["parts"]):
        if not is_plain(entry["file"]):
            raise ValueError(f"the file {entry['file']!r} must be a plain name, of a file in this folder")
    return cast(T, checked)


def is_prepared(path: StrPath | None) -> bool:
    """Return whether a path is a folder made by `data prepare`, complete or not."""
    return bool(path) and any(Path(path or "", name).is_file() for name in (MANIFEST, UNFINISHED))


def open_dataset(path: StrPath) -> Dataset:
    """Open a prepared folder. Raises FileNotFoundError if it is not one, ValueError if it is incomplete or damaged."""
    path = Path(path)
    file = path / MANIFEST
    if not file.is_file():
        if (path / UNFINISHED).is_file():
            raise ValueError(f"{path} is not complete: data prepare was stopped; run the same command again")
        raise FileNotFoundError(f"{path} holds no prepared data ({MANIFEST}); make it with: python -m gpt data prepare")
    try:
        manifest = read_manifest(file, Manifest)
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}; prepare the data again") from None
    dataset = Dataset(path, manifest, file_sha256(file))
    for split in (TRAIN, VAL):
        dataset.shards(split)
    return dataset


def _map(path: Path, dtype: np.dtype, offset: int, count: int) -> np.ndarray:
    return np.memmap(path, dtype, "r", offset, (count,)) if count else np.empty(0, dtype)
