"""Reasons of cross_entropy."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 16


def _example(d: Draw) -> Example:
    d.axes(1, "an axis, the classes")
    return [d.normal(*d.shape), d.classes(d.shape[-1], d.shape[:-1])], {}


REASONS: dict[str, Reasons] = {
    "cross_entropy": Reasons(
        lines=(
            Reason(
                "The logarithm of softmax's denominator.", reference="np.logaddexp.reduce(z, axis=-1, keepdims=True)"
            ),
            Reason(
                "ln p_k is z_k - s, so -Σ q_k ln p_k is s - Σ q_k z_k, as the q_k sum to one; λ s² pulls s towards 0.",
                reference=(
                    "-(q * np.log(p)).sum(axis=-1, keepdims=True) + λ * np.log(np.exp(z).sum(axis=-1, "
                    "keepdims=True)) ** 2"
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
        },
        example=_example,
    )
}
