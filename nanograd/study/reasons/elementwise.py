"""Reasons of elementwise ops: arithmetic, powers, waves, extrema, activations and dropout."""

import numpy as np

from nanograd.study import draw
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTERS = {"arithmetic": 1, "power": 2, "trig": 3, "erf": 4, "extremum": 7, "activation": 13, "dropout": 18}


def _choice(which: str) -> Reasons:
    """Return the reasons of maximum or minimum: of the larger or smaller of two numbers."""
    return Reasons(
        f"The {which} of each pair, after broadcasting.",
        f"Where a is {which}, y is a with derivative 1; elsewhere y does not depend on a.",
        f"Where b is {which}, y is b with derivative 1; elsewhere y does not depend on b.",
        example=lambda d: ([d.apart(*d.shape), d.apart(*d.shape[-1:]) + 0.1], {}),
    )


REASONS: dict[str, Reasons] = {
    "add": Reasons(
        "The operands are added entry by entry; an operand that is broadcast is added in several entries of y.",
        "∂y/∂a is 1 for each y that a was broadcast to, so da is the sum of their dy.",
        "a and b enter y alike, so db is the sum of dy over the copies of b.",
        example=draw.row_operand,
    ),
    "astype": Reasons(
        Reason("Each entry becomes the nearest number that the new dtype has.", words="{}.astype(dtype)"),
        Reason(
            "Averaged over many numbers, rounding is the identity y = x, whose derivative is 1.",
            words="{}.astype(x.dtype)",
        ),
        example=draw.normal(dtype=np.float64),
    ),
    "div": Reasons(
        "The operands are divided entry by entry, after broadcasting.",
        "With b constant, y is linear in a with coefficient 1/b.",
        "The derivative of 1/b is -1/b²; and a/b is y.",
        "Multiply (2) by dy and sum over the copies of each a.",
        "Multiply (3) by dy and sum over the copies of each b.",
        example=lambda d: ([d.normal(*d.shape), d.positive(*d.shape[-1:])], {}),
    ),
    "mul": Reasons(
        "The operands are multiplied entry by entry, after broadcasting.",
        "With b constant, y is linear in a with coefficient b.",
        "With a constant, y is linear in b with coefficient a.",
        example=draw.row_operand,
    ),
    "neg": Reasons("Every number changes its sign.", "y is linear in x with coefficient -1."),
    "sub": Reasons(
        "The operands are subtracted entry by entry, after broadcasting.",
        "With b constant, ∂y/∂a is 1.",
        "With a constant, ∂y/∂b is -1.",
        example=draw.row_operand,
    ),
    "exp": Reasons(
        "The function that is 1 at 0 and equals its own derivative.",
        "The derivative of exp is exp itself, and its value y is already computed.",
    ),
    "log": Reasons(
        "The power to which e must be raised to give x.",
        "The derivative of exp(y) by y is exp(y), which equals x.",
        "Multiply (2) by dy.",
        example=draw.positive(),
    ),
    "pow": Reasons(
        "a is the base and b the exponent; both are arrays and are broadcast.",
        Reason(
            "The power rule: multiply by the exponent and lower it by one; for b = 0, y is 1 whatever a is.",
            words="np.where(b == 0, 0, {})",
        ),
        "y is exp(b ln a), whose derivative by b ln a is y itself, and b ln a has the derivative ln a by b.",
        "Multiply (2) by dy and sum over the copies of each a.",
        "Multiply (3) by dy and sum over the copies of each b.",
        example=lambda d: ([d.positive(*d.shape), d.normal(*d.shape[-1:])], {}),
    ),
    "reciprocal": Reasons(
        "The number that gives 1 when x is multiplied by it.",
        "The product x y is always 1, so its derivative is 0; and 1/x is y.",
        "Multiply (2) by dy.",
        example=draw.positive(),
    ),
    "rsqrt": Reasons(
        "The factor that scales numbers with the mean square x to the mean square 1.",
        "The power rule for the exponent -½; x^(-3/2) is y³.",
        "Multiply (2) by dy, in the form that needs only y.",
        example=draw.positive(),
    ),
    "sqrt": Reasons(
        "The side of a square whose area is x.",
        "The derivative of y² by y is 2 y, and that of x by x is 1.",
        "Multiply (2) by dy.",
        example=draw.positive(),
    ),
    "square": Reasons(
        "The area of a square with side x.", "By the product rule on x times x, each factor contributes x."
    ),
    "cos": Reasons(
        "The horizontal coordinate of the point at angle x on the unit circle.",
        "The horizontal coordinate falls as fast as the point is high, hence the minus.",
    ),
    "sigmoid": Reasons(
        "For very negative x, exp(-x) is huge and y near 0; for large x it vanishes and y is near 1.",
        "The derivative of 1/u is -1/u² and that of u = 1 + e is -e; the second factor is 1 - y.",
        "Multiply (2) by dy, in the form that needs only y.",
        definitions={"e": "np.exp(-x)"},
    ),
    "sin": Reasons(
        "The vertical coordinate of the point at angle x on the unit circle.",
        "The vertical coordinate grows at the rate of the horizontal one, cos x.",
    ),
    "tanh": Reasons(
        "Numerator and denominator are each other's derivative, which makes the quotient rule easy.",
        "The quotient rule; then divide term by term.",
        "Multiply (2) by dy, in the form that needs only y.",
    ),
    "erf": Reasons(
        "The area under a bell curve from 0 to x, scaled so that y tends to 1 for large x.",
        "The derivative of an integral by its upper limit is the integrand there.",
    ),
    "abs": Reasons(
        "The distance from zero.",
        "For positive x, y is x with derivative 1; for negative x, y is -x with derivative -1.",
        example=draw.apart(),
    ),
    "clip": Reasons(
        "Values below `low` are raised to it, then values above `high` are lowered to it.",
        "Between the bounds y is x with derivative 1; outside them y is constant.",
        definitions={"low": "-np.inf if low is None else low", "high": "np.inf if high is None else high"},
        example=draw.apart(low=-1.0, high=1.0),
    ),
    "maximum": _choice("larger"),
    "minimum": _choice("smaller"),
    "gelu": Reasons(
        Reason(
            "The normal distribution function: ½ for the half below 0, and erf for the part between 0 and x.",
            reference="0.5 + integral(lambda s: np.exp(-s * s / 2), x) / np.sqrt(2 * np.pi)",
        ),
        "x weighted by the probability that a normal number is smaller.",
        "Φ is the area under the bell curve up to x, so its derivative is the height of the curve.",
        "The product rule on (2): x has the derivative 1, and Φ has the derivative φ by (3).",
    ),
    "gelu_tanh": Reasons(
        Reason(
            "A cubic whose tanh approximates erf(x/√2).",
            reference="np.polyval([0.044715 * np.sqrt(2 / np.pi), 0, np.sqrt(2 / np.pi), 0], x)",
        ),
        "gelu, with tanh u in place of erf(x/√2).",
        "The derivative of x is 1 and that of x³ is 3 x².",
        "The derivative of tanh in terms of its value, as `tanh` derives it.",
        "The product rule on (2): the derivative of ½ x times 1 + t, plus ½ x times that of t, which by the "
        "chain rule is (4) times (3).",
        "Multiply (5) by dy.",
        definitions={"t": "np.tanh(u)"},
    ),
    "relu": Reasons(
        "Negative numbers become 0, positive ones stay.",
        "For positive x, y is x with derivative 1; for negative x, y is constantly 0.",
        example=draw.apart(),
    ),
    "silu": Reasons(
        Reason("The sigmoid, a gate between 0 and 1.", reference="0.5 * (1 + np.tanh(x / 2))"),
        "x multiplied by its own gate.",
        "The derivative of the sigmoid in terms of its value, as `sigmoid` derives it.",
        "The product rule on (2): x has the derivative 1, and σ has the derivative (3).",
        "Multiply (4) by dy, and factor out σ.",
    ),
    "swiglu": Reasons(
        Reason("The sigmoid of the gate a, between 0 and 1.", reference="0.5 * (1 + np.tanh(a / 2))"),
        "silu(a) gates b.",
        "With b constant, y is b times silu(a), whose derivative is σ (1 + a (1 - σ)).",
        "With a constant, y is linear in b with coefficient a σ.",
    ),
    "dropout": Reasons(
        "z is 0 for the dropped entries; the others are scaled up, so that the expected value stays the same.",
        "The same seed draws the same z, a constant: y is linear in x with coefficient z.",
        definitions={"z": "keep_mask(x.shape, p, seed)"},
        example=lambda d: ([d.normal(*d.shape)], {"p": 0.5, "seed": d.seed}),
    ),
}
