"""Probing tasks from a treebank in CoNLL-U: SentEval's where the annotation allows, parts of speech, dependency edges.

What the annotation does not allow is left out: a dependency treebank has no constituents, so there is no
"top-constituents". The others differ from the official sets as follows, since a treebank is a hundredth of their size:

- sentence-length: tokens with punctuation, in SentEval's bins.
- word-content: TARGETS words instead of a thousand: the most frequent nouns, verbs and adjectives of four letters or
  more in train; a sentence has one of them, once.
- tree-depth: of the dependency tree, in words from the root down; not made independent of length, as the official is.
- bigram-shift: as the official: two neighbouring words exchanged, no punctuation, not the first.
- tense: of the root, where it is a finite verb. subject-number, object-number: of the noun that is the root's subject
  or object. Forms are not kept apart between splits, as the official ones are.
- odd-man-out: a noun or verb replaced by another with the same features and about the same frequency; the bigrams
  with its neighbours are not looked at. What replaces is kept apart between splits.
- coordination-inversion: two clauses joined by the only conjunction of a sentence, in their order or exchanged.

Classes are balanced by leaving rows out, except of word-content, pos and dependency. Rows come from the treebank's own
train, dev and test files. Where there is no test file, as in a folder with two, the dev file is what is reported, and
every HELD-th sentence of train (by a checksum of its text) is what the probes are chosen on.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import DataError, DataNotFoundError
from ..folders import listing, read_bytes, sha256
from ..grammar.dice import Dice, pool_of
from ..tasks import Task, TaskData
from .conllu import RELATIONS, UPOS, Sentence, Word, read_conllu
from .tasks import PREFIX, PROBES, SPLITS, Probe, made

HELD = 6
TARGETS = 20
LENGTHS = ((5, 8), (9, 12), (13, 16), (17, 20), (21, 25), (26, 28))
DEPTHS = ("2", "3", "4", "5", "6", "7")
NUMBERS = {"Sing": "singular", "Plur": "plural"}
TENSES = {"Past": "past", "Pres": "present"}

Row = dict


def from_treebank(
    probes: Sequence[Probe] | None, folder: Path, sizes: Mapping[str, int | None], seed: int
) -> list[TaskData]:
    """The tasks of a folder with CoNLL-U files, plain or gzipped, whose names have "train", "dev" or "test" in them.

    probes: None for all that can be built. Raises DataNotFoundError where files are missing, DataError for a file that
    cannot be read and for a task that a treebank does not allow.
    """
    for probe in probes or ():
        if probe.name not in MAKERS:
            raise DataError(
                f"{probe.name!r} cannot be built from a treebank of dependencies, which has no constituents. Take it "
                f"from source='offline' or 'senteval', or one of {', '.join(MAKERS)}."
            )
    sentences, files = _read(folder)
    notes = []
    if "test" not in files:
        notes.append(f"no test file: the dev file is reported as test, every {HELD}th sentence of train is dev")
    origin = f"folder {folder.resolve().name}: {', '.join(about['file'] for about in files.values())}"
    tasks = []
    for probe in [PROBES[name] for name in MAKERS] if probes is None else probes:
        labels, rows = MAKERS[probe.name](sentences, seed)
        rows = {split: [{"id": f"{split}-{k}", **row} for k, row in enumerate(of)] for split, of in rows.items()}
        kind = "single" if probe.level == "sentence" else "tokens"
        task = Task(PREFIX["treebank"] + probe.name, kind, tuple(labels), splits=SPLITS)
        tasks.append(made(TaskData(task, rows, origin, str(folder), files, tuple(notes)), sizes, seed))
    return tasks


def _read(folder: Path) -> tuple[dict[str, list[Sentence]], dict[str, dict[str, str]]]:
    """Sentences by split, none of them twice, and the files they are from."""
    found, files = {}, {}
    for split in SPLITS:
        names = [path for path in sorted(folder.iterdir())
                 if re.search(rf"(^|[-_.]){split}[-_.].*?conllu(\.gz)?$", path.name, re.IGNORECASE)]  # fmt: skip
        if names:
            data = read_bytes(names[0])
            found[split] = read_conllu(data, names[0])
            files[split] = {"file": names[0].name, "sha256": sha256(data)}
    if "train" not in found or len(found) < 2:
        raise DataNotFoundError(
            f"{str(folder)!r} has no {'train' if 'train' not in found else 'dev or test'} file in CoNLL-U, such as "
            f"train.conllu or en_ewt-ud-dev.conllu.gz; it holds {listing(folder)}."
        )
    if len(found) == 2:
        train, other = found["train"], found.get("test") or found["dev"]
        held = [zlib.crc32(sentence.text.encode()) % HELD == 0 for sentence in train]
        found = {
            "train": [sentence for sentence, out in zip(train, held) if not out],
            "dev": [sentence for sentence, out in zip(train, held) if out],
            "test": other,
        }
    seen: set[str] = set()
    for split in reversed(SPLITS):
        new = {sentence.text: sentence for sentence in found[split] if sentence.text not in seen}
        seen |= set(new)
        found[split] = list(new.values())
    return found, files


# ------------------------------------------------------------------------------------------------- whole sentences

Found = tuple[Sequence[str], dict[str, list[Row]]]  # labels, rows by split
Sentences = Mapping[str, Sequence[Sentence]]


def _read_off(labels: Sequence[str], label: Callable[[Sentence], str | None]) -> Callable[[Sentences, int], Found]:
    """The maker of a task whose label is read off the sentence; None: the sentence has none."""

    def make(sentences: Sentences, seed: int) -> Found:
        rows = {split: [{"text": s.text, "label": label(s)} for s in of] for split, of in sentences.items()}
        return labels, _balanced({split: [r for r in of if r["label"] is not None] for split, of in rows.items()}, seed)

    return make


def _balanced(rows: Mapping[str, Sequence[Row]], seed: int) -> dict[str, list[Row]]:
    """As many rows of each class as the rarest has in that split, drawn at random, in their order."""
    kept = {}
    for split, of in rows.items():
        dice = Dice("treebank", split, seed)
        places: dict[str, list[int]] = {}
        for k, row in enumerate(of):
            places.setdefault(row["label"], []).append(k)
        least = min(map(len, places.values()), default=0)
        kept[split] = [of[k] for k in sorted(k for ks in places.values() for k in dice.several(ks, least))]
    return kept


def _length(sentence: Sentence) -> str | None:
    return next((f"{low}-{high}" for low, high in LENGTHS if low <= sentence.tokens <= high), None)


def _depth(sentence: Sentence) -> str | None:
    return str(sentence.depth) if str(sentence.depth) in DEPTHS else None


def _tense(sentence: Sentence) -> str | None:
    root = sentence.root
    finite = root.upos == "VERB" and root.features.get("VerbForm") == "Fin"
    return TENSES.get(root.features.get("Tense", "")) if finite else None


def _number(relation: str) -> Callable[[Sentence], str | None]:
    """Of the one noun that hangs on the root by this relation."""

    def number(sentence: Sentence) -> str | None:
        found = [w for w in sentence.children.get(sentence.root.number, ()) if w.relation.split(":")[0] == relation]
        noun = found[0] if len(found) == 1 and found[0].upos == "NOUN" else None
        return None if noun is None else NUMBERS.get(noun.features.get("Number", ""))

    return number


def _word_content(sentences: Sentences, seed: int) -> Found:
    """Of the most frequent content words of train, the one that a sentence has."""
    counts = Counter(
        word.form.lower()
        for sentence in sentences["train"]
        for word in sentence.words
        if word.upos in ("NOUN", "VERB", "ADJ") and word.form.isalpha() and len(word.form) >= 4
    )
    targets = sorted(word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TARGETS])
    rows: dict[str, list[Row]] = {}
    for split, of in sentences.items():
        rows[split] = []
        for sentence in of:
            said = [form for word in sentence.words if (form := word.form.lower()) in targets]
            if len(said) == 1:
                rows[split].append({"text": sentence.text, "label": said[0]})
    return targets, rows


# ----------------------------------------------------------------------------------------------- damaged sentences


def _damaged(
    name: str, labels: tuple[str, str], damage: Callable[[Sentences], Callable[[Sentence, Dice, str], str | None]]
) -> Callable[[Sentences, int], Found]:
    """The maker of a task that tells damaged sentences (the first label) from whole ones.

    damage: what all sentences say -> (sentence, dice, split) -> the damaged text, None for a sentence that cannot be
    damaged, which is then no row in its whole form either. Which sentences are damaged is drawn at random.
    """

    def make(sentences: Sentences, seed: int) -> Found:
        spoil = damage(sentences)
        rows: dict[str, list[Row]] = {}
        for split, of in sentences.items():
            rows[split] = []
            dice = Dice("treebank", name, split, seed)
            for sentence in of:
                text, whole = spoil(sentence, dice, split), dice.chance(0.5)
                if text is not None:
                    rows[split].append({"text": sentence.text if whole else text, "label": labels[whole]})
        return labels, _balanced(rows, seed)

    return make


def _is_word(word: Word) -> bool:
    """A token of its own, and no punctuation."""
    return word.alone and word.upos not in ("PUNCT", "SYM", "X", "NUM")


def _exchange(sentences: Sentences) -> Callable[[Sentence, Dice, str], str | None]:
    """Two neighbouring words change places; what stands between them and around them stays."""

    def spoil(sentence: Sentence, dice: Dice, split: str) -> str | None:
        if '"' in sentence.text:
            return None
        pairs = [
            (a, b)
            for a, b in zip(sentence.words[1:], sentence.words[2:])
            if _is_word(a) and _is_word(b) and a.form.lower() != b.form.lower() and a.span[1] < b.span[0]
        ]
        if not pairs:
            return None
        a, b = dice.one(pairs)
        text = sentence.text
        return text[: a.span[0]] + b.form + text[a.span[1] : b.span[0]] + a.form + text[b.span[1] :]

    return spoil


def _replace(sentences: Sentences) -> Callable[[Sentence, Dice, str], str | None]:
    """One noun or verb makes room for another of the same features and about the same frequency (to a factor of 2)."""

    def key(word: Word) -> tuple:
        return word.upos, tuple(sorted(word.features.items()))

    def fits(word: Word) -> bool:
        return word.alone and word.upos in ("NOUN", "VERB") and word.form.isalpha() and word.form.islower()

    counts = Counter((key(word), word.form) for of in sentences.values() for s in of for word in s.words if fits(word))
    others: dict[tuple, list[tuple[str, int]]] = {}
    for (kind, form), count in sorted(counts.items()):
        if count >= 3:
            others.setdefault((kind, pool_of(form)), []).append((form, count))

    @functools.cache
    def like(kind: tuple, form: str, split: str) -> list[str]:
        count = counts[kind, form]
        return [
            other for other, often in others.get((kind, split), ()) if other != form and count <= 2 * often <= 4 * count
        ]

    def spoil(sentence: Sentence, dice: Dice, split: str) -> str | None:
        choices = [
            (word, found) for word in sentence.words if fits(word) and (found := like(key(word), word.form, split))
        ]
        if not choices:
            return None
        word, forms = dice.one(choices)
        return sentence.text[: word.span[0]] + dice.one(forms) + sentence.text[word.span[1] :]

    return spoil


def _invert(sentences: Sentences) -> Callable[[Sentence, Dice, str], str | None]:
    """Two clauses around the only conjunction change places; capitals and the full stop stay where they belong."""

    def is_clause(sentence: Sentence, word: Word) -> bool:
        relations = {child.relation.split(":")[0] for child in sentence.children.get(word.number, ())}
        return bool(relations & {"nsubj", "csubj", "expl"})

    def spoil(sentence: Sentence, dice: Dice, split: str) -> str | None:
        joined = [word for word in sentence.words if word.upos == "CCONJ"]
        conjuncts = [word for word in sentence.children.get(sentence.root.number, ()) if word.relation == "conj"]
        if len(joined) != 1 or len(conjuncts) != 1 or joined[0].head != conjuncts[0].number:
            return None
        cc, second = joined[0], conjuncts[0]
        end = sentence.words[-1]
        inside = {number for number in sentence.below(second.number) if sentence.words[number - 1].upos != "PUNCT"}
        after = {word.number for word in sentence.words[cc.number - 1 :] if word.upos != "PUNCT"}
        if inside != after or cc.number == 1 or end.upos != "PUNCT" or not cc.alone or not end.alone:
            return None
        if not (is_clause(sentence, sentence.root) and is_clause(sentence, second)):
            return None
        text, opening = sentence.text, sentence.words[0]
        first = text[: cc.span[0]].rstrip(" ,;")
        middle = text[len(first) : cc.span[1]] + " "
        rest = text[cc.span[1] : end.span[0]].strip()
        if not first or not rest or opening.upos == "PUNCT" or not rest[0].isalpha():
            return None
        if opening.upos != "PROPN" and opening.form not in ("I", "I'm") and not opening.form.isupper():
            first = first[0].lower() + first[1:]
        space = text[: end.span[0]][len(text[: end.span[0]].rstrip()) :]
        return rest[0].upper() + rest[1:] + middle + first + space + text[end.span[0] :]

    return spoil


# ------------------------------------------------------------------------------------------------- words and edges


def _words(sentences: Sentences, seed: int) -> Found:
    """A row for every word: its universal part of speech."""
    return UPOS, {
        split: [
            {"text": s.text, "spans": [list(word.span)], "type": word.form.lower(), "label": word.upos}
            for s in of
            for word in s.words
            if word.span is not None
        ]
        for split, of in sentences.items()
    }


def _edges(sentences: Sentences, seed: int) -> Found:
    """A row for every word but the root: its relation to its head, without the subtype."""
    return RELATIONS, {
        split: [
            {
                "text": s.text,
                "spans": [list(head.span), list(word.span)],
                "type": word.form.lower(),
                "label": word.relation.split(":")[0],
            }
            for s in of
            for word in s.words
            if word.head and word.span is not None and (head := s.words[word.head - 1]).span is not None
        ]
        for split, of in sentences.items()
    }


MAKERS: dict[str, Callable[[Sentences, int], Found]] = {
    "sentence-length": _read_off([f"{low}-{high}" for low, high in LENGTHS], _length),
    "word-content": _word_content,
    "tree-depth": _read_off(DEPTHS, _depth),
    "bigram-shift": _damaged("bigram-shift", ("inverted", "original"), _exchange),
    "tense": _read_off(("past", "present"), _tense),
    "subject-number": _read_off(("singular", "plural"), _number("nsubj")),
    "object-number": _read_off(("singular", "plural"), _number("obj")),
    "odd-man-out": _damaged("odd-man-out", ("changed", "original"), _replace),
    "coordination-inversion": _damaged("coordination-inversion", ("inverted", "original"), _invert),
    "pos": _words,
    "dependency": _edges,
}
"""Task -> (sentences by split, seed) -> (labels, rows). A task that another treebank allows is one more line."""
