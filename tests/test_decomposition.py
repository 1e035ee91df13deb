"""Decomposition itself: exact at full bonds, right gauge, right at the edges, and as tensorly and the SVD have it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpolab import MPO
from mpolab.errors import MatrixError
from mpolab.halves import bond_spectra

METHODS = ("centre", "left_to_right", "symmetric")
LIMIT = {torch.float16: 3e-6, torch.bfloat16: 3e-6, torch.float32: 3e-6, torch.float64: 1e-12}
SHAPES = [(1, 1), (1, 9), (7, 5), (13, 17), (31, 29), (64, 48), (97, 101), (45, 105), (128, 3), (2, 250)]


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@st.composite
def problems(draw, most: int = 1200):
    """rows, cols, a shape that fits them (perhaps with padding), and a matrix that is not always full of numbers."""
    n = draw(st.integers(2, 6))
    rows, cols, size = [], [], 1
    for _ in range(n):
        rows.append(draw(st.integers(1, 5)))
        cols.append(draw(st.integers(1, 5)))
        if size * rows[-1] * cols[-1] > most:
            rows[-1] = cols[-1] = 1
        size *= rows[-1] * cols[-1]
    shape = []
    for factors in (rows, cols):
        whole = math.prod(factors)
        least = max(1, math.ceil(whole / 1.125))
        shape.append(draw(st.integers(least, whole)))
    W = random(tuple(shape), seed=draw(st.integers(0, 10_000)))
    kind = draw(st.sampled_from(["gaussian", "gaussian", "rank one", "decaying", "sparse"]))
    if kind == "rank one":
        W = W[:, :1] @ W[:1]
    elif kind == "decaying":
        W = W * torch.exp(-torch.arange(shape[0], dtype=torch.float64))[:, None]
    elif kind == "sparse":
        W = W * (W.abs() > 1.2)
    return tuple(rows), tuple(cols), W


# -- exact at full bonds --------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", LIMIT, ids=str)
@pytest.mark.parametrize("n", range(2, 10))
def test_full_bonds_lose_nothing(n, dtype, method, oracle):
    for seed, shape in enumerate(SHAPES):
        W = random(shape, seed, dtype)
        mpo = MPO.decompose(W, n=n, method=method)
        assert mpo.n == n and mpo.shape == shape and mpo.bonds == mpo.full_bonds
        back = mpo.to_matrix()
        assert back.shape == shape
        assert back.dtype == mpo.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert oracle.relative_error(back, W) <= LIMIT[dtype], shape
        for core, i, j, left, right in zip(mpo.cores, mpo.rows, mpo.cols, mpo.bonds, mpo.bonds[1:]):
            assert core.shape == (left, i, j, right)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_real_layers_size_loses_nothing(method, dtype, oracle):
    W = random((256, 192), 1, dtype)
    assert oracle.relative_error(MPO.decompose(W, method=method).to_matrix(), W) <= LIMIT[dtype]


@given(problems(), st.sampled_from(METHODS), st.sampled_from(list(LIMIT)))
def test_any_plan_loses_nothing(oracle, problem, method, dtype):
    rows, cols, W = problem
    W = W.to(dtype)
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    assert all(torch.isfinite(core).all() for core in mpo.cores)
    assert oracle.relative_error(mpo.to_matrix(), W) <= LIMIT[dtype]
    padded = oracle.product(mpo.cores)  # contracted in another way
    assert padded.shape == (math.prod(rows), math.prod(cols))
    assert oracle.relative_error(padded[: W.shape[0], : W.shape[1]], W) <= LIMIT[dtype]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "view",
    [
        lambda W: W.T,
        lambda W: W[::2, 1::3],
        lambda W: W.flip(0),
        lambda W: W[:, 5:29],
        lambda W: W[:1].expand(24, -1),
        lambda W: torch.nn.Parameter(W),
        lambda W: W.numpy()[::-1, ::2],
        lambda W: W.numpy().astype(np.float16),
        lambda W: np.asfortranarray(W.numpy()),
    ],
)
def test_views_parameters_and_arrays(view, method, oracle):
    W = view(random((48, 36)))
    before = W.detach().numpy().copy() if isinstance(W, torch.Tensor) else W.copy()
    mpo = MPO.decompose(W, n=3, method=method)
    assert not any(core.requires_grad for core in mpo.cores)
    assert oracle.relative_error(mpo.to_matrix(), before) <= (3e-6 if before.dtype == np.float16 else 1e-12)
    np.testing.assert_array_equal(before, W.detach().numpy() if isinstance(W, torch.Tensor) else W)  # W is untouched


def test_half_precision_is_computed_in_float32_from_the_same_entries():
    for dtype in (torch.float16, torch.bfloat16):
        W = random((24, 24), dtype=dtype)
        for ours, right in zip(MPO.decompose(W, n=3).cores, MPO.decompose(W.float(), n=3).cores):
            assert torch.equal(ours, right)


def test_the_same_cores_every_time():
    W = random((60, 60), dtype=torch.float32)
    first, second = MPO.decompose(W), MPO.decompose(W.clone())
    assert all(torch.equal(a, b) for a, b in zip(first.cores, second.cores))


# -- against tensorly and the SVD -----------------------------------------------------------------


@pytest.mark.parametrize(
    "rows, cols",
    [((4, 6), (6, 4)), ((3, 4, 2), (2, 4, 3)), ((2, 3, 2, 2), (2, 2, 3, 2)), ((2, 2, 3, 2, 2), (2, 3, 2, 2, 1))],
)
@pytest.mark.parametrize("method", METHODS)
def test_tensorly_agrees(rows, cols, method, oracle):
    from tensorly.decomposition import tensor_train_matrix
    from tensorly.tt_matrix import tt_matrix_to_matrix

    W = random((math.prod(rows), math.prod(cols)), 5)
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    full = tensor_train_matrix(W.numpy().reshape(*rows, *cols), rank=tuple(mpo.full_bonds))
    assert [c.shape for c in full] == [tuple(c.shape) for c in mpo.cores]
    np.testing.assert_allclose(tt_matrix_to_matrix(full), mpo.to_matrix().numpy(), atol=1e-12)
    for cap in (1, 2, 5, 9):
        bonds = [min(cap, d) for d in mpo.full_bonds]
        peer = tt_matrix_to_matrix(tensor_train_matrix(W.numpy().reshape(*rows, *cols), rank=tuple(bonds)))
        swept, sliced = mpo.truncate(bond=cap, sweep=True), mpo.truncate(bond=cap)
        np.testing.assert_allclose(swept.to_matrix().numpy(), peer, atol=1e-10)  # TT-SVD is the sequential sweep
        theirs = oracle.relative_error(peer, W)
        assert swept.error() == pytest.approx(theirs, rel=1e-10)
        assert theirs <= sliced.error() * 1.05 + 1e-12 and sliced.error() <= theirs * 1.15


@pytest.mark.parametrize("method", METHODS)
def test_two_cores_are_the_svd(method, oracle):
    """Eckart-Young: no matrix of that rank in the unfolding is nearer."""
    rows, cols = (4, 5), (3, 6)
    W = random((20, 18), 2)
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    s = oracle.singular_values(W, rows, cols)[0]
    for d in range(1, 13):
        cut = mpo.truncate(bond=d)
        best = math.sqrt((s[d:] ** 2).sum() / (s**2).sum())
        assert cut.error() == pytest.approx(best, abs=1e-13)
        assert cut.bound() == pytest.approx(best, abs=1e-13)
        assert oracle.relative_error(cut.to_matrix(), W) == pytest.approx(best, abs=1e-13)
        np.testing.assert_allclose(cut.to_matrix().numpy(), oracle.cut(W, rows, cols, [d]), atol=1e-12)
        np.testing.assert_allclose(mpo.truncate(bond=d, sweep=True).to_matrix(), cut.to_matrix(), atol=1e-12)


def test_plain_svd_of_the_matrix_is_a_plan_too(oracle):
    """rows (I, 1), cols (1, J): the unfolding is the matrix itself."""
    W = random((20, 14), 2)
    mpo = MPO.decompose(W, rows=(20, 1), cols=(1, 14))
    np.testing.assert_allclose(mpo.spectra[0].numpy(), np.linalg.svd(W.numpy(), compute_uv=False), atol=1e-13)
    u, s, vh = np.linalg.svd(W.numpy())
    np.testing.assert_allclose(mpo.truncate(bond=3).to_matrix().numpy(), (u[:, :3] * s[:3]) @ vh[:3], atol=1e-12)


# -- gauges ---------------------------------------------------------------------------------------


def left_environment(mpo, k):
    """X^T X of the first k cores together, (d_k, d_k)."""
    state = torch.ones(1, 1, dtype=torch.float64)
    for core in mpo.cores[:k]:
        state = torch.einsum("ab,aijc,bijd->cd", state, core.double(), core.double())
    return state


def right_environment(mpo, k):
    state = torch.ones(1, 1, dtype=torch.float64)
    for core in reversed(mpo.cores[k:]):
        state = torch.einsum("cijb,dija,ba->cd", core.double(), core.double(), state)
    return state


GAUGE_PLANS = [
    ((4, 6), (3, 4)),
    ((2, 3, 4), (3, 2, 3)),
    ((2, 3, 2, 2), (3, 2, 2, 2)),
    ((2, 2, 3, 2, 2), (2, 2, 2, 2, 3)),
]


@pytest.mark.parametrize("rows, cols", GAUGE_PLANS)
@pytest.mark.parametrize("dtype, limit", [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_left_to_right_is_left_orthogonal_in_the_schmidt_bases(rows, cols, dtype, limit):
    mpo = MPO.decompose(
        random((math.prod(rows), math.prod(cols)), dtype=dtype), rows=rows, cols=cols, method="left_to_right"
    )
    for k, core in enumerate(mpo.cores[:-1]):
        square = torch.einsum("aijc,aijd->cd", core, core)
        np.testing.assert_allclose(square, torch.eye(len(square), dtype=dtype), rtol=0, atol=limit)
        right = right_environment(mpo, k + 1)
        np.testing.assert_allclose(
            right / mpo.norm**2, torch.diag(mpo.spectra[k] ** 2) / mpo.norm**2, rtol=0, atol=limit
        )


@pytest.mark.parametrize("rows, cols", GAUGE_PLANS)
@pytest.mark.parametrize("dtype, limit", [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_centre_is_orthogonal_but_for_the_centre(rows, cols, dtype, limit):
    mpo = MPO.decompose(random((math.prod(rows), math.prod(cols)), dtype=dtype), rows=rows, cols=cols)
    c = mpo.n // 2
    for k, core in enumerate(mpo.cores):
        if k != c:
            square = torch.einsum("aijc,aijd->cd" if k < c else "cija,dija->cd", core, core)
            np.testing.assert_allclose(square, torch.eye(len(square), dtype=dtype), rtol=0, atol=limit)
    assert float(mpo.central.double().norm()) == pytest.approx(mpo.norm, rel=limit)
    for k in range(1, mpo.n):
        environment = right_environment(mpo, k) if k <= c else left_environment(mpo, k)
        expected = torch.diag(mpo.spectra[k - 1] ** 2)
        np.testing.assert_allclose(environment / mpo.norm**2, expected / mpo.norm**2, rtol=0, atol=limit)


@pytest.mark.parametrize("rows, cols", GAUGE_PLANS)
@pytest.mark.parametrize("dtype, limit", [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_symmetric_shares_each_bond_between_both_sides(rows, cols, dtype, limit):
    """Algorithm 1's normalization: what lies left of a bond and what lies right of it weigh the same, lambda."""
    mpo = MPO.decompose(
        random((math.prod(rows), math.prod(cols)), dtype=dtype), rows=rows, cols=cols, method="symmetric"
    )
    assert mpo.gauge is None and mpo.gauge_name == "symmetric"
    for k in range(1, mpo.n):
        expected = torch.diag(mpo.spectra[k - 1]) / mpo.norm
        np.testing.assert_allclose(left_environment(mpo, k) / mpo.norm, expected, rtol=0, atol=limit)
        np.testing.assert_allclose(right_environment(mpo, k) / mpo.norm, expected, rtol=0, atol=limit)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_symmetric_is_finite_where_values_vanish(dtype, oracle):
    zero = torch.zeros(24, 24, dtype=dtype)
    W, rows, cols = oracle.kronecker(4, dtype)
    holes = random((24, 24), dtype=dtype)
    holes[3:] = 0
    for matrix, how in ((zero, {"n": 3}), (W, {"rows": rows, "cols": cols}), (holes, {"n": 4})):
        mpo = MPO.decompose(matrix, method="symmetric", **how)
        assert all(torch.isfinite(core).all() for core in mpo.cores)
        assert oracle.relative_error(mpo.to_matrix(), matrix) <= LIMIT[dtype]
        assert float(max(core.abs().max() for core in mpo.cores)) < 1e4 * max(1.0, mpo.norm)


# -- Kronecker products ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_a_kronecker_product_has_all_bonds_one(n, method, oracle):
    for dtype, errors, limit in ((torch.float64, (1e-6, 1e-10), 1e-13), (torch.float32, (1e-6,), 1e-6)):
        W, rows, cols = oracle.kronecker(n, dtype)
        mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
        for s in mpo.spectra:
            assert (s[1:] <= limit * s[0]).all()
        one = mpo.truncate(bond=1)
        assert one.bonds == [1] * (n + 1) and one.parameters == sum(i * j for i, j in zip(rows, cols))
        assert oracle.relative_error(one.to_matrix(), W) <= LIMIT[dtype]
        assert mpo.entropy() == pytest.approx([0.0] * (n - 1), abs=1e-9)
        for error in errors:
            assert MPO.decompose(W, rows=rows, cols=cols, method=method, error=error).bonds == [1] * (n + 1)
            assert mpo.truncate(error=error).bonds == [1] * (n + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_kronecker_product_of_a_layers_size(dtype, oracle):
    W, rows, _ = oracle.kronecker(5, dtype, sizes=[(4, 4), (4, 4), (4, 4), (4, 4), (3, 3)])
    mpo = MPO.decompose(W, error=1e-6)
    assert mpo.rows == rows and mpo.bonds == [1] * 6
    assert oracle.relative_error(mpo.to_matrix(), W) <= LIMIT[dtype]


# -- the edges ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", LIMIT, ids=str)
def test_an_all_zero_matrix_is_legal(dtype, method):
    mpo = MPO.decompose(torch.zeros(23, 30, dtype=dtype), n=4, method=method)
    for some in (
        mpo,
        mpo.truncate(bond=2),
        mpo.truncate(ratio=0.5),
        mpo.truncate(bond=2, sweep=True),
        mpo.canonical(0),
    ):
        assert all(torch.isfinite(core).all() for core in some.cores)
        assert not some.to_matrix().any()
        assert some.error() == 0.0 == some.bound() == some.printed_bound() == some.printed_bound("discarded")
        assert some.budget() == [0.0] * 3 and some.norm == 0.0
        for definition in ("von_neumann", "singular_values"):
            assert some.entropy(definition) == [0.0] * 3 == some.entropy(definition, of="truncated")
        assert "nan" not in some.show()
    assert mpo.truncate(error=0.0).bonds == [1] * 5 == MPO.decompose(torch.zeros(23, 30), n=4, error=0.1).bonds


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, -3.5, 1e-30, 1e30])
def test_one_entry(value, method):
    mpo = MPO.decompose(torch.tensor([[value]]), method=method)
    assert mpo.bonds == [1] * 6 and mpo.to_matrix().tolist() == [[pytest.approx(value)]]
    assert mpo.entropy() == [0.0] * 4 and mpo.error() == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_a_single_entry_in_a_zero_matrix(method, oracle):
    W = torch.zeros(24, 36, dtype=torch.float64)
    W[17, 5] = -2.5
    mpo = MPO.decompose(W, n=4, method=method)
    assert mpo.entropy() == pytest.approx([0.0] * 3, abs=1e-12)
    assert oracle.relative_error(mpo.truncate(bond=1).to_matrix(), W) <= 1e-14
    assert mpo.truncate(error=1e-12).bonds == [1] * 5


EXTREMES = [
    (torch.float64, 1e200, 1e-12),
    (torch.float64, 1e-200, 1e-12),
    (torch.float64, 1e120, 1e-12),
    (torch.float64, 1e-120, 1e-12),
    (torch.float64, 1e30, 1e-12),
    (torch.float32, 1e30, 3e-6),
    (torch.float32, 1e25, 3e-6),
    (torch.float32, 1e-25, 3e-6),
    (torch.float32, 1e-36, 3e-6),
    (torch.float32, 1e-40, 1e-4),  # subnormal: few digits
    (torch.bfloat16, 1e30, 3e-6),
    (torch.float16, 1e4, 3e-6),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype, scale, limit", EXTREMES)
def test_huge_and_tiny_entries(dtype, scale, limit, method, oracle):
    rows, cols = (2, 3, 2, 3), (3, 2, 3, 2)
    W = (random((36, 36)) * scale).to(dtype)
    plain = MPO.decompose((W.double() / scale).float() if dtype != torch.float64 else W / scale, rows=rows, cols=cols)
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    assert all(torch.isfinite(core).all() for core in mpo.cores)
    assert oracle.relative_error(mpo.to_matrix(), W) <= limit
    np.testing.assert_allclose(mpo.entropy(), plain.entropy(), rtol=1e-4)
    for s, t in zip(mpo.spectra, plain.spectra):
        np.testing.assert_allclose(s.numpy() / scale, t.numpy(), atol=max(limit, 1e-6) * float(t[0]))
    cut, right = mpo.truncate(bond=[3, 8, 3]), plain.truncate(bond=[3, 8, 3])
    measured = oracle.relative_error(cut.to_matrix(), W)
    assert measured == pytest.approx(oracle.relative_error(right.to_matrix(), W.double() / scale), rel=1e-4)
    assert cut.bound() == pytest.approx(right.bound(), rel=1e-4)
    assert mpo.truncate(error=0.5).bound() <= 0.5 and mpo.truncate(ratio=0.5).ratio <= 0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype, scale, limit", EXTREMES)
def test_errors_of_huge_and_tiny_entries(dtype, scale, limit, method, oracle):
    """The exact error, its budget, the comparison with W and the sweep, at scales whose squares overflow or vanish."""
    W = (random((36, 36)) * scale).to(dtype)
    mpo = MPO.decompose(W, rows=(2, 3, 2, 3), cols=(3, 2, 3, 2), method=method)
    for bond in ([3, 8, 3], [6, 8, 6]):  # outer bonds cut, and only the middle one
        cut = mpo.truncate(bond=bond)
        measured = oracle.relative_error(cut.to_matrix(), W)
        assert cut.error() == pytest.approx(measured, rel=1e-4)
        assert cut.error(W) == pytest.approx(measured, rel=1e-4)
        assert sum(cut.budget()) == pytest.approx(measured**2, rel=1e-4)
    swept = mpo.truncate(bond=[3, 8, 3], sweep=True)
    measured = oracle.relative_error(swept.to_matrix(), W)
    assert measured <= swept.bound()
    assert swept.error() == pytest.approx(measured, rel=1e-4)
    shares = mpo.canonical().norm_shares()
    assert sum(shares) == pytest.approx(1.0) and all(0 <= share <= 1 for share in shares)


# -- different plans of one matrix (MPOP section 4.4) ---------------------------------------------


def test_different_plans_of_one_gaussian_at_the_same_ratio(oracle):
    """ "Almost the same results": on 768x768 at ratio 0.5 within a fifth of each other, and the SVD-like plan leads."""
    W = random((768, 768), dtype=torch.float32)
    errors = {}
    for name, how in {
        "mpobert": {},
        "mpop": {"style": "mpop"},
        "n=2": {"n": 2},
        "n=3": {"n": 3},
        "n=7": {"n": 7},
        "n=9": {"n": 9},
        "4·4·3·4·4": {"rows": (4, 4, 3, 4, 4), "cols": (4, 4, 3, 4, 4)},
    }.items():
        cut = MPO.decompose(W, ratio=0.5, **how)
        assert cut.ratio <= 0.5
        errors[name] = cut.error()
    assert max(errors.values()) - min(errors.values()) < 0.13, errors
    assert max(errors.values()) < 1.2 * min(errors.values())
    assert abs(errors["mpobert"] - errors["mpop"]) < 0.05
    assert min(errors, key=errors.get) == "n=2" and 0.6 < errors["n=2"] < 0.63


def test_autocast_does_not_reach_the_mathematics():
    W = torch.randn(48, 36, generator=torch.Generator().manual_seed(0))
    expected = MPO.decompose(W, bond=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cut = MPO.decompose(W, bond=4)
        assert all(torch.equal(a, b) for a, b in zip(cut.cores, expected.cores))
        assert torch.equal(cut.to_matrix(), expected.to_matrix()) and cut.error(W) == expected.error(W)
        spectra = bond_spectra(W, cut.plan)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(spectra, expected.spectra))


@pytest.mark.parametrize("size", [1e38, 3e37, 1e-40])
@pytest.mark.parametrize("sweep", [False, True])
def test_float32_at_the_ends_of_its_range(size, sweep):
    A = torch.randn(48, 36, generator=torch.Generator().manual_seed(0), dtype=torch.float64).clamp(-3, 3)
    W = (A * size).float()
    expected = MPO.decompose(W.double() / size).truncate(bond=4, sweep=sweep).error()
    mpo = MPO.decompose(W)
    assert mpo.truncate(bond=4, sweep=sweep).error() == pytest.approx(expected, rel=1e-5)
    assert bool(torch.isfinite(mpo.to_matrix()).all()) and mpo.error(W) < 3e-6


@pytest.mark.parametrize("scale", [1e-25, 1e25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spectra_alone_are_as_careful_as_a_decomposition(scale, dtype):
    W = torch.randn(64, 48, generator=torch.Generator().manual_seed(0)).to(dtype) * scale
    mpo = MPO.decompose(W)
    for alone, whole in zip(bond_spectra(W, mpo.plan), mpo.spectra):
        assert torch.allclose(alone, whole, rtol=1e-6, atol=1e-7 * float(whole[0]))
    half = (W / scale).bfloat16()
    for alone, whole in zip(bond_spectra(half, mpo.plan), MPO.decompose(half.float()).spectra):
        assert torch.allclose(alone, whole, rtol=1e-6)
    with pytest.raises(MatrixError, match="NaN"):
        bond_spectra(W * float("nan"), mpo.plan)


@pytest.mark.parametrize("method", ["centre", "left_to_right", "symmetric"])
def test_without_its_source_an_mpo_keeps_only_its_cores(method):
    W = torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
    mpo = MPO.decompose(W, bond=3, method=method, keep_source=False)
    assert sum(core.untyped_storage().nbytes() for core in mpo.cores) == 4 * mpo.parameters


def test_moving_the_centre_of_a_cut_mpo_changes_neither_error_nor_further_cuts():
    W = torch.randn(48, 36, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mpo = MPO.decompose(W, rows=(3, 2, 2, 2, 2), cols=(3, 2, 2, 1, 3))
    cut = mpo.truncate(bond=[1, 16, 8, 2])  # bond 2 is more than its neighbours can fill
    for centre in range(5):
        moved = cut.canonical(centre)
        assert moved.error() == pytest.approx(moved.error(W), abs=1e-12) and moved.bound() == cut.bound()
        assert moved.budget() == cut.budget()
        again = moved.truncate(bond=[1, 9, 5, 2])
        assert torch.allclose(again.to_matrix(), mpo.truncate(bond=[1, 9, 5, 2]).to_matrix(), atol=1e-12)
