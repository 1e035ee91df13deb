"""The printed numbers: against the copy of the paper's own sums, and what asking for a wrong one says."""

from __future__ import annotations

import math

import pytest

from mpolab import papers
from mpolab.errors import UnknownNameError
from mpolab.papers.table import read


def test_numbers_stand_in_their_row_and_column():
    assert papers.printed("mpobert-tab1-dev", "MPOBERT12", "CoLA") == 55.2
    assert papers.printed("mpobert-tab1-test", "MPOBERT48", "QQP") == 71.0
    assert papers.printed("mpobert-tab2", "MPOBERT48", "Avg.") == 84.4
    assert papers.printed("mpobert-tab3", "MPOBERT12", "SST-2/20") == 65.4
    assert papers.printed("mpobert-tab5", "64", "#To") == 24.3
    assert math.isnan(papers.printed("mpobert-tab6", "ALBERT-xxlarge", "test"))


def test_averages_that_are_not_the_means_of_their_rows():
    """A slip in copying a number would move a mean: all others agree to the last printed digit."""
    wrong = {}
    for name in ("mpobert-tab1-dev", "mpobert-tab1-test", "mpobert-tab2"):
        pairs = papers.recomputed(name)
        assert len(pairs) == len(papers.table(name).rows)
        wrong |= {(name, row): round(mean, 2) for row, (printed, mean) in pairs.items() if abs(printed - mean) > 0.051}
    assert wrong == {
        ("mpobert-tab1-dev", "BART12"): 85.74,  # 82.8 is printed
        ("mpobert-tab1-dev", "MPOBERT48+"): 85.84,  # 86.0
        ("mpobert-tab1-test", "ALBERT24"): 81.27,  # 81.2
        ("mpobert-tab1-test", "T512"): 78.97,  # 78.7
        ("mpobert-tab1-test", "BERT12"): 80.17,  # 79.1
    }


def test_rows_that_agree_between_tables():
    for task in ("MRPC", "SST-2", "RTE"):
        printed = papers.printed("mpobert-tab1-dev", "MPOBERT12", task)
        assert printed == papers.printed("mpobert-tab4", "w/o Adapter", task)
        assert papers.printed("mpobert-tab4", "MPOBERT12", task) == papers.printed("mpobert-tab5", "8", task)


def test_every_note_is_about_a_row_and_every_average_about_columns():
    for table in papers.TABLES.values():
        assert set(table.notes) <= {"", *table.rows}, table.id
        assert set(table.averaged) <= set(table.columns), table.id


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        (("mpobert-tab1", "BERT12", "RTE"), "mpobert-tab1-dev"),
        (("mpobert-tab2", "BERT", "RTE"), "BERT12"),
        (("mpobert-tab2", "BERT12", "rte"), "RTE"),
    ],
)
def test_a_wrong_name_gets_the_nearest(asked, nearest):
    with pytest.raises(UnknownNameError, match=nearest):
        papers.printed(*asked)
    with pytest.raises(UnknownNameError):
        papers.recomputed("mpobert-tab4")


def test_a_line_without_a_name_is_a_mistake():
    with pytest.raises(ValueError, match="no name of its own"):
        read("x", "", "a b", "1 2\n")
    with pytest.raises(ValueError, match="no name of its own"):
        read("x", "", "a b", "one 1 2\none 3 4\n")
    assert read("x", "", "a b", "two words 1 -").rows["two words"]["a"] == 1
