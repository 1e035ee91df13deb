"""Several commands at once, as real processes; and the lock that keeps two from one run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpolab import locks
from mpolab.crew import Duty, Place, cores, free_memory, work_off
from mpolab.errors import BusyError

ROOT = Path(__file__).resolve().parent.parent


def duty(folder: Path, name: str, code: str) -> Duty:
    return Duty(name, (sys.executable, "-S", "-c", code), folder / "logs" / f"{name}.log")


class Seen:
    """Who ran beside whom, as `work_off` tells."""

    def __init__(self):
        self.together, self.most, self.beginnings = [], 0, []

    def __call__(self, running, ended):
        self.together.append(set(running))
        self.most = max(self.most, len(running))
        if ended is None:
            self.beginnings.append(running[-1])


def test_one_that_fails_does_not_stop_the_others(tmp_path):
    good = "import os; open(os.environ['WHERE'] + '/' + {!r}, 'w').write(os.environ['THREADS'])"
    duties = [
        duty(tmp_path, "a", good.format("a")),
        duty(
            tmp_path, "b", "import sys; print('first'); print(); print('the last words', file=sys.stderr); sys.exit(3)"
        ),
        duty(tmp_path, "c", "import os; print('x' * 9); os.kill(os.getpid(), 9)"),
        duty(tmp_path, "d", good.format("d")),
    ]
    seen = Seen()
    ended = work_off(duties, 2, environment={"WHERE": str(tmp_path), "THREADS": "7"}, changed=seen)
    by_name = {each.duty.name: each for each in ended}
    assert {name: each.code for name, each in by_name.items()} == {"a": 0, "b": 3, "c": -9, "d": 0}
    assert sorted(by_name["b"].tail.splitlines()) == ["first", "the last words"]
    assert by_name["b"].why == "exit status 3" and "killed by signal 9, as the system does" in by_name["c"].why
    assert (tmp_path / "a").read_text() == (tmp_path / "d").read_text() == "7"
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["b.log", "c.log"], "of those that failed"
    assert seen.beginnings == ["a", "b", "c", "d"] and seen.most == 2


def test_as_many_at_once_as_are_asked_for(tmp_path):
    """Each waits for the other's file: with one at a time neither would end well."""
    meet = (
        "import os, time\nopen({mine!r}, 'w')\nend = time.time() + 20\n"
        "while not os.path.exists({other!r}) and time.time() < end: time.sleep(0.01)\n"
        "assert os.path.exists({other!r})"
    )
    one, two = str(tmp_path / "1"), str(tmp_path / "2")
    duties = [
        duty(tmp_path, "one", meet.format(mine=one, other=two)),
        duty(tmp_path, "two", meet.format(mine=two, other=one)),
    ]
    assert [each.code for each in work_off(duties, 2)] == [0, 0]
    assert [each.code for each in work_off([duties[0]], 1)] == [0], "its partner's file is there already"


def test_memory_says_how_many(tmp_path):
    """Room for 10: 4 and 4 go together, 3 waits for room, what is not known and what is too large go alone."""
    needs = {"large": 99, "four": 4, "quattro": 4, "three": 3, "unknown": None, "two": 2}
    duties = [duty(tmp_path, name, "import time; time.sleep(0.3)") for name in needs]
    seen = Seen()
    ended = work_off(duties, 9, [Place(10)], lambda each: needs[each.name], changed=seen)
    assert [each.code for each in ended] == [0] * 6
    assert seen.beginnings[0] == "large" and {"large"} in seen.together
    assert {"four", "quattro", "two"} in seen.together, "two fits beside them, three does not"
    first = Seen()  # what is not known goes alone, and by then the next may be known
    work_off([duties[4], duties[5], duties[3]], 9, [Place(10)], lambda each: needs[each.name], changed=first)
    assert first.together[:2] == [{"unknown"}, set()] and {"two", "three"} in first.together
    for running in seen.together:
        assert len(running) < 2 or sum(needs[name] or 99 for name in running) <= 10, running


def test_each_goes_to_the_place_with_most_room(tmp_path):
    places = [Place(10, {"CARD": "0"}), Place(20, {"CARD": "1"})]
    code = "import os, time; open({!r} + os.environ['CARD'], 'w'); time.sleep(0.4)"
    duties = [duty(tmp_path, f"run{k}", code.format(str(tmp_path / f"run{k}-"))) for k in range(3)]
    work_off(duties, 3, places, lambda each: 8)
    assert sorted(path.name for path in tmp_path.glob("run*")) == ["run0-1", "run1-1", "run2-0"]  # 20 - 8 > 10 > 4
    for path in tmp_path.glob("run*"):
        path.unlink()
    work_off(duties, 2, places)  # without needs: the one with fewest
    assert {path.name for path in tmp_path.glob("run[01]-*")} == {"run0-0", "run1-1"}


CHIEF = """
import signal, sys
from pathlib import Path
from mpolab.crew import Duty, work_off
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" hands down that it is ignored
folder, log = Path(sys.argv[1]), Path(sys.argv[1]) / "log"
code = "import pathlib, time, os; pathlib.Path({!r}).write_text(str(os.getpid())); time.sleep(60)"
if sys.argv[2:] == ["deaf"]:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + code
names = ("first", "second", "third")
duties = [Duty(n, (sys.executable, "-S", "-c", code.format(str(folder / n))), folder / (n + ".log")) for n in names]
try:
    work_off(duties, 2)
except KeyboardInterrupt:
    print("stopped")
    sys.exit(130)
"""


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("how", "deaf"), [("SIGTERM", False), ("SIGINT", False), ("SIGINT", True)])
def test_a_signal_ends_them_all(tmp_path, how, deaf):
    before = signal.getsignal(signal.SIGINT)
    command = [sys.executable, "-c", CHIEF, str(tmp_path), *(["deaf"] if deaf else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as chief:
        files = [tmp_path / "first", tmp_path / "second"]
        end = time.monotonic() + 60
        while not all(file.is_file() and file.read_text() for file in files) and time.monotonic() < end:
            time.sleep(0.05)
        numbers = [int(file.read_text()) for file in files]
        assert all(map(alive, numbers))
        chief.send_signal(getattr(signal, how))
        if deaf:  # they do not end when asked: a second signal kills them
            time.sleep(0.5)
            assert all(map(alive, numbers)) and chief.poll() is None
            chief.send_signal(getattr(signal, how))
        out, _ = chief.communicate(timeout=20)
    assert (chief.returncode, out) == (130, "stopped\n")
    assert not any(map(alive, numbers)) and not (tmp_path / "third").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_exception_ends_them_too(tmp_path):
    def broken(running, ended):
        raise OSError("the terminal is gone")

    file = tmp_path / "number"
    code = f"import pathlib, time, os; pathlib.Path({str(file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    before = signal.getsignal(signal.SIGTERM)
    began = time.monotonic()
    with pytest.raises(OSError, match="terminal"):
        work_off([duty(tmp_path, "one", code)], 1, changed=broken)
    assert signal.getsignal(signal.SIGTERM) is before and time.monotonic() - began < 20
    assert not file.exists() or not alive(int(file.read_text()))


def test_what_this_machine_has():
    free = free_memory()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert sys.platform != "linux" or 0 < free < total
    assert 1 <= cores() <= os.cpu_count()


# -- locks -----------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from mpolab.locks import held
with held(Path(sys.argv[1]), "the other"):
    print("has it", flush=True)
    time.sleep(60)
"""


def test_a_file_system_without_locks_is_no_other_process(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refused(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(OSError, match="No locks available") as found, locks.held(tmp_path / "a.lock", "the recipe"):
        pass
    assert not isinstance(found.value, BusyError)


def test_one_holder_at_a_time_and_none_after_a_kill(tmp_path):
    path = tmp_path / "runs" / "a.lock"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(BusyError, match=rf"^the recipe is being run by another process \(number {other.pid}\)"):
            with locks.held(path, "the recipe"):
                raise AssertionError("two had it")
        with locks.held(tmp_path / "runs" / "b.lock", "another"):
            pass
        other.kill()
        other.wait()
    assert path.is_file(), "nobody was there to delete it"
    with locks.held(path, "the recipe"):
        with pytest.raises(BusyError, match=f"number {os.getpid()}"), locks.held(path, "it"):
            raise AssertionError("one process had it twice")
    assert not path.exists()


def test_a_lock_deleted_in_between_is_not_taken_for_one(tmp_path, monkeypatch):
    """The file that was locked may be another's leftover by then: two would hold locks of one name."""
    path, real, took = tmp_path / "a.lock", locks._lock, []

    def late(handle):
        got = real(handle)
        if not took:
            path.unlink()
        took.append(got)
        return got

    monkeypatch.setattr(locks, "_lock", late)
    with locks.held(path, "it"):
        assert took == [True, True] and path.read_text() == str(os.getpid())
        monkeypatch.setattr(locks, "_lock", real)
        with pytest.raises(BusyError), locks.held(path, "it"):
            pass
