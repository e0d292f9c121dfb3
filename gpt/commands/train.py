"""python -m gpt train: pretrain a GPT on a text, then generate some text."""

from collections.abc import Sequence

from gpt.commands.arguments import Parser, add_base, add_flags, add_run_folder, run_path
from gpt.commands.profile import STEPS, profile_training
from gpt.config import ModelConfig, SampleConfig, TrainConfig
from gpt.generation.generate import generate_text, start_ids
from gpt.model import GPT
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.runs.pretrain import begin_pretraining, prepare, resume_pretraining
from gpt.runs.run import SAMPLE, Run
from gpt.runs.supervise import run_training
from gpt.training import make_optimizer
from nanograd.runtime.files import write_text

DESCRIPTION = """Train a GPT on a text, and generate some text with it.

Without arguments, on the documentation that ships with Python, in about a minute on two cores:
    python -m gpt train
On a text of your own, a folder of texts, or a folder of data prepare:
    python -m gpt train --data FILE
From a checkpoint (a run, imported weights or a fine-tuned model), with its shape and tokenizer:
    python -m gpt train --init RUN --data FILE
Profile a step, op by op, without starting a run:
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
    profile = f"time N steps (default {STEPS}), and stop there"
    parser.option("--profile", profile, kind=int, least=1, nargs="?", const=STEPS)
    vocab_size = f"{ModelConfig().vocab_size} for a new bpe tokenizer, else the tokenizer's"
    add_flags(parser, TrainConfig)
    add_flags(parser, ModelConfig, defaults={"vocab_size": vocab_size}, note=SHAPE_NOTE)
    options = parser.parse(arguments)
    if options.profile is not None:
        for flag in ("resume", "out"):
            if getattr(options, flag) is not None:
                raise ValueError(f"--profile starts from the flags and leaves no folder behind; leave --{flag} away")
        model, data, _ = prepare(vars(options))
        profile_training(model, make_optimizer(model, data.config), data.train, data.config, options.profile)
        return 0
    if options.resume is None:
        run, objective = begin_pretraining(vars(options))
    else:
        run, objective = resume_pretraining(options.resume, vars(options), results=(SAMPLE,))

    def finish() -> None:
        print(f"\nsaved in {run.folder}\n")
        write_sample(run)
        print(f'\nMore of it: python -m gpt sample {run.folder} --prompt "…"')

    return 0 if run_training(run, objective, "train", finish) else run.exit_code()


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
