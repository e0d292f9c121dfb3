"""How much memory and time a training run will take, told before it starts."""

import ctypes
import os
import sys
import time
from pathlib import Path

from gpt.config import ModelConfig, TrainConfig
from gpt.data.batches import Tokens
from gpt.model import GPT
from gpt.training import accumulate_gradients, pretraining
from nanograd.ops.linear_cross_entropy import LOGITS


def count(config: ModelConfig) -> int:
    """Return the number of parameters.

    >>> count(ModelConfig(vocab_size=50257, context_length=1024, d_model=768, n_layers=12, n_heads=12))  # GPT-2 small
    124439808
    """
    d, ff, bias = config.d_model, config.d_ff, int(config.bias)
    D, heads, rows = head_rows(config)
    attention = (d + bias) * rows + heads * D * d + bias * d + 2 * D * config.qk_norm
    wide = 2 if config.mlp == "gated" else 1
    mlp = wide * (d + bias) * ff + (ff + bias) * d
    norm = d * (1 + bias) if config.norm == "layernorm" else d
    tables = 1 if config.tie_embeddings else 2
    embeddings = (tables * config.vocab_size + config.context_length * (config.position == "learned")) * d
    return embeddings + config.n_layers * (attention + mlp + 2 * norm) + norm


def head_rows(config: ModelConfig) -> tuple[int, int, int]:
    """Return the features of a head, the number of query heads, and the rows of w_qkv: (H + 2 K) D."""
    D, H, K = config.head_dim, config.n_heads, config.n_kv_heads
    return D, H, (H + 2 * K) * D


def forward_flops(config: ModelConfig, tokens: int | None = None) -> int:
    """Return the floating-point operations of a token's forward, as the mean over a text of `tokens`, or a full context.

    2 for every weight of a matrix that a feature passes, and for every token seen, itself among them, 2 a feature of a
    head for the score and 2 for the answer. A training step takes three times as many: backward pulls each product back
    to both its factors. Lookups, norms and bends are not counted.
    """
    d, T = config.d_model, tokens or config.context_length
    D, H, rows = head_rows(config)
    mlp = (3 if config.mlp == "gated" else 2) * d * config.d_ff
    attention = d * (rows + H * D) + (T + 1) * H * D  # (T + 1) / 2 tokens are seen, and 2 products made with each
    return 2 * (config.n_layers * (attention + mlp) + config.vocab_size * d)


def cache_memory(config: ModelConfig, tokens: int = 1, itemsize: int = 4) -> int:
    """Return the bytes of the keys and values that generation keeps of so many tokens, in float32 unless told otherwise.

    >>> cache_memory(ModelConfig(d_model=768, n_layers=12, n_heads=12))  # GPT-2 small: 12 · 2 · 768 · 4
    73728
    """
    return tokens * config.n_layers * 2 * config.n_kv_heads * config.head_dim * itemsize


ACTIVATIONS = {  # arrays of d_ff features that a bend keeps for backward beside its result, and needs for a moment
    "gelu_tanh": (1.0, 2),
    "gelu": (2.0, 8),  # erf is computed in steps
    "silu": (2.0, 4),
    "relu": (0.25, 2),  # a byte a feature
}


def training_memory(config: ModelConfig, batch_size: int, shards: int = 1) -> int:
    """Return about how many bytes training takes at its peak, in float32: within a quarter of what was measured.

    Parameters are kept four times (themselves, gradient, two averages of AdamW), and where there are shards, each adds a
    gradient of its own. Of each token a block keeps what its backward needs: 4 arrays of d_model features around the
    norms, what attention reads and writes, and what the MLP's bend reads and writes; with dropout also which features
    were kept; attention probabilities and logits are never there at once. On top comes the largest of what is needed for
    a moment, by the backward of the MLP or of attention, and by the head: a chunk of logits a shard, and the gradient of
    its table once more a shard, or twice.
    """
    d, ff, vocabulary = config.d_model, config.d_ff, config.vocab_size
    D, H, rows = head_rows(config)
    block = 4 * d + rows + H * D + (2 * d if config.dropout else 0)
    block += (rows + H * D) // 2 if config.qk_norm else 0  # queries and keys before their gain
    block += 2 * H * D if config.n_kv_heads < H else 0  # keys and values, repeated for the queries that share them
    kept, working = ACTIVATIONS[config.activation]
    if config.mlp == "gated":
        kept, working = (3.0, 3) if config.activation == "silu" else (kept + 2, working + 1)  # swiglu is one op
    block += round((1 + kept) * ff)
    moment = 2 * d + max(working * ff, (4 if config.qk_norm else 2) * rows)
    tokens = batch_size * config.context_length
    copies = 4 + (shards if shards > 1 else 0)
    logits = min(tokens * vocabulary, shards * max(LOGITS, vocabulary))
    head = logits + tokens * 3 * d + max(2, shards) * vocabulary * d
    return 4 * (copies * count(config) + tokens * config.n_layers * block + max(tokens * moment, head))


def available_memory() -> int | None:
    """Return how many bytes this process may still take, or None where the system does not say."""
    limits = []
    if sys.platform == "win32":

        class Status(ctypes.Structure):
            _fields_ = (
                ("length", ctypes.c_ulong),
                ("load", ctypes.c_ulong),
                *((name, ctypes.c_ulonglong) for name in ("total", "free", "f3", "f4", "f5", "f6", "f7")),
            )

        status = Status(length=ctypes.sizeof(Status))
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            limits.append(status.free)
    elif Path("/proc/meminfo").exists():
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024)
    elif "SC_PHYS_PAGES" in os.sysconf_names:  # macOS: what is installed, of which the system needs a part
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4)
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # a container's
        if Path(limit).exists() and (text := Path(limit).read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits, default=None)


def check_memory(model: ModelConfig, config: TrainConfig) -> int:
    """Return the memory that training takes, in bytes; MemoryError with a way out where that is more than there is."""
    shards = config.shards or 1
    needed, free = training_memory(model, config.batch_size, shards), available_memory()
    if free is None or needed <= free:
        return needed
    batch = config.batch_size
    while batch > 1 and training_memory(model, batch, shards) > free:
        batch //= 2
    accumulate = -(-config.batch_size * config.grad_accum_steps // batch)
    way_out = f"--batch-size {batch} --grad-accum-steps {accumulate} makes batches as large in less memory"
    if training_memory(model, batch, shards) > free:
        way_out = "make the model smaller: --d-model, --n-layers, --context-length or --vocab-size"
    raise MemoryError(f"training would take about {gigabytes(needed)}, and {gigabytes(free)} are free; {way_out}")


def step_seconds(model: GPT, tokens: Tokens, config: TrainConfig) -> float:
    """Measure how long an update takes, on the data of step 0 and without touching the parameters."""
    objective, times = pretraining(model, tokens, None, config), []
    for _ in range(2):  # the first also pays for fresh memory
        began = time.perf_counter()
        accumulate_gradients(model, objective, config, step=0)
        times.append(time.perf_counter() - began)
        model.zero_grad()
        if times[0] > 2:
            break
    return min(times)


def gigabytes(n: int) -> str:
    """Write a number of bytes for people.

    >>> gigabytes(1_500_000_000), gigabytes(20_000_000), gigabytes(15_000)
    ('1.5 GB', '20 MB', '15 kB')
    """
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"


def duration(seconds: float) -> str:
    """Write a time for people.

    >>> duration(75), duration(7300), duration(200000)
    ('1:15', '2:01:40', '2 days 7:33:20')
    """
    seconds = round(seconds)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    text = f"{hours}:{minutes:02}:{seconds % 60:02}" if seconds >= 3600 else f"{minutes}:{seconds % 60:02}"
    return f"{days} day{'s' * (days > 1)} {text}" if days else text
