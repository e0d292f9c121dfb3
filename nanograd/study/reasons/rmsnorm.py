"""Reasons of rmsnorm."""

from nanograd.study import draw
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 19

REASONS: dict[str, Reasons] = {
    "rmsnorm": Reasons(
        lines=(
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
            "r is the power -½ of the mean square, whose derivative is 2 x_i / C: together -r³ x_i / C, and x_i "
            "r is n_i.",
            "The product rule on (2): r times 1[i = j], plus x_j times (6), which is -r n_j n_i / C.",
            "Multiply (7) by dn_j and sum over j: 1[i = j] leaves dn_i, and the sum of dn_j n_j / C is a mean.",
        ),
        definitions={
            "weight": "np.ones(x.shape[-1]) if weight is None else weight",
            "C": "x.shape[-1]",
            "tokens": "tuple(range(x.ndim - 1))",
        },
        example=draw.features(parameters=1),
    )
}
