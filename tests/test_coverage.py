"""How many of the print's tasks an item has: all of them at scale gpu, some where an item is to take hours."""

from __future__ import annotations

import json
import re

import pytest

from mpolab import cli, ledger
from mpolab.ledger import coverage, flops
from mpolab.ledger.compared import Compared, one, ways
from mpolab.ledger.evidence import EVIDENCE
from mpolab.papers import CLAIMS


def said(item, scale):
    return coverage.in_words(item, ledger.recipes_of(item, scale=scale), scale)


@pytest.mark.parametrize(
    ("item", "at_laptop"),
    [
        ("mpop-tab3", "4 of the print's 9 tasks"),
        ("mpop-tab5", ""),
        ("mpobert-tab1", "6 of the print's 9 tasks"),
        ("mpobert-tab2", "4 of the print's 8 tasks"),
        ("mpobert-tab3", ""),  # MNLI-10k is a part of MNLI
        ("mpobert-tab4", ""),
        ("mpoe-tab1", "4 of the print's 8 tasks"),
        ("mpoe-tab2", "4 of the print's 8 tasks"),
        ("mpoe-tab4", ""),  # text, and no task
    ],
)
def test_by_hand(item, at_laptop):
    assert said(item, "laptop") == at_laptop
    assert said(item, "gpu") == said(item, "smoke") == ""


def test_an_item_has_the_printed_tasks_and_no_others():
    for item in ledger.runnable():
        printed = coverage.tasks_printed(item)
        assert not printed or coverage.tasks_here(ledger.recipes_of(item, scale="gpu"), "gpu") == printed, item
        assert not printed or coverage.tasks_here(ledger.recipes_of(item, scale="laptop"), "laptop") <= printed, item


def test_rows_count_their_tasks_as_the_item_does():
    checked = set()
    for id, evidence in EVIDENCE.items():
        item = CLAIMS[id].item
        if not isinstance(evidence, Compared) or not coverage.tasks_printed(item):
            continue
        if found := re.search(r", (\d of \d) tasks$", evidence.said("laptop")):
            assert f"{found[1]} tasks" == said(item, "laptop").replace("the print's ", ""), id
            checked.add(item)
        assert evidence.said("gpu") == evidence.about, id
    assert checked == {"mpop-tab3", "mpobert-tab1", "mpobert-tab2", "mpoe-tab1", "mpoe-tab2"}


def test_a_pair_belongs_to_the_scales_of_its_recipes():
    several = ways("mpop-{task}-lfa", "mpop-{task}-full", ("rte", "cola"), "higher", "one - two")
    assert several.recipes_at("laptop") == ("mpop-rte-lfa", "mpop-rte-full")
    assert several.recipes_at("gpu") == several.recipes and len(several.recipes) == 4
    assert several.pairs_at("paper") == () and several.scales() == ("smoke", "laptop", "gpu")
    assert several.said("laptop") == "one - two, 1 of 2 tasks" and several.said("gpu") == "one - two"
    assert several.said("gpu", ("mpop-cola-lfa", "mpop-cola-full")) == "one - two, 1 of 2 tasks", "with records"
    large = ways("mpop-{task}-lfa", "mpop-{task}-full", ("cola",), "higher", "one - two")
    assert large.scales() == ("smoke", "gpu")
    mixed = Compared(((one("mpop-rte-lfa"), one("mpop-cola-lfa")),), "higher", "one - two")
    assert mixed.scales() == ("smoke", "gpu"), "a pair needs both of its recipes"
    # one recipe on several tasks, of which a small scale has four
    together = EVIDENCE["mpobert-tab2-albert"]
    assert together.said("laptop") == f"{together.about}, 4 of 8 tasks" and together.said("gpu") == together.about


def test_a_plan_says_which_tasks_it_has(monkeypatch, capsys):
    monkeypatch.setattr(flops, "_step", lambda *_: (10**12, flops.COUNTED))
    plans = {}
    for scale in ("laptop", "gpu"):
        assert cli.main(["run", "mpop-tab3", "--dry-run", "--quiet", "--scale", scale]) == 0
        plans[scale] = capsys.readouterr().out
        assert cli.main(["run", "mpop-tab3", "--dry-run", "--quiet", "--json", "--scale", scale]) == 0
        names = {run["recipe"] for run in json.loads(capsys.readouterr().out)["runs"]}
        assert any(name.startswith("mpop-mnli-") for name in names) == (scale == "gpu")
    assert " recipes, 4 of the print's 9 tasks, " in plans["laptop"].splitlines()[0]
    assert "of the print's" not in plans["gpu"] and "\nmpop-mnli-squeezed " in plans["gpu"]
