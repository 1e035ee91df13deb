"""Errors of MPO, CPD and SVD with equally many numbers, on rows of MiniLM's word embedding: MPOP Figure 2, small.

    python scripts/low_rank_study.py [figure query query-five one-step]

For every seed other rows are drawn and CPD starts elsewhere; results/low_rank.json holds what came out. CPD of the
whole embedding would need a rank that nobody computes (`mpolab.baselines`), which is why there are few rows. The other
cases look for the reason why CPD's errors are smaller here: other matrices, more legs, a CPD that has hardly begun.
Each is a file of its own, results/low_rank_CASE.json.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

import torch

from mpolab.baselines import compare
from mpolab.ledger.studies import LOW_RANK_FORMAT
from mpolab.matrices import matrices
from mpolab.pretrained import load_pretrained
from mpolab.runs import refuse_paths, results_folder, surroundings
from mpolab.whole import write_whole

ROWS, RATIOS, SEEDS = 768, (0.05, 0.1, 0.2, 0.4), (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Case:
    """of: "word embedding", some rows a seed, or "query", the layer with the seed's number. numbers: of cores, for MPO;
    compared: of these, where CPD and SVD stand beside it. iterations: steps of alternating least squares for CPD.
    """

    file: str
    of: str
    scale: str
    numbers: tuple[int, ...] = (3,)
    compared: tuple[int, ...] = (3,)
    iterations: int = 20


_EMBEDDING = f"{ROWS} rows of MiniLM's word embedding"
_QUERY = "the query matrices of five layers of MiniLM"
CASES = {
    # CPD over three legs, where its rank stays affordable
    "figure": Case("low_rank.json", "word embedding", _EMBEDDING, (3, 5, 7)),
    "query": Case("low_rank_query.json", "query", _QUERY),
    "query-five": Case("low_rank_query_five.json", "query", _QUERY, (5,), (5,)),
    "one-step": Case("low_rank_one_step.json", "word embedding", _EMBEDDING, iterations=1),
}


def of_seed(model: torch.nn.Module, case: Case, seed: int) -> torch.Tensor:
    """The matrix of a case and a seed, float64."""
    found = [matrix.weight.double() for name, matrix in matrices(model).items() if _wanted(case, name, matrix.kind)]
    if case.of == "query":
        return found[seed]
    drawn = torch.randperm(len(found[0]), generator=torch.Generator().manual_seed(seed))[:ROWS].sort().values
    return found[0][drawn]


def _wanted(case: Case, name: str, kind: str) -> bool:
    return name.endswith("query") if case.of == "query" else kind == case.of


def study(name: str) -> None:
    case, start = CASES[name], time.perf_counter()
    loaded = load_pretrained("minilm", tokenizer=False)
    rows = []
    for seed in SEEDS:
        matrix = of_seed(loaded.model, case, seed)
        for n in case.numbers:
            methods = ("MPO", "CPD", "SVD") if n in case.compared else ("MPO",)  # the SVD sees no legs
            options = {"seeds": (seed,), "iterations": case.iterations}
            found = compare(matrix, RATIOS, methods, n=n, progress=False, **options)
            for place, each in enumerate(found):
                rows.append({"seed": seed, "ratio": RATIOS[place % len(RATIOS)], "method": each.method, "n": n,
                             "error": float(f"{each.error:.6g}"), "parameters": each.parameters,
                             "stopped": each.limited})  # fmt: skip
        print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    content = {
        "format": LOW_RANK_FORMAT,
        "command": "python scripts/low_rank_study.py" + ("" if name == "figure" else f" {name}"),
        "model": loaded.describe(),
        "scale": case.scale,
        "iterations": case.iterations,
        "seeds": list(SEEDS),
        "rows": rows,
        "seconds": round(time.perf_counter() - start, 1),
        **surroundings(),
    }
    refuse_paths(content)
    write_whole(results_folder() / case.file, (json.dumps(content, indent=1) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: figure)")
    asked = parser.parse_args()
    for name in asked.cases or ["figure"]:
        if name not in CASES:
            parser.error(f"no case {name!r}; there are {', '.join(CASES)}")
        study(name)


if __name__ == "__main__":
    main()
