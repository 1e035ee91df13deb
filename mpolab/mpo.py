"""The matrix product operator itself: a frozen value made once and cut as often as one likes.

    M[i_1 .. i_n, j_1 .. j_n] = T_1[1, i_1, j_1, d_1] T_2[d_1, i_2, j_2, d_2] ... T_n[d_{n-1}, i_n, j_n, 1]

MPOP (Liu et al. 2021) eqs. 1, 2, 5 and Algorithm 1. Taught in notebook 01; entropy and budgets in notebook 02.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch

from . import decomposition, storage
from .decomposition import checked_matrix, full_precision, in_safe_range, norm
from .errors import BondError, MatrixError, UnknownNameError, unknown
from .halves import Halves, refine
from .plans import Plan, make_plan
from .source import Source, padding_energy
from .spectra import Tails, bonds_for_error, bonds_for_ratio, entropy, printed_bound, rounding_allowance

METHODS = ("centre", "left_to_right", "symmetric")


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
    @full_precision
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

        W: (I, J) real floating-point tensor or NumPy array on any device with float64; float16 and bfloat16 are
            computed in float32, entries near the ends of float32's range in float64. Autocast does not apply here.
        rows, cols: the factors i_k and j_k; by default the authors' (`style`) or balanced ones for n cores. Sizes
            without usable factors are padded with zeros.
        bond | ratio | error: at most one, as in `truncate`; by default all bonds are full and nothing is lost.
        method: "centre" works from both ends by Gram matrices, several times faster than SVDs; its centre is the middle
            core. Squaring costs digits of small singular values: those below 1.5e-8 of the largest are not resolved
            (float64 input gets most of them back from the centre). "left_to_right" is the plain SVD sweep in float64,
            with the norm in the last core, for those who need them. "symmetric" is Algorithm 1 with its normalization:
            singular values as square roots on both sides of each bond. All three cut to the same matrix.
        keep_source: whether the object keeps what is needed for `error()` and `budget()` (a copy of W where bonds are
            cut at once).

        Raises MatrixError, MatrixTypeError, PlanError, BondError or UnknownNameError; each says what would work.
        """
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        matrix = checked_matrix(W)
        plan = make_plan(matrix.shape, n=n, rows=rows, cols=cols, style=style)
        requests = {"bond": bond, "ratio": ratio, "error": error}
        cut = _one_request(requests)
        if cut == "bond":
            _requested_bonds(bond, plan)  # a wrong list fails before any work is done
        matrix, scale = in_safe_range(matrix)
        if method == "centre" and Halves.fits(plan):
            return cls._from_halves(matrix, plan, scale, requests if cut else None, keep_source)
        # SVDs in float64: in float32 their small singular values would be less exact than those of Gram matrices.
        cores, spectra = _by_svd(matrix.double(), plan, method)
        spectra, full = [s * scale for s in spectra], _scaled(cores, plan.centre if method == "centre" else -1, scale)
        tails = Tails(spectra)
        gauge = plan.centre if method == "centre" else plan.n - 1
        source = None
        if keep_source:
            middle = full if method == "centre" else decomposition.move_centre(full, plan.centre)
            source = Source.of(plan, tails, [core.to(matrix) for core in middle])
        if method == "symmetric":
            full, gauge = decomposition.normalize(full, spectra), None
        full = [core.to(matrix) for core in full]
        mpo = cls(plan, spectra, method, gauge, (), tuple(full), source, _tails=tails)
        if cut:
            mpo = mpo.truncate(**requests)
        return mpo if keep_source else replace(mpo, _cores=tuple(core.clone() for core in mpo._cores))

    @classmethod
    def _from_halves(cls, matrix, plan: Plan, scale: float, requests: dict | None, keep_source: bool) -> MPO:
        """The centre-out method: bases of both halves first, then only as much of the centre as the bonds ask for."""
        halves = Halves(matrix, plan)
        c, full, spectra = plan.centre, plan.full_bonds, halves.spectra
        left, right = halves.left_cores(), halves.right_cores()  # float64
        whole = None  # the central core at full bonds, if it is made at all
        if requests is None or matrix.dtype == torch.float64:
            whole = halves.centre_core(full[c], full[c + 1])
        if matrix.dtype == torch.float64:
            cores, spectra = refine([*left, whole, *right], spectra, c)
            left, whole, right = cores[:c], cores[c], cores[c + 1 :]
        spectra = [s * scale for s in spectra]
        left, right = [core.to(matrix) for core in left], [core.to(matrix) for core in right]
        tails = Tails(spectra)
        bonds, clipped = (list(full), ()) if requests is None else _choose(requests, plan, tails, full, matrix.dtype)
        if whole is None:
            make_centre = partial(_scaled_centre, halves, full[c], full[c + 1], scale)
            centre = _scaled_centre(halves, bonds[c], bonds[c + 1], scale)
        else:
            whole = whole if scale == 1.0 else whole * scale
            make_centre = partial(torch.Tensor.detach, whole)
            centre = whole[: bonds[c], :, : bonds[c + 1]]
        source = Source(plan, tails, left, right, make_centre) if keep_source else None
        cores = _sliced([*left, centre, *right], bonds)
        if not keep_source:
            cores = tuple(core.clone() for core in cores)  # a slice would keep the whole alive
        return cls(plan, spectra, "centre", c, clipped, cores, source, _tails=tails)

    @classmethod
    def from_cores(
        cls, cores: Sequence[torch.Tensor], shape: tuple[int, int] | None = None, method: str = "centre"
    ) -> MPO:
        """An MPO from cores (d_{k-1}, i_k, j_k, d_k) of any gauge, e.g. trained ones: their product is the source.

        shape: (I, J) without padding; by default the products of the i_k and j_k. Rebuilds the matrix once.
        """
        cores = list(cores)
        if len(cores) < 2 or any(core.dim() != 4 for core in cores):
            raise MatrixError(
                f"expected at least two cores of shape (d_left, i, j, d_right), got {len(cores)} with dimensions "
                f"{[core.dim() for core in cores]}."
            )
        met = [core.shape[3] for core in cores], [core.shape[0] for core in cores]
        if met[0][:-1] != met[1][1:] or met[0][-1] != 1 or met[1][0] != 1:
            raise BondError(
                f"the cores {[tuple(core.shape) for core in cores]} do not join: each core's last size must be the "
                "next one's first, and the chain begins and ends with 1."
            )
        rows, cols = [core.shape[1] for core in cores], [core.shape[2] for core in cores]
        shape = shape or (math.prod(rows), math.prod(cols))
        plan = make_plan(shape, rows=rows, cols=cols)
        half = torch.float16, torch.bfloat16
        cores = [core.detach().float() if core.dtype in half else core.detach() for core in cores]
        flat = [core.reshape(core.shape[0], -1, core.shape[-1]) for core in cores]
        matrix = decomposition.to_matrix(decomposition.contract(flat), plan)
        bonds = [min(core.shape[0], full) for core, full in zip(cores, plan.full_bonds)][1:]
        return cls.decompose(matrix, rows=rows, cols=cols, bond=bonds, method=method)

    # -- what it is -------------------------------------------------------------------------------

    @cached_property
    def cores(self) -> list[torch.Tensor]:
        """n tensors (d_{k-1}, i_k, j_k, d_k). Views that other cuts share: clone before changing them."""
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
        # moving the centre by QR drops what no neighbour can fill, so a moved chain is asked itself
        return self._kept if self._moved_to is None else [core.shape[0] for core in self.cores] + [1]

    @property
    def _kept(self) -> list[int]:
        """d'_0 .. d'_n as cut from the source; moving the centre afterwards may need fewer."""
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

        of: "source" all singular values of the decomposed matrix; "truncated" those that a cut keeps, normalized again
            (not quite the cut matrix's own, which would take SVDs).
        """
        if of not in ("source", "truncated"):
            raise unknown("value of `of`", of, ("source", "truncated"))
        kept = self.full_bonds if of == "source" else self._kept
        return [entropy(s[:d], definition) for s, d in zip(self.spectra, kept[1:-1])]

    def norm_shares(self) -> list[float]:
        """Share of each core in the sum of all cores' squared Frobenius norms; in the centre gauge only.

        Elsewhere the norm sits in other cores, by choice of gauge and not by what the matrix is, so no other is given.
        The orthogonal cores' squares are bond dimensions, the centre's is W's: the share depends on W's scale too.
        """
        if self.gauge != self.plan.centre:
            raise UnknownNameError(
                f"Frobenius shares are given in the centre gauge only, and this MPO is {self.gauge_name}; bring it "
                "there with canonical(), or decompose with method='centre'."
            )
        norms = [norm(core) for core in decomposition.move_centre(self._cores, self.plan.centre)]
        largest = max(norms) or 1.0
        squares = [(value / largest) ** 2 for value in norms]
        total = sum(squares) or 1.0
        return [square / total for square in squares]

    # -- errors -----------------------------------------------------------------------------------

    def bound(self) -> float:
        """Upper bound of the relative error: root of the sum of all discarded squares over the norm (MPOP eq. 4).

        In exact arithmetic. Rounding of the cores may put the measured error above it by at most
        `spectra.rounding_allowance(dtype)`, 7e-7 in float32 and 9e-13 in float64; seen where next to nothing is cut.
        """
        return self._tails.bound(self._kept)

    def printed_bound(self, range: str = "printed") -> float:
        """Eq. 3 and 4 as printed, relative to the norm; see `spectra.printed_bound`. Notebook 01, section 6."""
        return printed_bound(self.spectra, self._kept, range)

    @full_precision
    def error(self, W: torch.Tensor | None = None) -> float:
        """Relative Frobenius error against the decomposed matrix, or against a W of the same shape, if given."""
        if W is not None:
            matrix = checked_matrix(W)
            if tuple(matrix.shape) != self.shape:
                raise MatrixError(f"a matrix of shape {tuple(matrix.shape)} was given for an MPO of {self.shape}.")
            own = self.to_matrix()
            dtype = torch.promote_types(own.dtype, matrix.dtype)
            return norm(own.to(matrix.device, dtype) - matrix.to(dtype)) / (norm(matrix) or 1.0)
        if self._swept is not None:
            return math.sqrt(max(sum(self._swept), 0.0))
        return math.sqrt(max(self._known_source().squared_error(self._kept), 0.0))

    @full_precision
    def budget(self) -> list[float]:
        """What each bond's cut adds to the exact squared relative error; n-1 floats in bond order.

        The cuts are applied outermost first (1, n-1, 2, ...), so the increments add up to `error()` squared. After a
        sequential sweep they are the squares discarded at each step (less the share that falls into padding).
        """
        if self._swept is not None:
            return list(self._swept)
        return self._known_source().budget(self._kept)

    def _known_source(self) -> Source:
        if self._source is None:
            raise MatrixError(
                "the decomposed matrix is not at hand (the MPO was loaded from a file with cut bonds, or made with "
                "keep_source=False); compare with the matrix itself: mpo.error(W)."
            )
        return self._source

    # -- cutting, gauge ---------------------------------------------------------------------------

    @full_precision
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
        error: a relative Frobenius error that is guaranteed as measured, by `error()` or on `to_matrix()`: the bonds at
            which the bound first falls below it by what the rounding of the cores may add (7e-7 in float32, 9e-13 in
            float64; `spectra.rounding_allowance`). For a smaller error than that, 0 included, nothing is cut that
            carries anything, and the rounding remains: typically 4e-7 in float32, 3e-15 in float64.
        sweep: cut one bond after the other, each by a small SVD of what is left: usually a smaller error, slower.

        Always relative to the decomposed matrix: cutting twice is cutting once.
        """
        requests = {"bond": bond, "ratio": ratio, "error": error}
        if _one_request(requests) is None:
            raise BondError("truncate() needs one of bond=, ratio= or error=, e.g. truncate(bond=64).")
        bonds, clipped = _choose(requests, self.plan, self._tails, self._kept, self.dtype)
        if sweep:
            return self._swept_to(bonds, clipped)
        if self._swept is not None:  # its bases are the sweep's own: cut the source instead
            return replace(self._unswept(), clipped=clipped).truncate(bond=bonds[1:-1])
        return replace(self, _cores=_sliced(self._cores, bonds), clipped=clipped)

    def _unswept(self) -> MPO:
        """The whole source again, in this object's method and gauge."""
        full, gauge = self._source_cores(), self.plan.centre
        if self.method != "centre":
            full, gauge = decomposition.move_centre(full, self.n - 1), self.n - 1
        if self.method == "symmetric":
            full, gauge = decomposition.normalize(full, self.spectra), None
        gauge = gauge if self._moved_to is None else self._moved_to
        return replace(self, _cores=tuple(full), gauge=gauge, clipped=(), _swept=None)

    def _swept_to(self, bonds: list[int], clipped: tuple) -> MPO:
        # in float64, as all SVDs here: one after another, they would add up their rounding to some 10 eps of float32
        cores, discarded = decomposition.sweep([core.double() for core in self._known_source().cores()], bonds)
        cores = decomposition.move_centre(cores, self.plan.centre)
        if self.plan.is_padded:
            inside = 1 - padding_energy(cores, self.plan) / (sum(discarded) or 1.0)  # the rest fell into the padding
            discarded = [square * max(inside, 0.0) for square in discarded]
        cores[self.plan.centre] = cores[self.plan.centre] * self.norm
        cores = [core.to(self.dtype) for core in cores]
        gauge = self.plan.centre if self._moved_to is None else self._moved_to
        return replace(self, _cores=tuple(cores), _swept=tuple(discarded), gauge=gauge, clipped=clipped)

    def _source_cores(self) -> list[torch.Tensor]:
        """The source's cores at full bonds and at their own scale, centre in the middle."""
        cores = self._known_source().cores()
        return _scaled(cores, self.plan.centre, self.norm)

    def canonical(self, centre: int | None = None) -> MPO:
        """The same matrix with its norm in core `centre` (from 0; default the middle) and all others orthogonal."""
        centre = self.plan.centre if centre is None else centre
        if not isinstance(centre, numbers.Integral) or not -self.n <= centre < self.n:
            raise BondError(f"centre = {centre!r}: the cores are numbered 0 to {self.n - 1}.")
        centre = int(centre) % self.n
        return replace(self, gauge=centre, _moved_to=centre)

    @property
    def gauge_name(self) -> str:
        """ "symmetric", or the core that carries the norm."""
        return "symmetric" if self.gauge is None else f"centre in core {self.gauge + 1}"

    # -- using it ---------------------------------------------------------------------------------

    @full_precision
    def to_matrix(self) -> torch.Tensor:
        """(I, J), rebuilt from the cores; padding removed."""
        halves = [core.reshape(core.shape[0], -1, core.shape[-1]) for core in self.cores]
        return decomposition.to_matrix(decomposition.contract(halves), self.plan)

    def matvec(self, x: torch.Tensor) -> torch.Tensor:
        """W x without building W: x (..., J) -> (..., I), the cores contracted with x one after another.

        Rarely the fastest way: see `mpolab.cost`, notebook 01, section 8.
        """
        if not isinstance(x, torch.Tensor) or x.dim() == 0 or x.shape[-1] != self.shape[1]:
            given = f"{x.shape[-1] if x.dim() else 1} entries" if isinstance(x, torch.Tensor) else type(x).__name__
            raise MatrixError(f"matvec takes a tensor (..., {self.shape[1]}), got {given} in the last dimension.")
        flat = x.to(self.dtype).reshape(-1, self.shape[1])  # (tokens, J)
        return decomposition.chain(self.cores, self.plan, flat).reshape(*x.shape[:-1], self.shape[0])

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


def _one_request(requests: dict) -> str | None:
    given = [name for name, value in requests.items() if value is not None]
    if len(given) > 1:
        raise BondError(f"{' and '.join(f'{name}=' for name in given)} were given; give one, it decides the others.")
    return given[0] if given else None


def _requested_bonds(bond: int | Sequence[int], plan: Plan) -> list[int]:
    """A cap or a list of n-1 bonds -> n+1 integers as asked for, not yet clipped."""
    bond = _plain(bond)
    if _is_count(bond) and isinstance(bond, numbers.Integral):
        return [1, *[int(bond)] * (plan.n - 1), 1]
    inner = list(bond) if isinstance(bond, Iterable) and not isinstance(bond, str | bytes) else None
    if inner is not None and len(inner) != plan.n - 1:
        raise BondError(
            f"bond = {inner} has {len(inner)} entries; {plan.n} cores have {plan.n - 1} inner bonds, full ones "
            f"being {list(plan.full_bonds[1:-1])}."
        )
    if inner is None or not all(map(_is_count, inner)):
        raise BondError(f"bond = {bond!r}: expected a whole number of at least 1, or a list of {plan.n - 1} of them.")
    return [1, *(int(d) for d in inner), 1]


def _plain(value: object) -> object:
    """A tensor or NumPy array without dimensions as the number that it holds; all else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _is_count(value: object) -> bool:
    """A whole number of at least 1, of whatever numeric type (64.0 counts, True does not)."""
    value = _plain(value)
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value >= 1 and value % 1 == 0


def _choose(
    requests: dict, plan: Plan, tails: Tails, ceilings: Sequence[int], dtype: torch.dtype
) -> tuple[list[int], tuple]:
    """The n+1 bonds that a request leads to, none above `ceilings`, and what was clipped of it; dtype: the cores'."""
    if requests["ratio"] is not None:
        return bonds_for_ratio(plan, tails, requests["ratio"], ceilings), ()
    if requests["error"] is not None:
        return bonds_for_error(plan, tails, requests["error"], ceilings, rounding_allowance(dtype)), ()
    asked = _requested_bonds(requests["bond"], plan)
    bonds = [min(d, ceiling) for d, ceiling in zip(asked, ceilings)]
    clipped = tuple((k, asked[k], bonds[k]) for k in range(1, plan.n) if asked[k] > bonds[k])
    if isinstance(_plain(requests["bond"]), numbers.Integral) and len(clipped) < plan.n - 1:
        clipped = ()  # an integer caps: some bonds lie below it by its very meaning
    return bonds, clipped


def _sliced(cores: Sequence[torch.Tensor], bonds: Sequence[int]) -> tuple[torch.Tensor, ...]:
    return tuple(core[: bonds[k], :, : bonds[k + 1]] for k, core in enumerate(cores))


def _scaled_centre(halves: Halves, left_bond: int, right_bond: int, scale: float) -> torch.Tensor:
    core = halves.centre_core(left_bond, right_bond)
    return core if scale == 1.0 else core * scale


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
