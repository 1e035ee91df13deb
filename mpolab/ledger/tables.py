"""Which of our models stands beside which row of a printed table, and where its numbers are: one entry for each printed
row that has one.

Nothing here is a result: `beside` fills the entries from records and by counting, `grids` draws both sides. Models,
tasks and settings are those of the recipes; where another recipe was tried later and gives the verdict of a claim
(`remedies`), it stands behind the first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from ..metrics import AVERAGES
from ..mpobert_recipes import ALL_TASKS as MPOBERT_TASKS
from ..mpobert_recipes import ALL_TOGETHER
from ..mpoe_glue import ALL_TASKS as MPOE_TASKS
from ..mpop import ALL_TASKS as MPOP_TASKS
from ..mpop import EQUAL, GENTLER
from . import counts
from .beside import Beside, Count, Grid, Place
from .evidence_mpobert import TABLE_1, TABLE_6

# -- columns ---------------------------------------------------------------------------------------------


def _tasks(paper: str, names: Iterable[str], where: str = "scores | dev | {metric}") -> dict[str, Place]:
    """A column a task, by the metric that the paper averages. paper: a key of AVERAGES."""
    return {
        task: Place(where.format(task=task, metric=AVERAGES[paper][task]), {"task": task.lower()}) for task in names
    }


_TOGETHER = "scores | dev | {task}/{metric}"
"""Of a run on several tasks at once."""


def _on_test(corpus: str = "", **columns: str) -> dict[str, Place]:
    """Of running text. corpus: "" = WikiText, or "news-", as recipes are called."""
    return {column: Place(f"scores | test | {metric}", {"corpus": corpus}) for column, metric in columns.items()}


_GENERATED = _on_test(PPL="perplexity", B2="bleu_2", B4="bleu_4")

# -- sizes -----------------------------------------------------------------------------------------------


def _dense(name: str, decimals: int = 0, cut: bool = True) -> Count:
    return Count("the model as released", partial(counts.dense, name), decimals, cut)


def _mpop(name: str, plan: str, of: str, decimals: tuple[int, int] = (1, 1), freeze: bool = True) -> dict[str, Count]:
    """#Pr and #To."""

    def part(k: int) -> float:
        return counts.mpop(name, plan, freeze)[k]

    return {column: Count(of, partial(part, k), decimals[k]) for k, column in enumerate(("#Pr", "#To"))}


def _last(layers: int) -> dict[str, Count]:
    of = "so many layers, the pooler, the classifier and the embeddings"
    return {"#Pr": Count(of, partial(counts.last_layers, layers), 1)}


def _mpobert(preset: str, of: str, decimals: int = 0, **changes: object) -> Count:
    return Count(of, partial(counts.mpobert, preset, **changes), decimals)


def _moe(name: str, kind: str, of: str, decimals: int = 0, experts: int = 8, **changes: object) -> Count:
    return Count(of, partial(counts.moe, name, kind, experts, **changes), decimals)


def _total(count: Count) -> dict[str, Count]:
    return {"#To": count}


def _depth(name: str) -> dict[str, Count]:
    return {"depth": Count("layers, those of a decoder as well", partial(counts.depth_of, name), None)}


def _as_factored_here() -> str:
    return f"{counts.auxiliary_of_bert()[1]:.2f} as factored here"


_ALBERT = {column: _dense("albert-base", 1, cut=False) for column in ("#Pr", "#To")}
_RELEASED = _mpop("albert-base", "released", "the released caps of the bonds", (1, 0))
_BERT = {column: _dense("bert-base", -1) for column in ("#Pr", "#To")}  # 110 is meant to two digits
_SETTING = "one setting of the caps that gives these counts"
_FITTED_ORDER = Count(
    "full bonds, the embedding's factors in an order that was fitted to the print",
    lambda: counts.auxiliary_of_bert()[0],
    1,
    aside=_as_factored_here,
)
_OTHERS = {row: _total(_dense(name, decimals, cut=False)) for row, name, decimals in TABLE_1}
_MPOBERTS = {
    "MPOBERT12": _total(
        _mpobert("mpobert-12", "with adapters of rank 8 and the heads of pre-training", heads=True, adapter_rank=8)
    ),
    **{
        f"MPOBERT{depth}": _total(
            _mpobert(f"mpobert-{depth.replace('+', 'plus')}", "with the heads of pre-training, no adapters", heads=True)
        )
        for depth in ("24", "48", "48+")
    },
}
_IN_CLUSTERS = _total(_moe("t5-large", "moefication", "its neurons in clusters, the routers left out", routers=False))
_EIGHT, _SIXTEEN = "eight experts", "sixteen experts"
_MOE = _total(_moe("gpt2", "moe", _EIGHT))
_MPOE = _total(_moe("gpt2", "mpoe", _EIGHT))


def _of_tensors(m: int) -> dict[str, Count]:
    of = "nine copies of a block's tensors, the routers left out"
    return _total(_moe("gpt2", "mpoe", of, 1, routers=False, keep_dense=True, plan=m))


# -- rows ------------------------------------------------------------------------------------------------


_MORE = "4,000 rows of SST-2 twice"
_MORE_OF_BOTH = "more rows, three times the updates"


def _tuned(name: str, model: str, counted: Mapping[str, Count]) -> Beside:
    """A row of MPOBERT's Table 1. name: of the model in recipes; model: in words."""
    return Beside(model, f"table1-{{task}}-{name}", (f"table1-{{task}}-{name}-more", _MORE), counted)


def _variant(name: str, model: str, counted: Count) -> Beside:
    """A row of MPOBERT's Tables 4 and 5."""
    later = f"table45-{{task}}-{name}-more", _MORE
    return Beside(model, f"table45-{{task}}-{name}", later, _total(counted))


_ADAPTED = {
    rank: _mpobert("mpobert-12", f"adapters of rank {rank}, no heads", 1, adapter_rank=int(rank))
    for rank in ("4", "8", "64")
}
_LONGER = "four times the updates"
_UNMASKED = f"{_LONGER}, and no gradient mask"
_FOR_WANT = "mpobert-mini has 24 layers and stands beside the row of 12, as the print has none of 24."
_MINIS = "albert-mini (12 layers) stands for ALBERT, mpobert-mini (24) for MPOBERT, MiniLM (6) for BERT."
_T5_12 = "T512 is counted as T5-small, which has six layers twice."
_VARIED = (
    "Twelve layers made from albert-mini as they are fine-tuned, without pre-training of their own; the first is "
    "MPOBERT with adapters of rank 8."
)
_GPT2_MINI = (
    "gpt2-mini stands for GPT-2, trained on the first documents of WikiText-103 and tested on that corpus; PPL is of "
    "its tokens, and compares with no other tokenizer's."
)

GRIDS: dict[str, Grid] = {
    grid.table: grid
    for grid in (
        Grid(
            "mpop-tab1",
            {
                name: Beside("MiniLM, dense", "mpop-sst-2-full", part=part)
                for name, part in (
                    ("Word embedding", "word embedding"),
                    ("Feed-forward", "FFN"),
                    ("Self-attention", "attention"),
                )
            },
            {
                column: Place(f"extra | variation | {{part}} | {k}")
                for k, column in enumerate(("(0,1e-4]", "(1e-4,1e-3]", "(1e-3,inf)"))
            },
            about="MiniLM stands for BERT. An entry that does not move at all counts in the first column.",
            digits=2,
        ),
        Grid(
            "mpop-tab3",
            {
                "ALBERT_pub": Beside(counted=_ALBERT),
                "ALBERT_rep": Beside("dense", "mpop-{task}-full", counted=_ALBERT),
                "MPOP": Beside(
                    "auxiliary tensors alone, then squeezed",
                    "mpop-{task}-squeezed",
                    ("mpop-{task}-squeezed-gentler", GENTLER["squeezed"][1]),
                    _RELEASED,
                ),
                "MPOP_full": Beside(
                    "MPOs at full bonds, all tensors train",
                    "mpop-{task}-full-mpo",
                    counted=_mpop("albert-base", "full", "full bonds", freeze=False),
                ),
                "MPOP_full+LFA": Beside(
                    "MPOs at full bonds, auxiliary tensors alone train",
                    "mpop-{task}-lfa",
                    counted=_mpop("albert-base", "full", "full bonds"),
                ),
                "MPOP_dir": Beside(
                    "cut at once to the squeezed size, then tuned",
                    "mpop-{task}-straight",
                    ("mpop-{task}-straight-equal", f"{EQUAL['straight'][1]}, as was chosen for squeezing"),
                    _RELEASED,
                ),
            },
            _tasks("mpop", MPOP_TASKS),
            average="Score",
            about="MiniLM (a BERT of 6 layers) stands for ALBERT.",
        ),
        Grid(
            "mpop-tab4",
            {
                "BERT": Beside("MiniLM, dense", "mpop-{task}-full", counted=_BERT),
                "MPOP_B": Beside(
                    "MiniLM, squeezed",
                    "mpop-{task}-squeezed",
                    counted=_mpop("bert-base", "bert-base", _SETTING),
                ),
                "DistilBERT": Beside(counted={column: _dense("distilbert") for column in ("#Pr", "#To")}),
                "MPOP_D": Beside(counted=_mpop("distilbert", "distilbert", _SETTING)),
                "MobileBERT": Beside(
                    "albert-mini, dense",
                    "mpop-{task}-full-albert-mini",
                    counted={column: _dense("mobilebert", 1) for column in ("#Pr", "#To")},
                ),
                "MPOP_M": Beside(
                    "albert-mini, squeezed",
                    "mpop-{task}-squeezed-albert-mini",
                    counted=_mpop(
                        "mobilebert", "mobilebert", f"{_SETTING}, a layer's third projection and the pooler left dense"
                    ),
                ),
            },
            _tasks("mpop", ("MRPC", "RTE", "WNLI")),
            about="MiniLM stands for BERT; albert-mini, small and of another family, stands where MobileBERT does.",
        ),
        Grid(
            "mpop-tab5",
            {
                **{
                    row: Beside(
                        f"MiniLM, the last {k}, pooler and classifier", f"mpop-{{task}}-last-{k}", counted=_last(k)
                    )
                    for row, k in (("BERT_10-12", 3), ("BERT_11-12", 2), ("BERT_12", 1))
                },
                "MPOP_B": Beside(
                    "MiniLM, MPOs at full bonds, auxiliary tensors alone train",
                    "mpop-{task}-lfa",
                    counted={"#Pr": _FITTED_ORDER},
                ),
            },
            _tasks("mpop", ("SST-2", "MRPC", "RTE")),
            about="MiniLM (6 layers) stands for BERT (12). Its embeddings do not train, where the print counts them.",
        ),
        Grid(
            "mpobert-tab1-dev",
            {
                "ALBERT12": _tuned("albert-mini", "albert-mini", _OTHERS["ALBERT12"]),
                **{row: Beside(counted=_OTHERS[row]) for row in ("ALBERT24", "T512", "XLNet12", "RoBERTa12", "BART12")},
                **{row: Beside(counted=counted) for row, counted in _MPOBERTS.items()},
                "MPOBERT24": _tuned("mpobert-mini", "mpobert-mini", _MPOBERTS["MPOBERT24"]),
                "BERT12": _tuned("minilm", "MiniLM", _OTHERS["BERT12"]),
            },
            _tasks("mpobert", MPOBERT_TASKS),
            average="Avg.",
            about=f"{_MINIS} {_T5_12}",
        ),
        Grid(
            "mpobert-tab1-test",
            {row: Beside(counted=counted) for row, counted in (_OTHERS | _MPOBERTS).items()},
            average="Avg.",
            about=f"GLUE's test sets have no public answers: no run of ours has scores on them. {_T5_12}",
        ),
        Grid(
            "mpobert-tab2",
            {
                "BERT12": Beside("MiniLM", "table2-minilm", counted=_OTHERS["BERT12"]),
                "MPOBERT48": Beside(counted=_MPOBERTS["MPOBERT48"]),
                "MPOBERT12": Beside("mpobert-mini", "table2-mpobert-mini", counted=_MPOBERTS["MPOBERT12"]),
                "ALBERT12": Beside(
                    "albert-mini",
                    "table2-albert-mini",
                    ("table2-albert-mini-own-rate", "three times the learning rate"),
                    _OTHERS["ALBERT12"],
                ),
            },
            _tasks("mpobert-multitask", ALL_TOGETHER, _TOGETHER),
            average="Avg.",
            about=f"{_MINIS} {_FOR_WANT}",
        ),
        Grid(
            "mpobert-tab3",
            {
                "BERT12": Beside("MiniLM", "table3-{task}-minilm-{shots}"),
                "ALBERT12": Beside("albert-mini", "table3-{task}-albert-mini-{shots}"),
                "MPOBERT12": Beside("mpobert-mini", "table3-{task}-mpobert-mini-{shots}"),
            },
            {
                f"{column}/{shots}": Place("scores | dev | accuracy", {"task": task, "shots": str(shots)})
                for column, task in (("SST-2", "sst-2"), ("MNLI", "mnli-10k"))
                for shots in (10, 20, 30)
            },
            about=f"{_MINIS} {_FOR_WANT}",
        ),
        Grid(
            "mpobert-tab4",
            {
                "MPOBERT12": _variant("rank-8", "adapters of rank 8", _ADAPTED["8"]),
                "w/o Adapter": _variant(
                    "without-adapter", "no adapters", _mpobert("mpobert-12", "no adapters, no heads", 1)
                ),
                "w/o PS": _variant(
                    "without-sharing",
                    "a centre for each layer",
                    _mpobert("mpobert-12", "a centre for each of twelve layers, no adapters", 1, num_central_groups=12),
                ),
            },
            _tasks("mpobert", ("SST-2", "RTE", "MRPC")),
            about=_VARIED,
        ),
        Grid(
            "mpobert-tab5",
            {rank: _variant(f"rank-{rank}", f"adapters of rank {rank}", _ADAPTED[rank]) for rank in ("4", "8", "64")},
            _tasks("mpobert", ("SST-2", "RTE", "MRPC")),
            about=_VARIED,
        ),
        Grid(
            "mpobert-tab6",
            {
                **{
                    row: Beside(counted=_total(_dense(name, decimals)) | _depth(name))
                    for row, name, decimals in TABLE_6
                },
                "MPOBERT48+": Beside(counted=_MPOBERTS["MPOBERT48+"] | _depth("mpobert-48plus")),
            },
            about="No run of ours has this size. T5-11B has 24 layers twice, T5-base's 24 are twice 12.",
        ),
        Grid(
            "mpoe-tab1-nlu",
            {
                "T5-Large": Beside(counted=_total(_dense("t5-large"))),
                "T5-Large +MoEfication": Beside(
                    "the neurons in eight clusters",
                    "experts-glue-{task}-moefication",
                    ("experts-glue-{task}-moefication-longer", _MORE_OF_BOTH),
                    _IN_CLUSTERS,
                ),
                "T5-Large +MoEfication++": Beside(counted=_IN_CLUSTERS),
                "T5-Large +Switch": Beside(counted=_total(_moe("t5-large", "switch", _EIGHT))),
                "T5-Large +MPOE": Beside(counted=_total(_moe("t5-large", "mpoe", _EIGHT))),
                "T5-Base": Beside(
                    "dense",
                    "experts-glue-{task}-dense",
                    ("experts-glue-{task}-dense-longer", _MORE_OF_BOTH),
                    _total(_dense("t5-base")),
                ),
                "T5-Base +Switch (Fedus et al.)": Beside(counted=_total(_moe("t5-base", "switch", _EIGHT))),
                "T5-Base +Switch": Beside(
                    "eight experts, top-1",
                    "experts-glue-{task}-switch",
                    ("experts-glue-{task}-switch-longer", f"{_MORE_OF_BOTH}, three times the learning rate"),
                    _total(_moe("t5-base", "switch", _EIGHT)),
                ),
                "T5-Base +MoE": Beside(
                    "eight experts, top-2",
                    "experts-glue-{task}-moe",
                    ("experts-glue-{task}-moe-longer", _MORE_OF_BOTH),
                    _total(_moe("t5-base", "moe", f"{_EIGHT}, the routers left out", routers=False)),
                ),
                "T5-Base +MPOE": Beside(
                    "eight experts with one centre",
                    "experts-glue-{task}-mpoe",
                    ("experts-glue-{task}-mpoe-longer", _MORE_OF_BOTH),
                    _total(_moe("t5-base", "mpoe", _EIGHT)),
                ),
                "T5-Base +MPOE++": Beside(
                    "sixteen experts with one centre",
                    "experts-glue-{task}-mpoe-16",
                    counted=_total(_moe("t5-base", "mpoe", _SIXTEEN, experts=16)),
                ),
            },
            _tasks("mpoe", MPOE_TASKS),
            average="Avg.",
            average_digits=2,
            about="t5-mini stands for T5-base, with MoEfication as well.",
        ),
        Grid(
            "mpoe-tab1-nlg",
            {
                "GPT-2": Beside(
                    "dense", "experts-{corpus}dense", ("experts-{corpus}dense-longer", _LONGER), _total(_dense("gpt2"))
                ),
                "+MoE": Beside("eight experts, top-2", "experts-{corpus}moe", counted=_MOE),
                "+Switch": Beside(
                    "eight experts, top-1", "experts-{corpus}switch", counted=_total(_moe("gpt2", "switch", _EIGHT))
                ),
                "+MPOE": Beside(
                    "eight experts with one centre",
                    "experts-{corpus}mpoe",
                    ("experts-{corpus}mpoe-longer", _UNMASKED),
                    _MPOE,
                ),
                "+MPOE++": Beside(
                    "sixteen experts with one centre",
                    "experts-{corpus}mpoe-16",
                    ("experts-{corpus}mpoe-16-longer", _UNMASKED),
                    _total(_moe("gpt2", "mpoe", _SIXTEEN, experts=16)),
                ),
            },
            {
                **_on_test(**{"PPL": "perplexity", "WikiText-2/BLEU-2": "bleu_2", "WikiText-2/BLEU-4": "bleu_4"}),
                **_on_test("news-", **{"EMNLP/BLEU-2": "bleu_2", "EMNLP/Self-BLEU-2": "self_bleu_2"}),
                **_on_test("reviews-", **{"IMDB/BLEU-2": "bleu_2", "IMDB/Self-BLEU-2": "self_bleu_2"}),
            },
            _on_test(**{"WikiText/Self-BLEU-2": "self_bleu_2"}),
            about=f"{_GPT2_MINI} EMNLP is its validation file alone, divided, IMDB 5,000 of its reviews; of either a "
            "run reads 800 windows. Of WikiText 100 texts are continued, of the others 300; the last column is not "
            "in the print.",
            digits=2,
        ),
        Grid(
            "mpoe-tab2",
            {
                "T5-Base": Beside(
                    "dense",
                    "experts-together-dense",
                    ("experts-together-dense-longer", _MORE_OF_BOTH),
                    _total(_dense("t5-base")),
                ),
                "+MPOE": Beside(
                    "eight experts with one centre",
                    "experts-together-mpoe",
                    ("experts-together-mpoe-longer", _MORE_OF_BOTH),
                    _total(_moe("t5-base", "mpoe", _EIGHT)),
                ),
            },
            _tasks("mpoe", MPOE_TASKS, _TOGETHER),
            average="Avg.",
            average_digits=2,
            about="t5-mini stands for T5-base.",
        ),
        Grid(
            "mpoe-tab3",
            {
                "+MoE": Beside("eight experts, top-2", "experts-moe", counted=_MOE),
                "w/o PS": Beside(
                    "eight experts with matrices of their own, no gradient mask",
                    "experts-without-sharing",
                    ("experts-without-sharing-longer", _LONGER),
                    _total(Count("eight experts, each with its centre", partial(counts.unshared, "gpt2"))),
                ),
                "w/o GM": Beside("no gradient mask", "experts-mask-0", ("experts-mpoe-longer", _LONGER), _MPOE),
                "+MPOE": Beside("mask 0.25", "experts-mpoe", ("experts-masked-longer", _LONGER), _MPOE),
            },
            _GENERATED,
            about=_GPT2_MINI,
            digits=2,
        ),
        Grid(
            "mpoe-tab4",
            {
                "GPT-2": Beside("dense", "experts-dense", ("experts-dense-longer", _LONGER), _total(_dense("gpt2", 1))),
                **{
                    f"MPOE (m={m})": Beside(
                        f"{words} tensors a matrix",
                        name,
                        (f"{name}-longer", _UNMASKED),
                        _of_tensors(m),
                    )
                    for m, words, name in (
                        (3, "three", "experts-m-3"),
                        (5, "five", "experts-mpoe"),
                        (7, "seven", "experts-m-7"),
                        (9, "nine", "experts-m-9"),
                    )
                },
            },
            _GENERATED,
            about=_GPT2_MINI,
            digits=2,
        ),
    )
}
"""Printed table -> what stands beside it, one for each of `papers.TABLES`."""
