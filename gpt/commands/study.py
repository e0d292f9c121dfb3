"""python -m gpt study: play one training example forward and backward, op by op, and show its attention."""

from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser, add_checkpoint
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.study.example import example_page
from gpt.study.tiny import EXAMPLE, tiny_model
from nanograd.runtime.files import write_text

DESCRIPTION = """Write a page that plays one training example of a run: the forward and the backward pass of a text, op by
op, and the attention of every head with its gradients. Dropout is off. The page is one file; open it in a browser.

    python -m gpt study tiny     a model of one block, with all its numbers
    python -m gpt study runs/mine --text "To be, or not to be"
"""
MAX_HEADS = 32  # with attention maps on a page, unless --layer chooses one block
MAX_UNFUSED = 4  # blocks whose attention is shown in its parts
STUDY_PAGES = "study"  # the folder in which `python -m nanograd study` writes


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt study", description=DESCRIPTION)
    add_checkpoint(parser)
    parser.option("--text", "the example; each of its tokens is predicted from those before it", metavar="TEXT")
    parser.option("--tokens", "number of tokens to predict", 16, least=1)
    layer = f"block whose attention to show (default: all, or the last if they have over {MAX_HEADS} heads)"
    parser.option("--layer", layer, kind=int)
    fused = f"attention and the loss as one step each (default: in their parts, up to {MAX_UNFUSED} blocks)"
    parser.option("--fused", fused, False)
    parser.option("-o --out", "the page", "study.html", metavar="FILE")
    args = parser.parse([word.removeprefix("--ckpt=") for word in arguments if word != "--ckpt"])  # RUN's old name
    if args.run == "tiny" and not Path("tiny").exists():
        model = tiny_model()
        text = EXAMPLE if args.text is None else args.text
    elif args.text is None:
        parser.error("the following arguments are required: --text")
    else:
        checkpoint, text = load_checkpoint(find_checkpoint(args.run), args.base), args.text
        model, model.tokenizer = checkpoint.model(), checkpoint.tokenizer
    config, tokenizer = model.config, model.tokenizer
    assert tokenizer is not None
    if args.layer is not None and not 0 <= args.layer < config.n_layers:
        parser.error(f"--layer must be a block of the model, 0 to {config.n_layers - 1}, got {args.layer}")
    try:
        ids = tokenizer.encode(text)[: min(args.tokens, config.context_length) + 1]
    except ValueError as error:
        raise ValueError(f"text: {error}") from None
    if len(ids) < 2:
        raise ValueError(f"text: needs two tokens or more, one to predict from, got {len(ids)}; give a longer --text")
    layers = range(config.n_layers) if config.n_layers * config.n_heads <= MAX_HEADS else [config.n_layers - 1]
    chosen = layers if args.layer is None else [args.layer]
    unfused = config.n_layers <= MAX_UNFUSED and not args.fused
    linked = (Path(args.out).parent / STUDY_PAGES / "softmax.html").exists()
    pages = f"{STUDY_PAGES}/" if linked else None
    page = example_page(model, tokenizer, ids, chosen, unfused=unfused, pages=pages)
    write_text(args.out, page)
    print(f"{args.out}: {len(ids) - 1} tokens predicted, {len(page.encode()) / 1e3:.0f} kB")
    if config.n_layers > MAX_UNFUSED and not args.fused:
        print(f"attention and the loss are one step each: with {config.n_layers} blocks their parts would be too many")
    if not linked:
        print(f"links to the pages of the ops: run `python -m nanograd study` in {Path(args.out).parent} before")
    print(f"open {Path(args.out).resolve().as_uri()}")
    return 0
