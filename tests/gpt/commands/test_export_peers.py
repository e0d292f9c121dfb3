"""What `export` writes, as transformers opens it: the same tokens, chat template, ends and logits as before `import`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig
from gpt.finetune.templates import template_of_model
from gpt.model import GPT
from gpt.pretrained.chat_files import read_chat_files
from gpt.pretrained.export import export
from gpt.tokenizer import load_tokenizer

pytestmark = pytest.mark.peers
CHAT = [
    {"role": "user", "content": "Hello,  you!"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "?"},
]
TEXTS = [
    "The capital of France is Paris.",
    " 2026-11-30:\n\n\tdéjà  vu ▁ 東京 👩\u200d👩\u200d👧 <s> <|im_end|>",
    "",
    " x",
    "don't DON'T 12345",
]


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="the peer is transformers", exc_type=ImportError)


def check_tokenizers(transformers: Any, theirs: Path, ours: Path) -> None:
    before, after = (transformers.PreTrainedTokenizerFast.from_pretrained(folder) for folder in (theirs, ours))
    for text in TEXTS:
        assert after(text)["input_ids"] == before(text)["input_ids"]
        assert after(text, add_special_tokens=False)["input_ids"] == before(text, add_special_tokens=False)["input_ids"]
        ids = before(text)["input_ids"]
        assert after.decode(ids) == before.decode(ids)
    for ask in (True, False) if before.chat_template else ():
        expected = before.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=ask)
        assert after.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=ask) == expected
    assert after.eos_token == before.eos_token
    assert before.bos_token in (after.bos_token, None)  # ours may name what a text without a prompt begins with


@pytest.mark.parametrize("family", ["qwen3", "llama3_1", "llama2", "gemma3"])
def test_the_tokenizer_of_a_family_comes_back(
    transformers: Any, real_tokenizers: Path, family: str, tmp_path: Path
) -> None:
    folder = real_tokenizers / family
    chat = read_chat_files(folder, load_tokenizer(folder, warn=lambda note: None))
    template = template_of_model(chat.template, chat.bos_token, chat.eos_token) if chat.template else None
    config = ModelConfig(
        vocab_size=chat.tokenizer.vocab_size, d_model=4, n_layers=1, n_heads=1,
        norm="rmsnorm", position="rope", mlp="gated", bias=False,
    )  # fmt: skip
    export(tmp_path / "out", config, GPT(config).state_dict(), chat.tokenizer, template.to_jinja() if template else "")
    check_tokenizers(transformers, folder, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:21 bytes")
def test_smollm2_comes_back(
    transformers: Any, smollm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    run, out = tmp_path / "run", tmp_path / "out"
    assert main(["import", str(smollm2), "-o", str(run)]) == 0
    assert main(["export", str(run), "-o", str(out)]) == 0
    check_tokenizers(transformers, smollm2, out)
    before, after = (transformers.AutoModelForCausalLM.from_pretrained(f).eval() for f in (smollm2, out))
    assert after.generation_config.eos_token_id == before.generation_config.eos_token_id
    ids = torch.tensor(np.random.default_rng(0).integers(49152, size=(1, 20)))
    with torch.no_grad():
        assert torch.equal(after(ids).logits, before(ids).logits)
