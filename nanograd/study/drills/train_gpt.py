"""Train a very small GPT with the learner's attention backward, and one with the reference, and compare their losses."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Embedding, LayerNorm, Linear, Module
from nanograd.op import Forward, Op
from nanograd.optim import AdamW

STEPS = 100
T, C, HEADS, BATCH = 32, 32, 4, 8
CHARACTERS = 50_000  # the first ones of the text
AGREE = 1e-3  # largest difference of two losses: rounding errors grow over the steps


class Block(Module):
    """A pre-norm block whose attention is the op under test."""

    def __init__(self, attention: Callable[..., Tensor], rng: np.random.Generator) -> None:
        self.attention = attention
        self.norm1, self.norm2 = LayerNorm(C), LayerNorm(C)
        self.w_qkv, self.out_proj = Linear(C, 3 * C, rng=rng), Linear(C, C, rng=rng)
        self.up, self.down = Linear(C, 4 * C, rng=rng), Linear(4 * C, C, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.out_proj(self.attention(self.w_qkv(self.norm1(x)), n_heads=HEADS))
        return x + self.down(ops.gelu_tanh(self.up(self.norm2(x))))


class SmallGPT(Module):
    """Two blocks between an embedding and an output projection with the same weight."""

    def __init__(self, attention: Callable[..., Tensor], vocabulary: int, rng: np.random.Generator) -> None:
        self.tok_emb, self.pos_emb = Embedding(vocabulary, C, rng=rng), Embedding(T, C, rng=rng)
        self.blocks = [Block(attention, rng) for _ in range(2)]
        self.norm = LayerNorm(C)
        for table in (self.tok_emb, self.pos_emb):
            table.weight.copy_(table.weight.data * 0.1)  # small logits: the first loss is about ln V

    def forward(self, ids: np.ndarray, targets: np.ndarray) -> Tensor:
        x = self.tok_emb(ids) + self.pos_emb(np.arange(ids.shape[1]))  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        return ops.linear_cross_entropy(self.norm(x), self.tok_emb.weight, targets)


def losses(forward: Forward, backward: Callable[..., Any], steps: int = STEPS) -> list[float]:
    """Train on the documentation that ships with Python, in float64; return the losses of all steps."""

    def heads_forward(qkv: np.ndarray, *, n_heads: int) -> tuple[np.ndarray, Any]:
        return forward(qkv, n_heads=n_heads)

    def heads_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        returned = backward(dy, saved)
        return (np.asarray(returned[0] if isinstance(returned, (tuple, list)) else returned),)

    text = documentation()[:CHARACTERS]
    characters, ids = np.unique(list(text), return_inverse=True)
    rng = np.random.default_rng(0)
    model = SmallGPT(Op(heads_forward, heads_backward), len(characters), rng).astype(np.float64)
    optimizer = AdamW(model.named_parameters(), lr=3e-3)
    history = []
    for _ in range(steps):
        starts = rng.integers(0, len(ids) - T, (BATCH, 1))
        window = ids[starts + np.arange(T + 1)]  # (B, T + 1)
        loss = model(window[:, :-1], window[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.data))
    return history


def documentation() -> str:
    """Return a real text that every Python has: its language reference.

    Raises ValueError if this Python was built without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ValueError("drill: this Python ships without its documentation (pydoc_data.topics) to train on") from None
    return "\n\n".join(topics[name].strip() for name in sorted(topics))


def compare_training(
    forward: Forward, reference: Callable[..., Any], backward: Callable[..., Any], steps: int = STEPS
) -> tuple[bool, str]:
    """Train with both backwards; return whether all losses agree, and a sentence with the losses."""
    right, ours = losses(forward, reference, steps), losses(forward, backward, steps)
    off = ~(np.abs(np.subtract(ours, right)) <= AGREE)
    if off.any():
        step = int(off.argmax())
        return False, (
            f"the GPT with your backward has other losses: at step {step} {ours[step]:.4f}, with the reference "
            f"{right[step]:.4f}; after {steps} steps {ours[-1]:.4f}, with the reference {right[-1]:.4f}"
        )
    return True, (
        f"a GPT trained {steps} steps with your backward: loss {ours[0]:.3f} → {ours[-1]:.3f} (with the reference "
        f"{right[0]:.3f} → {right[-1]:.3f})"
    )
