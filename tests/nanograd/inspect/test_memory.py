"""memory_report: bytes counted by hand, once per buffer, also from several threads."""

import threading
import time
from collections import Counter

import numpy as np

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Tensor
from nanograd.inspect.memory import MemoryReport


def test_memory_by_hand() -> None:
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)  # 24 bytes
    with ng.memory_report() as report:
        y = x * x  # x twice: counted once
        z = y.exp()  # exp saves its output
        loss = z.sum()  # a shape
        assert (report.now, report.peak) == (48, 48)
        loss.backward(retain_graph=True)
        assert report.now == 48
        loss.backward()
        assert (report.now, report.peak) == (0, 48)
    line_of_mul = test_memory_by_hand.__code__.co_firstlineno + 3
    lines = str(report).splitlines()
    assert lines[0] == "saved for backward: 48 bytes at most"
    assert len(lines) == 3
    assert lines[1].split() == ["24", "1", "×", "mul", f"({__file__}:{line_of_mul})"]


def test_a_view_counts_as_its_whole_buffer() -> None:
    x = Tensor(np.ones((100, 2)), requires_grad=True)
    with ng.memory_report() as report:
        _ = x[:1] * 2.0
        assert report.now == 8  # mul saves only the 2.0: no gradient of 2.0 is needed
        _ = x[:1].square()
        assert report.now == 8 + x.data.nbytes


def test_no_bytes_are_lost_between_threads() -> None:
    class Slow(Counter[str]):
        """A counter slow enough that, without a lock, another thread reads the old count."""

        def __getitem__(self, key: str) -> int:
            value = super().__getitem__(key)
            time.sleep(0.005)
            return value

    report = MemoryReport()
    report.saved = Slow()

    node = (Tensor([1.0], requires_grad=True) * 2.0).node
    assert node is not None
    threads = [threading.Thread(target=report.add, args=("here", node, [np.zeros(2)])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert report.saved["here"] == 3 * 16


def test_modules_are_named_in_the_report() -> None:
    model = GPT(ModelConfig(vocab_size=7, context_length=4, d_model=4, n_layers=2, n_heads=2))
    with ng.memory_report() as report:
        model.loss(np.array([[1, 2, 3]]), np.array([[2, 3, 4]]))
    assert "attention in GPT.blocks.1.attn (" in str(report)
    assert "linear_cross_entropy in GPT (" in str(report)
