"""The routing panel and the expert panel: what they show is what was recorded, and what they need is told."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from test_expert_views import TEXT, TOKENIZER, small_gpt2, small_t5, stirred
from test_panels import DRIFTED, ROUTED, drifted, routed

from mpolab import runs, to_moe
from mpolab.errors import DataError, DataNotFoundError, RoutingError
from mpolab.expert_views import entropy_of, trace_routing
from mpolab.panels import PANELS
from mpolab.panels.experts import mask_of

RECORD = runs.Record(
    "mpoe-lm-p0", "hash", "laptop", 0, {"options": {"kind": "mpoe", "mask_probability": 0.0}, "text": "novels"}, "", {},
    "", 1.0, 1, "rss", 1, 1, {},
)  # fmt: skip


def record(p_b: float, seed: int, **changes) -> runs.Record:
    about = {
        "recipe": f"mpoe-lm-p{p_b:g}", "seed": seed, "extra": {"routing": drifted(p_b, seed)},
        "fields": {"options": {"kind": "mpoe", "mask_probability": p_b}, "text": "novels"},
    }  # fmt: skip
    return dataclasses.replace(RECORD, **{**about, **changes})


RECORDS = [record(p_b, seed) for p_b in DRIFTED for seed in range(2)]


# -- the routing panel -----------------------------------------------------------------------------------


def test_the_routing_panel_says_what_the_trace_says():
    panel = PANELS["routing"](ROUTED, layer=1)
    # layer 1: tokens 0 .. 3 go to experts 1 2 0 1, the last one to 0
    assert "one, layer 1: 5 tokens, 3 experts, load 40 40 20 %" in panel.readout
    load = -sum(p * math.log(p) for p in (0.4, 0.4, 0.2))
    router = -0.8 * math.log(0.8) - 2 * 0.1 * math.log(0.1)
    assert f"load {load:.2f} of ln 3 = 1.10 nats, of the router {router:.2f}" in panel.readout
    assert "probability of the token's expert 0.80 to 0.80" in panel.set(colour="router's probability").readout
    assert panel.numbers()["weights"] == pytest.approx([0.8] * 5)
    other = panel.set(layer=2, record="two")
    assert other.value("layer") == 1 and "two, layer 1: 5 tokens, 2 experts" in other.readout


def test_the_routing_panel_traces_a_model_itself():
    model = small_gpt2("moe", 4, top_k=2)
    panel = PANELS["routing"]((model, TOKENIZER, TEXT), layer=1)
    trace = trace_routing(model, TOKENIZER, TEXT)
    assert panel.readout == PANELS["routing"](trace, layer=1).readout
    assert panel.readout == PANELS["routing"](json.loads(json.dumps(trace.to_dict())), layer=1).readout
    numbers = panel.numbers()
    assert all(len(own) == 2 for own in numbers["experts"]) and numbers["load"] == trace.load[1].tolist()
    best = [max(p) for p in trace.probabilities[1].tolist()]
    assert numbers["weights"] == pytest.approx(best)  # of two experts the one that counts more comes first


def test_an_encoder_s_layers_come_before_its_decoder_s():
    model = stirred(to_moe(small_t5(), "mpoe", 4))
    panel = PANELS["routing"]((model, TOKENIZER, "the cat runs", "a dog"))
    seen = [panel.set(layer=k).readout for k in range(4)]
    assert panel.controls["layer"].max == 3
    for k, text in enumerate(seen):
        side, tokens = ("encoder", 5) if k < 2 else ("decoder", 4)
        assert f"{side} layer {k % 2}: {tokens} tokens" in text


def test_dropped_tokens_and_routers_without_probabilities_are_shown_as_such():
    model = small_gpt2("switch", 2, eval_capacity_factor=0.5)
    panel = PANELS["routing"]({"tight": (model, TOKENIZER, TEXT), "hash": (small_gpt2(router="hash"), TOKENIZER, TEXT)})
    dropped = trace_routing(model, TOKENIZER, TEXT).dropped[0]
    assert f"{dropped:.0%} of the tokens without an expert" in panel.readout and dropped > 0.4
    panel.set(colour="router's probability")
    assert any(map(math.isnan, panel.numbers()["weights"])) and "nan" not in panel.readout
    panel.set(record="hash")
    assert panel.controls["colour"].options == ("expert",) and panel.value("colour") == "expert"
    assert "router" not in panel.readout
    assert panel.set(record="tight").controls["colour"].options == ("expert", "router's probability")


def test_a_routing_panel_of_nothing_says_what_it_needs(monkeypatch, tmp_path):
    for wrong in (torch.zeros(3, 3), {}, 3, (1, 2), {"a": 3}):
        with pytest.raises(DataError, match="trace of a routing"):
            PANELS["routing"](wrong)
    from small import tiny_model

    with pytest.raises(RoutingError, match="no experts"):
        PANELS["routing"]((tiny_model("GPT2LMHeadModel"), TOKENIZER, TEXT))
    with pytest.raises(DataError, match="a word in it"):
        PANELS["routing"]((small_gpt2(), TOKENIZER, ""))
    with pytest.raises(DataError, match="no tokenizer"):
        PANELS["routing"]((small_gpt2(), None, TEXT))
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    with pytest.raises(DataNotFoundError, match="trace_routing"):
        PANELS["routing"]()
    record(0.0, 0, extra={"routing_trace": routed().to_dict()}).save()
    panel = PANELS["routing"](layer=1)
    assert (
        panel.readout.replace("mpoe-lm-p0, laptop, seed 0", "this text") == PANELS["routing"](routed(), layer=1).readout
    )


# -- the expert panel ------------------------------------------------------------------------------------


def test_the_expert_panel_says_what_was_recorded():
    panel = PANELS["experts"](DRIFTED, p_b=0.25, step=10, layer=1)
    # 0.01 step (1 + p_b) (1 + seed / 10) (1 + layer), one of three pairs twice that
    means = [0.01 * 10 * 1.25 * (1 + 0.1 * seed) * 2 * 4 / 3 for seed in range(2)]
    expected = f"mean distance {sum(means) / 2:.3g} ({means[0]:.3g} to {means[1]:.3g})"
    assert expected in panel.readout and "layer 1, 3 experts, p_b = 0.25, step 10 (2 seeds)" in panel.readout
    other = 0.01 * 10 * 2 * 1.05 * 2 * 4 / 3
    assert f"p_b = 1 {other:.3g} (" in panel.readout and "p_b = 0.25 " not in panel.readout.partition("others")[2]
    load = entropy_of(torch.tensor([0.6, 0.2, 0.2])).item()
    assert f"entropy of the load {load:.3g} ({load:.3g} to {load:.3g})" in panel.readout
    assert "entropy of the router 0.8 (" in panel.set(beside="entropy of the router").readout
    assert "largest load 0.6 (" in panel.set(beside="largest load").readout
    numbers = panel.set(seed=1, step=20).numbers()
    distances = numbers["history"].distances[numbers["at"], 1]
    assert distances[0, 1].item() == pytest.approx(0.01 * 20 * 1.25 * 1.1 * 2 * 2)
    assert distances[0, 2].item() == distances[2, 1].item() == pytest.approx(0.01 * 20 * 1.25 * 1.1 * 2)
    assert "mean distance 0 (0 to 0)" in panel.set(step=0).readout


def test_the_scale_of_the_distances_does_not_move_with_the_step():
    panel = PANELS["experts"](DRIFTED, layer=1)
    highest = 0.01 * 20 * 2 * 1.1 * 2 * 2  # the last step, p_b = 1, seed 1, experts 0 and 1
    for step in (0, 20):
        for p_b in (0.0, 1.0):
            panel.set(step=step, p_b=p_b)
            (image,) = panel.draw(panel.numbers()).axes[0].images
            assert image.get_clim() == pytest.approx((0, highest))


def test_records_are_read_and_grouped(monkeypatch, tmp_path):
    given = PANELS["experts"](DRIFTED, p_b=0.25, step=10).readout
    assert PANELS["experts"](RECORDS[::-1], p_b=0.25, step=10).readout == given
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    with pytest.raises(DataNotFoundError, match="RoutingWatch"):
        PANELS["experts"]()
    others = [record(0.5, 0, recipe="mpoe-16-p0.5", fields={"mask_probability": 0.5, "experts": 16}),
              record(0.0, 0, recipe="switch", fields={"kind": "switch"})]  # fmt: skip
    for one in (*RECORDS, *others):
        one.save()
    panel = PANELS["experts"]()
    assert list(panel.studies) == ["mpoe-16-p0.5, laptop", "mpoe-lm-p, laptop"]  # a switch has no p_b
    assert panel.controls["p_b"].options == (0.5,) and "1 seed)" in panel.readout
    panel.set(record="mpoe-lm-p, laptop", p_b=0.25, step=10)
    assert panel.controls["p_b"].options == (0.0, 0.25, 1.0)
    assert panel.readout == given.replace("these runs", "mpoe-lm-p, laptop")


def test_p_b_of_a_record():
    assert mask_of(record(0.25, 0)) == 0.25
    assert mask_of(record(0.25, 0, extra={"mask_probability": 0.5})) == 0.5
    assert mask_of(record(0.25, 0, fields={"options": {"kind": "switch"}})) is None


def test_a_run_that_stopped_earlier_is_shown_as_it_ended():
    short = {0.0: [drifted(0.0, 0, (0, 10))], 1.0: [drifted(1.0, 0), drifted(1.0, 1, (0, 10, 20, 30))]}
    panel = PANELS["experts"](short, p_b=0.0)
    assert panel.controls["step"].options == (0, 10, 20) and panel.value("step") == 20
    assert panel.readout.partition("mean distance ")[2] == PANELS["experts"](short, p_b=0.0, step=10).readout.partition(
        "mean distance "
    )[2].replace(
        f"{0.01 * 10 * 2 * 1.05 * 4 / 3:.3g} (0.267 to 0.293)", f"{0.01 * 20 * 2 * 1.05 * 4 / 3:.3g} (0.533 to 0.587)"
    )
    numbers = panel.numbers()
    assert numbers["history"].steps[numbers["at"]] == 10


def test_routers_without_a_distribution_leave_their_curve_out():
    without = [
        {**shot, "layers": [{**layer, "router_entropy": None} for layer in shot["layers"]]} for shot in drifted(0.0, 0)
    ]
    panel = PANELS["experts"]({0.0: [without]}, beside="entropy of the router")
    assert "entropy of the router none" in panel.readout and "nan" not in panel.readout


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({}, "run records, got a dict"),
        (torch.zeros(3, 3), "got a Tensor"),
        ([], "got a list"),
        ({1.5: [drifted(0.0, 0)]}, "p_b from 0 to 1"),
        ({0.5: []}, "p_b from 0 to 1"),
        ({0.5: [[]]}, "snapshots of one run"),
        ({0.5: drifted(0.0, 0)}, "snapshots of one run"),
        ({0.0: [drifted(0.0, 0)], 1.0: [drifted(1.0, 0, experts=4)]}, "2 layers of 3 experts and 2 layers of 4"),
        ({0.0: [drifted(0.0, 0, (0, 10)), drifted(0.0, 1, (5, 15))]}, "no step in common"),
        ([record(0.0, 0), record(0.0, 0)], "two records have p_b = 0 and seed 0"),
        ([record(0.0, 0, extra={})], r"has no extra\['routing'\]"),
        ([record(0.0, 0, fields={})], "has no mask_probability"),
    ],
)
def test_what_the_expert_panel_cannot_show_is_told(source, says):
    with pytest.raises(DataError, match=says):
        PANELS["experts"](source)


def test_a_watched_run_goes_straight_into_the_panel():
    from mpolab.expert_views import model_distances, snapshot

    model = small_gpt2()
    shots = [{"step": 0, **snapshot(model, trace_routing(model, TOKENIZER, TEXT))}]
    panel = PANELS["experts"]({0.0: [shots]}, layer=1)
    distances = list(model_distances(model).values())[1]
    mean = distances.sum().item() / 12
    assert f"mean distance {mean:.3g}," in panel.readout
    np.testing.assert_allclose(panel.numbers()["history"].distances[0, 1], distances, rtol=1e-3)
