"""Probes models layer by layer and writes a record of each: results/probing/MODEL.json, which the probing panel shows.

    python scripts/probe_models.py minilm --source offline treebank --data-dir DIR [--untrained]

Sources: offline (the grammar's ten tasks), senteval (the official files), treebank (CoNLL-U files); the last two are in
DIR. --untrained probes each model's shape with random weights instead: what its tokenizer and its architecture give
away before they have learnt anything. A record has results only, no sentence.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import time
from pathlib import Path

import torch

from mpolab import runs
from mpolab.pretrained import Pretrained, load_pretrained
from mpolab.probing import POOLINGS, SIZES, SOURCES, load_probing, probe
from mpolab.whole import write_whole


def untrained(found: Pretrained, seed: int) -> Pretrained:
    """The same architecture and tokenizer with weights from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(found.model)(found.model.config).eval()
    return Pretrained(f"{found.name}-untrained", found.origin, f"random weights, seed {seed}", fresh, found.tokenizer)


def record(found: Pretrained, tasks: list, asked: argparse.Namespace) -> dict:
    """What is written of one model: its result, and how it came about."""
    start, used = time.perf_counter(), time.process_time()
    result = probe(
        found.model, found.tokenizer, tasks, name=found.name, seed=asked.seed, pooling=asked.pooling, cache=asked.cache,
        progress=True,
    )  # fmt: skip
    content = {
        **result.to_dict(),
        "pretrained": found.describe(),
        "command": command(asked),
        "sizes": asked.sizes,
        "total_seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - used, 1),  # of all threads: what a busy machine does not stretch
        **runs.surroundings(),
    }
    runs.refuse_paths(content)
    return content


def as_text(content: dict) -> bytes:
    """JSON with one score a line."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    innermost = re.compile(r"[\[{]\n[^\[\]{}]*\n *[\]}]")  # newlines inside strings are escaped, so these are layout
    return (innermost.sub(lambda found: re.sub(r"\n *", " ", found[0]), text) + "\n").encode()


def command(asked: argparse.Namespace) -> str:
    """What was typed, without the folders of this machine."""
    words = ["python", "scripts/probe_models.py", *(Path(model).name for model in asked.models), "--source"]
    words += [*asked.source, *(["--data-dir", "DIR"] if asked.data_dir else []), "--seed", str(asked.seed)]
    words += ["--rows", *(str(count) for count in asked.sizes.values()), "--pooling", asked.pooling]
    words += ["--tasks", *asked.tasks] if asked.tasks else []
    return shlex.join([*words, *(["--untrained"] if asked.untrained else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "models", nargs="*", default=["minilm"], metavar="MODEL", help="as mpolab.load_pretrained has it"
    )
    parser.add_argument("--source", nargs="+", default=["offline"], choices=SOURCES)
    parser.add_argument("--data-dir", metavar="DIR", type=Path)
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="by name (default: all that the source has)")
    parser.add_argument("--rows", nargs=3, type=int, default=list(SIZES.values()), metavar=("TRAIN", "DEV", "TEST"))
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--pooling", default=POOLINGS[0], choices=POOLINGS)
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--cache", metavar="DIR", type=Path, help="keep hidden states here")
    parser.add_argument("--out", metavar="DIR", type=Path, default=runs.results_folder() / "probing")
    asked = parser.parse_args()
    asked.sizes = dict(zip(SIZES, asked.rows))
    tasks = []
    for source in asked.source:
        folder = None if source == "offline" else asked.data_dir
        tasks += load_probing(asked.tasks, source, folder, asked.sizes, asked.seed)
    for model in asked.models:
        found = load_pretrained(model)
        content = record(untrained(found, asked.seed) if asked.untrained else found, tasks, asked)
        path = asked.out / f"{content['model'].rpartition('/')[2]}.json"
        write_whole(path, as_text(content))
        print(f"{path}: {content['total_seconds']} s, {content['sentences']:,} sentences in {content['seconds']} s")


if __name__ == "__main__":
    main()
