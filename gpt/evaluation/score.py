"""Score a text with a model: ln p of each token, and the loss, perplexity and bits per byte of the whole."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpt.generation.sampling import log_probabilities
from gpt.model import GPT
from nanograd.nn import evaluating
from nanograd.op import no_grad

BATCH_TOKENS = 4096  # in a batch of windows
MAX_LOGITS = 1 << 20  # at a time: 4 MB in float32, where those of a whole GPT-2 window take 206


@dataclass(frozen=True)
class Score:
    """The ln p that a model assigns to a text, and the number of its tokens and bytes."""

    tokens: int
    bytes: int
    log_probability: float

    @property
    def loss(self) -> float:
        """Return the mean of -ln p over the tokens."""
        return -self.log_probability / self.tokens

    @property
    def perplexity(self) -> float:
        """Return e^loss: the number of equally likely tokens among which the model would be as unsure."""
        return math.exp(min(self.loss, 700))

    @property
    def bits_per_byte(self) -> float:
        """Return -log2 p divided by the bytes of the text: it compares models with different tokenizers."""
        return -self.log_probability / math.log(2) / self.bytes

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}  perplexity {self.perplexity:.2f}  bits per byte {self.bits_per_byte:.3f}"


@no_grad()
def token_log_probabilities(model: GPT, ids: Sequence[int] | np.ndarray, *, stride: int | None = None) -> np.ndarray:
    """Return ln p (n - 1,), float64, of each of ids (n,) but the first, given those before it.

    The model sees context_length tokens at once, so a longer text is read in windows that begin `stride` tokens apart
    (default: half the context). A window scores only tokens that no window before it reached: each is predicted from at
    least context_length - stride + 1 tokens, or from all there are. A small stride gives more context and takes longer;
    at context_length every token is read once.
    """
    ids = np.asarray(ids)
    T = model.config.context_length
    stride = max(1, T // 2) if stride is None else stride
    if len(ids) < 2:
        raise ValueError(f"score: needs two tokens or more, one to predict from, got {len(ids)}")
    if not 1 <= stride <= T:
        raise ValueError(f"score: stride must be from 1 to context_length={T}, got {stride}")
    with evaluating(model):
        log_p = np.empty(len(ids) - 1)
        for windows in _batches(len(ids) - 1, T, stride, max(1, BATCH_TOKENS // T)):
            batch = np.zeros((len(windows), max(stop - start for start, _, stop in windows)), np.int64)
            for row, (start, _, stop) in zip(batch, windows, strict=True):
                row[: stop - start] = ids[start:stop]  # causal: the padding behind changes nothing
            for x, (start, first, stop) in zip(model.hidden_states(batch).data, windows, strict=True):  # (T, C)
                x, targets = x[first - start : stop - start], ids[first + 1 : stop + 1]
                log_p[first:stop], _ = score_targets(x, model.lm_head_weight.data, targets)
        return log_p


def _batches(n: int, T: int, stride: int, size: int) -> Iterator[list[tuple[int, int, int]]]:
    """Yield the windows over n inputs, `size` at a time: their start, the first token they score, and their stop."""
    starts = range(0, max(n - T, 0) + stride, stride)
    windows = [(start, start - stride + T if start else 0, min(start + T, n)) for start in starts]
    for i in range(0, len(windows), size):
        yield windows[i : i + size]


def score_targets(x: np.ndarray, head: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ln p (N,) of targets (N,), and the most probable ids (N,), in chunks of bounded memory.

    x (N, C) are the hidden states from which the targets are predicted, `head` (V, C) the output projection.
    """
    log_p, best = np.empty(len(targets)), np.empty(len(targets), np.intp)
    rows = max(1, MAX_LOGITS // len(head))
    for i in range(0, len(targets), rows):
        log_p_all = log_probabilities(x[i : i + rows] @ head.T)  # (rows, V)
        log_p[i : i + rows] = np.take_along_axis(log_p_all, targets[i : i + rows, None], axis=1)[:, 0]
        best[i : i + rows] = log_p_all.argmax(axis=1)
    return log_p, best
