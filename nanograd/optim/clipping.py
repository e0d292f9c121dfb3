"""Gradient clipping: scale all gradients by one factor where their norm is large."""

import math
from collections.abc import Sequence

import numpy as np

from nanograd.optim.adamw import CHUNK, Parameters, name_parameters
from nanograd.runtime.threads import parallel_map


def clip_grad_norm(parameters: Parameters, max_norm: float | None) -> float:
    """Scale all gradients by one factor so that their global norm is at most max_norm; return the norm before scaling.

    ‖G‖ = √Σ‖G_k‖² over the distinct parameters: a tied parameter counts once. If max_norm is None or the norm is not
    finite, nothing is scaled. Raises ValueError unless max_norm is above 0.
    (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063, algorithm 1.)
    """
    check_max_norm(max_norm)
    gradients = [p.grad for p in name_parameters(parameters).values() if p.grad is not None]
    norm = norm_of(gradients)
    if (factor := clip_factor(norm, max_norm)) != 1:
        parallel_map(lambda g: np.multiply(g, factor, out=g), gradients, [g.size for g in gradients])
    return norm


def check_max_norm(max_norm: float | None) -> None:
    """Raise ValueError unless max_norm is above 0, or None for no clipping."""
    if max_norm is not None and not max_norm > 0:
        raise ValueError(f"clip_grad_norm: max_norm must be above 0, or None for no clipping, got {max_norm}")


def clip_factor(norm: float, max_norm: float | None) -> float:
    """Return the factor that `clip_grad_norm` multiplies gradients of this norm by; 1 if they are not clipped."""
    if max_norm is None or not max_norm < norm < math.inf:
        return 1.0
    return max_norm / (norm + 1e-6)


def norm_of(gradients: Sequence[np.ndarray]) -> float:
    """Return the square root of the sum of all squares, in float64."""
    pieces = [piece for g in gradients for piece in pieces_of(g)]
    norm = root_of_sum(sums_of_squares(pieces))
    if norm == 0 or math.isinf(norm):  # squares beyond the range of float64: scale by the largest entry
        top = max((float(np.abs(g).max(initial=0)) for g in gradients), default=0.0)
        if 0 < top < math.inf:
            norm = top * root_of_sum(sums_of_squares([piece / top for piece in pieces]))
    return norm


def root_of_sum(squares: Sequence[float]) -> float:
    """Return the square root of their sum, which is rounded once: it does not depend on their order."""
    try:
        return math.sqrt(math.fsum(squares))
    except OverflowError:
        return math.inf


def pieces_of(array: np.ndarray) -> list[np.ndarray]:
    """Cut an array into flat pieces of at most CHUNK entries."""
    flat = array.reshape(-1)
    return [flat[i : i + CHUNK] for i in range(0, flat.size, CHUNK)]


def sums_of_squares(pieces: Sequence[np.ndarray]) -> list[float]:
    """Return the sum of squares of each piece, in float64."""

    def sum_of_squares(piece: np.ndarray) -> float:
        piece = piece.astype(np.float64)
        with np.errstate(over="ignore"):
            return float(np.dot(piece, piece))

    return parallel_map(sum_of_squares, pieces, [piece.size for piece in pieces])
