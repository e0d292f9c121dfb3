"""Training: the schedule by hand, gradients that add up, and a loop that learns, stops and goes on."""

import dataclasses
import gc
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig, TrainConfig
from gpt.data.batches import IGNORE, random_batch
from gpt.model import GPT
from gpt.tokenizer import BPETokenizer, CharTokenizer
from gpt.training import (
    NotFiniteError,
    Record,
    accumulate_gradients,
    evaluate,
    first_token,
    in_shards,
    learning_rate,
    make_optimizer,
    next_token_objective,
    train,
)
from nanograd._tensor import Tensor
from nanograd.optim import AdamW, clip_grad_norm
from nanograd.parallel import DataParallel
from nanograd.seeds import DATA, generator

MODEL = ModelConfig(vocab_size=20, context_length=8, d_model=16, n_layers=2, n_heads=2)
TRAIN = TrainConfig(max_steps=6, batch_size=2, lr=1e-2, min_lr=1e-3, warmup_steps=2, eval_every=4, seed=3)
TOKENS = np.random.default_rng(9).integers(0, 20, 200)


def fresh(config: ModelConfig = MODEL) -> GPT:
    return GPT(config, np.random.default_rng(0))


def gradients(model: GPT) -> dict[str, np.ndarray]:
    """Take the gradients out of the model."""
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert len(found) == len(list(model.parameters()))
    model.zero_grad()
    return found


def step_loss(model: GPT, config: TrainConfig, step: int) -> float:
    """Leave the gradient of a step in the model, and return its loss."""
    objective = next_token_objective(model, TOKENS, None, config)
    loss, n_targets = accumulate_gradients(in_shards(model, objective, config), objective, config, step)
    assert n_targets == config.grad_accum_steps * config.batch_size * model.config.context_length
    return loss


def run(
    model: GPT, config: TrainConfig, optimizer: AdamW | None = None, start: int = 0, elapsed: float = 0.0
) -> list[Record]:
    records: list[Record] = []
    optimizer = optimizer or make_optimizer(model, config)
    train(model, optimizer, TOKENS, TOKENS[:50], config, after_step=records.append, start=start, elapsed=elapsed)
    return records


# The schedule


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.25), (1, 0.5), (2, 0.75), (3, 1.0),  # up in four steps, the first already moves
        (4, 1.0),  # the cosine begins at its top
        (6, 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2),  # a quarter of the way: cos 45° = √½
        (8, 0.55),  # half of the way
        (11, 0.1 + 0.9 * (1 - 0.9238795325) / 2),  # cos 157.5° = -0.92388
        (12, 0.1), (100, 0.1),  # past the end it stays
    ],
)  # fmt: skip
def test_the_learning_rate_by_hand(step: int, expected: float) -> None:
    config = TrainConfig(lr=1.0, min_lr=0.1, warmup_steps=4, max_steps=12)
    assert learning_rate(step, config) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.5, 1.0, 1.0, 0.91, 0.82, 0.73, 0.64, 0.55, 0.46, 0.37, 0.28, 0.19, 0.1, 0.1]),
        ("wsd", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.7, 0.4, 0.1, 0.1]),
        ("constant", [0.5, *[1.0] * 12]),
    ],
)
def test_the_other_schedules_by_hand(schedule: str, expected: list[float]) -> None:
    steps = 11 if schedule == "wsd" else 12
    config = TrainConfig(lr=1.0, min_lr=0.1, warmup_steps=2, max_steps=steps, schedule=schedule, decay_steps=3)
    assert [learning_rate(step, config) for step in range(len(expected))] == pytest.approx(expected, rel=1e-9)


def test_wsd_falls_in_the_last_fifth() -> None:
    config = TrainConfig(lr=1.0, min_lr=0.0, warmup_steps=0, max_steps=10, schedule="wsd")
    assert [learning_rate(step, config) for step in (7, 8, 9)] == [1.0, 1.0, 0.5]
    assert dataclasses.replace(config, max_steps=100).decay_steps == 20
    stored = TrainConfig.from_dict(config.to_dict())
    assert dataclasses.replace(stored, max_steps=100).decay_steps == 20  # computed, and stored as a number
    late = TrainConfig(lr=1.0, warmup_steps=95, max_steps=100, schedule="wsd")
    assert learning_rate(94, late) == 1.0  # the warmup is not cut short


def test_the_first_step_always_moves() -> None:
    for warmup in (0, 1, 100):
        assert learning_rate(0, TrainConfig(warmup_steps=warmup)) > 0
    assert learning_rate(0, TrainConfig(lr=1.0, warmup_steps=0)) == 1.0
    assert learning_rate(3, TrainConfig(lr=1.0, warmup_steps=100, max_steps=4)) == 0.04  # a warmup cut short


# The gradient of a step


def batches(config: TrainConfig, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for micro in range(config.grad_accum_steps):
        yield random_batch(TOKENS, config.batch_size, 8, generator(config.seed, DATA, step, micro))


def test_micro_batches_add_up_to_one_large_batch() -> None:
    model, config = fresh().astype(np.float64), dataclasses.replace(TRAIN, grad_accum_steps=3)
    loss = step_loss(model, config, step=5)
    added = gradients(model)
    ids, targets = (np.concatenate(arrays) for arrays in zip(*batches(config, 5), strict=True))
    assert ids.shape == (6, 8)
    assert len(np.unique(ids, axis=0)) == 6  # each micro-batch draws its own
    whole = model.loss(ids, targets)
    whole.backward()
    assert loss == pytest.approx(whole.item(), rel=1e-12)
    for name, gradient in gradients(model).items():
        assert np.abs(added[name] - gradient).max() <= 1e-12 * np.abs(gradient).max(), name


def test_micro_batches_add_up_also_where_different_numbers_of_targets_count() -> None:
    model, rng = fresh().astype(np.float64), np.random.default_rng(4)
    ids, targets = rng.integers(0, 20, (4, 8)), rng.integers(0, 20, (4, 8))
    targets[0, 1:] = targets[3] = IGNORE  # 1, 8, 8 and 0 of 8 count
    whole = model.loss(ids, targets)
    whole.backward()
    expected, total = gradients(model), 0.0
    for row in range(4):
        loss = model.loss(ids[row : row + 1], targets[row : row + 1], reduction="sum")
        loss.backward(1 / 17)  # by the targets of the whole step
        total += loss.item() / 17
    assert total == pytest.approx(whole.item(), rel=1e-12)
    for name, gradient in gradients(model).items():
        assert np.abs(gradient - expected[name]).max() <= 1e-12 * np.abs(expected[name]).max(), name


def test_batch_and_dropout_of_a_step_depend_on_seed_and_step_alone() -> None:
    model = fresh(dataclasses.replace(MODEL, dropout=0.2))
    first = step_loss(model, TRAIN, step=0)
    assert step_loss(model, TRAIN, step=0) == first
    assert step_loss(model, TRAIN, step=1) != first
    assert step_loss(model, dataclasses.replace(TRAIN, seed=4), step=0) != first


# Evaluation


@pytest.mark.parametrize("n_tokens", [2, 9, 10, 29, 33])  # 1, 8, 9, 28 and 32 targets, in windows of 8
def test_evaluate_is_the_mean_over_all_targets(n_tokens: int) -> None:
    model, tokens, losses = fresh().astype(np.float64), TOKENS[:n_tokens], []
    for start in range(0, n_tokens - 1, 8):  # one window after the other, the last as short as it is
        window = tokens[start : start + 9]
        logits = model(window[None, :-1]).data[0]
        losses += [math.log(np.exp(z).sum()) - z[target] for z, target in zip(logits, window[1:], strict=True)]
    assert len(losses) == n_tokens - 1
    for batch_size in (1, 3):
        assert evaluate(model, tokens, batch_size) == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def test_documents_apart_are_evaluated_as_if_each_were_alone() -> None:
    """One that is longer than the context goes in windows that follow each other."""
    model, losses = fresh().astype(np.float64), []
    borders = [0, *(np.flatnonzero(TOKENS[1:-1] == 4) + 1).tolist(), len(TOKENS) - 1]
    assert {min(length // 8, 1) for length in np.diff(borders)} == {0, 1}  # of both kinds
    for begin, end in itertools.pairwise(borders):
        for start in range(begin, end, 8):
            window = TOKENS[start : min(start + 8, end) + 1]
            logits = model(window[None, :-1]).data[0]
            losses += [math.log(np.exp(z).sum()) - z[target] for z, target in zip(logits, window[1:], strict=True)]
    assert len(losses) == len(TOKENS) - 1
    for batch_size in (1, 3):
        assert evaluate(model, TOKENS, batch_size, begin=4) == pytest.approx(sum(losses) / len(losses), rel=1e-12)


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("sampling", ["random", "epochs"])
def test_documents_apart_give_the_gradient_of_each_alone(shards: int, sampling: str) -> None:
    config = dataclasses.replace(TRAIN, documents="apart", sampling=sampling, batch_size=5, shards=shards)
    objective = next_token_objective(model := fresh().astype(np.float64), TOKENS % 5, None, config, begin=4)
    loss, n_targets = accumulate_gradients(in_shards(model, objective, config), objective, config, step=2)
    found, total = gradients(model), 0.0
    ids, targets, documents = objective.batch_of(2, 0).rows
    assert n_targets == targets.size == 40
    for row, numbers in enumerate(documents):
        for number in np.unique(numbers):
            alone = numbers == number
            part = model.loss(ids[row : row + 1, alone], targets[row : row + 1, alone], reduction="sum") / n_targets
            part.backward()
            total += part.item()
    assert loss == pytest.approx(total, rel=1e-12)
    for name, expected in gradients(model).items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-12)
    assert any(len(np.unique(row)) > 1 for row in documents)


def test_the_token_that_begins_documents() -> None:
    apart, bpe = dataclasses.replace(TRAIN, documents="apart"), BPETokenizer.train("low lower", 257)
    assert first_token(TRAIN, bpe) is None
    assert first_token(apart, bpe) == bpe.eot_id == 256
    assert first_token(apart, bpe.with_bos_eos(bos_id=7, adds_bos=True, end_ids=[9])) == 7
    assert first_token(apart, bpe.with_bos_eos(bos_id=7, adds_bos=False, end_ids=[9])) == 256
    with pytest.raises(
        ValueError, match="a char tokenizer has no token that separates documents; leave documents=apart"
    ):
        first_token(apart, CharTokenizer.train("low"))
    for config, begin in ((apart, None), (TRAIN, 256)):
        with pytest.raises(ValueError, match=f"documents={config.documents} does not go with begin={begin}"):
            next_token_objective(fresh(), TOKENS, None, config, begin)


def test_evaluate_takes_as_many_batches_as_it_is_told_and_records_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shapes = fresh(), []
    compute = model.loss

    def loss(ids: np.ndarray, targets: np.ndarray, **options: Any) -> Tensor:
        shapes.append(ids.shape)
        result = compute(ids, targets, **options)
        assert not result.requires_grad
        return result

    monkeypatch.setattr(model, "loss", loss)
    evaluate(model, TOKENS, batch_size=2, limit=3)
    assert shapes == [(2, 8)] * 3


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_leaves_the_model_as_it_was_and_draws_nothing(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh(dataclasses.replace(MODEL, dropout=0.5)).train(training)

    def draw() -> int:
        raise AssertionError("a seed was drawn")

    for function in ("gpt.model.next_seed", "nanograd.nn.next_seed", "gpt.data.batches.generator"):
        monkeypatch.setattr(function, draw)
    loss = evaluate(model, TOKENS, 4)
    assert loss == evaluate(fresh(), TOKENS, 4)  # without dropout
    assert {module.training for module in model.modules()} == {training}
    assert all(p.grad is None for p in model.parameters())


def test_evaluating_more_often_changes_nothing_of_the_training() -> None:
    config = dataclasses.replace(MODEL, dropout=0.2)
    state = np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002
    rarely = run(fresh(config), TRAIN)
    often = run(fresh(config), dataclasses.replace(TRAIN, eval_every=1))
    assert [r.loss for r in rarely] == [r.loss for r in often]
    assert np.random.get_state(legacy=False)["state"]["pos"] == state  # noqa: NPY002 - nothing draws from it


# The loop


def test_one_batch_is_learned_by_heart() -> None:
    window = np.array(
        [0, 1, 0, 2, 0, 3, 0, 4, 0]
    )  # one window, always drawn; what follows 0 depends on what came before
    config = TrainConfig(max_steps=120, batch_size=1, lr=1e-2, min_lr=1e-3, warmup_steps=5)
    records: list[Record] = []
    model = fresh()
    train(model, make_optimizer(model, config), window, None, config, after_step=records.append)
    assert records[-1].loss < 0.05
    assert (model(window[None, :-1]).data.argmax(axis=-1)[0] == window[1:]).all()


def test_a_record_of_each_step() -> None:
    config = dataclasses.replace(TRAIN, grad_accum_steps=2)
    model = fresh()
    records = run(model, config)
    assert [r.step for r in records] == [1, 2, 3, 4, 5, 6]
    assert [r.lr for r in records] == [learning_rate(step, config) for step in range(6)]
    assert [r.val_loss is not None for r in records] == [
        False,
        False,
        False,
        True,
        False,
        True,
    ]  # every 4th, and the last
    assert records[-1].val_loss == evaluate(model, TOKENS[:50], 2, 20)
    assert all(r.grad_norm > 0 and r.tokens_per_s > 0 for r in records)
    assert [r.elapsed_s for r in records] == sorted(r.elapsed_s for r in records)
    assert list(records[0].to_dict()) == ["step", "loss", "val_loss", "lr", "grad_norm", "tokens_per_s", "elapsed_s"]
    again = fresh()
    assert records[0].loss == step_loss(again, config, 0)  # of the parameters before the update
    expected = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients(again).values()))
    assert records[0].grad_norm == pytest.approx(expected, rel=1e-6)  # before clipping


def test_layers_are_measured_where_a_step_is_evaluated() -> None:
    model, weights, records = fresh(), list[dict[str, np.ndarray]](), list[Record]()

    def after_step(record: Record) -> None:
        records.append(record)
        weights.append({name: p.data.astype(np.float64) for name, p in model.named_parameters()})

    train(model, make_optimizer(model, TRAIN), TOKENS, None, TRAIN, after_step=after_step)
    assert [r.step for r in records if r.grad_norms and r.update_ratios] == [4, 6]
    matrices, layers = ("attn.w_qkv", "attn.out_proj", "mlp.up", "mlp.down"), {}
    for i in range(2):
        layers[f"blocks.{i}"] = [f"blocks.{i}.{name}.weight" for name in matrices]
    layers |= {name: [f"{name}.weight"] for name in ("tok_emb", "pos_emb")}
    for record in (records[3], records[5]):
        assert record.grad_norms
        assert record.update_ratios
        assert record.grad_norms.keys() == {*layers, "norm"}
        assert math.hypot(*record.grad_norms.values()) == pytest.approx(record.grad_norm, rel=1e-12)
        before, after = weights[record.step - 2], weights[record.step - 1]
        for layer, names in layers.items():  # matrices: no gain and no bias
            update = math.hypot(*(float(np.linalg.norm(after[name] - before[name])) for name in names))
            expected = update / math.hypot(*(float(np.linalg.norm(before[name])) for name in names))
            assert record.update_ratios[layer] == pytest.approx(expected, rel=1e-5)
        assert record.update_ratios.keys() == layers.keys()
    assert "grad_norms" not in records[0].to_dict()
    assert list(records[3].to_dict())[-2:] == ["grad_norms", "update_ratios"]


def test_a_step_clips_before_it_updates_and_forgets_its_gradient_after(monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = fresh(), dataclasses.replace(TRAIN, grad_clip=0.01)
    optimizer = AdamW(model.named_parameters(), 123.0)
    update, norms, rates = optimizer.step, [], []

    def step(scale: float) -> None:
        norms.append(scale * clip_grad_norm(model.parameters(), None))
        rates.append(optimizer.lr)
        update(scale)

    monkeypatch.setattr(optimizer, "step", step)
    records = run(model, config, optimizer)
    assert min(r.grad_norm for r in records) > 0.1
    assert norms == pytest.approx([0.01] * 6, rel=1e-3)
    assert rates == [r.lr for r in records]
    assert all(p.grad is None for p in model.parameters())


def test_a_run_that_stops_and_goes_on_is_an_unbroken_one() -> None:
    config = dataclasses.replace(MODEL, dropout=0.2)
    model, whole = fresh(config), fresh(config)
    expected = run(whole, TRAIN)
    optimizer = make_optimizer(model, TRAIN)

    class Stop(Exception):
        pass

    def log(record: Record) -> None:
        if record.step == 3:
            raise Stop

    with pytest.raises(Stop):
        train(model, optimizer, TOKENS, None, TRAIN, after_step=log)
    resumed = GPT(config).load_state_dict(model.state_dict())
    second = make_optimizer(resumed, TRAIN)
    second.load_state_dict(optimizer.state_dict(), 3)
    records = run(resumed, TRAIN, second, start=3, elapsed=1000.0)
    assert 1000 < records[0].elapsed_s < 1060  # time goes on where it was
    assert [(r.step, r.loss) for r in records] == [(r.step, r.loss) for r in expected[3:]]
    for name, array in resumed.state_dict().items():
        np.testing.assert_array_equal(array, whole.state_dict()[name])


def test_training_switches_dropout_on() -> None:
    model = fresh(dataclasses.replace(MODEL, dropout=0.2)).eval()
    run(model, TRAIN)
    assert all(module.training for module in model.modules())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_no_number_stops_before_the_update() -> None:
    model = fresh()
    model.norm.weight.data[3] = np.nan
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(
        NotFiniteError, match=r"step 1: the loss is nan .* learning rate 0.005; the update was not made"
    ):
        run(model, TRAIN)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_gradient_that_is_no_number_stops_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataParallel, "clip", lambda self, max_norm: math.inf)
    with pytest.raises(NotFiniteError, match=r"the gradient norm inf at learning rate .* lower --lr"):
        run(fresh(), TRAIN)


def test_the_optimizer_is_the_one_the_config_describes() -> None:
    model = fresh()
    config = TrainConfig(lr=0.1, beta1=0.8, beta2=0.7, weight_decay=0.6)
    optimizer = make_optimizer(model, config)
    assert (optimizer.lr, optimizer.beta1, optimizer.beta2, optimizer.weight_decay) == (0.1, 0.8, 0.7, 0.6)
    assert list(optimizer.parameters) == [name for name, _ in model.named_parameters()]


def test_a_whole_step_leaves_nothing_for_the_garbage_collector() -> None:
    model, collected = fresh(dataclasses.replace(MODEL, dropout=0.1)), []
    config = dataclasses.replace(TRAIN, max_steps=4, eval_every=1)

    def log(record: Record) -> None:
        collected.append(gc.collect())

    gc.disable()
    try:
        train(model, make_optimizer(model, config), TOKENS, TOKENS[:50], config, after_step=log)
    finally:
        gc.enable()
    assert collected[1:] == [0, 0, 0]  # of the steps after the first, with their evaluations
