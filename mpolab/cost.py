"""What it costs to apply an MPO to activations: parameters, FLOPs, bytes, and milliseconds. Notebook 01, section 8.

Three ways to compute y = W x for `tokens` vectors x, all with the same result:

    "dense"    W is kept as a matrix; one matrix product.
    "rebuilt"  W is contracted from the cores each time, then one matrix product.
    "chained"  the cores are contracted with the activations one after another; W never exists.

FLOPs are floating-point operations, two per multiply-add, and count matrix products only (what
`torch.utils.flop_counter` counts). MPOP Table 2 is `table_2`; it leaves out the activations' own legs.

Items: mpop-tab2.
"""

from __future__ import annotations

import math
import statistics
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .decomposition import chain
from .errors import BondError, MatrixError, unknown
from .mpo import MPO
from .plans import Plan

WAYS = ("dense", "rebuilt", "chained")
ORDERS = ("left_to_right", "right_to_left")
FLOPS_PER_WRITE = 50  # to write one number of a chain's activations takes the time of about so many dense FLOPs
FLOPS_PER_REORDER = 600  # to put one entry of a rebuilt W in its place, from core order to rows and columns
CHUNK_BYTES = 256 << 20  # chained intermediates larger than this are made a slice of the tokens at a time


@dataclass(frozen=True)
class Cost:
    """What one way to apply an MPO costs, counted and not measured.

    way: one of `WAYS`. parameters: stored numbers. flops: for all tokens, two per multiply-add. activation_bytes: the
    most that is alive at once besides the stored numbers and the input, the output included. order: of the cores,
    for "chained". tokens: how many vectors.
    """

    way: str
    parameters: int
    flops: int
    activation_bytes: int
    tokens: int
    order: str = ""


# -- counting ------------------------------------------------------------------------------------


def dense_flops(plan: Plan, tokens: int) -> int:
    """2 I J per token."""
    return 2 * tokens * math.prod(plan.shape)


def rebuild_flops(plan: Plan, bonds: Sequence[int], order: str = "halves") -> int:
    """To contract the cores to W; no tokens in it.

    order: "halves" joins the two halves of the chain, each made the same way (what `MPO.to_matrix` does);
    "left_to_right" joins one core after another, 2 sum_k (a_1 ... a_k) d_{k-1} d_k.
    """
    bonds = _checked_bonds(plan, bonds)
    if order == "left_to_right":
        return 2 * sum(math.prod(plan.sizes[: k + 1]) * bonds[k] * bonds[k + 1] for k in range(1, plan.n))
    if order != "halves":
        raise unknown("order of a rebuild", order, ("halves", "left_to_right"))
    return _halves(plan.sizes, bonds)[0]


def _halves(sizes: Sequence[int], bonds: Sequence[int]) -> tuple[int, int]:
    """(flops, peak numbers) of contracting a chain by halves; a single core costs nothing and is no new memory."""
    if len(sizes) == 1:
        return 0, 0
    m = len(sizes) // 2
    left_flops, left_peak = _halves(sizes[:m], bonds[: m + 1])
    right_flops, right_peak = _halves(sizes[m:], bonds[m:])
    left_rows, right_cols = bonds[0] * math.prod(sizes[:m]), math.prod(sizes[m:]) * bonds[-1]
    product = 2 * left_rows * bonds[m] * right_cols
    left = left_rows * bonds[m] if m > 1 else 0  # numbers held by each half, if it is not a core
    right = bonds[m] * right_cols if len(sizes) - m > 1 else 0
    peak = max(left_peak, left + right_peak, left + right + left_rows * right_cols)
    return left_flops + right_flops + product, peak


def chained_flops(plan: Plan, bonds: Sequence[int], tokens: int = 1, order: str = "left_to_right") -> int:
    """To contract the cores with the activations one after another.

    From the left, core k meets activations of shape (i_1 .. i_{k-1}, d_{k-1}, j_k .. j_n) and costs
    2 (i_1 ... i_k) (j_k ... j_n) d_{k-1} d_k per token; from the right, the mirror image.
    """
    rows, cols, bonds = _ordered(plan, bonds, order)
    return (
        2
        * tokens
        * sum(math.prod(rows[: k + 1]) * math.prod(cols[k:]) * bonds[k] * bonds[k + 1] for k in range(plan.n))
    )


def best_order(plan: Plan, bonds: Sequence[int]) -> str:
    """The cheaper of the two directions; left to right where they tie."""
    return min(ORDERS, key=lambda order: chained_flops(plan, bonds, 1, order))


def costs(
    plan: Plan, bonds: Sequence[int], tokens: int, dtype: torch.dtype = torch.float32, chunk_bytes: int = CHUNK_BYTES
) -> dict[str, Cost]:
    """The cost of each of `WAYS` to apply an MPO of these n+1 `bonds` to `tokens` vectors. Notebook 01, section 8.

    Raises BondError for bonds or tokens that cannot be meant.
    """
    bonds = _checked_bonds(plan, bonds)
    if int(tokens) != tokens or tokens < 1:
        raise BondError(f"tokens = {tokens!r}: expected a whole number of at least 1, e.g. 512.")
    size, stored, matrix = dtype.itemsize, plan.parameters(bonds), math.prod(plan.shape)
    output, padded = tokens * plan.shape[0], math.prod(plan.padded)
    dense, rebuild = dense_flops(plan, tokens), rebuild_flops(plan, bonds)
    # a rebuilt W exists twice for a moment: legs in core order, then rows and columns apart
    rebuilt = max(_halves(plan.sizes, bonds)[1], 2 * padded, padded + output)
    order = best_order(plan, bonds)
    chained = chained_flops(plan, bonds, tokens, order)
    return {
        "dense": Cost("dense", matrix, dense, size * output, tokens),
        "rebuilt": Cost("rebuilt", stored, rebuild + dense, size * rebuilt, tokens),
        "chained": Cost(
            "chained", stored, chained, _chained_bytes(plan, bonds, tokens, order, size, chunk_bytes), tokens, order
        ),
    }


def choose(plan: Plan, bonds: Sequence[int], tokens: int, cached: bool = False) -> str:
    """The rule that picks a contraction: "reconstruct" or "factorized", whichever should take less time.

    "reconstruct" (W is rebuilt, then dense) spreads the rebuild over the tokens, so it wins from some number of tokens
    on; with a kept W (`cached`: nothing was trained since) it is the dense product alone. "factorized" is chained.

    Time is FLOPs, plus `FLOPS_PER_REORDER` for each entry of a rebuilt W, which is put in order once, plus
    `FLOPS_PER_WRITE` for each number of a chain's activations, written j_k times at core k. FLOPs alone would choose
    chains that are several times slower, because their products are long and thin. Both constants were measured on an
    x86-64 core; `measure` checks the choice elsewhere.
    """
    cost = costs(plan, bonds, tokens)
    rows, cols, met = _ordered(plan, bonds, cost["chained"].order)
    written = sum(math.prod(rows[: k + 1]) * math.prod(cols[k:]) * met[k + 1] for k in range(plan.n))  # per token
    chained = cost["chained"].flops + FLOPS_PER_WRITE * tokens * written
    rebuilt = cost["rebuilt"].flops + FLOPS_PER_REORDER * math.prod(plan.padded)
    return "factorized" if chained < (cost["dense"].flops if cached else rebuilt) else "reconstruct"


def _checked_bonds(plan: Plan, bonds: Sequence[int]) -> list[int]:
    bonds = list(bonds)
    if len(bonds) != plan.n + 1 or bonds[0] != 1 or bonds[-1] != 1 or min(bonds) < 1:
        raise BondError(
            f"bonds = {bonds}: expected {plan.n + 1} whole numbers of at least 1 with the outer ones, which are 1, "
            f"e.g. MPO.bonds; full ones are {list(plan.full_bonds)}."
        )
    return bonds


def _ordered(plan: Plan, bonds: Sequence[int], order: str) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Rows, columns and bonds as met on the way; the right-to-left ones reversed."""
    if order not in ORDERS:
        raise unknown("order of the cores", order, ORDERS)
    bonds, step = _checked_bonds(plan, bonds), 1 if order == "left_to_right" else -1
    return plan.rows[::step], plan.cols[::step], bonds[::step]


def _chained_numbers(plan: Plan, bonds: Sequence[int], order: str, tokens: int) -> int:
    """Most numbers alive at once: the activations before and after a core, and the slice of the core at work."""
    rows, cols, bonds = _ordered(plan, bonds, order)
    states = [tokens * math.prod(rows[:k]) * math.prod(cols[k:]) * bonds[k] for k in range(plan.n + 1)]
    slices = [bonds[k] * rows[k] * bonds[k + 1] for k in range(plan.n)]
    start = plan.padded[1] * (1 + (plan.padded[1] > plan.shape[1]))  # x with its legs in order; before that, padded
    end = plan.padded[0] * (1 + (order == "right_to_left"))  # from the right, the rows are put back in order
    return max(tokens * start, tokens * end, *(x + y + z for x, y, z in zip(states, states[1:], slices)))


def _chunk(plan: Plan, bonds: Sequence[int], order: str, itemsize: int, chunk_bytes: int) -> int:
    """How many tokens at a time keep the chained intermediates within about `chunk_bytes`; at least one."""
    fixed = _chained_numbers(plan, bonds, order, 0)
    each = _chained_numbers(plan, bonds, order, 1)
    return max(1, (chunk_bytes // itemsize - fixed) // each)


def _chained_bytes(plan: Plan, bonds: Sequence[int], tokens: int, order: str, itemsize: int, chunk_bytes: int) -> int:
    step = _chunk(plan, bonds, order, itemsize, chunk_bytes)
    if tokens <= step:
        return itemsize * _chained_numbers(plan, bonds, order, tokens)
    waiting, output = tokens * plan.padded[0], tokens * plan.shape[0]  # chunks keep their padded rows until joined
    before_last = (tokens - 1) // step * step * plan.padded[0]
    last = before_last + _chained_numbers(plan, bonds, order, tokens - (tokens - 1) // step * step)
    full = max(0, before_last - step * plan.padded[0]) + _chained_numbers(plan, bonds, order, step)
    return itemsize * max(full, last, waiting + output)


# -- MPOP Table 2 --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table2Row:
    """A row of MPOP Table 2 at one d: the printed expression's value and the exact multiply-adds per token."""

    method: str
    formula: str
    printed: int
    exact: int
    parameters: int


def table_2(plan: Plan, d: int) -> list[Table2Row]:
    """MPOP Table 2 worked out: inference cost of CP, Tucker, SVD and MPO for one token. Notebook 01, section 8.

    n cores, m = max i_k, d the rank: every bond of the MPO capped at d, CP of rank d, Tucker ranks min(d, a_k), SVD of
    rank d (at most min(I, J)). `printed` is the expression under the O; `exact` counts the multiply-adds (half the
    FLOPs) of the sequential contraction with one vector of J numbers, which has to be carried along: a factor of up to
    max(I, J) that the table leaves out. Tucker contracts the factors first and the core last.
    """
    if int(d) != d or d < 1:
        raise BondError(f"d = {d!r}: a rank is a whole number of at least 1.")
    n, m, (height, width) = plan.n, max(plan.rows), plan.shape
    ranks, bonds = [min(d, size) for size in plan.sizes], [min(d, full) for full in plan.full_bonds]
    singular = min(d, height, width)
    one = [1] * (n + 1)  # CP: d Kronecker products, each an MPO with all bonds 1
    core, carried = math.prod(ranks), [math.prod(ranks[:k]) for k in range(n + 1)]
    tucker = sum(
        carried[k + 1] * math.prod(plan.rows[: k + 1]) * math.prod(plan.cols[k:]) for k in range(n)
    ) + core * math.prod(plan.rows)
    rank_1 = min(chained_flops(plan, one, 1, order) for order in ORDERS) // 2
    mpo = chained_flops(plan, bonds, 1, best_order(plan, bonds)) // 2
    return [
        Table2Row("CP", "n m d^2", n * m * d**2, d * rank_1, d * sum(plan.sizes)),
        Table2Row(
            "Tucker",
            "n m d + d^n",
            n * m * d + d**n,
            tucker,
            core + sum(size * rank for size, rank in zip(plan.sizes, ranks)),
        ),
        Table2Row("SVD", "2 m d^3", 2 * m * d**3, singular * (height + width), singular * (height + width)),
        Table2Row("MPO", "n m d^3", n * m * d**3, mpo, plan.parameters(bonds)),
    ]


# -- doing it ------------------------------------------------------------------------------------


def apply(
    mpo: MPO, x: torch.Tensor, way: str = "chained", weight: torch.Tensor | None = None, chunk_bytes: int = CHUNK_BYTES
) -> torch.Tensor:
    """y = W x: x (..., J) -> (..., I), in the MPO's dtype; the same for every way up to rounding.

    way: one of `WAYS`. weight: the kept W (I, J) for "dense"; rebuilt here if it is not given. chunk_bytes: chained
    intermediates that would be larger are made a slice of the tokens at a time.

    Raises UnknownNameError for another way, MatrixError where x does not fit.
    """
    if way not in WAYS:
        raise unknown("way to apply an MPO", way, WAYS)
    if x.shape[-1] != mpo.shape[1]:
        raise MatrixError(f"x has {x.shape[-1]} entries in its last dimension; this matrix takes {mpo.shape[1]}.")
    x = x.to(mpo.dtype)
    if way != "chained":
        return linear(x, weight if way == "dense" and weight is not None else mpo.to_matrix())
    plan, order = mpo.plan, best_order(mpo.plan, mpo.bonds)
    flat = x.reshape(-1, mpo.shape[1])  # (tokens, J)
    step = _chunk(plan, mpo.bonds, order, x.dtype.itemsize, chunk_bytes)
    if not len(flat):
        return x.new_zeros(*x.shape[:-1], mpo.shape[0])
    chunks = [chain(mpo.cores, plan, chunk, mirrored=order == "right_to_left") for chunk in flat.split(step)]
    y = chunks[0] if len(chunks) == 1 else torch.cat(chunks)
    return y.reshape(*x.shape[:-1], mpo.shape[0])


# -- measuring it --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """milliseconds: median over the repeats, different in every run, so it belongs into no text. peak_bytes: the most
    alive at once besides input and stored numbers. flops: as counted by `costs`."""

    way: str
    milliseconds: float
    peak_bytes: int
    flops: int

    @property
    def gflops(self) -> float:
        """Billions of FLOPs per second."""
        return self.flops / self.milliseconds / 1e6


def measure(
    mpo: MPO, tokens: int, ways: Sequence[str] = WAYS, repeats: int = 7, warmup: int = 2, seed: int = 0
) -> dict[str, Measured]:
    """Times every way of applying an MPO to `tokens` vectors, on its device and in its dtype. Notebook 01, section 8.

    Interleaved (A B C A B C ...) after `warmup` rounds, so that a busy machine disturbs all alike; medians of
    `repeats`. Peak memory is CUDA's own count on a GPU. On a CPU it adds up the tensors that live during a call, seen
    at every operation (`torch.utils._python_dispatch`): exact for tensors, blind to what a kernel allocates inside
    itself. The stored W of "dense" is made beforehand and not counted.
    """
    for way in ways:
        if way not in WAYS:
            raise unknown("way to apply an MPO", way, WAYS)
    counted = costs(mpo.plan, mpo.bonds, tokens, mpo.dtype)
    device = mpo.cores[0].device
    generator = torch.Generator("cpu").manual_seed(seed)
    x = torch.randn(tokens, mpo.shape[1], generator=generator, device="cpu").to(device, mpo.dtype)
    with torch.no_grad():
        kept = mpo.to_matrix().contiguous()

        def call(way: str) -> None:
            apply(mpo, x, way, kept if way == "dense" else None)

        peaks = {way: _peak_bytes(lambda way=way: call(way), device) for way in ways}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(warmup + repeats):
            for way in ways:
                milliseconds = _milliseconds(lambda way=way: call(way), device)
                if turn >= warmup:
                    times[way].append(milliseconds)
    return {way: Measured(way, statistics.median(times[way]), peaks[way], counted[way].flops) for way in ways}


def gemm_rate(
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", size: int = 1024, repeats: int = 5
) -> float:
    """GFLOP/s of a (size, size) matrix product here and now: the best of `repeats`, with torch's current threads."""
    device = torch.device(device)
    generator = torch.Generator("cpu").manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator, device="cpu").to(device, dtype) for _ in range(2))
    best = min(_milliseconds(lambda: a @ b, device) for _ in range(repeats + 1))
    return 2 * size**3 / best / 1e6


def _milliseconds(call, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) * 1e3


def _peak_bytes(call, device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with _Tensors() as seen:
        call()
    return seen.peak


class _Tensors(TorchDispatchMode):
    """Adds up the bytes of the storages that operations make while it is entered, as long as they live."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self._known = 0, 0, weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(result):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            if id(storage) in inputs or storage in self._known:
                continue  # a view, or an operation in place
            self._known.add(storage)
            self.live += storage.nbytes()
            weakref.finalize(storage, self._freed, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return result

    def _freed(self, nbytes: int) -> None:
        self.live -= nbytes
