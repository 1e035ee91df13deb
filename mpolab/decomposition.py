"""From a matrix to the cores of a matrix product operator: the three methods, and the sweeps that move a centre.

Shapes: the matrix is (I, J); its tensor is (a_1, ..., a_n) with a_k = i_k j_k, row and column legs side by side
(MPOP eq. 1); a core is (d_{k-1}, a_k, d_k) here and split to (d_{k-1}, i_k, j_k, d_k) by `mpolab.mpo`. Each
function returns cores at full bonds in the *Schmidt bases* of the matrix: bond k's index runs over the singular vectors
of unfolding k, largest first. That is what makes cutting a bond a slice. Taught in notebook 01, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .plans import Plan

Cores = list[torch.Tensor]

GRAM_BLOCKS = 4  # a Gram matrix is symmetric: in 4 block rows only 10 of 16 blocks are multiplied
GRAM_CHUNK_BYTES = 16 << 20  # how much of the matrix is held in float64 at a time while a Gram matrix adds up


# -- the matrix as a tensor ----------------------------------------------------------------------


def pad(matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(I, J) -> the padded (I', J') with zero rows and columns at the end."""
    if not plan.is_padded:
        return matrix
    height, width = plan.padded
    return torch.nn.functional.pad(matrix, (0, width - plan.shape[1], 0, height - plan.shape[0]))


def to_tensor(matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(I, J) -> (a_1, ..., a_n), a_k = i_k j_k."""
    legs = pad(matrix, plan).reshape(*plan.rows, *plan.cols)  # (i_1 .. i_n, j_1 .. j_n)
    paired = [axis for k in range(plan.n) for axis in (k, plan.n + k)]
    return legs.permute(paired).reshape(plan.sizes)  # (i_1 j_1, ..., i_n j_n)


def to_matrix(tensor: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(a_1, ..., a_n), in any shape with the same order -> (I, J), padding removed."""
    legs = tensor.reshape([size for pair in zip(plan.rows, plan.cols) for size in pair])  # (i_1, j_1, ..., i_n, j_n)
    unpaired = [2 * k for k in range(plan.n)] + [2 * k + 1 for k in range(plan.n)]
    return legs.permute(unpaired).reshape(plan.padded)[: plan.shape[0], : plan.shape[1]]


def contract(cores: Sequence[torch.Tensor]) -> torch.Tensor:
    """Cores (d_{k-1}, ..., d_k) -> their product (d_first, a, d_last), the two halves first, then both together."""
    if len(cores) == 1:
        return cores[0].reshape(cores[0].shape[0], -1, cores[0].shape[-1])
    middle = len(cores) // 2
    left, right = contract(cores[:middle]), contract(cores[middle:])  # (d, a, e), (e, b, f)
    product = left.reshape(-1, left.shape[-1]) @ right.reshape(right.shape[0], -1)  # (d a, b f)
    return product.reshape(left.shape[0], -1, right.shape[-1])


# -- Algorithm 1, and its mirror image -----------------------------------------------------------


def left_to_right(tensor: torch.Tensor, plan: Plan) -> tuple[Cores, list[torch.Tensor]]:
    """Algorithm 1 of MPOP without its normalization: an SVD per bond, the remainder passed on to the right.

    tensor (a_1, ..., a_n) -> left-orthogonal cores with the centre at the end, and the n-1 spectra.
    """
    cores, spectra, rest = _from_the_left(tensor, plan.sizes[:-1])
    return [*cores, rest.reshape(rest.shape[0], plan.sizes[-1], 1)], spectra


def _from_the_left(tensor: torch.Tensor, sizes: Sequence[int]) -> tuple[Cores, list[torch.Tensor], torch.Tensor]:
    cores, spectra, rest = [], [], tensor.reshape(1, -1)
    for size in sizes:
        bond = rest.shape[0]
        unfolding = rest.reshape(bond * size, -1)  # (d_{k-1} a_k, a_{k+1} ... a_n)
        u, s, vh = torch.linalg.svd(unfolding, full_matrices=False)
        cores.append(u.reshape(bond, size, -1))  # (d_{k-1}, a_k, d_k)
        spectra.append(s.double())
        rest = s[:, None] * vh  # (d_k, a_{k+1} ... a_n)
    return cores, spectra, rest


def normalize(cores: Cores, spectra: Sequence[torch.Tensor]) -> Cores:
    """The "normalization" of Algorithm 1: each bond's singular values as square roots on both neighbours.

    Left-orthogonal cores A_k = lambda_{k-1} Gamma_k become lambda_{k-1}^(1/2) Gamma_k lambda_k^(1/2). Zero (and
    rounding-sized) singular values are raised to a floor, so that nothing is divided by zero: the product of the cores
    does not depend on it.
    """
    roots = []
    for spectrum, core in zip(spectra, cores):
        largest = float(spectrum[0]) if float(spectrum[0]) > 0 else 1.0
        floor = torch.finfo(core.dtype).eps * largest
        roots.append(spectrum.clamp(min=floor).sqrt().to(core))
    scaled = list(cores)
    for k, root in enumerate(roots):
        scaled[k] = scaled[k] * root  # (d_{k-1}, a_k, d_k) * (d_k)
        scaled[k + 1] = scaled[k + 1] / root[:, None, None]  # (d_k, a_{k+1}, d_{k+1}) / (d_k)
    return scaled


def _from_the_right(tensor: torch.Tensor, sizes: Sequence[int]) -> tuple[Cores, list[torch.Tensor], torch.Tensor]:
    """The mirror image: right-orthogonal cores for the last `sizes`, their spectra, and what remains on the left."""
    cores, spectra, rest = [], [], tensor.reshape(-1, 1)
    for size in reversed(sizes):
        bond = rest.shape[1]
        u, s, vh = torch.linalg.svd(rest.reshape(-1, size * bond), full_matrices=False)
        cores.insert(0, vh.reshape(-1, size, bond))  # (d_{k-1}, a_k, d_k)
        spectra.insert(0, s.double())
        rest = u * s
    return cores, spectra, rest


def both_ends(tensor: torch.Tensor, plan: Plan) -> tuple[Cores, list[torch.Tensor]]:
    """SVDs from both ends to the middle: what "centre" does where a half is longer than the rest of its matrix."""
    c = plan.centre
    left, left_spectra, rest = _from_the_left(tensor, plan.sizes[:c])
    bond = rest.shape[0]
    right, right_spectra, rest = _from_the_right(rest, plan.sizes[c + 1 :])
    return [*left, rest.reshape(bond, plan.sizes[c], -1), *right], left_spectra + right_spectra


# -- centre out: both halves by their Gram matrices ----------------------------------------------


class Halves:
    """A matrix as left half, central leg and right half, with the Schmidt basis of every bond.

    The left bases are the eigenvectors of the left half's Gram matrix (l, l) and of its partial traces, l = a_1 ..
    a_{c-1}; the right ones likewise. In float64 whatever the matrix's dtype: a Gram matrix squares singular values, so
    those below about 1.5e-8 of the largest are lost in it. For float32 and half-precision matrices that is less than
    the rounding of their entries. For float64 `refine` recovers most of them from the centre; where even the last
    digits of tiny singular values matter, use `method="left_to_right"`.
    """

    def __init__(self, matrix: torch.Tensor, plan: Plan, vectors: bool = True):
        self.plan, c = plan, plan.centre
        self.left_size, self.right_size = math.prod(plan.sizes[:c]), math.prod(plan.sizes[c + 1 :])
        self.block = _three_legs(matrix, plan)  # (l, a_c, r), legs of a half grouped as (i.., j..)
        left = _paired(_gram_of_rows(self.block.reshape(self.left_size, -1)), plan.rows[:c], plan.cols[:c])
        right = _paired(
            _gram_of_columns(self.block.reshape(-1, self.right_size)), plan.rows[c + 1 :], plan.cols[c + 1 :]
        )
        # bonds 1 .. c from the left half, c+1 .. n-1 from the right
        left_grams = _partial_traces(left, plan.sizes[:c], from_left=True)
        right_grams = _partial_traces(right, plan.sizes[c + 1 :], from_left=False)
        solved = [_schmidt(gram, vectors) for gram in left_grams + right_grams]
        self.spectra = [s for s, _ in solved]  # bonds 1 .. n-1, each (d_k,)
        self.bases = [u for _, u in solved]  # bonds 1 .. n-1, each (half's size, d_k)

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
        """What remains between the two bases, cut to the given bonds: (left_bond, a_c, right_bond), U^T M V."""
        c, block = self.plan.centre, self.block
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


def refine(cores: Cores, spectra: list[torch.Tensor], centre: int) -> tuple[Cores, list[torch.Tensor]]:
    """Singular values from the cores instead of from Gram matrices: what squaring lost comes back.

    In Schmidt bases row i of the central core has norm s_i; one bond further out s_i^2 = sum L[i, a, m]^2 s_m^2. Both
    are sums of squares without cancellation. Values that rounding left out of order are put in order, with their basis.
    """
    cores, spectra = list(cores), list(spectra)
    n, weighted = len(cores), cores[centre] ** 2
    for bond in range(centre, 0, -1):  # bond `bond` lies left of core `bond`; outwards to the left
        if bond < centre:
            weighted = cores[bond] ** 2 * spectra[bond] ** 2  # (d_bond, a, d_{bond+1}) * (d_{bond+1})
        spectra[bond - 1] = _in_order(weighted.sum((1, 2)).sqrt(), cores, bond)
    weighted = cores[centre] ** 2
    for bond in range(centre + 1, n):  # and outwards to the right: bond `bond` lies right of core `bond - 1`
        if bond > centre + 1:
            weighted = cores[bond - 1] ** 2 * (spectra[bond - 2] ** 2)[:, None, None]
        spectra[bond - 1] = _in_order(weighted.sum((0, 1)).sqrt(), cores, bond)
    return cores, spectra


def _in_order(values: torch.Tensor, cores: Cores, bond: int) -> torch.Tensor:
    """Sorts a bond's singular values, taking the two cores on the bond along (in place in the list)."""
    ordered, index = values.sort(descending=True, stable=True)
    if not torch.equal(ordered, values):
        cores[bond - 1], cores[bond] = cores[bond - 1][:, :, index], cores[bond][index]
    return ordered.double()


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


def _gram_of_rows(unfolding: torch.Tensor) -> torch.Tensor:
    """X (m, K) -> X X^T (m, m) in float64, a slab of columns at a time."""
    m, length = unfolding.shape
    gram = unfolding.new_zeros((m, m), dtype=torch.float64)
    step = max(1, GRAM_CHUNK_BYTES // (8 * m))
    for start in range(0, length, step):
        slab = unfolding[:, start : start + step].double()  # (m, step)
        _add_upper_blocks(gram, slab, slab.T)
    return _mirrored(gram)


def _gram_of_columns(unfolding: torch.Tensor) -> torch.Tensor:
    """X (K, m) -> X^T X (m, m) in float64, a slab of rows at a time."""
    length, m = unfolding.shape
    gram = unfolding.new_zeros((m, m), dtype=torch.float64)
    step = max(1, GRAM_CHUNK_BYTES // (8 * m))
    for start in range(0, length, step):
        slab = unfolding[start : start + step].double()  # (step, m)
        _add_upper_blocks(gram, slab.T, slab)
    return _mirrored(gram)


def _add_upper_blocks(gram: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> None:
    """gram += rows @ columns, on and above the block diagonal only."""
    m = gram.shape[0]
    step = max(32, -(-m // GRAM_BLOCKS))
    for start in range(0, m, step):
        gram[start : start + step, start:].addmm_(rows[start : start + step], columns[:, start:])


def _mirrored(gram: torch.Tensor) -> torch.Tensor:
    return gram.triu() + gram.triu(1).T


def _partial_traces(gram: torch.Tensor, sizes: Sequence[int], from_left: bool) -> list[torch.Tensor]:
    """The Gram matrices of all bonds of a half, in bond order, from the one that sees the whole half.

    The bond next to the centre has the whole half's; each bond further out traces out one leg more.
    """
    if not sizes:
        return []
    grams = [gram]
    for size in reversed(sizes[1:]) if from_left else sizes[:-1]:
        inner = grams[-1]
        rest = inner.shape[0] // size
        if from_left:  # legs (rest, size): the last leg goes
            grams.append(torch.einsum("xaya->xy", inner.reshape(rest, size, rest, size)))
        else:  # legs (size, rest): the first leg goes
            grams.append(torch.einsum("axay->xy", inner.reshape(size, rest, size, rest)))
    return grams[::-1] if from_left else grams


def _schmidt(gram: torch.Tensor, vectors: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Singular values (descending) and, if asked for, vectors of an unfolding from its Gram matrix."""
    if not vectors:
        return torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).sqrt(), None
    values, basis = torch.linalg.eigh(gram)
    return values.flip(0).clamp(min=0).sqrt(), basis.flip(1)


# -- moving the centre, and the sequential sweep -------------------------------------------------


def move_centre(cores: Sequence[torch.Tensor], centre: int) -> Cores:
    """The same matrix with every core left of `centre` left-orthogonal and every core right of it right-orthogonal.

    QR from both ends inwards; signs are chosen so that cores that are canonical already come back unchanged.
    """
    cores = list(cores)
    for k in range(centre):
        d, a, _ = cores[k].shape
        q, r = _positive_qr(cores[k].reshape(d * a, -1))
        cores[k] = q.reshape(d, a, -1)
        cores[k + 1] = torch.tensordot(r, cores[k + 1], dims=1)  # (d_k, d_k)(d_k, a_{k+1}, d_{k+1})
    for k in range(len(cores) - 1, centre, -1):
        _, a, d = cores[k].shape
        q, r = _positive_qr(cores[k].reshape(-1, a * d).T)
        cores[k] = q.T.reshape(-1, a, d)
        cores[k - 1] = torch.tensordot(cores[k - 1], r.T, dims=1)
    return cores


def _positive_qr(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    q, r = torch.linalg.qr(matrix)
    signs = torch.where(r.diagonal() < 0, -1.0, 1.0).to(r)
    return q * signs, signs[:, None] * r


def sweep(cores: Sequence[torch.Tensor], bonds: Sequence[int]) -> tuple[Cores, list[float]]:
    """Cuts to n+1 `bonds` one after another, each by a new small SVD of what the cuts before it left over.

    Returns left-orthogonal cores and the squares discarded at each of the n-1 steps; those add up to the squared error
    exactly (Oseledets 2011, TT rounding).
    """
    cores, discarded = move_centre(cores, 0), []
    for k in range(len(cores) - 1):
        d, a, _ = cores[k].shape
        u, s, vh = torch.linalg.svd(cores[k].reshape(d * a, -1), full_matrices=False)
        keep = min(bonds[k + 1], len(s))
        discarded.append(float((s[keep:].double() ** 2).sum()))
        cores[k] = u[:, :keep].reshape(d, a, keep)
        cores[k + 1] = torch.tensordot(s[:keep, None] * vh[:keep], cores[k + 1], dims=1)
    return cores, discarded


# -- spectra alone -------------------------------------------------------------------------------


def bond_spectra(matrix: torch.Tensor, plan: Plan) -> list[torch.Tensor]:
    """All n-1 spectra without forming an MPO: eigenvalues of the Gram matrices only. (I, J) -> float64 vectors (d_k,).

    As accurate as `Halves` without `refine`: values below 1.5e-8 of the largest are not resolved.
    """
    if Halves.fits(plan):
        return Halves(matrix, plan, vectors=False).spectra
    return both_ends(to_tensor(matrix, plan), plan)[1]
