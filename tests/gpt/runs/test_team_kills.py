"""Ranks that are killed at any moment: the run goes on from its checkpoint, with any other team, to the same bits.

Where rank 0 lives, one line names the rank and the way on. Nothing is left, no process and no file.

    python tests/gpt/runs/test_team_kills.py 200     kills 200 ranks, and prints what they hit
"""

import importlib.util
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gpt.runs.checkpoint import LAST

spec = importlib.util.spec_from_file_location("team_attempts", Path(__file__).with_name("team_attempts.py"))
assert spec is not None
assert spec.loader is not None
teams = importlib.util.module_from_spec(spec)
spec.loader.exec_module(teams)
Attempt, Harness, BOTH, LONG, TEAMS, TRAIN = (
    getattr(teams, name) for name in ("Attempt", "Harness", "BOTH", "LONG", "TEAMS", "TRAIN")
)
harness, attempt = teams.harness, teams.attempt  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")]
mpi = pytest.mark.mpi
PROCESS_TEAMS = ["processes", "4 processes"]


def kill_at_random(harness: Any, rng: random.Random, names: list[str], kills: int, words: str = TRAIN) -> Counter[str]:
    """Kill a rank so many times, go on with another team each time, and compare the end; return what was hit."""
    harness.expected(words)
    attempt, hit = Attempt(harness, words), Counter[str]()
    for _ in range(kills):
        team = rng.choice(names)
        size = int(team[0]) if team[0].isdigit() else 2
        rank = rng.randrange(size) if rng.random() < 0.8 else 0
        attempt.start(team, "slow()")
        attempt.pid(rank)
        if starts := rng.random() < 0.4:
            time.sleep(rng.uniform(0, 0.7))
        else:
            attempt.steps((attempt.step() if (attempt.run / LAST).exists() else 0) + rng.randint(1, 6))
            time.sleep(rng.uniform(0, 0.02))
        stage = f"step {attempt.step()}" if (attempt.run / LAST).exists() else "start"
        attempt.kill(rank)
        code = attempt.end()
        launched = bool(TEAMS[team][0])
        if code == 0:
            break
        if launched:
            assert code == 9, f"{attempt.work}: {team}, rank {rank}, {stage}: {code}: {attempt.output}"
            assert not attempt.errors, attempt.errors
        elif rank == 0:
            assert code == -signal.SIGKILL
            assert not attempt.errors
        else:
            assert code == 1, attempt.errors
            assert re.match(rf"gpt \w+: rank {rank} \(a process of this machine\) was ended by SIGKILL", attempt.line())
            assert attempt.line().endswith(attempt.way_on())
        if not (starts and launched):  # MPICH's memory has a name until all ranks have it
            assert not (left := teams.left_in_shared_memory(attempt.shared)), f"{team}, {rank}, {stage}: {left}"
        hit[f"{team}, rank {rank}, {stage}"] += 1
    attempt.check(rng.choice(names))
    return hit


@pytest.mark.parametrize("seed", range(5))
def test_a_killed_process_costs_the_steps_since_the_checkpoint(harness: Any, seed: int) -> None:
    kill_at_random(harness, random.Random(seed), PROCESS_TEAMS, 3)


@mpi
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_rank_of_mpi_too(harness: Any, seed: int) -> None:
    kill_at_random(harness, random.Random(seed), list(TEAMS)[1:], 3)


@pytest.mark.parametrize("name", teams.FINETUNE)
@pytest.mark.parametrize("team", BOTH)
def test_fine_tuning_and_lora_survive_the_kill_of_a_rank(harness: Any, name: str, team: str) -> None:
    harness.base()
    attempt = Attempt(harness, teams.FINETUNE[name])
    attempt.start(team, "slow()")
    attempt.steps(5)
    attempt.kill(1)
    if attempt.end() == 1:
        assert attempt.line().startswith("gpt finetune: rank 1 (a process of this machine) was ended by SIGKILL")
        assert attempt.line().endswith(attempt.way_on())
    assert attempt.step() in (3, 6)
    attempt.check("processes")


@mpi
@pytest.mark.parametrize("whom", ["mpiexec", "its proxy"])
def test_ranks_end_with_mpiexec(attempt: Any, whom: str) -> None:
    attempt.start("mpi", "slow()", LONG)
    attempt.steps(3)
    pid = attempt.pid(0)
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(attempt.process.pid if whom == "mpiexec" else parent, signal.SIGKILL)
    attempt.until(lambda: not attempt.alive())
    attempt.end()


def main(kills: int, seed: int = 0) -> int:
    """Kill so many ranks; return 1 if anything was lost or left over."""
    rng, campaign = random.Random(seed), teams.load("test_kills").campaign
    names = list(TEAMS)[1:] if shutil.which("mpiexec") else PROCESS_TEAMS
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder))
        return int(campaign(lambda n: kill_at_random(harness, rng, names, rng.randint(1, 5)), kills))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
