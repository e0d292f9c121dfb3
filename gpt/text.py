"""Read raw text, and say what is wrong where it is none."""

import hashlib
from pathlib import Path


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
