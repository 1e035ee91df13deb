"""The look that all pictures share: colours, the white figure, tidy axes, keys, numbers as short words.

Colours are Okabe-Ito's, which stay apart for colour-blind readers and in grey: orange is the central tensor and blue
the auxiliary ones, everywhere. The background is opaque white, so that a figure reads the same in a dark theme. Figures
are made without pyplot, so nothing is kept alive.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import AutoLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Affine2D, Transform

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
    "MoE": "#D55E00",
    "MPOE": "#009E73",
    "load": "#009E73",
    "router": "#CC79A7",
}
ADAPTER = "#CC79A7"
PARTS = {
    "embeddings": "#BBBBBB",
    "attention and norms": "#DDDDDD",
    "central": CENTRAL,
    "auxiliary": AUXILIARY,
    "adapters": ADAPTER,
    "dense": "#777777",
    "biases": "#222222",
    "routers": "#CC79A7",
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


def head(fig: Figure, text: str, left: float = 0.07) -> None:
    """A heading above several axes."""
    fig.text(left, 0.955, text, fontsize=10, color=INK, fontweight="bold")


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
            axis.set_major_formatter(FuncFormatter(plain_tick))
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


def core_colours(n: int, centre: int) -> list[str]:
    """Orange for the central tensor, blue for the auxiliary ones."""
    return [CENTRAL if k == centre else AUXILIARY for k in range(n)]


def plain_tick(value: float, _position: int) -> str:
    return short(round(value)) if value >= 1000 else f"{value:g}"


def short(count: int) -> str:
    """A count in three characters or so: 640, 65k, 2.4M."""
    if count < 1000:
        return str(count)
    if count < 1_000_000:
        return f"{count / 1000:.0f}k"
    return f"{count / 1_000_000:.1f}M"


def significant(value: float) -> str:
    """Three digits without an exponent: 0.123, 12.3, 590k."""
    return short(round(value)) if value >= 1000 else f"{value:.3g}"


def across(ax: Axes) -> Transform:
    """x in data, y in fractions of the axes."""
    return ax.get_xaxis_transform()


def write(
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
        [outline(text, size, share) for *_, text in entries],
        offsets=[(x, y) for x, y, _ in entries],
        offset_transform=where or ax.transData,
        transform=turned,
        facecolors=colour,
        linewidths=0,
        clip_on=False,
    )
    ax.add_collection(outlines, autolim=False)


@functools.cache
def outline(text: str, size: float, share: float) -> Path:
    """A word in points, its middle height at 0 and this share of its width to the left of 0."""
    found = TextPath((0, 0), text.replace("$", r"\$"), size=size)  # two dollar signs would be a formula
    right, digit = found.get_extents().x1, TextPath((0, 0), "0", size=size).get_extents()
    return Path(found.vertices - (share * right, (digit.y0 + digit.y1) / 2), found.codes)
