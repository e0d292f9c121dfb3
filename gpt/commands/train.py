"""python -m gpt train: learn a text, then write some."""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser, add_flags, take
from gpt.commands.profile import STEPS, profile_training, step_count
from gpt.commands.training_data import TrainingData, open_prepared, read_texts
from gpt.config import ModelConfig, SampleConfig, TrainConfig
from gpt.data.batches import Tokens, check_length, count_windows, window_stride
from gpt.data.dataset import is_prepared
from gpt.generation.generate import generate_text, start_ids
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, Checkpoint, Position, find_checkpoint, load_checkpoint
from gpt.runs.estimate import check_memory, count, duration, gigabytes, step_seconds
from gpt.runs.init_from import initial_config, initial_model, open_initial, origin
from gpt.runs.run import SAMPLE, Run, truncate_metrics
from gpt.runs.supervise import supervise
from gpt.tokenizer import Tokenizer
from gpt.training import make_optimizer, pretraining
from nanograd.parallel.shards import choose_shards
from nanograd.runtime import blas
from nanograd.runtime.files import write_text
from nanograd.seeds import INIT, generator

DESCRIPTION = """Train a GPT on a text, and write some text with it.

Without arguments it learns the documentation that ships with Python, in about a minute on two cores:
    python -m gpt train
On a text of your own, a folder of texts, or what data prepare made of them:
    python -m gpt train --data FILE
On from a model that is there, a run, imported weights or one that was fine-tuned, with its shape and tokenizer:
    python -m gpt train --init CKPT --data FILE
Where the time of a step goes, op by op, without starting a run:
    python -m gpt train --profile
Ctrl-C finishes the step, saves and says how to resume.
"""
Pretraining = Run[GPT, TrainConfig]
FIXED = ("data", "tokenizer", "seed", "val_fraction", "sampling", "stride", "shards")  # in a run that is resumed
FIXED_IN_EPOCHS = (*FIXED, "batch_size", "grad_accum_steps")  # with the step, these say which windows were seen


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt train", description=DESCRIPTION)
    parser.add_argument("--out", metavar="RUN", help="folder of the run (default runs/<date and time>)")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that was stopped, to the same result")
    parser.add_argument("--init", metavar="CKPT", help="begin from the weights, shape and tokenizer of a checkpoint")
    parser.add_argument(
        "--new-tokenizer",
        action="store_true",
        help="with --init: keep the blocks alone, and draw the rows of new tokens",
    )
    parser.add_argument(
        "--base", metavar="FILE", help="with --init: where the base of LoRA adapters is, if it was moved"
    )
    parser.add_argument(
        "--profile",
        metavar="N",
        nargs="?",
        const=STEPS,
        type=step_count,
        help=f"time N steps (default {STEPS}), and stop there",
    )
    add_flags(parser, TrainConfig, ModelConfig)
    given = parser.parse(arguments)
    if given.init is not None and given.resume is not None:
        raise ValueError("--init and --resume exclude each other: one begins a run, the other goes on with one")
    if given.new_tokenizer and given.init is None:
        raise ValueError("--new-tokenizer goes with --init: without it every run makes its own tokenizer")
    if given.base is not None and given.init is None:
        raise ValueError(
            "--base goes with --init: it says where the base of adapters is; to begin from it, --init FILE"
        )
    if given.profile is not None:
        for flag in ("resume", "out"):
            if getattr(given, flag) is not None:
                raise ValueError(f"--profile starts from the flags and leaves no folder behind; leave --{flag} away")
        run, data = prepare(given)
        profile_training(run.model, run.optimizer, data.train, run.config, given.profile)
        return 0
    run, train_tokens, val_tokens = begin(given) if given.resume is None else resume(given)
    if not supervise(run, pretraining(run.model, train_tokens, val_tokens, run.config), "train"):
        return 130
    print(f"\nsaved in {run.folder}\n")
    write_sample(run)
    print(f'\nMore of it: python -m gpt sample {run.folder} --prompt "…"')
    return 0


def begin(given: argparse.Namespace) -> tuple[Pretraining, Tokens, Tokens | None]:
    """Start a run and its folder."""
    run, data = prepare(given)
    tell_time(run.model, data.train, run.config, start=0)
    run.create(data.train, data.val, data.dataset)
    return run, *run.tokens()


def prepare(given: argparse.Namespace) -> tuple[Pretraining, TrainingData]:
    """Read the text, make tokenizer and model; return the run, of which nothing is written yet, and what it learns."""
    config = take(TrainConfig, given)
    base = None if given.init is None else open_initial(given.init, given.base)
    if base is None:
        shape = take(ModelConfig, given)  # say what is wrong with the flags before any work is done
    else:
        shape = initial_config(base, vars(given), new_tokenizer=given.new_tokenizer)
    if config.shards is None:  # the result depends on it: it is chosen once, and stored
        config = dataclasses.replace(config, shards=choose_shards(config.batch_size, shape.context_length))
    folder = Path(time.strftime("runs/%Y-%m-%d_%H-%M-%S") if given.out is None else given.out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out: {folder} is there already and not empty; go on with --resume, or choose another --out")
    kept = None if given.new_tokenizer else base  # what settles the tokens
    data = (open_prepared if is_prepared(config.data) else read_texts)(config, given, kept)
    config, tokenizer = data.config, data.tokenizer
    vocab_size = model_vocabulary(config, given, tokenizer) if kept is None else shape.vocab_size
    model_config = dataclasses.replace(shape, vocab_size=vocab_size)
    if base is not None:
        taken = "its blocks; the rows of the new tokens are drawn" if kept is None else "its weights and its tokenizer"
        print(f"init      {base.path}, step {base.position.step}: {taken}")
    check_data(data, shape.context_length)
    summarise(model_config, config)
    rng, position = generator(config.seed, INIT), Position(text_sha256=data.sha256)
    if base is None:
        model = GPT(model_config, rng)
    else:
        model = initial_model(base, model_config, rng, new_tokenizer=given.new_tokenizer)
        position.init = origin(base)
    return Run(folder, model, make_optimizer(model, config), config, tokenizer, position), data


def check_data(data: TrainingData, context_length: int) -> None:
    """Print how much there is to learn; ValueError where it is too little."""
    config, tokenizer = data.config, data.tokenizer
    print(
        f"tokens    {len(data.train):,} to train on, {len(data.val):,} to validate; "
        f"{tokenizer.kind} vocabulary of {tokenizer.vocab_size:,}"
    )
    check_length("training", data.train, context_length)
    if len(data.val) == 1:
        raise ValueError("data: the validation text has 1 token, and needs two or more; change --val-fraction")
    if config.sampling == "epochs":
        n = count_windows(data.train, context_length, window_stride(config, context_length))
        print(f"epoch     {n:,} windows: {n / (config.batch_size * config.grad_accum_steps):,.1f} steps")


def resume(given: argparse.Namespace) -> tuple[Pretraining, Tokens, Tokens | None]:
    """Take a run up where its last checkpoint left it; nothing in its folder changes before all is checked."""
    if given.out is not None:
        raise ValueError("--out and --resume exclude each other: a resumed run goes on in its own folder")
    checkpoint = load_checkpoint(find_checkpoint(given.resume, LAST))
    checkpoint.check_resumable()
    folder, position = checkpoint.path.parent, checkpoint.position
    config = changed_config(checkpoint, given)
    if position.step >= config.max_steps:
        raise ValueError(f"the run is at step {position.step} of {config.max_steps}; go on with a larger --max-steps")
    print(f"resume    {checkpoint.path} at step {position.step} of {config.max_steps}")
    if position.machine != blas.description():
        print(f"note      begun with {position.machine}, now {blas.description()}: not the same to the last bit")
    summarise(checkpoint.model_config, config)
    model = checkpoint.model()
    optimizer = make_optimizer(model, config)
    checkpoint.load_optimizer(optimizer)
    run = Run(folder, model, optimizer, config, checkpoint.tokenizer, position)
    train_tokens, val_tokens = run.tokens()
    tell_time(model, train_tokens, config, start=position.step)

    for unfinished in folder.glob(".*.tmp"):  # of a save that was killed
        unfinished.unlink()
    truncate_metrics(folder, position.step)
    run.write_config()
    return run, train_tokens, val_tokens


def changed_config(checkpoint: Checkpoint, given: argparse.Namespace) -> TrainConfig:
    """Return the run's config with the flags given now; what the weights or the data depend on cannot change."""
    flags = vars(given)
    old = {**checkpoint.model_config.to_dict(), **checkpoint.train_config.to_dict()}
    fixed = FIXED_IN_EPOCHS if checkpoint.train_config.sampling == "epochs" else FIXED
    for name in (*checkpoint.model_config.to_dict(), *fixed):
        if name in flags and flags[name] != old[name]:
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"resume: {flag} was {old[name]} and cannot change to {flags[name]}; start a new run for that"
            )
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    return dataclasses.replace(checkpoint.train_config, **{k: v for k, v in flags.items() if k in known})


def model_vocabulary(config: TrainConfig, given: argparse.Namespace, tokenizer: Tokenizer) -> int:
    """Return the model's vocab_size: the tokenizer's, or more where the user asks for it."""
    asked = getattr(given, "vocab_size", None)
    if asked is None or config.tokenizer == "bpe":
        return tokenizer.vocab_size
    if asked < tokenizer.vocab_size:
        raise ValueError(
            f"vocab_size={asked} is below the tokenizer's {tokenizer.vocab_size} tokens; leave --vocab-size out"
        )
    return int(asked)


def summarise(model: ModelConfig, config: TrainConfig) -> None:
    """Print what the run is made of; MemoryError where it would not fit."""
    memory = check_memory(model, config)
    batch = f"{config.batch_size}" + (f" × {config.grad_accum_steps}" if config.grad_accum_steps > 1 else "")
    batch += f", in {config.shards} shards side by side" if (config.shards or 1) > 1 else ""
    print(
        f"model     {count(model):,} parameters: {model.n_layers} layers, d_model {model.d_model}, {model.n_heads} heads, "
        f"context {model.context_length}\nmemory    about {gigabytes(memory)} with batches of {batch}"
    )


def tell_time(model: GPT, tokens: Tokens, config: TrainConfig, start: int) -> None:
    """Measure a step and print how long those from `start` on will take."""
    steps = config.max_steps - start
    print(f"time      about {duration(step_seconds(model, tokens, config) * steps)} for {steps} steps\n", flush=True)


def write_sample(run: Pretraining) -> None:
    """Write some text with the run's best model, to the terminal and to sample.txt."""
    model = load_checkpoint(find_checkpoint(run.folder)).model()
    pieces = []
    for (piece,) in generate_text(model, run.tokenizer, start_ids(run.tokenizer), SampleConfig()):
        print(piece, end="", flush=True)
        pieces.append(piece)
    print()
    write_text(run.folder / SAMPLE, "".join(pieces) + "\n")
