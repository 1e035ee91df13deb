"""How long a panel takes to follow its slider: the six panels of notebooks 01 and 02 that show one matrix.

    mpolab bench --only redraw     or  python benchmarks/bench_redraw.py [--moves 20] [--json results/bench_redraw.json]

A 768x3072 matrix of Gaussian numbers at full bonds. A move sets the slider's value, as the browser does: the numbers
are looked up, the picture is drawn and written as PNG. Each panel makes two moves before it is timed. Medians of
milliseconds; what a panel does once, when the matrix is chosen, stands beside them in seconds.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from mpolab.panels import PANELS, Panel
from mpolab.workbench import Workbench

SHAPE, MOVES, WARM = (768, 3072), 20, 2
LIMIT = 100.0  # milliseconds that a move should stay below
# The slider that is moved, to and fro between its highest setting and the one before: there all bonds are full, or one
# of them is cut by one. The cost panel's bonds have a slider of their own.
SLIDERS = {
    "bond": "all",
    "error": "bond",
    "spectrum": "bond",
    "information": "bond",
    "methods": "ratio",
    "cost": "tokens",
}


def _settings(control: object) -> list:
    options = getattr(control, "options", None)
    return list(options[-2:]) if options is not None else [control.max, control.max - 1]


def _panel(name: str, bench: Workbench) -> Panel:
    return PANELS[name](bench, **({"bond": "full"} if name == "cost" else {}))


def measure(shape: tuple[int, int] = SHAPE, moves: int = MOVES) -> list[dict]:
    """One record a panel, printed as it comes."""
    bench = Workbench.of({"matrix": torch.randn(*shape, generator=torch.Generator().manual_seed(0))})
    print(f"\n## One move of a slider, {shape[0]}x{shape[1]} at full bonds (target: under {LIMIT:g} ms)\n")
    print(f"| {'panel':11} | slider | median, ms | slowest, ms | once, s |")
    print(f"|{'-' * 13}|{'-' * 8}|{'-' * 12}|{'-' * 13}|{'-' * 9}|")
    records = []
    for name, slider in SLIDERS.items():
        start = time.perf_counter()
        panel = _panel(name, bench)
        once = time.perf_counter() - start
        control = panel.controls[slider]
        times = []
        for value in itertools.islice(itertools.cycle(_settings(control)), WARM + moves):
            start = time.perf_counter()
            control.value = value
            times.append(1e3 * (time.perf_counter() - start))
        if panel.busy.value:  # a panel tells its reader what went wrong, and goes on
            raise RuntimeError(f"the panel {name!r} said: {panel.busy.value}")
        median, slowest = statistics.median(times[WARM:]), max(times[WARM:])
        print(f"| {name:11} | {slider:6} | {median:10.1f} | {slowest:11.1f} | {once:7.1f} |", flush=True)
        records.append(
            {
                "panel": name,
                "slider": slider,
                "matrix": f"{shape[0]}x{shape[1]}",
                "moves": moves,
                "ms": round(median, 2),
                "slowest_ms": round(slowest, 2),
                "once_s": round(once, 2),
            }
        )
    return records


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=MOVES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shape", type=int, nargs=2, default=SHAPE, metavar=("OUT", "IN"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    load_before = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    print(f"torch {torch.__version__}, {options.threads} threads of {os.cpu_count()} CPUs, load {load_before}")
    record = {
        "redraw": measure(tuple(options.shape), options.moves),
        "threads": options.threads,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "load": load_before,
        "date": datetime.date.today().isoformat(),
    }
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
