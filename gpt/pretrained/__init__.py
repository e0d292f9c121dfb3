"""Weights that others trained, read into our models and written for others. From the bottom up:

- `stored.py`    tensors that still lie in their files, and how ours are called elsewhere
- `settings.py`  a config.json, each key of which must be accounted for
- `files.py`     which files a path means, and what an index may name
- `gpt2.py`      GPT-2's names;  `llama.py`  those of the Llama family
- `openai.py`    OpenAI's TensorFlow checkpoint;  `llama2c.py`  the .bin of llama2.c
- `load.py`      whichever of these a path holds
- `export.py`    files that Hugging Face's transformers opens
- `download.py`  the files of GPT-2, where there is a network
"""

from gpt.pretrained.load import Pretrained, load_pretrained

__all__ = ["Pretrained", "load_pretrained"]
