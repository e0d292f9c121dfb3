"""python -m gpt sample: write text with a trained model."""

from collections.abc import Iterator, Sequence

from gpt.checkpoint import find_checkpoint, load_checkpoint
from gpt.cli import Parser, add_flags, take
from gpt.config import SampleConfig
from gpt.generate import generate
from gpt.model import GPT
from gpt.tokenizer import Tokenizer

DESCRIPTION = """Write text with a trained model, as it comes.

    python -m gpt sample runs/mine --prompt "Once upon" --temperature 0.7
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt sample", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="folder of a run (its best checkpoint is used), or a checkpoint")
    parser.add_argument("--prompt", default="\n", help="text to go on from (default: a new line)")
    add_flags(parser, SampleConfig)
    given = parser.parse(arguments)
    config = take(SampleConfig, given)
    checkpoint = load_checkpoint(find_checkpoint(given.run))
    try:
        ids = checkpoint.tokenizer.encode_data(given.prompt)
    except ValueError as error:
        raise ValueError(f"prompt: {error}") from None
    if not ids:
        raise ValueError("prompt: must not be empty; give at least one character")
    if given.prompt != "\n":
        print(given.prompt, end="")
    for piece in write(checkpoint.model(), checkpoint.tokenizer, ids, config):
        print(piece, end="", flush=True)
    print()
    return 0


def write(model: GPT, tokenizer: Tokenizer, ids: list[int], config: SampleConfig) -> Iterator[str]:
    """Yield the text that continues `ids`, as it comes.

    A table may have more rows than the vocabulary has tokens; an id from there stands for nothing and is left out.
    """
    new = generate(model, ids, config, stop_id=tokenizer.eot_id)
    return tokenizer.decode_stream(id for id in new if id in tokenizer.vocab)
