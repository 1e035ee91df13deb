"""One local cut against dense SVDs: the best there is at that bond, in any gauge, and nothing else touched."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpolab import MPO
from mpolab.cut import find_cut
from mpolab.errors import BondError, MatrixError, MatrixTypeError
from mpolab.plans import make_plan


def random_chain(rows, cols, inner, seed=0, dtype=torch.float64):
    """Cores in no gauge at all."""
    g = torch.Generator().manual_seed(seed)
    bonds = [1, *inner, 1]
    return [
        torch.randn(bonds[k], i, j, bonds[k + 1], generator=g, dtype=torch.float64).to(dtype)
        for k, (i, j) in enumerate(zip(rows, cols))
    ]


def trained_chain(shape, dtype=torch.float64, seed=0, amount=0.05, method="centre", **kwargs):
    """A decomposed Gaussian whose auxiliary cores have moved."""
    g = torch.Generator().manual_seed(seed)
    mpo = MPO.decompose(torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype), method=method, **kwargs)
    cores = [core.to(dtype, copy=True) for core in mpo.cores]
    for k, core in enumerate(cores):
        if k != mpo.plan.centre:
            core += amount * core.double().std().to(dtype) * torch.randn(core.shape, generator=g).to(dtype)
    return cores, mpo.plan


def bonds_of(cores):
    return [core.shape[0] for core in cores] + [1]


def best(matrix, rows, cols, bond, keep, oracle):
    """The best approximation of rank `keep` at one bond, as an unfolding, and its relative error."""
    whole = oracle.unfolding(matrix, rows, cols, bond)
    u, s, vh = np.linalg.svd(whole, full_matrices=False)
    return (u[:, :keep] * s[:keep]) @ vh[:keep], math.sqrt((s[keep:] ** 2).sum() / (s**2).sum())


chains = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 3), min_size=n, max_size=n),
        st.lists(st.integers(1, 3), min_size=n, max_size=n),
        st.lists(st.integers(1, 5), min_size=n - 1, max_size=n - 1),
        st.integers(1, n - 1),
        st.floats(0, 1),
        st.integers(0, 1000),
    )
)


@given(chains)
def test_a_cut_is_the_best_there_is_at_its_bond(oracle, chain):
    rows, cols, inner, bond, share, seed = chain
    cores = random_chain(rows, cols, inner, seed)
    keep = max(1, round(share * inner[bond - 1]))
    matrix = oracle.product(cores)
    cut = find_cut(cores, bond, keep)
    new = cut.on_cores(cores)
    assert bonds_of(new) == [1, *inner[: bond - 1], keep, *inner[bond:], 1]
    assert all(a is b for k, (a, b) in enumerate(zip(new, cores)) if k not in (bond - 1, bond))
    wanted, error = best(matrix, rows, cols, bond, keep, oracle)
    scale = np.abs(matrix).max()
    assert np.allclose(oracle.unfolding(oracle.product(new), rows, cols, bond), wanted, atol=1e-7 * scale)
    assert cut.error == pytest.approx(error, abs=1e-7)
    assert cut.error == pytest.approx(oracle.relative_error(oracle.product(new), matrix), abs=1e-7)
    identity = cut.right.dense() @ cut.left.dense().T
    assert torch.allclose(identity, torch.eye(keep, dtype=torch.float64), atol=1e-7)


@pytest.mark.parametrize("method", ["centre", "left_to_right", "symmetric"])
@pytest.mark.parametrize("bond", [2, 3])
def test_a_cut_of_a_fresh_decomposition_is_a_slice(gaussian, oracle, method, bond):
    matrix = gaussian(36, 24)
    mpo = MPO.decompose(matrix, rows=(2, 2, 3, 3), cols=(2, 3, 2, 2), method=method)
    keep = mpo.bonds[bond] - 3
    asked = [keep if k == bond else d for k, d in enumerate(mpo.bonds)]
    sliced = mpo.truncate(bond=asked[1:-1])
    cut = find_cut(mpo.cores, bond, keep)
    new = cut.on_cores(mpo.cores)
    assert np.abs(oracle.product(new) - oracle.as_numpy(sliced.to_matrix())).max() < 1e-10
    for core, expected in zip(new, sliced.cores):
        assert torch.allclose(core, expected, atol=1e-9)
    assert cut.error == pytest.approx(sliced.error(), abs=1e-10)


def test_a_canonical_chain_stays_canonical_in_any_basis(gaussian):
    mpo = MPO.decompose(gaussian(36, 24), rows=(2, 2, 3, 3), cols=(2, 3, 2, 2))
    cores = list(mpo.cores)  # the centre is core 2
    for bond in (2, 3):
        rotation = torch.linalg.qr(gaussian(mpo.bonds[bond], mpo.bonds[bond], seed=bond))[0]
        cores[bond - 1] = cores[bond - 1] @ rotation
        cores[bond] = torch.tensordot(rotation.T, cores[bond], dims=1)
    for bond in (2, 3, 2, 3):
        cores = find_cut(cores, bond, cores[bond].shape[0] - 2).on_cores(cores)
    for k in (0, 1):
        left = cores[k].flatten(0, 2)
        assert torch.allclose(left.T @ left, torch.eye(left.shape[1], dtype=left.dtype), atol=1e-10)
    right = cores[3].flatten(1)
    assert torch.allclose(right @ right.T, torch.eye(right.shape[0], dtype=right.dtype), atol=1e-10)


def test_a_cut_moves_what_is_kept_as_little_as_possible():
    """A cut of one value in a chain that training has hardly moved leaves the others nearly where they were."""
    cores, _ = trained_chain((64, 64), amount=0.01, seed=3)
    cut = find_cut(cores, 2, cores[2].shape[0] - 1)
    Q = cut.right.dense()
    assert torch.allclose(Q @ Q.T, torch.eye(len(Q), dtype=Q.dtype), atol=1e-12)
    best_overlap = torch.linalg.svdvals(Q).sum()  # trace of Q over the kept values, at most the sum of ones
    assert float(Q[:, cut.right.keep].trace()) > 0.98 * float(best_overlap)


def test_many_cuts_add_up_as_dense_says(oracle):
    cores, plan = trained_chain((60, 48), rows=(3, 4, 5), cols=(4, 4, 3))
    for bond, keep in [(1, 11), (2, 14), (1, 8), (2, 6), (1, 1), (2, 1)]:
        matrix = oracle.product(cores)
        cut = find_cut(cores, bond, keep, plan)
        cores = cut.on_cores(cores)
        assert cut.error == pytest.approx(best(matrix, plan.rows, plan.cols, bond, keep, oracle)[1], rel=1e-10)
        assert cut.error == pytest.approx(oracle.relative_error(oracle.product(cores), matrix), rel=1e-10)


@pytest.mark.parametrize(
    ("dtype", "rounding"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-2), (torch.float16, 1e-3)],
)
def test_every_dtype(oracle, dtype, rounding):
    """Large enough that float32 takes its faster way; as good as the best to five digits, and honest about it."""
    cores, plan = trained_chain((256, 256), dtype, rows=(8, 4, 8), cols=(8, 4, 8))
    matrix = oracle.product(cores)
    for bond in (1, 2):
        cut = find_cut(cores, bond, 50, plan)
        new = cut.on_cores(cores)
        assert all(core.dtype == dtype for core in new)
        smallest = best(matrix, plan.rows, plan.cols, bond, 50, oracle)[1]
        assert cut.error == pytest.approx(smallest, rel=1e-5)
        assert oracle.relative_error(oracle.product(new), matrix) == pytest.approx(cut.error, abs=rounding)


def test_small_singular_values_of_float32_are_found_in_float64(oracle):
    """A bond whose last singular values lie far below float32 Gram matrices' resolution."""
    g = torch.Generator().manual_seed(0)
    u = torch.linalg.qr(torch.randn(64, 64, generator=g, dtype=torch.float64))[0]
    v = torch.linalg.qr(torch.randn(4096, 64, generator=g, dtype=torch.float64))[0]
    s = 10.0 ** -torch.linspace(0, 5, 64, dtype=torch.float64)
    cores = [(u * 1.0).reshape(1, 8, 8, 64).float(), (s[:, None] * v.T).reshape(64, 64, 64, 1).float()]
    error = find_cut(cores, 1, 60).error
    left, right = (core.double().reshape(shape) for core, shape in zip(cores, ((64, 64), (64, 4096))))
    values = torch.linalg.svdvals(left @ right)
    assert error == pytest.approx(float((values[60:] ** 2).sum().sqrt() / values.norm()), rel=1e-3)


@pytest.mark.parametrize("zero", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_cores(zero, dtype):
    cores = random_chain((2, 3, 2), (3, 2, 2), (5, 4), dtype=dtype)
    for k in zero:
        cores[k] = torch.zeros_like(cores[k])
    for bond, keep in ((1, 3), (2, 1), (1, 1)):
        cut = find_cut(cores, bond, keep)
        cores = cut.on_cores(cores)
        assert cut.error == 0.0
        assert all(bool(torch.isfinite(core).all()) for core in cores)
    assert bonds_of(cores) == [1, 1, 1, 1]


@pytest.mark.parametrize("side", [0, 1])
def test_what_the_cores_do_not_use_goes_first_and_costs_nothing(oracle, side):
    """A bond wider than what lies on one side of it, and directions that one side has forgotten."""
    cores = random_chain((2, 3, 2), (2, 2, 2), (9, 6), seed=5)  # 4 values can reach bond 1 from the left
    if side:
        cores[1][5:] = cores[1][:4]  # and some of the index is said twice on the right
    matrix = oracle.product(cores)
    cut = find_cut(cores, 1, 4)
    new = cut.on_cores(cores)
    assert cut.error < 1e-7
    assert np.abs(oracle.product(new) - matrix).max() < 1e-9 * np.abs(matrix).max()
    assert find_cut(new, 1, 3).error == pytest.approx(best(matrix, (2, 3, 2), (2, 2, 2), 1, 3, oracle)[1], rel=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_cores_at_the_ends_of_float32(oracle, scale):
    cores, plan = trained_chain((48, 36), torch.float32, rows=(4, 3, 4), cols=(3, 4, 3))
    expected = find_cut(cores, 1, 7, plan).error
    cores[1] *= scale
    cut = find_cut(cores, 1, 7, plan)
    new = cut.on_cores(cores)
    assert cut.error == pytest.approx(expected, rel=1e-5)
    assert oracle.relative_error(oracle.product(new), oracle.product(cores)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("row", [None, 0, 7])
def test_padding_and_a_row_kept_apart_do_not_count(gaussian, oracle, row):
    matrix = gaussian(33, 23)
    mpo = MPO.decompose(matrix, rows=(3, 3, 4), cols=(4, 3, 2))
    g = torch.Generator().manual_seed(1)
    cores = [core + 0.1 * torch.randn(core.shape, generator=g, dtype=core.dtype) for core in mpo.cores]

    def seen(chain):
        whole = oracle.product(chain)[:33, :23].copy()
        if row is not None:
            whole[row] = 0
        return whole

    for bond, keep in ((1, 6), (2, 5)):
        cut = find_cut(cores, bond, keep, mpo.plan, row)
        new = cut.on_cores(cores)
        assert cut.error == pytest.approx(oracle.relative_error(seen(new), seen(cores)), rel=1e-10)


# -- gradients -------------------------------------------------------------------------------------


def gradients(cores, target):
    """Of a loss that is no quadratic form, with respect to every core, by autograd."""
    leaves = [core.clone().requires_grad_() for core in cores]
    chain = leaves[0]
    for core in leaves[1:]:
        chain = torch.tensordot(chain, core, dims=1)
    loss = (chain.squeeze() - target).sin().sum()
    return [gradient.detach() for gradient in torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("bond", [1, 2, 3])
def test_gradients_turn_with_the_maps_of_the_other_core(bond):
    """Where a cut loses nothing, autograd after it gives what `on_gradient` makes of autograd before it."""
    rows, cols = (3, 3, 2, 4), (3, 2, 3, 3)
    small, g = random_chain(rows, cols, (3, 4, 3), seed=2), torch.Generator().manual_seed(9)
    d = small[bond].shape[0]
    # A bond of d + 4 of which one side uses only d; the other side uses all, in no particular basis.
    narrow = torch.randn(d + 4, d, generator=g, dtype=torch.float64)
    cores, left = list(small), bond <= 2
    if left:
        cores[bond - 1] = torch.randn(*small[bond - 1].shape[:3], d + 4, generator=g, dtype=torch.float64)
        cores[bond] = torch.tensordot(narrow, small[bond], dims=1)
    else:
        cores[bond - 1] = small[bond - 1] @ narrow.T
        cores[bond] = torch.randn(d + 4, *small[bond].shape[1:], generator=g, dtype=torch.float64)
    target = torch.randn([size for pair in zip(rows, cols) for size in pair], generator=g, dtype=torch.float64)
    cut = find_cut(cores, bond, d)
    assert cut.error < 1e-7
    new = cut.on_cores(cores)
    before, after = gradients(cores, target), gradients(new, target)
    for k in range(4):
        turned = cut.on_gradient(k, before[k]) if k in (bond - 1, bond) else before[k]
        assert torch.allclose(turned, after[k], rtol=1e-7, atol=1e-7 * float(after[k].abs().max()))
    # and with the core's own map it would be wrong
    assert not torch.allclose(cut.left.on_last(before[bond - 1]), after[bond - 1], rtol=0.1)


def test_gradients_under_a_change_of_basis_alone():
    """keep = d: the maps are the identity, and an oblique one turns gradients by the inverse transposed."""
    cores = random_chain((2, 3, 2), (2, 2, 3), (4, 5), seed=4)
    cut = find_cut(cores, 2, 5)
    assert cut.error == 0.0
    assert all(torch.equal(a, b) for a, b in zip(cut.on_cores(cores), cores))
    assert torch.equal(cut.on_gradient(1, cores[1]), cores[1])


# -- bad input -------------------------------------------------------------------------------------


def test_what_cannot_be_cut():
    cores = random_chain((2, 3, 2), (2, 2, 3), (4, 5))
    for bond, keep, words in ((0, 1, "1 to 2"), (3, 1, "1 to 2"), (1, 0, "between 1 and 4"), (1, 5, "between 1 and 4")):
        with pytest.raises(BondError, match=words):
            find_cut(cores, bond, keep)
    for value in (math.nan, math.inf, -math.inf):
        broken = [core.clone() for core in cores]
        broken[2][0, 0, 0, 0] = value
        with pytest.raises(MatrixError, match="core 2 holds NaN or infinity"):
            find_cut(broken, 1, 2)
    with pytest.raises(MatrixTypeError, match="meta"):
        find_cut([core.to("meta") for core in cores], 1, 2)


def test_autocast_and_grad_mode_make_no_difference():
    cores, plan = trained_chain((48, 36), torch.float32, rows=(4, 3, 4), cols=(3, 4, 3))
    expected = find_cut(cores, 1, 7, plan).on_cores(cores)
    leaves = [core.clone().requires_grad_() for core in cores]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        new = find_cut(leaves, 1, 7, plan).on_cores(leaves)
    assert all(torch.equal(a, b) for a, b in zip(new, expected))
    assert not new[0].requires_grad and make_plan((48, 36), rows=(4, 3, 4), cols=(3, 4, 3)) == plan
