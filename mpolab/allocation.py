"""One budget for many matrices: which bond of which matrix is worth its numbers.

`spectra.greedy_path` says in which order one matrix's bonds should grow. Here the paths of all matrices of a model are
merged into one: the next step is always the one that saves the most discarded weight per stored number, wherever it
lies. The merged path does not know the budget, so a larger budget takes a longer prefix of it and never lowers a bond.
The alternative, `"uniform"`, gives every matrix the same ratio. Neither is in the papers: MPOP sets one cap per kind of
matrix by hand. Taught and compared in notebook 02, "Compression".
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

import torch

from .errors import BondError, unknown
from .plans import Plan
from .spectra import Tails, greedy_path

ALLOCATIONS = ("uniform", "spectra", "spectra-absolute")
"""How a budget is spread: the same for every matrix; by spectra, each matrix's error relative to its own norm (so that
all matrices count alike, and a large one, such as a word embedding, gives way first); by spectra with absolute errors
(so that a matrix of large norm counts more; on MiniLM mild cuts then disturb the outputs more)."""

WEIGHINGS = ("relative", "absolute")


def merged_path(
    plans: Sequence[Plan],
    tails: Sequence[Tails],
    ceilings: Sequence[Sequence[int]] | None = None,
    weighing: str = "relative",
) -> Iterator[tuple[int, int, int]]:
    """From all bonds 1 to `ceilings`, step by step: yields (matrix, bond number 1..n-1, stored numbers it adds).

    Each matrix offers the next step of its own greedy path; the offer with the largest s_{k,d+1}^2 over
    d_{k-1} a_k + a_{k+1} d_{k+1} is taken, the earlier matrix where two are equal. weighing: "relative" divides the
    squares by the matrix's squared norm, "absolute" does not.

    plans, tails: one per matrix. ceilings: n+1 bonds per matrix, by default the full ones.
    """
    if weighing not in WEIGHINGS:
        raise unknown("weighing", weighing, WEIGHINGS)
    ceilings = [plan.full_bonds for plan in plans] if ceilings is None else ceilings
    largest = max((tail.norm for tail in tails), default=0.0) or 1.0  # so that no square can overflow
    scales = [1.0 if weighing == "relative" else (tail.norm / largest) ** 2 for tail in tails]
    paths = [greedy_path(plan, tail, ceiling) for plan, tail, ceiling in zip(plans, tails, ceilings)]
    bonds = [[1] * (plan.n + 1) for plan in plans]
    offers: list[tuple[float, int, int, int]] = []  # (-gain, matrix, bond, cost), the best on top

    def offer(m: int) -> None:
        k = next(paths[m], None)
        if k is None:
            return
        d, a = bonds[m], plans[m].sizes
        cost = d[k - 1] * a[k - 1] + a[k] * d[k + 1]
        heapq.heappush(offers, (-scales[m] * float(tails[m].weights[k - 1][d[k]]) / cost, m, k, cost))

    for m in range(len(plans)):
        offer(m)
    while offers:
        _, m, k, cost = heapq.heappop(offers)
        bonds[m][k] += 1
        yield m, k, cost
        offer(m)


def allocate(
    plans: Sequence[Plan],
    spectra: Sequence[Sequence[torch.Tensor]],
    ratio: float,
    ceilings: Sequence[Sequence[int]] | None = None,
    weighing: str = "relative",
) -> list[list[int]]:
    """n+1 bonds for every matrix, so that all of them together keep to `ratio`; the next step would exceed it.

    plans: one per matrix. spectra: the n-1 singular-value vectors of each. ratio: stored numbers over entries (of the
    padded matrices, as in MPOP eq. 5), summed over all matrices. ceilings: see `merged_path`.

    Raises BondError for a ratio that even bonds of 1 exceed.
    """
    is_number = isinstance(ratio, int | float) and not isinstance(ratio, bool) and math.isfinite(ratio)
    if not is_number or ratio <= 0:
        raise BondError(f"ratio = {ratio!r}: expected a positive number, e.g. 0.3, for all matrices together.")
    bonds = [[1] * (plan.n + 1) for plan in plans]
    whole = sum(math.prod(plan.padded) for plan in plans)
    stored = sum(plan.parameters(d) for plan, d in zip(plans, bonds))
    if stored > ratio * whole:
        raise BondError(
            f"ratio = {ratio:g} is out of reach: with all bonds 1 the {len(plans)} matrices store {stored:,} numbers, "
            f"together a ratio of {stored / whole:.3g}; ask for at least that."
        )
    for m, k, cost in merged_path(plans, [Tails(values) for values in spectra], ceilings, weighing):
        stored += cost
        if stored > ratio * whole:
            break
        bonds[m][k] += 1
    return bonds
