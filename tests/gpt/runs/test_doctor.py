"""The checks of the doctor: each fault is planted, and the check reports it."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig, TrainConfig, known_fields
from gpt.generation.decoder import Decoder
from gpt.generation.kv_cache import KVCache
from gpt.model import GPT
from gpt.runs import doctor
from gpt.runs.doctor import Finding
from gpt.runs.presets import RECIPE, with_presets
from gpt.training import make_optimizer
from nanograd import ops
from nanograd.nn import Parameter
from nanograd.optim import AdamW

CONFIG = ModelConfig(vocab_size=65, context_length=16, d_model=32, n_layers=3, n_heads=4)
IDS, TARGETS = np.random.default_rng(1).integers(0, 65, (2, 4, 16))
Patch = pytest.MonkeyPatch


def gpt(config: ModelConfig = CONFIG) -> GPT:
    return GPT(config, np.random.default_rng(0)).eval()


def update(lr: float, model: GPT | None = None, **training: Any) -> Finding:
    """Measure an update after nine batches that fill the optimizer's averages."""
    model = model or gpt()
    batches = np.random.default_rng(3).integers(0, 65, (10, 2, 4, 16))
    with np.errstate(all="ignore"):
        return doctor.update_ratios(
            model, make_optimizer(model, TrainConfig(**training)), [(a, b) for a, b in batches], lr
        )


# A healthy model


MODERN = dataclasses.replace(
    CONFIG, norm="rmsnorm", position="rope", mlp="gated", bias=False, n_kv_heads=1, qk_norm=True, tie_embeddings=False
)


@pytest.mark.parametrize("config", [CONFIG, MODERN])
def test_a_healthy_model_is_ok(config: ModelConfig) -> None:
    model = gpt(config)
    before = {name: a.copy() for name, a in model.state_dict().items()}
    findings = [
        doctor.finite(model, IDS, TARGETS),
        doctor.initial_loss(model, IDS, TARGETS),
        doctor.init_scale(model),
        doctor.tied_weights(model),
        doctor.causality(model, IDS),
        doctor.independence(model, IDS),
        doctor.cached_generation(model, IDS[:2]),
        doctor.gradient_norms(model, IDS, TARGETS),
        doctor.dead_units(model, IDS),
        doctor.overfit(model, IDS, TARGETS),
    ]
    for name, p in model.named_parameters():  # these leave nothing behind
        assert p.grad is None
        np.testing.assert_array_equal(p.data, before[name])
        assert not p.is_bound
        assert p.grad_buffer is None
    findings.append(update(2e-3, model))
    assert [finding.verdict for finding in findings] == ["ok"] * 11, findings
    assert len({finding.check for finding in findings}) == 11


@pytest.mark.parametrize(
    "shape",
    [
        {"vocab_size": 2, "context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 1},
        {"vocab_size": 1, "context_length": 1, "d_model": 4, "n_layers": 1, "n_heads": 1},
        {"bias": False, "d_ff": 24, "dropout": 0.5},
    ],
)
def test_unusual_shapes_are_ok(shape: dict[str, Any]) -> None:
    config = ModelConfig(**{**CONFIG.to_dict(), **shape})
    ids = np.random.default_rng(2).integers(0, config.vocab_size, (2, config.context_length))
    targets = np.roll(ids, -1, axis=1)
    model = gpt(config)
    findings = [doctor.initial_loss(model, ids, targets), doctor.init_scale(model), doctor.tied_weights(model)]
    findings += [
        doctor.causality(model, ids),
        doctor.independence(model, ids),
        doctor.cached_generation(model, ids[:2]),
    ]
    assert [finding.verdict for finding in findings] == ["ok"] * 6, findings


# Numbers that are not finite


def test_a_nan_weight_is_named() -> None:
    model = gpt()
    model.blocks[1].mlp.up.weight.data[3, 5] = np.nan
    finding = doctor.finite(model, IDS, TARGETS)
    assert (finding.verdict, finding.number) == ("bad", "blocks.1.mlp.up.weight[3, 5] = nan")
    assert finding.meaning.startswith("an update damaged 1 of 4,096 numbers")


def test_an_infinite_average_of_the_optimizer_is_named() -> None:
    finding = doctor.finite(gpt(), IDS, TARGETS, {"adamw.v.norm.bias": np.array([0.0, np.inf])})
    assert (finding.verdict, finding.number) == ("bad", "adamw.v.norm.bias[1] = inf")


def test_the_op_at_which_numbers_overflow_is_named() -> None:
    model = gpt()
    model.blocks[2].mlp.down.weight.data *= np.float32(1e38)
    model.blocks[2].mlp.up.weight.data *= np.float32(1e10)
    finding = doctor.finite(model, IDS, TARGETS)
    assert finding.verdict == "bad"
    assert "out of the forward of linear in GPT.blocks.2.mlp.down" in finding.meaning
    assert "the largest in float32" in finding.meaning
    assert all(p.grad is None for p in model.parameters())


# Initial weights


@pytest.mark.parametrize(("scale", "verdict"), [(1, "ok"), (50, "bad")])
def test_a_model_with_large_initial_weights_is_confident_in_wrong_tokens(scale: float, verdict: str) -> None:
    model = gpt()
    model.tok_emb.weight.data *= scale
    finding = doctor.initial_loss(model, IDS, TARGETS)
    assert finding.verdict == verdict
    assert ("confident in wrong tokens" in finding.meaning) == (verdict == "bad")


def test_a_model_that_sees_the_targets_knows_them_too_early(monkeypatch: Patch) -> None:
    model = gpt()
    monkeypatch.setattr(model.norm, "forward", lambda x: 200 * ops.embedding(model.tok_emb.weight, TARGETS))
    finding = doctor.initial_loss(model, IDS, TARGETS)
    assert (finding.verdict, "do they leak" in finding.meaning) == ("bad", True)


@pytest.mark.parametrize(
    ("name", "spoil", "number"),
    [
        (
            "blocks.2.attn.out_proj.weight",
            lambda a: a * math.sqrt(6),
            "blocks.2.attn.out_proj.weight 0.0196, not 0.00816",
        ),
        ("pos_emb.weight", lambda a: a * 50, "pos_emb.weight 1.03, not 0.02"),
        ("blocks.0.mlp.up.bias", lambda a: a + 0.1 * (np.arange(a.size) == 7), "blocks.0.mlp.up.bias 0.1, not 0"),
        ("norm.weight", lambda a: a * 0, "norm.weight 0, not 1"),
        ("blocks.1.mlp.up.weight", lambda a: a * np.nan, "blocks.1.mlp.up.weight nan, not 0.02"),
    ],
)
def test_a_tensor_with_another_initial_scale_is_named(name: str, spoil: Callable[[Any], Any], number: str) -> None:
    model = gpt()
    parameter = dict(model.named_parameters())[name]
    parameter.copy_(spoil(parameter.data))
    finding = doctor.init_scale(model)
    assert (finding.verdict, finding.number) == ("bad", number)


def test_several_tensors_with_another_initial_scale_are_counted() -> None:
    model = gpt()
    for block in model.blocks:
        block.attn.w_qkv.weight.data *= 2
    assert doctor.init_scale(model).number == "blocks.0.attn.w_qkv.weight 0.0389, not 0.02 and 2 more"


# Tied weights


def test_the_output_projection_may_be_tied_or_not_as_the_config_says() -> None:
    assert "the output projection is separate" in doctor.tied_weights(gpt(MODERN)).meaning
    assert "tied to the token embedding" in doctor.tied_weights(gpt()).meaning


def test_an_output_projection_that_should_be_tied_is_reported() -> None:
    model = gpt()
    model.head = Parameter(model.tok_emb.weight.data.copy())
    finding = doctor.tied_weights(model)
    assert finding.verdict == "bad"
    assert finding.meaning.startswith("+2,080 relative to the config's ")
    assert "the output projection is not tied" in finding.meaning


def test_one_array_under_two_names_is_updated_twice() -> None:
    model = gpt()
    model.head = Parameter(model.tok_emb.weight.data)
    assert (
        doctor.tied_weights(model).meaning == "head and tok_emb.weight share memory, which every update changes twice"
    )


def test_a_missing_block_is_counted() -> None:
    model = gpt()
    model.blocks.pop()
    finding = doctor.tied_weights(model)
    assert (finding.verdict, "compare gpt.runs.estimate.count" in finding.meaning) == ("bad", True)


# What a token may see


@pytest.mark.parametrize("block", range(3))
def test_a_block_without_its_mask_leaks(block: int) -> None:
    model = gpt()
    model.blocks[block].attn.causal = False
    finding = doctor.causality(model, IDS)
    assert (finding.verdict, "check the mask" in finding.meaning) == ("bad", True)


def test_a_mask_that_is_one_token_late_leaks(monkeypatch: Patch) -> None:
    model = gpt()
    attn = model.blocks[1].attn
    attn.causal = False
    forward = attn.forward
    late = np.tril(np.ones((16, 16), bool), 1)
    monkeypatch.setattr(attn, "forward", lambda x: forward(x, late))
    assert doctor.causality(model, IDS).verdict == "bad"
    monkeypatch.setattr(attn, "forward", lambda x: forward(x, np.tril(late)))
    assert doctor.causality(model, IDS).verdict == "ok"


def test_texts_that_affect_each_other_are_finding(monkeypatch: Patch) -> None:
    model = gpt()
    monkeypatch.setattr(model.blocks[0], "forward", lambda x: x - x.mean(axis=0, keepdims=True))
    finding = doctor.independence(model, IDS)
    assert (finding.verdict, "affect each other" in finding.meaning) == ("bad", True)


# The decoder


@pytest.mark.parametrize("T", [1, 2, 3, 16])
def test_the_decoder_gives_the_logits_of_the_model(T: int) -> None:
    for config in (CONFIG, MODERN):
        assert doctor.cached_generation(gpt(config), IDS[:2, :T]).verdict == "ok"


def test_a_block_that_the_decoder_does_not_follow_is_finding(monkeypatch: Patch) -> None:
    model = gpt()
    block = model.blocks[1]
    monkeypatch.setattr(block, "forward", lambda x: x + block.mlp(block.norm2(x)))
    finding = doctor.cached_generation(model, IDS[:2])
    assert (finding.verdict, "gpt.generation.decoder must follow gpt.model" in finding.meaning) == ("bad", True)


@pytest.mark.parametrize(("config", "message"), [(CONFIG, "after 11 tokens"), (MODERN, "after 12 tokens")])
def test_a_cache_that_is_wrong_after_a_token_names_the_token(
    config: ModelConfig, message: str, monkeypatch: Patch
) -> None:
    model, step = gpt(config), Decoder.step

    def faulty(self: Decoder, ids: np.ndarray) -> np.ndarray:
        logits = step(self, ids)
        return logits + 1 if self.cache.length == int(message.split()[1]) else logits

    monkeypatch.setattr(Decoder, "step", faulty)
    finding = doctor.cached_generation(model, IDS[:2])
    assert (finding.verdict, message in finding.meaning) == ("bad", True)


def test_padding_that_is_not_masked_is_finding(monkeypatch: Patch) -> None:
    monkeypatch.setattr(KVCache, "attn_mask", lambda self, n_slots: None)
    assert doctor.cached_generation(gpt(), IDS[:2]).verdict == "bad"


# Gradients and updates


def test_a_block_without_a_gradient_is_named(monkeypatch: Patch) -> None:
    model = gpt()
    monkeypatch.setattr(model.blocks[1], "forward", lambda x: x)
    finding = doctor.gradient_norms(model, IDS, TARGETS)
    assert (finding.verdict, finding.layers["blocks.1"]) == ("bad", 0.0)
    assert finding.meaning.startswith("blocks.1: no gradient arrives")


def test_a_gradient_that_explodes_from_block_to_block_is_a_warning(monkeypatch: Patch) -> None:
    model = gpt()
    block, forward = model.blocks[1], model.blocks[1].forward
    monkeypatch.setattr(block, "forward", lambda x: forward(x) * 1e-3)  # the next norm makes it large again
    finding = doctor.gradient_norms(model, IDS, TARGETS)
    assert finding.verdict == "warn"
    assert finding.meaning.startswith("blocks.2 gets far more than blocks.")
    assert finding.layers["blocks.2"] > doctor.GRADIENT_RATIO * finding.layers["blocks.1"]


def test_gradient_norms_by_hand() -> None:
    arrays = {"tok_emb.weight": [3.0], "blocks.0.norm1.weight": [1.0, 2.0], "blocks.0.mlp.up.weight": [2.0]}
    norms = doctor.norms_by_layer([(name, np.array(a)) for name, a in arrays.items()] + [("norm.bias", None)])
    assert norms == {"tok_emb": 3.0, "blocks.0": 3.0, "norm": 0.0}


@pytest.mark.parametrize(("dead", "verdict"), [(0, "ok"), (5, "warn"), (64, "bad"), (128, "bad")])
def test_units_that_are_zero_for_all_tokens_are_counted(dead: int, verdict: str) -> None:
    model = gpt()
    model.blocks[2].mlp.up.bias.data[:dead] = -30
    finding = doctor.dead_units(model, IDS)
    assert (finding.verdict, finding.number) == (verdict, f"{dead} of 384")
    assert finding.layers == {"blocks.0": 0, "blocks.1": 0, "blocks.2": dead}


@pytest.mark.parametrize("activation", ["silu", "relu", "gelu_tanh"])
def test_a_unit_of_a_gated_mlp_is_dead_if_its_gate_is(activation: str) -> None:
    model = gpt(dataclasses.replace(CONFIG, mlp="gated", d_ff=128, activation=activation))
    model.blocks[2].mlp.gate.bias.data[:5] = -30
    finding = doctor.dead_units(model, IDS)
    assert (finding.verdict, finding.number, finding.layers["blocks.2"]) == ("warn", "5 of 384", 5)


def test_a_block_without_its_mask_leaks_with_rope_too() -> None:
    model = gpt(MODERN)
    model.blocks[1].attn.causal = False
    assert doctor.causality(model, IDS).verdict == "bad"


@pytest.mark.parametrize(
    ("lr", "verdict", "words"),
    [(1e-9, "warn", "hardly changes"), (2e-3, "ok", "is small"), (2.5e-2, "warn", "large"), (1.0, "bad", "lower lr")],
)
def test_a_learning_rate_is_judged_by_its_updates(lr: float, verdict: str, words: str) -> None:
    finding = update(lr)
    assert (finding.verdict, words in finding.meaning) == (verdict, True), finding


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_default_rate_of_a_new_run_is_ok_and_many_times_that_is_not(optimizer: str) -> None:
    config = ModelConfig(**known_fields(ModelConfig, CONFIG.to_dict() | RECIPE | {"d_ff": None}))
    rate = with_presets({"optimizer": optimizer, "d_model": CONFIG.d_model, "n_heads": CONFIG.n_heads})["lr"]
    verdicts = [update(k * rate, gpt(config), optimizer=optimizer).verdict for k in (1, 4, 16)]
    assert verdicts[0] == "ok"
    assert verdicts[1] in ("warn", "bad")
    assert verdicts[2] == "bad"


def test_an_update_ratio_by_hand() -> None:
    model = gpt()
    size = math.sqrt((model.pos_emb.weight.data**2).mean())  # about 0.02
    optimizer = AdamW(model.named_parameters(), 1.0, weight_decay=0.0)
    finding = doctor.update_ratios(model, optimizer, [(IDS, TARGETS)], 1e-4)
    assert finding.layers["pos_emb"] == pytest.approx(1e-4 / size, rel=0.01)  # the first update moves each weight by lr


def test_an_update_that_gives_nan_is_bad() -> None:
    model = gpt()
    model.tok_emb.weight.data[:] = np.nan
    assert update(2e-3, model).verdict == "bad"


def test_a_model_that_cannot_learn_does_not_memorise_a_batch() -> None:
    model = gpt()
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith("norm")
    finding = doctor.overfit(model, IDS, TARGETS)
    assert (finding.verdict, "do not reach the weights" in finding.meaning) == ("bad", True)


def test_the_least_loss_of_texts_that_begin_alike() -> None:
    ids = np.array([[1, 2, 3], [1, 2, 4], [1, 5, 5], [6, 2, 3]])
    targets = np.array([[2, 3, 0], [2, 4, 0], [5, 5, 0], [2, 3, 0]])
    after_1 = 2 * math.log(3 / 2) + math.log(3)  # 2, 2 and 5 follow
    after_12 = 2 * math.log(2)  # 3 and 4 follow
    assert doctor.least_loss(ids, targets) == pytest.approx((after_1 + after_12) / 12, rel=1e-15)


def test_a_model_worse_than_uniform_probabilities_is_bad() -> None:
    model = gpt()
    assert doctor.trained_loss(model, IDS, TARGETS).verdict == "warn"  # it has not learned yet
    model.norm.bias.data += 100 * model.tok_emb.weight.data[7]
    assert doctor.trained_loss(model, IDS, np.full_like(IDS, 7)).verdict == "ok"
    model.tok_emb.weight.data *= 50
    assert doctor.trained_loss(model, IDS, TARGETS).verdict == "bad"
