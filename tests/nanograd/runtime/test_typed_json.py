"""JSON of a given form: every type, every way to miss it, and damage that no type is needed for."""

import json
import math
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

import pytest

from nanograd.runtime.typed_json import Scalar, parse_json, read_json


@dataclass(frozen=True)
class Inner:
    names: tuple[str, ...]
    rate: float = 1.0


@dataclass
class Outer:
    step: int
    inner: Inner | None = None
    options: dict[str, Scalar] = field(default_factory=dict)
    anything: Any = None


class Part(TypedDict):
    file: str
    counts: NotRequired[list[int]]


def test_dataclasses_are_made_and_defaults_stay() -> None:
    assert read_json('{"step": 3}', Outer) == Outer(3)
    text = '{"step": 0, "inner": {"names": ["a"], "rate": 2}, "options": {"a": null, "b": 1.5}, "anything": [{}]}'
    outer = read_json(text.encode(), Outer)
    assert outer == Outer(0, Inner(("a",), 2.0), {"a": None, "b": 1.5}, [{}])
    assert outer.inner is not None
    assert type(outer.inner.rate) is float


def test_a_typed_dict_keeps_other_keys() -> None:
    assert read_json('{"file": "a", "more": [1]}', Part) == {"file": "a", "more": [1]}


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("{}", Outer, "the key 'step' is missing"),
        ("[]", Outer, "it must be a dict, got list"),
        ('{"step": 1, "stepp": 1}', Outer, "the key 'stepp' is unknown; the keys are step, inner, options, anything"),
        ('{"step": -1}', Outer, "'step' must be a whole number from 0, got -1"),
        ('{"step": 1.0}', Outer, "'step' must be a whole number from 0, got 1.0"),
        ('{"step": true}', Outer, "'step' must be a whole number from 0, got bool"),
        ('{"step": 1e400}', Outer, "'step' must be a whole number from 0, got inf"),
        (f'{{"step": 1{"0" * 400}}}', Outer, "'step' must be a whole number from 0, got a number too large"),
        ('{"step": 1, "inner": 3}', Outer, "'inner' must be a dict or null, got 3"),
        ('{"step": 1, "inner": {"names": "ab"}}', Outer, "'inner.names' must be a list, got str"),
        ('{"step": 1, "inner": {"names": ["a", 2]}}', Outer, "'inner.names[1]' must be a str, got 2"),
        ('{"step": 1, "inner": {"names": [], "rate": NaN}}', Outer, "'inner.rate' must be a finite number, got nan"),
        (f'{{"step": 1, "inner": {{"names": [], "rate": 1{"0" * 400}}}}}', Outer, "got a number too large"),
        ('{"step": 1, "options": {"a": []}}', Outer, "'options.a' must be a str or a whole number from 0 or a finite"),
        ('{"file": 1}', Part, "'file' must be a str, got 1"),
        ('{"file": "a", "counts": {}}', Part, "'counts' must be a list, got dict"),
        ('{"file": "a", "file": "b"}', Part, "the key 'file' is there twice"),
        ("[" * 100_000, Part, "it is nested too deeply"),
        ('{"a":' * 100_000, Part, "it is nested too deeply"),
        (b"\xff", Part, "it is not UTF-8: byte 0xff at position 0"),
        ("9" * 5000, Part, "Exceeds the limit"),
        ("", Part, "it is not JSON: Expecting value"),
    ],
    ids=range(22),
)
def test_another_form_is_one_short_line(text: str | bytes, form: type, message: str) -> None:
    with pytest.raises(ValueError, match=r"^") as error:
        read_json(text, form)
    assert message in str(error.value)
    assert len(str(error.value)) < 200


def test_a_long_key_is_shortened() -> None:
    for text in (f'{{"step": 1, "{"k" * 9999}": 1}}', f'{{"{"k" * 9999}": 1, "{"k" * 9999}": 1}}'):
        with pytest.raises(ValueError, match=r"kkk\.\.\.'") as error:
            read_json(text, Outer)
        assert len(str(error.value)) < 200


VALUES = [None, True, 0, -1, 10**30, 0.5, math.inf, math.nan, "", "a", [], ["a"], [0], {}, {"a": 0}, {"names": []}]


@pytest.mark.parametrize("name", ["step", "inner", "options", "anything"])
def test_any_value_gives_the_type_or_a_value_error(name: str) -> None:
    for value in (*VALUES, *([value] for value in VALUES), *({"a": value, "names": value} for value in VALUES)):
        try:
            outer = read_json(json.dumps({"step": 1, name: value}), Outer)
        except ValueError:
            continue
        assert type(outer.step) is int
        assert outer.inner is None or type(outer.inner) is Inner
        assert type(outer.options) is dict


def test_many_keys_take_linear_time() -> None:
    keys = ",".join(f'"{i}":0' for i in range(100_000))
    with pytest.raises(ValueError, match="the key '0' is there twice"):
        parse_json(f'{{{keys},"0":0}}')


def test_json_in_bytes_must_be_utf_8() -> None:
    assert parse_json('{"é": [1, {"a": null}]}'.encode()) == {"é": [1, {"a": None}]}
    with pytest.raises(ValueError, match="it is not UTF-8: byte 0xff at position 1"):
        parse_json(b'"\xff"')
