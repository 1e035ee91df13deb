"""MPOE section 3.2 over seeds: what discarding the central tensors' updates saves of a training step.

    python benchmarks/mask_study.py [--device cuda] [--rounds 5]

results/mask_speed.json. Seed k: a feed-forward block drawn with k as eight experts that share central tensors, tokens
drawn with k, and steps of AdamW with the gradient mask at each p_b; one after the other, round by round, on one core
(by CPU seconds) or one GPU. As `mpolab.engine` trains in one process, the gradient of a tensor that a step masks is not
computed; one way more computes it and discards it, as eq. 4 has it, which saves the optimizer's part alone. A seed's
number is the median over rounds of the time without a mask, divided by the time with it; above 1 is faster. Each seed
begins its rounds with another way.
"""

from __future__ import annotations

import argparse
import contextlib
import time

import torch
from bench_layers import clock
from step_study import timed, write
from torch import nn

from mpolab.experts import MPOExperts
from mpolab.gradient_mask import GradientMask
from mpolab.ledger.studies import BASELINE, COMPUTED, MASK_FILE, masked_with
from mpolab.moe_layer import MoELayer
from mpolab.routers import SwitchRouter
from mpolab.runs import results_folder

SEEDS = (0, 1, 2, 3, 4)
PROBABILITIES = (0.25, 0.5, 0.75, 1.0)
HIDDEN, INNER, EXPERTS, TOKENS = 384, 1536, 8, 1024
STEPS = 4
"""In one turn: a mask is drawn for each."""


class Block(nn.Module):
    """A feed-forward block as T5 has it."""

    def __init__(self, hidden: int, inner: int):
        super().__init__()
        self.wi, self.wo = nn.Linear(hidden, inner, bias=False), nn.Linear(inner, hidden, bias=False)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.wo(self.act(self.wi(x)))


class Masked:
    """A layer of experts, its optimizer and its mask; a call is so many steps. All ways of a seed begin alike.

    ahead: whether the gradients that are to be discarded are left out of the passes.
    """

    def __init__(self, probability: float, ahead: bool, seed: int, device: str, hidden: int, inner: int, tokens: int):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            block, router = Block(hidden, inner), SwitchRouter(hidden, EXPERTS, None, None, jitter=0.0)
            self.x = torch.randn(1, tokens, hidden).to(device)
            self.seen = torch.randn(1, tokens, hidden).to(device)  # the gradient of the output
        self.layer = MoELayer(router, MPOExperts.from_ffn(block, EXPERTS)).to(device).train()
        self.mask = GradientMask(self.layer, probability, seed) if probability else None
        self.optimizer = torch.optim.AdamW(self.layer.parameters(), 1e-4)
        self.step, self.ahead, self.device = 0, ahead, torch.device(device)

    def __call__(self) -> None:
        for _ in range(STEPS):
            self.optimizer.zero_grad(set_to_none=True)
            with self.mask.ahead(self.step) if self.mask and self.ahead else contextlib.nullcontext():
                self.layer(self.x).backward(self.seen)
            if self.mask is not None:
                self.mask.apply(self.step)
            self.optimizer.step()
            self.step += 1
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def study(seeds: tuple[int, ...], rounds: int, device: str, sizes: tuple[int, int, int]) -> dict:
    """The record, as `step_study.timed` makes it, of STEPS steps a call. sizes: hidden, inner, tokens."""
    ways = {BASELINE: (0.0, True)} | {masked_with(p): (p, True) for p in PROBABILITIES} | {COMPUTED: (0.5, False)}

    def calls_of(seed: int) -> dict[str, Masked]:
        first = seed % len(ways)
        return {way: Masked(*ways[way], seed, device, *sizes) for way in [*ways][first:] + [*ways][:first]}

    hidden, inner, tokens = sizes
    scale = f"one layer of {EXPERTS} experts, {hidden} x {inner}, {STEPS} steps of {tokens:,} tokens"
    return timed(calls_of, ways, seeds, rounds, scale, device, clock() if device == "cpu" else time.perf_counter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    content = study(SEEDS, asked.rounds, asked.device, (HIDDEN, INNER, TOKENS))
    write(content, results_folder() / MASK_FILE, "mask_study.py", parser, asked)


if __name__ == "__main__":
    main()
