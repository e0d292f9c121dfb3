"""What models made of tasks: tables, a line per item, and a page that compares models."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from gpt.evaluation.likelihood import Mean, Outcome, mean, paired_difference
from nanograd.inspect.player.html import HtmlPage, clean, document, resource

ALL = "all"
MEASURES = {"acc": "acc", "acc_norm": "acc_norm", "p_right": "p(right)"}
PAGE_ITEMS = 2000  # at most, on a page

Outcomes = Mapping[str, Sequence[Outcome]]  # of each model, by its name


def groups(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return the outcomes by task, in the order of the items; with several tasks, all together come last."""
    by_task: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_task.setdefault(outcome.item.task, []).append(outcome)
    return by_task | ({ALL: list(outcomes)} if len(by_task) > 1 else {})


def measured(outcomes: Sequence[Outcome], measure: str) -> Mean:
    """Return the mean of a measure, and its standard error."""
    return mean([getattr(outcome, measure) for outcome in outcomes])


def chance(outcomes: Sequence[Outcome]) -> float:
    """Return the accuracy of a guess: the mean of 1/number of choices; 0 where something is to be written."""
    return sum(0 if outcome.item.is_completion else 1 / len(outcome.item.choices) for outcome in outcomes) / len(
        outcomes
    )


def uniform(outcomes: Sequence[Outcome]) -> float:
    """Return what a model scores that gives all tokens the same probability."""
    return measured(outcomes, "uniform").value


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return a table of the tasks: items, means with standard errors, and what guessing would score."""
    by_task = groups(outcomes)
    width = max(map(len, [*by_task, "task"]))
    heads = "".join(f"  {name:<13}" for name in MEASURES.values())
    lines = [f"{'task':<{width}}  items{heads}  chance  uniform"]
    for task, members in by_task.items():
        means = "".join(f"  {measured(members, measure)!s:<13}" for measure in MEASURES)
        lines.append(f"{task:<{width}}  {len(members):>5}{means}  {chance(members):>6.3f}  {uniform(members):>7.3f}")
    return "\n".join(lines)


def differences(models: Outcomes) -> str:
    """Return lines for each model but the first: how it differs from the first on the items that both have."""
    (first, base), *others = models.items()
    lines = []
    for name, outcomes in others:
        for measure in ("acc", "p_right"):
            difference = paired_difference(base, outcomes, measure)
            if difference is None:
                lines.append(f"{name} and {first} have no item in common")
                break
            text = f"{difference.value:+.3f} ± {difference.error:.3f}{_times(difference)}"
            lines.append(f"{name} against {first}, {difference.n:,} items: {MEASURES[measure]} {text}")
    return "\n".join(lines)


def _times(difference: Mean) -> str:
    if not difference.error > 0:
        return ""
    return f", {abs(difference.value) / difference.error:.1f} standard errors"


def item_line(outcome: Outcome) -> str:
    """Return an item as a line: whether it was right, the probability of the right answer, and what was asked."""
    item = outcome.item
    right = item.choices[item.answer]
    question = f"{item.number:>5}  {'right' if outcome.acc else 'wrong'}  {outcome.p_right:.3f}  {item.context[-50:]!r}"
    if item.is_completion:
        return f"{question}  {right!r}" + ("" if outcome.is_greedy else f", wrote {outcome.written!r}")
    return f"{question}  {right!r}" + ("" if outcome.acc else f", chose {item.choices[outcome.chosen]!r}")


def json_lines(models: Outcomes) -> Iterator[str]:
    """Yield an object a line for each model and item, with the sums of ln p and numbers of tokens of all choices."""
    for name, outcomes in models.items():
        for outcome in outcomes:
            item = outcome.item
            fields = {
                "run": name, "task": item.task, "item": item.number, "context": item.context, "choices": item.choices,
                "answer": item.answer, "log_probabilities": outcome.log_p, "tokens": outcome.n_tokens,
                "tokens_cut": outcome.n_cut, "acc": outcome.acc, "acc_norm": outcome.acc_norm, "p_right": outcome.p_right,
            }  # fmt: skip
            if item.is_completion:
                fields["written"] = outcome.written
            yield json.dumps(fields)


def page(models: Outcomes, source: str, notes: Sequence[str] = ()) -> HtmlPage:
    """Return a page that compares models: a table and bars of each task, the differences, and every item.

    source  where the items are from, a sentence
    notes   what was skipped or cut
    """
    title = "Evaluation"
    names = list(models)
    shown = "".join(f"<li>{clean(note)}</li>" for note in notes)
    compared = "".join(f"<p>{clean(line)}</p>" for line in differences(models).splitlines()) if len(models) > 1 else ""
    tasks = "".join(_tasks(models))
    heads = "".join(f'<th scope="col"><bdi>{clean(name)}</bdi></th>' for name in names)
    items = "".join(_items(models))
    total = max(map(len, models.values()))
    cut = f" The first {PAGE_ITEMS:,} of {total:,}; --out writes all." if total > PAGE_ITEMS else ""
    body = f"""<header><h1>{title}</h1><p>{clean(source)}</p></header>
<main>
<section class="card"><h2>Tasks</h2>
<p>The share of right answers ± its standard error. A line marks chance. acc_norm divides ln p by the bytes of a choice;
p(right) is the probability of the right choice, divided by that of all choices. “Uniform” is what a model would score that
gives all tokens the same probability: then the choice with the fewest tokens wins.</p>
{compared}{f"<ul>{shown}</ul>" if shown else ""}
<div class="wide" tabindex="0" role="region" aria-label="Tasks"><table class="tasks"><caption>Tasks</caption><thead><tr>
<th scope="col">task</th><th scope="col">model</th><th scope="col">items</th><th scope="col">acc</th><td></td>
<th scope="col">acc_norm</th><th scope="col">p(right)</th><th scope="col">chance</th><th scope="col">uniform</th>
</tr></thead><tbody>{tasks}</tbody></table></div></section>
<section class="card"><h2>Items</h2>
<p>Of each model p(right), and its choice where that is wrong.{cut}</p>
<div class="wide" tabindex="0" role="region" aria-label="Items"><table class="items"><caption>Items</caption><thead><tr>
<th scope="col">task</th><th scope="col">context</th><th scope="col">right</th>{heads}</tr></thead>
<tbody>{items}</tbody></table></div></section>
</main>"""
    return document(f"{title}: {', '.join(names)}", body, style=resource("gpt.evaluation", "report.css"))


def _tasks(models: Outcomes) -> Iterator[str]:
    """Yield the rows of the tasks, those of one task side by side."""
    by_model = {name: groups(outcomes) for name, outcomes in models.items()}
    for task in dict.fromkeys(task for tasks in by_model.values() for task in tasks):
        for name, tasks in by_model.items():
            if not (members := tasks.get(task)):
                continue
            acc = measured(members, "acc")
            cells = [str(acc), _bar(acc, chance(members)), str(measured(members, "acc_norm"))]
            cells += [str(measured(members, "p_right")), f"{chance(members):.3f}", f"{uniform(members):.3f}"]
            columns = "".join(f"<td>{cell}</td>" for cell in cells)
            yield (
                f'<tr class="{"total" if task == ALL else ""}"><th scope="row"><bdi>{clean(task)}</bdi></th>'
                f"<td><bdi>{clean(name)}</bdi></td><td>{len(members):,}</td>{columns}</tr>"
            )


def _bar(value: Mean, at_chance: float) -> str:
    """Return a bar from 0 to 1 with the standard error as a whisker, and a line at chance."""
    error = 0 if math.isnan(value.error) else value.error
    low, high = (min(max(100 * end, 0), 100) for end in (value.value - error, value.value + error))
    return (
        '<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="is" y="2" height="8" width="{100 * value.value:.4g}"/>'
        f'<rect class="error" y="5" height="2" x="{low:.4g}" width="{high - low:.4g}"/>'
        f'<rect class="chance" y="0" height="12" x="{100 * at_chance:.4g}" width="0.6"/></svg>'
    )


def _items(models: Outcomes) -> Iterator[str]:
    """Yield a row for each item, with a cell for each model."""
    by_model = [{outcome.item.number: outcome for outcome in outcomes} for outcomes in models.values()]
    for number in sorted(set().union(*by_model))[:PAGE_ITEMS]:
        outcomes = [by_number.get(number) for by_number in by_model]
        item = next(outcome.item for outcome in outcomes if outcome is not None)
        cells = "".join(f"<td>{_cell(outcome)}</td>" for outcome in outcomes)
        context = item.context if len(item.context) <= 200 else f"…{item.context[-200:]}"
        texts = "".join(f"<td><bdi>{_visible(text)}</bdi></td>" for text in (context, item.choices[item.answer]))
        yield f'<tr><th scope="row"><bdi>{clean(item.task)}</bdi></th>{texts}{cells}</tr>'


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return "skipped"
    if outcome.acc:
        return f'<span class="right">{outcome.p_right:.3f}</span>'
    wrong = outcome.written if outcome.item.is_completion else outcome.item.choices[outcome.chosen]
    return f'<span class="wrong">{outcome.p_right:.3f} <bdi>{_visible(wrong)}</bdi></span>'


def _visible(text: str) -> str:
    """Return a text as HTML, with signs for its line ends and for spaces at its ends."""
    inner = text.strip(" ")
    left, right = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    return "·" * left + clean(inner.replace("\n", "⏎")) + "·" * (right if inner else 0)


def name_runs(paths: Sequence[str]) -> list[str]:
    """Return short names for runs, which differ: the last parts of their paths, as many as that takes.

    >>> name_runs(["runs/a", "runs/b"]), name_runs(["a/best.safetensors", "b/best.safetensors"])
    (['a', 'b'], ['a/best.safetensors', 'b/best.safetensors'])
    """
    parts = [PurePath(path).parts or (path,) for path in paths]
    for n in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-n:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError("run: the same run is named twice; name each once")
