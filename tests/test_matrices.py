"""The list of matrices and their labels. The tiny random models here test the code; they stand for no result."""

from __future__ import annotations

import importlib.util
import re

import pytest
import torch
from small import message, save_family
from torch import nn

from mpolab import models, pretrained
from mpolab.errors import UnknownNameError

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(models.PACKAGE_MODULE) is None,
    reason=f"the package {models.PACKAGE} is not installed (`make model`)",
)


@pytest.fixture
def saved(tmp_path):
    """saved(kind) -> a folder with a tiny model of that kind."""
    return lambda kind, name="tiny": save_family(tmp_path / name, kind)


def test_the_facade_has_both_rooms():
    from mpolab import matrices

    for name in models.__all__:
        assert getattr(models, name) is getattr(matrices if hasattr(matrices, name) else pretrained, name)


# ------------------------------------------------------------------------------------------------ the real model


@pytest.fixture(scope="module")
def minilm():
    if importlib.util.find_spec(models.PACKAGE_MODULE) is None:
        pytest.skip(f"the package {models.PACKAGE} is not installed (`make model`)")
    folder, source = pretrained._from_package()
    return pretrained._load(folder, models.MINILM, "offline package", source, pretrained._Form())


@needs_package
def test_the_matrices_of_the_real_model(minilm):
    found = models.matrices(minilm)
    assert len(found) == 1 + 6 * 6 + 1  # word embedding; q, k, v, output, two FFN in six layers; pooler
    assert next(iter(found)) == "embeddings.word_embeddings" and list(found)[-1] == "pooler.dense"
    assert [m.label for m in found.values()][1:8] == [
        "L0 query", "L0 key", "L0 value", "L0 attention output", "L0 FFN in", "L0 FFN out", "L1 query",
    ]  # fmt: skip
    shapes = {"word embedding": (30522, 384), "FFN in": (1536, 384), "FFN out": (384, 1536)}
    for name, m in found.items():
        assert m.name == name and m.shape == shapes.get(m.kind, (384, 384)), m
        assert not m.weight.requires_grad and m.weight.dtype == torch.float32
        assert m.layer == (int(re.search(r"layer\.(\d)", name)[1]) if "layer." in name else None)
    # the sum of all matrices and what is left over: biases, LayerNorms, positions, token types
    weights = sum(m.weight.numel() for m in found.values())
    small = 512 * 384 + 2 * 384 + 2 * 384 + 6 * (3 * 384 + 384 + 1536 + 384 + 4 * 384) + 384
    assert weights + small == minilm.parameters == 22_713_216
    assert len(models.matrices(minilm.model, include_small=True)) == 40
    embedding = found["embeddings.word_embeddings"].weight
    assert embedding.data_ptr() == minilm.model.embeddings.word_embeddings.weight.data_ptr()  # a view, no copy


@needs_package
def test_select(minilm):
    assert list(models.select(minilm, "layer.0.*query")) == ["encoder.layer.0.attention.self.query"]
    assert len(models.select(minilm, "QUERY")) == 6
    assert [m.label for m in models.select(minilm, "^L5 ffn").values()] == ["L5 FFN in", "L5 FFN out"]
    with pytest.raises(UnknownNameError) as error:
        models.select(minilm, "encoder.layer.7.attention.self.query")
    message(
        error, "unknown matrix 'encoder.layer.7.attention.self.query'", "Did you mean", "'encoder.layer.0.attention",
        "'embeddings.word_embeddings'", "38 in all",
    )  # fmt: skip
    with pytest.raises(UnknownNameError) as error:
        models.select(minilm, "query(")
    message(error, "'query(' is not a regular expression", "Write for example")


# ---------------------------------------------------------------------------------------------- kinds and labels

ATTENTION = ["query", "key", "value", "attention output"]
BERT = ["word embedding", *(f"L{i} {kind}" for i in (0, 1) for kind in [*ATTENTION, "FFN in", "FFN out"])]
ENCODER = [f"enc L{i} {kind}" for i in (0, 1) for kind in [*ATTENTION, "FFN in", "FFN out"]]
DECODER = [
    f"dec L{i} {kind}"
    for i in (0, 1, 2)
    for kind in [*ATTENTION, *(f"cross {kind}" for kind in ATTENTION), "FFN in", "FFN out"]
]
GPT2 = [f"L{i} {kind}" for i in (0, 1) for kind in ["query+key+value", "attention output", "FFN in", "FFN out"]]
GATED = [part for label in ENCODER + DECODER for part in (
    [label.replace("in", "gate"), label] if label.endswith("FFN in") else [label])]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("bert", [*BERT, "pooler"]),
        ("bert masked", BERT),
        ("roberta", [*BERT, "pooler"]),
        ("distilbert", BERT),
        ("albert", ["word embedding", "embedding projection",
                    *(f"G0 {kind}" for kind in [*ATTENTION, "FFN in", "FFN out"]), "pooler"]),
        ("gpt2", ["word embedding", *GPT2]),
        ("t5", ["word embedding", *ENCODER, *DECODER]),
        ("t5 gated", ["word embedding", *GATED]),
    ],
)  # fmt: skip
def test_kinds_and_labels(saved, kind, labels):
    loaded = models.load_pretrained(saved(kind))
    found = models.matrices(loaded)
    assert sorted(m.label for m in found.values()) == sorted(labels)
    for name, m in found.items():
        assert models.short_label(name) == m.label
        layer = re.search(r"\b[LG](\d+) ", m.label)
        assert m.layer == (int(layer[1]) if layer else None)
        expected = re.sub(r"^(enc |dec )?[LG]\d+ (cross )?", "", m.label).replace("FFN gate", "FFN in")
        assert m.kind == ("other" if expected == "embedding projection" else expected)
        assert "position" not in m.label
        width = {"FFN in": (32, 16), "FFN out": (16, 32), "query+key+value": (48, 16)}.get(m.kind, (16, 16))
        if kind == "gpt2" and m.kind.startswith("FFN"):
            width = {"FFN in": (64, 16), "FFN out": (16, 64)}[m.kind]
        if m.layer is not None:
            assert m.shape == width
    small = set(models.matrices(loaded, include_small=True)) - set(found)
    assert len(small) == {"gpt2": 1, "distilbert": 1, "t5": 2, "t5 gated": 2}.get(kind, 2)


def test_albert_holds_its_layers_once(saved):
    loaded = models.load_pretrained(saved("albert"))
    assert "12 layers" in loaded.describe()
    found = models.matrices(loaded)
    assert found["embeddings.word_embeddings"].shape == (50, 8)
    assert found["encoder.embedding_hidden_mapping_in"].shape == (16, 8)
    assert models.short_label("encoder.albert_layer_groups.1.albert_layers.2.ffn") == "G1.2 FFN in"


def test_an_encoder_decoder_says_both_depths(saved):
    assert "T5Model, 2 + 3 layers, hidden size 16" in models.load_pretrained(saved("t5")).describe()


def test_orientation_is_that_of_linear(saved):
    """Every module computes x @ W.T (+ b) with the W that is listed, GPT-2's transposed ones included."""
    for kind in ("gpt2", "bert"):
        loaded = models.load_pretrained(saved(kind, kind))
        for name, m in models.matrices(loaded, include_small=True).items():
            module = loaded.model.get_submodule(name)
            if isinstance(module, nn.Embedding):
                assert torch.equal(module(torch.arange(2)), m.weight[:2])
                continue
            x = torch.randn(3, m.shape[1], generator=torch.Generator().manual_seed(0))
            torch.testing.assert_close(module(x), x @ m.weight.T + module.bias)


def test_any_torch_model_and_shared_tensors():
    net = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(3, 4), "norm": nn.LayerNorm(3)})
    net["b"].weight = net["a"].weight
    found = models.matrices(net)
    assert list(found) == ["a"] and (found["a"].kind, found["a"].layer, found["a"].label) == ("other", None, "a")
    two = nn.ModuleDict({part: nn.ModuleDict({"query": nn.Linear(3, 4)}) for part in "xy"})
    assert [m.label for m in models.matrices(two).values()] == ["x.query", "y.query"]  # "query" would be ambiguous
    assert repr(found["a"]) == "Matrix(a: other, 4 x 3)"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("transformer.h.11.attn.c_attn", "L11 query+key+value"),
        ("transformer.h.3.crossattention.c_attn", "L3 cross key+value"),
        ("transformer.h.3.crossattention.q_attn", "L3 cross query"),
        ("bert.encoder.layer.10.crossattention.self.key", "L10 cross key"),
        ("decoder.block.0.layer.1.EncDecAttention.o", "dec L0 cross attention output"),
        ("model.layers.2.mlp.gate_proj", "L2 FFN gate"),
        ("model.decoder.layers.2.fc1", "dec L2 FFN in"),
        ("cls.predictions.transform.dense", "cls.predictions.transform.dense"),
    ],
)
def test_labels_of_models_not_at_hand(name, label):
    assert models.short_label(name) == label
