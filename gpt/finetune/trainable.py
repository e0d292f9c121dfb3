"""The options of fine-tuning, and which parameters it trains.

A frozen parameter costs no gradient, no moments of the optimizer, and no memory for either. Every op asks which of its
inputs need a gradient (`needs`): for a frozen matrix the product dyᵀ x is not computed, and x is not saved for it. Below
the first trainable parameter nothing is recorded at all, as under `no_grad`.
"""

from dataclasses import dataclass

import numpy as np

from gpt.config import LoopConfig, option
from gpt.lora import LoRASettings, add_lora
from gpt.model import GPT, find_gpt
from nanograd.nn import Module, Parameter, count_parameters

FREEZES = ("none", "all_but_last_block", "all_but_head")


@dataclass(frozen=True)
class FinetuneConfig(LoopConfig):
    """How a trained model is fine-tuned for a task; a task adds options of its own."""

    data: str | None = option(None, "the file of examples")
    max_steps: int = option(200, "updates of the parameters", least=1)
    lr: float = option(5e-4, "highest learning rate", least=0)
    min_lr: float = option(0.0, "learning rate at the end of the cosine schedule", least=0)
    warmup_steps: int = option(10, "updates over which the learning rate rises", least=0)
    eval_every: int = option(20, "updates between evaluations; the last one is always evaluated", least=1)
    base: str | None = option(None, "the checkpoint or run to start from, or random")
    epochs: float | None = option(None, "passes over the examples, instead of max_steps", above=0)
    patience: int | None = option(None, "stop after this many evaluations without improvement; never if none", least=1)
    freeze: str = option(
        "none", "parameters that are not trained: none, all_but_last_block or all_but_head", among=FREEZES
    )
    lora_rank: int | None = option(
        None, "rank of LoRA adapters, trained with all other weights frozen; off if none", least=1
    )
    lora_alpha: float = option(16.0, "scale of the adapters: their update is multiplied by alpha/rank", above=0)
    lora_target: str = option("w_qkv,out_proj", "matrices with an adapter: of w_qkv, out_proj, up, down and gate")


def set_trainable(model: Module, config: FinetuneConfig, rng: np.random.Generator) -> LoRASettings | None:
    """Freeze parameters and add adapters as the config says, before the optimizer is made; return the adapters' settings.

    LoRA freezes the whole GPT except for its adapters; a task head outside of the GPT always trains.
    """
    if config.lora_rank is None:
        freeze(model, config.freeze)
        return None
    if config.freeze != "none":
        raise ValueError(
            f"freeze={config.freeze} and lora_rank exclude each other: with LoRA all of the base is frozen"
        )
    targets = tuple(name.strip() for name in config.lora_target.split(",") if name.strip())
    settings = LoRASettings(config.lora_rank, config.lora_alpha, targets)
    add_lora(find_gpt(model), settings.rank, settings.alpha, settings.targets, rng)
    return settings


def freeze(model: Module, policy: str) -> None:
    """Freeze nothing (none), all but the last block, or all but the head, of a GPT or of a model built around one.

    all_but_last_block  trains the last block, the final normalisation and the head
    all_but_head        trains the head alone

    The head is the task's own, or the lm_head of an untied GPT. The head of a tied GPT is its token embedding, which the
    first layer reads: it is frozen with that layer. Raises ValueError where nothing would be left to train.
    """
    gpt = find_gpt(model)
    trainable: set[int] = set(map(id, _head(model, gpt)))
    if policy == "all_but_last_block":
        trainable |= {id(p) for module in (gpt.blocks[-1], gpt.norm) for p in module.parameters()}
    elif policy == "none":
        trainable |= set(map(id, model.parameters()))
    elif policy != "all_but_head":
        raise ValueError(f"freeze must be none, all_but_last_block or all_but_head, got {policy!r}")
    if not trainable:
        raise ValueError(
            "freeze=all_but_head leaves nothing to train: the head of this model is its token embedding; "
            "choose all_but_last_block, or --lora-rank 8"
        )
    for parameter in model.parameters():
        parameter.requires_grad = id(parameter) in trainable


def _head(model: Module, gpt: GPT) -> list[Parameter]:
    """Return the parameters above the final normalisation: a task's own outside of the GPT, else an untied lm_head."""
    gpt_ids = set(map(id, gpt.parameters()))
    task_head = [p for p in model.parameters() if id(p) not in gpt_ids]
    return task_head or ([] if gpt.head is None else list(gpt.head.parameters()))


def count_trainable(model: Module) -> tuple[int, int]:
    """Return the number of trainable parameters, and of all."""
    return count_parameters(p for p in model.parameters() if p.requires_grad), count_parameters(model.parameters())
