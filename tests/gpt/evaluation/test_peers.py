"""Multiple choice on a real model, item by item, against sums of ln p from transformers' logits."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.evaluation.likelihood import score_item
from gpt.evaluation.tasks import Item, join
from gpt.pretrained.load import load_pretrained

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:21 bytes")]  # that its vocabulary lacks
SENTENCES = (Path(__file__).parents[3] / "gpt" / "guide" / "data" / "stories.txt").read_text(encoding="utf-8")


def synthetic_items(n: int) -> list[Item]:
    """Return items like HellaSwag's: two sentences, and four that may follow, one of which did."""
    rng = np.random.default_rng(0)
    sentences = [s.strip() for s in re.split(r"(?<=[.!?])\s+", SENTENCES)]
    items = []
    for number in range(1, n + 1):
        i = int(rng.integers(len(sentences) - 3))
        endings = [sentences[i + 2], *(sentences[j] for j in rng.integers(len(sentences), size=3))]
        order = rng.permutation(4).tolist()
        context = " ".join(sentences[i : i + 2]) + " " * int(rng.integers(2))  # some end with a space
        choices = tuple(join(context, endings[j]) for j in order)
        items.append(Item(number, "stories", context, choices, order.index(0)))
    return items


def test_every_item_agrees_with_transformers(smollm2: Path) -> None:
    """The reference encodes context and choice together, and sums ln p from the context's number of tokens on."""
    torch = pytest.importorskip("torch", exc_type=ImportError)
    torch.set_num_threads(1)  # more of them wait for each other on a busy machine
    transformers: Any = pytest.importorskip("transformers", exc_type=ImportError)
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    ours, items = load_pretrained(smollm2).model(), synthetic_items(200)
    assert ours.tokenizer is not None
    rights = []
    for item in items:
        n = len(tokenizer(item.context.rstrip())["input_ids"])
        rows = [tokenizer(item.context + choice)["input_ids"] for choice in item.choices]
        ids = torch.tensor(
            [row + [0] * (max(map(len, rows)) - len(row)) for row in rows]
        )  # padding behind: no token sees it
        with torch.no_grad():
            log_p = theirs(ids).logits[:, :-1].double().log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
        sums = [log_p[i, n - 1 : len(row) - 1].sum().item() for i, row in enumerate(rows)]
        outcome = score_item(ours, ours.tokenizer, item)
        np.testing.assert_allclose(outcome.log_p, sums, rtol=0, atol=1e-3)
        bytes_of_choices = [len(choice.strip().encode()) for choice in item.choices]
        assert outcome.chosen == int(np.argmax(sums))
        assert outcome.chosen_norm == int(np.argmax(np.divide(sums, bytes_of_choices)))
        rights.append((outcome.acc, outcome.acc_norm))
    assert len(set(rights)) > 2  # the two rules differ, and neither is always right or always wrong
