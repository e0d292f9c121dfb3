"""Pretraining: read its data, make its model, random or from a checkpoint, and begin or resume its run."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig, TrainConfig, known_fields
from gpt.data.batches import Tokens, check_length, count_windows, document_starts, document_windows, window_stride
from gpt.data.dataset import MANIFEST, TOKENIZER, TRAIN, VAL, Dataset, is_prepared, open_dataset
from gpt.data.documents import TextFiles, no_text
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint, TrainingState
from gpt.runs.estimate import SMALLER, Memory, check_memory, gigabytes, memory_line, muon_share, summary
from gpt.runs.presets import tuning_defaults
from gpt.runs.run import TRAIN_TOKENS, VAL_TOKENS, MemoryRun, Run
from gpt.runs.start import new_folder, open_base, print_time, resume_run, storable_options, unstarted_options
from gpt.text.read import HTML_SUFFIXES, python_documentation, read_text, split_text, text_sha256
from gpt.tokenizer import EOT, BPETokenizer, CharTokenizer, Tokenizer, load_tokenizer
from gpt.training import Objective, first_token, make_optimizer, next_token_objective
from nanograd.parallel.shards import choose_shards
from nanograd.runtime.files import file_sha256
from nanograd.seeds import INIT, generator

TOKEN_TABLES = ("tok_emb.weight", "head.weight")  # one row per token
FEW_PASSES = 10  # over a text, which are no reason to say so
SHORTER = "take a shorter --context-length, or train adapters alone: python -m gpt finetune instruct --lora-rank 8"
PASSES, MOST_DECAY = 0.9, {"muon": 2.0, "adamw": 0.5}  # see weight_decay
A_TEXT = "a text"  # the `data` of a config whose text was not read from a file


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


def begin_pretraining(
    flags: Mapping[str, Any], *, in_memory: bool = False, folder: Path | None = None
) -> tuple[Run[GPT, TrainConfig], Objective]:
    """Begin a run and create its folder, or begin one that writes nothing, or begin again in an existing `folder`.

    flags are the options that the user gave, by name: fields of TrainConfig and ModelConfig, and `out`, `init`, `base`,
    `new_tokenizer` and `text`, which is a text to train on in place of `data`.
    """
    if folder is None:
        folder = Path() if in_memory else new_folder(flags.get("out"))
    model, data, state = prepare(flags)
    begin = first_token(data.config, data.tokenizer)
    print_time(model, next_token_objective(model, data.train, None, data.config, begin), data.config)
    kind = MemoryRun if in_memory else Run
    run = kind(folder, model, make_optimizer(model, data.config), data.config, data.tokenizer, state)
    run.create(data.files(), storable_options(flags))
    return run, next_token_objective(model, *run.tokens(), run.config, begin)


def resume_pretraining(
    path: str, flags: Mapping[str, Any], results: Sequence[str] = ()
) -> tuple[Run[GPT, TrainConfig], Objective]:
    """Resume a run from its last checkpoint, or begin it again if it has none, with the changes that the flags make.

    results are the files that are made after the last step.
    """
    check_flags({**flags, "resume": path})
    if (options := unstarted_options(path, "")) is not None:
        options = {**options, **known_fields(TrainConfig, flags), **known_fields(ModelConfig, flags)}
        return begin_pretraining(options, folder=Path(path))

    def load_model(checkpoint: Checkpoint, config: TrainConfig) -> GPT:
        memory, model = print_summary(checkpoint.model_config, config), checkpoint.model()
        model.recompute = memory.recompute
        return model

    run = resume_run(path, "", TrainConfig, flags, load_model, results=results)
    begin = first_token(run.config, run.tokenizer)
    objective = next_token_objective(run.model, *run.tokens(), run.config, begin)
    if not run.is_finished():
        print_time(run.model, objective, run.config, start=run.state.step)
    return run, objective


def prepare(flags: Mapping[str, Any]) -> tuple[GPT, TrainingData, TrainingState]:
    """Read the data, make tokenizer and model, and print what they are; nothing is written.

    The config of the data is the one to train with: its tokenizer and its shards are resolved.
    """
    check_flags(flags)
    has_text = flags.get("text") is not None
    config = TrainConfig(**known_fields(TrainConfig, {**flags, "data": A_TEXT} if has_text else flags))
    base, new_tokenizer = None, bool(flags.get("new_tokenizer"))
    if flags.get("init") is None:  # an invalid flag is an error before any work is done
        model_config = ModelConfig(**known_fields(ModelConfig, flags))
    else:
        base = open_base(flags["init"], flags.get("base"))
        model_config = initial_config(base, flags, new_tokenizer=new_tokenizer)
        defaults = tuning_defaults(model_config)
        config = dataclasses.replace(config, **{k: value for k, value in defaults.items() if k not in flags})
    if config.shards is None:  # the result depends on it, so it is chosen once and stored
        config = dataclasses.replace(config, shards=choose_shards(config.batch_size, model_config.context_length))
    reuse_tokenizer = base is not None and not new_tokenizer
    prepared = [] if has_text else [path for path in config.paths if is_prepared(path)]
    if prepared and len(config.paths) > 1:
        raise ValueError(f"data: {prepared[0]} is prepared and must be alone; prepare all texts in one folder")
    open_data = open_prepared if prepared else read_texts
    data = open_data(config, flags, base if reuse_tokenizer else None)
    config = data.config
    if not reuse_tokenizer:
        vocab_size = model_vocabulary(config, flags, data.tokenizer)
        model_config = dataclasses.replace(model_config, vocab_size=vocab_size)
    if base is not None:
        inherited = "its weights and its tokenizer" if reuse_tokenizer else "its blocks; new token rows are initialised"
        print(f"init      {base.path}, step {base.state.step}: {inherited}")
    check_data(data, model_config.context_length)
    if config.weight_decay is None:
        config = dataclasses.replace(config, weight_decay=weight_decay(config, len(data.train), model_config))
        data = dataclasses.replace(data, config=config)
    memory = print_summary(model_config, config, from_base=base is not None)
    rng, state = generator(config.seed, INIT), TrainingState(text_sha256=data.sha256)
    if base is None:
        model = GPT(model_config, rng)
    else:
        model = initial_model(base, model_config, rng, new_tokenizer=new_tokenizer)
        imported = f", imported from {base.state.source}" if base.state.source else ""
        sha256 = file_sha256(base.path)
        state.init = f"{base.path}, step {base.state.step}{imported} (sha256 {sha256[:16]}…)"
    model.recompute = memory.recompute
    if data.dataset is not None:
        state.dataset = str(data.dataset.path.resolve())
        state.tokens_sha256[MANIFEST] = data.dataset.sha256
    return model, data, state


def check_flags(flags: Mapping[str, Any]) -> None:
    """Raise ValueError for flags that exclude each other, or that need another one."""
    init = flags.get("init")
    if init is not None and flags.get("resume") is not None:
        raise ValueError("--init and --resume exclude each other: one begins a run, the other goes on with one")
    if flags.get("new_tokenizer") and init is None:
        raise ValueError("--new-tokenizer goes with --init: without it every run makes its own tokenizer")
    if flags.get("base") is not None and init is None:
        raise ValueError(
            "--base goes with --init: it says where the base of adapters is; to begin from it, --init FILE"
        )


def model_vocabulary(config: TrainConfig, flags: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    """Return the model's vocab_size: the tokenizer's, or more if the user asks for it."""
    least, size = tokenizer.vocab_size, flags.get("vocab_size")
    if size is None or config.tokenizer == "bpe":
        return least
    if size < least:
        raise ValueError(f"vocab_size={size} is below the tokenizer's {least} tokens; leave --vocab-size out")
    return int(size)


def check_data(data: TrainingData, context_length: int) -> None:
    """Print how much data there is; ValueError if it is too little."""
    config, tokenizer = data.config, data.tokenizer
    vocabulary = f"{tokenizer.kind} vocabulary of {tokenizer.vocab_size:,}"
    print(f"tokens    {len(data.train):,} to train on, {len(data.val):,} to validate; {vocabulary}")
    check_length("training", data.train, context_length)
    if len(data.val) == 1:
        raise ValueError("data: the validation text has 1 token, and needs two or more; change --val-fraction")
    if config.patience is not None and not len(data.val):
        raise ValueError("patience: there is no text to validate with; leave --patience or --val-fraction out")
    targets = config.max_steps * config.batch_size * config.grad_accum_steps * context_length
    if (passes := targets / len(data.train)) > FEW_PASSES:
        print(f"passes    each token is seen about {passes:,.0f} times")
    n = count_windows(data.train, context_length, window_stride(config, context_length))
    if (begin := first_token(config, tokenizer)) is not None:
        n = check_documents(data.train, context_length, begin)
    if config.sampling == "epochs":
        print(f"epoch     {n:,} windows: {n / (config.batch_size * config.grad_accum_steps):,.1f} steps")


def check_documents(tokens: Tokens, context_length: int, begin: int) -> int:
    """Print how the documents fill windows, and return the number of windows; ValueError if there is one document only."""
    n, starts = len(document_starts(tokens, begin)), document_windows(tokens, context_length, begin)
    if n == 1:
        way_out = "leave --documents out, or give a folder of files, a .jsonl, or texts with <|endoftext|> between them"
        raise ValueError(f"documents: the training text is one document; {way_out}")
    cut = 1 - (len(tokens) - 1) / (len(starts) * context_length)
    print(
        f"windows   {len(starts):,} of {n:,} documents; {cut:.1%} are beginnings of documents that the next one repeats"
    )
    return int((starts + context_length < len(tokens)).sum())


def weight_decay(config: TrainConfig, n_tokens: int, model: ModelConfig) -> float:
    """Return the weight decay of a new run on a text of n_tokens.

    What an update added to a weight has decayed by a factor of e after 1/(lr decay) steps. The best such time is a number
    of passes over the text (Wang and Aitchison 2024, arXiv:2405.13698); here PASSES, or as much of a run that is shorter.
    So a run that sees a short text many times is kept from learning it by heart. The decay is MOST_DECAY at most, and
    lr · decay, the share of a weight that a step removes, at most 0.1.
    """
    steps = min(config.max_steps, n_tokens / (config.batch_size * config.grad_accum_steps * model.context_length))
    return min(MOST_DECAY[config.optimizer], 1 / (config.lr * max(10.0, PASSES * steps)))


def print_summary(model: ModelConfig, config: TrainConfig, *, from_base: bool = False) -> Memory:
    """Print the size of the model and of its training, and return it; MemoryError if the training would not fit."""
    memory = check_memory(model, config, smaller=SHORTER if from_base else SMALLER)
    print(f"model     {summary(model)}\n{memory_line(memory, config)}")
    if config.optimizer == "muon":
        print(f"optimizer muon, {muon_share(model, config):.0%} more operations in a step than adamw")
    return memory


def initial_config(checkpoint: Checkpoint, flags: Mapping[str, Any], *, new_tokenizer: bool = False) -> ModelConfig:
    """Return the checkpoint's model config, changed by the flags that may differ: dropout and a shorter context.

    The context may also be longer if positions are rotary, and the vocabulary size differs for a new tokenizer.
    Raises ValueError, naming the flag, if the weights would not fit.
    """
    old = checkpoint.model_config
    changes = {name: flags[name] for name in ("dropout", "context_length") if name in flags}
    for field in dataclasses.fields(ModelConfig):
        name = field.name
        if name not in flags or name in changes or (name == "vocab_size" and new_tokenizer):
            continue
        if getattr(dataclasses.replace(old, **{name: flags[name]}), name) != getattr(old, name):
            flag = "--" + name.replace("_", "-")
            change = f"is {getattr(old, name)} in {checkpoint.path} and cannot be {flags[name]}"
            raise ValueError(f"init: {flag} {change}: the weights have that shape; leave {flag} out")
    config = dataclasses.replace(old, **changes)
    if config.position == "learned" and config.context_length > old.context_length:
        limit = f"{old.context_length} at most, as many positions as {checkpoint.path} has learned"
        raise ValueError(f"init: --context-length can be {limit}, got {config.context_length}")
    return config


def initial_model(
    checkpoint: Checkpoint, config: ModelConfig, rng: np.random.Generator, *, new_tokenizer: bool = False
) -> GPT:
    """Return a model of `config` with the checkpoint's weights; of its position embeddings, the first.

    A new tokenizer needs a new token embedding, and a new output projection if it is not tied: both are initialised. The
    blocks, position embeddings and norms are the checkpoint's.
    """
    old = checkpoint.model()
    if config == old.config and not new_tokenizer:
        return old
    state = old.state_dict()
    model = GPT(config, rng) if new_tokenizer else GPT(config, init=False)
    if new_tokenizer:
        initialised = model.state_dict()
        state |= {name: initialised[name] for name in TOKEN_TABLES if name in initialised}
    if "pos_emb.weight" in state:
        state["pos_emb.weight"] = state["pos_emb.weight"][: config.context_length]
    return model.load_state_dict(state)


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
        tokenizer, path = base.tokenizer, config.tokenizer
        if "tokenizer" in flags and not (os.path.isfile(path) and load_tokenizer(path).sha256 == tokenizer.sha256):
            problem = "whose ids mean other tokens; leave it out, or initialise new token rows with --new-tokenizer"
            raise ValueError(f"init: --tokenizer is another than that of {base.path}, {problem}")
        config = dataclasses.replace(config, tokenizer=base.train_config.tokenizer)
    text, paths, notes = flags.get("text"), config.paths, list[str]()
    documents = (".jsonl", *HTML_SUFFIXES)
    if text is None and (len(paths) > 1 or any(os.path.isdir(p) or p.lower().endswith(documents) for p in paths)):
        train_texts, val_texts, notes = read_folder(paths, config.val_fraction)
    else:
        if text is None:
            text = read_text(paths[0]) if paths else python_documentation()
        train_texts, val_texts = ([part] for part in split_text(text, config.val_fraction))
    name = ", ".join(paths) or f"the documentation of Python {sys.version_info.major}.{sys.version_info.minor}"
    text = "".join((*train_texts, *val_texts))
    sha256 = text_sha256(text)
    print(f"data      {name}: {len(text):,} characters, sha256 {sha256[:16]}…")
    for note in notes:
        print(note)
    if tokenizer is None:
        tokenizer = make_tokenizer(config.tokenizer, flags.get("vocab_size"), text, train_texts)
    train, val = (np.array(encode_texts(tokenizer, texts), np.int64) for texts in (train_texts, val_texts))
    return TrainingData(config, tokenizer, sha256, train, val)


def read_folder(paths: Sequence[str], val_fraction: float) -> tuple[list[str], list[str], list[str]]:
    """Return the documents of files and folders for training, those for validation, and notes about them."""
    texts: dict[str, list[list[str]]] = {TRAIN: [], VAL: []}
    files, names = TextFiles(paths, warn=lambda message: print(f"note      {message}")), set[str]()
    for chunk in files.chunks(val_fraction):
        names.add(chunk.document)
        if chunk.first:
            texts[chunk.split].append([])
        texts[chunk.split][-1].append(chunk.text)
    if not names:
        raise no_text(files)
    train, val = (["".join(parts) for parts in texts[split]] for split in (TRAIN, VAL))
    n_train, n_val = (sum(map(len, documents)) for documents in (train, val))
    share = f"documents {len(names):,}, {n_val / (n_train + n_val):.1%} of the characters to validate"
    return train, val, [share, *files.notes()]


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Return the ids of the texts, separated by the end-of-text token if the tokenizer has one."""
    ids: list[int] = []
    for number, text in enumerate(texts):
        if number and tokenizer.eot_id is not None:
            ids.append(tokenizer.eot_id)
        ids += tokenizer.prefix + tokenizer.encode_data(text)
    return ids


def make_tokenizer(kind: str, vocab_size: int | None, text: str, train_texts: Sequence[str]) -> Tokenizer:
    """Train or load the tokenizer; byte pairs are learned from the training texts alone."""
    if kind == "char":
        return CharTokenizer.train(text)
    if kind == "bpe":
        return BPETokenizer.train(EOT.join(train_texts), vocab_size or ModelConfig().vocab_size)
    if not os.path.isfile(kind):
        raise ValueError(f"tokenizer must be char, bpe or the path of a saved one, got {kind!r}, which is no file")
    return load_tokenizer(kind)
