"""Reasons of packed_attention."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 25


def _example(d: Draw) -> Example:
    d.axes(2, "two axes, tokens and what one matrix made of each")
    for heads, shared in ((2, 2), (2, 1), (1, 1)):  # (H + 2 K) D numbers a token
        if d.shape[-1] % (heads + 2 * shared) == 0:
            return [d.normal(*d.shape)], {"n_heads": heads, "n_kv_heads": shared, "causal": True}
    d.fits(False, "a last axis that 3 or 4 divides, to be cut into queries, keys and values")
    raise AssertionError


REASONS: dict[str, Reasons] = {
    "packed_attention": Reasons(
        lines=(
            Reason(
                "One matrix product computed q, k and v side by side: split it, and divide each into heads of size D.",
                reference=(
                    "tuple(np.moveaxis(qkv, -1, 0).reshape(H + 2 * K, D, "
                    "*qkv.shape[:-1])[part].transpose(*range(2, qkv.ndim), 0, qkv.ndim, 1) for part in "
                    "(slice(H), slice(H, H + K), slice(H + K, None)))"
                ),
                code="tuple(heads(part) for part in np.split(qkv, [H * D, (H + K) * D], axis=-1))",
                name="q, k, v",
            ),
            Reason(
                "Every head attends by itself and fills its own D columns.",
                code="side_by_side(attention(q, k, v, mask, causal=causal, scale=scale, dropout=dropout, seed=seed))",
                name="y",
            ),
            Reason(
                "Each head's y fills its own columns, so its dy is found there; the rest is attention_backward.",
                reference="(by('q'), by('k'), by('v'))",
                code=(
                    "attention_gradients(heads(dy), q, k, v, mask, causal=causal, scale=scale, dropout=dropout, "
                    "seed=seed)"
                ),
                name="dq, dk, dv",
            ),
            Reason(
                "Each entry of qkv is one entry of q, k or v, so the gradients are put side by side in the same order.",
                code="np.concatenate([side_by_side(each) for each in (dq, dk, dv)], axis=-1)",
                name="dqkv",
            ),
        ),
        definitions={
            "H": "n_heads",
            "K": "n_heads if n_kv_heads is None else n_kv_heads",
            "D": "qkv.shape[-1] // (H + 2 * K)",
            "heads": "lambda a: np.swapaxes(a.reshape(*a.shape[:-1], a.shape[-1] // D, D), -3, -2)",
        },
        example=_example,
    )
}
