"""DPO: pairs; log-probabilities, loss and metrics by hand; runs of `finetune prefer`."""

import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.data.batches import IGNORE
from gpt.finetune.batching import Splits
from gpt.finetune.conversations import DUPLICATE, Message
from gpt.finetune.dpo import (
    EQUAL,
    LOG_PROBS,
    SWAPPED,
    TOO_LONG,
    Pair,
    PreferConfig,
    PreferTask,
    answer_log_probs,
    collate_pairs,
    dpo_loss,
    encode_pair,
    load_reference,
    log_probs_of,
    pad_pairs,
    preference_metrics,
    read_pairs,
    with_reference,
)
from gpt.finetune.templates import CHAT, Template
from gpt.lora import add_lora
from gpt.model import GPT
from gpt.runs.checkpoint import BEST, LAST, Task, TrainingState, load_checkpoint, save_checkpoint
from gpt.runs.run import Progress, read_metrics
from gpt.runs.safetensors import save_file
from gpt.tokenizer import BPETokenizer
from gpt.training import Record, accumulate_gradients, in_shards, mean_loss
from nanograd import memory_report, ops
from nanograd.op import Observer, observe
from nanograd.seeds import seeds

Output = pytest.CaptureFixture[str]
BYTES = BPETokenizer.train("ab", 257)  # a token for each byte, and 256 ends a text
SHORT = Template(name="short", user="<{content}>", reply=":")
SHAPE = ModelConfig(vocab_size=257, context_length=64, d_model=16, n_layers=1, n_heads=2)
BETA = {"beta": 0.5, "label_smoothing": 0.1}
ENTRIES = [{"prompt": f"{n}{c}?", "chosen": f"{c}!", "rejected": f"no {n}"} for n in range(8) for c in "abc"]
FLAGS = "--batch-size 4 --max-steps 12 --eval-every 4 --save-every 5 --warmup-steps 2 --lr 0.005 --template chat"


def write(path: Path, entries: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return str(path)


def make_model(seed: int = 0, **changes: Any) -> GPT:
    """Return a model with random parameters, biases and norms included, in float64."""
    model = GPT(ModelConfig(**{**SHAPE.to_dict(), **changes}), np.random.default_rng(seed))
    model.astype(np.float64)
    rng = np.random.default_rng(seed)
    for _, parameter in model.named_parameters():
        parameter.copy_(rng.standard_normal(parameter.shape) * 0.3)
    return model


def examples_of(entries: list[dict[str, Any]], tmp_path: Path, template: Template = SHORT) -> list[Any]:
    pairs, _ = read_pairs(write(tmp_path / "pairs.jsonl", entries))
    return [encode_pair(pair, template, BYTES, 64)[0] for pair in pairs]


def with_own_reference(model: GPT, examples: list[Any]) -> list[Any]:
    """Return the examples with the log-probabilities of this model as their reference."""
    train, val, test = with_reference(Splits(examples[:2], [], examples[2:]), log_probs_of(model, examples, 3))
    assert not val
    return [*train, *test]


# Pairs


def test_a_pair_by_hand(tmp_path: Path) -> None:
    ids, targets = pad_pairs(examples_of([{"prompt": "q", "chosen": "yes", "rejected": "no"}], tmp_path))
    end, _ = BYTES.eot_id, IGNORE
    assert ids.tolist() == [[[*b"<q>:yes"], [*b"<q>:no", 0]]]
    assert targets.tolist() == [[[_, _, _, *b"yes", end], [_, _, _, *b"no", end, _]]]


def test_instructions_with_an_input_are_pairs_too(tmp_path: Path) -> None:
    entries = [{"id": 3, "instruction": "Add.", "input": "2 and 3", "chosen": "5", "rejected": "6", "score": 0.9}]
    (pair,), notes = read_pairs(write(tmp_path / "pairs.jsonl", entries))
    assert (pair.question.content, pair.question.input, pair.chosen, pair.rejected) == ("Add.", "2 and 3", "5", "6")
    assert [message.content for message in pair.rejected_messages] == ["Add.", "6"]
    assert notes == ["1 with the field 'score': not used"]


def test_useless_pairs_are_left_out_and_counted(tmp_path: Path) -> None:
    good = {"prompt": "q", "chosen": "yes", "rejected": "no"}
    entries = [
        good,
        {**good, "rejected": " yes\n"},
        {**good, "chosen": ""},
        {**good, "rejected": "  "},
        {**good, "prompt": ""},
        good,
        {**good, "chosen": "no", "rejected": "yes"},
        {**good, "prompt": "other"},
    ]
    pairs, notes = read_pairs(write(tmp_path / "pairs.jsonl", entries))
    assert [pair.question.content for pair in pairs] == ["q", "other"]
    rules = [
        EQUAL,
        DUPLICATE,
        SWAPPED,
        *(f"an empty {text}: left out" for text in ("chosen answer", "rejected answer", "prompt")),
    ]
    assert sorted(notes) == sorted(f"1 with {rule}" for rule in rules)


def test_a_pair_with_an_answer_beyond_the_context_is_left_out_and_counted() -> None:
    question = (Message("user", "q"), Message("assistant", "yes"))
    pairs = [Pair(question, "here", "n" * n) for n in range(1, 6)]
    context_length = len(b"<q>:nnnn")  # the end is a target, and no input
    encoded = [encode_pair(pair, SHORT, BYTES, context_length) for pair in pairs]
    assert [len(example) for example, rule in encoded if example is not None and not rule] == [7, 7, 7, 8]
    assert encoded[4:] == [(None, TOO_LONG)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "q", "chosen": "a"}', "line 1: needs 'prompt' or 'instruction', 'chosen' and 'rejected', and has"),
        ('{"prompt": "q", "choosen": "a", "rejected": "b"}', "did you mean chosen?"),
        ('{"prompt": "q", "chosen": "a", "rejected": 3}', "line 1: 'rejected' must be a text, got int"),
        (
            '{"prompt": "q", "instruction": "r", "chosen": "a", "rejected": "b"}',
            "has both 'prompt' and 'instruction'; take one out",
        ),
        (
            '{"prompt": "q", "chosen": "a", "rejected": "a"}',
            "has no pair to learn from (1 with equal chosen and rejected answers",
        ),
    ],
)
def test_invalid_entries_are_refused(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(ValueError, match=r".*") as caught:
        read_pairs(path)
    assert message in str(caught.value)


# Log-probabilities and the loss


def test_log_probabilities_of_a_uniform_model(tmp_path: Path) -> None:
    """yes and its end are 4 tokens, no and its end 3: -4 ln 257 and -3 ln 257."""
    examples = examples_of([{"prompt": "q", "chosen": "yes", "rejected": "no"}], tmp_path)
    log_probs = log_probs_of(GPT(SHAPE, init=False), examples, 8)
    np.testing.assert_allclose(log_probs, [[-4 * math.log(257), -3 * math.log(257)]], rtol=1e-6)


def test_log_probabilities_are_sums_over_the_answer_alone(tmp_path: Path) -> None:
    model = make_model()
    examples = examples_of(ENTRIES[:5], tmp_path)
    ids, targets = (array.reshape(10, -1) for array in pad_pairs(examples))
    log_probs = answer_log_probs(model, ids, targets).data
    for row in range(10):
        logits = model(ids[row : row + 1]).data[0]
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected = sum(log_p[t, target] for t, target in enumerate(targets[row]) if target != IGNORE)
        assert log_probs[row] == pytest.approx(expected, rel=1e-12)


def test_the_gradient_equals_that_of_the_loss_from_other_ops(tmp_path: Path) -> None:
    """-ln σ of the margin, with log-probabilities from log_softmax and without padding."""
    model, other = make_model(), make_model()
    examples = examples_of(ENTRIES[:3], tmp_path)
    reference = log_probs_of(make_model(1), examples, 2)
    dpo_loss(model, *pad_pairs(examples), reference, **BETA).backward()

    def log_prob(ids: np.ndarray, targets: np.ndarray) -> Any:
        positions = np.nonzero(targets != IGNORE)[0]
        return ops.log_softmax(other(ids[None])[0])[positions, targets[positions]].sum()

    for example, (chosen, rejected) in zip(examples, reference, strict=True):
        policy = [log_prob(answer.ids, answer.targets) for answer in (example.chosen, example.rejected)]
        p = ops.sigmoid(((policy[0] - chosen) - (policy[1] - rejected)) * 0.5)
        (ops.log(p) * -0.9 - ops.log(1 - p) * 0.1).backward()
    for (name, ours), (_, theirs) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        np.testing.assert_allclose(ours.grad, theirs.grad, atol=1e-10 * np.abs(theirs.grad).max(), err_msg=name)


@pytest.mark.parametrize("frozen", [False, True])
def test_chunks_of_logits_change_only_rounding_and_are_not_kept(
    frozen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """101 targets are 7 chunks of 16 tokens, as many as there are features."""
    entries = [{"prompt": "p", "chosen": "y" * n, "rejected": "n" * 2 * n} for n in (9, 2, 13, 7)]
    examples, results = examples_of(entries, tmp_path), []
    for size in (2**22, 1):
        monkeypatch.setattr("gpt.finetune.dpo.LOGITS", size)
        model = make_model()
        if frozen:
            add_lora(model, 2, 4.0, ["w_qkv"], np.random.default_rng(0))
            model.blocks[0].attn.w_qkv.lora_b.data += 0.1  # type: ignore[attr-defined]
        with memory_report() as report:
            loss = dpo_loss(model, *pad_pairs(examples), np.zeros((4, 2)), **BETA)
            loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        results.append((loss.item(), gradients, report.peak))
    (loss, gradients, peak), (chunked, chunked_gradients, chunked_peak) = results
    assert chunked == pytest.approx(loss, rel=1e-13)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(chunked_gradients[name], gradient, atol=1e-12 * np.abs(gradient).max(), err_msg=name)
    assert chunked_peak < peak - 0.7 * 101 * 257 * 8  # bytes of the logits


def test_pairs_sorted_by_length_keep_their_rows(tmp_path: Path) -> None:
    model = make_model()
    entries = [{"prompt": "p" * n, "chosen": "yes", "rejected": "n" * n} for n in (9, 2, 30, 1, 5)]
    examples = examples_of(entries, tmp_path)
    alone = np.concatenate([log_probs_of(model, [example], 1) for example in examples])
    np.testing.assert_allclose(log_probs_of(model, examples, 2), alone, rtol=1e-12)


def test_the_other_pairs_of_a_batch_change_no_loss(tmp_path: Path) -> None:
    model = make_model()
    entries = [*ENTRIES[:3], {"prompt": "long " * 5, "chosen": "ever so long", "rejected": "short"}]
    pairs = with_own_reference(make_model(1), examples_of(entries, tmp_path))
    together = dpo_loss(model, *collate_pairs(pairs).rows, **BETA).item()
    alone = sum(dpo_loss(model, *collate_pairs([pair]).rows, **BETA).item() for pair in pairs)
    assert together == pytest.approx(alone, rel=1e-12)


def test_before_the_first_step_the_loss_is_ln_2_and_a_step_is_the_same_in_shards(tmp_path: Path) -> None:
    model = make_model()
    pairs = with_own_reference(model, examples_of(ENTRIES, tmp_path))
    norms = []
    for shards, size, micro in ((1, 6, 1), (3, 6, 1), (1, 3, 2)):
        config = PreferConfig(batch_size=size, grad_accum_steps=micro, shards=shards)
        run: Any = SimpleNamespace(model=model, config=config)
        objective = PreferTask().objective(run, Splits(pairs, pairs, []))
        loss, n = accumulate_gradients(in_shards(model, objective, config), objective, config, 0)
        assert (loss, n) == (pytest.approx(math.log(2), rel=1e-9), 6)
        norms.append(sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None))
        model.zero_grad()
        assert objective.val_batches is not None
        val_loss = mean_loss(model, objective.val_batches(), objective.loss_of, shards=shards)
        assert val_loss == pytest.approx(math.log(2), rel=1e-9)
    assert norms == [pytest.approx(norms[0], rel=1e-9)] * 3
    assert norms[0] > 1e-3


def test_the_reference_is_computed_without_dropout_and_the_mode_restored(tmp_path: Path) -> None:
    model = make_model(dropout=0.5).train()
    examples = examples_of(ENTRIES[:2], tmp_path)
    with seeds(0, 0, 0):
        np.testing.assert_array_equal(log_probs_of(model, examples, 2), log_probs_of(model, examples, 2))
    assert model.training


def test_metrics_by_hand() -> None:
    """β = ½: rewards of the chosen +1, 0 and -½, of the rejected -1, 0 and +½: margins 2, 0 and -1."""
    reference = np.array([[-5.0, -5.0], [-3.0, -9.0], [-2.0, -4.0]])
    policy = reference + np.array([[2.0, -2.0], [0.0, 0.0], [-1.0, 1.0]])
    metrics = preference_metrics(policy, reference, 0.5)
    assert metrics.margin == pytest.approx((2 + 0 - 1) / 3)
    assert metrics.accuracy == 0.5  # a win, a tie, a loss
    assert metrics.more_probable == 2 / 3  # the third pair has -3 and -3
    assert metrics.loss == pytest.approx(sum(math.log(1 + math.exp(-m)) for m in (2, 0, -1)) / 3)


def test_a_reference_of_other_pairs_is_refused(tmp_path: Path) -> None:
    save_file({LOG_PROBS: np.ones((3, 2), np.float32)}, tmp_path / "r")
    assert load_reference(tmp_path / "r", 3).tolist() == [[1, 1]] * 3
    with pytest.raises(ValueError, match="does not hold the reference's log-probabilities of 4 pairs"):
        load_reference(tmp_path / "r", 4)


# The command


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("base") / LAST
    save_checkpoint(path, GPT(SHAPE, np.random.default_rng(0)), None, TrainConfig(), BYTES, TrainingState())
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("data") / "pairs.jsonl", ENTRIES)


def run(base: str, data: str, out: Path, *more: str) -> int:
    return main(["finetune", "prefer", "--data", data, "--init", base, *FLAGS.split(), "--out", str(out), *more])


def test_a_run_prints_its_metrics_before_and_after(base: str, data: str, tmp_path: Path, capsys: Output) -> None:
    assert run(base, data, tmp_path / "run", "--max-steps", "40", "--test-fraction", "0.2", "--beta", "0.5") == 0
    output = capsys.readouterr().out
    assert "17 pairs to train on, 2 to choose the best checkpoint, 5 to test it" in output
    for split, n in (("train", 17), ("held-out", 5)):
        lines = [line for line in output.splitlines() if line[10:].startswith(split)]
        before, after = (next(line for line in lines if line.startswith(when)) for when in ("before", "after"))
        assert f"loss 0.6931, margin +0.000, accuracy 50.0%, chosen more probable 100.0%, of {n} pairs" in before
        assert "accuracy 100.0%" in after
        assert float(after.split("margin ")[1].split(",")[0]) > 1
    checkpoint = load_checkpoint(tmp_path / "run" / BEST)
    assert checkpoint.task is not None
    assert (checkpoint.kind, checkpoint.task.template) == ("prefer", CHAT.to_dict())


@pytest.mark.parametrize("more", ["", "--lora-rank 2 --grad-accum-steps 2 --shards 2"])
def test_a_run_that_is_killed_and_resumed_is_the_same_to_the_bit(
    more: str, base: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert run(base, data, tmp_path / "whole", *more.split()) == 0
    show = Progress.show

    class Killed(BaseException):
        pass

    def die(self: Progress, record: Record) -> None:
        if record.step == 7:
            raise Killed
        show(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "show", die)
        with pytest.raises(Killed):
            run(base, data, tmp_path / "stopped", *more.split())
    before = (tmp_path / "stopped" / "reference.safetensors").read_bytes()
    assert main(["finetune", "prefer", "--resume", str(tmp_path / "stopped")]) == 0
    assert "at step 5 of 12" in capsys.readouterr().out
    assert before == (tmp_path / "whole" / "reference.safetensors").read_bytes()
    for name in (LAST, BEST):
        stopped, whole = (load_checkpoint(tmp_path / run / name) for run in ("stopped", "whole"))
        assert stopped.state.step == whole.state.step
        assert {k: a.tobytes() for k, a in stopped.tensors.items()} == {
            k: a.tobytes() for k, a in whole.tensors.items()
        }
    metrics = [[record.loss for record in read_metrics(tmp_path / run)] for run in ("stopped", "whole")]
    assert metrics[0] == metrics[1]


def test_the_reference_is_computed_once_and_no_other_is_accepted(
    base: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    calls: Counter[str] = Counter()

    def counted(*arguments: Any) -> np.ndarray:
        calls["reference"] += 1
        return log_probs_of(*arguments)

    monkeypatch.setattr("gpt.finetune.dpo.log_probs_of", counted)
    monkeypatch.setattr("gpt.commands.finetune.run_training", lambda *_: False)
    assert run(base, data, tmp_path / "run") == 130
    assert main(["finetune", "prefer", "--resume", str(tmp_path / "run")]) == 130
    assert calls == {"reference": 1}
    save_file({LOG_PROBS: np.zeros((len(ENTRIES), 2), np.float32)}, tmp_path / "run" / "reference.safetensors")
    assert main(["finetune", "prefer", "--resume", str(tmp_path / "run")]) == 1
    assert "reference.safetensors is not the file this checkpoint was trained with" in capsys.readouterr().err


def test_prompts_use_the_template_of_the_base(data: str, tmp_path: Path) -> None:
    task = Task("instruct", template=SHORT.to_dict())
    path = tmp_path / "answers.safetensors"
    save_checkpoint(path, GPT(SHAPE, np.random.default_rng(0)), None, TrainConfig(), BYTES, TrainingState(), task)
    words = ["--data", data, "--init", str(path), "--max-steps", "1", "--out", str(tmp_path / "run")]
    assert main(["finetune", "prefer", *words]) == 0
    stored = load_checkpoint(tmp_path / "run" / LAST).task
    assert stored is not None
    assert stored.template == SHORT.to_dict()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--init random", "init: give the run or checkpoint to start from: --init RUN; random weights"),
        ("--template chatty", "template: must be alpaca, chat, chatml, llama3,"),
        ("--label-smoothing 0.5", "label_smoothing must be below 0.5, got 0.5"),
        ("--beta 0", "beta must be above 0, got 0"),
        ("--template alpaca", "no pair to train on fits the base's context of 64 tokens"),
    ],
)
def test_refusals_leave_nothing_behind(
    more: str, message: str, base: str, data: str, tmp_path: Path, capsys: Output
) -> None:
    assert run(base, data, tmp_path / "run", *more.split()) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


class Sizes(Observer):
    """The largest result whose last axis is the vocabulary."""

    largest = 0

    def after_forward(self, op: Any, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Any) -> None:
        if y.shape[-1:] == (SHAPE.vocab_size,):
            self.largest = max(self.largest, y.size // SHAPE.vocab_size)


def test_tokens_of_prompts_and_padding_have_no_logits(tmp_path: Path) -> None:
    ids, targets = (array.reshape(10, -1) for array in pad_pairs(examples_of(ENTRIES[:5], tmp_path)))
    with observe(sizes := Sizes()):
        answer_log_probs(make_model(), ids, targets)
    assert sizes.largest == np.count_nonzero(targets != IGNORE) < ids.size / 2
