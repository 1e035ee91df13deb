"""The page's figures: one section each, pictures that are pictures, words and numbers that the objects have."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch
from matplotlib.image import imread

from mpolab import runs
from mpolab.errors import CheckpointError, DataNotFoundError
from mpolab.ledger import counts, figures, pages
from mpolab.ledger.own_points import own_points
from mpolab.papers import ITEMS, label, recomputed
from mpolab.probing import load_results
from mpolab.runs import results_folder
from mpolab.surgery import freeze_central, to_mpo, trainable_report
from mpolab.surgery_plans import MPOP_RELEASED

WANTED = ["mpop-fig1", "mpop-fig2", "mpobert-fig1", "mpobert-fig2", "mpobert-fig3", "mpobert-fig4", "mpoe-fig1",
          "mpoe-fig2"]  # fmt: skip
VOID = {"meta", "img", "br", "line", "circle"}  # line and circle close themselves


class Reader(HTMLParser):
    """Fails on a tag that is not closed where it should be; keeps the images of each section."""

    def __init__(self):
        super().__init__()
        self.open, self.images, self.texts, self.section, self.ids = [], {}, {}, None, []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if "id" in found:
            self.ids.append(found["id"])
        if tag in ("h2", "h3"):
            self.section = found.get("id")
        if tag == "img":
            self.images.setdefault(self.section, []).append(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        self.texts[self.section] = self.texts.get(self.section, "") + data


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == [] and len(reader.ids) == len(set(reader.ids))
    return reader


@pytest.fixture(scope="module")
def page():
    return pages.page([])


def test_every_figure_of_the_papers_has_a_section_with_both_sides(page, tmp_path):
    assert [side.item for side in figures.SIDES] == WANTED == [item for item in ITEMS if "-fig" in item]
    reader = read(page)
    for side in figures.SIDES:
        section = f"figure-{side.item}"
        text = reader.texts[section]
        assert label(side.item) in text and side.printed in text and "in the paper" in text and "Not drawn" not in text
        for number, image in enumerate(reader.images[section]):
            assert len(image["alt"]) > 60 and image["alt"].endswith(".")
            kind, data = image["src"].split(",")
            assert kind == "data:image/png;base64"
            file = tmp_path / f"{side.item}-{number}.png"
            file.write_bytes(base64.b64decode(data, validate=True))
            height, width, _ = imread(file).shape
            assert width >= 1000 and height >= 300
    assert len(page.encode()) < 3_000_000 and "<script" not in page and "http" not in page
    assert len(reader.images["figure-mpobert-fig2"]) == 2  # MPOBERT and MPOBERT+


def test_numbers_of_the_objects_are_in_the_words(page):
    alts = {section: [image["alt"] for image in images] for section, images in read(page).images.items()}
    report = trainable_report(freeze_central(to_mpo(counts.on_meta("albert-base"), MPOP_RELEASED, progress=False)))
    assert f"{report.trainable:,} of the model's {report.total:,} numbers train" in alts["figure-mpop-fig1"][0]
    for alt, million in zip(
        alts["figure-mpobert-fig2"],
        (counts.mpobert("mpobert-12", adapter_rank=8), counts.mpobert("mpobert-48plus", adapter_rank=8)),
    ):
        assert f"{round(million * 1e6):,} in all" in alt
    assert f"{round(counts.moe('gpt2', experts=8) * 1e6):,} numbers" in alts["figure-mpoe-fig2"][0]
    centre, auxiliary = counts.core_sizes((3072, 768))
    assert (
        f"share {2 * centre:,} numbers of central tensors and own {2 * auxiliary:,} each" in alts["figure-mpoe-fig1"][0]
    )
    mean = recomputed("mpobert-tab1-dev")["BART12"][1]
    printed, anew, ours = alts["figure-mpobert-fig1"]
    found = own_points(results_folder())
    assert all(f"{name} {size:.1f} M, {depth} layers, {mean:.1f}" in ours
               for name, (size, depth, mean) in found.models.items())  # fmt: skip
    assert "BART12 140.0 M, 12 layers, 82.8" in printed and f"BART12 140.0 M, 12 layers, {mean:.1f}" in anew
    assert "MPOBERT12 20.0 M" in anew and f"MPOBERT48 {counts.mpobert('mpobert-48'):.1f} M" in anew


def test_records_are_what_is_drawn(page):
    alts = {section: images[0]["alt"] for section, images in read(page).images.items()}
    rows = json.loads((results_folder() / "low_rank.json").read_text())["rows"]
    low = min(row["ratio"] for row in rows)
    for method, n in (("MPO", 3), ("MPO", 7), ("CPD", 3), ("SVD", 3)):
        errors = [r["error"] for r in rows if (r["method"], r["n"], r["ratio"]) == (method, n, low)]
        assert f"{method}, n = {n} {sum(errors) / len(errors):.3f}" in alts["figure-mpop-fig2"]
    for way, name in (("scratch", "from random numbers"), ("continued", "ALBERT, trained on")):
        ends = [runs.load(file).evaluations[-1]["mlm_loss"]
                for file in (results_folder() / f"fig3-{way}").glob("laptop-seed*.json")]  # fmt: skip
        assert len(ends) == 3 and f"{name} {sum(ends) / 3:.3f}" in alts["figure-mpobert-fig3"]
    for result in load_results(results_folder() / "probing").values():
        assert f"tree-depth {result.task('probing-tree-depth').best()}" in alts["figure-mpobert-fig4"]


def test_mpobert_is_among_the_probed(page, tmp_path):
    """Three draws of each model, 25 rows a task: the best layer of their mean, and the depths of every draw."""
    heat, depths = (image["alt"] for image in read(page).images["figure-mpobert-fig4"][1:])
    study = json.loads((results_folder() / "probing_trend.json").read_text())
    mine = [run for run in study["runs"] if run["model"] == "mpobert-mini"]
    for name, shown in (("probing-tree-depth", "tree-depth"), ("treebank-tense", "tense (treebank)")):
        columns = [task["test"] for run in mine for task in run["tasks"] if task["name"] == name]
        sums = [sum(layer) for layer in zip(*columns)]
        assert len(columns) == 3 and len(sums) == 25 and f" {shown} {sums.index(max(sums))}" in heat
    for model, shown in (("minilm", "MiniLM (6 layers)"), ("mpobert-mini", "mpobert-mini (24 layers)")):
        by_group = {"syntactic": [], "semantic": []}
        for run in study["runs"]:
            for task in run["tasks"] if run["model"] == model else ():
                by_group[task["group"]].append(task["centre"])
        syntax, meaning = (sum(values) / len(values) for values in by_group.values())
        assert f"{shown} {syntax:.2f} and {meaning:.2f}" in depths
    shutil.copytree(results_folder() / "probing", tmp_path / "probing")
    with pytest.raises(DataNotFoundError, match=r"scripts/trend_study\.py"):
        figures._mpobert_4(tmp_path)


def test_without_records_the_page_says_what_makes_them(tmp_path):
    found = read(pages.page([], tmp_path))
    for item, command in (
        ("mpop-fig2", "python scripts/low_rank_study.py"),
        ("mpobert-fig3", "mpolab run mpobert-fig3 --scale laptop"),
        ("mpobert-fig4", "scripts/probe_models.py"),
    ):
        section = f"figure-{item}"
        assert section not in found.images and "Not drawn" in found.texts[section] and command in found.texts[section]
    assert str(tmp_path) not in " ".join(found.texts.values())
    (tmp_path / "low_rank.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no whole study"):
        pages.page([], tmp_path)


def test_the_largest_scale_that_all_ways_have_is_drawn(tmp_path):
    for way in ("scratch", "decomposed", "continued"):
        shutil.copytree(results_folder() / f"fig3-{way}", tmp_path / f"fig3-{way}")
        larger = tmp_path / f"fig3-{way}" / "laptop-seed0.json"
        if way != "continued":  # two of three at a larger scale do not compare
            text = larger.read_text().replace('"scale": "laptop"', '"scale": "gpu"')
            (tmp_path / f"fig3-{way}" / "gpu-seed0.json").write_text(text)
    (picture,) = figures._mpobert_3(tmp_path)
    assert "scale laptop, seeds 0 1 2" in picture.caption


def test_without_matplotlib_the_page_says_so(monkeypatch):
    monkeypatch.setattr(pages.importlib.util, "find_spec", lambda name: None)
    found = read(pages.page([]))
    assert not found.images and all("mpolab[viz]" in found.texts[f"figure-{item}"] for item in WANTED)


def test_words_are_escaped(monkeypatch):
    side = figures.Side("mpop-fig1", "a < b", lambda _: [figures.Picture(b"png", 'x "y" <z>', "a & b")])
    monkeypatch.setattr(figures, "SIDES", (side,))
    page = pages.page([])
    assert read(page).images["figure-mpop-fig1"] == [
        {"src": "data:image/png;base64,cG5n", "alt": 'x "y" <z>'}
    ] and re.search("a &lt; b", page)
    assert torch.get_default_device().type == "cpu"  # models on the meta device leave nothing behind
