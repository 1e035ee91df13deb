"""What decides the claims of MPOP: one entry a claim."""

from __future__ import annotations

from ..mpop import ALL_TASKS, FAMILIES, TASKS
from ..papers import printed
from ..papers.mpop import GLUE
from ..tasks import OFFICIAL_ROWS
from . import counts, formulas
from .arithmetic import Arithmetic, Line, above, averages, holds, number, shares_of
from .compared import Compared, Measured, one, ways
from .studies import EVERY_LAYER, Studied, errors_apart, errors_of, growth_of, pace_of, spread_of

ENDS = ("", *(f"-{name}" for name in FAMILIES))
"""Of the names of recipes for MiniLM, a BERT, and for models of other families."""

FOUR = tuple(task.lower() for task in TASKS)
NINE = tuple(task.lower() for task in ALL_TASKS)
_THREE = ("sst-2", "mrpc", "rte")
_LOW_RANK = ("python scripts/low_rank_study.py", "about a minute")
_PLANS = ("python scripts/weights_study.py plans", "some seconds")
_GROWTH = ("python scripts/weights_study.py growth", "about a minute")


def _counted(what: str, table: str, row: str, column: str, ours: float, decimals: int = 1) -> Line:
    return number(what, printed(table, row, column), ours, decimals)


def _squeezed() -> list[Line]:
    trained, total = counts.mpop("albert-base", "released")
    return [
        _counted("trained, at the released caps:", "mpop-tab3", "MPOP", "#Pr", trained),
        _counted("in all:", "mpop-tab3", "MPOP", "#To", total, 0),
    ]


def _fewer(column: str, print_says: float) -> list[Line]:
    """Per cent fewer than ALBERT by the printed sizes; whether these can be had is `mpop-tab3-count-squeezed`."""
    ours, albert = printed("mpop-tab3", "MPOP", column), printed("mpop-tab3", "ALBERT_rep", column)
    return [number("by the printed sizes, per cent:", print_says, 100 * (1 - ours / albert), 0)]


def _auxiliary_of_bert() -> list[Line]:
    """At full bonds, with balanced factors; those of the embedding in the order of this package, and in another one."""
    fitted, here = counts.auxiliary_of_bert()
    what = f"at an order of the embedding's factors that was fitted to it ({here:.2f} at this package's):"
    return [_counted(what, "mpop-tab5", "MPOP_B", "#Pr", fitted)]


def _all_but_mnli() -> list[Line]:
    lines = above("mpop-tab3", "MPOP", "ALBERT_rep", [task for task in GLUE if task != "MNLI"])
    mnli = above("mpop-tab3", "ALBERT_rep", "MPOP", ["MNLI"])
    return [holds("above ALBERT on eight tasks, below on MNLI:", all(line.agrees for line in (*lines, *mnli)))]


def _gains(*tasks: str) -> list[float]:
    return [printed("mpop-tab3", "MPOP", task) - printed("mpop-tab3", "ALBERT_rep", task) for task in tasks]


def _larger_gains() -> list[Line]:
    named = ("CoLA", "RTE", "WNLI")
    gains, others = _gains(*named), _gains(*(task for task in GLUE if task not in named))
    shown = ", ".join(f"{task} {gain:+.1f}" for task, gain in zip(named, gains))
    return [Line("", f"{shown}, the others at most {max(others):+.1f}", min(gains) > max(others))]


def _small_sets() -> list[Line]:
    small = [task for task in GLUE if OFFICIAL_ROWS[task]["train"] < 4000]
    gains, others = _gains(*small), _gains(*(task for task in GLUE if task not in small))
    first, second = sum(gains) / len(gains), sum(others) / len(others)
    return [Line(f"mean of {', '.join(small)}:", f"{first:+.2f}, of the others {second:+.2f}", first > second)]


def _over_fitted() -> list[Line]:
    """Beside ALBERT, and beside the auxiliary tensors alone."""
    return [
        Line(f"{task}, beside {about}:", f"{ours:g} against {other:g}", ours < other)
        for about, rival in (("ALBERT", "ALBERT_rep"), ("auxiliary tensors alone", "MPOP_full+LFA"))
        for task in ("RTE", "MRPC")
        for ours, other in [(printed("mpop-tab3", "MPOP_full", task), printed("mpop-tab3", rival, task))]
    ]


def _fitted(row: str, name: str) -> list[Line]:
    """#Pr and #To at caps that were looked for until they gave the print."""
    about = "at caps that were fitted to it, trained", "in all"
    return [
        _counted(what, "mpop-tab4", row, column, size)
        for what, column, size in zip(about, ("#Pr", "#To"), counts.mpop(name, name))
    ]


def _same_architecture() -> list[Line]:
    """Heads and hidden size of the four released models."""
    lines = []
    for about, name in (("ALBERT", "albert-base"), ("BERT", "bert-base"), ("DistilBERT", "distilbert"),
                        ("MobileBERT", "mobilebert")):  # fmt: skip
        config = counts.config_of(name)
        found = config.num_attention_heads, config.hidden_size
        lines.append(Line(f"{about}:", f"{found[0]} heads, {found[1]} wide", found == (12, 768)))
    return lines


def _improved() -> list[Line]:
    """By the means, by how many scores, and by those that fall."""
    models, tasks = (("MPOP_D", "DistilBERT"), ("MPOP_M", "MobileBERT")), ("WNLI", "MRPC", "RTE")
    scores = [(printed("mpop-tab4", mine, task), printed("mpop-tab4", theirs, task), f"{theirs} on {task}")
              for mine, theirs in models for task in tasks]  # fmt: skip
    lines = []
    for k, (_, theirs) in enumerate(models):
        mine, others, _ = zip(*scores[3 * k : 3 * k + 3])
        lines.append(Line(f"mean of {theirs}", f"{sum(mine) / 3:.1f} against {sum(others) / 3:.1f}",
                          sum(mine) > sum(others)))  # fmt: skip
    higher = sum(a > b for a, b, _ in scores)
    lines.append(Line(f"{higher} of {len(scores)} scores", "are higher", higher == len(scores)))
    return [*lines, *(Line(about, f"{a:g} against {b:g}", False) for a, b, about in scores if a < b)]


def _gaps() -> list[Line]:
    """Of the last layers to MPOP, on RTE and where else it is widest."""
    lines = []
    for row in ("BERT_10-12", "BERT_11-12", "BERT_12"):
        gaps = {task: printed("mpop-tab5", "MPOP_B", task) - printed("mpop-tab5", row, task)
                for task in ("SST-2", "MRPC", "RTE")}  # fmt: skip
        widest = max(gaps, key=gaps.get)
        lines.append(Line(f"{row}:", f"{gaps['RTE']:.1f} on RTE, at most {gaps[widest]:.1f} (on {widest})",
                          widest == "RTE"))  # fmt: skip
    return lines


def _moved(*kinds: str, level: int) -> Measured:
    """The share of entries in one of Table 1's three intervals, the mean over kinds of matrices."""
    return Measured(("mpop-sst-2-full",), tuple(f"extra | variation | {kind} | {level}" for kind in kinds))


def _against_last(layers: int) -> Compared:
    return ways("mpop-{task}-lfa", f"mpop-{{task}}-last-{layers}", _THREE, "higher", f"auxiliaries - last {layers}")


_COLA_MAJORITY = 100 * 721 / 1043
"""Of CoLA's development set, rows that are acceptable."""


def _accuracies() -> list[Line]:
    rows = ("ALBERT_rep", "MPOP", "MPOP_full", "MPOP_full+LFA", "MPOP_dir")
    scores = [printed("mpop-tab3", row, "CoLA") for row in rows]
    shown = ", ".join(f"{score:g}" for score in scores)
    what = f"CoLA, whose majority class has {_COLA_MAJORITY:.1f} % of its rows:"
    return [Line(what, shown, min(scores) >= _COLA_MAJORITY)]


EVIDENCE = {
    "mpop-eq1-exact": Arithmetic(formulas.rebuilding),
    "mpop-eq2-bonds": Arithmetic(formulas.bonds_needed),
    "mpop-eq2-middle": Arithmetic(formulas.bonds_in_the_middle),
    "mpop-eq2-centre": Arithmetic(formulas.most_in_the_centre),
    "mpop-eq3-range": Arithmetic(
        formulas.printed_range, "it adds up the smallest values, more of them the less is cut, so it is no bound"
    ),
    "mpop-eq4-bound": Arithmetic(formulas.tight_range),
    "mpop-eq4-squares": Arithmetic(formulas.sum_of_squares, "without the root it depends on the unit"),
    "mpop-eq5-counts": Arithmetic(formulas.ratio_counts),
    "mpop-eq5-error": Arithmetic(formulas.error_over_ratio),
    "mpop-eq6-grows": Arithmetic(
        formulas.entropies, "a matrix built from small factors has wide bonds without entropy"
    ),
    "mpop-eq6-centre": Arithmetic(formulas.information_of_tensors),
    "mpop-eq6-values": Arithmetic(
        formulas.two_readings,
        "a matrix has singular values s, and the eigenvalues of M M^T are their squares; the authors' script squares",
    ),
    "mpop-eq6-same-effect": ways(
        "mpop-{task}-lfa",
        "mpop-{task}-central",
        NINE,
        "equal",
        "centres frozen - auxiliary tensors frozen",
        margin=1.0,
    ),
    "mpop-alg1-exact": Arithmetic(formulas.left_to_right),
    "mpop-alg2-stop": Arithmetic(formulas.stopping, "the text stops at the first harmless step"),
    "mpop-alg2-growth": Studied(
        "weights_growth.json",
        growth_of("error 0.1", 0, 1, 2, 3, 4),
        *_GROWTH,
        "higher",
        "factor a layer by which the error of one layer grows (each cut to 0.1) - 1",
    ),
    "mpop-alg2-accumulates": Studied(
        "weights_growth.json",
        growth_of("error 0.1", EVERY_LAYER),
        *_GROWTH,
        "higher",
        "factor a layer by which the error grows, all layers cut to 0.1, - 1",
    ),
    "mpop-alg2-exponential": Studied(
        "weights_growth.json",
        pace_of("error 0.1"),
        *_GROWTH,
        "equal",
        "factor a layer in the first half of the layers - in the last, all cut to 0.1",
        0.05,
        both=True,
    ),
    "mpop-tab1-little": Compared(
        ((_moved("FFN", "attention", level=2), 0.5),), "lower", "share that moved more than 1e-3, minus a half"
    ),
    "mpop-tab1-embedding": Compared(
        ((_moved("word embedding", level=0), _moved("FFN", "attention", level=0)),),
        "higher",
        "share of the embedding within 1e-4 - share of the others",
    ),
    "mpop-tab2-tucker": Arithmetic(formulas.mpo_beside_tucker),
    "mpop-tab2-cp": Arithmetic(formulas.cp_as_tucker, "of CP's terms it has one"),
    "mpop-tab2-capacity": Arithmetic(
        formulas.more_tensors, "joined, neighbouring tensors are one with longer legs, and the bonds stay as they are"
    ),
    "mpop-tab2-svd": Arithmetic(formulas.svd_is_mpo),
    "mpop-tab3-averages": Arithmetic(averages("mpop-tab3", "Score"), "the means of the rows as printed"),
    "mpop-tab3-wnli": Arithmetic(lambda: [number("40 of 71 rows:", printed("mpop-tab3", "MPOP", "WNLI"), 4000 / 71)]),
    "mpop-tab3-architecture": Arithmetic(_same_architecture, "MobileBERT as released has others"),
    "mpop-tab3-count-albert": Arithmetic(
        lambda: [number("", printed("mpop-tab3", "ALBERT_rep", "#To"), counts.dense("albert-base"), cut=False)],
        "cut off where the sizes beside it are rounded",
    ),
    "mpop-tab3-count-full": Arithmetic(
        lambda: [_counted("", "mpop-tab3", "MPOP_full", "#To", counts.mpop("albert-base")[1])]
    ),
    "mpop-tab3-count-lfa": Arithmetic(
        lambda: [_counted("", "mpop-tab3", "MPOP_full+LFA", "#Pr", counts.mpop("albert-base")[0])]
    ),
    "mpop-tab3-count-squeezed": Arithmetic(_squeezed, "caps of 385, 308 and 208 leave more than 9 M"),
    "mpop-tab3-91": Arithmetic(lambda: _fewer("#Pr", 91)),
    "mpop-tab3-metrics": Arithmetic(_accuracies, "as accuracies they would be below the majority class"),
    "mpop-tab3-22": Arithmetic(lambda: _fewer("#To", 22)),
    "mpop-tab3-all-but-mnli": Arithmetic(_all_but_mnli),
    "mpop-tab3-larger-gains": Arithmetic(_larger_gains),
    "mpop-tab3-small-sets": Arithmetic(_small_sets),
    "mpop-tab3-overfit": Arithmetic(_over_fitted, "on RTE the large model is far ahead of ALBERT"),
    "mpop-tab3-lfa": ways("mpop-{task}-lfa", "mpop-{task}-full-mpo", NINE, "higher", "centres frozen - all tensors"),
    "mpop-tab3-lfa-dense": ways("mpop-{task}-lfa", "mpop-{task}-full", NINE, "higher", "centres frozen - dense"),
    "mpop-tab3-full-dense": ways("mpop-{task}-full-mpo", "mpop-{task}-full", NINE, "higher", "all tensors - dense"),
    "mpop-tab3-squeezed-dense": ways("mpop-{task}-squeezed", "mpop-{task}-full", NINE, "higher", "squeezed - dense"),
    "mpop-tab3-squeezing": ways(
        "mpop-{task}-squeezed", "mpop-{task}-straight", NINE, "higher", "squeezed - cut at once"
    ),
    "mpop-tab4-wnli": Arithmetic(
        lambda: [shares_of(71, value) for value in (56.3, printed("mpop-tab4", "MobileBERT", "WNLI"))],
        "no number of right answers makes it",
    ),
    "mpop-tab4-sizes": Arithmetic(
        lambda: [
            _counted("BERT", "mpop-tab4", "BERT", "#To", counts.dense("bert-base"), -1),
            _counted("DistilBERT", "mpop-tab4", "DistilBERT", "#To", counts.dense("distilbert"), 0),
            _counted("MobileBERT", "mpop-tab4", "MobileBERT", "#To", counts.dense("mobilebert")),
        ],
        "MobileBERT as released, with its classifier",
    ),
    "mpop-tab4-count": Arithmetic(lambda: _fitted("MPOP_B", "bert-base")),
    "mpop-tab4-count-distil": Arithmetic(lambda: _fitted("MPOP_D", "distilbert")),
    "mpop-tab4-count-mobile": Arithmetic(lambda: _fitted("MPOP_M", "mobilebert")),
    "mpop-tab4-rte": Compared(
        tuple((one(f"mpop-rte-squeezed{end}"), one(f"mpop-rte-full{end}")) for end in ENDS),
        "higher",
        "squeezed - dense",
    ),
    "mpop-tab4-improves": Arithmetic(_improved, "the means are higher, single scores level or lower"),
    "mpop-tab5-counts": Arithmetic(
        lambda: [
            _counted(row, "mpop-tab5", row, "#Pr", counts.last_layers(layers))
            for layers, row in enumerate(("BERT_12", "BERT_11-12", "BERT_10-12"), 1)
        ]
    ),
    "mpop-tab5-count-mpop": Arithmetic(_auxiliary_of_bert),
    "mpop-tab5-same-model": Arithmetic(
        lambda: [
            formulas.distinct("#Pr", printed("mpop-tab5", "MPOP_B", "#Pr"), printed("mpop-tab4", "MPOP_B", "#Pr")),
            *(
                formulas.distinct(task, printed("mpop-tab5", "MPOP_B", task), printed("mpop-tab4", "MPOP_B", task))
                for task in ("MRPC", "RTE")
            ),
        ],
        "the same scores with two sizes",
    ),
    "mpop-tab5-rte-gap": Arithmetic(_gaps, "the gap is widest on MRPC"),
    "mpop-tab5-last-1": _against_last(1),
    "mpop-tab5-last-2": _against_last(2),
    "mpop-tab5-last-3": _against_last(3),
    "mpop-fig2-cpd": Studied(
        "low_rank.json",
        errors_of(("MPO", 3), ("CPD", 3)),
        *_LOW_RANK,
        "lower",
        "error of MPO - of CPD (n = 3, mean over four ratios)",
    ),
    "mpop-fig2-tucker": Arithmetic(
        formulas.memory_of_tucker, "a rank is at most its leg's length, so that its core is never above the matrix"
    ),
    "mpop-fig2-time": Arithmetic(
        formulas.time_over_n, "which way it goes depends on the matrix, and on whether it is counted"
    ),
    "mpop-fig2-n": Studied(
        "low_rank.json",
        errors_apart("MPO", 3, 5, 7),
        *_LOW_RANK,
        "equal",
        "largest - smallest error at n = 3, 5 and 7, mean over four ratios",
        0.05,
    ),
    # The margin is that of mpop-fig2-n, here as a share of the error: no error is above 1, so it is the stricter one.
    "mpop-fig2-plans-n": Studied(
        "weights_plans.json",
        spread_of(0.5, "n = 3", "n = 5", "n = 7", "n = 9"),
        *_PLANS,
        "equal",
        "(largest - smallest error) / mean of four n at ratio 0.5",
        0.05,
    ),
    "mpop-fig2-plans": Studied(
        "weights_plans.json",
        spread_of(0.5),
        *_PLANS,
        "equal",
        "(largest - smallest error) / mean of seven plans at ratio 0.5",
        0.05,
    ),
}
"""Id of a claim -> what decides it."""
