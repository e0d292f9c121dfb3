"""Twins of embedding."""

from nanograd.study.twins.line import Twin

GIVEN = {"embedding": {"v": "np.arange(len(weight))[:, None]", "C": "weight.shape[1]"}}

TWINS: dict[str, dict[int, Twin]] = {
    "embedding": {
        1: Twin("y", "weight[ids]", "Every token gets a copy of its id's row."),
        2: Twin(
            "dweight",
            "(np.ravel(ids) == v) @ dy.reshape(ids.size, C)",
            "Row v moves the y of every token whose id is v, one for one: add the dy of these tokens.",
        ),
    }
}
