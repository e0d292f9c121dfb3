"""Turn text into ids and back. A ladder of small files, each adding one thing to the one before:

- `base.py`          the interface of every tokenizer, and how it is saved
- `char.py`          one id for each character
- `pairs.py`         byte-pair encoding in its shortest form: the specification
- `splits.py`        the words of a stretch of text, by the patterns of GPT-2 and others, or those of a file; `unicode.py`
- `pretokens.py`     the words of a text that comes in chunks, across whose edges nothing is merged; split points
- `trainer.py`       counting words and learning merges, fast
- `word_encoder.py`  encoding a word by its merges, fast
- `special_tokens.py`  which special tokens in a text are read
- `bpe.py`           the tokenizer made of these
- `added_tokens.py`  where special tokens are in a text
- `piece_merges.py`  merging pieces by rank or score, whatever their order
- `sentencepiece.py` the tokenizer of Llama 2, Mistral and Gemma, made of these

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
