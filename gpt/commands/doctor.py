"""python -m gpt doctor: examine a model before hours of training go into it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.commands.arguments import Parser, run_path
from gpt.config import ModelConfig, TrainConfig
from gpt.runs.checkpoint import LAST, find_checkpoint, load_checkpoint
from gpt.runs.doctor import BAD, WARN, Finding, Subject, examine
from gpt.runs.presets import read_config
from gpt.runs.run import TRAIN_TOKENS, VAL_TOKENS, run_tokens
from nanograd.seeds import EVAL, generator

DESCRIPTION = """Examine a model and report in words what is wrong with it. This takes seconds (about 25 s for GPT-2 on
two cores) and writes no file.

    python -m gpt doctor                         the default config, initialised
    python -m gpt doctor runs/mine/config.json   another config, initialised
    python -m gpt doctor runs/mine               a run at its last step

Each line says ok, warn (possible, but seldom intended) or bad; the exit code is 1 if anything is bad.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt doctor", description=DESCRIPTION)
    help_text = "a run's config.json, its folder (last: the newest in runs/), or a checkpoint"
    parser.add_argument("subject", metavar="CONFIG|RUN", nargs="?", type=run_path, help=help_text)
    subject = read_subject(parser.parse(arguments).subject)
    findings = []
    for finding in examine(subject):
        findings.append(finding)
        print(f"{finding.verdict:<5} {finding.check:<16} {finding.number:<30}  {finding.meaning}", flush=True)
    print("\n".join(["", *table(findings), "", summary(findings)]))
    return int(any(finding.verdict == BAD for finding in findings))


def read_subject(path: str | None) -> Subject:
    """Read the model to examine; a config without a text gets random tokens."""
    if path is None or Path(path).suffix == ".json":
        config, training = (ModelConfig(), TrainConfig()) if path is None else read_config(Path(path), finetuned=True)
        print(f"model     {'the default config' if path is None else path}, newly initialised, on random tokens")
        return Subject(config, training, random_tokens(config))
    checkpoint = load_checkpoint(find_checkpoint(path, LAST))
    if checkpoint.kind and checkpoint.task is not None:
        raise ValueError(
            f"{checkpoint.path} was fine-tuned to {checkpoint.kind}; the doctor examines models that predict a text's next "
            f"token: examine its base checkpoint{f', {checkpoint.task.base}' if checkpoint.task.base else ''}"
        )
    config = checkpoint.model_config
    try:
        tokens, val = (
            run_tokens(checkpoint.path.parent, name, checkpoint.state) for name in (TRAIN_TOKENS, VAL_TOKENS)
        )
        source = "its training text"
    except (FileNotFoundError, ValueError):  # a checkpoint that was moved; most checks need no text
        tokens, val, source = (
            (drawn := random_tokens(config)),
            drawn[:0],
            "random tokens, since its text is not beside it",
        )
    print(f"model     {checkpoint.path} at step {checkpoint.state.step}, on {source}")
    return Subject(config, checkpoint.train_config, tokens, checkpoint, val)


def random_tokens(config: ModelConfig) -> np.ndarray:
    """Draw the tokens of 100 contexts."""
    return generator(0, EVAL).integers(0, config.vocab_size, 100 * config.context_length)


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the lines of a table: a row for each layer, a column for each check that measured layers."""
    columns = [finding for finding in findings if finding.layers]
    if not columns:
        return []
    layers = list(dict.fromkeys(name for finding in columns for name in finding.layers))
    lines = ["".join([f"{'layer':<12}", *(f"{finding.check:>16}" for finding in columns)])]
    for layer in layers:
        cells = (f"{finding.layers[layer]:.2g}" if layer in finding.layers else "" for finding in columns)
        lines.append("".join([f"{layer:<12}", *(f"{cell:>16}" for cell in cells)]).rstrip())
    return lines


def summary(findings: Sequence[Finding]) -> str:
    """Return one line for all findings.

    >>> summary([Finding("ok", "batch", "0", ""), Finding(WARN, "dead units", "3", "")])
    'nothing bad in 2 checks; warnings: dead units'
    """
    bad, warnings = ([f.check for f in findings if f.verdict == verdict] for verdict in (BAD, WARN))
    result = [f"bad: {', '.join(bad)}" if bad else f"nothing bad in {len(findings)} checks"]
    return "; ".join([*result, *([f"warnings: {', '.join(warnings)}"] if warnings else [])])
