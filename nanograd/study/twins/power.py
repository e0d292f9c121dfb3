"""Twins of pow, square, reciprocal, sqrt, rsqrt, exp and log."""

from nanograd.study.twins.line import Twin

TWINS: dict[str, dict[int, Twin]] = {
    "pow": {
        1: Twin(
            "y",
            "a**b",
            "a is the base and b the exponent, both arrays; the smaller is copied to the shape of the larger.",
        ),
        2: Twin(
            "dy_da",
            "np.where(b == 0, 0, b * a ** (b - 1))",
            "Bring the exponent down and lower it by one; for b = 0, y is 1 whatever a is.",
            "slope('y', 'a')",
        ),
        3: Twin(
            "dy_db",
            "y * np.log(a)",
            "exp(b ln a) is its own slope in b ln a, which grows with b by ln a.",
            "slope('y', 'b')",
        ),
        4: Twin("da", "U(dy * dy_da, a.shape)", "Weigh (2) by dy and add over the copies of each a."),
        5: Twin("db", "U(dy * dy_db, b.shape)", "Weigh (3) by dy and add over the copies of each b."),
    },
    "square": {
        1: Twin("y", "x**2", "The area of a square with side x."),
        2: Twin("dx", "2 * x * dy", "In x times x each factor has the other one as its slope, and both are x."),
    },
    "reciprocal": {
        1: Twin("y", "1 / x", "The number that x must be multiplied by to give 1."),
        2: Twin(
            "varied",
            "y * δx + x * δy",
            "The product x y stays 1, so what x gains y must lose: the product rule.",
            "np.zeros(x.shape)",
        ),
        3: Twin("dx", "-dy * y**2", "Solve (2) for δy/δx = -y/x, write y for 1/x, and weigh by dy."),
    },
    "sqrt": {
        1: Twin("y", "np.sqrt(x)", "The side of a square whose area is x."),
        2: Twin(
            "varied", "2 * y * δy", "y² is x, so both change by as much: left the slope of a square, right δx.", "δx"
        ),
        3: Twin("dx", "dy / (2 * y)", "Solve (2) for δy/δx = 1/(2 y) and weigh by dy."),
    },
    "rsqrt": {
        1: Twin("y", "1 / np.sqrt(x)", "The factor that brings numbers whose mean square is x to the mean square 1."),
        2: Twin(
            "dy_dx",
            "-0.5 * x**-1.5",
            "Bring the power -½ down and lower it by one; x^(-3/2) is y three times.",
            "slope('y', 'x')",
            ("-0.5 * y**3",),
        ),
        3: Twin("dx", "-0.5 * dy * y**3", "Weigh (2) by dy, in the form that needs only y."),
    },
    "exp": {
        1: Twin("y", "np.exp(x)", "The function that starts at 1 and grows at every point as fast as it is large."),
        2: Twin("dx", "dy * y", "exp is its own slope, and y is at hand already."),
    },
    "log": {
        1: Twin("y", "np.log(x)", "The power to which e must be raised to give x."),
        2: Twin("varied", "np.exp(y) * δy", "exp(y) is x, so both change by as much; exp is its own slope.", "δx"),
        3: Twin("dx", "dy / x", "Solve (2) for δy/δx = 1/exp(y), write x for exp(y), and weigh by dy."),
    },
}
