"""Measure generation: GPT-2 (124M) compared with Hugging Face transformers, and a small model; or a model of yours.

    python examples/bench.py generate
    python examples/bench.py generate --model FOLDER   a run, or other weights

It takes about a minute, and 3 GB of memory. Both sides have the same random weights, a KV cache and a process of their
own, and take turns; their logits must agree. A token reads every matrix once, so memory bandwidth bounds decoding: it
is measured by reading 1 GB on all cores. Matrix products bound the prompt: "its bound" is the share of their peak
at which a prompt would run that takes no more than its products, softmax and activations. The comparison needs: pip
install 'nanograd-gpt[hf]'. A model of yours is not compared, but opened: its weights should take their size in memory
once.
"""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bench_worker import cores, matmul_peak

from gpt.api import open_model
from gpt.config import ModelConfig, SampleConfig
from gpt.generation.decoder import Decoder, gelu_tanh, silu
from gpt.generation.generate import generate
from gpt.model import GPT
from gpt.runs.estimate import forward_flops, shapes
from gpt.runs.safetensors import load_file, save_file
from nanograd.runtime import blas, threads
from nanograd.runtime.arguments import Parser

GPT2 = ModelConfig(vocab_size=50257, context_length=1024, d_model=768, n_layers=12, n_heads=12)
SMALL = ModelConfig(vocab_size=65, context_length=64, d_model=128, n_layers=4, n_heads=4)
PROMPT, NEW, LONG = 32, 32, 512  # tokens: prompt of the timed tokens, timed tokens, timed prompt
PAUSE = 0.05  # seconds between turns, in which idle threads stop spinning
OPENING: dict[str, Any] = {}  # of our side: seconds until the first token, memory, and its config
AGREE = 1e-3  # largest difference of two logits
TARGETS = {"speed over transformers": 1.5, "share of bandwidth": 0.7, "share of peak": 0.6, "small, tokens/s": 2000.0}
LIMITS = {"opened in, s": 3.0, "memory over size": 1.1}

Side = tuple[Callable[[np.ndarray], np.ndarray], Callable[[int], np.ndarray]]  # prompt (T,) and step, to logits (V,)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return 1 if one misses its target."""
    parser = Parser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--no-transformers", action="store_true", help="do not compare with transformers")
    parser.add_argument("--model", type=Path, metavar="PATH", help="measure this model alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    args = parser.parse(argv)
    compared = not args.no_transformers and args.model is None
    if compared and not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        print("no comparison: pip install 'nanograd-gpt[hf]'")
        compared = False
    figures = measure(args.rounds, compared, args.model)
    print(
        "\n".join(f"{name:<24}{value if isinstance(value, str) else f'{value:.4g}'}" for name, value in figures.items())
    )
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    missed = [name for name, target in TARGETS.items() if name in figures and not figures[name] >= target]
    missed += [name for name, limit in LIMITS.items() if name in figures and not figures[name] <= limit]
    for name in missed:
        print(f"MISSED: {name}, target: {(TARGETS | LIMITS)[name]:g}")
    return int(bool(missed))


def measure(rounds: int, compared: bool, model: Path | None = None) -> dict[str, Any]:
    """Let the sides take turns; return the measurements."""
    turns: dict[str, list[dict[str, Any]]] = {}
    bounds = []
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.safetensors") if model is None else str(model)
        sides = {"ours": start("ours", weights)}  # it saves the weights
        opening = ask(sides["ours"], "opening")
        if compared:
            sides["transformers"] = start("transformers", weights)
        for process in sides.values():
            ask(process, "turn")  # the first is slower
        for _ in range(rounds):
            bounds.append(ask(sides["ours"], "bounds"))
            for name, process in sides.items():
                time.sleep(PAUSE)
                turns.setdefault(name, []).append(ask(process, "turn"))
        small = ask(sides["ours"], "small") if model is None else None
        for process in sides.values():
            process.communicate()  # closing its input ends it
    bandwidth, product, peak = (median(bound[name] for bound in bounds) for name in ("bandwidth", "product", "peak"))
    figures: dict[str, Any] = {
        "cores": cores(), "numpy": np.__version__, "kernel": blas.kernel(), "bandwidth, GB/s": bandwidth / 1e9,
        "in a product, GB/s": product / 1e9,
        "matmul peak, GFLOP/s": peak / 1e9,
    }  # fmt: skip
    speeds = {}
    for name, results in turns.items():
        speeds[name] = 1 / median(turn["seconds"] for turn in results)
        prompt = median(turn["prompt"] for turn in results)
        figures[f"{name}, tokens/s"] = speeds[name]
        figures[f"{name}, prompt tokens/s"] = LONG / prompt
        if name == "ours":
            config = GPT2 if model is None else ModelConfig(**opening.pop("config"))
            pairs = list(zip(results, bounds, strict=True))  # measured one after the other
            for bound, share in (("product", "share of a product"), ("bandwidth", "share of bandwidth")):
                figures[share] = median(matrix_bytes(config) / turn["seconds"] / b[bound] for turn, b in pairs)
            flops = prompt_flops(config, LONG)
            figures["share of peak"] = median(flops / turn["prompt"] / b["peak"] for turn, b in pairs)
            figures["its bound"] = median(flops / b["prompt"] / b["peak"] for b in bounds)
    if compared:
        both = zip(turns["ours"], turns["transformers"], strict=True)
        figures["speed over transformers"] = median(theirs["seconds"] / ours["seconds"] for ours, theirs in both)
        logits = [np.array(turns[name][0]["logits"]) for name in turns]
        if not (difference := float(np.abs(logits[0] - logits[1]).max())) <= AGREE:
            raise SystemExit(f"bench: logits must agree to {AGREE:g}, they differ by {difference:.2g}")
        figures["logits differ by"] = difference
    if small is None:
        return figures | opening
    return figures | {"small, tokens/s": small["temperature"], "small, greedy tokens/s": small["greedy"]}


def matrix_bytes(config: ModelConfig) -> int:
    """Return the bytes, in float32, of the matrices that every token reads."""
    sizes = {name: math.prod(shape) for name, shape in shapes(config).items() if len(shape) == 2}  # those of one block
    blocks = sum(size for name, size in sizes.items() if name.startswith("blocks."))
    return 4 * (config.n_layers * blocks + config.vocab_size * config.d_model)


def prompt_flops(config: ModelConfig, tokens: int) -> int:
    """Return the operations of a prompt in matrix products; only its last token needs logits."""
    head = 2 * config.vocab_size * config.d_model
    return tokens * (forward_flops(config, tokens) - head) + head


# The two sides, in separate processes


def start(side: str, weights: str) -> subprocess.Popen[str]:
    """Start a side."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    process = subprocess.Popen(
        [sys.executable, __file__, side, weights], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        encoding="utf-8", env=plain,
    )  # fmt: skip
    return process


def ask(process: subprocess.Popen[str], question: str) -> dict[str, Any]:
    """Send one line, and wait for the answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(question + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"bench: a side ended with exit code {process.wait()}; see above")
    result: dict[str, Any] = json.loads(answer)
    return result


def make_ours(weights: str) -> Side:
    """Open a model; or create GPT-2, and save its weights for the other side."""
    before, began = peak_memory(), time.perf_counter()
    if Path(weights).exists():
        model = open_model(weights)[0]
    else:
        model = GPT(GPT2, np.random.default_rng(0))
        save_file(model.state_dict(), weights)
    decoder = Decoder(model, capacity=min(LONG + NEW, model.config.context_length))
    decoder.step(np.array([0]))
    OPENING.update({"opened in, s": time.perf_counter() - began, "config": model.config.to_dict()})
    if sys.platform == "linux":
        OPENING["memory over size"] = (peak_memory() - before) / sum(p.data.nbytes for p in model.parameters())
    return lambda ids: decoder.prefill(ids[None])[0], lambda id: decoder.step(np.array([id]))[0]


def peak_memory() -> int:
    """Return the most memory that this process has used, in bytes; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    assert peak is not None
    return 1024 * int(peak[1])


def make_transformers(weights: str) -> Side:
    """Create the model of transformers with our weights; its matrices are transposed: (in, out)."""
    import torch
    import transformers
    from transformers import GPT2Config, GPT2LMHeadModel

    warnings.simplefilter("ignore", FutureWarning)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(cores())
    torch.set_grad_enabled(False)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    ours, _ = load_file(weights)
    names = {"tok_emb": "wte", "pos_emb": "wpe", "blocks": "h", "norm": "ln_f", "norm1": "ln_1", "norm2": "ln_2"}
    names |= {"w_qkv": "c_attn", "out_proj": "c_proj", "up": "c_fc", "down": "c_proj"}
    state = {}
    for name, array in ours.items():
        words = [names.get(word, word) for word in name.split(".")]
        oriented = array.T if words[-2].startswith("c_") and array.ndim == 2 else array
        state[".".join(["transformer", *words])] = torch.from_numpy(oriented.copy())
    state["lm_head.weight"] = state["transformer.wte.weight"]
    model.load_state_dict(state)
    cache: list[Any] = [None]

    def read(ids: list[int]) -> np.ndarray:
        out = model(torch.tensor([ids]), past_key_values=cache[0], use_cache=True, logits_to_keep=1)
        cache[0] = out.past_key_values
        return np.asarray(out.logits[0, -1])

    def prompt(ids: np.ndarray) -> np.ndarray:
        cache[0] = None
        return read(ids.tolist())

    return prompt, lambda id: read([id])


def turn(side: Side) -> dict[str, Any]:
    """Time a long prompt, and greedy decoding after a short one: the median of its steps, for a busy machine stops some."""
    prompt, step = side
    ids = np.random.default_rng(0).integers(0, 1000, LONG)
    prompt(ids[:PROMPT])
    began = time.perf_counter()
    prompt(ids)
    took = time.perf_counter() - began
    logits = prompt(ids[:PROMPT])
    seconds = []
    for _ in range(NEW):
        began = time.perf_counter()
        logits = step(int(logits.argmax()))
        seconds.append(time.perf_counter() - began)
    return {"prompt": took, "seconds": median(seconds), "logits": logits[:1000].tolist()}


def bounds() -> dict[str, float]:
    """Measure the bounds: bytes per second of reading 1 GB on all cores, and FLOP/s of a square matrix product.

    The BLAS may read a matrix with rows of d_model numbers more slowly, a bound that a better kernel could raise.
    """
    numbers, d_model = np.ones(250_000_000, np.float32), OPENING["config"]["d_model"]
    chunks = np.array_split(numbers, cores())
    tasks = [
        partial(np.matmul, chunk[: len(chunk) // 1000 * 1000].reshape(-1, 1000), np.ones(1000, np.float32))
        for chunk in chunks
    ]
    took = []
    for _ in range(3):
        began = time.perf_counter()
        threads.run(tasks)
        took.append(time.perf_counter() - began)
    matrix, row, products = numbers[: len(numbers) // d_model * d_model].reshape(-1, d_model), numbers[:d_model], []
    for _ in range(3):
        began = time.perf_counter()
        matrix @ row
        products.append(time.perf_counter() - began)
    return {
        "bandwidth": 1e9 / min(took),
        "product": 1e9 / min(products),
        "peak": matmul_peak(),
        "prompt": prompt_bound(),
    }


def prompt_bound() -> float:
    """Return the seconds that the arithmetic of a prompt takes by itself: its products at their sizes, softmax, activation.

    Attention's products are those of 64 queries with the keys that they may see, of the query heads of a key head at once.
    Softmax and activation run on one thread: on two they compete with the threads of the BLAS, which spin. Masks, copies,
    normalisation, rotation and the residual stream are left out.
    """
    config, ones = ModelConfig(**OPENING["config"]), partial(np.ones, dtype=np.float32)
    D, K, rows = config.head_dim, config.n_kv_heads, 64 * config.n_heads // config.n_kv_heads
    matrices: list[np.ndarray] = [
        ones(shape) for name, shape in shapes(config).items() if name.startswith("blocks.") and len(shape) == 2
    ]
    inputs: dict[int, np.ndarray] = {matrix.shape[1]: ones((LONG, matrix.shape[1])) for matrix in matrices}
    queries, keys, values = ones((K, rows, D)), ones((K, D, LONG)), ones((K, LONG, D))
    hidden, activation = ones((LONG, config.d_ff)), silu if config.mlp == "gated" else gelu_tanh
    scores = [np.empty((K, rows, end), np.float32) for end in range(64, LONG + 1, 64)]
    took = []
    for _ in range(5):
        began = time.perf_counter()
        for matrix in matrices:
            inputs[matrix.shape[1]] @ matrix.T
        with blas.one_thread():
            for s in scores:
                np.matmul(queries, keys[..., : s.shape[-1]], out=s)
                s -= s.max(axis=-1, keepdims=True)
                np.exp(s, out=s)
                s @ values[:, : s.shape[-1]] / s.sum(axis=-1, keepdims=True)
        activation(hidden)
        took.append(time.perf_counter() - began)
    return config.n_layers * min(took)


def small() -> dict[str, float]:
    """Return the tokens per second of a small model, including sampling."""
    model, speeds = GPT(SMALL, np.random.default_rng(0)).eval(), {}
    n = SMALL.context_length - 1
    for name, temperature in (("greedy", 0.0), ("temperature", 0.8)):
        took = []
        for _ in range(20):
            began = time.perf_counter()
            for _ in generate(model, [0], SampleConfig(max_new_tokens=n, temperature=temperature)):
                pass
            took.append((time.perf_counter() - began) / n)
        speeds[name] = 1 / median(took)
    return speeds


def serve(side: str, weights: str) -> None:
    """Answer one question per line until the input ends."""
    model = {"ours": make_ours, "transformers": make_transformers}[side](weights)
    for line in sys.stdin:
        question = line.strip()
        answers: dict[str, Callable[[], dict[str, Any]]]
        answers = {"bounds": bounds, "small": small, "turn": partial(turn, model), "opening": lambda: OPENING}
        print(json.dumps(answers[question]()), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] in (["ours"], ["transformers"]):
        serve(*sys.argv[1:])
    else:
        sys.exit(main())
