"""Pictures from numbers: every `draw_*` takes an Axes and plain numbers, draws, and returns None.

matplotlib and seaborn only; no widget, no model, no MPO. Figures are made without pyplot, so nothing is kept alive.
Colours are Okabe-Ito's, which stay apart for colour-blind readers and in grey: orange is the central tensor and blue
the auxiliary ones, everywhere. The background is opaque white, so that a figure reads the same in a dark theme.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection, PathCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Affine2D, ScaledTranslation, Transform

CENTRAL, AUXILIARY = "#E69F00", "#0072B2"
INK, MUTED, GRID = "#222222", "#777777", "#DDDDDD"
MEASURED, TIGHT, PRINTED = "#009E73", "#0072B2", "#D55E00"
BEST = "#D00000"  # the box around the best, red as in the papers
# One entry per thing that has a curve of its own.
COLOURS = {
    "MPO": CENTRAL,
    "SVD": AUXILIARY,
    "Tucker": "#009E73",
    "CPD": "#CC79A7",
    "dense": "#777777",
    "rebuilt": CENTRAL,
    "chained": "#56B4E9",
    "real": CENTRAL,
    "random": "#777777",
    "measured": MEASURED,
    "tight bound": TIGHT,
    "printed": PRINTED,
    "plain sum": "#CC79A7",
    "auxiliary": AUXILIARY,
    "centre": CENTRAL,
    "together": INK,
    "copy": "#777777",
    "xavier": "#56B4E9",
    "paper_text": "#D55E00",
    "algorithm1": "#CC79A7",
    "theory": "#009E73",
    "BERT": "#777777",
    "ALBERT": "#56B4E9",
    "MPOBERT": "#009E73",
}
ADAPTER = "#CC79A7"
PARTS = {
    "embeddings": "#BBBBBB",
    "central": CENTRAL,
    "auxiliary": AUXILIARY,
    "adapters": ADAPTER,
    "dense": "#777777",
    "rest": "#222222",
}
"""What a model's numbers are for."""
CYCLE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"]
MARKERS = {"MPO": "o", "SVD": "s", "Tucker": "^", "CPD": "D"}
BUDGET = LinearSegmentedColormap.from_list("budget", ["#BBBBBB", "#F0B27A", "#D55E00"])


def figure(width: float = 8.0, height: float = 3.2, axes: int | Sequence[float] = 1) -> tuple[Figure, list[Axes]]:
    """A white figure of so many inches with axes side by side, equally wide or with the given width ratios."""
    fig = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(fig)
    ratios = [1] * axes if isinstance(axes, int) else list(axes)
    gap = 0.16 if len(ratios) < 3 else 0.3
    grid = fig.add_gridspec(
        1, len(ratios), width_ratios=ratios, left=0.07, right=0.985, top=0.85, bottom=0.17, wspace=gap + 0.08
    )
    return fig, [fig.add_subplot(grid[0, k]) for k in range(len(ratios))]


def head(fig: Figure, text: str) -> None:
    """A heading above several axes."""
    fig.text(0.07, 0.955, text, fontsize=10, color=INK, fontweight="bold")


def png(fig: Figure, dpi: int = 100) -> bytes:
    """The figure as PNG bytes; compressed lightly, because a slider waits for it."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def tidy(ax: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """The look that all axes share: labels, a light grid, no box."""
    ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.02)  # a fixed y spares a search for a free place
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())  # minor ticks are most of the drawing time of a logarithmic axis,
        if axis.get_scale() == "log":  # and 10^2 as a formula most of the rest
            axis.set_major_formatter(FuncFormatter(_plain_tick))
        elif isinstance(axis.get_major_locator(), AutoLocator):
            axis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel(ylabel, fontsize=9, color=INK)
    ax.tick_params(labelsize=8, colors=INK)
    ax.grid(True, color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def key(ax: Axes, entries: Sequence[tuple[str, str, str]], place: str = "upper right") -> None:
    """(mark, name, colour), one a line: a legend at a fifth of a legend's drawing time."""
    vertical, side = place.split()
    top = {"upper": 0.98, "center": 0.5 + 0.04 * len(entries), "lower": 0.02 + 0.085 * len(entries)}[vertical]
    marks, names, align = (0.98, 0.935, "right") if side == "right" else (0.02, 0.065, "left")
    for k, (mark, name, colour) in enumerate(entries):
        where = {"fontsize": 8, "ha": align, "va": "top", "transform": ax.transAxes}
        ax.text(marks, top - 0.085 * k, mark, color=colour, **where)
        ax.text(names, top - 0.085 * k, name, color=INK, **where)


def _plain_tick(value: float, _position: int) -> str:
    return _short(round(value)) if value >= 1000 else f"{value:g}"


def core_colours(n: int, centre: int) -> list[str]:
    """Orange for the central tensor, blue for the auxiliary ones."""
    return [CENTRAL if k == centre else AUXILIARY for k in range(n)]


def draw_chain(
    ax: Axes,
    rows: Sequence[int],
    cols: Sequence[int],
    bonds: Sequence[int],
    full_bonds: Sequence[int],
    entropies: Sequence[float],
    centre: int,
    shares: Sequence[float] | None = None,
    title: str = "",
) -> None:
    """The tensor diagram of an MPO (MPOP Fig. 1).

    bonds, full_bonds: n+1 integers. A bond is as thick as its entropy (nats); its colour is its share (0..1) of the
    squared error. A box is as high as the logarithm of its core's parameters.
    """
    n = len(rows)
    sizes = [bonds[k] * rows[k] * cols[k] * bonds[k + 1] for k in range(n)]
    heights = 0.34 + 0.5 * np.log1p(sizes) / np.log1p(max(sizes))
    for k in range(n - 1):
        share = min(max(shares[k], 0.0), 1.0) if shares is not None else 0.0
        ax.plot(
            [k + 0.2, k + 0.8],
            [0, 0],
            color=BUDGET(share),
            linewidth=1.0 + 2.6 * entropies[k],
            solid_capstyle="butt",
            zorder=1,
        )
        ax.text(k + 0.5, 0.22, f"{bonds[k + 1]}", ha="center", va="bottom", fontsize=10, color=INK, fontweight="bold")
        if bonds[k + 1] < full_bonds[k + 1]:
            ax.text(k + 0.5, 0.42, f"of {full_bonds[k + 1]}", ha="center", va="bottom", fontsize=8, color=MUTED)
        ax.text(k + 0.5, -0.24, f"S = {entropies[k]:.2f}", ha="center", va="top", fontsize=8, color=MUTED)
        if share >= 0.0005:
            ax.text(k + 0.5, -0.40, f"{share:.0%} of err²", ha="center", va="top", fontsize=8, color=PRINTED)
    for k, colour in enumerate(core_colours(n, centre)):
        h = float(heights[k])
        ax.plot([k, k], [-h / 2 - 0.22, h / 2 + 0.22], color=INK, linewidth=1.2, zorder=1)
        ax.add_patch(
            FancyBboxPatch(
                (k - 0.18, -h / 2), 0.36, h, boxstyle="round,pad=0.02,rounding_size=0.08", color=colour, zorder=2
            )
        )
        ax.text(
            k, 0, _short(sizes[k]), ha="center", va="center", fontsize=9, color="white", fontweight="bold", zorder=3
        )
        ax.text(k, h / 2 + 0.25, f"i={rows[k]}", ha="center", va="bottom", fontsize=8, color=INK)
        ax.text(k, -h / 2 - 0.25, f"j={cols[k]}", ha="center", va="top", fontsize=8, color=INK)
    ax.set_xlim(-0.5, n - 0.5)
    ax.set_ylim(-0.95, 0.95)
    ax.axis("off")
    ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.02)


def _short(count: int) -> str:
    """A count in three characters or so: 640, 65k, 2.4M."""
    if count < 1000:
        return str(count)
    if count < 1_000_000:
        return f"{count / 1000:.0f}k"
    return f"{count / 1_000_000:.1f}M"


def draw_budget(ax: Axes, increments: Sequence[float], bound: float, title: str = "") -> None:
    """Increments of the exact squared error per bond as a staircase to its total, with the bound beside it."""
    labels = [f"{k + 1}" for k in range(len(increments))] + ["all", "bound"]
    starts = np.concatenate([[0.0], np.cumsum(increments)[:-1]]) if len(increments) else []
    total = float(np.sum(increments))
    for k, (start, step) in enumerate(zip(starts, increments)):
        share = step / total if total > 0 else 0.0
        ax.bar(k, step, bottom=start, color=BUDGET(min(max(share, 0.0), 1.0)), width=0.8)
    ax.bar(len(increments), total, color=MEASURED, width=0.8)
    ax.bar(len(increments) + 1, bound**2, color="white", edgecolor=TIGHT, hatch="///", width=0.8)
    ax.set_xticks(range(len(labels)), labels)
    ax.set_ylim(0, max(bound**2, total, 0.01) * 1.1)
    tidy(ax, title, "bond", "squared relative error")


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


def draw_spectra(ax: Axes, spectra: Mapping[str, Sequence[float]], title: str = "") -> None:
    """Singular values of one bond, largest first, as fractions of the matrix's norm, one curve a matrix."""
    entries = []
    for k, (name, values) in enumerate(spectra.items()):
        colour = COLOURS.get(name.split(",")[0], CYCLE[k % len(CYCLE)])
        ax.plot(np.arange(1, len(values) + 1), values, linewidth=1.8, color=colour)
        entries.append(("━", name, colour))
    ax.set_ylim(0, 1.25 * max((max(values) for values in spectra.values() if len(values)), default=1.0) or 1.0)
    key(ax, entries)
    tidy(ax, title, "number of the singular value", "singular value / norm")


def draw_entropies(ax: Axes, entropies: Mapping[str, Sequence[float]], full: Sequence[int], title: str = "") -> None:
    """Entropy per bond (nats) in groups of bars, one colour a series; a dash marks the largest possible, ln d."""
    bonds, width = len(full), 0.8 / max(len(entropies), 1)
    entries = [("━", "ln d, the most there can be", INK)]
    for k, (name, values) in enumerate(entropies.items()):
        offsets = np.arange(bonds) - 0.4 + width * (k + 0.5)
        colour = COLOURS.get(name.split(",")[0], CYCLE[k % len(CYCLE)])
        # the second reading of eq. 6 is paler
        colour = to_hex(0.45 * np.array(to_rgb(colour)) + 0.55) if "s/sum" in name else colour
        ax.bar(offsets, values, width * 0.92, color=colour)
        entries.append(("■", name, colour))
    for k, d in enumerate(full):
        ax.plot([k - 0.42, k + 0.42], [np.log(d)] * 2, color=INK, linewidth=1.2)
    ax.set_xticks(range(bonds), [f"bond {k + 1}\nd = {d}" for k, d in enumerate(full)])
    ax.set_ylim(0, max(np.log(max(full)), 0.1) * 1.6)
    key(ax, entries[:3], "upper left")
    key(ax, entries[3:], "upper right")
    tidy(ax, title, "", "entropy (nats)")


def draw_shares(ax: Axes, shares: Mapping[str, Sequence[float]], centre: int, title: str = "") -> None:
    """Shares (0..1) of every core in several quantities: one stacked bar a quantity, the centre in orange."""
    for y, values in enumerate(shares.values()):
        left = 0.0
        for k, value in enumerate(values):
            colour = CENTRAL if k == centre else AUXILIARY
            ax.barh(y, value, left=left, color=colour, edgecolor="white", linewidth=1.0, height=0.62)
            if value > 0.06:
                ax.text(
                    left + value / 2,
                    y,
                    f"{value:.0%}",
                    ha="center",
                    va="center",
                    color="white",
                    fontsize=8,
                    fontweight="bold",
                )
            left += value
    ax.set_yticks(range(len(shares)), list(shares))
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    tidy(ax, title, "share (cores from left to right, central tensor in orange)", "")
    ax.grid(False)


def draw_trained(ax: Axes, kinds: Mapping[str, tuple[int, int]], title: str = "") -> None:
    """Numbers that train (blue) and frozen ones (orange) by kind of matrix: name -> (auxiliary, central)."""
    for y, (trained, frozen) in enumerate(kinds.values()):
        ax.barh(y, trained / 1e6, color=AUXILIARY, height=0.66)
        ax.barh(y, frozen / 1e6, left=trained / 1e6, color=CENTRAL, height=0.66)
    ax.set_yticks(range(len(kinds)), list(kinds))
    ax.invert_yaxis()
    key(ax, [("■", "auxiliary tensors: trained", AUXILIARY), ("■", "central tensor: frozen", CENTRAL)], "lower right")
    tidy(ax, title, "million numbers", "")
    ax.grid(False, axis="y")


def draw_methods(
    ax: Axes,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str = "",
    mark: float | None = None,
    spread: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> None:
    """Error against compression ratio, one curve a method: name -> (ratios, relative errors) (MPOP Fig. 2)."""
    entries = []
    for k, (name, (ratios, errors)) in enumerate(curves.items()):
        colour = COLOURS.get(name, CYCLE[k % len(CYCLE)])
        ax.plot(ratios, errors, marker=MARKERS.get(name, "o"), markersize=5, linewidth=1.6, color=colour)
        entries.append(("━", name, colour))
        if spread and name in spread:
            low, high = zip(*spread[name])
            ax.fill_between(ratios, low, high, color=colour, alpha=0.25, linewidth=0)
    if mark is not None:
        ax.axvline(mark, color=INK, linewidth=1.0, linestyle=":")
    ax.set_ylim(bottom=0)
    key(ax, entries)
    tidy(ax, title, "compression ratio ρ (stored numbers / matrix entries)", "relative Frobenius error")


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
            ax.text(k, 0.5, "not\nmeasured", ha="center", va="center", fontsize=8, color=MUTED, transform=_across(ax))
            continue
        ax.bar(k, value, color=COLOURS.get(name, CYCLE[k % len(CYCLE)]), width=0.7)
        ax.text(k, value, _significant(value), ha="center", va="bottom", fontsize=8, color=INK)
    ax.set_xticks(range(len(values)), list(values))
    ax.set_xlim(-0.6, len(values) - 0.4)
    tidy(ax, title, "", ylabel)
    ax.set_yticks([])  # every bar says its value
    ax.grid(False)


def _across(ax: Axes) -> Transform:
    """x in data, y in fractions of the axes."""
    return ax.get_xaxis_transform()


def _significant(value: float) -> str:
    """Three digits without an exponent: 0.123, 12.3, 590k."""
    return _short(round(value)) if value >= 1000 else f"{value:.3g}"


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
        return _plain_tick(value, position)
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
        _words(ax, words, 7.5, ink)
    _words(ax, [(k + 0.2, -0.75, name) for k, name in enumerate(col_names)], 8.5, INK, "right", 40)
    _words(ax, [(-0.65, layer, f"{layer}") for layer in range(0, layers, -(-layers // 14))], 8.5, INK, "right")
    starts = [k for k in range(len(groups)) if not k or groups[k] != groups[k - 1]]
    _words(ax, [(k - 0.5, layers - 0.15, groups[k]) for k in starts], 8.5, MUTED, "left")
    for begin in starts[1:]:
        ax.plot([begin - 0.5] * 2, [-0.5, layers - 0.5], color="white", linewidth=3)
    if mark is not None and mark < layers:
        ax.plot(count - 0.25, mark, marker="<", markersize=6, color=INK, clip_on=False)
    ax.set_xlim(-0.5, count - 0.5)
    ax.set_ylim(-0.5, layers - 0.5)
    if ylabel:
        beside = ax.transAxes + ScaledTranslation(-0.34, 0, ax.figure.dpi_scale_trans)
        _words(ax, [(0, 0.5, ylabel)], 9, INK, "center", 90, beside)
    ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.09 if groups else 1.02)


def _words(
    ax: Axes,
    entries: Sequence[tuple[float, float, str]],
    size: float,
    colour: str,
    side: str = "center",
    rotation: float = 0,
    where: Transform | None = None,
) -> None:
    """(x, y, text), many at once: as one collection of outlines they take a tenth of the time of so many texts.

    side: which of the word's ends is at x; rotation: about it, in degrees. where: of x and y, by default the data.
    """
    entries = [entry for entry in entries if entry[2].strip()]
    share = {"left": 0.0, "center": 0.5, "right": 1.0}[side]
    turned = Affine2D().scale(1 / 72).rotate_deg(rotation) + ax.figure.dpi_scale_trans
    outlines = PathCollection(
        [_outline(text, size, share) for *_, text in entries],
        offsets=[(x, y) for x, y, _ in entries],
        offset_transform=where or ax.transData,
        transform=turned,
        facecolors=colour,
        linewidths=0,
        clip_on=False,
    )
    ax.add_collection(outlines, autolim=False)


@functools.cache
def _outline(text: str, size: float, share: float) -> Path:
    """A word in points, its middle height at 0 and this share of its width to the left of 0."""
    found = TextPath((0, 0), text, size=size)
    right, digit = found.get_extents().x1, TextPath((0, 0), "0", size=size).get_extents()
    return Path(found.vertices - (share * right, (digit.y0 + digit.y1) / 2), found.codes)


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


def draw_owners(
    ax: Axes, groups: Sequence[int], sizes: Sequence[int], centre: int, rank: int = 0, title: str = ""
) -> None:
    """Who owns which tensor of a matrix (MPOBERT Fig. 2): one row a layer, layer 0 at the bottom.

    groups: of each layer, the number of its group; a group's one central tensor is as high as its layers and has a
    dashed border. sizes: numbers of each core, whose boxes are as wide as their logarithm. rank: of an adapter beside.
    """
    layers, n = len(groups), len(sizes)
    widths = 0.34 + 0.5 * np.log1p(sizes) / np.log1p(max(sizes))
    high = 0.62 if layers <= 24 else 0.75
    ax.hlines(np.arange(layers), 0, n - 1, color=MUTED, linewidth=min(1.2, 30 / layers), zorder=1)

    def rows(x: float, width: float, colour: str) -> None:
        corners = np.array([[x, -high / 2], [x + width, -high / 2], [x + width, high / 2], [x, high / 2]])
        boxes = corners + np.array([0, 1]) * np.arange(layers)[:, None, None]  # (layers, 4 corners, 2)
        ax.add_collection(PolyCollection(boxes, facecolor=colour, linewidth=0, snap=False, zorder=2))

    for k in range(n):
        if k != centre:
            rows(k - widths[k] / 2, widths[k], AUXILIARY)
    owned = {group: [layer for layer in range(layers) if groups[layer] == group] for group in groups}
    shared = [
        Rectangle((centre - widths[centre] / 2, mine[0] - 0.42), widths[centre], len(mine) - 0.16)
        for mine in owned.values()
    ]
    border = {"linestyle": (0, (3, 2)), "linewidth": 1.3} if len(owned) <= 12 else {"linewidth": 0.4}
    border = border | {"edgecolor": INK} if len(owned) < layers else {}  # of what nobody shares there is no border
    ax.add_collection(PatchCollection(shared, facecolor=CENTRAL, snap=False, zorder=3, **border))
    if rank:
        rows(n - 0.15, 0.06 + 0.05 * np.log2(1 + rank), ADAPTER)
    ax.set_xlim(-0.5, n - 0.4 + (0.55 if rank else 0))
    ax.set_ylim(-0.6 - 0.08 * max(layers, 4), max(layers, 4) - 0.3)
    ax.axis("off")
    names = [f"A{k + 1 if k < centre else k}" if k != centre else "C" for k in range(n)]
    for k, name in enumerate(names + ["adapter"] * bool(rank)):
        ax.text(k, 0, name, ha="center", va="bottom", fontsize=9, color=INK, transform=_across(ax))
    for layer in dict.fromkeys((0, layers - 1)):
        ax.text(-0.5, layer, f"layer {layer}", ha="right", va="center", fontsize=8, color=INK)
    ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.02)


def draw_parts(ax: Axes, bars: Mapping[str, Mapping[str, float]], title: str = "", digits: int = 1) -> None:
    """One stacked bar a name, from the top, its sum written at its end: name -> {part: number}, parts as in `PARTS`."""
    longest = max((sum(parts.values()) for parts in bars.values()), default=0.0) or 1.0
    for y, (name, parts) in enumerate(bars.items()):
        ends = np.cumsum([0.0, *parts.values()])
        colours = [PARTS.get(part, MUTED) for part in parts]
        boxes = [Rectangle((start, y - 0.3), width, 0.6) for start, width in zip(ends, parts.values())]
        ax.add_collection(PatchCollection(boxes, facecolor=colours, linewidth=0, snap=False))
        where = {"va": "center", "color": INK}
        ax.text(-0.03 * longest, y, name, ha="right", fontsize=9, **where)
        ax.text(ends[-1] + 0.02 * longest, y, f"{ends[-1]:,.{digits}f}", fontsize=9, fontweight="bold", **where)
    seen = [part for part in PARTS if any(parts.get(part) for parts in bars.values())]
    ax.set_xlim(0, 1.25 * longest)
    ax.set_ylim(len(bars) - 0.3 + 0.3 * len(seen), -0.5)
    ax.axis("off")
    for k, part in enumerate(seen):
        y = len(bars) - 0.3 + 0.3 * k
        ax.text(0, y, "■", fontsize=9, va="center", color=PARTS[part])
        ax.text(0.07 * longest, y, part, fontsize=9, va="center", color=INK)
    ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.02)


def draw_matrix(
    ax: Axes, matrix: Sequence[Sequence[float]], title: str = "", xlabel: str = "", ylabel: str = ""
) -> None:
    """A matrix as an image with white at zero, blue and orange for the two signs."""
    values = np.asarray(matrix, dtype=float)
    limit = float(np.abs(values).max()) or 1.0
    signs = LinearSegmentedColormap.from_list("signs", [AUXILIARY, "white", CENTRAL])
    ax.imshow(values, cmap=signs, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    tidy(ax, title, xlabel, ylabel)
    ax.grid(False)
    for axis, count in ((ax.xaxis, values.shape[1]), (ax.yaxis, values.shape[0])):
        axis.set_ticks(range(0, count, max(1, count // 8)))
