"""A task's head on a pre-trained body. The tiny random models here test the code; they stand for no result."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from small import message, save_family
from torch import nn

from mpolab import models
from mpolab.errors import CheckpointError, UnknownNameError


@pytest.fixture
def saved(tmp_path):
    """saved(kind) -> a folder with a tiny model of that kind."""
    return lambda kind, name="tiny": save_family(tmp_path / name, kind)


@pytest.mark.parametrize(
    ("kind", "head", "labels", "cls", "new"),
    [
        ("bert", "sequence-classification", 3, "BertForSequenceClassification", "classifier.bias, classifier.weight"),
        ("bert masked", "masked-lm", None, "BertForMaskedLM", ""),
        ("bert masked", "token-classification", 5, "BertForTokenClassification", "classifier.bias, classifier.weight"),
        ("albert", "question-answering", None, "AlbertForQuestionAnswering", "qa_outputs.bias, qa_outputs.weight"),
        ("distilbert", "sequence-classification", 2, "DistilBertForSequenceClassification",
         "classifier.bias, classifier.weight, pre_classifier.bias, pre_classifier.weight"),
        ("gpt2", "causal-lm", None, "GPT2LMHeadModel", ""),
        ("gpt2", "sequence-classification", 1, "GPT2ForSequenceClassification", "score.weight"),
        ("t5", "question-answering", None, "T5ForQuestionAnswering", "qa_outputs.bias, qa_outputs.weight"),
        ("t5", "sequence-classification", 2, "T5ForSequenceClassification",
         "classification_head.dense.bias, classification_head.dense.weight, classification_head.out_proj.bias, "
         "classification_head.out_proj.weight"),
    ],
)  # fmt: skip
def test_a_head_is_put_on_the_same_body(saved, kind, head, labels, cls, new):
    folder = saved(kind)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    loaded = models.load_pretrained(folder, head=head, num_labels=labels, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert type(loaded.model).__name__ == cls and ", ".join(loaded.new) == new
    assert loaded.describe().endswith(f", new from seed 4: {new}" if new else "parameters")
    if labels is not None:
        assert loaded.model.config.num_labels == labels
    # the body is the file's, the head is the seed's
    body = models.load_pretrained(folder).model.state_dict()
    prefix = loaded.model.base_model_prefix
    for name, tensor in loaded.model.state_dict().items():
        plain = name.removeprefix(f"{prefix}.")
        assert name in loaded.new or plain not in body or torch.equal(tensor, body[plain]), name
    if new:
        same, other = (models.load_pretrained(folder, head=head, num_labels=labels, seed=seed) for seed in (4, 5))
        weight = next(name for name in loaded.new if name.endswith("weight"))
        assert torch.equal(same.model.state_dict()[weight], loaded.model.state_dict()[weight])
        assert not torch.equal(other.model.state_dict()[weight], loaded.model.state_dict()[weight])


def test_a_trained_head_is_kept_or_replaced_by_another_width(saved, tmp_path):
    first = models.load_pretrained(saved("bert"), head="sequence-classification", num_labels=3, seed=1)
    with models.quiet_transformers():
        first.model.save_pretrained(tmp_path / "three")
    kept = models.load_pretrained(tmp_path / "three", head="sequence-classification")
    assert kept.new == () and torch.equal(kept.model.classifier.weight, first.model.classifier.weight)
    other = models.load_pretrained(tmp_path / "three", head="sequence-classification", num_labels=2)
    assert other.new == ("classifier.bias", "classifier.weight") and other.model.classifier.out_features == 2
    assert "new from seed 0: classifier.bias, classifier.weight" in other.describe()


def test_a_pooler_that_a_head_reads_is_new_as_well(saved):
    loaded = models.load_pretrained(saved("bert masked"), head="sequence-classification", num_labels=2)
    assert loaded.new == ("bert.pooler.dense.bias", "bert.pooler.dense.weight", "classifier.bias", "classifier.weight")


def test_a_head_does_not_excuse_a_body_of_another_model(saved):
    folder = saved("bert")
    shutil.copy(saved("gpt2", "other") / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained(folder, head="sequence-classification", num_labels=2)
    message(error, "tensors of BertForSequenceClassification are missing", "random numbers", "another model")
    folder = saved("bert", "wider")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained(folder, head="sequence-classification", num_labels=2)
    message(error, "of another shape", "intermediate.dense")


def test_settings_of_the_model(saved):
    folder = saved("bert")
    still = models.load_pretrained(folder, head="sequence-classification", num_labels=1, dropout=0.0,
                                   config={"problem_type": "regression"})  # fmt: skip
    assert {m.p for m in still.model.modules() if isinstance(m, nn.Dropout)} == {0.0}
    assert still.model.config.problem_type == "regression"
    gpt2 = models.load_pretrained(saved("gpt2", "gpt2"), dropout=0.25).model
    assert {m.p for m in gpt2.modules() if isinstance(m, nn.Dropout)} == {0.25}


def test_heads_that_do_not_exist(saved):
    with pytest.raises(UnknownNameError) as error:
        models.load_pretrained(saved("bert"), head="sequence_classification")
    message(error, "unknown head", "Did you mean 'sequence-classification'")
    with pytest.raises(UnknownNameError) as error:
        models.load_pretrained(saved("bert"), num_labels=2)
    message(error, "num_labels=2 without a head")
    with pytest.raises(UnknownNameError) as error:
        models.load_pretrained(saved("bert"), config={"hiden_size": 3})
    message(error, "unknown entry of BertConfig 'hiden_size'", "Did you mean 'hidden_size'")
    with pytest.raises(CheckpointError) as error:
        models.load_pretrained(saved("t5"), head="masked-lm")
    message(error, "cannot be loaded", "T5Config")
