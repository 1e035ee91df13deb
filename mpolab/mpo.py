"""The matrix product operator itself: a frozen value made once and cut as often as one likes.

    M[i_1 .. i_n, j_1 .. j_n] = T_1[1, i_1, j_1, d_1] T_2[d_1, i_2, j_2, d_2] ... T_n[d_{n-1}, i_n, j_n, 1]

MPOP (Liu et al. 2021) eqs. 1, 2, 5 and Algorithm 1. Taught in notebook 01; entropy and budgets in notebook 02.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from . import decomposition, storage
from .errors import BondError, MatrixError, MatrixTypeError, unknown
from .plans import Plan, make_plan
from .source import Source
from .spectra import Tails, bonds_for_error, bonds_for_ratio, entropy, printed_bound

METHODS = ("centre", "left_to_right", "symmetric")
SAFE_RANGE = 1e-30, 1e30  # entries outside are scaled first, so that their squares neither vanish nor overflow


@dataclass(frozen=True, eq=False, repr=False)
class MPO:
    """A matrix of shape (I, J) as n cores of shape (d_{k-1}, i_k, j_k, d_k). Make one with `MPO.decompose`.

    cores: list of n tensors, float32 or float64.
    spectra: list of n-1 float64 tensors, *all* singular values of the source's unfoldings, whatever has been cut.
    plan: the factors i_k, j_k, the shape and the padding.
    clipped: (bond, asked for, given) for every request above what was there.
    """

    plan: Plan
    spectra: list[torch.Tensor]
    method: str
    gauge: int | None  # index of the core that carries the norm; None for the symmetric gauge
    clipped: tuple[tuple[int, int, int], ...] = ()
    _cores: tuple[torch.Tensor, ...] = ()  # (d_{k-1}, a_k, d_k): Schmidt bases of the source, cut
    _source: Source | None = None
    _swept: tuple[float, ...] | None = None  # what a sequential sweep discarded at each bond, relative squares
    _moved_to: int | None = None  # the core `canonical` moved the centre to, if it was called
    _tails: Tails = field(default=None)  # type: ignore[assignment]

    # -- making one -------------------------------------------------------------------------------

    @classmethod
    def decompose(
        cls,
        W: torch.Tensor,
        rows: Sequence[int] | None = None,
        cols: Sequence[int] | None = None,
        n: int = 5,
        bond: int | Sequence[int] | None = None,
        ratio: float | None = None,
        error: float | None = None,
        method: str = "centre",
        style: str = "mpobert",
        keep_source: bool = True,
    ) -> MPO:
        """Decomposes a matrix; MPOP Algorithm 1 and section 3. Notebook 01, sections 2 to 5.

        W: (I, J) real floating-point tensor or NumPy array on any device; float16 and bfloat16 are computed in float32.
        rows, cols: the factors i_k and j_k; by default the authors' (`style`) or balanced ones for n cores. Sizes
            without usable factors are padded with zeros.
        bond | ratio | error: at most one, as in `truncate`; by default all bonds are full and nothing is lost.
        method: "centre" works from both ends by Gram matrices, several times faster than SVDs; its centre is the middle
            core. Squaring costs digits of small singular values: those below 1.5e-8 of the largest are not resolved
            (float64 input without a cut gets them back from the centre). "left_to_right" is the plain SVD sweep, with
            the norm in the last core. "symmetric" is Algorithm 1 with its normalization: singular values as square
            roots on both sides of each bond. All three cut to the same matrix.
        keep_source: whether the object keeps what is needed for `error()` and `budget()` (a copy of W where bonds are
            cut at once).

        Raises MatrixError, MatrixTypeError, PlanError, BondError or UnknownNameError; each says what would work.
        """
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        matrix = _checked_matrix(W)
        plan = make_plan(matrix.shape, n=n, rows=rows, cols=cols, style=style)
        requests = {"bond": bond, "ratio": ratio, "error": error}
        cut = _one_request(requests)
        if cut == "bond":
            _requested_bonds(bond, plan)  # a wrong list fails before any work is done
        largest = max(abs(float(extreme)) for extreme in torch.aminmax(matrix))
        scale = 1.0 if largest == 0 or SAFE_RANGE[0] <= largest <= SAFE_RANGE[1] else largest
        if scale != 1.0:
            matrix = matrix / scale

        if method == "centre" and decomposition.Halves.fits(plan):
            return cls._from_halves(matrix, plan, scale, requests if cut else None, keep_source)
        cores, spectra = _by_svd(matrix, plan, method)
        spectra, full = [s * scale for s in spectra], _scaled(cores, plan.centre if method == "centre" else -1, scale)
        tails = Tails(spectra)
        gauge = plan.centre if method == "centre" else plan.n - 1
        source = Source.of(plan, tails, full, moved=method != "centre") if keep_source else None
        if method == "symmetric":
            full, gauge = decomposition.normalize(full, spectra), None
        mpo = cls(plan, spectra, method, gauge, (), tuple(full), source, _tails=tails)
        return mpo.truncate(**requests) if cut else mpo

    @classmethod
    def _from_halves(cls, matrix, plan: Plan, scale: float, requests: dict | None, keep_source: bool) -> MPO:
        """The centre-out method: bases of both halves first, then only as much of the centre as the bonds ask for."""
        halves = decomposition.Halves(matrix, plan)
        c, spectra = plan.centre, halves.spectra
        # cores left and right of the centre, in float64
        left, right = halves.left_cores(), halves.right_cores()
        exact = matrix.dtype == torch.float64
        if exact or requests is None:
            cores = [*left, halves.centre_core(plan.full_bonds[c], plan.full_bonds[c + 1]), *right]
            if exact:
                cores, spectra = decomposition.refine(cores, spectra, c)
            left, right = cores[:c], cores[c + 1 :]
            whole = cores[c] * scale if scale != 1.0 else cores[c]
            make_centre = lambda: whole  # noqa: E731
        else:
            make_centre = lambda: halves.centre_core(plan.full_bonds[c], plan.full_bonds[c + 1]) * scale  # noqa: E731
        spectra = [s * scale for s in spectra]
        left, right = [core.to(matrix) for core in left], [core.to(matrix) for core in right]
        tails = Tails(spectra)
        source = Source(plan, tails, left, right, make_centre) if keep_source else None
        clipped: tuple = ()
        bonds = list(plan.full_bonds)
        if requests is not None:
            bonds, clipped = _choose(requests, plan, tails, plan.full_bonds)
        if exact or requests is None:
            centre = make_centre()[: bonds[c], :, : bonds[c + 1]]
        else:
            centre = halves.centre_core(bonds[c], bonds[c + 1]) * scale
        cores = _sliced([*left, centre, *right], bonds)
        return cls(plan, spectra, "centre", c, clipped, cores, source, _tails=tails)

    @classmethod
    def from_cores(
        cls, cores: Sequence[torch.Tensor], shape: tuple[int, int] | None = None, method: str = "centre"
    ) -> MPO:
        """An MPO from cores (d_{k-1}, i_k, j_k, d_k) of any gauge, e.g. trained ones: their product is the source.

        shape: (I, J) without padding; by default the products of the i_k and j_k. Rebuilds the matrix once.
        """
        rows, cols = [core.shape[1] for core in cores], [core.shape[2] for core in cores]
        plan = Plan(tuple(rows), tuple(cols), shape or (math.prod(rows), math.prod(cols)))
        flat = [core.detach().reshape(core.shape[0], -1, core.shape[-1]) for core in cores]
        matrix = decomposition.to_matrix(decomposition.contract(flat), plan)
        bonds = [min(core.shape[0], full) for core, full in zip(cores, plan.full_bonds)][1:]
        return cls.decompose(matrix, rows=rows, cols=cols, bond=bonds, method=method)

    # -- what it is -------------------------------------------------------------------------------

    @cached_property
    def cores(self) -> list[torch.Tensor]:
        """n tensors (d_{k-1}, i_k, j_k, d_k)."""
        flat = self._cores
        if self._moved_to is not None:
            flat = decomposition.move_centre(flat, self._moved_to)
        return [
            core.reshape(core.shape[0], i, j, core.shape[2]) for core, i, j in zip(flat, self.plan.rows, self.plan.cols)
        ]

    @property
    def shape(self) -> tuple[int, int]:
        """(I, J) of the matrix, without padding."""
        return self.plan.shape

    @property
    def rows(self) -> tuple[int, ...]:
        return self.plan.rows

    @property
    def cols(self) -> tuple[int, ...]:
        return self.plan.cols

    @property
    def n(self) -> int:
        return self.plan.n

    @property
    def dtype(self) -> torch.dtype:
        return self._cores[0].dtype

    @property
    def bonds(self) -> list[int]:
        """d_0 .. d_n, n+1 integers with the outer ones, which are 1 (eq. 2 where nothing is cut)."""
        return [core.shape[0] for core in self._cores] + [1]

    @property
    def full_bonds(self) -> list[int]:
        """d_0 .. d_n of eq. 2."""
        return list(self.plan.full_bonds)

    @property
    def central(self) -> torch.Tensor:
        """The middle core, which holds most of the parameters; for even n the core right of the middle bond."""
        return self.cores[self.plan.centre]

    @property
    def auxiliary(self) -> list[torch.Tensor]:
        """All cores but the central one, from left to right."""
        return [core for k, core in enumerate(self.cores) if k != self.plan.centre]

    @property
    def parameters(self) -> int:
        """Stored numbers in all cores."""
        return self.plan.parameters(self.bonds)

    @property
    def ratio(self) -> float:
        """Compression ratio, eq. 5: parameters over the entries of the (padded) matrix."""
        return self.plan.ratio(self.bonds)

    @property
    def norm(self) -> float:
        """Frobenius norm of the decomposed matrix."""
        return self._tails.norm

    def entropy(self, definition: str = "von_neumann", of: str = "source") -> list[float]:
        """Entanglement entropy of each of the n-1 bonds in nats, MPOP eq. 6; see `spectra.entropy` for `definition`.

        of: "source" all singular values of the decomposed matrix; "truncated" the kept ones, normalized again.
        """
        if of not in ("source", "truncated"):
            raise unknown("value of `of`", of, ("source", "truncated"))
        kept = self.full_bonds if of == "source" else self.bonds
        return [entropy(s[:d], definition) for s, d in zip(self.spectra, kept[1:-1])]

    def norm_shares(self) -> list[float]:
        """Share of each core in the sum of all cores' squared Frobenius norms; in the centre gauge only.

        Elsewhere the norm sits in other cores, by choice of gauge and not by what the matrix is, so no other is given.
        """
        if self.gauge != self.plan.centre:
            raise unknown("gauge for Frobenius shares", self.gauge_name, ("centre",))
        squares = [float(core.double().square().sum()) for core in self._cores]
        total = sum(squares)
        return [square / total for square in squares]

    # -- errors -----------------------------------------------------------------------------------

    def bound(self) -> float:
        """Upper bound of the relative error: root of the sum of all discarded squares over the norm (MPOP eq. 4).

        Exact arithmetic; the measured error may exceed it by the rounding of the cores' dtype where nothing is cut.
        """
        return self._tails.bound(self.bonds)

    def printed_bound(self, range: str = "printed") -> float:
        """Eq. 3 and 4 as printed, relative to the norm; see `spectra.printed_bound`. Notebook 01, section 6."""
        return printed_bound(self.spectra, self.bonds, range)

    def error(self, W: torch.Tensor | None = None) -> float:
        """Relative Frobenius error against the decomposed matrix, or against a W of the same shape, if given."""
        if W is not None:
            matrix = _checked_matrix(W).to(torch.promote_types(self.dtype, _checked_matrix(W).dtype))
            if tuple(matrix.shape) != self.shape:
                raise MatrixError(f"a matrix of shape {tuple(matrix.shape)} was given for an MPO of {self.shape}.")
            norm = float(torch.linalg.vector_norm(matrix, dtype=torch.float64))
            difference = torch.linalg.vector_norm(self.to_matrix().to(matrix) - matrix, dtype=torch.float64)
            return float(difference) / norm if norm else float(difference)
        if self._swept is not None:
            return math.sqrt(sum(self._swept))
        return math.sqrt(max(self._known_source().squared_error(self.bonds), 0.0))

    def budget(self) -> list[float]:
        """What each bond's cut adds to the exact squared relative error; n-1 floats in bond order.

        The cuts are applied outermost first (1, n-1, 2, ...), so the increments add up to `error()` squared. After a
        sequential sweep they are the squares discarded at each step.
        """
        if self._swept is not None:
            return list(self._swept)
        return self._known_source().budget(self.bonds)

    def _known_source(self) -> Source:
        if self._source is None:
            raise MatrixError(
                "the decomposed matrix is not at hand (the MPO was loaded from a file with cut bonds, or made with "
                "keep_source=False); compare with the matrix itself: mpo.error(W)."
            )
        return self._source

    # -- cutting, gauge ---------------------------------------------------------------------------

    def truncate(
        self,
        bond: int | Sequence[int] | None = None,
        ratio: float | None = None,
        error: float | None = None,
        sweep: bool = False,
    ) -> MPO:
        """The same matrix with smaller bonds: a slice of the Schmidt bases, no SVD. Exactly one request:

        bond: an integer caps every bond; a list has n-1 inner entries (larger ones than there are, are clipped).
        ratio: the bonds that the greedy path reaches before eq. 5 exceeds it.
        error: the bonds at which the bound first falls to this relative Frobenius error, which is thereby guaranteed.
        sweep: cut one bond after the other, each by a small SVD of what is left: slightly smaller error, slower.

        Always relative to the decomposed matrix: cutting twice is cutting once.
        """
        requests = {"bond": bond, "ratio": ratio, "error": error}
        if _one_request(requests) is None:
            raise BondError("truncate() needs one of bond=, ratio= or error=, e.g. truncate(bond=64).")
        bonds, clipped = _choose(requests, self.plan, self._tails, self.bonds)
        if sweep:
            return self._swept_to(bonds, clipped)
        if self._swept is not None and self._source is not None:
            return replace(self._unswept(), clipped=clipped).truncate(bond=bonds[1:-1])
        return replace(self, _cores=_sliced(self._cores, bonds), clipped=clipped, _swept=None)

    def _unswept(self) -> MPO:
        """The whole source again, in this object's method and gauge."""
        full = self._source.cores()
        gauge: int | None = self.plan.centre
        if self.method != "centre":
            full, gauge = decomposition.move_centre(full, self.n - 1), self.n - 1
        if self.method == "symmetric":
            full, gauge = decomposition.normalize(full, self.spectra), None
        gauge = gauge if self._moved_to is None else self._moved_to
        return replace(self, _cores=tuple(full), gauge=gauge, clipped=(), _swept=None)

    def _swept_to(self, bonds: list[int], clipped: tuple) -> MPO:
        cores, discarded = decomposition.sweep(self._known_source().cores(), bonds)
        cores = decomposition.move_centre(cores, self.plan.centre)
        squared = self.norm**2 or 1.0
        return replace(
            self,
            _cores=tuple(cores),
            _swept=tuple(square / squared for square in discarded),
            gauge=self.plan.centre if self._moved_to is None else self._moved_to,
            clipped=clipped,
        )

    def canonical(self, centre: int | None = None) -> MPO:
        """The same matrix with its norm in core `centre` (from 0; default the middle) and all others orthogonal."""
        centre = self.plan.centre if centre is None else centre
        if not isinstance(centre, int) or not -self.n <= centre < self.n:
            raise BondError(f"centre = {centre!r}: the cores are numbered 0 to {self.n - 1}.")
        centre %= self.n
        return replace(self, gauge=centre, _moved_to=centre)

    @property
    def gauge_name(self) -> str:
        """ "symmetric", or the core that carries the norm."""
        return "symmetric" if self.gauge is None else f"centre in core {self.gauge + 1}"

    # -- using it ---------------------------------------------------------------------------------

    def to_matrix(self) -> torch.Tensor:
        """(I, J), rebuilt from the cores; padding removed."""
        halves = [core.reshape(core.shape[0], -1, core.shape[-1]) for core in self.cores]
        return decomposition.to_matrix(decomposition.contract(halves), self.plan)

    def matvec(self, x: torch.Tensor) -> torch.Tensor:
        """W x without building W: x (..., J) -> (..., I), the cores contracted one after another from the right.

        Rarely the fastest way (facts and costs: `mpolab.cost`, notebook 01, section 8).
        """
        if x.shape[-1] != self.shape[1]:
            raise MatrixError(f"x has {x.shape[-1]} entries in its last dimension; this matrix takes {self.shape[1]}.")
        batch = x.shape[:-1]
        x = torch.nn.functional.pad(x.to(self.dtype), (0, self.plan.padded[1] - self.shape[1]))
        state = x.reshape(-1, self.plan.padded[1], 1, 1)  # (batch, j_1 .. j_n, bond, done rows)
        for core in reversed(self.cores):
            d, i, j, e = core.shape
            state = state.reshape(state.shape[0], -1, j, e, state.shape[-1])  # (b, j_1 .. j_{k-1}, j_k, d_k, rows)
            state = torch.einsum("bxjer,dije->bxdir", state, core)
            state = state.reshape(state.shape[0], -1, d, i * state.shape[-1])  # (b, j_1 .. j_{k-1}, d_{k-1}, rows)
        return state.reshape(-1, self.plan.padded[0])[:, : self.shape[0]].reshape(*batch, self.shape[0])

    def save(self, path: str | os.PathLike) -> None:
        """Writes cores and spectra as safetensors, whole or not at all; read it back with `MPO.load`."""
        storage.save_mpo(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> MPO:
        """Reads what `save` wrote. Raises FileNotFoundError or CheckpointError."""
        return storage.load_mpo(cls, path)

    # -- text -------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        bonds = "-".join(map(str, self.bonds[1:-1]))
        return f"MPO({self.shape[0]}x{self.shape[1]} as {self.plan}, bonds {bonds}, ratio {self.ratio:.3f})"

    def show(self) -> str:
        """Everything about it as text: shapes, bonds, entropies, ratio, clipped requests. Same text every time."""
        return storage.show_mpo(self)


# -- helpers -------------------------------------------------------------------------------------


def _checked_matrix(W: object) -> torch.Tensor:
    """A finite (I, J) float32 or float64 tensor, detached; or the error that says why not."""
    if isinstance(W, np.ndarray):
        W = torch.from_numpy(np.ascontiguousarray(W))
    if not isinstance(W, torch.Tensor):
        raise MatrixTypeError(f"expected a torch tensor or a NumPy array of shape (out, in), got {type(W).__name__}.")
    if W.dim() != 2:
        raise MatrixError(
            f"expected a matrix of shape (out, in), got {W.dim()} dimensions {tuple(W.shape)}; reshape it first, e.g. "
            "W.flatten(1)."
        )
    if not W.is_floating_point():
        raise MatrixTypeError(f"expected real floating-point entries, got {W.dtype}; convert first, e.g. W.float().")
    W = W.detach()
    matrix = W if W.dtype in (torch.float32, torch.float64) else W.float()
    if matrix.numel() and not all(math.isfinite(float(extreme)) for extreme in torch.aminmax(matrix)):
        bad = int((~torch.isfinite(matrix)).sum())
        row, col = (~torch.isfinite(matrix)).nonzero()[0].tolist()
        raise MatrixError(
            f"{bad} of {matrix.numel()} entries are NaN or infinite, the first at row {row}, column {col}; a "
            "decomposition needs finite ones (torch.nan_to_num replaces them, if that is what you want)."
        )
    return matrix


def _one_request(requests: dict) -> str | None:
    given = [name for name, value in requests.items() if value is not None]
    if len(given) > 1:
        raise BondError(f"{' and '.join(f'{name}=' for name in given)} were given; give one, it decides the others.")
    return given[0] if given else None


def _requested_bonds(bond: int | Sequence[int], plan: Plan) -> list[int]:
    """A cap or a list of n-1 bonds -> n+1 integers as asked for, not yet clipped."""
    if isinstance(bond, numbers.Integral) and not isinstance(bond, bool):
        inner = [int(bond)] * (plan.n - 1)
    elif isinstance(bond, (str, bytes)) or not hasattr(bond, "__iter__"):
        raise BondError(f"bond = {bond!r}: expected a whole number of at least 1, or {plan.n - 1} of them.")
    else:
        inner = list(bond)
        if len(inner) != plan.n - 1:
            raise BondError(
                f"bond = {inner} has {len(inner)} entries; {plan.n} cores have {plan.n - 1} inner bonds, full ones "
                f"being {list(plan.full_bonds[1:-1])}."
            )
    if any(isinstance(d, bool) or int(d) != d or d < 1 for d in inner):
        raise BondError(f"bond = {bond!r}: a bond dimension is a whole number of at least 1.")
    return [1, *(int(d) for d in inner), 1]


def _choose(requests: dict, plan: Plan, tails: Tails, ceilings: Sequence[int]) -> tuple[list[int], tuple]:
    """The n+1 bonds that a request leads to, none above `ceilings`, and what was clipped of it."""
    if requests["ratio"] is not None:
        return bonds_for_ratio(plan, tails, requests["ratio"], ceilings), ()
    if requests["error"] is not None:
        return bonds_for_error(plan, tails, requests["error"], ceilings), ()
    asked = _requested_bonds(requests["bond"], plan)
    bonds = [min(d, ceiling) for d, ceiling in zip(asked, ceilings)]
    clipped = tuple((k, asked[k], bonds[k]) for k in range(1, plan.n) if asked[k] > bonds[k])
    if isinstance(requests["bond"], numbers.Integral) and len(clipped) < plan.n - 1:
        clipped = ()  # an integer caps: some bonds lie below it by its very meaning
    return bonds, clipped


def _sliced(cores: Sequence[torch.Tensor], bonds: Sequence[int]) -> tuple[torch.Tensor, ...]:
    return tuple(core[: bonds[k], :, : bonds[k + 1]] for k, core in enumerate(cores))


def _scaled(cores: list[torch.Tensor], k: int, scale: float) -> list[torch.Tensor]:
    cores = list(cores)
    cores[k] = cores[k] * scale
    return cores


def _by_svd(matrix: torch.Tensor, plan: Plan, method: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Full-bond cores and spectra by SVDs: from the left, or (for the centre gauge) from both ends to the middle."""
    tensor = decomposition.to_tensor(matrix, plan)
    if method != "centre":
        return decomposition.left_to_right(tensor, plan)
    return decomposition.both_ends(tensor, plan)
