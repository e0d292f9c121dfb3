"""Read text files: one rule for encodings, for every command that reads text.

A file is read in the encoding that the caller names. Without a name, the first rule that applies decides:
1. a byte-order mark (UTF-8, UTF-16, UTF-32);
2. UTF-8, if the whole file is valid UTF-8;
3. the charset that an HTML page declares, if the whole file is valid in it;
4. latin-1, with a warning. Binary files are refused before that.
"""

import codecs
import contextlib
import hashlib
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nanograd.runtime.files import StrPath

HTML_SUFFIXES = (".html", ".htm")
MIXED = "mixed"  # an encoding of `read_text`: UTF-8, but for the lines that are not, which are latin-1
BLOCK = 1 << 20  # bytes, or characters, read at a time
BYTE_ORDER_MARKS = {  # UTF-32 first: its little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\v\f\r\x1b"))  # not in text; terminal logs have backspace and escape
CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)


class EmptyFileError(ValueError):
    """A file has no text."""


class BinaryFileError(ValueError):
    """A file is not text."""


OnError = Callable[[Exception], None]  # called with an error, after which reading goes on
Warn = Callable[[str], None]
"""A function that shows one line to the user, such as `warnings.warn` or a list's `append`."""


def read_text(
    path: StrPath, *, encoding: str | None = None, keep_line_ends: bool = False, warn: Warn = warnings.warn
) -> str:
    """Return the text of a file, without a byte-order mark.

    Line ends become \\n unless `keep_line_ends`. The encoding "mixed" reads each line that is not UTF-8 as latin-1 and
    tells `warn` how many there are. Raises OSError if the file cannot be read, ValueError if it is empty, binary or not
    in the encoding named.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"data: {path} is a folder; give a text file")
    if encoding == MIXED:
        text = _read_mixed(path, warn)
    else:
        encoding = detect_encoding(path, encoding, warn)
        with open(path, encoding=encoding, newline="") as file:
            text = file.read()
    text = text.removeprefix("\ufeff")
    return text if keep_line_ends else text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class TextFile:
    """The text of a file in blocks of about 1 MB, read again by each loop: no byte-order mark, \\n line ends."""

    path: Path
    encoding: str

    def __iter__(self) -> Iterator[str]:
        with open(self.path, encoding=self.encoding) as file:
            yield file.read(BLOCK).removeprefix("\ufeff")
            while block := file.read(BLOCK):
                yield block

    def lines(self) -> Iterator[str]:
        with open(self.path, encoding=self.encoding) as file:
            yield file.readline().removeprefix("\ufeff")
            yield from file


def detect_encoding(path: Path, encoding: str | None = None, warn: Warn = warnings.warn) -> str:
    """Return the encoding of a file by the rule above; the whole file has been decoded with it once.

    Raises OSError if there is no such file, ValueError if it is empty, binary or not in the encoding named.
    """
    if encoding is not None:
        check_encoding(encoding)
    if not path.exists():
        raise FileNotFoundError(f"data: there is no file {path}")
    if not path.is_file():  # a pipe cannot be read twice
        raise ValueError(f"data: {path} is not a file or folder")
    with open(path, "rb") as file:
        head = file.read(BLOCK)
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    wide = codecs.lookup(encoding or marked or "utf-8").name.startswith(("utf-16", "utf-32"))
    if b"\0" in head and not wide:
        raise BinaryFileError(
            f"data: {path} is binary, or UTF-16 without a byte-order mark: it has zero bytes; give UTF-8"
        )
    if encoding or marked:
        return _check_decodes(path, encoding or marked or "")
    try:
        return _check_decodes(path, "utf-8")
    except UnicodeError as error:
        reason = error
    charset = CHARSET.search(head[:1024]) if path.suffix.lower() in HTML_SUFFIXES else None
    if charset:
        with contextlib.suppress(ValueError):  # the page declares an unknown charset, or a wrong one
            check_encoding(name := charset[1].decode("latin-1"))
            return _check_decodes(path, name)
    if (len(head) - len(head.translate(None, CONTROLS))) * 100 > len(head):
        raise BinaryFileError(f"data: {path} is binary (more than 1 in 100 bytes are control characters); give text")
    warn(f"{reason}; it is read as latin-1. If that is wrong, convert it first: iconv -f cp1252 -t utf-8")
    return _check_decodes(path, "latin-1")


def check_encoding(encoding: str) -> None:
    """Raise ValueError unless Python has a text encoding of this name."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError):  # ValueError: a zero byte in the name
        raise ValueError(f"encoding: Python has none called {encoding!r}; for example utf-8, latin-1, cp1252") from None


def _check_decodes(path: Path, encoding: str) -> str:
    """Decode the whole file and return the encoding; UnicodeError names the first wrong byte and its line."""
    decoder = codecs.getincrementaldecoder(encoding)()
    blank, position, line = True, 0, 1
    with open(path, "rb") as file:
        while True:
            block = file.read(BLOCK)
            n_buffered = len(decoder.getstate()[0])  # bytes of a character that the last block cut
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].decode(encoding, "replace").count("\n")
                byte, where = error.object[error.start], position - n_buffered + error.start
                what = f"byte 0x{byte:02x} at position {where}, in line {line}"
                raise UnicodeError(f"data: {path} is not {encoding}: {what}") from None
            blank = blank and not text.removeprefix("\ufeff").strip()
            position += len(block)
            line += text.count("\n")
            if not block:
                break
    if blank:
        raise EmptyFileError(f"data: {path} is empty")
    return encoding


def _read_mixed(path: Path, warn: Warn) -> str:
    """Decode each line as UTF-8, or else as latin-1."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"data: there is no file {path}") from None
    if b"\0" in data:
        raise ValueError(f"data: {path} is binary or UTF-16 (it has zero bytes); if it is text, name its encoding")
    lines, n_latin = [], 0
    for line in data.split(b"\n"):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append(line.decode("latin-1"))
            n_latin += 1
    if n_latin:
        warn(f"{n_latin:,} line{'s' if n_latin > 1 else ''} read as latin-1")
    return "\n".join(lines)


def python_documentation() -> str:
    """Return the default text: the language reference that ships inside Python itself, about 465 kB of prose.

    Raises ValueError if this Python was built without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ValueError("data: this Python lacks its documentation (pydoc_data); give a text: --data FILE") from None
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def text_sha256(text: str) -> str:
    """Return the SHA-256 of the text in UTF-8, which a run records of its data."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def split_text(text: str, val_fraction: float) -> tuple[str, str]:
    """Split the text into training text and, from its end, validation text.

    >>> split_text("abcdefghij", 0.2)
    ('abcdefgh', 'ij')
    """
    end = round(len(text) * (1 - val_fraction))
    return text[:end], text[end:]
