"""Read and write Hugging Face's tokenizer.json, if it describes SentencePiece's byte-pair encoding.

Two sections of the file can replace spaces by ▁: a normalizer (Llama 2, Gemma) or the pre-tokenizer Metaspace (newer
Mistral). A setting that this project does not support is an error that names it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gpt.tokenizer.added_tokens import FLAGS, AddedToken
from gpt.tokenizer.formats.bos_eos import write_post_processor
from gpt.tokenizer.formats.pre_tokenizers import steps_of
from gpt.tokenizer.piece_merges import PieceMerges
from gpt.tokenizer.sentencepiece import BYTE_PIECES, SentencePieceTokenizer, Spaces, Unknown
from nanograd.runtime.typed_json import check_form, quote, short

SPACE = "▁"
END_TEXTS = ("</s>", "<eos>", "<|endoftext|>")  # the tokens that end a document, by family
SCHEMES = {"always": "missing", "first": "first", "never": "never"}  # Metaspace's names


def is_sentencepiece(fields: Mapping[str, Any]) -> bool:
    """Tell whether the object of a tokenizer.json writes spaces as ▁ or falls back to bytes."""
    model, steps = fields.get("model"), steps_of(fields.get("normalizer"), "normalizer", "normalizers")
    steps += steps_of(fields.get("pre_tokenizer"), "pre_tokenizer", "pretokenizers")
    kinds = {step.get("type") for step in steps if isinstance(step, Mapping)}
    if "ByteLevel" in kinds:
        return False
    replaces = any(isinstance(step, Mapping) and SPACE in (step.get("content"), step.get("prepend")) for step in steps)
    return "Metaspace" in kinds or replaces or (isinstance(model, Mapping) and model.get("byte_fallback") is True)


def from_huggingface_sentencepiece(
    fields: Mapping[str, Any], added_tokens: Iterable[Mapping[str, Any]]
) -> SentencePieceTokenizer:
    """Make the tokenizer from the object of a tokenizer.json and its added tokens, whose form was checked.

    Raises ValueError that names a setting that is not supported.
    """
    model = check_form(fields.get("model"), dict, "model")
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"model.type must be 'BPE', got {quote(model.get('type'))}, which is not supported")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(key):
            raise ValueError(f"model.{key} must be null or false, got {quote(model[key])}, which is not supported")
    pieces = check_form(model.get("vocab"), dict, "model.vocab")
    if wrong := next((piece for piece, id in pieces.items() if type(id) is not int or not 0 <= id < 1 << 31), None):
        raise ValueError(f"model.vocab must give pieces an id, got {quote(wrong)}: {quote(pieces[wrong])}")
    falls_back = bool(check_form(model.get("byte_fallback") or False, bool, "model.byte_fallback"))
    falls_back = falls_back and not pieces.keys().isdisjoint(BYTE_PIECES)  # without byte tokens it has no effect
    unk = check_form(model.get("unk_token"), str | None, "model.unk_token")
    if unk is not None and unk not in pieces:
        raise ValueError(f"model.unk_token is {quote(unk)}, which is not in model.vocab")
    unknown = Unknown(falls_back, None if unk is None else pieces[unk], bool(model.get("fuse_unk")))
    prefix, split = _prefix(fields.get("normalizer"), fields.get("pre_tokenizer"))
    added = [_added(token, prefix if fields.get("normalizer") else None) for token in added_tokens]
    spaces = Spaces(SPACE, prefix, split, _strips(fields.get("decoder"), falls_back))
    unmerged = frozenset([*(BYTE_PIECES if falls_back else ()), *([] if unk is None else [unk])])
    merges = check_form(model.get("merges"), list, "model.merges")
    piece_merges = PieceMerges(pieces, map(_split_merge, merges), unmerged=unmerged)
    ids = {token.text: token.id for token in added if token.special}
    eot_id = next((ids[text] for text in END_TEXTS if text in ids), None)
    return SentencePieceTokenizer(piece_merges, added, spaces=spaces, unknown=unknown, eot_id=eot_id)


def _prefix(normalizer: Any, pre_tokenizer: Any) -> tuple[str, bool]:
    """Return where a ▁ is added, and whether words end before it."""
    prefix, split, replaces = "never", False, False
    for step in steps_of(normalizer, "normalizer", "normalizers"):
        if step == {"type": "Prepend", "prepend": SPACE}:
            prefix = "segment"
        elif step == {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}:
            replaces = True
        else:
            raise ValueError(
                f"normalizer: {quote(step)} is not supported; supported are Prepend {SPACE}, and Replace ' ' by it"
            )
    for step in steps_of(pre_tokenizer, "pre_tokenizer", "pretokenizers"):
        kind = step.get("type") if isinstance(step, Mapping) else None
        if kind == "Split" and step.get("pattern") == {"String": " "} and replaces:
            continue  # Gemma's: no space is left, so nothing is split
        if kind != "Metaspace" or step.get("replacement", SPACE) != SPACE or prefix != "never":
            supported = (
                f"supported are Metaspace with {SPACE} where no normalizer adds one, and Split at replaced spaces"
            )
            raise ValueError(f"pre_tokenizer: {quote(step)} is not supported; {supported}")
        scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
        if scheme not in SCHEMES:
            raise ValueError(f"pre_tokenizer.prepend_scheme must be one of {', '.join(SCHEMES)}, got {quote(scheme)}")
        prefix, split, replaces = SCHEMES[scheme], bool(step.get("split", True)), True
    if not replaces:
        raise ValueError(f"neither normalizer nor pre_tokenizer replaces spaces by {SPACE}, which is not supported")
    return prefix, split


def _strips(decoder: Any, falls_back: bool) -> bool:
    """Return whether decoding removes a space at the beginning."""
    steps = steps_of(decoder, "decoder", "decoders")
    expected = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}]
    expected += [{"type": "ByteFallback"}] if falls_back or {"type": "ByteFallback"} in steps else []
    expected += [{"type": "Fuse"}]
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    if steps not in (expected, [*expected, strip]):
        kinds = (
            ", ".join(str(step.get("type")) if isinstance(step, Mapping) else quote(step) for step in steps) or "none"
        )
        supported = f"Replace {SPACE}, ByteFallback where model.byte_fallback is true, Fuse, and Strip or not"
        raise ValueError(f"decoder must be a Sequence of {supported}; got {short(kinds)}, which is not supported")
    return steps[-1] == strip


def _added(token: Mapping[str, Any], prefix: str | None) -> AddedToken:
    """Return an added token; `prefix` is that of the normalizer, None where there is none."""
    text = token["content"]
    flags = {flag: bool(token.get(flag, False)) for flag in (*FLAGS, "special")}
    flags["normalized"] &= prefix is not None
    normalized = ("▁" if prefix == "segment" else "") + text.replace(" ", SPACE)
    pattern = normalized if flags["normalized"] and normalized != text else ""
    return AddedToken(text, token["id"], pattern=pattern, **flags)


def _split_merge(merge: Any) -> tuple[str, str]:
    """Return the two pieces of a merge; older files write them as one text."""
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], str)):
        raise ValueError(f"'model.merges' must hold pairs of pieces, got {quote(merge)}")
    return pair[0], pair[1]


def to_huggingface_sentencepiece(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    """Return an object that Hugging Face's `Tokenizer.from_file` reads as the same tokenizer.

    It always reads special tokens in a text as their ids. Scores become merges: the pieces in the order of their scores,
    and of the pairs that make one those with the lowest ids first, as in transformers.

    Raises ValueError for symbols that tokenizer.model adds within a text, where the format would add a ▁.
    """
    spaces, merges, unknown = tokenizer.spaces, tokenizer.merges, tokenizer.unknown
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": spaces.symbol}
    prepend = {"type": "Prepend", "prepend": spaces.symbol}
    back = {"type": "Replace", "pattern": {"String": spaces.symbol}, "content": " "}
    scheme = next((theirs for theirs, ours in SCHEMES.items() if ours == spaces.prefix), None)
    metaspace = {"type": "Metaspace", "replacement": spaces.symbol, "prepend_scheme": scheme, "split": spaces.split}
    normalizers = [prepend, replace] if spaces.prefix == "segment" else [replace]
    by_metaspace = spaces.split or spaces.prefix in ("missing", "first")
    lost = [t.text for t in tokenizer.added_tokens if t.normalized and spaces.prefix == "segment" and not t.pattern]
    if lost:
        raise ValueError(
            f"to_huggingface: the symbol {quote(lost[0])} is found after a ▁ is added, which the format cannot say"
        )
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if spaces.strip else []
    fallback = [{"type": "ByteFallback"}] if unknown.byte_fallback else []
    pairs = list(merges.pairs())
    if merges.scores is not None:
        pairs.sort(key=lambda pair: (merges.ranks[pair[0] * merges.size + pair[1]], pair))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token.id, "content": token.text, **{flag: getattr(token, flag) for flag in (*FLAGS, "special")}}
            for token in sorted(tokenizer.added_tokens, key=lambda token: token.id)
        ],
        "normalizer": None if by_metaspace else {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": metaspace if by_metaspace else None,
        "post_processor": write_post_processor(tokenizer) if tokenizer.adds_bos else None,
        "decoder": {"type": "Sequence", "decoders": [back, *fallback, {"type": "Fuse"}, *strip]},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if unknown.id is None else merges.texts[unknown.id],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": unknown.fuse,
            "byte_fallback": unknown.byte_fallback,
            "ignore_merges": False,
            "vocab": dict(sorted(merges.pieces.items(), key=lambda item: item[1])),
            "merges": [[merges.texts[left], merges.texts[right]] for left, right in pairs],
        },
    }
