"""python -m gpt train: pretrain a GPT on a text, then generate some text."""

from collections.abc import Sequence

from gpt.commands.arguments import Parser, add_base, add_flags, add_run_folder, add_workers, run_path
from gpt.commands.profile import STEPS, profile_training
from gpt.config import ModelConfig, SampleConfig, TrainConfig
from gpt.generation.generate import generate_text, start_ids
from gpt.model import GPT
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.runs.presets import MUON_PAYS, RATES, RECIPE, SIZES, with_presets
from gpt.runs.pretrain import begin_pretraining, prepare, resume_pretraining
from gpt.runs.run import SAMPLE, Run
from gpt.runs.start import print_time
from gpt.runs.supervise import run_training
from gpt.runs.team import Workers, with_shards
from gpt.training import first_token, make_optimizer, next_token_objective
from nanograd.runtime.arguments import format_value
from nanograd.runtime.files import write_text

DESCRIPTION = """Train a GPT on a text, and generate some text with it.

Without arguments, on the documentation that ships with Python, in one to two minutes:
    python -m gpt train
On texts of your own, files or folders of them, or on a folder of data prepare:
    python -m gpt train --data FILE
    python -m gpt train --data FILE FOLDER --size medium
From a checkpoint (a run, imported weights or a fine-tuned model), with its shape and tokenizer:
    python -m gpt train --init RUN --data FILE
With the options of an earlier run, changed by the other flags:
    python -m gpt train --config runs/mine/config.json --lr 1e-3
Print what there is to train, the memory and the time, or a profile of a step; no run is started:
    python -m gpt train --estimate
    python -m gpt train --profile

In the lines of the steps, * marks the lowest validation loss so far.
Ctrl-C finishes the step, saves, and prints how to resume; SIGTERM and SIGHUP do so too. A run that is resumed keeps its
options: a few of the flags below can change them.
"""
SHAPE_NOTE = (
    "With --init the shape is the checkpoint's; only --dropout and --context-length can change it, and --vocab-size with "
    "--new-tokenizer."
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt train", usage="%(prog)s [FLAG …]", description=DESCRIPTION)
    add_run_folder(parser)
    parser.option("--init", "start from the weights, shape and tokenizer of a checkpoint", metavar="RUN", type=run_path)
    new_tokenizer = "with --init: keep only the blocks, and initialise the embeddings of new tokens"
    parser.option("--new-tokenizer", new_tokenizer, False)
    add_base(parser, "with --init: ")
    parser.option("--config", "take the options from the config.json of a run; flags change them", metavar="FILE")
    numbers = {name: ", ".join(f"{k} {v}" for k, v in size.items() if type(v) is int) for name, size in SIZES.items()}
    sizes = "; ".join(f"{name}: {words}" for name, words in numbers.items()) + ", and its block"
    parser.option("--size", f"{sizes}; flags change them (default: small)", choices=tuple(SIZES))
    add_workers(parser)
    parser.option("--estimate", "print the data, the model, its memory and the time, and stop there", False)
    profile = f"time N steps (default {STEPS}), and stop there"
    parser.option("--profile", profile, kind=int, least=1, nargs="?", const=STEPS)
    vocab_size = f"{ModelConfig().vocab_size} for a new bpe tokenizer, else the tokenizer's"
    chosen = {name: format_value(value) for name, value in RECIPE.items()} | {
        "lr": f"{RATES['muon']:g}/d_model with muon, {RATES['adamw']:g}/d_model with adamw; with --init 0.03/d_model",
        "batch_size": "16; with --init those of 4,096 tokens, at most 16",
        "optimizer": f"muon if it adds at most {MUON_PAYS:.0%} to the operations of a step; else, or with --init, adamw",
        "init_std": "1/√d_model",
        "weight_decay": "none; with --init 0.1",
        "warmup_steps": "max_steps / 10; with --init 60",
        "vocab_size": vocab_size,
    }
    add_flags(parser, TrainConfig, defaults=chosen)
    add_flags(parser, ModelConfig, defaults=chosen, note=SHAPE_NOTE)
    options = parser.parse(arguments)
    flags = with_presets(vars(options))
    if options.estimate or options.profile is not None:
        for flag in ("resume", "out"):
            if getattr(options, flag) is not None:
                dry = "--estimate" if options.estimate else "--profile"
                raise ValueError(f"{dry} starts from the flags and leaves no folder behind; leave --{flag} away")
        model, data, _ = prepare(flags)
        begin = first_token(data.config, data.tokenizer)
        if options.estimate:
            print_time(model, next_token_objective(model, data.train, None, data.config, begin), data.config)
        if options.profile is not None:
            optimizer = make_optimizer(model, data.config)
            profile_training(model, optimizer, data.train, data.config, options.profile, begin)
        return 0
    if options.resume is None:
        run, objective = begin_pretraining(with_shards(flags))
    else:
        run, objective = resume_pretraining(options.resume, flags, results=(SAMPLE,))

    def finish() -> None:
        print(f"\nsaved in {run.folder}\n")
        write_sample(run)
        print(f'\nMore of it: python -m gpt sample {run.folder} --prompt "…"')

    return 0 if run_training(run, objective, "train", finish, Workers.of(flags)) else run.exit_code()


def write_sample(run: Run[GPT, TrainConfig]) -> None:
    """Generate some text with the run's best model, to the terminal and to sample.txt."""
    model = load_checkpoint(find_checkpoint(run.folder)).model()
    if 0 < run.state.best_step < run.state.step:
        print(f"[a sample of step {run.state.best_step}, whose validation loss is the lowest]")
    sample = ""
    for (text,) in generate_text(model, run.tokenizer, start_ids(run.tokenizer), SampleConfig()):
        print(text, end="", flush=True)
        sample += text
    print()
    write_text(run.folder / SAMPLE, sample + "\n")
