"""Make nanograd/inspect/player/math.woff2, the math font that pages embed: a subset of STIX Two Math.

    npm pack @fontsource/stix-two-math@5.3.0 && tar xzf fontsource-stix-two-math-5.3.0.tgz
    pip install fonttools==4.68.0 brotli==1.2.1
    python tests/golden/make_math_font.py package/files/stix-two-math-latin-400-normal.woff2

The font is licensed under the SIL Open Font License, of which OFL.txt beside it is a copy. The subset keeps the MATH
table, by which a browser draws a radical, a fence or a sum in the size of what it stands with.
"""

import string
import sys
from pathlib import Path
from unicodedata import lookup

FONT = Path(__file__).parents[2] / "nanograd" / "inspect" / "player" / "math.woff2"
GREEK = "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθικλμνξοπρςστυφχψωϵϑϕϱ"
SIGNS = "−±×·⋅÷⊙⊗⊕∂∇∑∏∫√∞≈≡≠≤≥≪≫∈∉⟨⟩‖⌊⌋⌈⌉→←↦⇒∝∼…⋯⋮⋱⊤⊥′½°¬∧∨ˆˉ˜\u00a0\u2009\u2061\u2062\u2063"


def characters() -> str:
    """Return what a formula may contain; a variable of one letter is drawn with the italic letter for mathematics."""
    letters = [c for c in string.ascii_letters if c != "h"]
    italic = [lookup(f"MATHEMATICAL ITALIC {'SMALL' if c.islower() else 'CAPITAL'} {c.upper()}") for c in letters]
    planck = "\u210e"  # the italic h, which Unicode has elsewhere
    greek = map(chr, range(0x1D6E2, 0x1D71C))
    return "".join([string.printable.strip(), " ", GREEK, SIGNS, *italic, planck, *greek])


def main(full: str) -> None:
    """Write the subset of the full font."""
    from fontTools import subset

    options = subset.Options(flavor="woff2", hinting=False, layout_features=[], name_IDs=[0, 1, 2, 5, 13, 14])
    font = subset.load_font(full, options)
    font.recalcTimestamp = False  # the same bytes each time
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=characters())
    subsetter.subset(font)
    subset.save_font(font, str(FONT), options)
    print(f"{FONT}: {FONT.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
