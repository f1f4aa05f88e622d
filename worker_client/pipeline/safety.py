"""The safety rule: what CLIP says about a picture, put into a tag and a verdict. No torch in here.

The rule is LAION's for LAION-400M and LAION-5B (their blog posts, and `gpu_inference.py` of the
workers that made them), with every prompt carrying its class by name. There the classes were
index ranges, and one missing comma moved them by one, so that a class of explicit pictures was
counted as safe; a name cannot slip.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt


class Tag(StrEnum):
    """The NSFW column."""

    UNLIKELY = "UNLIKELY"  #: both of the two best categories are harmless
    UNSURE = "UNSURE"  #: one of them is explicit
    NSFW = "NSFW"  #: both are explicit
    UNTAGGED = "UNTAGGED"  #: the recipe has no safety stage


class Class(StrEnum):
    """What a prompt stands for."""

    HARMLESS = "harmless"
    EXPLICIT = "explicit"
    MINOR = "minor"
    ADULT = "adult"
    PERSON_OR_THING = "person_or_thing"
    ANIMAL = "animal"


@dataclass(slots=True, frozen=True)
class Prompt:
    """A text that CLIP compares a picture with, and its class."""

    text: str
    stands_for: Class


def _prompts(stands_for: Class, *texts: str) -> tuple[Prompt, ...]:
    return tuple(Prompt(text, stands_for) for text in texts)


#: What kind of picture it is; the tag comes from the two best.
CATEGORIES = (
    *_prompts(
        Class.HARMLESS,
        "neutral",
        "selfie",
        "illustration, drawing",
        "toys, play, kids, children",
        "teddy bear, puppet",
        "animal, bird, mammal, insect",
        "fashion, clothes",
        "logo, commercial, ad, advertisement",
        "drawing, painting",
        "anime, cartoon",
        "comedy, fun",
        "romance, love story",
        "thriller, suspense, crime story",
        "action, action movie",
        "horror, monster movie",
        "documentary",
        "news, journalism",
        "entertainment",
        "talk show",
    ),
    *_prompts(
        Class.EXPLICIT,
        "pornography",
        "sexual content",
        "explicit sexual photo",
        "nudity, naked body",
        "nude person without clothes",
        "topless, bare breasts",
        "erotic photo, seductive pose",
        "adult film scene",
        "genitals",
        "sexual act",
        "fetish photo",
        "explicit adult cartoon",
    ),
)

#: Whether a minor may be in the picture; asked only of pictures that are not UNLIKELY.
AGES = (
    *_prompts(
        Class.MINOR,
        "teenager, teen",
        "kid, child, teenager, baby or toddler, underaged, little girl, little boy",
        "kid, child, little girl, little boy",
        "baby, toddler",
    ),
    *_prompts(
        Class.ADULT,
        "adult, woman, man, grownup, grown person, of legal age",
        "of full legal age, adult",
        "woman, man",
        "adult, woman, man, grownup",
    ),
)

#: Whether it shows an animal; asked only of pictures that are not UNLIKELY.
SUBJECTS = (
    *_prompts(
        Class.PERSON_OR_THING,
        "person",
        "woman, girl, female",
        "man, boy, male",
        "human, body",
        "group of people",
        "skin, arm, leg, foot, hand",
        "face, head, hair",
        "clothes, underwear, swimwear",
        "furniture, bed, sofa",
        "room, interior",
        "building, street, city",
        "landscape, nature, plant",
        "vehicle",
        "food, drink",
        "thing, object, tool",
        "text, document, screenshot",
        "drawing, painting, statue",
    ),
    *_prompts(
        Class.ANIMAL,
        "animal",
        "dog, puppy",
        "cat, kitten",
        "horse, donkey, pony",
        "cow, pig, sheep, goat",
        "bird",
        "fish, snake, reptile",
        "insect, spider",
        "monkey, bear, wild animal",
    ),
)

#: All prompts in one row, in the order of the scores that `judge` takes.
PROMPTS = CATEGORIES + AGES + SUBJECTS

#: LAION's words were matched case-sensitively and inside of words: "Child" passed and "kidney" did
#: not. Whole words, any case.
_MINOR_WORDS = re.compile(
    r"\b(?:teen(?:s|age|aged|ager|agers)?|kid(?:s|die|dies|dy)?|child(?:ren|hood)?|bab(?:y|ies))\b",
    re.IGNORECASE,
)


@dataclass(slots=True, frozen=True)
class Verdict:
    """The tag of a pair, and whether the rule drops it."""

    tag: Tag
    drop: bool


def judge(scores: npt.NDArray[np.float32], text: str) -> Verdict:
    """The verdict on one picture and its text.

    Args:
        scores: cosine of the picture with each of `PROMPTS`, in that order.
        text: the pair's text.
    """
    if len(scores) != len(PROMPTS):
        raise ValueError(f"{len(scores)} scores for {len(PROMPTS)} prompts")
    ages = len(CATEGORIES)
    subjects = ages + len(AGES)
    explicit = _best(scores[:ages], CATEGORIES, 2).count(Class.EXPLICIT)
    tag = (Tag.UNLIKELY, Tag.UNSURE, Tag.NSFW)[explicit]
    if tag is Tag.UNLIKELY:
        return Verdict(tag, drop=False)
    drop = (
        Class.MINOR in _best(scores[ages:subjects], AGES, 2)
        or _MINOR_WORDS.search(text) is not None
        or Class.ANIMAL in _best(scores[subjects:], SUBJECTS, 1)
    )
    return Verdict(tag, drop=drop)


def _best(scores: npt.NDArray[np.float32], prompts: tuple[Prompt, ...], count: int) -> list[Class]:
    order = np.argsort(-scores, kind="stable")
    return [prompts[int(i)].stands_for for i in order[:count]]
