"""What the tests of the command line share: a fresh process, a tiny model as a folder, rows as a folder, an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small import sentences, tiny_model, tiny_tokenizer

from mpolab.pretrained import quiet_transformers


def run(*argv: str, **options) -> subprocess.CompletedProcess:
    """`python -m mpolab ...` in a fresh process, without a hub."""
    return python("-m", "mpolab", *argv, **options)


def python(*argv: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    command = [sys.executable, *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment, **options)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """No network and no settings of the caller's; relative paths lead nowhere."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("MPOLAB_MODEL", "MPOLAB_SCALE", "MPOLAB_RESULTS", "MPOLAB_WORK", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def paragraph(text: str, *parts: str) -> str:
    """The error on stderr: one paragraph after whatever progress came before it, no traceback, every part in it."""
    last = text.strip().splitlines()[-1]
    assert last.startswith("mpolab: ") and "Traceback" not in text
    for part in parts:
        assert part in last, f"{part!r} not in {last!r}"
    return last


def save_tiny(folder: Path, cls: str = "BertModel", tokenizer: bool = True, **config) -> Path:
    """A BERT with random weights, hidden size 32, two layers, as `save_pretrained` writes it."""
    with quiet_transformers():
        tiny_model(cls, **config).save_pretrained(folder)
        if tokenizer:
            tiny_tokenizer().save_pretrained(folder)
    return folder


def save_rows(folder: Path, train: int = 60, dev: int = 30) -> Path:
    """SST-2 in its original layout, where one word gives the label away; returns the folder to name as --data-dir."""
    (folder / "SST-2").mkdir(parents=True)
    for seed, (split, count) in enumerate({"train": train, "dev": dev}.items()):
        lines = [f"{row['text']}\t{row['label']}" for row in sentences(count, seed)]
        (folder / "SST-2" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    return folder


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    """Whether two models have the same tensors under the same names, to the last bit."""
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
