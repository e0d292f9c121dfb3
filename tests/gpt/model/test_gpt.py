"""GPT: its gradient, causality, initialisation, parameter names, and dropout."""

import dataclasses
import gc
import math
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.finetune.task import freeze
from gpt.lora import add_lora
from gpt.model import GPT, Block
from nanograd._tensor import Tensor
from nanograd.check.numeric import finite_differences
from nanograd.nn import LayerNorm, RMSNorm, count_parameters
from nanograd.op import no_grad
from nanograd.ops.rope import rope_frequencies
from nanograd.optim import AdamW, clip_grad_norm
from nanograd.seeds import DROPOUT, seeds

CONFIG = ModelConfig(vocab_size=65, context_length=16, d_model=32, n_layers=2, n_heads=4)


MODERN = dataclasses.replace(CONFIG, norm="rmsnorm", position="rope", mlp="gated", bias=False)
KINDS = {
    "gpt2": CONFIG,
    "no biases": dataclasses.replace(CONFIG, bias=False),
    "modern": MODERN,
    "all that there is": dataclasses.replace(
        MODERN, n_kv_heads=2, head_dim=6, qk_norm=True, tie_embeddings=False, norm_eps=1e-3, rope_theta=50.0
    ),
    "biases as Qwen2 has them, a window, stretched": dataclasses.replace(
        MODERN, qkv_bias=True, window=4, rope_scaling="llama3", rope_factor=4.0, rope_original_context=64
    ),
    "no biases in attention": dataclasses.replace(MODERN, mlp_bias=True, rope_scaling="linear", rope_factor=2.0),
    "relu, shared keys": dataclasses.replace(CONFIG, activation="relu", n_kv_heads=1, norm="rmsnorm"),
    "gated by gelu, biases": dataclasses.replace(
        CONFIG, mlp="gated", activation="gelu", qk_norm=True, tie_embeddings=False
    ),
}
EVERY_KIND = pytest.mark.parametrize("config", KINDS.values(), ids=list(KINDS))


def gpt(config: ModelConfig = CONFIG, seed: int = 0) -> GPT:
    return GPT(config, np.random.default_rng(seed))


def draw_ids(*shape: int, vocab_size: int = 65, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, vocab_size, shape)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape)


def logits_of(model: GPT, x: Tensor) -> Tensor:
    """Return the logits of embeddings x (B, T, C), which may be a leaf."""
    for block in model.blocks:
        x = block(x)
    return ng.linear(model.norm(x), model.lm_head_weight)


def gradient(leaf: Tensor) -> np.ndarray:
    assert leaf.grad is not None
    return leaf.grad


# The gradient


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, marks=() if name in ("gpt2", "all that there is") else pytest.mark.slow, id=name)
        for name, config in KINDS.items()
    ],
)
def test_every_parameter_has_the_gradient_of_the_loss(config: ModelConfig) -> None:
    n_layers = (
        1 if config.mlp == "gated" else 2
    )  # finite differences evaluate twice per entry: more layers would take long
    small = {"vocab_size": 5, "context_length": 4, "d_model": 4, "n_layers": n_layers, "n_heads": 2, "d_ff": 3}
    fewer = {"head_dim": config.head_dim and 4, "n_kv_heads": config.n_kv_heads and 1}
    tiny = dataclasses.replace(config, **small, **fewer)
    model = gpt(tiny).astype(np.float64)
    rng = np.random.default_rng(2)
    for p in model.parameters():
        p.copy_(rng.standard_normal(p.shape) * 0.5 + (p.ndim < 2))  # not 0 and 1, where mistakes stay hidden
    ids, targets = np.array([[0, 3, 3], [1, 0, 4]]), np.array([[3, 3, 2], [0, -100, 1]])

    @no_grad()
    def loss() -> float:
        return model.loss(ids, targets).item()

    model.loss(ids, targets).backward()
    for name, p in model.named_parameters():
        numeric = finite_differences(loss, p.data)
        assert np.abs(gradient(p) - numeric).max() <= 1e-8 * np.abs(numeric).max(), name
    if model.pos_emb is not None:
        assert not gradient(model.pos_emb.weight)[3].any()  # three tokens do not use the fourth position
    assert gradient(model.lm_head_weight)[2].any()  # an id that does not occur is still a class of the output
    assert gradient(model.tok_emb.weight)[2].any() == config.tie_embeddings


def test_the_token_embedding_gets_the_gradients_of_both_its_uses() -> None:
    model = gpt().astype(np.float64)
    ids, targets = draw_ids(2, 5), draw_ids(2, 5, seed=2)
    model.loss(ids, targets).backward()
    tied = gradient(model.tok_emb.weight)
    assert model.pos_emb is not None
    below = Tensor(model.tok_emb.weight.data, requires_grad=True)
    above = Tensor(model.tok_emb.weight.data, requires_grad=True)
    x = ng.embedding(below, ids) + model.pos_emb(np.arange(5))
    for block in model.blocks:
        x = block(x)
    ng.cross_entropy(ng.linear(model.norm(x), above), targets).backward()
    assert min(np.abs(gradient(below)).max(), np.abs(gradient(above)).max()) > 1e-3
    np.testing.assert_allclose(tied, gradient(below) + gradient(above), rtol=1e-12, atol=1e-16)


def test_an_untied_head_and_embedding_split_the_gradient_of_a_tied_one() -> None:
    tied, own = gpt(MODERN), gpt(dataclasses.replace(MODERN, tie_embeddings=False))
    own.load_state_dict(tied.state_dict() | {"head.weight": tied.tok_emb.weight.data})
    assert own.head is not None
    assert own.lm_head_weight is own.head.weight
    assert tied.lm_head_weight is tied.tok_emb.weight
    ids, targets = draw_ids(2, 5), draw_ids(2, 5, seed=2)
    losses = [model.astype(np.float64).loss(ids, targets) for model in (tied, own)]
    assert losses[0].item() == losses[1].item()
    for loss in losses:
        loss.backward()
    both = gradient(own.tok_emb.weight) + gradient(own.head.weight)
    np.testing.assert_allclose(gradient(tied.tok_emb.weight), both, rtol=1e-12, atol=1e-16)
    assert min(np.abs(gradient(p)).max() for p in (own.tok_emb.weight, own.head.weight)) > 1e-3


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_the_numbers_of_the_config_reach_every_layer(norm: str) -> None:
    model = gpt(dataclasses.replace(MODERN, norm=norm, norm_eps=0.5, rope_theta=7.0, qk_norm=True))
    norms = [module for module in model.modules() if isinstance(module, (LayerNorm, RMSNorm))]
    assert [norm.eps for norm in norms] == [0.5] * (1 + 2 * 4)
    assert [isinstance(norm, LayerNorm) for norm in norms].count(True) == 5 * (norm == "layernorm")
    for block in model.blocks:
        np.testing.assert_array_equal(block.attn.rope_frequencies, rope_frequencies(MODERN.head_dim, 7.0))


# Causality


@EVERY_KIND
def test_logits_depend_on_the_token_and_all_earlier_ones_and_on_no_later_one(config: ModelConfig) -> None:
    model, T, u = gpt(config).astype(np.float64), 6, np.random.default_rng(4).standard_normal(65)
    for t in range(T):
        x = Tensor(np.random.default_rng(3).standard_normal((1, T, 32)), requires_grad=True)
        logits_of(model, x)[0, t].backward(u)
        reach = np.abs(gradient(x)[0]).max(axis=1)  # the gradient of the logits at t by the token at each t'
        assert (reach[: t + 1] > 1e-9).all()
        assert (reach[t + 1 :] == 0).all()


@EVERY_KIND
def test_changing_the_last_tokens_leaves_earlier_logits_unchanged(config: ModelConfig) -> None:
    model, ids = gpt(config), draw_ids(2, 8)
    before = model(ids).data
    ids[:, 5:] = (ids[:, 5:] + 1) % 65
    after = model(ids).data
    np.testing.assert_array_equal(after[:, :5], before[:, :5])
    assert (np.abs(after[:, 5:] - before[:, 5:]).max(axis=2) > 1e-3).all()


def test_without_mask_and_positions_a_text_is_a_bag_of_words() -> None:
    model, ids = gpt(), draw_ids(2, 8)
    order = np.random.default_rng(5).permutation(8)
    for block in model.blocks:
        block.attn.causal = False
    assert model.pos_emb is not None
    positions = model.pos_emb.weight.data.copy()
    model.pos_emb.weight.copy_(0)
    np.testing.assert_allclose(model(ids[:, order]).data, model(ids).data[:, order], rtol=0, atol=1e-6)
    model.pos_emb.weight.copy_(positions)
    assert np.abs(model(ids[:, order]).data - model(ids).data[:, order]).max() > 1e-3


def test_with_rope_the_order_matters_and_the_absolute_position_does_not() -> None:
    model, ids = gpt(MODERN).astype(np.float64), draw_ids(1, 4)
    order = [1, 0, 2, 3]
    assert np.abs(model(ids[:, order]).data[:, 3] - model(ids).data[:, 3]).max() > 1e-5
    x = model.embed(ids).data
    later = Tensor(np.concatenate([draw(1, 5, 32), x], axis=1))
    sees = np.tri(9, dtype=bool)
    sees[5:, :5] = False  # the text does not attend to the prefix
    for block in model.blocks:
        later = block(later, sees)
    np.testing.assert_allclose(model.norm(later).data[:, 5:], model.hidden_states(ids).data, rtol=1e-9, atol=1e-12)


@EVERY_KIND
def test_texts_of_a_batch_do_not_see_each_other(config: ModelConfig) -> None:
    model, ids = gpt(config).astype(np.float64), draw_ids(3, 7)
    alone = np.concatenate([model(row[None]).data for row in ids])
    np.testing.assert_allclose(model(ids).data, alone, rtol=1e-12, atol=1e-13)


# Initialisation


@EVERY_KIND
def test_the_first_loss_is_that_of_a_uniform_guess(config: ModelConfig) -> None:
    losses = [gpt(config, seed).loss(draw_ids(8, 16), draw_ids(8, 16, seed=2)).item() for seed in range(3)]
    assert losses == pytest.approx([math.log(65)] * 3, rel=0.05)  # ln 65 = 4.174


@EVERY_KIND
def test_matrices_start_at_their_standard_deviations_gains_at_one_and_biases_at_zero(config: ModelConfig) -> None:
    model = gpt(dataclasses.replace(config, vocab_size=200, context_length=100, d_model=64, n_layers=8))
    for name, p in model.named_parameters():
        if p.ndim == 1:
            np.testing.assert_array_equal(p.data, np.float32("norm" in name and name.endswith("weight")))
        else:
            residual = "out_proj" in name or "down" in name
            expected = 0.005 if residual else 0.02  # 0.02 / √(2·8)
            assert p.data.std() == pytest.approx(expected, rel=0.055), (
                name
            )  # 3072 draws or more: 4 deviations are 0.051
            assert abs(p.data.mean()) < 0.1 * expected
        assert p.dtype == np.float32


def added_variance(n_layers: int, scaled: bool) -> float:
    """Return the variance of what the blocks of a new model add to the residual stream."""
    model = gpt(dataclasses.replace(CONFIG, n_layers=n_layers))
    if not scaled:
        for block in model.blocks:
            for weight in (block.attn.out_proj.weight, block.mlp.down.weight):
                weight.copy_(weight.data * math.sqrt(2 * n_layers))
    start = x = Tensor(np.random.default_rng(6).standard_normal((4, 16, 32)).astype(np.float32) * 0.03)
    with no_grad():
        for block in model.blocks:
            x = block(x)
    return float((x.data - start.data).var())


def test_the_residual_stream_does_not_grow_with_depth() -> None:
    # Measured at 2, 8 and 32 layers, in units of 1e-4: scaled 0.97, 0.96, 1.02; unscaled 3.8, 17, 79.
    scaled = [added_variance(n, scaled=True) for n in (2, 8, 32)]
    unscaled = [added_variance(n, scaled=False) for n in (2, 8, 32)]
    assert max(scaled) < 1.5 * min(scaled)
    assert unscaled[1] > 3 * unscaled[0]
    assert unscaled[2] > 3 * unscaled[1]


def test_a_seed_still_draws_the_same_weights() -> None:
    state = gpt(ModelConfig(vocab_size=7, context_length=5, d_model=4, n_layers=2, n_heads=2)).state_dict()
    sums = {
        "tok_emb.weight": 0.442785, "pos_emb.weight": 0.227908,
        "blocks.0.attn.w_qkv.weight": 0.857291, "blocks.0.attn.out_proj.weight": 0.108801,
        "blocks.0.mlp.up.weight": 1.105931, "blocks.0.mlp.down.weight": 0.534549,
        "blocks.1.attn.w_qkv.weight": 0.667836, "blocks.1.attn.out_proj.weight": 0.126902,
        "blocks.1.mlp.up.weight": 1.024644, "blocks.1.mlp.down.weight": 0.567133,
    }  # fmt: skip  # recorded when each matrix came to be drawn once
    for name, expected in sums.items():
        assert np.abs(state[name]).sum(dtype=np.float64) == pytest.approx(expected, abs=1e-6), name


def test_the_same_generator_makes_the_same_model() -> None:
    first, again, other = gpt().state_dict(), gpt().state_dict(), gpt(seed=1).state_dict()
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["tok_emb.weight"], other["tok_emb.weight"])


# Parameter names and weight tying


def test_names_and_shapes_of_the_parameters() -> None:
    model = gpt(ModelConfig(vocab_size=7, context_length=5, d_model=4, n_layers=2, n_heads=2, d_ff=6))
    block = ["norm1", "attn.w_qkv", "attn.out_proj", "norm2", "mlp.up", "mlp.down"]
    layers = [f"blocks.{i}.{name}" for i in (0, 1) for name in block] + ["norm"]
    expected = [
        "tok_emb.weight",
        "pos_emb.weight",
        *[f"{name}.{kind}" for name in layers for kind in ("weight", "bias")],
    ]
    names = [name for name, _ in model.named_parameters()]
    assert sorted(names) == sorted(expected)  # a file format; the tied head is tok_emb.weight, stored once
    state = model.state_dict()
    assert state["tok_emb.weight"].shape == (7, 4)
    assert state["pos_emb.weight"].shape == (5, 4)
    # 7·4 + 5·4, twice 2·4·2 + 12·5 + 4·5 + 6·5 + 4·7, and 2·4: 48 + 2·154 + 8
    assert count_parameters(model.parameters()) == 364


def test_names_of_a_model_with_every_variant() -> None:
    model = gpt(dataclasses.replace(KINDS["all that there is"], n_layers=1))
    assert sorted(model.state_dict()) == [
        "blocks.0.attn.k_norm.weight",
        "blocks.0.attn.out_proj.weight",
        "blocks.0.attn.q_norm.weight",
        "blocks.0.attn.w_qkv.weight",
        "blocks.0.mlp.down.weight",
        "blocks.0.mlp.gate.weight",
        "blocks.0.mlp.up.weight",
        "blocks.0.norm1.weight",
        "blocks.0.norm2.weight",
        "head.weight",
        "norm.weight",
        "tok_emb.weight",
    ]
    assert model.state_dict()["head.weight"].shape == (65, 32)


def test_gpt2_has_124_million_parameters() -> None:
    def count(C: int) -> int:
        norms, attention, mlp = 4 * C, (3 * C * C + 3 * C) + (C * C + C), (4 * C * C + 4 * C) + (4 * C * C + C)
        return (50257 + 1024) * C + 12 * (norms + attention + mlp) + 2 * C

    narrow = gpt(ModelConfig(vocab_size=50257, context_length=1024, d_model=8, n_layers=12, n_heads=2))
    assert count_parameters(narrow.parameters()) == count(8)
    assert count(768) == 124_439_808


def test_the_gradient_norm_counts_the_tied_embedding_once() -> None:
    model = gpt()
    model.loss(draw_ids(2, 8), draw_ids(2, 8, seed=2)).backward()
    squares = [float((gradient(p).astype(np.float64) ** 2).sum()) for p in model.parameters()]
    assert len(squares) == 28
    expected = math.sqrt(sum(squares))
    assert clip_grad_norm(model.parameters(), None) == pytest.approx(expected, rel=1e-6)
    twice = [*model.parameters(), model.tok_emb.weight]
    assert clip_grad_norm(twice, None) == pytest.approx(expected, rel=1e-6)


# Inputs, dropout and memory


def test_ids_must_be_a_batch_that_fits() -> None:
    model = gpt()
    with pytest.raises(ValueError, match=r"GPT: ids must be \(batch, time\), got shape \(3,\)"):
        model(np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="GPT: 17 tokens are more than context_length=16"):
        model(np.zeros((1, 17), int))
    with pytest.raises(ValueError, match=r"embedding: ids must lie in \[0, 65\)"):
        model(np.array([[65]]))
    assert model([[1, 2]]).shape == (1, 2, 65)  # a list is enough
    assert model(np.zeros((2, 16), np.uint16)).shape == (2, 16, 65)


def test_targets_of_minus_100_do_not_count() -> None:
    model, ids = gpt().astype(np.float64), draw_ids(2, 4)
    targets = np.array([[5, -100, 7, -100], [-100, -100, -100, 9]])
    log_p = ng.log_softmax(model(ids)).data
    by_hand = -(log_p[0, 0, 5] + log_p[0, 2, 7] + log_p[1, 3, 9])
    assert model.loss(ids, targets).item() == pytest.approx(by_hand / 3, rel=1e-12)
    assert model.loss(ids, targets, reduction="sum").item() == pytest.approx(by_hand, rel=1e-12)


def test_dropout_differs_from_evaluation_and_follows_its_seed() -> None:
    model, ids = gpt(dataclasses.replace(CONFIG, dropout=0.3)), draw_ids(2, 8)
    plain = gpt()(ids).data
    np.testing.assert_array_equal(model.eval()(ids).data, plain)
    model.train()

    def drawn(*key: int) -> np.ndarray:
        with seeds(0, DROPOUT, *key):
            return model(ids).data

    first = drawn(0)
    assert np.abs(first - plain).max() > 1e-2
    np.testing.assert_array_equal(drawn(0), first)
    for other in (drawn(1), drawn(0, 1), model(ids).data):  # another step, another micro-batch, no seed
        assert not np.array_equal(other, first)
    assert not np.array_equal(model(ids).data, model(ids).data)


def test_dropout_reaches_the_embeddings() -> None:
    model = gpt(dataclasses.replace(CONFIG, n_layers=1, dropout=0.5))
    for p in (model.blocks[0].attn.out_proj.weight, model.blocks[0].mlp.down.weight):
        p.copy_(0)  # the block adds nothing, so only the dropout of the embeddings shows
    h, plain = model.hidden_states(draw_ids(1, 8)).data, model.eval().hidden_states(draw_ids(1, 8)).data
    assert np.abs(h - plain).max() > 0.1


@EVERY_KIND
def test_the_readable_pairs_give_the_same_model(config: ModelConfig) -> None:
    model, ids, targets = gpt(config), draw_ids(2, 8), draw_ids(2, 8, seed=2)
    model.loss(ids, targets).backward()
    quick = {name: gradient(p) for name, p in model.named_parameters()}
    model.zero_grad()
    with ng.readable():
        model.loss(ids, targets).backward()
    for name, p in model.named_parameters():
        assert np.abs(gradient(p) - quick[name]).max() <= 1e-5 * np.abs(gradient(p)).max(), name


@pytest.mark.parametrize("config", [CONFIG, KINDS["all that there is"]])
def test_a_step_makes_no_reference_cycles(config: ModelConfig) -> None:
    model = gpt(dataclasses.replace(config, dropout=0.1))
    optimizer = AdamW(model.named_parameters(), 1e-3)
    ids, targets = draw_ids(2, 8), draw_ids(2, 8, seed=2)

    def step(n: int) -> None:
        with seeds(0, DROPOUT, n):
            model.loss(ids, targets).backward()
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step(0)
    gc.collect()
    gc.disable()
    try:
        step(1)
        assert gc.collect() == 0  # reference counting alone freed every array
    finally:
        gc.enable()


@pytest.mark.parametrize("frozen", [False, True], ids=["whole", "adapters"])
def test_recompute_changes_no_bit_and_keeps_the_inputs_of_the_blocks(frozen: bool) -> None:
    gradients, kept = {}, {}
    for recompute in (False, True):
        model = GPT(
            ModelConfig(vocab_size=11, context_length=16, d_model=16, n_layers=3, n_heads=2, dropout=0.2),
            np.random.default_rng(0),
        )
        if frozen:
            add_lora(model, 2, 4.0, ["w_qkv"], np.random.default_rng(1))
        model.recompute = recompute
        ids = np.random.default_rng(2).integers(0, 11, (4, 17))
        with seeds(0, DROPOUT), ng.memory_report() as report:
            model.loss(ids[:, :-1], ids[:, 1:]).backward()
        gradients[recompute] = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        kept[recompute] = report.peak
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert gradients[True].keys() == gradients[False].keys()
    for name, gradient in gradients[True].items():
        np.testing.assert_array_equal(gradient, gradients[False][name], err_msg=name)
    assert kept[True] < 0.6 * kept[False]


def test_recompute_keeps_nothing_of_frozen_blocks() -> None:
    """Below the first parameter that is trained nothing is recorded, and no block is computed again."""
    model = GPT(
        ModelConfig(vocab_size=11, context_length=8, d_model=16, n_layers=3, n_heads=2), np.random.default_rng(0)
    )
    freeze(model, "all_but_last_block")
    model.recompute = True
    runs: list[int] = []
    forward = Block.forward

    def counted(self: Block, x: Tensor, mask: Any = None) -> Tensor:
        runs.append(model.blocks.index(self))
        return forward(self, x, mask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Block, "forward", counted)
        model.loss(*(np.random.default_rng(n).integers(0, 11, (2, 8)) for n in (1, 2))).backward()
    assert runs == [0, 1, 2, 2]
