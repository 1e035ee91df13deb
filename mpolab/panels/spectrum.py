"""The spectrum panel: singular values and entropies, real against random."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from .. import viz
from ..spectra import DEFINITIONS, entropy
from .base import Panel, n_menu, resize, slider


class SpectrumPanel(Panel):
    """Singular values and entropies of a real matrix beside a random one of the same shape. Notebook 02, section 1."""

    def make_controls(self) -> dict[str, Any]:
        return {"matrix": self.matrix_menu(), "n": n_menu(), "bond": slider("bond", 1, 4, 2)}

    def after_slow_change(self) -> None:
        n = self.value("n")
        self.mpo()
        self.workbench.random_spectra(self.value("matrix"), n)
        resize(self.controls["bond"], n - 1, n // 2)

    def numbers(self) -> dict[str, Any]:
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
