"""Temperature sampling against its formula, its limits, and counts of draws."""

from __future__ import annotations

import collections
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpolab.errors import DataError, UnknownNameError
from mpolab.mixing import Mixture, shares

GLUE = {"CoLA": 8551, "MNLI": 392702, "RTE": 2490}

sizes = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 10**6), min_size=1, max_size=6)


@given(sizes, st.floats(0.5, 50), st.one_of(st.none(), st.integers(1, 10**6)))
def test_shares_by_the_formula(sizes, temperature, cap):
    powers = {task: min(size, cap or size) ** (1 / temperature) for task, size in sizes.items()}
    expected = {task: power / sum(powers.values()) for task, power in powers.items()}
    assert shares(sizes, temperature, cap) == pytest.approx(expected)


def test_shares_by_hand():
    assert shares({"a": 1, "b": 3}) == {"a": 0.25, "b": 0.75}
    assert shares({"a": 4, "b": 16}, temperature=2) == pytest.approx({"a": 1 / 3, "b": 2 / 3})
    assert shares({"a": 100, "b": 10**6}, cap=100) == {"a": 0.5, "b": 0.5}
    assert shares(GLUE, temperature=math.inf) == pytest.approx(dict.fromkeys(GLUE, 1 / 3))


def test_tasks_come_as_often_as_they_should():
    mixture = Mixture(GLUE, temperature=10, seed=4)
    steps = 4000
    drawn = collections.Counter(mixture.task(step) for step in range(steps))
    for task, share in mixture.shares.items():
        assert abs(drawn[task] - steps * share) < 4 * math.sqrt(steps * share * (1 - share))


def test_a_step_is_a_function_of_seed_and_step():
    """A second sampler that begins in the middle, or goes backwards, draws what the first drew there."""
    first = Mixture(GLUE, 2.0, seed=7)
    seen = {step: (first.task(step), first.rows(step, 5)) for step in range(60)}
    resumed = Mixture(dict(GLUE), 2.0, seed=7)
    for step in reversed(range(30, 60)):
        assert (resumed.task(step), resumed.rows(step, 5)) == seen[step]
    other = Mixture(GLUE, 2.0, seed=8)
    assert [other.task(step) for step in range(60)] != [task for task, _ in seen.values()]
    assert len({tuple(rows) for _, rows in seen.values()}) == 60


@given(st.integers(1, 30), st.integers(1, 70), st.integers(0, 3))
def test_rows_of_a_batch(size, count, step):
    rows = Mixture({"only": size}, seed=1).rows(step, count)
    assert len(rows) == count and set(rows) <= set(range(size))
    times = collections.Counter(rows)
    assert max(times.values()) - min(times[k] for k in range(size)) <= 1  # round and round


@pytest.mark.parametrize(("size", "count"), [(40, 5), (40, 30)])  # the two ways to draw
def test_rows_are_drawn_evenly(size, count):
    mixture = Mixture({"only": size}, seed=2)
    steps = 600
    drawn = collections.Counter(row for step in range(steps) for row in mixture.rows(step, count))
    share = count / size
    assert set(drawn) == set(range(size))
    for times in drawn.values():
        assert abs(times - steps * share) < 5 * math.sqrt(steps * share * (1 - share))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Mixture({}), "no tasks"),
        (lambda: Mixture({"RTE": 0}), "RTE has 0 rows"),
        (lambda: Mixture(GLUE, temperature=0), "temperature=0"),
        (lambda: Mixture(GLUE, temperature=math.nan), "temperature=nan"),
        (lambda: Mixture(GLUE, cap=0), "cap=0"),
        (lambda: Mixture(GLUE).rows(0, 0), "0 rows of"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_a_task_that_is_not_there():
    with pytest.raises(UnknownNameError, match="'QQP'"):
        Mixture(GLUE).rows(0, 4, task="QQP")
