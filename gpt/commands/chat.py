"""python -m gpt chat: talk with a model that has learned to answer."""

import sys
from collections.abc import Sequence

from gpt.commands.arguments import Parser, add_checkpoint, add_flags, take
from gpt.commands.interactive import interact
from gpt.config import SampleConfig
from gpt.finetune.chat import Chat
from gpt.finetune.templates import TEMPLATES

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
    chat = Chat.open(args.run, args.template, args.system, base=args.base, warn=print_note)
    interact(config, chat.say, greeting=GREETING, explain=HELP, commands={"/reset": chat.reset})
    return 0


def print_note(note: str) -> None:
    print(f"note: {note}", file=sys.stderr)
