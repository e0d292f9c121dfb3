"""Where a text can be cut so that the ids of its parts, joined, are those of the text: for files larger than memory.

Between a letter or digit and white space every pattern ends a pre-token; what stands before looks no further, none looks
back, and nothing is merged across pre-tokens. Letters and digits are those of Unicode 16, as for the patterns themselves.
"""

import regex  # type: ignore[import-untyped]

from gpt.tokenizer.unicode16 import as_unicode_16

_CUT = r"[\p{L}\p{N}]\s"
_FIRST, _LAST = regex.compile(_CUT), regex.compile("(?r)" + _CUT)  # (?r) searches from the end


def first_cut(text: str) -> int | None:
    """Return the first place where `text` can be cut, or None.

    >>> first_cut("low, lower lowest")
    10
    """
    found = _FIRST.search(as_unicode_16(text))
    return found.start() + 1 if found else None


def last_cut(text: str, start: int, stop: int) -> int | None:
    """Return the last place between start and stop where `text` can be cut, or None.

    >>> last_cut("low, lower lowest low", 0, 20)
    17
    """
    found = _LAST.search(text, start, stop)
    while found and not _FIRST.match(as_unicode_16(found[0])):  # a letter to `regex`, and none in Unicode 16
        found = _LAST.search(text, start, found.end() - 1)
    return found.start() + 1 if found else None
