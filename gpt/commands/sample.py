"""python -m gpt sample: write text with a trained model."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from gpt.commands.arguments import Parser, add_flags, reader, take
from gpt.commands.interactive import interact
from gpt.config import SampleConfig
from gpt.generation.beam import beam_search
from gpt.generation.generate import start_ids, until_stop, write
from gpt.model import GPT
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.tokenizer import Tokenizer

DESCRIPTION = """Write text with a trained model, as it comes.

    python -m gpt sample runs/mine --prompt "Once upon" --temperature 0.7
    python -m gpt sample runs/mine --prompt "Once upon" -n 3 --stop "The end"
    python -m gpt sample runs/mine --interactive
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt sample", description=DESCRIPTION)
    count = reader(int, least=1)
    parser.add_argument("run", metavar="RUN", help="folder of a run (its best checkpoint is used), or a checkpoint")
    parser.add_argument("--prompt", default="", help="text to go on from (default: a new line)")
    parser.add_argument("-n", "--samples", metavar="N", type=count, default=1, help="texts to write (default 1)")
    parser.add_argument("--stop", metavar="TEXT", action="append", default=[], help="end before TEXT; may be repeated")
    parser.add_argument("--beams", metavar="N", type=count, help="search the likeliest text, keeping N at every step")
    parser.add_argument(
        "--length-penalty",
        metavar="X",
        type=reader(float, least=0),
        help="of a search: 0 compares texts by probability, 1 by the mean of their tokens (default 1)",
    )
    parser.add_argument("--interactive", action="store_true", help="ask for one prompt after the other; Ctrl-D leaves")
    parser.add_argument("--base", metavar="FILE", help="where the base of LoRA adapters is, if it has moved")
    add_flags(parser, SampleConfig)
    given = parser.parse(arguments)
    check_flags(given)
    checkpoint = load_checkpoint(find_checkpoint(given.run), given.base)
    penalty = 1.0 if given.length_penalty is None else given.length_penalty
    writer = Writer(
        checkpoint.model(),
        checkpoint.tokenizer,
        take(SampleConfig, given),
        given.samples,
        given.stop,
        given.beams,
        penalty,
    )
    if given.interactive:
        interact(writer.config, writer.show)
    else:
        writer.show(given.prompt, writer.config)
    return 0


def check_flags(given: argparse.Namespace) -> None:
    """Raise ValueError where flags exclude each other, before the checkpoint is read."""
    if not all(given.stop):
        raise ValueError("stop: must not be empty, as every text begins with that; leave it out")
    if given.interactive and given.prompt:
        raise ValueError("--interactive asks for the prompts; leave --prompt away")
    if given.beams is None:
        if given.length_penalty is not None:
            raise ValueError("--length-penalty compares the texts that a search finds; give --beams too")
        return
    if given.interactive:
        raise ValueError("--beams and --interactive exclude each other; give the text to go on from with --prompt")
    for field in dataclasses.fields(SampleConfig):
        if field.name in given and field.name != "max_new_tokens":
            flag = field.name.replace("_", "-")
            raise ValueError(f"--beams searches the likeliest text and draws nothing; leave --{flag} away")
    if given.samples > given.beams:
        raise ValueError(f"--samples {given.samples} are more than --beams {given.beams} keep; give more beams")


@dataclass
class Writer:
    """Write what continues a prompt: one text as it comes, or several, numbered."""

    model: GPT
    tokenizer: Tokenizer
    config: SampleConfig
    samples: int = 1
    stop: Sequence[str] = ()
    beams: int | None = None
    length_penalty: float = 1.0

    def show(self, prompt: str, config: SampleConfig) -> None:
        """Print the prompt and its continuations."""
        ids = self.encode(prompt)
        echo = "" if prompt == "\n" else prompt
        if self.beams is not None:
            self._show_beams(ids, echo, config)
            return
        texts = write(self.model, self.tokenizer, ids, config, n=self.samples, stop=self.stop)
        others: list[list[str]] = [[] for _ in texts[1:]]
        print(heading(1, self.samples) + echo, end="", flush=True)
        for first, *rest in zip_longest(*texts, fillvalue=""):  # the first as it comes, the others after it
            print(first, end="", flush=True)
            for pieces, piece in zip(others, rest, strict=True):
                pieces.append(piece)
        print()
        for number, pieces in enumerate(others, start=2):
            print(heading(number, self.samples) + echo + "".join(pieces))

    def _show_beams(self, ids: list[int], echo: str, config: SampleConfig) -> None:
        """Print the likeliest continuations that a beam search finds, each with its ln p."""
        assert self.beams is not None
        found = beam_search(
            self.model,
            ids,
            beams=self.beams,
            max_new_tokens=config.max_new_tokens,
            length_penalty=self.length_penalty,
            stop_id=self.tokenizer.eot_id,
            complete=lambda new: any(s in self.decode(new) for s in self.stop),
        )
        for number, beam in enumerate(found[: self.samples], start=1):
            note = f"ln p {beam.log_probability:.3f} of {len(beam.ids)} tokens, score {beam.score:.4f}"
            text = echo + "".join(until_stop([self.decode(beam.ids)], self.stop))
            print(heading(number, self.samples, f": {note}") + text)
            if self.samples == 1:
                print(f"note: {note}", file=sys.stderr)

    def encode(self, prompt: str) -> list[int]:
        """Return the ids to continue; say so where they are more than the model can see."""
        try:
            ids = self.tokenizer.encode_data(prompt) or start_ids(self.tokenizer)
        except ValueError as error:
            raise ValueError(f"prompt: {error}") from None
        T = self.model.config.context_length
        if len(ids) > T:
            print(f"note: the prompt has {len(ids):,} tokens, of which the model sees the last {T:,}", file=sys.stderr)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without those that stand for nothing."""
        return self.tokenizer.decode(id for id in ids if id in self.tokenizer.vocab)


def heading(number: int, n: int, note: str = "") -> str:
    """Return the line above one of several texts; one alone has none.

    >>> heading(2, 3), heading(1, 1)
    ('=== 2 of 3 ===\\n', '')
    """
    return f"=== {number} of {n}{note} ===\n" if n > 1 else ""
