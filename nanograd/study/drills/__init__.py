"""Drills: write a backward, and be told what is wrong with it; from one product to a GPT that learns with yours."""

from nanograd.study.drills.arithmetic import ADD, DIV, MUL, SUB
from nanograd.study.drills.attend import ATTENTION, FLASH, TRAIN
from nanograd.study.drills.bends import GELU_TANH, RELU, SIGMOID, SWIGLU, TANH
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.matrices import LINEAR, MATMUL, RESHAPE, TRANSPOSE
from nanograd.study.drills.norms import LAYERNORM, RMSNORM
from nanograd.study.drills.reduce import EXP, LOG, MEAN, SUM
from nanograd.study.drills.scores import CROSS_ENTROPY, LOG_SOFTMAX, SOFTMAX
from nanograd.study.drills.tables import DROPOUT, EMBEDDING, TIED
from nanograd.study.drills.whole_block import BLOCK

RUNGS: dict[str, tuple[Drill, ...]] = {
    "one number": (MUL, ADD, SUB, DIV, EXP, LOG),
    "many into one": (SUM, MEAN),
    "moved and mixed": (MATMUL, TRANSPOSE, RESHAPE, LINEAR),
    "bends": (RELU, SIGMOID, TANH, GELU_TANH, SWIGLU),
    "probabilities": (SOFTMAX, LOG_SOFTMAX, CROSS_ENTROPY),
    "normalised": (RMSNORM, LAYERNORM),
    "tables and chance": (EMBEDDING, TIED, DROPOUT),
    "attention": (ATTENTION, FLASH),
    "the GPT": (BLOCK, TRAIN),
}
DRILLS: dict[str, Drill] = {drill.name: drill for rung in RUNGS.values() for drill in rung}
