"""From raw text to training batches: cleaning, tokens, ids and batches, with the result of every step printed.

    python examples/text_to_batches.py [PATH]

PATH is a file or a folder of .txt, .md, .html or .jsonl; the default is the documentation of Python. It takes a few
seconds for a megabyte.
"""

import time

import numpy as np

from gpt.data.batches import random_batch
from gpt.text.clean import DEFAULT, DESTRUCTIVE, Cleaner, clean
from gpt.text.documents import Document, read_documents
from gpt.text.html import strip_html
from gpt.text.read import HTML_SUFFIXES, python_documentation
from gpt.tokenizer import EOT, BPETokenizer
from nanograd.runtime.arguments import Parser

parser = Parser(description=__doc__)
parser.add_argument("paths", metavar="PATH", nargs="*", help="a file or a folder (default: Python's documentation)")
paths = parser.parse().paths

PAGE = """<html><head><title>Tea</title><script>track("you < me")</script></head>
<body><h1>How to make tea</h1><!-- by hand -->
<p>Boil   <b>water</b>. A <i>cafe\u0301</i> does the same, for 3&nbsp;&euro;.</p>
<p>Zero\u200bwidth spaces hide in pages.</p>
<ul><li>tea<li>water</ul>
<p>Boil <b>water</b>. A caf&eacute; does the same, for 3 &euro;.</p></body></html>"""


def show(name: str, before: str, after: str) -> str:
    """Print the first change that a step makes to a text, and return the changed text."""
    if before == after:
        print(f"{name:<18} changes nothing")
        return after
    same = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(after))
    start = max(0, same - 20)
    print(f"{name:<18} {len(before)} → {len(after)} characters; the first change:")
    print(f"  from {before[start : start + 60]!a}\n  to   {after[start : start + 60]!a}")
    return after


print("1. Clean a small page, step by step\n")
text = show("strip_html", PAGE, strip_html(PAGE))
for name in DEFAULT:
    text = show(name, text, clean(text, [name]))
print("\nclean:", ascii(text))
print("\nsteps that run only on request:\n")
for name in DESTRUCTIVE:
    show(name, text, clean(text, [name]))

print("\n2. Clean a real text\n")
cleaner = Cleaner()
documents = read_documents(paths) if paths else [Document("the docs", (python_documentation(),))]
texts = ["".join(cleaner.clean(d.blocks, html=d.name.lower().endswith(HTML_SUFFIXES))) for d in documents]
texts = [text for text in texts if text]
print(cleaner.table())
sentence = next((line for text in texts for line in text.split("\n") if len(line.split()) >= 9), "No line is long.")[
    :80
]
print(f"\none line of it: {sentence!r}")

print("\n3. Tokens: frequent pairs of bytes become one token, then frequent pairs of tokens\n")
began = time.perf_counter()
tokenizer = BPETokenizer.train(EOT.join(texts), 1024)  # no merge crosses EOT, the end of a text
print(f"{tokenizer.vocab_size} tokens learned in {time.perf_counter() - began:.1f} s")
ids = tokenizer.encode_ordinary(sentence)
print(
    f"the line is {len(sentence.encode())} bytes, and {len(ids)} tokens: {'|'.join(tokenizer.decode([i]) for i in ids)}"
)

print("\n4. Ids: the index of every token in the vocabulary\n")
print("the line:", *ids)
print("decoded:", tokenizer.decode(ids))
assert tokenizer.decode(ids) == sentence
tokens = np.array([i for text in texts for i in [*tokenizer.encode_ordinary(text), tokenizer.eot_id]])  # (n,)
print(f"all texts, {EOT} after every one: {len(tokens):,} ids, from {tokens.min()} to {tokens.max()}")

print("\n5. A batch: 2 windows of 8 ids from random positions; the targets are the ids one position later\n")
inputs, targets = random_batch(tokens, 2, 8, np.random.default_rng(0))  # (2, 8), (2, 8)
for window, target_window in zip(inputs, targets, strict=True):
    print(f"{'input':>6} {'':<20} {'target':>6}")
    for i, target in zip(window, target_window, strict=True):
        print(f"{i:>6} {tokenizer.decode([i])!r:<20} {target:>6} {tokenizer.decode([target])!r}")
assert np.array_equal(inputs[:, 1:], targets[:, :-1])
