"""Read the two files in which OpenAI published GPT-2's tokenizer: encoder.json and vocab.bpe.

encoder.json maps every token to its id, vocab.bpe has one merge per line, in order. Both write a byte as one visible
character, so that a text file can hold tokens with spaces or half a character: "Ġthe" is " the". Hugging Face
calls the same two files vocab.json and merges.txt, and its tokenizer.json writes tokens in the same way.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gpt.tokenizer.base import Vocab
from gpt.tokenizer.bpe import BPETokenizer, add_tokens
from gpt.tokenizer.pairs import Pair
from gpt.tokenizer.splits import Pretokenizer
from nanograd.runtime.typed_json import quote

_SPECIAL = re.compile(r"<.+>|\[.+\]", re.DOTALL)  # the form of special tokens


def _visible_bytes() -> dict[int, str]:
    """Return the character for each byte: the byte itself if it is visible, else 256, 257, …"""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


CHARACTER_OF = _visible_bytes()
BYTE_OF = {character: byte for byte, character in CHARACTER_OF.items()}


def to_visible(token: bytes) -> str:
    """Write a token with one visible character per byte.

    >>> to_visible(b" the")
    'Ġthe'
    """
    return "".join(map(CHARACTER_OF.__getitem__, token))


def from_visible(text: str) -> bytes:
    """Return the token that `to_visible` wrote; ValueError names a character that is not the code of a byte."""
    try:
        return bytes(map(BYTE_OF.__getitem__, text))
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is not the code of a byte; a space is written 'Ġ'") from None


def from_openai(encoder: Any, merges: str, *, pattern: str | Pretokenizer = "gpt2") -> BPETokenizer:
    """Make the tokenizer from the object of encoder.json and the text of vocab.bpe.

    Tokens that no merge makes are its special tokens. Raises ValueError if the files are invalid, or if such a token does
    not look like <this> or [this].
    """
    if not isinstance(encoder, Mapping):
        raise ValueError(f"encoder.json must be an object of tokens and their ids, got {type(encoder).__name__}")
    vocab, pairs = read_vocab("encoder.json", encoder, _merge_lines(merges))
    merged = {left + right for left, right in pairs}
    special = {vocab[id]: id for id in vocab if len(vocab[id]) > 1 and vocab[id] not in merged}
    texts = {token.decode("utf-8", "replace"): id for token, id in special.items()}
    if invalid := [text for text in texts if not _SPECIAL.fullmatch(text)]:
        problem = f"{len(invalid):,} tokens that no merge makes, such as {invalid[0]!r}"
        raise ValueError(f"encoder.json has {problem}; the merges are cut off or belong to another encoder.json")
    return BPETokenizer(vocab, pairs, texts, pattern=pattern, allowed_special=())


def _merge_lines(text: str) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not (number == 1 and line.startswith("#version")):
            yield f"line {number} of the merges", line.rstrip("\r").split(" ")


def read_vocab(section: str, tokens: Mapping[Any, Any], merges: Iterable[tuple[str, Any]]) -> tuple[Vocab, list[Pair]]:
    """Return the vocabulary and the merges, both written in visible characters.

    A merge is its location, for errors, and its two tokens. Raises ValueError if a token or a merge is invalid.
    """
    vocab: Vocab = {}
    add_tokens(vocab, section, tokens, from_visible)
    bytes_of = {text: vocab[id] for text, id in tokens.items()}
    pairs: list[Pair] = []
    for location, texts in merges:
        if len(texts) != 2 or not all(isinstance(text, str) and text for text in texts):
            raise ValueError(f"{location} must be two tokens, got {quote(texts)}")
        left, right = texts
        if not (left in bytes_of and right in bytes_of and left + right in bytes_of):
            for text in texts:
                try:
                    from_visible(text)
                except ValueError as error:
                    raise ValueError(f"{location}: {error}") from None
            missing = next(text for text in (left, right, left + right) if text not in bytes_of)
            raise ValueError(f"{location} needs the token {quote(missing)}, which {section} does not have")
        pairs.append((bytes_of[left], bytes_of[right]))
    return vocab, pairs
