"""python -m gpt sample: generate text with a trained model."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from gpt.commands.arguments import Parser, add_checkpoint, add_flags, take
from gpt.commands.interactive import interact
from gpt.config import SampleConfig
from gpt.generation.beam import beam_search
from gpt.generation.generate import check_stop, cut_at_stop, decode_generated, encode_prompt, generate_text
from gpt.model import GPT
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.tokenizer import Tokenizer

DESCRIPTION = """Generate text with a trained model, and print it as it is generated.

    python -m gpt sample runs/mine --prompt "Once upon" --temperature 0.7
    python -m gpt sample runs/mine --prompt "Once upon" -n 3 --stop "The end"
    python -m gpt sample runs/mine --interactive
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt sample", usage="%(prog)s RUN [FLAG …]", description=DESCRIPTION)
    add_checkpoint(parser)
    parser.option(
        "--prompt", "text to continue (default: the token with which texts begin, or a new line)", "", metavar="TEXT"
    )
    parser.option("-n --samples", "number of texts", 1, least=1)
    parser.option("--stop", "end before TEXT; may be repeated", [], action="append", metavar="TEXT")
    parser.option("--beams", "search for the most probable text, with N beams", kind=int, least=1)
    penalty = "of the beam search: 0 compares texts by ln p, 1 by its mean over their tokens (default 1)"
    parser.option("--length-penalty", penalty, kind=float, least=0)
    parser.option("--interactive", "ask for one prompt after another; Ctrl-D quits", False)
    add_flags(parser, SampleConfig)
    args = parser.parse(arguments)
    check_flags(args)
    checkpoint = load_checkpoint(find_checkpoint(args.run), args.base)
    writer = Writer(
        checkpoint.model(), checkpoint.tokenizer, take(SampleConfig, args), args.samples, args.stop, args.beams,
        length_penalty=1.0 if args.length_penalty is None else args.length_penalty,
    )  # fmt: skip
    if args.interactive:
        interact(writer.config, writer.show)
    else:
        writer.show(args.prompt, writer.config)
    return 0


def check_flags(args: argparse.Namespace) -> None:
    """Raise ValueError if flags exclude each other, before the checkpoint is read."""
    check_stop(args.stop)
    if args.interactive and args.prompt:
        raise ValueError("--interactive asks for the prompts; leave out --prompt")
    if args.beams is None:
        if args.length_penalty is not None:
            raise ValueError("--length-penalty compares the texts of a beam search; give --beams too")
        return
    if args.interactive:
        raise ValueError("--beams and --interactive exclude each other; give the text to continue with --prompt")
    for field in dataclasses.fields(SampleConfig):
        if field.name in args and field.name != "max_new_tokens":
            flag = field.name.replace("_", "-")
            raise ValueError(f"--beams searches for the most probable text and draws nothing; leave out --{flag}")
    if args.samples > args.beams:
        raise ValueError(f"--samples {args.samples} is more than --beams {args.beams}; give more beams")


@dataclass
class Writer:
    """Print continuations of a prompt: one text as it is generated, or several, numbered."""

    model: GPT
    tokenizer: Tokenizer
    config: SampleConfig
    samples: int = 1
    stop: Sequence[str] = ()
    beams: int | None = None
    length_penalty: float = 1.0

    def show(self, prompt: str, config: SampleConfig) -> None:
        """Print the prompt and its continuations."""
        ids = encode_prompt(self.tokenizer, prompt)
        T = self.model.config.context_length
        if len(ids) > T:
            print(f"note: the prompt has {len(ids):,} tokens; the model sees only the last {T:,}", file=sys.stderr)
        echo = "" if prompt == "\n" else prompt
        if self.beams is not None:
            self._show_beams(ids, echo, config)
            return
        print(heading(1, self.samples) + echo, end="", flush=True)
        others = [""] * (self.samples - 1)
        for first, *rest in generate_text(self.model, self.tokenizer, ids, config, self.samples, stop=self.stop):
            print(first, end="", flush=True)  # the first text as it is generated, the others after it
            others = [text + new for text, new in zip(others, rest, strict=True)]
        print()
        for number, text in enumerate(others, start=2):
            print(heading(number, self.samples) + echo + text)

    def _show_beams(self, ids: list[int], echo: str, config: SampleConfig) -> None:
        """Print the best continuations that a beam search finds, each with its ln p."""
        assert self.beams is not None
        beams = beam_search(
            self.model,
            ids,
            beams=self.beams,
            max_new_tokens=config.max_new_tokens,
            length_penalty=self.length_penalty,
            end_ids=self.tokenizer.end_ids,
            complete=lambda new: any(s in decode_generated(self.tokenizer, new) for s in self.stop),
        )
        for number, beam in enumerate(beams[: self.samples], start=1):
            note = f"ln p {beam.log_probability:.3f} of {len(beam.ids)} tokens, score {beam.score:.4f}"
            text, _ = cut_at_stop(decode_generated(self.tokenizer, beam.ids), self.stop)
            print(heading(number, self.samples, f": {note}") + echo + text)
            if self.samples == 1:
                print(f"note: {note}", file=sys.stderr)


def heading(number: int, n: int, note: str = "") -> str:
    """Return the line above one of several texts; a single text has none.

    >>> heading(2, 3), heading(1, 1)
    ('=== 2 of 3 ===\\n', '')
    """
    return f"=== {number} of {n}{note} ===\n" if n > 1 else ""
