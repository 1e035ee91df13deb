"""What architecture figures are drawn with: a canvas that scales as a whole, tensors as boxes, chains, bars of counts.

A canvas has units of its own, points of a figure of the size it was laid out for. Its words grow and shrink with the
axes, so that what does not overlap at one size does not at any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from .look import AUXILIARY, CENTRAL, INK, MUTED, outline

SMALL, BODY, LARGE = 6.5, 7.5, 9.0  # sizes of words
PALE = {CENTRAL: "#FBE5B6", AUXILIARY: "#BFDCEE", "#777777": "#D9D9D9"}  # of what does not train
DASHES = (0, (3, 2))
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class Word(Text):
    """A text whose size is in units of its axes."""

    def __init__(self, x: float, y: float, text: str, units: float, **options: Any):
        super().__init__(x, y, text.replace("$", r"\$"), **options)  # two dollar signs would be a formula
        self.units = units

    def _scale(self) -> None:
        (_, low), (_, high) = self.axes.transData.transform([(0, 0), (0, 1)])
        size = self.units * abs(high - low) * 72 / self.figure.dpi
        if abs(size - self.get_fontsize()) > 1e-3:  # a new size marks the figure as stale
            self.set_fontsize(size)

    def draw(self, renderer: RendererBase) -> None:
        self._scale()
        super().draw(renderer)

    def get_window_extent(self, renderer: RendererBase | None = None, dpi: float | None = None) -> Bbox:
        self._scale()
        return super().get_window_extent(renderer, dpi)


class Canvas:
    """Axes of so many units in width and height, from the upper left corner, with square units."""

    def __init__(self, ax: Axes, width: float, height: float, title: str = ""):
        self.ax, self.width, self.height = ax, width, height
        ax.set_xlim(0, width)
        ax.set_ylim(height, 0)
        ax.set_aspect("equal")
        ax.axis("off")
        ax.set_title(title, fontsize=10, color=INK, loc="left", y=1.01)

    def word(
        self,
        x: float,
        y: float,
        text: str,
        size: float = BODY,
        colour: str = INK,
        side: str = "center",
        bold: bool = False,
        room: float | None = None,
        rotation: float = 0,
    ) -> None:
        """A line at (x, y), its middle height there. side: which of its ends is at x. room: smaller if it is wider."""
        if room is not None:
            size = min(size, size * room / wide(text, size)) if text else size
        weight = "bold" if bold else "normal"
        options = {"color": colour, "ha": side, "va": "center_baseline", "fontweight": weight, "rotation": rotation}
        self.ax.add_artist(Word(x, y, text, size, clip_on=False, zorder=6, **options))

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        trains: bool = True,
        shared: bool = False,
        edge: str | None = None,
        round: float = 2.0,
        zorder: float = 3,
    ) -> None:
        """(x, y): upper left corner. What does not train is pale and hatched; what is shared has a dashed border."""
        face = {"facecolor": fill} if trains else {"facecolor": PALE.get(fill, "white"), "hatch": "////"}
        looks = [{**face, "edgecolor": edge or fill, "linewidth": 0.8}]
        if shared:  # a border of its own, as a hatching has the colour of its edge
            looks.append({"facecolor": "none", "edgecolor": INK, "linewidth": 1.1, "linestyle": DASHES})
        shape = f"round,pad=0,rounding_size={min(round, width / 2, height / 2)}"
        for look in looks:
            self.ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, zorder=zorder, **look))

    def line(
        self, x: Sequence[float], y: Sequence[float], colour: str = MUTED, width: float = 1.0, dashed: bool = False
    ) -> None:
        style = DASHES if dashed else "-"
        self.ax.add_line(Line2D(x, y, color=colour, linewidth=width, linestyle=style, zorder=2))

    def arrow(
        self, begin: tuple[float, float], end: tuple[float, float], colour: str = INK, width: float = 1.2
    ) -> None:
        head = {"arrowstyle": "-|>", "mutation_scale": 9, "shrinkA": 0, "shrinkB": 0}
        self.ax.add_patch(FancyArrowPatch(begin, end, color=colour, linewidth=width, zorder=2, **head))


def wide(text: str, size: float) -> float:
    """Width of a word in units, or points, bold or not."""
    return 1.1 * float(outline(text, size, 0.0).get_extents().x1) if text.strip() else 0.0


def times(sizes: Sequence[int]) -> str:
    """ "768 × 3072"."""
    return " × ".join(map(str, sizes))


def called(core: str) -> str:
    """ "A1" -> "A₁"."""
    return core.translate(SUBSCRIPTS)


def tail(path: str, room: float, size: float) -> str:
    """The end of a dotted path that fits, after an ellipsis where it is cut."""
    parts = path.split(".")
    for k in range(len(parts)):
        text = ("… " if k else "") + ".".join(parts[k:])
        if wide(text, size) <= room:
            return text
    return f"… {parts[-1]}"


def part_bar(
    canvas: Canvas,
    x: float,
    y: float,
    height: float,
    unit: float,
    parts: Sequence[tuple[str, int, bool]],
) -> float:
    """(colour, numbers, trains) side by side, `unit` wide a number; returns where they end."""
    for colour, numbers, trains in parts:
        if numbers:
            canvas.box(x, y, numbers * unit, height, colour, trains, round=0.0)
            x += numbers * unit
    return x


def legend(canvas: Canvas, x: float, y: float, entries: Mapping[str, tuple[str, bool, bool]], gap: float = 12) -> None:
    """name -> (colour, trains, shared) as little boxes in a row, from the left."""
    for name, (colour, trains, shared) in entries.items():
        canvas.box(x, y - 4, 11, 8, colour, trains, shared, round=1.0)
        canvas.word(x + 15, y, name, BODY, side="left")
        x += 15 + wide(name, BODY) + gap


def draw_tensors(
    canvas: Canvas, left: float, right: float, top: float, cores: Sequence[Any], full_bonds: Sequence[int], high: float
) -> list[float]:
    """A chain of tensors between two x, with its legs i_k and j_k, its bonds and every tensor's shape and numbers.

    cores: of `mpolab.anatomy`. high: of the largest box. Takes high + 70 units of height from `top` on; returns the
    middles of the boxes.
    """
    n = len(cores)
    slot = (right - left) / n
    middles = [left + slot * (k + 0.5) for k in range(n)]
    width, y = min(0.5 * slot, 52), top + 18 + high / 2
    most = max(core.numbers for core in cores)
    for k in range(n - 1):
        d = cores[k].shape[3]
        begin, end = middles[k] + width / 2, middles[k + 1] - width / 2
        cut = d < full_bonds[k + 1]
        canvas.line([begin, end], [y, y], INK, 1.6, dashed=True)
        canvas.word((begin + end) / 2, y - 8, f"{d}", LARGE, bold=True, room=end - begin - 2)
        if cut:
            canvas.word((begin + end) / 2, y + 8, f"of {full_bonds[k + 1]}", SMALL, MUTED, room=end - begin - 2)
    for core, x in zip(cores, middles):
        tall = high * (0.4 + 0.6 * (core.numbers / most) ** 0.25)
        colour = CENTRAL if core.central else AUXILIARY
        _, i, j, _ = core.shape
        canvas.line([x, x], [y - high / 2 - 8, y + high / 2 + 8], INK, 1.1)
        canvas.box(x - width / 2, y - tall / 2, width, tall, colour, core.trains, round=4)
        ink = "white" if core.trains else INK
        if not core.trains:  # on the hatching a word needs a ground
            canvas.box(x - width / 2 + 4, y - 8, width - 8, 16, "white", round=3, zorder=4)
        canvas.word(x, y, called(core.name), LARGE, ink, bold=True, room=width - 10)
        canvas.word(x, y - high / 2 - 14, f"i = {i}", BODY, room=slot - 4)
        canvas.word(x, y + high / 2 + 14, f"j = {j}", BODY, room=slot - 4)
        canvas.word(x, y + high / 2 + 28, times(core.shape), SMALL, MUTED, room=slot - 4)
        canvas.word(x, y + high / 2 + 39, f"{core.numbers:,}", BODY, bold=True, room=slot - 4)
    return middles


def squared(canvas: Canvas, x: float, y: float, width: float, height: float, shape: Sequence[int]) -> None:
    """A dense matrix as a grey box of about its proportions in the middle of a place, "W" in it."""
    ratio = (shape[0] / shape[1]) ** 0.5
    tall, broad = min(height, width * ratio), min(width, height / ratio)
    canvas.box(x + (width - broad) / 2, y + (height - tall) / 2, broad, tall, MUTED, round=2)
    canvas.word(x + width / 2, y + height / 2, "W", LARGE, "white", bold=True)
