"""Experts' linear layers in blocks, against the chain written out as one sum and against the loop over experts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_experts import HIDDEN, INNER, KINDS, block, one_by_one, routes, shaken, vectors
from torch import nn

from mpolab import shared_rebuild
from mpolab.blocked import Order, _summed, blocked_linear, orders
from mpolab.errors import PlanError
from mpolab.experts import MPOExperts
from mpolab.moe_layer import MoELayer
from mpolab.plans import Plan, make_plan
from mpolab.routers import MPOERouter

COUNT = 3


def chain(plan, bonds, seed=0, count=COUNT):
    """(central, stacked auxiliaries), float64."""
    cores = [vectors(count, *plan.core_shape(k, bonds), seed=seed + k) for k in range(plan.n)]
    central = cores.pop(plan.centre)[0]
    return central, cores


def whole(plan, central, stacked, expert):
    """W (I, J) as eq. 1 has it: one sum over the bonds, then rows before columns."""
    cores = [core[expert] for core in stacked]
    cores.insert(plan.centre, central)
    W = cores[0]
    for core in cores[1:]:
        W = torch.tensordot(W, core, dims=1)
    W = W.reshape([n for pair in zip(plan.rows, plan.cols) for n in pair])
    W = W.permute(*range(0, 2 * plan.n, 2), *range(1, 2 * plan.n, 2))
    return W.reshape(plan.padded)


def by_hand(sizes, first):
    """The numbers of (left, centre, right) in their own order, listed in the order of the letters of `first`."""
    letters = "LCR"
    ranges = {letter: range(size) for letter, size in zip(letters, sizes)}
    found = []
    for digits in itertools.product(*(ranges[letter] for letter in first)):
        at = dict(zip(first, digits))
        found.append((at["L"] * sizes[1] + at["C"]) * sizes[2] + at["R"])
    return found


@pytest.mark.parametrize("left_first", [True, False])
def test_the_orders_of_legs(left_first):
    order = Order((2, 3, 4), (3, 5, 2), left_first, True)
    hidden, inner = torch.arange(24.0), torch.arange(30.0)
    assert order.hidden_in_blocks(hidden).tolist() == by_hand((2, 3, 4), "CLR" if left_first else "CRL")
    assert order.inner_in_blocks(inner).tolist() == by_hand((3, 5, 2), "RLC" if left_first else "LRC")
    batch = vectors(2, 5, 24)
    assert torch.equal(order.hidden_in_order(order.hidden_in_blocks(batch)), batch)


PLANS = {
    "n = 2": (Plan((4, 3), (2, 5), (12, 10)), [1, 6, 1]),
    "n = 3, full": (Plan((2, 3, 2), (3, 2, 4), (12, 24)), [1, 6, 8, 1]),
    "n = 3, cut": (Plan((2, 3, 2), (3, 2, 4), (12, 24)), [1, 2, 5, 1]),
    "n = 4": (Plan((2, 2, 2, 2), (2, 3, 1, 2), (16, 12)), [1, 3, 7, 2, 1]),
    "n = 5": (Plan((2, 1, 3, 2, 2), (2, 2, 2, 1, 3), (24, 24)), [1, 4, 5, 6, 3, 1]),
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("left_first", [True, False])
@pytest.mark.parametrize("inner_rows", [True, False])
@pytest.mark.parametrize("biases", ["own", "shared", None])
@pytest.mark.parametrize("keep", [True, False])
def test_products_and_gradients(name, left_first, inner_rows, biases, keep):
    plan, bonds = PLANS[name]
    c = plan.centre
    parts = [(math.prod(legs[:c]), legs[c], math.prod(legs[c + 1 :])) for legs in (plan.rows, plan.cols)]
    inner, hidden = parts if inner_rows else parts[::-1]
    order = Order(hidden, inner, left_first, inner_rows)
    central, stacked = chain(plan, bonds)
    out, width = plan.shape
    bias = {"own": vectors(COUNT, out, seed=20), "shared": vectors(out, seed=20), None: None}[biases]
    used, xs = (0, 2), [vectors(n, width, seed=30 + n) for n in (4, 3)]
    weights = [vectors(n, out, seed=40 + n) for n in (4, 3)]
    leaves = [t.requires_grad_() for t in (central, *stacked, *xs, *([] if bias is None else [bias]))]

    place = torch.tensor(by_hand(inner, "RLC" if left_first else "LRC"))  # inner vectors stand like that
    seen = [x if inner_rows else x[:, place] for x in xs]
    thirds = shared_rebuild.stacked_thirds(plan, central, stacked)
    found = blocked_linear(order, *thirds, bias, used, seen, keep)
    back = torch.empty_like(place)
    back[place] = torch.arange(len(place))
    found = [y[:, back] if inner_rows else y for y in found]

    expected = []
    for e, x in zip(used, xs):
        b = 0 if bias is None else bias[e] if bias.dim() == 2 else bias
        expected.append(x @ whole(plan, central, stacked, e).T + b)
    for mine, theirs in zip(found, expected):
        torch.testing.assert_close(mine, theirs)
    loss = [sum((y * w).sum() for y, w in zip(ys, weights)) for ys in (found, expected)]
    grads = [torch.autograd.grad(one, leaves) for one in loss]
    for mine, theirs in zip(*grads):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("left_first", [True, False])
@pytest.mark.parametrize("inner_rows", [True, False])
def test_differentiable_twice(left_first, inner_rows):
    plan, bonds = Plan((2, 2, 1), (1, 2, 2), (4, 4)), [1, 2, 2, 1]
    order = Order(*(((1, 2, 2), (2, 2, 1))[:: 1 if inner_rows else -1]), left_first, inner_rows)
    central, stacked = chain(plan, bonds)
    bias, x = vectors(COUNT, 4, seed=9), vectors(2, 4, seed=8)

    def run(x, bias, central, *stacked):
        thirds = shared_rebuild.stacked_thirds(plan, central, stacked)
        return blocked_linear(order, *thirds, bias, [1], [x])[0]

    inputs = [t.requires_grad_() for t in (x, bias, central, *stacked)]
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("added_up", [True, False, None])
def test_a_sum_of_products(added_up):
    one, other = vectors(5, 3, 4), vectors(5, 4, 2, seed=2)
    torch.testing.assert_close(_summed(one, other, added_up), torch.einsum("bij,bjk->ik", one, other))


# -- as experts ------------------------------------------------------------------------------------------


def both(kind, seed=3, **options):
    """The same experts in blocks and in a loop."""
    made = [shaken(MPOExperts.from_ffn(block(kind), 4, rebuild=way, **options), seed) for way in ("blocks", "loop")]
    for experts in made:
        experts.train()
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"n": 3, "bond": 2}, {"biases": "shared"}, {"keep_weight": False}])
def test_blocks_are_the_loop(kind, options):
    x, (indices, gates) = vectors(2, 6, HIDDEN), routes((2, 6), 4, 2, dropped=0.2)
    found = []
    for experts in both(kind, **options):
        x = x.detach().requires_grad_()
        y = experts(x, indices, gates)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *experts.parameters()])])
    for mine, theirs in zip(*found):
        torch.testing.assert_close(mine, theirs)
    expected = one_by_one(experts, x, indices, gates, kind)
    torch.testing.assert_close(found[0][0], expected)


@settings(max_examples=10)
@given(
    hidden=st.sampled_from([6, 8, 12]), inner=st.sampled_from([12, 18, 16]), n=st.integers(2, 7), seed=st.integers(0, 9)
)
def test_any_factors(hidden, inner, n, seed):
    experts = shaken(MPOExperts.from_ffn(block("t5", hidden, inner), 2, n=n), seed).train()
    x, (indices, gates) = vectors(1, 5, hidden, seed=seed), routes((1, 5), 2)
    torch.testing.assert_close(experts(x, indices, gates), one_by_one(experts, x, indices, gates, "t5"))


def test_the_inner_vectors_are_the_same_ones_in_another_order():
    seen, (blocks, loop) = [], both("gpt2")
    x, (indices, gates) = vectors(1, 7, HIDDEN), routes((1, 7), 4)
    for experts in (blocks, loop):
        experts.before.register_forward_hook(lambda _module, _given, out: seen.append(out.detach()))
        experts(x, indices, gates)
    mine, theirs = (torch.cat(seen[:half] if half > 0 else seen[half:]) for half in (len(seen) // 2, -len(seen) // 2))
    order = blocks._orders["up"]
    place = by_hand(order.inner, "RLC" if order.left_first else "LRC")
    assert place != list(range(INNER))
    torch.testing.assert_close(mine, theirs[:, place])


def test_the_usual_shapes_are_made_in_blocks_by_themselves(monkeypatch):
    for hidden, inner, n, style in ((768, 3072, 5, "mpobert"), (768, 3072, 5, "mpop"), (768, 3072, 9, "mpobert"),
                                    (512, 2048, 5, "mpobert"), (1024, 4096, 7, "mpobert")):  # fmt: skip
        plans = {
            "up": make_plan((inner, hidden), n=n, style=style),
            "down": make_plan((hidden, inner), n=n, style=style),
        }
        assert orders(plans, {name: plan.full_bonds for name, plan in plans.items()}) is not None
    from mpolab import experts as module

    def no(*_):
        raise AssertionError("W by W")

    monkeypatch.setattr(module, "rebuild", no)
    experts = MPOExperts.from_ffn(block("gpt2"), 2).train()
    experts(vectors(1, 4, HIDDEN), *routes((1, 4), 2)).sum().backward()


def test_as_many_tokens_as_inner_rows_are_enough_for_one_w_after_the_other(monkeypatch):
    from mpolab import experts as module

    made, plain = [], module.rebuild
    monkeypatch.setattr(module, "rebuild", lambda *a, **k: made.append(1) or plain(*a, **k))
    for way, tokens, expected in (("auto", INNER, 0), ("auto", INNER + 1, 2), ("blocks", INNER + 1, 0)):
        made.clear()
        experts = MPOExperts.from_ffn(block("gpt2"), 2, rebuild=way).train()
        one = torch.zeros(1, tokens, 1, dtype=torch.long)  # all tokens to one expert of two
        experts(vectors(1, tokens, HIDDEN), one, torch.ones(1, tokens, 1)).sum().backward()
        assert len(made) == expected, (way, tokens)  # "up" and "down"


def test_matrices_that_cut_the_inner_side_otherwise_have_no_blocks():
    up, down = Plan((2, 3, 4), (2, 3, 2), (24, 12)), Plan((2, 3, 2), (2, 3, 4), (12, 24))
    other = Plan((2, 3, 2), (4, 3, 2), (12, 24))
    bonds = {"up": up.full_bonds, "down": down.full_bonds}
    found = orders({"up": up, "down": down}, bonds)
    assert [order.inner_rows for order in found.values()] == [True, False]
    assert found["up"].inner == found["down"].inner == (2, 3, 4) and found["up"].hidden == (2, 3, 2)
    assert orders({"up": up, "down": other}, bonds) is None


def test_padded_matrices_have_no_blocks():
    ffn = block("t5", 61, 122)
    experts = shaken(MPOExperts.from_ffn(ffn, 2)).train()
    assert experts._orders is None
    x, (indices, gates) = vectors(1, 5, 61), routes((1, 5), 2)
    torch.testing.assert_close(experts(x, indices, gates), one_by_one(experts, x, indices, gates, "t5"))
    with pytest.raises(PlanError, match="loop"):
        MPOExperts.from_ffn(ffn, 2, rebuild="blocks")


def test_what_is_frozen_gets_no_gradient():
    x, (indices, gates) = vectors(1, 6, HIDDEN), routes((1, 6), 4)
    reference = None
    for still in (None, "central", "A1", "bias"):
        experts, _ = both("gpt2")
        for name, parameter in experts.named_parameters():
            parameter.requires_grad_(not (still and name.endswith(still)))
        experts(x, indices, gates).square().sum().backward()
        grads = {name: p.grad for name, p in experts.named_parameters()}
        reference = reference or grads
        for name, grad in grads.items():
            if still and name.endswith(still):
                assert grad is None, name
            else:
                torch.testing.assert_close(grad, reference[name])


def test_with_only_one_matrix_that_trains_in_evaluation():
    """Then one keeps its W and the other does not: both work in their own order."""
    experts, _ = both("gated")
    experts.eval()
    for p in experts.matrices["up"].parameters():
        p.requires_grad_(False)
    x, (indices, gates) = vectors(1, 6, HIDDEN), routes((1, 6), 4)
    y = experts(x, indices, gates)
    torch.testing.assert_close(y, one_by_one(experts, x, indices, gates, "gated"))
    y.sum().backward()
    assert experts.matrices["down"].central.grad is not None


def test_nothing_of_the_size_of_w_is_kept_unless_asked():
    sizes = {}
    for keep, needs_x in ((True, True), (True, False), (False, True)):
        experts = MPOExperts.from_ffn(block("t5", 64, 256), 2, rebuild="blocks", keep_weight=keep).train()
        W, saved = 64 * 256, {}

        def pack(tensor, saved=saved):
            saved[tensor.data_ptr()] = tensor.numel()
            return tensor

        own = {p.data_ptr() for p in experts.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            x = vectors(1, 4, 64).requires_grad_(needs_x)
            y = experts(x, torch.tensor([0, 1, 0, 1]).view(1, 4, 1), torch.ones(1, 4, 1))
        assert y.requires_grad
        sizes[keep, needs_x] = sum(n // W for address, n in saved.items() if address not in own)
    # the centres are as large as W: one of the two is put in its blocks' order, once for all experts
    assert sizes == {(True, True): 1 + 2 * 2, (True, False): 1 + 2, (False, True): 1}


def test_autocast_multiplies_tokens_in_half_precision_and_makes_w_in_full():
    experts, loop = both("gpt2")
    experts, loop = experts.float(), loop.float()
    x, (indices, gates) = vectors(1, 6, HIDDEN, dtype=torch.float32), routes((1, 6), 4)
    found = []
    for one in (experts, loop):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = one(x, indices, gates)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
        found.append([y.float(), *(p.grad for p in one.parameters())])
    for mine, theirs in zip(*found):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 0.02 * theirs.norm()


# -- W that is kept --------------------------------------------------------------------------------------


def _adamw(experts, x, indices, gates, **how):
    optimizer = torch.optim.AdamW(experts.parameters(), 0.1, **how)
    experts(x, indices, gates).square().sum().backward()  # in evaluation mode: dropout off, and W not kept
    optimizer.step()


CHANGES = {
    "optimizer step": _adamw,
    "fused optimizer step": lambda *given: _adamw(*given, fused=True),
    "load_state_dict": lambda experts, *_: experts.load_state_dict(
        {name: 2 * tensor for name, tensor in experts.state_dict().items()}
    ),
    "to another dtype and back": lambda experts, *_: experts.bfloat16().double(),
    "one auxiliary": lambda experts, *_: experts.matrices["down"].A2.data.mul_(-3),
    "a centre of its own": lambda experts, *_: setattr(
        experts.matrices["up"], "central", nn.Parameter(-experts.matrices["up"].central.detach())
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_kept_w_is_never_older_than_its_cores(change):
    experts, _ = both("gpt2")
    experts.eval()
    x, (indices, gates) = vectors(1, 6, HIDDEN), routes((1, 6), 4)
    with torch.no_grad():
        before = experts(x, indices, gates)
        assert all(matrix._kept._weights for matrix in experts.matrices.values())
    CHANGES[change](experts, x, indices, gates)
    with torch.no_grad():
        after = experts(x, indices, gates)
    torch.testing.assert_close(after, one_by_one(experts, x, indices, gates, "gpt2"))
    assert (after - before).norm() > 1e-4 * before.norm()


def test_a_model_generates_as_it_trains():
    """Kept W's in evaluation and blocks in training compute the same."""
    layer = MoELayer(MPOERouter(HIDDEN, 4).double(), shaken(MPOExperts.from_ffn(block("gpt2"), 4)))
    x = vectors(2, 9, HIDDEN)
    with torch.no_grad():
        torch.testing.assert_close(layer.train()(x), layer.eval()(x))
