"""Writing text: the loop around the distribution, several texts at once, stop strings, whole characters."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.config import ModelConfig, SampleConfig
from gpt.generation.beam import beam_search
from gpt.generation.generate import generate, generate_samples, start_ids, until_stop
from gpt.generation.generate import write as write_texts
from gpt.generation.sampling import next_token_probabilities
from gpt.generation.score import token_log_probabilities
from gpt.model import GPT
from gpt.tokenizer import BPETokenizer, CharTokenizer
from nanograd.op import Observer, no_grad, observe
from nanograd.seeds import SAMPLE, generator

CONFIG = ModelConfig(vocab_size=12, context_length=6, d_model=8, n_layers=2, n_heads=2)


def gpt(**kind: Any) -> GPT:
    """Return a model that is less sure of nothing than a fresh one: its logits differ."""
    model = GPT(dataclasses.replace(CONFIG, **kind), np.random.default_rng(0))
    model.tok_emb.weight.copy_(model.tok_emb.weight.data * 50)
    return model


def write(model: GPT, ids: Iterable[int], stop_id: int | None = None, **options: object) -> list[int]:
    return list(generate(model, ids, SampleConfig(**options), stop_id=stop_id))  # type: ignore[arg-type]


class FullForward:
    """A decoder without a cache: the model's own forward over all that it sees, for every token."""

    calls = 0

    def __init__(self, model: GPT, batch_size: int, capacity: int) -> None:
        self.model = model

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        FullForward.calls += 1
        self.ids = ids[:, -self.model.config.context_length :]
        with no_grad():
            return self.model(self.ids).data[:, -1]

    def step(self, ids: np.ndarray) -> np.ndarray:
        T = self.model.config.context_length
        kept = self.ids[:, -(T // 2) :] if self.ids.shape[1] == T else self.ids  # full: the older half is dropped
        return self.prefill(np.concatenate((kept, ids[:, None]), axis=1))

    def reorder(self, rows: np.ndarray) -> None:
        self.ids = self.ids[rows]


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


def test_of_a_longer_prompt_the_model_sees_the_last_part() -> None:
    model, long = gpt(), [7, 7, 7, 0, 1, 2, 3, 4, 5]
    assert write(model, long, max_new_tokens=8, temperature=0.0) == write(
        model, long[-6:], max_new_tokens=8, temperature=0.0
    )


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", [{}, {"norm": "rmsnorm", "mlp": "gated", "n_kv_heads": 1, "tie_embeddings": False}])
@pytest.mark.parametrize("prompt", [[3], [3, 4, 5, 6, 7, 8]])
@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 2.0},
        {"temperature": 3.0, "top_k": 5, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.2},
    ],
)
def test_with_and_without_a_cache_the_text_is_the_same(
    n: int, kind: dict[str, Any], prompt: list[int], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = gpt(**kind).astype(np.float64)
    config = SampleConfig(max_new_tokens=20, seed=3, **options)  # three times the context

    def texts() -> list[list[int]]:
        return [list(ids) for ids in generate_samples(model, prompt, config, n)]

    cached = texts()
    assert [len(ids) for ids in cached] == [20] * n
    monkeypatch.setattr("gpt.generation.generate.Decoder", FullForward)
    assert texts() == cached


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
    FullForward.calls = 0
    monkeypatch.setattr("gpt.generation.generate.Decoder", FullForward)
    stream = generate(gpt(), iter([1, 2]), SampleConfig(max_new_tokens=5))
    for n in (1, 2):
        next(stream)
        assert FullForward.calls == n
    assert len(list(stream)) == 3
    assert FullForward.calls == 5  # the last token is not read: nothing comes after it


def test_dropout_is_off() -> None:
    dropped = ModelConfig(vocab_size=12, context_length=6, d_model=8, n_layers=2, n_heads=2, dropout=0.5)
    model = GPT(dropped).load_state_dict(gpt().state_dict()).train()
    new = write(model, [1, 2], max_new_tokens=8, temperature=0.0)
    assert new == write(gpt(), [1, 2], max_new_tokens=8, temperature=0.0)


class Nodes(Observer):
    """Count the Nodes that are made."""

    n = 0

    def after_forward(
        self, op: object, arrays: object, options: object, y: object, saved: object, node: object
    ) -> None:
        self.n += node is not None


def test_no_gradient_is_recorded() -> None:
    model = gpt()
    with observe(nodes := Nodes()):
        write(model, [1, 2], max_new_tokens=8)  # past the context, too
        beam_search(model, [1, 2], beams=2, max_new_tokens=8)
        token_log_probabilities(model, list(range(9)))
        assert nodes.n == 0
        model(np.array([[1, 2]]))  # which records: the observer would have seen it
    assert nodes.n > 10
    assert all(p.grad is None for p in model.parameters())


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


# Several at once


def samples(model: GPT, n: int, stop_id: int | None = None, **options: object) -> list[list[int]]:
    config = SampleConfig(**options)  # type: ignore[arg-type]
    return [list(ids) for ids in generate_samples(model, [1, 2], config, n, stop_id=stop_id)]


def test_the_first_of_several_is_the_one_alone() -> None:
    model = gpt()
    many = samples(model, 4, max_new_tokens=20, temperature=2.0, seed=5)
    assert many[0] == write(model, [1, 2], max_new_tokens=20, temperature=2.0, seed=5)
    assert many[:2] == samples(model, 2, max_new_tokens=20, temperature=2.0, seed=5)
    assert len({tuple(ids) for ids in many}) == 4
    greedy = samples(model, 3, max_new_tokens=5, temperature=0.0)
    assert greedy[0] == greedy[1] == greedy[2]


def test_each_sample_draws_from_a_place_of_its_own() -> None:
    model = gpt()
    model.tok_emb.weight.copy_(0)  # all 12 are equally likely: the token is where the number falls
    for row, ids in enumerate(samples(model, 3, max_new_tokens=6, seed=9)):
        draws = [generator(9, SAMPLE, t, row).random() for t in range(6)]
        assert ids == [int(u * 12) for u in draws]
    assert generator(9, SAMPLE, 4, 0).random() == generator(9, SAMPLE, 4).random()  # as before there were several


def test_each_sample_ends_where_it_does_alone() -> None:
    model = gpt()
    whole = samples(model, 5, max_new_tokens=20, temperature=2.0, seed=1)
    for stop in range(12):
        expected = [ids[: ids.index(stop)] if stop in ids else ids for ids in whole]
        assert samples(model, 5, stop_id=stop, max_new_tokens=20, temperature=2.0, seed=1) == expected


def test_samples_may_be_read_in_any_order() -> None:
    model, config = gpt(), SampleConfig(max_new_tokens=12, temperature=2.0)
    expected = samples(model, 3, max_new_tokens=12, temperature=2.0)
    streams = generate_samples(model, [1, 2], config, 3)
    taken: list[list[int]] = [[], [], []]
    for row in [2, 2, 0, 1, 1, 1, 1, 0, 2] + [0] * 20:
        taken[row] += [id for id in [next(streams[row], -1)] if id >= 0]
    for row in (1, 2):
        taken[row] += streams[row]
    assert taken == expected


def test_samples_let_go_are_not_written_on(monkeypatch: pytest.MonkeyPatch) -> None:
    FullForward.calls = 0
    monkeypatch.setattr("gpt.generation.generate.Decoder", FullForward)
    drawn: list[float] = []
    monkeypatch.setattr("gpt.generation.generate.draw", lambda p, u: drawn.append(u) or int(p.argmax()))
    first, second = generate_samples(gpt(), [1, 2], SampleConfig(max_new_tokens=9), 2)
    next(first)
    next(second)
    del second
    assert len(list(first)) == 8
    assert len(drawn) == 2 + 8
    assert FullForward.calls == 9


def test_the_penalty_counts_the_prompt_and_what_was_written() -> None:
    model = gpt()
    model.tok_emb.weight.copy_(0)
    logits = np.linspace(5, 4, 12)  # of which the greatest is taken, until each has been divided by 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpt.generation.generate.Decoder.prefill", lambda self, ids: logits[None])
        patch.setattr("gpt.generation.generate.Decoder.step", lambda self, ids: logits[None])
        new = write(model, [0, 2], max_new_tokens=10, temperature=0.0, repetition_penalty=10.0)
    assert new == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]


# Stop strings


@pytest.mark.parametrize(
    ("pieces", "stop", "expected"),
    [
        (["a", "b"], [], ["a", "b"]),
        (["ab", "cd"], ["c"], ["ab"]),
        (["one E", "N", "D two"], ["END"], ["one "]),  # over three tokens; of it nothing shows
        (["one E", "N", "G two"], ["END"], ["one ", "ENG two"]),  # it was not one after all
        (["EN", "D"], ["END"], []),
        (["aaab"], ["aab"], ["a"]),
        (["a", "a", "a", "b"], ["aab"], ["a"]),
        (["abc"], ["bc", "abc"], []),  # both end at once: the longer
        (["abcd"], ["abcd", "b"], ["a"]),  # b is complete first
        (["x", "EN"], ["END"], ["x", "EN"]),  # the text ends on its own
        (["é", "😀", "e"], ["😀"], ["é"]),
    ],
)
def test_a_text_stops_before_the_string(pieces: list[str], stop: list[str], expected: list[str]) -> None:
    assert list(until_stop(pieces, stop)) == expected


def test_nothing_is_read_after_a_stop() -> None:
    def pieces() -> Iterator[str]:
        yield "abc"
        raise AssertionError("read ahead")

    assert list(until_stop(pieces(), ["c"])) == ["ab"]
    with pytest.raises(ValueError, match="stop: must not be empty"):
        list(until_stop(["a"], ["b", ""]))


@settings(deadline=None)
@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.data())
def test_how_a_text_is_cut_into_tokens_does_not_matter(text: str, stop: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    # By hand: the first prefix that ends with a stop string, without the longest such string.
    prefixes = [text[:n] for n in range(len(text) + 1) if any(text[:n].endswith(s) for s in stop)]
    expected = text
    if prefixes:
        expected = prefixes[0].removesuffix(max((s for s in stop if prefixes[0].endswith(s)), key=len))
    assert "".join(until_stop(pieces, stop)) == expected


# Text


def test_several_texts_each_with_its_own_end() -> None:
    tokenizer = CharTokenizer("abcdefghijkl")
    model, config = gpt(), SampleConfig(max_new_tokens=20, temperature=2.0, seed=1)
    whole = ["".join(text) for text in write_texts(model, tokenizer, [1, 2], config, n=4)]
    assert {len(text) for text in whole} == {20}
    stop = [whole[0][3:5], "k"]
    ended = ["".join(text) for text in write_texts(model, tokenizer, [1, 2], config, n=4, stop=stop)]
    assert ended == ["".join(until_stop([text], stop)) for text in whole]
    assert ended[0] == whole[0][:3] or "k" in whole[0][:5]


def test_a_text_without_a_prompt_starts_from_a_new_line() -> None:
    assert start_ids(CharTokenizer("\t\na")) == [1]
    bytes_only = BPETokenizer.train("", 257)
    assert start_ids(bytes_only) == [10]
    assert start_ids(CharTokenizer("ab")) == [0]


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
