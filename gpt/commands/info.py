"""python -m gpt info: show what a checkpoint holds."""

from collections.abc import Sequence

from gpt.checkpoint import find_checkpoint, load_checkpoint
from gpt.cli import Parser
from gpt.estimate import count, duration, gigabytes, training_memory


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m gpt info", description="Show what a run or a checkpoint holds: the model, its parts, its past."
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run (its best checkpoint is used), or a checkpoint")
    given = parser.parse(arguments)
    checkpoint = load_checkpoint(find_checkpoint(given.run))
    model, position = checkpoint.model_config, checkpoint.position
    data = checkpoint.train_config.data or "the documentation of Python"
    print(f"{checkpoint.path}: {gigabytes(checkpoint.path.stat().st_size)}, step {position.step}")
    if position.source:
        print(f"imported from {position.source}")
    else:
        print(f"trained on {data} (sha256 {position.text_sha256[:16]}…) for {duration(position.elapsed_s)}")
    if position.val_loss is not None:
        print(f"validation loss {position.val_loss:.4f}")
    print(f"tokenizer: {checkpoint.tokenizer.kind}, {checkpoint.tokenizer.vocab_size:,} tokens")
    print("model: " + ", ".join(f"{name} {value}" for name, value in model.to_dict().items()))
    memory = training_memory(model, checkpoint.train_config.batch_size, checkpoint.train_config.shards or 1)
    print(f"{count(model):,} parameters, {gigabytes(4 * count(model))}; training takes about {gigabytes(memory)}")
    parts: dict[str, int] = {}
    for name, array in checkpoint.tensors.items():
        if name.startswith("model."):
            words = name.split(".")
            part = " ".join(words[3:4]) if words[1] == "blocks" else words[1]
            parts[part] = parts.get(part, 0) + array.size
    for part, size in parts.items():
        print(f"  {part:<8} {size:>14,}  {size / count(model):6.1%}")
    return 0
