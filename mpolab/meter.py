"""What a run costs and draws: seconds, peak memory, and streams of random numbers that leave the caller's alone."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Meter:
    """Seconds and peak memory from `Meter(device)` on.

    Memory is "cuda": the most bytes that torch held on the device at once; or "rss": by how many bytes the resident
    set of this process grew at its highest, above where it stood at the start. The second counts everything (torch's
    caches, libraries loaded on the way) and, where the system does not let the high-water mark be reset (other than
    Linux), is the process's highest ever, so it can only be too large.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.kind = "cuda" if self.device.type == "cuda" else "rss"
        if self.kind == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._resident = 0 if self.kind == "cuda" else _resident_bytes()
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begin

    @property
    def peak_bytes(self) -> int:
        if self.kind == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return max(0, _highest_bytes() - self._resident)


def _resident_bytes() -> int:
    """The resident set now, with its high-water mark set back to it where that can be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    return _status("VmRSS") or _highest_bytes()


def _highest_bytes() -> int:
    """The highest resident set since it was set back."""
    found = _status("VmHWM")
    if found:
        return found
    import resource  # not on Windows, which has neither

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _status(entry: str) -> int:
    """An entry of /proc/self/status in bytes; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{entry}:")), 0)


class Streams:
    """The random streams of a run (Python's, NumPy's, torch's), in place of the caller's while the block lasts.

    Dropout draws from torch's global stream and the Trainer seeds it, so a run borrows the global streams and gives
    them back as they were. Entered again, it goes on where it left off: what the caller draws in between changes
    nothing.

    >>> streams = Streams(seed=0)
    >>> with streams:
    ...     first = torch.rand(1)
    """

    def __init__(self, seed: int):
        self.seed = seed
        self._own: tuple | None = None
        self._callers: tuple | None = None

    def __enter__(self) -> Streams:
        self._callers = _state()
        if self._own is None:
            random.seed(self.seed)
            np.random.seed(self.seed % 2**32)  # noqa: NPY002  the global stream, which others draw from
            torch.manual_seed(self.seed)
        else:
            _restore(self._own)
        return self

    def __exit__(self, *_: Any) -> None:
        self._own = _state()
        _restore(self._callers)


def _state() -> tuple:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda  # noqa: NPY002


def _restore(state: tuple) -> None:
    python, numpy, cpu, cuda = state
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)
