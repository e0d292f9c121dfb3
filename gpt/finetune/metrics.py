"""Metrics of a classifier: accuracy, precision, recall and F1, all from the confusion matrix."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Numbers from 0 to 1; the arrays (K,) have one for each class."""

    accuracy: float
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    @property
    def macro(self) -> tuple[float, float, float]:
        """Means of precision, recall and F1 over the classes, each with the same weight."""
        return float(self.precision.mean()), float(self.recall.mean()), float(self.f1.mean())

    def to_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return all of them as JSON's types."""
        names = ("precision", "recall", "f1")
        columns = zip(labels, self.precision.tolist(), self.recall.tolist(), self.f1.tolist(), strict=True)
        return {
            "accuracy": self.accuracy,
            "macro": dict(zip(names, self.macro, strict=True)),
            "classes": {label: dict(zip(names, values, strict=True)) for label, *values in columns},
        }


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count how often class i, in truth (N,), was predicted as class j, in predicted (N,): counts (K, K).

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(
            f"confusion_matrix: needs two arrays (N,) of one length, got {truth.shape} and {predicted.shape}"
        )
    for name, classes in (("truth", truth), ("predicted", predicted)):
        if classes.size and not (0 <= classes.min() and classes.max() < n_classes):
            raise ValueError(f"confusion_matrix: {name} must hold classes from 0 to {n_classes - 1}")
    return np.bincount(truth * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def scores(confusion: np.ndarray) -> Scores:
    """Return the scores of a confusion matrix (K, K), with true classes as rows.

    precision = correct / predicted, recall = correct / actual, and F1 is their harmonic mean,
    2 correct / (predicted + actual), each counted for one class. A score whose denominator is 0 is 0.
    """
    correct = np.diag(confusion).astype(np.float64)
    actual, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return Scores(
        float(correct.sum() / max(1, confusion.sum())),
        correct / np.maximum(predicted, 1),
        correct / np.maximum(actual, 1),
        2 * correct / np.maximum(actual + predicted, 1),
    )


def report(confusion: np.ndarray, labels: Sequence[str]) -> str:
    """Return the scores of each class, their means, the accuracy, and the confusion matrix as printed tables."""
    s, macro = scores(confusion), "macro mean"
    width = max(map(len, [*labels, macro]))
    lines = [f"{'':<{width}}  precision  recall     F1  texts"]
    for label, *values, n in zip(labels, s.precision, s.recall, s.f1, confusion.sum(axis=1), strict=True):
        lines.append(f"{label:<{width}}  {values[0]:>9.3f}  {values[1]:>6.3f}  {values[2]:>5.3f}  {n:>5,}")
    p, r, f = s.macro
    lines.append(f"{macro:<{width}}  {p:>9.3f}  {r:>6.3f}  {f:>5.3f}  {confusion.sum():>5,}")
    wrong = int(confusion.sum() - np.trace(confusion))
    return "\n".join([*lines, f"accuracy {s.accuracy:.2%}, {wrong:,} wrong", "", table(confusion, labels)])


def table(confusion: np.ndarray, labels: Sequence[str]) -> str:
    """Return a confusion matrix as text: a row for each true class, a column for each predicted one.

    >>> print(table(np.array([[8, 2], [0, 10]]), ["ham", "spam"]))
    true \\ predicted  ham  spam
    ham                 8     2
    spam                0    10
    """
    corner = "true \\ predicted"
    width = max(map(len, [*labels, corner]))
    columns = [max(len(label), len(f"{confusion[:, j].max():,}")) for j, label in enumerate(labels)]
    lines = [f"{corner:<{width}}" + "".join(f"  {label:>{w}}" for label, w in zip(labels, columns, strict=True))]
    for label, row in zip(labels, confusion, strict=True):
        lines.append(f"{label:<{width}}" + "".join(f"  {n:>{w},}" for n, w in zip(row, columns, strict=True)))
    return "\n".join(lines)


def draw(confusion: np.ndarray, labels: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Draw a confusion matrix into a picture; ValueError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("plot: needs matplotlib; install it with: pip install 'nanograd-gpt[plot]'") from None
    size = 2 + 0.6 * len(labels)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    # shares of each true class, so that a rare one is visible too
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), n in np.ndenumerate(confusion):
        axes.text(j, i, f"{n:,}", ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=0 if len(labels) < 6 else 90)
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {scores(confusion).accuracy:.1%}")
    figure.savefig(path, dpi=150)
