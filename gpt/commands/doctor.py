"""python -m gpt doctor: examine a model before hours go into it."""

import copy
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt import doctor
from gpt.commands.arguments import Parser
from gpt.config import ModelConfig, TrainConfig
from gpt.data.batches import Tokens, random_batch
from gpt.doctor import BAD, LOOK, Finding
from gpt.doctor_cache import cached_generation
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, Checkpoint, find_checkpoint, load_checkpoint
from gpt.runs.estimate import check_memory, count
from gpt.runs.run import TRAIN_TOKENS, run_tokens
from gpt.training import learning_rate, make_optimizer
from nanograd.seeds import EVAL, INIT, generator

DESCRIPTION = """Examine a model, and say in words what is wrong with it. Takes seconds, at GPT-2's size
about 25 s on two cores, and leaves no file.

    python -m gpt doctor                        the default shape, fresh
    python -m gpt doctor runs/mine/config.json  another shape, fresh
    python -m gpt doctor runs/mine              a run as it is now, with its text and its optimizer

Each line says ok, look (seldom what is wanted) or bad; the exit code is 1 if anything is bad.
"""
WARM_UP = 10  # updates of a fresh model before its update:weight is measured: AdamW's averages have to fill
WINDOW = 128  # tokens of a text that are looked at
WORK = 5e11  # floating-point operations that measuring it may take: a few seconds


@dataclass
class Patient:
    """What is examined: a shape, how it is trained, on which tokens, and, of a run, how far it has come."""

    config: ModelConfig
    training: TrainConfig
    tokens: Tokens
    checkpoint: Checkpoint | None = None

    @property
    def step(self) -> int:
        return 0 if self.checkpoint is None else self.checkpoint.state.step

    def batch(self, i: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Draw ids (B, T) and targets (B, T): no more than the run's own batch, and of a large model fewer and shorter."""
        tokens = int(WORK / (6 * count(self.config) * WARM_UP))  # an update takes 2 a weight forward and 4 backward
        T = min(self.config.context_length, max(16, min(WINDOW, tokens // 2)))
        rows = max(2, min(self.training.batch_size, tokens // T))
        return random_batch(self.tokens, rows, T, generator(self.training.seed, EVAL, i))

    def fresh(self) -> GPT:
        """Return the model as the run begins with it."""
        return GPT(self.config, generator(self.training.seed, INIT)).eval()


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt doctor", description=DESCRIPTION)
    parser.add_argument(
        "patient", metavar="CONFIG|RUN", nargs="?", help="a run's config.json, its folder, or a checkpoint"
    )
    patient = admit(parser.parse(arguments).patient)
    findings = []
    for finding in examine(patient):
        findings.append(finding)
        print(f"{finding.verdict:<5} {finding.check:<16} {finding.number:<30}  {finding.meaning}", flush=True)
    print("\n".join(["", *table(findings), "", summary(findings)]))
    return int(any(finding.verdict == BAD for finding in findings))


def admit(path: str | None) -> Patient:
    """Read what is to be examined; a shape without a text gets random tokens."""
    if path is None or Path(path).suffix == ".json":
        config, training = (ModelConfig(), TrainConfig()) if path is None else read_config(Path(path))
        print(f"patient   {'the default config' if path is None else path}, fresh, on random tokens")
        return Patient(config, training, random_tokens(config))
    checkpoint = load_checkpoint(find_checkpoint(path, LAST))
    if checkpoint.task is not None:
        raise ValueError(
            f"{checkpoint.path} was fine-tuned to {checkpoint.kind}, and the doctor knows models that learn the next token "
            f"of a text; examine what it began from{f': {checkpoint.task.base}' if checkpoint.task.base else ''}"
        )
    config = checkpoint.model_config
    try:
        tokens, text = run_tokens(checkpoint.path.parent, TRAIN_TOKENS, checkpoint.state), "its training text"
    except (FileNotFoundError, ValueError):  # a checkpoint that was moved: most checks need no text
        tokens, text = random_tokens(config), "random tokens, as its text is not beside it"
    print(f"patient   {checkpoint.path} at step {checkpoint.state.step}, on {text}")
    return Patient(config, checkpoint.train_config, tokens, checkpoint)


def read_config(path: Path) -> tuple[ModelConfig, TrainConfig]:
    """Read a run's config.json; one with "model" alone will do."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no JSON in UTF-8: {error}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(settings, dict) or not isinstance(settings.get("model"), dict):
        raise ValueError(f'{path} is no config of a run: it must hold {{"model": {{…}}, "train": {{…}}}}')
    return ModelConfig.from_dict(settings["model"]), TrainConfig.from_dict(settings.get("train", {}))


def random_tokens(config: ModelConfig) -> np.ndarray:
    return generator(0, EVAL).integers(0, config.vocab_size, 100 * config.context_length)


def examine(patient: Patient) -> Iterator[Finding]:
    """Make every check, the cheap ones first; what needs finite numbers is left out where there are others."""
    config, training, checkpoint = patient.config, patient.training, patient.checkpoint
    ids, targets = patient.batch()
    check_memory(config, dataclasses.replace(training, batch_size=len(ids), grad_accum_steps=1, shards=1))
    fresh = patient.fresh()  # drawn once: at GPT-2's size it takes 3 s
    model = fresh if checkpoint is None else checkpoint.load_into(copy.deepcopy(fresh)).eval()
    kept = {} if checkpoint is None else {k: a for k, a in checkpoint.tensors.items() if k.startswith("adamw.")}
    yield (state := doctor.finite(model, ids, targets, kept))
    yield doctor.initial_loss(fresh, ids, targets)
    yield doctor.init_scale(fresh)
    yield doctor.tied_weights(fresh)
    yield doctor.overfit(fresh, ids[:4, :16], targets[:4, :16])
    del fresh
    if state.verdict == BAD:
        return
    yield doctor.causality(model, ids)
    yield doctor.independence(model, ids[:2])
    yield cached_generation(model, ids[:2])
    if patient.step:
        yield doctor.trained_loss(model, ids, targets)
    yield doctor.gradient_norms(model, ids, targets)
    yield doctor.dead_units(model, ids)
    optimizer = make_optimizer(model, training)
    steps, lr = WARM_UP, training.lr
    if checkpoint is not None and patient.step:
        checkpoint.load_optimizer(optimizer)
        steps, lr = 1, learning_rate(patient.step - 1, training)
    batches = [patient.batch(i) for i in range(steps)]
    yield doctor.update_ratios(model, optimizer, batches, lr, grad_clip=training.grad_clip)


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the lines of a table: a row for each layer, a column for each check that looked at layers."""
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
    """Say in one line how the patient is.

    >>> summary([Finding("ok", "batch", "0", ""), Finding(LOOK, "dead units", "3", "")])
    'nothing bad in 2 checks; look at: dead units'
    """
    bad, look = ([f.check for f in findings if f.verdict == verdict] for verdict in (BAD, LOOK))
    said = [f"bad: {', '.join(bad)}" if bad else f"nothing bad in {len(findings)} checks"]
    return "; ".join([*said, *([f"look at: {', '.join(look)}"] if look else [])])
