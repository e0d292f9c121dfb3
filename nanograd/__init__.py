"""A minimal reverse-mode autograd engine in NumPy, whose every backward pass is written by hand.

Read op, tape, methods and _tensor first, then ops/ (a file per family of ops), then nn and optim. runtime/ lies below
them, parallel/ uses them, and check/, inspect/ and study/ stand on them.
"""

import importlib
from typing import TYPE_CHECKING, Any

from nanograd import ops
from nanograd._tensor import Tensor, arange, full, ones, rand, randn, tensor, zeros
from nanograd.functional import grad, hvp, jacobian, value_and_grad
from nanograd.op import OPS, Op, no_grad, readable
from nanograd.ops import *  # noqa: F403 - every op is also a function of the package
from nanograd.recompute import checkpoint
from nanograd.runtime import allocator
from nanograd.runtime.pytorch_names import missing_name

if TYPE_CHECKING:
    from nanograd import nn as nn
    from nanograd import optim as optim
    from nanograd.check.gradcheck import GradcheckError as GradcheckError
    from nanograd.check.gradcheck import gradcheck as gradcheck
    from nanograd.inspect.anomaly import detect_anomaly as detect_anomaly
    from nanograd.inspect.anomaly import detect_mutation as detect_mutation
    from nanograd.inspect.explain import explain as explain
    from nanograd.inspect.player import graph as graph
    from nanograd.inspect.profiler import memory_report as memory_report
    from nanograd.inspect.profiler import profile as profile
    from nanograd.inspect.trace import trace as trace
    from nanograd.nn import Dropout as Dropout
    from nanograd.nn import Embedding as Embedding
    from nanograd.nn import LayerNorm as LayerNorm
    from nanograd.nn import Linear as Linear
    from nanograd.nn import Module as Module
    from nanograd.nn import Parameter as Parameter
    from nanograd.nn import RMSNorm as RMSNorm
    from nanograd.nn import Sequential as Sequential
    from nanograd.optim import SGD as SGD
    from nanograd.optim import AdamW as AdamW
    from nanograd.optim import Muon as Muon
    from nanograd.optim import clip_grad_norm as clip_grad_norm
    from nanograd.study.page import study_page as study_page

__version__ = "0.1.0"

allocator.configure_from_environment()

# Loaded at first use, so that `import nanograd` is fast: the module of each name, "" for a module itself.
_LAZY = {
    "AdamW": "optim",
    "Dropout": "nn",
    "Embedding": "nn",
    "GradcheckError": "check.gradcheck",
    "LayerNorm": "nn",
    "Linear": "nn",
    "Module": "nn",
    "Muon": "optim",
    "Parameter": "nn",
    "RMSNorm": "nn",
    "SGD": "optim",
    "Sequential": "nn",
    "clip_grad_norm": "optim",
    "detect_anomaly": "inspect.anomaly",
    "detect_mutation": "inspect.anomaly",
    "explain": "inspect.explain",
    "gradcheck": "check.gradcheck",
    "graph": "inspect.player",
    "memory_report": "inspect.profiler",
    "nn": "",
    "optim": "",
    "profile": "inspect.profiler",
    "study_page": "study.page",
    "trace": "inspect.trace",
}

__all__ = [
    "OPS",
    "Op",
    "Tensor",
    "arange",
    "checkpoint",
    "full",
    "grad",
    "hvp",
    "jacobian",
    "no_grad",
    "ones",
    "ops",
    "rand",
    "randn",
    "readable",
    "tensor",
    "value_and_grad",
    "zeros",
    *_LAZY,
    *ops.__all__,
]


if not TYPE_CHECKING:  # a type checker reports unknown names

    def __getattr__(name: str) -> Any:
        """Load a name of _LAZY (PEP 562)."""
        if name not in _LAZY:
            raise missing_name(f"module {__name__!r}", name)
        value = importlib.import_module(f"{__name__}.{_LAZY[name] or name}")
        if _LAZY[name]:
            value = getattr(value, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
