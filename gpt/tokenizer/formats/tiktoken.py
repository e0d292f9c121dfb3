"""Read the .tiktoken files of OpenAI's newer models: per line one token, in base64, and its rank, which is its id.

The file has no merges, but they can be recovered. The merge of a token joins the two tokens that remain when all earlier
merges are applied to its bytes: so encoding each token with the merges known so far yields the next merge. The file also
lacks its pattern and its special tokens: they follow from a known file name, or must be passed.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping

from gpt.tokenizer.bpe import BPETokenizer
from gpt.tokenizer.pairs import Pair
from gpt.tokenizer.pretokens import EOT
from gpt.tokenizer.splits import PATTERNS
from gpt.tokenizer.word_encoder import merge_short

SpecialIds = Mapping[str, int] | Iterable[str]  # texts and their ids, or texts that get the ids after the greatest rank
FILL_IN = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}
# github.com/openai/tiktoken, tiktoken_ext/openai_public.py
KNOWN: dict[str, tuple[str, dict[str, int]]] = {
    "r50k_base": ("gpt2", {EOT: 50256}),
    "cl100k_base": ("cl100k", {EOT: 100257, **FILL_IN, "<|endofprompt|>": 100276}),
    "o200k_base": ("o200k", {EOT: 199999, "<|endofprompt|>": 200018}),
}


def from_tiktoken(
    data: bytes, *, name: str = "", pattern: str | None = None, special_tokens: SpecialIds | None = None
) -> BPETokenizer:
    """Make the tokenizer from the bytes of a .tiktoken file; a known `name`, such as cl100k_base, implies the rest.

    `special_tokens` maps texts to ids, or lists texts, which get the ids after the greatest rank. Raises ValueError if the
    file is invalid, or if neither `name` nor `pattern` is known.
    """
    known_pattern, known_special = KNOWN.get(name, (None, {}))
    pattern = pattern or known_pattern
    if pattern is None:
        patterns = " or ".join(map(repr, PATTERNS))
        way_out = f"give pattern={patterns}, as python -m gpt tokenizer convert --pattern does"
        raise ValueError(f"a file that is not named {', '.join(KNOWN)} has no known pattern; {way_out}")
    special = known_special if special_tokens is None else special_tokens
    ranks = read_ranks(data)
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise ValueError(f"every byte must have a rank, and 0x{missing[0]:02x} has none; is the file truncated?")
    vocab = {rank: token for token, rank in ranks.items()}
    if isinstance(special, Mapping):
        for text, id in special.items():
            if vocab.setdefault(id, text.encode("utf-8")) != text.encode("utf-8"):
                raise ValueError(f"special_tokens gives {text!r} the id {id}, which {vocab[id]!r} has")
    return BPETokenizer(vocab, recover_merges(ranks), special, pattern=pattern, allowed_special=())


def read_ranks(data: bytes) -> dict[bytes, int]:
    """Return the rank of each token; ValueError names an invalid line."""
    ranks: dict[bytes, int] = {}
    seen: set[int] = set()
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            word, digits = line.split()
            token, rank = base64.b64decode(word, validate=True), int(digits)
        except (ValueError, binascii.Error):
            raise ValueError(f"line {number} must be a token in base64 and its rank, got {line[:40]!r}") from None
        if token in ranks or rank in seen:
            raise ValueError(f"line {number} has a token or a rank that another line has: {token!r}, {rank}")
        ranks[token] = rank
        seen.add(rank)
    return ranks


def recover_merges(ranks: Mapping[bytes, int]) -> list[Pair]:
    """Return the merges in order; `ranks` must include all single bytes.

    Raises ValueError for a token that is not two tokens of lower rank joined.

    >>> ranks = {b"l": 0, b"o": 1, b"w": 2, b"ow": 3, b"low": 4}
    >>> recover_merges(ranks)
    [(b'o', b'w'), (b'l', b'ow')]
    """
    token_of = {rank: token for token, rank in ranks.items()}
    rank_at: dict[tuple[int, int], int] = {}
    merged: list[int] = []
    merges: list[Pair] = []
    for rank, token in sorted(token_of.items()):
        if len(token) == 1:
            continue
        symbols = merge_short([ranks[bytes([byte])] for byte in token], rank_at, merged)
        if len(symbols) != 2:
            found = f"got {len(symbols)}; the file is damaged or not made by byte-pair encoding"
            raise ValueError(f"the token {token!r} of rank {rank} must be two tokens of lower ranks joined, {found}")
        rank_at[symbols[0], symbols[1]] = len(merged)
        merged.append(rank)
        merges.append((token_of[symbols[0]], token_of[symbols[1]]))
    return merges
