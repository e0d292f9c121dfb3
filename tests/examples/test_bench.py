"""examples/bench.py --against: our step compared with the step of another checkout."""

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
    assert result["ratio"] == pytest.approx(1e6 / result["ours"]["median_ms"])
    assert result["loss_difference"] == pytest.approx(max(abs(loss - 0.5) for loss in result["ours"]["losses"]))
    assert f"other / ours {result['ratio']:.2f}" in bench.describe("tiny", result)


def test_a_folder_that_is_no_checkout_is_an_error(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "S", "--against", str(tmp_path)])
    with pytest.raises(SystemExit):
        bench.main()
    assert "no examples/bench_worker.py" in capsys.readouterr().err
