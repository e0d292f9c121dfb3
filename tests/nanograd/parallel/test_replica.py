"""DataParallel: whatever the ranks of the team, a step has the bits that one process computes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanograd import Tensor, detect_anomaly, nn, ops
from nanograd.inspect.anomaly import AnomalyError
from nanograd.nn import Parameter
from nanograd.optim import SGD, AdamW, Muon, adamw, clip_grad_norm, clipping, muon
from nanograd.parallel import DataParallel, Solo, Team, loss_sum, processes, ranks
from nanograd.parallel.replica import GradientBuffer, Replica, Rows

MakeTeam = Callable[..., Team]
WIDTH = 9  # features of a row


class Weights(nn.Module):
    """Parameters of any shape; a row says for which of them it has a loss."""

    def __init__(self, shapes: list[tuple[int, ...]], dtype: Any = np.float32, p: float = 0.0) -> None:
        rng = np.random.default_rng(len(shapes))
        self.weights = [Parameter(rng.standard_normal(shape).astype(dtype)) for shape in shapes]
        self.dropout = nn.Dropout(p)


def loss_of(model: Weights, x: np.ndarray, use: np.ndarray) -> Tensor:
    terms = [Tensor(np.zeros((), x.dtype), requires_grad=True) * 1.0]  # of no parameter
    for i, w in enumerate(model.weights):
        if use[:, i].any():
            rows = x[use[:, i]]
            y = ops.linear(rows[:, : w.shape[-1]], w) if w.ndim == 2 else rows[:, np.arange(w.size) % WIDTH] * w
            terms.append(model.dropout(ops.gelu(y)).square().sum())
    return sum(terms[1:], terms[0])


class Case(NamedTuple):
    """A training, and how its steps are shared among ranks."""

    teams: list[tuple[int, bool, int]]  # one after the other: (ranks, copies, threads)
    shards: int
    shapes: list[tuple[int, ...]]
    dtype: str
    chunk: int
    muon: bool
    ema: float | None
    dropout: float
    clip: float | None
    batches: list[list[Rows]]  # by step, then by micro-batch


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size = draw(st.sampled_from([2, 2, 3, 4, 5]))
    shards = size * draw(st.sampled_from([1, 2, 4]))
    sizes = [n for n in range(1, shards + 1) if shards % n == 0 and (shards // n).bit_count() == 1]
    kinds = st.tuples(st.sampled_from(sizes), st.booleans(), st.sampled_from([1, 2, 3]))
    teams = [(size, draw(st.booleans()), draw(st.sampled_from([1, 2]))), *draw(st.lists(kinds, max_size=2))]
    vectors, matrices = st.tuples(st.integers(1, 40)), st.tuples(st.integers(1, 7), st.integers(1, WIDTH))
    shapes = draw(st.lists(vectors | matrices, min_size=1, max_size=5))
    dtype, rng = draw(st.sampled_from(["float32", "float64"])), np.random.default_rng(draw(st.integers(0, 99)))
    used = draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=len(shapes), max_size=len(shapes)))
    rows = st.lists(st.integers(1, shards + 4), min_size=1, max_size=3)
    batches = [
        [(rng.standard_normal((n, WIDTH)).astype(dtype), rng.random((n, len(shapes))) < used) for n in draw(rows)]
        for _ in range(2 * len(teams))
    ]
    chunk, dropout = draw(st.sampled_from([1, 3, 16, 2**17])), draw(st.sampled_from([0.0, 0.3]))
    muon = draw(st.booleans())
    ema = draw(st.sampled_from([None, 0.9]))
    return Case(teams, shards, shapes, dtype, chunk, muon, ema, dropout, draw(st.sampled_from([None, 0.5])), batches)


def train(case: Case, teams: list[Team]) -> dict[str, Any]:
    """Train two steps with each team; return all that must be equal, arrays as bytes."""
    model = Weights(case.shapes, case.dtype, case.dropout)
    optimizer = AdamW(model.named_parameters(), weight_decay=0.1, ema=case.ema)
    if case.muon:
        rows = {f"weights.{i}": shape[0] for i, shape in enumerate(case.shapes) if len(shape) == 2}
        matrices = {name: (1, n - 1) if n > 3 else (n,) for name, n in rows.items()}
        optimizer = Muon(model.named_parameters(), weight_decay=0.1, ema=case.ema, matrices=matrices)
    seen: dict[str, Any] = {"losses": [], "norms": [], "evaluated": [], "squares": [], "sizes": []}
    for i, team in enumerate(teams):
        parallel = DataParallel(model, optimizer, loss_of, shards=case.shards, seed=7, team=team)
        try:
            for step in (2 * i, 2 * i + 1):
                batches = case.batches[step]
                seen["losses"].append(parallel.gradients(step, batches, sum(len(rows[0]) for rows in batches)))
                seen["norms"].append(parallel.clip(case.clip))
                seen["squares"].append(parallel.gradient_squares())
                if step % 2:
                    parallel.keep_matrices()
                parallel.update(0.01 * (step + 1))
                seen["sizes"].append(parallel.update_sizes())
                parallel.check_copies()
                with parallel.averaged():
                    seen["evaluated"].append(parallel.loss_sum(batches[0]))
            seen[f"state {i}"] = {name: a.tobytes() for name, a in optimizer.state_dict().items()}
        finally:
            parallel.close()
    assert optimizer.span == slice(0, optimizer.flat[0].size)
    p, _, *averages = optimizer.flat
    arrays = [a.tobytes() for a in (p, *averages)]
    return {**seen, "arrays": arrays, "t": optimizer.t, "counts": optimizer.counts}


@given(case=cases())
@settings(max_examples=25, deadline=None)
def test_every_team_gives_the_bits_of_one_process(team_of_threads: MakeTeam, case: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (adamw, clipping, muon, processes):
            patch.setattr(module, "CHUNK", case.chunk)
        teams = [team_of_threads(n, copies=copies, threads=threads) for n, copies, threads in case.teams]
        patch.setenv("NANOGRAD_THREADS", "1")
        expected = train(case, [Solo() for _ in teams])
        patch.setenv("NANOGRAD_THREADS", "3")
        assert train(case, teams) == expected
        assert train(case, [Solo() for _ in teams]) == expected


# The gradient


def batch(n: int, n_weights: int = 2, dtype: str = "float64") -> Rows:
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, WIDTH)).astype(dtype), np.ones((n, n_weights), bool)


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_shards_add_up_to_one_batch(shards: int) -> None:
    rows = batch(7)
    whole, split = Weights([(3, 5), (4,)], np.float64), Weights([(3, 5), (4,)], np.float64)
    loss = loss_of(whole, *rows)
    loss.backward()
    parallel = DataParallel(split, SGD(split.named_parameters()), loss_of, shards=shards)
    assert parallel.gradients(0, [rows], 1) == pytest.approx(loss.item(), rel=1e-14)
    for one, other in zip(whole.weights, split.weights, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        np.testing.assert_allclose(other.grad, one.grad, rtol=1e-12, atol=1e-14)
    assert parallel.clip(None) == pytest.approx(clip_grad_norm(whole.parameters(), None), rel=1e-12)
    assert parallel.loss_sum(rows) == loss_sum(whole, loss_of, rows, shards=shards) == pytest.approx(loss.item())


@pytest.mark.parametrize(
    "make", [lambda p: AdamW(p, weight_decay=0.1), SGD, lambda p: Muon(p, matrices={"weights.0": (3,)})]
)
def test_gradients_and_updates_are_measured_by_parameter(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipping, "CHUNK", 4)
    model = Weights([(3, 5), (4,), (2, 5)], np.float64)
    parallel = DataParallel(model, make(model.named_parameters()), loss_of, shards=2)
    parallel.gradients(0, [batch(7, 3)], 1)
    expected = {name: float((p.grad**2).sum()) for name, p in model.named_parameters() if p.grad is not None}
    assert parallel.gradient_squares() == pytest.approx(expected, rel=1e-12)
    norm = parallel.clip(1e-3)
    assert math.sqrt(sum(parallel.gradient_squares().values())) == pytest.approx(
        norm, rel=1e-12
    )  # before it is clipped
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    parallel.keep_matrices()
    parallel.update(0.1)
    sizes = parallel.update_sizes()
    assert sizes.keys() == {"weights.0", "weights.2"}  # matrices alone
    for name, (update, weights) in sizes.items():
        assert update == pytest.approx(((model.state_dict()[name] - before[name]) ** 2).sum(), rel=1e-12)
        assert weights == pytest.approx((before[name] ** 2).sum(), rel=1e-12)
    parallel.update(0.1)
    assert parallel.update_sizes() == {}  # nothing is measured unless it is asked for


def product_loss(model: Weights, x: np.ndarray) -> Tensor:
    return (model.weights[0] * x).sum()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_shards_are_added_as_a_tree_each_after_its_micro_batches(team_of_threads: MakeTeam, size: int) -> None:
    table = np.random.default_rng(1).integers(-(2**25), 2**25, (2, 4)).astype(np.float32)  # (micro, shard)
    a, b, c, d = table[0] + table[1]
    expected = (a + b) + (c + d)
    assert expected not in (((a + b) + c) + d, sum((w + x) + (y + z) for w, x, y, z in table), math.fsum(table.flat))
    model = Weights([(1,)])
    parallel = DataParallel(model, AdamW(model.named_parameters()), product_loss, shards=4, team=team_of_threads(size))
    parallel.gradients(0, [(micro.reshape(4, 1),) for micro in table], 1)
    assert parallel.clip(None) == abs(expected)
    parallel.close()


def sum_loss(model: Weights, x: np.ndarray) -> Tensor:
    return (model.weights[0] * 0.0 + x).sum()


def test_the_losses_of_all_shards_are_added_micro_batch_by_micro_batch(team_of_threads: MakeTeam) -> None:
    table = np.array([[1e16, 1.0], [-1e16, 1.0]])  # (micro, shard)
    expected = sum(table.ravel().tolist())
    assert expected != sum(table.T.ravel().tolist())
    for size in (1, 2):
        model = Weights([(1,)], np.float64)
        parallel = DataParallel(model, AdamW(model.named_parameters()), sum_loss, shards=2, team=team_of_threads(size))
        assert parallel.gradients(0, [(micro.reshape(2, 1),) for micro in table], 1) == expected
        parallel.close()


def dropout_loss(model: Weights, x: np.ndarray) -> Tensor:
    return (model.dropout(model.weights[0]) * x[0]).sum()


def test_every_step_micro_batch_and_shard_draws_its_own_dropout() -> None:
    model = Weights([(40,)], np.float64, p=0.5)
    parallel = DataParallel(model, AdamW(model.named_parameters()), dropout_loss, shards=4)
    batches = [[(np.ones((1, 1)),)] * 4] * 3
    losses = [parallel.team.member.gradients(step, 1.0, batches)[0] for step in (0, 1)]
    assert len(set(np.array(losses).ravel())) == 2 * 3 * 4
    assert parallel.team.member.gradients(0, 1.0, batches)[0] == losses[0]
    assert parallel.loss_sum((np.ones((4, 1)),)) == pytest.approx(
        4 * model.weights[0].data.sum()
    )  # an evaluation drops nothing


def test_the_optimizers_gradient_is_set_and_none_where_no_rank_has_one(team_of_threads: MakeTeam) -> None:
    model = Weights([(3,), (2, 2), (4,)])
    optimizer = AdamW(model.named_parameters())
    parallel = DataParallel(model, optimizer, loss_of, shards=2, team=team_of_threads(2, copies=True))
    rows, _ = batch(4, dtype="float32")
    use = np.zeros((4, 3), bool)
    use[3, 2] = use[0, 1] = True  # on the second rank, on the first, and on none
    parallel.gradients(0, [(rows, use)], 1)
    assert [w.grad is None for w in model.weights] == [True, False, False]
    parallel.clip(None)
    parallel.update(0.1)
    assert optimizer.counts == {"weights.0": 0, "weights.1": 1, "weights.2": 1}
    assert [w.grad is None for w in model.weights] == [True] * 3
    parallel.close()


def test_a_buffer_adds_and_fills_what_is_missing_with_zeros() -> None:
    a, b, other = Parameter(np.zeros(2)), Parameter(np.zeros((1, 2))), Parameter(np.zeros(9))
    flat = np.full(4, np.nan)
    buffer = GradientBuffer({"a": a, "b": b}, {"a": slice(2, 4), "b": slice(0, 2)}, flat)
    dx = np.array([1.0, 2.0])
    buffer.accumulate(a, dx, True)
    buffer.accumulate(a, dx, True)
    buffer.accumulate(other, dx, True)  # no parameter of the optimizer
    buffer.fill()
    assert flat.tolist() == [0, 0, 2, 4]
    assert dx.tolist() == [1, 2]
    assert buffer.present == {a}
    second = GradientBuffer({"a": a, "b": b}, {"a": slice(2, 4), "b": slice(0, 2)}, np.array([1.0, 2, 3, 4]))
    second.present = {b}
    assert buffer.add(second) is buffer
    assert flat.tolist() == [1, 2, 5, 8]
    assert buffer.present == {a, b}
    assert buffer.add_on_all_threads(second) is buffer
    assert flat.tolist() == [2, 4, 8, 12]


def test_a_buffer_of_an_earlier_step_leaves_nothing_behind() -> None:
    model = Weights([(3,), (2,)])
    parallel = DataParallel(model, AdamW(model.named_parameters()), loss_of, shards=4)
    rows, use = batch(4, dtype="float32")
    for used in ([True, True], [True, False], [False, False], [False, True]):
        parallel.gradients(0, [(rows, use & used)], 1)
        assert [w.grad is not None for w in model.weights] == used
        squares = 0.0
        for w, is_used in zip(model.weights, used, strict=True):
            alone = Parameter(w.data.copy())
            y = rows[:, : w.size] * alone
            ops.gelu(y).square().sum().backward()
            assert alone.grad is not None
            squares += is_used * float(np.square(alone.grad).sum())
        assert parallel.clip(None) == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_other_optimizers_train_in_shards_too() -> None:
    rows = batch(6)
    trained = []
    for shards in (1, 3):
        model = Weights([(3, 5), (4,)], np.float64)
        parallel = DataParallel(model, SGD(model.named_parameters(), momentum=0.9), loss_of, shards=shards)
        for step in range(3):
            parallel.gradients(step, [rows], 6)
            parallel.clip(1.0)
            parallel.update(0.1)
        trained.append(np.concatenate([w.data.ravel() for w in model.weights]))
    np.testing.assert_allclose(*trained, rtol=1e-10)


def test_a_team_of_several_ranks_needs_adamw(team_of_threads: MakeTeam) -> None:
    model = Weights([(3,)])
    with pytest.raises(TypeError, match="a team of 2 ranks needs AdamW, whose arrays it shares; got SGD"):
        DataParallel(model, SGD(model.named_parameters()), loss_of, shards=2, team=team_of_threads(2))


# Errors


def failing_loss(model: Weights, x: np.ndarray) -> Tensor:
    if x[0, 0] < 0:
        raise ArithmeticError("the row is negative")
    if x[0, 0] > 1:
        raise KeyError
    return (model.weights[0] * x).sum()


@pytest.mark.parametrize("copies", [False, True])
def test_an_error_names_its_rank_and_the_team_goes_on(team_of_threads: MakeTeam, copies: bool) -> None:
    model = Weights([(1,)])
    optimizer = AdamW(model.named_parameters())
    parallel = DataParallel(model, optimizer, failing_loss, shards=4, team=team_of_threads(4, copies=copies))
    for rows, error, message in (
        ([0.5, 0.5, -1, 0.5], ArithmeticError, r"^rank 2: the row is negative$"),
        ([-1, 0.5, -1, 0.5], ArithmeticError, r"^the row is negative$"),  # rank 0 is the run itself
        ([0.5, 0.5, 0.5, 2], KeyError, "rank 3: KeyError"),
    ):
        with pytest.raises(error, match=message):
            parallel.gradients(0, [(np.array(rows, np.float32).reshape(4, 1),)], 1)
    assert parallel.gradients(0, [(np.full((4, 1), 0.5, np.float32),)], 4) == pytest.approx(
        0.5 * model.weights[0].item()
    )
    parallel.close()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_error_of_a_shard_is_raised_and_changes_no_parameter(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", threads)
    model = Weights([(1,)])
    before = model.weights[0].data.copy()
    parallel = DataParallel(model, AdamW(model.named_parameters()), failing_loss, shards=3)
    with pytest.raises(ArithmeticError, match="the row is negative"):
        parallel.gradients(0, [(np.array([[0.5], [-1], [0.5]], np.float32),)], 1)
    np.testing.assert_array_equal(model.weights[0].data, before)


def log_loss(model: Weights, x: np.ndarray) -> Tensor:
    return ops.log(model.weights[0] * x).sum()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_anomalies_are_detected_in_every_shard(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", threads)
    model = Weights([(1,)])
    model.weights[0].data[...] = 1
    parallel = DataParallel(model, AdamW(model.named_parameters()), log_loss, shards=2)
    with detect_anomaly(), pytest.raises(AnomalyError, match="log"):
        parallel.gradients(0, [(np.array([[1.0], [0.0]], np.float32),)], 1)


# Ranks that must be equal


def test_a_replica_that_has_drifted_is_named(team_of_threads: MakeTeam) -> None:
    model = Weights([(3,), (2, 2)])
    team: Any = team_of_threads(3, copies=True)
    parallel = DataParallel(model, AdamW(model.named_parameters()), loss_of, shards=3, team=team)
    parallel.check_copies()
    team.others[1].member.model.weights[0].data[2] += 1e-6
    with pytest.raises(ArithmeticError, match=r"^rank 2 has drifted: its parameters are not those of rank 0$"):
        parallel.check_copies()
    parallel.close()


def test_a_rank_with_another_kernel_is_refused_unless_it_is_allowed(
    team_of_threads: MakeTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    def machine(self: Replica) -> dict[str, Any]:
        return {"numpy": "2.4", "kernel": "Zen" if self.team.rank != 1 else "Haswell"}

    def begin(mixed: bool, copies: bool = True) -> None:
        model, team = Weights([(3,)]), team_of_threads(3, copies=copies)
        team.mixed = mixed
        try:
            DataParallel(model, AdamW(model.named_parameters()), loss_of, shards=3, team=team)
        finally:
            team.close()

    begin(mixed=False)
    monkeypatch.setattr(Replica, "machine", machine)
    with pytest.raises(
        ranks.MixedMachinesError, match=r"^rank 1 has kernel Haswell, and rank 0 kernel Zen: .* take equal machines$"
    ):
        begin(mixed=False)
    begin(mixed=True)
    begin(mixed=False, copies=False)  # processes of one machine


def test_what_a_machine_is_does_not_depend_on_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Weights([(3,)])
    parallel = DataParallel(model, AdamW(model.named_parameters()), loss_of)
    machine = parallel.team.member.machine()
    assert {"numpy", "blas", "kernel"} <= machine.keys()
    assert "threads" not in machine
