"""What several commands do alike: their parsers, tables and lines, and the check of an output folder."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def command(
    commands: Any, name: str, call: Callable[[argparse.Namespace], int], help: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """The parser of one command. The arguments it makes know the function to `call` and, for complaints, `parser`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(name, help=help, description=description, epilog=epilog, formatter_class=raw)
    parser.set_defaults(call=call, parser=parser)
    return parser


def choose_recipe(parser: argparse.ArgumentParser, seed: int = 0) -> None:
    """The options that say which run of a recipe is meant."""
    parser.add_argument("--scale", metavar="SCALE", help="smoke, laptop, gpu or paper (default: smoke)")
    parser.add_argument("--seed", metavar="N", type=int, default=seed, help=f"default: {seed}")
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="the folder of the data sets, as released")
    parser.add_argument("--source", help="folder, hub or offline, in place of the recipe's own choice")


def say(text: str, quiet: bool = False) -> None:
    """A line about the result, to stderr."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A result, to stdout, at once; work goes on where its reader, such as `head`, has left."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        stop_output()


def stop_output() -> None:
    """Sends what is still printed nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def as_json(value: Any) -> str:
    """JSON that every program reads: a number that is none (an undefined correlation) is null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def check_out(folder: Path, force: bool) -> None:
    """Raises FileExistsError unless a command may write into `folder`: a new or empty one, or any with --force."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--out {str(folder)!r} is a file; give a folder, new or empty.")
    if folder.is_dir() and not force and any(folder.iterdir()):
        raise FileExistsError(
            f"--out {str(folder)!r} is not empty. Give another folder, or --force to write into this one: files of the "
            "same name are replaced, all others stay."
        )


def table(columns: Sequence[str], records: Sequence[dict]) -> str:
    """Records as aligned text, one line each: sizes as 32x16, bonds as 1-8-1, numbers to the right."""
    lines = [list(columns), *([_cell(column, record[column]) for column in columns] for record in records)]
    right = [all(isinstance(record[column], int | float) for record in records) for column in columns]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(line, widths, right)
        ).rstrip()
        for line in lines
    )


def _cell(column: str, value: Any) -> str:
    if column == "bonds":
        return "-".join(map(str, value))
    if isinstance(value, list):
        return " ".join(f"{v:.2f}" for v in value) if column == "entropy" else "x".join(map(str, value))
    if column == "ratio":
        return f"{value:.3f}"
    if isinstance(value, float):  # errors; rounding is of another size than what a cut loses
        return f"{value:.4f}" if value >= 1e-4 else f"{value:.0e}"
    return str(value)


def positive(kind: type) -> Callable[[str], Any]:
    """An argparse type: a number above zero."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    parse.__name__ = "whole number" if kind is int else "number"  # for argparse's "invalid number value"
    return parse


def not_negative(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 0")
    return value
