"""The record of a run: a small JSON file that says what was run, on what, and what came out.

    results/<recipe>/<scale>-seed<seed>.json
    results/<recipe>/offline/...                of the offline grammar's rows, where the recipe is about a real set

Records in `results/` come from real runs only, and notebooks read them: `load_or_run(recipe)` gives the committed
record at once, and runs for real when a scale is asked for (by its argument or by the variable MPOLAB_SCALE). A record
holds no path of the machine that made it.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .errors import CheckpointError, DataNotFoundError, unknown
from .texts import OFFLINE_TEXTS
from .whole import write_whole

FORMAT = "mpolab.run/1"

SCALES = ("smoke", "laptop", "gpu", "paper")
"""From the smallest to the largest: does it work at all; two cores, minutes; one GPU; the paper's own sizes."""

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy", "scikit-learn", "scipy")
"""Whose versions a record names."""


@dataclass(frozen=True, repr=False)
class Record:
    """One run. Everything in it is JSON; numbers that are none (NaN, infinity) stand as None.

    recipe, recipe_hash, fields: which recipe at which `scale`, and all that it said then. command: what runs it again.
    commit: of the code, "unknown" outside a git checkout, with "+changes" where files had been changed.
    data: TaskData.describe(): rows and checksums. model: one line on the pre-trained model.
    device: the processor or GPU; threads, processes: how many torch used; versions: of Python and PACKAGES.
    seconds, peak_bytes, memory: of the training (see `training.Outcome`). trainable, total: #Pr and #To.
    curve: [{"step", "loss", "lr"}], at most CURVE entries; evaluations: on the split that chooses; scores: {split:
    {metric: value}}. extra: what the method adds (a squeezing trace, counts by kind of matrix). date: UTC, when done.
    """

    recipe: str
    recipe_hash: str
    scale: str
    seed: int
    fields: dict[str, Any]
    command: str
    data: dict[str, Any]
    model: str
    seconds: float
    peak_bytes: int
    memory: str
    trainable: int
    total: int
    scores: dict[str, dict[str, float]]
    curve: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_step: int | None = None
    steps: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    device: str = ""
    threads: int = 0
    processes: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = "unknown"
    date: str = ""

    @property
    def stands_in(self) -> bool:
        """Whether its rows are the offline grammar's, and those of its recipe are not: it says nothing of the task."""
        made_here = str(self.data.get("task", "")).startswith("toy-") or self.data.get("corpus") in OFFLINE_TEXTS
        asked = _asked(self.fields).startswith("toy-") or self.fields.get("text") in OFFLINE_TEXTS
        return made_here and not asked and self.fields.get("source") != "offline"

    def save(self, results: Path | None = None) -> Path:
        """Writes its file (`record_path`), whole or not at all; returns the path.

        Raises ValueError for a value that is no JSON or that names a path of this machine.
        """
        content = _plain({"format": FORMAT, **dataclasses.asdict(self)})
        refuse_paths(content)
        path = record_path(self.recipe, self.scale, self.seed, results, self.stands_in)
        write_whole(path, (json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())
        return path

    def __repr__(self) -> str:
        shown = "; ".join(
            f"{split} " + ", ".join(f"{name} {value:.4g}" for name, value in found.items() if value is not None)
            for split, found in self.scores.items()
        )
        return f"Record({self.recipe}, {self.scale}, seed {self.seed}, {self.date[:10]}, {self.device}: {shown})"


CURVE = 500
"""Entries of a curve in a record; a longer one is averaged down."""


class Runnable(Protocol):
    """A recipe, as this file sees it: see `mpolab.recipes.Recipe`."""

    name: str

    def hash(self, scale: str) -> str: ...

    def fields(self, scale: str) -> dict[str, Any]: ...

    def run(self, scale: str, seed: int = 0) -> Record: ...


# ------------------------------------------------------------------------------------------------------------- where


def results_folder() -> Path:
    """MPOLAB_RESULTS, else `results/` of the checkout that this package stands in, else of the current folder."""
    given = os.environ.get("MPOLAB_RESULTS")
    return Path(given) if given else _root() / "results"


def work_folder() -> Path:
    """Where runs under way keep their checkpoints: `build/runs/` beside `results/`; MPOLAB_WORK overrides it."""
    given = os.environ.get("MPOLAB_WORK")
    return Path(given) if given else _root() / "build" / "runs"


def _root() -> Path:
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def record_path(recipe: str, scale: str, seed: int, results: Path | None = None, stands_in: bool = False) -> Path:
    """stands_in: of the record that is not of the recipe's own rows (`Record.stands_in`)."""
    folder = (results or results_folder()) / recipe
    return (folder / "offline" if stands_in else folder) / f"{scale}-seed{seed}.json"


# -------------------------------------------------------------------------------------------------------------- read


def load(path: str | os.PathLike) -> Record:
    """The record in a file. Raises DataNotFoundError where there is none, CheckpointError for one that is damaged."""
    path = Path(path)
    if not path.is_file():
        near = sorted(file.name for file in path.parent.glob("*.json")) if path.parent.is_dir() else []
        raise DataNotFoundError(
            f"no record {str(path)!r}. " + (f"There are: {', '.join(near)}." if near else f"{path.parent} has none.")
        )
    try:
        content = json.loads(path.read_text("utf-8"), parse_constant=_no_constant)
        found = content.pop("format")
        if found != FORMAT:
            raise ValueError(f"its format is {found!r}, expected {FORMAT!r}")
        return Record(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{str(path)!r} is no whole record of a run ({reason}); run its recipe again.") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def records(recipe: str | None = None, results: Path | None = None) -> list[Record]:
    """All records, or those of one recipe: by recipe, from the smallest scale to the largest, by seed.

    Those of offline rows that stand in for a real set are not among them.
    """
    folder = results or results_folder()
    files = folder.glob(f"{recipe or '*'}/*-seed*.json")
    order = {scale: k for k, scale in enumerate(SCALES)}
    return sorted(map(load, files), key=lambda record: (record.recipe, order.get(record.scale, 99), record.seed))


def asked_scale(scale: str | None = None) -> str | None:
    """The scale that the caller or MPOLAB_SCALE asks for; None if neither does. UnknownNameError for another word."""
    scale = scale or os.environ.get("MPOLAB_SCALE") or None
    if scale is not None and scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    return scale


def _asked(fields: dict[str, Any]) -> str:
    """The task, or tasks, that a recipe is about; empty where it is about a text."""
    return str(fields.get("task") or ", ".join(fields.get("tasks", ())))


def load_or_run(
    recipe: Runnable, scale: str | None = None, seed: int = 0, results: Path | None = None, **options: Any
) -> Record:
    """The committed record of a recipe, or a real run of it.

    Without a scale, from the argument or from MPOLAB_SCALE: the record of this seed at the largest scale that has one.
    With a scale: a run, now, whose record is saved; `options` go to `recipe.run`. results: the folder of records, in
    place of the usual one.

    Raises DataNotFoundError if no scale is asked for and there is no record of this seed; CheckpointError if the record
    was made by another version of the recipe, or of other rows, so that its numbers are not those of the recipe.
    """
    if results is not None:
        options["results"] = results
    scale = asked_scale(scale)
    if scale is not None:
        return recipe.run(scale, seed, **options)
    paths = {size: record_path(recipe.name, size, seed, results) for size in reversed(SCALES)}
    found = next((size for size, path in paths.items() if path.is_file()), None)
    if found is None:
        near = [f"{record.scale}, seed {record.seed}" for record in records(recipe.name, results)]
        raise DataNotFoundError(
            f"there is no record of the recipe {recipe.name!r} with seed {seed}"
            + (f" (there are: {'; '.join(near)})" if near else "")
            + ". Ask for a scale to run it now: scale='smoke' takes about a minute."
        )
    record = load(paths[found])
    if record.stands_in:
        raise CheckpointError(
            f"the record of {recipe.name!r} ({found}, seed {seed}) is of {record.data['task']}, made by the offline "
            f"grammar, and not of {_asked(record.fields)}. Run it again with scale={found!r} and data_dir=, the folder "
            "of the data sets."
        )
    changed = stale(record, recipe)
    if changed:
        raise CheckpointError(
            f"the record of {recipe.name!r} ({found}, seed {seed}) was made by another version of the recipe: "
            f"{changed}. Run it again with scale={found!r}."
        )
    return record


def stale(record: Record, recipe: Runnable) -> str:
    """In what a record differs from the recipe as it stands; empty if in nothing."""
    then, now = _flat(record.fields), _flat(recipe.fields(record.scale))
    differing = [f"{key} was {then[key]!r} and is {now.get(key)!r}" for key in then if then[key] != now.get(key)]
    if not differing and record.recipe_hash != recipe.hash(record.scale):
        differing = [f"{key} is {now[key]!r}" for key in now if key not in then] or ["its hash is another"]
    return "; ".join(differing)


def _flat(fields: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in fields.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


# ------------------------------------------------------------------------------------------------- what a record says


def surroundings() -> dict[str, Any]:
    """device, threads, versions, commit and date, as the fields of a Record."""
    import torch

    cuda = torch.cuda.is_available()
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "device": torch.cuda.get_device_name() if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def _processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        name = ""
    return f"CPU {name or platform.processor() or platform.machine()}"


def commit() -> str:
    """The commit of the code, "+changes" if tracked files differ from it; "unknown" where git does not say."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout.strip()

    try:
        if not git("ls-files", Path(__file__).name):  # a checkout of something else around an installed package
            return "unknown"
        head = git("rev-parse", "HEAD")
        return head + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def thinned(curve: list[dict[str, float]], most: int = CURVE) -> list[dict[str, float]]:
    """At most `most` entries: the means over equal pieces, at their last step."""
    if len(curve) <= most:
        return curve
    size = -(-len(curve) // most)
    pieces = (curve[k : k + size] for k in range(0, len(curve), size))
    return [
        {key: sum(entry[key] for entry in piece) / len(piece) for key in piece[0]} | {"step": piece[-1]["step"]}
        for piece in pieces
    ]


def _plain(value: Any) -> Any:
    """As JSON has it: lists, no NaN, no NumPy or torch numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str | int | None) or isinstance(value, bool):
        return value
    if hasattr(value, "tolist"):  # NumPy, torch
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise ValueError(f"{value!r} ({type(value).__name__}) is no JSON and cannot stand in a record.")


_HOME = str(Path.home()) if len(Path.home().parts) > 1 else "\0"  # of a container without one: never found
_PATH = re.compile(r"(?:^|[\s'\"=(:,])(?:/[\w.-]+/[\w.-]|~/|[A-Za-z]:[\\/]\w|file://)")


def refuse_paths(content: dict[str, Any]) -> None:
    """Raises ValueError for a string that is, or holds, an absolute path."""
    found = next(_paths(content), None)
    if found is not None:
        raise ValueError(
            f"a record must not name a path of the machine that made it, and {found[0]} is {found[1]!r}: put the name "
            "of the folder there, not its path."
        )


def _paths(value: Any, where: str = "record") -> Any:
    """(where, text) of every string that looks like an absolute path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield from _paths(inner, f"{where}[{k}]")
    elif isinstance(value, str) and (_PATH.search(value) or _HOME in value):
        yield where, value
