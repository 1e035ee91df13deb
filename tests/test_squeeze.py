"""Algorithm 2: which bond is next, what a step leaves alone, when it stops, and that a failing step leaves no trace."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from mpolab.carry import RESTART, Snapshot
from mpolab.cut import find_cut
from mpolab.errors import BondError, DataError, TrainingError, UnknownNameError
from mpolab.layers import MPOEmbedding, MPOLinear
from mpolab.spectra import Tails
from mpolab.squeeze import Queue, bonds_at_centre, cut_layer, queue_of, squeeze, straight
from mpolab.surgery import freeze_central, mpo_layers
from mpolab.trace import Trace

ROWS, COLS = (2, 3, 4, 2), (2, 4, 3, 2)


def linear(seed=0, dtype=torch.float64, rows=ROWS, cols=COLS) -> MPOLinear:
    """A decomposed linear layer whose singular values fall, so that bonds differ."""
    g = torch.Generator().manual_seed(seed)
    height, width = math.prod(rows), math.prod(cols)
    u = torch.linalg.qr(torch.randn(height, height, generator=g, dtype=torch.float64))[0]
    v = torch.linalg.qr(torch.randn(width, width, generator=g, dtype=torch.float64))[0]
    s = torch.arange(1, min(height, width) + 1, dtype=torch.float64) ** -0.7
    dense = nn.Linear(width, height).to(dtype)
    with torch.no_grad():
        dense.weight.copy_((u[:, : len(s)] * s) @ v[:, : len(s)].T)
        dense.bias.uniform_(-0.1, 0.1, generator=g)
    return MPOLinear.from_linear(dense, rows=rows, cols=cols)


class Tiny(nn.Module):
    """An embedding (padded, with a padding index), a matrix used three times, one of its own, and a dense head."""

    def __init__(self, dtype=torch.float64, seed=0):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        table = nn.Embedding(50, 48, padding_idx=0).to(dtype)
        with torch.no_grad():
            table.weight.copy_(torch.randn(50, 48, generator=g, dtype=torch.float64))
            table.weight[0] = 0
        self.words = MPOEmbedding.from_embedding(table, rows=(2, 3, 3, 3), cols=(2, 4, 3, 2))
        self.shared = linear(1, dtype)
        self.own = linear(2, dtype)
        self.norm = nn.LayerNorm(48).to(dtype)
        self.head = nn.Linear(48, 2).to(dtype)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(2, 48, generator=g, dtype=torch.float64))
            self.head.bias.zero_()

    def forward(self, ids):
        x = self.words(ids)
        for _ in range(3):
            x = self.norm(x + torch.tanh(self.shared(x)))
        return self.head(torch.tanh(self.own(x)).mean(1))


def batch(seed=0, size=32):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 50, (size, 6), generator=g)
    return ids, (ids < 12).sum(1).gt(1).long()


def loss_of(model, seed=0):
    ids, labels = batch(seed)
    return nn.functional.cross_entropy(model(ids), labels)


def train(model, optimizer, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()


def adamw(model, lr=1e-2, **kwargs):
    """Two groups, as Trainer makes them."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    flat, square = [p for p in parameters if p.dim() == 1], [p for p in parameters if p.dim() > 1]
    groups = [{"params": flat, "weight_decay": 0.0}, {"params": square, "weight_decay": 0.01}]
    return torch.optim.AdamW(groups, lr=lr, **kwargs)


def everything(model, optimizer=None):
    """All that a rollback has to give back, as a plain copy."""
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    bonds = {path: layer.bonds for path, layer in mpo_layers(model).items()}
    return state, flags, bonds, copy.deepcopy(optimizer.state_dict()) if optimizer is not None else None


def same(a, b) -> bool:
    """Bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


# -- which bond is next ----------------------------------------------------------------------------


def test_only_the_bonds_at_the_centre_are_candidates():
    for n, expected in ((2, [1]), (3, [1, 2]), (4, [2, 3]), (5, [2, 3]), (6, [3, 4]), (7, [3, 4])):
        layer = MPOLinear.from_linear(nn.Linear(64, 64), n=n)
        assert bonds_at_centre(layer.plan) == expected
        assert layer.central is layer.cores[expected[-1] if n == 2 else expected[0]]


@pytest.mark.parametrize("step", [1, 3, 0.25])
def test_the_order_is_the_greedy_one(oracle, step):
    """Against a search through all candidates at every step, with singular values of dense unfoldings."""
    model = nn.Sequential(linear(0), linear(1), linear(2))
    plan, bonds = model[0].plan, {str(m): list(model[m].bonds) for m in range(3)}
    values = {str(m): oracle.singular_values(model[m].weight, ROWS, COLS) for m in range(3)}
    first = {key: list(sizes) for key, sizes in bonds.items()}
    parameters = sum(plan.parameters(sizes) for sizes in bonds.values()) + sum(m.bias.numel() for m in model)
    trace = squeeze(model, step=step, max_steps=25)
    assert len(trace.steps) == 25 or trace.stopped == "exhausted"
    for number, done in enumerate(trace.steps, 1):
        best = None
        for path, sizes in bonds.items():
            for k in (2, 3):
                size = step if isinstance(step, int) else math.ceil(step * first[path][k])
                after = max(1, sizes[k] - size)
                s = values[path][k - 1]
                added = (s[after : sizes[k]] ** 2).sum() / (s**2).sum()
                if sizes[k] > 1 and (best is None or added < best[0] - 1e-15):
                    best = added, path, k, sizes[k], after
        added, path, k, before, after = best
        bonds[path][k] = after
        parameters += plan.parameters(bonds[path]) - plan.parameters(
            [before if m == k else d for m, d in enumerate(bonds[path])]
        )
        assert (done.number, done.path, done.bond, done.before, done.after) == (number, path, k, before, after)
        assert done.estimate == pytest.approx(math.sqrt(added), rel=1e-7, abs=1e-12)
        assert done.bound == pytest.approx(oracle.bound(values[path], bonds[path][1:-1]), rel=1e-7, abs=1e-12)
        assert done.parameters == parameters
        assert trace.bonds_at(number) == bonds
    assert parameters == trace.final_parameters == sum(p.numel() for p in model.parameters())
    assert {path: layer.bonds for path, layer in mpo_layers(model).items()} == trace.bonds


def test_true_errors_are_the_dense_ones(oracle):
    """No tuning, cores moved before: every recorded error is the change of W that a dense comparison finds."""
    model = Tiny()
    freeze_central(model)
    train(model, adamw(model, lr=3e-2), steps=10)
    weights = {path: layer.weight.detach().clone() for path, layer in mpo_layers(model).items()}
    errors = []

    def compare(trace):
        done = trace.steps[-1]
        for path, layer in mpo_layers(model).items():
            new = layer.weight.detach().clone()
            error = oracle.relative_error(new, weights[path])
            if path == done.path:
                assert error == pytest.approx(done.error, rel=1e-8, abs=1e-12)
                errors.append((error, done.estimate))
            else:
                assert error == 0.0
            weights[path] = new

    trace = squeeze(model, step=2, max_steps=18, on_step=compare)
    assert len(errors) == len(trace.steps) == 18
    assert len({done.path for done in trace.steps}) > 1
    assert any(abs(error - estimate) > 1e-3 * estimate for error, estimate in errors)  # two different things


def test_no_bond_goes_below_the_floor():
    model, whole = Tiny(), Tiny()
    trace = squeeze(model, step=3, floor=4)
    first = {path: layer.bonds for path, layer in mpo_layers(whole).items()}
    for path, layer in mpo_layers(model).items():
        assert layer.bonds == [min(d, 4) if k in (2, 3) else d for k, d in enumerate(first[path])]
    assert trace.stopped == "exhausted" and any((d.before, d.after) == (6, 4) for d in trace.steps)
    # where no cut is clipped the order is that of Algorithm 2, with what lies below left out
    order = [(done.path, done.bond, done.after) for done in squeeze(whole, max_steps=1000).steps]
    kept = [(done.path, done.bond, done.after) for done in squeeze(Tiny(), floor=4).steps]
    assert kept == [cut for cut in order if cut[-1] >= 4]
    with pytest.raises(BondError, match="target = 1 parameters is out of reach: with every bond next to a centre at 4"):
        squeeze(Tiny(), target=1, floor=4)
    for floor in (0, 1.5, True):
        with pytest.raises(BondError, match=f"floor = {floor}: a bond dimension"):
            squeeze(Tiny(), floor=floor)


def test_a_shared_matrix_is_one_candidate():
    model = Tiny()
    trace = squeeze(model, step=0.5, max_steps=50)
    assert {done.path for done in trace.steps} == {"words", "shared", "own"}
    assert trace.stopped == "exhausted"
    assert all(layer.bonds[2:4] == [1, 1] for layer in mpo_layers(model).values())


def test_random_order_is_repeatable_and_not_the_other():
    def orders(**kwargs):
        return [(done.path, done.bond) for done in squeeze(Tiny(), step=2, max_steps=15, **kwargs).steps]

    assert orders(order="random", seed=1) == orders(order="random", seed=1)
    assert orders(order="random", seed=1) != orders(order="random", seed=2)
    assert orders(order="random", seed=1) != orders()
    layers = mpo_layers(nn.Sequential(*(linear(m) for m in range(3))))
    plans, bonds, tails = {}, {}, {}
    for path, layer in layers.items():
        plans[path], bonds[path], tails[path] = layer.plan, layer.bonds, Tails(layer.spectra)
    counts = np.zeros((3, 2))
    for seed in range(600):  # the first draw is uniform over the six candidates
        choice = Queue(plans, tails, bonds, order="random", seed=seed).take()
        counts[int(choice.path), choice.bond - 2] += 1
    assert counts.min() > 70 and counts.sum() == 600


@pytest.mark.parametrize("order", ["estimate", "random"])
@pytest.mark.parametrize("step", [1, 4, 0.3])
def test_the_target_is_hit_within_one_step(order, step):
    model = Tiny()
    total = sum(p.numel() for p in model.parameters())
    target = int(0.7 * total)
    trace = squeeze(model, step=step, target=target, order=order)
    assert trace.stopped == "target" and trace.parameters == total
    assert sum(p.numel() for p in model.parameters()) == trace.final_parameters <= target
    assert len(trace.steps) < 2 or trace.steps[-2].parameters > target


def test_a_model_that_is_small_enough_is_left_alone():
    model = Tiny()
    before = everything(model)
    trace = squeeze(model, target=10**9)
    assert trace.steps == [] and trace.stopped == "target" and same(everything(model), before)


def test_steps_are_clipped_at_one():
    model = nn.Sequential(linear())
    trace = squeeze(model, step=1000, max_steps=10)
    assert [done.after for done in trace.steps] == [1, 1] and trace.stopped == "exhausted"


# -- the optimizer goes on -------------------------------------------------------------------------


def test_the_optimizer_goes_on():
    model = freeze_central(Tiny(torch.float32))
    optimizer = adamw(model)
    train(model, optimizer, steps=25)
    layer, names = model.own, dict(model.named_parameters())
    groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    objects = {name: id(p) for name, p in names.items()}
    before = {name: dict(optimizer.state.get(p, {})) for name, p in names.items()}
    old = {name: {key: value.clone() for key, value in state.items()} for name, state in before.items()}
    chain = [core.detach().clone() for core in layer.cores]
    cut = find_cut(chain, 3, 3, layer.plan)
    error = cut_layer(layer, 3, 3, optimizer)
    assert error == pytest.approx(cut.error, rel=1e-6)
    # the same parameters in the same groups, all of them the model's
    assert {name: id(p) for name, p in model.named_parameters()} == objects
    assert [[id(p) for p in group["params"]] for group in optimizer.param_groups] == groups
    assert sum(map(len, groups)) == sum(p.requires_grad for p in model.parameters())
    # the centre (core 2) is cut, too, frozen, and has no state; core 3 has turned moments; the rest is untouched
    assert not layer.central.requires_grad and layer.central not in optimizer.state
    for name, p in model.named_parameters():
        state = optimizer.state.get(p, {})
        if name == "own.cores.3":
            b1, b2 = 0.9, 0.999
            t, s = 25, RESTART
            assert float(state["step"]) == s and state["step"].dtype == old[name]["step"].dtype
            first = state["exp_avg"] / (1 - b1**s)
            turned = cut.on_gradient(3, old[name]["exp_avg"]) / (1 - b1**t)
            assert torch.allclose(first, turned, rtol=1e-5, atol=1e-9)
            second = state["exp_avg_sq"] / (1 - b2**s)
            mean = old[name]["exp_avg_sq"].mean(0, keepdim=True) / (1 - b2**t)
            assert torch.allclose(second, mean.expand(p.shape), rtol=1e-4)
            assert state["exp_avg"].shape == state["exp_avg_sq"].shape == p.shape
        else:
            assert state.keys() == before[name].keys()
            assert all(state[key] is before[name][key] and torch.equal(state[key], old[name][key]) for key in state)
    # and all of them go on training
    values = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, optimizer, steps=1)
    for name, p in model.named_parameters():
        assert torch.equal(p, values[name]) is not p.requires_grad, name
    assert float(optimizer.state[layer.cores[3]]["step"]) == RESTART + 1


def test_both_cores_turn_where_the_centre_trains():
    model = Tiny()
    optimizer = adamw(model, amsgrad=True)
    train(model, optimizer, steps=4)
    layer = model.shared
    old = {k: {key: value.clone() for key, value in optimizer.state[layer.cores[k]].items()} for k in range(4)}
    cut = find_cut([core.detach() for core in layer.cores], 2, layer.bonds[2] - 1, layer.plan)
    cut_layer(layer, 2, layer.bonds[2] - 1, optimizer)
    for k, axis in ((1, 3), (2, 0)):
        state = optimizer.state[layer.cores[k]]
        assert float(state["step"]) == 4  # fewer than RESTART: nothing to take back
        assert torch.allclose(state["exp_avg"], cut.on_gradient(k, old[k]["exp_avg"]), rtol=1e-10, atol=1e-15)
        for name in ("exp_avg_sq", "max_exp_avg_sq"):
            assert torch.allclose(state[name], old[k][name].mean(axis, keepdim=True).expand(layer.cores[k].shape))
    for k in (0, 3):
        assert all(torch.equal(value, optimizer.state[layer.cores[k]][key]) for key, value in old[k].items())
    train(model, optimizer, steps=2)


def test_moments_turn_as_autograd_says():
    """A cut that loses (nearly) nothing: the moments after it are those of an optimizer that saw the cut core's own
    gradients all along."""
    dense = nn.Linear(48, 48).double()
    with torch.no_grad():  # rank 3 across bond 3, so that two thirds of the bond are free to go
        g = torch.Generator().manual_seed(3)
        parts = torch.randn(3, 24, 24, generator=g, dtype=torch.float64), torch.randn(3, 2, 2, generator=g).double()
        dense.weight.copy_(sum(torch.kron(a, b) for a, b in zip(*parts)))
    layer = MPOLinear.from_linear(dense, rows=ROWS, cols=COLS)
    cut_one = copy.deepcopy(layer)
    x = torch.randn(5, 48, generator=g, dtype=torch.float64)
    assert cut_layer(cut_one, 3, 3) < 1e-7
    optimizers = [torch.optim.AdamW([one.cores[3]], lr=0.0, weight_decay=0.0) for one in (layer, cut_one)]
    for scale in (1.0, -0.3, 2.0):
        for one, optimizer in zip((layer, cut_one), optimizers):
            optimizer.zero_grad()
            torch.sin(scale * one(x)).sum().backward()
            optimizer.step()
    assert cut_layer(layer, 3, 3, optimizers[0]) < 1e-7
    turned, seen = (optimizer.state[one.cores[3]] for one, optimizer in zip((layer, cut_one), optimizers))
    assert torch.allclose(turned["exp_avg"], seen["exp_avg"], rtol=1e-6, atol=1e-9)
    assert not torch.allclose(turned["exp_avg_sq"], seen["exp_avg_sq"], rtol=0.1)  # single squares do not turn
    assert torch.equal(turned["exp_avg_sq"], turned["exp_avg_sq"][:1].expand(3, -1, -1, -1))


def test_the_first_updates_after_a_cut_stay_bounded():
    """Restarted from zero, second moments beside kept first ones would let single entries leap."""
    model = freeze_central(Tiny(torch.float32))
    lr = 1e-2
    optimizer = adamw(model, lr=lr)
    train(model, optimizer, steps=20)
    cut_layer(model.own, 3, model.own.bonds[3] - 2, optimizer)
    core = model.own.cores[3]
    before, m = core.detach().clone(), optimizer.state[core]["exp_avg"].clone()
    optimizer.zero_grad()
    loss_of(model).backward()
    gradient = core.grad.clone()
    gradient[0, 0, 0, 0] = 1e-9 * float(m.abs().max())  # a gradient that happens to vanish
    core.grad.copy_(gradient)
    optimizer.step()
    assert float((core.detach() - before).abs().max()) < 10 * lr
    leap = (0.9 * m + 0.1 * gradient) / 0.1 / gradient.abs()  # step 1, second moment from this gradient alone
    assert float(leap.abs().max()) > 1e3


def test_momentum_of_sgd_turns():
    model = Tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    train(model, optimizer, steps=3)
    cut_layer(model.own, 3, model.own.bonds[3] - 1, optimizer)
    for k in (2, 3):
        assert optimizer.state[model.own.cores[k]]["momentum_buffer"].shape == model.own.cores[k].shape
    train(model, optimizer, steps=2)


def test_an_optimizer_that_has_not_stepped_yet():
    model = Tiny()
    optimizer = adamw(model)
    squeeze(model, lambda model: train(model, optimizer, 1), optimizer=optimizer, max_steps=2)
    assert len(optimizer.state) == len(list(model.parameters()))


def test_an_optimizer_whose_memory_is_not_understood_is_refused_before_anything_changes():
    model = Tiny()
    optimizer = torch.optim.NAdam(model.parameters(), lr=1e-3)
    train(model, optimizer, steps=1)
    before = everything(model, optimizer)
    with pytest.raises(TrainingError, match=r"NAdam keeps 'mu_product'.*AdamW"):
        squeeze(model, optimizer=optimizer, max_steps=1)
    assert same(everything(model, optimizer), before)
    with pytest.raises(TrainingError, match="mu_product"):
        cut_layer(model.own, 3, 2, optimizer)
    assert same(everything(model, optimizer), before)


def test_squeezing_with_tuning_keeps_what_cutting_alone_loses():
    """Algorithm 2 against MPOP_dir at the same size: tuning in between ends at a lower loss."""
    model = freeze_central(Tiny())
    optimizer = adamw(model)
    train(model, optimizer, steps=30)
    twin = copy.deepcopy(model)
    target = int(0.3 * sum(p.numel() for p in model.parameters()))
    trace = squeeze(
        model,
        lambda model: train(model, optimizer, 3),
        lambda model: -loss_of(model).item(),
        optimizer,
        step=0.3,
        target=target,
    )
    direct = straight(twin, target=target, step=0.3)
    assert direct.final_parameters == trace.final_parameters <= target
    assert direct.bonds == trace.bonds and direct.order == "straight"
    assert loss_of(model).item() < 0.3 * loss_of(twin).item()
    assert all(not layer.central.requires_grad for layer in mpo_layers(model).values())
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in twin.parameters()]


# -- stopping and going back -----------------------------------------------------------------------


@pytest.mark.parametrize("greater", [True, False])
def test_the_step_that_loses_too_much_is_taken_back_bit_for_bit(greater):
    model = freeze_central(Tiny(torch.float32))
    optimizer = adamw(model)
    train(model, optimizer, steps=3)
    metrics, states = iter([80.0, 79.5, 79.0, 79.1, 78.9]), []

    def tune(model):
        train(model, optimizer, 2)
        model.words.padding_row = model.words.padding_row + 1  # a buffer, too
        model.head.weight.requires_grad_(not model.head.weight.requires_grad)  # and a flag
        optimizer.param_groups[0]["lr"] *= 0.9

    def evaluate(model):
        states.append(everything(model, optimizer))
        return next(metrics) if greater else -next(metrics)

    trace = squeeze(model, tune, evaluate, optimizer, step=2, max_drop=1.0, greater_is_better=greater)
    assert trace.greater_is_better is greater and Trace.from_dict(trace.to_dict()) == trace
    assert trace.stopped == "drop" and [done.accepted for done in trace.steps] == [True] * 3 + [False]
    assert [abs(done.metric) for done in trace.steps] == [79.5, 79.0, 79.1, 78.9] and abs(trace.baseline) == 80.0
    assert same(everything(model, optimizer), states[3])
    assert not same(everything(model, optimizer), states[4])
    assert trace.bonds == {path: layer.bonds for path, layer in mpo_layers(model).items()}
    assert trace.final_parameters == trace.steps[2].parameters == sum(p.numel() for p in model.parameters())
    # and training goes on from there as it would have
    twin = freeze_central(Tiny(torch.float32))
    other = adamw(twin)
    train(twin, other, steps=3)
    squeeze(twin, lambda model: None, None, other, step=2, max_steps=3)
    train(model, optimizer, 1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.9**3)


def test_a_queue_goes_down_to_a_size_and_no_further():
    model = Tiny()
    queue, other = queue_of(model, step=2), queue_of(model, step=2)
    target = (queue.parameters + queue.least) // 2
    sizes = [other.parameters]
    while sizes[-1] > target:
        other.take()
        sizes.append(other.parameters)
    assert queue.down_to(target) == len(sizes) - 1 > 1
    assert queue.parameters == sizes[-1] <= target < sizes[-2] and queue.bonds == other.bonds
    assert queue.down_to(target) == 0
    assert queue.down_to(0) > 0 and queue.parameters == queue.least and queue.take() is None
    assert {path: layer.bonds for path, layer in mpo_layers(model).items()} != queue.bonds  # nothing was cut


def test_a_frozen_tensor_that_tune_wrote_into_is_not_passed_over_in_silence():
    model = freeze_central(Tiny())
    metrics = iter([1.0, 0.0])

    def tune(model):
        model.head.weight.requires_grad_(False)
        with torch.no_grad():
            next(iter(mpo_layers(model).values())).central.add_(1.0)

    with pytest.raises(TrainingError, match="was frozen and has been written to"):
        squeeze(model, tune, lambda model: next(metrics), step=1, max_drop=0.5, order="estimate")


def test_a_fall_of_just_max_drop_is_allowed():
    metrics = iter([1.0, 0.5, 0.5, 0.4999])
    trace = squeeze(Tiny(), None, lambda model: next(metrics), step=1, max_drop=0.5)
    assert [done.accepted for done in trace.steps] == [True, True, False]


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("where", ["tune", "evaluate"])
@pytest.mark.parametrize("problem", [Interrupted, RuntimeError])
def test_whatever_goes_wrong_is_rolled_back(where, problem):
    model = freeze_central(Tiny())
    optimizer = adamw(model)
    train(model, optimizer, steps=3)
    calls, good = [], []

    def tune(model):
        calls.append("tune")
        train(model, optimizer, 1)
        if where == "tune" and calls.count("tune") == 3:
            raise problem("stop")

    def evaluate(model):
        calls.append("evaluate")
        if where == "evaluate" and calls.count("evaluate") == 4:
            raise problem("stop")
        good.append(everything(model, optimizer))
        return 1.0

    traces = []
    with pytest.raises(problem, match="stop"):
        squeeze(model, tune, evaluate, optimizer, max_steps=9, on_step=traces.append)
    assert same(everything(model, optimizer), good[-1])
    assert len(traces[-1].steps) == 2 and traces[-1].stopped == "running"


def test_a_metric_that_is_no_number():
    model = freeze_central(Tiny())
    optimizer = adamw(model)
    train(model, optimizer, steps=2)
    states = []

    def evaluate(model):
        states.append(everything(model, optimizer))
        return math.nan if len(states) == 3 else 1.0

    with pytest.raises(TrainingError, match=r"NaN after step 2 \(.* bond \d: \d+ -> \d+\)"):
        squeeze(model, lambda model: train(model, optimizer, 1), evaluate, optimizer, max_steps=5)
    assert same(everything(model, optimizer), states[1])
    with pytest.raises(TrainingError, match="NaN before the first step"):
        squeeze(model, None, lambda model: math.nan, max_steps=5)
    with pytest.raises(TrainingError, match="'high' before the first step"):
        squeeze(model, None, lambda model: "high", max_steps=5)
    assert same(everything(model, optimizer), states[1])


def test_cores_with_nan_stop_before_the_cut():
    model = Tiny()
    with torch.no_grad():
        model.own.cores[0][0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="core 0 holds NaN"):
        squeeze(model, step=100, max_steps=20)


def test_a_snapshot_copies_what_trains_only():
    model = freeze_central(Tiny())
    saved = Snapshot(model)
    for path, layer in mpo_layers(model).items():
        for k, (core, kept) in enumerate(zip(layer.cores, saved._layers[path])):
            assert (kept.data_ptr() == core.data_ptr()) is (k == layer.plan.centre)


# -- MPOP_dir --------------------------------------------------------------------------------------


def test_straight_follows_a_trace():
    model, twin = Tiny(), Tiny()
    trace = squeeze(model, step=0.3, max_steps=6, order="random", seed=4)
    direct = straight(twin, like=trace)
    assert direct.bonds == trace.bonds and direct.final_parameters == trace.final_parameters
    assert len(direct.steps) == len({(done.path, done.bond) for done in trace.steps})  # each bond at once
    assert all(done.metric is None and done.accepted for done in direct.steps)
    with pytest.raises(BondError, match="smaller than the trace's"):
        straight(squeezed(), like=trace)
    with pytest.raises(UnknownNameError, match="matrix"):
        straight(nn.Sequential(linear()), like=trace)
    with pytest.raises(BondError, match="either target"):
        straight(Tiny())


def squeezed():
    model = Tiny()
    squeeze(model, step=0.9, max_steps=6)
    return model


# -- a model of transformers ------------------------------------------------------------------------


def test_albert_whose_layers_share_their_matrices():
    """Each shared matrix is one candidate; the optimizer is wrapped as Trainer wraps it."""
    from accelerate import Accelerator
    from transformers import AlbertConfig, AlbertForSequenceClassification

    from mpolab import to_mpo

    config = AlbertConfig(
        vocab_size=64,
        embedding_size=16,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=16,
        classifier_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AlbertForSequenceClassification(config)
    model = freeze_central(to_mpo(model, "mpop", progress=False)).train()
    assert len(mpo_layers(model)) == 8  # embedding, four of attention, two of the FFN, pooler: not times three
    optimizer = Accelerator(cpu=True).prepare(adamw(model, lr=1e-2))
    ids = torch.randint(1, 64, (8, 10), generator=torch.Generator().manual_seed(0))
    labels = (ids[:, 0] > 31).long()

    def tune(model):
        optimizer.zero_grad()
        model(ids, labels=labels).loss.backward()
        optimizer.step()

    tune(model)
    states = [everything(model, optimizer)]

    def evaluate(model):
        states.append(everything(model, optimizer))
        return float(len(states) < 8)

    trace = squeeze(model, tune, evaluate, optimizer, step=0.25, max_drop=0.5)
    assert len(trace.steps) == 6 and trace.stopped == "drop"
    assert same(everything(model, optimizer), states[-2])
    tune(model)


# -- the record ------------------------------------------------------------------------------------


def test_a_trace_survives_json():
    metrics = iter([0.9, 0.8, 0.1])
    trace = squeeze(Tiny(), None, lambda model: next(metrics), step=0.1, max_drop=0.2, seed=3)
    again = Trace.from_dict(json.loads(json.dumps(trace.to_dict(), allow_nan=False)))
    assert again == trace
    assert again.bonds == trace.bonds and again.matrices["own"].plan == Tiny().own.plan
    assert again.bonds_at(0) == {path: layer.bonds for path, layer in mpo_layers(Tiny()).items()}
    assert again.bonds_at(2) == again.bonds_at(1) != again.bonds_at(0)
    text = str(trace)
    assert "taken back" in text and "max_drop" in text and len(text.splitlines()) == 4
    with pytest.raises(DataError, match="step 3"):
        trace.bonds_at(3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda about: about.pop("steps"),
        lambda about: about.update(colour="blue"),
        lambda about: about["steps"][0].pop("bond"),
        lambda about: about["steps"][0].update(path="elsewhere"),
        lambda about: about["steps"][1].update(number=7),
        lambda about: about["steps"][1].update(bond=4),
        lambda about: about.update(matrices=[]),
    ],
)
def test_a_spoilt_record_is_refused(spoil):
    about = squeeze(Tiny(), max_steps=3).to_dict()
    spoil(about)
    with pytest.raises(DataError):
        Trace.from_dict(about)


# -- bad input -------------------------------------------------------------------------------------


def test_what_squeeze_refuses():
    model = Tiny()
    before = everything(model)
    least = sum(p.numel() for p in squeezed_to_the_end().parameters())
    with pytest.raises(BondError, match=f"{least:,}"):
        squeeze(model, target=least - 1)
    with pytest.raises(BondError, match=f"{least:,}"):
        straight(model, target=least - 1)
    for step in (0, -1, 1.0, 0.0, 1.5, math.nan, "1", True, None):
        with pytest.raises(BondError, match="step = "):
            squeeze(model, step=step, max_steps=1)
    for target in (0, "small", math.nan):
        with pytest.raises(BondError, match="target = "):
            squeeze(model, target=target)
    for drop in (-1, math.nan, "1"):
        with pytest.raises(TrainingError, match="max_drop = "):
            squeeze(model, None, lambda model: 1.0, max_drop=drop)
    for steps in (-1, 1.5):
        with pytest.raises(TrainingError, match="max_steps = "):
            squeeze(model, max_steps=steps)
    with pytest.raises(TrainingError, match="needs evaluate="):
        squeeze(model, max_drop=1.0)
    with pytest.raises(TrainingError, match="until nothing is left"):
        squeeze(model)
    with pytest.raises(UnknownNameError, match="'estimate'"):
        squeeze(model, max_steps=1, order="estimates")
    with pytest.raises(UnknownNameError, match="to_mpo"):
        squeeze(nn.Linear(4, 4), max_steps=1)
    assert same(everything(model), before)
    assert squeeze(model, target=least).stopped == "target"
    assert sum(p.numel() for p in model.parameters()) == least


def squeezed_to_the_end():
    model = Tiny()
    squeeze(model, step=100, max_steps=100)
    return model
