"""Where a claim did not come out: what else was tried, and what it came to.

A remedy that is to change a verdict is chosen on a seed and on rows that are not reported, with as many tries for what
it is compared with or is made like (scripts/choose_settings.py), and then runs on all reported seeds. The first result
stays beside it. The learning rates among which the first settings were chosen count as tries, and are named as such.
What nobody would choose, but shows the reason, or looks at the same runs in another way, stands beside the first result
and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import LedgerError
from ..recipes import recipe_named
from ..tasks import task_named
from .compared import Compared, Found, Measured, Pair, one, ways
from .evidence import EVIDENCE
from .evidence_mpobert import ablated, hidden_loss
from .evidence_mpoe import BLEU_2, LOSS, PERPLEXITY, apart, glue, perplexity
from .evidence_mpop import ENDS, FOUR
from .row import OUTCOMES
from .studies import EVERY_LAYER, Studied, Values, errors_of, growth_of, levels_of, spread_of, trends_of

LEAST_TRIED = 2


@dataclass(frozen=True)
class Again:
    """The claim once more. about: what was changed, in words that follow "with"."""

    about: str
    evidence: Compared | Studied

    def outcome(self, found: Found) -> str:
        """One of OUTCOMES, or a verdict without any."""
        verdict = self.evidence.verdict(found)
        return next((outcome for outcome in OUTCOMES if verdict.endswith(outcome)), verdict)

    def ours(self, found: Found, known: Collection[str] = ()) -> str:
        """known: missing records that are named elsewhere."""
        missing = [record for record in found.missing if record not in known]
        without = f", without records of {', '.join(missing)}" if missing else ""
        return f"with {self.about}: {found.difference} ({self.outcome(found)}{without})"


@dataclass(frozen=True)
class Remedy:
    """again: what was tried on the reported seeds, or looked at in another way in their records. tried: on rows that
    choose, each in a few words; what came of it stands in `files` of results/. chosen: the last of `again` is what the
    files chose, and gives the verdict; else the first result does.

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
        return [(again, found) for again in self.again if (found := again.evidence.found(results)) is not None]

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


def _other(id: str, about: str, values: Callable[[Path], Values]) -> Again:
    """Other numbers of the claim's own study."""
    study: Studied = EVIDENCE[id]  # type: ignore[assignment]
    return Again(about, replace(study, values=values))


# -- the same runs, looked at in another way ---------------------------------------------------------


def _is_regression(pair: Pair) -> bool:
    """Whose loss has the unit of its labels, and no mean with those of others."""
    names = [name for part in pair if isinstance(part, Measured) for name in part.recipes]
    return any(task_named(task).kind == "regression" for name in names if (task := recipe_named(name).task))


def _by(about: str, id: str, *wheres: str, direction: str = "higher", margin: float = 0.0) -> Again:
    """The claim's own runs by other numbers of their records."""
    evidence: Compared = EVIDENCE[id]  # type: ignore[assignment]
    pairs = tuple(pair for pair in evidence.pairs if not _is_regression(pair))
    return Again(about, replace(evidence, pairs=pairs).at(*wheres, direction=direction, margin=margin))


def _by_loss(id: str, *tasks: str, margin: float = 0.0) -> Again:
    """Less coarse than right or wrong. tasks: those of a run on several. margin: of a claim that two are equal."""
    wheres = [f"scores | dev | {task}/loss" for task in tasks] or ["scores | dev | loss"]
    direction = "equal" if margin else "lower"
    return _by("the loss on the same rows, lower being better", id, *wheres, direction=direction, margin=margin)


_TRENDS_TRIED = ("2,000 rows for the probes to learn from", "the first token in place of the mean of all")


def _trends(id: str, values: Callable[..., Callable[[Path], Values]], *models: str) -> Remedy:
    study: Studied = EVIDENCE[id]  # type: ignore[assignment]
    larger = replace(
        study,
        file="probing_trend_larger.json",
        command="python scripts/trend_study.py --data-dir DIR --larger",
        cost="about 25 min of a core",
    )
    return Remedy(
        (
            _other(id, "the rows that chose the probes", values(*models, "centre on dev")),
            _other(id, "the best layer in place of the mean one", values(*models, "peak")),
            Again("2,000 rows to learn from and 1,000 to test on", larger),
        ),
        _TRENDS_TRIED,
        ("probing_trend_tries.json",),
        chosen=True,
    )


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


# -- four times the updates, more rows -----------------------------------------------------------------

_LONGER_TRIED = ("four times the updates", "four times the updates without the gradient mask")
_LONGER_FILES = ("experts_remedies.json", "experts_without_sharing.json")


def _longer(about: str, evidence: Compared) -> Remedy:
    return Remedy((Again(about, evidence),), _LONGER_TRIED, _LONGER_FILES, chosen=True)


_FOUR_TIMES = "four times the updates for both"
_UNMASKED = f"{_FOUR_TIMES}, and no gradient mask"

_RATES = ("before the first result, two other learning rates for each",)
_LONGER_THERE = ("1,000 rows of SST-2", "eight epochs there")
_GENTLER = ("on SST-2, eight updates for each cut", "cuts of a quarter of a bond there")
_GENTLER_FILES = ("squeezing_remedies.json",)
_MPOP_FILES = ("mpop_rows.json", "learning_rates.json")
_TWICE = "4,000 rows of SST-2 twice for both"
_MORE_ROWS = ("4,000 rows of SST-2 once", "4,000 rows of SST-2 twice")
_LONGER_OR_FASTER = ("twice the epochs on SST-2", "three times the learning rate there")
_ON_SST_2 = ("mpobert_rows.json",)


def _more_rows(rival: str, about: str) -> Remedy:
    evidence = ways("table1-sst-2-{task}-more", f"table1-sst-2-{rival}-more", ("mpobert-mini",), "higher", about)
    return Remedy((Again(_TWICE, evidence),), _MORE_ROWS, _ON_SST_2, chosen=True)


REMEDIES: Mapping[str, Remedy] = {
    # MPOP
    "mpop-eq6-same-effect": Remedy(
        (_by_loss("mpop-eq6-same-effect", margin=0.01),), (*_LONGER_THERE, *_RATES), _MPOP_FILES
    ),
    **{
        id: Remedy((_by_loss(id),), (*_LONGER_THERE, *_RATES), _MPOP_FILES)
        for id in ("mpop-tab3-lfa", "mpop-tab3-lfa-dense", "mpop-tab3-full-dense")
    },
    **{
        f"mpop-tab5-last-{layers}": Remedy(
            (_by_loss(f"mpop-tab5-last-{layers}"),),
            (
                *_LONGER_THERE,
                "before the first result, two other learning rates for the auxiliaries and for two layers",
            ),
            _MPOP_FILES,
        )
        for layers in (1, 2, 3)
    },
    "mpop-tab3-squeezing": Remedy(
        (
            _by_loss("mpop-tab3-squeezing"),
            Again(
                "cuts of a quarter of a bond, against eight updates for each of them after cutting at once",
                ways("mpop-{task}-squeezed-gentler", "mpop-{task}-straight-gentler", FOUR, "higher", "squeezed - cut"),
            ),
        ),
        _GENTLER,
        _GENTLER_FILES,
        chosen=True,
    ),
    "mpop-tab3-squeezed-dense": Remedy(
        (
            Again(
                "a stop at the dense model's size, on the rows of every step",
                _at_step(_AT_DENSE_SIZE, [f"mpop-{task}-{{}}" for task in FOUR]),
            ),
            Again(
                "all cuts at once and as many updates after them",
                ways("mpop-{task}-straight", "mpop-{task}-full", FOUR, "higher", "cut - dense"),
            ),
            Again(
                "cuts of a quarter of a bond",
                ways("mpop-{task}-squeezed-gentler", "mpop-{task}-full", FOUR, "higher", "squeezed - dense"),
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
        tuple(_other("mpop-fig2-plans", f"ratio {ratio:g}", spread_of(ratio)) for ratio in (0.3, 0.7)),
    ),
    "mpop-alg2-growth": Remedy(
        tuple(
            _other("mpop-alg2-growth", about, growth_of(level, *cut))
            for about, level, cut in (
                ("cuts to 0.2", "error 0.2", range(5)),
                ("cuts to ratio 0.5", "ratio 0.5", range(5)),
                ("the first layer alone", "error 0.1", [0]),
                ("all layers cut at once", "error 0.1", [EVERY_LAYER]),
            )
        ),
    ),
    "mpop-tab4-rte": Remedy(
        (
            _by_loss("mpop-tab4-rte"),
            Again("the rows of every step, at the last", _at_step(-1, [f"mpop-rte-{{}}{end}" for end in ENDS])),
        ),
        ("2,000 rows for albert-mini", "2,000 rows in six epochs for it"),
        ("mpop_rte_rows.json",),
    ),
    # MPOBERT
    "mpobert-tab1-albert": _more_rows("albert-mini", "mpobert-mini - albert-mini"),
    "mpobert-tab1-bert": _more_rows("minilm", "mpobert-mini - MiniLM"),
    "mpobert-fig3-continued": Remedy(
        (
            _by("the share of hidden tokens that are found", "mpobert-fig3-continued", "scores | test | mlm_accuracy"),
            _by("the order of sentences", "mpobert-fig3-continued", "scores | test | sop_accuracy"),
            Again("four times the updates", hidden_loss("decomposed", "continued", "-longer")),
        ),
        ("240 updates in place of 60", "240 updates at 5e-4 in place of 2e-4"),
        ("mpobert_figure_3.json",),
        chosen=True,
    ),
    "mpobert-fig4-albert": _trends("mpobert-fig4-albert", levels_of, "albert-mini"),
    "mpobert-fig4-mpobert": _trends("mpobert-fig4-mpobert", trends_of, "mpobert-mini", "albert-mini"),
    "mpobert-tab2-albert": Remedy((_by_loss("mpobert-tab2-albert", "SST-2", "MRPC", "RTE"),), _MORE_ROWS, _ON_SST_2),
    "mpobert-tab3-albert": Remedy((_by_loss("mpobert-tab3-albert"),), _MORE_ROWS, _ON_SST_2),
    "mpobert-tab2-bert": Remedy((), (*_LONGER_OR_FASTER, *_MORE_ROWS), ("mpobert_remedies.json", *_ON_SST_2)),
    "mpobert-tab3-bert": Remedy((), (*_LONGER_OR_FASTER, *_MORE_ROWS), ("mpobert_remedies.json", *_ON_SST_2)),
    **{
        id: Remedy(
            (
                _by_loss(id),
                _by(
                    "rows held out of the training phrases, where each has its best epoch",
                    id,
                    "scores | select | accuracy",
                ),
                Again(_TWICE, ablated(*variants, ("sst-2",), "-more")),
            ),
            _MORE_ROWS,
            _ON_SST_2,
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
    "mpoe-fig2-apart": Remedy(
        (
            Again("four times the updates", apart("experts-without-sharing-longer")),
            Again("the share of a change at random in place of a half", apart("experts-without-sharing", "random")),
        ),
    ),
    "mpoe-tab1-t5": Remedy(
        (
            _by_loss("mpoe-tab1-t5"),
            Again(
                "a learning rate of its own for Switch as well",
                glue("mpoe", "switch-own-rate", "MPOE - Switch"),
            ),
        ),
        ("a third of the learning rate for Switch", "three times the learning rate for Switch"),
        ("experts_glue_rivals.json", "experts_glue_learning_rates.json"),
        chosen=True,
    ),
    "mpoe-tab1-t5-dense": Remedy((_by_loss("mpoe-tab1-t5-dense"),), _RATES, ("experts_glue_learning_rates.json",)),
    "mpoe-tab2-dense": Remedy(
        (_by_loss("mpoe-tab2-dense", "SST-2", "MRPC", "RTE"),),
        ("before the first result, two other learning rates for each, on SST-2 alone",),
        ("experts_glue_learning_rates.json",),
    ),
    "mpoe-tab1-gpt2-dense": _longer(_UNMASKED, perplexity("mpoe-longer", "dense-longer", "MPOE - dense")),
    "mpoe-tab1-more-experts": Remedy(
        (
            _by("BLEU-4", "mpoe-tab1-more-experts", "scores | test | bleu_4"),
            _by("perplexity, lower being better", "mpoe-tab1-more-experts", PERPLEXITY, direction="lower"),
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
        _LONGER_FILES,
        chosen=True,
    ),
    "mpoe-tab3-sharing": Remedy(
        (
            Again(_UNMASKED, perplexity("mpoe-longer", "without-sharing-longer", "MPOE - without sharing")),
            Again(_FOUR_TIMES, perplexity("masked-longer", "without-sharing-longer", "MPOE - without sharing")),
        ),
        _LONGER_TRIED,
        _LONGER_FILES,
        chosen=True,
    ),
    "mpoe-tab3-mask": _longer(_FOUR_TIMES, perplexity("masked-longer", "mpoe-longer", "MPOE - without the mask")),
    "mpoe-tab3-important": _longer(
        _FOUR_TIMES, perplexity("mpoe-longer", "without-sharing-longer", "without the mask - without sharing")
    ),
    "mpoe-tab4-m3": _longer(_UNMASKED, perplexity("mpoe-longer", "m-3-longer", "five tensors - three")),
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
    ),
}
"""Id of a claim -> what was tried."""
