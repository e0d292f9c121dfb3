"""Instruction tuning: runs of `finetune instruct`, its refusals, its metrics, and batches that change no result."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig, SampleConfig, TrainConfig
from gpt.data.batches import IGNORE
from gpt.finetune.chat import answer, truncate
from gpt.finetune.conversations import Message
from gpt.finetune.examples import Example, encode, pad_examples
from gpt.finetune.sft import InstructConfig, Response, token_accuracy
from gpt.finetune.task import evaluation_batches, make_objective
from gpt.finetune.templates import CHAT, Template
from gpt.generation.generate import generate_text
from gpt.model import GPT
from gpt.runs.checkpoint import BEST, LAST, TrainingState, load_checkpoint, save_checkpoint
from gpt.runs.run import METRICS, Progress
from gpt.tokenizer import BPETokenizer, CharTokenizer, Tokenizer
from gpt.training import Record, accumulate_gradients, in_shards, make_optimizer, mean_loss, next_token_loss

Output = pytest.CaptureFixture[str]
VOCAB = 13
BYTES = BPETokenizer.train("ab", 257)
SHORT = Template(name="short", user="<{content}>", reply=":", between="/", system="[{content}]")
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
    save_checkpoint(path, model, make_optimizer(model, TrainConfig()), TrainConfig(), tokenizer, TrainingState())
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
    words = ["finetune", "instruct", "--data", data, "--init", base, *FLAGS.split(), "--out", str(out), *more]
    return main(words)


def result(folder: Path) -> dict[str, Any]:
    """Return the metrics and checkpoints of a run, which must not depend on interruptions."""
    lines = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    keys = ("step", "loss", "val_loss", "lr", "grad_norm")
    outcome: dict[str, Any] = {"metrics": [[line[key] for key in keys] for line in lines]}
    for name in (LAST, BEST):
        checkpoint = load_checkpoint(folder / name)
        outcome[name] = checkpoint.state.step, {k: a.tobytes() for k, a in checkpoint.tensors.items()}
    return outcome


def test_a_run_prints_its_scores_and_writes_its_answers(base: str, data: str, tmp_path: Path, capsys: Output) -> None:
    assert run(base, data, tmp_path / "run") == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    lines = shown.splitlines()
    assert (
        lines[0] == f"data      {data}: 28 conversations: 23 to train on, 2 to choose the best checkpoint, 3 to test it"
    )
    assert lines[1].startswith("tokens    ")
    mean_length = sum(len(says) + 1 for says in ANIMALS.values()) / 4  # with the end of a response
    n_learned = int(lines[1].split("of which ")[1].split()[0].replace(",", ""))
    assert n_learned == pytest.approx(23 * mean_length, rel=0.05)
    (before,) = (line for line in lines if line.startswith("before"))
    (after,) = (line for line in lines if line.startswith("after"))
    losses = [float(line.split("loss ")[1].split()[0]) for line in (before, after)]
    assert losses[0] == pytest.approx(np.log(257), abs=0.2)
    assert losses[1] < losses[0] - 1
    assert after.endswith("of 3 responses")
    answers = [json.loads(line) for line in (tmp_path / "run" / "responses.jsonl").read_text("utf-8").splitlines()]
    assert len(answers) == 3
    for fields in answers:
        assert list(fields) == ["instruction", "input", "expected", "response"]
        assert fields["expected"] == ANIMALS[fields["input"]]
        assert (
            f"{fields['instruction']} | {fields['input']}\n    expected: {fields['expected']}\n    before:   " in shown
        )
        assert f"\n    answered: {fields['response']}\n" in shown
    untrained = [json.loads(line) for line in (tmp_path / "run" / "before.jsonl").read_text("utf-8").splitlines()]
    assert [fields["expected"] for fields in untrained] == [fields["expected"] for fields in answers]
    assert [fields["response"] for fields in untrained] != [fields["response"] for fields in answers]
    assert shown.endswith(f"\nTalk to it: python -m gpt chat {tmp_path / 'run'}\n")
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    assert checkpoint.task is not None
    assert Template.from_dict(checkpoint.task.template) == CHAT
    assert checkpoint.task.kind == "instruct"


class Killed(BaseException):
    """The end of a process: nothing catches it."""


@pytest.mark.parametrize(
    "more",
    ["", "--grad-accum-steps 2 --shards 2", "--lora-rank 2 --recompute"],
    ids=["plain", "shards", "lora, recomputed"],
)
def test_a_run_that_is_killed_and_resumed_is_the_same_to_the_bit(
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
    answers = [(tmp_path / name / "responses.jsonl").read_bytes() for name in ("stopped", "whole")]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(("more", "lr"), [("", 0.03 / 16), ("--lora-rank 2", 0.3 / 16), ("--lr 0.007", 0.007)])
def test_the_learning_rate_is_that_of_a_base_of_its_width(
    base: str, data: str, tmp_path: Path, more: str, lr: float
) -> None:
    words = ["--data", data, "--init", base, "--out", str(tmp_path / "run"), "--max-steps", "1", "--template", "chat"]
    assert main(["finetune", "instruct", *words, *more.split()]) == 0
    task = load_checkpoint(tmp_path / "run" / LAST).task
    assert task is not None
    assert task.config["lr"] == pytest.approx(lr)


def test_the_template_is_that_of_the_base_unless_one_is_named(base: str, data: str, tmp_path: Path) -> None:
    assert run(base, data, tmp_path / "first", "--max-steps", "1", "--end", "#") == 0
    words = ["finetune", "instruct", "--data", data, "--init", str(tmp_path / "first"), "--max-steps", "1"]
    for name, more, expected in (
        ("own", [], dataclasses.replace(CHAT, end="#")),
        ("named", ["--template", "chat"], CHAT),
        ("end", ["--end", "\\n"], dataclasses.replace(CHAT, end="\n")),
    ):
        assert main([*words, "--out", str(tmp_path / name), *more]) == 0
        task = load_checkpoint(tmp_path / name / LAST).task
        assert task is not None
        assert Template.from_dict(task.template) == expected


def test_options_of_the_data_cannot_change_in_a_resumed_run(
    base: str, data: str, tmp_path: Path, capsys: Output
) -> None:
    assert run(base, data, tmp_path / "run", "--max-steps", "1") == 0
    for flag, value in (("--template", "alpaca"), ("--test-fraction", "0.5"), ("--batch-size", "4"), ("--end", "x")):
        capsys.readouterr()
        assert main(["finetune", "instruct", "--resume", str(tmp_path / "run"), flag, value]) == 1
        assert f"resume: {flag} was" in capsys.readouterr().err
    (tmp_path / "run" / "data.json").write_text("[]", encoding="utf-8")
    assert main(["finetune", "instruct", "--resume", str(tmp_path / "run"), "--max-steps", "2"]) == 1
    assert "data.json is not the file this checkpoint was trained with" in capsys.readouterr().err


def test_the_mask_is_shown(base: str, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "chat.jsonl"
    turns = [("user", "2+3?"), ("assistant", "5"), ("user", "é?"), ("assistant", "E\nacute")]
    messages = [{"role": role, "content": content} for role, content in turns]
    path.write_text(json.dumps({"messages": messages, "id": 1, "by": "me"}), encoding="utf-8")
    words = ["--template", "chat", "--val-fraction", "0", "--test-fraction", "0", "--show-mask", "5"]
    assert main(["finetune", "instruct", "--data", str(path), "--init", base, *words]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert shown == (
        f"data      {path}: 1 conversations: 1 to train on, 0 to choose the best checkpoint, 0 to test it\n"
        "note      1 with the field 'by': not used\n"
        "tokens    53, of which 10 are learned: the responses; template chat; 0.0% beside them is padding\n"
        "\n=== 1: 10 of 54 tokens are learned ===\n"
        "User: 2+3?\nAssistant:\n[5<|endoftext|>]\nUser: é?\nAssistant:\n[E\nacute<|endoftext|>]\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--init", "{base}"], "data: give a file of instructions or conversations: --data FILE"),
        (["--data", "{data}"], "init: give the run or checkpoint to start from: --init RUN"),
        (["--data", "{data}", "--init", "random"], "random weights have no tokenizer"),
        (["--data", "{data}", "--init", "nowhere"], "there is no run or checkpoint at nowhere"),
        (["--data", "{data}", "--init", "{base}", "--template", "chatt"], "which is no file; did you mean chat?"),
        (
            ["--data", "{data}", "--init", "{base}", "--template", "alpaca"],
            "no conversation fits the base's context of 64",
        ),
        (["--data", "{data}", "--init", "{base}", "--end", "M"], "a response contains 'M', which is to end it"),
        (["--data", "nowhere", "--init", "{base}"], "data: there is no file nowhere"),
        (["--data", "{data}", "--init", "{base}", "--show-mask", "1", "--out", "x"], "leave --out out"),
        (["--resume", "x", "--out", "x"], "--out and --resume exclude each other"),
    ],
)
def test_refusals_leave_nothing_behind(
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


def test_every_flag_is_explained(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["finetune", "instruct", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, field in InstructConfig.__dataclass_fields__.items():
        assert f"--{name.replace('_', '-')}" in text
        assert " ".join(field.metadata["help"].split()) in text


def test_a_character_tokenizer_needs_an_end(data: str, tmp_path: Path, capsys: Output) -> None:
    text = Path(data).read_text(encoding="utf-8") + "User:Assistant\n"
    base = make_base(tmp_path / "base.safetensors", CharTokenizer.train(text))
    assert run(base, data, tmp_path / "run", "--end", "¶") == 1
    assert "the end of a response, '¶': encode: characters must be among the" in capsys.readouterr().err
    assert run(base, data, tmp_path / "run") == 1
    assert "of kind char, has no <|endoftext|>" in capsys.readouterr().err
    assert run(base, data, tmp_path / "run", "--end", r"\n\n", "--max-steps", "80") == 0
    answers = [json.loads(line) for line in (tmp_path / "run" / "responses.jsonl").read_text("utf-8").splitlines()]
    assert all("\n\n" not in fields["response"] for fields in answers)
    assert all(fields["response"] and len(fields["response"]) < 10 for fields in answers)  # it learned to stop
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

    def first_choices() -> list[np.ndarray]:
        return [model(example.ids[None]).data[0].argmax(-1) for example in examples]

    for example, choices in zip(examples[1:], first_choices()[1:], strict=True):  # make some of them correct
        example.tokens[-3] = choices[-3]
    correct = sum(int((c == e.targets).sum()) for e, c in zip(examples, first_choices(), strict=True))
    count = sum(int((example.targets != IGNORE).sum()) for example in examples)
    assert correct >= 2
    assert count == 3 + 30 + 8 + 3
    for size in (1, 2, 3):
        assert token_accuracy(model, evaluation_batches(examples, pad_examples, size)) == correct / count


def test_answers_are_compared_without_white_space_around_them() -> None:
    turns = Message("user", "a"), Message("assistant", "b"), Message("user", "c", "d"), Message("assistant", "Yes é")
    example = encode(turns, CHAT, BYTES)
    responses = [Response(example, text) for text in ("Yes é", " Yes é\n", "yes é", "Yes")]
    assert [response.is_exact for response in responses] == [True, True, False, False]
    assert responses[1].to_dict() == {
        "instruction": "c",
        "input": "d",
        "expected": "Yes é",
        "response": " Yes é\n",
        "before": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    }


# Answers


def test_an_answer_ends_with_the_context() -> None:
    model = small()
    question = [Message("user", "q" * 30)]
    text = "".join(answer(model, BYTES, CHAT, question, SampleConfig(max_new_tokens=999, temperature=0)))
    prompt = encode(question, CHAT, BYTES).tokens.tolist()
    assert len(prompt) == 48
    longest, one_more = (
        "".join(text for (text,) in generate_text(model, BYTES, prompt, SampleConfig(max_new_tokens=n, temperature=0)))
        for n in (64 - 48 + 1, 64 - 48 + 2)  # the model reads 64 tokens, and not the last one
    )
    assert text == longest != one_more
    with pytest.raises(ValueError, match="the question has 68 tokens, with its template, and the context 64: no room"):
        answer(model, BYTES, CHAT, [Message("user", "q" * 50)], SampleConfig())


def test_as_many_turns_stay_as_fit() -> None:
    messages = [Message("system", "s")]
    messages += [Message(role, "x") for _ in range(3) for role in ("user", "assistant")] + [Message("user", "q")]
    lengths = [len(encode([messages[0], *messages[k:]], SHORT, BYTES).tokens) for k in (1, 3, 5, 7)]
    for max_tokens in range(1, lengths[0] + 2):
        remaining, n_dropped = truncate(messages, SHORT, BYTES, max_tokens)
        assert n_dropped == next((k for k, n in enumerate(lengths) if n <= max_tokens), 3)
        assert remaining == [messages[0], *messages[1 + 2 * n_dropped :]]


# Batches


def examples(*lengths: int) -> list[Example]:
    """Return examples of n + 1 random tokens; about half of them are trained on, always the last."""
    rng, made = np.random.default_rng(5), []
    for n in lengths:
        loss_mask = rng.random(n + 1) < 0.5
        loss_mask[-1] = True
        made.append(Example((), rng.integers(0, VOCAB, n + 1), loss_mask))
    return made


def small_gpt() -> GPT:
    config = ModelConfig(vocab_size=VOCAB, context_length=16, d_model=8, n_layers=2, n_heads=2)
    model = GPT(config, np.random.default_rng(1))
    for _, p in model.named_parameters():
        p.copy_(p.data + np.random.default_rng(2).standard_normal(p.shape) * 0.3)
    return model.astype(np.float64)


def loss_of(model: GPT, data: list[Example], batch_size: int) -> float:
    return mean_loss(model, evaluation_batches(data, pad_examples, batch_size), next_token_loss)


def test_batches_do_not_change_the_loss() -> None:
    data, model = examples(3, 9, 1, 16, 5, 9, 2), small_gpt()
    losses = [loss_of(model, data, size) for size in (1, 2, 3, 7)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-12)
    total = 0.0
    for example in data:
        logits = model(example.ids[None]).data[0]
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        total -= sum(log_p[t, target] for t, target in enumerate(example.targets) if target != IGNORE)
    assert losses[0] == pytest.approx(total / sum(int(e.loss_mask[1:].sum()) for e in data), rel=1e-10)


def gradients(data: list[Example], batch_size: int, micro: int, shards: int) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss and gradients of one step over all examples."""
    model = small_gpt()
    config = InstructConfig(batch_size=batch_size, grad_accum_steps=micro, shards=shards)
    objective = make_objective(data, [], pad_examples, next_token_loss, config)
    loss, _ = accumulate_gradients(in_shards(model, objective, config), objective, config, step=0)
    return loss, {name: p.grad.copy() for name, p in model.named_parameters() if p.grad is not None}


def test_batches_do_not_change_the_gradient() -> None:
    data = examples(3, 9, 1, 16, 5, 9)
    loss, expected = gradients(data, 6, 1, 1)
    for batch_size, micro, shards in ((1, 6, 1), (2, 3, 2), (3, 2, 1), (6, 1, 3)):
        other_loss, other = gradients(data, batch_size, micro, shards)
        assert other_loss == pytest.approx(loss, rel=1e-12)
        for name, gradient in expected.items():
            np.testing.assert_allclose(other[name], gradient, rtol=0, atol=1e-11 * abs(gradient).max(), err_msg=name)


@pytest.mark.slow
def test_real_instructions_are_learned(data_dir: Path, tmp_path: Path, capsys: Output) -> None:
    base = tmp_path / "base"
    assert main(["train", "--max-steps", "60", "--d-model", "64", "--n-layers", "2", "--out", str(base)]) == 0
    words = ["--data", str(data_dir / "instruction-data.json"), "--template", "chat", "--epochs", "3", "--lr", "3e-3"]
    assert main(["finetune", "instruct", "--init", str(base), *words, "--out", str(tmp_path / "run")]) == 0
    scores = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("before", "after"))]
    before, after = (float(line.split("loss ")[1].split()[0]) for line in scores)
    assert after < before - 1.5
