"""Unicode as it was when tokenizers were made: a new version must not change the ids of a text.

Each version makes new letters, marks and digits, so an update of `regex` or of Python would change how a pattern splits,
or what NFC composes. But the ids of a text belong to the tokenizer, and tokenizers are shared. So all patterns see the
characters as Unicode 16 (2024) classified them, as tiktoken 0.14 and Hugging Face's tokenizers 0.23 do, and NFC composes
what Unicode 9 (2016) composed, as the latter does.
"""

import functools
import unicodedata

import regex  # type: ignore[import-untyped]

PRIVATE = "\ue000"  # never a letter, mark, digit or white space
CHANGED = {ord("ʕ"): "a"}  # a lowercase letter in Unicode 16, without case since

# First and last of the code points that became letters, marks, digits, punctuation or symbols in Unicode 17 and 18. Those
# in between were none of these in Unicode 16 either.
NEWER = (
    (0x558, 0x558), (0x58B, 0x58C), (0x5C8, 0x5C9), (0x88F, 0x88F), (0xB53, 0xB54), (0xC5C, 0xC5C), (0xCDC, 0xCDC),
    (0x1ACF, 0x1AF0), (0x208F, 0x208F), (0x209D, 0x209F), (0x20C1, 0x20C4), (0x2B96, 0x2B96), (0x2E60, 0x2E63),
    (0xA7CE, 0xA7CF), (0xA7D2, 0xA7D2), (0xA7D4, 0xA7D4), (0xA7DD, 0xA7F1), (0xAB6C, 0xAB6D), (0xFBC3, 0xFBD2),
    (0xFD90, 0xFD91), (0xFDC8, 0xFDCE), (0x107BB, 0x107BF), (0x10940, 0x10959), (0x10EC5, 0x10EFB), (0x11B0A, 0x11B67),
    (0x11DB0, 0x11DF1), (0x1246F, 0x1246F), (0x12475, 0x1247F), (0x12550, 0x12686), (0x16EA0, 0x16ED3),
    (0x16FF2, 0x16FF6), (0x187F8, 0x187FF), (0x18CD6, 0x18CDA), (0x18D09, 0x191D2), (0x1B123, 0x1B128),
    (0x1B168, 0x1B168), (0x1CCFA, 0x1CCFC), (0x1CEBA, 0x1CED0), (0x1CED2, 0x1CED4), (0x1CEDD, 0x1CEFD),
    (0x1D127, 0x1D128), (0x1D1EB, 0x1D1FF), (0x1D250, 0x1D281), (0x1D6A6, 0x1D6A6), (0x1DB00, 0x1DB1C),
    (0x1DF1F, 0x1DF24), (0x1DF2B, 0x1DFFF), (0x1E6C0, 0x1E6FF), (0x1F1AE, 0x1F1AE), (0x1F6D8, 0x1F6D9),
    (0x1F777, 0x1F77A), (0x1F7DA, 0x1F7DB), (0x1F7F1, 0x1F7FF), (0x1F8D0, 0x1F8D8), (0x1FA54, 0x1FA57),
    (0x1FA8A, 0x1FA8E), (0x1FAC8, 0x1FAC8), (0x1FACC, 0x1FACD), (0x1FADD, 0x1FADD), (0x1FAEA, 0x1FAEB),
    (0x1FAEF, 0x1FAEF), (0x1FAF9, 0x1FAFA), (0x1FBFA, 0x1FBFA), (0x2B73A, 0x2B73F), (0x2B81E, 0x2B81E),
    (0x2CEA2, 0x2CEAD), (0x323B0, 0x3FC3F),
)  # fmt: skip


def as_unicode_16(text: str) -> str:
    """Return a text of the same length whose characters have the classes that those of `text` had in Unicode 16.

    It is `text` itself if no character changed, as in nearly all texts.

    >>> as_unicode_16("ab\\U00016ea0")  # a letter since Unicode 17
    'ab\\ue000'
    """
    substitutes = _unicode_16_substitutes()
    if substitutes.keys().isdisjoint(map(ord, set(text))):
        return text
    return text.translate(substitutes)


@functools.cache
def _unicode_16_substitutes() -> dict[int, str]:
    return {code: PRIVATE for first, last in NEWER for code in range(first, last + 1)} | CHANGED


# First and last of the characters that compose, or that combine with a letter, only since Unicode 10 or later, up to 18
COMBINING_SINCE_10 = (
    (0x5C8, 0x5C9), (0x7FD, 0x7FD), (0x897, 0x89F), (0x8CA, 0x8D3), (0x9FE, 0x9FE), (0xC3C, 0xC3C), (0xD3B, 0xD3C),
    (0xEBA, 0xEBA), (0x1715, 0x1715), (0x1ABF, 0x1AF0), (0x1DF6, 0x1DFA), (0xA82C, 0xA82C), (0x105C0, 0x105FF),
    (0x10D24, 0x10D27), (0x10D69, 0x10D6D), (0x10EAB, 0x10EAC), (0x10ECB, 0x10ECF), (0x10EF0, 0x10EFF),
    (0x10F46, 0x10F50), (0x10F82, 0x10F85), (0x11070, 0x11070), (0x1133B, 0x1133B), (0x11380, 0x113FF),
    (0x1145E, 0x1145E), (0x11839, 0x1183A), (0x11930, 0x1193E), (0x11943, 0x11943), (0x119E0, 0x119E0),
    (0x11A34, 0x11A34), (0x11A47, 0x11A47), (0x11A99, 0x11A99), (0x11D42, 0x11D42), (0x11D44, 0x11D45),
    (0x11D97, 0x11D97), (0x11F41, 0x11F42), (0x16100, 0x1613F), (0x16D40, 0x16D7F), (0x16FF0, 0x16FF1),
    (0x1D127, 0x1D128), (0x1D250, 0x1D252), (0x1D25B, 0x1D25C), (0x1D25F, 0x1D25F), (0x1D280, 0x1D281),
    (0x1E08F, 0x1E08F), (0x1E130, 0x1E136), (0x1E2AE, 0x1E2AE), (0x1E2EC, 0x1E2EF), (0x1E4EC, 0x1E4EF),
    (0x1E5EE, 0x1E5EF), (0x1E6E3, 0x1E6F5),
)  # fmt: skip
_UNKNOWN_TO_9 = regex.compile("([" + "".join(f"{chr(first)}-{chr(last)}" for first, last in COMBINING_SINCE_10) + "]+)")


def nfc(text: str) -> str:
    """Return a text in Unicode's normal form C, as Unicode 9 defined it: letters and their accents composed.

    >>> nfc("e\\u0301") == "\\u00e9"
    True
    """
    if text.isascii():
        return text
    if not _UNKNOWN_TO_9.search(text):
        return unicodedata.normalize("NFC", text)
    return "".join(
        stretch if i % 2 else unicodedata.normalize("NFC", stretch)
        for i, stretch in enumerate(_UNKNOWN_TO_9.split(text))
    )
