"""What applying an MPO costs: counted, counted by torch, and measured; the papers' numbers and Table 2."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mpolab import MPO, make_plan
from mpolab.cost import (
    ORDERS,
    WAYS,
    Cost,
    apply,
    best_order,
    chained_flops,
    choose,
    costs,
    dense_flops,
    gemm_rate,
    measure,
    rebuild_flops,
    table_2,
)
from mpolab.errors import BondError, MatrixError, UnknownNameError
from mpolab.plans import Plan


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CASES = {
    "down, from the right": ((96, 64), {}),
    "up, from the left": ((64, 96), {}),
    "truncated": ((96, 64), {"ratio": 0.3}),
    "two cores": ((24, 30), {"n": 2}),
    "even number": ((64, 48), {"n": 4}),
    "padded rows": ((23, 30), {"rows": (4, 6)}),
    "padded columns": ((30, 23), {"cols": (4, 6), "ratio": 0.4}),
    "seven": ((768, 128), {"n": 7, "ratio": 0.1}),
}


@pytest.fixture(params=CASES, scope="module")
def mpo(request) -> MPO:
    shape, options = CASES[request.param]
    return MPO.decompose(gaussian(*shape), **options)


def counted_by_torch(call) -> int:
    """FLOPs of all matrix products, the ones in place included (torch's counter does not know them by itself)."""
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, out_shape=None, **more: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        call()
    return counter.get_total_flops()


# -- the same result, at the counted price -------------------------------------------------------


def test_every_way_is_w_times_x(mpo):
    x, weight = gaussian(2, 3, mpo.shape[1], seed=1), mpo.to_matrix()
    expected = torch.nn.functional.linear(x, weight)
    for way in WAYS:
        torch.testing.assert_close(apply(mpo, x, way), expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(apply(mpo, x, "dense", weight), expected)
    torch.testing.assert_close(apply(mpo, x[0, 0], "chained"), expected[0, 0], rtol=1e-11, atol=1e-11)
    assert apply(mpo, x[:0], "chained").shape == (0, 3, mpo.shape[0])


def test_flops_are_those_that_torch_counts(mpo):
    x, weight = gaussian(5, mpo.shape[1]), mpo.to_matrix()
    for way, cost in costs(mpo.plan, mpo.bonds, 5).items():
        assert counted_by_torch(lambda way=way: apply(mpo, x, way, weight)) == cost.flops, way


def test_bytes_are_those_of_the_tensors_alive(mpo):
    counted = costs(mpo.plan, mpo.bonds, 5, torch.float64)
    for way, measured in measure(mpo, 5, repeats=1, warmup=0).items():
        # a core's slice counts as a copy; now and then it is a view
        assert 0.93 * counted[way].activation_bytes <= measured.peak_bytes <= counted[way].activation_bytes * 1.02, way
    assert counted["dense"].activation_bytes == 8 * 5 * mpo.shape[0]


def test_chunks_of_tokens_change_memory_and_nothing_else():
    mpo = MPO.decompose(gaussian(96, 64))
    x, weight = gaussian(100, 64), mpo.to_matrix()
    whole, limit = costs(mpo.plan, mpo.bonds, 100, torch.float64)["chained"], 1 << 18
    sliced = costs(mpo.plan, mpo.bonds, 100, torch.float64, chunk_bytes=limit)["chained"]
    assert sliced.flops == whole.flops
    assert sliced.activation_bytes <= limit + 2 * 8 * 100 * 96 < whole.activation_bytes
    y = apply(mpo, x, "chained", chunk_bytes=limit)
    torch.testing.assert_close(y, x @ weight.T, rtol=1e-11, atol=1e-11)
    from mpolab.cost import _Tensors

    with _Tensors() as seen:
        apply(mpo, x, "chained", chunk_bytes=limit)
    assert seen.peak == pytest.approx(sliced.activation_bytes, rel=0.05)
    assert apply(mpo, x, "chained", chunk_bytes=1).shape == (100, 96)  # never less than a token


def test_gradients_are_the_same_every_way():
    mpo, weight = MPO.decompose(gaussian(24, 20), n=3), None
    gradients = []
    for way in WAYS:
        x = gaussian(4, 20, seed=1).requires_grad_()
        apply(mpo, x, way, weight).square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


# -- by hand, and the numbers in the papers' notes -----------------------------------------------


def test_counts_by_hand():
    plan, bonds = Plan((2, 3), (5, 7), (6, 35)), [1, 4, 1]
    # from the left: core 1 meets x (5 x 7) and makes (2, 4, 7); core 2 makes (2, 3)
    assert chained_flops(plan, bonds, 1, "left_to_right") == 2 * (2 * 4 * 5 * 7 + 2 * 3 * 4 * 7)
    # from the right: core 2 makes (5, 4, 3), core 1 (2, 3)
    assert chained_flops(plan, bonds, 1, "right_to_left") == 2 * (5 * 7 * 4 * 3 + 5 * 4 * 3 * 2)
    assert best_order(plan, bonds) == "left_to_right"
    assert rebuild_flops(plan, bonds) == rebuild_flops(plan, bonds, "left_to_right") == 2 * 10 * 4 * 21
    cost = costs(plan, bonds, 8)
    assert cost["dense"] == Cost("dense", 210, 2 * 8 * 210, 4 * 8 * 6, 8)
    assert cost["rebuilt"].parameters == cost["chained"].parameters == 10 * 4 + 4 * 21
    assert cost["chained"].order == "left_to_right"


def test_numbers_of_the_project_notes():
    """768 -> 3072 in MPOP's plan: 292 times dense from the left; a rebuild is worth 577 (halves) or 592 tokens."""
    plan = make_plan((3072, 768), style="mpop")
    full, dense = plan.full_bonds, dense_flops(plan, 1)
    assert chained_flops(plan, full) / dense == pytest.approx(292.1, abs=0.05)
    assert chained_flops(plan, full, 1, "right_to_left") / dense == pytest.approx(309.1, abs=0.05)
    assert rebuild_flops(plan, full) / dense == pytest.approx(577.2, abs=0.05)
    assert rebuild_flops(plan, full, "left_to_right") / dense == pytest.approx(592.2, abs=0.05)


@pytest.mark.parametrize(
    "style, order, last",
    [
        ("mpobert", "right_to_left", 8),
        ("mpop", "right_to_left", 9),
        ("mpop", "left_to_right", 9),
        ("mpobert", "left_to_right", 10),
    ],
)
def test_break_even_with_dense_is_near_bond_eight(style, order, last):
    """The largest cap on all bonds at which chained has fewer FLOPs than dense, 768 -> 3072."""
    plan = make_plan((3072, 768), style=style)

    def ratio(cap: int) -> float:
        return chained_flops(plan, [min(cap, d) for d in plan.full_bonds], 1, order) / dense_flops(plan, 1)

    assert ratio(last) < 1 < ratio(last + 1)


def test_from_the_left_is_from_the_right_of_the_mirror_image():
    plan = make_plan((3072, 768))
    mirrored = Plan(plan.cols, plan.rows, (768, 3072))
    for cap in (3, 50, 10**6):
        bonds = [min(cap, d) for d in plan.full_bonds]
        flipped = Plan(plan.rows[::-1], plan.cols[::-1], plan.shape)
        assert chained_flops(plan, bonds) == chained_flops(flipped, bonds[::-1], 1, "right_to_left")
        # the transpose, walked the other way, does the same products
        assert chained_flops(plan, bonds) == chained_flops(mirrored, bonds, 1, "right_to_left")


# -- the rule ------------------------------------------------------------------------------------


def test_the_rule():
    plan = make_plan((3072, 768))

    def at(cap: int) -> list[int]:
        return [min(cap, d) for d in plan.full_bonds]

    assert choose(plan, plan.full_bonds, 4096) == choose(plan, plan.full_bonds, 512) == "reconstruct"
    assert choose(plan, at(64), 4) == "factorized"  # a few tokens: a rebuild is not worth it
    assert choose(plan, at(64), 4, cached=True) == "reconstruct"  # unless W is at hand
    assert choose(plan, at(8), 32) == "factorized"
    assert choose(plan, at(8), 512) == "reconstruct"
    assert choose(plan, at(1), 512, cached=True) == "factorized"  # tiny bonds beat even a kept W
    choices = [choose(plan, at(32), tokens) for tokens in (1, 4, 16, 64, 256, 1024)]
    assert choices == sorted(choices)  # factorized first, reconstruct from some number of tokens on


# -- Table 2 -------------------------------------------------------------------------------------


def test_table_2_as_printed_and_exact():
    plan = make_plan((4**5, 4**5))  # m = 4, n = 5
    rows = {row.method: row for row in table_2(plan, 8)}
    assert rows["CP"].printed == 5 * 4 * 8**2
    assert rows["Tucker"].printed == 5 * 4 * 8 + 8**5
    assert rows["SVD"].printed == 2 * 4 * 8**3
    assert rows["MPO"].printed == 5 * 4 * 8**3
    assert rows["SVD"].exact == 8 * (1024 + 1024)
    assert rows["CP"].exact == 8 * 5 * 4**6  # d Kronecker products of five 4x4 matrices with 4^5 numbers
    assert rows["MPO"].exact == chained_flops(plan, [1, 8, 8, 8, 8, 1]) // 2 == 4**6 * (8 + 3 * 8**2 + 8)
    ranks, first = 8**5, sum(8 ** (k + 1) * 4**6 for k in range(5))
    assert rows["Tucker"].exact == first + ranks * 4**5
    assert rows["MPO"].parameters == 16 * (8 + 3 * 64 + 8) and rows["Tucker"].parameters == ranks + 5 * 16 * 8


def test_table_2_in_n_and_in_d():
    """The print: MPO is cheaper than Tucker for n > 3. Exact: it is, but d enters squared, times the token."""
    plan = make_plan((4**5, 4**5))
    small, large = ({row.method: row for row in table_2(plan, d)} for d in (64, 128))
    wide = Plan((16,) * 3, (16,) * 3, (4096, 4096))
    at_32, at_64 = ({row.method: row for row in table_2(wide, d)} for d in (32, 64))
    assert large["MPO"].printed / small["MPO"].printed == 8
    # (1, d, d, 1): two cores cost d, the middle one d^2; no third power anywhere
    assert 3 < at_64["MPO"].exact / at_32["MPO"].exact < 4
    assert at_64["CP"].exact / at_32["CP"].exact == 2 and at_64["CP"].printed / at_32["CP"].printed == 4
    for n, d, printed_claim_holds in ((4, 8, False), (4, 32, True), (5, 8, True)):
        plan = Plan((4,) * n, (4,) * n, (4**n, 4**n))
        rows = {row.method: row for row in table_2(plan, d)}
        # as printed it needs d^(n-3) > n m, not n > 3 alone
        assert (rows["MPO"].printed < rows["Tucker"].printed) == printed_claim_holds
        assert rows["MPO"].exact < rows["Tucker"].exact
    two = {row.method: row for row in table_2(Plan((4, 4), (4, 4), (16, 16)), 8)}
    assert two["MPO"].printed == two["SVD"].printed  # n = 2


# -- measuring -----------------------------------------------------------------------------------


def test_measure_reports_every_way_asked_for():
    mpo = MPO.decompose(gaussian(96, 64).float(), bond=8)
    measured = measure(mpo, 16, ways=("chained", "dense"), repeats=3, warmup=1)
    assert list(measured) == ["chained", "dense"]
    for way, value in measured.items():
        assert value.milliseconds > 0 and value.gflops > 0
        assert value.flops == costs(mpo.plan, mpo.bonds, 16)[way].flops
    assert measured["dense"].peak_bytes == 4 * 16 * 96


def test_measuring_touches_no_global_seed():
    before = torch.random.get_rng_state()
    assert gemm_rate(size=128, repeats=2) > 0
    measure(MPO.decompose(gaussian(24, 20), n=3), 4, repeats=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_bad_input_says_what_would_work():
    mpo = MPO.decompose(gaussian(24, 20), n=3)
    with pytest.raises(UnknownNameError, match="Did you mean 'chained'"):
        apply(mpo, gaussian(4, 20), "chain")
    with pytest.raises(UnknownNameError, match="right_to_left"):
        chained_flops(mpo.plan, mpo.bonds, 1, "both")
    with pytest.raises(MatrixError, match="takes 20"):
        apply(mpo, gaussian(4, 24))
    with pytest.raises(BondError, match="expected 4 whole numbers"):
        costs(mpo.plan, mpo.bonds[1:-1], 4)
    with pytest.raises(BondError, match="tokens = 0"):
        costs(mpo.plan, mpo.bonds, 0)
    with pytest.raises(BondError, match="at least 1"):
        table_2(mpo.plan, 0)
    assert math.isfinite(measure(MPO.decompose(torch.zeros(24, 20), n=3), 2, repeats=1)["chained"].milliseconds)
    assert set(ORDERS) == {"left_to_right", "right_to_left"}
