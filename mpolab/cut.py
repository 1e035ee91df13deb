"""One local cut: a bond of a chain of cores lowered at the least cost to the *current* matrix, nothing else touched.

At bond k the matrix is W = L R, with L (rows, d) the cores left of it and R (d, columns) those right of it. Training
moves the cores, so the bond's index no longer runs over Schmidt vectors and slicing it would throw away the wrong
things. The best approximation of rank d' = d - r at this bond projects the bond's index alone,

    W' = L (1 - N M) R,   N (d, r), M (r, d), M N = 1,

and the r discarded directions follow from the two Gram matrices L^T L and R R^T: no SVD of anything long. `Cut` holds
what the projection does to the two cores that meet at the bond; every other core keeps its numbers and its gauge.

Which basis the kept space gets is free. Here the core on the centre's side is multiplied by the orthonormal basis that
lies nearest to the old index with r of its values left out. So a canonical chain stays canonical, a cut of a fresh
decomposition is the slice of `MPO.truncate`, and in a trained chain each kept value means nearly what it meant before.
MPOP (Liu et al. 2021) section 4.2 and Algorithm 2, line 5; taught in notebook 02, "Squeezing".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .decomposition import full_precision, in_safe_range
from .errors import BondError, MatrixError, MatrixTypeError
from .plans import Plan
from .source import padding_energy

SLABS, BLOCKS = 2, 4  # products as long as the matrix: slabs of the long side, blocks of the others
LARGE = 300_000  # numbers in a core above which they pay
RESOLVED = 1e-2  # singular values below this share of the largest are too small for float32 Gram matrices
WELL_CONDITIONED = 1e-4  # smallest over largest diagonal entry of a Cholesky factor that may be divided by
NULL = 1e-14  # eigenvalues of a Gram matrix below this share of its largest, times its size, count as zero
SPARE = 16  # directions that are looked at beyond those to be discarded, when float32 has chosen them


# -- what a cut does -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Map:
    """A (d', d) matrix S + U V^T on a bond's index: S picks the values `keep`, U (d', s) and V (d, s) correct them.

    float64; s is r or 2 r, so that applying it costs s passes over a core instead of d'.
    """

    keep: torch.Tensor
    U: torch.Tensor
    V: torch.Tensor

    def on_last(self, tensor: torch.Tensor) -> torch.Tensor:
        """(..., d) -> (..., d') in the tensor's dtype: the left of the two cores on a bond."""
        flat = tensor.detach().reshape(-1, tensor.shape[-1]).to(_precise(tensor))
        new = flat.index_select(1, self.keep).addmm_(flat @ self.V.to(flat), self.U.T.to(flat))
        return new.reshape(*tensor.shape[:-1], -1).to(tensor.dtype)

    def on_first(self, tensor: torch.Tensor) -> torch.Tensor:
        """(d, ...) -> (d', ...): the right one."""
        flat = tensor.detach().reshape(tensor.shape[0], -1).to(_precise(tensor))
        new = flat.index_select(0, self.keep).addmm_(self.U.to(flat), self.V.T.to(flat) @ flat)
        return new.reshape(-1, *tensor.shape[1:]).to(tensor.dtype)

    def dense(self) -> torch.Tensor:
        """The matrix itself, (d', d)."""
        return self.on_first(torch.eye(self.V.shape[0], dtype=self.V.dtype, device=self.V.device))


def _precise(tensor: torch.Tensor) -> torch.dtype:
    """Float32 for a CPU's float32 and shorter; else float64 (a GPU may be set to multiply float32 as TF32)."""
    return torch.float64 if tensor.dtype == torch.float64 or tensor.device.type != "cpu" else torch.float32


@dataclass(frozen=True)
class Cut:
    """With P (d, d') = `left`^T and Q (d', d) = `right`: T_k -> T_k P and T_{k+1} -> Q T_{k+1} at bond k = `bond`.

    error: ||W' - W|| / ||W||, Frobenius; exact up to the rounding of the cores' dtype. Q P = 1.
    """

    bond: int
    left: Map
    right: Map
    error: float

    @torch.no_grad()
    @full_precision
    def on_cores(self, cores: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The chain after the cut: cores `bond - 1` and `bond` (from 0) are new, the others the same objects."""
        new = list(cores)
        new[self.bond - 1] = self.left.on_last(new[self.bond - 1])
        new[self.bond] = self.right.on_first(new[self.bond])
        return new

    @torch.no_grad()
    @full_precision
    def on_gradient(self, k: int, gradient: torch.Tensor) -> torch.Tensor:
        """A gradient with respect to core k = `bond - 1` or `bond`, seen from the cut core.

        W depends on the new left core through T'_k Q T_{k+1}, so by the chain rule dL/dT'_k = dL/dT_k Q^T, and
        likewise dL/dT'_{k+1} = P^T dL/dT_{k+1}: each takes the *other* core's map. That is exact for a change of basis
        (d' = d) and for a cut that loses nothing; else it is the gradient at W instead of at W'.
        """
        return self.right.on_last(gradient) if k == self.bond - 1 else self.left.on_first(gradient)


@torch.no_grad()
@full_precision
def find_cut(
    cores: Sequence[torch.Tensor], bond: int, keep: int, plan: Plan | None = None, fixed_row: int | None = None
) -> Cut:
    """The best cut of bond 1 .. n-1 to `keep` values, whatever the gauge; the cores themselves are not changed.

    cores: n tensors (d_{k-1}, i_k, j_k, d_k). Everything is computed in float64, but for one thing: a CPU multiplies
    float32 cores in float32 where the product is as long as the matrix, adding up in float64 (and does it again in
    float64 where a singular value is too small to be seen so). Directions that the cores do not use go first, for free.
    plan, fixed_row: what `error` does not count: the padding of a padded plan, and the one row (an embedding's
    padding_idx) that the layer does not take from the cores.

    Raises BondError for a bond or a size that is not there, MatrixError where a core holds NaN or infinity.
    """
    if not 1 <= bond < len(cores):
        raise BondError(f"bond = {bond}: {len(cores)} cores have the inner bonds 1 to {len(cores) - 1}.")
    size = cores[bond].shape[0]
    if not 1 <= keep <= size:
        raise BondError(f"bond {bond} has {size} values; keep = {keep} must lie between 1 and {size}.")
    scaled = []
    for k, core in enumerate(cores):
        if core.is_meta:
            raise MatrixTypeError("cores on the meta device have no values, so nothing says what to cut; load them.")
        flat = core.detach().reshape(core.shape[0], -1, core.shape[-1]).to(_precise(core))
        flat, scale = in_safe_range(flat)
        if not math.isfinite(scale):
            raise MatrixError(f"core {k} holds NaN or infinity: the training diverged before bond {bond} could be cut.")
        scaled.append(flat)
    if any(core.dtype == torch.float64 for core in scaled):
        scaled = [core.double() for core in scaled]
    outer_left = bond <= len(cores) // 2  # the side without the centre
    found = _Directions(scaled, bond, size - keep, outer_left)
    energy, total = found.energy, found.total
    if plan is not None and (plan.is_padded or fixed_row is not None) and total > 0:
        energy -= _unseen(found.lost_cores(scaled), plan, fixed_row)
        total -= _unseen([core.double() for core in scaled], plan, fixed_row)
    error = math.sqrt(max(energy, 0.0) / total) if total > 0 else 0.0
    outer, inner = _maps(found.N, found.M)
    return Cut(bond, *((outer, inner) if outer_left else (inner, outer)), error)


def _unseen(cores: Sequence[torch.Tensor], plan: Plan, row: int | None) -> float:
    """Squared norm of what the cores (d_{k-1}, a_k, d_k) put into the padding and into one row."""
    energy = padding_energy(cores, plan) if plan.is_padded else 0.0
    if row is not None:
        state = cores[0].new_ones(1, 1)  # (columns so far, bond)
        for k, core in enumerate(cores):
            digit = row // math.prod(plan.rows[k + 1 :]) % plan.rows[k]
            legs = core.reshape(core.shape[0], plan.rows[k], plan.cols[k], -1)[:, digit]  # (d_{k-1}, j_k, d_k)
            state = torch.tensordot(state, legs, dims=1).reshape(-1, legs.shape[-1])
        energy += float(state[: plan.shape[1]].square().sum())
    return energy


# -- the discarded directions ----------------------------------------------------------------------


class _Directions:
    """The r directions to discard at a bond: N (d, r) on the side without the centre, M (r, d) on the centre's.

    cores: (d_{k-1}, a_k, d_k), all of one dtype. energy = ||W - W'||^2, total = ||W||^2, padding included.
    """

    def __init__(self, cores: list[torch.Tensor], bond: int, r: int, outer_left: bool):
        self.bond, self.outer_left = bond, outer_left
        outside, inside = cores[:bond], cores[bond:]  # both with the bond's own core ...
        if not outer_left:
            outside, inside = cores[: bond - 1 : -1], cores[bond - 1 :: -1]
        core, is_double = inside[0], cores[0].dtype == torch.float64
        beyond = _gram(inside[:0:-1], core, not outer_left, is_double)  # ... and the centre's side without it
        outer = _gram(outside, core, outer_left, True)
        root, inverse, null = _root(outer)
        for exact in (True,) if is_double else (False, True):
            inner = _absorbed(core, beyond, not outer_left, exact)
            values, u = _smallest(root, inner, r, exact)
            if not len(values) or values[0] > RESOLVED**2 * values[-1]:
                break
        # What the outer cores do not use is thrown away first, then the smallest singular values.
        null = null[:, null.shape[1] - min(r, null.shape[1]) :]
        u = u[:, : r - null.shape[1]]
        self.used = u.shape[1]
        self.N = torch.cat([inverse(u), null], dim=1)
        self.M = torch.cat([u.T @ root, null.T])
        # The energy from the discarded part itself: a small eigenvalue is a difference of large numbers.
        M, factor = self.M[: self.used], _lower_root(beyond)
        if outer_left:
            self.lost = torch.tensordot(M.to(core), core, dims=1).double()  # (r, a, d_{k+1})
            weighted = self.lost @ factor
        else:
            self.lost = (core @ M.T.to(core)).double()  # (d_{k-1}, a, r)
            weighted = torch.tensordot(factor.T, self.lost, dims=1)
        self.energy = float(weighted.square().sum())  # the outer side, L N, has orthonormal columns
        self.total = max(0.0, float((outer * inner).sum()))

    def lost_cores(self, cores: list[torch.Tensor]) -> list[torch.Tensor]:
        """Cores whose product is W - W', in float64."""
        chain, N, k = [core.double() for core in cores], self.N[:, : self.used], self.bond
        if self.outer_left:
            chain[k - 1], chain[k] = chain[k - 1] @ N, self.lost
        else:
            chain[k - 1], chain[k] = self.lost, torch.tensordot(N.T, chain[k], dims=1)
        return chain


def _gram(cores: Sequence[torch.Tensor], like: torch.Tensor, from_left: bool, exact: bool) -> torch.Tensor:
    """L^T L of cores listed from the left end inwards, or R R^T of cores listed from the right end: float64."""
    gram = like.new_ones(1, 1, dtype=torch.float64)
    for core in cores:
        gram = _absorbed(core, gram, from_left, exact)
    return gram


def _absorbed(core: torch.Tensor, gram: torch.Tensor, from_left: bool, exact: bool) -> torch.Tensor:
    """A Gram matrix one core further in: sum_a T_a^T G T_a (from the left) or sum_a T_a G T_a^T, (d, a, e) cores.

    With G = F F^T it is the Gram matrix of F^T T (or of T F). F is triangular and the result symmetric, so of the 4 x 4
    blocks of both products 10 are multiplied. `exact`: in float64; else in float32, and blocks added up in float64.
    """
    d, _, e = core.shape
    dtype = torch.float64 if exact else torch.float32
    core, factor = core.to(dtype), _lower_root(gram).to(dtype)
    size = e if from_left else d
    result = gram.new_zeros(size, size)
    slabs, blocks = (SLABS, BLOCKS) if core.numel() >= LARGE else (1, 1)
    width, height = -(-len(factor) // blocks), -(-size // blocks)
    for k in range(0, len(factor), width):
        F = factor[k:, k : k + width]
        if from_left:
            half = (F.T @ core.reshape(d, -1)[k:]).reshape(-1, e).T  # (e, width a)
        else:
            half = (core.reshape(-1, e)[:, k:] @ F).reshape(d, -1)  # (d, a width)
        for slab in half.chunk(slabs, dim=1):
            for row in range(0, size, height):
                result[row : row + height, row:] += slab[row : row + height] @ slab[row:].T
    return result.triu() + result.triu(1).T


def _lower_root(gram: torch.Tensor) -> torch.Tensor:
    """Lower triangular F with F F^T = gram, also where that is singular."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    if not failed:
        return factor
    values, vectors = torch.linalg.eigh(gram)
    return torch.linalg.qr((vectors * values.clamp(min=0).sqrt()).T).R.T


def _root(gram: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:
    """X (m, d) with X^T X = gram, its pseudo-inverse as a function, and a basis of its null space (d, d-m).

    Cholesky's factor where it can be divided by; else eigenvectors, with what counts as zero split off.
    """
    factor, failed = torch.linalg.cholesky_ex(gram)
    diagonal = factor.diagonal()
    if not failed and float(diagonal.min()) > WELL_CONDITIONED * float(diagonal.max()):
        upper = factor.T
        return upper, lambda u: torch.linalg.solve_triangular(upper, u, upper=True), gram[:, :0]
    values, vectors = torch.linalg.eigh(gram)
    used = values > NULL * len(values) * values[-1].clamp(min=0)
    scale, basis = values[used].sqrt(), vectors[:, used]
    return scale[:, None] * basis.T, lambda u: basis @ (u / scale[:, None]), vectors[:, ~used]


def _smallest(root: torch.Tensor, gram: torch.Tensor, r: int, exact: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues of X G X^T, ascending, and the vectors of (at least) the r smallest; X (m, d), G (d, d).

    With X^T X = L^T L and G = R R^T they are W's squared singular values. A Gram matrix from float32 products is solved
    in float32, in half the time, and the lowest directions so found are sorted out among themselves in float64.
    """
    if exact:
        return torch.linalg.eigh(root @ gram @ root.T)
    half = root.float()
    values, vectors = torch.linalg.eigh(half @ gram.float() @ half.T)
    lowest = torch.linalg.qr(vectors[:, : r + SPARE].double()).Q
    seen = root.T @ lowest  # (d, r + SPARE)
    return values.double(), lowest @ torch.linalg.eigh(seen.T @ gram @ seen).eigenvectors


# -- the basis of what is kept ---------------------------------------------------------------------


def _maps(N: torch.Tensor, M: torch.Tensor) -> tuple[Map, Map]:
    """From the discarded directions to the two maps: P^T for the side without the centre, Q for the centre's side.

    Let p (d, r) be an orthonormal basis of N's columns, and K the index without the r values J where p is largest. Q^T
    is the orthonormal basis of p's complement nearest to the unit vectors of K (a polar factor), and
    P = (1 - N M) Q^T. With the SVD p_J = A s B^T and F = B 1/(s (1 + s)) B^T,

        Q^T = E_K + D p_K^T,   D = E_K p_K F - p B 1/s B^T.
    """
    p = torch.linalg.qr(N).Q
    d, r = p.shape
    order = list(range(d))
    for position, pivot in enumerate(torch.linalg.lu_factor(p).pivots.tolist() if r else ()):
        order[position], order[pivot - 1] = order[pivot - 1], order[position]
    keep = torch.tensor(sorted(order[r:]), dtype=torch.long, device=N.device)
    _, s, Bt = torch.linalg.svd(p[order[:r]])
    p_K = p[keep]  # (d', r)
    D = -p @ (Bt.T @ (Bt / s[:, None]))  # (d, r)
    D[keep] += p_K @ (Bt.T @ (Bt / (s * (1 + s))[:, None]))
    kept = M[:, keep] + (M @ D) @ p_K.T  # M Q^T, (r, d')
    return Map(keep, torch.cat([p_K, kept.T], 1), torch.cat([D, -N], 1)), Map(keep, p_K, D)
