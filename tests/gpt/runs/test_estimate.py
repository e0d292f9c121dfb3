"""Tests of gpt/runs/estimate.py: parameters counted by hand, memory measured, and the way out where it would not do."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpt
from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.runs import estimate
from gpt.runs.estimate import (
    available_memory,
    cgroup_limits,
    check_memory,
    count,
    duration,
    forward_flops,
    gigabytes,
    memory_line,
    muon_share,
    shapes,
    step_seconds,
    training_memory,
)
from gpt.training import hidden_matrices, next_token_objective
from nanograd.nn import count_parameters
from nanograd.optim import muon

ROOT = Path(gpt.__file__).parents[1]


def test_parameters_are_counted_as_by_hand() -> None:
    config = ModelConfig(vocab_size=5, context_length=3, d_model=2, n_layers=1, n_heads=1, d_ff=4)
    tables = 5 * 2 + 3 * 2
    attention = (2 * 6 + 6) + (2 * 2 + 2)
    mlp = (2 * 4 + 4) + (4 * 2 + 2)
    norms = 3 * (2 + 2)
    assert count(config) == tables + attention + mlp + norms == 74


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("d_ff", [None, 7])
@pytest.mark.parametrize(("d_model", "n_layers", "n_heads"), [(4, 1, 1), (6, 3, 2)])
def test_the_count_is_that_of_the_model(
    d_model: int, n_layers: int, n_heads: int, d_ff: int | None, bias: bool
) -> None:
    config = ModelConfig(
        vocab_size=11, context_length=5, d_model=d_model, n_layers=n_layers, n_heads=n_heads, d_ff=d_ff, bias=bias
    )
    assert count(config) == count_parameters(GPT(config).parameters())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tie_embeddings", [True, False])
@pytest.mark.parametrize(
    "parts",
    [
        {"norm": "rmsnorm"},
        {"position": "rope", "head_dim": 8},
        {"mlp": "gated"},
        {"n_kv_heads": 1, "qk_norm": True},
        {"qkv_bias": True, "mlp_bias": False},
        {"mlp": "gated", "qkv_bias": False, "mlp_bias": True},
        {"norm": "rmsnorm", "position": "rope", "mlp": "gated", "d_ff": 5, "n_kv_heads": 1, "qk_norm": True},
    ],
)
def test_the_count_is_that_of_every_kind_of_model(parts: dict[str, Any], tie_embeddings: bool, bias: bool) -> None:
    config = ModelConfig(
        vocab_size=11,
        context_length=5,
        d_model=12,
        n_layers=3,
        n_heads=2,
        bias=bias,
        tie_embeddings=tie_embeddings,
        **parts,
    )
    assert count(config) == count_parameters(GPT(config).parameters())
    state = GPT(config, init=False).state_dict()
    others = ("blocks.1.", "blocks.2.")
    assert shapes(config) == {name: array.shape for name, array in state.items() if not name.startswith(others)}


def test_operations_of_a_token_by_hand() -> None:
    config = ModelConfig(vocab_size=5, context_length=3, d_model=2, n_layers=1, n_heads=1, d_ff=4)
    weights = 2 * 6 + 2 * 2 + 2 * 4 + 4 * 2 + 5 * 2  # w_qkv, out_proj, up, down, head
    seen = 2 * 2 * 2  # of three tokens 1, 2 and 3 are seen: 2 in the mean, with 2 features to score and 2 to answer
    assert forward_flops(config) == 2 * (weights + seen)
    assert forward_flops(config, 1) == 2 * (weights + 4)
    modern = dataclasses.replace(config, mlp="gated", n_heads=2, n_kv_heads=1, head_dim=4, position="rope")
    weights = 2 * 4 * (2 + 2) + 8 * 2 + 3 * 2 * 4 + 5 * 2
    assert forward_flops(modern) == 2 * (weights + 2 * 2 * 8)
    windowed = dataclasses.replace(
        modern, window=2, context_length=6
    )  # 1, 2, 2, 2, 2, 2 are seen: twice the mean is 22/6
    assert forward_flops(windowed) == 2 * (weights + 3 * 8)
    assert forward_flops(windowed, 2) == 2 * (weights + 3 * 8)  # 1 and 2


MEASURE = """
import json, re, sys
import numpy as np
from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.training import make_optimizer, train
def peak():  # of this process alone: getrusage would count what its parent had when it was started
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
shape, batch_size, shards = json.loads(sys.argv[1])
config = TrainConfig(batch_size=batch_size, shards=shards, max_steps=3, warmup_steps=1)
ids = np.random.default_rng(0).integers(0, shape["vocab_size"], 5000)
np.ones((256, 256), np.float32) @ np.ones((256, 256), np.float32)  # the buffers of BLAS
before = peak()
model = GPT(ModelConfig(**shape))
train(model, make_optimizer(model, config), ids, ids[:600], config, after_step=lambda record: None)
print(peak() - before)
"""


MEDIUM = ModelConfig(vocab_size=1024, context_length=128, d_model=256, n_layers=4, n_heads=4)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize(
    ("config", "batch_size"),
    [
        (MEDIUM, 16),
        (ModelConfig(vocab_size=1024, context_length=128, d_model=128, n_layers=4, n_heads=4, dropout=0.2), 16),
        (ModelConfig(vocab_size=8192, context_length=64, d_model=256, n_layers=2, n_heads=4), 16),  # most is the head
        (ModelConfig(vocab_size=300, context_length=512, d_model=128, n_layers=6, n_heads=8), 4),  # attention
        (ModelConfig(vocab_size=16000, context_length=32, d_model=384, n_layers=3, n_heads=6), 2),  # parameters
        (dataclasses.replace(MEDIUM, norm="rmsnorm", position="rope", mlp="gated", bias=False), 16),
        (
            dataclasses.replace(MEDIUM, position="rope", mlp="gated", n_kv_heads=1, qk_norm=True, tie_embeddings=False),
            16,
        ),
        (dataclasses.replace(MEDIUM, activation="gelu"), 16),
        (dataclasses.replace(MEDIUM, mlp="gated", activation="relu", head_dim=128), 16),
    ],
)
def test_estimated_memory_is_within_a_quarter_of_the_measured(
    config: ModelConfig, batch_size: int, shards: int
) -> None:
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE, json.dumps((config.to_dict(), batch_size, shards))]
    measured = int(subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout)
    estimated = training_memory(config, batch_size, shards)
    assert 0.75 * measured <= estimated <= 1.25 * measured, (
        f"estimated {gigabytes(estimated)}, measured {gigabytes(measured)}"
    )


def test_more_of_anything_takes_more_memory() -> None:
    base: dict[str, Any] = {"vocab_size": 65, "context_length": 32, "d_model": 64, "n_layers": 2, "n_heads": 2}
    memory = training_memory(ModelConfig(**base), 8)
    for name in set(base) - {"n_heads"}:  # the attention probabilities of a head are never kept
        assert training_memory(ModelConfig(**{**base, name: 2 * base[name]}), 8) > memory, name
    assert training_memory(ModelConfig(**base, dropout=0.1), 8) > memory
    assert training_memory(ModelConfig(**base), 16) > memory


def test_enough_memory_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = ModelConfig(), TrainConfig()
    needed = training_memory(model, config.batch_size)
    for free in (needed, None):
        monkeypatch.setattr(estimate, "available_memory", lambda free=free: free)
        assert check_memory(model, config) == (needed, False)


@pytest.mark.parametrize(
    ("batch_size", "steps", "fits", "way_out"),
    [(16, 1, 4, "4 --grad-accum-steps 4"), (8, 3, 4, "4 --grad-accum-steps 6"), (17, 1, 8, "8 --grad-accum-steps 3")],
)
def test_a_batch_too_large_is_to_be_split(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, steps: int, fits: int, way_out: str
) -> None:
    model = ModelConfig()
    monkeypatch.setattr(estimate, "available_memory", lambda: training_memory(model, fits, recompute=True))
    with pytest.raises(MemoryError, match=f"--batch-size {way_out} makes batches as large in less memory"):
        check_memory(model, TrainConfig(batch_size=batch_size, grad_accum_steps=steps))


@pytest.mark.parametrize("trained", [None, 1000])
def test_activations_are_computed_again_where_memory_asks(trained: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelConfig(n_layers=8)
    kept, recomputed = (training_memory(model, 16, trained=trained, recompute=flag) for flag in (False, True))
    assert recomputed < kept / 2
    cases = [(None, kept, False), (None, kept - 1, True), (None, recomputed, True), (True, 10**12, True)]
    for option, free, expected in cases:
        monkeypatch.setattr(estimate, "available_memory", lambda free=free: free)
        memory = check_memory(model, TrainConfig(recompute=option), trained=trained)
        assert memory == (recomputed if expected else kept, expected)
        line = memory_line(memory, TrainConfig(recompute=option, shards=1))
        assert ("computed again" in line) == expected
        assert (f", of {gigabytes(free)} that are free," in line) == (free in (kept, recomputed))
        assert ("memory asks for it" in line) == (expected and option is None)
    for option, free in ((False, kept - 1), (None, recomputed - 1)):
        monkeypatch.setattr(estimate, "available_memory", lambda free=free: free)
        with pytest.raises(MemoryError, match=r"python -m gpt finetune instruct --batch-size \d+ --grad-accum-steps"):
            check_memory(model, TrainConfig(recompute=option), trained=trained, command="finetune instruct")


def test_a_frozen_base_has_no_gradients_and_shorter_examples_no_full_context() -> None:
    model = ModelConfig(vocab_size=49152, context_length=8192, d_model=576, n_layers=30, n_heads=9)
    whole, adapters = (training_memory(model, 16, 2, tokens=130, trained=n) for n in (None, 10**6))
    assert whole - adapters > 4 * 4 * count(model)  # gradients of two shards, their sum and two moments
    assert training_memory(model, 16, 2, trained=10**6) > 20 * adapters


def test_a_model_too_large_for_a_batch_of_one_is_to_be_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelConfig()
    monkeypatch.setattr(estimate, "available_memory", lambda: training_memory(model, 1, recompute=True) - 1)
    with pytest.raises(MemoryError, match=r"are free; make the model smaller: --d-model, --n-layers"):
        check_memory(model, TrainConfig())


def test_absurd_sizes_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "available_memory", lambda: 8 * 10**9)
    with pytest.raises(MemoryError, match=r"--batch-size \d+ --grad-accum-steps \d+"):
        check_memory(ModelConfig(), TrainConfig(batch_size=10**15 + 1))
    with pytest.raises(MemoryError, match="make the model smaller"):
        check_memory(ModelConfig(vocab_size=10**18), TrainConfig())


def test_the_system_says_how_much_is_free() -> None:
    free = available_memory()
    if sys.platform in ("linux", "win32", "darwin"):
        assert free is not None
        assert 10**6 < free < 10**14
    else:
        assert free is None or free > 0


def test_the_time_of_a_step_is_that_of_all_its_micro_batches() -> None:
    model = GPT(ModelConfig(vocab_size=20, context_length=8, d_model=8, n_layers=1, n_heads=1))
    seconds = [
        step_seconds(model, next_token_objective(model, np.arange(99) % 20, None, config), config)
        for config in (TrainConfig(batch_size=2, grad_accum_steps=n) for n in (1, 10**9))
    ]
    assert 1e8 < seconds[1] / seconds[0] < 1e10  # and is not measured for all


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_limit_of_the_address_space_is_seen() -> None:
    code = "from gpt.runs.estimate import available_memory; print(available_memory())"
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9, resource.RLIM_INFINITY)); {code}"
    free = int(subprocess.run([sys.executable, "-c", limited], check=True, capture_output=True).stdout)
    assert free < 3 * 10**9
    assert free <= int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)


@pytest.mark.parametrize(
    ("process", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "800\n"}, [800]),
        (
            "0::/job/step\n",
            {"job/step/memory.max": "max\n", "job/memory.max": "700\n", "memory.max": "900"},
            [700, 900],
        ),
        ("0::/a/b\n", {"a/b/memory.max": "700", "a/b/memory.stat": "anon 300\nfile 50\n"}, [400]),
        ("0::/of/the/host\n", {"memory.max": "600"}, [600]),
        ("0::/../..\n", {"memory.max": "600"}, [600]),
        (
            "12:cpu:/x\n5:hugetlb,memory:/slurm/uid_1/job_2\n0::/\n",
            {"memory/slurm/uid_1/memory.limit_in_bytes": "500", "memory/slurm/uid_1/memory.stat": "total_rss 20"},
            [480],
        ),
        ("nonsense\n", {"memory/memory.limit_in_bytes": "9"}, [9]),
        ("", {}, []),
    ],
)
def test_limits_of_nested_control_groups(
    tmp_path: Path, process: str, files: dict[str, str], expected: list[int]
) -> None:
    (tmp_path / "process").write_text(process, encoding="utf-8")
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text, encoding="utf-8")
    assert list(cgroup_limits(str(tmp_path / "process"), str(tmp_path / "root"))) == expected
    assert list(cgroup_limits(str(tmp_path / "missing"), str(tmp_path / "missing"))) == []


def test_numbers_for_people() -> None:
    assert [gigabytes(n) for n in (0, 999_000, 1_000_000, 2_340_000_000)] == ["0 kB", "999 kB", "1 MB", "2.3 GB"]
    assert [duration(s) for s in (0, 59.6, 61, 3600, 86400)] == ["0:00", "1:00", "1:01", "1:00:00", "1 day 0:00:00"]


def test_timing_a_step_changes_nothing() -> None:
    model = GPT(ModelConfig(vocab_size=11, context_length=5, d_model=8, n_layers=1, n_heads=2, dropout=0.2))
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    tokens = np.arange(100) % 11
    config = TrainConfig(batch_size=4, shards=2)
    assert step_seconds(model, next_token_objective(model, tokens, None, config), config) > 0
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.data, before[name])
        assert p.grad is None
    np.testing.assert_array_equal(tokens, np.arange(100) % 11)


@pytest.mark.parametrize("mlp", ["plain", "gated"])
def test_the_operations_of_muon_are_those_of_the_matrices_it_updates(mlp: str) -> None:
    config = ModelConfig(vocab_size=9, d_model=48, n_heads=4, n_kv_heads=2, head_dim=10, n_layers=3, mlp=mlp)
    model, training = GPT(config, init=False), TrainConfig(batch_size=2, grad_accum_steps=3)
    columns = {name: p.shape[1] for name, p in model.named_parameters() if p.ndim == 2}
    cost = sum(muon.cost((n, columns[name])) for name, rows in hidden_matrices(model).items() for n in rows)
    step = 3 * forward_flops(config) * 6 * config.context_length
    assert muon_share(config, training) == pytest.approx(cost / step)
    assert muon_share(ModelConfig(d_model=2**20, n_heads=1), training) > 0  # of no memory
