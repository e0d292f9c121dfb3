"""gpt study: the page of one training example, and the attention maps on it."""

import contextlib
from pathlib import Path

import pytest

from gpt.__main__ import main

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


def test_the_page_plays_the_example(run: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "page.html"
    assert main(["study", str(run), "--text", "cat </script> sat", "--tokens", "6", "--out", str(out)]) == 0
    assert "6 tokens predicted" in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert page.count("</script>") == page.count("<script") == 1  # its arrays are too many to explain their entries
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
        ([], "the following arguments are required: --text"),
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


@pytest.mark.parametrize("topic", ["merges", "sampling", "cache"])
def test_a_topic_has_a_page_without_a_run(
    topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study", topic]) == 0
    assert f"{topic}.html: " in capsys.readouterr().out
    assert len((tmp_path / f"{topic}.html").read_bytes()) < 150_000
    assert main(["study", topic, "--format", "text"]) == 0
    assert "\nSources\n" in capsys.readouterr().out


def test_topics_take_a_run_and_a_text(run: Path, tmp_path: Path) -> None:
    for topic, words in (("sampling", "the 6 tokens of “The ca”"), ("cache", "this run&#x27;s model")):
        out = tmp_path / f"{topic}.html"
        assert main(["study", topic, str(run), "--text", "The ca", "--out", str(out)]) == 0
        assert words in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sampling", "--text", "a"], "--text is read by a model; give a RUN before it"),
        (["cache", "RUN"], "a RUN needs a text to read; give one with --text"),
        (["merges", "--text", ""], "merges: the text must have 1 to 300 characters, got 0"),
        (["merges", "RUN", "--tokenizer", "t.json"], "leave out --tokenizer t.json, or leave out"),
        (["merges", "RUN"], "the tokenizer must be bpe, got char"),
    ],
)
def test_what_is_wrong_with_a_topic_is_one_line(run: Path, words: list[str], said: str, capsys: Output) -> None:
    assert main(["study", *(str(run) if word == "RUN" else word for word in words)]) != 0
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
