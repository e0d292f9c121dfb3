"""Twins of packed_attention."""

from nanograd.study.twins.line import Twin

_OPTIONS = "mask, causal=causal, scale=scale, dropout=dropout, seed=seed"
GIVEN = {
    "packed_attention": {
        "H": "n_heads",
        "K": "n_heads if n_kv_heads is None else n_kv_heads",
        "D": "qkv.shape[-1] // (H + 2 * K)",
        "heads": "lambda a: np.swapaxes(a.reshape(*a.shape[:-1], a.shape[-1] // D, D), -3, -2)",
    }
}

TWINS: dict[str, dict[int, Twin]] = {
    "packed_attention": {
        1: Twin(
            "q, k, v",
            "tuple(heads(part) for part in np.split(qkv, [H * D, (H + K) * D], axis=-1))",
            "One matrix made all three, so they lie in one row: cut it twice, and each part into heads of D.",
            "tuple(np.moveaxis(qkv, -1, 0).reshape(H + 2 * K, D, *qkv.shape[:-1])[part].transpose("
            "*range(2, qkv.ndim), 0, qkv.ndim, 1) for part in (slice(H), slice(H, H + K), slice(H + K, None)))",
        ),
        2: Twin(
            "y",
            f"side_by_side(attention(q, k, v, {_OPTIONS}))",
            "Every head attends by itself, and writes into its own D columns.",
        ),
        3: Twin(
            "dq, dk, dv",
            f"attention_gradients(heads(dy), q, k, v, {_OPTIONS})",
            "Each head's y stands in its own columns of y, so its dy stands there too; the rest is attention_backward.",
            "(by('q'), by('k'), by('v'))",
        ),
        4: Twin(
            "dqkv",
            "np.concatenate([side_by_side(each) for each in (dq, dk, dv)], axis=-1)",
            "Each entry of qkv is one entry of q, k or v, so its gradient is laid back where it was read.",
        ),
    }
}
