"""Options of `train` from elsewhere: --config, --size, several --data, and --estimate."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpt
from gpt.__main__ import main
from gpt.config import Config, ModelConfig, TrainConfig
from gpt.runs.checkpoint import LAST, load_checkpoint
from gpt.runs.estimate import count, muon_share
from gpt.runs.presets import (
    GPT2_BLOCK,
    MUON_PAYS,
    NARROW,
    RATES,
    RECIPE,
    SIZES,
    given_fields,
    tuning_defaults,
    tuning_rate,
    with_presets,
)

TINY = "--d-model 16 --n-layers 1 --n-heads 2 --context-length 8 --batch-size 2 --eval-batches 1 --max-steps 2"
TEXT = "The cat sat on the mat.\nThe dog lay on the log.\n" * 30
NO_CONFIG = 'is no config of a run, {"model": {…}, "train": {…}}'
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(TEXT, encoding="utf-8")
    Path("b.txt").write_text(TEXT.upper(), encoding="utf-8")
    Path("texts").mkdir()
    Path("texts/c.md").write_text(TEXT.swapcase(), encoding="utf-8")
    return tmp_path


def train(words: str, code: int = 0) -> None:
    assert main(["train", *words.split()]) == code


def stored(run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config of a run, from its checkpoint, and its weights."""
    checkpoint = load_checkpoint(f"{run}/{LAST}")
    return {**checkpoint.model_config.to_dict(), **checkpoint.train_config.to_dict()}, checkpoint.tensors


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(d_model=192, n_heads=6, n_kv_heads=2, mlp="gated", norm="rmsnorm"),
        ModelConfig(d_model=100, n_heads=3, head_dim=8, d_ff=7, activation="relu", tie_embeddings=False),
        TrainConfig(),
        TrainConfig(data=("a", "b"), lr=1e-4, min_lr=1e-5, grad_clip=None, shards=2, tokenizer="char"),
    ],
)
def test_a_config_is_made_again_of_its_given_fields(config: Config) -> None:
    values = given_fields(config)
    assert type(config)(**values) == config
    assert values or config in (ModelConfig(), TrainConfig())
    assert given_fields(type(config).from_dict(json.loads(json.dumps(config.to_dict())))) == values


@pytest.mark.parametrize("more", ["", "--tokenizer char", "--tokenizer tok.json", "--no-bias --mlp gated --lr 1e-2"])
def test_the_config_of_a_run_makes_the_same_run(more: str) -> None:
    main(["tokenizer", "train", "a.txt", "-o", "tok.json", "--vocab-size", "270"])
    train(f"--data a.txt --out one --seed 3 {TINY} {more}")
    train("--config one/config.json --out two")
    train("--config one --seed 3 --out three")  # the folder of the run
    (config, weights), *others = map(stored, ("one", "two", "three"))
    for other, other_weights in others:
        assert other == config
        assert all(np.array_equal(weights[name], other_weights[name]) for name in weights)


def test_the_config_of_a_run_on_prepared_data(capsys: Output) -> None:
    for name, size in (("a", 268), ("b", 272)):
        main(f"data prepare {name}.txt --tokenizer bpe --vocab-size {size} -o {name}".split())
    train(f"--data a --out one {TINY}")
    train("--config one --out two")
    train("--config one --data b --out three")  # its tokenizer is another
    assert stored("two")[0] == stored("one")[0]
    assert [stored(name)[0]["vocab_size"] for name in ("one", "three")] == [268, 272]
    capsys.readouterr()
    train(f"--data a b {TINY}", code=1)
    assert "data: a is prepared and must be alone" in capsys.readouterr().err


def test_flags_win_and_then_the_size() -> None:
    train(f"--data a.txt --out one {TINY}")
    flags = with_presets({"config": "one", "size": "medium", "d_model": 64, "max_steps": 9, "resume": None})
    assert flags["d_model"] == 64
    assert (flags["n_layers"], flags["context_length"], flags["batch_size"], flags["max_steps"]) == (8, 256, 2, 9)
    assert "d_ff" not in flags  # it was 64 and is computed again
    assert with_presets({"config": "one", "init": "x"}).keys().isdisjoint(ModelConfig().to_dict())


def test_the_sizes() -> None:
    small, medium, gpt2 = SIZES.values()
    assert ModelConfig(**small) == ModelConfig()
    assert count(ModelConfig(**gpt2, vocab_size=50257)) == 124_439_808
    assert 20e6 < count(ModelConfig(**medium)) < 30e6
    assert given_fields(ModelConfig(**medium)) == medium
    assert with_presets({"size": "gpt2"}).items() >= GPT2_BLOCK.items()  # which the recipe does not change


def test_a_new_run_has_the_recipe() -> None:
    flags = with_presets({})
    assert flags.items() >= RECIPE.items()
    assert (flags["optimizer"], flags["lr"]) == ("muon", RATES["muon"] / 128)
    assert with_presets({"optimizer": "adamw", "d_model": 512, "norm": "layernorm"}).items() >= {
        "optimizer": "adamw", "lr": RATES["adamw"] / 512, "norm": "layernorm", "position": "rope",
    }.items()  # fmt: skip
    assert with_presets({"d_model": 4, "n_heads": 1})["lr"] == RATES["muon"] / NARROW
    assert with_presets({"max_steps": 45})["warmup_steps"] == 4
    assert with_presets({"lr": 0.5, "warmup_steps": 0}).items() >= {"lr": 0.5, "warmup_steps": 0}.items()
    for flags in ({"init": "x"}, {"resume": "x"}):
        assert with_presets(flags) == flags


def test_muon_is_left_where_it_does_not_pay() -> None:
    shape = {"d_model": 512, "n_heads": 8, "n_layers": 6, "context_length": 256}
    shares = [muon_share(ModelConfig(**shape), TrainConfig(batch_size=batch)) for batch in (4, 16)]
    assert shares[0] > MUON_PAYS > shares[1]
    assert shares[0] == pytest.approx(4 * shares[1])
    assert with_presets({**shape, "batch_size": 4})["optimizer"] == "adamw"
    assert with_presets({**shape, "batch_size": 2, "grad_accum_steps": 8})["optimizer"] == "muon"
    assert with_presets({**shape, "batch_size": 4, "optimizer": "muon"})["optimizer"] == "muon"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--config missing.json", "missing.json: No such file or directory"),
        ("--config a.txt", "a.txt is no config of a run, "),
        ("--config runs.json", "runs.json is no config of a run"),
        ("--config task.json", f"task.json {NO_CONFIG}: it is of a fine-tuned model; give that of a run of train"),
        ("--config typo.json", f"typo.json {NO_CONFIG}: ModelConfig: unknown key 'd_modle'; did you mean d_model?"),
        ("--config a.txt --resume r", "--config and --resume exclude each other: a resumed run keeps its own options"),
        ("--size small --resume r", "--size and --resume exclude each other"),
        ("--size small --init r", "--size and --init exclude each other: the shape is the checkpoint's"),
        ("--estimate --resume r", "--estimate starts from the flags and leaves no folder behind; leave --resume away"),
        ("--estimate --out r", "--estimate starts from the flags and leaves no folder behind; leave --out away"),
    ],
)
def test_what_is_refused(words: str, message: str, capsys: Output) -> None:
    contents = {"runs": {"model": 3}, "task": {"model": {}, "task": {}}, "typo": {"model": {"d_modle": 3}}}
    for name, content in contents.items():
        Path(f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    train(words, code=1)
    assert capsys.readouterr().err.startswith(f"gpt train: {message}")


def test_an_estimate_trains_nothing(capsys: Output, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    train(f"--data a.txt --estimate {TINY}")
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line] == [
        "data",
        "tokens",
        "model",
        "memory",
        "optimizer",
        "time",
    ]
    assert "for 2 steps" in out
    assert sorted(folder.rglob("*")) == before


# Several --data


def test_several_texts(capsys: Output) -> None:
    train(f"--data a.txt b.txt --data texts --out one {TINY}")
    n = 3 * len(TEXT)
    assert f"data      a.txt, b.txt, texts: {n:,} characters" in capsys.readouterr().out
    assert stored("one")[0]["data"] == ("a.txt", "b.txt", "texts")
    assert json.loads(Path("one/config.json").read_text(encoding="utf-8"))["train"]["data"] == [
        "a.txt",
        "b.txt",
        "texts",
    ]
    train("--resume one --max-steps 3 --data a.txt b.txt texts")
    train("--config one --max-steps 3 --out two")
    assert stored("two")[0]["data"] == ("a.txt", "b.txt", "texts")
    capsys.readouterr()
    assert main(["info", "one"]) == 0
    assert "trained on a.txt, b.txt, texts (sha256" in capsys.readouterr().out
    train("--resume one --data a.txt", code=1)
    assert "resume: --data was ('a.txt', 'b.txt', 'texts') and cannot change to a.txt" in capsys.readouterr().err


def test_one_text_is_stored_as_ever() -> None:
    train(f"--data a.txt --out one {TINY}")
    assert stored("one")[0]["data"] == "a.txt"
    train("--resume one --max-steps 3 --data a.txt")
    with pytest.raises(ValueError, match="data must be str or none, got"):
        TrainConfig(data=("a", 3))  # type: ignore[arg-type]


def test_the_same_from_python() -> None:
    shape = {"d_model": 16, "n_heads": 2, "context_length": 8, "batch_size": 2, "max_steps": 2, "eval_batches": 1}
    gpt.train(["a.txt", Path("texts")], quiet=True, size="medium", n_layers=1, out="one", **shape)
    assert stored("one")[0]["data"] == ("a.txt", "texts")
    assert (stored("one")[0]["lr"], stored("one")[0]["n_layers"]) == (RATES["muon"] / NARROW, 1)
    model = gpt.train(config="one", quiet=True)
    assert all(
        np.array_equal(model.state_dict()[name], gpt.load("one").state_dict()[name]) for name in ("tok_emb.weight",)
    )
    with pytest.raises(ValueError, match=r"size must be small, medium, gpt2, got 'large'"):
        gpt.train("a.txt", size="large")
    with pytest.raises(ValueError, match=r"^size and init exclude each other"):
        gpt.train("a.txt", size="small", init="one")
    with pytest.raises(FileNotFoundError, match=r"there is no file missing.txt"):
        gpt.train(["a.txt", "missing.txt"])


@pytest.mark.parametrize(
    ("d_model", "context", "rate", "batch"), [(768, 1024, 3.9e-5, 4), (576, 8192, 5.2e-5, 1), (128, 128, 2.3e-4, 16)]
)
def test_the_defaults_of_a_trained_model(d_model: int, context: int, rate: float, batch: int) -> None:
    base = ModelConfig(d_model=d_model, context_length=context, n_heads=1)
    assert tuning_defaults(base) == {"lr": pytest.approx(rate, rel=0.02), "batch_size": batch}
    assert tuning_rate(base, adapters=True) == pytest.approx(10 * rate, rel=0.02)


def test_a_base_that_is_too_large_cannot_be_made_smaller(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(f"--data a.txt {TINY} --out base")
    monkeypatch.setattr("gpt.runs.estimate.available_memory", lambda: 1000)
    for words, way_out in (
        ("--init base", "take a shorter --context-length, or"),
        (TINY, "make the model smaller: --d-"),
    ):
        train(f"--data a.txt {words}", code=1)
        assert way_out in capsys.readouterr().err


def test_a_run_from_a_base_takes_the_defaults_of_a_trained_model_unless_they_are_given() -> None:
    train(f"--data a.txt {TINY} --out base")
    few = "--eval-batches 1 --max-steps 2"
    for words, lr, batch in (("", 0.03 / 16, 16), ("--lr 1e-3 --batch-size 2", 1e-3, 2), ("--config base", 2e-3, 2)):
        name = f"r{batch}{lr}"
        words = words.replace("--config base", f"--config base --lr {TrainConfig.lr}")
        train(f"--data a.txt --init base {few} {words} --out {name}")
        config, _ = stored(name)
        assert (config["lr"], config["min_lr"], config["batch_size"]) == (lr, pytest.approx(lr / 10), batch)
