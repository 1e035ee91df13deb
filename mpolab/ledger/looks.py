"""The same records, looked at in another way: what belongs beside a result, whether the claim came out or not.

A look changes no verdict and is no remedy. It says what else the numbers depend on: the loss where scores are coarse,
another step of the same run, what one part of a comparison comes to without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..recipes import recipe_named
from ..tasks import task_named
from .again import GROWTH_ALBERT, Again, other
from .compared import Compared, Measured, Pair, one
from .evidence import EVIDENCE
from .evidence_mpobert import TASK_3, gained
from .evidence_mpoe import BLEU_2, PERPLEXITY, apart, perplexity, writing
from .evidence_mpop import ENDS, FOUR
from .studies import (
    EVERY_LAYER,
    TOGETHER,
    Values,
    centres_of,
    depths_of,
    growth_of,
    levels_of,
    times_as_fast,
    trends_of,
)


def _is_regression(pair: Pair) -> bool:
    """Whose loss has the unit of its labels, and no mean with those of others."""
    names = [name for part in pair if isinstance(part, Measured) for name in part.recipes]
    return any(task_named(task).kind == "regression" for name in names if (task := recipe_named(name).task))


def _by(about: str, id: str, *wheres: str, direction: str = "higher", margin: float = 0.0, **changes: object) -> Again:
    """The claim's own runs by other numbers of their records. changes: of the comparison."""
    evidence: Compared = EVIDENCE[id]  # type: ignore[assignment]
    pairs = tuple(pair for pair in evidence.pairs if not _is_regression(pair))
    return Again(about, replace(evidence, pairs=pairs, **changes).at(*wheres, direction=direction, margin=margin))


def _by_loss(id: str, *tasks: str, margin: float = 0.0) -> Again:
    """Less coarse than right or wrong. tasks: those that a small run on several has and whose loss has the unit of the
    others'; a large one has more. margin: of a claim that two are equal.
    """
    wheres = [f"scores | dev | {task}/loss" for task in tasks] or ["scores | dev | loss"]
    about, direction = "the loss on the same rows, lower being better", "equal" if margin else "lower"
    small = {"among": ("smoke", "laptop")} if tasks else {}
    return _by(about, id, *wheres, direction=direction, margin=margin, **small)


_AT_DENSE_SIZE = 23
"""The first step of a recorded squeezing, from 0, after which there are no more parameters than in the dense model."""


def _at_step(step: int, names: Iterable[str]) -> Compared:
    """Squeezed so far, on the rows of `select` that every step was measured on. names: of recipes, with a "{}"."""
    pairs = []
    for name in names:
        metric = task_named(recipe_named(name.format("full")).task).main_metric
        dense = one(name.format("full"), f"scores | select | {metric}")
        pairs.append((one(name.format("squeezed"), f"extra | trace | steps | {step} | metric"), dense))
    return Compared(tuple(pairs), "higher", "squeezed - dense", among=("laptop",))  # elsewhere are other steps and rows


_ROUTER = (
    Again(
        "MPOE's router for both and no gradient mask",
        perplexity("mask-0", "without-sharing", "MPOE without the mask - without sharing"),
    ),
    Again(
        "separate experts for both, MPOE's router against Switch's",
        perplexity("without-sharing", "switch", "MPOE's router - Switch's"),
    ),
)


def _in_bleu(id: str) -> Again:
    return _by("BLEU-2, higher being better", id, BLEU_2)


def _written(corpus: str) -> tuple[Again, ...]:
    """Rival by rival, beside the dense model, with sharing alone between the two, and by another number."""
    id = f"mpoe-tab1-{corpus}"
    return (
        *(
            Again(f"{name} alone", writing(corpus, "mpoe", name.lower(), about=f"MPOE - {name}"))
            for name in ("MoE", "Switch")
        ),
        Again("the dense model in their place", writing(corpus, "mpoe", "dense", about="MPOE - dense")),
        Again(
            "MPOE's router for both and no gradient mask",
            writing(corpus, "mask-0", "without-sharing", about="MPOE without the mask - without sharing"),
        ),
        _by("perplexity, lower being better", id, PERPLEXITY, direction="lower"),
    )


def _depths(id: str, values: Callable[..., Callable[[Path], Values]], *models: str) -> tuple[Again, ...]:
    return (
        other(id, "the rows that chose the probes", values(*models, "centre on dev")),
        other(id, "the best layer in place of the mean one", values(*models, "peak")),
    )


LOOKS: Mapping[str, tuple[Again, ...]] = {
    # MPOP
    "mpop-eq6-same-effect": (_by_loss("mpop-eq6-same-effect", margin=0.01),),
    **{
        id: (_by_loss(id),)
        for id in (
            "mpop-tab3-lfa",
            "mpop-tab3-lfa-dense",
            "mpop-tab3-full-dense",
            "mpop-tab3-squeezing",
            *(f"mpop-tab5-last-{layers}" for layers in (1, 2, 3)),
        )
    },
    "mpop-alg2-accumulates": (
        other(
            "mpop-alg2-accumulates",
            "albert-mini's twelve layers",
            growth_of("error 0.1", EVERY_LAYER, case="growth-albert"),
            **GROWTH_ALBERT,
        ),
    ),
    "mpop-tab3-squeezed-dense": (
        Again(
            "a stop at the dense model's size, on the rows of every step",
            _at_step(_AT_DENSE_SIZE, [f"mpop-{task}-{{}}" for task in FOUR]),
        ),
    ),
    "mpop-tab4-rte": (
        _by_loss("mpop-tab4-rte"),
        Again("the rows of every step, at the last", _at_step(-1, [f"mpop-rte-{{}}{end}" for end in ENDS])),
        Again(
            "the table's other tasks in its place",
            Compared(
                tuple(
                    (one(f"mpop-{task}-squeezed{end}"), one(f"mpop-{task}-full{end}"))
                    for task in ("mrpc", "wnli")
                    for end in ENDS
                ),
                "higher",
                "squeezed - dense",
            ),
        ),
    ),
    # MPOBERT
    "mpobert-eq1-centres": (
        other("mpobert-eq1-centres", "40 rounds", centres_of("error left", 40)),
        other(
            "mpobert-eq1-centres", "8 rounds behind the best rotations", centres_of("error left behind rotations", 8)
        ),
        other("mpobert-eq1-centres", "40 rounds behind them", centres_of("error left behind rotations", 40)),
    ),
    "mpobert-tab6-days": (
        other("mpobert-tab6-days", "bf16 alone", times_as_fast("bf16 autocast")),
        other("mpobert-tab6-days", "a fused activation alone", times_as_fast("fused GELU")),
        other("mpobert-tab6-days", "attention, optimizer, heads and rebuilding as well", times_as_fast(TOGETHER)),
    ),
    "mpobert-fig3-negligible": (Again("four times the updates", gained("continued-longer")),),
    "mpobert-fig3-continued": (
        _by("the share of hidden tokens that are found", "mpobert-fig3-continued", "scores | test | mlm_accuracy"),
        _by("the order of sentences", "mpobert-fig3-continued", "scores | test | sop_accuracy"),
    ),
    "mpobert-fig4-albert": _depths("mpobert-fig4-albert", levels_of, "albert-mini"),
    "mpobert-fig4-mpobert": _depths("mpobert-fig4-mpobert", trends_of, "mpobert-mini", "albert-mini"),
    "mpobert-fig4-lower": (
        other("mpobert-fig4-lower", "MiniLM in ALBERT's place", depths_of(TASK_3, "mpobert-mini", "minilm")),
        other("mpobert-fig4-lower", "the middle in its place", depths_of(TASK_3, "mpobert-mini")),
    ),
    "mpobert-tab2-albert": (_by_loss("mpobert-tab2-albert", "SST-2", "MRPC", "RTE"),),
    "mpobert-tab3-albert": (_by_loss("mpobert-tab3-albert"),),
    **{
        id: (
            _by_loss(id),
            _by("rows held out of the training file, where each has its best epoch", id, "scores | select | accuracy"),
        )
        for id in (
            "mpobert-tab4-adapter",
            "mpobert-tab4-sharing",
            "mpobert-tab4-crucial",
            "mpobert-tab5-rank-4",
            "mpobert-tab5-rank-64",
        )
    },
    # MPOE
    "mpoe-fig2-apart": (
        Again("the share of a change at random in place of a half", apart("experts-without-sharing", "random")),
    ),
    "mpoe-tab1-t5": (_by_loss("mpoe-tab1-t5"),),
    **{id: (_by_loss(id),) for id in ("mpoe-tab1-t5-moe", "mpoe-tab1-t5-moefication", "mpoe-tab1-t5-dense")},
    "mpoe-tab1-gpt2": (*_ROUTER, _in_bleu("mpoe-tab1-gpt2")),
    "mpoe-tab1-gpt2-moe": (_ROUTER[0], _in_bleu("mpoe-tab1-gpt2-moe")),
    "mpoe-tab1-gpt2-dense": (_in_bleu("mpoe-tab1-gpt2-dense"),),
    **{f"mpoe-tab1-{corpus}": _written(corpus) for corpus in ("news", "reviews")},
    "mpoe-tab1-more-experts": (
        _by("BLEU-4", "mpoe-tab1-more-experts", "scores | test | bleu_4"),
        _by("perplexity, lower being better", "mpoe-tab1-more-experts", PERPLEXITY, direction="lower"),
    ),
    "mpoe-tab2-dense": (_by_loss("mpoe-tab2-dense", "SST-2", "MRPC", "RTE"),),
}
"""Id of a claim -> what stands beside its result."""
