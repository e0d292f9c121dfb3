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
SMOLLM2 = "examples/chat_smollm2.py"  # needs the files of a real model
BLOCKS = [(block, chapter) for chapter in chapters() for block in scripts(chapter)]
QUOTED = [pytest.param(b, id=f"{c.name}-{Path(b.name).stem}") for b, c in BLOCKS if b.name != SMOLLM2]


@functools.cache
def output_of(script: str, *arguments: str) -> str:
    """Run a script once, in a folder of its own, and return what it printed."""
    command = [sys.executable, str(ROOT / script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, cwd=folder, check=True)
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("block", QUOTED)
def test_a_script_prints_what_the_chapter_quotes(block: Block) -> None:
    assert compare(block.text, output_of(block.name)) == []


@pytest.mark.peers
def test_a_real_model_says_what_the_guide_and_the_readme_quote(smollm2: Path) -> None:
    output = output_of(SMOLLM2, str(smollm2))
    (quoted,) = [block.text for block, _ in BLOCKS if block.name == SMOLLM2]
    assert output.endswith(f"\n{quoted}")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in readme.splitlines()]
    conversation = lines[lines.index("> What is the capital of France?") :][:4]
    assert "\n".join(conversation) in quoted
