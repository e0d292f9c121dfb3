"""python -m nanograd, run in this process."""

from pathlib import Path

import pytest

import nanograd
from nanograd.__main__ import main
from nanograd.check.cases import CASES
from nanograd.op import OPS

MINE = """
from nanograd import Op

def cube_forward(x):
    return x * x * x, x

def cube_backward(dy, saved):
    return (dy * 3 * saved * saved,)

def wrong_forward(x):
    return x * x, x

def wrong_backward(dy, saved):
    return (dy * saved,)

def doubled(x):
    return (x * 2).sum()

as_op = Op(cube_forward, cube_backward)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    return path


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: python -m nanograd")
    assert all(command in out for command in ("ops", "gradcheck", "mutants", "study", "drill"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nanograd {nanograd.__version__}\n"


def test_ops(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops"]) == 0
    out = capsys.readouterr().out
    assert f"{len(OPS)} ops, each a pair of functions" in out
    assert "dx_i = y_i (dy_i - Σ_j dy_j y_j)" in out


def test_ops_of_some_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops", "softmax", "exp"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line[:1].isalpha()] == ["exp", "softmax"]
    assert "2 ops, each a pair of functions" in out


@pytest.mark.parametrize(
    "words",
    [
        "softmax 3,5 axis=0",
        "log 4",  # which needs positive numbers
        "exp ()",
        "embedding 5,3 int:2,4:5",
        "where int:3:2 3 3",
        "concat 2,3 1,3",
        "linear 3,2 4,2",
        "einsum 2,3 3,4 spec=ik,kj->ij",
        "sum 2,3 axis=(0,1) keepdims=True",
    ],
)
def test_gradcheck_passes(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradcheck", *words.split()]) == 0
    assert capsys.readouterr().out.startswith(f"{words.split()[0]}: right; ")


def test_gradcheck_of_a_file(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cube", "as_op", "doubled"):
        assert main(["gradcheck", f"{mine}:{name}", "2,3"]) == 0
        assert ": right; " in capsys.readouterr().out
    assert main(["gradcheck", f"{mine}:wrong", "2,3"]) == 1
    assert "wrong: input 0: a constant factor, exactly 1/2×" in capsys.readouterr().out


WRONG = [
    ("frobnicate", "nanograd: unknown command 'frobnicate'; see python -m nanograd --help"),
    ("studdy", "nanograd: unknown command 'studdy'; did you mean study?; see python -m nanograd --help"),
    ("ops softmix", "nanograd ops: there is no op softmix; did you mean softmax?; `python -m nanograd ops` lists them"),
    ("gradcheck", "nanograd gradcheck: the following arguments are required: OP, SHAPE; see python -m nanograd gradch"),
    (
        "gradcheck softmix 3",
        "nanograd gradcheck: there is no op softmix; did you mean softmax?; `python -m nanograd ops`",
    ),
    ("gradcheck my_op 3", "`python -m nanograd ops` lists them; for one of your own give FILE.py:NAME"),
    ("gradcheck softmax --axis 3", "nanograd gradcheck: unknown flag --axis; see"),
    ("gradcheck softmax", "nanograd gradcheck: give softmax a shape for each of its 1 inputs, such as 3,5"),
    ("gradcheck matmul", "give matmul a shape for each of its 2 inputs"),
    ("gradcheck matmul 2,3", "matmul: b is missing; it takes a, b"),
    ("gradcheck exp 3 3", "exp: takes 1 arrays (x), got 2"),
    ("gradcheck softmax 3,x", "a shape is sizes with commas, such as 3,5, or int:3:10 for ids; got '3,x'"),
    ("gradcheck embedding 5,3 int:2:x", "got 'int:2:x'"),
    ("gradcheck softmax 3 axes=0", "softmax: unknown option axes; did you mean axis?"),
    ("gradcheck softmax 3,5 axis=7", "axis 7 is out of bounds"),
    ("gradcheck einsum 2,2 spec=ii", "einsum: a letter twice in one operand"),
    ("gradcheck matmul 2,3 2,3", "matmul: the last axis of a and last but one of b must agree"),
    ("gradcheck exp int:3:5", "gradcheck: exp has no floating input to differentiate"),
    ("gradcheck nowhere.py:op 3", "there is no file nowhere.py"),
    (
        "mutants softmix",
        "nanograd mutants: there is no op softmix; did you mean softmax?; `python -m nanograd ops` lists",
    ),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[row[0] for row in WRONG])
def test_wrong_calls(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_name_that_the_file_lacks(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradcheck", f"{mine}:other", "3"]) == 2
    assert "mine.py has no other, nor other_forward and other_backward" in capsys.readouterr().err


def test_a_forward_without_its_backward(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradcheck", f"{mine}:cube_forward", "2,3"]) == 2
    assert "cube_forward: a function of Tensors must return a Tensor, got tuple; fun" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("np.ones(3)", ", line 20: NameError: name 'np' is not defined; what is no definition may go under"),
        ("raise AssertionError('first\\nsecond')", ", line 20: AssertionError: first; what"),
        ("def f(:", ": SyntaxError: invalid syntax"),
    ],
)
def test_an_error_in_the_file_is_one_line(
    line: str, message: str, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine.write_text(f"{MINE.rstrip()}\n{line}\n", encoding="utf-8")
    assert main(["gradcheck", f"{mine}:cube", "2,3"]) == 2
    err = capsys.readouterr().err
    assert f"mine.py{message}" in err
    assert err.count("\n") == 1


def test_the_file_does_not_see_the_arguments(
    mine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["nanograd", "gradcheck"])
    mine.write_text(f"{MINE}\nimport sys\nassert len(sys.argv) == 1\n", encoding="utf-8")
    assert main(["gradcheck", f"{mine}:cube", "2,3"]) == 0


def test_mutants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "exp", "embedding"]) == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()]
    assert ["exp", "7", "7", "0", "0"] in rows
    assert ["embedding", "16", "15", "1", "0"] in rows
    assert ["embedding,", "fast", "27", "27", "0", "0"] in rows
    assert ["all", "50", "49", "1", "0"] in rows
    assert rows[-1][:3] == ["mutation", "score:", "100.0%"]


def test_a_survivor_is_an_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(CASES, "add", [case for case in CASES["add"] if case.label == "one shape"])
    assert main(["mutants", "add"]) == 1
    assert "SURVIVED: unbroadcast(dy, a_shape) → dy" in capsys.readouterr().out
