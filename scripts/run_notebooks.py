"""Execute the notebooks from their first cell to their last.

    python scripts/run_notebooks.py [notebooks]              write each as a page to build/, notebooks untouched
    python scripts/run_notebooks.py --in-place [notebooks]   store the outputs in the notebooks, cleaned, to commit
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from clean_notebooks import ROOT, clean, problems
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from notebook_page import write_page
from tqdm import tqdm


def execute(path: Path, timeout: float) -> tuple[nbformat.NotebookNode, str]:
    """The executed notebook, and what went wrong: "" or the cell and its error."""
    nb = nbformat.read(path, as_version=4)
    cells = sum(cell.cell_type == "code" for cell in nb.cells)
    current = {}
    with tqdm(total=cells, desc=path.stem, unit="cell", file=sys.stderr) as bar:
        client = NotebookClient(
            nb,
            timeout=timeout,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],  # its warning about TCP would sit in the progress bar
            # As JupyterLab and nbval do: relative paths in a notebook mean its own folder.
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_start=lambda cell, cell_index: current.update(cell=cell, index=cell_index),
            on_cell_executed=lambda cell, cell_index, execute_reply: bar.update(),
        )
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            first = (current["cell"].source.strip().splitlines() or [""])[0]
            name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
            return nb, f"{path.name}, cell {current['index']} ({first!r}): {name}: {value}"
    return nb, ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: notebooks/*.ipynb")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for the pages (default: build)")
    parser.add_argument("--in-place", action="store_true", help="store the outputs in the notebooks; write no pages")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds that one cell may take (default: 3600)")
    options = parser.parse_args()
    paths = [path.resolve() for path in options.notebooks] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if missing := [str(path) for path in paths if not path.is_file()]:
        parser.error(f"no such notebook: {', '.join(missing)}")
    if not paths:
        print("There are no notebooks to run.")
        return 0

    # Kernels inherit these: figures must reach the notebook, and the kernel must be this environment's own.
    os.environ.pop("MPLBACKEND", None)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    if options.in_place:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the tests that compare the stored outputs

    done, failures = [], []
    for path in paths:
        start = time.perf_counter()
        nb, failure = execute(path, options.timeout)
        nb = clean(nb)
        wrong = [failure] if failure else [f"{path.name}: {line}" for line in problems(nb)]
        written = path if options.in_place else options.out / f"{path.stem}.html"
        if not options.in_place:
            write_page(nb, written, path.parent)
            done.append((written, time.perf_counter() - start))
        elif not wrong:
            path.write_text(nbformat.writes(nb) + "\n", encoding="utf-8")
            done.append((written, time.perf_counter() - start))
        # A fresh machine's paths in an output spoil a committed notebook, not a page.
        failures += wrong if options.in_place else [failure] * bool(failure)

    print("\nWritten:" if options.in_place else "\nOpen in a browser:")
    for written, seconds in done:
        print(f"  {written}  ({seconds:.0f} s)")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
