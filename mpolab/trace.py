"""The record of a squeezing: which bond was cut when, what it was expected to cost, and what it did cost.

Plain numbers, which survive JSON, so that a run record can hold them and the squeeze replay can scrub through them: the
bonds of every matrix after any step follow from the bonds at the start and the accepted steps. Notebook 02,
"Squeezing".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from .errors import DataError
from .plans import Plan

STOPPED = {
    "running": "not finished",
    "target": "the target size was reached",
    "drop": "the metric got worse by more than max_drop; the last step was taken back",
    "steps": "max_steps were made",
    "exhausted": "no bond next to a centre could be cut further",
    "interrupted": "it was interrupted; what it had done is kept",
}


@dataclass(frozen=True)
class Step:
    """One cut of one bond.

    number: from 1. path: of the matrix in the model. bond: 1 .. n-1. before, after: its size.
    estimate: relative error that the stored spectrum expects of this cut alone: root of the squares from `after` + 1 to
        `before`, over the norm of the matrix that was decomposed.
    bound: the same for all that has been cut from the matrix since its decomposition, over all bonds (MPOP eq. 4).
    error: ||W' - W|| / ||W|| of the matrix as it was, trained, just before the cut.
    metric: what `evaluate` said after tuning; None where nobody asked. parameters: of the whole model, after the step.
    accepted: False for the step that was taken back.
    """

    number: int
    path: str
    bond: int
    before: int
    after: int
    estimate: float
    bound: float
    error: float
    metric: float | None
    parameters: int
    accepted: bool = True


@dataclass(frozen=True)
class Matrix:
    """A matrix of the model as it was before the first step: its plan (`rows`, `cols`, `shape`) and its n+1 bonds."""

    rows: tuple[int, ...]
    cols: tuple[int, ...]
    shape: tuple[int, int]
    bonds: tuple[int, ...]

    @property
    def plan(self) -> Plan:
        return Plan(self.rows, self.cols, self.shape)


@dataclass
class Trace:
    """All steps in order, and how they were made; `Trace.from_dict(trace.to_dict())` is equal to it.

    order: "estimate", "random" or "straight". step, max_drop, target, seed: as asked for. baseline: metric before the
    first step. parameters: of the whole model then. stopped: a key of `STOPPED`.
    """

    order: str
    step: int | float
    max_drop: float | None
    target: int | None
    seed: int | None
    baseline: float | None
    parameters: int
    matrices: dict[str, Matrix]
    steps: list[Step] = field(default_factory=list)
    stopped: str = "running"
    greater_is_better: bool = True  # of the metric

    @property
    def accepted(self) -> list[Step]:
        return [step for step in self.steps if step.accepted]

    @property
    def final_parameters(self) -> int:
        """Of the whole model at the end."""
        return self.accepted[-1].parameters if self.accepted else self.parameters

    def bonds_at(self, number: int) -> dict[str, list[int]]:
        """The n+1 bonds of every matrix after step `number` (0: at the start), what was taken back left out."""
        if not 0 <= number <= len(self.steps):
            raise DataError(f"step {number} is not in this trace, which has steps 0 (the start) to {len(self.steps)}.")
        bonds = {path: list(matrix.bonds) for path, matrix in self.matrices.items()}
        for step in self.steps[:number]:
            if step.accepted:
                bonds[step.path][step.bond] = step.after
        return bonds

    @property
    def bonds(self) -> dict[str, list[int]]:
        """The n+1 bonds of every matrix at the end."""
        return self.bonds_at(len(self.steps))

    def to_dict(self) -> dict:
        """For JSON."""
        about = asdict(self)
        about["matrices"] = {
            path: {name: list(value) for name, value in matrix.items()} for path, matrix in about["matrices"].items()
        }
        return about

    @classmethod
    def from_dict(cls, about: Mapping) -> Trace:
        """Reads what `to_dict` gave. Raises DataError where something is missing, unknown or does not fit together."""
        try:
            matrices = {
                path: Matrix(**{name: tuple(value) for name, value in matrix.items()})
                for path, matrix in about["matrices"].items()
            }
            steps = [Step(**step) for step in about["steps"]]
            trace = cls(**{**about, "matrices": matrices, "steps": steps})
        except (KeyError, TypeError, AttributeError) as problem:
            names = [item.name for item in fields(cls)]
            raise DataError(f"no trace of a squeezing: {problem}. Expected the fields {', '.join(names)}.") from None
        for step, number in zip(steps, range(1, len(steps) + 1)):
            known = matrices.get(step.path)
            if step.number != number or known is None or not 1 <= step.bond < len(known.bonds) - 1:
                raise DataError(
                    f"step {step.number} of the trace (bond {step.bond} of {step.path!r}) does not fit: steps count "
                    f"from 1 and name a bond of one of {', '.join(map(repr, matrices))}."
                )
        return trace

    def __str__(self) -> str:
        lines = [f"{self.parameters:,} parameters" + ("" if self.baseline is None else f", metric {self.baseline:.4g}")]
        for step in self.steps:
            metric = "" if step.metric is None else f", metric {step.metric:.4g}"
            lines.append(
                f"{step.number:4}  {step.path} bond {step.bond}: {step.before} -> {step.after}, estimated error "
                f"{step.estimate:.3g}, true {step.error:.3g}{metric}, {step.parameters:,} parameters"
                + ("" if step.accepted else "  (taken back)")
            )
        return "\n".join([*lines, STOPPED.get(self.stopped, self.stopped)])
