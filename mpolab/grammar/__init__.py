"""A small English grammar of our own, with gold labels: the offline twin of every task, at any size from a seed.

    lexicon        the words                         acceptability  CoLA
    clauses        meaning + style -> parse tree     opinions       SST-2, IMDB
    trees          parse trees and their text        meanings       MRPC, QQP, STS-B
    facts          a sampler of meanings             answers        QNLI, SQuAD
    dice           chance that is alike everywhere   inference      MNLI, SNLI, RTE, diagnostic
    tasks          offline_task: rows                pronouns       WNLI
    floors         what a task gives away            probes         ten probing tasks

These sets are made to be learnt from, not to replace GLUE: a score on one of them says nothing of a score on the other,
which is why their rows are recorded under "toy-..." names. What a model must beat on them is what `floors` gives.
Notebook 02 ("Lightweight fine-tuning") trains on them where nothing else is at hand.
"""

from .floors import bag_of_words, bag_of_words_answers, floors, majority, majority_answers
from .probes import PROBES
from .tasks import OFFLINE, offline_task

__all__ = [
    "OFFLINE",
    "PROBES",
    "bag_of_words",
    "bag_of_words_answers",
    "floors",
    "majority",
    "majority_answers",
    "offline_task",
]
