"""How many of the print's tasks an item has, by the printed columns."""

from __future__ import annotations

import re

import pytest

from mpolab.ledger import coverage
from mpolab.ledger.evidence import EVIDENCE
from mpolab.ledger.items import runnable
from mpolab.papers import CLAIMS


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


def test_rows_say_the_same():
    number, checked = {"four": 4, "six": 6, "eight": 8, "nine": 9}, set()
    for id, evidence in EVIDENCE.items():
        item, said = CLAIMS[id].item, re.search(r"(\w+) of (\w+) tasks", getattr(evidence, "about", ""))
        if said and coverage.tasks_printed(item):
            mine, all_of_them = (number[word] for word in said.groups())
            assert coverage.in_words(item) == f"{mine} of the print's {all_of_them} tasks", id
            checked.add(item)
    assert checked == {"mpop-tab3", "mpobert-tab1", "mpobert-tab2", "mpoe-tab1", "mpoe-tab2"}
