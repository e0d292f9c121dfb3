"""Tokenizer files of other projects; `load.py` chooses the format.

- `openai.py`              GPT-2's encoder.json and vocab.bpe
- `tiktoken.py`            the .tiktoken files of newer models
- `huggingface.py`         tokenizer.json, read and written
- `ends.py`                the tokens at which texts begin and end, by tokenizer.json and tokenizer_config.json
- `pre_tokenizers.py`      the sections of tokenizer.json that say how a text becomes words
- `sentencepiece_json.py`  tokenizer.json of Llama 2, Mistral and Gemma
- `sentencepiece_model.py` tokenizer.model, the file of the SentencePiece library
- `llama2c.py`             llama2.c's tokenizer
"""
