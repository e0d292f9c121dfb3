"""Twins of add, sub, mul, div, neg and astype."""

from nanograd.study.twins.line import Twin

GIVEN = {"div": {"t": "dy / b"}}

TWINS: dict[str, dict[int, Twin]] = {
    "add": {
        1: Twin(
            "y",
            "a + b",
            "Add entry by entry; where one operand is smaller, each of its entries is added in several places.",
        ),
        2: Twin(
            "da",
            "U(dy, a.shape)",
            "Raising an entry of a raises every y it was copied to one for one, so add up their dy.",
        ),
        3: Twin(
            "db",
            "U(dy, b.shape)",
            "The sum does not tell its operands apart: b gets what a gets, added over its own copies.",
        ),
    },
    "sub": {
        1: Twin(
            "y", "a - b", "Take b away entry by entry; the smaller operand is copied to the shape of the larger first."
        ),
        2: Twin("da", "U(dy, a.shape)", "With b held still, y moves with a one for one."),
        3: Twin("db", "-U(dy, b.shape)", "Raising b lowers y by as much, so the sign turns."),
    },
    "mul": {
        1: Twin(
            "y", "a * b", "Multiply entry by entry; the smaller factor is copied to the shape of the larger first."
        ),
        2: Twin("da", "U(dy * b, a.shape)", "With b held still, y is a straight line in a, and b is its slope."),
        3: Twin("db", "U(dy * a, b.shape)", "With a held still, y is a straight line in b, and a is its slope."),
    },
    "div": {
        1: Twin("y", "a / b", "Divide entry by entry; the smaller operand is copied to the shape of the larger first."),
        2: Twin("dy_da", "1 / b", "With b held still, y is a straight line in a with slope 1/b.", "slope('y', 'a')"),
        3: Twin(
            "dy_db",
            "-a / b**2",
            "The slope of 1/b is -1/b²; one of the two b, under a, makes y again.",
            "slope('y', 'b')",
            ("-y / b",),
        ),
        4: Twin("da", "U(t, a.shape)", "Weigh (2) by dy and add over the copies of each a."),
        5: Twin("db", "-U(t * y, b.shape)", "Weigh (3) by dy, which is -t y, and add over the copies of each b."),
    },
    "neg": {
        1: Twin("y", "-x", "Mirror each number at zero."),
        2: Twin("dx", "-dy", "Raising x lowers y by as much: the slope is -1."),
    },
    "astype": {
        1: Twin("y", "x.astype(dtype)", "Each entry becomes the nearest number that the new dtype has."),
        2: Twin(
            "dx", "dy.astype(x.dtype)", "Seen from far enough the staircase of rounding is the line y = x, of slope 1."
        ),
    },
}
