"""Estimate the memory and the time of a training run before it starts."""

import ctypes
import dataclasses
import os
import re
import sys
import time
from collections.abc import Iterator
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from gpt.config import LoopConfig, ModelConfig, TrainConfig
from gpt.model import find_gpt
from gpt.training import Objective, accumulate_gradients, in_shards
from nanograd.nn import Module
from nanograd.ops.linear_cross_entropy import LOGITS
from nanograd.optim import muon

BLOCK = re.compile(r"blocks\.(\d+)\.")  # begins the name of a parameter in a block


def count(config: ModelConfig) -> int:
    """Return the number of parameters.

    >>> count(ModelConfig(vocab_size=50257, context_length=1024, d_model=768, n_layers=12, n_heads=12))  # GPT-2 small
    124439808
    """
    return sum(prod(shape) * (config.n_layers if BLOCK.match(name) else 1) for name, shape in shapes(config).items())


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters of GPT(config) by name; those of block 0 stand for all blocks."""
    d, ff = config.d_model, config.d_ff
    D, heads, rows = head_rows(config)
    linears = {"attn.w_qkv": (rows, d), "attn.out_proj": (d, heads * D), "mlp.up": (ff, d), "mlp.down": (d, ff)}
    linears |= {"mlp.gate": (ff, d)} if config.mlp == "gated" else {}
    tables = {"tok_emb": (config.vocab_size, d)}
    tables |= {"pos_emb": (config.context_length, d)} if config.position == "learned" else {}
    tables |= {} if config.tie_embeddings else {"head": (config.vocab_size, d)}
    block = {f"blocks.0.{name}": shape for name, shape in linears.items()}
    norms = dict.fromkeys(("blocks.0.norm1", "blocks.0.norm2", "norm"), (d,))
    head_norms = (
        {f"blocks.0.attn.{name}": (config.head_dim,) for name in ("q_norm", "k_norm")} if config.qk_norm else {}
    )
    weights: dict[str, tuple[int, ...]] = {**tables, **block, **norms, **head_norms}
    biased: dict[str, tuple[int, ...]] = {name: shape for name, shape in block.items() if config.linear_bias(name)}
    biased |= norms if config.norm == "layernorm" and config.bias else {}
    return {f"{name}.weight": shape for name, shape in weights.items()} | {
        f"{name}.bias": shape[:1] for name, shape in biased.items()
    }


def summary(config: ModelConfig) -> str:
    """Return the size of a model in one line."""
    heads = f"{config.n_heads} heads, context {config.context_length}"
    return f"{count(config):,} parameters: {config.n_layers} layers, d_model {config.d_model}, {heads}"


def head_rows(config: ModelConfig) -> tuple[int, int, int]:
    """Return the features of a head, the number of query heads, and the rows of w_qkv: (H + 2 K) D."""
    D, H, K = config.head_dim, config.n_heads, config.n_kv_heads
    return D, H, (H + 2 * K) * D


def forward_flops(config: ModelConfig, tokens: int | None = None) -> int:
    """Return the floating-point operations of one token's forward pass, the mean over `tokens`, or over a full context.

    A matrix product takes 2 per weight. Attention takes, per head feature and attended token (itself included), 2 for the
    score and 2 for the weighted sum of values. A training step takes three times as many: the backward pass has two
    products for every one of the forward pass. Embedding lookups, norms and activations are not counted.
    """
    d, T = config.d_model, tokens or config.context_length
    D, H, rows = head_rows(config)
    mlp = (3 if config.mlp == "gated" else 2) * d * config.d_ff
    W = min(config.window or T, T)
    attended = W * (2 * T - W + 1) // T  # twice the mean of min(t, W) over t = 1 … T: T + 1 without a window
    attention = d * (rows + H * D) + attended * H * D  # in 2 products
    return 2 * (config.n_layers * (attention + mlp) + config.vocab_size * d)


def cache_memory(config: ModelConfig, tokens: int = 1, itemsize: int = 4) -> int:
    """Return the bytes of the key–value cache of `tokens` tokens, of which a window keeps the last; itemsize 4 is float32.

    >>> cache_memory(ModelConfig(d_model=768, n_layers=12, n_heads=12))  # GPT-2 small: 12 · 2 · 768 · 4
    73728
    """
    tokens = min(tokens, config.window or tokens)
    return tokens * config.n_layers * 2 * config.n_kv_heads * config.head_dim * itemsize


ACTIVATION_MEMORY = {  # arrays of d_ff features: saved for backward besides the result, and temporary
    "gelu_tanh": (1.0, 2),
    "gelu": (2.0, 8),  # erf is computed in steps
    "silu": (2.0, 4),
    "relu": (0.25, 2),  # one byte per feature
}


def training_memory(
    config: ModelConfig,
    batch_size: int,
    shards: int = 1,
    *,
    tokens: int | None = None,
    trained: int | None = None,
    recompute: bool = False,
    ema: bool = False,
) -> int:
    """Return the peak memory of training in float32, in bytes: within 25 % of what was measured, with any grad_accum_steps.

    The parameters exist four times (themselves, the gradient, the two moments of AdamW), and every shard adds a gradient
    if there are several. A block saves for backward, per token: 4 arrays of d_model features around the norms, the inputs
    and outputs of attention and of the activation, and the masks of dropout. Attention probabilities never
    exist as a whole. The largest temporary arrays come on top: those of the backward pass of the MLP or of attention, or
    those of the output projection: a chunk of logits per shard (16 MB, or as much as its weight, or all logits if they are
    fewer), and the gradient of its weight per shard, at least twice.

    tokens     in an example; a full context if none
    trained    parameters that are trained, of which alone there are gradients and moments; all if none
    recompute  the input of each block is kept, and besides what one block saves
    ema        there is an average of what is trained
    """
    d, ff, vocabulary = config.d_model, config.d_ff, config.vocab_size
    D, H, rows = head_rows(config)
    block = 4 * d + rows + H * D + (2 * d if config.dropout else 0)
    block += (rows + H * D) // 2 if config.qk_norm else 0  # queries and keys before their gain
    block += 2 * H * D if config.n_kv_heads < H else 0  # keys and values, repeated for the queries that share them
    saved, working = ACTIVATION_MEMORY[config.activation]
    if config.mlp == "gated":
        saved, working = (3.0, 3) if config.activation == "silu" else (saved + 2, working + 1)  # swiglu is one op
    block += round((1 + saved) * ff)
    temporary = 2 * d + max(working * ff, (4 if config.qk_norm else 2) * rows)
    n, total = batch_size * (tokens or config.context_length), count(config)
    trained = total if trained is None else trained
    parameters = total + (3 + ema + (shards if shards > 1 else 0)) * trained
    logits = min(n * vocabulary, shards * max(LOGITS, vocabulary * d))
    head = logits + n * 3 * d + (max(2, shards) * vocabulary * d if trained >= total else 0)
    activations = config.n_layers * d + block if recompute else config.n_layers * block
    return 4 * (parameters + n * activations + max(n * temporary, head))


def available_memory() -> int | None:
    """Return how many bytes this process may still allocate, or None if the system does not say."""
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
    elif "SC_PHYS_PAGES" in os.sysconf_names:  # macOS reports the installed memory; the system needs some of it
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4)
    limits += [*address_space_limits(), *cgroup_limits()]
    return max(0, min(limits)) if limits else None


def address_space_limits() -> Iterator[int]:
    """Yield the bytes that `ulimit -v` and `ulimit -d` leave to this process, if they are set."""
    try:
        import resource

        pages = list(map(int, Path("/proc/self/statm").read_text().split()))  # all, …, data and stack at index 5
    except (ImportError, OSError):  # no Unix, no Linux
        return
    for limit, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
        if (allowed := resource.getrlimit(limit)[0]) != resource.RLIM_INFINITY:
            yield allowed - used * resource.getpagesize()


def cgroup_limits(process: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> Iterator[int]:
    """Yield the bytes that each control group around this process leaves: Slurm's, systemd's or a container's.

    Groups are nested, and each may have a limit. In version 2 a line of `process` is "0::/PATH", in version 1
    "NUMBER:memory:/PATH". In a container the path may be that of the host, which does not exist here: the groups above
    it are then looked at, up to the root.
    """
    groups = [line.split(":", 2)[1:] for line in _read(Path(process)).splitlines() if line.count(":") >= 2]
    paths = {controllers: path for controllers, path in groups if not controllers or "memory" in controllers.split(",")}
    v2, v1 = paths.pop("", "/"), next(iter(paths.values()), "/")
    for top, path, limit, used in (
        (Path(root), v2, "memory.max", "anon"),
        (Path(root, "memory"), v1, "memory.limit_in_bytes", "total_rss"),
    ):
        group = PurePosixPath(path.strip("/"))
        for folder in dict.fromkeys((group, *group.parents)):
            text, statistics = (_read(top / folder / name) for name in (limit, "memory.stat"))
            if text.strip().isdigit():  # otherwise it is "max"
                usage = dict(line.split(None, 1) for line in statistics.splitlines())
                yield int(text) - int(usage.get(used, 0))


def _read(path: Path) -> str:
    """Return the text of a system's file, "" if it does not exist or may not be read."""
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


class Memory(NamedTuple):
    """The peak memory of a training in bytes, and whether activations are computed again to need no more."""

    bytes: int
    recompute: bool


SMALLER = "make the model smaller: --d-model, --n-layers, --context-length or --vocab-size of python -m gpt train"


def check_memory(
    model: ModelConfig,
    config: LoopConfig,
    *,
    tokens: int | None = None,
    trained: int | None = None,
    command: str = "train",
    smaller: str = SMALLER,
) -> Memory:
    """Return what training takes; MemoryError with a way out if it is more than is available.

    Activations are computed again if the config says so or, if it leaves that open, if memory would not suffice otherwise.
    tokens and trained are those of `training_memory`; `smaller` is the way out where a batch of one example is too large.
    """
    if (free := available_memory()) is None:
        free = sys.maxsize
    ema = config.ema is not None
    options: dict[str, Any] = {"shards": config.shards or 1, "tokens": tokens, "trained": trained, "ema": ema}
    choices = (False, True) if config.recompute is None else (config.recompute,)
    needs = [training_memory(model, config.batch_size, recompute=recompute, **options) for recompute in choices]
    for needed, recompute in zip(needs, choices, strict=True):
        if needed <= free:
            return Memory(needed, recompute)

    def fits(batch: int) -> bool:
        return any(training_memory(model, batch, recompute=recompute, **options) <= free for recompute in choices)

    batch = config.batch_size
    while batch > 1 and not fits(batch):
        batch //= 2
    accumulate = -(-config.batch_size * config.grad_accum_steps // batch)
    way_out = (
        f"python -m gpt {command} --batch-size {batch} --grad-accum-steps {accumulate} makes batches as large in less "
        "memory"
    )
    if not fits(batch):
        way_out = smaller
    raise MemoryError(f"training would take about {gigabytes(min(needs))}, and {gigabytes(free)} are free; {way_out}")


def memory_line(memory: Memory, config: LoopConfig) -> str:
    """Return the line that a run prints on its memory; it says how much is free if the run takes more than half."""
    batch = f"{config.batch_size}" + (f" × {config.grad_accum_steps}" if config.grad_accum_steps > 1 else "")
    batch += f", in {config.shards} shards side by side" if (config.shards or 1) > 1 else ""
    chosen = "; memory asks for it" if config.recompute is None else ""
    recompute = f"; activations are computed again in backward{chosen}" if memory.recompute else ""
    free = available_memory()
    of = f", of {gigabytes(free)} that are free," if free is not None and memory.bytes > free / 2 else ""
    return f"memory    about {gigabytes(memory.bytes)}{of} with batches of {batch}{recompute}"


def muon_share(config: ModelConfig, training: TrainConfig) -> float:
    """Return the operations of Muon, which orthogonalises every hidden matrix, as a share of those of the rest of a step.

    It does not depend on the number of tokens in a step, which are in the denominator: large batches make it cheap.

    >>> f"{muon_share(ModelConfig(), TrainConfig()):.0%}"
    '21%'
    """
    D, H, _ = head_rows(config)
    w_qkv, q, kv = "blocks.0.attn.w_qkv.weight", H * D, config.n_kv_heads * D  # three matrices, as in hidden_matrices
    block = {name: shape for name, shape in shapes(config).items() if BLOCK.match(name) and len(shape) == 2}
    rows = {name: (q, kv, kv) if name == w_qkv else shape[:1] for name, shape in block.items()}
    cost = sum(muon.cost((n, block[name][1])) for name in block for n in rows[name])
    tokens = training.batch_size * training.grad_accum_steps * config.context_length
    return config.n_layers * cost / (3 * forward_flops(config) * tokens)


def step_operations(model: Module, objective: Objective, config: LoopConfig, step: int = 0) -> float:
    """Return the floating-point operations of a step, about: of every parameter, whether or not it is trained."""
    ids = objective.batch_of(step, 0).rows[0]  # (B, …, T)
    return 3 * forward_flops(find_gpt(model).config, ids.shape[-1]) * ids.size * config.grad_accum_steps


def step_seconds(model: Module, objective: Objective, config: LoopConfig, step: int = 0) -> float:
    """Measure the seconds of a step, without changing the parameters.

    Of several micro-batches it measures one.
    """
    n, config = config.grad_accum_steps, dataclasses.replace(config, grad_accum_steps=1)
    parallel, times = in_shards(model, objective, config), []
    for _ in range(2):  # the first one also allocates memory
        began = time.perf_counter()
        accumulate_gradients(parallel, objective, config, step)
        times.append(time.perf_counter() - began)
        model.zero_grad()
        if times[0] > 2:
            break
    return n * min(times)


def gigabytes(n: int) -> str:
    """Format a number of bytes for people.

    >>> gigabytes(1_500_000_000), gigabytes(20_000_000), gigabytes(15_000)
    ('1.5 GB', '20 MB', '15 kB')
    """
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"


def duration(seconds: float) -> str:
    """Format a time for people.

    >>> duration(75), duration(7300), duration(200000)
    ('1:15', '2:01:40', '2 days 7:33:20')
    """
    seconds = round(seconds)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    text = f"{hours}:{minutes:02}:{seconds % 60:02}" if seconds >= 3600 else f"{minutes}:{seconds % 60:02}"
    return f"{days} day{'s' * (days > 1)} {text}" if days else text


def plural(n: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "line"), plural(1200, "line")
    ('1 line', '1,200 lines')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
