"""The guide: how to build a large language model from scratch, in chapters that run.

The chapters are the Markdown files of this folder; they read well as they stand. Read the code in this order: chapter (a
file as blocks), run (run the blocks, compare or write their output), drawing (figures), then what the chapters become:
html, pdf, notebook. make_data wrote the texts of data/, except fables.txt, which was written by hand.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt.model import GPT

FOLDER = Path(__file__).parent


def data(name: str) -> Path:
    """Return the path of a text that the chapters read, such as data("stories.txt").

    Raises FileNotFoundError, with the names that exist.
    """
    path = FOLDER / "data" / name
    if not path.is_file():
        names = ", ".join(sorted(file.name for file in path.parent.iterdir()))
        raise FileNotFoundError(f"guide: there is no data {name}; there are {names}")
    return path


def story_model(folder: str = "story_model", *, seed: int = 1, **block: Any) -> "GPT":
    """Return the model that chapter 9 trains on the stories: from `folder` if it is there, else it is trained into it.

    The training takes 10 to 20 seconds on two cores: 137 thousand parameters, 300 steps of 16 windows of 64 tokens. block
    are options of ModelConfig, for another block than GPT-2's.
    """
    from gpt.api import load, train

    if Path(folder).is_dir():
        return load(folder)
    shape: dict[str, Any] = {
        "d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff": 256, "dropout": 0.0, "bias": True, "norm": "layernorm",
        "norm_eps": 1e-5, "position": "learned", "mlp": "plain", "activation": "gelu_tanh", "tie_embeddings": True,
    }  # fmt: skip
    return train(
        data("stories.txt"), out=folder, quiet=True, seed=seed, val_fraction=0.1,
        tokenizer="bpe", vocab_size=512, context_length=64, **{**shape, **block},
        batch_size=16, grad_accum_steps=1, shards=2, sampling="random", stride=1,
        max_steps=300, warmup_steps=30, lr=4e-3, min_lr=4e-4, init_std=0.02, ema=None,
        optimizer="adamw", beta1=0.9, beta2=0.99, weight_decay=0.1, grad_clip=1.0,
        eval_every=100, eval_batches=20, save_every=100,
    )  # fmt: skip


def story_llama(folder: str = "story_llama", *, seed: int = 1) -> "GPT":
    """Return the same with Llama's block: RMSNorm, RoPE, SwiGLU, two key-value heads; about as many parameters."""
    block = {
        "norm": "rmsnorm", "position": "rope", "mlp": "gated", "activation": "silu", "bias": False, "n_kv_heads": 2,
        "d_ff": 208,
    }  # fmt: skip
    return story_model(folder, seed=seed, **block)
