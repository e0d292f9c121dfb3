"""Runs under mpiexec: the bits and the log of one process and of a team of processes, for every command that trains."""

import hashlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import gpt
from gpt.__main__ import main
from gpt.runs.checkpoint import LAST, load_checkpoint
from gpt.runs.lock import LOCK
from gpt.runs.run import METRICS, read_metrics
from gpt.runs.safetensors import load_file
from nanograd.runtime import blas

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
missing = MPIEXEC is None or importlib.util.find_spec("mpi4py") is None
pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(missing, reason="needs mpi4py and mpiexec: pip install -e '.[mpi]'"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals and kernels of POSIX"),
]
ENV = {
    **os.environ, "OPENBLAS_NUM_THREADS": "1", "NANOGRAD_THREADS": "2", "PYTHONPATH": str(Path(gpt.__file__).parents[1])
}  # fmt: skip
STEPS = "--max-steps 20 --eval-every 7 --save-every 10 --batch-size 6 --grad-accum-steps 2 --grad-clip 0.5 --shards 4"
MORE = {
    "train": "--dropout 0.2",
    "classify": "--lora-rank 2 --dropout 0.1",
    "instruct": "",
    "prefer": "",  # with LoRA
}
LONG = "--save-every 9999 --eval-every 9999 --max-steps 9999"


@pytest.fixture(scope="module")
def folder(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mpi") / "copy"
    shutil.copytree(inputs, folder)
    return folder


@pytest.fixture(scope="module")
def words(trainings: dict[str, str]) -> dict[str, list[str]]:
    """Return the arguments of every command that trains, without --out."""
    return {name: f"{training} {STEPS} {MORE[name]}".split() for name, training in trainings.items()}


@pytest.fixture(scope="module")
def alone(folder: Path, words: dict[str, list[str]]) -> dict[str, tuple[str, list[Any]]]:
    """Return what one process trains, by command."""
    results = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, arguments in words.items():
            assert main([*arguments, "--out", f"{name}-alone"]) == 0
            results[name] = result(folder / f"{name}-alone")
    return results


def result(run: Path) -> tuple[str, list[Any]]:
    """Return the SHA-256 of parameters and optimizer state, and what was logged but for times."""
    tensors, _ = load_file(run / LAST)
    digest = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.hexdigest(), [(r.step, r.loss, r.val_loss, r.lr, r.grad_norm) for r in read_metrics(run)]


def command(n: int, arguments: Sequence[str], *of_last: str) -> list[str]:
    """Return mpiexec with n ranks; of_last are options of mpiexec for the last rank alone."""
    program = [sys.executable, "-m", "gpt", *arguments]
    assert MPIEXEC is not None
    if not of_last:
        return [MPIEXEC, "-n", str(n), *program]
    return [MPIEXEC, "-n", str(n - 1), *program, ":", "-n", "1", *of_last, *program]


def mpiexec(folder: Path, *parts: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*parts), cwd=folder, env=ENV, capture_output=True, text=True, timeout=120)


def trains(folder: Path, *parts: Any) -> str:
    """Train to the end; return what was printed."""
    done = mpiexec(folder, *parts)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def fails(folder: Path, *parts: Any) -> str:
    """Return the one line that a training prints when it fails."""
    done = mpiexec(folder, *parts)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("name", list(MORE))
def test_ranks_train_what_one_process_trains(
    folder: Path, words: dict[str, list[str]], alone: dict[str, tuple[str, list[Any]]], name: str, n: int
) -> None:
    output = trains(folder, n, [*words[name], "--out", f"{name}-{n}"])
    assert f"workers   {n} ranks of mpiexec, {'1 shard' if n == 4 else '2 shards'} of a batch each\n" in output
    assert output.count("saved in") == 1  # rank 0 alone prints
    assert result(folder / f"{name}-{n}") == alone[name]
    names = {path.name for path in (folder / f"{name}-alone").iterdir()}
    assert {path.name for path in (folder / f"{name}-{n}").iterdir()} == names


@pytest.mark.parametrize(("name", "n"), [("train", 2), ("train", 4), ("instruct", 2), ("prefer", 4), ("classify", 2)])
def test_processes_train_what_one_process_trains(
    folder: Path,
    words: dict[str, list[str]],
    alone: dict[str, tuple[str, list[Any]]],
    name: str,
    n: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    workers = ["--workers", str(n), "--workers-as", "processes"]
    assert main([*words[name], *workers, "--out", f"{name}-processes-{n}"]) == 0
    assert f"workers   {n} processes, {'1 shard' if n == 4 else '2 shards'} of a batch each" in capsys.readouterr().out
    assert result(folder / f"{name}-processes-{n}") == alone[name]


def test_a_run_is_resumed_with_another_number_of_ranks(
    folder: Path, words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part has its own schedule of the learning rate, so it is compared with the same parts in one process."""
    trains(folder, 2, [*words["train"], "--out", "again", "--max-steps", "6"])
    trains(folder, 4, ["train", "--resume", "again", "--max-steps", "11"])
    monkeypatch.chdir(folder)
    assert main(["train", "--resume", "again", "--max-steps", "20", "--workers", "2", "--workers-as", "processes"]) == 0
    assert len(read_metrics(folder / "again")) == 20
    assert main([*words["train"], "--out", "in-parts", "--max-steps", "6"]) == 0
    for last in ("11", "20"):
        assert main(["train", "--resume", "in-parts", "--max-steps", last]) == 0
    assert result(folder / "again") == result(folder / "in-parts")


def test_the_default_number_of_shards_fits_the_ranks(
    folder: Path, words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ranks, whose sum is no longer the same in the reverse order."""
    arguments = " ".join(words["train"]).replace("--shards 1", "").replace("--shards 4", "").split()
    output = trains(folder, 3, [*arguments, "--out", "three"])
    assert "workers   3 ranks of mpiexec, 1 shard of a batch each\n" in output
    monkeypatch.chdir(folder)
    assert main([*arguments, "--shards", "3", "--out", "three-alone"]) == 0
    assert result(folder / "three") == result(folder / "three-alone")


# Refused


def test_shards_that_the_ranks_cannot_share_are_refused_with_a_way_out(
    folder: Path, words: dict[str, list[str]]
) -> None:
    line = fails(folder, 3, [*words["train"], "--out", "refused"])
    way_out = "take 3 or 6 shards, or 1 or 2 or 4 ranks"
    assert line == f"gpt train: --shards 4: 4 shards on 3 ranks: each rank takes 1, 2, 4, … shards; {way_out}"
    assert not (folder / "refused").exists()
    assert "4 shards on 3 ranks" in fails(folder, 3, ["train", "--resume", "train-alone", "--max-steps", "30"])
    assert not (folder / "train-alone" / LOCK).exists()


def test_workers_are_for_one_machine(folder: Path, words: dict[str, list[str]]) -> None:
    line = fails(folder, 2, [*words["train"], "--workers", "2", "--out", "refused"])
    assert line == "gpt train: --workers and --workers-as are for one machine; mpiexec has started the workers already"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of kernels of x86")
def test_a_rank_with_another_kernel_is_refused_and_can_be_allowed(folder: Path, words: dict[str, list[str]]) -> None:
    here = blas.kernel()
    other = "Haswell" if here.lower() != "haswell" else "Sandybridge"
    arguments = [*words["train"], "--max-steps", "2", "--out"]
    line = fails(folder, 2, [*arguments, "mixed"], "-env", "OPENBLAS_CORETYPE", other)
    assert line.startswith(
        f"gpt train: rank 1 has kernel {other}, and rank 0 kernel {here}: their results differ in the"
    )
    assert "--mixed-machines" in line
    trains(folder, 2, [*arguments, "mixed-allowed", "--mixed-machines"], "-env", "OPENBLAS_CORETYPE", other)
    assert len(read_metrics(folder / "mixed-allowed")) == 2


def test_an_error_of_rank_0_is_printed_once(folder: Path) -> None:
    assert fails(folder, 2, ["train", "--data", "nothing.txt", "--out", "refused"]).startswith("gpt train: ")


# Rank 0 is the run


def test_another_rank_needs_no_folder_and_writes_nothing(
    folder: Path, words: dict[str, list[str]], alone: dict[str, tuple[str, list[Any]]], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "read-only"
    elsewhere.mkdir()
    elsewhere.chmod(0o555)
    options = ["-wdir", str(elsewhere), "-env", "GPT_DATA_DIR", "/nowhere", "-env", "HOME", "/nowhere"]
    for name in ("train", "instruct"):
        trains(folder, 2, [*words[name], "--out", f"{name}-elsewhere"], *options)
        assert result(folder / f"{name}-elsewhere") == alone[name]
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("n", [2, 4])
def test_ctrl_c_saves_and_the_run_goes_on_later(folder: Path, words: dict[str, list[str]], n: int) -> None:
    run = folder / f"stopped-{n}"
    arguments = [*words["train"], *LONG.split(), "--out", run.name]
    process = subprocess.Popen(
        command(n, arguments), cwd=folder, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not ((run / METRICS).exists() and (run / METRICS).read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, (output, errors)
    step = load_checkpoint(run / LAST).state.step
    assert step == len(read_metrics(run)) >= 3
    assert not (run / LOCK).exists()
    assert f"stopped after step {step}; go on with: python -m gpt train --resume {run.name}\n" in output
    assert "Traceback" not in errors
    trains(folder, 6 - n, ["train", "--resume", run.name, "--max-steps", str(step + 2), "--eval-every", "2"])
    assert len(read_metrics(run)) == step + 2
