"""Other packages that decompose a matrix into the same format, one entry of `PEERS` each.

Every peer is a function (matrix, plan, bonds) -> its own object: `matrix` is a contiguous float32 torch tensor that
is padded to the plan already (mpolab pads inside its own time), `plan` an `mpolab.plans.Plan`, `bonds` the n+1 bonds to
cut to. Whatever it needs besides (permuting the legs, its own class) is part of its time, as it is for its users.
`cores` turns the object into torch tensors (d_{k-1}, i_k, j_k, d_k), outside of the time.

Nothing is imported until a peer is asked for: a missing package is an entry in the report, not an error.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mpolab.plans import Plan

Cores = list[torch.Tensor]


@dataclass(frozen=True)
class Peer:
    """name: as in the tables. needs: the module it lives in. distribution: what pip calls it.

    spectra: what of the singular values the result tells. exact: whether its singular values are as good as the dtype;
    the report gives the speed-up over the fastest exact peer and, beside it, over the fastest of all.
    """

    name: str
    needs: str
    distribution: str
    run: Callable[[torch.Tensor, Plan, Sequence[int]], Any]
    cores: Callable[[Any, Plan], Cores]
    spectra: str
    note: str = ""
    exact: bool = True

    def missing(self) -> str:
        """Why it cannot run here, or an empty string."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torchTT says five times that its C++ solvers are not built
                importlib.import_module(self.needs)
        except Exception as error:  # a broken package is as missing as an absent one, and says why
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return ""

    def version(self) -> str:
        return importlib.metadata.version(self.distribution)


def _legs(matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(I', J') -> (i_1 .. i_n, j_1 .. j_n), a view."""
    return matrix.reshape(*plan.rows, *plan.cols)


def _tensor(matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """(I', J') -> (a_1, ..., a_n), a_k = i_k j_k: one copy, as everybody else needs it."""
    paired = [axis for k in range(plan.n) for axis in (k, plan.n + k)]
    return _legs(matrix, plan).permute(paired).reshape(plan.sizes)


def _split_legs(cores: Sequence, plan: Plan) -> Cores:
    """Cores with row and column leg together, boundary bonds present or not -> (d, i, j, e) torch tensors."""
    last, split = plan.n - 1, []
    for k, (core, i, j) in enumerate(zip(cores, plan.rows, plan.cols)):
        core = torch.as_tensor(core)
        before = 1 if k == 0 else core.shape[0]
        after = 1 if k == last else core.shape[-1]
        split.append(core.reshape(before, i, j, after))
    return split


# -- tensorly: an SVD per bond from the left, on NumPy or on torch ---------------------------------


def _tensorly(backend: str, svd: str = "truncated_svd") -> Callable:
    def run(matrix: torch.Tensor, plan: Plan, bonds: Sequence[int]):
        import tensorly
        from tensorly.decomposition import tensor_train_matrix

        with tensorly.backend_context(backend, local_threadsafe=True):
            legs = _legs(matrix if backend == "pytorch" else matrix.numpy(), plan)
            seed = {"random_state": 0} if svd == "randomized_svd" else {}
            return tensor_train_matrix(legs, rank=list(bonds), svd=svd, **seed)

    return run


# -- tensorly-torch: the same sweep, wrapped in a torch module -------------------------------------


def _tensorly_torch(matrix: torch.Tensor, plan: Plan, bonds: Sequence[int]):
    import tltorch

    return tltorch.TensorizedTensor.from_matrix(matrix, plan.rows, plan.cols, rank=list(bonds), factorization="BlockTT")


# -- torchTT ------------------------------------------------------------------------------------


def _torchtt(matrix: torch.Tensor, plan: Plan, bonds: Sequence[int]):
    import torchtt

    # eps = 0 keeps exactly the bonds asked for
    return torchtt.TT(_legs(matrix, plan), shape=list(zip(plan.rows, plan.cols)), eps=0.0, rmax=list(bonds))


# -- quimb: its tensor_split, bond after bond, on NumPy or on torch --------------------------------


def _quimb(backend: str, method: str) -> Callable:
    """`MatrixProductOperator.from_dense` takes one bond for all and one list of dims for rows and columns.

    So this is its loop, written out with `Tensor.split`, so that every bond gets its own bound and I may differ from J.
    `absorb=None` hands out the singular values; multiplying them into the rest is what `absorb="right"` does.
    """

    def run(matrix: torch.Tensor, plan: Plan, bonds: Sequence[int]):
        import quimb.tensor as qtn

        tensor = _tensor(matrix, plan)  # (a_1, ..., a_n)
        inds = [f"a{k}" for k in range(plan.n)]
        rest = qtn.Tensor(tensor if backend == "torch" else tensor.numpy(), inds)
        arrays, spectra = [], []
        for k in range(plan.n - 1):
            left_inds, bond = [ix for ix in rest.inds if ix not in inds[k + 1 :]], f"d{k + 1}"
            left, s, rest = rest.split(
                left_inds, method=method, absorb=None, get="tensors", max_bond=bonds[k + 1], cutoff=0.0, bond_ind=bond
            )
            rest.multiply_index_diagonal_(bond, s.data)
            arrays.append(left.transpose(*left_inds, bond).data)
            spectra.append(s.data)
        arrays.append(rest.data)  # (d_{n-1}, a_n)
        return arrays, spectra

    return run


_LEFT_OVER = "thrown away"
_OF_THE_REST = "kept ones of what the cuts before left"

PEERS: tuple[Peer, ...] = (
    Peer(
        "tensorly (numpy)", "tensorly", "tensorly", _tensorly("numpy"), lambda r, plan: _split_legs(r.factors, plan),
        _LEFT_OVER, "tensor_train_matrix, truncated_svd",
    ),
    Peer(
        "tensorly (torch)", "tensorly", "tensorly", _tensorly("pytorch"), lambda r, plan: _split_legs(r.factors, plan),
        _LEFT_OVER, "tensor_train_matrix, truncated_svd",
    ),
    Peer(
        "tensorly (torch, randomized)", "tensorly", "tensorly", _tensorly("pytorch", "randomized_svd"),
        lambda r, plan: _split_legs(r.factors, plan), _LEFT_OVER, "tensor_train_matrix, randomized_svd; larger error",
        exact=False,
    ),
    Peer(
        "tensorly-torch", "tltorch", "tensorly-torch", _tensorly_torch, lambda r, plan: _split_legs(r.factors, plan),
        _LEFT_OVER, "TensorizedTensor.from_matrix, BlockTT: tensorly's sweep",
    ),
    Peer(
        "torchTT", "torchtt", "torchTT", _torchtt, lambda r, plan: list(r.cores), _LEFT_OVER,
        "torchtt.TT, eps=0, rmax=bonds",
    ),
    Peer(
        "quimb (numpy)", "quimb.tensor", "quimb", _quimb("numpy", "svd"), lambda r, plan: _split_legs(r[0], plan),
        _OF_THE_REST, "Tensor.split, svd, cutoff=0",
    ),
    Peer(
        "quimb (torch)", "quimb.tensor", "quimb", _quimb("torch", "svd"), lambda r, plan: _split_legs(r[0], plan),
        _OF_THE_REST, "Tensor.split, svd, cutoff=0",
    ),
    Peer(
        "quimb (torch, svd:eig)", "quimb.tensor", "quimb", _quimb("torch", "svd:eig"),
        lambda r, plan: _split_legs(r[0], plan), _OF_THE_REST,
        "Tensor.split, svd:eig: float32 Gram matrices, small singular values lost", exact=False,
    ),
)  # fmt: skip
