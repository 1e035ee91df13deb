"""Several commands at once, each a process of its own: as many as fit, one that fails does not stop the others, and all
end when this process is asked to.

>>> duties = [Duty("one", ("sleep", "1"), Path("one.log")), Duty("two", ("false",), Path("two.log"))]
>>> [(done.duty.name, done.code) for done in work_off(duties, jobs=2)]  # doctest: +SKIP
[('two', 1), ('one', 0)]

Knows nothing of models: `mpolab.ledger.parallel` says which commands an item's runs are and how much memory each needs.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

GRACE = 45.0
"""Seconds between asking a process to end and killing it: torchrun gives its own workers 30."""

TURN = 0.1  # seconds between two looks at the processes
TAIL = 6  # lines
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


@dataclass(frozen=True)
class Duty:
    """name: for people. command: of a process. log: the file that gets its output; deleted if it ends well."""

    name: str
    command: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Place:
    """Where processes run: the machine, or one of its GPUs. room: bytes that are free, None = never asked for.
    environment: variables of the processes there.
    """

    room: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """A process that came to its end by itself. code: its exit status, negative = the signal that killed it. tail: the
    last lines of its output if that is not 0.
    """

    duty: Duty
    code: int
    tail: str
    seconds: float

    @property
    def why(self) -> str:
        """How it failed, in one clause."""
        if self.code >= 0:
            return f"exit status {self.code}"
        note = ", as the system does where memory runs out" if -self.code == getattr(signal, "SIGKILL", 9) else ""
        return f"killed by signal {-self.code}{note}"


@dataclass(eq=False)
class _Running:
    duty: Duty
    process: subprocess.Popen
    place: Place
    need: int | None
    began: float


Need = Callable[[Duty], int | None]


def work_off(
    duties: Sequence[Duty],
    jobs: int,
    places: Sequence[Place] = (Place(),),
    need: Need | None = None,
    environment: Mapping[str, str] | None = None,
    changed: Callable[[list[str], Ended | None], None] = lambda running, ended: None,
) -> list[Ended]:
    """Runs all commands, at most `jobs` at once, and returns how they ended, in the order in which they did.

    places: each process goes to the one with the most room left. need: bytes that a process takes, asked each time
    before one is begun; of processes side by side they add up to no more than the place's room, one that is not known
    (None) or larger than any room runs alone. Without `need` only `jobs` counts. environment: further variables of all
    processes. changed: is called with the names of those that run whenever one began or ended (the second argument).

    SIGINT (Ctrl-C), SIGTERM and SIGHUP end the processes, with SIGTERM and after `GRACE` seconds or a second signal
    with SIGKILL, and raise KeyboardInterrupt. So does every exception. SIGKILL does not reach the workers of a
    torchrun, which have sessions of their own, and killed with SIGKILL itself this process ends none.
    """
    waiting, running, ended = list(duties), [], []
    with _stopped() as signals:
        try:
            while waiting or running:
                if signals:
                    raise KeyboardInterrupt
                for each in [each for each in running if each.process.poll() is not None]:
                    running.remove(each)
                    ended.append(_end(each))
                    changed([one.duty.name for one in running], ended[-1])
                while len(running) < jobs and (found := _next(waiting, running, places, need)):
                    duty, place, bytes_ = found
                    waiting.remove(duty)
                    running.append(_begin(duty, place, bytes_, environment or {}))
                    changed([one.duty.name for one in running], None)
                time.sleep(TURN if running else 0)
        except BaseException:
            _stop(running, signals)
            raise
    return ended


def _next(
    waiting: Sequence[Duty], running: Sequence[_Running], places: Sequence[Place], need: Need | None
) -> tuple[Duty, Place, int | None] | None:
    """The first that may begin now, where, and what it needs."""

    def load(place: Place) -> tuple[float, int]:
        """What is left, the other way round: the place with the least load is taken."""
        here = [each for each in running if each.place is place]
        taken = sum(each.need or 0 for each in here)
        return (-math.inf if place.room is None else taken - place.room, len(here))

    if need is None:
        place = min(places, key=lambda place: sum(each.place is place for each in running))
        return (waiting[0], place, None) if waiting else None
    place = min(places, key=load)
    if not running:
        return (waiting[0], place, need(waiting[0])) if waiting else None
    if any(each.need is None for each in running):
        return None
    for duty in waiting:
        bytes_ = need(duty)
        if bytes_ is not None and (place.room is None or load(place)[0] + bytes_ <= 0):
            return duty, place, bytes_
    return None


def _begin(duty: Duty, place: Place, need: int | None, environment: Mapping[str, str]) -> _Running:
    duty.log.parent.mkdir(parents=True, exist_ok=True)
    with open(duty.log, "wb") as log:
        process = subprocess.Popen(
            duty.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, **place.environment},
            start_new_session=True,  # a Ctrl-C is for this process, which passes it on
        )
    return _Running(duty, process, place, need, time.perf_counter())


def _end(each: _Running) -> Ended:
    code, tail = each.process.returncode, ""
    if code == 0:
        each.duty.log.unlink(missing_ok=True)
    else:
        lines = each.duty.log.read_text("utf-8", "replace").splitlines()
        tail = "\n".join([line for line in lines if line.strip()][-TAIL:])
    return Ended(each.duty, code, tail, time.perf_counter() - each.began)


def _stop(running: Sequence[_Running], signals: list[int]) -> None:
    """Ends the processes and what they have started in their groups."""
    before = len(signals)
    for each in running:
        _send(each.process, "SIGTERM")
    patience = time.monotonic() + GRACE
    while any(each.process.poll() is None for each in running):
        if time.monotonic() > patience or len(signals) > before:
            break
        time.sleep(TURN)
    for each in running:
        if each.process.poll() is None:
            _send(each.process, "SIGKILL")
        each.process.wait()


def _send(process: subprocess.Popen, name: str) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, getattr(signal, name))
        elif name == "SIGKILL":
            process.kill()
        else:
            process.terminate()


@contextlib.contextmanager
def _stopped() -> Iterator[list[int]]:
    """The signals to stop that came since; those that the caller ignores (nohup) stay ignored. As before afterwards.

    They are noted and not raised, so that none comes between the start of a process and the note of it.
    """
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other one may
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_memory() -> int | None:
    """Bytes that processes may still take here: what the system calls available, or less where a control group (a
    container) allows less. None where the system does not tell (other than Linux).
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # "max" is no number, and no limit
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(kept.get("inactive_file", 0))
        found.append(max(0, int((group / "memory.max").read_text()) - used))
    return min(found, default=None)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
