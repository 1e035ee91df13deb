"""Where a claim did not come out: what else was tried, and what it came to.

A remedy that is to change a verdict is chosen on a seed and on rows that are not reported, with as many tries for what
it is compared with (scripts/choose_settings.py), and then runs on all reported seeds. The first result stays beside it.
What nobody would choose, but shows the reason, stands beside the first result and changes nothing. Other settings in
the file of a study count as well; neither the learning rates among which the first settings were chosen nor another
look at the same runs (`looks`) does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import LedgerError
from ..mpoe_glue import LONGER, TASKS
from .again import GROWTH_ALBERT, PLANS_FFN, Again, found_of, other
from .compared import Compared, Found, Measured, one, ways
from .evidence import EVIDENCE
from .evidence_mpobert import ablated, hidden_loss
from .evidence_mpoe import BLEU_2, LOSS, apart, glue, left_out, perplexity, superior, writing
from .evidence_mpop import NINE
from .studies import Studied, errors_of, growth_of, masked_with, pace_of, spread_of, times_as_fast

LEAST_TRIED = 2


@dataclass(frozen=True)
class Remedy:
    """again: what was tried on the reported seeds. tried: on rows that choose, each in a few words; what came of it
    stands in `files` of results/. chosen: the last of `again` is what the files chose, and gives the verdict; else the
    first result does.

    Raises LedgerError for fewer than two remedies, for a choice of nothing or by nothing, and where nothing says what
    tries came to.
    """

    again: tuple[Again, ...] = ()
    tried: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    chosen: bool = False

    def __post_init__(self) -> None:
        twice = bool(self.chosen and self.tried and self.again)  # the last of `again` is one of the tries
        tried = len(set(self.tried)) + len({again.about for again in self.again}) - twice
        if tried < LEAST_TRIED:
            raise LedgerError(f"{LEAST_TRIED} remedies are to be tried at least, and these are {tried}.")
        if bool(self.tried) != bool(self.files):
            raise LedgerError(f"{', '.join(self.tried or self.files)}: tries need a file that says what they came to.")
        if self.chosen and not (self.again and self.tried):
            raise LedgerError("a remedy that was chosen needs its runs, and the tries by which it was chosen.")

    def found(self, results: Path) -> list[tuple[Again, Found]]:
        """Of those that have records. Raises as `Compared.found` and `Studied.found`."""
        return found_of(self.again, results)

    def chose(self, results: Path) -> tuple[str, ...]:
        """The files of tries that are there."""
        return tuple(f"results/{file}" for file in self.files if (results / file).is_file())


def _low_rank(case: str, n: int, about: str) -> Again:
    study = Studied(
        f"low_rank_{case.replace('-', '_')}.json",
        errors_of(("MPO", n), ("CPD", n)),
        f"python scripts/low_rank_study.py {case}",
        "minutes",
        "lower",
        f"error of MPO - of CPD (n = {n}, mean over four ratios)",
    )
    return Again(about, study)


_TRENDS_TRIED = ("2,000 rows for the probes to learn from", "the first token in place of the mean of all")


def _trends(id: str) -> Remedy:
    study: Studied = EVIDENCE[id]  # type: ignore[assignment]
    larger = replace(  # without MiniLM
        study,
        file="probing_trend_larger.json",
        command="python scripts/trend_study.py --data-dir DIR --larger",
        cost="about 25 min of a core",
    )
    return Remedy(
        (Again("2,000 rows to learn from and 1,000 to test on", larger),),
        _TRENDS_TRIED,
        ("probing_trend_tries.json",),
        chosen=True,
    )


# -- four times the updates, more rows -----------------------------------------------------------------

_LONGER_TRIED = ("four times the updates", "four times the updates without the gradient mask")
_LONGER_FILES = ("experts_remedies.json", "experts_without_sharing.json")
_OTHER_TENSORS = ("experts_remedies.json", "experts_tensors.json")


def _longer(about: str, evidence: Compared, files: tuple[str, ...] = _LONGER_FILES) -> Remedy:
    return Remedy((Again(about, evidence),), _LONGER_TRIED, files, chosen=True)


_FOUR_TIMES = "four times the updates for both"
_UNMASKED = f"{_FOUR_TIMES}, and no gradient mask"


def _as_many_rows(first: str, second: str, direction: str = "higher", margin: float = 0.0, about: str = "") -> Again:
    """Two ways of `mpop.COMPARED` on SST-2."""
    names = (f"mpop-{{task}}-{way}-more" for way in (first, second))
    return Again(
        "1,000 rows of SST-2 for both", ways(*names, ("sst-2",), direction, about or f"{first} - {second}", margin)
    )


_LONGER_T5 = ("4,000 rows of SST-2", "4,000 rows and 360 updates there")
_LONGER_TOGETHER = ("1,000 rows of each task", "1,000 rows of each and 360 updates")
_LONGER_THERE = ("1,000 rows of SST-2", "eight epochs there")
_GENTLER = ("on SST-2, eight updates for each cut", "cuts of a quarter of a bond there")
_GENTLER_FILES = ("squeezing_remedies.json",)
_MPOP_FILES = ("mpop_rows.json",)
_TWICE = "4,000 rows of SST-2 twice for both"
_MORE_ROWS = ("4,000 rows of SST-2 once", "4,000 rows of SST-2 twice")
_LONGER_OR_FASTER = ("eight epochs of 1,000 rows", "three times the learning rate")
_TOGETHER_TRIED = ("three times the learning rate", "eight epochs")
_FEW_TRIED = ("a third of the learning rate", "forty epochs")
_ON_SST_2 = ("mpobert_rows.json",)


def _longer_t5(rival: str, more: str = "") -> Again:
    return Again(
        f"4,000 rows and three times the updates{more}, on {' and '.join(LONGER)} alone",
        glue("mpoe-longer", f"{rival.lower()}-longer", f"MPOE - {rival}", LONGER),
    )


def _more_rows(rival: str, about: str) -> Remedy:
    evidence = ways("table1-sst-2-{task}-more", f"table1-sst-2-{rival}-more", ("mpobert-mini",), "higher", about)
    tried = (*_MORE_ROWS, *_LONGER_OR_FASTER)
    chosen = f"{_TWICE}, which is best by the mean of the three models"
    return Remedy((Again(chosen, evidence),), tried, (*_ON_SST_2, "mpobert_remedies.json"), chosen=True)


REMEDIES: Mapping[str, Remedy] = {
    # MPOP
    **{
        id: Remedy((_as_many_rows(*both, direction, margin),), _LONGER_THERE, _MPOP_FILES)
        for id, both, direction, margin in (
            ("mpop-eq6-same-effect", ("lfa", "central"), "equal", 1.0),
            ("mpop-tab3-lfa", ("lfa", "full-mpo"), "higher", 0.0),
            ("mpop-tab3-lfa-dense", ("lfa", "full"), "higher", 0.0),
            ("mpop-tab3-full-dense", ("full-mpo", "full"), "higher", 0.0),
        )
    },
    **{id: Remedy((), _LONGER_THERE, _MPOP_FILES) for id in ("mpop-tab5-last-2", "mpop-tab5-last-3")},
    "mpop-tab5-last-1": Remedy(
        (_as_many_rows("lfa", "last-1", about="auxiliaries - last 1"),),
        _LONGER_THERE,
        _MPOP_FILES,
        chosen=True,
    ),
    "mpop-tab3-squeezing": Remedy(
        (
            Again(
                "what was best for each, cuts of a quarter of a bond (to 17.0 M) against eight updates for each cut "
                "after cutting at once (to 16.2 M)",
                ways(
                    "mpop-{task}-squeezed-gentler",
                    "mpop-{task}-straight-gentler",
                    NINE,
                    "higher",
                    "squeezed - cut",
                ),
            ),
            Again(
                "cuts of a quarter of a bond for both (to 17.0 M, with as many updates)",
                ways(
                    "mpop-{task}-squeezed-gentler",
                    "mpop-{task}-straight-equal",
                    NINE,
                    "higher",
                    "squeezed - cut",
                ),
            ),
        ),
        _GENTLER,
        _GENTLER_FILES,
        chosen=True,
    ),
    "mpop-tab3-squeezed-dense": Remedy(
        (
            Again(
                "all cuts at once and as many updates after them",
                ways("mpop-{task}-straight", "mpop-{task}-full", NINE, "higher", "cut - dense"),
            ),
            Again(
                "cuts of a quarter of a bond",
                ways(
                    "mpop-{task}-squeezed-gentler",
                    "mpop-{task}-full",
                    NINE,
                    "higher",
                    "squeezed - dense",
                ),
            ),
        ),
        (*_GENTLER, *(f"{tried}, for the dense model" for tried in _LONGER_THERE)),
        (*_GENTLER_FILES, "mpop_rows.json"),
        chosen=True,
    ),
    "mpop-fig2-cpd": Remedy(
        (
            _low_rank("query", 3, "the query matrices of five layers"),
            _low_rank("query-five", 5, "these and five legs"),
            _low_rank("one-step", 3, "a CPD stopped after its first step"),
        ),
    ),
    "mpop-fig2-plans": Remedy(
        (
            *(other("mpop-fig2-plans", f"ratio {ratio:g}", spread_of(ratio)) for ratio in (0.3, 0.7)),
            other(
                "mpop-fig2-plans",
                "the widening matrices of the FFN, at ratio 0.5",
                spread_of(0.5, case="plans-ffn"),
                **PLANS_FFN,
            ),
            *(
                other(
                    "mpop-fig2-plans",
                    f"these at ratio {ratio:g}",
                    spread_of(ratio, case="plans-ffn"),
                    **PLANS_FFN,
                )
                for ratio in (0.3, 0.7)
            ),
        )
    ),
    "mpop-alg2-growth": Remedy(
        tuple(
            other("mpop-alg2-growth", about, growth_of(level, *cut))
            for about, level, cut in (
                ("cuts to 0.2", "error 0.2", range(5)),
                ("cuts to ratio 0.5", "ratio 0.5", range(5)),
                ("the first layer alone", "error 0.1", [0]),
            )
        )
        + (
            other(
                "mpop-alg2-growth",
                "albert-mini's twelve layers",
                growth_of("error 0.1", *range(11), case="growth-albert"),
                **GROWTH_ALBERT,
            ),
        ),
    ),
    "mpop-alg2-exponential": Remedy(
        (
            other("mpop-alg2-exponential", "cuts to 0.2", pace_of("error 0.2")),
            other("mpop-alg2-exponential", "cuts to ratio 0.5", pace_of("ratio 0.5")),
            other(
                "mpop-alg2-exponential",
                "albert-mini's twelve layers",
                pace_of("error 0.1", "growth-albert"),
                **GROWTH_ALBERT,
            ),
        ),
    ),
    "mpop-tab4-rte": Remedy(
        (
            Again(
                "cuts of a quarter of a bond, of MiniLM",
                ways("mpop-{task}-squeezed-gentler", "mpop-{task}-full", ("rte",), "higher", "squeezed - dense"),
            ),
        ),
        ("2,000 rows for albert-mini", "2,000 rows in six epochs for it"),
        ("mpop_rte_rows.json",),
    ),
    # MPOBERT
    "mpobert-tab1-albert": _more_rows("albert-mini", "mpobert-mini - albert-mini"),
    "mpobert-tab1-bert": _more_rows("minilm", "mpobert-mini - MiniLM"),
    "mpobert-fig3-continued": Remedy(
        (Again("four times the updates", hidden_loss("decomposed", "continued", "-longer")),),
        ("240 updates in place of 60", "240 updates at 5e-4 in place of 2e-4"),
        ("mpobert_figure_3.json",),
        chosen=True,
    ),
    "mpobert-fig4-albert": _trends("mpobert-fig4-albert"),
    "mpobert-fig4-mpobert": _trends("mpobert-fig4-mpobert"),
    "mpobert-fig4-lower": _trends("mpobert-fig4-lower"),
    "mpobert-tab2-albert": Remedy(
        (
            Again(
                "a learning rate of its own for albert-mini",
                ways(
                    "table2-{task}",
                    "table2-albert-mini-own-rate",
                    ("mpobert-mini",),
                    "higher",
                    "mpobert-mini - albert-mini",
                ),
            ),
        ),
        _TOGETHER_TRIED,
        ("mpobert_together.json",),
        chosen=True,
    ),
    "mpobert-tab2-bert": Remedy((), _TOGETHER_TRIED, ("mpobert_together.json",)),
    **{f"mpobert-tab3-{rival}": Remedy((), _FEW_TRIED, ("mpobert_few_shots.json",)) for rival in ("albert", "bert")},
    **{
        id: Remedy(
            (Again(_TWICE, ablated(*variants, ("sst-2",), "-more")),),
            _MORE_ROWS,
            ("mpobert_variants.json",),
            chosen=True,
        )
        for id, variants in {
            "mpobert-tab4-adapter": ("rank-8", "without-adapter"),
            "mpobert-tab4-sharing": ("rank-8", "without-sharing"),
            "mpobert-tab4-crucial": ("without-adapter", "without-sharing"),
            "mpobert-tab5-rank-4": ("rank-8", "rank-4"),
            "mpobert-tab5-rank-64": ("rank-8", "rank-64"),
        }.items()
    },
    # MPOE
    "mpoe-eq4-cost": Remedy(
        tuple(
            other("mpoe-eq4-cost", about, times_as_fast(masked_with(p)))
            for about, p in (
                ("gradients that are not computed where they would be discarded", 0.5),
                ("these and p_b = 0.25", 0.25),
                ("these and p_b = 0.75", 0.75),
                ("the central tensors frozen, p_b = 1", 1.0),
            )
        ),
    ),
    "mpoe-fig2-apart": Remedy(
        (
            Again("four times the updates", apart("experts-without-sharing-longer")),
            Again("three times the learning rate", apart("experts-without-sharing-faster")),
        ),
    ),
    "mpoe-eq4-frequent": Remedy(
        (
            Again("sixteen experts and the mask", left_out("experts-mpoe-16")),
            Again("T5 on SST-2 and the mask", left_out("experts-glue-sst-2-mpoe")),
        ),
    ),
    "mpoe-tab1-t5": Remedy(
        (
            Again(
                "a learning rate of its own for Switch as well",
                glue("mpoe", "switch-own-rate", "MPOE - Switch", TASKS),
            ),
            _longer_t5("Switch", ", and this rate for Switch"),
        ),
        (*_LONGER_T5, "a third of the learning rate for Switch", "three times the learning rate for Switch"),
        ("experts_glue_remedies.json", "experts_glue_rivals.json"),
        chosen=True,
    ),
    **{
        f"mpoe-tab1-t5-{name.lower()}": Remedy(
            (_longer_t5(name),),
            (*_LONGER_T5, f"a third of the learning rate for {name}", f"three times the learning rate for {name}"),
            ("experts_glue_remedies.json", "experts_glue_rivals.json"),
            chosen=True,
        )
        for name in ("MoE", "MoEfication")
    },
    "mpoe-tab1-t5-dense": Remedy((_longer_t5("dense"),), _LONGER_T5, ("experts_glue_remedies.json",), chosen=True),
    "mpoe-tab1-reviews": Remedy(
        (
            Again(
                f"{_UNMASKED}, separate experts behind MPOE's router",
                writing("reviews", "mpoe-longer", "without-sharing-longer", about="MPOE - without sharing"),
            ),
            Again(
                "four times the updates for all, and no gradient mask",
                writing("reviews", "mpoe-longer", "moe-longer", "switch-longer"),
            ),
        ),
        ("four times the updates", "these without the gradient mask, and at half the rate for MoE and Switch"),
        ("experts_reviews.json",),
        chosen=True,
    ),
    "mpoe-tab2-dense": Remedy(
        (
            Again(
                "1,000 rows of each task and three times the updates",
                Compared(
                    ((one("experts-together-mpoe-longer"), one("experts-together-dense-longer")),),
                    "higher",
                    "mean over tasks: MPOE - dense",
                ),
            ),
        ),
        _LONGER_TOGETHER,
        ("experts_together_remedies.json",),
        chosen=True,
    ),
    "mpoe-tab1-gpt2-dense": _longer(_UNMASKED, perplexity("mpoe-longer", "dense-longer", "MPOE - dense")),
    "mpoe-tab1-more-experts": Remedy(
        (
            Again(
                _UNMASKED,
                Compared(
                    ((one("experts-mpoe-16-longer", BLEU_2), one("experts-mpoe-longer", BLEU_2)),),
                    "higher",
                    "BLEU-2: sixteen experts - eight",
                ),
            ),
        ),
        _LONGER_TRIED,
        _OTHER_TENSORS,
        chosen=True,
    ),
    "mpoe-tab3-sharing": Remedy(
        (
            Again(_FOUR_TIMES, perplexity("masked-longer", "without-sharing-longer", "MPOE - without sharing")),
            Again(_UNMASKED, perplexity("mpoe-longer", "without-sharing-longer", "MPOE - without sharing")),
        ),
        _LONGER_TRIED,
        _LONGER_FILES,
        chosen=True,
    ),
    "mpoe-tab3-mask": Remedy(
        (
            *(
                Again(f"a mask probability of {p}", perplexity(f"mask-{p}", "mask-0", "MPOE - without the mask"))
                for p in ("0.5", "0.75")
            ),
            Again(_FOUR_TIMES, perplexity("masked-longer", "mpoe-longer", "MPOE - without the mask")),
        ),
        _LONGER_TRIED,
        _LONGER_FILES,
        chosen=True,
    ),
    "mpoe-tab3-important": _longer(
        _FOUR_TIMES, perplexity("mpoe-longer", "without-sharing-longer", "without the mask - without sharing")
    ),
    "mpoe-tab4-superior": _longer(
        _UNMASKED,
        superior("experts-mpoe-longer", "experts-m-7-longer", "experts-m-9-longer", "experts-dense-longer"),
        _OTHER_TENSORS,
    ),
    "mpoe-tab4-m3": _longer(_UNMASKED, perplexity("mpoe-longer", "m-3-longer", "five tensors - three"), _OTHER_TENSORS),
    "mpoe-tab4-more": _longer(
        _UNMASKED,
        Compared(
            (
                (
                    one("experts-mpoe-longer", LOSS),
                    Measured(("experts-m-7-longer", "experts-m-9-longer"), (LOSS,)),
                ),
            ),
            "equal",
            "loss, nats a token: five tensors - seven and nine",
            0.01,
        ),
        _OTHER_TENSORS,
    ),
}
"""Id of a claim -> what was tried."""
