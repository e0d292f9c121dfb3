"""The second half of an op's page: Jacobian, finite differences, mistakes, cost and code."""

import numpy as np

from nanograd.cases.case import Make, case, exactly, none
from nanograd.cost import cost
from nanograd.differences import finite_differences
from nanograd.drills import DRILLS
from nanograd.player.drawing import clean
from nanograd.player.heat import heatmap
from nanograd.study import curve
from nanograd.study.code import listing
from nanograd.study.mistakes import RIGHT, Compared, Mistake, blind_spot, mistakes
from nanograd.study.saving import Saved, saved_by
from nanograd.study.tables import error, index, rows, table
from nanograd.study.worked import Worked

SIDE = 16  # rows and columns of a Jacobian that are shown
TOKENS, FEATURES = 2048, 512  # of a training step, for a sense of size


def jacobian(worked: Worked) -> str:
    """Show the whole matrix of slopes beside what backward does without it."""
    i = worked.wanted[0]
    name, x, right = worked.names[i], worked.arrays[i], worked.gradients[i]
    dense = np.zeros((worked.y.size, x.size))
    subject = worked.subject()
    back = subject.run(subject.inputs)[1]
    for row, basis in zip(dense, np.eye(worked.y.size), strict=True):
        row[...] = np.asarray(back(basis.reshape(worked.y.shape))[i]).reshape(-1)
    product = (worked.dy.reshape(-1) @ dense).reshape(x.shape)
    zeros = np.count_nonzero(dense == 0)
    said = (
        f"y has {worked.y.size} numbers and {name} has {x.size}, so their slopes are a matrix of {dense.size}, of which {zeros} "
        f"are 0. Backward never makes it: it needs only dy times it, which is {right.size} numbers."
    )
    if worked.y.size == x.size > 1:
        n = TOKENS * FEATURES
        said += (
            f" For {TOKENS} tokens of {FEATURES} features it would have {n * n:.1e} entries, {4 * n * n / 1e12:.1f} TB in float32."
        )
    cut = dense[:SIDE, :SIDE]
    over = f", its first {SIDE} rows and columns" if cut.size < dense.size else ""
    map_ = heatmap(
        f"dy/d{name}: row = entry of y, column = entry of {name}{over}",
        cut,
        [f"y{index(worked.y.shape, k)}" for k in range(len(cut))],
        [f"{name}{index(x.shape, k)}" for k in range(cut.shape[1])],
    )
    off = float(np.abs(product - right).max(initial=0))
    return (
        f'<p>{clean(said)}</p><div class="beside">{map_}<div>{table(f"dy · (dy/d{name})", product)}{table(f"d{name} by backward", right)}'
        f'<p class="check"><span aria-hidden="true">✓</span> they differ by {error(off)}</p></div></div>'
    )


def differences(worked: Worked) -> str:
    """Show analytic, numeric and error of each gradient, and the error over the step size for the first."""
    subject = worked.subject()
    parts = []
    for i in worked.wanted:
        x, right, name = subject.inputs[i], worked.gradients[i], worked.names[i]
        numeric = finite_differences(lambda: np.vdot(worked.dy, subject.value(subject.inputs)), x)
        maps = [("analytic", right), ("numeric", numeric), ("error", right - numeric)]
        parts.append(f'<div class="maps">{"".join(_map(f"d{name}, {what}", a) for what, a in maps)}</div>')
    steps = curve.step_errors(worked, worked.wanted[0])
    name = worked.names[worked.wanted[0]]
    return (
        "<p>Analytic is what backward says; numeric are slopes of ⟨dy, y⟩ by central differences at three steps, extrapolated to "
        f"step 0 (Richardson), which know nothing of the derivation.</p>{''.join(parts)}<h3>The V-curve of d{clean(name)}</h3>"
        f'<p>{clean(curve.said(steps))}</p><div class="beside">{curve.svg(steps)}{curve.table(steps)}</div>'
    )


def _map(caption: str, a: np.ndarray) -> str:
    flat = a.reshape(-1, a.shape[-1]) if a.ndim else a.reshape(1, 1)
    names = [", ".join(map(str, np.unravel_index(k, a.shape[:-1]))) if a.ndim > 1 else "0" for k in range(len(flat))]
    return heatmap(caption, flat, names, [str(j) for j in range(flat.shape[1])])


def the_mistakes(worked: Worked) -> str:
    """List the mistakes of an op with their numbers, and show one that a uniform cotangent does not see."""
    found = mistakes(worked)
    body = [
        [
            clean(each.name),
            clean(each.wrong),
            f'<code class="was">{clean(_inline(each.change[0]))}</code><span class="to"> → </span><code>{clean(_inline(each.change[1])) or "nothing"}</code>',
            _seen(each.uniform),
            _seen(each.random),
            clean(each.caught),
        ]
        for each in found
    ]
    head = ["mistake", "what is wrong", "the code, right → wrong", "error, dy = 1", "error, random dy", "caught by"]
    spot = blind_spot(found)
    drilled = worked.op.name in DRILLS
    try_it = f" Try your own: <code>python -m nanograd drill start {clean(worked.op.name)}</code>." if drilled else ""
    return (
        "<p>Wrong backwards of this op, planted and run at build time. An error is the largest difference from finite "
        f"differences, relative to the largest slope or to 1; up to {RIGHT:g} counts as none.{try_it}</p>"
        f"{rows('Mistakes, and what sees them', head, body, 'mistakes')}<h3>The blind spot: why dy must be random</h3>{_blind(spot)}"
    )


def _inline(code: str) -> str:
    return "; ".join(line.strip() for line in code.splitlines())


def _seen(compared: Compared | None) -> str:
    if compared is None:
        return "raises"
    if compared.error == np.inf:
        return "wrong shape, or not finite"
    word = "seen" if compared.error > RIGHT else "<b>unseen</b>"
    return f"<code>{error(compared.error)}</code> {word}"


def _blind(spot: Mistake) -> str:
    """Show a wrong backward that passes with dy = 1, and fails with a random dy, number by number."""
    assert spot.uniform is not None
    assert spot.random is not None
    which = max(
        (i for i, right in enumerate(spot.random.right) if right is not None),
        key=lambda i: float(np.abs(spot.random.got[i] - spot.random.right[i]).max(initial=0)),
    )
    name = f"d{spot.names[which] if which < len(spot.names) else which}"
    parts = []
    for title, compared, verdict in (
        ("A test with dy = 1, as y.sum() makes it", spot.uniform, "passes, though the backward is wrong"),
        ("The same test with a random dy", spot.random, "fails, as it should"),
    ):
        ok = compared.error <= RIGHT
        parts.append(
            f'<div class="stage {"fooled" if ok else "caught"}"><h4>{title}</h4><div class="flow">{table("dy", compared.dy)}'
            f'{table(f"{name}, finite differences", _readable(compared.right[which]))}{table(f"{name}, the wrong backward", _readable(compared.got[which]))}</div>'
            f'<p class="verdict"><span aria-hidden="true">{"⚠" if ok else "✓"}</span> largest error {error(compared.error)}: the test {verdict}.</p></div>'
        )
    return (
        f"<p><b>{clean(spot.name)}</b>: {clean(spot.wrong)}. The code has <code>{clean(_inline(spot.change[1]))}</code> where "
        f"<code>{clean(_inline(spot.change[0]))}</code> is right.</p>{''.join(parts)}"
    )


def _readable(a: np.ndarray) -> np.ndarray:
    """Return numbers without the noise of rounding: the error beside them tells of it."""
    return np.round(np.asarray(a, np.float64), 9) + 0.0


def the_cost(worked: Worked) -> str:
    """Tell FLOPs and bytes at the example, and what is saved for which statement."""
    makes: list[Make] = [none() if a is None else exactly(a) for a in worked.arrays]
    counted = cost(worked.op, case("the example", *makes, **worked.options))
    moved = [4 * sum(np.size(a) for a in worked.arrays if a is not None), 4 * worked.y.size]
    back = [4 * worked.y.size + counted.saved, 4 * sum(np.size(worked.arrays[i]) for i in worked.wanted)]
    body = [
        [which, str(flops), str(read), str(written), f"{flops / max(1, read + written):.2g}"]
        for which, flops, (read, written) in (("forward", counted.forward, moved), ("backward", counted.backward, back))
    ]
    cost_table = rows(
        "Cost at the example, in float32", ["", "FLOPs", "bytes read", "bytes written", "FLOPs a byte"], body, "cost"
    )
    kept = saved_by(worked)
    lines = [[f"<code>{clean(each.name)}</code>", _what(each), clean(each.source), _used(each)] for each in kept]
    saved_table = rows("What forward saves", ["saved", "what", "whose memory", "because backward computes"], lines, "saved")
    lost = [name for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None and not _kept(a, kept)]
    free = f"<p>Backward needs no <code>{'</code>, <code>'.join(map(clean, lost))}</code>: the op does not keep it alive.</p>" if lost else ""
    return f"{cost_table}{saved_table}{free}"


def _what(each: Saved) -> str:
    if isinstance(each.value, np.ndarray):
        return f"<code>{clean(str(each.value.shape))}</code>, {each.bytes} bytes"
    text = repr(each.value)
    return f"<code>{clean(text if len(text) < 40 else text[:39] + '…')}</code>"


def _used(each: Saved) -> str:
    return "<br>".join(f"<code>{clean(line)}</code>" for line in each.used) or "nothing at this example"


def _kept(a: np.ndarray, kept: list[Saved]) -> bool:
    return any(isinstance(each.value, np.ndarray) and np.may_share_memory(a, each.value) for each in kept)


def the_code(worked: Worked) -> str:
    """Return the readable pair, and the fast one beside it."""
    op = worked.op
    readable = "".join(map(listing, op.pair))
    if op.fast is None:
        return f'<p>There is one pair: nothing faster earned its place.</p><div class="code">{readable}</div>'
    return (
        '<p>The readable pair is the specification; the fast pair gives the same numbers, and tests hold it to that.</p><div class="pairs">'
        f'<div><h3>Readable</h3>{readable}</div><div><h3>Fast</h3>{"".join(map(listing, op.fast))}</div></div>'
    )
