"""An item's studies: measurements that are no recipes, each made by a script of this project's checkout.

`mpolab run mpop-fig2` makes those whose file is not in results/ yet. A script writes into a folder of its own beside
the checkpoints of runs under way, and its file is put into results/ when the script has ended well: a study that is
killed leaves what was there, and one whose script can go on from a part does so.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .. import crew, locks, runs
from ..errors import BusyError, DataNotFoundError, TrainingError
from ..whole import write_whole

CHECKOUT = Path(__file__).parents[2]

DATA = "DIR"
"""The word of a command in whose place the reader's folder of data comes."""


@dataclass(frozen=True)
class Study:
    """command: as it is typed in the checkout, "python scripts/trend_study.py --data-dir DIR". cost: in words. path: of
    the file that it makes. there: whether there is one.
    """

    command: str
    cost: str
    path: Path
    there: bool

    def __str__(self) -> str:
        return f"{self.command}  {'with its file' if self.there else f'to go, {self.cost}'}"


def words(study: Study, data_dir: str | os.PathLike | None = None) -> tuple[str, ...]:
    """What is called for it. Raises DataNotFoundError without the folder that it reads, or without its script, which an
    installed package does not have.
    """
    _, script, *rest = shlex.split(study.command)
    if not (CHECKOUT / script).is_file():
        raise DataNotFoundError(
            f"{study.path.name} is made by {script}, which is part of this project's checkout and not of the installed "
            f"package. In a checkout: {study.command}"
        )
    if DATA in rest and data_dir is None:
        raise DataNotFoundError(
            f"{study.command} reads a folder of yours. Give it with --data-dir {DATA} (data_dir=); "
            f"{script} --help says what it has to hold."
        )
    return (sys.executable, str(CHECKOUT / script), *(os.fspath(data_dir) if word == DATA else word for word in rest))


def make(study: Study, data_dir: str | os.PathLike | None = None, resume: bool = True) -> None:
    """Runs its script in a process of its own. resume: False = anew, whatever a script that was killed has left.

    Raises TrainingError with the script's last lines where it fails, BusyError where another process has it under way,
    and what `words` raises.
    """
    called, folder = words(study, data_dir), runs.work_folder() / "studies" / study.path.stem
    with locks.held(folder.with_name(f"{folder.name}.lock"), f"the study {study.path.name!r}"):
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        duty = crew.Duty(study.command, called, folder / "log")
        (ended,) = crew.work_off([duty], 1, environment={"MPOLAB_RESULTS": str(folder)})
        made = folder / study.path.name
        if ended.code != 0 or not made.is_file():
            why = ended.why if ended.code else f"it wrote no {made.name}"
            raise TrainingError(f"{study.command} ({why}): {' / '.join(ended.tail.split(chr(10)))[-900:]}")
        study.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(study.path, made.read_bytes())
        shutil.rmtree(folder, ignore_errors=True)


def make_all(
    studies: Iterable[Study], bar: tqdm, data_dir: str | os.PathLike | None = None, resume: bool = True
) -> list[str]:
    """One after the other, with a step of the bar for each; what failed, in words. Under torchrun the first process
    makes them.
    """
    failed = []
    if int(os.environ.get("RANK", "0")) > 0:
        return failed
    for study in studies:
        bar.set_postfix_str(study.command)
        try:
            make(study, data_dir, resume)
        except (TrainingError, BusyError) as error:
            failed.append(str(error))
        bar.update()
    return failed
