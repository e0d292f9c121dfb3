"""Clean text in steps, and write the clean documents.

A long text is cleaned in chunks of about 1 MB. A chunk ends at a blank line, or at a line end if its paragraph is longer.
So memory holds one chunk and not the text, except that a line must fit, and that HTML is parsed whole. The result is the
same as for the whole text at once, but for paragraphs of more than 1 MB, which are compared chunk by chunk.
"""

import hashlib
import itertools
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import regex  # type: ignore[import-untyped]

from gpt.config import nearest
from gpt.text.documents import CODE, SUFFIXES
from gpt.text.html import strip_html

CHUNK = 1 << 20  # characters
HEADER = 1 << 16  # characters: a Project Gutenberg header ends within them; the longest, of the 1990s, have a third
MAX_PARAGRAPHS = 4_000_000  # that are remembered, at about 100 bytes each

LINE_ENDS = re.compile("[\r\v\f\x85\u2028\u2029]")
CONTROL = regex.compile(r"[\p{Cc}\uFFF9-\uFFFB[\p{Cf}&&\p{Default_Ignorable_Code_Point}]--[\n\t]]", regex.V1)
MARKER = re.compile(
    r"^[^\S\n]*(?:\*\*\*[^\S\n]*(?:START|(?P<end>END))[^\S\n]+OF[^\S\n]+TH(?:E|IS)[^\S\n]+PROJECT[^\S\n]+GUTENBERG"
    r"|\*END\*[^\S\n]*THE[^\S\n]+SMALL[^\S\n]+PRINT).*\n?",
    re.IGNORECASE | re.MULTILINE,
)
BLANK_LINES = re.compile(r"(\n(?:[^\S\n]*\n)+)")
OTHER_SPACES = re.compile(r"[^\S\n\t ]")
SPACES_BETWEEN = re.compile(r"[ \t](?<=\S[ \t])[ \t]+(?=\S)")  # the lookbehind is twice as fast here as at the start
SPACES_AT_END = re.compile(r"[ \t]+$", re.MULTILINE)


def remove_control(text: str) -> str:
    r"""Remove control characters except \n and \t, and zero-width characters: joiners, direction marks, soft hyphens.

    Every other line end, and a form feed, becomes \n. Joiners also hold some emoji and Persian words together: skip the
    step to keep these.

    >>> remove_control("a\x00b\u200bc\r\nd")
    'abc\nd'
    """
    return CONTROL.sub("", LINE_ENDS.sub("\n", text.replace("\r\n", "\n")))


def remove_non_ascii(text: str) -> str:
    """Remove characters that are not ASCII; an accented letter goes as a whole, even if written as letter and accent.

    >>> remove_non_ascii("na\u00efve nai\u0308ve")
    'nave nave'
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text).encode("ascii", "ignore").decode()


@dataclass
class Duplicates:
    """The paragraphs seen so far, as 128-bit hashes: the first MAX_PARAGRAPHS, which take 0.4 GB."""

    dropped: int = 0
    seen: set[bytes] = field(default_factory=set)

    def drop(self, text: str) -> str:
        r"""Remove the paragraphs that were seen before, apart from spaces and line ends, with the blank lines after them.

        >>> Duplicates().drop("one\n\ntwo\n\none\n\nthree")
        'one\n\ntwo\n\nthree'
        """
        fields = BLANK_LINES.split(text)  # paragraph, blank lines, paragraph, …
        output = []
        for paragraph, blank in zip(fields[::2], [*fields[1::2], ""], strict=True):
            if self._is_new(paragraph):
                output += [paragraph, blank]
            else:
                self.dropped += 1
        return "".join(output)

    def _is_new(self, paragraph: str) -> bool:
        words = paragraph.split()
        if not words:
            return True
        key = hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key in self.seen:
            return False
        if len(self.seen) < MAX_PARAGRAPHS:
            self.seen.add(key)
        return True


def strip_gutenberg(chunks: Iterable[str]) -> Iterator[str]:
    """Remove the header and the licence of Project Gutenberg: the text outside its START and END lines.

    A text may hold several books, each with such lines; a text without them is not changed.
    """
    head = ""
    inside: bool | None = None  # unknown until a marker, or the length of the longest header
    for chunk in chunks:
        if inside is None:
            head += chunk
            if len(head) < HEADER and not MARKER.search(head):
                continue
            chunk, inside = head[_header_end(head) :], True
        text, inside = _between_markers(chunk, inside)
        yield text
    if inside is None:
        yield head


def _header_end(text: str) -> int:
    """Return the index after the header: after the first marker, if that is a START near the beginning."""
    marker = MARKER.search(text)
    return marker.end() if marker and not marker["end"] and marker.start() < HEADER else 0


def _between_markers(text: str, inside: bool) -> tuple[str, bool]:
    """Return the text inside the markers, with a line end for each START, and whether its end is inside."""
    output, start = [], 0
    for marker in MARKER.finditer(text):
        if inside:
            output.append(text[start : marker.start()])
        inside, start = not marker["end"], marker.end()
        if inside:
            output.append("\n")
    if inside:
        output.append(text[start:])
    return "".join(output), inside


def tidy_whitespace(chunks: Iterable[str]) -> Iterator[str]:
    r"""Reduce runs of spaces to one space and runs of blank lines to one; strip line ends and the text.

    Spaces at the beginning of a line stay, since verse and code need them; a single tab stays.

    >>> clean("\n\n  a   b \n\n\nc\t1\n", ["tidy_whitespace"])
    '  a b\n\nc\t1'
    """
    breaks = 0  # line ends since the last word; those before the first word are dropped
    begun = False
    for chunk in chunks:
        text = SPACES_AT_END.sub("", SPACES_BETWEEN.sub(" ", OTHER_SPACES.sub(" ", chunk)))
        lines = text.strip("\n")
        if not lines:
            breaks += len(text)
            continue
        breaks += len(text) - len(text.lstrip("\n"))
        if begun:
            yield "\n" * min(breaks, 2)
        yield re.sub("\n{3,}", "\n\n", lines)
        begun, breaks = True, len(text) - len(text.rstrip("\n"))


Step = Callable[[Iterable[str]], Iterable[str]]  # from the chunks of a text to cleaned chunks
# Most steps clean each chunk by itself.
# This order makes cleaning twice the same as cleaning once. Characters are removed before the search for the lines of
# Project Gutenberg, except punctuation, which marks these lines. NFC comes after every removal, since a removed character
# may have stood between a letter and its accent.
STEPS: dict[str, Step] = {
    "remove_control": partial(map, remove_control),
    "lowercase": partial(map, str.lower),
    "remove_non_ascii": partial(map, remove_non_ascii),
    "strip_gutenberg": strip_gutenberg,
    # the Unicode categories P: quotes, dashes, brackets, stops; not symbols such as $ + <, which are S
    "remove_punctuation": partial(map, partial(regex.compile(r"\p{P}+").sub, "")),
    # NFC has one form of each character: e and a combining accent become é
    "normalise_unicode": partial(map, partial(unicodedata.normalize, "NFC")),
    "drop_duplicates": lambda chunks: map(Duplicates().drop, chunks),  # of one text; a Cleaner compares all its texts
    "tidy_whitespace": tidy_whitespace,
}
DESTRUCTIVE = ("lowercase", "remove_punctuation", "remove_non_ascii")
DEFAULT = tuple(name for name in STEPS if name not in DESTRUCTIVE)


def clean(text: str, steps: Collection[str] = DEFAULT) -> str:
    r"""Clean a text with the named steps, in the order of STEPS.

    >>> clean("A\u200b line.  \n\n\n\nA line.\n")
    'A line.'
    """
    return "".join(Cleaner(steps).clean([text]))


class Cleaner:
    """Cleans many texts, remembers paragraphs across them, and counts the characters that each step removed."""

    def __init__(self, steps: Collection[str] = DEFAULT) -> None:
        for name in steps:
            if name not in STEPS:
                known = ", ".join(STEPS)
                raise ValueError(f"clean: no step is named {name!r}{nearest(name, list(STEPS))}; the steps are {known}")
        self.steps = [name for name in STEPS if name in steps]
        self.duplicates = Duplicates()
        self.removed = dict.fromkeys(["strip_html", *self.steps], 0)
        self.read = self.written = 0  # characters

    def clean(self, blocks: Iterable[str], *, html: bool = False) -> Iterator[str]:
        """Clean the text "".join(blocks) and yield it in chunks that are not empty. HTML is stripped of tags first."""
        chunks: Iterable[str] = self._count_read(blocks)
        if html:
            chunks = self._measure("strip_html", lambda blocks: [strip_html("".join(blocks))], chunks)
        chunks = to_chunks(chunks)
        for name in self.steps:
            step = partial(map, self.duplicates.drop) if name == "drop_duplicates" else STEPS[name]
            chunks = self._measure(name, step, chunks)
        for chunk in chunks:
            if chunk:
                self.written += len(chunk)
                yield chunk

    def table(self) -> str:
        """Return a table, as lines, of the characters that each step removed."""
        lines = [f"{'step':<18} {'characters':>15}"]
        for name, count in {"read": self.read, **self.removed, "written": self.written}.items():
            if name != "strip_html" or count:
                note = f"  ({self.duplicates.dropped:,} paragraphs)" if name == "drop_duplicates" else ""
                lines.append(f"{name:<18} {count:>15,}{note}")
        return "\n".join(lines)

    def _count_read(self, blocks: Iterable[str]) -> Iterator[str]:
        for block in blocks:
            self.read += len(block)
            yield block

    def _measure(self, name: str, step: Step, chunks: Iterable[str]) -> Iterator[str]:
        """Run a step and count the characters that it removes."""

        def step_input() -> Iterator[str]:
            for chunk in chunks:
                self.removed[name] += len(chunk)
                yield chunk

        for chunk in step(step_input()):
            self.removed[name] -= len(chunk)
            yield chunk


def to_chunks(blocks: Iterable[str], size: int | None = None) -> Iterator[str]:
    """Cut a text at blank lines, or else at line ends, into chunks of about `size` characters (CHUNK by default)."""
    size = CHUNK if size is None else size
    buffer: list[str] = []
    length = 0
    for block in blocks:
        buffer.append(block)
        length += len(block)
        if length < size or "\n" not in block:
            continue
        text = "".join(buffer)
        ends = [blank.end() for blank in BLANK_LINES.finditer(text)]
        end = ends[-1] if ends else text.rindex("\n") + 1
        yield text[:end]
        buffer, length = [text[end:]], len(text) - end
    yield "".join(buffer)


# Writing


def select_steps(add: Collection[str], skip: Collection[str]) -> list[str]:
    """Return the DEFAULT steps and those to add, without those to skip; ValueError if one to skip is not among them."""
    steps = [*DEFAULT, *add]
    for step in skip:
        if step not in steps:
            hint = nearest(step, steps) or f"; the steps are {', '.join(steps)}"
            raise ValueError(f"skip: {step!r} is not a step of this cleaning{hint}")
    return [step for step in steps if step not in skip]


def check_out(out: Path, paths: Collection[str]) -> None:
    """Raise ValueError if OUT cannot be a new file, or is among the files that are read, now or the next time."""
    if out.is_dir() or not out.absolute().parent.is_dir() or (out.exists() and not out.is_file()):
        raise ValueError(f"out: must be a file in an existing folder, got {out}")
    target = out.resolve()
    for path in map(Path, paths):
        if path.resolve() == target or (out.exists() and path.exists() and path.samefile(out)):
            raise ValueError(f"out: {out} is also an input; choose another name")
        if path.is_dir() and path.resolve() in target.parents and target.suffix.lower() in (*SUFFIXES, *CODE):
            raise ValueError(f"out: {out} is in the input folder {path} and would be cleaned again; choose another")


def write_texts(file: BinaryIO, texts: Iterable[Iterator[str]], *, as_lines: bool) -> tuple[int, int]:
    """Write texts, each an iterator over chunks, a blank line apart or as JSON lines.

    Returns how many texts were written, and how many were blank and left out.
    """
    written = blank = 0
    for chunks in texts:
        first = next((chunk for chunk in chunks if not chunk.isspace()), None)
        if first is None:
            blank += 1
            continue
        last = ""
        file.write(b'{"text": "' if as_lines else b"\n" if written else b"")
        for last in itertools.chain([first], chunks):
            file.write((json.dumps(last, ensure_ascii=False)[1:-1] if as_lines else last).encode("utf-8"))
        file.write(b'"}\n' if as_lines else b"" if last.endswith("\n") else b"\n")
        written += 1
    return written, blank
