"""What accelerates MPOBERT's pre-training, over seeds: the numbers by hand, files that are not whole, the script."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from mpolab.errors import CheckpointError, LedgerError
from mpolab.ledger.studies import ACCELERATIONS_FORMAT, BASELINE, BOTH, times_as_fast

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

SECONDS = {BASELINE: [3, 4, 9], BOTH: [2, 1, 3], "slower": [6, 4, 12]}


def write(path, **changes):
    rows = [{"seed": seed, "way": way, "seconds": seconds} for seed in (0, 1, 2) for way, seconds in SECONDS.items()]
    path.write_text(
        json.dumps({"format": ACCELERATIONS_FORMAT, "scale": "few", "seeds": [0, 1, 2], "rows": rows, **changes})
    )
    return path


@pytest.mark.parametrize(("way", "times"), [(BOTH, 3), (BASELINE, 1), ("slower", 0.75)])
def test_a_seed_is_the_median_over_rounds(tmp_path, way, times):
    """3/2, 4/1 and 9/3; 3/6, 4/4 and 9/12."""
    first, second, seeds, scale = times_as_fast(way)(write(tmp_path / "study.json"))
    assert first == [times] * 3 and second == [1] * 3 and (seeds, scale) == ([0, 1, 2], "few")


def test_a_way_that_was_not_measured(tmp_path):
    with pytest.raises(LedgerError, match="has no way 'fp8'"):
        times_as_fast("fp8")(write(tmp_path / "study.json"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "other"}, "format is 'other'"),
        ({"rows": [{"seed": 0, "way": BASELINE, "seconds": [1]}]}, "not the same ways"),
        ({"rows": [{"seed": seed, "way": BASELINE, "seconds": [0.0]} for seed in (0, 1, 2)]}, "no seconds"),
        ({"rows": [{"seed": seed, "way": BASELINE, "seconds": [1] * (seed + 1)} for seed in (0, 1, 2)]}, "rounds"),
        ({"rows": [{"seed": seed, "way": BASELINE, "seconds": []} for seed in (0, 1, 2)]}, "rounds"),
        ({"rows": [{"seed": 0, "way": BASELINE, "seconds": [1]}] * 2, "seeds": [0]}, "'baseline' twice"),
    ],
)
def test_files_that_are_not_whole(tmp_path, changes, says):
    with pytest.raises(CheckpointError, match=f"(?s)no whole study of accelerations.*{says}.*acceleration_study.py"):
        times_as_fast(BOTH)(write(tmp_path / "study.json", **changes))


def test_the_script_times_every_way_with_every_seed(tmp_path, monkeypatch):
    """The same model whatever the way: without bf16 the loss of a seed is one number, and another seed's is another."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    study = importlib.import_module("acceleration_study")
    made, Stepper = [], study.Stepper
    monkeypatch.setattr(study, "Stepper", lambda *asked: made.append(asked) or Stepper(*asked))
    content = study.study((0, 1, 2), layers=1, rounds=1, device="cpu", rows=1)
    assert [row["way"] for row in content["rows"]] == 3 * list(study.MEASURED)
    wanted = [(study.WAYS[way], 1, 1, seed, "cpu") for seed in (0, 1, 2) for way in study.MEASURED]
    assert made == wanted
    file = tmp_path / "study.json"
    file.write_text(json.dumps(content))
    first, *_ = times_as_fast(BOTH)(file)
    assert len(first) == 3 and all(value > 0 for value in first)
    losses = [float(Stepper(study.WAYS[way], 1, 1, seed)()) for way, seed in
              ((BASELINE, 0), ("fused GELU", 0), (BASELINE, 1), (BOTH, 0))]  # fmt: skip
    assert losses[1] == pytest.approx(losses[0], rel=1e-5) and abs(losses[2] - losses[0]) > 1e-4
    assert losses[3] == pytest.approx(losses[0], rel=0.02) and losses[3] != losses[0]
    assert study.WAYS[BOTH].bf16 and study.WAYS[BOTH].fused_gelu and not study.WAYS[BASELINE].bf16
