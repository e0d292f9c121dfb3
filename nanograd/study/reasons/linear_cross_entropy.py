"""Reasons of linear_cross_entropy."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 26


def _example(d: Draw) -> Example:
    d.axes(1, "an axis, the features")
    return [d.normal(*d.shape), d.normal(3, d.shape[-1]), d.classes(3, d.shape[:-1])], {}


REASONS: dict[str, Reasons] = {
    "linear_cross_entropy": Reasons(
        lines=(
            Reason(
                "The score of a class is the inner product of its row of weight and the token's features.",
                reference="np.einsum('...c,vc->...v', x, weight)",
            ),
            "The loss depends on x and weight only through the scores.",
            "As cross_entropy_backward derives it, without smoothing and z-loss: the probabilities minus the targets.",
            "As linear_backward derives it: a feature enters every score of its token with coefficient weight.",
            "As linear_backward derives it: a weight enters one score of every token with coefficient x; sum "
            "over the tokens.",
        ),
        definitions={
            "x": "np.atleast_2d(x)",
            "targets": "np.atleast_1d(targets)",
            "p": "softmax(z)",
            "counts": "targets[..., None] != ignore_index",
            "q": "1.0 * (targets[..., None] == np.arange(len(weight)))",
            "w": "counts / (max(counts.sum(), 1) if reduction == 'mean' else 1)",
            "cross_entropy": "lambda z, targets: cross_entropy(z, targets, ignore_index=ignore_index, reduction=reduction)",
        },
        matrices=frozenset({"x", "weight", "dz"}),
        example=_example,
    )
}
