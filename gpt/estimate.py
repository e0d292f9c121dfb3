"""How much memory and time a training run will take, told before it starts."""

import ctypes
import os
import sys
import time
from pathlib import Path

from gpt.config import ModelConfig, TrainConfig
from gpt.data import Tokens
from gpt.model import GPT
from gpt.train import accumulate_gradients
from nanograd.ops.linear_cross_entropy import LOGITS


def count(config: ModelConfig) -> int:
    """Return the number of parameters.

    >>> count(ModelConfig(vocab_size=50257, context_length=1024, d_model=768, n_layers=12, n_heads=12))  # GPT-2 small
    124439808
    """
    d, ff, bias = config.d_model, config.d_ff or 4 * config.d_model, int(config.bias)
    attention = d * 3 * d + d * d + bias * 4 * d
    mlp = 2 * d * ff + bias * (ff + d)
    norms = 2 * (1 + bias) * d
    embeddings = (config.vocab_size + config.context_length) * d
    return embeddings + config.n_layers * (attention + mlp + norms) + (1 + bias) * d


def training_memory(config: ModelConfig, batch_size: int, shards: int = 1) -> int:
    """Return about how many bytes training takes at its peak, in float32: within a quarter of what was measured.

    Parameters are kept four times (themselves, gradient, two averages of AdamW), and where there are shards, each adds a
    gradient of its own. Of each token a block keeps what its backward needs: 8 arrays of d_model features around
    attention and the norms, 2 of d_ff, and with dropout also which features were kept; attention probabilities and logits
    are never there at once. On top comes the largest of what is needed for a moment, by the backward of the MLP or of
    attention, and by the head: a chunk of logits a shard, and the gradient of its table
    once more a shard, or twice.
    """
    d, ff, vocabulary = config.d_model, config.d_ff or 4 * config.d_model, config.vocab_size
    drawn = int(config.dropout > 0)
    block = (8 + 2 * drawn) * d + 2 * ff
    moment = max(2 * d + 2 * ff, 8 * d)
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
    times = []
    for _ in range(2):  # the first also pays for fresh memory
        began = time.perf_counter()
        accumulate_gradients(model, tokens, config, step=0)
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
