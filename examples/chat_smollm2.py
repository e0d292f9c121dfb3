"""Talk with a real chat model, SmolLM2-135M-Instruct: 135 million parameters, in NumPy, on a processor.

    python examples/chat_smollm2.py FOLDER

FOLDER holds the files of https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct: config.json, model.safetensors,
tokenizer.json, tokenizer_config.json. The first run imports it into runs/smollm2; `python -m gpt chat` opens it.
It takes about a minute. The answers are greedy: each token is the most probable one, so they are always the same.
"""

from pathlib import Path

from gpt.__main__ import main as gpt
from gpt.config import SampleConfig
from gpt.finetune.chat import Chat
from nanograd.runtime.arguments import Parser

CONVERSATIONS = (
    ("What is the capital of France?", "And of Italy?"),
    ("Write one sentence about a cat.", "Now one about a dog.", "Which planet is the largest?"),
)


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the model's files")
    parser.option("--out", "where to import them to", "runs/smollm2", metavar="RUN")
    args = parser.parse()
    if not Path(args.out).exists():
        gpt(["import", str(args.folder), "--out", args.out])
    chat = Chat.open(args.out)
    for messages in CONVERSATIONS:
        chat.reset()
        print()
        for message in messages:
            print(f"> {message}")
            chat.say(message, SampleConfig(temperature=0, max_new_tokens=100))
    for text in ("What is the capital of France?", "The capital of France is"):
        print(f"\nwithout the template: {text!r} → {chat.model.generate(text, 12, temperature=0)!r}")


if __name__ == "__main__":
    main()
