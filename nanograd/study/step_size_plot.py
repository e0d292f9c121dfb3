"""The V-curve: the error of finite differences at each step size, from too coarse to too fine."""

import math
from typing import NamedTuple

import numpy as np

from nanograd.check.target import Target
from nanograd.inspect.player.html import number
from nanograd.study.markup import error, rows
from nanograd.study.worked_example import WorkedExample

POWERS = range(0, 14)  # steps 10⁰ … 10⁻¹³
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 260, 52, 92, 14, 40
FLOOR, CEILING = -16, 2  # decades of error that are drawn
EXACT = 1e-12  # a smaller error is rounding alone


class Step(NamedTuple):
    """The largest error of the gradient by differences at one step size, relative to the gradient's largest entry.

    Infinite if the step leaves the domain of the op, such as x = 0.5 - 1 for a logarithm.
    """

    h: float
    forward: float  # (f(x + h) - f(x)) / h
    central: float  # (f(x + h) - f(x - h)) / 2h


def step_errors(worked: WorkedExample, i: int) -> list[Step]:
    """Return the error of the gradient of ⟨dy, y⟩ by array i at each step size, compared with backward."""
    target = worked.target()
    x, right = target.inputs[i], worked.gradients[i]
    scale = float(np.abs(right).max(initial=0)) or 1.0
    here = _value(target, worked.dy)
    steps = []
    for power in POWERS:
        h = 10.0**-power
        forward, central = np.zeros(x.shape), np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            old = x[index]
            x[index] = old + h
            up = _value(target, worked.dy)
            x[index] = old - h
            down = _value(target, worked.dy)
            x[index] = old
            forward[index], central[index] = (up - here) / h, (up - down) / (2 * h)
        errors = (float(np.abs(estimate - right).max(initial=0)) / scale for estimate in (forward, central))
        steps.append(Step(h, *(estimate if math.isfinite(estimate) else math.inf for estimate in errors)))
    return steps


def _value(target: Target, dy: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        return float(np.vdot(dy, target.value(target.inputs)))


def describe(steps: list[Step]) -> str:
    """Describe in words what the curve shows."""
    best = min(steps, key=lambda step: step.central)
    agrees = f"At h = {best.h:g} central differences agree with backward to {error(best.central)}."
    fine = "y(x + h) and y(x - h) agree in most digits, so rounding errors dominate their difference and grow like 1/h"
    largest = next(step for step in steps if math.isfinite(step.central))
    if max(largest.forward, largest.central) < EXACT:
        return f"{agrees} The op is linear in this input, and no step is too coarse. To the left they are too fine: {fine}."
    why = "the error of a one-sided difference grows like h, of a central one like h²"
    if largest.central < EXACT:
        why = "a one-sided difference is off by a multiple of h; a central one is not, as there is no third derivative"
    outside = "" if largest is steps[0] else f" A step larger than {largest.h:g} leaves the op's domain."
    return f"{agrees} To the right, steps are too coarse: {why}. To the left, they are too fine: {fine}.{outside}"


def table(steps: list[Step]) -> str:
    """Return the numbers of the curve."""
    names = [f"10<sup>−{power}</sup>" if power else "1" for power in POWERS]
    body = [[name, error(s.central), error(s.forward)] for name, s in zip(names, steps, strict=True)]
    return rows("Error of the gradient by step size", ["h", "central", "one-sided"], body, "steps")


def svg(steps: list[Step]) -> str:
    """Draw both errors over the step size, each axis in decades; what is off the scale is at its edge."""
    parts = [
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Error of finite differences over the '
        'step size h; the numbers are in the table beside">'
    ]
    for decade in range(FLOOR, CEILING + 1, 3):
        y = _y(10.0**decade)
        parts.append(f'<path class="grid" d="M{LEFT} {y:g}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick y" x="{LEFT - 8}" y="{y + 4:g}">{_power(decade)}</text>')
    for power in POWERS[::3]:
        x = _x(10.0**-power)
        parts.append(f'<path class="grid" d="M{x:g} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick x" x="{x:g}" y="{HEIGHT - BOTTOM + 17}">{_power(-power)}</text>')
    parts.append(f'<text class="tick x" x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 5}">step h</text>')
    first = {}
    for kind in ("forward", "central"):
        points = [(_x(step.h), _y(getattr(step, kind))) for step in steps if math.isfinite(getattr(step, kind))]
        first[kind] = points[0]
        parts.append(f'<path class="{kind} line" d="M{"L".join(f"{x:g} {y:g}" for x, y in points)}"/>')
        parts += [_mark(kind, x, y) for x, y in points]
    upper, lower = sorted(first, key=lambda kind: first[kind][1])
    y = min(max(first[upper][1] - 2, 12), HEIGHT - BOTTOM - 14)
    heights = {upper: y, lower: max(y + 14, first[lower][1] + 4)}  # so that the two names do not overlap
    for kind, word in (("forward", "one-sided"), ("central", "central")):
        parts.append(f'<text class="{kind} name" x="{first[kind][0] + 10:g}" y="{heights[kind]:g}">{word}</text>')
    return "".join([*parts, "</svg>"])


def _mark(kind: str, x: float, y: float) -> str:
    if kind == "central":
        return f'<circle class="central mark" cx="{x:g}" cy="{y:g}" r="3.5"/>'
    return f'<rect class="forward mark" x="{x - 3:g}" y="{y - 3:g}" width="6" height="6"/>'


def _x(h: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (1 + math.log10(h) / POWERS[-1]), 1)


def _y(off: float) -> float:
    decades = min(max(math.log10(off), FLOOR), CEILING) if off else FLOOR
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (CEILING - decades) / (CEILING - FLOOR), 1)


def _power(decade: int) -> str:
    """Write a power of ten."""
    return f'10<tspan dy="-5" font-size="9">{number(decade).replace("-", "−")}</tspan>' if decade else "1"
