"""python -m gpt import: make a checkpoint of weights that others trained."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser
from gpt.config import TrainConfig
from gpt.pretrained import load_pretrained
from gpt.pretrained.download import MODELS, fetch, instructions
from gpt.pretrained.files import find_weights
from gpt.runs.checkpoint import LAST, TrainingState, save_checkpoint
from gpt.runs.estimate import count, gigabytes
from nanograd.runtime.files import check_new_folder

DESCRIPTION = """Make a checkpoint of weights that others trained; sample, eval and info then open it.

    python -m gpt import FOLDER             model.safetensors and config.json, with the tokenizer's files beside them
    python -m gpt import stories15M.bin     llama2.c's, with its tokenizer.bin beside it
    python -m gpt import gpt2               says which files to fetch; gpt2-medium, gpt2-large and gpt2-xl too
    python -m gpt import gpt2 --download    fetches them

It reads GPT-2, Llama, Mistral without a window and Qwen3 as Hugging Face writes them (F32, F16 or BF16, one file or
several with an index), OpenAI's TensorFlow checkpoint of GPT-2, and llama2.c's .bin. Pickles (pytorch_model.bin) are
refused, and so is what the config.json says and is not modelled here.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt import", description=DESCRIPTION)
    parser.add_argument("path", metavar="PATH", help=f"a folder, a file, or one of {', '.join(MODELS)}")
    parser.add_argument("--tokenizer", metavar="PATH", help="the tokenizer (default: what lies beside the weights)")
    parser.add_argument("--out", metavar="DIR", help="folder to make (default: runs/ and the name of PATH)")
    parser.add_argument("--download", action="store_true", help="fetch the files of GPT-2 into a folder of its name")
    given = parser.parse(arguments)
    path = Path(given.path)
    if given.download and given.path not in MODELS:
        parser.error(f"--download fetches {', '.join(MODELS)}, got {given.path}")
    if given.download:
        fetch(given.path, path)
    elif given.path in MODELS and not holds_weights(path):
        print(instructions(given.path, path), file=sys.stderr)
        return 1
    folder = Path("runs") / (path.resolve().stem or "imported") if given.out is None else Path(given.out)
    check_new_folder(folder)
    convert(path, given.tokenizer, folder)
    return 0


def holds_weights(path: Path) -> bool:
    """Tell whether there is something to import at a path."""
    try:
        find_weights(path)
    except FileNotFoundError:
        return False
    return True


def convert(path: Path, tokenizer: str | None, folder: Path) -> None:
    """Load the weights and write the checkpoint; on an error no file is left."""
    pretrained = load_pretrained(path, tokenizer)
    config = pretrained.model_config
    if pretrained.tokenizer is None:
        raise ValueError(
            f"a checkpoint needs the model's tokenizer, and there is none: {pretrained.no_tokenizer}; put tokenizer.json, "
            "or vocab.json and merges.txt, beside the weights (tokenizer.bin for llama2.c), or name it with --tokenizer"
        )
    print(f"source    {pretrained.source}")
    if pretrained.ignored:
        print(f"ignored   keys of its config.json that change no logits: {', '.join(pretrained.ignored)}")
    print(
        f"model     {count(config):,} parameters: {config.n_layers} layers, d_model {config.d_model}, "
        f"{config.n_heads} heads, context {config.context_length}\n"
        f"tokenizer {pretrained.tokenizer.kind}, {pretrained.tokenizer.vocab_size:,} tokens",
        flush=True,
    )
    model = pretrained.model()
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        file = folder / LAST
        save_checkpoint(file, model, None, TrainConfig(), pretrained.tokenizer, TrainingState(source=pretrained.source))
    except BaseException:
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    print(
        f'saved     {file}, {gigabytes(file.stat().st_size)}; try: python -m gpt sample {folder} --prompt "Once upon"'
    )
