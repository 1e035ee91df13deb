"""Counts by formula against models on the meta device, and the panel that shows them."""

from __future__ import annotations

import math

import matplotlib.colors
import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel

from mpolab import viz
from mpolab.errors import BondError, DataError, UnknownNameError
from mpolab.models import MPOBertConfig, MPOBertModel
from mpolab.panels import PANELS
from mpolab.sharing import adapter_counts, albert_counts, bert_counts, mpobert_counts, total

SMALL = {"vocab_size": 60, "embedding_size": 16, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128,
         "max_position_embeddings": 40, "num_hidden_layers": 6}  # fmt: skip


def on_meta(kind, config):
    with torch.device("meta"):
        return kind(config)


def by_part(model):
    """Numbers of a model's parameters by what stands in their names."""
    found = dict.fromkeys(("embeddings", "central", "auxiliary", "adapters", "dense", "rest"), 0)
    for name, parameter in model.named_parameters():
        if name.startswith("embeddings.") or "embedding_hidden_mapping_in" in name:
            part = "embeddings"
        elif "groups." in name and "albert" not in name:
            part = "central"
        elif ".mpo." in name:
            part = "auxiliary"
        elif ".adapter." in name:
            part = "adapters"
        elif parameter.ndim == 2 and "pooler" not in name:
            part = "dense"
        else:
            part = "rest"
        found[part] += parameter.numel()
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_central_groups": 4, "adapter_rank": 3},
        {"num_central_groups": 6},
        {"adapter_rank": 5, "adapter_matrices": ("query", "ffn", "ffn_output")},
        {"share_biases": False},
        {"share_norms": False, "num_hidden_layers": 1},
        {"mpo_n": 3},
        {"mpo_n": 7, "mpo_bond": 9},
        {"mpo_factors": {64: (2, 2, 2, 4, 2)}, "embedding_size": 24},
        {"hidden_size": 60, "intermediate_size": 100},  # 100 is padded for no n here, but its factors are uneven
    ],
)
def test_every_part_of_an_mpobert(changes):
    config = MPOBertConfig(**{**SMALL, **changes})
    counts = mpobert_counts(config)
    assert counts == by_part(on_meta(MPOBertModel, config))
    assert total(counts) == sum(parameter.numel() for parameter in on_meta(MPOBertModel, config).parameters())


@pytest.mark.parametrize(
    "preset, changes, millions",
    [
        ("mpobert-12", {}, 19.4),
        ("mpobert-12", {"adapter_rank": 4}, 19.7),
        ("mpobert-12", {"adapter_rank": 8}, 20.0),
        ("mpobert-24", {}, 46.1),
        ("mpobert-48", {}, 74.5),
        ("mpobert-48plus", {"adapter_rank": 8, "adapter_matrices": ("query", "key", "value")}, 102.0),
    ],
)
def test_the_columns_of_the_paper(preset, changes, millions):
    """facts.md section 3; the model itself is counted in test_mpobert."""
    assert round(total(mpobert_counts(MPOBertConfig.preset(preset, **changes))) / 1e6, 1) == millions


@pytest.mark.parametrize("preset, layers", [("mpobert-12", 12), ("mpobert-24", 3), ("mpobert-mini", 5)])
def test_bert_and_albert_of_the_same_sizes(preset, layers):
    config = MPOBertConfig.preset(preset, num_hidden_layers=layers)
    names = ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers", "max_position_embeddings")
    sizes = {name: getattr(config, name) for name in names}
    bert = on_meta(BertModel, BertConfig(**sizes, vocab_size=30522))
    assert bert_counts(config, 30522) == by_part(bert)
    assert total(bert_counts(config)) == total(by_part(bert)) - (30522 - config.vocab_size) * config.hidden_size
    albert = AlbertConfig(**sizes, vocab_size=config.vocab_size, embedding_size=config.embedding_size)
    assert albert_counts(config) == by_part(on_meta(AlbertModel, albert))


def test_the_known_totals():
    base, large = MPOBertConfig.preset("mpobert-12"), MPOBertConfig.preset("mpobert-24")
    assert total(bert_counts(base, 30522)) == 109_482_240
    assert total(albert_counts(base)) == 11_683_584 and total(albert_counts(large)) == 17_683_968
    for config, layer in ((base, 644_196), (large, 1_182_720)):
        assert total(mpobert_counts(config)) == total(albert_counts(config)) + config.num_hidden_layers * layer
    assert adapter_counts(MPOBertConfig.preset("mpobert-12", adapter_rank=1)) == 4 * 2 * 768


def test_a_config_that_makes_no_model_is_not_counted():
    with pytest.raises(BondError, match="num_central_groups = 7"):
        mpobert_counts(MPOBertConfig(**SMALL, num_central_groups=7))


# -- the panel -------------------------------------------------------------------------------------------


def test_the_panel_shows_the_counts_of_the_paper():
    panel = PANELS["sharing"]()
    assert "MPOBERT 19,413,936" in panel.readout and "one more layer adds 644,196," in panel.readout
    assert "BERT 109,482,240, ALBERT 11,683,584" in panel.readout and "to ALBERT 0" in panel.readout
    panel.set(model="mpobert-48plus", rank=8)
    assert panel.value("layers") == 48 and panel.value("groups") == 3 and "MPOBERT 102,766,080" in panel.readout


@pytest.mark.parametrize("setting", [{"layers": 30, "groups": 7, "rank": 17}, {"hidden": 256, "layers": 5}])
def test_the_sliders_count_the_model_that_they_describe(setting):
    panel = PANELS["sharing"](**setting)
    model = on_meta(MPOBertModel, panel.config())
    assert f"MPOBERT {sum(p.numel() for p in model.parameters()):,} (" in panel.readout
    assert len(model.encoder.layers) == setting["layers"]
    assert model.config.hidden_size == setting.get("hidden", 768)
    assert model.config.intermediate_size == 4 * model.config.hidden_size


def test_groups_end_at_the_layers_and_ranks_at_the_width():
    panel = PANELS["sharing"](model="mpobert-48", groups=40)
    panel.set(layers=20)
    assert panel.controls["groups"].max == 20 and "in 20 groups" in panel.readout
    panel.set(layers=96, groups=96)
    assert "96 layers in 96 groups" in panel.readout  # nothing is left to draw a line to: it still draws
    config = MPOBertConfig(**SMALL)
    assert PANELS["sharing"](config).controls["rank"].max == 64
    assert "BERT 210" not in PANELS["sharing"](config).readout  # and its vocabulary is BERT's, too


def test_a_model_of_one_s_own_stands_beside_the_presets():
    config = MPOBertConfig(**SMALL, adapter_rank=2, num_central_groups=2)
    expected = total(mpobert_counts(config))
    for source in (config, on_meta(MPOBertModel, config)):
        panel = PANELS["sharing"](source)
        assert panel.value("model") == "your model" and f"MPOBERT {expected:,}" in panel.readout
        assert f"BERT {total(bert_counts(config)):,}" in panel.readout
    assert "24 layers" in PANELS["sharing"]("mpobert-24").readout
    for wrong in (AlbertConfig(), "mpobert-13", torch.zeros(3, 3)):
        with pytest.raises(DataError, match="mpobert-48plus"):
            PANELS["sharing"](wrong)
    with pytest.raises(UnknownNameError, match="mpobert-12"):
        PANELS["sharing"](model="mpobert-13")


# -- the pictures ----------------------------------------------------------------------------------------


def extents(collection):
    return [path.get_extents() for path in collection.get_paths()]


def test_a_group_s_centre_spans_its_layers():
    _, (ax,) = viz.figure()
    viz.draw_owners(ax, [0, 0, 0, 1, 1], [10, 100, 1000, 50], 2, rank=4)
    colours = [matplotlib.colors.to_hex(c.get_facecolor()[0]) for c in ax.collections[1:]]  # behind them the bonds
    assert colours == [c.lower() for c in (viz.AUXILIARY, viz.AUXILIARY, viz.AUXILIARY, viz.CENTRAL, viz.ADAPTER)]
    centres = extents(ax.collections[4])
    assert [(round(c.y0), round(c.y1)) for c in centres] == [(0, 2), (3, 4)]
    assert all(c.x0 < 2 < c.x1 for c in centres)
    assert len(extents(ax.collections[1])) == 5 and all(len(extents(c)) == 5 for c in (*ax.collections[1:4],))
    widths = [extents(c)[0].width for c in ax.collections[1:4]]
    assert widths[0] < widths[2] < widths[1] < centres[0].width  # 10, 50, 100, 1000 numbers
    assert [text.get_text() for text in ax.texts][:5] == ["A1", "A2", "C", "A3", "adapter"]


def test_parts_lie_end_to_end_and_their_sum_is_written():
    _, (ax,) = viz.figure()
    viz.draw_parts(ax, {"BERT": {"embeddings": 2.0, "dense": 6.5}, "mine": {"central": 1.0, "auxiliary": 0.25}})
    found = [[(box.x0, box.x1) for box in extents(bar)] for bar in ax.collections]
    assert found == [[(0, 2), (2, 8.5)], [(0, 1), (1, 1.25)]]
    written = [text.get_text() for text in ax.texts]
    assert "8.5" in written and "1.2" in written and written[-1] == "dense"
    assert np.allclose(ax.collections[1].get_facecolor()[0], matplotlib.colors.to_rgba(viz.CENTRAL))
    assert math.isclose(ax.get_xlim()[1], 1.25 * 8.5)
