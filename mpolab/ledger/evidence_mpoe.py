"""What decides the claims of MPOE: one entry a claim."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..metrics import AVERAGES
from ..mpoe_glue import ALL_TASKS
from ..papers import printed, table
from ..recipes import recipe_named
from ..tasks import OFFICIAL_ROWS
from . import counts, formulas
from .arithmetic import Arithmetic, Line, above, averages, holds, number
from .compared import EACH, Compared, Measured, one
from .studies import COMPUTED, MASK_FILE, Studied, times_as_fast

_NLU, _NLG = "mpoe-tab1-nlu", "mpoe-tab1-nlg"
LOSS, PERPLEXITY, BLEU_2 = (f"scores | test | {name}" for name in ("loss", "perplexity", "bleu_2"))
_WIKITEXT = ("WikiText-2/BLEU-2", "WikiText-2/BLEU-4")


def _counted(where: str, row: str, ours: float, decimals: int = 0) -> Line:
    return number(row, printed(where, row, "#To"), ours, decimals)


def _times(where: str, first: str, second: str, print_says: float) -> list[Line]:
    return [number("of the printed sizes:", print_says, printed(where, first, "#To") / printed(where, second, "#To"))]


def _gains() -> list[Line]:
    column = "EMNLP/BLEU-2"
    return [
        number(f"over {rival}", gain, printed(_NLG, "+MPOE", column) - printed(_NLG, rival, column), 2)
        for rival, gain in (("+MoE", 1.72), ("+Switch", 2.37))
    ]


_T5_VARIANTS = (
    ("T5-Large", ("+MoEfication", "+MoEfication++", "+Switch")),
    ("T5-Base", ("+Switch (Fedus et al.)", "+Switch", "+MoE")),
)
_GPT2_VARIANTS = ("+MoE", "+Switch")


def _in_sum(lines: list[Line], what: str = "comparisons") -> list[Line]:
    """How many agree, and those that do not."""
    wrong = [line for line in lines if not line.agrees]
    return [Line("", f"{len(lines) - len(wrong)} of {len(lines)} {what}", not wrong), *wrong]


def _variants() -> list[Line]:
    """Self-BLEU has a claim of its own."""
    lines = [
        Line(f"{size} {rival}:", f"{ours:g} against {other:g}", ours > other)
        for size, rivals in _T5_VARIANTS
        for rival in rivals
        for ours, other in [(printed(_NLU, f"{size} +MPOE", "Avg."), printed(_NLU, f"{size} {rival}", "Avg."))]
    ]
    scores = (*_WIKITEXT, "EMNLP/BLEU-2", "IMDB/BLEU-2")
    lines += [line for rival in _GPT2_VARIANTS for line in above(_NLG, "+MPOE", rival, scores, lower=["PPL"])]
    return _in_sum(lines)


def _variants_size() -> list[Line]:
    pairs = [(_NLU, f"{size} +MPOE", f"{size} {rival}") for size, rivals in _T5_VARIANTS for rival in rivals]
    pairs += [(_NLG, "+MPOE", rival) for rival in _GPT2_VARIANTS]
    lines = []
    for where, mine, rival in pairs:
        ours, other = printed(where, mine, "#To"), printed(where, rival, "#To")
        lines.append(Line(f"{rival}:", f"{ours:g} against {other:g} M", ours < other))
    return _in_sum(lines)


def _low_resource() -> list[Line]:
    """Over every row of T5 that has scores: the smaller of the two gains, and the largest on a set with many rows."""
    large = [task for task in table(_NLU).averaged if OFFICIAL_ROWS[task]["train"] >= 10_000]
    lines = []
    for row, scores in table(_NLU).rows.items():
        if "MPOE" in row or math.isnan(scores["CoLA"]):
            continue
        mine = table(_NLU).rows[f"{row.split()[0]} +MPOE"]
        gains = {task: mine[task] - scores[task] for task in (*large, "CoLA", "MRPC")}
        least, most = min(gains["CoLA"], gains["MRPC"]), max(gains[task] for task in large)
        lines.append(Line(f"over {row}:", f"{least:+.2f} against {most:+.2f}", least > most))
    return _in_sum(lines, "models: more on both sets than on any large one")


def _same_experts() -> list[Line]:
    return [
        number(f"{row}, with eight:", printed(_NLU, row, "#To"), counts.moe(name, "switch", 8), 0)
        for row, name in (
            ("T5-Base +Switch", "t5-base"),
            ("T5-Base +Switch (Fedus et al.)", "t5-base"),
            ("T5-Large +Switch", "t5-large"),
        )
    ]


def _more_memory() -> list[Line]:
    by_print = [printed("mpoe-tab4", f"MPOE (m={m})", "#To") for m in (5, 7, 9)]
    counted = [_of_tensors(m) for m in (5, 7, 9)]
    return [
        Line(f"{what}, m = 5, 7 and 9:", f"{', '.join(f'{size:.1f}' for size in sizes)} M", sizes == sorted(sizes))
        for what, sizes in (("printed", by_print), ("counted", counted))
    ]


def _of_tensors(m: int) -> float:
    """#To of GPT-2 with nine copies of m tensors a matrix, the routers left out, as Table 4 has it."""
    return counts.moe("gpt2", "mpoe", 8, routers=False, keep_dense=True, plan=m)


def _diverse() -> list[Line]:
    found = [
        Line(column, f"{printed(_NLG, '+MPOE', column):g} against {printed(_NLG, 'GPT-2', column):g}",
             printed(_NLG, "+MPOE", column) <= printed(_NLG, "GPT-2", column))
        for column in ("EMNLP/Self-BLEU-2", "IMDB/Self-BLEU-2")
    ]  # fmt: skip
    return found


def _more_experts() -> list[Line]:
    return [
        *above(_NLU, "T5-Base +MPOE++", "T5-Base +MPOE", ["Avg."]),
        *above(_NLG, "+MPOE++", "+MPOE", _WIKITEXT, lower=["PPL"]),
    ]


def _every_task() -> list[Line]:
    averaged = table("mpoe-tab2").averaged
    lines = above("mpoe-tab2", "+MPOE", "Hyperformer", averaged)
    return [holds(f"on {len(lines)} tasks:", len(lines) == len(averaged) and all(line.agrees for line in lines))]


def _superior() -> list[Line]:
    lines = [
        line for m in (5, 7, 9) for line in above("mpoe-tab4", f"MPOE (m={m})", "GPT-2", ["B2", "B4"], lower=["PPL"])
    ]
    return _in_sum(lines)


def perplexity(first: str, second: str, about: str) -> Compared:
    """Of held-out text, where lower is better. first, second: ends of the names of recipes."""
    pair = one(f"experts-{first}", PERPLEXITY), one(f"experts-{second}", PERPLEXITY)
    return Compared((pair,), "lower", f"perplexity: {about}")


def writing(corpus: str, first: str = "mpoe", *others: str, about: str = "MPOE - mean of MoE and Switch") -> Compared:
    """BLEU-2 of what is written in the manner of a corpus of `mpoe.TEXTS`. first, others: ends of recipes' names; the
    mean of the others, by default of the two rivals with separate experts.
    """
    mine, rivals = (
        Measured(tuple(f"experts-{corpus}-{name}" for name in names), (BLEU_2,))
        for names in ((first,), others or ("moe", "switch"))
    )
    return Compared(((mine, rivals),), "higher", f"BLEU-2: {about}")


def superior(*recipes: str) -> Compared:
    """MPOE with five, seven and nine tensors beside the dense model, which is the last of the recipes."""
    *mine, dense = recipes
    pair = Measured(tuple(mine), (PERPLEXITY,)), one(dense, PERPLEXITY)
    return Compared((pair,), "lower", "perplexity: mean of m = 5, 7 and 9 - dense")


def glue(first: str, second: str, about: str, tasks: Iterable[str] = ALL_TASKS) -> Compared:
    """Of T5, task by task, in the metrics of MPOE's tables."""
    wheres = {task: f"scores | dev | {metric}" for task, metric in AVERAGES["mpoe"].items()}
    pairs = tuple(
        tuple(one(f"experts-glue-{task.lower()}-{name}", wheres[task]) for name in (first, second)) for task in tasks
    )
    return Compared(pairs, "higher", f"score: {about}")


def apart(recipe: str, second: float | str = 0.5) -> Compared:
    """How much of what experts learn apart lies in directions of the auxiliary tensors, less a share, or less another
    number of the same records: "random" = the share of a change at random.
    """
    mine, other = (
        Measured((recipe,), (f"extra | auxiliary_share | {EACH} | {what}",))  # of each matrix that was watched
        for what in ("share", second)
    )
    about = "share of auxiliary tensors in what experts learn - "
    about += "in a change at random" if isinstance(second, str) else f"{second:g}"
    return Compared(((mine, other if isinstance(second, str) else second),), "higher", about)


def left_out(recipe: str) -> Compared:
    """Of the updates of single experts in a run of MPOE, and of the centre, of which the mask discards p_b."""
    masked = float(recipe_named(recipe).options.get("mask_probability", 0.0))
    pair = one(recipe, "extra | updates | share"), masked
    return Compared((pair,), "higher", "share of updates left out, of experts without a token - of the centre")


EVIDENCE = {
    "mpoe-eq4-discard": Arithmetic(
        formulas.zero_gradient, "Adam goes on with its momentum; no gradient at all is meant"
    ),
    "mpoe-eq4-alternatives": Compared(
        ((one("experts-mpoe", PERPLEXITY), Measured(("experts-mask-before", "experts-mask-after"), (PERPLEXITY,))),),
        "lower",
        "perplexity: mask on centres - on activations (mean of before and after)",
    ),
    "mpoe-eq4-cost": Studied(
        MASK_FILE,
        times_as_fast(COMPUTED),
        "python benchmarks/mask_study.py",
        "about five minutes",
        "higher",
        "a step without the mask, by one with p_b = 0.5 (computed and discarded), - 1",
        both=True,
    ),
    "mpoe-eq4-frequent": left_out("experts-mask-0"),
    "mpoe-eq4-probability": Arithmetic(formulas.share_of_updates, "it is the probability that an update is discarded"),
    "mpoe-alg1-orders": Arithmetic(formulas.orders_of_magnitude, "one order"),
    "mpoe-alg1-cost": Arithmetic(formulas.numbers_of_sharing),
    "mpoe-fig2-ratio": Arithmetic(formulas.ratio_of_sharing),
    "mpoe-fig2-more-experts": Arithmetic(formulas.ratio_with_more_experts),
    "mpoe-fig2-gamma": Arithmetic(formulas.gamma_of, "it is that of the central one to the auxiliary ones"),
    "mpoe-fig2-same": Arithmetic(formulas.reach_of_auxiliaries, "so many numbers cannot reach every matrix"),
    "mpoe-fig2-apart": apart("experts-without-sharing"),
    "mpoe-tab1-averages": Arithmetic(averages(_NLU, decimals=2)),
    "mpoe-tab1-sizes": Arithmetic(
        lambda: [
            _counted(_NLU, "T5-Large", counts.dense("t5-large")),
            _counted(_NLU, "T5-Base", counts.dense("t5-base")),
            _counted(_NLG, "GPT-2", counts.dense("gpt2")),
        ]
    ),
    "mpoe-tab1-count-t5": Arithmetic(
        lambda: [
            _counted(_NLU, "T5-Base +MPOE", counts.moe("t5-base", "mpoe", 8)),
            _counted(_NLU, "T5-Base +MPOE++", counts.moe("t5-base", "mpoe", 16)),
        ]
    ),
    "mpoe-tab1-count-t5-copies": Arithmetic(
        lambda: [_counted(_NLU, "T5-Base +MoE", counts.moe("t5-base", "moe", 8, routers=False))]
    ),
    "mpoe-tab1-count-t5-large": Arithmetic(
        lambda: [
            number("eight experts:", 956, counts.moe("t5-large", "mpoe", 8), 0),
            number("seven, routers left out:", 956, counts.moe("t5-large", "mpoe", 7, routers=False), 0),
        ],
        "neither makes it",
    ),
    "mpoe-tab1-count-gpt2": Arithmetic(
        lambda: [
            number(f"{row}, {copies} copies:", printed(_NLG, row, "#To"), counts.moe("gpt2", kind, 8, **more), 0)
            for row, kind in (("+MoE", "switch"), ("+MPOE", "mpoe"))
            for copies, more in (("eight", {}), ("nine", {"keep_dense": True}))
        ],
        "nine copies make it, and T5's rows have eight",
    ),
    "mpoe-tab1-count-gpt2-16": Arithmetic(
        lambda: [
            number("16 experts and the dense block:", 171, counts.moe("gpt2", "mpoe", 16, keep_dense=True), 0),
            number("12 and the dense block:", 171, counts.moe("gpt2", "mpoe", 12, keep_dense=True), 0),
        ],
        "twelve experts make it",
    ),
    "mpoe-tab1-same-experts": Arithmetic(_same_experts, "those of Switch's authors have far more"),
    "mpoe-tab1-27": Arithmetic(lambda: _times(_NLU, "T5-Large +Switch", "T5-Large +MPOE", 27.2)),
    "mpoe-tab1-37": Arithmetic(lambda: _times(_NLG, "+Switch", "+MPOE", 3.7)),
    "mpoe-tab1-variants": Arithmetic(_variants, "Switch by its authors, with 3800 M parameters, is ahead"),
    "mpoe-tab1-variants-size": Arithmetic(_variants_size, "MoEfication adds none to T5"),
    "mpoe-tab1-low-resource": Arithmetic(_low_resource),
    "mpoe-tab1-bleu": Arithmetic(_gains),
    "mpoe-tab1-diversity": Arithmetic(_diverse, "higher, which is less diverse text"),
    "mpoe-tab1-more-experts-print": Arithmetic(_more_experts, "its perplexity is higher, and lower is better"),
    "mpoe-tab1-t5": glue("mpoe", "switch", "MPOE - Switch"),
    "mpoe-tab1-t5-moe": glue("mpoe", "moe", "MPOE - MoE"),
    "mpoe-tab1-t5-moefication": glue("mpoe", "moefication", "MPOE - MoEfication"),
    "mpoe-tab1-t5-dense": glue("mpoe", "dense", "MPOE - dense"),
    "mpoe-tab1-gpt2": perplexity("mpoe", "switch", "MPOE - Switch"),
    "mpoe-tab1-gpt2-moe": perplexity("mpoe", "moe", "MPOE - MoE"),
    "mpoe-tab1-gpt2-dense": perplexity("mpoe", "dense", "MPOE - dense"),
    "mpoe-tab1-news": writing("news"),
    "mpoe-tab1-reviews": writing("reviews"),
    "mpoe-tab1-more-experts": Compared(
        ((one("experts-mpoe-16", BLEU_2), one("experts-mpoe", BLEU_2)),), "higher", "BLEU-2: sixteen experts - eight"
    ),
    "mpoe-tab2-averages": Arithmetic(averages("mpoe-tab2", decimals=2)),
    "mpoe-tab2-every-task": Arithmetic(_every_task),
    "mpoe-tab2-count": Arithmetic(
        lambda: [
            number("eight experts:", 258, counts.moe("t5-base", "mpoe", 8), 0),
            number("four:", 258, counts.moe("t5-base", "mpoe", 4), 0),
        ],
        "four experts make it, and the text has eight",
    ),
    "mpoe-tab2-dense": Compared(
        ((one("experts-together-mpoe"), one("experts-together-dense")),),
        "higher",
        "mean over tasks: MPOE - dense",
    ),
    "mpoe-tab3-count-unshared": Arithmetic(
        lambda: [
            number("eight experts, each with its centre:", 153, counts.unshared("gpt2"), 0),
            number("eight that share it:", 153, counts.moe("gpt2", "mpoe", 8), 0),
        ],
        "without sharing there are more numbers, not fewer",
    ),
    "mpoe-tab3-sharing": perplexity("mpoe", "without-sharing", "MPOE - without sharing"),
    "mpoe-tab3-mask": perplexity("mpoe", "mask-0", "MPOE - without the mask"),
    "mpoe-tab3-important": perplexity("mask-0", "without-sharing", "without the mask - without sharing"),
    "mpoe-tab4-counts": Arithmetic(
        lambda: [
            number(
                f"m = {m}:",
                printed("mpoe-tab4", f"MPOE (m={m})", "#To"),
                _of_tensors(m),
            )
            for m in (3, 5, 7, 9)
        ],
        "the first agrees, the others are near",
    ),
    "mpoe-tab4-variants": Arithmetic(
        lambda: [
            formulas.distinct("variants, text and table:", 3, sum("MPOE" in row for row in table("mpoe-tab4").rows))
        ]
    ),
    "mpoe-tab4-same-model": Arithmetic(
        lambda: [
            formulas.distinct(column, printed("mpoe-tab4", "MPOE (m=5)", column), printed("mpoe-tab3", "+MPOE", column))
            for column in ("PPL", "B2", "B4")
        ],
        "the same model, other scores",
    ),
    "mpoe-tab4-superior-print": Arithmetic(_superior, "m = 9 has lower BLEU than GPT-2"),
    "mpoe-tab4-superior": superior("experts-mpoe", "experts-m-7", "experts-m-9", "experts-dense"),
    "mpoe-tab4-memory": Arithmetic(_more_memory),
    "mpoe-tab4-m3": perplexity("mpoe", "m-3", "five tensors - three"),
    "mpoe-tab4-more": Compared(
        ((one("experts-mpoe", LOSS), Measured(("experts-m-7", "experts-m-9"), (LOSS,))),),
        "equal",
        "loss, nats a token: five tensors - seven and nine",
        margin=0.01,
    ),
}
"""Id of a claim -> what decides it."""
