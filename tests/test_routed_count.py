"""How many updates of experts fall out: as many as the optimizer holds still, after a kill and in two processes too."""

from __future__ import annotations

import json

import pytest
import torch
from small import one_of_two, settle, tiny_model, tiny_text, tiny_tokenizer
from test_experts import HIDDEN, block, vectors
from test_gradient_mask import Sent, adam
from torch import nn
from transformers import TrainerCallback

from mpolab import snapshots, to_moe
from mpolab.experts import DenseExperts, MPOExperts
from mpolab.gradient_mask import RoutedUpdates
from mpolab.routed_count import KEPT, RoutedCount
from mpolab.training import Settings, train_lm


class Both(nn.Module):
    """Two layers of four experts each. used: the expert of each layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Sent(MPOExperts.from_ffn(block("t5", seed=k), 4)) for k in (0, 1)])

    def forward(self, x: torch.Tensor, used: tuple[int, int]) -> torch.Tensor:
        return sum(part(x, k).square().sum() for part, k in zip(self.layers, used))


def held_still(model: Both, wrapped: nn.Module, used: tuple[tuple[int, int], ...], count: RoutedCount) -> list[int]:
    """How many experts each step leaves as they are, with weight decay."""
    optimizer, found = adam(model), []
    RoutedUpdates(wrapped, optimizer)
    for pair in used:
        before = [part.experts.matrices["up"].A1.detach().clone() for part in model.layers]
        wrapped(vectors(1, 3, HIDDEN), pair).backward()
        count.on_pre_optimizer_step(None, None, None, model=model)
        optimizer.step()
        optimizer.zero_grad()
        after = [part.experts.matrices["up"].A1 for part in model.layers]
        found.append(sum(torch.equal(a[k], b[k]) for a, b in zip(before, after) for k in range(4)))
    return found


def test_updates_without_a_token_are_counted():
    """Of eight updates a step those that the optimizer holds still."""
    count, model = RoutedCount(), Both()
    assert count.to_dict() == {"of_experts": 0, "without_token": 0, "share": 0.0}
    assert held_still(model, model, ((0, 1), (2, 2)), count) == [6, 6]
    assert count.to_dict() == {"of_experts": 16, "without_token": 12, "share": 0.75}
    dense = RoutedCount()
    dense.on_pre_optimizer_step(None, None, None, model=Sent(DenseExperts.from_ffn(block("t5"), 4)))
    assert dense.counts["of_experts"] == 0, "they share no centre"


# -- killed and gone on ----------------------------------------------------------------------------------

SETTINGS = Settings(max_steps=7, batch_size=2, lr=1e-2, max_length=16, eval_every=3, save_every=3)


class Kill(TrainerCallback):
    def __init__(self, step: int = 5):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def train(callbacks, out, resume=True) -> None:
    settle()
    model = to_moe(tiny_model("GPT2LMHeadModel"), "mpoe", 12, mask_probability=0.25)
    train_lm(
        model, tiny_tokenizer(), tiny_text(), SETTINGS, out=out, resume=resume, progress=False, callbacks=callbacks
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Its folder and its counts."""
    out = tmp_path_factory.mktemp("counted")
    count = RoutedCount(out)
    train([count], out)
    return out, count.to_dict()


def test_a_run_counts_all_of_its_steps(unbroken):
    _, counts = unbroken
    assert counts["of_experts"] == 7 * 2 * 12 and 0 < counts["without_token"] < counts["of_experts"]
    assert counts["share"] == counts["without_token"] / counts["of_experts"]


@pytest.mark.parametrize("step", [2, 5], ids=["before its first checkpoint", "after it"])
def test_a_killed_run_counts_as_if_nothing_had_happened(unbroken, tmp_path, step):
    with pytest.raises(KeyboardInterrupt):
        train([RoutedCount(tmp_path), Kill(step)], tmp_path)
    count = RoutedCount(tmp_path)
    train([count], tmp_path)
    assert count.to_dict() == unbroken[1]


def test_a_run_at_its_end_has_its_counts_and_a_new_one_forgets_them(unbroken):
    out, counts = unbroken
    for callbacks in ([], [RoutedCount(out)]):
        train(callbacks, out)  # there is nothing left to train
        assert RoutedCount(out).to_dict() == counts
    assert callbacks[0].to_dict() == counts
    for _ in range(2):
        train(callbacks, out, resume=False)
    assert callbacks[0].to_dict() == counts, "not twice as many"


def test_what_was_never_counted_is_not_made_up(tmp_path):
    """A run that another version began: its checkpoint does not say."""
    with pytest.raises(KeyboardInterrupt):
        train([Kill()], tmp_path)
    unknown = {"of_experts": None, "without_token": None, "share": None}
    assert RoutedCount(tmp_path).to_dict() == unknown
    count = RoutedCount(tmp_path)
    train([count], tmp_path)
    assert count.to_dict() == RoutedCount(tmp_path).to_dict() == unknown
    assert KEPT in json.loads((snapshots.last_whole(tmp_path) / "trainer_state.json").read_text())["stateful_callbacks"]


# -- two processes ---------------------------------------------------------------------------------------


def _replica(rank: int, folder: str) -> None:
    from torch.nn.parallel import DistributedDataParallel

    with one_of_two(rank, folder):
        count, model = RoutedCount(), Both()
        used = ((rank, 1), (2, 2), (3, 3 * rank))
        still = held_still(model, DistributedDataParallel(model), used, count)
        with open(f"{folder}/{rank}.json", "w") as file:
            json.dump([still, count.to_dict()], file)


def test_two_processes_count_what_the_optimizer_holds_still(tmp_path):
    torch.multiprocessing.spawn(_replica, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        still, counts = json.loads((tmp_path / f"{rank}.json").read_text())
        assert still == [5, 6, 5]
        assert counts == {"of_experts": 24, "without_token": 16, "share": 16 / 24}
