"""gradcheck: compare a hand-written backward with finite differences of its forward."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd.op import Op
from nanograd.tensor import Tensor


class GradcheckError(AssertionError):
    """The gradient of a backward is not the slope of its forward."""


def gradcheck(
    function: Callable[..., Any], *inputs: Any, tolerance: float = 1e-7, cotangent_seed: int = 0, **options: Any
) -> None:
    """Check the gradient of `function` at `inputs` in float64; raise GradcheckError, naming the worst element.

    function takes Tensors (an Op does) and returns one Tensor. Floating inputs are differentiated, others are passed as
    they are. The loss is Σ u·function(x) with a random cotangent u: with a uniform one, sum(), most wrong backwards of
    normalising ops pass unseen. Each input's error is max|analytic - numeric|, relative to its largest entry or to 1.

    >>> gradcheck(lambda x: x * x, np.array([1.0, 2.0]))
    """
    name = function.name if isinstance(function, Op) else getattr(function, "__name__", "function")
    rng = np.random.default_rng(cotangent_seed)
    values = [np.array(x, np.float64) if _is_float(x) else x for x in inputs]
    tensors = [Tensor(v, requires_grad=True) if _is_float(v) else v for v in values]
    y = function(*tensors, **options)
    u = rng.standard_normal(y.shape)
    if y.requires_grad:
        y.backward(u)

    def loss() -> float:
        plain = [Tensor(v) if _is_float(v) else v for v in values]
        return float((u * function(*plain, **options).data).sum())

    for i, (value, tensor) in enumerate(zip(values, tensors, strict=True)):
        if not isinstance(tensor, Tensor):
            continue
        analytic = tensor.grad if tensor.grad is not None else np.zeros_like(value)
        numeric = finite_differences(loss, value)
        compare(f"{name}: input {i}", analytic, numeric, tolerance)


def finite_differences(loss: Callable[[], float], x: np.ndarray) -> np.ndarray:
    """Return the slope of `loss()` in each entry of x, which is moved in place and put back.

    Central differences at three steps, extrapolated to step 0 (Richardson): what is left is rounding, about 1e-12. The
    largest step is 1e-3: keep kinks further away than that, and inputs of about size 1.
    """
    slope = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        old = x[index]
        central = []
        for h in (1e-3, 5e-4, 2.5e-4):
            x[index] = old + h
            up = loss()
            x[index] = old - h
            central.append((up - loss()) / (2 * h))
        one, two, four = central
        a, b = (4 * two - one) / 3, (4 * four - two) / 3  # Richardson: the h² error cancels
        slope[index] = (16 * b - a) / 15  # and the h⁴ error
        x[index] = old
    return slope


def compare(what: str, analytic: np.ndarray, numeric: np.ndarray, tolerance: float) -> None:
    """Raise GradcheckError unless analytic and numeric agree to tolerance · max(1, largest entry)."""
    if analytic.shape != numeric.shape:
        raise GradcheckError(f"{what}: gradient has shape {analytic.shape}, the input {numeric.shape}")
    if analytic.size == 0:
        return
    error = np.abs(analytic - numeric)
    error[~np.isfinite(error)] = np.inf
    worst = np.unravel_index(error.argmax(), error.shape)
    scale = max(1.0, float(np.abs(numeric).max()))
    if not error[worst] <= tolerance * scale:
        place = ", ".join(str(int(i)) for i in worst)
        raise GradcheckError(
            f"{what}: worst at [{place}]: analytic {analytic[worst]:.10g}, numeric {numeric[worst]:.10g}, "
            f"error {error[worst]:.3g} > {tolerance:g} of {scale:.3g}"
        )


def _is_float(x: Any) -> bool:
    return isinstance(x, float) or (isinstance(x, np.ndarray) and x.dtype.kind == "f")
