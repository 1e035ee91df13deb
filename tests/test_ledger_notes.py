"""What notes of claims say beside the verdict: worked out here, so that no note says more than is so."""

from __future__ import annotations

import math
import re

import pytest
import torch

from mpolab import papers
from mpolab.errors import LedgerError
from mpolab.ledger import counts
from mpolab.mpo import MPO
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


def test_the_dearer_way_to_spend_numbers_on_bonds_can_be_the_worse_one():
    assert "dearer" in note("mpop-eq5-error")
    W = torch.randn(48, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    even, uneven = (MPO.decompose(W).truncate(bond=bonds) for bonds in ([4, 4, 4, 4], [4, 16, 1, 1]))
    assert uneven.ratio > 1.3 * even.ratio and uneven.error() > even.error() + 0.05


def test_caps_of_distilbert():
    caps = [str(rule["bond"]) for rule in counts.DISTIL_CAPS.values() if rule]
    assert f"caps of {' and '.join(caps)}" in note("mpop-tab4-count-distil")


def test_with_one_projection_in_three_dense_mobilebert_comes_near():
    (near,) = re.findall(r"dense, ([\d.]+) M", note("mpop-tab4-count-mobile"))
    for also in (r"bottleneck\.(input|attention)\.dense", r"bottleneck\.input\.dense|output\.bottleneck\.dense"):
        least, most = counts.trained_at("mobilebert", 15.4, also)
        assert f"{most:.1f}" == near and least < 4.2 < most < 4.35


def test_the_range_of_what_trains_holds_a_model_that_was_made():
    """At caps of 100, 30 and 30 by surgery; and the range is empty above the full bonds."""
    from mpolab.surgery import freeze_central, to_mpo, trainable_report

    rules = {
        "word_embeddings": {"bond": 100},
        r"attention\.(self\.(query|key|value)|output\.dense)|pooler\.dense": {"bond": 30},
        r"(layer|ffn)\.\d+\.(intermediate|output)\.dense": {"bond": 30},
    }
    model = to_mpo(counts.on_meta("mobilebert"), rules, progress=False)
    report = trainable_report(freeze_central(model))
    least, most = counts.trained_at("mobilebert", report.total / 1e6)
    assert least <= report.trainable / 1e6 <= most < least + 1
    with pytest.raises(LedgerError, match="no caps leave mobilebert 2 M"):
        counts.trained_at("mobilebert", 2)


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
