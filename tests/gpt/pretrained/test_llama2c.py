"""The .bin of llama2.c and its tokenizer: against a plain writing-down of what run.c computes."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.__main__ import main
from gpt.model import GPT
from gpt.pretrained import load_pretrained
from gpt.tokenizer import ScoredTokenizer, tokenizer_from_dict

DIM, HIDDEN, LAYERS, HEADS, KV, V, T = 12, 14, 2, 3, 1, 270, 9
D = DIM // HEADS
WORDS = [" ", "a", "b", "c", "ab", " a", "bc", " ab", "é", "abc", "aa"]
PIECES = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{n:02X}>" for n in range(256)), *WORDS]
SCORES = [0.0] * 263 + [-1.0, -2.0, -3.0, -0.5, 0.0, -4.0, -2.5]  # of ab, " a", bc, " ab", é, abc, aa


def weights(*, untied: bool = False) -> dict[str, np.ndarray]:
    """Return run.c's weights by its names, in the order of the file."""
    rng = np.random.default_rng(0)
    shapes = {
        "emb": (V, DIM), "rms_att": (LAYERS, DIM), "wq": (LAYERS, DIM, DIM), "wk": (LAYERS, KV * D, DIM),
        "wv": (LAYERS, KV * D, DIM), "wo": (LAYERS, DIM, DIM), "rms_ffn": (LAYERS, DIM), "w1": (LAYERS, HIDDEN, DIM),
        "w2": (LAYERS, DIM, HIDDEN), "w3": (LAYERS, HIDDEN, DIM), "rms_final": (DIM,), "real": (T, D // 2),
        "imag": (T, D // 2), **({"head": (V, DIM)} if untied else {}),
    }  # fmt: skip
    return {name: rng.standard_normal(shape).astype("<f4") for name, shape in shapes.items()}


def write(path: Path, *, untied: bool = False, sizes: tuple[int, ...] | None = None) -> dict[str, np.ndarray]:
    w = weights(untied=untied)
    header = struct.pack("<7i", *(sizes or (DIM, HIDDEN, LAYERS, HEADS, KV, -V if untied else V, T)))
    path.write_bytes(header + b"".join(array.tobytes() for array in w.values()))
    return w


def write_tokenizer(path: Path, pieces: list[str] = PIECES) -> None:
    data = [struct.pack("<i", max(map(len, pieces)))]
    for piece, score in zip(pieces, SCORES, strict=False):
        raw = piece.encode("utf-8")
        data.append(struct.pack("<fi", score, len(raw)) + raw)
    path.write_bytes(b"".join(data))


def forward(w: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """Compute as run.c's forward does, token by token, with its loops over neighbours in RoPE."""

    def rmsnorm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        normed: np.ndarray = gain * x / np.sqrt((x * x).mean() + 1e-5)
        return normed

    def rope(x: np.ndarray, position: int) -> np.ndarray:
        x = x.copy()
        for i in range(0, len(x), 2):
            angle = position * 10000.0 ** -((i % D) / D)
            a, b = x[i], x[i + 1]
            x[i], x[i + 1] = a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)
        return x

    w = {name: array.astype(np.float64) for name, array in w.items()}
    cache: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(LAYERS)]
    logits = []
    for position, id in enumerate(ids):
        x = w["emb"][id].copy()
        for layer in range(LAYERS):
            h = rmsnorm(x, w["rms_att"][layer])
            q = rope(w["wq"][layer] @ h, position)
            cache[layer].append((rope(w["wk"][layer] @ h, position), w["wv"][layer] @ h))
            found = []
            for head in range(HEADS):
                kv = head // (HEADS // KV)
                part = slice(kv * D, kv * D + D)
                scores = np.array([q[head * D : head * D + D] @ k[part] for k, _ in cache[layer]]) / np.sqrt(D)
                p = np.exp(scores - scores.max())
                found.append(sum(each * v[part] for each, (_, v) in zip(p / p.sum(), cache[layer], strict=True)))
            x += w["wo"][layer] @ np.concatenate(found)
            h = rmsnorm(x, w["rms_ffn"][layer])
            gate, up = w["w1"][layer] @ h, w["w3"][layer] @ h
            x += w["w2"][layer] @ (gate / (1 + np.exp(-gate)) * up)
        logits.append(w.get("head", w["emb"]) @ rmsnorm(x, w["rms_final"]))
    return np.array(logits)


@pytest.mark.parametrize("untied", [False, True])
def test_logits_are_those_of_run_c(tmp_path: Path, untied: bool) -> None:
    w = write(tmp_path / "model.bin", untied=untied)
    ids = [1, 260, 5, 268, 100, 100, 7, 3, 261]
    model = GPT.from_pretrained(tmp_path / "model.bin", dtype="float64")
    assert model.config.tie_embeddings != untied
    np.testing.assert_allclose(model(np.array([ids])).data[0], forward(w, ids), rtol=1e-9)


def test_the_tokenizer_beside_it_is_read(tmp_path: Path) -> None:
    write(tmp_path / "model.bin")
    pretrained = load_pretrained(tmp_path / "model.bin")
    assert pretrained.tokenizer is None
    assert "tokenizer.bin" in pretrained.no_tokenizer
    write_tokenizer(tmp_path / "tokenizer.bin")
    tokenizer = load_pretrained(tmp_path / "model.bin").tokenizer
    assert isinstance(tokenizer, ScoredTokenizer)
    assert tokenizer.pieces == PIECES
    np.testing.assert_allclose(tokenizer.scores, SCORES)
    assert tokenizer_from_dict(tokenizer.to_dict()).sha256 == tokenizer.sha256


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((DIM, HIDDEN, LAYERS, HEADS, KV, V + 1, T), "bytes, where its header asks for"),
        ((DIM, HIDDEN, LAYERS, HEADS, KV, -V, T), "bytes, where its header asks for"),
        ((DIM, HIDDEN, 0, HEADS, KV, V, T), "no .bin of llama2.c"),
        ((DIM, HIDDEN, LAYERS, 5, KV, V, T), "no .bin of llama2.c"),
        ((DIM, HIDDEN, LAYERS, HEADS, 2, V, T), "no .bin of llama2.c"),
        ((DIM, HIDDEN, 2**31 - 1, HEADS, KV, V, T), "too few for the 2147483647 layers"),
        ((0x616B3432, HIDDEN, LAYERS, HEADS, KV, V, T), "--version 0"),
        ((12, HIDDEN, LAYERS, 4, 4, V, T), "position=rope|asks for"),
    ],
)
def test_a_file_that_is_not_what_its_header_says(tmp_path: Path, sizes: tuple[int, ...], message: str) -> None:
    write(tmp_path / "model.bin", sizes=sizes)
    with pytest.raises(ValueError, match=message):
        load_pretrained(tmp_path / "model.bin")


@pytest.mark.parametrize("dim", [640, 896, 1152, 1408])
def test_a_width_that_begins_like_a_pickle_is_none(tmp_path: Path, dim: int) -> None:
    (tmp_path / "model.bin").write_bytes(struct.pack("<7i", dim, HIDDEN, 1, 4, 4, V, T))
    with pytest.raises(ValueError, match="28 bytes, where its header asks for"):
        load_pretrained(tmp_path / "model.bin")


def test_a_short_file(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"1234")
    with pytest.raises(ValueError, match="begins with 28 bytes of header, found 4"):
        load_pretrained(tmp_path / "model.bin")


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    write(tmp_path / "model.bin")
    for pieces, message in (
        (PIECES[:-1], "is no tokenizer.bin of llama2.c for 270 tokens"),
        (PIECES[1:] + ["x"], "must be the bytes"),
    ):
        write_tokenizer(tmp_path / "other.bin", pieces)
        with pytest.raises(ValueError, match=message):
            load_pretrained(tmp_path / "model.bin", tmp_path / "other.bin")


def by_run_c(text: str) -> list[int]:
    """Encode as run.c does, looking for the best pair from the left again and again."""
    ids = [PIECES.index(" ")] if text else []
    for character in text:
        ids += [PIECES.index(character)] if character in PIECES else [byte + 3 for byte in character.encode()]
    while True:
        best, at, merged = -1e10, -1, -1
        for i in range(len(ids) - 1):
            pair = PIECES[ids[i]] + PIECES[ids[i + 1]]
            if pair in PIECES and SCORES[PIECES.index(pair)] > best:
                best, at, merged = SCORES[PIECES.index(pair)], i, PIECES.index(pair)
        if at < 0:
            return ids
        ids[at : at + 2] = [merged]


def test_ids_by_hand() -> None:
    tokenizer = ScoredTokenizer(PIECES, SCORES)
    assert tokenizer.encode("ab") == [PIECES.index(" ab")]  # ab first (-1), then " " + ab
    assert tokenizer.encode("aab") == [PIECES.index(" a"), PIECES.index("ab")]
    assert tokenizer.encode("ü") == [PIECES.index(" "), 3 + 0xC3, 3 + 0xBC]
    assert tokenizer.encode("") == []
    assert tokenizer.prefix + tokenizer.encode_data("ab") == [1, PIECES.index(" ab")]
    assert tokenizer.decode(tokenizer.encode("abü")) == " abü"
    assert tokenizer.eot_id == 1


@given(st.text(st.sampled_from("abc éü\n"), max_size=30))
def test_ids_are_those_of_run_c(text: str) -> None:
    tokenizer = ScoredTokenizer(PIECES, SCORES)
    ids = tokenizer.encode(text)
    assert ids == by_run_c(text) == list(tokenizer.encode_iterable(text))
    assert tokenizer.decode(ids) == (" " + text if text else "")


def test_rows_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = write(tmp_path / "model.bin")
    monkeypatch.setattr("gpt.pretrained.lazy_tensors.BLOCK", 100)  # of 48 bytes a row
    table = GPT.from_pretrained(tmp_path / "model.bin").tok_emb.weight.data
    np.testing.assert_array_equal(table, w["emb"])


@pytest.mark.parametrize("text", ["ab abc", "aab", "éab c"])
def test_a_text_is_scored_after_the_token_that_begins_every_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """The loss is that of run.c's forward from <s>, which is not scored; the bytes are those of the text."""
    w = write(tmp_path / "model.bin")
    write_tokenizer(tmp_path / "tokenizer.bin")
    ids = [1, *by_run_c(text)]
    logits = forward(w, ids[:-1])
    top = logits.max(axis=-1)
    log_p = logits[np.arange(len(ids) - 1), ids[1:]] - top - np.log(np.exp(logits - top[:, None]).sum(axis=-1))
    assert main(["import", str(tmp_path / "model.bin"), "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["score", str(tmp_path / "run"), text, "--json"]) == 0
    *tokens, total = map(json.loads, capsys.readouterr().out.splitlines())
    np.testing.assert_allclose([token["log_probability"] for token in tokens], log_p, rtol=1e-4)
    assert (total["tokens"], total["bytes"]) == (len(ids) - 1, len(text.encode()))
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    assert main(["eval", str(tmp_path / "run"), "--data", str(tmp_path / "text.txt")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"text.txt: {len(ids) - 1} tokens, {len(text.encode())} bytes"
    assert float(second.split()[1]) == pytest.approx(-log_p.mean(), rel=1e-4)
