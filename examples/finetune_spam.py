"""Classify spam: from random weights, from a pretrained model, and with LoRA, over five seeds.

    python examples/finetune_spam.py [PATH] [--seeds 1 2 3 4 5]

PATH is SMSSpamCollection.tsv (UCI, 5,574 messages, CC BY 4.0): label, tab, message. Exact duplicates are removed, which
leaves 653 spam messages. As many of the others are drawn, and both are split 70/10/20. The seed determines the draw,
the split and the initial weights. The pretrained model of a seed has seen every message outside its validation and test
sets, as plain text without labels; this includes the 3,865 messages that were not drawn. Runs go to runs/spam. A seed
takes about two minutes on two cores.
"""

import contextlib
import io
import json
import shutil
import statistics
import sys
import time
from pathlib import Path

from gpt.__main__ import main as gpt
from gpt.finetune.classification_data import read_labelled, read_rows
from gpt.runs.checkpoint import LAST, load_checkpoint
from nanograd.runtime.arguments import Parser

OUT = Path("runs/spam")
SHAPE = "--d-model 64 --n-layers 2 --dropout 0.1"
BASE = f"{SHAPE} --context-length 128 --max-steps 800 --eval-every 400 --save-every 800"
LORA = "--lora-rank 8 --lora-alpha 32 --lora-target w_qkv,out_proj --lr 5e-3 --patience 10"  # smaller changes, larger steps


def run(*words: str | Path) -> float:
    """Run a command of gpt without its output; return the seconds that it took."""
    began, output = time.perf_counter(), io.StringIO()
    with contextlib.redirect_stdout(output):
        code = gpt([str(word) for word in words])
    if code:
        sys.exit(output.getvalue())
    return time.perf_counter() - began


def pretrain(data: Path, splits: Path, seed: int, folder: Path) -> float:
    """Pretrain on the messages that are neither in val.jsonl nor in test.jsonl of the folder `splits`."""
    held_out = {row.text for name in ("val", "test") for row in read_rows(splits / f"{name}.jsonl").rows}
    texts = [row.text for row in read_labelled(data).rows if row.text not in held_out]
    text = OUT / f"unlabelled-{seed}.txt"
    text.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return run("train", "--data", text, "--seed", str(seed), "--out", folder, *BASE.split())


def parameter_counts(folder: Path) -> tuple[int, int]:
    """Return the numbers of trained parameters, which are those with AdamW moments, and of all parameters."""
    checkpoint = load_checkpoint(folder / LAST)
    sizes = (a.size for name, a in checkpoint.tensors.items() if name.startswith("adamw.m."))
    return sum(sizes), sum(a.size for a in checkpoint.state_dict(merged=False).values())


def main() -> None:
    parser = Parser(description=__doc__)
    path_help, seeds_help = (
        "the messages (default SMSSpamCollection.tsv)",
        "one experiment per seed (default 1 2 3 4 5)",
    )
    parser.add_argument("path", nargs="?", type=Path, default=Path("SMSSpamCollection.tsv"), help=path_help)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="N", help=seeds_help)
    args = parser.parse()
    shutil.rmtree(OUT, ignore_errors=True)
    seconds: dict[str, list[float]] = {}
    accuracy: dict[str, list[float]] = {}
    for seed in args.seeds:
        base = OUT / f"base-{seed}"
        settings = {"random": f"--init random {SHAPE}", "pretrained": f"--init {base}", "LoRA": f"--init {base} {LORA}"}
        for name, flags in settings.items():
            folder = OUT / f"{name}-{seed}"
            words = ["--data", args.path, "--balance", "--seed", str(seed), "--out", folder, *flags.split()]
            seconds.setdefault(name, []).append(run("finetune", "classify", *words))
            accuracy.setdefault(name, []).append(
                100 * json.loads((folder / "scores.json").read_text(encoding="utf-8"))["accuracy"]
            )
            print(f"seed {seed}  {name:<10}  {accuracy[name][-1]:.1f} %  {seconds[name][-1]:.0f} s", flush=True)
            if name == "random":
                seconds.setdefault("base", []).append(pretrain(args.path, folder, seed, base))
                print(f"seed {seed}  pretraining  {seconds['base'][-1]:.0f} s", flush=True)
    print("\n            test accuracy  trained parameters  seconds per seed")
    for name, values in accuracy.items():
        sd = statistics.stdev(values) if len(values) > 1 else 0.0
        trained, total = parameter_counts(OUT / f"{name}-{args.seeds[0]}")
        took = f"{statistics.mean(seconds[name]):.0f}" + ("" if name == "random" else " + base")
        print(f"{name:<10}  {statistics.mean(values):.2f} ± {sd:.2f} %  {trained:>9,} ({trained / total:.1%})  {took}")
    print(
        f"\npretraining the base takes {statistics.mean(seconds['base']):.0f} s; ± is one standard deviation over the seeds"
    )


if __name__ == "__main__":
    main()
