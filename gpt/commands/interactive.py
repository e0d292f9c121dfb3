"""python -m gpt sample RUN --interactive: one prompt after the other."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable

from gpt.cli import reader
from gpt.config import SampleConfig, field_types, nearest

HELP = """Each line is a prompt of its own; an empty one starts from nothing. Ctrl-C stops a text, Ctrl-D leaves.
  /help             this, and what is set
  /quit             leave
  /temperature 0.5  set it for the texts that follow; so with all of these:"""


def interact(config: SampleConfig, show: Callable[[str, SampleConfig], None]) -> None:
    """Read prompts until the input ends, and `show` the text of each: from a terminal, or line by line from a pipe.

    A line that begins with / is a command. After each text the seed goes up by one, so that a prompt given twice is
    continued in two ways, and a session in the same way every time.
    """
    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - lines can be edited, and fetched again; Windows has its own way
        print("Give a prompt; /help says what else. Ctrl-D leaves.")
    elif hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    while True:
        try:
            line = input("> " if terminal else "")
            if line in ("/quit", "/exit"):
                return
            if line == "/help":
                print(HELP)
                for name, value in config.to_dict().items():
                    print(f"    /{name.replace('_', '-')} {'none' if value is None else value}")
            elif line.startswith("/"):
                config = changed(config, line)
            else:
                show(line, config)
                config = dataclasses.replace(config, seed=(config.seed + 1) % 2**32)
        except EOFError:
            if terminal:
                print()
            return
        except KeyboardInterrupt:  # the text, or the line that was being typed, is given up
            print()
        except ValueError as error:
            print(error, file=sys.stderr)


def changed(config: SampleConfig, line: str) -> SampleConfig:
    """Return the config with what a command sets; ValueError says what is wrong with it.

    >>> changed(SampleConfig(), "/top-k 40").top_k
    40
    """
    command, _, text = line.partition(" ")
    types = field_types(SampleConfig)
    name = command[1:].replace("-", "_")
    if name not in types:
        known = ["/help", "/quit", *(f"/{field.replace('_', '-')}" for field in types)]
        hint = nearest(command, known)
        raise ValueError(f"unknown command {command}{hint or ';'} /help lists all")
    kind, optional = types[name]
    try:
        return dataclasses.replace(config, **{name: reader(kind, optional)(text.strip())})
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{command} {error}") from None
