"""Reasons of losses: cross_entropy, linear_cross_entropy, dpo and mse."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTERS = {"loss": 15, "linear_cross_entropy": 22}


def _targets(d: Draw) -> Example:
    d.axes(1, "an axis, the classes")
    return [d.normal(*d.shape), d.classes(d.shape[-1], d.shape[:-1])], {}


def _linear_cross_entropy(d: Draw) -> Example:
    d.axes(1, "an axis, the features")
    return [d.normal(*d.shape), d.normal(3, d.shape[-1]), d.classes(3, d.shape[:-1])], {}


REASONS: dict[str, Reasons] = {
    "cross_entropy": Reasons(
        Reason("The logarithm of softmax's denominator.", reference="np.logaddexp.reduce(z, axis=-1, keepdims=True)"),
        Reason(
            "ln p_k is z_k - s, so -Σ q_k ln p_k is s - Σ q_k z_k, as the q_k sum to one; λ s² pulls s towards 0.",
            reference=(
                "-(q * np.log(p)).sum(axis=-1, keepdims=True) + λ * np.log(np.exp(z).sum(axis=-1, keepdims=True)) ** 2"
            ),
        ),
        "The mean over the targets that count, so that the loss does not grow with their number.",
        "The derivative of ln is one over the sum, and that of the sum by z_k is exp(z_k).",
        "s has the derivative (4), λ s² has 2 λ s times (4), and the sum over k has q_k.",
        Reason(
            "In (3) each l has the coefficient w; multiply (5) by w and by dy.",
            reference="gradient('logits').reshape(z.shape)",
            also=("backward('logits').reshape(z.shape)", "by('z')"),
        ),
        definitions={
            "V": "logits.shape[-1]",  # rows are targets, columns classes
            "rows_t": "targets.reshape(-1, 1)",
            "counts": "rows_t != ignore_index",
            "z": "np.where(counts, logits.reshape(targets.size, V), 0)",
            "t": "np.where(counts, rows_t, 0)",
            "ε": "label_smoothing",
            "λ": "z_loss",
            "q": "(1 - ε) * (np.arange(V) == t) + ε / V",
            "N": "max(counts.sum(), 1) if reduction == 'mean' else 1",
            "total": "lambda a: np.reshape(counts * a, targets.shape) if reduction == 'none' else np.sum(counts * a)",
            "w": "counts / N",
            "dy": "np.reshape(dy, (-1, 1))",
            "dlogits": "dz.reshape(logits.shape)",
        },
        example=_targets,
    ),
    "mse": Reasons(
        Reason("The error of each entry, with its sign.", reference="-(target - x)"),
        "Squares weight positive and negative errors alike, and large errors more.",
        "The derivative of e² is 2 e, that of e by x is 1, and each square is divided by n.",
        "In (1) target has the coefficient -1.",
        definitions={
            "n": "max(e.size, 1) if reduction == 'mean' else 1",
            "total": "lambda a: a if reduction == 'none' else np.sum(a)",  # Σ under this reduction
        },
    ),
    "dpo": Reasons(
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
        "The first term of (2) has the coefficient 1 - ε and the derivative -(1 - p), the second ε and p.",
        "Multiply (5) by dy and divide by n.",
        "In (1) chosen has the coefficient β.",
        "In (1) rejected has the opposite sign.",
        "In (1) the reference is subtracted from the policy.",
        "In (1) it is subtracted twice, so it has the sign of chosen.",
        definitions={
            "β": "beta",
            "ε": "label_smoothing",
            "n": "max(chosen.size, 1) if reduction == 'mean' else 1",
            "total": "lambda a: a if reduction == 'none' else np.sum(a)",  # Σ under this reduction
        },
        example=lambda d: ([d.normal(*d.shape) for _ in range(4)], {"beta": 0.5}),
    ),
    "linear_cross_entropy": Reasons(
        Reason(
            "The score of a class is the inner product of its row of weight and the token's features.",
            reference="np.einsum('...c,vc->...v', x, weight)",
        ),
        "The loss depends on x and weight only through the scores.",
        "As `cross_entropy` derives it, without smoothing and z-loss: the probabilities minus the targets.",
        "As `linear` derives it: a feature enters every score of its token with coefficient weight.",
        "As `linear` derives it: a weight enters one score of every token with coefficient x; sum over the tokens.",
        definitions={
            "x": "np.atleast_2d(x)",
            "targets": "np.atleast_1d(targets)",
            "p": "softmax(z)",
            "counts": "targets[..., None] != ignore_index",
            "q": "1.0 * (targets[..., None] == np.arange(len(weight)))",
            "w": "counts / (max(counts.sum(), 1) if reduction == 'mean' else 1)",
            "cross_entropy": "lambda z, targets: negative_log_likelihood(z, targets, ignore_index, reduction)",
        },
        matrices=True,
        numbers={"dy"},
        example=_linear_cross_entropy,
    ),
}
