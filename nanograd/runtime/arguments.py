"""The command line of both programs: help of at most 80 columns, and errors of one line that name a way out."""

import argparse
import difflib
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NoReturn

LONGEST = 299  # characters of an error
COLUMNS = 80  # of help, also in a wider terminal
UNITS = {int: "N", float: "X"}
HELP_WORDS = ("-h", "--help", "help")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose help fits the terminal and whose errors are one line, with the nearest flag for a wrong one.

    `synonyms` has the names that other programs give to our flags, each with the flags that may be meant, without
    dashes; a word in capitals is an argument without a flag.
    """

    synonyms: Mapping[str, str] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        formatter = partial(argparse.RawDescriptionHelpFormatter, width=help_width())
        options = {"formatter_class": formatter, "allow_abbrev": False, **options}
        if options.get("description"):
            options["description"] = wrap(options["description"])
        super().__init__(*args, **options)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write a help or an error; argparse's own hides that the reader went away, if the text is longer than a buffer."""
        if message and (out := file or sys.stderr) is not None:
            out.write(message)

    def error(self, message: str) -> NoReturn:
        self.exit(2, one_line(f"{self.prog.removeprefix('python -m ')}: {message}", f"; see {self.prog} --help") + "\n")

    def option(self, flags: str, help_text: str, default: Any = None, **options: Any) -> None:
        """Add an option, such as `parser.option("-n --samples", "number of texts", 1, least=1)`.

        The default gives the type, which `kind` overrides, and the end of the help text, unless the text has the word
        "default". A value must be at least `least`, or among `choices`. The option is a switch if the default is False.
        """
        if default is False:
            options = {"action": "store_true", **options}
        else:
            kind = options.pop("kind", type(default) if isinstance(default, (int, float)) else str)
            choices = options.pop("choices", ())
            read = reader(kind, least=options.pop("least", None), choices=choices)
            options = {"type": read, "default": default, **options}
            if choices or kind in UNITS:
                options.setdefault("metavar", braces(choices) if choices else UNITS[kind])
        if default and "default" not in help_text:
            help_text += f" (default {format_value(default)})"
        self.add_argument(*flags.split(), help=help_text.replace("%", "%%"), **options)

    def parse(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse the arguments of a command, by default those of this program."""
        namespace, unknown = self.parse_known_args(arguments)
        for word in unknown:
            if word.startswith("-"):
                self.error(f"unknown flag {word}{self._suggestion(word)}")
            flag = next((flag for flag in ("--data", "--prompt") if flag in self._option_string_actions), None)
            self.error(f"unexpected {word!r}{f'; did you mean {flag} {word!r}?' if flag else ''}")
        return namespace

    def _suggestion(self, word: str) -> str:
        """Return a hint at the right flag: by a synonym, by its beginning, or by its spelling."""
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        name = word.split("=")[0].lstrip("-").replace("_", "-").lower()
        for meant in self.synonyms.get(name, "").split():
            if f"--{meant}" in flags:
                return f"; did you mean --{meant}?"
            if any(meant == str(action.metavar) and not action.option_strings for action in self._actions):
                return f"; give {meant} without a flag"
        begin = [flag for flag in flags if name and flag.startswith(f"--{name}")]
        near = begin or [f"--{near}" for near in difflib.get_close_matches(name, [flag[2:] for flag in flags], 1, 0.7)]
        return f"; did you mean {near[0]}?" if near else ""


def dispatch(
    program: str, noun: str, actions: Mapping[str, Callable[[list[str]], int]], help_text: str, arguments: Sequence[str]
) -> int:
    """Run the action that the first argument names, with the other arguments; return its exit code."""
    if not arguments or arguments[0] in HELP_WORDS:
        print(wrap(help_text))
        return 0
    name, *rest = arguments
    if name not in actions:
        hint = nearest(name, actions)
        print(
            one_line(f"{program}: unknown {noun} {name!r}{hint}", f"; see python -m {program} --help"), file=sys.stderr
        )
        return 2
    return actions[name](rest)


def reader(kind: type, optional: bool = False, least: int | None = None, choices: Sequence[str] = ()) -> Any:
    """Return the function that parses a flag's value; if the flag is optional, "none" is None.

    With `least`, a value must be finite and at least that; with `choices`, one of them.
    """

    def read(text: str) -> Any:
        if optional and text.lower() == "none":
            return None
        try:
            value = kind(text)
            if (value in choices) if choices else (least is None or least <= value < math.inf):
                return value
        except ValueError:
            pass
        rule = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        rule += f" from {least}" if least is not None else ""
        if choices:
            rule = f"{', '.join(choices[:-1])} or {choices[-1]}"
        near = nearest(text, choices)
        raise argparse.ArgumentTypeError(f"must be {rule}{' or none' if optional else ''}, got {text!r}{near}")

    return read


def nearest(word: str, known: Collection[str]) -> str:
    """Return "; did you mean …?" for a misspelt word, or nothing if none is near."""
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def one_line(text: str, end: str = "") -> str:
    """Return an error as one line of at most LONGEST characters: a name or value in it may be as long as a file.

    Of a line that is too long first its long words are shortened, such as paths, then its middle: at the beginning is what
    is wrong, at the end the way out.

    >>> one_line("two  \\n lines")
    'two lines'
    """
    line, room = " ".join(text.split()), LONGEST - len(end)
    if len(line) > room:
        line = " ".join(word if len(word) <= 40 else f"{word[:12]}…{word[-27:]}" for word in line.split())
    if len(line) > room:
        line = f"{line[: room // 2]} … {line[3 - room + room // 2 :]}"
    return f"{line}{end}"


def braces(choices: Sequence[str]) -> str:
    """Return choices as a help shows them; "" if there are none.

    >>> braces(["layernorm", "rmsnorm"])
    '{layernorm,rmsnorm}'
    """
    return f"{{{','.join(choices)}}}" if choices else ""


def format_value(value: Any) -> str:
    """Return a default as a help shows it.

    >>> format_value(0.0005), format_value("bpe")
    ('0.0005', 'bpe')
    """
    return f"{value:g}" if isinstance(value, float) else str(value)


def help_width() -> int:
    """Return the number of columns that a help may fill."""
    return min(shutil.get_terminal_size().columns, COLUMNS) - 2


def wrap(text: str) -> str:
    """Wrap the paragraphs of a help; indented lines, such as examples, stay as they are."""
    lines: list[str] = []
    for as_it_is, group in groupby(text.strip().splitlines(), key=lambda line: not line or line.startswith(" ")):
        paragraph = list(group)
        lines += paragraph if as_it_is else textwrap.wrap(" ".join(paragraph), help_width(), break_on_hyphens=False)
    return "\n".join(lines)
