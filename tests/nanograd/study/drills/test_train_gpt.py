"""Training a small GPT with a learner's attention."""

import math

import numpy as np

from nanograd.study.drills import DRILLS
from nanograd.study.drills.drill import plant
from nanograd.study.drills.grade import grade
from nanograd.study.drills.train_gpt import compare_training, losses


def test_a_small_gpt_learns() -> None:
    values = losses(DRILLS["train"].forward, DRILLS["train"].backward, steps=40)
    assert abs(values[0] - math.log(90)) < 0.5  # about 90 characters, none of which is known yet
    assert np.mean(values[-5:]) < values[0] - 1


def test_the_last_drill_ends_with_a_gpt() -> None:
    verdict = grade(DRILLS["train"], DRILLS["train"].backward)
    assert verdict.passed[-1] == "training"
    assert verdict.notes[0].startswith("a GPT trained 100 steps with your backward: loss 4.")


def test_a_wrong_backward_trains_another_gpt() -> None:
    drill = DRILLS["train"]
    ok, message = compare_training(drill.forward, drill.backward, plant(drill, drill.mutants[4]), steps=3)
    assert not ok
    assert message.startswith("the GPT with your backward has other losses: at step 1 ")
