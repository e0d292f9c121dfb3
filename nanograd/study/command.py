"""python -m nanograd study: an op's derivation, checked, with its numbers, or a topic; as a page or as text."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanograd.op import OPS
from nanograd.runtime.arguments import Parser, nearest
from nanograd.runtime.files import write_text
from nanograd.study.topics import TOPICS

DESCRIPTION = """Study the backward pass of an op: every line of its derivation with its check, a worked example, costs and
mistakes. Without OP: the map, a course from the chain rule to a whole GPT. New
to gradients of arrays? Begin with chain_rule, which needs school calculus only.

    python -m nanograd study softmax                  writes softmax.html
    python -m nanograd study softmax --format text    prints 80 columns of text
    python -m nanograd study                          writes study/map.html and
                                                      the page of every op
    python -m nanograd study --book                   writes book.html: all ops,
                                                      to print on A4

OP may also be a topic. After chain_rule, you change the numbers in the browser:

"""
DESCRIPTION += "\n".join(f"    {name:<16} {phrase}" for name, phrase in TOPICS.items())
FOLDER = "study"  # for the map and the pages of all ops
DRILLS = Path("drills")  # where the learner's progress is read
FORMATS = ("html", "text")


def main(argv: Sequence[str]) -> int:
    """Write one study; return 1 if a line of the derivation does not hold."""
    arguments = parser().parse(argv)
    name = arguments.op
    if name is not None and name not in (*OPS, *TOPICS):
        known = f"`python -m nanograd ops` lists them, and topics are {', '.join(TOPICS)}"
        raise ValueError(f"there is no op {name}{nearest(name, (*OPS, *TOPICS))}; {known}")
    if name is not None and arguments.book:
        raise ValueError(f"--book contains all ops: leave out {name}, or leave out --book")
    if name not in OPS and (arguments.shape is not None or arguments.seed != 0):
        raise ValueError("--shape and --seed belong to the example of one op: name an op")
    try:
        if name is None and not arguments.book and arguments.format == "html" and arguments.out != "-":
            write_all(arguments.out or FOLDER, arguments.drills)
            return 0
        text, right = build(name, arguments.book, arguments.format, arguments.shape, arguments.seed)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    default = f"{name or 'book'}.html" if arguments.format == "html" else "-"
    deliver(text, arguments.out or default)
    return 0 if right else 1


def write_all(out: str, drills: Path) -> None:
    """Write the map and the page of every op into a folder, which is created if missing.

    drills: the folder of the learner's drills, whose progress the map shows.
    """
    folder = Path(out)
    if folder.suffix == ".html" or folder.is_file():
        raise ValueError(f"the map is written with the page of every op, so --out must name a folder; got {out}")
    folder.mkdir(exist_ok=True)
    for name in (None, *TOPICS, *sorted(OPS)):
        write_whole(folder / f"{name or 'map'}.html", _page(name, linked=True, drills=drills))
    print(
        f"{folder / 'map.html'} and the pages of {len(OPS)} ops and {len(TOPICS)} topics were written", file=sys.stderr
    )


def parser() -> Parser:
    """Return the command line."""
    parser = Parser(prog="python -m nanograd study", description=DESCRIPTION)
    parser.add_argument("op", nargs="?", metavar="OP", help="an op, such as softmax, or a topic, such as adamw")
    parser.option("--format", "what to write", "html", choices=FORMATS)
    parser.add_argument("--shape", type=shape, metavar="2,4", help="shape of the example's first array (default 2,4)")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of the example's numbers (default 0)")
    parser.option(
        "--out", "output file, - to print (default: OP.html, of text -); for the map, a folder", metavar="FILE"
    )
    parser.option(
        "--drills", "folder of your drills: the map shows what is solved", "drills", metavar="FOLDER", kind=Path
    )
    parser.option("--book", "all ops in one document to print: a reference on A4", False)
    return parser


def build(name: str | None, book: bool, format: str, shape: tuple[int, ...] | None, seed: int) -> tuple[str, bool]:
    """Return the requested text and whether all its lines hold; True for pages, which show it themselves."""
    if format == "html":
        return _page(name, book, shape, seed), True
    if name is None and not book:
        from nanograd.study.text import list_of_ops

        return list_of_ops(), True
    if name in TOPICS:
        return _topic(name).text(), True
    from nanograd.study.study_data import study_op
    from nanograd.study.text import to_text_page

    studies = [study_op(op, shape, seed) for op in ([name] if name else sorted(OPS))]
    right = all(study.right for study in studies)
    return f"\n{'=' * 80}\n\n".join(map(to_text_page, studies)), right


def _page(
    name: str | None,
    book: bool = False,
    shape: tuple[int, ...] | None = None,
    seed: int = 0,
    *,
    linked: bool = False,
    drills: Path = DRILLS,
) -> str:
    if name in TOPICS:
        return _topic(name).page(linked=linked)
    if name is not None:
        from nanograd.study.page import study_page

        return study_page(name, (2, 4) if shape is None else shape, seed, linked=linked)
    if book:
        from nanograd.study.book import book as whole_book

        return whole_book()
    from nanograd.study.drills.command import read_progress
    from nanograd.study.map import map_page

    return map_page(read_progress(drills))


def _topic(name: str) -> Any:
    """Return a topic, whose module is imported only now."""
    return importlib.import_module(f"nanograd.study.topics.{name}").topic()


def deliver(text: str, out: str) -> None:
    """Print the text, or write it to a file and report that."""
    if out == "-":
        sys.stdout.write(text)
        return
    write_whole(Path(out), text)
    print(f"{out} written, {len(text.encode('utf-8')) / 1000:.0f} kB", file=sys.stderr)


def write_whole(path: Path, text: str) -> None:
    """Write a file as UTF-8, all of it or nothing: an existing file is replaced only when the new one is complete.

    Raises OSError, and leaves nothing behind, if the folder is missing or the disk is full.
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
    """Parse sizes separated by commas: 2,4, or () for a number."""
    inside = text.strip().removeprefix("(").removesuffix(")").strip().rstrip(",")
    sizes = [size.strip() for size in inside.split(",")] if inside else []
    if text.strip() == "" or not all(size.isascii() and size.isdigit() for size in sizes):
        raise argparse.ArgumentTypeError(f"a shape is sizes separated by commas: 2,4, or () for a number; got {text!r}")
    return tuple(int(size) for size in sizes)


def seed(text: str) -> int:
    """Parse a seed: a non-negative integer."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"a seed is a non-negative integer; got {text!r}")
    return int(text)
