"""The page of one training example: its forward and backward pass op by op, and the attention of its heads."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpt.model import GPT
from gpt.tokenizer import Tokenizer
from nanograd import grad, graph, no_grad, trace
from nanograd.inspect.player.html import HtmlPage, clean, heatmap, number
from nanograd.op import Observer, Op, observe
from nanograd.ops.attention import attention_forward, share_heads
from nanograd.ops.packed_attention import split_heads
from nanograd.ops.softmax import softmax_array
from nanograd.tape import Node


def example_page(
    model: GPT,
    tokenizer: Tokenizer,
    ids: Sequence[int],
    layers: Sequence[int],
    *,
    unfused: bool = False,
    pages: str | None = None,
) -> HtmlPage:
    """Return the page of an example with these ids; it ends with the attention maps of some layers.

    unfused: attention and the loss are shown in their parts. pages: the folder of the study pages, as `nanograd.graph`
    links to it.
    """
    model.eval()
    row = np.asarray(ids)[None]  # (1, T + 1)
    with trace(unfused=unfused):
        loss = model.loss(row[:, :-1], row[:, 1:])
    words = [word(tokenizer, i) for i in ids]
    with no_grad():
        p = softmax_array(model(row[:, :-1]).data[0])  # (T, V)
    appendix = [targets(words, p[np.arange(len(ids) - 1), row[0, 1:]])]
    if layers:
        recorder = AttentionRecorder()
        with observe(recorder):
            grad(model.loss(row[:, :-1], row[:, 1:]), list(model.parameters()))
        appendix += [section(layer, attention_maps(*recorder.records[layer]), words[:-1]) for layer in layers]
    heading = strip(words, p, row[0, 1:], lambda i: word(tokenizer, i))
    title = "One training example, forward and backward"
    return graph(loss, title=title, heading=heading, appendix="\n".join(appendix), pages=pages)


def strip(words: Sequence[str], p: np.ndarray, targets: np.ndarray, name: Callable[[int], str]) -> str:
    """Return the tokens, each with the next token and its probability, and the most probable one where that is another."""
    items = []
    for t, target in enumerate(targets):
        best = int(p[t].argmax())
        other = f" <i>most probable: <bdi>{clean(name(best))}</bdi> {p[t, best]:.2f}</i>" if best != target else ""
        items.append(
            f"<li><bdi>{clean(words[t])}</bdi> → <b><bdi>{clean(words[t + 1])}</bdi></b> "
            f'<span class="p{round(4 * float(p[t, target]))}">{p[t, target]:.2f}</span>{other}</li>'
        )
    label = "The tokens, and the probability of the next"
    return f'<ol class="strip" tabindex="0" role="region" aria-label="{label}">{"".join(items)}</ol>'


class AttentionRecorder(Observer):
    """Record qkv, the gradient dy and the options of every attention, in the order of the layers."""

    def __init__(self) -> None:
        self.nodes: dict[Node, tuple[np.ndarray, dict[str, Any]]] = {}
        self.records: list[tuple[np.ndarray, np.ndarray, dict[str, Any]]] = []

    def after_forward(
        self, op: Op, arrays: Sequence[Any], options: dict[str, Any], y: np.ndarray, saved: Any, node: Node | None
    ) -> None:
        if op.name == "packed_attention" and node is not None:
            self.nodes[node] = arrays[0], options

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: tuple[Any, ...]) -> None:
        if node in self.nodes:
            qkv, options = self.nodes[node]
            self.records.insert(0, (qkv, dy, options))  # backward runs from the last layer to the first


def attention_maps(qkv: np.ndarray, dy: np.ndarray, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return P, dP and dS (H, T, T) of one sequence; the numbers are those of the equations of `attention`."""
    n_heads = options["n_heads"]
    n_kv_heads = options.get("n_kv_heads") or n_heads
    q, k, v = split_heads(qkv, n_heads, n_kv_heads)
    _, (_, _, _, p, *_) = attention_forward(q, k, v, causal=options["causal"])  # (2)
    v = share_heads(v, n_heads // n_kv_heads)
    dp = split_heads(dy, n_heads)[0] @ np.swapaxes(v, -1, -2)  # (6)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))  # (7)
    return {"P": p[0], "dP": dp[0], "dS": ds[0]}


def section(layer: int, maps: dict[str, np.ndarray], words: Sequence[str]) -> str:
    """Return the maps of a layer, head by head; masked cells are empty."""
    visible = np.tri(len(words), dtype=bool)
    heads = []
    for head in range(len(maps["P"])):
        tables = "".join(
            heatmap(
                f"{name}, head {head} of block {layer}",
                np.where(visible, a[head], np.nan),
                words,
                words,
                unit=0.01 if name == "P" else None,
            )
            for name, a in maps.items()
        )
        heads.append(f'<h3>Head {head}</h3><div class="heads">{tables}</div>')
    return (
        f'<section class="card" aria-labelledby="layer{layer}"><h2 id="layer{layer}">Attention in block {layer}</h2>'
        '<p class="note">Rows are queries, columns are keys. P: the attention weights; each row '
        "adds to 1. dP: their gradient. dS = P ⊙ (dP - Σ P ⊙ dP): the gradient of the scores; each row adds to 0. "
        f"Warm is above 0, cold below.</p>{''.join(heads)}</section>"
    )


def targets(words: Sequence[str], p: np.ndarray) -> str:
    """Return the table of the tokens, the next token of each, and the probability that the model gives it."""
    rows = "".join(
        f'<tr><th scope="row">{t}</th><td><bdi>{clean(words[t])}</bdi></td><td><bdi>{clean(words[t + 1])}</bdi></td>'
        f"<td>{number(float(p_t))}</td><td>{number(-float(np.log(p_t)))}</td></tr>"
        for t, p_t in enumerate(p)
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
    """Return a token's text with visible white space."""
    text = tokenizer.decode([token]) if token in tokenizer.vocab else f"#{token}"
    return text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
