"""LoRA: a low-rank update by hand, which parameters train and are saved, merging, and a missing base."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from gpt.config import ModelConfig, TrainConfig
from gpt.generation.decoder import Decoder
from gpt.lora import (
    LoRALinear,
    LoRASettings,
    add_lora,
    has_lora,
    lora_state,
    merge_and_unload,
    merge_lora,
    merged,
    unmerge_lora,
)
from gpt.model import GPT
from gpt.runs.checkpoint import Task, TrainingState, load_checkpoint, save_checkpoint
from gpt.tokenizer import CharTokenizer
from nanograd import gradcheck
from nanograd._tensor import Tensor
from nanograd.nn import Linear, Module, Parameter
from nanograd.optim import AdamW
from nanograd.runtime.files import file_sha256
from nanograd.runtime.typed_json import check_form

PLAIN = ModelConfig(vocab_size=12, context_length=8, d_model=16, n_layers=2, n_heads=4)
MODERN = dataclasses.replace(
    PLAIN, norm="rmsnorm", position="rope", mlp="gated", n_kv_heads=2, bias=False, tie_embeddings=False, qk_norm=True
)
FAMILIES = pytest.mark.parametrize("config", [PLAIN, MODERN], ids=["gpt2", "llama"])
ALL = {"up", "down", "w_qkv", "out_proj"}
IDS = np.random.default_rng(1).integers(0, 12, (3, 8))
TOKENIZER = CharTokenizer("abcdefghijkl")
SETTINGS = LoRASettings(2, 6.0, ("w_qkv", "out_proj"))


class Classifier(Module):
    """A GPT with a task head."""

    def __init__(self, config: ModelConfig) -> None:
        self.gpt = GPT(config, np.random.default_rng(0))
        self.head = Linear(config.d_model, 3, rng=np.random.default_rng(5))


def fresh(config: ModelConfig = PLAIN) -> GPT:
    return GPT(config, np.random.default_rng(0))


def tuned(config: ModelConfig = PLAIN, targets: tuple[str, ...] = SETTINGS.targets) -> GPT:
    """Return a model whose adapters change its logits: B is not 0."""
    model, rng = fresh(config), np.random.default_rng(2)
    add_lora(model, 2, 6.0, targets, rng)
    for name, array in lora_state(model).items():
        if name.endswith("lora_b"):
            array[...] = rng.standard_normal(array.shape) * 0.3
    return model


# One layer


def hand_layer() -> LoRALinear:
    linear = Linear(2, 2)
    linear.weight.copy_(np.array([[1, 2], [3, 4]], np.float32))
    assert linear.bias is not None
    linear.bias.copy_(np.array([10, 20], np.float32))
    layer = LoRALinear(linear, 1, 3.0, np.random.default_rng(0))
    layer.lora_a.copy_(np.array([[1, -1]], np.float32))
    layer.lora_b.copy_(np.array([[2], [0.5]], np.float32))
    return layer


def test_a_low_rank_update_by_hand() -> None:
    """x = (5, 1): W x + b = (17, 39); A x = 4, times alpha/r = 3 is 12, and B 12 = (24, 6)."""
    layer = hand_layer()
    assert layer(Tensor(np.array([[5, 1]], np.float32))).data.tolist() == [[41, 45]]
    layer.merge()  # ΔW = 3 B A = [[6, -6], [1.5, -1.5]]
    assert layer.weight.data.tolist() == [[7, -4], [4.5, 2.5]]
    assert layer(Tensor(np.array([[5, 1]], np.float32))).data.tolist() == [[41, 45]]


def test_the_repr_shows_the_rank_and_whether_it_is_merged() -> None:
    layer = hand_layer()
    text = repr(layer)
    assert text == "LoRALinear(in_features=2, out_features=2, bias=True, rank=1)"
    layer.merge()
    assert repr(layer) == text.replace("rank=1", "rank=1, merged")
    assert "(w_qkv): LoRALinear(in_features=" in repr(tuned())


def test_the_scale_is_alpha_over_rank() -> None:
    linear = Linear(4, 4, rng=np.random.default_rng(0))
    assert LoRALinear(linear, 8, 16.0, np.random.default_rng(0)).scale == 2
    assert LoRALinear(linear, 4, 2.0, np.random.default_rng(0)).scale == 0.5


def test_the_gradient_of_a_layer_is_that_of_finite_differences() -> None:
    layer = LoRALinear(Linear(5, 4, rng=np.random.default_rng(0)), 2, 3.0, np.random.default_rng(1)).astype(np.float64)
    rng = np.random.default_rng(3)

    def forward(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        layer.lora_a, layer.lora_b = a, b  # type: ignore[assignment] - gradcheck passes its own tensors
        return layer(x)

    gradcheck(forward, *(rng.standard_normal(shape) for shape in ((3, 5), (2, 5), (4, 2))))


def test_a_frozen_weight_gets_no_gradient() -> None:
    layer = hand_layer()
    x = Tensor(np.array([[5, 1]], np.float32), requires_grad=True)
    layer(x).backward(np.array([[1, 10]], np.float32))
    got = {name: None if p.grad is None else p.grad.tolist() for name, p in layer.named_parameters()}
    assert got == {
        "weight": None,
        "bias": None,
        "lora_a": [[105, 21]],  # 3 (dy B = 7) x
        "lora_b": [[12], [120]],  # dy times 3 A x
    }
    assert x.grad is not None
    assert x.grad.tolist() == [[31 + 21, 42 - 21]]  # dy W + 3·7 A


# A whole model


@FAMILIES
def test_a_new_adapter_changes_no_logit(config: ModelConfig) -> None:
    base, model = fresh(config), fresh(config)
    targets = (*sorted(ALL), "gate") if config.mlp == "gated" else tuple(sorted(ALL))
    names = add_lora(model, 2, 4.0, targets, np.random.default_rng(1))
    assert len(names) == config.n_layers * len(targets)
    assert "blocks.1.attn.w_qkv" in names
    np.testing.assert_array_equal(model(IDS).data, base(IDS).data)
    assert all(array.any() for name, array in lora_state(model).items() if name.endswith("lora_a"))


@FAMILIES
def test_names_of_the_base_stay_and_adapters_alone_train(config: ModelConfig) -> None:
    model, base = tuned(config), fresh(config)
    own = [name for name in model.state_dict() if ".lora_" not in name]
    assert own == list(base.state_dict())
    assert set(lora_state(model)) == {
        f"blocks.{i}.attn.{layer}.lora_{ab}" for i in range(2) for layer in ("w_qkv", "out_proj") for ab in "ab"
    }
    before = {name: array.copy() for name, array in model.state_dict().items()}
    optimizer = AdamW(model.named_parameters(), 0.1, weight_decay=0.5)
    assert set(optimizer.parameters) == set(lora_state(model))
    model.loss(IDS[:, :-1], IDS[:, 1:]).backward()
    optimizer.step()
    for name, array in model.state_dict().items():
        assert (array != before[name]).any() == (".lora_" in name), name


@FAMILIES
def test_merged_and_unmerged_logits_agree(config: ModelConfig) -> None:
    targets = ("w_qkv", "out_proj", "up", "down", "gate") if config.mlp == "gated" else SETTINGS.targets
    model = tuned(config, targets).eval()
    unmerged = model(IDS).data
    assert np.abs(unmerged - fresh(config)(IDS).data).max() > 0.01  # the adapters change the logits
    before = {name: array.copy() for name, array in model.state_dict().items()}
    merge_lora(model)
    assert np.abs(model(IDS).data - unmerged).max() <= 1e-6
    merge_lora(model)  # a second time adds nothing
    assert np.abs(model(IDS).data - unmerged).max() <= 1e-6
    unmerge_lora(model)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(model(IDS).data, unmerged)


def test_merging_in_float64_changes_rounding_only() -> None:
    model = tuned(MODERN).astype(np.float64)
    unmerged = model(IDS).data
    merge_lora(model)
    assert np.abs(model(IDS).data - unmerged).max() <= 1e-13 * np.abs(unmerged).max()


def test_unmerge_restores_a_weight_that_subtraction_would_not() -> None:
    layer = hand_layer()
    layer.weight.copy_(np.array([[1e-8, 2], [3, 4]], np.float32))  # vanishes beside ΔW
    before = layer.weight.data.copy()
    layer.merge()
    layer.unmerge()
    np.testing.assert_array_equal(layer.weight.data, before)


def test_merged_ends_with_its_context_even_after_an_error() -> None:
    model = tuned()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    weight = model.blocks[0].attn.w_qkv.weight

    def fail_inside() -> None:
        with merged(model):
            assert (weight.data != before["blocks.0.attn.w_qkv.weight"]).any()
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with merged(fresh()):
        pass


@FAMILIES
def test_merge_and_unload_leaves_an_ordinary_model(config: ModelConfig) -> None:
    model = tuned(config).eval()
    unmerged = model(IDS).data
    merge_and_unload(model)
    assert not has_lora(model)
    assert list(model.state_dict()) == list(fresh(config).state_dict())
    assert np.abs(GPT(config, init=False).load_state_dict(model.state_dict())(IDS).data - unmerged).max() <= 1e-6
    assert not any(module.training for module in model.modules())


@FAMILIES
def test_the_decoder_uses_merged_adapters_and_refuses_others(config: ModelConfig) -> None:
    model = tuned(config).eval()
    with pytest.raises(ValueError, match=r"Decoder: the model's adapters are not merged; call merge_lora"):
        Decoder(model, 3)
    expected = model(IDS).data[:, -1]
    with merged(model):
        decoder = Decoder(model, 3)
        decoder.prefill(IDS[:, :-1])
        assert np.abs(decoder.step(IDS[:, -1]) - expected).max() <= 1e-5


@pytest.mark.parametrize(
    ("rank", "alpha", "targets", "message"),
    [
        (0, 1.0, ["w_qkv"], r"rank must be at least 1 and alpha above 0, got 0 and 1.0"),
        (2, 0.0, ["w_qkv"], r"rank must be at least 1 and alpha above 0, got 2 and 0.0"),
        (2, 1.0, ["gate"], r"lora_target: no layer is called 'gate'; this model has down, out_proj, up, w_qkv"),
        (2, 1.0, [], r"lora_target: it names no layer; this model has"),
    ],
)
def test_invalid_settings_are_refused(rank: int, alpha: float, targets: list[str], message: str) -> None:
    model = fresh()
    with pytest.raises(ValueError, match=message):
        add_lora(model, rank, alpha, targets, np.random.default_rng(0))
    assert all(p.requires_grad for p in model.parameters())


def test_the_head_is_no_target_as_the_model_never_calls_it() -> None:
    with pytest.raises(ValueError, match="no layer is called 'head'"):
        add_lora(fresh(MODERN), 2, 1.0, ["head"], np.random.default_rng(0))


def test_a_second_set_of_adapters_is_refused() -> None:
    with pytest.raises(ValueError, match="the model has adapters already; merge them permanently"):
        add_lora(tuned(), 2, 1.0, ["up"], np.random.default_rng(0))


# Files


def save_base(path: Path, config: ModelConfig = PLAIN) -> Task:
    """Write a base, and return a task that starts from it."""
    save_checkpoint(path, fresh(config), None, TrainConfig(), TOKENIZER, TrainingState())
    return Task("instruct", lora=SETTINGS, base=str(path), base_sha256=file_sha256(path), template={"a": 1})


def save(path: Path, model: Module, task: Task) -> None:
    optimizer = AdamW(model.named_parameters(), 0.1)
    save_checkpoint(path, model, optimizer, TrainConfig(), TOKENIZER, TrainingState(step=1), task)


@FAMILIES
def test_a_checkpoint_has_the_adapters_alone_and_finds_their_base(tmp_path: Path, config: ModelConfig) -> None:
    task, model = save_base(tmp_path / "base.safetensors", config), tuned(config)
    save(tmp_path / "lora.safetensors", model, task)
    checkpoint = load_checkpoint(tmp_path / "lora.safetensors")
    assert checkpoint.task == task
    assert checkpoint.with_prefix("model.").keys() == lora_state(model).keys()
    again = checkpoint.model(adapters=True)
    np.testing.assert_array_equal(again(IDS).data, model(IDS).data)
    assert {name for name, p in again.named_parameters() if p.requires_grad} == lora_state(model).keys()
    ordinary = checkpoint.model()
    assert not has_lora(ordinary)
    assert np.abs(ordinary(IDS).data - model(IDS).data).max() <= 1e-6


def test_a_task_head_is_saved_with_the_adapters(tmp_path: Path) -> None:
    task, model = save_base(tmp_path / "base.safetensors"), Classifier(PLAIN)
    task = dataclasses.replace(task, kind="classify", labels=("a", "b", "c"))
    add_lora(model.gpt, 2, 6.0, SETTINGS.targets, np.random.default_rng(1))
    for array in lora_state(model).values():
        array += 0.1
    save(tmp_path / "lora.safetensors", model, task)
    checkpoint = load_checkpoint(tmp_path / "lora.safetensors")
    assert checkpoint.with_prefix("model.").keys() == lora_state(model).keys() | {"head.weight", "head.bias"}
    again = checkpoint.load_into(Classifier(PLAIN), adapters=True)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
    ordinary = checkpoint.load_into(Classifier(PLAIN))
    assert np.abs(ordinary.gpt(IDS).data - model.gpt(IDS).data).max() <= 1e-6
    with pytest.raises(ValueError, match="was fine-tuned to classify; use python -m gpt classify"):
        checkpoint.model()


def test_adapters_without_a_base_are_saved_with_all_weights(tmp_path: Path) -> None:
    model = tuned()
    save(tmp_path / "lora.safetensors", model, Task("instruct", lora=SETTINGS))
    again = load_checkpoint(tmp_path / "lora.safetensors").model(adapters=True)
    np.testing.assert_array_equal(again(IDS).data, model(IDS).data)


def test_the_base_of_adapters_may_have_adapters(tmp_path: Path) -> None:
    first = tuned()
    save(tmp_path / "first.safetensors", first, save_base(tmp_path / "base.safetensors"))
    second = load_checkpoint(tmp_path / "first.safetensors").model()
    add_lora(second, 2, 6.0, SETTINGS.targets, np.random.default_rng(7))
    second.blocks[0].attn.out_proj.lora_b.data += 0.1
    sha256 = file_sha256(tmp_path / "first.safetensors")
    task = Task("instruct", lora=SETTINGS, base=str(tmp_path / "first.safetensors"), base_sha256=sha256)
    save(tmp_path / "second.safetensors", second, task)
    again = load_checkpoint(tmp_path / "second.safetensors").model(adapters=True)
    np.testing.assert_array_equal(again(IDS).data, second(IDS).data)


def test_errors_name_a_missing_or_different_base(tmp_path: Path) -> None:
    save(tmp_path / "lora.safetensors", tuned(), save_base(tmp_path / "base.safetensors"))
    shutil.move(tmp_path / "base.safetensors", tmp_path / "moved.safetensors")
    checkpoint = load_checkpoint(tmp_path / "lora.safetensors")  # what needs no weights works
    with pytest.raises(
        FileNotFoundError, match=r"lora.safetensors holds .* missing: .*base.safetensors; .* --base FILE"
    ):
        checkpoint.model()
    moved = load_checkpoint(tmp_path / "lora.safetensors", tmp_path / "moved.safetensors")
    assert np.abs(moved.model()(IDS).data - tuned()(IDS).data).max() <= 1e-6
    other = GPT(PLAIN, np.random.default_rng(99))
    save_checkpoint(tmp_path / "base.safetensors", other, None, TrainConfig(), TOKENIZER, TrainingState())
    with pytest.raises(ValueError, match=r"base.safetensors is not the model that the adapters of .* --base FILE"):
        checkpoint.model()


def test_merged_adapters_are_not_saved(tmp_path: Path) -> None:
    model, task = tuned(), save_base(tmp_path / "base.safetensors")
    with (
        merged(model),
        pytest.raises(ValueError, match="adapters are merged; call unmerge_lora or merge_and_unload first"),
    ):
        save_checkpoint(tmp_path / "lora.safetensors", model, None, TrainConfig(), TOKENIZER, TrainingState(), task)


def test_a_task_with_an_unknown_key_is_an_error() -> None:
    task = Task("classify", {"lr": 1.0}, ("ham", "spam"), None, SETTINGS, "x", "y")
    assert check_form(task.to_dict(), Task) == task
    with pytest.raises(ValueError, match="the key 'colour' is unknown"):
        check_form({**task.to_dict(), "colour": 1}, Task)


def test_adapters_have_the_dtype_of_their_weight() -> None:
    linear = Linear(3, 2).astype(np.float64)
    layer = LoRALinear(linear, 1, 1.0, np.random.default_rng(0))
    assert {p.dtype for p in layer.parameters()} == {np.dtype(np.float64)}
    assert isinstance(layer.lora_a, Parameter)
