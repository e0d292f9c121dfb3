"""Train the guide's story model five times as long, also with twice the context; compare losses and facts it keeps.

    python examples/story_longer.py

The loss is that of the held-out stories. A story has about 97 tokens, so only a context of 128 shows a model its beginning
and its end together. A fact is a word of a story that occurs again, such as its colour: the model keeps it if the story is
more probable than with another word in the last place; chance is 0.5. It takes about two minutes on two cores.
"""

import re

import numpy as np

import gpt
from gpt import guide
from gpt.evaluation.score import token_log_probabilities
from gpt.model import GPT
from nanograd.runtime.arguments import Parser

RUNS = ((300, 64), (1500, 64), (1500, 128))  # steps and context
TOKENS = 1024  # in a batch
FACTS = {
    "animal": ["cat", "dog", "goat", "duck", "hen", "pony", "rabbit", "mouse", "owl", "fox"],
    "colour": ["black", "white", "brown", "grey", "red", "yellow"],
}
PAIRS = 40


def log_p(model: GPT, text: str) -> np.ndarray:
    """Return ln p of each token of a text but the first."""
    assert model.tokenizer is not None
    return token_log_probabilities(model, model.tokenizer.encode(text), stride=model.config.context_length // 2)


def kept(model: GPT, words: list[str], stories: list[str]) -> float:
    """Return the share of stories that are more probable than with another of the words in the last place."""
    passed: list[bool] = []
    for story in stories:
        found = list(re.finditer(rf"\b({'|'.join(words)})\b", story))
        if len(found) > 1 and found[-1][1] == found[0][1] and len(passed) < PAIRS:
            last = found[-1]
            other = words[(words.index(last[1]) + 3) % len(words)]
            wrong = story[: last.start()] + other + story[last.end() :]
            passed.append(bool(log_p(model, story).sum() > log_p(model, wrong).sum()))
    return float(np.mean(passed))


def main() -> None:
    Parser(description=__doc__).parse()  # --help
    text = guide.data("stories.txt").read_text(encoding="utf-8")
    held_out = text[int(0.9 * len(text)) :]
    stories = text.strip().split("\n\n")[810:]
    for steps, context in RUNS:
        model = gpt.train(
            guide.data("stories.txt"), quiet=True, tokenizer="bpe", vocab_size=512, d_model=64, n_layers=2, n_heads=4,
            norm="layernorm", position="learned", mlp="plain", bias=True, context_length=context, dropout=0.0,
            batch_size=TOKENS // context, max_steps=steps, optimizer="adamw", lr=4e-3, min_lr=4e-4, warmup_steps=30,
            beta1=0.9, beta2=0.99, weight_decay=0.1, grad_clip=1.0, eval_every=300, shards=2, seed=1,
            init_std=0.02, ema=None,
        )  # fmt: skip
        shares = ", ".join(f"{fact} kept {kept(model, words, stories):.2f} ± 0.2" for fact, words in FACTS.items())
        loss = -log_p(model, held_out).mean()
        print(f"{steps:>4} steps, context {context:>3}: loss {loss:.2f} ± 0.03, {shares}", flush=True)


if __name__ == "__main__":
    main()
