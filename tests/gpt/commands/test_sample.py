"""python -m gpt sample: several texts, stop strings, beams, and one prompt after the other."""

import io
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import gpt
from gpt.__main__ import main
from gpt.commands.interactive import changed
from gpt.config import ModelConfig, SampleConfig, TrainConfig
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, TrainingState, load_checkpoint, save_checkpoint
from gpt.tokenizer import BPETokenizer, CharTokenizer
from gpt.training import make_optimizer

ROOT = Path(gpt.__file__).parents[1]
ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TERM": "dumb", "INPUTRC": os.devnull}
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a model that writes the letters a to j and é, in some order of its own."""
    path = tmp_path_factory.mktemp("sample") / LAST
    tokenizer = CharTokenizer("\n /abcdefghij\u00e9")
    model = GPT(
        ModelConfig(vocab_size=14, context_length=8, d_model=8, n_layers=1, n_heads=2), np.random.default_rng(0)
    )
    model.tok_emb.weight.copy_(model.tok_emb.weight.data * 40)
    config = TrainConfig()
    save_checkpoint(path, model, make_optimizer(model, config), config, tokenizer, TrainingState())
    return str(path)


def run(capsys: Output, *words: str) -> str:
    assert main(["sample", *words]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    return shown


def test_several_texts_are_numbered_and_the_first_is_the_one_alone(checkpoint: str, capsys: Output) -> None:
    words = [checkpoint, "--prompt", "abc", "--max-new-tokens", "12", "--temperature", "2"]
    alone = run(capsys, *words)
    texts = run(capsys, *words, "-n", "3")
    assert texts == run(capsys, *words, "--samples", "3")
    parts = re.split(r"=== (\d) of 3 ===\n", texts)
    assert parts[0] == ""
    assert parts[1::2] == ["1", "2", "3"]
    assert parts[2] == alone
    assert all(part.startswith("abc") and len(part) == 3 + 12 + 1 for part in parts[2::2])
    assert len(set(parts[2::2])) == 3


def test_a_text_ends_before_what_stops_it(checkpoint: str, capsys: Output) -> None:
    words = [checkpoint, "--prompt", "abc", "--max-new-tokens", "40", "--temperature", "2"]
    text = run(capsys, *words)[:-1]
    stop, other = text[12:15], text[20:22]
    cut = 3 + min(text[3:].index(stop), text[3:].index(other))
    assert run(capsys, *words, "--stop", stop, "--stop", other) == text[:cut] + "\n"
    for part in run(capsys, *words, "-n", "4", "--stop", "a").split("===\n")[1:]:
        assert "a" not in part[3:]  # but in the prompt


def test_an_empty_prompt_and_a_new_line_are_the_same(checkpoint: str, capsys: Output) -> None:
    assert run(capsys, checkpoint) == run(capsys, checkpoint, "--prompt", "")
    assert run(capsys, checkpoint) == run(capsys, checkpoint, "--prompt", "\n")


def test_a_prompt_beyond_the_context_is_said_to_be_cut(checkpoint: str, capsys: Output) -> None:
    assert main(["sample", checkpoint, "--prompt", "abcdefghij", "--max-new-tokens", "9"]) == 0
    shown, errors = capsys.readouterr()
    assert errors == "note: the prompt has 10 tokens; the model sees only the last 8\n"
    assert shown.startswith("abcdefghij")
    assert main(["sample", checkpoint, "--prompt", "cdefghij", "--max-new-tokens", "9"]) == 0
    assert capsys.readouterr() == (shown[2:], "")


def test_beams_print_the_most_probable_texts_and_their_ln_p(checkpoint: str, capsys: Output) -> None:
    words = [checkpoint, "--prompt", "ab", "--max-new-tokens", "6"]
    assert main(["sample", *words, "--beams", "1"]) == 0
    shown, errors = capsys.readouterr()
    assert shown == run(capsys, *words, "--temperature", "0")
    assert re.fullmatch(r"note: ln p -\d+\.\d{3} of 6 tokens, score -\d+\.\d{4}\n", errors)
    several = run(capsys, *words, "--beams", "5", "-n", "3")
    found = re.findall(r"=== (\d) of 3: ln p (\S+) of 6 tokens, score (\S+) ===\nab([^=]{6})\n", several)
    assert [number for number, *_ in found] == ["1", "2", "3"]
    assert [float(ln_p) / 6 for _, ln_p, *_ in found] == pytest.approx([float(s) for _, _, s, _ in found], abs=1e-3)
    scores = [float(score) for _, _, score, _ in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] >= float(errors.split()[-1])
    assert len({text for *_, text in found}) == 3
    words = [checkpoint, "--prompt", "ba", "--max-new-tokens", "6"]  # after which some of the best texts have a j
    stopped = run(capsys, *words, "--beams", "5", "-n", "5", "--stop", "j")
    ended = re.findall(r"=== . of 5: ln p \S+ of (\d) tokens, score \S+ ===\nba([^=]*)\n", stopped)
    assert len(ended) == 5
    assert all(
        "j" not in text and int(n) == len(text) + (len(text) < 6) for n, text in ended
    )  # j is counted, not shown
    assert {len(text) == 6 for _, text in ended} == {True, False}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stop", ""], "stop: must not be empty, since every text begins with the empty string; leave it out"),
        (
            ["--beams", "2", "--temperature", "1"],
            "--beams searches for the most probable text and draws nothing; leave out",
        ),
        (
            ["--beams", "2", "--top-k", "1"],
            "--beams searches for the most probable text and draws nothing; leave out --top",
        ),
        (["--beams", "2", "-n", "3"], "--samples 3 is more than --beams 2; give more beams"),
        (["--beams", "2", "--interactive"], "--beams and --interactive exclude each other; give the text to continue"),
        (["--interactive", "--prompt", "a"], "--interactive asks for the prompts; leave out --prompt"),
        (["--length-penalty", "1"], "--length-penalty compares the texts of a beam search; give --beams too"),
        (["-n", "0"], "argument -n/--samples: must be a whole number from 1, got '0'"),
        (["--beams", "x"], "argument --beams: must be a whole number from 1, got 'x'"),
        (["--beams", "1", "--length-penalty=-1"], "argument --length-penalty: must be a number from 0, got '-1'"),
        (["--beams", "1", "--length-penalty=nan"], "argument --length-penalty: must be a number from 0, got 'nan'"),
        (["--beams", "1", "--length-penalty=inf"], "argument --length-penalty: must be a number from 0, got 'inf'"),
        (["--min-p", "2"], "min_p must be at most 1, got 2.0"),
        (["--repetition-penalty", "0.5"], "repetition_penalty must be at least 1, got 0.5"),
    ],
)
def test_invalid_flags_are_refused(words: list[str], message: str, checkpoint: str, capsys: Output) -> None:
    try:
        ended = main(["sample", checkpoint, *words])
    except SystemExit as stop:
        ended = int(stop.code or 0)
    shown, errors = capsys.readouterr()
    assert ended in (1, 2)
    assert shown == ""
    assert errors.removeprefix("gpt sample: ").startswith(message)
    assert errors.count("\n") == 1


# One prompt after the other


def session(lines: str, checkpoint: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["sample", checkpoint, "--interactive", "--max-new-tokens", "5", *words]) == 0


def test_each_line_of_a_pipe_is_a_prompt(checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    session("abc\n\nabc\n/seed 0\nabc", checkpoint, monkeypatch)
    shown, errors = capsys.readouterr()
    assert errors == ""
    words = [checkpoint, "--max-new-tokens", "5"]
    first = run(capsys, *words, "--prompt", "abc", "--seed", "0")
    nothing = run(capsys, *words, "--seed", "1")
    again = run(capsys, *words, "--prompt", "abc", "--seed", "2")
    assert shown == first + nothing + again + first


def test_commands_change_what_follows(checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    lines = "/temperature 0\nabc\nabc\n/max-new-tokens 2\nabc\n/help\n/quit\nabc\n"
    session(lines, checkpoint, monkeypatch)
    shown, errors = capsys.readouterr()
    assert errors == ""
    greedy = run(capsys, checkpoint, "--max-new-tokens", "5", "--temperature", "0", "--prompt", "abc")
    first, second, third, *help_lines = shown.splitlines()
    assert f"{first}\n" == f"{second}\n" == greedy
    assert third == greedy[:5]
    assert [line.split()[:2] for line in help_lines[-7:]] == [
        ["/max-new-tokens", "2"],
        ["/temperature", "0.0"],
        ["/top-k", "none"],
        ["/top-p", "none"],
        ["/min-p", "none"],
        ["/repetition-penalty", "none"],
        ["/seed", "3"],
    ]


def test_a_mistake_is_said_and_the_session_goes_on(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    lines = "/temprature 1\n/top-k many\n/top-p 2\nQ\n/\nabcdefghij\n/temperature\n"
    session(lines, checkpoint, monkeypatch)
    shown, errors = capsys.readouterr()
    assert errors.splitlines() == [
        "unknown command /temprature; did you mean /temperature? /help lists all",
        "/top-k must be a whole number or none, got 'many'",
        "top_p must be at most 1, got 2.0",
        "prompt: encode: characters must be among the 14 of the vocabulary, got 1 others: 'Q' (U+0051); "
        "train on a text that has them, or remove them from this one",
        "unknown command /; /help lists all",
        "note: the prompt has 10 tokens; the model sees only the last 8",
        "/temperature must be a number, got ''",
    ]
    assert re.fullmatch(r"abcdefghij.{5}\n", shown, re.DOTALL)


def test_a_setting_can_be_switched_off() -> None:
    assert changed(SampleConfig(top_k=3), "/top-k none").top_k is None
    assert changed(SampleConfig(), "/repetition_penalty  1.5").repetition_penalty == 1.5


def test_several_and_stopped_ones_too(checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    session("ab\n", checkpoint, monkeypatch, "-n", "2", "--stop", "c")
    shown = capsys.readouterr().out
    assert "=== 1 of 2 ===\nab" in shown
    assert "=== 2 of 2 ===\nab" in shown
    assert "c" not in shown


def test_a_pipe_in_utf_8_whatever_the_locale(checkpoint: str) -> None:
    words = [sys.executable, "-m", "gpt", "sample", checkpoint, "--interactive", "--max-new-tokens", "0"]
    env = {**ENV, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(words, input="é\nab\n".encode(), capture_output=True, env=env, timeout=60, check=True)
    assert done.stdout.replace(b"\r\n", b"\n") == "é\nab\n".encode()
    assert done.stderr == b""


def test_ctrl_c_stops_the_text_and_ctrl_d_leaves(checkpoint: str) -> None:
    pty = pytest.importorskip("pty", reason="a terminal to type into")
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "gpt", "sample", checkpoint, "--interactive", "--max-new-tokens", "1000000000"]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=ENV, start_new_session=True,
                               preexec_fn=_own_terminal)  # fmt: skip
    os.close(theirs)
    shown = ""

    def until(text: str, of_length: int = 0, keys: bytes = b"") -> None:
        """Type keys, and read until the text comes; keys that came between two reads are lost, so they come again."""
        nonlocal shown
        shown, deadline = "", time.monotonic() + 60
        os.write(ours, keys)
        while text not in shown or len(shown) < of_length:
            assert time.monotonic() < deadline, shown
            if select.select([ours], [], [], 2)[0]:
                shown += os.read(ours, 4096).decode("utf-8", "replace")
            else:
                os.write(ours, keys)

    try:
        until("Ctrl-D quits.\r\n> ")
        until("abc", of_length=200, keys=b"abc\r")  # it writes
        until("\r\n> ", keys=b"\x03")
        until("half a line", keys=b"half a line")
        until("\r\n> ", keys=b"\x03")
        until("\r\n> ", keys=b"/temperature 0\r")
        os.write(ours, b"\x04")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _own_terminal() -> None:
    """Make standard input the controlling terminal, so that Ctrl-C typed there is a signal, and one that counts.

    A shell without job control lets its background jobs ignore SIGINT, and tests that run in one pass that on.
    """
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_half_a_character_is_not_shown(tmp_path: Path, capsys: Output) -> None:
    tokenizer = BPETokenizer.train("", 257)
    model = GPT(ModelConfig(vocab_size=257, context_length=8, d_model=8, n_layers=1, n_heads=2))
    model.tok_emb.weight.copy_(np.zeros((257, 8)))
    config = TrainConfig()
    save_checkpoint(tmp_path / LAST, model, make_optimizer(model, config), config, tokenizer, TrainingState())
    shown = run(capsys, str(tmp_path), "--max-new-tokens", "200", "--stop", "\u20ac")
    loaded = load_checkpoint(tmp_path / LAST)
    assert loaded.tokenizer.sha256 == tokenizer.sha256
    assert shown.encode("utf-8").decode("utf-8") == shown  # random bytes: those that are no text are marked
    assert "\ufffd" in shown


def test_samples_follow_seed_prompt_and_length(run: Path, capsys: Output) -> None:
    def sample(*words: str) -> str:
        assert main(["sample", str(run), *words]) == 0
        return capsys.readouterr().out

    text = sample("--prompt", "The cat", "--max-new-tokens", "30")
    assert text.startswith("The cat")
    assert len(text) == len("The cat") + 30 + 1
    assert text == sample("--prompt", "The cat", "--max-new-tokens", "30")
    assert text != sample("--prompt", "The cat", "--max-new-tokens", "30", "--seed", "1")
    assert sample("--prompt", "é", "--max-new-tokens", "0") == "é\n"
    assert sample("--temperature", "0", "--seed", "1") == sample("--top-k", "1", "--seed", "2")
    assert sample("--max-new-tokens", "5", "--prompt", "\n") == sample("--max-new-tokens", "5")
