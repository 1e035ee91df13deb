"""What the singular values at the bonds say: entanglement entropy, error bounds, and which bonds to cut.

Pure functions of a plan and of the singular values of the n-1 unfoldings
M[i_1 j_1 ... i_k j_k, i_{k+1} j_{k+1} ... i_n j_n], each a descending vector of d_k values (eq. 2). Nothing here
sees a matrix. Taught in notebook 01, section 5 (truncation) and notebook 02, sections 2 and 6 (entropy, budgets).

Items: mpop-eq3, mpop-eq4, mpop-eq6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from numbers import Real

import numpy as np
import torch

from .errors import BondError, MatrixError, unknown
from .plans import Plan

DEFINITIONS = ("von_neumann", "singular_values")
PRINTED_RANGES = ("printed", "discarded")

# What rounding may add to a relative error, in units of the cores' eps: 7e-7 in float32, 9e-13 in float64. Float32
# cores at full bonds were seen to be off by up to 5 eps (an embedding of 30522 x 768). In float64, "centre" is good for
# 30 eps; LAPACK's SVDs of a matrix of rank one leave 2200.
ROUNDING_EPS = {torch.float32: 6, torch.float64: 4096}


def entropy(singular_values: torch.Tensor, definition: str = "von_neumann") -> float:
    """Entanglement entropy of one bond in nats, MPOP eq. 6: S = -sum_j v_j ln v_j.

    singular_values: (d,), any order, any scale. `definition` says what the paper's "normalized SVD eigenvalues" v are:
    "von_neumann" v = s^2 / sum s^2 (the physicist's, and the authors' script), "singular_values" v = s / sum s.
    Between 0 (one value) and ln d (all equal); 0 for an all-zero bond.
    """
    if definition not in DEFINITIONS:
        raise unknown("entropy definition", definition, DEFINITIONS)
    weights = singular_values.double()
    largest = weights.max() if weights.numel() else weights.new_zeros(())
    if not torch.isfinite(largest):
        raise MatrixError("the singular values hold NaN or infinity; an entropy needs finite ones.")
    if largest <= 0:
        return 0.0
    weights = weights / largest  # so that squaring can neither overflow nor vanish altogether
    if definition == "von_neumann":
        weights = weights**2
    v = weights / weights.sum()
    return max(0.0, -torch.special.xlogy(v, v).sum().item())


class Tails:
    """Sums of discarded squares, ready for every cut: `squares[k][d]` = sum of s_i^2 over i > d at bond k+1.

    Divided by the squared norm of the matrix, so that all errors read from here are relative.
    """

    def __init__(self, spectra: Sequence[torch.Tensor]):
        values = [spectrum.detach().double().cpu().numpy() for spectrum in spectra]
        scale = max((float(v[0]) for v in values if len(v)), default=0.0) or 1.0
        self.weights = [(v / scale) ** 2 for v in values]  # s_i^2, each (d_k,)
        norm = max((float(w.sum()) for w in self.weights), default=0.0)
        self.norm = scale * math.sqrt(norm)
        if norm > 0:
            self.weights = [w / norm for w in self.weights]
        # summed from the smallest up, so that small tails keep their digits
        self.squares = [np.concatenate([np.cumsum(w[::-1])[::-1], [0.0]]) for w in self.weights]

    def bound(self, bonds: Sequence[int]) -> float:
        """The tight bound at n+1 bonds: root of the sum of all discarded squares (MPOP's appendix; eq. 4)."""
        return math.sqrt(sum(float(tail[d]) for tail, d in zip(self.squares, bonds[1:-1])))


def printed_bound(spectra: Sequence[torch.Tensor], bonds: Sequence[int], range: str = "printed") -> float:
    """Eq. 3 and 4 with eq. 3 taken literally, relative to the matrix's norm.

    Eq. 3 adds up singular values (not their squares) from i = d_k - d'_k to d_k. `range="printed"` does just that: it
    sums the d'_k + 1 *smallest* values, which is no bound, and largest where nothing is cut. `range="discarded"` sums
    the values that a cut discards, i = d'_k + 1 to d_k: valid, and many times too large.
    """
    if range not in PRINTED_RANGES:
        raise unknown("range of eq. 3", range, PRINTED_RANGES)
    tails = Tails(spectra)
    if tails.norm == 0:
        return 0.0
    total = 0.0
    for spectrum, kept in zip(spectra, bonds[1:-1]):
        s = spectrum.double().cpu().numpy() / tails.norm  # lambda_1 .. lambda_d sit at s[0] .. s[d-1]
        full = len(s)
        first = max(full - kept, 1) if range == "printed" else kept + 1
        total += float(s[first - 1 :].sum()) ** 2
    return math.sqrt(total)


def greedy_path(plan: Plan, tails: Tails, ceilings: Sequence[int]) -> Iterator[int]:
    """Which bond to widen next, step by step, from all bonds 1 up to `ceilings`: yields bond numbers 1 .. n-1.

    Each step widens the bond that saves the most discarded weight per stored number added, s_{k,d+1}^2 over
    d_{k-1} a_k + a_{k+1} d_{k+1}. The path does not depend on the budget: any budget takes a prefix of it, so a larger
    budget never lowers a bond. Bonds that their neighbours cannot fill yet (d_k > d_{k-1} a_k) wait, unless all do.
    """
    n, sizes, weights = plan.n, plan.sizes, [w.tolist() for w in tails.weights]
    bonds = [1] * (n + 1)

    def gain(k: int) -> float:
        """Saving per number of widening bond k now; -1 where it is at its ceiling."""
        if bonds[k] >= ceilings[k]:
            return -1.0
        return weights[k - 1][bonds[k]] / (bonds[k - 1] * sizes[k - 1] + sizes[k] * bonds[k + 1])

    gains = [-1.0] + [gain(k) for k in range(1, n)]
    while True:
        best, best_gain, waiting, waiting_gain = 0, -0.5, 0, -0.5
        for k in range(1, n):
            if gains[k] > best_gain:
                if bonds[k] < bonds[k - 1] * sizes[k - 1] and bonds[k] < sizes[k] * bonds[k + 1]:
                    best, best_gain = k, gains[k]
                elif gains[k] > waiting_gain:
                    waiting, waiting_gain = k, gains[k]
        k = best or waiting
        if not k:
            return
        bonds[k] += 1
        yield k
        for neighbour in (k - 1, k, k + 1):
            if 0 < neighbour < n:
                gains[neighbour] = gain(neighbour)


def bonds_for_ratio(plan: Plan, tails: Tails, ratio: float, ceilings: Sequence[int]) -> list[int]:
    """The n+1 bonds that the greedy path reaches before eq. 5 exceeds `ratio`."""
    _positive("ratio", ratio)
    bonds = [1] * (plan.n + 1)
    stored, whole, sizes = plan.parameters(bonds), math.prod(plan.padded), plan.sizes
    if stored > ratio * whole:
        raise BondError(
            f"ratio = {ratio:g} is out of reach: with all bonds 1 this plan stores {stored:,} numbers, ratio "
            f"{stored / whole:.3g}; ask for at least that."
        )
    for k in greedy_path(plan, tails, ceilings):
        stored += bonds[k - 1] * sizes[k - 1] + sizes[k] * bonds[k + 1]
        if stored > ratio * whole:
            break
        bonds[k] += 1
    return bonds


def rounding_allowance(dtype: torch.dtype) -> float:
    """What the rounding of cores of a dtype may add to a relative Frobenius error: `ROUNDING_EPS` in units of eps."""
    return ROUNDING_EPS[dtype] * torch.finfo(dtype).eps


def bonds_for_error(
    plan: Plan, tails: Tails, error: float, ceilings: Sequence[int], rounding: float = 0.0
) -> list[int]:
    """The n+1 bonds at which the greedy path's bound first falls to `error - rounding` (relative Frobenius errors).

    The error lies below the bound in exact arithmetic, so with `rounding` = `rounding_allowance(dtype)` the *measured*
    one lies below `error`. Where `error` is no larger than the allowance nothing is cut that carries anything: what
    remains is rounding, which no bond can lower.

    Raises BondError if `ceilings` are too low for that.
    """
    _positive("error", error, zero=True)
    target, reachable = max(error - rounding, 0.0), tails.bound(ceilings)
    if reachable > target:
        raise BondError(
            f"error = {error:g} cannot be guaranteed here: with the bonds already cut to {list(ceilings)} the bound is "
            f"{reachable:.6g}; decompose the matrix again, or ask for at least {reachable + rounding:.6g}."
        )
    bonds = [1] * (plan.n + 1)
    squared = sum(float(tail[1]) for tail in tails.squares)
    for k in greedy_path(plan, tails, ceilings):
        # The running difference carries rounding, so it only says when to look at the exact sum.
        if squared <= target**2 * (1 + 1e-9) + 1e-15 and tails.bound(bonds) <= target:
            break
        squared -= float(tails.weights[k - 1][bonds[k]])
        bonds[k] += 1
    return bonds


def _positive(name: str, value: float, zero: bool = False) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < 0 or (value == 0 and not zero):
        raise BondError(f"{name} = {value!r}: expected a {'non-negative' if zero else 'positive'} number, e.g. 0.3.")
