"""Sentences with gold parse features, for probing: what do a model's hidden states know of a sentence?

The ten tasks are those of SentEval's probing suite (Conneau et al., 2018), with the labels read off our own derivation
rather than off a parser's guess: surface (length, word content), syntax (tree depth, top constituents, bigram shift)
and meaning (tense, number of subject and object, odd man out, inverted coordination).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from . import lexicon as words
from .acceptability import distracted
from .clauses import Clause, join, say, stop, subordinate
from .facts import ALL_FRAMES, Speaker
from .trees import Tree, leaf, node, write

CONTENT = ("doctor", "lawyer", "teacher", "farmer", "soldier", "nurse", "pilot", "sailor", "judge", "guard", "dog",
           "cat", "horse", "lion", "wolf", "snake", "letter", "ring", "clock", "mirror")  # fmt: skip
LENGTHS = ("up to 6", "7-9", "10-12", "13-15", "16-18", "19 and more")
DEPTHS = ("up to 4", "5", "6", "7", "8 and more")
TOPS = ("NP VP .", "PP , NP VP .", "ADVP , NP VP .", "SBAR , NP VP .", "S , CC S .")

PROBES: dict[str, tuple[str, ...]] = {
    "sentence-length": LENGTHS,
    "word-content": CONTENT,
    "tree-depth": DEPTHS,
    "top-constituents": TOPS,
    "bigram-shift": ("inverted", "original"),
    "tense": ("past", "present"),
    "subject-number": ("singular", "plural"),
    "object-number": ("singular", "plural"),
    "odd-man-out": ("changed", "original"),
    "coordination-inversion": ("inverted", "original"),
}
"""Every probing task with its labels in the order of their numbers. Lengths count words without punctuation."""

_OPENINGS = ("suddenly", "yesterday", "finally", "luckily", "sometimes", "slowly", "secretly")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A sentence with its tree and its main clause (of a coordination the first)."""

    tree: Tree
    main: Clause


def rich_clause(speaker: Speaker, tense: str | None = None) -> Clause:
    """A clause with noun phrases that branch."""
    dice = speaker.dice
    clause = speaker.fact(dice.one(ALL_FRAMES), place=0.4, time=0.3, negated=0.15)
    changes: dict = {"tense": tense or dice.one(("past", "present"))}
    changes["aspect"] = dice.one(("simple", "simple", "progressive", "perfect"))
    if changes["tense"] == "present":
        changes["time"] = None
    for role in ("subject", "object"):
        np = clause.part(role)
        if np is None or np.noun is None:
            continue
        if dice.chance(0.25):
            changes[role] = distracted(speaker, np)
        elif dice.chance(0.1):
            changes[role] = replace(np, also=speaker.other(np))
    return replace(clause, **changes)


def parsed(speaker: Speaker, top: str | None = None) -> Parsed:
    """A sentence of one of five shapes; top: one of TOPS, drawn otherwise."""
    dice = speaker.dice
    top = top or dice.pick({TOPS[0]: 0.4, TOPS[1]: 0.15, TOPS[2]: 0.15, TOPS[3]: 0.15, TOPS[4]: 0.15})
    main = rich_clause(speaker)
    style = replace(speaker.style(main), front=None)
    if top == "PP , NP VP .":
        main = replace(main, place=main.place or dice.one(words.PLACES))
        tree = stop(say(main, replace(style, front="place")))
    elif top == "ADVP , NP VP .":
        tree = stop(say(main, style))
        opening = node("ADVP", leaf("RB", dice.one(_OPENINGS)))
        tree = node("S", opening, leaf(",", ","), *tree.parts)
    elif top == "SBAR , NP VP .":
        inner = say(rich_clause(speaker))
        tree = subordinate(dice.one(("although", "because", "when", "before")), inner, say(main, style), front=True)
    elif top == "S , CC S .":
        tree = join(say(main, style), dice.one(("and", "but")), say(rich_clause(speaker)))
    elif dice.chance(0.25):
        inner = say(rich_clause(speaker))
        tree = subordinate(dice.one(("although", "because", "when", "before")), inner, say(main, style), front=False)
    else:
        tree = stop(say(main, style))
    return Parsed(tree, main)


# ---------------------------------------------------------------------------- features that any sentence has


def length(found: Parsed) -> int:
    count = sum(word[0].isalnum() for word in found.tree.words())
    return min(max(count - 4, 0) // 3, len(LENGTHS) - 1)


def depth(found: Parsed) -> int:
    return min(max(found.tree.depth() - 4, 0), len(DEPTHS) - 1)


def top(found: Parsed) -> int:
    return TOPS.index(found.tree.constituents())


def content(found: Parsed) -> int | None:
    """The one word of CONTENT that the sentence holds; None for none or several."""
    said = [CONTENT.index(base) for word in found.tree.words() if (base := _BASE.get(word.lower(), word)) in CONTENT]
    return said[0] if len(said) == 1 else None


_BASE = {words.NOUNS[word].plural: word for word in CONTENT}


def tense(found: Parsed) -> int:
    return PROBES["tense"].index(found.main.tense)


def subject_number(found: Parsed) -> int:
    """Of the agent, as the grammar knows it, also where the passive makes it the last one named."""
    return int(found.main.subject.is_plural)


def object_number(found: Parsed) -> int | None:
    return None if found.main.object is None else int(found.main.object.is_plural)


FEATURES: dict[str, Callable[[Parsed], int | None]] = {
    "sentence-length": length,
    "word-content": content,
    "tree-depth": depth,
    "top-constituents": top,
    "tense": tense,
    "subject-number": subject_number,
    "object-number": object_number,
}


def features(speaker: Speaker) -> dict:
    """{"text", "tree" (bracketed), "features": {probe: label or None}} of one sentence."""
    found = parsed(speaker)
    return {
        "text": found.tree.text(),
        "tree": found.tree.bracketed(),
        "features": {name: read(found) for name, read in FEATURES.items()},
    }


# -------------------------------------------------------------------------------- features of a damaged sentence


def _shifted(speaker: Speaker, original: bool) -> str:
    """Two neighbouring words exchanged, or not."""
    said = parsed(speaker).tree.words()
    places = [i for i in range(len(said) - 2) if said[i][0].isalnum() and said[i + 1][0].isalnum()]
    if not original:
        place = speaker.dice.one(places)
        said[place], said[place + 1] = said[place + 1], said[place]
    return write(said)


def _odd(speaker: Speaker, original: bool) -> str:
    """The object replaced by something of another kind, or not: the judge employed the banana."""
    while True:
        found = parsed(speaker)
        taken = found.main.object
        if taken is None or taken.noun is None or taken.also is not None or taken.adjectives:
            continue
        said = found.tree.words()
        old = taken.noun.plural if taken.plural else taken.noun.word
        if said.count(old) == 1:
            break
    if not original:
        kind = {"person": "thing", "thing": "person", "animal": "thing"}[taken.noun.kind]
        noun = speaker.dice.one(words.nouns_of((kind,)))
        said[said.index(old)] = noun.plural if taken.plural else noun.word
    return write(said)


_SECOND = (
    "{pro} {past} {it} at once", "{pro} never saw {it} again", "{pro} soon forgot about {it}",
    "then {pro} ran away with {it}", "{pro} later told everybody about {it}", "so {pro} felt sorry for {it}",
    "{pro} has been proud of {it} ever since",
)  # fmt: skip


def _coordinated(speaker: Speaker, original: bool) -> str:
    """Two clauses joined by "and", the second with pronouns for what the first names; inverted: the second first."""
    dice = speaker.dice
    while True:
        clause = speaker.fact(dice.one(("person-thing", "person-animal")), time=0.3)
        if not clause.subject.plural:
            break
    pronoun = "he" if clause.subject.word in words.HE else "she"
    if clause.subject.noun is not None:
        pronoun = words.GENDER.get(clause.subject.noun.word) or dice.one(("he", "she"))
    first = say(clause).text()
    first = first if clause.subject.noun is None else first[0].lower() + first[1:]
    it = "them" if clause.object.is_plural else "it"
    second = dice.one(_SECOND).format(pro=pronoun, it=it, past=dice.one(("sold", "hid", "examined", "described")))
    one, two = (first, second) if original else (second, first)
    return write([f"{one}, and {two}", "."])


DAMAGED: dict[str, Callable[[Speaker, bool], str]] = {
    "bigram-shift": _shifted,
    "odd-man-out": _odd,
    "coordination-inversion": _coordinated,
}


def probe(speaker: Speaker, name: str, wanted: int) -> str:
    """A sentence with this label of the probing task."""
    if name in DAMAGED:
        return DAMAGED[name](speaker, bool(wanted))
    spare = speaker.spare.setdefault(name, [[] for _ in PROBES[name]])
    while not spare[wanted]:
        found = parsed(speaker, TOPS[wanted] if name == "top-constituents" else None)
        if name == "word-content":
            found = _mentioning(speaker, found, CONTENT[wanted])
        label = FEATURES[name](found)
        if label is not None and len(spare[label]) < 100:
            spare[label].append(found.tree.text())
    return spare[wanted].pop()


def _mentioning(speaker: Speaker, found: Parsed, word: str) -> Parsed:
    """A sentence whose main clause speaks of this noun, where it fits."""
    noun = words.NOUNS[word]
    main = found.main
    roles = [r for r in ("subject", "object") if (np := main.part(r)) and np.noun and np.noun.kind == noun.kind]
    if not roles:
        return found
    role = speaker.dice.one(roles)
    main = replace(main, **{role: replace(main.part(role), noun=noun)})
    return Parsed(stop(say(main, replace(speaker.style(main), front=None))), main)
