"""Damaged tokenizer.json files: each is a tokenizer or an error of one line, in bounded time."""

import copy
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from gpt.tokenizer import BPETokenizer, load_tokenizer, splits, to_huggingface
from gpt.tokenizer.splits import NAMED

TEXT = "low low lower lowest newer wider 12 3456 it's\n\n  été 😀 <s>low</s> " + "a" * 40 + "!"
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 97, 2**31, 2**70, 1.5, 1e308, "", "a", "low", "Ġlow", "Ä", "<s>", "\ud800", "\0"),
    *([], {}, [[]], [None], ["l", "o"], {"type": "NFC"}, {"type": "Digits"}, {"type": "Sequence"}, {"Regex": "a|"}),
    *({"String": " "}, {"Regex": "(a*)*b"}, {"Regex": "(?:a{900}){900}"}, {"Regex": "["}, {"Regex": "(?=a)"}, "Removed"),
    *({"Regex": "(" * 200}, {"Regex": "(x+x+)+y|(a|aa)+$"}, {"Regex": r"\p{Foo}"}, {"Regex": "a" * 20_000}, "9" * 5000),
    *("Isolated", "ByteLevel", "Sequence", "TemplateProcessing", "BPE", {"type": ["x"]}, {"type": "Split"}),
)  # fmt: skip


def originals() -> list[Any]:
    """Return files of all spellings, with a vocabulary of 300 tokens."""
    files = []
    for name in NAMED:
        tokenizer = BPETokenizer.train(TEXT, 300, pattern=name, special_tokens=["<s>", "</s>", "<|endoftext|>"])
        bos = tokenizer.special_tokens["<s>"]
        files.append(to_huggingface(tokenizer.with_bos_eos(bos_id=bos, adds_bos=True, end_ids=[])))
    digits = {"type": "Digits", "individual_digits": False}
    files[-1]["pre_tokenizer"]["pretokenizers"][:1] = [digits, {"type": "Split", "pattern": {"String": "e"}, "behavior": "Removed", "invert": False}]  # fmt: skip  # noqa: E501
    files[-1]["model"]["ignore_merges"] = True
    files[-1]["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}
    files[-1]["decoder"] = {"type": "Sequence", "decoders": [files[-1]["decoder"]]}
    files[-1]["added_tokens"][0] |= {"lstrip": True, "rstrip": True, "normalized": True}
    return files


def places(value: Any, top: bool = True) -> list[tuple[Any, Any]]:
    """Return every container and key of a JSON value; of long ones only the first and the last."""
    if not isinstance(value, (dict, list)):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if len(keys) > 20:
        keys = keys[:3] + keys[-3:]
    found = [(value, key) for key in keys]
    return found + [place for key in keys for place in places(value[key], False)]


def mutate(draw: random.Random, value: Any) -> bytes:
    """Return the JSON of a damaged copy: values replaced, removed, exchanged, keys renamed, text cut or overwritten."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        container, key = draw.choice(places(value))
        kind = draw.randrange(6)
        if key not in container if isinstance(container, dict) else key >= len(container):
            continue
        if kind < 3:
            container[key] = copy.deepcopy(draw.choice(ODD))
        elif kind == 3:
            del container[key]
        elif kind == 4:
            other, name = draw.choice(places(value))
            if not isinstance(container[key], (dict, list)) or draw.random() < 0.5:
                other[name] = copy.deepcopy(container[key])
        elif isinstance(container, dict):
            container[str(draw.choice(ODD))[:20]] = container.pop(key)
        else:
            container.insert(key, copy.deepcopy(draw.choice(ODD)))
        if not places(value):
            break
    data = json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    if draw.random() < 0.2:
        start = draw.randrange(len(data))
        data = data[:start] + (b"" if draw.random() < 0.3 else draw.randbytes(draw.randrange(3)) + data[start + 1 :])
    return data


def run(path: Path, data: bytes) -> str:
    """Return "read", or the message of the ValueError."""
    path.write_bytes(data)
    try:
        tokenizer = load_tokenizer(path, warn=lambda note: None)
        assert isinstance(tokenizer, BPETokenizer)
        for text in (TEXT, "", "a" * 300):
            ids = tokenizer.encode(text, disallowed_special=())
            assert list(tokenizer.encode_iterable([text[:9], text[9:]], disallowed_special=())) == ids
            tokenizer.decode(ids)
        tokenizer.explain("low 12", disallowed_special=())
        json.dumps(to_huggingface(tokenizer))
        assert type(tokenizer).from_dict(tokenizer.to_dict()).sha256 == tokenizer.sha256
    except ValueError as error:
        return str(error)
    return "read"


@pytest.mark.slow
def test_damaged_files_are_errors_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "SECONDS", 0.05)
    draw, files = random.Random(19), originals()
    n_read = 0
    for _ in range(3000):
        data = mutate(draw, draw.choice(files))
        start = time.process_time()
        message = run(tmp_path / "tokenizer.json", data)
        assert time.process_time() - start < 5, data
        assert "\n" not in message, data
        assert len(message) < 1000, (message, data)
        n_read += message == "read"
    assert 0.05 < n_read / 3000 < 0.6
