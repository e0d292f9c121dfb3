"""The options of fine-tuning."""

from dataclasses import dataclass

from gpt.config import LoopConfig, option

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
    base: str | None = option(None, "the checkpoint or run to begin from, or random")
    epochs: float | None = option(None, "passes over the examples, instead of max_steps", above=0)
    patience: int | None = option(None, "stop after this many evaluations without improvement; never if none", least=1)
    freeze: str = option(
        "none", "parameters that are not trained: none, all_but_last_block or all_but_head", among=FREEZES
    )
    lora_rank: int | None = option(None, "train LoRA adapters of this rank, the weights frozen; off if none", least=1)
    lora_alpha: float = option(16.0, "scale of the adapters: their update is multiplied by alpha/rank", above=0)
    lora_target: str = option("w_qkv,out_proj", "matrices with an adapter: of w_qkv, out_proj, up, down and gate")
