"""Cells of notebook 02 with a model of the reader's own: one that no cut changes, one without a tokenizer.

The tiny random models here test the cells; they stand for no result.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import nbformat
import pytest
import torch
from small import family, tiny_model, tiny_tokenizer

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "02_entanglement.ipynb"
FIRST, ALL_MPOS = "c01", "c33"  # what the imports bring; the decompositions of all layers
STACKED = ("c40", "c41", "c43", "c45", "c47", "c48")  # section 5: how the error grows through a stacked model
TRAINED = ("e3381b8d", "e62cec62", "8fa96dc8", "1b2cf48a")  # section 8: the training that always runs


@pytest.fixture
def run(monkeypatch):
    """run(folder, cells): executes these cells, one after the other, with the model in that folder."""
    monkeypatch.setattr(matplotlib.rcParams, "update", lambda *changes: None)

    def run(folder: Path, *cells: str) -> None:
        monkeypatch.setenv("MPOLAB_MODEL", str(folder))
        source = {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}
        names: dict = {}
        for cell in cells:
            exec(compile(source[cell], f"cell {cell}", "exec"), names)
        matplotlib.pyplot.close("all")

    return run


def test_errors_through_a_model_that_no_cut_changes(run, tmp_path, capsys):
    model = family("bert")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".layer." in name and weight.dim() == 2:
                weight.zero_()
    model.save_pretrained(tmp_path)
    run(tmp_path, FIRST, ALL_MPOS, *STACKED)
    told = capsys.readouterr().out
    assert "no tokenizer: random token ids" in told and told.count("no layer's states change.") == 2


def test_a_model_without_tokenizer_is_not_trained(run, tmp_path, capsys):
    tiny_model("BertModel").save_pretrained(tmp_path)
    run(tmp_path, FIRST, *TRAINED)
    told = capsys.readouterr().out
    assert told.endswith("no tokenizer: nothing is trained here, and the next two cells have nothing to say\n")


def test_a_model_of_one_s_own_is_trained_and_need_not_be_good_at_it(run, tmp_path, capsys):
    tiny_model("BertModel").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    run(tmp_path, FIRST, *TRAINED)
    told = capsys.readouterr().out
    assert "\nno centre ever had a gradient\n" in told and "beats the majority class" not in told
    assert told.splitlines()[-1].startswith("dev accuracy")
