"""Autoregressive generation: several samples in lockstep, as tokens or streamed as complete UTF-8 characters."""

import codecs
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np

from gpt.config import SampleConfig
from gpt.generation.decoder import Decoder
from gpt.generation.sampling import draw, next_token_probabilities
from gpt.model import GPT
from gpt.tokenizer import Tokenizer
from nanograd.seeds import SAMPLE, generator


def generate(
    model: GPT,
    ids: Iterable[int],
    config: SampleConfig,
    n: int = 1,
    *,
    end_ids: Collection[int] = (),
    decoder: Decoder | None = None,
) -> Iterator[list[int | None]]:
    """Yield one column a step: the next token of each of n samples that continue `ids`.

    A sample ends where one of end_ids is drawn; from there on its entry is None. Generation ends with the last sample,
    or after max_new_tokens. If the prompt is longer than the context, the model sees its end. Sample s draws its t-th
    token from (seed, t, s), and (seed, t, 0) equals (seed, t): the same seed gives the same tokens, and more samples do
    not change the first, up to rounding: the logits of a batch may round differently from those of one row.

    A decoder of one text (n = 1) keeps what it has read from call to call: only what is new in `ids` is read.

    Raises ValueError if `ids` is empty or a logit is not finite.
    """
    prompt = list(ids)
    if not prompt:
        raise ValueError("generate: needs at least one token to continue")
    rules = {name: value for name, value in config.to_dict().items() if name not in ("max_new_tokens", "seed")}
    ended = np.zeros(n, bool)
    seen = [set(prompt) for _ in range(n)]  # for repetition_penalty
    tokens = np.array(prompt[-1:] * n)
    for t in range(config.max_new_tokens):
        if decoder is None:
            decoder = Decoder(model, n, len(prompt) + config.max_new_tokens)
            logits = decoder.prefill(np.tile(prompt, (n, 1)))  # (n, V)
        elif t == 0:
            logits = decoder.read(prompt)
        else:
            logits = decoder.step(tokens)
        for s in np.flatnonzero(~ended):
            p = next_token_probabilities(logits[s], seen=seen[s], **rules)
            tokens[s] = draw(p, generator(config.seed, SAMPLE, t, int(s)).random())
            seen[s].add(int(tokens[s]))
            ended[s] = int(tokens[s]) in end_ids
        if ended.all():
            return
        yield [None if end else token for token, end in zip(tokens.tolist(), ended.tolist(), strict=True)]


def generate_text(
    model: GPT,
    tokenizer: Tokenizer,
    ids: Iterable[int],
    config: SampleConfig,
    n: int = 1,
    *,
    stop: Sequence[str] = (),
    decoder: Decoder | None = None,
    cut: Callable[[], None] | None = None,
) -> Iterator[list[str]]:
    """Yield what each step adds to each of n texts that continue `ids`: complete characters, or "".

    A text ends at one of the tokenizer's end tokens, and before the first of the strings in `stop`, which is cut off. An
    embedding may have more rows than the vocabulary has tokens; such an id stands for no text and is left out.
    `cut` is called last if a text has max_new_tokens and no end.
    """
    streams = [TextStream(tokenizer, stop) for _ in range(n)]
    for column in generate(model, ids, config, n, end_ids=tokenizer.end_ids, decoder=decoder):
        yield [stream.add(token) for stream, token in zip(streams, column, strict=True)]
        if all(stream.ended for stream in streams):
            return
    yield [stream.add(None) for stream in streams]
    if cut is not None:
        cut()


class TextStream:
    """Decode one text token by token. `add` returns characters as soon as no later token can change them.

    A character spread over several tokens comes with the last of them. Text that may still become one of the strings in
    `stop` is held back, so that no part of a stop string is returned.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        check_stop(stop)
        self.tokenizer, self.stop = tokenizer, stop
        self.utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self.pending = ""  # held back
        self.ended = False

    def add(self, token: int | None) -> str:
        """Return the text that a token completes; None ends the text and returns what was held back."""
        if self.ended:
            return ""
        data = self.tokenizer.decode_bytes([token]) if token in self.tokenizer.vocab else b""
        self.pending += self.utf8.decode(data, final=token is None)
        before, self.ended = cut_at_stop(self.pending, self.stop)
        self.ended |= token is None
        certain = len(before) if self.ended else len(before) - max((_overlap(before, s) for s in self.stop), default=0)
        self.pending = before[certain:]
        return before[:certain]


def write_line(model: GPT, tokenizer: Tokenizer, characters: int = 60) -> str:
    """Return what a model writes without a prompt, on one line of this length at most; "" if it ends at once.

    The random numbers are the same each time, so that lines of different steps of a training can be compared. White space
    becomes one space, and what cannot be printed U+FFFD. Raises ValueError if a logit is not finite.
    """
    text = ""
    for (new,) in generate_text(model, tokenizer, start_ids(tokenizer), SampleConfig(max_new_tokens=characters)):
        text += new
        if len(line := " ".join(text.split())) > characters:
            break
    else:
        line = " ".join(text.split())
    line = line if len(line) <= characters else line[: characters - 1] + "…"
    return "".join(c if c.isprintable() else "\ufffd" for c in line)


def check_stop(stop: Sequence[str]) -> None:
    """Raise ValueError for an empty stop string."""
    if not all(stop):
        raise ValueError("stop: must not be empty, since every text begins with the empty string; leave it out")


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return the text before the stop string that is complete first, and whether there is one.

    If several are complete at the same character, the longest of them is cut off.

    >>> cut_at_stop("one\\n\\ntwo", ["\\n\\n"])
    ('one', True)
    """
    matches = [(text.index(s) + len(s), -len(s)) for s in stop if s in text]
    if not matches:
        return text, False
    end, minus_length = min(matches)
    return text[: end + minus_length], True


def _overlap(text: str, s: str) -> int:
    """Return how many characters at the end of the text may be the beginning of s."""
    return next(n for n in range(min(len(text), len(s) - 1), -1, -1) if text.endswith(s[:n]))


def decode_generated(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """Return the text of generated ids; those that are no token of the vocabulary are left out.

    It continues a text, so it keeps the space at its beginning, which `decode` of SentencePiece's tokenizers removes.
    """
    return tokenizer.decode_bytes(id for id in ids if id in tokenizer.vocab).decode("utf-8", errors="replace")


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Return the ids of a prompt, or `start_ids` if it is empty. Raises ValueError if it cannot be encoded."""
    try:
        ids = tokenizer.encode_data(prompt)
    except ValueError as error:
        raise ValueError(f"prompt: {error}") from None
    return tokenizer.prefix + ids if ids else start_ids(tokenizer)


def start_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the ids that a text without a prompt continues.

    It is the token that begins every text of the model's training, if its tokenizer names one. Else it is a new line, which
    precedes most beginnings in a training text. If the tokenizer has none, it is the end-of-text token, which a model
    trained on a single text has never seen; failing all, the first token.
    """
    if tokenizer.bos_id is not None:
        return [tokenizer.bos_id]
    try:
        if ids := tokenizer.encode("\n"):
            return ids
    except ValueError:  # a character tokenizer whose text had only one line
        pass
    return [min(tokenizer.vocab) if tokenizer.eot_id is None else tokenizer.eot_id]
