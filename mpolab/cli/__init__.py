"""The command line: `mpolab decompose|compress|eval|run|sweep|ledger|bench`, or `python -m mpolab`. One file a command.

Results go to stdout, everything about them (which model was found, progress, errors) to stderr. Exit code 0 is
success, 2 a request that cannot be served (one paragraph says why), 130 an interruption. A command's file has `add`,
which describes its options, and a function of these; torch is imported when that runs, so that help is quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import errors
from . import bench, compress, decompose, evaluate, ledger, run, sweep
from .shared import stop_output

# What the caller can put right. Anything else is a defect of this package and keeps its traceback.
REFUSALS = (
    errors.PlanError,
    errors.BondError,
    errors.MatrixError,
    errors.MatrixTypeError,
    errors.UnknownNameError,
    errors.CheckpointError,
    errors.ModelNotFoundError,
    errors.DataError,
    errors.DataNotFoundError,
    errors.TrainingError,
    errors.LedgerError,
    errors.BusyError,
    OSError,
)

DESCRIPTION = "Matrix product operators (MPO, the tensor-train matrix format) in language models."

EPILOG = """\
examples:
  mpolab decompose minilm --ratio 0.3              every matrix of MiniLM at 30% of its numbers
  mpolab decompose minilm --matrix 'L0 query'      one matrix, at full bonds: nothing is lost
  mpolab compress minilm --ratio 0.3 --out small   the model with MPOs in place of its matrices
  mpolab eval small-sst2 --task SST-2              how well a saved model does a task
  mpolab run --list                                the experiments, and which have a record
  mpolab ledger mpop-tab3                          what a paper claims, what was found, the verdict
  mpolab bench                                     speed, side by side with other packages

`mpolab COMMAND --help` says more. `python -m mpolab` is the same command.
"""

COMMANDS = (decompose, compress, evaluate, run, sweep, ledger, bench)  # in the order of the help


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="mpolab", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; argv defaults to the process's own arguments. Returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv[:1] == ["bench"]:  # everything after it belongs to the benchmark, its --help included
            return bench.bench(argv[1:])
        parser = _parser()
        arguments = parser.parse_args(argv)
        if arguments.version:
            from .. import __version__

            print(f"mpolab {__version__}")
            return 0
        if arguments.command is None:
            parser.print_help()
            return 2
        return arguments.call(arguments)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        stop_output()
        return 0
    except REFUSALS as error:
        print(f"mpolab: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mpolab: interrupted", file=sys.stderr)
        return 130
