"""MPOE's two architecture figures, drawn from the layers themselves.

    viz.draw_moe_and_mpoe(ax, DenseExperts.from_ffn(ffn, 8), MPOExperts.from_ffn(ffn, 8))
    viz.draw_mpoe(ax, to_moe(model, "mpoe", experts=8, mask_probability=0.25))

Each takes an Axes and objects, reads their tensors (`mpolab.anatomy`), draws what is there, and returns None; on the
meta device, too. They are called from `mpolab.viz`. In the paper the colours are the other way round: here orange is
the central tensor, as in all pictures of this package. Notebook 04, "From FFN to experts".

Items: mpoe-fig1, mpoe-fig2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes

from .diagram import BODY, LARGE, SMALL, Canvas, called, draw_tensors, legend, part_bar, squared, tail, times, wide
from .errors import MatrixTypeError
from .look import AUXILIARY, CENTRAL, INK, MUTED, PARTS, PRINTED

if TYPE_CHECKING:
    from . import anatomy

CARD = "#F4F4F4"
FRAME = "#BBBBBB"
STEPS = 24
"""Of the optimizer, whose masks Fig. 2 shows."""


def shown_experts(count: int, most: int) -> list[int | None]:
    """The experts that have a place of their own; None stands for those left out, before the last."""
    if count <= most:
        return list(range(count))
    return [*range(most - 2), None, count - 1]


# -- Fig. 1 ----------------------------------------------------------------------------------------------


def draw_moe_and_mpoe(ax: Axes, dense: Any, mpo: Any, title: str = "") -> None:
    """MPOE Fig. 1: one expert's matrix as a chain of tensors, and below it what that changes in a layer of experts.

    The print shows the chain alone (in this figure's upper part). dense: a `MoELayer` with dense experts, or
    `DenseExperts`. mpo: one whose experts share their central tensors, or `MPOExperts`. Both of blocks of the same
    shape; their numbers of experts may differ. Best on axes 10 x 6.5 inches.

    Raises MatrixTypeError for objects that are not these, or of different shapes.
    """
    from . import anatomy  # brings transformers, which charts and panels do not need

    left, right = anatomy.read_experts(dense, mpo=False), anatomy.read_experts(mpo, mpo=True)
    shapes = [{matrix.name: matrix.shape for matrix in found.matrices} for found in (left, right)]
    if shapes[0] != shapes[1]:
        raise MatrixTypeError(
            f"the dense experts have matrices {shapes[0]}, those that share a centre {shapes[1]}; compare layers that "
            "were made of the same block."
        )
    canvas = Canvas(ax, 720, 452, title)
    chain = right.matrices[0].chain
    canvas.word(60, 10, f"one expert's matrix {chain.name}", BODY, bold=True, room=118)
    squared(canvas, 26, 30, 68, 68, chain.shape)
    canvas.word(60, 114, times(chain.shape), BODY)
    canvas.word(60, 126, f"{math.prod(chain.shape):,}", BODY, bold=True)
    canvas.arrow((112, 66), (146, 66))
    canvas.word(129, 57, "MPO", BODY, bold=True)
    draw_tensors(canvas, 150, 718, 0, chain.cores, chain.full_bonds, 96)
    canvas.line([0, 720], [176, 176], "#DDDDDD", 0.8)
    top, pitch = 216, 30
    places = shown_experts(max(left.count, right.count), 4)
    bottom = top + pitch * len(places)
    _dense_side(canvas, left, shown_experts(left.count, 4), top, pitch)
    _shared_side(canvas, right, shown_experts(right.count, 4), top, pitch)
    _beside(canvas, left, right, bottom + 46)


def _heading(canvas: Canvas, x: float, words: str, below: str, room: float) -> None:
    canvas.word(x, 190, words, LARGE, side="left", bold=True, room=room)
    canvas.word(x, 203, below, BODY, MUTED, side="left", room=room)


def _row(canvas: Canvas, x: float, y: float, pitch: float, expert: int | None, count: int, places: int) -> bool:
    """The name at the left; whether it is an expert."""
    if expert is None:
        canvas.word(x, y + pitch / 2, f"… {count - places + 1} more", BODY, MUTED, side="right")
        return False
    canvas.word(x, y + pitch / 2, f"expert {expert}", BODY, side="right")
    return True


def _dense_side(
    canvas: Canvas, found: anatomy.ExpertSet, places: Sequence[int | None], top: float, pitch: float
) -> None:
    """Grey matrices, one of each expert."""
    _heading(canvas, 2, f"MoE: {found.count} experts", "every expert has matrices of its own", 330)
    begin, slot = 56.0, (316 - 56) / len(found.matrices)
    for row, expert in enumerate(places):
        y = top + pitch * row
        own = _row(canvas, 50, y, pitch, expert, found.count, len(places))
        for k, matrix in enumerate(found.matrices):
            x = begin + slot * k
            if own:
                canvas.box(x + 2, y + 4, slot - 4, pitch - 8, MUTED, round=3)
                words = f"{matrix.name}: {matrix.own:,}"
                canvas.word(x + slot / 2, y + pitch / 2, words, BODY, "white", bold=True, room=slot - 12)
            else:
                canvas.line([x + slot / 2] * 2, [y + 7, y + pitch - 7], MUTED, 1.4, dashed=True)
    bottom = top + pitch * len(places) + 10
    for k, matrix in enumerate(found.matrices):
        canvas.word(begin + slot * (k + 0.5), bottom, times(matrix.shape), SMALL, MUTED, room=slot - 4)


def _shared_side(
    canvas: Canvas, found: anatomy.ExpertSet, places: Sequence[int | None], top: float, pitch: float
) -> None:
    """Blue tensors of every expert on both sides of the orange ones, which all share."""
    _heading(canvas, 340, f"MPOE: {found.count} experts", "every expert has auxiliary tensors; all share C", 378)
    begin, slot = 396.0, (718 - 396) / len(found.matrices)
    width = min(56.0, 0.42 * slot)
    bottom = top + pitch * len(places)
    for row, expert in enumerate(places):
        y = top + pitch * row
        own = _row(canvas, 390, y, pitch, expert, found.count, len(places))
        for k, matrix in enumerate(found.matrices):
            _own_tensors(canvas, matrix.chain, begin + slot * k + 4, slot - 8, width, y, pitch, own)
    for k, matrix in enumerate(found.matrices):
        x, _ = _middle(matrix.chain, begin + slot * k + 4, slot - 8, width)
        central = next(core for core in matrix.chain.cores if core.central)
        canvas.box(x, top + 2, width, bottom - top - 4, CENTRAL, central.trains, shared=found.count > 1, round=4)
        if not central.trains:
            canvas.box(x + 4, (top + bottom) / 2 - 20, width - 8, 40, "white", round=3, zorder=4)
        ink = "white" if central.trains else INK
        for text, far in (("C", -12), (f"{matrix.shared:,}", 2), ("once", 13)):
            canvas.word(x + width / 2, (top + bottom) / 2 + far, text, BODY, ink, bold=True, room=width - 10)
        text = f"{matrix.name}: {_names(matrix.chain)} {matrix.own:,} each"
        canvas.word(begin + slot * (k + 0.5), bottom + 10, text, SMALL, MUTED, room=slot - 6)


def _names(chain: anatomy.Chain) -> str:
    own = [called(core.name) for core in chain.cores if not core.central]
    return own[0] if len(own) == 1 else f"{own[0]}…{own[-1]}"


def _middle(chain: anatomy.Chain, x: float, room: float, width: float) -> tuple[float, float]:
    """(x of the centre's box, width of each auxiliary tensor's place)."""
    step = (room - width) / (len(chain.cores) - 1)
    return x + step * chain.centre, step


def _own_tensors(
    canvas: Canvas, chain: anatomy.Chain, x: float, room: float, width: float, y: float, pitch: float, own: bool
) -> None:
    """One expert's auxiliary tensors of one matrix, or dashes for experts that are left out."""
    _, step = _middle(chain, x, room, width)
    high, middle = min(pitch - 10, 18), y + pitch / 2
    if own:
        canvas.line([x + 2, x + room - 2], [middle, middle], MUTED, 0.8)
    for k, core in enumerate(core for core in chain.cores if not core.central):
        place = x + step * k + (width if k >= chain.centre else 0)
        if not own:
            canvas.line([place + step / 2] * 2, [middle - 8, middle + 8], AUXILIARY, 1.4, dashed=True)
            continue
        gap = min(5.0, step / 4)
        canvas.box(place + gap / 2, middle - high / 2, step - gap, high, AUXILIARY, core.trains, round=2)


def _beside(canvas: Canvas, left: anatomy.ExpertSet, right: anatomy.ExpertSet, y: float) -> None:
    """Both layers' numbers as bars of one scale."""
    unit = 420 / max(left.total, right.total)
    canvas.word(2, y - 14, "all numbers of the layer's experts, to one scale", BODY, side="left", bold=True)
    for name, found, first in (("MoE", left, "dense"), ("MPOE", right, "auxiliary")):
        canvas.word(50, y + 8, name, BODY, side="right", bold=True)
        colour = MUTED if first == "dense" else AUXILIARY
        parts = [(CENTRAL, found.shared, True), (colour, found.count * found.own, True),
                 (PARTS["biases"], found.biases, True)]  # fmt: skip
        end = part_bar(canvas, 56, y, 14, unit, parts)
        share = f", {found.total / left.total:.3f} of MoE" if found is right else ""
        canvas.word(end + 6, y + 7, f"{found.total:,}{share}", BODY, side="left", bold=True)
        y += 22
    entries = {
        f"matrices {left.count * left.own:,}": (MUTED, True, False),
        f"central {right.shared:,}": (CENTRAL, True, False),
        f"auxiliary {right.count} × {right.own:,}": (AUXILIARY, True, False),
    }
    if left.biases or right.biases:
        both = f"{left.biases:,}" if left.biases == right.biases else f"{left.biases:,}; {right.biases:,}"
        entries[f"biases {both}"] = (PARTS["biases"], True, False)
    legend(canvas, 56, y + 8, entries)


# -- Fig. 2 ----------------------------------------------------------------------------------------------


def draw_mpoe(ax: Axes, model: Any, layer: int = 0, title: str = "") -> None:
    """MPOE Fig. 2: a layer with experts that share central tensors, and the gradient mask; best on axes 10 x 6 inches.

    model: a GPT-2 or T5 after `to_moe(model, "mpoe")`. layer: which of its layers with experts, counted from 0. (a) the
    router, the experts' own tensors, the shared ones; (b) which updates of each central tensor the mask discards in the
    first steps, drawn with the model's own probability and seed.

    Raises MatrixTypeError for another object, UnknownNameError for a layer that is not there.
    """
    from . import anatomy

    found = anatomy.read_mixture(model, layer)
    experts = found.experts
    high = 238 + 44 * len(experts.matrices)
    canvas = Canvas(ax, 720, high, title)
    _layer_with_experts(canvas, found, layer)
    _gradient_mask(canvas, found)
    canvas.line([0, 720], [high - 48, high - 48], "#DDDDDD", 0.8)
    _layer_counts(canvas, found, high - 36)


def _layer_with_experts(canvas: Canvas, found: anatomy.Mixture, layer: int) -> None:
    """(a): the output above, the input below."""
    experts = found.experts
    canvas.word(2, 8, "(a) experts that share central tensors", LARGE, side="left", bold=True)
    which = f"layer {layer} of {found.layers} with experts: {tail(found.path, 250, BODY)}"
    canvas.word(2, 21, which, BODY, MUTED, side="left", room=440)
    left, right, top = 70.0, 440.0, 84.0
    places = shown_experts(experts.count, 8)
    slot = (right - left) / len(places)
    band = 44.0  # of one matrix: auxiliary tensors above, the shared one below
    bottom = top + band * len(experts.matrices)
    canvas.box(left + 100, 34, right - left - 200, 16, "white", edge=FRAME, round=4)
    canvas.word((left + right) / 2, 42, f"gate × expert's output ({experts.hidden})", BODY, room=right - left - 210)
    canvas.arrow(((left + right) / 2, top - 16), ((left + right) / 2, 51))
    for row, expert in enumerate(places):
        x = left + slot * row
        if expert is None:
            canvas.word(x + slot / 2, top - 8, f"… {experts.count - len(places) + 1}", BODY, MUTED, room=slot - 2)
        else:
            canvas.box(x + 2, top, slot - 4, bottom - top + 2, CARD, edge=FRAME, round=4, zorder=1)
            name = f"expert {expert}" if slot > 46 else f"{expert}"
            canvas.word(x + slot / 2, top - 8, name, BODY, bold=True, room=slot - 2)
        for k, matrix in enumerate(experts.matrices):
            _tensors_of_one(canvas, matrix.chain, x + 5, slot - 10, top + 5 + band * k, 13, expert is not None)
    for k, matrix in enumerate(experts.matrices):
        y = top + 22 + band * k
        central = next(core for core in matrix.chain.cores if core.central)
        canvas.box(left - 4, y, right - left + 8, 17, CENTRAL, central.trains, shared=experts.count > 1, round=4)
        words = f"C of {matrix.name}: {times(central.shape)} = {central.numbers:,}, once"
        if not central.trains:
            room = min(wide(words, BODY) + 10, right - left)
            canvas.box((left + right - room) / 2, y + 3, room, 11, "white", round=3, zorder=4)
        ink = "white" if central.trains else INK
        canvas.word((left + right) / 2, y + 8.5, words, BODY, ink, bold=True, room=right - left - 8)
        canvas.word(left - 10, y - 11, matrix.name, BODY, side="right", bold=True)
        canvas.word(left - 10, y + 1, times(matrix.shape), SMALL, MUTED, side="right", room=58)
    router = bottom + 34
    middle = (left + right) / 2
    for row, expert in enumerate(places):
        if expert is not None:
            canvas.arrow((middle, router), (left + slot * (row + 0.5), bottom + 5), MUTED, 0.8)
    canvas.box(middle - 130, router, 260, 18, "white", edge=INK, round=5)
    words = f"{found.router_name}: {experts.hidden} → {experts.count}, {found.router:,} numbers"
    canvas.word(middle, router + 9, words, BODY, bold=True, room=250)
    canvas.box(middle - 80, router + 36, 160, 16, "white", edge=FRAME, round=4)
    canvas.word(middle, router + 44, f"a token's hidden state ({experts.hidden})", BODY, room=150)
    canvas.arrow((middle, router + 36), (middle, router + 19))


def _tensors_of_one(
    canvas: Canvas, chain: anatomy.Chain, x: float, room: float, y: float, high: float, own: bool
) -> None:
    """One expert's auxiliary tensors in a row, and lines down to the shared one."""
    boxes = [core for core in chain.cores if not core.central]
    step = room / len(boxes)
    for k, core in enumerate(boxes):
        middle = x + step * (k + 0.5)
        if own:
            canvas.box(x + step * k + step / 8, y, step * 0.75, high, AUXILIARY, core.trains, round=1.5)
            canvas.line([middle, middle], [y + high, y + high + 5], MUTED, 0.6)
        else:
            canvas.line([middle, middle], [y, y + high], AUXILIARY, 1.0, dashed=True)


def _gradient_mask(canvas: Canvas, found: anatomy.Mixture) -> None:
    """(b): what each optimizer step updates."""
    experts, x, right = found.experts, 470.0, 718.0
    canvas.word(x, 8, "(b) the gradient mask", LARGE, side="left", bold=True)
    about = (f"p_b = {found.mask:g}: so likely is it that a step's update", "of a central tensor is discarded")
    if not found.mask:
        about = ("p_b = 0: no update of a central tensor is discarded",)
    if found.mask == 1:
        about = ("p_b = 1: every update is discarded,", "the central tensors are frozen")
    for k, line in enumerate(about):
        canvas.word(x, 21 + 12 * k, line, BODY, MUTED, side="left", room=right - x)
    canvas.word(x, 54, "auxiliary tensors", BODY, AUXILIARY, side="left", bold=True)
    canvas.word(x, 66, "updated in each step where a token came to the expert", BODY, side="left", room=right - x)
    begin, step = x + 34, (right - x - 34) / STEPS
    canvas.box(begin + 0.7, 74, right - begin - 1.4, 10, AUXILIARY, round=1)
    canvas.word(x, 106, "central tensors", BODY, PRINTED, side="left", bold=True)
    canvas.word(x, 118, f"the first {STEPS} steps, as seed {found.seed} draws them", BODY, side="left", room=right - x)
    y, gone = 128.0, 0
    for matrix in experts.matrices:
        canvas.word(x + 30, y + 6, matrix.name, BODY, side="right", room=30)
        for number in range(STEPS):
            discarded = found.discarded(matrix.name, number)
            gone += discarded
            canvas.box(begin + step * number + 0.7, y, step - 1.4, 12, CENTRAL, not discarded, round=1)
        y += 20
    canvas.word(begin, y + 2, "step 0", SMALL, MUTED, side="left")
    canvas.word(right, y + 2, f"{STEPS - 1}", SMALL, MUTED, side="right")
    drawn = STEPS * len(experts.matrices)
    legend(canvas, x, y + 22, {f"updated: {drawn - gone}": (CENTRAL, True, False),
                               f"discarded: {gone}": (CENTRAL, False, False)})  # fmt: skip
    lines = [
        f"Every token moves the centre; with an even load, one in {experts.count}",
        "moves an expert's own tensors." + (" The mask evens that out." if found.mask else ""),
    ]
    if found.mask:
        lines += ["Discarded: no gradient at all, so that Adam's momentum", "does not move the centre either."]
    for k, line in enumerate(lines):
        canvas.word(x, y + 46 + 12 * k, line, BODY, side="left", room=right - x)


def _layer_counts(canvas: Canvas, found: anatomy.Mixture, y: float) -> None:
    """One bar of the layer's numbers, and the model's."""
    experts = found.experts
    kept = " (one is the dense block, kept)" if found.dense_kept else ""
    total = experts.total + found.router
    canvas.word(2, y, f"this layer: {total:,} numbers, {experts.count} experts{kept}; the model: {found.total:,}", BODY,
                side="left", bold=True, room=716)  # fmt: skip
    parts = {
        f"central {experts.shared:,}": (CENTRAL, experts.shared),
        f"auxiliary {experts.count} × {experts.own:,}": (AUXILIARY, experts.count * experts.own),
        f"biases {experts.biases:,}": (PARTS["biases"], experts.biases),
        f"router {found.router:,}": (PARTS["routers"], found.router),
    }
    part_bar(canvas, 2, y + 9, 9, 716 / total, [(colour, numbers, True) for colour, numbers in parts.values()])
    legend(canvas, 2, y + 29, {name: (colour, True, False) for name, (colour, numbers) in parts.items() if numbers})
