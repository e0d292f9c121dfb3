"""python -m nanograd study: an op's derivation, checked, with its numbers, as a page, text, LaTeX or JSON."""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from nanograd.op import OPS
from nanograd.runtime.files import write_text

DESCRIPTION = """Study the backward pass of an op: every line of its derivation with its check, a worked
example, costs and mistakes. Without OP: the map, a GPT block whose boxes lead to the ops.

  python -m nanograd study softmax                  writes softmax.html
  python -m nanograd study softmax --format text    prints it, 80 columns wide
  python -m nanograd study                          writes study/map.html, and the page of every op beside it
  python -m nanograd study --book                   writes book.html: all ops in one document, to be printed
"""
FOLDER = "study"  # for the map, and the pages that it leads to
FORMATS = ("html", "text", "latex", "json")


class Parser(argparse.ArgumentParser):
    """Raise what is wrong with the command line, for the caller to print as one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        unknown = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
        near = difflib.get_close_matches(unknown[1], self._option_string_actions, 1) if unknown else []
        raise ValueError(f"{message}; did you mean {near[0]}?" if near else f"{message}; see study --help")


def main(arguments: Sequence[str]) -> int:
    """Write one study; return 1 where a line of the derivation does not hold."""
    try:
        given = parser().parse_args(list(arguments))
    except SystemExit:  # --help was printed
        return 0
    name = given.op
    if name is not None and name not in OPS:
        near = difflib.get_close_matches(name, OPS, 1)
        hint = f"did you mean {near[0]}?" if near else f"ops are {', '.join(sorted(OPS))}"
        raise ValueError(f"there is no op {name}; {hint}")
    if name is not None and given.book:
        raise ValueError(f"--book is of all ops: leave out {name}, or leave out --book")
    if name is None and (given.shape is not None or given.seed != 0):
        raise ValueError("--shape and --seed are of one op's example: name an op")
    try:
        if name is None and not given.book and given.format == "html" and given.out != "-":
            write_all(given.out or FOLDER)
            return 0
        text, right = build(name, given.book, given.format, given.shape, given.seed)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    default = f"{name or 'book'}.html" if given.format == "html" else "-"
    deliver(text, given.out or default)
    return 0 if right else 1


def write_all(out: str) -> None:
    """Write the map, and the pages that it leads to beside it, into a folder, which is made."""
    folder = Path(out)
    if folder.suffix == ".html" or folder.is_file():
        raise ValueError(f"the map comes with the page of every op, so --out names a folder for them; got {out}")
    folder.mkdir(exist_ok=True)
    for name in (None, *sorted(OPS)):
        write_whole(folder / f"{name or 'map'}.html", _page(name, linked=True))
    print(f"{folder / 'map.html'} is written, and the pages of {len(OPS)} ops beside it", file=sys.stderr)


def parser() -> Parser:
    """Return the command line."""
    parser = Parser(
        prog="python -m nanograd study",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("op", nargs="?", metavar="OP", help="an op, such as softmax")
    parser.add_argument("--format", choices=FORMATS, default="html", help="what to write (default: html)")
    parser.add_argument(
        "--shape", type=shape, metavar="2,4", help="of the example's first array (default: the op's own)"
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of the example's numbers (default: 0)")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where to write; - prints (default: for html OP.html, else -); of the map, a folder",
    )
    parser.add_argument("--book", action="store_true", help="all ops in one document")
    return parser


def build(name: str | None, book: bool, format: str, shape: tuple[int, ...] | None, seed: int) -> tuple[str, bool]:
    """Return what was asked for, and whether all its lines hold; pages say that themselves."""
    if format == "html":
        return _page(name, book, shape, seed), True
    if name is None and not book:
        return _without_op(format), True
    from nanograd.study.facts import facts

    studies = [facts(each, shape, seed) for each in ([name] if name else sorted(OPS))]
    right = all(each.right for each in studies)
    if format == "latex":
        from nanograd.study.latex import document

        return document(studies), right
    if format == "json":
        from nanograd.study.data import to_json

        return to_json(studies if book else studies[0]), right
    from nanograd.study.text import to_text_page

    return f"\n{'=' * 80}\n\n".join(map(to_text_page, studies)), right


def _page(
    name: str | None, book: bool = False, shape: tuple[int, ...] | None = None, seed: int = 0, *, linked: bool = False
) -> str:
    if name is not None:
        from nanograd.study.page import page

        return page(name, (2, 4) if shape is None else shape, seed, linked=linked)
    if book:
        from nanograd.study.book import book as whole

        return whole()
    from nanograd.study.map import map_page

    return map_page()


def _without_op(format: str) -> str:
    if format == "text":
        from nanograd.study.text import list_of_ops

        return list_of_ops()
    raise ValueError(f"{format} is of one op or of all: name an op, or add --book; there are {', '.join(sorted(OPS))}")


def deliver(text: str, out: str) -> None:
    """Print, or write a whole file and say so."""
    if out == "-":
        sys.stdout.write(text)
        return
    write_whole(Path(out), text)
    print(f"{out} is written, {len(text.encode('utf-8')) / 1000:.0f} kB", file=sys.stderr)


def write_whole(path: Path, text: str) -> None:
    """Write a file as UTF-8, the whole of it or nothing: a file of that name stays as it was until the new one is ready.

    Raises OSError, with nothing left behind, where the folder is missing or the disk is full.
    """
    path = path.resolve()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} in")
    if path.exists() and not path.is_file():  # /dev/stdout, a pipe: nothing to replace
        path.write_text(text, encoding="utf-8", newline="\n")
        return
    write_text(path, text)


def shape(text: str) -> tuple[int, ...]:
    """Read sizes with commas: 2,4, or () for a number."""
    inside = text.strip().removeprefix("(").removesuffix(")").strip().rstrip(",")
    sizes = [part.strip() for part in inside.split(",")] if inside else []
    if text.strip() == "" or not all(part.isascii() and part.isdigit() for part in sizes):
        raise argparse.ArgumentTypeError(f"a shape is sizes with commas, such as 2,4, or () for a number; got {text!r}")
    return tuple(int(part) for part in sizes)


def seed(text: str) -> int:
    """Read a seed: an integer from 0 on."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"a seed is an integer from 0 on; got {text!r}")
    return int(text)
