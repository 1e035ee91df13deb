"""Sweeps: every point once, the best by select, and nothing lost when one is interrupted."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace

import pytest

from mpolab import ledger, recipes
from mpolab import sweep as module
from mpolab.cli import main
from mpolab.errors import TrainingError, UnknownNameError
from mpolab.sweep import sweep

optuna = pytest.importorskip("optuna")
GRID = {"lr": [1e-4, 3e-4, 1e-3], "batch_size": [8, 16]}
POINTS = [dict(zip(GRID, values)) for values in itertools.product(*GRID.values())]


def score_of(lr: float, batch: int) -> float:
    """The best point is 3e-4 with 16."""
    return 90 - 10 * abs(math.log10(lr / 3e-4)) - (batch == 8)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Training replaced by a formula; the list of points that were trained."""
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "build" / "runs"))
    monkeypatch.delenv("MPOLAB_SCALE", raising=False)
    done = []

    def fake(recipe, scale, seed, data_dir, source, progress, results):
        settings = recipe.at(scale).settings
        done.append((settings.lr, settings.batch_size))
        assert seed == 100 and results is not None and "results" not in results.parts[-1:]
        value = trained_hook(settings.lr, settings.batch_size)
        return SimpleNamespace(scores={"select": {"accuracy": value}, "dev": {"accuracy": -1}})

    trained_hook = score_of

    def set_hook(hook):
        nonlocal trained_hook
        trained_hook = hook

    done_and_hook = SimpleNamespace(done=done, use=set_hook)
    monkeypatch.setattr(recipes, "run", fake)
    return done_and_hook


def test_every_point_once_and_the_best_first(trained):
    found = sweep("demo", "smoke", GRID, progress=False)
    assert sorted(trained.done) == sorted((p["lr"], p["batch_size"]) for p in POINTS)
    assert found.best == {"lr": 3e-4, "batch_size": 16} and found.metric == "accuracy"
    assert [t["score"] for t in found.trials] == sorted((t["score"] for t in found.trials), reverse=True)
    for trial in found.trials:
        assert trial["score"] == pytest.approx(score_of(trial["lr"], trial["batch_size"]))
    again = sweep("demo", "smoke", GRID, progress=False)
    assert again == found and len(trained.done) == 6, "a finished sweep runs nothing"
    assert json.loads(json.dumps(found.to_dict()))["best"] == found.best


def test_a_larger_grid_goes_on_from_a_smaller_one(trained):
    small = sweep("demo", "smoke", {"lr": [1e-4], "batch_size": [8, 16]}, progress=False)
    assert len(small.trials) == 2
    found = sweep("demo", "smoke", GRID, progress=False)
    assert len(trained.done) == 6 and len(found.trials) == 6
    assert sweep("demo", "smoke", {"lr": [1e-4], "batch_size": [8, 16]}, progress=False) == small


@pytest.mark.parametrize("how", [KeyboardInterrupt, OSError])
def test_an_interrupted_sweep_goes_on(trained, how):
    def broken(lr, batch):
        if len(trained.done) == 3:
            raise how("stop")
        return score_of(lr, batch)

    trained.use(broken)
    with pytest.raises(how):
        sweep("demo", "smoke", GRID, progress=False)
    trained.use(score_of)
    found = sweep("demo", "smoke", GRID, progress=False)
    assert len(trained.done) == 7 and len(set(trained.done)) == 6, "only the interrupted point is done again"
    assert found.best == {"lr": 3e-4, "batch_size": 16} and all(t["score"] is not None for t in found.trials)


def test_a_killed_sweep_goes_on(trained, monkeypatch, tmp_path):
    """As after kill -9: the trial stands as running in the database, and nobody works on it."""
    first = next(iter(POINTS))

    class Killed(BaseException):
        pass

    def dead(self, *a, **k):
        raise Killed

    def killing(lr, batch):
        monkeypatch.setattr(optuna.Study, "tell", dead)
        monkeypatch.setattr(optuna.storages.RDBStorage, "set_trial_state_values", dead)
        raise Killed

    trained.use(killing)
    monkeypatch.setattr(module, "_queue_again", lambda *a: None)
    with pytest.raises(Killed):
        sweep("demo", "smoke", GRID, progress=False)
    monkeypatch.undo()
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "build" / "runs"))
    count = []
    monkeypatch.setattr(
        recipes,
        "run",
        lambda recipe, scale, *a, **k: count.append(1)
        or SimpleNamespace(scores={"select": {"accuracy": score_of(
            recipe.at(scale).settings.lr, recipe.at(scale).settings.batch_size)}}),
    )  # fmt: skip
    found = sweep("demo", "smoke", GRID, progress=False)
    assert len(count) == 6 and found.best == {"lr": 3e-4, "batch_size": 16}
    assert next(t for t in found.trials if t["lr"] == first["lr"])["score"] is not None


def test_several_workers_divide_the_grid(trained, tmp_path):
    """A second worker that joins in the middle of the first one's training takes other points."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    inner = []

    def joined(lr, batch):
        if not inner:
            inner.append(1)
            inner.append(sweep("demo", "smoke", GRID, storage=url, progress=False))
        return score_of(lr, batch)

    trained.use(joined)
    found = sweep("demo", "smoke", GRID, storage=url, progress=False)
    assert len(trained.done) == 6 and len(set(trained.done)) == 6
    assert found.best == {"lr": 3e-4, "batch_size": 16}


def test_a_training_that_fails_is_an_answer(trained):
    def failing(lr, batch):
        if lr == 1e-3:
            raise TrainingError("the loss is nan")
        return score_of(lr, batch)

    trained.use(failing)
    found = sweep("demo", "smoke", GRID, progress=False)
    assert [t["score"] for t in found.trials if t["lr"] == 1e-3] == [None, None]
    assert found.trials[-1]["lr"] == 1e-3 and found.best["lr"] == 3e-4
    sweep("demo", "smoke", GRID, progress=False)
    assert len(trained.done) == 6, "what failed by itself is not tried again"
    trained.use(lambda lr, batch: (_ for _ in ()).throw(TrainingError("nan")))
    with pytest.raises(TrainingError, match="every training"):
        sweep("demo", "laptop", GRID, progress=False)


def test_grids_and_recipes_that_cannot_be_meant(trained):
    with pytest.raises(UnknownNameError, match="batch_size"):
        sweep("demo", "smoke", {"batchsize": [8]}, progress=False)
    with pytest.raises(TrainingError, match="no values"):
        sweep("demo", "smoke", {"lr": []}, progress=False)
    with pytest.raises(TrainingError, match="lr=-1"):
        sweep("demo", "smoke", {"lr": [-1.0]}, progress=False)
    for name in ("offline-cola-majority", "albert-mini"):
        with pytest.raises(TrainingError, match="cannot be swept"):
            sweep(name, "smoke", GRID, progress=False)
    assert not trained.done


def test_a_t5_with_experts_can_be_swept(trained):
    """Its method loads the model itself; what matters is that it trains on one task."""
    found = sweep(
        "experts-glue-sst-2-mpoe", "smoke", {"lr": [1e-2], "batch_size": [8]}, source="offline", progress=False
    )
    assert trained.done == [(1e-2, 8)] and len(found.trials) == 1
    with pytest.raises(TrainingError, match="cannot be swept"):
        sweep("experts-together-mpoe", "smoke", GRID, source="offline", progress=False)


def test_the_command(trained, capsys):
    asked = ["sweep", "demo", "--lr", "1e-4", "3e-4", "1e-3", "--batch-size", "8", "16", "--quiet"]
    assert main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["learning", "rate", "batch", "size", "select", "accuracy"]
    assert lines[1].split() == ["0.0003", "16", "90.00"] and len(lines) == 7
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"] == {"lr": 3e-4, "batch_size": 16}


def test_one_point_for_real(tmp_path, monkeypatch):
    monkeypatch.setenv("MPOLAB_WORK", str(tmp_path / "runs"))
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path / "results"))
    found = sweep("demo", "smoke", {"max_steps": [1, 2], "batch_size": [8]}, progress=False)
    assert all(0 <= trial["score"] <= 100 for trial in found.trials)
    assert not (tmp_path / "results").exists(), "a sweep leaves no record"


# -- the recipes of an item ------------------------------------------------------------------------------


def made(monkeypatch, task: str) -> None:
    """mpop-tab5, as if two recipes that can be swept and two that cannot decided it."""
    names = [f"offline-{task}-full", f"offline-{task}-majority", "albert-mini", "demo"]
    monkeypatch.setattr(ledger, "recipes_of", lambda item, scale: tuple(names) if item == "mpop-tab5" else ())


@pytest.mark.parametrize("url", ["nonsense://somebody:secret@host/x", "no address at all"])
def test_a_database_that_cannot_be_opened(url):
    with pytest.raises(TrainingError, match=r"database .* cannot be opened.*sqlite:////") as refused:
        sweep("demo", "smoke", GRID, storage=url, progress=False)
    assert "secret" not in str(refused.value)


def studies(url: str) -> list[str]:
    return sorted(study.study_name for study in optuna.get_all_study_summaries(url))


def test_the_recipes_of_an_item_one_after_the_other_in_one_database(trained, monkeypatch, capsys, tmp_path):
    made(monkeypatch, "qnli")
    asked = ["sweep", "mpop-tab5", "--lr", "1e-4", "3e-4", "--batch-size", "8", "--quiet"]
    assert main(asked) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "offline-qnli-full" and out[4] == "demo" and len(out) == 8
    assert out[2].split() == out[6].split() == ["0.0003", "8", "89.00"]
    assert trained.done == [(1e-4, 8), (3e-4, 8)] * 2
    names = studies(f"sqlite:///{tmp_path / 'build' / 'sweeps' / 'mpop-tab5.db'}")
    assert [name.rsplit("-", 3)[0] for name in names] == ["demo", "offline-qnli-full"], "a study each"
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["recipe"] for each in found] == ["offline-qnli-full", "demo"] and len(trained.done) == 4
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    assert main([*asked, "--storage", url]) == 0 and len(trained.done) == 8
    assert studies(url) == names


def test_a_sweep_of_an_item_goes_on_after_a_recipe_that_fails(trained, monkeypatch, capsys):
    made(monkeypatch, "rte")
    failing = iter([True, True])

    def use(lr, batch):
        if next(failing, False):
            raise TrainingError("nan")
        return score_of(lr, batch)

    trained.use(use)
    assert main(["sweep", "mpop-tab5", "--lr", "1e-4", "3e-4", "--batch-size", "8", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "demo" and "1 of 2 sweeps came to nothing" in err and "'offline-rte-full'" in err


def test_what_cannot_be_swept_is_refused_with_what_works(monkeypatch, capsys):
    assert main(["sweep", "mpop-fig2", "--quiet"]) == 2
    assert "mpop-fig2 has no recipe to sweep: 2 claims decided by a study" in capsys.readouterr().err
    assert main(["sweep", "mpobert-tab1", "--quiet", "--scale", "paper"]) == 2
    refused = " ".join(capsys.readouterr().err.split())
    assert "has recipes of scale 'paper'; all have: smoke, laptop, gpu." in refused
    monkeypatch.setattr(ledger, "recipes_of", lambda item, scale: ("albert-mini",))
    assert main(["sweep", "mpop-tab5", "--quiet"]) == 2
    assert "none of albert-mini can be swept" in capsys.readouterr().err
