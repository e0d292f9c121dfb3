"""A training step in shards on the ranks of a team: gradients, their sum, clipping and the update.

DataParallel is what a training loop uses. On every rank a Replica holds the model and the optimizer; each computes its own
shards, and updates its own part of the parameters.

    gradients   each shard adds up its micro-batches; the shards of a rank are added as a tree, then the ranks
    clip        the norm is a sum of squares in float64, over fixed pieces of the gradient
    update      a rank updates the part that it owns; then all have all parameters

So the bits of the result depend on the number of shards, but never on where a shard runs.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from nanograd._tensor import Tensor
from nanograd.nn import Module, evaluating
from nanograd.op import no_grad, region
from nanograd.optim import SGD, AdamW, check_max_norm, clip_factor, pieces_of, root_of_sum, sums_of_squares
from nanograd.parallel.ranks import MixedMachinesError, Solo, Team, bounds_of, shards_per_rank, tree
from nanograd.parallel.shards import forward_backward
from nanograd.runtime import blas
from nanograd.runtime.threads import parallel_map, run, threads_for
from nanograd.seeds import DROPOUT, seeds

Rows = tuple[np.ndarray, ...]  # the arrays of a batch or of a shard, with one row per example
Batches = Sequence[Sequence[Rows]]  # by micro-batch, then by shard
Loss = Callable[..., Tensor]  # (model, *rows) → the loss, summed over the targets


class GradientBuffer:
    """The gradients of one shard, or a sum of them, in one flat array."""

    def __init__(self, parameters: dict[str, Tensor], slices: dict[str, slice], flat: np.ndarray) -> None:
        self.flat = flat
        self.views = {p: flat[slices[name]].reshape(p.shape) for name, p in parameters.items()}
        self.present: set[Tensor] = set()  # the parameters that have a gradient

    def accumulate(self, leaf: Any, dx: np.ndarray, owned: bool) -> None:
        """Add dx to the gradient of a leaf: the callback of backpropagation. Other leaves than ours need no gradient."""
        if (view := self.views.get(leaf)) is None:
            return
        if leaf in self.present:
            np.add(view, dx, out=view)
        else:
            np.copyto(view, dx)
            self.present.add(leaf)

    def fill(self) -> None:
        """Set the gradients that are missing to zero, so that flat arrays can be added as a whole."""
        if len(self.present) < len(self.views):
            for leaf, view in self.views.items():
                if leaf not in self.present:
                    view[...] = 0

    def add(self, other: "GradientBuffer") -> "GradientBuffer":
        """Add the gradients of another buffer to these."""
        np.add(self.flat, other.flat, out=self.flat)
        self.present |= other.present
        return self

    def add_on_all_threads(self, other: "GradientBuffer") -> "GradientBuffer":
        """Add the gradients of another buffer to these, as `add` does."""
        pairs = list(zip(pieces_of(self.flat), pieces_of(other.flat), strict=True))
        parallel_map(lambda pair: np.add(*pair, out=pair[0]), pairs, [len(a) for a, _ in pairs])
        self.present |= other.present
        return self


class Work(NamedTuple):
    """A step of one rank: see `Replica.gradients`."""

    step: int
    scale: float
    batches: Batches
    losses: list[list[float]]


class Replica:
    """The model and the optimizer of one rank, and the shards that it computes."""

    def __init__(
        self, team: Team, model: Module, optimizer: AdamW | SGD, loss_of: Loss, shards: int, seed: int
    ) -> None:
        self.team, self.model, self.optimizer, self.loss_of, self.seed = team, model, optimizer, loss_of, seed
        self.n_shards = shards
        self.per_rank = shards_per_rank(shards, team.size)
        self.slices, flat = layout(optimizer)
        self.buffer = GradientBuffer(optimizer.parameters, self.slices, flat)
        self.spare: list[GradientBuffer] = []
        self.kept: list[tuple[str, np.ndarray, np.ndarray]] = []  # of matrices: name, own piece, copy
        self.bounds = bounds_of(optimizer.cuts() if isinstance(optimizer, AdamW) else [0, flat.size], team.size)
        if isinstance(optimizer, AdamW):
            if team.copies:
                optimizer.keep_part(self.span, self._gather_averages)
            else:
                optimizer.span = self.span
            self.buffer.views = {p: optimizer.gradients[name] for name, p in optimizer.parameters.items()}
        spans = [slice(max(s.start, self.span.start), min(s.stop, self.span.stop)) for s in self.slices.values()]
        self.owned = [piece for s in spans if s.start < s.stop for piece in pieces_of(flat[s])]  # of the gradient

    @property
    def span(self) -> slice:
        """The part of the flat arrays that this rank owns."""
        return slice(self.bounds[self.team.rank], self.bounds[self.team.rank + 1])

    def gradients(self, step: int, scale: float, batches: Batches) -> tuple[list[list[float]], set[str]]:
        """Compute the gradient of this rank's shards; return their losses, by shard and micro-batch, and what has none.

        batches[m][k] are the rows of this rank's k-th shard in micro-batch m; of small batches the last are missing. The
        losses are multiplied by `scale` for the gradient.
        """
        n, block = self.per_rank, 1  # shards, and those that one thread adds up
        while -(-n // block) > threads_for(n):
            block *= 2
        firsts = range(0, n, block)
        sums = [self.buffer, *(self._take() for _ in firsts[1:])]
        work = Work(step, scale, batches, [[] for _ in range(n)])
        parts = zip(firsts, sums, strict=True)
        with self.limited():
            run([partial(self._add_up, work, first, min(block, n - first), total) for first, total in parts])
        with region("gradient sums"):
            tree(sums, GradientBuffer.add_on_all_threads)
        self.spare += sums[1:]
        missing = {name for name, p in self.optimizer.parameters.items() if p not in self.buffer.present}
        return work.losses, missing

    def _add_up(self, work: Work, first: int, n: int, total: GradientBuffer) -> None:
        """Compute n shards and add them as a tree: the first 2^k as a tree, the others as one, then both."""
        if n == 1:
            self._compute(work, first, total)
            return
        half = 1 << ((n - 1).bit_length() - 1)
        self._add_up(work, first, half, total)
        others = self._take()
        self._add_up(work, first + half, n - half, others)
        total.add(others)
        self.spare.append(others)

    def _compute(self, work: Work, k: int, total: GradientBuffer) -> None:
        """Add up the micro-batches of shard k."""
        total.present.clear()
        for micro, shards in enumerate(work.batches):
            if k >= len(shards):
                work.losses[k].append(0.0)
                continue
            shard = partial(self.loss_of, self.model, *shards[k])
            with seeds(self.seed, DROPOUT, work.step, micro, self.team.rank * self.per_rank + k):
                work.losses[k].append(forward_backward(shard, work.scale, total.accumulate))
        total.fill()

    def _take(self) -> GradientBuffer:
        """Return a buffer that nobody uses."""
        try:
            return self.spare.pop()
        except IndexError:
            return GradientBuffer(self.optimizer.parameters, self.slices, np.empty_like(self.buffer.flat))

    def limited(self) -> Any:
        """Return a context in which products use one thread, as those of several shards do wherever they run."""
        return blas.one_thread() if self.n_shards > 1 else nullcontext()

    def add_ranks(self, missing: set[str]) -> list[float]:
        """Add the gradients of all ranks, set `.grad`, and return the sums of squares of the pieces that this rank owns.

        missing are the parameters that have a gradient on no rank.
        """
        self.team.sum_tree(self.buffer.flat, self.bounds)
        for name, p in self.optimizer.parameters.items():
            p.grad = None if name in missing else self.buffer.views[p]
        return sums_of_squares(self.owned)

    def update(self, lr: float, scale: float) -> None:
        """Multiply the gradient by `scale`, update the part that this rank owns, and receive the others'."""
        optimizer = self.optimizer
        optimizer.lr = lr
        if isinstance(optimizer, AdamW):
            optimizer.step(scale)
            self.team.gather(optimizer.flat[0], self.bounds)
        else:
            self.buffer.flat *= scale
            optimizer.step()
        optimizer.zero_grad()

    def keep_matrices(self) -> None:
        """Copy the matrices that this rank owns: `update_sizes` compares them with the updated ones."""
        first, end = self.span.start, self.span.stop
        for name, s in self.slices.items():
            if (p := self.optimizer.parameters[name]).ndim > 1:
                own = p.data.reshape(-1)[max(first - s.start, 0) : max(end - s.start, 0)]
                self.kept += [(name, piece, piece.copy()) for piece in pieces_of(own)]

    def update_sizes(self) -> list[tuple[str, float, float]]:
        """Drop the copies of `keep_matrices`; return of each piece its parameter, ‖update‖² and ‖weights before it‖²."""
        names, copies = [name for name, _, _ in self.kept], [copy for _, _, copy in self.kept]
        weights = sums_of_squares(copies)
        with np.errstate(over="ignore", invalid="ignore"):
            for _, piece, copy in self.kept:
                np.subtract(piece, copy, out=copy)
        self.kept = []
        return list(zip(names, sums_of_squares(copies), weights, strict=True))

    def swap_average(self) -> None:
        """Exchange the parameters and their exponential average."""
        assert isinstance(self.optimizer, AdamW)
        self.optimizer.swap_average()
        self.team.gather(self.optimizer.flat[0], self.bounds)

    def losses(self, shards: Sequence[Rows]) -> list[float]:
        """Return the losses of this rank's shards of a batch, without dropout."""
        with self.limited():
            return losses_of(self.model, self.loss_of, shards)

    def averages(self) -> list[np.ndarray]:
        """Return the optimizer's m, v and e, of the part that this rank owns."""
        assert isinstance(self.optimizer, AdamW)
        return self.optimizer.flat[2:]

    def _gather_averages(self) -> list[np.ndarray]:
        """Return all of m, v and e, on rank 0, between two calls."""
        return [np.concatenate(parts) for parts in zip(*self.team.call("averages"), strict=True)]

    def machine(self) -> dict[str, Any]:
        """Return what the bits of the result depend on here; the number of threads is not among it."""
        return {name: value for name, value in blas.description().items() if name != "threads"}

    def checksum(self) -> int:
        """Return a checksum of the parameters that are trained, which must be the same on all ranks."""
        assert isinstance(self.optimizer, AdamW)
        return zlib.crc32(self.optimizer.flat[0].data)


class DataParallel:
    """A model that is trained in shards of its batches, on the ranks of a team; without a team, on the threads here.

    loss_of  the loss of (model, *rows), summed over targets. With a team, a function that other processes can import
    shards   parts of every batch; the result depends on it
    seed     from which dropout draws
    """

    def __init__(
        self,
        model: Module,
        optimizer: AdamW | SGD,
        loss_of: Loss,
        *,
        shards: int = 1,
        seed: int = 0,
        team: Team | None = None,
    ) -> None:
        self.team = Solo() if team is None else team
        self.shards = shards
        if self.team.size > 1 and not isinstance(optimizer, AdamW):
            name = type(optimizer).__name__
            raise TypeError(f"a team of {self.team.size} ranks needs AdamW, whose arrays it shares; got {name}")
        self.optimizer = optimizer
        self.squares: list[float] = []
        self.scale = 1.0
        try:
            self.team.begin(Replica, model, optimizer, loss_of, shards, seed)
            self.check_machines()
        except BaseException:
            self.team.close()
            raise

    def gradients(self, step: int, batches: Sequence[Rows], n_targets: int) -> float:
        """Compute the gradient of the mean loss of a step's micro-batches, and return that loss."""
        each = self._by_rank([split_rows(rows, self.shards) for rows in batches])
        results = self.team.call("gradients", step, 1 / n_targets, each=each)
        table = [losses for shards, _ in results for losses in shards]  # by shard, then micro-batch
        missing = set.intersection(*(names for _, names in results))
        with region("clip"):
            self.squares = [square for squares in self.team.call("add_ranks", missing) for square in squares]
        return sum(losses[micro] for micro in range(len(batches)) for losses in table) / n_targets

    def clip(self, max_norm: float | None) -> float:
        """Return the norm of the gradient, which `update` reduces to max_norm if it is larger."""
        check_max_norm(max_norm)
        norm = root_of_sum(self.squares)
        self.scale = clip_factor(norm, max_norm)
        return norm

    def gradient_squares(self) -> dict[str, float]:
        """Return the sum of squares of each parameter's gradient, before it is clipped."""
        replica, squares = self.team.member, iter(self.squares)  # of pieces, in the order of the flat array
        pieces = {name: len(pieces_of(replica.buffer.flat[s])) for name, s in replica.slices.items()}
        return {name: math.fsum(islice(squares, n)) for name, n in pieces.items()}

    def update(self, lr: float) -> None:
        """Update the parameters with the gradient."""
        self.team.call("update", lr, self.scale)

    def keep_matrices(self) -> None:
        """Copy all matrices before an update whose size `update_sizes` is to return."""
        self.team.call("keep_matrices")

    def update_sizes(self) -> dict[str, tuple[float, float]]:
        """Return of each matrix the sums of squares of the update since `keep_matrices`, and of the weights before it."""
        squares: dict[str, list[tuple[float, float]]] = {}
        for sizes in self.team.call("update_sizes"):
            for name, update, weights in sizes:
                squares.setdefault(name, []).append((update, weights))
        return {
            name: (math.fsum(u for u, _ in pairs), math.fsum(w for _, w in pairs)) for name, pairs in squares.items()
        }

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have the exponential average of its parameters, if the optimizer keeps one."""
        if getattr(self.optimizer, "ema", None) is None:
            yield
            return
        self.team.call("swap_average")
        try:
            yield
        finally:
            self.team.call("swap_average")

    def loss_sum(self, rows: Rows) -> float:
        """Return the loss of a batch, summed over its targets, without dropout."""
        each = [shards for (shards,) in self._by_rank([split_rows(rows, self.shards)])]
        return sum(loss for losses in self.team.call("losses", each=each) for loss in losses)

    def check_machines(self) -> None:
        """Raise MixedMachinesError if a rank would compute other bits than rank 0, unless that is allowed."""
        if not self.team.copies or self.team.mixed:
            return
        own, *others = self.team.call("machine")
        for rank, machine in enumerate(others, start=1):
            if different := [name for name in own if machine[name] != own[name]]:
                there, here = (", ".join(f"{name} {m[name]}" for name in different) for m in (machine, own))
                raise MixedMachinesError(
                    f"rank {rank} has {there}, and rank 0 {here}: their results differ in the last bits; take equal "
                    "machines"
                )

    def check_copies(self) -> None:
        """Raise ArithmeticError if the parameters of a rank are no longer those of rank 0."""
        if not self.team.copies:
            return
        own, *others = self.team.call("checksum")
        for rank, checksum in enumerate(others, start=1):
            if checksum != own:
                raise ArithmeticError(f"rank {rank} has drifted: its parameters are not those of rank 0")

    def close(self) -> None:
        """End the team. The optimizer has all of its state again, unless a call was interrupted: then ranks may be gone."""
        try:
            if isinstance(self.optimizer, AdamW) and not self.team.busy:
                self.optimizer.keep_all()
        finally:
            self.team.close()

    def _by_rank(self, batches: Batches) -> list[Batches]:
        """Return for each rank its shards of every batch."""
        n = shards_per_rank(self.shards, self.team.size)
        return [[shards[rank * n : (rank + 1) * n] for shards in batches] for rank in range(self.team.size)]


def loss_sum(model: Module, loss_of: Loss, rows: Rows, *, shards: int = 1) -> float:
    """Return the loss of a batch, summed over its targets, without dropout, in shards on the threads of this process."""
    with blas.one_thread() if shards > 1 else nullcontext():
        return sum(losses_of(model, loss_of, split_rows(rows, shards)))


@no_grad()
def losses_of(model: Module, loss_of: Loss, shards: Sequence[Rows]) -> list[float]:
    """Return the loss of each shard, without dropout."""
    with evaluating(model):
        losses = run([partial(loss_of, model, *rows) for rows in shards]) if shards else []
    return [float(loss.item()) for loss in losses]


def split_rows(rows: Rows, shards: int) -> list[Rows]:
    """Cut a batch into shards of about equally many rows; a batch with fewer rows gives fewer shards."""
    n = min(shards, len(rows[0]))
    return list(zip(*(np.array_split(array, n) for array in rows), strict=True))


def layout(optimizer: AdamW | SGD) -> tuple[dict[str, slice], np.ndarray]:
    """Return where each parameter lies in a flat array of gradients, and that array: AdamW has one."""
    if isinstance(optimizer, AdamW):
        return optimizer.slices, optimizer.flat[1]
    slices, end = {}, 0
    for name, p in optimizer.parameters.items():
        slices[name] = slice(end, end := end + p.size)
    return slices, np.empty(end, next(iter(optimizer.parameters.values())).dtype)
