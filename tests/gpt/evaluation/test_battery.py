"""Tests of gpt/evaluation/battery.py: right answers are right by rules written a second time, and training shows."""

import re
from collections import Counter
from pathlib import Path

import pytest

import gpt
from gpt.evaluation.battery import CATEGORIES, PER_CATEGORY, battery
from gpt.evaluation.likelihood import paired_difference, score_items
from gpt.evaluation.tasks import Item, fingerprint

BATTERY = battery()
CLOSES = {")": "(", "]": "[", "}": "{"}


def items_of(task: str) -> list[Item]:
    return [item for item in BATTERY if item.task == task]


def right_of(item: Item) -> str:
    return item.choices[item.answer]


def wrong_of(item: Item) -> list[str]:
    return [choice for i, choice in enumerate(item.choices) if i != item.answer]


def balanced(text: str) -> bool:
    stack: list[str] = []
    for sign in re.sub(r"\w", "", text):
        if sign not in CLOSES:
            stack.append(sign)
        elif not stack or stack.pop() != CLOSES[sign]:
            return False
    return not stack


def follows(item: Item) -> str:
    """Return the word that followed the last words of the context where they came before."""
    *_, before, last = [" ", *re.findall(r"\w+", item.context)]
    words = re.findall(r"\w+", item.context)[:-1]
    places = [i for i, word in enumerate(words[:-1]) if word == last]
    if item.task == "recall":
        places = [i for i in places if words[i - 1] == before]
    following = {words[i + 1] for i in places}
    assert len(following) == 1
    return following.pop()


def test_every_category_has_its_items() -> None:
    assert Counter(item.task for item in BATTERY) == {make.__name__: PER_CATEGORY for make in CATEGORIES}
    assert [item.number for item in BATTERY] == list(range(1, len(BATTERY) + 1))
    assert len({(item.context, item.choices) for item in BATTERY}) == len(BATTERY)
    for item in BATTERY:
        assert len(set(item.choices)) == len(item.choices) >= 2
        assert all(item.choices)


def test_the_position_of_the_right_answer_says_nothing() -> None:
    for make in CATEGORIES:
        items = items_of(make.__name__)
        first = sum(item.answer == 0 for item in items) / len(items)
        assert abs(first - sum(1 / len(item.choices) for item in items) / len(items)) < 0.15


def test_a_seed_makes_the_same_items_everywhere() -> None:
    """A change of the battery makes scores of before and after incomparable: then this changes too."""
    assert fingerprint(battery()) == "ecee7dcb0c67"
    assert fingerprint(battery(1)) != fingerprint(battery())
    assert fingerprint(battery(0, 3)) != fingerprint(battery(0, 4))
    assert [i.task for i in battery(0, 1)] == [make.__name__ for make in CATEGORIES]


@pytest.mark.parametrize("task", ["recall", "copying", "induction"])
def test_what_is_repeated(task: str) -> None:
    for item in items_of(task):
        assert right_of(item) == f" {follows(item)}"


def test_brackets_and_quotes() -> None:
    for item in items_of("brackets"):
        assert balanced(item.context + right_of(item))
        assert not any(balanced(item.context + wrong) for wrong in wrong_of(item))
    for item in items_of("quotes"):
        assert (item.context + right_of(item)).count(right_of(item)) == 2
        assert all((item.context + wrong).count(wrong) == 1 for wrong in wrong_of(item))


def test_articles_and_determiners() -> None:
    for item in items_of("articles"):
        assert re.fullmatch(r" (an [aeiou]|a [^aeiou])\w+", right_of(item))
        assert not any(re.fullmatch(r" (an [aeiou]|a [^aeiou])\w+", wrong) for wrong in wrong_of(item))
    plurals = {"these", "those", "all", "two", "many"}
    for item in items_of("determiners"):
        for choice in item.choices:
            word, noun = choice.split()
            is_right = (word in plurals) == (noun.endswith("s") and noun != "class")
            assert is_right == (choice == right_of(item))


def test_agreement_and_verb_forms() -> None:
    for item in items_of("agreement"):
        noun = re.sub(r" of the \w+$", "", item.context).split()[-1]
        is_plural = noun.endswith("s") and noun != "class"
        assert (right_of(item).split()[0] in {"are", "were", "have", "do"}) == is_plural
    for item in items_of("verb_forms"):
        for choice in item.choices:
            auxiliary, verb = choice.split()
            is_right = (auxiliary in {"is", "was"}) == (verb.endswith("ed") and verb != "need")
            assert is_right == (choice == right_of(item))


def test_orders_have_the_same_words() -> None:
    for item in items_of("word_order") + items_of("code_order"):
        assert len({tuple(sorted(choice.split())) for choice in item.choices}) == 1


@pytest.mark.slow
def test_training_shows_by_more_than_the_standard_error(tmp_path: Path) -> None:
    found = {}
    for steps in (40, 300):
        model = gpt.train(max_steps=steps, warmup_steps=20, quiet=True, val_fraction=0)
        assert model.tokenizer is not None
        found[steps] = score_items(model, model.tokenizer, BATTERY, lambda item, reason: pytest.fail(reason))
    difference = paired_difference(found[40], found[300], "acc")
    assert difference is not None
    assert difference.value > 3 * difference.error
