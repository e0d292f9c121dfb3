"""Other people's weights, read into our models and written for others. In the order to read:

- `lazy_tensors.py`  tensors that are read from their file on demand, and the names of ours elsewhere
- `hf_config.py`     a config.json, each key of which must be understood
- `gpt2.py`          GPT-2's names;  `llama.py`  those of the Llama family
- `openai.py`        OpenAI's TensorFlow checkpoint;  `llama2c.py`  the .bin of llama2.c
- `load.py`          find the format at a path, and load it
- `export.py`        files that Hugging Face's transformers can open
- `download.py`      the files of GPT-2 from the network
"""

from gpt.pretrained.load import Pretrained, load_pretrained

__all__ = ["Pretrained", "load_pretrained"]
