"""Twins of rmsnorm."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "rmsnorm": {
        "weight": "np.ones(x.shape[-1]) if weight is None else weight",
        "C": "x.shape[-1]",
        "tokens": "tuple(range(x.ndim - 1))",
        "same": "np.eye(C)",  # 1[i = j]
        "n_j": "n[..., :, None]",  # pairs of features of one token, (…, j, i)
        "n_i": "n[..., None, :]",
        "dn_j": "dn[..., :, None]",
        "r_token": "r[..., None]",
    }
}

TWINS: dict[str, dict[int, Twin]] = {
    "rmsnorm": {
        1: Twin(
            "r",
            "1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)",
            "The root of the mean square is a token's typical size; eps keeps a token of zeros from dividing by 0.",
            "(np.linalg.norm(x, axis=-1, keepdims=True) ** 2 / C + eps) ** -0.5",
        ),
        2: Twin(
            "n",
            "x * r",
            "Divide every feature by that size: the mean square becomes 1.",
            "x / np.sqrt((x * x).sum(axis=-1, keepdims=True) / C + eps)",
        ),
        3: Twin("y", "n * weight", "Each feature may then be stretched, by the same number at every token."),
        4: Twin("dn", "dy * weight", "In (3) y is a straight line in n, feature by feature, with slope weight."),
        5: Twin(
            "dweight", "(dy * n).sum(axis=tokens)", "In (3) n is the slope in weight, and one weight serves all tokens."
        ),
        6: Twin(
            "dr_dx",
            "-(r**2) * n / C",
            "r is a power -½ of the mean square, whose slope is 2 x_i / C: together -r³ x_i / C, and x_i r is n_i.",
            "slope_of_sum('r', 'x')",
        ),
        7: Twin(
            "dn_dx",
            "r_token * (same - n_j * n_i / C)",
            "The product rule on (2): x_j moves by 1[i = j] and is scaled by r, and x_j times (6) is -r n_j n_i / C.",
            "jacobian('n', 'x')",
        ),
        8: Twin(
            "dx",
            "r * (dn - n * (dn * n).mean(axis=-1, keepdims=True))",
            "Add dn_j times (7) over j: 1[i = j] leaves dn_i, and the sum over j of dn_j n_j / C is a mean.",
            also=("(dn_j * dn_dx).sum(axis=-2)",),
        ),
    }
}
