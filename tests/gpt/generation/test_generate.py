"""Generation: the loop over tokens, several samples in lockstep, stop strings, complete characters."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.config import ModelConfig, SampleConfig
from gpt.evaluation.score import token_log_probabilities
from gpt.generation.beam import beam_search
from gpt.generation.generate import (
    TextStream,
    cut_at_stop,
    decode_generated,
    encode_prompt,
    generate,
    generate_text,
    start_ids,
    write_line,
)
from gpt.generation.sampling import next_token_probabilities
from gpt.model import GPT
from gpt.tokenizer import EOT, BPETokenizer, CharTokenizer, Tokenizer
from nanograd.op import Observer, no_grad, observe
from nanograd.seeds import SAMPLE, generator

CONFIG = ModelConfig(vocab_size=12, context_length=6, d_model=8, n_layers=2, n_heads=2)


def gpt(**kind: Any) -> GPT:
    """Return a model whose logits differ more than those of a fresh one."""
    model = GPT(dataclasses.replace(CONFIG, **kind), np.random.default_rng(0))
    model.tok_emb.weight.copy_(model.tok_emb.weight.data * 50)
    return model


def samples(model: GPT, ids: Iterable[int], n: int, end_ids: tuple[int, ...] = (), **options: Any) -> list[list[int]]:
    """Return the ids of n samples, after checking that a sample which has ended stays ended."""
    texts: list[list[int]] = [[] for _ in range(n)]
    for t, column in enumerate(generate(model, ids, SampleConfig(**options), n, end_ids=end_ids)):
        assert len(column) == n
        assert any(token is not None for token in column)
        for text, token in zip(texts, column, strict=True):
            if token is not None:
                assert len(text) == t  # no sample skips a column
                text.append(token)
    return texts


def write(model: GPT, ids: Iterable[int], end_ids: tuple[int, ...] = (), **options: Any) -> list[int]:
    (text,) = samples(model, ids, 1, end_ids, **options)
    return text


class FullForward:
    """A decoder without a cache: the model's own forward over the whole context, for every token."""

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


def test_greedy_takes_the_most_probable_token_each_time() -> None:
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


def test_the_model_sees_the_end_of_a_longer_prompt() -> None:
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

    def texts() -> list[list[int]]:
        return samples(model, prompt, n, max_new_tokens=20, seed=3, **options)  # three times the context

    cached = texts()
    assert [len(ids) for ids in cached] == [20] * n
    monkeypatch.setattr("gpt.generation.generate.Decoder", FullForward)
    assert texts() == cached


def test_an_end_token_ends_the_text_and_is_not_part_of_it() -> None:
    model = gpt()
    whole = write(model, [1, 2], max_new_tokens=20, temperature=2.0, seed=1)
    stop = whole[7]
    expected = whole[: whole.index(stop)]
    assert write(model, [1, 2], end_ids=(stop,), max_new_tokens=20, temperature=2.0, seed=1) == expected
    unseen = next(id for id in range(12) if id not in write(model, [id, 2], max_new_tokens=3, temperature=0.0))
    assert (
        len(write(model, [unseen, 2], end_ids=(unseen,), max_new_tokens=3, temperature=0.0)) == 3
    )  # not in the prompt
    assert write(model, [1, 2], max_new_tokens=0) == []


def test_a_step_is_run_only_when_its_column_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_more_samples_do_not_change_the_first() -> None:
    model = gpt()
    many = samples(model, [1, 2], 4, max_new_tokens=20, temperature=2.0, seed=5)
    assert many[0] == write(model, [1, 2], max_new_tokens=20, temperature=2.0, seed=5)
    assert many[:2] == samples(model, [1, 2], 2, max_new_tokens=20, temperature=2.0, seed=5)
    assert len({tuple(ids) for ids in many}) == 4
    greedy = samples(model, [1, 2], 3, max_new_tokens=5, temperature=0.0)
    assert greedy[0] == greedy[1] == greedy[2]


def test_sample_s_draws_its_token_t_from_seed_t_and_s() -> None:
    model = gpt()
    model.tok_emb.weight.copy_(0)  # all 12 are equally likely: the token is where the number falls
    for s, ids in enumerate(samples(model, [1, 2], 3, max_new_tokens=6, seed=9)):
        draws = [generator(9, SAMPLE, t, s).random() for t in range(6)]
        assert ids == [int(u * 12) for u in draws]
    assert generator(9, SAMPLE, 4, 0).random() == generator(9, SAMPLE, 4).random()  # as if there were only one


def test_each_sample_ends_where_it_does_alone() -> None:
    model = gpt()
    full = samples(model, [1, 2], 5, max_new_tokens=20, temperature=2.0, seed=1)
    for stop in range(12):
        expected = [ids[: ids.index(stop)] if stop in ids else ids for ids in full]
        assert samples(model, [1, 2], 5, (stop,), max_new_tokens=20, temperature=2.0, seed=1) == expected


def test_nothing_is_drawn_for_a_sample_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    script = iter([3, 4, 7, 5, 7])  # two samples; the first draws the stop id at its second token, then the other
    monkeypatch.setattr("gpt.generation.generate.draw", lambda p, u: next(script))
    columns = list(generate(gpt(), [1, 2], SampleConfig(max_new_tokens=9), 2, end_ids=(7,)))
    assert columns == [[3, 4], [None, 5]]
    assert next(script, None) is None


def test_the_penalty_counts_the_prompt_and_the_generated_tokens() -> None:
    model = gpt()
    model.tok_emb.weight.copy_(0)
    logits = np.linspace(5, 4, 12)  # of which the greatest is taken, until each has been divided by 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpt.generation.generate.Decoder.prefill", lambda self, ids: logits[None])
        patch.setattr("gpt.generation.generate.Decoder.step", lambda self, ids: logits[None])
        new = write(model, [0, 2], max_new_tokens=10, temperature=0.0, repetition_penalty=10.0)
    assert new == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]


# Text streams

BYTES = BPETokenizer.train("", 257)  # the 256 bytes, and <|endoftext|>


def stream(tokenizer: Tokenizer, ids: Iterable[int], stop: Sequence[str] = ()) -> list[str]:
    """Return what each id adds to a text, then what its end adds; empty additions are left out."""
    text = TextStream(tokenizer, stop)
    added = [text.add(id) for id in ids if not text.ended]
    added.append(text.add(None))
    assert text.ended
    assert text.add(97) == text.add(None) == ""
    return [new for new in added if new]


def stream_of(texts: Sequence[str], stop: Sequence[str]) -> list[str]:
    """Return the same for tokens that stand for any texts, also equal and empty ones."""
    tokenizer = BPETokenizer.train("", 257)
    tokenizer.vocab = {i: text.encode() for i, text in enumerate(texts)}
    return stream(tokenizer, range(len(texts)), stop)


@pytest.mark.parametrize(
    ("texts", "stop", "expected"),
    [
        (["a", "b"], [], ["a", "b"]),
        (["ab", "cd"], ["c"], ["ab"]),
        (["one E", "N", "D two"], ["END"], ["one "]),  # spread over three tokens; no part of it is returned
        (["one E", "N", "G two"], ["END"], ["one ", "ENG two"]),  # it was not a stop string after all
        (["EN", "D"], ["END"], []),
        (["aaab"], ["aab"], ["a"]),
        (["a", "a", "a", "b"], ["aab"], ["a"]),
        (["abc"], ["bc", "abc"], []),  # both end at once: the longer one counts
        (["abcd"], ["abcd", "b"], ["a"]),  # b is complete first
        (["x", "EN"], ["END"], ["x", "EN"]),  # the text ends by itself
        (["é", "😀", "e"], ["😀"], ["é"]),
    ],
)
def test_a_text_ends_before_the_stop_string(texts: list[str], stop: list[str], expected: list[str]) -> None:
    assert stream_of(texts, stop) == expected


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="stop: must not be empty"):
        TextStream(BYTES, ["b", ""])


@settings(deadline=None)
@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.data())
def test_how_a_text_is_split_into_tokens_does_not_matter(text: str, stop: list[str], data: st.DataObject) -> None:
    splits = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    tokens = [text[a:b] for a, b in zip([0, *splits], [*splits, len(text)], strict=True)]
    # By hand: the first prefix that ends with a stop string, without the longest such string.
    prefixes = [text[:n] for n in range(len(text) + 1) if any(text[:n].endswith(s) for s in stop)]
    expected = text
    if prefixes:
        expected = prefixes[0].removesuffix(max((s for s in stop if prefixes[0].endswith(s)), key=len))
    assert "".join(stream_of(tokens, stop)) == expected


def test_half_a_character_waits_for_the_other_half() -> None:
    assert stream(BYTES, "a€é😀".encode()) == ["a", "€", "é", "😀"]  # 1, 3, 2 and 4 bytes


def test_half_a_character_at_the_end_is_marked() -> None:
    assert stream(BYTES, "a€".encode()[:-1]) == ["a", "\ufffd"]
    assert stream(BYTES, "😀".encode()[:3]) == ["\ufffd"]
    assert stream(BYTES, [0xFF, 0x61]) == ["\ufffd", "a"]  # 0xFF begins no character, so nothing is held back
    assert stream(BYTES, [0xF0, 0x61]) == ["\ufffda"]  # "a" shows that 0xF0 is not completed
    assert stream(BYTES, []) == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text() | st.binary(max_size=4) | st.sampled_from([EOT, "😀", "é", b"\xf0\x9f", b"\xe4"]), max_size=8)
)
def test_the_additions_joined_are_the_whole_text(texts: list[str | bytes]) -> None:
    tokenizer = BPETokenizer.train("aé€😀aé€😀 the the", 262)
    ids = [id for text in texts for id in tokenizer.encode_bytes(text.encode() if isinstance(text, str) else text)]
    assert "".join(stream(tokenizer, ids)) == tokenizer.decode(ids)


def test_an_id_outside_the_vocabulary_adds_nothing() -> None:
    assert stream(BYTES, [97, 300, 98]) == ["a", "b"]
    assert decode_generated(BYTES, [97, 300, 98]) == "ab"


# Generated text


def texts_of(steps: Iterable[list[str]]) -> list[str]:
    return ["".join(added) for added in zip(*steps, strict=True)]


def test_several_texts_each_with_its_own_end() -> None:
    tokenizer = CharTokenizer("abcdefghijkl")
    model, config = gpt(), SampleConfig(max_new_tokens=20, temperature=2.0, seed=1)
    full = texts_of(generate_text(model, tokenizer, [1, 2], config, 4))
    assert {len(text) for text in full} == {20}
    stop = [full[0][3:5], "k"]
    ended = texts_of(generate_text(model, tokenizer, [1, 2], config, 4, stop=stop))
    assert ended == [cut_at_stop(text, stop)[0] for text in full]
    assert ended[0] == full[0][:3] or "k" in full[0][:5]


def test_no_step_is_run_after_all_texts_have_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    FullForward.calls = 0
    monkeypatch.setattr("gpt.generation.generate.Decoder", FullForward)
    script = iter([0, 2, 2, 1, 3, 3])  # the first text stops at its second token, the other one a step later
    monkeypatch.setattr("gpt.generation.generate.draw", lambda p, u: next(script))
    steps = generate_text(gpt(), CharTokenizer("abcdefghijkl"), [1], SampleConfig(max_new_tokens=9), 2, stop=["c", "d"])
    assert texts_of(steps) == ["a", ""]
    assert FullForward.calls == 2


def test_an_empty_prompt_starts_from_a_new_line() -> None:
    assert encode_prompt(CharTokenizer("\t\na"), "") == start_ids(CharTokenizer("\t\na")) == [1]
    assert encode_prompt(BYTES, "") == [10]
    assert start_ids(CharTokenizer("ab")) == [0]
    assert encode_prompt(CharTokenizer("ab"), "ba") == [1, 0]
    with pytest.raises(ValueError, match=r"^prompt: encode: characters must be among the 2 of the vocabulary"):
        encode_prompt(CharTokenizer("ab"), "c")


def test_a_line_is_cut_and_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    written = iter([["ab"], [" \n"], [" c\x07"], [""], ["é"], ["."], ["abcabc"]])
    monkeypatch.setattr("gpt.generation.generate.generate_text", lambda *args, **options: written)
    assert write_line(gpt(), CharTokenizer.train("abc"), 8) == "ab c\ufffdé.…"
    assert write_line(gpt(), CharTokenizer.train("abc"), 8) == ""  # nothing was left
