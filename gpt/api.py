"""The Python API: train a model, load one, see its loss curves. `import gpt` exports these functions.

model = gpt.train("shakespeare.txt", out="runs/mine")
print(gpt.load("runs/mine").generate("ROMEO:"))
"""

import contextlib
import io
import os
import re
import signal
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig, TrainConfig, check_options
from gpt.lora import has_lora
from gpt.model import GPT
from gpt.pretrained import load_pretrained
from gpt.pretrained.download import MODELS
from gpt.runs import team
from gpt.runs.checkpoint import BEST, FORMAT, LAST, TrainingState, find_checkpoint, load_checkpoint, save_checkpoint
from gpt.runs.curves import History
from gpt.runs.presets import with_presets
from gpt.runs.pretrain import begin_pretraining, resume_pretraining
from gpt.runs.run import MemoryRun, Run, read_metrics
from gpt.runs.safetensors import read_header
from gpt.runs.supervise import run_training
from gpt.tokenizer.base import check_text
from nanograd.runtime.files import StrPath

FIELDS = tuple(field.name for config in (TrainConfig, ModelConfig) for field in fields(config))
OPTIONS = (*FIELDS, "base", "new_tokenizer", "config", "size", *team.OPTIONS)
LONGEST_NAME = 255  # characters of a file's name
FLAG = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


def load(path: StrPath, *, base: StrPath | None = None, dtype: Any = np.float32) -> GPT:
    """Return a trained model in evaluation mode, with its tokenizer.

    path is the folder of a run (its best checkpoint is used), a checkpoint, or other people's weights: a folder with
    Hugging Face's model.safetensors and config.json or OpenAI's model.ckpt.*, or a .bin of llama2.c. A model of `finetune
    instruct` or `prefer` is one too. base is where the base of LoRA adapters is, if it has moved; adapters are merged.

    Raises FileNotFoundError if there are no weights, ValueError if they are damaged or of no language model. Warns if
    other people's weights come without a tokenizer; `model.tokenizer` is then None.
    """
    model, no_tokenizer = open_model(path, base, dtype)
    if model.tokenizer is None:
        warnings.warn(
            f"no tokenizer is beside the weights: {no_tokenizer}; to generate text, set model.tokenizer = "
            "gpt.load_tokenizer(PATH)",
            stacklevel=2,
        )
    return model


def open_model(path: StrPath, base: StrPath | None = None, dtype: Any = np.float32) -> tuple[GPT, str]:
    """Return the model that `load` returns, and why it has no tokenizer; "" if it has one."""
    path = Path(path)
    with python_names():
        if is_checkpoint(path):
            model = load_checkpoint(find_checkpoint(path), base).model()
            return (model if np.dtype(dtype) == np.float32 else model.astype(dtype)).eval(), ""
        try:
            pretrained = load_pretrained(path)
        except FileNotFoundError as error:
            way_out = f"a folder of a run has {BEST} or {LAST}"
            if not path.exists():
                way_out = "give the folder of a run, a checkpoint, or a folder with model.safetensors and config.json"
            if str(path) in MODELS:
                way_out = f"download it with: python -m gpt import {path} --download"
            raise FileNotFoundError(f"{error}; {way_out}") from None
        return pretrained.model(dtype), pretrained.no_tokenizer


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is a checkpoint of ours, or a folder with one."""
    if path.is_dir():
        return any((path / name).is_file() for name in (BEST, LAST))
    return path.is_file() and path.suffix == ".safetensors" and read_header(path)[1].get("format") == FORMAT


def save_model(model: GPT, path: StrPath) -> None:
    """Write a model and its tokenizer as a checkpoint without an optimizer: see `GPT.save`."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"save: the path must end in .safetensors, got {path}")
    if path.exists():
        raise FileExistsError(f"save: {path} exists already; choose another path")
    if model.tokenizer is None:
        raise ValueError("save: the model has no tokenizer, without which nobody can use it; set model.tokenizer")
    if has_lora(model):
        raise ValueError("save: the model has LoRA adapters; call gpt.lora.merge_and_unload(model) first")
    save_checkpoint(path, model, None, TrainConfig(), model.tokenizer, TrainingState(source="a model in Python"))


def train(
    data: StrPath | Sequence[StrPath] | None = None,
    *,
    out: StrPath | None = None,
    init: StrPath | None = None,
    resume: StrPath | None = None,
    quiet: bool = False,
    **options: StrPath | float | None,
) -> GPT:
    """Train a model and return it in evaluation mode, with its tokenizer and its `history`.

    data     a text; or the path of a text, of a folder of texts or of a folder of `data prepare`; or a list of paths. A
             string is a text if it names no file and has a line break or more than 255 characters. Default: Python's own
             documentation
    out      the folder of the run, the same as `python -m gpt train --out` writes. Without it nothing is written
    init     begin from the weights, shape and tokenizer of a checkpoint
    resume   go on with the run in this folder, to the same result
    quiet    print nothing: sys.stdout is redirected during the training, in all threads
    options  fields of TrainConfig and ModelConfig by name, such as max_steps=1000, d_model=256, tokenizer="char"; size,
             "small", "medium" or "gpt2", and config, the config.json of another run, set several: other options win;
             workers=2, workers_as="processes" say who computes a step, which does not change the result

    The model has the weights of the step with the lowest validation loss so far, which is the run's best checkpoint. If
    nothing was evaluated, as with val_fraction=0, it has the last weights. Ctrl-C, or interrupting the kernel in Jupyter,
    ends the training after the current step, and the model trained so far is returned; a run with a folder can be
    resumed. SIGTERM and SIGHUP save such a run too, before they end the program as ever.

    Raises TypeError for an unknown option, ValueError for an invalid one or too little text, FileNotFoundError if there
    is no such file, MemoryError if the training would not fit into memory, NotFiniteError if the loss becomes NaN.
    """
    check_options("train", options, [*OPTIONS, "data", "out", "init", "resume", "quiet"])
    values = {**options, "out": out, "init": init, "resume": resume, **data_flag(data, resume)}
    flags = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in values.items()}
    output = contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext()
    with output, python_names(), np.errstate(all="ignore"):  # our errors name the step at which a number overflowed
        if (world := team.world()) is not None and world.rank:
            world.follow()
            raise SystemExit(0)  # what comes after the training is for rank 0
        flags = with_presets(flags)
        if resume is None:
            run, objective = begin_pretraining(team.with_shards(flags), in_memory=out is None)
        else:
            run, objective = resume_pretraining(os.fspath(resume), flags)
        finished = run_training(run, objective, workers=team.Workers.of(flags))
        if not isinstance(run, MemoryRun):
            way_on = "" if finished else f"; go on with: gpt.train(resume={str(run.folder)!r})"
            print(f"\nsaved in {run.folder}{way_on}", flush=True)
        if run.stop_signal is not None and run.stop_signal != signal.SIGINT:  # as without us, but saved
            signal.raise_signal(run.stop_signal)
        if 0 < run.state.best_step < run.state.step:
            print(f"note      the model has the weights of step {run.state.best_step}, the best validation loss")
        return trained_model(run)


def data_flag(data: Any, resume: object) -> dict[str, Any]:
    """Return the flag that `data` stands for: `data`, a path or several, or `text`."""
    if data is None:
        return {}
    if resume is not None:
        raise ValueError("data and resume exclude each other: a resumed run goes on with its own text")
    if isinstance(data, os.PathLike):
        return {"data": os.fspath(data)}
    if isinstance(data, (list, tuple)) and data and all(isinstance(item, (str, os.PathLike)) for item in data):
        flags = [data_flag(item, resume) for item in data]
        if all("data" in flag for flag in flags):
            return {"data": [flag["data"] for flag in flags]}
    if not isinstance(data, str):
        raise TypeError(
            f"train: data must be a text, or paths of texts, got {type(data).__name__}; join several texts: "
            "'<|endoftext|>'.join(texts)"
        )
    if os.path.exists(data):
        return {"data": data}
    if not data.strip():
        raise ValueError("data: the text is empty")
    if "\n" not in data and len(data) <= LONGEST_NAME:
        raise FileNotFoundError(
            f"data: there is no file {data}; give a path, or a text: it has a line break or more than {LONGEST_NAME} "
            "characters"
        )
    check_text("train", data)
    return {"text": data}


def trained_model(run: Run[GPT, TrainConfig]) -> GPT:
    """Return a new model with the best weights of a run, or the last if nothing was evaluated."""
    if isinstance(run, MemoryRun):
        model = GPT(run.model.config, init=False).load_state_dict(run.best or run.weights()).eval()
        model.tokenizer, model.history = run.tokenizer, History(run.records)
    else:
        model = load(run.folder)
        model.history = history(run.folder)
    return model


def history(run: StrPath) -> History:
    """Return the records of the run in a folder: loss, validation loss, … of every step. Jupyter shows the loss curves."""
    return History(read_metrics(Path(run)))


@contextlib.contextmanager
def python_names() -> Iterator[None]:
    """Name options as Python does in the errors of the block: batch_size, not --batch-size."""
    try:
        yield
    except (ValueError, ArithmeticError, MemoryError, FileNotFoundError) as error:
        message = str(error).replace("python -m gpt train --", "--").replace(" of python -m gpt train", "")
        if len(error.args) == 1 and "python -m" not in message:
            error.args = (FLAG.sub(lambda match: match[1].replace("-", "_"), message),)
        raise
