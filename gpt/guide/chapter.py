"""A chapter: Markdown with code that runs, and after each block the output that it printed.

    ```python                           runs, in the one namespace of its chapter
    ```sh                               commands of gpt or nanograd; they run too
    ```text                             directly after them: what they printed
    ```text varies                      the same, of a text that another machine may write in another way
    ```python source=gpt.model.Block    the product's own code, by name; not run, compared with the source
    ```text script=examples/x.py        what a longer script printed; a slow test runs it
    <!-- python … -->                   runs and is not shown: it draws the figures of the chapter; what it defines is
                                        unknown to the blocks that are shown, so a reader can type these alone
    2.08<!--= loss:.2f -->              a number in prose: the expression gives it

A number after ≈ depends on the machine, such as a time, and may differ by a factor; a number before ± may differ by what
follows it. Every other number is compared digit by digit. A number in prose of two digits or more must stand in the code or
the output of its chapter, or have an expression.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpt.guide import FOLDER

FENCE = re.compile(r"```(\w*) ?(.*)\n")
HIDDEN = "<!-- python\n"
INLINE = re.compile(r"(?P<shown>[−+-]?[\d.,]*\d(?:e-?\d+)?)<!--= ?(?P<expression>.*?) ?-->")
NUMBER = re.compile(r"(?<![\w.])[−-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?!\w)")
YEARS = range(1700, 2100)


@dataclass
class Block:
    """A piece of a chapter.

    kind: prose, python, sh, hidden, source, script or other; python, sh and hidden blocks run.
    line: of the file, the first of `text`, counted from 1.
    name: of a source or a script. language: of a fence.
    output: what a block that runs printed, as the chapter says; varies: whether another machine may print another text.
    """

    kind: str
    text: str
    line: int
    name: str = ""
    language: str = ""
    output: str = ""
    varies: bool = False
    output_line: int = 0

    @property
    def runs(self) -> bool:
        return self.kind in ("python", "sh", "hidden")

    def markdown(self) -> str:
        """Return the block as the file has it."""
        if self.kind == "prose":
            return self.text
        if self.kind == "hidden":
            return f"{HIDDEN}{self.text}-->\n"
        info = f" {self.kind}={self.name}" if self.name else ""
        fence = "```text varies" if self.varies else "```text"
        output = f"\n{fence}\n{self.output}```\n" if self.output or self.varies else ""
        return f"```{self.language}{info}\n{self.text}```\n{output}"


@dataclass
class Chapter:
    """A chapter: its path and its blocks in order."""

    path: Path
    blocks: list[Block]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        """Return the first heading."""
        return next(line[2:].strip() for line in self.markdown().splitlines() if line.startswith("# "))

    def markdown(self) -> str:
        """Return the file's text; reading it again gives the same blocks."""
        return "".join(block.markdown() for block in self.blocks)


def chapters(names: list[str] | None = None) -> list[Chapter]:
    """Return the chapters in reading order, all or those whose names begin so: "5", "05" or "05_attention".

    Raises ValueError for a name that none begins with.
    """
    files = sorted(FOLDER.glob("[0-9][0-9]_*.md"))
    if not names:
        return [read_chapter(file) for file in files]
    chosen = []
    for name in names:
        begin = f"{int(name):02d}_" if name.isdecimal() else name
        found = [file for file in files if file.name.startswith(begin)]
        if not found:
            listed = ", ".join(file.stem for file in files)
            raise ValueError(f"guide: there is no chapter {name}; there are {listed}")
        chosen += found
    return [read_chapter(file) for file in chosen]


def read_chapter(path: Path) -> Chapter:
    """Read a file as blocks. Raises ValueError, with the line, for a fence that is not closed or not understood."""
    return Chapter(path, list(_blocks(path.read_text(encoding="utf-8"), path.name)))


def _blocks(text: str, name: str) -> Iterator[Block]:
    lines = text.splitlines(keepends=True)
    at = 0
    last: Block | None = None  # a block that ran, to which an output may belong
    prose: list[str] = []
    while at < len(lines):
        fence = FENCE.fullmatch(lines[at])
        if not fence and lines[at] != HIDDEN:
            prose.append(lines[at])
            at += 1
            continue
        begin, close = at + 1, "```\n" if fence else "-->\n"
        at = next((i for i in range(begin, len(lines)) if lines[i] == close), len(lines)) + 1
        if at > len(lines):
            raise ValueError(f"{name}, line {begin}: this block is not closed by {close.strip()}")
        body = "".join(lines[begin : at - 1])
        language, info = (fence[1], fence[2]) if fence else ("python", "")
        if language == "text" and info in ("", "varies") and last and not "".join(prose).strip():
            last.output, last.varies, last.output_line = body, info == "varies", begin + 1
            prose, last = [], None
            continue
        if prose:
            yield Block("prose", "".join(prose), begin - len(prose))
            prose = []
        kind, _, value = info.partition("=")
        if kind not in ("", "source", "script"):
            raise ValueError(f"{name}, line {begin}: a fence has source=NAME, script=FILE or nothing, not {info!r}")
        if not kind:
            kind = "hidden" if not fence else language if language in ("python", "sh") else "other"
        block = Block(kind, body, begin + 1, value, language)
        last = block if block.runs else None
        yield block
    if prose:
        yield Block("prose", "".join(prose), len(lines) - len(prose) + 1)


def unexplained_numbers(chapter: Chapter) -> list[tuple[int, str]]:
    """Return the numbers in prose, with their lines, that no code, output, formula or expression of the chapter gives.

    Not counted: one digit, years, links, headings, the numbers of chapters, and all after the heading "To read further".
    """
    prose = [block for block in chapter.blocks if block.kind == "prose"]
    known = {
        number for block in chapter.blocks if block.kind != "prose" for number in _numbers(block.text + block.output)
    }
    for block in prose:
        known |= set(_numbers(" ".join(re.findall(r"`[^`]+`|\$[^$]+\$", block.text))))
    found = []
    for block in prose:
        before, further, _ = block.text.partition("## To read further")
        plain = INLINE.sub("", before)
        for skipped in (r"\$\$.*?\$\$", r"`[^`]*`|\$[^$]*\$|(\[\d+)?\]\([^)]*\)|<!--.*?-->", r"[Cc]hapters? \d+|^#.*"):
            flags = re.MULTILINE if "#" in skipped else re.DOTALL
            plain = re.sub(skipped, lambda m: "\n" * m.group().count("\n"), plain, flags=flags)
        for i, line in enumerate(plain.splitlines()):
            found += [(block.line + i, n) for n in _numbers(line) if n not in known and not _is_plain(n)]
        if further:
            break
    return found


def _is_plain(number: str) -> bool:
    """Return whether a number needs no proof: one digit, or a year."""
    return len(number.lstrip("-")) == 1 or (number.isdecimal() and int(number) in YEARS)


def _numbers(text: str) -> list[str]:
    return [number.replace("−", "-") for number in NUMBER.findall(text)]
