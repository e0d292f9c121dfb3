"""Twins of layernorm."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "layernorm": {
        "weight": "np.ones(x.shape[-1]) if weight is None else weight",
        "bias": "np.zeros(x.shape[-1]) if bias is None else bias",
        "mean": "x.mean(axis=-1, keepdims=True)",  # ⟨x⟩
        "C": "x.shape[-1]",
        "tokens": "tuple(range(x.ndim - 1))",
        "same": "np.eye(C)",
        "n_j": "n[..., :, None]",  # pairs of features of one token, (…, j, i)
        "n_i": "n[..., None, :]",
        "dn_j": "dn[..., :, None]",
        "r_token": "r[..., None]",
    }
}

TWINS: dict[str, dict[int, Twin]] = {
    "layernorm": {
        1: Twin(
            "r",
            "1 / np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + eps)",
            "The mean square distance from the mean is the variance; eps keeps the root from being 0.",
            "(np.var(x, axis=-1, keepdims=True) + eps) ** -0.5",
        ),
        2: Twin(
            "n",
            "(x - mean) * r",
            "Take the mean away and divide by the spread: mean 0, variance 1.",
            "(x - mean) / np.sqrt(np.var(x, axis=-1, keepdims=True) + eps)",
        ),
        3: Twin(
            "y",
            "n * weight + bias",
            "Each feature may then be stretched and shifted, by the same numbers at every token.",
        ),
        4: Twin("dn", "dy * weight", "In (3) y is a straight line in n, feature by feature, with slope weight."),
        5: Twin(
            "dweight", "(dy * n).sum(axis=tokens)", "In (3) n is the slope in weight, and one weight serves all tokens."
        ),
        6: Twin(
            "dbias", "dy.sum(axis=tokens)", "In (3) y moves with bias one for one, and one bias serves all tokens."
        ),
        7: Twin(
            "dmean",
            "np.ones(x.shape) / C",
            "Of the C features each has a C-th of the say in their mean.",
            "slope_of_sum('mean', 'x')",
        ),
        8: Twin(
            "dr",
            "-(r**2) * n / C",
            "r is a power -½ of the variance, whose slope is 2 (x_i - ⟨x⟩) / C: together -r³ (x_i - ⟨x⟩) / C, "
            "and (x_i - ⟨x⟩) r is n_i.",
            "slope_of_sum('r', 'x')",
        ),
        9: Twin(
            "dn_dx",
            "r_token * (same - 1 / C - n_j * n_i / C)",
            "The product rule on (2): x_j moves by 1[i = j], the mean by (7), and (x_j - ⟨x⟩) times (8) is -r n_j n_i / C.",
            "jacobian('n', 'x')",
        ),
        10: Twin(
            "dx",
            "r * (dn - dn.mean(axis=-1, keepdims=True) - n * (dn * n).mean(axis=-1, keepdims=True))",
            "Add dn_j times (9) over j: 1[i = j] leaves dn_i, and a sum over j divided by C is a mean.",
            also=("(dn_j * dn_dx).sum(axis=-2)",),
        ),
    }
}
