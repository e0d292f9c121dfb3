"""Reasons of layernorm."""

from nanograd.study import draw
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 20

REASONS: dict[str, Reasons] = {
    "layernorm": Reasons(
        lines=(
            Reason(
                "The mean squared deviation from the mean is the variance; eps keeps the root positive.",
                reference="(np.var(x, axis=-1, keepdims=True) + eps) ** -0.5",
            ),
            Reason(
                "Subtract the mean and divide by the standard deviation: mean 0, variance 1.",
                reference="(x - mean) / np.sqrt(np.var(x, axis=-1, keepdims=True) + eps)",
            ),
            "A learned scale and shift for each feature, the same at every token.",
            "In (3) y is linear in n with coefficient weight, feature by feature.",
            "In (3) weight has the coefficient n, and all tokens share it.",
            "In (3) bias has the coefficient 1, and all tokens share it.",
            Reason("Each of the C features has the weight 1/C in the mean.", words="np.full(x.shape, {})"),
            "r is the power -½ of the variance, whose derivative is 2 (x_i - ⟨x⟩) / C: together -r³ (x_i - ⟨x⟩) "
            "/ C, and (x_i - ⟨x⟩) r is n_i.",
            "The product rule on (2): x_j has the derivative 1[i = j], the mean has (7), and (x_j - ⟨x⟩) times "
            "(8) is -r n_j n_i / C.",
            "Multiply (9) by dn_j and sum over j: 1[i = j] leaves dn_i, and a sum over j divided by C is a mean.",
        ),
        definitions={
            "weight": "np.ones(x.shape[-1]) if weight is None else weight",
            "bias": "np.zeros(x.shape[-1]) if bias is None else bias",
            "mean": "x.mean(axis=-1, keepdims=True)",  # ⟨x⟩
            "C": "x.shape[-1]",
            "tokens": "tuple(range(x.ndim - 1))",
        },
        example=draw.features(parameters=2),
    )
}
