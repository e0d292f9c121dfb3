"""One head of causal attention, forward and backward written out by hand and compared with the engine.

    python examples/backward_by_hand.py

It takes less than a second. Three tokens with two features; every number can be checked with a pencil. Letters and
equation numbers are those of `attention_backward` in nanograd/ops/attention.py.
"""

import math

import numpy as np

from nanograd import Tensor, ops
from nanograd.runtime.arguments import Parser

Parser(description=__doc__).parse()  # --help
np.set_printoptions(precision=4, suppress=True)

q = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # the queries, one row per token
k = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # the keys
v = np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]])  # the values
dy = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])  # the gradient of the loss with respect to y

# Forward
scale = 1 / math.sqrt(2)
S = scale * q @ k.T
S[np.triu_indices(3, 1)] = -np.inf  # (1) causal mask
P = np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)  # (2)
y = P @ v  # (3)

# Backward
dv = P.T @ dy  # (4) every query adds its dy, times its attention probability
dP = dy @ v.T  # (5)
dS = P * (dP - (P * dP).sum(axis=1, keepdims=True))  # (6)
dq = scale * dS @ k  # (7)
dk = scale * dS.T @ q  # (8)

for name, value in {"S": S, "P": P, "y": y, "dv": dv, "dP": dP, "dS": dS, "dq": dq, "dk": dk}.items():
    print(f"{name} =\n{value}\n")
print("The first row of dS is zero: token 0 attends only to itself, so P is 1 there for any score.")
print("The rows of dS sum to", dS.sum(axis=1), "\n")

# The engine
Q, K, V = (Tensor(a, requires_grad=True) for a in (q, k, v))
ops.attention(Q, K, V, causal=True).backward(dy)
for name, by_hand, tensor in (("dq", dq, Q), ("dk", dk, K), ("dv", dv, V)):
    assert tensor.grad is not None
    error = np.abs(by_hand - tensor.grad).max()
    print(f"{name}: by hand and engine differ by at most {error:.1e}")
    assert error < 1e-12
