"""The command line: in a fresh process where that matters, in this one otherwise (a tiny random model, for speed)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mpolab
from mpolab import MPO, cli, models

KEYS = ["matrix", "shape", "rows", "cols", "bonds", "entropy", "ratio", "error", "bound"]
QUERY = "encoder.layer.0.attention.self.query"


def run(*argv: str, **options) -> subprocess.CompletedProcess:
    """`python -m mpolab ...` in a fresh process, without a hub."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    command = [sys.executable, "-m", "mpolab", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment, **options)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network and no settings of the caller's; relative paths lead nowhere."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("MPOLAB_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from transformers import BertConfig, BertModel

    torch.manual_seed(3)
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    path = tmp_path_factory.mktemp("models") / "tiny-bert"
    with models._quiet_transformers():
        BertModel(config).save_pretrained(path)
    return path


def paragraph(text: str, *parts: str) -> str:
    """The error on stderr: one paragraph after whatever progress came before it, no traceback, every part in it."""
    last = text.strip().splitlines()[-1]
    assert last.startswith("mpolab: ") and "Traceback" not in text
    for part in parts:
        assert part in last, f"{part!r} not in {last!r}"
    return last


# ---------------------------------------------------------------------------------------------- in a fresh process


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


def test_refusals_in_a_fresh_process(tmp_path):
    done = run("decompose", "./nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    paragraph(done.stderr, "the model folder './nowhere' does not exist", "'minilm'")
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_leaves_early():
    """`mpolab ... | head -1` ends quietly."""
    code = (
        "import sys; from mpolab import cli; cli._decompose = lambda arguments: print('x' * 1_000_000, flush=True); "
        "sys.exit(cli.main(['decompose', 'minilm']))"
    )
    done = subprocess.run(
        f'"{sys.executable}" -c "{code}" | true', shell=True, capture_output=True, text=True, timeout=180
    )
    assert done.stderr == ""


# ------------------------------------------------------------------------------------------------------------ help


@pytest.mark.parametrize("argv", [["--help"], ["decompose", "--help"]])
def test_help_is_worth_reading(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "examples:" in text and "mpolab decompose minilm" in text
    assert max(map(len, text.splitlines())) <= 100
    if argv[0] == "decompose":
        for part in (*KEYS[:2], *KEYS[4:], "--bond N", "--ratio R", "--error E", "--out DIR", "--force", "MPO.load"):
            assert part in text


def test_the_examples_of_the_help_are_valid():
    """Every example line parses: a renamed option cannot stay behind in the help."""
    import shlex

    lines = [line.strip() for text in (cli.EPILOG, cli.DECOMPOSE_EPILOG) for line in text.splitlines()]
    lines = [line.split("  ")[0].split(" | ")[0] for line in lines if line.startswith("mpolab ")]
    assert len(lines) >= 6
    for line in lines:
        cli._parser().parse_args(shlex.split(line)[1:])


def test_no_command_and_version(capsys):
    assert cli.main([]) == 2
    assert "usage: mpolab" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mpolab {mpolab.__version__}\n"


# ------------------------------------------------------------------------------------------------------- decompose


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
    monkeypatch.setattr(cli, "_record", lambda *_: [].pop())
    with pytest.raises(IndexError):
        cli.main(["decompose", str(folder), "--matrix", "L0 query", "--quiet"])


def test_an_interruption(folder, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_record", interrupt)
    assert cli.main(["decompose", str(folder), "--matrix", "L0 query", "--quiet"]) == 130
    assert capsys.readouterr().err == "mpolab: interrupted\n"


# ----------------------------------------------------------------------------------------------------------- bench


def test_bench_runs_the_file_beside_the_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "mpolab" / "cli.py"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "bench_decomposition", raising=False)
    assert cli.main(["bench", "--quick"]) == 2
    paragraph(capsys.readouterr().err, "benchmarks/bench_decomposition.py", "make bench")

    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "neighbour.py").write_text("GREETING = 'measured'")
    (tmp_path / "benchmarks" / "bench_decomposition.py").write_text(
        "from neighbour import GREETING\ndef main(argv):\n    print(GREETING, argv)\n    return 3 if argv else None\n"
    )
    assert cli.main(["bench", "--help", "-k", "x"]) == 3  # the code and every argument are the benchmark's
    assert capsys.readouterr().out == "measured ['--help', '-k', 'x']\n"
    assert cli.main(["bench"]) == 0
    for name in ("bench_decomposition", "neighbour"):
        sys.modules.pop(name, None)
