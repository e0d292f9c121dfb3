"""python -m gpt chat: talk with a model that has learned to answer."""

import sys
from collections.abc import Sequence

from gpt.commands.arguments import Parser, add_checkpoint, add_flags, take
from gpt.commands.interactive import interact
from gpt.config import SampleConfig
from gpt.finetune.conversations import ASSISTANT, SYSTEM, USER, Message
from gpt.finetune.examples import end_ids
from gpt.finetune.sft import answer, truncate
from gpt.finetune.templates import TEMPLATES, Template, load_template
from gpt.generation.decoder import Decoder
from gpt.model import GPT
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.tokenizer import Tokenizer

DESCRIPTION = """Talk with a model that `finetune instruct` taught to answer, or with an imported chat model.

    python -m gpt chat runs/mine
    echo "What is the plural of mouse?" | python -m gpt chat runs/mine
    python -m gpt chat runs/smollm2 --temperature 0 --system "Be brief."

One line is one message. The model keeps the keys and values of the conversation, and reads only what is new. When the
conversation exceeds the context, the oldest turns are dropped, with a note. Ctrl-C stops an answer, and keeps what it has
so far; Ctrl-D leaves.
"""
GREETING = "Write a message; /reset starts a new conversation, /help lists all commands. Ctrl-D leaves."
HELP = """Each line is a message. Ctrl-C stops an answer, Ctrl-D leaves.
  /help             this text, and the current settings
  /reset            start a new conversation
  /quit             leave
  /temperature 0.5  change a setting for the answers that follow; the settings are:"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt chat", usage="%(prog)s RUN [FLAG …]", description=DESCRIPTION)
    add_checkpoint(parser)
    parser.option("--template", f"{', '.join(TEMPLATES)} or a JSON file (default: the checkpoint's)", metavar="NAME")
    parser.option("--system", "system message (default: the template's)", metavar="TEXT")
    add_flags(parser, SampleConfig)
    args = parser.parse(arguments)
    config = take(SampleConfig, args)
    checkpoint = load_checkpoint(find_checkpoint(args.run), args.base)
    if args.template is not None:
        template = load_template(args.template)
    elif checkpoint.task is not None and checkpoint.task.template:
        template = Template.from_dict(checkpoint.task.template)
    else:
        raise ValueError(
            f"{checkpoint.path} has no template, so it was not trained to answer: teach it with `python -m gpt finetune "
            "instruct`, let it continue texts with `sample`, or name the --template that it was trained with: "
            f"{', '.join(TEMPLATES)} or a JSON file"
        )
    end_ids(checkpoint.tokenizer, template)  # raises ValueError now where there is none
    chat = Chat(checkpoint.model(), checkpoint.tokenizer, template, args.system)
    interact(config, chat.say, greeting=GREETING, explain=HELP, commands={"/reset": chat.reset})
    return 0


class Chat:
    """A conversation, and the model that answers."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, template: Template, system: str | None = None) -> None:
        self.model, self.tokenizer, self.template = model, tokenizer, template
        self.decoder = Decoder(model)  # keeps what it has read, from turn to turn
        self.system = [] if system is None else [Message(SYSTEM, system)]
        self.reset()

    def reset(self) -> None:
        """Start a new conversation."""
        self.messages = list(self.system)

    def say(self, text: str, config: SampleConfig) -> None:
        """Print the answer to the user's text while it is generated, and add both to the conversation.

        A quarter of the context is reserved for the answer, or less if max_new_tokens is. An answer that Ctrl-C stops is
        added as far as it was generated; if it is empty, the question is not added either.
        """
        if not text.strip():
            raise ValueError("write a message; an empty line is none")
        T = self.model.config.context_length
        max_tokens = T - min(config.max_new_tokens, T // 4)
        messages, n_dropped = truncate([*self.messages, Message(USER, text)], self.template, self.tokenizer, max_tokens)
        stream = answer(self.model, self.tokenizer, self.template, messages, config, self.decoder)
        if n_dropped:
            turns = f"{n_dropped} turn{'s' if n_dropped > 1 else ''}"
            print(f"note: dropped the oldest {turns}: the context of {T:,} tokens is full", file=sys.stderr)
        reply = ""
        try:
            for characters in stream:
                reply += characters
                print(characters, end="", flush=True)
            print()
        finally:
            if reply:
                self.messages = [*messages, Message(ASSISTANT, reply)]
