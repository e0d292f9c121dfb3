"""Simulate the time of a training step on N machines from the parts of a step that are measured on this one.

    python examples/scaling.py --shape M
    python examples/scaling.py --shape L --micro-batches 8 --gbits 2.5 25

It takes about half a minute. Every machine computes the batch of the shape in `bench.py`, so N machines take N batches a
step; the speed-up is that of tokens per second. Then each adds up a part of all gradients, updates that part of the
parameters, and sends it to the others:

    compute    forward and backward of its own micro-batches
    exchange   (N - 1) / N of the gradient to the owners of its parts,
               and as much of the parameters back
    add        its part of the N gradients
    update     clipping and AdamW of its part, 1 / N of the work

The simulation is compared with two ranks of mpiexec on this machine, one core each, whose compute time, bandwidth and
latency are measured there. It needs: pip install 'nanograd-gpt[mpi]'
"""

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from bench_worker import CLIP, ONE_CORE, SHAPES, TRAIN, Shape, draw, mpiexec, plain_environment

from gpt.model import GPT
from gpt.runs.team import world
from gpt.training import make_optimizer, next_token_loss
from nanograd.parallel import DataParallel, Solo, Team, choose_shards
from nanograd.runtime.arguments import Parser

MACHINES = (1, 2, 4, 8, 16)
CALLS = 3  # of rank 0 to the others in a step, with an answer each: gradients, their sum, update
PAYLOAD = 1448 / 1538  # of the bytes on an Ethernet, which carries 1448 of ours in a frame, after headers and a gap
WARM_UP = 2
LIMIT = 900.0  # seconds for a program


class Cost(NamedTuple):
    """The parts of a step of one machine, in seconds."""

    compute: float  # forward and backward of one micro-batch
    add: float  # adding two whole gradients
    update: float  # the norm, and AdamW of all parameters
    gradient_bytes: int


class Network(NamedTuple):
    """What joins the machines: each can send and receive at once."""

    bandwidth: float  # bytes of ours per second, in each direction
    latency: float  # seconds for a short message


def ethernet(gbits: float, latency: float) -> Network:
    """Return the network of an Ethernet with so many Gbit/s."""
    return Network(gbits * 1e9 / 8 * PAYLOAD, latency)


def step_seconds(cost: Cost, machines: int, network: Network, micro_batches: int = 1) -> float:
    """Return the time of a step on so many machines."""
    others = (machines - 1) / machines
    exchange = 2 * others * cost.gradient_bytes / network.bandwidth
    messages = 2 * CALLS + 2 * (machines - 1) if machines > 1 else 0  # one after the other
    shared = others * cost.add + cost.update / machines
    return micro_batches * cost.compute + shared + exchange + messages * network.latency


def table(cost: Cost, networks: dict[str, Network], tokens: int, micro_batches: int) -> str:
    """Format the simulated steps as a Markdown table."""
    names = [f"{column} at {name}" for name in networks for column in ("ms per step", "tokens/s", "speed-up")]
    lines = ["| machines | " + " | ".join(names) + " |", "| ---: |" + " ---: |" * len(names)]
    alone = step_seconds(cost, 1, next(iter(networks.values())), micro_batches)
    for n in MACHINES:
        cells = []
        for network in networks.values():
            seconds = step_seconds(cost, n, network, micro_batches)
            cells += [
                f"{1e3 * seconds:,.1f}",
                f"{n * micro_batches * tokens / seconds:,.0f}",
                f"{n * alone / seconds:.2f}",
            ]
        lines.append(f"| {n} | {' | '.join(cells)} |")
    return "\n".join(lines)


# Measuring the parts


class Timed(Solo):
    """A team of one that adds up the seconds of its calls, by method."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def call(self, method: str, *arguments: Any, each: Sequence[Any] | None = None) -> list[Any]:
        began = time.perf_counter()
        results = super().call(method, *arguments, each=each)
        self.seconds[method] += time.perf_counter() - began
        return results


def measure_cost(shape: Shape, shards: int, steps: int, slowest: Callable[[float], float] = float) -> Cost:
    """Measure the parts of a step in this process. `slowest` returns the longest of what all ranks give it."""
    team = Timed()
    parallel = make(shape, shards, team)
    taken: dict[str, list[float]] = {"compute": [], "update": []}
    for n in range(WARM_UP + steps):
        team.seconds.clear()
        take_step(parallel, shape, n)
        seconds = team.seconds
        taken["compute"].append(slowest(seconds["gradients"]))
        taken["update"].append(slowest(seconds["add_ranks"] + seconds["update"]))
    gradient = team.member.buffer.flat
    other = gradient.copy()
    adding = []
    for _ in range(3):
        began = time.perf_counter()
        np.add(gradient, other, out=gradient)
        adding.append(time.perf_counter() - began)
    compute, update = (median(taken[part][WARM_UP:]) for part in ("compute", "update"))
    return Cost(compute, median(adding), update, gradient.nbytes)


def make(shape: Shape, shards: int, team: Team) -> DataParallel:
    model = GPT(shape.config(), np.random.default_rng(0))
    return DataParallel(model, make_optimizer(model, TRAIN), next_token_loss, shards=shards, team=team)


def take_step(parallel: DataParallel, shape: Shape, n: int) -> None:
    ids, targets = draw(shape, n)
    parallel.gradients(n, [(ids, targets)], targets.size)
    parallel.clip(CLIP)
    parallel.update(TRAIN.lr)


def measure_network(team: Any) -> Network:
    """Measure what joins two ranks, which call this at the same time: both send and receive."""

    def seconds(n: int, repeats: int) -> float:
        sent, received = np.ones(n, np.uint8), np.empty(n, np.uint8)
        times = []
        for _ in range(repeats):
            team.world.Barrier()
            began = time.perf_counter()
            team.world.Sendrecv(sent, 1 - team.rank, recvbuf=received, source=1 - team.rank)
            times.append(time.perf_counter() - began)
        return median(times)

    latency = seconds(1, 200)
    n = 2**25
    return Network(n / (seconds(n, 5) - latency), latency)


def measure_two(shape: Shape, steps: int) -> dict[str, Any] | None:
    """Measure, in each of two ranks, the cost of half of the shape's batch, the network, and the step of both together.

    Rank 0 returns the figures. The costs are measured on both at the same time, as the ranks of one machine slow each other
    down, and the slower one counts, as in a step of both.
    """
    team = world()
    if team is None or team.size != 2:
        sys.exit("scaling: --measure is for mpiexec -n 2")

    def cost() -> Cost:
        return measure_cost(share, 1, steps, lambda seconds: max(team.world.allgather(seconds)))

    share = shape._replace(batch=shape.batch // 2)
    before, network, after = cost(), measure_network(team), cost()
    seconds = measure_step(team, shape, steps)  # the last: then the other rank waits for the end of rank 0
    if team.rank:
        return None
    return {
        "cost": [median(parts) for parts in zip(before, after, strict=True)],
        "network": network,
        "seconds": seconds,
    }


def measure_step(team: Any, shape: Shape, steps: int) -> list[float]:
    """Measure the steps of all ranks together; the others than rank 0 return when it has ended."""
    if team.rank:
        team.follow()
        return []
    parallel = make(shape, team.size, team)
    times = []
    for n in range(WARM_UP + steps):
        began = time.perf_counter()
        take_step(parallel, shape, n)
        times.append(time.perf_counter() - began)
    parallel.close()
    return times[WARM_UP:]


def compare(figures: dict[str, Any], network: Network | None = None) -> tuple[str, float]:
    """Return a line that compares the measured step of two ranks with the simulated one, and their ratio.

    The network is the measured one, unless another is given.
    """
    cost, network = Cost(*figures["cost"]), network or Network(*figures["network"])
    measured, simulated = median(figures["seconds"]), step_seconds(cost, 2, network)
    ratio = measured / simulated
    return (
        f"two ranks, one core each, {network.bandwidth / 1e6:,.0f} MB/s, {1e6 * network.latency:,.0f} µs: "
        f"measured {1e3 * measured:,.1f} ms, simulated {1e3 * simulated:,.1f} ms, measured / simulated {ratio:.2f} "
        f"(compute {1e3 * cost.compute:,.1f}, update {1e3 * cost.update:,.1f}, {cost.gradient_bytes / 1e6:,.1f} MB)"
    ), ratio


def run_two(shape: str, steps: int, *launcher: str) -> dict[str, Any]:
    """Start two ranks of this program, one thread each, with mpiexec or another launcher; return their figures."""
    command = [*(launcher or (mpiexec(), "-n", "2")), sys.executable, str(Path(__file__).resolve())]
    command += ["--shape", shape, "--steps", str(steps), "--measure"]
    environment = plain_environment() | ONE_CORE
    result = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8", timeout=LIMIT,
        check=False,
    )  # fmt: skip
    if result.returncode:
        sys.exit(f"scaling: the two ranks ended with exit code {result.returncode}; see above")
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


def main() -> None:
    parser = Parser(description=__doc__)
    parser.option("--shape", "what every machine computes, from bench.py", "M", choices=tuple(SHAPES))
    parser.option("--micro-batches", "how many a machine computes before an exchange", 1, least=1)
    parser.add_argument(
        "--gbits", type=float, nargs="+", default=[1.0, 10.0], metavar="X", help="bandwidths in Gbit/s (default 1 10)"
    )
    parser.option("--latency", "of a message, in microseconds", 50.0, least=0)
    parser.option("--steps", "timed steps", 10, least=1)
    parser.option("--no-ranks", "do not compare with two ranks here", False)
    parser.option("--measure", "print figures of two ranks as JSON: for mpiexec -n 2, and for two_machines.py", False)
    args = parser.parse()
    shape = SHAPES[args.shape]
    if args.measure:
        if (figures := measure_two(shape, args.steps)) is not None:
            print(json.dumps(figures))
        return
    cost = measure_cost(shape, choose_shards(shape.batch, shape.context), args.steps)
    alone = step_seconds(cost, 1, Network(1, 0), args.micro_batches)
    print(
        f"{args.shape}: a step takes {1e3 * alone:,.1f} ms on one machine: "
        f"compute {args.micro_batches} × {1e3 * cost.compute:,.1f}, update {1e3 * cost.update:,.1f}; "
        f"gradient {cost.gradient_bytes / 1e6:,.1f} MB; latency {args.latency:g} µs\n"
    )
    networks = {f"{gbits:g} Gbit/s": ethernet(gbits, 1e-6 * args.latency) for gbits in args.gbits}
    print(table(cost, networks, shape.tokens(), args.micro_batches), flush=True)
    if not args.no_ranks:
        print(f"\n{compare(run_two(args.shape, args.steps))[0]}")


if __name__ == "__main__":
    main()
