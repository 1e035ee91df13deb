"""What one step of dimension squeezing costs beside the tuning: choosing, cutting, taking the optimizer along.

    python benchmarks/bench_squeeze.py [--steps 72] [--threads 2] [--layers 12] [--step 1] [--json record.json]

A BERT-base shape: 12 layers of six MPOs (768x768 four times, 3072x768, 768x3072), n = 5, full bonds, float32, random
weights (which are as slow to cut as any), central tensors frozen, AdamW with a state for everything that trains. Before
each step, outside the clock, the auxiliary tensors move a little, as if they had been tuned, so that no Gram matrix is
one by luck. Medians of milliseconds. "floor" is what the products as long as the matrix would take at the speed of a
large one.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from mpolab.carry import Snapshot
from mpolab.cut import find_cut
from mpolab.layers import MPOLinear
from mpolab.squeeze import cut_layer, queue_of
from mpolab.surgery import freeze_central, mpo_layers

SHAPES = {"query": (768, 768), "key": (768, 768), "value": (768, 768), "output": (768, 768)} | {
    "ffn": (3072, 768),
    "ffn_output": (768, 3072),
}
LIMIT = 20.0  # ms for one step, of either shape
MOVED = 1e-2  # how far the auxiliary tensors move between steps, over the size of their entries


def bert_shaped(layers: int) -> nn.Module:
    """No encoder, only its matrices."""
    g = torch.Generator().manual_seed(0)
    model = nn.ModuleList()
    for _ in range(layers):
        block = nn.ModuleDict()
        for name, (height, width) in SHAPES.items():
            linear = nn.Linear(width, height)
            with torch.no_grad():
                linear.weight.copy_(torch.randn(height, width, generator=g) * 0.02)
            block[name] = MPOLinear.from_linear(linear)
        model.append(block)
    return freeze_central(model)


def stepped(model: nn.Module) -> torch.optim.AdamW:
    """An optimizer that has made one step with random gradients."""
    g = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=g)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


@torch.no_grad()
def move(layer: MPOLinear, g: torch.Generator) -> None:
    for core in layer.auxiliary:
        core.add_(torch.randn(core.shape, generator=g), alpha=MOVED * float(core.std()))


def gemm_rate(size: int = 1024) -> float:
    """FLOP/s of a float32 product."""
    a, times = torch.randn(size, size), []
    for _ in range(9):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times)


def floor_flops(layer: MPOLinear, bond: int) -> float:
    """Triangular times centre, and a symmetric Gram matrix: half of two full products."""
    d, i, j, e = layer.central.shape
    inner, outer = (e, d) if bond == layer.plan.centre else (d, e)
    return d * i * j * e * (inner + outer)


def measure(layers: int, steps: int, step: int | float) -> dict:
    model = bert_shaped(layers)
    optimizer, g = stepped(model), torch.Generator().manual_seed(2)
    found = mpo_layers(model)
    start = time.perf_counter()
    queue = queue_of(model, step)
    plans = queue.plans
    prepared = time.perf_counter() - start
    first = found[next(iter(found))]
    find_cut(list(first.cores), 2, first.bonds[2] - 1)  # warm up
    # The order by estimates, with the shapes taking turns, so that each is measured equally often.
    chosen: dict[tuple[int, int], list] = defaultdict(list)
    choosing = []
    for _ in range(20 * steps):
        start = time.perf_counter()
        choice = queue.take()
        choosing.append(time.perf_counter() - start)
        chosen[plans[choice.path].shape].append(choice)
    rate, times, parts, floors = gemm_rate(), defaultdict(list), defaultdict(list), {}
    for number in range(steps):
        shape = list(SHAPES.values())[3 + number % 3]
        if not chosen[shape]:
            continue
        choice = chosen[shape].pop(0)
        layer = found[choice.path]
        move(layer, g)
        size = layer.bonds[choice.bond] - (choice.before - choice.after)
        floors[shape] = 1e3 * floor_flops(layer, choice.bond) / rate
        start = time.perf_counter()
        cut_layer(layer, choice.bond, size, optimizer)
        times[shape].append(1e3 * (time.perf_counter() - start + statistics.median(choosing)))
        start = time.perf_counter()
        find_cut(list(layer.cores), choice.bond, max(1, size - 1), layer.plan)
        parts[shape].append(1e3 * (time.perf_counter() - start))
    saving, restoring = [], []
    for _ in range(3):
        start = time.perf_counter()
        snapshot = Snapshot(model, optimizer)
        saving.append(time.perf_counter() - start)
        start = time.perf_counter()
        snapshot.restore()
        restoring.append(time.perf_counter() - start)
    return {
        "step": step,
        "matrices": len(found),
        "prepare the queue (ms, once)": 1e3 * prepared,
        "choose (ms)": 1e3 * statistics.median(choosing),
        "whole step (ms)": {name(shape): statistics.median(values) for shape, values in times.items()},
        "of which finding the cut (ms)": {name(shape): statistics.median(values) for shape, values in parts.items()},
        "floor (ms)": {name(shape): value for shape, value in floors.items()},
        "whole step, all shapes as often as in BERT (ms)": weighted_median(times),
        "steps measured": {name(shape): len(values) for shape, values in times.items()},
        "snapshot for a rollback (ms)": 1e3 * statistics.median(saving),
        "rollback (ms)": 1e3 * statistics.median(restoring),
        "float32 product (GFLOP/s)": rate / 1e9,
    }


def name(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def weighted_median(times: dict[tuple[int, int], list[float]]) -> float:
    """Of the steps, each shape counted as often as a layer has it."""
    counts = {shape: list(SHAPES.values()).count(shape) for shape in times}
    return statistics.median(value for shape, values in times.items() for value in values * counts[shape])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=72, help="steps measured in all")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--step", type=float, default=1, help="how much a cut takes: a number of values, or a share")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    step = int(arguments.step) if arguments.step >= 1 else arguments.step
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, load {load}")
    record = measure(arguments.layers, arguments.steps, step)
    for key, value in record.items():
        if isinstance(value, dict):
            print(f"{key}: " + ", ".join(f"{shape} {number:.4g}" for shape, number in value.items()))
        else:
            print(f"{key}: {value:.4g}")
    slowest = max(record["whole step (ms)"].values())
    print(f"slowest shape {slowest:.1f} ms, limit {LIMIT:.0f} ms: {'kept' if slowest < LIMIT else 'MISSED'}")
    if arguments.json:
        about = {
            "date": datetime.date.today().isoformat(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "processor": platform.processor() or platform.machine(),
            "load": load,
        }
        arguments.json.write_text(json.dumps(about | record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
