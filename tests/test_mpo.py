"""The MPO as a value: cutting, its exact error and budget, its gauge, applying it, and what it says of itself."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpolab import MPO
from mpolab.source import Source

METHODS = ("centre", "left_to_right", "symmetric")
SLACK = {torch.float32: 2e-6, torch.float64: 1e-11}
CASES = {  # rows, cols, shape
    "n=2": ((4, 6), (4, 3), (24, 12)),
    "n=3": ((3, 4, 3), (3, 3, 2), (36, 18)),
    "n=4": ((2, 3, 2, 3), (3, 2, 3, 2), (36, 36)),
    "n=5": ((2, 2, 3, 2, 2), (2, 2, 2, 2, 2), (48, 32)),
    "n=6": ((2, 2, 2, 3, 1, 2), (2, 1, 2, 2, 2, 1), (48, 16)),
    "padded rows": ((2, 3, 2, 3), (3, 2, 3, 2), (33, 36)),
    "padded both": ((2, 2, 3, 2, 2), (2, 3, 2, 2, 2), (43, 47)),
    "padded n=2": ((4, 6), (4, 6), (23, 22)),
    "long left half": ((2, 3, 2, 2), (3, 2, 2, 2), (24, 24)),
    "very long left half": ((4, 4, 2, 1), (4, 4, 2, 2), (32, 64)),
    "long right half": ((2, 2, 4), (1, 2, 4), (16, 8)),
    "padded long left half": ((4, 4, 2, 1), (4, 4, 2, 2), (30, 60)),
    "a core of one": ((3, 4, 1, 4, 3), (4, 3, 1, 3, 4), (144, 144)),
}


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def cuts(full):
    """Some lists of inner bonds: outer ones cut, inner ones cut, all, one, none."""
    inner = full[1:-1]
    yield [max(1, d // 2) for d in inner]
    yield [max(1, d // 2) if k in (0, len(inner) - 1) else d for k, d in enumerate(inner)]
    yield [d if k in (0, len(inner) - 1) else max(1, d // 3) for k, d in enumerate(inner)]
    yield [1] * len(inner)
    yield list(inner)
    yield [max(1, d - 1) for d in inner]


@st.composite
def cut_mpos(draw):
    """A matrix of one of the cases, its MPO by some method, and some inner bonds."""
    rows, cols, shape = CASES[draw(st.sampled_from([name for name in CASES if name != "a core of one"]))]
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    W = random(shape, draw(st.integers(0, 10_000)), dtype)
    kind = draw(st.sampled_from(["gaussian", "decaying", "low rank", "sparse"]))
    if kind == "decaying":
        W = W * torch.exp(-0.3 * torch.arange(shape[1], dtype=dtype))
    elif kind == "low rank":
        W = W[:, :2] @ W[:2]
    elif kind == "sparse":
        W = W * (W.abs() > 1.5)
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=draw(st.sampled_from(METHODS)))
    return W, mpo, [draw(st.integers(1, d)) for d in mpo.full_bonds[1:-1]]


# -- cutting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_a_cut_projects_on_the_schmidt_bases_of_the_source(case, method, oracle):
    """All three methods cut to the matrix that dense projectors give."""
    rows, cols, shape = CASES[case]
    W = random(shape, 1)
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    for inner in cuts(mpo.full_bonds):
        cut = mpo.truncate(bond=inner)
        assert cut.bonds == [1, *inner, 1]
        np.testing.assert_allclose(cut.to_matrix().numpy(), oracle.cut(W, rows, cols, inner), atol=1e-10)
        at_once = MPO.decompose(W, rows=rows, cols=cols, method=method, bond=inner)
        np.testing.assert_allclose(at_once.to_matrix().numpy(), cut.to_matrix().numpy(), atol=1e-11)
        assert at_once.bonds == cut.bonds and at_once.bound() == cut.bound()


@pytest.mark.parametrize("method", METHODS)
def test_truncate_slices_and_decomposes_nothing(method, monkeypatch):
    mpo = MPO.decompose(random((48, 36)), n=5, method=method)
    mpo.error()

    def refuse(*args, **kwargs):
        raise AssertionError("a decomposition was called")

    for module, names in (
        (torch.linalg, ("svd", "svdvals", "eigh", "eigvalsh", "qr", "lstsq", "cholesky")),
        (torch, ("svd", "qr", "geqrf")),
        (np.linalg, ("svd", "eigh", "eigvalsh", "qr")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    with pytest.raises(AssertionError):
        MPO.decompose(random((48, 36)), method=method)
    for request in ({"bond": 3}, {"bond": [2, 5, 4, 2]}, {"ratio": 0.4}, {"error": 0.3}):
        cut = mpo.truncate(**request)
        for core, whole in zip(cut.cores, mpo.cores):  # the same memory
            assert core.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
        cut.bound(), cut.error(), cut.budget(), cut.entropy(), cut.show(), cut.to_matrix(), cut.printed_bound()


def alike(first: MPO, second: MPO) -> bool:
    return first.bonds == second.bonds and all(torch.equal(a, b) for a, b in zip(first.cores, second.cores))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_cutting_twice_is_cutting_once(method, dtype):
    mpo = MPO.decompose(random((48, 36), 4, dtype), n=5, method=method)
    for first, second in (
        ({"bond": 6}, {"bond": 3}),
        ({"bond": [4, 9, 6, 3]}, {"bond": [2, 9, 3, 1]}),
        ({"ratio": 0.7}, {"ratio": 0.25}),
        ({"error": 0.2}, {"error": 0.6}),
    ):
        once, between = mpo.truncate(**second), mpo.truncate(**first)
        twice = between.truncate(**second)
        assert alike(once, twice)
        assert alike(once, twice.truncate(**second)), "and a third time"
        assert once.bound() == twice.bound() and once.error() == twice.error() and once.budget() == twice.budget()
        assert once.entropy() == twice.entropy() == mpo.entropy()
        for s, t in zip(twice.spectra, mpo.spectra):
            assert torch.equal(s, t), "spectra stay those of the source"
    # what the first cut took is gone, whatever the second asks for
    assert alike(mpo.truncate(bond=4).truncate(bond=9), mpo.truncate(bond=4))
    assert alike(mpo.truncate(bond=[2, 9, 9, 4]).truncate(bond=[4, 3, 9, 4]), mpo.truncate(bond=[2, 3, 9, 4]))


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_decomposing_with_a_request_is_decomposing_and_cutting(dtype, limit, oracle):
    W = random((48, 36), 4, dtype)
    for method in METHODS:
        mpo = MPO.decompose(W, n=5, method=method)
        for request in ({"bond": 3}, {"bond": [2, 5, 4, 2]}, {"ratio": 0.4}, {"error": 0.3}):
            at_once, cut = MPO.decompose(W, n=5, method=method, **request), mpo.truncate(**request)
            assert at_once.bonds == cut.bonds and at_once.clipped == cut.clipped
            assert oracle.relative_error(at_once.to_matrix(), cut.to_matrix()) <= limit
            assert at_once.error() == pytest.approx(cut.error(), rel=limit)
            assert [len(s) for s in at_once.spectra] == mpo.full_bonds[1:-1]


def test_an_integer_caps_every_bond_and_a_list_names_them():
    mpo = MPO.decompose(random((48, 32)), rows=(2, 2, 3, 2, 2), cols=(2, 2, 2, 2, 2))
    assert mpo.full_bonds == [1, 4, 16, 16, 4, 1] == mpo.bonds
    assert mpo.truncate(bond=5).bonds == [1, 4, 5, 5, 4, 1]
    assert mpo.truncate(bond=[1, 2, 3, 4]).bonds == [1, 1, 2, 3, 4, 1]
    assert mpo.truncate(bond=(1, 2, 3, 4)).bonds == mpo.truncate(bond=np.array([1, 2, 3, 4])).bonds
    assert mpo.truncate(bond=torch.tensor([1, 2, 3, 4])).bonds == [1, 1, 2, 3, 4, 1]
    assert mpo.truncate(bond=np.int64(5)).bonds == [1, 4, 5, 5, 4, 1]
    assert mpo.truncate(bond=10**6).bonds == mpo.full_bonds


@pytest.mark.parametrize("method", METHODS)
def test_requests_above_the_full_bond_are_clipped_and_it_says_so(method):
    W = random((48, 32))
    mpo = MPO.decompose(W, rows=(2, 2, 3, 2, 2), cols=(2, 2, 2, 2, 2), method=method)
    for cut in (
        mpo.truncate(bond=[9, 16, 99, 2]),
        MPO.decompose(W, rows=(2, 2, 3, 2, 2), cols=(2, 2, 2, 2, 2), bond=[9, 16, 99, 2], method=method),
        mpo.truncate(bond=[9, 16, 99, 2], sweep=True),
    ):
        # a sweep leaves no bond wider than its neighbours can fill
        assert cut.bonds == ([1, 4, 16, 16, 2, 1] if "sweep" not in cut.show() else [1, 4, 16, 8, 2, 1])
        assert cut.clipped == ((1, 9, 4), (3, 99, 16))
        assert "9 asked for" in cut.show() and "99 asked for" in cut.show()
        assert cut.truncate(bond=2).clipped == ()
    assert mpo.clipped == () and "asked for" not in mpo.show()
    assert mpo.truncate(bond=[2, 2, 2, 2]).truncate(bond=[3, 2, 2, 2]).clipped == ((1, 3, 2),)


@pytest.mark.parametrize("make", [int, np.int64, np.uint8, np.array, torch.tensor])
def test_a_cap_of_any_integer_type_clips_only_where_it_lies_above_all_bonds(gaussian, make):
    mpo = MPO.decompose(gaussian(16, 16), rows=(2, 2, 2, 2), cols=(2, 2, 2, 2))  # full bonds 4, 16, 4
    cut = mpo.truncate(bond=make(8))
    assert cut.bonds == [1, 4, 8, 4, 1] and cut.clipped == ()
    assert mpo.truncate(bond=[make(8), 8, 4]).clipped == ((1, 8, 4),)
    assert mpo.truncate(bond=make(20)).clipped == ((1, 20, 4), (2, 20, 16), (3, 20, 4))


def test_ratio_is_eq_5_with_the_padding():
    mpo = MPO.decompose(random((43, 47)), rows=(2, 2, 3, 2, 2), cols=(2, 3, 2, 2, 2))
    for some in (mpo, mpo.truncate(bond=3), mpo.truncate(ratio=0.3)):
        numbers = sum(core.numel() for core in some.cores)
        assert some.parameters == numbers and some.ratio == numbers / (48 * 48)
    assert mpo.truncate(ratio=5.0).bonds == mpo.full_bonds


# -- errors ---------------------------------------------------------------------------------------


@given(cut_mpos())
def test_the_bound_holds_and_the_error_is_the_measured_one(oracle, problem):
    W, mpo, inner = problem
    slack = SLACK[W.dtype]
    cut = mpo.truncate(bond=inner)
    measured = oracle.relative_error(cut.to_matrix(), W)
    assert measured <= cut.bound() + slack
    assert cut.error() <= cut.bound() + slack
    assert cut.error() == pytest.approx(measured, abs=5 * slack)
    assert cut.error(W) == pytest.approx(measured, abs=slack)
    assert cut.bound() == pytest.approx(oracle.bound(oracle.singular_values(W, mpo.rows, mpo.cols), inner), abs=slack)
    budget = cut.budget()
    assert len(budget) == mpo.n - 1 and all(type(share) is float for share in budget)
    assert sum(budget) == pytest.approx(measured**2, abs=5 * slack)


@given(cut_mpos())
def test_a_sweep_obeys_the_bound_and_splits_its_error(oracle, problem):
    W, mpo, inner = problem
    slack = SLACK[W.dtype]
    swept, sliced = mpo.truncate(bond=inner, sweep=True), mpo.truncate(bond=inner)
    assert all(s <= asked for s, asked in zip(swept.bonds, sliced.bonds))
    measured = oracle.relative_error(swept.to_matrix(), W)
    assert measured <= sliced.bound() + slack
    assert swept.error() == pytest.approx(measured, abs=5 * slack)
    assert sum(swept.budget()) == pytest.approx(measured**2, abs=5 * slack)
    assert min(swept.budget()) >= 0
    for s, t in zip(swept.spectra, mpo.spectra):
        assert torch.equal(s, t)


@pytest.mark.parametrize("case", CASES)
def test_the_error_of_every_plan(case, oracle):
    """Hand-picked, so that a lopsided or padded plan cannot slip through: the exact error is the measured one."""
    rows, cols, shape = CASES[case]
    W = random(shape, 3)
    for method in METHODS:
        mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
        for inner in cuts(mpo.full_bonds):
            cut = mpo.truncate(bond=inner)
            measured = oracle.relative_error(oracle.cut(W, rows, cols, inner), W)
            assert cut.error() == pytest.approx(measured, abs=1e-10), (method, inner)
            assert cut.error() <= cut.bound() + 1e-12


OUTER_CASES = {  # one outer bond a side that a cut may take, and several; rows, cols
    "n=4": ((2, 3, 4, 3), (3, 2, 2, 3)),
    "n=5": ((2, 3, 3, 2, 3), (3, 2, 2, 3, 2)),
    "n=6": ((2, 2, 2, 3, 2, 2), (2, 2, 3, 2, 2, 2)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["gaussian", "decaying", "near a product"])
@pytest.mark.parametrize("case", OUTER_CASES)
def test_every_way_to_an_error_finds_the_same(case, kind, dtype, oracle):
    """Which products `Source` makes depends on the sizes of the cuts; here each way is walked for each cut."""
    rows, cols = OUTER_CASES[case]
    W = random((math.prod(rows), math.prod(cols)), 7)
    if kind == "decaying":
        W = W * torch.logspace(0, -5, W.shape[1], dtype=torch.float64)
    elif kind == "near a product":
        rest = W.shape[0] // rows[0], W.shape[1] // cols[0]
        W = torch.kron(random((rows[0], cols[0]), 1), random(rest, 2)) + 1e-4 * W
    W = W.to(dtype)
    mpo = MPO.decompose(W, rows=rows, cols=cols)
    source, c, full = mpo._source, mpo.plan.centre, mpo.full_bonds
    assert type(source).__name__ == "Source" and all(full[k] == math.prod(mpo.plan.sizes[:k]) for k in range(1, c + 1))
    seen = set()
    for far_left, far_right in ((1, mpo.n - 1), (c - 1, c + 2)):
        for shares in itertools.product((0.4, 1), (0.7, 1), (0.2, 0.8, 1), (0.3, 0.9, 1)):
            bonds = list(full)
            for k, share in zip((c, c + 1, far_left, far_right), shares):
                if share < 1:
                    bonds[k] = max(1, int(share * full[k]))
            outer = [k for k in dict.fromkeys((far_left, far_right)) if k not in (c, c + 1) and bonds[k] < full[k]]
            if not outer:
                continue
            measured = oracle.relative_error(mpo.truncate(bond=bonds[1:-1]).to_matrix(), W)
            cuts, inner = [source._outer_cut(k, bonds[k]) for k in outer], (bonds[c], bonds[c + 1])
            for known in (False, True):  # the error of the outer cuts alone
                for way in source._ways(cuts, inner):
                    if not known:
                        source._apart.clear()
                    square = source._in_parts(way, inner)
                    assert math.sqrt(square) == pytest.approx(measured, rel=1e-5, abs=SLACK[dtype]), (bonds, way[2:])
                    seen.add((len(cuts), way.keep, way.first.left, known, inner == (full[c], full[c + 1])))
            sides = [any(cut.left for cut in cuts), any(not cut.left for cut in cuts)]
            square = source._by_overlaps(tuple(bonds), *sides)
            assert math.sqrt(square) == pytest.approx(measured, rel=1e-5, abs=SLACK[dtype]), bonds
    if case != "n=4":  # which has no outer bond right of the centre
        assert len([way for way in seen if way[0] == 2]) == 16


def test_no_error_of_a_layer_takes_more_than_half_of_seeing_its_centre_from_both_sides():
    """3072x768, MPOBERT's plan: seeing the centre from both full bases takes 1.3e9 multiply-adds, an error 0.65e9."""
    mpo = MPO.decompose(random((3072, 768), dtype=torch.float32))
    source, full = mpo._source, mpo.full_bonds
    assert full == [1, 16, 256, 288, 12, 1]
    counts = {}
    for outer in itertools.product((1, 4, 8, 9, 12, 15, 16), (1, 3, 6, 7, 9, 11, 12)):
        if outer == (16, 12):
            continue
        cuts = [source._outer_cut(k, d) for k, d in zip((1, 4), outer) if d < full[k]]
        for inner in itertools.product((1, 64, 128, 192, 250, 256), (1, 72, 144, 173, 216, 280, 288)):
            ways = [way.multiplications for way in source._ways(cuts, inner)]
            ways += source._overlap_multiplications(inner, outer[0] < 16, outer[1] < 12)
            counts[outer, inner] = min(ways) * source.centre.shape[1]
    both = 32 * (256 * 256 * 288 + 256 * 288 * 288)
    assert max(counts.values()) <= 0.51 * both
    assert counts[(15, 11), (256, 288)] <= 0.1 * both, "a mild cut is seen by the few rows that it drops"
    assert counts[(8, 12), (256, 288)] == 0, "one cut alone is its own tail"


def test_an_error_is_computed_the_cheapest_way(monkeypatch):
    mpo = MPO.decompose(random((144, 144), dtype=torch.float64), rows=(3, 2, 4, 2, 3), cols=(3, 2, 4, 2, 3))
    ways, taken = [], []
    ways_of, in_parts = Source._ways, Source._in_parts
    monkeypatch.setattr(Source, "_ways", lambda self, *args: ways.append(ways_of(self, *args)) or ways[-1])
    monkeypatch.setattr(Source, "_in_parts", lambda self, way, *args: taken.append(way) or in_parts(self, way, *args))
    for bonds in ([8, 36, 36, 7], [2, 36, 36, 8], [4, 30, 30, 5], [8, 35, 35, 9]):
        mpo.truncate(bond=bonds).error()
        assert taken[-1].multiplications == min(way.multiplications for way in ways[-1])
    assert len({(way.first.left, way.keep) for way in taken}) > 2
    before = len(taken)
    mpo.truncate(bond=[1, 2, 2, 1]).error()
    assert len(taken) == before, "of a small remainder it is cheaper to see it from the full bases"


def test_a_sweep_is_usually_better():
    better = 0
    for seed in range(20):
        mpo = MPO.decompose(random((36, 36), seed), rows=(2, 3, 2, 3), cols=(3, 2, 3, 2))
        sliced, swept = mpo.truncate(bond=[3, 8, 3]), mpo.truncate(bond=[3, 8, 3], sweep=True)
        better += swept.error() < sliced.error()
    assert better >= 18


def test_a_swept_mpo_can_be_cut_again_from_the_source():
    W = random((48, 32))
    for method in METHODS:
        mpo = MPO.decompose(W, rows=(2, 2, 3, 2, 2), cols=(2, 2, 2, 2, 2), method=method)
        swept = mpo.truncate(bond=8, sweep=True)
        again = swept.truncate(bond=3)
        np.testing.assert_allclose(again.to_matrix().numpy(), mpo.truncate(bond=3).to_matrix().numpy(), atol=1e-11)
        assert again.error() == pytest.approx(mpo.truncate(bond=3).error(), rel=1e-10)
        twice, once = swept.truncate(bond=3, sweep=True), mpo.truncate(bond=3, sweep=True)
        np.testing.assert_allclose(twice.to_matrix().numpy(), once.to_matrix().numpy(), atol=1e-11)
        assert "sweep" in swept.show() and "sweep" not in again.show()


def outermost_first(n):
    order, left, right = [], 1, n - 1
    while left <= right:
        order += [left] if left == right else [left, right]
        left, right = left + 1, right - 1
    return order


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_the_budget_is_the_increments_outermost_first(case, method, oracle):
    rows, cols, shape = CASES[case]
    W = random(shape, 2)
    mpo = MPO.decompose(W, rows=rows, cols=cols, method=method)
    full = mpo.full_bonds[1:-1]
    for inner in cuts(mpo.full_bonds):
        budget = mpo.truncate(bond=inner).budget()
        current, before = list(full), 0.0
        for k in outermost_first(mpo.n):
            current[k - 1] = inner[k - 1]
            after = oracle.relative_error(oracle.cut(W, rows, cols, current), W) ** 2
            assert budget[k - 1] == pytest.approx(after - before, abs=1e-11), (k, inner)
            before = after
        assert sum(budget) == pytest.approx(before, abs=1e-11)
    assert mpo.budget() == [0.0] * (mpo.n - 1)


def test_the_order_of_the_budget_by_hand():
    assert outermost_first(5) == [1, 4, 2, 3] and outermost_first(4) == [1, 3, 2] and outermost_first(2) == [1]
    W = random((48, 32))
    mpo = MPO.decompose(W, rows=(2, 2, 3, 2, 2), cols=(2, 2, 2, 2, 2))
    budget = mpo.truncate(bond=[2, 7, 5, 3]).budget()
    steps = [[2, 16, 16, 4], [2, 16, 16, 3], [2, 7, 16, 3], [2, 7, 5, 3]]
    squares = [0.0] + [mpo.truncate(bond=b).error() ** 2 for b in steps]
    np.testing.assert_allclose([budget[0], budget[3], budget[1], budget[2]], np.diff(squares), atol=1e-13)


@pytest.mark.parametrize("case", ["n=2", "n=3", "n=4"])
def test_no_increment_is_negative_where_cuts_are_orthogonal(case):
    rows, cols, shape = CASES[case]
    for seed in range(5):
        mpo = MPO.decompose(random(shape, seed), rows=rows, cols=cols)
        for inner in cuts(mpo.full_bonds):
            assert min(mpo.truncate(bond=inner).budget()) >= -1e-14


def test_the_first_cut_costs_its_own_tail():
    mpo = MPO.decompose(random((48, 32)), rows=(2, 2, 3, 2, 2), cols=(2, 2, 2, 2, 2))
    budget = mpo.truncate(bond=[2, 7, 5, 3]).budget()
    s = mpo.spectra[0]
    assert budget[0] == pytest.approx(float((s[2:] ** 2).sum() / (s**2).sum()), rel=1e-11)


def test_error_against_another_matrix(oracle):
    W, other = random((24, 24)), random((24, 24), 1)
    mpo = MPO.decompose(W, n=3).truncate(bond=3)
    assert mpo.error(other) == pytest.approx(oracle.relative_error(mpo.to_matrix(), other), rel=1e-12)
    assert mpo.error(W.float()) == pytest.approx(mpo.error(), rel=1e-6)


def test_without_its_source_it_still_cuts():
    W = random((48, 36))
    mpo, whole = MPO.decompose(W, bond=4, keep_source=False), MPO.decompose(W)
    assert mpo.truncate(bond=2).bound() == whole.truncate(bond=2).bound()
    assert mpo.truncate(bond=2).error(W) == pytest.approx(whole.truncate(bond=2).error(), rel=1e-10)


# -- gauge ----------------------------------------------------------------------------------------


def off_centre_is_orthogonal(mpo, centre, limit):
    for k, core in enumerate(mpo.cores):
        if k != centre:
            square = torch.einsum("aijc,aijd->cd" if k < centre else "cija,dija->cd", core, core).double().numpy()
            np.testing.assert_allclose(square, np.eye(len(square)), atol=limit)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_canonical_moves_the_gauge_and_nothing_else(case, dtype, limit, method, oracle):
    rows, cols, shape = CASES[case]
    W = random(shape, 6, dtype)
    whole = MPO.decompose(W, rows=rows, cols=cols, method=method)
    for mpo in (whole, whole.truncate(bond=3), whole.truncate(bond=3, sweep=True)):
        for k in range(mpo.n):
            moved = mpo.canonical(centre=k)
            assert moved.gauge == k and f"core {k + 1}" in moved.gauge_name
            off_centre_is_orthogonal(moved, k, limit)
            assert oracle.relative_error(moved.to_matrix(), mpo.to_matrix()) <= limit
            norm = float(mpo.to_matrix().double().norm())
            if not mpo.plan.is_padded:
                assert float(moved.cores[k].double().norm()) == pytest.approx(norm, rel=1e-5)
            assert [c.shape[0] for c in moved.cores] == moved.bonds[:-1], "bonds are those of the cores"
            assert moved.parameters == sum(core.numel() for core in moved.cores)
            assert moved.error() == pytest.approx(mpo.error(), abs=1e-6) and moved.bound() == mpo.bound()
            again = moved.truncate(bond=2)
            off_centre_is_orthogonal(again, k, limit)
            assert oracle.relative_error(again.to_matrix(), whole.truncate(bond=2).to_matrix()) <= 10 * limit
    assert whole.canonical().gauge == whole.n // 2
    assert whole.canonical(-1).gauge == whole.n - 1


@pytest.mark.parametrize("seed", range(3))
def test_canonical_leaves_canonical_cores_as_they_are(seed):
    """Signs included: no core flips when the centre is moved to where it is."""
    W = random((36, 36), seed)
    for method, centre in (("centre", 2), ("left_to_right", 3)):
        mpo = MPO.decompose(W, rows=(2, 3, 2, 3), cols=(3, 2, 3, 2), method=method)
        for ours, right in zip(mpo.canonical(centre).cores, mpo.cores):
            np.testing.assert_allclose(ours.numpy(), right.numpy(), atol=1e-11)


def test_canonical_of_bonds_that_their_neighbours_cannot_fill():
    """[1, 60, 2]: the bond of 60 is fed by 16 numbers at most. bonds, parameters and cores must still agree."""
    mpo = MPO.decompose(random((256, 256)), rows=(4,) * 4, cols=(4,) * 4).truncate(bond=[1, 60, 2])
    moved = mpo.canonical()
    off_centre_is_orthogonal(moved, 2, 1e-12)
    np.testing.assert_allclose(moved.to_matrix().numpy(), mpo.to_matrix().numpy(), atol=1e-12)
    assert [c.shape[0] for c in moved.cores] == moved.bonds[:-1]
    assert moved.parameters == sum(core.numel() for core in moved.cores)


def test_frobenius_shares_in_the_centre_gauge_only():
    W = random((48, 48))
    mpo = MPO.decompose(W, n=3)
    squares = [float(core.square().sum()) for core in mpo.cores]
    np.testing.assert_allclose(mpo.norm_shares(), [s / sum(squares) for s in squares], rtol=1e-12)
    assert sum(mpo.norm_shares()) == pytest.approx(1.0)
    for other in (
        MPO.decompose(W, n=3, method="left_to_right"),
        MPO.decompose(W, n=3, method="symmetric"),
        mpo.canonical(0),
        mpo.canonical(2),
    ):
        with pytest.raises(ValueError, match="centre"):
            other.norm_shares()


@pytest.mark.parametrize("method", METHODS)
def test_frobenius_shares_after_canonical_are_those_of_its_cores(method):
    """Moved to the centre gauge, an MPO of any method has the same shares, and they are those of the cores it shows."""
    W = random((48, 48))
    for bond in (None, 3):
        moved = MPO.decompose(W, n=5, method=method, bond=bond).canonical()
        squares = [float(core.square().sum()) for core in moved.cores]
        np.testing.assert_allclose(moved.norm_shares(), [s / sum(squares) for s in squares], rtol=1e-10)


# -- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, centre", [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
@pytest.mark.parametrize("method", METHODS)
def test_central_and_auxiliary(n, centre, method):
    mpo = MPO.decompose(random((64, 64)), n=n, method=method)
    assert torch.equal(mpo.central, mpo.cores[centre])
    assert len(mpo.auxiliary) == n - 1
    for ours, right in zip(mpo.auxiliary, mpo.cores[:centre] + mpo.cores[centre + 1 :]):
        assert torch.equal(ours, right)
    assert mpo.parameters == mpo.central.numel() + sum(core.numel() for core in mpo.auxiliary)
    assert len(mpo.spectra) == n - 1 and len(mpo.bonds) == n + 1 and mpo.bonds[0] == mpo.bonds[-1] == 1


def test_counts_of_a_real_layer():
    mpo = MPO.decompose(random((768, 768), dtype=torch.float32))
    assert mpo.central.numel() == 589_824 and sum(core.numel() for core in mpo.auxiliary) == 86_609
    assert mpo.bonds == [1, 16, 256, 144, 9, 1]


def test_it_is_a_frozen_value():
    mpo = MPO.decompose(random((12, 12)), n=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        mpo.gauge = 0
    before = [core.clone() for core in mpo.cores]
    mpo.truncate(bond=1), mpo.canonical(0), mpo.truncate(bond=2, sweep=True), mpo.error(), mpo.budget()
    assert all(torch.equal(a, b) for a, b in zip(before, mpo.cores)) and mpo.bonds == mpo.full_bonds


# -- applying it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_matvec_is_the_dense_product(case, method):
    rows, cols, shape = CASES[case]
    mpo = MPO.decompose(random(shape, 1), rows=rows, cols=cols, method=method)
    for some in (mpo, mpo.truncate(bond=2), mpo.canonical(0)):
        W = some.to_matrix()
        for batch in ((), (1,), (7,), (2, 3)):
            x = random((*batch, shape[1]), 2)
            y = some.matvec(x)
            assert y.shape == (*batch, shape[0])
            np.testing.assert_allclose(y.numpy(), (x @ W.T).numpy(), atol=1e-11)


def test_matvec_of_an_empty_batch():
    assert MPO.decompose(random((24, 36)), n=3).matvec(torch.zeros(0, 36)).shape == (0, 24)


def test_matvec_takes_strided_input_of_another_dtype():
    W = random((24, 36), dtype=torch.float32)
    x = random((36, 5), dtype=torch.float64).T
    y = MPO.decompose(W, n=3).matvec(x)
    np.testing.assert_allclose(y.double().numpy(), (x @ W.double().T).numpy(), atol=2e-5)


# -- from cores -----------------------------------------------------------------------------------


def test_from_cores_of_any_gauge(oracle):
    cores = [random(s, k) for k, s in enumerate([(1, 2, 3, 5), (5, 3, 2, 7), (7, 2, 2, 4), (4, 2, 3, 1)])]
    mpo = MPO.from_cores(cores)
    W = oracle.product(cores)
    assert mpo.shape == (24, 36) and mpo.rows == (2, 3, 2, 2) and mpo.cols == (3, 2, 2, 3)
    assert mpo.bonds == [1, 5, 7, 4, 1]
    assert oracle.relative_error(mpo.to_matrix(), W) <= 1e-12
    assert mpo.error(torch.from_numpy(W)) <= 1e-12
    for s, right in zip(mpo.spectra, oracle.singular_values(W, mpo.rows, mpo.cols)):
        np.testing.assert_allclose(s.numpy(), right, atol=1e-12 * right[0])
    cut = mpo.truncate(bond=3)
    np.testing.assert_allclose(cut.to_matrix().numpy(), oracle.cut(W, mpo.rows, mpo.cols, [3, 3, 3]), atol=1e-10)
    back = MPO.from_cores(cut.cores, method="left_to_right")
    assert back.bonds == cut.bonds and oracle.relative_error(back.to_matrix(), cut.to_matrix()) <= 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_from_cores_of_a_padded_mpo(method, oracle):
    mpo = MPO.decompose(random((43, 47)), rows=(2, 2, 3, 2, 2), cols=(2, 3, 2, 2, 2), method=method)
    back = MPO.from_cores(mpo.cores, shape=(43, 47))
    assert back.shape == (43, 47) and back.bonds == mpo.bonds
    assert oracle.relative_error(back.to_matrix(), mpo.to_matrix()) <= 1e-12


# -- text -----------------------------------------------------------------------------------------


def test_text_tells_everything_and_the_same_every_time():
    W = random((43, 47))
    mpo = MPO.decompose(W, rows=(2, 2, 3, 2, 2), cols=(2, 3, 2, 2, 2))
    again = MPO.decompose(W.clone(), rows=(2, 2, 3, 2, 2), cols=(2, 3, 2, 2, 2))
    cut = mpo.truncate(bond=[2, 99, 5, 2])
    for ours, other in ((mpo, again), (cut, again.truncate(bond=[2, 99, 5, 2]))):
        assert ours.show() == other.show() and repr(ours) == repr(other)
    text = cut.show()
    assert (
        "43x47" in text and "padded to 48x48" in text and f"{cut.ratio:.4f}" in text and f"{cut.parameters:,}" in text
    )
    for d, full in zip(cut.bonds[1:-1], cut.full_bonds[1:-1]):
        assert (f"{d}/{full}" if d < full else str(d)) in text
    for value in cut.entropy():
        assert f"{value:.2f}" in text
    for i, j in zip(cut.rows, cut.cols):
        assert f"{i}·{j}" in text
    assert "[3·2]" in text, "the centre is marked"
    assert "99 asked for" in text and f"bound {cut.bound():.4f}" in text and "centre" in text and "float64" in text
    assert "0x" not in text and "object at" not in repr(cut)
    assert "2-24-5-2" in repr(cut) or "2-16-5-2" in repr(cut)
    assert "padded" not in MPO.decompose(random((48, 48))).show()
