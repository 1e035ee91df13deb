"""Every panel in a real JupyterLab: it appears, no cell fails, and a slider moved by keyboard changes the picture."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from test_panels import DRIFTED, ROUTED, TRACE

browser = pytest.importorskip("browser", reason="playwright is not installed")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]


RECORDED = {
    "squeeze": TRACE.to_dict(),
    "routing": {name: trace.to_dict() for name, trace in ROUTED.items()},
    "experts": DRIFTED,
}


def notebook_of_panels(path: Path, names: list[str]) -> None:
    """A notebook that shows every panel, one per cell: of the real model, of committed records, or of made-up ones."""
    first = f"from mpolab.panels import PANELS\nrecorded = {RECORDED!r}"
    sources = [first, *(f"PANELS[{name!r}]({f'recorded[{name!r}]' if name in RECORDED else ''})" for name in names)]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nb.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(nb, str(path))


def test_every_panel_in_jupyterlab(tmp_path):
    from mpolab.panels import PANELS

    names = list(PANELS)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook_of_panels(folder / "panels.ipynb", names)
    pictures = Path(os.environ.get("MPOLAB_SCREENSHOTS", tmp_path / "screenshots"))

    with browser.lab(folder, tmp_path / "home") as address, browser.browser() as context:
        notebook = browser.Notebook(context, address, "panels.ipynb")
        notebook.run_all()
        assert notebook.errors() == []
        panels = notebook.panels()
        assert len(panels) == len(names)
        for name, panel in zip(names, panels, strict=True):
            notebook.photograph(pictures / f"{name}.png", panel)
            assert panel.locator(".noUi-handle").count(), f"panel {name} shows no slider"
            assert notebook.move_slider(panel), f"moving the first slider of panel {name} did not change its picture"
            notebook.photograph(pictures / f"{name}-moved.png", panel)
        assert notebook.errors() == []
