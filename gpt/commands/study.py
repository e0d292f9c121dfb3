"""python -m gpt study: play the backward of one training example, op by op, and look into its attention."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt.commands.arguments import Parser
from gpt.model import GPT
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.tokenizer import Tokenizer
from nanograd import graph, no_grad, trace
from nanograd.inspect.player.html import clean, heatmap, number
from nanograd.op import Observer, Op, observe
from nanograd.ops.attention import attention_forward, share_heads
from nanograd.ops.packed_attention import split_heads
from nanograd.ops.softmax import softmax_array
from nanograd.runtime.files import write_text
from nanograd.tape import Node

DESCRIPTION = """Write a page that plays one training example of a run: the loss of a text's next tokens, its backward op
by op, and the attention of every head with its gradients. Dropout is off. The page is one file; open it in a browser.

    python -m gpt study --ckpt runs/mine --text "To be, or not to be"
"""
HEADS = 32  # whose maps a page holds at most, unless --layer says which


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt study", description=DESCRIPTION)
    parser.add_argument(
        "--ckpt", metavar="RUN", required=True, help="folder of a run (its best checkpoint is used), or a checkpoint"
    )
    parser.add_argument(
        "--text", required=True, help="the example; each of its tokens is predicted from those before it"
    )
    parser.add_argument(
        "--tokens", metavar="N", type=int, default=16, help="of the text, how many are predicted (default 16)"
    )
    parser.add_argument(
        "--layer",
        metavar="N",
        type=int,
        help=f"block whose attention is shown (default: all, or the last if they have over {HEADS} heads)",
    )
    parser.add_argument("--out", metavar="FILE", default="study.html", help="the page (default study.html)")
    given = parser.parse(arguments)
    if given.tokens < 1:
        parser.error(f"--tokens must be at least 1, got {given.tokens}")
    checkpoint = load_checkpoint(find_checkpoint(given.ckpt))
    config = checkpoint.model_config
    if given.layer is not None and not 0 <= given.layer < config.n_layers:
        parser.error(f"--layer must be a block of the model, 0 to {config.n_layers - 1}, got {given.layer}")
    try:
        ids = checkpoint.tokenizer.encode(given.text)[: min(given.tokens, config.context_length) + 1]
    except ValueError as error:
        raise ValueError(f"text: {error}") from None
    if len(ids) < 2:
        raise ValueError(f"text: needs two tokens or more, one to predict from, got {len(ids)}; give a longer --text")
    layers = range(config.n_layers) if config.n_layers * config.n_heads <= HEADS else [config.n_layers - 1]
    page = study(checkpoint.model(), checkpoint.tokenizer, ids, layers if given.layer is None else [given.layer])
    write_text(given.out, page)
    print(f"{given.out}: {len(ids) - 1} tokens predicted, {len(page.encode()) / 1e3:.0f} kB")
    print(f"open {Path(given.out).resolve().as_uri()}")
    return 0


def study(model: GPT, tokenizer: Tokenizer, ids: Sequence[int], layers: Sequence[int]) -> str:
    """Return the page of the example whose tokens are ids, the attention maps of some layers at its end."""
    model.eval()
    row = np.asarray(ids)[None]  # (1, T + 1)
    watcher = Watcher()
    with trace(), observe(watcher):
        loss = model.loss(row[:, :-1], row[:, 1:])
        loss.backward()
    words = [word(tokenizer, i) for i in ids]
    with no_grad():
        p = softmax_array(model(row[:, :-1]).data[0])  # (T, V)
    appendix = [targets(words, p[np.arange(len(ids) - 1), row[0, 1:]])]
    appendix += [section(layer, attention_maps(*watcher.seen[layer]), words[:-1]) for layer in layers]
    return graph(loss, title="One training example, forward and backward", appendix="\n".join(appendix))


class Watcher(Observer):
    """Keep what went into each attention, and the dy that came back: qkv, dy, options, in the order of the layers."""

    def __init__(self) -> None:
        self.nodes: dict[Node, tuple[np.ndarray, dict[str, Any]]] = {}
        self.seen: list[tuple[np.ndarray, np.ndarray, dict[str, Any]]] = []

    def after_forward(
        self, op: Op, arrays: Sequence[Any], options: dict[str, Any], y: np.ndarray, saved: Any, node: Node | None
    ) -> None:
        if op.name == "packed_attention" and node is not None:
            self.nodes[node] = arrays[0], options

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: tuple[Any, ...]) -> None:
        if node in self.nodes:
            qkv, options = self.nodes[node]
            self.seen.insert(0, (qkv, dy, options))  # the last layer comes first


def attention_maps(qkv: np.ndarray, dy: np.ndarray, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Make P, dP and dS (H, T, T) of one sequence, as the readable pair of `attention` does, whose numbers these are."""
    n_heads = options["n_heads"]
    n_kv_heads = options.get("n_kv_heads") or n_heads
    q, k, v = split_heads(qkv, n_heads, n_kv_heads)
    _, (_, _, _, p, *_) = attention_forward(q, k, v, causal=options["causal"])  # (2)
    v = share_heads(v, n_heads // n_kv_heads)
    dp = split_heads(dy, n_heads)[0] @ np.swapaxes(v, -1, -2)  # (5)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))  # (6)
    return {"P": p[0], "dP": dp[0], "dS": ds[0]}


def section(layer: int, maps: dict[str, np.ndarray], words: Sequence[str]) -> str:
    """Return the maps of a layer, head by head; cells where a token may not look are empty."""
    unseen = np.tri(len(words), dtype=bool) == 0
    units = {"P": 0.01}  # percent
    heads = []
    for head in range(len(maps["P"])):
        tables = "".join(
            heatmap(
                f"{name}, head {head} of block {layer}",
                np.where(unseen, np.nan, a[head]),
                words,
                words,
                unit=units.get(name),
            )
            for name, a in maps.items()
        )
        heads.append(f'<h3>Head {head}</h3><div class="heads">{tables}</div>')
    return (
        f'<section class="card" aria-labelledby="layer{layer}"><h2 id="layer{layer}">Attention in block {layer}</h2>'
        '<p class="note">A row is a token that asks, a column one that answers. P: how much it listens, each row adds '
        "to 1. dP: what the loss says of that. dS = P (dP - Σ P dP): what reaches the scores, each row adds to 0. "
        f"Warm is above 0, cold below.</p>{''.join(heads)}</section>"
    )


def targets(words: Sequence[str], p: np.ndarray) -> str:
    """Return the table of the tokens, what follows each, and the probability that the model gives to that."""
    rows = "".join(
        f'<tr><th scope="row">{t}</th><td><bdi>{clean(words[t])}</bdi></td><td><bdi>{clean(words[t + 1])}</bdi></td>'
        f"<td>{number(float(each))}</td><td>{number(-float(np.log(each)))}</td></tr>"
        for t, each in enumerate(p)
    )
    return (
        '<section class="card" aria-labelledby="example"><h2 id="example">The example</h2>'
        '<p class="note">The loss is the mean of the last column, in nats.</p>'
        '<div class="wide" tabindex="0" role="region" aria-label="The example, token by token"><table>'
        '<thead><tr><th scope="col">t</th><th scope="col">token</th><th scope="col">next token</th>'
        f'<th scope="col">its probability</th><th scope="col">-ln</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def word(tokenizer: Tokenizer, token: int) -> str:
    """Return a token's text with its blanks made visible."""
    text = tokenizer.decode([token]) if token in tokenizer.vocab else f"#{token}"
    return text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
