"""Exhaustive sweeps: a recipe at every learning rate and batch size of a grid, chosen on the select split.

>>> found = sweep("mpop-sst-2-full", "smoke", data_dir="glue")  # doctest: +SKIP
>>> found.best  # doctest: +SKIP
{'lr': 0.0001, 'batch_size': 16}

Optuna keeps the trials in a database: an SQLite file of the sweep's own, so that one that was interrupted goes on where
it was; or, by its URL, one that several workers share, who then divide the grid among themselves. The seed is none of
those that are reported, and the dev split is not looked at. MPOBERT (Liu et al. 2023) section A.2.1 ("exhaustive
parameter search"); notebook 03, "Fine-tuning".
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import recipes, runs
from .data import task_named
from .errors import TrainingError, unknown
from .jobs import FLOORS, SETTINGS, Recipe

GRID: dict[str, tuple] = {"lr": (2e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4), "batch_size": (8, 16, 32)}
"""MPOBERT's: learning rates between 2e-6 and 2e-4, batches of 8, 16 and 32."""

SEED = 100
"""Of the rows, the head and the order of rows in a sweep; recipes report 0, 1 and 2."""

HEARTBEAT = 60  # seconds; a worker that was silent for twice as long is taken for dead, and its trial is done again


@dataclass(frozen=True)
class Sweep:
    """recipe, scale, seed: what was run. metric: of the select split, by which it was chosen, in per cent.
    trials: {"lr", "batch_size", ..., "score"} each, best first; score None where the training failed (NaN loss).
    """

    recipe: str
    scale: str
    seed: int
    metric: str
    trials: tuple[dict[str, Any], ...]

    @property
    def best(self) -> dict[str, Any]:
        """The settings with the highest score; of equals those that come first in the grid."""
        return {key: value for key, value in self.trials[0].items() if key != "score"}

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "trials": list(self.trials), "best": self.best}


def sweep(
    name: str | Recipe,
    scale: str | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    seed: int = SEED,
    data_dir: Any = None,
    source: str | None = None,
    storage: str | None = None,
    progress: bool = True,
    file: str | None = None,
) -> Sweep:
    """Trains the recipe once at each point of the grid.

    grid: {field of Settings: values}, None = GRID. storage: URL of a database that several workers share (each calls
    this); None = an SQLite file under build/sweeps/, one worker. file: its name there, None = one of the study's own.

    Raises TrainingError for an empty grid, a recipe that trains nothing or has no select split, and where Optuna is not
    installed; UnknownNameError for a field that is none; what `recipes.run` raises for a recipe that cannot be run at
    all.
    """
    try:
        import optuna
    except ImportError:
        raise TrainingError("a sweep needs optuna, which is not installed: pip install 'mpolab[train]'.") from None
    recipe = recipes.recipe_named(name)
    scale = runs.asked_scale(scale) or "smoke"
    at = recipe.at(scale)
    grid = {key: list(values) for key, values in (grid or GRID).items()}
    for key, values in grid.items():
        if key not in SETTINGS:
            raise unknown("field of Settings", key, sorted(SETTINGS))
        if not values:
            raise TrainingError(f"the grid has no values for {key!r}.")
        for value in values:
            dataclasses.replace(at.settings, **{key: value})  # complains about what cannot be meant
    if not can_be_swept(at):
        raise TrainingError(
            f"the recipe {recipe.name!r} cannot be swept: it needs one task, a method that trains, and a select split."
        )
    metric = task_named(at.task).main_metric
    points = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]

    rows = recipes.rows(at, seed, data_dir, source)
    about = json.dumps([recipe.hash(scale), seed, rows.sha256], sort_keys=True)
    study_name = f"{recipe.name}-{scale}-seed{seed}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"

    def objective(trial: Any) -> float:
        # Not through trial.suggest_categorical, which would not let a grid grow from one call to the next.
        asked = study.get_trials(deepcopy=False)[trial.number].system_attrs.get("fixed_params")
        if asked is None:
            raise optuna.TrialPruned  # the queue was empty by the time this worker asked
        try:
            record = _trained(recipe, scale, asked, seed, data_dir, source, progress)
        except TrainingError:  # a loss that is no number: an answer, too
            trial.set_user_attr("training_failed", True)
            raise
        return record.scores["select"][metric]

    with _quiet(optuna):
        study = _study(optuna, study_name, storage, points, file)
        while waiting := _waiting(optuna, study, points):
            asked = waiting[0].system_attrs["fixed_params"]
            if progress:
                print(f"{study_name}: {len(points) - len(waiting)} of {len(points)}, now {asked}", file=sys.stderr)
            try:
                study.optimize(objective, n_trials=1, catch=(TrainingError,))
            except BaseException:
                if storage is None:
                    _queue_again(optuna, study, points)
                else:
                    study.enqueue_trial(asked)  # this worker stops, another may take it
                raise
        found = _done(optuna, study, points)
    trials = [{**point, "score": found.get(_key(point))} for point in points]
    trials.sort(key=lambda trial: (trial["score"] is None, -(trial["score"] or 0.0)))  # stable: the grid's order
    if trials[0]["score"] is None:
        raise TrainingError(f"every training of the sweep of {recipe.name!r} failed, or other workers are not done.")
    return Sweep(recipe.name, scale, seed, metric, tuple(trials))


def can_be_swept(recipe: Recipe) -> bool:
    """Whether a recipe (at its scale) has one task, a method that trains, and a select split to choose by."""
    return bool(recipe.task) and recipe.method not in FLOORS and recipe.select != 0


def sweep_all(
    names: Sequence[str],
    scale: str | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    seed: int = SEED,
    data_dir: Any = None,
    source: str | None = None,
    storage: str | None = None,
    progress: bool = True,
    file: str | None = None,
) -> Iterator[Sweep]:
    """Several recipes one after the other in one database, each as a study of its own: see `sweep`.

    Recipes that cannot be swept (floors, running text, several tasks, few shots) are left out. Workers that share a
    `storage` all go through the recipes in this order; one that finds no point left of a recipe does not wait for
    another that still trains its last ones. A recipe of which there is no score then does not stop the others.

    Raises TrainingError if none can be swept, and at the end for those without a score.
    """
    scale = runs.asked_scale(scale) or "smoke"
    wanted = [name for name in names if can_be_swept(recipes.recipe_named(name).at(scale))]
    if not wanted:
        raise TrainingError(
            f"none of {', '.join(names)} can be swept: that needs one task, a method that trains, and a select split."
            if names
            else "no recipe was given, so there is nothing to sweep."
        )
    failed = []
    for name in wanted:
        try:
            found = sweep(name, scale, grid, seed, data_dir, source, storage, progress, file)
        except TrainingError as error:
            failed.append(str(error))
            continue
        yield found
    if failed:
        raise TrainingError(f"{len(failed)} of {len(wanted)} sweeps came to nothing. {' '.join(failed)}")


def _trained(recipe, scale, asked, seed, data_dir, source, progress) -> runs.Record:
    """One point; its record goes to a temporary folder and is not kept."""
    changed = dataclasses.replace(recipe, scales={scale: {**recipe.scales[scale], **asked}})
    with tempfile.TemporaryDirectory(prefix="mpolab-sweep-") as folder:
        return recipes.run(changed, scale, seed, data_dir, source, progress, results=Path(folder))


# -- the database ------------------------------------------------------------------------------------


def _study(optuna: Any, name: str, storage: str | None, points: list[dict[str, Any]], file: str | None) -> Any:
    from optuna.storages import RDBStorage

    if storage is None:
        folder = runs.work_folder().parent / "sweeps"
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / (file or name)}.db"
        base = RDBStorage(url)
    else:
        base = _shared(optuna, storage)
    study = optuna.create_study(storage=base, study_name=name, direction="maximize", load_if_exists=True)
    for point in points:
        study.enqueue_trial(point, skip_if_exists=True)
    if storage is None:
        _queue_again(optuna, study, points)
    return study


def _shared(optuna: Any, storage: str) -> Any:
    """The database at a URL. Raises TrainingError for one that cannot be opened."""
    with warnings.catch_warnings():  # Optuna calls heartbeats, which it has had since 2.8, experimental
        warnings.simplefilter("ignore")
        retry = {"heartbeat_stale_trial_callback": optuna.storages.RetryHeartbeatStaleTrialCallback()}
        try:
            return optuna.storages.RDBStorage(storage, heartbeat_interval=HEARTBEAT, **retry)
        except Exception as error:  # what cannot be opened is for each database's driver to say
            scheme = storage.partition("://")[0] if "://" in storage else "no scheme"  # the rest may hold a password
            raise TrainingError(
                f"the sweep's database ({scheme}) cannot be opened: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}. A URL that works: sqlite:////folder/sweep.db, or "
                "postgresql://user@host/name with that database's driver (psycopg) installed."
            ) from error


def _queue_again(optuna: Any, study: Any, points: list[dict[str, Any]]) -> None:
    """Of a sweep that nobody else works on: what was interrupted waits again, and its trial counts as failed."""
    for trial in _of_state(optuna, study, "RUNNING"):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    ended = _done(optuna, study, points)
    waiting = {_key(t.system_attrs["fixed_params"]) for t in _waiting(optuna, study, points)}
    for point in points:
        if _key(point) not in ended and _key(point) not in waiting:
            study.enqueue_trial(point)


def _waiting(optuna: Any, study: Any, points: list[dict[str, Any]]) -> list[Any]:
    known = {_key(point) for point in points}
    return [t for t in _of_state(optuna, study, "WAITING") if _key(t.system_attrs["fixed_params"]) in known]


def _of_state(optuna: Any, study: Any, *states: str) -> list[Any]:
    wanted = tuple(optuna.trial.TrialState[state] for state in states)
    return study.get_trials(deepcopy=False, states=wanted)


def _done(optuna: Any, study: Any, points: list[dict[str, Any]]) -> dict[str, float | None]:
    """{point: score}, None where the training itself failed; not those that were interrupted."""
    known, found = {_key(point) for point in points}, {}
    for trial in _of_state(optuna, study, "COMPLETE", "FAIL"):
        key = _key(trial.system_attrs.get("fixed_params", {}))
        if key not in known:
            continue
        if trial.state.name == "COMPLETE":
            found[key] = trial.value
        elif trial.user_attrs.get("training_failed"):
            found.setdefault(key, None)
    return found


def _key(point: Mapping[str, Any]) -> str:
    return json.dumps(dict(point), sort_keys=True)


@contextmanager
def _quiet(optuna: Any):
    """Optuna's own lines are not wanted here; as before afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
