"""Compare the speed of the tokenizer with tiktoken and Hugging Face tokenizers, both written in Rust.

    python examples/bench.py tokenizer --data FOLDER

It takes about a minute. The folder (default: GPT_DATA_DIR) contains tinyshakespeare.txt and gpt2/ with encoder.json and
vocab.bpe. All figures are medians, and the encoders take turns. Before it is timed, every peer must return the same ids
as ours. The word cache of a "fresh" encoder is empty. A "warm" encoder has encoded the same lines in another order
before.
"""

import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpt.tokenizer import EOT, PATTERNS, BPETokenizer, load_tokenizer, to_huggingface, train_bpe
from nanograd.runtime.arguments import Parser

ADVERSARIAL = {"one letter": "a" * 10**6, "spaces": " " * 10**6, "emoji": "😀" * 250_000}
FLOORS = {"fresh": 0.3, "warm": 0.7}  # times tiktoken's speed
LIMITS = {"training 4096": 2.0, "training 500 on 133 kB": 0.5, **dict.fromkeys(ADVERSARIAL, 5.0)}  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return 1 if one misses its target."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("GPT_DATA_DIR"), help="folder (default: GPT_DATA_DIR)"
    )
    parser.add_argument("--rounds", type=int, default=9, help="timed runs of every encoder (default 9)")
    args = parser.parse(argv)
    if args.data is None:
        parser.error("give the folder of texts with --data or GPT_DATA_DIR")
    text = (args.data / "tinyshakespeare.txt").read_bytes().decode("utf-8")
    gpt2 = load_tokenizer(args.data / "gpt2")
    assert isinstance(gpt2, BPETokenizer)
    missed = bench_encoding(gpt2, text, args.rounds)
    missed += bench_limits(gpt2, args.data / "tinyshakespeare.txt", text)
    for name in missed:
        print(f"MISSED: {name}")
    return 1 if missed else 0


def bench_encoding(ours: BPETokenizer, text: str, rounds: int) -> list[str]:
    """Time encoding `text`; return the names of the figures that miss their target."""
    try:
        calls = peers(ours)
    except ImportError as error:
        print(f"no comparison: {error}; pip install tiktoken tokenizers")
        calls = {}
    lines = text.splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    second = "".join(lines)
    ours.encode_ordinary(text)  # fills the word cache
    for name, call in calls.items():
        if call(second) != ours.encode_ordinary(second):
            raise SystemExit(f"{name} returns other ids")
    n_bytes = len(text.encode("utf-8"))
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        fresh = BPETokenizer(ours.vocab, ours.merges, ours.special_tokens)  # its word cache is empty
        turns = {"fresh": fresh.encode_ordinary, "warm": ours.encode_ordinary, **calls}
        for name, call in turns.items():
            seconds.setdefault(name, []).append(timed(call, second))
    speeds = {name: n_bytes / 1e6 / statistics.median(times) for name, times in seconds.items()}
    print(f"encoding {n_bytes / 1e6:.2f} MB with {ours.vocab_size:,} tokens, median of {rounds}")
    for name, speed in speeds.items():
        ratios = "".join(f"  {speed / speeds[peer]:6.2f} x {peer}" for peer in calls if peer != name)
        print(f"  {name:24} {speed:6.2f} MB/s{ratios}")
    missed = [name for name, floor in FLOORS.items() if calls and speeds[name] < floor * speeds["tiktoken"]]
    return missed + [
        f"{name}, faster than Hugging Face" for name in FLOORS if calls and speeds[name] < speeds["hugging face"]
    ]


def peers(ours: BPETokenizer) -> dict[str, Callable[[str], list[int]]]:
    """Return the encoders of the peers with our vocabulary; raise ImportError if they are not installed."""
    import tiktoken
    import tokenizers

    special = set(ours.special_tokens.values())
    ranks = {token: id for id, token in ours.vocab.items() if id not in special}
    rust = tiktoken.Encoding(
        "peer", pat_str=PATTERNS[str(ours.pattern)], mergeable_ranks=ranks, special_tokens=ours.special_tokens
    )
    hugging_face: Any = tokenizers.Tokenizer.from_str(json.dumps(to_huggingface(ours)))
    return {"tiktoken": rust.encode_ordinary, "hugging face": lambda text: list(hugging_face.encode(text).ids)}


def bench_limits(gpt2: BPETokenizer, path: Path, text: str) -> list[str]:
    """Time training and adversarial texts; return the names of the figures that miss their target."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.txt"
        small.write_bytes(text[:133_000].encode("utf-8"))
        figures = {
            "training 4096": timed_thrice(lambda: train_bpe(path, 4096, [EOT])),
            "training 500 on 133 kB": timed_thrice(lambda: train_bpe(small, 500, [EOT])),
        }
    for name, adversary in ADVERSARIAL.items():
        figures[name] = timed_thrice(lambda adversary=adversary: gpt2.encode(adversary))  # type: ignore[misc]
    print("seconds, median of 3")
    for name, took in figures.items():
        label = f"encoding 1 MB of {name}" if name in ADVERSARIAL else name
        print(f"  {label:32} {took:6.2f}  (target: {LIMITS[name]:g})")
    return [name for name, took in figures.items() if took > LIMITS[name]]


def timed(call: Callable[[str], Any], text: str) -> float:
    """Return the seconds that a call takes."""
    gc.collect()
    start = time.perf_counter()
    call(text)
    return time.perf_counter() - start


def timed_thrice(call: Callable[[], Any]) -> float:
    """Return the median seconds of three calls."""
    return statistics.median(timed(lambda _: call(), "") for _ in range(3))


if __name__ == "__main__":
    sys.exit(main())
