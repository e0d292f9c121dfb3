"""The chapters as Jupyter notebooks that run."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from gpt.guide import FOLDER
from gpt.guide.chapter import Chapter
from gpt.guide.html import EXTRA


def write_notebooks(chapters: Sequence[Chapter], folder: Path) -> list[Path]:
    """Write a notebook for each chapter, with the outputs it shows, and the figures beside them; return their paths.

    Raises FileExistsError for a notebook that exists already: it may hold the reader's own work.
    """
    try:
        from nbformat import v4, write
    except ImportError:
        raise ValueError(f"guide: {EXTRA.format(name='nbformat')}") from None
    paths = [folder / f"{chapter.name}.ipynb" for chapter in chapters]
    for path in paths:
        if path.exists():
            raise FileExistsError(f"guide: {path} exists; delete it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(FOLDER / "figures", folder / "figures", dirs_exist_ok=True)
    for chapter, path in zip(chapters, paths, strict=True):
        cells: list[dict[str, object]] = []
        for i, block in enumerate(chapter.blocks):
            id = f"b{i}"
            if block.kind in ("python", "sh"):
                code = block.text.rstrip("\n")
                if block.kind == "sh":
                    lines = [f"!{{sys.executable}} -m {line}" for line in code.splitlines() if line.strip()]
                    code = "\n".join(["import sys", "", *lines])
                printed = [v4.new_output("stream", name="stdout", text=block.output)] if block.output else []
                cells.append(v4.new_code_cell(code, id=id, outputs=printed))
            elif block.kind == "prose":
                text = re.sub(r"<!--.*?-->", "", block.text, flags=re.DOTALL).strip()
                if text:
                    cells.append(v4.new_markdown_cell(text, id=id))
            elif block.kind != "hidden":
                cells.append(v4.new_markdown_cell(f"```{block.language}\n{block.text}```", id=id))
        notebook = v4.new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        write(notebook, path)
    return paths
