"""Pre-training: the loss is transformers' own, a run resumes, and its models load and go on."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
import torch
from transformers import AlbertConfig, AlbertForPreTraining, TrainerCallback

from mpolab import phases, pretraining, recipes, segments, training
from mpolab.errors import DataError, DataNotFoundError, ModelNotFoundError, TrainingError, UnknownNameError
from mpolab.features import IGNORE, collator
from mpolab.jobs import Recipe
from mpolab.mpobert import MPOBertForPreTraining
from mpolab.objectives import KINDS, masked_only
from mpolab.pretrained import load_pretrained
from mpolab.settings import Settings
from mpolab.vocabulary import train_tokenizer

SHAPE = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64,
         "num_hidden_layers": 2, "max_position_embeddings": 32, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0}  # fmt: skip
SENTENCES = ("The cat sat on the mat.", "A dog ran off.", "Then it rained all day.", "Nobody came.", "We ate bread.")


def novel(seed: int, length: int = 120) -> str:
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(SENTENCES), (length,), generator=generator).tolist()
    return "\n\n".join(SENTENCES[k] for k in picks) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("texts")
    (where / "tales.train.txt").write_text("\n=== next ===\n".join(novel(k) for k in range(3)))
    (where / "tales.valid.txt").write_text(novel(9, 40))
    return where


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([novel(0)] * 2, size=60, max_length=32, progress=False)


@pytest.fixture(scope="module")
def data(tokenizer, tmp_path_factory):
    splits = {"train": [novel(1)], "valid": [novel(2, 30)], "test": [novel(3, 30)]}
    return segments.prepare("tales", splits, tokenizer, 24, tmp_path_factory.mktemp("tokens"), progress=False)


def albert(tokenizer, seed: int = 0) -> AlbertForPreTraining:
    torch.manual_seed(seed)
    return AlbertForPreTraining(AlbertConfig(vocab_size=len(tokenizer), **SHAPE, **pretraining._special(tokenizer)))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "build" / "runs"))
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MPOLAB_SCALE", raising=False)


def recipe(**changes) -> Recipe:
    settings = Settings(max_steps=6, batch_size=8, lr=1e-3, max_length=24, warmup=1, save_every=2, eval_every=2)
    scale = {"smoke": {"train": 40, "select": 6, "dev": 8}}
    options = {"shape": SHAPE, "vocabulary": 60, "phases": [[1, 0.5, 2e-3], [2, 0.5, 1e-3]], "separator": "=== .* ==="}
    given = {"method": "pretrain_albert", "options": options, "settings": settings, "scales": scale, "model": ""}
    return Recipe(**{"name": "tales-albert", "about": "a test", "text": "tales", **given, **changes})


# -- the loss ------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_transformers(data, tokenizer):
    model, rows = albert(tokenizer).eval(), data.rows("train", tokenizer, 0)
    batch = collator(tokenizer, True)([rows[0, k] for k in range(12)])
    labels = batch.pop("labels")
    objective = KINDS["pretraining"]
    theirs = model(
        **batch,
        labels=torch.cat([torch.full((12, 1), IGNORE), labels[:, 1:]], 1),
        sentence_order_label=labels[:, 0],
    )
    with masked_only(model, labels):
        outputs = model(**batch)
    assert outputs["prediction_logits"].shape == (int((labels[:, 1:] != IGNORE).sum()), len(tokenizer))
    ours = (objective.loss(outputs, labels) / objective.count(labels)).sum()
    torch.testing.assert_close(ours, theirs.loss)
    gradients = []
    for loss in (ours, theirs.loss):
        model.zero_grad()
        loss.backward(retain_graph=True)
        gradients.append([p.grad.clone() for p in model.parameters()])
    for one, two in zip(*gradients):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    # without the hook, from all positions
    full = (objective.loss(model(**batch), labels) / objective.count(labels)).sum()
    torch.testing.assert_close(full, ours)
    kept = objective.keep(outputs, labels).detach().numpy()
    assert objective.mean(kept, labels.numpy()) == pytest.approx(float(ours.detach()), rel=1e-5)
    found = segments.scores(kept, labels.numpy())
    hits = (theirs.prediction_logits.argmax(-1) == labels)[:, 1:][labels[:, 1:] != IGNORE]
    assert found["mlm_accuracy"] == pytest.approx(100 * float(hits.float().mean()))
    right = (theirs.sop_logits.argmax(-1) == labels[:, 0]).float().mean()
    assert found["sop_accuracy"] == pytest.approx(100 * float(right))
    assert found["perplexity"] == pytest.approx(math.exp(found["mlm_loss"]))


def test_a_row_without_a_hidden_token_counts_for_the_order_only(tokenizer):
    labels = torch.tensor([[1, IGNORE, IGNORE], [0, IGNORE, 7]])
    outputs = {"prediction_logits": torch.zeros(1, 60), "sop_logits": torch.zeros(2, 2)}
    objective = KINDS["pretraining"]
    torch.testing.assert_close(objective.loss(outputs, labels), torch.tensor([math.log(60), 2 * math.log(2)]))
    assert objective.count(labels).tolist() == [1, 2]
    assert objective.keep(outputs, labels)[:, 2].tolist() == [0, 1]


def test_a_model_without_the_two_heads(data, tokenizer):
    from transformers import AlbertForMaskedLM

    torch.manual_seed(0)
    model = AlbertForMaskedLM(AlbertConfig(vocab_size=len(tokenizer), **SHAPE))
    with pytest.raises(TrainingError, match="sop_logits"):
        training.pretrain(model, tokenizer, data, Settings(max_steps=1, batch_size=4, max_length=24), progress=False)


def test_micro_batches_change_nothing(data, tokenizer):
    curves = []
    for parts in (1, 4):
        settings = Settings(max_steps=4, batch_size=8, accumulation=parts, lr=1e-3, max_length=24)
        outcome = training.pretrain(albert(tokenizer), tokenizer, data, settings, seed=1, progress=False)
        curves.append([entry["loss"] for entry in outcome.curve])
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


def test_lamb_is_an_optimizer_of_the_engine(data, tokenizer):
    settings = Settings(max_steps=3, batch_size=8, lr=5e-3, max_length=24, optimizer="lamb", epsilon=1e-6)
    with training.make_trainer(albert(tokenizer), tokenizer, data, settings) as engine:
        engine.train()
        optimizer = engine.optimizer
        ratios = [float(state["trust_ratio"]) for state in optimizer.state.values()]
    assert type(getattr(optimizer, "optimizer", optimizer)).__name__ == "BoundedLamb" and len(ratios) > 10
    with pytest.raises(UnknownNameError, match="adamw"):
        Settings(optimizer="lamp")


# -- runs ----------------------------------------------------------------------------------------------


def test_a_run_leaves_a_record_and_a_model_that_goes_on_as_mpobert(folder, tmp_path):
    record = recipes.run(recipe(), "smoke", 3, data_dir=folder, progress=False)
    assert record.steps == 6 and [entry["step"] for entry in record.curve] == [1, 2, 3, 4, 5, 6]
    assert record.extra["phases"] == [{"layers": 1, "steps": 3, "lr": 2e-3}, {"layers": 2, "steps": 3, "lr": 1e-3}]
    assert set(record.scores) == {"valid", "test"} and record.data["rows"]["test"] == 8
    assert record.data["task"] == "tales" and not record.stands_in
    low, high = record.extra["sop_interval"]
    assert low <= record.scores["test"]["sop_accuracy"] <= high
    assert set(record.extra["floors"]) == {"unigram", "trigram"}
    assert json.loads((tmp_path / "results" / "tales-albert" / "smoke-seed3.json").read_text())["steps"] == 6
    left = tmp_path / "build" / "models" / "tales-albert-smoke-seed3"
    assert (left / "model.safetensors").stat().st_size == record.extra["weights"]["bytes"]
    assert not (tmp_path / "build" / "runs" / "tales-albert").exists() or not any(
        (tmp_path / "build" / "runs" / "tales-albert").iterdir()
    )

    further = recipe(
        name="tales-mpobert",
        method="pretrain_mpobert",
        model=str(left),
        options={"layers": 3, "init": "copy", "changes": {"mpo_n": 3}, "separator": "=== .* ==="},
    )
    job = SimpleNamespace(
        recipe=further.at("smoke"), settings=further.at("smoke").settings, seed=0, extra={}, progress=False,
        data=recipes.rows(further.at("smoke"), 0, folder), model=None, tokenizer=None, pretrained=None,
    )  # fmt: skip
    pretraining.from_source(job, "mpobert")
    assert isinstance(job.model, MPOBertForPreTraining) and job.model.config.num_hidden_layers == 3
    source = job.pretrained.model
    source.config.num_hidden_layers = 3
    rows = job.data.rows("test", job.tokenizer, 0)
    batch = collator(job.tokenizer, True)([rows[k] for k in range(4)])
    batch.pop("labels")
    with torch.no_grad():
        for key in ("prediction_logits", "sop_logits"):
            torch.testing.assert_close(job.model(**batch)[key], source(**batch)[key], rtol=1e-3, atol=1e-4)
    scratch = dataclasses.replace(further.at("smoke"), options={**further.options, "init": "scratch"}, model=str(left))
    job.recipe, job.data = scratch, recipes.rows(scratch, 0, folder)
    pretraining.from_source(job, "mpobert")
    theirs = source.albert.embeddings.word_embeddings.weight
    assert not torch.allclose(job.model.albert.embeddings.word_embeddings.weight, theirs, atol=1e-2)


def test_a_given_tokenizer_is_used_as_it_is_and_lamb_trains(tmp_path, monkeypatch):
    (tmp_path / "english_novels.train.txt").write_text("\n=== next ===\n".join(novel(k) for k in range(3)))
    (tmp_path / "english_novels.valid.txt").write_text(novel(9, 40))
    optimizers, vocabularies, plain = [], [], phases.pretrain

    def spy(model, tokenizer, data, settings, *arguments, **options):
        vocabularies.append(tokenizer.get_vocab())
        optimizers.append(settings.optimizer)
        return plain(model, tokenizer, data, settings, *arguments, **options)

    monkeypatch.setattr(phases, "pretrain", spy)
    lamb = recipes.recipe_named("albert-mini-lamb")
    small = {**lamb.scales["smoke"], "train": 40, "select": 6, "dev": 8, "max_steps": 4, "warmup": 1, "batch_size": 4}
    lamb = dataclasses.replace(lamb, scales={"smoke": small})
    record = recipes.run(lamb, "smoke", 0, data_dir=tmp_path, progress=False)
    theirs = load_pretrained("albert-mini").tokenizer
    assert optimizers == ["lamb"] and vocabularies == [theirs.get_vocab()] and record.steps == 4
    left = tmp_path / "build" / "models" / "albert-mini-lamb-smoke-seed0"
    found = load_pretrained(left, head="pretraining")
    assert found.model.config.vocab_size == len(found.tokenizer) == len(theirs) == 8000
    assert found.model.config.pad_token_id == theirs.pad_token_id
    assert found.tokenizer.get_vocab() == theirs.get_vocab()


def test_each_phase_has_its_layers_its_rate_and_no_look_at_the_test_split(folder, monkeypatch):
    calls, plain = [], phases.pretrain

    def spy(model, tokenizer, data, settings, seed, out, **options):
        applied = []
        hook = model.albert.encoder.albert_layer_groups[0].register_forward_hook(lambda *_: applied.append(1))
        outcome = plain(model, tokenizer, data, dataclasses.replace(settings, max_steps=1), seed, out, **options)
        hook.remove()
        forwards = len(applied) / model.config.num_hidden_layers
        assert forwards == int(forwards), "the layer is applied as often as the config says"
        calls.append((model.config.num_hidden_layers, settings.schedule, settings.lr, settings.max_steps, seed))
        assert ("test" in data.splits) == (len(calls) == 2)
        return outcome

    monkeypatch.setattr(phases, "pretrain", spy)
    recipes.run(recipe(name="spied"), "smoke", 4, data_dir=folder, progress=False)
    assert calls == [(1, "constant", 2e-3, 3, 4), (2, "linear", 1e-3, 3, 5)]


def test_an_interrupted_run_goes_on_to_the_same_weights(folder, tmp_path, monkeypatch):
    whole = recipes.run(recipe(name="whole"), "smoke", 0, data_dir=folder, progress=False)
    calls = []
    plain = training._run

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:  # the second phase, after its first checkpoint

            class Kill(TrainerCallback):
                def on_step_end(self, args, state, control, **kwargs):
                    if state.global_step == 3:
                        raise KeyboardInterrupt

            arguments = (*arguments[:8], (*arguments[8], Kill()), *arguments[9:])
        return plain(*arguments, **options)

    monkeypatch.setattr(training, "_run", killed)
    with pytest.raises(KeyboardInterrupt):
        recipes.run(recipe(name="broken"), "smoke", 0, data_dir=folder, progress=False)
    monkeypatch.setattr(training, "_run", plain)
    again = recipes.run(recipe(name="broken"), "smoke", 0, data_dir=folder, progress=False)
    assert again.extra["weights"] == whole.extra["weights"]
    assert again.scores == whole.scores and again.curve == whole.curve


def test_the_offline_text_stands_apart(tmp_path, monkeypatch):
    record = SimpleNamespace(data={"corpus": "stdlib", "task": "stdlib"}, fields={"text": "tales", "source": None})
    from mpolab.runs import Record

    assert Record.stands_in.fget(record)
    record.fields = {"text": "stdlib", "source": None}
    assert not Record.stands_in.fget(record)
    record.data = {"corpus": "tales", "task": "tales"}
    record.fields = {"text": "tales", "source": None}
    assert not Record.stands_in.fget(record)


def test_phases_and_steps():
    assert phases.steps_of(10, [0.25, 0.25, 0.5]) == [2, 3, 5]
    assert sum(phases.steps_of(1001, [0.3, 0.3, 0.4])) == 1001


def test_sinusoids_by_hand_and_neighbours_by_one_rotation():
    found = pretraining.sinusoids(5, 6)
    for position in range(5):
        for k in range(3):
            angle = position / 10000 ** (2 * k / 6)
            assert found[position, 2 * k] == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[position, 2 * k + 1] == pytest.approx(math.cos(angle), abs=1e-6)
    assert pretraining.sinusoids(4, 5).shape == (4, 5)


def test_interval_is_wilsons():
    low, high = pretraining.interval(0.5, 100)
    assert (low, high) == (pytest.approx(40.383, abs=2e-3), pytest.approx(59.617, abs=2e-3))
    assert pretraining.interval(1.0, 10)[0] == pytest.approx(72.25, abs=0.01)


# -- bad input -----------------------------------------------------------------------------------------


def bad(folder, match, error=TrainingError, **changes):
    with pytest.raises(error, match=match):
        recipes.run(recipe(**changes), "smoke", 0, data_dir=folder, progress=False)


def test_options_that_cannot_be_meant(folder):
    options = recipe().options
    bad(folder, "add up to 1", options={**options, "phases": [[1, 0.5, 1e-3]]})
    bad(folder, "learning rate", options={**options, "phases": [[1, 0.5], [2, 0.5]]})
    bad(folder, "at least one layer", options={**options, "phases": [[0, 0.5, 1e-3], [2, 0.5, 1e-3]]})
    bad(folder, "must end with the model's 2 layers", options={**options, "phases": [[1, 1.0, 1e-3]]})
    bad(folder, "shares of max_steps", settings=Settings(epochs=1, batch_size=8, max_length=24))
    bad(folder, "algorithm1", UnknownNameError, method="pretrain_mpobert", options={"init": "algoritm1"})
    bad(folder, "whole_words", UnknownNameError, method="continue_albert", options={"whole_word": True})


def test_a_given_tokenizer_that_is_not_there_or_hides_nothing(folder, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a recipe names no path of a machine
    options = {key: value for key, value in recipe().options.items() if key != "vocabulary"}
    bad(folder, "one of the two", options={**options, "vocabulary": 60, "tokenizer": "albert-mini"})
    bad(folder, "does not exist", ModelNotFoundError, options={**options, "tokenizer": "./nowhere"})
    (tmp_path / "empty").mkdir()
    bad(folder, "no tokenizer is there", ModelNotFoundError, options={**options, "tokenizer": "empty"})
    bad(folder, "no mask_token", options={**options, "tokenizer": "gpt2-mini"})
    for kind in ("pad", "mask"):
        lacking = copy.deepcopy(tokenizer)
        setattr(lacking, f"{kind}_token", None)
        lacking.save_pretrained(tmp_path / kind)
        bad(folder, rf"has no {kind}_token, and", options={**options, "tokenizer": kind})


def test_a_text_that_is_not_there_empty_or_not_utf8(tmp_path):
    with pytest.raises(DataNotFoundError, match="--source offline"):
        recipes.run(recipe(), "smoke", 0, progress=False)
    with pytest.raises(DataNotFoundError, match="no text called 'tales'"):
        recipes.run(recipe(), "smoke", 0, data_dir=tmp_path, progress=False)
    (tmp_path / "tales.train.txt").write_text("")
    (tmp_path / "tales.valid.txt").write_text("something")
    with pytest.raises(DataError, match="has no text"):
        recipes.run(recipe(), "smoke", 0, data_dir=tmp_path, progress=False)
    (tmp_path / "tales.train.txt").write_bytes("caf\xe9 au lait\n".encode("latin-1") * 50)
    with pytest.raises(DataError, match="UTF-8"):
        recipes.run(recipe(), "smoke", 0, data_dir=tmp_path, progress=False)


def test_a_tokenizer_with_more_entries_than_the_model(data, tokenizer):
    model = albert(tokenizer)
    larger = train_tokenizer([novel(0) + " ".join(map(str, range(100, 200)))] * 2, 90, 32, progress=False)
    with pytest.raises(TrainingError, match="beyond its vocabulary"):
        training.pretrain(model, larger, data, Settings(max_steps=1, batch_size=4, max_length=24), progress=False)
