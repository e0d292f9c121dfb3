"""A GPT from raw text to generated text, on the nanograd engine.

    import gpt

    model = gpt.train("my.txt", out="runs/mine")     # or gpt.train(text)
    model = gpt.load("runs/mine")
    print(model.generate("Once upon", max_new_tokens=100))
    gpt.Chat.open("runs/smollm2").say("Who are you?")

`python -m gpt` has the same as commands, and more: fine-tuning, scoring, export. A package's docstring says what is in it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt.api import history as history
    from gpt.api import load as load
    from gpt.api import train as train
    from gpt.config import ModelConfig as ModelConfig
    from gpt.config import SampleConfig as SampleConfig
    from gpt.config import TrainConfig as TrainConfig
    from gpt.finetune.chat import Chat as Chat
    from gpt.model import GPT as GPT
    from gpt.tokenizer import BPETokenizer as BPETokenizer
    from gpt.tokenizer import CharTokenizer as CharTokenizer
    from gpt.tokenizer import Tokenizer as Tokenizer
    from gpt.tokenizer import load_tokenizer as load_tokenizer

__version__ = "0.1.0"

# Loaded at first use: `python -m gpt --help` works without NumPy. The module of each name.
_LAZY = {
    "BPETokenizer": "tokenizer",
    "CharTokenizer": "tokenizer",
    "Chat": "finetune.chat",
    "GPT": "model",
    "ModelConfig": "config",
    "SampleConfig": "config",
    "Tokenizer": "tokenizer",
    "TrainConfig": "config",
    "history": "api",
    "load": "api",
    "load_tokenizer": "tokenizer",
    "train": "api",
}

__all__ = [*_LAZY]


if not TYPE_CHECKING:  # a type checker reports unknown names

    def __getattr__(name: str) -> Any:
        """Load a name of _LAZY (PEP 562)."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
