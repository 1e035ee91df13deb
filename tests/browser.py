"""JupyterLab in headless Chromium: what the browser tests and scripts/screenshots.py share.

    with lab(folder) as address, browser() as context:
        notebook = Notebook(context, address, "01_mpo_basics.ipynb")
        notebook.run_all()
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
from playwright.sync_api import BrowserContext, Locator, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Chromium calls home for updates and components otherwise, and its sandbox cannot start in a container.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Cells out of sight are not in the page otherwise, and could be neither checked nor photographed.
    "notebook-extension/tracker": {"windowingMode": "none"},
}
PANEL = ".jp-OutputArea-output:has(.jupyter-widgets img)"
# The page shows errors and stderr alike; the open notebook's model tells them apart.
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells.flatMap((cell, number) =>
    (cell.metadata.tags || []).includes("raises-exception") ? [] : (cell.outputs || [])
        .filter(output => output.output_type === "error")
        .map(output => `cell ${number}: ${output.ename}: ${output.evalue}`))"""
# A picture's bytes, not its address: a widget gives every redraw a new address, changed or not.
FINGERPRINT = """async image => {
    const bytes = await (await fetch(image.src)).arrayBuffer();
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return Array.from(hash, byte => byte.toString(16).padStart(2, "0")).join("");
}"""


@contextlib.contextmanager
def lab(folder: Path, home: Path, patience: float = 60) -> Iterator[str]:
    """JupyterLab on `folder`, on the loopback with a token, all its own files under `home`; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    env = dict(os.environ, JUPYTER_PREFER_ENV_PATH="1", PYTHONUNBUFFERED="1")
    env.pop("MPLBACKEND", None)  # kernels would inherit it and display no figure
    for kind in ("CONFIG", "DATA", "RUNTIME"):
        env[f"JUPYTER_{kind}_DIR"] = str(home / kind.lower())
    env["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    env["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
    env["IPYTHONDIR"] = str(home / "ipython")
    for name, values in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"),
        *("--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = home / "jupyterlab.log"
    with open(log, "wb") as sink:
        server = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, log, patience)
        yield f"http://127.0.0.1:{port}/doc/tree/{{name}}?token={token}&reset"
    finally:
        server.terminate()  # which shuts its kernels down, too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(address: str, server: subprocess.Popen, log: Path, patience: float) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(address, timeout=5)
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def browser(width: int = 1400, height: int = 1000) -> Iterator[BrowserContext]:
    """The system's Chromium, headless: the one that playwright would download is not needed."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium.new_context(viewport={"width": width, "height": height}, device_scale_factor=1)
        finally:
            chromium.close()


def copy_without_outputs(source: Path, folder: Path) -> Path:
    """A copy whose every output is new: nothing stored can be mistaken for what the run shows."""
    nb = nbformat.read(source, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    nbformat.write(nb, str(target))
    return target


class Notebook:
    """An open notebook in JupyterLab."""

    def __init__(self, context: BrowserContext, address: str, name: str, patience: float = 60) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(patience * 1000)
        self.page.goto(address.format(name=name))
        self.page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
        # The indicator is idle, too, before there is a kernel; running cells then would ask which kernel to use.
        self.page.locator(".jp-StatusBar-Widget").get_by_text("| Idle").wait_for()
        self._wait_until_idle()

    def _wait_until_idle(self, seconds: float = 60) -> None:
        self.page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(
            state="attached", timeout=seconds * 1000
        )

    def run_all(self, seconds: float = 600) -> None:
        """Run > Run All Cells, until no cell is waiting and the kernel is idle."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_text("Run All Cells", exact=True).click()
        self.page.wait_for_function(
            """() => {
                const cells = document.querySelectorAll(".jp-CodeCell .jp-InputPrompt");
                const prompts = Array.from(cells, cell => cell.textContent);
                return prompts.some(text => /\\[\\d+\\]/.test(text)) && !prompts.some(text => text.includes("[*]"));
            }""",
            timeout=seconds * 1000,
        )
        self._wait_until_idle(seconds)
        # Widgets are drawn after the kernel has fallen idle.
        for image in self.page.locator(".jp-OutputArea-output .jupyter-widgets img").all():
            image.wait_for(state="visible")

    def errors(self) -> list[str]:
        """Every error in an output, except in the cells that are tagged as meant to fail."""
        return self.page.evaluate(ERRORS)

    def panels(self) -> list[Locator]:
        """The outputs that hold a widget with a picture, from top to bottom."""
        return self.page.locator(PANEL).all()

    def picture(self, panel: Locator) -> str:
        """A fingerprint of what a panel shows."""
        image = panel.locator("img").first
        image.wait_for(state="visible")
        return image.evaluate(FINGERPRINT)

    def move_slider(self, panel: Locator, keys: str = "ArrowLeft ArrowRight", k: int = 0, seconds: float = 15) -> bool:
        """Press `keys` on the k-th slider handle of a panel, one after the other, until its picture changes."""
        handle = panel.locator(".noUi-handle").nth(k)
        handle.scroll_into_view_if_needed()
        before = self.picture(panel)
        for key in keys.split():
            handle.focus()
            handle.press(key)
            until = time.monotonic() + seconds / len(keys.split())
            while time.monotonic() < until:
                self.page.wait_for_timeout(100)
                with contextlib.suppress(Exception):  # the old picture's address goes while it is being read
                    if self.picture(panel) != before:
                        return True
        return False

    def photograph(self, target: Path, what: Locator | None = None) -> Path:
        """A screenshot of a panel, or of the window."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if what is None:
            self.page.screenshot(path=target)
        else:
            what.scroll_into_view_if_needed()
            what.screenshot(path=target)
        return target

    def photograph_pages(self, folder: Path, stem: str, height: int = 4000) -> list[Path]:
        """The whole notebook in pictures of at most `height` pixels: longer ones exceed what Chromium can draw."""
        width = self.page.viewport_size["width"]
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(1000)
        scroller = self.page.locator(".jp-NotebookPanel .jp-WindowedPanel-outer").first
        # Not scrollHeight: JupyterLab lets the last cell scroll to the top and leaves a page of nothing there.
        visible, total = scroller.evaluate(
            """e => [e.clientHeight, Array.from(e.querySelectorAll(".jp-Cell")).at(-1).getBoundingClientRect().bottom
                + e.scrollTop - e.getBoundingClientRect().top]"""
        )
        paths = []
        for number, top in enumerate(range(0, max(int(total), 1), visible), start=1):
            scroller.evaluate("(e, top) => { e.scrollTop = top; }", top)
            self.page.wait_for_timeout(500)
            paths.append(self.photograph(folder / f"{stem}-page-{number:02}.png"))
        return paths
