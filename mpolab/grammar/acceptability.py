"""CoLA's offline twin: sentences of the grammar, some with exactly one violation of it.

A violation is one feature passed down wrongly, on a sentence that was drawn from the same odds as the acceptable
ones: for most kinds the words are then the same and only their relations differ, so that counting words does not help.

    agreement    The keys near the lamp is wet.            word order   Doctor the slept.
    frame        The judge arrived the letter.             determiner   Every doctors slept.
    reflexive    The boys near Anna praised herself.       verb form    The judge did helped Anna.
"""

from __future__ import annotations

from dataclasses import replace

from . import lexicon as words
from .clauses import BE, NP, Clause, Style, say, stop
from .facts import ALL_FRAMES, Speaker
from .trees import Tree, leaf, node, write

KINDS = {"agreement": 0.36, "word order": 0.2, "frame": 0.16, "determiner": 0.1, "reflexive": 0.12, "verb form": 0.06}
ATTRACTION = 0.7  # how often the noun between subject and verb has the other number
SINGULAR = ("a", "every", "this", "that", "each")
PLURAL = ("these", "those", "two", "three", "several", "many")
BESIDE = ("near", "behind", "with")
REFLEXIVE_VERBS = ("praise", "blame", "admire", "photograph", "insult", "protect", "trick", "watch", "defeat")


def sentence(speaker: Speaker, acceptable: bool, kind: str | None = None) -> str:
    """One sentence; kind: one of KINDS, drawn by their odds otherwise."""
    makers = {
        "agreement": _agreement,
        "word order": _word_order,
        "frame": _frame,
        "determiner": _determiner,
        "reflexive": _reflexive,
        "verb form": _verb_form,
    }
    return makers[kind or speaker.dice.pick(KINDS)](speaker, not acceptable)


def distracted(speaker: Speaker, np: NP) -> NP:
    """The noun with another noun after it, mostly of the other number: what the verb must not agree with."""
    dice = speaker.dice
    if np.noun.kind == "thing":
        noun = dice.one(words.nouns_of(("person",)))
    else:
        noun = speaker.other(NP(np.noun)).noun
    between = NP(noun, plural=np.plural != dice.chance(ATTRACTION))
    if dice.chance(0.5):
        return replace(np, pp=(dice.one(BESIDE), between))
    # An object relative has a verb of its own, which agrees with the noun between.
    verb = dice.one(words.verbs_of(("transitive",), between.noun.kind, np.noun.kind))
    return replace(np, rel=Clause(verb, between, tense=dice.one(("past", "present"))))


def _numbered(speaker: Speaker, np: NP) -> NP:
    return np if np.noun is None else replace(np, plural=speaker.dice.chance(0.5))


def _agreement(speaker: Speaker, bad: bool) -> str:
    dice = speaker.dice
    core = speaker.core(dice.one(ALL_FRAMES))
    while core.subject.noun is None:  # a name has no plural
        core = speaker.core(dice.one(ALL_FRAMES))
    subject = distracted(speaker, speaker.described(_numbered(speaker, core.subject)))
    shape = dice.one(("present", "progressive", "was", "perfect", "adjective"))
    own = [word for word in words.ADJECTIVES_OF[subject.noun.kind] if speaker.owns(subject.head, word)]
    if shape == "adjective" and own:
        clause = Clause(BE, subject, complement=dice.one(own), tense=dice.one(("past", "present")))
    else:
        tense = "past" if shape == "was" else "present"
        aspect = {"present": "simple", "perfect": "perfect"}.get(shape, "progressive")
        clause = replace(core, subject=subject, tense=tense, aspect=aspect, negated=dice.chance(0.15))
    return stop(say(clause, number=subject.is_plural != bad)).text()


# Neighbours whose exchange breaks a sentence: (tag, tag) of the first and the second.
_FIXED_ORDER = {
    ("DT", "NN"), ("DT", "NNS"), ("DT", "JJ"), ("JJ", "NN"), ("JJ", "NNS"), ("IN", "DT"), ("IN", "NNP"),
    ("VBD", "RB"), ("VBD", "VBN"), ("VBD", "VBG"), ("RB", "VB"), ("RB", "VBN"), ("RB", "VBG"), ("VBD", "DT"),
}  # fmt: skip


def _word_order(speaker: Speaker, bad: bool) -> str:
    while True:
        clause = speaker.fact(speaker.dice.one(ALL_FRAMES), negated=0.2)
        leaves = stop(say(clause, speaker.style(clause))).leaves()
        tags = [tag for tag, _ in leaves]
        verb = next(i for i, tag in enumerate(tags) if tag.startswith("VB"))
        places = [i for i in range(len(tags) - 1) if (tags[i], tags[i + 1]) in _FIXED_ORDER]
        # "drew the horse brown" is English; "the horse brown slept" is not.
        places = [i for i in places if i < verb or tags[i] != "JJ"]
        if places:
            break
    if bad:
        place = speaker.dice.one(places)
        leaves[place], leaves[place + 1] = leaves[place + 1], leaves[place]
    return write([word for _, word in leaves])


def _frame(speaker: Speaker, bad: bool) -> str:
    """A verb with an object it never takes, or without the one it needs."""
    dice = speaker.dice
    while True:
        clause = speaker.fact(dice.one(("person", "person-person", "person-thing", "person-animal")))
        if clause.verb.base in (words.NO_OBJECT if clause.object is None else words.NEEDS_OBJECT):
            break
    if bad and clause.object is None:
        clause = replace(clause, object=speaker.described(NP(dice.one(words.nouns_of(("person", "thing"))))))
        return stop(say(clause, Style(front=speaker.style(clause).front))).text()
    style = speaker.style(clause)
    if bad:
        return stop(say(replace(clause, object=None), replace(style, passive=False))).text()
    return stop(say(clause, style)).text()


def _determiner(speaker: Speaker, bad: bool) -> str:
    dice = speaker.dice
    clause = speaker.fact(dice.one(ALL_FRAMES), place=0.4, time=0.4)
    roles = [role for role in ("subject", "object", "recipient") if (np := clause.part(role)) and np.noun]
    if not roles:
        return _determiner(speaker, bad)
    role = dice.one(roles)
    plural = dice.chance(0.5)
    det = dice.one(PLURAL if plural else SINGULAR)
    np = replace(clause.part(role), det=det, plural=plural)
    clause = replace(clause, **{role: np})
    style = speaker.style(clause)
    tree = stop(say(clause, style))
    return (_with_other_number(tree, det, np) if bad else tree).text()


def _with_other_number(tree: Tree, det: str, np: NP) -> Tree:
    """The noun after this determiner in its other number; everything else, the verb too, as it was."""
    if not tree.is_leaf and tree.parts[0].is_leaf and tree.parts[0].parts[0] in (det, "an" if det == "a" else det):
        noun = leaf("NN", np.noun.word) if np.plural else leaf("NNS", np.noun.plural)
        return node(tree.label, *tree.parts[:-1], noun)
    return tree if tree.is_leaf else Tree(tree.label, tuple(_with_other_number(part, det, np) for part in tree.parts))


def pronoun_of(np: NP) -> str:
    """he, she, they, or "" where the noun does not tell (a doctor is either)."""
    if np.plural:
        return "they"
    if np.noun is None:
        return "he" if np.word in words.HE else "she"
    return words.GENDER.get(np.noun.word, "")


REFLEXIVES = {"he": "himself", "she": "herself", "they": "themselves"}


def _reflexive(speaker: Speaker, bad: bool) -> str:
    """The object refers back to the subject, not to the noun that stands between."""
    dice = speaker.dice
    while True:
        verb = dice.one(words.verbs_of(("transitive",), "person", "person"))
        subject = _numbered(speaker, speaker.participant(("person",)))
        if dice.chance(0.5):
            subject = _numbered(speaker, NP(words.NOUNS[dice.one(tuple(words.GENDER))]))
        if not pronoun_of(subject):
            continue  # "the doctor praised themselves" is English to many
        if verb.base in REFLEXIVE_VERBS and speaker.owns(subject.head, verb.base, "self"):
            break
    between = _numbered(speaker, speaker.participant(("person",)))
    if between.head == subject.head:
        return _reflexive(speaker, bad)
    right = pronoun_of(subject)
    wrong = [word for word in REFLEXIVES if word != right]
    if bad and pronoun_of(between) in wrong and dice.chance(ATTRACTION):
        wrong = [pronoun_of(between)]  # it agrees with the distractor
    said = REFLEXIVES[dice.one(wrong) if bad else right]
    clause = Clause(
        verb,
        replace(subject, pp=(dice.one(BESIDE), between)),
        NP(word=said),
        place=dice.one(words.PLACES) if dice.chance(0.3) else None,
        time=dice.one(words.TIMES) if dice.chance(0.5) else None,
    )
    return stop(say(clause)).text()


def _verb_form(speaker: Speaker, bad: bool) -> str:
    """An auxiliary and a verb in a form that it does not take: did helped, was help, has helping."""
    dice = speaker.dice
    while True:
        clause = speaker.fact(dice.one(ALL_FRAMES))
        if clause.verb.base not in ("run", "hit"):  # run and hit have forms that look alike
            break
    way = dice.one(("negated", "progressive", "perfect", "future"))
    clause = replace(
        clause,
        negated=way == "negated",
        aspect=way if way in ("progressive", "perfect") else "simple",
        tense="future" if way == "future" else "past",
    )
    verb = clause.verb
    right = {"negated": verb.base, "progressive": verb.gerund, "perfect": verb.participle, "future": verb.base}[way]
    wrong = [form for form in (verb.base, verb.past, verb.gerund) if form not in (right, verb.participle)]
    leaves = stop(say(clause)).words()
    if bad:
        leaves[leaves.index(right)] = dice.one([form for form in wrong if form != right])
    return write(leaves)
