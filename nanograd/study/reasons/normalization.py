"""Reasons of softmax, log_softmax, layernorm and rmsnorm."""

from nanograd.study import draw
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTERS = {"softmax": 14, "normalization": 16}

REASONS: dict[str, Reasons] = {
    "log_softmax": Reasons(
        "The logarithm of a quotient is a difference, and ln exp(x_j) is x_j.",
        "x_j has the derivative 1 by itself; the logarithm of the sum has the derivative exp(x_i) over the sum, p_i.",
        "The sum over j of dy_j 1[i = j] is dy_i; p_i does not depend on j and comes out of the sum.",
        example=draw.along_axis(),
    ),
    "softmax": Reasons(
        "exp makes every score positive, and dividing by the sum of the row makes the row sum to one.",
        Reason(
            "The numerator exp(x_j) depends only on x_j, the denominator S on every x_i; the terms with a score that does "
            "not count are 0.",
            name="quotient_rule",
        ),
        Reason(
            "For i = j (2) is exp(x_i)/S - (exp(x_i)/S)²; for i ≠ j only its second term is left.", name="two_cases"
        ),
        "1[i = j] is 1 if i = j, which gives the first case of (3), and else 0, which gives the second.",
        "The sum over j of y_j dy_j 1[i = j] is y_i dy_i; in the rest y_i comes out of the sum.",
        definitions={
            "x": "x if mask is None else np.where(mask, x, -np.inf)",
            "S": "np.exp(to_rows(x, axis)).sum(axis=-1, keepdims=True)[..., None]",
        },
        example=draw.along_axis(),
    ),
    "rmsnorm": Reasons(
        Reason(
            "The root mean square is the typical size of a token's features; eps avoids a division by 0.",
            reference="(np.linalg.norm(x, axis=-1, keepdims=True) ** 2 / C + eps) ** -0.5",
        ),
        Reason(
            "Dividing every feature by that size makes the mean square 1.",
            reference="x / np.sqrt((x * x).sum(axis=-1, keepdims=True) / C + eps)",
        ),
        "A learned scale for each feature, the same at every token.",
        "In (3) y is linear in n with coefficient weight, feature by feature.",
        "In (3) weight has the coefficient n, and all tokens share it.",
        "r is the power -½ of the mean square plus eps, so its derivative is -½ r³ times 2 x_i / C; and x_i r is n_i.",
        "The product rule on (2): r times 1[i = j], plus x_j times (6), which is -r n_j n_i / C.",
        "Multiply (7) by dn_j and sum over j: 1[i = j] leaves dn_i, and the sum of dn_j n_j / C is a mean.",
        definitions={
            "weight": "np.ones(x.shape[-1]) if weight is None else weight",
            "C": "x.shape[-1]",
            "tokens": "tuple(range(x.ndim - 1))",
        },
        example=draw.features(parameters=1),
    ),
    "layernorm": Reasons(
        Reason(
            "The variance is the mean squared deviation from the mean.", reference="np.var(x, axis=-1, keepdims=True)"
        ),
        Reason(
            "One over the standard deviation; eps keeps the root positive.",
            reference="(np.var(x, axis=-1, keepdims=True) + eps) ** -0.5",
        ),
        Reason(
            "Subtract the mean and divide by the standard deviation: mean 0, variance 1.",
            reference="(x - mean) / np.sqrt(np.var(x, axis=-1, keepdims=True) + eps)",
        ),
        "A learned scale and shift for each feature, the same at every token.",
        "In (4) y is linear in n with coefficient weight, feature by feature.",
        "In (4) weight has the coefficient n, and all tokens share it.",
        "In (4) bias has the coefficient 1, and all tokens share it.",
        Reason("Each of the C features has the weight 1/C in the mean.", words="np.full(x.shape, {})"),
        Reason(
            "The sum of the x_j is C ⟨x⟩, and ⟨x⟩ is subtracted C times.",
            reference="x.sum(axis=-1, keepdims=True) - C * mean",
            name="deviations",
        ),
        "The mean of the squares has 1/C; the square of x_i's own deviation has the derivative 2 (x_i - ⟨x⟩).",
        "r is the power -½ of v + eps, whose derivative is -½ r³; put (10) in, and (x_i - ⟨x⟩) r is n_i.",
        "The product rule on (3): x_j has the derivative 1[i = j], the mean has (8), and (x_j - ⟨x⟩) times "
        "(11) is -r n_j n_i / C.",
        "Multiply (12) by dn_j and sum over j: 1[i = j] leaves dn_i, and a sum over j divided by C is a mean.",
        definitions={
            "weight": "np.ones(x.shape[-1]) if weight is None else weight",
            "bias": "np.zeros(x.shape[-1]) if bias is None else bias",
            "mean": "x.mean(axis=-1, keepdims=True)",  # ⟨x⟩
            "C": "x.shape[-1]",
            "tokens": "tuple(range(x.ndim - 1))",
        },
        example=draw.features(parameters=2),
    ),
}
