"""Errors of MPO, CPD and SVD with equally many numbers, on rows of MiniLM's word embedding: MPOP Figure 2, small.

    python scripts/low_rank_study.py

For every seed other rows are drawn and CPD starts elsewhere; results/low_rank.json holds what came out. CPD of the
whole embedding would need a rank that nobody computes (`mpolab.baselines`), which is why there are few rows.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from mpolab.baselines import compare
from mpolab.ledger.studies import LOW_RANK_FORMAT
from mpolab.matrices import matrices
from mpolab.pretrained import load_pretrained
from mpolab.runs import refuse_paths, results_folder, surroundings
from mpolab.whole import write_whole

ROWS, RATIOS, NUMBERS = 768, (0.05, 0.1, 0.2, 0.4), (3, 5, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--iterations", type=int, default=20, help="steps of alternating least squares for CPD")
    asked = parser.parse_args()
    start = time.perf_counter()
    loaded = load_pretrained("minilm", tokenizer=False)
    embedding = next(m for m in matrices(loaded.model).values() if m.kind == "word embedding").weight.double()
    rows = []
    for seed in asked.seeds:
        drawn = torch.randperm(len(embedding), generator=torch.Generator().manual_seed(seed))[:ROWS].sort().values
        for n in NUMBERS:
            # CPD over three legs, where its rank stays affordable; the SVD sees the matrix and no legs
            methods = ("MPO", "CPD", "SVD") if n == 3 else ("MPO",)
            options = {"seeds": (seed,), "iterations": asked.iterations}
            found = compare(embedding[drawn], RATIOS, methods, n=n, progress=False, **options)
            for place, each in enumerate(found):
                rows.append({"seed": seed, "ratio": RATIOS[place % len(RATIOS)], "method": each.method, "n": n,
                             "error": float(f"{each.error:.6g}"), "parameters": each.parameters,
                             "stopped": each.limited})  # fmt: skip
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    content = {
        "format": LOW_RANK_FORMAT,
        "command": "python scripts/low_rank_study.py",
        "model": loaded.describe(),
        "scale": f"{ROWS} rows of MiniLM's word embedding",
        "iterations": asked.iterations,
        "seeds": asked.seeds,
        "rows": rows,
        "seconds": round(time.perf_counter() - start, 1),
        **surroundings(),
    }
    refuse_paths(content)
    write_whole(results_folder() / "low_rank.json", (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
