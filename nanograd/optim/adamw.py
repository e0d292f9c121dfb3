"""SGD and AdamW."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from nanograd._tensor import Tensor
from nanograd.runtime.threads import parallel_map

# Entries that AdamW updates at once. With 2^15, two threads spend half of the time waiting for the GIL.
CHUNK = 2**17

Parameters = Iterable[Tensor] | Iterable[tuple[str, Tensor]]  # with or without names


def name_parameters(parameters: Parameters) -> dict[str, Tensor]:
    """Return the distinct parameters that require grad, by name; without names they are "0", "1", …."""
    named: dict[str, Tensor] = {}
    seen: set[int] = set()
    for i, item in enumerate(parameters):
        name, parameter = item if isinstance(item, tuple) else (str(i), item)
        if not isinstance(parameter, Tensor):
            raise TypeError(
                "optimizer: expected model.parameters() or model.named_parameters(), got a "
                f"{type(parameter).__name__} among them"
            )
        if id(parameter) not in seen and parameter.requires_grad:
            seen.add(id(parameter))
            named[name] = parameter
    if not named:
        raise ValueError("optimizer: got no parameter that requires grad")
    if half := [name for name, parameter in named.items() if parameter.dtype.itemsize < 4]:
        raise TypeError(f"optimizer: {half[0]} is float16, in which small updates are lost; use .astype('float32')")
    return named


def check_options(optimizer: str, **options: float) -> None:
    """Raise ValueError for an option outside its range: lr, eps and weight_decay ≥ 0, momentum and betas in [0, 1)."""
    for name, value in options.items():
        least, most = (0, 1) if name in ("momentum", "beta1", "beta2", "ema") else (0, math.inf)
        if not least <= value < most or (name == "eps" and value == 0):
            allowed = f"in [0, {most})" if most == 1 else "above 0" if name == "eps" else "finite, and 0 or more"
            raise ValueError(f"{optimizer}: {name} must be {allowed}, got {value}")


class SGD:
    """Stochastic gradient descent, with momentum.

    v ← momentum v + g
    p ← p - lr v
    """

    def __init__(self, parameters: Parameters, lr: float = 1e-3, *, momentum: float = 0.0) -> None:
        check_options("SGD", lr=lr, momentum=momentum)
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
        """Set all gradients to None."""
        for p in self.parameters.values():
            p.grad = None


class AdamW:
    """Adam with decoupled weight decay.

    (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.)

    m ← β1 m + (1 - β1) g
    v ← β2 v + (1 - β2) g²
    p ← p - lr weight_decay p
    p ← p - lr m̂ / (√v̂ + eps),  m̂ = m / (1 - β1^t),  v̂ = v / (1 - β2^t)

    t counts the steps at which a parameter had a gradient. Dividing by 1 - β^t corrects the bias of averages that start
    at 0. Weight decay applies to parameters with two or more axes (matrices, embeddings), not to biases and gains.

    All parameters are stored in one flat array, [decay | no decay]; so are all gradients, m and v. The arrays of one
    parameter are views. A step updates chunks that fit in the cache, on all threads: 26 ms for 20 million parameters on
    two threads, 48 ms on one.

    ema  keeps an exponential average e of the parameters in a fifth flat array, after t steps with d = min(ema, (1 + t) /
         (10 + t)): e ← d e + (1 - d) p. A small d forgets the first steps. (Polyak and Juditsky 1992.) `swap_average`
         exchanges e and the parameters, to evaluate the average.
    """

    kind = "adamw"

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        ema: float | None = None,
        flat: Sequence[np.ndarray] | None = None,
    ) -> None:
        check_options("AdamW", lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, ema=ema or 0)
        named = name_parameters(parameters)
        order = sorted(named.items(), key=lambda item: self._section(*item))  # stable: parameters keep their order
        self.parameters = named
        self.lr = lr
        self.beta1, self.beta2 = beta1, beta2
        self.eps = eps
        self.weight_decay = weight_decay
        self.ema = ema
        self.t = 0  # the number of steps
        self.counts = dict.fromkeys(named, 0)  # and how many of them each parameter took part in
        dtypes = {p.dtype for p in named.values()}
        if len(dtypes) > 1:
            raise TypeError(f"AdamW: parameters must have one dtype, got {' and '.join(sorted(map(str, dtypes)))}")
        ends = list(accumulate(p.size for _, p in order))
        self.slices = {name: slice(end - p.size, end) for (name, p), end in zip(order, ends, strict=True)}
        dtype = dtypes.pop()
        self.span = slice(0, ends[-1])  # the part of the flat arrays that `step` updates
        self.gather: Callable[[], Sequence[np.ndarray]] | None = (
            None  # returns all of m, v and e, where this has a part
        )
        self.use_arrays([np.zeros(ends[-1], dtype) for _ in range(4 if ema is None else 5)] if flat is None else flat)
        if ema is not None and flat is None:
            self.flat[4][...] = self.flat[0]

    def _section(self, name: str, parameter: Tensor) -> int:
        """Return the section of the flat arrays that a parameter lies in."""
        return int(parameter.ndim < 2)

    def cuts(self) -> list[int]:
        """Return where the flat arrays may be cut, so that each part can be updated alone; the last is their end."""
        return [*(i for s in self.slices.values() for i in range(s.start, s.stop, CHUNK)), self.flat[0].size]

    def use_arrays(self, flat: Sequence[np.ndarray]) -> None:
        """Keep parameters, gradients, m, v and e in these flat arrays from now on; the parameters are copied there."""
        self.flat = list(flat)
        self.arrays, self.gradients = (self._by_name(a) for a in flat[:2])
        for name, parameter in self.parameters.items():
            parameter.bind_buffer(self, self.arrays[name], self.gradients[name])

    def _by_name(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        return {name: flat[span].reshape(self.parameters[name].shape) for name, span in self.slices.items()}

    @property
    def m(self) -> dict[str, np.ndarray]:
        """The mean of past gradients, by parameter."""
        return self._by_name(self._all_averages()[0])

    @property
    def v(self) -> dict[str, np.ndarray]:
        """The mean of their squares, by parameter."""
        return self._by_name(self._all_averages()[1])

    def _all_averages(self) -> Sequence[np.ndarray]:
        return self.flat[2:] if self.gather is None else self.gather()

    def keep_part(self, span: slice, gather: Callable[[], Sequence[np.ndarray]]) -> None:
        """Update only this part of the flat arrays, and keep m, v and e of it alone; `gather` returns all of them."""
        self.span, self.gather = span, gather
        self.flat[2:] = [a[span].copy() for a in self.flat[2:]]

    def keep_all(self) -> None:
        """Update and keep everything again."""
        self.flat[2:] = self._all_averages()
        self.span, self.gather = slice(0, self.flat[0].size), None

    def step(self, scale: float = 1.0) -> None:
        """Update every parameter that has a gradient, after multiplying the gradients by `scale`, as clipping does."""
        self.t += 1
        self._update(self._count(), scale)
        self._update_average()

    def _update_average(self) -> None:
        """Move the average of the parameters towards them."""
        if self.ema is None:
            return
        share = 1 - min(self.ema, (1 + self.t) / (10 + self.t))

        def update(pair: tuple[np.ndarray, np.ndarray]) -> None:
            p, e = pair
            e += share * (p - e)

        pairs = self._parts_with_average()
        parallel_map(update, pairs, [e.size for _, e in pairs])

    def swap_average(self) -> None:
        """Exchange the parameters and their average, of the part that `step` updates."""
        for p, e in self._parts_with_average():
            kept = p.copy()
            p[...] = e
            e[...] = kept

    def _parts_with_average(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the own part of the parameters and of their average, in chunks."""
        e = self.flat[4] if self.gather is not None else self.flat[4][self.span]
        p = self.flat[0][self.span]
        return [(p[i : i + CHUNK], e[i : i + CHUNK]) for i in range(0, e.size, CHUNK)]

    def _update(self, names: Sequence[str], scale: float) -> None:
        """Update these parameters, in chunks."""
        decay = 1 - self.lr * self.weight_decay
        first = 0 if self.gather is None else self.span.start  # where m and v begin

        def update(chunk: tuple[int, int, bool, int]) -> None:
            start, end, decays, t = chunk
            step_size = self.lr / (1 - self.beta1**t)
            v_scale = 1 / math.sqrt(1 - self.beta2**t)
            p, g = (flat[start:end] for flat in self.flat[:2])
            m, v = (flat[start - first : end - first] for flat in self.flat[2:4])
            if scale != 1:
                g *= scale
            buffer = (1 - self.beta1) * g
            m *= self.beta1
            m += buffer
            np.multiply(g, g, out=buffer)
            buffer *= 1 - self.beta2
            v *= self.beta2
            v += buffer
            if decays:
                p *= decay
            np.sqrt(v, out=buffer)
            buffer *= v_scale
            buffer += self.eps
            np.divide(m, buffer, out=buffer)
            buffer *= step_size
            p -= buffer

        chunks = list(self._chunks(names))
        parallel_map(update, chunks, [end - start for start, end, _, _ in chunks])

    def _count(self) -> list[str]:
        """Count a step of every parameter with a gradient, and return their names."""
        names = []
        for name in self.slices:
            p = self.parameters[name]
            if p.data is not self.arrays[name]:
                raise RuntimeError(f"AdamW: a later optimizer owns {name}")
            if p.grad is None:
                continue
            if p.grad is not self.gradients[name]:  # the user assigned it
                np.copyto(self.gradients[name], p.grad)
            self.counts[name] += 1
            names.append(name)
        return names

    def _chunks(self, names: Sequence[str]) -> Iterator[tuple[int, int, bool, int]]:
        """Yield (start, end, decays, t) of the spans of these parameters, in chunks."""
        spans: list[tuple[int, int, bool, int]] = []
        for name in names:
            start, end, t = self.slices[name].start, self.slices[name].stop, self.counts[name]
            decays = self.parameters[name].ndim >= 2
            if spans and spans[-1][1:] == (start, decays, t):
                start = spans.pop()[0]
            spans.append((start, end, decays, t))
        for start, end, decays, t in spans:
            start, end = max(start, self.span.start), min(end, self.span.stop)
            for i in range(start, end, CHUNK):
                yield i, min(i + CHUNK, end), decays, t

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for p in self.parameters.values():
            p.grad = None

    def options(self) -> dict[str, Any]:
        """Return the arguments of `__init__` that are numbers."""
        return {name: getattr(self, name) for name in ("lr", "beta1", "beta2", "eps", "weight_decay", "ema")}

    def __getstate__(self) -> dict[str, Any]:
        """Return what deepcopy and pickle keep: the arguments of `__init__`, the averages and the number of steps."""
        return {"parameters": self.parameters, "options": self.options(), "averages": self.state_dict(), "t": self.t}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bind the copied parameters: `deepcopy((model, optimizer))` gives a pair that trains on by itself."""
        self.__init__(state["parameters"].items(), **state["options"])  # type: ignore[misc]
        self.load_state_dict(state["averages"], state["t"])

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the averages, as `m.<name>`, `v.<name>` and `e.<name>`. The caller saves `t`, the number of steps.

        `t.<name>` is the count of a parameter that had no gradient at some of the steps.
        """
        counts = {f"t.{name}": np.array(t) for name, t in self.counts.items() if t != self.t}
        return self._averages() | counts

    def _averages(self) -> dict[str, np.ndarray]:
        kinds = zip("mve", self._all_averages(), strict=False)
        return {f"{kind}.{name}": a for kind, flat in kinds for name, a in self._by_name(flat).items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray], t: int) -> None:
        """Copy the averages and the number of steps. A ValueError for a wrong name or shape changes nothing."""
        own = self._averages()
        counts = {name: state[f"t.{name}"] for name in self.counts if f"t.{name}" in state}
        if different := sorted((state.keys() - {f"t.{name}" for name in counts}) ^ own.keys()):
            raise ValueError(f"AdamW: the state names other parameters than the model, among them {different[0]}")
        for name, array in own.items():
            if state[name].shape != array.shape:
                raise ValueError(f"AdamW: {name} has shape {array.shape}, got {state[name].shape}")
        for name, array in own.items():
            array[...] = state[name]
        self.t = t
        self.counts = {name: int(counts.get(name, t)) for name in self.counts}
