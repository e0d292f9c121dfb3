"""Who computes a run's shards: what is asked for, what fits, and that a script needs nothing for it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gpt
from gpt.__main__ import main
from gpt.runs.run import read_metrics
from gpt.runs.team import LONG, SMALL, Work, Workers, power_of_two, with_shards

LITTLE = Work(tokens=64, d_model=16, operations=1e6)
ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(gpt.__file__).parents[1])}
SCRIPT = """
import hashlib, sys
import gpt

print("the script begins", flush=True)
model = gpt.train("a cat has a hat\\n" * 90, tokenizer="char", d_model=8, n_heads=1, n_layers=1, context_length=16,
                  batch_size=4, max_steps=4, eval_every=2, dropout=0.1, shards=2, {workers})
arrays = model.state_dict()
print("sha", hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest())
print([record.loss for record in model.history])
"""


def flags(**given: Any) -> dict[str, Any]:
    return dict.fromkeys(("workers", "workers_as", "mixed_machines", "shards")) | given


def test_a_script_without_a_guard_and_a_program_from_stdin_train_on_processes(tmp_path: Path) -> None:
    """The other processes import neither: a notebook and the prompt have no file that they could."""
    text = SCRIPT.format(workers="workers=2, workers_as='processes'")
    (tmp_path / "script.py").write_text(text, encoding="utf-8")
    (tmp_path / "threads.py").write_text(SCRIPT.format(workers="workers=2, workers_as='threads'"), encoding="utf-8")
    commands = [["script.py"], ["threads.py"], ["-"]]
    started = [
        subprocess.Popen(
            [sys.executable, *words], cwd=tmp_path, env=ENV, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for words in commands
    ]  # fmt: skip
    seen = set()
    for process, words in zip(started, commands, strict=True):
        output, errors = process.communicate(text if words == ["-"] else "", timeout=120)
        assert process.returncode == 0, errors
        assert errors == ""
        assert output.count("the script begins") == 1
        assert ("workers   2 processes, 1 shard of a batch each\n" in output) == (words != ["threads.py"])
        seen.add(output[output.index("sha ") :])
    assert len(seen) == 1


def test_the_model_is_the_same_however_many_work_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    options: Any = {
        "tokenizer": "char", "d_model": 8, "n_heads": 1, "n_layers": 1, "context_length": 16, "batch_size": 4,
        "max_steps": 4, "eval_every": 2, "shards": 4,
    }  # fmt: skip
    shas = []
    for workers in ({}, {"workers": 2, "workers_as": "processes"}):
        model = gpt.train("a cat has a hat\n" * 90, **options, **workers)
        shas.append(hashlib.sha256(b"".join(a.tobytes() for a in model.state_dict().values())).hexdigest())
    assert shas[0] == shas[1]
    assert "workers   2 processes, 2 shards of a batch each" in capsys.readouterr().out


def test_workers_are_no_option_of_the_run(inputs: Path, trainings: dict[str, str], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inputs)
        words = [*trainings["train"].replace("--shards 1", "").split(), "--out", str(tmp_path / "run")]
        assert main([*words, "--workers", "2", "--workers-as", "processes"]) == 0
        config = (tmp_path / "run" / "config.json").read_text(encoding="utf-8")
        assert "workers" not in config
        assert '"shards": 2' in config
        assert main(["train", "--resume", str(tmp_path / "run"), "--max-steps", "8"]) == 0
    assert [record.step for record in read_metrics(tmp_path / "run")] == list(range(1, 9))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"workers": 0}, "workers must be 1 or more, got 0"),
        ({"workers_as": "machines"}, "workers_as must be threads or processes, got 'machines'"),
        (
            {"workers": 3, "workers_as": "processes", "shards": 4},
            "--shards 4: 4 shards on 3 ranks: .*; take 3 or 6 shards, or 1 or 2 or 4 ranks",
        ),
    ],
)
def test_what_does_not_fit_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        with_shards(flags(**asked))


def test_the_same_errors_in_python_name_its_options() -> None:
    options: Any = {"max_steps": 1, "shards": 4, "workers": 3, "workers_as": "processes"}
    with pytest.raises(ValueError, match=r"^shards 4: 4 shards on 3 ranks: each rank takes .* 1 or 2 or 4 ranks$"):
        gpt.train("abc\n" * 300, **options)
    with pytest.raises(ValueError, match=r"^workers_as must be threads or processes, got 'gpus'$"):
        gpt.train("abc\n" * 300, workers_as="gpus")


def test_processes_have_a_shard_each_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "2")
    assert with_shards(flags(workers=3))["shards"] == 3
    assert with_shards(flags(workers=3, workers_as="threads"))["shards"] == 3
    assert with_shards(flags())["shards"] is None
    assert with_shards(flags(workers=2, workers_as="processes", shards=8))["shards"] == 8
    assert Workers().ranks(8) == 1
    assert Workers(2, "threads").ranks(8) == 1
    assert Workers(4, "processes").ranks(8) == 4
    assert Workers(None, "processes").ranks(8) == 2  # as many as there are cores
    assert Workers(None, "processes").ranks(1) == 1
    assert Workers(None, "processes").ranks(3) == 1  # two cannot share them
    assert Workers(1, "processes").team(4, LITTLE).size == 1
    assert [power_of_two(n) for n in (1, 2, 3, 4, 7, 8, 9)] == [1, 2, 2, 4, 4, 8, 8]


def test_processes_are_chosen_for_small_arrays_and_long_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "2")
    monkeypatch.setattr("sys.platform", "linux")
    d_model = 128
    work = Work(2 * SMALL // d_model, d_model, 2 * LONG)
    assert Workers().ranks(2, work) == 2
    assert Workers(None, "threads").ranks(2, work) == 1
    assert Workers().ranks(1, work) == 1
    assert Workers().ranks(3, work) == 1  # which two processes cannot share
    assert Workers().ranks(2, work._replace(tokens=work.tokens + 1)) == 1
    assert Workers().ranks(2, work._replace(operations=LONG)) == 1
    assert Workers(1).team(2, LITTLE).threads == 1
    assert Workers().team(2, LITTLE).threads is None
    assert Workers().team(1, LITTLE).size == 1
    assert capsys.readouterr().out == (
        "workers   1 thread for 2 shards of a batch\nworkers   2 threads for 2 shards of a batch\n"
    )
    monkeypatch.setattr("sys.platform", "win32")
    assert Workers().ranks(2, work) == 1
