"""The command line as a whole: help, usage, a reader that leaves, errors in a fresh process, the benchmarks."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
from command_line import elsewhere, paragraph, python, run  # noqa: F401

import mpolab
from mpolab import cli

pytestmark = pytest.mark.usefixtures("elsewhere")

COMMANDS = {
    "decompose": ["shape", "bonds", "entropy", "bound", "--bond N", "--error E", "--out DIR", "--force", "MPO.load"],
    "compress": ["--ratio R", "--bond N", "--error E", "--plan", "--allocation", "--task T", "--squeeze",
                 "--max-drop D", "--out DIR", 'mpolab.load("DIR")', "#To"],
    "eval": ["DIR", "--task T", "--data-dir DIR", "--rows N", "percent"],
    "run": ["RECIPE", "--list", "--scale", "--seed", "--force", "smoke", "MPOLAB_RESULTS"],
}  # fmt: skip


def test_refusals_in_a_fresh_process(tmp_path):
    done = run("decompose", "./nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    paragraph(done.stderr, "the model folder './nowhere' does not exist", "'minilm'")
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_leaves_early():
    """`mpolab ... | head -1` ends quietly."""
    code = (
        "import sys; from mpolab import cli; "
        "cli.decompose.decompose = lambda arguments: print('x' * 1_000_000, flush=True); "
        "sys.exit(cli.main(['decompose', 'minilm']))"
    )
    done = subprocess.run(
        f'"{sys.executable}" -c "{code}" | true', shell=True, capture_output=True, text=True, timeout=180
    )
    assert done.stderr == ""


def test_help_needs_nothing_heavy():
    code = (
        "import sys, contextlib, mpolab.cli\n"
        "for command in ('decompose', 'compress', 'eval', 'run'):\n"
        "    with contextlib.suppress(SystemExit): mpolab.cli.main([command, '--help'])\n"
        "print([name for name in ('numpy', 'torch', 'transformers', 'tqdm', 'datasets') if name in sys.modules])"
    )
    done = python("-c", code)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]"


# ------------------------------------------------------------------------------------------------------------ help


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_is_worth_reading(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"] if command is None else [command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "examples:" in text and f"mpolab {command or 'decompose'} " in text
    assert max(map(len, text.splitlines())) <= 100
    for part in COMMANDS if command is None else COMMANDS[command]:
        assert part in text


def test_the_examples_of_the_help_are_valid():
    """Every example line parses: a renamed option cannot stay behind in the help."""
    epilogs = [cli.EPILOG, *(command.EPILOG for command in (cli.decompose, cli.compress, cli.evaluate, cli.run))]
    lines = [line.strip() for text in epilogs for line in text.splitlines()]
    lines = [line.split("  ")[0].split(" | ")[0] for line in lines if line.startswith("mpolab ")]
    assert len(lines) >= 20
    for line in lines:
        cli._parser().parse_args(shlex.split(line)[1:])


def test_no_command_and_version(capsys):
    assert cli.main([]) == 2
    assert "usage: mpolab" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mpolab {mpolab.__version__}\n"


# ------------------------------------------------------------------------------------------------- what the package has


def test_names_of_the_package():
    from mpolab import checkpoint, moe, mpo, plans, surgery

    homes = {"MPO": mpo, "Plan": plans, "make_plan": plans, "load": checkpoint, "save_pretrained": checkpoint}
    homes |= {"to_moe": moe} | dict.fromkeys(["to_mpo", "to_dense", "freeze_central", "trainable_report"], surgery)
    assert sorted(homes) == mpolab.__all__ and set(homes) <= set(dir(mpolab))
    for name, home in homes.items():
        assert getattr(mpolab, name) is getattr(home, name)
    with pytest.raises(AttributeError, match="no attribute 'to_tt'"):
        _ = mpolab.to_tt


# ----------------------------------------------------------------------------------------------------------- bench


def test_bench_runs_the_file_beside_the_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli.bench, "__file__", str(tmp_path / "mpolab" / "cli" / "bench.py"))
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
