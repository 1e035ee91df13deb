"""How many of the print's tasks an item has, by the printed columns."""

from __future__ import annotations

import pytest

from mpolab.ledger import coverage
from mpolab.ledger.items import runnable


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("mpop-tab3", "4 of the print's 9 tasks"),
        ("mpop-tab5", ""),
        ("mpobert-tab1", "6 of the print's 9 tasks"),
        ("mpobert-tab2", "4 of the print's 8 tasks"),
        ("mpobert-tab3", ""),  # MNLI-10k is a part of MNLI
        ("mpobert-tab4", ""),
        ("mpoe-tab1", "4 of the print's 8 tasks"),
        ("mpoe-tab4", ""),  # text, and no task
    ],
)
def test_by_hand(item, said):
    assert coverage.in_words(item) == said


def test_no_item_has_a_task_that_is_not_printed_but_those_without_a_printed_table():
    for item in runnable():
        printed = coverage.tasks_printed(item)
        assert not printed or coverage.tasks_here(item) <= printed, item
