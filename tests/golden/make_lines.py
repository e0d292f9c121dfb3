"""Write tests/golden/lines.txt: the numbered lines of every op, as they were when their twins were last read beside them.

python tests/golden/make_lines.py
"""

from pathlib import Path

from nanograd.op import OPS
from nanograd.study.twin import lines

if __name__ == "__main__":
    printed = [f"{name} ({number}) {text}" for name in sorted(OPS) for number, text in sorted(lines(name).items())]
    Path(__file__).with_name("lines.txt").write_text("\n".join(printed) + "\n", encoding="utf-8")
