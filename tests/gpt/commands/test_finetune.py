"""python -m gpt finetune: its help and its tasks, with `finetune classify` from a file of labelled texts to scores."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.commands.finetune import TASKS
from gpt.finetune.classification_data import read_rows
from gpt.finetune.classifier import ClassifyConfig
from gpt.runs.checkpoint import BEST, LAST, load_checkpoint
from gpt.runs.run import Run

TINY = "--d-model 16 --n-layers 1 --n-heads 2 --tokenizer char --batch-size 8 --shards 1"
QUICK = "--max-steps 12 --eval-every 4 --warmup-steps 2 --lr 1e-2"


def finetune(*words: str | Path) -> int:
    return main(["finetune", "classify", *map(str, words)])


def weights(path: Path) -> dict[str, np.ndarray]:
    return load_checkpoint(path).tensors


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_printed_lines_of_a_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", folder / "data.tsv", "--init", "random", "--balance", "--out", tmp_path / "run"]
    assert finetune(*words, *TINY.split(), *QUICK.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "data      data.tsv: ham 40, spam 20; 1 exact duplicate left out",
        "balanced  ham 20, spam 20; 20 texts not drawn",
        "split     28 to train on, 4 to validate, 8 to test",
        next(line for line in lines if line.startswith("tokens    char vocabulary of ")),
        "model     4,272 parameters, random",
    ]
    assert "a training text has up to 20, the context is 32" in lines[3]
    assert "trained   4,306 of 4,306 parameters: 100.0%" in lines
    assert any(line.startswith("step  4/12  loss ") and "texts/s" in line for line in lines)
    assert f"saved in {tmp_path / 'run'}" in lines
    assert "true \\ predicted  ham  spam" in lines
    assert lines[-1] == f'Try it: python -m gpt classify {tmp_path / "run"} "a text"'
    assert same(weights(tmp_path / "run" / BEST), weights(folder / "run" / BEST))  # the same flags, the same weights


def test_the_confusion_matrix_is_drawn(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    words = ["--data", folder / "data.tsv", "--init", "random", "--balance", "--out", tmp_path / "run"]
    assert finetune(*words, *TINY.split(), *QUICK.split(), "--plot", tmp_path / "confusion.png") == 0
    assert f"drawn: {tmp_path / 'confusion.png'}" in capsys.readouterr().out
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_checkpoint_has_labels_and_options(folder: Path) -> None:
    task = load_checkpoint(folder / "run" / BEST).task
    assert task is not None
    assert (task.kind, task.labels, task.base, task.lora) == ("classify", ("ham", "spam"), "", None)
    assert (task.config["balance"], task.config["max_steps"]) == (True, 12)


def test_the_tokenizer_is_trained_on_the_training_texts_alone(folder: Path) -> None:
    train = "".join(row.text for row in read_rows(folder / "run" / "train.jsonl").rows)
    tokenizer = load_checkpoint(folder / "run" / BEST).tokenizer
    assert tokenizer.to_dict()["characters"] == "".join(sorted(set(train)))


def test_a_checkpoint_with_a_base_has_adapters_and_head_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {name for name in weights(folder / "adapted" / BEST) if name.startswith("model.")}
    layers = [f"model.gpt.blocks.0.attn.{layer}.lora_{ab}" for layer in ("w_qkv", "out_proj") for ab in "ab"]
    assert names == {"model.head.weight", "model.head.bias", *layers}
    assert main(["classify", str(folder / "adapted"), "win 10! call now"]) == 0
    assert capsys.readouterr().out.split()[1] == "spam"


@pytest.mark.parametrize("how", ["random", "adapted"])
def test_a_run_that_is_stopped_and_resumed_has_the_same_result(
    how: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(folder / "data.tsv"), *QUICK.split(), "--seed", "3", "--dropout", "0.1"]
    words += ["--init", "random", *TINY.split()] if how == "random" else ["--init", str(folder / "base")]
    words += [] if how == "random" else ["--lora-rank", "2", "--shards", "2", "--grad-accum-steps", "2"]
    assert finetune(*words, "--out", tmp_path / "whole") == 0
    after_step = Run.after_step

    def stop_at_7(run, record):  # type: ignore[no-untyped-def]
        run.stop_asked = record.step == 7
        return after_step(run, record)

    monkeypatch.setattr(Run, "after_step", stop_at_7)
    assert finetune(*words, "--out", tmp_path / "broken") == 130
    assert f"go on with: python -m gpt finetune classify --resume {tmp_path / 'broken'}" in capsys.readouterr().out
    monkeypatch.setattr(Run, "after_step", after_step)
    assert finetune("--resume", tmp_path / "broken") == 0
    for name in (LAST, BEST):
        assert same(weights(tmp_path / "broken" / name), weights(tmp_path / "whole" / name))
    scores = [(tmp_path / run / "scores.json").read_text(encoding="utf-8") for run in ("whole", "broken")]
    assert scores[0] == scores[1]


def test_early_stopping_keeps_the_best_checkpoint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", folder / "data.tsv", "--init", "random", "--out", tmp_path / "run", *TINY.split()]
    assert finetune(*words, "--max-steps", "400", "--eval-every", "4", "--patience", "2", "--lr", "0.05") == 0
    output = capsys.readouterr().out
    (line,) = (line for line in output.splitlines() if line.startswith("early stop after step "))
    stopped, best = int(line.split()[4].rstrip(":")), int(line.split()[-1])
    assert stopped == best + 8 < 400
    assert load_checkpoint(tmp_path / "run" / BEST).state.step == best
    assert f"test      the best checkpoint, of step {best}, on texts" in output


def test_base_is_the_old_name_of_init(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", folder / "data.tsv", "--out", tmp_path / "run", *TINY.split(), "--max-steps", "1"]
    assert finetune(*words, "--base", "random") == 0
    assert ClassifyConfig.from_dict({"base": "random"}) == ClassifyConfig(init="random")  # in old files
    task = load_checkpoint(tmp_path / "run" / LAST).task
    assert task is not None
    assert task.config["init"] == "random"
    assert finetune("--resume", tmp_path / "run", "--base", "x", "--max-steps", "2") == 1
    assert "has no LoRA adapters; leave --base out" in capsys.readouterr().err


# Refusals


@pytest.fixture
def refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that checks that a command is refused and writes no run, and returns its error."""

    def run(*words: str, code: int = 1) -> str:
        capsys.readouterr()
        try:
            exit_code = main([word.replace("FOLDER", str(folder)).replace("TMP", str(tmp_path)) for word in words])
        except SystemExit as stop:
            exit_code = int(stop.code or 0)
        (line,) = capsys.readouterr().err.splitlines()
        assert exit_code == code
        assert not (tmp_path / "run").exists()
        return line.replace(str(folder), "FOLDER").replace(str(tmp_path), "TMP")

    return run


DATA = ["--data", "FOLDER/data.tsv"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--init", "random"], "data: give the labelled texts: --data FILE"),
        (DATA, "init: give the run or checkpoint to start from: --init RUN, or --init random"),
        ([*DATA, "--init", "nowhere"], "there is no run or checkpoint at nowhere"),
        ([*DATA, "--init", "FOLDER/run"], "init: FOLDER/run/best.safetensors was fine-tuned to classify; begin from"),
        ([*DATA, "--init", "FOLDER/base", "--d-model", "32"], "d_model: the base decides it; leave --d-model out"),
        ([*DATA, "--init", "FOLDER/base", "--tokenizer", "bpe"], "tokenizer: the base decides it; leave --token"),
        ([*DATA, "--init", "random", "--text-column", "words"], "data: FOLDER/data.tsv has no column 'words'"),
        ([*DATA, "--init", "random", "--freeze", "al"], "freeze must be none, all_but_last_block or all_but_head"),
        ([*DATA, "--init", "random", "--lora-rank", "2", "--lora-target", "gate"], "lora_target: no layer is called"),
        (["--resume", "FOLDER/run", "--out", "TMP/x"], "--out and --resume exclude each other"),
        (["--resume", "FOLDER/run", "--d-model", "8"], "resume: --d-model was 16 and cannot change to 8"),
        (["--resume", "FOLDER/run", "--batch-size", "4"], "resume: --batch-size was 8 and cannot change to 4"),
        (["--resume", "FOLDER/run"], "the run is finished, at step 12 of 12; go on with a larger --max-steps"),
        (["--resume", "FOLDER/base"], "FOLDER/base/last.safetensors is of another kind of run; go on with python -m"),
    ],
)
def test_refusals(words: list[str], message: str, refused: Callable[..., str]) -> None:
    out = [] if "--resume" in words else ["--out", "TMP/run"]
    assert refused("finetune", "classify", *words, *out).startswith(f"gpt finetune: {message}")


def test_an_unknown_task_suggests_the_nearest(refused: Callable[..., str]) -> None:
    assert refused("finetune", "clasify", code=2).startswith(
        "gpt finetune: unknown task 'clasify'; did you mean classify?"
    )


def test_help_lists_the_tasks_and_explains_the_flags_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune"]) == 0
    overview = capsys.readouterr().out
    for name, task in TASKS.items():
        assert f"\n  {name:<10} " in overview
        with pytest.raises(SystemExit):
            main(["finetune", name, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        for field in dataclasses.fields(task.config_type):
            assert f"--{field.name.replace('_', '-')}" in text
            assert " ".join(field.metadata["help"].split()) in text
