"""Make gpt.npz: what PyTorch computes for a small GPT. Run it where torch is installed: python tests/golden/make_gpt.py

The model is written here a second time, from torch's own functions, and shares no code with ours. All sizes differ, so
that no wrong transpose fits, and no bias starts at 0 and no gain at 1, so that none can be forgotten.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

PATH = Path(__file__).with_name("gpt.npz")
V, CONTEXT, C, LAYERS, HEADS, FF = 23, 10, 12, 2, 3, 40
B, T, STEPS = 3, 8, 20  # T < CONTEXT: the last positions are never looked up
LR, MIN_LR, WARMUP, DECAY, BETAS, CLIP = 1e-2, 1e-3, 5, 0.1, (0.9, 0.99), 1.0

Weights = dict[str, torch.Tensor]


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter by the name it has in our state_dict."""
    named: dict[str, tuple[int, ...]] = {"tok_emb.weight": (V, C), "pos_emb.weight": (CONTEXT, C)}
    for i in range(LAYERS):
        block = f"blocks.{i}."
        for name, inside, out in (("w_qkv", C, 3 * C), ("out_proj", C, C)):
            named |= {f"{block}attn.{name}.weight": (out, inside), f"{block}attn.{name}.bias": (out,)}
        for name, inside, out in (("up", C, FF), ("down", FF, C)):
            named |= {f"{block}mlp.{name}.weight": (out, inside), f"{block}mlp.{name}.bias": (out,)}
        for name in ("norm1", "norm2"):
            named |= {f"{block}{name}.weight": (C,), f"{block}{name}.bias": (C,)}
    return named | {"norm.weight": (C,), "norm.bias": (C,)}


def draw_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw all weights in float32, which float64 holds exactly: both precisions start from the same numbers."""
    weights = {}
    for name, shape in shapes().items():
        w = rng.normal(0, 0.3, shape)
        weights[name] = (w + 1 if "norm" in name and name.endswith("weight") else w).astype(np.float32)
    return weights


def draw_batches(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw ids and targets (STEPS, B, T), with every fifth target or so set to -100, unevenly."""
    text = rng.integers(0, V, (STEPS, B, T + 1))
    targets = np.where(rng.random((STEPS, B, T)) < 0.2, -100, text[:, :, 1:])
    return text[:, :, :-1], targets


def loss_of(p: Weights, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of the targets that count."""
    x = F.embedding(ids, p["tok_emb.weight"]) + p["pos_emb.weight"][: ids.shape[1]]
    for i in range(LAYERS):
        w = {name.removeprefix(f"blocks.{i}."): each for name, each in p.items()}
        h = F.layer_norm(x, (C,), w["norm1.weight"], w["norm1.bias"], eps=1e-5)
        qkv = F.linear(h, w["attn.w_qkv.weight"], w["attn.w_qkv.bias"])
        q, k, v = (each.unflatten(-1, (HEADS, C // HEADS)).transpose(1, 2) for each in qkv.split(C, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)
        x = x + F.linear(y, w["attn.out_proj.weight"], w["attn.out_proj.bias"])
        h = F.layer_norm(x, (C,), w["norm2.weight"], w["norm2.bias"], eps=1e-5)
        h = F.gelu(F.linear(h, w["mlp.up.weight"], w["mlp.up.bias"]), approximate="tanh")
        x = x + F.linear(h, w["mlp.down.weight"], w["mlp.down.bias"])
    x = F.layer_norm(x, (C,), p["norm.weight"], p["norm.bias"], eps=1e-5)
    logits = F.linear(x, p["tok_emb.weight"])  # the tied head
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def leaves(weights: dict[str, np.ndarray], dtype: torch.dtype) -> Weights:
    return {name: torch.tensor(w, dtype=dtype, requires_grad=True) for name, w in weights.items()}


def gradients(weights: dict[str, np.ndarray], ids: np.ndarray, targets: np.ndarray, dtype: torch.dtype) -> Weights:
    """Return the loss of one batch under the name "loss", and each gradient under its parameter's name."""
    p = leaves(weights, dtype)
    loss = loss_of(p, torch.from_numpy(ids), torch.from_numpy(targets))
    loss.backward()
    return {"loss": loss.detach(), **{name: each.grad for name, each in p.items() if each.grad is not None}}


def training(
    weights: dict[str, np.ndarray], ids: np.ndarray, targets: np.ndarray, dtype: torch.dtype
) -> dict[str, list[float]]:
    """Train one step on each batch; return the losses, the norms before clipping and the learning rates."""
    p = leaves(weights, dtype)
    groups = [
        {"params": [each for each in p.values() if each.ndim >= 2], "weight_decay": DECAY},
        {"params": [each for each in p.values() if each.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=1e-8)
    seen: dict[str, list[float]] = {"losses": [], "norms": [], "rates": []}
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        loss = loss_of(p, torch.from_numpy(ids[step]), torch.from_numpy(targets[step]))
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(p.values()), CLIP)
        optimizer.step()
        for name, value in (("losses", loss.item()), ("norms", norm.item()), ("rates", rate(step))):
            seen[name].append(value)
    return seen


def rate(step: int) -> float:
    """Return the learning rate of a step: linear up to LR at step WARMUP - 1, half a cosine from WARMUP to STEPS."""
    if step < WARMUP:
        return LR / WARMUP * (step + 1)
    angle = math.pi * (step - WARMUP) / (STEPS - WARMUP)
    return MIN_LR + (LR - MIN_LR) * 0.5 * (1 + math.cos(angle))


def make() -> dict[str, np.ndarray]:
    """Return everything that gpt.npz holds; float32 results end in /32, float64 ones in /64."""
    rng = np.random.default_rng(20)
    weights, (ids, targets) = draw_weights(rng), draw_batches(rng)
    held: dict[str, np.ndarray] = {"ids": ids, "targets": targets}
    held |= {f"weights/{name}": w for name, w in weights.items()}
    for bits, dtype in (("32", torch.float32), ("64", torch.float64)):
        for name, each in gradients(weights, ids[0], targets[0], dtype).items():
            held["loss/" + bits if name == "loss" else f"gradient/{name}/{bits}"] = each.numpy()
        for name, row in training(weights, ids, targets, dtype).items():
            held[f"{name}/{bits}"] = np.array(row)
    return held


if __name__ == "__main__":
    np.savez_compressed(PATH, **make())  # type: ignore[arg-type]  # names are free, NumPy's stub thinks of its own option
    print(f"{PATH}: {PATH.stat().st_size:,} bytes")
