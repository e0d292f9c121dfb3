"""Tests of gpt/doctor.py and its command: each sickness is planted, and named."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt import doctor
from gpt.__main__ import main
from gpt.commands.doctor import table
from gpt.config import ModelConfig, TrainConfig
from gpt.doctor import Finding
from gpt.doctor_cache import cached_generation
from gpt.generation.decoder import Decoder
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, load_checkpoint, save_checkpoint
from gpt.runs.run import TRAIN_TOKENS
from gpt.training import make_optimizer
from nanograd import ops
from nanograd.nn import Parameter
from nanograd.optim import AdamW

CONFIG = ModelConfig(vocab_size=65, context_length=16, d_model=32, n_layers=3, n_heads=4)
IDS, TARGETS = np.random.default_rng(1).integers(0, 65, (2, 4, 16))
TEXT = "Où est le café ? Là-bas.\nThe cat sat on the mat.\n" * 30
Output = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def gpt(config: ModelConfig = CONFIG) -> GPT:
    return GPT(config, np.random.default_rng(0)).eval()


def update(lr: float, model: GPT | None = None) -> Finding:
    """Measure an update after nine batches that fill AdamW's averages."""
    model = model or gpt()
    batches = np.random.default_rng(3).integers(0, 65, (10, 2, 4, 16))
    with np.errstate(all="ignore"):
        return doctor.update_ratios(model, make_optimizer(model, TrainConfig()), [(a, b) for a, b in batches], lr)


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
        cached_generation(model, IDS[:2]),
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
def test_odd_shapes_are_not_ill(shape: dict[str, Any]) -> None:
    config = ModelConfig(**{**CONFIG.to_dict(), **shape})
    ids = np.random.default_rng(2).integers(0, config.vocab_size, (2, config.context_length))
    targets = np.roll(ids, -1, axis=1)
    model = gpt(config)
    findings = [doctor.initial_loss(model, ids, targets), doctor.init_scale(model), doctor.tied_weights(model)]
    findings += [doctor.causality(model, ids), doctor.independence(model, ids), cached_generation(model, ids[:2])]
    assert [finding.verdict for finding in findings] == ["ok"] * 6, findings


# Numbers that are none


def test_a_nan_weight_is_named() -> None:
    model = gpt()
    model.blocks[1].mlp.up.weight.data[3, 5] = np.nan
    found = doctor.finite(model, IDS, TARGETS)
    assert (found.verdict, found.number) == ("bad", "blocks.1.mlp.up.weight[3, 5] = nan")
    assert found.meaning.startswith("an update spoiled 1 of 4,096 numbers")


def test_an_infinite_average_of_the_optimizer_is_named() -> None:
    found = doctor.finite(gpt(), IDS, TARGETS, {"adamw.v.norm.bias": np.array([0.0, np.inf])})
    assert (found.verdict, found.number) == ("bad", "adamw.v.norm.bias[1] = inf")


def test_the_op_at_which_numbers_overflow_is_named() -> None:
    model = gpt()
    model.blocks[2].mlp.down.weight.data *= np.float32(1e38)
    model.blocks[2].mlp.up.weight.data *= np.float32(1e10)
    found = doctor.finite(model, IDS, TARGETS)
    assert found.verdict == "bad"
    assert "out of the forward of linear in GPT.blocks.2.mlp.down" in found.meaning
    assert "the largest in float32" in found.meaning
    assert all(p.grad is None for p in model.parameters())


# The start


@pytest.mark.parametrize(("scale", "verdict"), [(1, "ok"), (50, "bad")])
def test_a_table_drawn_too_wide_is_sure_of_wrong_tokens(scale: float, verdict: str) -> None:
    model = gpt()
    model.tok_emb.weight.data *= scale
    found = doctor.initial_loss(model, IDS, TARGETS)
    assert found.verdict == verdict
    assert ("sure of wrong tokens" in found.meaning) == (verdict == "bad")


def test_targets_that_leak_into_the_input_are_known_too_early(monkeypatch: Patch) -> None:
    model = gpt()
    monkeypatch.setattr(model.norm, "forward", lambda x: 200 * ops.embedding(model.tok_emb.weight, TARGETS))
    found = doctor.initial_loss(model, IDS, TARGETS)
    assert (found.verdict, "do the targets leak" in found.meaning) == ("bad", True)


@pytest.mark.parametrize(
    ("name", "spoil", "number"),
    [
        (
            "blocks.2.attn.out_proj.weight",
            lambda a: a * math.sqrt(6),
            "blocks.2.attn.out_proj.weight 0.0196 for 0.00816",
        ),
        ("pos_emb.weight", lambda a: a * 50, "pos_emb.weight 0.978 for 0.02"),
        ("blocks.0.mlp.up.bias", lambda a: a + 0.1 * (np.arange(a.size) == 7), "blocks.0.mlp.up.bias 0.1 for 0"),
        ("norm.weight", lambda a: a * 0, "norm.weight 0 for 1"),
        ("blocks.1.mlp.up.weight", lambda a: a * np.nan, "blocks.1.mlp.up.weight nan for 0.02"),
    ],
)
def test_a_tensor_that_starts_otherwise_is_named(name: str, spoil: Callable[[Any], Any], number: str) -> None:
    model = gpt()
    parameter = dict(model.named_parameters())[name]
    parameter.copy_(spoil(parameter.data))
    found = doctor.init_scale(model)
    assert (found.verdict, found.number) == ("bad", number)


def test_several_tensors_that_start_otherwise_are_counted() -> None:
    model = gpt()
    for block in model.blocks:
        block.attn.w_qkv.weight.data *= 2
    assert doctor.init_scale(model).number == "blocks.0.attn.w_qkv.weight 0.04 for 0.02 and 2 more"


# Tied weights


def test_a_head_of_its_own_is_as_it_should_be_where_the_config_says_so() -> None:
    assert "the head has its own table" in doctor.tied_weights(gpt(MODERN)).meaning
    assert "the head is the token table" in doctor.tied_weights(gpt()).meaning


def test_a_head_of_its_own_is_counted_twice() -> None:
    model = gpt()
    model.head = Parameter(model.tok_emb.weight.data.copy())
    found = doctor.tied_weights(model)
    assert found.verdict == "bad"
    assert found.meaning.startswith("+2,080 against the ")
    assert "the head has a table of its own" in found.meaning


def test_one_array_under_two_names_is_moved_twice() -> None:
    model = gpt()
    model.head = Parameter(model.tok_emb.weight.data)
    assert doctor.tied_weights(model).meaning == "head and tok_emb.weight share numbers, which every update moves twice"


def test_a_missing_part_is_counted() -> None:
    model = gpt()
    model.blocks.pop()
    found = doctor.tied_weights(model)
    assert (found.verdict, "compare gpt.runs.estimate.count" in found.meaning) == ("bad", True)


# What a token may know


@pytest.mark.parametrize("block", range(3))
def test_a_block_without_its_mask_leaks(block: int) -> None:
    model = gpt()
    model.blocks[block].attn.causal = False
    found = doctor.causality(model, IDS)
    assert (found.verdict, "look at the mask" in found.meaning) == ("bad", True)


def test_a_mask_that_is_one_token_late_leaks(monkeypatch: Patch) -> None:
    model = gpt()
    attn = model.blocks[1].attn
    attn.causal = False
    forward = attn.forward
    late = np.tril(np.ones((16, 16), bool), 1)
    monkeypatch.setattr(attn, "forward", lambda x, mask: forward(x, late))
    assert doctor.causality(model, IDS).verdict == "bad"
    monkeypatch.setattr(attn, "forward", lambda x, mask: forward(x, np.tril(late)))
    assert doctor.causality(model, IDS).verdict == "ok"


def test_texts_that_see_each_other_are_found(monkeypatch: Patch) -> None:
    model = gpt()
    monkeypatch.setattr(model.blocks[0], "forward", lambda x: x - x.mean(axis=0, keepdims=True))
    found = doctor.independence(model, IDS)
    assert (found.verdict, "see each other" in found.meaning) == ("bad", True)


# What is written


@pytest.mark.parametrize("T", [1, 2, 3, 16])
def test_what_is_written_is_what_the_model_says(T: int) -> None:
    for config in (CONFIG, MODERN):
        assert cached_generation(gpt(config), IDS[:2, :T]).verdict == "ok"


def test_a_block_that_the_decoder_does_not_follow_is_found(monkeypatch: Patch) -> None:
    model = gpt()
    block = model.blocks[1]
    monkeypatch.setattr(block, "forward", lambda x: x + block.mlp(block.norm2(x)))
    found = cached_generation(model, IDS[:2])
    assert (found.verdict, "gpt.generation.decoder must follow gpt.model" in found.meaning) == ("bad", True)


@pytest.mark.parametrize(("config", "place"), [(CONFIG, "after 11 tokens"), (MODERN, "after 12 tokens")])
def test_a_cache_that_is_wrong_from_one_token_on_is_placed(config: ModelConfig, place: str, monkeypatch: Patch) -> None:
    model, step = gpt(config), Decoder.step

    def spoiled(self: Decoder, ids: np.ndarray) -> np.ndarray:
        logits = step(self, ids)
        return logits + 1 if self.length == int(place.split()[1]) else logits

    monkeypatch.setattr(Decoder, "step", spoiled)
    found = cached_generation(model, IDS[:2])
    assert (found.verdict, place in found.meaning) == ("bad", True)


def test_padding_that_is_looked_at_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Decoder, "_hidden", lambda self, seen: None)
    assert cached_generation(gpt(), IDS[:2]).verdict == "bad"


# What moves


def test_a_block_that_nothing_reaches_is_named(monkeypatch: Patch) -> None:
    model = gpt()
    monkeypatch.setattr(model.blocks[1], "forward", lambda x: x)
    found = doctor.gradient_norms(model, IDS, TARGETS)
    assert (found.verdict, found.layers["blocks.1"]) == ("bad", 0.0)
    assert found.meaning.startswith("blocks.1: no gradient arrives")


def test_a_gradient_that_grows_from_block_to_block_is_looked_at(monkeypatch: Patch) -> None:
    model = gpt()
    block, forward = model.blocks[1], model.blocks[1].forward
    monkeypatch.setattr(block, "forward", lambda x: forward(x) * 1e-3)  # the next norm makes it large again
    found = doctor.gradient_norms(model, IDS, TARGETS)
    assert found.verdict == "look"
    assert found.meaning.startswith("blocks.2 gets far more than blocks.1")


def test_gradient_norms_by_hand() -> None:
    arrays = {"tok_emb.weight": [3.0], "blocks.0.norm1.weight": [1.0, 2.0], "blocks.0.mlp.up.weight": [2.0]}
    norms = doctor.norms_by_layer([(name, np.array(a)) for name, a in arrays.items()] + [("norm.bias", None)])
    assert norms == {"tok_emb": 3.0, "blocks.0": 3.0, "norm": 0.0}


@pytest.mark.parametrize(("dead", "verdict"), [(0, "ok"), (5, "look"), (64, "bad"), (128, "bad")])
def test_units_that_are_silent_for_all_tokens_are_counted(dead: int, verdict: str) -> None:
    model = gpt()
    model.blocks[2].mlp.up.bias.data[:dead] = -30
    found = doctor.dead_units(model, IDS)
    assert (found.verdict, found.number) == (verdict, f"{dead} of 384")
    assert found.layers == {"blocks.0": 0, "blocks.1": 0, "blocks.2": dead}


@pytest.mark.parametrize("activation", ["silu", "relu", "gelu_tanh"])
def test_a_unit_of_a_gated_mlp_is_silent_where_its_gate_is_shut(activation: str) -> None:
    model = gpt(dataclasses.replace(CONFIG, mlp="gated", d_ff=128, activation=activation))
    model.blocks[2].mlp.gate.bias.data[:5] = -30
    found = doctor.dead_units(model, IDS)
    assert (found.verdict, found.number, found.layers["blocks.2"]) == ("look", "5 of 384", 5)


def test_a_block_without_its_mask_leaks_with_rope_too() -> None:
    model = gpt(MODERN)
    model.blocks[1].attn.causal = False
    assert doctor.causality(model, IDS).verdict == "bad"


@pytest.mark.parametrize(
    ("lr", "verdict", "words"),
    [(1e-9, "look", "hardly moves"), (2e-3, "ok", "a small share"), (6e-3, "look", "large"), (1.0, "bad", "lower lr")],
)
def test_a_learning_rate_is_measured_by_what_it_moves(lr: float, verdict: str, words: str) -> None:
    found = update(lr)
    assert (found.verdict, words in found.meaning) == (verdict, True), found


def test_an_update_ratio_by_hand() -> None:
    model = gpt()
    size = math.sqrt((model.pos_emb.weight.data**2).mean())  # about 0.02
    optimizer = AdamW(model.named_parameters(), 1.0, weight_decay=0.0)
    found = doctor.update_ratios(model, optimizer, [(IDS, TARGETS)], 1e-4)
    assert found.layers["pos_emb"] == pytest.approx(1e-4 / size, rel=0.01)  # the first update moves each weight by lr


def test_an_update_that_makes_no_number_is_bad() -> None:
    model = gpt()
    model.tok_emb.weight.data[:] = np.nan
    assert update(2e-3, model).verdict == "bad"


def test_a_model_that_cannot_learn_does_not_learn_a_batch_by_heart() -> None:
    model = gpt()
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith("norm")
    found = doctor.overfit(model, IDS, TARGETS)
    assert (found.verdict, "do not reach the weights" in found.meaning) == ("bad", True)


def test_the_least_loss_where_texts_begin_alike() -> None:
    ids = np.array([[1, 2, 3], [1, 2, 4], [1, 5, 5], [6, 2, 3]])
    targets = np.array([[2, 3, 0], [2, 4, 0], [5, 5, 0], [2, 3, 0]])
    after_1 = 2 * math.log(3 / 2) + math.log(3)  # 2, 2 and 5 follow
    after_12 = 2 * math.log(2)  # 3 and 4 follow
    assert doctor.undecided(ids, targets) == pytest.approx((after_1 + after_12) / 12, rel=1e-15)


def test_a_model_worse_than_a_guess_is_spoiled() -> None:
    model = gpt()
    assert doctor.trained_loss(model, IDS, TARGETS).verdict == "look"  # it has not learned yet
    model.norm.bias.data += 100 * model.tok_emb.weight.data[7]
    assert doctor.trained_loss(model, IDS, np.full_like(IDS, 7)).verdict == "ok"
    model.tok_emb.weight.data *= 50
    assert doctor.trained_loss(model, IDS, TARGETS).verdict == "bad"


# The command


@pytest.fixture
def run(tmp_path: Path, capsys: Output) -> Path:
    """Return the folder of a run of 40 steps."""
    text, out = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(TEXT, encoding="utf-8")
    words = "--tokenizer char --d-model 16 --n-layers 2 --n-heads 2 --context-length 16 --batch-size 4 --max-steps 40"
    assert main(["train", "--data", str(text), "--out", str(out), "--warmup-steps", "4", *words.split()]) == 0
    capsys.readouterr()
    return out


def diagnosis(capsys: Output) -> dict[str, str]:
    """Return the verdict of each check that was printed."""
    lines = capsys.readouterr().out.splitlines()
    return {line[6:22].strip(): line[:5].strip() for line in lines if line[:5].strip() in ("ok", "look", "bad")}


CHECKS = [
    "finite numbers",
    "initial loss",
    "init scale",
    "tied weights",
    "overfit a batch",
    "causality",
    "batch",
    "generation",
]
MOVES = ["gradient norms", "dead units", "update:weight"]


def test_a_run_is_examined_and_left_as_it_was(run: Path, capsys: Output) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main(["doctor", str(run)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"patient   {run / LAST} at step 40, on its training text\n")
    lines = text.splitlines()
    assert [line[6:22].strip() for line in lines[1:13]] == [*CHECKS, "loss now", *MOVES]
    assert {line[:5].strip() for line in lines[1:13]} == {"ok"}
    assert lines[14].split() == ["layer", "gradient", "norms", "dead", "units", "update:weight"]
    assert [line.split()[0] for line in lines[15:20]] == ["tok_emb", "pos_emb", "blocks.0", "blocks.1", "norm"]
    assert lines[-1] == "nothing bad in 12 checks"
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_config_is_examined_fresh(run: Path, capsys: Output) -> None:
    path = run / "config.json"
    assert main(["doctor", str(path)]) == 0
    assert diagnosis(capsys) == dict.fromkeys([*CHECKS, *MOVES], "ok")
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["train"]["lr"] = 1.0
    path.write_text(json.dumps(settings), encoding="utf-8")
    assert main(["doctor", str(path)]) == 1
    assert {check for check, verdict in diagnosis(capsys).items() if verdict == "bad"} == {"update:weight"}


def test_a_checkpoint_away_from_its_text_gets_random_tokens(run: Path, capsys: Output) -> None:
    (run / TRAIN_TOKENS).unlink()
    main(["doctor", str(run / LAST)])
    assert "on random tokens, as its text is not beside it" in capsys.readouterr().out


def test_a_spoiled_run_says_where_and_leaves_out_what_needs_numbers(run: Path, capsys: Output) -> None:
    checkpoint = load_checkpoint(run / LAST)
    model = checkpoint.model()
    optimizer = make_optimizer(model, checkpoint.train_config)
    checkpoint.load_optimizer(optimizer)
    model.blocks[1].norm2.bias.data[4] = np.nan
    save_checkpoint(run / LAST, model, optimizer, checkpoint.train_config, checkpoint.tokenizer, checkpoint.state)
    assert main(["doctor", str(run)]) == 1
    text = capsys.readouterr().out
    assert "bad   finite numbers   blocks.1.norm2.bias[4] = nan" in text
    assert "causality" not in text
    assert text.endswith("\nbad: finite numbers\n")


def test_a_learning_rate_far_too_high_spoils_a_run(run: Path, capsys: Output) -> None:
    words = ["--max-steps", "60", "--lr", "3", "--min-lr", "3", "--warmup-steps", "0"]
    assert main(["train", "--resume", str(run), *words]) == 0
    capsys.readouterr()
    assert main(["doctor", str(run)]) == 1
    assert diagnosis(capsys)["loss now"] == "bad"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no JSON: "),
        (b'"\xff"', "is no JSON in UTF-8: "),
        (b"[]", "is no config of a run: it must hold"),
        (b'{"model": 3}', "is no config of a run: it must hold"),
        (b'{"model": {"d_modl": 3}}', "unknown key 'd_modl'; did you mean d_model?"),
        (b'{"model": {"d_model": 6, "n_heads": 4}}', "d_model must be divisible by n_heads"),
    ],
)
def test_a_config_that_is_none_is_one_line(tmp_path: Path, capsys: Output, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert main(["doctor", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpt doctor: ")
    assert message in line


def test_what_is_not_there_is_one_line(tmp_path: Path, capsys: Output) -> None:
    assert main(["doctor", str(tmp_path / "none")]) == 1
    assert "there is no run or checkpoint at" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path / "none.json")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_the_table_has_a_column_for_each_check_that_knows_layers() -> None:
    findings = [
        Finding("ok", "a", "1", "…"),
        Finding("ok", "b", "1", "…", {"x": 0.5, "y": 2.0}),
        Finding("ok", "c", "1", "…", {"y": 3.0}),
    ]
    assert [line.split() for line in table(findings)] == [["layer", "b", "c"], ["x", "0.5"], ["y", "2", "3"]]
    assert table(findings[:1]) == []
