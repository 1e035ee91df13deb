"""How long surgery on a whole model takes: `to_mpo`, `to_dense`, saving and loading, on a BERT-base shape.

    python benchmarks/bench_surgery.py [--rounds 3] [--threads 2] [--layers 12] [--json record.json]

Random weights (which are as slow to decompose as any), no network. Rounds run in turns (A B C A B C ...), on a fresh
copy of the model each; medians of seconds. "peak" is the highest resident memory of the whole process over that of the
dense model, so it includes the originals that `to_mpo` keeps and the fresh copy's own.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import gc
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from mpolab.checkpoint import load, save_pretrained
from mpolab.surgery import to_dense, to_mpo, trainable_report

# What `to_mpo` is asked for, name -> arguments.
REQUESTS: dict[str, dict] = {
    "full bonds": {},
    "ratio 0.3, uniform": {"ratio": 0.3},
    "ratio 0.3, spectra": {"ratio": 0.3, "allocation": "spectra"},
    "caps 350/240/180": {"bond": {"embedding": 350, "FFN": 240, "attention": 180}},
}
LIMIT = 30.0  # seconds on two quiet cores


def bert(layers: int) -> transformers.BertModel:
    """BERT-base's shapes with random weights: 109 M numbers at 12 layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.BertModel(transformers.BertConfig(num_hidden_layers=layers)).eval()


def timed(call: Callable[[], object]) -> tuple[float, object]:
    gc.collect()
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def measure(layers: int, rounds: int) -> dict:
    model = bert(layers)
    dense = trainable_report(model).total
    before = _resident()
    seconds: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}

    def note(name: str, call: Callable[[], object]) -> object:
        passed, result = timed(call)
        seconds.setdefault(name, []).append(passed)
        return result

    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, request in REQUESTS.items():
                converted = copy.deepcopy(model)
                note(f"to_mpo, {name}", lambda m=converted, r=request: to_mpo(m, "mpop", **r))
                sizes[name] = trainable_report(converted).total
                if name == "ratio 0.3, spectra":
                    note("save_pretrained", lambda m=converted: save_pretrained(m, folder))
                    note("load", lambda: load(folder))
                    note("to_dense", lambda m=converted: to_dense(m))
                del converted
            undo = to_mpo(copy.deepcopy(model), "mpop", bond=8)
            note("to_dense, original=True", lambda m=undo: to_dense(m, original=True))
            del undo
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "layers": layers,
        "dense": dense,
        "sizes": sizes,
        "seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "all_seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
        "peak_over_model": round((peak - before) / (4 * dense) + 1, 2) if before else None,
    }


def _resident() -> int:
    """Bytes, from /proc; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"torch {torch.__version__}, {arguments.threads} threads of {os.cpu_count()} CPUs, load {load_before:.1f}")
    record = measure(arguments.layers, arguments.rounds)
    record |= {
        "threads": arguments.threads,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "load": load_before,
        "date": datetime.date.today().isoformat(),
    }
    print(f"\nBertModel of {record['layers']} layers, {record['dense']:,} numbers; medians of {arguments.rounds}\n")
    print(f"| {'':26} | seconds | numbers     |\n|{'-' * 28}|---------|-------------|")
    for name, value in record["seconds"].items():
        size = record["sizes"].get(name.removeprefix("to_mpo, "))
        print(f"| {name:26} | {value:7.2f} | {f'{size:,}' if size else '':>11} |")
    slowest = max(value for name, value in record["seconds"].items() if name.startswith("to_mpo"))
    print(f"\nslowest to_mpo: {slowest:.1f} s (limit {LIMIT:g} s on two quiet cores)")
    print(f"peak memory: {record['peak_over_model']} dense models")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
