"""Read JSON that must have a certain form: what a damaged file holds becomes a ValueError that names the place.

    state = read_json(text, TrainingState)    # ValueError: 'step' must be a whole number from 0, got -3

The form is a type, written as in an annotation:

    int                 a count: 0 or more, and below 2⁶³
    float               a finite number, also a whole one
    bool, str, None, Any, X | Y, list[X], dict[str, X], and tuple[X, ...] for a list
    a dataclass         an object with its fields and no others; those with a default may be absent
    a dict of types     an object with exactly these keys
    a TypedDict         an object with at least these keys; those that are NotRequired may be absent
"""

import dataclasses
import json
import math
import typing
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, cast

Scalar = str | int | float | bool | None
TOO_LARGE = 2**63  # for a count
WORDS = {
    str: "a str", bool: "a bool", NoneType: "null", list: "a list", tuple: "a list", dict: "a dict",
    int: "a whole number from 0", float: "a finite number",
}  # fmt: skip
T = TypeVar("T")


def read_json(data: str | bytes, form: type[T], name: str = "") -> T:
    """Return the value of a JSON text in this form; ValueError if it is not JSON, or of another form."""
    return cast(T, check_form(parse_json(data), form, name))


def parse_json(data: str | bytes) -> Any:
    """Return the value of a JSON text; ValueError if it is not JSON in UTF-8 or an object has a key twice."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        return json.loads(text, object_pairs_hook=_distinct)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_form(value: Any, form: Any, name: str = "") -> Any:
    """Return a value of JSON in this form, its dataclasses made; ValueError names the path to what has another form."""
    if form is Any:
        return value
    kind, inner = typing.get_origin(form) or form, typing.get_args(form)
    if kind in (UnionType, typing.Union):
        if fitting := [member for member in inner if _fits(value, typing.get_origin(member) or member)]:
            return check_form(value, fitting[0], name)
        raise _other_form(value, inner, name)
    if isinstance(kind, Mapping) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        types, required, closed = (kind, kind.keys(), True) if isinstance(kind, Mapping) else _fields(kind)
        fields = check_form(value, dict, name)
        if missing := [key for key in types if key in required and key not in fields]:
            raise ValueError(f"the key {_path(name, missing[0])!r} is missing")
        if closed and (unknown := sorted(fields.keys() - types.keys())):
            raise ValueError(f"the key {_path(name, short(unknown[0]))!r} is unknown; the keys are {', '.join(types)}")
        checked = {key: check_form(v, types.get(key, Any), _path(name, key)) for key, v in fields.items()}
        return checked if isinstance(kind, Mapping) or typing.is_typeddict(kind) else kind(**checked)
    if not _fits(value, kind):
        raise _other_form(value, [kind], name)
    if kind is dict and inner:
        return {key: check_form(v, inner[1], _path(name, short(key))) for key, v in value.items()}
    if kind in (list, tuple) and inner:
        return kind(check_form(v, inner[0], f"{name}[{i}]") for i, v in enumerate(value))
    return float(value) if kind is float else value


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of a kind, whatever is in it."""
    if kind is int:
        return type(value) is int and 0 <= value < TOO_LARGE
    if kind is float:
        return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < TOO_LARGE)
    return type(value) is (list if kind is tuple else kind if kind in WORDS else dict)


def _other_form(value: Any, kinds: Iterable[Any], name: str) -> ValueError:
    words = " or ".join(WORDS.get(typing.get_origin(kind) or kind, "a dict") for kind in kinds)
    got = type(value).__name__
    if type(value) in (int, float):
        got = str(value) if type(value) is float or abs(value) < TOO_LARGE else "a number too large"
    return ValueError(f"{f'{name!r}' if name else 'it'} must be {words}, got {got}")


@lru_cache
def _fields(form: Any) -> tuple[dict[str, Any], frozenset[str], bool]:
    """Return the types of the fields of a dataclass or TypedDict, which must be there, and whether no others may."""
    types = typing.get_type_hints(form)
    if typing.is_typeddict(form):
        return types, form.__required_keys__, False
    missing = dataclasses.MISSING
    required = (f.name for f in dataclasses.fields(form) if f.default is missing and f.default_factory is missing)
    return types, frozenset(required), True


def _path(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def short(text: str) -> str:
    """Return a text for an error message: its beginning, if it is long."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def quote(value: Any) -> str:
    """Return a value as an error message quotes it: its repr, or the beginning of a long one."""
    return short(repr(value))


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a JSON object that has a key twice: Python would silently take the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {short(repeated)!r} is there twice")
    return fields
