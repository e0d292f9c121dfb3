"""Read raw text, and say what is wrong where it is none."""

import codecs
import contextlib
import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".txt", ".md", ".html", ".htm", ".jsonl")  # what is read of a folder
HTML_SUFFIXES = (".html", ".htm")
PART = 1 << 20  # bytes, or characters, that are held at a time
MARKS = {  # UTF-32 first: its little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CONTROLS = bytes(
    set(range(32)) - set(b"\b\t\n\v\f\r\x1b")
)  # what no text has; backspace and escape are in terminal logs
CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Document:
    """A text and where it comes from. `text` is the whole of it; `parts`, joined, too, but a file is read as they go."""

    name: str
    parts: Iterable[str]

    @property
    def text(self) -> str:
        return "".join(self.parts)


@dataclass(frozen=True)
class FileParts:
    """The text of a file in parts of about 1 MB, read anew each time: no byte-order mark, and \\n line ends."""

    path: Path
    encoding: str

    def __iter__(self) -> Iterator[str]:
        with open(self.path, encoding=self.encoding) as file:
            yield file.read(PART).removeprefix("\ufeff")
            while part := file.read(PART):
                yield part


def read_documents(
    paths: Iterable[str | Path],
    *,
    encoding: str | None = None,
    text_key: str = "text",
    on_error: Callable[[Exception], None] | None = None,
    warn: Callable[[str], None] = warnings.warn,
) -> Iterator[Document]:
    """Read files, and folders in sorted order: a document for each file, for each line of a .jsonl.

    A line of a .jsonl is an object whose `text_key` holds the text; its document is called "path:line". HTML is given as
    it stands in the file (`strip_html` makes text of it). Where no encoding is given, a byte-order mark decides,
    then what is UTF-8 is read as UTF-8, then an HTML page's own word counts, and all else is read as latin-1, which
    `warn` is told.

    A file that is missing, unreadable, empty, binary or wrongly encoded, and a line that is no such object, raises OSError
    or ValueError with its name; with `on_error` that is called with the error, and the reading goes on. Each file is
    looked through before its document is given, so an error never comes in the middle of a text.
    """
    if encoding is not None:
        check_encoding(encoding)

    def failed(error: Exception) -> None:
        if on_error is None:
            raise error
        on_error(error)

    for path in text_files(paths, failed):
        try:
            parts = FileParts(path, encoding_of(path, encoding, warn))
        except (OSError, ValueError) as error:
            failed(error)
            continue
        if path.suffix.lower() == ".jsonl":
            yield from _lines(parts, text_key, failed)
        else:
            yield Document(str(path), parts)


def text_files(paths: Iterable[str | Path], failed: Callable[[Exception], None]) -> Iterator[Path]:
    """List files as they are given, and of folders those with one of SUFFIXES: a folder's own first, sorted, then its
    subfolders'. What is hidden (.git, .venv) is passed over, and links to folders are not followed.
    """
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        found = False
        for folder, folders, names in os.walk(path, onerror=failed):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                    found = True
                    yield Path(folder, name)
        if not found:
            failed(ValueError(f"data: the folder {path} has no text: no {', '.join(SUFFIXES)}"))


def check_encoding(encoding: str) -> None:
    """Raise ValueError unless Python has such an encoding of text."""
    try:
        "".encode(encoding)
    except (LookupError, ValueError):  # ValueError: a zero byte in the name
        raise ValueError(
            f"encoding: Python has none called {encoding!r}; for example utf-8, utf-16, latin-1, cp1252, shift_jis"
        ) from None


def encoding_of(path: Path, encoding: str | None, warn: Callable[[str], None]) -> str:
    """Return the encoding in which the whole file can be read: the given one, or what is found.

    Raises OSError where there is no such file, ValueError where it is empty, binary or not in the given encoding.
    """
    if not path.exists():
        raise FileNotFoundError(f"data: there is no file {path}")
    if not path.is_file():  # a pipe cannot be read twice
        raise ValueError(f"data: {path} is no file or folder")
    with open(path, "rb") as file:
        head = file.read(PART)
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    wide = codecs.lookup(encoding or marked or "utf-8").name.startswith(("utf-16", "utf-32"))
    if b"\0" in head and not wide:
        raise ValueError(f"data: {path} is binary (it has zero bytes); give text, or its --encoding")
    if encoding or marked:
        return _checked(path, encoding or marked or "")
    try:
        return _checked(path, "utf-8")
    except UnicodeError as error:
        reason = error
    charset = CHARSET.search(head[:1024]) if path.suffix.lower() in HTML_SUFFIXES else None
    if charset:
        with contextlib.suppress(ValueError):  # an unknown name, or a wrong one
            check_encoding(name := charset[1].decode("latin-1"))
            return _checked(path, name)
    if (len(head) - len(head.translate(None, CONTROLS))) * 100 > len(head):
        raise ValueError(f"data: {path} is binary (more than 1 in 100 bytes are control characters); give text")
    warn(f"{reason}; it is read as latin-1: name its encoding if that is wrong, often cp1252 (--encoding cp1252)")
    return _checked(path, "latin-1")


def _checked(path: Path, encoding: str) -> str:
    """Read the file through, and return the encoding; UnicodeError names the first byte that is wrong."""
    decoder = codecs.getincrementaldecoder(encoding)()
    blank, position = True, 0
    with open(path, "rb") as file:
        while True:
            block = file.read(PART)
            held = len(decoder.getstate()[0])  # bytes of a character that the last block cut
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = position - held + error.start
                raise UnicodeError(
                    f"data: {path} is not {encoding}: byte 0x{error.object[error.start]:02x} at position {at}"
                ) from None
            blank = blank and not text.removeprefix("\ufeff").strip()
            position += len(block)
            if not block:
                break
    if blank:
        raise ValueError(f"data: {path} is empty")
    return encoding


def _lines(parts: FileParts, text_key: str, failed: Callable[[Exception], None]) -> Iterator[Document]:
    """Give the text of each line of a .jsonl; empty lines and empty texts are passed over."""
    with open(parts.path, encoding=parts.encoding) as file:
        for number, line in enumerate(file, 1):
            name = f"{parts.path}:{number}"
            line = line.removeprefix("\ufeff")
            if not line.strip():
                continue
            try:
                text = _text_of(line, text_key)
            except ValueError as error:
                failed(ValueError(f"data: {name}: {error}"))
                continue
            if text.strip():
                yield Document(name, (text,))


def _text_of(line: str, text_key: str) -> str:
    """Return the text that a line of a .jsonl holds; ValueError says what is wrong with it."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a line must be JSON; {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"a line must be an object, got {line.strip()[:40]!r}")
    if text_key not in fields:
        raise ValueError(
            f"there is no {text_key!r}, only {', '.join(map(repr, list(fields)[:9])) or 'nothing'}; see --text-key"
        )
    text = fields[text_key]
    if not isinstance(text, str):
        raise ValueError(f"{text_key!r} must be a text, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text_key!r} has half of a character (a lone surrogate) at {error.start}") from None
    return text


def read_text(path: str | Path) -> str:
    """Return the UTF-8 text of a file: without byte-order mark, with \\n line ends.

    Raises OSError where there is no such file, ValueError where it is empty, binary or not UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"data: {path} is a folder; give a text file")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"data: there is no file {path}") from None
    if b"\0" in raw[: 1 << 20]:
        raise ValueError(f"data: {path} is binary or UTF-16 (it has zero bytes); give plain text in UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"data: {path} is not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start}; "
            "convert it first, for example: iconv -f latin1 -t utf-8"
        ) from None
    if not text.strip():
        raise ValueError(f"data: {path} is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def python_documentation() -> str:
    """Return the embedded default text: the language reference that ships inside Python itself, about 465 kB of prose.

    Raises ValueError where this Python was built without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ValueError(
            "data: this Python ships without its documentation (pydoc_data.topics); give a text with --data FILE"
        ) from None
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def text_sha256(text: str) -> str:
    """Return the SHA-256 of the text in UTF-8: what a run records of its data."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def split_text(text: str, val_fraction: float) -> tuple[str, str]:
    """Cut the text into training text and, at its end, validation text.

    >>> split_text("abcdefghij", 0.2)
    ('abcdefgh', 'ij')
    """
    cut = round(len(text) * (1 - val_fraction))
    return text[:cut], text[cut:]
