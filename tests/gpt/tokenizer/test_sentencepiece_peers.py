"""Beside Hugging Face's tokenizers on the files of Llama 2 and Gemma 3, and beside Google's library on models it trains.

Run by `pytest -m peers`. GPT_TOKENIZERS_DIR names the folder of the real files, GPT_DATA_DIR that of the texts.
"""

import io
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gpt.tokenizer import SentencePieceTokenizer, load_tokenizer, to_huggingface
from gpt.tokenizer.formats.huggingface import from_huggingface
from gpt.tokenizer.formats.sentencepiece_model import from_sentencepiece_model

pytestmark = pytest.mark.peers
STRINGS = 3000  # for each file
LONGEST = 300_000  # characters of a text
PIECES = [
    *("the", " hello", "Don't", "123", " ▁", "▁", "▁▁", "<0x41>", "<0xFF>", "<unk>", "</", ">▁</", "> </", "<", "s>"),
    *("  ", "   ", "\t", "\n", "\n\n", "\r\n", "\x00", "\x1b[", "\u00a0", "\u200b", "\u3000", "é", "e\u0301", "中文"),
    *("привет", "😀", "👨‍👩‍👧", "ǅ", "ﷺ", "\U000e0041"),
]


def random_strings(rng: random.Random, n: int, added: Sequence[str]) -> Iterator[str]:
    """Yield texts of runs, added tokens, letters, and characters of all planes."""

    def part() -> str:
        kind = rng.random()
        if kind < 0.5:
            return rng.choice(PIECES)
        if kind < 0.6:
            return rng.choice(added)
        if kind < 0.75:
            return "".join(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in range(3))
        if kind < 0.9:
            return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz  .,'", k=rng.randint(1, 10)))
        return rng.choice(PIECES) * rng.randint(1, 40)

    for _ in range(n):
        yield "".join(part() for _ in range(rng.randint(0, 12)))


class Peers(NamedTuple):
    ours: SentencePieceTokenizer
    theirs: Any

    def check(self, text: str) -> None:
        ids = self.ours.encode(text, allowed_special="all")
        assert ids == self.theirs.encode(text, add_special_tokens=False).ids, repr(text[:200])
        assert self.ours.decode(ids) == self.theirs.decode(ids, skip_special_tokens=False)


@pytest.fixture(scope="module", params=["llama2", "gemma3"])
def peers(request: pytest.FixtureRequest, real_tokenizers: Path) -> Peers:
    tokenizers = pytest.importorskip("tokenizers")
    folder = real_tokenizers / request.param
    ours = load_tokenizer(folder)
    assert isinstance(ours, SentencePieceTokenizer)
    return Peers(ours, tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")))


def test_real_texts(peers: Peers, data_dir: Path) -> None:
    for path in sorted(path for path in data_dir.rglob("*") if path.suffix in (".txt", ".tsv", ".json", ".bpe", ".md")):
        with path.open(encoding="utf-8", newline="") as file:
            peers.check(file.read(LONGEST))


def test_random_strings(peers: Peers) -> None:
    rng = random.Random(19)
    added = [token.text for token in peers.ours.added_tokens]
    for number, text in enumerate(random_strings(rng, STRINGS, added)):
        peers.check(text)
        if number % 10 == 0:
            chunks = [text[i : i + 3] for i in range(0, len(text), 3)]
            whole = peers.ours.encode(text, allowed_special="all")
            assert list(peers.ours.encode_iterable(chunks, allowed_special="all")) == whole


def test_random_ids_are_decoded_alike(peers: Peers) -> None:
    rng = random.Random(20)
    ids, byte_ids = list(peers.ours.vocab), [peers.ours.merges.pieces[f"<0x{byte:02X}>"] for byte in range(256)]
    for _ in range(STRINGS):
        sample = [rng.choice(ids if rng.random() < 0.5 else byte_ids) for _ in range(rng.randint(0, 8))]
        assert peers.ours.decode(sample) == peers.theirs.decode(sample, skip_special_tokens=False), sample


def test_the_beginning_of_a_text(peers: Peers) -> None:
    assert peers.ours.prefix + peers.ours.encode("Hello") == peers.theirs.encode("Hello").ids


METASPACE = {"type": "Metaspace", "replacement": "▁"}
SPELLINGS: list[dict[str, Any]] = [
    {"normalizer": None, "pre_tokenizer": {**METASPACE, "prepend_scheme": scheme, "split": split}}
    for scheme in ("first", "always", "never")
    for split in (False, True)
]
NORMALIZED = [{"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}}, {}]


@pytest.mark.parametrize("changes", SPELLINGS + NORMALIZED)
def test_other_spellings(changes: dict[str, Any], real_tokenizers: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    fields = json.loads((real_tokenizers / "llama2" / "tokenizer.json").read_text(encoding="utf-8")) | changes
    added = [("<end>", {"lstrip": True}), ("<user>", {"rstrip": True}), ("of", {"single_word": True}), ("<s>", {})]
    fields["added_tokens"][1:2] = [
        {"id": fields["model"]["vocab"].get(text, 32000 + i), "content": text, "special": False}
        | {"single_word": False, "lstrip": False, "rstrip": False, "normalized": changes in NORMALIZED}
        | flags
        for i, (text, flags) in enumerate(added)
    ]
    fields["added_tokens"].sort(key=lambda token: token["id"])
    ours = from_huggingface(fields)
    assert isinstance(ours, SentencePieceTokenizer)
    pair = Peers(ours, tokenizers.Tokenizer.from_str(json.dumps(fields)))
    for text in random_strings(random.Random(21), 500, [*(text for text, _ in added), " of ", "often"]):
        pair.check(text)


def test_written_for_them(real_tokenizers: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    ours = load_tokenizer(real_tokenizers / "llama2")
    assert isinstance(ours, SentencePieceTokenizer)
    pair = Peers(ours, tokenizers.Tokenizer.from_str(json.dumps(to_huggingface(ours))))
    for text in random_strings(random.Random(22), 500, ["<s>", "</s>"]):
        pair.check(text)
    assert pair.theirs.encode("Hello").ids == ours.prefix + ours.encode("Hello")


@pytest.mark.parametrize("number", range(6))
def test_models_that_the_library_trains(number: int, data_dir: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    rng = random.Random(number)
    lines = (data_dir / "tinyshakespeare.txt").read_text(encoding="utf-8").split("\n")
    symbols = rng.sample(["<sep>", "ab", "the", "▁▁", "é", "<x><y>", "<x>", "中"], 3)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*rng.sample(lines, 1000), *["é ü 中文 12345", "a    b\t\tc  "] * 10]),
        model_writer=written,
        model_type="bpe",
        vocab_size=rng.choice([400, 800]),
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=number % 2 == 0,
        byte_fallback=number % 3 != 0,
        allow_whitespace_only_pieces=rng.random() < 0.5,
        split_by_whitespace=rng.random() < 0.7,
        character_coverage=rng.choice([1.0, 0.98]),
        user_defined_symbols=symbols if number % 4 else [],
        minloglevel=2,
        **rng.choice([{}, {"bos_id": -1}, {"unk_id": 3, "pad_id": 0}]),
    )
    theirs = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    ours = from_sentencepiece_model(written.getvalue())
    assert [-1 if id is None else id for id in (ours.bos_id, ours.eot_id)] == [theirs.bos_id(), theirs.eos_id()]
    for text in ["\n".join(lines[:300]), *random_strings(rng, 200, symbols)]:
        ids = theirs.encode(text)
        assert ours.encode_ordinary(text) == ids, text
        known = [id for id in ids if id != theirs.unk_id()]  # which it decodes to ⁇
        assert ours.decode(known) == theirs.decode(known)
