"""Charts of what was measured: curves, bars, tables as shades, scores with their spread, slopes, layer by layer.

As everything in `mpolab.viz`, from where they are called: an Axes and plain numbers in, nothing out.

Items: mpobert-fig1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from .look import (
    AUXILIARY,
    BEST,
    CENTRAL,
    COLOURS,
    CYCLE,
    INK,
    MUTED,
    PRINTED,
    across,
    key,
    plain_tick,
    significant,
    tidy,
    write,
)


def draw_curves(
    ax: Axes,
    x: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    log: str = "",
    mark: float | None = None,
    marker: str | None = ".",
    legend: str = "upper right",
) -> None:
    """Named curves over x, with a vertical line at `mark`; log is any of "", "x", "y", "xy"."""
    entries = []
    for k, (name, y) in enumerate(curves.items()):
        colour = COLOURS.get(name, CYCLE[k % len(CYCLE)])
        ax.plot(x[: len(y)], y, marker=marker, markersize=4, linewidth=1.6, color=colour)
        entries.append(("━", name, colour))
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    if mark is not None:
        ax.axvline(mark, color=INK, linewidth=1.0, linestyle=":")
    key(ax, entries, legend)
    tidy(ax, title, xlabel, ylabel)


def draw_bars(
    ax: Axes, values: Mapping[str, float | None], title: str = "", ylabel: str = "", log: bool = False
) -> None:
    """One bar a name, its value above it; names without a value (None) are shown as not measured."""
    known = [value for value in values.values() if value]
    low, high = (min(known), max(known)) if known else (1.0, 1.0)
    ax.set_ylim(*((low / 4, high * 5) if log else (0, high * 1.18)))
    if log:
        ax.set_yscale("log")
    for k, (name, value) in enumerate(values.items()):
        if value is None:
            ax.text(k, 0.5, "not\nmeasured", ha="center", va="center", fontsize=8, color=MUTED, transform=across(ax))
            continue
        ax.bar(k, value, color=COLOURS.get(name, CYCLE[k % len(CYCLE)]), width=0.7)
        ax.text(k, value, significant(value), ha="center", va="bottom", fontsize=8, color=INK)
    ax.set_xticks(range(len(values)), list(values))
    ax.set_xlim(-0.6, len(values) - 0.4)
    tidy(ax, title, "", ylabel)
    ax.set_yticks([])  # every bar says its value
    ax.grid(False)


def draw_heatmap(
    ax: Axes,
    table: Sequence[Sequence[float]],
    row_names: Sequence[str],
    col_names: Sequence[str],
    title: str = "",
    label: str = "",
    digits: int = 2,
) -> None:
    """A table of numbers as colours with the numbers in them; NaN stays empty."""
    import seaborn

    values = np.asarray(table, dtype=float)
    seaborn.heatmap(
        values,
        ax=ax,
        mask=np.isnan(values),
        annot=True,
        fmt=f".{digits}f",
        annot_kws={"fontsize": 7},
        cmap="cividis",
        cbar_kws={"label": label},
        xticklabels=col_names,
        yticklabels=row_names,
        linewidths=0.5,
    )
    ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.02)
    ax.tick_params(labelsize=8, colors=INK, rotation=0)


def draw_grid(
    ax: Axes,
    table: Sequence[Sequence[float]],
    row_names: Sequence[str],
    col_names: Sequence[str],
    title: str = "",
    top: float = 1.0,
    mark: tuple[int, int] | None = None,
) -> None:
    """A table of shares (0..top) as shades of orange with whole percents in them, quick enough for a slider.

    mark: (row, column) of a cell to frame. NaN stays empty.
    """
    values = np.asarray(table, dtype=float)
    shades = LinearSegmentedColormap.from_list("shades", ["white", CENTRAL])
    ax.imshow(values, cmap=shades, vmin=0, vmax=top, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=INK)
    if mark is not None:
        corner = (mark[1] - 0.48, mark[0] - 0.46)
        ax.add_patch(Rectangle(corner, 0.96, 0.92, fill=False, edgecolor=PRINTED, linewidth=2))
    tidy(ax, title)
    ax.grid(False)
    ax.set_xticks(range(len(col_names)), list(col_names))
    ax.set_yticks(range(len(row_names)), list(row_names))
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def draw_scores(
    ax: Axes,
    scores: Mapping[str, tuple[float, float, float, float]],
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    mark: float | None = None,
) -> None:
    """A point a name with its spread: name -> (x, mean, lowest, highest); a dotted line at x = `mark`."""
    entries = []
    for k, (name, (x, mean, low, high)) in enumerate(scores.items()):
        colour = CYCLE[k % len(CYCLE)]
        ax.plot([x, x], [low, high], color=colour, linewidth=1.4)
        ax.plot([x], [mean], color=colour, marker="o", markersize=5)
        entries.append(("●", name, colour))
    if mark is not None:
        ax.axvline(mark, color=INK, linewidth=1.0, linestyle=":")
    if not scores:
        ax.text(0.5, 0.5, "no recorded run", ha="center", va="center", fontsize=9, color=MUTED, transform=ax.transAxes)
    if scores:  # room for the names below the points
        low, high = ax.get_ylim()
        ax.set_ylim(bottom=low - 0.18 * len(scores) * (high - low))
    key(ax, entries, "lower right")
    tidy(ax, title, xlabel, ylabel)


def draw_seeds(
    ax: Axes,
    values: Mapping[str, Sequence[float]],
    title: str = "",
    xlabel: str = "",
    floor: float | None = None,
    colours: Mapping[str, str] | None = None,
) -> None:
    """One row a name, from the top: a ring a run, a stroke at their mean; a dashed line at `floor`."""
    for k, (name, runs) in enumerate(values.items()):
        colour = (colours or {}).get(name, AUXILIARY)
        ax.plot(runs, [k] * len(runs), "o", markerfacecolor="none", markeredgecolor=colour, markersize=5)
        mean = float(np.mean(runs))
        ax.plot([mean, mean], [k - 0.32, k + 0.32], color=colour, linewidth=2.2, solid_capstyle="butt")
    if floor is not None:
        ax.axvline(floor, color=MUTED, linewidth=1.0, linestyle="--")
    tidy(ax, title, xlabel)
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.5, -0.5)
    ax.grid(False, axis="y")


def draw_growth(
    ax: Axes,
    x: Sequence[float],
    curves: Mapping[str, Sequence[Sequence[float]]],
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    front: str | None = None,
    fits: Mapping[str, tuple[float, float]] | None = None,
    room: float = 0.0,
) -> None:
    """Named curves over x on logarithmic axes: name -> for every x the values of all seeds, all above 0.

    A line at their geometric means and a band from the least to the largest. front: the curve drawn last and thicker.
    fits: name -> (p, a) of a dashed line a x^p. room: above them for a key, as a share of their height.
    """
    at = np.array(x, dtype=float)
    for k, (name, rows) in sorted(enumerate(curves.items()), key=lambda entry: entry[1][0] == front):
        values = np.array(rows, dtype=float)  # (x, seeds)
        colour, wide = COLOURS.get(name, CYCLE[k % len(CYCLE)]), 2.4 if name == front else 1.4
        if values.shape[1] > 1:
            ax.fill_between(at, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, linewidth=0)
        ax.plot(at, np.exp(np.log(values).mean(axis=1)), marker="o", markersize=3 + wide, linewidth=wide, color=colour)
        if fits and name in fits:
            power, at_one = fits[name]
            ax.plot(at, at_one * at**power, color=colour, linewidth=1.0, linestyle="--")
    ax.set_xscale("log")
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** room)
    if high < 100 * low:  # powers of ten alone would leave an axis with one number, or none
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 6 * low else range(1, 10)))
    tidy(ax, title, xlabel, ylabel)
    ax.set_xticks(at, [f"{value:g}" for value in at])
    ax.yaxis.set_major_formatter(FuncFormatter(_far_tick))


def _far_tick(value: float, position: int) -> str:
    """As other ticks, but far from 1 as a power of ten: 10⁻⁵, 2·10⁸."""
    if not value or 1e-3 <= value < 1e6:
        return plain_tick(value, position)
    digits, power = f"{value:.0e}".split("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return ("" if digits == "1" else f"{digits}·") + f"10{raised}"


def draw_slopes(
    ax: Axes,
    slopes: Mapping[str, Mapping[str, tuple[float, float]]],
    title: str = "",
    xlabel: str = "",
    front: str | None = None,
) -> None:
    """One row a name, in its colour: name -> {part: (slope, error)} as points with bars of two errors.

    The line at 0 is what does not grow; front: the name in bold.
    """
    ax.axvline(0, color=MUTED, linewidth=1.2, linestyle="--")
    parts = list(dict.fromkeys(part for found in slopes.values() for part in found))
    for k, part in enumerate(parts):
        rows = [(y + 0.22 * (k - (len(parts) - 1) / 2), *found[part]) for y, found in enumerate(slopes.values())]
        places, values, errors = np.array(rows).T
        colour, nothing = COLOURS.get(part, CYCLE[k % len(CYCLE)]), np.full(len(rows), np.nan)
        ends = np.stack([values - 2 * errors, values + 2 * errors, nothing], axis=1)  # NaN parts one bar from the next
        ax.plot(ends.ravel(), np.repeat(places, 3), color=colour, linewidth=1.6)
        ax.plot(values, places, "o", markersize=5, color=colour)
    tidy(ax, title, xlabel)
    ax.set_yticks(range(len(slopes)), list(slopes))
    ax.set_ylim(len(slopes) - 0.4, -0.6)
    ax.grid(False, axis="y")
    for label in ax.get_yticklabels():
        label.set_color(COLOURS.get(label.get_text(), INK))
        label.set_fontweight("bold" if label.get_text() == front else "normal")


def draw_layers(
    ax: Axes,
    columns: Sequence[Sequence[float]],
    col_names: Sequence[str],
    title: str = "",
    limits: Sequence[tuple[float, float]] | None = None,
    groups: Sequence[str] = (),
    mark: int | None = None,
    written: bool = True,
    ylabel: str = "layer",
) -> None:
    """A heatmap of shares by layer, layer 0 at the bottom: one column a task (MPOBERT Fig. 4).

    The best layer of a column stands in a dashed box, of equal ones the lowest. Every column has shades of its own,
    from the low to the high of `limits` (by default of the column): levels of different tasks do not compare, layers
    do. groups: of each column, named above where they begin. mark: a layer to point at. written: percents in the
    cells. NaN stays empty.
    """
    values = np.asarray(columns, dtype=float).T  # (layers, tasks)
    layers, count = values.shape
    low, high = np.array(limits if limits is not None else [_ends(column) for column in values.T]).T
    shades = (values - low) / np.where(high > low, high - low, 1.0)
    colours = LinearSegmentedColormap.from_list("layers", ["#F7FBFF", "#9ECAE1", AUXILIARY])
    ax.imshow(shades, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest", origin="lower")
    ax.axis("off")  # ticks take several times as long as the same words as text
    cells: dict[str, list[tuple[float, float, str]]] = {INK: [], "white": []}
    for column in range(count):
        known = np.flatnonzero(~np.isnan(values[:, column]))
        for layer in known if written else ():
            ink = "white" if shades[layer, column] > 0.75 else INK
            cells[ink].append((column, layer, f"{100 * values[layer, column]:.0f}"))
        if len(known):
            best = int(known[np.argmax(values[known, column])])
            dashes = {"edgecolor": BEST, "linewidth": 1.8, "linestyle": (0, (2.2, 1.2)), "zorder": 3}
            ax.add_patch(Rectangle((column - 0.45, best - 0.45), 0.9, 0.9, fill=False, **dashes))
    for ink, words in cells.items():
        write(ax, words, 7.5, ink)
    # names stand some points away from the cells, however many layers there are
    below, above = (ax.transData + ScaledTranslation(0, y / 72, ax.figure.dpi_scale_trans) for y in (-4, 7))
    write(ax, [(k + 0.2, -0.5, name) for k, name in enumerate(col_names)], 8.5, INK, "right", 40, below)
    write(ax, [(-0.65, layer, f"{layer}") for layer in range(0, layers, -(-layers // 14))], 8.5, INK, "right")
    starts = [k for k in range(len(groups)) if not k or groups[k] != groups[k - 1]]
    write(ax, [(k - 0.5, layers - 0.5, groups[k]) for k in starts], 8.5, MUTED, "left", where=above)
    for begin in starts[1:]:
        ax.plot([begin - 0.5] * 2, [-0.5, layers - 0.5], color="white", linewidth=3)
    if mark is not None and mark < layers:
        ax.plot(count - 0.25, mark, marker="<", markersize=6, color=INK, clip_on=False)
    ax.set_xlim(-0.5, count - 0.5)
    ax.set_ylim(-0.5, layers - 0.5)
    if ylabel:
        beside = ax.transAxes + ScaledTranslation(-0.34, 0, ax.figure.dpi_scale_trans)
        write(ax, [(0, 0.5, ylabel)], 9, INK, "center", 90, beside)
    ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.09 if groups else 1.02)


def _ends(column: np.ndarray) -> tuple[float, float]:
    known = column[~np.isnan(column)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def draw_probe(
    ax: Axes,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], float]],
    title: str = "",
    mark: int | None = None,
) -> None:
    """One task by layer: name -> (accuracy, control accuracy, majority baseline), shares of the rows of test.

    Accuracy is a line, the control task is dotted, the baseline (of the first) dashed grey.
    """
    entries = []
    for k, (name, (accuracy, control, _)) in enumerate(curves.items()):
        colour = CYCLE[k % len(CYCLE)]
        ax.plot(range(len(accuracy)), accuracy, marker=".", markersize=5, linewidth=1.6, color=colour)
        ax.plot(range(len(control)), control, linewidth=1.4, linestyle=":", color=colour)
        entries.append(("━", name, colour))
    if curves:
        floor = next(iter(curves.values()))[2]
        ax.axhline(floor, color=MUTED, linewidth=1.0, linestyle="--")
        entries += [("┄", "control task", INK), ("╌", "majority", MUTED)]
    if mark is not None:
        ax.axvline(mark, color=INK, linewidth=1.0, linestyle=":")
    ax.set_ylim(0, 1.02 + 0.1 * len(entries))
    key(ax, entries, "upper left")
    tidy(ax, title, "layer", "share of test")
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def draw_sizes(
    ax: Axes,
    models: Mapping[str, tuple[float, float, float]],
    title: str = "",
    ylabel: str = "score",
    own: Sequence[str] = (),
    beside: Mapping[str, str] | None = None,
) -> None:
    """Size, depth and score of models (MPOBERT Fig. 1): name -> (million parameters, layers, score).

    A point is as large as its model is deep. own: names that are written in bold, in the centre's colour. beside: on
    which side of its point a name stands, "right" unless told otherwise, "left", "above" or "below".
    """
    places = {"right": (1, 0, "left"), "left": (-1, 0, "right"), "above": (0, 1, "center"), "below": (0, -1, "center")}
    for name, (size, depth, score) in models.items():
        mine = name in own
        ax.scatter([size], [score], s=5 * depth, facecolor=CENTRAL if mine else "#9ECAE1", edgecolor=INK, zorder=3)
        dx, dy, side = places[(beside or {}).get(name, "right")]
        far = 6 + math.sqrt(5 * depth) / 2  # points, from the middle of a disc of area 5 depth
        where = {"textcoords": "offset points", "xytext": (far * dx, far * dy), "ha": side, "va": "center"}
        words = f"{name}, {depth:g} layers"
        ax.annotate(words, (size, score), color=INK, fontsize=8, fontweight="bold" if mine else "normal", **where)
    ax.set_xscale("log")
    ax.margins(y=0.12)
    if models:
        sizes = [size for size, _, _ in models.values()]
        ax.set_xlim(min(sizes) / 1.6, 2.2 * max(sizes))
    tidy(ax, title, "million parameters", ylabel)
    ticks = [t for p in range(-1, 6) for t in (10**p, 3 * 10**p) if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
