"""The four architecture figures: every number in them is a count of the object's own Parameters, no words overlap.

Oracles: `numel` of the Parameters, the formulas of `sharing` and `expert_counts`, the gradient mask itself.
"""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from matplotlib.colors import to_hex
from transformers import AlbertConfig, AlbertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from mpolab import anatomy, freeze_central, to_moe, to_mpo, trainable_report, viz
from mpolab.architecture import rows_shown
from mpolab.diagram import SUBSCRIPTS
from mpolab.errors import MatrixTypeError, UnknownNameError
from mpolab.expert_architecture import STEPS, shown_experts
from mpolab.expert_counts import ModelShape, gamma, mpoe_counts, total
from mpolab.experts import DenseExperts, MPOExperts
from mpolab.gradient_mask import GradientMask
from mpolab.layers import MPOEmbedding, MPOLinear
from mpolab.moe_layer import MoELayer
from mpolab.mpobert import MPOBertForMaskedLM, MPOBertModel
from mpolab.mpobert_config import MPOBertConfig
from mpolab.sharing import mpobert_counts
from mpolab.surgery import mpo_layers


def albert(freeze=True, **cut):
    with torch.device("meta"):
        model = AlbertForSequenceClassification(
            AlbertConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, vocab_size=8000)
        )
    model = to_mpo(model, progress=False, **cut)
    return freeze_central(model) if freeze else model


def mpobert(layers=4, groups=1, cls=MPOBertModel, **changes):
    small = {"hidden_size": 64, "intermediate_size": 256, "vocab_size": 500, "num_attention_heads": 2}
    config = MPOBertConfig(
        num_hidden_layers=layers, num_central_groups=groups, embedding_size=32, **{**small, **changes}
    )
    with torch.device("meta"):
        return cls(config)


def gpt2(kind, layers=2, **options):
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=64, n_head=2, n_layer=layers, vocab_size=300, n_positions=32))
    return to_moe(model, kind, **options)


def experts_of(model, number=0):
    return [module for module in model.modules() if isinstance(module, MoELayer)][number]


def drawn(draw, *objects, size=(10, 6), **options):
    _, (ax,) = viz.figure(*size)
    ax.set_position((0.01, 0.01, 0.98, 0.9))
    assert draw(ax, *objects, **options) is None
    return ax


def words(ax):
    return [text.get_text() for text in ax.texts]


def boxes(ax, colour, hatched=None):
    """The (width, height) of all boxes of a colour, or, hatched, of its pale one."""
    found = [patch for patch in ax.patches if hasattr(patch, "get_boxstyle")]
    return [
        (patch.get_width(), patch.get_height())
        for patch in found
        if to_hex(patch.get_facecolor()).upper() == colour and (hatched is None or bool(patch.get_hatch()) == hatched)
    ]


def overlaps(ax):
    """Pairs of words that share ink, and words that leave the axes."""
    ax.apply_aspect()  # as drawing would
    renderer = ax.figure.canvas.get_renderer()
    places = [(text.get_text(), text.get_window_extent(renderer)) for text in ax.texts]
    whole = ax.get_window_extent(renderer).padded(1)
    pairs = [
        (a, b)
        for (a, first), (b, second) in itertools.combinations(places, 2)
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 0.5
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 1.5  # descenders may touch
    ]
    out = [a for a, box in places if not (whole.x0 <= box.x0 and box.x1 <= whole.x1)]
    return pairs + out + [a for a, box in places if not (whole.y0 <= box.y0 and box.y1 <= whole.y1)]


PICTURES = {
    "mpop": (viz.draw_mpop, lambda: [albert(bond={"FFN": 50})]),
    "mpop, n = 9": (viz.draw_mpop, lambda: [albert(n=9)]),
    "mpop, one layer": (viz.draw_mpop, lambda: [MPOLinear.from_linear(torch.nn.Linear(64, 96), n=4, bond=7)]),
    "mpop, one without bias": (viz.draw_mpop, lambda: [MPOLinear.from_linear(torch.nn.Linear(8, 8, bias=False), n=2)]),
    "mpop, padded": (viz.draw_mpop, lambda: [MPOEmbedding.from_embedding(torch.nn.Embedding(997, 64))]),
    "mpobert": (viz.draw_mpobert, lambda: [mpobert(adapter_rank=4)]),
    "mpobert, one layer": (viz.draw_mpobert, lambda: [mpobert(1, share_biases=False, share_norms=False)]),
    "mpobert, 48 in 3 groups": (viz.draw_mpobert, lambda: [mpobert(48, 3, adapter_rank=2)]),
    "mpobert, 12 in 12 groups": (viz.draw_mpobert, lambda: [mpobert(12, 12)]),
    "mpobert, 15 in 5 groups": (viz.draw_mpobert, lambda: [mpobert(15, 5)]),
    "mpobert, n = 9": (viz.draw_mpobert, lambda: [mpobert(9, mpo_n=7, adapter_rank=2)]),
    "mpobert, with a head": (viz.draw_mpobert, lambda: [mpobert(8, 2, MPOBertForMaskedLM)]),
    "mpobert, large": (viz.draw_mpobert, lambda: [mpobert(2, hidden_size=1024, intermediate_size=4096,
                                                          vocab_size=30000, adapter_rank=8)]),
    "moe and mpoe": (viz.draw_moe_and_mpoe, lambda: [experts_of(gpt2(k, experts=8)) for k in ("moe", "mpoe")]),
    "2 and 16": (viz.draw_moe_and_mpoe, lambda: [experts_of(gpt2("moe", experts=2)),
                                                 experts_of(gpt2("mpoe", experts=16, plan=7))]),
    "mpoe": (viz.draw_mpoe, lambda: [gpt2("mpoe", experts=8, mask_probability=0.25)]),
    "mpoe, 2 experts": (viz.draw_mpoe, lambda: [gpt2("mpoe", experts=2, plan=3)]),
    "mpoe, 33 experts": (viz.draw_mpoe, lambda: [gpt2("mpoe", experts=32, keep_dense=True, mask_probability=1.0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_no_words_overlap_at_any_size(name):
    draw, make = PICTURES[name]
    ax = drawn(draw, *make(), title="a title")
    assert overlaps(ax) == []
    sizes = [text.get_fontsize() for text in ax.texts]
    assert min(sizes) > 3.5
    ax.figure.set_size_inches(5, 3)
    assert overlaps(ax) == []
    assert [2 * text.get_fontsize() for text in ax.texts] == pytest.approx(sizes, rel=0.02)
    assert ax.get_title(loc="left") == "a title"


# -- MPOP ------------------------------------------------------------------------------------------------


def test_mpop_shows_every_core_as_it_is():
    model = albert(bond={"FFN": 50})
    path = next(path for path in mpo_layers(model) if path.endswith("ffn_output"))
    layer = mpo_layers(model)[path]
    found = words(drawn(viz.draw_mpop, model, matrix=path))
    for core in layer.cores:
        assert f"{core.numel():,}" in found and " × ".join(map(str, core.shape)) in found
    assert found.count("trains") == 4 and found.count("frozen") == 1
    assert [word for word in found if re.fullmatch("A.|C", word)] == [f"A{k}".translate(SUBSCRIPTS) for k in (1, 2)] + [
        "C"
    ] + [f"A{k}".translate(SUBSCRIPTS) for k in (3, 4)]
    inner, full = layer.bonds[1:-1], layer.plan.full_bonds[1:-1]
    assert [found.count(f"of {d}") for d in full] == [int(now < d) for now, d in zip(inner, full)]
    # squeezing cuts the two bonds beside the centre, and these alone
    said = [word for word in found if word.startswith(("can cut", "cut:"))]
    assert said == [f"cut: {d} of {f}" if d < f else f"can cut {d}" for d, f in list(zip(inner, full))[1:3]]
    assert any(word.startswith("cut: 50 of") for word in said)


def test_mpop_counts_are_those_of_the_report():
    for model in (albert(), albert(freeze=False)):
        report = trainable_report(model)
        ax = drawn(viz.draw_mpop, model)
        found = words(ax)
        for trained, of_all in [*report.kinds.values(), (report.trainable, report.total)]:
            assert f"{trained:,} of {of_all:,} ({trained / of_all:.1%})" in found
        numbers = anatomy.read_mpop(model)
        assert numbers.count() == sum(p.numel() for p in model.parameters())
        assert numbers.count(trains=True) == sum(p.numel() for p in model.parameters() if p.requires_grad)
        centres = sum(layer.central.numel() for layer in mpo_layers(model).values())
        assert numbers.count("central") == centres
        assert numbers.count("auxiliary") == sum(a.numel() for x in mpo_layers(model).values() for a in x.auxiliary)
        # the last bar is the whole model's: the share of orange in it is the centres' share
        frozen = report.trainable < report.total
        pale = "#FBE5B6" if frozen else viz.CENTRAL
        width = max(width for width, height in boxes(ax, pale) if height == 10)
        assert width == pytest.approx(400 * centres / report.total)
        assert frozen == ("hatched: frozen" in found)


def test_one_layer_is_drawn_by_its_tensors():
    layer = MPOLinear.from_linear(torch.nn.Linear(64, 96), n=3, bond=10)
    layer.central.requires_grad_(False)
    found = words(drawn(viz.draw_mpop, layer))
    outer = sum(core.numel() for core in layer.auxiliary)
    assert f"{outer:,} of {outer:,} (100.0%)" in found and f"0 of {layer.central.numel():,} (0.0%)" in found
    assert "96 of 96 (100.0%)" in found and f"{64 * 96:,}" in found and "96 × 64" in found
    assert f"{outer + 96:,} of {layer.parameters_count + 96:,}" in " ".join(found)
    padded = words(drawn(viz.draw_mpop, MPOEmbedding.from_embedding(torch.nn.Embedding(997, 64))))
    assert "zero-padded to 1024 × 64" in padded


# -- MPOBERT ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "groups"), [(1, 1), (4, 1), (10, 1), (21, 3), (15, 5), (12, 12)])
def test_mpobert_counts_are_those_of_the_formula_and_every_layer_is_accounted_for(layers, groups):
    model = mpobert(layers, groups, adapter_rank=3)
    expected = mpobert_counts(model.config)
    found = anatomy.read_mpobert(model)
    assert found.parts == {part: expected[part] for part in found.parts} and expected["dense"] == 0
    assert sum(found.parts.values()) == found.total == sum(p.numel() for p in model.parameters())
    ax = drawn(viz.draw_mpobert, model)
    said = words(ax)
    for part in ("embeddings", "central", "auxiliary", "adapters"):
        assert f"{part} {expected[part]:,}" in said
    assert f"{found.total:,} in all" in said
    own = (expected["auxiliary"] + expected["adapters"]) // layers
    shown = [int(word.split()[1]) for word in said if re.fullmatch(r"layer \d+", word) and word in said]
    shown = sorted(set(shown))
    more = [int(number) for word in said for number in re.findall(r"^… (\d+) more$", word)]
    assert len(shown) + sum(more) == layers and said.count(f"{own:,}") >= len(shown)
    gone = [int(number) for word in said for number in re.findall(r"^… (\d+) more groups?$", word)]
    drawn_groups = {model.config.group(layer) for layer in shown}
    assert len(drawn_groups) + sum(gone) == groups
    # one orange box a group and matrix, dashed where layers share it
    centres = [h for w, h in boxes(ax, viz.CENTRAL) if w == 20]
    assert len(centres) == 6 * len(drawn_groups)
    dashed = [patch for patch in ax.patches if patch.get_linestyle() not in ("-", "solid")]
    sharing = {g for g in drawn_groups if sum(model.config.group(k) == g for k in range(layers)) > 1}
    assert len(dashed) == 6 * len(sharing)


def test_mpobert_shows_shapes_adapters_and_what_is_shared():
    model = mpobert(2, adapter_rank=3, adapter_matrices=("query", "ffn"))
    layer, group = model.encoder.layers[0], model.encoder.groups[0]
    said = words(drawn(viz.draw_mpobert, model))
    for name, matrix in layer.matrices.items():
        assert name in said and " × ".join(map(str, getattr(group, name).shape)) in said
        assert f"{sum(core.numel() for core in matrix.mpo.auxiliary):,}" in said
        if matrix.adapter is not None:
            assert f"rank 3: {sum(p.numel() for p in matrix.adapter.parameters()):,}" in said
    assert sum(word.startswith("rank 3:") for word in said) == 2
    assert f"{sum(p.numel() for p in group.parameters()):,}" in said
    assert "biases and norms of" in said and f"{sum(p.numel() for p in model.encoder.shared.parameters()):,}" in said
    own = words(drawn(viz.draw_mpobert, mpobert(2, share_biases=False)))
    assert "norms of" in own
    assert "all layers, once:" not in words(drawn(viz.draw_mpobert, mpobert(2, share_biases=False, share_norms=False)))
    headed = mpobert(2, cls=MPOBertForMaskedLM)
    outside = sum(
        p.numel() for name, p in headed.named_parameters() if "predictions" in name and "decoder.w" not in name
    )
    assert f"pooler and heads: {outside:,}" in words(drawn(viz.draw_mpobert, headed))


@pytest.mark.parametrize("depth", [1, 3, 8, 9, 10, 24, 48, 49])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 7])
def test_rows_leave_no_layer_out(depth, groups):
    of_layer = [min(k * groups // depth, groups - 1) for k in range(depth)]
    rows = rows_shown(of_layer)
    assert [layer for first, last in rows for layer in range(first, last + 1)] == list(range(depth))
    assert len(rows) <= 10 and rows[0] == (0, 0) and rows[-1] == (depth - 1, depth - 1)
    if len(set(of_layer)) <= 3:  # each group by itself
        assert all(of_layer[first] == of_layer[last] for first, last in rows)
    assert sum(first < last for first, last in rows) <= 4


# -- MPOE ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("biases", ["own", "shared"])
def test_moe_beside_mpoe_counts_both(biases):
    dense, mpo = (experts_of(gpt2(kind, experts=6, biases=biases)) for kind in ("moe", "mpoe"))
    counts = [sum(p.numel() for p in layer.experts.parameters()) for layer in (dense, mpo)]
    ax = drawn(viz.draw_moe_and_mpoe, dense, mpo)
    said = words(ax)
    assert f"{counts[0]:,}" in said and f"{counts[1]:,}, {counts[1] / counts[0]:.3f} of MoE" in said
    centres = sum(centre.numel() for centre in mpo.experts.centres.values())
    own = sum(core[0].numel() for matrix in mpo.experts.matrices.values() for core in matrix.auxiliary)
    assert f"central {centres:,}" in said and f"auxiliary 6 × {own:,}" in said
    assert f"biases {(6 if biases == 'own' else 1) * (64 + 256):,}" in said
    for core in mpo.experts.matrices["up"].cores(0):
        assert " × ".join(map(str, core.shape)) in said
    # 8 bars' worth of grey against orange and blue, to one scale
    grey = max(w for w, h in boxes(ax, viz.MUTED) if h == 14)
    orange = max(w for w, h in boxes(ax, viz.CENTRAL) if h == 14)
    assert grey / orange == pytest.approx(6 * 2 * 64 * 256 / centres)
    assert len([patch for patch in ax.patches if patch.get_linestyle() not in ("-", "solid")]) == 2
    assert said.count("… 3 more") == 2 and said.count("expert 5") == 2 and "expert 3" not in said


def test_experts_without_a_layer_are_drawn_the_same():
    dense, mpo = gpt2("moe", experts=3), gpt2("mpoe", experts=3)
    layers = [experts_of(model) for model in (dense, mpo)]
    assert isinstance(layers[0].experts, DenseExperts) and isinstance(layers[1].experts, MPOExperts)
    one = words(drawn(viz.draw_moe_and_mpoe, *layers))
    assert one == words(drawn(viz.draw_moe_and_mpoe, *(layer.experts for layer in layers)))


def test_mpoe_counts_the_layer_the_router_and_the_model():
    model = gpt2("mpoe", layers=3, experts=4, mask_probability=0.5, keep_dense=True)
    layer = experts_of(model, 1)
    said = words(drawn(viz.draw_mpoe, model, layer=1))
    shape = ModelShape.of(model.config)
    of_model = sum(p.numel() for p in model.parameters())
    assert of_model == total(mpoe_counts(shape, 4, keep_dense=True))
    here = sum(p.numel() for p in layer.parameters())
    assert f"this layer: {here:,} numbers, 5 experts (one is the dense block, kept); the model: {of_model:,}" in said
    router = sum(p.numel() for p in layer.router.parameters())
    assert f"MPOERouter: 64 → 5, {router:,} numbers" in said and f"router {router:,}" in said
    found = anatomy.read_mixture(model, 1)
    assert found.experts.shared / found.experts.own == pytest.approx(gamma(shape))
    assert any("layer 1 of 3 with experts: transformer.h.1.mlp" in word for word in said)
    for name, matrix in layer.experts.matrices.items():
        shape_of = " × ".join(map(str, matrix.central.shape))
        assert f"C of {name}: {shape_of} = {matrix.central.numel():,}, once" in said


@pytest.mark.parametrize(("probability", "seed"), [(0.0, 0), (0.25, 0), (0.5, 3), (1.0, 1)])
def test_the_mask_is_drawn_as_the_gradient_mask_draws_it(probability, seed):
    model = gpt2("mpoe", experts=4, mask_probability=probability, seed=seed)
    ax = drawn(viz.draw_mpoe, model, layer=1)
    mask = GradientMask(model, probability, seed)
    names = {name: f"transformer.h.1.mlp.experts.matrices.{name}.central" for name in ("up", "down")}
    expected = {name: [names[name] in mask.masked(step) for step in range(STEPS)] for name in names}
    cells = {}
    for patch in ax.patches:
        if hasattr(patch, "get_boxstyle") and patch.get_height() == 12:
            cells.setdefault(patch.get_y(), []).append((patch.get_x(), bool(patch.get_hatch())))
    rows = [[hatched for _, hatched in sorted(row)] for _, row in sorted(cells.items())]
    assert rows == [expected["up"], expected["down"]]
    gone = sum(map(sum, rows))
    said = words(ax)
    assert f"discarded: {gone}" in said and f"updated: {2 * STEPS - gone}" in said
    assert any(word.startswith(f"p_b = {probability:g}:") for word in said)
    centres = [patch for patch in ax.patches if hasattr(patch, "get_boxstyle") and patch.get_height() == 17]
    assert {bool(patch.get_hatch()) for patch in centres if patch.get_facecolor()[3]} == {probability == 1}


@pytest.mark.parametrize("count", [1, 2, 4, 8, 9, 64])
def test_experts_left_out_stand_before_the_last(count):
    places = shown_experts(count, 4)
    known = [expert for expert in places if expert is not None]
    assert len(places) == min(count, 4) and known == sorted(set(known)) and known[-1] == count - 1
    assert places.count(None) == (count > 4) and (count <= 4 or places[-2] is None)


# -- what cannot be drawn --------------------------------------------------------------------------------


def test_objects_that_are_not_what_is_drawn():
    dense, mpo = experts_of(gpt2("moe", experts=2)), experts_of(gpt2("mpoe", experts=2))
    _, (ax,) = viz.figure()
    linear = torch.nn.Linear(8, 8)
    with pytest.raises(MatrixTypeError, match=r"a Linear has no MPO layer.*to_mpo"):
        viz.draw_mpop(ax, linear)
    with pytest.raises(MatrixTypeError, match="a str has no MPO layer"):
        viz.draw_mpop(ax, "albert")
    with pytest.raises(UnknownNameError, match=r"unknown MPO layer 'albert\.querry'"):
        viz.draw_mpop(ax, albert(), matrix="albert.querry")
    with pytest.raises(MatrixTypeError, match="AlbertForSequenceClassification has no layers that share"):
        viz.draw_mpobert(ax, albert())
    with pytest.raises(MatrixTypeError, match="a MPOExperts was given; expected dense experts"):
        viz.draw_moe_and_mpoe(ax, mpo, dense)
    with pytest.raises(MatrixTypeError, match="a DenseExperts was given; expected experts with a shared centre"):
        viz.draw_moe_and_mpoe(ax, dense, dense)
    with torch.device("meta"):
        other = GPT2LMHeadModel(GPT2Config(n_embd=32, n_head=2, n_layer=1, vocab_size=30, n_positions=8))
    with pytest.raises(MatrixTypeError, match="made of the same block"):
        viz.draw_moe_and_mpoe(ax, dense, experts_of(to_moe(other, "mpoe", experts=2)))
    with pytest.raises(MatrixTypeError, match="kind='moe' was given"):
        viz.draw_mpoe(ax, gpt2("moe", experts=2))
    with pytest.raises(MatrixTypeError, match="a Linear without experts"):
        viz.draw_mpoe(ax, linear)
    with pytest.raises(UnknownNameError, match="layer with experts 2"):
        viz.draw_mpoe(ax, gpt2("mpoe", experts=2), layer=2)
    assert not ax.texts and not ax.patches  # nothing half drawn
