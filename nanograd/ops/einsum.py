"""einsum: sums of products, written with a letter for each axis."""

from string import ascii_letters
from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._unbroadcast import unbroadcast

__all__ = ["einsum"]


def einsum_forward(*xs: np.ndarray, spec: str) -> tuple[np.ndarray, Any]:
    """Multiply the operands entry by entry and sum over every axis name that the output lacks.

    spec is like "bik,bkj->bij" or "...ik,kj->...ij": each letter names an axis, `...` stands for the leading ones, and
    axes of size 1 broadcast. A letter twice in one operand (a diagonal) raises NotImplementedError.
    With each operand x_k taken at the values of its own letters:
    y_out = Σ_{letters not in out} Π_k x_k                 (1)
    """
    inputs, output = _parse(spec, xs)
    return np.einsum(f"{','.join(inputs)}->{output}", *xs, optimize=len(xs) > 2), (xs, inputs, output)


def einsum_backward(dy: np.ndarray, saved: Any, needs: Needs | None = None) -> Gradients:
    """Pull dy back through (1), which is linear in each operand.
    The derivative of y_out by one entry of x_k is the product of the other operands at the same letters. By the chain rule
    (*), multiply it by dy_out and sum over all letters that x_k lacks:
    dx_k = Σ_{letters not in x_k} dy_out Π_{l≠k} x_l       (2)
    This is an einsum again, with dy in place of x_k. A letter that only x_k has was summed away, so all entries along it
    get the same gradient.
    Check: "ik,kj->ij" gives "ij,kj->ik", the dy bᵀ of matmul.
    """
    xs, inputs, output = saved
    dxs: list[np.ndarray | None] = []
    for k, x in enumerate(xs):
        if needs is not None and not needs[k]:
            dxs.append(None)
            continue
        others = [(letters, other) for i, (letters, other) in enumerate(zip(inputs, xs, strict=True)) if i != k]
        known = set(output).union(*(letters for letters, _ in others))
        shared = "".join(letter for letter in inputs[k] if letter in known)
        spec = f"{','.join([output, *(letters for letters, _ in others)])}->{shared}"
        dx = np.einsum(spec, dy, *(other for _, other in others), optimize=len(xs) > 2)  # (2)
        alone = tuple(i for i, letter in enumerate(inputs[k]) if letter not in known)
        dx = np.expand_dims(dx, alone)
        summed = tuple(1 if n == 1 else dx.shape[i] for i, n in enumerate(x.shape))
        dxs.append(np.broadcast_to(unbroadcast(dx, summed), x.shape))  # x was stretched, or stretches others
    return tuple(dxs)


_einsum = Op(einsum_forward, einsum_backward)


def einsum(spec: str, *xs: Any) -> Any:
    """Multiply and sum by axis names, as numpy.einsum: einsum("ik,kj->ij", a, b).

    Backward: python -m nanograd study einsum
    """
    return _einsum(*xs, spec=spec)


def _parse(spec: str, xs: tuple[np.ndarray, ...]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the output; a missing output is NumPy's: letters that occur once."""
    left, arrow, output = spec.replace(" ", "").partition("->")
    inputs = left.split(",")
    spare = "".join(letter for letter in ascii_letters if letter not in spec)
    leading = [max(x.ndim - len(term) + 3, 0) if "..." in term else 0 for term, x in zip(inputs, xs, strict=False)]
    dots = spare[: max(leading, default=0)]
    inputs = [letters.replace("...", dots[len(dots) - n :]) for letters, n in zip(inputs, leading, strict=False)]
    if arrow:
        output = output.replace("...", dots)
    else:
        once = [letter for letter in set("".join(inputs)) - set(dots) if "".join(inputs).count(letter) == 1]
        output = dots + "".join(sorted(once))
    if any(len(set(letters)) < len(letters) for letters in [*inputs, output]):
        raise NotImplementedError(f"einsum: a letter twice in one operand (a diagonal) is not supported, got {spec!r}")
    if left.count(",") + 1 != len(xs) or any(len(letters) != x.ndim for letters, x in zip(inputs, xs, strict=False)):
        shapes = ", ".join(str(x.shape) for x in xs)
        raise ValueError(f"einsum: {spec!r} must name every axis of every operand, got shapes {shapes}")
    if unknown := set(output) - set("".join(inputs)):
        raise ValueError(f"einsum: {spec!r}: the output names {sorted(unknown)[0]!r}, which no operand has")
    return inputs, output
