"""Drills: the learner writes a backward, and the grader names what is wrong with it; from a product to a whole GPT.

drill.py        what a drill consists of, and the file that a learner starts from
arithmetic.py, matrices.py, activations.py, softmax.py, normalization.py, embedding.py, attention.py   the drills
calls.py, diagnosis.py, grade.py   calling a learner's backward; describing a wrong gradient; the stages of the grader
suspects.py, naming.py   wrong backwards with a name; which of them give exactly the learner's numbers
bugs.py         a second kind of exercise: find the wrong line of a backward
functions.py, muon.py   a third kind: a function that is no backward; the drills on Muon
train_gpt.py    training a small GPT with the learner's attention
check_file.py   grading a file in a process of its own
command.py      python -m nanograd drill
"""

from nanograd.study.drills.activations import GELU_TANH, RELU, SIGMOID, SWIGLU, TANH
from nanograd.study.drills.arithmetic import ADD, DIV, EXP, LOG, MEAN, MUL, SUB, SUM
from nanograd.study.drills.attention import ATTENTION, BLOCK, FLASH, TRAIN
from nanograd.study.drills.bugs import Bug
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.embedding import DROPOUT, EMBEDDING, TIED
from nanograd.study.drills.functions import FunctionDrill
from nanograd.study.drills.matrices import LINEAR, MATMUL, RESHAPE, TRANSPOSE
from nanograd.study.drills.muon import MUON_STEP, NEWTON_SCHULZ
from nanograd.study.drills.normalization import LAYERNORM, RMSNORM
from nanograd.study.drills.softmax import CROSS_ENTROPY, LOG_SOFTMAX, SOFTMAX

Exercise = Drill | Bug | FunctionDrill
TOPICS: dict[str, tuple[Exercise, ...]] = {
    "arithmetic": (MUL, Bug(MUL, "one factor twice"), ADD, SUB, DIV, EXP, LOG),
    "reductions": (SUM, MEAN),
    "matrices and axes": (MATMUL, Bug(MATMUL, "dy forgotten"), TRANSPOSE, RESHAPE, LINEAR),
    "activations": (RELU, SIGMOID, TANH, GELU_TANH, Bug(GELU_TANH, "3 missing"), SWIGLU),
    "softmax and cross-entropy": (
        SOFTMAX, Bug(SOFTMAX, "y missing in the sum"), LOG_SOFTMAX, CROSS_ENTROPY, Bug(CROSS_ENTROPY, "whole columns"),
    ),
    "normalization": (RMSNORM, LAYERNORM, Bug(LAYERNORM, "n of the third term")),
    "embedding and dropout": (EMBEDDING, Bug(EMBEDDING, "last one wins"), TIED, DROPOUT),
    "attention": (ATTENTION, Bug(ATTENTION, "sum over queries"), FLASH),
    "the optimizer": (NEWTON_SCHULZ, MUON_STEP),
    "the GPT": (BLOCK, Bug(BLOCK, "dy for dh"), TRAIN),
}  # fmt: skip
EXERCISES: dict[str, Exercise] = {exercise.name: exercise for exercises in TOPICS.values() for exercise in exercises}
DRILLS: dict[str, Drill] = {name: exercise for name, exercise in EXERCISES.items() if isinstance(exercise, Drill)}
BUGS: dict[str, Bug] = {name: exercise for name, exercise in EXERCISES.items() if isinstance(exercise, Bug)}
