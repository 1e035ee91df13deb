"""What a run is made of: a recipe (what to run), a job (a run under way), a method (what is done to a model).

The tables of recipes and methods are in `mpolab.recipes`; the methods of a paper have a file of their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import metrics, training
from .data import TaskData, TextData
from .errors import unknown
from .grammar import bag_of_words_answers, majority_answers
from .pretrained import Pretrained
from .runs import SCALES, Record
from .training import Outcome, Settings

if TYPE_CHECKING:
    from torch import nn

    from .mixture import TaskMixture
    from .segments import TokenData

SETTINGS = {entry.name for entry in dataclasses.fields(Settings)}


@dataclass(frozen=True)
class Recipe:
    """One experiment.

    name, about: a short name, and one sentence for the list. model: for `load_pretrained`. task: for `load_task`; or
    text: for `load_text`, where there is no task but running text to learn from; or tasks: several, for a method that
    trains on all at once (`Method.several`), with train, select and dev rows of each.
    method: a key of `recipes.METHODS`; options: what that method reads (a size, the order of cuts, ...).
    settings: of the training. train, select, dev: rows of each split, None = as `TaskData.sample` has it.
    source: of the data: None = a folder if one is given, else the hub, else offline; or one of these by name.
    seeds: those that are reported. scales: {scale: what is different there}, by the names of fields of this class
    or of Settings; only these scales can be run. as_printed: those of them that begin with a paper's pre-trained model
    and have all of its data.

    Raises UnknownNameError for a scale or field that does not exist. A method or an option that does not exist is found
    by `recipes.run`, before it does anything else: the table of methods is open.
    """

    name: str
    about: str
    task: str = ""
    model: str = "minilm"
    method: str = "full"
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    train: int | None = None
    select: int | None = None
    dev: int | None = None
    source: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    text: str = ""
    tasks: tuple[str, ...] = ()
    as_printed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for scale in self.as_printed:
            if scale not in SCALES:
                raise unknown("scale", scale, SCALES)
        own = {entry.name for entry in dataclasses.fields(self)} - {"name", "scales", "settings", "as_printed"}
        for scale, changes in self.scales.items():
            if scale not in SCALES:
                raise unknown("scale", scale, SCALES)
            for key in changes:
                if key not in own | SETTINGS:
                    raise unknown(f"field of a recipe at scale {scale!r}", key, sorted(own | SETTINGS))

    def at(self, scale: str) -> Recipe:
        """The recipe as it is at that scale, with no scales left. Raises UnknownNameError for one it does not have."""
        if scale not in self.scales:
            raise unknown(f"scale of the recipe {self.name!r}", scale, self.scales)
        changes = dict(self.scales[scale])
        training_changes = {key: changes.pop(key) for key in list(changes) if key in SETTINGS}
        settings = dataclasses.replace(self.settings, **training_changes)
        return dataclasses.replace(self, settings=settings, scales={}, **changes)

    def fields(self, scale: str) -> dict[str, Any]:
        """All that decides the numbers of a run at that scale, as JSON: no prose, no seeds."""
        return _decisive(self.at(scale), with_defaults=True)

    def hash(self, scale: str) -> str:
        """A checksum of those fields that are not defaults: that of a record says whether the recipe is still the one
        that made it. A field that is added later, with a default that changes nothing, leaves it as it is.
        """
        decisive = _decisive(self.at(scale), with_defaults=False)
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def run(self, scale: str, seed: int = 0, **options: Any) -> Record:
        """As `mpolab.recipes.run`."""
        from .recipes import run  # the one arrow back, for `runs.load_or_run`

        return run(self, scale, seed, **options)


def _decisive(value: Any, with_defaults: bool) -> dict[str, Any]:
    found = {}
    for entry in dataclasses.fields(value):
        given = getattr(value, entry.name)
        default = entry.default if entry.default_factory is dataclasses.MISSING else entry.default_factory()
        if entry.name in ("name", "about", "seeds", "scales", "as_printed") or (given == default and not with_defaults):
            continue
        found[entry.name] = _decisive(given, with_defaults) if dataclasses.is_dataclass(given) else given
    return json.loads(json.dumps(found, sort_keys=True))  # tuples become lists, as they read back from a record


# -- methods -----------------------------------------------------------------------------------------


@dataclass
class Job:
    """A run under way, as a method sees it.

    recipe: at its scale. model: with the task's head, to be changed in place or replaced. pretrained: where it came
    from. (All three are None for a method without a model.) data: with splits train, select and dev; running
    text, which the method may replace by its tokens. out: the folder of
    checkpoints. extra: JSON that the method adds to the record.
    """

    recipe: Recipe
    scale: str
    seed: int
    model: nn.Module | None
    tokenizer: Any
    pretrained: Pretrained | None
    data: TaskData | TaskMixture | TextData | TokenData
    settings: Settings
    out: Path
    progress: bool
    extra: dict[str, Any] = field(default_factory=dict)


def as_it_is(job: Job) -> None:
    """Nothing: the model stays dense and all of it trains."""


def fine_tuned(job: Job) -> Outcome:
    """One fine-tuning by the job's settings."""
    return training.fine_tune(
        job.model, job.tokenizer, job.data, job.settings, job.seed, out=job.out, progress=job.progress
    )


def answered_without_training(job: Job, answers: Callable[[Sequence, Sequence], list]) -> Outcome:
    """What any training must beat: `answers` is one of the grammar's floors, called with the rows of train and of dev.

    No model is used, so #Pr and #To are 0, and there is no loss.
    """
    train, dev = job.data.splits["train"], job.data.splits["dev"]
    start = time.perf_counter()
    given = answers(train, dev)
    if job.data.task.kind == "span":
        scores = metrics.squad({row["id"]: text for row, text in zip(dev, given)}, dev)
    else:
        scores = metrics.glue(job.data.task, given, [row["label"] for row in dev])
    seconds = time.perf_counter() - start
    return Outcome({"dev": scores}, [], [], 0, None, seconds, 0, "none", trainable=0, total=0)


@dataclass(frozen=True)
class Method:
    """prepare: what is done to `job.model` before it is trained (must come out alike each time: a run that is resumed
    prepares again). train: how it is trained; what it returns goes into the record.
    options: the names that a recipe's `options` may have. check: raises where the job's recipe, data or processes do
    not fit, before anything is computed. needs_model: False: none is loaded before it prepares. several: whether it is
    for the `tasks` of a recipe together, and not for one task or text.
    """

    about: str
    prepare: Callable[[Job], None] = as_it_is
    train: Callable[[Job], Outcome] = fine_tuned
    options: Collection[str] = ()
    check: Callable[[Job], None] = as_it_is
    needs_model: bool = True
    several: bool = False


FLOORS: dict[str, Method] = {
    "majority": Method(
        "no model: always the most frequent label of the training rows (of a score, their mean)",
        train=partial(answered_without_training, answers=majority_answers),
        needs_model=False,
    ),
    "bag_of_words": Method(
        "no model: linear, of which words stand in which of the texts",
        train=partial(answered_without_training, answers=bag_of_words_answers),
        needs_model=False,
    ),
}
"""What any trained model must beat, on the same rows."""
