"""BLEU-n and Self-BLEU-n of generated texts, by counting that does not grow with texts times references.

BLEU (Papineni et al., 2002): with p_k the share of a text's k-grams that a reference has too (each counted at most as
often as in the one reference that has it most), c the text's length and r the length of the reference closest to it,

    BLEU-n = min(1, exp(1 - r / c)) * (p_1 p_2 ... p_n)^(1/n).

Self-BLEU-n (Zhu et al., 2018): each text against all others, the mean over texts. **High means alike**: texts that
repeat each other. MPOE (section 4.1, Table 1) reports BLEU-2, BLEU-4 and Self-BLEU-2 and counts a higher Self-BLEU
among its gains, where it is a loss of diversity.

The paper says neither how a test set's BLEU is averaged, nor what the references of a text are, nor how it is smoothed.
Here the defaults are those of Texygen, the toolkit of Zhu et al.: the mean over texts (nltk's `sentence_bleu`), all
references for every text, uniform weights, and 0.1 in place of a count of zero (nltk's `method1`; Chen and Cherry,
2014). Texygen's fast variant, its default, looks at the first 500 texts only, here all are taken; it cuts words with
nltk's `word_tokenize`, here `tokenize` does. Scores that differ in one of these are not comparable: a BLEU-2 of 28 on
WikiText-2 beside one of 62 on EMNLP News (Table 1) suggests that the two had different references. `level`, `smoothing`
and a list of references for each text are the alternatives. All scores are **per cent**.
"""

from __future__ import annotations

import bisect
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence

from .errors import DataError, unknown

Words = Sequence[Hashable]
Gram = tuple[Hashable, ...]

EPSILON = 0.1
"""The count that "epsilon" puts in the place of none."""

SMOOTHINGS = ("epsilon", "add-one", "none")
LEVELS = ("text", "corpus")


def bleu(
    texts: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    n: int = 2,
    *,
    level: str = "text",
    smoothing: str = "epsilon",
    tokenize: Callable[[str], Words] = str.split,
) -> float:
    """BLEU-n in per cent of generated texts.

    references: texts, all of which are references of every generated text (Texygen); or for each generated text the
    list of its own (translation; the true continuations of prompts).
    level: "text", the mean over the scores of single texts; "corpus", counts and lengths summed over all texts before
    they are divided (Papineni's own; nltk's `corpus_bleu`).
    smoothing: what a precision with no k-gram in common becomes. "epsilon": EPSILON / the k-grams of the text (nltk's
    method1); "add-one": both counts plus one in every order above the first (method2; Lin and Och, 2004); "none": 0,
    and BLEU with it.
    tokenize: from a text to its words; by default at white space, so "end." is another word than "end"
    (`words_and_marks` separates them).

    A text that has no word in common with its references scores 0 whatever the smoothing, an empty one too. A text with
    fewer than n words has no n-gram at all: its p_n is 0 of 1, smoothed like any other zero (so it is 0.1 by default).

    Raises DataError for n below 1, no texts, no references, a reference list of another length, and what is no text;
    UnknownNameError for another level or smoothing.
    """
    _check(n, smoothing)
    if level not in LEVELS:
        raise unknown("level of BLEU", level, LEVELS)
    generated = _cut("texts", texts, tokenize)
    references = _listed("references", references)
    if not references:
        raise DataError("BLEU without references: give the texts of the test set, or a list of references per text.")
    if all(isinstance(one, str) for one in references):
        shared = References(_cut("references", references, tokenize), n)
        counted = [shared.matches(words) for words in generated]
    else:
        if len(references) != len(generated):
            raise DataError(
                f"{len(generated):,} texts and {len(references):,} lists of references: one list for each text is "
                "needed, or one list of texts for all."
            )
        own = (_cut(f"references[{k}]", these, tokenize) for k, these in enumerate(references))
        counted = [References(these, n).matches(words) for words, these in zip(generated, own)]
    if level == "corpus":
        return 100.0 * _score(_summed(counted), smoothing)
    return 100.0 * math.fsum(_score(one, smoothing) for one in counted) / len(counted)


def self_bleu(
    texts: Sequence[str],
    n: int = 2,
    *,
    smoothing: str = "epsilon",
    tokenize: Callable[[str], Words] = str.split,
) -> float:
    """Self-BLEU-n in per cent: the mean over texts of BLEU-n with all the other texts as references.

    100 where every text has a double, near 0 where no two share a word. Arguments as for `bleu`. The time grows with
    the number of words, not with the square of the number of texts. It grows with the number of texts itself: compare
    sets of the same size.

    Raises DataError as `bleu` does, and for fewer than two texts: a single one has no others.
    """
    _check(n, smoothing)
    generated = _cut("texts", texts, tokenize)
    if len(generated) < 2:
        raise DataError("Self-BLEU of one text: it compares each text with all others, so give at least two.")
    others = References(generated, n)
    scores = [_score(others.matches(words, k), smoothing) for k, words in enumerate(generated)]
    return 100.0 * math.fsum(scores) / len(scores)


def words_and_marks(text: str) -> list[str]:
    """A text's words and punctuation marks, a mark each: close to what Texygen's tokenizer does to raw English."""
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text)


# -------------------------------------------------------------------------------------------------------- the counting


class References:
    """What a set of references knows, so that a text is scored in time proportional to its own length.

    grams[k]: k+1-gram -> (most often in one reference, next most often in another one, number of the first): all that
    is needed to leave any single reference out. lengths: their lengths in order, each once, and how many have it.
    """

    def __init__(self, references: Sequence[Words], n: int):
        self.n = n
        self.grams: list[dict[Gram, tuple[int, int, int]]] = [{} for _ in range(n)]
        for number, words in enumerate(references):
            for order, best in enumerate(self.grams):
                for gram, count in _grams(words, order + 1).items():
                    first, second, owner = best.get(gram, (0, 0, -1))
                    if count > first:
                        best[gram] = (count, first, number)
                    elif count > second:
                        best[gram] = (first, count, owner)
        self.of_length = Counter(map(len, references))
        self.lengths = sorted(self.of_length)

    def matches(self, words: Words, without: int | None = None) -> _Matches:
        """The counts of a text; without: leave the reference of that number out, which must be this text itself."""
        common, all_of = [], []
        for order, best in enumerate(self.grams):
            found = 0
            for gram, count in _grams(words, order + 1).items():
                first, second, owner = best.get(gram, (0, 0, -1))
                found += min(count, second if owner == without else first)
            common.append(found)
            all_of.append(max(1, len(words) - order))
        return _Matches(common, all_of, len(words), self.closest(len(words), None if without is None else len(words)))

    def closest(self, length: int, without: int | None = None) -> int:
        """The length of a reference closest to `length`, of two the shorter; without: one of that length is left out.

        By bisection: O(log of the number of different lengths).
        """
        place = bisect.bisect_left(self.lengths, length)
        near = self.lengths[max(0, place - 1) : place + 2]  # below, at or above, and above where `without` falls away
        left = [one for one in near if one != without or self.of_length[one] > 1]
        return min(left, key=lambda one: (abs(one - length), one))


class _Matches:
    """common[k] of all_of[k] k+1-grams are in a reference; the text's length and its closest reference's, in words."""

    def __init__(self, common: Sequence[int], all_of: Sequence[int], length: int, closest: int):
        self.common, self.all_of, self.length, self.closest = common, all_of, length, closest


def _summed(counted: Sequence[_Matches]) -> _Matches:
    return _Matches(
        [sum(column) for column in zip(*(one.common for one in counted))],
        [sum(column) for column in zip(*(one.all_of for one in counted))],
        sum(one.length for one in counted),
        sum(one.closest for one in counted),
    )


def _score(counted: _Matches, smoothing: str) -> float:
    """BLEU, 0..1."""
    if counted.common[0] == 0:
        return 0.0
    logs = []
    for order, (common, all_of) in enumerate(zip(counted.common, counted.all_of)):
        precision = common / all_of
        if smoothing == "add-one" and order > 0:
            precision = (common + 1) / (all_of + 1)
        elif common == 0:
            precision = EPSILON / all_of if smoothing == "epsilon" else 0.0
        if precision == 0:
            return 0.0
        logs.append(math.log(precision))
    brevity = min(0.0, 1.0 - counted.closest / counted.length)
    return math.exp(brevity + math.fsum(logs) / len(logs))


def _grams(words: Words, order: int) -> Counter[Gram]:
    return Counter(zip(*(words[k:] for k in range(order))))


# ---------------------------------------------------------------------------------------------------------- the input


def _check(n: int, smoothing: str) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise DataError(f"BLEU-{n}: the order is a whole number of words from 1 up, such as 2 or 4.")
    if smoothing not in SMOOTHINGS:
        raise unknown("smoothing", smoothing, SMOOTHINGS)


def _listed(what: str, texts: Iterable) -> list:
    if isinstance(texts, str | bytes):
        raise DataError(f"{what} is one text, {texts[:40]!r}: give a list of texts.")
    try:
        return list(texts)
    except TypeError:
        raise DataError(f"{what} is a {type(texts).__name__}: give a list of texts.") from None


def _cut(what: str, texts: Iterable[str], tokenize: Callable[[str], Words]) -> list[Words]:
    """The words of each text; DataError names the first that is no text."""
    texts = _listed(what, texts)
    if not texts:
        raise DataError(f"{what} is empty, so there is nothing to score: give a list of texts.")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{what}[{place}] is {text!r}, expected a text (decode token numbers first).")
    return [list(tokenize(text)) for text in texts]
