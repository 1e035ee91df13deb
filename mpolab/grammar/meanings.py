"""The same meaning in other words, or another meaning in nearly the same words: MRPC, QQP and STS-B offline.

`near_miss` changes one thing in what is said (who did it to whom, which of them was old, where, when, whether) and
leaves the words alone wherever that is possible; both members of every pair, equivalent or not, then go through the
same synonyms, voices and orders. So words that differ mean little, and words that agree mean little too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import lexicon as words
from .clauses import NP, Clause, ask, join, say, stop
from .facts import STORY, Speaker
from .trees import Tree

PARTS = ("subject", "object", "recipient", "place", "time")
SCORED = ("subject", "verb", "object", "place", "time")
PARAPHRASE_FRAMES = ("person-person", "person-person", "animal-animal", "person-thing", "person-animal", "giving")


# ------------------------------------------------------------------------------------------------------- near-misses


def swapped(clause: Clause) -> Clause:
    """Subject and object exchanged (of a giving: subject and recipient)."""
    other = "recipient" if clause.recipient is not None else "object"
    return replace(clause, subject=clause.part(other), **{other: clause.subject})


def can_swap(clause: Clause) -> bool:
    other = clause.recipient or clause.object
    if other is None or clause.subject.is_person != other.is_person:
        return False
    return clause.subject.noun is None or other.noun is None or clause.subject.noun.kind == other.noun.kind


def other_verb(speaker: Speaker, clause: Clause) -> Clause | None:
    """Another verb for the same participants, neither a synonym nor a hypernym; None where there is none."""
    verb = clause.verb
    fits = [
        v
        for v in words.VERBS
        if v.frame == verb.frame
        and v.subjects == verb.subjects
        and v.objects == verb.objects
        and not {v.base, v.same} & {verb.base, verb.same, *verb.above}
        and not {verb.base, verb.same} & set(v.above)
    ]
    return replace(clause, verb=speaker.dice.one(fits)) if fits else None


def traded_adjectives(clause: Clause) -> Clause | None:
    """The adjectives of subject and object exchanged; None where nothing changes or they would not fit."""
    one, two = clause.subject, clause.object
    if one is None or two is None or one.noun is None or two.noun is None or one.adjectives == two.adjectives:
        return None
    if one.noun.kind != two.noun.kind:
        return None
    return replace(
        clause,
        subject=replace(one, adjectives=two.adjectives),
        object=replace(two, adjectives=one.adjectives),
    )


def near_miss(speaker: Speaker, clause: Clause, protect: Sequence[str] = ()) -> Clause:
    """Another meaning, nearly the same words. protect: fields of the clause that stay as they are."""
    dice = speaker.dice
    while True:
        way = dice.pick({"swap": 6, "trade": 3, "negate": 1, "verb": 1, "who": 1, "place": 1, "time": 1})
        found = None
        if way == "swap" and can_swap(clause):
            found = swapped(clause)
        elif way == "trade":
            found = traded_adjectives(clause)
        elif way == "negate":
            found = replace(clause, negated=not clause.negated)
        elif way == "verb":
            found = other_verb(speaker, clause)
        elif way == "who":
            roles = [role for role in ("subject", "object", "recipient") if clause.part(role) and role not in protect]
            if roles:
                role = dice.one(roles)
                found = replace(clause, **{role: speaker.other(clause.part(role), *participants(clause))})
        elif way in ("place", "time") and clause.part(way) is not None and way not in protect:
            choices = words.PLACES if way == "place" else words.TIMES
            found = replace(clause, **{way: dice.one([phrase for phrase in choices if phrase != clause.part(way)])})
        if found is not None and not any(getattr(found, role) != getattr(clause, role) for role in protect):
            return found


def participants(clause: Clause) -> list[str]:
    return [np.head for role in ("subject", "object", "recipient") if (np := clause.part(role)) is not None]


# -------------------------------------------------------------------------------------------------------- paraphrases


def _said(speaker: Speaker, facts: Sequence[Clause]) -> str:
    """One or two facts as a sentence, in words and an order of the speaker's choice."""
    trees: list[Tree] = []
    for fact in facts:
        worded = speaker.reword(fact)
        trees.append(say(worded, speaker.style(worded)))
    if len(trees) == 1:
        return stop(trees[0]).text()
    first, second = speaker.dice.shuffled(trees)
    return join(first, speaker.dice.one(("and", "and", "while")), second).text()


def paraphrase(speaker: Speaker, same: bool) -> tuple[str, str]:
    """MRPC: two sentences that say the same, or nearly."""
    dice = speaker.dice
    while True:
        facts = [speaker.fact(dice.one(PARAPHRASE_FRAMES), negated=0.2)]
        if dice.chance(0.35):
            facts.append(speaker.fact(dice.one(PARAPHRASE_FRAMES), place=0.3, time=0.3, negated=0.2))
            if set(participants(facts[0])) & set(participants(facts[1])):
                continue
        told = list(facts)
        if not same:
            crossed = _crossed(facts) if len(facts) == 2 and dice.chance(0.5) else None
            if crossed is not None:
                told = crossed
            else:
                place = dice.below(len(facts))
                told[place] = near_miss(speaker, facts[place])
        one, two = _said(speaker, facts), _said(speaker, told)
        if one != two:
            return one, two


def _crossed(facts: Sequence[Clause]) -> list[Clause] | None:
    """ "Anna helped the judge and John called the nurse" -> "John helped the judge and Anna called the nurse"."""
    one, two = facts
    if one.verb.subjects != two.verb.subjects or one.verb.base == two.verb.base:
        return None
    return [replace(one, subject=two.subject), replace(two, subject=one.subject)]


# ---------------------------------------------------------------------------------------------------------- questions


def roles_asked(clause: Clause) -> list[str | None]:
    """What a question about this clause can ask for."""
    present = [role for role in PARTS if clause.part(role) is not None]
    return [*present, "reason", None]


def _asked(speaker: Speaker, clause: Clause, role: str | None) -> str:
    worded = speaker.reword(clause)
    return ask(worded, role, speaker.style(worded)).text()


def duplicate(speaker: Speaker, same: bool) -> tuple[str, str]:
    """QQP: two questions that ask the same, or nearly."""
    dice = speaker.dice
    while True:
        clause = speaker.fact(dice.one(PARAPHRASE_FRAMES))
        role = dice.one(roles_asked(clause))
        other, other_role = clause, role
        if not same:
            if role in ("subject", "object") and can_swap(clause) and clause.recipient is None and dice.chance(0.6):
                # Who helped the judge?  Who did the judge help?
                other, other_role = swapped(clause), "object" if role == "subject" else "subject"
            elif dice.chance(0.2):
                other_role = dice.one([r for r in roles_asked(clause) if r != role])
            else:
                # The part asked for is not said, so it must not be what changes; and "did she help" asks the same as
                # "did she not help".
                other = near_miss(speaker, clause, ["negated"] if role is None else [role] if role in PARTS else [])
        one, two = _asked(speaker, clause, role), _asked(speaker, other, other_role)
        if one != two:
            return one, two


# --------------------------------------------------------------------------------------------------------- similarity


def similar(speaker: Speaker, score: float) -> tuple[str, str]:
    """STS-B: two sentences of five parts, whose score is the number of parts that are the same.

    A subject or object replaced by a sibling (poet, novelist) counts a half. Where neither counts they may have changed
    places, so that all words are shared. score: 0, 0.5, ..., 5.
    """
    dice = speaker.dice
    while True:
        fact = speaker.fact(dice.one(STORY), place=1.0, time=1.0)
        roles = dice.shuffled(SCORED)
        halves = [role for role in roles if role in ("subject", "object") and _siblings(fact.part(role))]
        wanted = int(2 * score) % 2
        if score <= 4 and score >= 1 and dice.chance(0.3):
            wanted += 2
        if len(halves) < wanted or wanted > 2 * score:
            continue
        halves = halves[:wanted]
        kept = [role for role in roles if role not in halves][: int(score - wanted / 2)]
        told = fact
        gone = [role for role in SCORED if role not in kept and role not in halves]
        if len(kept) + len(halves) / 2 != score:
            continue
        for role in halves:
            told = replace(told, **{role: replace(told.part(role), noun=dice.one(_siblings(fact.part(role))))})
        exchange = {"subject", "object"} <= set(gone) and can_swap(fact) and dice.chance(0.5)
        if exchange and fact.object.noun in _siblings(fact.subject):
            continue  # each would count a half
        if exchange:
            told = swapped(told)
        for role in gone:
            changed = _changed(speaker, fact, told, role, exchange)
            if changed is None:
                break
            told = changed
        else:
            one, two = _said(speaker, [fact]), _said(speaker, [told])
            if one != two:
                return one, two


def _siblings(np: NP) -> list[words.Noun]:
    """Other nouns right below the same hypernym, where that is not as wide as "person"."""
    if np.noun is None or np.noun.above[0] in words.KINDS:
        return []
    return [words.NOUNS[word] for word in words.below(np.noun.above[0]) if word != np.noun.word]


def _changed(speaker: Speaker, fact: Clause, told: Clause, role: str, exchange: bool) -> Clause | None:
    """`told` with another filler of this part, unrelated to the old one."""
    dice = speaker.dice
    if role == "verb":
        return other_verb(speaker, told)
    if role in ("place", "time"):
        choices = words.PLACES if role == "place" else words.TIMES
        return replace(told, **{role: dice.one([phrase for phrase in choices if phrase != fact.part(role)])})
    if exchange:
        return told
    while True:
        new = speaker.other(fact.part(role), *participants(fact), *participants(told))
        if new.noun is None or new.noun.word not in [noun.word for noun in _siblings(fact.part(role))]:
            new = replace(new, adjectives=())
            return replace(told, **{role: speaker.described(new)})
