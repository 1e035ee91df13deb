"""What studies of a training step share: ways to make it, timed in turns with several seeds, and the record of it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench_layers import in_turns

from mpolab.ledger.studies import ACCELERATIONS_FORMAT
from mpolab.runs import refuse_paths, surroundings
from mpolab.whole import write_whole


def timed(
    calls_of: Callable[[int], dict[str, Callable[[], object]]],
    names: Iterable[str],
    seeds: Sequence[int],
    rounds: int,
    scale: str,
    device: str,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """The record: for every seed and way the seconds of each round, by the clock, after a round that does not count.

    calls_of: of a seed, {way: a call}, in the order in which they take turns. names: the ways, in the record's order.
    scale: in words, without the device.
    """
    start, rows = time.perf_counter(), []
    names = tuple(names)
    for seed in seeds:
        times = in_turns(calls_of(seed), rounds, warmup=1, clock=clock)
        rows += [{"seed": seed, "way": way, "seconds": [float(f"{each:.4g}") for each in times[way]]} for way in names]
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    return {
        "format": ACCELERATIONS_FORMAT,
        "scale": f"{scale}, on one {'core' if device == 'cpu' else 'GPU'}",
        "seeds": list(seeds),
        "seconds": round(time.perf_counter() - start, 1),
        **surroundings(),
        "rows": rows,
    }


def write(content: dict[str, Any], path: Path, script: str, parser: argparse.ArgumentParser, asked: Any) -> None:
    """Writes the record, with the command that made it: the script and what was asked for beyond its defaults."""
    more = [f"--{name} {value}" for name, value in vars(asked).items() if value != parser.get_default(name)]
    content["command"] = " ".join([f"python benchmarks/{script}", *more])
    refuse_paths(content)
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
