"""Train on two machines, as far as one machine can show them, and compare the time of a step with its simulation.

    python examples/two_machines.py

It takes about a minute on two cores. Two network namespaces of Linux, joined by a virtual cable, have one core each and
share no file and no memory: the second does not see the folder of the run, its text and its tokenizer. MPICH connects them
over TCP. The run must end with the bits of a run on this machine alone, and its gradients must have passed through the
cable. Then the cable is limited to 1 Gbit/s, and a step must take the time that `scaling.py` simulates, within 20 %. It
needs root, ip and tc (Debian: apt-get install iproute2), and: pip install 'nanograd-gpt[mpi]'
"""

import hashlib
import importlib.util
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench_worker import ONE_CORE, ROOT, SHAPES, Shape, mpiexec, plain_environment
from scaling import LIMIT, Network, compare, ethernet, run_two

from gpt.runs.safetensors import load_file
from nanograd.runtime.arguments import Parser

ADDRESSES = ("10.203.77.1", "10.203.77.2")
CABLE = "cable"  # the name of both its ends
TCP = {"UCX_TLS": "tcp,self", "FI_PROVIDER": "tcp"}  # else MPICH finds out that both are one machine, and shares memory
AGREE = 0.2  # largest deviation of the measured step from the simulated one
TIMED = 10  # steps


def missing() -> list[str]:
    """Return what this machine lacks."""
    if not sys.platform.startswith("linux"):
        return ["Linux, whose network namespaces it uses"]
    lacks = [] if os.geteuid() == 0 else ["root"]
    lacks += [f"{name} (package iproute2)" for name in ("ip", "tc") if shutil.which(name) is None]
    return lacks + (["mpi4py and mpich"] if importlib.util.find_spec("mpi4py") is None else [])


def shell(command: str) -> str:
    """Run a command and return what it prints; if it fails, end with its message."""
    result = subprocess.run(shlex.split(command), capture_output=True, encoding="utf-8", check=False)
    if result.returncode:
        sys.exit(f"two_machines: {command}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


class Machines:
    """Two network namespaces, each with a folder, joined by a cable."""

    def __init__(self, folder: Path) -> None:
        self.names = [f"machine{i}-{os.getpid()}" for i in (1, 2)]
        self.folders = [folder / name for name in ("one", "two")]
        self.launcher = folder / "launch"
        for path in self.folders:
            path.mkdir()
        # MPICH's mpiexec calls this instead of ssh: options, host, command
        hidden = " && ".join(f"mount -t tmpfs none {path}" for path in (self.folders[0], "/dev/shm"))
        self.launcher.write_text(
            f'#!/bin/sh\nwhile [ "$1" != {ADDRESSES[1]} ]; do shift; done\nshift\n'
            f'exec ip netns exec {self.names[1]} sh -c "{hidden} && cd {self.folders[1]} && $*"\n'
        )
        self.launcher.chmod(0o700)

    def connect(self) -> None:
        one, two = self.names
        for name in self.names:
            shell(f"ip netns add {name}")
        shell(f"ip link add {CABLE} netns {one} type veth peer name {CABLE} netns {two}")
        for name, address in zip(self.names, ADDRESSES, strict=True):
            shell(f"ip -n {name} address add {address}/24 dev {CABLE}")
            for device in (CABLE, "lo"):
                shell(f"ip -n {name} link set {device} up")
        for name in self.names:  # until then, up to a second, MPICH does not see the cable
            up = f"until grep -q up /sys/class/net/{CABLE}/operstate; do sleep 0.1; done"
            shell(f"ip netns exec {name} timeout 10 sh -c '{up}'")

    def limit(self, gbits: float) -> None:
        """Let the cable carry so many Gbit/s in each direction."""
        for name in self.names:
            shell(f"tc -n {name} qdisc add dev {CABLE} root tbf rate {1000 * gbits:g}mbit burst 64kb latency 50ms")

    def carried(self) -> list[int]:
        """Return the bytes that each machine has sent through the cable."""
        file = f"/sys/class/net/{CABLE}/statistics/tx_bytes"
        return [int(shell(f"ip netns exec {name} cat {file}")) for name in self.names]

    def mpiexec(self) -> list[str]:
        """Return the command that starts a program on both machines, from the first."""
        hosts = ["-hosts", ",".join(ADDRESSES), "-localhost", ADDRESSES[0], "-iface", CABLE, "-n", "2"]
        return [
            "ip", "netns", "exec", self.names[0], mpiexec(), *hosts, "-launcher", "ssh", "-launcher-exec",
            str(self.launcher),
        ]  # fmt: skip

    def remove(self) -> None:
        """End the processes of the namespaces, and remove them; the cable goes with them."""
        for name in self.names:
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, encoding="utf-8", check=False)
            for pid in pids.stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@contextmanager
def two_machines() -> Iterator[Machines]:
    """Yield the machines, and remove them however the block ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("two_machines: stopped"))
    with tempfile.TemporaryDirectory() as folder:
        machines = Machines(Path(folder))
        try:
            machines.connect()
            yield machines
        finally:
            machines.remove()


def write_text(path: Path, shape: Shape) -> None:
    """Write a random text with as many different characters as the shape has tokens."""
    characters = [chr(0x20000 + i) for i in range(shape.vocab)]
    text = characters + random.Random(0).choices(characters, k=20 * shape.vocab + 100 * shape.context)
    path.write_text("".join(text), encoding="utf-8")


def train(shape: Shape, steps: int, machines: Machines, out: str, *launcher: str) -> None:
    """Train in the folder of the first machine, on a launcher's ranks or alone."""
    options = {
        "data": "text.txt", "tokenizer": "char", "d-model": shape.d_model, "n-layers": shape.n_layers, "shards": 2,
        "n-heads": shape.n_heads, "context-length": shape.context, "batch-size": shape.batch, "dropout": 0.1, "out": out,
        "max-steps": steps, "warmup-steps": 1, "save-every": steps, "eval-every": steps, "eval-batches": 2,
    }  # fmt: skip
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    environment = plain_environment() | ONE_CORE | {"PYTHONPATH": str(ROOT), "GPT_DATA_DIR": str(machines.folders[0])}
    log = machines.folders[0] / f"{out}.log"
    with log.open("w") as file:
        code = subprocess.run(
            [*launcher, sys.executable, "-m", "gpt", "train", *flags], cwd=machines.folders[0], env=environment,
            stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=LIMIT, check=False,
        ).returncode  # fmt: skip
    if code:
        sys.exit(f"two_machines: the training ended with exit code {code}:\n{log.read_text()[-2000:]}")


def result_of(run: Path) -> tuple[str, list[Any]]:
    """Return a hash of the parameters and the state of the optimizer, and all that was logged except times."""
    arrays, _ = load_file(run / "last.safetensors")
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return digest.hexdigest(), [
        {name: r[name] for name in ("step", "loss", "val_loss", "lr", "grad_norm")} for r in records
    ]


def check_bits(name: str, steps: int, machines: Machines) -> None:
    """Train on one machine and on two; end with a message unless the results are the same and came through the cable."""
    one, two = machines.folders
    write_text(one / "text.txt", SHAPES[name])
    train(SHAPES[name], steps, machines, "alone")
    train(SHAPES[name], steps, machines, "both", *machines.mpiexec())
    alone, both = (result_of(one / run) for run in ("alone", "both"))
    print(f"{name}, {steps} steps\none machine   sha256 {alone[0]}\ntwo machines  sha256 {both[0]}")
    arrays, _ = load_file(one / "both" / "last.safetensors")
    needed = steps * sum(array.nbytes for name, array in arrays.items() if name.startswith("adamw.m."))
    carried = machines.carried()
    print(
        f"cable         {' and '.join(f'{n / 1e6:,.1f}' for n in carried)} MB; at least {needed / 1e6:,.1f} are needed"
    )
    if alone != both:
        sys.exit("two_machines: the results differ")
    if min(carried) < needed:
        sys.exit("two_machines: the gradients did not pass through the cable")
    if any(two.iterdir()):
        sys.exit(f"two_machines: the second machine has written {[path.name for path in two.iterdir()]}")


def check_time(name: str, gbits: float, machines: Machines) -> None:
    """Compare a step over the limited cable with its simulation; end with a message if they do not agree."""
    machines.limit(gbits)
    figures = run_two(name, TIMED, *machines.mpiexec())
    network = ethernet(gbits, Network(*figures["network"]).latency)
    line, ratio = compare(figures, network)
    print(f"{gbits:g} Gbit/s: {line}")
    if abs(ratio - 1) > AGREE:
        sys.exit(f"two_machines: the measured and the simulated step differ by more than {100 * AGREE:g} %")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.option("--shape", "what is trained, from bench.py", "M", choices=tuple(SHAPES))
    parser.option("--steps", "of the training whose bits are compared", 20, least=1)
    parser.option("--gbits", "what the cable is limited to", 1.0)
    args = parser.parse()
    if lacks := missing():
        sys.exit(f"two_machines: cannot run here, it needs {', '.join(lacks)}")
    os.environ.update(TCP)
    with two_machines() as machines:
        check_bits(args.shape, args.steps, machines)
        check_time(args.shape, args.gbits, machines)


if __name__ == "__main__":
    main()
