"""What a path may hold: names with and without a prefix, masks, shards, widths of float; and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.commands.import_ import main as main_import
from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.pretrained import load_pretrained
from gpt.pretrained.export import export
from gpt.pretrained.lazy_tensors import LazyTensors, lazy_tensors
from gpt.runs.safetensors import CAN_MAP, load_file, read_header
from gpt.tokenizer import BPETokenizer, to_huggingface

Tensors = dict[str, np.ndarray]


def same(ours: GPT, theirs: GPT) -> bool:
    mine, other = ours.state_dict(), theirs.state_dict()
    return mine.keys() == other.keys() and all(np.array_equal(mine[name], other[name]) for name in mine)


@pytest.fixture(scope="module")
def original(golden: Path) -> GPT:
    return GPT.from_pretrained(golden / "huggingface" / "gpt2-medium")


def test_a_matrix_is_transposed_and_a_table_is_not(gpt2: Any, original: GPT) -> None:
    tensors, _ = load_file(gpt2.path / "model.safetensors")
    state = original.state_dict()
    c_attn = tensors["transformer.h.1.attn.c_attn.weight"]
    assert c_attn.dtype == np.float16
    assert state["blocks.1.attn.w_qkv.weight"].dtype == np.float32
    assert state["blocks.1.attn.w_qkv.weight"][33, 2] == c_attn[2, 33]  # a row of k
    assert state["tok_emb.weight"][3, 5] == tensors["transformer.wte.weight"][3, 5]
    assert not original.training


@pytest.mark.parametrize("width", [np.float32, np.float64])
def test_other_widths(gpt2: Any, original: GPT, width: type) -> None:
    gpt2.change(lambda tensors: {name: a.astype(width) for name, a in tensors.items()})
    assert same(GPT.from_pretrained(gpt2.path), original)


def test_rows_are_read_a_few_at_a_time(gpt2: Any, original: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.pretrained.lazy_tensors.BLOCK", 200)  # of 64 bytes a row
    assert same(GPT.from_pretrained(gpt2.path), original)
    table = load_file(gpt2.weights)[0]["transformer.wte.weight"]
    gpt2.change(
        lambda t: t | {"transformer.wte.weight": np.where(np.arange(31)[:, None] == 30, np.float16(np.nan), table)}
    )
    with pytest.raises(ValueError, match=r"wte.weight: holds NaN"):
        GPT.from_pretrained(gpt2.path)


def test_float64_stays_where_it_is_asked_for(gpt2: Any) -> None:
    def third(tensors: Tensors) -> Tensors:
        return {name: a.astype(np.float64) / 3 for name, a in tensors.items()}

    gpt2.change(third)
    model, tensors = GPT.from_pretrained(gpt2.path, dtype=np.float64), load_file(gpt2.path / "model.safetensors")[0]
    np.testing.assert_array_equal(model.pos_emb.weight.data, tensors["transformer.wpe.weight"])  # type: ignore[union-attr]


def test_names_without_their_prefix_and_masks_are_taken(gpt2: Any, original: GPT) -> None:
    def older(tensors: Tensors) -> Tensors:
        masks = {f"h.{i}.attn.bias": np.tril(np.ones((1, 1, 72, 72), np.uint8)) for i in range(2)}
        masks |= {f"h.{i}.attn.masked_bias": np.array(-1e4, np.float32) for i in range(2)}
        return {name.removeprefix("transformer."): a for name, a in tensors.items()} | masks

    gpt2.change(older)
    assert same(GPT.from_pretrained(gpt2.path), original)


def test_a_copy_of_the_table_as_head_is_taken_and_another_is_refused(gpt2: Any, original: GPT) -> None:
    gpt2.change(lambda t: t | {"lm_head.weight": t["transformer.wte.weight"].copy()})
    assert same(GPT.from_pretrained(gpt2.path), original)
    gpt2.change(lambda t: t | {"lm_head.weight": t["transformer.wte.weight"] * np.float16(2)})
    with pytest.raises(ValueError, match=r"lm_head.weight: lm_head.weight must equal wte.weight, to which"):
        load_pretrained(gpt2.path)


def test_shards_are_one_model(gpt2: Any, original: GPT) -> None:
    gpt2.shard()
    assert same(GPT.from_pretrained(gpt2.path), original)
    assert same(GPT.from_pretrained(gpt2.path / "model.safetensors.index.json"), original)
    assert same(GPT.from_pretrained(gpt2.path / "config.json"), original)


def renamed(rename: Callable[[str], str]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {rename(key): a for key, a in tensors.items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model.", "transformer.", "module.model."])
@pytest.mark.parametrize("case", ["gpt2-medium", "gpt2-xl", "llama"])  # the last two have an lm_head too
def test_a_prefix_of_all_names_is_recognised_and_said(written: Any, case: str, prefix: str) -> None:
    model = written(case)
    expected = GPT.from_pretrained(model.path)
    assert load_pretrained(model.path).names == ""
    model.change(renamed(lambda name: prefix + name))
    assert load_pretrained(model.path).names == f"every tensor's name begins with {prefix!r}, which is left out"
    assert same(GPT.from_pretrained(model.path), expected)


def test_the_familys_own_prefix_may_be_missing(written: Any) -> None:
    model = written("llama")
    expected = GPT.from_pretrained(model.path)
    model.change(renamed(lambda name: name.removeprefix("model.")))
    assert load_pretrained(model.path).names == "the tensors' names lack the usual 'model.'"
    assert same(GPT.from_pretrained(model.path), expected)
    model.change(renamed(lambda name: "module." + name))
    assert same(GPT.from_pretrained(model.path), expected)


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: a for key, a in tensors.items() if key != name}


def with_(name: str, array: Any) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: np.asarray(array)}


LN = "transformer.ln_f.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("transformer.h.1.mlp.c_fc.bias"),
            r"1 tensors are missing, among them h.1.mlp.c_fc.bias; are these all",
        ),
        (
            renamed(lambda name: name.replace("c_fc.bias", "c_fc.base_layer.bias")),
            r"2 tensors are missing, among them h.0.mlp.c_fc.bias, and there is h.\d.mlp.c_fc.base_layer.bias; are these",
        ),
        (
            renamed(lambda name: name if "ln_f" in name else "module." + name),
            r"tensors are missing, among them wte.weight, and there is module.transformer.",
        ),
        (with_("transformer.h.2.ln_1.bias", np.ones(16)), r"h.2.ln_1.bias: is no tensor of this model as config.json"),
        (with_("ln_f.weight", np.ones(16)), r"is stored with and without the prefix 'transformer.'"),
        (with_(LN, np.ones(15, np.float32)), r"must have shape \(16,\) by config.json, found \(15,\)"),
        (with_(LN, np.ones(16, np.int8)), r"must be F16, BF16, F32 or F64; quantised weights cannot be read, found I8"),
        (with_(LN, np.full(16, np.nan, np.float32)), r"ln_f.weight: holds NaN: the weights are damaged"),
        (with_(LN, np.array([1] * 15 + [-np.inf], np.float16)), r"ln_f.weight: holds infinity"),
        (with_(LN, np.full(16, 1e300)), r"ln_f.weight: holds float64 too large for float32"),
    ],
)
def test_tensors_that_are_wrong(gpt2: Any, change: Callable[[Tensors], Tensors], message: str) -> None:
    gpt2.change(change)
    with pytest.raises(ValueError, match=message):
        GPT.from_pretrained(gpt2.path)


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/x.safetensors", "a/x.safetensors", "a\\x.safetensors", "C:x.safetensors", "",
     ".x.safetensors", "x.bin", "x\n.safetensors", 3, None, ["x.safetensors"]],
)  # fmt: skip
def test_an_index_names_plain_files_beside_it(gpt2: Any, name: Any) -> None:
    index = gpt2.shard()
    (gpt2.path.parent / "x.safetensors").write_bytes(b"not to be opened")
    gpt2.index(index | {LN: name})
    with pytest.raises(
        ValueError, match=r"the file of transformer.ln_f.weight must be the plain name of a .safetensors"
    ):
        load_pretrained(gpt2.path)


def test_an_index_and_its_files_must_agree(gpt2: Any) -> None:
    index = gpt2.shard()
    first, second = sorted(set(index.values()))[:2]
    gpt2.index(index | {LN: second if index[LN] == first else first})
    with pytest.raises(
        ValueError, match=r"holds transformer.ln_f.weight, which .* says is in .*a tensor is in one file"
    ):
        load_pretrained(gpt2.path)
    gpt2.index({name: file for name, file in index.items() if name != LN})
    with pytest.raises(ValueError, match="does not know; do the files belong together"):
        load_pretrained(gpt2.path)
    gpt2.index(index | {"transformer.extra": first})
    with pytest.raises(ValueError, match=f"says that transformer.extra is in {first}, where it is not"):
        load_pretrained(gpt2.path)
    gpt2.index(index)
    (gpt2.path / first).unlink()
    with pytest.raises(FileNotFoundError, match=f"names {first}, which is not beside it"):
        load_pretrained(gpt2.path)
    gpt2.index({})
    with pytest.raises(ValueError, match=r"weight_map must give each tensor its file, found \{\}"):
        load_pretrained(gpt2.path)
    (gpt2.path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x", "a": "y"}}', encoding="utf-8")
    with pytest.raises(ValueError, match="the key 'a' is there twice"):
        load_pretrained(gpt2.path)


def test_a_link_beside_the_index_is_followed_as_in_hugging_faces_cache(gpt2: Any, original: GPT) -> None:
    blob = gpt2.path.parent / "blob"
    (gpt2.path / "model.safetensors").replace(blob)
    try:
        (gpt2.path / "model.safetensors").symlink_to(blob)
    except OSError:
        pytest.skip("this system makes no links")
    assert same(GPT.from_pretrained(gpt2.path), original)


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("pytorch_model.bin", b"PK\x03\x04"),
        ("x.pt", b"\x80\x02}"),
        ("model.pth", b"PK\x03\x04"),
        ("pytorch_model.bin", b""),
    ],
)
def test_a_pickle_is_refused(tmp_path: Path, name: str, begin: bytes) -> None:
    (tmp_path / name).write_bytes(begin + b"cos\nsystem\n")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(
            ValueError, match=r"is a pickle, a program that may do anything when it is read: .*save_pretrained\('conv"
        ):
            load_pretrained(path)


def test_what_is_not_there_is_said(gpt2: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no weights: it needs model.safetensors .* and config.json"):
        load_pretrained(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        load_pretrained(tmp_path / "nothing")
    (gpt2.path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config.json is missing: it describes the model"):
        load_pretrained(gpt2.path)
    (tmp_path / "x.txt").write_text("?", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"must be a .safetensors file, its .index.json, a .ckpt.index or llama2.c's .bin"
    ):
        load_pretrained(tmp_path / "x.txt")


def test_more_layers_than_tensors_are_refused_before_they_are_listed(gpt2: Any) -> None:
    gpt2.config(n_layer=2**31)
    with pytest.raises(ValueError, match=r"has 28 tensors, and config.json says 2147483648 layers"):
        load_pretrained(gpt2.path)


def test_the_tokenizer_beside_the_weights(gpt2: Any) -> None:
    assert load_pretrained(gpt2.path).tokenizer is None
    assert "must have a tokenizer.json" in load_pretrained(gpt2.path).no_tokenizer
    tokenizer = BPETokenizer.train("the cat", 256, special_tokens=())
    (gpt2.path / "tokenizer.json").write_text(json.dumps(to_huggingface(tokenizer)), encoding="utf-8")
    assert "the tokenizer has 256 tokens, the model 31" in load_pretrained(gpt2.path).no_tokenizer
    with pytest.raises(ValueError, match="the tokenizer has 256 tokens, the model 31"):
        load_pretrained(gpt2.path, gpt2.path / "tokenizer.json")


@pytest.mark.parametrize("shift", [0, 1])  # where the data begins decides whether float32 numbers are aligned
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_stay_in_the_file_where_they_can_and_are_never_written(
    tmp_path: Path, shift: int, dtype: type[np.floating[Any]]
) -> None:
    path, x = tmp_path / "model.safetensors", np.arange(6, dtype=np.float32).reshape(2, 3)
    header = json.dumps({"x": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}})
    text = header.ljust(len(header) + -len(header) % 8 + shift).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + x.tobytes())
    before = path.read_bytes()
    tensor = lazy_tensors(path, read_header(path)[0])
    array = LazyTensors(tensor).arrays(np.dtype(dtype))["x"]
    assert np.array_equal(array, x)
    assert array.dtype == dtype
    assert array.flags.aligned
    assert (array.base is not None) is (shift == 0 and dtype == np.float32 and CAN_MAP)  # a view of the mapped file
    array[0] = 7
    assert array[0].tolist() == [7, 7, 7]
    assert path.read_bytes() == before


PEAK = """
import re, sys
from pathlib import Path
import numpy as np
import gpt.api  # modules take memory too
from gpt.generation.decoder import Decoder
from gpt.model import GPT
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text(encoding="ascii"))[1])
before = peak()
model = GPT.from_pretrained(sys.argv[1])
if sys.argv[2:]:
    Decoder(model).step(np.array([int(sys.argv[2])]))
print(peak() - before)
"""


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of its memory in /proc")


def peak_of_loading(path: Path, *prompt: str) -> int:
    """Return by how much opening a model, and the first token, raises the peak of a new process's memory, in bytes."""
    command = [sys.executable, "-c", PEAK, str(path), *prompt]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@LINUX
def test_loading_takes_little_more_than_the_model(tmp_path: Path) -> None:
    config = ModelConfig(vocab_size=16000, context_length=64, d_model=512, n_layers=8, n_heads=8)
    model = GPT(config, init=False)
    size = sum(p.data.nbytes for p in model.parameters())  # 133 MB, a quarter of it one table
    export(tmp_path / "out", config, model.state_dict(), None)
    assert size < peak_of_loading(tmp_path / "out") < 1.1 * size


@LINUX
@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:21 bytes")  # that have no token
def test_smollm2_takes_its_size_once_as_a_folder_and_as_a_checkpoint_with_the_first_token(
    smollm2: Path, tmp_path: Path
) -> None:
    size = (smollm2 / "model.safetensors").stat().st_size  # 538 MB
    assert peak_of_loading(smollm2, "1") < 1.1 * size
    assert main_import([str(smollm2), "--out", str(tmp_path / "run")]) == 0
    assert peak_of_loading(tmp_path / "run", "1") < 1.1 * size


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("model-q4.gguf", "GGUF is not read"),
        ("adapter_model.safetensors", r"merge them into their base with its merge_and_unload\(\)"),
        ("README.md", "for llama2.c, give the .bin itself"),
    ],
)
def test_a_folder_with_weights_of_another_kind_says_so(tmp_path: Path, name: str, way_out: str) -> None:
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(FileNotFoundError, match=f"holds no weights: it needs model.safetensors .*; {way_out}$"):
        load_pretrained(tmp_path)
