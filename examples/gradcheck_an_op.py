"""Declare an op of your own, get its backward wrong in three ways, and let gradcheck say what is wrong each time.

    python examples/gradcheck_an_op.py

The op normalises rows to mean 0: y = x - ⟨x⟩. Each x_i moves its own y_i, and by the mean all n entries of its row:
    dy_j/dx_i = 1[i = j] - 1/n
    dx = dy - ⟨dy⟩
"""

import numpy as np

from nanograd import GradcheckError, Op, Tensor, gradcheck


def centre_forward(x: np.ndarray) -> tuple[np.ndarray, None]:
    """Take away the mean of each row."""
    return x - x.mean(axis=-1, keepdims=True), None


def centre_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    """dx = dy - ⟨dy⟩"""
    return (dy - dy.mean(axis=-1, keepdims=True),)


def forgotten_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    """Forget that the mean moves too."""
    return (dy * 1,)


def turned_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    """Get the sign wrong."""
    return (dy.mean(axis=-1, keepdims=True) - dy,)


def summed_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    """Write into dy, which is not ours."""
    dy -= dy.mean(axis=-1, keepdims=True)
    return (dy,)


x = np.random.default_rng(0).standard_normal((2, 3))
for wrong in (forgotten_backward, turned_backward, summed_backward):
    print(f"{wrong.__doc__}")
    try:
        gradcheck((centre_forward, wrong), x)
    except GradcheckError as error:
        print(f"{error}\n")

print("And as it should be:")
print(gradcheck((centre_forward, centre_backward), x))

centre = Op(centre_forward, centre_backward)  # from now on it is an op like any other
t = Tensor(x, requires_grad=True)
(centre(t) * centre(t)).sum().backward()
print("d/dx Σ (x - ⟨x⟩)² =\n", t.grad)
