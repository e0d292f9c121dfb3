"""python -m gpt info: show what a checkpoint holds."""

from collections.abc import Iterator, Sequence

from gpt.commands.arguments import Parser
from gpt.runs.checkpoint import Checkpoint, Task, find_checkpoint, load_checkpoint
from gpt.runs.estimate import cache_memory, duration, forward_flops, gigabytes, training_memory

DESCRIPTION = """Show what a run or a checkpoint holds: what it was trained on, its parts, and what it costs to run.

    python -m gpt info runs/mine
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt info", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="folder of a run (its best checkpoint is used), or a checkpoint")
    checkpoint = load_checkpoint(find_checkpoint(parser.parse(arguments).run))
    print("\n".join([*past(checkpoint), "", *parts(checkpoint), "", *costs(checkpoint)]))
    return 0


def past(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield what the file is, and where its weights come from."""
    state, config = checkpoint.state, checkpoint.train_config
    yield f"{checkpoint.path}: {gigabytes(checkpoint.path.stat().st_size)}, step {state.step}"
    if checkpoint.task is not None:
        yield from purpose(checkpoint.task, duration(state.elapsed_s))
    elif state.source:
        yield f"imported from {state.source}"
    else:
        data = config.data or "the documentation of Python"
        windows = state.step * config.batch_size * config.grad_accum_steps
        yield f"trained on {data} (sha256 {state.text_sha256[:16]}…) for {duration(state.elapsed_s)}"
        if state.init:
            yield f"begun from {state.init}"
        yield f"has seen {windows * checkpoint.model_config.context_length:,} tokens in {windows:,} windows"
    if state.val_loss is not None:
        yield f"validation loss {state.val_loss:.4f}"
    yield f"tokenizer: {checkpoint.tokenizer.kind}, {checkpoint.tokenizer.vocab_size:,} tokens"
    yield "model: " + ", ".join(f"{name} {value}" for name, value in checkpoint.model_config.to_dict().items())


def purpose(task: Task, time: str) -> Iterator[str]:
    """Yield what a model was fine-tuned for, and from what."""
    base = f"from {task.base} (sha256 {task.base_sha256[:16]}…)" if task.base else "from random weights"
    yield f"fine-tuned to {task.kind} on {task.config.get('data')} for {time}, {base}"
    if task.lora is not None:
        lora = task.lora
        yield f"LoRA adapters of rank {lora.rank}, alpha {lora.alpha:g}, at {', '.join(lora.targets)}"
    if task.labels:
        yield f"labels: {', '.join(task.labels)}"


def parts(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield a table of the parameters: those of one part in all blocks are one row."""
    sizes: dict[str, tuple[int, int]] = {}
    for name, array in checkpoint.tensors.items():
        if name.startswith("model."):
            words = name.replace("model.gpt.", "model.", 1).split(".")
            part = f"blocks {words[3]}" if words[1] == "blocks" else words[1]
            n, n_bytes = sizes.get(part, (0, 0))
            sizes[part] = n + array.size, n_bytes + array.nbytes
    total = sum(n for n, _ in sizes.values())  # of adapters stored by themselves, the base is not here
    sizes["all"] = total, sum(n_bytes for _, n_bytes in sizes.values())
    yield f"{'part':<14}{'parameters':>16}{'share':>9}{'memory':>10}"
    for part, (n, n_bytes) in sizes.items():
        yield f"{part:<14}{n:>16,}{n / total:>9.1%}{gigabytes(n_bytes):>10}"


def costs(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield what it takes to run the model, and to train it."""
    config, training = checkpoint.model_config, checkpoint.train_config
    T, forward = config.context_length, forward_flops(config)
    yield f"forward        {operations(forward):>14} a token, of a full context of {T:,}"
    yield f"training       {operations(3 * forward):>14} a token, forward and backward"
    yield f"cache          {gigabytes(cache_memory(config)):>14} a token, {gigabytes(cache_memory(config, T))} when full"
    memory = training_memory(config, training.batch_size, training.shards or 1)
    yield f"memory         {gigabytes(memory):>14} to train with batches of {training.batch_size}, about"


def operations(n: int) -> str:
    """Write a number of floating-point operations for people.

    >>> operations(2_500_000), operations(340_000_000_000)
    ('2.5 MFLOP', '340 GFLOP')
    """
    for unit, size in (("GFLOP", 10**9), ("MFLOP", 10**6), ("kFLOP", 10**3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} FLOP"
