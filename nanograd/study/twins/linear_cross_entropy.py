"""Twins of linear_cross_entropy."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "linear_cross_entropy": {
        "p": "softmax(z)",
        "counts": "targets[..., None] != ignore_index",
        "q": "1.0 * (targets[..., None] == np.arange(len(weight)))",
        "w": "counts / (max(counts.sum(), 1) if reduction == 'mean' else 1)",
    }
}

TWINS: dict[str, dict[int, Twin]] = {
    "linear_cross_entropy": {
        1: Twin(
            "z",
            "x @ weight.T",
            "The score of a class is its row of weight against the token's features.",
            "np.einsum('...c,vc->...v', x, weight)",
        ),
        2: Twin(
            "loss",
            "cross_entropy(z, targets, ignore_index=ignore_index, reduction=reduction)",
            "The loss sees x and weight only through the scores.",
        ),
        3: Twin(
            "dz",
            "dy * w * (p - q)",
            "As cross_entropy_backward derives it, without smoothing and z-loss: what softmax says, less what is true.",
        ),
        4: Twin(
            "dx", "dz @ weight", "As linear_backward derives it: one feature moves every score of its token, by weight."
        ),
        5: Twin(
            "dweight",
            "rows(dz).T @ rows(x)",
            "As linear_backward derives it: one weight moves one score of every token, by x; add over the tokens.",
        ),
    }
}
