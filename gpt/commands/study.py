"""python -m gpt study: play the backward pass of one training example, op by op, and show its attention."""

from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser, add_checkpoint
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.study.example import example_page
from nanograd.runtime.files import write_text

DESCRIPTION = """Write a page that plays one training example of a run: the loss of a text, its backward pass op by op,
and the attention of every head with its gradients. Dropout is off. The page is one file; open it in a browser.

    python -m gpt study runs/mine --text "To be, or not to be"
"""
MAX_HEADS = 32  # with attention maps on a page, unless --layer chooses one block


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt study", description=DESCRIPTION)
    add_checkpoint(parser)
    parser.option("--text", "the example; each of its tokens is predicted from those before it", required=True)
    parser.option("--tokens", "number of tokens to predict", 16, least=1)
    layer = f"block whose attention to show (default: all, or the last if they have over {MAX_HEADS} heads)"
    parser.option("--layer", layer, kind=int)
    parser.option("-o --out", "the page", "study.html", metavar="FILE")
    args = parser.parse([word.removeprefix("--ckpt=") for word in arguments if word != "--ckpt"])  # RUN's old name
    checkpoint = load_checkpoint(find_checkpoint(args.run), args.base)
    config = checkpoint.model_config
    if args.layer is not None and not 0 <= args.layer < config.n_layers:
        parser.error(f"--layer must be a block of the model, 0 to {config.n_layers - 1}, got {args.layer}")
    try:
        ids = checkpoint.tokenizer.encode(args.text)[: min(args.tokens, config.context_length) + 1]
    except ValueError as error:
        raise ValueError(f"text: {error}") from None
    if len(ids) < 2:
        raise ValueError(f"text: needs two tokens or more, one to predict from, got {len(ids)}; give a longer --text")
    layers = range(config.n_layers) if config.n_layers * config.n_heads <= MAX_HEADS else [config.n_layers - 1]
    page = example_page(checkpoint.model(), checkpoint.tokenizer, ids, layers if args.layer is None else [args.layer])
    write_text(args.out, page)
    print(f"{args.out}: {len(ids) - 1} tokens predicted, {len(page.encode()) / 1e3:.0f} kB")
    print(f"open {Path(args.out).resolve().as_uri()}")
    return 0
