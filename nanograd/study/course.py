"""The course: pages in the order in which a GPT computes, each to read and to practise; and the way from page to page."""

from typing import NamedTuple

from nanograd.inspect.player.html import clean
from nanograd.study.derivation import derivation
from nanograd.study.drills import EXERCISES
from nanograd.study.drills.bugs import Bug
from nanograd.study.reasons import families


class Station(NamedTuple):
    """One page of the course, its chapter of the guide, and the question that it answers."""

    page: str
    chapter: int
    question: str

    @property
    def drills(self) -> list[str]:
        """Return the names of the drills that practise it."""
        return drills_of(self.page)


def drills_of(page: str) -> list[str]:
    """Return the names of the drills that practise a page, without those to find a bug in."""
    return [name for name, drill in EXERCISES.items() if drill.page == page and not isinstance(drill, Bug)]


PARTS: dict[str, tuple[Station, ...]] = {
    "First: gradients, products and sums": (
        Station("chain_rule", 1, "What is a gradient, and why is it computed from the end backwards?"),
        Station("mul", 1, "Who gets the gradient of a product?"),
        Station("add", 1, "What happens to a bias that was added to every token?"),
        Station("sum", 1, "If many numbers became one, how does its gradient reach them all?"),
        Station("mean", 1, "Why is each of n numbers worth only 1/n?"),
        Station("matmul", 1, "Which of the two matrices is transposed, and on which side?"),
        Station("transpose", 1, "What undoes a change of axes?"),
        Station("reshape", 1, "Why does cutting an array into heads cost nothing?"),
    ),
    "Token ids become vectors": (
        Station("embedding", 4, "What if a token occurs twice in the batch?"),
        Station("dropout", 4, "How does backward know which numbers were dropped?"),
    ),
    "Inside a block": (
        Station("layernorm", 6, "Why does a gradient lose its mean on its way through a norm?"),
        Station("linear", 6, "How does one weight learn from all tokens?"),
        Station("softmax", 5, "If one probability rises, what do the others do?"),
        Station("masked_fill", 5, "What becomes of the scores that a query may not see?"),
        Station("attention", 5, "How do q, k and v share the gradient, and why divide by √D?"),
        Station("packed_attention", 5, "How do all heads fit into one matrix?"),
        Station("tanh", 6, "What happens to a gradient where a function is flat?"),
        Station("gelu_tanh", 6, "Why not cut off below zero, as relu does?"),
    ),
    "The loss": (
        Station("log_softmax", 7, "Why is the logarithm of softmax simpler than softmax?"),
        Station("cross_entropy", 7, "Why is the gradient probability minus target?"),
        Station("linear_cross_entropy", 7, "How is a table of all logits avoided?"),
    ),
    "Training": (
        Station("initialisation", 8, "How large must the first weights be?"),
        Station("schedule", 8, "Why does the learning rate rise first, and then fall?"),
        Station("clipping", 8, "What if one batch gives a huge gradient?"),
        Station("adamw", 8, "How far does a parameter move, whatever the size of its gradient?"),
        Station("muon", 8, "What is the best step for a matrix as a whole?"),
    ),
    "After GPT-2": (
        Station("rmsnorm", 14, "What if the mean is not subtracted?"),
        Station("rope", 14, "How can a rotation tell a position?"),
        Station("swiglu", 14, "What is a gate, and what does it pass back?"),
    ),
}
STATIONS = tuple(station for stations in PARTS.values() for station in stations)
CHAPTER = 7  # of all other ops: the whole backward pass
NUMBER = {station.page: number for number, station in enumerate(STATIONS)}  # from 0


def pages() -> list[str]:
    """Return every page in the order of reading: the course, then the other ops by family."""
    others = [name for names in families().values() for name in names if name not in NUMBER]
    return [*NUMBER, *others]


def chapter_of(page: str) -> int:
    """Return the chapter of the guide that a page belongs to."""
    return STATIONS[NUMBER[page]].chapter if page in NUMBER else CHAPTER


def is_simple(name: str) -> bool:
    """Tell whether an op needs only a short page: one formula forward, one backward, and no station of the course."""
    return len(derivation(name)) <= 2 and name not in NUMBER


def practice(name: str) -> str:
    """Return the commands of the drills that practise a page."""
    drills = [f"<code>python -m nanograd drill start {drill}</code>" for drill in drills_of(name)]
    return f"<p>Then write it in NumPy, and have it graded: {', '.join(drills)}.</p>" if drills else ""


def crumbs(name: str) -> str:
    """Return the links from a page to the course and to the pages before and after it."""
    order = pages()
    at = order.index(name)
    station = f"Station {NUMBER[name]} of {len(STATIONS) - 1}" if name in NUMBER else "Beside the course"
    links = ['<a href="map.html">The course</a>', station]
    links += [f'<a href="{page}.html" rel="prev">← {clean(page)}</a>' for page in order[max(at - 1, 0) : at]]
    links += [f'<a href="{page}.html" rel="next">{clean(page)} →</a>' for page in order[at + 1 : at + 2]]
    return " · ".join(links)


def following(name: str, *, linked: bool = True, chapter: int | None = None) -> str:
    """Return the end of a page: its chapter of the guide and, if it is linked, the link to the page after it.

    chapter: of a page that has no place in the course.
    """
    chapter = chapter or chapter_of(name)
    note = f'<p class="note">In the guide: chapter {chapter}, <code>python -m gpt guide {chapter}</code></p>'
    order = pages()
    after = order[order.index(name) + 1 :][:1] if linked else []
    links = [f'<a class="start" href="{page}.html">Next: {clean(page)} →</a>' for page in after]
    return f'{note}<p class="following">{"".join(links)}</p>'
