"""Recipes: what is run to get a record, as small frozen values, and the table of them.

A recipe names a model, a task, a method and settings, and says for each scale what is smaller. A new experiment is one
entry of `RECIPES`; a new way to change or to train a model is one entry of `METHODS`.

>>> record = run("demo", "smoke", seed=0)  # doctest: +SKIP

A run keeps its checkpoints in build/runs/ until its record is written, so that one that is interrupted goes on when it
is asked for again; a recipe that was changed in between, or that gets other rows, starts anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from . import locks, mpobert_recipes, mpoe, mpoe_glue, mpop, pretraining, runs, writers
from .corpora import SEPARATOR
from .data import OFFLINE_TEXTS, TaskData, TextData, load_task, load_text, task_named
from .errors import DataNotFoundError, TrainingError, UnknownNameError, unknown
from .jobs import FLOORS, Job, Method, Recipe
from .mixture import TaskMixture, check_tasks
from .prepare import start_at_the_mean
from .pretrained import load_pretrained
from .runs import Record
from .text_to_text import paper_splits
from .training import Settings

# -- the tables --------------------------------------------------------------------------------------

METHODS: dict[str, Method] = {
    "full": Method("the dense model, all parameters train"),
    **FLOORS,
    **mpop.METHODS,
    **pretraining.METHODS,
    **mpobert_recipes.METHODS,
    **writers.METHODS,
    **mpoe.METHODS,
    **mpoe_glue.METHODS,
}
"""Every method by its name."""

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="demo",
            about="Fine-tunes MiniLM on sentences of the offline grammar: shows the machinery, anywhere.",
            task="SST-2",
            source="offline",
            settings=Settings(epochs=3, batch_size=16, lr=1e-4, max_length=40),
            scales={
                "smoke": {"train": 200, "select": 64, "dev": 200, "batch_size": 8, "lr": 3e-4},
                "laptop": {"train": 1000, "select": 200, "dev": 500},
            },
        ),
        *(
            Recipe(
                name=f"offline-{task.lower()}-{name}",
                about=f"What the offline {task} asks for, beside two floors: {METHODS[method].about}.",
                task=task,
                source="offline",
                method=method,
                settings=Settings(epochs=3, batch_size=16, lr=3e-4, max_length=128 if task == "SQuAD" else 64),
                scales={
                    "smoke": {"train": 64, "select": 32, "dev": 32, "epochs": 1},
                    "laptop": {"train": 800, "select": 100, "dev": 400, "precision": "bf16"},
                },
            )
            for task in ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI", "SQuAD")
            for name, method in (("majority", "majority"), ("bag-of-words", "bag_of_words"), ("full", "full"))
        ),
        *mpop.RECIPES,
        *pretraining.RECIPES,
        *mpobert_recipes.RECIPES,
        *writers.RECIPES,
        *mpoe.RECIPES,
        *mpoe_glue.RECIPES,
    )
}
"""Every recipe by its name."""


def recipe_named(name: str | Recipe) -> Recipe:
    """Raises UnknownNameError with the nearest names."""
    if isinstance(name, Recipe):
        return name
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def load_or_run(name: str | Recipe, scale: str | None = None, seed: int = 0, **options: Any) -> Record:
    """`runs.load_or_run` by the recipe's name."""
    return runs.load_or_run(recipe_named(name), scale, seed, **options)


HEADS = {"regression": "sequence-classification", "span": "question-answering"}


def run(
    name: str | Recipe,
    scale: str | None = None,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    source: str | None = None,
    progress: bool = True,
    results: Path | None = None,
    work: Path | None = None,
    resume: bool = True,
) -> Record:
    """Runs a recipe and writes its record, `results/<recipe>/<scale>-seed<seed>.json`.

    scale: None = MPOLAB_SCALE, else "smoke". data_dir: the folder of data sets in their original layouts. source: in
    place of the recipe's. results, work: folders for the record and for checkpoints, in place of the usual ones.
    Asked for again after an interruption, with the same recipe and rows, it goes on from its last checkpoint; with
    resume=False it starts anew.

    Under torchrun all processes call it; the first one writes. Raises UnknownNameError for a recipe, scale or method
    that does not exist, BusyError where another process has the same run under way, and what `rows` and the method
    raise.
    """
    recipe = recipe_named(name)
    scale = runs.asked_scale(scale) or "smoke"
    at = recipe.at(scale)
    if at.method not in METHODS:
        raise unknown("method", at.method, METHODS)
    method = METHODS[at.method]
    runs.refuse_paths({"recipe": recipe.fields(scale)})  # at the end it would be too late
    for option in at.options:
        if not method.options:
            raise UnknownNameError(f"the method {at.method!r} reads no options, and the recipe has {option!r}.")
        if option not in method.options:
            raise unknown(f"option of the method {at.method!r}", option, method.options)
    _check_several(at, method)
    data = rows(at, seed, data_dir, source)
    leader = int(os.environ.get("RANK", "0")) == 0
    which = hashlib.sha256(json.dumps(data.sha256, sort_keys=True).encode()).hexdigest()[:8]
    out = (work or runs.work_folder()) / recipe.name / f"{scale}-seed{seed}-{recipe.hash(scale)}-{which}"
    alone = locks.held(out.with_name(f"{out.name}.lock"), f"the recipe {recipe.name!r} ({scale}, seed {seed})")
    with alone if leader else contextlib.nullcontext():
        if leader and not resume:
            shutil.rmtree(out, ignore_errors=True)
        job = Job(at, scale, seed, None, None, None, data, at.settings, out, progress)
        method.check(job)
        if method.needs_model:
            _load_model(job)
        method.prepare(job)
        outcome = method.train(job)
        record = Record(
            recipe=recipe.name,
            recipe_hash=recipe.hash(scale),
            scale=scale,
            seed=seed,
            fields=recipe.fields(scale),
            command=_command(recipe, scale, seed, data_dir, source),
            data=job.data.describe(),
            model=job.pretrained.describe() if job.pretrained else "none",
            seconds=round(outcome.seconds, 2),
            peak_bytes=outcome.peak_bytes,
            memory=outcome.memory,
            trainable=outcome.trainable,
            total=outcome.total,
            scores=outcome.scores,
            curve=runs.thinned(outcome.curve),
            evaluations=outcome.evaluations,
            best_step=outcome.best_step,
            steps=outcome.steps,
            extra=job.extra,
            processes=outcome.state.get("processes", 1),
            **runs.surroundings(),
        )
        if leader:
            record.save(results)
            shutil.rmtree(out, ignore_errors=True)
    return record


def _check_several(recipe: Recipe, method: Method) -> None:
    """Raises TrainingError where the recipe has several tasks and its method is for one, or the other way round."""
    if bool(recipe.tasks) == method.several:
        return
    has = f"the tasks {', '.join(recipe.tasks)}" if recipe.tasks else f"only {recipe.task or recipe.text!r}"
    fitting = ", ".join(repr(name) for name, known in METHODS.items() if known.several == bool(recipe.tasks))
    raise TrainingError(
        f"the recipe {recipe.name!r} has {has}, and its method {recipe.method!r} is for "
        f"{'several tasks, given as tasks=(...)' if method.several else 'one task'}. Methods that fit: {fitting}."
    )


def _load_model(job: Job) -> None:
    """Puts the recipe's model into the job, with the head of its task, and its tokenizer."""
    task = job.data.task
    loaded = load_pretrained(
        job.recipe.model,
        head=HEADS.get(task.kind, "sequence-classification"),
        num_labels=task.num_labels,
        seed=job.seed,
        config={"problem_type": "regression"} if task.kind == "regression" else None,
    )
    if loaded.tokenizer is None:
        raise TrainingError(
            f"the model {job.recipe.model!r} ({loaded.origin}) has no tokenizer beside it: it reads no text."
        )
    mean = start_at_the_mean(loaded.model, loaded.new, job.data)
    if mean is not None:
        job.extra["head_starts_at"] = mean
    job.pretrained, job.model, job.tokenizer = loaded, loaded.model, loaded.tokenizer


def rows(
    recipe: Recipe, seed: int = 0, data_dir: str | os.PathLike | None = None, source: str | None = None
) -> TaskData | TaskMixture | TextData:
    """The rows (or the running text) that a recipe, at its scale, asks for, drawn with the run's seed.

    Raises what `load_task` raises, and DataNotFoundError where only the offline grammar has rows for a recipe of a real
    task and nobody asked for those (source="offline").
    """
    if recipe.text:
        return _running_text(recipe, data_dir, source or recipe.source)
    if recipe.tasks:
        check_tasks([task_named(task) for task in recipe.tasks])
        alone = [dataclasses.replace(recipe, task=task, tasks=()) for task in recipe.tasks]
        parts = tuple(rows(each, seed, data_dir, source) for each in alone)
        return TaskMixture(parts, recipe.options.get("temperature", 1.0))
    task, asked = task_named(recipe.task), source
    source = source or ("folder" if data_dir is not None else recipe.source)
    sizes, halved = None, recipe.options.get("paper_splits", False)
    if source == "offline" and recipe.train is not None:
        # More than are drawn, since sentences that stand twice, or in two splits, are dropped. The set itself is the
        # same for every seed of a run.
        sizes = {"train": 2 * (recipe.train + (recipe.select or 0)), "dev": recipe.dev or 500}
        if halved:
            sizes["dev"] = 2 * max(sizes["dev"], recipe.select or 0)
    data = load_task(recipe.task, source=source, data_dir=data_dir, sizes=sizes)
    made_here = data.task.name.startswith("toy-") and not task.name.startswith("toy-")
    if made_here and "offline" not in (asked, recipe.source):
        raise DataNotFoundError(
            f"the recipe {recipe.name!r} is about {task.name}, and here are only sentences of the {data.origin}. Give "
            f"the folder that holds {task.name} as released (--data-dir DIR, data_dir=), or go online once; or ask for "
            "those sentences by name (--source offline, source='offline'): their record is kept apart."
        )
    if halved:
        return paper_splits(data, seed, recipe.train, recipe.select, recipe.dev)
    return data.sample(recipe.train, recipe.select, recipe.dev, seed)


def _running_text(recipe: Recipe, data_dir: str | os.PathLike | None, source: str | None) -> TextData:
    """Raises DataNotFoundError where nobody says which folder holds it: Python's own text has to be asked for."""
    if source == "offline" or recipe.text in OFFLINE_TEXTS:
        return load_text(recipe.text if recipe.text in OFFLINE_TEXTS else OFFLINE_TEXTS[0])
    if data_dir is None:
        raise DataNotFoundError(
            f"the recipe {recipe.name!r} learns from the text {recipe.text!r}. Give the folder that holds it "
            f"({recipe.text}.train.txt and .valid.txt, plain or .gz: --data-dir DIR, data_dir=); or ask for the "
            "documentation of this Python (--source offline, source='offline'): its record is kept apart."
        )
    separator = recipe.options.get("separator", SEPARATOR)
    return load_text(recipe.text, source, data_dir, separator=separator, streamed=True)


def _command(recipe: Recipe, scale: str, seed: int, data_dir: Any, source: str | None) -> str:
    """What to type to have it again; the folder of the data is the reader's own."""
    given = " --data-dir DIR" if data_dir is not None else ""
    given += f" --source {source}" if source is not None else ""
    return f"mpolab run {recipe.name} --scale {scale} --seed {seed}{given}"


def listing() -> list[dict[str, Any]]:
    """Every recipe as JSON, for `mpolab run --list`."""
    return [
        {
            "name": recipe.name,
            "about": recipe.about,
            "model": recipe.model,
            "task": recipe.task or recipe.text or ", ".join(recipe.tasks),
            "method": recipe.method,
            "scales": list(recipe.scales),
            "seeds": list(recipe.seeds),
        }
        for recipe in RECIPES.values()
    ]
