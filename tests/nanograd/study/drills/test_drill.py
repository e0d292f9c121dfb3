"""The files that learners start from."""

import ast

import pytest

from nanograd.study.drills import DRILLS
from nanograd.study.drills.drill import learner_file


@pytest.mark.parametrize("name", DRILLS)
def test_a_learners_file_stands_alone(name: str) -> None:
    text = learner_file(DRILLS[name])
    assert max(map(len, text.splitlines())) <= 124
    scope: dict[str, object] = {}
    exec(compile(text, f"{name}.py", "exec"), scope)
    drill = DRILLS[name]
    for case in drill.cases:
        y, saved = scope[drill.forward.__name__](*case.arrays(), **case.options)
        assert y.tobytes() == drill.forward(*case.arrays(), **case.options)[0].tobytes()
        with pytest.raises(NotImplementedError):
            scope[drill.backward.__name__](y, saved)
    assert ast.get_docstring(ast.parse(text)).startswith(f"Drill {name}: write {drill.backward.__name__}.")
