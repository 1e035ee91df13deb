"""Chooses the learning rate of MPOE's comparison: the same tries for the dense model and for MPOE.

    python scripts/choose_experts_lr.py --data-dir DIR

Each way is trained with a fourth seed and scored on the rows that choose ("valid"), never on those that are reported.
Writes results/experts_learning_rates.json, {way: {lr: lowest loss in nats}}.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

from mpolab.recipes import recipe_named, run

OUT = Path(__file__).parents[1] / "results" / "experts_learning_rates.json"
WAYS, RATES, SEED = ("dense", "mpoe"), (5e-4, 1e-3, 2e-3), 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--scale", default="laptop")
    asked = parser.parse_args()
    scores: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    for way in WAYS:
        recipe = recipe_named(f"experts-{way}")
        for rate in RATES:
            options = {**recipe.options, "texts": 0, "snapshots": 1, "reach": False}
            changed = {**recipe.scales[asked.scale], "lr": rate, "dev": 20, "options": options}
            once = dataclasses.replace(recipe, scales={asked.scale: changed})
            with tempfile.TemporaryDirectory() as folder:
                record = run(once, asked.scale, SEED, asked.data_dir, results=Path(folder))
            scores[way][f"{rate:g}"] = round(min(entry["loss"] for entry in record.evaluations), 4)
            print(way, rate, scores[way][f"{rate:g}"], flush=True)
    about = {"scores": scores, "seed": SEED, "scale": asked.scale, "split": "valid", "task": record.data["task"],
             "device": record.device, "threads": record.threads, "versions": record.versions, "commit": record.commit,
             "date": record.date}  # fmt: skip
    OUT.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
