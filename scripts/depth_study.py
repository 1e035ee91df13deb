"""Measures how the size of one update grows with the depth of an MPOBERT: what the depth panel shows.

    python scripts/depth_study.py [--seeds 5] [--hidden 64] [--gain 1.0] [--source NAME] [--out results/depth.json]

Both scalar and encoder, everything that mpolab.depth knows; about seven minutes on one core with the defaults.
"""

import argparse
import importlib.metadata
import json
import time
from pathlib import Path

import torch

from mpolab import depth, runs
from mpolab.whole import write_whole


def as_text(content: dict) -> bytes:
    """JSON with one curve a line."""
    curves = content["study"]["curves"]
    short = {**content, "study": {**content["study"], "curves": ["@"]}}
    lines = ",\n".join(f"   {json.dumps(curve, ensure_ascii=False)}" for curve in curves)
    return (json.dumps(short, indent=1, ensure_ascii=False).replace('   "@"', lines) + "\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--hidden", type=int, default=64, help="of the random ALBERT (default 64)")
    parser.add_argument("--gain", type=float, default=1.0, help="its weights times the root of hidden (default 1)")
    parser.add_argument("--source", help="name or folder of a trained ALBERT, in place of random ones")
    parser.add_argument("--out", type=Path, default=runs.results_folder() / "depth.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    found = depth.study(seeds=range(asked.seeds), hidden=asked.hidden, gain=asked.gain, source=asked.source)
    seconds = round(time.perf_counter() - started, 1)
    command = "python scripts/depth_study.py"
    for name in ("seeds", "hidden", "gain"):
        if getattr(asked, name) != parser.get_default(name):
            command += f" --{name} {getattr(asked, name):g}"
    if asked.source:
        command += f" --source {Path(asked.source).name}"
    content = {"format": depth.FORMAT, "command": command, **runs.surroundings(), "seconds": seconds}
    content["versions"]["pytorch-optimizer"] = importlib.metadata.version("pytorch-optimizer")  # LAMB's
    content["study"] = found.to_dict()
    runs.refuse_paths(content)
    write_whole(asked.out, as_text(content))
    print(f"{asked.out.name}: {len(found.curves)} curves, {seconds} s")
    for row in found.slopes:
        setting = ", ".join(str(row[name]) for name in ("model", "n", "init", "scaled", "optimiser", "part"))
        print(f"{setting}: {row['value']:.2f} ± {row['error']:.2f} (seeds ± {row['seed_error']:.2f}), {row['says']}")


if __name__ == "__main__":
    main()
