"""SVD, CPD, Tucker and MPO at the same number of stored numbers, each against something known."""

from __future__ import annotations

import math

import pytest
import torch

from mpolab import MPO, make_plan
from mpolab.baselines import (
    METHODS,
    affordable_cpd_rank,
    compare,
    cpd_flops,
    cpd_parameters,
    curve_over_n,
    mpo_parameters,
    svd_parameters,
    tucker_parameters,
)
from mpolab.decomposition import to_matrix
from mpolab.errors import BondError, MatrixError, MatrixTypeError, UnknownNameError
from mpolab.plans import Plan


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PLAN = Plan((2, 3, 4), (3, 2, 2), (24, 12))  # a = 6, 6, 8


# -- counting ------------------------------------------------------------------------------------


def test_parameters_by_hand():
    assert svd_parameters(PLAN, 5) == 5 * (24 + 12)
    assert cpd_parameters(PLAN, 5) == 5 * (6 + 6 + 8)
    assert tucker_parameters(PLAN, (2, 3, 4)) == 24 + 12 + 18 + 32
    assert mpo_parameters(PLAN, (5, 7)) == 6 * 5 + 5 * 6 * 7 + 7 * 8


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8])
def test_nobody_stores_more_than_the_budget_and_ratios_share_a_denominator(name, ratio):
    plan = make_plan((23, 12), rows=(2, 3, 4), cols=(3, 2, 2))  # one row of padding
    budget = int(ratio * 24 * 12)
    found = METHODS[name].fit(gaussian(23, 12), plan, budget, iterations=2)
    assert found.parameters == METHODS[name].parameters(plan, found.rank) <= budget
    assert found.ratio == found.parameters / (24 * 12)
    assert found.matrix.shape == (23, 12) and found.matrix.dtype == torch.float64
    assert found.error == pytest.approx(float((gaussian(23, 12) - found.matrix).norm() / gaussian(23, 12).norm()))


def test_ranks_are_the_largest_that_fit():
    matrix, budget = gaussian(24, 12), 143
    for tight in range(21, 80):
        ranks = METHODS["Tucker"].rank(matrix, PLAN, tight)
        assert all(rank <= math.prod(ranks) // rank for rank in ranks)  # what a core can use
    assert METHODS["SVD"].rank(matrix, PLAN, budget) == 143 // 36
    assert METHODS["CPD"].rank(matrix, PLAN, budget) == 143 // 20
    assert METHODS["SVD"].rank(matrix, PLAN, 10**6) == 12  # not more than there are
    ranks = METHODS["Tucker"].rank(matrix, PLAN, budget)
    assert all(rank <= size for rank, size in zip(ranks, PLAN.sizes))
    for k in range(3):
        wider = [rank + (k == m) for m, rank in enumerate(ranks)]
        useless = wider[k] > math.prod(wider) // wider[k] or wider[k] > PLAN.sizes[k]
        assert useless or tucker_parameters(PLAN, wider) > budget


# -- oracles -------------------------------------------------------------------------------------


def test_svd_error_is_the_tail_of_the_singular_values():
    matrix = gaussian(40, 30)
    found = METHODS["SVD"].fit(matrix, make_plan((40, 30), n=3), 7 * 70)
    s = torch.linalg.svdvals(matrix)
    assert found.rank == 7
    assert found.error == pytest.approx(float(s[7:].norm() / s.norm()), rel=1e-12)


def test_mpo_of_two_cores_is_the_svd_of_its_unfolding():
    plan = Plan((4, 5), (6, 5), (20, 30))
    matrix = gaussian(20, 30)
    found = METHODS["MPO"].fit(matrix, plan, 6 * (24 + 25))
    unfolding = matrix.reshape(4, 5, 6, 5).permute(0, 2, 1, 3).reshape(24, 25)
    s = torch.linalg.svdvals(unfolding)
    assert found.rank == (6,)
    assert found.error == pytest.approx(float(s[6:].norm() / s.norm()), rel=1e-10)
    # rows in one core and columns in the other: the SVD of the matrix itself
    plan = Plan((20, 1), (1, 30), (20, 30))
    budget = 6 * 50
    svd, mpo = (METHODS[name].fit(matrix, plan, budget) for name in ("SVD", "MPO"))
    assert svd.parameters == mpo.parameters == budget and mpo.error == pytest.approx(svd.error, rel=1e-10)


def test_cpd_recovers_a_tensor_of_rank_three():
    factors = [gaussian(size, 3, seed=size) for size in (5, 6, 7)]
    plan = Plan((5, 6, 7), (1, 1, 1), (210, 1))
    matrix = to_matrix(torch.einsum("ar,br,cr->abc", *factors), plan)
    found = METHODS["CPD"].fit(matrix, plan, 3 * 18, iterations=200)
    assert found.rank == 3 and found.error < 1e-6
    assert len(found.errors) == 2 and found.error == min(found.errors)
    assert METHODS["CPD"].fit(matrix, plan, 2 * 18, iterations=200).error > 1e-3
    # more rank than the tensor has: singular normal equations, still a finite answer
    more = METHODS["CPD"].fit(matrix, plan, 8 * 18, iterations=50)
    assert more.rank == 8 and more.error < 1e-3


def test_tucker_at_full_ranks_is_exact_and_finds_low_multilinear_rank():
    matrix = gaussian(24, 12)
    full = METHODS["Tucker"].fit(matrix, PLAN, 10**6)
    assert full.rank == PLAN.sizes and full.error < 1e-12
    core, factors = gaussian(2, 3, 4, seed=1), [gaussian(a, r, seed=a + r) for a, r in zip(PLAN.sizes, (2, 3, 4))]
    low = to_matrix(torch.einsum("abc,xa,yb,zc->xyz", core, *factors), PLAN)
    found = METHODS["Tucker"].fit(low, PLAN, tucker_parameters(PLAN, (2, 3, 4)))
    assert found.rank == (2, 3, 4) and found.error < 1e-7


@pytest.mark.parametrize("name", METHODS)
def test_an_all_zero_matrix_costs_nothing_and_is_never_nan(name):
    found = METHODS[name].fit(torch.zeros(24, 12), PLAN, 100)
    assert found.error == 0.0 and not found.matrix.any()


# -- what it says about matrices -----------------------------------------------------------------


def test_mpo_beats_svd_on_a_kronecker_product_and_loses_on_a_gaussian():
    """The honest half of Fig. 2a: facts.md's 0.613 (SVD) against 0.660 (MPO) for 768x768 at ratio 0.5."""
    product = torch.kron(torch.kron(gaussian(4, 4), gaussian(4, 4, seed=1)), gaussian(4, 4, seed=2))
    product += 0.01 * product.std() * gaussian(64, 64, seed=3)
    svd, mpo = compare(product, [0.05], ("SVD", "MPO"), n=3)
    assert mpo.error < 0.02 < 0.5 < svd.error

    flat = gaussian(768, 768)
    svd, mpo = compare(flat, [0.5], ("SVD", "MPO"), sweep=True)
    assert svd.error == pytest.approx(0.613, abs=0.001)
    capped = MPO.decompose(flat).truncate(bond=123, sweep=True)
    assert capped.ratio <= 0.5 and capped.error() == pytest.approx(0.660, abs=0.001)
    assert svd.error + 0.04 < mpo.error < capped.error()  # wider on one side of the centre


def test_curves_fall_with_the_ratio_and_barely_depend_on_n():
    """Fig. 2b."""
    curves = curve_over_n(gaussian(96, 96), [0.1, 0.3, 0.6])
    assert list(curves) == [3, 5, 7]
    for curve in curves.values():
        errors = [point.error for point in curve]
        assert errors == sorted(errors, reverse=True)
    for points in zip(*curves.values()):
        errors = [point.error for point in points]
        assert max(errors) - min(errors) < 0.06


def test_a_sweep_is_never_worse_by_much():
    matrix = gaussian(64, 64)
    (sliced,), (swept,) = (compare(matrix, [0.3], ["MPO"], sweep=sweep) for sweep in (False, True))
    assert swept.rank == sliced.rank and swept.error <= sliced.error + 1e-9


# -- the limit on CPD, repeatability, the backend ------------------------------------------------


def test_cpd_stops_at_the_affordable_rank_and_says_so():
    plan = make_plan((24, 24), n=3)
    limit = cpd_flops(plan, 5) * 2 * 4
    assert affordable_cpd_rank(plan, 4, 2, flops=limit) == 5
    assert affordable_cpd_rank(plan, 4, 2, flops=limit - 1) == 4
    assert affordable_cpd_rank(plan, bytes=8 * 3 * 576 // min(plan.sizes)) == 3
    assert affordable_cpd_rank(plan, flops=1) == 1
    results = compare(gaussian(24, 24), [0.1, 0.4, 0.8], ["CPD"], plan=plan, iterations=4, flops=limit)
    assert [point.limited for point in results] == [False, True, True]
    assert results[1].rank == results[2].rank == 5 and results[1].error == results[2].error
    assert "not computed beyond rank 5" in repr(results[2])


def test_the_rank_that_nobody_computes():
    """facts.md section 4: CPD of the 5-mode embedding at ratio 0.1."""
    plan = make_plan((30522, 768))
    entries = math.prod(plan.padded)
    assert int(0.1 * entries / sum(plan.sizes)) == 15_521
    assert affordable_cpd_rank(plan) < 200
    assert 8 * 15_521 * entries / min(plan.sizes) == pytest.approx(122e9, rel=0.01)


def test_the_same_seeds_give_the_same_answer_whatever_the_global_state():
    matrix, before = gaussian(24, 24), torch.random.get_rng_state()
    first = compare(matrix, [0.3], iterations=3, keep_matrices=True)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(1)
    second = compare(matrix, [0.3], iterations=3)
    assert [repr(point) for point in first] == [repr(point) for point in second]
    assert [point.error for point in first] == pytest.approx([point.error for point in second], abs=1e-12)
    assert all(point.matrix is not None for point in first) and all(point.matrix is None for point in second)
    other = compare(matrix, [0.3], ["CPD"], iterations=3, seeds=(5,))
    assert other[0].error != first[1].error


def test_tensorlys_backend_is_left_as_it_was():
    import tensorly

    with tensorly.backend_context("numpy"):
        compare(gaussian(24, 24), [0.3], ["CPD", "Tucker"], iterations=1)
        assert tensorly.get_backend() == "numpy"


# -- bad input -----------------------------------------------------------------------------------


def test_errors_say_what_would_work():
    matrix = gaussian(24, 12)
    with pytest.raises(UnknownNameError, match="Did you mean 'Tucker'"):
        compare(matrix, [0.3], ["tucker"])
    with pytest.raises(BondError, match="expected a positive number"):
        compare(matrix, [0.0])
    with pytest.raises(BondError, match="at least one seed"):
        compare(matrix, [0.3], seeds=())
    with pytest.raises(MatrixError, match="plan for"):
        METHODS["SVD"].fit(gaussian(12, 24), PLAN, 100)
    with pytest.raises(MatrixTypeError):
        compare([[1.0]], [0.3])
    with pytest.raises(TypeError, match="iteration"):
        compare(matrix, [0.3], iteration=3)
    for name, least in (("SVD", 36), ("CPD", 20), ("Tucker", 21), ("MPO", 20)):
        assert METHODS[name].fit(matrix, PLAN, least, iterations=1).parameters == least
        with pytest.raises(BondError, match=f"stores {least} "):
            METHODS[name].fit(matrix, PLAN, least - 1)
