"""examples/why_it_does_not_explode.py: --help explains and does not train."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "why_it_does_not_explode.py"


def test_help_does_not_train():
    result = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "gradient clipping" in result.stdout
    assert "\n  step " not in result.stdout
