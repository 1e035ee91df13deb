"""The panels as their readers use them: every setting, every face, and nothing decomposed under a slider."""

from __future__ import annotations

import base64
import io

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from PIL import Image

from mpolab import MPO
from mpolab.errors import BondError, MatrixError, MatrixTypeError, UnknownNameError
from mpolab.panels import PANELS
from mpolab.panels.base import SLOW
from mpolab.workbench import Workbench

SMALL = {
    "FFN in": torch.randn(48, 24, generator=torch.Generator().manual_seed(1)),
    "query": torch.randn(36, 36, generator=torch.Generator().manual_seed(2)),
    "odd": torch.randn(37, 11, generator=torch.Generator().manual_seed(3)),
}


@pytest.fixture(scope="module")
def bench():
    return Workbench.of(SMALL)


@pytest.fixture(scope="module", params=PANELS)
def panel(request, bench):
    return PANELS[request.param](bench)


def sliders(panel):
    return {name: control for name, control in panel.controls.items() if name not in SLOW}


def picture(panel):
    return np.asarray(Image.open(io.BytesIO(panel.image.value)).convert("RGB"))


def test_the_promised_panels_are_there():
    assert set(PANELS) == {"bond", "error", "spectrum", "information", "methods", "cost"}


def test_three_faces(panel):
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == panel.readout and "\n" not in panel.readout and panel.readout
    assert base64.b64decode(bundle["image/png"]) == panel.image.value
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert picture(panel).std() > 5  # something is drawn


def test_no_output_widget_and_one_picture(panel):
    def inside(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from inside(child)

    kinds = [type(widget) for widget in inside(panel)]
    assert kinds.count(widgets.Image) == 1 and widgets.Output not in kinds


def test_a_sweep_visits_settings_and_restores(panel):
    before, state = panel.readout, {name: control.value for name, control in panel.controls.items()}
    seen = panel.sweep(points=3)
    assert len(set(seen)) > 3
    assert all("nan" not in line.lower() and "inf" not in line.lower().replace("information", "") for line in seen)
    assert panel.readout == before and {n: c.value for n, c in panel.controls.items()} == state


def test_the_same_setting_says_the_same(bench):
    for name, make in PANELS.items():
        assert make(bench).readout == make(bench).readout, name


def test_sliders_never_decompose(panel, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("decomposed under a slider")

    for function in ("svd", "svdvals", "eigh", "eigvalsh"):
        monkeypatch.setattr(torch.linalg, function, forbidden)
    monkeypatch.setattr(MPO, "decompose", forbidden)
    for name, control in sliders(panel).items():
        options = getattr(control, "options", None)
        values = options if options is not None else {control.min, (control.min + control.max) // 2, control.max}
        for value in values:
            panel.set(**{name: value})


def test_moving_a_slider_changes_picture_and_text(panel):
    name, control = next(iter(sliders(panel).items()))
    options = getattr(control, "options", None)
    low, high = (options[0], options[-1]) if options is not None else (control.min, control.max)
    panel.set(**{name: low})
    text, drawn = panel.readout, panel.image.value
    control.value = high  # as the browser does
    assert panel.readout != text and panel.image.value != drawn


def test_another_matrix_moves_the_sliders_ranges(bench):
    panel = PANELS["bond"](bench, matrix="odd")
    assert [panel.controls[f"bond_{k}"].max for k in range(1, 5)] == bench.mpo("odd", n=5).full_bonds[1:-1]
    panel.set(matrix="query")
    assert [panel.controls[f"bond_{k}"].max for k in range(1, 5)] == bench.mpo("query", n=5).full_bonds[1:-1]
    panel.set(all=2)
    expected = [min(2, d) for d in bench.mpo("query", n=5).full_bonds[1:-1]]
    assert f"bonds {'-'.join(map(str, expected))}," in panel.readout


def test_the_bond_panel_says_what_the_mpo_says(bench):
    cut = MPO.decompose(SMALL["FFN in"]).truncate(bond=[2, 5, 4, 2])
    panel = PANELS["bond"](bench, matrix="FFN in", bond_1=2, bond_2=5, bond_3=4, bond_4=2)
    assert f"ratio {cut.ratio:.3f}, error {cut.error():.3f}, bound {cut.bound():.3f}" in panel.readout
    assert f"error {cut.error(SMALL['FFN in']):.3f}" in panel.readout  # and so does the matrix itself


def test_n_and_method_are_the_reader_s_choice(bench):
    panel = PANELS["error"](bench, matrix="query", n=3, method="left_to_right", bond=4)
    cut = MPO.decompose(SMALL["query"], n=3, method="left_to_right").truncate(bond=4)
    assert f"measured {cut.error():.3f}, tight bound {cut.bound():.3f}" in panel.readout
    assert f"printed {cut.printed_bound():.2f}" in panel.readout


def test_a_matrix_of_one_s_own():
    assert PANELS["bond"](SMALL["query"].numpy(), all=3).readout == PANELS["bond"](SMALL["query"], all=3).readout
    panel = PANELS["bond"](SMALL["query"], all=3)
    assert panel.readout.startswith("matrix (36 × 36)")
    for W in (torch.zeros(16, 16), torch.ones(16, 16).bfloat16(), torch.eye(16, dtype=torch.float64)):
        for name, make in PANELS.items():
            assert "nan" not in make(W).readout, name


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"matrix": "no such"}, "'FFN in'"),
        ({"bonds": 3}, "'bond_1'"),
    ],
)
def test_wrong_settings_say_what_there_is(bench, values, says):
    with pytest.raises(UnknownNameError, match=says):
        PANELS["bond"](bench).set(**values)
    with pytest.raises(UnknownNameError, match="'3', '5'"):
        PANELS["error"](bench, n=4)


def test_the_workbench_decomposes_once(bench, monkeypatch):
    first = bench.mpo("query", n=7)
    monkeypatch.setattr(MPO, "decompose", None)
    assert bench.mpo("query", n=7) is first and bench.mpo("query", 7, "centre") is first


def test_the_workbench_says_which_matrices_there_are(bench):
    with pytest.raises(UnknownNameError, match="'FFN in', 'query', 'odd'"):
        bench.matrix("nothing like it")
    with pytest.raises(MatrixError, match="no matrix was given"):
        Workbench.of({})
    with pytest.raises(MatrixError, match="deep"):
        Workbench.of({"deep": torch.zeros(2, 2, 2)})
    with pytest.raises(MatrixTypeError, match="got int"):
        Workbench.of(3)
    assert Workbench.of(torch.nn.Linear(4, 3)).names == ["weight"]


def test_random_spectra_have_the_matrix_s_norm(bench):
    spectra = bench.random_spectra("FFN in", 5)
    norm = float(SMALL["FFN in"].norm())
    assert all(float(s.square().sum()) ** 0.5 == pytest.approx(norm, rel=1e-5) for s in spectra)


def test_a_setting_that_cannot_be_leaves_the_panel_as_it_was(bench):
    panel = PANELS["bond"](bench, matrix="FFN in")
    before = panel.readout
    with pytest.raises(BondError, match="all = 'x'"):
        panel.set(matrix="query", all="x")
    assert panel.value("matrix") == "FFN in" and panel.readout == before


def test_the_order_of_settings_does_not_matter(bench):
    make = PANELS["bond"]
    assert make(bench, bond_2=5, all=9).readout == make(bench, all=9, bond_2=5).readout


def test_a_matrix_that_cannot_be_decomposed_says_so_in_the_panel():
    panel = PANELS["bond"]({"good": SMALL["query"], "bad": torch.full((6, 6), float("nan"))}, matrix="good")
    panel.controls["matrix"].value = "bad"  # as the browser does
    assert "NaN" in panel.busy.value
