"""python -m nanograd drill: the drills from the command line."""

import argparse
import contextlib
import difflib
import json
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nanograd.runtime.files import write_text
from nanograd.study.drills import DRILLS, TOPICS
from nanograd.study.drills.check_file import LIMIT, check
from nanograd.study.drills.drill import Drill, learner_file, solution
from nanograd.study.drills.grade import Verdict

DESCRIPTION = """Write a backward yourself, and be told what is wrong with it.

  list           the drills, and what you have solved
  start NAME     make drills/NAME.py: the forward, a question, and an empty backward
  check NAME     grade it; the first thing that is wrong is named
  watch NAME     check it again whenever it is saved; Ctrl-C ends
  hint NAME      one of three hints
  show NAME      the derivation and the reference
"""
FILE = "progress.json"  # in the folder of the drills
POLL = 0.5  # seconds between two looks at a file


@dataclass
class Record:
    """One drill: checks made, hints taken, and whether it was once right."""

    checks: int = 0
    hints: int = 0
    solved: bool = False


class Parser(argparse.ArgumentParser):
    """Raise what is wrong with the command line, for the caller to print as one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise ValueError(message)


def main(arguments: Sequence[str]) -> int:
    """Run one command; return 1 where a drill is not solved yet."""
    parser = Parser(
        prog="python -m nanograd drill",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=["list", *COMMANDS], nargs="?", default="list")
    parser.add_argument("name", nargs="?", help="a drill, such as softmax")
    parser.add_argument("--folder", type=Path, default=Path("drills"), help="where your files are (default: drills)")
    parser.add_argument("--seconds", type=float, default=LIMIT, help=f"time limit of a check (default: {LIMIT:g})")
    parser.add_argument("--yes", action="store_true", help="show a reference before the drill is solved")
    try:
        given = parser.parse_args(list(arguments))
    except SystemExit:  # --help was printed
        return 0
    if given.command == "list":
        return list_drills(given.folder)
    if given.name is None:
        raise ValueError(f"which drill? {given.command} NAME, with a name from: {', '.join(DRILLS)}")
    if given.name not in DRILLS:
        near = difflib.get_close_matches(given.name, DRILLS, 1)
        raise ValueError(f"there is no drill {given.name}; {f'did you mean {near[0]}?' if near else 'see drill list'}")
    if not given.seconds > 0:
        raise ValueError(f"--seconds must be above 0, got {given.seconds:g}")
    try:
        return COMMANDS[given.command](DRILLS[given.name], given)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def list_drills(folder: Path) -> int:
    """Print the rungs, and what was done on each."""
    records = read(folder)
    solved = sum(record.solved for record in records.values())
    print(f"{solved} of {len(DRILLS)} solved\n")
    for topic, drills in TOPICS.items():
        print(topic)
        for drill in drills:
            record = records.get(drill.name, Record())
            mark = "✓ solved" if record.solved else "· begun" if path_of(drill, folder).exists() else ""
            hints = f"{record.hints} of 3 hints" if record.hints else ""
            print(f"  {drill.name:<14} {mark:<9} {hints}".rstrip())
    unsolved = [name for name in DRILLS if not records.get(name, Record()).solved]
    if unsolved:
        print(f"\nNext: python -m nanograd drill start {unsolved[0]}")
    return 0


def start(drill: Drill, given: argparse.Namespace) -> int:
    path = path_of(drill, given.folder)
    given.folder.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(learner_file(drill))
    except FileExistsError:
        raise ValueError(f"{path} is there already, and is left as it is; to begin anew, move it away first") from None
    print(f"{path} is made. Write {drill.backward.__name__} in it; then: python -m nanograd drill check {drill.name}")
    return 0


def check_once(drill: Drill, given: argparse.Namespace) -> int:
    verdict = check(drill, found(drill, given.folder), given.seconds)
    records = read(given.folder)
    record = records.setdefault(drill.name, Record())
    record.checks += 1
    record.solved |= verdict.ok
    write(given.folder, records)
    print(report(drill, verdict))
    if verdict.ok:
        unsolved = [name for name in DRILLS if not records.get(name, Record()).solved]
        more = f"next: python -m nanograd drill start {unsolved[0]}" if unsolved else "that was the last."
        print(f"  {len(DRILLS) - len(unsolved)} of {len(DRILLS)} solved; {more}")
    return 0 if verdict.ok else 1


def watch(drill: Drill, given: argparse.Namespace, sleep: Callable[[float], None] = time.sleep) -> int:
    """Check whenever the file was saved, until Ctrl-C."""
    path = found(drill, given.folder)
    print(f"Watching {path}; Ctrl-C ends.")
    seen = None
    try:
        while True:
            now = saved_at(path)
            if now is not None and now != seen:
                seen = now
                print(f"\n{time.strftime('%H:%M:%S')}")
                with contextlib.suppress(FileNotFoundError):  # it went away after we had looked
                    check_once(drill, given)
            sleep(POLL)
    except KeyboardInterrupt:
        print()
        return 0


def saved_at(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is saved, or None while it is away, as it is in the middle of some editors' saves."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def hint(drill: Drill, given: argparse.Namespace) -> int:
    records = read(given.folder)
    record = records.setdefault(drill.name, Record())
    shown = range(3) if record.hints == 3 else [record.hints]
    for i in shown:
        print(textwrap.fill(f"Hint {i + 1} of 3: {drill.hints[i]}", 100, break_long_words=False))
    if record.hints == 3:
        print(f"There are no more; the reference: python -m nanograd drill show {drill.name} --yes")
    else:
        record.hints += 1
        given.folder.mkdir(parents=True, exist_ok=True)
        write(given.folder, records)
    return 0


def show(drill: Drill, given: argparse.Namespace) -> int:
    if not given.yes and not read(given.folder).get(drill.name, Record()).solved:
        print(f"{drill.name} is not solved yet; to see its reference all the same, add --yes")
        return 1
    print(solution(drill), end="")
    return 0


def path_of(drill: Drill, folder: Path) -> Path:
    return folder / f"{drill.name}.py"


def found(drill: Drill, folder: Path) -> Path:
    """Return the learner's file; raise where there is none."""
    path = path_of(drill, folder)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; make it with: python -m nanograd drill start {drill.name}")
    return path


def report(drill: Drill, verdict: Verdict) -> str:
    """Say what a check found."""
    lines = [f"  ✓ {stage}" for stage in verdict.passed]
    if verdict.ok:
        lines = [f"{drill.name}: right.", *lines]
    else:
        lines = [f"{drill.name}: not yet.", *lines, f"  ✗ {verdict.failed}", textwrap.indent(verdict.message, "    ")]
    if verdict.mistake:
        name, _, wrong = verdict.mistake.partition(": ")
        lines.append(f"    This is the mistake “{name}”: {wrong}.")
    return "\n".join([*lines, *(f"  {note}" for note in verdict.notes)])


def read(folder: Path) -> dict[str, Record]:
    """Return the records by drill; none where nothing was kept.

    Raises ValueError where the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        records = {name: Record(**each) for name, each in json.loads(path.read_text(encoding="utf-8")).items()}
        if all(r.hints in range(4) and r.solved in (False, True) and r.checks >= 0 for r in records.values()):
            return records
    except (ValueError, TypeError, AttributeError):  # no JSON, or JSON of something else
        pass
    raise ValueError(f"{path} is damaged; delete it to begin anew: your solutions stay")


def write(folder: Path, records: dict[str, Record]) -> None:
    """Keep the records: the file is replaced at once, or stays as it was."""
    text = json.dumps({name: asdict(record) for name, record in records.items()}, indent=1)
    write_text(folder / FILE, text + "\n")


COMMANDS = {"start": start, "check": check_once, "watch": watch, "hint": hint, "show": show}
