"""Items as a whole: their plans and costs for every id, and their runs side by side, in real processes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import pytest
from command_line import elsewhere, paragraph  # noqa: F401

from mpolab import cli, crew, ledger, locks, papers, recipes, runs
from mpolab.errors import DataNotFoundError, TrainingError, UnknownNameError
from mpolab.ledger import flops, hours, parallel, study_runs
from mpolab.ledger.arithmetic import Arithmetic
from mpolab.ledger.compared import Compared, one
from mpolab.ledger.items import work
from mpolab.ledger.pre_trainings import PRE_TRAININGS
from mpolab.ledger.studies import Studied

pytestmark = pytest.mark.usefixtures("elsewhere")

REAL = runs.results_folder()  # before a test names another one


@pytest.fixture
def elsewhere_too(tmp_path, monkeypatch):
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return tmp_path


def only(monkeypatch, item: str, recipe: str, seeds: tuple[int, ...]) -> None:
    """As if one recipe, with these seeds, decided all claims about an item. The child processes have the real one."""
    monkeypatch.setitem(recipes.RECIPES, recipe, dataclasses.replace(recipes.RECIPES[recipe], seeds=seeds))
    for claim in papers.CLAIMS.values():
        if claim.item == item:
            monkeypatch.setitem(ledger.EVIDENCE, claim.id, Compared(((one(recipe), 40.0),), "higher", "it - 40"))


def write(name: str, seed: int, peak: int = 0, memory: str = "rss", total: int = 1000) -> None:
    """A record of a recipe at scale smoke."""
    recipe = recipes.RECIPES[name]
    runs.Record(
        recipe=name, recipe_hash=recipe.hash("smoke"), scale="smoke", seed=seed, fields=recipe.fields("smoke"),
        command="", data={"task": "toy-RTE"}, model="", seconds=7.0, peak_bytes=peak, memory=memory, trainable=0,
        total=total, scores={},
    ).save()  # fmt: skip


# -- plans -----------------------------------------------------------------------------------------------


def test_every_id_has_a_plan(elsewhere_too, monkeypatch, capsys):
    """`mpolab run ID --dry-run`, at every scale that its recipes have. (What a step costs is counted further down.)"""
    monkeypatch.setattr(flops, "_step", lambda *_: (10**12, flops.COUNTED))
    with_recipes = set(ledger.runnable())
    assert {"mpop-tab3", "mpop-tab5", "mpobert-tab2", "mpobert-fig3", "mpoe-tab4"} <= with_recipes
    for item in papers.ITEMS:
        assert cli.main(["run", item, "--dry-run", "--scale", "gpu"]) == 0, item
        out, err = capsys.readouterr()
        assert err == ""
        mine = [claim for claim in papers.CLAIMS.values() if claim.item == item]
        if item in with_recipes:
            names = ledger.recipes_of(item, scale="gpu")
            assert names
            assert out.startswith(f"{item} at scale gpu: {len(names)} recipe") and "not counted" not in out
            assert all(f"\n{name} " in out for name in names) and "\ncost at scale gpu, an estimate: " in out
        else:
            studies = ", and studies have no scales" if ledger.studies_of(item) else ""
            assert out.startswith(f"{item} has no recipe to run{studies}\n")
            assert ("no claim of the ledger" in out) == (not mine)
        assert ("[the paper's pre-training" in out) == (item in PRE_TRAININGS)
        for claim in mine:
            if isinstance(evidence := ledger.EVIDENCE[claim.id], Studied) and item not in with_recipes:
                assert f"by a study, {evidence.cost}: {evidence.command}" in out
    assert not list(elsewhere_too.rglob("*.json")), "nothing was run"


def test_every_command_of_the_ledger_that_names_an_item_is_one_that_works(elsewhere_too, monkeypatch, capsys):
    monkeypatch.setattr(flops, "_step", lambda *_: (10**12, flops.COUNTED))
    evidence = {id: each for id, each in ledger.EVIDENCE.items() if not isinstance(each, Arithmetic)}
    claims = {id: papers.CLAIMS[id] for id in evidence}
    rows = [row for row in ledger.build(elsewhere_too, claims, evidence) if row.command]
    assert all(row.verdict == "not run" for row in rows)
    assert len(rows) > 20
    commands = {tuple(row.command.split()) for row in rows if row.command.startswith("mpolab ")}
    assert len(commands) >= 10
    for _, *argv in commands:
        assert cli.main([*argv, "--dry-run"]) == 0, argv
        assert f"{argv[1]} at scale laptop: " in capsys.readouterr().out
    for row in rows:
        if row.command.startswith("python "):
            assert (Path(cli.__file__).parents[2] / row.command.split()[1]).is_file(), row.command


def test_remedies_are_run_with_their_item_behind_what_they_are_for():
    names = list(ledger.recipes_of("mpoe-tab1"))
    assert names.index("experts-dense") < names.index("experts-mpoe-longer") < names.index("experts-dense-longer")
    assert ledger.recipes_of("mpop-fig2") == ()  # studies, no recipes
    files = [study.path.name for study in ledger.studies_of("mpop-fig2")]
    others = ["low_rank_query.json", "low_rank_query_five.json", "low_rank_one_step.json"]  # remedies
    assert files == ["low_rank.json", "weights_plans.json", *others, "weights_plans_ffn.json"]


def test_a_plan_says_what_is_there(elsewhere_too, monkeypatch, capsys):
    only(monkeypatch, "mpop-tab1", "offline-rte-majority", (0, 1, 2))
    write("offline-rte-majority", 1)
    assert cli.main(["run", "mpop-tab1", "--dry-run"]) == 0
    first, second, cost = capsys.readouterr().out.splitlines()
    assert first.startswith("mpop-tab1 at scale smoke: 1 recipes, 3 runs, 1 with a record, 7 s in all; to go: 2 runs, ")
    assert second == "offline-rte-majority  seeds 0 1 2, with a record: 1"
    what = "nothing is trained: 0 device-hours [all its recipes, each at its largest scale]"
    assert cost == f"cost at scale laptop, an estimate: {what}"
    assert cli.main(["run", "mpop-tab1", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["runs"] == [{"recipe": "offline-rte-majority", "seed": k, "record": k == 1} for k in range(3)]
    assert (plan["item"], plan["scale"], plan["without"]) == ("mpop-tab1", "smoke", []) and plan["seconds"] == 14
    assert plan["costs"][0]["hours"] == 0
    assert cli.main(["run", "mpop-fig2", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["runs"] == [] and "scripts/low_rank_study.py" in plan["without"][0]
    assert len(plan["studies"]) == 6 and not any(study["file"] for study in plan["studies"])
    assert cli.main(["run", "mpop-tab1", "--dry-run", "--scale", "paper"]) == 2
    paragraph(capsys.readouterr().err, "not every claim about mpop-tab1 has recipes of scale 'paper'")


def test_the_papers_own_scale_is_refused_with_what_works(elsewhere_too, monkeypatch, capsys):
    """No recipe of an item has the paper's model and data: the refusal names its largest scale, by a command that
    works, and the pre-trainings of the paper, which do have the scale.
    """
    monkeypatch.setattr(flops, "_step", lambda *_: (10**12, flops.COUNTED))
    for item in ledger.runnable():
        assert cli.main(["run", item, "--scale", "paper"]) == 2, item
        said = paragraph(capsys.readouterr().err, f"not every claim about {item} has recipes of scale 'paper'", "cost")
        assert f" The largest of these: {ledger.item_command(item, 'gpu')} (--dry-run says" in said
        named = set(re.findall(r"mpolab run (\S+) --scale paper --data-dir DIR", said))
        assert named == set(PRE_TRAININGS.get(item, ()))
        assert all("paper" in recipes.RECIPES[name].scales for name in named)
    assert cli.main(["run", "mpop-tab3", "--scale", "paper"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    command = said[said.index("mpolab run") : said.index(" (--dry-run")]
    assert command == "mpolab run mpop-tab3 --scale gpu --data-dir DIR"
    assert cli.main([*command.split()[1:], "--dry-run"]) == 0
    assert "[its recipes with the paper's models, without remedies]" in capsys.readouterr().out
    assert not list(elsewhere_too.rglob("*.json")), "nothing was run"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["demo", "--dry-run"], "are for an item"),
        (["demo", "--jobs", "2"], "are for an item"),
        (["mpop-tab5", "--jobs", "0"], "not above 0"),
        (["mpop-tab5", "--jobs", "many"], "invalid whole number"),
        (["demo", "--processes", "-1"], "not above 0"),
        (["mpop-tab5", "--dry-run", "--seed", "4"], "leave out --seed"),
    ],
)
def test_wrong_usage(elsewhere_too, capsys, argv, words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", *argv])
    assert stop.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--jobs", "--processes"])
def test_processes_of_processes_are_refused(elsewhere_too, capsys, monkeypatch, option):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        cli.main(["run", "mpop-tab5", option, "2"])
    assert f"torchrun has started these processes already: leave out {option}" in capsys.readouterr().err


# -- studies ---------------------------------------------------------------------------------------------

SCRIPT = """
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["MPOLAB_RESULTS"])
part = folder / "part"
if "fail" in sys.argv:
    part.write_text("a part")
    sys.exit("no more disk")
number = int(pathlib.Path(sys.argv[sys.argv.index("--data-dir") + 1], "number").read_text())
(folder / "made.json").write_text(json.dumps([number, part.is_file()]))
"""


@pytest.fixture
def study(elsewhere_too, monkeypatch):
    """An item that one study decides, whose script writes [what stands in the folder of data, whether a part of an
    earlier try is there]. Returns a function that sets its command."""
    (elsewhere_too / "scripts").mkdir()
    (elsewhere_too / "scripts" / "make.py").write_text(SCRIPT)
    (elsewhere_too / "number").write_text("7")
    monkeypatch.setattr(study_runs, "CHECKOUT", elsewhere_too)

    def values(path):
        number = json.loads(path.read_text())[0]
        return [number] * 3, [number + 1, number + 1.1, number + 1.2], [0, 1, 2], "small"

    def decides(command: str) -> None:
        each = Studied("made.json", values, command, "a second", "lower", "it - one more")
        for claim in papers.CLAIMS.values():
            if claim.item == "mpop-fig2":
                monkeypatch.setitem(ledger.EVIDENCE, claim.id, each)
                monkeypatch.delitem(ledger.REMEDIES, claim.id, raising=False)
                monkeypatch.delitem(ledger.LOOKS, claim.id, raising=False)

    return decides


def test_an_item_makes_its_studies(study, elsewhere_too, capsys):
    study("python scripts/make.py --data-dir DIR")
    made, argv = elsewhere_too / "results" / "made.json", ["run", "mpop-fig2", "--data-dir", str(elsewhere_too)]
    assert cli.main(argv) == 0
    out, err = capsys.readouterr()
    assert json.loads(made.read_text()) == [7, False]
    assert "to go, a second" in err and "1/1" in err and "smaller scale: same direction" in out
    assert not (elsewhere_too / "work" / "studies" / "made").exists()

    made.write_text("[8, false]")
    assert cli.main(argv) == 0 and made.read_text() == "[8, false]", "what has its file is not made again"
    assert "with its file" in capsys.readouterr().err
    assert cli.main([*argv, "--force", "--quiet", "--jobs", "2"]) == 0
    assert json.loads(made.read_text()) == [7, False] and capsys.readouterr().err == ""


def test_a_study_that_fails_leaves_what_was_there_and_goes_on(study, elsewhere_too, capsys):
    made = elsewhere_too / "results" / "made.json"
    made.parent.mkdir()
    made.write_text("[8, false]")
    argv = ["run", "mpop-fig2", "--data-dir", str(elsewhere_too), "--quiet"]
    study("python scripts/make.py fail --data-dir DIR")
    assert cli.main([*argv, "--force"]) == 2
    paragraph(capsys.readouterr().err, "1 of 1 runs of mpop-fig2 failed", "make.py fail", "no more disk")
    assert made.read_text() == "[8, false]"

    made.unlink()
    study("python scripts/make.py --data-dir DIR")
    assert cli.main(argv) == 0 and json.loads(made.read_text()) == [7, True], "it finds the part"


def test_what_a_study_needs_is_said_before_anything_runs(study, elsewhere_too, capsys):
    study("python scripts/make.py --data-dir DIR")
    assert cli.main(["run", "mpop-fig2"]) == 2
    paragraph(capsys.readouterr().err, "scripts/make.py --data-dir DIR reads a folder of yours")
    (elsewhere_too / "scripts" / "make.py").unlink()
    assert cli.main(["run", "mpop-fig2", "--data-dir", "x", "--jobs", "2"]) == 2
    paragraph(capsys.readouterr().err, "part of this project's checkout and not of the installed package")
    assert not (elsewhere_too / "work").exists()


def test_every_study_has_its_script_and_writes_where_it_is_told(elsewhere_too):
    """The scripts themselves, as far as --help: all have the results folder from the environment."""
    studies = {study.command: study for item in papers.ITEMS for study in ledger.studies_of(item)}
    assert len(studies) == 14
    for study in studies.values():
        _, script, *_ = study_runs.words(study, "folder")
        assert "results_folder()" in Path(script).read_text(), script


# -- what a training costs -------------------------------------------------------------------------------


def bert_by_hand(hidden, inner, layers, rows, length, outputs):
    """Forward: every matrix 2 I J a token, attention's two products; backward: two products for each of them."""
    tokens = rows * length
    layer = tokens * 2 * (4 * hidden**2 + 2 * hidden * inner) + rows * 2 * (2 * length**2 * hidden)
    return 3 * (layers * layer + 2 * rows * (hidden**2 + hidden * outputs))


def test_a_step_is_what_the_formula_says():
    dense = flops.of_recipe(recipes.RECIPES["mpop-rte-full"], "gpu")  # 32 rows of 128 tokens
    assert dense.steps == 3 * -(-(2490 - 500) // 32) and dense.how == flops.COUNTED
    assert dense.flops == dense.steps * bert_by_hand(384, 1536, 6, 32, 128, 2)
    last = flops.of_recipe(recipes.RECIPES["mpop-rte-last-1"], "gpu")
    forward = bert_by_hand(384, 1536, 6, 32, 128, 2) / 3
    assert forward < last.flops / last.steps < 2 * forward, "one layer of six goes backward"
    whole, frozen = (flops.of_recipe(recipes.RECIPES[f"mpop-rte-{way}"], "gpu") for way in ("full-mpo", "lfa"))
    assert dense.flops < frozen.flops < whole.flops, "matrices are rebuilt, and centres get no gradient"
    assert flops.of_recipe(recipes.RECIPES["mpop-rte-majority"], "gpu") == flops.Training(0, 0.0, flops.COUNTED)


def test_experts_by_the_parameters_that_a_token_meets():
    """GPT-2: twelve layers of 768, blocks of 3072, a vocabulary of 50,257; 2,000 steps of 32 rows of 512 tokens."""
    tokens, attention, block, head = 2000 * 32 * 512, 4 * 768**2, 2 * 768 * 3072, 50257 * 768

    def found(name):
        return flops.of_recipe(recipes.RECIPES[f"experts-{name}"], "gpu")

    def expected(experts):
        return 6 * tokens * (12 * (attention + experts * block) + head)

    for name, experts in (("mpoe", 1), ("mpoe-16", 1), ("moe", 2), ("switch", 1), ("moefication", 0.25)):
        assert found(name).how == flops.BY_PARAMETERS and found(name).flops == pytest.approx(expected(experts)), name
    assert found("dense").how == flops.COUNTED
    with_attention = expected(1) + 3 * 2000 * 12 * 32 * 4 * 512**2 * 768
    assert found("dense").flops == pytest.approx(with_attention, rel=1e-6)
    mini, wide = (flops.of_recipe(recipes.RECIPES[f"experts-{name}"], "laptop").flops for name in ("dense", "wide"))
    more = 4 * 2 * 192 * (1690 - 768)  # numbers in four layers of gpt2-mini; 100 steps of 8 rows of 128 tokens
    assert wide - mini == 6 * more * 100 * 8 * 128


def test_steps_are_those_of_the_records():
    """Of the committed runs, but for those that squeeze: their cuts come with updates of their own."""
    checked = set()
    for record in runs.records(results=REAL):
        recipe = recipes.RECIPES.get(record.recipe)
        if recipe is None or runs.stale(record, recipe) or recipe.method in ("mpop", "mpop_dir", "pretrain_albert"):
            continue
        if recipe.method in ("majority", "bag_of_words"):
            continue
        at = recipe.at(record.scale)
        if at.task == "SQuAD-head":  # passages of 150 words and more in windows of 128 tokens: two or three of each
            assert 2 < record.steps / flops.steps_of(at) < 3, (record.recipe, record.scale)
            continue
        assert flops.steps_of(at) == record.steps, (record.recipe, record.scale)
        checked.add(recipe.method)
    assert {"full", "full_compared", "mpop_full", "last_2", "experts", "pretrain_mpobert"} <= checked


def test_steps_of_sets_that_are_known_and_of_others():
    at = recipes.RECIPES["table1-sst-2-minilm"].at("gpu")
    assert flops.steps_of(at) == 3 * -(-(67349 - 500) // 16)
    assert flops.steps_of(dataclasses.replace(at, select=None)) == 3 * -(-(67349 - 1000) // 16)
    assert flops.steps_of(dataclasses.replace(at, train=10**6)) == 3 * -(-67349 // 16)
    assert flops.steps_of(dataclasses.replace(at, task="MNLI-10k")) is None
    few = recipes.RECIPES["table3-mnli-10k-minilm-30"].at("gpu")  # three classes, batches of 10, 20 epochs
    assert flops.steps_of(few) == 20 * 9
    several = recipes.RECIPES["table2-minilm"].at("laptop")
    assert flops.steps_of(several) == 4 * sum(-(-200 // several.settings.batch_size) for _ in several.tasks)


def test_hours_are_operations_by_a_rate_that_is_said():
    names = ["mpop-rte-full", "mpop-rte-majority"]
    cost = hours.cost_of(names, "gpu")
    once = flops.of_recipe(recipes.RECIPES["mpop-rte-full"], "gpu").flops
    assert cost.flops == 5 * once and cost.trainings == 5 + 3
    assert cost.hours == pytest.approx(5 * once / (0.4 * 312e12) / 3600)
    assert "40% of an A100's bf16 peak (assumed)" in str(cost) and "counted" in str(cost) and "estimate" in str(cost)
    assert f"{cost.hours:.2g} device-hours" in str(cost)
    large = hours.cost_of(hours.at_printed_sizes("mpop-rte-full"), "paper")  # BERT-base, five seeds
    assert large.flops == 5 * 3 * -(-(2490 - 500) // 32) * bert_by_hand(768, 3072, 12, 32, 128, 2)
    told = dict(hours.item_costs("mpop-tab1"))
    assert told["its recipes with the paper's models, without remedies"].scale == "paper"
    assert "the paper's pre-training" not in told
    tables = ("mpop-tab3", "mpop-tab5")
    sizes = {item: hours.at_printed_sizes("mpop-rte-full", item)[0].at("paper").model for item in tables}
    assert sizes == {"mpop-tab3": "albert-base-v2", "mpop-tab5": "bert-base-uncased"}
    first = ledger.recipes_of("mpop-tab3", remedies=False)
    albert = hours.cost_of([hours.at_printed_sizes(name, "mpop-tab3")[0] for name in first], "paper")
    told = dict(hours.item_costs("mpop-tab3"))
    assert told["its recipes with the paper's models, without remedies"] == albert
    assert albert != hours.cost_of([hours.at_printed_sizes(name)[0] for name in first], "paper")
    (variant,) = (each.at("paper") for each in hours.at_printed_sizes("table45-rte-rank-8"))
    assert variant.options["changes"] == {"adapter_rank": 8}, "without the factors of a small model's matrices"
    here = hours.rate("laptop", "fp32")
    assert 1e8 < here.flops < 1e13 and "measured on this machine" in here.about
    unknown = dataclasses.replace(recipes.RECIPES["mpop-rte-full"], model="somebody/something")
    assert flops.of_recipe(unknown, "gpu") is None
    paper = hours.cost_of(["mpobert-12"], "paper")
    assert paper.rates == ("125 TFLOP/s, 40% of an A100's fp16 peak (assumed)",)
    # 10,000 steps of 4,096 rows of 128 tokens: matrices of twelve layers, and the output layer over the vocabulary
    dense = 12 * (4 * 768**2 + 2 * 768 * 3072) + 30000 * 128 + 768 * 128
    least = 6 * dense * 10_000 * 4096 * 128
    assert least < paper.flops < 1.25 * least, "attention, adapters and rebuilt matrices come on top"


# -- runs side by side -----------------------------------------------------------------------------------


def test_two_at_once_one_of_which_fails_and_the_rest_later(elsewhere_too, monkeypatch, capsys):
    """Real processes: somebody else has the run of one seed under way; asked again, only that one is run."""
    recipe = recipes.RECIPES["offline-rte-majority"]
    only(monkeypatch, "mpop-tab1", recipe.name, (0, 1))
    folder = elsewhere_too / "results" / recipe.name
    rows = recipes.rows(recipe.at("smoke"), 1)
    which = hashlib.sha256(json.dumps(rows.sha256, sort_keys=True).encode()).hexdigest()[:8]
    work_of_1 = elsewhere_too / "work" / recipe.name / f"smoke-seed1-{recipe.hash('smoke')}-{which}.lock"
    with locks.held(work_of_1, "another test"):
        assert cli.main(["run", "mpop-tab1", "--jobs", "2"]) == 2
    err = capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["smoke-seed0.json"]
    last = paragraph(err, "1 of 2 runs of mpop-tab1 failed, the others have their records", "seed 1 (exit status 2)")
    assert f"is being run by another process (number {os.getpid()})" in last
    assert "2/2" in err and "to go: 2 runs" in err and "device-hours" in err
    log = elsewhere_too / "work" / recipe.name / f"{recipe.name}-smoke-seed1.log"
    assert "is being run by another process" in log.read_text()

    before = (folder / "smoke-seed0.json").read_bytes()
    assert cli.main(["run", "mpop-tab1", "--jobs", "auto", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [record["seed"] for record in json.loads(out)] == [0, 1] and "to go: 1 run, " in err
    assert (folder / "smoke-seed0.json").read_bytes() == before and not log.exists()
    record = runs.load(folder / "smoke-seed1.json")
    assert record.threads == 1 and record.command == f"mpolab run {recipe.name} --scale smoke --seed 1"


def test_two_processes_train_one_run(elsewhere_too, monkeypatch, capsys):
    """torchrun on the CPU, by way of an item; offline rows of a real task, which are kept apart."""
    only(monkeypatch, "mpop-tab1", "table1-rte-albert-mini", (0,))
    argv = ["run", "mpop-tab1", "--source", "offline", "--processes", "2", "--json", "--quiet"]
    assert cli.main(argv) == 0
    out, err = capsys.readouterr()
    (record,) = json.loads(out)
    assert err == "" and (record["processes"], record["steps"]) == (2, 4)
    assert (elsewhere_too / "results" / "table1-rte-albert-mini" / "offline" / "smoke-seed0.json").is_file()


def test_all_but_the_first_process_leave_without_the_last_record(elsewhere_too, monkeypatch):
    """The first one writes it, perhaps after the others are there: here it never does."""
    only(monkeypatch, "mpop-tab1", "offline-rte-majority", (0,))
    asked, made = work("mpop-tab1", "smoke"), []
    monkeypatch.setenv("RANK", "1")
    assert ledger.run_item(asked, progress=False, run=lambda *given, **_: made.append(given[:3])) == []
    assert made == [("offline-rte-majority", "smoke", 0)] and not asked.runs[0].path.exists()
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(DataNotFoundError, match="no record"):
        ledger.run_item(asked, progress=False, run=lambda *_, **__: None)


def test_one_recipe_under_torchrun_is_the_same_command(elsewhere_too, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "execve", lambda *given: asked.append(given) or 0)
    argv = ["demo", "--scale", "smoke", "--seed", "2", "--source", "offline", "--json"]
    assert cli.main(["run", *argv, "--processes", "2"]) == 0
    ((path, command, environment),) = asked
    assert path == command[0] == sys.executable and environment["OMP_NUM_THREADS"] == "1"
    begin = command.index("mpolab")
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert command[begin + 1 :] == ["run", "demo", "--scale", "smoke", "--seed", "2", "--source", "offline", "--json"]
    assert command[command.index("--nproc-per-node") + 1] == "2" and command[begin - 1] == "-m"


def test_what_a_run_is_told(elsewhere_too, monkeypatch):
    only(monkeypatch, "mpop-tab1", "offline-rte-majority", (4,))
    (run,) = work("mpop-tab1", "smoke").runs
    plain = [
        sys.executable,
        "-m",
        "mpolab",
        "run",
        "offline-rte-majority",
        "--scale",
        "smoke",
        "--seed",
        "4",
        "--quiet",
    ]
    assert list(parallel.command(run)) == plain
    assert list(parallel.command(run, "glue", "folder", resume=False)) == [
        *plain, "--data-dir", "glue", "--source", "folder", "--force",
    ]  # fmt: skip
    several = parallel.command(run, processes=3)
    assert several[1:3] == ("-m", "torch.distributed.run") and several[several.index("--nproc-per-node") + 1] == "3"
    assert list(several[several.index("mpolab") - 1 :]) == plain[1:]


def test_as_many_at_once_as_fit_if_nobody_says_how_many(elsewhere_too, monkeypatch, capsys):
    assert ledger.default_jobs() == parallel.AUTO
    asked = []
    monkeypatch.setattr(ledger, "run_side_by_side", lambda work, *given, **more: asked.append(given) or [])
    only(monkeypatch, "mpop-tab1", "offline-rte-majority", (0,))
    for argv in ([], ["--jobs", "3"], ["--processes", "2", "--jobs", "1"]):
        assert cli.main(["run", "mpop-tab1", "--quiet", *argv]) == 0
    assert asked == [(parallel.AUTO, 1), (3, 1), (1, 2)]
    capsys.readouterr()
    monkeypatch.setattr(parallel, "places", lambda processes: ("rss", (crew.Place(),)))
    assert ledger.default_jobs() == 1
    monkeypatch.undo()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert ledger.default_jobs() == 1


def test_threads_are_divided(monkeypatch):
    monkeypatch.setattr(crew, "cores", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [parallel.threads_each(jobs) for jobs in (1, 3, 16, 99)] == [16, 5, 1, 1]
    assert parallel.threads_each(2, processes=4) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert parallel.threads_each(1) == 2 and parallel.threads_each(16) == 1


def test_memory_is_that_of_the_recipes_own_records(elsewhere_too, monkeypatch):
    only(monkeypatch, "mpop-tab1", "offline-rte-majority", (0, 1, 2))
    recipe = recipes.RECIPES["offline-rte-majority"]
    assert parallel.memory_of(work("mpop-tab1", "smoke"), recipe.name, "rss") is None

    for seed, peak in ((0, 3 << 30), (1, 1 << 30)):
        write(recipe.name, seed, peak)
    asked = work("mpop-tab1", "smoke")
    wanted = parallel.PROCESS_BYTES["rss"] + 4000 + round(1.15 * (3 << 30))
    assert parallel.memory_of(asked, recipe.name, "rss") == wanted
    assert parallel.memory_of(asked, recipe.name, "rss", processes=2) == 2 * wanted
    assert parallel.memory_of(asked, recipe.name, "cuda") is None, "a CPU's record says nothing of a GPU"
    write(recipe.name, 2, 2 << 30, "cuda")
    assert parallel.memory_of(asked, recipe.name, "cuda") == parallel.PROCESS_BYTES["cuda"] + round(1.15 * (2 << 30))
    assert parallel.memory_of(asked, recipe.name, "rss") == wanted


def test_auto_needs_to_know_what_is_free(elsewhere_too, monkeypatch):
    only(monkeypatch, "mpop-tab1", "offline-rte-majority", (0,))
    monkeypatch.setattr(parallel, "places", lambda processes: ("rss", (crew.Place(),)))
    with pytest.raises(TrainingError, match="does not tell how much memory is free"):
        parallel.run_side_by_side(work("mpop-tab1", "smoke"), progress=False)


def test_a_number_that_one_scale_alone_has_keeps_no_other_from_being_run(monkeypatch):
    alone = dataclasses.replace(ledger.EVIDENCE["mpobert-fig3-negligible"], among=("laptop",))
    monkeypatch.setitem(ledger.EVIDENCE, "mpobert-fig3-negligible", alone)
    for scale in ("smoke", "laptop", "gpu"):
        ledger.check_scale("mpobert-fig3", scale)
    with pytest.raises(UnknownNameError, match="all have: smoke, laptop, gpu"):
        ledger.check_scale("mpobert-fig3", "paper")
