"""The page of sampling: its probabilities are those of the product."""

import numpy as np
import pytest

from gpt.generation.sampling import next_token_probabilities
from gpt.study import sampling


@pytest.mark.parametrize("seed", range(10))
def test_the_chosen_probabilities_are_those_of_the_product(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = -np.sort(-3 * rng.standard_normal(30))
    options = {
        "temperature": float(rng.choice([0, 0.5, 1, 2])),
        "top_k": int(rng.integers(1, 31)),
        "top_p": rng.random(),
        "min_p": 0.2 * rng.random(),
    }
    got = sampling.choose(logits, **options, u=0.3)  # type: ignore[arg-type]
    np.testing.assert_allclose(got["p"], next_token_probabilities(logits, **options), rtol=1e-12)  # type: ignore[arg-type]


def test_logits_are_the_logarithms_of_counts() -> None:
    words, logits, _ = sampling.counted_candidates()
    for word, z in zip(words, logits, strict=True):
        assert (
            sampling.STORY.split().count(word)
            >= round(np.exp(z))
            == sampling.STORY.replace("\n", " ").count(f"the {word} ")
        )
    assert list(logits) == sorted(logits, reverse=True)


def test_a_large_vocabulary_is_cut_and_the_page_says_so() -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(1000)
    kept = sampling.keep_likely([f"w{i}" for i in range(1000)], logits, "A model's.")
    assert len(kept.words) == sampling.MOST
    assert kept.words[0] == f"w{logits.argmax()}"
    assert "the 200 most probable of 1,000 tokens" in kept.origin


def test_no_token_ends_the_script() -> None:
    page = sampling.topic(sampling.Candidates(["</script>", "b"], np.array([1.0, 0.0]), "x")).page()
    assert page.count("</script>") == 2  # of the data and of the script
    assert page == sampling.topic(sampling.Candidates(["</script>", "b"], np.array([1.0, 0.0]), "x")).page()


def test_greedy_text_repeats_itself() -> None:
    greedy, drawn = sampling.greedy_and_drawn()
    assert len(set(greedy.split())) < len(set(drawn.split()))
