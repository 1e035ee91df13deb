"""Which ranks to buy with a budget of stored numbers: Tucker's core sizes, an MPO's bonds.

Both are chosen by the share of the squared norm that they keep. Tucker's is a table over all tuples of ranks, which has
as many entries as the tensor itself, so that all of them are compared. An MPO's tuples are too many for that: bonds are
traded in pairs until no trade keeps more. Nothing here sees a matrix. Taught in notebook 01, section 7.

Items: mpop-fig2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch

from .plans import Plan

LEAST_GAIN = 1e-12  # of the squared norm; what is less is rounding


def tucker_ranks(plan: Plan, kept: torch.Tensor, budget: int) -> tuple[int, ...] | None:
    """Of all ranks that store at most `budget` numbers those that keep most; None if not even ranks of 1 do.

    kept: (a_1, ..., a_n), the share that ranks (r_1, ..., r_n) keep at place (r_1 - 1, ..., r_n - 1). No rank exceeds
    the product of the others: more would be stored for nothing. With that, none can be raised by one within the budget.
    """
    places = [torch.arange(1, size + 1, device=kept.device) for size in plan.sizes]
    ranks = [place.reshape([-1 if k == m else 1 for m in range(plan.n)]) for k, place in enumerate(places)]
    core = math.prod(ranks)  # (a_1, ..., a_n)
    allowed = core + sum(size * rank for size, rank in zip(plan.sizes, ranks)) <= budget
    for rank in ranks:
        allowed &= rank**2 <= core
    if not allowed.any():
        return None
    best = torch.where(allowed, kept, -1.0).argmax()
    place = tuple(int(k) for k in torch.unravel_index(best, kept.shape))
    while wider := [raised for raised in _raised(place, kept.shape) if allowed[raised]]:  # it keeps as much
        place = max(wider, key=lambda raised: float(kept[raised]))
    return tuple(k + 1 for k in place)


def _raised(place: tuple[int, ...], shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The places one further along each axis."""
    for k, size in enumerate(shape):
        if place[k] + 1 < size:
            yield (*place[:k], place[k] + 1, *place[k + 1 :])


Kept = Callable[[Sequence[int]], float]  # n+1 bonds -> the share of the squared norm that they keep


def traded_bonds(plan: Plan, budget: int, start: Sequence[int], kept: Kept) -> list[int]:
    """From n+1 bonds within the budget to others within it that keep more, two traded at a time.

    One bond of a pair takes every value, and the other becomes as wide as the budget then allows; the values that keep
    most are taken, pair after pair, until no pair gains.
    """
    bonds, best, gaining = list(start), kept(start), True
    while gaining:
        gaining = False
        for k, m in itertools.combinations(range(1, plan.n), 2):
            for candidate in _trades(plan, budget, bonds, k, m):
                if (share := kept(candidate)) > best + LEAST_GAIN:
                    bonds, best, gaining = candidate, share, True
    return bonds


def widened_bonds(plan: Plan, budget: int, start: Sequence[int], kept: Kept) -> list[int]:
    """What is left of the budget, spent: bonds are widened one by one, always the one that keeps most per number.

    At the end no bond can be widened by one: that would exceed the budget, the full bond, or what its neighbours fill.
    """
    bonds = list(start)
    while True:
        share, stored, wider = kept(bonds), plan.parameters(bonds), []
        for k in range(1, plan.n):
            candidate = [*bonds[:k], bonds[k] + 1, *bonds[k + 1 :]]
            more = plan.parameters(candidate)
            if candidate[k] <= plan.full_bonds[k] and more <= budget and can_be_filled(plan, candidate):
                wider.append(((kept(candidate) - share) / (more - stored), candidate))
        if not wider:
            return bonds
        _, bonds = max(wider, key=lambda found: found[0])


def can_be_filled(plan: Plan, bonds: Sequence[int]) -> bool:
    """Whether no bond is wider than what lies on either side of it: d_k <= d_{k-1} a_k and d_k <= a_{k+1} d_{k+1}."""
    return all(right <= left * size and left <= size * right for left, right, size in zip(bonds, bonds[1:], plan.sizes))


def _trades(plan: Plan, budget: int, bonds: Sequence[int], k: int, m: int) -> Iterator[list[int]]:
    """Every value of the narrower one of bonds k and m, with the other one as wide as fits."""
    if plan.full_bonds[m] < plan.full_bonds[k]:
        k, m = m, k
    for value in range(1, plan.full_bonds[k] + 1):
        candidate = list(bonds)
        candidate[k], candidate[m] = value, 0  # what is stored is linear in d_m
        left, right = candidate[m - 1] * plan.sizes[m - 1], plan.sizes[m] * candidate[m + 1]
        room = (budget - plan.parameters(candidate)) // (left + right)
        candidate[m] = min(room, plan.full_bonds[m], left, right)
        if candidate[m] >= 1 and can_be_filled(plan, candidate):
            yield candidate
