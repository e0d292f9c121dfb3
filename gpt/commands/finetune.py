"""python -m gpt finetune: train a model further for a task, to classify, to answer, or to prefer."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from gpt.commands.arguments import Parser, add_base, add_flags, add_run_folder, add_workers, take
from gpt.config import ModelConfig
from gpt.finetune.classifier import LONGEST_CONTEXT, VOCABULARY, ClassifyTask
from gpt.finetune.dpo import PreferTask
from gpt.finetune.examples import supports_colour
from gpt.finetune.sft import InstructConfig, InstructTask, show_masks
from gpt.finetune.task import begin, resume
from gpt.runs.start import print_time
from gpt.runs.supervise import run_training
from gpt.runs.team import Workers, with_shards
from nanograd.runtime.arguments import dispatch

SUMMARIES = {
    "classify": "assign texts to classes, learned from labelled examples",
    "instruct": "learn to answer, from instructions and conversations",
    "prefer": "learn which of two answers is preferred, by DPO",
}
TASKS = {task.kind: task for task in (ClassifyTask(), InstructTask(), PreferTask())}
HELP = (
    "usage: python -m gpt finetune TASK …\n\n"
    + "\n".join(f"  {name:<10} {text}" for name, text in SUMMARIES.items())
    + "\n\n`python -m gpt finetune TASK --help` explains each task.\n"
)
DESCRIPTIONS = {
    "classify": """Learn to assign texts to classes: a linear head on a GPT's hidden state at the last token of a text.

    python -m gpt finetune classify --data spam.tsv --init random --balance
    python -m gpt finetune classify --data spam.tsv --init runs/a --lora-rank 8
    python -m gpt classify RUN "a text"

Columns called label and text are found by name, or named with --label-column and --text-column. Duplicates and empty texts
are left out and counted. 70 % of each class are for training; 10 % decide which checkpoint is best and when to stop early;
20 % test the best. They stay in the run's folder, as train.jsonl, val.jsonl and test.jsonl, beside scores.json.
""",
    "instruct": """Teach a model to answer, from instructions and conversations.

    python -m gpt finetune instruct --data FILE.json --init runs/a
    python -m gpt finetune instruct --data FILE.json --init runs/a --show-mask 2

The data is a JSON list of such objects, or has one a line:
    {"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"}
    {"messages": [{"role": "user", "content": "2 and 3?"},
                  {"role": "assistant", "content": "5"}]}
ShareGPT's conversations and Dolly's columns are read too; --columns names others.

The loss counts only the tokens of the responses, and not those of messages with "weight": 0. A share of the
conversations is for the test: responses.jsonl holds the model's answers to them. Then: python -m gpt chat RUN
""",
    "prefer": """Teach a model which of two answers is preferred, by DPO: without a reward model, and without sampling.

    python -m gpt finetune prefer --data pairs.jsonl --init runs/answers

The data is a JSON list of such objects, or has one a line:
    {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A trout."}
    {"instruction": "Add.", "input": "2 and 3", "chosen": "5", "rejected": "6"}
TRL's pairs of conversations are read too; --columns names other columns.

The base should have learned to answer (finetune instruct). It is also the reference: its log-probabilities of all answers
are computed once, before the first step, and stored in the run.
""",
}
CLASSIFY_DEFAULTS = {
    "lr": "0.03/d_model of the base, with adapters 0.3/d_model; 5e-4 from random weights",
    "max_steps": "those of --epochs",
    "vocab_size": f"{VOCABULARY} for a new bpe tokenizer, else the tokenizer's",
    "context_length": f"enough for 99 of 100 texts, at most {LONGEST_CONTEXT}",
}
LEARNING_RATES = "{:g}/d_model of the base, with adapters {:g}/d_model"
SHAPE_NOTE = "These are for --init random. Another base has its own shape, and only --dropout can change it."
NEXT_STEPS = {
    "classify": 'Try it: python -m gpt classify {run} "a text"',
    "instruct": "Talk to it: python -m gpt chat {run}",
    "prefer": "Talk to it: python -m gpt chat {run}",
}


def main(arguments: Sequence[str]) -> int:
    return dispatch("gpt finetune", "task", {name: partial(finetune, name) for name in TASKS}, HELP, arguments)


def finetune(name: str, arguments: Sequence[str]) -> int:
    """Train a model for a task, and test it."""
    task, args = TASKS[name], parse(name, arguments)
    if getattr(args, "show_mask", None) is not None:
        for flag in ("resume", "out"):
            if getattr(args, flag) is not None:
                raise ValueError(f"--show-mask starts from the flags and writes no folder; leave --{flag} out")
        show_masks(take(InstructConfig, args), args.show_mask, colour=supports_colour(sys.stdout))
        return 0
    flags = vars(args)
    run, data = begin(task, with_shards(flags)) if args.resume is None else resume(task, args.resume, flags)

    objective = task.objective(run, data)
    if not run.is_finished():
        print_time(run.model, objective, run.config, start=run.state.step, only_long=True)

    def finish() -> None:
        print(f"\nsaved in {run.folder}\n")
        task.evaluate(run, data, flags)
        print(f"\n{NEXT_STEPS[name].format(run=run.folder)}")

    finished = run_training(run, objective, f"finetune {name}", finish, Workers.of(flags))
    return 0 if finished else run.exit_code()


def parse(name: str, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the flags of a task."""
    parser = Parser(prog=f"python -m gpt finetune {name}", usage="%(prog)s [FLAG …]", description=DESCRIPTIONS[name])
    add_run_folder(parser)
    add_base(parser)
    add_workers(parser)
    if name == "classify":
        parser.option("--plot", "draw the confusion matrix as a picture; needs matplotlib", metavar="FILE")
    if name == "instruct":
        help_text = "show which tokens of N conversations are trained on, green or in [brackets], and stop"
        parser.option("--show-mask", help_text, kind=int, least=1)
    classify = name == "classify"
    rates = {"lr": LEARNING_RATES.format(*((0.003, 0.03) if name == "prefer" else (0.03, 0.3)))}
    add_flags(parser, TASKS[name].config_type, defaults={**rates, **(CLASSIFY_DEFAULTS if classify else {})})
    if classify:
        add_flags(parser, ModelConfig, defaults=CLASSIFY_DEFAULTS, note=SHAPE_NOTE)
    args = parser.parse(arguments)
    if args.base is not None and args.resume is None and "init" not in args:  # its old name
        args.init, args.base = args.base, None
    return args
