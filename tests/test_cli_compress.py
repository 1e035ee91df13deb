"""`mpolab compress` and `mpolab eval` on tiny random models: what is cut, trained, squeezed, saved, scored, refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys

import pytest
import torch
from command_line import elsewhere, paragraph, python, same, save_rows, save_tiny  # noqa: F401
from small import tiny_tokenizer

import mpolab
from mpolab import MPO, cli, surgery, training
from mpolab.data import load_task
from mpolab.errors import CheckpointError, TrainingError
from mpolab.pretrained import load_pretrained, quiet_transformers
from mpolab.surgery import mpo_layers
from mpolab.trace import Trace

pytestmark = pytest.mark.usefixtures("elsewhere")

KEYS = ["matrix", "shape", "rows", "cols", "bonds", "parameters", "ratio", "error"]
QUERY = "encoder.layer.0.attention.self.query"
EMBEDDING = "embeddings.word_embeddings"
MATRICES = 14  # word embedding, 2 x 6, pooler
TUNE = ["--task", "SST-2", "--max-length", "16", "--batch-size", "8"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny-bert"))


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    return str(save_rows(tmp_path_factory.mktemp("data") / "glue"))


def main(*argv: str) -> int:
    return cli.main([str(part) for part in argv])


def told(capsys) -> dict:
    """The JSON on stdout; stderr is empty under --quiet."""
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def dense_matrices(folder: str) -> dict[str, torch.Tensor]:
    state = load_pretrained(folder, tokenizer=False).model.state_dict()
    return {name.removesuffix(".weight"): W for name, W in state.items()}


# ----------------------------------------------------------------------------------------------------------- the cut


def test_every_matrix_is_cut_and_measured(bert, capsys):
    assert main("compress", bert, "--ratio", "0.5", "--out", "small", "--json", "--quiet") == 0
    said = told(capsys)
    dense, model = dense_matrices(bert), mpolab.load("small")
    layers = mpo_layers(model)
    assert [record["matrix"] for record in said["matrices"]] == list(layers) and len(layers) == MATRICES
    for record in said["matrices"]:
        assert list(record) == KEYS
        W = dense[record["matrix"]]
        mpo = MPO.decompose(W, rows=record["rows"], cols=record["cols"], ratio=0.5)  # the oracle
        assert record["shape"] == list(W.shape) and record["bonds"] == list(mpo.bonds)
        assert record["parameters"] == mpo.parameters and record["ratio"] == pytest.approx(mpo.ratio)
        saved = layers[record["matrix"]].weight.detach()
        assert record["error"] == pytest.approx(float(torch.dist(saved, W) / torch.linalg.norm(W)), rel=1e-4)
        if record["matrix"] != EMBEDDING:  # whose padding row is kept as it was
            assert record["error"] == pytest.approx(float(mpo.error(W)), rel=1e-4)
    before = sum(p.numel() for p in load_pretrained(bert, tokenizer=False).model.parameters())
    after = sum(p.numel() for p in model.parameters())
    assert said["parameters"] == {"before": before, "after": after} and after < 0.6 * before
    assert said["asked"] == {"plan": "mpop", "ratio": 0.5}
    assert said["load"] == 'model = mpolab.load("small")' and "data" not in said and "scores" not in said


def test_the_table(bert, capsys):
    assert main("compress", bert, "--bond", "3", "--plan", "mpobert", "--n", "3", "--out", "small") == 0
    out, err = capsys.readouterr()
    head, *rows, total, sizes = out.splitlines()
    assert head.split() == [key for key in KEYS if key != "parameters"]
    assert len(rows) == 12 and rows[0].split()[0] == QUERY
    for row in rows:
        assert len(row) == len(head) and re.search(r" 1-\d+-\d+-1 ", row)
        assert max(map(int, row.split()[4].split("-"))) == 3
    after = sum(p.numel() for p in mpolab.load("small").parameters())
    assert total.startswith("12 matrices, 16,384 numbers as ")
    assert re.fullmatch(r"#To: [\d,]+ before, ([\d,]+) after \(0\.\d+\)", sizes)[1] == f"{after:,}"
    assert "model: tiny-bert (folder): BertModel, 2 layers" in err
    assert "saved to small after" in err and err.endswith('it:\n  model = mpolab.load("small")\n')


def test_the_options_reach_the_surgery(bert, capsys):
    W = dense_matrices(bert)
    assert main("compress", bert, "--error", "0.4", "--plan", "linear", "--out", "a", "--json", "--quiet") == 0
    errors = {record["matrix"]: record["error"] for record in told(capsys)["matrices"]}
    assert len(errors) == 13 and EMBEDDING not in errors  # no embedding in this plan
    assert max(errors.values()) <= 0.4 and min(errors.values()) > 0.2
    arguments = ["compress", bert, "--ratio", "0.4", "--json", "--quiet"]
    found = {}
    for allocation in ("uniform", "spectra"):
        assert main(*arguments, "--allocation", allocation, "--out", allocation) == 0
        found[allocation] = told(capsys)["matrices"]
        kept = sum(record["parameters"] for record in found[allocation])
        assert kept <= 0.4 * sum(torch.tensor(r["rows"] + r["cols"]).prod().item() for r in found[allocation])
        assert all(W[record["matrix"]].shape == tuple(record["shape"]) for record in found[allocation])
    ratios = {name: {round(record["ratio"], 2) for record in records} for name, records in found.items()}
    assert max(ratios["uniform"]) <= 0.4 < max(ratios["spectra"])  # one budget, spread by need


def test_one_line_loads_it_in_a_fresh_process(bert, tmp_path, capsys):
    """Without the model that it was made from."""
    shutil.copytree(bert, "gone")
    assert main("compress", "gone", "--ratio", "0.4", "--out", "small", "--json", "--quiet") == 0
    line = told(capsys)["load"]
    shutil.rmtree("gone")
    code = f"import mpolab, torch\n{line}\nprint(type(model).__name__, torch.save(model.state_dict(), 'state'))"
    done = python("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["BertModel", "None"]), done.stderr
    expected = load_pretrained(bert, tokenizer=False).model
    surgery.to_mpo(expected, "mpop", ratio=0.4)
    state = torch.load("state", weights_only=True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in expected.state_dict().items())
    from transformers import AutoTokenizer

    text = "a nice dog eats"
    assert AutoTokenizer.from_pretrained("small")(text).input_ids == tiny_tokenizer()(text).input_ids


def test_a_head_stays(capsys, tmp_path):
    save_tiny(tmp_path / "gpt", "GPT2LMHeadModel")
    assert main("compress", "gpt", "--bond", "8", "--head", "causal-lm", "--out", "small", "--quiet") == 0
    model = mpolab.load("small")
    assert type(model).__name__ == "GPT2LMHeadModel"
    assert torch.equal(model.lm_head.weight, model.transformer.wte.weight)  # tied, as it was
    capsys.readouterr()
    assert main("compress", "gpt", "--bond", "8", "--head", "sequence-classification", "--out", "other") == 2
    paragraph(capsys.readouterr().err, "gpt has no head 'sequence-classification'", "score.weight would be random")
    assert not (tmp_path / "other").exists()


def test_a_reader_that_leaves_loses_nothing(bert, monkeypatch):
    """`mpolab compress ... | head -1` saves the model all the same."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert main("compress", bert, "--bond", "4", "--out", "small", "--quiet") == 0
    assert len(mpo_layers(mpolab.load("small"))) == MATRICES


def test_json_of_an_undefined_score():
    """No program but Python reads NaN."""
    text = cli.shared.as_json({"scores": {"dev": {"spearman": float("nan"), "loss": 0.5}}, "bonds": [1, float("inf")]})
    assert json.loads(text) == {"scores": {"dev": {"spearman": None, "loss": 0.5}}, "bonds": [1, None]}


# ------------------------------------------------------------------------------------------- fine-tuning, and eval


@pytest.fixture(scope="module")
def tuned(bert, glue, tmp_path_factory):
    """(folder, what --json said) of a model that was cut and fine-tuned on SST-2."""
    import contextlib
    import io

    folder, said = tmp_path_factory.mktemp("tuned") / "sst2", io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main(
            *("compress", bert, "--ratio", "0.6", "--out", folder, "--json", "--quiet", "--data-dir", glue),
            *(*TUNE, "--rows", "24", "--epochs", "2", "--lr", "1e-3", "--tensor-lr", "2e-3", "--seed", "1"),
        )
    assert code == 0
    return folder, json.loads(said.getvalue())


def test_lightweight_fine_tuning(bert, glue, tuned):
    folder, said = tuned
    model = mpolab.load(folder)
    # the oracle: the same by hand
    pretrained = load_pretrained(bert, head="sequence-classification", num_labels=2, seed=1)
    before = sum(p.numel() for p in pretrained.model.parameters())
    expected = surgery.to_mpo(pretrained.model, "mpop", ratio=0.6)
    cut = {path: layer.weight.detach().clone() for path, layer in mpo_layers(expected).items()}
    centres = {path: layer.central.detach().clone() for path, layer in mpo_layers(expected).items()}
    surgery.freeze_central(expected)
    data = load_task("SST-2", data_dir=glue).sample(24, 6, seed=1)
    settings = training.Settings(epochs=2, batch_size=8, lr=1e-3, tensor_lr=2e-3, max_length=16)
    outcome = training.fine_tune(expected, pretrained.tokenizer, data, settings, seed=1, progress=False)
    assert type(model) is type(expected) and same(model, expected)
    assert said["scores"] == {"dev": outcome.scores["dev"]} and said["data"] == data.describe()
    assert said["data"]["rows"] == {"train": 24, "select": 6, "dev": 30}

    dense = dense_matrices(bert)
    for record in said["matrices"]:
        path, W = record["matrix"], dense[record["matrix"].removeprefix("bert.")]
        error = torch.dist(cut[path], W) / torch.linalg.norm(W)  # of the cut, before training
        assert record["error"] == pytest.approx(float(error), rel=1e-4)
        layer = mpo_layers(model)[path]
        assert torch.equal(layer.central, centres[path]) and not layer.central.requires_grad
        assert all(core.requires_grad for core in layer.auxiliary)
    report = surgery.trainable_report(model)
    assert said["parameters"] == {"before": before, "after": report.total, "trainable": report.trainable}
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_eval_scores_the_same_rows(tuned, glue, capsys):
    folder, said = tuned
    arguments = ["eval", folder, "--task", "sst2", "--data-dir", glue, "--max-length", "16"]
    assert main(*arguments, "--json", "--quiet") == 0
    found = told(capsys)
    assert found["scores"]["dev"] == pytest.approx(said["scores"]["dev"], abs=1e-5)
    assert found["parameters"] == said["parameters"]["after"] and found["data"]["rows"] == {"dev": 30}
    assert main(*arguments, "--rows", "7") == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"SST-2 dev, 7 rows: accuracy \d+\.\d\d, loss \d\.\d{4}\n", out)
    assert "model: sst2 (compressed): BertForSequenceClassification" in err and "TaskData(SST-2: dev 7;" in err


def test_eval_of_a_dense_model(tuned, glue, capsys):
    """Back to dense matrices, as any other library would save it: the same scores."""
    folder, said = tuned
    model = mpolab.to_dense(mpolab.load(folder))
    with quiet_transformers():
        model.save_pretrained("dense")
    tiny_tokenizer().save_pretrained("dense")
    assert main("eval", "dense", "--task", "SST-2", "--data-dir", glue, "--max-length", "16", "--json", "--quiet") == 0
    assert told(capsys)["scores"]["dev"] == pytest.approx(said["scores"]["dev"], abs=1e-4)


@pytest.mark.parametrize(("task", "metrics"), [("STS-B", {"spearman", "pearson"}), ("SQuAD", {"f1", "exact_match"})])
def test_other_heads_and_offline_sets(bert, capsys, task, metrics):
    arguments = ["--task", task, "--rows", "12", "--dev-rows", "10", "--epochs", "1", "--max-length", "48"]
    assert main("compress", bert, "--bond", "6", "--out", "small", "--json", "--quiet", *arguments) == 0
    said = told(capsys)
    assert set(said["scores"]["dev"]) == metrics | {"loss"} and said["data"]["task"] == f"toy-{task}"
    assert said["data"]["rows"] == {"train": 12, "select": 3, "dev": 10}
    assert main("eval", "small", *arguments[:2], "--rows", "10", "--max-length", "48", "--json", "--quiet") == 0
    assert told(capsys)["scores"]["dev"] == pytest.approx(said["scores"]["dev"], abs=1e-4)
    config = json.loads(open("small/config.json").read())
    assert config.get("problem_type") == ("regression" if task == "STS-B" else None)


# -------------------------------------------------------------------------------------------------------- squeezing


def test_squeezing_to_a_size(bert, glue, capsys):
    arguments = [*TUNE, "--data-dir", glue, "--rows", "24", "--epochs", "1", "--lr", "1e-3"]
    more = ["--squeeze", "--step", "0.5", "--tune-steps", "1"]
    assert main("compress", bert, "--ratio", "0.7", *arguments, *more, "--out", "small") == 0
    out, err = capsys.readouterr()
    model, layers = mpolab.load("small"), mpo_layers(mpolab.load("small"))
    trace = Trace.from_dict(json.loads(open("small/squeeze.json").read()))
    assert trace.bonds == {path: layer.bonds for path, layer in layers.items()} and trace.stopped == "target"
    assert trace.final_parameters == sum(p.numel() for p in model.parameters())
    whole = sum(layer.plan.padded[0] * layer.plan.padded[1] for layer in layers.values())
    kept = [sum(plan.plan.parameters(bonds[path]) for path, plan in trace.matrices.items())
            for bonds in (trace.bonds_at(len(trace.steps) - 1), trace.bonds)]  # fmt: skip
    assert kept[1] <= 0.7 * whole < kept[0]  # the ratio that was asked for, and no step more
    assert [layer.central.requires_grad for layer in layers.values()] == [False] * MATRICES
    first, *rows, total, line, last, sizes = out.splitlines()
    assert re.fullmatch(r"SST-2 dev, 30 rows, before squeezing: accuracy .*", first)
    assert len(rows) == MATRICES + 1 and total.startswith("14 matrices")
    assert line.startswith(f"squeezed in {len(trace.steps)} steps; the target size was reached. accuracy on the rows")
    assert re.fullmatch(r"SST-2 dev, 30 rows, squeezed: accuracy .*", last) and "#Pr: " in sizes
    assert f"{len(trace.steps)}/{len(trace.steps)}" in err  # the bar knew how many there would be
    shown = last.partition(": ")[2]
    assert main("eval", "small", "--task", "SST-2", "--data-dir", glue, "--max-length", "16", "--quiet") == 0
    assert capsys.readouterr().out.strip().partition(": ")[2] == shown


def test_squeezing_until_it_hurts(bert, glue, capsys, monkeypatch):
    """The step after which the metric has fallen too far is taken back; the trace keeps it."""
    from mpolab import session, squeeze

    asked, squeezed = {}, squeeze.squeeze
    monkeypatch.setattr(squeeze, "squeeze", lambda model, **more: asked.update(more) or squeezed(model, **more))
    values = iter([90.0, 89.0, 88.5, 84.0, 1.0])
    real = session.Session.evaluate
    monkeypatch.setattr(
        session.Session,
        "evaluate",
        lambda self, split="select": {"accuracy": next(values)} if split == "select" else real(self, split),
    )
    arguments = [*TUNE, "--data-dir", glue, "--rows", "24", "--epochs", "1", "--squeeze", "--max-drop", "2"]
    monkeypatch.setattr(session.Session, "splits", ("train", "dev"))
    assert main("compress", bert, *arguments, "--tune-steps", "1", "--out", "small", "--json", "--quiet") == 0
    said = told(capsys)
    assert isinstance(asked["optimizer"], torch.optim.AdamW)  # the one that tunes goes on across cuts
    trace = Trace.from_dict(json.loads(open("small/squeeze.json").read()))
    assert [step.accepted for step in trace.steps] == [True, True, False]
    assert (trace.max_drop, trace.step, trace.target) == (2, 0.25, None)
    assert said["squeeze"] == {
        "steps": 3, "taken back": 1, "stopped": "drop", "metric before": 90.0, "metric after": 88.5,
    }  # fmt: skip
    assert set(said["scores"]) == set(said["scores before squeezing"]) == {"dev"}
    assert trace.bonds == {path: layer.bonds for path, layer in mpo_layers(mpolab.load("small")).items()}


def test_squeezing_without_a_task(bert, capsys, tmp_path):
    """Nothing is tuned, and the order is that of the estimates: the matrices are those of `straight`."""
    from mpolab.squeeze import straight

    arguments = ["compress", bert, "--squeeze", "--ratio", "0.7", "--step", "0.5", "--out", "small"]
    assert main(*arguments) == 0
    out, err = capsys.readouterr()
    trace = Trace.from_dict(json.loads(open("small/squeeze.json").read()))
    expected = load_pretrained(bert, tokenizer=False).model
    straight(surgery.to_mpo(expected, "mpop"), target=trace.target, step=0.5)
    layers = mpo_layers(mpolab.load("small"))
    assert trace.stopped == "target" and trace.baseline is None and len(trace.steps) > 1
    assert {path: layer.bonds for path, layer in layers.items()} == trace.bonds
    assert trace.bonds == {path: layer.bonds for path, layer in mpo_layers(expected).items()}
    assert out.splitlines()[-2] == f"squeezed in {len(trace.steps)} steps; the target size was reached"
    assert f"{len(trace.steps)}/{len(trace.steps)}" in err and [path.name for path in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("tuned_too", [False, True])
def test_squeezing_to_a_bond(bert, glue, capsys, tmp_path, tuned_too):
    """The bonds next to the centres, and no others, are at most that; none is smaller without need."""
    from mpolab.squeeze import bonds_at_centre

    tune = [*TUNE, "--data-dir", glue, "--rows", "24", "--epochs", "1", "--tune-steps", "1"] if tuned_too else []
    arguments = ["--squeeze", "--bond", "12", "--step", "0.4", *tune, "--out", "small"]
    assert main("compress", bert, *arguments) == 0
    out, err = capsys.readouterr()
    layers, trace = mpo_layers(mpolab.load("small")), Trace.from_dict(json.loads(open("small/squeeze.json").read()))
    for layer in layers.values():
        cut, full = bonds_at_centre(layer.plan), layer.plan.full_bonds
        assert layer.bonds == [min(d, 12) if k in cut else d for k, d in enumerate(full)] and max(layer.bonds) > 1
    assert trace.bonds == {path: layer.bonds for path, layer in layers.items()} and trace.stopped == "exhausted"
    assert len(trace.steps) > 2 * MATRICES and f"{len(trace.steps)}/{len(trace.steps)}" in err
    assert "steps; no bond next to a centre could be cut further" in out and ("squeezed: " in out) == tuned_too
    assert all((step.metric is not None) == tuned_too for step in trace.steps)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


# ------------------------------------------------------------------------------------------------- where it is saved


def test_out_and_force(bert, capsys, tmp_path):
    arguments = ["compress", bert, "--bond", "4", "--out", "small", "--json", "--quiet"]
    (tmp_path / "small").mkdir()  # an empty folder is fine
    assert main(*arguments) == 0
    assert main(*arguments, "--n", "3") == 2
    paragraph(capsys.readouterr().err, "--out 'small' is not empty", "--force")
    assert len(mpo_layers(mpolab.load("small"))[QUERY].cores) == 5
    for name in ("notes.txt", "squeeze.json"):
        (tmp_path / "small" / name).write_text("mine")
    assert main(*arguments, "--n", "3", "--force") == 0
    assert len(mpo_layers(mpolab.load("small"))[QUERY].cores) == 3
    assert (tmp_path / "small" / "notes.txt").exists()
    assert not (tmp_path / "small" / "squeeze.json").exists()  # of a squeezing that this model has not had
    capsys.readouterr()
    assert main(*arguments[:-3], "small/notes.txt", *arguments[-2:]) == 2
    paragraph(capsys.readouterr().err, "notes.txt", "is a file")


@pytest.mark.parametrize("out", [".", "../here", "{}"])
def test_out_may_be_any_name_of_the_folder(bert, glue, tmp_path, monkeypatch, out):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    out = out.format(tmp_path / "here")
    arguments = [*TUNE, "--data-dir", glue, "--rows", "24", "--epochs", "1", "--quiet"]
    assert main("compress", bert, "--bond", "4", "--out", out, *arguments) == 0
    assert len(mpo_layers(mpolab.load(tmp_path / "here"))) == MATRICES
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_out_is_no_whole_file_system(bert, capsys):
    for options in ([], ["--force"]):
        assert main("compress", bert, "--bond", "4", "--out", "/", *options, "--task", "SST-2") == 2
        paragraph(capsys.readouterr().err, "--out '/' is")


def test_a_full_disk_leaves_nothing(bert, capsys, tmp_path, monkeypatch):
    import safetensors.torch

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    assert main("compress", bert, "--bond", "4", "--out", "small") == 2
    paragraph(capsys.readouterr().err, "'small' could not be written", "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(bert, glue, capsys, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fine_tune", interrupt)
    assert main("compress", bert, "--bond", "4", "--out", "small", *TUNE, "--data-dir", glue, "--quiet") == 130
    assert capsys.readouterr().err == "mpolab: interrupted\n" and list(tmp_path.iterdir()) == []


def test_an_interrupted_run_goes_on_when_it_is_asked_for_again(bert, glue, tmp_path, monkeypatch):
    from mpolab.cli import squeezing

    arguments = [*TUNE, "--data-dir", glue, "--rows", "24", "--epochs", "2", "--squeeze", "--ratio", "0.9"]
    arguments += ["--step", "0.5", "--tune-steps", "1", "--out", "small", "--quiet"]
    resumed, whole = [], training.fine_tune

    def watched(*positional, **named):
        outcome = whole(*positional, **named)
        resumed.append(outcome.state["resumed_from"])
        return outcome

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fine_tune", watched)
    with monkeypatch.context() as patch:
        patch.setattr(squeezing, "run", interrupt)
        assert main("compress", bert, *arguments) == 130
    assert [path.name.partition(".part-")[0] for path in tmp_path.iterdir()] == ["small"]
    assert main("compress", bert, *arguments, "--lr", "0.01") == 0  # another request starts anew
    assert main("compress", bert, *arguments, "--force") == 0
    assert resumed == [None, None, 6] and [path.name for path in tmp_path.iterdir()] == ["small"]


SQUEEZE = [*TUNE, "--rows", "24", "--epochs", "1", "--squeeze", "--tune-steps", "1", "--out", "small"]


def failing(monkeypatch, name: str, call: int, problem: BaseException) -> None:
    """Session.NAME raises at its `call`-th call."""
    from mpolab.session import Session

    calls, real = [], getattr(Session, name)

    def sooner_or_later(self, *given):
        calls.append(given)
        if len(calls) == call:
            raise problem
        return real(self, *given)

    monkeypatch.setattr(Session, name, sooner_or_later)


@pytest.mark.parametrize(
    ("problem", "code", "told"),
    [(KeyboardInterrupt(), 130, "interrupted"), (TrainingError("the loss is nan."), 2, "the loss is nan.")],
)
def test_an_interrupted_squeezing_keeps_its_whole_steps(bert, glue, capsys, monkeypatch, problem, code, told):
    failing(monkeypatch, "train", 3, problem)
    assert main("compress", bert, *SQUEEZE, "--data-dir", glue, "--ratio", "0.5") == code
    trace = Trace.from_dict(json.loads(open("small/squeeze.json").read()))
    assert len(trace.steps) == 2 and trace.stopped == "interrupted"
    assert {path: layer.bonds for path, layer in mpo_layers(mpolab.load("small")).items()} == trace.bonds
    out, err = capsys.readouterr()
    assert "squeezed in 2 steps; it was interrupted" in out
    assert paragraph(err, told) == f"mpolab: {told}"


@pytest.mark.parametrize(("problem", "code"), [(KeyboardInterrupt(), 130), (TrainingError("nan."), 2)])
def test_an_interrupt_while_the_squeezed_model_is_scored_loses_nothing(bert, glue, capsys, monkeypatch, problem, code):
    failing(monkeypatch, "evaluate", 5, problem)  # the first, three steps, dev
    arguments = [*SQUEEZE, "--data-dir", glue, "--ratio", "0.5", "--step", "0.99", "--json"]
    from mpolab import squeeze

    squeezed = squeeze.squeeze
    monkeypatch.setattr(
        squeeze, "squeeze", lambda model, **more: squeezed(model, **{**more, "target": None, "max_steps": 3})
    )
    assert main("compress", bert, *arguments) == code
    trace = Trace.from_dict(json.loads(open("small/squeeze.json").read()))
    assert len(trace.steps) == 3 and trace.stopped == "steps"  # the squeezing itself came to its end
    assert {path: layer.bonds for path, layer in mpo_layers(mpolab.load("small")).items()} == trace.bonds
    said = json.loads(capsys.readouterr().out)
    assert said["scores"] == {} and said["scores before squeezing"] and said["squeeze"]["steps"] == 3


def test_before_the_first_step_there_is_nothing_to_keep(bert, glue, tmp_path, monkeypatch):
    failing(monkeypatch, "evaluate", 1, KeyboardInterrupt())
    assert main("compress", bert, *SQUEEZE, "--data-dir", glue, "--ratio", "0.5") == 130
    assert not (tmp_path / "small").exists()


def test_a_killed_squeezing_leaves_the_last_model_kept(bert, glue, tmp_path, monkeypatch):
    """Nothing is cleaned up, as by kill -9; the folder is that of the help."""
    from mpolab.cli import compress

    kept, keep = [], compress._keep

    def watched(pretrained, part, trace):
        keep(pretrained, part, trace)
        kept.append(trace.to_dict())
        if len(kept) == 2:
            raise SystemExit("killed")

    monkeypatch.setattr(compress, "_keep", watched)
    arguments = [*SQUEEZE, "--data-dir", glue, "--ratio", "0.1", "--step", "2", "--quiet"]
    with pytest.raises(SystemExit, match="killed"):
        main("compress", bert, *arguments)
    (part,) = tmp_path.iterdir()
    assert part.name.startswith("small.part-") and len(list(part.glob("squeezed-*"))) == 1
    trace = Trace.from_dict(json.loads((part / "squeezed-20" / "squeeze.json").read_text()))
    assert trace.to_dict() == kept[1] and len(trace.steps) == 20 and trace.stopped == "running"
    assert {path: layer.bonds for path, layer in mpo_layers(mpolab.load(part / "squeezed-20")).items()} == trace.bonds


# --------------------------------------------------------------------------------------------------------- refusals


REFUSED = {
    "a plan's name": (["--ratio", "0.5", "--plan", "mpopp"], ["unknown plan 'mpopp'", "Did you mean 'mpop'"]),
    "an allocation's name": (["--ratio", "0.5", "--allocation", "spectral"], ["Did you mean 'spectra'"]),
    "a budget for an error": (["--error", "0.5", "--allocation", "spectra"], ["give it as ratio="]),
    "a ratio out of reach": (["--ratio", "0.001"], ["embeddings.word_embeddings: ratio = 0.001 is out of reach"]),
    "a bond of 0": (["--bond", "0"], ["bond = 0", "at least 1"]),
    "a squeezed bond of 0": (["--bond", "0", "--squeeze"], ["bond = 0", "at least 1"]),
    "one core": (["--bond", "4", "--n", "1"], ["n = 1", "at least 2"]),
    "a task's name": (["--bond", "4", "--task", "SST-3"], ["unknown task 'SST-3'", "Did you mean 'SST-2'"]),
    "a task of this machine": (
        ["--bond", "4", "--task", "Package-Origin"],
        ["'package-origin' are packages installed here", "mpolab.training.fine_tune"],
    ),
    "a task without a head": (["--bond", "4", "--task", "probing"], ["is of kind 'tokens'"]),
    "a task without a folder": (["--bond", "4", "--task", "RTE", "--data-dir", "GLUE"], ["no folder 'RTE'", "SST-2"]),
    "no such data": (["--bond", "4", "--task", "RTE", "--data-dir", "./gone"], ["'gone'"]),
    "too many rows": (["--bond", "4", "--task", "SST-2", "--data-dir", "GLUE", "--rows", "500"], ["select=125"]),
    "too many tokens": (["--bond", "4", "--task", "SST-2", "--data-dir", "GLUE", "--rows", "8"], ["64 positions"]),
    "too few tokens": (
        ["--bond", "4", "--task", "SQuAD", "--max-length", "5", "--rows", "8"],
        ["max_length=5 leaves no room for a passage", "at least 7"],
    ),
    "a squeezed size": (
        [*TUNE, "--data-dir", "GLUE", "--rows", "8", "--squeeze", "--ratio", "0.01"],
        ["ratio = 0.01 is out of reach by squeezing", "leave out --squeeze"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(bert, glue, capsys, tmp_path, case):
    options, parts = REFUSED[case]
    options = [glue if option == "GLUE" else option for option in options]
    assert main("compress", bert, *options, "--out", "small", "--quiet") == 2
    paragraph(capsys.readouterr().err, *parts)
    assert list(tmp_path.iterdir()) == []


def test_a_squeezing_refuses_several_processes_at_once(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main("compress", "./nowhere", "--ratio", "0.5", "--squeeze", "--out", "small") == 2
    paragraph(capsys.readouterr().err, "a squeezing runs in one process", "here are 2")


def test_models_that_do_not_serve(bert, glue, capsys, tmp_path):
    assert main("compress", bert, "--bond", "4", "--out", bert, "--force") == 2
    paragraph(capsys.readouterr().err, "is the folder of the model itself")
    assert main("compress", bert, "--bond", "4", "--out", "small", "--quiet") == 0
    assert main("compress", "small", "--bond", "2", "--out", "smaller") == 2
    paragraph(capsys.readouterr().err, "'small' holds MPOs already", "mpolab.to_dense(mpolab.load(folder))")
    save_tiny(tmp_path / "mute", tokenizer=False)
    assert main("compress", "mute", "--bond", "4", "--out", "smaller", "--task", "SST-2", "--data-dir", glue) == 2
    paragraph(capsys.readouterr().err, "'mute' has no tokenizer", "tokenizer.json")
    assert main("compress", "./nowhere", "--bond", "4", "--out", "smaller") == 2
    paragraph(capsys.readouterr().err, "'./nowhere' does not exist")
    assert not (tmp_path / "smaller").exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "one of --ratio, --bond and --error is required"),
        (["--bond", "4", "--ratio", "0.5"], "not allowed with"),
        (["--bond", "4", "--rows", "8"], "--rows only means something together with --task"),
        (["--bond", "4", "--squeeze", "--max-drop", "1"], "--max-drop only means something together with --task"),
        (["--bond", "4", "--squeeze", "--tune-steps", "1"], "--tune-steps only means something together with --task"),
        (["--squeeze"], "needs an end: --ratio or --bond"),
        (["--bond", "4", "--step", "2"], "--step only means something together with --squeeze"),
        (["--bond", "4", "--max-drop", "0"], "--max-drop only means something together with --squeeze"),
        (["--bond", "4", "--task", "RTE", "--head", "causal-lm"], "leave out --head"),
        (["--task", "RTE", "--squeeze"], "needs an end: --ratio or --bond, with --task also --max-drop"),
        (["--task", "RTE", "--squeeze", "--error", "0.4"], "a size given with --ratio or --bond, not --error"),
        (["--task", "RTE", "--squeeze", "--ratio", "0.5", "--allocation", "spectra"], "leave out --allocation"),
        (["--task", "RTE", "--squeeze", "--ratio", "0.5", "--step", "1.5"], "1.5 is neither a whole number"),
        (["--task", "RTE", "--squeeze", "--ratio", "0.5", "--step", "inf"], "inf is neither a whole number"),
        (["--task", "RTE", "--squeeze", "--max-drop", "-1"], "-1 is not a number of at least 0"),
        (["--task", "RTE", "--bond", "4", "--rows", "0"], "0 is not above 0"),
        (["--task", "RTE", "--bond", "4", "--lr", "fast"], "invalid number value: 'fast'"),
    ],
)
def test_wrong_usage(capsys, options, part):
    with pytest.raises(SystemExit) as stop:
        main("compress", "minilm", "--out", "small", *options)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and part in err and "usage: mpolab compress" in err


def test_eval_of_a_model_for_something_else(bert, tuned, glue, capsys, tmp_path):
    folder, _ = tuned
    data = ["--data-dir", glue]
    advice = "mpolab compress MODEL --ratio 0.5 --task"
    for model in (bert, "small"):  # dense, converted
        if model == "small":
            assert main("compress", bert, "--bond", "4", "--out", "small", "--quiet") == 0
        assert main("eval", model, "--task", "SST-2", *data) == 2
        paragraph(capsys.readouterr().err, repr(model), "holds a BertModel", "ForSequenceClassification", advice)
    refused = {
        "SQuAD": ["holds a BertForSequenceClassification", "one ForQuestionAnswering"],
        "MNLI": ["has 2 outputs", "3 (entailment, neutral, contradiction)"],
        "STS-B": ["has 2 outputs", "1 (a score)"],
        "RTE": ["tells negative, positive apart", "entailment, not_entailment"],
    }
    for task, parts in refused.items():
        assert main("eval", folder, "--task", task) == 2
        paragraph(capsys.readouterr().err, str(folder), *parts, advice)
    assert main("eval", folder, "--task", "package-origin") == 2
    paragraph(capsys.readouterr().err, "'package-origin' are packages installed here")
    assert main("eval", "./nowhere", "--task", "SST-2") == 2
    paragraph(capsys.readouterr().err, "'./nowhere' does not exist")
    assert main("eval", folder, "--task", "SST2x") == 2
    paragraph(capsys.readouterr().err, "unknown task 'SST2x'")
    with pytest.raises(SystemExit):
        main("eval", folder)
    assert "required: --task" in capsys.readouterr().err
    (tmp_path / "small" / "mpolab.json").write_text("{")
    with pytest.raises(CheckpointError):
        mpolab.load("small")
    assert main("eval", "small", "--task", "SST-2", *data) == 2
    paragraph(capsys.readouterr().err, "mpolab.json", "cannot be read")
