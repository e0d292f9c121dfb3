"""Drills: write a backward, and be told what is wrong with it; from one product to a GPT that learns with yours."""

from nanograd.study.drills.activations import GELU_TANH, RELU, SIGMOID, SWIGLU, TANH
from nanograd.study.drills.arithmetic import ADD, DIV, EXP, LOG, MUL, SUB
from nanograd.study.drills.attention import ATTENTION, FLASH, TRAIN
from nanograd.study.drills.block import BLOCK
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.embedding import DROPOUT, EMBEDDING, TIED
from nanograd.study.drills.matrices import LINEAR, MATMUL, RESHAPE, TRANSPOSE
from nanograd.study.drills.normalization import LAYERNORM, RMSNORM
from nanograd.study.drills.reductions import MEAN, SUM
from nanograd.study.drills.softmax import CROSS_ENTROPY, LOG_SOFTMAX, SOFTMAX

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
