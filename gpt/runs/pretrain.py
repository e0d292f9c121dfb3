"""Begin or resume a pretraining run, from the options of the command line: read the data, make the model, check both."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from gpt.config import ModelConfig, TrainConfig, known_fields
from gpt.data.batches import Tokens, check_length, count_windows, window_stride
from gpt.data.dataset import MANIFEST
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint, TrainingState
from gpt.runs.estimate import check_memory, count, duration, gigabytes, step_seconds
from gpt.runs.init_from import describe, initial_config, initial_model, open_base
from gpt.runs.run import Run
from gpt.runs.start import begin_run, new_folder, resume_run
from gpt.runs.training_data import TrainingData, open_training_data
from gpt.tokenizer import Tokenizer
from gpt.training import Objective, pretraining
from nanograd.parallel.shards import choose_shards
from nanograd.seeds import INIT, generator

Pretraining = Run[GPT, TrainConfig]


def begin_pretraining(flags: Mapping[str, Any]) -> tuple[Pretraining, Objective]:
    """Begin a run and create its folder.

    flags are the options that the user gave, by name: fields of TrainConfig and ModelConfig, and `out`, `init`, `base`
    and `new_tokenizer`.
    """
    folder = new_folder(flags.get("out"))
    model, data, state = prepare(flags)
    print_time(model, data.train, data.config)
    run = begin_run(folder, model, data.config, data.tokenizer, data.files(), state=state)
    return run, pretraining(model, *run.tokens(), run.config)


def resume_pretraining(path: str, flags: Mapping[str, Any]) -> tuple[Pretraining, Objective]:
    """Resume a run from its last checkpoint, with the changes that the flags make."""

    def load_model(checkpoint: Checkpoint, config: TrainConfig) -> GPT:
        print_summary(checkpoint.model_config, config)
        return checkpoint.model()

    run = resume_run(path, "", TrainConfig, flags, load_model)
    train_tokens, val_tokens = run.tokens()
    print_time(run.model, train_tokens, run.config, start=run.state.step)
    return run, pretraining(run.model, train_tokens, val_tokens, run.config)


def prepare(flags: Mapping[str, Any]) -> tuple[GPT, TrainingData, TrainingState]:
    """Read the data, make tokenizer and model, and print what they are; nothing is written.

    The config of the data is the one to train with: its tokenizer and its shards are resolved.
    """
    config = TrainConfig(**known_fields(TrainConfig, flags))
    base, new_tokenizer = None, bool(flags.get("new_tokenizer"))
    if flags.get("init") is None:  # an invalid flag is an error before any work is done
        model_config = ModelConfig(
            **{f.name: flags[f.name] for f in dataclasses.fields(ModelConfig) if f.name in flags}
        )
    else:
        base = open_base(flags["init"], flags.get("base"), option="init")
        model_config = initial_config(base, flags, new_tokenizer=new_tokenizer)
    if config.shards is None:  # the result depends on it, so it is chosen once and stored
        config = dataclasses.replace(config, shards=choose_shards(config.batch_size, model_config.context_length))
    keeps_tokenizer = base is not None and not new_tokenizer
    data = open_training_data(config, flags, base if keeps_tokenizer else None)
    config = data.config
    if not keeps_tokenizer:
        vocab_size = model_vocabulary(config, flags, data.tokenizer)
        model_config = dataclasses.replace(model_config, vocab_size=vocab_size)
    if base is not None:
        inherited = "its weights and its tokenizer" if keeps_tokenizer else "its blocks; new token rows are initialised"
        print(f"init      {base.path}, step {base.state.step}: {inherited}")
    check_data(data, model_config.context_length)
    print_summary(model_config, config)
    rng, state = generator(config.seed, INIT), TrainingState(text_sha256=data.sha256)
    if base is None:
        model = GPT(model_config, rng)
    else:
        model = initial_model(base, model_config, rng, new_tokenizer=new_tokenizer)
        state.init = describe(base)
    if data.dataset is not None:
        state.dataset = str(data.dataset.path.resolve())
        state.tokens_sha256[MANIFEST] = data.dataset.sha256
    return model, data, state


def model_vocabulary(config: TrainConfig, flags: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    """Return the model's vocab_size: the tokenizer's, or more if the user asks for it."""
    vocab_size: int | None = flags.get("vocab_size")
    if vocab_size is None or config.tokenizer == "bpe":
        return tokenizer.vocab_size
    if vocab_size < tokenizer.vocab_size:
        raise ValueError(
            f"vocab_size={vocab_size} is below the tokenizer's {tokenizer.vocab_size} tokens; leave --vocab-size out"
        )
    return vocab_size


def check_data(data: TrainingData, context_length: int) -> None:
    """Print how much data there is; ValueError if it is too little."""
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


def print_summary(model: ModelConfig, config: TrainConfig) -> None:
    """Print the size of the model and of its training; MemoryError if the training would not fit."""
    memory = check_memory(model, config)
    batch = f"{config.batch_size}" + (f" × {config.grad_accum_steps}" if config.grad_accum_steps > 1 else "")
    batch += f", in {config.shards} shards side by side" if (config.shards or 1) > 1 else ""
    print(
        f"model     {count(model):,} parameters: {model.n_layers} layers, d_model {model.d_model}, {model.n_heads} heads, "
        f"context {model.context_length}\nmemory    about {gigabytes(memory)} with batches of {batch}"
    )


def print_time(model: GPT, tokens: Tokens, config: TrainConfig, start: int = 0) -> None:
    """Measure a step, and print about how long the steps from `start` on will take."""
    steps = config.max_steps - start
    print(f"time      about {duration(step_seconds(model, tokens, config) * steps)} for {steps} steps\n", flush=True)
