"""gpt train --profile: the table of a training step, of which nothing stays behind."""

import re
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.commands.profile import profile_training, report
from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.training import make_optimizer, train
from nanograd.inspect.profiler import Profile
from nanograd.op import CONTEXT
from nanograd.runtime import blas

Output = pytest.CaptureFixture[str]
TINY = "--tokenizer char --d-model 16 --n-layers 3 --n-heads 2 --context-length 8 --batch-size 4"
can_set = pytest.mark.skipif(not blas.can_set_threads(), reason="this NumPy's BLAS cannot set its number of threads")


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("The cat sat on the mat.\n" * 30, encoding="utf-8")
    return "text.txt"


def rows(shown: str) -> dict[str, list[str]]:
    """Read the table back: the words of each row, by name."""
    lines = shown.splitlines()
    first = next(i for i, line in enumerate(lines) if "forward ms" in line)
    body = lines[first + 1 : lines.index("", first)]
    return {line[:22].strip(): line[22:].split() for line in body}


@pytest.mark.parametrize(
    "shards",
    [("1", "1"), pytest.param(("2", "1"), marks=can_set), pytest.param(("2", "2"), marks=can_set)],
    ids=lambda case: f"{case[0]} shards in {case[1]} threads",
)
def test_shares_add_up_to_all_of_a_step(
    text: str, shards: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", shards[1])
    n = int(shards[0])
    assert main(["train", "--data", text, *TINY.split(), "--profile", "2", "--shards", shards[0]]) == 0
    shown = capsys.readouterr().out
    table = rows(shown)
    shares = [float(words[-2]) for words in table.values()]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares) + 0.01)  # each is rounded
    assert min(shares) >= 0
    assert table["rmsnorm"][0] == str(n * 7)  # two a block, one at the end
    assert table["swiglu"][0] == str(n * 3)
    no_ops = [
        "batch",
        *["gradient sums"] * (n > 1),
        "clip",
        "optimizer",
        "outside of ops",
        *["waiting"] * (shards[1] == "2"),
    ]
    assert [name for name in table if name in no_ops] == no_ops
    assert re.search(r"step      \d+\.\d ms, [\d,]+ tokens/s while profiled: the mean of 2, after 3", shown)
    assert f"threads   {shards[1]}, for {n} shards of the batch; in a product: " in shown
    assert ("Times add up over the 2 threads" in shown) == (shards[1] == "2")


def test_nothing_is_left_behind(text: str, tmp_path: Path, capsys: Output) -> None:
    assert main(["train", "--data", text, *TINY.split(), "--profile", "1", "--max-steps", "1"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [text]
    assert CONTEXT.get().observers == ()


def test_micro_batches_are_those_of_the_flags(text: str, capsys: Output) -> None:
    words = [*TINY.split(), "--profile", "1", "--grad-accum-steps", "3", "--shards", "1", "--dropout", "0.1"]
    assert main(["train", "--data", text, *words]) == 0
    table = rows(capsys.readouterr().out)
    assert [table[name][0] for name in ("batch", "clip", "rmsnorm")] == ["1", "1", "21"]
    assert "dropout" in table


def test_profiled_steps_are_real_steps(capsys: Output) -> None:
    """The parameters after a profile are those after as many steps of training."""
    shape = ModelConfig(vocab_size=9, context_length=4, d_model=8, n_layers=1, n_heads=2)
    tokens = np.random.default_rng(0).integers(0, 9, 200)
    config = TrainConfig(batch_size=2, shards=1, lr=1e-2, min_lr=1e-2, warmup_steps=0, max_steps=5)
    models = [GPT(shape, np.random.default_rng(0)) for _ in range(2)]
    profile_training(models[0], make_optimizer(models[0], config), tokens, config, 2)
    train(models[1], make_optimizer(models[1], config), tokens, None, config, after_step=lambda record: None)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_the_rest_by_hand() -> None:
    measured = Profile()
    measured.elapsed = 3.0
    sums = {("region", "batch"): (2, 0.5), ("region", "shards"): (2, 1.0), ("forward", "mul"): (2, 1.25)}
    measured._sums.append(sums)
    ours = rows(report(measured, 2, 100.0, shards=2, threads=2))
    assert ours["mul"][-1:] + ours["mul"][-2:-1] == ["%", "20.8"]  # 1.25 of 2 threads × 3 s
    assert ours["outside of ops"] == ["1", "500.00", "16.7", "%"]
    assert ours["batch"] == ["1", "500.00", "16.7", "%"]  # 0.5 s in which both threads do nothing else
    assert ours["waiting"] == ["1375.00", "45.8", "%"]  # 6 - 2·0.5 - 1 - 1.25 = 2.75 s, over 2 steps
    alone = rows(report(measured, 2, 100.0, shards=1, threads=1))
    assert alone["outside of ops"] == ["1", "625.00", "41.7", "%"]  # 3 - 0.5 - 1.25 = 1.25 s
    assert "waiting" not in alone


@pytest.mark.parametrize("flag", ["--resume", "--out"])
def test_a_profile_has_no_folder(text: str, flag: str, capsys: Output) -> None:
    assert main(["train", "--profile", flag, "runs/mine"]) == 1
    assert f"leave {flag} away" in capsys.readouterr().err


@pytest.mark.parametrize("n", ["0", "-1", "x", "1.5"])
def test_the_number_of_steps_is_checked(n: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", f"--profile={n}"])
    assert caught.value.code == 2
    assert f"argument --profile: must be a whole number from 1, got {n!r}" in capsys.readouterr().err
