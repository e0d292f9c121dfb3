"""Clean text, step by step: each step is a function of a string, and most can work on a text that comes in pieces.

A piece is about 1 MB and ends at a blank line; where a paragraph is longer, at a line end. So memory holds one piece and
not the text, except that a line must fit, and that HTML is parsed whole. For any cut the result is that of the whole text.
A paragraph of more than 1 MB is compared with others piece by piece.
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

import regex  # type: ignore[import-untyped]

from gpt.config import nearest
from gpt.text.html import strip_html

PIECE = 1 << 20  # characters
HEADER = 1 << 16  # characters in which a Project Gutenberg header ends; the longest, of the 1990s, have a third of that
MOST_PARAGRAPHS = 4_000_000  # remembered, at about 100 bytes each

LINE_ENDS = re.compile("[\r\v\f\x85\u2028\u2029]")
CONTROL = regex.compile(r"[\p{Cc}\uFFF9-\uFFFB[\p{Cf}&&\p{Default_Ignorable_Code_Point}]--[\n\t]]", regex.V1)
PUNCTUATION = regex.compile(r"\p{P}+")
MARKER = re.compile(
    r"^[^\S\n]*(?:\*\*\*[^\S\n]*(?:START|(?P<end>END))[^\S\n]+OF[^\S\n]+TH(?:E|IS)[^\S\n]+PROJECT[^\S\n]+GUTENBERG"
    r"|\*END\*[^\S\n]*THE[^\S\n]+SMALL[^\S\n]+PRINT).*\n?",
    re.IGNORECASE | re.MULTILINE,
)
BLANK_LINES = re.compile(r"(\n(?:[^\S\n]*\n)+)")
STRANGE_SPACES = re.compile(r"[^\S\n\t ]")
SPACES_BETWEEN = re.compile(r"[ \t](?<=\S[ \t])[ \t]+(?=\S)")  # looking back second is twice as fast as first
SPACES_AT_END = re.compile(r"[ \t]+$", re.MULTILINE)


def remove_control(text: str) -> str:
    r"""Remove control characters but \n and \t, and what has no width: joiners, direction marks, soft hyphens.

    Every other kind of line end, a page's too, becomes \n. Joiners also hold some emoji and Persian words together: to keep
    these, leave the step out.

    >>> remove_control("a\x00b\u200bc\r\nd")
    'abc\nd'
    """
    return CONTROL.sub("", LINE_ENDS.sub("\n", text.replace("\r\n", "\n")))


def lowercase(text: str) -> str:
    return text.lower()


def remove_non_ascii(text: str) -> str:
    """Remove what is not ASCII, an accented letter as a whole, however it is written.

    >>> remove_non_ascii("na\u00efve nai\u0308ve")
    'nave nave'
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text).encode("ascii", "ignore").decode()


def strip_gutenberg(text: str) -> str:
    """Remove the header and the licence of Project Gutenberg: what stands outside its START and END lines.

    Several books in one text are several such pairs; a text without these lines stays as it is.
    """
    return "".join(_strip_gutenberg([text]))


def remove_punctuation(text: str) -> str:
    """Remove Unicode's categories P: quotes, dashes, brackets, stops; not signs such as $ + <, which are S.

    >>> remove_punctuation("«Don't!» — 3 < 4")
    'Dont  3 < 4'
    """
    return PUNCTUATION.sub("", text)


def normalise_unicode(text: str) -> str:
    """Write each character in one way, NFC: e and a combining accent become é."""
    return unicodedata.normalize("NFC", text)


def drop_duplicates(text: str) -> str:
    r"""Remove each paragraph that is there before, whatever its spaces and line ends.

    >>> drop_duplicates("one\n\ntwo\n\none\n\nthree")
    'one\n\ntwo\n\nthree'
    """
    return Duplicates().drop(text)


def tidy_whitespace(text: str) -> str:
    r"""Make runs of spaces one space and runs of blank lines one, and remove what ends a line or surrounds the text.

    Spaces that begin a line stay, since verse and code need them; a single tab stays.

    >>> tidy_whitespace("\n\n  a   b \n\n\nc\t1\n")
    '  a b\n\nc\t1'
    """
    return "".join(_tidy([text]))


@dataclass
class Duplicates:
    """The paragraphs that were seen, as 128-bit hashes: the first MOST_PARAGRAPHS, which take 0.4 GB."""

    dropped: int = 0
    seen: set[bytes] = field(default_factory=set)

    def drop(self, text: str) -> str:
        """Remove the paragraphs that were seen before, each with the blank lines after it."""
        parts = BLANK_LINES.split(text)  # paragraph, blank lines, paragraph, …
        kept = []
        for paragraph, blank in zip(parts[::2], [*parts[1::2], ""], strict=True):
            if self._is_new(paragraph):
                kept += [paragraph, blank]
            else:
                self.dropped += 1
        return "".join(kept)

    def _is_new(self, paragraph: str) -> bool:
        words = paragraph.split()
        if not words:
            return True
        key = hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key in self.seen:
            return False
        if len(self.seen) < MOST_PARAGRAPHS:
            self.seen.add(key)
        return True


# In the order in which they are done, which makes cleaning twice the same as cleaning once. Characters are removed before
# the lines of Project Gutenberg are looked for, but for punctuation, which these lines are known by; NFC comes after all
# that is removed, since a removed character may have kept a letter and its accent apart.
STEPS: dict[str, Callable[[str], str]] = {
    step.__name__: step
    for step in (
        remove_control, lowercase, remove_non_ascii, strip_gutenberg, remove_punctuation, normalise_unicode,
        drop_duplicates, tidy_whitespace,
    )
}  # fmt: skip
DESTRUCTIVE = ("lowercase", "remove_punctuation", "remove_non_ascii")
DEFAULT = tuple(name for name in STEPS if name not in DESTRUCTIVE)


def clean(text: str, steps: Collection[str] = DEFAULT) -> str:
    r"""Clean a text by the steps named, in the order of STEPS.

    >>> clean("A\u200b line.  \n\n\n\nA line.\n")
    'A line.'
    """
    return "".join(Cleaner(steps).clean([text]))


class Cleaner:
    """Cleans many texts, forgets no paragraph between them, and counts the characters that each step removed."""

    def __init__(self, steps: Collection[str] = DEFAULT) -> None:
        for name in steps:
            if name not in STEPS:
                known = ", ".join(STEPS)
                raise ValueError(f"clean: there is no step {name!r}{nearest(name, list(STEPS))}; the steps are {known}")
        self.steps = [name for name in STEPS if name in steps]
        self.duplicates = Duplicates()
        self.removed = dict.fromkeys(["strip_html", *self.steps], 0)
        self.read = self.written = 0  # characters

    def clean(self, parts: Iterable[str], *, html: bool = False) -> Iterator[str]:
        """Clean one text, which comes in parts and leaves in pieces that are not empty. HTML is stripped of tags first."""
        pieces: Iterable[str] = self._counted(parts)
        if html:
            pieces = self._measured("strip_html", lambda parts: [strip_html("".join(parts))], pieces)
        pieces = cut_pieces(pieces)
        for name in self.steps:
            pieces = self._measured(name, self._stage(name), pieces)
        for piece in pieces:
            if piece:
                self.written += len(piece)
                yield piece

    def table(self) -> str:
        """Return what each step removed, as lines."""
        lines = [f"{'step':<18} {'characters':>15}"]
        for name, count in {"read": self.read, **self.removed, "written": self.written}.items():
            if name != "strip_html" or count:
                note = f"  ({self.duplicates.dropped:,} paragraphs)" if name == "drop_duplicates" else ""
                lines.append(f"{name:<18} {count:>15,}{note}")
        return "\n".join(lines)

    def _counted(self, parts: Iterable[str]) -> Iterator[str]:
        for part in parts:
            self.read += len(part)
            yield part

    def _stage(self, name: str) -> Callable[[Iterable[str]], Iterable[str]]:
        """Return the step as a function of pieces: that of each piece, but for three steps that remember something."""
        if name == "strip_gutenberg":
            return _strip_gutenberg
        if name == "tidy_whitespace":
            return _tidy
        return functools.partial(map, self.duplicates.drop if name == "drop_duplicates" else STEPS[name])

    def _measured(
        self, name: str, stage: Callable[[Iterable[str]], Iterable[str]], pieces: Iterable[str]
    ) -> Iterator[str]:
        """Count what goes into a stage and what comes out."""

        def before() -> Iterator[str]:
            for piece in pieces:
                self.removed[name] += len(piece)
                yield piece

        for piece in stage(before()):
            self.removed[name] -= len(piece)
            yield piece


def cut_pieces(parts: Iterable[str], size: int | None = None) -> Iterator[str]:
    """Cut a text anew, where blank lines end, or else lines, as soon as `size` characters (PIECE) are there."""
    size = PIECE if size is None else size
    held: list[str] = []
    length = 0
    for part in parts:
        held.append(part)
        length += len(part)
        if length < size or "\n" not in part:
            continue
        text = "".join(held)
        ends = [blank.end() for blank in BLANK_LINES.finditer(text)]
        at = ends[-1] if ends else text.rindex("\n") + 1
        yield text[:at]
        held, length = [text[at:]], len(text) - at
    yield "".join(held)


def _strip_gutenberg(pieces: Iterable[str]) -> Iterator[str]:
    head = ""
    inside: bool | None = None  # not known before a marker, or where a header would have ended
    for piece in pieces:
        if inside is None:
            head += piece
            if len(head) < HEADER and not MARKER.search(head):
                continue
            piece, inside = head[_header_end(head) :], True
        text, inside = _between_markers(piece, inside)
        yield text
    if inside is None:
        yield head


def _header_end(text: str) -> int:
    """Return where the header ends: after the first marker, if that is a START and near the beginning."""
    marker = MARKER.search(text)
    found = marker and not marker["end"] and marker.start() < HEADER
    return marker.end() if marker and found else 0


def _between_markers(text: str, inside: bool) -> tuple[str, bool]:
    """Return what stands inside, a blank line in the place of each START, and whether the end is inside."""
    kept, at = [], 0
    for marker in MARKER.finditer(text):
        if inside:
            kept.append(text[at : marker.start()])
        inside, at = not marker["end"], marker.end()
        if inside:
            kept.append("\n")
    if inside:
        kept.append(text[at:])
    return "".join(kept), inside


def _tidy(pieces: Iterable[str]) -> Iterator[str]:
    breaks = 0  # line ends since the last word; what stands before the first word is dropped
    begun = False
    for piece in pieces:
        text = SPACES_AT_END.sub("", SPACES_BETWEEN.sub(" ", STRANGE_SPACES.sub(" ", piece)))
        lines = text.strip("\n")
        if not lines:
            breaks += len(text)
            continue
        breaks += len(text) - len(text.lstrip("\n"))
        if begun:
            yield "\n" * min(breaks, 2)
        yield re.sub("\n{3,}", "\n\n", lines)
        begun, breaks = True, len(text) - len(text.rstrip("\n"))
