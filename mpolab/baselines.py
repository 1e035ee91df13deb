"""SVD, CPD, Tucker and MPO of one matrix with the same number of stored numbers: MPOP section 5.3, Fig. 2a and 2b.

A matrix (I, J) and its tensor (a_1, ..., a_n), a_k = i_k j_k, hold the same entries; the tensor methods see the legs
of one shape plan, the SVD sees the matrix. Everything is float64 and nothing global is seeded. Ratios are stored
numbers over the entries of the (padded) matrix, eq. 5, with the same denominator for every method; errors are
||W - W'|| / ||W|| in the Frobenius norm over the entries of W itself (0 for an all-zero W). Taught in notebook 01,
section 7.

A new baseline is one entry in `METHODS`.

Items: mpop-fig2.
"""

from __future__ import annotations

import bisect
import itertools
import math
import numbers
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from tqdm import tqdm

from .decomposition import checked_matrix, full_precision, norm, to_matrix, to_tensor
from .errors import BondError, MatrixError, unknown
from .mpo import MPO
from .plans import Plan, make_plan
from .ranks import Kept, traded_bonds, tucker_ranks, widened_bonds

Rank = int | tuple[int, ...]

MEASURED = 1 << 14  # entries up to which an MPO's bonds are traded by measured errors, which takes thousands of them
RIDGE = 1e-12  # added to CPD's normal equations (tensor of norm 1): at ranks above the true one they are singular


@dataclass(frozen=True)
class Options:
    """What a fit may cost.

    seeds: CPD starts once from each and keeps the best. iterations: ALS steps per start of CPD. flops, bytes: CPD's
    rank stops where all its starts would need more operations, or one step more memory (`affordable_cpd_rank`).
    hooi: at most so many orthogonal iterations for Tucker (after two, the error moves in its fourth digit). sweep: MPO
    by the sequential sweep, not by slicing.
    """

    seeds: tuple[int, ...] = (0, 1)
    iterations: int = 20
    flops: float = 2e12
    bytes: int = 1 << 30
    hooi: int = 2
    sweep: bool = False

    def __post_init__(self):
        if not self.seeds or self.iterations < 1 or self.hooi < 1:
            raise BondError(
                f"seeds = {self.seeds}, iterations = {self.iterations}, hooi = {self.hooi}: CPD and Tucker need at "
                "least one seed and one iteration, e.g. seeds=(0, 1), iterations=20."
            )


@dataclass(frozen=True)
class Approximation:
    """One method's answer to one budget.

    parameters: numbers it stores; ratio: those over the (padded) entries, eq. 5; budget: what it might have stored.
    error: relative Frobenius error. rank: r (SVD, CPD), the n core sizes (Tucker) or the n-1 inner bonds (MPO).
    note: how it was found where that matters (seeds, iterations, where CPD's rank stopped); limited: whether CPD would
    have had room for a higher rank but stopped. errors: one per seed. seconds: measured, so it is in no text.
    matrix: the (I, J) approximation, float64, or None where it was not kept.
    """

    method: str
    parameters: int
    ratio: float
    budget: int
    error: float
    rank: Rank
    note: str = ""
    limited: bool = False
    errors: tuple[float, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    matrix: torch.Tensor | None = field(default=None, compare=False)

    @property
    def spread(self) -> float:
        """Worst minus best error over the seeds."""
        return max(self.errors) - min(self.errors) if self.errors else 0.0

    def __repr__(self) -> str:
        rank = self.rank if isinstance(self.rank, int) else "-".join(map(str, self.rank))
        note = f" ({self.note})" if self.note else ""
        return f"{self.method} rank {rank}: ratio {self.ratio:.3f}, error {self.error:.3f}{note}"


class _Problem:
    """A matrix with its plan, and what does not depend on the budget, computed once."""

    def __init__(self, matrix: torch.Tensor, plan: Plan):
        matrix = checked_matrix(matrix)
        if plan.shape != tuple(matrix.shape):
            raise MatrixError(f"a matrix of shape {tuple(matrix.shape)} was given with a plan for {plan.shape}.")
        self.plan, self.matrix = plan, matrix.double()
        self.norm = norm(self.matrix)

    @cached_property
    def mpo(self) -> MPO:
        return MPO.decompose(self.matrix, rows=self.plan.rows, cols=self.plan.cols)

    @cached_property
    def svd(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.linalg.svd(self.matrix, full_matrices=False)

    @cached_property
    def tensor(self) -> torch.Tensor:
        """(a_1, ..., a_n), of Frobenius norm 1 (all zeros if the matrix is)."""
        return to_tensor(self.matrix, self.plan) / (self.norm or 1.0)

    @cached_property
    def tucker_kept(self) -> torch.Tensor:
        """(a_1, ..., a_n): the share of the squared norm that the HOSVD cut to ranks (r_1, ..., r_n) keeps, at place
        (r_1 - 1, ..., r_n - 1).
        """
        core = self.tensor
        for k, size in enumerate(self.plan.sizes):
            unfolding = self.tensor.movedim(k, 0).reshape(size, -1)
            vectors = torch.linalg.eigh(unfolding @ unfolding.T)[1].flip(1)  # of the largest singular value first
            core = torch.tensordot(core, vectors, dims=([0], [0]))  # the first leg goes, its vectors come last
        kept = core.square()
        for k in range(self.plan.n):
            kept = kept.cumsum(k)
        return kept

    @cached_property
    def mpo_kept(self) -> Kept:
        """The share that bonds keep: exact where the two beside the centre are cut, all else taken for independent."""
        mpo, c = self.mpo, self.plan.centre
        total = mpo.norm**2 or 1.0
        central = (mpo.central.square().sum((1, 2)) / total).cumsum(0).cumsum(1).tolist()  # (d_{c-1}, d_c)
        shares = [(s.square().cumsum(0) / total).tolist() for s in mpo.spectra]
        outer = [k for k in range(1, self.plan.n) if k not in (c, c + 1)]

        def kept(bonds: Sequence[int]) -> float:
            return central[bonds[c] - 1][bonds[c + 1] - 1] * math.prod(shares[k - 1][bonds[k] - 1] for k in outer)

        return kept

    def error(self, approximation: torch.Tensor) -> float:
        difference = norm(self.matrix - approximation)
        return difference / self.norm if self.norm else difference

    def from_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """The inverse of `tensor`: (a_1, ..., a_n) of a matrix with norm 1 -> (I, J) at the matrix's own scale."""
        return to_matrix(tensor, self.plan) * self.norm


Found = tuple[torch.Tensor, dict[str, Any]]  # the (I, J) approximation, and fields of Approximation


@dataclass(frozen=True)
class Method:
    """One entry of `METHODS`.

    parameters(plan, rank): numbers stored, an integer.
    largest(problem, budget, options): the largest rank(s) that store at most `budget` numbers; None if none does.
    compute(problem, rank, options): the approximation of that rank.
    """

    name: str
    parameters: Callable[[Plan, Any], int]
    largest: Callable[[_Problem, int, Options], Rank | None]
    compute: Callable[[_Problem, Any, Options], Found]

    def rank(self, matrix: torch.Tensor, plan: Plan, budget: int, **options) -> Rank:
        """The largest rank(s) that store at most `budget` numbers. Raises BondError where not even rank 1 does."""
        return self._rank(_Problem(matrix, plan), budget, Options(**options))

    def fit(self, matrix: torch.Tensor, plan: Plan, budget: int, **options) -> Approximation:
        """Approximates a matrix (I, J) with at most `budget` stored numbers; options are the fields of `Options`.

        Raises BondError for a budget below the smallest rank's, MatrixError for what cannot be decomposed.
        """
        problem, options = _Problem(matrix, plan), Options(**options)
        return self._fit(problem, self._rank(problem, budget, options), budget, options)

    def least(self, plan: Plan) -> int:
        """Stored numbers of the smallest rank(s)."""
        smallest = 1 if self.name in ("SVD", "CPD") else (1,) * (plan.n - (self.name == "MPO"))
        return self.parameters(plan, smallest)

    def _rank(self, problem: _Problem, budget: int, options: Options) -> Rank:
        rank = self.largest(problem, budget, options)
        if rank is None:
            least, entries = self.least(problem.plan), math.prod(problem.plan.padded)
            raise BondError(
                f"budget = {budget:,} numbers: {self.name} of rank 1 stores {least:,} for this plan, ratio "
                f"{least / entries:.3g}; give at least that."
            )
        return rank

    def _fit(self, problem: _Problem, rank: Rank, budget: int, options: Options) -> Approximation:
        start = time.perf_counter()
        matrix, found = self.compute(problem, rank, options)
        parameters = self.parameters(problem.plan, rank)
        return Approximation(
            method=self.name,
            parameters=parameters,
            ratio=parameters / math.prod(problem.plan.padded),
            budget=budget,
            error=problem.error(matrix),
            rank=rank,
            seconds=time.perf_counter() - start,
            matrix=matrix,
            **found,
        )


# -- SVD -----------------------------------------------------------------------------------------


def svd_parameters(plan: Plan, rank: int) -> int:
    """r (I + J): two factors, the singular values multiplied into one of them. The SVD needs no padding."""
    return rank * sum(plan.shape)


def _svd_rank(problem: _Problem, budget: int, options: Options) -> int | None:
    return min(budget // sum(problem.plan.shape), *problem.plan.shape) or None


def _svd(problem: _Problem, rank: int, options: Options) -> Found:
    u, s, vh = problem.svd
    return (u[:, :rank] * s[:rank]) @ vh[:rank], {}  # the best of all matrices of this rank (Eckart and Young 1936)


# -- CPD -----------------------------------------------------------------------------------------


def cpd_parameters(plan: Plan, rank: int) -> int:
    """r (a_1 + ... + a_n): one factor (a_k, r) per mode, the weights multiplied into one of them."""
    return rank * sum(plan.sizes)


def cpd_flops(plan: Plan, rank: int) -> int:
    """Floating-point operations (2 per multiply-add) of one ALS step over all n modes.

    Per mode: the Khatri-Rao product of the other factors (P / a_k, r), its product with the unfolding (a_k, P / a_k),
    the Gram matrices, and a solve with an (r, r) matrix; P = a_1 ... a_n.
    """
    entries, others = math.prod(plan.sizes), sum(plan.sizes)
    total = 0
    for size in plan.sizes:
        products = 2 * rank * entries // size + 2 * rank * entries
        grams = 2 * rank**2 * (others - size)
        solve = 2 * rank**3 // 3 + 2 * rank**2 * size
        total += products + grams + solve
    return total


def affordable_cpd_rank(
    plan: Plan, iterations: int = 20, seeds: int = 2, flops: float = 2e12, bytes: int = 1 << 30
) -> int:
    """The largest CPD rank whose fit stays within `flops` operations and `bytes` of memory; at least 1.

    Counted, not timed, so it is the same on every machine. Operations are those of all `iterations` of all `seeds`;
    memory is the largest Khatri-Rao product, float64, which tensorly writes out. CPD's rank at compression ratio rho
    is rho I J / sum a_k: 15,521 for the 5-mode embedding 30720x768 at rho = 0.1, where one Khatri-Rao product alone
    would take 122 GB.
    """

    def affordable(rank: int) -> bool:
        khatri_rao = 8 * rank * math.prod(plan.sizes) // min(plan.sizes)
        return khatri_rao <= bytes and iterations * seeds * cpd_flops(plan, rank) <= flops

    low, high = 1, 2
    while affordable(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if affordable(middle) else (low, middle)
    return low


def _cpd_limit(plan: Plan, options: Options) -> int:
    return affordable_cpd_rank(plan, options.iterations, len(options.seeds), options.flops, options.bytes)


def _cpd_rank(problem: _Problem, budget: int, options: Options) -> int | None:
    return min(budget // sum(problem.plan.sizes), _cpd_limit(problem.plan, options)) or None


def _cpd(problem: _Problem, rank: int, options: Options) -> Found:
    """Alternating least squares with line search from Gaussian factors, one start per seed; the best is kept.

    tensorly's own random start is uniform on [0, 1): all positive, hence nearly parallel columns; a Gaussian one
    is closer to what weights look like.
    """
    if not problem.norm:
        return torch.zeros_like(problem.matrix), {"errors": (0.0,) * len(options.seeds)}
    best, errors = None, []
    for seed in options.seeds:
        generator = torch.Generator("cpu").manual_seed(seed)
        start = [
            torch.randn(size, rank, generator=generator, dtype=torch.float64, device="cpu").to(problem.matrix.device)
            / size**0.5
            for size in problem.plan.sizes
        ]
        with _tensorly() as (tensorly, decompositions):
            ones = torch.ones(rank, dtype=torch.float64, device=problem.matrix.device)
            cpd, _ = decompositions.parafac(
                problem.tensor,
                rank,
                n_iter_max=options.iterations,
                init=(ones, start),
                tol=0,
                l2_reg=RIDGE,
                linesearch=True,
                return_errors=True,  # the line search compares with them
            )
            matrix = problem.from_tensor(tensorly.cp_to_tensor(cpd))
        errors.append(problem.error(matrix))
        if best is None or errors[-1] < min(errors[:-1]):
            best = matrix
    note = f"best of {len(errors)} starts of {options.iterations} iterations, spread {max(errors) - min(errors):.4f}"
    return best, {"errors": tuple(errors), "note": note}


# -- Tucker --------------------------------------------------------------------------------------


def tucker_parameters(plan: Plan, ranks: Sequence[int]) -> int:
    """r_1 ... r_n + (a_1 r_1 + ... + a_n r_n): the core, and a factor (a_k, r_k) per mode, also where r_k = a_k."""
    return math.prod(ranks) + sum(size * rank for size, rank in zip(plan.sizes, ranks))


def _tucker_ranks(problem: _Problem, budget: int, options: Options) -> tuple[int, ...] | None:
    return tucker_ranks(problem.plan, problem.tucker_kept, budget)


def _tucker(problem: _Problem, ranks: tuple[int, ...], options: Options) -> Found:
    """HOSVD, then higher-order orthogonal iteration (De Lathauwer et al. 2000), which gains little here."""
    if not problem.norm:
        return torch.zeros_like(problem.matrix), {}
    with _tensorly() as (tensorly, decompositions):
        tucker = decompositions.tucker(problem.tensor, list(ranks), n_iter_max=options.hooi, tol=1e-6)
        return problem.from_tensor(tensorly.tucker_to_tensor(tucker)), {}


# -- MPO -----------------------------------------------------------------------------------------


def mpo_parameters(plan: Plan, inner: Sequence[int]) -> int:
    """Sum of d_{k-1} i_k j_k d_k over the cores: the numerator of eq. 5. `inner`: d_1 .. d_{n-1}."""
    return plan.parameters([1, *inner, 1])


def _mpo_bonds(problem: _Problem, budget: int, options: Options) -> tuple[int, ...] | None:
    """The best of several choices, by the error of the cut: what two simple ones come to when bonds are traded.

    The simple ones are the greedy path, `MPO.truncate(ratio=)`, and one cap for all bonds, which is what the authors
    use. Both leave some of the budget, which is spent. On matrices of at most `MEASURED` entries the best is traded
    once more, by measured errors. No bond can then be widened by one, unless that made the error larger.
    """
    plan, kept = problem.plan, problem.mpo_kept
    if budget < mpo_parameters(plan, [1] * (plan.n - 1)):
        return None
    # half a number more, so that the division cannot round below a budget that is met exactly
    greedy = problem.mpo.truncate(ratio=(budget + 0.5) / math.prod(plan.padded)).bonds

    def capped(cap: int) -> list[int]:
        return [min(cap, full) for full in plan.full_bonds]

    def measured(bonds: Sequence[int]) -> float:
        # rounded, so that of two alike the first is taken, on every machine
        return round(1 - problem.mpo.truncate(bond=bonds[1:-1]).error() ** 2, 12)

    caps = range(1, max(plan.full_bonds) + 1)
    simple = greedy, capped(bisect.bisect_right(caps, budget, key=lambda cap: plan.parameters(capped(cap))))
    traded = [traded_bonds(plan, budget, bonds, kept) for bonds in simple]
    spent = [widened_bonds(plan, budget, bonds, kept) for bonds in (*traded, *simple)]
    candidates = [*spent, *simple]
    if math.prod(plan.padded) <= MEASURED:
        traded = traded_bonds(plan, budget, max(candidates, key=measured), measured)
        candidates = [widened_bonds(plan, budget, traded, measured), traded]
    return tuple(max(candidates, key=measured)[1:-1])


def _mpo(problem: _Problem, inner: tuple[int, ...], options: Options) -> Found:
    cut = problem.mpo.truncate(bond=inner, sweep=options.sweep)
    return cut.to_matrix(), {"note": "sequential sweep" if options.sweep else ""}


# -- the table, and the comparisons --------------------------------------------------------------

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("SVD", svd_parameters, _svd_rank, _svd),
        Method("CPD", cpd_parameters, _cpd_rank, _cpd),
        Method("Tucker", tucker_parameters, _tucker_ranks, _tucker),
        Method("MPO", mpo_parameters, _mpo_bonds, _mpo),
    )
}


@full_precision
def compare(
    matrix: torch.Tensor,
    ratios: Sequence[float],
    methods: Sequence[str] = tuple(METHODS),
    plan: Plan | None = None,
    n: int = 5,
    progress: bool | Callable[[str], None] = True,
    keep_matrices: bool = False,
    **options,
) -> list[Approximation]:
    """Every method at every compression ratio on one matrix (I, J), float64: MPOP Fig. 2a. Notebook 01, section 7.

    ratios: eq. 5; each method stores at most that share of the plan's (padded) entries and `.ratio` says how much it
    does. plan: by default `make_plan(shape, n)`. options: `seeds`, `iterations`, ... (see `Options`). Results come
    method by method, in the order of `ratios`. Where CPD's rank would pass the affordable one it is computed once, at
    that rank, with `.limited` set and a note that says where it stopped. A progress bar appears after two seconds;
    `progress` may also be a function that is told what comes next.

    Raises UnknownNameError, BondError, MatrixError or MatrixTypeError.
    """
    for method in methods:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
    settings, matrix = Options(**options), checked_matrix(matrix)
    plan = plan or make_plan(matrix.shape, n=n)
    budgets = [_budget(ratio, plan) for ratio in ratios]
    problem, results = _Problem(matrix, plan), []
    done: dict[tuple, Approximation] = {}
    tasks = list(itertools.product(methods, budgets))
    bar = tqdm(tasks, desc="approximating", disable=progress is not True, delay=2, leave=False)
    for step, (name, budget) in enumerate(bar):
        if callable(progress):
            progress(f"{name}, {step + 1} of {len(tasks)}")
        method = METHODS[name]
        rank = method._rank(problem, budget, settings)
        if (name, rank) not in done:
            found = method._fit(problem, rank, budget, settings)
            done[name, rank] = found if keep_matrices else replace(found, matrix=None)
        result = replace(done[name, rank], budget=budget)
        if name == "CPD" and (wanted := budget // sum(plan.sizes)) > rank:
            note = f"rank {wanted:,} would fit, not computed beyond rank {rank:,}; {result.note}"
            result = replace(result, limited=True, note=note)
        results.append(result)
    return results


def curve_over_n(
    matrix: torch.Tensor, ratios: Sequence[float], n: Sequence[int] = (3, 5, 7), progress: bool = True, **options
) -> dict[int, list[Approximation]]:
    """MPO's error against compression ratio for several numbers of cores: MPOP Fig. 2b. Notebook 01, section 7.

    n -> one approximation per ratio. Plans are those of `make_plan`; sizes without a usable factorization are padded,
    which the ratio's denominator then counts.
    """
    return {cores: compare(matrix, ratios, ("MPO",), n=cores, progress=progress, **options) for cores in n}


def _budget(ratio: float, plan: Plan) -> int:
    if not isinstance(ratio, numbers.Real) or not math.isfinite(ratio) or ratio <= 0:
        raise BondError(f"ratio = {ratio!r}: expected a positive number, e.g. 0.3.")
    return math.floor(ratio * math.prod(plan.padded) + 1e-6)  # 0.3 of 10 entries is 3, not 2


@contextmanager
def _tensorly() -> Iterator[tuple[Any, Any]]:
    """tensorly on torch for this thread, and as it was before afterwards; imported on first use (a second or two)."""
    import tensorly
    import tensorly.decomposition as decompositions

    with tensorly.backend_context("pytorch", local_threadsafe=True):
        yield tensorly, decompositions
