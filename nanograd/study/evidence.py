"""The second half of an op's page: Jacobian, finite differences, mistakes, cost and code."""

import numpy as np

from nanograd.check.cases.case import Make, case, exactly, none
from nanograd.check.cost import cost
from nanograd.check.numeric import finite_differences
from nanograd.inspect.player.html import clean, heatmap
from nanograd.study import step_size_plot
from nanograd.study.drills import DRILLS
from nanograd.study.markup import code, error, index, inline, listing, rows, table
from nanograd.study.mistakes import RIGHT, Compared, Mistake, blind_spot
from nanograd.study.worked_example import Saved, WorkedExample, saved_arrays

SIDE = 16  # rows and columns of a Jacobian that are shown
TOKENS, FEATURES = 2048, 512  # of a training step, for a sense of size


def jacobian_section(worked: WorkedExample) -> str:
    """Show the whole Jacobian, and the product with dy that backward computes without it."""
    i = worked.differentiated[0]
    name, x, right = worked.names[i], worked.arrays[i], worked.gradients[i]
    dense = np.zeros((worked.y.size, x.size))
    target = worked.target()
    back = target.run(target.inputs)[1]
    for row, basis in zip(dense, np.eye(worked.y.size), strict=True):
        row[...] = np.asarray(back(basis.reshape(worked.y.shape))[i]).reshape(-1)
    product = (worked.dy.reshape(-1) @ dense).reshape(x.shape)
    zeros = f"<span data-zeros>{np.count_nonzero(dense == 0)}</span>"
    text = (
        f"y has {worked.y.size} numbers and {clean(name)} has {x.size}, so the Jacobian has {dense.size} entries, of which "
        f"{zeros} are 0. Backward never builds it: dy times the Jacobian is only {x.size} numbers."
    )
    if worked.y.size == x.size > 1:
        n = (TOKENS * FEATURES) ** 2
        size = f"{n:.1e} entries, {4 * n / 1e12:.1f} TB in float32"
        text += f" For {TOKENS} tokens of {FEATURES} features it would have {size}."
    cut = dense[:SIDE, :SIDE]
    over = f", its first {SIDE} rows and columns" if cut.size < dense.size else ""
    heat = heatmap(
        f"∂y/∂{name}: row = entry of y, column = entry of {name}{over}",
        cut,
        [f"y{index(worked.y.shape, k)}" for k in range(len(cut))],
        [f"{name}{index(x.shape, k)}" for k in range(cut.shape[1])],
    )
    off = float(np.abs(product - right).max(initial=0))
    both = table(f"dy · ∂y/∂{name}", product, key="product") + table(f"d{name} by backward", right, key="gradient")
    differ = f"they differ by <span data-error>{error(off)}</span>"
    check = f'<p class="check"><span aria-hidden="true">✓</span> {differ}</p>'
    live = f'data-live="jacobian" data-by="{clean(name)}"'
    return f'<p>{text}</p><div class="beside" {live}>{heat}<div>{both}{check}</div></div>'


def differences_section(worked: WorkedExample) -> str:
    """Show each gradient by backward and by finite differences, their difference, and the error by step size."""
    target = worked.target()
    parts = []
    for i in worked.differentiated:
        x, right, name = target.inputs[i], worked.gradients[i], worked.names[i]
        numeric = finite_differences(lambda: np.vdot(worked.dy, target.value(target.inputs)), x)
        maps = [("analytic", right), ("numeric", numeric), ("error", right - numeric)]
        live = f'data-live="differences" data-by="{clean(name)}"'
        parts.append(f'<div class="maps" {live}>{"".join(_map(f"d{name}, {what}", a) for what, a in maps)}</div>')
    steps = step_size_plot.step_errors(worked, worked.differentiated[0])
    name = clean(worked.names[worked.differentiated[0]])
    return (
        "<p>Analytic is the result of backward; numeric is the gradient of ⟨dy, y⟩ by central differences at three steps, "
        "extrapolated to step 0 (Richardson), independently of the derivation.</p>"
        f"{''.join(parts)}<h3>The V-curve of d{name}</h3>"
        f'<div class="original"><p>{clean(step_size_plot.describe(steps))}</p>'
        f'<div class="beside">{step_size_plot.svg(steps)}{step_size_plot.table(steps)}</div></div>'
    )


def _map(caption: str, a: np.ndarray) -> str:
    flat = a.reshape(-1, a.shape[-1]) if a.ndim else a.reshape(1, 1)
    names = [index(a.shape[:-1], k).strip("[]") or "0" for k in range(len(flat))]
    return heatmap(caption, flat, names, [str(j) for j in range(flat.shape[1])])


def mistakes_section(name: str, mistakes: list[Mistake]) -> str:
    """List the mistakes of an op with their numbers, and show one that a uniform cotangent does not see."""
    body = [
        [
            inline(mistake.name),
            inline(mistake.wrong),
            f'<code class="was">{clean(_flat(mistake.change[0]))}</code> → {code(_flat(mistake.change[1]) or "nothing")}',
            _seen(mistake.uniform),
            _seen(mistake.random),
            clean(mistake.caught),
        ]
        for mistake in mistakes
    ]
    head = ["mistake", "what is wrong", "the code, right → wrong", "error, dy = 1", "error, random dy", "caught by"]
    own = ""
    if name in DRILLS:
        own = f" The drill catches them; try your own: {code(f'python -m nanograd drill start {name}')}."
    return (
        "<p>Wrong backwards of this op, planted and run when this page was made. An error is the largest difference from "
        f"finite differences, relative to the largest derivative or to 1; up to {RIGHT:g} counts as none.{own}</p>"
        f"{rows('Mistakes, and what sees them', head, body, 'mistakes')}"
        f"<h3>The blind spot: why dy must be random</h3>{_blind(mistakes)}"
    )


def _flat(lines: str) -> str:
    return "; ".join(line.strip() for line in lines.splitlines())


def _seen(compared: Compared | None) -> str:
    if compared is None:
        return "raises"
    if compared.error == np.inf:
        return "wrong shape, or not finite"
    return f"{code(error(compared.error))} {'seen' if compared.error > RIGHT else '<b>unseen</b>'}"


def _blind(mistakes: list[Mistake]) -> str:
    """Show a wrong backward that passes with dy = 1, and fails with a random dy, number by number."""
    spot = blind_spot(mistakes)
    if spot is None:
        return "<p>This example is too small to show one: its gradient is 0 whatever dy is.</p>"
    uniform, random = spot.uniform, spot.random
    assert uniform is not None
    assert random is not None
    worst = max(
        (i for i, right in enumerate(random.right) if right is not None),
        key=lambda i: float(np.abs(random.got[i] - random.right[i]).max(initial=0)),
    )
    of = spot.names[worst] if worst < len(spot.names) else "x"
    name, live = f"d{of}", f'data-live="spot" data-mistake="{mistakes.index(spot)}" data-by="{clean(of)}"'
    return (
        f"<p><b>{inline(spot.name)}</b>: {inline(spot.wrong)}. The code has {code(_flat(spot.change[1]))} where "
        f"{code(_flat(spot.change[0]))} is right.</p>"
        f"{_tested('A test with dy = 1, as y.sum() makes it', name, worst, uniform, live)}"
        f"{_tested('The same test with a random dy', name, worst, random, f'{live} data-random')}"
    )


def _tested(title: str, name: str, which: int, compared: Compared, live: str) -> str:
    """Show what a test saw of one gradient, and its verdict; live: attributes for the script."""
    kind, sign, verdict = "caught", "✓", "fails, as it should"
    if compared.error <= RIGHT:
        kind, sign, verdict = "fooled", "⚠", "passes, though the backward is wrong"
    tables = (
        table("dy", compared.dy, key="dy")
        + table(f"{name}, finite differences", _readable(compared.right[which]), key="right")
        + table(f"{name}, the wrong backward", _readable(compared.got[which]), key="got")
    )
    return (
        f'<div class="{kind}" {live}><h4>{title}</h4><div class="flow">{tables}</div><p class="verdict">'
        f'<span aria-hidden="true">{sign}</span> largest error {error(compared.error)}: the test {verdict}.</p></div>'
    )


def _readable(a: np.ndarray) -> np.ndarray:
    """Return numbers without the noise of rounding: the error beside them tells of it."""
    return np.round(np.asarray(a, np.float64), 9)


def cost_section(worked: WorkedExample) -> str:
    """Tell FLOPs and bytes at the example, and what is saved for which statement."""
    makes: list[Make] = [none() if a is None else exactly(a) for a in worked.arrays]
    counted = cost(worked.op, case("the example", *makes, **worked.options))
    arrays, y = 4 * sum(np.size(a) for a in worked.arrays if a is not None), 4 * worked.y.size
    gradients = 4 * sum(worked.arrays[i].size for i in worked.differentiated)
    body = [
        [which, str(flops), str(read), str(written), f"{flops / max(1, read + written):.2g}"]
        for which, flops, read, written in (
            ("forward", counted.forward, arrays, y),
            ("backward", counted.backward, y + counted.saved, gradients),
        )
    ]
    saved = saved_arrays(worked)
    lines = [[code(item.name), _what(item), clean(item.source), _used(item)] for item in saved]
    lost = [
        code(name)
        for name, a in zip(worked.names, worked.arrays, strict=True)
        if a is not None and not any(np.may_share_memory(a, b) for item in saved for b in item.arrays)
    ]
    free = f"<p>Backward needs no {', '.join(lost)}: the op does not keep it alive.</p>" if lost else ""
    head = ["", "FLOPs", "bytes read", "bytes written", "FLOPs a byte"]
    why = ["saved", "what", "whose memory", "because backward computes"]
    price = rows("Cost at the example, in float32", head, body, "cost")
    saves = rows("What forward saves", why, lines, "saved") if saved else "<p>Forward saves nothing.</p>"
    return f"{price}{saves}{free}"


def _what(saved: Saved) -> str:
    if isinstance(saved.value, np.ndarray):
        return f"{code(saved.value.shape)}, {saved.bytes} bytes"
    if saved.arrays:
        return f"{len(saved.arrays)} arrays, {saved.bytes} bytes"
    text = repr(saved.value)
    return code(text if len(text) < 40 else text[:39] + "…")


def _used(saved: Saved) -> str:
    return "<br>".join(map(code, saved.used)) or "nothing at this example"


def code_section(worked: WorkedExample) -> str:
    """Return the readable pair, and the fast one below it."""
    op = worked.op
    readable = "".join(map(listing, op.pair))
    if op.fast is None:
        return f'<p>There is one pair: no faster one is worth its code.</p><div class="code">{readable}</div>'
    fast = "".join(map(listing, op.fast))
    return (
        "<p>The readable pair is the specification; the fast pair gives the same numbers, and tests hold it to that.</p>"
        f'<div class="code"><h3>Readable</h3>{readable}<h3>Fast</h3>{fast}</div>'
    )
