"""Twins of cross_entropy."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "cross_entropy": {  # one row a target, (N, 1), and one column a class, (N, V)
        "V": "logits.shape[-1]",
        "rows_t": "targets.reshape(-1, 1)",
        "counts": "rows_t != ignore_index",
        "z": "np.where(counts, logits.reshape(targets.size, V), 0)",
        "t": "np.where(counts, rows_t, 0)",
        "ε": "label_smoothing",
        "λ": "z_loss",
        "q": "(1 - ε) * (np.arange(V) == t) + ε / V",
        "N": "max(counts.sum(), 1) if reduction == 'mean' else 1",
        "total": "(lambda each: each.reshape(targets.shape)) if reduction == 'none' else np.sum",
        "w": "counts / N",
        "dy_t": "np.reshape(dy, (-1, 1))",
    }
}

TWINS: dict[str, dict[int, Twin]] = {
    "cross_entropy": {
        1: Twin(
            "s",
            "np.log(np.exp(z).sum(axis=-1, keepdims=True))",
            "The logarithm of what softmax divides by.",
            "np.logaddexp.reduce(z, axis=-1, keepdims=True)",
        ),
        2: Twin(
            "l",
            "s - (q * z).sum(axis=-1, keepdims=True) + λ * s**2",
            "ln p_k is z_k - s, so -Σ q_k ln p_k is s - Σ q_k z_k, as the q_k add up to one; λ s² pulls s towards 0.",
            "-(q * np.log(p)).sum(axis=-1, keepdims=True) + λ * np.log(np.exp(z).sum(axis=-1, keepdims=True)) ** 2",
        ),
        3: Twin(
            "loss",
            "total(counts * l) / N",
            "The mean over the targets that count, so that it does not grow with how many there are.",
        ),
        4: Twin(
            "p",
            "np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)",
            "The slope of ln is one over the sum, and that of the sum in z_k is exp(z_k).",
            "slope_of_sum('s', 'z')",
        ),
        5: Twin(
            "dl_dz",
            "p * (1 + 2 * λ * s) - q",
            "s moves by (4), and λ s² by 2 λ s times as much; the sum over k moves by q_k.",
            "slope_of_sum('l', 'z')",
        ),
        6: Twin(
            "dz",
            "dy_t * w * (p * (1 + 2 * λ * s) - q)",
            "In (3) each l moves the loss by w; weigh (5) by that and by dy.",
            "gradient('logits').reshape(z.shape)",
            ("backward('logits').reshape(z.shape)", "by('z')", "dy_t * w * dl_dz"),
        ),
    }
}
