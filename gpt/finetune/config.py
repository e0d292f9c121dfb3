"""How a model that is there already is trained further."""

from dataclasses import dataclass

from gpt.config import Config, option

FREEZES = ("none", "all_but_last_block", "all_but_head")


@dataclass(frozen=True)
class FinetuneConfig(Config):
    """How a model that is there already is trained further, for a task; a task adds fields of its own."""

    data: str | None = option(None, "the file of examples")
    base: str | None = option(None, "the checkpoint or run to begin from, or random")
    seed: int = option(0, "number that all randomness derives from", least=0, below=2**32)
    max_steps: int = option(200, "updates of the parameters", least=1)
    epochs: float | None = option(None, "times that each example is seen, instead of max_steps", above=0)
    batch_size: int = option(16, "examples in a micro-batch", least=1)
    grad_accum_steps: int = option(1, "micro-batches in an update", least=1)
    shards: int | None = option(None, "parts of a batch that run side by side; chosen for the machine if none", least=1)
    lr: float = option(5e-4, "highest learning rate", least=0)
    min_lr: float = option(0.0, "learning rate at the end of the cosine", least=0)
    warmup_steps: int = option(10, "updates over which the learning rate rises", least=0)
    weight_decay: float = option(0.1, "decay of matrices and embeddings, per unit of learning rate", least=0)
    beta1: float = option(0.9, "AdamW's memory of the gradient", least=0, below=1)
    beta2: float = option(0.99, "AdamW's memory of the squared gradient", least=0, below=1)
    grad_clip: float | None = option(1.0, "largest norm of the gradient; off if none", least=0)
    eval_every: int = option(20, "updates between evaluations; the last one is always evaluated", least=1)
    save_every: int = option(100, "updates between checkpoints; the last one is always saved", least=1)
    patience: int | None = option(None, "stop after so many evaluations without a better one; never if none", least=1)
    freeze: str = option("none", "none, all_but_last_block or all_but_head: what is not trained", among=FREEZES)
    lora_rank: int | None = option(None, "train LoRA adapters of this rank beside frozen weights; off if none", least=1)
    lora_alpha: float = option(16.0, "adapters count alpha/rank times", above=0)
    lora_target: str = option("w_qkv,out_proj", "matrices with an adapter: of w_qkv, out_proj, up, down and gate")
