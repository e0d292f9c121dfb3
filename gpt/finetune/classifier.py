"""GPTClassifier: what a GPT has understood of a text once it has read its last token, put into one of K classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from gpt.config import nearest, option
from gpt.finetune.config import FinetuneConfig
from gpt.finetune.loop import in_batches
from gpt.finetune.rows import Row, plural
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint
from gpt.tokenizer import CharTokenizer, Tokenizer
from gpt.training import Batch, Objective, mean_loss
from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Linear, Module
from nanograd.op import no_grad
from nanograd.seeds import DATA, generator

LONGEST = 256  # tokens: the most that a context chosen from the data has
POOL = 16  # batches that are sorted by length together: the more, the less padding, and the less chance mixes them


@dataclass(frozen=True)
class ClassifyConfig(FinetuneConfig):
    """How a classifier is trained."""

    data: str | None = option(None, "a .csv, .tsv or .jsonl of labels and texts")
    label_column: str | None = option(None, "column of the labels: its name or, without header, its number from 1")
    text_column: str | None = option(None, "column of the texts, likewise")
    encoding: str = option("utf-8", "of the file; mixed reads lines that are not UTF-8 as latin-1, and counts them")
    balance: bool = option(False, "draw from each class only as many texts as the smallest has")
    split_seed: int | None = option(
        None, "number that balance and split derive from; seed if none", least=0, below=2**32
    )
    tokenizer: str = option("bpe", "of a random base: bpe or char, made from the training texts, or a saved one")
    epochs: float | None = option(8.0, "times that each text is seen, if max_steps is not given", above=0)
    batch_size: int = option(32, "texts in a micro-batch", least=1)
    lr: float = option(1e-3, "highest learning rate", least=0)
    warmup_steps: int = option(20, "updates over which the learning rate rises", least=0)
    patience: int | None = option(5, "stop after so many evaluations without a better one; never if none", least=1)


class GPTClassifier(Module):
    """A GPT whose head gives K scores for a whole text (Radford et al. 2018, "Improving Language Understanding", 3.2).

    Attention is causal: the last token alone has seen the text, so the head reads its features. Shorter texts of a batch
    are filled up on the right, where no real token looks: what stands there changes nothing.
    """

    def __init__(self, gpt: GPT, n_classes: int, rng: np.random.Generator | None = None) -> None:
        self.gpt = gpt
        self.head = Linear(gpt.config.d_model, n_classes, rng=rng)
        self.head.weight.copy_(0.02 * gpt.config.d_model**0.5 * self.head.weight.data)  # N(0, 0.02²), as the GPT's own

    def forward(self, ids: np.ndarray, lengths: np.ndarray) -> Tensor:
        """Return the logits (B, K) of texts ids (B, T), of which the first `lengths` (B,) tokens of each are real."""
        ids, lengths = np.asarray(ids), np.asarray(lengths)
        if lengths.shape != ids.shape[:1] or not ((1 <= lengths) & (lengths <= ids.shape[1])).all():
            raise ValueError(
                f"GPTClassifier: lengths must be from 1 to T, one for each text of ids {ids.shape}, got {lengths.tolist()}"
            )
        x = self.gpt.hidden_states(ids)  # (B, T, C)
        return self.head(x[np.arange(len(ids)), lengths - 1])  # (B, C) → (B, K)


@dataclass(frozen=True)
class Texts:
    """Encoded texts (N), their classes (N,) where they are known, and what encoding cost."""

    ids: list[list[int]]
    classes: np.ndarray
    cut: int = 0  # texts longer than the context, which lost their end
    unknown: int = 0  # characters that the tokenizer does not have, left out

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text (N,)."""
        return np.array([len(ids) for ids in self.ids])

    def batch(self, places: np.ndarray) -> Batch:
        """Return some texts as ids (B, T), filled up on the right to the longest of them, lengths (B,), classes (B,)."""
        lengths = np.array([len(self.ids[i]) for i in places])
        ids = np.zeros((len(places), lengths.max()), np.int64)
        for row, i in enumerate(places):
            ids[row, : lengths[row]] = self.ids[i]
        return Batch((ids, lengths, self.classes[places]), len(places))

    def batches(self, batch_size: int) -> Sequence[Batch]:
        """Return all texts in batches, sorted by length."""
        return in_batches(len(self), batch_size, self.batch, np.argsort(self.lengths, kind="stable").tolist())

    def notes(self, context_length: int) -> list[str]:
        """Say what encoding cost, in phrases."""
        said = []
        if self.cut:
            said.append(f"{plural(self.cut, 'text')} cut to the context of {context_length} tokens, at the end")
        if self.unknown:
            said.append(f"{plural(self.unknown, 'character')} left out that the tokenizer does not have")
        return said


def encode_texts(tokenizer: Tokenizer, rows: Sequence[Row], labels: Sequence[str], context_length: int) -> Texts:
    """Encode texts, and count what is lost: their ends, past the context, and characters the tokenizer does not have.

    An <|endoftext|> written in a text is text. The class of a row without label is 0. Raises ValueError, with the line,
    for a label that is not among `labels`, and for a text of which nothing is left.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    known = set(tokenizer.characters) if isinstance(tokenizer, CharTokenizer) else None
    ids, classes, cut, unknown = [], [], 0, 0
    for row in rows:
        text = row.text if known is None else "".join(filter(known.__contains__, row.text))
        unknown += len(row.text) - len(text)
        tokens = tokenizer.encode_ordinary(text) if text.strip() else []
        if not tokens:
            what = f"has no character that the tokenizer has: {row.text[:40]!r}" if row.text.strip() else "is empty"
            raise ValueError(f"line {row.line}: the text {what}; take it out")
        if row.label is not None and row.label not in numbers:
            hint = nearest(row.label, list(labels)) or f"; it knows {', '.join(labels)}"
            raise ValueError(f"line {row.line}: the classifier has no label {row.label!r}{hint}")
        cut += len(tokens) > context_length
        ids.append(tokens[:context_length])
        classes.append(0 if row.label is None else numbers[row.label])
    return Texts(ids, np.array(classes, np.int64), cut, unknown)


def choose_context(lengths: Sequence[int]) -> int:
    """Return the context of a new model: it holds 99 of 100 texts whole, is a multiple of 16, and 256 at most.

    >>> choose_context([10] * 98 + [60, 2000])
    64
    """
    return min(LONGEST, -(-sorted(lengths)[(99 * len(lengths) - 1) // 100] // 16) * 16)


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Return which texts (B,) each step of an epoch takes: every text once, with others about as long.

    The order is drawn, cut into pools of 16 batches, and sorted by length inside each; then the batches are shuffled, so
    that lengths come in no order. On the SMS collection, in batches of 32, padding falls from 50 % of the tokens to 8 %.
    """
    rng = generator(seed, DATA, epoch)
    order = rng.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def text_loss(model: GPTClassifier, ids: np.ndarray, lengths: np.ndarray, classes: np.ndarray) -> Tensor:
    """Return the cross-entropy of the classes (B,) of texts, in nats: a sum."""
    return ops.cross_entropy(model(ids, lengths), classes, reduction="sum")


def classification(model: GPTClassifier, train: Texts, val: Texts, config: FinetuneConfig) -> Objective:
    """Return the objective of a classifier: the labels of texts, in batches of about equal length."""
    lengths = train.lengths

    @lru_cache(maxsize=2)  # micro-batches of one step may lie in two epochs
    def of_epoch(epoch: int) -> list[np.ndarray]:
        return epoch_batches(lengths, config.batch_size, config.seed, epoch)

    def batch_of(step: int, micro: int) -> Batch:
        epoch, place = divmod(step * config.grad_accum_steps + micro, -(-len(train) // config.batch_size))
        return train.batch(of_epoch(epoch)[place])

    judge = partial(mean_loss, model, val.batches(config.batch_size), text_loss, shards=config.shards)
    return Objective(batch_of, text_loss, judge)


def load_classifier(checkpoint: Checkpoint) -> GPTClassifier:
    """Return the classifier of a checkpoint, in evaluation mode; ValueError where it holds none."""
    if checkpoint.task is None or checkpoint.kind != "classify":
        raise ValueError(f"{checkpoint.path} is no classifier; make one with: python -m gpt finetune classify")
    shape = GPT(checkpoint.model_config, init=False)
    return checkpoint.model(GPTClassifier(shape, len(checkpoint.task.labels))).eval()


@no_grad()
def probabilities(model: GPTClassifier, texts: Texts, batch_size: int = 64) -> np.ndarray:
    """Return the probability of each class for each text (N, K)."""
    order = np.argsort(texts.lengths, kind="stable")
    p = np.empty((len(texts), model.head.weight.shape[0]), np.float32)
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        ids, lengths, _ = texts.batch(places).rows
        p[places] = ops.softmax(model(ids, lengths)).data
    return p
