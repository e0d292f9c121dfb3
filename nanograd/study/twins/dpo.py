"""Twins of dpo."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "dpo": {
        "β": "beta",
        "ε": "label_smoothing",
        "n": "max(chosen.size, 1) if reduction == 'mean' else 1",
        "total": "(lambda each: each) if reduction == 'none' else np.sum",  # what Σ stands for under this reduction
    }
}

TWINS: dict[str, dict[int, Twin]] = {
    "dpo": {
        1: Twin(
            "m",
            "β * ((chosen - reference_chosen) - (rejected - reference_rejected))",
            "How much more the policy prefers the chosen answer than the reference does: ln of a ratio of ratios, times β.",
            "β * (chosen - rejected) - β * (reference_chosen - reference_rejected)",
        ),
        2: Twin(
            "l",
            "(1 - ε) * np.log(1 + np.exp(-m)) + ε * np.log(1 + np.exp(m))",
            "-ln p is ln(1 + exp(-m)), and -ln(1 - p) is ln(1 + exp(m)).",
            "-(1 - ε) * np.log(1 / (1 + np.exp(-m))) - ε * np.log(1 / (1 + np.exp(m)))",
        ),
        3: Twin("loss", "total(l) / n", "The mean over the pairs, so that it does not grow with how many there are."),
        4: Twin(
            "p",
            "np.exp(m) / (1 + np.exp(m))",
            "The slope of ln is one over what stands in it, and exp is its own slope; then divide both by exp(m).",
            "1 / (1 + np.exp(-m))",
        ),
        5: Twin(
            "varied",
            "-np.exp(-m) / (1 + np.exp(-m))",
            "The same with -m for m, which turns the sign; and 1 - p is 1 / (1 + exp(m)).",
            "-(1 - p)",
        ),
        6: Twin(
            "dm",
            "dy * (ε * p - (1 - ε) * (1 - p)) / n",
            "The first cost counts 1 - ε with slope (5), the second ε with slope (4), and each pair one n-th.",
        ),
        7: Twin("dchosen", "β * dm", "In (1) m moves β times as far as chosen."),
        8: Twin("drejected", "-dchosen", "In (1) rejected stands with the other sign."),
        9: Twin("dreference_chosen", "-dchosen", "In (1) the reference is taken away from the policy."),
        10: Twin("dreference_rejected", "dchosen", "In (1) it is taken away twice: its sign is that of chosen."),
    }
}
