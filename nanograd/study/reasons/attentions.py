"""Reasons of attention, packed_attention and rope."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTERS = {"rope": 19, "attention": 20, "packed_attention": 21}


def _rope(d: Draw) -> Example:
    d.axes(2, "two axes, tokens and features")
    d.fits(d.shape[-1] % 2 == 0, "an even number of features, two a pair")
    return [d.normal(*d.shape)], {}


def _attention(d: Draw) -> Example:
    d.axes(2, "two axes, tokens and features")
    return [d.normal(*d.shape) for _ in range(3)], {"causal": True}


def _packed_attention(d: Draw) -> Example:
    d.axes(2, "two axes, tokens and what one matrix made of each")
    for heads, shared in ((2, 2), (2, 1), (1, 1)):  # (H + 2 K) D numbers a token
        if d.shape[-1] % (heads + 2 * shared) == 0:
            return [d.normal(*d.shape)], {"n_heads": heads, "n_kv_heads": shared, "causal": True}
    d.fits(False, "a last axis that 3 or 4 divides, to be cut into queries, keys and values")
    raise AssertionError


REASONS: dict[str, Reasons] = {
    "rope": Reasons(
        Reason(
            "The first component of the vector (a, b) rotated by θ.",
            reference="result()[..., first]",
            also=("np.real((a + 1j * b) * np.exp(1j * θ))",),
        ),
        Reason(
            "The second component of the vector (a, b) rotated by θ.",
            reference="result()[..., second]",
            also=("np.imag((a + 1j * b) * np.exp(1j * θ))",),
        ),
        Reason(
            "R_s moves to the other side of a dot product as its transpose, and R_sᵀ R_t rotates by the difference of the "
            "two angles.",
            reference="np.real(np.einsum('...si,...ti,...sti->...st', a - 1j * b, a + 1j * b, np.exp(1j * φ)))",
            code="y @ y.mT",
            name="scores",
        ),
        Reason(
            "a enters y_a with coefficient cos θ and y_b with coefficient sin θ; multiply each by its dy and add.",
            reference="gradient('x')[..., first]",
            also=("backward('x')[..., first]",),
        ),
        Reason(
            "b enters y_a with coefficient -sin θ and y_b with coefficient cos θ; multiply each by its dy and add.",
            reference="gradient('x')[..., second]",
            also=("backward('x')[..., second]",),
        ),
        definitions={
            "D": "x.shape[-1]",
            "positions": "np.arange(x.shape[-2]) if positions is None else positions",
            "rotates": "1 if rotated is None else (np.arange(x.shape[-3]) < rotated)[:, None, None]",
            "ω": "base ** (-2 * np.arange(D // 2) / D) if frequencies is None else frequencies",
            "θ": "rotates * np.asarray(positions)[..., None] * ω",
            "φ": "θ[..., None, :, :] - θ[..., :, None, :]",  # of tokens s and t: the angle from s to t
            "first": "slice(0, None, 2) if interleaved else slice(D // 2)",
            "second": "slice(1, None, 2) if interleaved else slice(D // 2, None)",
            "a": "x[..., first]",
            "b": "x[..., second]",
            "y": "join_pairs(y_a, y_b, interleaved)",
            "dy_a": "dy[..., first]",
            "dy_b": "dy[..., second]",
            "dx": "join_pairs(dx_a, dx_b, interleaved)",
        },
        example=_rope,
    ),
    "attention": Reasons(
        Reason(
            "The score of a key is its inner product with the query; a key that may not be looked at gets the score -∞.",
            reference="np.where(visible, scale * np.einsum('...td,...sd->...ts', q, k), -np.inf)",
        ),
        Reason(
            "The weights of the visible keys sum to one for each query; exp(-∞) is 0.",
            reference="np.exp(S) / np.maximum(np.exp(S).sum(axis=-1, keepdims=True), 1e-300)",
        ),
        "Each query gets the weighted sum of the values.",
        Reason(
            "The variance of a product of independent numbers with mean 0 is the product of their variances, here 1; "
            "the sum has D terms. The code goes through all vectors of entries ±1, which have mean 0 and variance 1.",
            reference="D",
            code="score_variance(D)",
            name="variance",
        ),
        Reason(
            "(3) is a matrix product, linear in v: value s enters the output of every query t with coefficient P_ts z_ts.",
            words="sum_heads({}, group)",
        ),
        "In (3) P_ts has the coefficient z_ts v_s, so its gradient is the inner product of dy_t and v_s, times z_ts.",
        "Line (5) of `softmax`, for each row.",
        "In (1) query t has the coefficient scale k_s in its score with key s; multiply by dS and sum over the keys.",
        Reason(
            "In (1) key s has the coefficient scale q_t in its score with query t; multiply by dS and sum "
            "over all queries that share it.",
            words="sum_heads({}, group)",
        ),
        Reason(
            "The sums over keys and features are exchanged; the inner one is then the output (3).",
            reference="np.einsum('...te,...te->...t', dy, y)[..., None]",
            name="row_sums",
        ),
        definitions={
            "D": "q.shape[-1]",
            "scale": "1 / np.sqrt(q.shape[-1]) if scale is None else scale",
            # query heads that share a key head
            "group": "q.shape[-3] // k.shape[-3] if q.ndim > 2 and k.shape[-3] else 1",
            "k": "repeat_heads(k, group)",
            "v": "repeat_heads(v, group)",
            "t": "np.arange(q.shape[-2])[:, None]",
            "s": "np.arange(k.shape[-2])",
            "recent": "True if window is None else s > t - window",  # with a window: whether a key lies in it
            "own": "same_segment(segments, q.ndim)",
            "visible": "((s <= t) & recent & own | np.logical_not(causal)) & (True if mask is None else mask)",
            "M": "np.where(visible, 0, -np.inf)",
            "z": "keep_mask(P.shape, dropout, seed) if dropout else np.ones(P.shape)",
            "keys": "-1",
            "features": "-1",
        },
        matrices=True,
        example=_attention,
    ),
    "packed_attention": Reasons(
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
            code="side_by_side(attention(q, k, v, mask, causal, window, segments, scale, dropout, seed))",
            name="y",
        ),
        Reason(
            "Each head's y fills its own columns, so its dy is found there; the gradients are (5) to (9) of `attention`.",
            reference="(by('q'), by('k'), by('v'))",
            code="attention_gradients(heads(dy), q, k, v, mask, causal, window, segments, scale, dropout, seed)",
            name="dq, dk, dv",
        ),
        Reason(
            "Each entry of qkv is one entry of q, k or v, so the gradients are put side by side in the same order.",
            code="np.concatenate([side_by_side(each) for each in (dq, dk, dv)], axis=-1)",
            name="dqkv",
        ),
        definitions={
            "H": "n_heads",
            "K": "n_heads if n_kv_heads is None else n_kv_heads",
            "D": "qkv.shape[-1] // (H + 2 * K)",
            "heads": "lambda a: np.swapaxes(a.reshape(*a.shape[:-1], a.shape[-1] // D, D), -3, -2)",
        },
        example=_packed_attention,
    ),
}
