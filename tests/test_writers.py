"""A small GPT-2 and a small T5 from nothing: a run leaves a record and a model that writes."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import pytest
import torch

from mpolab import phases, training, writers
from mpolab.errors import TrainingError
from mpolab.kneser_ney import KneserNey
from mpolab.pretrained import load_pretrained
from mpolab.pretraining import models_folder
from mpolab.recipes import RECIPES, run

SMALL = {
    "gpt2-mini": {"n_embd": 16, "n_layer": 1, "n_head": 2},
    "t5-mini": {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two novels in which a verb follows from the noun; build/ is elsewhere."""
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "build" / "runs"))
    pairs = [("cat", "sat"), ("dog", "ran"), ("cow", "stood"), ("hen", "flew"), ("fox", "hid")]
    for split, count, seed in (("train", 1500, 1), ("valid", 300, 2)):
        numbers = torch.randint(5, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
        lines = [f"The {pairs[k][0]} {pairs[k][1]} down." for k in numbers]
        half = count // 2
        (tmp_path / f"english_novels.{split}.txt").write_text(
            "=== A ===\n" + "\n".join(lines[:half]) + "\n=== B ===\n" + "\n".join(lines[half:]) + "\n"
        )
    return tmp_path


def recipe(name: str, **changes):
    base = RECIPES[name]
    options = {"shape": SMALL[name], "vocabulary": 420, "separator": "=== .* ==="}
    smoke = {"max_steps": 60, "batch_size": 8, "max_length": 32, "lr": 1e-2, "warmup": 5, "eval_every": 20, "dev": 20}
    return dataclasses.replace(base, options=options, scales={"smoke": {**smoke, **changes}})


@pytest.mark.parametrize("name, head, steps", [("gpt2-mini", "causal-lm", 60), ("t5-mini", "seq2seq-lm", 400)])
def test_a_run_leaves_a_record_and_a_model_that_reads_and_writes(folder, tmp_path, name, head, steps):
    record = run(
        recipe(name, max_steps=steps, eval_every=steps // 3),
        "smoke",
        data_dir=folder,
        progress=False,
        results=tmp_path / "results",
    )
    floors, test = record.extra["floors"], record.scores["test"]
    # the noun is free, one of five; an n-gram of five tokens knows all else, the unigram nothing
    assert floors["5-gram"]["perplexity"] < floors["unigram"]["perplexity"]
    assert test["perplexity"] < floors["unigram"]["perplexity"] / 2
    assert record.evaluations[-1]["loss"] < record.evaluations[0]["loss"] < math.log(420)
    left = load_pretrained(models_folder() / f"{name}-smoke-seed0", head=head)
    assert sum(p.numel() for p in left.model.parameters()) == record.total
    text = "The cat sat down."
    assert left.tokenizer.decode(left.tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    ids = left.tokenizer("The fox", return_tensors="pt", add_special_tokens=False)
    assert left.model.generate(**ids, max_new_tokens=3, do_sample=False).shape[0] == 1


def test_the_floor_counts_the_tokens_that_the_model_is_scored_on(folder, tmp_path):
    """Of 20 windows of 32 tokens 31 each are predicted; the perplexity is that of the counts, by hand."""
    kept = {}
    original = writers.floors

    def spy(job):
        kept["data"], kept["size"] = job.data, len(job.tokenizer)
        return original(job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "floors", spy)
        record = run(recipe("gpt2-mini", max_steps=1), "smoke", data_dir=folder, progress=False, results=tmp_path / "r")
    found = record.extra["floors"]["5-gram"]
    assert found["tokens"] == 20 * 31
    data = kept["data"]
    each = KneserNey(data.splits["train"], kept["size"], 5).probabilities(data.splits["test"])
    windows = len(data.splits["test"]) // 32 + (len(data.splits["test"]) % 32 > 1)
    places = [w * 32 + k for w in (n * windows // 20 for n in range(20)) for k in range(1, 32)]
    nll = -sum(math.log(each[place]) for place in places)
    assert found["perplexity"] == pytest.approx(math.exp(nll / len(places)))


@pytest.mark.parametrize("name", ["gpt2-mini", "t5-mini"])
def test_an_interrupted_run_goes_on_to_the_same_weights(folder, tmp_path, monkeypatch, name):
    small = recipe(name, max_steps=30, eval_every=10)
    whole = run(small, "smoke", data_dir=folder, progress=False, results=tmp_path / "whole")

    class Stop(Exception):
        pass

    def killed(*arguments, callbacks=(), **options):
        from transformers import TrainerCallback

        class Killer(TrainerCallback):
            def on_step_end(self, args, state, control, **_):
                if state.global_step == 17:
                    raise Stop

        return training.pretrain(*arguments, callbacks=[*callbacks, Killer()], **options)

    monkeypatch.setattr(phases, "pretrain", partial(killed))
    with pytest.raises(Stop):
        run(small, "smoke", data_dir=folder, progress=False, results=tmp_path / "broken")
    monkeypatch.setattr(phases, "pretrain", training.pretrain)
    again = run(small, "smoke", data_dir=folder, progress=False, results=tmp_path / "broken")
    assert again.extra["weights"] == whole.extra["weights"] and again.scores == whole.scores


def test_t5_in_phases(folder, tmp_path):
    """More is hidden at first; held-out text is hidden as ever, and the floor counts the tokens that were scored."""
    base = recipe("t5-mini", max_steps=12, eval_every=6)
    options = {**base.options, "phases": [[0.5, 2e-2, 0.5, 6.0], [0.5, 1e-2, 0.15, 3.0]]}
    seen = []

    def spy(model, tokenizer, data, settings, seed, out, **more):
        train, test = data.rows("train", tokenizer, seed), data.rows("valid", tokenizer, seed)
        seen.append((int(train.hidden(0, 0).sum()), int(test.hidden(-1, 0).sum()), settings.lr, settings.max_steps))
        outcome = training.pretrain(model, tokenizer, data, settings, seed, out, **more)
        if "test" in data.splits:
            seen.append(int(data.rows("test", tokenizer, seed).predicted().sum()))
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "pretrain", spy)
        record = run(dataclasses.replace(base, options=options), "smoke", data_dir=folder, progress=False,
                     results=tmp_path / "r")  # fmt: skip
    assert seen[:2] == [(16, 5, 2e-2, 6), (5, 5, 1e-2, 6)] and record.steps == 12  # .5 * 32; .15 * 32 = 4.8
    assert record.extra["floors"]["5-gram"]["tokens"] == seen[2]
    assert record.extra["phases"] == [
        {"steps": 6, "lr": 2e-2, "hidden": 0.5, "span": 6.0}, {"steps": 6, "lr": 1e-2, "hidden": 0.15, "span": 3.0},
    ]  # fmt: skip
    assert [entry["step"] for entry in record.evaluations] == [6, 12]


@pytest.mark.parametrize(
    "asked_for, words",
    [
        ([], "expected"),
        ([[1.0, 1e-2, 0.5]], "expected"),
        ([[0.5, 1e-2, 0.5, 3.0]], "add up to 1"),
        ([[1.0, 1e-2, 1.5, 3.0]], "between 0 and 1"),
        ([[1.0, 1e-2, 0.5, 0.5]], "at least 1"),
    ],
)
def test_phases_that_cannot_be_meant(folder, tmp_path, asked_for, words):
    base = recipe("t5-mini")
    asked = dataclasses.replace(base, options={**base.options, "phases": asked_for})
    with pytest.raises(TrainingError, match=words):
        run(asked, "smoke", data_dir=folder, progress=False, results=tmp_path / "r")
