"""Singular values of the bonds, entropy, the bounds (tight and as printed), and the greedy choice of bonds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpolab import MPO
from mpolab.errors import BondError
from mpolab.halves import bond_spectra
from mpolab.plans import Plan, make_plan
from mpolab.spectra import (
    Tails,
    bonds_for_error,
    bonds_for_ratio,
    entropy,
    greedy_path,
    printed_bound,
    rounding_allowance,
)

METHODS = ("centre", "left_to_right", "symmetric")
PLANS = [  # rows, cols, shape
    ((24,), (18,), None),
    ((4, 6), (3, 6), None),
    ((2, 3, 4), (3, 2, 3), None),
    ((4, 3, 2, 2), (2, 2, 3, 2), None),
    ((2, 2, 3, 2, 2), (2, 2, 2, 2, 2), None),
    ((5, 7), (7, 3), (33, 20)),
    ((3, 5, 2), (2, 3, 5), (29, 28)),
    ((2, 1, 7, 1, 2), (3, 1, 3, 2, 1), None),
    ((16, 2, 2), (16, 1, 2), None),  # left half longer than the rest: SVDs from both ends
    ((2, 2, 16), (2, 2, 12), None),
][1:]


def of(rows, cols, shape, gaussian, seed=0, dtype=torch.float64):
    return gaussian(*(shape or (math.prod(rows), math.prod(cols))), seed=seed, dtype=dtype)


# -- singular values ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows, cols, shape", PLANS)
def test_spectra_are_the_singular_values_of_the_unfoldings(rows, cols, shape, method, gaussian, oracle):
    W = of(rows, cols, shape, gaussian)
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    expected = oracle.singular_values(W, rows, cols)
    assert len(mpo.spectra) == mpo.n - 1
    for k, (s, right) in enumerate(zip(mpo.spectra, expected), 1):
        assert s.dtype == torch.float64 and s.shape == (mpo.full_bonds[k],) == right.shape
        np.testing.assert_allclose(s.numpy(), right, rtol=0, atol=1e-13 * right[0])
    for s, right in zip(bond_spectra(W, mpo.plan), expected):
        np.testing.assert_allclose(s.numpy(), right, rtol=0, atol=2e-8 * right[0])


@pytest.mark.parametrize("rows, cols, shape", PLANS)
def test_spectra_of_float32(rows, cols, shape, gaussian, oracle):
    W = of(rows, cols, shape, gaussian, dtype=torch.float32)
    sizes, n = [i * j for i, j in zip(rows, cols)], len(rows)
    fits = all(math.prod(sizes[:k]) <= math.prod(sizes[k:]) for k in range(1, n // 2 + 1)) and all(
        math.prod(sizes[k:]) <= math.prod(sizes[:k]) for k in range(n // 2 + 1, n)
    )
    for method in METHODS:  # Gram matrices are added up in float64, SVDs are made in float64
        limit = 1.5e-8 if method == "centre" and fits else 1e-12
        mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
        for s, right in zip(mpo.spectra, oracle.singular_values(W, rows, cols)):
            np.testing.assert_allclose(s.numpy(), right, rtol=0, atol=limit * right[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_spectra_of_a_matrix_of_low_rank(rank, method, oracle, gaussian):
    """A sum of `rank` Kronecker products: exactly `rank` values on every bond, rounding below."""
    terms = [oracle.kronecker(4, seed=10 * r, sizes=[(3, 3)] * 4) for r in range(rank)]
    W, rows, cols = sum(t[0] for t in terms), *terms[0][1:]
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    for s, right in zip(mpo.spectra, oracle.singular_values(W, rows, cols)):
        np.testing.assert_allclose(s.numpy(), right, rtol=0, atol=1e-13 * right[0])
        assert s[rank - 1] > 1e-3 * s[0] and (s[rank:] < 1e-13 * s[0]).all()


def test_spectra_of_a_decaying_float64_matrix(oracle):
    """Values below 1.5e-8 of the largest: the Gram matrices mix their vectors, the plain sweep does not."""
    rng = np.random.default_rng(0)
    u, v = np.linalg.qr(rng.standard_normal((16, 16)))[0], np.linalg.qr(rng.standard_normal((256, 16)))[0]
    legs = ((u * np.logspace(0, -14, 16)) @ v.T).reshape(4, 4, 4, 4, 4, 4)
    W = torch.from_numpy(legs.transpose(0, 2, 4, 1, 3, 5).reshape(64, 64).copy())
    values = np.logspace(0, -14, 16)
    swept = MPO.decompose(W, n=3, rows=(4, 4, 4), cols=(4, 4, 4), method="left_to_right")
    np.testing.assert_allclose(swept.spectra[0].numpy(), values, rtol=0, atol=1e-15)
    np.testing.assert_allclose(swept.spectra[0].numpy()[:13], values[:13], rtol=1e-3)
    centre = MPO.decompose(W, rows=(4, 4, 4), cols=(4, 4, 4))
    np.testing.assert_allclose(centre.spectra[0].numpy(), values, rtol=0, atol=1.5e-8)
    np.testing.assert_allclose(centre.spectra[0].numpy()[:8], values[:8], rtol=1e-3)
    for error in (1e-3, 1e-6, 1e-9, 1e-11):  # what is promised holds all the same
        for mpo in (centre, swept):
            cut = mpo.truncate(error=error)
            assert oracle.relative_error(cut.to_matrix(), W) <= error * (1 + 1e-9) + 5e-15


def test_many_slabs_of_a_wide_matrix(gaussian, oracle):
    """768x3072: the Gram matrix of a half is added up in several slabs and blocks."""
    W = gaussian(768, 3072)
    mpo = MPO.decompose(W, bond=4)
    assert mpo.full_bonds == [1, 16, 256, 288, 12, 1]
    for k in (1, 2, 3, 4):
        unfolded = oracle.unfolding(W, mpo.rows, mpo.cols, k)
        small = unfolded @ unfolded.T if unfolded.shape[0] < unfolded.shape[1] else unfolded.T @ unfolded
        right = np.sqrt(np.linalg.eigvalsh(small)[::-1])
        np.testing.assert_allclose(mpo.spectra[k - 1].numpy(), right, rtol=1e-10)
    np.testing.assert_allclose(float(mpo.norm), np.linalg.norm(W.numpy()), rtol=1e-13)


# -- entropy --------------------------------------------------------------------------------------


def test_entropy_by_hand():
    s = torch.tensor([2.0, 1.0, 1.0])
    p, q = [4 / 6, 1 / 6, 1 / 6], [2 / 4, 1 / 4, 1 / 4]
    assert entropy(s) == pytest.approx(-sum(x * math.log(x) for x in p), rel=1e-14)
    assert entropy(s, "von_neumann") == entropy(s)
    assert entropy(s, "singular_values") == pytest.approx(-sum(x * math.log(x) for x in q), rel=1e-14)
    assert entropy(torch.tensor([3.0, 0.0])) == 0.0 == entropy(torch.tensor([3.0]))


@pytest.mark.parametrize("definition", ["von_neumann", "singular_values"])
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
@pytest.mark.parametrize("d", [1, 2, 7, 256])
def test_entropy_of_a_flat_spectrum_is_ln_d_at_any_scale(d, scale, definition):
    s = torch.full((d,), scale, dtype=torch.float64)
    assert entropy(s, definition) == pytest.approx(math.log(d), abs=1e-12)


@pytest.mark.parametrize("definition", ["von_neumann", "singular_values"])
def test_entropy_of_nothing_is_zero(definition):
    assert entropy(torch.zeros(5), definition) == 0.0


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=20))
def test_entropy_lies_between_zero_and_ln_d(values):
    s = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    for definition in ("von_neumann", "singular_values"):
        assert 0.0 <= entropy(s, definition) <= math.log(len(values)) + 1e-12
    assert entropy(s) <= entropy(s, "singular_values") + 1e-9, "squaring sharpens a distribution"


@pytest.mark.parametrize("method", METHODS)
def test_entropies_of_an_mpo_in_both_readings(method, gaussian, oracle):
    rows, cols = (2, 3, 2, 2), (3, 2, 2, 2)
    W = gaussian(24, 24)
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    cut = mpo.truncate(bond=[3, 7, 2])
    for definition, power in (("von_neumann", 2), ("singular_values", 1)):
        for of, limits in (("source", (None,) * 3), ("truncated", (3, 7, 2))):
            right = []
            for s, d in zip(oracle.singular_values(W, rows, cols), limits):
                v = s[:d] ** power / (s[:d] ** power).sum()
                right.append(-(v * np.log(v)).sum())
            got = cut.entropy(definition=definition, of=of)
            assert isinstance(got, list) and all(type(x) is float for x in got)
            np.testing.assert_allclose(got, right, rtol=1e-10)
    assert cut.entropy() == cut.entropy("von_neumann", of="source") == mpo.entropy() == mpo.entropy(of="truncated")
    assert cut.entropy(of="truncated") != mpo.entropy()


@pytest.mark.parametrize("method", METHODS)
def test_entropy_of_products_and_of_permutations(method, oracle):
    W, rows, cols = oracle.kronecker(5)
    assert MPO.decompose(W, rows=rows, cols=cols, method=method).entropy() == pytest.approx([0.0] * 4, abs=1e-12)
    # j_1 .. j_4 = i_4 .. i_1 : every bond is as entangled as can be
    m = 3
    reverse = torch.zeros(m**4, m**4, dtype=torch.float64)
    for i in range(m**4):
        a, b, c, d = i // m**3, i // m**2 % m, i // m % m, i % m
        reverse[i, ((d * m + c) * m + b) * m + a] = 1.0
    mpo = MPO.decompose(reverse, rows=(m,) * 4, cols=(m,) * 4, method=method)
    expected = [math.log(m**2), math.log(m**4), math.log(m**2)]
    for definition in ("von_neumann", "singular_values"):
        np.testing.assert_allclose(mpo.entropy(definition), expected, rtol=1e-10)
    swap = torch.zeros(m * m, m * m, dtype=torch.float64)
    for i in range(m * m):
        swap[i, i % m * m + i // m] = 1.0
    mpo = MPO.decompose(swap, rows=(m, m), cols=(m, m), method=method)
    assert mpo.entropy() == pytest.approx([math.log(m * m)], rel=1e-12)


# -- bounds ---------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.lists(st.integers(1, 30), min_size=3, max_size=3))
def test_the_tight_bound_is_the_root_of_all_discarded_squares(oracle, seed, inner):
    rows, cols = (2, 3, 2, 2), (3, 2, 2, 2)
    W = torch.randn(24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    cut = MPO.decompose(W, rows=rows, cols=cols).truncate(bond=inner)
    expected = oracle.bound(oracle.singular_values(W, rows, cols), inner)
    assert cut.bound() == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_the_bound_keeps_the_digits_of_small_tails():
    s = torch.tensor([1.0, 1e-9, 1e-10], dtype=torch.float64)
    assert Tails([s]).bound([1, 2, 1]) == pytest.approx(1e-10, rel=1e-9)
    assert Tails([s]).bound([1, 1, 1]) == pytest.approx(math.hypot(1e-9, 1e-10), rel=1e-9)
    assert Tails([s]).bound([1, 3, 1]) == 0.0


def test_eq_3_taken_literally_by_hand():
    s = [torch.tensor([5.0, 4.0, 2.0, 1.0], dtype=torch.float64), torch.tensor([6.0, 3.0, 1.0], dtype=torch.float64)]
    norm = math.sqrt(46)
    assert Tails(s).norm == pytest.approx(norm)
    # bond 1: i = d - d' .. d = 2..4 sums 4+2+1; bond 2: i = 2..3 sums 3+1
    assert printed_bound(s, [1, 2, 1, 1]) == pytest.approx(math.hypot(7, 4) / norm)
    # discarded: i = d'+1 .. d: 2+1 and 3+1
    assert printed_bound(s, [1, 2, 1, 1], "discarded") == pytest.approx(math.hypot(3, 4) / norm)
    # nothing cut: the printed range holds everything, the discarded one nothing
    assert printed_bound(s, [1, 4, 3, 1], "printed") == pytest.approx(math.hypot(12, 10) / norm)
    assert printed_bound(s, [1, 4, 3, 1], "discarded") == 0.0
    assert printed_bound(s, [1, 3, 2, 1], "printed") == pytest.approx(math.hypot(12, 10) / norm)
    assert printed_bound([torch.zeros(3)], [1, 1, 1]) == 0.0


def test_the_example_of_the_facts(gaussian):
    """facts.md section 4, the 768x3072 Gaussian of norm 55.4, which is MPOBERT's plan (bonds 16, 256, 288, 12)."""
    W = gaussian(768, 3072) / math.sqrt(768)
    mpo = MPO.decompose(W)
    norm = float(W.norm())
    assert norm == pytest.approx(55.4, abs=0.1) == mpo.norm
    cut = mpo.truncate(bond=64)
    assert cut.bound() * norm == pytest.approx(65.9, abs=0.1)
    assert cut.error() * norm == pytest.approx(52.9, abs=0.2)  # a slice
    assert cut.truncate(bond=64, sweep=True).error() * norm == pytest.approx(52.4, abs=0.1)  # the print: a sweep
    assert cut.printed_bound("discarded") * norm == pytest.approx(948, rel=0.005)
    assert cut.printed_bound("printed") * norm == pytest.approx(400, rel=0.005)
    assert mpo.truncate(bond=1).printed_bound() * norm == pytest.approx(43, rel=0.02)
    assert mpo.truncate(bond=256).printed_bound() * norm == pytest.approx(1240, rel=0.005)
    # no bound at all at d' = 1, where the error is nearly everything ...
    one = mpo.truncate(bond=1)
    assert one.printed_bound() < one.error() < one.bound()
    # ... and the largest where nothing is cut
    assert mpo.printed_bound() > max(mpo.truncate(bond=d).printed_bound() for d in (1, 16, 64, 200))
    assert mpo.printed_bound("discarded") == 0.0 == mpo.bound()


def test_the_discarded_form_is_a_bound_and_a_loose_one(gaussian):
    mpo = MPO.decompose(gaussian(36, 36), n=3)
    for bond in range(1, 13):
        cut = mpo.truncate(bond=bond)
        assert cut.error() <= cut.bound() * (1 + 1e-12) <= cut.printed_bound(range="discarded") * (1 + 1e-9)


# -- which bonds to cut ---------------------------------------------------------------------------


def naive_greedy(values, rows, cols, ceilings):
    """All bonds that the greedy choice visits, from 1 everywhere: each step saves the most squared error per number.

    A bond that its neighbours cannot fill yet waits, unless all that are left do.
    """
    n, sizes = len(rows), [i * j for i, j in zip(rows, cols)]

    def numbers(bonds):
        return sum(bonds[k] * sizes[k] * bonds[k + 1] for k in range(n))

    bonds = [1] * (n + 1)
    visited = [list(bonds)]
    while True:
        options = []
        for k in range(1, n):
            if bonds[k] < ceilings[k]:
                wider = bonds[:k] + [bonds[k] + 1] + bonds[k + 1 :]
                useful = wider[k] <= wider[k - 1] * sizes[k - 1] and wider[k] <= sizes[k] * wider[k + 1]
                gain = values[k - 1][bonds[k]] ** 2 / (numbers(wider) - numbers(bonds))
                options.append((useful, gain, wider))
        if not options:
            return visited
        bonds = max(options, key=lambda option: option[:2])[2]
        visited.append(list(bonds))


GREEDY_PLANS = [((4, 6), (4, 3)), ((3, 3, 3), (2, 3, 2)), ((2, 3, 2, 2), (2, 2, 3, 2)), ((2,) * 5, (2, 2, 3, 2, 2))]


@pytest.mark.parametrize("rows, cols", GREEDY_PLANS)
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_greedy_path_is_the_naive_one(rows, cols, decay, gaussian, oracle):
    W = gaussian(math.prod(rows), math.prod(cols), seed=3)
    W = W * torch.exp(-decay * torch.arange(W.shape[0], dtype=torch.float64))[:, None]
    mpo = MPO.decompose(W, rows=rows, cols=cols)
    values = oracle.singular_values(W, rows, cols)
    path = naive_greedy(values, rows, cols, mpo.full_bonds)
    whole = math.prod(rows) * math.prod(cols)
    steps = list(greedy_path(mpo.plan, Tails(mpo.spectra), mpo.full_bonds))
    assert len(steps) == sum(mpo.full_bonds[1:-1]) - (mpo.n - 1)
    walked = [1] * (mpo.n + 1)
    for k, right in zip(steps, path[1:]):
        walked[k] += 1
        if right[1:-1] and oracle.bound(values, right[1:-1]) > 1e-6:
            assert walked == right
    for ratio in np.linspace(path and oracle.stored(rows, cols, path[0]) / whole, 1.3, 23):
        allowed = []
        for bonds in path:  # the prefix that fits
            if oracle.stored(rows, cols, bonds) > ratio * whole:
                break
            allowed.append(bonds)
        assert mpo.truncate(ratio=float(ratio)).bonds == allowed[-1]
    for error in (0.9, 0.5, 0.2, 0.05, 0.01):
        first = next(b for b in path if oracle.bound(values, b[1:-1]) <= error)
        assert mpo.truncate(error=error).bonds == first
        assert MPO.decompose(W, rows=rows, cols=cols, error=error).bonds == first


def test_every_step_saves_the_most_per_number():
    """By hand: two cores of four cores' worth of choices, the dearer bond loses."""
    plan = Plan((2, 2, 2), (2, 2, 2), (8, 8))
    spectra = [torch.tensor([3.0, 2.0, 0.5, 0.1]), torch.tensor([3.0, 1.9, 0.9, 0.2])]
    tails = Tails([s.double() for s in spectra])
    # 4 -> 1+1 costs a_1 + a_2 d_2 = 8 either way: 2.0 beats 1.9; then bond 2 costs 12 now, bond 1's third waits
    assert list(greedy_path(plan, tails, plan.full_bonds))[:2] == [1, 2]
    bonds = bonds_for_ratio(plan, tails, 20 / 64, plan.full_bonds)
    assert bonds == [1, 2, 1, 1] and plan.parameters(bonds) == 20
    assert bonds_for_ratio(plan, tails, 19.99 / 64, plan.full_bonds) == [1, 1, 1, 1]
    assert bonds_for_error(plan, tails, 10.0, plan.full_bonds) == [1, 1, 1, 1]


@given(st.integers(0, 10_000), st.floats(0.1, 1.2), st.floats(0.1, 1.2))
def test_ratios_nest_and_are_kept(seed, first, second):
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(23, 30, dtype=torch.float64, generator=g) * torch.rand(23, 1, dtype=torch.float64, generator=g) ** 3
    mpo = MPO.decompose(W, rows=(2, 3, 2, 2), cols=(2, 2, 4, 2))
    small, large = (mpo.truncate(ratio=r) for r in sorted((first, second)))
    assert all(s <= b for s, b in zip(small.bonds, large.bonds))
    assert small.ratio <= min(first, second) and large.ratio <= max(first, second)
    assert large.bound() <= small.bound()
    assert small.ratio == small.parameters / (24 * 32), "eq. 5 counts the padding"
    assert large.truncate(ratio=min(first, second)).bonds == small.bonds
    assert small.truncate(ratio=small.ratio).bonds == small.bonds


@given(st.integers(0, 10_000), st.floats(0.001, 1.3), st.floats(0.001, 1.3))
def test_errors_nest_and_are_guaranteed(oracle, seed, first, second):
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(23, 30, dtype=torch.float64, generator=g) * torch.rand(23, 1, dtype=torch.float64, generator=g) ** 3
    mpo = MPO.decompose(W, rows=(2, 3, 2, 2), cols=(2, 2, 4, 2))
    loose, strict = (mpo.truncate(error=e) for e in (max(first, second), min(first, second)))
    assert all(s <= b for s, b in zip(loose.bonds, strict.bonds))
    for cut, asked in ((loose, max(first, second)), (strict, min(first, second))):
        assert cut.bound() <= asked
        assert oracle.relative_error(cut.to_matrix(), W) <= asked
    assert strict.truncate(error=max(first, second)).bonds == loose.bonds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_an_error_asked_for_is_guaranteed(method, dtype, gaussian, oracle):
    W = gaussian(48, 36, dtype=dtype) * torch.logspace(0, -4, 36, dtype=dtype)
    for error in (0.5, 0.1, 1e-2, 1e-3, 1e-5, 0.0):
        cut = MPO.decompose(W, n=3, error=error, method=method)
        most = max(error, rounding_allowance(dtype))
        assert cut.bound() <= error
        assert oracle.relative_error(cut.to_matrix(), W) <= most
        assert cut.error() <= most
    assert MPO.decompose(W, n=3, error=0.0).bonds == MPO.decompose(W, n=3).full_bonds


STRUCTURED = {  # (rows, columns) as numbers from 0 to 1 -> a matrix that is nothing like a random one
    "smooth": lambda W, r, c: torch.exp(-(((r - c) * 3) ** 2)),
    "all alike": lambda W, r, c: torch.ones_like(W),
    "all but alike": lambda W, r, c: 1 + 1e-6 * W,
    "low rank and noise": lambda W, r, c: torch.outer(W[:, 0], W[0]) + 1e-5 * W,
    "graded columns": lambda W, r, c: W * 10 ** (-7 * c),
    "graded rows": lambda W, r, c: W * 10 ** (-12 * r),
    "sparse": lambda W, r, c: W * (W.abs() > 1.5),
    "diagonal": lambda W, r, c: torch.eye(*W.shape, dtype=W.dtype) * (1 + r),
    "random": lambda W, r, c: W,
}


@st.composite
def matrices(draw):
    """A random or structured matrix, the plan it is decomposed with, and a method."""
    rows, cols, shape = draw(st.sampled_from([*PLANS, ((2, 3, 3, 2, 2), (3, 2, 2, 3, 2), None)]))
    shape = shape or (math.prod(rows), math.prod(cols))
    W = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(draw(st.integers(0, 10_000))))
    r, c = torch.linspace(0, 1, shape[0])[:, None], torch.linspace(0, 1, shape[1])
    W = STRUCTURED[draw(st.sampled_from(list(STRUCTURED)))](W, r.double(), c.double())
    W = W.to(draw(st.sampled_from([torch.float16, torch.float32, torch.float64])))
    return W, rows, cols, draw(st.sampled_from(METHODS))


@settings(max_examples=150)
@given(matrices(), st.floats(-13, 0.1), st.booleans())
def test_an_error_asked_for_is_guaranteed_as_measured(oracle, problem, digits, sweep):
    """By `error()` and on the rebuilt matrix, down to what rounding leaves where nothing is cut."""
    W, rows, cols, method = problem
    error = 10**digits
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    allowance = rounding_allowance(mpo.dtype)
    for cut in (mpo.truncate(error=error, sweep=sweep), MPO.decompose(W, rows, cols, error=error, method=method)):
        for measured in (cut.error(), oracle.relative_error(cut.to_matrix(), W)):
            assert measured <= (error if error > allowance else allowance)
        if error <= allowance:
            assert cut.bound() == 0.0, "nothing that carries anything is cut"
    assert alike(mpo.truncate(error=error).truncate(error=error), mpo.truncate(error=error))


@settings(max_examples=150)
@given(matrices(), st.data())
def test_no_measured_error_exceeds_its_bound_but_by_rounding(oracle, problem, data):
    W, rows, cols, method = problem
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    cut = mpo.truncate(bond=[data.draw(st.integers(1, d)) for d in mpo.full_bonds[1:-1]])
    allowance = rounding_allowance(mpo.dtype)
    for measured in (cut.error(), cut.truncate(bond=10**6, sweep=True).error()):
        assert measured <= cut.bound() + allowance
    assert oracle.relative_error(cut.to_matrix(), W) <= cut.bound() + allowance


def alike(first: MPO, second: MPO) -> bool:
    return first.bonds == second.bonds and all(torch.equal(a, b) for a, b in zip(first.cores, second.cores))


@pytest.mark.parametrize("spread", [8, 12, 16])
def test_the_bound_of_outer_bonds_holds_where_gram_matrices_mix_vectors(spread, gaussian, oracle):
    """Values below 1.5e-8 of the largest in float64: what each vector carries is read off the centre exactly."""
    rows = cols = (3, 2, 4, 2, 3)
    grid = torch.arange(144, dtype=torch.float64)
    for W in (
        gaussian(144, 144) * torch.logspace(0, -spread, 144, dtype=torch.float64),
        torch.exp(-(((grid[:, None] - grid) / 40) ** 2)),
        oracle.kronecker(5, sizes=list(zip(rows, cols)))[0] + 10.0**-spread * gaussian(144, 144),
    ):
        mpo = MPO.decompose(W, rows=rows, cols=cols)
        for bond in (1, 2, 3, 4):
            for kept in (mpo.full_bonds[bond] // 2, mpo.full_bonds[bond] - 3):
                cut = mpo.truncate(bond=[kept if k == bond else d for k, d in enumerate(mpo.full_bonds)][1:-1])
                measured = oracle.relative_error(cut.to_matrix(), W)
                assert measured <= cut.bound() + 1e-14
                assert cut.bound() == pytest.approx(measured, rel=1e-6, abs=1e-14), "one cut discards its tail"


def test_rounding_of_like_entries_does_not_add_up(oracle):
    """Float32 sums of hundreds of equal terms are off by 20 eps and more; the centre of such a matrix is not."""
    for shape, n in (((256, 192), 2), ((1000, 257), 5)):
        for noise in (0.0, 1e-6):
            g = torch.Generator().manual_seed(0)
            W = (1 + noise * torch.randn(shape, dtype=torch.float64, generator=g)).float()
            assert oracle.relative_error(MPO.decompose(W, n=n).to_matrix(), W) <= rounding_allowance(W.dtype)
            cut = MPO.decompose(W, n=n, error=1e-6)
            assert cut.bonds == [1] * (n + 1) or noise or cut.plan.is_padded
            assert oracle.relative_error(cut.to_matrix(), W) <= 1e-6


def test_an_error_below_the_bound_of_what_is_left_is_refused(gaussian):
    mpo = MPO.decompose(gaussian(48, 36, dtype=torch.float32), n=3)
    cut = mpo.truncate(bond=8)
    least = cut.bound() + rounding_allowance(torch.float32)
    with pytest.raises(BondError, match=f"at least {least:.6g}"):
        cut.truncate(error=cut.bound())
    assert cut.truncate(error=least + 1e-9).bonds == cut.bonds
    again = mpo.truncate(error=0.3)
    assert again.truncate(error=0.3).bonds == again.bonds


def test_the_allowance_is_that_of_the_cores_dtype():
    assert rounding_allowance(torch.float32) == pytest.approx(7.2e-7, rel=0.01)
    assert rounding_allowance(torch.float64) == pytest.approx(9.1e-13, rel=0.01)
    plan = Plan((2, 2), (2, 2), (4, 4))
    tails = Tails([torch.tensor([1.0, 0.5, 0.1, 0.01], dtype=torch.float64)])
    bound = tails.bound([1, 2, 1])
    assert bonds_for_error(plan, tails, bound, plan.full_bonds) == [1, 2, 1]
    assert bonds_for_error(plan, tails, bound, plan.full_bonds, 1e-6) == [1, 3, 1]
    assert bonds_for_error(plan, tails, bound + 2e-6, plan.full_bonds, 1e-6) == [1, 2, 1]
    assert bonds_for_error(plan, tails, 1e-6, plan.full_bonds, 1e-6) == [1, 4, 1]


def test_make_plan_and_decompose_agree(gaussian):
    assert MPO.decompose(gaussian(36, 48), n=4).plan == make_plan((36, 48), n=4)
