"""The calculus: every op as a function of arrays or Tensors, one file per family."""

from nanograd.ops.activation import gelu, gelu_tanh, relu
from nanograd.ops.arithmetic import add, astype, div, mul, neg, sub
from nanograd.ops.attention import attention
from nanograd.ops.cross_entropy import cross_entropy
from nanograd.ops.dropout import dropout
from nanograd.ops.embedding import embedding
from nanograd.ops.erf import erf
from nanograd.ops.layernorm import layernorm
from nanograd.ops.linear import linear, matmul
from nanograd.ops.power import exp, log, pow, reciprocal, rsqrt, sqrt, square
from nanograd.ops.reduce import max, mean, min, sum, var
from nanograd.ops.select import masked_fill, tril, triu, where
from nanograd.ops.shape import (
    broadcast_to,
    concat,
    expand_dims,
    getitem,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from nanograd.ops.softmax import log_softmax, softmax
from nanograd.ops.trig import cos, sigmoid, sin, tanh

__all__ = [
    "add", "astype", "attention", "broadcast_to", "concat", "cos", "cross_entropy", "div", "dropout", "embedding",
    "erf", "exp", "expand_dims", "gelu", "gelu_tanh", "getitem", "layernorm", "linear", "log", "log_softmax", "masked_fill",
    "matmul", "max", "mean", "min", "mul", "neg", "pow", "reciprocal", "relu", "reshape", "rsqrt", "sigmoid", "sin",
    "softmax", "split", "sqrt", "square", "squeeze", "stack", "sub", "sum", "swapaxes", "tanh", "transpose", "tril",
    "triu", "var", "where",
]  # fmt: skip
