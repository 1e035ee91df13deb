"""The ways to fine-tune and to compress that MPOP (Liu et al. 2021) compares, and the recipes that compare them.

"Lightweight fine-tuning" (section 4.1) trains the auxiliary tensors and freezes the central ones; "dimension squeezing"
(section 4.2, Algorithm 2) then lowers bonds one by one. Tables 1, 3 and 5 are made of `METHODS`; notebook 02,
"Lightweight fine-tuning" and "Squeezing", shows what came out.

Items: mpop-tab1, mpop-tab3, mpop-tab4, mpop-tab5.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Integral, Real

import torch
from torch import nn

from .errors import BondError, TrainingError, UnknownNameError, unknown
from .jobs import FLOORS, Job, Method, Recipe, fine_tuned
from .layers import MPOEmbedding
from .matrices import matrices
from .prepare import one_process
from .session import Session
from .squeeze import ORDERS, queue_of, squeeze, straight
from .surgery import freeze_auxiliary, freeze_central, mpo_layers, to_mpo, trainable_report
from .surgery_plans import HEAD, REPORT_KINDS, kind_of
from .trace import Trace
from .training import Outcome, Settings, evaluate

VARIATION_LEVELS = (1e-4, 1e-3)
"""Where MPOP's Table 1 divides the changes of parameters: (0, 1e-4], (1e-4, 1e-3], (1e-3, inf)."""

SQUEEZING = {"share": 0.75, "step": 0.25, "tune_steps": 2, "rows": 100, "order": "estimate"}
"""How far and how finely `mpop` squeezes, if the recipe's options do not say otherwise.

share: #To at the end over #To of the dense model. step: of a bond's first size that one cut takes. tune_steps: updates
after each cut. rows: of the select split, on which the metric of every step is measured. order: of the cuts.
"""


# -- the methods -----------------------------------------------------------------------------------


def prepare_mpo(job: Job, freeze: Callable[[nn.Module], object] | None = None) -> None:
    """Every matrix of the plan "mpop" an MPO at full bonds. freeze: the tensors that do not train, None = all do."""
    to_mpo(job.model, "mpop", undoable=False, progress=False)
    if freeze is not None:
        freeze(job.model)


def prepare_last(job: Job, layers: int, embedding: bool) -> None:
    only_last_layers(job.model, layers, embedding)


def check_options(job: Job) -> None:
    """Raises UnknownNameError or TrainingError for options of a squeezing that cannot be meant."""
    asked = {**SQUEEZING, **job.recipe.options}
    if asked["order"] not in ORDERS:
        raise unknown("order", asked["order"], ORDERS)
    for name, least in (("tune_steps", 0), ("rows", 1)):
        if not _whole(asked[name], least):
            raise TrainingError(f"the option {name}={asked[name]!r}: a whole number of at least {least} was expected.")
    share, step = asked["share"], asked["step"]
    if not _positive(share):
        raise TrainingError(f"the option share={share!r}: a number above 0 was expected, e.g. 0.75.")
    if not _whole(step, 1) and not (_positive(step) and step < 1):
        raise TrainingError(f"the option step={step!r}: a whole number or a share between 0 and 1 was expected.")


def check_squeezing(job: Job) -> None:
    """As `check_options`; raises as well for want of rows to measure on, and in several processes."""
    one_process(f"the method {job.recipe.method!r}")
    check_options(job)
    if not job.data.splits.get("select"):
        raise TrainingError(
            f"the method {job.recipe.method!r} measures every step on the split 'select', and the recipe sets no rows "
            "aside for it: select= at least 1, or None for a tenth of the training rows."
        )


def _whole(value: object, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= least


def _positive(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < value < math.inf


def train_and_compare(job: Job) -> Outcome:
    """One fine-tuning; the record gets how far each kind of matrix moved (Table 1), and #Pr and #To by kind."""
    before = _weights(job.model)
    outcome = fine_tuned(job)
    job.extra["variation"] = variation(before, _weights(job.model), job.model)
    job.extra["kinds"] = trainable_report(job.model).kinds
    return outcome


def train_and_squeeze(job: Job) -> Outcome:
    """Lightweight fine-tuning, then dimension squeezing with one optimizer; both in the seconds of the outcome."""
    asked = {**SQUEEZING, **job.recipe.options}
    target = _target(job, asked["share"])
    _check_reach(job.model, target, asked["share"])
    outcome = fine_tuned(job)
    few = dataclasses.replace(
        job.data, splits={**job.data.splits, "select": job.data.splits["select"][: asked["rows"]]}
    )
    with Session(job.model, job.tokenizer, few, job.settings, seed=job.seed) as session:
        start = time.perf_counter()
        trace = squeeze(
            job.model,
            tune=lambda _: session.train(asked["tune_steps"]),
            evaluate=lambda _: session.evaluate("select")[job.data.task.main_metric],
            optimizer=session.optimizer,
            step=asked["step"],
            target=target,
            order=asked["order"],
            seed=job.seed,
        )
        seconds = time.perf_counter() - start
        updates = session.step
    scores = evaluate(job.model, job.tokenizer, job.data, settings=job.settings, seed=job.seed)
    job.extra |= {"trace": trace.to_dict(), "after_fine_tuning": outcome.scores, "squeezing_seconds": round(seconds, 1)}
    changes = {"seconds": outcome.seconds + seconds, "steps": outcome.steps + updates}
    return _at_size_now(outcome, job, scores={**outcome.scores, **scores}, **changes)


def train_after_straight_cut(job: Job) -> Outcome:
    """Cut straight to the size at which squeezing ends, then lightweight fine-tuning with as many updates."""
    asked = {**SQUEEZING, **job.recipe.options}
    trace = straight(job.model, _target(job, asked["share"]), step=asked["step"])
    freeze_central(job.model)
    epoch = -(-len(job.data.splits["train"]) // job.settings.batch_size)
    steps = job.settings.steps(epoch) + _steps_of(trace, asked["step"]) * asked["tune_steps"]
    job.settings = dataclasses.replace(job.settings, max_steps=steps)
    outcome = fine_tuned(job)
    job.extra["trace"] = trace.to_dict()
    return _at_size_now(outcome, job)


METHODS: dict[str, Method] = {
    "mpop_full": Method("every matrix an MPO at full bonds, all tensors train", prepare_mpo, train_and_compare),
    "mpop_full_lfa": Method(
        "every matrix an MPO at full bonds, central tensors frozen",
        partial(prepare_mpo, freeze=freeze_central),
        train_and_compare,
    ),
    "mpop_full_central": Method(
        "every matrix an MPO at full bonds, auxiliary tensors frozen",
        partial(prepare_mpo, freeze=freeze_auxiliary),
        train_and_compare,
    ),
    "mpop": Method(
        "lightweight fine-tuning, then dimension squeezing",
        partial(prepare_mpo, freeze=freeze_central),
        train_and_squeeze,
        tuple(SQUEEZING),
        check_squeezing,
    ),
    "mpop_dir": Method(
        "cut straight to the size of `mpop`, then lightweight fine-tuning with as many updates",
        prepare_mpo,
        train_after_straight_cut,
        tuple(SQUEEZING),
        check_options,
    ),
    "full_compared": Method("the dense model, all parameters train; how far each moved", train=train_and_compare),
    **{
        f"last_{k}{'_embedding' if embedding else ''}": Method(
            f"the dense model, the last {k} layer(s){', the embeddings' if embedding else ''}, pooler and head train",
            partial(prepare_last, layers=k, embedding=embedding),
        )
        for k in (1, 2, 3)
        for embedding in (False, True)
    },
}


# -- the recipes -----------------------------------------------------------------------------------

# The best of 1e-4, 3e-4 and 1e-3 for each, on rows of SST-2's training file with a seed that is not reported:
# `scripts/choose_settings.py mpop`, results/learning_rates.json. With frozen centres it was tried at full bonds only;
# for three last layers 3e-4 is as good.
COMPARED: dict[str, tuple[str, float]] = {
    "full": ("full_compared", 3e-4),
    "full-mpo": ("mpop_full", 1e-4),
    "lfa": ("mpop_full_lfa", 3e-4),
    "central": ("mpop_full_central", 1e-4),
    "squeezed": ("mpop", 3e-4),
    "straight": ("mpop_dir", 3e-4),
    "last-1": ("last_1", 1e-3),
    "last-2": ("last_2", 1e-3),
    "last-3": ("last_3", 1e-3),
    "last-1-embedding": ("last_1_embedding", 1e-3),
    "last-2-embedding": ("last_2_embedding", 1e-3),
    "last-3-embedding": ("last_3_embedding", 1e-3),
    "majority": ("majority", 1e-3),  # these two train no model
    "bag-of-words": ("bag_of_words", 1e-3),
}
"""End of a recipe's name -> (method, learning rate)."""

TASKS = ("SST-2", "MRPC", "RTE", "STS-B")
"""Of Table 3's nine tasks, those that have the scale laptop, where an item is to take hours and not a day."""

AT_FULL_SIZE = ("CoLA", "QQP", "MNLI", "QNLI", "WNLI")
"""The others."""

ALL_TASKS = (*TASKS, *AT_FULL_SIZE)

_OF_TABLE_3 = ("full", "full-mpo", "lfa", "central", "squeezed", "straight")
"""Ways that the tasks of AT_FULL_SIZE have recipes of."""

FAMILIES = ("albert-mini",)
"""Models of other families than MiniLM's BERT, for Table 4; their recipes are called "mpop-TASK-WAY-MODEL"."""

_CUTS = {"squeezed": {"step": 0.5}, "straight": {"step": 0.5}}
"""Options of scale laptop, where a run is to take minutes."""

# Squeezing came out behind, so both ways were tried again: the best of two remedies and of nothing, on rows of SST-2's
# training file with a seed that is not reported: `scripts/choose_settings.py squeezing`,
# results/squeezing_remedies.json.
GENTLER: dict[str, tuple[dict[str, float], str]] = {
    "squeezed": ({"step": 0.25}, "cuts of a quarter of a bond"),
    "straight": ({"step": 0.5, "tune_steps": 8}, "eight updates for each cut of squeezing"),
}
"""Way -> (options, in words), in recipes whose names end in "-gentler"."""

# What was best for each ends at two sizes, 17.0 and 16.2 M parameters. With squeezing's own cuts, cutting at once ends
# at squeezing's size with squeezing's number of updates; on 200 rows that choose, that is one right answer fewer than
# with eight updates a cut.
EQUAL: dict[str, tuple[dict[str, float], str]] = {"straight": GENTLER["squeezed"]}
"""The same, in recipes whose names end in "-equal"."""

# Of all ways that train at once, one last layer alone gains by more rows, and the auxiliary tensors, with
# which it is compared, are best by the same: `scripts/choose_settings.py mpop-rows`, results/mpop_rows.json.
MORE_ROWS: dict[str, int] = {"lfa": 1000, "last-1": 1000}
"""Way -> training rows of SST-2 at scale laptop, in recipes whose names end in "-more"."""

# The ways that the auxiliary tensors are compared with gain half a point or lose one by them, on 500 rows that choose;
# they have as many rows to stand beside, and no verdict by it.
AS_MANY_ROWS: dict[str, int] = {"full": 1000, "full-mpo": 1000, "central": 1000}
"""The same, of the others with such a recipe."""

_ROWS = MORE_ROWS | AS_MANY_ROWS

_AGAIN = {
    "-gentler": GENTLER,
    "-equal": EQUAL,
    "-more": {way: ({}, f"{rows:,} training rows") for way, rows in _ROWS.items()},
}

# With three seeds the intervals reached four to seven points either way, so what the comparisons rest on was given two
# more, whatever it had come to. Others keep three:
# the first settings of what was tried again since, and what no comparison's interval turns on.
_FIVE_SEEDS = {
    "": {"full", "full-mpo", "lfa", "central", "last-1", "last-2", "last-3"},
    "-gentler": {"squeezed"},
    "-equal": {"straight"},
    "-more": {*_ROWS},
}

_OF_TABLE_5 = ("SST-2", "MRPC", "RTE")
_OF_FAMILIES = ("full", "full-mpo", "lfa", "squeezed", "straight")
_MODELS = [("minilm", name) for name in COMPARED] + [(model, name) for model in FAMILIES for name in _OF_FAMILIES]


def _recipe(task: str, name: str, model: str = "minilm", end: str = "") -> Recipe:
    """end: a key of _AGAIN."""
    method, lr = COMPARED[name]
    options, changed = _AGAIN[end][name] if end else (_CUTS.get(name, {}), "")
    rows = _ROWS[name] if end == "-more" else 400
    scales = {
        "smoke": {"train": 64, "select": 32, "dev": 32, "epochs": 1, "max_length": 32},
        "laptop": {"train": rows, "select": 100, "dev": None if task in ("MRPC", "RTE") else 500, "max_length": 64,
                   "precision": "bf16", "options": options},
        # WNLI has 635 rows, and loses a tenth of them at most
        "gpu": {"select": None if task == "WNLI" else 500, "precision": "bf16"} | ({"options": options} if end else {}),
    }  # fmt: skip
    if task in AT_FULL_SIZE:
        del scales["laptop"]
    if end == "-more":
        del scales["gpu"]  # which has all rows
    tables = "s 3 and 5" if task in _OF_TABLE_5 else " 3"
    return Recipe(
        name=f"mpop-{task.lower()}-{name}" + (end or ("" if model == "minilm" else f"-{model}")),
        about=f"MPOP Table{tables if model == 'minilm' else f' 4 with {model}'} on {task}: "
        f"{(METHODS | FLOORS)[method].about}" + (f", {changed}." if end else "."),
        task=task,
        model=model,
        method=method,
        settings=Settings(epochs=3, batch_size=32, lr=lr, max_length=128),
        seeds=tuple(range(5 if model == "minilm" and name in _FIVE_SEEDS[end] else 3)),
        scales=scales,
    )


RECIPES: tuple[Recipe, ...] = tuple(
    [_recipe(task, name, model) for task in TASKS for model, name in _MODELS]
    + [_recipe(task, name) for task in AT_FULL_SIZE for name in _OF_TABLE_3]
    + [_recipe("WNLI", name, model) for model in FAMILIES for name in ("full", "squeezed")]
    + [
        _recipe(task, name, end=end)
        for end in ("-gentler", "-equal")
        for task in ALL_TASKS
        for name in _AGAIN[end]
    ]
    + [_recipe("SST-2", name, end="-more") for name in _AGAIN["-more"]]
)


# -- pieces ----------------------------------------------------------------------------------------


def only_last_layers(model: nn.Module, layers: int, embedding: bool = False) -> nn.Module:
    """Freezes all but the last so many layers, what follows them, and (if asked for) the embeddings before them.

    Layers are found by their number in the modules' paths ("encoder.layer.5."). Raises UnknownNameError for a model
    that has fewer numbered layers (ALBERT's share one set of weights).
    """
    numbered = re.compile(r"(?:^|\.)(?:layers?|h|block)\.(\d+)\.")
    found = {name: numbered.search(name) for name, _ in model.named_parameters()}
    depth = 1 + max((int(hit[1]) for hit in found.values() if hit), default=-1)
    kinds = (nn.Embedding, MPOEmbedding)
    looked_up = {id(p) for module in model.modules() if isinstance(module, kinds) for p in module.parameters()}
    first = next((place for place, name in enumerate(found) if found[name]), 0)  # before it: embeddings, their norms
    if not 1 <= layers <= depth:
        raise UnknownNameError(
            f"the last {layers} layers were asked for, and {type(model).__name__} has {depth} numbered ones."
        )
    for place, (name, parameter) in enumerate(model.named_parameters()):
        hit = found[name]
        if hit:
            parameter.requires_grad_(int(hit[1]) >= depth - layers)
        else:
            parameter.requires_grad_(embedding or (place > first and id(parameter) not in looked_up))
    return model


def variation(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor], model: nn.Module
) -> dict[str, list[float]]:
    """MPOP Table 1: shares of the entries of all matrices of a kind whose |change| lies in each of the intervals.

    before, after: matrices (out, in) by path. An entry that did not change counts in the first. Heads are left out.
    """
    low, high = VARIATION_LEVELS
    counts: dict[str, list[int]] = {}
    for path, weight in before.items():
        kind = kind_of(model, path)
        if kind == HEAD:
            continue
        moved = (after[path] - weight).abs()
        small, large = int((moved <= low).sum()), int((moved > high).sum())
        entry = counts.setdefault(kind, [0, 0, 0])
        for k, value in enumerate((small, moved.numel() - small - large, large)):
            entry[k] += value
    return {kind: [c / sum(counts[kind]) for c in counts[kind]] for kind in REPORT_KINDS if kind in counts}


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every matrix of the model by path, (out, in), MPOs rebuilt; float32 copies."""
    found = {name: matrix.weight for name, matrix in matrices(model).items()}
    with torch.no_grad():
        found |= {path: layer.weight for path, layer in mpo_layers(model).items()}
        return {name: weight.detach().float().cpu().clone() for name, weight in found.items()}


def _target(job: Job, share: float) -> int:
    """So many parameters shall be left: a share of the dense model's."""
    return int(share * trainable_report(job.model).dense)


def _check_reach(model: nn.Module, target: int, share: float) -> None:
    """Raises BondError where even bonds of 1 next to the centres leave more; `squeeze` says so after the training."""
    report, queue = trainable_report(model), queue_of(model)
    least = report.total - queue.parameters + queue.least
    if target < least:
        raise BondError(
            f"the option share={share!r} is out of reach: with every bond next to a centre at 1 the model still has "
            f"{least:,} parameters, a share of {math.ceil(1000 * least / report.dense) / 1000:g}."
        )


def _steps_of(trace: Trace, step: float) -> int:
    """How many steps squeezing to the same bonds takes: each lowers a bond by `step`, a share is of its first size."""
    total = 0
    for done in trace.steps:
        first = trace.matrices[done.path].bonds[done.bond]
        size = step if _whole(step, 1) else max(1, math.ceil(step * first))
        total += math.ceil((done.before - done.after) / size)
    return total


def _at_size_now(outcome: Outcome, job: Job, **changes) -> Outcome:
    """The outcome with #Pr and #To as they are after the bonds were cut."""
    report = trainable_report(job.model)
    job.extra["kinds"] = report.kinds
    return dataclasses.replace(outcome, trainable=report.trainable, total=report.total, **changes)
