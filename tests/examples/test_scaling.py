"""examples/scaling.py and examples/two_machines.py: the simulated step, against numbers worked by hand."""

import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import scaling

    yield scaling
    for name in ("scaling", "two_machines", "bench", "bench_worker"):
        sys.modules.pop(name, None)


def cost_and_network(scaling):
    cost = scaling.Cost(compute=0.8, add=0.02, update=0.12, gradient_bytes=100_000_000)
    return cost, scaling.Network(bandwidth=1e8, latency=0.001)


@pytest.mark.parametrize(
    ("machines", "micro_batches", "seconds"),
    [
        (1, 1, 0.8 + 0.12),
        (2, 1, 0.8 + 0.01 + 0.06 + 1.0 + 0.008),  # half of the 100 MB twice; 6 messages of 3 calls, and 2
        (4, 1, 0.8 + 0.015 + 0.03 + 1.5 + 0.012),
        (4, 3, 2.4 + 0.015 + 0.03 + 1.5 + 0.012),
    ],
)
def test_the_time_of_a_step(scaling, machines, micro_batches, seconds):
    cost, network = cost_and_network(scaling)
    assert scaling.step_seconds(cost, machines, network, micro_batches) == pytest.approx(seconds, rel=1e-12)


def test_an_ethernet_carries_94_percent_of_ours(scaling):
    assert scaling.ethernet(1.0, 5e-5) == (pytest.approx(117.7e6, rel=1e-3), 5e-5)


def test_the_table_has_the_speed_up_in_tokens_per_second(scaling):
    cost, network = cost_and_network(scaling)
    row = scaling.table(cost, {"here": network}, tokens=1000, micro_batches=1).splitlines()[3]
    assert row == "| 2 | 1,878.0 | 1,065 | 0.98 |"  # 2 · 1000 / 1.878 and 2 · 0.92 / 1.878


def test_a_measured_step_is_compared_with_the_simulated_one(scaling):
    cost, network = cost_and_network(scaling)
    line, ratio = scaling.compare({"cost": [*cost], "network": [*network], "seconds": [9.0, 3.756, 1.0]})
    assert ratio == pytest.approx(2.0)
    assert "measured 3,756.0 ms, simulated 1,878.0 ms, measured / simulated 2.00" in line


def test_the_parts_of_a_step_are_measured(scaling):
    cost = scaling.measure_cost(scaling.Shape(8, 1, 1, 4, 2, 5), shards=2, steps=1)
    assert min(cost) > 0
    parameters = 5 * 8 + 4 * 8 + 12 * 8**2 + 13 * 8 + 2 * 8  # embeddings, block with biases and gains, last norm
    assert cost.gradient_bytes == 4 * parameters


def test_two_machines_say_what_they_need(scaling, monkeypatch):
    import two_machines

    monkeypatch.setattr(two_machines.sys, "platform", "linux")
    monkeypatch.setattr(two_machines.os, "geteuid", lambda: 1000, raising=False)
    monkeypatch.setattr(two_machines.shutil, "which", lambda name: None)
    monkeypatch.setattr(two_machines.sys, "argv", ["two_machines.py"])
    with pytest.raises(SystemExit, match=r"needs root, ip \(package iproute2\), tc \(package iproute2\)"):
        two_machines.main()
