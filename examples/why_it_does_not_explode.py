"""The same model, data and seed, trained twice: with warmup and gradient clipping, and without.

    python examples/why_it_does_not_explode.py

At the start nothing is known, and gradients are large and point everywhere. With the full learning rate from step 0 and
no bound on a step, the first updates throw the weights far off; warmup makes them small, and clipping bounds the rest.
"""

import numpy as np

from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.text.read import python_documentation
from gpt.tokenizer import CharTokenizer
from gpt.training import NotFiniteError, Record, train
from nanograd.optim import SGD
from nanograd.seeds import INIT, generator

STEPS, LR = 120, 1.0
text = python_documentation()[:100_000]
tokenizer = CharTokenizer.train(text)
tokens = np.array(tokenizer.encode(text))
shape = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=32, d_model=64, n_layers=4, n_heads=4)


def run(name: str, warmup_steps: int, grad_clip: float | None) -> list[Record]:
    """Train with plain SGD, which hides nothing: a step is the gradient times the learning rate."""
    records: list[Record] = []
    config = TrainConfig(
        lr=LR, min_lr=LR, max_steps=STEPS, batch_size=8, warmup_steps=warmup_steps, grad_clip=grad_clip, seed=1
    )
    model = GPT(shape, generator(config.seed, INIT))
    optimizer = SGD(model.named_parameters(), LR, momentum=0.9)
    print(f"\n{name}")
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # numbers too large for float32 are what we came to see
            train(model, optimizer, tokens, None, config, after_step=records.append)
    except NotFiniteError as error:
        print(f"  {error}")
    for record in records:
        if record.step in (1, 2, 3, 5, 10, 20, 40, 80, STEPS):
            print(f"  step {record.step:>3}  loss {record.loss:10.4g}  gradient norm {record.grad_norm:10.4g}")
    return records


wild = run("without warmup and clipping", warmup_steps=0, grad_clip=None)
tame = run("with 40 steps of warmup, and the norm clipped to 1", warmup_steps=40, grad_clip=1.0)
start = np.log(tokenizer.vocab_size)
assert len(wild) < STEPS or wild[-1].loss > start, "the wild run was expected to be lost"
assert len(tame) == STEPS
assert tame[-1].loss < 0.8 * start, "the tame run was expected to learn"
print(f"\nA model that knows nothing has a loss of ln {tokenizer.vocab_size} = {start:.2f}.")
