"""The study of weights: its statistics by hand, files that are not whole, the script on a tiny model, its records."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from mpolab import ledger, runs
from mpolab.errors import CheckpointError, LedgerError
from mpolab.ledger.remedies import REMEDIES
from mpolab.ledger.studies import EVERY_LAYER, centres_of, growth_of, spread_of, weights
from mpolab.mpo import MPO
from mpolab.plans import make_plan
from mpolab.pretrained import Pretrained
from tests.small import tiny_albert, tiny_model, tiny_tokenizer

ROOT = Path(__file__).parents[1]

ROWS = {
    "plans": [
        {"plan": plan, "ratio": ratio, "error": ratio * error}
        for plan, error in (("a", 0.4), ("b", 0.6), ("c", 0.8))
        for ratio in (1.0, 0.5)
    ],
    "growth": [
        {"level": "fine", "cut": 0, "errors": [1, 2, 8]},
        {"level": "fine", "cut": 1, "errors": [3, 3]},
        {"level": "fine", "cut": EVERY_LAYER, "errors": [1, 4, 9]},
        {"level": "deep", "cut": 0, "errors": [1, 1, 1]},
    ],
    "centres": [
        {"kind": kind, "measure": "error left", "rounds": 8, "layer": layer, "random": 0.9}
        for kind, layer in (("query", 0.8), ("FFN in", 0.6))
    ],
}


def write(path, of, rows=None, **changes):
    rows = [{"seed": seed, **row} for seed in (0, 1, 2) for row in ROWS[of]] if rows is None else rows
    about = {"format": "mpolab.weights/1", "case": of, "scale": "few", "seeds": [0, 1, 2], "rows": rows}
    path.write_text(json.dumps({**about, **changes}))
    return path


@pytest.mark.parametrize(
    ("case", "values", "first", "second"),
    [
        ("plans", spread_of(0.5, "a", "b"), 0.4, 0),  # (0.3 - 0.2) / 0.25
        ("plans", spread_of(0.5), 2 / 3, 0),  # (0.4 - 0.2) / 0.3
        ("growth", growth_of("fine", 0, 1), 2, 1),  # the cube root of 2 x 4 x 1
        ("growth", growth_of("fine", 0), 8**0.5, 1),
        ("growth", growth_of("fine", EVERY_LAYER), 3, 1),
        ("growth", growth_of("deep", 0), 1, 1),
        ("centres", centres_of("error left", 8), 0.7, 0.9),
    ],
)
def test_a_number_of_a_seed_by_hand(tmp_path, case, values, first, second):
    one, other, seeds, scale = values(write(tmp_path / "study.json", case))
    assert list(one) == pytest.approx([first] * 3) and list(other) == pytest.approx([second] * 3)
    assert (seeds, scale) == ([0, 1, 2], "few")


def test_seeds_are_kept_apart(tmp_path):
    rows = [{"seed": seed, **row} for seed in (0, 1, 2) for row in ROWS["centres"]]
    rows[4]["layer"] = 0.2  # the second seed's query comes third
    first, *_ = centres_of("error left", 8)(write(tmp_path / "study.json", "centres", rows))
    assert first == pytest.approx([0.7, 0.7, 0.4])


@pytest.mark.parametrize(
    ("case", "values", "says"),
    [
        ("plans", spread_of(0.5, "a", "d"), "no plan 'd'"),
        ("plans", spread_of(0.3), "no ratio 0.3"),
        ("growth", growth_of("fine", 0, 2), "no cut 2"),
        ("growth", growth_of("deep", 1), "no level 'deep'"),
        ("centres", centres_of("error left", 9), "no measure 'error left'"),
    ],
)
def test_what_a_study_lacks_is_named(tmp_path, case, values, says):
    with pytest.raises(LedgerError, match=says):
        values(write(tmp_path / "study.json", case))


def test_a_study_of_weights_must_be_whole(tmp_path):
    path = tmp_path / "study.json"
    every = [{"seed": seed, **row} for seed in (0, 1, 2) for row in ROWS["growth"]]
    assert len(weights(write(path, "growth"), "growth")["rows"]) == 12
    for rows, changes, says in (
        (None, {"format": "mpolab.low_rank/1"}, "its format is 'mpolab.low_rank/1'"),
        (None, {"case": "plans"}, "of 'plans'"),
        ([], {"seeds": []}, "not enough values"),
        (None, {"seeds": [0, 1]}, "2"),
        (None, {"seeds": [0, 1, 2, 3]}, "not the same rows"),
        (every[:-1], {}, "not the same rows"),
        ([], {}, "not the same rows"),
        ([*every[:-1], {**every[-1], "errors": [1, 1]}], {}, "not the same rows"),
        ([{**row, "errors": [1]} for row in every], {}, "make no step"),
        ([{**row, "errors": 1} for row in every], {}, "not iterable"),
        ([*every[:-1], {**every[-1], "errors": [1, 0, 1]}], {}, "no numbers above 0"),
        ([*every[:-1], {**every[-1], "errors": [1, float("nan"), 1]}], {}, "no numbers above 0"),
        ([*every[:-1], {"seed": 2, "level": "deep", "cut": 0}], {}, "errors"),
    ):
        with pytest.raises(CheckpointError, match=rf"study.json.*{says}.*weights_study.py growth again"):
            weights(write(path, "growth", rows, **changes), "growth")
    for text in ("", "{}", "[]", path.read_text()[:-9]):
        path.write_text(text)
        with pytest.raises(CheckpointError, match="no whole study of weights"):
            growth_of("fine", 0)(path)


# -- the script ------------------------------------------------------------------------------------------


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("weights_study", ROOT / "scripts" / "weights_study.py")
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, found)
    spec.loader.exec_module(found)
    return found


def test_the_script_writes_files_that_can_be_read(script, tmp_path, monkeypatch):
    model = tiny_model("BertModel", seed=3).eval()
    models = {"minilm": model, "albert-mini": tiny_albert(tiny_tokenizer()).albert.eval()}
    monkeypatch.setattr(
        script, "load_pretrained", lambda name: Pretrained(name, "folder", "nowhere", models[name], tiny_tokenizer())
    )
    monkeypatch.setattr(script, "sentences", lambda _: ["a good dog", "it is bad"])  # short enough for it
    monkeypatch.setattr(script, "SEEDS", (0,))  # layers 0 and 1
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["weights_study.py"])
    before = {name: value.clone() for name, value in model.double().state_dict().items()}
    script.main()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items()), "left as it was"
    files = {case: f"weights_{case.replace('-', '_')}.json" for case in script.CASES}
    assert {path.name for path in tmp_path.iterdir()} == set(files.values()) and len(files) == 5
    for case, file in files.items():
        content = weights(tmp_path / file, case)
        assert content["command"] == f"python scripts/weights_study.py {case}" and content["versions"]["torch"]
        assert content["model"].startswith("albert-mini" if case == "growth-albert" else "minilm")
    (spread,), _, _, _ = spread_of(0.5)(tmp_path / "weights_plans.json")
    (other,), _, _, _ = spread_of(0.5, case="plans-ffn")(tmp_path / "weights_plans_ffn.json")
    assert 0 <= spread < 1 and 0 <= other < 1 and spread != other
    rows = weights(tmp_path / "weights_growth_albert.json", "growth-albert")["rows"]
    assert [row["cut"] for row in rows] == [0, EVERY_LAYER] * 3, "copies that are cut apart"
    assert rows[0]["errors"][1] != rows[1]["errors"][1]
    rows = weights(tmp_path / "weights_growth.json", "growth")["rows"]
    assert [row["cut"] for row in rows] == [0, EVERY_LAYER] * 3 and all(len(row["errors"]) == 2 for row in rows)
    assert rows[0]["errors"][0] == rows[1]["errors"][0], "behind layer 0 later cuts are not felt"
    monkeypatch.setattr(sys, "argv", ["weights_study.py", "centre"])
    with pytest.raises(SystemExit):
        script.main()


def test_an_albert_in_every_place_is_the_same_function(script):
    found = Pretrained("tiny", "folder", "nowhere", tiny_albert(tiny_tokenizer()).albert.eval())
    copies = script.in_every_place(found)
    ids = tiny_tokenizer()("a good dog", return_tensors="pt").input_ids
    with torch.no_grad():
        one, other = (each.model(input_ids=ids).last_hidden_state for each in (found, copies))
    assert torch.equal(one, other) and not copies.model.training
    assert sorted({matrix.layer for matrix in script.of_layers(copies).values()}) == [0, 1]
    assert {matrix.layer for matrix in script.of_layers(found).values()} == {0}
    with torch.no_grad():
        next(matrix.weight for matrix in script.of_layers(copies).values() if matrix.layer == 1).zero_()
        assert torch.equal(one, found.model(input_ids=ids).last_hidden_state), "the shared layer is left alone"
        assert not torch.equal(one, copies.model(input_ids=ids).last_hidden_state)


def test_sentences_are_drawn_anew_for_every_seed(script):
    assert len(set(script.sentences(0))) == 16 and script.sentences(0) == script.sentences(0)
    assert not set(script.sentences(0)) & set(script.sentences(1))


def test_a_folded_matrix_is_its_centre_turned_back(script, gaussian):
    """At full bonds auxiliary tensors are rotations: the centre between them is the matrix, folded."""
    matrix = gaussian(32, 24)
    mpo = MPO.decompose(matrix)
    left, right = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for core in mpo.cores[: mpo.plan.centre]:
        left = torch.einsum("xa,aijb->xijb", left, core).reshape(-1, core.shape[3])
    for core in reversed(mpo.cores[mpo.plan.centre + 1 :]):
        right = torch.einsum("aijb,bx->aijx", core, right).reshape(core.shape[0], -1)
    whole = torch.einsum("xa,aijb,by->xijy", left, mpo.central, right)
    folded = script.folded(matrix, make_plan((32, 24)))
    assert torch.allclose(folded, whole.flatten(1, 2), atol=1e-10)


def test_what_can_be_reached_is_reached(script, gaussian):
    a, x, y = gaussian(4, 15).reshape(4, 3, 5), gaussian(4, 4, seed=1), gaussian(5, 5, seed=2)
    assert script.reached(a, torch.einsum("ml,lar->mar", x, a), (1,))[0] < 1e-10
    assert script.reached(a, torch.einsum("ml,lar,rs->mas", x, a, y), (1,), y)[0] < 1e-10
    turned = torch.linalg.qr(x).Q
    (first,), last = script.rotated(a, torch.einsum("ml,lar->mar", turned, a), (1,))
    assert first == pytest.approx(1) and torch.allclose(last, torch.eye(5, dtype=torch.float64), atol=1e-8)
    other = gaussian(4, 15, seed=3).reshape(4, 3, 5)
    errors, (cosines, _) = script.reached(a, other, (1, 5)), script.rotated(a, other, (1, 5))
    assert errors[0] >= errors[1] and cosines[0] <= cosines[1]  # no round makes it worse
    assert errors[1] ** 2 < 1 - cosines[1] ** 2  # rotations, and a factor, are among all matrices


# -- its records -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "pairs"),
    [
        ("mpop-fig2-plans-n", 5),
        ("mpop-fig2-plans", 5),
        ("mpop-alg2-growth", 5),
        ("mpobert-eq1-centres", 5),
        ("mpoe-fig2-apart", 3),
    ],
)
def test_the_evidence_has_a_pair_a_seed(id, pairs):
    every = [ledger.EVIDENCE[id], *(again.evidence for again in (REMEDIES[id].again if id in REMEDIES else ()))]
    for evidence in every:
        found = evidence.found(ROOT / "results")
        assert found.difference.pairs == pairs and found.seeds == tuple(range(pairs))


def test_what_the_rows_say_in_words_is_what_was_measured():
    rows = weights(ROOT / "results" / "weights_centres.json", "centres")["rows"]
    after = [row for row in rows if (row["measure"], row["rounds"]) == ("error left", 8)]
    layer, random = (sum(row[key] for row in after) / len(after) for key in ("layer", "random"))
    row = ledger.row_named(ledger.verdicts_on("mpobert-eq1", results=ROOT / "results").rows, "mpobert-eq1-centres")
    assert f"({layer:.4f} and {random:.4f})" in row.ours and row.verdict.endswith("same direction")
    rows = weights(ROOT / "results" / "weights_growth.json", "growth")["rows"]
    for row in rows:
        if row["level"] == "error 0.1" and row["cut"] != EVERY_LAYER:
            *before, last = [b > a for a, b in zip(row["errors"], row["errors"][1:])]
            assert last and not any(before)
    rows = weights(ROOT / "results" / "weights_growth_albert.json", "growth-albert")["rows"]
    for row in rows:
        if row["level"] == "error 0.1" and row["cut"] != EVERY_LAYER:
            grown = [k for k, (a, b) in enumerate(zip(row["errors"], row["errors"][1:])) if b > a]
            assert grown == ([0] if row["cut"] == 0 else []), "only what layer 0 makes, and only in the next one"
    for name, falls, most in (("growth", [3], 4), ("growth-albert", [], 0)):  # steps from a layer to the next, from 0
        for row in weights(ROOT / "results" / f"weights_{name.replace('-', '_')}.json", name)["rows"]:
            if (row["level"], row["cut"]) == ("error 0.1", EVERY_LAYER):
                steps = [after / before for before, after in zip(row["errors"], row["errors"][1:])]
                assert [k for k, step in enumerate(steps) if step < 1] == falls and max(steps) == steps[most]
                assert name == "growth" or steps == sorted(steps, reverse=True), "the factor falls from step to step"
    for name, each, layers, wanted in (("growth", 4, 6, (18, 20)), ("growth-albert", 8, 12, (14, 12))):
        path = ROOT / "results" / f"weights_{name.replace('-', '_')}.json"
        one, *_ = growth_of("error 0.1", *range(layers - 1), case=name)(path)
        every, *_ = growth_of("error 0.1", EVERY_LAYER, case=name)(path)
        assert round(100 * (1 - sum(one) / 5)) == each
        added_up = layers ** (0.5 / (layers - 1))  # the root of `layers` equal squares, over so many steps
        assert (round(100 * (sum(every) / 5 - 1)), round(100 * (added_up - 1))) == wanted
    rows = weights(ROOT / "results" / "weights_plans_ffn.json", "plans-ffn")["rows"]
    for seed in range(5):
        errors = {row["plan"]: row["error"] for row in rows if (row["seed"], row["ratio"]) == (seed, 0.5)}
        assert max(errors, key=errors.get) == "n = 3" and errors["n = 5, rows rise, cols fall"] < errors["n = 5"]
        assert round(100 * (max(errors.values()) - min(errors.values())) / (sum(errors.values()) / 7)) in (6, 7)
    plans = weights(ROOT / "results" / "weights_plans.json", "plans")["rows"]
    apart, above = [], []
    for seed in range(5):
        errors = {row["plan"]: row["error"] for row in plans if (row["seed"], row["ratio"]) == (seed, 0.5)}
        odd = errors.pop("n = 5, rows rise, cols fall")
        apart.append((max(errors.values()) - min(errors.values())) / (sum(errors.values()) / 6))
        above.append(odd / max(errors.values()) - 1)
    assert [round(100 * value) for value in (min(apart), max(apart), min(above), max(above))] == [5, 7, 4, 11]
    for seed in range(3):
        moved = []
        for end in ("", "-longer", "-faster"):
            record = runs.load(ROOT / "results" / f"experts-without-sharing{end}" / f"laptop-seed{seed}.json")
            shares = record.extra["auxiliary_share"].values()
            assert all(round(100 * share["numbers"]) == 15 for share in shares)
            assert round(100 * sum(share["share"] for share in shares) / 4) == 15
            moved.append(sum(share["moved"] for share in shares) / 4)
        assert 2 * moved[0] < moved[2] < 3 * moved[0]
