"""Reasons of dpo."""

from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 18

REASONS: dict[str, Reasons] = {
    "dpo": Reasons(
        lines=(
            Reason(
                "How much more than the reference the policy prefers the chosen answer: the logarithm of a ratio "
                "of ratios, times β.",
                reference="β * (chosen - rejected) - β * (reference_chosen - reference_rejected)",
            ),
            Reason(
                "-ln p is ln(1 + exp(-m)), and -ln(1 - p) is ln(1 + exp(m)).",
                reference="-(1 - ε) * np.log(1 / (1 + np.exp(-m))) - ε * np.log(1 / (1 + np.exp(m)))",
            ),
            "The mean over the pairs, so that the loss does not grow with their number.",
            Reason(
                "The derivative of ln(1 + exp(m)), by the chain rule; then divide numerator and denominator by exp(m).",
                reference="1 / (1 + np.exp(-m))",
            ),
            "The same with -m for m, which changes the sign; and 1 - p is 1 / (1 + exp(m)).",
            "The first term has the weight 1 - ε and the derivative (5), the second ε and (4); each pair is "
            "divided by n.",
            "In (1) chosen has the coefficient β.",
            "In (1) rejected has the opposite sign.",
            "In (1) the reference is subtracted from the policy.",
            "In (1) it is subtracted twice, so it has the sign of chosen.",
        ),
        definitions={
            "β": "beta",
            "ε": "label_smoothing",
            "n": "max(chosen.size, 1) if reduction == 'mean' else 1",
            "total": "lambda a: a if reduction == 'none' else np.sum(a)",  # Σ under this reduction
        },
        example=lambda d: ([d.normal(*d.shape) for _ in range(4)], {"beta": 0.5}),
    )
}
