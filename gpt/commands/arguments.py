"""The arguments that commands share: flags generated from the config classes, a run or checkpoint, texts to read."""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gpt.config import RENAMED, Config, field_types, known_fields
from gpt.runs.team import KINDS
from nanograd.runtime import arguments
from nanograd.runtime.arguments import UNITS, braces, format_value, reader, wrap

C = TypeVar("C", bound=Config)
RUNS, LAST_RUN = Path("runs"), "last"
CHECKPOINT = "folder of a run (its best checkpoint is used), a checkpoint, or last: the newest in runs/"


# Our flags and, in capitals, arguments without one (of several, the first that a command has): what others call them.
FOREIGN = {
    "d-model": "n-embd n-embed hidden-size hidden-dim embed-dim emb-dim dim width",
    "n-layers": "n-layer num-layers num-hidden-layers layers depth",
    "n-heads": "n-head num-heads num-attention-heads heads",
    "n-kv-heads": "n-kv-head num-key-value-heads",
    "d-ff": "intermediate-size n-inner ffn-dim",
    "context-length": "block-size max-seq-len max-seq-length seq-len n-ctx n-positions context window",
    "dropout": "drop-rate attn-pdrop",
    "lr": "learning-rate max-lr",
    "min-lr": "min-learning-rate lr-min lr-decay decay-lr eta-min",
    "max-steps": "max-iters iters iterations steps num-steps max-train-steps n-steps",
    "epochs max-steps": "epochs num-epochs num-train-epochs n-epochs",
    "warmup-steps": "warmup-iters num-warmup-steps warmup",
    "grad-accum-steps": "gradient-accumulation-steps accumulate-grad-batches",
    "batch-size": "per-device-train-batch-size micro-batch-size bs",
    "recompute": "gradient-checkpointing use-gradient-checkpointing activation-checkpointing checkpointing",
    "columns": "column-mapping",
    "grad-clip": "max-grad-norm clip clip-grad gradient-clip-val",
    "eval-every": "eval-interval eval-steps log-interval",
    "eval-batches": "eval-iters",
    "save-every": "save-steps save-interval",
    "init RUN": "ckpt checkpoint run model model-name-or-path init-from pretrained resume-from-checkpoint",
    "data TEXT IN FILE": "input input-file dataset train-file text-file text path",
    "prompt TEXT": "prompt start",
    "out": "out-dir output-dir output save-dir",
    "vocab-size": "vocab n-vocab",
    "max-new-tokens": "max-tokens num-tokens n-tokens tokens max-length length",
    "samples": "num-samples num-return-sequences",
    "beams": "num-beams",
    "size": "model-size preset",
    "config": "config-file",
    "estimate": "dry-run",
    "seed": "random-seed random-state",
    "lora-rank": "rank r lora-r",
}
SKIP = {None: None, "stop": False, "skip": True}  # of --on-error: see gpt.data.documents.TextFiles
HEADINGS = {  # in a help; fields that are not listed are shown below the first line of their config's docstring
    "Data": "data tokenizer documents sampling stride val_fraction test_fraction label_column text_column encoding balance "
    "split_seed template end columns",
    "Base model, and what is trained of it": "init freeze lora_rank lora_alpha lora_target",
    "Batches and memory": "batch_size grad_accum_steps shards recompute",
    "Evaluation and checkpoints": "eval_every eval_batches sample_every save_every patience",
    "Attention and positions": "position rope_theta rope_scaling rope_factor rope_original_context rope_low_freq_factor "
    "rope_high_freq_factor window n_kv_heads head_dim qk_norm qkv_bias",
}
METAVARS = {"data": "FILE", "init": "RUN"}  # of fields that are paths


class Parser(arguments.Parser):
    """A Parser that knows what other programs call our flags."""

    synonyms: Mapping[str, str] = {name: ours for ours, names in FOREIGN.items() for name in names.split()}


def add_checkpoint(parser: Parser) -> None:
    """Add the arguments that name a checkpoint: RUN, and --base for the base of its LoRA adapters."""
    parser.add_argument("run", metavar="RUN", type=run_path, help=CHECKPOINT)
    add_base(parser)


def add_base(parser: Parser, only: str = "") -> None:
    """Add the flag that names the base of LoRA adapters."""
    parser.option("--base", f"{only}where the base of LoRA adapters is, if it has moved", metavar="FILE")


def add_run_folder(parser: Parser) -> None:
    """Add the flags that name the folder of a run: of a new one, or of one that goes on."""
    parser.option("-o --out", "folder of the run (default: runs/<date and time>)", metavar="RUN")
    resume = "go on with a run that was stopped, to the same result; last: the newest in runs/"
    parser.option("--resume", resume, metavar="RUN", type=run_path)


def add_workers(parser: Parser) -> None:
    """Add the flags that say who computes the shards of a batch."""
    count = "threads or processes that share every step (default: as many as there are cores)"
    parser.option("--workers", count, kind=int, least=1)
    parser.option("--workers-as", "what they are; the result is the same (default: what is faster)", choices=KINDS)
    parser.option("--mixed-machines", "under mpiexec: allow machines whose results differ in the last bits", False)


def run_path(text: str) -> str:
    """Return the path that an argument names; "last" is the run in runs/ that was written to most recently."""
    if text != LAST_RUN or Path(text).exists():
        return text
    newest = max(RUNS.glob("*/*.safetensors"), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise argparse.ArgumentTypeError(f"last: there is no run in {RUNS}; give the path of one")
    print(f"last      {newest.parent}", file=sys.stderr)
    return str(newest.parent)


def add_reading_flags(parser: Parser) -> None:
    """Add the flags that say how the files of texts are read."""
    parser.option("--encoding", "encoding of the files (default: detected, UTF-8 first)", metavar="NAME")
    parser.option("--text-key", "key of the text in .jsonl", "text", metavar="KEY")
    on_error = "what to do with texts that cannot be read (default: skip them in a folder or a .jsonl, stop at others)"
    parser.option("--on-error", on_error, choices=("stop", "skip"))


def add_text_or_file(parser: Parser, file_help: str) -> None:
    """Add the arguments of a command whose input is either TEXT or --data FILE."""
    parser.add_argument("text", metavar="TEXT", nargs="?", help="the text; - reads it from standard input")
    parser.option("--data", file_help, metavar="FILE")
    parser.add_argument("--file", dest="data", help=argparse.SUPPRESS)  # its old name


def parse_text_or_file(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of such a command; exit with an error for both inputs or none. TEXT - is standard input."""
    args = parser.parse(arguments)
    if (args.text is None) == (args.data is None):
        command = parser.prog.rpartition(" ")[2]
        parser.error(f'give either a text, as in: {command} RUN "a text", or --data FILE')
    if args.text == "-":
        args.text = read_stdin()
    return args


def check_stdin(way_out: str) -> None:
    """Raise ValueError if there is no standard input: the caller closed it, or Windows runs us without a console."""
    if sys.stdin is None:
        raise ValueError(f"standard input is closed; {way_out}")


def read_stdin() -> str:
    """Return the text of standard input."""
    check_stdin("give the text as an argument, or through a pipe")
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input must be UTF-8; {error}") from None


def add_flags(
    parser: Parser, *configs: type[Config], defaults: Mapping[str, str] | None = None, note: str = ""
) -> None:
    """Add a flag for each field: `d_model` becomes --d-model. Flags that are left out are not in the namespace.

    defaults   what a run without a flag uses, in words, by field, where the command chooses it
    note       a sentence below the heading of the config
    """
    defaults = defaults or {}
    headings = {name: heading for heading, names in HEADINGS.items() for name in names.split()}
    groups = {group.title: group for group in parser._action_groups}
    for config in configs:
        own = (config.__doc__ or config.__name__).partition("\n")[0].rstrip(".")
        types = field_types(config)
        for field in dataclasses.fields(config):
            heading = headings.get(field.name, own)
            if heading not in groups:
                groups[heading] = parser.add_argument_group(heading, wrap(note) if note and heading == own else None)
            kind, optional = types[field.name]
            flag = "--" + field.name.replace("_", "-")
            help_text = field.metadata["help"]
            if field.name in defaults:
                help_text += f" (default: {defaults[field.name]})"
            elif field.default is not None:
                help_text += f" (default {format_value(field.default)})"
            options: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
            if kind is not bool:
                read = run_path if field.name == "init" else reader(kind, optional)
                metavar = METAVARS.get(field.name, UNITS.get(kind, "TEXT"))
                options = {"type": read, "metavar": braces(field.metadata["among"]) or metavar}
                if field.metadata["several"]:
                    options |= {"nargs": "+", "action": "extend"}
            options |= {"default": argparse.SUPPRESS, "help": help_text.replace("%", "%%")}
            groups[heading].add_argument(flag, **options)
            for old in (old for old, new in RENAMED.items() if new == field.name):  # works, but is not shown
                flag = "--" + old.replace("_", "-")
                if flag not in parser._option_string_actions:  # --base has a meaning of its own beside --init
                    groups[heading].add_argument(flag, dest=field.name, **{**options, "help": argparse.SUPPRESS})


def take(config: type[C], namespace: argparse.Namespace, **values: Any) -> C:
    """Make the config from the flags in the namespace; `values` override them."""
    return config(**{**known_fields(config, vars(namespace)), **values})
