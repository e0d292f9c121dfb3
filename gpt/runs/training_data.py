"""The training data of pretraining: a text, the texts of a folder, or a folder of `data prepare`."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig, TrainConfig
from gpt.data.batches import Tokens
from gpt.data.dataset import TOKENIZER, TRAIN, VAL, Dataset, is_prepared, open_dataset
from gpt.data.documents import TextFiles
from gpt.runs.checkpoint import Checkpoint
from gpt.runs.estimate import gigabytes
from gpt.runs.init_from import check_same_tokenizer
from gpt.runs.run import TRAIN_TOKENS, VAL_TOKENS
from gpt.text.read import python_documentation, read_text, split_text, text_sha256
from gpt.tokenizer import EOT, BPETokenizer, CharTokenizer, Tokenizer, load_tokenizer


@dataclass(frozen=True)
class TrainingData:
    """Tokens, the tokenizer that encoded them, the SHA-256 of their text, and the config that describes them."""

    config: TrainConfig
    tokenizer: Tokenizer
    sha256: str
    train: Tokens
    val: Tokens
    dataset: Dataset | None = None  # the prepared folder that holds the tokens

    def files(self) -> dict[str, Path | Tokens]:
        """Return what a run's folder must store: nothing if a dataset holds the tokens."""
        return {} if self.dataset is not None else {TRAIN_TOKENS: self.train, VAL_TOKENS: self.val}


def open_training_data(config: TrainConfig, flags: Mapping[str, Any], base: Checkpoint | None = None) -> TrainingData:
    """Return the data that the config names; a base settles the tokenizer."""
    return (open_prepared if is_prepared(config.data) else read_texts)(config, flags, base)


def open_prepared(config: TrainConfig, flags: Mapping[str, Any], base: Checkpoint | None = None) -> TrainingData:
    """Open a prepared folder; ValueError for a flag that was settled when it was prepared.

    base is the checkpoint whose tokenizer must have encoded the data, if any.
    """
    dataset = open_dataset(str(config.data))
    if base is not None:
        way_out = f"prepare the data with that of {base.path}, or initialise new token rows with --new-tokenizer"
        dataset.check_tokenizer(base.tokenizer, way_out)
    if "val_fraction" in flags:
        raise ValueError(f"val_fraction: {config.data} was split when it was prepared; leave --val-fraction out")
    if "tokenizer" not in flags:
        tokenizer = dataset.tokenizer()
        config = dataclasses.replace(config, tokenizer=str(dataset.path / TOKENIZER))
    elif config.tokenizer not in ("bpe", "char"):
        tokenizer = load_tokenizer(config.tokenizer)
        dataset.check_tokenizer(tokenizer, "leave --tokenizer out")
    else:
        raise ValueError(f"tokenizer: {config.data} was prepared with one, which is {TOKENIZER}; leave --tokenizer out")
    size = gigabytes(dataset.manifest["text_bytes"])
    print(f"data      {config.data}: prepared from {size} of text, sha256 {dataset.sha256[:16]}…")
    return TrainingData(config, tokenizer, dataset.sha256, dataset.tokens(TRAIN), dataset.tokens(VAL), dataset)


def read_texts(config: TrainConfig, flags: Mapping[str, Any], base: Checkpoint | None = None) -> TrainingData:
    """Read a text or the texts of a folder, and encode them with a new, a loaded or the base's tokenizer."""
    tokenizer = None
    if base is not None:
        tokenizer = base.tokenizer
        if "tokenizer" in flags:
            path = config.tokenizer
            check_same_tokenizer(base, load_tokenizer(path) if os.path.isfile(path) else None)
        config = dataclasses.replace(config, tokenizer=base.train_config.tokenizer)
    if config.data is not None and (os.path.isdir(config.data) or config.data.endswith(".jsonl")):
        train_texts, val_texts = read_folder(config.data, config.val_fraction)
    else:
        text = python_documentation() if config.data is None else read_text(config.data)
        train_texts, val_texts = ([part] for part in split_text(text, config.val_fraction))
    name = config.data or f"the documentation of Python {sys.version_info.major}.{sys.version_info.minor}"
    text = "".join((*train_texts, *val_texts))
    sha256 = text_sha256(text)
    print(f"data      {name}: {len(text):,} characters, sha256 {sha256[:16]}…")
    if tokenizer is None:
        tokenizer = make_tokenizer(config.tokenizer, flags.get("vocab_size"), text, train_texts)
    train, val = (np.array(encode_texts(tokenizer, texts), np.int64) for texts in (train_texts, val_texts))
    return TrainingData(config, tokenizer, sha256, train, val)


def read_folder(folder: str, val_fraction: float) -> tuple[list[str], list[str]]:
    """Return the documents of a folder for training, and those for validation."""
    texts: dict[str, list[list[str]]] = {TRAIN: [], VAL: []}
    for chunk in TextFiles([folder], warn=lambda message: print(f"note      {message}")).chunks(val_fraction):
        if chunk.first:
            texts[chunk.split].append([])
        texts[chunk.split][-1].append(chunk.text)
    return ["".join(parts) for parts in texts[TRAIN]], ["".join(parts) for parts in texts[VAL]]


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Return the ids of the texts, separated by the end-of-text token if the tokenizer has one."""
    ids: list[int] = []
    for number, text in enumerate(texts):
        if number and tokenizer.eot_id is not None:
            ids.append(tokenizer.eot_id)
        ids += tokenizer.encode_data(text)
    return ids


def make_tokenizer(kind: str, vocab_size: int | None, text: str, train_texts: Sequence[str]) -> Tokenizer:
    """Train or load the tokenizer; byte pairs are learned from the training texts alone."""
    if kind == "char":
        return CharTokenizer.train(text)
    if kind == "bpe":
        return BPETokenizer.train(EOT.join(train_texts), vocab_size or ModelConfig().vocab_size)
    if not os.path.isfile(kind):
        raise ValueError(
            f"tokenizer must be char, bpe or the path of a saved tokenizer, got {kind!r}, which is no file"
        )
    return load_tokenizer(kind)
