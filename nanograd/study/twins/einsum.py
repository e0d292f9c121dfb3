"""Twins of einsum."""

from nanograd.study.twins.line import Twin

GIVEN = {"einsum": {"spec": "explicit(spec, xs)", "dY_X": "lettered(spec, dy, xs)", "dY": "dY_X[0]", "X": "dY_X[1]"}}

TWINS: dict[str, dict[int, Twin]] = {
    "einsum": {
        1: Twin(
            "y",
            "np.einsum(spec, *xs)",
            "At every choice of all letters multiply one entry of each operand; add up over the letters that y lacks.",
        ),
        2: Twin(
            "dxs",
            "tuple(onto(spec, k, dY * product(X, k), xs) for k in range(len(xs)))",
            "With the others held still y is a straight line in x_k, with their product as slope; weigh by dy, and add "
            "over the letters that x_k lacks, since one entry of it serves them all.",
            "tuple(gradient(k) for k in range(len(xs)))",
            ("tuple(backward(k) for k in range(len(xs)))",),
        ),
    }
}
