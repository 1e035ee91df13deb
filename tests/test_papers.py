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
    assert papers.printed("mpobert-tab6", "XLNet-large", "days") == 5.5
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


# -- MPOP and MPOE, ids, claims --------------------------------------------------------------------------


def test_numbers_of_mpop_and_mpoe_stand_in_their_row_and_column():
    assert papers.printed("mpop-tab1", "Word embedding", "(1e-4,1e-3]") == 0.26
    assert papers.printed("mpop-tab3", "MPOP_dir", "CoLA") == 15.0
    assert papers.printed("mpop-tab3", "MPOP", "#To") == 9
    assert papers.printed("mpop-tab4", "MPOP_D", "RTE") == 61.7
    assert papers.printed("mpop-tab5", "BERT_12", "MRPC") == 72.1
    assert papers.printed("mpoe-tab1-nlu", "T5-Base +MPOE++", "CoLA") == 65.90
    assert papers.printed("mpoe-tab1-nlg", "+MPOE", "IMDB/Self-BLEU-2") == 92.72
    assert papers.printed("mpoe-tab2", "Hyperformer", "#To") == 343
    assert papers.printed("mpoe-tab3", "w/o GM", "PPL") == 21.17
    assert papers.printed("mpoe-tab4", "MPOE (m=9)", "B4") == 9.38


def test_averages_of_mpop_and_mpoe_that_are_not_the_means_of_their_rows():
    """As above: a slip in copying would move a mean. Half a unit of the last digit, and what a binary number lacks."""
    wrong, rows = {}, {}
    for name, column, half in (("mpop-tab3", "Score", 0.051), ("mpoe-tab1-nlu", "Avg.", 0.0051),
                               ("mpoe-tab2", "Avg.", 0.0051)):  # fmt: skip
        pairs = papers.recomputed(name, column)
        rows[name] = len(pairs)
        wrong |= {(name, row): round(mean, 2) for row, (printed, mean) in pairs.items() if abs(printed - mean) > half}
    assert rows == {"mpop-tab3": 5, "mpoe-tab1-nlu": 9, "mpoe-tab2": 3}
    assert wrong == {("mpop-tab3", "MPOP"): 79.63, ("mpop-tab3", "MPOP_full+LFA"): 80.6}


def test_rows_that_agree_between_tables_of_mpop_and_mpoe():
    for task in ("MRPC", "RTE"):
        assert papers.printed("mpop-tab5", "MPOP_B", task) == papers.printed("mpop-tab4", "MPOP_B", task)
    for metric, short in (("PPL", "PPL"), ("WikiText-2/BLEU-2", "B2"), ("WikiText-2/BLEU-4", "B4"), ("#To", "#To")):
        for row in ("+MoE", "+MPOE"):
            assert papers.printed("mpoe-tab1-nlg", row, metric) == papers.printed("mpoe-tab3", row, short)
    for metric, short in (("PPL", "PPL"), ("WikiText-2/BLEU-2", "B2"), ("WikiText-2/BLEU-4", "B4")):
        assert papers.printed("mpoe-tab1-nlg", "GPT-2", metric) == papers.printed("mpoe-tab4", "GPT-2", short)


def test_every_equation_algorithm_table_and_figure_has_an_id():
    counts = {}
    for id in papers.ITEMS:
        paper, item = id.split("-")
        kind = item.rstrip("0123456789")
        counts.setdefault(paper, {}).setdefault(kind, []).append(int(item[len(kind) :]))
    assert {paper: {kind: len(found) for kind, found in kinds.items()} for paper, kinds in counts.items()} == {
        "mpop": {"eq": 6, "alg": 2, "tab": 5, "fig": 2},
        "mpobert": {"eq": 17, "alg": 1, "tab": 6, "fig": 4},
        "mpoe": {"eq": 4, "alg": 1, "tab": 4, "fig": 2},
    }
    assert all(found == list(range(1, len(found) + 1)) for kinds in counts.values() for found in kinds.values())
    assert list(counts) == list(papers.PAPERS)


def test_ids_have_names():
    assert papers.label("mpop-eq3") == "MPOP eq. 3" and papers.label("mpobert-alg1") == "MPOBERT Algorithm 1"
    assert papers.label("mpoe-tab4") == "MPOE Table 4" and papers.paper_of("mpobert-fig3") == "MPOBERT"
    assert papers.item_of("mpoe-tab1-nlg") == "mpoe-tab1" and papers.item_of("mpop-tab5") == "mpop-tab5"
    assert {papers.item_of(table) for table in papers.TABLES} == {
        id
        for id in papers.ITEMS
        if "-tab" in id and id != "mpop-tab2"  # Table 2 has expressions, no numbers
    }
    for wrong in ("mpop-tab6", "mpoe-eq05", "mpobert"):
        with pytest.raises(UnknownNameError, match="unknown item of the papers"):
            papers.item_of(wrong)
    with pytest.raises(UnknownNameError, match="mpop-tab5"):
        papers.label("mpop-tab55")


def test_table_2_has_the_expressions_that_are_worked_out():
    from mpolab.cost import table_2
    from mpolab.papers.mpop import COMPLEXITIES
    from mpolab.plans import make_plan

    assert list(COMPLEXITIES.values()) == [row.formula for row in table_2(make_plan((768, 768)), 2)]


def test_claims_are_about_items_and_printed_as_their_cells():
    claims = papers.CLAIMS
    assert claims["mpop-tab3-squeezing"].printed == "79.7 against 68.6"
    assert claims["mpop-tab4-count"].printed == "7.7, 70.4 M"
    assert claims["mpoe-tab4-more"].printed == "20.72, 20.73, 20.78"
    assert claims["mpoe-tab1-27"].printed == "27.2"
    assert claims["mpobert-tab1-lead"].printed == "80.8 against 79.1; +1.7, +0.4"
    assert claims["mpobert-tab3-print"].values() == [36.7, 37.0]
    for claim in claims.values():
        assert claim.printed and claim.item in papers.ITEMS and claim.paper in ("MPOP", "MPOBERT", "MPOE")
        assert claim.claim.endswith("."), claim.id
        for cell in claim.cells:
            table, row, column = cell.split(" | ")
            assert papers.item_of(table).split("-")[0] == claim.item.split("-")[0]  # of the same paper
            assert not math.isnan(papers.printed(table, row, column)), cell
    # every table and figure that says something about numbers has at least one
    about = {claim.item for claim in claims.values()}
    figures = {"mpop-fig2", "mpobert-fig1", "mpobert-fig3", "mpobert-fig4"}
    assert about >= {id for id in papers.ITEMS if "-tab" in id} | figures


def test_a_claim_about_nothing_is_a_mistake():
    with pytest.raises(UnknownNameError, match="unknown item"):
        papers.Claim("mpop-tab9-x", "No such table.")
    with pytest.raises(KeyError):
        papers.Claim("mpop-tab3-x", "No such row.", ("mpop-tab3 | MPOP_half | Score",))
