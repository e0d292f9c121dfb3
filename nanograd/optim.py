"""SGD, AdamW and clipping: what is done with a gradient."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from nanograd.tensor import Tensor

Named = Iterable[Tensor] | Iterable[tuple[str, Tensor]]


def name_parameters(parameters: Named) -> dict[str, Tensor]:
    """Return the distinct parameters by name: their own where pairs were given, else "0", "1", …."""
    named: dict[str, Tensor] = {}
    seen: set[int] = set()
    for i, each in enumerate(parameters):
        name, parameter = each if isinstance(each, tuple) else (str(i), each)
        if id(parameter) not in seen and parameter.requires_grad:
            seen.add(id(parameter))
            named[name] = parameter
    if not named:
        raise ValueError("optimizer: got no parameter that requires grad")
    return named


class SGD:
    """Walk downhill, with momentum.

    v ← momentum v + g
    p ← p - lr v
    """

    def __init__(self, parameters: Named, lr: float, *, momentum: float = 0.0) -> None:
        self.parameters = name_parameters(parameters)
        self.lr = lr
        self.momentum = momentum
        self.v = {name: np.zeros_like(p.data) for name, p in self.parameters.items()} if momentum else {}

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for name, p in self.parameters.items():
            if p.grad is None:
                continue
            update = p.grad
            if self.momentum:
                update = self.v[name]
                update *= self.momentum
                update += p.grad
            p.data -= self.lr * update

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters.values():
            p.grad = None


class AdamW:
    """Step by the gradient's mean over its size, both running averages, with weight decay apart from the gradient.

    (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.)

    m ← β1 m + (1 - β1) g
    v ← β2 v + (1 - β2) g²
    p ← p - lr weight_decay p
    p ← p - lr m̂ / (√v̂ + eps),  m̂ = m / (1 - β1^t),  v̂ = v / (1 - β2^t)

    The divisions by 1 - β^t make up for starting both averages at 0. Decay acts on parameters of two and more axes
    (matrices, embeddings), not on biases and gains.
    """

    def __init__(
        self,
        parameters: Named,
        lr: float,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.parameters = name_parameters(parameters)
        self.lr = lr
        self.beta1, self.beta2 = beta1, beta2
        self.eps = eps
        self.weight_decay = weight_decay
        self.t = 0
        self.m = {name: np.zeros_like(p.data) for name, p in self.parameters.items()}
        self.v = {name: np.zeros_like(p.data) for name, p in self.parameters.items()}

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self.t += 1
        step_size = self.lr / (1 - self.beta1**self.t)
        v_scale = 1 / math.sqrt(1 - self.beta2**self.t)
        for name, p in self.parameters.items():
            if p.grad is None:
                continue
            g, m, v = p.grad, self.m[name], self.v[name]
            m *= self.beta1
            m += (1 - self.beta1) * g
            v *= self.beta2
            v += (1 - self.beta2) * (g * g)
            if p.ndim >= 2:
                p.data *= 1 - self.lr * self.weight_decay
            size = np.asarray(np.sqrt(v))  # a 0-d root is a NumPy scalar, which could not be written into
            size *= v_scale
            size += self.eps
            np.divide(m, size, out=size)
            size *= step_size
            p.data -= size

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters.values():
            p.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return both averages by parameter name, as `m.<name>` and `v.<name>`; `t` is the caller's to keep."""
        return {f"{kind}.{name}": a for kind, arrays in (("m", self.m), ("v", self.v)) for name, a in arrays.items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray], t: int) -> None:
        """Copy both averages in, and the number of steps taken. On a ValueError nothing has changed."""
        own = self.state_dict()
        if state.keys() != own.keys():
            odd = sorted(state.keys() ^ own.keys())
            raise ValueError(f"AdamW: the state names other parameters than the model, among them {odd[0]}")
        for name, array in own.items():
            if state[name].shape != array.shape:
                raise ValueError(f"AdamW: {name} has shape {array.shape}, got {state[name].shape}")
        for name, array in own.items():
            array[...] = state[name]
        self.t = t


def clip_grad_norm(parameters: Named, max_norm: float | None) -> float:
    """Scale all gradients by one factor so that their global norm is at most max_norm; return the norm before.

    ‖G‖ = √Σ‖G_k‖² over the distinct parameters: a tied one counts once. With None they are left as they are. A norm that
    is not finite is returned, and nothing is scaled: the caller stops.
    (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063, algorithm 1.)
    """
    gradients = [p.grad for p in name_parameters(parameters).values() if p.grad is not None]
    norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
    if max_norm is not None and math.isfinite(norm) and norm > max_norm:
        for g in gradients:
            g *= max_norm / (norm + 1e-6)
    return norm
