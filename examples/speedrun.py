"""The speed run: how fast is validation loss 1.88 reached on tiny Shakespeare, by character?

    python examples/speedrun.py                   three seeds, beside PyTorch
    python examples/speedrun.py FILE --no-torch   ours alone, on this text

Each seed trains our record, and then nanoGPT's recipe for this text in PyTorch (2,000 steps of AdamW on GPT-2's block),
with two cores each, one after the other in the same minutes. The loss is that of the whole validation split, without its
first token. Only the steps are timed, from the batch to the update: not reading the text, and not the validation. It
takes about six minutes on two cores, and PyTorch.

The records, one change a line (losses of the first three: one seed):

    record  what changed                              steps  loss   commit
    adamw   linear decay to 0, batches of 24, 4e-3      800  1.865  425a931
    llama   RMSNorm, RoPE, SwiGLU, no biases, 5e-3      470  1.871  425a931
    muon    Muon, 2e-2                                  230  1.886  425a931
    init    initial matrices of 1/√d_model, 1.5e-2      220  1.863  425a931

The last takes 13.7 s on two cores of an Intel Xeon, mean of three seeds (1.8613, 1.8677, 1.8606), 0.29 of the 46.5 s of the
recipe in PyTorch, which comes to 1.900.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

from train_shakespeare import download

from gpt.__main__ import main as gpt
from gpt.runs.run import read_metrics
from nanograd.runtime.arguments import Parser

TARGET = 1.88
BATCH, CONTEXT = 24, 64
SHAPE = f"--tokenizer char --d-model 128 --n-layers 4 --n-heads 4 --context-length {CONTEXT} --batch-size {BATCH} "
LOOP = "--schedule linear --min-lr 0 --weight-decay 0.1 --ema none --sample-every 0 --eval-batches none"
GPT2 = "--norm layernorm --position learned --mlp plain --bias "
LLAMA = "--norm rmsnorm --position rope --mlp gated --no-bias "
RECORDS = {  # the options of each, one change a line, and its number of steps
    "adamw": (GPT2 + "--optimizer adamw --lr 4e-3 --warmup-steps 60 --init-std 0.02 ", 800),
    "llama": (LLAMA + "--optimizer adamw --lr 5e-3 --warmup-steps 40 --init-std 0.02 ", 470),
    "muon": (LLAMA + "--optimizer muon --lr 2e-2 --warmup-steps 10 --init-std 0.02 ", 230),
    "init": (LLAMA + "--optimizer muon --lr 1.5e-2 --warmup-steps 10 --init-std 0.088 ", 220),
}
TORCH_STEPS, TORCH_BATCH = 2000, 12


def ours(text: Path, record: str, seed: int) -> tuple[float, float]:
    """Train a record; return the seconds of its steps and its validation loss."""
    options, steps = RECORDS[record]
    words = (
        f"{SHAPE}{options}{LOOP} --max-steps {steps} --eval-every {steps} --save-every {steps} --seed {seed}".split()
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        if code := gpt(["train", "--data", str(text), *words, "--out", str(run)]):
            sys.exit(code)
        records = read_metrics(run)
    assert records[-1].val_loss is not None
    return sum(BATCH * CONTEXT / record.tokens_per_s for record in records), records[-1].val_loss


def torch(text: Path, seed: int) -> tuple[float, float]:
    """Train the recipe in PyTorch, in a process of its own; return what `ours` does."""
    command = [sys.executable, __file__, str(text), "--recipe", str(seed)]
    seconds, loss = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return seconds, loss


def train_recipe(text: Path, seed: int) -> tuple[float, float]:
    """Train nanoGPT's recipe in PyTorch: batches of 12, 2,000 steps, learning rate 1e-3 falling to 1e-4 by a cosine."""
    import time

    import torch
    from torch_gpt import TorchGPT, adamw

    from gpt.config import ModelConfig
    from gpt.text.read import read_text, split_text
    from gpt.tokenizer import CharTokenizer
    from nanograd.optim import warmup_cosine

    whole = read_text(str(text))
    tokenizer = CharTokenizer.train(whole)
    train, val = (torch.tensor(tokenizer.encode(part)) for part in split_text(whole, 0.1))
    torch.manual_seed(seed)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=CONTEXT, d_model=128, n_layers=4, n_heads=4)
    model = TorchGPT(config)
    for name, parameter in model.named_parameters():  # as GPT.init_weights
        if parameter.ndim == 2:
            residual = name.endswith(("out_proj.weight", "down.weight"))
            torch.nn.init.normal_(parameter, std=0.02 / 8**0.5 if residual else 0.02)
    for parameter in (p for name, p in model.named_parameters() if name.endswith("bias")):
        torch.nn.init.zeros_(parameter)
    optimizer, seconds = adamw(model, 1e-3), 0.0
    for step in range(TORCH_STEPS):
        began = time.perf_counter()
        rate = warmup_cosine(step, lr=1e-3, min_lr=1e-4, warmup_steps=100, max_steps=TORCH_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = torch.randint(len(train) - CONTEXT, (TORCH_BATCH,))
        windows = torch.stack([train[i : i + CONTEXT + 1] for i in starts])
        loss = model(windows[:, :-1], windows[:, 1:].contiguous())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds += time.perf_counter() - began
    with torch.no_grad():
        whole_windows = val[: (len(val) - 1) // CONTEXT * CONTEXT + 1]
        ids, targets = whole_windows[:-1].view(-1, CONTEXT), whole_windows[1:].view(-1, CONTEXT)
        losses = [model(i, t).item() * t.numel() for i, t in zip(ids.split(64), targets.split(64), strict=True)]
    return seconds, sum(losses) / targets.numel()


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("path", metavar="FILE", nargs="?", type=Path, help="the text (default: downloaded)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="N", help="seeds (default 1 2 3)")
    parser.option("--record", "which record to train (default: the last)", list(RECORDS)[-1], choices=tuple(RECORDS))
    parser.option("--no-torch", "without the recipe in PyTorch beside it", False)
    parser.option("--recipe", "train the recipe in PyTorch alone, with this seed", kind=int, metavar="SEED")
    args = parser.parse()
    path = args.path or download(Path("tinyshakespeare.txt"))
    if args.recipe is not None:
        print(json.dumps(train_recipe(path, args.recipe)))
        return
    rows = []
    for seed in args.seeds:
        theirs = (math.nan, math.nan) if args.no_torch else torch(path, seed)
        rows.append((*ours(path, args.record, seed), *theirs))
        print("seed {}: {:.1f} s to {:.4f}; PyTorch {:.1f} s to {:.4f}".format(seed, *rows[-1]), flush=True)
    seconds, loss, torch_seconds, torch_loss = (mean(column) for column in zip(*rows, strict=True))
    print(f"{args.record}: {seconds:.1f} s to {loss:.4f}; PyTorch {torch_seconds:.1f} s to {torch_loss:.4f}")
    if not args.no_torch:
        print(f"{seconds / torch_seconds:.2f} of the time of PyTorch")
    if loss > TARGET:
        sys.exit(f"the mean loss {loss:.4f} is above {TARGET}")


if __name__ == "__main__":
    main()
