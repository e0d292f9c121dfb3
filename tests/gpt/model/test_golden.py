"""Our GPT against PyTorch's numbers in golden/gpt.npz, which golden/make_gpt.py made."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.training import learning_rate, make_optimizer
from nanograd.optim import clip_grad_norm

FOLDER = Path(__file__).parents[2] / "golden"
CONFIG = ModelConfig(vocab_size=23, context_length=10, d_model=12, n_layers=2, n_heads=3, d_ff=40)
TRAIN = TrainConfig(max_steps=20, lr=1e-2, min_lr=1e-3, warmup_steps=5)  # decay 0.1, betas 0.9 and 0.99, clip 1
PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "gpt.npz") as file:
        return dict(file)


def model_of(golden: dict[str, np.ndarray], dtype: str) -> GPT:
    weights = {name.removeprefix("weights/"): w for name, w in golden.items() if name.startswith("weights/")}
    return GPT(CONFIG).load_state_dict(weights).astype(dtype)


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference over the largest entry: some true gradients are exactly zero."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@PRECISIONS
@pytest.mark.parametrize("mode", [contextlib.nullcontext, ng.readable])
def test_the_loss_and_every_gradient_equal_pytorchs(
    golden: dict[str, np.ndarray], dtype: str, tolerance: float, mode: Callable[[], Any]
) -> None:
    model, bits = model_of(golden, dtype), dtype[-2:]
    with mode():
        loss = model.loss(golden["ids"][0], golden["targets"][0])
        loss.backward()
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(golden[f"loss/{bits}"].item(), rel=tolerance)
    errors = {}
    for name, p in model.named_parameters():
        assert p.grad is not None
        assert p.grad.dtype == dtype
        errors[name] = error(p.grad, golden[f"gradient/{name}/{bits}"])
    assert len(errors) == sum(name.startswith("weights/") for name in golden) == 28
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] <= tolerance, f"{worst}: {errors[worst]:.2g}"


@PRECISIONS
def test_the_gradient_of_a_keys_bias_is_zero(golden: dict[str, np.ndarray], dtype: str, tolerance: float) -> None:
    """It adds q·b to all scores of a query, and softmax ignores what is added to all scores.

    So PyTorch's entries and ours are rounding, and agree in nothing but being small beside the biases of q and v.
    """
    model, C = model_of(golden, dtype), CONFIG.d_model
    model.loss(golden["ids"][0], golden["targets"][0]).backward()
    for i, block in enumerate(model.blocks):
        bias = block.attn.w_qkv.bias
        assert bias is not None
        assert bias.grad is not None
        for gradient in (bias.grad, golden[f"gradient/blocks.{i}.attn.w_qkv.bias/{dtype[-2:]}"]):
            largest = np.abs(gradient).max()
            assert np.abs(gradient[C : 2 * C]).max() <= tolerance * largest
            assert np.abs(gradient[:C]).max() > 0.01 * largest  # not so for q


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_twenty_steps_of_adamw_equal_pytorchs(golden: dict[str, np.ndarray], dtype: str, tolerance: float) -> None:
    model, bits = model_of(golden, dtype), dtype[-2:]
    optimizer = make_optimizer(model, TRAIN)
    losses, norms, rates = [], [], []
    for step in range(TRAIN.max_steps):
        loss = model.loss(golden["ids"][step], golden["targets"][step])
        loss.backward()
        norms.append(clip_grad_norm(model.parameters(), TRAIN.grad_clip))
        optimizer.lr = learning_rate(step, TRAIN)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        rates.append(optimizer.lr)
    np.testing.assert_allclose(rates, golden[f"rates/{bits}"], rtol=1e-14)
    np.testing.assert_allclose(losses, golden[f"losses/{bits}"], rtol=tolerance)
    np.testing.assert_allclose(norms, golden[f"norms/{bits}"], rtol=tolerance)
    assert min(norms) < 1 < max(norms)  # some steps are clipped and some are not
    assert losses[-1] < losses[2] - 0.5  # the steps are large enough for a mistake to show


def test_the_golden_numbers_are_what_they_claim_to_be(golden: dict[str, np.ndarray]) -> None:
    assert (FOLDER / "gpt.npz").stat().st_size < 300_000
    counts = (golden["targets"] != -100).sum(axis=(1, 2))
    assert len(set(counts.tolist())) > 3  # the number of ignored targets varies
    assert counts.max() <= 24
    assert math.isclose(golden["loss/32"], golden["loss/64"], rel_tol=1e-6)
    assert golden["loss/32"].dtype == np.float32


@pytest.mark.slow
def test_pytorch_still_makes_the_same_numbers(
    golden: dict[str, np.ndarray], make_again: Callable[[str], dict[str, np.ndarray]]
) -> None:
    made = make_again("make_gpt")
    assert made.keys() == golden.keys()
    for name, stored in golden.items():
        assert made[name].dtype == stored.dtype
        if name.startswith(("ids", "targets", "weights/")):
            np.testing.assert_array_equal(made[name], stored, err_msg=name)
        else:
            assert error(made[name], stored) <= (1e-4 if name.endswith("/32") else 1e-9), name
