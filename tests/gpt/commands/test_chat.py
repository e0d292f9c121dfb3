"""python -m gpt chat: answers from a pipe, and which turns stay."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gpt.finetune.chat
from gpt.__main__ import main
from gpt.config import ModelConfig, SampleConfig, TrainConfig
from gpt.finetune.chat import Chat, answer
from gpt.finetune.conversations import Message
from gpt.finetune.templates import CHAT, Template
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, Task, TrainingState, save_checkpoint
from gpt.tokenizer import BPETokenizer
from gpt.training import make_optimizer

Output = pytest.CaptureFixture[str]
BYTES = BPETokenizer.train("ab", 257)
SHORT = Template(name="short", user="<{content}>", reply=":", between="/", system="[{content}]")


def model(context_length: int = 32) -> GPT:
    config = ModelConfig(vocab_size=257, context_length=context_length, d_model=8, n_layers=1, n_heads=2)
    made = GPT(config, np.random.default_rng(0))
    made.tok_emb.weight.copy_(made.tok_emb.weight.data * 40)
    return made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path, made, config = tmp_path_factory.mktemp("chat") / LAST, model(), TrainConfig()
    task = Task("instruct", template=SHORT.to_dict())
    save_checkpoint(path, made, make_optimizer(made, config), config, BYTES, TrainingState(), task)
    return str(path)


def talk(monkeypatch: pytest.MonkeyPatch, capsys: Output, lines: str, *words: str) -> tuple[str, str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["chat", *words]) == 0
    return capsys.readouterr()


class Echo:
    """Stands for `answer`: it answers "1", "2", …, and records the messages."""

    def __init__(self, texts: Iterator[str] | None = None) -> None:
        self.asked: list[list[Message]] = []
        self.texts = texts

    def __call__(
        self, model: GPT, tokenizer: BPETokenizer, template: Template, messages: list[Message], *_: object
    ) -> Iterator[str]:
        self.asked.append(list(messages))
        return iter(self.texts or [str(len(self.asked))])


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    echo = Echo()
    monkeypatch.setattr(gpt.finetune.chat, "answer", echo)
    return echo


def asked(echo: Echo, k: int) -> list[str]:
    return [message.content for message in echo.asked[k]]


def test_earlier_messages_are_read_again(
    checkpoint: str, echo: Echo, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    shown, errors = talk(monkeypatch, capsys, "a\nb\n/reset\nc\n/quit\nd\n", checkpoint)
    assert (shown, errors) == ("1\n2\n3\n", "")
    assert [asked(echo, k) for k in range(3)] == [["a"], ["a", "1", "b"], ["c"]]
    assert [message.role for message in echo.asked[1]] == ["user", "assistant", "user"]


def test_the_oldest_turns_are_dropped_with_a_note(
    checkpoint: str, echo: Echo, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """A quarter of 32 tokens is reserved for the answer: 24 remain. <aaaaa>:1⏹/ has 11 tokens, with the separator."""
    lines = "aaaaa\nbbbbb\nccccc\nddddddddddddddddd\n"
    shown, errors = talk(monkeypatch, capsys, lines, checkpoint)
    assert shown == "1\n2\n3\n4\n"
    assert [asked(echo, k) for k in range(4)] == [
        ["aaaaa"],
        ["aaaaa", "1", "bbbbb"],  # 11 + 8 = 19
        ["bbbbb", "2", "ccccc"],  # 30 with the first
        ["ddddddddddddddddd"],  # 20
    ]
    full = "the context of 32 tokens is full"
    assert errors == f"note: dropped the oldest 1 turn: {full}\nnote: dropped the oldest 2 turns: {full}\n"


def test_the_system_message_stays(checkpoint: str, echo: Echo, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    talk(monkeypatch, capsys, "aaaaa\nbbbbb\n/reset\nc\n", checkpoint, "--system", "be+kind")
    assert [asked(echo, k) for k in range(3)] == [["be+kind", "aaaaa"], ["be+kind", "bbbbb"], ["be+kind", "c"]]
    assert echo.asked[1][0].role == "system"


def test_mistakes_do_not_end_the_conversation(
    checkpoint: str, echo: Echo, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    shown, errors = talk(monkeypatch, capsys, "\n/rest\n/temperature x\n/temperature 0.5\na\n/help\n", checkpoint)
    lines = errors.splitlines()
    assert lines[0] == "write a message; an empty line is none"
    assert lines[1] == "unknown command /rest; did you mean /reset? /help lists all"
    assert lines[2].startswith("/temperature must be a number")
    assert shown.startswith("1\nEach line is a message.")
    assert "/reset            start a new conversation" in shown
    assert "    /temperature 0.5\n" in shown


def test_a_question_without_room_for_an_answer_changes_nothing(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    made = model()
    chat = Chat(made, BYTES, SHORT, warn=list[str]().append)
    chat.say("a", SampleConfig(max_new_tokens=4))
    before = list(chat.messages)
    assert len(before) == 2
    capsys.readouterr()
    with pytest.raises(ValueError, match="the question has 43 tokens, with its template, and the context 32: no room"):
        chat.say("q" * 40, SampleConfig())
    assert chat.messages == before
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_stops_an_answer_and_keeps_what_it_has(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def stopped() -> Iterator[str]:
        yield "so "
        yield "far"
        raise KeyboardInterrupt

    echo = Echo(stopped())
    monkeypatch.setattr(gpt.finetune.chat, "answer", echo)
    shown, errors = talk(monkeypatch, capsys, "a\nb\n", checkpoint)
    assert shown == "so far\n\n"
    assert (
        errors == "note: there is no answer, so the message is left out of the conversation\n"
    )  # to the second message
    assert asked(echo, 1) == ["a", "so far", "b"]


def test_the_real_model_answers_the_same_from_a_pipe_every_time(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    words = [checkpoint, "--max-new-tokens", "7", "--temperature", "1"]
    once = talk(monkeypatch, capsys, "a\na\n", *words)
    assert once == talk(monkeypatch, capsys, "a\na\n", *words)
    messages = [Message("user", "a")]
    first = "".join(answer(model(), BYTES, SHORT, messages, SampleConfig(max_new_tokens=7, temperature=1)))
    assert once[0].startswith(f"{first}\n")


def test_a_model_that_was_not_fine_tuned_needs_a_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    path, made, config = tmp_path / LAST, model(64), TrainConfig()
    save_checkpoint(path, made, make_optimizer(made, config), config, BYTES, TrainingState())
    assert main(["chat", str(path)]) == 1
    assert "has no template, so it was not trained to answer: teach it with `python -m gpt finetune instruct`" in (
        capsys.readouterr().err
    )
    assert talk(monkeypatch, capsys, "a\n", str(path), "--template", CHAT.name, "--max-new-tokens", "0")[0] == "\n"


def test_a_conversation_is_read_once_and_answered_as_if_read_again(capsys: Output) -> None:
    """Greedy answers are those of a decoder that begins anew, and only new tokens are read."""
    made, config = model(120), SampleConfig(max_new_tokens=9, temperature=0.0)
    chat, read = Chat(made, BYTES, SHORT, "s", warn=list[str]().append), []
    extend = chat.decoder.extend
    chat.decoder.extend = lambda ids: read.extend(ids[0].tolist()) or extend(ids)  # type: ignore[method-assign,func-returns-value]
    for turn in range(4):
        read.clear()
        chat.say(f"q{turn}", config)
        *messages, reply = chat.messages
        assert reply.content == "".join(answer(made, BYTES, SHORT, messages, config))
        if turn:  # the last token of the answer before, its end, and /<q1>:
            assert len(read) <= 2 + len("/<q1>:")
    chat.reset()
    chat.say("q0", config)
    assert len(chat.messages) == 3


def test_python_asks_and_a_closed_answer_is_kept_as_far_as_it_came(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(gpt.finetune.chat, "answer", Echo(iter(["so ", "far", " on"])))
    chat = Chat.open(checkpoint, system="be+kind")
    characters = chat.ask("a")
    assert [next(characters), next(characters)] == ["so ", "far"]
    characters.close()
    assert [message.content for message in chat.messages] == ["be+kind", "a", "so far"]
    with pytest.warns(UserWarning, match="dropped the oldest 1 turn: the context of 32 tokens is full"):
        list(chat.ask("b" * 8))
    assert capsys.readouterr() == ("", "")


def test_a_message_without_an_answer_is_left_out_and_a_cut_answer_is_said(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def stopped(*_: object) -> Iterator[str]:
        raise KeyboardInterrupt
        yield

    cut = "note: the answer is cut after max_new_tokens=4\n"
    full = "note: the answer is cut where the context of 32 tokens is full\n"
    lines = "abc\n/reset\n/max-new-tokens 200\nabc\n"
    assert talk(monkeypatch, capsys, lines, checkpoint, "--max-new-tokens", "4")[1] == cut + full
    monkeypatch.setattr(gpt.finetune.chat, "answer", stopped)
    errors = talk(monkeypatch, capsys, "a\n", checkpoint)[1]
    assert errors == "note: there is no answer, so the message is left out of the conversation\n"


def test_commands_that_take_no_value_say_so(
    checkpoint: str, echo: Echo, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    shown, errors = talk(monkeypatch, capsys, "a\n/reset now\n/help me\nb\n/reset \nc\n/quit \nd\n", checkpoint)
    assert shown == "1\n2\n3\n"
    assert [asked(echo, k) for k in range(3)] == [["a"], ["a", "1", "b"], ["c"]]
    assert errors == "".join(
        f"/{word} takes no value, got {value!r}; leave it out\n" for word, value in [("reset", "now"), ("help", "me")]
    )
