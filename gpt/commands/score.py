"""python -m gpt score: the probability that a model gives a text, token by token."""

import json
import math
from collections.abc import Sequence

from gpt.commands.arguments import Parser, add_checkpoint, add_text_or_file, parse_text_or_file
from gpt.evaluation.score import Score, token_log_probabilities
from gpt.generation.generate import start_ids
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.text.read import read_text

DESCRIPTION = """Print the ln p that a model gives each token of a text, given the tokens before it.

    python -m gpt score runs/mine "To be, or not"    each token, then the total
    python -m gpt score runs/mine --data FILE        the total for a UTF-8 text

The first token is predicted from the token that a text without a prompt continues: the beginning of the model's own texts
if it has one, else a new line. A text longer than the context is read in overlapping windows, so that each token has
context; a small --stride gives more context and takes longer.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt score", description=DESCRIPTION)
    add_checkpoint(parser)
    add_text_or_file(parser, "a UTF-8 text to score instead")
    parser.option("--stride", "distance between windows in tokens (default: half the context)", kind=int, least=1)
    parser.option("--json", "print JSON lines: an object for each token, then the total", False)
    args = parse_text_or_file(parser, arguments)
    checkpoint = load_checkpoint(find_checkpoint(args.run), args.base)
    tokenizer = checkpoint.tokenizer
    text = args.text if args.data is None else read_text(args.data)
    try:
        ids = tokenizer.encode_data(text)
    except ValueError as error:
        raise ValueError(f"text: {error}") from None
    if not ids:
        raise ValueError("text: must not be empty; give at least one character")
    log_p = token_log_probabilities(checkpoint.model(), start_ids(tokenizer)[-1:] + ids, stride=args.stride)
    tokens = [tokenizer.decode_bytes([id]) for id in ids]
    score = Score(len(ids), len(text.encode("utf-8")), float(log_p.sum()))
    if args.json:
        for id, token, value in zip(ids, tokens, log_p.tolist(), strict=True):
            print(json.dumps({"id": id, "token": token.decode("utf-8", "replace"), "log_probability": value}))
        totals = ("tokens", "bytes", "log_probability", "loss", "perplexity", "bits_per_byte")
        print(json.dumps({name: getattr(score, name) for name in totals}))
        return 0
    if args.data is None:
        print("    ln p         p  token")
        for token, value in zip(tokens, log_p.tolist(), strict=True):
            print(f"{value:8.3f}  {math.exp(value):8.3%}  {token.decode('utf-8', 'backslashreplace')!r}")
    print(f"{score.tokens:,} tokens, {score.bytes:,} bytes: ln p {score.log_probability:,.3f}\n{score}")
    return 0
