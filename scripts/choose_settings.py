"""Which settings each way to train gets: learning rates, and remedies where a claim came out the other way round.

    python scripts/choose_settings.py STUDY --data-dir DIR [NAME ...]

The ways of a study have equally many tries; what else has a setting that was found for one of them is said where the
setting stands. Each is run at scale laptop with seed 100, which is not reported, and judged on rows that choose, held
out of the training rows or text, never on those that are reported. Writes a file of results/, {name: {what was tried:
score}}; commit and date in it are those of when the script was last started.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpolab import recipes, runs
from mpolab.mpobert_recipes import VARIANTS
from mpolab.whole import write_whole

SEED = 100


def best_accuracy(record: runs.Record) -> float:
    """In per cent, at the best evaluation."""
    return max(row["accuracy"] for row in record.evaluations)


def accuracy_at_last(record: runs.Record) -> float:
    """In per cent, at the last evaluation: of few labels none are there to choose by."""
    return record.evaluations[-1]["accuracy"]


def best_mean(record: runs.Record) -> float:
    """Over several tasks, each in its own metric, at the best evaluation."""
    return max(row["mean"] for row in record.evaluations)


def lowest_loss(record: runs.Record) -> float:
    """Nats a token."""
    return min(row["loss"] for row in record.evaluations)


def accuracy_at_the_end(record: runs.Record) -> float:
    """In per cent, of a squeezed model after its last cut; of others as `best_accuracy`."""
    steps = record.extra.get("trace", {}).get("steps", [])
    measured = [step["metric"] for step in steps if step.get("metric") is not None]  # a straight cut measures nothing
    return measured[-1] if measured else best_accuracy(record)


AS_BEFORE: dict[str, Any] = {}


@dataclass(frozen=True)
class Study:
    """out: the file. recipe: its name, with "{}" for each of the names. tries: name -> label -> what is changed.
    changes: what is changed in all of them, of scale laptop; options one by one.
    """

    out: str
    recipe: str
    tries: Mapping[str, Mapping[str, Mapping[str, Any]]]
    changes: Mapping[str, Any]
    score: Callable[[runs.Record], float]


def rates(names: Sequence[str], values: Sequence[float]) -> dict[str, dict[str, dict[str, Any]]]:
    """The same learning rates for every name."""
    return {name: {f"{lr:g}": {"lr": lr} for lr in values} for name in names}


_LONGER = {"max_steps": 400}
_FOUR_TIMES = {"max_steps": 240}
_MORE_ROWS = {
    "as before": AS_BEFORE,
    "4,000 rows once": {"train": 4000, "epochs": 1},
    "4,000 rows twice": {"train": 4000, "epochs": 2},
}

STUDIES = {
    "mpop": Study(
        "learning_rates.json", "mpop-sst-2-{}",
        rates(("full", "full-mpo", "lfa", "last-1", "last-2", "last-3", "central"), (1e-4, 3e-4, 1e-3)),
        {"select": 500, "dev": 32}, best_accuracy,
    ),
    "mpobert": Study(
        "mpobert_learning_rates.json", "table1-sst-2-{}",
        rates(("albert-mini", "mpobert-mini", "minilm"), (1e-4, 3e-4, 1e-3)), {"dev": 32}, best_accuracy,
    ),
    "experts": Study(
        "experts_learning_rates.json", "experts-{}", rates(("dense", "mpoe"), (5e-4, 1e-3, 2e-3)),
        {"dev": 20, "options": {"texts": 0, "snapshots": 1, "reach": False}}, lowest_loss,
    ),
    "experts-glue": Study(
        "experts_glue_learning_rates.json", "experts-glue-sst-2-{}", rates(("dense", "mpoe"), (3e-3, 1e-2, 3e-2)),
        {"dev": 32, "select": 200}, best_accuracy,
    ),
    "experts-glue-longer": Study(
        "experts_glue_remedies.json", "experts-glue-sst-2-{}",
        {name: {"as before": AS_BEFORE, "4,000 rows": {"train": 4000},
                "4,000 rows, 360 updates": {"train": 4000, "max_steps": 360}}
         for name in ("dense", "mpoe", "moe", "moefication", "switch-own-rate")},
        {"dev": 32, "select": 200}, best_accuracy,
    ),
    "experts-together-longer": Study(
        "experts_together_remedies.json", "experts-together-{}",
        {name: {"as before": AS_BEFORE, "1,000 rows of each": {"train": 1000},
                "1,000 rows of each, 360 updates": {"train": 1000, "max_steps": 360}} for name in ("dense", "mpoe")},
        {"dev": 16, "select": 100}, best_mean,
    ),
    "experts-longer": Study(
        "experts_remedies.json", "experts-{}",
        {"dense": {"as before": AS_BEFORE, "400 updates": _LONGER, "400 updates at 5e-4": {**_LONGER, "lr": 5e-4}},
         "mpoe": {"as before": AS_BEFORE, "400 updates": _LONGER,
                  "400 updates without the mask": {**_LONGER, "options": {"mask_probability": 0.0}}}},
        {"dev": 20, "options": {"texts": 0, "snapshots": 1}}, lowest_loss,
    ),
    "experts-tensors": Study(
        "experts_tensors.json", "experts-{}",
        {name: {"as before": AS_BEFORE, "400 updates": _LONGER,
                "400 updates without the mask": {**_LONGER, "options": {"mask_probability": 0.0}}}
         for name in ("m-3", "m-7", "m-9", "mpoe-16")},
        {"dev": 20, "options": {"texts": 0, "snapshots": 1}}, lowest_loss,
    ),
    "mpobert-bert": Study(
        "mpobert_remedies.json", "table1-sst-2-{}",
        {name: {"as before": AS_BEFORE, "eight epochs": {"epochs": 8}, "3e-4": {"lr": 3e-4}}
         for name in ("mpobert-mini", "minilm", "albert-mini")},
        {"dev": 32}, best_accuracy,
    ),
    "mpobert-together": Study(
        "mpobert_together.json", "table2-{}",
        {name: {"as before": AS_BEFORE, "3e-4": {"lr": 3e-4}, "eight epochs": {"epochs": 8}}
         for name in ("albert-mini", "mpobert-mini", "minilm")},
        {"dev": 16, "select": 100}, best_mean,
    ),
    "mpobert-few": Study(
        "mpobert_few_shots.json", "table3-sst-2-{}-30",
        {name: {"as before": AS_BEFORE, "1e-4": {"lr": 1e-4}, "forty epochs": {"epochs": 40}}
         for name in ("albert-mini", "mpobert-mini", "minilm")},
        {"dev": 32, "select": 200, "eval_every": 120}, accuracy_at_last,
    ),
    "mpobert-rows": Study(
        "mpobert_rows.json", "table1-sst-2-{}",
        {name: _MORE_ROWS for name in ("albert-mini", "mpobert-mini", "minilm")}, {"dev": 32}, best_accuracy,
    ),
    "mpobert-variants": Study(
        "mpobert_variants.json", "table45-sst-2-{}", {name: _MORE_ROWS for name in VARIANTS}, {"dev": 32},
        best_accuracy,
    ),
    "experts-without-sharing": Study(
        "experts_without_sharing.json", "experts-{}",
        {"without-sharing": {"as before": AS_BEFORE, "400 updates": _LONGER,
                             "400 updates at 5e-4": {**_LONGER, "lr": 5e-4}}},
        {"dev": 20, "options": {"texts": 0, "snapshots": 1, "reach": False}}, lowest_loss,
    ),
    "figure-3": Study(
        "mpobert_figure_3.json", "fig3-{}",
        {name: {"as before": AS_BEFORE, "240 updates": _FOUR_TIMES, "240 updates at 5e-4": {**_FOUR_TIMES, "lr": 5e-4}}
         for name in ("decomposed", "continued")},
        {"dev": 32}, lowest_loss,
    ),
    "rte-rows": Study(
        "mpop_rte_rows.json", "mpop-rte-{}-albert-mini",
        {name: {"as before": AS_BEFORE, "2,000 rows": {"train": 2000}, "2,000 rows, six epochs": {"train": 2000,
                "epochs": 6}} for name in ("full", "squeezed")},
        {"dev": 32, "select": 200, "options": {"rows": 200}}, accuracy_at_the_end,
    ),
    "mpop-rows": Study(
        "mpop_rows.json", "mpop-sst-2-{}",
        {name: {"as before": AS_BEFORE, "1,000 rows": {"train": 1000}, "eight epochs": {"epochs": 8}}
         for name in ("full", "full-mpo", "lfa", "central", "last-1", "last-2", "last-3")},
        {"select": 500, "dev": 32}, best_accuracy,
    ),
    "experts-rivals": Study(
        "experts_rivals.json", "experts-{}", rates(("switch", "moe"), (5e-4, 1e-3, 2e-3)),
        {"dev": 20, "options": {"texts": 0, "snapshots": 1, "reach": False}}, lowest_loss,
    ),
    "experts-glue-rivals": Study(
        "experts_glue_rivals.json", "experts-glue-sst-2-{}",
        rates(("switch", "moe", "moefication"), (3e-3, 1e-2, 3e-2)),
        {"dev": 32, "select": 200}, best_accuracy,
    ),
    "experts-reviews": Study(
        "experts_reviews.json", "experts-reviews-{}",
        {name: {"as before": AS_BEFORE, "400 updates": _LONGER, label: {**_LONGER, **last}} for name, label, last in (
            ("mpoe", "400 updates without the mask", {"options": {"mask_probability": 0.0}}),
            ("moe", "400 updates at 5e-4", {"lr": 5e-4}), ("switch", "400 updates at 5e-4", {"lr": 5e-4}))},
        {"dev": 20, "options": {"texts": 0, "snapshots": 1}}, lowest_loss,
    ),
    "squeezing": Study(
        "squeezing_remedies.json", "mpop-sst-2-{}",
        {name: {"as before": AS_BEFORE, "eight updates a cut": {"options": {"tune_steps": 8}},
                "cuts of a quarter": {"options": {"step": 0.25}}} for name in ("squeezed", "straight")},
        {"dev": 32, "select": 200, "options": {"rows": 200}}, accuracy_at_the_end,
    ),
}  # fmt: skip


def changed(study: Study) -> set[str]:
    """What the study's tries change: of these no one value holds for all of them."""
    return {key for labels in study.tries.values() for changes in labels.values() for key in changes}


def tried(study: Study, name: str, label: str, data_dir: str) -> runs.Record:
    recipe = recipes.recipe_named(study.recipe.format(name))
    changes = {**study.changes, **study.tries[name][label]}
    known = recipes.METHODS[recipe.method].options
    options = {**study.changes.get("options", {}), **study.tries[name][label].get("options", {})}
    changes["options"] = {**recipe.at("laptop").options, **{key: options[key] for key in options if key in known}}
    trial = dataclasses.replace(recipe, scales={"laptop": {**recipe.scales["laptop"], **changes}})
    with tempfile.TemporaryDirectory() as folder:
        return recipes.run(
            trial, "laptop", SEED, data_dir=data_dir, results=Path(folder, "results"), work=Path(folder, "work")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of the study's ways (default: all)")
    parser.add_argument("--data-dir", required=True)
    asked = parser.parse_intermixed_args()  # names may stand behind options
    study = STUDIES[asked.study]
    out = runs.results_folder() / study.out
    unknown = [name for name in asked.names if name not in study.tries]
    if unknown:
        parser.error(f"no {unknown[0]!r} in the study {asked.study!r}; there are {', '.join(study.tries)}")
    around = runs.surroundings()  # before the file changes, which may be one that git knows
    for name in asked.names or study.tries:
        for label in study.tries[name]:
            record = tried(study, name, label, asked.data_dir)
            found = round(study.score(record), 4)
            print(f"{name}, {label}: {found:g}", flush=True)
            before = json.loads(out.read_text()) if out.exists() else {"scores": {}}
            scores = before["scores"]
            scores.setdefault(name, {})[label] = found
            rows = {split: count for split, count in record.data["rows"].items() if split not in changed(study)}
            about = {"rows": rows, "seed": SEED, "scale": "laptop"}
            if len({recipes.recipe_named(study.recipe.format(each)).task for each in scores}) == 1:
                about["task"] = record.data["task"]
            content = {**about, **around, "scores": scores}
            runs.refuse_paths(content)
            write_whole(out, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    main()
