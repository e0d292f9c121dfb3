"""The debugging tools are off by default, and what is left of them then costs less than a hundredth of a step."""

import time
import timeit

import numpy as np

from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd.op import CONTEXT
from nanograd.tape import Node


def test_hooks_that_nobody_uses_cost_less_than_one_percent() -> None:
    model = GPT(ModelConfig(vocab_size=65, context_length=32, d_model=64, n_layers=2, n_heads=2))
    ids = np.arange(8 * 33).reshape(8, 33) % 65
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        seconds.append(time.perf_counter() - began)
        model.zero_grad()
    loss = model.loss(ids[:, :-1], ids[:, 1:])
    seen, stack = set(), [loss.node]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in seen:
            seen.add(node)
            stack += node.parents or ()
    mode = CONTEXT.get()
    loops = 100_000
    hook = timeit.timeit("for each in mode.observers: pass", globals={"mode": mode}, number=loops) / loops
    hooks = 4 * len(seen)  # an op asks before and after its forward, and before and after its backward
    share = hook * hooks / np.median(seconds)
    assert share < 0.01, f"{hook * 1e9:.0f} ns a hook × {hooks} hooks ÷ {np.median(seconds) * 1e3:.1f} ms a step"
