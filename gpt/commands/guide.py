"""python -m gpt guide: the guide as HTML, PDF or notebooks; and the check of every number in it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser
from gpt.guide.chapter import chapters
from gpt.runs.estimate import plural
from nanograd.runtime.files import write_text

DESCRIPTION = """Read the guide "Build a Large Language Model from Scratch", or write it as HTML, PDF or notebooks.

    python -m gpt guide                     lists the chapters
    python -m gpt guide 5                   prints chapter 5
    python -m gpt guide --out guide.html    one file; needs the extra [guide]
    python -m gpt guide --pdf guide.pdf     through Chromium, Chrome or Edge
    python -m gpt guide --check             runs all code, compares all output
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt guide", description=DESCRIPTION)
    parser.add_argument("chapters", metavar="CHAPTER", nargs="*", help="numbers or names (default: all)")
    parser.option("-o --out", "write one HTML file", metavar="FILE")
    parser.option("--pdf", "write a PDF", metavar="FILE")
    parser.option("--notebook", "write Jupyter notebooks into a folder", metavar="DIR")
    parser.option("--check", "run all code, and compare what it prints with what the chapters say", False)
    parser.option("--update", "run all code, and write what it prints into the chapters", False)
    args = parser.parse(arguments)
    chosen = chapters(args.chapters)
    if args.check or args.update:
        return check([chapter.path for chapter in chosen], args.update)
    if args.out or args.pdf:
        from gpt.guide.html import convert, page

        guide = convert(chosen)
        if args.out:
            write_text(args.out, page(guide))
            print(f"written: {args.out}, {plural(len(chosen), 'chapter')}")
        if args.pdf:
            from gpt.guide.pdf import write_pdf

            print(f"written: {args.pdf}, {plural(write_pdf(guide, Path(args.pdf)), 'page')}")
    if args.notebook:
        from gpt.guide.notebook import write_notebooks

        paths = write_notebooks(chosen, Path(args.notebook))
        print(f"written: {plural(len(paths), 'notebook')} in {args.notebook}")
    if not (args.out or args.pdf or args.notebook):
        if args.chapters:
            print("\n".join(chapter.markdown() for chapter in chosen), end="")
        else:
            for chapter in chosen:
                print(f"{chapter.name.split('_')[0].lstrip('0') or '0':>3}  {chapter.title}")
            print("\npython -m gpt guide 5 prints chapter 5; --out guide.html writes all as one page to read and print")
    return 0


def check(paths: list[Path], update: bool) -> int:
    """Run chapters and print what is wrong; return 1 if anything is."""
    from gpt.guide.run import Result, run_chapters

    def report(result: Result) -> None:
        state = plural(len(result.faults), "fault") if result.faults else "right"
        skipped = f", {plural(result.skipped, 'output')} of scripts or that vary not compared" if result.skipped else ""
        line = f"{result.name:<34} {result.checked:>4} compared  {result.seconds:6.1f} s  {state}{skipped}"
        print(line, flush=True)
        for fault in result.faults:
            print(f"    {fault}", file=sys.stdout if update else sys.stderr)

    right = run_chapters(paths, update=update, report=report)
    return 0 if right or update else 1
