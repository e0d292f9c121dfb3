"""Seeds: a use draws the same numbers in every run, and two uses never draw the same."""

import contextvars
import itertools
import threading

import numpy as np
import pytest

from nanograd.seeds import DATA, DROPOUT, EVAL, INIT, SAMPLE, generator, next_seed, seeds


def draw(n: int, *key: int) -> list[int]:
    with seeds(*key):
        return [next_seed() for _ in range(n)]


def test_the_numbers_of_the_purposes_never_change() -> None:
    assert (INIT, DATA, DROPOUT, EVAL, SAMPLE) == (0, 1, 2, 3, 4)


def test_the_nth_seed_depends_only_on_the_key_and_n() -> None:
    expected = [np.random.SeedSequence((5, 2, 7, 1, n)).generate_state(1, np.uint64)[0] for n in range(3)]
    assert draw(3, 5, DROPOUT, 7, 1) == expected
    assert draw(2, 5, DROPOUT, 7, 1) == expected[:2]
    assert all(type(seed) is int for seed in draw(3, 0, DROPOUT))


def test_a_generator_depends_only_on_its_key() -> None:
    by_hand = np.random.default_rng(np.random.SeedSequence((5, 1, 7)))
    np.testing.assert_array_equal(generator(5, DATA, 7).random(4), by_hand.random(4))


def test_no_two_uses_of_a_run_draw_the_same() -> None:
    keys = [
        (seed, purpose, step, micro)
        for seed in range(3)
        for purpose in (DATA, DROPOUT, EVAL, SAMPLE)
        for step in range(4)
        for micro in range(3)
    ]
    first = {key: int(generator(*key).integers(2**63)) for key in keys}
    assert len(set(first.values())) == len(keys)
    seeds_drawn = list(itertools.chain.from_iterable(draw(4, *key) for key in keys))
    assert len(set(seeds_drawn)) == 4 * len(keys)


def test_outside_a_block_every_seed_is_fresh() -> None:
    assert len({next_seed() for _ in range(5)}) == 5


def test_an_inner_block_has_its_own_key_and_the_outer_one_continues() -> None:
    outer = draw(3, 0, DROPOUT, 1)
    with seeds(0, DROPOUT, 1):
        assert next_seed() == outer[0]
        with seeds(0, DROPOUT, 2):
            assert next_seed() == draw(1, 0, DROPOUT, 2)[0]
        assert next_seed() == outer[1]


def test_an_error_ends_the_block() -> None:
    def fail() -> None:
        with seeds(0, DROPOUT):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert next_seed() != next_seed()
    assert next_seed() not in draw(5, 0, DROPOUT)


def test_a_new_thread_has_a_key_only_in_a_copied_context() -> None:
    expected, drawn = draw(1, 0, DROPOUT)[0], []
    with seeds(0, DROPOUT):
        context = contextvars.copy_context()
        for target in (lambda: drawn.append(next_seed()), lambda: context.run(lambda: drawn.append(next_seed()))):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    # From Python 3.14 on, a free-threaded build gives every thread a copy of its parent's context.
    assert expected in drawn
    assert len(set(drawn)) == 2
