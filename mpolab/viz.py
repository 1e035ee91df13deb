"""Pictures from numbers: every `draw_*` takes an Axes and plain numbers, draws, and returns None.

matplotlib and seaborn only; no widget, no model, no MPO. Here are the pictures of an MPO's parts; charts of what was
measured are in `mpolab.charts`, those of experts in `mpolab.expert_charts`, the look of all in `mpolab.look`, and
everything is called from here. The four that draw a model's architecture (`draw_mpop`, `draw_mpobert`,
`draw_moe_and_mpoe`, `draw_mpoe`) take the object itself, whose numbers `mpolab.anatomy` reads.

Items: mpop-fig1, mpoe-fig1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle

from .architecture import draw_mpobert, draw_mpop
from .charts import (
    draw_bars,
    draw_curves,
    draw_grid,
    draw_growth,
    draw_heatmap,
    draw_layers,
    draw_probe,
    draw_scores,
    draw_seeds,
    draw_sizes,
    draw_slopes,
)
from .expert_architecture import draw_moe_and_mpoe, draw_mpoe
from .expert_charts import draw_distances, draw_load, draw_routed_text, draw_runs, draw_shaded_text, expert_colours
from .look import (
    ADAPTER,
    AUXILIARY,
    BEST,
    BUDGET,
    CENTRAL,
    COLOURS,
    CYCLE,
    GRID,
    INK,
    MARKERS,
    MEASURED,
    MUTED,
    PARTS,
    PRINTED,
    TIGHT,
    across,
    core_colours,
    figure,
    head,
    key,
    png,
    short,
    tidy,
)

__all__ = [
    "ADAPTER",
    "AUXILIARY",
    "BEST",
    "BUDGET",
    "CENTRAL",
    "COLOURS",
    "CYCLE",
    "GRID",
    "INK",
    "MARKERS",
    "MEASURED",
    "MUTED",
    "PARTS",
    "PRINTED",
    "TIGHT",
    "core_colours",
    "draw_bars",
    "draw_budget",
    "draw_chain",
    "draw_curves",
    "draw_distances",
    "draw_entropies",
    "draw_grid",
    "draw_growth",
    "draw_heatmap",
    "draw_layers",
    "draw_load",
    "draw_matrix",
    "draw_methods",
    "draw_moe_and_mpoe",
    "draw_mpobert",
    "draw_mpoe",
    "draw_mpop",
    "draw_owners",
    "draw_parts",
    "draw_probe",
    "draw_routed_text",
    "draw_runs",
    "draw_scores",
    "draw_seeds",
    "draw_shaded_text",
    "draw_shares",
    "draw_sizes",
    "draw_slopes",
    "draw_spectra",
    "draw_trained",
    "expert_colours",
    "figure",
    "head",
    "key",
    "png",
    "tidy",
]


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
        ax.text(k, 0, short(sizes[k]), ha="center", va="center", fontsize=9, color="white", fontweight="bold", zorder=3)
        ax.text(k, h / 2 + 0.25, f"i={rows[k]}", ha="center", va="bottom", fontsize=8, color=INK)
        ax.text(k, -h / 2 - 0.25, f"j={cols[k]}", ha="center", va="top", fontsize=8, color=INK)
    ax.set_xlim(-0.5, n - 0.5)
    ax.set_ylim(-0.95, 0.95)
    ax.axis("off")
    ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.02)


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
        ax.text(k, 0, name, ha="center", va="bottom", fontsize=9, color=INK, transform=across(ax))
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
