"""Photograph notebooks in JupyterLab: run each from its first cell, then every page of it and every panel.

    python scripts/screenshots.py FOLDER [notebooks]     default: notebooks/01* to 04*
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import browser  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("notebooks", nargs="*", type=Path)
    options = parser.parse_args()
    if browser.CHROMIUM is None:
        sys.exit("No chromium, chromium-browser or google-chrome on the PATH.")
    chosen = options.notebooks or sorted((ROOT / "notebooks").glob("0[1234]*.ipynb"))
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "notebooks"
        # Pictures and data beside the notebooks come along; the notebooks themselves lose their outputs.
        shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns("*.ipynb", "__pycache__", ".*"))
        with browser.lab(folder, Path(temporary) / "home") as address, browser.browser() as context:
            for path in chosen:
                start = time.perf_counter()
                browser.copy_without_outputs(path, folder)
                notebook = browser.Notebook(context, address, path.name)
                notebook.run_all()
                errors = notebook.errors()
                failed = failed or bool(errors)
                panels = notebook.panels()
                for number, panel in enumerate(panels, start=1):
                    notebook.photograph(options.folder / f"{path.stem}-panel-{number:02}.png", panel)
                pages = notebook.photograph_pages(options.folder, path.stem)
                print(
                    f"{path.name}: {len(panels)} panels, {len(pages)} pages, {time.perf_counter() - start:.0f} s",
                    *(f"FAILED {error}" for error in errors),
                    sep="\n  ",
                )
                notebook.page.close()
    print(f"Pictures in {options.folder}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
