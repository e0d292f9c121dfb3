"""explain: the terms of a gradient's entry, worked by hand, and their sums."""

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Op, Tensor, explain, ops


def leaf(values: object) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def test_the_terms_of_a_linear_map_are_its_products() -> None:
    x = leaf([[1, 2], [3, 4], [5, 6]])
    w = leaf([[1, 0], [0, 1]])
    weights = np.array([[10, 0], [-1, 7], [2, 7]])  # dy
    e = explain((ops.linear(x, w) * weights).sum(), w, (0, 1))
    assert e.value == 10 * 2 - 1 * 4 + 2 * 6
    assert [(t.value, t.dy, t.derivative, t.entry) for t in e.terms] == [
        (20, 10, 2, (0, 0)),
        (12, 2, 6, (2, 0)),
        (-4, -1, 4, (1, 0)),
    ]
    assert e.complete


def test_a_path_ends_at_the_loss() -> None:
    x = leaf([2.0, 3.0])
    e = explain((x * x).sum(), x, 1)
    assert [(t.dy, t.derivative) for t in e.terms] == [(1, 3), (1, 3)]  # x · x uses it twice
    assert e.value == 6
    below = e.drill(0)
    assert below.value == 1
    assert [t.node.op.name for t in below.terms] == ["sum"]
    end = e.drill(0, 0)
    assert end.terms == []
    assert "which has no terms" in str(end)
    assert str(e.drill(0).drill(0)) == str(end)
    with pytest.raises(IndexError, match="it is the loss, which has no terms"):
        end.drill(0)
    with pytest.raises(IndexError, match="has no term 2; k must be from 0 to 1"):
        e.drill(2)


def test_the_printed_table() -> None:
    x = leaf(np.arange(1.0, 14.0))
    text = str(explain((x.reshape(1, 13).broadcast_to((2, 13)) * np.arange(26.0).reshape(2, 13)).sum(), x, -1))
    assert text.splitlines() == [
        "∂L/∂w[12] = +37",
        "    #      term =        dy × ∂y/∂x      through",
        "    0       +37 =       +37 × +1         y[0,12] reshape 0",
        "            +37   sum",
    ]
    w = leaf([1.0])
    shown = str(explain((w * np.arange(12.0)).sum(), w, 0, most=2)).splitlines()
    assert shown[2:] == [
        "    0       +11 =        +1 × +11        y[11] mul 0",
        "    1       +10 =        +1 × +10        y[10] mul 0",
        "            +45   9 more",  # 1 + … + 9; the term of 0 is none
        "            +66   sum",
    ]


def test_a_small_budget_leaves_a_rest() -> None:
    w = leaf([1.0])
    numbers = np.r_[1000.0, np.ones(255)]
    e = explain((w * numbers).sum(), w, 0, budget=60)
    assert not e.complete
    assert e.terms[0].value == 1000  # the largest group is halved first
    assert sum(t.value for t in e.terms) + e.rest == pytest.approx(1255)
    assert "all others" in str(e)


def test_cancelling_terms_are_found() -> None:
    w = leaf([1.0])
    e = explain((w * np.array([5.0, -5.0, 0.0, 2.0, -2.0])).sum(), w, 0)
    assert e.value == 0
    assert sorted(t.value for t in e.terms) == [-5, -2, 2, 5]


@pytest.fixture(scope="module")
def model() -> GPT:
    config = ModelConfig(vocab_size=11, context_length=6, d_model=8, n_layers=2, n_heads=2)
    return GPT(config, np.random.default_rng(0)).astype(np.float64)


IDS = np.random.default_rng(1).integers(0, 11, (2, 7))


@pytest.mark.parametrize("name", ["tok_emb.weight", "blocks.0.attn.w_qkv.weight", "blocks.1.norm1.bias", "norm.weight"])
def test_every_level_of_a_gpt_adds_up(model: GPT, name: str) -> None:
    parameter = dict(model.named_parameters())[name]
    with ng.trace():
        loss = model.loss(IDS[:, :-1], IDS[:, 1:])
    gradient = ng.grad(loss, parameter, retain_graph=True)
    index = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    e = explain(loss, parameter, tuple(int(i) for i in index))
    assert str(e).startswith(f"∂L/∂{name}{[int(i) for i in index]} = ")
    depth = 0
    while not e.is_loss:
        assert e.complete
        assert sum(t.value for t in e.terms) == pytest.approx(e.value, rel=1e-12)
        assert all(len(line) <= 80 for line in str(e).splitlines())
        assert e.terms[0].dy == pytest.approx(e.drill(0).value)
        e, depth = e.drill(0), depth + 1
    assert e.value == 1
    assert depth >= 1


def test_tied_weights_have_terms_of_both_uses(model: GPT) -> None:
    loss = model.loss(IDS[:, :-1], IDS[:, 1:])
    e = explain(loss, model.tok_emb.weight, (int(IDS[0, 0]), 3))
    assert {t.node.op.name for t in e.terms} == {"embedding", "linear_cross_entropy"}
    loss.backward()
    assert model.tok_emb.weight.grad is not None
    assert e.value == model.tok_emb.weight.grad[IDS[0, 0], 3]
    model.zero_grad()


def test_the_tape_does_not_change(model: GPT) -> None:
    loss = model.loss(IDS[:, :-1], IDS[:, 1:])
    explain(loss, model.norm.weight, 0).drill(0)
    assert model.norm.weight.grad is None
    loss.backward()
    model.zero_grad()


def test_an_intermediate_can_be_explained() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    e = explain((y * y).sum(), y, 1)
    assert e.value == 8
    assert str(e).startswith("∂L/∂y[1] of mul 0 = +8")


def crooked_forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 2 * x, x


def crooked_backward(dy: np.ndarray, saved: np.ndarray) -> tuple[np.ndarray]:
    return (2 * dy * dy,)  # not linear in dy


def test_terms_that_do_not_add_up_are_noticed() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(AssertionError, match=r"the terms add up to 10\.0, the gradient is 50\.0"):
        explain(Op(crooked_forward, crooked_backward)(x).sum() * 5, x, 0)


def test_errors() -> None:
    x = leaf([[1.0, 2.0]])
    loss = (x * x).sum()
    with pytest.raises(IndexError, match=r"index must name one entry of shape \(1, 2\), got \(3,\)"):
        explain(loss, x, 3)
    with pytest.raises(ValueError, match="does not depend on param"):
        explain(loss, leaf([1.0]), 0)
    with pytest.raises(ValueError, match="must be a Tensor that requires grad"):
        explain(loss, Tensor([1.0]), 0)
    with pytest.raises(ValueError, match="is a leaf"):
        explain(leaf(1.0), x, 0)
    with pytest.raises(ValueError, match="a checkpoint hides its ops"):
        explain(ng.checkpoint(lambda x: (x * x).sum(), x), x, (0, 0))
    loss.backward()
    with pytest.raises(RuntimeError, match="sum has freed its saved arrays; explain the loss before its backward"):
        explain(loss, x, (0, 0))
    zero = leaf([0.0])
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="the backward of sqrt returned inf"):
        explain(zero.sqrt().sum(), zero, 0)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_few_terms_among_many_entries_take_few_runs(k: int) -> None:
    n, runs = 4096, []

    def picked_forward(x: np.ndarray) -> tuple[np.ndarray, None]:
        return np.where(np.arange(n) % (n // k) == 7, x[0], 0), None

    def picked_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
        runs.append(1)
        return (np.array([dy[np.arange(n) % (n // k) == 7].sum()]),)

    x = leaf([2.0])
    e = explain((Op(picked_forward, picked_backward)(x) * np.ones(n)).sum(), x, 0)
    assert (len(e.terms), e.complete) == (len(np.flatnonzero(np.arange(n) % (n // k) == 7)), True)
    assert len(runs) < 2.5 * k * np.log2(n / k)
