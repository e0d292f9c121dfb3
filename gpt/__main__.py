"""python -m gpt COMMAND: train a GPT on a text, and write with it."""

import errno
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from gpt.config import nearest

COMMANDS = {
    "train": "train a model on a text",
    "sample": "write text with a trained model",
    "finetune": "make a trained model useful: a classifier, or one that answers",
    "chat": "talk with a model that learned to answer",
    "classify": "put texts into the classes that a model was fine-tuned for",
    "score": "how likely a text is to a model, token by token",
    "eval": "measure a trained model's loss on a text",
    "clean": "make clean text of files and folders, HTML too",
    "data": "turn texts into tokens once, for training at any size",
    "tokenizer": "train a tokenizer, turn text into ids and back",
    "import": "make a checkpoint of weights that others trained: GPT-2, Llama, llama2.c",
    "export": "write a model as Hugging Face's transformers opens it",
    "merge": "add LoRA adapters to the weights of their base",
    "info": "show what a checkpoint holds",
    "study": "play one training example and its backward, step by step, on a page",
    "plot": "draw a run's loss curves",
    "doctor": "examine a model: is it sound, and does it learn",
}
MODULES = {"eval": "evaluate", "import": "import_"}
PACKAGES = ("numpy", "regex")

HELP = (
    "usage: python -m gpt COMMAND …\n\n"
    + "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    + "\n\nBegin with `python -m gpt train`: in about a minute it learns Python's own documentation and writes some.\n"
    "`python -m gpt COMMAND --help` explains each command.\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. A mistake of the user is one line on stderr, not a traceback.

    GPT_TRACEBACK=1 in the environment shows the traceback too.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the caller closed it: `… >&-`, or a Windows program without a console
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it stays open
        elif hasattr(stream, "reconfigure"):  # text is UTF-8 here, whatever the system's locale (Windows, LANG=C)
            stream.reconfigure(encoding="utf-8", errors="replace")
    warnings.formatwarning = lambda message, *_, **__: (
        f"warning: {message}\n"
    )  # one line, without a place in our sources
    try:
        try:
            return run(arguments)
        finally:
            sys.stdout.flush()  # now: what cannot be written at exit would be a traceback
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
        print(f"{' '.join(['gpt', *arguments[:1]])}: {describe(error)}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # our output is what could not be written
            _drop_output()
        return 1


def run(arguments: Sequence[str]) -> int:
    """Find the command that the arguments begin with, and run it."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        hint = nearest(command, list(COMMANDS))
        print(f"gpt: unknown command {command!r}{hint}; see python -m gpt --help", file=sys.stderr)
        return 2
    import numpy as np  # not above: --help needs no package

    module = importlib.import_module(f"gpt.commands.{MODULES.get(command, command)}")
    with np.errstate(all="ignore"):  # a warning says where a number overflowed; our errors say at which step
        return int(module.main(rest))


def describe(error: BaseException) -> str:
    """Return one line that says what went wrong."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"the package {error.name} is missing; install what is needed: python -m pip install {' '.join(PACKAGES)}"
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))  # Windows has no quotas
        return f"{where}{error.strerror}{'; free some space, the files that were there are intact' if full else ''}"
    if isinstance(error, MemoryError):
        return f"not enough memory: {' '.join(str(error).split()) or 'give a smaller --batch-size'}"
    return " ".join(str(error).split()) or type(error).__name__


def _drop_output() -> None:
    """Let nothing be written at exit: what is left in the buffer has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
