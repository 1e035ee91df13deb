"""Records: strict JSON, whole or not at all, without paths; and the rule of `load_or_run`."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpolab import runs
from mpolab.errors import CheckpointError, DataNotFoundError, UnknownNameError
from mpolab.runs import Record


def made_up(**changes) -> Record:
    about = dict(
        recipe="r", recipe_hash="abc", scale="smoke", seed=0, fields={"lr": 0.1, "settings": {"epochs": 3}},
        command="mpolab run r", data={"rows": {"train": 3}}, model="a model", seconds=1.5, peak_bytes=10, memory="rss",
        trainable=1, total=2, scores={"dev": {"accuracy": 50.0}}, **runs.surroundings(),
    )  # fmt: skip
    return Record(**{**about, **changes})


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    monkeypatch.delenv("MPOLAB_SCALE", raising=False)
    return tmp_path


class Recipe:
    """As much of a recipe as `runs` looks at."""

    name = "r"

    def __init__(self, lr=0.1, digest="abc", **more):
        self.lr, self.digest, self.more, self.asked = lr, digest, more, []

    def hash(self, scale):
        return self.digest

    def fields(self, scale):
        return {"lr": self.lr, "settings": {"epochs": 3}, **self.more}

    def run(self, scale, seed=0, **options):
        self.asked.append((scale, seed, options))
        return made_up(scale=scale, seed=seed)


# ------------------------------------------------------------------------------------------------------ written, read


def test_a_record_reads_back_as_it_was(results):
    record = made_up(curve=[{"step": 1, "loss": 0.5}], extra={"counts": {"FFN": [1, 2]}})
    path = record.save()
    assert path == results / "r" / "smoke-seed0.json" == runs.record_path("r", "smoke", 0)
    assert runs.load(path) == record
    assert path.read_text().endswith("}\n") and not list(path.parent.glob(".*"))
    assert repr(record).startswith("Record(r, smoke, seed 0, 20") and "dev accuracy 50" in repr(record)


def test_what_it_says_of_its_surroundings():
    about = runs.surroundings()
    assert about["versions"]["torch"] == torch.__version__.split("+")[0] or torch.__version__ in str(about["versions"])
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", about["commit"])
    assert about["threads"] == torch.get_num_threads() and about["device"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]{8}\+00:00", about["date"])
    runs.refuse_paths(about)


def test_no_commit_where_there_is_no_git(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "runs.py"))  # installed, outside any checkout
    assert runs.commit() == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert runs.commit() == "unknown"


def test_json_is_strict(results):
    record = made_up(
        scores={"dev": {"accuracy": math.nan, "f1": np.float64(3.5)}},
        curve=[{"step": np.int64(1), "loss": torch.tensor(math.inf)}],
        extra={"shape": (1, 2), 3: np.arange(2)},
    )
    content = json.loads(record.save().read_text(), parse_constant=lambda name: pytest.fail(name))
    assert content["scores"] == {"dev": {"accuracy": None, "f1": 3.5}}
    assert content["curve"] == [{"step": 1, "loss": None}]
    assert content["extra"] == {"shape": [1, 2], "3": [0, 1]}
    with pytest.raises(ValueError, match=r"object .* is no JSON"):
        made_up(extra={"model": object()}).save()


@pytest.mark.parametrize(
    "text", ["/home/someone/data", "trained on /tmp/x/y", "--data-dir=/srv/glue", "~/models", r"C:\data", "'/a/b'",
             f"in {Path.home()}"],
)  # fmt: skip
def test_a_record_names_no_path(results, text):
    with pytest.raises(ValueError, match=r"must not name a path .* record\.extra\.note"):
        made_up(extra={"note": text}).save()
    assert not list(results.rglob("*.json"))


@pytest.mark.parametrize("text", ["sentence-transformers/all-MiniLM-L6-v2", "and/or", "80/10/10", "1 / 2", "a: b/c"])
def test_other_slashes_are_no_path(results, text):
    made_up(extra={"note": text}).save()


def test_damaged_records(results):
    path = made_up().save()
    whole = path.read_text()
    changes = [("mpolab.run/1", "mpolab.run/9"), ('"seed"', '"sead"'), ("50.0", "NaN")]
    for text in (whole[:100], "{}", "[]", *(whole.replace(old, new) for old, new in changes)):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"smoke-seed0.json' is no whole record .*run its recipe again"):
            runs.load(path)
    with pytest.raises(DataNotFoundError, match=r"no record .*seed7.json'. There are: smoke-seed0.json"):
        runs.load(path.with_name("smoke-seed7.json"))
    with pytest.raises(DataNotFoundError, match="has none"):
        runs.load(results / "other" / "smoke-seed0.json")


def test_all_records_in_order(results):
    for recipe, scale, seed in [("b", "gpu", 0), ("a", "laptop", 1), ("a", "smoke", 2), ("a", "laptop", 0)]:
        made_up(recipe=recipe, scale=scale, seed=seed).save()
    found = [(r.recipe, r.scale, r.seed) for r in runs.records()]
    assert found == [("a", "smoke", 2), ("a", "laptop", 0), ("a", "laptop", 1), ("b", "gpu", 0)]
    assert len(runs.records("b")) == 1 and runs.records("c") == []


@given(length=st.integers(1, 2000), most=st.integers(1, 50))
def test_a_long_curve_is_averaged_down(length, most):
    curve = [{"step": k + 1, "loss": float(k)} for k in range(length)]
    found = runs.thinned(curve, most)
    assert len(found) <= most and found[-1]["step"] == length
    assert found == curve if length <= most else len(found) > 0
    size = -(-length // most)
    if length > most:
        assert found[0] == {"step": size, "loss": (size - 1) / 2}


# ---------------------------------------------------------------------------------------------------- load or run


def test_without_a_scale_the_committed_record(results):
    recipe = Recipe()
    for scale in ("smoke", "laptop"):
        made_up(scale=scale).save()
    assert runs.load_or_run(recipe).scale == "laptop" and recipe.asked == []  # the largest there is
    with pytest.raises(DataNotFoundError, match=r"no record of the recipe 'r' with seed 5 \(there are: smoke, seed 0"):
        runs.load_or_run(recipe, seed=5)


def test_another_folder_of_results(results, tmp_path_factory):
    other, recipe = tmp_path_factory.mktemp("other"), Recipe()
    made_up(seconds=2.5).save(other)
    with pytest.raises(DataNotFoundError, match="no record"):
        runs.load_or_run(recipe)
    assert runs.load_or_run(recipe, results=other).seconds == 2.5
    with pytest.raises(DataNotFoundError, match=r"there are: smoke, seed 0"):
        runs.load_or_run(recipe, seed=5, results=other)
    runs.load_or_run(recipe, "smoke", results=other)
    assert recipe.asked == [("smoke", 0, {"results": other})]


def test_with_a_scale_a_real_run(results, monkeypatch):
    recipe = Recipe()
    made_up().save()
    assert runs.load_or_run(recipe, "smoke", progress=False).scale == "smoke"
    monkeypatch.setenv("MPOLAB_SCALE", "laptop")
    assert runs.load_or_run(recipe, seed=2).seed == 2
    assert recipe.asked == [("smoke", 0, {"progress": False}), ("laptop", 2, {})]
    monkeypatch.setenv("MPOLAB_SCALE", "labtop")
    with pytest.raises(UnknownNameError, match="Did you mean 'laptop'"):
        runs.load_or_run(recipe)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(lr=0.2, digest="xyz"), r"lr was 0.1 and is 0.2"),
        (Recipe(lr=0.2), r"lr was 0.1 and is 0.2"),  # a default that was changed leaves the hash, but not the field
        (Recipe(digest="xyz", settings={"epochs": 4}), r"settings.epochs was 3 and is 4"),
        (Recipe(digest="xyz", plan="new"), r"plan is 'new'"),
    ],
)
def test_a_record_of_an_older_recipe_is_refused(results, recipe, words):
    made_up().save()
    with pytest.raises(CheckpointError, match=rf"another version of the recipe: {words}\. Run it again"):
        runs.load_or_run(recipe)


def test_a_new_field_with_its_default_changes_nothing(results):
    made_up().save()
    assert runs.load_or_run(Recipe(added=None)).recipe == "r"


def test_records_are_values():
    record = made_up()
    assert dataclasses.replace(record, seed=1) != record
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.seed = 1
