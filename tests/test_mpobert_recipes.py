"""MPOBERT's fine-tuning experiments: few shots, and variants made from an ALBERT."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import tiny_tokenizer
from transformers import AlbertConfig, AlbertForSequenceClassification

from mpolab import mpobert_recipes as module
from mpolab import recipes
from mpolab.data import load_task
from mpolab.errors import DataError, TrainingError, UnknownNameError
from mpolab.jobs import Recipe
from mpolab.mpobert import MPOBertForSequenceClassification


@given(st.lists(st.sampled_from("abc"), min_size=12, max_size=60), st.integers(1, 4), st.integers(0, 5))
def test_shots_are_so_many_of_each_class_and_nested(labels, shots, seed):
    rows = [{"id": k, "label": label} for k, label in enumerate(labels)]
    counts = Counter(labels)
    if min(counts.values()) < shots:
        with pytest.raises(DataError, match=f"{shots} rows of each class"):
            module.few(rows, shots, seed)
        return
    found = module.few(rows, shots, seed)
    assert Counter(row["label"] for row in found) == dict.fromkeys(counts, shots)
    assert [row["id"] for row in found] == sorted(row["id"] for row in found)
    assert found == module.few(rows, shots, seed)
    fewer = module.few(rows, 1, seed)
    assert all(row in found for row in fewer)


def test_draws_differ():
    rows = [{"id": k, "label": k % 2} for k in range(100)]
    assert len({tuple(row["id"] for row in module.few(rows, 10, seed)) for seed in range(5)}) == 5


def test_every_recipe_is_complete():
    names = [name for name in recipes.RECIPES if name.startswith("table")]
    # Table 1, with more rows, Table 2, at a rate of its own, Tables 3, 4 and 5, with more rows
    assert len(names) == 27 + 3 + 3 + 1 + 18 + 15 + 5
    for name in names:
        recipe = recipes.RECIPES[name]
        assert set(recipe.options) <= set(recipes.METHODS[recipe.method].options)
        assert len(recipe.seeds) == (5 if recipe.method == "few_shot" else 3)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "build" / "runs"))
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MPOLAB_SCALE", raising=False)
    return tmp_path


def few_recipe(model="minilm", **options) -> Recipe:
    recipe = recipes.RECIPES["table3-sst-2-minilm-10"]
    return Recipe(
        name="few", about="a test", task="SST-2", model=model, method="few_shot", source="offline",
        options=options or {"shots": 3}, settings=recipe.settings, select=0, scales={"smoke": {"dev": 16, "epochs": 1}},
    )  # fmt: skip


def test_a_run_sees_only_its_shots(elsewhere):
    record = recipes.run(few_recipe(), "smoke", 1, progress=False)
    assert record.data["rows"]["train"] == 6 and "select" not in record.data["rows"]
    assert record.best_step is None and set(record.scores) == {"dev"}


def test_shots_that_cannot_be_had(elsewhere):
    for options, match in (({"shots": 0}, "at least 1"), ({"shots": "ten"}, "at least 1")):
        with pytest.raises(TrainingError, match=match):
            recipes.run(few_recipe(**options), "smoke", 0, progress=False)
    with pytest.raises(DataError, match="of each class"):
        recipes.run(few_recipe(shots=10**6), "smoke", 0, progress=False)
    data = load_task("STS-B", source="offline", sizes={"train": 8, "dev": 4})
    job = SimpleNamespace(recipe=SimpleNamespace(options={"shots": 2}), data=data)
    with pytest.raises(TrainingError, match="regression"):
        module.check_shots(job)


# -- variants ------------------------------------------------------------------------------------------


def job(model, **options):
    recipe = SimpleNamespace(options=options, model="albert")
    return SimpleNamespace(recipe=recipe, pretrained=SimpleNamespace(model=model), model=model, seed=0)


def albert():
    torch.manual_seed(0)
    shape = {"vocab_size": 60, "embedding_size": 8, "hidden_size": 24, "num_attention_heads": 2,
             "intermediate_size": 48, "num_hidden_layers": 3, "num_labels": 3}  # fmt: skip
    return AlbertForSequenceClassification(AlbertConfig(**shape)).eval()


@pytest.mark.parametrize("changes", [{}, {"adapter_rank": 4}, {"num_central_groups": 3}], ids=str)
def test_every_variant_starts_as_its_albert(changes):
    source = albert()
    made = job(source, layers=3, init="copy", changes=changes)
    module.make_variant(made)
    assert isinstance(made.model, MPOBertForSequenceClassification)
    ids = torch.randint(5, 60, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(made.model.eval()(ids).logits, source(ids).logits, rtol=1e-3, atol=1e-4)
    layer = made.model.albert.encoder.layers[0].matrices["query"]
    assert (layer.adapter is None) == (not changes.get("adapter_rank"))
    assert len(made.model.albert.encoder.groups) == changes.get("num_central_groups", 1)


def test_variants_that_cannot_be_made():
    with pytest.raises(UnknownNameError, match="copy"):
        module.check_variant(job(None, init="cpoy"))
    from transformers import BertConfig, BertForSequenceClassification

    bert = BertForSequenceClassification(
        BertConfig(vocab_size=60, hidden_size=24, num_attention_heads=2, intermediate_size=48, num_hidden_layers=1)
    )
    with pytest.raises(TrainingError, match="expected an ALBERT"):
        module.make_variant(job(bert))


def test_a_variant_trains_from_a_folder(elsewhere, monkeypatch):
    folder = elsewhere / "albert"
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    model = AlbertForSequenceClassification(
        AlbertConfig(vocab_size=len(tokenizer), embedding_size=8, hidden_size=24, num_attention_heads=2,
                     intermediate_size=48, num_hidden_layers=2)
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    recipe = Recipe(
        name="variant", about="a test", task="SST-2", model="albert", method="mpobert_variant", source="offline",
        options={"layers": 4, "changes": {"adapter_rank": 2}}, scales={"smoke": {"train": 8, "select": 4, "dev": 4,
                 "max_steps": 2, "batch_size": 4, "max_length": 16}},
    )  # fmt: skip
    monkeypatch.chdir(elsewhere)
    record = recipes.run(recipe, "smoke", 0, progress=False)
    assert record.steps == 2 and record.trainable == record.total
