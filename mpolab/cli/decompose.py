"""`mpolab decompose`: the matrices of a model as MPOs, one line each; the cores as files."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .shared import check_out, command, counted, say, table

if TYPE_CHECKING:
    from ..matrices import Matrix
    from ..mpo import MPO

DESCRIPTION = """\
Decompose the matrices of a pre-trained model into MPOs and print one line for each:

  matrix      path of the module that holds it
  shape       out x in, as in torch.nn.Linear; vocabulary x hidden for an embedding
  rows, cols  the factors of out and in, one for each of the n tensors (their product may be
              larger than the matrix: it is padded with zeros)
  bonds       the n+1 bond dimensions d_0 to d_n, the outer ones being 1
  entropy     entanglement entropy of each inner bond of the whole matrix, in nats
  ratio       numbers in the MPO / numbers in the (padded) matrix; above 1 it takes more room
  error       measured: |W - MPO| / |W|, Frobenius norms
  bound       what the discarded singular values promise: the error is not above it,
              rounding (about 1e-7 in float32) aside
"""

EPILOG = """\
where MODEL is looked for, in this order; stderr says which it was:
  a folder with config.json and model.safetensors, as save_pretrained writes it;
  the Hugging Face cache, then the hub (not if HF_HUB_OFFLINE=1);
  for minilm only, the package that `make model` installs.

examples:
  mpolab decompose minilm --matrix 'layer.0.*query' --bond 64
  mpolab decompose minilm --matrix '^L[0-2] FFN' --error 0.3 --n 3
  mpolab decompose ./my-model --ratio 0.5 --out my-model-mpo
  mpolab decompose bert-base-uncased --matrix pooler --json | python -m json.tool

A file that --out wrote is read back with mpolab.MPO.load("DIR/<matrix>.safetensors").
"""

COLUMNS = ("matrix", "shape", "rows", "cols", "bonds", "entropy", "ratio", "error", "bound")
"""Columns of the table, and exactly the keys of each object under --json."""


def add(commands: Any) -> None:
    about = "decompose the matrices of a model; print bonds, entropies, errors; write the cores"
    parser = command(commands, "decompose", decompose, about, DESCRIPTION, EPILOG)
    parser.add_argument("model", metavar="MODEL", help="'minilm', a folder, or a name on the Hugging Face hub")
    parser.add_argument(
        "--matrix", metavar="REGEX", help="only those whose path or label ('L0 query') matches; default: all of them"
    )
    parser.add_argument("--n", type=int, default=5, help="number of tensors in each MPO (default: 5)")
    parser.add_argument(
        "--method",
        default="centre",
        help="centre, left_to_right or symmetric (default: centre, the fastest)",
    )
    size = parser.add_argument_group("how much to keep (at most one; default: everything)")
    size = size.add_mutually_exclusive_group()
    size.add_argument("--bond", type=int, metavar="N", help="no bond dimension above N")
    size.add_argument("--ratio", type=float, metavar="R", help="at most this share of the matrix's numbers, e.g. 0.3")
    size.add_argument("--error", type=float, metavar="E", help="a relative error of at most E, e.g. 0.1")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="a JSON list of objects instead of the table")
    output.add_argument("--out", metavar="DIR", type=Path, help="write each MPO to DIR/<matrix>.safetensors")
    output.add_argument("--force", action="store_true", help="write into DIR even if it is not empty")
    output.add_argument("--quiet", action="store_true", help="no model line and no progress bar on stderr")


def decompose(arguments: argparse.Namespace) -> int:
    if arguments.out is not None:
        check_out(arguments.out, arguments.force)  # before any work is done
    elif arguments.force:
        arguments.parser.error("--force only means something together with --out DIR")

    from tqdm import tqdm

    from ..errors import BondError, MatrixError, PlanError
    from ..models import load_pretrained, matrices, select
    from ..mpo import MPO

    pretrained = load_pretrained(arguments.model, tokenizer=False)
    say(f"model: {pretrained.describe()}; from {pretrained.source}", arguments.quiet)
    chosen = matrices(pretrained) if arguments.matrix is None else select(pretrained, arguments.matrix)

    records, kept = [], 0
    start = time.perf_counter()
    # Counted in matrix entries: an embedding takes many times as long as an attention matrix.
    total = sum(matrix.weight.numel() for matrix in chosen.values())
    with tqdm(total=total, unit="w", unit_scale=True, disable=arguments.quiet, file=sys.stderr) as bar:
        for name, matrix in chosen.items():
            bar.set_description(matrix.label)
            try:
                mpo = MPO.decompose(
                    matrix.weight,
                    n=arguments.n,
                    bond=arguments.bond,
                    ratio=arguments.ratio,
                    error=arguments.error,
                    method=arguments.method,
                )
            except (PlanError, BondError, MatrixError) as problem:
                written = f" {len(records)} matrices were written before it." if arguments.out and records else ""
                raise type(problem)(f"{name}: {problem}{written}") from problem
            if arguments.out is not None:
                mpo.save(arguments.out / f"{name}.safetensors")
            records.append(_record(matrix, mpo))
            kept += mpo.parameters
            bar.update(matrix.weight.numel())

    if arguments.json:
        # One object per line: a list of bonds is read across, not down.
        print("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]")
    else:
        print(table(COLUMNS, records))
        print(f"{counted(len(records), 'matrix', 'matrices')}, {total:,} numbers as {kept:,} ({kept / total:.3f})")
    sys.stdout.flush()  # a reader that has left shows here, where main() expects it
    if arguments.out is not None:
        seconds = time.perf_counter() - start
        files = counted(len(records), "file", "files")
        say(f"{files} written to {arguments.out} in {seconds:.1f} s", arguments.quiet)
    return 0


def _record(matrix: Matrix, mpo: MPO) -> dict[str, object]:
    """One matrix under --json: plain numbers, every key of COLUMNS."""
    return {
        "matrix": matrix.name,
        "shape": list(mpo.shape),
        "rows": list(mpo.rows),
        "cols": list(mpo.cols),
        "bonds": list(mpo.bonds),
        "entropy": [float(value) for value in mpo.entropy()],
        "ratio": float(mpo.ratio),
        # Against the weight itself, by rebuilding it: what a reader of the file would get, rounding included.
        "error": float(mpo.error(matrix.weight)),
        "bound": float(mpo.bound()),
    }
