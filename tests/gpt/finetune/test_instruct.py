"""python -m gpt finetune instruct: what it learns and prints, how it is stopped and taken up, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig, SampleConfig, TrainConfig
from gpt.data.batches import IGNORE
from gpt.finetune.buckets import Buckets
from gpt.finetune.conversations import Message
from gpt.finetune.instruct import (
    InstructConfig,
    Response,
    exact_match,
    respond,
    response_loss,
    responses_jsonl,
    token_accuracy,
)
from gpt.finetune.loss_mask import encode
from gpt.finetune.templates import CHAT, Template
from gpt.generation.generate import generate
from gpt.model import GPT
from gpt.runs.checkpoint import BEST, LAST, Position, load_checkpoint, save_checkpoint
from gpt.runs.run import METRICS, Progress
from gpt.tokenizer import BPETokenizer, CharTokenizer, Tokenizer
from gpt.training import Record, make_optimizer

Output = pytest.CaptureFixture[str]
BYTES = BPETokenizer.train("ab", 257)
ANIMALS = {"cat": "Meow.", "dog": "Woof!", "cow": "Moo.", "owl": "Hoot."}
FLAGS = "--template chat --batch-size 3 --max-steps 12 --eval-every 4 --save-every 5 --warmup-steps 2 --lr 0.01"


def make_base(path: Path, tokenizer: Tokenizer, **shape: Any) -> str:
    """Save a small model with random weights as if it had been pretrained."""
    config = ModelConfig(
        **{
            "vocab_size": tokenizer.vocab_size,
            "context_length": 64,
            "d_model": 16,
            "n_layers": 1,
            "n_heads": 2,
            **shape,
        }
    )
    model = GPT(config, np.random.default_rng(0))
    save_checkpoint(path, model, make_optimizer(model, TrainConfig()), TrainConfig(), tokenizer, Position())
    return str(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base") / LAST, BYTES)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "animals.json"
    entries = [
        {"instruction": f"{n} says the", "input": animal, "output": says}
        for animal, says in ANIMALS.items()
        for n in range(7)
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")
    return str(path)


def run(base: str, data: str, out: Path, *more: str) -> int:
    words = ["finetune", "instruct", "--data", data, "--base", base, *FLAGS.split(), "--out", str(out), *more]
    return main(words)


def result(folder: Path) -> dict[str, Any]:
    """Return what must not depend on how often a run was stopped."""
    lines = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    found: dict[str, Any] = {
        "metrics": [[each[key] for key in ("step", "loss", "val_loss", "lr", "grad_norm")] for each in lines]
    }
    for name in (LAST, BEST):
        checkpoint = load_checkpoint(folder / name)
        found[name] = checkpoint.position.step, {k: a.tobytes() for k, a in checkpoint.tensors.items()}
    return found


def test_a_run_says_what_it_does_and_leaves_its_answers(base: str, data: str, tmp_path: Path, capsys: Output) -> None:
    assert run(base, data, tmp_path / "run") == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    lines = shown.splitlines()
    assert (
        lines[0]
        == f"data      {data}: 28 conversations: 23 to train on, 2 to choose the best checkpoint, 3 to judge it"
    )
    assert lines[1].startswith("tokens    ")
    learned = sum(len(ANIMALS[a]) + 1 for a in ANIMALS) * 7 / 28  # a response of 23 on average, with its end
    count = int(lines[1].split("of which ")[1].split()[0].replace(",", ""))
    assert count == pytest.approx(23 * learned, rel=0.05)
    (before,) = (line for line in lines if line.startswith("before"))
    (after,) = (line for line in lines if line.startswith("after"))
    losses = [float(line.split("loss ")[1].split()[0]) for line in (before, after)]
    assert losses[0] == pytest.approx(np.log(257), abs=0.2)
    assert losses[1] < losses[0] - 1
    assert after.endswith("of 3 responses")
    answers = [json.loads(line) for line in (tmp_path / "run" / "responses.jsonl").read_text("utf-8").splitlines()]
    assert len(answers) == 3
    for answer in answers:
        assert list(answer) == ["instruction", "input", "expected", "response"]
        assert answer["expected"] == ANIMALS[answer["input"]]
        assert f"{answer['instruction']} | {answer['input']}\n    expected: {answer['expected']}\n" in shown
    assert shown.endswith(f"\nTalk to it: python -m gpt chat {tmp_path / 'run'}\n")
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    assert checkpoint.task is not None
    assert Template.from_dict(checkpoint.task.template) == CHAT
    assert checkpoint.task.kind == "instruct"


class Killed(BaseException):
    """The end of a process, as far as one process can play it: nothing catches it."""


@pytest.mark.parametrize(
    "more", ["", "--grad-accum-steps 2 --shards 2", "--lora-rank 2"], ids=["plain", "shards", "lora"]
)
def test_a_run_that_is_killed_and_taken_up_is_the_same_to_the_bit(
    base: str, data: str, tmp_path: Path, more: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert run(base, data, tmp_path / "whole", *more.split()) == 0
    show = Progress.show

    def die(self: Progress, record: Record) -> None:
        if record.step == 7:
            raise Killed
        show(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "show", die)
        with pytest.raises(Killed):
            run(base, data, tmp_path / "stopped", *more.split())
    capsys.readouterr()
    assert main(["finetune", "instruct", "--resume", str(tmp_path / "stopped")]) == 0
    assert "at step 5 of 12" in capsys.readouterr().out
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")
    answers = [(tmp_path / each / "responses.jsonl").read_bytes() for each in ("stopped", "whole")]
    assert answers[0] == answers[1]


def test_what_the_data_depends_on_cannot_change_when_a_run_is_taken_up(
    base: str, data: str, tmp_path: Path, capsys: Output
) -> None:
    assert run(base, data, tmp_path / "run", "--max-steps", "1") == 0
    for flag, value in (("--template", "alpaca"), ("--test-fraction", "0.5"), ("--batch-size", "4"), ("--end", "x")):
        capsys.readouterr()
        assert main(["finetune", "instruct", "--resume", str(tmp_path / "run"), flag, value]) == 1
        assert f"resume: {flag} was" in capsys.readouterr().err
    (tmp_path / "run" / "data.json").write_text("[]", encoding="utf-8")
    assert main(["finetune", "instruct", "--resume", str(tmp_path / "run"), "--max-steps", "2"]) == 1
    assert "data.json is not the file that this checkpoint was trained with" in capsys.readouterr().err


def test_the_mask_is_shown(base: str, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "chat.jsonl"
    turns = [("user", "2+3?"), ("assistant", "5"), ("user", "é?"), ("assistant", "E\nacute")]
    messages = [{"role": role, "content": content} for role, content in turns]
    path.write_text(json.dumps({"messages": messages, "id": 1, "by": "me"}), encoding="utf-8")
    words = ["--template", "chat", "--val-fraction", "0", "--test-fraction", "0", "--show-mask", "5"]
    assert main(["finetune", "instruct", "--data", str(path), "--base", base, *words]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert shown == (
        f"data      {path}: 1 conversations: 1 to train on, 0 to choose the best checkpoint, 0 to judge it\n"
        "note      1 with the field 'by': not used\n"
        "tokens    53, of which 10 are learned: the responses; template chat; 0.0% beside them is padding\n"
        "\n=== 1: 10 of 54 tokens are learned ===\n"
        "User: 2+3?\nAssistant:\n[5<|endoftext|>]\nUser: é?\nAssistant:\n[E\nacute<|endoftext|>]\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--base", "{base}"], "data: give a file of instructions or conversations: --data FILE"),
        (["--data", "{data}"], "base: give the run or checkpoint to begin from: --base RUN"),
        (["--data", "{data}", "--base", "random"], "it brings the tokenizer, so random weights are none"),
        (["--data", "{data}", "--base", "nowhere"], "there is no run or checkpoint at nowhere"),
        (["--data", "{data}", "--base", "{base}", "--template", "chatt"], "which is no file; did you mean chat?"),
        (
            ["--data", "{data}", "--base", "{base}", "--template", "alpaca"],
            "no conversation fits the base's context of 64",
        ),
        (["--data", "{data}", "--base", "{base}", "--end", "M"], "a response holds 'M', which is to end it"),
        (["--data", "nowhere", "--base", "{base}"], "data: there is no file nowhere"),
        (["--data", "{data}", "--base", "{base}", "--show-mask", "1", "--out", "x"], "leave --out away"),
        (["--resume", "x", "--out", "x"], "--out and --resume exclude each other"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(
    base: str,
    data: str,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", "instruct", *(word.format(base=base, data=data) for word in words)]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_is_not_there_suggests_the_nearest(capsys: Output) -> None:
    assert main(["finetune", "instuct"]) == 2
    assert "unknown task 'instuct'; did you mean instruct?" in capsys.readouterr().err
    assert main(["finetune"]) == 0
    assert "instruct" in capsys.readouterr().out


def test_every_flag_is_explained(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["finetune", "instruct", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, field in InstructConfig.__dataclass_fields__.items():
        assert f"--{name.replace('_', '-')}" in text
        assert " ".join(field.metadata["help"].split()) in text


def test_characters_learn_with_an_end_of_their_own(data: str, tmp_path: Path, capsys: Output) -> None:
    text = Path(data).read_text(encoding="utf-8") + "User:Assistant\n"
    base = make_base(tmp_path / "base.safetensors", CharTokenizer.train(text))
    assert run(base, data, tmp_path / "run", "--end", "¶") == 1
    assert "the end of a response, '¶': encode: characters must be among the" in capsys.readouterr().err
    assert run(base, data, tmp_path / "run") == 1
    assert "of kind char, has no <|endoftext|>" in capsys.readouterr().err
    assert run(base, data, tmp_path / "run", "--end", r"\n\n", "--max-steps", "80") == 0
    answers = [json.loads(line) for line in (tmp_path / "run" / "responses.jsonl").read_text("utf-8").splitlines()]
    assert all("\n\n" not in answer["response"] for answer in answers)
    assert all(answer["response"] and len(answer["response"]) < 10 for answer in answers)  # it learned to stop
    assert "answers are the expected ones" in capsys.readouterr().out


def small(tokenizer: Tokenizer = BYTES) -> GPT:
    config = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=64, d_model=16, n_layers=1, n_heads=2)
    model = GPT(config, np.random.default_rng(3))
    model.tok_emb.weight.copy_(model.tok_emb.weight.data * 20)
    return model


def test_token_accuracy_by_hand() -> None:
    model, rng = small(), np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(97, 123, n))) for n in (3, 30, 8)]
    examples = [encode([Message("user", "q"), Message("assistant", text)], CHAT, BYTES) for text in texts]
    likeliest = [model(each.ids[None]).data[0].argmax(-1) for each in examples]
    for each, guess in zip(examples[1:], likeliest[1:], strict=True):  # let some be right
        each.tokens[-3] = guess[-3]
    likeliest = [model(each.ids[None]).data[0].argmax(-1) for each in examples]
    right = sum(int((guess == e.targets).sum()) for e, guess in zip(examples, likeliest, strict=True))
    count = sum(int((e.targets != IGNORE).sum()) for e in examples)
    assert right >= 2
    assert count == 3 + 30 + 8 + 3
    for size in (1, 2, 3):
        buckets = Buckets(examples, size, seed=0)
        assert token_accuracy(model, buckets.in_order()) == right / count
        assert response_loss(model, buckets) == pytest.approx(
            response_loss(model, Buckets(examples, 3, seed=1)), rel=1e-5
        )


def test_answers_are_compared_but_for_white_space_around_them() -> None:
    turns = Message("user", "a"), Message("assistant", "b"), Message("user", "c", "d"), Message("assistant", "Yes é")
    example = encode(turns, CHAT, BYTES)
    responses = [Response(example, text) for text in ("Yes é", " Yes é\n", "yes é", "Yes")]
    assert [response.is_exact for response in responses] == [True, True, False, False]
    assert exact_match(responses) == 0.5
    lines = responses_jsonl(responses).split("\n")
    assert lines[-1] == ""
    assert json.loads(lines[1]) == {
        "instruction": "c",
        "input": "d",
        "expected": "Yes é",
        "response": " Yes é\n",
        "before": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    }


def test_an_answer_goes_no_further_than_the_context() -> None:
    model = small()
    example = encode([Message("user", "q" * 30), Message("assistant", "b")], CHAT, BYTES)
    asked = encode(example.messages[:-1], CHAT, BYTES)
    (response,) = respond(model, BYTES, CHAT, [example], SampleConfig(max_new_tokens=999, temperature=0))
    assert len(asked.tokens) == 48
    most, one_more = (
        BYTES.decode(generate(model, asked.tokens.tolist(), SampleConfig(max_new_tokens=n, temperature=0), stop_id=256))
        for n in (64 - 48 + 1, 64 - 48 + 2)  # all that the model reads, the last token not, are 64 tokens
    )
    assert response.text == most != one_more
    with pytest.raises(ValueError, match="the question has 68 tokens, with its template, and the context 64: no room"):
        list(respond(model, BYTES, CHAT, [encode([Message("user", "q" * 50), example.messages[-1]], CHAT, BYTES)]))


@pytest.mark.slow
def test_real_instructions_are_learned(data_dir: Path, tmp_path: Path, capsys: Output) -> None:
    base = tmp_path / "base"
    assert main(["train", "--max-steps", "60", "--d-model", "64", "--n-layers", "2", "--out", str(base)]) == 0
    words = ["--data", str(data_dir / "instruction-data.json"), "--template", "chat", "--epochs", "3", "--lr", "3e-3"]
    assert main(["finetune", "instruct", "--base", str(base), *words, "--out", str(tmp_path / "run")]) == 0
    scores = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("before", "after"))]
    before, after = (float(line.split("loss ")[1].split()[0]) for line in scores)
    assert after < before - 1.5
