"""`mpolab bench`: the benchmarks of a source checkout."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    commands.add_parser(
        "bench", add_help=False, help="run the benchmarks of a source checkout; its options follow (try bench --help)"
    )


def bench(argv: Sequence[str]) -> int:
    """benchmarks/bench_decomposition.py beside the package: its main(argv), in this process."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_decomposition.py"
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
