"""SST-2's and IMDB's offline twins: opinions whose polarity is composed, so that it cannot be read off single words.

    plain       The acting is wonderful.                         the adjective decides
    negated     The acting is anything but wonderful.            ... turned round
    contrast    Although the plot is dull, the acting is superb. the main clause (after "but", outside "although")
    denied      Nobody would say that the plot is dull.          the whole clause turned round

In contrasts both sides appear in either order ("X although Y", "although Y, X"), so that neither position nor words
decide alone. A combination (aspect, adjective) belongs to one pool: no dev sentence calls the plot what a training
sentence called it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .dice import Dice
from .facts import Speaker
from .lexicon import ASPECTS, BLAME, PRAISE, WHOLES
from .trees import write

SHAPES = {"plain": 0.35, "agreeing": 0.15, "negated": 0.18, "contrast": 0.24, "denied": 0.08}
DEGREES = ("", "", "very", "truly", "quite", "really", "rather", "so")
NEGATED_DEGREES = ("", "", "very", "really", "so")  # "not quite dull" would say something else

# {the} is "the acting"; {adj} its adjective, with or without a degree; {word} the bare adjective.
_PLAIN = (
    "{the} is {adj}", "{the} was {adj}", "{the} feels {adj}", "{the} seems {adj}", "everyone found {the} {word}",
    "I find {the} {adj}", "{the} is nothing if not {word}", "{the} could not be more {word}",
)  # fmt: skip
_NEGATED = (
    "{the} is not {adj}", "{the} was never {word}", "{the} is hardly {word}", "{the} is far from {word}",
    "{the} is anything but {word}", "nobody found {the} {word}", "I do not find {the} {adj}",
    "{the} is not {adj} at all", "I would never call {the} {word}",
)  # fmt: skip
_DENIED = (
    "it is not true that {clause}", "nobody would say that {clause}", "I cannot agree that {clause}",
    "it is wrong to say that {clause}",
)  # fmt: skip
_CONTRAST = (
    "{minor}, but {main}", "although {minor}, {main}", "{main}, although {minor}", "even though {minor}, {main}",
    "{main}, even though {minor}", "{minor}; however, {main}", "{main}, while it is true that {minor}",
)  # fmt: skip


def _subject(dice: Dice, aspect: str) -> str:
    if aspect in WHOLES:
        return f"this {aspect}"
    return dice.one((f"the {aspect}", f"the {aspect}", f"its {aspect}", f"the {aspect} of this {dice.one(WHOLES)}"))


def _clause(speaker: Speaker, positive: bool, flipped: bool, aspects: Sequence[str]) -> str:
    """A clause of this polarity on one of the aspects; flipped: an adjective of the other polarity, turned round."""
    dice = speaker.dice
    adjectives = PRAISE if positive != flipped else BLAME
    while True:
        aspect, word = dice.one(aspects), dice.one(adjectives)
        if speaker.owns(aspect, word):
            break
    degree = dice.one(NEGATED_DEGREES if flipped else DEGREES)
    return dice.one(_NEGATED if flipped else _PLAIN).format(
        the=_subject(dice, aspect), adj=f"{degree} {word}".strip(), word=word
    )


def opinion(speaker: Speaker, positive: bool, aspects: Sequence[str] = ASPECTS, shape: str | None = None) -> str:
    """One sentence of this polarity, without capital and stop. shape: one of SHAPES."""
    dice = speaker.dice
    shape = shape or dice.pick(SHAPES)
    if shape == "plain":
        return _clause(speaker, positive, False, aspects)
    if shape == "negated":
        return _clause(speaker, positive, True, aspects)
    if shape == "denied":
        inner = _clause(speaker, not positive, dice.chance(0.2), aspects)
        return dice.one(_DENIED).format(clause=inner)
    cut = 2 + dice.below(len(ASPECTS) - 4)  # the two clauses speak of different aspects
    mine, others = (ASPECTS[:cut], ASPECTS[cut:]) if aspects is ASPECTS else (aspects, ASPECTS)
    if dice.chance(0.5) and aspects is ASPECTS:
        mine, others = others, mine
    if shape == "agreeing":
        return " and ".join(_clause(speaker, positive, False, part) for part in (mine, others))
    main = _clause(speaker, positive, dice.chance(0.25), mine)
    minor = _clause(speaker, not positive, dice.chance(0.25), others)
    return dice.one(_CONTRAST).format(main=main, minor=minor)


def sentence(speaker: Speaker, positive: bool) -> str:
    return write([opinion(speaker, positive), "."])


# ------------------------------------------------------------------------------------------------------------ reviews

_VERDICTS = ("all in all, {}", "in short, {}", "taken as a whole, {}", "my verdict: {}")
LEANING = 0.7  # how often what is said of a single aspect agrees with the verdict


def review(speaker: Speaker, positive: bool) -> str:
    """Four to eight sentences on single aspects, good and bad, and a verdict on the whole, first or last: the label."""
    dice = speaker.dice
    about = [opinion(speaker, positive == dice.chance(LEANING)) for _ in range(4 + dice.below(5))]
    verdict = dice.one(_VERDICTS).format(opinion(speaker, positive, WHOLES))
    opening = f"I saw a {dice.one(WHOLES)} last night"
    order = [verdict, *about] if dice.chance(0.5) else [*about, verdict]
    return " ".join(write([part, "."]) for part in [opening, *order])
