"""Direct preference optimisation (DPO): a model learns which of two answers is preferred (Rafailov et al. 2023).

An answer's implicit reward is β (ln π(answer) - ln π_ref(answer)): how much more probable the policy makes it than the
reference, the model that training started from. DPO is logistic regression on the difference of two such rewards
(arXiv:2305.18290). The reference never changes, so its log-probabilities are computed once, before the first step.

Pairs are read from a JSON list, or from JSONL:

    {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A trout."}
    {"instruction": "Add the numbers.", "input": "2 and 3", "chosen": "5", "rejected": "6"}
    {"prompt": [messages], "chosen": [message], "rejected": [message]}

The prompt of the last form may have several turns; `formats.py` finds it where chosen and rejected begin with it.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig, option
from gpt.data.batches import IGNORE
from gpt.finetune.batching import Splits, batches_by_length, shuffled_batches
from gpt.finetune.conversations import (
    ASSISTANT,
    DUPLICATE,
    USER,
    Conversation,
    Message,
    missing_fields,
    parse_messages,
    with_notes,
)
from gpt.finetune.examples import Example, encode, encode_splits, pad_examples
from gpt.finetune.formats import normalise, parse_columns
from gpt.finetune.sft import END, TEMPLATE, template_of
from gpt.finetune.task import COLUMNS, SCORES, Content, FinetuneConfig, FinetuneTask, Start, load_best, make_objective
from gpt.finetune.templates import Template
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint
from gpt.runs.run import Run, run_file
from gpt.runs.safetensors import load_file, save_file
from gpt.text.records import Record, check_text_field, read_json
from gpt.tokenizer import Tokenizer
from gpt.training import Batch, Objective
from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import evaluating
from nanograd.op import no_grad
from nanograd.ops.linear_cross_entropy import LOGITS
from nanograd.recompute import checkpoint
from nanograd.runtime.files import StrPath, write_text

FIELDS = ("prompt", "instruction", "input", "chosen", "rejected")
EQUAL = "equal chosen and rejected answers: left out"
SWAPPED = "the same answers as an earlier one, with chosen and rejected swapped: left out"
TOO_LONG = "more tokens than the context, in prompt and one of the answers: left out"
SEVERAL = "chosen and rejected that differ in more than one message: left out"
LOG_PROBS = "log_probs"
DATA, REFERENCE = "data.json", "reference.safetensors"
SPLITS = ("train", "val", "held-out")


@dataclass(frozen=True)
class PreferConfig(FinetuneConfig):
    """How a model learns which answers are preferred."""

    batch_size: int = option(8, "pairs in a micro-batch", least=1)
    lr: float = option(1e-4, "highest learning rate", least=0)
    beta: float = option(0.1, "DPO's β: the smaller, the further the policy may move from the reference", above=0)
    label_smoothing: float = option(0.0, "assumed share of pairs labelled the wrong way round", least=0, below=0.5)
    template: str | None = option(None, TEMPLATE)
    end: str | None = option(None, END)
    columns: str | None = option(None, COLUMNS.replace("output=answer", "chosen=better"))
    val_fraction: float = option(0.05, "share of the pairs for validation", least=0, below=1)
    test_fraction: float = option(0.1, "share of the pairs for the test at the end", least=0, below=1)


@dataclass(frozen=True)
class Pair(Conversation):
    """A conversation that ends with the chosen answer, and has the rejected one besides."""

    rejected: str = ""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the answers."""
        return self.messages[:-1]

    @property
    def chosen(self) -> str:
        return self.messages[-1].content

    @property
    def rejected_messages(self) -> tuple[Message, ...]:
        """The messages with the rejected answer."""
        return (*self.prompt, Message(ASSISTANT, self.rejected))


@dataclass(frozen=True)
class PairExample:
    """The tokens of both answers, each after the prompt, and the reference's log-probabilities (2,) of them."""

    chosen: Example
    rejected: Example
    reference: np.ndarray | None = None

    def __len__(self) -> int:
        """Return how many tokens the model reads of the longer one."""
        return max(len(self.chosen), len(self.rejected))


def read_pairs(path: StrPath, columns: str | None = None) -> tuple[list[Pair], list[str]]:
    """Read a file of pairs: a JSON list, or an object a line. Return them, and notes on what was left out.

    columns says which columns hold which fields, as in "prompt=question,chosen=better".
    Left out and counted: pairs whose prompt or answer is empty, or that differ in more than one message; pairs with equal
    answers, ignoring white space around them; duplicates, also with chosen and rejected swapped; unused fields. Raises
    ValueError, with the line, for anything else: invalid JSON, a field missing or of another type.
    """
    notes: list[str] = []
    counts: Counter[str] = Counter()
    seen: set[tuple[tuple[Message, ...], str, str]] = set()
    pairs, fields = list[Pair](), parse_columns(columns, FIELDS)
    for record in read_json(path, warn=notes.append):
        if (pair := _parse(normalise(record, fields, counts), counts)) is None:
            continue
        texts = [("prompt", message.content) for message in pair.prompt]
        texts += [("chosen answer", pair.chosen), ("rejected answer", pair.rejected)]
        key = (pair.prompt, pair.chosen, pair.rejected)
        if empty := next((name for name, text in texts if not text.strip()), ""):
            counts[f"an empty {empty}: left out"] += 1
        elif pair.chosen.strip() == pair.rejected.strip():
            counts[EQUAL] += 1
        elif key in seen:
            counts[DUPLICATE] += 1
        elif (pair.prompt, pair.rejected, pair.chosen) in seen:
            counts[SWAPPED] += 1
        else:
            seen.add(key)
            pairs.append(pair)
    return with_notes(pairs, "pair", path, notes, counts)


def _parse(record: Record, counts: Counter[str]) -> Pair | None:
    """Return the pair of an entry, and count its unused fields; None, and count it, for answers of several messages."""
    entry, location = record.fields, record.location
    prompt = "prompt" if "prompt" in entry else "instruction"
    if not {prompt, "chosen", "rejected"} <= entry.keys():
        raise missing_fields(record, "'prompt' or 'instruction', 'chosen' and 'rejected'", FIELDS)
    if prompt == "prompt" and "instruction" in entry:
        raise ValueError(f"data: {location}: has both 'prompt' and 'instruction'; take one out")
    used = ("id", prompt, "chosen", "rejected", *(("input",) if prompt == "instruction" else ()))
    counts.update(f"the field {name!r}: not used" for name in entry if name not in used)
    if isinstance(entry[prompt], list):
        return _parse_pair(entry, location, counts)
    question, chosen, rejected = (check_text_field(entry[key], key, location) for key in (prompt, "chosen", "rejected"))
    about = check_text_field(entry.get("input", ""), "input", location) if "input" in used else ""
    messages = (Message(USER, question, about if about.strip() else ""), Message(ASSISTANT, chosen))
    return Pair(messages, location, rejected)


def _parse_pair(entry: Mapping[str, Any], location: str, counts: Counter[str]) -> Pair | None:
    """Return the pair of a prompt and of answers that are lists of messages; an earlier answer is not learned."""
    for name in ("chosen", "rejected"):
        if not isinstance(entry[name], list):
            raise ValueError(f"data: {location}: {name!r} must be a list of messages, as the prompt is")
    chosen, rejected = (
        parse_messages([*entry["prompt"], *entry[name]], f"{location}, {name}", Counter())
        for name in ("chosen", "rejected")
    )
    for messages in (chosen, rejected):
        if messages[-1].role != ASSISTANT:
            raise ValueError(f"data: {location}: the last message of both answers must be the assistant's")
    if len(entry["chosen"]) != 1 or len(entry["rejected"]) != 1:
        counts[SEVERAL] += 1
        return None
    prompt = (dataclasses.replace(message, learned=message.role != ASSISTANT) for message in chosen[:-1])
    return Pair((*prompt, Message(ASSISTANT, chosen[-1].content)), location, rejected[-1].content)


def encode_pair(
    pair: Pair, template: Template, tokenizer: Tokenizer, context_length: int
) -> tuple[PairExample | None, str]:
    """Return the example of a pair, or None and the rule, where the longer answer ends beyond the context.

    A truncated answer would teach that its end does not matter.
    """
    chosen = encode(pair.messages, template, tokenizer)
    example = PairExample(chosen, encode(pair.rejected_messages, template, tokenizer))
    return (None, TOO_LONG) if len(example) > context_length else (example, "")


def pad_pairs(examples: Sequence[PairExample]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and targets (B, 2, T) of pairs, chosen before rejected, T being the longest.

    A target is -100 in the prompt and in the padding.
    """
    batch = pad_examples([answer for example in examples for answer in (example.chosen, example.rejected)])
    ids, targets = (array.reshape(len(examples), 2, -1) for array in batch.rows)
    return ids, targets


def collate_pairs(examples: Sequence[PairExample]) -> Batch:
    """Return ids (B, 2, T), targets (B, 2, T) and reference (B, 2) of some pairs; each pair is one target."""
    reference = np.array([example.reference for example in examples])
    return Batch((*pad_pairs(examples), reference), len(examples))


Preferring = Run[GPT, PreferConfig]


class PreferTask(FinetuneTask):
    """Learn which of two answers is preferred."""

    kind, config_type, data_name, unit = "prefer", PreferConfig, "a file of pairs", "pairs"
    results = (SCORES,)

    def rate(self, base: ModelConfig, *, adapters: bool) -> float:
        return super().rate(base, adapters=adapters) / 10

    def longest(self, data: Splits[PairExample]) -> int:
        return 2 * super().longest(data)  # both answers

    def start(self, config: PreferConfig, base: Checkpoint | None, flags: Mapping[str, Any]) -> Start:
        assert base is not None
        template, path, model = template_of(config.template, config.end, base), Path(str(config.data)), base.model()
        splits = read_splits(path, config, template, base.tokenizer, base.model_config.context_length)
        config = config.resolve(len(splits.train), 2 * round(float(np.mean(list(map(len, splits.train))))))
        log_probs = log_probs_of(model, [*chain(*splits)], config.batch_size)
        files: dict[str, Content] = {DATA: path, REFERENCE: partial(save_file, {LOG_PROBS: log_probs})}
        data = with_reference(splits, log_probs)
        return Start(model, config, base.tokenizer, data, files, template=template.to_dict())

    def read(self, run: Preferring) -> Splits[PairExample]:
        assert run.task is not None
        template, path = Template.from_dict(run.task.template), run_file(run.folder, DATA, run.state)
        splits = read_splits(path, run.config, template, run.tokenizer, run.model.config.context_length)
        log_probs = load_reference(run_file(run.folder, REFERENCE, run.state), sum(map(len, splits)))
        return with_reference(splits, log_probs)

    def objective(self, run: Preferring, data: Splits[PairExample]) -> Objective:
        """Return the DPO loss of batches of pairs, which are not sorted by length."""
        loss_of = partial(dpo_loss, beta=run.config.beta, label_smoothing=run.config.label_smoothing)
        return make_objective(data.train, data.val, collate_pairs, loss_of, run.config, shuffled_batches)

    def evaluate(self, run: Preferring, data: Splits[PairExample], flags: Mapping[str, Any]) -> None:
        """Print and write the metrics of each split, before training and with the best checkpoint."""
        best, config = load_best(run), run.config
        model = best.model()
        splits = [(name, pairs) for name, pairs in zip(SPLITS, data, strict=True) if pairs]
        reference = [np.array([pair.reference for pair in pairs]) for _, pairs in splits]
        after = [log_probs_of(model, pairs, config.batch_size) for _, pairs in splits]
        result: dict[str, Any] = {"step": best.state.step}
        for when, policies in (("before", reference), ("after", after)):
            result[when] = {}
            for (name, _), policy, log_probs in zip(splits, policies, reference, strict=True):
                metrics = preference_metrics(policy, log_probs, config.beta)
                result[when][name] = dataclasses.asdict(metrics)
                print(f"{when:<9} {name:<8}  {metrics}")
        write_text(run.folder / SCORES, json.dumps(result, indent=2) + "\n")


def read_splits(
    path: StrPath, config: PreferConfig, template: Template, tokenizer: Tokenizer, context_length: int
) -> Splits[PairExample]:
    """Read, split and encode the pairs; print what there is, and what is left out."""
    pairs, notes = read_pairs(path, config.columns)
    encode_one = partial(encode_pair, template=template, tokenizer=tokenizer, context_length=context_length)
    splits, encode_notes = encode_splits(pairs, encode_one, (config.val_fraction, config.test_fraction), config.seed)
    train, val, test = map(len, splits)
    counts = f"{train:,} pairs to train on, {val:,} to choose the best checkpoint, {test:,} to test it"
    print(f"data      {config.data}: {counts}")
    for note in [*notes, *encode_notes]:
        print(f"note      {note}")
    if not train:
        way_out = "give a base with a longer one, or a shorter template (--template chat)"
        raise ValueError(f"data: no pair to train on fits the base's context of {context_length} tokens; {way_out}")
    return splits


def with_reference(splits: Splits[PairExample], log_probs: np.ndarray) -> Splits[PairExample]:
    """Add the reference's log-probabilities (n, 2) to the examples of all splits, in their order."""
    rows = iter(log_probs)
    return Splits(*([dataclasses.replace(pair, reference=next(rows)) for pair in split] for split in splits))


def answer_log_probs(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Tensor:
    """Return ln π(answer | prompt) (N,) for each row of ids (N, T): the sum of its targets' log-probabilities, in nats.

    Targets (N, T) of -100 are ignored, and their positions never reach the output layer: N rows with M targets make
    logits (M, V), not (N, T, V). If these are more than one chunk, each chunk is computed again in backward.
    """
    rows, positions = np.nonzero(targets != IGNORE)  # (M,) both
    x = model.hidden_states(ids)[rows, positions]  # (N, T, C) → (M, C)
    weight, t = model.lm_head_weight, targets[rows, positions]
    size = max(
        LOGITS // len(weight), weight.shape[1]
    )  # tokens in a chunk: its logits are 16 MB, or as large as the weight
    chunks = [(x[i : i + size], weight, t[i : i + size]) for i in range(0, len(t), size)] if len(t) > size else []
    losses = (
        ops.concat([checkpoint(token_losses, *chunk) for chunk in chunks]) if chunks else token_losses(x, weight, t)
    )
    return ops.scatter_add(np.zeros(len(ids), losses.dtype), rows, -losses, axis=0)


def token_losses(x: Tensor, weight: Tensor, targets: np.ndarray) -> Tensor:
    """Return the cross-entropy (M,) of targets (M,) from hidden states x (M, C), in nats."""
    return ops.cross_entropy(ops.linear(x, weight), targets, reduction="none")


def pair_log_probs(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Tensor:
    """Return the log-probabilities (B, 2) of chosen and rejected answers, from ids and targets (B, 2, T)."""
    B, _, T = ids.shape
    return answer_log_probs(model, ids.reshape(2 * B, T), targets.reshape(2 * B, T)).reshape(B, 2)


def dpo_loss(
    model: GPT, ids: np.ndarray, targets: np.ndarray, reference: np.ndarray, *, beta: float, label_smoothing: float
) -> Tensor:
    """Return the DPO loss of pairs, in nats: a sum over them. The reference's log-probabilities (B, 2) are constants."""
    policy = pair_log_probs(model, ids, targets)
    return ops.dpo(
        policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1],
        beta=beta, label_smoothing=label_smoothing, reduction="sum",
    )  # fmt: skip


@no_grad()
def log_probs_of(model: GPT, examples: Sequence[PairExample], batch_size: int) -> np.ndarray:
    """Return a model's log-probabilities (n, 2) of all answers, without dropout."""
    log_probs = np.empty((len(examples), 2), model.lm_head_weight.dtype)
    with evaluating(model):
        for batch in batches_by_length(list(map(len, examples)), batch_size):
            log_probs[batch] = pair_log_probs(model, *pad_pairs([examples[i] for i in batch])).data
    return log_probs


def load_reference(path: StrPath, n: int) -> np.ndarray:
    """Read the reference's log-probabilities; ValueError unless there are n pairs."""
    log_probs = load_file(path)[0].get(LOG_PROBS)
    if log_probs is None or log_probs.shape != (n, 2):
        raise ValueError(f"{path} does not hold the reference's log-probabilities of {n} pairs; restore the run's file")
    return log_probs


@dataclass(frozen=True)
class PreferenceMetrics:
    """How a policy compares the two answers of n pairs.

    loss           DPO's, without label smoothing, in nats a pair; ln 2 before training
    margin         mean difference of the implicit rewards of chosen and rejected
    accuracy       share of pairs whose chosen answer has the larger implicit reward; a tie counts half
    more_probable  share of pairs whose chosen answer is more probable than the rejected one, whatever the reference says
    """

    n: int
    loss: float
    margin: float
    accuracy: float
    more_probable: float

    def __str__(self) -> str:
        probable = f"chosen more probable {self.more_probable:.1%}, of {self.n} pairs"
        return f"loss {self.loss:.4f}, margin {self.margin:+.3f}, accuracy {self.accuracy:.1%}, {probable}"


def preference_metrics(policy: np.ndarray, reference: np.ndarray, beta: float) -> PreferenceMetrics:
    """Return the metrics of a policy from its log-probabilities (n, 2) and the reference's."""
    policy, reference = policy.astype(np.float64), reference.astype(np.float64)
    margins = beta * ((policy - reference) @ [1, -1])
    wins = (np.sign(margins) + 1) / 2
    loss = ops.dpo(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], beta=beta)
    more_probable = float((policy[:, 0] > policy[:, 1]).mean())
    return PreferenceMetrics(len(policy), float(loss), float(margins.mean()), float(wins.mean()), more_probable)
