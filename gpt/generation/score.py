"""How likely a text is to a model: ln p of each token, and what that comes to."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpt.generation.sampling import log_softmax
from gpt.model import GPT
from nanograd.nn import evaluating
from nanograd.op import no_grad

TOKENS = 4096  # that the model reads in a batch of windows
LOGITS = 1 << 20  # logits there are at a time: 4 MB, and 8 MB of probabilities, where those of a GPT-2 window are 206


@dataclass(frozen=True)
class Score:
    """What a model gives to a text: ln p of all of its tokens together, and how many tokens and bytes it has."""

    tokens: int
    bytes: int
    log_probability: float

    @property
    def loss(self) -> float:
        """Return the mean over the tokens of -ln p."""
        return -self.log_probability / self.tokens

    @property
    def perplexity(self) -> float:
        """Return e^loss: among how many tokens, equally likely, the model would be as unsure."""
        return math.exp(min(self.loss, 700))

    @property
    def bits_per_byte(self) -> float:
        """Return -log2 p for each byte of the text: what compares models with different tokenizers."""
        return -self.log_probability / math.log(2) / self.bytes

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}  perplexity {self.perplexity:.2f}  bits a byte {self.bits_per_byte:.3f}"


@no_grad()
def token_log_probabilities(model: GPT, ids: Sequence[int] | np.ndarray, *, stride: int | None = None) -> np.ndarray:
    """Return ln p (n - 1,), float64, of each of ids (n,) but the first, given those before it.

    The model sees context_length tokens at once, so a longer text is read in windows that begin `stride` tokens apart
    (half the context, if none). A window counts only for the tokens that none before it reached: each is predicted from
    at least context_length - stride + 1 tokens, or from all there are. A small stride is nearer to what the model can
    do, and takes longer; at context_length every token is read once.
    """
    ids = np.asarray(ids)
    T = model.config.context_length
    stride = max(1, T // 2) if stride is None else stride
    if len(ids) < 2:
        raise ValueError(f"score: needs two tokens or more, one to predict from, got {len(ids)}")
    if not 1 <= stride <= T:
        raise ValueError(f"score: stride must be from 1 to context_length={T}, got {stride}")
    with evaluating(model):
        found = np.empty(len(ids) - 1)
        for windows in _batches(len(ids) - 1, T, stride, max(1, TOKENS // T)):
            batch = np.zeros((len(windows), max(stop - start for start, _, stop in windows)), np.int64)
            for row, (start, _, stop) in zip(batch, windows, strict=True):
                row[: stop - start] = ids[start:stop]  # what stands behind them changes nothing before it
            for x, (start, first, stop) in zip(model.hidden_states(batch).data, windows, strict=True):  # (T, C)
                x, targets = x[first - start : stop - start], ids[first + 1 : stop + 1]
                found[first:stop] = _of_targets(x, model.lm_head_weight.data, targets)
        return found


def _batches(n: int, T: int, stride: int, size: int) -> Iterator[list[tuple[int, int, int]]]:
    """Yield the windows over n inputs, `size` at a time: where each starts, counts from, and stops."""
    windows = [(0, 0, min(T, n))]
    while windows[-1][2] < n:
        start, _, stop = windows[-1]
        windows.append((start + stride, stop, min(start + stride + T, n)))
    for i in range(0, len(windows), size):
        yield windows[i : i + size]


def _of_targets(x: np.ndarray, head: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return ln p (N,) of targets (N,), given the features x (N, C) that the head (V, C) reads; some rows at a time."""
    found = np.empty(len(targets))
    rows = max(1, LOGITS // len(head))
    for i in range(0, len(targets), rows):
        log_p = log_softmax(x[i : i + rows] @ head.T)  # (rows, V)
        found[i : i + rows] = np.take_along_axis(log_p, targets[i : i + rows, None], axis=1)[:, 0]
    return found
