"""Probes three models layer by layer with several draws of rows: does meaning stand above syntax? MPOBERT Figure 4.

    python scripts/trend_study.py --data-dir DIR
    python scripts/trend_study.py --data-dir DIR --choose
    python scripts/trend_study.py --data-dir DIR --larger

DIR holds a treebank in CoNLL-U. The tasks are its syntactic and semantic ones on sentences, and the offline grammar's;
for every seed other rows are drawn, the same for all models. The models are as they are: one checkpoint each. Probes
are linear, whose fit has nothing random in it. results/probing_trend.json is written after each model and seed, and a
study that was interrupted goes on with what it lacks. `mpolab.probing.trend` says what is made of the accuracies.

Where two of the three claims came out as nothing or as noise, other settings were tried: `--choose` takes each of TRIES
with a seed that is not reported, and writes to results/probing_trend_tries.json how well the probes read their tasks on
dev. It looks at no trend. `--larger` is the study with what was best for both models, and with more rows to test on;
results/probing_trend_larger.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from pathlib import Path
from statistics import mean
from typing import Any

from mpolab.pretrained import Pretrained, load_pretrained
from mpolab.probing import PROBES, TEN, load_probing, probe
from mpolab.probing.states import POOLINGS
from mpolab.probing.treebank import MAKERS
from mpolab.probing.trend import FORMAT, HIGHER, LOWER, centre, levels, peak
from mpolab.runs import commit, refuse_paths, results_folder, surroundings
from mpolab.tasks import TaskData
from mpolab.whole import write_whole

MODELS = ("minilm", "albert-mini", "mpobert-mini")
SEEDS = (0, 1, 2)
SIZES = {"train": 1000, "dev": 300, "test": 300}
POOLING = "mean"

LARGER = {"train": 2000, "dev": 300, "test": 1000}
SEED_TO_CHOOSE = 100
TRIES: dict[str, dict[str, Any]] = {
    "as before": {"train": SIZES["train"], "pooling": POOLING},
    "2,000 rows": {"train": LARGER["train"], "pooling": POOLING},
    "the first token": {"train": SIZES["train"], "pooling": "first"},
}
"""What is tried -> rows to learn from, and how a sentence is made of its tokens."""
CHOOSING = ("albert-mini", "mpobert-mini")
"""The models of the claims that ask for it."""


def tasks_of(seed: int, sizes: dict[str, int], data_dir: Path) -> list[TaskData]:
    """Syntactic and semantic tasks on sentences, from both sources."""
    names = [name for name in TEN if PROBES[name].group in (LOWER, HIGHER)]
    bank = [name for name in names if name in MAKERS]
    return [*load_probing(names, "offline", None, sizes, seed), *load_probing(bank, "treebank", data_dir, sizes, seed)]


def probed(found: Pretrained, model: str, seed: int, tasks: list[TaskData], pooling: str = POOLING) -> dict[str, Any]:
    """One model and one draw of rows: per task the accuracies from the embeddings up, and the depths."""
    start, used = time.perf_counter(), time.process_time()
    result = probe(found.model, found.tokenizer, tasks, name=model, seed=seed, pooling=pooling, kinds=["linear"])
    rows = []
    for task in result.tasks:
        dev, test = [task.score(layer).dev for layer in range(task.layers)], task.values()
        depths = {"centre": round(centre(test), 5), "peak": round(peak(dev), 5)}
        rows.append({"name": task.name, "group": task.group, "rows": task.rows, "majority": task.majority, **depths,
                     "dev": dev, "test": test})  # fmt: skip
    trends = {}
    for kind in ("centre", "peak"):
        low, high = levels([(row["group"], row[kind]) for row in rows])
        trends[kind] = round(high - low, 5)
    return {
        "model": model, "seed": seed, "trend": trends, "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - used, 1), "commit": commit(), "tasks": rows,
    }  # fmt: skip


def kept(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of an interrupted study. Raises ValueError for one of other settings, and for a file that is none."""
    if not path.is_file():
        return []
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("runs"), list):
        raise ValueError(f"{path.name!r} is no study of trends over layers: move it away, or name another --out.")
    other = [key for key, value in settings.items() if content.get(key) != value]
    if other:
        raise ValueError(f"{path.name!r} is of a study with other {', '.join(other)}: move it away, or name another "
                         "--out.")  # fmt: skip
    return content["runs"]


def as_text(content: dict[str, Any]) -> bytes:
    """JSON with one task a line."""
    lines: list[str] = []

    def line(task: dict[str, Any]) -> str:
        lines.append(json.dumps(task, allow_nan=False))
        return f"@{len(lines) - 1}@"

    runs = [{**run, "tasks": [line(task) for task in run["tasks"]]} for run in content["runs"]]
    text = json.dumps({**content, "runs": runs}, indent=1, ensure_ascii=False)
    for k, written in enumerate(lines):
        text = text.replace(f'"@{k}@"', written, 1)
    return (text + "\n").encode()


def choose(out: Path, data_dir: Path) -> None:
    """Model -> try -> mean accuracy on dev, in per cent: of every task the Transformer layer where it is highest."""
    scores: dict[str, dict[str, float]] = {}
    for label, tried in TRIES.items():
        sizes = {**SIZES, "train": tried["train"]}
        tasks = tasks_of(SEED_TO_CHOOSE, sizes, data_dir)
        for model in CHOOSING:
            run = probed(load_pretrained(model), model, SEED_TO_CHOOSE, tasks, tried["pooling"])
            best = mean(max(task["dev"][1:]) for task in run["tasks"])
            scores.setdefault(model, {})[label] = round(100 * best, 4)
            print(f"{model}, {label}: {scores[model][label]:g}, {run['cpu_seconds']} CPU seconds", flush=True)
            content = {"seed": SEED_TO_CHOOSE, "rows": {"dev": SIZES["dev"]}, **surroundings(), "scores": scores}
            refuse_paths(content)
            write_whole(out, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", metavar="DIR", type=Path, required=True)
    parser.add_argument("--models", nargs="+", metavar="MODEL", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), metavar="N")
    parser.add_argument("--rows", nargs=3, type=int, metavar=("TRAIN", "DEV", "TEST"),
                        help=f"default: {' '.join(map(str, SIZES.values()))}")  # fmt: skip
    parser.add_argument("--pooling", choices=POOLINGS, default=POOLING, help="how a sentence is made of its tokens")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--choose", action="store_true", help="only try other settings, on rows that choose")
    rows = " ".join(map(str, LARGER.values()))
    kinds.add_argument("--larger", action="store_true", help=f"default: rows {rows}, models {' '.join(CHOOSING)}")
    parser.add_argument("--out", metavar="FILE", type=Path)
    asked = parser.parse_args()
    if asked.choose:
        return choose(asked.out or results_folder() / "probing_trend_tries.json", asked.data_dir)
    words = ["python", "scripts/trend_study.py", "--data-dir", "DIR", *(["--larger"] if asked.larger else [])]
    for name in ("models", "seeds", "rows", "pooling"):
        value = getattr(asked, name)
        if value != parser.get_default(name):
            each = [value] if isinstance(value, str) else value
            words += [f"--{name}", *(Path(str(one)).name for one in each)]  # names, no folders
    asked.out = asked.out or results_folder() / f"probing_trend{'_larger' if asked.larger else ''}.json"
    sizes = dict(zip(SIZES, asked.rows or (LARGER if asked.larger else SIZES).values()))
    models = {Path(model).name: load_pretrained(model)
              for model in asked.models or (CHOOSING if asked.larger else MODELS)}  # fmt: skip
    settings = {"models": {model: found.describe() for model, found in models.items()}, "sizes": sizes,
                "pooling": asked.pooling}  # fmt: skip
    try:
        runs = kept(asked.out, settings)
    except ValueError as error:
        parser.error(str(error))
    for seed in asked.seeds:
        left = [model for model in models if (model, seed) not in {(run["model"], run["seed"]) for run in runs}]
        tasks = tasks_of(seed, sizes, asked.data_dir) if left else []
        for model in left:
            runs.append(probed(models[model], model, seed, tasks, asked.pooling))
            content = {
                "format": FORMAT,
                "command": shlex.join(words),
                "scale": f"one checkpoint a model; a seed draws up to {sizes['train']} rows a task",
                "seeds": sorted({*asked.seeds, *(run["seed"] for run in runs)}),
                **settings,
                "seconds": round(sum(run["seconds"] for run in runs), 1),
                **surroundings(),
                "runs": runs,
            }
            refuse_paths(content)
            write_whole(asked.out, as_text(content))
            print(f"{model}, seed {seed}: {runs[-1]['cpu_seconds']} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
