"""The derivation of an op: its numbered lines, in order, with the prose that leads to each."""

import inspect
import re

import pytest

from nanograd.op import OPS
from nanograd.study.derivation import check_sentence, derivation, remarks, summary
from nanograd.study.notation import to_text


def test_softmax() -> None:
    one, two, three, four, five = derivation("softmax")
    assert one[:3] == (1, "y_j = exp(x_j) / Σ_k exp(x_k)", "")
    assert (one.tail, one.backward) == (", over the scores that count", False)
    assert (four.number, four.text, four.backward, four.tail) == (4, "∂y_j/∂x_i = y_j (1[i = j] - y_i)", True, "")
    assert two.lead.startswith("Pull dy back through (1). Raising x_i raises y_i, and lowers every other y_j through")
    assert (three.lead, four.lead) == ("In terms of y, the two cases are:", "Both at once:")
    assert five.lead == "By the chain rule (*), multiply (4) by the upstream dy_j and sum over j:"
    assert summary("softmax").startswith("Turn scores into probabilities; mask is boolean")
    assert remarks("softmax").forward.startswith("A score that does not count gets 0")
    assert remarks("softmax").backward == "Where y is 0, so is dx: masked scores need no special case."
    assert (
        check_sentence("softmax")
        == "Check: dx sums to zero along `axis`: a number added to all scores of a row cancels in (1), and changes no y."
    )


def test_leads_keep_their_paragraphs() -> None:
    lead = derivation("cross_entropy")[0].lead
    assert lead.startswith("logits (…, V) are scores before softmax")
    assert lead.endswith("section 5).\n\nPer target t, with z its logits and q_k = (1 - ε) 1[k = t] + ε/V:")
    lines = derivation("attention")
    assert "\n" not in lines[0].lead.replace("\n\n", "")
    assert lines[4].lead.startswith("Pull dy back through (3), (2) and (1). (3) is a matrix product of P ⊙ z and v")
    assert lines[5].lead == ""


@pytest.mark.parametrize(
    ("name", "number", "text", "tail"),
    [
        ("layernorm", 11, "∂r/∂x_i = -½ r³ ∂v/∂x_i = -r² n_i / C", ""),
        ("pow", 2, "∂y/∂a = b a^(b-1)", ", and 0 where b = 0"),
        ("pow", 3, "∂y/∂b = y ln a", ", for a > 0"),
        ("pad", 1, "y = x inside, value on the border", ""),
        ("linear", 3, "dweight_oi = Σ_t dy_to x_ti,  dweight = dyᵀ x", ""),
        ("packed_attention", 2, "y = attention(q, k, v) of each head", ", side by side"),
        ("attention", 3, "y = (P ⊙ z) v,  z = 1 without dropout", ""),
    ],
)
def test_a_tail_is_what_follows_in_words(name: str, number: int, text: str, tail: str) -> None:
    line = derivation(name)[number - 1]
    assert (line.text, line.tail) == (text, tail)
    assert to_text(line.formula) == text
    assert to_text(line.whole) == text + tail


@pytest.mark.parametrize("name", sorted(OPS))
def test_nothing_of_a_docstring_is_lost(name: str) -> None:
    lines = derivation(name)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert any(line.backward for line in lines)
    assert check_sentence(name).startswith("Check: ")
    assert check_sentence(name).endswith(".")
    for side in (False, True):
        text = summary(name) if not side else ""
        for line in (line for line in lines if line.backward is side):
            text += f" {line.lead} {line.text}{line.tail} ({line.number})"
        text += f" {remarks(name)[side]} {check_sentence(name) if side else ''}"
        assert text.split() == re.split(r"\s+", inspect.getdoc(OPS[name].pair[side]) or "")


def test_an_unknown_op_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"there is no op sofmax; did you mean softmax\?"):
        derivation("sofmax")
    with pytest.raises(ValueError, match="there is no op zzz; ops are"):
        check_sentence("zzz")
