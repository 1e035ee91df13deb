"""MPOBERT section 3.3.3 over seeds: how many times as fast a step of pre-training is by what the paper names.

    python benchmarks/acceleration_study.py [--device cuda] [--layers 12] [--rounds 3]

results/accelerations.json. The paper names mixed precision and fused activation and normalisation, and prints their sum
only: 12.5 days became 3.8. Seed k: MPOBERT's model and a batch drawn with k; a step as in accelerations.py, without
any acceleration, with each of the two that can be left out in PyTorch (its LayerNorm is one kernel already), with both,
and with all that bench_mpobert.py knows of; one after the other, round by round, on one core or one GPU. A seed's
number is the median over rounds of the time without, divided by the time with both; above 1 is faster.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from accelerations import BATCH, TOKENS, WAYS, Stepper
from bench_layers import in_turns

from mpolab.ledger.studies import ACCELERATIONS_FILE, ACCELERATIONS_FORMAT, BASELINE, BOTH, TOGETHER
from mpolab.runs import refuse_paths, results_folder, surroundings
from mpolab.whole import write_whole

SEEDS = (0, 1, 2, 3, 4)
MEASURED = (BASELINE, "bf16 autocast", "fused GELU", BOTH, TOGETHER)
"""Of accelerations.WAYS."""


def study(seeds: tuple[int, ...], layers: int, rounds: int, device: str, rows: int = BATCH) -> dict:
    start, used, found = time.perf_counter(), time.process_time(), []
    for seed in seeds:
        calls = {name: Stepper(WAYS[name], layers, rows, seed, device) for name in MEASURED}
        times = in_turns(calls, rounds, warmup=1)
        found += [{"seed": seed, "way": name, "seconds": [float(f"{each:.4g}") for each in times[name]]}
                  for name in MEASURED]  # fmt: skip
        print(f"seed {seed}: {time.process_time() - used:.0f} CPU seconds", flush=True)
    return {
        "format": ACCELERATIONS_FORMAT,
        "scale": f"{layers} layers of hidden size 384, batches of {rows} x {TOKENS} tokens, on one "
        + ("core" if device == "cpu" else "GPU"),
        "seeds": list(seeds),
        "seconds": round(time.perf_counter() - start, 1),
        **surroundings(),
        "rows": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    content = study(SEEDS, asked.layers, asked.rounds, asked.device)
    more = [f"--{name} {value}" for name, value in vars(asked).items() if value != parser.get_default(name)]
    content["command"] = " ".join(["python benchmarks/acceleration_study.py", *more])
    refuse_paths(content)
    write_whole(results_folder() / ACCELERATIONS_FILE, (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
