"""The safety rule, by golden vectors: the classes are named, so no index can slip."""

import numpy as np
import pytest

from worker_client.pipeline.safety import (
    AGES,
    CATEGORIES,
    PROMPTS,
    SUBJECTS,
    Class,
    Tag,
    judge,
)

ADULT, MINOR = "woman, man", "baby, toddler"
THING, ANIMAL = "person", "dog, puppy"


def scores(*best: str) -> np.ndarray:
    """Cosines in which the named prompts lead, the first one most; all others are equal."""
    row = np.full(len(PROMPTS), 0.1, np.float32)
    for place, text in enumerate(best):
        (index,) = [i for i, prompt in enumerate(PROMPTS) if prompt.text == text]
        row[index] = 0.4 - 0.01 * place
    return row


@pytest.mark.parametrize(
    ("first", "second", "tag"),
    [
        ("neutral", "talk show", Tag.UNLIKELY),
        ("neutral", "nudity, naked body", Tag.UNSURE),
        ("nudity, naked body", "neutral", Tag.UNSURE),
        ("pornography", "sexual content", Tag.NSFW),
        # The first explicit class was taken for a harmless one by the workers of LAION-5B.
        ("pornography", "talk show", Tag.UNSURE),
        # The comma that they lacked fused these two, and moved all that follows.
        ("animal, bird, mammal, insect", "fashion, clothes", Tag.UNLIKELY),
    ],
)
def test_the_tag_comes_from_the_two_best_categories(first: str, second: str, tag: Tag) -> None:
    assert judge(scores(first, second, ADULT, THING), "a red chair").tag is tag


@pytest.mark.parametrize(
    ("best", "text", "drop"),
    [
        (("neutral", "selfie", MINOR, ANIMAL), "a child and its baby kid", False),
        (("neutral", "pornography", ADULT, THING), "a red chair", False),
        (("pornography", "genitals", ADULT, THING), "a red chair", False),
        (("neutral", "pornography", MINOR, ADULT, THING), "a red chair", True),
        (("neutral", "pornography", ADULT, MINOR, THING), "a red chair", True),
        (("neutral", "pornography", ADULT, ANIMAL), "a red chair", True),
        (("neutral", "pornography", ADULT, THING, ANIMAL), "a red chair", False),
    ],
)
def test_only_pictures_that_may_be_explicit_are_dropped_for_minors_and_animals(
    best: tuple[str, ...], text: str, drop: bool
) -> None:
    ages = [t for t in ("woman, man", "of full legal age, adult") if t not in best]
    assert judge(scores(*best, *ages), text).drop is drop


@pytest.mark.parametrize(
    ("text", "drop"),
    [
        ("Child at the sea", True),
        ("TEEN style", True),
        ("two kids", True),
        ("babies!", True),
        ("children's book", True),
        ("a kidney on a plate", False),
        ("eighteen canteens", False),
        ("Babylon", False),
    ],
)
def test_words_for_minors_count_whole_and_in_any_case(text: str, drop: bool) -> None:
    row = scores("pornography", "neutral", ADULT, "of full legal age, adult", THING)
    assert judge(row, text).drop is drop


def test_each_list_has_every_class_it_tells_apart_and_no_prompt_twice() -> None:
    assert {p.stands_for for p in CATEGORIES} == {Class.HARMLESS, Class.EXPLICIT}
    assert {p.stands_for for p in AGES} == {Class.MINOR, Class.ADULT}
    assert {p.stands_for for p in SUBJECTS} == {Class.PERSON_OR_THING, Class.ANIMAL}
    for prompts in (CATEGORIES, AGES, SUBJECTS):
        assert len({p.text for p in prompts}) == len(prompts)


def test_scores_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="scores"):
        judge(np.zeros(len(PROMPTS) - 1, np.float32), "x")
