"""Labelled texts: read from every format, cleaned by rules that count, balanced and split."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.finetune.classification_data import Row, Rows, balance, clean, count_labels, read_labelled, read_rows, split

FEW = [("ham", "hi"), ("ham", "see you"), ("ham", "ok"), ("spam", "win"), ("spam", "prize"), ("spam", "call now")]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def pairs(data: Rows) -> list[tuple[str | None, str]]:
    return [(row.label, row.text) for row in data.rows]


TSV = "".join(f"{label}\t{text}\n" for label, text in FEW)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", TSV),
        ("a.TSV", TSV.removesuffix("\n")),
        ("a.tsv", TSV.replace("\n", "\r\n")),
        ("a.tsv", b"\xef\xbb\xbf" + TSV.encode()),
        ("a.tsv", "label\ttext\n" + TSV),
        ("a.tsv", "text\tLabel\n" + "".join(f"{text}\t{label}\n" for label, text in FEW)),
        ("a.csv", TSV.replace("\t", ",")),
        ("a.csv", "id,message,category\r\n" + "".join(f'{i},"{t}", {k} \r\n' for i, (k, t) in enumerate(FEW))),
        ("a.jsonl", "".join(json.dumps({"text": text, "label": label}) + "\n" for label, text in FEW)),
        ("a.jsonl", b"\xef\xbb\xbf" + b"".join(json.dumps({"sms": t, "class": k}).encode() + b"\r\n" for k, t in FEW)),
    ],
)
def test_every_format_has_the_same_rows(name: str, content: str | bytes, tmp_path: Path) -> None:
    data = read_labelled(write(tmp_path, name, content))
    assert pairs(data) == FEW
    assert data.labels == ("ham", "spam")
    assert data.notes == []
    assert count_labels(data.rows) == "ham 3, spam 3"


def test_columns_by_name_or_number(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "v1,v2,v3\n" + "".join(f"{k},{t},\n" for k, t in FEW))
    assert pairs(read_labelled(path, label_column="v1", text_column="v2")) == FEW
    path = write(tmp_path, "b.csv", "".join(f"x,{t},{k}\n" for k, t in FEW))
    assert pairs(read_labelled(path, label_column="3", text_column="2")) == FEW


def test_a_csv_cell_may_hold_commas_quotes_and_lines_and_rows_know_their_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'label,text\nham,"a, ""b""\nc"\n\nspam,d\n')
    data = read_rows(path)
    assert data.rows == [Row(2, 'a, "b"\nc', "ham"), Row(5, "d", "spam")]
    assert data.notes == ["1 blank line skipped"]


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", "".join(f'{{"label": {i % 2}, "text": "t{i}"}}\n' for i in range(6)))
    assert read_labelled(path).labels == ("0", "1")


def test_the_encoding_of_a_file_is_detected_or_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "ham\tcafé\n".encode() + b"spam\tcaf\xe9\n")
    data = read_rows(path)
    assert [row.text for row in data.rows] == ["cafÃ©", "café"]
    assert "in line 2; it is read as latin-1" in data.notes[0]
    data = read_rows(path, encoding="mixed")
    assert [row.text for row in data.rows] == ["café", "café"]
    assert data.notes == ["1 line read as latin-1"]
    assert pairs(read_labelled(write(tmp_path, "b.tsv", TSV.encode("utf-16")))) == FEW


# Cleaning


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    extra = "ham\thi\nspam\t  \nham\tboth\nspam\tboth\nham\tboth\n\nham\thi\n"
    data = read_labelled(write(tmp_path, "a.tsv", TSV + extra))
    assert pairs(data) == FEW
    assert data.notes == [
        "1 blank line skipped",
        "1 empty text left out",
        "2 exact duplicates left out",
        "3 texts with two labels left out",
    ]


@given(st.lists(st.builds(Row, st.just(1), st.sampled_from(["", " ", "a", "b", "c"]), st.sampled_from(["x", "y"]))))
def test_nothing_is_dropped_silently(rows: list[Row]) -> None:
    cleaned, notes = clean(rows)
    assert len(cleaned) + sum(int(note.split()[0]) for note in notes) == len(rows)
    assert len({row.text for row in cleaned}) == len(cleaned)


# Errors


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", "must end in .csv, .tsv or .jsonl: that is its format"),
        ("a.tsv", "", "is empty"),
        ("a.tsv", "label\ttext\n", "has no rows"),
        ("a.tsv", "a\tb\tc\n", "has no column called label; its columns are 1, 2, 3; choose one: --label-column NAME"),
        (
            "a.csv",
            "label,body\nx,y\n",
            "has no column called text; its columns are label, body; choose one: --text-column",
        ),
        (
            "a.csv",
            "text,kind\nx,y\n",
            "has no column called label; its columns are text, kind; choose one: --label-column",
        ),
        ("a.csv", "label,class,text\nx,y,z\n", "no column called label; candidates are label, class; choose one"),
        ("a.csv", "label,text,text\nx,y,z\n", "the header names the column 'text' twice; rename one"),
        ("a.tsv", TSV + "ham\ta\tb\n", "line 7 has 3 cells, the first row 2"),
        ("a.tsv", TSV + "ham\n", "line 7 has 1 cell, the first row 2"),
        ("a.csv", 'ham,a\nspam,"b\nc\n', "in the row that begins at line 2: unexpected end of data; put a cell"),
        ("a.tsv", TSV + " \tx\n", "line 7: '1' must be a word or a number, got ' '"),
        ("a.jsonl", '{"text": "a", "label": 1, "text": "b"}\n', "the key 'text' is there twice"),
        ("a.jsonl", '{"label": 1, "text": "\\ud800"}\n', "line 1: 'text' has a lone surrogate"),
        ("a.jsonl", '{"label": 1}\n', "has no column called text; its columns are label"),
        ("a.jsonl", '{"label": 1, "text": "a"}\n{"text": "b"}\n', "line 2 has no 'label'; each row must have one"),
        ("a.jsonl", '{"label": null, "text": "a"}\n', "line 1: 'label' must be a word or a number, got None"),
        ("a.jsonl", '{"label": 1, "text": 2}\n', "line 1: 'text' must be a text, got int"),
        ("a.jsonl", '{"label": 1, "text": "a"}\n[]\n', 'line 2: must be an object like {"text": …}, got list'),
        ("a.jsonl", '{"label": 1\n', "line 1: a line must be one JSON object, but"),
        ("a.tsv", "ham\ta\nham\tb\nham\tc\n", "has only one label, 'ham'; a classifier needs two classes or more"),
        ("a.tsv", "ham\t \nspam\t \n", "has no text that could be used"),
        ("a.tsv", TSV + "eggs\ta\neggs\tb\n", "the label 'eggs' has 2 texts, and training, validation"),
        ("a.csv", "id,label,text\n7,a,b\n8,a,c\n7,a,b\n", "lines 2 and 4 have the same id '7'; give each row its own"),
        (
            "a.jsonl",
            '{"id":1,"label":1,"text":"a"}\n{"id":1,"label":1,"text":"b"}\n',
            "lines 1 and 2 have the same id '1'",
        ),
    ],
)
def test_invalid_files_are_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_labelled(path)
    assert str(caught.value).startswith(f"data: {path}")


def test_missing_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "label,text,note\nx,y,z\n")
    with pytest.raises(ValueError, match="has no column 'txt'; did you mean text"):
        read_labelled(path, text_column="txt")
    path = write(tmp_path, "a.tsv", TSV)
    with pytest.raises(ValueError, match="has no column '3'; its columns are 1, 2"):
        read_labelled(path, label_column="1", text_column="3")
    with pytest.raises(ValueError, match="has no column called text; its columns are 1, 2; choose one: --text-column"):
        read_labelled(path, label_column="1")
    with pytest.raises(FileNotFoundError, match="data: there is no file"):
        read_labelled(tmp_path / "c.tsv")
    with pytest.raises(ValueError, match="is a folder"):
        read_labelled(tmp_path)


# Balancing and splitting

MANY = [Row(i, f"text {i}", "spam" if i % 5 == 0 else "ham") for i in range(100)]  # 20 spam, 80 ham


def test_balance_draws_as_many_rows_of_each_class_as_the_smallest_has() -> None:
    drawn = balance(MANY, seed=1)
    assert count_labels(drawn) == "ham 20, spam 20"
    assert drawn == sorted(drawn, key=lambda row: row.line)
    assert drawn == balance(MANY, seed=1)
    assert drawn != balance(MANY, seed=2)


def test_the_split_is_stratified_and_disjoint() -> None:
    splits = split(MANY, seed=1)
    assert list(map(count_labels, splits)) == ["ham 56, spam 14", "ham 8, spam 2", "ham 16, spam 4"]
    assert sorted(row.line for rows in splits for row in rows) == list(range(100))
    assert splits == split(MANY, seed=1)
    assert splits.test != split(MANY, seed=2).test


def test_the_smallest_class_is_in_every_split() -> None:
    splits = split([Row(i, str(i), "ab"[i // 3]) for i in range(6)], seed=0)
    assert list(map(count_labels, splits)) == ["a 1, b 1"] * 3


def test_the_sms_collection(data_dir: Path) -> None:
    data = read_labelled(data_dir / "SMSSpamCollection.tsv")
    assert count_labels(data.rows) == "ham 4,518, spam 653"
    assert data.notes == ["403 exact duplicates left out"]
    splits = split(balance(data.rows, 0), 0)
    assert list(map(count_labels, splits)) == ["ham 457, spam 457", "ham 65, spam 65", "ham 131, spam 131"]
    texts = Counter(row.text for rows in splits for row in rows)
    assert max(texts.values()) == 1
