"""Snapshots during training: taken without the training's noticing, and there again after a kill."""

from __future__ import annotations

import json
import math

import pytest
import torch
from small import digest, settle, tiny_model, tiny_text, tiny_tokenizer
from transformers import TrainerCallback

from mpolab import to_moe
from mpolab.errors import CheckpointError, DataError, RoutingError
from mpolab.expert_views import model_distances, snapshot
from mpolab.routing_watch import FILE, History, RoutingWatch
from mpolab.training import Settings, train_lm

SETTINGS = Settings(max_steps=7, batch_size=8, lr=1e-2, max_length=16, eval_every=3, save_every=3)
BATCH = {"input_ids": torch.randint(5, 40, (4, 12), generator=torch.Generator().manual_seed(1))}


def train(callbacks, out=None, resume=True):
    """Noise in the routers and dropout, so that a random stream that is drawn from too often shows."""
    settle()
    model = to_moe(tiny_model("GPT2LMHeadModel"), "moe", 3, top_k=1)
    train_lm(
        model, tiny_tokenizer(), tiny_text(), SETTINGS, out=out, resume=resume, progress=False, callbacks=callbacks
    )
    return model


class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt


class Compare(TrainerCallback):
    """What a snapshot of the model is at each step, and how the model stands."""

    def __init__(self):
        self.seen = {}

    def on_step_end(self, args, state, control, model=None, **kwargs):
        mode = [module.training for module in model.modules()]
        self.seen[state.global_step] = {"step": state.global_step, **snapshot(model, BATCH)}
        assert mode == [module.training for module in model.modules()]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp("watched")
    watch, compare = RoutingWatch(BATCH, 2, out), Compare()
    return train([watch, compare], out), watch, compare, out


def test_a_snapshot_at_the_start_every_so_often_and_at_the_end(unbroken):
    _, watch, compare, out = unbroken
    assert [entry["step"] for entry in watch.snapshots] == [0, 2, 4, 6, 7]
    assert all(entry == compare.seen[entry["step"]] for entry in watch.snapshots[1:])
    start = to_moe(tiny_model("GPT2LMHeadModel"), "moe", 3, top_k=1)
    assert watch.snapshots[0] == {"step": 0, **snapshot(start, BATCH)}
    assert all(d == 0 for layer in watch.snapshots[0]["layers"] for d in layer["distances"])
    assert all(d > 0 for layer in watch.snapshots[-1]["layers"] for d in layer["distances"])
    assert json.loads((out / FILE).read_text())["snapshots"] == watch.snapshots


def test_the_training_does_not_notice(unbroken):
    model, _, _, _ = unbroken
    assert digest(train([])) == digest(model)


def test_a_killed_run_has_the_snapshots_of_before(unbroken, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train([RoutingWatch(BATCH, 2, tmp_path), Kill()], tmp_path)
    left = json.loads((tmp_path / FILE).read_text())["snapshots"]
    assert [entry["step"] for entry in left] == [0, 2, 4]  # its last checkpoint is that of step 3
    watch = RoutingWatch(BATCH, 2, tmp_path)
    model = train([watch], tmp_path)
    assert watch.snapshots == unbroken[1].snapshots and digest(model) == digest(unbroken[0])


def test_a_run_at_its_end_has_its_snapshots_and_a_new_one_forgets_them(unbroken, tmp_path):
    _, first, _, out = unbroken
    watch = RoutingWatch(BATCH, 2, out)
    train([watch], out)  # there is nothing left to train
    assert watch.snapshots == first.snapshots
    (tmp_path / FILE).write_text((out / FILE).read_text())
    watch = RoutingWatch(BATCH, 5, tmp_path)
    train([watch], tmp_path, resume=False)
    assert [entry["step"] for entry in watch.snapshots] == [0, 5, 7]


def test_bad_input_is_told(tmp_path):
    with pytest.raises(RoutingError, match="every = 0"):
        RoutingWatch(BATCH, 0)
    for content in ("{", '{"format": "other"}', '{"format": "mpolab.routing/1", "snapshots": [{"step": 1}]}', "[]"):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(CheckpointError, match="holds no snapshots"):
            _ = RoutingWatch(BATCH, 2, tmp_path).snapshots
    assert RoutingWatch(BATCH, 2, tmp_path / "nothing").snapshots == []
    with pytest.raises(RoutingError, match="has no experts"):
        watch = RoutingWatch(BATCH, 2)
        train_lm(
            tiny_model("GPT2LMHeadModel"), tiny_tokenizer(), tiny_text(), SETTINGS, progress=False, callbacks=[watch]
        )


# -- reading them back -----------------------------------------------------------------------------------


def layer(load, distances, router=0.5):
    return {"name": "layer 0", "load": load, "load_entropy": 1.0, "router_entropy": router, "distances": distances}


def test_a_history_is_the_snapshots_as_tables():
    shots = [
        {"step": 0, "layers": [layer([0.5, 0.3, 0.2], [0.0, 0.0, 0.0])]},
        {"step": 10, "layers": [layer([1.0, 0.0, 0.0], [0.1, 0.2, None], None)]},
    ]
    history = History.of(shots)
    assert history.steps == (0, 10) and history.names == ("layer 0",)
    assert history.load.tolist() == [[[0.5, 0.3, 0.2]], [[1, 0, 0]]]
    assert history.distances[1, 0].nan_to_num(-1).tolist() == [[0, 0.1, 0.2], [0.1, 0, -1], [0.2, -1, 0]]
    assert history.mean_distance[0, 0] == 0 and history.mean_distance[1, 0].item() == pytest.approx(0.15)
    assert history.router_entropy[0, 0] == 0.5 and math.isnan(history.router_entropy[1, 0])


def test_a_history_says_what_the_model_was(unbroken):
    model, watch, _, _ = unbroken
    history = History.of(watch.snapshots)
    assert history.distances.shape == (5, 2, 3, 3) and history.load.shape == (5, 2, 3)
    assert history.distances.equal(history.distances.mT) and history.load.sum(-1).numpy() == pytest.approx(1, abs=1e-3)
    whole = to_moe(tiny_model("GPT2LMHeadModel"), "moe", 3, top_k=1)
    whole.load_state_dict(model.state_dict())  # the weights of the best step
    best = next(
        k for k, step in enumerate(history.steps) if snapshot(whole, BATCH)["layers"] == watch.snapshots[k]["layers"]
    )
    for number, distances in enumerate(model_distances(whole).values()):
        torch.testing.assert_close(history.distances[best, number], distances, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "shots",
    [
        [],
        [{"step": 0}],
        3,
        [{"step": 0, "layers": []}],
        [{"step": 5, "layers": [layer([0.5, 0.5], [0.1])]}, {"step": 0, "layers": [layer([0.5, 0.5], [0.1])]}],
        [{"step": 0, "layers": [layer([0.5, 0.5], [0.1, 0.2])]}],
        [{"step": 0, "layers": [layer([0.5, 0.5], [0.1])]}, {"step": 1, "layers": [layer([0.5, 0.3, 0.2], [0.1] * 3)]}],
    ],
)
def test_what_is_no_history_is_told(shots):
    with pytest.raises(DataError, match="expected the snapshots of one run"):
        History.of(shots)
