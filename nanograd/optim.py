"""SGD, AdamW and clipping: what is done with a gradient."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

import numpy as np

from nanograd._tensor import Tensor
from nanograd.runtime.threads import parallel_map

# Entries that AdamW updates at once. With 2^15, two threads spend half of the time waiting for the GIL.
CHUNK = 2**17

Named = Iterable[Tensor] | Iterable[tuple[str, Tensor]]


def name_parameters(parameters: Named) -> dict[str, Tensor]:
    """Return the distinct parameters by name: their own where pairs were given, else "0", "1", …."""
    named: dict[str, Tensor] = {}
    seen: set[int] = set()
    for i, given in enumerate(parameters):
        name, parameter = given if isinstance(given, tuple) else (str(i), given)
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

    Parameters, gradients and both averages lie in one array each, [decay | no decay], of which those of a parameter are
    views. A step goes through them in pieces that stay in the cache, on all threads: 26 ms for
    20 million parameters on two, 48 ms on one.
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
        named = name_parameters(parameters)
        order = sorted(named.items(), key=lambda item: item[1].ndim < 2)  # a stable sort: names keep their order
        self.parameters = named
        self.lr = lr
        self.beta1, self.beta2 = beta1, beta2
        self.eps = eps
        self.weight_decay = weight_decay
        self.t = 0
        dtypes = {p.dtype for p in named.values()}
        if len(dtypes) > 1:
            raise TypeError(f"AdamW: parameters must have one dtype, got {' and '.join(sorted(map(str, dtypes)))}")
        ends = list(accumulate(p.size for _, p in order))
        self.places = {name: slice(end - p.size, end) for (name, p), end in zip(order, ends, strict=True)}
        dtype = dtypes.pop()
        self.flat = [np.zeros(ends[-1], dtype) for _ in range(4)]  # p, g, m, v
        p, g, m, v = (
            {name: flat[at].reshape(named[name].shape) for name, at in self.places.items()} for flat in self.flat
        )
        self.arrays, self.gradients, self.m, self.v = p, g, m, v
        for name, parameter in self.parameters.items():
            parameter.bind_buffer(self, p[name], g[name])

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        pieces = list(self._pieces())
        self.t += 1
        step_size = self.lr / (1 - self.beta1**self.t)
        v_scale = 1 / math.sqrt(1 - self.beta2**self.t)
        keep = 1 - self.lr * self.weight_decay

        def update(piece: tuple[int, int, bool]) -> None:
            start, end, decays = piece
            p, g, m, v = (flat[start:end] for flat in self.flat)
            part = (1 - self.beta1) * g
            m *= self.beta1
            m += part
            np.multiply(g, g, out=part)
            part *= 1 - self.beta2
            v *= self.beta2
            v += part
            if decays:
                p *= keep
            np.sqrt(v, out=part)
            part *= v_scale
            part += self.eps
            np.divide(m, part, out=part)
            part *= step_size
            p -= part

        parallel_map(update, pieces, [end - start for start, end, _ in pieces])

    def _pieces(self) -> Iterator[tuple[int, int, bool]]:
        """Yield where a step is to be made: neighbours with gradients together, cut so as to fit in the cache."""
        spans: list[tuple[int, int, bool]] = []
        for name in self.places:
            p = self.parameters[name]
            if p.data is not self.arrays[name]:
                raise RuntimeError(f"AdamW: a later optimizer owns {name}")
            if p.grad is None:
                continue
            if p.grad is not self.gradients[name]:  # somebody assigned it
                np.copyto(self.gradients[name], p.grad)
            start, end, decays = self.places[name].start, self.places[name].stop, p.ndim >= 2
            if spans and spans[-1][1:] == (start, decays):
                start = spans.pop()[0]
            spans.append((start, end, decays))
        for start, end, decays in spans:
            for i in range(start, end, CHUNK):
                yield i, min(i + CHUNK, end), decays

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
    sizes = [g.size for g in gradients]
    norm = math.sqrt(sum(parallel_map(lambda g: float(np.vdot(g, g)), gradients, sizes)))
    if max_norm is not None and math.isfinite(norm) and norm > max_norm:
        factor = max_norm / (norm + 1e-6)
        parallel_map(lambda g: np.multiply(g, factor, out=g), gradients, sizes)
    return norm
