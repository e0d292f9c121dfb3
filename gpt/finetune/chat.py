"""A conversation with a model that has learned to answer: what `python -m gpt chat` runs, and Python programs can use.

    chat = gpt.Chat.open("runs/smollm2")
    chat.say("What is the capital of France?")            # prints the answer while it is generated
    for characters in chat.ask("And of Italy?"): …        # or yields it

The decoder keeps its key–value cache from turn to turn, so only the new message is read. If the conversation exceeds the
context, the oldest turns are dropped, and `warn` gets a note.
"""

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Generator, Iterator, Sequence
from typing import Self

from gpt.config import SampleConfig
from gpt.finetune.conversations import ASSISTANT, SYSTEM, USER, Message
from gpt.finetune.examples import encode, response_end
from gpt.finetune.templates import TEMPLATES, Template, load_template
from gpt.generation.decoder import Decoder
from gpt.generation.generate import generate_text
from gpt.model import GPT
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.text.read import Warn
from gpt.tokenizer import Tokenizer
from nanograd.runtime.files import StrPath

SAMPLING = SampleConfig()


def answer(
    model: GPT,
    tokenizer: Tokenizer,
    template: Template,
    messages: Sequence[Message],
    config: SampleConfig,
    decoder: Decoder | None = None,
    warn: Warn | None = None,
) -> Iterator[str]:
    """Return the answer to messages, the last of which is the user's, streamed as complete characters.

    It ends with the model's end of a response, after max_new_tokens, or where the context is full; `warn` shows the last
    two. The question is never cut off. A decoder keeps what it has read of a conversation from answer to answer. Raises
    ValueError where the messages alone fill the context.
    """
    ids = encode(messages, template, tokenizer).tokens.tolist()
    max_tokens = model.config.context_length + 1 - len(ids)  # the last generated token is not an input
    if max_tokens < 1:
        sizes = f"{len(ids):,} tokens, with its template, and the context {model.config.context_length:,}"
        raise ValueError(f"the question has {sizes}: no room for an answer; ask something shorter")
    limit = f"after max_new_tokens={config.max_new_tokens:,}"
    if max_tokens < config.max_new_tokens:
        limit = f"where the context of {model.config.context_length:,} tokens is full"
    cut = None if warn is None else functools.partial(warn, f"the answer is cut {limit}")
    config = dataclasses.replace(config, max_new_tokens=min(config.max_new_tokens, max_tokens))
    is_token = tokenizer.special_tokens.get(template.end) in tokenizer.end_ids
    stop = [template.end] if template.end and not is_token else []
    texts = generate_text(model, tokenizer, ids, config, stop=stop, decoder=decoder, cut=cut)
    return (text for (text,) in texts if text)


def truncate(
    messages: Sequence[Message], template: Template, tokenizer: Tokenizer, max_tokens: int
) -> tuple[list[Message], int]:
    """Drop the oldest turns until at most max_tokens remain; return the messages, and how many turns were dropped.

    The system message and the last question stay, whatever their length.
    """
    system = [message for message in messages if message.role == SYSTEM]
    rest = [message for message in messages if message.role != SYSTEM]
    n_dropped = 0
    while len(rest) > 1 and len(encode([*system, *rest], template, tokenizer).tokens) > max_tokens:
        rest = rest[2:]
        n_dropped += 1
    return [*system, *rest], n_dropped


class Chat:
    """A conversation, and the model that answers.

    model, tokenizer  the two of a checkpoint
    template          how the conversation becomes text
    decoder           holds the cache of the tokens that were read
    messages          the conversation so far
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        template: Template,
        system: str | None = None,
        *,
        warn: Warn = warnings.warn,
    ) -> None:
        """Begin a conversation; `system` is its system message, by default the template's.

        Raises ValueError where neither template nor tokenizer has an end of a response.
        """
        response_end(tokenizer, template)
        self.model, self.tokenizer, self.template, self.warn = model, tokenizer, template, warn
        self.decoder = Decoder(model)
        self.system = [] if system is None else [Message(SYSTEM, system)]
        self.reset()

    @classmethod
    def open(
        cls,
        run: StrPath,
        template: StrPath | None = None,
        system: str | None = None,
        *,
        base: StrPath | None = None,
        warn: Warn = warnings.warn,
    ) -> Self:
        """Open the model of a run or checkpoint.

        template is the name of a built-in one or a JSON file, by default the checkpoint's own; base is where the base of
        LoRA adapters is, if it has moved. Raises ValueError where there is no template.
        """
        checkpoint = load_checkpoint(find_checkpoint(run), base)
        stored = None if checkpoint.task is None else checkpoint.task.template
        if template is None and not stored:
            raise ValueError(
                f"{checkpoint.path} has no template, so it was not trained to answer: teach it with `python -m gpt "
                "finetune instruct`, let it continue texts with `sample`, or name the --template that it was trained with: "
                f"{', '.join(TEMPLATES)} or a JSON file"
            )
        used = Template.from_dict(stored) if template is None else load_template(template)
        return cls(checkpoint.model(), checkpoint.tokenizer, used, system, warn=warn)

    def reset(self) -> None:
        """Start a new conversation."""
        self.messages = list(self.system)

    def ask(
        self, text: str, config: SampleConfig = SAMPLING, *, warn: Warn | None = None
    ) -> Generator[str, None, None]:
        """Yield the answer to the user's text while it is generated, and add both to the conversation.

        A quarter of the context is reserved for the answer, or less if max_new_tokens is. An answer that is stopped, by
        Ctrl-C or by closing the iterator, is added as far as it was generated; if it is empty, neither is added. `warn`
        (default: the conversation's) gets a note where an answer is cut or empty.

        Raises ValueError for a text that is empty, or that leaves no room for an answer.
        """
        if not text.strip():
            raise ValueError("write a message; an empty line is none")
        T = self.model.config.context_length
        max_tokens = T - min(config.max_new_tokens, T // 4)
        messages, n_dropped = truncate([*self.messages, Message(USER, text)], self.template, self.tokenizer, max_tokens)
        pieces = answer(
            self.model, self.tokenizer, self.template, messages, config, self.decoder, warn := warn or self.warn
        )
        if n_dropped:
            turns = f"{n_dropped} turn{'s' if n_dropped > 1 else ''}"
            self.warn(f"dropped the oldest {turns}: the context of {T:,} tokens is full")
        reply = ""
        try:
            for characters in pieces:
                reply += characters
                yield characters
        finally:
            if not reply:
                warn("there is no answer, so the message is left out of the conversation")
            else:
                self.messages = [*messages, Message(ASSISTANT, reply)]

    def say(self, text: str, config: SampleConfig = SAMPLING) -> None:
        """Print the answer that `ask` yields, and then its notes."""
        notes: list[str] = []
        try:
            with contextlib.closing(self.ask(text, config, warn=notes.append)) as pieces:
                for characters in pieces:
                    print(characters, end="", flush=True)
            print()
        finally:
            for note in notes:
                self.warn(note)
