"""The pictures of experts: each token in its place and colour, bars, shades and bands at their numbers."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mpolab import viz
from mpolab.expert_charts import APART, HUES, NOBODY, SIZES, _is_dark, _width, _wrapped, shown_as
from mpolab.look import outline

TOKENS = ["It", " was", " a", " bright", " cold", " day", ",", "\n", "and", " so", " on", "."]


def boxes(ax):
    """[(x, y of the middle, width, height, fill, frame)], in points from the upper left corner."""
    (found,) = [c for c in ax.collections if type(c).__name__ == "PolyCollection"]
    corners = [path.vertices for path in found.get_paths()]
    rgb = lambda colours: [tuple(np.round(colour[:3], 6)) for colour in colours]  # noqa: E731
    return [
        (c[0, 0], (c[0, 1] + c[2, 1]) / 2, c[1, 0] - c[0, 0], c[2, 1] - c[1, 1], fill, frame)
        for c, fill, frame in zip(corners, rgb(found.get_facecolors()), rgb(found.get_edgecolors()))
    ]


def rgb(colour):
    return tuple(np.round(to_rgb(colour), 6))


def written(ax, words):
    """{word: [(x, y)]}: outlines are known by their shape."""
    found = {word: [] for word in words}
    for collection in ax.collections:
        if type(collection).__name__ == "PathCollection":
            for place, path in zip(collection.get_offsets().tolist(), collection.get_paths()):
                for word, size in itertools.product(words, (6.5, 7.5, 8, 8.5, 9, 10, 12)):
                    same = outline(word, size, 0.5).vertices
                    if same.shape == path.vertices.shape and np.allclose(
                        same - same[0], path.vertices - path.vertices[0]
                    ):
                        found[word].append(tuple(place))
    return found


def test_every_token_is_in_the_box_of_its_expert_in_reading_order():
    _, (ax,) = viz.figure(6, 3)
    experts = [[k % 3] for k in range(len(TOKENS))]
    viz.draw_routed_text(ax, TOKENS, experts, 3)
    found = boxes(ax)[: len(TOKENS)]
    assert [fill for *_, fill, _ in found] == [rgb(viz.expert_colours(k % 3)[0]) for k in range(len(TOKENS))]
    assert all(b[1] > a[1] or (b[1] == a[1] and b[0] >= a[0] + a[2]) for a, b in itertools.pairwise(found))
    places = written(ax, ["It", "bright", "day", "↵", "and"])
    for word, k in (("It", 0), ("bright", 3), ("day", 5), ("↵", 7), ("and", 8)):
        assert places[word] == [pytest.approx((found[k][0] + found[k][2] / 2, found[k][1]))]
    assert found[8][0] == 0 and found[8][1] > found[7][1] == found[0][1]  # after the line break
    assert (
        found[6][0] - found[5][0] - found[5][2] < 1 < found[5][0] - found[4][0] - found[4][2]
    )  # ", " is part of a word


def test_a_word_is_broken_only_if_it_is_longer_than_a_line():
    tokens = ["one", " two", " th", "ree", " fo", "ur", "f", "ive", "s", "ix", "se", "ven", "ei", "ght"]
    shown, size = [shown_as(token) for token in tokens], SIZES[-1]
    wide = sum(_width(text, size) + 2 * 1.3 for _, text, _ in shown[:3]) + 20
    placed, cut = _wrapped(shown, wide, 99, size)
    lines = [line for _, line, _, _ in placed]
    assert not cut and lines[0] == lines[1] == 0 and lines[2] == lines[3] == 1  # "three" goes to the next line as one
    assert placed[4][:2] == (0, 2) and set(lines[4:]) == {2, 3}  # the long one has a line of its own, and is broken
    assert all(x + w <= wide + 1e-9 for x, _, w, _ in placed)
    some, left = _wrapped(shown, wide, 2, size)
    assert some == placed[: len(some)] and left == len(tokens) - len(some) > 0


def test_long_texts_get_small_letters_and_are_cut_with_a_word_about_it():
    sizes = []
    for repeat in (1, 40, 400):
        _, (ax,) = viz.figure(6, 2)
        viz.draw_routed_text(ax, TOKENS * repeat, [[0]] * len(TOKENS) * repeat, 2)
        found = boxes(ax)
        shown = len(found) - 2  # beside the key
        sizes.append(found[0][3])
        says = written(ax, [f"… and {len(TOKENS) * repeat - shown:d} more tokens"])
        assert all(len(places) == (repeat > 1) for places in says.values())
        key = found[-1]
        assert all(y + height / 2 < key[1] - key[3] / 2 for _, y, _, height, *_ in found[:shown])
    assert sizes[0] > sizes[1] == sizes[2]


def test_further_experts_are_strips_and_nobody_is_grey():
    _, (ax,) = viz.figure(6, 2)
    viz.draw_routed_text(ax, ["one", " two", " three"], [[2, 0, 1], [], [1]], 3)
    first, left, right, none, last, *key = boxes(ax)
    assert first[4] == rgb(HUES[2]) and left[4] == rgb(HUES[0]) and right[4] == rgb(HUES[1])
    assert left[0] == first[0] and left[2] == pytest.approx(right[2]) == pytest.approx(first[2] / 2)
    assert left[1] > first[1] + first[3] / 2 and last[4] == rgb(HUES[1])
    assert (none[4], none[5]) == (rgb(NOBODY[0]), rgb(NOBODY[1]))
    assert len(key) == 4 and len(written(ax, ["none"])["none"]) == 1  # three experts and nobody


def test_experts_have_looks_of_their_own_on_which_words_can_be_read():
    looks = [viz.expert_colours(e) for e in range(24)]
    assert len(set(looks)) == 24 and looks[0] == viz.expert_colours(24)

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for fill, _ in looks:
        ink = luminance("white" if _is_dark(fill) else viz.INK)
        light, dark = max(ink, luminance(fill)), min(ink, luminance(fill))
        assert (light + 0.05) / (dark + 0.05) > 3.5, fill  # WCAG asks 3 of large letters, 4.5 of small ones


def test_shades_grow_with_the_probability():
    _, (ax,) = viz.figure(6, 2)
    viz.draw_shaded_text(ax, ["a", " b", " c", " d"], [0.25, 0.6, 1.0, math.nan], 0.25, label="probability")
    found = boxes(ax)
    lightness = [sum(fill) for *_, fill, _ in found[:3]]
    assert lightness[0] == 3 and lightness[0] > lightness[1] > lightness[2]
    assert found[3][4:] == (rgb(NOBODY[0]), rgb(NOBODY[1]))
    key = [sum(fill) for *_, fill, _ in found[4:]]
    assert key == sorted(key, reverse=True) and len(key) == 5 and written(ax, ["0.25", "1.00"])["1.00"]


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", (" ", "the", 0)),
        ("the", ("", "the", 0)),
        ("\n\nThe", ("\n\n", "The", 0)),
        ("\n", ("", "↵", 1)),
        ("  ", ("", "␣␣", 0)),
        ("\t", ("", "⇥", 0)),
        ("", ("", "·", 0)),
        (" 漢a", (" ", "□a", 0)),
    ],
)
def test_white_space_and_missing_letters_are_signs(token, shown):
    assert shown_as(token) == shown


@pytest.mark.parametrize("text", ["$", "$$", "$x^$", "\\$", "_{", "%", "😀", "漢字", "\x07"])
def test_any_text_can_be_drawn_without_a_warning(text):
    _, (ax,) = viz.figure(6, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        viz.draw_routed_text(ax, [text, f" {text}{text}"], [[0], [1]], 2)
        viz.png(ax.figure)


def test_bars_of_load_stand_at_their_shares():
    _, (ax,) = viz.figure()
    viz.draw_load(ax, [0.5, 0.25, 0.23, 0.02])
    bars = boxes(ax)
    assert [bar[0] + bar[2] / 2 for bar in bars] == pytest.approx(range(4))
    assert [bar[3] for bar in bars] == pytest.approx([0.5, 0.25, 0.23, 0.02])
    assert [bar[4] for bar in bars] == [rgb(hue) for hue in HUES[:4]]
    (line,) = ax.lines
    assert set(line.get_ydata()) == {0.25} and line.get_linestyle() == "--"
    places = written(ax, ["50", "23"])
    assert places["50"][0][0] == 0 and places["50"][0][1] > 0.5 and places["23"][0][1] > 0.25  # not on the line


def test_distances_are_shades_up_to_a_top_that_is_given():
    _, (ax,) = viz.figure()
    values = [[0, 0.1, 0.2], [0.1, 0, math.inf], [0.2, math.inf, 0]]
    viz.draw_distances(ax, values, top=0.4)
    (image,) = ax.images
    assert image.get_clim() == (0, 0.4) and image.cmap is APART
    shades = np.ma.filled(image.get_array(), np.nan)
    assert shades[0].tolist() == [0, 0.1, 0.2] and np.isnan(shades[1, 2])
    places = written(ax, [".10", ".20"])
    assert sorted(places[".10"]) == [(0, 1), (1, 0)] and sorted(places[".20"]) == [(0, 2), (2, 0)]
    _, (plain,) = viz.figure()
    viz.draw_distances(plain, np.zeros((12, 12)))  # too many for numbers; nothing to divide by
    assert not written(plain, ["0.00", ".00"])[".00"] and len(written(plain, ["11"])["11"]) == 2
    assert written(plain, ["expert (all 0)"])["expert (all 0)"]


def test_runs_go_through_means_in_bands_of_all_seeds():
    _, (ax,) = viz.figure()
    runs = {"p_b = 0": ([0, 10], [[0, 0], [1, 3]]), "p_b = 1": ([0, 10], [[0], [5]])}
    viz.draw_runs(ax, runs, front="p_b = 0", mark=10, level=(0.5, "even"))
    lines = {tuple(line.get_ydata()): line for line in ax.lines if line.get_transform() == ax.transData}
    assert (0, 2) in lines and (0, 5) in lines and lines[0, 2].get_linewidth() > 2 * lines[0, 5].get_linewidth()
    (band,) = [c for c in ax.collections if type(c).__name__ != "PathCollection"]
    extents = band.get_paths()[0].get_extents()
    assert (extents.ymin, extents.ymax, extents.xmax) == (0, 3, 10)
    keys = {line.get_color(): line for line in ax.lines if line.get_transform() == ax.transAxes}
    assert lines[0, 2].get_color() in keys and lines[0, 5].get_color() in keys and len(keys) == 3
    assert lines[0, 2].get_color() != lines[0, 5].get_color()
    assert list(lines).index((0, 2)) > list(lines).index((0, 5))  # in front
    assert (
        ax.get_ylim()[0] <= 0 and ax.get_ylim()[1] > 5 and len(written(ax, ["p_b = 0", "dashed: even"])["p_b = 0"]) == 1
    )


def test_a_run_of_one_step_is_a_point():
    _, (ax,) = viz.figure()
    viz.draw_runs(ax, {"a": ([3], [[1.0]])})
    assert ax.lines[0].get_marker() == "o" and ax.get_xlim() == (2, 4)
