"""examples/bench.py: our step on threads, processes and one core, and compared with the step of another checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OTHER = """
import json, sys
sys.stdin.readline()
print(json.dumps({"packages": %r in sys.path, "side": sys.argv[1], "shards": 1}), flush=True)
for line in sys.stdin:
    kind = line.split()[0]
    print(json.dumps({"seconds": 1000.0, "loss": 0.5} if kind == "step" else {kind: 1.0}), flush=True)
"""


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import bench

    ask = bench.Worker.ask
    peak = {"matmul_peak": 1e9}  # measuring it takes long
    monkeypatch.setattr(bench.Worker, "ask", lambda self, q: peak if q == "matmul_peak" else ask(self, q))
    monkeypatch.setattr(bench, "WARM_UP", 1)
    yield bench
    for name in ("bench", "bench_worker"):
        sys.modules.pop(name, None)


def test_the_other_side_runs_the_other_checkout(bench, tmp_path):
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "bench_worker.py").write_text(OTHER % str(tmp_path))
    result = bench.compare(bench.Shape(8, 1, 1, 4, 2, 5), 2, True, tmp_path)
    assert result["other"]["packages"]
    assert result["other"]["side"] == "ours"
    assert "torch" not in result
    ratio = result["ratios"]["other / ours"]["of_medians"]
    assert ratio == pytest.approx(1e6 / result["ours"]["median_ms"])
    assert result["loss_difference"] == pytest.approx(max(abs(loss - 0.5) for loss in result["ours"]["losses"]))
    assert f"other / ours {ratio:.2f}" in bench.describe("tiny", result)


def test_a_folder_that_is_no_checkout_is_an_error(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "S", "--against", str(tmp_path)])
    with pytest.raises(SystemExit):
        bench.main()
    assert "no examples/bench_worker.py" in capsys.readouterr().err


def test_threads_processes_and_one_core_take_the_same_steps(bench):
    result = bench.compare(bench.Shape(8, 1, 1, 4, 4, 5), 2, False)
    assert result["sides"] == ["threads", "processes", "one-core"]
    assert result["loss_difference"] < 1e-6
    assert result["processes"]["shards"] == max(2, bench.cores())
    assert (result["one-core"]["shards"], result["one-core"]["threads"], result["one-core"]["blas_threads"]) == (
        1,
        1,
        1,
    )
    one, two = (result[side]["median_ms"] for side in ("one-core", "processes"))
    assert result["speed_ups"]["processes"] == pytest.approx(one / two)
    rows = bench.table({"tiny": result}).splitlines()
    assert [row.count("|") for row in rows] == [rows[0].count("|")] * 3
    assert f"| tiny | 8·1·1·4·4·5 | {two / result['threads']['median_ms']:.2f} |" in rows[2]


CHILDREN = """
import mmap, os, sys
shared = mmap.mmap(-1, 32 << 20)  # both processes map it
shared[::4096] = bytes(len(shared[::4096]))
if os.fork():
    own = b"1" * (16 << 20)
else:
    shared[::4096]
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the shared memory of processes")
def test_the_memory_of_a_team_counts_what_its_processes_share_once(bench):
    import bench_worker

    with subprocess.Popen([sys.executable, "-c", CHILDREN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert [process.stdout.readline() for _ in range(2)] == [b"ready\n"] * 2
        memory = bench_worker.memory_of(process.pid)
        process.stdin.close()
    assert 48 << 20 < memory < 48 + 32 << 20
    assert bench_worker.memory_of(process.pid) == 0  # it has ended


def test_without_mpiexec_an_error_says_what_to_install(bench, monkeypatch, tmp_path):
    import bench_worker

    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(SystemExit, match="install mpi4py mpich"):
        bench_worker.mpiexec()
