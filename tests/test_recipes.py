"""Recipes: the table, the scales, the hash; a run from the data to the record, interrupted and resumed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
from command_line import save_rows
from small import settle, tiny_model, tiny_tokenizer
from transformers import TrainerCallback

from mpolab import mpop, pretrained, recipes, runs, training
from mpolab.errors import (
    BondError,
    CheckpointError,
    DataNotFoundError,
    ModelNotFoundError,
    TrainingError,
    UnknownNameError,
)
from mpolab.grammar import bag_of_words, majority
from mpolab.recipes import METHODS, RECIPES, Method, Recipe
from mpolab.trace import Matrix, Step, Trace
from mpolab.training import Settings

TINY = Recipe(
    name="tiny",
    about="A test.",
    task="SST-2",
    model="tiny",
    source="offline",
    settings=Settings(epochs=1, batch_size=8, lr=1e-3, max_length=24, eval_every=4),
    scales={
        "smoke": {"train": 40, "select": 16, "dev": 16},
        "laptop": {"train": 80, "dev": 16, "lr": 5e-3, "task": "STS-B"},
    },
)


@pytest.fixture(scope="module")
def settled():
    settle()


@pytest.fixture
def place(tmp_path, monkeypatch, settled):
    """A folder with a tiny model in it, where results and checkpoints go as well."""
    folder = tmp_path / "tiny"
    with pretrained.quiet_transformers():
        tiny_model("BertForMaskedLM").save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("MPOLAB_SCALE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


# ------------------------------------------------------------------------------------------------------- the table


def test_the_table_is_sound():
    for name, recipe in RECIPES.items():
        assert recipe.name == name and recipe.about.endswith(".") and recipe.scales and recipe.method in METHODS
        for scale in recipe.scales:
            assert set(recipe.at(scale).options) <= set(METHODS[recipe.at(scale).method].options)
        hashes = {recipe.hash(scale) for scale in recipe.scales}
        assert len(hashes) == len(recipe.scales)
        for scale in recipe.scales:
            runs.refuse_paths({"recipe": recipe.fields(scale)})
    listing = json.loads(json.dumps(recipes.listing()))
    assert [entry["name"] for entry in listing] == list(RECIPES)
    assert listing[0]["scales"] == ["smoke", "laptop"]


def test_committed_records_are_those_of_the_recipes():
    for record in runs.records():
        if record.recipe in RECIPES:
            assert runs.stale(record, RECIPES[record.recipe]) == ""


def test_a_scale_overrides_rows_settings_and_fields():
    smoke, laptop = TINY.at("smoke"), TINY.at("laptop")
    assert (smoke.train, smoke.settings.lr, smoke.task) == (40, 1e-3, "SST-2")
    assert (laptop.train, laptop.select, laptop.settings.lr, laptop.task) == (80, None, 5e-3, "STS-B")
    assert laptop.settings.epochs == 1 and laptop.scales == {}
    with pytest.raises(UnknownNameError, match="unknown scale of the recipe 'tiny' 'gpu'"):
        TINY.at("gpu")
    with pytest.raises(UnknownNameError, match="unknown scale 'tablet'"):
        dataclasses.replace(TINY, scales={"tablet": {}})
    with pytest.raises(UnknownNameError, match=r"field of a recipe at scale 'smoke' 'lrate'"):
        dataclasses.replace(TINY, scales={"smoke": {"lrate": 1}})


def test_the_hash_is_that_of_the_numbers():
    same = dataclasses.replace(TINY, about="Other words.", seeds=(7,))
    assert same.hash("smoke") == TINY.hash("smoke") != TINY.hash("laptop")
    longer = dataclasses.replace(TINY, settings=dataclasses.replace(TINY.settings, epochs=2))
    assert longer.hash("smoke") != TINY.hash("smoke")
    options = dataclasses.replace(TINY, options={"bonds": (1, 2)})
    assert options.hash("smoke") != TINY.hash("smoke") and options.fields("smoke")["options"] == {"bonds": [1, 2]}


# ------------------------------------------------------------------------------------------------------------- a run


def test_from_the_rows_to_the_record(place, monkeypatch):
    record = recipes.run(TINY, "smoke", seed=3, progress=False)
    assert runs.load(place / "results" / "tiny" / "smoke-seed3.json") == record
    assert record.recipe_hash == TINY.hash("smoke") and runs.stale(record, TINY) == ""
    assert record.command == "mpolab run tiny --scale smoke --seed 3"
    assert record.data["rows"] == {"train": 40, "select": 16, "dev": 16} and record.data["task"] == "toy-SST-2"
    assert "BertForSequenceClassification" in record.model and "new from seed 3: " in record.model
    assert record.steps == 5 and len(record.curve) == 5 and record.best_step in (4, 5)
    assert set(record.scores) == {"select", "dev"} and record.trainable == record.total > 10_000
    assert not list((place / "work").rglob("checkpoint-*"))  # swept up: asked again, it is run again
    again = recipes.run(TINY, "smoke", seed=3, progress=False)
    for name in ("curve", "scores", "data", "model", "evaluations"):
        assert getattr(again, name) == getattr(record, name)
    other = recipes.run(TINY, "smoke", seed=4, progress=False)
    assert other.data["sha256"] != record.data["sha256"] and other.curve != record.curve  # other rows, another head
    assert recipes.load_or_run(TINY, seed=4) == other
    monkeypatch.setenv("MPOLAB_SCALE", "laptop")
    assert set(TINY.run(None, progress=False).scores["dev"]) == {"loss", "spearman", "pearson"}


@pytest.mark.parametrize("method, scorer", [("majority", majority), ("bag_of_words", bag_of_words)])
def test_a_floor_is_of_the_rows_that_a_model_gets(method, scorer, place):
    """Scored by the metrics of the task; the grammar's own scores of the same answers are the oracle."""
    scales = {**TINY.scales, "gpu": {"train": 40, "dev": 16, "task": "SQuAD"}}
    recipe = dataclasses.replace(TINY, name="floor", method=method, scales=scales, model="nowhere/none")  # not loaded
    for scale, metric in (("smoke", "accuracy"), ("laptop", "pearson"), ("gpu", "f1")):
        record = recipes.run(recipe, scale, seed=3, progress=False)
        drawn = recipes.rows(recipe.at(scale), 3)
        assert record.data == drawn.describe() and (record.trainable, record.total, record.model) == (0, 0, "none")
        expected = scorer(drawn.splits["train"], drawn.splits["dev"])[metric]
        assert record.scores["dev"][metric] == pytest.approx(expected, abs=1e-6)
        assert set(record.scores["dev"]) == set(drawn.task.metrics)


def test_a_regression_head_starts_at_the_mean_label(place, monkeypatch):
    seen = {}

    def look(job):
        head = job.model.classifier
        seen.setdefault("bias", head.bias.tolist())
        return training.fine_tune(job.model, job.tokenizer, job.data, job.settings, job.seed, progress=False)

    monkeypatch.setitem(METHODS, "look", Method("looks", train=look))
    recipe = dataclasses.replace(TINY, method="look")
    record = recipes.run(recipe, "laptop", seed=0, progress=False)
    labels = [row["label"] for row in recipes.rows(recipe.at("laptop"), 0, None, None).splits["train"]]
    assert seen["bias"] == pytest.approx([sum(labels) / len(labels)])
    assert record.extra == {"head_starts_at": pytest.approx(seen["bias"][0])}
    assert recipes.run(recipe, "smoke", seed=0, progress=False).extra == {}  # a class has no mean


class Interrupt(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on(place, monkeypatch):
    """By the checkpoints in its work folder, as long as the recipe is the same."""
    seen = []

    def train(job):
        callbacks = [Interrupt()] if not seen else []
        seen.append(job.out)
        outcome = training.fine_tune(
            job.model, job.tokenizer, job.data, job.settings, job.seed, job.out, callbacks=callbacks, progress=False
        )
        seen.append(outcome.state["resumed_from"])
        job.extra["scale"] = job.scale
        return outcome

    def freeze(job):
        job.model.bert.embeddings.requires_grad_(False)

    monkeypatch.setitem(METHODS, "test", Method("a test", freeze, train))
    recipe = dataclasses.replace(TINY, method="test")
    with pytest.raises(KeyboardInterrupt):
        recipes.run(recipe, "smoke", progress=False)
    assert not list((place / "results").rglob("*.json"))
    record = recipes.run(recipe, "smoke", progress=False)
    assert seen[1:] == [seen[0], 4] and record.steps == 5 and len(record.curve) == 5
    assert record.extra == {"scale": "smoke"} and record.trainable < record.total
    assert seen[0].name.startswith(f"smoke-seed0-{recipe.hash('smoke')}-") and not seen[0].exists()


def test_an_interrupted_run_starts_anew_on_other_rows_and_where_it_is_told_to(place, monkeypatch):
    resumed, folders = [], []

    def train(job):
        callbacks = [Interrupt()] if len(folders) < 2 else []
        folders.append(job.out)
        outcome = training.fine_tune(
            job.model, job.tokenizer, job.data, job.settings, job.seed, job.out, callbacks=callbacks, progress=False
        )
        resumed.append(outcome.state["resumed_from"])
        return outcome

    monkeypatch.setitem(METHODS, "test", Method("a test", train=train))
    recipe = dataclasses.replace(TINY, method="test", source=None)
    rows = {name: save_rows(place / name, train) for name, train in (("first", 60), ("second", 61))}
    for name in rows:
        with pytest.raises(KeyboardInterrupt):
            recipes.run(recipe, "smoke", data_dir=rows[name], progress=False)
    assert folders[0] != folders[1] and folders[0].parent == folders[1].parent
    recipes.run(recipe, "smoke", data_dir=rows["second"], progress=False)
    recipes.run(recipe, "smoke", data_dir=rows["first"], progress=False, resume=False)
    assert resumed == [4, None] and folders[2:] == [folders[1], folders[0]]


def test_offline_rows_never_stand_for_a_real_task(place):
    recipe = dataclasses.replace(TINY, source=None, method="majority")
    with pytest.raises(DataNotFoundError, match=r"'tiny' is about SST-2, and here are only .*--data-dir.*--source off"):
        recipes.run(recipe, "smoke", progress=False)
    with pytest.raises(DataNotFoundError, match="--source offline"):
        recipes.load_or_run(recipe, "smoke")
    made_up = recipes.run(recipe, "smoke", source="offline", progress=False)
    assert made_up.stands_in and made_up.data["task"] == "toy-SST-2"
    assert runs.load(place / "results" / "tiny" / "offline" / "smoke-seed0.json") == made_up
    assert runs.records() == [] and made_up.command.endswith("--source offline")
    with pytest.raises(DataNotFoundError, match="no record"):
        recipes.load_or_run(recipe)
    real = recipes.run(recipe, "smoke", data_dir=save_rows(place / "glue"), progress=False)
    assert recipes.load_or_run(recipe) == real and not real.stands_in
    recipes.run(recipe, "smoke", source="offline", progress=False)
    assert recipes.load_or_run(recipe) == real  # not overwritten
    # one that an earlier version put into the place of the real one
    (place / "results" / "tiny" / "offline" / "smoke-seed0.json").replace(place / "results/tiny/smoke-seed0.json")
    with pytest.raises(CheckpointError, match=r"is of toy-SST-2, made by the offline grammar, and not of SST-2"):
        recipes.load_or_run(recipe)


def test_what_cannot_be_run(place):
    def but(**changes):
        recipes.run(dataclasses.replace(TINY, **changes), "smoke", progress=False)

    with pytest.raises(UnknownNameError, match=r"unknown recipe 'dmeo'.*Did you mean 'demo'"):
        recipes.run("dmeo")
    with pytest.raises(UnknownNameError, match="unknown method 'mpo'"):
        but(method="mpo")
    with pytest.raises(UnknownNameError, match="unknown task 'SST-3'"):
        but(task="SST-3")
    with pytest.raises(ModelNotFoundError):
        but(model="nowhere/tiny")
    with pytest.raises(ValueError, match="must not name a path"):
        but(model=str(place / "tiny"))
    with pytest.raises(DataNotFoundError):
        recipes.run(TINY, "smoke", data_dir=place / "no data", progress=False)
    with pytest.raises(DataNotFoundError, match="no record"):
        recipes.load_or_run(TINY)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"options": {"sahre": 0.5}}, UnknownNameError, "method 'mpop' 'sahre'. Did you mean 'share"),
        ({"method": "full", "options": {"share": 0.5}}, UnknownNameError, "'full' reads no options, and .* 'share'"),
        ({"select": 0}, TrainingError, "'select'.*select= at least 1"),
        ({"options": {"order": "estimates"}}, UnknownNameError, "Did you mean 'estimate'"),
        ({"options": {"share": "half"}}, TrainingError, "share='half': a number above 0"),
        ({"options": {"share": 0.001}}, BondError, "share=0.001 is out of reach.*a share of 0"),
        ({"options": {"step": 1.5}}, TrainingError, "step=1.5: a whole number or a share"),
        ({"method": "mpop_dir", "options": {"step": 0}}, TrainingError, "step=0: a whole number"),
        ({"options": {"rows": 0}}, TrainingError, "rows=0: a whole number of at least 1"),
        ({"options": {"tune_steps": 1.5}}, TrainingError, "tune_steps=1.5: a whole number of at least 0"),
    ],
)
def test_a_squeezing_that_cannot_be_meant_is_refused_before_any_training(place, monkeypatch, changes, error, words):
    monkeypatch.setattr(training, "fine_tune", lambda *_, **__: pytest.fail("a training began"))
    scales = {"smoke": {key: value for key, value in TINY.scales["smoke"].items() if key not in changes}}
    recipe = dataclasses.replace(TINY, **{"method": "mpop", "scales": scales, **changes})
    with pytest.raises(error, match=words):
        recipes.run(recipe, "smoke", progress=False)


def test_methods_that_squeeze_refuse_several_processes_at_once(place, monkeypatch):
    monkeypatch.setattr(recipes, "load_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match=r"'mpop' runs in one process.*here are 2: start it without torchrun"):
        recipes.run(dataclasses.replace(TINY, method="mpop"), "smoke", progress=False)


def test_a_squeezing_and_the_straight_cut_to_its_size(place):
    options = {"share": 0.7, "step": 0.5, "tune_steps": 1, "rows": 8}
    recipe = dataclasses.replace(TINY, method="mpop", options=options)
    squeezed = recipes.run(recipe, "smoke", progress=False)
    cut = recipes.run(dataclasses.replace(recipe, name="cut", method="mpop_dir"), "smoke", progress=False)
    trace = Trace.from_dict(squeezed.extra["trace"])
    assert trace.stopped == "target" and trace.final_parameters == squeezed.total == cut.total
    assert Trace.from_dict(cut.extra["trace"]).bonds == trace.bonds
    assert squeezed.steps == cut.steps == 5 + len(trace.steps)  # as many updates


def test_steps_of_a_straight_cut():
    matrix = Matrix((4, 4), (4, 4), (16, 16), (1, 16, 1))
    step = Step(1, "a", 1, 16, 7, 0.1, 0.1, 0.1, None, 100)
    trace = Trace("straight", 1, None, None, None, None, 200, {"a": matrix}, [step])
    assert [mpop._steps_of(trace, size) for size in (1, 4, 9, 0.25, 0.01)] == [9, 3, 1, 3, 9]


def test_a_record_made_by_another_version(place):
    recipes.run(TINY, "smoke", progress=False)
    changed = dataclasses.replace(TINY, settings=dataclasses.replace(TINY.settings, lr=2e-3))
    with pytest.raises(CheckpointError, match=r"settings.lr was 0.001 and is 0.002"):
        recipes.load_or_run(changed)


no_model = importlib.util.find_spec(pretrained.PACKAGE_MODULE) is None


@pytest.mark.skipif(no_model, reason=f"the package {pretrained.PACKAGE} is not installed (`make model`)")
def test_the_demo_on_the_real_model(tmp_path):
    """A few steps of it, on the offline rows."""
    short = dataclasses.replace(RECIPES["demo"], scales={"smoke": {"train": 32, "select": 8, "dev": 8, "max_steps": 4,
                                                                  "batch_size": 8, "lr": 3e-4}})  # fmt: skip
    record = recipes.run(short, "smoke", results=tmp_path, work=tmp_path / "work", progress=False)
    assert record.total == 22_713_216 + 2 * 384 + 2 and record.model.startswith(pretrained.MINILM)
    assert record.steps == 4 and record.peak_bytes > 2 * 4 * record.total  # at least AdamW's moments


def test_no_recipe_reads_more_tokens_than_its_model_has_positions():
    """Of the models that come with the package, at every scale; a T5's positions are relative and have no end."""
    limits = {}
    for file in (Path(runs.__file__).parent / "checkpoints").glob("*/config.json"):
        config = json.loads(file.read_text("utf-8"))
        limits[file.parent.name] = config.get("max_position_embeddings", config.get("n_positions"))
    assert limits["albert-mini"] == limits["mpobert-mini"] == 128 and limits["gpt2-mini"]
    seen = set()
    for recipe in recipes.RECIPES.values():
        for scale in recipe.scales:
            here = recipe.at(scale)
            if limits.get(here.model):
                assert here.settings.max_length <= limits[here.model], (recipe.name, scale)
                seen.add(here.model)
    assert seen == {name for name, limit in limits.items() if limit}
