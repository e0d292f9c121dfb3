"""GPTClassifier: what a GPT has understood of a text once it has read its last token, put into one of K classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.finetune.rows import plural
from gpt.model import GPT
from gpt.tokenizer import CharTokenizer, Tokenizer
from nanograd import ops, parallel
from nanograd.nn import Linear, Module
from nanograd.op import no_grad
from nanograd.seeds import DATA, generator
from nanograd.tensor import Tensor

LONGEST = 256  # tokens: the most that a context chosen from the data has
POOL = 16  # batches that are sorted by length together: the more, the less padding, and the less chance mixes them


class GPTClassifier(Module):
    """A GPT whose head gives K scores for a whole text (Radford et al. 2018, "Improving Language Understanding", 3.2).

    Attention is causal: the last token alone has seen the text, so the head reads its features. Shorter texts of a batch
    are filled up on the right, where no real token looks: what stands there changes nothing.
    """

    def __init__(self, backbone: GPT, n_classes: int, rng: np.random.Generator | None = None) -> None:
        self.backbone = backbone
        self.head = Linear(backbone.config.d_model, n_classes, rng=rng)
        self.head.weight.copy_(0.02 * backbone.config.d_model**0.5 * self.head.weight.data)  # N(0, 0.02²), as the GPT's

    @property
    def config(self) -> ModelConfig:
        """The shape of the backbone."""
        return self.backbone.config

    def forward(self, ids: np.ndarray, lengths: np.ndarray) -> Tensor:
        """Return the logits (B, K) of texts ids (B, T), of which the first `lengths` (B,) tokens of each are real."""
        ids, lengths = np.asarray(ids), np.asarray(lengths)
        if lengths.shape != ids.shape[:1] or not ((1 <= lengths) & (lengths <= ids.shape[1])).all():
            raise ValueError(
                f"GPTClassifier: lengths must be from 1 to T, one for each text of ids {ids.shape}, got {lengths.tolist()}"
            )
        x = self.backbone.hidden(ids)  # (B, T, C)
        return self.head(x[np.arange(len(ids)), lengths - 1])  # (B, C) → (B, K)

    def loss(self, ids: np.ndarray, lengths: np.ndarray, classes: np.ndarray, *, reduction: str = "mean") -> Tensor:
        """Return the cross-entropy, in nats a text, of the classes (B,)."""
        return ops.cross_entropy(self(ids, lengths), classes, reduction=reduction)


@dataclass(frozen=True)
class Texts:
    """Encoded texts (N), their classes (N,) where they are known, and what encoding cost."""

    ids: list[list[int]]
    classes: np.ndarray
    cut: int = 0  # texts longer than the context, which lost their end
    unknown: int = 0  # characters that the tokenizer does not have, left out

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return some texts as ids (B, T), filled up on the right to the longest of them, lengths (B,), classes (B,)."""
        lengths = np.array([len(self.ids[i]) for i in places])
        ids = np.zeros((len(places), lengths.max()), np.int64)
        for row, i in enumerate(places):
            ids[row, : lengths[row]] = self.ids[i]
        return ids, lengths, self.classes[places]

    def notes(self, context_length: int) -> list[str]:
        """Say what encoding cost, in phrases."""
        said = []
        if self.cut:
            said.append(f"{plural(self.cut, 'text')} cut to the context of {context_length} tokens, at the end")
        if self.unknown:
            said.append(f"{plural(self.unknown, 'character')} left out that the tokenizer does not have")
        return said


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], classes: Sequence[int] | None, context_length: int
) -> Texts:
    """Encode texts, and count what is lost: their ends, past the context, and characters the tokenizer does not have.

    An <|endoftext|> written in a text is text. Raises ValueError for a text of which nothing is left.
    """
    ids, cut, unknown = [], 0, 0
    for number, text in enumerate(texts, start=1):
        known = text
        if isinstance(tokenizer, CharTokenizer):
            known = "".join(filter(set(tokenizer.characters).__contains__, text))
            unknown += len(text) - len(known)
        tokens = tokenizer.encode_ordinary(known)
        if not tokens:
            raise ValueError(f"text {number} is empty, or has no character that the tokenizer has: {text[:40]!r}")
        cut += len(tokens) > context_length
        ids.append(tokens[:context_length])
    return Texts(ids, np.array(classes if classes is not None else [0] * len(ids), np.int64), cut, unknown)


def choose_context(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """Return the context that a new model gets: as long as the longest text in tokens, and 256 at most."""
    return min(LONGEST, max(len(ids) for ids in encode_texts(tokenizer, texts, None, LONGEST).ids))


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Return which texts (≤ B,) each step of an epoch takes: every text once, with others about as long.

    The order is drawn, cut into pools of 16 batches, and sorted by length inside each; then the batches are shuffled, so
    that lengths come in no order. On the SMS collection padding falls from 60 % of the tokens to 8 %.
    """
    rng = generator(seed, DATA, epoch)
    order = rng.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


@no_grad()
def class_logits(model: GPTClassifier, texts: Texts, batch_size: int = 64, shards: int = 1) -> np.ndarray:
    """Return the logits (N, K) of texts, without dropout."""
    was_training = model.training
    model.eval()
    order = np.argsort([len(ids) for ids in texts.ids], kind="stable")
    logits = np.empty((len(texts), model.head.weight.shape[0]), np.float32)
    chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    for first in range(0, len(chunks), shards):
        group = chunks[first : first + shards]
        for places, y in zip(group, parallel.run([partial(model, *texts.batch(p)[:2]) for p in group]), strict=True):
            logits[places] = y.data
    model.train(was_training)
    return logits
