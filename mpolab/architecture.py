"""Two papers' architecture figures, drawn from the models themselves: MPOP Fig. 1 and MPOBERT Fig. 2.

    viz.draw_mpop(ax, freeze_central(to_mpo(model)))
    viz.draw_mpobert(ax, MPOBertModel(MPOBertConfig.preset("mpobert-48plus")))

Each takes an Axes and an object, reads its tensors (`mpolab.anatomy`), draws what is there, and returns None; on the
meta device, too. They are called from `mpolab.viz`. Notebook 02, "Lightweight fine-tuning"; notebook 03, "Sharing".

Items: mpop-fig1, mpobert-fig2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from .diagram import BODY, LARGE, SMALL, Canvas, called, draw_tensors, legend, part_bar, squared, tail, times, wide
from .look import ADAPTER, AUXILIARY, CENTRAL, INK, MUTED, PARTS, PRINTED

if TYPE_CHECKING:
    from . import anatomy

COLOURS = {"auxiliary": AUXILIARY, "central": CENTRAL, "other": MUTED}  # the parts of `mpolab.anatomy`


# -- MPOP Fig. 1 -----------------------------------------------------------------------------------------


def draw_mpop(ax: Axes, source: Any, matrix: str | None = None, title: str = "") -> None:
    """MPOP Fig. 1: a weight matrix, its central tensor and its auxiliary tensors; best on axes 10 x 6 inches.

    source: a model after `to_mpo` (and `freeze_central`), or one `MPOLinear` or `MPOEmbedding`. matrix: the path of the
    layer to draw; None = the model's first linear one. Shapes, bonds, counts and what trains are read off it. Beyond
    the print it shows which tensors fine-tuning moves (section 4.1), which bonds squeezing cuts (section 4.2) and the
    numbers of the whole model. Hatched is what does not train.

    Raises MatrixTypeError for an object without MPO layers, UnknownNameError for a path that is none's.
    """
    from . import anatomy  # brings transformers, which charts and panels do not need

    found = anatomy.read_mpop(source, matrix)
    chain, rows = found.chain, list(found.kinds.items())
    whole = len(rows) > 1
    canvas = Canvas(ax, 720, 300 + 15 * (len(rows) + whole), title)
    _decomposition(canvas, chain)
    _two_uses(canvas, chain)
    _counts(canvas, 262, found)


def _decomposition(canvas: Canvas, chain: anatomy.Chain) -> None:
    """W, an arrow, and the chain."""
    canvas.word(62, 10, tail(chain.name or "weight", 118, BODY), BODY, bold=True, room=118)
    squared(canvas, 22, 40, 80, 80, chain.shape)
    canvas.word(62, 134, times(chain.shape), BODY)
    canvas.word(62, 146, f"{math.prod(chain.shape):,}", BODY, bold=True)
    if chain.padded != chain.shape:
        canvas.word(62, 158, f"zero-padded to {times(chain.padded)}", SMALL, MUTED, room=122)
    canvas.arrow((112, 80), (148, 80))
    canvas.word(130, 71, "MPO", BODY, bold=True)


def _two_uses(canvas: Canvas, chain: anatomy.Chain) -> None:
    """The chain, and below it what fine-tuning moves and what squeezing cuts."""
    middles = draw_tensors(canvas, 150, 718, 0, chain.cores, chain.full_bonds, 124)
    slot = middles[1] - middles[0] if len(middles) > 1 else 200
    for y, name in ((199, "fine-tuning"), (221, "squeezing")):
        canvas.word(140, y, name, BODY, side="right", bold=True)
        canvas.line([150, 718], [y, y], "#E8E8E8", 1.0)
    for core, x in zip(chain.cores, middles):
        colour = CENTRAL if core.central else AUXILIARY
        width = min(slot - 8, 60)
        canvas.box(x - width / 2, 191, width, 15, colour, core.trains, round=6)
        if not core.trains:
            canvas.box(x - width / 2 + 8, 193.5, width - 16, 10, "white", round=4, zorder=4)
        words = "trains" if core.trains else "frozen"
        canvas.word(x, 199, words, BODY, "white" if core.trains else INK, bold=True, room=width - 18)
    for k, (left, right) in enumerate(pairwise(middles), 1):
        if k not in chain.squeezed:
            continue
        x, now, full = (left + right) / 2, chain.bonds[k], chain.full_bonds[k]
        width = min(slot - 4, 84)
        canvas.box(x - width / 2, 213, width, 15, "white", edge=PRINTED, round=6)
        done = f"cut: {now} of {full}" if now < full else f"can cut {now}"
        canvas.word(x, 221, done, BODY, PRINTED, bold=True, room=width - 8)


def _counts(canvas: Canvas, y: float, found: anatomy.Compressed) -> None:
    """A bar for every kind of matrix, and for the whole."""
    total = found.count()
    bars = dict(found.kinds)
    if len(bars) > 1:
        together: dict[tuple[str, bool], int] = {}
        for counts in bars.values():
            for key, numbers in counts.items():
                together[key] = together.get(key, 0) + numbers
        bars["all"] = together
    what = f"{found.matrices} matrices as MPOs: " if found.matrices > 1 else ""
    canvas.word(2, y - 12, f"{what}numbers that train, of all", BODY, side="left", bold=True)
    for name, counts in bars.items():
        canvas.word(100, y + 5, name, BODY, side="right", bold=name == "all", room=98)
        parts = [(COLOURS[part], counts.get((part, trains), 0), trains) for part in COLOURS for trains in (True, False)]
        end = part_bar(canvas, 106, y, 10, 400 / total, parts)
        trained, mine = sum(n for (_, trains), n in counts.items() if trains), sum(counts.values())
        words = f"{trained:,} of {mine:,} ({trained / mine:.1%})"
        canvas.word(end + 6, y + 5, words, BODY, side="left", bold=name == "all")
        y += 15
    entries = {"auxiliary": (AUXILIARY, True, False), "central": (CENTRAL, True, False)}
    if found.count("other"):
        entries["bias" if "bias" in found.kinds else "no MPO (biases, norms, the rest)"] = (MUTED, True, False)
    if found.count(trains=False):
        entries["hatched: frozen"] = ("#777777", False, False)
    legend(canvas, 106, y + 10, entries)


# -- MPOBERT Fig. 2 --------------------------------------------------------------------------------------


def draw_mpobert(ax: Axes, model: Any, title: str = "") -> None:
    """MPOBERT Fig. 2: layers that share central tensors and own auxiliary tensors and adapters; best on 10 x 6 inches.

    model: an `MPOBertModel`, or one with a head. Each column is one matrix, each row a layer, the input below. A dashed
    box is one central tensor, as high as the layers that share it: all of them, or a group of MPOBERT+. Of many layers
    the middle ones are left out, and how many is written.

    Raises MatrixTypeError for any other object.
    """
    from . import anatomy

    found = anatomy.read_mpobert(model)
    rows = rows_shown([layer.group for layer in found.layers])
    pitch = min(32.0, 216 / len(rows))
    high = pitch * len(rows)
    canvas = Canvas(ax, 720, 190 + high, title)
    top = 46  # of the rows
    columns = _columns(found)
    if found.rest:
        canvas.box(78, 2, columns[-1][1] - 78, 15, PARTS["attention and norms"], round=3)
        canvas.word((78 + columns[-1][1]) / 2, 10, f"pooler and heads: {found.rest:,}")
    for matrix, (left, right) in zip(found.matrices, columns):
        middle = (left + right) / 2
        canvas.word(middle, 27, matrix.name, BODY, bold=True, room=right - left)
        canvas.word(middle, 38, times(matrix.shape), SMALL, MUTED, room=right - left)
    _rows(canvas, found, rows, columns, top, pitch)
    bottom = top + high
    canvas.box(78, bottom + 4, columns[-1][1] - 78, 15, PARTS["embeddings"], round=3)
    canvas.word((78 + columns[-1][1]) / 2, bottom + 12, f"embeddings and their map to the layers: {found.embeddings:,}")
    _tensors_below(canvas, found, columns, bottom + 34)
    _parts_below(canvas, found, bottom + 100)


def rows_shown(groups: Sequence[int], most: int = 8) -> list[tuple[int, int]]:
    """(first, last) of the layers that each row stands for, from the input up; one layer where they are equal.

    groups: the group of each layer. Up to `most` layers all are shown. Of more, each group shows its first and its
    last; one group alone its first three and last two; of more than three groups the first two and the last are shown,
    the layers of the others in one row.
    """
    depth = len(groups)
    if depth <= most:
        return [(k, k) for k in range(depth)]
    members = {group: [k for k in range(depth) if groups[k] == group] for group in groups}
    shown = list(members.values())
    hidden = shown[2:-1] if len(shown) > 3 else []
    below, above = (3, 2) if len(shown) == 1 else (1, 1)
    rows = []
    for mine in shown:
        if hidden and mine in hidden:
            if mine is hidden[0]:
                rows.append((mine[0], hidden[-1][-1]))
            continue
        if len(mine) <= below + above + 1:
            rows += [(k, k) for k in mine]
            continue
        rows += [(k, k) for k in mine[:below]]
        rows.append((mine[below], mine[-above - 1]))
        rows += [(k, k) for k in mine[-above:]]
    return rows


def _columns(found: anatomy.SharedEncoder) -> list[tuple[float, float]]:
    """(left, right) of each matrix."""
    slot = (582 - 78) / len(found.matrices)
    return [(78 + slot * k + 3, 78 + slot * (k + 1) - 3) for k in range(len(found.matrices))]


def _rows(
    canvas: Canvas,
    found: anatomy.SharedEncoder,
    rows: Sequence[tuple[int, int]],
    columns: Sequence[tuple[float, float]],
    top: float,
    pitch: float,
) -> None:
    """The layers, the dashed boxes of what they share, and counts at the right."""
    place = {}  # layer -> the upper and lower end of its row
    for number, (first, last) in enumerate(rows):
        y = top + pitch * (len(rows) - 1 - number)
        place |= {layer: (y, y + pitch) for layer in range(first, last + 1)}
        middle = y + pitch / 2
        if first == last:
            canvas.word(74, middle, f"layer {first}", BODY, side="right")
            own = f"{found.layers[first].numbers:,}"
            canvas.word(626, middle, own, BODY, side="right")
        else:
            canvas.word(74, middle, f"… {last - first + 1} more", BODY, MUTED, side="right")
        for matrix, (left, right) in zip(found.matrices, columns):
            _layer_row(canvas, matrix, left, right, y, pitch, dots=first < last)
    dashed = len(found.groups) < len(found.layers)
    for x, words in ((626, ("a layer's", "own")), (716, ("shared", "(dashed)" if dashed else "by none"))):
        for k, text in enumerate(words):
            canvas.word(x, top - 19 + 11 * k, text, BODY, side="right", bold=True)
    members: dict[int, list[int]] = {}
    for layer, parts in enumerate(found.layers):
        members.setdefault(parts.group, []).append(layer)
    seen = {found.layers[first].group for first, last in rows if first == last}
    left_out = len(members) - len(seen)
    for group, mine in members.items():
        if group not in seen:
            continue
        upper, lower = place[mine[-1]][0] + 2, place[mine[0]][1] - 2
        for matrix, (left, right) in zip(found.matrices, columns):
            x, width = _centre(matrix, left, right)
            canvas.box(x, upper, width, lower - upper, CENTRAL, shared=len(mine) > 1, round=3)
            if lower - upper > 12:
                canvas.word(x + width / 2, (upper + lower) / 2, "C", BODY, "white", bold=True)
        canvas.line([633, 637, 637, 633], [upper, upper, lower, lower], INK, 1.0)
        words = [f"{found.groups[group]:,}"]
        if lower - upper > 34:
            words.insert(0, f"layers {mine[0]}-{mine[-1]}" if len(mine) > 1 else f"layer {mine[0]}")
        if len(found.groups) > 1:
            words.insert(0, f"group {group}")
        if lower - upper < 11 * len(words):
            words = [": ".join(words)]
        for k, line in enumerate(words):
            y = (upper + lower) / 2 + 11 * (k - (len(words) - 1) / 2)
            canvas.word(643, y, line, BODY, side="left", room=75)
    if left_out:
        y = sum(next(place[k] for k, parts in enumerate(found.layers) if parts.group not in seen)) / 2
        canvas.word(643, y, f"… {left_out} more group{'s' * (left_out > 1)}", BODY, MUTED, side="left", room=75)


def _centre(matrix: anatomy.SharedMatrix, left: float, right: float) -> tuple[float, float]:
    """(x, width) of the central tensor's box within a column."""
    width, boxes, room = 20.0, len(matrix.auxiliary), _for_adapter(matrix)
    step = (right - left - width - room) / max(boxes, 1)
    return left + step * matrix.left, width


def _for_adapter(matrix: anatomy.SharedMatrix) -> float:
    return 10.0 if matrix.rank else 0.0


def _layer_row(
    canvas: Canvas, matrix: anatomy.SharedMatrix, left: float, right: float, y: float, pitch: float, dots: bool
) -> None:
    """One matrix of one layer: auxiliary tensors on both sides of the centre, an adapter beside them."""
    _, width = _centre(matrix, left, right)
    boxes, room = len(matrix.auxiliary), _for_adapter(matrix)
    step = (right - left - width - room) / max(boxes, 1)
    high, gap = min(pitch - 5, 13), min(2.0, step / 4)
    places = [left + step * k + (width if k >= matrix.left else 0) for k in range(boxes)]
    middle = y + pitch / 2
    if dots:
        for place in [place + step / 2 for place in places] + [right - 4] * bool(room):
            colour = ADAPTER if room and place == right - 4 else AUXILIARY
            canvas.line([place, place], [middle - high / 2, middle + high / 2], colour, 1.2, dashed=True)
        return
    canvas.line([left + gap, right - room - gap], [middle, middle], MUTED, 0.8)
    for place in places:
        canvas.box(place + gap / 2, middle - high / 2, step - gap, high, AUXILIARY, round=1.5)
    if room:
        canvas.box(right - 7, middle - high / 2, 6, high, ADAPTER, round=1.5)


def _tensors_below(
    canvas: Canvas, found: anatomy.SharedEncoder, columns: Sequence[tuple[float, float]], y: float
) -> None:
    """The shapes and numbers of each matrix's tensors."""
    n = max((len(matrix.auxiliary) for matrix in found.matrices), default=0)
    own = f"A₁ … {called(f'A{n}')}" if n > 1 else "A₁"
    lines = [("C, a group" if len(found.groups) > 1 else "C, once", CENTRAL), ("", CENTRAL)]
    lines.append((f"{own}, a layer", AUXILIARY))
    if any(matrix.rank for matrix in found.matrices):
        lines.append(("adapter, a layer", ADAPTER))
    for k, (name, colour) in enumerate(lines):
        if name:
            canvas.box(2, y + 12 * k - 3, 6, 6, colour, round=1)
            canvas.word(11, y + 12 * k, name, SMALL, side="left", room=64)
    for matrix, (left, right) in zip(found.matrices, columns):
        middle, room = (left + right) / 2, right - left
        words = [times(matrix.central), f"{math.prod(matrix.central):,}", f"{matrix.own:,}"]
        if matrix.rank:
            words.append(f"rank {matrix.rank}: {matrix.adapter:,}")
        for k, text in enumerate(words):
            canvas.word(middle, y + 12 * k, text, SMALL, MUTED if not k else INK, room=room)
    if found.shared:
        for k, text in enumerate((f"{' and '.join(found.shared_names)} of", "all layers, once:", f"{found.shared:,}")):
            canvas.word(716, y + 12 * k, text, SMALL, side="right")


def _parts_below(canvas: Canvas, found: anatomy.SharedEncoder, y: float) -> None:
    """One bar of all numbers, and what its parts are."""
    parts = {name: numbers for name, numbers in found.parts.items() if numbers}
    part_bar(canvas, 2, y, 12, 620 / found.total, [(PARTS[name], numbers, True) for name, numbers in parts.items()])
    canvas.word(628, y + 6, f"{found.total:,} in all", LARGE, side="left", bold=True, room=90)
    x, line = 2.0, y + 24
    for name, numbers in parts.items():
        text = f"{name} {numbers:,}"
        if name == "rest":
            text = f"biases, norms, pooler, heads {numbers:,}"
        canvas.box(x, line - 4, 9, 8, PARTS[name], round=1)
        canvas.word(x + 12, line, text, BODY, side="left")
        x += 12 + wide(text, BODY) + 14
