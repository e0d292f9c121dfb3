"""Kill every command that writes at random moments, and do it again: nothing is lost, not even a last file, nothing stays.

A command that trains is resumed, or given again where there is no run yet; all others are given again. At the end the
folder must be, file by file, that of a command that nobody killed.

    python tests/gpt/runs/test_kills.py 200     kills 200 times, and prints what they hit
"""

import hashlib
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import gpt
from gpt.runs.checkpoint import LAST, load_checkpoint
from gpt.runs.run import METRICS, read_metrics

ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(gpt.__file__).parents[1])}
STEPS = 80
LONGER = f"--max-steps {STEPS} --save-every 1 --eval-every 3"
OTHERS = {  # each writes `out`, or a file whose name begins so
    "prepare": "data prepare text.txt more --tokenizer bpe --vocab-size 270 --shard-tokens 1000 --out out",
    "tokenizer": "tokenizer train text.txt --vocab-size 300 --out out.json",
    "clean": "clean text.txt more --out out.txt",
    "merge": "merge tuned --out out.safetensors",
    "export": "export base --out out",
    "import": "import theirs --out out",
}
TRAININGS = ("train", "classify", "instruct", "prefer")
NAMES = (*TRAININGS, *OTHERS)
AT_MOST = 3  # kills of one command, before it may come to its end
FINISHED = ("go on with a larger --max-steps", "already exists", "is there already", "File exists")


class Harness:
    """A folder with the inputs of all commands, and for each the result and the seconds of one that was not killed."""

    def __init__(self, folder: Path) -> None:
        spec = importlib.util.spec_from_file_location("inputs", Path(__file__).with_name("conftest.py"))
        assert spec is not None
        assert spec.loader is not None
        inputs = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(inputs)
        self.inputs, self.folder = folder / "inputs", folder
        self.commands = {**{name: f"{inputs.TRAININGS[name]} {LONGER} --out out" for name in TRAININGS}, **OTHERS}
        (self.inputs / "more").mkdir(parents=True)
        inputs.write_inputs(self.inputs)
        text = (self.inputs / "text.txt").read_text(encoding="utf-8")
        for i in range(8):
            (self.inputs / "more" / f"{i}.txt").write_text(f"{i} of\n{text * 20}", encoding="utf-8")
        for words in (inputs.BASE, f"{inputs.TRAININGS['prefer']} --out tuned", "export base --out theirs"):
            run(self.inputs, words)
        self.whole: dict[str, tuple[float, dict[str, Any]]] = {}

    def expected(self, name: str) -> tuple[float, dict[str, Any]]:
        """Return the seconds and the result of a command that nobody kills."""
        if name not in self.whole:
            work = self.copy(f"{name}-whole")
            began = time.monotonic()
            run(work, self.commands[name])
            self.whole[name] = time.monotonic() - began, contents(work)
        return self.whole[name]

    def copy(self, name: str) -> Path:
        work = self.folder / name
        shutil.copytree(self.inputs, work)
        return work

    def kill(self, name: str, rng: random.Random, kills: int) -> Counter[str]:
        """Kill a command up to `kills` times, let it come to its end, and compare; return how many kills hit what."""
        seconds, expected = self.expected(name)
        work = self.copy(f"{name}-{rng.getrandbits(32):08x}")
        hit: Counter[str] = Counter()
        for _ in range(kills):
            command = [sys.executable, "-m", "gpt", *next_words(work, name, self.commands[name]).split()]
            process = subprocess.Popen(command, cwd=work, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=seconds * rng.uniform(0.1, 1.0))
                break  # it was faster
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            hit[f"{name}: {stage(work, name)}"] += 1
        run(work, next_words(work, name, self.commands[name]), FINISHED)
        result = contents(work)
        differing = sorted(file for file in result.keys() | expected.keys() if result.get(file) != expected.get(file))[
            :9
        ]
        assert not differing, f"{work}: after {dict(hit)} these files differ, are missing or left over: {differing}"
        shutil.rmtree(work)
        return hit


def next_words(work: Path, name: str, words: str) -> str:
    """Return the command that goes on: --resume where there is something of a run."""
    if name not in TRAININGS or not any((work / "out").glob("[!.]*")):
        if name in TRAININGS and (work / "out").exists():
            shutil.rmtree(work / "out")  # nothing is in there, as an error says
        return words
    return f"{'train' if name == 'train' else f'finetune {name}'} --resume out"


def run(work: Path, words: str, allowed: Sequence[str] = ()) -> None:
    """Run a command to its end; it may fail only where everything was done."""
    command = [sys.executable, "-m", "gpt", *words.split()]
    done = subprocess.run(command, cwd=work, env=ENV, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0 or any(text in done.stderr for text in allowed), f"{work}: {words}: {done.stderr}"
    assert "Traceback" not in done.stderr


def contents(work: Path) -> dict[str, Any]:
    """Return what must be the same, by file, hidden ones too: the times, speeds and the folder's name may differ."""
    files = {}
    for path in sorted(path for path in work.rglob("*") if path.is_file()):
        name = path.relative_to(work).as_posix()
        if not name.startswith("out"):
            files[name] = "an input"
        elif path.name == METRICS:
            files[name] = [(r.step, r.loss, r.val_loss, r.lr, r.grad_norm) for r in read_metrics(path.parent)]
        elif path.suffix == ".safetensors" and path.name in (LAST, "best.safetensors", "out.safetensors"):
            checkpoint = load_checkpoint(path)
            digest = hashlib.sha256()
            for key in sorted(checkpoint.tensors):
                digest.update(key.encode() + checkpoint.tensors[key].tobytes())
            files[name] = (digest.hexdigest(), checkpoint.state.step, checkpoint.state.best_val_loss)
        elif path.name == "config.json":
            config = json.loads(path.read_text(encoding="utf-8"))
            config.get("task", {}).pop("base", None)
            files[name] = config
        else:
            files[name] = hashlib.sha256(path.read_bytes().replace(os.fsencode(work.resolve()), b"")).hexdigest()
    return files


def stage(work: Path, name: str) -> str:
    """Return how far a killed command had come."""
    out = next((path for path in work.glob("out*")), None)
    if out is None:
        return "nothing written" if not list(work.glob(".*")) else "only temporary files"
    if name not in TRAININGS:
        return "something written"
    if not (out / LAST).exists():
        return "no checkpoint yet"
    state = load_checkpoint(out / LAST).state
    results = [result for result in ("sample.txt", "scores.json", "responses.jsonl") if (out / result).exists()]
    return "all written" if results else "after the last step" if state.step == STEPS else "between the steps"


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(tmp_path_factory.mktemp("kills"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_command_that_is_given_again_ends_as_if_nothing_had_been(harness: Harness, name: str) -> None:
    harness.kill(name, random.Random(name), 2)


def campaign(kill: Callable[[int], Counter[str]], kills: int) -> int:
    """Call kill(0), kill(1), …, which count what they hit, until there are so many; return 1 if one lost anything."""
    hits, lost, rounds = Counter[str](), 0, 0
    while sum(hits.values()) < kills:
        rounds += 1
        try:
            hit = kill(rounds - 1)
        except AssertionError as error:
            lost += 1
            print(f"LOST {error}", flush=True)
        else:
            hits += hit
            print(f"{sum(hits.values()):>5} kills: {dict(hit)}", flush=True)
    for what, n in sorted(hits.items()):
        print(f"{n:>5}  {what}")
    print(f"{sum(hits.values())} kills in {rounds} commands, of which {lost} lost or left something")
    return int(lost > 0)


def main(kills: int, seed: int = 0) -> int:
    """Kill so many times, the commands in turn; return 1 if anything was lost or left over."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder))
        return campaign(lambda n: harness.kill(NAMES[n % len(NAMES)], rng, rng.randint(1, AT_MOST)), kills)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
