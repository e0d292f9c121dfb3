"""OpenAI's TensorFlow checkpoint: one that TensorFlow wrote (golden/tensorflow), and its tables taken apart."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from gpt.model import GPT
from gpt.pretrained import load_pretrained
from gpt.pretrained.openai import _fields, _table, _varint, read_index


def copy(golden: Path, folder: Path) -> Path:
    return Path(shutil.copytree(golden / "tensorflow", folder / "model", copy_function=shutil.copyfile))


def test_it_is_the_model_of_hugging_face(golden: Path) -> None:
    ours = GPT.from_pretrained(golden / "tensorflow")
    theirs = GPT.from_pretrained(golden / "huggingface" / "gpt2")
    assert ours.config.context_length == 72
    for name, array in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], array, err_msg=name)
    with np.load(golden / "huggingface" / "gpt2" / "expected.npz") as expected:
        np.testing.assert_allclose(ours(expected["ids"]).data, expected["logits/32"], atol=1e-4)
    assert load_pretrained(golden / "tensorflow" / "model.ckpt.index").source.endswith(
        "(OpenAI's TensorFlow checkpoint)"
    )


def test_a_number_by_hand() -> None:
    assert _varint(b"\x05", 0) == (5, 1)
    assert _varint(b"?\xac\x02", 1) == (300, 3)  # 44 + 2·128
    with pytest.raises(ValueError, match="a number has no end"):
        _varint(b"\xff" * 11, 0)


def test_a_message_by_hand() -> None:
    # field 1, a number: 0x08, 1; field 2, bytes: 0x12, length 2, "hi"; field 6, four bytes: 0x35
    assert _fields(b"\x08\x01\x12\x02hi\x35abcd") == {1: [1], 2: [b"hi"], 6: [b"abcd"]}
    for broken in (b"\x12\x03hi", b"\x35abc", b"\x0b\x01"):
        with pytest.raises(ValueError, match="a field does not fit in its message"):
            _fields(broken)


def test_a_table_by_hand() -> None:
    block = b"\x00\x02\x01abX" + b"\x01\x01\x02cYY" + struct.pack("<2I", 0, 1)  # "ab": X; "a" + "c": YY; one restart
    index = b"\x00\x01\x02z\x00" + bytes([len(block)]) + struct.pack("<2I", 0, 1)  # the block is at 0
    at = len(block) + 5  # each block is followed by its kind and a checksum
    footer = (b"\x00\x00" + bytes([at, len(index)])).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    data = block + bytes(5) + index + bytes(5) + footer
    assert list(_table(data)) == [(b"ab", b"X"), (b"ac", b"YY")]
    with pytest.raises(ValueError, match="a block is compressed"):
        list(_table(block + b"\x01" + data[len(block) + 1 :]))
    with pytest.raises(ValueError, match="does not end in the magic number"):
        list(_table(data[:-1]))


def test_the_index_tells_of_every_tensor(golden: Path) -> None:
    found = read_index(golden / "tensorflow" / "model.ckpt.index")
    assert len(found) == 16
    assert found["model/h0/attn/c_attn/w"].shape == (12, 36)  # stored as (1, 12, 36)
    assert found["model/wpe"].shape == (72, 12)


def test_files_that_do_not_fit(golden: Path, tmp_path: Path) -> None:
    folder = copy(golden, tmp_path)
    data = folder / "model.ckpt.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:-4])
    with pytest.raises(
        ValueError, match=r"model.ckpt.index: is no index .* must lie in the 12572 bytes of model.ckpt.data"
    ):
        load_pretrained(folder)
    data.unlink()
    with pytest.raises(FileNotFoundError, match="data-00000-of-00001"):
        load_pretrained(folder)
    data.write_bytes(whole)
    hparams = json.loads((folder / "hparams.json").read_text(encoding="utf-8"))
    for changed, message in (
        ({"n_layer": 2}, "12 tensors are missing, among them h.1.ln_1.weight"),
        ({"n_layer": 10**9}, "has 16 tensors, and hparams.json says 1000000000 layers"),
        ({"n_ctx": 71}, r"model/wpe: must have shape \(71, 12\) by config.json, found \(72, 12\)"),
        ({"precision": 8}, "hparams.json: precision is unknown and may change what the model computes"),
    ):
        (folder / "hparams.json").write_text(json.dumps(hparams | changed), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_pretrained(folder)
    (folder / "hparams.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"hparams.json"):
        load_pretrained(folder)
