"""Make huggingface/: small models written by Hugging Face's transformers, with the logits and texts it gets from them.

    python tests/golden/make_huggingface.py [CASE ...]

Needs torch and transformers. Weights are drawn by NumPy, and stored as float16 or bfloat16: so they are small files, and
reading them needs widening. Each of GPT-2's four sizes is there, scaled down, and of the Llama family what differs.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

FOLDER = Path(__file__).parent / "huggingface"
VOCAB, CONTEXT, PROMPT, NEW = 31, 72, 6, 64
HALF = {"llama": torch.bfloat16}  # the others are float16
ENDS = {"bos_token_id": None, "eos_token_id": None}  # greedy goes on to the end
ROPE = {"rope_type": "default", "rope_theta": 500.0}
LINEAR = {"rope_type": "linear", "rope_theta": 90.0, "factor": 2.5}
LLAMA3 = {  # of four pairs of features one stays, one is between and two are slowed down
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 5.0,
    "original_max_position_embeddings": 40,
}  # fmt: skip


def gpt2(layers: int, heads: int, head_size: int, **options: object) -> GPT2Config:
    return GPT2Config(
        vocab_size=VOCAB, n_positions=CONTEXT, n_embd=heads * head_size, n_layer=layers, n_head=heads, **ENDS, **options
    )


def llama(kind: type[PretrainedConfig], **options: object) -> PretrainedConfig:
    return kind(
        vocab_size=VOCAB,
        max_position_embeddings=CONTEXT,
        hidden_size=12,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=6,
        **ENDS,
        **options,
    )


CONFIGS = {  # the sizes of GPT-2 have 12, 16, 20 and 25 heads of 64 features, and 12, 24, 36 and 48 layers
    "gpt2": gpt2(1, 3, 4),
    "gpt2-medium": gpt2(2, 4, 4, layer_norm_epsilon=1e-3),
    "gpt2-large": gpt2(3, 5, 2, activation_function="gelu", n_inner=17),
    "gpt2-xl": gpt2(4, 5, 2, tie_word_embeddings=False),
    "llama": llama(LlamaConfig, num_key_value_heads=2, head_dim=4, rms_norm_eps=1e-3),
    "llama-tied": llama(LlamaConfig, num_key_value_heads=3, head_dim=6, tie_word_embeddings=True, rope_parameters=ROPE),
    "llama-bias": llama(LlamaConfig, num_key_value_heads=1, attention_bias=True, mlp_bias=True),
    "llama3": llama(LlamaConfig, num_key_value_heads=1, head_dim=8, attention_bias=True, rope_parameters=LLAMA3),
    "llama-linear": llama(LlamaConfig, num_key_value_heads=2, head_dim=4, mlp_bias=True, rope_parameters=LINEAR),
    "mistral": llama(MistralConfig, num_key_value_heads=2, head_dim=4, sliding_window=5),
    "qwen2": llama(Qwen2Config, num_key_value_heads=3, head_dim=4, tie_word_embeddings=True, sliding_window=5),
    "qwen3": llama(Qwen3Config, num_key_value_heads=2, head_dim=6),
}
KINDS = {
    GPT2Config: GPT2LMHeadModel,
    LlamaConfig: LlamaForCausalLM,
    MistralConfig: MistralForCausalLM,
    Qwen2Config: Qwen2ForCausalLM,
    Qwen3Config: Qwen3ForCausalLM,
}


def build(name: str) -> PreTrainedModel:
    """Return a model whose every number matters: gains and biases too are drawn, wide enough that the text varies.

    It is float32, and its numbers are those of the half precision in which it is stored.
    """
    rng = np.random.default_rng([7, *name.encode()])
    model = KINDS[type(CONFIGS[name])](CONFIGS[name]).eval()
    with torch.no_grad():
        for path, p in model.named_parameters():
            table = path.endswith(
                ("wte.weight", "embed_tokens.weight")
            )  # tied and wide, it would repeat the last token
            drawn = rng.standard_normal(tuple(p.shape)) * (0.2 if p.ndim == 1 else 0.3 if table else 0.8)
            drawn += p.ndim == 1 and path.endswith("weight")  # gains are near 1
            p.copy_(torch.from_numpy(drawn).to(HALF.get(name, torch.float16)))
    return model


def scaled(frequency: float, rope: dict[str, float | str]) -> float:
    """Return a frequency of RoPE as Llama 3's code scales it (`apply_scaling` of Meta's llama-models), or linearly."""
    if rope["rope_type"] == "default":
        return frequency
    factor = float(rope["factor"])
    if rope["rope_type"] == "linear":
        return frequency / factor
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    context, wavelength = float(rope["original_max_position_embeddings"]), 2 * math.pi / frequency
    if wavelength < context / high:
        return frequency
    if wavelength > context / low:
        return frequency / factor
    smooth = (context / wavelength - low) / (high - low)
    return (1 - smooth) * frequency / factor + smooth * frequency


def keep_float64(model: PreTrainedModel) -> None:
    """Let RoPE's angles and rmsnorm be float64: transformers computes them in float32 whatever the model is."""
    config = model.config
    if config.model_type == "gpt2":
        return
    size, rope = config.head_dim or config.hidden_size // config.num_attention_heads, config.rope_parameters
    frequencies = torch.tensor(
        [scaled(rope["rope_theta"] ** (-i / size), rope) for i in range(0, size, 2)], dtype=torch.float64
    )
    torch.testing.assert_close(frequencies.float(), model.model.rotary_emb.inv_freq.float(), rtol=1e-5, atol=0)

    def forward(x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = torch.cat([position_ids[..., None] * frequencies] * 2, -1)
        return angles.cos(), angles.sin()

    def norm(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * (x.square().mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()

    model.model.rotary_emb.forward = forward
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = norm.__get__(module)


def make_case(name: str) -> dict[str, np.ndarray]:
    """Return ids, their logits in both precisions, and the greedy text after the first of them."""
    model = build(name)
    ids = np.random.default_rng(5).integers(VOCAB, size=(2, 16))
    made = {"ids": ids}
    for bits, dtype in (("32", torch.float32), ("64", torch.float64)):
        model = model.to(dtype)
        if bits == "64":
            keep_float64(model)
        with torch.no_grad():
            made[f"logits/{bits}"] = model(torch.from_numpy(ids)).logits.numpy()
    prompt = torch.from_numpy(ids[:1, :PROMPT])
    made["greedy"] = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, do_sample=False, pad_token_id=0
    )[0, PROMPT:].numpy()
    with torch.no_grad():
        last = model(torch.cat([prompt[0], torch.from_numpy(made["greedy"])])[None]).logits[0, PROMPT - 1 : -1]
    best = last.topk(2).values
    gap = float((best[:, 0] - best[:, 1]).min())
    assert gap > 1e-3, f"{name}: the second best token is only {gap:.1e} behind, rounding may choose it"
    assert len(set(made["greedy"].tolist())) > 5, f"{name}: the text is {made['greedy']}"
    return made


def make() -> dict[str, np.ndarray]:
    """Return the numbers of all cases."""
    return {f"{case}/{name}": array for case in CONFIGS for name, array in make_case(case).items()}


if __name__ == "__main__":
    for case in sys.argv[1:] or CONFIGS:
        build(case).to(HALF.get(case, torch.float16)).save_pretrained(FOLDER / case)
        (FOLDER / case / "generation_config.json").unlink(missing_ok=True)
        np.savez_compressed(FOLDER / case / "expected.npz", **make_case(case))  # type: ignore[arg-type]
        print(case, sum(file.stat().st_size for file in (FOLDER / case).iterdir()), "bytes", file=sys.stderr)
