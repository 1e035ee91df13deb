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

import torch
from accelerations import BATCH, TOKENS, WAYS, Stepper
from step_study import timed, write

from mpolab.ledger.studies import ACCELERATIONS_FILE, BASELINE, BOTH, TOGETHER
from mpolab.runs import results_folder

SEEDS = (0, 1, 2, 3, 4)
MEASURED = (BASELINE, "bf16 autocast", "fused GELU", BOTH, TOGETHER)
"""Of accelerations.WAYS."""


def study(seeds: tuple[int, ...], layers: int, rounds: int, device: str, rows: int = BATCH) -> dict:
    """The record, as `step_study.timed` makes it, of a step a call."""

    def calls_of(seed: int) -> dict[str, Stepper]:
        return {name: Stepper(WAYS[name], layers, rows, seed, device) for name in MEASURED}

    scale = f"{layers} layers of hidden size 384, batches of {rows} x {TOKENS} tokens"
    return timed(calls_of, MEASURED, seeds, rounds, scale, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    content = study(SEEDS, asked.layers, asked.rounds, asked.device)
    write(content, results_folder() / ACCELERATIONS_FILE, "acceleration_study.py", parser, asked)


if __name__ == "__main__":
    main()
