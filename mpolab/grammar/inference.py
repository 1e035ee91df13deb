"""MNLI, SNLI, RTE offline: does one sentence follow from another? The labels are a small logic's, not a guess.

A statement is a quantifier over two concepts, who and what they did:

    every A B,  at least k A B,  c B (a name, or "the doctor"),  each with B or its negation
    "no A B" is every A not B;  "not every A B" is some A not B

Concepts are ordered: a wet poet is a poet is a writer; sprinting in London is running in England. From the order alone
follow the labels (monotonicity): "every" is downward entailing in A and upward in B, "some" upward in both, a negation
turns B round. Existence is presupposed ("every poet slept" implies that there are poets). `label` is complete for this
fragment: the tests check it against enumerated models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from . import lexicon as words
from .clauses import BE, NP, Clause, Style, make_verb, say, stop
from .facts import Speaker

LABELS = ("entailment", "neutral", "contradiction")

# Frames for the people's genre and for the animals' (the mismatched sets).
PEOPLE = ("person", "person-person", "person-thing")
ANIMALS = ("animal", "animal-animal", "person-animal")


@dataclass(frozen=True, slots=True)
class Thing:
    """A concept of individuals: a noun, perhaps with an adjective ("" for none)."""

    noun: str
    adjective: str = ""

    def within(self, other: Thing) -> bool:
        """Whether everything that is this is also the other."""
        noun = self.noun == other.noun or other.noun in words.NOUNS[self.noun].above
        return noun and other.adjective in ("", self.adjective)


@dataclass(frozen=True, slots=True)
class Deed:
    """A concept of what somebody did: a verb, perhaps with an object (some individual of that concept) and a place; or,
    with the verb "be", an adjective that they were.
    """

    verb: str
    object: Thing | None = None
    place: str = ""
    quality: str = ""

    def within(self, other: Deed) -> bool:
        if self.quality or other.quality:
            return self.quality == other.quality
        verb = self.verb == other.verb or other.verb in hypernyms(self.verb)
        thing = self.object is None if other.object is None else (self.object and self.object.within(other.object))
        return bool(verb and thing and other.place in ("", self.place, words.COUNTRY.get(self.place)))

    def excludes(self, other: Deed) -> bool:
        """Whether nobody can do both."""
        return bool(self.quality and other.quality and words.disjoint(self.quality, other.quality))


@dataclass(frozen=True, slots=True)
class Statement:
    """quantifier: "every", "some" (at least `count`), or "the" (`name`, or else the one `who`)."""

    quantifier: str
    who: Thing
    deed: Deed
    positive: bool = True
    count: int = 1
    name: str = ""


def hypernyms(verb: str) -> tuple[str, ...]:
    return _ABOVE.get(verb, ())


_ABOVE = {verb.base: verb.above for verb in words.VERBS if verb.above}


@cache
def hyponyms(verb: str) -> tuple[str, ...]:
    return tuple(base for base, above in _ABOVE.items() if verb in above)


# --------------------------------------------------------------------------------------------------------- the logic


def _follows(one: Statement, two: Statement) -> bool:
    """Whether the predicate of `two` (with its polarity) holds of whoever that of `one` holds of."""
    if one.positive:
        return one.deed.within(two.deed) if two.positive else one.deed.excludes(two.deed)
    return not two.positive and two.deed.within(one.deed)


def entails(premise: Statement, hypothesis: Statement) -> bool:
    """By monotonicity; the quantifiers' restrictions are presupposed not to be empty."""
    p, h = premise, hypothesis
    if not _follows(p, h):
        return False
    if h.quantifier == "every":
        return p.quantifier == "every" and h.who.within(p.who)
    if h.quantifier == "the":
        if p.quantifier == "the":
            return p.name == h.name and p.who.within(h.who)
        return p.quantifier == "every" and h.who.within(p.who)
    if p.quantifier == "every":
        return h.count == 1 and (p.who.within(h.who) or h.who.within(p.who))
    return p.who.within(h.who) and h.count <= (p.count if p.quantifier == "some" else 1)


def denial(statement: Statement) -> Statement:
    """The negation. Of "at least k", k > 1, it is "no": the strongest that this language says, and all that follows
    from any of its statements is that or nothing.
    """
    turned = {"every": "some", "some": "every", "the": "the"}[statement.quantifier]
    return replace(statement, quantifier=turned, positive=not statement.positive, count=1)


def label(premise: Statement, hypothesis: Statement) -> str:
    """One of LABELS."""
    if entails(premise, hypothesis):
        return "entailment"
    return "contradiction" if entails(premise, denial(hypothesis)) else "neutral"


def clear(premise: Statement, hypothesis: Statement) -> bool:
    """Whether no reader can quarrel with the logic: no two definite descriptions that may be of two people, and no
    quality that is both said of somebody and part of who they are.
    """
    p, h = premise, hypothesis
    if p.quantifier == h.quantifier == "the" and (p.name != h.name or not p.who.within(h.who)):
        return False
    said = {_dimension(s.deed.quality) for s in (p, h)}
    return not said & {_dimension(s.who.adjective) for s in (p, h)} - {""}


@cache
def _dimension(adjective: str) -> str:
    """Adjectives of one dimension may exclude each other: all colours are one."""
    if adjective in words.COLOURS:
        return "colour"
    return next((pair[0] for pair in words.OPPOSITES if adjective in pair), adjective)


# ---------------------------------------------------------------------------------------------- sampling and editing


def statement(speaker: Speaker, genre: tuple[str, ...], quantifiers: dict[str, float]) -> Statement:
    """A statement of the speaker's pool."""
    dice = speaker.dice
    while True:
        core = speaker.core(dice.one(genre), names=False)
        who = core.subject.noun
        quantifier = dice.pick(quantifiers)
        adjective = dice.one(words.INTERSECTIVE[who.kind]) if dice.chance(0.4) else ""
        taken = None
        if core.object is not None:
            kind = core.object.noun.kind
            taken = Thing(core.object.noun.word, dice.one(words.INTERSECTIVE[kind]) if dice.chance(0.4) else "")
        deed = Deed(core.verb.base, taken, dice.one(words.PLACES) if dice.chance(0.5) else "")
        if dice.chance(0.15):
            deed = Deed("be", quality=dice.one(words.INTERSECTIVE[who.kind]))
        found = Statement(quantifier, Thing(who.word, adjective), deed, dice.chance(0.65))
        if quantifier == "some" and found.positive and dice.chance(0.25):
            found = replace(found, count=2 + dice.below(2))
        if quantifier == "the" and who.kind == "person" and dice.chance(0.4):
            found = replace(found, who=Thing("person"), name=dice.one(words.NAMES))
        if clear(found, found):
            return found


def edited(speaker: Speaker, said: Statement) -> Statement:
    """The statement with one change, which may or may not follow."""
    dice = speaker.dice
    way = dice.one(("who", "deed", "deed", "quantifier", "polarity"))
    if way == "polarity":
        return replace(said, positive=not said.positive, count=1)
    if way == "quantifier":
        if said.name:
            return replace(said, quantifier="some", name="", who=Thing("person"))
        turned = dice.one(("every", "some", "the"))
        count = 1 + dice.below(3) if turned == "some" and said.positive else 1
        return replace(said, quantifier=turned, count=count)
    if way == "who":
        return said if said.name else replace(said, who=_moved(speaker, said.who))
    deed = said.deed
    if deed.quality:
        return replace(said, deed=replace(deed, quality=dice.one(words.INTERSECTIVE[words.NOUNS[said.who.noun].kind])))
    part = dice.one(("verb", "object", "place"))
    if part == "verb":
        near = (*hypernyms(deed.verb), *hyponyms(deed.verb))
        frame = "transitive" if deed.object else "intransitive"
        near = [v.base for v in words.VERBS if v.base in near and v.frame == frame and _fits(v, said)]
        return replace(said, deed=replace(deed, verb=dice.one(near))) if near else said
    if part == "object":
        return said if deed.object is None else replace(said, deed=replace(deed, object=_moved(speaker, deed.object)))
    if deed.place:
        country = words.COUNTRY.get(deed.place)
        cities = [city for city, where in words.COUNTRY.items() if where == deed.place]
        place = country if country and dice.chance(0.5) else dice.one(["", *cities])
    else:
        place = dice.one(words.PLACES)
    return replace(said, deed=replace(deed, place=place))


def _fits(verb: words.Verb, said: Statement) -> bool:
    kind = words.NOUNS[said.who.noun].kind
    return kind in verb.subjects and (said.deed.object is None or _within(said.deed.object.noun, verb.objects))


def _within(noun: str, kinds: tuple[str, ...]) -> bool:
    return noun in kinds or any(above in kinds for above in words.NOUNS[noun].above)


def _moved(speaker: Speaker, thing: Thing) -> Thing:
    """The concept made wider or narrower, or moved aside."""
    dice = speaker.dice
    noun = words.NOUNS[thing.noun]
    way = dice.one(("up", "down", "adjective", "adjective", "aside"))
    if way == "up" and noun.above:
        return replace(thing, noun=dice.one(noun.above))
    if way == "down" and (below := words.below(noun.word)):
        return replace(thing, noun=dice.one(below))
    if way == "adjective":
        if thing.adjective and dice.chance(0.7):
            return replace(thing, adjective="")
        return replace(thing, adjective=dice.one(words.INTERSECTIVE[noun.kind]))
    if way == "aside" and noun.above and len(siblings := words.below(noun.above[0])) > 1:
        return replace(thing, noun=dice.one(siblings))
    return thing


# ------------------------------------------------------------------------------------------------------------ wording


def worded(speaker: Speaker, said: Statement, tense: str = "past") -> str:
    """One of the ways to say it."""
    dice = speaker.dice
    noun = words.NOUNS[said.who.noun]
    plural, negated, negative_object = False, False, "a"
    if said.quantifier == "the":
        det, negated = "the", not said.positive
    elif said.quantifier == "every":
        det = dice.one(("every", "each", "all")) if said.positive else "no"
        plural = det == "all" or (det == "no" and dice.chance(0.4))
    elif said.positive:
        det = {1: dice.one(("a", "some", "at least one")), 2: "at least two", 3: "at least three"}[said.count]
        plural = said.count > 1
    else:
        det = dice.one(("not every", "not all", "some", "at least one"))
        plural, negated = det == "not all", not det.startswith("not")
    adjectives = (said.who.adjective,) if said.who.adjective else ()
    subject = NP(word=said.name) if said.name else NP(noun, det=det, plural=plural, adjectives=adjectives)
    if negated:
        negative_object = "any"  # "a" could be read as "a certain"
    if said.deed.quality:
        return stop(say(Clause(BE, subject, complement=said.deed.quality, negated=negated, tense=tense))).text()
    taken = said.deed.object
    if taken is not None:
        more = (taken.adjective,) if taken.adjective else ()
        taken = NP(words.NOUNS[taken.noun], det=negative_object, adjectives=more)
    clause = Clause(
        make_verb(said.deed.verb),
        subject,
        taken,
        tense=tense,
        aspect="progressive" if tense == "present" else "simple",
        negated=negated,
        place=said.deed.place or None,
    )
    front = "place" if said.deed.place and dice.chance(0.2) else None
    return stop(say(clause, Style(front=front))).text()


MNLI_QUANTIFIERS = {"every": 0.4, "some": 0.35, "the": 0.25}
SNLI_QUANTIFIERS = {"some": 0.6, "the": 0.4}


def statements(speaker: Speaker, wanted: str, genre=PEOPLE, quantifiers=None) -> tuple[Statement, Statement]:
    """(premise, hypothesis) with this label."""
    dice = speaker.dice
    quantifiers = quantifiers or MNLI_QUANTIFIERS
    while True:
        premise = statement(speaker, genre, quantifiers)
        for _ in range(12):
            hypothesis = premise
            if wanted == "contradiction" and dice.chance(0.85):
                hypothesis = replace(premise, positive=not premise.positive, count=1)
            for _ in range(1 + dice.below(3)):
                hypothesis = edited(speaker, hypothesis)
            if hypothesis != premise and label(premise, hypothesis) == wanted:
                if clear(premise, hypothesis) and clear(hypothesis, hypothesis):
                    return premise, hypothesis


def pair(
    speaker: Speaker, wanted: str, genre: tuple[str, ...] = PEOPLE, quantifiers=None, tense: str = "past"
) -> tuple[str, str]:
    """MNLI and SNLI (quantifiers of captions, present tense): a premise and a hypothesis."""
    premise, hypothesis = statements(speaker, wanted, genre, quantifiers)
    return worded(speaker, premise, tense), worded(speaker, hypothesis, tense)


def passage(speaker: Speaker, follows: bool) -> tuple[str, str]:
    """RTE: several sentences, one of which decides; not entailed may be open or excluded."""
    dice = speaker.dice
    premise, hypothesis = statements(speaker, "entailment" if follows else dice.one(LABELS[1:]))
    told = [premise]
    for _ in range(1 + dice.below(2)):
        while True:
            other = statement(speaker, PEOPLE, MNLI_QUANTIFIERS)
            if other.deed.verb not in (premise.deed.verb, hypothesis.deed.verb) and other.deed.verb != "be":
                if not set(hypernyms(other.deed.verb)) & {premise.deed.verb, hypothesis.deed.verb}:
                    break
        told.append(other)
    return " ".join(worded(speaker, one) for one in dice.shuffled(told)), worded(speaker, hypothesis)
