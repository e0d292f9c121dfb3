"""The formats of others: read by hand, detected, written and read again, and refused by name."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.tokenizer import EOT, PATTERNS, BPETokenizer, load_tokenizer, to_huggingface
from gpt.tokenizer.formats.openai import BYTE_OF, from_visible, to_visible
from gpt.tokenizer.formats.tiktoken import KNOWN, recover_merges
from gpt.tokenizer.pairs import Pair, train_naively
from gpt.tokenizer.splits import NAMED

TEXT = "low low low lower lowest; the newer, the wider: it's they'll 2024\n\n\tété 😀😀 中文"
BPE = BPETokenizer.train(TEXT, 300)
Change = Callable[[Any], None]


def write_openai(folder: Path, encoder: str = "encoder.json", merges: str = "vocab.bpe") -> Path:
    special = set(BPE.special_tokens.values())
    tokens = {token.decode() if id in special else to_visible(token): id for id, token in BPE.vocab.items()}
    (folder / encoder).write_text(json.dumps(tokens), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{to_visible(left)} {to_visible(right)}" for left, right in BPE.merges), ""]
    (folder / merges).write_text("\n".join(lines), encoding="utf-8", newline="")
    return folder


def write_ranks(path: Path, tokenizer: BPETokenizer) -> Path:
    special = set(tokenizer.special_tokens.values())
    lines = [base64.b64encode(data) + b" %d\n" % id for id, data in tokenizer.vocab.items() if id not in special]
    path.write_bytes(b"".join(lines))
    return path


def write_huggingface(path: Path, change: Change = lambda fields: None) -> Path:
    fields = to_huggingface(BPE)
    change(fields)
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


def same(one: Any, other: BPETokenizer) -> bool:
    assert isinstance(one, BPETokenizer)
    return one.sha256 == other.sha256


# OpenAI


def test_bytes_are_made_visible() -> None:
    assert to_visible(b" the\n\xc3\xa9") == "ĠtheĊÃ©"
    assert from_visible("ĠtheĊÃ©") == b" the\n\xc3\xa9"
    assert len(BYTE_OF) == 256
    assert from_visible(to_visible(bytes(range(256)))) == bytes(range(256))
    with pytest.raises(ValueError, match="' ' is not the code of a byte; a space is written 'Ġ'"):
        from_visible("a b")


@pytest.mark.parametrize("names", [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")])
def test_gpt2_files_are_read_from_either_or_their_folder(tmp_path: Path, names: tuple[str, str]) -> None:
    write_openai(tmp_path, *names)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    for path in (tmp_path, *(tmp_path / name for name in names)):
        assert same(load_tokenizer(path), BPE)
    changed = load_tokenizer(tmp_path, pattern="cl100k")
    assert isinstance(changed, BPETokenizer)
    assert changed.pattern == "cl100k"


def test_vocab_and_merges_of_another_model_need_a_pattern(tmp_path: Path) -> None:
    """Qwen3 has these two files too: with GPT-2's pattern its ids would be wrong without a word."""
    write_openai(tmp_path, "vocab.json", "merges.txt")
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(
        ValueError, match=r"do not say how to split text: put tokenizer.json beside, or .* --pattern NAME"
    ):
        load_tokenizer(tmp_path)
    assert load_tokenizer(tmp_path, pattern="smollm").encode("12 low") == [49, 50, 258]
    special = {"300": {"content": "<|im_end|>", "special": True}, "301": {"content": "<think>", "special": False}}
    config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": special, "eos_token": "<|im_end|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    qwen = load_tokenizer(tmp_path)
    assert isinstance(qwen, BPETokenizer)
    assert (qwen.pattern, qwen.end_ids, qwen.allowed_special) == (NAMED["qwen2"], (300,), ("<think>",))
    assert qwen.encode("e\u0301<think>low12") == [*qwen.encode("\u00e9"), 301, 257, 49, 50]
    (tmp_path / "tokenizer_config.json").unlink()
    fields = to_huggingface(BPETokenizer.train(TEXT, 300, pattern="cl100k"))
    sections = {key: fields[key] for key in ("normalizer", "pre_tokenizer")}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {}, **sections}))
    other = load_tokenizer(tmp_path / "vocab.json")
    assert isinstance(other, BPETokenizer)
    assert other.pattern == "cl100k"


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    write_openai(tmp_path)
    path = tmp_path / "vocab.bpe"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert same(load_tokenizer(tmp_path), BPE)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("vocab.bpe", b"o w\n", b"ow\n", r"line 2 of the merges must be two tokens, got \['ow'\]"),
        ("vocab.bpe", b"o w\n", b"o w x\n", r"line 2 of the merges must be two tokens, got \['o', 'w', 'x'\]"),
        ("vocab.bpe", b"o w\n", b"o  w\n", r"line 2 of the merges must be two tokens, got \['o', '', 'w'\]"),
        ("vocab.bpe", b"o w\n", b"o \xe4\xb8\xad\n", "line 2 of the merges: '中' is not the code of a byte"),
        ("vocab.bpe", b"o w\n", b"o q\n", "line 2 of the merges needs the token 'oq', which encoder.json does not have"),
        ("vocab.bpe", b"o w\n", b"\xff\n", r"vocab\.bpe: it is not UTF-8: byte 0xff at position 14"),
        ("vocab.bpe", b"o w\n", b"", r"encoder\.json has 1 tokens that no merge makes, such as 'ow'"),
        ("encoder.json", b"{", b"{{", r"encoder\.json: it is not JSON: Expecting property name"),
        ("encoder.json", b'"ow": 256', b'"ow": "256"', "'encoder.json' must give texts an integer id, got 'ow': '256'"),
        ("encoder.json", b'"ow": 256', b'"ow": 257', "'encoder.json' gives 'low' the id 257, which another token has"),
        ("encoder.json", b'"ow": 256', b'"o w": 256', "'encoder.json' has 'o w': ' ' is not the code of a byte"),
        ("encoder.json", b"{", b"[{", r"encoder\.json: it is not JSON"),
    ],
)  # fmt: skip
def test_damage_in_gpt2_files_is_named(tmp_path: Path, name: str, old: bytes, new: bytes, message: str) -> None:
    path = write_openai(tmp_path) / name
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(ValueError, match=f"load_tokenizer: .*{message}"):
        load_tokenizer(tmp_path)


def test_merges_that_are_cut_off_and_files_that_are_alone_are_named(tmp_path: Path) -> None:
    write_openai(tmp_path)
    path = tmp_path / "vocab.bpe"
    path.write_bytes(b"\n".join(path.read_bytes().split(b"\n")[:-3]))
    with pytest.raises(
        ValueError, match=r"encoder\.json has 2 tokens that no merge makes, such as .*cut off or belong"
    ):
        load_tokenizer(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"load_tokenizer: .*encoder\.json: vocab\.bpe must be in the same folder"):
        load_tokenizer(tmp_path / "encoder.json")
    (tmp_path / "vocab.bpe").write_text("")
    (tmp_path / "encoder.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"encoder\.json must be an object of tokens and their ids, got list"):
        load_tokenizer(tmp_path)


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"load_tokenizer: .* must have a tokenizer\.json, .*, got none of them; name"):
        load_tokenizer(tmp_path)


# tiktoken


def test_merges_recovered_by_hand() -> None:
    # low is made when ow is there: of l o w, o w is joined first, and then l ow
    ranks = {b"lo": 302, b"low": 301, b"ow": 300, b"l": 7, b"o": 1, b"w": 2}
    assert recover_merges(ranks) == [(b"o", b"w"), (b"l", b"ow"), (b"l", b"o")]
    with pytest.raises(ValueError, match="token b'low' of rank 9 must be two tokens of lower ranks joined, got 3; the"):
        recover_merges({b"l": 0, b"o": 1, b"w": 2, b"low": 9})


words = st.dictionaries(st.text("ab", min_size=1, max_size=12) | st.text(max_size=6), st.integers(1, 4), max_size=8)


@settings(max_examples=200, deadline=None)
@given(words, st.integers(0, 40))
def test_merges_of_training_are_recovered(word_counts: dict[str, int], n_merges: int) -> None:
    merges: list[Pair] = train_naively(word_counts, n_merges)
    tokens = [*(bytes([byte]) for byte in range(256)), *(left + right for left, right in merges)]
    assert recover_merges({token: rank for rank, token in enumerate(tokens)}) == merges


def test_ranks_are_read(tmp_path: Path) -> None:
    path = write_ranks(tmp_path / "mine.tiktoken", BPE)
    expected = BPETokenizer(BPE.vocab, BPE.merges, [EOT], pattern="o200k", allowed_special=())
    assert same(load_tokenizer(path, pattern="o200k", special_tokens=[EOT]), expected)
    assert same(load_tokenizer(tmp_path, pattern="o200k", special_tokens={EOT: BPE.special_tokens[EOT]}), expected)
    renamed = path.rename(tmp_path / "ranks.txt")
    assert same(load_tokenizer(renamed, pattern="o200k", special_tokens=[EOT]), expected)
    gaps = load_tokenizer(renamed, pattern="gpt2", special_tokens={"<|x|>": 1000})
    assert gaps.vocab_size == 1001


@pytest.mark.parametrize("name", KNOWN)
def test_known_names_say_pattern_and_special_tokens(tmp_path: Path, name: str) -> None:
    loaded = load_tokenizer(write_ranks(tmp_path / f"{name}.tiktoken", BPE))
    assert isinstance(loaded, BPETokenizer)
    assert (loaded.pattern, loaded.special_tokens) == KNOWN[name]
    assert loaded.eot_id == KNOWN[name][1][EOT]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"bG93 257\n", b"bG9 257\n", "line 258 must be a token in base64 and its rank, got b'bG9 257'"),
        (b"bG93 257\n", b"bG93\n", "line 258 must be a token in base64 and its rank, got b'bG93'"),
        (b"bG93 257\n", b"bG93 x\n", "line 258 must be a token in base64 and its rank, got b'bG93 x'"),
        (b"bG93 257\n", b"bG93 256\n", "line 258 has a token or a rank that another line has: b'low', 256"),
        (b"bG93 257\n", b"b3c= 257\n", "line 258 has a token or a rank that another line has: b'ow', 257"),
        (b"bG93 257\n", b"eHl6 257\n", "the token b'xyz' of rank 257 must be two tokens of lower ranks joined, got 3"),
        (b"YQ== 97\n", b"", "every byte must have a rank, and 0x61 has none; is the file truncated?"),
    ],
)
def test_damage_in_ranks_is_named(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = write_ranks(tmp_path / "cl100k_base.tiktoken", BPE)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(ValueError, match=rf"load_tokenizer: .*cl100k_base\.tiktoken: .*{message}"):
        load_tokenizer(path)


def test_what_a_file_says_or_does_not_say_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not named r50k_base, .* has no known pattern; give pattern='gpt2' or"):
        load_tokenizer(write_ranks(tmp_path / "mine.tiktoken", BPE))
    with pytest.raises(ValueError, match=r"special_tokens gives '<\|x\|>' the id 97, which b'a' has"):
        load_tokenizer(tmp_path / "mine.tiktoken", pattern="gpt2", special_tokens={"<|x|>": 97})
    BPE.save(tmp_path / "ours.json")
    with pytest.raises(ValueError, match="pattern and special_tokens must be left out: the file itself has them"):
        load_tokenizer(tmp_path / "ours.json", pattern="gpt2")
    with pytest.raises(ValueError, match="special_tokens must be left out"):
        load_tokenizer(write_openai(tmp_path), special_tokens=[EOT])


# Hugging Face


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_tokenizer_goes_there_and_back(tmp_path: Path, pattern: str) -> None:
    tokenizer = BPETokenizer.train(TEXT, 300, pattern=pattern, special_tokens=(EOT, "<|é|>"), allowed_special=["<|é|>"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(to_huggingface(tokenizer)), encoding="utf-8")
    assert same(load_tokenizer(tmp_path), tokenizer)
    assert same(load_tokenizer(tmp_path / "tokenizer.json"), tokenizer)


def put(*keys: Any, to: Any) -> Change:
    def change(fields: Any) -> None:
        for key in keys[:-1]:
            fields = fields[key]
        fields[keys[-1]] = to

    return change


def test_merges_may_be_lists_and_special_tokens_in_both_places(tmp_path: Path) -> None:
    def change(fields: Any) -> None:
        fields["model"]["merges"] = [merge.split(" ") for merge in fields["model"]["merges"]]
        fields["model"]["vocab"][EOT] = BPE.special_tokens[EOT]
        fields["post_processor"] = fields["decoder"]
        fields["model"]["continuing_subword_prefix"] = ""
        del fields["model"]["type"]

    assert same(load_tokenizer(write_huggingface(tmp_path / "tokenizer.json", change)), BPE)


SPLIT = ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "ByteLevel"}]})
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}


def split_by(regex: str, behavior: str = "Isolated") -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, LEVEL]}


def template(*tokens: str) -> dict[str, Any]:
    """Return a post-processor that adds these tokens before a text."""
    single = [
        *({"SpecialToken": {"id": token, "type_id": 0}} for token in tokens),
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    known = {token: {"id": token, "ids": [0], "tokens": [token]} for token in tokens}
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": known}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("model", to=5), "'model' must be an object, got int"),
        (put("model", "type", to="Unigram"), "the model must be BPE, got 'Unigram'"),
        (put("model", "dropout", to=0.1), r"model\.dropout must be None, got 0\.1, which is not supported"),
        (put("model", "end_of_word_suffix", to="</w>"), r"model\.end_of_word_suffix must be None, got '</w>'"),
        (put("model", "byte_fallback", to=1), r"model\.byte_fallback must be False, got 1"),
        (put("model", "ignore_merges", to="yes"), r"model\.ignore_merges must be False, got 'yes'"),
        (put("model", "vocab", to=[]), r"'model\.vocab' must be an object, got list"),
        (put("model", "merges", to={}), r"'model\.merges' must be a list, got dict"),
        (put("model", "merges", 0, to="o w x"), r"model\.merges\[0\] must be two tokens, got \['o', 'w', 'x'\]"),
        (put("model", "merges", 0, to=7), r"model\.merges\[0\] must be two tokens, got \[7\]"),
        (put("model", "merges", 0, to=["o", "q"]), r"model\.merges\[0\] needs the token 'oq', which model\.vocab does"),
        (put("model", "vocab", "a", to=98), r"'model\.vocab' gives 'b' the id 98, which another token has"),
        (put("normalizer", to={"type": "NFKC"}), "normalizer must be NFC or null, got NFKC, which is not supported"),
        (put("post_processor", to={"type": "RobertaProcessing"}), "post_processor must be .*, got RobertaProcessing"),
        (
            put("post_processor", to=template("x", "x")),
            "post_processor.TemplateProcessing.single must be a text with at",
        ),
        (put("decoder", to={"type": "WordPiece"}), "decoder must be ByteLevel or null, got WordPiece"),
        (put("pre_tokenizer", to=None), "pre_tokenizer must end with ByteLevel, got none, which is not supported"),
        (put("pre_tokenizer", to={"type": "Whitespace"}), "pre_tokenizer must end with ByteLevel, got Whitespace"),
        (
            put(SPLIT[0], to=SPLIT[1]),
            "pre_tokenizer must be of Split, Digits and ByteLevel, got Whitespace, which is not",
        ),
        (
            put("pre_tokenizer", to=split_by(r"\w+")),
            r"read alike by all engines, got '.*w\+', where '.*w\+' is not supp",
        ),
        (put("pre_tokenizer", to=split_by("a", "MergedWithNext")), "behavior must be Isolated or Removed, got 'Merged"),
        (put("added_tokens", to={}), "'added_tokens' must be a list"),
        (put("added_tokens", 0, to="x"), "'added_tokens' must be an object, got str"),
        (put("added_tokens", 0, "id", to="7"), "an added token must have a text as content and an integer id, got"),
        (put("added_tokens", 0, "id", to=97), r"added_tokens gives '<\|endoftext\|>' the id 97, which 'a' has"),
        (put("added_tokens", 0, "lstrip", to=1), r"added token '<\|endoftext\|>': lstrip must be true or false"),
        (put("added_tokens", 0, "content", to="low"), "added_tokens gives 'low' the id 299, and model.vocab another"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, change: Change, message: str) -> None:
    path = write_huggingface(tmp_path / "tokenizer.json", change)
    with pytest.raises(ValueError, match=rf"load_tokenizer: .*tokenizer\.json: .*{message}"):
        load_tokenizer(path)


# All of them


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["openai", "ranks", "huggingface"]),
    offset=st.integers(min_value=0),
    length=st.integers(0, 8),
    new=st.binary(max_size=4),
)
def test_any_damage_is_a_value_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, kind: str, offset: int, length: int, new: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / kind
    folder.mkdir(exist_ok=True)
    if kind == "openai":
        path = write_openai(folder) / ("vocab.bpe" if offset % 2 else "encoder.json")
    elif kind == "ranks":
        path = write_ranks(folder / "cl100k_base.tiktoken", BPE)
    else:
        path = write_huggingface(folder / "tokenizer.json")
    data = path.read_bytes()
    offset %= len(data)
    path.write_bytes(data[:offset] + new + data[offset + length :])
    try:
        said = load_tokenizer(path, warn=lambda note: None).decode([])
    except ValueError as error:
        said = str(error)
    assert said == "" or said.startswith(f"load_tokenizer: {folder}")


def test_gpt2s_own_files(data_dir: Path) -> None:
    gpt2 = load_tokenizer(data_dir / "gpt2")
    assert isinstance(gpt2, BPETokenizer)
    assert (gpt2.vocab_size, gpt2.special_tokens, len(gpt2.merges)) == (50257, {EOT: 50256}, 50000)
    assert gpt2.encode("Hello, world!") == [15496, 11, 995, 0]
    ranks = {token: id for id, token in gpt2.vocab.items() if id != gpt2.eot_id}
    assert recover_merges(ranks) == gpt2.merges
