"""What decides the claims of MPOBERT: one entry a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..metrics import AVERAGES
from ..mpobert_config import MPOBertConfig
from ..mpobert_recipes import ALL_TASKS
from ..papers import printed, recomputed, table
from . import counts, formulas
from .arithmetic import Arithmetic, Line, above, averages, holds, number
from .compared import Compared, Measured, one, ways
from .studies import (
    ACCELERATIONS_FILE,
    BOTH,
    Studied,
    centres_of,
    depths_of,
    exponents,
    levels_of,
    times_as_fast,
    trends_of,
)

_DEV, _TEST = "mpobert-tab1-dev", "mpobert-tab1-test"
_NAMES = tuple(task.lower() for task in ALL_TASKS)
_SHOTS = (10, 20, 30)
_MLM_LOSS = "scores | test | mlm_loss"
TASK_3 = "probing-top-constituents"
"""Of SentEval's ten, counted from 0: length, word content, tree depth, and this one."""

_TREND = ("python scripts/trend_study.py --data-dir DIR", "about 25 min of a core")


def _counted(row: str, ours: float, where: str = _DEV, decimals: int = 0) -> Line:
    return number(row, printed(where, row, "#To"), ours, decimals)


def _leads() -> list[Line]:
    found = recomputed(_TEST)
    lines = []
    for rival, lead in (("BERT12", 1.7), ("XLNet12", 0.4)):
        lines.append(number(f"over {rival} by the means of the rows:", lead, found["MPOBERT12"][1] - found[rival][1]))
    return lines


def _24_layers() -> list[Line]:
    """By the means of the rows; whether the printed averages are these has claims of its own."""
    lines = []
    for sets, where in (("development", _DEV), ("test", _TEST)):
        mine, theirs = (recomputed(where)[name][1] for name in ("MPOBERT24", "ALBERT24"))
        lines.append(Line(f"{sets} sets, means of the rows:", f"{mine:.2f} against {theirs:.2f}", mine > theirs))
    return lines


def _metrics() -> list[Line]:
    """Of the tasks that are named beside the reference to MPOE."""
    return [
        Line(f"{task}:", f"{mine}, in MPOE {theirs}", mine == theirs)
        for task in ("STS-B", "MRPC")
        for mine, theirs in [(AVERAGES["mpobert"][task], AVERAGES["mpoe"][task])]
    ]


def _squad() -> list[Line]:
    dev, test = table(_DEV).rows, table(_TEST).rows
    both = [name for name in dev if name in test]
    same = sum(dev[name]["SQuAD"] == test[name]["SQuAD"] for name in both)
    return [Line("scores that are those of the development half:", f"{same} of {len(both)}", same < len(both))]


def _source() -> list[Line]:
    """Hidden sizes of the models and of the released ALBERT with 24 layers."""
    source = counts.config_of("albert-large")
    return [
        Line(f"{depth} layers: hidden size", f"{size} of ALBERT's {source.hidden_size}", size == source.hidden_size)
        for depth in (12, 24, 48)
        for size in [MPOBertConfig.preset(f"mpobert-{depth}").hidden_size]
    ]


TABLE_6 = (
    ("T5-11B", "t5-11b", -3),
    ("T5-base", "t5-base", -1),
    ("BERT-large", "bert-large", -1),  # 330 is meant to two digits, as 110 is
    ("ALBERT-xxlarge", "albert-xxlarge", 0),
    ("RoBERTa-large", "roberta-large", 0),
    ("BART-large", "bart-large", 0),
    ("XLNet-large", "xlnet-large", 0),
)
"""Row of Table 6, the same model as released, decimals that are meant."""


def _depths() -> list[Line]:
    lines = []
    for row, name, _ in TABLE_6:
        by_print, ours = printed("mpobert-tab6", row, "depth"), counts.depth_of(name)
        lines.append(Line(f"{row}: {by_print:g} printed,", f"{ours} layers", by_print == ours))
    return lines


TABLE_1 = (
    ("ALBERT12", "albert-base", 0),
    ("ALBERT24", "albert-large", 0),
    ("MobileBERT24", "mobilebert", 0),
    ("T512", "t5-small", 0),
    ("TinyBERT6", "tinybert-6", 0),
    ("DistilBERT6", "distilbert", 0),
    ("BERT12", "bert-base", -1),
    ("XLNet12", "xlnet-base", 0),
    ("RoBERTa12", "roberta-base", 0),
    ("BART12", "bart-base", -1),
)
"""Row of Table 1, the same model as released, decimals that are meant."""


def _auxiliary() -> list[Line]:
    lines = []
    for depth in (12, 24, 48):
        mine, all_of_it = counts.auxiliary(f"mpobert-{depth}"), counts.mpobert(f"mpobert-{depth}")
        shown = f"{mine:.1f} of {all_of_it:.1f} M, {100 * mine / all_of_it:.0f} %"
        lines.append(Line(f"{depth} layers:", shown, mine < 0.1 * all_of_it))
    return lines


def _deeper() -> list[Line]:
    """48 layers beside 24 of the same width, and beside BERT-base's 12."""
    lines = []
    for what, of, bert in (
        ("parameters", counts.mpobert, counts.dense),
        ("multiply-adds a token", counts.multiply_adds, counts.multiply_adds),
    ):
        deep = of("mpobert-48")
        for about, other in (("24", of("mpobert-24")), ("BERT-base's 12", bert("bert-base"))):
            lines.append(Line(f"{what} of 48 layers and {about}:", f"{deep:.1f} and {other:.1f} M", deep <= other))
    return lines


def _efficient() -> list[Line]:
    """By averages, and score by score."""
    on_test = ("T512", "MobileBERT24", "TinyBERT6", "DistilBERT6")
    rivals = [("T512", _DEV, "development"), *((rival, _TEST, "test") for rival in on_test)]
    means = [line for rival, where, _ in rivals for line in above(where, "MPOBERT48", rival, ["Avg."])]
    tasks, not_above = table(_DEV).averaged, {}
    for rival, where, about in rivals:
        behind = [task for task in tasks if printed(where, "MPOBERT48", task) <= printed(where, rival, task)]
        if behind:
            not_above[f"not above {rival} ({about} sets) on"] = behind
    number_of = len(rivals) * len(tasks)
    scores = number_of - sum(map(len, not_above.values()))
    return [
        Line(f"{sum(line.agrees for line in means)} of {len(means)}", "averages", all(line.agrees for line in means)),
        Line(f"{scores} of {number_of}", "scores", not not_above),
        *(Line(what, ", ".join(behind), False) for what, behind in not_above.items()),
    ]


def _competing() -> list[Line]:
    """By the best MPOBERT of each class of sizes, and at equal depth."""
    leads = []
    for where in (_DEV, _TEST):
        rows = table(where).rows
        for least, most in ((0, 50), (50, 100), (100, math.inf)):
            mine, others = (
                max(row["Avg."] for name, row in rows.items() if least < row["#To"] < most and named(name))
                for named in (lambda name: name.startswith("MPOBERT"), lambda name: not name.startswith("MPOBERT"))
            )
            leads.append(mine > others)
    lines = [Line("best of its size in Table 1:", f"{sum(leads)} of {len(leads)} averages", all(leads))]
    for what, where, rival, column in (
        ("12 layers on the test sets", _TEST, "ALBERT12", "Avg."),
        ("12 layers in Table 2", "mpobert-tab2", "BERT12", "Avg."),
        ("MNLI with 10 shots", "mpobert-tab3", "BERT12", "MNLI/10"),
    ):
        mine, theirs = printed(where, "MPOBERT12", column), printed(where, rival, column)
        lines.append(Line(f"{what}:", f"{mine:g} against {theirs:g} of {rival}", mine > theirs))
    return lines


def _few_shots() -> list[Line]:
    columns = table("mpobert-tab3").columns
    lines = [line for rival in ("BERT12", "ALBERT12") for line in above("mpobert-tab3", "MPOBERT12", rival, columns)]
    wrong = [line for line in lines if not line.agrees]
    return [Line("", f"{len(lines) - len(wrong)} of {len(lines)} comparisons", not wrong), *wrong]


def _81() -> list[Line]:
    rows = table("mpobert-tab2").rows
    values = [value for row in rows.values() for value in row.values()]
    mrpc = [row["MRPC"] for row in rows.values()]
    return [holds("82.0 in the column MRPC:", 82.0 in mrpc), holds("81.4 anywhere in the table:", 81.4 in values)]


def _comparable() -> list[Line]:
    """Beside the best of the other models of twelve layers, by the printed averages and by the means of the rows."""
    others = ("BERT12", "XLNet12", "RoBERTa12", "BART12")
    smallest = min(printed(_DEV, name, "#To") for name in others)
    mine = printed(_DEV, "MPOBERT48", "#To")
    lines = [Line("million parameters:", f"{mine:g} against {smallest:g} or more", mine < smallest)]
    for sets, where in (("development", _DEV), ("test", _TEST)):
        means = recomputed(where)
        for what, k in (("printed averages", 0), ("means of the rows", 1)):
            best = max(others, key=lambda name: means[name][k])
            ours, theirs = means["MPOBERT48"][k], means[best][k]
            lines.append(Line(f"{what}, {sets} sets:", f"{ours:.2f} against {theirs:.2f} of {best}", ours >= theirs))
    return lines


def _beside_ranks(rank: str, *others: str) -> list[Line]:
    """Scores with adapters of one rank beside those of others; "" = without adapters, a row of Table 4."""
    tasks, lines = ("SST-2", "RTE", "MRPC"), []
    for other in others:
        where = ("mpobert-tab5", other) if other else ("mpobert-tab4", "w/o Adapter")
        pairs = [(printed("mpobert-tab5", rank, task), printed(*where, task)) for task in tasks]
        shown = ", ".join(f"{mine:g} against {theirs:g}" for mine, theirs in pairs)
        about = f"rank {rank} against {f'rank {other}' if other else 'none'} on {', '.join(tasks)}:"
        lines.append(Line(about, shown, all(mine > theirs for mine, theirs in pairs)))
    return lines


def _fewer_at_twelve() -> list[Line]:
    """Sizes, with the averages beside them."""
    mine, lines = table(_TEST).rows["MPOBERT12"], []
    for name in ("ALBERT12", "T512", "BERT12", "XLNet12", "RoBERTa12", "BART12"):
        other = table(_TEST).rows[name]
        shown = f"{mine['#To']:g} against {other['#To']:g} M, {mine['Avg.']:g} against {other['Avg.']:g}"
        lines.append(Line(f"{name}:", shown, mine["#To"] < other["#To"]))
    return lines


def _small_ones() -> list[Line]:
    return [
        Line(f"MobileBERT, {what}:", f"{size:.1f} M", 50 < size < 100)
        for what, size in (("printed", printed(_TEST, "MobileBERT24", "#To")), ("counted", counts.dense("mobilebert")))
    ]


def _shots(rival: str) -> Compared:
    """The mean over shots, as smaller draws are part of larger ones."""

    def mean_of(task: str, model: str) -> Measured:
        return Measured(tuple(f"table3-{task}-{model}-{shots}" for shots in _SHOTS))

    pairs = tuple((mean_of(task, "mpobert-mini"), mean_of(task, rival)) for task in ("sst-2", "mnli-10k"))
    return Compared(pairs, "higher", f"mpobert-mini - {rival}, mean over shots")


def ablated(first: str, second: str, tasks: Sequence[str] = ("sst-2", "rte", "mrpc"), end: str = "") -> Compared:
    """Two of `mpobert_recipes.VARIANTS`. end: of the recipes' names."""
    about = f"{first.replace('-', ' ')} - {second.replace('-', ' ')}"
    return ways(f"table45-{{task}}-{first}{end}", f"table45-{{task}}-{second}{end}", tasks, "higher", about)


def hidden_loss(first: str, second: str, end: str = "") -> Compared:
    """Two ways to begin in Figure 3. end: of the recipes' names."""
    pair = one(f"fig3-{first}{end}", _MLM_LOSS), one(f"fig3-{second}{end}", _MLM_LOSS)
    return Compared((pair,), "lower", f"loss on hidden tokens, nats: {first} - {second}")


def gained(continued: str) -> Compared:
    """ALBERT's loss on hidden tokens behind more pre-training, and before it. continued: end of the recipe's name."""
    pair = one(f"fig3-{continued}", _MLM_LOSS), one("fig3-untouched", _MLM_LOSS)
    return Compared((pair,), "equal", "loss on hidden tokens, nats: ALBERT continued - as it was", margin=0.05)


EVIDENCE = {
    "mpobert-eq1-central": Arithmetic(formulas.central_share, "true of the FFN and of a whole layer"),
    "mpobert-eq1-middle": Arithmetic(formulas.largest_in_the_middle),
    "mpobert-eq1-reach": Arithmetic(formulas.reach_of_a_change),
    "mpobert-eq1-adapter": Arithmetic(formulas.adapters, "a quarter: four matrices of a layer have adapters"),
    "mpobert-eq1-centres": Studied(
        "weights_centres.json",
        centres_of("error left", 8),
        "python scripts/weights_study.py centres",
        "about two minutes",
        "lower",
        "relative error left over after 8 rounds of least squares: with a neighbour's centre - with a random one",
        both=True,
    ),
    "mpobert-eq2-bounded": Arithmetic(
        formulas.scalar_update, "the shared centre's part, which the corollary assumes away, grows with depth"
    ),
    "mpobert-eq3-bound": Arithmetic(formulas.scalar_bound, "the later layers pass a change on, and enlarge it"),
    "mpobert-eq8-last": Arithmetic(formulas.last_derivative, "eq. 8 tends to 1 where theta_N tends to 0"),
    "mpobert-eq2-depth": Studied(
        "depth.json",
        exponents(3, "theory", "copy", "SGD"),
        "python scripts/depth_study.py",
        "about 17 min",
        "lower",
        "exponent p of L^p (n = 3, SGD): scaled - copied",
    ),
    "mpobert-alg1-scale": Arithmetic(
        formulas.algorithm_1_scale, "with five tensors four are scaled where two are meant"
    ),
    "mpobert-alg1-same": Arithmetic(
        formulas.text_and_listing, "the listing begins every layer with the same direction, the text with another"
    ),
    "mpobert-alg1-updates": Arithmetic(
        formulas.updates_of_the_listing, "after such a step matrices are no products with one centre"
    ),
    "mpobert-alg1-rebuilding": Arithmetic(formulas.rebuilding_in_a_step),
    "mpobert-alg1-source": Arithmetic(_source, "it is too wide for twelve layers"),
    "mpobert-tab1-dev-averages": Arithmetic(averages(_DEV), "the means of the rows as printed"),
    "mpobert-tab1-test-averages": Arithmetic(averages(_TEST), "the means of the rows as printed"),
    "mpobert-tab1-lead": Arithmetic(_leads, "BERT's printed average is not the mean of its row"),
    "mpobert-tab1-24": Arithmetic(_24_layers),
    "mpobert-tab1-sizes": Arithmetic(
        lambda: [
            number(f"{row}:", printed(_TEST, row, "#To"), counts.dense(name), decimals, cut=False)
            for row, name, decimals in TABLE_1
        ],
        "cut off where the others are rounded",
    ),
    "mpobert-tab1-metrics": Arithmetic(_metrics, "MPOE, which is referred to, names others"),
    "mpobert-tab1-squad": Arithmetic(_squad, "SQuAD's test set is not public"),
    "mpobert-tab1-count": Arithmetic(
        lambda: [
            _counted("MPOBERT12", counts.mpobert("mpobert-12", heads=True, adapter_rank=8)),
            _counted("MPOBERT24", counts.mpobert("mpobert-24", heads=True)),
            _counted("MPOBERT48", counts.mpobert("mpobert-48", heads=True)),
        ]
    ),
    "mpobert-tab1-count-plus": Arithmetic(
        lambda: [
            number(what, 102, counts.mpobert("mpobert-48plus", heads=True, **changes), 0, cut=False)
            for what, changes in (
                ("without adapters:", {}),
                ("rank 8 beside four matrices:", {"adapter_rank": 8}),
                ("beside three:", {"adapter_rank": 8, "adapter_matrices": ("query", "key", "value")}),
            )
        ],
        "rounded as the 75 of 48 layers is, only three matrices with adapters make it, and the other rows need four "
        "or none",
    ),
    "mpobert-tab1-auxiliary": Arithmetic(_auxiliary, "every layer has its own, and deep models are made of them"),
    "mpobert-tab1-depth": Arithmetic(
        lambda: [
            Line(
                "48 layers:",
                f"{counts.mpobert('mpobert-48'):.1f} M against {counts.dense('bert-base'):.1f} M",
                counts.mpobert("mpobert-48") < counts.dense("bert-base"),
            )
        ]
    ),
    "mpobert-tab1-deeper": Arithmetic(_deeper, "fewer parameters only than BERT has, and seven times its work"),
    "mpobert-tab1-fewer": Arithmetic(_fewer_at_twelve, "ALBERT has fewer, and a higher average"),
    "mpobert-tab1-classes": Arithmetic(_small_ones, "it is a tiny one"),
    "mpobert-tab1-efficient": Arithmetic(_efficient, "by averages, but not in every task"),
    "mpobert-tab1-competing": Arithmetic(_competing, "at equal depth not always"),
    "mpobert-tab1-albert": ways(
        "table1-{task}-mpobert-mini",
        "table1-{task}-albert-mini",
        _NAMES,
        "higher",
        "mpobert-mini (24 layers) - albert-mini (12)",
    ),
    "mpobert-tab1-bert": ways(
        "table1-{task}-mpobert-mini",
        "table1-{task}-minilm",
        _NAMES,
        "higher",
        "mpobert-mini (24 layers) - MiniLM (6)",
    ),
    "mpobert-tab2-averages": Arithmetic(averages("mpobert-tab2")),
    "mpobert-tab2-mrpc": Arithmetic(_81, "82.0 is the average of MPOBERT12"),
    "mpobert-tab2-lead": Arithmetic(
        lambda: [
            number(f"by the {about}:", 1.4, found["MPOBERT48"][k] - found["BERT12"][k])
            for found in [recomputed("mpobert-tab2")]
            for k, about in enumerate(("printed averages", "means of the rows"))
        ]
    ),
    "mpobert-tab2-albert": ways(
        "table2-{task}",
        "table2-albert-mini",
        ("mpobert-mini",),
        "higher",
        "mpobert-mini - albert-mini",
    ),
    "mpobert-tab2-bert": ways("table2-{task}", "table2-minilm", ("mpobert-mini",), "higher", "mpobert-mini - MiniLM"),
    "mpobert-tab3-print": Arithmetic(_few_shots, "BERT is above it once"),
    "mpobert-tab3-bert": _shots("minilm"),
    "mpobert-tab3-albert": _shots("albert-mini"),
    "mpobert-tab4-count": Arithmetic(
        lambda: [
            _counted("MPOBERT12", counts.mpobert("mpobert-12", adapter_rank=8), "mpobert-tab4", 1),
            _counted("w/o Adapter", counts.mpobert("mpobert-12"), "mpobert-tab4", 1),
        ]
    ),
    "mpobert-tab4-count-unshared": Arithmetic(
        lambda: [_counted("w/o PS", counts.mpobert("mpobert-12", num_central_groups=12), "mpobert-tab4", 1)],
        "a centre for each layer is more numbers, not fewer",
    ),
    "mpobert-tab4-same-model": Arithmetic(
        lambda: [
            formulas.distinct(task, printed("mpobert-tab4", "MPOBERT12", task), printed(_DEV, "MPOBERT12", task))
            for task in ("SST-2", "RTE", "MRPC")
        ],
        "Table 1's row is that without adapters",
    ),
    "mpobert-tab4-adapter": ablated("rank-8", "without-adapter"),
    "mpobert-tab4-sharing": ablated("rank-8", "without-sharing"),
    "mpobert-tab4-crucial": ablated("without-adapter", "without-sharing"),
    "mpobert-tab5-count": Arithmetic(
        lambda: [
            _counted(rank, counts.mpobert("mpobert-12", adapter_rank=int(rank)), "mpobert-tab5", 1)
            for rank in ("4", "8", "64")
        ],
        "rank 64 is off",
    ),
    "mpobert-tab5-sufficient": Arithmetic(lambda: _beside_ranks("8", "4", "64", "")),
    "mpobert-tab5-necessity": Arithmetic(
        lambda: [line for rank in ("4", "8", "64") for line in _beside_ranks(rank, "")], "only rank 8 is above it"
    ),
    "mpobert-tab5-main": Arithmetic(
        lambda: [
            _counted(f"MPOBERT{depth}", counts.mpobert(f"mpobert-{depth}", heads=True, adapter_rank=8))
            for depth in (12, 24, 48)
        ],
        "24 and 48 layers have the printed sizes without adapters",
    ),
    "mpobert-tab5-rank-4": ablated("rank-8", "rank-4"),
    "mpobert-tab5-rank-64": ablated("rank-8", "rank-64"),
    "mpobert-tab6-same-model": Arithmetic(
        lambda: [
            formulas.distinct(split, printed("mpobert-tab6", "MPOBERT48+", split), printed(where, "MPOBERT48+", "Avg."))
            for split, where in (("dev", _DEV), ("test", _TEST))
        ],
        "two averages of one model",
    ),
    "mpobert-tab6-bert-large": Arithmetic(
        lambda: [
            number("by Table 6:", 0.1, printed("mpobert-tab6", "MPOBERT48+", "test") - 81.6),
            number("by Table 1's average of MPOBERT48+:", 0.1, printed(_TEST, "MPOBERT48+", "Avg.") - 81.6),
        ],
        "the two tables have two averages of MPOBERT48+",
    ),
    "mpobert-tab6-sizes": Arithmetic(
        lambda: [
            number(f"{row}:", printed("mpobert-tab6", row, "#To"), counts.dense(name), decimals)
            for row, name, decimals in TABLE_6
        ],
        "ALBERT-xxlarge is smaller by a twentieth, BART-large and XLNet-large by less than a million",
    ),
    "mpobert-tab6-depths": Arithmetic(_depths, "ALBERT repeats one layer; T5-11B has 24 twice, as T5-base has 12"),
    "mpobert-tab6-days": Studied(
        ACCELERATIONS_FILE,
        times_as_fast(BOTH),
        "python benchmarks/acceleration_study.py",
        "about eight minutes",
        "higher",
        "a step without bf16 and a fused activation, by one with both - 1",
        both=True,
    ),
    "mpobert-fig1-comparable": Arithmetic(_comparable),
    "mpobert-fig3-steps": Arithmetic(
        lambda: [
            formulas.distinct("thousand steps, setup and Table 6:", 10, printed("mpobert-tab6", "MPOBERT48+", "steps"))
        ]
    ),
    "mpobert-fig3-scratch": hidden_loss("decomposed", "scratch"),
    "mpobert-fig3-negligible": gained("continued"),
    "mpobert-fig3-continued": hidden_loss("decomposed", "continued"),
    "mpobert-fig4-bert": Studied(
        "probing_trend.json",
        levels_of("minilm"),
        *_TREND,
        "higher",
        "MiniLM (6 layers), depth of meaning - of syntax, from 0 (first layer) to 1 (last)",
    ),
    "mpobert-fig4-albert": Studied(
        "probing_trend.json",
        levels_of("albert-mini"),
        *_TREND,
        "equal",
        "albert-mini (12 layers), depth of meaning - of syntax, from 0 (first layer) to 1 (last)",
        0.1,  # about one layer of twelve: their centres are 1/11 apart
    ),
    "mpobert-fig4-mpobert": Studied(
        "probing_trend.json",
        trends_of("mpobert-mini", "albert-mini"),
        *_TREND,
        "higher",
        "depth of meaning - of syntax: mpobert-mini (24 layers) - albert-mini (12)",
    ),
    "mpobert-fig4-lower": Studied(
        "probing_trend.json",
        depths_of(TASK_3, "mpobert-mini", "albert-mini"),
        *_TREND,
        "equal",
        "depth of top constituents, from 0 (first layer) to 1 (last): mpobert-mini (24 layers) - albert-mini (12)",
        0.1,
    ),
}
"""Id of a claim -> what decides it."""
