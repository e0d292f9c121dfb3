"""Faults of a team: ranks that stop, lack memory or raise errors, and signals. None hangs, loses or leaves anything."""

import importlib.util
import os
import random
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gpt.runs.run import read_metrics

spec = importlib.util.spec_from_file_location("team_attempts", Path(__file__).with_name("team_attempts.py"))
assert spec is not None
assert spec.loader is not None
teams = importlib.util.module_from_spec(spec)
spec.loader.exec_module(teams)
Attempt, BOTH, LONG, TRAIN = (getattr(teams, name) for name in ("Attempt", "BOTH", "LONG", "TRAIN"))
harness, attempt = teams.harness, teams.attempt  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")]
mpi = pytest.mark.mpi


# Stops


@pytest.mark.parametrize("team", BOTH)
@pytest.mark.parametrize("rank_stops", ["while it starts", "between two steps", "in a step", "with a large batch"])
def test_a_rank_that_stops_is_named_after_a_while(attempt: Any, team: str, rank_stops: str) -> None:
    stop = "lambda *_: os.kill(os.getpid(), signal.SIGSTOP)"
    if rank_stops == "while it starts":
        begin = "mpi import MPITeam as T\n T.join" if team == "mpi" else "processes import Process as T\n T.begin"
        attempt.start(team, f"if rank:\n from nanograd.parallel.{begin} = {stop}", wait=1.5)
    elif rank_stops == "in a step":
        attempt.start(team, f"wait(2)\nat_step(1, 7, {stop})")
    else:
        more = "--batch-size 2048" if rank_stops == "with a large batch" else ""  # more than a pipe takes
        attempt.start(team, "slow()\nwait(2)", more)
        attempt.steps(6)
        attempt.kill(1, signal.SIGSTOP)
    assert attempt.end() == 1
    assert re.match(r"gpt train: rank 1( \(process \d+\))? does not answer; ", attempt.line())
    assert attempt.line().endswith(attempt.way_on())
    if rank_stops == "in a step":
        attempt.check()


@mpi
def test_a_rank_that_stops_while_gradients_are_exchanged_is_named(attempt: Any) -> None:
    fault = """
from nanograd.parallel.mpi import MPITeam
exchange = MPITeam._exchange
def stop(self, *arguments):
    if rank == 1 and self.member.optimizer.t == 4:
        os.kill(os.getpid(), signal.SIGSTOP)
    exchange(self, *arguments)
MPITeam._exchange = stop
"""
    attempt.start("mpi", f"wait(2)\n{fault}")
    assert attempt.end() == 1
    assert attempt.line().startswith("gpt train: rank 1 does not answer; run has the checkpoint of step 3")
    attempt.check("4 processes")


@pytest.mark.parametrize("team", BOTH)
def test_the_time_in_which_a_whole_run_is_stopped_does_not_count(attempt: Any, team: str) -> None:
    attempt.start(team, "slow()\nwait(1)")
    for at in (4, 9):
        attempt.steps(at)
        ranks = [attempt.pid(1), attempt.pid(0), attempt.process.pid]
        for pid in ranks:
            os.kill(pid or 0, signal.SIGSTOP)
        time.sleep(1.5)
        for pid in reversed(ranks):
            os.kill(pid or 0, signal.SIGCONT)
    assert attempt.end() == 0
    assert not attempt.errors
    assert attempt.digest() == attempt.harness.expected(TRAIN)


# Memory, and processes that cannot be had

MEMORY = "at_step(1, 7, fail(MemoryError({})))"


@pytest.mark.parametrize("team", BOTH)
@pytest.mark.parametrize("text", ["", "'no room for 9 GB'"])
def test_a_rank_without_memory_is_named(attempt: Any, team: str, text: str) -> None:
    attempt.start(team, MEMORY.format(text))
    assert attempt.end() == 1
    problem = text.strip("'") or "MemoryError"
    rest = "run has the checkpoint of step 6; the step after it is lost"
    assert attempt.line() == f"gpt train: not enough memory: rank 1: {problem}; {rest}{attempt.way_on()}"


NO_TEAM = {
    "disk": ("import errno\nos.ftruncate = fail(OSError(errno.ENOSPC, 'No space left on device'))", "No space left"),
    "pages": (
        "import errno\nos.posix_fallocate = fail(OSError(errno.ENOMEM, 'Cannot allocate memory'))",
        "Cannot allo",
    ),
    "map": (
        "import errno, mmap\nif not rank:\n"
        " class Full(mmap.mmap):\n  def __new__(*a): raise OSError(errno.ENOMEM, 'Cannot allocate memory')\n"
        " from nanograd.parallel import shared_memory\n"
        " shared_memory.mmap = type('mmap', (), {'mmap': Full})",
        "Cannot allocate",
    ),
    "rank 1 has no memory": ("if rank: resource.setrlimit(resource.RLIMIT_AS, (50 << 20, 50 << 20))", "rank 1 "),
    "no Python": ("if not rank: sys.executable = '/no/python'", "rank 1 cannot start: /no/python: No such file"),
    "no nanograd": ("if rank: sys.modules['nanograd.parallel.processes'] = None", "rank 1 .* ModuleNotFoundError: "),
    "exit": ("if rank: os._exit(3)", "rank 1 .* ended with exit code 3; "),
    "no process": (
        "import errno, subprocess\nsubprocess.Popen = fail(OSError(errno.EAGAIN, 'Try again'))",
        "Try again",
    ),
}


@pytest.mark.parametrize("fault", NO_TEAM)
def test_a_team_that_cannot_be_had_names_threads_as_the_way_out(attempt: Any, fault: str) -> None:
    code, problem = NO_TEAM[fault]
    attempt.start("processes", code)
    assert attempt.end() == 1
    assert time.monotonic() - attempt.began < 20
    assert re.search(problem, attempt.line())
    assert "; take --workers-as threads; run has the checkpoint of step 0" in attempt.line()
    assert attempt.line().endswith(attempt.way_on())


# Signals

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


@pytest.mark.parametrize("stop", CODES)
@pytest.mark.parametrize("team", BOTH)
@pytest.mark.parametrize("whom", ["rank 0", "group"])
def test_a_signal_finishes_the_step_and_saves(attempt: Any, stop: str, team: str, whom: str) -> None:
    if (team, stop, whom) == ("mpi", "SIGHUP", "group"):
        pytest.skip("a hangup of mpiexec kills all ranks at once")
    attempt.start(team, "slow()", LONG)
    attempt.steps(4)
    if whom == "rank 0":
        attempt.kill(0, getattr(signal, stop))
    else:
        os.killpg(attempt.process.pid, getattr(signal, stop))
    assert attempt.end() == CODES[stop]
    again = "Ctrl-C" if stop == "SIGINT" else stop
    assert attempt.errors == f"\nfinishing the step, then saving; {again} again stops at once\n"
    step = attempt.step()
    assert step == len(read_metrics(attempt.run)) >= 4
    assert attempt.output.endswith(f"stopped after step {step}{attempt.way_on()}\n")


@pytest.mark.parametrize("team", BOTH)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_second_interrupt_stops_at_once(attempt: Any, team: str, rank: int) -> None:
    attempt.start(team, f"at_step({rank}, 4, lambda: time.sleep(30))")
    attempt.steps(4)
    for _ in range(2):
        time.sleep(0.2)
        attempt.kill(0, signal.SIGINT)
    assert attempt.end() == 130
    assert time.monotonic() - attempt.began < 20
    rest = f"run has the checkpoint of step 3; the step after it is lost{attempt.way_on()}"
    first = "finishing the step, then saving; Ctrl-C again stops at once"
    assert attempt.errors == f"\n{first}\n\n{rest}\n\ninterrupted\n"
    attempt.check()


@pytest.mark.parametrize("team", BOTH)
@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM"])
def test_a_signal_at_any_moment_of_the_start_leaves_nothing(harness: Any, team: str, stop: str) -> None:
    rng = random.Random(stop)
    for _ in range(2):
        attempt = Attempt(harness)
        attempt.start(team, "", LONG)
        attempt.pid(0)
        time.sleep(rng.uniform(0, 0.6))
        attempt.process.send_signal(getattr(signal, stop))
        assert attempt.end() != 0
        assert all("rank" not in line for line in attempt.errors.splitlines()), attempt.errors


# Errors on rank 0 and on others


@pytest.mark.parametrize("team", BOTH)
def test_a_loss_that_is_not_finite_ends_all_ranks(attempt: Any, team: str) -> None:
    attempt.start(team, "", "--lr 1e30 --weight-decay 0")
    assert attempt.end() == 1
    not_finite = r"gpt train: step \d+: the (validation )?loss is (nan|inf|[\d.]+ and the gradient norm (nan|inf))"
    assert re.match(not_finite, attempt.line())
    assert "run has the checkpoint of step" in attempt.line()


@pytest.mark.parametrize("team", BOTH)
def test_a_full_disk_ends_all_ranks(attempt: Any, team: str) -> None:
    limit = "lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, -1))"
    attempt.start(team, f"at_step(0, 4, {limit})")
    assert attempt.end() == 1
    assert "File too large" in attempt.line()
    assert attempt.line().endswith(f"run has the checkpoint of step 3; the 2 steps after it are lost{attempt.way_on()}")
    attempt.check()


@pytest.mark.parametrize("team", BOTH)
@pytest.mark.parametrize("where", ["nanograd.parallel.replica.DataParallel.loss_sum", "gpt.runs.run.Run.log"])
def test_an_interrupt_on_rank_0_alone_ends_all_ranks(attempt: Any, team: str, where: str) -> None:
    module, owner, name = where.rsplit(".", 2)
    fault = f"import {module} as m\nif not rank: m.{owner}.{name} = fail(KeyboardInterrupt)"
    attempt.start(team, fault)
    assert attempt.end() == 130
    assert attempt.errors.endswith("\ninterrupted\n")
    assert f"{attempt.way_on()}\n" in attempt.errors
    attempt.check()


WRONG = {  # what rank 1 raises, and what is printed
    "ValueError('bad row')": "rank 1: bad row",
    "FileNotFoundError(2, 'No such file', 'x')": "x: rank 1: No such file; run has the checkpoint of step 6",
    "ArithmeticError('odd')": "rank 1: odd; run has the checkpoint of step 6",
}


@pytest.mark.parametrize("team", BOTH)
@pytest.mark.parametrize("error", WRONG)
def test_an_error_of_another_rank_is_raised_on_rank_0_with_its_name(attempt: Any, team: str, error: str) -> None:
    attempt.start(team, f"at_step(1, 7, fail({error}))")
    assert attempt.end() == 1
    assert attempt.line().startswith(f"gpt train: {WRONG[error]}")


@pytest.mark.parametrize("team", BOTH)
def test_an_error_that_cannot_be_sent_is_named_too(attempt: Any, team: str) -> None:
    fault = """
class Odd(ValueError):
    def __init__(self, a, b):
        super().__init__(a + b)
at_step(1, 7, fail(Odd("one ", "two")))
"""
    attempt.start(team, fault)
    attempt.process.wait(60)
    _, errors = attempt.process.communicate()
    assert attempt.process.returncode == 1
    assert b"RuntimeError: rank 1: Odd: one two" in errors  # no mistake of the user: with a traceback
    attempt.until(lambda: not attempt.alive())


@mpi
@pytest.mark.parametrize(
    "where",
    ["gpt.commands.train.with_presets", "gpt.commands.train.begin_pretraining", "gpt.runs.supervise.report_end"],
)
@pytest.mark.parametrize("error", ["TypeError('a bug')", "SystemExit(5)", "KeyboardInterrupt()"])
def test_whatever_ends_rank_0_outside_of_the_loop_ends_mpiexec(attempt: Any, where: str, error: str) -> None:
    module, name = where.rsplit(".", 1)
    attempt.start("mpi", f"if not rank:\n import {module} as m\n m.{name} = fail({error})")
    output, _ = attempt.process.communicate(timeout=30)
    assert attempt.process.returncode == {"T": 1, "S": 5, "K": 130}[error[0]]
    assert b"BAD TERMINATION" not in output
    attempt.until(lambda: not attempt.alive())
