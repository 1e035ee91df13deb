"""Pictures of experts: a text coloured by who computes it, loads, distances, and how all that goes over training.

As everything in `mpolab.viz`, from where they are called: an Axes and plain numbers in, nothing out.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator

from .look import AUXILIARY, INK, MUTED, outline, tidy, write

HUES = ["#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00", "#999999"]
"""Of experts 0 to 7: Okabe and Ito's. The next eight are pale in a frame of the same hue, eight more white in one."""
PALE = (0.0, 0.72, 1.0)  # how much white is in an expert's fill, by the round of hues
SURE = LinearSegmentedColormap.from_list("sure", ["#FFFFFF", "#A6DCCB", "#009E73", "#004D38"])
APART = LinearSegmentedColormap.from_list("apart", ["#F7FBFF", "#9ECAE1", AUXILIARY])
NOBODY = ("#FFFFFF", "#BBBBBB")  # fill and frame of a token without an expert

SIZES = (12.0, 10.0, 8.5)  # points; the largest that shows the whole text
LINE, HIGH = 1.75, 1.3  # lines and boxes, in sizes of letters
PAD, GAP, STRIP = 1.3, 0.7, 2.0  # points: room in a box, between boxes, strips
SMALLEST = 1e-12  # of a scale of distances
SIGNS = {"\n": "↵", "\t": "⇥"}  # of white space that is a token by itself


def expert_colours(expert: int) -> tuple[str, str]:
    """(fill, frame) of an expert."""
    hue = HUES[expert % len(HUES)]
    white = PALE[(expert // len(HUES)) % len(PALE)]
    return to_hex((1 - white) * np.array(to_rgb(hue)) + white), hue


def draw_routed_text(
    ax: Axes, tokens: Sequence[str], experts: Sequence[Sequence[int]], count: int, title: str = ""
) -> None:
    """A text in boxes of the colour of each token's expert, with a key of all `count` experts below.

    tokens: with the white space before them. experts: of each token, the first one fills its box, others are strips
    below it; none: a grey frame. The text is wrapped to the axes and cut where they end, which is then said.
    """
    first = [expert_colours(own[0]) if own else NOBODY for own in experts]
    entries = [(f"{e}", *expert_colours(e)) for e in range(count)]
    if any(not own for own in experts):
        entries.append(("none", *NOBODY))
    _draw_boxes(ax, tokens, first, [own[1:] for own in experts], "expert", entries, title)


def draw_shaded_text(
    ax: Axes, tokens: Sequence[str], values: Sequence[float], low: float, title: str = "", label: str = ""
) -> None:
    """A text in boxes as dark as a number from `low` (white) to 1 (darkest), with a key below; NaN: a grey frame."""

    def colours(value: float) -> tuple[str, str]:
        if math.isnan(value):
            return NOBODY
        return to_hex(SURE(min(max((value - low) / (1 - low), 0.0), 1.0))), "#A6DCCB"

    entries = [(f"{value:.2f}", *colours(value)) for value in np.linspace(low, 1, 5)]
    _draw_boxes(ax, tokens, [colours(value) for value in values], [()] * len(tokens), label, entries, title)


def _draw_boxes(
    ax: Axes,
    tokens: Sequence[str],
    colours: Sequence[tuple[str, str]],
    strips: Sequence[Sequence[int]],
    label: str,
    entries: Sequence[tuple[str, str, str]],
    title: str,
) -> None:
    """The axes' units become points, from the upper left corner."""
    box = ax.get_window_extent()
    width, height = (72 / ax.figure.dpi * side for side in (box.width, box.height))
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.axis("off")
    ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.02)
    rows = _in_rows(entries, label, width)
    below = LINE * SIZES[-1]  # of a row of the key
    shown = [shown_as(token) for token in tokens]
    for size in SIZES:
        lines = max(int((height - below * (len(rows) + 0.5)) // (LINE * size)), 1)
        placed, cut = _wrapped(shown, width, lines, size)
        if not cut:
            break
    boxes, fills, frames, dark, light, small = [], [], [], [], [], []

    def add(x: float, y: float, wide: float, high: float, fill: str, frame: str) -> None:
        boxes.append([(x, y - high / 2), (x + wide, y - high / 2), (x + wide, y + high / 2), (x, y + high / 2)])
        fills.append(fill)
        frames.append(frame)

    for number, (x, line, wide, text) in enumerate(placed):
        y, others = LINE * size * (line + 0.5), strips[number]
        add(x, y, wide, HIGH * size, *colours[number])
        (light if _is_dark(colours[number][0]) else dark).append((x + wide / 2, y, text))
        for k, expert in enumerate(others):
            part = wide / len(others)
            add(x + k * part, y + (HIGH * size + STRIP) / 2, part, STRIP, *expert_colours(expert))
    for k, row in enumerate(rows):
        y = height - below * (len(rows) - k - 0.5)
        for x, wide, text, fill, frame in row:
            add(x, y, wide, HIGH * SIZES[-1], fill, frame)
            small.append((x + wide / 2, y, text, "white" if _is_dark(fill) else INK))
    ax.add_collection(PolyCollection(boxes, facecolors=fills, edgecolors=frames, linewidths=0.8), autolim=False)
    write(ax, dark, size, INK)
    write(ax, light, size, "white")
    for ink in (INK, "white"):
        write(ax, [(x, y, text) for x, y, text, own in small if own == ink], SIZES[-1], ink)
    write(ax, [(0, height - below * (len(rows) - 0.5), label)], SIZES[-1], INK, "left")
    if cut:
        y, words = height - below * (len(rows) + 0.3), f"… and {cut} more token{'s' * (cut > 1)}"
        write(ax, [(width, y, words)], SIZES[-1], MUTED, "right")


def _in_rows(entries: Sequence[tuple[str, str, str]], label: str, width: float) -> list[list[tuple]]:
    """(x, width, text, fill, frame) of a key's boxes, row by row."""
    x = start = _width(label, SIZES[-1]) + 8
    rows: list[list[tuple]] = [[]]
    for text, fill, frame in entries:
        wide = max(_width(text, SIZES[-1]), 10.0) + 2 * PAD
        if x + wide > width and rows[-1]:
            rows.append([])
            x = start
        rows[-1].append((x, wide, text, fill, frame))
        x += wide + 3
    return rows


def _wrapped(
    shown: Sequence[tuple[str, str, int]], width: float, lines: int, size: float
) -> tuple[list[tuple[float, int, float, str]], int]:
    """(x, line, width, text) of each token that has a place, and how many have none. shown: as `shown_as` has it.

    A line is broken before a word; before a part of one where the word is longer than a line.
    """
    sizes = [_width(text, size) + 2 * PAD for _, text, _ in shown]
    starts = [k for k, (before, _, _) in enumerate(shown) if before or not k or shown[k - 1][2]] + [len(shown)]
    ends = dict(itertools.pairwise(starts))  # of the words
    placed: list[tuple[float, int, float, str]] = []
    x, line, space = 0.0, 0, _width("n", size)
    for k, (before, text, after) in enumerate(shown):
        if k in ends and k:
            word = sum(sizes[k : ends[k]]) + GAP * (ends[k] - k - 1)
            breaks = before.count("\n")
            x += space * min(len(before), 8)
            if breaks or (x + word > width and x > 0):
                x, line = 0.0, line + max(min(breaks, 2), 1)
        if x + sizes[k] > width and x > 0:
            x, line = 0.0, line + 1
        if line >= lines:
            return placed, len(shown) - k
        placed.append((x, line, min(sizes[k], width), text))
        x += sizes[k] + GAP
        if after:
            x, line = 0.0, line + min(after, 2)
    return placed, 0


def shown_as(token: str) -> tuple[str, str, int]:
    """(white space before it, what is written, line breaks after it) of a token.

    White space that is a token by itself is written by signs, a token without a letter as a dot, a character that the
    font does not have as a square.
    """
    text = token.strip()
    if not text:
        return "", "".join(SIGNS.get(letter, "␣") for letter in token) or "·", token.count("\n")
    before = token[: len(token) - len(token.lstrip())]
    return before, "".join(letter if _has(letter) else "□" for letter in text), 0


@functools.cache
def _has(letter: str) -> bool:
    return get_font(findfont(FontProperties())).get_char_index(ord(letter)) != 0


@functools.cache
def _width(text: str, size: float) -> float:
    """Of a word in points."""
    path = outline(text, size, 0.0)
    return float(path.get_extents().x1) if len(path.vertices) else 0.0


@functools.cache
def _is_dark(colour: str) -> bool:
    """Whether white reads better on it: below a luminance of a fifth or so (WCAG 2, relative luminance)."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722]) < 0.2


def draw_load(ax: Axes, load: Sequence[float], title: str = "", label: str = "") -> None:
    """One bar an expert, in its colour, its percent above it; a dashed line where all have the same."""
    count, even = len(load), 1 / len(load)
    fills, frames = zip(*map(expert_colours, range(count)))
    corners = [[(k - 0.4, 0), (k + 0.4, 0), (k + 0.4, value), (k - 0.4, value)] for k, value in enumerate(load)]
    ax.add_collection(PolyCollection(corners, facecolors=fills, edgecolors=frames, linewidths=1.0), autolim=False)
    ax.axhline(even, color=INK, linewidth=1.0, linestyle="--")
    top = max(1.2 * max(load), 1.6 * even)
    ax.set_xlim(-0.6, count - 0.4)
    ax.set_ylim(0, top)
    tidy(ax, title, "", label)
    ax.grid(False)
    ax.set_xticks([])  # words in one collection take a tenth of the time of so many ticks
    ax.set_yticks([])  # every bar says its value
    size, far = (7.5 if count <= 10 else 6.5), 0.06 * top
    tops = [even if 0 < even - value < 2.2 * far else value for value in load]  # not on the dashed line
    write(ax, [(k, y + far, f"{100 * value:.0f}") for k, (y, value) in enumerate(zip(tops, load))], size, INK)
    names = [(k, -1.3 * far, f"{k}") for k in range(0, count, 1 if count <= 20 else 4)]
    write(ax, [*names, ((count - 1) / 2, -3.2 * far, "expert")], 8.5, INK)


def draw_distances(
    ax: Axes, distances: Sequence[Sequence[float]], title: str = "", top: float | None = None, label: str = ""
) -> None:
    """Distances of all pairs of experts, from white (0) to blue (`top`, by default the largest); NaN stays empty.

    Up to ten experts the numbers are written.
    """
    values = np.asarray(distances, dtype=float)
    count, known = len(values), np.isfinite(values)
    limit = max(float(values[known].max()) if top is None and known.any() else top or 0.0, SMALLEST)
    ax.imshow(np.where(known, values, np.nan), cmap=APART, vmin=0, vmax=limit, aspect="auto", interpolation="nearest")
    digits = max(0, 1 - math.floor(math.log10(limit)))
    if count <= 10 and digits <= 3:
        cells: dict[str, list[tuple[float, float, str]]] = {INK: [], "white": []}
        for (row, column), value in np.ndenumerate(values):
            if known[row, column] and row != column:
                words = f"{value:.{digits}f}".removeprefix("0") if value else "0"
                cells["white" if value > 0.75 * limit else INK].append((column, row, words))
        for ink, entries in cells.items():
            write(ax, entries, 7.5, ink)
    tidy(ax, title)
    ax.grid(False)
    ax.set_xticks([])  # words in one collection take a tenth of the time of so many ticks
    ax.set_yticks([])
    step, far = 1 if count <= 17 else 4, 0.035 * count
    names = range(0, count, step)
    write(ax, [(k, count - 0.5 + far, f"{k}") for k in names], 8, INK)
    write(ax, [(-0.5 - 0.6 * far, k, f"{k}") for k in names], 8, INK, "right")
    shades = "all 0" if limit == SMALLEST else f"white: 0, darkest: {limit:.3g}"
    write(ax, [((count - 1) / 2, count - 0.5 + 2.8 * far, label or f"expert ({shades})")], 9, INK)
    write(ax, [(-0.5 - 3 * far, (count - 1) / 2, "expert")], 9, INK, "center", 90)


def draw_runs(
    ax: Axes,
    runs: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]],
    title: str = "",
    ylabel: str = "",
    front: str | None = None,
    mark: float | None = None,
    level: tuple[float, str] | None = None,
    xlabel: str = "optimizer step",
    colours: Mapping[str, str] | None = None,
) -> None:
    """Named runs over steps, from dark to light: name -> (steps, for every step the values of all seeds).

    A line at the mean and a band from the least to the largest. front: the run drawn last and thicker. mark: a dotted
    line at a step. level: a dashed line at a value, and its name. colours: of runs by name, in place of the shades.
    """
    shades = [to_hex(shade) for shade in matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, max(len(runs), 2)))]
    shades = [(colours or {}).get(name, shade) for name, shade in zip(runs, shades)]
    for k, (name, (steps, rows)) in sorted(enumerate(runs.items()), key=lambda entry: entry[1][0] == front):
        values, wide = np.asarray(rows, dtype=float), 2.6 if name == front else 1.2
        if values.shape[1] > 1:
            low, high = values.min(axis=1), values.max(axis=1)
            ax.fill_between(steps, low, high, color=shades[k], alpha=0.18, linewidth=0)
        ax.plot(steps, values.mean(axis=1), color=shades[k], linewidth=wide, marker="o" if len(steps) < 2 else None)
    entries = list(zip(runs, shades))
    if level is not None:
        ax.axhline(level[0], color=MUTED, linewidth=1.0, linestyle="--")
        entries.append((f"dashed: {level[1]}", MUTED))
    if mark is not None:
        ax.axvline(mark, color=INK, linewidth=1.0, linestyle=":")
    low, high = _ends(_values(runs), level)
    ax.set_ylim(low, high + 0.075 * len(entries) * (high - low))
    steps = [step for steps, _ in runs.values() for step in steps]
    if len(set(steps)) == 1:
        ax.set_xlim(steps[0] - 1, steps[0] + 1)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    tidy(ax, title, xlabel, ylabel)
    for k, (name, colour) in enumerate(entries):
        thick = {"color": colour, "linewidth": 3.0 if name == front else 1.6, "transform": ax.transAxes}
        ax.plot([0.02, 0.075], [0.96 - 0.062 * k] * 2, **thick, linestyle="--" if k == len(runs) else "-")
    named = [(0.1, 0.96 - 0.062 * k, name) for k, (name, _) in enumerate(entries)]
    write(ax, named, 8, INK, "left", where=ax.transAxes)


def _values(runs: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]) -> Iterable[float]:
    return (float(value) for _, rows in runs.values() for row in rows for value in row)


def _ends(values: Iterable[float], level: tuple[float, str] | None) -> tuple[float, float]:
    """From 0, or from a little below the least where all are far above it."""
    known = [value for value in values if math.isfinite(value)] + ([] if level is None else [level[0]])
    low, high = min(known, default=0.0), max(known, default=1.0)
    if low < 0.5 * high:
        low = min(low, 0.0)
    room = 0.06 * (high - low or abs(high) or 1.0)
    return (low if low == 0 else low - room), high + room
