"""Twins of mse."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "mse": {
        "n": "max(e.size, 1) if reduction == 'mean' else 1",
        "total": "(lambda each: each) if reduction == 'none' else np.sum",  # what Σ stands for under this reduction
    }
}

TWINS: dict[str, dict[int, Twin]] = {
    "mse": {
        1: Twin("e", "x - target", "How far off each entry is, with its sign.", "-(target - x)"),
        2: Twin(
            "y",
            "total(e**2) / n",
            "Squares count an error up as much as one down, and a large one more than two small ones.",
        ),
        3: Twin(
            "dx",
            "2 * e * dy / n",
            "The slope of e² is 2 e, e moves with x one for one, and each square counts one n-th.",
        ),
        4: Twin("dtarget", "-dx", "In (1) the target pulls e the other way, just as strongly."),
    }
}
