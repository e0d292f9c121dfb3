"""A minimal reverse-mode autograd engine in NumPy, whose every backward pass is written by hand."""

from nanograd import memory, ops
from nanograd.gradcheck import GradcheckError, gradcheck
from nanograd.op import OPS, Op, no_grad, readable
from nanograd.ops import *  # noqa: F403 - every op is also a function of the package
from nanograd.tensor import Tensor

memory.set_at_import()

__all__ = ["OPS", "GradcheckError", "Op", "Tensor", "gradcheck", "no_grad", "readable", *ops.__all__]
