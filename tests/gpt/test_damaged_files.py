"""Damaged files of every kind that a command reads: a result, or a ValueError or OSError, in bounded time and memory.

`python tests/gpt/test_damaged_files.py 100000` tries as many cases; `… 100000 7` begins with case 7. A case is determined
by its number, which a failure names.
"""

import base64
import contextlib
import io
import json
import random
import shutil
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.commands import data as data_command
from gpt.commands import info
from gpt.commands.doctor import read_config
from gpt.config import ModelConfig, TrainConfig
from gpt.data.dataset import MANIFEST, TOKENIZER, UNFINISHED, open_dataset
from gpt.data.documents import TextFiles
from gpt.data.prepare import prepare
from gpt.finetune.classification_data import read_labelled
from gpt.finetune.classifier import GPTClassifier, load_classifier
from gpt.finetune.conversations import read_conversations
from gpt.finetune.dpo import read_pairs
from gpt.finetune.templates import ALPACA, Template, load_template
from gpt.lora import LoRASettings, add_lora
from gpt.model import GPT
from gpt.pretrained.llama2c import read_tokenizer
from gpt.runs.checkpoint import Task, TrainingState, _digest, load_checkpoint, save_checkpoint
from gpt.runs.pretrain import begin_pretraining, resume_pretraining
from gpt.runs.run import METRICS, check_data_files, read_metrics, truncate_metrics
from gpt.runs.safetensors import load_file, save_file
from gpt.runs.supervise import run_training
from gpt.text.documents import read_documents
from gpt.text.html import strip_html
from gpt.text.read import read_text
from gpt.tokenizer import BPETokenizer, CharTokenizer, SentencePieceTokenizer, load_tokenizer, to_huggingface
from gpt.tokenizer.sentencepiece import BYTE_PIECES
from gpt.training import NotFiniteError, Record, make_optimizer
from nanograd.runtime.files import file_sha256
from nanograd.study.drills.command import PROGRESS_FILE, list_drills

GOLDEN = Path(__file__).parents[1] / "golden"
SECONDS, MEMORY = 10.0, 300 << 20
EXPECTED = (ValueError, OSError, MemoryError, NotFiniteError)
CONFIG = ModelConfig(vocab_size=257, context_length=8, d_model=8, n_layers=2, n_heads=2)
TEXT = "To be, or not to be: that is the question.\n" * 3
FRAGMENTS = [b"", b"\0", b"\xff" * 8, b"\n", b'"', b"{", b"[", b",", b"<", b"-1", b"9" * 20, b"null", b"\xed\xa0\x80"]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 10**7, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x",
    "../x", "/", "\0", "\ud800", "x" * 100_000, [], [[]], [None], ["x"], {}, {"x": 1}, {"": {}}, [0] * 1000,
]  # fmt: skip
DEEP, TWICE = "\x01deep", "\x01twice"  # stand for nesting, and for a key that is there already


@dataclass
class Kind:
    """Files of one kind, and what a command does when one of them, among `inside`, may be damaged."""

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path, str], Any]
    inside: tuple[str, ...]


# What is damaged, and how it is read


def make_checkpoint(folder: Path) -> None:
    tokenizer = BPETokenizer.train(TEXT, 257)
    model = GPT(CONFIG, np.random.default_rng(0))
    (folder / "a.tokens").write_bytes(b"tokens")
    state = TrainingState(3, 1.5, 2.0, 2.0, 3, "ab", tokens_sha256={"a.tokens": file_sha256(folder / "a.tokens")})
    optimizer = make_optimizer(model, TrainConfig())
    save_checkpoint(folder / "last.safetensors", model, optimizer, TrainConfig(), tokenizer, state)


def make_adapters(folder: Path) -> None:
    make_checkpoint(folder)
    base = folder / "last.safetensors"
    model = load_checkpoint(base).model()
    lora = LoRASettings(2, 4.0, ("w_qkv",))
    add_lora(model, lora.rank, lora.alpha, lora.targets, np.random.default_rng(0))
    config = {"data": "x", "lr": 0.1, "max_steps": 3}
    task = Task("instruct", config, (), ALPACA.to_dict(), lora, str(base), file_sha256(base))
    assert model.tokenizer is not None
    save_checkpoint(folder / "adapters.safetensors", model, None, TrainConfig(), model.tokenizer, TrainingState(), task)


def make_classifier(folder: Path) -> None:
    model = GPTClassifier(GPT(CONFIG, np.random.default_rng(0)), 2, np.random.default_rng(1))
    task = Task("classify", labels=("ham", "spam"))
    tokenizer = BPETokenizer.train(TEXT, 257)
    save_checkpoint(folder / "best.safetensors", model, None, TrainConfig(), tokenizer, TrainingState(), task)


def open_checkpoint(folder: Path, name: str) -> None:
    path, base = folder / name, folder / "last.safetensors"
    checkpoint = load_checkpoint(path, base if base.exists() and base != path else None)
    for lines in (info.history, info.parameter_table, info.costs):
        list(lines(checkpoint))
    if checkpoint.is_language_model:
        checkpoint.model()
    else:
        load_classifier(checkpoint)
    if checkpoint.task is not None:
        checkpoint.task.to_dict()
        if checkpoint.task.template:
            Template.from_dict(checkpoint.task.template)
    check_data_files(path.parent, checkpoint.state)


def make_run(folder: Path) -> None:
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    sizes = {"context_length": 8, "d_model": 8, "n_layers": 1, "n_heads": 2, "vocab_size": 257}
    flags = {"data": str(folder / "text.txt"), "max_steps": 2, "eval_every": 1, "batch_size": 2, "shards": 1}
    with quiet():
        run_training(*begin_pretraining({**flags, **sizes, "out": str(folder / "run")}))


def resume(folder: Path, name: str) -> None:
    run_training(*resume_pretraining(str(folder / "run"), {"max_steps": 3}))


def make_metrics(folder: Path) -> None:
    records = [Record(i, 2.0, None if i % 2 else 1.5, 1e-3, 1.0, 1000.0, 0.1 * i) for i in range(1, 6)]
    (folder / METRICS).write_text("".join(json.dumps(r.to_dict()) + "\n" for r in records), encoding="utf-8")


def open_metrics(folder: Path, name: str) -> None:
    try:
        read_metrics(folder)
    finally:
        truncate_metrics(folder, 3)


def make_config(folder: Path) -> None:
    fields = {"model": CONFIG.to_dict(), "train": TrainConfig().to_dict(), "text_sha256": "ab"}
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")


def prepare_in(folder: Path) -> None:
    texts = folder / "texts"
    texts.mkdir(exist_ok=True)
    for i in range(3):
        (texts / f"{i}.txt").write_text(f"{TEXT}{i}", encoding="utf-8")
    files = TextFiles(["texts"], warn=lambda message: None)
    with contextlib.chdir(folder):
        prepare(files, "out", CharTokenizer.train(TEXT + "0123"), val_fraction=0.2, shard_tokens=100)


def make_unfinished(folder: Path) -> None:
    prepare_in(folder)
    (folder / "out" / MANIFEST).rename(folder / "out" / UNFINISHED)


def open_prepared(folder: Path, name: str) -> None:
    dataset = open_dataset(folder / "out")
    data_command.describe(dataset)
    dataset.damaged()
    dataset.tokenizer()
    for split in ("train", "val"):
        dataset.tokens(split)[:5]
        dataset.documents(split)


def resume_unfinished(folder: Path, name: str) -> None:
    data_command.main(["info", str(folder / "out")])
    prepare_in(folder)


def make_tokenizers(folder: Path) -> None:
    bpe = BPETokenizer.train(TEXT, 270)
    bpe.save(folder / "bpe.json")
    CharTokenizer.train(TEXT).save(folder / "char.json")
    huggingface = to_huggingface(bpe)
    (folder / "huggingface.json").write_text(json.dumps(huggingface), encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(huggingface["model"]["vocab"]), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")  # how vocab.json's words are split
    merges = "\n".join(huggingface["model"]["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    ranks = "".join(f"{base64.b64encode(token).decode()} {id}\n" for id, token in sorted(bpe.vocab.items()) if id < 260)
    (folder / "cl100k_base.tiktoken").write_text(ranks, encoding="utf-8")


def make_pieces(folder: Path) -> None:
    """Write SentencePiece's tokenizer in four formats."""
    names = ["<unk>", "<s>", "</s>", *BYTE_PIECES, "▁", *"tobehisqu", "to", "▁to", "be", "▁be", "th", "is"]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(names) - 259)]
    length = [bytes([10, len(name.encode())]) + name.encode() for name in names]
    pieces = [length[i] + struct.pack("<Bf", 21, -i) + bytes([24, kind]) for i, kind in enumerate(kinds)]
    model = b"".join(bytes([10, len(piece)]) + piece for piece in pieces)
    model += bytes([18, 5, 24, 2, 152, 2, 1]) + bytes([26, 2, 32, 0])  # bpe with bytes; extra spaces are kept
    (folder / "tokenizer.model").write_bytes(model)
    tokenizer = load_tokenizer(folder / "tokenizer.model")
    assert isinstance(tokenizer, SentencePieceTokenizer)
    tokenizer.save(folder / "pieces.json")
    (folder / "huggingface.json").write_text(json.dumps(to_huggingface(tokenizer)), encoding="utf-8")
    texts = [name.replace("▁", " ").encode() for name in names]
    rows = b"".join(struct.pack("<fi", -i, len(text)) + text for i, text in enumerate(texts))
    (folder / "tokenizer.bin").write_bytes(struct.pack("<i", 6) + rows)


def open_pieces(folder: Path, name: str) -> None:
    path = folder / name
    tokenizer = read_tokenizer(path, 275) if name == "tokenizer.bin" else load_tokenizer(path)
    tokenizer.decode(tokenizer.encode_ordinary("to be"))
    tokenizer.decode(tokenizer.encode_data("is that</s> é the question"))


def open_tokenizer(folder: Path, name: str) -> None:
    ranks = name.endswith(".tiktoken")
    tokenizer = load_tokenizer(folder / name, pattern="gpt2" if ranks else None, special_tokens={} if ranks else None)
    tokenizer.decode(tokenizer.encode_ordinary("to be"))


def copy_golden(*names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            shutil.copyfile(GOLDEN / name, folder / Path(name).name)

    return make


def open_pretrained(folder: Path, name: str) -> None:
    GPT.from_pretrained(folder / "model.bin" if name.endswith(".bin") else folder)


def make_sharded(folder: Path) -> None:
    copy_golden(*HUGGINGFACE)(folder)
    tensors, metadata = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({name: a for name, a in tensors.items() if files[name] == file}, folder / file, metadata)
    index = json.dumps({"metadata": {}, "weight_map": files})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")


def make_llama2c(folder: Path) -> None:
    C, F, V, T = 8, 16, 5, 4
    n = (
        V * C + (C + 4 * C * C) + (C + 3 * C * F) + C + T * 4 // 2 * 2
    )  # embedding, attention, MLP, norm, tables of RoPE
    (folder / "model.bin").write_bytes(struct.pack("<7i", C, F, 1, 2, 2, V, T) + np.ones(n, "<f4").tobytes())
    pieces = [b"<unk>", b"<s>", b"</s>", b" ", b"a"]
    tokens = b"".join(struct.pack("<fi", 0.0, len(piece)) + piece for piece in pieces)
    (folder / "tokenizer.bin").write_bytes(struct.pack("<i", 5) + tokens)


def make_texts(folder: Path) -> None:
    rows = [(label, f"{label} text {i}") for i in range(4) for label in ("ham", "spam")]
    texts = {
        "a.csv": "label,text\n" + "".join(f'{label},"{text}, ""so"""\n' for label, text in rows),
        "a.tsv": "".join(f"{label}\t{text}\n" for label, text in rows),
        "a.jsonl": "".join(json.dumps({"label": label, "text": text, "id": text}) + "\n" for label, text in rows),
        "chat.jsonl": json.dumps({"messages": [{"role": r, "content": "é"} for r in ("user", "assistant")]}) + "\n",
        "chat.json": json.dumps([{"instruction": "a", "input": "", "output": "b"}]),
        "pairs.json": json.dumps([{"instruction": "a", "chosen": "b", "rejected": "c"}]),
        "a.txt": TEXT + "é¿漢",
        "a.html": f"<html><head><meta charset=utf-8><title>a&amp;b</title></head><p class='x'>{TEXT}<!-- c --></html>",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def open_text(folder: Path, name: str) -> None:
    path, first = folder / name, None
    readers: dict[str, Callable[[Path], Any]] = {"a": read_labelled, "chat": read_conversations, "pairs": read_pairs}
    if path.suffix in (".csv", ".tsv", ".jsonl", ".json"):
        try:
            readers[path.stem](path)
        except EXPECTED as error:
            first = error
    if path.stem == "a":
        strip_html(read_text(path, warn=lambda message: None))
        for document in read_documents([path], warn=lambda message: None):
            list(document.blocks)
    if first is not None:
        raise first


def make_progress(folder: Path) -> None:
    records = {"mul": {"checks": 3, "hints": 1, "solved": True}, "add": {"checks": 1, "hints": 0, "solved": False}}
    (folder / PROGRESS_FILE).write_text(json.dumps(records), encoding="utf-8")


def make_template(folder: Path) -> None:
    (folder / "mine.json").write_text(json.dumps(ALPACA.to_dict()), encoding="utf-8")


HUGGINGFACE = [f"huggingface/gpt2/{name}" for name in ("config.json", "model.safetensors")]
LLAMA = [f"huggingface/llama/{name}" for name in ("config.json", "model.safetensors")]
TENSORFLOW = [f"tensorflow/{name}" for name in ("hparams.json", "model.ckpt.index", "model.ckpt.data-00000-of-00001")]
KINDS = [
    Kind("checkpoint", make_checkpoint, open_checkpoint, ("last.safetensors",)),
    Kind("adapters", make_adapters, open_checkpoint, ("adapters.safetensors",)),
    Kind("classifier", make_classifier, open_checkpoint, ("best.safetensors",)),
    Kind("run", make_run, resume, ("run/last.safetensors", f"run/{METRICS}", "run/train.tokens", "run/config.json")),
    Kind("metrics", make_metrics, open_metrics, (METRICS,)),
    Kind("config", make_config, lambda folder, name: read_config(folder / name), ("config.json",)),
    Kind("prepared", prepare_in, open_prepared, (f"out/{MANIFEST}", f"out/{TOKENIZER}", "out/train-00000.tokens")),
    Kind("unfinished", make_unfinished, resume_unfinished, (f"out/{UNFINISHED}",)),
    Kind(
        "tokenizers", make_tokenizers, open_tokenizer,
        ("bpe.json", "char.json", "huggingface.json", "vocab.json", "merges.txt", "cl100k_base.tiktoken"),
    ),
    Kind("pieces", make_pieces, open_pieces, ("tokenizer.model", "pieces.json", "huggingface.json", "tokenizer.bin")),
    Kind("GPT-2", copy_golden(*HUGGINGFACE), open_pretrained, ("config.json", "model.safetensors")),
    Kind("Llama", copy_golden(*LLAMA), open_pretrained, ("config.json", "model.safetensors")),
    Kind("shards", make_sharded, open_pretrained, ("model.safetensors.index.json", "model-0.safetensors")),
    Kind("llama2.c", make_llama2c, open_pretrained, ("model.bin", "tokenizer.bin")),
    Kind("TensorFlow", copy_golden(*TENSORFLOW), open_pretrained, ("hparams.json", "model.ckpt.index")),
    Kind(
        "texts", make_texts, open_text,
        ("a.csv", "a.tsv", "a.jsonl", "chat.jsonl", "chat.json", "pairs.json", "a.txt", "a.html"),
    ),
    Kind("progress", make_progress, lambda folder, name: list_drills(folder), (PROGRESS_FILE,)),
    Kind("template", make_template, lambda folder, name: load_template(folder / name), ("mine.json",)),
]  # fmt: skip


# Damage


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, set, insert, take out or cut some bytes, often among the first."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(min(len(data), rng.choice((16, 200, 10**9))) or 1)
        what = rng.choice(FRAGMENTS) or bytes([rng.randrange(256)])
        match rng.randrange(6):
            case 0:
                data = data[:at] + bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]
            case 1:
                data = data[:at] + what + data[at + len(what) :]
            case 2:
                data = data[:at] + what * rng.choice((1, 1, 1, 5000)) + data[at:]
            case 3:
                data = data[:at] + data[at + rng.choice((1, 2, 8, 100)) :]
            case 4:
                data = data[:at]
            case _:
                data = data[:at] + data[at : at + 20] * 2 + data[at + 20 :]
    return data


def damage_json(text: str, rng: random.Random) -> str:
    """Change a value somewhere in a JSON text, take a key out, write it twice, or nest it deeply."""
    root = [json.loads(text)]
    places: list[tuple[Any, Any]] = []
    stack: list[Any] = [root]
    while stack:
        container = stack.pop()
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        for key in keys if len(keys) < 40 else rng.sample(keys, 40):
            places.append((container, key))
            if isinstance(container[key], (dict, list)):
                stack.append(container[key])
    for _ in range(rng.choice((1, 1, 2))):
        container, key = rng.choice(places)
        present = key in container if isinstance(container, dict) else key < len(container)
        match rng.randrange(6):
            case 0 if present and container is not root:
                del container[key]
            case 1 if isinstance(container, dict):
                container[f"{TWICE}{key}"] = rng.choice(VALUES)
            case 2 if present:
                container[key] = DEEP
            case 3 if isinstance(container, dict):
                container["x" * rng.choice((1, 10, 100_000))] = rng.choice(VALUES)
            case _ if present:
                container[key] = rng.choice((*VALUES, *(place[place_key] for place, place_key in places[:1])))
    depth = rng.choice((40, 400, 900, 100_000))
    nested = rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))
    try:
        changed = json.dumps(root[0], default=str)
    except (RecursionError, ValueError):  # a value that now contains itself
        return "[" * depth
    return changed.replace(json.dumps(DEEP), nested).replace(json.dumps(TWICE)[1:-1], "")


def damage_checkpoint(path: Path, rng: random.Random) -> None:
    """Change the metadata of a checkpoint, or its tensors, with the SHA-256 of the change: its author writes that too."""
    tensors, metadata = load_file(path)
    metadata.pop("sha256")
    key = rng.choice([name for name in metadata if name != "format"])
    if rng.randrange(4) == 0:
        name = rng.choice(list(tensors))
        other = [tensors[name][:1], tensors[name].astype(np.float16), np.zeros((0, 3), np.float32), None]
        change = rng.choice(other)
        tensors = {n: a for n, a in tensors.items() if n != name} | ({} if change is None else {name: change})
    elif rng.randrange(12) == 0:
        del metadata[key]
    elif rng.randrange(4) == 0:
        metadata[key] = damage_bytes(metadata[key].encode(), rng).decode("utf-8", "replace")
    else:
        metadata[key] = damage_json(metadata[key], rng)
        with contextlib.suppress(UnicodeEncodeError):
            metadata[key].encode()
    save_file(tensors, path, {**metadata, "sha256": _digest(tensors, metadata)})


def damage(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    if path.name in ("last.safetensors", "adapters.safetensors", "best.safetensors") and rng.randrange(5):
        return damage_checkpoint(path, rng)
    if path.suffix == ".json" and rng.randrange(4):
        data = damage_json(data.decode("utf-8"), rng).encode("utf-8", "surrogatepass")
    elif path.suffix == ".jsonl" and rng.randrange(3):
        lines = data.decode("utf-8").split("\n")
        at = rng.randrange(len(lines) - 1)
        lines[at] = damage_json(lines[at], rng)
        data = "\n".join(lines).encode("utf-8", "surrogatepass")
    else:
        data = damage_bytes(data, rng)
    path.write_bytes(data)


# Cases


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    out, numbers, warned = io.StringIO(), np.errstate(all="ignore"), warnings.catch_warnings(action="ignore")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), numbers, warned:
        yield


class Fuzzer:
    """Runs cases in a folder; `said` has the longest error line of each kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, str] = {}
        self.outcomes: Counter[str] = Counter()
        (folder / "whole").mkdir()
        for kind in KINDS:
            (folder / "damaged").mkdir()  # made where it is read: some files hold paths
            kind.make(folder / "damaged")
            (folder / "damaged").rename(folder / "whole" / kind.name)

    def whole(self, kind: Kind) -> Path:
        """Return a copy of the files of a kind."""
        folder = self.folder / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder / "whole" / kind.name, folder)
        return folder

    def run(self, number: int) -> str:
        """Run a case; return what is wrong, or nothing."""
        rng = random.Random(number)
        kind = KINDS[number % len(KINDS)]
        folder = self.whole(kind)
        name = rng.choice(kind.inside)
        damage(folder / name, rng)
        before, start, outcome = peak_memory(), time.perf_counter(), "read"
        try:
            with quiet():
                kind.read(folder, name)
        except EXPECTED as error:
            outcome, line = "refused", " ".join(str(error).split())
            if len(line) > len(self.said.get(kind.name, "")):
                self.said[kind.name] = line
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            return f"{kind.name}, {name}: {type(error).__name__} {str(error)[:200]} at {where.filename}:{where.lineno}"
        finally:
            self.outcomes[f"{kind.name}: {outcome}"] += 1
        seconds, memory = time.perf_counter() - start, peak_memory() - before
        if seconds > SECONDS or memory > MEMORY:
            return f"{kind.name}, {name}: {seconds:.1f} s and {memory >> 20} MB"
        return ""


def peak_memory() -> int:
    """Return the most bytes that this process ever took; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    return Fuzzer(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_what_is_whole_is_read(fuzzer: Fuzzer, kind: Kind) -> None:
    for name in kind.inside:
        kind.read(fuzzer.whole(kind), name)


@pytest.mark.parametrize("first", range(0, 20 * len(KINDS), 2 * len(KINDS)))
def test_damaged_files(fuzzer: Fuzzer, first: int) -> None:
    wrong = {i: fuzzer.run(i) for i in range(first, first + 2 * len(KINDS))}
    assert not {i: text for i, text in wrong.items() if text}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 4000, 1000))
def test_more_damaged_files(fuzzer: Fuzzer, first: int) -> None:
    wrong = {i: fuzzer.run(i) for i in range(first, first + 1000)}
    assert not {i: text for i, text in wrong.items() if text}


def main(count: int, first: int = 0) -> int:
    """Run many cases; print what is wrong, and the longest error lines."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    n_wrong, places = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder))
        for number in range(first, first + count):
            if wrong := fuzzer.run(number):
                n_wrong += 1
                place = wrong.rpartition(" at ")[2] if " at " in wrong else str(number)
                places[place] += 1
                if places[place] <= 3:
                    print(f"case {number}: {wrong}", flush=True)
            if (number - first + 1) % 10_000 == 0:
                print(f"{number - first + 1:,} cases, {n_wrong} wrong, {peak_memory() >> 20} MB", flush=True)
        for name, line in sorted(fuzzer.said.items(), key=lambda item: -len(item[1])):
            print(f"longest error, {name}: {len(line)} characters: {line[:300]}")
        print(dict(sorted(fuzzer.outcomes.items())))
    print(f"{count:,} cases, {n_wrong} wrong, at {len(places)} places: {dict(places)}")
    return int(n_wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
