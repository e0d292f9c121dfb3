"""See characters as Unicode 16 does, whichever Unicode the installed `regex` knows.

Each version of Unicode makes new letters, marks and digits, and a pattern would split them otherwise after an update
of `regex` than before. But the ids of a text belong to the tokenizer, and tokenizers travel. So all patterns see the
characters of Unicode 16 (2024), as tiktoken 0.14 and Hugging Face's tokenizers 0.23 do, and in newer ones no letter,
mark or digit.
"""

import functools

PRIVATE = "\ue000"  # no letter, mark, digit or white space, for ever
CHANGED = {ord("ʕ"): "a"}  # a small letter in Unicode 16, without case since

# First and last of the code points that became letters, marks or digits in Unicode 17 and 18. What lies between and is
# something else is seen as it was too.
NEWER = (
    (0x558, 0x558), (0x58B, 0x58C), (0x5C8, 0x5C9), (0x88F, 0x88F), (0xB53, 0xB54), (0xC5C, 0xC5C), (0xCDC, 0xCDC),
    (0x1ACF, 0x1AF0), (0x208F, 0x208F), (0x209D, 0x209F), (0xA7CE, 0xA7CF), (0xA7D2, 0xA7D2), (0xA7D4, 0xA7D4),
    (0xA7DD, 0xA7F1), (0xAB6C, 0xAB6D), (0x107BB, 0x107BF), (0x10940, 0x10959), (0x10EC5, 0x10EFB), (0x11B0A, 0x11B67),
    (0x11DB0, 0x11DF1), (0x1246F, 0x1247F), (0x12550, 0x12686), (0x16EA0, 0x16ED3), (0x16FF2, 0x16FF6),
    (0x187F8, 0x187FF), (0x18CD6, 0x18CDA), (0x18D09, 0x191D2), (0x1B123, 0x1B128), (0x1B168, 0x1B168),
    (0x1D127, 0x1D128), (0x1D250, 0x1D281), (0x1D6A6, 0x1D6A6), (0x1DF1F, 0x1DF24), (0x1DF2B, 0x1DFFF),
    (0x1E6C0, 0x1E6FF), (0x2B73A, 0x2B73F), (0x2B81E, 0x2B81E), (0x2CEA2, 0x2CEAD), (0x323B0, 0x3FC3F),
)  # fmt: skip


def as_unicode_16(text: str) -> str:
    """Return a text of the same length whose characters have the classes that those of `text` had in Unicode 16.

    It is `text` itself where nothing changed, as in all but the rarest of texts.

    >>> as_unicode_16("ab\\U00016ea0")  # a letter since Unicode 17
    'ab\\ue000'
    """
    seen = _seen_as()
    if seen.keys().isdisjoint(map(ord, set(text))):
        return text
    return text.translate(seen)


@functools.cache
def _seen_as() -> dict[int, str]:
    return {code: PRIVATE for first, last in NEWER for code in range(first, last + 1)} | CHANGED
