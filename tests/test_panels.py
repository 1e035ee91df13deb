"""The panels as their readers use them: every setting, every face, and nothing decomposed under a slider."""

from __future__ import annotations

import base64
import io
import json
import math
import time

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from mpolab import MPO, depth, make_plan
from mpolab.allocation import allocate
from mpolab.baselines import affordable_cpd_rank, cpd_flops
from mpolab.errors import (
    BondError,
    DataError,
    DataNotFoundError,
    MatrixError,
    MatrixTypeError,
    UnknownNameError,
)
from mpolab.expert_views import RoutingTrace
from mpolab.panels import PANELS, base, methods
from mpolab.panels.base import SLOW
from mpolab.panels.compression import kind_and_layer
from mpolab.panels.probing import _limits
from mpolab.probing import ProbeResult, Score, TaskResult
from mpolab.trace import Matrix, Step, Trace
from mpolab.workbench import Workbench

SMALL = {
    "FFN in": torch.randn(48, 24, generator=torch.Generator().manual_seed(1)),
    "query": torch.randn(36, 36, generator=torch.Generator().manual_seed(2)),
    "odd": torch.randn(37, 11, generator=torch.Generator().manual_seed(3)),
}

# What a squeezing of two matrices might have recorded; the last step was taken back.
STEPS = [
    ("a.query", 2, 9, 6, 0.1),
    ("b.query", 3, 9, 6, 0.2),
    ("b.query", 2, 9, 6, 0.2),
    ("a.query", 3, 9, 6, 0.3),
    ("a.query", 2, 6, 3, 0.4),
]
TRACE = Trace(
    "estimate", 3, 1.0, None, 0, 80.0, 1000,
    {path: Matrix((2, 3, 3, 2), (2, 3, 3, 2), (36, 36), (1, 4, 9, 9, 1)) for path in ("a.query", "b.query")},
    [
        Step(k, path, bond, before, after, error, error, error / 2, 80.0 - k, 1000 - 10 * k, accepted=k < 5)
        for k, (path, bond, before, after, error) in enumerate(STEPS, start=1)
    ],
    "drop",
)  # fmt: skip


# One update in the scalar model, at every depth; an encoder's takes seconds.
STUDY = depth.study(models=depth.READINGS)


def probed(model: str, layers: int, peak: int, tasks=("probing-tense", "probing-tree-depth", "treebank-pos")):
    """What probing might have found: best at `peak`, the hidden layer ahead on dev in the upper half."""
    found = []
    for k, name in enumerate(tasks):
        scores = [
            Score(layer, kind, 1.0, 1.0, 0.8 + 0.01 * (kind == "hidden") * (2 * layer > layers - 2),
                  0.9 - 0.02 * abs(layer - peak) - 0.1 * k - 0.05 * (kind == "hidden"), 0.5 - 0.01 * layer, 0.7)
            for layer in range(layers) for kind in ("linear", "hidden")
        ]  # fmt: skip
        group = ("semantic", "syntactic", "syntactic")[k % 3]
        found.append(TaskResult(name, group, "sentence", ("a", "b"), {"test": 9}, {}, 0.5, tuple(scores), "made up"))
    return ProbeResult(model, "made up", "mean", 0, tuple(found))


PROBED = {"own/one": probed("own/one", 7, 3), "two": probed("two", 5, 1)}


def drifted(p_b: float, seed: int, steps=(0, 10, 20), experts: int = 3, layers: int = 2) -> list[dict]:
    """Snapshots that a run might have taken: experts 0 and 1 twice as far apart as others, farther for a larger p_b."""
    found = []
    for step in steps:
        apart = [
            0.01 * step * (1 + p_b) * (1 + 0.1 * seed) * (1 + (k == 0)) for k in range(experts * (experts - 1) // 2)
        ]
        rest = (1 - 0.5 - 0.01 * step) / (experts - 1)
        load = [0.5 + 0.01 * step, *[rest] * (experts - 1)]
        entropy = -sum(p * math.log(p) for p in load)
        entry = {"load": load, "load_entropy": entropy, "router_entropy": 1.0 - 0.02 * step}
        found.append(
            {"step": step, "layers": [
                {"name": f"layer {k}", **entry, "distances": [(1 + k) * d for d in apart]} for k in range(layers)
            ]}
        )  # fmt: skip
    return found


DRIFTED = {p_b: [drifted(p_b, seed) for seed in range(2)] for p_b in (0.0, 0.25, 1.0)}


def routed(tokens=(" It", " was", " a", " dark", " night"), experts: int = 3, layers: int = 3, prefix="transformer.h"):
    """A trace that might have been: token t of layer l goes to expert (t + l) mod n, the last one to expert 0."""
    chosen = [[[(t + k) % experts if t + 1 < len(tokens) else 0] for t in range(len(tokens))] for k in range(layers)]
    known = [[[0.8 if e == own else 0.2 / (experts - 1) for e in range(experts)] for (own,) in row] for row in chosen]
    return RoutingTrace.from_dict(
        {"tokens": tokens, "paths": [f"{prefix}.{k}.mlp" for k in range(layers)], "experts": chosen,
         "probabilities": known, "count": experts, "decoder": None}
    )  # fmt: skip


ROUTED = {"one": routed(), "two": routed(experts=2, layers=2)}
RECORDED = {
    "squeeze": TRACE,
    "depth": STUDY,
    "probing": PROBED,
    "sharing": "mpobert-48plus",
    "parameters": "T5-base",
    "routing": ROUTED,
    "experts": DRIFTED,
}


def made(name, source):
    """A panel on matrices, or (those that show what was recorded) on a record."""
    return PANELS[name](RECORDED.get(name, source))


@pytest.fixture(scope="module")
def bench():
    return Workbench.of(SMALL)


@pytest.fixture(scope="module", params=PANELS)
def panel(request, bench):
    return made(request.param, bench)


def sliders(panel):
    return {name: control for name, control in panel.controls.items() if name not in SLOW}


def picture(panel):
    return np.asarray(Image.open(io.BytesIO(panel.image.value)).convert("RGB"))


def test_the_promised_panels_are_there():
    assert set(PANELS) == {
        "bond", "error", "spectrum", "information", "methods", "cost", "lightweight", "compression", "squeeze",
        "depth", "probing", "sharing", "routing", "experts", "parameters",
    }  # fmt: skip


def test_three_faces(panel):
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == panel.readout and "\n" not in panel.readout and panel.readout
    assert base64.b64decode(bundle["image/png"]) == panel.image.value
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert picture(panel).std() > 5  # something is drawn


def test_no_output_widget_and_one_picture(panel):
    def inside(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from inside(child)

    kinds = [type(widget) for widget in inside(panel)]
    assert kinds.count(widgets.Image) == 1 and widgets.Output not in kinds


def test_a_sweep_visits_settings_and_restores(panel):
    before, state = panel.readout, {name: control.value for name, control in panel.controls.items()}
    seen = panel.sweep(points=4)
    assert len(set(seen)) > 3
    assert all("nan" not in line.lower() and "inf" not in line.lower().replace("information", "") for line in seen)
    assert panel.readout == before and {n: c.value for n, c in panel.controls.items()} == state


def test_the_same_setting_says_the_same(bench):
    for name in PANELS:
        assert made(name, bench).readout == made(name, bench).readout, name


def test_sliders_never_decompose(panel, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("decomposed under a slider")

    for function in ("svd", "svdvals", "eigh", "eigvalsh"):
        monkeypatch.setattr(torch.linalg, function, forbidden)
    monkeypatch.setattr(MPO, "decompose", forbidden)
    for name, control in sliders(panel).items():
        options = getattr(control, "options", None)
        values = options if options is not None else {control.min, (control.min + control.max) // 2, control.max}
        for value in values:
            panel.set(**{name: value})


def test_moving_a_slider_changes_picture_and_text(panel):
    name, control = next(iter(sliders(panel).items()))
    options = getattr(control, "options", None)
    low, high = (options[0], options[-1]) if options is not None else (control.min, control.max)
    panel.set(**{name: low})
    text, drawn = panel.readout, panel.image.value
    control.value = high  # as the browser does
    assert panel.readout != text and panel.image.value != drawn


def test_another_matrix_moves_the_sliders_ranges(bench):
    panel = PANELS["bond"](bench, matrix="odd")
    assert [panel.controls[f"bond_{k}"].max for k in range(1, 5)] == bench.mpo("odd", n=5).full_bonds[1:-1]
    panel.set(matrix="query")
    assert [panel.controls[f"bond_{k}"].max for k in range(1, 5)] == bench.mpo("query", n=5).full_bonds[1:-1]
    panel.set(all=2)
    expected = [min(2, d) for d in bench.mpo("query", n=5).full_bonds[1:-1]]
    assert f"bonds {'-'.join(map(str, expected))}," in panel.readout


def test_the_bond_panel_says_what_the_mpo_says(bench):
    cut = MPO.decompose(SMALL["FFN in"]).truncate(bond=[2, 5, 4, 2])
    panel = PANELS["bond"](bench, matrix="FFN in", bond_1=2, bond_2=5, bond_3=4, bond_4=2)
    assert f"ratio {cut.ratio:.3f}, error {cut.error():.3f}, bound {cut.bound():.3f}" in panel.readout
    assert f"error {cut.error(SMALL['FFN in']):.3f}" in panel.readout  # and so does the matrix itself


def test_n_and_method_are_the_reader_s_choice(bench):
    panel = PANELS["error"](bench, matrix="query", n=3, method="left_to_right", bond=4)
    cut = MPO.decompose(SMALL["query"], n=3, method="left_to_right").truncate(bond=4)
    assert f"measured {cut.error():.3f}, tight bound {cut.bound():.3f}" in panel.readout
    assert f"printed {cut.printed_bound():.2f}" in panel.readout


def test_a_matrix_of_one_s_own():
    assert PANELS["bond"](SMALL["query"].numpy(), all=3).readout == PANELS["bond"](SMALL["query"], all=3).readout
    panel = PANELS["bond"](SMALL["query"], all=3)
    assert panel.readout.startswith("matrix (36 × 36)")
    for W in (torch.zeros(16, 16), torch.ones(16, 16).bfloat16(), torch.eye(16, dtype=torch.float64)):
        for name in PANELS:
            assert "nan" not in made(name, W).readout, name


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"matrix": "no such"}, "'FFN in'"),
        ({"bonds": 3}, "'bond_1'"),
    ],
)
def test_wrong_settings_say_what_there_is(bench, values, says):
    with pytest.raises(UnknownNameError, match=says):
        PANELS["bond"](bench).set(**values)
    with pytest.raises(UnknownNameError, match="'3', '5'"):
        PANELS["error"](bench, n=4)


def test_the_workbench_decomposes_once(bench, monkeypatch):
    first = bench.mpo("query", n=7)
    monkeypatch.setattr(MPO, "decompose", None)
    assert bench.mpo("query", n=7) is first and bench.mpo("query", 7, "centre") is first


def test_the_workbench_says_which_matrices_there_are(bench):
    with pytest.raises(UnknownNameError, match="'FFN in', 'query', 'odd'"):
        bench.matrix("nothing like it")
    with pytest.raises(MatrixError, match="no matrix was given"):
        Workbench.of({})
    with pytest.raises(MatrixError, match="deep"):
        Workbench.of({"deep": torch.zeros(2, 2, 2)})
    with pytest.raises(MatrixTypeError, match="got int"):
        Workbench.of(3)
    assert Workbench.of(torch.nn.Linear(4, 3)).names == ["weight"]


def test_random_spectra_have_the_matrix_s_norm(bench):
    spectra = bench.random_spectra("FFN in", 5)
    norm = float(SMALL["FFN in"].norm())
    assert all(float(s.square().sum()) ** 0.5 == pytest.approx(norm, rel=1e-5) for s in spectra)


def test_a_setting_that_cannot_be_leaves_the_panel_as_it_was(bench):
    panel = PANELS["bond"](bench, matrix="FFN in")
    before = panel.readout
    with pytest.raises(BondError, match="all = 'x'"):
        panel.set(matrix="query", all="x")
    assert panel.value("matrix") == "FFN in" and panel.readout == before


def test_the_order_of_settings_does_not_matter(bench):
    make = PANELS["bond"]
    assert make(bench, bond_2=5, all=9).readout == make(bench, all=9, bond_2=5).readout


BAD = {
    "NaN": (torch.full((6, 6), float("nan")), "NaN"),
    "integers": (torch.ones(6, 6, dtype=torch.int64), "int64"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["bond", "error", "methods"])
def test_a_matrix_that_cannot_be_decomposed_says_so_in_the_panel(name, bad):
    matrix, says = BAD[bad]
    panel = PANELS[name]({"good": SMALL["query"], "other": SMALL["odd"], bad: matrix}, matrix="good")
    sliders(panel).popitem()[1].value = 0.2 if name == "methods" else 2
    before, picture = panel.readout, panel.image.value
    settings = {name: control.value for name, control in panel.controls.items()}
    panel.controls["matrix"].set_state({"index": 2})  # as the browser does
    assert says in panel.busy.value
    assert {name: control.value for name, control in panel.controls.items()} == settings  # what is still shown
    assert panel.readout == before and panel.image.value == picture
    panel.controls["matrix"].set_state({"index": 1})
    assert panel.busy.value == "" and panel.value("matrix") == "other" and panel.readout != before


def test_a_file_that_is_gone_is_told_in_the_panel(bench, monkeypatch):
    def gone(self):
        raise FileNotFoundError("there is no record <here>")

    panel = PANELS["bond"](bench, matrix="query", all=3)
    monkeypatch.setattr(type(panel), "numbers", gone)
    panel.controls["all"].value = 2
    assert "no record &lt;here&gt;" in panel.busy.value and panel.value("all") == 3


def test_slow_work_shows_on_stderr_until_the_panel_is_displayed(bench, monkeypatch, capsys):
    panel_type = PANELS["bond"]
    monkeypatch.setattr(base, "BAR_AFTER", 0.01)
    monkeypatch.setattr(panel_type, "after_slow_change", lambda self: time.sleep(0.5))
    panel = panel_type(bench, matrix="odd")
    assert "working on odd" in capsys.readouterr().err
    panel._repr_mimebundle_()
    panel.set(matrix="query")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(base, "BAR_AFTER", 2.0)
    panel_type(bench, matrix="odd")
    assert capsys.readouterr().err == ""  # half a second is not slow


def drawn_texts(panel) -> str:
    return " ".join(text.get_text() for text in panel.draw(panel.numbers()).findobj(Text))


def test_the_methods_panel_says_what_cpd_got_and_where_it_ends(bench, monkeypatch):
    panel = PANELS["methods"](bench, matrix="FFN in", ratio=0.9)
    cpd = panel.numbers()["here"]["CPD"]
    assert len(cpd.errors) == 2 and cpd.error == min(cpd.errors)
    assert f"(rank {cpd.rank}, best of 2 starts of 10 iterations)" in panel.readout
    assert "CPD: best of 2 starts of 10 iterations" in drawn_texts(panel) and "left out" not in drawn_texts(panel)
    monkeypatch.setattr(methods, "CPD_FLOPS", 20 * cpd_flops(make_plan((48, 24), 3), cpd.rank // 2))
    panel = PANELS["methods"](SMALL, matrix="FFN in", ratio=0.9)
    assert "CPD not computed here" in panel.readout and "left out from ratio 0.5 on: too slow" in drawn_texts(panel)


def test_cpd_of_a_384x384_matrix_over_three_legs_is_left_out_nowhere():
    plan = make_plan((384, 384), 3)
    rank = int(methods.RATIOS[-1] * 384 * 384) // sum(plan.sizes)
    assert len(methods.SEEDS) > 1
    starts = len(methods.SEEDS)
    assert affordable_cpd_rank(plan, methods.ITERATIONS, starts, flops=methods.CPD_FLOPS) >= rank


# -- the panels of whole models ----------------------------------------------------------------------


def test_the_compression_panel_keeps_its_budgets(bench):
    panel = PANELS["compression"](bench)
    mpos = [bench.mpo(name) for name in bench.names]
    sizes = [(mpo.plan.padded[0] * mpo.plan.padded[1], mpo.plan.parameters([1] * 6)) for mpo in mpos]
    for ratio in (0.3, 0.5, 0.8):
        allowed = sum(max(ratio * whole, least) for whole, least in sizes)  # 37 x 11 has few plans: bonds of 1 are much
        for allocation in panel.controls["allocation"].options:
            stored = panel.set(ratio=ratio, allocation=allocation).numbers()["stored"]
            assert stored <= allowed and f"{stored:,} of" in panel.readout
        for mpo, bonds in zip(mpos, panel.set(allocation="uniform").numbers()["bonds"]):
            if max(bonds) > 1:
                assert bonds == mpo.truncate(ratio=ratio).bonds  # the same greedy path, walked once for all ratios
        spread = panel.set(allocation="spectra").numbers()["bonds"]
        assert spread == allocate([mpo.plan for mpo in mpos], [mpo.spectra for mpo in mpos], ratio)


def test_the_compression_panel_s_error_is_that_of_all_matrices_together(bench):
    numbers = PANELS["compression"](bench, ratio=0.4).numbers()
    cuts = [bench.mpo(name).truncate(bond=d[1:-1]) for name, d in zip(numbers["names"], numbers["bonds"])]
    lost = sum((cut.to_matrix() - bench.matrix(name)).square().sum() for name, cut in zip(numbers["names"], cuts))
    norm = sum(bench.matrix(name).square().sum() for name in numbers["names"])
    assert float((lost / norm) ** 0.5) <= numbers["error"] + 1e-6


def test_the_lightweight_panel_counts_what_facts_count():
    panel = PANELS["lightweight"]({"L0 query": torch.zeros(768, 768), "L0 FFN in": torch.zeros(3072, 768)})
    assert "#Pr 258,736 of #To 3,207,856" in panel.readout  # 74,016 + 184,720 beside 589,824 + 2,359,296
    assert "#Pr 235,489 of" in panel.set(factors="mpobert").readout  # 86,609 + 148,880
    plan = make_plan((768, 768), 3)
    outer = sum(plan.parameters(plan.full_bonds) - 96 * 96 * 64 for _ in range(1))
    assert PANELS["lightweight"](torch.zeros(768, 768), n=3).numbers()["kinds"]["matrix"][0] == outer


@pytest.mark.parametrize(
    ("label", "place"),
    [
        ("L0 query", ("query", "L0")),
        ("L11 attention output", ("attention output", "L11")),
        ("dec L3 cross key", ("cross key", "dec L3")),
        ("G0.1 FFN in", ("FFN in", "G0.1")),
        ("word embedding", ("word embedding", "")),
        ("LM head", ("LM head", "")),
        ("L2", ("L2", "")),
    ],
)
def test_labels_find_their_place_in_the_table(label, place):
    assert kind_and_layer(label) == place


def test_the_replay_shows_the_trace(monkeypatch):
    panel = PANELS["squeeze"](TRACE, step=1)
    assert "step 1 of 5" in panel.readout and "9 → 6" in panel.readout and "990 of 1,000" in panel.readout
    assert panel.numbers()["left"] == {"a.query": 6 / 9, "b.query": 1.0}
    last = panel.set(step=5)
    assert "taken back" in last.readout and "960 of 1,000" in last.readout
    assert last.numbers()["left"] == {"a.query": 6 / 9, "b.query": 6 / 9}
    assert PANELS["squeeze"](TRACE.to_dict()).readout == PANELS["squeeze"]({"this run": TRACE}).readout


def test_a_replay_of_nothing_says_what_is_needed(monkeypatch, tmp_path):
    with pytest.raises(DataError, match="trace of a squeezing"):
        PANELS["squeeze"](torch.zeros(3, 3))
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    with pytest.raises(DataNotFoundError, match="mpolab run --list"):
        PANELS["squeeze"]()


def test_the_depth_panel_shows_the_corollary_and_what_it_leaves_out():
    panel = PANELS["depth"](STUDY, model="corollary", n=3, init="theory", centre="free")
    assert "auxiliary 0.00 ± 0.00 (1 at L = 96), centre 0.50 ± 0.00 (3.46 at L = 96)" in panel.readout
    assert "it grows" in panel.readout and "others: copy 1.87, algorithm1 0.29" in panel.readout
    assert "p = 0.00 ± 0.00: it stays level" in panel.set(centre="frozen").readout
    assert "algorithm1 (as paper_text)" in panel.set(init="algorithm1").readout
    assert "p = -1.50 ± 0.00: it shrinks" in panel.set(n=5).readout


def test_the_depth_panel_takes_any_study_and_says_what_it_needs(monkeypatch, tmp_path):
    one = depth.study((4, 8, 16), inits=("copy",), models=("theorem",), n=(3,), optimisers=("LAMB",))
    panel = PANELS["depth"](one.to_dict())
    assert panel.readout == PANELS["depth"](one).readout and "theorem" not in panel.readout
    assert "eq. 8, n = 3, LAMB" in panel.readout and "others: none" in panel.readout
    for wrong in (torch.zeros(3, 3), depth.Study(())):
        with pytest.raises(DataError, match="study of depth"):
            PANELS["depth"](wrong)
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    with pytest.raises(DataNotFoundError, match="depth_study"):
        PANELS["depth"]()


def test_the_probing_panel_shows_what_was_found():
    panel = PANELS["probing"](PROBED, layer=4)
    # tense: layer 4 is in the upper half, where the hidden layer is ahead on dev and 5 % behind on test
    assert "own/one 83.0% (accuracy 83.0%, control 46.0%, hidden), best 88.0% at layer 2" in panel.readout
    linear = panel.set(probe="linear")
    assert "own/one 88.0% (accuracy 88.0%, control 46.0%, linear), best 90.0% at layer 3" in linear.readout
    assert "two 84.0%" in linear.readout and "best 90.0% at layer 1" in linear.readout
    assert "own/one 42.0% (accuracy" in panel.set(show="selectivity").readout
    assert "two has no layer 6 for it" in panel.set(layer=6).readout
    alone = panel.set(record="two", show="accuracy")
    assert alone.value("layer") == 4 and "own/one" not in alone.readout
    other = panel.set(tasks="a treebank")
    assert other.value("task") == "treebank-pos" and other.readout.startswith("treebank-pos, accuracy, probe linear")


def test_the_probing_panel_takes_results_and_records(monkeypatch, tmp_path):
    one = PROBED["two"]
    assert PANELS["probing"](one).readout == PANELS["probing"](one.to_dict()).readout
    (tmp_path / "probing").mkdir()
    (tmp_path / "probing" / "two.json").write_text(json.dumps({**one.to_dict(), "command": "python"}))
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    assert PANELS["probing"]().readout == PANELS["probing"](one).readout
    for wrong in (torch.zeros(2, 2), {}, []):
        with pytest.raises(DataError, match=r"expected the result of mpolab.probing.probe"):
            PANELS["probing"](wrong)
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path / "nothing"))
    with pytest.raises(DataNotFoundError, match="scripts/probe_models"):
        PANELS["probing"]()


def test_models_with_different_tasks_stand_side_by_side():
    some = {"all": PROBED["own/one"], "few": probed("few", 4, 0, ("probing-tense",))}
    panel = PANELS["probing"](some, task="probing-tree-depth")
    table = panel.numbers()["tables"]
    assert np.isnan(table["few"]["probing-tree-depth"]).all() and not np.isnan(table["all"]["probing-tense"]).any()
    assert "few has no layer 6 for it" in panel.readout


def test_shades_of_probing_span_ten_points_at_least():
    assert _limits([[0.97, 0.99], [math.nan, 0.98]]) == pytest.approx((0.89, 0.99))
    assert _limits([[0.2, 0.9], [0.5, math.nan]]) == (0.2, 0.9) and _limits([[math.nan]]) == (0.0, 1.0)
