"""Tokenizer files of other projects. In the order to read:

- `openai.py`              GPT-2's encoder.json and vocab.bpe
- `tiktoken.py`            the .tiktoken files of newer models
- `pre_tokenizers.py`      the sections of tokenizer.json that say how a text is split into words
- `bos_eos.py`             the tokens that begin and end a text, by tokenizer.json and tokenizer_config.json
- `sentencepiece_json.py`  tokenizer.json of Llama 2, Mistral and Gemma, read and written
- `huggingface.py`         tokenizer.json of byte-level BPE, read and written
- `sentencepiece_model.py` tokenizer.model, the file of the SentencePiece library
- `llama2c.py`             llama2.c's tokenizer
- `load.py`                find the format of a file or folder, and load it
"""
