"""python -m gpt import: make a checkpoint from pretrained weights of others."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpt.commands.arguments import Parser
from gpt.config import TrainConfig
from gpt.finetune.templates import template_of_model
from gpt.pretrained import load_pretrained
from gpt.pretrained.chat_files import ChatFiles
from gpt.pretrained.download import MODELS, check_files, fetch, instructions
from gpt.pretrained.load import find_weights
from gpt.runs.checkpoint import LAST, Task, TrainingState, save_checkpoint
from gpt.runs.estimate import gigabytes, summary
from nanograd.runtime.files import check_new_folder, new_folder

DESCRIPTION = """Make a checkpoint from pretrained weights; sample, chat, eval and info then open it.

    python -m gpt import FOLDER             weights, config.json, tokenizer
    python -m gpt import stories15M.bin     of llama2.c, beside tokenizer.bin
    python -m gpt import gpt2               lists the files to download
    python -m gpt import gpt2 --download    downloads and checks them

It reads GPT-2, Llama, Mistral, Qwen2 and Qwen3 in Hugging Face's format (F32, F16 or BF16, one file or several with an
index), OpenAI's TensorFlow checkpoint of GPT-2, and .bin files of llama2.c. Pickles (pytorch_model.bin) are refused, and
so is a config.json with options that are not supported.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt import", description=DESCRIPTION)
    parser.add_argument("path", metavar="PATH", help=f"a folder, a file, or one of {', '.join(MODELS)}")
    parser.option("--tokenizer", "the tokenizer (default: the files beside the weights)", metavar="PATH")
    parser.option("-o --out", "folder to create (default: runs/ and the name of PATH)", metavar="DIR")
    parser.option(
        "--ignore-config",
        "count this key of config.json as null: you know that it does not change the logits; may be repeated",
        [],
        action="append",
        metavar="KEY",
    )
    parser.option("--download", "download the files of GPT-2 into a folder of that name", False)
    args = parser.parse(arguments)
    path = Path(args.path)
    if args.download and args.path not in MODELS:
        parser.error(f"--download is for {', '.join(MODELS)}, got {args.path}")
    if args.download:
        fetch(args.path, path)
    elif args.path in MODELS and not holds_weights(path):
        print(instructions(args.path, path), file=sys.stderr)
        return 1
    else:
        check_files(path if path.is_dir() else path.parent)
    folder = Path("runs") / (path.resolve().stem or "imported") if args.out is None else Path(args.out)
    check_new_folder(folder)
    convert(path, args.tokenizer, folder, args.ignore_config)
    return 0


def holds_weights(path: Path) -> bool:
    """Return whether there are weights at a path."""
    try:
        find_weights(path)
    except FileNotFoundError:
        return False
    return True


def convert(path: Path, tokenizer: str | None, folder: Path, ignore_config: Sequence[str]) -> None:
    """Load the weights and write the checkpoint; after an error no file remains."""
    pretrained = load_pretrained(path, tokenizer, ignore_config=ignore_config)
    if pretrained.tokenizer is None:
        raise ValueError(
            f"a checkpoint needs the model's tokenizer, and none could be read: {pretrained.no_tokenizer}; put "
            "tokenizer.json beside the weights (llama2.c: tokenizer.bin), or use --tokenizer"
        )
    print(f"source    {pretrained.source}")
    if pretrained.ignored:
        print(f"ignored   keys of its config.json that do not affect logits: {', '.join(pretrained.ignored)}")
    if ignore_config:
        print(f"ignored   by --ignore-config, whatever they mean: {', '.join(ignore_config)}")
    if pretrained.names:
        print(f"names     {pretrained.names}")
    print(
        f"model     {summary(pretrained.model_config)}\n"
        f"tokenizer {pretrained.tokenizer.kind}, {pretrained.tokenizer.vocab_size:,} tokens",
        flush=True,
    )
    task, hint = None, f'python -m gpt sample {folder} --prompt "Once upon"'
    if (chat := pretrained.chat) is not None:
        print("\n".join(describe(chat)), flush=True)
        if chat.template:
            template = template_of_model(chat.template, chat.bos_token, chat.eos_token)
            print(f"chat      its own template, {template.name}", flush=True)
            task, hint = Task("", template=template.to_dict()), f"python -m gpt chat {folder}"
    model = pretrained.model()
    state = TrainingState(source=pretrained.source)
    with new_folder(folder) as temporary:
        save_checkpoint(temporary / LAST, model, None, TrainConfig(), pretrained.tokenizer, state, task)
    file = folder / LAST
    print(f"saved     {file}, {gigabytes(file.stat().st_size)}; try: {hint}")


def describe(chat: ChatFiles) -> Iterator[str]:
    """Yield lines on the tokens that begin and end a text, on suggested settings, and on what was not used."""
    tokenizer = chat.tokenizer
    begin = "none" if tokenizer.bos_id is None else repr(tokenizer.decode([tokenizer.bos_id]))
    ends = ", ".join(repr(tokenizer.decode([id])) for id in tokenizer.end_ids) or "none"
    yield f"texts     {'all begin' if tokenizer.adds_bos else 'begin, without a prompt,'} with {begin} and end with {ends}"
    if chat.suggestions:
        flags = " ".join(f"--{key.replace('_', '-')} {value:g}" for key, value in chat.suggestions.items())
        yield f"note      its generation_config.json suggests {flags}"
    for note in chat.notes:
        yield f"note      {note}"
