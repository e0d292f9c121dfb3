"""Saving and loading: equal tokenizers come back, and what is damaged or foreign says so."""

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.tokenizer import BPETokenizer, CharTokenizer, Tokenizer, load_tokenizer, tokenizer_from_dict

TEXT = "low low lower é😀 <|endoftext|>"
BPE = BPETokenizer.train(
    TEXT, 262, pattern="cl100k", special_tokens=("<|endoftext|>", "<|é|>"), allowed_special={"<|é|>"}
)
CHAR = CharTokenizer.train(TEXT)
both = pytest.mark.parametrize("tokenizer", [BPE, CHAR], ids=["bpe", "char"])


def test_the_file_is_canonical_json(tmp_path: Path) -> None:
    tokenizer = CharTokenizer("aé")
    tokenizer.save(tmp_path / "char.json")
    text = '{"characters":"a\\u00e9","format":"gpt-tokenizer","kind":"char","version":1}'
    assert (tmp_path / "char.json").read_bytes() == text.encode() + b"\n"
    assert tokenizer.sha256 == hashlib.sha256(text.encode()).hexdigest()


@both
def test_a_tokenizer_comes_back_from_its_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    again = load_tokenizer(path)
    assert type(again) is type(tokenizer)
    assert again.to_dict() == tokenizer.to_dict() == json.loads(path.read_text(encoding="utf-8"))
    assert again.sha256 == tokenizer.sha256
    assert (again.vocab, again.vocab_size, again.eot_id) == (tokenizer.vocab, tokenizer.vocab_size, tokenizer.eot_id)
    assert again.encode_ordinary(TEXT) == tokenizer.encode_ordinary(TEXT)
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


@both
def test_a_tokenizer_comes_back_from_its_dict(tokenizer: Tokenizer) -> None:
    assert tokenizer_from_dict(tokenizer.to_dict()).sha256 == tokenizer.sha256


@both
def test_a_pickled_tokenizer_comes_back_without_its_cache(tokenizer: Tokenizer) -> None:
    data = pickle.dumps(tokenizer)
    tokenizer.encode_ordinary(TEXT + TEXT[::-1])
    assert pickle.dumps(tokenizer) == data
    again = pickle.loads(data)
    assert (type(again), again.sha256) == (type(tokenizer), tokenizer.sha256)


def test_what_encode_allows_is_kept() -> None:
    again = tokenizer_from_dict(BPE.to_dict())
    assert again.encode("<|é|>") == [BPE.special_tokens["<|é|>"]]
    with pytest.raises(ValueError, match="a special token must be allowed"):
        again.encode("<|endoftext|>")


def test_the_hash_tells_tokenizers_apart() -> None:
    others = [
        BPETokenizer.train(
            TEXT, 263, pattern="cl100k", special_tokens=("<|endoftext|>", "<|é|>"), allowed_special={"<|é|>"}
        ),
        BPETokenizer(BPE.vocab, BPE.merges, BPE.special_tokens, pattern="gpt2", allowed_special={"<|é|>"}),
        BPETokenizer(BPE.vocab, BPE.merges, BPE.special_tokens, pattern="cl100k"),
        BPETokenizer(BPE.vocab, BPE.merges[:-1], BPE.special_tokens, pattern="cl100k", allowed_special={"<|é|>"}),
    ]
    assert len({BPE.sha256, CHAR.sha256, *(other.sha256 for other in others)}) == 6


def set_key(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    """Return a function that sets the value at the path `keys` to `to`."""

    def change(fields: Any) -> None:
        for key in keys[:-1]:
            fields = fields[key]
        fields[keys[-1]] = to

    return change


def drop_key(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.pop(name)


@pytest.mark.parametrize(
    ("tokenizer", "change", "message"),
    [
        (BPE, drop_key("format"), 'this is not a tokenizer: it must be an object with "format": "gpt-tokenizer"'),
        (BPE, set_key("format", to="safetensors"), "this is not a tokenizer"),
        (BPE, drop_key("version"), "'version' must be 1, got None; another version of this program wrote it"),
        (BPE, set_key("version", to=2), "'version' must be 1, got 2"),
        (BPE, set_key("kind", to="bpf"), "'kind' must be one of 'bpe', 'char', 'sentencepiece', 'scored', got 'bpf'"),
        (BPE, set_key("kind", to=["bpe"]), r"'kind' must be one of 'bpe', 'char', .*, got \['bpe'\]"),
        (BPE, drop_key("merges"), "the key 'merges' is missing"),
        (BPE, set_key("extra", to=1), "the key 'extra' is unknown; the keys are pattern, vocab, merges"),
        (BPE, set_key("merges", to={}), "'merges' must be a list, got dict"),
        (BPE, set_key("merges", 0, to=[1, 2, 3]), r"'merges' must hold pairs of ids, got \[1, 2, 3\]"),
        (BPE, set_key("merges", 0, to=7), "'merges' must hold pairs of ids, got 7"),
        (BPE, set_key("merges", 0, to=[1, True]), r"'merges' must hold pairs of ids, got \[1, True\]"),
        (BPE, set_key("merges", 1, to=[1, 999]), "merge 1 names the id 999, which no token has"),
        (
            BPE,
            set_key("merges", 0, to=[1, 2]),
            r"merge 0 of b'\\x01' and b'\\x02' needs b'\\x01\\x02', which the vocab",
        ),
        (BPE, set_key("vocab", "a", to="97"), "'vocab' must give texts an integer id, got 'a': '97'"),
        (BPE, set_key("vocab", "a", to=True), "'vocab' must give texts an integer id, got 'a': True"),
        (BPE, set_key("vocab", "a", to=98), "'vocab' gives 'b' the id 98, which another token has"),
        (BPE, set_key("vocab", "a", to=-1), "ids must be 0 or greater, got -1"),
        (BPE, set_key("vocab", "中", to=999), "'vocab' has '中', which is not written in latin-1"),
        (
            BPE,
            set_key("special_tokens", "\ud800b", to=999),
            r"'special_tokens' has '\\ud800b', which is not written in utf-8",
        ),
        (BPE, set_key("special_tokens", "a", to=97), "'special_tokens' gives 'a' the id 97, which another token has"),
        (BPE, set_key("pattern", to="gpt3"), "pattern must be one of 'gpt2', .*, got 'gpt3'; did you mean 'gpt2'"),
        (BPE, set_key("pattern", to=None), "'pattern' must be a str or a dict, got NoneType"),
        (
            BPE,
            set_key("allowed_special", to=["<|x|>"]),
            r"allowed_special must name special tokens of this .*got '<\|x\|>'",
        ),
        (BPE, set_key("allowed_special", to=[[]]), r"'allowed_special\[0\]' must be a str, got list"),
        (CHAR, drop_key("characters"), "the key 'characters' is missing"),
        (CHAR, set_key("characters", to=["a"]), "'characters' must be a str, got list"),
        (CHAR, set_key("characters", to="aab"), r"characters must be distinct, got 'a' \(U\+0061\) twice"),
        (CHAR, set_key("characters", to="ba"), "characters must be sorted"),
        (CHAR, set_key("characters", to=""), "at least one character"),
        (CHAR, set_key("characters", to="\ud800"), r"lone surrogate, got U\+D800"),
    ],
)
def test_damage_is_named(
    tokenizer: Tokenizer, change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    fields = json.loads(json.dumps(tokenizer.to_dict()))
    change(fields)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"load_tokenizer: .*damaged\.json: .*{message}"):
        load_tokenizer(path)
    with pytest.raises(ValueError, match=message):
        tokenizer_from_dict(fields)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is not JSON: Expecting value: line 1 column 1"),
        (b'{"format": "gpt-tok', "it is not JSON: Unterminated string"),
        (b"\x80\x04K\x01.", "it is not UTF-8: byte 0x80 at position 0"),  # a pickle
        (b"[1, 2]", "this is not a tokenizer"),
        (b'{"hello": 5}', "this is not a tokenizer"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"version": 1, "version": 1}', "the key 'version' is there twice"),
    ],
)
def test_foreign_files_are_named(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"load_tokenizer: .*foreign\.json: .*{message}"):
        load_tokenizer(path)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "tokenizer.json"


@both
@settings(deadline=None)
@given(offset=st.integers(min_value=0), length=st.integers(0, 8), new=st.binary(max_size=4))
def test_any_damage_is_a_value_error_or_harmless(
    damaged: Path, tokenizer: Tokenizer, offset: int, length: int, new: bytes
) -> None:
    tokenizer.save(damaged)
    data = damaged.read_bytes()
    offset %= len(data)
    damaged.write_bytes(data[:offset] + new + data[offset + length :])
    try:
        again = load_tokenizer(damaged)
        said = f"tokenizer.json: {again.decode_bytes(again.encode(''))!r}"
    except ValueError as error:
        said = str(error)
    assert "tokenizer.json: " in said


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        load_tokenizer(tmp_path / "none.json")
