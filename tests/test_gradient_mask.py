"""What must not move does not move, to the bit: masked centres, and experts that saw no token."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_experts import HIDDEN, block, routes, shaken, vectors
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mpolab.errors import RoutingError, TrainingError, UnknownNameError
from mpolab.experts import DenseExperts, MPOExperts
from mpolab.gradient_mask import (
    GradientDropout,
    GradientMask,
    RoutedUpdates,
    all_experts,
    central_tensors,
    draw,
)
from mpolab.moe_layer import MoELayer
from mpolab.rebuild import left_first, rebuild_flops
from mpolab.routers import HashRouter, MPOERouter

ROOT = Path(__file__).resolve().parent.parent


def layer(count=4, kind="gpt2", router=None):
    experts = shaken(MPOExperts.from_ffn(block(kind), count))
    router = router or MPOERouter(HIDDEN, count, generator=torch.Generator().manual_seed(0)).double()
    return MoELayer(router, experts).train()


def adam(model, lr=0.01):
    return torch.optim.AdamW(model.parameters(), lr, weight_decay=0.1)


def step(model, optimizer, mask=None, number=0, ids=None, seed=1):
    model(vectors(2, 6, HIDDEN, seed=seed), None, ids).square().sum().backward()
    if mask is not None:
        mask.apply(number)
    optimizer.step()
    optimizer.zero_grad()


def snapshot(tensors):
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


# -- the draw ------------------------------------------------------------------------------------------


@given(p=st.sampled_from([0.1, 0.25, 0.5, 0.75]), seed=st.integers(0, 50))
def test_draws_are_bernoulli(p, seed):
    drawn = [draw(seed, number, "encoder.up") < p for number in range(2000)]
    assert abs(sum(drawn) / 2000 - p) < 5 * (p * (1 - p) / 2000) ** 0.5


def test_draws_depend_on_seed_step_and_name():
    numbers = {draw(seed, number, name) for seed in (0, 1) for number in range(50) for name in ("a", "b")}
    assert len(numbers) == 200 and all(0 <= x < 1 for x in numbers)
    # the same in a fresh process, whatever its hash seed
    code = "from mpolab.gradient_mask import draw; print(draw(3, 7, 'h.0.up'))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert float(done.stdout) == draw(3, 7, "h.0.up")


def test_names_are_those_of_the_plain_model():
    model = nn.Sequential(layer(), layer())
    plain = GradientMask(model, 0.5)
    wrapped = GradientMask(nn.ModuleDict({"module": model}), 0.5)  # DDP adds "module."
    assert (
        list(plain.tensors)
        == list(wrapped.tensors)
        == [f"{k}.experts.matrices.{m}.central" for k in (0, 1) for m in ("up", "down")]
    )
    assert [plain.masked(k) for k in range(30)] == [wrapped.masked(k) for k in range(30)]


def test_mpo_layers_have_centres_too():
    from mpolab.layers import MPOLinear
    from mpolab.shared_linear import SharedLinear

    linear = MPOLinear.from_linear(nn.Linear(12, 24))
    shared = SharedLinear(linear.plan, linear.bonds)
    found = central_tensors(nn.ModuleList([linear, shared, nn.Linear(3, 3)]))
    assert len(found) == 1 and next(iter(found.values())) is linear.central


# -- skip and zero -------------------------------------------------------------------------------------


def test_a_skipped_centre_does_not_move_and_its_moments_neither():
    model = layer()
    optimizer, mask = adam(model), GradientMask(model, 0.5, seed=2)
    step(model, optimizer)  # so that there is momentum
    kinds = set()
    for number in range(12):
        masked = set(mask.masked(number))
        before, centres = snapshot(mask.tensors), mask.tensors
        state = {name: copy.deepcopy(optimizer.state[tensor]) for name, tensor in centres.items()}
        auxiliary = model.experts.matrices["up"].A1.detach().clone()
        step(model, optimizer, mask, number, seed=number)
        for name, tensor in centres.items():
            assert torch.equal(tensor, before[name]) == (name in masked)
            same = all(torch.equal(optimizer.state[tensor][key], value) for key, value in state[name].items())
            assert same == (name in masked)
        assert not torch.equal(model.experts.matrices["up"].A1, auxiliary)
        kinds.add(len(masked))
    assert kinds == {0, 1, 2}  # drawn per tensor


def test_zero_leaves_momentum_and_decay_at_work():
    """By Adam's formulas: m <- b1 m, v <- b2 v, and the tensor moves by the bias-corrected ratio and the decay."""
    model = layer()
    optimizer, mask = adam(model), GradientMask(model, 1.0, mode="zero")
    step(model, optimizer)
    for name, tensor in mask.tensors.items():
        assert tensor.requires_grad, name
    before = snapshot(mask.tensors)
    state = {name: copy.deepcopy(optimizer.state[tensor]) for name, tensor in mask.tensors.items()}
    step(model, optimizer, mask)
    for name, tensor in mask.tensors.items():
        m, v = 0.9 * state[name]["exp_avg"], 0.999 * state[name]["exp_avg_sq"]
        moved = 0.01 * (m / (1 - 0.9**2)) / ((v / (1 - 0.999**2)).sqrt() + 1e-8)
        torch.testing.assert_close(tensor, before[name] * (1 - 0.01 * 0.1) - moved)
        assert (tensor - before[name]).abs().max() > 1e-3


def test_the_mask_comes_before_clipping():
    model = layer()
    mask = GradientMask(model, 0.999, seed=1)
    model(vectors(2, 6, HIDDEN)).square().sum().backward()
    others = [p.grad for name, p in model.named_parameters() if not name.endswith("central") and p.grad is not None]
    expected = torch.nn.utils.get_total_norm(others)
    assert len(mask.apply(0)) == 2
    torch.testing.assert_close(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0), expected)


def test_always_masked_is_frozen_and_saves_its_product():
    flops, plain = [], layer(kind="t5")
    for matrix in plain.experts.matrices.values():
        matrix.rebuild = "loop"  # a batch has an order of its own
    for probability in (0.5, 1.0):
        model = copy.deepcopy(plain)
        mask = GradientMask(model, probability)
        assert all(tensor.requires_grad == (probability < 1) for tensor in mask.tensors.values())
        with FlopCounterMode(display=False) as counted:
            model(vectors(2, 6, HIDDEN)).square().sum().backward()
        flops.append(counted.get_total_flops())
        used = int(model.experts.routed.sum())
    saved = 0
    for matrix in model.experts.matrices.values():
        # a centre's gradient is one product of all its entries with one half, per expert that was used: at full bonds
        # half of the two products of a rebuild, if the halves are of one size; exactly 2 * l * d * m * e or its mirror
        plan, (d, i, j, e) = matrix.plan, matrix.central.shape
        left, right = torch.tensor(plan.sizes[: plan.centre]).prod(), torch.tensor(plan.sizes[plan.centre + 1 :]).prod()
        half = left if left_first(int(left), d, i * j, e, int(right)) else right
        saved += used * 2 * int(half) * d * i * j * e
        assert saved <= used * 2 * rebuild_flops(plan, matrix.bonds)
    assert flops[0] - flops[1] == saved > 0


def test_errors():
    with pytest.raises(RoutingError, match="between 0"):
        GradientMask(layer(), 1.5)
    with pytest.raises(UnknownNameError, match="Did you mean 'skip'"):
        GradientMask(layer(), 0.5, mode="skp")
    with pytest.raises(RoutingError, match="no central tensor"):
        GradientMask(nn.Linear(3, 3), 0.5)


# -- activations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["before", "after"])
def test_masked_activations_change_gradients_only(where):
    model, x = layer(), vectors(2, 6, HIDDEN)
    plain = model(x)
    setattr(model.experts, where, GradientDropout(1.0))
    masked = model(x)
    assert torch.equal(masked, plain)
    masked.square().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.experts.matrices["up"].parameters())
    assert model.experts.matrices["down"].central.grad.any()


def test_masks_before_and_behind_an_activation_are_one():
    found = []
    for where in ("before", "after"):
        model, x = layer(), vectors(2, 6, HIDDEN)
        setattr(model.experts, where, GradientDropout(0.5))
        torch.manual_seed(1)
        model(x).square().sum().backward()
        found.append([p.grad for p in model.experts.matrices["up"].parameters()])
    plain = layer()
    plain(vectors(2, 6, HIDDEN)).square().sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(*found))
    assert not torch.equal(found[0][0], next(plain.experts.matrices["up"].parameters()).grad)


def test_gradients_are_dropped_at_the_rate_asked_for():
    x = torch.ones(100, 100, requires_grad=True)
    torch.manual_seed(0)
    GradientDropout(0.3)(x).sum().backward()
    assert set(x.grad.unique().tolist()) == {0.0, 1.0} and abs(x.grad.mean() - 0.7) < 0.02
    x.grad = None
    GradientDropout(0.3).eval()(x).sum().backward()
    assert (x.grad == 1).all()


# -- experts without tokens ----------------------------------------------------------------------------


class Sent(nn.Module):
    """Experts with a route handed in."""

    def __init__(self, experts):
        super().__init__()
        self.experts = experts

    def forward(self, x, expert):
        shape = (*x.shape[:-1], 1)
        return self.experts(x, torch.full(shape, expert), x.new_ones(shape))


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "fused": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, 1e-6, momentum=0.9, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("what", [MPOExperts, DenseExperts])
def test_experts_without_tokens_keep_their_bits_and_moments(name, what):
    model = Sent(shaken(what.from_ffn(block("gpt2"), 3)))
    optimizer = OPTIMIZERS[name](model.parameters())
    updates = RoutedUpdates(model, optimizer, all_experts(model))
    for number, expert in enumerate([0, 1, 2, 0, 0, 1]):
        before = snapshot(model.experts.own())
        state = {p: copy.deepcopy(optimizer.state.get(p, {})) for p in model.experts.own().values()}
        model(vectors(2, 4, HIDDEN, seed=number), expert).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        for key, parameter in model.experts.own().items():
            for e in range(3):
                assert torch.equal(parameter[e], before[key][e]) == (e != expert), (key, e)
                for moment, value in state[parameter].items():
                    if value is not None and value.shape == parameter.shape and e != expert:
                        assert torch.equal(optimizer.state[parameter][moment][e], value[e])
    updates.remove()
    before = snapshot(model.experts.own())
    model(vectors(2, 4, HIDDEN), 0).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(p[1], before[key][1]) for key, p in model.experts.own().items())  # what it prevents


def test_it_equals_a_layer_that_has_the_routed_experts_only():
    """Steps in which experts 0 and 2 are used: as if 1 were not there."""
    full, small = shaken(MPOExperts.from_ffn(block("gpt2"), 3)), MPOExperts.from_ffn(block("gpt2"), 2)
    with torch.no_grad():
        for (name, theirs), mine in zip(full.named_parameters(), small.parameters()):
            mine.copy_(theirs if name.endswith("central") else theirs[[0, 2]])
    optimizers = [adam(full), adam(small)]
    RoutedUpdates(full, optimizers[0])
    for number in range(4):
        x, (indices, gates) = vectors(2, 6, HIDDEN, seed=number), routes((2, 6), 2, seed=10 + number)
        for experts, optimizer, scale in ((full, optimizers[0], 2), (small, optimizers[1], 1)):
            experts(x, indices * scale, gates).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    for (name, mine), theirs in zip(full.named_parameters(), small.parameters()):
        mine = mine if name.endswith("central") else mine[[0, 2]]
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_micro_batches_count_together_and_evaluations_do_not():
    model = Sent(shaken(MPOExperts.from_ffn(block("t5"), 4)))
    optimizer = adam(model)
    updates = RoutedUpdates(model, optimizer)
    for expert in (1, 3):
        model(vectors(2, 4, HIDDEN, seed=expert), expert).square().sum().backward()
    with torch.no_grad():
        model(vectors(2, 4, HIDDEN), 0)
    before = model.experts.matrices["up"].A1.detach().clone()
    optimizer.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, model.experts.matrices["up"].A1)]
    assert moved == [False, True, False, True]
    assert not updates.experts[0].routed.any()


def test_a_layer_without_any_token_stands_still():
    model = nn.ModuleList([Sent(MPOExperts.from_ffn(block("t5", seed=k), 2)) for k in (0, 1)])
    optimizer = adam(model)
    RoutedUpdates(model, optimizer)
    for used in (model, model[:1]):
        before = snapshot(model[1].experts.own())
        sum(part(vectors(1, 3, HIDDEN), 0).square().sum() for part in used).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)  # zeros stay
    assert all(torch.equal(p, before[name]) for name, p in model[1].experts.own().items())


def test_resume_goes_on_as_if_nothing_had_happened():
    """State dicts of model and optimizer are all there is to save."""

    def run(steps, saved=None):
        ids = [torch.full((2, 6), k) for k in range(20)]  # one expert at a time
        model = layer(router=HashRouter(HIDDEN, 4))
        optimizer = adam(model)
        mask, start = GradientMask(model, 0.5, seed=1), 0
        RoutedUpdates(model, optimizer)
        if saved:
            start, weights, moments = saved
            model.load_state_dict(weights)
            optimizer.load_state_dict(moments)
        for number in range(start, steps):
            step(model, optimizer, mask, number, ids[number], seed=number)
        return steps, copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())

    _, whole, _ = run(10)
    _, parts, _ = run(10, run(5))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


# -- in a training -------------------------------------------------------------------------------------


def causal(seed=0):
    """A tiny GPT-2 with experts, its tokenizer and text."""
    from small import tiny_model, tiny_tokenizer

    model = tiny_model("GPT2LMHeadModel", seed, dropout=0.0)
    for k, part in enumerate(model.transformer.h):
        hidden = part.ln_1.weight.shape[0]
        experts = MPOExperts.from_ffn(part.mlp, 4, n=3)
        router = MPOERouter(hidden, 4, generator=torch.Generator().manual_seed(k))
        part.mlp = MoELayer(router, experts)
    return model, tiny_tokenizer()


def trained(probability, accumulation=2, watch=(), **options):
    from small import settle, tiny_text

    from mpolab.mask_callback import MaskCallback
    from mpolab.training import Settings, train_lm

    settle()
    model, tokenizer = causal()
    before = snapshot(central_tensors(model))
    callback = MaskCallback(model, probability, seed=1, **options)
    settings = Settings(
        max_steps=6,
        batch_size=8,
        accumulation=accumulation,
        lr=1e-2,
        max_length=16,
        schedule="constant",
        max_grad_norm=0.01,
    )
    outcome = train_lm(model, tokenizer, tiny_text(40, 8), settings, progress=False, callbacks=[callback, *watch])
    moved = {name: not torch.equal(tensor, before[name]) for name, tensor in central_tensors(model).items()}
    return model, callback, moved, outcome


def test_the_engine_masks_before_it_clips():
    from transformers import TrainerCallback

    seen = []

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **_):
            grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
            norm = torch.nn.utils.get_total_norm(list(grads.values()))
            seen.append(({name for name in central_tensors(model) if name not in grads}, norm.item()))

    _, callback, moved, _ = trained(0.5, watch=[Look()])
    assert [missing for missing, _ in seen] == [set(callback.mask.masked(k)) for k in range(6)]
    assert len({frozenset(missing) for missing, _ in seen}) > 2 and all(moved.values())
    # what is left was scaled to the norm of the settings after the mask, not before
    assert all(abs(norm - 0.01) < 1e-5 for _, norm in seen)


def test_gradients_that_will_be_discarded_are_not_computed(monkeypatch):
    """Counted by hooks; and the training is the one that computes them: the same losses and tensors."""
    from contextlib import nullcontext

    from transformers import TrainerCallback

    from mpolab.mask_callback import MaskCallback

    class Count(TrainerCallback):
        def __init__(self):
            self.computed = []  # (step, name) of every gradient of a centre

        def on_train_begin(self, args, state, control, model=None, **_):
            for name, tensor in central_tensors(model).items():
                tensor.register_hook(lambda grad, name=name: self.computed.append((state.global_step, name)))

    count = Count()
    model, callback, _, outcome = trained(0.5, accumulation=2, watch=[count])
    assert all(tensor.requires_grad for tensor in central_tensors(model).values())
    monkeypatch.setattr(MaskCallback, "around_step", lambda *_: nullcontext())
    whole = Count()
    other, _, _, as_before = trained(0.5, accumulation=2, watch=[whole])
    assert {(k, name) for k in range(6) for name in callback.mask.tensors} == set(whole.computed)
    left = [(k, name) for k, name in whole.computed if name not in callback.mask.masked(k)]
    assert sorted(count.computed) == sorted(left) and 0 < len(left) < len(whole.computed)
    assert outcome.curve == as_before.curve
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_ahead_gives_back_what_it_took_and_knows_when_not_to():
    model = layer()
    mask, step = GradientMask(model, 0.5, seed=0), 0
    while not mask.masked(step):
        step += 1
    masked = mask.masked(step)
    with pytest.raises(RuntimeError, match="stopped"), mask.ahead(step):
        assert [name for name, tensor in mask.tensors.items() if not tensor.requires_grad] == masked
        raise RuntimeError("stopped")
    assert all(tensor.requires_grad for tensor in mask.tensors.values())
    with GradientMask(model, 0.5, seed=0, mode="zero").ahead(step):
        assert all(tensor.requires_grad for tensor in mask.tensors.values())
    held = mask.tensors[masked[0]]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in mask.tensors)
    outside = nn.Parameter(torch.ones(1))  # trains, and no loss reaches it
    model.register_parameter("outside", outside)
    with mask.ahead(step):  # or the loss might have no gradient
        assert held.requires_grad
        model(vectors(1, 4, HIDDEN, seed=0)).square().sum().backward()
    assert held.grad is not None


def test_around_step_leaves_processes_side_by_side_and_compiled_models_alone(monkeypatch):
    from types import SimpleNamespace

    from mpolab import mask_callback

    model = layer()
    callback = mask_callback.MaskCallback(model, 0.5)
    state = SimpleNamespace(global_step=next(k for k in range(99) if callback.mask.masked(k)))

    def held(model):
        with callback.around_step(None, state, model):
            return not all(tensor.requires_grad for tensor in callback.mask.tensors.values())

    assert held(model)
    assert not held(torch.compile(model))
    inside = nn.Sequential(nn.Identity(), model)
    assert held(inside)
    model.compile()
    assert not held(model) and not held(inside)
    model._compiled_call_impl = None
    assert held(model)
    monkeypatch.setattr(mask_callback.distributed, "is_initialized", lambda: True)
    assert not held(model)


def test_with_probability_one_the_centres_stay_to_the_bit():
    model, _, moved, _ = trained(1.0)
    assert not any(moved.values())
    assert not any(tensor.requires_grad for tensor in central_tensors(model).values())


def test_number_of_micro_batches_does_not_change_the_mask():
    one, two = trained(0.5, accumulation=1)[3], trained(0.5, accumulation=4)[3]
    for a, b in zip(one.curve, two.curve):
        assert abs(a["loss"] - b["loss"]) < 1e-4


def test_a_plain_trainer_clips_too_early_and_is_told_so(tmp_path):
    from small import settle
    from transformers import Trainer, TrainingArguments

    from mpolab.mask_callback import MaskCallback

    settle()
    for norm in (1.0, 0.0):
        model, _ = causal()
        rows = [{"input_ids": torch.arange(8) + k, "labels": torch.arange(8) + k} for k in range(8)]
        args = TrainingArguments(
            output_dir=str(tmp_path), use_cpu=True, max_steps=3, max_grad_norm=norm, report_to="none",
            disable_tqdm=True, save_strategy="no", per_device_train_batch_size=4,
        )  # fmt: skip
        callback = MaskCallback(model, 0.9, seed=1)
        trainer = Trainer(model=model, args=args, train_dataset=rows, callbacks=[callback])
        if norm:
            with pytest.raises(TrainingError, match="max_grad_norm=0"):
                trainer.train()
        else:
            trainer.train()
            assert callback.masked == callback.mask.masked(2)


def test_biases_of_experts_do_not_decay_and_tensors_have_their_rate():
    from mpolab.engine import parameter_groups
    from mpolab.settings import Settings

    model = layer()
    groups = {group["name"]: group for group in parameter_groups(model, Settings(tensor_lr=1e-6))}
    names = {id(p): name for name, p in model.named_parameters()}
    in_group = {key: {names[id(p)].rsplit(".", 1)[-1] for p in group["params"]} for key, group in groups.items()}
    assert in_group == {
        "tensors": {"central", "A1", "A2", "A3", "A4"}, "matrices": {"weight"}, "biases and norms": {"bias"}
    }  # fmt: skip
    assert groups["tensors"]["lr"] == 1e-6 and groups["biases and norms"]["weight_decay"] == 0


# -- two processes -------------------------------------------------------------------------------------


def distributed_job(rank: int, processes: int) -> dict[str, torch.Tensor]:
    """Four steps in which process r sends its tokens to expert r of 3; alone, one process has both micro-batches."""
    model = Sent(shaken(MPOExperts.from_ffn(block("gpt2"), 3)))
    mask = GradientMask(model, 0.5, seed=1)
    wrapped = nn.parallel.DistributedDataParallel(model) if processes > 1 else model
    optimizer = adam(model)
    RoutedUpdates(wrapped, optimizer)
    for number in range(4):
        for part in (rank,) if processes > 1 else (0, 1):
            loss = wrapped(vectors(2, 4, HIDDEN, seed=10 * number + part), part).square().sum()
            (loss if processes > 1 else loss / 2).backward()
        mask.apply(number)
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


def test_two_processes_do_what_one_does(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0"]
    done = subprocess.run(
        [*command, "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0", __file__, str(tmp_path)],
        capture_output=True, text=True, env=environment, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, (first, second) = distributed_job(0, 1), (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    start = Sent(shaken(MPOExperts.from_ffn(block("gpt2"), 3))).state_dict()
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=1e-9, atol=1e-9)
        if ".A" in name or "bias" in name:
            assert torch.equal(first[name][2], start[name][2]) and not torch.equal(first[name][1], start[name][1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    torch.save(distributed_job(rank, 2), f"{sys.argv[1]}/{rank}.pt")
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads now and then abort a process that shuts its interpreter down
