"""The cost of a training step when all of a GPT is trained, with LoRA, and with most parameters frozen.

    python examples/lora_cost.py

For each it prints the share of trained parameters, the time of a step on one core, the memory of the optimizer (trained
parameters, their gradients and AdamW's two moments), and the peak memory of a step apart from that (activations and
gradients of activations). It takes about ten seconds.
"""

import dataclasses
import time
import tracemalloc
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.finetune.task import FinetuneConfig, count_trainable, set_trainable
from gpt.model import GPT
from gpt.training import Batch, Objective, Record, fit, make_optimizer, next_token_loss
from nanograd.runtime import blas
from nanograd.runtime.arguments import Parser

MODEL = ModelConfig(vocab_size=2048, context_length=128, d_model=256, n_layers=4, n_heads=4)
TRAIN = FinetuneConfig(max_steps=6, batch_size=8, shards=1)
SETTINGS: dict[str, dict[str, Any]] = {
    "everything": {},
    "lora, rank 8, w_qkv and out_proj": {"lora_rank": 8},
    "lora, rank 8, all matrices": {"lora_rank": 8, "lora_target": "w_qkv,out_proj,up,down"},
    "last block and normalisation": {"freeze": "all_but_last_block"},
}


def measure(config: FinetuneConfig) -> tuple[float, float, int, int]:
    """Return the trained share, the seconds of a step, the bytes of the optimizer, and the other bytes of a step."""
    rng = np.random.default_rng(0)
    model = GPT(MODEL, rng)
    set_trainable(model, config, rng)
    optimizer = make_optimizer(model, config)
    ids = rng.integers(0, MODEL.vocab_size, (config.batch_size, MODEL.context_length + 1))
    batch = Batch((ids[:, :-1], ids[:, 1:]), ids[:, 1:].size)
    objective = Objective(lambda step, micro: batch, next_token_loss)
    moments = [time.process_time()]  # processor time, which other programs do not affect

    def log(record: Record) -> None:
        moments.append(time.process_time())

    with blas.one_thread():
        fit(model, optimizer, objective, config, after_step=log)
    seconds = float(np.diff(moments).min())
    tracemalloc.start()
    fit(model, optimizer, objective, dataclasses.replace(config, max_steps=1), after_step=lambda record: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    trained, total = count_trainable(model)
    return trained / total, seconds, sum(array.nbytes for array in optimizer.flat), peak


def main() -> None:
    Parser(description=__doc__).parse()  # --help
    print(
        f"{MODEL.n_layers} layers, d_model {MODEL.d_model}, batches of {TRAIN.batch_size} × {MODEL.context_length} tokens"
    )
    print(f"BLAS kernel {blas.kernel()}, one thread\n")
    print(f"{'what trains':<34}{'trained':>9}{'step':>10}{'optimizer':>12}{'a step needs':>14}")
    for name, change in SETTINGS.items():
        share, seconds, state, peak = measure(dataclasses.replace(TRAIN, **change))
        print(
            f"{name:<34}{share:>9.1%}{1e3 * seconds:>7.0f} ms{state / 1e6:>9.1f} MB{peak / 1e6:>11.1f} MB", flush=True
        )


if __name__ == "__main__":
    main()
