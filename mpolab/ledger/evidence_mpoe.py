"""What decides the claims of MPOE: one entry a claim."""

from __future__ import annotations

from ..metrics import AVERAGES
from ..mpoe_glue import TASKS
from ..papers import printed, table
from . import counts, formulas
from .arithmetic import Arithmetic, Line, above, averages, holds, number
from .compared import Compared, Measured, one

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
    wrong = [line for line in lines if not line.agrees]
    return [Line("", f"{len(lines) - len(wrong)} of {len(lines)} comparisons", not wrong), *wrong]


def perplexity(first: str, second: str, about: str) -> Compared:
    """Of held-out text, where lower is better. first, second: ends of the names of recipes."""
    pair = one(f"experts-{first}", PERPLEXITY), one(f"experts-{second}", PERPLEXITY)
    return Compared((pair,), "lower", f"perplexity: {about}")


def _glue(first: str, second: str, about: str) -> Compared:
    """Of T5, task by task, in the metrics of MPOE's tables."""
    wheres = {task: f"scores | dev | {metric}" for task, metric in AVERAGES["mpoe"].items()}
    pairs = tuple(
        tuple(one(f"experts-glue-{task.lower()}-{name}", wheres[task]) for name in (first, second)) for task in TASKS
    )
    return Compared(pairs, "higher", f"score: {about}")


EVIDENCE = {
    "mpoe-eq4-discard": Arithmetic(
        formulas.zero_gradient, "Adam goes on with its momentum; no gradient at all is meant"
    ),
    "mpoe-alg1-orders": Arithmetic(formulas.orders_of_magnitude, "one order"),
    "mpoe-fig2-ratio": Arithmetic(formulas.ratio_of_sharing),
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
            _counted(_NLG, "+MoE", counts.moe("gpt2", "switch", 8, keep_dense=True)),
            _counted(_NLG, "+MPOE", counts.moe("gpt2", "mpoe", 8, keep_dense=True)),
        ]
    ),
    "mpoe-tab1-count-gpt2-16": Arithmetic(
        lambda: [
            number("16 experts and the dense block:", 171, counts.moe("gpt2", "mpoe", 16, keep_dense=True), 0),
            number("12 and the dense block:", 171, counts.moe("gpt2", "mpoe", 12, keep_dense=True), 0),
        ],
        "twelve experts make it",
    ),
    "mpoe-tab1-27": Arithmetic(lambda: _times(_NLU, "T5-Large +Switch", "T5-Large +MPOE", 27.2)),
    "mpoe-tab1-37": Arithmetic(lambda: _times(_NLG, "+Switch", "+MPOE", 3.7)),
    "mpoe-tab1-bleu": Arithmetic(_gains),
    "mpoe-tab1-diversity": Arithmetic(_diverse, "higher, which is less diverse text"),
    "mpoe-tab1-more-experts-print": Arithmetic(_more_experts, "its perplexity is higher, and lower is better"),
    "mpoe-tab1-t5": _glue("mpoe", "switch", "MPOE - Switch"),
    "mpoe-tab1-t5-dense": _glue("mpoe", "dense", "MPOE - dense"),
    "mpoe-tab1-gpt2": perplexity("mpoe", "switch", "MPOE - Switch"),
    "mpoe-tab1-gpt2-moe": perplexity("mpoe", "moe", "MPOE - MoE"),
    "mpoe-tab1-gpt2-dense": perplexity("mpoe", "dense", "MPOE - dense"),
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
        ((one("experts-together-mpoe"), one("experts-together-dense")),), "higher", "mean of four tasks: MPOE - dense"
    ),
    "mpoe-tab3-count-unshared": Arithmetic(
        lambda: [number("eight experts, each with its centre:", 153, counts.unshared("gpt2"), 0)],
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
                counts.moe("gpt2", "mpoe", 8, routers=False, keep_dense=True, plan=m),
            )
            for m in (3, 5, 7, 9)
        ],
        "the first agrees, the others are near",
    ),
    "mpoe-tab4-same-model": Arithmetic(
        lambda: [
            formulas.distinct(column, printed("mpoe-tab4", "MPOE (m=5)", column), printed("mpoe-tab3", "+MPOE", column))
            for column in ("PPL", "B2", "B4")
        ],
        "the same model, other scores",
    ),
    "mpoe-tab4-superior-print": Arithmetic(_superior, "m = 9 has lower BLEU than GPT-2"),
    "mpoe-tab4-m3": perplexity("mpoe", "m-3", "five tensors - three"),
    "mpoe-tab4-more": Compared(
        ((one("experts-mpoe", LOSS), Measured(("experts-m-7", "experts-m-9"), (LOSS,))),),
        "equal",
        "loss, nats a token: five tensors - seven and nine",
        margin=0.01,
    ),
}
"""Id of a claim -> what decides it."""
