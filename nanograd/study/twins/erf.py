"""Twins of erf."""

from nanograd.study.twins.line import Twin

TWINS: dict[str, dict[int, Twin]] = {
    "erf": {
        1: Twin(
            "y",
            "2 / np.sqrt(np.pi) * integral(lambda t: np.exp(-t * t), x)",
            "The area under a bell curve from 0 to x, scaled so that y goes to 1 far to the right.",
        ),
        2: Twin(
            "dx",
            "dy * 2 / np.sqrt(np.pi) * np.exp(-x * x)",
            "Moving the end of an integral adds a strip as high as what is integrated there.",
        ),
    }
}
