"""python -m gpt COMMAND: train a GPT on a text, and generate text with it."""

import errno
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial

from gpt import __version__

COMMANDS = {
    "train": "train a model on a text",
    "sample": "generate text with a trained model",
    "finetune": "teach a trained model to classify, to answer, or what is preferred",
    "chat": "chat with a fine-tuned model",
    "classify": "classify texts with a fine-tuned model",
    "score": "the probability that a model gives a text, token by token",
    "eval": "measure a model's loss on a text, or its answers to tasks",
    "clean": "turn files and folders into clean text, HTML too",
    "data": "tokenize texts once, for training at any size",
    "tokenizer": "train a tokenizer, turn text into ids and back",
    "import": "make a checkpoint from pretrained weights: GPT-2, Llama, llama2.c",
    "export": "write a model in Hugging Face's format",
    "merge": "add LoRA adapters to the weights of their base",
    "info": "show the contents of a checkpoint",
    "study": "write a page that plays a training example and its backward pass",
    "guide": "the guide: build a large language model from scratch",
    "plot": "write a page of a run's curves and samples, or compare runs",
    "doctor": "check a model for faults before training it further",
}
MODULES = {"eval": "evaluate", "import": "import_"}
PACKAGES = ("numpy", "regex")

HELP = (
    "usage: python -m gpt COMMAND …\n\n"
    + "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    + "\n\nBegin with `python -m gpt train`: in one to two minutes it learns Python's own\n"
    "documentation and generates some. `python -m gpt COMMAND --help` explains each\n"
    "command, and `python -m gpt --version` prints the version.\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A user's mistake is reported in one line on stderr, without a traceback.

    GPT_TRACEBACK=1 in the environment shows the traceback too.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    settle_signals()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the caller closed it: `… >&-`, or a Windows program without a console
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it stays open
        elif hasattr(stream, "reconfigure"):  # text is UTF-8 here, whatever the system's locale (Windows, LANG=C)
            stream.reconfigure(encoding="utf-8", errors="replace")
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"  # one line, without the line of our source
    commands = {name: partial(run_command, name) for name in COMMANDS}
    try:
        try:
            if not arguments or arguments[0] in ("-h", "--help", "help", "--version"):  # these need no package
                print(f"gpt {__version__}\n" if arguments[:1] == ["--version"] else HELP, end="")
                return 0
            from nanograd.runtime.arguments import dispatch

            return dispatch("gpt", "command", commands, HELP, arguments)
        finally:
            sys.stdout.flush()  # now: an error while flushing at exit would print a traceback
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away: `… | head`
        _drop_output()
        return 141
    except (ValueError, OSError, MemoryError, ArithmeticError, ModuleNotFoundError) as error:
        unexpected = isinstance(error, ModuleNotFoundError) and error.name not in PACKAGES
        if unexpected or os.environ.get("GPT_TRACEBACK"):
            raise
        line = f"{' '.join(['gpt', *arguments[:1]])}: {describe(error)}"
        if not isinstance(error, ModuleNotFoundError):  # without NumPy, nothing of nanograd can be imported
            from nanograd.runtime.arguments import one_line

            line = one_line(line)
        print(line, file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # it was our output that could not be written
            _drop_output()
        return 1


def settle_signals() -> None:
    """Under mpiexec, leave the signals that end a run to rank 0, where they wait until it can end the other ranks."""
    size, rank = (
        int(os.environ.get(f"PMI_{name}") or os.environ.get(f"OMPI_COMM_WORLD_{name}") or 0)
        for name in ("SIZE", "RANK")
    )
    numbers = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
    if size > 1 and rank:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
    elif size > 1 and hasattr(signal, "pthread_sigmask"):  # Windows lacks it, and SIGHUP
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Import a command, and run it."""
    import numpy as np

    from gpt.runs.team import world

    with np.errstate(all="ignore"):  # our errors name the step at which a number overflowed
        if (team := world()) is not None and team.rank:
            team.follow()
            return 0
        try:
            module = importlib.import_module(f"gpt.commands.{MODULES.get(name, name)}")
            return int(module.main(arguments))
        finally:
            if team is not None:
                team.close()


def describe(error: BaseException) -> str:
    """Return a one-line description of an error."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"the package {error.name} is missing; install what is needed: python -m pip install {' '.join(PACKAGES)}"
        )
    if isinstance(error, OSError) and error.strerror:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))  # Windows has no quotas
        where = error.filename or ("standard output" if full else "")  # a full file has its name
        way_out = "free some space, the files that were there are intact" if full and error.filename else ""
        notes = [str(error.strerror), way_out, *getattr(error, "__notes__", ())]
        return (f"{where}: " if where else "") + "; ".join(filter(None, notes))
    if isinstance(error, MemoryError):
        return (
            f"not enough memory: {' '.join(str(error).split()) or 'make the batch, the context or the model smaller'}"
        )
    return " ".join(str(error).split()) or type(error).__name__


def _drop_output() -> None:
    """Redirect stdout to devnull, so that flushing its buffer at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
