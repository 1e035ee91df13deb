"""A small GPT-2 and a small T5 from nothing: a run leaves a record and a model that writes."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import pytest
import torch

from mpolab import training, writers
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

    monkeypatch.setattr(writers, "pretrain", partial(killed))
    with pytest.raises(Stop):
        run(small, "smoke", data_dir=folder, progress=False, results=tmp_path / "broken")
    monkeypatch.setattr(writers, "pretrain", training.pretrain)
    again = run(small, "smoke", data_dir=folder, progress=False, results=tmp_path / "broken")
    assert again.extra["weights"] == whole.extra["weights"] and again.scores == whole.scores
