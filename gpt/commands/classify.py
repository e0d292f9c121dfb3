"""python -m gpt classify: assign texts to the classes that a fine-tuned model has learned."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.commands.arguments import Parser, add_checkpoint, add_text_or_file, parse_text_or_file
from gpt.finetune.classification_data import SUFFIXES, Row, Rows, read_rows
from gpt.finetune.classifier import confusion_matrix, encode_texts, load_classifier, probabilities, report, scores
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.runs.estimate import plural
from gpt.text.read import read_text

DESCRIPTION = """Assign texts to the classes that a model has learned with finetune classify, with a probability for
each.

    python -m gpt classify runs/spam "Win a prize!"
    python -m gpt classify runs/spam --data FILE

A file has a text a line, or is a .csv, .tsv or .jsonl with a column of texts. Where the file has labels too, scores and
a confusion matrix follow. Texts longer than the model's context lose their end, and a note counts them.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt classify", description=DESCRIPTION)
    add_checkpoint(parser)
    add_text_or_file(parser, "texts to classify instead")
    parser.option("--label-column", "column of the labels (default: found by name)", metavar="NAME")
    parser.option("--text-column", "column of the texts (default: found by name)", metavar="NAME")
    encoding = "encoding of the file (default: detected); mixed as in finetune classify"
    parser.option("--encoding", encoding, metavar="NAME")
    parser.option("--json", "print a JSON object a line: each text, then the scores", False)
    args = parse_text_or_file(parser, arguments)
    checkpoint = load_checkpoint(find_checkpoint(args.run), args.base)
    model = load_classifier(checkpoint)
    assert checkpoint.task is not None
    labels, context_length = checkpoint.task.labels, checkpoint.model_config.context_length
    rows, notes = read_texts(args)
    texts, losses = encode_texts(checkpoint.tokenizer, rows, labels, context_length, args.data or "text")
    for note in [*notes, *losses]:
        print(f"gpt classify: note: {note}", file=sys.stderr)
    p = probabilities(model, texts)
    predicted = [labels[i] for i in p.argmax(axis=1)]
    confusion = (
        None
        if rows[0].label is None
        else confusion_matrix(np.array([text.label for text in texts]), p.argmax(axis=1), len(labels))
    )
    if args.json:
        for row, label, values in zip(rows, predicted, p.tolist(), strict=True):
            truth = {} if confusion is None else {"truth": row.label}
            result = {"text": row.text, "label": label, **truth}
            print(json.dumps({**result, "probabilities": dict(zip(labels, values, strict=True))}))
        if confusion is not None:
            print(json.dumps({**scores(confusion).to_dict(labels), "confusion": confusion.tolist()}))
    elif args.data is None:
        for i in np.argsort(-p[0]):
            print(f"{p[0, i]:7.2%}  {labels[i]}")
    else:
        width = max(map(len, labels))
        for row, label, values in zip(rows, predicted, p, strict=True):
            print(f"{values.max():7.2%}  {label:<{width}}  {' '.join(row.text.split())[:80]}")
        if confusion is not None:
            print(f"\n{report(confusion, labels)}")
    return 0


def read_texts(args: argparse.Namespace) -> Rows:
    """Return the texts to classify: one text, a table, or a text a line."""
    if args.data is None:
        return Rows([Row(1, args.text)], [])
    if Path(args.data).suffix.lower() in SUFFIXES:
        columns = {"label_column": args.label_column, "text_column": args.text_column}
        return read_rows(args.data, **columns, encoding=args.encoding, need_label=False)
    notes: list[str] = []
    lines = read_text(args.data, encoding=args.encoding, warn=notes.append).rstrip("\n").split("\n")
    rows = [Row(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if len(rows) < len(lines):
        notes.append(f"{plural(len(lines) - len(rows), 'blank line')} skipped")
    return Rows(rows, notes)
