"""Beam search: against all texts there are, and by hand where it must choose."""

from itertools import product

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.generation.beam import Beam, beam_search
from gpt.generation.sampling import log_probabilities
from gpt.model import GPT
from nanograd.op import no_grad

V = 3
CONFIG = ModelConfig(vocab_size=V, context_length=8, d_model=8, n_layers=1, n_heads=2)


def gpt() -> GPT:
    """Return a model that is sure of some things."""
    model = GPT(CONFIG, np.random.default_rng(3)).astype(np.float64)
    for p in model.parameters():
        p.copy_(p.data + 0.3 * np.random.default_rng(p.size).standard_normal(p.shape))
    return model


def log_probability(model: GPT, prompt: list[int], new: list[int]) -> float:
    """Return ln p of the tokens that follow the prompt, by the model's own forward."""
    with no_grad():
        log_p = log_probabilities(model(np.array([prompt + new])).data[0])
    return float(sum(log_p[len(prompt) - 1 + i, id] for i, id in enumerate(new)))


def all_texts(model: GPT, prompt: list[int], length: int, stop_id: int | None, penalty: float) -> list[Beam]:
    """Return every continuation there is: of `length` tokens, or shorter with the stop id behind it."""
    found = {}
    for tokens in product(range(V), repeat=length):
        n = tokens.index(stop_id) + 1 if stop_id is not None and stop_id in tokens else length
        found[tokens[:n]] = None
    beams = []
    for tokens in found:
        log_p = log_probability(model, prompt, list(tokens))
        ids = [id for id in tokens if id != stop_id]
        beams.append(Beam(ids, log_p, log_p / len(tokens) ** penalty))
    return sorted(beams, key=lambda beam: -beam.score)


@pytest.mark.parametrize("stop_id", [None, 0, 2])
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0, 3.0])
def test_with_beams_enough_it_finds_the_best_of_all_texts(stop_id: int | None, length_penalty: float) -> None:
    model, length = gpt(), 4
    expected = all_texts(model, [1, 2], length, stop_id, length_penalty)
    assert len(expected) == (V**length if stop_id is None else 1 + 2 + 4 + 8 * 3)
    found = beam_search(
        model,
        [1, 2],
        beams=V**length,
        max_new_tokens=length,
        length_penalty=length_penalty,
        end_ids=() if stop_id is None else (stop_id,),
    )
    assert len(found) == len(expected)
    assert [beam.ids for beam in found] == [beam.ids for beam in expected]
    np.testing.assert_allclose([b.log_probability for b in found], [b.log_probability for b in expected], rtol=1e-9)
    np.testing.assert_allclose([b.score for b in found], [b.score for b in expected], rtol=1e-9)


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_what_few_beams_find_is_scored_right(beams: int) -> None:
    model = gpt()
    found = beam_search(model, [1], beams=beams, max_new_tokens=6, end_ids=(2,))
    assert 1 <= len(found) <= beams
    for beam in found:
        whole = max(
            (beam.ids + end for end in ([], [2]) if len(beam.ids + end) <= 6 and (end or len(beam.ids) == 6)),
            key=lambda ids: -abs(log_probability(model, [1], ids) - beam.log_probability),
        )
        assert log_probability(model, [1], whole) == pytest.approx(beam.log_probability, rel=1e-9)
        assert beam.score == pytest.approx(beam.log_probability / len(whole), rel=1e-9)
    assert [beam.score for beam in found] == sorted((beam.score for beam in found), reverse=True)


class Table:
    """Stand in for the decoder: the probabilities of the next token depend on the last one only."""

    rows = np.log([[1e-9, 0.6, 0.4, 1e-9], [0.36, 0.3, 0.34, 1e-9], [0.1, 0.9, 1e-9, 1e-9], [0.25] * 4])
    steps = 0

    def __init__(self, model: GPT, batch_size: int, capacity: int) -> None:
        Table.steps = 0

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        return self.step(ids[:, -1])

    def step(self, ids: np.ndarray) -> np.ndarray:
        Table.steps += 1
        return self.rows[ids]

    def reorder(self, rows: np.ndarray) -> None:
        pass


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.generation.beam.Decoder", Table)


@pytest.mark.usefixtures("table")
def test_two_beams_find_what_greed_misses() -> None:
    # From 0 the greedy step is 1 (0.6), and from there 0 (0.36): 0.216. Two beams also keep 2 (0.4), then 1 (0.9): 0.36.
    (greedy,) = beam_search(gpt(), [0], beams=1, max_new_tokens=2)
    assert greedy.ids == [1, 0]
    assert greedy.log_probability == pytest.approx(np.log(0.216), abs=1e-6)
    best, second = beam_search(gpt(), [0], beams=2, max_new_tokens=2)
    assert (best.ids, second.ids) == ([2, 1], [1, 0])
    assert best.log_probability == pytest.approx(np.log(0.36), abs=1e-6)
    assert best.score == pytest.approx(np.log(0.36) / 2, abs=1e-6)


@pytest.mark.usefixtures("table")
def test_the_length_penalty_decides_between_short_and_long() -> None:
    # From 1: the stop id 0 at once has 0.36; 2 1 has 0.34·0.9 = 0.306 of 2 tokens, 2 1 0 0.306·0.36 = 0.110 of 3.
    def best(length_penalty: float) -> list[int]:
        found = beam_search(gpt(), [1], beams=4, max_new_tokens=2, length_penalty=length_penalty, end_ids=(0,))
        return found[0].ids

    assert best(0) == []  # ln 0.36 = -1.022 before ln 0.306 = -1.184
    assert best(1) == [2, 1]  # -1.022 behind -0.592


@pytest.mark.usefixtures("table")
def test_it_stops_when_nothing_better_can_come() -> None:
    # Without a length penalty a text only loses. To stop at once has 0.36; the best that goes on, with 2, only 0.34.
    found = beam_search(gpt(), [1], beams=1, max_new_tokens=50, length_penalty=0, end_ids=(0,))
    assert found[0].ids == []
    assert Table.steps == 1
    # Of two beams the second counts as well: after two steps [] (0.36) and [1] (0.3·0.36 = 0.108) are done, and 2 1 goes
    # on with 0.306. It ends with 0.306·0.36 = 0.110, after which nothing has more than 0.306·0.34 = 0.104.
    found = beam_search(gpt(), [1], beams=2, max_new_tokens=50, length_penalty=0, end_ids=(0,))
    assert [beam.ids for beam in found] == [[], [2, 1]]
    assert Table.steps == 3
    # At 1 what goes on may still end at ln 0.34 / 50 a token, so it does go on.
    beam_search(gpt(), [1], beams=1, max_new_tokens=50, length_penalty=1, end_ids=(0,))
    assert Table.steps > 1


@pytest.mark.usefixtures("table")
def test_a_text_that_is_complete_goes_no_further() -> None:
    found = beam_search(gpt(), [0], beams=2, max_new_tokens=2, length_penalty=2, complete=lambda new: new[-1:] == [1])
    assert [beam.ids for beam in found] == [[2, 1], [1]]  # ln 0.36 / 4 = -0.255, and ln 0.6 = -0.511
    assert found[0].score == pytest.approx(np.log(0.36) / 4, abs=1e-6)
    assert Table.steps == 2


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ValueError, match="beam_search: needs at least one token to continue"):
        beam_search(gpt(), [], beams=2, max_new_tokens=3)
    with pytest.raises(ValueError, match="beams must be at least 1 and length_penalty at least 0, got 0 and 1"):
        beam_search(gpt(), [1], beams=0, max_new_tokens=3)
    assert beam_search(gpt(), [1], beams=2, max_new_tokens=0) == []
