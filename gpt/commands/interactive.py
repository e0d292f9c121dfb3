"""Read lines interactively: the prompts of `sample --interactive` and the messages of `chat`."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence

from gpt.commands.arguments import check_stdin
from gpt.config import SampleConfig, field_types
from nanograd.runtime.arguments import nearest, one_line, reader

HELP = """Each line is a prompt of its own; an empty line starts a text without a prompt. Ctrl-C stops a text, Ctrl-D quits.
  /help             show this help and the settings
  /quit             quit
  /temperature 0.5  change a setting for the following texts; the settings are:"""


def interact(
    config: SampleConfig,
    show: Callable[[str, SampleConfig], None],
    *,
    greeting: str = "Enter a prompt, or /help for commands. Ctrl-D quits.",
    explain: str = HELP,
    commands: Mapping[str, Callable[[], None]] | None = None,
) -> None:
    """Read prompts until the input ends, and `show` the text of each: from a terminal, or line by line from a pipe.

    A line that begins with / is a command: /help, /quit, a setting, or one of `commands`. After each text the seed rises by
    one, so the same prompt gives another text the next time, and a session with the same input repeats exactly.
    """
    commands = commands or {}
    check_stdin("give lines through a pipe")
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
            word, _, value = line.rstrip().partition(" ")
            if value and word in ("/help", "/quit", "/exit", *commands):
                raise ValueError(f"{word} takes no value, got {value!r:.60}; leave it out")
            if word in ("/quit", "/exit"):
                return
            if word == "/help":
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
        except KeyboardInterrupt:  # abandon the text, or the line being typed
            print()
        except ValueError as error:
            print(one_line(str(error)), file=sys.stderr)


def changed(config: SampleConfig, line: str, others: Sequence[str] = ()) -> SampleConfig:
    """Return the config after a command that changes a setting. Raises ValueError for a mistake in the command.

    `others` are the names of other commands, for the suggestion after a misspelled one.

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
