"""Peaks of memory, each measured in a process of its own, so that nothing that was freed before counts."""

from __future__ import annotations

import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterable
from typing import Any

HEAP = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Freed blocks go back to the system at once, so that a fragmented heap does not count as memory in use."""


def medians(measure: Callable[[str, Any], None], names: Iterable[str], tries: int) -> dict[str, float]:
    """{name: median of what `measure(name, queue)` puts into the queue, once in each of so many processes}."""
    os.environ |= HEAP  # the processes inherit it
    context, found = multiprocessing.get_context("spawn"), {}
    for name in names:
        seen = []
        for _ in range(tries):
            queue = context.Queue()
            process = context.Process(target=measure, args=(name, queue))
            process.start()
            process.join()
            if process.exitcode:
                raise RuntimeError(f"the process that measured {name!r} ended with {process.exitcode}.")
            seen.append(queue.get())
        found[name] = statistics.median(seen)
    return found
