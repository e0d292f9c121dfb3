"""Tests of gpt/text/records.py: JSON lists, JSON lines and tables, with the line of whatever is wrong."""

import json
from pathlib import Path

import pytest

from gpt.text.records import Record, json_lines, read_json, read_table, text_field


def write(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_a_list_and_lines_hold_the_same_records(tmp_path: Path) -> None:
    entries = [{"a": "x\u2028y"}, {"a": 2, "b": [None]}]
    as_list = write(tmp_path, "a.json", "\ufeff" + json.dumps(entries, indent=1, ensure_ascii=False))
    lines = "\r\n\r\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\r\n"
    as_lines = write(tmp_path, "b.json", "\ufeff" + lines)
    assert list(read_json(as_list)) == [Record(e, n, f"{as_list}, entry {n}") for n, e in enumerate(entries, 1)]
    assert list(read_json(as_lines)) == [
        Record(e, n, f"{as_lines}, line {n}") for n, e in zip((1, 3), entries, strict=True)
    ]
    assert list(read_json(write(tmp_path, "c.json", lines.encode("utf-16")))) == [
        Record(e, n, f"{tmp_path / 'c.json'}, line {n}") for n, e in zip((1, 3), entries, strict=True)
    ]


def test_blank_lines_are_counted_on_request(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{}\n\n \n{"a": 1}\n\n')
    warnings: list[str] = []
    assert [record.line for record in read_json(path, warn=warnings.append)] == [1, 4]
    assert warnings == []
    list(read_json(path, warn=warnings.append, warn_blank=True))
    assert warnings == ["3 blank lines skipped"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"a": 1}\n{"a"', "{path}, line 2: a line must be one JSON object, but it is not JSON: "),
        ('{\n"a": 1}', "line 1: a line must be one JSON object, but it is not JSON: .*; a list of entries begins with"),
        ('\n{"a": 1, "b": 2, "a": 3}', "line 2: a line must be one JSON object, but the key 'a' is there twice"),
        ('{"a": {"b": 1, "b": 1}}', "the key 'b' is there twice"),
        ("5", "line 1: must be an object like .*, got int"),
        ('[{"a": 1}, []]', "{path}, entry 2: must be an object like .*, got list"),
        ('[{"a": 1},]', "{path} must be a JSON list, but it is not JSON: "),
        ("[" * 100_000, "{path} must be a JSON list, but it is nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "line 1: a line must be one JSON object, but Exceeds the limit"),
    ],
)
def test_the_line_or_entry_that_is_wrong_is_named(tmp_path: Path, data: str, message: str) -> None:
    path = write(tmp_path, "a.jsonl", data)
    with pytest.raises(ValueError, match="^data: .*" + message.replace("{path}", r".*a\.jsonl")):
        list(read_json(path))


def test_reading_goes_on_after_an_error_that_is_handled() -> None:
    errors: list[ValueError] = []
    records = json_lines(['{"a": 1}\n', "{\n", "[]\n", '{"a": 2}'], "a.jsonl", on_error=errors.append)
    assert [record.fields["a"] for record in records] == [1, 2]
    assert [str(error)[:22] for error in errors] == ["data: a.jsonl, line 2:", "data: a.jsonl, line 3:"]


def test_a_csv_cell_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", '\ufefflabel,text\r\nham,"a, ""b""\r\nc"\r\n\r\nspam,d\r\n')
    warnings: list[str] = []
    rows = read_table(path, warn=warnings.append)
    assert rows == [(1, ["label", "text"]), (2, ["ham", 'a, "b"\r\nc']), (5, ["spam", "d"])]
    assert warnings == ["1 blank line skipped"]


def test_in_a_tsv_a_quote_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", 'ham\t"hi\r\nspam\tsay "x"\u2028y\x85z\n')  # neither U+2028 nor U+0085 ends a line
    assert read_table(path) == [(1, ["ham", '"hi']), (2, ["spam", 'say "x"\u2028y\x85z'])]


def test_a_csv_row_with_wrong_quotes_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'a,b\nc,"d"e\n')
    with pytest.raises(ValueError, match=r"a\.csv, in the row that begins at line 2: .*put a cell that has quotes in"):
        read_table(path)


def test_every_reader_follows_the_rule_for_encodings(tmp_path: Path) -> None:
    warnings: list[str] = []
    table = write(tmp_path, "a.tsv", "caf\xe9\tb".encode("latin-1"))
    assert read_table(table, warn=warnings.append) == [(1, ["café", "b"])]
    lines = write(tmp_path, "a.jsonl", '{"a": "\xe9"}'.encode("latin-1"))
    assert [record.fields for record in read_json(lines, warn=warnings.append)] == [{"a": "é"}]
    assert ["it is read as latin-1" in warning for warning in warnings] == [True, True]
    with pytest.raises(ValueError, match=r"a\.tsv is not utf-8: byte 0xe9 at position 3, in line 1"):
        read_table(table, encoding="utf-8")
    assert read_table(table, encoding="mixed", warn=warnings.append) == [(1, ["café", "b"])]
    assert warnings[-1] == "1 line read as latin-1"


def test_a_field_must_be_there_and_be_text() -> None:
    record = Record({"text": "é😀", "n": 1, "half": "ab\ud83d"}, 3, "a.jsonl, line 3")
    assert text_field(record, "text") == "é😀"
    with pytest.raises(ValueError, match=r"data: a\.jsonl, line 3: there is no 'body', only 'text', 'n', 'half'"):
        text_field(record, "body")
    with pytest.raises(ValueError, match=r"data: a\.jsonl, line 3: 'n' must be a text, got int"):
        text_field(record, "n")
    with pytest.raises(ValueError, match=r"'half' has a lone surrogate at 2; take it out"):
        text_field(record, "half")
