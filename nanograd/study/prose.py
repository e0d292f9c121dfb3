"""The prose of docstrings and twins as HTML."""

import re

from nanograd.inspect.player.html import clean

INDEX = re.compile(r"\b([A-Za-z]{1,2}|d?weight|d?bias)_([a-z]{1,2}|\d)\b")  # x_i and dy_j, not n_heads


def code(text: object) -> str:
    """Return a few words of code."""
    return f"<code>{clean(str(text))}</code>"


def inline(text: str) -> str:
    """Return a sentence as HTML: what stands in backquotes is code, x_i has its index below."""
    parts = clean(" ".join(text.split())).split("`")
    return "".join(
        f"<code>{part}</code>" if i % 2 else INDEX.sub(r"<i>\1</i><sub>\2</sub>", part) for i, part in enumerate(parts)
    )


def paragraphs(text: str) -> str:
    """Return prose whose paragraphs are separated by a blank line."""
    return "".join(f"<p>{inline(part)}</p>" for part in text.split("\n\n") if part.strip())
