"""Temperature, top-k, top-p and min-p on one distribution: that of a run's next token, or of the words of a short text."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gpt.generation.sampling import (
    divide_by_temperature,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    next_token_probabilities,
)
from nanograd.inspect.player.html import clean, number, resource
from nanograd.ops.softmax import softmax_array
from nanograd.study.markup import inline
from nanograd.study.topics.parts import Code, Control, Controls, Formulas, Html, Prose, Sources, Table, Topic

STORY = """the cat sat on the mat . the cat saw the dog . the dog saw the cat on the mat . the cat ate the fish . the fish
was on the table . the bird saw the cat . the cat sat on the rug . the dog ate the bone . the moon saw the cat . the cat
sat by the door . the old man fed the cat . the dog slept . the sun rose and the cat slept ."""
WORD = "the"  # whose next word is chosen
SHOWN, MOST = 20, 200  # rows of the table, and tokens of the distribution
OPTIONS = {"temperature": 1.0, "top_k": 10, "top_p": 0.9, "min_p": 0.05, "u": 0.5}


class Candidates(NamedTuple):
    """The next tokens that may be drawn, the most probable first: their texts and logits, and where they are from."""

    words: Sequence[str]
    logits: np.ndarray
    origin: str


def counted_candidates() -> Candidates:
    """Return the words that follow WORD in STORY; a logit is the logarithm of a count."""
    words = STORY.split()
    counts = Counter(after for before, after in pairwise(words) if before == WORD).most_common()
    origin = (
        f"The distribution is that of the {sum(n for _, n in counts)} words that follow “{WORD}” in a text of "
        f"{len(words)} words: z is the logarithm of a count. Give a run and a --text to see a model's own."
    )
    return Candidates([word for word, _ in counts], np.log([float(n) for _, n in counts]), origin)


def keep_likely(words: Sequence[str], logits: np.ndarray, origin: str) -> Candidates:
    """Return the MOST most probable tokens as candidates; the origin says what all others have together."""
    order = np.argsort(-logits, kind="stable")[:MOST]
    rest = 1.0 - softmax_array(logits.astype(np.float64))[order].sum()
    if len(order) < len(logits):
        origin += (
            f" The page has the {len(order)} most probable of {len(logits):,} tokens; the others, left out here, have "
            f"a probability of {max(rest, 0):.2g} together."
        )
    return Candidates([words[i] for i in order], logits[order].astype(np.float64), origin)


def choose(
    logits: np.ndarray, *, temperature: float, top_k: int, top_p: float, min_p: float, u: float
) -> dict[str, np.ndarray]:
    """Return p after the temperature, its running sum, what each rule leaves (1 or 0), and p to draw with; and the draw."""
    z = divide_by_temperature(logits, temperature)
    after_k = keep_top_k(z, top_k)
    after_p = keep_top_p(after_k, top_p)
    after_m = keep_min_p(after_p, min_p)
    p = softmax_array(after_m)
    kept = [(a > -np.inf).astype(float) for a in (after_k, after_p, after_m)]
    tempered = softmax_array(z)
    return {
        "tempered": tempered,
        "sums": np.cumsum(tempered),
        "by_k": kept[0],
        "by_p": kept[1],
        "by_m": kept[2],
        "p": p,
        "drawn": np.array(draw(p, u)),
    }


def table(candidates: Candidates) -> str:
    """Return the table of the most probable tokens, with a bar for each probability; the script changes both."""
    values = choose(candidates.logits, **OPTIONS)  # type: ignore[arg-type]
    before = softmax_array(candidates.logits)
    lines = []
    for i, word in enumerate(candidates.words[:SHOWN]):
        bars = (
            '<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect class="was" y="1" height="4" width="{100 * before[i]:.4g}"/>'
            f'<rect class="is" y="6" height="5" data-bar="p" width="{100 * values["p"][i]:.4g}"/></svg>'
        )
        lines.append(
            f'<tr><th scope="row"><bdi>{clean(word)}</bdi></th><td>{number(candidates.logits[i])}</td>'
            f'<td>{number(before[i])}</td><td data-out="tempered">{number(values["tempered"][i])}</td>'
            f'<td data-out="sums">{number(values["sums"][i])}</td><td data-out="removed_by">{removed_by(values, i)}</td>'
            f'<td data-out="p">{number(values["p"][i])}</td><td class="bars">{bars}</td></tr>'
        )
    head = ["token", "z", "p", "with τ (1)", "running sum", "removed by", "drawn with", "before and after"]
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    caption = "The next token"
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{caption}"><table class="words"><caption>{caption}'
        f"</caption><thead><tr>{columns}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def removed_by(values: dict[str, np.ndarray], i: int) -> str:
    """Return the rule that removed a token, or nothing."""
    rules = (("by_k", "top-k"), ("by_p", "top-p"), ("by_m", "min-p"))
    return next((name for key, name in rules if not values[key][i]), "")


def greedy_and_drawn(n: int = 14) -> tuple[str, str]:
    """Return n words after WORD by the counts of STORY: always the most frequent next word, and drawn."""
    words = STORY.split()
    following: dict[str, Counter[str]] = {}
    for before, after in pairwise(words):
        following.setdefault(before, Counter())[after] += 1
    rng = np.random.default_rng(3)
    greedy, drawn = [WORD], [WORD]
    for _ in range(n):
        greedy.append(following[greedy[-1]].most_common(1)[0][0])
        counts = following[drawn[-1]].most_common()
        p = next_token_probabilities(np.log([float(count) for _, count in counts]))
        drawn.append(counts[draw(p, rng.random())][0])
    return " ".join(greedy), " ".join(drawn)


def topic(candidates: Candidates | None = None) -> Topic:
    """Return the page of a distribution."""
    candidates = candidates or counted_candidates()
    n = len(candidates.words)
    values = choose(candidates.logits, **OPTIONS)  # type: ignore[arg-type]
    p = softmax_array(candidates.logits)
    tail = float(p[keep_top_p(candidates.logits, 0.9) == -np.inf].sum())
    greedy, drawn = greedy_and_drawn()
    data = json.dumps({"logits": candidates.logits.tolist(), "words": list(candidates.words)}, ensure_ascii=True)
    data = data.replace("<", "\\u003c")  # a token may be "</script>"
    chosen = clean(candidates.words[int(values["drawn"])])
    rest = "" if n <= SHOWN else f" The table has the first {SHOWN} of {n}."
    return Topic(
        "sampling",
        "Choosing the next token",
        "A model gives every token a probability. Always taking the best repeats itself; drawing from all of them now "
        "and then takes nonsense. What lies between?",
        {
            "Formula": [
                Prose("z_i is the logit of token i. The rules apply in this order, each to what the ones before left."),
                Formulas(
                    (
                        (
                            "p_i = exp(z_i / τ) / Σ_j exp(z_j / τ)",
                            "Temperature: below 1 the differences between logits grow, above 1 they shrink. τ = 0 "
                            "takes the largest.",
                        ),
                    )
                ),
                Prose("Top-k keeps the k most probable tokens, however sure the model is."),
                Prose(
                    "Top-p keeps the fewest tokens, most probable first, whose probabilities add up to at least p: "
                    "few where the model is sure, many where it is not."
                ),
                Prose("Min-p keeps the tokens with at least m times the highest probability."),
                Prose("What remains is divided by its sum, and one token is drawn."),
            ],
            "Numbers": [
                Html(f"<p>{inline(candidates.origin)}{rest}</p>", candidates.origin + rest),
                Controls(
                    "Rules",
                    (
                        Control("temperature", "τ, `temperature`", OPTIONS["temperature"], 0, 3),
                        Control("top_k", "k, `top_k`", min(int(OPTIONS["top_k"]), n), 1, n, whole=True),
                        Control("top_p", "p, `top_p`", OPTIONS["top_p"], 0.01, 1),
                        Control("min_p", "m, `min_p`", OPTIONS["min_p"], 0, 1),
                        Control("u", "u, random", OPTIONS["u"], 0, 0.999),
                    ),
                ),
                Html(
                    table(candidates),
                    "; ".join(
                        f"{word} {number(float(a))} → {number(float(b))}"
                        for word, a, b in list(zip(candidates.words, p, values["p"], strict=True))[:SHOWN]
                    ),
                ),
                Html(
                    f'<p>With the random number u, <b><bdi data-out="word">{chosen}</bdi></b> is drawn: the first token at '
                    "which the running sum of the last column exceeds u.</p>"
                    f'<script type="application/json" id="candidates">{data}</script>',
                    f"With u = {OPTIONS['u']}, {candidates.words[int(values['drawn'])]} is drawn.",
                ),
                Prose(
                    "To switch a rule off: k = all tokens, p = 1, m = 0. The product lays the tokens in the order of "
                    "their ids, not of their probabilities, before it draws; that changes which u gives which token, "
                    "and no probability."
                ),
            ],
            "Without the rules": [
                Prose(
                    f"Measured here: the tokens that top-p with p = 0.9 removes have a probability of {tail:.3g} "
                    "together. Each of them is a poor choice, yet in 100 draws from all tokens at least one of them "
                    f"is taken with probability 1 - (1 - {tail:.3g})^100 = {1 - (1 - tail) ** 100:.3g}."
                ),
                Prose(
                    "And always the most probable word, by the counts of the short text, against one draw at a time "
                    "from all:"
                ),
                Table("Fifteen words", ["rule", "text"], [["τ = 0", greedy], ["τ = 1", drawn]]),
            ],
            "Code": [
                Prose("The product's rules, one function each."),
                Code((divide_by_temperature, keep_top_k, keep_top_p, keep_min_p, draw)),
            ],
            "Sources": [
                Sources(
                    (
                        "Fan, Lewis and Dauphin 2018, “Hierarchical Neural Story Generation”, arXiv:1805.04833: top-k.",
                        "Holtzman et al. 2020, “The Curious Case of Neural Text Degeneration”, arXiv:1904.09751: "
                        "top-p, and why greedy text repeats itself.",
                        "Nguyen et al. 2024, “Turning Up the Heat: Min-p Sampling”, arXiv:2407.01082: min-p.",
                    )
                )
            ],
        },
        resource("gpt.study", "sampling.js"),
        resource("gpt.study", "sampling.css"),
        "One of the pages of <code>python -m gpt study</code>",
        chapter=10,
    )
