"""Beside transformers: its rules in its order leave the same probabilities."""

from typing import Any

import numpy as np
import pytest

from gpt.generation.sampling import next_token_probabilities

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # what torch and transformers warn of is theirs
]


@pytest.mark.parametrize(
    "rules",
    [
        {"temperature": 0.7, "top_k": 20},
        {"temperature": 1.5, "top_p": 0.8},
        {"temperature": 2.0, "min_p": 0.1},
        {"repetition_penalty": 1.3, "temperature": 0.8, "top_k": 30, "top_p": 0.9, "min_p": 0.02},
        {"repetition_penalty": 2.0, "top_k": 5, "top_p": 0.5},
    ],
)
def test_the_rules_and_their_order_are_those_of_transformers(rules: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", exc_type=ImportError)
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    shape = {"vocab_size": 100, "n_embd": 4, "n_layer": 1, "n_head": 1, "n_positions": 16}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))
    config = transformers.GenerationConfig(do_sample=True, **{"top_k": 0, **rules})
    processors = theirs._get_logits_processor(config, input_ids_seq_length=8)
    rng = np.random.default_rng(0)
    for _ in range(20):
        logits, seen = 2 * rng.standard_normal(100), rng.integers(0, 100, 8)
        z = processors(torch.from_numpy(seen)[None], torch.from_numpy(logits)[None])
        ours = next_token_probabilities(logits, seen=seen.tolist(), **rules)
        np.testing.assert_allclose(ours, torch.softmax(z, -1)[0].numpy(), rtol=1e-9, atol=1e-12)
