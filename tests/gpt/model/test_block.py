"""Block and MLP: the equations written out, and the residual stream."""

import dataclasses
import math

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import MLP, Block
from nanograd._tensor import Tensor
from nanograd.check.contract import within
from nanograd.check.numeric import finite_differences
from nanograd.op import no_grad
from nanograd.seeds import DROPOUT, seeds

CONFIG = ModelConfig(d_model=4, n_heads=2, d_ff=5)
MODERN = dataclasses.replace(CONFIG, norm="rmsnorm", norm_eps=1e-3, position="rope", mlp="gated", bias=False)
KINDS = {
    "gpt2": CONFIG,
    "modern": MODERN,
    "qk_norm, shared keys": dataclasses.replace(MODERN, qk_norm=True, n_kv_heads=1, head_dim=6),
    "gated by gelu, biases": dataclasses.replace(CONFIG, mlp="gated", activation="gelu"),
    "relu": dataclasses.replace(CONFIG, activation="relu", norm="rmsnorm"),
}
EVERY_KIND = pytest.mark.parametrize("config", KINDS.values(), ids=list(KINDS))


def small(config: ModelConfig = CONFIG) -> Block:
    """Return a block in float64 with no bias left at 0 and no gain at 1."""
    rng = np.random.default_rng(1)
    block = Block(config, rng).astype(np.float64)
    for p in block.parameters():
        p.copy_(p.data + rng.standard_normal(p.shape) * 0.5)
    return block


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape)


def test_mlp_by_hand() -> None:
    mlp = MLP(1, 2)
    weights = {"up.weight": [[1], [-1]], "up.bias": [0, 4], "down.weight": [[10, 1]], "down.bias": [3]}
    mlp.load_state_dict({name: np.array(w) for name, w in weights.items()})
    # up maps x = 1 to 1 and 3. gelu(1) = ½ (1 + tanh(0.797885 · 1.044715)) = 0.841192,
    # gelu(3) = 1.5 (1 + tanh(0.797885 · (3 + 0.044715 · 27))) = 2.996363, and 10 · 0.841192 + 2.996363 + 3 = 14.408283.
    assert mlp(Tensor([[[1.0]]])).item() == pytest.approx(14.408283, rel=1e-6)


@pytest.mark.parametrize(
    ("activation", "activated"),
    [
        ("relu", (1, 3)),
        ("silu", (0.731059, 2.857722)),  # 1 / (1 + e⁻¹), 3 / (1 + e⁻³)
        ("gelu", (0.841345, 2.995950)),  # Φ(1), 3 Φ(3)
        ("gelu_tanh", (0.841192, 2.996363)),
    ],
)
def test_an_mlp_takes_its_activation_by_name(activation: str, activated: tuple[float, float]) -> None:
    plain, gated = (
        MLP(1, 2, activation=activation, bias=False),
        MLP(1, 2, activation=activation, gated=True, bias=False),
    )
    plain.load_state_dict({"up.weight": np.array([[1], [3]]), "down.weight": np.array([[10, 1]])})
    assert plain(Tensor([[[1.0]]])).item() == pytest.approx(10 * activated[0] + activated[1], rel=1e-5)
    gated.load_state_dict(
        {"gate.weight": np.array([[1], [3]]), "up.weight": np.array([[2], [-2]]), "down.weight": np.array([[10, 1]])}
    )
    assert gated(Tensor([[[1.0]]])).item() == pytest.approx(20 * activated[0] - 2 * activated[1], rel=1e-5)


def test_a_block_normalises_before_each_half_and_adds_both() -> None:
    block, x = small(), Tensor(draw(2, 3, 4))

    def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * weight + bias

    def gelu(x: np.ndarray) -> np.ndarray:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    w = block.state_dict()
    half = x.data + block.attn(Tensor(norm(x.data, w["norm1.weight"], w["norm1.bias"]))).data
    wide = norm(half, w["norm2.weight"], w["norm2.bias"]) @ w["mlp.up.weight"].T + w["mlp.up.bias"]
    expected = half + gelu(wide) @ w["mlp.down.weight"].T + w["mlp.down.bias"]
    np.testing.assert_allclose(block(x).data, expected, rtol=1e-12)


def test_a_modern_block_written_out() -> None:
    block, x = small(MODERN), Tensor(draw(2, 3, 4))

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-3) * weight

    w = block.state_dict()
    half = x.data + block.attn(Tensor(norm(x.data, w["norm1.weight"]))).data
    h = norm(half, w["norm2.weight"])
    gate = h @ w["mlp.gate.weight"].T
    expected = half + (gate / (1 + np.exp(-gate)) * (h @ w["mlp.up.weight"].T)) @ w["mlp.down.weight"].T
    np.testing.assert_allclose(block(x).data, expected, rtol=1e-12)


@EVERY_KIND
def test_halves_that_add_nothing_leave_the_residual_stream_and_its_gradient_unchanged(config: ModelConfig) -> None:
    block = small(config)
    for name, p in block.named_parameters():
        if "out_proj" in name or "down" in name:
            p.copy_(0)
    x, dy = Tensor(draw(2, 3, 4), requires_grad=True), np.random.default_rng(5).standard_normal((2, 3, 4))
    y = block(x)
    np.testing.assert_array_equal(y.data, x.data)
    y.backward(dy)
    np.testing.assert_array_equal(x.grad, dy)


@EVERY_KIND
def test_gradients_of_the_input_and_of_all_parameters(config: ModelConfig) -> None:
    block, x, u = small(config), draw(1, 3, 4), np.random.default_rng(5).standard_normal((1, 3, 4))

    @no_grad()
    def loss() -> float:
        return float((u * block(Tensor(x)).data).sum())

    leaf = Tensor(x, requires_grad=True)
    block(leaf).backward(u)
    for name, p in [("x", leaf), *block.named_parameters()]:
        assert p.grad is not None
        assert within(p.grad, finite_differences(loss, p.data), 1e-9), name


def test_names_and_shapes() -> None:
    shapes = {
        "norm1.weight": (4,), "norm1.bias": (4,),
        "attn.w_qkv.weight": (12, 4), "attn.w_qkv.bias": (12,),
        "attn.out_proj.weight": (4, 4), "attn.out_proj.bias": (4,),
        "norm2.weight": (4,), "norm2.bias": (4,),
        "mlp.up.weight": (5, 4), "mlp.up.bias": (5,),
        "mlp.down.weight": (4, 5), "mlp.down.bias": (4,),
    }  # fmt: skip
    assert {name: p.shape for name, p in Block(CONFIG).named_parameters()} == shapes
    bare = Block(ModelConfig(d_model=4, n_heads=2, d_ff=5, bias=False))
    assert {name for name, _ in bare.named_parameters()} == {name for name in shapes if name.endswith("weight")}


def test_names_and_shapes_of_a_modern_block() -> None:
    shapes = {
        "norm1.weight": (4,), "attn.w_qkv.weight": ((2 + 1 + 1) * 6, 4), "attn.q_norm.weight": (6,),
        "attn.k_norm.weight": (6,), "attn.out_proj.weight": (4, 12), "norm2.weight": (4,),
        "mlp.gate.weight": (5, 4), "mlp.up.weight": (5, 4), "mlp.down.weight": (4, 5),
    }  # fmt: skip
    block = Block(KINDS["qk_norm, shared keys"])
    assert {name: p.shape for name, p in block.named_parameters()} == shapes


def test_a_gated_mlp_has_as_many_weights_as_a_plain_one() -> None:
    for d_model, d_ff in ((3, 8), (12, 32), (128, 344), (768, 2048)):  # 8/3 · d_model, up to a multiple of 8
        assert ModelConfig(d_model=d_model, n_heads=1, mlp="gated").d_ff == d_ff
    assert ModelConfig(mlp="gated", d_ff=7).d_ff == 7


def test_d_ff_is_four_times_d_model_unless_given() -> None:
    assert Block(ModelConfig(d_model=4, n_heads=2)).mlp.up.weight.shape == (16, 4)


def test_a_mask_reaches_the_attention() -> None:
    block, x = small(), draw(1, 3, 4)
    alone = np.eye(3, dtype=bool)  # each token attends to itself only, as if it were the whole text
    together = block(Tensor(x), alone).data[0]
    for t in range(3):
        np.testing.assert_allclose(together[t], block(Tensor(x[:, t : t + 1])).data[0, 0], rtol=1e-12)


def test_dropout_acts_on_both_halves_and_only_while_training() -> None:
    block = small(ModelConfig(d_model=4, n_heads=2, d_ff=5, dropout=0.5))
    x = Tensor(draw(8, 8, 4))
    np.testing.assert_array_equal(block.eval()(x).data, small()(x).data)
    block.train()
    with seeds(0, DROPOUT, 0):
        y = block(x).data
    # Each half adds 0 with probability ½, independently: a quarter of the entries stays unchanged.
    assert 0.14 < (y == x.data).mean() < 0.36
    with seeds(0, DROPOUT, 0):
        np.testing.assert_array_equal(block(x).data, y)


@EVERY_KIND
def test_float32_stays_float32(config: ModelConfig) -> None:
    x = Tensor(draw(2, 3, 4).astype(np.float32), requires_grad=True)
    y = Block(config)(x)
    ng.sum(y * y).backward()
    assert y.dtype == np.float32
    assert x.grad is not None
    assert x.grad.dtype == np.float32
