"""Encode pieces of text, in this process or in others, in order."""

from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from gpt.data.dataset import dtype_for
from gpt.data.documents import Piece
from gpt.tokenizer import Tokenizer, tokenizer_from_dict
from nanograd.runtime.workers import in_order

BATCH = 1 << 18  # characters: short documents go to a worker together, as the way there takes longer than the work
Encoded = tuple[np.ndarray, list[int]]
"""The ids (n,) of a batch of pieces, and where each piece's end in them."""


def encode_pieces(
    pieces: Iterable[Piece], tokenizer: Tokenizer, workers: int = 1
) -> Generator[tuple[Piece, np.ndarray], None, None]:
    """Yield each piece with its ids (n,), in order; after a document's last comes the end of text, if there is one.

    No more pieces wait in memory than keep the workers busy. Raises ValueError, naming the document, for text that the
    tokenizer cannot encode.
    """
    if workers == 1:
        encode = _encoder(tokenizer)
        for batch in _batches(pieces):
            yield from _apart(batch, encode(batch))
        return
    given = (tokenizer.to_dict(),)
    for batch, encoded in in_order(
        _encode_in_worker, _batches(pieces), workers, initializer=_start_worker, initargs=given
    ):
        yield from _apart(batch, encoded)


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Put pieces together until they have BATCH characters."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _apart(batch: list[Piece], encoded: Encoded) -> Iterator[tuple[Piece, np.ndarray]]:
    """Yield each piece of a batch with its ids."""
    ids, ends = encoded
    start = 0
    for piece, end in zip(batch, ends, strict=True):
        yield piece, ids[start:end]
        start = end


def _encoder(tokenizer: Tokenizer) -> Callable[[list[Piece]], Encoded]:
    return partial(_encode, tokenizer, dtype_for(tokenizer.vocab_size))


def _encode(tokenizer: Tokenizer, dtype: np.dtype, batch: list[Piece]) -> Encoded:
    ids: list[int] = []
    ends = []
    for piece in batch:
        try:
            ids += tokenizer.encode_data(piece.text)
        except ValueError as error:
            raise ValueError(f"{piece.document}: {error}") from None
        if piece.last and tokenizer.eot_id is not None:
            ids.append(tokenizer.eot_id)
        ends.append(len(ids))
    return np.array(ids, dtype), ends


_worker_encoder: Callable[[list[Piece]], Encoded]  # of a worker process


def _start_worker(tokenizer: dict[str, Any]) -> None:
    global _worker_encoder
    _worker_encoder = _encoder(tokenizer_from_dict(tokenizer))


def _encode_in_worker(batch: list[Piece]) -> Encoded:
    return _worker_encoder(batch)
