"""Turn text into ids and back. A ladder of small files, each adding one thing to the one before:

- `base.py`          what every tokenizer can do, and how it is saved
- `char.py`          one id for each character
- `pairs.py`         byte-pair encoding in its shortest form: the specification
- `unicode16.py`     letters and digits as they are in all tokenizers, whatever Unicode adds
- `pretokens.py`     the words across whose edges nothing is merged, and special tokens, in text that comes in parts
- `count.py`         counting the words of texts and of big files, in several processes if asked
- `trainer.py`       learning the merges, fast
- `word_encoder.py`  encoding a word by its merges, fast
- `vocabulary.py`    what must be so in a vocabulary and its merges
- `bpe.py`           the tokenizer that joins them

and what others use: `openai.py`, `tiktoken.py`, `huggingface.py`, formats among which `load.py` chooses, and `scored.py`,
llama2.c's tokenizer.
"""

from gpt.tokenizer.base import Tokenizer
from gpt.tokenizer.bpe import BPETokenizer
from gpt.tokenizer.char import CharTokenizer
from gpt.tokenizer.formats.huggingface import to_huggingface
from gpt.tokenizer.formats.load import load_tokenizer, tokenizer_from_dict
from gpt.tokenizer.formats.sentencepiece_bpe import ScoredTokenizer
from gpt.tokenizer.pretokens import EOT, PATTERNS
from gpt.tokenizer.trainer import train_bpe

__all__ = [
    "EOT",
    "PATTERNS",
    "BPETokenizer",
    "CharTokenizer",
    "ScoredTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "to_huggingface",
    "tokenizer_from_dict",
    "train_bpe",
]
