"""Run the chapters: compare all that they print with what they say, or write it anew."""

import contextlib
import inspect
import io
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from gpt.guide import FOLDER
from gpt.guide.chapter import INLINE, Block, Chapter, chapters, read_chapter, unexplained_numbers
from nanograd.runtime import blas

FACTOR = 5.0  # by which a number after ≈ may differ: another machine, or a busy one
NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"
MACHINE = re.compile(rf"≈ ?({NUMBER})|({NUMBER}) ± ({NUMBER})")
LONGEST = 40  # lines of the product's own code in one block


BIBLIOGRAPHY = FOLDER / "92_bibliography.md"


class Result(NamedTuple):
    """What came of running a chapter: the faults, each with its line, how long it took, and the chapter as it is true."""

    name: str
    faults: list[str]
    seconds: float
    checked: int  # outputs, figures, source blocks and numbers in prose that were compared
    skipped: int  # outputs that vary, and those of scripts that only a slow test runs
    markdown: str


def run_chapters(paths: list[Path], *, update: bool = False, report: Callable[[Result], None] = lambda _: None) -> bool:
    """Run chapters in order, each in a process of its own; return whether no fault was found. `update` mends the files.

    They share a working folder, so that a later chapter finds the model which an earlier one has trained. The bibliography
    is collected from all chapters.
    """
    if update:
        BIBLIOGRAPHY.write_text(bibliography(), encoding="utf-8", newline="\n")
    right = True
    with tempfile.TemporaryDirectory(prefix="guide-") as folder:
        for path in paths:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                result = process.submit(run_chapter, path, Path(folder)).result()
            if update:
                _update(path, result, Path(folder))
            report(result)
            right &= not result.faults
    return right


def _update(path: Path, result: Result, folder: Path) -> None:
    """Write a chapter and its figures as they came out."""
    if path.read_text(encoding="utf-8") != result.markdown:
        path.write_text(result.markdown, encoding="utf-8", newline="\n")
    for figure in sorted((folder / "figures").glob(f"{path.stem[:2]}_*.svg")):
        (path.parent / "figures").mkdir(exist_ok=True)
        (path.parent / "figures" / figure.name).write_bytes(figure.read_bytes())


def run_chapter(path: Path, folder: Path) -> Result:
    """Run one chapter in this process, with `folder` as the current one."""
    begin, here = time.perf_counter(), Path.cwd()
    chapter = read_chapter(path)
    (folder / "figures").mkdir(exist_ok=True)
    os.chdir(folder)
    sys.argv = [str(path)]
    faults: list[str] = []
    checked = 0
    try:
        shown: dict[str, Any] = {"__name__": "__main__"}
        hidden: dict[str, Any] = {}  # hidden blocks see the names of the shown ones, and not the other way round
        with blas.one_thread():  # the same sums on any number of cores; and small products are faster so
            for block in chapter.blocks:
                hidden.update(shown)
                checked += _check_block(block, hidden if block.kind == "hidden" else shown, path, faults)
    except Exception:
        faults.append(traceback.format_exc(limit=-4).rstrip())
    finally:
        os.chdir(here)
    for figure in sorted((folder / "figures").glob(f"{path.stem[:2]}_*.svg")):
        checked += 1
        saved = FOLDER / "figures" / figure.name
        if not saved.is_file() or saved.read_bytes() != figure.read_bytes():
            faults.append(f"figure {figure.name} comes out in another way")
    if path == BIBLIOGRAPHY and chapter.markdown() != bibliography():
        faults.append("the bibliography is not that of the chapters; --update collects it")
    for line, number in unexplained_numbers(chapter) if path != BIBLIOGRAPHY else ():
        faults.append(f"line {line}: no code, output or expression gives the number {number}")
    skipped = sum(block.varies or block.kind == "script" for block in chapter.blocks)
    return Result(path.stem, faults, time.perf_counter() - begin, checked, skipped, chapter.markdown())


def _check_block(block: Block, namespace: dict[str, Any], path: Path, faults: list[str]) -> int:
    """Run or compare one block, make it true, and add what was wrong to `faults`; return how much was compared."""
    if block.kind == "prose":
        return _check_prose(block, namespace, faults)
    if block.kind == "source":
        text = source_of(block.name)
        if text != block.text:
            faults.append(f"line {block.line}: the source of {block.name} is another")
        if (lines := text.count("\n")) > LONGEST:
            faults.append(f"line {block.line}: {block.name} has {lines} lines; a chapter shows at most {LONGEST}")
        block.text = text
        return 1
    if not block.runs:
        return 0
    printed = execute(block, namespace, path)
    if block.kind == "hidden":
        return 0
    differences = [] if block.varies and printed.strip() and block.output else compare(block.output, printed)
    if differences:
        faults += [f"line {(block.output_line or block.line) + line}: {fault}" for line, fault in differences]
        block.output = printed
    return 0 if block.varies else 1


def execute(block: Block, namespace: dict[str, Any], path: Path) -> str:
    """Run a block; return what it printed. Errors have the lines of the chapter."""
    if block.kind == "sh":
        return "".join(map(_command, block.text.splitlines()))
    printed = io.StringIO()
    code = compile("\n" * (block.line - 1) + block.text, str(path), "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    return "".join(line.rstrip() + "\n" for line in printed.getvalue().splitlines())


def _command(line: str) -> str:
    """Run a command of gpt or nanograd; return what it printed."""
    words = shlex.split(line, comments=True)
    if not words:
        return ""
    if words[0] not in ("gpt", "nanograd"):
        raise ValueError(f"sh blocks run gpt and nanograd, not {words[0]}")
    root = str(FOLDER.parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, encoding="utf-8", env=environment, check=False
    )
    if done.returncode:
        raise ValueError(f"{line}: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())


def compare(expected: str, printed: str) -> list[tuple[int, str]]:
    """Return the first line that differs, counted from 0, and how: a number after ≈ may differ by a factor, one before
    ± by what follows it.

    >>> compare("loss 2.31 ± 0.05, ≈ 40 ms", "loss 2.34 ± 0.05, ≈ 55 ms")
    []
    >>> compare("loss 2.31", "loss 2.32")
    [(0, "the chapter says 'loss 2.31', and it prints 'loss 2.32'")]
    """
    ours, theirs = expected.rstrip().splitlines(), printed.rstrip().splitlines()
    for i in range(max(len(ours), len(theirs))):
        a = ours[i].rstrip() if i < len(ours) else ""
        b = theirs[i].rstrip() if i < len(theirs) else ""
        if not _same(a, b):
            return [(i, f"the chapter says {a!r}, and it prints {b!r}")]
    return []


def _same(a: str, b: str) -> bool:
    """Return whether two lines are the same, numbers after ≈ up to a factor, and numbers before ± up to what follows it."""
    if MACHINE.sub("≈", a).split() != MACHINE.sub("≈", b).split():
        return False
    return all(map(_near, MACHINE.findall(a), MACHINE.findall(b)))


def _near(a: tuple[str, str, str], b: tuple[str, str, str]) -> bool:
    ratio, value, margin = (None if not text else float(text.replace(",", "").replace("−", "-")) for text in a)
    other = [float(text.replace(",", "").replace("−", "-")) for text in b if text]
    if ratio is not None:
        same_sign = len(other) == 1 and other[0] * ratio > 0
        return other == [ratio] or (same_sign and 1 / FACTOR <= other[0] / ratio <= FACTOR)
    assert value is not None
    assert margin is not None
    return len(other) == 2 and margin == other[1] and abs(value - other[0]) <= margin * (1 + 1e-9)


def _check_prose(block: Block, namespace: dict[str, Any], faults: list[str]) -> int:
    """Compare the numbers of a prose block that have an expression, and make them true; return how many there are."""

    def true(match: re.Match[str]) -> str:
        expression, colon, spec = match["expression"].rpartition(":")
        if not colon or not re.fullmatch(r"[\w.,%+]*", spec):
            expression, spec = match["expression"], ""
        shown = format(eval(expression, namespace), spec)
        if shown != match["shown"].replace("−", "-"):
            line = block.line + block.text[: match.start()].count("\n")
            faults.append(f"line {line}: the chapter says {match['shown']}, and {expression} is {shown}")
        return match.group().replace(match["shown"], shown, 1)

    numbers = len(INLINE.findall(block.text))
    block.text = INLINE.sub(true, block.text)
    return numbers


def source_of(name: str) -> str:
    """Return the source of a function, class or method, such as "gpt.model.Block.forward".

    Raises ValueError if there is no such thing.
    """
    import importlib

    parts = name.split(".")
    for i in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[i:]:
                found = getattr(found, part)
            found = found.fget if isinstance(found, property) else inspect.unwrap(found)
            return textwrap.dedent(inspect.getsource(found))
        except (AttributeError, TypeError):
            break
    raise ValueError(f"guide: there is no source of {name}")


def bibliography() -> str:
    """Return the text of the bibliography: what the chapters name "To read further", each source once, by author.

    What a chapter says of a source, after its year or arXiv number, stands with the number of the chapter.
    """
    sources: dict[str, list[str]] = {}
    for chapter in chapters():
        _, _, further = chapter.markdown().partition("## To read further")
        for entry in re.findall(r"^- (.*?)(?=^- |\Z)", further, re.MULTILINE | re.DOTALL):
            entry = " ".join(entry.split()).rstrip(".")
            found = re.match(r".*?(?:arXiv:[\d.]+\d|\(\d{4}\)(?!,? arXiv))", entry)
            source = found[0] if found else entry
            said = entry[len(source) :].strip(",:; ")
            sources.setdefault(source, []).append(f"chapter {int(chapter.name[:2])}" + (f": {said}" if said else ""))
    lines = [f"- {source} ({'; '.join(named)})" for source, named in sources.items()]
    lines.sort(key=lambda line: (re.sub(r"^- (?:\w\. ?|\w\.-)*", "", line).casefold(), line))
    return "\n".join(["# Bibliography", "", *lines, ""])


def scripts(chapter: Chapter) -> Iterator[Block]:
    """Return the blocks that quote what a script printed."""
    return (block for block in chapter.blocks if block.kind == "script")
