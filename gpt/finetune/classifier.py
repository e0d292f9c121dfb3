"""A GPT as a classifier: a linear head on the hidden state of a text's last token gives logits of K classes.

Its metrics are accuracy, precision, recall and F1, all from the confusion matrix.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig, known_fields, nearest, option
from gpt.finetune.batching import Splits, batches_by_length, pad
from gpt.finetune.classification_data import Row, balance, count_labels, read_labelled, read_rows, split
from gpt.finetune.task import SCORES, FinetuneConfig, FinetuneTask, Start, load_best, make_objective
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint
from gpt.runs.estimate import count, plural
from gpt.runs.pretrain import make_tokenizer
from gpt.runs.run import Run, run_file
from gpt.tokenizer import CharTokenizer, Tokenizer
from gpt.training import Batch, Objective
from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Linear, Module
from nanograd.op import no_grad
from nanograd.runtime.files import StrPath, write_text
from nanograd.seeds import INIT, generator

LONGEST_CONTEXT = 256  # tokens: the most that `choose_context` returns
HEAD = 2  # with INIT, which the random base (nothing) and the adapters (1) have drawn from
VOCABULARY = 512  # of a tokenizer trained on the training texts: they are few
FILES = ("train.jsonl", "val.jsonl", "test.jsonl")


@dataclass(frozen=True)
class ClassifyConfig(FinetuneConfig):
    """How a classifier is trained."""

    data: str | None = option(None, "a .csv, .tsv or .jsonl of labels and texts")
    init: str | None = option(None, "the checkpoint or run to start from, or random")
    label_column: str | None = option(None, "column of the labels: its name or, without header, its number from 1")
    text_column: str | None = option(None, "column of the texts, likewise")
    encoding: str | None = option(None, "encoding, detected if none; mixed reads other lines than UTF-8 as latin-1")
    balance: bool = option(False, "draw from each class only as many texts as the smallest has")
    split_seed: int | None = option(None, "seed of balancing and splitting; as --seed if none", least=0, below=2**32)
    tokenizer: str = option("bpe", "of a random base: bpe or char, made from the training texts, or a saved one")
    epochs: float | None = option(8.0, "passes over the texts, unless max_steps is given", above=0)
    batch_size: int = option(32, "texts in a micro-batch", least=1)
    lr: float = option(1e-3, "highest learning rate", least=0)
    warmup_steps: int = option(20, "updates over which the learning rate rises", least=0)
    patience: int | None = option(5, "stop after this many evaluations without improvement; never if none", least=1)


class GPTClassifier(Module):
    """A GPT whose head gives K logits for a whole text (Radford et al. 2018, "Improving Language Understanding", 3.2).

    Attention is causal: only the last token has seen the whole text, so the head reads its hidden state. Shorter texts of
    a batch are padded on the right, where no real token attends to the padding.
    """

    def __init__(self, gpt: GPT, n_classes: int, rng: np.random.Generator | None = None) -> None:
        self.gpt = gpt
        self.head = Linear(gpt.config.d_model, n_classes, rng=rng)
        self.head.weight.copy_(0.02 * gpt.config.d_model**0.5 * self.head.weight.data)  # N(0, 0.02²), as in the GPT

    def forward(self, ids: np.ndarray, lengths: np.ndarray) -> Tensor:
        """Return the logits (B, K) of texts with ids (B, T) and lengths (B,), padding excluded."""
        ids, lengths = np.asarray(ids), np.asarray(lengths)
        if lengths.shape != ids.shape[:1] or not ((1 <= lengths) & (lengths <= ids.shape[1])).all():
            raise ValueError(f"GPTClassifier: lengths must be 1 to T, one a text of ids {ids.shape}, got {lengths}")
        x = self.gpt.hidden_states(ids)  # (B, T, C)
        return self.head(x[np.arange(len(ids)), lengths - 1])  # (B, C) → (B, K)


@dataclass(frozen=True)
class EncodedText:
    """The tokens of a text, and its class; 0 where it has no label."""

    ids: list[int]
    label: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def collate_texts(texts: Sequence[EncodedText]) -> Batch:
    """Return ids (B, T) of texts, padded on the right to the longest, lengths (B,) and classes (B,)."""
    classes = np.array([text.label for text in texts], np.int64)
    return Batch((pad([text.ids for text in texts]), np.array(list(map(len, texts))), classes), len(texts))


def encode_texts(
    tokenizer: Tokenizer, rows: Sequence[Row], labels: Sequence[str], context_length: int, path: str = "text"
) -> tuple[list[EncodedText], list[str]]:
    """Encode texts; return them, and notes on what is lost: ends past the context, characters without a token.

    An <|endoftext|> written in a text is text. Raises ValueError, with path and line, for a label that is not among
    `labels`, and for a text of which nothing is left.
    """
    class_of = {label: i for i, label in enumerate(labels)}
    characters = set(tokenizer.characters) if isinstance(tokenizer, CharTokenizer) else None
    texts, n_cut, n_unknown = [], 0, 0
    for row in rows:
        text = row.text if characters is None else "".join(filter(characters.__contains__, row.text))
        n_unknown += len(row.text) - len(text)
        tokens = tokenizer.prefix + tokenizer.encode_ordinary(text) if text.strip() else []
        if not tokens:
            reason = f"has no character that the tokenizer has: {row.text[:40]!r}" if row.text.strip() else "is empty"
            raise ValueError(f"{path}, line {row.line}: the text {reason}; take it out")
        if row.label is not None and row.label not in class_of:
            hint = nearest(row.label, list(labels)) or f"; it knows {', '.join(labels)}"
            raise ValueError(f"{path}, line {row.line}: the classifier has no label {row.label!r}{hint}")
        n_cut += len(tokens) > context_length
        texts.append(EncodedText(tokens[:context_length], 0 if row.label is None else class_of[row.label]))
    notes = []
    if n_cut:
        notes.append(f"{plural(n_cut, 'text')} cut to the context of {context_length} tokens, at the end")
    if n_unknown:
        notes.append(f"{plural(n_unknown, 'character')} left out that the tokenizer does not have")
    return texts, notes


def choose_context(lengths: Sequence[int]) -> int:
    """Return the context of a new model: it holds 99 of 100 texts whole, is a multiple of 16, and 256 at most.

    >>> choose_context([10] * 98 + [60, 2000])
    64
    """
    return min(LONGEST_CONTEXT, -(-sorted(lengths)[(99 * len(lengths) - 1) // 100] // 16) * 16)


def text_loss(model: GPTClassifier, ids: np.ndarray, lengths: np.ndarray, classes: np.ndarray) -> Tensor:
    """Return the cross-entropy of the classes (B,) of texts, in nats: a sum."""
    return ops.cross_entropy(model(ids, lengths), classes, reduction="sum")


@no_grad()
def probabilities(model: GPTClassifier, texts: Sequence[EncodedText], batch_size: int = 64) -> np.ndarray:
    """Return the probability of each class for each text (N, K)."""
    p = np.empty((len(texts), model.head.weight.shape[0]), np.float32)
    for indices in batches_by_length(list(map(len, texts)), batch_size):
        ids, lengths, _ = collate_texts([texts[i] for i in indices]).rows
        p[indices] = ops.softmax(model(ids, lengths)).data
    return p


def load_classifier(checkpoint: Checkpoint) -> GPTClassifier:
    """Return the classifier of a checkpoint, in evaluation mode; ValueError where it holds none."""
    if checkpoint.kind != ClassifyTask.kind:
        raise ValueError(f"{checkpoint.path} is no classifier; make one with: python -m gpt finetune classify")
    return checkpoint.load_into(ClassifyTask().empty_model(checkpoint)).eval()


Classifying = Run[GPTClassifier, ClassifyConfig]


class ClassifyTask(FinetuneTask):
    """Learn to classify texts."""

    kind, config_type, data_name = "classify", ClassifyConfig, "the labelled texts"
    allow_random, unit, results = True, "texts", (SCORES,)

    def start(self, config: ClassifyConfig, base: Checkpoint | None, flags: Mapping[str, Any]) -> Start:
        ModelConfig(**known_fields(ModelConfig, flags))  # reports invalid flags before any work is done
        if base is not None:
            check_flags(flags)
        splits, labels = read_splits(config)
        gpt, tokenizer, lengths = make_gpt(config, base, flags, [row.text for row in splits.train])
        config = config.resolve(len(lengths), sum(lengths) // len(lengths))
        model = GPTClassifier(gpt, len(labels), generator(config.seed, INIT, HEAD))
        files = {file: partial(write_rows, rows) for file, rows in zip(FILES, splits, strict=True)}
        data = encode_rows(splits, [str(config.data)] * 3, tokenizer, labels, gpt)
        return Start(model, config, tokenizer, data, files, labels=labels)

    def empty_model(self, checkpoint: Checkpoint) -> GPTClassifier:
        assert checkpoint.task is not None
        return GPTClassifier(checkpoint.gpt(), len(checkpoint.task.labels))

    def read(self, run: Classifying) -> Splits[EncodedText]:
        assert run.task is not None
        paths = [run_file(run.folder, file, run.state) for file in FILES]
        splits = [read_rows(path, label_column="label", text_column="text").rows for path in paths]
        return encode_rows(splits, paths, run.tokenizer, run.task.labels, run.model.gpt)

    def objective(self, run: Classifying, data: Splits[EncodedText]) -> Objective:
        return make_objective(data.train, data.val, collate_texts, text_loss, run.config)

    def evaluate(self, run: Classifying, data: Splits[EncodedText], flags: Mapping[str, Any]) -> None:
        """Print and write the scores of the best checkpoint on the test texts; draw the confusion matrix for --plot."""
        assert run.task is not None
        best, labels, test = load_best(run), run.task.labels, data.test
        predicted = probabilities(load_classifier(best), test).argmax(axis=1)
        confusion = confusion_matrix(collate_texts(test).rows[2], predicted, len(labels))
        print(f"test      the best checkpoint, of step {best.state.step}, on texts that nothing else has seen\n")
        print(report(confusion, labels))
        result = {"step": best.state.step, **scores(confusion).to_dict(labels)}
        result |= {"labels": labels, "confusion": confusion.tolist()}
        write_text(run.folder / SCORES, json.dumps(result, indent=2) + "\n")
        if flags.get("plot"):
            draw(confusion, labels, flags["plot"])
            print(f"\ndrawn: {flags['plot']}")


def check_flags(flags: Mapping[str, Any]) -> None:
    """Raise ValueError for a flag that the base decides; dropout is not one of its weights, and may change."""
    decided = known_fields(ModelConfig, flags).keys() - {"dropout"} | flags.keys() & {"tokenizer"}
    for name in flags:
        if name in decided:
            raise ValueError(f"{name}: the base decides it; leave --{name.replace('_', '-')} out, or use --init random")


def read_splits(config: ClassifyConfig) -> tuple[Splits[Row], tuple[str, ...]]:
    """Read, clean, balance and split the texts, and print what that did; return the splits and the labels."""
    data = read_labelled(
        str(config.data), label_column=config.label_column, text_column=config.text_column, encoding=config.encoding
    )
    print("; ".join([f"data      {Path(str(config.data)).name}: {count_labels(data.rows)}", *data.notes]))
    seed, rows = config.seed if config.split_seed is None else config.split_seed, data.rows
    if config.balance:
        rows = balance(rows, seed)
        print(f"balanced  {count_labels(rows)}; {len(data.rows) - len(rows):,} texts not drawn")
    splits = split(rows, seed)
    print(f"split     {len(splits.train):,} to train on, {len(splits.val):,} to validate, {len(splits.test):,} to test")
    return splits, data.labels


def make_gpt(
    config: ClassifyConfig, base: Checkpoint | None, flags: Mapping[str, Any], texts: Sequence[str]
) -> tuple[GPT, Tokenizer, list[int]]:
    """Return the base's GPT and tokenizer, or random ones made for these texts, and the tokens of each text; print them."""
    if base is None:
        tokenizer = make_tokenizer(config.tokenizer, flags.get("vocab_size", VOCABULARY), "".join(texts), texts)
    else:
        tokenizer = base.tokenizer
    lengths = [len(tokenizer.prefix + tokenizer.encode_ordinary(text)) for text in texts]
    shape = known_fields(ModelConfig, flags)
    if base is None:
        shape = {"context_length": choose_context(lengths), **shape, "vocab_size": tokenizer.vocab_size}
        gpt = GPT(ModelConfig(**shape), generator(config.seed, INIT))
    else:
        gpt = base.load_into(GPT(dataclasses.replace(base.model_config, **shape), init=False))
    longest = f"a training text has up to {max(lengths):,}, the context is {gpt.config.context_length:,}"
    print(f"tokens    {tokenizer.kind} vocabulary of {tokenizer.vocab_size:,}; {longest}")
    print(f"model     {count(gpt.config):,} parameters, {'random' if base is None else f'from {base.path}'}")
    return gpt, tokenizer, lengths


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write labels and texts as JSONL."""
    lines = [json.dumps({"label": row.label, "text": row.text}, ensure_ascii=False) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def encode_rows(
    splits: Sequence[Sequence[Row]], paths: Sequence[StrPath], tokenizer: Tokenizer, labels: Sequence[str], gpt: GPT
) -> Splits[EncodedText]:
    """Encode the texts of three splits, read from these paths, and print what that lost."""
    encoded = []
    for file, rows, path in zip(FILES, splits, paths, strict=True):
        texts, notes = encode_texts(tokenizer, rows, labels, gpt.config.context_length, str(path))
        encoded.append(texts)
        for note in notes:
            print(f"note      {file.removesuffix('.jsonl')}: {note}")
    return Splits(*encoded)


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
        raise ValueError(f"confusion_matrix: needs arrays (N,) of one length, got {truth.shape} and {predicted.shape}")
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


def draw(confusion: np.ndarray, labels: Sequence[str], path: StrPath) -> None:
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
