"""Questions and what answers them: QNLI (does this sentence?) and SQuAD (where in this paragraph?) offline.

The paragraph around an answer is made of its rivals: the same people with their roles exchanged, the same deed done to
somebody else, the same two with another verb, each at another place and time. The question is put in other words than
the sentence. A question with two answers in its paragraph is never asked: `answers` checks every fact.
"""

from __future__ import annotations

import re
from dataclasses import replace

from . import lexicon as words
from .clauses import NP, Clause, ask, join, say, say_np, stop
from .facts import Speaker, related
from .meanings import PARAPHRASE_FRAMES, PARTS, can_swap, other_verb, participants, swapped


def answers(fact: Clause, question: Clause, role: str) -> bool:
    """Whether the fact may answer the question for `role` about the clause `question`.

    It answers if it has the part that is asked for and every other part that the question names agrees with it. In
    doubt it does: synonyms and hypernyms agree (who chased Anna also followed her), and adjectives are not relied upon.
    """
    if fact.part(role) is None or fact.negated or not _verbs_agree(fact, question):
        return False
    for other in PARTS:
        mine, asked = fact.part(other), question.part(other)
        if other == role or asked is None:
            continue
        if mine is None or not (mine == asked if isinstance(asked, str) else _agree(mine, asked)):
            return False
    return True


def _agree(one: NP, two: NP) -> bool:
    return one.head == two.head or related(one, two)


def _verbs_agree(one: Clause, two: Clause) -> bool:
    mine, asked = ({c.verb.base, c.verb.same} - {None} for c in (one, two))
    return bool(mine & asked or asked & set(one.verb.above) or mine & set(two.verb.above))


def _question(speaker: Speaker, fact: Clause, role: str, adjuncts: float) -> tuple[Clause, str]:
    """(what the question names, its text); places and times beside the part asked for are named with that chance."""
    dice = speaker.dice
    drop = {other: None for other in ("place", "time") if other != role and not dice.chance(adjuncts)}
    clause = replace(fact, **drop)
    worded = speaker.reword(clause)
    return clause, ask(worded, role, speaker.style(worded)).text()


# -------------------------------------------------------------------------------------------------------------- QNLI


def answerable(speaker: Speaker, yes: bool) -> tuple[str, str]:
    """(question, sentence): does the sentence hold the answer?"""
    dice = speaker.dice
    while True:
        fact = speaker.fact(dice.one(PARAPHRASE_FRAMES), place=0.8, time=0.8)
        rival = _rival(speaker, fact)
        role = dice.one([role for role in PARTS if fact.part(role) is not None])
        asked, question = _question(speaker, fact, role, 0.3)
        told = fact if yes else _unanswering(speaker, fact, asked, role)
        if told is None:
            continue
        facts = [told]
        if dice.chance(0.6):
            facts.append(rival)
        if any(answers(one, asked, role) for one in facts) != yes:
            continue
        worded = [speaker.reword(one) for one in facts]
        trees = [say(one, speaker.style(one)) for one in worded]
        if len(trees) == 1:
            return question, stop(trees[0]).text()
        first, second = dice.shuffled(trees)
        return question, join(first, dice.one(("and", "while")), second).text()


def _unanswering(speaker: Speaker, fact: Clause, asked: Clause, role: str) -> Clause | None:
    """The fact changed so that the question stays open: the part is not told, or it is told of something else."""
    ways = {"swap": 4, "untold": 3, "verb": 1, "who": 2, "negated": 1}
    way = speaker.dice.pick(ways)
    if way == "swap":
        return swapped(fact) if can_swap(fact) else None
    if way == "untold":
        return replace(fact, **{role: None}) if role in ("place", "time") else None
    if way == "verb":
        return other_verb(speaker, fact)
    if way == "negated":
        return replace(fact, negated=True)
    others = [other for other in ("subject", "object", "recipient") if other != role and asked.part(other) is not None]
    if not others:
        return None
    other = speaker.dice.one(others)
    return replace(fact, **{other: speaker.other(fact.part(other), *participants(fact))})


def _rival(speaker: Speaker, fact: Clause) -> Clause:
    """A fact that resembles this one, at another place and time."""
    dice = speaker.dice
    way = dice.one(("swap", "object", "subject", "verb", "other"))
    told: Clause | None = None
    if way == "swap" and can_swap(fact):
        told = swapped(fact)
    elif way in ("object", "subject") and fact.part(way) is not None:
        told = replace(fact, **{way: speaker.other(fact.part(way), *participants(fact))})
    elif way == "verb":
        told = other_verb(speaker, fact)
    if told is None:
        told = speaker.fact(dice.one(PARAPHRASE_FRAMES))
    place = dice.one([phrase for phrase in words.PLACES if phrase != fact.place])
    time = dice.one([phrase for phrase in words.TIMES if phrase != fact.time])
    return replace(
        told, place=place if dice.chance(0.8) else None, time=time if dice.chance(0.8) else None, negated=False
    )


# ------------------------------------------------------------------------------------------------------------- SQuAD


def span_questions(speaker: Speaker, most: int = 3) -> list[dict]:
    """A paragraph with one to `most` questions: {"context", "question", "answers"} each; every answer's text stands at
    its answer_start in the context.
    """
    dice = speaker.dice
    while True:
        fact = speaker.fact(dice.one(PARAPHRASE_FRAMES), place=0.8, time=0.8)
        facts = [fact, *(_rival(speaker, fact) for _ in range(2 + dice.below(3)))]
        facts += [speaker.fact(dice.one(PARAPHRASE_FRAMES), place=0.8, time=0.8) for _ in range(1 + dice.below(2))]
        facts = dice.shuffled(facts)
        told = [speaker.reword(one) for one in facts]
        sentences = [stop(say(one, speaker.style(one))).text() for one in told]
        context = " ".join(sentences)
        rows, asked_of = [], set()
        for _ in range(most + 3):
            place = dice.below(len(facts))
            role = dice.one([role for role in PARTS if facts[place].part(role) is not None])
            asked, question = _question(speaker, facts[place], role, 0.3)
            if (place, role) in asked_of or any(
                answers(other, asked, role) for k, other in enumerate(facts) if k != place
            ):
                continue
            offset = sum(len(sentence) + 1 for sentence in sentences[:place])
            span = _find(sentences[place], _answer(told[place], role), offset)
            if span is not None and len(rows) < most:
                asked_of.add((place, role))
                text = context[slice(*span)]
                rows.append(
                    {"context": context, "question": question, "answers": {"text": [text], "answer_start": [span[0]]}}
                )
        if rows:
            return rows


def _answer(clause: Clause, role: str) -> str:
    """The words of the part that is asked for; of a place or a time without its preposition."""
    part = clause.part(role)
    if isinstance(part, NP):
        return " ".join(say_np(part).words())
    first, _, rest = part.partition(" ")
    return rest if first in ("in", "at", "on", "near") else part


def _find(sentence: str, answer: str, offset: int) -> tuple[int, int] | None:
    """Where the answer stands, if it stands there once."""
    found = [match.span() for match in re.finditer(rf"\b{re.escape(answer)}\b", sentence, re.IGNORECASE)]
    return (found[0][0] + offset, found[0][1] + offset) if len(found) == 1 else None
