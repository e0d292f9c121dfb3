"""Which parameters train, and that a frozen one costs no gradient."""

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.finetune.task import FinetuneConfig, count_trainable, freeze, set_trainable
from gpt.lora import LoRASettings, lora_state
from gpt.model import GPT, find_gpt
from nanograd import ops, profile
from nanograd._tensor import Tensor
from nanograd.nn import Linear, Module
from nanograd.optim import AdamW

TIED = ModelConfig(vocab_size=12, context_length=8, d_model=16, n_layers=3, n_heads=4)
UNTIED = ModelConfig(vocab_size=12, context_length=8, d_model=16, n_layers=3, n_heads=4, tie_embeddings=False)
IDS = np.random.default_rng(1).integers(0, 12, (3, 8))


class Classifier(Module):
    def __init__(self, config: ModelConfig = UNTIED) -> None:
        self.gpt = GPT(config, np.random.default_rng(0))
        self.head = Linear(config.d_model, 3, rng=np.random.default_rng(5))

    def forward(self, ids: np.ndarray) -> Tensor:
        return self.head(self.gpt.hidden_states(ids)[:, -1])


def names(model: Module) -> set[str]:
    """Return the modules that train; a block counts as one."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    return {
        name.rsplit(".", 1)[0] if "blocks" not in name else name.split(".attn")[0].split(".mlp")[0] for name in trained
    }


def test_all_but_the_head_of_a_task() -> None:
    model = Classifier()
    freeze(model, "all_but_head")
    assert names(model) == {"head"}  # not the GPT's own head, which a task of its own does not use


def test_all_but_the_last_block_of_a_task() -> None:
    model = Classifier()
    freeze(model, "all_but_last_block")
    assert {name for name in names(model) if "blocks" not in name} == {"gpt.norm", "head"}
    blocks = {name.split(".")[2] for name, p in model.named_parameters() if p.requires_grad and "blocks" in name}
    assert blocks == {"2"}
    last = model.gpt.blocks[-1]
    assert all(p.requires_grad for p in last.parameters())


def test_an_untied_head_of_a_gpt_trains_and_a_tied_one_does_not() -> None:
    model = GPT(UNTIED)
    freeze(model, "all_but_head")
    assert names(model) == {"head"}
    model = GPT(TIED)
    freeze(model, "all_but_last_block")
    assert not model.tok_emb.weight.requires_grad
    with pytest.raises(ValueError, match="the head is the token embedding; choose all_but_last_block, or --lora"):
        freeze(model, "all_but_head")


def test_none_trains_everything_again() -> None:
    model = Classifier()
    freeze(model, "all_but_head")
    freeze(model, "none")
    assert all(p.requires_grad for p in model.parameters())
    assert len(set(count_trainable(model))) == 1


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="freeze must be none, all_but_last_block or all_but_head, got 'some'"):
        freeze(GPT(TIED), "some")
    with pytest.raises(ValueError, match=r"freeze must be .*; did you mean all_but_head"):
        FinetuneConfig(freeze="all_but_heat")


def test_adapters_and_the_head_of_a_task_train() -> None:
    model = Classifier()
    settings = set_trainable(model, FinetuneConfig(lora_rank=2, lora_target=" up,, w_qkv "), np.random.default_rng(0))
    assert settings == LoRASettings(2, 16.0, ("up", "w_qkv"))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == lora_state(model).keys() | {"head.weight", "head.bias"}
    #        three blocks · rank 2 · (16 in + 64 out, 16 in + 48 out), and the head
    assert count_trainable(model)[0] == 3 * 2 * (16 + 64 + 16 + 48) + 3 * 16 + 3


def test_freezing_and_adapters_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="freeze=all_but_head and lora_rank exclude each other"):
        set_trainable(Classifier(), FinetuneConfig(lora_rank=2, freeze="all_but_head"), np.random.default_rng(0))


def test_a_model_without_a_gpt_has_no_backbone() -> None:
    with pytest.raises(TypeError, match="Linear is no GPT, and has none as its attribute gpt"):
        find_gpt(Linear(2, 2))


# The cost of a frozen parameter


def test_below_the_first_trained_parameter_nothing_is_recorded() -> None:
    model = Classifier()
    freeze(model, "all_but_head")
    assert not model.gpt.hidden_states(IDS).requires_grad  # no tape, so no activation is saved
    freeze(model, "all_but_last_block")
    assert not model.gpt.blocks[1](model.gpt.blocks[0](model.gpt.embed(IDS))).requires_grad
    assert model.gpt.hidden_states(IDS).requires_grad


def backward_calls(how: str) -> dict[str, int]:
    """Return how often the backward of each op ran in a step."""
    model = Classifier()
    freeze(model, how)
    with profile() as measured:
        ops.cross_entropy(model(IDS), np.array([0, 1, 2])).backward()
    return {name: calls for (kind, name), (calls, _) in measured._totals().items() if kind == "backward"}


def test_backward_does_not_run_through_frozen_modules() -> None:
    everything, block, head = (backward_calls(how) for how in ("none", "all_but_last_block", "all_but_head"))
    assert everything["linear"] == 3 * 4 + 1  # w_qkv, out_proj, up and down of three blocks, and the head
    assert block["linear"] == 4 + 1
    assert head["linear"] == 1
    assert "packed_attention" not in head


@pytest.mark.parametrize("rank", [None, 2])
def test_a_frozen_weight_needs_no_product_and_saves_no_input(rank: int | None) -> None:
    """A linear map saves its input only for the gradient of its weight."""
    model = Classifier()
    if rank is None:
        freeze(model, "all_but_head")
    else:
        set_trainable(model, FinetuneConfig(lora_rank=rank), np.random.default_rng(0))
    x = Tensor(np.ones((2, 16), np.float32), requires_grad=True)
    y = model.gpt.blocks[0].mlp.up(x)
    assert y.node is not None
    saved_input, saved_weight, _ = y.node.saved
    assert saved_input is None
    assert saved_weight is model.gpt.blocks[0].mlp.up.weight.data
    assert y.node.needs[:2] == (True, False)


def test_the_optimizer_has_moments_of_trainable_parameters_only() -> None:
    model = Classifier()
    freeze(model, "all_but_head")
    optimizer = AdamW(model.named_parameters(), 0.1)
    assert set(optimizer.state_dict()) == {f"{kind}.head.{name}" for kind in "mv" for name in ("weight", "bias")}
    with pytest.raises(RuntimeError, match="freeze first, then create the optimizer"):
        model.head.weight.requires_grad = False
