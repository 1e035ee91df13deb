"""`mpolab decompose`: in a fresh process where that matters, in this one otherwise (a tiny random model, for speed)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from command_line import elsewhere, paragraph, run  # noqa: F401

from mpolab import MPO, cli, models

pytestmark = pytest.mark.usefixtures("elsewhere")

KEYS = ["matrix", "shape", "rows", "cols", "bonds", "entropy", "ratio", "error", "bound"]
QUERY = "encoder.layer.0.attention.self.query"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from transformers import BertConfig, BertModel

    torch.manual_seed(3)
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    path = tmp_path_factory.mktemp("models") / "tiny-bert"
    with models.quiet_transformers():
        BertModel(config).save_pretrained(path)
    return path


@pytest.mark.skipif(
    importlib.util.find_spec(models.PACKAGE_MODULE) is None,
    reason=f"the package {models.PACKAGE} is not installed (`make model`)",
)
def test_the_real_model_in_a_fresh_process(tmp_path):
    done = run("decompose", "minilm", "--matrix", "L0 query", "--ratio", "0.5", "--json", "--out", str(tmp_path / "o"))
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)  # stdout is JSON and nothing else
    assert list(record) == KEYS
    assert (record["matrix"], record["shape"]) == (QUERY, [384, 384])
    assert len(record["bonds"]) == 6 and len(record["entropy"]) == 4
    assert 0.4 < record["ratio"] <= 0.5 and 0 < record["error"] <= record["bound"] + 1e-6 < 1
    for part in ("model: sentence-transformers/all-MiniLM-L6-v2 (", "22,713,216 parameters", "L0 query", "100%"):
        assert part in done.stderr
    assert "1 files written" not in done.stderr and "1 file written to" in done.stderr

    mpo = MPO.load(tmp_path / "o" / f"{QUERY}.safetensors")
    assert list(mpo.bonds) == record["bonds"] and list(mpo.rows) == record["rows"]
    weight = models.matrices(models.load_pretrained("minilm", tokenizer=False))[QUERY].weight
    error = torch.linalg.norm(mpo.to_matrix() - weight) / torch.linalg.norm(weight)
    assert float(error) == pytest.approx(record["error"], rel=1e-5)


def test_the_table(folder, capsys):
    assert cli.main(["decompose", str(folder), "--matrix", "^L0", "--bond", "3", "--n", "3"]) == 0
    out, err = capsys.readouterr()
    head, *rows, total = out.splitlines()
    assert head.split() == KEYS
    assert [row.split()[0] for row in rows] == [
        "encoder.layer.0.attention.self.query",
        "encoder.layer.0.attention.self.key",
        "encoder.layer.0.attention.self.value",
        "encoder.layer.0.attention.output.dense",
        "encoder.layer.0.intermediate.dense",
        "encoder.layer.0.output.dense",
    ]
    for row in rows:
        assert len(row) == len(head)  # aligned
        assert " 1-3-3-1 " in row
    assert " 32x16 " in rows[4] and " 16x32 " in rows[5]
    kept = sum(
        MPO.decompose(m.weight, n=3, bond=3).parameters
        for m in models.select(models.load_pretrained(folder), "^L0").values()
    )
    assert total == f"6 matrices, 2,048 numbers as {kept:,} ({kept / 2048:.3f})"
    assert "model: tiny-bert (folder): BertModel, 2 layers" in err and "100%" in err


def test_every_matrix_and_full_bonds(folder, capsys):
    assert cli.main(["decompose", str(folder), "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    records = json.loads(out)
    assert err == "" and len(records) == 14
    assert records[0]["matrix"] == "embeddings.word_embeddings" and records[0]["shape"] == [50, 16]
    for record in records:
        assert list(record) == KEYS
        assert record["error"] < 1e-6 and record["bound"] == 0
        assert len(record["rows"]) == len(record["cols"]) == 5 and len(record["bonds"]) == 6
        assert all(isinstance(d, int) for d in record["bonds"])
        rows, cols = (torch.tensor(record[key]).prod().item() for key in ("rows", "cols"))
        assert rows >= record["shape"][0] and cols >= record["shape"][1]


@pytest.mark.parametrize("method", ["centre", "left_to_right", "symmetric"])
def test_the_options_reach_the_decomposition(folder, capsys, method):
    arguments = ["decompose", str(folder), "--matrix", "L1 FFN in", "--json", "--quiet", "--method", method]
    weight = models.select(models.load_pretrained(folder), "L1 FFN in")["encoder.layer.1.intermediate.dense"].weight
    for option, value in [("bond", 4), ("ratio", 0.5), ("error", 0.4)]:
        assert cli.main([*arguments, "--n", "4", f"--{option}", str(value)]) == 0
        (record,) = json.loads(capsys.readouterr().out)
        mpo = MPO.decompose(weight, n=4, method=method, **{option: value})
        assert record["bonds"] == list(mpo.bonds) and record["bound"] == pytest.approx(mpo.bound())
        # the printed error is that of the matrix the cores make
        measured = torch.linalg.norm(mpo.to_matrix() - weight) / torch.linalg.norm(weight)
        assert record["error"] == pytest.approx(float(measured), rel=1e-4)
        assert record["error"] <= record["bound"] + 1e-6


def test_out_and_force(folder, capsys, tmp_path):
    out = tmp_path / "cores"
    arguments = ["decompose", str(folder), "--matrix", "query", "--bond", "4", "--json", "--out", str(out)]
    out.mkdir()  # an empty folder is fine
    assert cli.main(arguments) == 0
    text = capsys.readouterr()
    assert f"2 files written to {out}" in text.err
    records = {record["matrix"]: record for record in json.loads(text.out)}
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{name}.safetensors" for name in records)
    for name, m in models.select(models.load_pretrained(folder), "query").items():
        mpo = MPO.load(out / f"{name}.safetensors")
        assert mpo.error(m.weight) == pytest.approx(records[name]["error"], rel=1e-5)

    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert cli.main(arguments) == 2
    paragraph(capsys.readouterr().err, str(out), "not empty", "--force")
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}

    (out / "notes.txt").write_text("mine")
    assert cli.main([*arguments, "--force", "--n", "3"]) == 0
    assert len(MPO.load(out / f"{QUERY}.safetensors").bonds) == 4  # replaced
    assert (out / "notes.txt").read_text() == "mine"  # all others stay
    capsys.readouterr()

    assert cli.main([*arguments[:-1], str(out / "notes.txt")]) == 2
    paragraph(capsys.readouterr().err, "notes.txt", "is a file")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--matrix", "atention"], ["unknown matrix 'atention'", "'encoder.layer.0.attention.self.query'"]),
        (["--matrix", "("], ["is not a regular expression"]),
        (["--bond", "0"], ["bond = 0", "at least 1"]),
        (["--ratio", "-1"], ["ratio = -1.0", "positive"]),
        (["--error", "-1"], ["error = -1.0"]),
        (["--n", "1"], ["n = 1", "at least 2"]),
        (["--method", "center"], ["unknown method 'center'", "Did you mean 'centre'"]),
    ],
)
def test_refusals(folder, capsys, options, parts):
    assert cli.main(["decompose", str(folder), *options]) == 2
    text = capsys.readouterr()
    assert text.out == ""
    paragraph(text.err, *parts)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--bond", "4", "--ratio", "0.5"], "not allowed with"),
        (["--ratio", "some"], "invalid float value: 'some'"),
        (["--force"], "--force only means something together with --out"),
        (["--bonds"], "unrecognized arguments"),
    ],
)
def test_wrong_usage(capsys, options, part):
    with pytest.raises(SystemExit) as stop:
        cli.main(["decompose", "minilm", *options])
    assert stop.value.code == 2 and part in capsys.readouterr().err


def test_a_damaged_model(folder, capsys, tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "half" / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    assert cli.main(["decompose", "half"]) == 2
    paragraph(capsys.readouterr().err, "model.safetensors", "5,000 bytes", "not a whole safetensors file")
    (tmp_path / "half" / "config.json").unlink()
    assert cli.main(["decompose", "half"]) == 2
    paragraph(capsys.readouterr().err, "'half'", "no config.json")


def test_defects_keep_their_traceback(folder, monkeypatch):
    """Only what the caller can put right is turned into a paragraph."""
    monkeypatch.setattr(cli.decompose, "_record", lambda *_: [].pop())
    with pytest.raises(IndexError):
        cli.main(["decompose", str(folder), "--matrix", "L0 query", "--quiet"])


def test_an_interruption(folder, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.decompose, "_record", interrupt)
    assert cli.main(["decompose", str(folder), "--matrix", "L0 query", "--quiet"]) == 130
    assert capsys.readouterr().err == "mpolab: interrupted\n"
