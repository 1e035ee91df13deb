"""The commands of tries: those of the scripts that make the files, and part of the rows that rest on them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from mpolab import ledger, papers
from mpolab.ledger import tries
from mpolab.ledger.remedies import REMEDIES

ROOT = Path(__file__).parents[1]
PREFIX = "python scripts/choose_settings.py "


@pytest.fixture(scope="module")
def choose_settings():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("choose_settings", ROOT / "scripts" / "choose_settings.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_study_of_settings_has_its_command_and_no_other(choose_settings):
    wanted = {study.out: f"{PREFIX}{name} --data-dir DIR" for name, study in choose_settings.STUDIES.items()}
    assert len(wanted) == len(choose_settings.STUDIES), "two studies would write into one file"
    assert {file: command for file, command in tries.TRIES.items() if command.startswith(PREFIX)} == wanted


def test_the_script_takes_the_command(choose_settings, monkeypatch, tmp_path):
    """As far as its first training, which is asked for with the settings that the study says."""
    asked = []
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    monkeypatch.setattr(choose_settings, "tried", lambda study, *given: asked.append((study.out, *given)) or 1 / 0)
    _, _, *words = tries.TRIES["experts_remedies.json"].split()
    monkeypatch.setattr(sys, "argv", ["choose_settings.py", *words])
    with pytest.raises(ZeroDivisionError):
        choose_settings.main()
    assert asked == [("experts_remedies.json", "dense", "as before", "DIR")]


def test_what_else_makes_tries_is_said_by_its_script():
    others = {file: command for file, command in tries.TRIES.items() if not command.startswith(PREFIX)}
    assert others == {"probing_trend_tries.json": "python scripts/trend_study.py --data-dir DIR --choose"}
    text = (ROOT / "scripts" / "trend_study.py").read_text("utf-8")
    for file, command in others.items():
        assert f"    {command}\n" in text and f'"{file}"' in text


def test_every_file_that_a_remedy_names_has_a_command():
    named = {file for remedy in REMEDIES.values() for file in remedy.files}
    assert {"squeezing_remedies.json", "probing_trend_tries.json"} < named <= set(tries.TRIES)


def test_commands_are_those_of_the_files_in_their_order():
    files = ("results/mpop_rows.json", "results/mpop-rte-lfa/laptop-seed0.json", "results/learning_rates.json")
    assert tries.commands(files) == [f"{PREFIX}mpop-rows --data-dir DIR", f"{PREFIX}mpop --data-dir DIR"]


def test_a_row_has_the_commands_of_the_tries_that_are_there(tmp_path):
    """Behind those of the records, each once, and only while results/ has their files."""
    id = "mpop-tab3-lfa"
    for name in ledger.EVIDENCE[id].recipes_at("laptop"):
        shutil.copytree(ROOT / "results" / name, tmp_path / name)
    remedy = dataclasses.replace(REMEDIES[id], files=("mpop_rows.json", "learning_rates.json"))
    for file in remedy.files:
        shutil.copy(ROOT / "results" / file, tmp_path)

    def command():
        (row,) = ledger.build(tmp_path, {id: papers.CLAIMS[id]}, {id: ledger.EVIDENCE[id]}, {id: remedy})
        return row.command

    first = "mpolab run mpop-tab3 --scale laptop --data-dir DIR"
    assert command() == f"{first}; {PREFIX}mpop-rows --data-dir DIR; {PREFIX}mpop --data-dir DIR"
    (tmp_path / "mpop_rows.json").unlink()
    assert command() == f"{first}; {PREFIX}mpop --data-dir DIR"


def test_scores_of_the_ways_that_a_row_is_of(tmp_path):
    """Settings as they were come first; other ways of the file are left out, also those whose name ends alike."""
    of_ways = {"lfa": {"1,000 rows": 84.04, "as before": 83.0}, "full": {"as before": 4.2066}}
    of_ways["full-mpo"] = {"as before": 1}
    (tmp_path / "one.json").write_text(json.dumps({"scores": of_ways}))
    (tmp_path / "two.json").write_text(json.dumps({"scores": {"moe": {"0.003": 66.5}, "mpoe": {"0.003": 64.0}}}))

    def said(*recipes):
        return tries.scores(("results/one.json", "results/two.json"), recipes, tmp_path)

    assert said("mpop-sst-2-lfa", "mpop-rte-full") == "lfa: as before 83.0 / 1,000 rows 84.0; full: as before 4.21"
    assert said("mpop-rte-full-mpo") == "full-mpo: as before 1.00"
    assert said("mpop-rte-full-albert-mini") == said("mpop-mrpc-full") == "full: as before 4.21"
    assert said("experts-glue-sst-2-moe") == "moe: 0.003 66.5"
    assert said("experts-glue-sst-2-mpoe") == "mpoe: 0.003 64.0"
    by_model = {"scores": {"minilm": {"as before": 67}, "albert-mini": {"as before": 51}}}
    (tmp_path / "one.json").write_text(json.dumps(by_model))
    assert said("table3-sst-2-minilm-10") == said("table2-minilm") == "minilm: as before 67.0"


def test_rows_whose_tries_gained_nothing_have_their_scores():
    """A row whose tries chose something has that on the reported seeds."""
    claims, evidence = ({id: of[id] for id in REMEDIES} for of in (papers.CLAIMS, ledger.EVIDENCE))
    rows = {row.id: row for row in ledger.build(ROOT / "results", claims, evidence)}
    checked = set()
    for id, remedy in REMEDIES.items():
        if not remedy.files:
            continue
        said = rows[id].ours.split("choose: ")[1]
        shown = [way for file in remedy.files for way in _scores(file) if f"{way}: " in said]
        assert bool(shown) != remedy.chosen, id
        checked.add(remedy.chosen)
    assert checked == {True, False}
    assert "(full: as before 83.6 / 1,000 rows 82.6 / eight epochs 83.0; lfa: " in rows["mpop-tab3-lfa-dense"].ours


def _scores(file):
    return json.loads((ROOT / "results" / file).read_text()).get("scores", {})
