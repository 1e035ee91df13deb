"""Reading CoNLL-U files: sentences with words, their tags and heads, and where each stands in the text.

Ten columns between tabs, a word a line, sentences apart by an empty line, `#` before remarks
(https://universaldependencies.org/format.html). The text is put together from the tokens and their "SpaceAfter=No".
Words that are written as one token ("don't" is "do" and "n't") get the part of it that is theirs where their forms
spell it, and else none. Empty nodes ("8.1") belong to the enhanced graph and are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from ..folders import decode, lines_of

COLUMNS = 10
UPOS = ("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ",
        "SYM", "VERB", "X")  # fmt: skip
RELATIONS = ("acl", "advcl", "advmod", "amod", "appos", "aux", "case", "cc", "ccomp", "clf", "compound", "conj", "cop",
             "csubj", "dep", "det", "discourse", "dislocated", "expl", "fixed", "flat", "goeswith", "iobj", "list",
             "mark", "nmod", "nsubj", "nummod", "obj", "obl", "orphan", "parataxis", "punct", "reparandum", "root",
             "vocative", "xcomp")  # fmt: skip
"""The tags and relations of Universal Dependencies, without the subtypes of languages ("nsubj:pass")."""


class Word(NamedTuple):
    """One syntactic word. number: from 1; head: a number, 0 for the root. span: (begin, end) in the sentence's text;
    None where a token's words do not spell it. alone: whether it is a token of its own.
    """

    number: int
    form: str
    upos: str
    features: dict[str, str]
    head: int
    relation: str
    span: tuple[int, int] | None
    alone: bool


@dataclass(frozen=True)
class Sentence:
    """text, words in order, and the number of tokens (a token may be several words)."""

    text: str
    words: tuple[Word, ...]
    tokens: int

    @cached_property
    def children(self) -> dict[int, list[Word]]:
        """Head -> its dependents in order; 0 -> the root."""
        found: dict[int, list[Word]] = {}
        for word in self.words:
            found.setdefault(word.head, []).append(word)
        return found

    @property
    def root(self) -> Word:
        return self.children[0][0]

    def below(self, number: int) -> set[int]:
        """A word and all that hang on it."""
        found, waiting = {number}, [number]
        while waiting:
            new = {word.number for word in self.children.get(waiting.pop(), ())} - found
            found |= new
            waiting += new
        return found

    @property
    def depth(self) -> int:
        """Words on the longest way from the root down, the root included."""
        level, count = self.children[0], 0
        while level:
            count += 1
            level = [child for word in level for child in self.children.get(word.number, ())]
        return count


def read_conllu(data: bytes, path: Path) -> list[Sentence]:
    """All sentences of a file. Raises DataError with file and line for a line that is none, for a word without tag,
    head or relation, and for a sentence that is no tree."""
    found = []
    block: list[tuple[int, list[str]]] = []
    lines = [*lines_of(decode(data, path)), ""]
    for number, line in enumerate(lines, start=1):
        if line.startswith("#"):
            continue
        if line.strip():
            fields = line.split("\t")
            if len(fields) != COLUMNS:
                raise DataError(
                    f"{path}, line {number}: {len(fields)} columns between tabs, and CoNLL-U has {COLUMNS}: "
                    f"{line[:60]!r}. Columns that are not known hold an underscore."
                )
            block.append((number, fields))
        elif block:
            found.append(_sentence(block, path))
            block = []
    if not found:
        raise DataError(f"{path} has no sentence: the file is empty, or no CoNLL-U.")
    return found


def _sentence(block: list[tuple[int, list[str]]], path: Path) -> Sentence:
    forms = {int(fields[0]): fields[1] for _, fields in block if fields[0].isdecimal()}
    text, tokens = "", 0
    words: list[Word] = []
    shared: dict[int, tuple[int, int] | None] = {}  # of the words of tokens that are several
    for line, fields in block:
        numbers = _numbers(fields[0], len(words) + 1, f"{path}, line {line}")
        if not numbers:
            continue
        begin = len(text)
        if len(numbers) > 1:
            shared |= zip(numbers, _parts([forms.get(k, "") for k in numbers], fields[1], begin))
        elif numbers[0] in shared:
            words.append(_word(fields, shared[numbers[0]], False, f"{path}, line {line}"))
            continue
        else:
            words.append(_word(fields, (begin, begin + len(fields[1])), True, f"{path}, line {line}"))
        text += fields[1] + ("" if "SpaceAfter=No" in fields[9].split("|") else " ")
        tokens += 1
    sentence = Sentence(text.rstrip(" "), tuple(words), tokens)
    roots = len(sentence.children.get(0, ()))
    if roots != 1 or len(sentence.below(0)) != len(words) + 1:
        what = f"{roots} roots" if roots != 1 else "words that do not hang on its root"
        raise DataError(f"{path}, line {block[0][0]}: the sentence that begins here has {what}, so it is no tree.")
    return sentence


def _numbers(field: str, expected: int, where: str) -> list[int]:
    """The words of a line: one, those of a range ("3-4"), or none (an empty node, "8.1")."""
    if field == str(expected):
        return [expected]
    match = re.fullmatch(r"(\d+)(?:([-.])(\d+))?", field)
    if match is None:
        raise DataError(f"{where}: the first column is {field!r}, expected the number of a word, as 3, 3-4 or 3.1.")
    if match[2] == ".":
        return []
    first, last = int(match[1]), int(match[3] or match[1])
    if first != expected or last < first:
        raise DataError(f"{where}: the word is numbered {field}, and the next one should be {expected}.")
    return list(range(first, last + 1))


def _parts(forms: list[str], token: str, begin: int) -> list[tuple[int, int] | None]:
    """Where the words of a token stand, if their forms spell it."""
    if "".join(forms) != token:
        return [None] * len(forms)
    ends = list(accumulate(map(len, forms), initial=begin))
    return list(pairwise(ends))


def _word(fields: list[str], span: tuple[int, int] | None, alone: bool, where: str) -> Word:
    number, form, _, upos, _, features, head, relation = fields[:8]
    if upos not in UPOS or not head.isdecimal() or relation.split(":")[0] not in RELATIONS:
        raise DataError(
            f"{where}: the word {form!r} has the tag {upos!r}, the head {head!r} and the relation {relation!r}; "
            "expected those of Universal Dependencies, such as NOUN, 3 and nsubj."
        )
    known = {} if features == "_" else dict(pair.split("=", 1) for pair in features.split("|") if "=" in pair)
    return Word(int(number), form, upos, known, int(head), relation, span, alone)
