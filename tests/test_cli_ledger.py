"""`mpolab ledger`, and `mpolab run` with the id of an item: what is shown, written, run, skipped and refused."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from command_line import elsewhere, paragraph  # noqa: F401

from mpolab import cli, ledger, papers, recipes, runs
from mpolab.errors import LedgerError, TrainingError, UnknownNameError
from mpolab.ledger import pages
from mpolab.ledger.compared import Compared, one
from mpolab.ledger.items import run_item, work
from mpolab.ledger.studies import Studied
from mpolab.recipes import Recipe

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def small(monkeypatch):
    """A ledger of three claims that arithmetic decides, two of one item, and one without a run."""
    some = {id: papers.CLAIMS[id] for id in ("mpop-eq2-middle", "mpop-tab3-wnli", "mpop-tab3-all-but-mnli",
                                             "mpoe-tab3-mask")}  # fmt: skip
    evidence = {id: ledger.EVIDENCE[id] for id in some}
    evidence["mpoe-tab3-mask"] = Studied("none.json", lambda _: pytest.fail("read"), "make it", "a day", "lower", "x")
    rows = ledger.build(claims=some, evidence=evidence)
    monkeypatch.setattr(ledger, "build", lambda *_, **__: rows)
    return rows


def test_json_is_a_list_of_objects(small, capsys):
    assert cli.main(["ledger", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == [row.to_dict() for row in small]
    names = {
        "id",
        "paper",
        "item",
        "claim",
        "printed",
        "ours",
        "interval",
        "seeds",
        "scale",
        "verdict",
        "record",
        "command",
    }
    assert all(entry.keys() == names for entry in found) and found[1]["item"] == "mpop-tab3"


def test_text_and_markdown(small, capsys):
    assert cli.main(["ledger"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "4 claims: 3 exact, 1 not run" and "mpoe-tab3-mask: not run" in out
    assert cli.main(["ledger", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() == pages.markdown(small)


def test_one_item_one_claim_and_an_item_without_claims(capsys, monkeypatch):
    monkeypatch.setattr(ledger, "build", lambda *_, **__: pytest.fail("all rows are worked out"))
    rows = ledger.verdicts_on("mpop-eq2").rows
    assert [row.id for row in rows] == ["mpop-eq2-bonds", "mpop-eq2-middle", "mpop-eq2-centre"]
    for asked, wanted in (("mpop-eq2", rows), ("mpop-eq2-middle", rows[1:2])):
        assert cli.main(["ledger", asked]) == 0
        assert capsys.readouterr().out.strip() == pages.plain(wanted).strip()
        assert cli.main(["ledger", asked, "--markdown"]) == 0
        assert capsys.readouterr().out.strip() == pages.markdown(wanted)
        assert cli.main(["ledger", asked, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == [row.to_dict() for row in wanted]
    assert cli.main(["ledger", "mpop-fig1"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and "no claim is made about mpop-fig1" in err and "mpolab ledger --html build/ledger.html" in err
    assert cli.main(["ledger", "mpop-fig1", "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == [] and err == ""


def test_files_are_written(small, capsys, tmp_path):
    readme = tmp_path / "README.md"
    before = "\n".join(["# A", *pages.MARKERS["summary"], "text", *pages.MARKERS["table"], "end", ""])
    readme.write_text(before)
    asked = ["ledger", "--html", str(tmp_path / "build" / "ledger.html"), "--readme", str(readme), "--json"]
    assert cli.main(asked) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 4 and "README.md" in err and "ledger.html" in err
    assert (tmp_path / "build" / "ledger.html").read_text() == pages.page(small)
    text = readme.read_text()
    assert "4 claims: 3 exact, 1 not run." in text and pages.markdown(small) in text and text.endswith("\nend\n")
    assert cli.main([*asked, "--quiet"]) == 0  # a second time: the same
    assert readme.read_text() == text and capsys.readouterr().err == ""
    readme.write_text("# none\n")
    assert cli.main(asked) == 2
    paragraph(capsys.readouterr().err, "the README needs the lines", "make ledger")
    assert readme.read_text() == "# none\n"


def test_refusals(small, capsys, monkeypatch):
    assert cli.main(["ledger", "mpop-tab9"]) == 2
    paragraph(capsys.readouterr().err, "unknown item or claim of the papers 'mpop-tab9'", "'mpop-tab3'")
    assert cli.main(["ledger", "mpop-tab3-squeezin"]) == 2
    paragraph(capsys.readouterr().err, "Did you mean 'mpop-tab3-squeezing'")
    for wrong in (["mpop-tab3", "--readme", "README.md"], ["--json", "--markdown"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(["ledger", *wrong])
        assert stop.value.code == 2
    monkeypatch.setattr(ledger, "build", lambda: (_ for _ in ()).throw(LedgerError("it has no pairs")))
    capsys.readouterr()
    assert cli.main(["ledger"]) == 2
    paragraph(capsys.readouterr().err, "it has no pairs")


# -- mpolab run ITEM -------------------------------------------------------------------------------------

FLOOR = Recipe(
    name="floor", about="A test.", task="SST-2", method="majority", source="offline", seeds=(0, 1, 3),
    scales={"smoke": {"train": 24, "select": 8, "dev": 16}, "laptop": {"train": 48}},
)  # fmt: skip
WORDS = dataclasses.replace(FLOOR, name="words", method="bag_of_words", scales={"smoke": FLOOR.scales["smoke"]})


@pytest.fixture
def item(tmp_path, monkeypatch):
    """mpop-tab5, as if two recipes without a model decided it. Runs stay in this process, which alone knows them."""
    monkeypatch.setattr(ledger, "default_jobs", lambda processes: 1)
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "work"))
    for recipe in (FLOOR, WORDS):
        monkeypatch.setitem(recipes.RECIPES, recipe.name, recipe)
    evidence = Compared(((one("words"), one("floor")),), "higher", "words - floor")
    for id in ledger.EVIDENCE:
        if id.startswith("mpop-tab5-last"):
            monkeypatch.setitem(ledger.EVIDENCE, id, evidence)
            monkeypatch.delitem(ledger.REMEDIES, id, raising=False)
            monkeypatch.delitem(ledger.LOOKS, id, raising=False)
        elif id.startswith("mpop-tab5-count"):
            monkeypatch.setitem(ledger.EVIDENCE, id, ledger.EVIDENCE["mpop-tab5-same-model"])
    return tmp_path / "results"


def test_an_item_is_all_its_recipes_and_seeds(item, capsys, monkeypatch):
    assert ledger.recipes_of("mpop-tab5") == ("words", "floor") and ledger.recipes_of("mpop-eq3") == ()
    assert cli.main(["run", "mpop-tab5", "--scale", "smoke"]) == 0
    out, err = capsys.readouterr()
    files = sorted(path.relative_to(item).as_posix() for path in item.rglob("*.json"))
    assert files == [f"{name}/smoke-seed{seed}.json" for name in ("floor", "words") for seed in (0, 1, 3)]
    of = "2 recipes, 1 of the print's 3 tasks, 6 runs, 0 with a record"
    assert f"{of}; to go: 6 runs, about 1 s one after the other, without training" in err
    assert "6/6" in err and "mpop-tab5-last-3: smaller scale" in out and "smoke, seeds 0 1 3" in out
    assert out.splitlines()[-1].startswith("7 claims: ")

    # again: nothing runs; one record less: that one runs
    ran = []
    real = recipes.run
    monkeypatch.setattr(recipes, "run", lambda *given, **more: ran.append(given[:3]) or real(*given, **more))
    assert cli.main(["run", "mpop-tab5", "--scale", "smoke", "--json"]) == 0
    assert ran == [] and len(json.loads(capsys.readouterr().out)) == 6
    (item / "words" / "smoke-seed1.json").unlink()
    assert cli.main(["run", "mpop-tab5"]) == 0
    assert ran == [("words", "smoke", 1)]
    assert re.search(r"5 with a record, \d+ s in all; to go: 1 run, about ", capsys.readouterr().err)
    assert cli.main(["run", "mpop-tab5", "--force", "--quiet"]) == 0
    assert len(ran) == 7 and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "item", [item for item in papers.ITEMS if not ledger.recipes_of(item) and not ledger.studies_of(item)]
)
def test_an_item_of_arithmetic_alone_is_worked_out(item, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    claims = [claim for claim in papers.CLAIMS.values() if claim.item == item]
    assert cli.main(["run", item, "--scale", "gpu", "--jobs", "auto"]) == 0
    out, err = capsys.readouterr()
    assert f"{item} has no recipe to run" in err and not list(tmp_path.iterdir())
    if claims:
        assert all(f"{claim.id}: " in out for claim in claims) and f"{len(claims)} claim" in out.splitlines()[-1]
    else:
        assert out == "no claim of the ledger is about it\n"


def test_offline_rows_of_a_real_task_are_kept_apart(item, monkeypatch):
    for recipe in (FLOOR, WORDS):
        monkeypatch.setitem(recipes.RECIPES, recipe.name, dataclasses.replace(recipe, source=None))
    assert cli.main(["run", "mpop-tab5", "--source", "offline", "--quiet"]) == 0
    assert len(list(item.rglob("offline/smoke-seed*.json"))) == 6 == len(list(item.rglob("*.json")))
    assert [run.there for run in work("mpop-tab5", "smoke", "offline").runs] == [True] * 6
    assert [run.there for run in work("mpop-tab5", "smoke").runs] == [False] * 6
    assert ledger.item_command("mpop-tab5", "smoke") == "mpolab run mpop-tab5 --scale smoke --data-dir DIR"


def test_what_an_item_refuses(item, capsys):
    assert cli.main(["run", "mpop-tab5", "--scale", "laptop"]) == 2
    err = capsys.readouterr().err
    paragraph(err, "not every claim about mpop-tab5 has recipes of scale 'laptop'", "all have: smoke")
    assert cli.main(["run", "mpop-tab5", "--scale", "huge"]) == 2
    paragraph(capsys.readouterr().err, "unknown scale 'huge'")
    assert cli.main(["run", "mpobert-fig4"]) == 2
    paragraph(capsys.readouterr().err, "scripts/trend_study.py --data-dir DIR reads a folder of yours")
    assert cli.main(["run", "mpop-tab55"]) == 2
    paragraph(capsys.readouterr().err, "unknown recipe 'mpop-tab55'")
    with pytest.raises(SystemExit):
        cli.main(["run", "mpop-tab5", "--seed", "3"])
    assert "leave out --seed" in capsys.readouterr().err and not item.exists()


def test_a_record_of_another_version_is_not_taken_for_one(item, capsys, monkeypatch):
    assert cli.main(["run", "mpop-tab5", "--quiet"]) == 0
    scales = {"smoke": {**WORDS.scales["smoke"], "train": 32}}
    monkeypatch.setitem(recipes.RECIPES, "words", dataclasses.replace(WORDS, scales=scales))
    capsys.readouterr()
    assert cli.main(["run", "mpop-tab5"]) == 2
    paragraph(capsys.readouterr().err, "another version of the recipe: train was 24 and is 32", "--force")


def test_one_failed_training_does_not_stop_the_others(item):
    asked, ran = work("mpop-tab5", "smoke"), []

    def run(name, scale, seed, *_, **__):
        ran.append((name, seed))
        if (name, seed) == ("words", 1):
            raise TrainingError("the loss is no number.")

    with pytest.raises(TrainingError, match=r"1 of 6 runs of mpop-tab5 failed.*words, seed 1: the loss is no number"):
        run_item(asked, progress=False, run=run)
    assert len(ran) == 6

    def broken(*_, **__):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        run_item(asked, progress=False, run=broken)


def test_every_item_with_recipes_can_be_planned(monkeypatch):
    """With the real table: every claim has recipes of the scale that the ledger's commands name."""
    assert {"mpop-tab3", "mpobert-tab1", "mpobert-fig3"} <= set(ledger.runnable())
    for id in ledger.runnable():
        asked = work(id, "laptop")
        names = ledger.recipes_of(id, scale="laptop")
        assert len(asked.runs) == sum(len(recipes.RECIPES[name].seeds) for name in names)
        assert all(run.path.name == f"laptop-seed{run.seed}.json" for run in asked.runs)
    with pytest.raises(UnknownNameError, match="unknown item"):
        work("mpop-tab9")
    assert runs.SCALES[1] == "laptop"
