"""An item's runs side by side: each in a process of its own, as many as memory and cores allow.

A run is the command that runs it alone, `python -m mpolab run RECIPE --seed N`, under torchrun if it is to have several
processes. What has a record by then is not run again, and one that was interrupted goes on from its checkpoint.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .. import crew, runs
from ..crew import Duty, Ended, Place
from ..errors import TrainingError
from ..recipes import RECIPES
from .items import Run, Work, bar_over, check_failed, check_studies
from .study_runs import make_all

AUTO = "auto"

PROCESS_BYTES = {"rss": 600 << 20, "cuda": 700 << 20}
"""Of a process before it trains, besides its weights: Python with its libraries and a task's rows (480 MiB, measured
with torch 2.13); a CUDA context, which torch does not count as its own (assumed)."""

SLACK = 1.15
"""Times the highest peak of the records there are."""


def launcher(processes: int) -> tuple[str, ...]:
    """What stands between `python` and `-m mpolab`: torchrun on this machine alone, where several are asked for."""
    if processes == 1:
        return ()
    here = ("--standalone", "--local-addr", "127.0.0.1")
    return ("-m", "torch.distributed.run", *here, "--nproc-per-node", str(processes))


def command(
    run: Run,
    data_dir: str | os.PathLike | None = None,
    source: str | None = None,
    resume: bool = True,
    processes: int = 1,
) -> tuple[str, ...]:
    """What makes the record of one run. resume: False = anew, whatever is there."""
    given = ("--scale", run.scale, "--seed", str(run.seed), "--quiet")
    given += () if data_dir is None else ("--data-dir", os.fspath(data_dir))
    given += () if source is None else ("--source", source)
    given += () if resume else ("--force",)
    return (sys.executable, *launcher(processes), "-m", "mpolab", "run", run.recipe, *given)


def memory_of(asked: Work, recipe: str, kind: str, processes: int = 1) -> int | None:
    """Bytes that one run of a recipe takes, by the largest peak of the item's own records of it; None without any.

    kind: "rss" for this machine's memory, "cuda" for a GPU's, as `Record.memory` has it. A record of a run without a
    model counts for both. processes: of one run; each has its own model.
    """
    found = []
    for run in asked.runs:
        if run.recipe == recipe and run.path.is_file():
            record = runs.load(run.path)
            if record.memory in (kind, "none") and not runs.stale(record, RECIPES[recipe]):
                weights = 4 * record.total if kind == "rss" else 0  # a GPU's peak counts them, growth does not
                found.append(PROCESS_BYTES[kind] + weights + round(SLACK * record.peak_bytes))
    return processes * max(found) if found else None


def places(processes: int = 1) -> tuple[str, tuple[Place, ...]]:
    """(kind of memory, where runs can go): each GPU, or all together for runs of several processes; else this machine,
    with room None where the system does not say how much is free.
    """
    import torch

    if torch.cuda.is_available():
        free = [torch.cuda.mem_get_info(k)[0] for k in range(torch.cuda.device_count())]
        if processes > 1 or len(free) == 1:
            return "cuda", (Place(sum(free)),)
        shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = shown if len(shown) == len(free) and all(shown) else [str(k) for k in range(len(free))]
        return "cuda", tuple(Place(room, {"CUDA_VISIBLE_DEVICES": name}) for room, name in zip(free, names))
    return "rss", (Place(crew.free_memory()),)


def default_jobs(processes: int = 1) -> int | str:
    """Where nobody says how many: AUTO, but one at a time under torchrun and where free memory is not known."""
    if "WORLD_SIZE" in os.environ or places(processes)[1][0].room is None:
        return 1
    return AUTO


def threads_each(jobs: int, processes: int = 1) -> int:
    """Of each process, if so many share the cores; no more than OMP_NUM_THREADS, where that is set."""
    share = max(1, crew.cores() // (jobs * processes))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(asked)) if asked.isdigit() and int(asked) > 0 else share


def run_side_by_side(
    asked: Work,
    jobs: int | str = AUTO,
    processes: int = 1,
    data_dir: str | os.PathLike | None = None,
    source: str | None = None,
    progress: bool = True,
    resume: bool = True,
    results: Path | None = None,
) -> list[runs.Record]:
    """As `run_item`, with up to `jobs` runs at once; "auto": as many as cores and memory allow, see `crew.work_off`.
    Studies come after them, one by one.

    Memory is estimated by the recipes' own records; the first run of a recipe that has none runs alone. processes: of
    each run, by torchrun. One bar over all. A run that fails for whatever reason does not stop the others.

    Raises TrainingError at the end with the last lines of each that failed (its whole output stays beside its
    checkpoints), and at once for "auto" where the system does not tell how much memory is free; KeyboardInterrupt after
    it was stopped by a signal and has ended all runs.
    """
    check_studies(asked, data_dir)
    kind, where = places(processes)
    if jobs == AUTO:
        if where[0].room is None:
            raise TrainingError("--jobs auto: this system does not tell how much memory is free. Give a number: 2.")
        known = [memory_of(asked, run.recipe, kind, processes) for run in asked.left]
        largest = max((bytes_ for bytes_ in known if bytes_), default=0)
        fit = sum(max(1, place.room // largest) for place in where) if largest else len(asked.left)
        most = max(1, min(fit, crew.cores() // processes, len(asked.left)))
    else:
        most = int(jobs)
    whose: dict[Duty, Run] = {}
    for run in asked.left:
        log = runs.work_folder() / run.recipe / f"{run.path.parent.name}-{run.path.stem}.log"
        whose[Duty(f"{run.recipe}, seed {run.seed}", command(run, data_dir, source, resume, processes), log)] = run
    threads = str(threads_each(most, processes))
    environment = {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}  # torch's; the tokenizers'
    if results is not None:
        environment["MPOLAB_RESULTS"] = str(results)
    with bar_over(asked, progress) as bar:

        def changed(running: list[str], ended: Ended | None) -> None:
            bar.set_postfix_str("; ".join(running), refresh=ended is None)
            bar.update(ended is not None)

        ended = crew.work_off(
            list(whose),
            most,
            where,
            None if jobs != AUTO else lambda duty: memory_of(asked, whose[duty].recipe, kind, processes),
            environment,
            changed,
        )
        failed = [f"{each.duty.name} ({each.why}): {_last(each.tail)}" for each in ended if each.code != 0]
        failed += make_all(asked.studies_left, bar, data_dir, resume)
    check_failed(asked, failed)
    return [runs.load(run.path) for run in asked.runs]


def _last(tail: str) -> str:
    """The last lines of an output as one paragraph; of this package's own refusal that alone."""
    lines = tail.splitlines()
    refusal = next((line for line in lines if line.startswith("mpolab: ")), None)
    return (refusal or " / ".join(line.strip() for line in lines) or "it said nothing.")[-900:]
