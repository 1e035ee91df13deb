"""Which learning rate each way to train gets: the same values are tried for each of them.

    python scripts/choose_lr.py mpop|mpobert|experts|experts-glue --data-dir DIR [NAME ...]

The recipes are run at scale laptop with seed 100, which is not reported, and judged on rows that choose, held out of
the training text, never on those that are reported. Writes a file of results/, {name: {lr: best score}}.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpolab import recipes, runs

SEED = 100
RESULTS = Path(__file__).parents[1] / "results"


def best_accuracy(record: runs.Record) -> float:
    """In per cent, at the best evaluation."""
    return max(row["accuracy"] for row in record.evaluations)


def lowest_loss(record: runs.Record) -> float:
    """Nats a token."""
    return min(row["loss"] for row in record.evaluations)


@dataclass(frozen=True)
class Study:
    """out: the file. recipe: its names, with "{}" for each of `names`. changes: of scale laptop, options one by one."""

    out: str
    recipe: str
    names: tuple[str, ...]
    rates: tuple[float, ...]
    changes: dict[str, Any]
    score: Callable[[runs.Record], float]


STUDIES = {
    "mpop": Study(
        "learning_rates.json", "mpop-sst-2-{}", ("full", "full-mpo", "lfa", "last-2"), (1e-4, 3e-4, 1e-3),
        {"select": 500, "dev": 32}, best_accuracy,
    ),
    "mpobert": Study(
        "mpobert_learning_rates.json", "table1-sst-2-{}", ("albert-mini",), (1e-4, 3e-4, 1e-3), {"dev": 32},
        best_accuracy,
    ),
    "experts": Study(
        "experts_learning_rates.json", "experts-{}", ("dense", "mpoe"), (5e-4, 1e-3, 2e-3),
        {"dev": 20, "options": {"texts": 0, "snapshots": 1, "reach": False}}, lowest_loss,
    ),
    "experts-glue": Study(
        "experts_glue_learning_rates.json", "experts-glue-sst-2-{}", ("dense", "mpoe"), (3e-3, 1e-2, 3e-2),
        {"dev": 32, "select": 200}, best_accuracy,
    ),
}  # fmt: skip


def tried(study: Study, name: str, lr: float, data_dir: str) -> runs.Record:
    recipe = recipes.recipe_named(study.recipe.format(name))
    changes = dict(study.changes)
    if "options" in changes:
        changes["options"] = {**recipe.at("laptop").options, **changes["options"]}
    trial = dataclasses.replace(recipe, scales={"laptop": {**recipe.scales["laptop"], **changes, "lr": lr}})
    with tempfile.TemporaryDirectory() as folder:
        return recipes.run(
            trial, "laptop", SEED, data_dir=data_dir, results=Path(folder, "results"), work=Path(folder, "work")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of the study's ways (default: all)")
    parser.add_argument("--data-dir", required=True)
    asked = parser.parse_args()
    study = STUDIES[asked.study]
    out = RESULTS / study.out
    for name in asked.names or study.names:
        for lr in study.rates:
            record = tried(study, name, lr, asked.data_dir)
            found = round(study.score(record), 4)
            print(f"{name} {lr:g} {found:g}", flush=True)
            scores = json.loads(out.read_text())["scores"] if out.exists() else {}
            scores.setdefault(name, {})[f"{lr:g}"] = found
            data = record.data
            about = {"task": data["task"], "rows": data["rows"], "seed": SEED, "scale": "laptop"}
            out.write_text(
                json.dumps({**about, **runs.surroundings(), "scores": scores}, indent=1, sort_keys=True) + "\n"
            )


if __name__ == "__main__":
    main()
