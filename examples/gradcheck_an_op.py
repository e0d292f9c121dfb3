"""Declare an op of your own, make three mistakes in its backward, and let gradcheck describe each of them.

    python examples/gradcheck_an_op.py

The op shifts rows to mean 0: y = x - ⟨x⟩. Every y_j of a row of n entries depends on x_i, through the mean:
    ∂y_j/∂x_i = 1[i = j] - 1/n
    dx = dy - ⟨dy⟩
It takes less than a second.
"""

import numpy as np

from nanograd import GradcheckError, Op, Tensor, gradcheck
from nanograd.runtime.arguments import Parser

Parser(description=__doc__).parse()  # --help


def centre_forward(x: np.ndarray) -> tuple[np.ndarray, None]:
    """Subtract the mean of every row."""
    return x - x.mean(axis=-1, keepdims=True), None


def centre_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    """dx = dy - ⟨dy⟩"""
    return (dy - dy.mean(axis=-1, keepdims=True),)


def forgetful_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    """Forget that the mean depends on x too."""
    return (dy * 1,)


def negated_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    """Get the sign wrong."""
    return (dy.mean(axis=-1, keepdims=True) - dy,)


def in_place_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    """Write into dy, which belongs to the caller."""
    dy -= dy.mean(axis=-1, keepdims=True)
    return (dy,)


x = np.random.default_rng(0).standard_normal((2, 3))
for wrong in (forgetful_backward, negated_backward, in_place_backward):
    print(f"{wrong.__doc__}")
    try:
        gradcheck((centre_forward, wrong), x)
    except GradcheckError as error:
        print(f"{error}\n")

print("The right backward:")
print(gradcheck((centre_forward, centre_backward), x))

centre = Op(centre_forward, centre_backward)  # now it can be called with Tensors
t = Tensor(x, requires_grad=True)
(centre(t) * centre(t)).sum().backward()
print("d/dx Σ (x - ⟨x⟩)² =\n", t.grad)
