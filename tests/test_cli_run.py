"""`mpolab run`: a real run of a tiny recipe, its record, and what is shown, refused and listed."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import pytest
from command_line import elsewhere, paragraph, save_rows, save_tiny  # noqa: F401

from mpolab import cli, recipes, runs
from mpolab.recipes import Recipe
from mpolab.training import Settings

pytestmark = pytest.mark.usefixtures("elsewhere")

TINY = Recipe(
    name="tiny",
    about="A test.",
    task="SST-2",
    model="tiny",
    source="offline",
    settings=Settings(epochs=1, batch_size=8, lr=1e-3, max_length=24),
    seeds=(0, 3),
    scales={"smoke": {"train": 24, "select": 8, "dev": 16}, "gpu": {"train": 48}},
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A recipe for a tiny model, in a folder of its own."""
    save_tiny(tmp_path / "tiny")
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "work"))
    monkeypatch.setitem(recipes.RECIPES, "tiny", TINY)
    return tmp_path / "results" / "tiny"


def no_run(*_, **__):
    raise AssertionError("a run began")


def test_a_run_leaves_a_record(tiny, capsys, monkeypatch):
    assert cli.main(["run", "tiny", "--seed", "3"]) == 0  # at scale smoke
    out, err = capsys.readouterr()
    record = runs.load(tiny / "smoke-seed3.json")
    assert (record.scale, record.seed, record.steps) == ("smoke", 3, 3)
    title, data, scores, counts, cost = out.splitlines()
    assert title.startswith("tiny, scale smoke, seed 3: tiny (folder): BertForSequenceClassification")
    assert data.startswith("data: train 24, select 8, dev 16; offline grammar")
    accuracy, loss = (record.scores["dev"][name] for name in ("accuracy", "loss"))
    assert scores == f"toy-SST-2 dev, 16 rows: accuracy {accuracy:.2f}, loss {loss:.4f}"
    assert counts == f"#Pr: {record.trainable:,}; #To: {record.total:,}"
    assert re.match(r"3 steps in \d+\.\d s on CPU", cost) and f"record: {tiny}" in err and "3/3" in err

    # a second time: the record that is there
    monkeypatch.setattr(recipes, "run", no_run)
    assert cli.main(["run", "tiny", "--seed", "3", "--scale", "smoke", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads(json.dumps(dataclasses.asdict(record)))
    assert "nothing was run" in err and "--force" in err
    with pytest.raises(AssertionError, match="a run began"):
        cli.main(["run", "tiny", "--seed", "3", "--force"])
    with pytest.raises(AssertionError, match="a run began"):  # another seed has none
        cli.main(["run", "tiny"])

    # of another version of the recipe: neither shown nor overwritten
    monkeypatch.setitem(recipes.RECIPES, "tiny", dataclasses.replace(TINY, settings=Settings(lr=2e-3)))
    capsys.readouterr()
    assert cli.main(["run", "tiny", "--seed", "3"]) == 2
    paragraph(capsys.readouterr().err, "another version of the recipe 'tiny'", "settings.lr was 0.001", "--force")


def test_what_is_asked_for_reaches_the_run(tiny, monkeypatch):
    asked = []
    monkeypatch.setattr(recipes, "run", lambda *given, **more: asked.append((given, more)) or no_run())
    options = ["--scale", "gpu", "--seed", "5", "--data-dir", "glue", "--source", "folder", "--quiet"]
    with pytest.raises(AssertionError):
        cli.main(["run", "tiny", *options])
    (((recipe, *given), more),) = asked
    assert recipe is TINY and [str(value) for value in given] == ["gpu", "5", "glue", "folder"]
    assert more == {"progress": False, "resume": True}
    monkeypatch.setenv("MPOLAB_SCALE", "gpu")
    with pytest.raises(AssertionError):
        cli.main(["run", "tiny"])
    assert asked[1][0][1:3] == ("gpu", 0) and asked[1][1] == {"progress": True, "resume": True}
    with pytest.raises(AssertionError):
        cli.main(["run", "tiny", "--force"])
    assert asked[2][1] == {"progress": True, "resume": False}


def test_a_record_of_other_rows_is_not_shown_for_those_asked_for(tiny, capsys, monkeypatch, tmp_path):
    real = dataclasses.replace(TINY, source=None, method="majority")
    monkeypatch.setitem(recipes.RECIPES, "tiny", real)
    first, second = (str(save_rows(tmp_path / name, train)) for name, train in (("first", 60), ("second", 61)))
    shutil.copytree(first, tmp_path / "copy")
    assert cli.main(["run", "tiny", "--data-dir", first]) == 0
    assert runs.load(tiny / "smoke-seed0.json").data["task"] == "SST-2"
    monkeypatch.setattr(recipes, "run", no_run)
    for given in ([], ["--data-dir", first], ["--data-dir", "copy"], ["--data-dir", first, "--source", "folder"]):
        assert cli.main(["run", "tiny", *given]) == 0
        assert "nothing was run" in capsys.readouterr().err
    assert cli.main(["run", "tiny", "--data-dir", second]) == 2
    paragraph(capsys.readouterr().err, "smoke-seed0.json' is of other rows (SST-2; folder SST-2", "--force")
    assert cli.main(["run", "tiny", "--data-dir", "nowhere"]) == 2
    paragraph(capsys.readouterr().err, "'nowhere' does not exist")
    with pytest.raises(AssertionError, match="a run began"):
        cli.main(["run", "tiny", "--data-dir", second, "--force"])


def test_offline_rows_of_a_real_task_are_asked_for_by_name_and_kept_apart(tiny, capsys, monkeypatch, tmp_path):
    real = dataclasses.replace(TINY, source=None, method="majority")
    monkeypatch.setitem(recipes.RECIPES, "tiny", real)
    assert cli.main(["run", "tiny"]) == 2
    paragraph(capsys.readouterr().err, "'tiny' is about SST-2", "HF_HUB_OFFLINE", "--data-dir DIR", "--source offline")
    assert not tiny.exists()
    assert cli.main(["run", "tiny", "--source", "offline"]) == 0
    out, err = capsys.readouterr()
    assert "toy-SST-2 dev" in out and f"record: {tiny / 'offline' / 'smoke-seed0.json'}" in err
    assert [path.relative_to(tiny).as_posix() for path in tiny.rglob("*.json")] == ["offline/smoke-seed0.json"]
    assert cli.main(["run", "tiny", "--source", "offline"]) == 0
    assert "nothing was run" in capsys.readouterr().err
    assert cli.main(["run", "tiny", "--data-dir", str(save_rows(tmp_path / "glue"))]) == 0  # both side by side
    assert "SST-2 dev, 16 rows" in capsys.readouterr().out and len(list(tiny.rglob("*.json"))) == 2


def test_other_processes_say_nothing(tiny, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(recipes, "run", lambda *_, **__: None)
    assert cli.main(["run", "tiny"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_list(tiny, capsys):
    tiny.mkdir(parents=True)
    for name in ("smoke-seed0", "smoke-seed3", "gpu-seed3", "gpu-seed7"):  # 7 is not reported
        (tiny / f"{name}.json").write_text("{}")
    assert cli.main(["run", "--list", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(entries) == list(recipes.RECIPES) and entries["demo"]["records"] == []
    assert entries["tiny"]["scales"] == ["smoke", "gpu"] and entries["tiny"]["seeds"] == [0, 3]
    assert entries["tiny"]["about"] == "A test."
    there = [("smoke", 0), ("smoke", 3), ("gpu", 3)]
    assert entries["tiny"]["records"] == [{"scale": scale, "seed": seed} for scale, seed in there]
    assert cli.main(["run", "--list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["recipe", "scales", "seeds", "records", "about"] and len(lines) == len(entries)
    assert re.fullmatch(r"tiny +smoke gpu +0 3 +smoke 0 3; gpu 3 +A test\.", lines[-1])


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["demoo"], ["unknown recipe 'demoo'", "Did you mean 'demo'"]),
        (["tiny", "--scale", "huge"], ["unknown scale 'huge'", "'smoke'"]),
        (["tiny", "--scale", "paper"], ["unknown scale of the recipe 'tiny' 'paper'", "'gpu'"]),
        (["tiny", "--source", "disk"], ["unknown source 'disk'"]),
        (["tiny", "--data-dir", "nowhere"], ["nowhere"]),
    ],
)
def test_refusals(tiny, capsys, argv, parts):
    assert cli.main(["run", *argv]) == 2
    paragraph(capsys.readouterr().err, *parts)
    assert not tiny.exists()


@pytest.mark.parametrize("argv", [[], ["tiny", "--list"]])
def test_wrong_usage(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", *argv])
    assert stop.value.code == 2 and "the name of a recipe or --list" in capsys.readouterr().err
