"""Muon: momentum whose update is made orthogonal, matrix by matrix.

(Jordan et al. 2024, "Muon: an optimizer for hidden layers", https://kellerjordan.github.io/posts/muon.)

A linear layer maps x to W x. The gradient G of its weight matrix has a few large singular values: a step along G changes
what the layer does in those few directions, and hardly anything in the others. Muon steps along the nearest matrix in
which all directions count the same, the polar factor of G. Among all updates that lengthen no x by more than a given
factor, it is the one along which the loss falls fastest (Bernstein and Newhouse 2024, arXiv:2409.20325). `newton_schulz`
derives it, and computes nearly it with a few matrix products.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any, NamedTuple

import numpy as np

from nanograd._tensor import Tensor
from nanograd.optim.adamw import CHUNK, AdamW, Parameters, check_options
from nanograd.runtime.threads import parallel_map

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a, b, c of newton_schulz's (7), by Jordan et al.
REPETITIONS = 5
RMS = 0.2  # root mean square of an update, in units of lr: about that of AdamW's (Liu et al. 2025, arXiv:2502.16982)


def newton_schulz(g: np.ndarray, repetitions: int = REPETITIONS) -> np.ndarray:
    """Return nearly the polar factors (2) of matrices g (n, rows, columns), each by itself.

    Every matrix has a singular value decomposition. The columns of U and of V have length 1 and are orthogonal to each
    other; S is diagonal, with the singular values, which are not negative.
    G = U S Vᵀ                                              (1)
    The polar factor is the nearest matrix whose singular values are all 1:
    O = U Vᵀ                                                (2)
    Let G be a gradient, and X a matrix that lengthens no vector: no singular value above 1. Along -X the loss falls by
    Σ_ij G_ij X_ij, which is the sum of S_ii u_iᵀ X v_i over the columns u_i of U and v_i of V. As u_iᵀ X v_i ≤ 1, it is at
    most the sum of S_ii. For X = O it is that sum: no such step lowers the loss faster.
    Σ_ij G_ij O_ij = Σ_i S_ii                               (3)
    O can be computed without the decomposition. First, bring the singular values into [0, 1]. None of them is larger than
    the root of the sum of their squares, and that sum is the sum of the squared entries:
    Σ_ij G_ij G_ij = Σ_i S_ii S_ii                          (4)
    Divide by the root, the Frobenius norm:
    X = G / √(Σ_ij G_ij G_ij)                               (5)
    X keeps U and V, and has the singular values R in place of S:
    X = U R Vᵀ                                              (6)
    An odd polynomial of X changes R alone, since VᵀV and UᵀU cancel between the factors:
    a X + b X Xᵀ X + c X Xᵀ X Xᵀ X = U (a R + b R³ + c R^5) Vᵀ   (7)
    So every singular value s becomes p, and a polynomial that takes all s from 0 to 1 near 1, if it is repeated, gives O:
    p = a s + b s³ + c s^5                                  (8)
    Does it converge? With the classical a, b, c = 15/8, -10/8, 3/8 it does. The distance from 1 after a repetition is
    1 - (15 s - 10 s³ + 3 s^5) / 8 = (1 - s)³ ⊙ (8 + 9 s + 3 s²) / 8   (9)
    For 0 < s < 1 that is more than 0 and less than 1 - s, and close to 1 it is about 2.5 (1 - s)³: the number of correct
    digits triples. But a small s only grows by 15/8, the slope of p at 0. In general the slope is
    ∂p/∂s = a + 3 b s² + 5 c s^4                            (10)
    So a is how fast small singular values grow. COEFFICIENTS have a larger a, and pay for it: p rises above 1, and falls
    again. The slope is 0 at s² = t, where p has its maximum 1.20, and at s² = w, where it has its minimum 0.68.
    t = (-3 b - √(9 b² - 20 a c)) / (10 c)                  (11)
    and with the other sign
    w = (-3 b + √(9 b² - 20 a c)) / (10 c)                  (12)
    A smaller s grows until it is between 0.68 and 1.20. From there p leads only to values between 0.68 and 1.20: b and c
    are chosen such that s stays. It does not come to rest: at s² = f a repetition changes nothing, p = s,
    f = (-b - √(b² - 4 c (a - 1))) / (2 c)                  (13)
    but with 3 b f = 3 (1 - a - c f²) in (10), the slope there is
    h = 3 - 2 a + 2 c f²                                    (14)
    A distance from the fixed point is multiplied by about h = -1.58 and grows, where the classical h is 0. After 5
    repetitions every s from 0.003 to 1 is between 0.68 and 1.20, which is near enough to 1 for an update; with the
    classical coefficients all are above 0.68 after 9.

    A repetition takes 4 m² n + 2 m³ operations, with m the smaller and n the larger side of a matrix. A matrix of zeros
    stays one. (Björck and Bowie 1971; Higham 2008, Functions of Matrices, chapter 8; Jordan et al. 2024.)
    """
    if g.shape[-2] > g.shape[-1]:  # X Xᵀ is then the smaller of the two products
        return newton_schulz(g.swapaxes(-1, -2), repetitions).swapaxes(-1, -2)
    a, b, c = COEFFICIENTS
    rows = g.reshape(len(g), -1)
    x = g / (np.sqrt(np.vecdot(rows, rows))[:, None, None] + 1e-7)  # (5)
    for _ in range(repetitions):  # (7)
        xx = x @ x.swapaxes(-1, -2)
        p = c * (xx @ xx)
        p += b * xx
        x = p @ x + a * x
    return x


class Piece(NamedTuple):
    """A matrix that is updated by itself: rows of a parameter."""

    name: str
    shape: tuple[int, int]
    span: slice  # of the flat arrays


class Muon(AdamW):
    """Muon for the hidden matrices, AdamW for all other parameters.

    m ← β m + (1 - β) g                      the momentum
    u ← β m + (1 - β) g                      as if one step ahead (Nesterov)
    o ← newton_schulz(u) · RMS √max(rows, columns)
    w ← w - lr weight_decay w - lr o

    An orthogonal matrix has a root mean square of 1/√max(rows, columns). The factor makes that of o RMS, as AdamW's updates
    have it, so that one learning rate serves both (Liu et al. 2025, arXiv:2502.16982, section 2.2).

    matrices  the names of the hidden matrices, and the numbers of rows of the pieces that each is cut into: a matrix that
              stacks queries, keys and values is three matrices. Embeddings and the output projection do not belong here:
              their rows are tokens, and a step has gradients for few of them.
    adamw     the other options of AdamW; weight_decay and ema concern the hidden matrices too

    The flat arrays are [hidden matrices | decay | no decay]. v of a hidden matrix is never touched, and takes no memory
    where the system gives pages of zeros at first use, as Linux, macOS and Windows do.
    """

    kind = "muon"

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        matrices: Mapping[str, Sequence[int]],
        momentum: float = 0.95,
        **adamw: Any,
    ) -> None:
        check_options("Muon", momentum=momentum)
        self.matrices, self.momentum = {name: tuple(rows) for name, rows in matrices.items()}, momentum
        super().__init__(parameters, lr, **adamw)
        self.pieces = {name: list(self._pieces(name)) for name in self.matrices}

    def _pieces(self, name: str) -> Iterator[Piece]:
        """Yield the pieces of a hidden matrix."""
        if name not in self.parameters:
            raise ValueError(f"Muon: matrices must be parameters that require grad, got {name!r}")
        shape, rows, first = self.parameters[name].shape, self.matrices[name], self.slices[name].start
        if len(shape) != 2 or sum(rows) != shape[0] or min(rows, default=0) < 1:
            raise ValueError(f"Muon: the pieces of {name} must have its rows, got {rows} and the shape {shape}")
        ends = accumulate((n * shape[1] for n in rows), initial=first)
        for n, (start, end) in zip(rows, pairwise(ends), strict=True):
            yield Piece(name, (n, shape[1]), slice(start, end))

    def _section(self, name: str, parameter: Tensor) -> int:
        return -1 if name in self.matrices else super()._section(name, parameter)

    def cuts(self) -> list[int]:
        """Return where the flat arrays may be cut: never inside a hidden matrix."""
        begins = {self.slices[name].start for name in self.matrices}
        end = max((self.slices[name].stop for name in self.matrices), default=0)
        return sorted(begins | {i for i in super().cuts() if i >= end})

    def step(self, scale: float = 1.0) -> None:
        """Update every parameter that has a gradient, after multiplying the gradients by `scale`, as clipping does."""
        self.t += 1
        names = self._count()
        self._update([name for name in names if name not in self.matrices], scale)
        pieces = [piece for name in names for piece in self.pieces.get(name, ()) if self._is_own(piece)]
        batches = list(batches_of(pieces))
        first = 0 if self.gather is None else self.span.start  # where m begins
        beta = self.momentum

        def update(batch: list[Piece]) -> None:
            rows, columns = shape = batch[0].shape
            u = np.empty((len(batch), *shape), self.flat[0].dtype)
            for piece, nesterov in zip(batch, u, strict=True):
                g = self.flat[1][piece.span]
                m = self.flat[2][piece.span.start - first : piece.span.stop - first]
                ahead = nesterov.reshape(-1)
                np.multiply(g, scale * (1 - beta), out=ahead)
                m *= beta
                m += ahead
                ahead += beta * m
            o = newton_schulz(u)
            o *= self.lr * RMS * math.sqrt(max(rows, columns))
            for piece, step in zip(batch, o, strict=True):
                w = self.flat[0][piece.span].reshape(shape)
                w *= 1 - self.lr * self.weight_decay
                w -= step

        parallel_map(update, batches, [len(batch) * cost(batch[0].shape) for batch in batches])
        self._update_average()

    def _is_own(self, piece: Piece) -> bool:
        return self.span.start <= piece.span.start < self.span.stop

    def options(self) -> dict[str, Any]:
        """Return the arguments of `__init__` but the parameters."""
        return super().options() | {"matrices": self.matrices, "momentum": self.momentum}

    def _averages(self) -> dict[str, np.ndarray]:
        unused = {f"v.{name}" for name in self.matrices}
        return {name: array for name, array in super()._averages().items() if name not in unused}


def batches_of(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield pieces of equal shape together, as many as fit into CHUNK entries, so that one product serves them all.

    They are in the order of their cost, the largest first: threads then end at about the same time.
    """
    order = sorted(pieces, key=lambda piece: (-cost(piece.shape), piece.shape))
    for (rows, columns), group in groupby(order, key=lambda piece: piece.shape):
        equal, n = list(group), max(1, CHUNK // (rows * columns))
        yield from (equal[i : i + n] for i in range(0, len(equal), n))


def cost(shape: tuple[int, int]) -> int:
    """Return the operations of `newton_schulz` for one matrix."""
    m, n = min(shape), max(shape)
    return REPETITIONS * (4 * m * m * n + 2 * m**3)
