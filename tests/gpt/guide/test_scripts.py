"""What a chapter quotes of a longer script is what the script prints."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gpt.guide import FOLDER
from gpt.guide.chapter import Block, chapters
from gpt.guide.run import compare, scripts

ROOT = FOLDER.parents[1]
QUOTED = [pytest.param(b, id=f"{c.name}-{Path(b.name).stem}") for c in chapters() for b in scripts(c)]


@functools.cache
def output_of(script: str) -> str:
    """Run a script once, in a folder of its own, and return what it printed."""
    command = [sys.executable, str(ROOT / script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, cwd=folder, check=True)
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("block", QUOTED)
def test_a_script_prints_what_the_chapter_quotes(block: Block) -> None:
    assert compare(block.text, output_of(block.name)) == []
