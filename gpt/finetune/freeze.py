"""Which parameters are trained. What is frozen costs no gradient, no averages of the optimizer, and no memory for them.

Every op asks which of its inputs need a gradient (`needs`): of a frozen matrix, the product dyᵀ x is not made, and x is
not kept for it. Below the first trained parameter nothing is recorded at all, as if under `no_grad`.
"""

import numpy as np

from gpt.finetune.config import FinetuneConfig
from gpt.lora import LoRASettings, add_lora
from gpt.model import GPT, find_gpt
from nanograd.nn import Module, Parameter, count_parameters


def choose_trained(model: Module, config: FinetuneConfig, rng: np.random.Generator) -> LoRASettings | None:
    """Freeze what the config says and add its adapters, before the optimizer is made; return what the adapters are.

    With LoRA the whole GPT is frozen but for the adapters; a head of the task's own, outside of it, always trains.
    """
    if config.lora_rank is None:
        freeze(model, config.freeze)
        return None
    if config.freeze != "none":
        raise ValueError(
            f"freeze={config.freeze} and lora_rank exclude each other: with LoRA all of the base is frozen"
        )
    settings = LoRASettings(config.lora_rank, config.lora_alpha, lora_targets(config.lora_target))
    add_lora(find_gpt(model), settings.rank, settings.alpha, settings.targets, rng)
    return settings


def lora_targets(words: str) -> tuple[str, ...]:
    """Read names between commas.

    >>> lora_targets("w_qkv, out_proj")
    ('w_qkv', 'out_proj')
    """
    return tuple(word.strip() for word in words.split(",") if word.strip())


def freeze(model: Module, how: str) -> None:
    """Freeze nothing (none), all but the last block, or all but the head, of a GPT or of a model built around one.

    all_but_last_block  trains the last block, the last normalisation and the head
    all_but_head        trains the head alone

    A head is a task's own, or that of an untied GPT. Of a tied one it is the token table, which the first layer reads: it
    is frozen with that, and a GPT of which nothing would be left to train is a ValueError.
    """
    gpt = find_gpt(model)
    kept: set[int] = set(map(id, _head(model, gpt)))
    if how == "all_but_last_block":
        kept |= {id(p) for part in (gpt.blocks[-1], gpt.norm) for p in part.parameters()}
    elif how == "none":
        kept |= set(map(id, model.parameters()))
    elif how != "all_but_head":
        raise ValueError(f"freeze must be none, all_but_last_block or all_but_head, got {how!r}")
    if not kept:
        raise ValueError(
            "freeze=all_but_head leaves nothing to train: the head of this model is its token table; "
            "choose all_but_last_block, or --lora-rank 8"
        )
    for parameter in model.parameters():
        parameter.requires_grad = id(parameter) in kept


def _head(model: Module, gpt: GPT) -> list[Parameter]:
    """Return the parameters above the last normalisation: a task's own outside of the GPT, else an untied head."""
    inside = set(map(id, gpt.parameters()))
    own = [p for p in model.parameters() if id(p) not in inside]
    return own or ([] if gpt.head is None else list(gpt.head.parameters()))


def trained_share(model: Module) -> tuple[int, int]:
    """Return how many numbers are trained, and how many there are."""
    return count_parameters(p for p in model.parameters() if p.requires_grad), count_parameters(model.parameters())
