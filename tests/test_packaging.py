"""The sdist and the wheel: built, installed in a clean environment outside of the repository, and used there.

Run by `pytest -m peers tests/test_packaging.py`, which needs an index, and: pip install build hatchling mypy twine.
"""

import email
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import textwrap
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpt
import nanograd

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
Run = Callable[..., str]


def python_programs(markdown: str) -> list[str]:
    """Return the blocks of Python in a text that are programs: those that import gpt or nanograd."""
    blocks = re.findall(r"^( *)```python[^\n]*\n(.*?)^\1```", markdown, re.DOTALL | re.MULTILINE)
    code = [textwrap.dedent(block) for _, block in blocks]
    return [text for text in code if re.search(r"^(import|from) (gpt|nanograd)\b", text, re.MULTILINE)]


PROGRAMS = python_programs(README)
peers = pytest.mark.peers


def test_both_packages_have_the_version() -> None:
    assert gpt.__version__ == nanograd.__version__


def test_programs_are_the_blocks_that_import_a_package() -> None:
    text = "```python\nimport numpy\n```\n  ```python\n  import gpt\n\n  print()\n  ```\n```sh\nimport gpt\n```\n"
    assert python_programs(text + "```python title=x\na = 1\nfrom nanograd import nn\n```\n") == [
        "import gpt\n\nprint()\n",
        "a = 1\nfrom nanograd import nn\n",
    ]


def test_the_workflow_runs_the_readmes_test_command() -> None:
    command = re.search(r"^## Test it$.*?^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert command is not None
    assert f"run: {command[1]}" in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [".github/CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml"])
def test_files_that_contributors_are_told_of_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = re.findall(r"(?<![\w$/.'])(?:nanograd|gpt|tests|examples|\.ci|\.github)/[\w./]*\w", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it; return both."""
    for name in ("build", "hatchling"):
        pytest.importorskip(name, reason="needs: pip install build hatchling")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    [sdist], [wheel] = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def source(dist: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the sdist unpacks to."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(dist[0]) as archive:
        options: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4 on
        archive.extractall(folder, **options)
    [source] = folder.iterdir()
    return source


@pytest.fixture(scope="module")
def run(dist: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Install the wheel in an environment of its own; return a function that runs a command there, and returns its output.

    Warnings are errors, and the folder is outside of the repository.
    """
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GPT_", "JUPYTER"))}
    clean |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(folder / "venv")}
    strict = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"}

    def run(*command: str | Path, cwd: Path = folder, warnings: bool = True, stdin: str = "") -> str:
        result = subprocess.run(
            [programs / command[0], *command[1:]],
            cwd=cwd,
            env=clean | strict if warnings else clean,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run("python", "-m", "pip", "install", "-q", dist[1], warnings=False)
    run("python", "-m", "pip", "check", warnings=False)
    return run


@pytest.fixture(scope="module")
def run_with_jupyter(run: Run) -> Run:
    """Return `run` in the same environment, to which Jupyter's kernel was added."""
    run("python", "-m", "pip", "install", "-q", "nbclient", "ipykernel", warnings=False)
    return run


@pytest.fixture(scope="module")
def metadata(dist: tuple[Path, Path]) -> email.message.Message:
    with zipfile.ZipFile(dist[1]) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


# What is in them


def repository_files() -> set[str]:
    """Return the files of the repository, also those that are not committed yet."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("needs the repository and git")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@peers
def test_the_wheel_holds_both_packages_with_their_data_and_nothing_else(dist: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(dist[1]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {name for name in repository_files() if name.startswith(("nanograd/", "gpt/"))}
    assert {"nanograd/py.typed", "gpt/py.typed", "nanograd/ops/__init__.pyi", "nanograd/study/study.css"} <= names
    assert {"nanograd/inspect/player/math.woff2", "nanograd/inspect/player/OFL.txt"} <= names


@peers
def test_the_sdist_holds_the_whole_repository(source: Path) -> None:
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert names - {"PKG-INFO"} == repository_files()
    command = [sys.executable, "-m", "pytest", "tests/test_import_order.py", "tests/nanograd/ops/test_golden.py"]
    subprocess.run(command, cwd=source, env=os.environ | {"PYTHONPATH": str(source)}, check=True, capture_output=True)


@peers
def test_the_metadata_are_complete(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "nanograd-gpt"
    assert metadata["Version"] == nanograd.__version__
    assert metadata["License-Expression"] == "MIT AND OFL-1.1"
    assert f"Copyright (c) 2026 {metadata['Author']}\n" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert [name for name in metadata.get_all("Requires-Dist", []) if "extra" not in name] == ["numpy>=2.0", "regex"]


@peers
def test_the_description_has_no_relative_links(metadata: email.message.Message) -> None:
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    text = payload.decode()
    assert text.startswith(README[:200])
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"\]\((?!https?:)[^)]*\)|(?:src|href)=\"(?!https?:)[^\"]*\"", prose) == []
    assert PROGRAMS == python_programs(text)


@peers
def test_only_links_that_lead_nowhere_are_removed() -> None:
    pytest.importorskip("hatchling", reason="needs: pip install hatchling")
    spec = importlib.util.spec_from_file_location("description", ROOT / ".ci" / "description.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kept = "[a](https://b.org)\n\n    c = d[0](e)\n\n`f[1](g)`\n\n```python\nh[2](i)\n![j](k)\n```\n"
    assert module.without_relative_links(kept) == kept
    removed = "![a\nb](c.png)\n\nSee [`d.py`](e/d.py), [f](#g).\n"
    assert module.without_relative_links(removed) == "See `d.py`, f.\n"


@peers
def test_an_index_would_accept_them(dist: tuple[Path, Path]) -> None:
    pytest.importorskip("twine", reason="needs: pip install twine")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *dist], check=True, capture_output=True)


# What they do

TINY = "--d-model 16 --n-layers 1 --n-heads 2 --context-length 8 --batch-size 2 --eval-batches 1 --tokenizer char"


@peers
def test_the_commands_run(run: Run, tmp_path: Path) -> None:
    where = run("python", "-c", "import gpt, nanograd; print(gpt.__file__, nanograd.__file__)")
    assert where.count("site-packages") == 2
    for command, shown in (
        ("gpt --help", "usage: python -m gpt"),
        ("nanograd ops", "softmax"),
        ("nanograd gradcheck softmax 3,5", "softmax: right"),
        ("nanograd study softmax --format text", "dx_i = y_i (dy_i - Σ_j dy_j y_j)"),
        ("nanograd study softmax", ""),  # a page, with its styles and scripts
        ("nanograd drill list", "softmax"),
    ):
        assert shown in run(*command.split(), cwd=tmp_path)
    (tmp_path / "text.txt").write_text("The cat sat on the mat.\n" * 40, encoding="utf-8")
    run("gpt", "train", "--data", "text.txt", "--out", "run", "--max-steps", "2", *TINY.split(), cwd=tmp_path)
    assert run("gpt", "sample", "run", "--prompt", "The", cwd=tmp_path).startswith("The")


@peers
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_readmes_programs_run_as_scripts(run: Run, program: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    assert run("python", "program.py", cwd=tmp_path)


NOTEBOOK = """
import json, sys
import nbclient, nbformat
cells = [nbformat.v4.new_code_cell(source) for source in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(json.dumps([cell.outputs for cell in cells]))
"""


def outputs_of(run: Run, cells: list[str], folder: Path) -> list[list[dict[str, object]]]:
    """Run cells as a notebook in a kernel of their own; return the outputs of each."""
    answer = run("python", "-c", NOTEBOOK, cwd=folder, warnings=False, stdin=json.dumps(cells))
    outputs: list[list[dict[str, object]]] = json.loads(answer.splitlines()[-1])
    return outputs


@peers
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_readmes_programs_run_in_a_notebook(run_with_jupyter: Run, program: str, tmp_path: Path) -> None:
    assert outputs_of(run_with_jupyter, [program], tmp_path) != [[]]


@peers
def test_pages_show_themselves_in_a_notebook(run_with_jupyter: Run, tmp_path: Path) -> None:
    loss = "import nanograd\nx = nanograd.Tensor([1.0, 2.0], requires_grad=True)\n"
    loss += "with nanograd.trace():\n    loss = (x * x).sum()\nnanograd.graph(loss)"
    for [output] in outputs_of(run_with_jupyter, [loss, "nanograd.study_page('softmax')"], tmp_path):
        data = output["data"]
        assert isinstance(data, dict)
        assert data["text/html"].startswith("<iframe title=")
        assert len(data["text/plain"]) < 100


TYPED = """
import numpy as np

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Tensor, nn, optim


class MLP(nn.Module):
    def __init__(self, rng: np.random.Generator) -> None:
        self.hidden = nn.Linear(4, 8, rng=rng)
        self.output = nn.Linear(8, 3, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.output(ng.gelu(self.hidden(x)))
        return y


def double_forward(x: np.ndarray) -> tuple[np.ndarray, None]:
    return 2 * x, None


def double_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    return (2 * dy,)


double = ng.Op(double_forward, double_backward)
ng.gradcheck(double, np.ones((2, 3)))
model = MLP(np.random.default_rng(0))
optimizer = optim.AdamW(model.parameters(), lr=1e-2)
x = Tensor(np.ones((2, 4), np.float32))
with ng.trace():
    loss = ng.cross_entropy(double(model(x)), np.array([0, 1]))
    loss.backward()
optimizer.step()
ng.graph(loss, path="loss.html")
ng.study_page("softmax").save("softmax.html")
total: Tensor = (x * x + 1).sum(axis=-1)
ids = np.zeros((1, 4), np.int64)
gpt_loss: Tensor = GPT(ModelConfig(vocab_size=11), np.random.default_rng(0)).loss(ids, ids)
print(ng.__version__, float(total.mean().item()), float(gpt_loss.item()))
"""


@peers
def test_a_typed_program_is_checked_against_the_installed_types(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="needs: pip install mypy")
    installed = run("python", "-c", "import sys; print(sys.executable)").strip()

    def mypy(program: str) -> str:
        (tmp_path / "program.py").write_text(program, encoding="utf-8")
        command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", installed, "program.py"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False).stdout

    assert mypy(TYPED) == "Success: no issues found in 1 source file\n"
    assert run("python", "program.py", cwd=tmp_path).startswith(nanograd.__version__)
    assert "Found 2 errors" in mypy("import nanograd\nnanograd.sofmax\nx: int = nanograd.Tensor(1.0) + 1\n")
