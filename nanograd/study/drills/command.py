"""python -m nanograd drill: list, start and check drills; the progress is a JSON file in their folder."""

import argparse
import contextlib
import inspect
import json
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nanograd.runtime.arguments import Parser, nearest, reader
from nanograd.runtime.files import write_text
from nanograd.runtime.typed_json import read_json
from nanograd.study.course import chapter_of
from nanograd.study.drills import EXERCISES, TOPICS, Exercise
from nanograd.study.drills.bugs import Bug, bug_file, bug_solution
from nanograd.study.drills.check_file import LIMIT, check
from nanograd.study.drills.drill import learner_file, solution
from nanograd.study.drills.functions import FunctionDrill, function_file
from nanograd.study.drills.grade import Verdict

DESCRIPTION = """Write a backward yourself, or a part of an optimizer; the grader says what is wrong with it. In the drills
bug-… a backward is written already, and you find its wrong line.

    list           the drills, and which of them you have solved
    start NAME     create drills/NAME.py, with the question and the forward
    check NAME     grade it, up to the first mistake
    watch NAME     check it whenever it is saved, until Ctrl-C
    hint NAME      a question, then hints, each stronger than the one before
    show NAME      the derivation and the reference solution
"""
PROGRESS_FILE = "progress.json"  # in the folder of the drills
MOST_HINTS = max(len(drill.hints) for drill in EXERCISES.values())
POLL = 0.5  # seconds between two checks of the file


@dataclass
class Record:
    """The progress in one drill: checks made, hints shown, and whether it has ever been right."""

    checks: int = 0
    hints: int = 0
    solved: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run one command; return 1 if the drill is not solved yet."""
    commands = ("list", *COMMANDS)
    parser = Parser(prog="python -m nanograd drill", description=DESCRIPTION)
    command_help = "what to do (default list)"
    parser.add_argument(
        "command", metavar="COMMAND", type=reader(str, choices=commands), nargs="?", default="list", help=command_help
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="a drill, such as softmax")
    parser.option("--folder", "folder of your files", "drills", metavar="FOLDER", kind=Path)
    parser.option("--seconds", "time limit of a check", LIMIT)
    parser.option("--yes", "show the reference even if the drill is not solved", False)
    args = parser.parse(arguments)
    if args.command == "list":
        return list_drills(args.folder)
    if args.name is None:
        raise ValueError(f"drill {args.command} needs a NAME, one of: {', '.join(EXERCISES)}")
    if args.name not in EXERCISES:
        raise ValueError(f"there is no drill {args.name}{nearest(args.name, EXERCISES) or '; see drill list'}")
    if not args.seconds > 0:
        raise ValueError(f"--seconds must be above 0, got {args.seconds:g}")
    try:
        return COMMANDS[args.command](EXERCISES[args.name], args)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def list_drills(folder: Path) -> int:
    """Print the topics with their drills and the progress in them."""
    records = read_progress(folder)
    solved = sum(record.solved for record in records.values())
    print(f"{solved} of {len(EXERCISES)} solved\n")
    for topic, drills in TOPICS.items():
        print(topic)
        for drill in drills:
            record = records.get(drill.name, Record())
            mark = "✓ solved" if record.solved else "· started" if path_of(drill, folder).exists() else ""
            hints = f"{record.hints} of {len(drill.hints)} hints" if record.hints else ""
            print(f"  {drill.name:<17} {mark:<9} {hints}".rstrip())
    furthest = max((i for i, name in enumerate(EXERCISES) if records.get(name, Record()).solved), default=-1)
    if following := next_drill(records, furthest):
        print(f"\nNext: python -m nanograd drill start {following}")
    return 0


def next_drill(records: dict[str, Record], position: int) -> str:
    """Return the first unsolved drill after a position in the course, else the first at all, or "" if none is left."""
    names = [*EXERCISES]
    order = [*names[position + 1 :], *names[: position + 1]]
    return next((name for name in order if not records.get(name, Record()).solved), "")


def start(drill: Exercise, args: argparse.Namespace) -> int:
    path = path_of(drill, args.folder)
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(file_of(drill))
    except FileExistsError:
        raise ValueError(f"{path} exists already and is not changed; to start again, move it away first") from None
    task = "Find the wrong line" if isinstance(drill, Bug) else f"Write {drill.writes}"
    print(f"{path} is created. {task} in it, then: python -m nanograd drill check {drill.name}")
    return 0


def check_once(drill: Exercise, args: argparse.Namespace) -> int:
    verdict = check(drill, existing_file(drill, args.folder), args.seconds)
    records = read_progress(args.folder)
    record = records.setdefault(drill.name, Record())
    record.checks += 1
    record.solved |= verdict.ok
    write_progress(args.folder, records)
    print(report(drill, verdict))
    if drill.page:
        print(f"  read: python -m nanograd study {drill.page}; python -m gpt guide {chapter_of(drill.page)}")
    if verdict.ok:
        solved = sum(records[name].solved for name in EXERCISES if name in records)
        following = next_drill(records, [*EXERCISES].index(drill.name))
        more = f"next: python -m nanograd drill start {following}" if following else "all drills are solved."
        print(f"  {solved} of {len(EXERCISES)} solved; {more}")
    return 0 if verdict.ok else 1


def watch(drill: Exercise, args: argparse.Namespace, sleep: Callable[[float], None] = time.sleep) -> int:
    """Check the file whenever it is saved, until Ctrl-C."""
    path = existing_file(drill, args.folder)
    print(f"Watching {path}; press Ctrl-C to stop.")
    last_saved = None
    try:
        while True:
            now = saved_at(path)
            if now is not None and now != last_saved:
                last_saved = now
                print(f"\n{time.strftime('%H:%M:%S')}")
                with contextlib.suppress(FileNotFoundError):  # the file was removed in between
                    check_once(drill, args)
            sleep(POLL)
    except KeyboardInterrupt:
        print()
        return 0


def saved_at(path: Path) -> tuple[int, int] | None:
    """Return the time and size of a file, or None if there is none: some editors remove a file while they save it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def hint(drill: Exercise, args: argparse.Namespace) -> int:
    records = read_progress(args.folder)
    record = records.setdefault(drill.name, Record())
    count = len(drill.hints)
    is_last = record.hints >= count
    for i in range(count) if is_last else [record.hints]:
        print(textwrap.fill(f"Hint {i + 1} of {count}: {drill.hints[i]}", 100, break_long_words=False))
    if is_last:
        print(f"There are no more hints. To see the reference: python -m nanograd drill show {drill.name} --yes")
    else:
        record.hints += 1
        args.folder.mkdir(parents=True, exist_ok=True)
        write_progress(args.folder, records)
    return 0


def show(drill: Exercise, args: argparse.Namespace) -> int:
    if not args.yes and not read_progress(args.folder).get(drill.name, Record()).solved:
        print(f"{drill.name} is not solved yet; to see the reference anyway, add --yes")
        return 1
    match drill:
        case Bug():
            text = bug_solution(drill)
        case FunctionDrill():
            text = inspect.getsource(drill.function)
        case _:
            text = solution(drill)
    print(text, end="")
    return 0


def file_of(drill: Exercise) -> str:
    """Return the file that a learner starts from."""
    match drill:
        case Bug():
            return bug_file(drill)
        case FunctionDrill():
            return function_file(drill)
        case _:
            return learner_file(drill)


def path_of(drill: Exercise, folder: Path) -> Path:
    return folder / f"{drill.name}.py"


def existing_file(drill: Exercise, folder: Path) -> Path:
    """Return the path of the learner's file; raise FileNotFoundError if there is none."""
    path = path_of(drill, folder)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; create it with: python -m nanograd drill start {drill.name}")
    return path


def report(drill: Exercise, verdict: Verdict) -> str:
    """Return the lines that describe the result of a check."""
    lines = [f"  ✓ {stage}" for stage in verdict.passed]
    if verdict.ok:
        lines = [f"{drill.name}: right.", *lines]
    else:
        lines = [f"{drill.name}: not yet.", *lines, f"  ✗ {verdict.failed}", textwrap.indent(verdict.message, "    ")]
    if verdict.mistakes:
        one = "This is the mistake" if len(verdict.mistakes) == 1 else "These mistakes together give your numbers:"
        lines.append("\n".join(f"    {one if i == 0 else '  and'} {text}." for i, text in enumerate(verdict.mistakes)))
    return "\n".join([*lines, *(f"  {note}" for note in verdict.notes)])


def read_progress(folder: Path) -> dict[str, Record]:
    """Return the records by drill; none if nothing was stored.

    Raises ValueError if the file is damaged.
    """
    path = folder / PROGRESS_FILE
    if not path.exists():
        return {}
    try:
        records = read_json(path.read_bytes(), dict[str, Record])
        if wrong := next((name for name, record in records.items() if record.hints > MOST_HINTS), None):
            raise ValueError(f"'{wrong}.hints' must be at most {MOST_HINTS}, got {records[wrong].hints}")
        return records
    except ValueError as error:
        way_out = "delete it to start again (this does not delete your solutions)"
        raise ValueError(f"{path} is damaged; {way_out}: {error}") from None


def write_progress(folder: Path, records: dict[str, Record]) -> None:
    """Store the records; the file is replaced atomically."""
    text = json.dumps({name: asdict(record) for name, record in records.items()}, indent=1)
    write_text(folder / PROGRESS_FILE, text + "\n")


COMMANDS = {"start": start, "check": check_once, "watch": watch, "hint": hint, "show": show}
