"""Every op has a source, and the papers that its docstrings name are among them."""

import inspect
import re

import pytest

from nanograd.op import OPS
from nanograd.study.sections import derivation_section
from nanograd.study.sources import SOURCES, sources
from nanograd.study.study_data import study_op
from nanograd.study.text import to_text_page


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_has_a_source(name: str) -> None:
    named = sources(name)
    assert named
    assert all(re.search(r"\b(19|20)\d\d, [A-Z]", source) for source in named)
    docstrings = " ".join(inspect.getdoc(function) or "" for function in (*OPS[name].pair, *(OPS[name].fast or ())))
    for paper in re.findall(r"arXiv:\d{4}\.\d{5}", docstrings):
        assert any(paper in source for source in named), paper


def test_sources_are_about_ops() -> None:
    assert {name for _, ops in SOURCES for name in ops.split()} == set(OPS)
    with pytest.raises(ValueError, match="there is no op called 'sofmax'"):
        sources("sofmax")


def test_a_page_names_its_sources() -> None:
    study = study_op("softmax")
    assert "Source: Bishop 2006" in derivation_section(study)
    assert "Source: Bishop 2006" in to_text_page(study)
