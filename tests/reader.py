"""A reader of the small grammar's English, from the outside: it sees text only and takes words from the lexicon.

It is the oracle of tests/test_grammar.py. `sentences(text)` and `questions(text)` give every way to read a text, with
agreement, verb forms, word order, frames and reflexives checked; no reading means that the text is no sentence.
Backtracking over generators: each rule yields (place after it, what it read).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from mpolab.grammar import lexicon

SINGULAR = {"a", "an", "every", "each", "this", "that", "at least one", "not every"}
PLURAL = {"these", "those", "two", "three", "several", "many", "all", "not all", "at least two", "at least three"}
EITHER = {"the", "some", "no", "any"}
DETERMINERS = sorted(SINGULAR | PLURAL | EITHER, key=lambda det: -len(det.split()))
REFLEXIVE = {"himself": "he", "herself": "she", "themselves": "they", "itself": "it"}
BE = {"was": ("past", 0), "were": ("past", 1), "is": ("present", 0), "are": ("present", 1)}
HAVE = {"had": ("past", None), "has": ("present", 0), "have": ("present", 1)}
DO = {"did": ("past", None), "does": ("present", 0), "do": ("present", 1)}
PLACES = [*lexicon.PLACES, *lexicon.COUNTRY.values()]
WH = {
    "who": ("who", None), "what": ("who", None), "which person": ("who", None), "which thing": ("who", None),
    "by whom": ("subject", None), "by what": ("subject", None), "to whom": ("recipient", None),
    "where": ("place", None), "in which place": ("place", None), "when": ("time", None),
    "at what time": ("time", None), "why": ("reason", None), "for what reason": ("reason", None),
}  # fmt: skip


class Phrase(NamedTuple):
    """A noun phrase: the bare noun or name, plural or not, adjectives (one name for synonyms), determiner."""

    head: str
    plural: bool
    adjectives: tuple[str, ...]
    det: str = "the"

    @property
    def plain(self):
        return (self.head, self.plural, self.adjectives)


class Reading(NamedTuple):
    """A clause. asked: in a question the role that is asked for ("" for yes/no)."""

    verb: str
    negated: bool = False
    subject: Phrase | None = None
    object: Phrase | None = None
    recipient: Phrase | None = None
    place: str | None = None
    time: str | None = None
    quality: str = ""
    tense: str = "past"
    asked: str | None = None

    @property
    def said(self):
        """What is true of the world, without the wording."""
        parts = [part.plain if part else None for part in (self.subject, self.object, self.recipient)]
        return (self.verb, self.negated, *parts, self.place, self.time, self.quality, self.asked)


class Form(NamedTuple):
    base: str
    form: str  # base, third, past, participle, gerund
    frame: str


NOUNS = {n.word: (n.word, False) for n in lexicon.NOUNS.values()} | {
    n.plural: (n.word, True) for n in lexicon.NOUNS.values()
}
ADJECTIVES = {word for table in lexicon.ADJECTIVES_OF.values() for word in table}
ADJECTIVES |= set(lexicon.SAME_ADJECTIVE.values())
ONE_NAME = {new: old for old, new in lexicon.SAME_ADJECTIVE.items()}
SYNONYM = {verb.same: verb.base for verb in lexicon.VERBS if verb.same}
FORMS: dict[str, set[Form]] = defaultdict(set)
for _verb in lexicon.VERBS:
    for _base in filter(None, (_verb.base, _verb.same)):
        _past, _participle, _third, _gerund = lexicon.forms(_base)
        _all = {"base": _base, "third": _third, "past": _past, "participle": _participle, "gerund": _gerund}
        for _form, _word in _all.items():
            FORMS[_word].add(Form(SYNONYM.get(_base, _base), _form, _verb.frame))
FORMS = {word: sorted(forms) for word, forms in FORMS.items()}


def tokens(text: str) -> list[str]:
    found = re.findall(r"\w+|[.,?;]", text)
    if found and found[0] not in lexicon.NAMES:
        found[0] = found[0].lower()
    return found


class Reader:
    def __init__(self, text: str):
        self.words = tokens(text)

    def at(self, i: int) -> str:
        return self.words[i] if i < len(self.words) else ""

    def phrase(self, i: int, known: list[str]) -> Iterator[tuple[int, str]]:
        for text in known:
            n = len(text.split())
            if " ".join(self.words[i : i + n]) == text:
                yield i + n, text

    # ------------------------------------------------------------------------------------------------ noun phrases

    def np(self, i: int) -> Iterator[tuple[int, Phrase]]:
        if self.at(i) in lexicon.NAMES:
            yield i + 1, Phrase(self.at(i), False, ())
        for j, det in self.phrase(i, DETERMINERS):
            start, adjectives = j, []
            while self.at(j) in ADJECTIVES:
                adjectives.append(ONE_NAME.get(self.at(j), self.at(j)))
                j += 1
            if self.at(j) not in NOUNS:
                continue
            noun, plural = NOUNS[self.at(j)]
            if (plural and det in SINGULAR) or (not plural and det in PLURAL):
                continue
            if det in ("a", "an") and (det == "an") != (self.at(start)[0] in "aeiou"):
                continue
            found = Phrase(noun, plural, tuple(adjectives), det)
            yield j + 1, found
            if self.at(j + 1) in ("near", "behind", "with"):
                for k, _ in self.np(j + 2):
                    yield k, found
            if self.at(j + 1) == "that":  # an object relative
                for k, inner in self.np(j + 2):
                    for form in FORMS.get(self.at(k), ()):
                        if form.frame == "transitive" and self._finite(form, inner.plural):
                            yield k + 1, found

    def object_np(self, i: int, subject: Phrase | None) -> Iterator[tuple[int, Phrase]]:
        yield from self.np(i)
        if self.at(i) in REFLEXIVE and subject is not None and REFLEXIVE[self.at(i)] in pronouns(subject):
            yield i + 1, Phrase(self.at(i), subject.plural, ())

    @staticmethod
    def _finite(form: Form, plural: bool | None) -> str:
        if form.form == "past":
            return "past"
        return "present" if form.form == ("base" if plural else "third") else ""

    # ------------------------------------------------------------------------------------------------ verb phrases

    def vp(self, i: int, roles: dict, plural: bool, gap: str = "") -> Iterator[tuple[int, Reading]]:
        """roles: {"surface": the phrase in front}; plural: its number."""
        word = self.at(i)
        for form in FORMS.get(word, ()):
            tense = self._finite(form, plural)
            if tense:
                yield from self.after(i + 1, form, roles, False, False, tense, gap)
        for table in (BE, HAVE, DO, {"will": ("future", None)}):
            if word not in table or table[word][1] not in (None, int(plural)):
                continue
            negated = self.at(i + 1) == "not"
            if table is DO and not negated:
                continue
            yield from self.rest(i + 1 + negated, table, roles, negated, table[word][0], gap)

    def rest(self, i: int, table: dict, roles: dict, negated: bool, tense: str, gap: str) -> Iterator:
        """What follows an auxiliary."""
        word = self.at(i)
        if table is BE and word in ADJECTIVES:
            yield i + 1, Reading("be", negated, roles.get("surface"), quality=word, tense=tense)
        wanted = {id(BE): "gerund", id(HAVE): "participle", id(DO): "base"}.get(id(table), "base")
        for form in FORMS.get(word, ()):
            if form.form == wanted:
                yield from self.after(i + 1, form, roles, negated, False, tense, gap)
            if table is BE and form.form == "participle" and form.frame == "transitive":
                yield from self.after(i + 1, form, roles, negated, True, tense, gap)
        inner = {id(HAVE): "been", id(DO): "-"}.get(id(table), "be")
        if table is not BE and word == inner:
            for form in FORMS.get(self.at(i + 1), ()):
                if form.form == "gerund":
                    yield from self.after(i + 2, form, roles, negated, False, tense, gap)
                if form.form == "participle" and form.frame == "transitive":
                    yield from self.after(i + 2, form, roles, negated, True, tense, gap)

    def after(self, i, form, roles, negated, passive, tense, gap) -> Iterator[tuple[int, Reading]]:
        surface = roles.get("surface")
        start: list[tuple[int, dict]] = []
        if passive:
            base = {"object": surface}
            if self.at(i) == "by" and gap != "subject":
                start += [(j, {**base, "subject": np}) for j, np in self.np(i + 1)]
            start.append((i, base))
        else:
            base = {"subject": surface}
            if form.frame == "intransitive":
                start.append((i, base))
            elif form.frame == "transitive":
                if gap == "object":
                    start.append((i, base))
                else:
                    start += [(j, {**base, "object": np}) for j, np in self.object_np(i, surface)]
            else:
                start += [(j, {**base, **found}) for j, found in self.given(i, gap)]
        for j, found in start:
            for k, adjuncts in self.adjuncts(j, gap):
                if not (set(adjuncts) & set(roles)):
                    extra = {role: roles[role] for role in ("place", "time") if role in roles}
                    yield k, Reading(form.base, negated, tense=tense, **found, **adjuncts, **extra)

    def given(self, i: int, gap: str) -> Iterator[tuple[int, dict]]:
        if gap == "object":
            if self.at(i) == "to":
                yield from ((j, {"recipient": np}) for j, np in self.np(i + 1))
            return
        for j, one in self.np(i):
            if gap == "recipient":
                yield j, {"object": one}
                continue
            if self.at(j) == "to":
                yield from ((k, {"object": one, "recipient": two}) for k, two in self.np(j + 1))
            yield from ((k, {"object": two, "recipient": one}) for k, two in self.np(j))

    def adjuncts(self, i: int, gap: str) -> Iterator[tuple[int, dict]]:
        yield i, {}
        for j, place in [(i, None), *self.phrase(i, PLACES)]:
            for k, time in [(j, None), *self.phrase(j, list(lexicon.TIMES))]:
                found = {role: value for role, value in (("place", place), ("time", time)) if value and role != gap}
                if found and len(found) == bool(place) + bool(time):
                    yield k, found

    # --------------------------------------------------------------------------------------------------- sentences

    def clause(self, i: int) -> Iterator[tuple[int, Reading]]:
        for role, known in (("", []), ("place", PLACES), ("time", list(lexicon.TIMES))):
            opened = self.phrase(i, known) if role else [(i, "")]
            for j, front in opened:
                if role and self.at(j) != ",":
                    continue
                for k, np in self.np(j + bool(role)):
                    roles = {"surface": np} | ({role: front} if role else {})
                    yield from self.vp(k, roles, np.plural)

    def sentence(self) -> Iterator[tuple[Reading, ...]]:
        for i, one in self.clause(0):
            if self.at(i) == "." and i + 1 == len(self.words):
                yield (one,)
            if self.at(i) == "," and self.at(i + 1) in ("and", "while"):
                for j, two in self.clause(i + 2):
                    if self.at(j) == "." and j + 1 == len(self.words):
                        yield (one, two)

    def question(self) -> Iterator[Reading]:
        openings = [(0, "")] + [(j, wh) for j, wh in self.phrase(0, list(WH))]
        for i, wh in openings:
            asked = WH[wh][0] if wh else ""
            for j, reading in self._asking(i, asked):
                if self.at(j) == "?" and j + 1 == len(self.words):
                    yield reading

    def _asking(self, i: int, asked: str) -> Iterator[tuple[int, Reading]]:
        if asked == "who":  # of the surface subject, or of the object behind an auxiliary
            for j, reading in self.vp(i, {}, False):
                passive = reading.subject is not None or (self.at(i) in BE and self._is_passive(i))
                yield j, reading._replace(asked="object" if passive else "subject")
        for table in (BE, HAVE, DO, {"will": ("future", None)}):
            if self.at(i) not in table:
                continue
            tense, number = table[self.at(i)]
            for j, np in self.np(i + 1):
                if number not in (None, int(np.plural)):
                    continue
                negated = self.at(j) == "not"
                gap = {"who": "object", "reason": ""}.get(asked, asked)
                for k, reading in self.rest(j + negated, table, {"surface": np}, negated, tense, gap):
                    passive = reading.object == np and reading.subject != np
                    if asked == "who" and (passive or reading.object is not None):
                        continue
                    if asked == "subject" and not (passive and reading.subject is None):
                        continue
                    if asked == "recipient" and reading.recipient is not None:
                        continue
                    yield k, reading._replace(asked="object" if asked == "who" else asked)

    def _is_passive(self, i: int) -> bool:
        after = i + 1 + (self.at(i + 1) == "not")
        return any(form.form == "participle" for form in FORMS.get(self.at(after), ()))


def pronouns(subject: Phrase) -> set[str]:
    if subject.plural:
        return {"they"}
    if subject.head in lexicon.HE or subject.head in ("man", "boy"):
        return {"he"}
    if subject.head in lexicon.SHE or subject.head in ("woman", "girl"):
        return {"she"}
    return {"he", "she"} if lexicon.NOUNS[subject.head].kind == "person" else {"it"}


def sentences(text: str) -> list[tuple[Reading, ...]]:
    """Every reading of a sentence: one or two clauses each; [] if it is none."""
    return list(dict.fromkeys(Reader(text).sentence()))


def questions(text: str) -> list[Reading]:
    """Every reading of a question."""
    return list(dict.fromkeys(Reader(text).question()))
