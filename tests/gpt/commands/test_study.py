"""gpt study: the page of one training example, and the attention maps on it."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.commands.study import AttentionRecorder, attention_maps
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd.op import observe
from nanograd.ops.attention import attention_backward, attention_forward
from nanograd.ops.packed_attention import split_heads

Output = pytest.CaptureFixture[str]
TRAIN = "train --data text.txt --tokenizer char --d-model 16 --n-layers 2 --n-heads 2 --context-length 8 --batch-size 2"
TEXT = "The cat </script> sat on the mat.\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "text.txt").write_text(TEXT * 30, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*TRAIN.split(), "--max-steps", "2", "--warmup-steps", "1", "--out", "run"]) == 0
    return folder / "run"


def test_maps_are_what_attention_pulls_back() -> None:
    rng = np.random.default_rng(0)
    qkv, dy = rng.standard_normal((1, 5, 12)), rng.standard_normal((1, 5, 4))
    maps = attention_maps(qkv, dy, {"n_heads": 2, "causal": True})
    q, k, v = split_heads(qkv, 2, 2)
    _, saved = attention_forward(q, k, v, causal=True)
    heads = split_heads(dy, 2)[0]
    dq, dk, dv, _ = attention_backward(heads, saved)
    scale = 2**-0.5
    assert dq is not None
    np.testing.assert_allclose(maps["P"].sum(axis=-1), 1)
    np.testing.assert_allclose(maps["dS"].sum(axis=-1), 0, atol=1e-15)
    np.testing.assert_allclose(scale * maps["dS"] @ k[0], dq[0], atol=1e-15)
    np.testing.assert_allclose(scale * np.swapaxes(maps["dS"], -1, -2) @ q[0], dk[0], atol=1e-15)  # type: ignore[index]
    np.testing.assert_allclose(np.swapaxes(maps["P"], -1, -2) @ heads[0], dv[0], atol=1e-15)  # type: ignore[index]


def test_query_heads_that_share_a_key_head_have_maps_of_their_own() -> None:
    rng = np.random.default_rng(0)
    qkv, dy = (
        rng.standard_normal((1, 3, 8)),
        rng.standard_normal((1, 3, 4)),
    )  # two query heads, one of keys, one of values
    repeated = qkv.reshape(1, 3, 4, 2)[:, :, [0, 1, 2, 2, 3, 3]].reshape(1, 3, 12)
    maps = attention_maps(qkv, dy, {"n_heads": 2, "n_kv_heads": 1, "causal": True})
    for name, expected in attention_maps(repeated, dy, {"n_heads": 2, "causal": True}).items():
        assert expected.shape == (2, 3, 3)
        np.testing.assert_allclose(maps[name], expected, rtol=1e-12)


def test_layers_come_in_their_order() -> None:
    config = ModelConfig(vocab_size=5, context_length=4, d_model=4, n_layers=3, n_heads=2)
    recorder = AttentionRecorder()
    with observe(recorder):
        GPT(config, np.random.default_rng(0)).loss(np.array([[1, 2, 3]]), np.array([[2, 3, 4]])).backward()
    assert len(recorder.records) == 3
    for (qkv, _), (seen, _, _) in zip(recorder.nodes.values(), recorder.records, strict=True):
        assert seen is qkv


def test_the_page_plays_the_example(run: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "page.html"
    assert main(["study", str(run), "--text", "cat </script> sat", "--tokens", "6", "--out", str(out)]) == 0
    assert "6 tokens predicted" in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert page.count("</script>") == 1
    assert "<bdi>&lt;</bdi>" in page
    assert "<bdi>␣</bdi>" in page
    assert page.count('class="heat"') == 2 * 2 * 3  # P, dP and dS of two heads in two blocks
    assert "blocks.1.attn.w_qkv.weight" in page
    again = tmp_path / "again.html"
    main(["study", str(run), "--text", "cat </script> sat", "--tokens", "6", "--out", str(again)])
    assert again.read_bytes() == out.read_bytes()


def test_the_run_had_a_flag_before(run: Path, tmp_path: Path) -> None:
    pages = []
    for words in (
        ["--text", "The", "--ckpt", str(run)],
        [f"--ckpt={run}", "--text", "The"],
        [str(run), "--text", "The"],
    ):
        assert main(["study", *words, "--out", str(tmp_path / "page.html")]) == 0
        pages.append((tmp_path / "page.html").read_bytes())
    assert pages[0] == pages[1] == pages[2]


def test_one_layer_can_be_chosen(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert main(["study", str(run), "--text", "The cat sat", "--layer", "0", "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert page.count('class="heat"') == 2 * 3
    assert "Attention in block 0" in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--text", "T"], "text: needs two tokens or more, one to predict from, got 1"),
        (["--text", ""], "text: needs two tokens or more, one to predict from, got 0"),
        (["--text", "The ζ"], "text: "),
        (["--text", "The cat", "--layer", "2"], "--layer must be a block of the model, 0 to 1, got 2"),
        (["--text", "The cat", "--tokens", "0"], "argument --tokens: must be a whole number from 1, got '0'"),
    ],
)
def test_what_is_wrong_is_one_line(run: Path, tmp_path: Path, options: list[str], said: str, capsys: Output) -> None:
    out = tmp_path / "page.html"
    with contextlib.suppress(SystemExit):
        assert main(["study", str(run), "--out", str(out), *options]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()
