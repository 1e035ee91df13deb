"""Something to say: a sampler of clauses whose words a split owns.

The productions' odds stand in ODDS. What keeps the splits apart is `Speaker.core`: the bare words of a clause (who,
did what, to whom, without order) decide by their checksum to which pool the clause belongs, and a speaker says only
what belongs to its own.
"""

from __future__ import annotations

from dataclasses import replace

from . import lexicon as words
from .clauses import NP, Clause, Style, with_synonym
from .dice import Dice, pool_of
from .lexicon import Verb

ODDS = {
    "name": 0.25,  # a person is a name rather than a noun
    "plural": 0.25,
    "adjective": 0.4,
    "synonym": 0.5,
    "passive": 0.4,
    "front": 0.35,
}
FRAMES = {
    "person-person": ("transitive", "person", "person"),
    "person-thing": ("transitive", "person", "thing"),
    "person-animal": ("transitive", "person", "animal"),
    "animal-animal": ("transitive", "animal", "animal"),
    "person": ("intransitive", "person", None),
    "animal": ("intransitive", "animal", None),
    "giving": ("ditransitive", "person", "thing"),
}
STORY = ("person-person", "person-person", "person-thing")
ALL_FRAMES = tuple(FRAMES)


def _kind(word: str) -> str:
    """The kind at the top of a noun's hypernyms."""
    return words.NOUNS[word].kind


def _verbs_table() -> dict[str, tuple[Verb, ...]]:
    table = {}
    for name, (frame, subject, taken) in FRAMES.items():
        found = words.verbs_of((frame,), subject)
        table[name] = tuple(v for v in found if taken is None or any(_kind(kind) == taken for kind in v.objects))
    return table


VERBS_BY_FRAME = _verbs_table()


class Speaker:
    """Draws clauses from `dice` that belong to `pool`.

    spare: what was made on the way to something else, for whoever made it.
    """

    def __init__(self, dice: Dice, pool: str):
        self.dice, self.pool = dice, pool
        self.spare: dict[str, list[list[str]]] = {}

    def owns(self, *key: str) -> bool:
        """Whether what these words say together, in any order, belongs to this speaker's pool."""
        return pool_of("|".join(sorted(key))) == self.pool

    def core(self, frame: str, names: bool = True) -> Clause:
        """A bare clause of this speaker's pool: verb and participants, in the past.

        frame: one of FRAMES. names: people may have names.
        """
        dice = self.dice
        while True:
            verb = dice.one(VERBS_BY_FRAME[frame])
            subject = self.participant(verb.subjects, names)
            taken, key = None, [subject.head, min(verb.base, verb.same or verb.base)]
            if verb.frame != "intransitive":
                taken = self.participant(verb.objects, names)
                if taken.head == subject.head or related(subject, taken):
                    continue
                key.append(taken.head)
            if not self.owns(*key):
                continue
            clause = Clause(verb, subject, taken)
            if verb.frame == "ditransitive":
                recipient = self.participant(("person",), names)
                if recipient.head == subject.head or related(subject, recipient):
                    continue
                clause = replace(clause, recipient=recipient)
            return clause

    def participant(self, kinds: tuple[str, ...], names: bool = True) -> NP:
        """A name, or "the" with a noun of one of these kinds."""
        if names and kinds == ("person",) and self.dice.chance(ODDS["name"]):
            return NP(word=self.dice.one(words.NAMES))
        return NP(self.dice.one(words.nouns_of(kinds)))

    def other(self, np: NP, *avoid: str) -> NP:
        """Another participant of the same kind: a name for a name, a noun for a noun."""
        while True:
            if np.noun is None:
                found = replace(np, word=self.dice.one(words.NAMES))
            else:
                found = replace(np, noun=self.dice.one(words.nouns_of((np.noun.kind,))))
            if found.head != np.head and found.head not in avoid and not related(np, found):
                return found

    def described(self, np: NP) -> NP:
        """The noun phrase with an adjective, by the odds."""
        if np.noun is None or not self.dice.chance(ODDS["adjective"]):
            return np
        return replace(np, adjectives=(self.dice.one(words.ADJECTIVES_OF[np.noun.kind]),))

    def fact(self, frame: str, place: float = 0.6, time: float = 0.6, negated: float = 0.0) -> Clause:
        """A core with adjectives, plurals, a place and a time; the floats are probabilities."""
        dice, clause = self.dice, self.core(frame)
        changes = {}
        for role in ("subject", "object", "recipient"):
            np = clause.part(role)
            if np is not None:
                np = self.described(np)
                if np.noun is not None and dice.chance(ODDS["plural"]):
                    np = replace(np, plural=True)
                changes[role] = np
        if dice.chance(place):
            changes["place"] = dice.one(words.PLACES)
        if dice.chance(time):
            changes["time"] = dice.one(words.TIMES)
        return replace(clause, negated=dice.chance(negated), **changes)

    def style(self, clause: Clause) -> Style:
        """One of the ways to say this clause, by the odds."""
        dice = self.dice
        passive = clause.verb.frame == "transitive" and dice.chance(ODDS["passive"])
        front = dice.one([role for role in ("place", "time") if clause.part(role)] or [None])
        return Style(
            passive=passive,
            front=front if dice.chance(ODDS["front"]) else None,
            dative=dice.one(("to", "double")),
            long=dice.chance(0.3),
        )

    def reword(self, clause: Clause) -> Clause:
        """The same meaning with synonyms, each by the odds."""
        if self.dice.chance(ODDS["synonym"]):
            clause = with_synonym(clause)
        changes = {}
        for role in ("subject", "object", "recipient"):
            np = clause.part(role)
            if np is not None and np.adjectives and self.dice.chance(ODDS["synonym"]):
                changes[role] = replace(
                    np, adjectives=tuple(words.SAME_ADJECTIVE.get(word, word) for word in np.adjectives)
                )
        return replace(clause, **changes) if changes else clause


def related(one: NP, other: NP) -> bool:
    """Whether one noun is a hypernym of the other, so that a change of word may change nothing."""
    if one.noun is None or other.noun is None:
        return False
    return one.noun.word in other.noun.above or other.noun.word in one.noun.above
