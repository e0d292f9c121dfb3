"""Writing text: the distribution by hand, then the loop around it."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.config import ModelConfig, SampleConfig
from gpt.generate import generate, next_token_probabilities
from gpt.model import GPT
from gpt.tokenizer import BPETokenizer, CharTokenizer
from nanograd.tensor import Tensor

HALF = np.log([0.5, 0.25, 0.15, 0.1])
CONFIG = ModelConfig(vocab_size=12, context_length=6, d_model=8, n_layers=2, n_heads=2)


def gpt() -> GPT:
    """Return a model that is less sure of nothing than a fresh one: its logits differ."""
    model = GPT(CONFIG, np.random.default_rng(0))
    model.tok_emb.weight.copy_(model.tok_emb.weight.data * 50)
    return model


def write(model: GPT, ids: Iterable[int], stop_id: int | None = None, **options: object) -> list[int]:
    return list(generate(model, ids, SampleConfig(**options), stop_id=stop_id))  # type: ignore[arg-type]


def watch(model: GPT, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], Tensor]]:
    """Return the list to which each call of the model will add its ids and its logits."""
    seen: list[tuple[list[int], Tensor]] = []
    forward = model.forward

    def watched(ids: np.ndarray) -> Tensor:
        seen.append((ids[0].tolist(), forward(ids)))
        return seen[-1][1]

    monkeypatch.setattr(model, "forward", watched)
    return seen


# The distribution


def test_the_model_itself_at_temperature_one() -> None:
    np.testing.assert_allclose(next_token_probabilities(HALF), [0.5, 0.25, 0.15, 0.1], rtol=1e-12)
    np.testing.assert_allclose(next_token_probabilities(HALF + 700), [0.5, 0.25, 0.15, 0.1], rtol=1e-12)


def test_temperature_takes_probabilities_to_a_power() -> None:
    # At ½ they are squared: 0.25, 0.0625, 0.0225, 0.01 of 0.345.
    expected = np.array([0.25, 0.0625, 0.0225, 0.01]) / 0.345
    np.testing.assert_allclose(next_token_probabilities(HALF, temperature=0.5), expected, rtol=1e-12)
    assert next_token_probabilities(HALF, temperature=100.0).max() < 0.26  # nearly even
    np.testing.assert_allclose(next_token_probabilities(HALF, temperature=0.01), [1, 0, 0, 0], atol=1e-12)


def test_temperature_zero_takes_the_first_largest() -> None:
    np.testing.assert_array_equal(next_token_probabilities(HALF[::-1], temperature=0), [0, 0, 0, 1])
    np.testing.assert_array_equal(next_token_probabilities(np.array([1.0, 3, 3]), temperature=0), [0, 1, 0])


def test_top_k_keeps_the_k_likeliest() -> None:
    np.testing.assert_allclose(next_token_probabilities(HALF, top_k=2), [2 / 3, 1 / 3, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(next_token_probabilities(HALF[::-1], top_k=2), [0, 0, 1 / 3, 2 / 3], rtol=1e-12)
    np.testing.assert_array_equal(next_token_probabilities(HALF, top_k=1), [1, 0, 0, 0])
    for k in (4, 100):
        np.testing.assert_allclose(next_token_probabilities(HALF, top_k=k), [0.5, 0.25, 0.15, 0.1], rtol=1e-12)
    np.testing.assert_allclose(next_token_probabilities(np.zeros(3), top_k=2), [0.5, 0.5, 0])  # of equals, the first


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.0, [1, 0, 0, 0]),  # one always stays
        (0.4, [1, 0, 0, 0]),
        (0.6, [2 / 3, 1 / 3, 0, 0]),  # 0.5 is not enough, 0.75 is
        (0.8, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        (0.95, [0.5, 0.25, 0.15, 0.1]),
        (1.0, [0.5, 0.25, 0.15, 0.1]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_p(p: float, expected: list[float]) -> None:
    np.testing.assert_allclose(next_token_probabilities(HALF, top_p=p), expected, rtol=1e-12)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(next_token_probabilities(HALF[order], top_p=p), np.array(expected)[order], rtol=1e-12)


def test_what_reaches_p_exactly_is_enough() -> None:
    even = np.zeros(4)  # powers of two, which floats hold: ½ is reached by two of ¼
    np.testing.assert_array_equal(next_token_probabilities(even, top_p=0.5), [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(next_token_probabilities(even, top_p=0.51), [1 / 3, 1 / 3, 1 / 3, 0])


def test_temperature_comes_first_then_top_k_then_top_p() -> None:
    # Squared, the three likeliest are 0.25, 0.0625, 0.0225 of 0.335: 0.746, 0.187, 0.067. Two reach 0.9, one does not.
    p = next_token_probabilities(HALF, temperature=0.5, top_k=3, top_p=0.9)
    np.testing.assert_allclose(p, [0.8, 0.2, 0, 0], rtol=1e-12)
    # 0.5 of the two that top_k leaves is 2/3: enough for 0.6, though it is not enough of all four.
    np.testing.assert_array_equal(next_token_probabilities(HALF, top_k=2, top_p=0.6), [1, 0, 0, 0])


def test_float32_logits_are_taken_as_they_are_and_not_changed() -> None:
    logits = HALF.astype(np.float32)
    before = logits.copy()
    p = next_token_probabilities(logits, temperature=0.5, top_k=2, top_p=0.9)
    assert p.dtype == np.float64
    np.testing.assert_array_equal(logits, before)


@settings(deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=8),
    st.floats(0.05, 5),
    st.none() | st.integers(1, 10),
    st.none() | st.floats(0, 1),
)
def test_it_is_a_distribution_that_keeps_the_likeliest(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None
) -> None:
    z = np.array(logits)
    p = next_token_probabilities(z, temperature=temperature, top_k=top_k, top_p=top_p)
    assert p.shape == z.shape
    assert (p >= 0).all()
    assert abs(p.sum() - 1) < 1e-12
    assert p[z.argmax()] == p.max() > 0
    assert np.count_nonzero(p) <= (top_k or len(z))


# The loop


def test_greedy_takes_the_likeliest_each_time() -> None:
    model, ids = gpt(), [1, 2]
    for _ in range(4):
        ids.append(int(model(np.array([ids])).data[0, -1].argmax()))
    assert write(model, [1, 2], max_new_tokens=4, temperature=0.0) == ids[2:]


def test_the_same_seed_writes_the_same() -> None:
    model = gpt()
    first = write(model, [1, 2], max_new_tokens=20, temperature=2.0, seed=1)
    assert len(first) == 20
    assert write(model, [1, 2], max_new_tokens=20, temperature=2.0, seed=1) == first
    assert write(model, [1, 2], max_new_tokens=20, temperature=2.0, seed=2) != first
    assert write(model, [1, 2], max_new_tokens=5, temperature=2.0, seed=1) == first[:5]  # shorter is its beginning


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    model = gpt()
    p = next_token_probabilities(model(np.array([[3]])).data[0, -1], temperature=2.0, top_k=3)
    drawn = [write(model, [3], max_new_tokens=1, temperature=2.0, top_k=3, seed=seed)[0] for seed in range(400)]
    shares = np.bincount(drawn, minlength=12) / 400
    assert np.abs(shares - p).max() < 0.1  # 4 standard deviations of a half
    assert ((shares > 0) == (p > 0)).all()


def test_each_token_has_a_draw_of_its_own() -> None:
    model = gpt()
    model.tok_emb.weight.copy_(0)  # all logits are 0, so that only the draws differ
    drawn = write(model, [3], max_new_tokens=120)
    assert np.bincount(drawn, minlength=12).max() < 25  # 10 each on average, with a standard deviation of 3
    assert write(model, [3], max_new_tokens=120, seed=1)[1:] != drawn[:-1]


def test_the_model_sees_its_last_context_length_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model, long = gpt(), [7, 7, 7, 0, 1, 2, 3, 4, 5]

    def greedy(ids: list[int]) -> list[int]:
        return write(model, ids, max_new_tokens=8, temperature=0.0)

    assert greedy(long) == greedy(long[-6:])
    seen = watch(model, monkeypatch)
    text = [3, 4, 5, *greedy([3, 4, 5])]
    assert [ids for ids, _ in seen] == [text[max(0, n - 6) : n] for n in range(3, 11)]


def test_stop_id_ends_the_text_and_is_not_part_of_it() -> None:
    model = gpt()
    whole = write(model, [1, 2], max_new_tokens=20, temperature=2.0, seed=1)
    stop = whole[7]
    expected = whole[: whole.index(stop)]
    assert write(model, [1, 2], stop_id=stop, max_new_tokens=20, temperature=2.0, seed=1) == expected
    unseen = next(id for id in range(12) if id not in write(model, [id, 2], max_new_tokens=3, temperature=0.0))
    assert len(write(model, [unseen, 2], stop_id=unseen, max_new_tokens=3, temperature=0.0)) == 3  # not in the prompt
    assert write(model, [1, 2], max_new_tokens=0) == []


def test_ids_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gpt()
    seen = watch(model, monkeypatch)
    stream = generate(model, iter([1, 2]), SampleConfig(max_new_tokens=5))
    for n in (1, 2):
        next(stream)
        assert len(seen) == n


def test_nothing_is_recorded_and_dropout_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = ModelConfig(vocab_size=12, context_length=6, d_model=8, n_layers=2, n_heads=2, dropout=0.5)
    model = GPT(dropped).load_state_dict(gpt().state_dict()).train()
    seen = watch(model, monkeypatch)
    new = write(model, [1, 2], max_new_tokens=8, temperature=0.0)
    assert new == write(gpt(), [1, 2], max_new_tokens=8, temperature=0.0)
    assert not any(logits.requires_grad for _, logits in seen)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = gpt().train(training)
    write(model, [1, 2], max_new_tokens=3)
    assert {module.training for module in model.modules()} == {training}
    stream = generate(model, [1, 2], SampleConfig(max_new_tokens=3))
    next(stream)
    del stream  # given up in the middle
    assert {module.training for module in model.modules()} == {training}


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="generate: needs at least one token to continue"):
        write(gpt(), [])


# Text


def test_half_a_character_waits_for_its_other_half() -> None:
    tokenizer = BPETokenizer.train("", 257)  # bytes only, and <|endoftext|>
    ids = list("a€é😀".encode())  # 1, 3, 2 and 4 bytes
    assert list(tokenizer.decode_stream(ids)) == ["a", "€", "é", "😀"]


def test_half_a_character_at_the_end_is_marked() -> None:
    tokenizer = BPETokenizer.train("", 257)
    assert list(tokenizer.decode_stream(list("a€".encode())[:-1])) == ["a", "\ufffd"]
    assert list(tokenizer.decode_stream([0xFF, 0x61])) == ["\ufffd", "a"]  # what begins no character does not wait
    assert list(tokenizer.decode_stream([])) == []


@settings(deadline=None)
@given(st.text(max_size=20))
def test_the_pieces_are_the_text(text: str) -> None:
    tokenizer = BPETokenizer.train("aé€😀aé€😀 the the", 262)
    pieces = list(tokenizer.decode_stream(tokenizer.encode(text)))
    assert "".join(pieces) == text
    assert all(pieces)


def test_text_comes_as_soon_as_its_ids_do() -> None:
    tokenizer = CharTokenizer.train("abc")

    def ids() -> Iterable[int]:
        yield 0
        yield 1
        raise AssertionError("read ahead")

    stream = tokenizer.decode_stream(ids())
    assert next(stream) == "a"
    assert next(stream) == "b"


def test_lost_weights_are_named() -> None:
    with pytest.raises(ValueError, match="logits are not finite, its weights are lost; use an earlier checkpoint"):
        next_token_probabilities(np.array([0.0, np.nan]))
