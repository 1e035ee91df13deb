"""From a meaning to a sentence: what is said (`Clause`, `NP`) and how it is said (`Style`) give a parse tree.

A clause holds the semantic parts: who, did what, to whom, where, when. The productions below spell it out, with
features passed down the tree: the number of the *surface* subject goes to the first verb of the verb group, tense and
aspect choose the forms, the passive moves the object to the front, a question moves the auxiliary. One meaning in two
styles is a paraphrase; two meanings with the same words are a near-miss; a feature passed down wrongly is a violation.

    S    -> [PP|ADVP ,] NP VP            NP  -> DT JJ* NN | NNP | NP PP | NP SBAR | NP CC NP | PRP
    VP   -> MD VP | VBZ [not] VP | V [NP] [NP] [PP] [ADVP]        SBAR -> WHNP S (with a gap)
    SBARQ -> WH SQ,  SQ -> AUX NP [not] VP
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .lexicon import Noun, Verb, article, make_verb, synonym
from .trees import Tree, leaf, node

BE = make_verb("be", frame="copula")
AUXILIARY = {
    "be": {"past": ("was", "were"), "present": ("is", "are")},
    "have": {"past": ("had", "had"), "present": ("has", "have")},
    "do": {"past": ("did", "did"), "present": ("does", "do")},
    "will": {"future": ("will", "will")},
}
BASE_DETERMINERS = ("no", "any")


@dataclass(frozen=True, slots=True)
class NP:
    """A noun phrase: a noun with what goes with it, or a name, or a pronoun (`word`).

    det: "the", "a" (spelt "an" where needed, "some" in the plural), "every", "three", ...; "" for none.
    pp: (preposition, NP) after the noun. rel: a relative clause, whose gap is its missing subject or object.
    also: a second NP joined by "and", which makes the whole plural.
    """

    noun: Noun | None = None
    word: str = ""
    det: str = "the"
    plural: bool = False
    adjectives: tuple[str, ...] = ()
    pp: tuple[str, NP] | None = None
    rel: Clause | None = None
    also: NP | None = None

    @property
    def head(self) -> str:
        """The bare word, for keys and comparisons: a noun's singular, a name, a pronoun."""
        return self.noun.word if self.noun else self.word

    @property
    def is_plural(self) -> bool:
        return self.plural or self.also is not None

    @property
    def is_person(self) -> bool:
        return self.noun is None or self.noun.kind == "person"


@dataclass(frozen=True, slots=True)
class Clause:
    """What is said. subject, object: None only for the gap of a relative clause (and where the verb takes none).

    tense: past, present or future. aspect: simple, progressive or perfect. place, time: phrases such as "in the park".
    complement: an adjective or NP after "be".
    """

    verb: Verb
    subject: NP | None = None
    object: NP | None = None
    recipient: NP | None = None
    tense: str = "past"
    aspect: str = "simple"
    negated: bool = False
    adverb: str | None = None
    place: str | None = None
    time: str | None = None
    complement: str | NP | None = None

    def part(self, role: str) -> NP | str | None:
        return getattr(self, role)


@dataclass(frozen=True, slots=True)
class Style:
    """How it is said; no style changes what is true.

    passive: with the object (of a transitive verb) as the subject. front: "place" or "time" first. dative: "to" (gave
    the key to Anna) or "double" (gave Anna the key). long: the longer of two question words (in which place, where).
    """

    passive: bool = False
    front: str | None = None
    dative: str = "to"
    long: bool = False


PLAIN = Style()


# ----------------------------------------------------------------------------------------------------- noun phrases


def say_np(np: NP) -> Tree:
    if np.also is not None:
        return node("NP", say_np(replace(np, also=None)), leaf("CC", "and"), say_np(np.also))
    if np.noun is None:
        return node("NP", leaf("NNP" if np.word[0].isupper() else "PRP", np.word))
    words = [leaf("JJ", word) for word in np.adjectives]
    words.append(leaf("NNS", np.noun.plural) if np.plural else leaf("NN", np.noun.word))
    if np.det:
        det = np.det
        if det == "a":
            det = "some" if np.plural else article(words[0].parts[0])
        count = det in ("two", "three", "four", "several", "many")
        words[:0] = [leaf("CD" if count else "DT", word) for word in det.split()]
    tree = node("NP", *words)
    if np.pp is not None:
        tree = node("NP", tree, say_pp(np.pp[0], np.pp[1]))
    if np.rel is not None:
        tree = node("NP", tree, say_relative(np))
    return tree


def say_pp(preposition: str, np: NP) -> Tree:
    return node("PP", leaf("IN", preposition), say_np(np))


def say_relative(np: NP) -> Tree:
    """The clause after its head: "who helped the judge" (the subject is the gap), "that the judge helped"."""
    clause = np.rel
    if clause.subject is None:
        word = "who" if np.is_person else "that"
        inside = node("S", say_vp(clause, np.is_plural))
    else:
        word = "that"
        inside = node("S", say_np(clause.subject), say_vp(clause, clause.subject.is_plural))
    return node("SBAR", node("WHNP", leaf("WDT", word)), inside)


def say_adjunct(phrase: str) -> Tree:
    """A place or a time: "in the park" is a PP, "last week" and "yesterday" are NPs that say when."""
    words = phrase.split()
    if words[0] in ("in", "at", "on", "near", "with"):
        noun = [leaf("NNP" if word[0].isupper() or word.isdigit() else "NN", word) for word in words[2:]]
        if len(words) == 2:
            return node("PP", leaf("IN", words[0]), node("NP", leaf("NNP", words[1])))
        return node("PP", leaf("IN", words[0]), node("NP", leaf("DT", words[1]), *noun))
    tags = ["JJ"] * (len(words) - 1) + ["NN"]
    return node("NP", *(leaf(tag, word) for tag, word in zip(tags, words)))


# ----------------------------------------------------------------------------------------------------- verb phrases


def verb_group(clause: Clause, plural: bool, passive: bool = False, support: bool = False) -> list[Tree]:
    """The auxiliaries and the verb, each in the form that the one before it asks for: "was not helped".

    plural: number of the surface subject, for the first one. support: a question needs an auxiliary ("did").
    """
    heads = []
    if clause.tense == "future":
        heads.append("will")
    if clause.aspect == "perfect":
        heads.append("have")
    if clause.aspect == "progressive":
        heads.append("be")
    if passive:
        heads.append("be")
    copula = clause.verb.base == "be"
    if not heads and (clause.negated or support) and not copula:
        heads.append("do")
    group = []
    for place, head in enumerate([*heads, clause.verb]):
        last = place == len(heads)
        if place == 0:
            group.append(_finite(head, clause.tense, plural))
            if clause.negated:
                group.append(leaf("RB", "not"))
            continue
        before = heads[place - 1]
        made = head if last else make_verb(head)
        if before in ("will", "do"):
            group.append(leaf("VB", made.base))
        elif before == "have" or (before == "be" and last and passive):
            group.append(leaf("VBN", made.participle))
        else:
            group.append(leaf("VBG", made.gerund))
    return group


def _finite(head: str | Verb, tense: str, plural: bool) -> Tree:
    if isinstance(head, Verb) and head.base != "be":
        if tense == "past":
            return leaf("VBD", head.past)
        return leaf("VBP", head.base) if plural else leaf("VBZ", head.third)
    base = head if isinstance(head, str) else head.base
    word = AUXILIARY[base][tense][plural]
    return leaf("MD" if base == "will" else "VBD" if tense == "past" else "VBP" if plural else "VBZ", word)


def say_vp(clause: Clause, plural: bool, style: Style = PLAIN, gap: str | None = None) -> Tree:
    """The verb phrase; plural: the number that its first verb agrees with. gap: a part that a question asks for."""
    return _nest(verb_group(clause, plural, style.passive), _after_verb(clause, style, gap))


def _nest(group: list[Tree], after: list[Tree]) -> Tree:
    """Each auxiliary takes the rest as its VP."""
    tree = node("VP", group[-1], *after)
    if group[-1].label == "RB":  # the copula: is not wet
        return node("VP", *group, *after)
    place = len(group) - 2
    while place >= 0:
        if group[place].label == "RB":
            tree = node("VP", group[place - 1], group[place], tree)
            place -= 2
        else:
            tree = node("VP", group[place], tree)
            place -= 1
    return tree


def _after_verb(clause: Clause, style: Style, gap: str | None) -> list[Tree]:
    parts: list[Tree] = []
    if clause.complement is not None:
        if isinstance(clause.complement, str):
            parts.append(node("ADJP", leaf("JJ", clause.complement)))
        else:
            parts.append(say_np(clause.complement))
    double = style.dative == "double" and clause.recipient is not None and gap is None and not style.passive
    if double:
        parts.append(say_np(clause.recipient))
    if clause.object is not None and gap != "object" and not style.passive:
        parts.append(say_np(clause.object))
    if clause.recipient is not None and gap != "recipient" and not double:
        parts.append(say_pp("to", clause.recipient))
    if style.passive and clause.subject is not None and gap != "subject":
        parts.append(say_pp("by", clause.subject))
    if clause.adverb:
        parts.append(node("ADVP", leaf("RB", clause.adverb)))
    for role in ("place", "time"):
        phrase = clause.part(role)
        if phrase and style.front != role and gap != role:
            parts.append(say_adjunct(phrase))
    return parts


# -------------------------------------------------------------------------------------------------------- sentences


def say(clause: Clause, style: Style = PLAIN, number: bool | None = None) -> Tree:
    """The clause as an S without its stop. number: overrides what the verb agrees with (a violation on purpose)."""
    surface = clause.object if style.passive else clause.subject
    front = clause.part(style.front) if style.front else None
    plural = surface.is_plural if number is None else number
    opening = () if front is None else (say_adjunct(front), leaf(",", ","))
    return node("S", *opening, say_np(surface), say_vp(clause, plural, style))


def stop(tree: Tree) -> Tree:
    """A whole sentence: the S with its stop."""
    return Tree(tree.label, (*tree.parts, leaf(".", ".")))


def join(first: Tree, conjunction: str, second: Tree) -> Tree:
    """ "S , but S" with its stop."""
    return node("S", first, leaf(",", ","), leaf("CC", conjunction), second, leaf(".", "."))


def subordinate(word: str, inner: Tree, main: Tree, front: bool) -> Tree:
    """ "Although S , NP VP ." or "NP VP although S ." """
    clause = node("SBAR", leaf("IN", word), inner)
    if front:
        return node("S", clause, leaf(",", ","), *main.parts, leaf(".", "."))
    last = main.parts[-1]
    return node("S", *main.parts[:-1], node("VP", *last.parts, clause), leaf(".", "."))


def text(clause: Clause, style: Style = PLAIN) -> str:
    return stop(say(clause, style)).text()


# -------------------------------------------------------------------------------------------------------- questions

_ASKED = {"place": ("where", "in which place"), "time": ("when", "at what time"), "reason": ("why", "for what reason")}


def question_word(clause: Clause, role: str | None, style: Style) -> str:
    """ "who", "by whom", "in which place", ...; "" for a yes/no question."""
    if role is None:
        return ""
    if role in _ASKED:
        return _ASKED[role][style.long]
    if role == "recipient":
        return "to whom"
    asked = clause.part(role)
    if role == "subject" and style.passive:
        return "by whom" if asked.is_person else "by what"
    if asked.is_person:
        return "which person" if style.long else "who"
    return "which thing" if style.long and asked.noun.kind == "thing" else "what"


def ask(clause: Clause, role: str | None, style: Style = PLAIN) -> Tree:
    """The question for one part of a clause: subject, object, recipient, place, time, reason, or None for yes/no."""
    style = replace(style, front=None)  # a question begins with its question word
    opening = [leaf("WP", word) for word in question_word(clause, role, style).split()]
    wh = node("WHNP", *opening) if opening else None
    if role == ("object" if style.passive else "subject"):
        return node("SBARQ", wh, node("SQ", say_vp(clause, False, style, role)), leaf(".", "?"))
    surface = clause.object if style.passive else clause.subject
    group = verb_group(clause, surface.is_plural, style.passive, support=True)
    rest = _after_verb(clause, style, role)
    if len(group) == 1 or group[-1].label == "RB":  # the copula has nothing left behind it
        inside = node("SQ", group[0], say_np(surface), *group[1:], *rest)
    else:
        negation = group[1] if group[1].label == "RB" else None
        inner = _nest(group[2 if negation is not None else 1 :], rest)
        inside = node("SQ", group[0], say_np(surface), negation, inner)
    return node("SBARQ", wh, inside, leaf(".", "?")) if wh is not None else node("SQ", *inside.parts, leaf(".", "?"))


def with_synonym(clause: Clause) -> Clause:
    """The same meaning with the verb's synonym, where it has one."""
    return replace(clause, verb=synonym(clause.verb))
