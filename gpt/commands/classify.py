"""python -m gpt classify: put texts into the classes that a fine-tuned model has learned."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.commands.arguments import Parser
from gpt.finetune.classifier import encode_texts, load_classifier, probabilities
from gpt.finetune.metrics import confusion_matrix, report, scores
from gpt.finetune.rows import SUFFIXES, Row, plural, read_rows
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.text.read import read_text

DESCRIPTION = """Put texts into the classes that a model has learned with finetune classify, with a probability for each.

    python -m gpt classify runs/spam "Win a prize!"     - reads the text from standard input
    python -m gpt classify runs/spam --file FILE        a text a line, or a .csv, .tsv or .jsonl with a text column

Where the file has labels too, scores and a confusion matrix follow. Texts longer than the model's context lose their end,
and a note counts them.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt classify", description=DESCRIPTION)
    parser.add_argument("run", metavar="CKPT", help="folder of a run (its best checkpoint is used), or a checkpoint")
    parser.add_argument("text", metavar="TEXT", nargs="?", help="the text; - reads it from standard input")
    parser.add_argument("--file", metavar="FILE", help="texts to classify instead")
    parser.add_argument("--label-column", metavar="NAME", help="column of the labels, if not found by name")
    parser.add_argument("--text-column", metavar="NAME", help="column of the texts, if not found by name")
    parser.add_argument(
        "--encoding", metavar="NAME", default="utf-8", help="of the file; mixed as in finetune classify"
    )
    parser.add_argument("--base", metavar="RUN", help="where the base of LoRA's adapters is, if it was moved")
    parser.add_argument("--json", action="store_true", help="write a JSON object a line: each text, then the scores")
    given = parser.parse(arguments)
    if (given.text is None) == (given.file is None):
        parser.error('give either a text, as in: classify RUN "a text", or --file FILE')
    checkpoint = load_checkpoint(find_checkpoint(given.run), given.base)
    model = load_classifier(checkpoint)
    assert checkpoint.task is not None
    labels, context = checkpoint.task.labels, checkpoint.model_config.context_length
    if given.file is None:
        text = sys.stdin.buffer.read().decode("utf-8") if given.text == "-" else given.text
        rows, notes, where = [Row(1, text)], [], "text"
    elif Path(given.file).suffix.lower() in SUFFIXES:
        columns = {"label_column": given.label_column, "text_column": given.text_column}
        found = read_rows(given.file, **columns, encoding=given.encoding, need_label=False)
        rows, notes, where = found.rows, found.notes, str(given.file)
    else:
        lines = read_text(given.file).rstrip("\n").split("\n")
        rows, where = [Row(n, line) for n, line in enumerate(lines, start=1) if line.strip()], str(given.file)
        notes = [f"{plural(len(lines) - len(rows), 'blank line')} passed over"] if len(rows) < len(lines) else []
    try:
        texts = encode_texts(checkpoint.tokenizer, rows, labels, context)
    except ValueError as error:
        raise ValueError(f"{where}, {error}") from None
    for note in [*notes, *texts.notes(context)]:
        print(f"gpt classify: note: {note}", file=sys.stderr)
    p = probabilities(model, texts)
    labelled = rows[0].label is not None
    confusion = confusion_matrix(texts.classes, p.argmax(axis=1), len(labels))
    if given.json:
        for row, values in zip(rows, p.tolist(), strict=True):
            said = {"text": row.text, "label": labels[int(np.argmax(values))]}
            truth = {"truth": row.label} if labelled else {}
            print(json.dumps({**said, **truth, "probabilities": dict(zip(labels, values, strict=True))}))
        if labelled:
            print(json.dumps({**scores(confusion).to_dict(labels), "confusion": confusion.tolist()}))
        return 0
    if given.file is None:
        for i in np.argsort(-p[0]):
            print(f"{p[0, i]:7.2%}  {labels[i]}")
        return 0
    wide = max(map(len, labels))
    for row, values in zip(rows, p, strict=True):
        i = int(np.argmax(values))
        print(f"{values[i]:7.2%}  {labels[i]:<{wide}}  {' '.join(row.text.split())[:80]}")
    if labelled:
        print(f"\n{report(confusion, labels)}")
    return 0
