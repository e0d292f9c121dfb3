"""Write the texts that the chapters read: little stories, messages, instructions and preferences, all made here.

    python gpt/guide/make_data.py        writes them again, byte for byte, on any version of Python

The stories are simple enough for a very small model, and have facts that a reader can check: who has which animal, where it
was lost, and what the weather was.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
FOLDER = Path(__file__).parent / "data"
STORIES = 900

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jonas", "Kate", "Leo")
ANIMALS = ("cat", "dog", "goat", "duck", "hen", "pony", "rabbit", "mouse", "owl", "fox")
COLOURS = ("black", "white", "brown", "grey", "red", "yellow")
PLACES = ("the barn", "the river", "the old mill", "the garden", "the hill", "the market", "the forest", "the bridge")
SPOTS = ("under the table", "on the mat", "behind the door", "in a basket", "on the wall", "under a tree", "in the hay")
WEATHER = (
    "The sun was warm.", "It rained all day.", "Snow lay on the fields.", "A cold wind blew.", "The night was clear.",
)  # fmt: skip
FOODS = ("bread", "apples", "soup", "cheese", "honey", "nuts")
FEELINGS = ("glad", "tired", "proud", "hungry", "sad", "brave")
ACTS = {
    "cat": ("sat", "slept", "purred"), "dog": ("barked", "slept", "ran"), "goat": ("jumped", "ate", "ran"),
    "duck": ("swam", "slept", "quacked"), "hen": ("sat", "clucked", "ran"), "pony": ("ran", "ate", "stood"),
    "rabbit": ("hid", "jumped", "ran"), "mouse": ("hid", "ran", "squeaked"), "owl": ("slept", "watched", "flew"),
    "fox": ("hid", "watched", "ran"),
}  # fmt: skip


class Dice:
    """Numbers that look random and are the same everywhere: a linear congruential generator (Knuth's MMIX constants)."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def below(self, n: int) -> int:
        self.state = (6364136223846793005 * self.state + 1442695040888963407) % 2**64
        return (self.state >> 33) % n

    def one_of(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def two_of(self, options: Sequence[T]) -> tuple[T, T]:
        first = self.one_of(options)
        return first, self.one_of([option for option in options if option != first])


def story(dice: Dice) -> str:
    """Return a story: a child has an animal, loses it, looks for it with a friend, and finds it."""
    name, friend = dice.two_of(NAMES)
    animal, other = dice.two_of(ANIMALS)
    colour, place, spot = dice.one_of(COLOURS), dice.one_of(PLACES), dice.one_of(SPOTS)
    food, feeling = dice.one_of(FOODS), dice.one_of(FEELINGS)
    act, seen = dice.one_of(ACTS[animal]), dice.one_of(ACTS[other])
    wrong = dice.one_of([p for p in PLACES if p != place])
    begin = dice.one_of(
        (
            f"{name} had a {colour} {animal}. The {animal} {act} {spot}.",
            f"There was a {colour} {animal} that lived with {name}. Every day it {act} {spot}.",
            f"In a house near {place} lived {name} and a {colour} {animal}. The {animal} {act} {spot}.",
        )
    )
    lost = dice.one_of(
        (
            f"One morning the {animal} was gone. {name} looked {spot}, but it was not there.",
            f'One evening {name} called the {animal}, but it did not come. "Where is my {animal}?" said {name}.',
            f"Then a {other} {seen} by, and the {animal} ran away.",
        )
    )
    search = dice.one_of(
        (
            f"{name} asked {friend}. They went to {wrong}, but they only found a {other}.",
            f'"I will help you," said {friend}. They walked to {wrong} and saw nothing.',
            f"{friend} had seen the {animal} near {place}. So they took some {food} and went there.",
        )
    )
    end = dice.one_of(
        (
            f"At {place} they found the {colour} {animal}. It was {feeling}. {name} gave it {food}, and all went home.",
            f"The {animal} sat at {place} and ate {food}. {name} was {feeling} and took it home.",
            f'"Look!" said {friend}. The {animal} was at {place}. {name} laughed, and they ate {food} together.',
        )
    )
    return " ".join([begin, dice.one_of(WEATHER), lost, search, end])


def messages(dice: Dice, count: int) -> list[tuple[str, str]]:
    """Return messages, no two the same, with their labels: spam promises things, ham is about the animals."""
    prizes = ("a free pony", "1000 coins", "a golden basket", "free honey for a year", "a new barn", "50 apples")
    made: dict[str, str] = {}
    while len(made) < count:
        name, friend = dice.two_of(NAMES)
        animal, place, food = dice.one_of(ANIMALS), dice.one_of(PLACES), dice.one_of(FOODS)
        if dice.below(3) == 0:
            text = dice.one_of(
                (
                    f"{name}, you have won {dice.one_of(prizes)}! Call {dice.below(9000) + 1000} now",
                    f"Free {food} for everyone who replies today. Send your name to {dice.below(9000) + 1000}",
                    f"Last chance to win {dice.one_of(prizes)}. Reply YES, it costs only {dice.below(9) + 1} coins",
                    f"{name}, claim your prize at {place} before midnight: {dice.one_of(prizes)}",
                )
            )
            made[text] = "spam"
        else:
            text = dice.one_of(
                (
                    f"{name}, have you seen my {animal}? It was at {place} this morning",
                    f"Can you bring some {food} to {place}? {friend} is hungry",
                    f"I am late, the {animal} ran away again. See you at {place}",
                    f"Thank you for the {food}, {name}! Come and see the {animal} soon",
                    f"{friend} says the {animal} won the race at {place}. We are so proud",
                    f"Call me when you are at {place}, {name}",
                )
            )
            made[text] = "ham"
    return [(label, text) for text, label in made.items()]


def instructions(dice: Dice, count: int) -> list[dict[str, str]]:
    """Return questions about a sentence, in Alpaca's format: the answer stands in the input."""
    made = []
    for _ in range(count):
        name, friend = dice.two_of(NAMES)
        animal, colour, place, food = (
            dice.one_of(ANIMALS),
            dice.one_of(COLOURS),
            dice.one_of(PLACES),
            dice.one_of(FOODS),
        )
        fact = dice.one_of(
            (
                f"{name} had a {colour} {animal}. They found it at {place}.",
                f"{name} and {friend} went to {place}. The {colour} {animal} ate {food}.",
            )
        )
        questions = [("What colour is the animal?", f"It is {colour}."), ("Where was it?", f"It was at {place}.")]
        if "ate" in fact:
            questions.append(("What did it eat?", f"It ate {food}."))
        else:
            questions.append(("Who had the animal?", f"{name} had it."))
        question, answer = dice.one_of(questions)
        made.append({"instruction": question, "input": fact, "output": answer})
    return made


def preferences(dice: Dice, count: int) -> list[dict[str, str]]:
    """Return answers of which the kind one is preferred to the rude one."""
    made = []
    for _ in range(count):
        name, animal, place = dice.one_of(NAMES), dice.one_of(ANIMALS), dice.one_of(PLACES)
        made.append(
            {
                "prompt": f"{name} asks where the {animal} is.",
                "chosen": dice.one_of(
                    (f"I saw the {animal} at {place}. I will help you.", f"Let us look at {place} together, {name}.")
                ),
                "rejected": dice.one_of((f"Go away, {name}.", f"I do not care about your {animal}.")),
            }
        )
    return made


def raw_page(stories: Sequence[str]) -> str:
    """Return a web page with what such pages have: markup, entities, stray characters, and a story twice."""
    paragraphs = "\n".join(f"<p>{text}</p>" for text in (stories[0], stories[1], stories[0]))
    return (
        "<!DOCTYPE html><html><head><title>Little stories</title><style>p { margin: 0 }</style>"
        "<script>track('reader');</script></head>\n<body><h1>Little&nbsp;stories</h1>\n"
        f"{paragraphs}\n<p>“Goats &amp; hens” cost 5&thinsp;€ each.\u200b \ufeffThe cafe\u0301 is open.\x07</p>\n\n\n\n"
        "<p>The   market\tis\u00a0closed.</p></body></html>\n"
    )


def write(name: str, text: str) -> None:
    (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    stories = [story(dice) for dice in [Dice(1)] for _ in range(STORIES)]
    write("stories.txt", "\n\n".join(stories) + "\n")
    write("page.html", raw_page(stories))
    write("messages.tsv", "".join(f"{label}\t{text}\n" for label, text in messages(Dice(2), 1000)))
    write("instructions.json", json.dumps(instructions(Dice(3), 800), indent=1) + "\n")
    write("preferences.jsonl", "".join(json.dumps(row) + "\n" for row in preferences(Dice(4), 400)))


if __name__ == "__main__":
    main()
