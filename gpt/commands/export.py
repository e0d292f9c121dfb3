"""python -m gpt export: write a model in Hugging Face's format."""

from collections.abc import Sequence

from gpt.commands.arguments import Parser, add_checkpoint
from gpt.finetune.templates import Template
from gpt.pretrained.export import export, layout
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.runs.estimate import gigabytes

DESCRIPTION = """Write a model in the format of Hugging Face's transformers: config.json, model.safetensors, tokenizer.

    python -m gpt export runs/mine -o exported

Then, in Python: AutoModelForCausalLM.from_pretrained("exported"). Models with GPT-2's block become gpt2; those with
rmsnorm, rope and a gated MLP become llama, mistral, qwen2 or qwen3. The tokenizer is written too, unless it is one of
characters, and the chat template, if the model has one.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt export", description=DESCRIPTION)
    add_checkpoint(parser)
    parser.option("-o --out", "folder to create", metavar="DIR", required=True)
    args = parser.parse(arguments)
    checkpoint = load_checkpoint(find_checkpoint(args.run), args.base)
    tokenizer, task, chat_template = checkpoint.tokenizer, checkpoint.task, ""
    if task is not None and task.template:
        end = "" if tokenizer.eot_id is None else tokenizer.decode([tokenizer.eot_id])
        chat_template = Template.from_dict(task.template).to_jinja(end)
    state = checkpoint.model().state_dict()
    files = export(args.out, checkpoint.model_config, state, tokenizer, chat_template)
    print(f"{checkpoint.path} as {layout(checkpoint.model_config)}:")
    for file in files:
        print(f"  {file}  {gigabytes(file.stat().st_size)}")
    if not any(file.name == "tokenizer.json" for file in files):
        print(f"without a tokenizer: Hugging Face's format has none of kind {tokenizer.kind}; encode text with ours")
    return 0
