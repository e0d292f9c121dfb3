"""Preference tuning: a model learns which of two answers is preferred, by DPO (Rafailov et al. 2023, arXiv:2305.18290).

What a model prefers is read off its own probabilities: an answer's implicit reward is β times how much likelier it has
become than it was to the reference, the model from which training began. DPO is logistic regression on the difference of
two such rewards. The reference never changes, so its log-probabilities are computed once, before the first step.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gpt.config import option
from gpt.data.batches import IGNORE
from gpt.finetune.config import FinetuneConfig
from gpt.finetune.loop import draw_examples
from gpt.finetune.pairs import PairExample, pad_pairs
from gpt.model import GPT
from gpt.runs.safetensors import load_file, save_file
from gpt.training import Batch, Objective, mean_loss
from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import evaluating
from nanograd.op import no_grad

LOG_PROBS = "log_probs"


@dataclass(frozen=True)
class PreferConfig(FinetuneConfig):
    """How a model learns which answers are preferred."""

    batch_size: int = option(8, "pairs in a micro-batch", least=1)
    lr: float = option(1e-4, "highest learning rate", least=0)
    beta: float = option(0.1, "how dear it is to leave the reference: less lets the model move farther", above=0)
    label_smoothing: float = option(0.0, "share of pairs that may be labelled the wrong way round", least=0, below=0.5)
    template: str | None = option(
        None, "alpaca, chat, or a JSON file: how prompts are written; if none, the base's own, else alpaca"
    )
    end: str | None = option(None, "text that ends an answer, instead of the tokenizer's end of text")
    val_fraction: float = option(0.05, "share of the pairs that choose the best checkpoint", least=0, below=1)
    test_fraction: float = option(0.1, "share of the pairs that judge it", least=0, below=1)


@dataclass(frozen=True)
class Pairs:
    """Pairs (n) and what their answers were to the reference: log-probabilities (n, 2), chosen before rejected."""

    examples: Sequence[PairExample]
    reference: np.ndarray

    def batch(self, numbers: Sequence[int] | np.ndarray) -> Batch:
        """Return ids (B, 2, T), targets (B, 2, T) and the reference (B, 2) of some; what counts is pairs."""
        ids, targets = pad_pairs([self.examples[k] for k in numbers])
        return Batch((ids, targets, self.reference[np.asarray(numbers)]), len(ids))


def answer_log_probs(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Tensor:
    """Return ln π(answer | prompt) (N,) of each row of ids (N, T): the sum of its targets' log-probabilities, in nats.

    Targets (N, T) of -100 do not count. Their places never pass through the head: of N rows with M tokens that count,
    logits (M, V) are made, not (N, T, V).
    """
    rows, places = np.nonzero(targets != IGNORE)  # (M,) both
    x = model.hidden_states(ids)[rows, places]  # (N, T, C) → (M, C)
    losses = ops.cross_entropy(ops.linear(x, model.lm_head_weight), targets[rows, places], reduction="none")  # (M,)
    return ops.scatter_add(np.zeros(len(ids), losses.dtype), rows, -losses, axis=0)


def pair_log_probs(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Tensor:
    """Return the log-probabilities (B, 2) of chosen and rejected answers, of ids and targets (B, 2, T)."""
    B, _, T = ids.shape
    return answer_log_probs(model, ids.reshape(2 * B, T), targets.reshape(2 * B, T)).reshape(B, 2)


def dpo_loss(
    model: GPT, ids: np.ndarray, targets: np.ndarray, reference: np.ndarray, *, beta: float, label_smoothing: float
) -> Tensor:
    """Return the DPO loss of pairs, in nats: a sum over them. reference (B, 2) holds constants."""
    policy = pair_log_probs(model, ids, targets)
    chosen, rejected = policy[:, 0], policy[:, 1]
    was_chosen, was_rejected = reference[:, 0], reference[:, 1]
    return ops.dpo(
        chosen, rejected, was_chosen, was_rejected, beta=beta, label_smoothing=label_smoothing, reduction="sum"
    )


def preference_objective(model: GPT, train: Pairs, val: Pairs | None, config: PreferConfig) -> Objective:
    """Return the objective: batches of pairs, their DPO loss, and the same on those kept aside."""
    loss_of = partial(dpo_loss, beta=config.beta, label_smoothing=config.label_smoothing)

    def batch_of(step: int, micro: int) -> Batch:
        return train.batch(draw_examples(len(train.examples), config, step, micro))

    if val is None:
        return Objective(batch_of, loss_of)
    batches = [val.batch(numbers) for numbers in by_length(val.examples, config.batch_size)]
    return Objective(batch_of, loss_of, lambda: mean_loss(model, batches, loss_of, shards=config.shards))


def by_length(examples: Sequence[PairExample], batch_size: int) -> list[np.ndarray]:
    """Return batches of all examples as indices, the shortest first: they need the least padding."""
    order = np.argsort([len(example) for example in examples], kind="stable")
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


@no_grad()
def log_probs_of(model: GPT, examples: Sequence[PairExample], batch_size: int) -> np.ndarray:
    """Return the log-probabilities (n, 2) of all answers to a model, without dropout: the reference, or a policy."""
    found = np.empty((len(examples), 2), model.lm_head_weight.dtype)
    with evaluating(model):
        for numbers in by_length(examples, batch_size):
            found[numbers] = pair_log_probs(model, *pad_pairs([examples[k] for k in numbers])).data
    return found


def save_reference(path: str | os.PathLike[str], log_probs: np.ndarray) -> None:
    """Write the reference's log-probabilities (n, 2), with which a run that is resumed goes on."""
    save_file({LOG_PROBS: log_probs}, path)


def load_reference(path: str | os.PathLike[str], n: int) -> np.ndarray:
    """Read them again; ValueError unless they are of n pairs."""
    log_probs = load_file(path)[0].get(LOG_PROBS)
    if log_probs is None or log_probs.shape != (n, 2):
        raise ValueError(
            f"{path} does not hold the reference's log-probabilities of {n} pairs; put back what was there"
        )
    return log_probs


@dataclass(frozen=True)
class Judgement:
    """How a policy judges pairs.

    loss      DPO's, without label smoothing, in nats a pair; ln 2 where nothing has moved
    margin    mean difference of the implicit rewards of chosen and rejected
    accuracy  share of pairs whose chosen answer has the larger implicit reward; one of two alike counts half
    likelier  share of pairs whose chosen answer is the likelier one to the policy, whatever it was to the reference
    """

    n: int
    loss: float
    margin: float
    accuracy: float
    likelier: float

    def __str__(self) -> str:
        return (
            f"loss {self.loss:.4f}, margin {self.margin:+.3f}, accuracy {self.accuracy:.1%}, "
            f"chosen the likelier {self.likelier:.1%}, of {self.n} pairs"
        )


def judge(policy: np.ndarray, reference: np.ndarray, beta: float) -> Judgement:
    """Judge a policy by its log-probabilities (n, 2) and the reference's."""
    policy, reference = policy.astype(np.float64), reference.astype(np.float64)
    margins = beta * ((policy - reference) @ [1, -1])
    won = (np.sign(margins) + 1) / 2
    loss = ops.dpo(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], beta=beta)
    likelier = float((policy[:, 0] > policy[:, 1]).mean())
    return Judgement(len(policy), float(loss), float(margins.mean()), float(won.mean()), likelier)
