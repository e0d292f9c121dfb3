"""What a learner has done so far: a small JSON file beside the drills."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from nanograd.runtime.files import write_text

FILE = "progress.json"


@dataclass
class Record:
    """One drill: checks made, hints taken, and whether it was once right."""

    checks: int = 0
    hints: int = 0
    solved: bool = False


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
