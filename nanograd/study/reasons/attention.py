"""Reasons of attention."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 24


def _example(d: Draw) -> Example:
    d.axes(2, "two axes, tokens and features")
    return [d.normal(*d.shape) for _ in range(3)], {"causal": True}


REASONS: dict[str, Reasons] = {
    "attention": Reasons(
        lines=(
            Reason(
                "The score of a key is its inner product with the query; scale keeps its standard deviation near "
                "1 for every D.",
                reference="np.where(visible, scale * np.einsum('...td,...sd->...ts', q, k), -np.inf)",
                words="np.where(visible, {}, -np.inf)",
            ),
            Reason(
                "The weights of the visible keys sum to one for each query; exp(-∞) is 0.",
                reference="np.exp(S) / np.maximum(np.exp(S).sum(axis=-1, keepdims=True), 1e-300)",
            ),
            "Each query gets the weighted sum of the values.",
            Reason(
                "(3) is a matrix product, linear in v: value s enters the output of every query t with "
                "coefficient P_ts z_ts.",
                words="add_over({}, group)",
            ),
            "In (3) P_ts has the coefficient z_ts v_s, so its gradient is the inner product of dy_t and v_s, "
            "times z_ts.",
            "The backward of softmax for each row, as softmax_backward derives it.",
            "In (1) query t has the coefficient scale k_s in its score with key s; multiply by dS and sum over "
            "the keys.",
            Reason(
                "In (1) key s has the coefficient scale q_t in its score with query t; multiply by dS and sum "
                "over all queries that share it.",
                words="add_over({}, group)",
            ),
        ),
        definitions={
            "scale": "1 / np.sqrt(q.shape[-1]) if scale is None else scale",
            # query heads that share a key head
            "group": "q.shape[-3] // shape_of('k')[-3] if q.ndim > 2 and shape_of('k')[-3] else 1",
            "k": "share(k, group)",
            "v": "share(v, group)",
            "t": "np.arange(q.shape[-2])[:, None]",
            "s": "np.arange(k.shape[-2])",
            "visible": "((s <= t) | np.logical_not(causal)) & (True if mask is None else mask)",
            "z": "keep_mask(P.shape, dropout, seed, P.dtype) if dropout else np.ones(P.shape)",
            "keys": "-1",
        },
        matrices=frozenset({"q", "k", "v", "dy", "P", "dS"}),
        example=_example,
    )
}
