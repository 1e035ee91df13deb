"""The offline grammar: every label is checked by an oracle that sees the text alone.

`reader.py` reads the sentences back, with agreement, frames and word order checked; inference is decided by going
through all finite models of a pair; polarity by a second evaluator made of regular expressions.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reader import Phrase, Reading, questions, sentences

from mpolab.errors import DataError, UnknownNameError
from mpolab.grammar import OFFLINE, PROBES, floors, lexicon, offline_task, opinions, probes, pronouns
from mpolab.grammar.dice import POOLS, Dice, pool_of

TASKS = tuple(OFFLINE)
SEEDS = (0, 7)


def rows(name: str, count: int, seed: int = 0, split: str = "train") -> list[dict]:
    return offline_task(name, {split: count}, seed)[split]


def show(row: dict) -> str:
    return json.dumps(row)


# --------------------------------------------------------------------------------------------- labels: one sentence


@pytest.mark.parametrize("seed", SEEDS)
def test_cola_the_reader_accepts_exactly_the_acceptable(seed):
    for row in rows("CoLA", 800, seed) + rows("CoLA", 300, seed, "dev"):
        assert bool(sentences(row["text"])) == bool(row["label"]), show(row)


def test_cola_has_every_kind_of_violation_and_attraction():
    """The verb of a violation of agreement agrees with the noun between: a model cannot go by the nearest noun."""
    from mpolab.grammar import acceptability
    from mpolab.grammar.facts import Speaker

    speaker = Speaker(Dice(3), "train")
    for kind in acceptability.KINDS:
        for good in (True, False):
            texts = [acceptability.sentence(speaker, good, kind) for _ in range(40)]
            assert all(bool(sentences(text)) == good for text in texts), kind
    bad = [acceptability.sentence(speaker, False, "agreement") for _ in range(200)]
    first_nouns = [re.search(r"(?:near|behind|with|that) the (?:\w+ )?(\w+)", text) for text in bad]
    assert sum(found is not None for found in first_nouns) > 150


POSITIVE, NEGATIVE = set(lexicon.PRAISE), set(lexicon.BLAME)
TURNS = r"\b(not|never|hardly|nobody|far from|anything but)\b"


def polarity(text: str) -> int:
    """+1 or -1 by reading from the outside in: what the connectives leave, denials, then the words that turn round."""
    text = text.strip(" .").lower()
    for front in ("although", "even though"):
        if text.startswith(front + " "):
            return polarity(text.split(", ", 1)[1])
    for weaker_first in (", but ", "; however, "):
        if weaker_first in text:
            return polarity(text.split(weaker_first, 1)[1])
    for stronger_first in (", although ", ", even though ", ", while it is true that "):
        if stronger_first in text:
            return polarity(text.split(stronger_first, 1)[0])
    for denial in ("it is not true", "nobody would say", "i cannot agree", "it is wrong to say"):
        denial += " that "
        if text.startswith(denial):
            return -polarity(text.removeprefix(denial))
    if " and " in text:
        parts = {polarity(part) for part in text.split(" and ")}
        assert len(parts) == 1, text
        return parts.pop()
    text = text.replace("nothing if not", "").replace("could not be more", "")
    said = [word for word in text.split() if word in POSITIVE | NEGATIVE]
    assert len(said) == 1, text
    turns = len(re.findall(TURNS, text))
    return (1 if said[0] in POSITIVE else -1) * (-1) ** turns


@pytest.mark.parametrize("seed", SEEDS)
def test_sst2_polarity_is_composed(seed):
    for row in rows("SST-2", 1000, seed):
        assert polarity(row["text"]) == (1 if row["label"] else -1), show(row)


def test_sst2_single_words_mislead_often():
    """In a good part of the rows the majority of adjectives has the other polarity or there is none."""
    misled = 0
    for row in rows("SST-2", 1000):
        words = re.findall(r"\w+", row["text"].lower())
        balance = sum((w in POSITIVE) - (w in NEGATIVE) for w in words)
        misled += balance * (1 if row["label"] else -1) <= 0
    assert 300 < misled < 600
    assert not POSITIVE & NEGATIVE


def test_imdb_the_verdict_decides():
    openings = [verdict.split("{}")[0].lower() for verdict in opinions._VERDICTS]
    for row in rows("IMDB", 200):
        parts = re.split(r"(?<=\.) ", row["text"].lower())
        verdicts = [part.removeprefix(o) for part in parts for o in openings if part.startswith(o)]
        assert len(verdicts) == 1 and polarity(verdicts[0]) == (1 if row["label"] else -1), show(row)
        assert len(parts) >= 6


# -------------------------------------------------------------------------------------------------- labels: two texts


@pytest.mark.parametrize("seed", SEEDS)
def test_mrpc_the_same_is_said_or_not(seed):
    for row in rows("MRPC", 500, seed):
        one, two = ({frozenset(c.said for c in r) for r in sentences(row[key])} for key in ("text", "text_pair"))
        assert one and two and bool(one & two) == bool(row["label"]), show(row)


@pytest.mark.parametrize("seed", SEEDS)
def test_qqp_the_same_is_asked_or_not(seed):
    for row in rows("QQP", 500, seed):
        one, two = ({reading.said for reading in questions(row[key])} for key in ("text", "text_pair"))
        assert one and two and bool(one & two) == bool(row["label"]), show(row)


def test_pairs_that_differ_share_most_words():
    """Near-misses: of the pairs that are not the same, many are the same bag of content words."""
    shared = []
    for row in rows("MRPC", 600):
        if not row["label"]:
            one, two = (set(re.findall(r"\w+", row[key].lower())) for key in ("text", "text_pair"))
            shared.append(len(one & two) / len(one | two))
    assert np.mean(shared) > 0.7


def siblings(one: Phrase, two: Phrase) -> bool:
    a, b = (lexicon.NOUNS.get(phrase.head) for phrase in (one, two))
    return a is not None and b is not None and a.above[:1] == b.above[:1] and a.above[0] not in lexicon.KINDS


def similarity(one: Reading, two: Reading) -> float:
    """Parts that are the same; a half for a sibling in the same role."""
    score = sum(getattr(one, part) == getattr(two, part) for part in ("verb", "place", "time"))
    for role in ("subject", "object"):
        a, b = getattr(one, role), getattr(two, role)
        if a.head == b.head:
            score += 1
        elif siblings(a, b):
            score += 0.5
    return float(score)


@pytest.mark.parametrize("seed", SEEDS)
def test_stsb_scores_count_what_is_preserved(seed):
    exchanged = 0
    for row in rows("STS-B", 440, seed):
        one, two = ({r[0] for r in sentences(row[key])} for key in ("text", "text_pair"))
        assert row["label"] in {similarity(a, b) for a, b in itertools.product(one, two)}, show(row)
        exchanged += any(a.subject.head == b.object.head for a, b in itertools.product(one, two))
    assert exchanged > 20


# ----------------------------------------------------------------------------------------------- questions and answers


def answering(question: Reading, fact: Reading) -> str | None:
    """What the fact answers, or None: all that the question names agrees, and what it asks for is told."""
    if fact.negated or fact.verb != question.verb:
        return None
    for role in ("subject", "object", "recipient", "place", "time"):
        asked, told = getattr(question, role), getattr(fact, role)
        if role == question.asked or asked is None:
            continue
        if told is None or (asked != told if isinstance(asked, str) else asked.plain != told.plain):
            return None
    found = getattr(fact, question.asked)
    return found.head if isinstance(found, Phrase) else found


@pytest.mark.parametrize("seed", SEEDS)
def test_qnli_the_sentence_answers_or_not(seed):
    for row in rows("QNLI", 400, seed):
        asked, told = questions(row["text"]), sentences(row["text_pair"])
        assert asked and told, show(row)
        found = [answering(q, fact) for q in asked for reading in told for fact in reading]
        assert any(found) == (row["label"] == 0), show(row)


@pytest.mark.parametrize("seed", SEEDS)
def test_squad_one_sentence_answers_and_the_span_is_the_answer(seed):
    contexts = set()
    for row in rows("SQuAD", 300, seed):
        context, (text,), (start,) = row["context"], row["answers"]["text"], row["answers"]["answer_start"]
        assert context[start : start + len(text)] == text
        contexts.add(context)
        asked = questions(row["question"])
        hits, place = [], 0
        for sentence in re.split(r"(?<=\.) ", context):
            told = sentences(sentence)
            assert told, sentence
            found = {a for q in asked for reading in told if (a := answering(q, reading[0]))}
            if found:
                hits.append((place, place + len(sentence), found))
            place += len(sentence) + 1
        assert len(hits) == 1, show(row)
        begin, end, found = hits[0]
        assert begin <= start and start + len(text) <= end, show(row)
        said = re.findall(r"\w+", text)
        assert any(_is_answer(said, answer) for answer in found), show(row)
    assert len(contexts) > 80  # several questions on one paragraph, many paragraphs


def _is_answer(said: list[str], answer: str) -> bool:
    noun = lexicon.NOUNS.get(answer)
    if noun is not None:
        return said[-1] in (noun.word, noun.plural) and said[0].lower() == "the"
    return answer.lower().split()[-len(said) :] == [word.lower() for word in said]


# ------------------------------------------------------------------------------------------------------------ inference


class Model:
    """All finite models of a pair of readings, up to what can make a difference.

    Who somebody is and what they did are open only as far as the two sentences can tell: every individual belongs to a
    cell (is it an A1? an A2? did it B1? B2?). Which cells can be inhabited follows from enumerating nouns, adjectives,
    verbs, objects and places; a model says how many individuals (none to three) live in each cell, and which
    cell the one is in that "the" speaks of.
    """

    def __init__(self, one: Reading, two: Reading):
        self.pair = (one, two)
        whos = {tuple(self.is_who(person, s.subject) for s in self.pair) for person in self.people()}
        single = {tuple(self.does(deed, s) for s in self.pair) for deed in self.deeds()}
        # Somebody may do several things; qualities are of the person and are enumerated with them.
        done = set(single)
        while True:
            more = {tuple(a or b for a, b in zip(x, y)) for x in done for y in done} | done | {(False, False)}
            if more == done:
                break
            done = more
        if all(s.quality for s in self.pair):
            done = {tuple(s.quality in has for s in self.pair) for has in self.qualities()}
        elif any(s.quality for s in self.pair):
            done |= {tuple(bool(s.quality) or d for s, d in zip(self.pair, do)) for do in done}
        self.cells = [(*who, *do) for who in sorted(whos) for do in sorted(done)]

    def people(self):
        """Sets of adjectives, and one or two nouns with all that is above them."""
        nouns = upwards(s.subject.head for s in self.pair)
        adjectives = sorted({a for s in self.pair for a in s.subject.adjectives})
        for one, two in itertools.combinations_with_replacement(nouns, 2):
            kinds = {one, two, *lexicon.NOUNS[one].above, *lexicon.NOUNS[two].above}
            for size in range(len(adjectives) + 1):
                for chosen in itertools.combinations(adjectives, size):
                    if not any(apart(a, b) for a, b in itertools.combinations(chosen, 2)):
                        yield kinds, set(chosen)

    def is_who(self, person, subject: Phrase) -> bool:
        kinds, adjectives = person
        if subject.head in lexicon.NAMES:
            return "person" in kinds
        return subject.head in kinds and set(subject.adjectives) <= adjectives

    def deeds(self):
        """(verbs that it is, the object's nouns and adjectives, places that it is in) of single events."""
        verbs = sorted({v for s in self.pair for v in (s.verb, *ABOVE.get(s.verb, ()))})
        places = [None, *{s.place for s in self.pair if s.place}, *lexicon.COUNTRY, "in Nowhere"]
        objects = [None]
        heads = [s.object.head for s in self.pair if s.object]
        if heads:
            nouns = upwards(heads)
            adjectives = sorted({a for s in self.pair if s.object for a in s.object.adjectives})
            objects = [
                ({noun, *lexicon.NOUNS[noun].above}, set(chosen))
                for noun in nouns
                for size in range(len(adjectives) + 1)
                for chosen in itertools.combinations(adjectives, size)
                if not any(apart(a, b) for a, b in itertools.combinations(chosen, 2))
            ]
        for verb, thing, place in itertools.product(verbs, objects, places):
            yield {verb, *ABOVE.get(verb, ())}, thing, {place, lexicon.COUNTRY.get(place)} - {None}

    def does(self, deed, said: Reading) -> bool:
        verbs, thing, places = deed
        if said.quality or said.verb not in verbs or (said.place and said.place not in places):
            return False
        if said.object is None:
            return True
        return thing is not None and said.object.head in thing[0] and set(said.object.adjectives) <= thing[1]

    def qualities(self):
        """Sets of what somebody can be at once."""
        one, two = (s.quality for s in self.pair)
        return [(), (one,), (two,)] + ([] if apart(one, two) else [(one, two)])

    def verdict(self) -> str:
        cells = np.array(self.cells, dtype=bool)  # (cells, [A1, A2, B1, B2])
        worlds = populations(len(cells))
        premise, hypothesis = [], []
        definite = [s.subject.det == "the" for s in self.pair]
        alone = range(len(cells)) if any(definite) else [None]
        for one in alone:
            if one is not None and not all(cells[one, k] for k in (0, 1) if definite[k]):
                continue
            mine = worlds if one is None else worlds[worlds[:, one] > 0]
            exist = [(mine[:, cells[:, k]] > 0).any(1) for k in (0, 1)]  # what is spoken of exists
            mine = mine[exist[0] & exist[1]]
            premise.append(self.true(0, cells, mine, one))
            hypothesis.append(self.true(1, cells, mine, one))
        p, h = np.concatenate(premise), np.concatenate(hypothesis)
        assert p.any(), self.pair
        if h[p].all():
            return "entailment"
        return "contradiction" if not h[p].any() else "neutral"

    def true(self, k: int, cells: np.ndarray, worlds: np.ndarray, one: int | None) -> np.ndarray:
        """Whether sentence k holds in each world."""
        said = self.pair[k]
        det = said.subject.det
        does = cells[:, 2 + k] != said.negated
        if det == "the":
            return np.full(len(worlds), bool(does[one]))
        are = cells[:, k]
        both, but_not = worlds[:, are & does].sum(1), worlds[:, are & ~does].sum(1)
        if det in ("every", "each", "all"):
            return but_not == 0
        if det == "no":
            return both == 0
        if det in ("not every", "not all"):
            return but_not > 0
        least = {"at least two": 2, "at least three": 3}.get(det, 1)
        return both >= least


ABOVE = {verb.base: verb.above for verb in lexicon.VERBS if verb.above}


def upwards(heads) -> list[str]:
    """These nouns, all that is above them, and one that has nothing to do with them."""
    nouns = ["person" if head in lexicon.NAMES else head for head in heads]
    return sorted({"lamp"}.union(*({n, *lexicon.NOUNS[n].above} for n in nouns)))


@functools.cache
def populations(cells: int) -> np.ndarray:
    """How many live in each cell, (worlds, cells): up to four cells are inhabited, each by one, two or three.

    No pair of sentences needs more: each asks for one cell (and for it to be full), and speaks of somebody who exists.
    """
    found = [np.zeros(cells, dtype=np.int8)]
    for inhabited in range(1, 5):
        for where in itertools.combinations(range(cells), min(inhabited, cells)):
            for many in itertools.product((1, 2, 3) if inhabited < 4 else (1, 3), repeat=len(where)):
                world = np.zeros(cells, dtype=np.int8)
                world[list(where)] = many
                found.append(world)
    return np.stack(found)


def apart(one: str, other: str) -> bool:
    exclusive = [{"red", "blue", "green", "black", "white", "yellow", "brown"}, {"wet", "dry"}, {"clean", "dirty"}]
    return one != other and any({one, other} <= group for group in exclusive)


LABELS = ("entailment", "neutral", "contradiction")


def checked(premise: str, hypothesis: str) -> set[str]:
    one, two = ([r[0] for r in sentences(text)] for text in (premise, hypothesis))
    assert one and two, (premise, hypothesis)
    return {Model(a, b).verdict() for a, b in itertools.product(one[:1], two[:1])}


@pytest.mark.parametrize(
    "premise, hypothesis, expected",
    [
        ("Every poet slept.", "Every writer slept.", "neutral"),
        ("Every writer slept.", "Every poet slept.", "entailment"),
        ("Some poet slept.", "A writer slept.", "entailment"),
        ("No writer slept.", "No wet poet slept in Paris.", "entailment"),
        ("No wet poet slept in Paris.", "No writer slept.", "neutral"),
        ("Not every poet slept.", "Every writer slept.", "contradiction"),
        ("Every poet slept in Paris.", "Some poet slept in France.", "entailment"),
        ("At least two dogs chased a kitten.", "A dog followed a cat.", "entailment"),
        ("A dog followed a cat.", "At least two dogs chased a kitten.", "neutral"),
        ("Every ring is red.", "Some ring is blue.", "contradiction"),
        ("The judge did not run.", "The judge sprinted.", "contradiction"),
        ("Anna sprinted.", "Some person moved.", "entailment"),
    ],
)
def test_the_model_checker_knows_logic(premise, hypothesis, expected):
    assert checked(premise, hypothesis) == {expected}


@pytest.mark.parametrize("name, count", [("MNLI", 120), ("SNLI", 60), ("diagnostic", 60)])
def test_inference_holds_in_all_models_or_fails_in_some(name, count):
    for row in rows(name, count, 1):
        assert checked(row["text"], row["text_pair"]) == {LABELS[row["label"]]}, show(row)


def test_mismatched_mnli_speaks_of_others():
    both = offline_task("MNLI", {"dev": 100, "dev_mismatched": 60})
    for row in both["dev_mismatched"]:
        assert checked(row["text"], row["text_pair"]) == {LABELS[row["label"]]}, show(row)
    words = [Counter(w for row in both[s] for w in row["text"].lower().split()) for s in both]
    assert words[1]["cat"] + words[1]["dog"] + words[1]["wolf"] > 0
    assert not {"cat", "dog", "wolf", "snake"} & set(words[0])


def test_rte_one_sentence_of_the_passage_decides():
    for row in rows("RTE", 60, 2):
        verdicts = {v for part in re.split(r"(?<=\.) ", row["text"]) for v in checked(part, row["text_pair"])}
        assert ("entailment" in verdicts) == (row["label"] == 0), show(row)


def test_wnli_the_reason_tells_whom_the_pronoun_means():
    for row in rows("WNLI", 400):
        meant = None
        for _, frame, first, second in pronouns.SCHEMAS:
            pattern = frame.replace("{pronoun_}had", "(?:he|she|it) had")
            if "(?:he" not in pattern:
                pattern += " (?:he|she|it)"
            who = r"((?:the )?\w+)"
            match = re.fullmatch(
                pattern.replace("{A}", who).replace("{B}", who) + r" (.*)\.", row["text"], re.IGNORECASE
            )
            if match and match[3] in first + second:
                meant = match[1] if match[3] in first else match[2]
                other = match[2] if match[3] in first else match[1]
                reason = ("had " if "_}had" in frame else "") + match[3]
        assert meant, show(row)
        who = meant if row["label"] else other
        assert row["text_pair"].lower() == f"{who} {reason}.".lower(), show(row)
    for _, _, first, second in pronouns.SCHEMAS:
        assert not set(first) & set(second)


# ------------------------------------------------------------------------------------------------------------- probing


def bracketed(text: str):
    """(label, children or word) of a bracketed tree."""
    parts = re.findall(r"\(|\)|[^\s()]+", text)

    def read(i):
        label, children, i = parts[i + 1], [], i + 2
        while parts[i] != ")":
            child, i = read(i) if parts[i] == "(" else (parts[i], i + 1)
            children.append(child)
        return (label, children), i + 1

    return read(0)[0]


def leaves(tree) -> list[tuple[str, str]]:
    label, children = tree
    return [(label, children[0])] if isinstance(children[0], str) else [x for child in children for x in leaves(child)]


def depth(tree) -> int:
    return 1 if isinstance(tree[1][0], str) else 1 + max(depth(child) for child in tree[1])


def test_probing_features_agree_with_the_bracketed_tree():
    for row in rows("probing", 300):
        tree, has = bracketed(row["tree"]), row["features"]
        words = [word for tag, word in leaves(tree) if tag.isalpha()]
        assert [w.lower() for w in words] == [w.lower() for w in re.findall(r"\w+", row["text"])]
        assert has["sentence-length"] == [len(words) <= k for k in (6, 9, 12, 15, 18, 999)].index(True)
        assert has["tree-depth"] == min(max(depth(tree), 4), 8) - 4
        assert probes.TOPS[has["top-constituents"]] == " ".join(label for label, _ in tree[1])
        main = tree if tree[1][0][0] != "S" else tree[1][0]
        subject = [child for child in main[1] if child[0] == "NP"][-1]
        vp = next(child for child in main[1] if child[0] == "VP")
        finite = next(tag for tag, _ in leaves(vp) if tag in ("VBD", "VBZ", "VBP"))
        assert has["tense"] == int(finite != "VBD"), show(row)
        if finite in ("VBZ", "VBP"):  # the surface subject's number shows on the verb
            plural = finite == "VBP"
            surface = "object-number" if _passive(vp) else "subject-number"
            assert has[surface] == plural, (show(row), subject)
        known = {w for word in probes.CONTENT for w in (word, lexicon.NOUNS[word].plural)}
        said = [w for w in words if w in known]
        expected = said[0] if len(said) == 1 else None
        noun = None if has["word-content"] is None else probes.CONTENT[has["word-content"]]
        assert (expected is None) == (noun is None) and (noun is None or expected in (noun, lexicon.NOUNS[noun].plural))


def _passive(vp) -> bool:
    """Whether a form of "be" is followed by a participle in the chain of VPs."""
    chain = []
    while vp is not None:
        chain += [leaf for child in vp[1] if child[0] != "VP" for leaf in leaves(child)[:1] if child[0][:1] in "VM"]
        vp = next((child for child in vp[1] if child[0] == "VP"), None)
    verbs = [(tag, word) for tag, word in chain if tag != "RB"]
    be = ("was", "were", "is", "are", "been", "being", "be")
    return any(a[1] in be and b[0] == "VBN" for a, b in itertools.pairwise(verbs))


def test_damaged_sentences_are_damaged():
    """Inverted coordinations name what they speak of after the pronoun; a bigram shift keeps the words."""
    for row in rows("probing-coordination-inversion", 200):
        first = re.split(r", and ", row["text"])[0].lower()
        refers = bool(re.match(r"(he|she|then|so)\b", first))
        assert refers == (row["label"] == 0), show(row)
    names = {word for noun in lexicon.NOUNS.values() for word in (noun.word, noun.plural)}
    for row in rows("probing-bigram-shift", 200):
        words = re.findall(r"\w+", row["text"].lower())
        stray = [i for i, word in enumerate(words) if word == "the" and (i + 1 == len(words) or words[i + 1] == "the")]
        assert not (row["label"] and stray), show(row)
        assert names & set(words) or any(name.lower() in words for name in lexicon.NAMES)


@pytest.mark.parametrize("probe", [p for p in PROBES if p in probes.FEATURES])
def test_every_probing_label_occurs_equally_often(probe):
    count = 4 * len(PROBES[probe])
    labels = Counter(row["label"] for row in rows(f"probing-{probe}", count))
    assert labels == {label: 4 for label in range(len(PROBES[probe]))}


# ------------------------------------------------------------------------------------------------------ sets as a whole

SHARES = {"CoLA": 0.7, "MRPC": 2 / 3, "QQP": 3 / 8}


@pytest.mark.parametrize("name", TASKS)
def test_rows_are_laid_out_and_balanced(name):
    made = offline_task(name, {"train": 330, "dev": 44})
    assert {split: len(found) for split, found in made.items()} == {"train": 330, "dev": 44}
    ids = [row["id"] for found in made.values() for row in found]
    assert len(set(ids)) == len(ids)
    labels = Counter(row.get("label") for row in made["train"])
    keys = set(made["train"][0])
    if name == "SQuAD":
        assert keys == {"id", "context", "question", "answers"}
    elif name == "probing":
        assert keys == {"id", "text", "tree", "features"} and set(made["train"][0]["features"]) == set(probes.FEATURES)
    elif name == "STS-B":
        assert keys == {"id", "text", "text_pair", "label"} and set(labels) == {k / 2 for k in range(11)}
        assert all(type(label) is float for label in labels) and set(labels.values()) == {30}
    else:
        assert keys - {"text_pair"} == {"id", "text", "label"} and all(type(label) is int for label in labels)
        assert sorted(labels) == list(range(len(labels)))
        if name in SHARES:
            assert abs(labels[1] / 330 - SHARES[name]) < 0.01
        else:
            assert max(labels.values()) - min(labels.values()) <= 1
    assert ("text_pair" in keys) == (name in "STS-B MRPC QQP MNLI SNLI QNLI RTE WNLI diagnostic".split())


def texts(row: dict) -> tuple[str, ...]:
    return tuple(sorted(row[key].casefold() for key in ("text", "text_pair", "context", "tree") if key in row))


@pytest.mark.parametrize("name", TASKS)
def test_no_row_is_in_two_splits_whatever_the_seeds(name):
    one, two = (offline_task(name, {"train": 200, "dev": 100, "test": 100}, seed) for seed in (0, 1))
    for mine, other in ((one, one), (one, two)):
        for a, b in (("train", "dev"), ("train", "test"), ("dev", "test")):
            assert not {texts(r) for r in mine[a]} & {texts(r) for r in other[b]}
    if name != "SQuAD":
        everything = [texts(row) for found in one.values() for row in found]
        assert len(set(everything)) == len(everything)


def test_dev_speaks_of_facts_that_training_never_begins_with():
    """Who did what to whom in the first text: no such triple of dev is one of training, however many there are (of so
    many, drawn freely, dozens would be)."""
    made = offline_task("STS-B", {"train": 3000, "dev": 1000})
    triples = {}
    for split, found in made.items():
        read = [sentences(row["text"])[0][0] for row in found]
        triples[split] = {(c.verb, *sorted((c.subject.head, c.object.head))) for c in read}
    assert len(triples["dev"]) > 700 and not triples["dev"] & triples["train"]


@pytest.mark.parametrize("name", TASKS)
def test_longer_sets_begin_with_shorter_ones_and_seeds_differ(name):
    short, long = rows(name, 20, 5), rows(name, 60, 5)
    assert long[:20] == short == rows(name, 20, 5)
    assert rows(name, 20, 6) != short
    assert offline_task(name, {"dev": 9, "train": 20}, 5)["train"] == short


def test_rows_do_not_depend_on_the_order_of_hashes():
    code = (
        "import hashlib, json\nfrom mpolab.grammar import OFFLINE, offline_task\n"
        "made = {name: offline_task(name, {'train': 12, 'dev': 6}, 3) for name in OFFLINE}\n"
        "print(hashlib.sha256(json.dumps(made).encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and len(found.pop().strip()) == 64


def test_dice_are_pinned():
    """What every Python must draw: the rows of a record stand on these numbers."""
    dice = Dice(0, "MRPC", "train")
    assert [dice.below(1000) for _ in range(6)] == PINNED
    assert [pool_of(key) for key in ("a", "b", "c", "doctor|help|lawyer")] == PINNED_POOLS
    assert sorted(n for pool in POOLS.values() for n in pool) == list(range(20))


PINNED = [908, 524, 839, 22, 835, 642]
PINNED_POOLS = ["train", "train", "dev", "test"]


@given(st.integers(1, 40), st.integers(0, 10**9), st.data())
def test_dice_draw_what_they_should(n, seed, data):
    k = data.draw(st.integers(0, n))
    some = Dice(seed).several(range(n), k)
    assert len(some) == len(set(some)) == k and set(some) <= set(range(n))
    assert sorted(Dice(seed).shuffled(range(n))) == list(range(n))
    assert Dice(seed).pick({"a": 0.0, "b": 1.0}) == "b" and 0 <= Dice(seed).below(n) < n


@given(st.sampled_from(TASKS), st.integers(1, 12), st.integers(-5, 10**6))
def test_any_size_from_any_seed(name, size, seed):
    made = offline_task(name, {"train": size}, seed)["train"]
    assert len(made) == size
    assert all(row["text"].strip() == row["text"] != "" for row in made if "text" in row)


def test_words_are_many_and_well_formed():
    assert len(set(lexicon.content_words())) > 400
    forms = {verb.base: lexicon.forms(verb.base) for verb in lexicon.VERBS}
    assert forms["carry"] == ("carried", "carried", "carries", "carrying")
    assert forms["grab"] == ("grabbed", "grabbed", "grabs", "grabbing")
    assert forms["chase"] == ("chased", "chased", "chases", "chasing") and forms["describe"][3] == "describing"
    assert lexicon.NOUNS["pony"].plural == "ponies" and lexicon.NOUNS["wolf"].plural == "wolves"
    assert lexicon.NOUNS["poet"].above == ("writer", "person")
    assert lexicon.article("apple") == "an" and lexicon.article("uniform") == "a"


# -------------------------------------------------------------------------------------------------------------- floors

# (at least, at most) of a bag of words in accuracy (correlation for STS-B, F1 for SQuAD), in per cent
BAGS = {"CoLA": (58, 76), "SST-2": (55, 75), "MRPC": (55, 72), "STS-B": (5, 40), "QQP": (52, 72), "MNLI": (38, 65),
        "QNLI": (45, 68), "RTE": (50, 75), "WNLI": (40, 62), "SNLI": (40, 68), "SQuAD": (20, 60),
        "IMDB": (52, 78)}  # fmt: skip


@pytest.mark.parametrize("name", BAGS)
def test_a_bag_of_words_is_far_from_perfect(name):
    pytest.importorskip("sklearn")
    found = floors(offline_task(name, {"train": 800, "dev": 300}))
    measure = {"STS-B": "pearson", "SQuAD": "f1"}.get(name, "accuracy")
    low, high = BAGS[name]
    assert low < found["bag of words"][measure] < high, found
    majority = {"CoLA": 70, "MRPC": 66.7, "QQP": 62.5, "MNLI": 33.3, "SNLI": 33.3, "STS-B": 0}.get(name, 50)
    if name == "SQuAD":
        assert found["majority"]["f1"] < 15
    else:
        assert abs(found["majority"][measure] - majority) < 1, found


def test_floors_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    from mpolab.grammar.floors import _classification, _regression

    g = np.random.default_rng(0)
    gold, given_ = g.integers(0, 3, 50), g.integers(0, 3, 50)
    scores = _classification(given_.tolist(), [{"label": int(k)} for k in gold])
    assert scores["accuracy"] == pytest.approx(100 * metrics.accuracy_score(gold, given_))
    assert scores["matthews"] == pytest.approx(100 * metrics.matthews_corrcoef(gold, given_))
    x, y = g.normal(size=30), g.normal(size=30)
    assert _regression(x, [{"label": float(v)} for v in y])["pearson"] == pytest.approx(100 * np.corrcoef(x, y)[0, 1])


def test_floors_want_rows():
    with pytest.raises(DataError, match="no rows of 'dev'"):
        floors({"train": rows("SST-2", 4)})
    same = [{"text": "a b", "label": 1}, {"text": "b c", "label": 1}]
    assert floors({"train": same, "dev": same})["bag of words"]["accuracy"] == 100


# ----------------------------------------------------------------------------------------------------------- bad input


def test_unknown_tasks_name_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'SST-2'"):
        offline_task("SST2")
    with pytest.raises(UnknownNameError, match="probing-tense"):
        offline_task("probing-tens")


@pytest.mark.parametrize("sizes", [{}, {"train": 0}, {"train": -3}, {"train": 2.5}, {"train": True}, {"train": "9"}])
def test_bad_sizes(sizes):
    with pytest.raises(DataError, match=r"split|sizes"):
        offline_task("SST-2", sizes)


@pytest.mark.parametrize("seed", ["0", 1.5, None, True])
def test_bad_seeds(seed):
    with pytest.raises(DataError, match="seed"):
        offline_task("SST-2", {"train": 3}, seed)


def test_more_rows_than_the_grammar_has(monkeypatch):
    """An exhausted set says how many there are instead of going on for ever."""
    from mpolab.grammar import tasks

    def make(speaker, *_):
        return {"text": speaker.dice.one("abcd")}

    monkeypatch.setitem(tasks.OFFLINE, "tiny", tasks.Offline(make, (0, 1)))
    assert len(offline_task("tiny", {"train": 4})["train"]) == 4
    with pytest.raises(DataError, match="about 4 different rows of tiny"):
        offline_task("tiny", {"train": 5})
