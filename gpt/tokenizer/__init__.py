"""Turn text into ids and back. A ladder of small files, each adding one thing to the one before:

- `base.py`            the interface of every tokenizer, and how it is saved
- `char.py`            one id for each character
- `pairs.py`           byte-pair encoding in its shortest form: the specification
- `unicode.py`         letters, digits and NFC as they were when tokenizers were made
- `splits.py`          split a text into words by a pattern: GPT-2's, two of its successors, or that of a file
- `added_tokens.py`    find special tokens in a text
- `pretokens.py`       split a text that comes in chunks into words and special tokens; split points
- `trainer.py`         count words and learn merges, fast
- `word_encoder.py`    encode a word by its merges, fast
- `special_tokens.py`  the base of the next two: which special tokens `encode` reads
- `bpe.py`             byte-level BPE, the tokenizer of GPT-2, Llama 3 and Qwen
- `piece_merges.py`    merge pieces by rank or by score, in any order
- `sentencepiece.py`   SentencePiece's BPE, the tokenizer of Llama 2, Mistral and Gemma

and `formats/`, the files of other projects.
"""

from gpt.tokenizer.base import Tokenizer
from gpt.tokenizer.bpe import BPETokenizer
from gpt.tokenizer.char import CharTokenizer
from gpt.tokenizer.formats.huggingface import to_huggingface
from gpt.tokenizer.formats.llama2c import ScoredTokenizer
from gpt.tokenizer.formats.load import load_tokenizer, tokenizer_from_dict
from gpt.tokenizer.pretokens import EOT
from gpt.tokenizer.sentencepiece import SentencePieceTokenizer
from gpt.tokenizer.splits import PATTERNS
from gpt.tokenizer.trainer import train_bpe

__all__ = [
    "EOT",
    "PATTERNS",
    "BPETokenizer",
    "CharTokenizer",
    "ScoredTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "to_huggingface",
    "tokenizer_from_dict",
    "train_bpe",
]
