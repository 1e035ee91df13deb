"""How long runs take: by records of their scale, of another one, and by operations, each worked out by hand."""

from __future__ import annotations

import dataclasses
import json

import pytest
from command_line import elsewhere  # noqa: F401

from mpolab import cli, ledger, papers, recipes, runs
from mpolab.jobs import Recipe
from mpolab.ledger import flops, rates
from mpolab.ledger.compared import Compared, one
from mpolab.ledger.estimate import UNKNOWN, Seconds
from mpolab.settings import Settings

FLOPS = {"smoke": 2e12, "laptop": 40e12, "gpu": 312e15}  # of one run of the recipes below that trains
SCALES = {
    "smoke": {"train": 20},
    "laptop": {"train": 400},
    "gpu": {"train": 1950, "batch_size": 10, "precision": "bf16"},
}
FIRST = Recipe(
    name="first", about="A test.", task="RTE", method="full", settings=Settings(epochs=1, batch_size=10), scales=SCALES
)
ALIKE = dataclasses.replace(FIRST, name="alike")
OTHER = dataclasses.replace(FIRST, name="other", model="albert-mini")
FLOOR = dataclasses.replace(FIRST, name="floor", method="majority")
ON_GPU = "by FLOPs at 125 TFLOP/s, 40% of an A100's bf16 peak (assumed), and small models take longer"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Four recipes, whose steps take so many operations that FLOPS come out, and a machine of 500 GFLOP/s."""
    for recipe in (FIRST, ALIKE, OTHER, FLOOR):
        monkeypatch.setitem(recipes.RECIPES, recipe.name, recipe)
    per_step = {20: 10**12, 400: 10**12, 1950: 1600 * 10**12}  # 2, 40 and 195 steps of 10 rows

    def of_recipe(recipe, scale):
        if recipe.method == "majority":
            return flops.Training(0, 0.0, flops.COUNTED)
        if recipe.at(scale).model == "somebody/something":
            return None
        steps = flops.steps_of(recipe.at(scale))
        return flops.Training(steps, float(steps * per_step[recipe.at(scale).train]), flops.COUNTED)

    monkeypatch.setattr("mpolab.ledger.estimate.flops.of_recipe", of_recipe)
    assert {scale: of_recipe(FIRST, scale).flops for scale in FLOPS} == FLOPS
    monkeypatch.setattr(rates, "gemm_rate", lambda dtype: 500)
    rates.rate.cache_clear()
    yield tmp_path
    rates.rate.cache_clear()


def write(results, recipe, scale, seconds, **changes):
    """A record for each of the given seconds."""
    fields = recipe.fields(scale) | changes
    for seed, each in enumerate(seconds):
        runs.Record(
            recipe=recipe.name, recipe_hash=recipe.hash(scale), scale=scale, seed=seed, fields=fields, command="",
            data={"task": "RTE"}, model="", seconds=each, peak_bytes=0, memory="", trainable=1, total=1, scores={},
        ).save(results)  # fmt: skip


def expected(results, *wanted):
    return Seconds(results).expected([(name, scale, seed) for name, scale in wanted for seed in range(3)])


def test_without_records_it_is_operations_by_a_rate(results):
    """312e15 at 0.4 x 312e12 a second: 2,500 s a run; 40e12 at 500e9: 80 s."""
    found = expected(results, ("first", "gpu"))
    assert found.seconds == pytest.approx(7500) and found.least
    assert str(found) == f"3 runs, at least 2.1 h, {ON_GPU}"
    assert found.said(" one after the other").startswith("3 runs, at least 2.1 h one after the other, by FLOPs at ")
    here = expected(results, ("first", "laptop"))
    assert here.seconds == pytest.approx(240)
    assert here.by.startswith("by FLOPs at 500 GFLOP/s, a fp32 matrix product measured on this machine now")


def test_records_of_another_scale_of_the_same_machine_are_worth_the_ratio_of_operations(results):
    """A twentieth of the operations of scale laptop, whose median is 60 s: 3 s a run."""
    write(results, FIRST, "laptop", (50, 60, 90))
    found = expected(results, ("first", "smoke"))
    assert found.seconds == pytest.approx(9) and not found.least
    assert str(found) == "3 runs, about 9 s, by records of scale laptop and the ratio of FLOPs"
    assert expected(results, ("alike", "smoke")).seconds == pytest.approx(9), "the same model and method"
    other = expected(results, ("other", "smoke"))
    assert other.seconds == pytest.approx(12) and "500 GFLOP/s" in other.by, "another model: 2e12 at 500e9"
    assert expected(results, ("first", "gpu")).by == ON_GPU, "a GPU is another machine"
    write(results, ALIKE, "laptop", (120, 120, 120))
    assert expected(results, ("alike", "smoke")).seconds == pytest.approx(18), "the recipe's own come first"


def test_records_of_the_scale_come_first(results):
    write(results, FIRST, "laptop", (60,))
    write(results, FIRST, "smoke", (8, 10, 40))
    found = expected(results, ("first", "smoke"))
    assert (found.seconds, str(found)) == (30, "3 runs, about 30 s, by records of scale smoke")
    assert str(Seconds(results).together([("first", "smoke", 0)])) == "1 run, about 10 s", "a row of the ledger"
    assert Seconds(results).together([("first", "gpu", 0)]).seconds is None, "it says the same on every machine"


def test_records_of_another_recipe_are_worth_the_ratio_of_operations(results, monkeypatch):
    """That of the same model and method has as many; with two epochs it takes twice as long."""
    write(results, FIRST, "laptop", (50, 60, 90))
    assert Seconds(results).of("alike", "laptop") == 60
    twice = dataclasses.replace(ALIKE, settings=dataclasses.replace(ALIKE.settings, epochs=2))
    monkeypatch.setitem(recipes.RECIPES, "alike", twice)
    assert Seconds(results).of("alike", "laptop") == pytest.approx(120)
    assert Seconds(results).of("floor", "laptop") == 60, "what trains nothing has no ratio"


def test_records_of_another_version_of_a_recipe_are_worth_nothing(results):
    write(results, FIRST, "laptop", (60,), train=300)
    assert "500 GFLOP/s" in expected(results, ("first", "smoke")).by


def test_several_ways_are_named_with_the_number_of_their_runs(results, monkeypatch):
    write(results, FIRST, "laptop", (60,))
    found = expected(results, ("first", "smoke"), ("floor", "smoke"), ("alike", "smoke"))
    assert found.seconds == pytest.approx(18) and not found.least
    assert found.by == "6 by records of scale laptop and the ratio of FLOPs; 3 without training"
    assert str(expected(results, ("floor", "gpu"))) == "3 runs, about 1 s, without training"
    assert expected(results).seconds == 0

    unknown = dataclasses.replace(FIRST, name="unknown", model="somebody/something")
    monkeypatch.setitem(recipes.RECIPES, "unknown", unknown)
    found = expected(results, ("first", "gpu"), ("unknown", "gpu"))
    assert found.seconds == pytest.approx(7500) and found.least and found.by == f"3 {ON_GPU}; 3 {UNKNOWN}"
    nothing = expected(results, ("unknown", "gpu"))
    assert nothing.seconds is None and str(nothing) == "3 runs, without an estimate, as nothing counts its operations"


@pytest.mark.usefixtures("elsewhere")
def test_an_item_says_what_its_time_rests_on(results, monkeypatch, capsys):
    monkeypatch.setenv("MPOLAB_RESULTS", str(results))
    for claim in papers.CLAIMS.values():
        if claim.item == "mpop-tab1":
            monkeypatch.setitem(ledger.EVIDENCE, claim.id, Compared(((one("first"), 40.0),), "higher", "it - 40"))
    assert cli.main(["run", "mpop-tab1", "--dry-run", "--scale", "gpu"]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert head.endswith(f"0 with a record; to go: 3 runs, at least 2.1 h one after the other, {ON_GPU}")
    assert cli.main(["run", "mpop-tab1", "--dry-run", "--scale", "gpu", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["seconds"] == pytest.approx(7500) and plan["by"] == ON_GPU and plan["least"] is True
