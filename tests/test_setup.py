"""The set-up: the dependency files agree with each other, and the Makefile and README keep their promises."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from rattler import MatchSpec

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())

# The packages that the project was asked to be built on; all of them must come with both ways to install.
FIXED = {"jupyterlab", "ipywidgets", "matplotlib", "seaborn", "torch", "transformers", "tensorly", "nbval"}
TARGETS = {"help", "run", "test", "lab", "bench", "ledger", "model", "clean"}


def pins() -> dict[str, Version]:
    """The exact versions of constraints.txt."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        requirement = Requirement(line)
        (only,) = requirement.specifier
        assert only.operator == "==", f"constraints.txt: {line!r} is not an exact version"
        found[canonicalize_name(requirement.name)] = Version(only.version)
    return found


def requirements(*groups: list[str]) -> list[Requirement]:
    """The requirements of some lists, the project's own extras followed."""
    result = []
    for line in (line for group in groups for line in group):
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            result += requirements(*(EXTRAS[extra] for extra in sorted(requirement.extras)))
        else:
            result.append(requirement)
    return result


def environment_pip_lines() -> list[str]:
    (section,) = (entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))
    return section


@pytest.mark.parametrize("requirement", requirements(PROJECT["dependencies"], *EXTRAS.values()), ids=str)
def test_every_dependency_has_a_pin_in_its_range(requirement):
    exact = [specifier for specifier in requirement.specifier if specifier.operator == "=="]
    if exact:  # the offline model: installed by itself, its one version written beside its name
        return
    pin = pins().get(canonicalize_name(requirement.name))
    assert pin, f"constraints.txt has no exact version for {requirement.name}"
    assert pin in requirement.specifier, f"constraints.txt: {requirement.name}=={pin} is outside {requirement}"


def test_constraints_name_no_build_and_no_index():
    text = (ROOT / "constraints.txt").read_text() + (ROOT / "environment.yml").read_text()
    # torch==X resolves to the CPU or the CUDA build by itself; a `+cpu` or an index would break one of them.
    assert not re.search(r"==[^\s#]*\+|--(extra-)?index|find-links|https?://", text)


def test_every_pin_runs_on_the_oldest_python_promised():
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    distributions = {canonicalize_name(found.name): found for found in importlib.metadata.distributions()}
    for name in pins().keys() & distributions.keys():
        needs = distributions[name].metadata["Requires-Python"] or ""
        # 3.11.2 is what Debian 12 ships: a pin that asks for 3.11.5 would leave its users with nothing.
        assert oldest in SpecifierSet(needs), f"constraints.txt: {name} needs Python {needs}, not {oldest}"


def test_environment_parses_as_conda_reads_it():
    specs = [MatchSpec(entry) for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
    names = {spec.name.normalized for spec in specs}
    assert names == {"python", "pip"}
    python = next(entry for entry in ENVIRONMENT["dependencies"] if str(entry).startswith("python"))
    assert python.removeprefix("python") == PROJECT["requires-python"]
    assert ENVIRONMENT["name"] == PROJECT["name"] and ENVIRONMENT["channels"] == ["conda-forge"]


def test_environment_installs_the_project_under_the_constraints():
    lines = environment_pip_lines()
    assert "-c constraints.txt" in lines
    (editable,) = (Requirement("mpolab" + line.removeprefix("-e .")) for line in lines if line.startswith("-e ."))
    assert editable.extras <= EXTRAS.keys()
    # The same extra as the Makefile installs, or the two ways to install would differ.
    assert f"--extra {','.join(sorted(editable.extras))}\n" in (ROOT / "Makefile").read_text()


def test_the_fixed_packages_are_installed_by_both_ways():
    (line,) = (line for line in environment_pip_lines() if line.startswith("-e ."))
    extras = Requirement("mpolab" + line.removeprefix("-e .")).extras
    installed = requirements(PROJECT["dependencies"], *(EXTRAS[extra] for extra in extras))
    assert FIXED <= {canonicalize_name(requirement.name) for requirement in installed}


def test_makefile_has_the_promised_targets_and_help_names_them():
    defined = set(re.findall(r"^([a-z]+):(?!=)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert TARGETS <= defined
    shown = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^make ([a-z]+)", shown.stdout, flags=re.MULTILINE)) == TARGETS - {"help"}


def test_makefile_refuses_an_unknown_scale():
    done = subprocess.run(["make", "check-scale", "SCALE=huge"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "laptop or gpu" in done.stdout


def test_make_model_installs_once(tmp_path):
    """In a copy whose scripts/install.py only notes that it was called."""
    (tmp_path / "scripts").mkdir()
    note = "import sys; open('calls', 'a').write(' '.join(sys.argv[1:]) + '\\n')"
    for name in ("pyproject.toml", "constraints.txt", "environment.yml"):
        (tmp_path / name).touch()
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "scripts" / "install.py").write_text(note)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    environment = {k: v for k, v in os.environ.items() if k not in ("CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "MAKEFLAGS")}

    def make_model() -> subprocess.CompletedProcess:
        return subprocess.run(["make", "model"], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert make_model().returncode == 0 and make_model().returncode == 0
    assert [call.split()[0] for call in (tmp_path / "calls").read_text().splitlines()] == ["venv", "model"]
    (tmp_path / ".venv" / ".installed-model").unlink()
    (tmp_path / "scripts" / "install.py").write_text("raise SystemExit(1)")
    os.utime(tmp_path / "scripts" / "install.py", (0, 0))  # older than .venv, which then stays
    assert make_model().returncode and "not installed" in make_model().stdout


def test_readme_starts_with_the_two_commands():
    # Commands stand in code blocks, fenced or indented: lines that start with `make`, a comment after them or not.
    lines = (line.split("#")[0].strip() for line in (ROOT / "README.md").read_text().splitlines())
    commands = [line for line in lines if line.startswith("make ")]
    assert commands[:2] == ["make run", "make test"]
    assert {command.split()[1] for command in commands} <= TARGETS
