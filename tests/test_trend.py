"""The trend over layers: its depths by hand, what a study lacks, and the committed study, worked out anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mpolab.errors import CheckpointError, DataError, UnknownNameError
from mpolab.probing import PROBES
from mpolab.probing.trend import centre, depths_by_seed, levels, levels_by_seed, load_trends, peak

STUDY = Path(__file__).resolve().parent.parent / "results" / "probing_trend.json"


@pytest.mark.parametrize(
    ("values", "depth", "best"),
    [
        ([0.1, 0.5, 0.5, 0.7], 1.0, 1.0),  # weights 0, 0, 0.2
        ([0.1, 0.7, 0.5, 0.5], 0.0, 0.0),
        ([0.1, 0.5, 0.7, 0.6], 2 / 3, 0.5),  # weights 0, 0.2, 0.1 at 0, 1/2, 1: 0.2 of 0.3
        ([0.1, 0.6, 0.5, 0.6], 0.5, 0.0),  # two best layers
        ([0.1, 0.5, 0.5, 0.5], 0.5, 0.0),  # no layer is better
        ([0.1, 0.9, 0.8, 0.6, 0.6, 0.6], 2 / 20, 0.0),  # 0.3 at 0 and 0.2 at 1/4: 0.05 of 0.5
        ([0.9, 0.5, 0.7], 1.0, 1.0),  # the embeddings' output is no layer
    ],
)
def test_depths_by_hand(values, depth, best):
    assert centre(values) == pytest.approx(depth) and peak(values) == best


def test_a_depth_is_that_of_the_shades():
    """What all layers give away, and the range of a column, do not matter; upside down it is 1 less."""
    values = [0.2, 0.51, 0.63, 0.44, 0.72, 0.58]
    assert centre([value / 3 + 0.1 for value in values]) == pytest.approx(centre(values))
    assert centre([0.2, *reversed(values[1:])]) == pytest.approx(1 - centre(values))
    with pytest.raises(DataError, match="two Transformer layers"):
        centre([0.1, 0.2])


def test_levels_are_means_of_their_groups():
    tasks = [("surface", 0.9), ("syntactic", 0.25), ("semantic", 0.5), ("syntactic", 0.75), ("semantic", 0.75)]
    assert levels(tasks) == (0.5, 0.625)
    with pytest.raises(DataError, match="no semantic one"):
        levels(tasks[:2])


def test_a_study_must_be_whole(tmp_path):
    low, high = [0, 1, 0, 0], [0, 0, 1, 0]
    tasks = [{"group": "syntactic", "test": low, "dev": high}, {"group": "semantic", "test": high, "dev": low}]
    runs = [{"model": model, "seed": seed, "tasks": tasks} for seed in (0, 1) for model in ("a", "b")]
    content = {"format": "mpolab.probing_trend/1", "models": {"a": "", "b": ""}, "seeds": [0, 1], "runs": runs}
    path = tmp_path / "study.json"
    path.write_text(json.dumps(content))
    assert levels_by_seed(load_trends(path), "b") == [(0.0, 0.5)] * 2
    for depth in ("centre on dev", "peak"):
        assert levels_by_seed(load_trends(path), "b", depth) == [(0.5, 0.0)] * 2
    with pytest.raises(CheckpointError, match=r"has a, b, and no 'c'"):
        levels_by_seed(load_trends(path), "c")
    with pytest.raises(UnknownNameError, match="centre on dev"):
        levels_by_seed(load_trends(path), "b", "top")
    for run, named in zip(runs, (("low", "high"), ("x", "y"), ("high", "low"), ("x", "y"))):  # a, b, a, b
        run["tasks"] = [{**task, "name": name} for task, name in zip(tasks, named)]
    assert depths_by_seed({**content, "runs": runs[::-1]}, "a", "low") == [0.0, 0.5]  # seed 1 has it in the other place
    assert depths_by_seed(content, "a", "low", "peak") == [0.5, 0.0]
    with pytest.raises(UnknownNameError, match="task of the study"):
        depths_by_seed(content, "b", "low")
    with pytest.raises(CheckpointError, match="no 'c'"):
        depths_by_seed(content, "c", "x")
    for changes, says in (
        ({"format": "mpolab.low_rank/1"}, "its format is"),
        ({"runs": runs[:3]}, "it has no b, seed 1"),
        ({"runs": [*runs[:3], {**runs[3], "tasks": tasks[:1]}]}, "no semantic one"),
    ):
        path.write_text(json.dumps({**content, **changes}))
        with pytest.raises(CheckpointError, match=rf"study.json.*{says}.*trend_study.py again"):
            load_trends(path)
    path.write_text(json.dumps(content)[:-9])
    with pytest.raises(CheckpointError, match="no whole study"):
        load_trends(path)


def test_the_committed_study():
    """Its numbers follow from its accuracies, and its models were asked the same."""
    content = load_trends(STUDY)
    assert list(content["models"]) == ["minilm", "albert-mini", "mpobert-mini"] and len(content["seeds"]) >= 3
    layers = {"minilm": 6, "albert-mini": 12, "mpobert-mini": 24}
    asked = {seed: None for seed in content["seeds"]}
    for run in content["runs"]:
        depths: dict[str, list[tuple[float, float]]] = {"syntactic": [], "semantic": []}
        for task in run["tasks"]:
            dev, test = (np.array(task[split])[1:] for split in ("dev", "test"))
            assert len(test) == len(dev) == layers[run["model"]]
            assert task["group"] == PROBES[task["name"].partition("-")[2]].group
            shades, place = test - test.min(), np.linspace(0, 1, len(test))
            middle = np.average(place, weights=shades) if shades.any() else 0.5
            assert task["centre"] == pytest.approx(middle, abs=1e-5)
            assert task["peak"] == pytest.approx(place[dev.argmax()], abs=1e-5)
            depths[task["group"]].append((task["centre"], task["peak"]))
        assert [len(depths[group]) for group in ("syntactic", "semantic")] == [5, 10]
        gap = np.mean(depths["semantic"], axis=0) - np.mean(depths["syntactic"], axis=0)
        assert [run["trend"]["centre"], run["trend"]["peak"]] == pytest.approx(gap, abs=2e-5)
        for depth, wanted in (("centre", gap[0]), ("peak", gap[1])):
            low, high = levels_by_seed(content, run["model"], depth)[content["seeds"].index(run["seed"])]
            assert high - low == pytest.approx(wanted, abs=2e-5)
        rows = [(task["name"], task["rows"], task["majority"]) for task in run["tasks"]]
        assert asked[run["seed"]] in (None, rows)
        asked[run["seed"]] = rows
