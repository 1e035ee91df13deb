"""Every draw function draws, returns nothing, and leaves no figure behind."""

from __future__ import annotations

import ast
import inspect
import itertools

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.textpath import TextPath
from transformers import GPT2Config, GPT2LMHeadModel

from mpolab import charts, to_moe, viz
from mpolab.layers import MPOLinear
from mpolab.moe_layer import MoELayer
from mpolab.mpobert import MPOBertModel
from mpolab.mpobert_config import MPOBertConfig


def shared_layers():
    with torch.device("meta"):
        return MPOBertModel(MPOBertConfig.preset("mpobert-mini", num_hidden_layers=2))


def mixture(kind):
    with torch.device("meta"):
        return to_moe(GPT2LMHeadModel(GPT2Config(n_embd=64, n_head=2, n_layer=1, vocab_size=99)), kind, experts=2)


def first(model):
    return next(module for module in model.modules() if isinstance(module, MoELayer))


BONDS = [1, 4, 9, 4, 1]
DRAWN = {
    "draw_chain": lambda ax: viz.draw_chain(
        ax, (2, 3, 3, 2), (2, 3, 3, 2), BONDS, [1, 4, 36, 4, 1], [1, 2, 1], 2, [0, 1, 0]
    ),
    "draw_budget": lambda ax: viz.draw_budget(ax, [0.1, 0.2, 0.0], 0.6),
    "draw_curves": lambda ax: viz.draw_curves(ax, [1, 10, 100], {"measured": [3, 2, 1]}, log="xy", mark=10),
    "draw_spectra": lambda ax: viz.draw_spectra(ax, {"real": [3, 2, 1], "random, same": [2, 2, 2]}),
    "draw_entropies": lambda ax: viz.draw_entropies(ax, {"real, s²/sum s²": [1, 2], "real, s/sum s": [1, 1]}, [4, 9]),
    "draw_shares": lambda ax: viz.draw_shares(ax, {"parameters": [0.2, 0.7, 0.1]}, 1),
    "draw_methods": lambda ax: viz.draw_methods(
        ax, {"SVD": ([0.1, 0.2], [0.5, 0.4])}, mark=0.1, spread={"SVD": [(0.4, 0.6)] * 2}
    ),
    "draw_bars": lambda ax: viz.draw_bars(ax, {"dense": 1.0, "rebuilt": 2e6, "chained": None}, log=True),
    "draw_heatmap": lambda ax: viz.draw_heatmap(ax, [[1, np.nan], [2, 3]], ["a", "b"], ["c", "d"]),
    "draw_trained": lambda ax: viz.draw_trained(ax, {"query": (1000, 5000), "FFN in": (10, 20)}),
    "draw_grid": lambda ax: viz.draw_grid(ax, [[1, np.nan], [0.2, 0.3]], ["a", "b"], ["c", "d"], mark=(0, 1)),
    "draw_scores": lambda ax: viz.draw_scores(ax, {"full": (1.0, 80, 79, 81), "MPOP": (0.5, 78, 70, 79)}, mark=0.7),
    "draw_seeds": lambda ax: viz.draw_seeds(ax, {"a": [1.0, 2.0, 4.0], "b": [3.0]}, floor=2.5),
    "draw_sizes": lambda ax: viz.draw_sizes(ax, {"a": (10, 12, 80.0), "b": (90, 24, 82.0)}, own=["b"]),
    "draw_growth": lambda ax: viz.draw_growth(
        ax, [3, 6, 12], {"theory": [[1, 2], [2, 3], [4, 5]], "own": [[1, 1]] * 3}, front="theory", fits={"own": (0, 1)}
    ),
    "draw_slopes": lambda ax: viz.draw_slopes(ax, {"theory": {"auxiliary": (-1, 0.1), "centre": (0.5, 0)}}),
    "draw_layers": lambda ax: viz.draw_layers(
        ax, [[0.5, 0.9, 0.7], [np.nan, 0.2, 0.3]], ["a", "b"], groups=["x", "y"], mark=1
    ),
    "draw_probe": lambda ax: viz.draw_probe(ax, {"one": ([0.5, 0.9], [0.4, 0.4], 0.3)}, mark=1),
    "draw_owners": lambda ax: viz.draw_owners(ax, [0, 0, 1, 1], [9, 50, 700, 50, 9], 2, rank=4),
    "draw_parts": lambda ax: viz.draw_parts(ax, {"BERT": {"dense": 9.0}, "MPOBERT": {"central": 1.0, "rest": 0.5}}),
    "draw_routed_text": lambda ax: viz.draw_routed_text(ax, ["It", " was", "\n", " dark"], [[0], [9, 1], [], [17]], 18),
    "draw_shaded_text": lambda ax: viz.draw_shaded_text(ax, ["It", " was"], [0.5, np.nan], 0.25, label="probability"),
    "draw_load": lambda ax: viz.draw_load(ax, [0.5, 0.3, 0.2, 0.0]),
    "draw_distances": lambda ax: viz.draw_distances(ax, [[0, 0.1], [0.1, 0]]),
    "draw_runs": lambda ax: viz.draw_runs(
        ax, {"p_b = 0": ([0, 5], [[0, 0], [1, 2]]), "p_b = 1": ([0], [[1]])}, front="p_b = 0", mark=5, level=(1, "even")
    ),
    "draw_mpop": lambda ax: viz.draw_mpop(ax, MPOLinear.from_linear(torch.nn.Linear(64, 64))),
    "draw_mpobert": lambda ax: viz.draw_mpobert(ax, shared_layers()),
    "draw_moe_and_mpoe": lambda ax: viz.draw_moe_and_mpoe(ax, first(mixture("moe")), first(mixture("mpoe"))),
    "draw_mpoe": lambda ax: viz.draw_mpoe(ax, mixture("mpoe")),
    "draw_matrix": lambda ax: viz.draw_matrix(ax, [[1, -1], [0, 2]]),
}


def test_every_draw_function_is_drawn_here():
    names = {name for name, _ in inspect.getmembers(viz, inspect.isfunction) if name.startswith("draw_")}
    assert names == set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_drawing(name):
    figure, (ax,) = viz.figure(4, 3)
    blank = viz.png(figure)
    assert DRAWN[name](ax) is None
    drawn = viz.png(figure)
    assert drawn.startswith(b"\x89PNG") and drawn != blank
    assert drawn == viz.png(figure)  # the same picture every time


def test_seeds_stand_at_their_values_and_the_stroke_at_their_mean():
    _, (ax,) = viz.figure()
    viz.draw_seeds(ax, {"a": [1.0, 2.0, 6.0], "b": [5.0]}, floor=2.5)
    rings, stroke, *_ = ax.lines
    assert list(rings.get_xdata()) == [1, 2, 6] and set(rings.get_ydata()) == {0}
    assert list(stroke.get_xdata()) == [3, 3] and list(ax.lines[-1].get_xdata()) == [2.5, 2.5]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"] and ax.yaxis_inverted()


def test_growth_goes_through_geometric_means_and_the_fit_is_a_power():
    _, (ax,) = viz.figure()
    viz.draw_growth(ax, [3, 6, 12], {"a": [[1, 4], [2, 8], [9, 9]], "b": [[5]] * 3}, front="a", fits={"a": (2, 0.5)})
    flat, mean, dashed = ax.lines  # the one in front is drawn last
    assert list(flat.get_ydata()) == pytest.approx([5] * 3) and list(mean.get_ydata()) == pytest.approx([2, 4, 9])
    assert mean.get_linewidth() > flat.get_linewidth() and list(dashed.get_ydata()) == [4.5, 18, 72]
    (band,) = ax.collections
    assert band.get_paths()[0].get_extents().ymin == 1 and band.get_paths()[0].get_extents().ymax == 9
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3", "6", "12"]


def test_growth_within_a_decade_still_has_numbers_on_its_axis():
    for values in ([1.5, 3, 7], [62, 80, 99]):
        _, (ax,) = viz.figure()
        viz.draw_growth(ax, [3, 6, 12], {"a": [[y] for y in values]})
        assert len([y for y in ax.get_yticks() if values[0] <= y <= values[-1]]) >= 2
        top = ax.get_ylim()[1]
        viz.draw_growth(ax, [3, 6, 12], {"a": [[y] for y in values]}, room=0.5)
        assert ax.get_ylim()[1] > 1.2 * top


@pytest.mark.parametrize(
    ("value", "text"), [(0.01, "0.01"), (1e5, "100k"), (1e-5, "10⁻⁵"), (2e8, "2·10⁸"), (1e25, "10²⁵"), (0.0, "0")]
)
def test_numbers_far_from_one_are_powers_of_ten(value, text):
    assert charts._far_tick(value, 0) == text


def test_slopes_stand_at_their_values_with_two_errors():
    _, (ax,) = viz.figure()
    viz.draw_slopes(
        ax, {"theory": {"auxiliary": (-1, 0.1), "centre": (0.5, 0.2)}, "copy": {"auxiliary": (1, 0), "centre": (2, 0)}},
        front="copy",
    )  # fmt: skip
    zero, bars, points, _, centres = ax.lines
    assert list(zero.get_xdata()) == [0, 0] and list(points.get_xdata()) == [-1, 1]
    assert list(bars.get_xdata()[:2]) == pytest.approx([-1.2, -0.8]) and np.isnan(bars.get_xdata()[2])
    assert points.get_color() == viz.AUXILIARY and centres.get_color() == viz.CENTRAL
    assert list(centres.get_xdata()) == [0.5, 2] and (centres.get_ydata() > points.get_ydata()).all()
    names = ax.get_yticklabels()
    assert [(name.get_text(), name.get_fontweight()) for name in names] == [("theory", "normal"), ("copy", "bold")]
    assert names[0].get_color() == viz.COLOURS["theory"]


@pytest.mark.parametrize("zero", [viz.draw_budget, viz.draw_bars])
def test_nothing_to_show_is_no_error(zero):
    _, (ax,) = viz.figure()
    zero(ax, [0.0, 0.0], 0.0) if zero is viz.draw_budget else zero(ax, {"dense": 0.0, "none": None}, log=True)


def test_pyplot_is_never_used():
    tree = ast.parse(inspect.getsource(viz))
    assert not any(
        "pyplot" in ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)
    )


def test_a_thicker_bond_means_more_entropy_and_the_centre_is_orange():
    _, (ax,) = viz.figure()
    viz.draw_chain(ax, (2, 3, 2), (2, 3, 2), [1, 4, 4, 1], [1, 4, 4, 1], [0.1, 1.4], 1)
    bonds = [line for line in ax.lines if line.get_ydata()[0] == line.get_ydata()[1]]
    assert bonds[1].get_linewidth() > bonds[0].get_linewidth() + 1
    assert viz.core_colours(3, 1) == [viz.AUXILIARY, viz.CENTRAL, viz.AUXILIARY]


def words(ax, expected):
    """{place: word} of the outlines on the axes, each as one of `expected`; a word is its shape."""
    found = {}
    for collection in ax.collections:
        for place, path in zip(collection.get_offsets().tolist(), collection.get_paths()):
            same = {
                word
                for word, size in itertools.product(expected, (7.5, 8.5, 9))
                for shape in [TextPath((0, 0), word, size=size).vertices]
                if len(shape) == len(path) and np.allclose(shape - shape[0], path.vertices - path.vertices[0])
            }
            assert len(same) == 1, place
            found[tuple(place)] = same.pop()
    return found


def test_the_best_layer_of_each_column_is_in_a_dashed_box_and_layer_0_at_the_bottom():
    _, (ax,) = viz.figure()
    viz.draw_layers(ax, [[0.5, 0.9, 0.9], [0.7, 0.2, 0.3], [np.nan] * 3], ["a", "b", "c"], groups=["x", "x", "y"])
    boxes = ax.patches
    centres = [(box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2) for box in boxes]
    assert np.allclose(centres, [(0, 1), (1, 0)])  # of equals the lowest; nothing in an empty column
    assert {box.get_edgecolor()[:3] for box in boxes} == {to_rgb(viz.BEST)} and all(
        box.get_linestyle() not in ("-", "solid") for box in boxes
    )
    assert not ax.yaxis_inverted()
    read = words(ax, ["90", "70", "50", "20", "30", "a", "b", "c", "x", "y", "0", "1", "2", "layer"])
    assert read[0, 1] == read[0, 2] == "90" and read[1, 0] == "70"
    assert sum(len(word) == 2 and word.isdigit() for word in read.values()) == 6  # none in the empty column
    assert [place for place, word in read.items() if word in ("x", "y")] == [(-0.5, 2.5), (1.5, 2.5)]  # once, on top
    (image,) = ax.images
    shades = image.get_array()
    assert np.allclose(shades[:, 0], [0, 1, 1]) and np.allclose(shades[:, 1], [1, 0, 0.2])  # each column by itself
    _, (plain,) = viz.figure()
    viz.draw_layers(plain, [[0.5, 0.9]], ["a"], limits=[(0.1, 0.9)], written=False)
    assert not words(plain, ["90", "50", "a", "0", "1", "layer"]).keys() & {(0, 0), (0, 1)}
    assert np.allclose(plain.images[0].get_array(), [[0.5], [1]])


def test_a_probe_s_curves_are_accuracy_control_and_majority():
    _, (ax,) = viz.figure()
    viz.draw_probe(ax, {"one": ([0.5, 0.9], [0.4, 0.3], 0.25)}, mark=1)
    accuracy, control, majority, mark = ax.lines
    assert list(accuracy.get_ydata()) == [0.5, 0.9] and accuracy.get_linestyle() == "-"
    assert list(control.get_ydata()) == [0.4, 0.3] and control.get_linestyle() == ":"
    assert set(majority.get_ydata()) == {0.25} and set(mark.get_xdata()) == {1}


def test_sizes_stand_at_size_and_score_as_large_as_they_are_deep():
    _, (ax,) = viz.figure()
    viz.draw_sizes(ax, {"low": (10, 12, 70.0), "high": (100, 24, 90.0)}, own=["high"], beside={"high": "left"})
    low, high = ax.collections
    assert high.get_sizes()[0] == 2 * low.get_sizes()[0] and list(high.get_offsets()[0]) == [100, 90]
    assert [text.get_text() for text in ax.texts] == ["low, 12 layers", "high, 24 layers"]
    assert [text.get_fontweight() for text in ax.texts] == ["normal", "bold"] and ax.get_xscale() == "log"
    assert [text.get_ha() for text in ax.texts] == ["left", "right"]
