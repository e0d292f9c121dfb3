"""Byte-pair merges, one by one, on a text: as the trainer learns them, or as a tokenizer applies its own."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from gpt.tokenizer import BPETokenizer
from gpt.tokenizer.pairs import Pair, Word, count_pairs, merge_pair, split_bytes, train_naively
from gpt.tokenizer.pretokens import split_pretokens
from gpt.tokenizer.trainer import train_on_chunks
from nanograd.inspect.player.html import clean, resource
from nanograd.study.markup import rows
from nanograd.study.topics.chart import Chart
from nanograd.study.topics.parts import Code, Html, Prose, Sources, Table, Topic

TEXT = "the cat sat on the mat, then the cat ate. Ça va, café?"
SHOWN = 8  # pairs of a count
COLOURS = 6
LONGEST = 300  # characters of a text


class State(NamedTuple):
    """The text after some merges: its words as tokens, the last merge, and the counts of pairs from which it was chosen."""

    words: Sequence[Word]
    merge: Pair | None
    counts: Counter[Pair]


def states(text: str, n_merges: int, tokenizer: BPETokenizer | None = None) -> list[State]:
    """Return the text as bytes and after each of `n_merges` merges, or as many as there are.

    Without a tokenizer the trainer learns the merges from the text. With one, its own merges are applied in their order;
    those that the text does not need are left out. Raises ValueError for an empty or a very long text.
    """
    if not text.strip() or len(text) > LONGEST:
        raise ValueError(f"merges: the text must have 1 to {LONGEST} characters, got {len(text)}; give another --text")
    pattern = tokenizer.pattern if tokenizer else "gpt2"
    words = [split_bytes(w.encode("utf-8")) for segment in split_pretokens([text], pattern) for w in segment.words]
    merges = tokenizer.merges if tokenizer else train_on_chunks([text], 256 + n_merges)[1]
    found = [State(words, None, Counter())]
    for pair in merges:
        if len(found) > n_merges:
            break
        counts = count_pairs(Counter(words))
        if counts[pair]:
            words = [merge_pair(word, pair) for word in words]
            found.append(State(words, pair, counts))
    return found


def show(token: bytes) -> str:
    """Return a token as text: white space visible, and bytes that are no characters in hexadecimal."""
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return " ".join(f"{byte:02X}" for byte in token)
    text = text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: f"{ord(match[0]):02X}", text)


def times(count: int) -> str:
    """Say how often."""
    return "once" if count == 1 else f"{count} times"


def chips(state: State, names: dict[bytes, int]) -> str:
    """Return the tokens of a text as coloured chips, those of one word together; names: the merge that made each token."""
    new = b"".join(state.merge) if state.merge else None
    html = []
    for word in state.words:
        tokens = []
        for token in word:
            kind = f"chip c{names[token] % COLOURS}" if token in names else "chip"
            tokens.append(f'<span class="{kind}{" new" if token == new else ""}">{clean(show(token))}</span>')
        html.append(f'<span class="word">{"".join(tokens)}</span>')
    return f'<p class="chips">{"".join(html)}</p>'


def step(i: int, state: State, names: dict[bytes, int], by_rank: bool) -> str:
    """Return a state as HTML: its merge, the tokens, and the pairs that were counted."""
    n_tokens = sum(map(len, state.words))
    if state.merge is None:
        head, table = "Before the first merge: bytes", ""
    else:
        left, right = map(show, state.merge)
        count = state.counts[state.merge]
        head = (
            f"Merge {i}: <code>{clean(left)}</code> + <code>{clean(right)}</code> → "
            f"<code>{clean(show(b''.join(state.merge)))}</code>, {times(count)}"
        )
        top = sorted(state.counts, key=lambda pair: (state.counts[pair], pair), reverse=True)[:SHOWN]
        if by_rank and state.merge not in top:
            top = [state.merge, *top[:-1]]
        body = [
            [f"<code>{clean(show(a))}</code> + <code>{clean(show(b))}</code>", str(state.counts[a, b])]
            + ["← merged" if (a, b) == state.merge else ""]
            for a, b in top
        ]
        table = rows(f"The most frequent of {len(state.counts)} pairs, before this merge", ["pair", "count", ""], body)
    return (
        f'<div class="state"><h3 class="family">{head}</h3>{chips(state, names)}<p>{n_tokens} tokens.</p>{table}</div>'
    )


def topic(text: str = TEXT, n_merges: int = 20, tokenizer: BPETokenizer | None = None) -> Topic:
    """Return the page of a text."""
    found = states(text, n_merges, tokenizer)
    names = {b"".join(state.merge): i for i, state in enumerate(found) if state.merge}
    lengths = [float(sum(map(len, state.words))) for state in found]
    steps = "".join(step(i, state, names, tokenizer is not None) for i, state in enumerate(found))
    scrubber = (
        '<p class="scrubber live" hidden><button type="button" data-go="-1">← back</button> '
        '<button type="button" data-go="1">merge →</button> '
        f'<label>merge <input type="range" min="0" max="{len(found) - 1}" value="0" data-scrub></label> '
        "<output data-at>0</output></p>"
    )
    rules = [
        f"{i}: {show(state.merge[0])} + {show(state.merge[1])}, {times(state.counts[state.merge])}"
        for i, state in enumerate(found)
        if state.merge
    ]
    last = found[-1].words
    whose = (
        "The merges are those of the tokenizer, in the order in which it learned them from its own text; those that "
        "this text does not need are left out."
        if tokenizer
        else "The merges are those that the trainer learns from this text alone: a tokenizer for use learns thousands, "
        "from megabytes."
    )
    n_bytes, n_words = int(lengths[0]), len(last)
    return Topic(
        "merges",
        "Byte-pair merges, one by one",
        "A model sees numbers, not text. Which pieces of text should have numbers: letters, words, or something "
        "between?",
        {
            "How it works": [
                Prose(
                    "Begin with the bytes of the text. Count all neighbouring pairs. Join the most frequent pair "
                    "everywhere, as a new token; of equally frequent pairs the greater in bytes. Repeat. No pair "
                    "reaches across the edge of a word; a space belongs to the word after it."
                ),
                Prose(whose),
            ],
            "Merge by merge": [
                Prose(
                    "Each box is a token. Letters outside ASCII are two bytes or more, shown in hexadecimal until a "
                    "merge joins them. The new token has a frame."
                ),
                Html(f'{scrubber}<div class="states">{steps}</div>', "; ".join(rules)),
            ],
            "The result": [
                Prose(
                    f"{n_bytes} bytes became {int(lengths[-1])} tokens in {len(found) - 1} merges: "
                    f"{n_bytes / lengths[-1]:.2f} bytes a token."
                ),
                Chart(
                    "lengths",
                    "Tokens of the text, by merge",
                    "merges",
                    "tokens",
                    {"tokens": (list(map(float, range(len(found)))), lengths)},
                ),
            ],
            "Without merges": [
                Table(
                    "This text, cut in three ways",
                    ["pieces", "tokens", "distinct", "pairs that attention compares", "a new word"],
                    [
                        ["bytes", *_costs([t for word in found[0].words for t in word]), "any"],
                        ["byte pairs", *_costs([t for word in last for t in word]), "any"],
                        ["words", *_costs([b"".join(word) for word in last]), "none: it has no id"],
                    ],
                ),
                Prose(
                    f"Bytes spell everything, but a text is long: with {n_bytes} tokens each of them looks back at up "
                    f"to {n_bytes}. Words are short, {n_words} here, but a word that was not in the training text has "
                    "no number. Merges lie between: frequent words become one token, and rare ones are spelled."
                ),
            ],
            "Code": [
                Prose(
                    "The specification, which the fast trainer (gpt/tokenizer/trainer.py) and the fast encoder equal "
                    "in every test."
                ),
                Code((count_pairs, merge_pair, train_naively)),
            ],
            "Sources": [
                Sources(
                    (
                        "Sennrich, Haddow and Birch 2016, “Neural Machine Translation of Rare Words with Subword "
                        "Units”, arXiv:1508.07909: algorithm 1.",
                        "Radford et al. 2019, “Language Models are Unsupervised Multitask Learners”, section 2.2: on "
                        "bytes, inside words.",
                    )
                )
            ],
        },
        resource("gpt.study", "merges.js"),
        resource("gpt.study", "merges.css"),
        "One of the pages of <code>python -m gpt study</code>",
        chapter=3,
    )


def _costs(tokens: Sequence[bytes]) -> list[str]:
    """Return the number of tokens, of distinct tokens, and of pairs (query, key) of causal attention."""
    n = len(tokens)
    return [str(n), str(len(set(tokens))), str(n * (n + 1) // 2)]
