"""Reasons of mse."""

from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 17

REASONS: dict[str, Reasons] = {
    "mse": Reasons(
        lines=(
            Reason("The error of each entry, with its sign.", reference="-(target - x)"),
            "Squares weight positive and negative errors alike, and large errors more.",
            "The derivative of e² is 2 e, that of e by x is 1, and each square is divided by n.",
            "In (1) target has the coefficient -1.",
        ),
        definitions={
            "n": "max(e.size, 1) if reduction == 'mean' else 1",
            "total": "lambda a: a if reduction == 'none' else np.sum(a)",  # Σ under this reduction
        },
    )
}
