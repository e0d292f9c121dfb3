"""Drills: the learner writes a backward, and the grader names what is wrong with it; from a product to a whole GPT.

drill.py        what a drill consists of, and the file that a learner starts from
arithmetic.py, matrices.py, activations.py, softmax.py, normalization.py, embedding.py, attention.py   the drills
calls.py, diagnosis.py, grade.py   calling a learner's backward; describing a wrong gradient; the stages of the grader
suspects.py, naming.py   wrong backwards with a name; which of them give exactly the learner's numbers
train_gpt.py    training a small GPT with the learner's attention
check_file.py   grading a file in a process of its own
command.py      python -m nanograd drill
"""

from nanograd.study.drills.activations import GELU_TANH, RELU, SIGMOID, SWIGLU, TANH
from nanograd.study.drills.arithmetic import ADD, DIV, EXP, LOG, MEAN, MUL, SUB, SUM
from nanograd.study.drills.attention import ATTENTION, BLOCK, FLASH, TRAIN
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.embedding import DROPOUT, EMBEDDING, TIED
from nanograd.study.drills.matrices import LINEAR, MATMUL, RESHAPE, TRANSPOSE
from nanograd.study.drills.normalization import LAYERNORM, RMSNORM
from nanograd.study.drills.softmax import CROSS_ENTROPY, LOG_SOFTMAX, SOFTMAX

TOPICS: dict[str, tuple[Drill, ...]] = {
    "arithmetic": (MUL, ADD, SUB, DIV, EXP, LOG),
    "reductions": (SUM, MEAN),
    "matrices and axes": (MATMUL, TRANSPOSE, RESHAPE, LINEAR),
    "activations": (RELU, SIGMOID, TANH, GELU_TANH, SWIGLU),
    "softmax and cross-entropy": (SOFTMAX, LOG_SOFTMAX, CROSS_ENTROPY),
    "normalization": (RMSNORM, LAYERNORM),
    "embedding and dropout": (EMBEDDING, TIED, DROPOUT),
    "attention": (ATTENTION, FLASH),
    "the GPT": (BLOCK, TRAIN),
}
DRILLS: dict[str, Drill] = {drill.name: drill for drills in TOPICS.values() for drill in drills}
