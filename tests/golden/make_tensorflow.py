"""Make tensorflow/: the smallest GPT-2 in the form in which OpenAI published it, written by TensorFlow.

    python tests/golden/make_tensorflow.py

Needs tensorflow. Its weights are those of huggingface/gpt2, so the logits stored there must come out.
"""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from gpt.runs.safetensors import load_file

GOLDEN = Path(__file__).parent
SOURCE, FOLDER = GOLDEN / "huggingface" / "gpt2", GOLDEN / "tensorflow"


def name_of(theirs: str) -> str:
    """Return what OpenAI calls a tensor of Hugging Face."""
    *words, part = theirs.removeprefix("transformer.").split(".")
    if words[0] in ("wte", "wpe"):
        return f"model/{words[0]}"
    if words[0] == "h":
        words = [f"h{words[1]}", *words[2:]]
    return "/".join(["model", *words, "b" if part == "bias" else "g" if words[-1].startswith("ln_") else "w"])


def main() -> None:
    """Write the checkpoint with the Saver that OpenAI used."""
    tensors, _ = load_file(SOURCE / "model.safetensors")
    config = json.loads((SOURCE / "config.json").read_text(encoding="utf-8"))
    tf1 = tf.compat.v1
    tf1.disable_eager_execution()
    with tf1.Graph().as_default(), tf1.Session() as session:
        for theirs, array in tensors.items():
            ours = name_of(theirs)
            array = array[None] if ours.endswith("/w") else array  # a convolution of width 1
            tf1.get_variable(ours, initializer=array.astype(np.float32))
        session.run(tf1.global_variables_initializer())
        FOLDER.mkdir(exist_ok=True)
        tf1.train.Saver().save(session, str(FOLDER / "model.ckpt"), write_meta_graph=False)
    hparams = {
        "n_vocab": "vocab_size",
        "n_ctx": "n_positions",
        "n_embd": "n_embd",
        "n_head": "n_head",
        "n_layer": "n_layer",
    }
    text = json.dumps({name: config[key] for name, key in hparams.items()}, indent=2)
    (FOLDER / "hparams.json").write_text(text + "\n", encoding="utf-8")
    (FOLDER / "checkpoint").unlink()


if __name__ == "__main__":
    main()
