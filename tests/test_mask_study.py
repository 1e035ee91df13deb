"""What the gradient mask saves, over seeds: the script's ways begin alike and discard what they should."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

from mpolab.errors import CheckpointError
from mpolab.gradient_mask import GradientMask, central_tensors
from mpolab.ledger.studies import BASELINE, COMPUTED, MASK_FILE, masked_with, times_as_fast

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SMALL = (16, 64, 32)


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("mask_study")


def test_every_way_is_timed_with_every_seed(study, tmp_path):
    content = study.study((0, 1, 2), 2, "cpu", SMALL)
    ways = [BASELINE, "p_b = 0.25", "p_b = 0.5", "p_b = 0.75", "p_b = 1", COMPUTED]
    assert ways[1:5] == [*map(masked_with, (0.25, 0.5, 0.75, 1))]
    assert [row["way"] for row in content["rows"]] == 3 * ways
    assert "16 x 64" in content["scale"] and "one core" in content["scale"]
    file = tmp_path / MASK_FILE
    file.write_text(json.dumps(content))
    first, second, seeds, _ = times_as_fast(masked_with(0.5))(file)
    assert len(first) == 3 and min(first) > 0 and second == [1, 1, 1] and seeds == [0, 1, 2]
    file.write_text(json.dumps({**content, "rows": content["rows"][1:]}))
    with pytest.raises(CheckpointError, match=r"mask_study\.py again"):
        times_as_fast(masked_with(0.5))(file)


def test_ways_of_a_seed_begin_alike_and_seeds_differ(study):
    first, other, another = (study.Masked(p, True, seed, "cpu", *SMALL) for p, seed in ((0.0, 1), (0.5, 1), (0.0, 2)))
    for a, b in zip(first.layer.parameters(), other.layer.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(first.x, other.x) and not torch.equal(first.x, another.x)


@pytest.mark.parametrize("ahead", [True, False])
def test_gradients_are_computed_or_left_out_as_the_way_says(study, ahead):
    way = study.Masked(0.5, ahead, 3, "cpu", *SMALL)
    computed = []
    for name, tensor in way.mask.tensors.items():
        tensor.register_hook(lambda grad, name=name: computed.append((way.step, name)))
    way()
    everything = {(step, name) for step in range(study.STEPS) for name in way.mask.tensors}
    masked = {(step, name) for step in range(study.STEPS) for name in way.mask.masked(step)}
    assert set(computed) == (everything - masked if ahead else everything) and masked


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize(("probability", "least", "most"), [(0.0, 16, 16), (0.5, 1, 15), (1.0, 0, 0)])
def test_centres_move_by_their_own_updates_only(study, monkeypatch, probability, least, most, ahead):
    """Eight steps, two centres: one moves where the mask leaves it its update, and nowhere else; all others move."""
    monkeypatch.setattr(study, "STEPS", 1)
    way = study.Masked(probability, ahead, 3, "cpu", *SMALL)
    centres = central_tensors(way.layer)
    mask = GradientMask(torch.nn.Identity(), probability, 3, tensors=centres) if probability else None
    moved = 0
    for step in range(8):
        before = {name: p.detach().clone() for name, p in way.layer.named_parameters()}
        way()
        masked = mask.masked(step) if mask else []
        still = {name for name, p in way.layer.named_parameters() if torch.equal(p, before[name])}
        assert still == set(masked)
        moved += len(centres) - len(masked)
    assert len(centres) == 2 and least <= moved <= most
    assert all(tensor.requires_grad == (probability < 1) for tensor in centres.values())
