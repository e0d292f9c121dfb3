"""Check a vocabulary and its merges, wherever they come from: what is wrong is said before anything is encoded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpt.tokenizer.pairs import Pair


def add_tokens(
    vocab: dict[int, bytes], section: str, tokens: Mapping[Any, Any], to_bytes: Callable[[str], bytes]
) -> None:
    """Put the tokens of a file's `section`, texts with their ids, into `vocab`; ValueError names what is wrong."""
    for token, id in tokens.items():
        if not isinstance(token, str) or type(id) is not int:
            raise ValueError(f"{section!r} must give texts an integer id, got {token!r}: {id!r}")
        if id in vocab:
            raise ValueError(f"{section!r} gives {token!r} the id {id}, which another token has")
        try:
            vocab[id] = to_bytes(token)
        except UnicodeEncodeError as error:
            raise ValueError(f"{section!r} has {token!r}, which is not written in {error.encoding}") from None
        except ValueError as error:
            raise ValueError(f"{section!r} has {token!r}: {error}") from None


def turn_round(vocab: Mapping[int, bytes]) -> dict[bytes, int]:
    """Return the id of each token; raise unless ids are natural numbers and tokens distinct and not empty."""
    if not vocab:
        raise ValueError("BPETokenizer: the vocabulary must have tokens, got none")
    ids_of: dict[bytes, int] = {}
    for id, token in vocab.items():
        if not isinstance(id, int) or not isinstance(token, bytes):
            raise TypeError(f"BPETokenizer: vocab must map ids to bytes, got {id!r}: {token!r}")
        if id < 0:
            raise ValueError(f"BPETokenizer: ids must be 0 or greater, got {id} for {token!r}")
        if not token:
            raise ValueError(f"BPETokenizer: a token must have at least one byte, got {token!r} for id {id}")
        if token in ids_of:
            raise ValueError(f"BPETokenizer: a token must have one id, got {ids_of[token]} and {id} for {token!r}")
        ids_of[token] = id
    return ids_of


def check_merges(merges: Sequence[Pair], ids_of: Mapping[bytes, int]) -> set[bytes]:
    """Return the tokens that the merges make; ValueError unless each joins tokens that bytes or earlier merges made."""
    made: set[bytes] = set()
    used: set[bytes] = set()
    seen: set[Pair] = set()
    for rank, (left, right) in enumerate(merges):
        problem = None
        if missing := [token for token in (left, right, left + right) if token not in ids_of]:
            problem = f"needs {missing[0]!r}, which the vocabulary does not have"
        elif early := [part for part in (left, right) if len(part) > 1 and part not in made]:
            problem = f"joins {early[0]!r}, which no earlier merge makes; keep the order of training"
        elif left + right in used:
            problem = f"makes {left + right!r}, which an earlier merge joined; keep the order of training"
        elif (left, right) in seen:
            problem = "is there twice"
        if problem is not None:
            raise ValueError(f"BPETokenizer: merge {rank} of {left!r} and {right!r} {problem}")
        seen.add((left, right))
        made.add(left + right)
        used.update((left, right))
    return made
