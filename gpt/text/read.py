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

from nanograd.runtime.files import StrPath, open_input

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
# The labels that a web page may use, and Python's name for what browsers read them as. UTF-8 was tried before; Python's
# other codecs (unicode_escape, idna, …) are none of the web's. Source: https://encoding.spec.whatwg.org/#names-and-labels
WEB = {
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859-6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e iso-8859-6-i "
    "iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7 "
    "iso_8859-7:1987 sun_eu_greek",
    "iso8859-8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8 "
    "iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical",
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    "cp1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1 "
    "iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 x-user-defined",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 "
    "windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc-jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022-jp": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949",
}
WEB_LABELS = {label: name for name, labels in WEB.items() for label in labels.split()}
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
    with open_input(path) as file:
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
    if charset and (name := WEB_LABELS.get(charset[1].decode("latin-1").lower())):
        with contextlib.suppress(ValueError):  # the page declares a wrong charset
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
    with open_input(path) as file:
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
        with open_input(path) as file:
            data = file.read()
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
