"""The interactive panels: controls over one picture. The only file that imports ipywidgets.

A panel is a column of controls and one Image holding a PNG that `mpolab.viz` drew. It has three faces: the live
widget, `image/png` for pages and previews without widgets, and `text/plain`, one line of the numbers on display
(`readout`; deterministic ones only), which a strict notebook test compares. `set(**values)` shows a given setting;
`sweep()` visits the settings one by one. Nothing decomposes when a slider moves: choosing a matrix, n or method does,
once, through the workbench.

A new panel is a class with `controls`, `numbers`, `draw` and `line`, and one entry in `PANELS`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from . import viz
from .errors import unknown
from .mpo import METHODS, MPO
from .workbench import Workbench

SLOW = ("matrix", "n", "method")  # the controls that may decompose; all others are sliders and only look up
STYLE = {"description_width": "initial"}


class Panel(widgets.VBox):
    """Controls over one picture; see the module's text for the protocol.

    source: what to look at, as `Workbench.of` takes it: a matrix, a dictionary of matrices, a model or its name, or
    nothing for the real pre-trained model.
    """

    title = ""

    def __init__(self, source: object = None, **start: Any):
        super().__init__()
        self.workbench = Workbench.of(source)
        self._quiet = True
        self._pending = start.pop("matrix", None)
        self.controls: dict[str, Any] = self.make_controls()
        if self._pending is not None:
            self.controls["matrix"].value = self._known("matrix", self._pending)
        self.image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.busy = widgets.HTML("")
        for name, control in self.controls.items():
            control.observe(lambda change, name=name: self._changed(name), names="value")
        self.children = (*self.rows(), self.busy, self.image)
        self._readout = ""
        self.after_slow_change()
        self._quiet = False
        self.set(**start)

    # -- what a panel defines -----------------------------------------------------------------------

    def make_controls(self) -> dict[str, Any]:
        """Name -> widget, in the order of appearance."""
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
        with self._silently():
            for name in sorted(values, key=lambda name: name not in SLOW):
                self.controls[self._known_control(name)].value = self._known(name, values[name])
                self._adapt(name)
        self.refresh()
        return self

    def sweep(self, points: int | None = 5) -> list[str]:
        """Visits the settings, one control at a time, and returns all readouts; then everything is as it was.

        A menu goes through all its options; a slider through `points` evenly spaced values with both ends (None: all).
        """
        before = {name: control.value for name, control in self.controls.items()}
        seen = []
        for name, control in self.controls.items():
            for value in list(_settings(control, points)):
                self.set(**{name: value})
                seen.append(self.readout)
            self.set(**before)
        return seen

    def refresh(self) -> None:
        """Looks the numbers up and draws them."""
        numbers = self.numbers()
        self.image.value = viz.png(self.draw(numbers))
        self._readout = self.line(numbers)

    def value(self, name: str) -> Any:
        return self.controls[name].value

    def _changed(self, name: str) -> None:
        if self._quiet:
            return
        with self._silently():
            self._adapt(name)
        self.refresh()

    def _adapt(self, name: str) -> None:
        if name in SLOW:
            with self._working(f"decomposing {self.value('matrix')} …"):
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
        """Says that something slow goes on, in the panel itself."""
        self.busy.value = f"<i>{text}</i>"
        try:
            yield
        finally:
            self.busy.value = ""

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
        bundle = super()._repr_mimebundle_(**options) or {}
        bundle["text/plain"] = self.readout
        bundle["image/png"] = base64.b64encode(self.image.value).decode("ascii")
        return bundle

    # -- pieces that several panels share -----------------------------------------------------------

    def matrix_menu(self) -> widgets.Dropdown:
        return widgets.Dropdown(
            options=self.workbench.names, value=self.workbench.first("FFN in"), description="matrix", style=STYLE
        )

    def mpo(self) -> MPO:
        """The chosen matrix at full bonds, in the chosen n and method where there is a menu for them."""
        chosen = {name: self.value(name) for name in ("n", "method") if name in self.controls}
        return self.workbench.mpo(self.value("matrix"), **chosen)

    def heading(self, mpo: MPO) -> str:
        return f"{self.value('matrix')} ({mpo.shape[0]} × {mpo.shape[1]})"


def n_menu() -> widgets.ToggleButtons:
    return widgets.ToggleButtons(options=[3, 5, 7, 9], value=5, description="n", style={"button_width": "2.6em"})


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


# -- bond -----------------------------------------------------------------------------------------


class BondPanel(Panel):
    """The chain itself: a bond is as thick as its entropy and coloured by its share of the squared error.

    One slider caps all bonds, one more per bond cuts it alone. Notebook 01, section 5.
    """

    title = "bond"

    def __init__(self, source: object = None, n: int = 5, **start: Any):
        self.n = n
        super().__init__(source, **start)

    def make_controls(self) -> dict[str, Any]:
        controls = {"matrix": self.matrix_menu(), "all": slider("all bonds at most", 1, 2, 1)}
        return controls | {f"bond_{k}": slider(f"bond {k}", 1, 2, 1) for k in range(1, self.n)}

    def mpo(self) -> MPO:
        return self.workbench.mpo(self.value("matrix"), n=self.n)

    def after_slow_change(self) -> None:
        mpo = self.mpo()
        mpo.truncate(bond=1).error()  # the tables behind the error budget are made here, not under a slider
        resize(self.controls["all"], max(mpo.full_bonds), max(mpo.full_bonds))
        for k in range(1, self.n):
            resize(self.controls[f"bond_{k}"], mpo.full_bonds[k], mpo.full_bonds[k])

    def after_change(self, name: str) -> None:
        if name == "all":
            for k in range(1, self.n):
                self.controls[f"bond_{k}"].value = min(self.value("all"), self.controls[f"bond_{k}"].max)

    def numbers(self) -> dict[str, Any]:
        cut = self.mpo().truncate(bond=[self.value(f"bond_{k}") for k in range(1, self.n)])
        budget = cut.budget()
        squared = sum(budget)
        return {
            "mpo": cut,
            "budget": budget,
            "error": max(squared, 0.0) ** 0.5,
            "shares": [max(step, 0.0) / squared if squared > 0 else 0.0 for step in budget],
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        mpo = numbers["mpo"]
        figure, (chain, bars) = viz.figure(10.2, 3.3, [3, 1])
        viz.draw_chain(
            chain,
            mpo.rows,
            mpo.cols,
            mpo.bonds,
            mpo.full_bonds,
            mpo.entropy(),
            mpo.plan.centre,
            numbers["shares"],
            title=f"{self.heading(mpo)}: ratio {mpo.ratio:.3f}, {mpo.parameters:,} numbers",
        )
        viz.draw_budget(
            bars, numbers["budget"], mpo.bound(), title=f"error {numbers['error']:.3f}, bound {mpo.bound():.3f}"
        )
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        mpo = numbers["mpo"]
        return (
            f"{self.heading(mpo)}: bonds {'-'.join(map(str, mpo.bonds[1:-1]))}, ratio {mpo.ratio:.3f}, error "
            f"{numbers['error']:.3f}, bound {mpo.bound():.3f}, entropy {' '.join(f'{s:.2f}' for s in mpo.entropy())}, "
            f"budget {' '.join(f'{share:.0%}' for share in numbers['shares'])}"
        )


# -- error ----------------------------------------------------------------------------------------


class ErrorPanel(Panel):
    """Eq. 3 as printed, the tight bound and the measured error against one bond dimension for all. Notebook 01, 6."""

    title = "error"
    POINTS = 28

    def make_controls(self) -> dict[str, Any]:
        return {
            "matrix": self.matrix_menu(),
            "n": n_menu(),
            "method": widgets.Dropdown(options=list(METHODS), description="method", style=STYLE),
            "bond": slider("all bonds at most", 1, 2, 1),
        }

    def after_slow_change(self) -> None:
        mpo = self.mpo()
        largest = max(mpo.full_bonds)
        resize(self.controls["bond"], largest, min(64, largest))
        self._curves = _error_curves(mpo, self.POINTS)

    def numbers(self) -> dict[str, Any]:
        cut = self.mpo().truncate(bond=self.value("bond"))
        return {
            "mpo": cut,
            "measured": cut.error(),
            "tight": cut.bound(),
            "printed": cut.printed_bound(),
            "sum": cut.printed_bound("discarded"),
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        grid, curves = self._curves
        figure, (left, right) = viz.figure(10.2, 3.4, 2)
        bond = self.value("bond")
        viz.draw_curves(
            left,
            grid,
            {name: curves[name] for name in ("measured", "tight bound")},
            title=f"{self.heading(numbers['mpo'])}: measured {numbers['measured']:.3f} ≤ bound {numbers['tight']:.3f}",
            xlabel="bond dimension d' (cap on every bond)",
            ylabel="relative Frobenius error",
            log="x",
            mark=bond,
        )
        viz.draw_curves(
            right,
            grid,
            curves,
            title=f"eq. 3 as printed {numbers['printed']:.2f}, plain sum {numbers['sum']:.2f}",
            xlabel="bond dimension d' (cap on every bond)",
            ylabel="relative to the norm",
            log="x",
            mark=bond,
        )
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        mpo = numbers["mpo"]
        return (
            f"{self.heading(mpo)}, n = {mpo.n}, {mpo.method}, bonds at most {self.value('bond')}: measured "
            f"{numbers['measured']:.3f}, tight bound {numbers['tight']:.3f}, eq. 3 as printed {numbers['printed']:.2f}, "
            f"plain sum {numbers['sum']:.2f}"
        )


def _error_curves(mpo: MPO, points: int) -> tuple[list[int], dict[str, list[float]]]:
    """The four curves of the error panel over about `points` caps, spaced evenly on a logarithmic axis."""
    largest = max(mpo.full_bonds)
    grid = sorted({round(largest ** (k / (points - 1))) for k in range(points)})
    cuts = [mpo.truncate(bond=d) for d in grid]
    return grid, {
        "measured": [cut.error() for cut in cuts],
        "tight bound": [cut.bound() for cut in cuts],
        "printed": [cut.printed_bound() for cut in cuts],
        "plain sum": [cut.printed_bound("discarded") for cut in cuts],
    }


# -- spectrum and entropy ---------------------------------------------------------------------------


class SpectrumPanel(Panel):
    """Singular values and entropies of a real matrix beside a random one of the same shape. Notebook 02, section 1."""

    title = "spectrum"

    def make_controls(self) -> dict[str, Any]:
        return {"matrix": self.matrix_menu(), "n": n_menu(), "bond": slider("bond", 1, 4, 2)}

    def after_slow_change(self) -> None:
        n = self.value("n")
        self.mpo()
        self.workbench.random_spectra(self.value("matrix"), n)
        resize(self.controls["bond"], n - 1, n // 2)

    def numbers(self) -> dict[str, Any]:
        from .spectra import DEFINITIONS, entropy

        mpo, random = self.mpo(), self.workbench.random_spectra(self.value("matrix"), self.value("n"))
        names = dict(zip(DEFINITIONS, ("s²/sum s²", "s/sum s")))
        entropies = {}
        for definition, label in names.items():
            entropies[f"real, {label}"] = mpo.entropy(definition)
            entropies[f"random, {label}"] = [entropy(s, definition) for s in random]
        k = self.value("bond") - 1
        norm = mpo.norm or 1.0
        values = {"real": (mpo.spectra[k] / norm).tolist(), "random, same shape": (random[k] / norm).tolist()}
        return {"mpo": mpo, "spectra": values, "entropies": entropies, "k": k}

    def draw(self, numbers: dict[str, Any]) -> Figure:
        mpo, k = numbers["mpo"], numbers["k"]
        figure, (left, right) = viz.figure(10.2, 3.6, [1, 1.25])
        viz.draw_spectra(left, numbers["spectra"], title=f"{self.heading(mpo)}, bond {k + 1} of {mpo.n - 1}")
        viz.draw_entropies(right, numbers["entropies"], mpo.full_bonds[1:-1], title="entropy of every bond (eq. 6)")
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        mpo, k = numbers["mpo"], numbers["k"]
        half = [sum(1 for s in values if s > values[0] / 2) for values in numbers["spectra"].values()]
        entropies = "; ".join(f"{name} {values[k]:.3f}" for name, values in numbers["entropies"].items())
        return (
            f"{self.heading(mpo)}, bond {k + 1} of {mpo.n - 1}, d = {mpo.full_bonds[k + 1]}: entropy {entropies}; "
            f"values above half the largest: real {half[0]}, random {half[1]}"
        )


# -- where is the information -----------------------------------------------------------------------


class InformationPanel(Panel):
    """Share of parameters, entropy and Frobenius norm per tensor as bonds shrink. Notebook 02, section 3.

    A tensor's entropy share counts half of each of its bonds. Norms are those of the centre gauge; in another gauge
    they would sit elsewhere, which is why a norm says nothing about where the information is.
    """

    title = "information"

    def make_controls(self) -> dict[str, Any]:
        return {"matrix": self.matrix_menu(), "n": n_menu(), "bond": slider("all bonds at most", 1, 2, 1)}

    def after_slow_change(self) -> None:
        largest = max(self.mpo().full_bonds)
        resize(self.controls["bond"], largest, largest)

    def numbers(self) -> dict[str, Any]:
        cut = self.mpo().truncate(bond=self.value("bond"))
        stored = [core.numel() / cut.parameters for core in cut.cores]
        s = [0.0, *cut.entropy(of="truncated"), 0.0]
        halves = [(s[k] + s[k + 1]) / 2 for k in range(cut.n)]
        total = sum(halves)
        return {
            "mpo": cut,
            "shares": {
                "parameters": stored,
                "entropy of the bonds": [half / total if total else 1 / cut.n for half in halves],
                "squared norm": cut.norm_shares(),
            },
        }

    def draw(self, numbers: dict[str, Any]) -> Figure:
        mpo = numbers["mpo"]
        figure, (ax,) = viz.figure(9.0, 2.9, 1)
        ax.set_position((0.17, 0.2, 0.8, 0.62))
        viz.draw_shares(
            ax,
            numbers["shares"],
            mpo.plan.centre,
            title=f"{self.heading(mpo)}, bonds {'-'.join(map(str, mpo.bonds[1:-1]))}, ratio {mpo.ratio:.3f}",
        )
        return figure

    def line(self, numbers: dict[str, Any]) -> str:
        mpo, c = numbers["mpo"], numbers["mpo"].plan.centre
        shares = ", ".join(f"{name} {values[c]:.1%}" for name, values in numbers["shares"].items())
        bonds = "-".join(map(str, mpo.bonds[1:-1]))
        return (
            f"{self.heading(mpo)}, n = {mpo.n}, bonds {bonds}, ratio {mpo.ratio:.3f}: the central tensor holds {shares}"
        )


PANELS = {panel.title: panel for panel in (BondPanel, ErrorPanel, SpectrumPanel, InformationPanel)}
