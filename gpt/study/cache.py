"""The key-value cache: what is computed at each token with and without it, what it costs, and that the logits agree."""

import math

import numpy as np

from gpt.config import ModelConfig
from gpt.generation.decoder import Decoder
from gpt.generation.kv_cache import KVCache
from gpt.model import GPT
from nanograd import no_grad
from nanograd.inspect.player.html import resource
from nanograd.study.topics.chart import Chart
from nanograd.study.topics.parts import Code, Control, Controls, Formulas, Grid, Html, Prose, Sources, Topic

CONFIG = ModelConfig(vocab_size=65, context_length=32, d_model=32, n_layers=2, n_heads=4)
PICTURE = 8  # tokens of the picture
POINTS = 40  # of the curve
WRONG = 1e-3  # of the largest logit: no rounding of float32 is as large

Shape = dict[str, float]  # the options of the page, by name


def shape_of(config: ModelConfig, bytes_each: int = 4) -> Shape:
    """Return the sizes of a model that the counts need."""
    matrices = 3 if config.mlp == "gated" else 2
    return {
        "T": config.context_length,
        "L": config.n_layers,
        "C": config.d_model,
        "H": config.n_heads,
        "K": config.n_kv_heads,
        "D": config.head_dim,
        "F": config.d_ff * matrices / 2,  # a gated MLP has a half more
        "V": config.vocab_size,
        "bytes": bytes_each,
    }


def block_weights(s: Shape) -> float:
    """Return the weights of one block: of q, k and v, of the output, and of the MLP. Each multiplies once a row."""
    return s["C"] * (s["H"] + 2 * s["K"]) * s["D"] + s["H"] * s["D"] * s["C"] + 2 * s["C"] * s["F"]


def without_cache(t: float, s: Shape) -> float:
    """Return the multiplications for the token after t: every row again; logits of the last row alone."""
    return s["L"] * (t * block_weights(s) + 2 * t * t * s["H"] * s["D"]) + s["V"] * s["C"]


def with_cache(t: float, s: Shape) -> float:
    """Return the multiplications for the token after t, of which all but the last are in the cache."""
    return s["L"] * (block_weights(s) + 2 * t * s["H"] * s["D"]) + s["V"] * s["C"]


def counts(s: Shape) -> np.ndarray:
    """Return (3, 5): at the first, the middle and the last token t, rows and multiplications without and with."""
    steps = (1, max(1, math.floor(s["T"] / 2)), s["T"])
    return np.array([[t, t, 1, without_cache(t, s), with_cache(t, s)] for t in steps])


def totals(s: Shape) -> dict[str, float]:
    """Return the multiplications of a whole text of T tokens, their quotient, and the bytes of the cache."""
    steps = range(1, int(s["T"]) + 1)
    free, cached = sum(without_cache(t, s) for t in steps), sum(with_cache(t, s) for t in steps)
    bytes_ = 2 * s["L"] * s["K"] * s["D"] * s["T"] * s["bytes"]
    return {
        "all_without": free,
        "all_with": cached,
        "times": free / cached,
        "memory": bytes_,
        "megabytes": bytes_ / 1e6,
    }


def curve(s: Shape) -> dict[str, tuple[list[float], list[float]]]:
    """Return the multiplications of each token, without and with the cache."""
    steps = [max(1.0, math.floor(i * s["T"] / POINTS)) for i in range(POINTS + 1)]
    return {
        "without cache": (steps, [without_cache(t, s) for t in steps]),
        "with cache": (steps, [with_cache(t, s) for t in steps]),
    }


def difference(model: GPT, ids: np.ndarray) -> float:
    """Return how far the decoder's logits are from the model's at worst, as a share of the largest logit."""
    model.eval()
    decoder = Decoder(model)
    with no_grad():
        right = model(ids[None]).data[0]  # (T, V)
    got = np.concatenate([decoder.prefill(ids[None, :1]), *(decoder.step(ids[t : t + 1]) for t in range(1, len(ids)))])
    return float(np.abs(got - right).max() / np.abs(right).max())


def bound(off: float) -> float:
    """Return the power of ten above a difference."""
    return 10.0 ** math.floor(math.log10(max(off, 1e-12)) + 1)


def picture(cached: bool) -> str:
    """Return a table of which rows of keys and values are computed at each step."""
    name = "With the cache" if cached else "Without the cache"
    head = "".join(f'<th scope="col">{j + 1}</th>' for j in range(PICTURE))
    lines = []
    for t in range(PICTURE):
        cells = []
        for j in range(PICTURE):
            kind, sign = ("later", "") if j > t else ("computed", "●") if j == t or not cached else ("stored", "○")
            cells.append(f'<td class="{kind}">{sign}</td>')
        lines.append(f'<tr><th scope="row">step {t + 1}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}"><table class="rows"><caption>{name}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def topic(model: GPT | None = None, ids: np.ndarray | None = None) -> Topic:
    """Return the page of a model's shape; without a model, of a small random one."""
    own = model is None or ids is None
    if model is None or ids is None:
        model = GPT(CONFIG, np.random.default_rng(0))
        ids = np.random.default_rng(1).integers(0, CONFIG.vocab_size, CONFIG.context_length)
    s = shape_of(model.config)
    off = difference(model, ids)
    if not off < WRONG:
        raise RuntimeError(f"the decoder's logits differ from the model's by {off:.1e} of the largest")
    whose = "a small model with random weights" if own else "this run's model, on your text"
    steps = ["first token", "half-way", "last token"]
    columns = ["t", "rows without", "rows with", "multiplications without", "with"]
    return Topic(
        "cache",
        "The key-value cache",
        "A model writes one token at a time, and each looks back at all before it. Must everything be computed again "
        "for every new token?",
        {
            "Formula": [
                Prose(
                    "At step t a block makes rows q, k and v of every token, and attention compares the new q with "
                    "all k. But row j of k and v depends on tokens 1 to j alone, since attention is causal: later "
                    "tokens never change it. So it can be kept."
                ),
                Prose(
                    "Counts for the token after t, in a model of L blocks: W weights a block, H heads of size D, K "
                    "key-value heads, V tokens, C features. Each weight multiplies once for every row it meets."
                ),
                Formulas(
                    (
                        (
                            "a_t = L (t W + 2 t² H D) + V C",
                            "Without: t rows through all weights, t² scores and as many products with v in each head.",
                        ),
                        (
                            "c_t = L (W + 2 t H D) + V C",
                            "With: one row; its scores and products with v alone grow with t.",
                        ),
                        (
                            "M = 2 L K D T b",
                            "Memory for T tokens, b bytes a number: k and v of K heads in every block.",
                        ),
                    )
                ),
            ],
            "Which rows are computed": [
                Html(
                    f'<div class="tables">{picture(False)}{picture(True)}</div>'
                    '<p class="note">● a row of k and v is computed; ○ it is read from the cache.</p>',
                    f"Without the cache, step t computes t rows of k and v: 1, 2, …, {PICTURE}, together "
                    f"{PICTURE * (PICTURE + 1) // 2}. With it, one row a step, together {PICTURE}; the others are read.",
                )
            ],
            "Numbers": [
                Prose(
                    "The shape of the model; change it to that of another. Logits are counted for the last row alone."
                ),
                Controls(
                    "Shape",
                    (
                        Control("T", "T, tokens", s["T"], 1, 8192, log=True, whole=True),
                        Control("L", "L, blocks", s["L"], 1, 128, whole=True),
                        Control("C", "C, features", s["C"], 1, 16384, log=True, whole=True),
                        Control("H", "H, heads", s["H"], 1, 128, whole=True),
                        Control("K", "K, kv heads", s["K"], 1, 128, whole=True),
                        Control("D", "D, head size", s["D"], 1, 512, whole=True),
                        Control("F", "F, hidden", s["F"], 1, 65536, log=True),
                        Control("V", "V, vocabulary", s["V"], 1, 300000, log=True, whole=True),
                        Control("bytes", "b, bytes", s["bytes"], 1, 8, whole=True),
                    ),
                ),
                Grid("counts", "Rows of k and v, and multiplications", steps, columns, counts(s)),
                Prose(
                    "A text of T tokens takes {all_without} multiplications without the cache and {all_with} "
                    "with it: {times} "
                    "times as many. The cache takes {memory} bytes, {megabytes} MB.",
                    totals(s),
                ),
                Chart("curve", "Multiplications for each token", "token", "multiplications", curve(s)),
            ],
            "The same logits": [
                Prose(
                    f"Measured here with {whose}: {len(ids)} tokens, read at once by the model and one by one by the "
                    f"decoder with its cache. All logits agree: they differ by less than {bound(off):g} of the "
                    "largest, the rounding of float32."
                )
            ],
            "What limits it": [
                Prose(
                    "With the cache a step reads every weight for one row only, so it is the memory's bandwidth that "
                    "limits the speed, not the multiplications. Grouped-query attention makes K less than H, and the "
                    "cache smaller by the same factor: move K above. A cache of fixed size must forget: with learned "
                    "positions the older half is dropped and the rest read again; with rope the oldest row is "
                    "overwritten."
                )
            ],
            "Code": [
                Prose("The product's cache, and the step that fills it."),
                Code((KVCache.__init__, Decoder.step, Decoder._decode_step)),
            ],
            "Sources": [
                Sources(
                    (
                        "Pope et al. 2022, “Efficiently Scaling Transformer Inference”, arXiv:2211.05102: what limits "
                        "a step.",
                        "Shazeer 2019, “Fast Transformer Decoding: One Write-Head is All You Need”, arXiv:1911.02150: "
                        "the cost of reading k and v.",
                        "Ainslie et al. 2023, “GQA”, arXiv:2305.13245: fewer key-value heads.",
                    )
                )
            ],
        },
        resource("gpt.study", "cache.js"),
        resource("gpt.study", "cache.css"),
        "One of the pages of <code>python -m gpt study</code>",
        chapter=10,
    )
