"""Other people's weights, read into our models and written for others. In the order to read:

- `lazy_tensors.py`  tensors that are read from their file on demand
- `hf_config.py`     a config.json, each key of which must be understood
- `families.py`      GPT-2 and the Llama family: their keys and their names of our tensors
- `openai.py`        OpenAI's TensorFlow checkpoint;  `llama2c.py`  the .bin of llama2.c
- `chat_files.py`    a model's BOS and EOS tokens, and its chat template
- `load.py`          find the format at a path, and load it
- `export.py`        files that Hugging Face's transformers can open
- `download.py`      the files of GPT-2 from the network
"""

from gpt.pretrained.load import Pretrained, load_pretrained

__all__ = ["Pretrained", "load_pretrained"]
