"""Declare an op of your own, get its backward wrong, and let gradcheck find it.

python examples/gradcheck_an_op.py
"""

import numpy as np

from nanograd import GradcheckError, Op, Tensor, gradcheck


def softplus_forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y = ln(1 + exp(x)), a smooth relu."""
    return np.logaddexp(0, x), x


def softplus_backward(dy: np.ndarray, saved: np.ndarray) -> tuple[np.ndarray]:
    """dy/dx = exp(x) / (1 + exp(x)) = 1 / (1 + exp(-x))."""
    x = saved
    return (dy / (1 + np.exp(-x)),)


softplus = Op(softplus_forward, softplus_backward)
x = np.random.default_rng(0).standard_normal((2, 3))
gradcheck(softplus, x)
print("softplus: the backward is the slope of the forward")

t = Tensor(x, requires_grad=True)
softplus(t).sum().backward()
print("and it trains like any other op: dx =\n", t.grad)


def softplus_backward(dy: np.ndarray, saved: np.ndarray) -> tuple[np.ndarray]:  # type: ignore[no-redef]
    """Forget the minus: 1 / (1 + exp(x)) is the slope of softplus(-x), up to its sign."""
    x = saved
    return (dy / (1 + np.exp(x)),)


try:
    gradcheck(Op(softplus_forward, softplus_backward), x)
except GradcheckError as error:
    print("\nwith a sign wrong, gradcheck says:\n ", error)
