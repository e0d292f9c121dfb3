"""Models of every kind that transformers wrote, in golden/huggingface: the same logits, the same greedy text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpt.config import SampleConfig
from gpt.generation.generate import generate
from gpt.model import GPT
from gpt.pretrained import load_pretrained
from gpt.pretrained.export import export

FOLDER = Path(__file__).parents[2] / "golden" / "huggingface"
CASES = pytest.mark.parametrize("case", sorted(path.name for path in FOLDER.iterdir()))
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def expected(case: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / case / "expected.npz") as file:
        return dict(file)


@CASES
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_logits_are_those_of_transformers(case: str, dtype: str) -> None:
    model, golden = GPT.from_pretrained(FOLDER / case, dtype=dtype), expected(case)
    logits = model(golden["ids"])
    assert logits.dtype == dtype
    theirs = golden[f"logits/{dtype[-2:]}"]
    assert theirs.dtype == dtype
    assert theirs.std() > 0.3  # the numbers say something
    np.testing.assert_allclose(logits.data, theirs, rtol=0, atol=TOLERANCE[dtype] * np.abs(theirs).max())


@CASES
def test_greedy_text_is_that_of_transformers(case: str) -> None:
    golden = expected(case)
    prompt = golden["ids"][0, :6].tolist()
    sampled = generate(GPT.from_pretrained(FOLDER / case), prompt, SampleConfig(max_new_tokens=64, temperature=0))
    assert [token for (token,) in sampled] == golden["greedy"].tolist()
    assert len(golden["greedy"]) == 64


@CASES
def test_what_is_exported_is_what_was_read(case: str, tmp_path: Path) -> None:
    pretrained = load_pretrained(FOLDER / case)
    model = pretrained.model()
    export(tmp_path / "out", model.config, model.state_dict(), None)
    again = load_pretrained(tmp_path / "out")
    assert again.model_config == pretrained.model_config
    state = model.state_dict()
    assert list(again.tensors) == list(pretrained.tensors)
    for name, weights in again.tensors.items():
        np.testing.assert_array_equal(weights, state[name], err_msg=name)


def test_the_cases_cover_what_may_differ() -> None:
    configs = [load_pretrained(FOLDER / path.name).model_config for path in FOLDER.iterdir()]
    for field, values in {
        "norm": {"layernorm", "rmsnorm"},
        "tie_embeddings": {True, False},
        "bias": {True, False},
        "qk_norm": {True, False},
        "qkv_bias": {True, None},
        "mlp_bias": {True, False, None},
        "rope_scaling": {"linear", "llama3", None},
        "window": {5, None},
        "activation": {"gelu_tanh", "gelu", "silu"},
    }.items():
        assert {getattr(config, field) for config in configs} == values
    assert len({config.norm_eps for config in configs}) > 2
    assert len({config.rope_theta for config in configs}) > 1
    assert any(config.head_dim * config.n_heads != config.d_model for config in configs)


@pytest.mark.slow
@pytest.mark.peers
def test_transformers_still_gives_the_same_numbers(make_again: Callable[[str], dict[str, np.ndarray]]) -> None:
    pytest.importorskip("transformers", exc_type=ImportError)
    made = make_again("make_huggingface")
    stored = {f"{path.name}/{name}": a for path in FOLDER.iterdir() for name, a in expected(path.name).items()}
    assert made.keys() == stored.keys()
    for name, array in stored.items():
        np.testing.assert_allclose(made[name], array, rtol=0, atol=1e-4 * np.abs(array).max(), err_msg=name)
