"""A battery of small tasks on which small models differ. A seed makes the items from templates; there are no data files.

A model of a million parameters knows no facts to be asked. But it may have learned to spell, to close a bracket, to let a
verb agree with its subject, and to repeat what its context says: the last is what induction heads do (Olsson et al. 2022,
arXiv:2209.11895). The grammar is asked in minimal pairs, as in BLiMP (Warstadt et al. 2020, arXiv:1912.00582): two texts
that differ in one place, one right and one wrong. The words are common ones of English and of documentation.

A category is a function that makes one item from a random generator: a context, the right continuation and wrong ones.
The order of the choices is random, so that a model which finds all equally probable scores as chance does.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from gpt.evaluation.tasks import Item
from nanograd.seeds import EVAL, generator

PER_CATEGORY = 100
MOST_DRAWS = 100  # for each item, until one is new
T = TypeVar("T")
Question = tuple[str, str, Sequence[str]]  # context, right continuation, wrong ones


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


def phrases(text: str) -> list[str]:
    """Return what commas separate."""
    return text.split(", ")


NOUNS = words(
    "name list file value line word class type object number string key method module argument function error test part "
    "place time thing way day book door friend house girl boy king mother story tree water"
)
COUNTABLE = NOUNS[:-1]
VERBS = words("call use change open move close create start add need include remove return follow accept")
ADJECTIVES = words("new old same first last other small long short whole simple good")
VOWEL = words("object error argument iterator empty instance integer old example item attribute")
CONSONANT = words("list file value string new method small module class key long test name")
SPELLINGS = phrases(
    "argument arguement, receive recieve, separate seperate, necessary neccessary, definitely definately, occurred "
    "occured, environment enviroment, existence existance, different diffrent, beginning begining, believe beleive, until "
    "untill, which wich, because becuase, before befor, again agian, always allways, another anouther, between betwen, "
    "character charactor, similar similiar, specific specfic, following folowing, interest intrest, length lenght, their "
    "thier, though thougt, through throuh, together togehter, together togather, usually usualy, where whear"
    ", without witout, writing writting, written writen, friend freind, every evry, example exampel, function "
    "funtion, method methed, number numbar, object objict, string strang, value valeu, first frist, little litle, people "
    "poeple, remember rember, several severel, should shoud, would woud, could coud, something somthing, special spetial, "
    "statement statment, success succes, sure shure, these theese, thing thign, tomorrow tommorow, under undor, "
    "while whlie, world wrold, other othar, right rigth, return retrun, change chagne, called calld, module modul, "
    "attribute atribute, type tipe, name naim, list lisst, used usde, default defualt, exception exeption, integer "
    "interger, operator operater, variable varable, defined defind, expression expresion, sequence sequense, reference "
    "referance, instance instence, available avaliable, possible posible"
)
PHRASES = phrases(
    "of the list, in the same way, to the end of, is not the, as well as, the name of the, one of the, at the end of the, "
    "for each of the, may be used to, if there is no, a list of, will not be, and the other, more than one, the first of "
    "these, at least one of, on the other hand, each of the other, with the same name, is used to, must not be, by the "
    "name of, in the first place, the value of the, would have been, as long as the"
)
CODE = phrases(
    "for key in list :, for value in values :, if not value :, import name as other, def test ( self ) :, return not "
    "value, x is not None, while not found :, class Error ( Exception ) :, if x is None :, name = list ( value ), with "
    "open ( file ) as line :, except Error as error :, from module import name, x = self . value, print ( len ( x ) ), "
    "return self . name, raise TypeError ( name ), if key in list :, else : return value, x = [ ], value = None"
)
LEADS = ("This is", "It was", "Here it is", "We know that", "In this case", "For example")
BRACKETS = {"(": ")", "[": "]", "{": "}"}


def pick(rng: np.random.Generator, values: Sequence[str], n: int) -> list[str]:
    """Return n different values."""
    return [values[i] for i in rng.choice(len(values), n, replace=False)]


def one(rng: np.random.Generator, values: Sequence[T]) -> T:
    """Return one of the values."""
    return values[int(rng.integers(len(values)))]


def swap(rng: np.random.Generator, row: Sequence[str]) -> list[str]:
    """Return the words with two neighbours exchanged, which differ."""
    i = one(rng, [i for i in range(len(row) - 1) if row[i] != row[i + 1]])
    return [*row[:i], row[i + 1], row[i], *row[i + 2 :]]


def recall(rng: np.random.Generator) -> Question:
    """A sentence has come twice; it comes again, and ends with the same word."""
    adjective, noun = one(rng, ADJECTIVES), one(rng, NOUNS)
    sentence = f"The {adjective} {one(rng, NOUNS)} is not the {noun}."
    wrong = pick(rng, [word for word in NOUNS if word not in sentence.split() and word != noun], 3)
    return f"{sentence} {sentence} {sentence[: -len(noun) - 2]}", f" {noun}", [f" {word}" for word in wrong]


def copying(rng: np.random.Generator) -> Question:
    """A random sequence of words has come twice and begins again: which of its words is next?"""
    row, n = pick(rng, NOUNS, 5), int(rng.integers(1, 5))
    wrong = [*row[: n - 1], *row[n + 1 :]]
    return " ".join([*row, *row, *row[:n]]), f" {row[n]}", [f" {word}" for word in wrong]


def induction(rng: np.random.Generator) -> Question:
    """Pairs in random order, then the first half of one of them: A B … A, so B follows."""
    first, second, asked = pick(rng, NOUNS[:21], 3), pick(rng, NOUNS[21:], 3), int(rng.integers(3))
    context = ", ".join(f"{first[i]} {second[i]}" for i in (0, 1, 2, 1, 0, 2)) + f", {first[asked]}"
    return context, f" {second[asked]}", [f" {word}" for word in second if word != second[asked]]


def brackets(rng: np.random.Generator) -> Question:
    """Close the brackets that are open, the inner one first."""
    a, b = (one(rng, list(BRACKETS)) for _ in range(2))
    x, y, z = pick(rng, NOUNS, 3)
    if rng.integers(2):
        return f"{x}{a}{y}", BRACKETS[a], [close for close in BRACKETS.values() if close != BRACKETS[a]]
    wrong = {c + d for c in BRACKETS.values() for d in BRACKETS.values()} - {BRACKETS[b] + BRACKETS[a]}
    return f"{x}{a}{y}{b}{z}", BRACKETS[b] + BRACKETS[a], pick(rng, sorted(wrong), 3)


def quotes(rng: np.random.Generator) -> Question:
    """Close a string with the quote that opened it."""
    name, key, value = pick(rng, NOUNS, 3)
    quote, other = ("'", '"') if rng.integers(2) else ('"', "'")
    context = one(rng, [f"{name} = {quote}{value}", f"{name}({quote}{value}", f"{key}, {name} = {quote}{value}"])
    return context, quote, [other]


def colons(rng: np.random.Generator) -> Question:
    """The first line of a block ends with a colon."""
    a, b = pick(rng, NOUNS, 2)
    head = one(
        rng, [f"def {a}({b})", f"if {a}", f"for {a} in {b}", f"while {a}", f"class {a}({b})", f"if {a} is not {b}"]
    )
    return f"{b} = {a}\n\n{head}", ":\n", [";\n", ",\n", "=\n"]


def spelling(rng: np.random.Generator) -> Question:
    """A word, or the same letters with two of them exchanged."""
    right, wrong = one(rng, SPELLINGS).split()
    return one(rng, LEADS), f" {right}", [f" {wrong}"]


def word_order(rng: np.random.Generator) -> Question:
    """A phrase, or the same words with two neighbours exchanged."""
    row = words(one(rng, PHRASES))
    return one(rng, LEADS), "".join(f" {word}" for word in row), ["".join(f" {word}" for word in swap(rng, row))]


def code_order(rng: np.random.Generator) -> Question:
    """A line of code, or the same with two neighbouring words or signs exchanged."""
    row = words(one(rng, CODE))
    return f"{one(rng, NOUNS)} = {one(rng, NOUNS)}\n", " ".join(row), [" ".join(swap(rng, row))]


def agreement(rng: np.random.Generator) -> Question:
    """A verb agrees with its subject, also past another noun."""
    noun, other = pick(rng, COUNTABLE, 2)
    verb, plural = [("is", "are"), ("was", "were"), ("has", "have"), ("does", "do")][rng.integers(4)]
    if many := bool(rng.integers(2)):
        noun += "s" if noun[-1] != "s" else "es"
    subject = one(rng, [f"The {noun}", f"The {one(rng, ADJECTIVES)} {noun}", f"The {noun} of the {other}"])
    right, wrong = (plural, verb) if many else (verb, plural)
    return subject, f" {right} not", [f" {wrong} not"]


def determiners(rng: np.random.Generator) -> Question:
    """This and every take a singular, these and all a plural."""
    noun, many = one(rng, COUNTABLE), bool(rng.integers(2))
    singular, plural = [("this", "these"), ("that", "those"), ("each", "all"), ("one", "two"), ("every", "many")][
        rng.integers(5)
    ]
    if many:
        noun += "es" if noun[-1] == "s" else "s"
    right, wrong = (plural, singular) if many else (singular, plural)
    return one(rng, ["It is in", "It is for", "We go with", "One of"]), f" {right} {noun}", [f" {wrong} {noun}"]


def articles(rng: np.random.Generator) -> Question:
    """An stands before a vowel, a before a consonant."""
    vowel = bool(rng.integers(2))
    word = one(rng, VOWEL if vowel else CONSONANT)
    right, wrong = ("an", "a") if vowel else ("a", "an")
    lead = one(rng, [*LEADS[:3], "There is", "It has", "This needs"])
    return lead, f" {right} {word}", [f" {wrong} {word}"]


def verb_forms(rng: np.random.Generator) -> Question:
    """The infinitive follows can, the participle follows is."""
    verb, subject = one(rng, VERBS), f"The {one(rng, COUNTABLE)}"
    be, modal = one(rng, ["is", "was"]), one(rng, ["can", "must", "will", "should"])
    if rng.integers(2):
        participle = verb + ("d" if verb[-1] == "e" else "ed")
        return subject, f" {be} {participle}", [f" {modal} {participle}"]
    return subject, f" {modal} {verb}", [f" {be} {verb}"]


CATEGORIES: tuple[Callable[[np.random.Generator], Question], ...] = (
    recall, copying, induction, brackets, quotes, colons, code_order,
    spelling, word_order, agreement, determiners, articles, verb_forms,
)  # fmt: skip


def battery(seed: int = 0, per_category: int = PER_CATEGORY) -> list[Item]:
    """Return the items of all categories, no two of them alike; another seed makes others.

    A category whose templates give fewer different items than asked for has those.
    """
    items: list[Item] = []
    for number, make in enumerate(CATEGORIES):
        rng, made = generator(seed, EVAL, number), set[tuple[str, str, frozenset[str]]]()
        for _ in range(MOST_DRAWS * per_category):
            context, right, wrong = make(rng)
            key = context, right, frozenset(wrong)
            order = rng.permutation(len(wrong) + 1).tolist()
            if len(made) == per_category:
                break
            if key not in made:
                made.add(key)
                choices = [(right, *wrong)[i] for i in order]
                items.append(Item(len(items) + 1, make.__name__, context, tuple(choices), order.index(0)))
    return items
