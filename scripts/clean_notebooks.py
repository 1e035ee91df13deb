"""Keep the committed notebooks free of what differs from machine to machine.

    python scripts/clean_notebooks.py             clean notebooks/*.ipynb in place
    python scripts/clean_notebooks.py --check     change nothing, exit 1 and say what is wrong

Stripped: widget state and views (the png beside a view stays: that is what GitHub shows), stderr, timestamps,
paths and colours in tracebacks. Execution counts become 1..n. What cannot be stripped is reported: a cell that was
never run, an error without the tag `raises-exception`, a path of somebody's machine in a compared output.
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
# Cell metadata that an author means; the rest (timestamps, editor state) comes from the program that saved it.
MEANT = ("tags", "jupyter", "slideshow", "attachments")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LIBRARY_PATH = re.compile(r"/(?:[^/\s'\"<>:]+/)+(?=(?:site-packages|mpolab|notebooks|python3\.\d+)/)")
MACHINE_PATH = re.compile(r"(?:/home|/Users|/root|/tmp|/mnt|/opt|/var|/workspace)/[^\s'\"]+|/[^\s'\"]+/site-packages/")


def clean(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A cleaned copy."""
    nb = copy.deepcopy(nb)
    nb.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    count = 0
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in MEANT if key in cell.metadata})
        if cell.cell_type != "code":
            continue
        if cell.execution_count is not None:
            count += 1
            cell.execution_count = count
        cell.outputs = [kept for kept in map(clean_output, cell.outputs) if kept is not None]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = cell.execution_count
    return nb


def clean_output(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The output as it is stored, or None if nothing of it is."""
    if output.output_type == "stream":
        return None if output.name == "stderr" else output
    if output.output_type == "error":
        # nbval compares the error's name and message, never its traceback, so that may be rewritten.
        output.traceback = [LIBRARY_PATH.sub("", COLOUR.sub("", line)) for line in output.traceback]
        return output
    if output.output_type in ("display_data", "execute_result"):
        output.data.pop(WIDGET_VIEW, None)
        return output if output.data else None
    return output


def problems(nb: nbformat.NotebookNode) -> Iterator[str]:
    """What is wrong with a notebook and cannot be put right by stripping."""
    for number, cell in enumerate(nb.cells):
        if cell.cell_type != "code":
            continue
        where = f"cell {number} ({(cell.source.strip().splitlines() or ['empty'])[0][:60]!r})"
        tags = cell.metadata.get("tags", [])
        # nbval compares nothing in a cell without an execution count: it would pass whatever it prints.
        if cell.execution_count is None and cell.source.strip() and "nbval-skip" not in tags:
            yield f"{where} was never executed"
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in tags:
                yield f"{where} stores {output.ename}: {output.evalue} without the tag raises-exception"
            for text in texts(output):
                if found := MACHINE_PATH.search(text):
                    yield f"{where} stores the path of a machine: {found.group()}"


def texts(output: nbformat.NotebookNode) -> Iterator[str]:
    """Every readable text of an output."""
    if output.output_type == "stream":
        yield output.text
    elif output.output_type == "error":
        yield output.evalue
    else:
        yield from (value for mime, value in output.data.items() if mime.startswith("text/") and isinstance(value, str))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: notebooks/*.ipynb")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if anything is to be cleaned")
    options = parser.parse_args()
    failed = False
    for path in options.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        cleaned = clean(nbformat.reads(before, as_version=4))
        after = nbformat.writes(cleaned) + "\n"
        wrong = list(problems(cleaned))
        if after != before and options.check:
            wrong.append(f"holds what should not be committed; run: python scripts/clean_notebooks.py {path.name}")
        elif after != before:
            path.write_text(after, encoding="utf-8")
            print(f"{path.name}: cleaned")
        for line in wrong:
            print(f"{path.name}: {line}", file=sys.stderr)
        failed = failed or bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
