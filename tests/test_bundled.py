"""The checkpoints that come with the package: small, whole, and what their cards say of them is in their records."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys

import pytest
import torch

import mpolab
from mpolab import runs
from mpolab.pretrained import CHECKPOINTS, bundled, load_pretrained

NAMES = bundled()
ENCODERS = [name for name in NAMES if "bert" in name]
WRITERS = [name for name in NAMES if name not in ENCODERS]


def test_the_package_has_its_checkpoints():
    assert {"albert-mini", "mpobert-mini"} <= set(ENCODERS) and "gpt2-mini" in WRITERS


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_small_and_the_one_of_its_record(name):
    weights = (CHECKPOINTS / name / "model.safetensors").read_bytes()
    assert len(weights) <= 15_000_000
    record = runs.load(runs.record_path(name, "laptop", 0))
    assert record.extra["weights"] == {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    assert not record.stands_in and record.data["corpus"] == "english_novels"
    assert not list(CHECKPOINTS.glob(f"{name}/*.bin")) and not list(CHECKPOINTS.glob(f"{name}/*.pt"))


@pytest.mark.parametrize("name", ENCODERS)
def test_its_card_says_what_the_record_says(name):
    card = (CHECKPOINTS / name / "README.md").read_text("utf-8")
    record = runs.load(runs.record_path(name, "laptop", 0))
    test, floors = record.scores["test"], record.extra["floors"]
    rows = dict(re.findall(r"^\| (\S.*?) \| ([\d.]+ \| [\d.]+) \|$", card, re.MULTILINE))
    shown = {key: tuple(map(float, value.split(" | "))) for key, value in rows.items()}
    for label, found in (
        ("most frequent token (unigram)", floors["unigram"]),
        ("counts of both neighbours (trigram)", floors["trigram"]),
        (f"**{name}**", test),
    ):
        assert shown[label] == (round(found["mlm_accuracy"], 1), round(found["perplexity"], 1))
    assert f"{test['sop_accuracy']:.1f} % right" in card
    assert f"mpolab run {name} --scale laptop --seed 0" in card and f"{record.total:,}" in card


@pytest.mark.parametrize("name", ENCODERS)
def test_it_loads_and_passes_the_lowest_floor(name):
    model = mpolab.load(name)
    record = runs.load(runs.record_path(name, "laptop", 0))
    assert model.config.hidden_size and not model.training
    found = load_pretrained(name, head="pretraining")
    assert found.origin == "bundled" and found.new == ()
    assert sum(p.numel() for p in found.model.parameters()) == record.total
    assert record.scores["test"]["mlm_accuracy"] > record.extra["floors"]["unigram"]["mlm_accuracy"]
    assert record.scores["test"]["perplexity"] < record.extra["floors"]["unigram"]["perplexity"]
    ids = found.tokenizer("He said that he had not seen the house.", return_tensors="pt")
    assert ids["input_ids"][0, 0] == found.tokenizer.cls_token_id
    with torch.no_grad():
        logits = found.model(**ids).prediction_logits
    assert logits.shape[-1] == len(found.tokenizer) == found.model.config.vocab_size
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_it_fills_a_mask(name):
    from transformers import pipeline

    found = load_pretrained(name, head="masked-lm")
    fill = pipeline("fill-mask", model=found.model, tokenizer=found.tokenizer)
    answers = fill("he said that he had not [MASK] the house.", top_k=3)
    assert len(answers) == 3 and all(0 < answer["score"] < 1 for answer in answers)
    assert answers[0]["score"] > 5 / len(found.tokenizer)


def test_transformers_own_classes_know_it_after_the_one_import_that_is_documented():
    for text in (CHECKPOINTS / "mpobert-mini" / "README.md", CHECKPOINTS.parent.parent / "README.md"):
        assert "`import mpolab.mpobert`" in text.read_text("utf-8")
    script = (
        "import sys, mpolab.mpobert; from transformers import AutoModel, AutoModelForMaskedLM, pipeline;"
        "print(*(type(auto.from_pretrained(sys.argv[1])).__name__ for auto in (AutoModel, AutoModelForMaskedLM)));"
        "fill = pipeline('fill-mask', model=sys.argv[1]);"
        "print(type(fill.model).__name__, len(fill('he said that he had not [MASK] the house.', top_k=3)))"
    )
    command = [sys.executable, "-c", script, str(CHECKPOINTS / "mpobert-mini")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["MPOBertModel", "MPOBertForMaskedLM", "MPOBertForMaskedLM", "3"]


@pytest.mark.parametrize("name", WRITERS)
def test_the_card_of_a_model_that_writes(name):
    card = (CHECKPOINTS / name / "README.md").read_text("utf-8")
    record = runs.load(runs.record_path(name, "laptop", 0))
    floors, test = record.extra["floors"], record.scores["test"]
    shown = {key: float(value) for key, value in re.findall(r"^\| (\S.*?) \| ([\d.]+) \|$", card, re.MULTILINE)}
    for label, found in (
        ("most frequent token (unigram)", floors["unigram"]),
        ("Kneser-Ney, the four tokens before (5-gram)", floors["5-gram"]),
        (f"**{name}**", test),
    ):
        assert shown[label] == round(found["perplexity"], 1)
    assert test["perplexity"] < floors["unigram"]["perplexity"] / 3
    assert f"mpolab run {name} --scale laptop --seed 0" in card and f"{record.total:,}" in card


@pytest.mark.parametrize("name", WRITERS)
def test_it_writes(name):
    """The weights are those that were scored: on a sentence it is far better than a guess; and it goes on."""
    found = load_pretrained(name, head="seq2seq-lm" if name.startswith("t5") else "causal-lm")
    record = runs.load(runs.record_path(name, "laptop", 0))
    assert found.origin == "bundled" and found.new == ()
    assert sum(p.numel() for p in found.model.parameters()) == record.total
    tokenizer = found.tokenizer
    text = (  # a sentinel stands right behind a word, as in training: the space is hidden with what follows
        "He said that he had not<extra_id_0> the house."
        if name.startswith("t5")
        else "He said that he had not seen the house."
    )
    ids = tokenizer(text, return_tensors="pt")
    assert tokenizer.decode(ids["input_ids"][0], skip_special_tokens=False).removesuffix("</s>") == text
    labels = (
        tokenizer("<extra_id_0> seen", return_tensors="pt")["input_ids"] if name.startswith("t5") else ids["input_ids"]
    )
    with torch.no_grad():
        loss = float(found.model(**ids, labels=labels).loss)
        more = found.model.generate(**ids, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert loss < 0.75 * math.log(len(tokenizer)) and more.shape[1] > 1


def test_a_name_that_is_nowhere_is_told_what_there_is(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(mpolab.errors.ModelNotFoundError, match="albert-mini"):
        load_pretrained("albert-mimi")


def test_no_checkpoint_names_a_path():
    for file in CHECKPOINTS.glob("*/*.json"):
        text = json.dumps(json.loads(file.read_text("utf-8")))
        assert not re.search(r"\"(/|~/|[A-Z]:\\\\)\w", text), file
