"""Twins of linear and matmul."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "linear": {"bias": "np.zeros(len(weight)) if bias is None else bias"},
    "matmul": {  # a vector as the matrix it stands for: a row on the left, a column on the right
        "A": "a[None, :] if a.ndim == 1 else a",
        "B": "b[:, None] if b.ndim == 1 else b",
        "dY": "dy.reshape(*np.broadcast_shapes(A.shape[:-2], B.shape[:-2]), A.shape[-2], B.shape[-1])",
    },
}

TWINS: dict[str, dict[int, Twin]] = {
    "linear": {
        1: Twin(
            "y",
            "x @ weight.T + bias",
            "Row o of weight says how much each feature i counts for output o; every token t is treated alike.",
            also=("np.einsum('...i,oi->...o', x, weight) + bias",),
        ),
        2: Twin(
            "dx",
            "dy @ weight",
            "One feature moves every output o of its token, by weight_oi; weigh each by its dy and add over o.",
            also=("np.einsum('...o,oi->...i', dy, weight)",),
        ),
        3: Twin(
            "dweight",
            "rows(dy).T @ rows(x)",
            "weight_oi moves output o of every token t, by x_ti; weigh each by its dy and add over the tokens.",
            also=("np.einsum('to,ti->oi', rows(dy), rows(x))",),
        ),
        4: Twin(
            "dbias", "rows(dy).sum(axis=0)", "bias_o moves output o of every token one for one: add dy over the tokens."
        ),
    },
    "matmul": {
        1: Twin(
            "y",
            "a @ b",
            "Entry (i, m) is row i of a against column m of b, product by product.",
            also=("np.einsum('...ik,...km->...im', A, B).reshape(np.shape(a @ b))",),
        ),
        2: Twin(
            "da",
            "U(dY @ T(B), A.shape).reshape(a.shape)",
            "a_ik meets b_km for every m, so it moves the whole row i of y; weigh by dy and add over m.",
            also=("U(np.einsum('...im,...km->...ik', dY, B), A.shape).reshape(a.shape)",),
        ),
        3: Twin(
            "db",
            "U(T(A) @ dY, B.shape).reshape(b.shape)",
            "b_km meets a_ik for every i, so it moves the whole column m of y; weigh by dy and add over i.",
            also=("U(np.einsum('...ik,...im->...km', A, dY), B.shape).reshape(b.shape)",),
        ),
    },
}
