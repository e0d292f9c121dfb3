"""The page of a run: its curves, what it wrote and its options, in one HTML file; several runs are drawn together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from gpt.runs.curves import COLOURS, TRAINING, VALIDATION, Curve, chart, layer_curves
from gpt.runs.estimate import duration
from gpt.runs.run import CONFIG, read_metrics
from gpt.training import Record
from nanograd.inspect.player.html import HtmlPage, clean, document, row
from nanograd.runtime.files import read_input
from nanograd.runtime.typed_json import read_json

UNITS = {"classify": "nats per text", "prefer": "nats per pair"}  # of the loss; "nats per token" elsewhere
SAMPLES = 40  # lines of a table of samples
TIMES = (
    ("seconds", 1.0, 600.0),
    ("minutes", 60.0, 36_000.0),
    ("hours", 3600.0, float("inf")),
)  # unit, its length, most
USUAL_RATIO = 1e-3  # of an update to the weights
STYLE = """
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
.charts .card { margin: 0; } .charts { margin-bottom: 1rem; } svg { max-width: 100%; height: auto; }
.by-time, .by-log { display: none; }
body:has(#time:checked) .by-step, body:has(#log:checked) .by-linear { display: none; }
body:has(#time:checked) .by-time, body:has(#log:checked) .by-log { display: block; }
.switch { display: flex; flex-wrap: wrap; gap: 0.4rem 1.2rem; border: 0; padding: 0; margin: 0.6rem 0 1rem; }
.switch legend { float: left; padding: 0; margin-right: 1rem; } .switch label { white-space: nowrap; }
th { font-size: 0.85rem; padding: 0.2rem 0.6rem; } td { padding: 0.2rem 0.6rem; }
tbody th, .texts thead th { text-align: left; }
tbody th { white-space: nowrap; } h4 { margin-top: 1rem; } td.words { text-align: left; white-space: normal; }
.key { display: inline-block; width: 0.9rem; height: 0.9rem; border-radius: 2px; vertical-align: -0.1rem; }
summary { cursor: pointer; }
@media screen and (prefers-color-scheme: dark) { .charts polyline, .charts path { filter: brightness(1.4); } }
@media print {
  :root { --paper: #fff; } .switch { display: none; } .charts { display: block; } .charts .card { margin-bottom: 1rem; }
}
"""


class Shown(NamedTuple):
    """A run on the page: its name, its records, its options by name, and its colour."""

    name: str
    records: list[Record]
    options: dict[str, Any]
    colour: str

    @property
    def unit(self) -> str:
        return UNITS.get(str(self.options.get("task")), "nats per token")


class Axis(NamedTuple):
    """What x is: the class of its charts, its label, and its value at a record."""

    kind: str
    label: str
    of: Callable[[Record], float]


def run_page(folders: Sequence[str]) -> HtmlPage:
    """Return the page of the runs in these folders.

    Raises ValueError if a run has no steps yet, or more runs are given than there are colours.
    """
    if len(folders) > len(COLOURS):
        raise ValueError(f"plot: {len(COLOURS)} runs fit one page, got {len(folders)}")
    runs = []
    for folder, name, colour in zip(folders, names_of(folders), COLOURS, strict=False):
        if not (records := read_metrics(Path(folder))):
            raise ValueError(f"plot: {folder} has no steps yet")
        runs.append(Shown(name, records, read_options(Path(folder)), colour))
    axes = Axis("by-step", "step", lambda r: r.step), time_axis(runs)
    title = f"Run {runs[0].name}" if len(runs) == 1 else f"{len(runs)} runs: {', '.join(run.name for run in runs)}"
    charts = [loss_card(runs, axes), *step_cards(runs, axes), card("Summary", summary(runs))]
    for run in runs:
        charts += layer_cards(run, axes, f", {run.name}" if len(runs) > 1 else "")
    body = f"""<header><h1>{clean(title)}</h1>{"".join(f"<p>{note}</p>" for note in notes(runs))}</header>
<main>
<fieldset class="switch"><legend>Axes:</legend>
<label><input type="radio" name="axis" id="step" checked> steps</label>
<label><input type="radio" name="axis" id="time"> time</label>
<label><input type="checkbox" id="log"> logarithm of the loss</label></fieldset>
<div class="charts">{"".join(charts)}</div>
{samples(runs)}{differences(runs)}{options(runs)}
</main>"""
    return document(title, body, style=STYLE)


def names_of(folders: Sequence[str]) -> list[str]:
    """Return a short name for each folder: its last part, or its path where that is not enough."""
    short = [Path(folder).resolve().name for folder in folders]
    names = [name if short.count(name) == 1 else folder for folder, name in zip(folders, short, strict=True)]
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, start=1)]


def read_options(folder: Path) -> dict[str, Any]:
    """Return the options of a run from its config.json, {} if it has none; ValueError if that is damaged."""
    path = folder / CONFIG
    if not path.exists():
        return {}
    try:
        content = read_json(read_input(path), dict[str, Any])
        groups = [group for key in ("model", "train") if isinstance(group := content.get(key), dict)]
        task = content.get("task")
        found = {"task": task.get("kind")} if isinstance(task, dict) else {}
    except ValueError as error:
        raise ValueError(f"{path} is no config of a run: {error}") from None
    sums = {key: str(content[key])[:12] for key in ("text_sha256", "tokenizer_sha256") if key in content}
    return found | {name: value for group in groups for name, value in group.items()} | sums


def time_axis(runs: Sequence[Shown]) -> Axis:
    """Return the axis of wall-clock time, in a unit that suits the longest run."""
    longest = max(run.records[-1].elapsed_s for run in runs)
    unit, seconds = next((u, s) for u, s, most in TIMES if longest < most)
    return Axis("by-time", f"wall-clock time ({unit})", lambda r: r.elapsed_s / seconds)


def notes(runs: Sequence[Shown]) -> list[str]:
    """Return what a reader must know, as HTML."""
    result = []
    if len({run.options.get("tokenizer_sha256") for run in runs}) > 1:
        result.append("The runs have different tokenizers: their losses per token cannot be compared.")
    if len({run.unit for run in runs}) > 1:
        result.append(f"Their losses have different units: {', '.join(f'{clean(r.name)}: {r.unit}' for r in runs)}.")
    for run in runs:
        if not any(r.grad_norms for r in run.records):
            result.append(f"{clean(run.name)} has no measurements by layer: none of its steps was evaluated with them.")
        if not run.options:
            result.append(f"{clean(run.name)} has no {CONFIG}: its options are not known.")
    return result


def summary(runs: Sequence[Shown]) -> str:
    """Return a table with the results of each run."""
    rows = []
    for run in runs:
        last = run.records[-1]
        evaluated = [(r.val_loss, r.step) for r in run.records if r.val_loss is not None]
        best = "{:.4f}, at step {:,}".format(*min(evaluated)) if evaluated else "–"
        speed = median(r.tokens_per_s for r in run.records)
        cells = f"{last.step:,}", f"{last.loss:.4f}", best, duration(last.elapsed_s), f"{speed:,.0f}"
        rows.append((run, cells))
    heads = "steps", "last training loss", "best validation loss", "time", "targets per second, median"
    return table(heads, [(name_cell(run, runs), [clean(cell) for cell in cells]) for run, cells in rows])


def name_cell(run: Shown, runs: Sequence[Shown]) -> str:
    """Return the name of a run as HTML, with its colour where there are several."""
    key = f'<svg class="key" viewBox="0 0 1 1" aria-hidden="true"><path d="M0 0h1v1H0z" fill="{run.colour}"/></svg> '
    return f"{key if len(runs) > 1 else ''}<bdi>{clean(run.name)}</bdi>"


def table(heads: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]], words: bool = False) -> str:
    """Return a table; its rows have a header and cells, which are HTML, of numbers or of words."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    cell = '<td class="words">' if words else "<td>"
    body = "".join(row(name, "".join(f"{cell}{text}</td>" for text in cells)) for name, cells in rows)
    kind = "wide texts" if words else "wide"
    return f'<div class="{kind}"><table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def card(title: str, pictures: str, note: str = "") -> str:
    """Return a chart with its heading and a note; "" without pictures."""
    words = f'<p class="note">{note}</p>' if note else ""
    return f'<section class="card"><h2>{clean(title)}</h2>{pictures}{words}</section>' if pictures else ""


def by_axis(
    axes: Sequence[Axis], curves: Callable[[Axis], list[Curve]], title: str, y: str, kind: str = "", **options: Any
) -> str:
    """Return a chart for each axis, of which one is shown."""
    drawn = [
        (axis, chart(curves(axis), title=f"{title}, by {axis.label}", x=axis.label, y=y, **options)) for axis in axes
    ]
    return "".join(f'<div class="{axis.kind}">{wrapped(svg, kind)}</div>' for axis, svg in drawn if svg)


def wrapped(html: str, kind: str) -> str:
    return f'<div class="{kind}">{html}</div>' if kind else html


def loss_card(runs: Sequence[Shown], axes: Sequence[Axis]) -> str:
    """Return the charts of the losses: linear and logarithmic."""

    def curves(axis: Axis) -> list[Curve]:
        result = []
        for run in runs:
            prefix = f"{run.name}, " if len(runs) > 1 else ""
            evaluated = [(axis.of(r), r.val_loss) for r in run.records if r.val_loss is not None]
            colours = (run.colour, run.colour) if prefix else (TRAINING, VALIDATION)
            steps = [(axis.of(r), r.loss) for r in run.records]
            result.append(Curve(f"{prefix}training", steps, colours[0], 0.8, "2 2" if prefix else ""))
            result.append(Curve(f"{prefix}validation", evaluated, colours[1], 2, dots=True))
        return result

    y = f"loss ({runs[0].unit})"
    pictures = [by_axis(axes, curves, "loss", y, kind, log=kind == "by-log") for kind in ("by-linear", "by-log")]
    return card("Loss", "".join(pictures))


def step_cards(runs: Sequence[Shown], axes: Sequence[Axis]) -> list[str]:
    """Return the charts of the learning rate and of the gradient norm."""

    def curves(value: Callable[[Record], float]) -> Callable[[Axis], list[Curve]]:
        return lambda axis: [Curve(r.name, [(axis.of(x), value(x)) for x in r.records], r.colour, 1.2) for r in runs]

    clips = {run.options.get("grad_clip") for run in runs}
    clip = clips.pop() if len(clips) == 1 else None
    level = (float(clip), f"clipped above {clip:g}") if isinstance(clip, (int, float)) else None
    norm = by_axis(axes, curves(lambda r: r.grad_norm), "gradient norm", "gradient norm", log=True, level=level)
    return [
        card("Learning rate", by_axis(axes, curves(lambda r: r.lr), "learning rate", "learning rate")),
        card("Gradient norm", norm, "Of the whole gradient, before it is clipped."),
    ]


def layer_cards(run: Shown, axes: Sequence[Axis], name: str) -> list[str]:
    """Return the charts of what is measured by layer; name is appended to their titles."""

    def curves(value: Callable[[Record], dict[str, float] | None]) -> Callable[[Axis], list[Curve]]:
        return lambda axis: layer_curves([(axis.of(r), layers) for r in run.records if (layers := value(r))])

    norms, ratios = curves(lambda r: r.grad_norms), curves(lambda r: r.update_ratios)
    level = (USUAL_RATIO, f"{USUAL_RATIO:g}, a usual size")
    note = "Norm of an update of a layer's matrices, divided by the norm of the matrices."
    titles = f"Gradient norm by layer{name}", f"Update to weight by layer{name}"
    return [
        card(titles[0], by_axis(axes, norms, titles[0], "gradient norm", log=True)),
        card(titles[1], by_axis(axes, ratios, titles[1], "update norm / weight norm", log=True, level=level), note),
    ]


def samples(runs: Sequence[Shown]) -> str:
    """Return tables of the lines that each run wrote over time."""
    tables = []
    for run in runs:
        written = [r for r in run.records if r.sample is not None]
        n = -(-len(written) // SAMPLES) or 1
        shown = written[::-1][::n][::-1]  # with the last
        rows = [(f"{r.step:,}", [duration(r.elapsed_s), f"<bdi>{clean(r.sample or '')}</bdi>"]) for r in shown]
        left_out = f'<p class="note">{len(shown)} of {len(written)} samples.</p>' if n > 1 else ""
        title = f"<h4>{name_cell(run, runs)}</h4>" if len(runs) > 1 else ""
        if rows:
            tables.append(title + left_out + table(("time", "text"), rows, words=True))
    return f'<section class="card"><h2>What it wrote, by step</h2>{"".join(tables)}</section>' if tables else ""


def differences(runs: Sequence[Shown]) -> str:
    """Return a table of the options in which several runs differ."""
    if len(runs) < 2:
        return ""
    names = [name for name in option_names(runs) if len({repr(run.options.get(name)) for run in runs}) > 1]
    rows = option_table(runs, names) if names else "<p>No option differs.</p>"
    return f'<section class="card"><h2>Options that differ</h2>{rows}</section>'


def options(runs: Sequence[Shown]) -> str:
    """Return a table of all options, which opens at a click."""
    names = option_names(runs)
    if not names:
        return ""
    rows = option_table(runs, names)
    return (
        f'<section class="card"><h2>Options</h2><details><summary>All {len(names)}</summary>{rows}</details></section>'
    )


def option_names(runs: Sequence[Shown]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.options))


def option_table(runs: Sequence[Shown], names: Sequence[str]) -> str:
    """Return a table of options, a column for each run."""
    rows = [(clean(name), [clean(option_text(run.options, name)) for run in runs]) for name in names]
    return table([name_cell(run, runs) for run in runs], rows, words=True)


def option_text(values: Mapping[str, Any], name: str) -> str:
    """Return an option as a flag takes it."""
    value = values.get(name, "–")
    return "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
