"""The calculus: every op as a function of arrays or Tensors, one file per family."""

from nanograd.ops.accumulate import cumsum, logsumexp, norm, prod, std
from nanograd.ops.activation import gelu, gelu_tanh, relu
from nanograd.ops.arithmetic import add, astype, div, mul, neg, sub
from nanograd.ops.arrange import flip, pad, repeat, roll, scatter, scatter_add, take_along_axis
from nanograd.ops.attention import attention
from nanograd.ops.cross_entropy import cross_entropy
from nanograd.ops.dpo import dpo
from nanograd.ops.dropout import dropout
from nanograd.ops.einsum import einsum
from nanograd.ops.embedding import embedding
from nanograd.ops.erf import erf
from nanograd.ops.extremum import abs, clip, maximum, minimum
from nanograd.ops.layernorm import layernorm
from nanograd.ops.linear import linear, matmul
from nanograd.ops.linear_cross_entropy import linear_cross_entropy
from nanograd.ops.loss import mse
from nanograd.ops.packed_attention import packed_attention
from nanograd.ops.power import exp, log, pow, reciprocal, rsqrt, sqrt, square
from nanograd.ops.reduce import max, mean, min, sum, var
from nanograd.ops.rmsnorm import rmsnorm
from nanograd.ops.rope import rope
from nanograd.ops.select import masked_fill, tril, triu, where
from nanograd.ops.shape import (
    broadcast_to,
    chunk,
    concat,
    expand_dims,
    flatten,
    getitem,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from nanograd.ops.silu import silu, swiglu
from nanograd.ops.softmax import log_softmax, softmax
from nanograd.ops.trig import cos, sigmoid, sin, tanh

cat, gather = concat, take_along_axis  # PyTorch's names

__all__ = [
    "abs", "add", "astype", "attention", "broadcast_to", "cat", "chunk", "clip", "concat", "cos", "cross_entropy",
    "cumsum", "div", "dpo", "dropout", "einsum", "embedding", "erf", "exp", "expand_dims", "flatten", "flip", "gather",
    "gelu", "gelu_tanh", "getitem", "layernorm", "linear", "linear_cross_entropy", "log", "log_softmax",
    "logsumexp", "masked_fill", "matmul", "max", "maximum", "mean", "min", "minimum", "mse", "mul", "neg", "norm",
    "packed_attention", "pad", "pow", "prod", "reciprocal", "relu", "repeat", "reshape", "rmsnorm", "roll", "rope",
    "rsqrt", "scatter", "scatter_add", "sigmoid", "silu", "sin", "softmax", "split", "sqrt", "square", "squeeze",
    "stack", "std", "sub", "sum", "swapaxes", "swiglu", "take_along_axis", "tanh", "transpose", "tril", "triu",
    "var", "where",
]  # fmt: skip
