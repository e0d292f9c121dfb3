"""The sections of the page, one per step: an op forward, an op backward, and at the end all gradients."""

import inspect
from collections.abc import Iterator

from nanograd.inspect.player.drawing import Playback
from nanograd.inspect.player.explanations import gradient, leaf_value
from nanograd.inspect.player.html import clean, number
from nanograd.inspect.player.tables import copy, table
from nanograd.inspect.trace import Contribution, Summary, Target
from nanograd.op import OPS, Op
from nanograd.ops._equations import numbered_equations
from nanograd.ops._unbroadcast import broadcasts_to
from nanograd.study.notation import parse, to_mathml
from nanograd.tape import Node


class Steps:
    """Write the sections of a playback.

    Every array has one table: a result in its forward step, a gradient in the backward step that contributes it, a leaf in
    the last step. Elsewhere the script puts a copy in the place that names it; without a script that is a link.

    whole: small arrays are shown whole. pages: the folder of the study pages as the page would link to it, or None.
    """

    def __init__(self, playback: Playback, *, whole: bool, pages: str | None) -> None:
        self.playback, self.whole, self.pages = playback, whole, pages
        self.ops = list(dict.fromkeys(node.op for node in playback.nodes))

    def __iter__(self) -> Iterator[str]:
        yield from map(self.forward, self.playback.nodes)
        yield from map(self.backward, self.playback.backwards)
        yield self.end()

    def forward(self, node: Node) -> str:
        """Return the forward step of an op: its operands, its numbered lines and its result."""
        record = node.record
        operands = [
            self.value(target, name, a) if target is not None else self.table(name, a)
            for target, name, a in zip(record.parents, record.inputs, record.values, strict=True)
            if a is not None
        ]
        inputs = ", ".join(
            f"{name} {'—' if a is None else a.shape}" for name, a in zip(record.inputs, record.values, strict=True)
        )
        options = "".join(f", {name}={value!r}" for name, value in record.options.items())
        call = f"{node.op.name}({inputs}{options}) → {record.y.shape}"
        key = self.playback.keys[node]
        result = self.table("y", record.y, id=f"value-{key}")
        body = (
            f'<p class="call"><code>{clean(call)}</code></p>{self.lines(node.op, "forward")}'
            f'<div class="flow">{"".join(operands)}'
            f'<div class="result"><span class="arrow" aria-hidden="true">→</span>{result}</div></div>'
        )
        keys = " ".join(self.playback.keys[parent] for parent in record.parents if parent is not None)
        return self.section(node, self.playback.forward_step[node], "forward", body, f' data-operands="{keys}"')

    def backward(self, node: Node) -> str:
        """Return the backward step of an op: its upstream gradient, what it uses, its rule, and its contributions."""
        record = node.record
        used = [
            self.table(name, a)
            if source is None
            else self.value(node, "y", a)
            if source < 0
            else self.value(record.parents[source], record.inputs[source], a)
            if record.parents[source] is not None
            else self.table(record.inputs[source], a)
            for name, source, a in record.saved
        ]
        contributions = "".join(self.contribution(node, made) for made in record.backward.contributions)
        dy = self.gradient(node, "dy", record.backward.dy)
        saved = f"<h3>Saved by the forward, used here</h3><div>{''.join(used)}</div>" if used else ""
        body = (
            f"{self.lines(node.op, 'backward')}"
            f'<div class="flow"><div><h3>Upstream gradient</h3>{dy}</div>'
            f"<div>{saved}</div></div>"
            f"<h3>Gradients of its inputs</h3>{contributions or '<p>Nothing.</p>'}"
        )
        return self.section(node, self.playback.backward_step[node], "backward", body)

    def contribution(self, node: Node, made: Contribution) -> str:
        """Return one contribution: its target, whether it is set or added, and the sum over axes of a broadcast."""
        target, name = node.record.parents[made.slot], clean(node.record.inputs[made.slot])
        uses, key = len(self.playback.uses[target]), self.playback.keys[target]
        how = "SET" if made.nth == 1 else "ADDED"
        count = f", contribution {made.nth} of {uses}" if uses > 1 else ""
        note = ""
        if (summed := broadcast_axes(node, made.slot)) is not None:
            axes = ("axis " if len(summed) == 1 else "axes ") + ", ".join(map(str, summed))
            note = (
                f'<p class="fold"><span aria-hidden="true">⤵</span> Summed: {name} was broadcast to '
                f"{node.record.y.shape}, so its gradient is summed over {axes} to {made.dx.shape}.</p>"
            )
        dx = self.table(f"d{node.record.inputs[made.slot]}", made.dx, id=f"made-{key}-{made.nth}")
        total = ""
        if made.nth > 1:
            sum_name = f"sum so far of {self.playback.name(target)}"
            total = self.table(sum_name, made.total, id=f"sum-{key}-{made.nth}")
        return (
            f'<div class="contribution {how.lower()}" data-target="{key}" data-how="{how}">'
            f'<h4><code>d{name}</code> → {self.link(target)} <span class="badge">{how}</span>{count}</h4>'
            f"{note}{dx}{total}</div>"
        )

    def end(self) -> str:
        """Return the last step: every leaf with its gradient."""
        rows = []
        for leaf, name in self.playback.leaves.items():
            key, dy = self.playback.keys[leaf], gradient(self.playback, leaf)
            value = self.table(name, leaf_value(self.playback, leaf), id=f"value-{key}")
            total = (
                self.gradient(leaf, "its gradient", dy)
                if dy
                else "<p>It has no gradient: the loss does not depend on it.</p>"
            )
            rows.append(f'<div class="flow leaf">{value}{total}</div>')
        step = self.playback.last
        return (
            f'<section class="card step" id="step={step}" aria-labelledby="h{step}">'
            f'<h2 id="h{step}">Step {step} of {step}: all gradients are complete</h2>{"".join(rows)}</section>'
        )

    def rules(self) -> str:
        """Return the numbered lines of every op, which the steps copy."""
        html = []
        for i, op in enumerate(self.ops):
            lines = "".join(
                _lines(op, backward, f"{side}-{i}") for backward, side in enumerate(("forward", "backward"))
            )
            html.append(f"<h3><code>{clean(op.name)}</code></h3>{lines}<p>{self.page(op)}</p>")
        title = '<h2 id="rules-h">The ops: their numbered lines</h2>'
        return f'<section class="card" id="rules" aria-labelledby="rules-h">{title}{"".join(html)}</section>'

    def section(self, node: Node, step: int, side: str, body: str, data: str = "") -> str:
        """Return the section of a step of an op."""
        return (
            f'<section class="card step" id="step={step}" data-key="{self.playback.keys[node]}" data-side="{side}"{data} '
            f'aria-labelledby="h{step}"><h2 id="h{step}">Step {step} of {self.playback.last}: {side} of '
            f"<bdi>{clean(self.playback.name(node))}</bdi></h2>{body}</section>"
        )

    def table(self, name: str, a: Summary, *, id: str = "") -> str:
        """Return a table. Its id says what it holds: value-, made-, sum- or loss-, the key, and which contribution."""
        return table(name, a, id=id, whole=self.whole)

    def value(self, target: Target, name: str, a: Summary) -> str:
        """Return the place of the value of an op's result or of a leaf."""
        return copy(f"value-{self.playback.keys[target]}", name, a, self.link(target, forward=True))

    def gradient(self, target: Target, name: str, dy: Summary) -> str:
        """Return the place of a complete gradient; that of the loss is 1, and no step contributes it."""
        made = self.playback.contributions.get(target)
        key = self.playback.keys[target]
        if not made:
            return self.table(name, dy, id=f"loss-{key}")
        user, last = made[-1]
        step = self.playback.backward_step[user]
        id = f"sum-{key}-{last.nth}" if last.nth > 1 else f"made-{key}-1"
        return copy(id, name, dy, f'<a href="#step={step}">from step {step}</a>')

    def link(self, target: Target, *, forward: bool = False) -> str:
        """Return a target's name, with a link to its step: for a leaf, the step that completes its gradient."""
        name = f"<bdi>{clean(self.playback.name(target))}</bdi>"
        step = self.playback.finished(target)
        if isinstance(target, Node):
            step = self.playback.forward_step[target] if forward else self.playback.backward_step.get(target)
        return f'<a href="#step={step}">{name}</a>' if step else name

    def lines(self, op: Op, side: str) -> str:
        """Return the place of the numbered lines of an op's forward or backward, and where its derivation is."""
        i = self.ops.index(op)
        place = f'<p data-copy="{side}-{i}"><a href="#{side}-{i}">Its numbered lines</a></p>'
        return place + (f'<p class="derived">{self.page(op)}</p>' if side == "backward" else "")

    def page(self, op: Op) -> str:
        """Return where the derivation of an op is: its study page, or the command that writes it."""
        name = clean(op.name)
        if OPS.get(op.name) is not op:
            return f"The derivation is the docstring of <code>{name}_backward</code>."
        if self.pages is None:
            return f"Derivation: <code>python -m nanograd study {name}</code>"
        return f'Derivation: <a href="{clean(self.pages)}{name}.html">the page of {name}</a>'


def _lines(op: Op, backward: int, id: str) -> str:
    """Return the numbered lines of an op's forward or backward as MathML."""
    equations = numbered_equations(op.pair[backward])
    if not equations:
        side = "backward" if backward else "forward"
        return f'<p id="{id}">The {side} of {clean(op.name)} states no numbered line.</p>'
    items = "".join(f"<li>{_formula(line)} <span>({i})</span></li>" for i, line in equations.items())
    return f'<ul class="rule {"back" if backward else ""}" id="{id}">{items}</ul>'


def _formula(line: str) -> str:
    """Return a formula as MathML; the line of a user's op as it is, if the notation cannot read it."""
    try:
        return to_mathml(parse(line))
    except ValueError:
        return f"<code>{clean(line)}</code>"


def broadcast_axes(node: Node, slot: int) -> list[int] | None:
    """Return the axes of the result that an input was broadcast over, so that its gradient is summed over them, or None."""
    shape, target = node.record.values[slot].shape, node.record.y.shape
    if shape == target or not broadcasts_to(shape, target):
        return None
    unbroadcasts = "U(" in (inspect.getdoc(node.op.pair.backward) or "")
    shared_row = node.record.inputs[slot] in ("weight", "bias") and shape == target[-1:]  # of linear, layernorm, …
    if not unbroadcasts and not shared_row:
        return None
    padded = (1,) * (len(target) - len(shape)) + shape
    return [i for i, (m, n) in enumerate(zip(padded, target, strict=True)) if m != n or i < len(target) - len(shape)]


def summary(playback: Playback) -> str:
    """Say in a sentence how much the page plays."""
    return (
        f"{len(playback.nodes)} ops, {len(playback.leaves)} leaves that require grad, loss "
        f"{number(playback.nodes[-1].record.y.mean)}. Forward runs down, backward up."
    )
