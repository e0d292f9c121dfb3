"""Templates: the text of a conversation, how a template is checked, the loss mask, and the gradients that it makes zero."""

import io
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nanograd
from gpt.config import ModelConfig
from gpt.data.batches import IGNORE
from gpt.finetune.conversations import Conversation, Message, split_conversations
from gpt.finetune.examples import Example, encode, encode_splits, pad_examples, response_end, show_mask, supports_colour
from gpt.finetune.sft import encode_conversation
from gpt.finetune.templates import ALPACA, CHAT, TEMPLATES, Segment, Template, load_template
from gpt.model import GPT
from gpt.tokenizer import BPETokenizer, CharTokenizer
from nanograd import ops

ASK, SAY = Message("user", "Add.", "2, 3"), Message("assistant", "5")


def test_alpaca_by_hand() -> None:
    system = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    )
    prompt = "### Instruction:\nAdd.\n\n### Input:\n2, 3\n\n### Response:\n"
    assert ALPACA.render([ASK, SAY]) == [Segment(system + prompt, False), Segment("5", True)]
    assert ALPACA.render([Message("user", "Hi"), SAY])[0].text == system + "### Instruction:\nHi\n\n### Response:\n"
    assert ALPACA.render([Message("system", "Be brief."), ASK, SAY])[0].text == "Be brief.\n\n" + prompt


def test_chat_by_hand_with_two_turns_and_a_question() -> None:
    messages = [Message("system", "S"), ASK, SAY, Message("user", "And 7?"), Message("assistant", "12"), ASK]
    assert CHAT.render(messages) == [
        Segment("S\nUser: Add.\n2, 3\nAssistant:\n", False),
        Segment("5", True),
        Segment("\nUser: And 7?\nAssistant:\n", False),
        Segment("12", True),
        Segment("\nUser: Add.\n2, 3\nAssistant:\n", False),
    ]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_prompt_is_the_same_in_training_and_in_generation(template: Template) -> None:
    conversation = [ASK, SAY, Message("user", "And 7?"), Message("assistant", "12")]
    for n in (1, 3):
        assert template.render(conversation[:n]) == template.render(conversation)[:n]


def test_messages_are_not_interpreted() -> None:
    text = "{content} {} {0} {name} ### Response:\n%s \\1"
    (segment, response) = CHAT.render([Message("user", text, text), Message("assistant", text)])
    assert segment.text == f"User: {text}\n{text}\nAssistant:\n"
    assert response.text == text


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_survives_json(template: Template) -> None:
    assert Template.from_dict(json.loads(json.dumps(template.to_dict()))) == template
    assert TEMPLATES[template.name] is template
    assert load_template(template.name) is template


def test_a_template_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "user": "Q {content}\n", "reply": "Ä ", "end": "¶"}), encoding="utf-8")
    template = load_template(path)
    assert template == Template(name="mine", user="Q {content}\n", reply="Ä ", end="¶")
    assert template.render([Message("user", "x")]) == [Segment("Q x\nÄ ", False)]
    assert load_template(path, end="§").end == "§"
    assert load_template("chat", end="\n\n").end == "\n\n"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a", "user": "{content}"}, "the field 'reply' is missing"),
        ({"name": "a", "user": "{content}", "replay": "A"}, "unknown field 'replay'; did you mean reply?; fields:"),
        ({"name": "a", "user": "Q", "reply": "A"}, "'user' must have {content} once, got 'Q'"),
        ({"name": "a", "user": "{content}{content}", "reply": "A"}, "'user' must have {content} once, got"),
        ({"name": "a", "user": "{content}", "reply": "{content}"}, "'reply' must not have {content}"),
        ({"name": "a", "user": "{content}", "reply": ""}, "'reply' must not be empty"),
        ({"name": "a", "user": 5, "reply": "A"}, "'user' must be a text, got int"),
        (["a"], "must be an object of texts, got list"),
    ],
)
def test_an_invalid_template_is_an_error(tmp_path: Path, fields: Any, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        load_template(path)
    assert str(caught.value).startswith(f"{path}: template: ")
    assert message in str(caught.value)


def test_an_unknown_template_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got 'alpacca', which is no file; did you mean alpaca\?"):
        load_template("alpacca")
    path = tmp_path / "mine.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.json: it is not JSON: "):
        load_template(path)


# Tokens and loss mask


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
    expected = [_, _, _, _, _, _, y, e, s, end, _, _, _, _, _, n, o, end]
    assert example.ids.tolist() == example.tokens.tolist()[:-1]
    assert example.targets.tolist() == expected


def test_the_first_token_of_a_response_is_learned_from_the_last_of_its_prompt() -> None:
    example = encode(TWO_TURNS[1:3], SHORT, BYTES)
    at = example.ids.tolist().index(ord(":"))
    assert example.targets[at] == ord("y")
    assert example.targets[at - 1] == IGNORE


def test_a_question_alone_has_an_empty_mask() -> None:
    example = encode(TWO_TURNS[:2], SHORT, BYTES)
    assert BYTES.decode(example.tokens) == "[s]<q>:"
    assert not example.loss_mask.any()


def test_a_special_token_in_a_message_is_text() -> None:
    example = encode((Message("user", "<|endoftext|>"), Message("assistant", "a<|endoftext|>b")), SHORT, BYTES)
    assert (example.tokens == 256).sum() == 1
    assert example.tokens[-1] == 256
    assert BYTES.decode(example.tokens) == "<<|endoftext|>>:a<|endoftext|>b<|endoftext|>"


def test_a_tokenizer_without_end_of_text_needs_an_end() -> None:
    characters = CharTokenizer.train("[]<>:/ynoesqr.")
    with pytest.raises(ValueError, match=r"of kind char, has no <\|endoftext\|> to end a response; .* --end '"):
        response_end(characters, SHORT)
    dotted = Template(**{**SHORT.to_dict(), "end": ".."})
    example = encode(TWO_TURNS[1:], dotted, characters)
    assert characters.decode(example.tokens) == "<q>:yes../<r>:no.."
    assert characters.decode(example.tokens[example.loss_mask]) == "yes..no.."
    with pytest.raises(ValueError, match=r"a response contains '\.\.', which is to end it; choose another --end"):
        encode((Message("user", ".."), Message("assistant", "o...")), dotted, characters)


def conversation(*texts: str, location: str = "here") -> Conversation:
    roles = ("user", "assistant") * len(texts)
    return Conversation(tuple(map(Message, roles, texts)), location)


def test_a_long_conversation_loses_its_last_turns_or_is_left_out() -> None:
    conversations = [
        conversation("q", "yes"),  # <q>:yes⏹ are 8 tokens
        conversation("q", "yes", "r", "no"),  # 16
        conversation("q", "yes", "r", "no", "q", "12345"),  # 27
        conversation("q", "yes+" * 4),
        conversation("q", "1234567890.", "r", "no"),
    ]

    def lengths(context: int) -> tuple[list[int], dict[str, int]]:
        encoded = [encode_conversation(c, SHORT, BYTES, context) for c in conversations]
        examples = [example for example, _ in encoded if example is not None]
        assert all(example.tokens[-1] == 256 and example.loss_mask[-1] for example in examples)
        assert all(len(example) == len(example.ids) for example in examples)
        return [len(example.tokens) for example in examples], dict(Counter(rule for _, rule in encoded if rule))

    shorter = "more tokens than the context: turns at their end left out"
    too_long = "more tokens than the context in the first turn: left out"
    assert lengths(26) == ([8, 16, 27, 21, 24], {})
    assert lengths(25) == ([8, 16, 16, 21, 24], {shorter: 1})
    assert lengths(15) == ([8, 16, 16, 16], {shorter: 2, too_long: 1})
    assert lengths(14) == ([8, 8, 8], {shorter: 2, too_long: 2})
    assert lengths(7) == ([8, 8, 8], {shorter: 2, too_long: 2})
    assert lengths(6) == ([], {too_long: 5})


def test_a_text_that_cannot_be_encoded_names_its_location() -> None:
    characters = CharTokenizer.train("<>:yesq.")
    template = Template(**{**SHORT.to_dict(), "end": "."})
    encode_one = partial(encode_conversation, template=template, tokenizer=characters, context_length=99)
    message = r"^data: file, line 7: encode: characters must be among the 8 of the vocabulary"
    with pytest.raises(ValueError, match=message):
        encode_splits([conversation("q", "néy", location="file, line 7")], encode_one, (0, 0), 0)


def test_every_split_is_encoded_and_what_is_left_out_is_counted_over_all() -> None:
    conversations = [conversation(f"q{n}", "yes" * (n % 2 + 1)) for n in range(8)]
    encode_one = partial(encode_conversation, template=SHORT, tokenizer=BYTES, context_length=9)
    splits, notes = encode_splits(conversations, encode_one, (0.5, 0.25), 0)
    questions = [[example.messages[0].content for example in split] for split in splits]
    order = split_conversations(conversations, (0.5, 0.25), 0)
    assert questions == [[c.question.content for c in split if c.messages[1].content == "yes"] for split in order]
    assert sum(map(len, splits)) == 4
    assert notes == ["4 with more tokens than the context in the first turn: left out"]


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


def test_colour_is_for_terminals_that_support_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert supports_colour(Terminal())
    assert not supports_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not supports_colour(Terminal())


def test_a_mask_hides_no_token() -> None:
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(32, 999, 9))) for k in range(6)]
    example = encode(conversation(*words).messages, CHAT, BYTES)
    assert show_mask(example, BYTES, colour=False).count("<|endoftext|>") == 3
    assert BYTES.decode(example.tokens[example.loss_mask]) == "".join(f"{w}<|endoftext|>" for w in words[1::2])


# Gradients


VOCAB = 13


def examples(*lengths: int) -> list[Example]:
    """Return examples of n + 1 random tokens; about half of them are trained on, always the last."""
    rng, made = np.random.default_rng(5), []
    for n in lengths:
        loss_mask = rng.random(n + 1) < 0.5
        loss_mask[-1] = True
        made.append(Example((), rng.integers(0, VOCAB, n + 1), loss_mask))
    return made


def small_gpt() -> GPT:
    config = ModelConfig(vocab_size=VOCAB, context_length=16, d_model=8, n_layers=2, n_heads=2)
    model = GPT(config, np.random.default_rng(1))
    for _, p in model.named_parameters():
        p.copy_(p.data + np.random.default_rng(2).standard_normal(p.shape) * 0.3)
    return model.astype(np.float64)


def test_padding_is_never_a_target() -> None:
    first = Example((), np.array([4, 5, 6, 7]), np.array([False, False, True, True]))
    second = Example((), np.array([8, 9]), np.array([False, True]))
    batch = pad_examples([first, second], filler=12)
    ids, targets = batch.rows
    assert ids.tolist() == [[4, 5, 6], [8, 12, 12]]
    assert targets.tolist() == [[IGNORE, 6, 7], [9, IGNORE, IGNORE]]
    assert batch.n_targets == 3


def test_the_filler_does_not_change_the_loss() -> None:
    model = small_gpt()
    batches = [pad_examples(examples(3, 9, 1), filler) for filler in range(VOCAB)]
    assert len({model.loss(*batch.rows, reduction="sum").item() for batch in batches}) == 1


def test_the_tokens_of_a_prompt_as_targets_change_no_gradient() -> None:
    """Other tokens outside the loss mask, as targets, leave every gradient the same, to the bit."""
    ids = np.array([[1, 2, 3, 4, 5, 6]])
    gradients = []
    for prompt in ([2, 3], [7, 8]):  # the tokens one step later, which the mask hides
        targets = Example((), np.array([1, *prompt, 4, 5, 6, 9]), np.arange(7) > 2).targets[None]
        model = small_gpt()
        model.loss(ids, targets, reduction="sum").backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        assert (gradient == gradients[1][name]).all(), name


def test_the_gradient_at_every_token_of_a_prompt_is_exactly_zero() -> None:
    """Hidden states outside the loss mask get none, and the gradient of the lm_head comes from the others alone."""
    model = GPT(
        ModelConfig(vocab_size=VOCAB, context_length=8, d_model=8, n_layers=1, n_heads=2, tie_embeddings=False),
        np.random.default_rng(0),
    ).astype(np.float64)
    assert model.head is not None
    batch = pad_examples([Example((), np.array([1, 2, 11, 4, 5, 6]), np.arange(6) > 2), *examples(7)], filler=12)
    ids, targets = batch.rows
    x = nanograd.Tensor(model.hidden_states(ids).data, requires_grad=True)
    ops.linear_cross_entropy(x, model.head.weight, targets, reduction="sum").backward()
    assert x.grad is not None
    assert ((x.grad == 0).all(axis=-1) == (targets == IGNORE)).all()
    rows = x.data[targets != IGNORE]  # (N, C)
    p = np.exp(rows @ model.head.weight.data.T)
    p /= p.sum(axis=-1, keepdims=True)
    p[np.arange(len(p)), targets[targets != IGNORE]] -= 1
    np.testing.assert_allclose(model.head.weight.grad, p.T @ rows, rtol=1e-10, atol=1e-14)


def test_inputs_after_the_last_target_get_no_embedding_gradient() -> None:
    config = ModelConfig(vocab_size=VOCAB, context_length=8, d_model=8, n_layers=1, n_heads=2, tie_embeddings=False)
    for target, has_gradient in ((4, False), (5, True)):  # the only target is token 11, or 12, which 11 predicts
        model = GPT(config, np.random.default_rng(0)).astype(np.float64)
        example = Example((), np.array([1, 2, 3, 4, 11, 12]), np.arange(6) == target)
        batch = pad_examples([example, Example((), np.array([1, 2]), np.array([False, True]))])
        model.loss(*batch.rows, reduction="sum").backward()
        gradient = model.tok_emb.weight.grad
        assert gradient is not None
        assert (gradient[11] != 0).any() == has_gradient
        assert (gradient[0] == 0).all()  # padding
        assert (gradient[12] == 0).all()
        assert (gradient[4] != 0).any()
