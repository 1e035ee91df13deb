"""Several tasks in one training: which task, and which of its rows, a step sees, by temperature-scaled sizes.

Task i with n_i rows is drawn with probability

    p_i proportional to min(n_i, cap)^(1 / T)

(Raffel et al., 2020, section 3.5.2). T = 1 without a cap is proportional to size; T -> infinity makes all tasks alike;
the cap keeps the largest from taking all (T5's K, 2^16 to 2^21 rows). Hyperformer takes T = 10 on GLUE; MPOE, which
follows it in its Table 2, prints neither.

Every draw is a function of (seed, step) and of nothing else: a training that is resumed, or run by several processes,
sees the tasks and rows that it would have seen.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping

import torch

from .errors import DataError, UnknownNameError
from .features import stream


def shares(sizes: Mapping[str, int], temperature: float = 1.0, cap: int | None = None) -> dict[str, float]:
    """The probability of each task, in the order of `sizes` (rows by task); they add up to one.

    temperature: above 0, infinity for equal shares. Raises DataError for no tasks, sizes or a cap below 1, and other
    temperatures.
    """
    if not sizes:
        raise DataError("a mixture of no tasks: give their sizes, e.g. {'RTE': 2490, 'CoLA': 8551}.")
    for task, size in sizes.items():
        if size < 1:
            raise DataError(f"{task} has {size} rows, and nothing can be drawn from them: leave it out.")
    if not temperature > 0:
        raise DataError(f"temperature={temperature}: 1 is proportional to size, larger ones are more even; 0 is none.")
    if cap is not None and cap < 1:
        raise DataError(f"cap={cap}: the rows that a task counts for at most, from 1 up; None for no cap.")
    # Over the largest, so that no power overflows.
    counted = {task: size if cap is None else min(size, cap) for task, size in sizes.items()}
    most = max(counted.values())
    weights = {task: (size / most) ** (1.0 / temperature) for task, size in counted.items()}
    total = math.fsum(weights.values())
    return {task: weight / total for task, weight in weights.items()}


class Mixture:
    """A sampler over tasks. `task(step)` is the task of a step, `rows(step, count)` the numbers of its rows.

    sizes, temperature and cap as in `shares`, where the errors are too.
    """

    def __init__(self, sizes: Mapping[str, int], temperature: float = 1.0, cap: int | None = None, seed: int = 0):
        self.sizes, self.seed = dict(sizes), seed
        self.shares = shares(sizes, temperature, cap)
        self._names = list(self.shares)
        self._upto = list(itertools.accumulate(self.shares.values()))

    def task(self, step: int) -> str:
        drawn = torch.rand((), generator=stream(self.seed, step, 0), dtype=torch.float64).item()
        return self._names[min(bisect.bisect_right(self._upto, drawn), len(self._names) - 1)]

    def rows(self, step: int, count: int, task: str | None = None) -> list[int]:
        """`count` numbers of rows of the step's task (or of `task`), each row as likely as any other.

        No row twice while there are others; a batch larger than the task goes round it.
        """
        task = self.task(step) if task is None else task
        if task not in self.sizes:
            raise UnknownNameError(f"unknown task {task!r} of this mixture. Known: {', '.join(self.sizes)}.")
        if count < 1:
            raise DataError(f"{count} rows of {task}: at least one.")
        generator, size, found = stream(self.seed, step, 1), self.sizes[task], []
        while len(found) < count:
            wanted = min(size, count - len(found))
            if wanted > size // 2:
                found += torch.randperm(size, generator=generator)[:wanted].tolist()
                continue
            few: dict[int, None] = {}  # of a large task: no permutation of hundreds of thousands for a batch
            while len(few) < wanted:
                few.setdefault(int(torch.randint(size, (), generator=generator)))
            found += few
        return found
