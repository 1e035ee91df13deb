"""Layer by layer: what do a model's hidden states know of a sentence? Surface, syntax and meaning (MPOBERT Fig. 4).

    result = probe(model, tokenizer)                                # SentEval's ten tasks, made by the offline grammar
    result = probe(model, tokenizer, ["tense", "tree-depth"])       # some of them
    tasks = load_probing(source="treebank", data_dir=folder)        # built from CoNLL-U, with part of speech and edges
    tasks = load_probing(source="senteval", data_dir=folder)        # the official files
    probe(model, tokenizer, tasks).table()

tasks.py which tasks, and rows · conllu.py, treebank.py rows from a treebank · states.py hidden states ·
classifiers.py the probes · results.py what comes out · run.py `probe`.

Items: mpobert-fig4.
"""

from .results import CHOSEN, QUANTITIES, ProbeResult, Score, TaskResult, load_results
from .run import probe
from .states import POOLINGS, States
from .tasks import GROUPS, PROBES, SIZES, SOURCES, TEN, load_probing

__all__ = [
    "CHOSEN",
    "GROUPS",
    "POOLINGS",
    "PROBES",
    "QUANTITIES",
    "SIZES",
    "SOURCES",
    "TEN",
    "ProbeResult",
    "Score",
    "States",
    "TaskResult",
    "load_probing",
    "load_results",
    "probe",
]
