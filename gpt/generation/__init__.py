"""Text from a trained model. In the order to read:

- `sampling.py`  from logits to the next token: temperature, top-k, top-p, …
- `kv_cache.py`  the keys and values of the tokens that were read
- `decoder.py`   the model one token at a time, with a key–value cache
- `generate.py`  several samples in lockstep, streamed as text
- `beam.py`      the most probable continuation
"""
