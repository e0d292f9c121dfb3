"""examples/gpt_by_hand.py computes the same as the engine."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import gpt
from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.training import make_optimizer
from nanograd.optim import clip_grad_norm

CONFIG = ModelConfig(vocab_size=11, context_length=9, d_model=12, n_layers=3, n_heads=3)
IDS = np.array([[0, 3, 3, 7, 1, 9, 2], [4, 4, 10, 0, 5, 6, 3]])  # two texts of 7 tokens: fewer than fit, some twice
TARGETS = np.array([[3, 3, 7, 1, 9, 2, 2], [4, 10, 0, 5, 6, 3, 8]])


@pytest.fixture(scope="module")
def by_hand() -> ModuleType:
    path = Path(gpt.__file__).parents[1] / "examples" / "gpt_by_hand.py"
    spec = importlib.util.spec_from_file_location("gpt_by_hand", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def engine() -> GPT:
    """Return a model in float64 whose weights are drawn wide enough that no term of a gradient hides."""
    model, rng = GPT(CONFIG).astype(np.float64), np.random.default_rng(0)
    for p in model.parameters():
        p.copy_(0.5 * rng.standard_normal(p.shape) + (p.ndim < 2))
    return model


def copy(model: GPT) -> dict[str, np.ndarray]:
    return {name: a.copy() for name, a in model.state_dict().items()}


def test_it_is_short_and_imports_no_engine(by_hand: ModuleType) -> None:
    source = Path(str(by_hand.__file__)).read_text(encoding="utf-8")
    assert source.count("\n") <= 250
    assert "import nanograd" not in source
    assert "from nanograd" not in source


def test_cross_entropy_on_paper(by_hand: ModuleType) -> None:
    z = np.log([[1.0, 1.0, 2.0], [3.0, 1.0, 4.0]])  # p = ¼ ¼ ½ and ⅜ ⅛ ½
    loss, dz = by_hand.cross_entropy(z, np.array([[2, 1]]))
    assert loss == pytest.approx((math.log(2) + math.log(8)) / 2, rel=1e-15)
    np.testing.assert_allclose(dz, [[1 / 8, 1 / 8, -1 / 4], [3 / 16, -7 / 16, 1 / 4]], rtol=1e-14)
    assert by_hand.cross_entropy(z + 1e4, np.array([[2, 1]]))[0] == pytest.approx(loss, rel=1e-10)


def test_loss_and_every_gradient_are_the_engines(by_hand: ModuleType) -> None:
    model = engine()
    w = copy(model)
    z, saved = by_hand.forward(w, IDS, CONFIG.n_layers, CONFIG.n_heads)
    loss, dz = by_hand.cross_entropy(z, TARGETS)
    dw = by_hand.backward(w, IDS, saved, dz)
    expected = model.loss(IDS, TARGETS)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(z.reshape(2, 7, 11), model(IDS).data, rtol=1e-12, atol=1e-12)
    parameters = dict(model.named_parameters())
    assert dw.keys() == parameters.keys()
    for name, p in parameters.items():
        assert p.grad is not None
        assert np.abs(p.grad).max() > 1e-4, name  # so that what follows says something
        assert np.abs(dw[name] - p.grad).max() <= 1e-12 * np.abs(p.grad).max(), name
    for name, a in model.state_dict().items():
        np.testing.assert_array_equal(w[name], a)  # neither forward nor backward writes into a weight


def test_five_updates_are_the_engines(by_hand: ModuleType) -> None:
    model = engine()
    w = copy(model)
    first, second = ({name: np.zeros_like(a) for name, a in w.items()} for _ in range(2))
    optimizer = make_optimizer(model, TrainConfig(lr=0.01))
    norms = []
    for t in range(1, 6):
        z, saved = by_hand.forward(w, IDS, CONFIG.n_layers, CONFIG.n_heads)
        dw = by_hand.backward(w, IDS, saved, by_hand.cross_entropy(z, TARGETS)[1])
        norms.append(by_hand.clip(dw))
        by_hand.adamw(w, dw, first, second, t, 0.01)
        model.loss(IDS, TARGETS).backward()
        assert norms[-1] == pytest.approx(clip_grad_norm(model.parameters(), 1.0), rel=1e-6)
        optimizer.step()
        optimizer.zero_grad()
    assert norms[0] > 1  # clipped, too
    for name, a in model.state_dict().items():
        np.testing.assert_allclose(w[name], a, rtol=1e-6, atol=1e-7, err_msg=name)  # our clip divides by norm + 1e-6


def test_a_start_is_that_of_the_engine(by_hand: ModuleType) -> None:
    w = by_hand.initialise(np.random.default_rng(0), V=200, T=50, C=64, n_layers=2)
    model = GPT(ModelConfig(vocab_size=200, context_length=50, d_model=64, n_layers=2, n_heads=4))
    assert {name: (a.shape, a.dtype) for name, a in w.items()} == {
        name: (a.shape, a.dtype) for name, a in model.state_dict().items()
    }
    for name, a in model.state_dict().items():
        assert w[name].std() == pytest.approx(a.std(), rel=0.1), name
        assert w[name].mean() == pytest.approx(a.mean(), abs=0.002), name


@pytest.mark.slow
def test_it_learns_a_text(
    by_hand: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("The cat sat on the mat.\n" * 40, encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["gpt_by_hand.py", str(path), "--steps", "50"])
    by_hand.main()
    head, first, last = capsys.readouterr().out.splitlines()
    assert head.endswith("960 characters, 13 distinct, ln 13 = 2.5649")
    assert float(first.split()[3]) == pytest.approx(math.log(13), rel=0.1)
    assert float(last.split()[3]) < 0.5
