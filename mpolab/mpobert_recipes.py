"""What MPOBERT (Liu et al. 2023) fine-tunes, at the size of a laptop: Tables 1 to 5 as methods and recipes.

Compared are the package's own albert-mini and mpobert-mini, and MiniLM as the BERT. The paper's variants of MPOBERT
(without adapters, with adapters of several ranks, without sharing) are made from albert-mini as they are fine-tuned,
without pre-training of their own. Notebook 03, "Fine-tuning".

Items: mpobert-tab1 to mpobert-tab5.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from . import multitask
from .errors import DataError, TrainingError, unknown
from .jobs import Job, Method, Recipe, fine_tuned
from .mpobert_init import INITS
from .prepare import start_at_the_mean
from .pretrained import load_pretrained
from .pretraining import MINI_FACTORS
from .settings import Settings
from .training import Outcome

# -- the methods -----------------------------------------------------------------------------------------


def check_shots(job: Job) -> None:
    """Raises TrainingError or DataError for shots that cannot be had."""
    shots, task = job.recipe.options.get("shots"), job.data.task
    if not isinstance(shots, int) or isinstance(shots, bool) or shots < 1:
        raise TrainingError(f"the option shots={shots!r}: a whole number of at least 1 was expected, e.g. 10.")
    if task.kind not in ("single", "pair"):
        raise TrainingError(f"few shots are so many of each class, and {task.name} is of kind {task.kind!r}.")
    few(job.data.splits["train"], shots, job.seed)


def few(rows: list[dict[str, Any]], shots: int, seed: int) -> list[dict[str, Any]]:
    """`shots` rows of each class, drawn with `seed`, in the order in which they stand. Smaller draws are part of larger
    ones. Raises DataError for a class with fewer rows.
    """
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    taken: dict[Any, list[int]] = {row["label"]: [] for row in rows}
    for k in order:
        mine = taken[rows[k]["label"]]
        if len(mine) < shots:
            mine.append(k)
    short = {label: len(mine) for label, mine in taken.items() if len(mine) < shots}
    if short:
        label, count = next(iter(short.items()))
        raise DataError(f"{shots} rows of each class were asked for, and class {label!r} has {count}.")
    return [rows[k] for k in sorted(k for mine in taken.values() for k in mine)]


def take_few(job: Job) -> None:
    splits = {**job.data.splits, "train": few(job.data.splits["train"], job.recipe.options["shots"], job.seed)}
    if not job.recipe.select:
        splits.pop("select", None)  # with so few labels there are none to choose by: the last step is reported
    job.data = dataclasses.replace(job.data, splits=splits)


def check_variant(job: Job) -> None:
    init = job.recipe.options.get("init", "copy")
    if init not in INITS:
        raise unknown("initialisation", init, INITS)


def make_variant(job: Job) -> None:
    """An MPOBERT from the recipe's ALBERT, with the head that the task needs."""
    from . import mpobert

    asked = {"layers": None, "init": "copy", "changes": {}, **job.recipe.options}
    source = job.pretrained.model
    kind = getattr(mpobert, type(source).__name__.replace("Albert", "MPOBert"), None)
    if kind is None:
        raise TrainingError(f"{job.recipe.model!r} is a {type(source).__name__}; expected an ALBERT.")
    job.model = kind.from_albert(source, asked["layers"], asked["init"], job.seed, **asked["changes"])


def check_mixture(job: Job) -> None:
    """Raises TrainingError where there is nothing to choose a checkpoint by."""
    if not job.data.splits.get("select"):
        raise TrainingError(
            f"the method {job.recipe.method!r} chooses by the mean over tasks on the split 'select', and the recipe "
            "sets no rows aside for it: select= at least 1, or None for a tenth of each task's training rows."
        )


def load_with_heads(job: Job) -> None:
    """The recipe's model with a head for each task; those of regressions start at the mean of their labels."""
    tasks = job.data.tasks
    outputs = tasks[0].num_labels
    loaded = load_pretrained(job.recipe.model, head="sequence-classification", num_labels=outputs, seed=job.seed)
    if loaded.tokenizer is None:
        raise TrainingError(f"the model {job.recipe.model!r} ({loaded.origin}) has no tokenizer beside it: no text.")
    old = {id(tensor) for name, tensor in loaded.model.named_parameters() if name not in loaded.new}
    model = multitask.with_heads(loaded.model, tasks, job.seed)
    new = tuple(sorted(name for name, tensor in model.named_parameters() if id(tensor) not in old))
    starts = {
        part.name: start_at_the_mean(model, [name for name in new if f".{part.name}." in name], part)
        for part in job.data.parts
        if part.task.kind == "regression"
    }
    job.model, job.tokenizer = model, loaded.tokenizer
    job.pretrained = dataclasses.replace(loaded, new=new, seed=job.seed)
    job.extra |= {"heads": multitask.heads_of(model).outputs, "heads_start_at": starts}


def train_together(job: Job) -> Outcome:
    """One training on all tasks; the record gets how many of its steps each of them had."""
    outcome = fine_tuned(job)
    job.extra["steps"] = job.data.steps(job.settings.batch_size, job.seed, outcome.steps)
    return outcome


METHODS: dict[str, Method] = {
    "multitask": Method(
        "one encoder with a head for each task, trained on all of them at once",
        load_with_heads,
        train_together,
        ("temperature",),
        check_mixture,
        needs_model=False,
        several=True,
    ),
    "few_shot": Method(
        "the model as it is, on so many rows of each class", take_few, options=("shots",), check=check_shots
    ),
    "mpobert_variant": Method(
        "an MPOBERT made from the recipe's ALBERT, all parameters train",
        make_variant,
        options=("layers", "init", "changes"),
        check=check_variant,
    ),
}

# -- the recipes -----------------------------------------------------------------------------------------

MODELS = ("albert-mini", "mpobert-mini", "minilm")
TASKS = ("SST-2", "MRPC", "RTE", "STS-B", "CoLA", "SQuAD")
"""Of Table 1's nine tasks, those that have the scale laptop."""
TOGETHER = ("SST-2", "MRPC", "RTE", "STS-B")
"""Of Table 2's eight tasks, those of scale laptop."""
AT_FULL_SIZE = ("QQP", "MNLI", "QNLI")
"""Table 1's others."""
ALL_TASKS = (*TASKS, *AT_FULL_SIZE)
ALL_TOGETHER = (*TOGETHER, "CoLA", *AT_FULL_SIZE)

VARIANTS: dict[str, dict[str, Any]] = {
    "without-adapter": {},
    "rank-4": {"adapter_rank": 4},
    "rank-8": {"adapter_rank": 8},
    "rank-64": {"adapter_rank": 64},
    "without-sharing": {"num_central_groups": 12},
}
"""End of a recipe's name -> changes to the config: Tables 4 and 5. All have twelve layers."""

_FINE = Settings(epochs=3, batch_size=16, lr=3e-4, max_length=128)
_LAPTOP = {"train": 1000, "select": 200, "epochs": 4, "lr": 1e-4}
"""The rate is the best of 1e-4, 3e-4 and 1e-3 by the mean of the three models, on rows of SST-2 that choose and with a
seed that is not reported; MiniLM alone has three right answers of two hundred more at 3e-4.
`scripts/choose_settings.py mpobert`, results/mpobert_learning_rates.json."""

_SQUAD: dict[str, dict[str, Any]] = {
    "smoke": {"task": "SQuAD-head", "max_length": 64, "stride": 16},
    "laptop": {"task": "SQuAD-head", "dev": 300, "max_length": 128, "stride": 32, "epochs": 2},
    "gpu": {"stride": 32},
}
"""Passages are read in windows of 128 tokens, as many as albert-mini and mpobert-mini have positions; a question makes
two or three of them, and so two epochs are as long as four of other tasks."""

# With a thousand rows MPOBERT and ALBERT were at the floor, so all were tried again: with more rows, eight epochs, or
# three times the rate. All have what is best by the mean of the three, on rows that choose and with a seed that is not
# reported; eight epochs are three rows of two hundred better for MPOBERT, and worse for the others.
# `scripts/choose_settings.py mpobert-rows` and `mpobert-bert`, results/mpobert_rows.json and mpobert_remedies.json.
MORE: dict[str, dict[str, Any]] = {
    "albert-mini": {"train": 4000, "epochs": 2},
    "mpobert-mini": {"train": 4000, "epochs": 2},
    "minilm": {"train": 4000, "epochs": 2},
}
"""Model -> changes to _LAPTOP, in recipes whose names end in "-more". The variants have the same, which are the best of
three for each of them (results/mpobert_variants.json)."""


# On several tasks at once neither three times the rate nor eight epochs gain anything for MPOBERT and MiniLM, and the
# former is best for ALBERT, on rows that choose and with a seed that is not reported.
# `scripts/choose_settings.py mpobert-together`, results/mpobert_together.json.
OWN_RATE: dict[str, float] = {"albert-mini": 3e-4}
"""Model -> rate, in recipes of Table 2 whose names end in "-own-rate"."""


def _scales(task: str, **laptop: Any) -> dict[str, dict[str, Any]]:
    if task == "SQuAD":
        others = _scales("", **laptop)
        return {scale: {**changes, **_SQUAD[scale]} for scale, changes in others.items()}
    scales = {
        "smoke": {"train": 64, "select": 32, "dev": 32, "epochs": 1, "max_length": 32},
        "laptop": {**_LAPTOP, "dev": None if task in ("MRPC", "RTE") else 500, "max_length": 64,
                   "precision": "bf16", **laptop},
        "gpu": {"select": 500, "precision": "bf16"},
    }  # fmt: skip
    if task in AT_FULL_SIZE:
        del scales["laptop"]
    if laptop:
        del scales["gpu"]  # which has all rows
    return scales


def _table1(task: str, model: str, **more: Any) -> Recipe:
    return Recipe(
        name=f"table1-{task.lower()}-{model}" + ("-more" if more else ""),
        about=f"MPOBERT Table 1 on {task}, small: {model}, all parameters train" + (", more rows." if more else "."),
        task=task,
        model=model,
        settings=_FINE,
        scales=_scales(task, **more),
    )


def _variant(task: str, name: str, **more: Any) -> Recipe:
    return Recipe(
        name=f"table45-{task.lower()}-{name}" + ("-more" if more else ""),
        about=f"MPOBERT Tables 4 and 5 on {task}, small: twelve layers from albert-mini, {name}"
        + (", more rows." if more else "."),
        task=task,
        model="albert-mini",
        method="mpobert_variant",
        options={"layers": 12, "init": "copy", "changes": {**MINI_FACTORS, **VARIANTS[name]}},
        settings=_FINE,
        scales=_scales(task, **more),
    )


def _together(model: str, lr: float | None = None) -> Recipe:
    """lr: of its own; at scale gpu all have one rate."""
    own = {} if lr is None else {"lr": lr}
    made = Recipe(
        name=f"table2-{model}" + ("-own-rate" if own else ""),
        about=f"MPOBERT Table 2, small: {model} with a head for each of {', '.join(ALL_TOGETHER)}, trained together "
        f"(at scale laptop {', '.join(TOGETHER)})" + (", at a rate of its own." if own else "."),
        tasks=ALL_TOGETHER,
        model=model,
        method="multitask",
        settings=dataclasses.replace(_FINE, max_length=64),
        scales={
            "smoke": {"train": 32, "select": 16, "dev": 16, "epochs": 1, "max_length": 32},
            "laptop": {
                "tasks": TOGETHER,
                "train": 200,
                "select": 50,
                "dev": 250,
                "epochs": 4,
                "lr": 1e-4,
                "precision": "bf16",
                **own,
            },
            "gpu": {"select": 500, "precision": "bf16"},
        },
    )
    return dataclasses.replace(made, scales={k: v for k, v in made.scales.items() if k != "gpu"}) if own else made


RECIPES: tuple[Recipe, ...] = (
    *(_table1(task, model) for task in ALL_TASKS for model in MODELS),
    *(_table1("SST-2", model, **changes) for model, changes in MORE.items()),
    *(_together(model) for model in MODELS),
    *(_together(model, lr) for model, lr in OWN_RATE.items()),
    *(
        Recipe(
            name=f"table3-{task.lower()}-{model}-{shots}",
            about=f"MPOBERT Table 3 on {task}, small: {model}, {shots} rows of each class.",
            task=task,
            model=model,
            method="few_shot",
            options={"shots": shots},
            settings=dataclasses.replace(_FINE, epochs=20, batch_size=10, max_length=64),
            select=0,
            seeds=(0, 1, 2, 3, 4),
            scales={"smoke": {"dev": 32, "epochs": 1}, "laptop": {"dev": 500}, "gpu": {}},
        )
        for task in ("SST-2", "MNLI-10k")
        for model in MODELS
        for shots in (10, 20, 30)
    ),
    *(_variant(task, name) for task in ("SST-2", "RTE", "MRPC") for name in VARIANTS),
    *(_variant("SST-2", name, **MORE["albert-mini"]) for name in VARIANTS),
)
