"""Our own models beside MPOBERT's Figure 1: of which tasks, how large, and the mean by hand."""

from __future__ import annotations

import json
import shutil
from statistics import mean

import pytest

from mpolab.errors import DataNotFoundError
from mpolab.ledger.own_points import LAYERS, own_points
from mpolab.mpobert_recipes import MODELS
from mpolab.pretrained import load_pretrained
from mpolab.runs import results_folder


@pytest.fixture
def here(tmp_path):
    for task in ("sst-2", "mrpc"):
        for model in MODELS:
            shutil.copytree(results_folder() / f"table1-{task}-{model}", tmp_path / f"table1-{task}-{model}")
    return tmp_path


def test_the_mean_by_hand(here):
    found = own_points(here)
    assert found.tasks == ("SST-2", "MRPC") and found.seeds == (0, 1, 2)
    for model, (name, layers) in LAYERS.items():
        records = [
            [json.loads((here / f"table1-{task}-{model}" / f"laptop-seed{seed}.json").read_text()) for seed in range(3)]
            for task in ("sst-2", "mrpc")
        ]
        expected = mean(mean(record["scores"]["dev"]["accuracy"] for record in of_task) for of_task in records)
        size, depth, score = found.models[name]
        assert score == pytest.approx(expected, rel=1e-12) and depth == layers
        assert size == records[0][0]["total"] / 1e6


def test_a_task_that_one_model_lacks_a_seed_of_is_left_out(here):
    (here / "table1-mrpc-minilm" / "laptop-seed2.json").unlink()
    assert own_points(here).tasks == ("SST-2",)
    for seed in range(3):
        (here / "table1-sst-2-albert-mini" / f"laptop-seed{seed}.json").unlink()
    with pytest.raises(DataNotFoundError, match="mpolab run mpobert-tab1 --scale laptop"):
        own_points(here)


@pytest.mark.parametrize("model", ["albert-mini", "mpobert-mini"])
def test_depths(model):
    assert load_pretrained(model).model.config.num_hidden_layers == LAYERS[model][1]
