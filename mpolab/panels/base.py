"""The protocol of all panels: controls over one picture.

A panel is a column of controls and one Image holding a PNG that `mpolab.viz` drew. It has three faces: the live
widget, `image/png` for pages and previews without widgets, and `text/plain`, one line of the numbers on display
(`readout`; deterministic ones only), which a strict notebook test compares. `set(**values)` shows a given setting;
`sweep()` visits the settings one by one. Nothing decomposes when a slider moves: choosing a matrix, n or method does,
once, through the workbench.
"""

from __future__ import annotations

import base64
import gc
import html
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure
from tqdm import tqdm
from traitlets import TraitError

from .. import viz
from ..errors import BondError, unknown
from ..mpo import MPO
from ..workbench import Workbench

# The controls that may decompose or read a record; all others are sliders and only look up.
SLOW = ("matrix", "matrices", "record", "n", "method", "factors", "slow")
STYLE = {"description_width": "initial"}
BAR_AFTER = 2.0  # seconds of work before a panel that nobody sees yet says on stderr what it does


class Panel(widgets.VBox):
    """Controls over one picture; see the module's text for the protocol.

    source: what to look at, as `Workbench.of` takes it: a matrix, a dictionary of matrices, a model or its name, or
    nothing for the real pre-trained model.
    """

    def __init__(self, source: object = None, **start: Any):
        super().__init__()
        self._displayed, self._bar = False, None
        self.look_at(source)
        self._quiet = True
        self.controls: dict[str, Any] = self.make_controls()
        self._first = next(iter(self.controls))  # the menu of what to look at
        if self._first in start:
            self.controls[self._first].value = self._known(self._first, start.pop(self._first))
        # at its own size: a VBox would stretch it and blur it
        layout = widgets.Layout(width="auto", max_width="100%", align_self="flex-start")
        self.image = widgets.Image(format="png", layout=layout)
        self.busy = widgets.HTML("")
        for name, control in self.controls.items():
            control.observe(lambda change, name=name: self._changed(name), names="value")
        self.children = (*self.rows(), self.busy, self.image)
        self._readout = ""
        self._adapt(self._first)
        self._quiet = False
        self.set(**start)

    # -- what a panel defines -----------------------------------------------------------------------

    def look_at(self, source: object) -> None:
        """Takes what was given; most panels show matrices."""
        self.workbench = Workbench.of(source)

    def make_controls(self) -> dict[str, Any]:
        """Name -> widget, in the order of appearance; the first is the menu of what to look at."""
        raise TypeError(f"{type(self).__name__} defines no controls")

    def numbers(self) -> dict[str, Any]:
        """The numbers to show at the current setting: fast, and nothing is decomposed here."""
        raise TypeError(f"{type(self).__name__} defines no numbers")

    def draw(self, numbers: dict[str, Any]) -> Figure:
        raise TypeError(f"{type(self).__name__} defines no picture")

    def line(self, numbers: dict[str, Any]) -> str:
        """One line of the numbers on display, the same on every machine."""
        raise TypeError(f"{type(self).__name__} defines no line")

    def rows(self) -> list[Any]:
        """How the controls are laid out: menus in one row, sliders in the next ones."""
        menus = [c for name, c in self.controls.items() if name in SLOW]
        sliders = [c for name, c in self.controls.items() if name not in SLOW]
        wrap = widgets.Layout(flex_flow="row wrap")
        return [widgets.HBox(menus, layout=wrap), widgets.HBox(sliders, layout=wrap)]

    def after_slow_change(self) -> None:
        """Adapts the controls to a new matrix (maximum of a slider) and does the slow work; nothing is drawn yet."""

    def after_change(self, name: str) -> None:
        """Lets one control move others (one slider for all bonds)."""

    # -- the protocol -------------------------------------------------------------------------------

    @property
    def readout(self) -> str:
        """The panel's text face."""
        return self._readout

    def set(self, **values: Any) -> Panel:
        """Shows the given setting (menus first, then sliders, one redraw) and returns the panel."""
        order = list(self.controls)
        for name in values:
            self._known_control(name)
        before = {name: control.value for name, control in self.controls.items()}
        with self._silently():
            try:
                for name in sorted(values, key=lambda name: (name not in SLOW, order.index(name))):
                    self._put(name, values[name])
            except Exception:
                self._put_all(before)
                raise
        self.refresh()
        return self

    def _put_all(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            self._put(name, value)

    def _put(self, name: str, value: Any) -> None:
        """Moves one control, and those that depend on it."""
        try:
            self.controls[name].value = self._known(name, value)
        except TraitError as problem:
            raise BondError(f"{name} = {value!r} is no setting of this control: {problem}") from None
        self._adapt(name)

    def sweep(self, points: int | None = 5) -> list[str]:
        """Visits the settings, one control at a time, and returns all readouts; then everything is as it was.

        A menu goes through all its options; a slider through `points` evenly spaced values with both ends (None: all).
        """
        before = {name: control.value for name, control in self.controls.items()}
        seen = []
        for name, control in self.controls.items():
            try:
                for value in list(_settings(control, points)):
                    self.set(**{name: value})
                    seen.append(self.readout)
            finally:
                self.set(**before)
        return seen

    def refresh(self) -> None:
        """Looks the numbers up and draws them."""
        numbers = self.numbers()
        with _no_collection():
            self.image.value = viz.png(self.draw(numbers))
        self._readout = self.line(numbers)
        self._shown = {name: control.value for name, control in self.controls.items()}

    def value(self, name: str) -> Any:
        return self.controls[name].value

    def _changed(self, name: str) -> None:
        if self._quiet:
            return
        try:
            with self._silently():
                self._adapt(name)
            self.refresh()
        # an exception in a callback would go unseen: the reader is told in the panel, which stays as it was
        except (ValueError, TypeError, FileNotFoundError) as problem:
            with self._silently():
                self._put_all(self._shown)
            self.say(html.escape(str(problem)))

    def _adapt(self, name: str) -> None:
        if name in SLOW:
            with self._working(f"working on {self.value(self._first)} …"):
                self.after_slow_change()
        else:
            self.after_change(name)

    @contextmanager
    def _silently(self) -> Iterator[None]:
        """Controls that code moves do not each draw a picture."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    @contextmanager
    def _working(self, text: str) -> Iterator[None]:
        """Says that something slow goes on, in the panel itself; `say` changes the words meanwhile.

        Until the panel is displayed, where nobody could read that, a line on stderr says it after `BAR_AFTER` seconds.
        """
        self._bar = tqdm(bar_format="{desc} {elapsed}", delay=BAR_AFTER, leave=False, disable=self._displayed)
        later = threading.Timer(BAR_AFTER + 0.1, self._bar.update)  # if nothing else is said until then
        later.daemon = True
        if not self._displayed:
            later.start()
        self.say(text)
        try:
            yield
        finally:
            later.cancel()
            self._bar.close()
            self._bar = None
            self.busy.value = ""

    def say(self, text: str) -> None:
        self.busy.value = f"<i>{text}</i>"
        if self._bar is not None:
            self._bar.set_description_str(text, refresh=False)
            self._bar.update()

    def _known_control(self, name: str) -> str:
        if name not in self.controls:
            raise unknown("control", name, self.controls)
        return name

    def _known(self, name: str, value: Any) -> Any:
        """A menu's option as given, or the error that lists the options; a slider clips by itself."""
        options = getattr(self.controls[self._known_control(name)], "options", None)
        if options is None:
            return value
        values = [option[1] if isinstance(option, tuple) else option for option in options]
        if value not in values:
            raise unknown(name, value, map(str, values))
        return value

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        self._displayed = True
        bundle = super()._repr_mimebundle_(**options) or {}
        bundle["text/plain"] = self.readout
        bundle["image/png"] = base64.b64encode(self.image.value).decode("ascii")
        return bundle

    # -- pieces that several panels share -----------------------------------------------------------

    def matrix_menu(self, *wanted: str) -> widgets.Dropdown:
        """All matrices, starting at the first one whose name contains a wanted word."""
        start = self.workbench.first(*(wanted or ("FFN in",)))
        return widgets.Dropdown(options=self.workbench.names, value=start, description="matrix", style=STYLE)

    def mpo(self) -> MPO:
        """The chosen matrix at full bonds, in the chosen n and method where there is a menu for them."""
        chosen = {name: self.value(name) for name in ("n", "method") if name in self.controls}
        return self.workbench.mpo(self.value("matrix"), **chosen)

    @staticmethod
    def inner(mpo: MPO) -> str:
        """The n-1 inner bonds as text."""
        return "-".join(map(str, mpo.bonds[1:-1]))

    def heading(self, mpo: MPO) -> str:
        return f"{self.value('matrix')} ({mpo.shape[0]} × {mpo.shape[1]})"


@contextmanager
def _no_collection() -> Iterator[None]:
    """Puts garbage collection off while a figure is drawn: it would scan torch and transformers several times."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def n_menu(value: int = 5) -> widgets.Dropdown:
    layout = widgets.Layout(width="6em")
    return widgets.Dropdown(options=[3, 5, 7, 9], value=value, description="n", style=STYLE, layout=layout)


def slider(name: str, low: int, high: int, value: int) -> widgets.IntSlider:
    return widgets.IntSlider(
        value=value, min=low, max=high, description=name, style=STYLE, layout=widgets.Layout(width="24em")
    )


def resize(control: widgets.IntSlider, high: int, value: int) -> None:
    """A new range for a slider, without a moment in which its value lies outside."""
    control.max = max(high, control.value)
    control.value = min(value, high)
    control.max = high


def _settings(control: Any, points: int | None) -> Iterator[Any]:
    options = getattr(control, "options", None)
    if options is not None:
        yield from (option[1] if isinstance(option, tuple) else option for option in options)
    elif isinstance(control, widgets.Checkbox):
        yield from (False, True)
    else:
        low, high, step = control.min, control.max, getattr(control, "step", 1) or 1
        steps = round((high - low) / step)
        count = steps + 1 if points is None else min(points, steps + 1)
        for k in range(count):
            yield low + step * round(steps * k / max(count - 1, 1))
