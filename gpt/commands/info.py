"""python -m gpt info: show the content of a checkpoint."""

from collections.abc import Iterator, Sequence

from gpt.commands.arguments import Parser, add_checkpoint
from gpt.runs.checkpoint import Checkpoint, Task, find_checkpoint, load_checkpoint
from gpt.runs.estimate import cache_memory, duration, forward_flops, gigabytes, training_memory

DESCRIPTION = """Show a run or a checkpoint: its training data, its parameters, and the cost of running it.

    python -m gpt info runs/mine
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt info", description=DESCRIPTION)
    add_checkpoint(parser)
    args = parser.parse(arguments)
    checkpoint = load_checkpoint(find_checkpoint(args.run), args.base)
    print("\n".join([*history(checkpoint), "", *parameter_table(checkpoint), "", *costs(checkpoint)]))
    return 0


def history(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the size of the file and the origin of its weights."""
    state, config = checkpoint.state, checkpoint.train_config
    yield f"{checkpoint.path}: {gigabytes(checkpoint.path.stat().st_size)}, step {state.step}"
    if checkpoint.kind and checkpoint.task is not None:
        yield from finetuning(checkpoint.task, duration(state.elapsed_s))
        batch = f"{config.batch_size}" + (f" × {config.grad_accum_steps}" if config.grad_accum_steps > 1 else "")
        yield f"{state.step} of {config.max_steps} steps, with batches of {batch} and a learning rate up to {config.lr:g}"
    elif state.source:
        yield f"imported from {state.source}"
        if checkpoint.task is not None and checkpoint.task.template:
            yield f"chat template: {checkpoint.task.template['name']}"
    else:
        data = ", ".join(config.paths) or "the documentation of Python"
        windows = state.step * config.batch_size * config.grad_accum_steps
        yield f"trained on {data} (sha256 {state.text_sha256[:16]}…) for {duration(state.elapsed_s)}"
        if state.init:
            yield f"initialised from {state.init}"
        yield f"has seen {windows * checkpoint.model_config.context_length:,} tokens in {windows:,} windows"
    if state.val_loss is not None:
        yield f"validation loss {state.val_loss:.4f}"
    yield f"tokenizer: {checkpoint.tokenizer.kind}, {checkpoint.tokenizer.vocab_size:,} tokens"
    yield "model: " + ", ".join(f"{name} {value}" for name, value in checkpoint.model_config.to_dict().items())


def finetuning(task: Task, time: str) -> Iterator[str]:
    """Yield the task of a fine-tuned model, its data and its base."""
    base = f"from {task.base} (sha256 {task.base_sha256[:16]}…)" if task.base else "from random weights"
    yield f"fine-tuned to {task.kind} on {task.config.get('data')} for {time}, {base}"
    if task.lora is not None:
        lora = task.lora
        yield f"LoRA adapters of rank {lora.rank}, alpha {lora.alpha:g}, at {', '.join(lora.targets)}"
    if task.labels:
        yield f"labels: {', '.join(task.labels)}"


def parameter_table(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield a table of the parameters by module; modules of the same name in all blocks are one row."""
    sizes: dict[str, tuple[int, int]] = {}
    for name, array in checkpoint.tensors.items():
        if name.startswith("model."):
            path = name.replace("model.gpt.", "model.", 1).split(".")
            module = f"blocks {path[3]}" if path[1] == "blocks" else path[1]
            n, n_bytes = sizes.get(module, (0, 0))
            sizes[module] = n + array.size, n_bytes + array.nbytes
    total = sum(n for n, _ in sizes.values())  # a file of adapters does not include their base
    sizes["all"] = total, sum(n_bytes for _, n_bytes in sizes.values())
    yield f"{'module':<14}{'parameters':>16}{'share':>9}{'memory':>10}"
    for module, (n, n_bytes) in sizes.items():
        yield f"{module:<14}{n:>16,}{n / total:>9.1%}{gigabytes(n_bytes):>10}"


def costs(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the operations and the memory of running the model, and of training it."""
    config, training = checkpoint.model_config, checkpoint.train_config
    T, forward = config.context_length, forward_flops(config)
    yield f"forward        {operations(forward):>14} per token, in a full context of {T:,}"
    yield f"training       {operations(3 * forward):>14} per token, forward and backward"
    yield f"cache          {gigabytes(cache_memory(config)):>14} per token, {gigabytes(cache_memory(config, T))} when full"
    ema = training.ema is not None
    memory = training_memory(config, training.batch_size, training.shards or 1, ema=ema)
    yield f"memory         {gigabytes(memory):>14} to train with batches of {training.batch_size}, about"


def operations(n: int) -> str:
    """Format a number of floating-point operations for people.

    >>> operations(2_500_000), operations(340_000_000_000)
    ('2.5 MFLOP', '340 GFLOP')
    """
    for unit, size in (("GFLOP", 10**9), ("MFLOP", 10**6), ("kFLOP", 10**3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} FLOP"
