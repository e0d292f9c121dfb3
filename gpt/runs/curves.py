"""The records of a training as curves: an SVG picture, which Jupyter shows."""

from gpt.training import Record

WIDTH, HEIGHT, LEFT, BELOW = 640, 280, 44, 36  # of the picture and its margins, in pixels
POINTS = 500  # of the training curve: it shows means of neighbouring steps where a run has more
TRAINING, VALIDATION = "#7aa6d8", "#d1603d"


class History(list[Record]):
    """The records of a training, in the order of their steps. Jupyter shows them as loss curves."""

    def __repr__(self) -> str:
        if not self:
            return "History: no step yet"
        text = f"History of {len(self)} steps: loss {self[-1].loss:.4f}"
        evaluated = [(r.val_loss, r.step) for r in self if r.val_loss is not None]
        return text + ("; best validation loss {:.4f}, at step {}".format(*min(evaluated)) if evaluated else "")

    def _repr_html_(self) -> str:
        """Return the curves of the training loss and the validation loss as an SVG picture."""
        n = -(-len(self) // POINTS) or 1
        groups = [self[i : i + n] for i in range(0, len(self), n)]
        training = [(group[-1].step, sum(r.loss for r in group) / len(group)) for group in groups]
        validation = [(r.step, r.val_loss) for r in self if r.val_loss is not None]
        points = training + validation
        if not points:
            return f"<pre>{self!r}</pre>"
        first, last = points[0][0], training[-1][0]
        low, high = min(loss for _, loss in points), max(loss for _, loss in points)

        def xy(step: float, loss: float) -> str:
            x = LEFT + (step - first) / max(1, last - first) * (WIDTH - LEFT - 8)
            return f"{x:.1f},{8 + (high - loss) / max(1e-9, high - low) * (HEIGHT - BELOW - 8):.1f}"

        def text(step: float, loss: float, words: str, attributes: str) -> str:
            x, y = xy(step, loss).split(",")
            return f'<text x="{x}" y="{y}" {attributes}>{words}</text>'

        ticks = [low + (high - low) * i / 4 for i in range(5)] if high > low else [low]
        grid = [f'<polyline points="{xy(first, y)} {xy(last, y)}" stroke="#8884" fill="none"/>' for y in ticks]
        labels = [text(first, y, f"{y:.2f}", 'dx="-6" dy="4" text-anchor="end"') for y in ticks]
        labels += [
            text(first, low, f"step {first}", 'dy="20"'),
            text(last, low, str(last), 'dy="20" text-anchor="end"'),
        ]
        middle, names = (first + last) / 2, [(TRAINING, "training loss", -60)]
        names += [(VALIDATION, "validation loss", 60)] if validation else []
        labels += [
            text(middle, low, name, f'dx="{dx}" dy="20" fill="{colour}" text-anchor="middle"')
            for colour, name, dx in names
        ]
        curves = [
            f'<polyline points="{" ".join(xy(*p) for p in curve)}" stroke="{colour}" stroke-width="{width}" fill="none"/>'
            for curve, colour, width in ((training, TRAINING, 1), (validation, VALIDATION, 2))
        ]
        dots = [
            f'<circle cx="{{}}" cy="{{}}" r="3" fill="{VALIDATION}"/>'.format(*xy(*p).split(",")) for p in validation
        ]
        style = f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#888"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {style}>{"".join(grid + curves + dots + labels)}</svg>'
