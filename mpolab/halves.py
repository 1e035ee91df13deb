"""The default method: both halves of a matrix by their Gram matrices, and the centre as what remains.

A Gram matrix of a half is small, its eigenvectors are the half's Schmidt basis, and its partial traces are the Gram
matrices of the bonds further out: one eigendecomposition a bond, and no SVD of a long unfolding anywhere. Shapes as in
`mpolab.decomposition`. Taught in notebook 01, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .decomposition import Cores, both_ends, checked_matrix, full_precision, in_safe_range, pad, to_tensor
from .errors import PlanError
from .plans import Plan

Schmidt = tuple[torch.Tensor, torch.Tensor | None]  # singular values (d_k,), largest first, and basis (size, d_k)

GRAM_BLOCKS = 4  # a Gram matrix is symmetric: in 4 block rows only 10 of 16 blocks are multiplied
GRAM_SLAB_BYTES = 8 << 20  # how much of the matrix is held in float64 at a time while a Gram matrix adds up
FLOAT32_SLAB = 1024  # terms that are added up in float32 before float64 takes over
FLOAT32_PAYS = 1e7  # multiply-adds from which on float32 products are worth it
RESOLVED = 1e-2  # where the smallest singular value is below this share of the largest, float64 does it again
DOMINATED = 0.9  # from this share of the squared norm in one singular value on, the centre is multiplied in float64


class Halves:
    """A matrix as left half, central leg and right half, with the Schmidt basis of every bond.

    The left bases are the eigenvectors of the left half's Gram matrix (l, l) and of its partial traces, l = a_1 ..
    a_{c-1}; the right ones likewise. A Gram matrix squares singular values, so what is below about 1.5e-8 of the
    largest is lost in float64. For float32 and half-precision matrices that is less than the rounding of their entries;
    large ones are multiplied in float32 (off by some 1e-7 of the largest at worst) unless some singular value is
    small. For float64 matrices `refine` recovers most of the digits from the centre; where those of tiny singular
    values matter, use `method="left_to_right"`.
    """

    def __init__(self, matrix: torch.Tensor, plan: Plan, vectors: bool = True):
        self.plan, c = plan, plan.centre
        self.left_size, self.right_size = math.prod(plan.sizes[:c]), math.prod(plan.sizes[c + 1 :])
        self.block = _three_legs(matrix, plan)  # (l, a_c, r), legs of a half grouped as (i.., j..)
        # bonds 1 .. c from the left half, c+1 .. n-1 from the right
        left = self._solve(self.block.reshape(self.left_size, -1), True, slice(0, c), vectors)
        right = self._solve(self.block.reshape(-1, self.right_size), False, slice(c + 1, None), vectors)
        self.spectra = [s for s, _ in left + right]  # bonds 1 .. n-1, each (d_k,)
        self.bases = [u for _, u in left + right]  # bonds 1 .. n-1, each (half's size, d_k)

    def _solve(self, unfolding: torch.Tensor, from_left: bool, legs: slice, vectors: bool) -> list[Schmidt]:
        """Schmidt values and bases of the bonds of one half, in bond order."""
        rows, cols, sizes = self.plan.rows[legs], self.plan.cols[legs], self.plan.sizes[legs]
        if not sizes:
            return []
        exact = unfolding.dtype == torch.float64 or unfolding.numel() * math.prod(sizes) < FLOAT32_PAYS
        gram = _paired(_gram(unfolding, from_left, exact), rows, cols)
        solved = _schmidt(gram, vectors)
        if not exact and solved[0][-1] < RESOLVED * solved[0][0]:  # too small to be seen in float32
            gram = _paired(_gram(unfolding, from_left, True), rows, cols)
            solved = _schmidt(gram, vectors)
        outer = [_schmidt(traced, vectors) for traced in _partial_traces(gram, sizes, from_left)]
        return [*outer, solved] if from_left else [solved, *outer]

    @staticmethod
    def fits(plan: Plan) -> bool:
        """Whether every bond left of the centre is full from the left, and right of it from the right."""
        full, sizes, c = plan.full_bonds, plan.sizes, plan.centre
        left = all(full[k] == math.prod(sizes[:k]) for k in range(1, c + 1))
        return left and all(full[k] == math.prod(sizes[k:]) for k in range(c + 1, plan.n))

    def left_cores(self) -> Cores:
        """Cores 1 .. c-1 at full bonds: core k is basis k seen from basis k-1, (U_{k-1}^T x 1) U_k."""
        cores: Cores = []
        for k, size in enumerate(self.plan.sizes[: self.plan.centre]):
            basis = self.bases[k]  # (a_1 .. a_k, d_k)
            if k == 0:
                cores.append(basis[None])  # (1, a_1, d_1)
            else:
                before = self.bases[k - 1]
                folded = before.T @ basis.reshape(before.shape[0], -1)  # (d_{k-1}, a_k d_k)
                cores.append(folded.reshape(before.shape[1], size, -1))
        return cores

    def right_cores(self) -> Cores:
        """Cores c+1 .. n at full bonds, from the right: core k is basis k-1 seen from basis k."""
        cores: Cores = []
        c = self.plan.centre
        for k in range(c + 1, self.plan.n):
            basis = self.bases[k - 1]  # (a_k .. a_n, d_{k-1}), k counted from 0
            if k == self.plan.n - 1:
                cores.append(basis.T[:, :, None])  # (d_{n-1}, a_n, 1)
            else:
                after = self.bases[k]  # (a_{k+1} .. a_n, d_k)
                unfolded = basis.T.reshape(-1, after.shape[0]) @ after  # (d_{k-1} a_k, d_k)
                cores.append(unfolded.reshape(basis.shape[1], self.plan.sizes[k], -1))
        return cores

    def centre_core(self, left_bond: int, right_bond: int) -> torch.Tensor:
        """What remains between the two bases, cut to the given bonds: (left_bond, a_c, right_bond), U^T M V.

        In the matrix's own precision, unless one singular value outweighs all others: there the sums are long ones of
        like terms (think of all entries equal), whose rounding in float32 adds up to 20 eps instead of 4.
        """
        c, block = self.plan.centre, self.block
        squares = self.spectra[c - 1] ** 2
        if block.dtype == torch.float32 and float(squares[0]) > DOMINATED * float(squares.sum()):
            return self._double_centre_core(left_bond, right_bond)
        u = _unpaired_rows(self.bases[c - 1], self.plan.rows[:c], self.plan.cols[:c])[:, :left_bond].to(block)
        half = self.left_size, self.plan.sizes[c], self.right_size  # (l, a_c, r)
        if self.right_size == 1:  # n = 2: nothing right of the centre
            return (u.T @ block.reshape(half[0], -1)).reshape(left_bond, half[1], 1)
        v = _unpaired_rows(self.bases[c], self.plan.rows[c + 1 :], self.plan.cols[c + 1 :])[:, :right_bond].to(block)
        # the half that shrinks the most goes first
        if left_bond * half[2] <= right_bond * half[0]:
            rest = u.T @ block.reshape(half[0], -1)  # (d_left, a_c r)
            core = rest.reshape(-1, half[2]) @ v  # (d_left a_c, d_right)
        else:
            rest = block.reshape(-1, half[2]) @ v  # (l a_c, d_right)
            core = u.T @ rest.reshape(half[0], -1)  # (d_left, a_c d_right)
        return core.reshape(left_bond, half[1], right_bond)

    def _double_centre_core(self, left_bond: int, right_bond: int) -> torch.Tensor:
        """`centre_core` with products in float64, one slice of the central leg at a time (twice the time)."""
        c, plan = self.plan.centre, self.plan
        u = _unpaired_rows(self.bases[c - 1], plan.rows[:c], plan.cols[:c])[:, :left_bond]
        v = u.new_ones(1, 1)
        if self.right_size > 1:
            v = _unpaired_rows(self.bases[c], plan.rows[c + 1 :], plan.cols[c + 1 :])[:, :right_bond]
        core = self.block.new_empty(left_bond, plan.sizes[c], right_bond)
        for a in range(plan.sizes[c]):
            core[:, a] = u.T @ (self.block[:, a].double() @ v)
        return core


def refine(cores: Cores, spectra: list[torch.Tensor], centre: int) -> tuple[Cores, list[torch.Tensor]]:
    """Singular values from float64 cores instead of from M's Gram matrices: what squaring lost comes back.

    s_i^2 is what basis vector i of a bond carries of the matrix, exactly, also where vectors of tiny values are mixed:
    the diagonal of the centre's own Gram matrix, and one bond further out of that matrix seen through the core between.
    In the bases of the centre those are nearly diagonal, so that nothing large cancels. Sums of s_i^2 over a cut are
    therefore what it discards. Values that rounding left out of order are put in order, with their basis.
    """
    cores, spectra, n = list(cores), list(spectra), len(cores)
    gram = cores[centre].new_ones(1, 1)
    for bond in range(centre, 0, -1):  # bond `bond` lies left of core `bond`; outwards to the left
        if bond == centre:
            gram = _gram(cores[bond].reshape(cores[bond].shape[0], -1), True, exact=True)  # (d, d)
        else:
            seen = torch.tensordot(cores[bond], gram, dims=1)  # (d_bond, a, d_{bond+1})
            gram = torch.tensordot(seen, cores[bond], dims=([1, 2], [1, 2]))  # (d_bond, d_bond)
        spectra[bond - 1], gram = _in_order(gram, cores, bond)
    for bond in range(centre + 1, n):  # and outwards to the right: bond `bond` lies right of core `bond - 1`
        if bond == centre + 1:
            gram = _gram(cores[centre].reshape(-1, cores[centre].shape[2]), False, exact=True)
        else:
            seen = torch.tensordot(gram, cores[bond - 1], dims=1)  # (d_{bond-1}, a, d_bond)
            gram = torch.tensordot(cores[bond - 1], seen, dims=([0, 1], [0, 1]))  # (d_bond, d_bond)
        spectra[bond - 1], gram = _in_order(gram, cores, bond)
    return cores, spectra


def _in_order(gram: torch.Tensor, cores: Cores, bond: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Singular values from the diagonal, largest first; basis (in place in the list of cores) and matrix follow."""
    values, index = gram.diagonal().clamp(min=0).sqrt().sort(descending=True, stable=True)
    if not torch.equal(index, torch.arange(len(index), device=index.device)):
        cores[bond - 1], cores[bond] = cores[bond - 1][:, :, index], cores[bond][index]
        gram = gram[index][:, index]
    return values.double(), gram


def _three_legs(matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(I, J) -> (l, a_c, r) as (i_left j_left, i_c j_c, i_right j_right), contiguous, at most one copy."""
    c = plan.centre
    rows = math.prod(plan.rows[:c]), plan.rows[c], math.prod(plan.rows[c + 1 :])
    cols = math.prod(plan.cols[:c]), plan.cols[c], math.prod(plan.cols[c + 1 :])
    legs = pad(matrix, plan).reshape(*rows, *cols).permute(0, 3, 1, 4, 2, 5)
    return legs.reshape(rows[0] * cols[0], rows[1] * cols[1], rows[2] * cols[2])


def _paired(gram: torch.Tensor, rows: Sequence[int], cols: Sequence[int]) -> torch.Tensor:
    """Gram matrix over (i_1 .. i_m, j_1 .. j_m) -> over (i_1 j_1, ..., i_m j_m): a small permutation on both sides."""
    m, size = len(rows), gram.shape[0]
    paired = [axis for k in range(m) for axis in (k, m + k)]
    legs = gram.reshape([*rows, *cols, *rows, *cols])
    return legs.permute(paired + [2 * m + axis for axis in paired]).reshape(size, size)


def _unpaired_rows(basis: torch.Tensor, rows: Sequence[int], cols: Sequence[int]) -> torch.Tensor:
    """Basis with rows (i_1 j_1, ..., i_m j_m) -> rows (i_1 .. i_m, j_1 .. j_m), the order of `_three_legs`."""
    m = len(rows)
    legs = basis.reshape([size for pair in zip(rows, cols) for size in pair] + [-1])
    return legs.permute([2 * k for k in range(m)] + [2 * k + 1 for k in range(m)] + [2 * m]).reshape(basis.shape)


def _gram(unfolding: torch.Tensor, of_rows: bool, exact: bool) -> torch.Tensor:
    """X X^T of X (m, K), or X^T X of X (K, m): (m, m) in float64, a slab of the long side at a time.

    `exact` multiplies in float64. Else each slab is multiplied in X's own float32 and added up in float64: twice
    as fast, and off by about 1.5e-7 of the largest eigenvalue.
    """
    m, length = unfolding.shape if of_rows else unfolding.shape[::-1]
    gram = unfolding.new_zeros((m, m), dtype=torch.float64)
    slab_length = max(1, GRAM_SLAB_BYTES // (8 * m)) if exact else FLOAT32_SLAB
    step = max(32, -(-m // GRAM_BLOCKS))
    for start in range(0, length, slab_length):
        slab = unfolding[:, start : start + slab_length] if of_rows else unfolding[start : start + slab_length].T
        slab = slab.double() if exact else slab  # (m, at most slab_length)
        for k in range(0, m, step):  # on and above the block diagonal only
            if exact:
                gram[k : k + step, k:].addmm_(slab[k : k + step], slab[k:].T)
            else:
                gram[k : k + step, k:] += slab[k : k + step] @ slab[k:].T
    return gram.triu() + gram.triu(1).T


def _partial_traces(gram: torch.Tensor, sizes: Sequence[int], from_left: bool) -> list[torch.Tensor]:
    """The Gram matrices of a half's outer bonds, in bond order, from the one that sees the whole half.

    Each bond further out traces out one leg more.
    """
    grams = [gram]
    for size in reversed(sizes[1:]) if from_left else sizes[:-1]:
        inner = grams[-1]
        rest = inner.shape[0] // size
        if from_left:  # legs (rest, size): the last leg goes
            grams.append(torch.einsum("xaya->xy", inner.reshape(rest, size, rest, size)))
        else:  # legs (size, rest): the first leg goes
            grams.append(torch.einsum("axay->xy", inner.reshape(size, rest, size, rest)))
    return grams[:0:-1] if from_left else grams[1:]


def _schmidt(gram: torch.Tensor, vectors: bool) -> Schmidt:
    """Singular values (descending) and, if asked for, vectors of an unfolding from its Gram matrix."""
    if not vectors:
        return torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).sqrt(), None
    values, basis = torch.linalg.eigh(gram)
    return values.flip(0).clamp(min=0).sqrt(), basis.flip(1)


@full_precision
def bond_spectra(matrix: torch.Tensor, plan: Plan) -> list[torch.Tensor]:
    """All n-1 spectra without forming an MPO: eigenvalues of the Gram matrices only. (I, J) -> float64 vectors (d_k,).

    As accurate as `Halves` without `refine`: values below 1.5e-8 of the largest are not resolved. Takes the matrices
    that `MPO.decompose` takes, and raises what it raises.
    """
    matrix, scale = in_safe_range(checked_matrix(matrix))
    if tuple(matrix.shape) != plan.shape:
        raise PlanError(f"a matrix of shape {tuple(matrix.shape)} was given with a plan for {plan.shape}.")
    if Halves.fits(plan):
        spectra = Halves(matrix, plan, vectors=False).spectra
    else:
        spectra = both_ends(to_tensor(matrix.double(), plan), plan)[1]
    return [s * scale for s in spectra]
