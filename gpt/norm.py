"""The normalisation that a model is made with."""

from gpt.config import ModelConfig
from nanograd.nn import LayerNorm, RMSNorm


def make_norm(config: ModelConfig) -> LayerNorm | RMSNorm:
    """Return a normalisation of d_model features: GPT-2's, or the root mean square alone (Llama's), which has no bias."""
    if config.norm == "rmsnorm":
        return RMSNorm(config.d_model, eps=config.norm_eps)
    return LayerNorm(config.d_model, bias=config.bias, eps=config.norm_eps)
