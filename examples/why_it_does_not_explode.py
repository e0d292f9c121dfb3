"""Why training needs warmup and gradient clipping: the same model, data and seed, trained with and without them.

    python examples/why_it_does_not_explode.py

At the start gradients are large and change their direction from step to step. With the full learning rate from step 0
and no bound on an update, the first updates move the weights too far. Warmup makes them small, clipping bounds all
others. Both runs together take a few seconds.
"""

import numpy as np

from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.text.read import python_documentation
from gpt.tokenizer import CharTokenizer
from gpt.training import NotFiniteError, Record, train
from nanograd.optim import SGD
from nanograd.runtime.arguments import Parser
from nanograd.seeds import INIT, generator

STEPS, LR = 120, 1.0


def run(name: str, shape: ModelConfig, tokens: np.ndarray, warmup_steps: int, grad_clip: float | None) -> list[Record]:
    """Train with SGD: unlike in AdamW, an update is proportional to the gradient."""
    records: list[Record] = []
    config = TrainConfig(
        lr=LR, min_lr=LR, max_steps=STEPS, batch_size=8, warmup_steps=warmup_steps, grad_clip=grad_clip, seed=1
    )
    model = GPT(shape, generator(config.seed, INIT))
    optimizer = SGD(model.named_parameters(), LR, momentum=0.9)
    print(f"\n{name}")
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # overflow is what this example shows
            train(model, optimizer, tokens, None, config, after_step=records.append)
    except NotFiniteError as error:
        print(f"  {error}")
    for record in records:
        if record.step in (1, 2, 3, 5, 10, 20, 40, 80, STEPS):
            print(f"  step {record.step:>3}  loss {record.loss:10.4g}  gradient norm {record.grad_norm:10.4g}")
    return records


def main() -> None:
    Parser(description=__doc__).parse()  # --help
    text = python_documentation()[:100_000]
    tokenizer = CharTokenizer.train(text)
    tokens = np.array(tokenizer.encode(text))
    shape = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=32, d_model=64, n_layers=4, n_heads=4)
    unstable = run("without warmup and clipping", shape, tokens, warmup_steps=0, grad_clip=None)
    stable = run("with 40 steps of warmup, and the norm clipped to 1", shape, tokens, warmup_steps=40, grad_clip=1.0)
    start = np.log(tokenizer.vocab_size)
    assert len(unstable) < STEPS or unstable[-1].loss > start, (
        "the run without warmup and clipping was expected to diverge"
    )
    assert len(stable) == STEPS
    assert stable[-1].loss < 0.8 * start, "the run with warmup and clipping was expected to learn"
    print(f"\nAn untrained model has a loss of about ln {tokenizer.vocab_size} = {start:.2f}.")


if __name__ == "__main__":
    main()
