"""What notes of claims say beside the verdict: worked out here, so that no note says more than is so."""

from __future__ import annotations

import math

import pytest
import torch

from mpolab import papers
from mpolab.ledger import counts, formulas
from mpolab.mpo import MPO
from mpolab.plans import make_plan
from mpolab.rebuild import rebuild_flops


def note(id: str) -> str:
    return papers.CLAIMS[id].note


def test_of_a_matrix_that_is_cut_hard_the_auxiliary_tensors_hold_more():
    """mpop-eq2-centre: bonds of 16 leave 16 x 32 x 16 numbers in a centre of 8 x 4."""
    assert "cut hard" in note("mpop-eq2-centre")
    plan = make_plan((3072, 768), n=5, style="mpop")
    bonds = [min(16, bond) for bond in plan.full_bonds]
    centre = math.prod(plan.core_shape(plan.centre, bonds))
    assert centre == 16 * 32 * 16 < plan.parameters(bonds) - centre


def test_of_two_lists_of_bonds_the_one_with_the_larger_ratio_can_have_the_larger_error():
    W = torch.randn(48, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lists = ([4, 4, 4, 4], [4, 16, 1, 1])
    assert " and ".join("-".join(map(str, bonds)) for bonds in lists) in note("mpop-eq5-error")
    even, uneven = (MPO.decompose(W).truncate(bond=bonds) for bonds in lists)
    assert uneven.ratio > 1.3 * even.ratio and uneven.error() > even.error() + 0.05


def test_with_other_factors_the_second_tensor_is_the_largest():
    factors = (8, 6, 4, 2, 2)
    assert f"factors {', '.join(map(str, factors))} of 768 x 768" in note("mpobert-eq1-middle")
    falls, sizes = formulas.falls_outwards(make_plan((768, 768), rows=factors, cols=factors))
    assert not falls and sizes == [64 * 64, 64 * 36 * 256, 256 * 16 * 16, 16 * 4 * 4, 4 * 4]


def test_one_number_of_an_auxiliary_tensor_reaches_some_entries():
    found = [100 * formulas.reached(core, slice(0, 1)) for core in (0, 1, 3, 4)]
    assert f"{min(found):.0f} to {max(found):.0f} %" in note("mpobert-eq1-reach")


def test_experts_that_are_rebuilt_take_more_work():
    plan, dense = make_plan((3072, 768), n=5, style="mpop"), 4096 * 3072 * 768 / 1e9
    work = dense + 8 * rebuild_flops(plan, plan.full_bonds) / 2e9
    assert f"{work:.1f} billion multiply-adds a matrix in place of {dense:.1f}" in note("mpoe-alg1-cost")


@pytest.mark.parametrize(
    ("id", "caps"), [("mpop-tab4-count-distil", counts.DISTIL_CAPS), ("mpop-tab4-count-mobile", counts.MOBILE_CAPS)]
)
def test_caps_that_were_fitted(id, caps):
    found = [str(rule["bond"]) for rule in caps.values() if rule]
    assert f"caps of {', '.join(found[:-1])} and {found[-1]}" in note(id) and "others fit as well" in note(id)


@pytest.mark.parametrize(("name", "table", "near"), [
    (
        "distilbert", counts.DISTIL_CAPS,
        {"word_embeddings": 765, r"attention\.(q|k|v|out)_lin": 40, r"ffn\.lin[12]": 208},
    ),
    ("mobilebert", counts.MOBILE_CAPS, {"word_embeddings": 192}),
])  # fmt: skip
def test_others_fit_as_well(monkeypatch, name, table, near):
    printed = {"distilbert": (4.0, 43.4), "mobilebert": (4.4, 15.4)}[name]
    before = counts.mpop(name, name)
    for pattern, bond in near.items():
        monkeypatch.setitem(table, pattern, {**table[pattern], "bond": bond})
    other = counts.mpop.__wrapped__(name, name)
    assert other != before
    assert all(round(size, 1) == wanted for size, wanted in zip(other, printed))


def test_at_rank_8_the_sum_over_attention_is_what_the_tables_differ_by():
    assert "at rank 8" in note("mpobert-eq1-adapter")
    printed = papers.printed("mpobert-tab5", "8", "#To") - papers.printed("mpobert-tab4", "w/o Adapter", "#To")
    assert f"{4 * 12 * 8 * (768 + 768) / 1e6:.1f}" == f"{printed:.1f}" == "0.6"


def test_the_change_of_the_scalar_model_is_that_of_eq_5s_derivative():
    """Beside `formulas.scalar_bound`, which takes a difference: F (1 - t) / ((1 + t) (1 + t^2)) times the sum."""
    for line, depth in zip(formulas.scalar_bound(), (3, 12, 48), strict=True):
        t = 0.5 * (2 * depth) ** -0.5
        F = ((1 + t) / math.sqrt(1 + t * t)) ** depth
        assert line.ours == f"{F * (1 - t) / ((1 + t) * (1 + t * t)):.2f}"


def test_a_tucker_core_holds_as_much_as_the_matrix_and_gives_it_back():
    """mpop-fig2-tucker: at full ranks, by tensorly, on a matrix with BERT's columns."""
    tensorly = pytest.importorskip("tensorly")
    from tensorly.decomposition import tucker

    from mpolab.decomposition import to_tensor

    W = torch.randn(240, 768, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plan = make_plan(tuple(W.shape), n=5)
    tensor = to_tensor(W, plan).reshape(plan.sizes)
    with tensorly.backend_context("pytorch", local_threadsafe=True):
        core, factors = tucker(tensor, list(plan.sizes), n_iter_max=1)
        again = tensorly.tucker_to_tensor((core, factors))
    assert core.numel() == W.numel() and sum(factor.numel() for factor in factors) < W.numel() / 10
    assert float((again - tensor).norm() / tensor.norm()) < 1e-12
