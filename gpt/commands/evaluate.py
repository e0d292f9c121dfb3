"""python -m gpt eval: measure a trained model's loss on a text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.commands.arguments import Parser, add_checkpoint
from gpt.data.batches import Tokens
from gpt.evaluation.score import Score
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.runs.run import VAL_TOKENS, run_tokens
from gpt.text.read import read_text
from gpt.training import evaluate, first_token
from nanograd.parallel.shards import choose_shards

BLOCK = 1 << 16  # tokens decoded at once
DESCRIPTION = """Measure a trained model on all tokens of a text, each predicted from those before it in its window.

    python -m gpt eval runs/mine                  the run's own validation text
    python -m gpt eval runs/mine --data FILE      any text

The first token is predicted from the beginning of the model's own texts; if it has none, the first token is only read. The
loss is in nats per token; perplexity is its exponential; bits per byte compare models with different tokenizers. The
windows do not overlap; python -m gpt score lets them overlap, so that every token has context.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt eval", description=DESCRIPTION)
    add_checkpoint(parser)
    parser.option("--data", "a UTF-8 text (default: the run's validation text)", metavar="FILE")
    parser.option("--batch-size", "windows at once", 32, least=1)
    options = parser.parse(arguments)
    checkpoint = load_checkpoint(find_checkpoint(options.run), options.base)
    tokenizer = checkpoint.tokenizer
    tokens: Tokens
    if options.data is not None:
        text, begin = read_text(options.data), [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        tokens = np.array(begin + tokenizer.encode_data(text))
        n_bytes = len(text.encode("utf-8")) - (0 if begin else len(tokenizer.decode_bytes(tokens[:1].tolist())))
    else:
        try:
            tokens = run_tokens(checkpoint.path.parent, VAL_TOKENS, checkpoint.state)
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{error}, or give a text with --data") from None
        blocks = (tokens[i : i + BLOCK].tolist() for i in range(1, len(tokens), BLOCK))
        n_bytes = sum(len(tokenizer.decode_bytes(ids)) for ids in blocks)
    if len(tokens) < 2:
        raise ValueError(f"data: needs two tokens or more, one to predict from, got {len(tokens)}; give --data FILE")
    shards = choose_shards(options.batch_size, checkpoint.model_config.context_length)
    begin_id = first_token(checkpoint.train_config, tokenizer)
    loss = evaluate(checkpoint.model(), tokens, options.batch_size, begin=begin_id, shards=shards)
    score = Score(len(tokens) - 1, n_bytes, -loss * (len(tokens) - 1))
    name = "validation text" if options.data is None else Path(options.data).name
    print(f"{name}: {score.tokens:,} tokens, {score.bytes:,} bytes\n{score}")
    return 0
