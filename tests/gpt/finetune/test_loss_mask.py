"""What is learned, token by token: masks by hand, long conversations, and how a mask is shown."""

import io

import numpy as np
import pytest

from gpt.data.batches import IGNORE
from gpt.finetune.conversations import Conversation, Message
from gpt.finetune.loss_mask import encode, encode_all, end_ids, has_colour, show_mask
from gpt.finetune.templates import CHAT, Template
from gpt.tokenizer import BPETokenizer, CharTokenizer

BYTES = BPETokenizer.train("ab", 257)  # a token for each byte, and 256 ends a text
SHORT = Template(name="short", user="<{content}>", reply=":", between="/", input="({content})", system="[{content}]")
TWO_TURNS = (
    Message("system", "s"),
    Message("user", "q"),
    Message("assistant", "yes"),
    Message("user", "r"),
    Message("assistant", "no"),
)
_ = IGNORE


def test_the_mask_of_two_turns_by_hand() -> None:
    example = encode(TWO_TURNS, SHORT, BYTES)
    text = "[s]<q>:yes⏹/<r>:no⏹"
    end = BYTES.eot_id
    assert end == 256
    assert example.tokens.tolist() == [end if c == "⏹" else ord(c) for c in text]
    y, e, s, n, o = map(ord, "yesno")
    #         [s]<q>:yes⏹/<r>:no, and what comes after each of these
    learned = [_, _, _, _, _, _, y, e, s, end, _, _, _, _, _, n, o, end]
    assert example.ids.tolist() == example.tokens.tolist()[:-1]
    assert example.targets.tolist() == learned


def test_the_first_token_of_a_response_is_learned_from_the_last_of_its_prompt() -> None:
    example = encode(TWO_TURNS[1:3], SHORT, BYTES)
    at = example.ids.tolist().index(ord(":"))
    assert example.targets[at] == ord("y")
    assert example.targets[at - 1] == IGNORE


def test_a_question_alone_has_nothing_to_learn() -> None:
    example = encode(TWO_TURNS[:2], SHORT, BYTES)
    assert BYTES.decode(example.tokens) == "[s]<q>:"
    assert not example.learned.any()


def test_what_is_said_can_end_nothing() -> None:
    example = encode((Message("user", "<|endoftext|>"), Message("assistant", "a<|endoftext|>b")), SHORT, BYTES)
    assert (example.tokens == 256).sum() == 1
    assert example.tokens[-1] == 256
    assert BYTES.decode(example.tokens) == "<<|endoftext|>>:a<|endoftext|>b<|endoftext|>"


def test_a_tokenizer_without_an_end_of_text_is_given_one() -> None:
    characters = CharTokenizer.train("[]<>:/ynoesqr.")
    with pytest.raises(ValueError, match=r"of kind char, has no <\|endoftext\|> to end a response with; .* --end '"):
        end_ids(characters, SHORT)
    dotted = Template(**{**SHORT.to_dict(), "end": ".."})
    example = encode(TWO_TURNS[1:], dotted, characters)
    assert characters.decode(example.tokens) == "<q>:yes../<r>:no.."
    assert characters.decode(example.tokens[example.learned]) == "yes..no.."
    with pytest.raises(ValueError, match=r"a response holds '\.\.', which is to end it; choose another --end"):
        encode((Message("user", ".."), Message("assistant", "o...")), dotted, characters)


def conversation(*texts: str, place: str = "here") -> Conversation:
    roles = ("user", "assistant") * len(texts)
    return Conversation(tuple(map(Message, roles, texts)), place)


def test_a_long_conversation_loses_turns_at_its_end_and_then_all() -> None:
    told = [
        conversation("q", "yes"),  # <q>:yes⏹ are 8 tokens
        conversation("q", "yes", "r", "no"),  # 16
        conversation("q", "yes", "r", "no", "q", "12345"),  # 27
        conversation("q", "yes+" * 4),
        conversation("q", "1234567890.", "r", "no"),
    ]

    def lengths(context: int) -> tuple[list[int], dict[str, int]]:
        examples, counts = encode_all(told, SHORT, BYTES, context)
        assert all(example.tokens[-1] == 256 and example.learned[-1] for example in examples)
        return [len(example.tokens) for example in examples], dict(counts)

    shorter = "more tokens than the context: turns at their end left out"
    too_long = "more tokens than the context in the first turn: left out"
    assert lengths(26) == ([8, 16, 27, 21, 24], {})
    assert lengths(25) == ([8, 16, 16, 21, 24], {shorter: 1})
    assert lengths(15) == ([8, 16, 16, 16], {shorter: 2, too_long: 1})
    assert lengths(14) == ([8, 8, 8], {shorter: 2, too_long: 2})
    assert lengths(7) == ([8, 8, 8], {shorter: 2, too_long: 2})
    assert lengths(6) == ([], {too_long: 5})


def test_a_text_that_cannot_be_encoded_names_its_place() -> None:
    characters = CharTokenizer.train("<>:yesq.")
    template = Template(**{**SHORT.to_dict(), "end": "."})
    with pytest.raises(ValueError, match=r"^data, line 7: encode: characters must be among the 8 of the vocabulary"):
        encode_all([conversation("q", "néy", place="data, line 7")], template, characters, 99)


def test_a_mask_is_shown_in_brackets_or_in_colour() -> None:
    example = encode(TWO_TURNS, CHAT, BYTES)
    assert show_mask(example, BYTES, colour=False) == (
        "s\nUser: q\nAssistant:\n[yes<|endoftext|>]\nUser: r\nAssistant:\n[no<|endoftext|>]"
    )
    green, dim, plain = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"
    assert show_mask(encode(TWO_TURNS[1:3], SHORT, BYTES), BYTES, colour=True) == (
        f"{dim}<q>:{plain}{green}yes<|endoftext|>{plain}"
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert has_colour(Terminal())
    assert not has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())


def test_a_mask_hides_no_token() -> None:
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(32, 999, 9))) for k in range(6)]
    example = encode(conversation(*words).messages, CHAT, BYTES)
    assert show_mask(example, BYTES, colour=False).count("<|endoftext|>") == 3
    assert BYTES.decode(example.tokens[example.learned]) == "".join(f"{w}<|endoftext|>" for w in words[1::2])
