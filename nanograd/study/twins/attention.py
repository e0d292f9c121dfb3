"""Twins of attention."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "attention": {
        "scale": "1 / np.sqrt(q.shape[-1]) if scale is None else scale",
        "group": "q.shape[-3] // k.shape[-3] if q.ndim > 2 and k.shape[-3] else 1",  # query heads a key head
        "K": "share(k, group)",
        "V": "share(v, group)",
        "t": "np.arange(q.shape[-2])[:, None]",
        "s": "np.arange(k.shape[-2])",
        "looks": "((s <= t) | np.logical_not(causal)) & (True if mask is None else mask)",
        "z": "keep_mask(P.shape, dropout, seed, P.dtype) if dropout else np.ones(P.shape)",
    }
}

TWINS: dict[str, dict[int, Twin]] = {
    "attention": {
        1: Twin(
            "S",
            "np.where(looks, scale * q @ T(K), -np.inf)",
            "How well query and key agree is their inner product; scale keeps its spread near 1 whatever D is.",
            "np.where(looks, scale * np.einsum('...td,...sd->...ts', q, K), -np.inf)",
        ),
        2: Twin(
            "P",
            "softmax(S)",
            "A query shares one whole among the keys it may look at; exp(-∞) is 0.",
            "np.exp(S) / np.maximum(np.exp(S).sum(axis=-1, keepdims=True), 1e-300)",
        ),
        3: Twin("y", "(P * z) @ V", "Each query takes that share of every value."),
        4: Twin(
            "dv",
            "add_over(T(P * z) @ dy, group)",
            "(3) is a product of matrices, linear in v: value s moves every query t by its share P_ts z_ts.",
        ),
        5: Twin(
            "dP",
            "(dy @ T(V)) * z",
            "In (3) the share P_ts moves y_t along value s, if dropout did not silence it: dy_t against v_s, times z.",
        ),
        6: Twin(
            "dS",
            "P * (dP - (P * dP).sum(axis=-1, keepdims=True))",
            "The backward of softmax, row by row, as softmax_backward derives it.",
        ),
        7: Twin(
            "dq",
            "scale * dS @ K",
            "In (1) query t meets key s with slope scale k_s; weigh by dS and add over the keys.",
        ),
        8: Twin(
            "dk",
            "add_over(scale * T(dS) @ q, group)",
            "In (1) key s meets query t with slope scale q_t; weigh by dS and add over all queries that share it.",
        ),
    }
}
