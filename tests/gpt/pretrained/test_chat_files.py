"""What a folder says about talking: beginnings, ends, templates; and malformed files, each an error of one line."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from gpt.pretrained.chat_files import ChatFiles, read_chat_files
from gpt.tokenizer import EOT, BPETokenizer

BOS, TURN = "<s>", "<|im_end|>"
TOKENIZER = BPETokenizer.train("ab ab", 260, special_tokens=(EOT, BOS, TURN))
eot, bos, turn = (TOKENIZER.special_tokens[token] for token in (EOT, BOS, TURN))
FILES = {"generation": "generation_config.json", "config": "config.json", "tokenizer": "tokenizer_config.json"}


def read(folder: Path, base: BPETokenizer = TOKENIZER, jinja: str | None = None, **contents: Any) -> ChatFiles:
    for name, content in contents.items():
        (folder / FILES[name]).write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
    if jinja is not None:
        (folder / "chat_template.jinja").write_bytes(jinja.encode())
    return read_chat_files(folder, base)


def test_without_files_a_text_begins_and_ends_with_the_end_of_text(tmp_path: Path) -> None:
    chat = read(tmp_path)
    assert (chat.tokenizer.bos_id, chat.tokenizer.adds_bos, chat.tokenizer.end_ids) == (eot, False, (eot,))
    assert (chat.template, chat.suggestions, chat.notes) == ("", {}, ())
    assert chat.tokenizer.sha256 == TOKENIZER.sha256  # no text has other ids
    assert read(tmp_path, BPETokenizer.train("ab", 256, special_tokens=())).tokenizer.bos_id is None


@pytest.mark.parametrize(
    ("contents", "begin", "ends"),
    [
        ({"generation": {"bos_token_id": bos, "eos_token_id": [turn, eot]}}, bos, (turn, eot)),
        ({"generation": {"bos_token_id": bos, "eos_token_id": turn}, "config": {"eos_token_id": eot}}, bos, (turn,)),
        ({"config": {"bos_token_id": bos, "eos_token_id": turn}}, bos, (turn,)),
        ({"generation": {"eos_token_id": eot}, "config": {"bos_token_id": bos}}, bos, (eot,)),
        ({"config": {"eos_token_id": eot}, "tokenizer": {"eos_token": TURN, "bos_token": BOS}}, bos, (eot, turn)),
        ({"tokenizer": {"eos_token": {"content": TURN, "lstrip": False}}}, eot, (turn,)),
        ({"generation": {"eos_token_id": None, "bos_token_id": None}, "tokenizer": {"eos_token": None}}, eot, (eot,)),
    ],
)
def test_the_ends_of_texts(tmp_path: Path, contents: dict[str, Any], begin: int, ends: tuple[int, ...]) -> None:
    tokenizer = read(tmp_path, **contents).tokenizer
    assert (tokenizer.bos_id, tokenizer.adds_bos, tokenizer.end_ids) == (begin, False, ends)
    assert type(tokenizer).from_dict(tokenizer.to_dict()).end_ids == ends


def test_a_token_that_precedes_every_text_stays(tmp_path: Path) -> None:
    adds = TOKENIZER.with_bos_eos(bos_id=bos, adds_bos=True, end_ids=[eot])
    tokenizer = read(tmp_path, adds, config={"bos_token_id": eot, "eos_token_id": turn}).tokenizer
    assert (tokenizer.bos_id, tokenizer.adds_bos, tokenizer.end_ids) == (bos, True, (turn,))


def test_an_ordinary_token_or_none_is_no_end_and_that_is_said(tmp_path: Path) -> None:
    chat = read(tmp_path, config={"bos_token_id": 97, "eos_token_id": [turn, 50256]})
    assert (chat.tokenizer.bos_id, chat.tokenizer.end_ids) == (eot, (turn,))
    assert chat.notes == (
        "bos_token_id 97 of config.json is no special token of the tokenizer: not used",
        "eos_token_id 50256 of config.json is no special token of the tokenizer: not used",
    )


def test_templates_and_suggestions(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    assert read(tmp_path, tokenizer={"chat_template": several}).template == "yes"
    chat = read(
        tmp_path, tokenizer={"chat_template": "hi", "bos_token": BOS}, generation={"temperature": 0.6, "top_k": 20}
    )
    assert (chat.template, chat.bos_token, chat.eos_token) == ("hi", BOS, "")
    assert chat.suggestions == {"temperature": 0.6, "top_k": 20}
    assert read(tmp_path, tokenizer={"chat_template": "hi"}, jinja="its own file\r\n").template == "its own file\n"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"generation": "{"}, r"generation_config\.json: it is not JSON"),
        ({"generation": "[]"}, r"generation_config\.json: it must be a JSON object, found list"),
        ({"generation": {"eos_token_id": "2"}}, r"config\.json: eos_token_id must be a whole number from 0, a list"),
        ({"generation": {"eos_token_id": [1, True]}}, "eos_token_id must be a whole number from 0, .* got True"),
        ({"config": {"bos_token_id": -1}}, r"config\.json: bos_token_id must be a whole number from 0, .* got -1"),
        ({"config": {"bos_token_id": [1.5]}}, "bos_token_id must be a whole number from 0, .* got 1.5"),
        (
            {"tokenizer": {"bos_token": 5}},
            r"tokenizer_config\.json: bos_token must be a text, an object with 'content'",
        ),
        ({"tokenizer": {"eos_token": {"content": 5}}}, "eos_token must be a text, an object with 'content' or null"),
        ({"tokenizer": {"chat_template": 5}}, "chat_template must be a text, a list of named ones or null, got 5"),
        ({"tokenizer": {"chat_template": ["a"]}}, "chat_template must hold objects with name and template, got 'a'"),
        ({"tokenizer": {"chat_template": []}}, "must have one named 'default', got none"),
        ({"tokenizer": {"chat_template": [{"name": "a", "template": ""}]}}, "must have one named 'default', got 'a'"),
        ({"tokenizer": {"chat_template": [{"name": "default", "template": {}}]}}, "chat_template must be a text"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, contents: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, **contents)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_template_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"a\xff")
    with pytest.raises(ValueError, match=r"chat_template\.jinja: must be UTF-8, got byte 0xff"):
        read(tmp_path)


@pytest.mark.slow
def test_mutated_files_are_read_or_named(tmp_path: Path) -> None:
    rng = random.Random(0)
    template = [{"name": "default", "template": "{{ a }}"}]
    valid = {
        "generation": {"bos_token_id": bos, "eos_token_id": [turn, eot], "temperature": 0.6},
        "config": {"bos_token_id": bos, "eos_token_id": eot},
        "tokenizer": {"bos_token": {"content": BOS}, "eos_token": TURN, "chat_template": template},
    }
    n_errors = 0
    for _ in range(1000):
        texts = {name: json.dumps(content) for name, content in valid.items()}
        name = rng.choice(sorted(texts))
        text = list(texts[name])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 3)] = rng.choice([*'"[]{},:0129.-', "null", "true", "1e999", "é", ""])
        try:
            chat = read(tmp_path, **{**texts, name: "".join(text)})
        except ValueError as error:
            assert str(error).startswith(f"{tmp_path / FILES[name]}: ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            assert len(str(error)) < 400  # noqa: PT017
            n_errors += 1
        else:
            assert set(chat.tokenizer.end_ids) <= {eot, bos, turn}
    assert 400 < n_errors < 1000


@pytest.mark.parametrize("name", [*FILES.values(), "chat_template.jinja"])
@pytest.mark.parametrize("what", ["folder", "link to nothing", "link to itself"])
def test_what_is_no_file_is_not_taken_for_a_missing_one(tmp_path: Path, name: str, what: str) -> None:
    if what == "folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).symlink_to("nothing" if what == "link to nothing" else name)
    with pytest.raises(ValueError, match=f"{name}: must be a file, and is none"):
        read(tmp_path)
