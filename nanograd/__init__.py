"""A minimal reverse-mode autograd engine in NumPy, whose every backward pass is written by hand."""

from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.check.gradcheck import GradcheckError, gradcheck
from nanograd.functional import grad, hvp, jacobian, value_and_grad
from nanograd.inspect.anomaly import detect_anomaly, detect_mutation, memory_report
from nanograd.inspect.explain import explain
from nanograd.inspect.player import graph
from nanograd.inspect.profiler import profile
from nanograd.inspect.trace import trace
from nanograd.op import OPS, Op, no_grad, readable
from nanograd.ops import *  # noqa: F403 - every op is also a function of the package
from nanograd.recompute import checkpoint
from nanograd.runtime import allocator as memory

memory.set_at_import()

__all__ = [
    "OPS",
    "GradcheckError",
    "Op",
    "Tensor",
    "checkpoint",
    "detect_anomaly",
    "detect_mutation",
    "explain",
    "grad",
    "gradcheck",
    "graph",
    "hvp",
    "jacobian",
    "memory_report",
    "no_grad",
    "profile",
    "readable",
    "trace",
    "value_and_grad",
    *ops.__all__,
]
