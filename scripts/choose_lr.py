"""Which learning rate each way to fine-tune gets in the MPOP recipes: the same values are tried for each of them.

    python scripts/choose_lr.py --data-dir DIR [NAME ...]

Rows, epochs and batches are those of scale laptop, on SST-2, with seed 100, which is not reported; judged on 500 rows
held out of the training file, never on dev. Writes results/learning_rates.json, {name: {lr: best accuracy}}.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

from mpolab import recipes, runs

NAMES = ("full", "full-mpo", "lfa", "last-2")
RATES = (1e-4, 3e-4, 1e-3)
SEED = 100
OUT = Path(__file__).parents[1] / "results" / "learning_rates.json"


def score(name: str, lr: float, data_dir: str) -> float:
    """Accuracy on the rows held out, in per cent, at its best epoch."""
    recipe = recipes.recipe_named(f"mpop-sst-2-{name}")
    laptop = {**recipe.scales["laptop"], "select": 500, "dev": 32, "lr": lr}
    trial = dataclasses.replace(recipe, scales={"laptop": laptop})
    with tempfile.TemporaryDirectory() as folder:
        record = recipes.run(
            trial, "laptop", SEED, data_dir=data_dir, results=Path(folder, "results"), work=Path(folder, "work")
        )
    return round(max(row["accuracy"] for row in record.evaluations), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--data-dir", required=True)
    asked = parser.parse_args()
    for name in asked.names:
        for lr in RATES:
            found = score(name, lr, asked.data_dir)
            print(f"{name} {lr:g} {found:.1f}", flush=True)
            scores = json.loads(OUT.read_text())["scores"] if OUT.exists() else {}
            scores.setdefault(name, {})[f"{lr:g}"] = found
            around = runs.surroundings()
            about = {"task": "SST-2", "split": "select, 500 rows", "seed": SEED, "scale": "laptop"}
            OUT.write_text(json.dumps({**about, **around, "scores": scores}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
