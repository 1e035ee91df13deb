"""The ledger: its verdicts against intervals worked out by hand, records made up for the purpose, and the README."""

from __future__ import annotations

import ast
import dataclasses
import html
import json
import math
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from mpolab import ledger, papers, recipes, runs
from mpolab.errors import CheckpointError, LedgerError, UnknownNameError
from mpolab.jobs import Recipe
from mpolab.ledger import looks, pages
from mpolab.ledger.again import Again
from mpolab.ledger.arithmetic import Arithmetic, Line, averages, holds, number, shares_of
from mpolab.ledger.compared import Compared, Measured, number_in, one
from mpolab.ledger.estimate import Seconds, in_words
from mpolab.ledger.findings import ALTHOUGH, FINDINGS
from mpolab.ledger.looks import LOOKS
from mpolab.ledger.remedies import REMEDIES, Remedy
from mpolab.ledger.row import VERDICTS, Row
from mpolab.ledger.statistics import Difference, difference
from mpolab.ledger.studies import Studied, depths_of, errors_apart, errors_of, exponents, levels_of, trends_of
from mpolab.runs import Record

ROOT = Path(__file__).parents[1]

# -- a row ----------------------------------------------------------------------------------------------

ROW = {
    "id": "mpop-tab3-lfa",
    "paper": "MPOP",
    "item": "mpop-tab3",
    "claim": "One is above the other.",
    "printed": "2 against 1",
    "ours": "+1",
    "interval": (0.5, 1.5),
    "seeds": (0, 1, 2),
    "scale": "laptop",
    "verdict": "smaller scale: same direction",
    "record": ("results/a/laptop-seed0.json",),
    "command": "mpolab run mpop-tab3 --scale laptop",
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"record": ()}, "a record"),
        ({"seeds": (0, 1)}, "3 seeds (it has 2)"),
        ({"seeds": (0, 1, 1)}, "3 seeds (it has 2)"),
        ({"interval": None}, "an interval"),
        ({"interval": (1.0, 0.0)}, "an interval"),
        ({"interval": (math.nan, 1.0)}, "an interval"),
        ({"scale": None}, "a scale"),
        ({"verdict": "reproduced", "record": ()}, "a record"),
    ],
)
def test_a_verdict_on_runs_needs_runs(changes, says):
    with pytest.raises(LedgerError, match=re.escape(says)):
        Row(**{**ROW, **changes})


def test_arithmetic_and_nothing_need_no_runs():
    assert Row(**ROW).on_runs
    for verdict in ("exact", "print contradicts itself", "not run"):
        bare = Row(**{**ROW, "verdict": verdict, "record": (), "seeds": (), "interval": None, "scale": None})
        assert not bare.on_runs and bare.to_dict()["interval"] is None
    with pytest.raises(UnknownNameError, match="smaller scale: opposite"):
        Row(**{**ROW, "verdict": "smaller scale: oposite"})
    names = "id paper item claim printed ours interval seeds scale verdict record command"
    assert list(Row(**ROW).to_dict()) == names.split()
    assert Row(**ROW).to_dict()["seeds"] == [0, 1, 2] and Row(**ROW).to_dict()["interval"] == [0.5, 1.5]


# -- statistics ------------------------------------------------------------------------------------------


def test_the_interval_is_students_worked_out_by_hand(monkeypatch):
    """Differences 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.303 of the tables, so 2 -+ 4.303 / sqrt(3)."""
    found = difference([11, 22, 33], [10, 20, 30])
    half = 4.302653 / math.sqrt(3)
    assert found.mean == 2 and found.pairs == 3
    assert found.interval == pytest.approx((2 - half, 2 + half), abs=1e-5)
    # four pairs: t(0.975, 3) = 3.182; differences -1, 1, -1, 1: s^2 = 4/3
    assert difference([0, 2, 0, 2], [1, 1, 1, 1]).interval[1] == pytest.approx(
        3.182446 * math.sqrt(4 / 3) / 2, abs=1e-5
    )
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "scipy.stats", None)
        with pytest.raises(LedgerError, match=r"pip install 'mpolab\[train\]'"):
            difference([1, 2], [1, 3])
    for wrong in (([1], [1]), ([1, 2], [1]), ([1, math.nan], [1, 2])):
        with pytest.raises(LedgerError):
            difference(*wrong)


@pytest.mark.parametrize(
    ("interval", "direction", "margin", "outcome"),
    [
        ((0.1, 2.0), "higher", 0, "same direction"),
        ((0.1, 2.0), "lower", 0, "opposite"),
        ((-2.0, -0.1), "lower", 0, "same direction"),
        ((-2.0, -0.1), "higher", 0, "opposite"),
        ((-0.1, 2.0), "higher", 0, "no difference"),
        ((0.0, 2.0), "higher", 0, "no difference"),  # zero is in it
        ((-0.4, 0.9), "equal", 1, "same direction"),
        ((-0.4, 1.1), "equal", 1, "no difference"),  # neither alike nor apart
        ((-1.1, 0.4), "equal", 1, "no difference"),
        ((0.2, 0.9), "equal", 1, "same direction"),  # a difference, and smaller than the margin
        ((1.2, 3.0), "equal", 1, "opposite"),
        ((-3.0, -1.2), "equal", 1, "opposite"),
    ],
)
def test_what_an_interval_says_of_a_claim(interval, direction, margin, outcome):
    assert Difference(sum(interval) / 2, interval, 5).outcome(direction, margin) == outcome
    with pytest.raises(UnknownNameError, match="higher"):
        Difference(0, interval, 5).outcome("above")


def test_a_difference_is_written_with_the_digits_that_it_needs():
    assert str(Difference(2.62, (-3.91, 9.14), 12)) == "+2.6, 95 % [-3.9, +9.1]"
    assert str(Difference(0.0067, (-0.0001, 0.0134), 3)) == "+0.007, 95 % [-0.000, +0.013]"
    assert str(Difference(0.0919, (0.09161, 0.09222), 5)) == "+0.0919, 95 % [+0.0916, +0.0922]"
    assert str(Difference(5, (5, 5), 5)) == "+5.0, 95 % [+5.0, +5.0]"


# -- arithmetic ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("print_says", "ours", "decimals", "agrees"),
    [
        (12.7, 12.695286, 1, True),  # rounded
        (11.6, 11.685, 1, True),  # cut off
        (737, 737.67, 0, True),
        (223, 222.9, 0, True),
        (24.3, 24.13, 1, False),
        (79.7, 79.633, 1, False),  # neither
        (80.4, 80.6, 1, False),
        (110, 109.48, -1, True),
        (120, 109.48, -1, False),
        (0.19, 0.1885, 2, True),
        (1.0, 0.949, 1, False),
        (1.0, 0.951, 1, True),
        (1.0, 1.1, 1, False),
    ],
)
def test_a_number_agrees_if_rounding_or_cutting_off_gives_it(print_says, ours, decimals, agrees):
    assert number("", print_says, ours, decimals).agrees is agrees


def test_what_is_rounded_is_not_cut_off():
    assert number("", 102, 102.8, 0).agrees and not number("", 102, 102.8, 0, cut=False).agrees
    assert number("", 102, 101.5, 0, cut=False).agrees and number("", 102, 102.49, 0, cut=False).agrees


def test_verdicts_of_arithmetic_are_computed():
    assert Arithmetic(lambda: [holds("it", True)], "never shown").judge() == ("exact", "it holds")
    verdict, ours = Arithmetic(lambda: [holds("it", True), number("size", 2.0, 3.0)], "it is larger").judge()
    assert (verdict, ours) == ("print contradicts itself", "it holds; size 3.00: it is larger")
    many = [Line(str(k), "fine", True) for k in range(9)] + [Line("ten", "wrong", False)]
    assert Arithmetic(lambda: many).judge() == ("print contradicts itself", "ten wrong")
    lines = averages("mpop-tab3", "Score")()
    assert [line.what for line in lines if not line.agrees] == ["MPOP (79.7 printed)", "MPOP_full+LFA (80.4 printed)"]
    assert lines[0].what == "3 of 5 means"


def test_shares_of_a_few_rows():
    """40 of 71 = 56.338 and 39 of 71 = 54.930; 203 of 277 = 73.285."""
    assert shares_of(71, 56.3).agrees and shares_of(71, 54.9).agrees and shares_of(277, 73.3).agrees
    assert not shares_of(71, 56.2).agrees and not shares_of(71, 55.5).agrees


# -- records ---------------------------------------------------------------------------------------------

SCALES = {"smoke": {}, "laptop": {"train": 40}, "paper": {"train": None}}
ONE, TWO = (
    Recipe(name=name, about="A test.", task="RTE", train=20, scales=SCALES, as_printed=("paper",))
    for name in ("one", "two")
)


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Two recipes, and a function that writes records with given accuracies."""
    for recipe in (ONE, TWO):
        monkeypatch.setitem(recipes.RECIPES, recipe.name, recipe)

    def write(name, scale, values, rows="aa", method="full", **extra):
        recipe = dataclasses.replace(recipes.RECIPES[name], method=method)
        for seed, value in values.items():
            Record(
                recipe=name, recipe_hash=recipe.hash(scale), scale=scale, seed=seed, fields=recipe.fields(scale),
                command="", data={"task": "RTE", "sha256": {"train": f"{rows}{seed}"}}, model="", seconds=30.0,
                peak_bytes=0, memory="", trainable=1, total=1,
                scores={"dev": {"accuracy": value, "loss": -value}}, extra=extra,
            ).save(tmp_path)  # fmt: skip
        return tmp_path

    return write


def pair(direction="higher"):
    return Compared(((one("one"), one("two")),), direction, "one - two")


CLAIM = {"mpop-tab3-x": papers.Claim("mpop-tab3-x", "One is above two.", says="above")}


def verdict(results, evidence=None):
    return ledger.build(results, CLAIM, {"mpop-tab3-x": evidence or pair()})[0]


def test_records_are_compared_pair_by_pair(made_up):
    made_up("one", "laptop", {0: 51, 1: 62, 2: 73})
    results = made_up("two", "laptop", {0: 50, 1: 60, 2: 70})
    row = verdict(results)
    half = 4.302653 / math.sqrt(3)
    assert (
        row.interval == pytest.approx((2 - half, 2 + half), abs=2e-3) and row.verdict == "smaller scale: no difference"
    )
    assert row.seeds == (0, 1, 2) and row.scale == "laptop" and len(row.record) == 6
    assert row.record[0] == "results/one/laptop-seed0.json"
    made_up("one", "laptop", {0: 51, 1: 61.1, 2: 70.9})  # the spread over seeds is large, that of differences small
    assert verdict(results).verdict == "smaller scale: same direction"
    assert verdict(results, pair("lower")).verdict == "smaller scale: opposite"
    loss = Compared(((one("one", "scores | dev | loss"), one("two", "scores | dev | loss")),), "lower", "loss")
    assert verdict(results, loss).verdict == "smaller scale: same direction"
    beside = Compared(((one("one"), 40.0),), "higher", "above 40")
    assert verdict(results, beside).record == tuple(f"results/one/laptop-seed{k}.json" for k in range(3))


def test_the_largest_whole_scale_counts_and_unreported_seeds_do_not(made_up):
    for name, above in (("one", 1), ("two", 0)):
        made_up(name, "smoke", {0: 10 + above, 1: 10 + 1.1 * above, 2: 10 + 0.9 * above})
        results = made_up(name, "laptop", {0: 10, 1: 10 + above, 7: 10})  # 7 is not reported
    assert verdict(results).scale == "smoke"
    made_up("one", "laptop", {2: 10})
    assert verdict(results).scale == "smoke"  # still two pairs there
    made_up("two", "laptop", {2: 10})
    assert verdict(results).scale == "laptop"


def test_the_papers_own_scale_reproduces_or_does_not(made_up):
    made_up("one", "paper", {0: 51, 1: 61.1, 2: 70.9})
    results = made_up("two", "paper", {0: 50, 1: 60, 2: 70})
    assert verdict(results).verdict == "reproduced"
    assert verdict(results, pair("lower")).verdict == "paper's scale: opposite"


def test_a_recipe_says_which_of_its_scales_have_the_papers_model_and_data(made_up, monkeypatch):
    made_up("one", "laptop", {0: 51, 1: 61.1, 2: 70.9})
    results = made_up("two", "laptop", {0: 50, 1: 60, 2: 70})
    assert verdict(results).verdict == "smaller scale: same direction"
    for recipe in (ONE, TWO):  # all that are compared have to
        assert verdict(results).verdict == "smaller scale: same direction"
        monkeypatch.setitem(recipes.RECIPES, recipe.name, dataclasses.replace(recipe, as_printed=("laptop",)))
    assert verdict(results).verdict == "reproduced"
    assert ONE.hash("laptop") == recipes.RECIPES["one"].hash("laptop"), "no other runs"
    with pytest.raises(UnknownNameError, match="unknown scale 'large'"):
        dataclasses.replace(ONE, as_printed=("large",))


def test_recipes_with_a_papers_model_and_data():
    """MPOE's own T5 and GPT-2 and all rows, but of MoEfication, which is printed for T5-large; other recipes have small
    models at every scale.
    """
    found = {name for name, recipe in recipes.RECIPES.items() if recipe.as_printed}
    assert {"experts-glue-cola-mpoe", "experts-together-dense", "experts-mask-0", "experts-news-switch"} <= found
    for name in found:
        at = recipes.RECIPES[name].at("gpu")
        assert recipes.RECIPES[name].as_printed == ("gpu",) and at.model in ("t5-base", "gpt2") and at.train is None
        assert at.text in ("", "wikitext-2", "emnlp2017-news", "imdb")
    own_rate = {f"experts-glue-{task}-switch-own-rate" for task in ("sst-2", "mrpc", "rte", "sts-b")}
    on_t5 = {name for name in recipes.RECIPES if name.startswith(("experts-glue-", "experts-together-"))}
    without = {name for name in recipes.RECIPES if name.startswith("experts-") and name not in found}
    assert without == own_rate | {name for name in on_t5 if "-moefication" in name}
    large = {claim.id for claim in papers.CLAIMS.values() if any("T5-Large" in cell for cell in claim.cells)}
    runs_of = {id: ledger.EVIDENCE[id].recipes for id in large if isinstance(ledger.EVIDENCE[id], Compared)}
    assert set(runs_of) == {"mpoe-tab1-t5-moefication"} and all(set(mine) - found for mine in runs_of.values())


def test_numbers_of_extra_are_in_records(rows):
    """A way to a number that is misspelt would look like records that are to be made again."""
    each = [evidence for evidence in ledger.EVIDENCE.values() if isinstance(evidence, Compared)]
    again = [look for mine in LOOKS.values() for look in mine]
    again += [tried for remedy in REMEDIES.values() for tried in remedy.again]
    each += [tried.evidence for tried in again if isinstance(tried.evidence, Compared)]
    parts = {part for evidence in each for pair in evidence.pairs for part in pair if isinstance(part, Measured)}
    asked = {(name, where) for part in parts for name in part.recipes for where in part.wheres if "extra" in where}
    assert len(asked) > 10
    for name, where in asked:
        path = ROOT / "results" / name / "laptop-seed0.json"
        assert not path.is_file() or number_in(runs.load(path), where) is not None, (name, where)


def test_what_ran_at_another_scale_says_so_and_has_its_command(made_up):
    again = [Again("more rows", dataclasses.replace(pair(), among=("smoke", "laptop")))]
    for scale, above in (("laptop", 1), ("paper", 2)):
        made_up("one", scale, {0: 50 + above, 1: 50 + 1.1 * above, 2: 50 + 0.9 * above})
        results = made_up("two", scale, {0: 50, 1: 50, 2: 50})
    row = ledger.build(results, CLAIM, {"mpop-tab3-x": pair()}, {}, {"mpop-tab3-x": again})[0]
    assert row.scale == "paper" and row.ours.startswith("one - two: +2.0") and row.interval[0] > 1
    assert "with more rows, at scale laptop: +1.0" in row.ours
    commands = [f"mpolab run mpop-tab3 --scale {scale} --data-dir DIR" for scale in ("paper", "laptop")]
    assert row.command == "; ".join(commands)


def test_a_choice_of_tries_is_for_their_scale_alone(made_up):
    """At a larger one the first settings give the verdict, and the remedy stands beside."""
    for scale in ("laptop", "paper"):
        made_up("one", scale, {0: 51, 1: 51.1, 2: 50.9})
        results = made_up("two", scale, {0: 50, 1: 50, 2: 50})
    (results / "tries.json").write_text('{"scores": {}}')
    remedy = Remedy((Again("a remedy", turned()),), ("one", "two"), ("tries.json",), chosen=True)

    def row():
        return ledger.build(results, CLAIM, {"mpop-tab3-x": pair()}, {"mpop-tab3-x": remedy}, {})[0]

    assert row().scale == "paper" and row().verdict == "reproduced" and "; with a remedy: " in row().ours
    for name in ("one", "two"):
        shutil.rmtree(results / name)
        made_up(name, "laptop", {0: 51 if name == "one" else 50, 1: 50, 2: 50.1})
    assert row().ours.startswith("with a remedy, ")


def test_a_larger_scale_with_fewer_pairs_does_not_count(made_up):
    """An item that is interrupted at a larger scale has one task there of the two that a smaller one has."""
    both = Compared(((one("one"), one("two")), (one("two"), 45.0)), "higher", "gain")
    for name, above in (("one", 1), ("two", 0)):
        made_up(name, "laptop", {0: 50 + above, 1: 50 + 1.1 * above, 2: 50 + 0.9 * above})
    results = made_up("two", "paper", {0: 50, 1: 50, 2: 50})
    assert verdict(results, both).scale == "laptop"
    made_up("one", "paper", {0: 51, 1: 51, 2: 51})
    assert verdict(results, both).scale == "paper"


def test_a_pair_that_some_scale_has_alone_is_all_of_it(made_up, monkeypatch):
    """All of its own pairs, though a smaller scale has more."""
    monkeypatch.setitem(
        recipes.RECIPES, "one", dataclasses.replace(ONE, scales={key: SCALES[key] for key in ("smoke", "laptop")})
    )
    both = Compared(((one("one"), one("two")), (one("two"), 45.0)), "higher", "gain")
    made_up("one", "laptop", {0: 51, 1: 51, 2: 51})
    made_up("two", "laptop", {0: 50, 1: 50, 2: 50})
    results = made_up("two", "paper", {0: 50, 1: 50, 2: 50})
    assert both.pairs_at("paper") == both.pairs[1:] and verdict(results, both).scale == "paper"
    without = dataclasses.replace(both, among=("smoke", "laptop"))
    assert without.pairs_at("paper") == () and verdict(results, without).scale == "laptop"


def test_a_mean_over_all_that_stands_there(made_up):
    spread = {"share": {"a": {"x": 1.0}, "b": {"x": 3.0}}}
    results = made_up("one", "laptop", {0: 51}, **spread)
    record = runs.load(results / "one" / "laptop-seed0.json")
    assert number_in(record, "extra | share | * | x") == 2.0
    with pytest.raises(LedgerError, match="'y' is missing"):
        number_in(record, "extra | share | * | y")


def test_without_three_seeds_nothing_is_said_but_what_it_would_take(made_up, tmp_path):
    row = verdict(tmp_path)
    assert row.verdict == "not run" and row.record == () and row.interval is None
    assert row.ours == "not yet: 6 runs, no record to estimate the time from at scale laptop"
    made_up("one", "laptop", {0: 51, 1: 62})
    row = verdict(made_up("two", "laptop", {0: 51, 1: 62, 2: 60}))
    assert row.verdict == "not run" and row.ours == "not yet: 6 runs, about 3 min at scale laptop"
    assert row.command == "mpolab run mpop-tab3 --scale laptop --data-dir DIR"


def test_tasks_without_records_are_left_out_and_what_is_missing_is_named(made_up):
    """Two tasks; the one that has its three seeds decides, and the row says which records the other lacks."""
    both = Compared(((one("one"), one("two")), (one("two"), 45.0)), "higher", "gain")
    made_up("one", "laptop", {0: 51, 1: 61.1, 2: 70.9})
    results = made_up("two", "laptop", {0: 50, 1: 60})
    assert verdict(results, both).verdict == "not run"
    made_up("two", "laptop", {2: 70})
    row = verdict(results, both)  # gains 1, 1.1, .9 and 5, 15, 25: means 3, 8.05, 12.95
    assert row.interval == pytest.approx((8 - 4.302653 * 4.97519 / 3**0.5, 8 + 4.302653 * 4.97519 / 3**0.5), abs=2e-3)
    single = 8 + 2.570582 * (494.02 / 5) ** 0.5 / 6**0.5  # the six of them: t(0.975, 5), their own spread
    assert row.ours.endswith(f"3 seeds (6 pairs one by one: [{16 - single:+.1f}, {single:+.1f}])")
    assert row.verdict == "smaller scale: no difference" and row.seeds == (0, 1, 2)
    for name in ("one", "two"):
        made_up(name, "smoke", {0: 10, 1: 10, 2: 10})
    (results / "one" / "laptop-seed1.json").unlink()
    row = verdict(results, both)
    assert row.scale == "laptop"  # a smaller scale that has all is no better evidence
    assert row.ours.endswith("3 pairs; without records of one (seed 1)")
    assert {Path(name).parent.name for name in row.record} == {"two"}
    for seed in (0, 2):
        (results / "one" / f"laptop-seed{seed}.json").unlink()
    assert verdict(results, both).ours.endswith("3 pairs; without records of one")


def test_what_sets_tasks_apart_is_no_noise_of_seeds(made_up):
    """Gains of about 1 on one task and 15 on the other, with every seed: six numbers do not show that, three do."""
    both = Compared(((one("one"), one("two")), (one("two"), 45.0)), "higher", "gain")
    made_up("one", "laptop", {0: 61, 1: 61.1, 2: 60.9})
    row = verdict(made_up("two", "laptop", {0: 60, 1: 60, 2: 60}), both)
    assert row.interval == pytest.approx((8 - 4.302653 * 0.05 / 3**0.5, 8 + 4.302653 * 0.05 / 3**0.5), abs=2e-3)
    half = 2.570582 * (294.02 / 5) ** 0.5 / 6**0.5  # squares of -7, -6.9, -7.1, and three times 7
    assert f"(6 pairs one by one: [{8 - half:+.1f}, {8 + half:+.1f}])" in row.ours
    assert row.verdict == "smaller scale: same direction"


def test_seeds_that_one_task_alone_has_are_left_to_the_single_pairs(made_up, monkeypatch):
    for recipe in (ONE, TWO):
        monkeypatch.setitem(recipes.RECIPES, recipe.name, dataclasses.replace(recipe, seeds=(0, 1, 2, 3)))
    both = Compared(((one("one"), 45.0), (one("two"), 45.0)), "higher", "gain")
    made_up("one", "laptop", {0: 46, 1: 46, 2: 46, 3: 99})
    results = made_up("two", "laptop", {0: 46, 1: 47, 2: 46})
    row = verdict(results, both)
    assert row.seeds == (0, 1, 2) and row.interval[1] < 3 and "(7 pairs one by one: " in row.ours
    (results / "one" / "laptop-seed0.json").unlink()
    row = verdict(results, both)  # 1, 2, 3 and 0, 1, 2 have two in common: the second pair is left out, and named
    assert row.seeds == (1, 2, 3) and "one by one" not in row.ours
    assert row.ours.endswith("3 pairs; without records of one (seed 0), two (seed 3)")


def test_a_part_of_the_tasks_reproduces_nothing(made_up):
    both = Compared(((one("one"), one("two")), (one("two"), 45.0)), "higher", "gain")
    results = made_up("two", "paper", {0: 50, 1: 51, 2: 52})
    assert verdict(results, both).verdict == "smaller scale: same direction"
    made_up("one", "paper", {0: 60, 1: 61.5, 2: 62.5})
    assert verdict(results, both).verdict == "reproduced"


def test_records_that_make_no_pair_are_an_error(made_up):
    made_up("one", "laptop", {0: 51, 1: 62, 2: 73})
    results = made_up("two", "laptop", {0: 51, 1: 62, 2: 73}, rows="bb")
    with pytest.raises(LedgerError, match="had other rows"):
        verdict(results)
    made_up("two", "laptop", {0: 51, 1: 62, 2: 73}, method="majority")
    with pytest.raises(CheckpointError, match="another version of the recipe: method was 'majority'"):
        verdict(results)


def test_several_numbers_of_a_run_are_one(made_up):
    results = made_up("one", "laptop", {0: 1, 1: 2, 2: 3}, shares={"a": [0.5, 0.1], "b": [0.7, 0.3]})
    both = Measured(("one",), ("extra | shares | a | 1", "extra | shares | b | 1"))
    evidence = Compared(((both, 0.1),), "higher", "share")
    found = evidence.found(results)
    assert found.difference.pairs == 3 and found.difference.mean == pytest.approx(0.1)
    with pytest.raises(LedgerError, match="'c' is missing"):
        number_in(runs.load(results / "one" / "laptop-seed0.json"), "extra | shares | c | 1")
    with pytest.raises(LedgerError, match="no number"):
        number_in(runs.load(results / "one" / "laptop-seed0.json"), "extra | shares")


def test_a_record_that_lacks_a_number_of_its_own_is_named(made_up):
    """Made before it was noted; scores, which every record has, stay an error."""
    shares = Compared(((one("one", "extra | updates | share"), 0.1), (one("two"), 9.0)), "higher", "share")
    made_up("two", "laptop", {0: 10, 1: 11, 2: 12})
    results = made_up("one", "laptop", {0: 1, 1: 1, 2: 1}, updates={"share": 0.5})
    assert shares.found(results).missing == () and "(6 pairs one by one" in verdict(results, shares).ours
    made_up("one", "laptop", {1: 1}, other=1)
    made_up("one", "laptop", {2: 1}, updates={"share": None})
    row, without = verdict(results, shares), "without extra | updates | share"
    assert row.ours.endswith(f"3 pairs; without records of one (seeds 1 2, {without})")
    assert {Path(name).parent.name for name in row.record} == {"two"} and row.seeds == (0, 1, 2)
    (results / "one" / "laptop-seed2.json").unlink()
    assert shares.found(results).missing == (f"one (seed 2; seed 1, {without})",)
    with pytest.raises(LedgerError, match="'f1' is missing"):
        verdict(results, shares.at("scores | dev | f1", direction="higher"))
    made_up("one", "laptop", {0: 1, 1: 1, 2: 1}, updates={"share": "half"})
    with pytest.raises(LedgerError, match="is no number"):
        verdict(results, shares)


def test_where_no_record_has_the_number_the_row_says_what_to_make_again(made_up, tried_again):
    shares = Compared(((one("one", "extra | updates | share"), 0.1),), "higher", "share")
    wanted = "to be made again: laptop, one (seeds 0 1 2, without extra | updates | share)"
    row = verdict(tried_again, shares)
    assert row.verdict == "not run" and row.ours.startswith("not yet: 3 runs") and row.ours.endswith(f"; {wanted}")
    row = remedied(tried_again, ("more of it", shares), ("once more", turned()))
    assert row.ours.endswith(f"; with more of it: {wanted}") and "with once more: +2.0" in row.ours
    assert "again" not in remedied(tried_again, ("more of it", pair()), ("once more", turned())).ours


def test_evidence_that_cannot_be_meant():
    with pytest.raises(UnknownNameError, match="unknown recipe 'mpop-rte-lfo'"):
        Compared(((one("mpop-rte-lfo"), one("mpop-rte-full")),), "higher", "x")
    with pytest.raises(UnknownNameError, match="direction"):
        Compared(((one("demo"), 1.0),), "up", "x")
    for changes in ({"direction": "equal"}, {"direction": "higher", "margin": 1.0}):
        with pytest.raises(LedgerError, match="margin"):
            Compared(((one("demo"), 1.0),), about="x", **changes)
    with pytest.raises(LedgerError, match="compares nothing"):
        Compared((), "higher", "x")
    with pytest.raises(LedgerError, match="mpop-tab3-x"):
        ledger.build(ROOT / "results", CLAIM, {})


# -- remedies --------------------------------------------------------------------------------------------

TRIED = ("more of it", "less of it")


def remedied(results, *again, tried=(), file="", chosen=False):
    remedy = Remedy(
        tuple(Again(about, evidence) for about, evidence in again), tried, (file,) if file else (), chosen=chosen
    )
    return ledger.build(results, CLAIM, {"mpop-tab3-x": pair()}, {"mpop-tab3-x": remedy})[0]


@pytest.fixture
def tried_again(made_up):
    """One is about 2 below two."""
    made_up("one", "laptop", {0: 48, 1: 57.9, 2: 68.1})
    results = made_up("two", "laptop", {0: 50, 1: 60, 2: 70})
    (results / "tries.json").write_text("{}")
    return results


def turned():
    """The claim of `pair`, the other way round: this one holds where that one fails."""
    return Compared(((one("two"), one("one")),), "higher", "two - one")


def test_a_remedy_that_was_chosen_gives_the_verdict_and_the_first_result_stays(tried_again):
    row = remedied(tried_again, ("more of it", turned()), tried=TRIED, file="tries.json", chosen=True)
    assert row.verdict == "smaller scale: same direction" and row.interval[0] > 0
    assert row.ours.startswith("with more of it, two - one: +2.0, 95 %")
    assert row.ours.endswith(
        "with the first settings (one - two): -2.0, 95 % [-2.2, -1.8] (opposite); chosen among these and the first "
        "settings, on rows that choose: more of it / less of it"
    )
    assert len(row.record) == len(set(row.record)) == 7 and row.record[-1] == "results/tries.json"


def test_a_remedy_that_nobody_chose_only_stands_beside_the_first_result(tried_again):
    row = remedied(tried_again, ("more of it", turned()), ("once more", turned()))
    assert row.verdict == "smaller scale: opposite" and row.interval[1] < 0
    assert row.ours.startswith("one - two: -2.0, 95 %") and row.ours.endswith("(same direction)")
    assert "with more of it: +2.0" in row.ours and "with once more: +2.0" in row.ours


def test_a_remedy_without_records_changes_nothing(tried_again, tmp_path):
    """The last of them is the one that was chosen: where it has not been run, what came before does not stand in."""
    never = Studied("none.json", errors_of(("MPO", 3), ("CPD", 3)), "make it", "a minute", "lower", "MPO - CPD")
    first = verdict(tried_again)
    asked = {"tried": TRIED, "file": "tries.json", "chosen": True}
    row = remedied(tried_again, ("less of it", never), **asked)
    assert (row.verdict, row.interval) == (first.verdict, first.interval) and row.ours.startswith(first.ours)
    row = remedied(tried_again, ("more of it", turned()), ("less of it", never), **asked)
    assert row.verdict == first.verdict and "with more of it: +2.0" in row.ours
    (tried_again / "tries.json").unlink()  # nothing says that anything was chosen
    row = remedied(tried_again, ("more of it", turned()), **asked)
    assert row.verdict == first.verdict and "with more of it: +2.0" in row.ours and "tried" not in row.ours
    assert not any("tries" in file for file in row.record)


def test_one_remedy_is_too_few(made_up):
    again = Again("more of it", turned())
    for few in (
        {"tried": ("more of it",), "files": ("tries.json",)},
        {"tried": ("more of it", "more of it"), "files": ("tries.json",)},
        {"again": (again,)},
        {"again": (again, again)},
        {"again": (again,), "tried": ("more of it",), "files": ("tries.json",), "chosen": True},  # the same one twice
    ):
        with pytest.raises(LedgerError, match="2 remedies are to be tried at least, and these are 1"):
            Remedy(**few)
    for tries in ({"tried": TRIED}, {"again": (again, Again("less of it", pair())), "files": ("tries.json",)}):
        with pytest.raises(LedgerError, match="tries need a file that says what they came to"):
            Remedy(**tries)
    for missing in ({"tried": TRIED, "files": ("tries.json",)}, {"again": (again, Again("less of it", pair()))}):
        with pytest.raises(LedgerError, match="needs its runs, and the tries"):
            Remedy(chosen=True, **missing)
    assert Remedy((again,), ("less of it",), ("tries.json",)) and Remedy((again, Again("less of it", pair())))


def test_what_was_only_tried_where_rows_choose_is_named(tried_again):
    row = remedied(tried_again, tried=TRIED, file="tries.json")
    assert row.ours.endswith("3 pairs; also tried, on rows that choose: more of it / less of it")
    assert row.record[-1] == "results/tries.json" and row.verdict == "smaller scale: opposite"


def test_what_was_chosen_at_another_scale_gives_no_verdict(made_up, tried_again):
    """A remedy of a small scale says nothing of first results of a larger one."""
    made_up("one", "smoke", {0: 48, 1: 57.9, 2: 68.1})
    made_up("two", "smoke", {0: 50, 1: 60, 2: 70})
    small = dataclasses.replace(turned(), among=("smoke",))
    assert pair().found(tried_again).scale == "laptop" and small.found(tried_again).scale == "smoke"
    row = remedied(tried_again, ("more of it", small), tried=TRIED, file="tries.json", chosen=True)
    assert row.scale == "laptop" and row.verdict == "smaller scale: opposite"


def test_seeds_that_have_no_record_are_named(made_up, monkeypatch):
    made_up("one", "laptop", {0: 51, 1: 62, 2: 60, 3: 61})
    results = made_up("two", "laptop", {0: 50, 1: 60, 2: 59})
    assert pair().found(results).missing == ()
    for recipe in (ONE, TWO):
        monkeypatch.setitem(recipes.RECIPES, recipe.name, dataclasses.replace(recipe, seeds=(0, 1, 2, 3)))
    found = pair().found(results)
    assert found.seeds == (0, 1, 2) and found.missing == ("two (seed 3)",)
    assert "without records of two (seed 3)" in Again("more of it", pair()).ours(found)


def test_the_same_pairs_by_other_numbers_and_at_some_scales(tried_again):
    other = pair().at("scores | dev | loss", direction="equal", margin=0.5)
    assert [part.wheres for part in other.pairs[0]] == [("scores | dev | loss",)] * 2
    assert (other.recipes, other.about, other.direction, other.margin) == (pair().recipes, "one - two", "equal", 0.5)
    assert Compared(((one("one"), 1.0),), "higher", "one - 1").at("seconds", direction="lower").pairs[0][1] == 1.0
    limited = dataclasses.replace(pair(), among=("smoke",))
    assert pair().found(tried_again) and not limited.found(tried_again) and limited.scales() == ("smoke",)


def test_the_command_makes_the_records_of_the_remedies_too(tried_again):
    other = Studied("low_rank_query.json", errors_of(("MPO", 3), ("CPD", 3)), "make it", "a minute", "lower", "gap")
    shutil.copy(ROOT / "results" / other.file, tried_again)
    row = remedied(tried_again, ("more of it", turned()), ("other matrices", other))
    assert row.command == "mpolab run mpop-tab3 --scale laptop --data-dir DIR; make it"


def test_seconds_come_from_the_nearest_records(made_up):
    results = made_up("one", "laptop", {0: 51, 1: 62})
    seconds = Seconds(results)
    assert seconds.of("one", "laptop") == 30 and seconds.of("one", "smoke") is None
    assert seconds.of("two", "laptop") == 30  # the same model and method
    assert seconds.of("albert-mini", "laptop") is None  # learns from a text, and these are of a task
    assert seconds.together([("one", "laptop", 0)] * 10).seconds == 300
    assert str(seconds.together([("one", "laptop", 0)])) == "1 run, about 30 s"
    assert seconds.together([]).seconds == 0
    assert [in_words(x) for x in (0.2, 89, 90, 5399, 5400)] == ["1 s", "89 s", "2 min", "90 min", "1.5 h"]


# -- studies ---------------------------------------------------------------------------------------------


def low_rank(path, n=7, scale="rows"):
    rows = [
        {"seed": seed, "ratio": ratio, "method": method, "n": 3, "error": error + 0.01 * seed}
        for seed in range(4)
        for ratio, error in ((0.1, 0.9), (0.4, 0.5))
        for method, error in (("MPO", error), ("CPD", error - 0.1 - 0.001 * seed))
    ]
    path.write_text(json.dumps({"format": "mpolab.low_rank/1", "scale": scale, "rows": rows}))


def test_a_study_is_one_pair_a_seed(tmp_path):
    evidence = Studied("low.json", errors_of(("MPO", 3), ("CPD", 3)), "make it", "a minute", "lower", "MPO - CPD")
    row = verdict(tmp_path, evidence)
    assert (row.verdict, row.command, row.ours) == ("not run", "make it", "not yet: a minute")
    low_rank(tmp_path / "low.json")
    row = verdict(tmp_path, evidence)
    assert row.verdict == "smaller scale: opposite" and row.seeds == (0, 1, 2, 3) and row.scale == "rows"
    assert "+0.101" in row.ours and "4 pairs" in row.ours and row.record == ("results/low.json",)
    with pytest.raises(LedgerError, match="make no pairs"):
        verdict(tmp_path, dataclasses.replace(evidence, values=errors_of(("MPO", 3), ("MPO", 7))))
    (tmp_path / "low.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no whole study"):
        verdict(tmp_path, evidence)


def test_errors_apart_are_from_the_smallest_to_the_largest(tmp_path):
    """At two ratios .3 and .1 apart with seed 0, by 0.1 more with seed 1."""
    errors = {3: (0.5, 0.2), 5: (0.2, 0.3), 7: (0.4, 0.25)}
    more = {0.1: 3, 0.4: 5}  # where seed 1 has a larger one
    rows = [
        {"seed": seed, "ratio": ratio, "method": "MPO", "n": n, "error": error + 0.1 * seed * (n == more[ratio])}
        for seed in (0, 1)
        for n, found in errors.items()
        for ratio, error in zip((0.1, 0.4), found)
    ]
    path = tmp_path / "low.json"
    path.write_text(json.dumps({"format": "mpolab.low_rank/1", "scale": "rows", "rows": rows}))
    apart, none, seeds, scale = errors_apart("MPO", 3, 5, 7)(path)
    assert apart == pytest.approx([0.2, 0.3]) and none == [0, 0] and (seeds, scale) == ([0, 1], "rows")
    with pytest.raises(LedgerError, match="has not MPO with 3, 9 cores"):
        errors_apart("MPO", 3, 9)(path)


def test_exponents_are_slopes_of_logarithms(tmp_path):
    """Updates L^0.5 k and L^0.2 k for seeds k = 1, 2, 3: exponents 0.5 and 0.2 for each, whatever k."""
    curves = [
        {"model": "encoder", "n": 3, "init": init, "scaled": "all layers", "optimiser": "SGD", "depths": [3, 6, 12],
         "updates": {part: [[k * L**p for k in (1, 2, 3)] for L in (3, 6, 12)]
                     for part in ("auxiliary", "centre", "together")}}
        for init, p in (("copy", 0.5), ("theory", 0.2))
    ]  # fmt: skip
    path = tmp_path / "depth.json"
    study = {"settings": {"seeds": [0, 1, 2], "hidden": 64}, "curves": curves}
    path.write_text(json.dumps({"format": "mpolab.depth/1", "study": study}))
    first, second, seeds, scale = exponents(3, "theory", "copy", "SGD")(path)
    assert first == pytest.approx([0.2] * 3) and second == pytest.approx([0.5] * 3) and list(seeds) == [0, 1, 2]
    assert scale == "hidden size 64, 3 to 12 layers"


def test_levels_and_trends_are_taken_seed_by_seed(tmp_path):
    """Syntax best in the first of three layers, meaning in the last, by model and seed with some of the middle."""

    def run(model, seed, middle):
        tasks = [{"group": "syntactic", "test": [9, 1, middle, 0]}, {"group": "semantic", "test": [9, 0, middle, 1]},
                 {"group": "semantic", "test": [9, 0, 0, 1]}]  # fmt: skip
        return {"model": model, "seed": seed, "tasks": [{**task, "dev": task["test"]} for task in tasks]}

    # a middle of 1 moves syntax to 1/4 and the first of two meanings to 3/4: a trend of 7/8 - 1/4 = 5/8 in place of 1
    runs = [run("deep", 0, 0), run("deep", 1, 0), run("deep", 2, 1), *(run("flat", k, 1) for k in range(3))]
    study = {"format": "mpolab.probing_trend/1", "models": {"deep": "", "flat": ""}, "seeds": [0, 1, 2]}
    path = tmp_path / "trend.json"
    path.write_text(json.dumps({**study, "scale": "few rows", "runs": runs[::-1]}))
    meaning, syntax, seeds, scale = levels_of("deep")(path)
    assert list(meaning) == [1, 1, 7 / 8] and list(syntax) == [0, 0, 1 / 4]
    assert list(seeds) == [0, 1, 2] and scale == "few rows"
    first, second, _, _ = trends_of("deep", "flat")(path)
    assert first == [1, 1, 5 / 8] and second == [5 / 8] * 3
    named = [[{**task, "name": name} for name, task in zip("abc", run["tasks"])] for run in runs]
    of_tasks = [{**run, "tasks": tasks} for run, tasks in zip(runs, named)]
    path.write_text(json.dumps({**study, "scale": "few rows", "runs": of_tasks[::-1]}))
    assert depths_of("a", "deep")(path) == ([0, 0, 1 / 4], [0.5] * 3, [0, 1, 2], "few rows")
    assert depths_of("b", "deep", "flat")(path)[:2] == ([1, 1, 3 / 4], [3 / 4] * 3)
    assert depths_of("c", "flat", 0.25, "peak")(path)[:2] == ([1] * 3, [0.25] * 3)
    with pytest.raises(UnknownNameError, match="unknown task of the study 'd'"):
        depths_of("d", "deep")(path)
    row = verdict(tmp_path, Studied("trend.json", levels_of("flat"), "make it", "a minute", "equal", "gap", 0.1))
    assert row.verdict == "smaller scale: opposite" and "alike would be within 0.1" in row.ours


# -- the real ledger -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows():
    return ledger.build(ROOT / "results")


def test_every_claim_has_its_row(rows):
    assert [row.id for row in rows] == list(papers.CLAIMS) and {row.verdict for row in rows} <= set(VERDICTS)
    for row in rows:
        claim = papers.CLAIMS[row.id]
        assert (row.item, row.paper, row.printed, row.claim) == (claim.item, claim.paper, claim.printed, claim.claim)
        assert row.ours
        if row.on_runs:
            assert len(set(row.seeds)) >= 3 and row.interval is not None
            assert row.record and all((ROOT / file).is_file() for file in row.record), row.id
            records = [runs.load(ROOT / file) for file in row.record if file.count("/") == 2]
            seeds = {record.seed for record in records}
            # What was tried besides may have more seeds than what decides.
            assert seeds in (set(), set(row.seeds)) or (row.id in {*REMEDIES, *LOOKS} and seeds > set(row.seeds))
        elif row.verdict == "not run":
            assert row.command and "not yet: " in row.ours
    assert sum(ledger.summary(rows).values()) == len(rows)


def test_what_did_not_come_out_has_a_finding_of_two_sentences(rows):
    wanted = {row.id for row in rows if row.on_runs and not row.verdict.endswith(("same direction", "reproduced"))}
    assert set(FINDINGS) == wanted
    came_out = {row.id for row in rows if row.verdict.endswith("same direction")}
    assert set(ALTHOUGH) <= came_out and not set(ALTHOUGH) & set(FINDINGS)
    every = FINDINGS | ALTHOUGH
    for id, finding in every.items():
        assert len(re.findall(r"[.](?: [A-Z]|$)", finding)) == 2 and finding.endswith("."), id
    page, shown, text = pages.page(rows), pages.markdown(rows), pages.plain(rows)
    notes = [claim.note for claim in papers.CLAIMS.values() if claim.note]
    assert len(notes) > 30 and all(f"  note: {note}" in text and html.escape(note) in page for note in notes)
    for id, finding in every.items():
        assert html.escape(finding) in page and f"  finding: {finding}" in text
        (line,) = [line for line in shown.splitlines() if line.endswith(f": {finding}")]
        assert f"`{id}`" in line


def test_a_finding_is_not_shown_where_other_records_make_the_claim_come_out(rows):
    row = ledger.row_named(rows, "mpop-tab3-lfa")
    assert "finding:" in pages.plain([row])
    for verdict in ("smaller scale: same direction", "reproduced", "not run"):
        other = dataclasses.replace(row, verdict=verdict)
        assert "finding:" not in pages.plain([other]) and "\n- " not in pages.markdown([other])
        assert "finding" not in pages.table([other])
    row = ledger.row_named(rows, "mpoe-tab1-gpt2")
    assert "finding:" in pages.plain([row])
    for verdict in ("smaller scale: opposite", "reproduced", "not run"):
        assert "finding:" not in pages.plain([dataclasses.replace(row, verdict=verdict)])


def test_what_did_not_come_out_was_tried_again(rows):
    assert set(REMEDIES) <= set(papers.CLAIMS)
    for row in rows:
        if row.verdict.endswith(("opposite", "no difference")) or "(opposite)" in row.ours:
            assert row.id in REMEDIES, row.id
    for id, remedy in REMEDIES.items():
        row = ledger.row_named(rows, id)
        found = remedy.found(ROOT / "results")
        assert [again for again, _ in found] == list(remedy.again), f"{id}: a remedy without records"
        assert all(set(each.files) <= set(row.record) for _, each in found)
        assert [f"results/{file}" for file in remedy.files] == list(remedy.chose(ROOT / "results")), id


def test_other_looks_stand_beside_and_change_nothing(tried_again):
    look = Again("the other way round", turned())
    bare, row = (
        ledger.build(tried_again, CLAIM, {"mpop-tab3-x": pair()}, {}, {"mpop-tab3-x": mine})[0]
        for mine in ((), (look,))
    )
    assert row.verdict == bare.verdict == "smaller scale: opposite" and row.interval == bare.interval
    assert row.ours == f"{bare.ours}; with the other way round: +2.0, 95 % [+1.8, +2.2] (same direction)"


def test_looks_have_records_and_are_no_remedies(rows):
    assert set(LOOKS) <= set(papers.CLAIMS)
    for id, mine in LOOKS.items():
        row = ledger.row_named(rows, id)
        for look in mine:
            found = look.evidence.found(ROOT / "results")
            assert found and set(found.files) <= set(row.record)
            there = look.tasks(found)
            assert f"{look.about}: " in row.ours or (there and f"{look.about}, {there}: " in row.ours)
        assert not {look.about for look in mine} & {
            again.about for again in (REMEDIES[id].again if id in REMEDIES else ())
        }


def test_switch_is_behind_by_its_router(rows):
    """Beside the printed comparison stands what sharing comes to by itself: -1.24, -1.36 and +0.21."""
    row = ledger.row_named(rows, "mpoe-tab1-gpt2")
    assert row.verdict.endswith("same direction")
    assert "with MPOE's router for both and no gradient mask: -0.8" in row.ours


def test_losses_of_regressions_are_not_among_others():
    """Theirs are in squares of the labels' unit."""
    again = [look for mine in LOOKS.values() for look in mine if "the loss on" in look.about]
    names = {name for each in again for name in each.evidence.recipes}
    assert {"mpop-sst-2-lfa", "mpop-rte-last-1", "table2-mpobert-mini"} < names
    assert not [name for name in names if "sts-b" in name]
    assert not [each for each in again for pair in each.evidence.pairs for where in pair[0].wheres if "STS-B" in where]


def test_a_squeezing_passes_the_dense_models_size_at_the_step_that_is_compared():
    for path in sorted((ROOT / "results").glob("mpop-*-squeezed/laptop-seed*.json")):
        dense = runs.load(path.parent.with_name(path.parent.name.replace("squeezed", "full")) / path.name)
        steps = runs.load(path).extra["trace"]["steps"]
        first = next(k for k, step in enumerate(steps) if step["parameters"] <= dense.total)
        assert first == looks._AT_DENSE_SIZE and all(step["accepted"] for step in steps[: first + 1]), path.parent


def test_sizes_that_a_remedy_names_are_those_of_its_records(rows):
    for name, size in (("squeezed", "17.0 M"), ("straight", "16.2 M")):
        files = sorted((ROOT / "results").glob(f"mpop-*-{name}-gentler/laptop-seed*.json"))
        assert len(files) >= 9 and {f"{runs.load(file).total / 1e6:.1f} M" for file in files} == {size}
        assert f"(to {size})" in ledger.row_named(rows, "mpop-tab3-squeezing").ours
    assert "for both (to 17.0 M, with as many updates)" in ledger.row_named(rows, "mpop-tab3-squeezing").ours
    equal = sorted((ROOT / "results").glob("mpop-*-straight-equal/laptop-seed*.json"))
    assert len(equal) == 20
    for file in equal:
        at_once = runs.load(file)
        squeezed = runs.load(Path(str(file).replace("straight-equal", "squeezed-gentler")))
        assert (at_once.total, at_once.steps) == (squeezed.total, squeezed.steps), file.parent


def test_rows_count_the_tasks_that_have_records(rows):
    """Not those that could be run: each recipe of Table 1 is of one task."""
    for id in ("mpobert-tab1-albert", "mpobert-tab1-bert", "mpop-tab3-lfa"):
        row, found = ledger.row_named(rows, id), ledger.EVIDENCE[id].found(ROOT / "results")
        tasks = {recipes.RECIPES[name].task for name in found.recipes}
        there = {path.split("/")[1].removeprefix("table1-").removeprefix("mpop-") for path in found.files}
        assert all(any(name.startswith(f"{task.lower()}-") for name in there) for task in tasks)
        assert f"{len(tasks)} of 9 tasks" in row.ours, id


def test_what_is_cited_comes_from_a_commit(rows):
    cited = {file for row in rows for file in row.record}
    commits = {file: json.loads((ROOT / file).read_text("utf-8"))["commit"] for file in cited}
    assert {file for file, commit in commits.items() if not re.fullmatch("[0-9a-f]{40}", commit)} == set()


# What facts and notebooks have worked out before, by other hands and other code.
EXPECTED = {
    "mpop-tab3-averages": ("print contradicts itself", ("79.63", "80.60")),
    "mpop-tab3-count-full": ("exact", ("12.70",)),
    "mpop-tab3-count-lfa": ("exact", ("1.19",)),
    "mpop-tab3-count-squeezed": ("print contradicts itself", ("1.11", "10.6")),
    "mpop-tab5-counts": ("exact", ("31.52", "38.61", "45.69")),
    "mpop-eq3-range": ("print contradicts itself", ("error 0.95, eq. 3 gives 7.22",)),  # 400 of a norm of 55.4
    "mpop-eq4-bound": ("exact", ("error 0.95, bound 1.19",)),  # 65.9 of 55.4
    "mpobert-eq1-central": ("print contradicts itself", ("87.2 %",)),
    "mpobert-eq2-bounded": ("print contradicts itself", ("0.61, 3.46",)),
    "mpobert-tab1-lead": ("print contradicts itself", ("0.63", "0.43")),
    "mpobert-tab1-count": ("exact", ("74.6",)),
    "mpobert-tab4-count": ("exact", ("20.00", "19.41")),
    "mpobert-tab4-count-unshared": ("print contradicts itself", ()),
    "mpobert-tab5-count": ("print contradicts itself", ("24.13",)),
    "mpoe-alg1-orders": ("print contradicts itself", ("12.8 times",)),
    "mpoe-fig2-ratio": ("exact", ("0.192", "0.189")),
    "mpoe-tab1-count-t5": ("exact", ("294.0", "365.1")),
    "mpoe-tab1-count-t5-large": ("print contradicts itself", ("990.1", "958.2")),
    "mpoe-tab1-count-gpt2": ("print contradicts itself", ("eight copies: 521.2", "577.9", "153.4", "157.0")),
    "mpoe-tab2-count": ("print contradicts itself", ("258.4",)),
    "mpoe-tab3-count-unshared": ("print contradicts itself", ("549.8",)),
    "mpop-tab3-metrics": ("print contradicts itself", ("69.1 %", "53.4, 54.7, 55.7, 56, 15")),  # 721 of 1043
    "mpop-fig2-time": (
        "print contradicts itself",
        ("an FFN matrix, n m for n = 3, 5 and 7: 48, 40, 28", "BERT's embedding, n m"),
    ),  # 3 x 16, 5 x 8, 7 x 4
    "mpobert-tab1-fewer": ("print contradicts itself", ("ALBERT12: 20 against 11 M, 80.8 against 81.1",)),
    "mpobert-tab1-classes": ("print contradicts itself", ("25.0 M", "24.8 M")),
    "mpobert-tab5-sufficient": ("exact", ("72.9 against 71.8",)),
    "mpobert-tab5-necessity": ("print contradicts itself", ("69.7 against 71.8", "69.3 against 71.8")),
    "mpobert-tab6-sizes": ("print contradicts itself", ("222.6", "BART-large: 406.3", "XLNet-large: 360.3")),
    "mpoe-eq4-probability": ("print contradicts itself", ("p_b = 0.25, share of steps that update it: 0.7",)),
    "mpoe-fig2-gamma": ("print contradicts itself", ("0.078, 12.8",)),
    "mpoe-fig2-same": ("print contradicts itself", ("184,720 and 2,359,296",)),  # 768 x 3072
    "mpop-eq2-centre": ("exact", ("FFN 92.7 %", "attention 88.9 %", "embedding 93.4 %")),  # 1/12.8, 1/8.0, 1/14.2
    # bonds of 1.386, 3.512, 2.760 and 1.385 nats, 9.042 in all: the middle two 6.271, the left pair 4.898
    "mpop-eq6-centre": (
        "exact",
        ("have: 69; and", "beside it: 54 and 46; of", "bonds halved: 8, 27, 35, 23, 8"),
    ),
    "mpop-eq4-squares": ("print contradicts itself", ("a matrix of norm 1, cut to bonds of 20: error 0.54",)),
    "mpop-eq5-error": ("exact", ("0.9539 at rho = 0.0705", "0.0000 at rho = 1.06")),
    "mpop-tab3-architecture": ("print contradicts itself", ("ALBERT: 12 heads, 768 wide", "MobileBERT: 4 heads, 512")),
    "mpop-tab3-count-albert": ("print contradicts itself", ("11.69",)),
    "mpop-tab4-count": ("exact", ("7.69", "70.40")),
    "mpop-tab4-count-distil": ("exact", ("4.03", "43.40")),
    "mpop-tab4-count-mobile": ("exact", ("4.40", "15.39")),
    # 96 x 64 + 64 x 192 x 64 + 64 x 128 = 800,768; 16 (16 + 16 x 64) + 64 x 32 x 64 + 64 x 24 x 12 + 144 = 166,288
    "mpop-tab2-capacity": (
        "print contradicts itself",
        ("million numbers: 0.80, 0.17, 0.12", "below 1e-12, of five for one of three 0.6"),
    ),
    "mpop-fig2-tucker": ("print contradicts itself", ("389,329 M numbers", "23.6 M")),  # 208^5; 30720 x 768
    "mpobert-eq1-middle": ("exact", ("16 of 16",)),
    "mpobert-eq1-reach": ("exact", ("at least 100.0 % of the entries",)),
    # 12 x 8 x 1,536 = 147,456; four times as much is 589,824
    "mpobert-eq1-adapter": ("print contradicts itself", ("rank 8: 0.15 M, by the tables 0.6, counted 0.59",)),
    "mpobert-eq3-bound": ("print contradicts itself", ("1.04", "2.43", "9.22")),
    "mpobert-eq8-last": ("print contradicts itself", ("0.27, 0.05",)),
    "mpop-tab2-cp": ("print contradicts itself", ("0.60",)),  # the root of 5 / 14
    # 12 x 768^2; one centre of 589,824 and twelve times 86,609 numbers
    "mpobert-alg1-updates": ("print contradicts itself", ("7.1 M by the listing, 1.6 M",)),
    # In tokens: 1 + 1 + 256 + 256 = 514 of 1024 x 1024 (bonds 16-256-256-16), 0.25 + 1 + 512 + 256 = 769.25 of 4096 x
    # 1024 (16-256-512-16); four of those and two of these, four times as large: 684.17 of 524,288 and of 65,536
    "mpobert-alg1-rebuilding": ("exact", ("on one device, per cent: 0.13", "8 devices, per cent: 1.04", "54 rows")),
    "mpobert-alg1-source": ("print contradicts itself", ("12 layers: hidden size 768 of ALBERT's 1024",)),
    "mpobert-tab1-24": ("exact", ("85.72 against 84.00", "82.58 against 81.27")),
    "mpobert-tab1-sizes": ("print contradicts itself", ("ALBERT12: 11.7; T512: 60.5: cut off",)),
    "mpobert-tab1-metrics": ("print contradicts itself", ("STS-B: spearman, in MPOE pearson; MRPC: f1",)),
    "mpobert-tab1-squad": ("print contradicts itself", ("11 of 11",)),
    "mpobert-tab1-test-averages": ("print contradicts itself", ("11 of 14", "81.27", "78.97", "80.17")),
    "mpobert-tab6-depths": ("print contradicts itself", ("T5-11B: 24 printed, 48", "ALBERT-xxlarge: 1 printed, 12")),
    "mpobert-fig3-steps": ("exact", ("10 and 10",)),
    "mpoe-alg1-cost": ("exact", ("3.8 and 18.9",)),
    "mpoe-fig2-more-experts": ("exact", ("0.289, 0.190",)),  # 294 / 1016
    "mpoe-tab4-variants": ("print contradicts itself", ("3 and 4",)),
    "mpoe-tab4-counts": ("print contradicts itself", ("130.34", "156.97", "199.70", "215.17")),
    "mpoe-eq4-frequent": ("smaller scale: no difference", ("+0.003, 95 % [-0.007, +0.012]",)),  # 3, 0, 23 of 3,200
    # notebook 02
    "mpop-tab3-lfa": (
        "smaller scale: no difference",
        ("-1.8, 95 % [-6.5, +2.8], 5 seeds", "(20 pairs one by one: [-4.8, +1.1])"),
    ),
    "mpop-tab3-full-dense": ("smaller scale: opposite", ("-1.7, 95 % [-3.1, -0.2], 5 seeds",)),
    "mpop-tab3-squeezed-dense": ("smaller scale: opposite", ("-14.2, 95 % [-20.8, -7.7]",)),
    "mpop-tab5-last-3": (
        "smaller scale: no difference",
        ("-2.9, 95 % [-6.9, +1.1], 5 seeds", "(15 pairs one by one: [-7.2, +1.5])"),
    ),
    "mpobert-fig3-scratch": ("smaller scale: same direction", ()),
    # centres of 0.318, 0.369, 0.416 and of 0.442, 0.277, 0.327, that the study has beside its scores
    "mpobert-fig4-lower": ("smaller scale: no difference", ("+0.019, 95 % [-0.290, +0.328], 3 pairs",)),
}


@pytest.mark.parametrize("id", EXPECTED)
def test_rows_that_were_known_before(rows, id):
    row, (verdict, parts) = ledger.row_named(rows, id), EXPECTED[id]
    if row.scale in set(runs.SCALES) - {"laptop"}:  # that of a study is in words of its own
        pytest.skip("there are larger runs by now, with numbers of their own")
    assert row.verdict == verdict
    for part in parts:
        assert part in row.ours


def test_the_readme_has_the_ledger_that_the_records_make(rows):
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme == pages.in_readme(readme, rows), "the README's ledger is old: make ledger"
    assert f"{len(rows)} claims: " in readme


def test_a_record_that_changes_changes_the_readme(rows, tmp_path):
    """The test above would see it: one score of one run, another."""
    results = tmp_path / "results"
    shutil.copytree(ROOT / "results", results)
    path = results / "mpop-rte-lfa" / "laptop-seed0.json"
    content = json.loads(path.read_text())
    content["scores"]["dev"]["accuracy"] += 30
    path.write_text(json.dumps(content))
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme != pages.in_readme(readme, ledger.build(results))


def test_markers_and_pages(rows):
    readme = (ROOT / "README.md").read_text("utf-8")
    begin, end = pages.MARKERS["table"]
    for wrong in (readme.replace(begin, ""), readme.replace(end, begin), readme + end, end + readme.replace(end, "")):
        with pytest.raises(LedgerError, match="once each"):
            pages.in_readme(wrong, rows)
    some = [row for row in rows if row.item in ("mpop-tab3", "mpoe-tab4")]
    table = pages.markdown(some)
    assert table.count("\n| `") == len(some) and table.startswith("**MPOP**") and "\n**MPOE**\n" in table
    escaped = dataclasses.replace(some[0], ours="a | b <c>")
    assert "a \\| b &lt;c>" in pages.markdown([escaped])
    assert pages.plain(some).splitlines()[-1] == pages.summary_line(some)


def test_the_page_has_every_row_and_draws_every_interval(rows):
    page = pages.page(rows)
    for row in rows:
        assert page.count(f'id="{row.id}"') == 1
    assert page.count("<svg") == sum(row.on_runs for row in rows) > 0
    claims, tables = page.split('<h2 id="tables">')  # what is doubtful about a table stands below it alone
    assert "<script" not in page and "WNLI 56.3" not in claims and "true CPD of the paper" in claims  # a note
    assert tables.count("WNLI 56.3") == 1
    tags = re.findall(r"<(/?)(table|tr|td|div|svg|h2|h3|p)\b", page)
    for name in ("table", "tr", "td", "div", "svg"):
        assert tags.count(("", name)) == tags.count(("/", name)), name


def test_an_interval_is_drawn_where_it_is():
    drawn = pages.interval_svg((-1.0, 3.0), width=200)
    x = [
        float(value) for value in re.search(r'x1="([\d.]+)" x2="([\d.]+)" y1="12" y2="12" stroke="#222', drawn).groups()
    ]
    reach = 3.0 * 1.15
    assert x == pytest.approx([100 * (1 - 1 / reach), 100 * (1 + 3 / reach)], abs=0.1)
    assert "95 % from -1.0 to 3.0" in drawn and re.findall(r">([^<>]+)</text>", drawn) == ["-1.0", "3.0"]


@pytest.mark.parametrize(
    ("interval", "says"),
    [((-0.3501, -0.348), "-0.350 to -0.348"), ((0.348, 0.3501), "0.348 to 0.350"), ((5.0, 5.5), "5.0 to 5.5")],
)
def test_the_ends_of_a_narrow_interval_are_one_text_inside_its_picture(interval, says):
    drawn = pages.interval_svg(interval, width=200)
    ((at, words),) = re.findall(r'<text x="([\d.]+)"[^>]*>([^<>]+)</text>', drawn)
    assert words == says and 3 * len(words) <= float(at) <= 200 - 3 * len(words)


# -- in notebooks ----------------------------------------------------------------------------------------


def test_items_show_their_rows(rows):
    shown = ledger.verdicts_on("mpop-fig2", "mpoe-tab3", results=ROOT / "results")
    wanted = [row for item in ("mpop-fig2", "mpoe-tab3") for row in rows if row.item == item]
    assert list(shown.rows) == wanted and len(wanted) > 4
    assert repr(shown) == pages.plain(wanted) and shown._repr_html_().count("<tr id=") == len(wanted)
    few = ledger.verdicts_on("mpop-fig2-plans", "mpop-alg1", results=ROOT / "results").rows
    assert [row.id for row in few] == ["mpop-fig2-plans", "mpop-alg1-exact"]
    with pytest.raises(UnknownNameError, match="mpop-fig2"):
        ledger.verdicts_on("mpop-fig22")


def test_every_claim_ends_a_section_of_a_notebook():
    seen = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        for cell, after in zip(cells, [*cells[1:], None]):
            if cell.cell_type == "code" and "verdicts_on(" in cell.source and "import verdicts_on" not in cell.source:
                (call,) = re.findall(r"^verdicts_on\((.*)\)$", cell.source, re.M)
                for id in re.findall(r'"([a-z0-9-]+)"', call):
                    found = [claim.id for claim in papers.CLAIMS.values() if id in (claim.id, claim.item)]
                    assert found, id
                    seen |= dict.fromkeys(found, path.name)
                assert after is None or after.source.startswith("#"), cell.source  # the next section begins
    assert set(seen) == set(papers.CLAIMS)
    for claim, name in seen.items():
        number = {"mpop": ("01", "02"), "mpobert": ("03",), "mpoe": ("04",)}[claim.split("-")[0]]
        assert name.startswith(number), (claim, name)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_section_that_teaches_a_claim_ends_with_its_row(path):
    sections = sections_of(path)
    teaching = [section for section in sections if any("**The claim" in source for source in section)]
    assert len(teaching) > 2
    for section in teaching:
        assert section[-1].splitlines()[-1].startswith("verdicts_on("), section[0].splitlines()[0]


def sections_of(path):
    """Lists of cells' sources; a heading is at the beginning of its cell, where a section can be seen to end."""
    sections = [[]]
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.source.startswith("## "):
            sections.append([])
        assert cell.cell_type != "markdown" or "\n## " not in cell.source, cell.source[:60]
        sections[-1].append(cell.source)
    return sections


@pytest.mark.parametrize(
    ("notebook", "section", "ids"),
    [
        ("02_entanglement", "3", ["mpop-eq6-centre"]),
        ("02_entanglement", "8", ["mpop-tab3-count-full", "mpop-tab3-count-lfa", "mpop-tab3-lfa"]),
        ("03_mpobert", "1", ["mpobert-tab1-depth"]),
        ("04_mpoe", "10", ["mpoe-tab1-news", "mpoe-tab1-reviews", "mpoe-tab1-diversity"]),
        ("04_mpoe", "11", ["mpoe-alg1-cost", "mpoe-eq4-cost"]),
    ],
)
def test_what_a_section_measures_beside_its_own_item_is_among_its_rows(notebook, section, ids):
    found = [cells for cells in sections_of(ROOT / "notebooks" / f"{notebook}.ipynb")
             if cells[0].startswith(f"## {section}. ")]  # fmt: skip
    assert len(found) == 1
    last = found[0][-1].splitlines()[-1]
    assert last.startswith("verdicts_on(") and all(f'"{id}"' in last for id in ids)


# -- ids -------------------------------------------------------------------------------------------------

UNPOINTED: set[str] = set()
"""Ids that nothing points to yet. It may only become shorter: what implements one names it, and it leaves this list."""

_RANGE = re.compile(r"([a-z]+-[a-z]+)(\d+) to \1(\d+)")


def pointed(text: str) -> set[str]:
    """Ids in a text; "mpobert-eq2 to mpobert-eq17" is all of these."""
    found = {f"{kind}{k}" for kind, a, b in _RANGE.findall(text) for k in range(int(a), int(b) + 1)}
    return (found | set(re.findall(r"\b[a-z]+-[a-z]+\d+\b", text))) & set(papers.ITEMS)


def public_docstrings():
    """Of modules, classes and functions outside of those that define the ids."""
    for path in sorted((ROOT / "mpolab").rglob("*.py")):
        if path.relative_to(ROOT / "mpolab").parts[0] in ("papers", "ledger", "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module) or (
                isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            ):
                yield ast.get_docstring(node) or ""


def test_every_id_is_pointed_to():
    texts = list(public_docstrings())
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        texts += ["".join(cell.source) for cell in cells if cell.cell_type == "markdown"]
    found = set().union(*map(pointed, texts))
    assert set(papers.ITEMS) - found == UNPOINTED


def test_pointing():
    assert pointed("Items: mpop-eq1, mpobert-eq2 to mpobert-eq4, mpop-eq77.") == {
        "mpop-eq1", "mpobert-eq2", "mpobert-eq3", "mpobert-eq4",
    }  # fmt: skip
    assert pointed("mpop-eq12 and xmpop-eq1") == set()
