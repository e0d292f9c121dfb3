"""Drills: write a backward, and be told what is wrong with it; from one product to a GPT that learns with yours."""

from nanograd.drills.arithmetic import ADD, DIV, MUL, SUB
from nanograd.drills.attend import ATTENTION, FLASH, TRAIN
from nanograd.drills.bends import GELU_TANH, RELU, SIGMOID, SWIGLU, TANH
from nanograd.drills.drill import Drill
from nanograd.drills.matrices import LINEAR, MATMUL, RESHAPE, TRANSPOSE
from nanograd.drills.norms import LAYERNORM, RMSNORM
from nanograd.drills.reduce import EXP, LOG, MEAN, SUM
from nanograd.drills.scores import CROSS_ENTROPY, LOG_SOFTMAX, SOFTMAX
from nanograd.drills.tables import DROPOUT, EMBEDDING, TIED
from nanograd.drills.whole_block import BLOCK

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
