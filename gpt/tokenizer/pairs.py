"""Byte-pair encoding in its shortest form, on a whole word as a tuple of tokens: the specification.

The source is Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units",
on bytes as in GPT-2. `trainer.py` and `word_encoder.py` compute the same faster, and the tests compare them with it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

Pair = tuple[bytes, bytes]
Word = tuple[bytes, ...]


def count_pairs(words: Mapping[Word, int]) -> Counter[Pair]:
    """Count how often two tokens are neighbours, weighted by the count of the word.

    >>> count_pairs({(b"l", b"o", b"w"): 5, (b"l", b"o"): 2})
    Counter({(b'l', b'o'): 7, (b'o', b'w'): 5})
    """
    pairs: Counter[Pair] = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            pairs[pair] += count
    return pairs


def merge_pair(word: Word, pair: Pair) -> Word:
    """Join every occurrence of `pair`, from left to right.

    >>> merge_pair((b"a", b"a", b"a"), (b"a", b"a"))
    (b'aa', b'a')
    """
    merged: list[bytes] = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(word[i] + word[i + 1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def train_naively(word_counts: Mapping[str, int], n_merges: int) -> list[Pair]:
    """Merge the most frequent pair `n_merges` times, or until no pair is left; among equals, the greater pair of bytes."""
    words = {split_bytes(word.encode("utf-8")): count for word, count in word_counts.items()}
    merges: list[Pair] = []
    for _ in range(n_merges):
        pairs = count_pairs(words)
        if not pairs:
            break
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        words = {merge_pair(word, merges[-1]): count for word, count in words.items()}
    return merges


def encode_naively(data: bytes, merges: Sequence[Pair]) -> Word:
    """Merge the pair that was learned first, repeatedly, until the word has no learned pair."""
    word = split_bytes(data)
    for _, merged in merge_steps(data, {pair: rank for rank, pair in enumerate(merges)}):
        word = merged
    return word


def merge_steps(data: bytes, ranks: Mapping[Pair, int]) -> Iterator[tuple[Pair, Word]]:
    """Yield each pair that is merged and the word after it, lowest rank first; the rank of a merge is its number.

    A pair is merged wherever it occurs, from left to right. If the merges are not in the order of training, one may make
    a pair of a lower rank, which is then merged first.

    >>> list(merge_steps(b"low", {(b"l", b"o"): 0, (b"lo", b"w"): 1}))
    [((b'l', b'o'), (b'lo', b'w')), ((b'lo', b'w'), (b'low',))]
    """
    word, last = split_bytes(data), None
    while candidates := [pair for pair in pairwise(word) if pair in ranks]:
        pair = min(candidates, key=ranks.__getitem__)
        if last is not None and pair != last:
            yield last, word
        i = list(pairwise(word)).index(pair)
        word, last = (*word[:i], word[i] + word[i + 1], *word[i + 2 :]), pair
    if last is not None:
        yield last, word


def split_bytes(data: bytes) -> Word:
    """Return the bytes of `data` as tokens of one byte."""
    return tuple(bytes([byte]) for byte in data)
