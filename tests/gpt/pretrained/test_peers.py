"""Beside transformers: what it writes we read, and what we export it reads, to the same logits and the same text.

Run by `pytest -m peers` where transformers is installed: the extra [hf].
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig, SampleConfig
from gpt.generation.generate import generate
from gpt.model import GPT
from gpt.pretrained import load_pretrained
from gpt.pretrained.export import export
from gpt.tokenizer import BPETokenizer

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # what torch and transformers warn of is theirs
]
GOLDEN = Path(__file__).parents[2] / "golden"
LLAMA = {"norm": "rmsnorm", "position": "rope", "mlp": "gated"}


@pytest.fixture(scope="module")
def transformers() -> Any:
    torch = pytest.importorskip("torch", exc_type=ImportError)
    torch.set_num_threads(1)  # models this small only wait for more of them
    return pytest.importorskip("transformers", exc_type=ImportError)


def logits_of(model: Any, ids: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        result: np.ndarray = model(torch.from_numpy(ids)).logits.float().numpy()
    return result


def make(transformers: Any, config: Any, seed: int) -> Any:
    """Return a model of random weights, wide enough that its text varies."""
    import torch

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.add_(0.2 * torch.randn(p.shape))
            else:
                p.copy_((0.3 if "wte" in name or "embed" in name else 2 * p.shape[-1] ** -0.5) * torch.randn(p.shape))
    return model


def gpt2(transformers: Any, size: str) -> Any:
    """Return a size of GPT-2 with all its heads, in layers and features scaled down."""
    layers, heads = {"gpt2": (3, 12), "medium": (6, 16), "large": (9, 20), "xl": (12, 25)}[size]
    ends = {"bos_token_id": None, "eos_token_id": None}
    return transformers.GPT2Config(
        vocab_size=211, n_positions=80, n_embd=4 * heads, n_layer=layers, n_head=heads, **ends
    )


LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 40,
}  # fmt: skip
TIED, WINDOW = {"tie_word_embeddings": True}, {"use_sliding_window": True, "sliding_window": 11, "max_window_layers": 0}
LLAMAS: dict[str, tuple[str, dict[str, Any]]] = {  # the class of transformers, and its options
    "llama": ("Llama", {}),
    "llama tied, llama3": ("Llama", {**TIED, "rope_parameters": LLAMA3}),
    "llama, linear": ("Llama", {"rope_parameters": LINEAR}),
    "llama, attention_bias": ("Llama", {"attention_bias": True}),
    "llama tied, mlp_bias": ("Llama", {**TIED, "mlp_bias": True}),
    "llama, both biases, linear": ("Llama", {"attention_bias": True, "mlp_bias": True, "rope_parameters": LINEAR}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral, window": ("Mistral", {"sliding_window": 11}),
    # with a window of one, transformers' cache forgets to forget: its text is ours with use_cache=False only
    "mistral tied, window of two": ("Mistral", {**TIED, "sliding_window": 2}),
    "mistral, window, llama3": ("Mistral", {"sliding_window": 32, "rope_parameters": LLAMA3}),
    "qwen2": ("Qwen2", {}),
    "qwen2 tied, linear": ("Qwen2", {**TIED, "rope_parameters": LINEAR}),
    "qwen2, window": ("Qwen2", WINDOW),
    "qwen3": ("Qwen3", {}),
    "qwen3 tied, biases": ("Qwen3", {**TIED, "attention_bias": True}),
    "qwen3, window, llama3": ("Qwen3", {**WINDOW, "rope_parameters": LLAMA3}),
}
GPT2S = ["gpt2", "medium", "large", "xl"]


def llama(transformers: Any, kind: str) -> Any:
    name, options = LLAMAS[kind]
    return getattr(transformers, f"{name}Config")(
        vocab_size=211, max_position_embeddings=80, hidden_size=48, intermediate_size=100, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2, bos_token_id=None, eos_token_id=None, head_dim=8, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def keep_float64() -> Any:
    """Return what makes transformers compute a float64 model in float64 throughout: it does RoPE and RMSNorm in float32."""
    spec = importlib.util.spec_from_file_location("make_huggingface", GOLDEN / "make_huggingface.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.keep_float64


@pytest.mark.parametrize("kind", [*GPT2S, *LLAMAS])
def test_logits_in_float64_are_exact(transformers: Any, keep_float64: Any, tmp_path: Path, kind: str) -> None:
    import torch

    theirs = make(transformers, (llama if kind in LLAMAS else gpt2)(transformers, kind), seed=4)
    theirs.save_pretrained(tmp_path / "a")
    theirs = theirs.double()
    keep_float64(theirs)
    ids = np.random.default_rng(1).integers(211, size=(2, 70))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)).logits.numpy()
    logits = GPT.from_pretrained(tmp_path / "a", dtype=np.float64)(ids).data
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


HALF = [*GPT2S, "llama", "mistral, window", "qwen2", "qwen3"]


@pytest.mark.parametrize(
    ("kind", "half"), [*((kind, False) for kind in (*GPT2S, *LLAMAS)), *((kind, True) for kind in HALF)]
)
def test_logits_text_and_export_agree(transformers: Any, tmp_path: Path, kind: str, half: bool) -> None:
    import torch

    theirs = make(transformers, (llama if kind in LLAMAS else gpt2)(transformers, kind), seed=3)
    if half:
        theirs = theirs.to(torch.bfloat16)
    theirs.save_pretrained(tmp_path / "a", max_shard_size="100KB" if half else "5GB")
    assert (tmp_path / "a" / "model.safetensors.index.json").exists() == half
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "a", dtype=torch.float32).eval()
    ours = GPT.from_pretrained(tmp_path / "a")
    ids = np.random.default_rng(0).integers(211, size=(2, 50))
    expected = logits_of(theirs, ids)
    np.testing.assert_allclose(ours(ids).data, expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.3

    greedy = theirs.generate(torch.from_numpy(ids[:1, :9]), max_new_tokens=64, do_sample=False, pad_token_id=0)[0, 9:]
    sampled = generate(ours, ids[0, :9], SampleConfig(max_new_tokens=64, temperature=0))
    assert [token for (token,) in sampled] == greedy.tolist()

    export(tmp_path / "b", ours.config, ours.state_dict(), None)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b").eval()
    assert again.dtype == torch.float32
    np.testing.assert_allclose(logits_of(again, ids), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"activation": "relu", "d_ff": 40},
        {"tie_embeddings": False, "norm_eps": 1e-3},
        {**LLAMA, "n_kv_heads": 1, "rope_theta": 300.0},
        {**LLAMA, "activation": "gelu_tanh", "bias": False, "qk_norm": True},
        {**LLAMA, "bias": False, "qkv_bias": True, "window": 5},
        {**LLAMA, "mlp_bias": False, "qk_norm": True, "window": 5, "rope_scaling": "linear", "rope_factor": 3.0},
        {**LLAMA, "mlp_bias": False, "rope_scaling": "llama3", "rope_original_context": 20},
    ],
)
def test_a_model_of_ours_is_the_same_in_transformers(
    transformers: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    tokenizer = BPETokenizer.train("the cat sat on the mat " * 5, 270)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, context_length=24, d_model=32, n_layers=2, n_heads=4, **options
    )
    model = GPT(config, np.random.default_rng(0))
    for p in model.parameters():
        p.data += 0.3 * np.random.default_rng(1).standard_normal(p.shape).astype("float32")
    export(tmp_path / "out", config, model.state_dict(), tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = np.random.default_rng(0).integers(config.vocab_size, size=(2, 24))
    np.testing.assert_allclose(logits_of(theirs, ids), model(ids).data, rtol=0, atol=1e-4)
    text = "the cat sat, on the mat\n"
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(text)["input_ids"] == tokenizer.encode(text)


def test_the_124m_shape(transformers: Any, tmp_path: Path) -> None:
    import torch

    config = transformers.GPT2Config(bos_token_id=None, eos_token_id=None)
    theirs = make(transformers, config, seed=1)
    theirs.save_pretrained(tmp_path / "a")
    ours = GPT.from_pretrained(tmp_path / "a")
    ids = np.random.default_rng(0).integers(50257, size=(1, 100))
    expected = logits_of(theirs, ids)
    assert expected.std() > 0.3
    np.testing.assert_allclose(ours(ids).data, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    greedy = theirs.generate(torch.from_numpy(ids[:, :8]), max_new_tokens=64, do_sample=False, pad_token_id=0)[0, 8:]
    sampled = generate(ours, ids[0, :8], SampleConfig(max_new_tokens=64, temperature=0))
    assert [token for (token,) in sampled] == greedy.tolist()


TEXTS = (
    "The capital of France is",
    "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n",
    "Ὀδυσσεύς — 東京 🎉 ça va?",
    "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n",
)


def test_a_real_chat_model(transformers: Any, keep_float64: Any, smollm2: Path) -> None:
    """SmolLM2 as its folder is. In float32 both round: of logits up to 45, each is wrong by up to 1e-4."""
    import torch

    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    pretrained = load_pretrained(smollm2)
    ours = pretrained.model()
    for text in TEXTS:
        ids = np.array([tokenizer(text)["input_ids"]])
        expected = logits_of(theirs, ids)
        assert expected.std() > 3
        np.testing.assert_allclose(ours(ids).data, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        greedy = theirs.generate(torch.from_numpy(ids), max_new_tokens=64, do_sample=False, pad_token_id=0)
        greedy = greedy[0, ids.shape[1] :].tolist()
        sampled = generate(ours, ids[0].tolist(), SampleConfig(max_new_tokens=len(greedy), temperature=0))
        assert [token for (token,) in sampled] == greedy

    theirs = theirs.double()
    keep_float64(theirs)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)).logits.numpy()
    ours = pretrained.model(np.float64)
    np.testing.assert_allclose(ours(ids).data, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
