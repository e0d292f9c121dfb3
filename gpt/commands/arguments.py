"""The command line: flags generated from the config classes, and errors of one line that name a way out."""

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from gpt.config import RENAMED, Config, field_types, known_fields, nearest

C = TypeVar("C", bound=Config)
CHECKPOINT = "folder of a run (its best checkpoint is used), or a checkpoint"
UNITS = {int: "N", float: "X"}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line and suggest the nearest flag for a misspelt one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **options}
        super().__init__(*args, **options)

    def error(self, message: str) -> NoReturn:
        line = f"{self.prog.removeprefix('python -m ')}: {message}; see {self.prog} --help"
        self.exit(2, " ".join(line.split()) + "\n")

    def option(self, flags: str, help_text: str, default: Any = None, **options: Any) -> None:
        """Add an option, such as `parser.option("-n --samples", "number of texts", 1, least=1)`.

        The default gives the type, which `kind` overrides, and the end of the help text, unless the text has the word
        "default". A value must be at least `least`. The option is a switch if the default is False.
        """
        if default is False:
            options = {"action": "store_true", **options}
        else:
            kind = options.pop("kind", type(default) if isinstance(default, (int, float)) else str)
            options = {"type": reader(kind, least=options.pop("least", None)), "default": default, **options}
            if kind in UNITS:
                options.setdefault("metavar", UNITS[kind])
        if default and "default" not in help_text:
            help_text += f" (default {_format(default)})"
        self.add_argument(*flags.split(), help=help_text.replace("%", "%%"), **options)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments of a command."""
        namespace, unknown = self.parse_known_args(arguments)
        for word in unknown:
            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            if word.startswith("-"):
                self.error(f"unknown flag {word}{nearest(word.split('=')[0], flags)}")
            self.error(f"unexpected {word!r}")
        return namespace


def dispatch(
    program: str,
    noun: str,
    actions: Mapping[str, Callable[[Sequence[str]], int]],
    help_text: str,
    arguments: Sequence[str],
) -> int:
    """Run the action that the first argument names, with the other arguments; return its exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text, end="")
        return 0
    name, *rest = arguments
    if name not in actions:
        hint = nearest(name, list(actions))
        print(f"{program}: unknown {noun} {name!r}{hint}; see python -m {program} --help", file=sys.stderr)
        return 2
    return actions[name](rest)


def add_checkpoint(parser: Parser, *, base: bool = False) -> None:
    """Add the argument that names a checkpoint and, if `base` is set, the flag for the base of its LoRA adapters."""
    parser.add_argument("run", metavar="RUN", help=CHECKPOINT)
    if base:
        parser.option("--base", "where the base of LoRA adapters is, if it has moved", metavar="FILE")


def add_reading_flags(parser: Parser) -> None:
    """Add the flags that say how the files of texts are read."""
    parser.option("--encoding", "encoding of the files (default: detected, UTF-8 first)", metavar="NAME")
    parser.option("--text-key", "key of the text in .jsonl", "text", metavar="KEY")
    parser.option("--on-error", "what to do with files that cannot be read", "stop", choices=("stop", "skip"))


def add_text_or_file(parser: Parser, file_help: str) -> None:
    """Add the arguments of a command whose input is either TEXT or --file FILE."""
    parser.add_argument("text", metavar="TEXT", nargs="?", help="the text; - reads it from standard input")
    parser.option("--file", file_help, metavar="FILE")


def parse_text_or_file(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of such a command; exit with an error for both inputs or none. TEXT - is standard input."""
    args = parser.parse(arguments)
    if (args.text is None) == (args.file is None):
        command = parser.prog.rpartition(" ")[2]
        parser.error(f'give either a text, as in: {command} RUN "a text", or --file FILE')
    if args.text == "-":
        args.text = read_stdin()
    return args


def read_stdin() -> str:
    """Return the text of standard input."""
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input must be UTF-8; {error}") from None


def add_flags(parser: Parser, *configs: type[Config], skip: Sequence[str] = ()) -> None:
    """Add a flag for each field: `d_model` becomes --d-model. Flags that are left out are not in the namespace."""
    for config in configs:
        group = parser.add_argument_group((config.__doc__ or config.__name__).rstrip("."))
        types = field_types(config)
        for field in dataclasses.fields(config):
            if field.name in skip:
                continue
            kind, optional = types[field.name]
            flag = "--" + field.name.replace("_", "-")
            help_text = field.metadata["help"].replace("%", "%%")
            if field.default is not None:
                help_text += f" (default {_format(field.default)})"
            options: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
            if kind is not bool:
                options = {"type": reader(kind, optional), "metavar": UNITS.get(kind, "TEXT")}
            group.add_argument(flag, default=argparse.SUPPRESS, help=help_text, **options)
            for old in (old for old, new in RENAMED.items() if new == field.name):  # works, but is not shown
                flag = "--" + old.replace("_", "-")
                group.add_argument(flag, dest=field.name, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **options)


def take(config: type[C], namespace: argparse.Namespace, **values: Any) -> C:
    """Make the config from the flags in the namespace; `values` override them."""
    return config(**{**known_fields(config, vars(namespace)), **values})


def _format(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def reader(kind: type, optional: bool = False, least: int | None = None) -> Any:
    """Return the function that parses a flag's value; if the flag is optional, "none" is None.

    With `least`, a value must be finite and at least that.
    """

    def read(text: str) -> Any:
        if optional and text.lower() == "none":
            return None
        try:
            value = kind(text)
            if least is None or least <= value < math.inf:
                return value
        except ValueError:
            pass
        rule = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        rule += f" from {least}" if least is not None else ""
        raise argparse.ArgumentTypeError(f"must be {rule}{' or none' if optional else ''}, got {text!r}")

    return read
