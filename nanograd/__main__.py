"""python -m nanograd: the calculus as a table, gradcheck, mutation testing, studies and drills from the command line."""

import ast
import importlib
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nanograd import __version__
from nanograd.check.gradcheck import gradcheck
from nanograd.op import OPS, Op
from nanograd.runtime.arguments import Parser, dispatch, nearest, one_line

COMMANDS = {
    "ops": "every op: equation, gradient, saved bytes, FLOPs and location",
    "gradcheck": "check the backward of an op, or of your own",
    "mutants": "plant small mistakes in every backward, and count those caught",
    "study": "an op's derivation, checked line by line, as a page or text",
    "drill": "write a backward yourself, and have it graded",
}
HELP = (
    "usage: python -m nanograd COMMAND …\n\n"
    + "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    + "\n\n`python -m nanograd COMMAND --help` explains each command; `python -m nanograd --version` prints the version.\n"
)
OPS_HELP = "Print a table of ops: equation, gradient, saved bytes, FLOPs and location."
GRADCHECK_HELP = """Check a backward: compare it with finite differences of the forward, at random inputs, and name
the likely cause of a difference.

    python -m nanograd gradcheck softmax 3,5 axis=-1
    python -m nanograd gradcheck embedding 5,3 int:2,4:5
    python -m nanograd gradcheck my.py:my_op 2,3

OP is an op of nanograd, or FILE.py:NAME for one of your own: an Op, a function of Tensors, or a pair of functions
NAME_forward and NAME_backward. FILE.py is imported: what it does besides goes under `if __name__ == "__main__":`.
Options of the op follow the shapes of its inputs. The exit code is 1 if the backward is wrong.
"""
MUTANTS_HELP = """Plant small mistakes in the backward of ops, one at a time, and count how many of them the cases of the
tests catch. The exit code is 1 if one survives.

    python -m nanograd mutants softmax exp
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 1 if a check fails, 2 if the call is wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    commands: dict[str, Callable[[list[str]], int]] = {
        "ops": ops,
        "gradcheck": check,
        "mutants": mutants,
        "study": partial(run_module, "nanograd.study.command"),
        "drill": partial(run_module, "nanograd.study.drills.command"),
    }
    if arguments[:1] == ["--version"]:
        print(f"nanograd {__version__}")
        return 0
    try:
        return dispatch("nanograd", "command", commands, HELP, arguments)
    except SystemExit as stop:  # argparse has printed a help, or what is wrong with the call
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output has closed it: `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, NotImplementedError) as error:
        print(one_line(f"nanograd {arguments[0]}: {error}"), file=sys.stderr)
        return 2


def ops(arguments: list[str]) -> int:
    """Print the table of all ops, or of the named ones."""
    parser = Parser(prog="python -m nanograd ops", description=OPS_HELP)
    parser.add_argument("ops", metavar="OP", nargs="*", help="an op (default: every op)")
    names = parser.parse(arguments).ops
    for name in names:
        check_op(name)
    from nanograd.check.cost import table

    print(table(names or OPS))
    return 0


def check(arguments: list[str]) -> int:
    """Gradcheck an op at random inputs of these shapes."""
    usage = "%(prog)s OP SHAPE … [OPTION=VALUE …]"
    parser = Parser(prog="python -m nanograd gradcheck", usage=usage, description=GRADCHECK_HELP)
    parser.add_argument("op", metavar="OP", help="an op, such as softmax (`python -m nanograd ops` lists all)")
    shape = 'shape of an input: 3,5, or "()" for a number, or int:SHAPE:N for whole numbers below N'
    parser.add_argument("words", metavar="SHAPE", nargs="*", help=shape)
    args = parser.parse(arguments)
    name, rest = args.op, args.words
    options = {key: _value(text) for key, _, text in (word.partition("=") for word in rest if "=" in word)}
    inputs = [_input(word, np.random.default_rng(i)) for i, word in enumerate(w for w in rest if "=" not in w)]
    function = _load(name)
    if not inputs:
        count = function.required or 1 if isinstance(function, Op) else 1
        raise ValueError(f"give {name} a shape for each of its {count} inputs, such as 3,5")
    with np.errstate(all="ignore"):
        report = gradcheck(function, *inputs, raises=False, **options)
        if not report.ok and "the forward itself is NaN" in str(report):  # log, sqrt, …: of positive numbers only
            report = gradcheck(function, *map(np.abs, inputs), raises=False, **options)
    print(report)
    return 0 if report.ok else 1


def mutants(arguments: list[str]) -> int:
    """Print the mutation score of every op, or of the named ones."""
    parser = Parser(prog="python -m nanograd mutants", description=MUTANTS_HELP)
    parser.add_argument("ops", metavar="OP", nargs="*", help="an op (default: every op)")
    names = parser.parse(arguments).ops
    for name in names:
        check_op(name)
    from nanograd.check.mutants import scores

    total = caught = equivalent = 0
    print(f"{'op':<22} {'mutants':>8} {'caught':>8} {'equivalent':>11} {'survived':>9}")
    for score in scores(names or None):
        print(
            f"{score.name:<22} {score.total:>8} {score.caught:>8} {len(score.equivalent):>11} {len(score.survived):>9}"
        )
        for change, proof in score.equivalent:
            print(f"    equivalent: {change}\n        {proof}")
        for change in score.survived:
            print(f"    SURVIVED: {change}")
        total, caught, equivalent = total + score.total, caught + score.caught, equivalent + len(score.equivalent)
    print(f"{'all':<22} {total:>8} {caught:>8} {equivalent:>11} {total - caught - equivalent:>9}")
    print(f"mutation score: {caught / max(1, total - equivalent):.1%} of those that are not equivalent")
    return 0 if caught + equivalent == total else 1


def check_op(name: str, way_out: str = "") -> None:
    """Raise ValueError, with the nearest name, if there is no op of that name."""
    if name not in OPS:
        raise ValueError(f"there is no op {name}{nearest(name, OPS)}; `python -m nanograd ops` lists them{way_out}")


def run_module(name: str, arguments: list[str]) -> int:
    """Run a command that is a module of its own, which is imported only now."""
    return importlib.import_module(name).main(arguments)


def _input(word: str, rng: np.random.Generator) -> np.ndarray:
    """Draw an input of a shape from the command line: floats from ±[0.5, 1.5), away from kinks and poles."""
    kind, _, rest = word.partition(":")
    try:
        if kind == "int":
            shape, _, below = rest.partition(":")
            return rng.integers(0, int(below or 2), _shape(shape))
        return np.asarray(rng.uniform(0.5, 1.5, _shape(word)) * rng.choice([-1, 1], _shape(word)))
    except ValueError:
        raise ValueError(f"a shape is sizes with commas, such as 3,5, or int:3:10 for ids; got {word!r}") from None


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.strip("()").split(",") if size)


def _value(text: str) -> Any:
    """Parse an option: a Python literal, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _load(name: str) -> Any:
    """Return an op by name, or from FILE.py:NAME an Op, a function of Tensors, or a pair NAME_forward, NAME_backward."""
    path, colon, attribute = name.rpartition(":")
    if not colon:
        check_op(name, "; for one of your own give FILE.py:NAME")
        return OPS[name]
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    names = _names(path)
    pair = names.get(f"{attribute}_forward"), names.get(f"{attribute}_backward")
    function = names.get(attribute, pair if all(pair) else None)
    if function is None:
        raise ValueError(f"{path} has no {attribute}, nor {attribute}_forward and {attribute}_backward")
    return function


def _names(path: str) -> dict[str, Any]:
    """Run a file as an import does, without arguments; return its global names. An error of its own names the line."""
    mine, sys.argv = sys.argv, [path]
    try:
        return runpy.run_path(path, run_name=Path(path).stem)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        where = f"{path}, line {lines[-1]}" if lines else path
        first = str(error).partition("\n")[0]
        way_out = '; what is no definition may go under `if __name__ == "__main__":`'
        raise ValueError(f"{where}: {type(error).__name__}: {first}{way_out}") from None
    finally:
        sys.argv = mine


if __name__ == "__main__":
    sys.exit(main())
