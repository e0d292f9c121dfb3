"""A program that uses every name of `import gpt`. test_api.py checks it with mypy --strict; nobody runs it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import gpt


def trained(text: str) -> gpt.GPT:
    """Train in each of the ways."""
    gpt.train()
    gpt.train(Path("my.txt"), out="runs/mine", tokenizer=Path("tokenizer.json"), max_steps=10, lr=1e-3)
    gpt.train(text, init="runs/other", val_fraction=0, quiet=True, grad_clip=None)
    model: gpt.GPT = gpt.train(resume=Path("runs/mine"), max_steps=20)
    if model.history is not None:
        losses: list[float] = [record.loss for record in model.history]
        print(model.history, losses, gpt.history("runs/mine")[-1].val_loss)
    model.save("model.safetensors")
    return model


def generated(model: gpt.GPT) -> str:
    """Generate text in each of the ways."""
    pieces: Iterator[str] = model.generate("Once", stream=True, temperature=0.7, top_k=40, seed=3)
    text: str = "".join(pieces) + model.generate() + model.generate("upon", 20, stop="\n", top_p=None)
    return text + model.generate(max_new_tokens=5, stop=["\n\n", "."])


def by_hand() -> float:
    """Build a model from its parts."""
    tokenizer: gpt.Tokenizer = gpt.BPETokenizer.train("low lower lowest", 260)
    tokenizer = gpt.CharTokenizer.train("abc")
    tokenizer = gpt.load_tokenizer("tokenizer.json")
    model = gpt.GPT(gpt.ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16), np.random.default_rng(0))
    model.tokenizer = tokenizer
    ids = np.array([tokenizer.encode("abc")])
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    same: gpt.GPT = gpt.GPT.from_pretrained(Path("runs/mine"), dtype=np.float64)
    other: gpt.GPT = gpt.load("runs/mine", base="runs/base")
    print(gpt.TrainConfig(lr=1e-3), gpt.SampleConfig(top_k=3), same(ids).shape, other.tokenizer, gpt.__version__)
    return model.loss(ids, ids).item()
