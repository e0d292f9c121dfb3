"""The README: its length, its programs, the numbers that follow from the code, and its code, which is the code it names.

test_help.py checks its commands.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from gpt.config import ModelConfig, TrainConfig, known_fields
from gpt.finetune.task import FinetuneConfig, count_trainable, set_trainable
from gpt.model import GPT
from gpt.runs.estimate import count
from gpt.runs.presets import with_presets
from gpt.runs.pretrain import print_summary
from nanograd import GradcheckError, gradcheck
from nanograd.study.drills import EXERCISES

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
PROGRAMS = [block for block in BLOCKS if block.startswith("import ")]
EXCERPTS = [block for block in BLOCKS if block not in PROGRAMS]


def is_excerpt(block: str, source: str) -> bool:
    """Return whether the lines of the block stand in the source in this order; others may stand between them."""
    lines = iter(line.strip() for line in source.splitlines())
    return all(line.strip() in lines for line in block.splitlines() if line.strip())


def test_it_is_read_to_the_end() -> None:
    assert len(TEXT.split()) <= 2000


def test_the_first_screens_show_a_picture_the_command_and_python() -> None:
    begin = TEXT.splitlines()[:50]
    assert any(line.startswith("![") for line in begin)
    assert "pip install -e . && python -m gpt train" in begin
    assert "import gpt" in begin


def test_its_first_picture_is_the_recorded_player() -> None:
    begin = TEXT.splitlines()[:20]
    picture = next(line for line in begin if line.startswith("!["))
    assert picture.endswith("(examples/img/player.png)")  # made by examples/record_player.py
    assert any(line.startswith("`python -m gpt study tiny`") for line in begin[begin.index(picture) :])
    data = (ROOT / "examples" / "img" / "player.png").read_bytes()
    assert len(data) <= 1_000_000
    assert b"acTL" in data[:1000]  # it is animated


def test_it_has_two_short_programs() -> None:
    """tests/test_packaging.py runs them, from the wheel."""
    assert [program.split("\n")[0] for program in PROGRAMS] == ["import gpt", "import nanograd as ng"]
    assert all(len([line for line in program.splitlines() if line]) <= 12 for program in PROGRAMS)


def test_its_code_is_the_code_it_claims_to_show() -> None:
    paths = ["nanograd/ops/softmax.py", "examples/gradcheck_an_op.py"]
    assert len(EXCERPTS) == len(paths)
    for block, path in zip(EXCERPTS, paths, strict=True):
        assert path in TEXT[: TEXT.index(block)].rpartition("\n## ")[2]
        shown = block.replace("gradcheck((centre_forward, forgetful_backward), x)\n", "")  # there it is in a loop
        assert is_excerpt(shown, (ROOT / path).read_text(encoding="utf-8")), path


def test_an_excerpt_with_another_line_is_none() -> None:
    source = "a = 1\nb = 2\nc = 3\n"
    assert is_excerpt("a = 1\n\nc = 3", source)
    assert not is_excerpt("a = 1\nc = 4", source)
    assert not is_excerpt("c = 3\na = 1", source)


def test_gradcheck_prints_what_it_shows() -> None:
    names = {"np": np}
    exec(EXCERPTS[1].replace("gradcheck(", "("), names)
    with pytest.raises(GradcheckError) as error:
        gradcheck((names["centre_forward"], names["forgetful_backward"]), names["x"])
    shown = re.search(r"^```\n(centre: .*?)  …\n```", TEXT, re.DOTALL | re.MULTILINE)
    assert shown is not None
    assert str(error.value).startswith(shown[1])


def test_the_first_run_prints_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """The model and the memory of the default options, on two cores; the text depends on the version of Python."""
    flags = with_presets({})
    model = ModelConfig(**known_fields(ModelConfig, flags))
    print_summary(model, TrainConfig(**known_fields(TrainConfig, flags), shards=2))
    for line in capsys.readouterr().out.splitlines():
        assert f"    {line}\n" in TEXT
    assert f"{count(model) / 1e6:.2f} million parameters" in TEXT
    assert f"    step {flags['max_steps']}/{flags['max_steps']}  " in TEXT


def test_counts_are_those_of_the_code() -> None:
    assert f"nanograd drill                          {len(EXERCISES)} exercises" in TEXT
    lora = re.search(r"`--lora-rank (\d+)` at d_model (\d+) trains (\S+) % of the parameters", TEXT)
    assert lora is not None
    shape = ModelConfig(vocab_size=2048, d_model=int(lora[2]), n_layers=4, n_heads=4)  # of examples/lora_cost.py
    model = GPT(shape, init=False)
    set_trainable(model, FinetuneConfig(lora_rank=int(lora[1])), np.random.default_rng(0))
    trained, total = count_trainable(model)
    assert f"{100 * trained / total:.1f}" == lora[3]
