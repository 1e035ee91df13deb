"""Which changes of W auxiliary tensors reach, against the Jacobian written out."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import jacobian

from mpolab import MPO
from mpolab.errors import MatrixError
from mpolab.tangent import auxiliary_share


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def changed(mpo, cores):
    return MPO.from_cores(cores, mpo.shape).to_matrix()


def by_hand(mpo, change):
    """The projection onto the columns of the whole Jacobian, by an SVD."""
    places = [k for k in range(mpo.plan.n) if k != mpo.plan.centre]

    def matrix(*auxiliary):
        given = dict(zip(places, auxiliary))
        chain = torch.ones(1, 1, 1, dtype=torch.float64)
        for k, core in enumerate(mpo.cores):
            core = given.get(k, core)
            chain = torch.einsum("xya,aijb->xiyjb", chain, core).flatten(2, 3).flatten(0, 1)
        return chain[: mpo.shape[0], : mpo.shape[1], 0].flatten()

    J = torch.cat([part.flatten(1) for part in jacobian(matrix, tuple(mpo.cores[k] for k in places))], dim=1)
    U, s, _ = torch.linalg.svd(J, full_matrices=False)
    U = U[:, s > s[0] * 1e-10]
    d = change.flatten()
    return float((U.T @ d).square().sum() / d.square().sum())


@pytest.mark.parametrize("shape, n, bonds", [((12, 8), 3, None), ((16, 16), 5, 3), ((7, 6), 3, None)])
def test_the_share_is_that_of_the_whole_jacobian(shape, n, bonds):
    mpo = MPO.decompose(gaussian(*shape), n=n)
    mpo = mpo.truncate(bonds) if bonds else mpo
    change = gaussian(*shape, seed=1)
    assert auxiliary_share(mpo, change) == pytest.approx(by_hand(mpo, change), abs=1e-4)


def test_what_auxiliaries_make_is_reached_and_more_of_it_too():
    mpo = MPO.decompose(gaussian(16, 24), n=3)
    cores = list(mpo.cores)
    cores[0] = cores[0] + gaussian(*cores[0].shape, seed=2)  # of first order exactly, as only one tensor changes
    change = changed(mpo, cores) - mpo.to_matrix()
    assert auxiliary_share(mpo, change) == pytest.approx(1, abs=1e-5)
    assert auxiliary_share(mpo, 1e-9 * change) == pytest.approx(1, abs=1e-5)


def test_nothing_and_bad_input():
    mpo = MPO.decompose(gaussian(8, 8), n=3)
    assert auxiliary_share(mpo, torch.zeros(8, 8)) == 0.0
    with pytest.raises(MatrixError, match="shape"):
        auxiliary_share(mpo, torch.zeros(8, 9))
    with pytest.raises(MatrixError, match="NaN"):
        auxiliary_share(mpo, torch.full((8, 8), torch.nan))
    assert 0 <= auxiliary_share(MPO.decompose(torch.zeros(8, 8), n=3), gaussian(8, 8)) < 1
