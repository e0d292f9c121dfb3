"""python -m gpt chat: talk with a model that learned to answer."""

import sys
from collections.abc import Sequence

from gpt.commands.arguments import Parser, add_flags, take
from gpt.commands.interactive import interact
from gpt.config import SampleConfig
from gpt.finetune.chat import answer, recent
from gpt.finetune.conversations import ASSISTANT, SYSTEM, USER, Message
from gpt.finetune.loss_mask import end_ids
from gpt.finetune.templates import Template, load_template
from gpt.model import GPT
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.tokenizer import Tokenizer

DESCRIPTION = """Talk with a model that `finetune instruct` taught to answer: one line is one message.

    python -m gpt chat runs/mine
    echo "What is the plural of mouse?" | python -m gpt chat runs/mine

What was said before is read again with every message, as far as the context holds it: the oldest turns are dropped, and
that is said. Ctrl-C stops an answer, which stays as far as it came; Ctrl-D leaves.
"""
GREETING = "Say something; /reset begins anew, /help says what else. Ctrl-D leaves."
HELP = """Each line is a message. Ctrl-C stops an answer, Ctrl-D leaves.
  /help             this, and what is set
  /reset            forget what was said
  /quit             leave
  /temperature 0.5  set it for the answers that follow; so with all of these:"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt chat", description=DESCRIPTION)
    parser.add_argument("run", metavar="CKPT", help="folder of a run (its best checkpoint is used), or a checkpoint")
    parser.add_argument("--template", metavar="NAME", help="alpaca, chat or a JSON file (default: the checkpoint's)")
    parser.add_argument("--base", metavar="FILE", help="where the base of LoRA adapters is, if it was moved")
    parser.add_argument("--system", metavar="TEXT", help="what the system says, before all (default: the template's)")
    add_flags(parser, SampleConfig)
    given = parser.parse(arguments)
    config = take(SampleConfig, given)
    checkpoint = load_checkpoint(find_checkpoint(given.run), given.base)
    if given.template is not None:
        template = load_template(given.template)
    elif checkpoint.task is not None and checkpoint.task.template:
        template = Template.from_dict(checkpoint.task.template)
    else:
        raise ValueError(
            f"{checkpoint.path} has no template, so it was not trained to answer: teach it with `python -m gpt finetune "
            "instruct`, let it continue texts with `sample`, or name the --template that it was trained with"
        )
    end_ids(checkpoint.tokenizer, template)  # says so now where there is none
    chat = Chat(checkpoint.model(), checkpoint.tokenizer, template, given.system)
    interact(config, chat.say, greeting=GREETING, explain=HELP, commands={"/reset": chat.reset})
    return 0


class Chat:
    """What was said, and a model that answers to it."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, template: Template, system: str | None = None) -> None:
        self.model, self.tokenizer, self.template = model, tokenizer, template
        self.begin = [] if system is None else [Message(SYSTEM, system)]
        self.reset()

    def reset(self) -> None:
        """Forget what was said."""
        self.messages = list(self.begin)

    def say(self, text: str, config: SampleConfig) -> None:
        """Print the answer to what the user says, as it comes; both are remembered.

        A quarter of the context is kept free for the answer, or less where max_new_tokens is. An answer that is stopped,
        by Ctrl-C, is remembered as far as it came; if nothing came, the question is forgotten too.
        """
        if not text.strip():
            raise ValueError("say something; an empty line is no message")
        T = self.model.config.context_length
        most = T - min(config.max_new_tokens, T // 4)
        messages, dropped = recent([*self.messages, Message(USER, text)], self.template, self.tokenizer, most)
        coming = answer(self.model, self.tokenizer, self.template, messages, config)
        if dropped:
            print(
                f"note: forgotten, as the context of {T:,} tokens is full: the oldest {turns(dropped)}", file=sys.stderr
            )
        pieces: list[str] = []
        try:
            for piece in coming:
                pieces.append(piece)
                print(piece, end="", flush=True)
            print()
        finally:
            if said := "".join(pieces):
                self.messages = [*messages, Message(ASSISTANT, said)]


def turns(n: int) -> str:
    """Count turns in words.

    >>> turns(1), turns(2)
    ('turn', '2 turns')
    """
    return "turn" if n == 1 else f"{n} turns"
