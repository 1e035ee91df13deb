"""The house rule: which room of mpolab may import which, read from the imports themselves."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mpolab"

ANYTHING = "anything but panels and cli"
# The rooms that each room may import, besides errors. ANYTHING includes names from `mpolab` itself (its version), which
# the other rooms take from where they live. A new file needs a line here.
MAY_IMPORT: dict[str, set[str] | str] = {
    "errors": set(),
    "plans": set(),
    "spectra": {"plans"},
    "decomposition": {"plans"},
    "halves": {"plans", "decomposition"},
    "source": {"plans", "spectra", "decomposition", "halves"},
    "whole": set(),
    "locks": set(),
    "crew": set(),
    "storage": {"plans", "spectra", "decomposition", "source", "whole"},
    "mpo": {"plans", "spectra", "decomposition", "halves", "source", "storage"},
    "ranks": {"plans"},
    "baselines": {"plans", "spectra", "decomposition", "mpo", "ranks"},
    "cost": {"plans", "decomposition", "mpo"},
    # matrices inside models
    "online": set(),
    "pretrained": {"online"},
    "matrices": {"pretrained"},
    "models": {"pretrained", "matrices"},  # the public name of both
    "workbench": {"plans", "decomposition", "halves", "mpo", "models"},
    "rebuild": {"plans", "decomposition"},
    "lookup": {"plans", "decomposition", "rebuild"},
    "adapters": set(),
    "layer_base": {"plans", "decomposition", "mpo", "cost", "rebuild"},
    "shared_linear": {"plans", "mpo", "layer_base"},
    "shared_rebuild": {"plans", "decomposition"},
    "mpobert_config": {"plans"},
    "sharing": {"mpobert_config"},
    "mpobert": {"adapters", "shared_linear", "shared_rebuild", "mpobert_config", "mpobert_init"},  # for `from_albert`
    "mpobert_init": {"pretrained", "mpo", "shared_linear", "mpobert_config"},
    "layers": {"plans", "mpo", "rebuild", "lookup", "adapters", "layer_base"},
    # experts
    "routing": set(),
    "routers": {"decomposition", "routing"},
    "ffn": set(),
    "blocked": {"plans", "decomposition", "rebuild"},
    "experts": {"plans", "mpo", "blocked", "rebuild", "shared_rebuild", "layer_base", "layers", "ffn", "routing"},
    "moefication": {"experts", "ffn", "routers", "routing"},
    "moe_layer": {"experts", "routers", "routing"},
    "gradient_mask": {"layer_base", "experts"},
    "mask_callback": {"gradient_mask"},
    "allocation": {"plans", "spectra"},
    "surgery_plans": {"plans", "matrices"},
    "surgery": {"plans", "mpo", "layers", "allocation", "surgery_plans"},
    "moe": {"experts", "ffn", "mask_callback", "moe_layer", "moefication", "routers", "routing", "surgery"},
    "expert_counts": {"experts", "layers", "moe", "plans", "routing"},
    "expert_views": {"experts", "moe_layer", "moefication", "perplexity", "rebuild", "routers", "routing"},
    "routing_watch": {"expert_views", "routing", "whole"},
    "routed_count": {"gradient_mask", "snapshots"},
    "checkpoint": {"plans", "pretrained", "storage", "layers", "moe", "mpobert", "surgery"},
    "trace": {"plans"},
    "cut": {"plans", "decomposition", "source"},
    "carry": {"surgery"},
    "squeeze": {"plans", "spectra", "layers", "surgery", "trace", "cut", "carry"},
    # data
    "sampling": set(),
    "grammar": set(),
    "tasks": {"sampling", "grammar", "folders"},
    "folders": set(),
    "reading": {"folders"},
    "texts": {"tasks"},
    "glue": {"folders", "tasks"},
    "squad": {"folders"},
    "releases": {"folders", "glue", "squad", "tasks"},
    "hub": {"online", "tasks"},
    "corpora": {"folders", "reading", "tasks"},
    "data": {"tasks", "folders", "releases", "corpora", "hub", "grammar", "texts"},
    "bleu": set(),
    "perplexity": set(),
    "metrics": {"tasks", "bleu", "perplexity"},
    "text_to_text": {"tasks", "sampling", "metrics"},
    # training
    "settings": set(),
    "meter": set(),
    "features": set(),
    "spans": {"features"},
    "objectives": {"features"},
    "token_files": set(),
    "segments": {"features", "reading", "token_files", "whole"},
    "vocabulary": {"reading"},
    "ngrams": {"features"},
    "kneser_ney": set(),
    "token_streams": {"features", "metrics", "reading", "token_files", "whole"},
    "lamb": set(),
    "snapshots": {"whole"},
    "sharded": set(),
    "watch": {"settings"},
    "mixture": {"data", "features"},
    "multitask": {"data", "features", "objectives", "mixture"},
    "answers": {"data", "features", "metrics", "mixture", "multitask", "perplexity", "settings", "text_to_text"},
    "prepare": {
        "answers",
        "data",
        "metrics",
        "features",
        "segments",
        "token_streams",
        "spans",
        "settings",
        "objectives",
        "mixture",
        "multitask",
    },
    "engine": {
        "pretrained",
        "settings",
        "features",
        "lamb",
        "objectives",
        "mixture",
        "sharded",
        "snapshots",
        "watch",
        "meter",
    },
    "training": {"data", "pretrained", "settings", "features", "prepare", "engine", "snapshots", "watch", "meter"},
    "session": {"pretrained", "settings", "features", "training"},
    # runs
    "runs": {"whole", "texts"},
    # a recipe is run by the table it stands in
    "jobs": {"data", "grammar", "metrics", "pretrained", "runs", "training", "recipes"},
    "mpop": {
        "jobs",
        "layers",
        "matrices",
        "prepare",
        "surgery_plans",
        "surgery",
        "squeeze",
        "trace",
        "training",
        "session",
    },
    "depth": {"mpobert_config", "mpobert_init", "mpobert", "lamb", "runs"},
    "probing": {"data", "tasks", "folders", "sampling", "grammar", "whole"},
    "phases": {"jobs", "training"},
    "pretraining": {
        "corpora",
        "features",
        "jobs",
        "mpobert",
        "mpobert_config",
        "mpobert_init",
        "ngrams",
        "phases",
        "pretrained",
        "runs",
        "segments",
        "settings",
        "training",
        "vocabulary",
        "whole",
    },
    "writers": {
        "corpora",
        "jobs",
        "kneser_ney",
        "metrics",
        "phases",
        "pretraining",
        "segments",
        "settings",
        "token_streams",
        "training",
        "vocabulary",
    },
    "widening": {"ffn"},
    "tangent": {"mpo", "rebuild"},
    "continuations": {"metrics", "perplexity"},
    "mpoe": {
        "continuations",
        "corpora",
        "experts",
        "features",
        "gradient_mask",
        "jobs",
        "moe",
        "moe_layer",
        "mpo",
        "prepare",
        "pretrained",
        "routed_count",
        "routing_watch",
        "segments",
        "settings",
        "tangent",
        "training",
        "widening",
        "writers",
    },
    "mpoe_glue": {
        "answers",
        "data",
        "features",
        "grammar",
        "jobs",
        "metrics",
        "mixture",
        "mpoe",
        "prepare",
        "settings",
        "text_to_text",
        "training",
    },
    "mpobert_recipes": {
        "jobs",
        "mixture",
        "mpobert",
        "mpobert_init",
        "multitask",
        "prepare",
        "pretrained",
        "pretraining",
        "settings",
        "training",
    },
    "papers": set(),
    "recipes": ANYTHING,
    "ledger": {
        "anatomy",
        "cost",
        "crew",
        "decomposition",
        "depth",
        "experts",
        "ffn",
        "gradient_mask",
        "jobs",
        "locks",
        "metrics",
        "moe",
        "moe_layer",
        "mpo",
        "mpobert",
        "mpobert_config",
        "mpobert_init",
        "mpobert_recipes",
        "mpoe_glue",
        "mpop",
        "papers",
        "plans",
        "pretrained",
        "probing",
        "recipes",
        "routers",
        "runs",
        "sharing",
        "surgery",
        "surgery_plans",
        "tasks",
        "texts",
        "viz",
        "whole",
        "widening",
    },
    "sweep": {"data", "jobs", "recipes", "runs"},
    "look": set(),
    "charts": {"look"},
    "expert_charts": {"look"},
    # pictures of models: one room reads them, the others draw what it found
    "anatomy": {
        "experts",
        "gradient_mask",
        "layers",
        "moe",
        "moe_layer",
        "mpobert",
        "plans",
        "squeeze",
        "surgery",
        "surgery_plans",
    },
    "diagram": {"look"},
    "architecture": {"look", "diagram", "anatomy"},
    "expert_architecture": {"look", "diagram", "anatomy"},
    "viz": {"look", "charts", "expert_charts", "architecture", "expert_architecture"},  # numbers, but for the last two
    "panels": ANYTHING,
    "cli": ANYTHING,
    "__init__": ANYTHING,
    "__main__": {"cli"},
}
# The only rooms that may import these, even inside a function; None: nobody in the package.
PICTURES = ("look", "charts", "expert_charts", "diagram", "architecture", "expert_architecture", "viz")
HEAVY = {
    "ipywidgets": {"panels"},
    "tensorly": {"baselines"},
    "matplotlib": {*PICTURES, "panels"},
    "seaborn": {*PICTURES, "panels"},
}
VIZ_THIRD_PARTY = {"matplotlib", "seaborn", "numpy"}

FILES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def room(path: Path) -> str:
    """`mpolab/panels.py` and `mpolab/panels/bond.py` are the same room."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that can run: an import for type checkers only is no arrow."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield node
        yield from statements(node)


def imports(path: Path) -> set[str]:
    """Every dotted name that a file imports, anywhere in it, relative ones made absolute."""
    inside = ("mpolab", *path.relative_to(PACKAGE).parent.parts)
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + 1] if node.level else ()
            module = ".".join((*above, *([node.module] if node.module else [])))
            # `from mpolab import mpo` names a room only in its second half.
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    """The rooms of mpolab that a file imports; a name taken from the package itself counts as `__init__`."""
    rooms = {room(file) for file in FILES}
    names = (name.split(".") for name in imports(path))
    return {
        parts[1] if len(parts) > 1 and parts[1] in rooms else "__init__" for parts in names if parts[0] == "mpolab"
    } - {room(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_run_one_way(path):
    assert room(path) in MAY_IMPORT, f"{path.name} is a new room: give it a line in MAY_IMPORT of tests/test_layout.py"
    allowed = MAY_IMPORT[room(path)]
    if allowed == ANYTHING:
        allowed = MAY_IMPORT.keys() - {"panels", "cli", "__main__"}
    wrong = rooms_imported(path) - allowed - {"errors"}
    assert not wrong, f"{path.name} may not import {', '.join(sorted(wrong))}"


def test_the_table_itself_has_no_circle():
    reached = {name: allowed for name, allowed in MAY_IMPORT.items() if allowed != ANYTHING}
    open_rooms = dict(reached)
    while open_rooms:
        free = [name for name, allowed in open_rooms.items() if not set(allowed) & open_rooms.keys()]
        assert free, f"a circle among {sorted(open_rooms)}"
        for name in free:
            del open_rooms[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_stay_in_their_rooms(path):
    used = {name.split(".")[0] for name in imports(path)}
    wrong = [library for library, rooms in HEAVY.items() if library in used and room(path) not in rooms]
    assert not wrong, f"{path.name} may not import {', '.join(wrong)}"
    if room(path) in PICTURES:
        others = used - VIZ_THIRD_PARTY - sys.stdlib_module_names - {"mpolab"}
        assert not others, f"{path.name} draws numbers and may not import {', '.join(sorted(others))}"


@pytest.mark.parametrize(
    "path",
    sorted(path for folder in ("scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_only_benchmarks_may_call_the_command_line(path):
    source = path.read_text(encoding="utf-8")
    assert "mpolab.cli" not in source or "benchmarks" in path.parts


def test_importing_mpolab_imports_nothing_heavy():
    code = f"import sys, json, mpolab; print(json.dumps([name for name in {sorted(HEAVY)} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_committed_clean(path):
    """No widget state, every code cell executed, no error that is not meant, nothing of the machine that ran it."""
    command = [sys.executable, str(ROOT / "scripts" / "clean_notebooks.py"), "--check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


def test_charts_bring_no_models():
    """transformers takes seconds to import; the drawings of models bring it when one is drawn."""
    code = "import sys, mpolab.viz; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
