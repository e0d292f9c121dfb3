"""Memory that does not grow: of training with its steps, of work on texts with their size."""

import ctypes
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.data.documents import TextFiles
from gpt.data.prepare import prepare, train_tokenizer
from gpt.model import GPT
from gpt.tokenizer import BPETokenizer
from gpt.tokenizer.trainer import count_files
from nanograd.optim import AdamW, clip_grad_norm

STATM = Path("/proc/self/statm")
PR_SET_THP_DISABLE = 41


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * 4096


@pytest.fixture
def no_huge_pages() -> Iterator[None]:
    """Keep the kernel from joining pages while a test counts them: a page of 2 MB is resident when any of it is used."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
    yield
    assert prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_is_flat_over_a_thousand_steps(no_huge_pages: None) -> None:
    rng = np.random.default_rng(0)
    model = GPT(ModelConfig(vocab_size=65, context_length=16, d_model=32, n_layers=2, n_heads=2, dropout=0.1), rng)
    optimizer = AdamW(model.named_parameters(), 1e-3)
    ids = rng.integers(0, 65, (8, 17))
    seen = []
    for step in range(1, 1001):
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            seen.append(resident_bytes())
    assert seen[-1] - seen[0] < 1_000_000, f"resident bytes every hundred steps: {seen}"


LINE = "The newer the wider, 12 low lower lowest; \u00e9t\u00e9 and so on.\n"
TOKENIZER = BPETokenizer.train(LINE, 280)


def write_text(folder: Path, n_lines: int) -> Path:
    (folder / "one.txt").write_text(LINE * n_lines, encoding="utf-8")
    return folder / "one.txt"


def write_folder(folder: Path, n_lines: int) -> Path:
    (folder / "texts").mkdir()
    for i in range(n_lines // 100):
        (folder / "texts" / f"{i}.txt").write_text(f"{i % 10}\n" + LINE * 100, encoding="utf-8")
    return folder / "texts"


def write_records(folder: Path, n_lines: int) -> Path:
    lines = (json.dumps({"text": f"{i % 10} {LINE}"}) + "\n" for i in range(n_lines))
    (folder / "texts.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "texts.jsonl"


def prepare_dataset(path: Path, out: Path) -> None:
    prepare(TextFiles([path]), out, TOKENIZER, shard_tokens=20_000)


def learn_tokenizer(path: Path, out: Path) -> None:
    train_tokenizer(TextFiles([path]), 270, 0.1)


def count_words(path: Path, out: Path) -> None:
    count_files(sorted(path.iterdir()) if path.is_dir() else [path], range_size=20_000)


@pytest.mark.parametrize(
    ("work", "write"),
    [
        (prepare_dataset, write_text),
        (prepare_dataset, write_folder),
        (prepare_dataset, write_records),
        (learn_tokenizer, write_text),
        (learn_tokenizer, write_folder),
        (count_words, write_text),
        (count_words, write_folder),
    ],
)
def test_four_times_the_text_takes_no_more_memory(
    work: Callable[[Path, Path], None],
    write: Callable[[Path, int], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = "text.read.BLOCK", "data.documents.BATCH", "data.documents.HELD", "tokenizer.trainer.BLOCK"
    for name in names:  # 50 kB are to be a large text
        monkeypatch.setattr(f"gpt.{name}", 1 << 13)
    monkeypatch.setattr(TextFiles.chunks, "__defaults__", (1 << 13,))
    peaks = []
    for n_lines in (1_000, 4_000):
        folder = tmp_path / str(n_lines)
        folder.mkdir()
        path = write(folder, n_lines)
        tracemalloc.start()
        try:
            work(path, folder / "out")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000, f"bytes for 57 kB of text, and for four times as much: {peaks}"
