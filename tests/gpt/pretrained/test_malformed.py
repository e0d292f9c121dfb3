"""Files from anywhere: whatever is changed in them gives the same model or one clear error, in bounded memory."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpt.api  # noqa: F401  from_pretrained imports it late: the first load would count that as its memory
from gpt.commands.import_ import main
from gpt.model import GPT
from gpt.pretrained import load_pretrained

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
LIMIT = 1_000_000  # bytes; the models here take 50,000
CASES = ("gpt2", "llama", "tensorflow", "llama2c")
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "delete", "insert", "cut"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=9) | st.just(b"\xff" * 8) | st.just(b"99999999999"),
    ),
    min_size=1,
    max_size=3,
)


def edit(data: bytes, edits: list[tuple[str, float, bytes]], within: int | None = None) -> bytes:
    """Change some bytes, all among the first `within`."""
    for kind, place, what in edits:
        at = int(place * min(len(data), within or len(data)))
        after = {"set": at + len(what), "delete": at + len(what), "insert": at, "cut": len(data)}[kind]
        data = data[:at] + (what if kind in ("set", "insert") else b"") + data[after:]
    return data


def load(path: Path) -> GPT | None:
    """Load a model; None where it is refused in one line that names a file. No other error may come."""
    model, said = None, f"{path.parent}"
    tracemalloc.start()
    try:
        model = GPT.from_pretrained(path)
    except (ValueError, OSError) as error:
        said = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path.parent) in said
    assert "\n" not in said
    assert len(said) < 1500
    assert peak < LIMIT, said
    return model


def check(path: Path, edited: Path, data: bytes) -> None:
    """Load with a file that holds `data`; what comes, if anything, has finite weights."""
    original = edited.read_bytes()
    edited.write_bytes(data)
    try:
        model = load(path)
        if model is not None:
            assert all(np.isfinite(array).all() for array in model.state_dict().values())
    finally:
        edited.write_bytes(original)


@pytest.fixture(scope="module")
def llama2c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small .bin of llama2.c."""
    path = tmp_path_factory.mktemp("llama2c") / "model.bin"
    sizes = np.array([4, 5, 1, 2, 1, 9, 6], "<i4")
    n = 9 * 4 + 4 + 16 + 8 + 8 + 16 + 4 + 20 * 3 + 4 + 6 * 2
    path.write_bytes(sizes.tobytes() + np.random.default_rng(0).standard_normal(n).astype("<f4").tobytes())
    return path


@FUZZ
@given(edits=EDITS, case=st.sampled_from(["gpt2", "llama"]), header=st.booleans())
def test_safetensors(tmp_path_factory: Any, golden: Path, edits: Any, case: str, header: bool) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((golden / "huggingface" / case / name).read_bytes())
    file = folder / "model.safetensors"
    length = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    check(file, file, edit(file.read_bytes(), edits, length if header else None))


@FUZZ
@given(edits=EDITS, case=st.sampled_from(["gpt2", "llama"]))
def test_config(tmp_path_factory: Any, golden: Path, edits: Any, case: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((golden / "huggingface" / case / name).read_bytes())
    file = folder / "config.json"
    check(folder / "model.safetensors", file, edit(file.read_bytes(), edits))


def test_a_header_that_asks_for_more_layers_than_there_are_keeps_nothing(llama2c: Path) -> None:
    header = np.array([2, 1, 9_990, 1, 1, 1, 1], "<i4").tobytes()
    check(llama2c, llama2c, header + bytes(40_000))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@FUZZ
@given(data=st.data(), value=JSON, case=st.sampled_from(["gpt2", "llama", "llama3", "mistral", "qwen3"]))
def test_any_value_of_any_key(tmp_path_factory: Any, golden: Path, data: Any, value: Any, case: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((golden / "huggingface" / case / name).read_bytes())
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    key = data.draw(st.sampled_from([*sorted(fields), "rope_theta", "rope_scaling", "sliding_window"]))
    rope = fields.get("rope_parameters")
    if key == "rope_parameters" and data.draw(st.booleans()):
        value = rope | {data.draw(st.sampled_from([*sorted(rope), "type"])): value}
    text = json.dumps(fields | {key: value}).encode("utf-8", "replace")
    check(folder / "model.safetensors", folder / "config.json", text)


@FUZZ
@given(edits=EDITS)
def test_the_index_of_shards(tmp_path_factory: Any, golden: Path, edits: Any) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((golden / "huggingface" / "gpt2" / name).read_bytes())
    header = (folder / "model.safetensors").read_bytes()
    names = [n for n in json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")]) if n != "__metadata__"]
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "model.safetensors")}), encoding="utf-8")
    check(index, index, edit(index.read_bytes(), edits))


@FUZZ
@given(
    edits=EDITS,
    name=st.sampled_from(["model.ckpt.index", "model.ckpt.index", "hparams.json", "model.ckpt.data-00000-of-00001"]),
)
def test_tensorflow(tmp_path_factory: Any, golden: Path, edits: Any, name: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for file in (golden / "tensorflow").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    check(folder / "model.ckpt.index", folder / name, edit((folder / name).read_bytes(), edits))


@FUZZ
@given(edits=EDITS, header=st.booleans())
def test_llama2c(llama2c: Path, edits: Any, header: bool) -> None:
    assert load(llama2c) is not None
    check(llama2c, llama2c, edit(llama2c.read_bytes(), edits, 28 if header else None))


def spoil_header(path: Path, change: Callable[[dict[str, Any]], Any], *, repeat: str = "") -> None:
    """Write a safetensors file again with another header."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    if repeat:
        text = b'{"' + repeat.encode() + b'":{},' + text[1:]
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


LN = "transformer.ln_f.weight"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "data_offsets must satisfy begin <= end <="),
        (lambda path: path.write_bytes((2**63).to_bytes(8, "little") + path.read_bytes()[8:]), "the header may take"),
        (lambda path: path.write_bytes((99_000_000).to_bytes(8, "little") + b"{"), "the header must fit in the file"),
        (lambda path: spoil_header(path, lambda h: h[LN].update(data_offsets=[0, 32])), "overlaps|leaves a hole"),
        (lambda path: spoil_header(path, lambda h: h[LN].update(dtype="F32")), "takes 64 bytes"),
        (lambda path: spoil_header(path, lambda h: h[LN].update(dtype="F8_E4M3")), "NumPy has no 8-bit floats"),
        (lambda path: spoil_header(path, lambda h: h[LN].update(shape=[2**62, 16])), "shape must take at most"),
        (lambda path: spoil_header(path, lambda h: None, repeat=LN), "names must be unique"),
    ],
)
def test_import_says_one_line_and_writes_nothing(
    gpt2: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, message: str
) -> None:
    spoil(gpt2.weights)
    with pytest.raises(ValueError, match=message) as caught:
        main([str(gpt2.path), "--out", str(tmp_path / "out")])
    assert str(gpt2.weights) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().out == ""


def test_weights_that_are_lost_are_found_before_anything_is_written(gpt2: Any, tmp_path: Path) -> None:
    gpt2.change(lambda t: {name: a.astype(np.float32) for name, a in t.items()} | {LN: np.full(16, np.nan, np.float32)})
    from gpt.tokenizer import CharTokenizer

    CharTokenizer("abc").save(gpt2.path / "own.json")
    with pytest.raises(ValueError, match=r"ln_f.weight: holds NaN"):
        main([str(gpt2.path), "--tokenizer", str(gpt2.path / "own.json"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    assert load_pretrained(gpt2.path).model_config.n_layers == 2
