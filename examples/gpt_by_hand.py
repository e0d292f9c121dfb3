"""A whole GPT without an engine: forward, backward, AdamW and training, written out line by line in NumPy.

    python examples/gpt_by_hand.py                  learns Python's own documentation, in about a minute
    python examples/gpt_by_hand.py FILE --steps 2000

Read it from top to bottom. The lines of the forward are numbered (1) to (20). The backward goes through them in reverse,
and names the line whose derivative it computes. dx is the gradient of the loss with respect to x, of the shape of x.

B sequences of T tokens, C features per token, H heads of D = C/H features, V tokens in the vocabulary. Only attention
combines tokens; everywhere else the B·T tokens are the rows of one matrix. ⟨·⟩ is the mean over the C features of a
token, Σ without an index the sum over all tokens, which share every weight.

The weights have the names of the `state_dict` of gpt.model.GPT. Loss and gradients agree with the engine's to 1e-12 in
float64 (tests/examples/test_gpt_by_hand.py).
"""

import argparse
import math
import time
from typing import Any

import numpy as np

from gpt.text.read import python_documentation, read_text
from gpt.tokenizer import CharTokenizer

Arrays = dict[str, np.ndarray]

EPS = 1e-5  # in layernorm: no division by 0 if all features of a token are equal
SCALE, CUBIC = math.sqrt(2 / math.pi), 0.044715  # of GELU's tanh
LR, WARMUP, BETA1, BETA2, DECAY = 2e-3, 60, 0.9, 0.99, 0.1  # of AdamW


# Forward


def forward(w: Arrays, ids: np.ndarray, n_layers: int, H: int) -> tuple[np.ndarray, list[Any]]:
    """Return the logits (B·T, V) of the token after every one of ids (B, T), and the arrays that backward needs."""
    B, T = ids.shape
    saved: list[Any] = []
    x = (w["tok_emb.weight"][ids] + w["pos_emb.weight"][:T]).reshape(B * T, -1)  # (1) token and position
    for i in range(n_layers):
        x, block = block_forward(x, with_prefix(w, f"blocks.{i}."), B, H)  # (2) to (16)
        saved.append(block)
    c = x - mean(x)
    r = 1 / np.sqrt(mean(c * c) + EPS)
    n = c * r  # (17) the features of a token have mean 0, variance 1
    y = n * w["norm.weight"] + w["norm.bias"]  # (18)
    z = y @ w["tok_emb.weight"].T  # (19) weight tying: the output projection is the table of (1)
    return z, [*saved, (n, r, y)]


def block_forward(x: np.ndarray, w: Arrays, B: int, H: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Self-attention, then an MLP; each is pre-normalised and added to the residual stream x (B·T, C)."""
    T, C = len(x) // B, x.shape[1]
    D = C // H

    c = x - mean(x)
    r1 = 1 / np.sqrt(mean(c * c) + EPS)
    n1 = c * r1  # (2)
    a = n1 * w["norm1.weight"] + w["norm1.bias"]  # (3)
    qkv = a @ w["attn.w_qkv.weight"].T + w["attn.w_qkv.bias"]  # (4) (B·T, 3 C): the q of all heads, then k, then v
    q, k, v = qkv.reshape(B, T, 3, H, D).transpose(2, 0, 3, 1, 4)  # (5) three of (B, H, T, D)
    S = q @ k.swapaxes(2, 3) / math.sqrt(D)  # (6) (B, H, T, T): score of key j for query i
    S[..., np.triu(np.ones((T, T), bool), 1)] = -np.inf  # (7) causal mask
    P = np.exp(S - S.max(axis=3, keepdims=True))
    P /= P.sum(axis=3, keepdims=True)  # (8) attention probabilities: a row sums to 1
    o = P @ v  # (9) (B, H, T, D)
    heads = o.transpose(0, 2, 1, 3).reshape(B * T, C)  # (10) concatenate the heads
    x = x + heads @ w["attn.out_proj.weight"].T + w["attn.out_proj.bias"]  # (11)

    c = x - mean(x)
    r2 = 1 / np.sqrt(mean(c * c) + EPS)
    n2 = c * r2  # (12)
    m = n2 * w["norm2.weight"] + w["norm2.bias"]  # (13)
    u = m @ w["mlp.up.weight"].T + w["mlp.up.bias"]  # (14) (B·T, 4 C)
    t = np.tanh(SCALE * (u + CUBIC * u * u * u))
    g = 0.5 * u * (1 + t)  # (15) GELU
    x = x + g @ w["mlp.down.weight"].T + w["mlp.down.bias"]  # (16)
    return x, (n1, r1, a, q, k, v, P, heads, n2, r2, m, u, t, g)


def cross_entropy(z: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss, in nats a token, of logits z (B·T, V) for targets (B, T), and dz."""
    z = z - z.max(axis=1, keepdims=True)  # cancels in p, and keeps exp finite
    p = np.exp(z)
    total = p.sum(axis=1, keepdims=True)
    p /= total
    hit = np.arange(len(z)), targets.reshape(-1)
    loss = (np.log(total[:, 0]) - z[hit]).mean()  # (20) -log p of the targets
    dz = p
    dz[hit] -= 1
    dz /= len(z)  # of (20): dz_v = (p_v - 1[v = target]) / (B·T)
    return float(loss), dz


# Backward


def backward(w: Arrays, ids: np.ndarray, saved: list[Any], dz: np.ndarray) -> Arrays:
    """Go back from dz (B·T, V) through (19) to (1); return the gradients of all weights by name."""
    B, T = ids.shape
    dw: Arrays = {}
    *blocks, (n, r, y) = saved
    dw["tok_emb.weight"] = dz.T @ y  # of (19): dE_vc = Σ dz_v y_c, as output projection
    dy = dz @ w["tok_emb.weight"]  # of (19): dy_c = Σ_v dz_v E_vc
    dw["norm.bias"] = dy.sum(axis=0)  # of (18): Σ dy
    dw["norm.weight"] = (dy * n).sum(axis=0)  # of (18): Σ dy n
    dn = dy * w["norm.weight"]  # of (18)
    dx = r * (dn - mean(dn) - n * mean(dn * n))  # of (17): all n depend on x_i, through mean and variance
    for i in reversed(range(len(blocks))):
        dx, block = block_backward(dx, with_prefix(w, f"blocks.{i}."), blocks[i])  # of (16) to (2)
        dw |= {f"blocks.{i}.{name}": d for name, d in block.items()}
    dw["pos_emb.weight"] = np.zeros_like(w["pos_emb.weight"])
    dw["pos_emb.weight"][:T] = dx.reshape(B, T, -1).sum(axis=0)  # of (1): every sequence uses a position once
    np.add.at(dw["tok_emb.weight"], ids.reshape(-1), dx)  # of (1): add dx of every use of a row
    return dw


def block_backward(dx: np.ndarray, w: Arrays, saved: tuple[np.ndarray, ...]) -> tuple[np.ndarray, Arrays]:
    """Go back from dx (B·T, C) through (16) to (2); return dx of the block's input, and the gradients of its weights."""
    n1, r1, a, q, k, v, P, heads, n2, r2, m, u, t, g = saved
    B, H, T, D = q.shape
    dw: Arrays = {}

    dw["mlp.down.bias"] = dx.sum(axis=0)  # of (16): Σ dx
    dw["mlp.down.weight"] = dx.T @ g  # of (16): dW_oi = Σ dx_o g_i
    dg = dx @ w["mlp.down.weight"]  # of (16): dg_i = Σ_o dx_o W_oi
    dt_du = (1 - t * t) * SCALE * (1 + 3 * CUBIC * u * u)  # of (15): ∂t/∂u, since tanh' = 1 - tanh²
    du = dg * 0.5 * (1 + t + u * dt_du)  # of (15), a product: du = dg (½ (1 + t) + ½ u ∂t/∂u)
    dw["mlp.up.bias"] = du.sum(axis=0)  # of (14): Σ du
    dw["mlp.up.weight"] = du.T @ m  # of (14): dW_oi = Σ du_o m_i
    dm = du @ w["mlp.up.weight"]  # of (14): dm_i = Σ_o du_o W_oi
    dw["norm2.bias"] = dm.sum(axis=0)  # of (13): Σ dm
    dw["norm2.weight"] = (dm * n2).sum(axis=0)  # of (13): Σ dm n
    dn = dm * w["norm2.weight"]  # of (13)
    dx = dx + r2 * (dn - mean(dn) - n2 * mean(dn * n2))  # of (12) as of (17), plus the residual

    dw["attn.out_proj.bias"] = dx.sum(axis=0)  # of (11): Σ dx
    dw["attn.out_proj.weight"] = dx.T @ heads  # of (11): dW_oi = Σ dx_o heads_i
    dheads = dx @ w["attn.out_proj.weight"]  # of (11): dheads_i = Σ_o dx_o W_oi
    do = dheads.reshape(B, T, H, D).transpose(0, 2, 1, 3)  # of (10): (B, H, T, D) again
    dv = P.swapaxes(2, 3) @ do  # of (9): dv_j = Σ_i P_ij do_i
    dP = do @ v.swapaxes(2, 3)  # of (9): dP_ij = do_i · v_j
    dS = P * (
        dP - (P * dP).sum(axis=3, keepdims=True)
    )  # of (8): dS_ij = P_ij (dP_ij - Σ_k P_ik dP_ik); of (7): 0, as P is
    dk = dS.swapaxes(2, 3) @ q / math.sqrt(D)  # of (6): dk_j = Σ_i dS_ij q_i / √D
    dq = dS @ k / math.sqrt(D)  # of (6): dq_i = Σ_j dS_ij k_j / √D
    dqkv = np.stack((dq, dk, dv)).transpose(1, 3, 0, 2, 4).reshape(B * T, -1)  # of (5): (B·T, 3 C) again
    dw["attn.w_qkv.bias"] = dqkv.sum(axis=0)  # of (4): Σ dqkv
    dw["attn.w_qkv.weight"] = dqkv.T @ a  # of (4): dW_oi = Σ dqkv_o a_i
    da = dqkv @ w["attn.w_qkv.weight"]  # of (4): da_i = Σ_o dqkv_o W_oi
    dw["norm1.bias"] = da.sum(axis=0)  # of (3): Σ da
    dw["norm1.weight"] = (da * n1).sum(axis=0)  # of (3): Σ da n
    dn = da * w["norm1.weight"]  # of (3)
    dx = dx + r1 * (dn - mean(dn) - n1 * mean(dn * n1))  # of (2) as of (17), plus the residual
    return dx, dw


def mean(a: np.ndarray) -> np.ndarray:
    """Return ⟨a⟩ (B·T, 1)."""
    return a.mean(axis=1, keepdims=True)


def with_prefix(w: Arrays, prefix: str) -> Arrays:
    """Return the weights whose names begin with prefix, without the prefix."""
    return {name.removeprefix(prefix): a for name, a in w.items() if name.startswith(prefix)}


# Training


def initialise(rng: np.random.Generator, V: int, T: int, C: int, n_layers: int) -> Arrays:
    """Draw matrices from N(0, 0.02²), scaled by 1/√(2·n_layers) where 2·n_layers of them add to the residual stream."""

    def normal(rows: int, columns: int, std: float = 0.02) -> np.ndarray:
        return std * rng.standard_normal((rows, columns), dtype=np.float32)

    def full(size: int, value: float) -> np.ndarray:
        return np.full(size, value, np.float32)

    w = {"tok_emb.weight": normal(V, C), "pos_emb.weight": normal(T, C)}
    small = 0.02 / math.sqrt(2 * n_layers)
    for i in range(n_layers):
        block = {
            "norm1.weight": full(C, 1), "norm1.bias": full(C, 0),
            "attn.w_qkv.weight": normal(3 * C, C), "attn.w_qkv.bias": full(3 * C, 0),
            "attn.out_proj.weight": normal(C, C, small), "attn.out_proj.bias": full(C, 0),
            "norm2.weight": full(C, 1), "norm2.bias": full(C, 0),
            "mlp.up.weight": normal(4 * C, C), "mlp.up.bias": full(4 * C, 0),
            "mlp.down.weight": normal(C, 4 * C, small), "mlp.down.bias": full(C, 0),
        }  # fmt: skip
        w |= {f"blocks.{i}.{name}": a for name, a in block.items()}
    return w | {"norm.weight": full(C, 1), "norm.bias": full(C, 0)}


def adamw(w: Arrays, dw: Arrays, first: Arrays, second: Arrays, step: int, lr: float) -> None:
    """Make update 1, 2, … of all weights in place: Adam with first and second moments, and decoupled weight decay."""
    for name, d in dw.items():
        first[name] = BETA1 * first[name] + (1 - BETA1) * d
        second[name] = BETA2 * second[name] + (1 - BETA2) * d * d
        first_hat = first[name] / (1 - BETA1**step)  # bias correction: both moments start at 0
        second_hat = second[name] / (1 - BETA2**step)
        if d.ndim == 2:  # no decay of norm weights and biases
            w[name] *= 1 - lr * DECAY
        w[name] -= lr * first_hat / (np.sqrt(second_hat) + 1e-8)


def clip(dw: Arrays, max_norm: float = 1.0) -> float:
    """Scale all gradients by one factor so that their global norm is at most `max_norm`; return the norm before."""
    norm = math.sqrt(sum(float(np.vdot(d, d)) for d in dw.values()))
    for d in dw.values():
        d *= max_norm / max(norm, max_norm)
    return norm


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a GPT without an engine, in about a minute on two cores.")
    parser.add_argument("path", metavar="FILE", nargs="?", help="a UTF-8 text (default: Python's own documentation)")
    parser.add_argument("--steps", type=int, default=600, help="updates of the weights (default 600)")
    args = parser.parse_args()
    text = python_documentation() if args.path is None else read_text(args.path)
    tokenizer = CharTokenizer.train(text)
    tokens = np.array(tokenizer.encode(text))
    B, T, C, H, V, n_layers = 12, 64, 128, 4, tokenizer.vocab_size, 4
    rng = np.random.default_rng(0)
    w = initialise(rng, V, T, C, n_layers)
    first, second = ({name: np.zeros_like(a) for name, a in w.items()} for _ in range(2))
    print(
        f"{sum(a.size for a in w.values()):,} weights, {len(tokens):,} characters, {V} distinct, ln {V} = {math.log(V):.4f}"
    )
    began = time.perf_counter()
    for step in range(1, args.steps + 1):
        starts = rng.integers(0, len(tokens) - T, B)
        windows = tokens[starts[:, None] + np.arange(T + 1)]  # (B, T + 1)
        ids, targets = windows[:, :-1], windows[:, 1:]
        z, saved = forward(w, ids, n_layers, H)
        loss, dz = cross_entropy(z, targets)
        dw = backward(w, ids, saved, dz)
        norm = clip(dw)
        lr = LR * min(step / WARMUP, (1 + math.cos(math.pi * step / args.steps)) / 2)  # linear warmup, cosine decay
        adamw(w, dw, first, second, step, lr)
        if step == 1 or step % 50 == 0:
            seconds = time.perf_counter() - began
            print(f"step {step:>4}  loss {loss:.4f}  gradient norm {norm:.2f}  {seconds:5.1f} s", flush=True)


if __name__ == "__main__":
    main()
