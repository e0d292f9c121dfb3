"""python -m gpt study: pages on a training example of a run, on merges, sampling and the key-value cache."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.commands.arguments import Parser, add_base, add_checkpoint, run_path
from gpt.generation.decoder import Decoder
from gpt.generation.generate import encode_prompt
from gpt.runs.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from gpt.study import cache, merges, sampling
from gpt.study.example import example_page, word
from gpt.study.tiny import EXAMPLE, tiny_model
from gpt.tokenizer import BPETokenizer, load_tokenizer
from nanograd.runtime.files import write_text
from nanograd.study.topics.parts import Topic

DESCRIPTION = """Write a page that plays one training example of a run: the forward and the backward pass of a text, op by
op, and the attention of every head with its gradients. Dropout is off. The page is one file; open it in a browser.

    python -m gpt study tiny     a model of one block, with all its numbers
    python -m gpt study runs/mine --text "To be, or not to be"

In place of RUN a topic may stand, with a page whose numbers you change in the browser:

    python -m gpt study merges      byte-pair merges of a text, one by one
    python -m gpt study sampling    temperature, top-k, top-p and min-p
    python -m gpt study cache       the key-value cache
"""
MAX_HEADS = 32  # with attention maps on a page, unless --layer chooses one block
MAX_UNFUSED = 4  # blocks whose attention is shown in its parts
STUDY_PAGES = "study"  # the folder in which `python -m nanograd study` writes


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in TOPICS:
        return TOPICS[arguments[0]](arguments[1:])
    return study_example(arguments)


def study_example(arguments: Sequence[str]) -> int:
    """Write the page of one training example."""
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


def study_merges(arguments: Sequence[str]) -> int:
    """Write the page of byte-pair merges."""
    description = "Show the byte-pair merges of a text, one by one: those learned from it, or a tokenizer's own."
    parser = Parser(prog="python -m gpt study merges", description=description)
    parser.add_argument("run", nargs="?", metavar="RUN", type=run_path, help="apply the merges of a run's tokenizer")
    add_base(parser)
    parser.option("--text", "the text", merges.TEXT)
    parser.option("--merges", "number of merges to show", 20, least=1)
    parser.option("--tokenizer", "apply the merges of a tokenizer's file", metavar="FILE")
    add_output(parser, "merges.html")
    args = parser.parse(arguments)
    if args.run and args.tokenizer:
        raise ValueError(f"the run has a tokenizer: leave out --tokenizer {args.tokenizer}, or leave out {args.run}")
    tokenizer = None
    if args.run:
        tokenizer = load_checkpoint(find_checkpoint(args.run), args.base).tokenizer
    elif args.tokenizer:
        tokenizer = load_tokenizer(args.tokenizer)
    if tokenizer is not None and not isinstance(tokenizer, BPETokenizer):
        raise ValueError("merges: the tokenizer must be bpe, got char, which has one id per character and no merges")
    return deliver(merges.topic(args.text, args.merges, tokenizer), args.format, args.out)


def study_sampling(arguments: Sequence[str]) -> int:
    """Write the page of temperature, top-k, top-p and min-p."""
    description = "Show how the next token is chosen: of a run after a text, or by default of a short text's counts."
    parser = Parser(prog="python -m gpt study sampling", description=description)
    add_run(parser, "the text whose next token is chosen")
    add_output(parser, "sampling.html")
    args = parser.parse(arguments)
    checkpoint = optional_run(args.run, args.base, args.text)
    if checkpoint is None:
        return deliver(sampling.topic(), args.format, args.out)
    tokenizer, ids = checkpoint.tokenizer, encode_prompt(checkpoint.tokenizer, args.text)
    logits = Decoder(checkpoint.model().eval()).prefill(np.array([ids]))[0]
    words = [word(tokenizer, i) for i in range(len(logits))]
    origin = f"The distribution is that of a model, after the {len(ids)} tokens of “{args.text}”."
    return deliver(sampling.topic(sampling.keep_likely(words, logits, origin)), args.format, args.out)


def study_cache(arguments: Sequence[str]) -> int:
    """Write the page of the key-value cache."""
    description = "Show what the key-value cache saves: for a run and a text, or by default for a small random model."
    parser = Parser(prog="python -m gpt study cache", description=description)
    add_run(parser, "the text to read with and without the cache")
    add_output(parser, "cache.html")
    args = parser.parse(arguments)
    checkpoint = optional_run(args.run, args.base, args.text)
    if checkpoint is None:
        return deliver(cache.topic(), args.format, args.out)
    ids = encode_prompt(checkpoint.tokenizer, args.text)[: checkpoint.model_config.context_length]
    return deliver(cache.topic(checkpoint.model(), np.array(ids)), args.format, args.out)


def add_run(parser: Parser, text: str) -> None:
    """Add the arguments of a page that takes a run, or none."""
    parser.add_argument("run", nargs="?", metavar="RUN", type=run_path, help="a run, or a checkpoint")
    add_base(parser)
    parser.option("--text", text, metavar="TEXT")


def optional_run(run: str | None, base: str | None, text: str | None) -> Checkpoint | None:
    """Return the checkpoint of a run, or None without one. Raises ValueError unless a run and a text come together."""
    if run is None:
        if text is not None:
            raise ValueError("--text is read by a model; give a RUN before it")
        return None
    if not text:
        raise ValueError("a RUN needs a text to read; give one with --text")
    return load_checkpoint(find_checkpoint(run), base)


def add_output(parser: Parser, default: str) -> None:
    """Add the flags that say what is written, and where."""
    parser.option("--format", "what to write; text is printed", "html", choices=("html", "text"))
    parser.option("-o --out", "the page", default, metavar="FILE")


def deliver(topic: Topic, format: str, out: str) -> int:
    """Write a page, or print its text."""
    if format == "text":
        print(topic.text(), end="")
        return 0
    page = topic.page()
    write_text(out, page)
    print(f"{out}: {len(page.encode()) / 1e3:.0f} kB")
    print(f"open {Path(out).resolve().as_uri()}")
    return 0


TOPICS = {"merges": study_merges, "sampling": study_sampling, "cache": study_cache}
