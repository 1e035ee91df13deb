"""MPOE on GLUE: what a run of each kind leaves, recipes that cannot be meant, the rows of the ledger."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small import message, settle
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from mpolab import ledger, mpoe, mpoe_glue, recipes, runs
from mpolab.data import load_task
from mpolab.errors import CheckpointError, TrainingError, UnknownNameError
from mpolab.papers import CLAIMS
from mpolab.recipes import RECIPES, run
from mpolab.sampling import content
from mpolab.text_to_text import label_words, source_text
from mpolab.vocabulary import GPT2_SPECIAL, SENTINELS, T5_SPECIAL, train_byte_tokenizer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a tiny T5, "mini", and a tiny GPT-2, "decoder"."""
    settle()
    folder = tmp_path_factory.mktemp("models")
    rows = load_task("SST-2", source="offline", sizes={"train": 100, "dev": 10}).splits["train"]
    texts = [source_text("SST-2", row) for row in rows]
    texts += [f"{word} {word}" for task in mpoe_glue.TASKS for word in label_words(task)]
    torch.manual_seed(0)
    tokenizer = train_byte_tokenizer(texts, 500, 64, T5_SPECIAL, SENTINELS, True, progress=False)
    shape = {"d_model": 12, "d_kv": 6, "num_heads": 2, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 1}
    config = T5Config(**shape, vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(folder / "mini")
    tokenizer.save_pretrained(folder / "mini")
    tokenizer = train_byte_tokenizer(texts, 400, 64, GPT2_SPECIAL, progress=False)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_embd=12, n_layer=1, n_head=2, n_positions=64)
    ).save_pretrained(folder / "decoder")
    tokenizer.save_pretrained(folder / "decoder")
    return folder


@pytest.fixture
def here(models, tmp_path, monkeypatch):
    """The models are in the working directory; records and checkpoints go elsewhere."""
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "build" / "runs"))
    monkeypatch.chdir(models)
    return tmp_path


def recipe(**changes):
    base = dataclasses.replace(RECIPES["experts-glue-rte-mpoe"], name="answers", model="mini", scales={"smoke": {}})
    settings = dataclasses.replace(base.settings, max_steps=4, batch_size=4, eval_every=2, precision="fp32", warmup=1)
    given = {"options": {"kind": "dense", "paper_splits": True}, "train": 12, "select": 6, "dev": 8, **changes}
    return dataclasses.replace(base, settings=settings, **given)


def made(what, here, seed: int = 0):
    return run(what, "smoke", seed, source="offline", progress=False, results=here / "results")


# -- runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "dense"},
        {"kind": "wide", "neurons": 32},
        {"kind": "mpoe", "experts": 3, "plan": 3, "mask_probability": 1.0, "snapshots": 2},
        {"kind": "moe", "experts": 3, "top_k": 2, "snapshots": 1},
        {"kind": "switch", "experts": 3, "router": {"eval_capacity_factor": None}, "snapshots": 4},
        {"kind": "moefication", "experts": 3, "top_k": 2, "snapshots": 2},
    ],
    ids=lambda options: options["kind"],
)
def test_a_run_of_each_kind(here, options):
    record = made(recipe(options={**options, "paper_splits": True}), here)
    extra, scores = record.extra, record.scores
    assert set(scores) == {"select", "dev"} and set(scores["dev"]) == {"loss", "accuracy", "unparsable"}
    assert record.data["rows"] == {"train": 12, "select": 6, "dev": 8}
    assert extra["parameters"]["here"] == record.total
    assert (extra["parameters"]["here"] == extra["parameters"]["dense"]) == (options["kind"] in ("dense",))
    assert set(extra["majority"]) == {"toy-RTE"} and 0 <= extra["majority"]["toy-RTE"]["accuracy"] <= 100
    if options["kind"] in ("dense", "wide"):
        assert "routing" not in extra
        return
    every = 4 // options["snapshots"]
    assert [entry["step"] for entry in extra["routing"]] == list(range(0, 5, every))
    names = [layer["name"] for layer in extra["routing"][-1]["layers"]]
    assert len(names) == 3 and sum("decoder" in name for name in names) == 1
    assert all(len(layer["load"]) == 3 for layer in extra["routing"][-1]["layers"])
    if options["kind"] == "mpoe":
        assert set(extra["centres_moved"].values()) == {0.0} and record.trainable < record.total
        assert len(extra["centres_moved"]) == 2 * 3
    else:
        assert "centres_moved" not in extra


def test_several_tasks_at_once(here):
    options = {"kind": "mpoe", "experts": 2, "plan": 3, "mask_probability": 0.0, "snapshots": 2, "paper_splits": True,
               "temperature": 10.0}  # fmt: skip
    tasks = ("SST-2", "RTE", "STS-B")
    both = recipe(method="experts_together", task="", tasks=tasks, options=options)
    record = made(both, here, seed=1)
    names = [f"toy-{task}" for task in tasks]
    dev = record.scores["dev"]
    main = [dev[f"{name}/{metric}"] for name, metric in zip(names, ("accuracy", "accuracy", "pearson"))]
    assert dev["mean"] == pytest.approx(sum(main) / 3) and set(record.extra["majority"]) == set(names)
    assert set(record.extra["steps"]) == set(names) and sum(record.extra["steps"].values()) == record.steps == 4
    assert record.data["temperature"] == 10.0 and list(record.data["shares"].values()) == pytest.approx([1 / 3] * 3)
    assert [entry["step"] for entry in record.extra["routing"]] == [0, 2, 4]
    assert all(moved > 0 for moved in record.extra["centres_moved"].values())


def test_the_rows_of_a_record_are_those_that_are_drawn_again(here):
    """What `mpolab run` asks of a record that it shows; and no split has a row of another."""
    for changes in ({}, {"method": "experts_together", "task": "", "tasks": ("SST-2", "RTE")}):
        what = recipe(**changes)
        data = recipes.rows(what.at("smoke"), 2, source="offline")
        assert made(what, here, seed=2).data["sha256"] == data.describe()["sha256"]
        for part in getattr(data, "parts", (data,)):
            texts = {split: {content(row) for row in rows} for split, rows in part.splits.items()}
            assert [len(part.splits[split]) for split in ("train", "select", "dev")] == [12, 6, 8]
            for first, second in (("train", "select"), ("train", "dev"), ("select", "dev")):
                assert not texts[first] & texts[second]


# -- what cannot be meant ------------------------------------------------------------------------------


def test_recipes_that_cannot_be_run(here, monkeypatch):
    monkeypatch.setattr(mpoe, "load_pretrained", None)  # all is said before a model is loaded
    options = {"kind": "dense", "paper_splits": True}
    for changes, error, match in (
        ({"task": "RTF"}, UnknownNameError, "Did you mean 'RTE'"),
        ({"task": "SQuAD"}, UnknownNameError, "unknown text-to-text task 'toy-SQuAD'"),
        ({"task": "", "tasks": ("RTE", "SQuAD"), "method": "experts_together"}, TrainingError, "of kind 'span'"),
        ({"task": "", "tasks": ("RTE", "SST-2")}, TrainingError, "'experts_together'"),
        ({"method": "experts_together"}, TrainingError, "tasks="),
        ({"options": {**options, "kind": "mpo"}}, UnknownNameError, "mpoe"),
        ({"options": {**options, "texts": 5}}, UnknownNameError, "'texts'"),
        ({"options": {**options, "temperature": 2.0}}, UnknownNameError, "'temperature'"),
        ({"options": {**options, "kind": "switch", "snapshots": 0}}, TrainingError, "at least one"),
    ):
        with pytest.raises(error, match=match):
            made(recipe(**changes), here)
    for split in ("train", "valid", "test"):
        (here / f"story.{split}.txt").write_text("Once upon a time.")
    with pytest.raises(TrainingError, match="trains on tasks, and the recipe has the text 'story'"):
        run(recipe(task="", text="story"), "smoke", data_dir=here, progress=False, results=here / "results")
    assert not (here / "results").exists()


def test_models_that_do_not_answer(here):
    with pytest.raises(CheckpointError) as error:
        made(recipe(model="decoder"), here)
    message(error, "decoder", "family 'gpt2', which has no head 'seq2seq-lm'; it has", "'causal-lm'")
    assert not (here / "results").exists()


# -- the recipes and the ledger ------------------------------------------------------------------------

KINDS = ("dense", "switch", "moe", "mpoe", "mpoe-16", "without-sharing", "moefication")


def test_every_variant_of_every_task_with_the_same_settings():
    four, others = ("sst-2", "mrpc", "rte", "sts-b"), ("cola", "qqp", "mnli", "qnli")
    named = {f"experts-glue-{task}-{kind}" for task in (*four, *others) for kind in KINDS}
    own_rate = {f"experts-glue-{task}-switch-own-rate" for task in four}
    together = {f"experts-together-{kind}" for kind in KINDS}
    ways = ("dense", "mpoe", "switch", "moe", "moefication")
    longer = {f"experts-glue-{task}-{kind}-longer" for task in ("sst-2", "sts-b") for kind in ways}
    longer |= {"experts-together-dense-longer", "experts-together-mpoe-longer"}
    assert {each.name for each in mpoe_glue.RECIPES} == named | own_rate | longer | together
    for scale in ("smoke", "laptop", "gpu"):
        there = [each for each in mpoe_glue.RECIPES if scale in each.scales]
        large = {each.name for each in mpoe_glue.RECIPES if each.task.lower() in others}
        without = {"smoke": set(), "laptop": large, "gpu": own_rate}[scale]
        assert {each.name for each in mpoe_glue.RECIPES} - {each.name for each in there} == without
        assert len({each.at(scale).settings for each in there if each.name in named}) == 1
        for each in there:
            at = each.at(scale)
            assert each.seeds == (0, 1, 2) and at.options["paper_splits"]
            assert at.model == ("t5-base" if scale == "gpu" else "t5-mini")
            if scale == "laptop" and each.name not in longer:
                assert at.train * max(1, len(at.tasks)) <= 1000 and at.settings.max_length == 64
    for kind in KINDS:  # what a variant is, it is for GPT-2 too, but for Switch's room
        mine, theirs = (dict(RECIPES[name].options) for name in (f"experts-glue-rte-{kind}", f"experts-{kind}"))
        for key in ("kind", "experts", "top_k", "mask_probability"):
            assert mine.get(key) == theirs.get(key), (kind, key)


CLAIMED = {
    "mpoe-tab1-t5": ("glue", "switch", 12),
    "mpoe-tab1-t5-moe": ("glue", "moe", 12),
    "mpoe-tab1-t5-moefication": ("glue", "moefication", 12),
    "mpoe-tab1-t5-dense": ("glue", "dense", 12),
    "mpoe-tab2-dense": ("together", "dense", 3),
}


@pytest.mark.parametrize("id", CLAIMED)
def test_records_turn_a_claim_into_a_verdict(here, id):
    which, rival, pairs = CLAIMED[id]
    claims, evidence = {id: CLAIMS[id]}, {id: ledger.EVIDENCE[id]}
    results = here / "results"
    item = id[:9]
    (row,) = ledger.build(results, claims, evidence, {}, {})
    assert row.verdict == "not run" and row.command == f"mpolab run {item} --scale laptop --data-dir DIR"
    assert f"not yet: {2 * pairs} runs" in row.ours
    assert set(evidence[id].recipes) <= set(ledger.recipes_of(item))
    assert len(evidence[id].recipes) == (16 if which == "glue" else 2)  # eight tasks, four of them here
    base = made(recipe(), here)
    tasks = ("sst-2", "mrpc", "rte", "sts-b") if which == "glue" else ("",)
    for task in tasks:
        for kind, above in (("mpoe", 3.0), (rival, 0.0)):
            name = f"experts-glue-{task}-{kind}" if task else f"experts-together-{kind}"
            for seed in range(3):
                # of STS-B Pearson counts; were it Spearman, the difference would turn round
                score = 50 + above + 0.1 * seed * above
                scores = {"accuracy": score, "mean": score, "pearson": score, "spearman": -score}
                dataclasses.replace(
                    base, recipe=name, recipe_hash=RECIPES[name].hash("laptop"), scale="laptop", seed=seed,
                    fields=RECIPES[name].fields("laptop"), scores={"dev": scores},
                    data={"sha256": {"dev": task}},
                ).save(results)  # fmt: skip
    (row,) = ledger.build(results, claims, evidence, {}, {})
    assert row.verdict == "smaller scale: same direction" and row.seeds == (0, 1, 2)
    assert "+3.3, 95 % [" in row.ours and f"{pairs} pairs" in row.ours
    assert len(row.record) == 2 * pairs and runs.load(results / row.record[0].removeprefix("results/")).seed == 0
