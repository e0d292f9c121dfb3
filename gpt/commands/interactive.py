"""Ask for one line after the other: of `sample --interactive`, where each is a prompt, and of `chat`."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence

from gpt.commands.arguments import reader
from gpt.config import SampleConfig, field_types, nearest

HELP = """Each line is a prompt of its own; an empty one starts from nothing. Ctrl-C stops a text, Ctrl-D leaves.
  /help             this, and what is set
  /quit             leave
  /temperature 0.5  set it for the texts that follow; so with all of these:"""


def interact(
    config: SampleConfig,
    show: Callable[[str, SampleConfig], None],
    *,
    greeting: str = "Give a prompt; /help says what else. Ctrl-D leaves.",
    explain: str = HELP,
    commands: Mapping[str, Callable[[], None]] | None = None,
) -> None:
    """Read prompts until the input ends, and `show` the text of each: from a terminal, or line by line from a pipe.

    A line that begins with / is a command; `commands` has those beside /help, /quit and the settings. After each text the
    seed goes up by one, so that a prompt given twice is continued in two ways, and a session in the same way every time.
    """
    commands = commands or {}
    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - lines can be edited, and fetched again; Windows has its own way
        print(greeting)
    elif hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    while True:
        try:
            line = input("> " if terminal else "")
            if line in ("/quit", "/exit"):
                return
            if line == "/help":
                print(explain)
                for name, value in config.to_dict().items():
                    print(f"    /{name.replace('_', '-')} {'none' if value is None else value}")
            elif line.strip() in commands:
                commands[line.strip()]()
            elif line.startswith("/"):
                config = changed(config, line, tuple(commands))
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


def changed(config: SampleConfig, line: str, others: Sequence[str] = ()) -> SampleConfig:
    """Return the config with what a command sets; ValueError says what is wrong with it.

    `others` are commands that set nothing: one may be what was meant.

    >>> changed(SampleConfig(), "/top-k 40").top_k
    40
    """
    command, _, text = line.partition(" ")
    types = field_types(SampleConfig)
    name = command[1:].replace("-", "_")
    if name not in types:
        known = ["/help", "/quit", *others, *(f"/{field.replace('_', '-')}" for field in types)]
        hint = nearest(command, known)
        raise ValueError(f"unknown command {command}{hint or ';'} /help lists all")
    kind, optional = types[name]
    try:
        return dataclasses.replace(config, **{name: reader(kind, optional)(text.strip())})
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{command} {error}") from None
