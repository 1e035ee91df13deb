"""What notes of claims say beside the verdict: worked out here, so that no note says more than is so."""

from __future__ import annotations

import math

import pytest
import torch

from mpolab import papers
from mpolab.ledger import counts, formulas
from mpolab.plans import make_plan


def note(id: str) -> str:
    return papers.CLAIMS[id].note


def test_of_a_matrix_that_is_cut_hard_the_auxiliary_tensors_hold_more():
    """mpop-eq2-centre: bonds of 16 leave 16 x 32 x 16 numbers in a centre of 8 x 4."""
    assert "cut hard" in note("mpop-eq2-centre")
    plan = make_plan((3072, 768), n=5, style="mpop")
    bonds = [min(16, bond) for bond in plan.full_bonds]
    centre = math.prod(plan.core_shape(plan.centre, bonds))
    assert centre == 16 * 32 * 16 < plan.parameters(bonds) - centre


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


def test_with_the_sum_over_attention_the_adapters_are_what_is_counted():
    assert "four matrices" in note("mpobert-eq1-adapter")
    added = counts.mpobert("mpobert-12", adapter_rank=8) - counts.mpobert("mpobert-12")
    assert added * 1e6 == pytest.approx(4 * 12 * 8 * (768 + 768))


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
