"""Names that PyTorch has and nanograd has not: the error says what to write instead."""

import re
from typing import Any

import pytest

import nanograd as ng
from nanograd import nn, optim
from nanograd.runtime.pytorch_names import INSTEAD

X, MODEL = ng.ones(2, 3), nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("owner", "name", "message"),
    [
        (nn, "ModuleList", "module 'nanograd.nn' has no attribute 'ModuleList'; a plain list, tuple or dict works"),
        (nn, "ReLU", "use the function nanograd.relu; Sequential takes functions too"),
        (nn, "functional", "its functions are in nanograd"),
        (optim, "Adam", "module 'nanograd.optim' has no attribute 'Adam'; use AdamW"),
        (optim, "lr_scheduler", "assign optimizer.lr before each step"),
        (
            ng,
            "manual_seed",
            "module 'nanograd' has no attribute 'manual_seed'; there is no global generator: pass rng=0",
        ),
        (ng, "float32", "name a dtype as NumPy does: 'float32'"),
        (ng, "eye", r"use NumPy: nanograd.tensor\(numpy.eye\(…\)\)"),
        (X, "to", "'Tensor' object has no attribute 'to'; there is one device, the CPU"),
        (X, "numel", "use .size"),
        (MODEL, "cuda", "'Linear' object has no attribute 'cuda'; there is one device, the CPU"),
        (MODEL, "apply", r"loop over model.modules\(\)"),
    ],
)
def test_the_error_says_what_to_write(owner: Any, name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(owner, name)


@pytest.mark.parametrize("owner", [ng, nn, optim, X, MODEL])
def test_another_unknown_name_has_no_hint(owner: Any) -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'no_such_name'$"):
        owner.no_such_name  # noqa: B018
    assert not hasattr(owner, "no_such_name")


def test_every_name_is_missing_somewhere_and_every_hint_names_what_exists() -> None:
    assert not [name for name in INSTEAD if all(hasattr(owner, name) for owner in (ng, nn, optim, X, MODEL))]
    named = {name for hint in INSTEAD.values() for name in re.findall(r"nanograd\.(\w+)", hint)}
    assert not [name for name in named if not hasattr(ng, name)]
    methods = {name for hint in INSTEAD.values() for name in re.findall(r"(?<![\w.])\.(\w+)", hint)}
    assert not [name for name in methods if not hasattr(X, name)]
