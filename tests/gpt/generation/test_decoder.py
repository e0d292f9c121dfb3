"""The decoder: what it says of the next token is what the model's own forward says, at every position."""

import tracemalloc

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.generation import decoder as decoder_module
from gpt.generation.decoder import Decoder
from gpt.model import GPT
from nanograd import ops
from nanograd.op import CONTEXT, no_grad

SHAPE = {"vocab_size": 17, "context_length": 12, "d_model": 16, "n_layers": 3, "n_heads": 4}
LLAMA = {"norm": "rmsnorm", "position": "rope", "mlp": "gated", "bias": False, "n_kv_heads": 2, "tie_embeddings": False}
KINDS: dict[str, dict[str, object]] = {
    "gpt2": {},
    "no bias": {"bias": False},
    "rmsnorm": {"norm": "rmsnorm"},
    "rope": {"position": "rope", "rope_theta": 100.0},
    "stretched": {
        "position": "rope",
        "rope_theta": 100.0,
        "rope_scaling": "llama3",
        "rope_factor": 4.0,
        "rope_original_context": 60,
    },
    "biases of queries, keys and values": {"bias": False, "qkv_bias": True},
    "window": {**LLAMA, "window": 5},
    "window of one": {"window": 1},
    "gated": {"mlp": "gated"},
    "gated relu": {"mlp": "gated", "activation": "relu"},
    "gelu": {"activation": "gelu"},
    "shared keys": {"n_kv_heads": 2},
    "one key": {"n_kv_heads": 1},
    "wide heads": {"head_dim": 6},
    "qk_norm": {"qk_norm": True},
    "own head": {"tie_embeddings": False},
    "llama": LLAMA,
    "qwen": {**LLAMA, "qk_norm": True, "head_dim": 6, "norm_eps": 1e-3},
    "mistral": {**LLAMA, "window": 4},
}


def make(kind: str, dtype: type = np.float64, **changes: object) -> GPT:
    """Return a model whose every tensor matters: gains and biases too are random."""
    rng = np.random.default_rng(0)
    model = GPT(ModelConfig(**{**SHAPE, **KINDS[kind], **changes}), rng)  # type: ignore[arg-type]
    for p in model.parameters():
        p.data = p.data + 0.3 * rng.standard_normal(p.shape)
    return model.astype(dtype).eval()


def full(model: GPT, ids: np.ndarray) -> np.ndarray:
    """Return the logits (B, T, V) of the model's own forward."""
    with no_grad():
        return model(ids).data


def random_ids(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, SHAPE["vocab_size"], shape)


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-12) -> None:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("prompt", [1, 2, 5, 12])
def test_every_position_is_that_of_the_full_forward(kind: str, dtype: type, tolerance: float, prompt: int) -> None:
    model, ids = make(kind, dtype), random_ids(2, 12)
    due = full(model, ids)
    decoder = Decoder(model, 2)
    close(decoder.prefill(ids[:, :prompt]), due[:, prompt - 1], tolerance)
    for t in range(prompt, 12):
        close(decoder.step(ids[:, t]), due[:, t], tolerance)
    assert decoder.cache.length == 12


@pytest.mark.parametrize("kind", KINDS)
def test_rows_padded_on_the_left_are_what_they_are_alone(kind: str) -> None:
    model, ids = make(kind), random_ids(3, 12)
    lengths = np.array([7, 1, 4])
    prompts = np.full(
        (3, 9), -1
    )  # what lies in the padding is never looked at, and columns of padding alone are cut off
    for b, n in enumerate(lengths):
        prompts[b, 9 - n :] = ids[b, :n]
    decoder = Decoder(model, 3)
    logits = decoder.prefill(prompts, lengths)
    for t in range(5):
        for b, n in enumerate(lengths):
            close(logits[b], full(model, ids[b : b + 1, : n + t])[0, -1])
        logits = decoder.step(ids[np.arange(3), lengths + t])
    assert decoder.cache.length == 12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [2, 10])
def test_a_prompt_read_in_pieces_is_the_same(kind: str, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.generation.decoder.CHUNK", tokens)  # of both rows: chunks of 1 and 5
    model, ids = make(kind), random_ids(2, 12)
    decoder = Decoder(model, 2)
    logits = decoder.prefill(ids[:, :8], np.array([8, 6]))  # the second is padded
    due = [full(model, ids[:1])[0], full(model, ids[1:, 2:])[0]]
    close(logits, np.stack((due[0][7], due[1][5])))
    logits = decoder.extend(ids[:, 8:11])
    close(logits, np.stack((due[0][10], due[1][8])))
    assert np.array_equal(decoder.cache.token_ids[0, :11], ids[0, :11])
    close(decoder.step(ids[:, 11]), np.stack((due[0][11], due[1][9])))


@pytest.mark.parametrize("prompt", [1, 3, 4, 5, 17])
def test_with_a_window_the_cache_holds_the_window(prompt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.generation.decoder.CHUNK", 12)  # chunks of 6, longer than the window
    model, ids = make("mistral", context_length=40), random_ids(2, 40)
    due = full(model, ids)
    decoder = Decoder(model, 2)
    assert {array.shape for array in (*decoder.cache.keys, *decoder.cache.values)} == {(2, 2, 4, 4)}
    close(decoder.prefill(ids[:, :prompt]), due[:, prompt - 1])
    for t in range(prompt, prompt + 7):
        close(decoder.step(ids[:, t]), due[:, t])
    close(decoder.extend(ids[:, prompt + 7 : 38]), due[:, 37])
    for t in (38, 39):
        close(decoder.step(ids[:, t]), due[:, t])


def test_a_text_extended_beyond_the_context_slides_as_its_tokens_do_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.generation.decoder.CHUNK", 4)
    model, ids = make("llama", context_length=5), random_ids(1, 20)
    decoder = Decoder(model)
    decoder.prefill(ids[:, :3])
    due = banded(model, ids, 5)
    close(decoder.extend(ids[:, 3:17]), due[:, 16])
    close(decoder.step(ids[:, 17]), due[:, 17])


@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_what_was_read_last_can_be_forgotten(kind: str) -> None:
    model, ids = make(kind, context_length=20), random_ids(2, 20)
    decoder = Decoder(model)
    decoder.prefill(ids[:1, :4])
    assert decoder.cache.cut(2)
    other = np.concatenate((ids[:1, :2], ids[1:, 2:]), axis=1)
    due = full(model, other)
    close(decoder.extend(other[:, 2:9]), due[:, 8])
    overwritten = kind == "mistral"  # 9 tokens are more than its window
    assert decoder.cache.cut(7) is not overwritten
    assert decoder.cache.length == (9 if overwritten else 7)
    assert not overwritten or decoder.cache.cut(8)  # token 8 sees tokens 5, 6 and 7
    n = decoder.cache.length
    assert decoder.cache.cut(n)
    close(decoder.step(other[:, n]), full(model, other)[:, n])


def test_the_cache_grows_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.generation.kv_cache.FIRST_SLOTS", 2)
    model, ids = make("window", context_length=20), random_ids(1, 20)  # a window of 5
    decoder, slots = Decoder(model), []
    for t in range(20):
        close(decoder.step(ids[:, t]), full(model, ids[:, : t + 1])[:, -1])
        slots.append(decoder.cache.keys[0].shape[2])
    assert slots == [2, 2, 4, 4] + 16 * [5]
    decoder = Decoder(model)
    decoder.prefill(ids[:, :3])
    assert decoder.cache.values[2].shape[2] == 4


def test_a_long_prompt_takes_memory_for_one_piece() -> None:
    T, F = 2560, 2048
    shape = {"vocab_size": 2000, "context_length": T, "d_model": 8, "n_layers": 2, "n_heads": 4, "d_ff": F}
    decoder = Decoder(GPT(ModelConfig(**{**LLAMA, **shape})))  # type: ignore[arg-type]
    tracemalloc.start()
    decoder.prefill(np.zeros((1, T), int))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    features, scores = (
        4 * F * T,
        4 * 4 * T * T,
    )  # of a whole prompt, the MLP has four arrays of 21 MB, and P takes 105 MB
    assert peak < 2 * features < scores / 2


@pytest.mark.parametrize("context", [1, 2, 5, 12])
def test_learned_positions_drop_the_older_half_of_each_row_that_is_full(context: int) -> None:
    model, ids = make("gpt2", context_length=context), random_ids(2, 40)
    prompt = min(3, context)
    lengths = np.array([prompt, max(1, prompt - 1)])
    rows = [list(ids[b, prompt - n : prompt]) for b, n in enumerate(lengths)]
    decoder = Decoder(model, 2)
    decoder.prefill(ids[:, :prompt], lengths)
    for t in range(prompt, 40):
        logits = decoder.step(ids[:, t])
        for b, row in enumerate(rows):
            if len(row) == context:
                del row[: context - context // 2]
            row.append(ids[b, t])
            close(logits[b], full(model, np.array([row]))[0, -1])


def banded(model: GPT, ids: np.ndarray, context: int) -> np.ndarray:
    """Return the logits (B, T, V) of a forward in which every token of every block sees the last `context` only."""
    T = ids.shape[1]
    with no_grad():
        x = model.tok_emb(ids)
        for block in model.blocks:
            x = block(x, ~np.tri(T, k=-context, dtype=bool))  # and causal besides
        return ops.linear(model.norm(x), model.lm_head_weight).data


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].get("position") == "rope"])
@pytest.mark.parametrize("context", [1, 3, 12])
def test_rope_slides_over_the_last_tokens(kind: str, context: int) -> None:
    model, ids = make(kind, context_length=context), random_ids(2, 40)
    lengths = np.array([min(3, context), 1])
    decoder = Decoder(model, 2)
    logits = decoder.prefill(ids[:, 3 - lengths[0] : 3], lengths)
    due = [banded(model, ids[b : b + 1, 3 - n :], context)[0] for b, n in enumerate(lengths)]
    for t in range(3, 40):
        for b, n in enumerate(lengths):
            close(logits[b], due[b][t - 4 + n])
        logits = decoder.step(ids[:, t])


def test_rope_goes_on_sliding_after_rows_changed_places() -> None:
    model, ids = make("rope", context_length=5), random_ids(2, 20)
    decoder = Decoder(model, 2)
    decoder.prefill(ids[:, :4])
    for t in range(4, 9):
        decoder.step(ids[:, t])
    decoder.reorder(np.array([1, 0]))
    crossed = np.concatenate((ids[::-1, :9], ids[:, 9:]), axis=1)
    due = banded(model, crossed, 5)
    for t in range(9, 20):
        close(decoder.step(ids[:, t]), due[:, t])


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_large_models_and_long_prompts_go_over_threads_to_the_same_result(kind: str) -> None:
    model, ids = make(kind, context_length=300, d_model=256, n_heads=8, d_ff=1024), random_ids(2, 300)
    lengths = np.array([297, 200])
    decoder = Decoder(model, 2)
    assert not decoder.is_small
    due = [full(model, ids[b : b + 1, 297 - n :])[0] for b, n in enumerate(lengths)]
    logits = decoder.prefill(ids[:, :297], lengths)
    for t in range(297, 300):
        for b, n in enumerate(lengths):
            close(logits[b], due[b][t - 298 + n])
        logits = decoder.step(ids[:, t])


def test_of_a_long_prompt_the_end_is_read() -> None:
    model, ids = make("gpt2"), random_ids(1, 30)
    close(Decoder(model).prefill(ids), full(model, ids[:, -12:])[:, -1])


def test_rows_go_on_from_other_rows() -> None:
    model, ids = make("gpt2"), random_ids(3, 8)
    decoder = Decoder(model, 3)
    decoder.prefill(ids[:, :6], np.array([6, 3, 5]))
    decoder.reorder(np.array([2, 2, 1]))
    logits = decoder.step(ids[:, 6])
    for b, (row, n) in enumerate([(2, 5), (2, 5), (1, 3)]):
        text = np.append(ids[row, 6 - n : 6], ids[b, 6])[None]
        close(logits[b], full(model, text)[0, -1])


def test_rows_that_changed_places_are_read_again_where_they_went() -> None:
    model, ids = make("gpt2", context_length=6), random_ids(2, 9)
    decoder = Decoder(model, 2)
    decoder.prefill(ids[:, :6])
    decoder.reorder(np.array([1, 0]))
    close(decoder.step(ids[:, 6]), full(model, np.column_stack((ids[::-1, 3:6], ids[:, 6])))[:, -1])


def test_a_second_prompt_forgets_the_first() -> None:
    model, ids = make("gpt2"), random_ids(2, 6)
    decoder = Decoder(model)
    decoder.prefill(ids[:1])
    close(decoder.prefill(ids[1:, :3]), full(model, ids[1:, :3])[:, -1])
    close(decoder.step(ids[1:, 3]), full(model, ids[1:, :4])[:, -1])


def test_it_reads_the_models_own_weights_and_records_nothing() -> None:
    model, ids = make("gpt2"), random_ids(1, 6)
    decoder = Decoder(model)
    decoder.prefill(ids[:, :5])
    before = decoder.step(ids[:, 5])
    assert CONTEXT.get().grad
    assert isinstance(before, np.ndarray)
    model.norm.weight.copy_(2 * model.norm.weight.data)
    decoder.prefill(ids[:, :5])
    assert np.abs(decoder.step(ids[:, 5]) - before).max() > 0.1
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda d: d.prefill(np.zeros((3, 2), int)), r"prefill: ids must be \(2, T\) with T at least 1, got shape"),
        (lambda d: d.prefill(np.zeros((2, 0), int)), r"got shape \(2, 0\)"),
        (lambda d: d.prefill(np.zeros((2, 3), int), np.array([0, 3])), r"one from 1 to 3 for each row, got \[0, 3\]"),
        (lambda d: d.prefill(np.zeros((2, 3), int), np.array([4, 3])), r"one from 1 to 3 for each row, got \[4, 3\]"),
        (lambda d: d.prefill(np.zeros((2, 9), int)), "9 tokens are more than the Decoder's capacity=4"),
        (lambda d: d.step(np.zeros(3, int)), r"step: ids must be \(2,\), one for each row, got shape \(3,\)"),
        (lambda d: d.step(np.array([0, 17])), r"step: ids must lie in \[0, 17\), got \[0, 17\]"),
        (lambda d: d.step(np.array([-1, 0])), r"step: ids must lie in \[0, 17\), got \[-1, 0\]"),
        (lambda d: d.prefill(np.full((2, 1), 17)), r"step: ids must lie in \[0, 17\), got \[17, 17\]"),
        (lambda d: d.prefill(np.full((2, 2), 17)), r"extend: ids must lie in \[0, 17\), got 17 to 17"),
        (
            lambda d: [d.step(np.zeros(2, int)) for _ in range(5)],
            "cache is full; make the Decoder with more than capacity=4",
        ),
        (lambda d: d.extend(np.zeros(2, int)), r"extend: ids must be \(2, T\) with T at least 1, got shape \(2,\)"),
        (lambda d: [d.extend(np.zeros((2, 3), int)) for _ in "12"], "3 \\+ 3 tokens are more than .* capacity=4"),
        (lambda d: d.reorder(np.zeros(1, int)), r"reorder: rows must be \(2,\), one for each row, got shape \(1,\)"),
    ],
)
def test_what_does_not_fit_is_said(act, message: str) -> None:  # type: ignore[no-untyped-def]
    decoder = Decoder(make("gpt2"), 2, capacity=4)
    with pytest.raises(ValueError, match=message):
        act(decoder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_grows_is_read_once(kind: str) -> None:
    """Tokens of the common beginning stay, also where the rest is another; the logits are those of the model's forward."""
    model, ids = make(kind), random_ids(12).tolist()
    decoder, read = Decoder(model), []
    extend = decoder.extend
    decoder.extend = lambda ids: read.extend(ids[0].tolist()) or extend(ids)  # type: ignore[method-assign,func-returns-value]
    has_window = decoder.cache.slots < len(ids)
    other = [*ids[:4], (ids[4] + 1) % 17, *ids[5:7]]
    for text, new in ((ids[:3], 3), (ids[:6], 3), (ids[:6], 1), (other, 3), (ids, 8), (ids[:2], 1), (ids[5:], 7)):
        read.clear()
        logits = decoder.read(text)
        np.testing.assert_allclose(logits, full(model, np.array([text]))[:, -1], rtol=1e-9, atol=1e-12)
        assert decoder.cache.length == len(text)
        assert decoder.cache.token_ids[0, : len(text)].tolist() == text
        assert read == text[-new:] or (has_window and read == text)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_text_whose_beginning_was_overwritten_is_read_again(kind: str) -> None:
    model, ids = make(kind), random_ids(20)
    decoder = Decoder(model)
    decoder.read(ids[:12].tolist())
    for id in ids[12:]:
        decoder.step(np.array([id]))
    for text in (ids[:12].tolist(), ids.tolist()):
        expected = Decoder(model).prefill(np.array([text]))
        np.testing.assert_allclose(decoder.read(text), expected, rtol=1e-9, atol=1e-12)


def test_read_is_for_one_text() -> None:
    with pytest.raises(ValueError, match="read: needs a Decoder of one text, got batch_size=2; use prefill"):
        Decoder(make("gpt2"), 2).read([1])


@pytest.mark.parametrize("kind", ["llama", "mistral", "window of one"])
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("what", ["read", "step", "second piece"])
def test_what_an_interruption_left_in_the_cache_is_not_trusted(
    kind: str, layer: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come between two layers; a text that is read afterwards has the logits of a new Decoder."""
    if what == "second piece":
        monkeypatch.setattr("gpt.generation.decoder.CHUNK", 3)
    model, ids = make(kind), random_ids(2, 12)
    other = np.concatenate((ids[:1, :3], ids[1:, 3:]), axis=1)[0].tolist()
    for n in (2, 4, 7):  # the window has 4
        for then in (ids[0], other[: n + 1]):
            decoder = Decoder(model)
            decoder.read(ids[0, :n].tolist())
            with monkeypatch.context() as patch:
                interrupt(patch, what, layer)
                with pytest.raises(KeyboardInterrupt):
                    decoder.step(np.array(other[n : n + 1])) if what == "step" else decoder.read(other)
            logits, expected = decoder.read(list(then)), Decoder(model).prefill(np.array([then]))
            np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-12)


def interrupt(patch: pytest.MonkeyPatch, what: str, layer: int) -> None:
    """Raise KeyboardInterrupt when a layer has stored its keys and values; of a text, in the first or the second piece."""
    name, calls = ("side_by_side", "attend_cached")[what == "step"], []
    due = layer + (3 if what == "second piece" else 0)

    def interrupted(*args: object) -> np.ndarray:
        calls.append(name)
        if len(calls) > due:
            raise KeyboardInterrupt
        return original(*args)

    original = getattr(decoder_module, name)
    patch.setattr(decoder_module, name, interrupted)


@pytest.mark.parametrize("arrays", ["keys", "values"])
def test_a_cache_whose_growth_was_interrupted_grows_again(arrays: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(list[np.ndarray]):
        def __setitem__(self, i, value) -> None:  # type: ignore[no-untyped-def]
            if i == 1:
                raise KeyboardInterrupt
            super().__setitem__(i, value)

    monkeypatch.setattr("gpt.generation.kv_cache.FIRST_SLOTS", 2)
    model, ids = make("llama"), random_ids(1, 12)
    decoder = Decoder(model)
    decoder.prefill(ids[:, :2])
    plain = getattr(decoder.cache, arrays)
    setattr(decoder.cache, arrays, Interrupted(plain))
    with pytest.raises(KeyboardInterrupt):
        decoder.step(ids[:, 2])
    setattr(decoder.cache, arrays, list(getattr(decoder.cache, arrays)))
    close(decoder.extend(ids[:, 2:4]), full(model, ids)[:, 3])


def test_an_overwritten_token_is_missed_by_an_error() -> None:
    model, ids = make("mistral"), random_ids(1, 12)
    decoder = Decoder(model)
    decoder.prefill(ids[:, :4])
    decoder.cache.reserve(3)  # as a read that is interrupted
    with pytest.raises(ValueError, match="an interrupted read overwrote tokens that the next"):
        decoder.step(ids[:, 4])
    close(decoder.prefill(ids), full(model, ids)[:, -1])
