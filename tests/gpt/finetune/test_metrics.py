"""Tests of the scores of a classifier, against numbers worked out by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

from gpt.finetune.classifier import confusion_matrix, draw, report, scores, table

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 0, 1, 2, 1, 1, 0, 2, 0, 2])
CONFUSION = np.array([[2, 1, 1], [1, 2, 0], [1, 0, 2]])


def test_rows_are_true_classes_and_columns_predicted_ones() -> None:
    assert confusion_matrix(TRUTH, PREDICTED, 3).tolist() == CONFUSION.tolist()


def test_scores_by_hand() -> None:
    s = scores(CONFUSION)
    assert s.accuracy == 6 / 10
    assert s.precision.tolist() == [2 / 4, 2 / 3, 2 / 3]  # of the texts predicted as a class
    assert s.recall.tolist() == [2 / 4, 2 / 3, 2 / 3]
    assert s.f1.tolist() == [4 / 8, 4 / 6, 4 / 6]
    assert s.macro == pytest.approx((11 / 18, 11 / 18, 11 / 18))


def test_precision_and_recall_are_not_confused() -> None:
    s = scores(np.array([[90, 10], [0, 10]]))  # all spam is found, and half of the texts predicted as spam are ham
    assert s.accuracy == pytest.approx(100 / 110)
    assert s.precision.tolist() == [1.0, 0.5]
    assert s.recall.tolist() == [0.9, 1.0]
    assert s.f1 == pytest.approx([2 * 90 / 190, 2 * 10 / 30])
    assert s.macro == pytest.approx((0.75, 0.95, (18 / 19 + 2 / 3) / 2))


def test_a_class_that_is_never_predicted_or_absent_scores_zero() -> None:
    s = scores(np.array([[3, 0, 1], [2, 0, 0], [0, 0, 0]]))
    assert s.precision.tolist() == [3 / 5, 0, 0]
    assert s.recall.tolist() == [3 / 4, 0, 0]
    assert s.f1.tolist() == [6 / 9, 0, 0]
    assert scores(np.zeros((2, 2), int)).accuracy == 0


def test_scores_as_json_are_named_by_label() -> None:
    result = scores(np.array([[90, 10], [0, 10]])).to_dict(["ham", "spam"])
    assert result["classes"]["spam"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)}
    assert result["macro"]["precision"] == 0.75


def test_the_printed_tables() -> None:
    assert report(np.array([[90, 10], [0, 10]]), ["ham", "spam"]) == (
        "            precision  recall     F1  texts\n"
        "ham             1.000   0.900  0.947    100\n"
        "spam            0.500   1.000  0.667     10\n"
        "macro mean      0.750   0.950  0.807    110\n"
        "accuracy 90.91%, 10 wrong\n"
        "\n"
        "true \\ predicted  ham  spam\n"
        "ham                90    10\n"
        "spam                0    10"
    )


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(np.array([[12345, 0], [1, 2]]), ["a", "a label that is long"]).splitlines() == [
        "true \\ predicted           a  a label that is long",
        "a                     12,345                     0",
        "a label that is long       1                     2",
    ]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([0, 1], [0], r"needs arrays \(N,\) of one length, got \(2,\) and \(1,\)"),
        ([0, 2], [0, 1], "truth must hold classes from 0 to 1"),
        ([0, 1], [-1, 1], "predicted must hold classes from 0 to 1"),
    ],
)
def test_invalid_classes_are_refused(truth: list[int], predicted: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(truth), np.array(predicted), 2)


def test_the_confusion_matrix_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(CONFUSION, ["a", "b", "c"], tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ValueError, match=r"plot: needs matplotlib; install it with: pip install 'nanograd-gpt\[plot\]'"
    ):
        draw(CONFUSION, ["a", "b", "c"], tmp_path / "confusion.png")
