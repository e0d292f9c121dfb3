"""A team of processes on this machine: the bits of one process, and nothing left behind. Starting one costs 0.7 s."""

import dataclasses
import gc
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.training import Batch, Objective, fit, make_optimizer, next_token_loss, next_token_objective
from nanograd import Tensor
from nanograd.optim import AdamW
from nanograd.parallel import DataParallel, Team
from nanograd.parallel.processes import ProcessTeam

MODEL = ModelConfig(vocab_size=20, context_length=8, d_model=16, n_layers=2, n_heads=2, dropout=0.2)
TRAIN = TrainConfig(
    batch_size=5, grad_accum_steps=2, max_steps=6, eval_every=3, eval_batches=2, lr=1e-2, warmup_steps=2, min_lr=1e-3,
    grad_clip=0.5, shards=4,
)  # fmt: skip
TOKENS = np.random.default_rng(0).integers(0, 20, 400)
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc lists files and processes")


def trained(teams: list[Team | None], *, frozen: bool = False) -> tuple[list[Any], dict[str, bytes]]:
    """Train 6 steps in as many parts as there are teams; return the records, and all parameters and averages.

    frozen: the first block is, and documents are kept apart.
    """
    config, begin = (dataclasses.replace(TRAIN, documents="apart"), 3) if frozen else (TRAIN, None)
    model, records = GPT(MODEL, rng=np.random.default_rng(1)), []
    if frozen:
        for parameter in model.blocks[0].parameters():
            parameter.requires_grad = False
    optimizer = make_optimizer(model, TRAIN)
    objective = next_token_objective(model, TOKENS, TOKENS[:100], config, begin)
    start, part = 0, TRAIN.max_steps // len(teams)

    def after_step(record: Any) -> bool:
        records.append((record.step, record.loss, record.val_loss, record.lr, record.grad_norm))
        return record.step == start + part

    for team in teams:
        fit(model, optimizer, objective, config, after_step=after_step, start=start, team=team)
        start += part
    arrays = {**model.state_dict(), **optimizer.state_dict()}
    return records, {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("frozen", [False, True])
def test_processes_give_the_bits_of_one_process(frozen: bool) -> None:
    records, arrays = trained([None], frozen=frozen)
    team_records, team_arrays = trained([ProcessTeam(2), None, ProcessTeam(4)], frozen=frozen)
    assert team_records == records
    assert [name for name, array in arrays.items() if team_arrays[name] != array] == []
    assert team_arrays.keys() == arrays.keys()


def children() -> list[int]:
    """Return the processes that this one has started, and that have not ended or were not waited for."""
    return [int(n) for task in Path("/proc/self/task").iterdir() for n in (task / "children").read_text().split()]


def shared() -> list[str]:
    """Return the blocks of shared memory that this process has open or mapped."""
    gc.collect()
    files = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [name for name in [*files, *Path("/proc/self/maps").read_text().splitlines()] if "memfd:nanograd" in name]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@needs_proc
def test_a_team_that_has_ended_leaves_no_process_no_file_and_no_memory() -> None:
    gc.collect()
    before = (children(), shared(), open_files())
    model = GPT(MODEL)
    parallel = DataParallel(model, make_optimizer(model, TRAIN), next_token_loss, shards=2, team=ProcessTeam(2))
    assert len(children()) == len(before[0]) + 1
    assert shared()
    ids = TOKENS[:32].reshape(4, 8)
    parallel.gradients(0, [(ids, ids)], 32)
    parallel.close()
    parallel.close()  # once more changes nothing
    assert children() == before[0]
    assert np.isfinite(model.state_dict()["norm.weight"]).all()  # the parameters live on
    del parallel, model
    assert (children(), shared(), open_files()) == before


def begin(loss_of: Any, model: GPT | None = None, team: ProcessTeam | None = None) -> DataParallel:
    model = GPT(MODEL) if model is None else model
    team = ProcessTeam(2) if team is None else team
    return DataParallel(model, AdamW(model.named_parameters()), loss_of, shards=2, team=team)


@needs_proc
def test_a_loss_that_other_processes_cannot_import_is_refused_in_one_line() -> None:
    def own_loss(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Tensor:
        return next_token_loss(model, ids, targets)

    before = children(), shared(), open_files()
    for loss_of in (own_loss, partial(own_loss), lambda *arguments: next_token_loss(*arguments)):
        with pytest.raises(
            TypeError, match=r"cannot be sent to other processes: the loss .* in a module that they can i"
        ):
            begin(loss_of)
    assert (children(), shared(), open_files()) == before


def test_an_error_on_a_rank_names_it() -> None:
    parallel = begin(next_token_loss)
    ids = np.zeros((4, 8), np.int64)
    wrong = ids.copy()
    wrong[3, 1] = 99
    with pytest.raises(ValueError, match=r"^rank 1: embedding: ids must lie in .* 0 to 99$"):
        parallel.gradients(0, [(wrong, ids)], 32)
    assert np.isfinite(parallel.gradients(0, [(ids, ids)], 32))
    parallel.close()


def test_an_error_in_a_training_ends_the_team() -> None:
    model, team = GPT(MODEL), ProcessTeam(2)
    ids = np.zeros((4, 8), np.int64)
    objective = Objective(lambda step, micro: Batch((ids + 99 * step, ids), 32), next_token_loss)
    with pytest.raises(ValueError, match=r"^embedding: ids must lie in"):
        fit(model, make_optimizer(model, TRAIN), objective, TRAIN, after_step=lambda record: None, team=team)
    assert team.processes == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's way to tell")
def test_a_process_computes_with_one_blas_thread_if_the_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "2")
    assert ProcessTeam(2).threads == 1
    assert ProcessTeam(3).threads == 1
    monkeypatch.setenv("NANOGRAD_THREADS", "8")
    assert ProcessTeam(2).threads == 4
