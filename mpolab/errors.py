"""The typed errors of mpolab: each names the value, what was expected and the nearest thing that would work.

Every class is also a `ValueError`, a `TypeError` or a `FileNotFoundError`, so that plain `except ValueError` works.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable


class PlanError(ValueError):
    """A shape plan that does not fit its matrix: factors that do not multiply out, or lists of unequal length."""


class BondError(ValueError):
    """A bond dimension, compression ratio or error budget that cannot be meant (below 1, negative, wrong length)."""


class MatrixError(ValueError):
    """A matrix that cannot be decomposed: not two-dimensional, or with NaN or infinite entries."""


class MatrixTypeError(TypeError):
    """Something that is not a real floating-point tensor."""


class UnknownNameError(ValueError):
    """A name (method, definition, matrix, panel) that does not exist; the message lists those that do."""


class CheckpointError(ValueError):
    """A file that is not a whole checkpoint of this package: truncated, foreign, or with tensors missing."""


class ModelNotFoundError(FileNotFoundError):
    """A model that is neither in a folder, nor in the hub's cache, nor installed as the offline package."""


class RoutingError(ValueError):
    """Experts that cannot be routed to: more per token than there are, a capacity that drops all, ids missing."""


class DataError(ValueError):
    """A data set that is not what its name promises: a row that cannot be read, a split too small, labels unknown."""


class DataNotFoundError(FileNotFoundError):
    """A data set, or one of its files, that is in none of the places where it was looked for."""


class TrainingError(ValueError):
    """A training that cannot start or cannot go on: settings that contradict each other, a loss that is no number."""


class BusyError(ValueError):
    """A run that another process has under way: two would write into one folder of checkpoints."""


class LedgerError(ValueError):
    """A verdict that nothing supports: on runs without a record, with too few seeds, or without an interval."""


def unknown(what: str, given: object, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among `known`, with the nearest known ones first in its message."""
    names = [str(name) for name in known]
    near = [name for name in difflib.get_close_matches(str(given), names, n=3, cutoff=0.4) if name != str(given)]
    hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    shown = ", ".join(repr(name) for name in names[:24]) + (f", ... ({len(names)} in all)" if len(names) > 24 else "")
    return UnknownNameError(f"unknown {what} {given!r}.{hint} Known: {shown}.")


def check_options(what: str, options: Iterable[str], call: Callable, given: Iterable[str] = ()) -> None:
    """Raises UnknownNameError for an option that `call` has no parameter of that name for; `given` are not options."""
    known = [name for name in inspect.signature(call).parameters if name not in given]
    for option in options:
        if option not in known:
            raise unknown(f"option of {what}", option, known)
