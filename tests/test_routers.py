"""Routers, against transformers' Switch, against the papers' formulas written out, and at their edges."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpolab.errors import RoutingError, UnknownNameError
from mpolab.routers import (
    ROUTERS,
    ExpertChoiceRouter,
    HashRouter,
    MPOERouter,
    NoisyTopKRouter,
    Router,
    SwitchRouter,
    make_router,
)
from mpolab.routing import NONE, squared_variation


def tokens(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def made(name, hidden=6, experts=4, seed=0, **options):
    """A router with weights large enough that all experts are chosen by some token."""
    router = make_router(name, hidden, experts, **options)
    with torch.no_grad():
        for k, parameter in enumerate(router.parameters()):
            parameter.copy_(tokens(*parameter.shape, seed=seed + 7 * k))
    return router


def call(router, x, mask=None):
    ids = torch.arange(x[..., 0].numel()).view(x.shape[:-1])
    return router(x, mask, ids)


# -- Switch, against transformers ----------------------------------------------------------------------


def theirs(experts=4, hidden=6, capacity=3, seed=0):
    from transformers import SwitchTransformersConfig
    from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersSparseMLP

    config = SwitchTransformersConfig(
        d_model=hidden, d_ff=8, num_experts=experts, expert_capacity=capacity, router_jitter_noise=0.0, dropout_rate=0.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SwitchTransformersSparseMLP(config)


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_switch_routes_as_transformers_does(capacity):
    x, model = tokens(3, 10, 6), theirs(capacity=capacity)
    router = SwitchRouter(6, 4, capacity * 4 / 10, capacity * 4 / 10, group="sequence")
    router.classifier.weight = model.router.classifier.weight
    one_hot, gates, logits = model.router(x)
    mine = router.eval()(x)
    torch.testing.assert_close(mine.logits, logits)
    kept = one_hot.sum(-1).bool()
    assert torch.equal(mine.indices[..., 0], torch.where(kept, one_hot.argmax(-1), NONE))
    torch.testing.assert_close(mine.gates, gates * kept[..., None])
    assert kept.all() == (capacity == 5)


def test_its_losses_are_those_of_transformers():
    from transformers.models.switch_transformers import modeling_switch_transformers as switch

    x, model = tokens(3, 10, 6), theirs()
    router = SwitchRouter(6, 4)
    router.classifier.weight = model.router.classifier.weight
    _, _, logits = model.router(x)
    mine = router.eval()(x)
    torch.testing.assert_close(mine.losses["z"], switch.router_z_loss_func(logits))
    # theirs is a mean over sequences, ours is over the batch, as in the paper: the same for one sequence at a time
    for k in range(len(x)):
        expected = switch.load_balancing_loss_func(logits[k : k + 1].softmax(-1), logits[k : k + 1].argmax(-1))
        torch.testing.assert_close(router(x[k]).losses["load_balancing"], expected)
    torch.testing.assert_close(mine.loss, 0.01 * mine.losses["load_balancing"] + 0.001 * mine.losses["z"])


def test_even_routing_has_a_balancing_loss_of_one_and_a_collapsed_one_of_n():
    router = SwitchRouter(4, 4, jitter=0.0, weights={"z": 0.0})
    with torch.no_grad():
        router.classifier.weight.copy_(torch.eye(4) * 50)
    even = router(torch.eye(4).repeat(2, 1)[None])
    torch.testing.assert_close(even.losses["load_balancing"], torch.tensor(1.0))
    collapsed = router(torch.eye(4)[:1].repeat(8, 1)[None])
    torch.testing.assert_close(collapsed.losses["load_balancing"], torch.tensor(4.0))


def test_the_balancing_loss_differentiates_the_probabilities_only():
    """d loss / d P_i = n f_i, with f_i a constant; eq. 6."""
    router, x = made("switch", jitter=0.0), tokens(1, 20, 6)
    routing = router(x)
    (mine,) = torch.autograd.grad(routing.losses["load_balancing"], router.classifier.weight)
    probabilities = (x @ router.classifier.weight.T).softmax(-1)[0]  # (tokens, experts)
    fractions = torch.bincount(probabilities.argmax(-1), minlength=4) / 20
    (expected,) = torch.autograd.grad(4 * (fractions * probabilities.mean(0)).sum(), router.classifier.weight)
    torch.testing.assert_close(mine, expected)


def test_capacity_counts_over_the_batch_and_keeps_the_first():
    router = SwitchRouter(2, 2, capacity_factor=1.0, jitter=0.0)
    with torch.no_grad():
        router.classifier.weight.copy_(torch.eye(2) * 9)
    x = torch.tensor([[[1.0, 0]] * 3, [[1.0, 0], [0, 1.0], [1.0, 0]]])  # 5 of 6 tokens to expert 0, room for 3
    assert router(x).indices[..., 0].tolist() == [[0, 0, 0], [NONE, 1, NONE]]
    assert router(x).gates[1, 0].item() == 0
    router.group = "sequence"  # room for ceil(3 / 2) in each
    assert router(x).indices[..., 0].tolist() == [[0, 0, NONE], [0, 1, 0]]
    router.capacity_factor = None
    assert (router(x).indices != NONE).all()


def test_capacity_never_rounds_down_to_nothing():
    router = SwitchRouter(6, 8, capacity_factor=0.5)
    assert (router(tokens(1, 1, 6)).indices != NONE).all()  # one token, eight experts: a step of generation


def test_jitter_is_for_the_router_in_training_only():
    router, x = made("switch", jitter=0.5), tokens(2, 8, 6)
    before = x.clone()
    torch.manual_seed(0)
    first, second = router(x).logits, router(x).logits
    assert not torch.equal(first, second) and torch.equal(x, before)
    torch.manual_seed(0)
    assert torch.equal(router(x).logits, first)
    router.eval()
    torch.testing.assert_close(router(x).logits, x @ router.classifier.weight.T)


# -- MPOE ----------------------------------------------------------------------------------------------


def test_the_gate_is_exactly_one_and_has_the_gradient_of_log_p():
    router, x = made("mpoe"), tokens(2, 9, 6)
    routing = router(x)
    assert (routing.gates == 1).all() and (routing.indices != NONE).all()
    assert router.classifier.bias is not None
    (mine,) = torch.autograd.grad(routing.gates.sum(), router.classifier.weight, retain_graph=True)
    logits = x @ router.classifier.weight.T + router.classifier.bias
    (expected,) = torch.autograd.grad(logits.log_softmax(-1).max(-1).values.sum(), router.classifier.weight)
    torch.testing.assert_close(mine, expected)
    assert mine.abs().max() > 0.1


def test_no_capacity_even_when_all_tokens_want_one_expert():
    router = MPOERouter(3, 4)
    with torch.no_grad():
        router.classifier.bias.copy_(torch.tensor([0, 0, 99.0, 0]))
    routing = router(tokens(4, 16, 3))
    assert routing.load(4).tolist() == [0, 0, 64, 0]


# -- noisy top-k ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 4])
def test_gates_are_a_softmax_over_the_k_largest(k):
    router, x = made("noisy_top_k", top_k=k).eval(), tokens(2, 7, 6)
    routing = router(x)
    full = torch.zeros(2, 7, 4).scatter(-1, routing.indices, routing.gates)
    logits = x @ router.classifier.weight.T
    kept = logits >= logits.sort(-1, descending=True).values[..., k - 1 : k]
    expected = logits.masked_fill(~kept, -math.inf).softmax(-1)  # eqs. 3 and 5
    torch.testing.assert_close(full, expected)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_importance_and_load_by_hand(k):
    """Eqs. 6 to 11, token by token and expert by expert."""
    router, x = made("noisy_top_k", experts=5, top_k=k), tokens(1, 11, 6)
    torch.manual_seed(3)
    routing = router(x)
    torch.manual_seed(3)
    noise = torch.randn(1, 11, 5)[0]
    clean = (x @ router.classifier.weight.T)[0]
    deviation = torch.nn.functional.softplus(x @ router.spread.weight.T)[0] + 1e-2
    noisy = clean + noise * deviation
    load, importance = torch.zeros(5), torch.zeros(5)
    for t in range(11):
        for i in range(5):
            others = sorted((noisy[t, j].item() for j in range(5) if j != i), reverse=True)
            distance = (clean[t, i] - others[k - 1]) / deviation[t, i]
            load[i] += 0.5 * (1 + torch.erf(distance / math.sqrt(2)))
        top = noisy[t].topk(k)
        importance[top.indices] += top.values.softmax(-1)
    for name, values in (("importance", importance), ("load", load)):
        expected = ((values - values.mean()) ** 2).mean() / values.mean() ** 2
        torch.testing.assert_close(routing.losses[name], expected, rtol=1e-4, atol=1e-5)


def test_fresh_noise_spreads_tokens_and_learns():
    router, x = NoisyTopKRouter(6, 4, 1), tokens(8, 32, 6)
    torch.manual_seed(0)
    routing = router(x)
    assert (routing.load(4) > 30).all()
    assert (routing.gates == 1).all()  # k = 1: the gate tells the router nothing
    routing.loss.backward()
    assert router.classifier.weight.grad.abs().sum() > 0 and router.spread.weight.grad.abs().sum() > 0


def test_cv_of_one_and_of_nothing():
    assert squared_variation(torch.tensor([3.0])) == 0
    assert squared_variation(torch.zeros(4)) == 0


# -- hashing -------------------------------------------------------------------------------------------


def test_hash_depends_on_the_id_alone_and_is_nearly_even():
    router = HashRouter(6, 8)
    ids = torch.arange(50_000).view(1, -1)
    indices = router(torch.zeros(1, 50_000, 6), None, ids).indices[0, :, 0]
    assert torch.bincount(indices, minlength=8).float().sub(6250).abs().max() < 300  # four deviations
    assert indices[:8].tolist() == HashRouter(3, 8)(torch.zeros(1, 8, 3), None, ids[:, :8]).indices[0, :, 0].tolist()
    other = HashRouter(6, 8, seed=1)(torch.zeros(1, 50_000, 6), None, ids).indices[0, :, 0]
    assert 0.1 < (other == indices).float().mean() < 0.15  # an independent one agrees in 1/8
    assert [int(e) for e in indices[:8]] == [4, 6, 1, 1, 6, 4, 2, 4]  # the same on every machine and for ever


def test_hash_says_what_is_missing_and_routes_by_position_if_asked():
    with pytest.raises(RoutingError, match="by='position'"):
        HashRouter(6, 4)(tokens(2, 5, 6))
    router = HashRouter(6, 4, by="position")
    whole = router(tokens(2, 9, 6)).indices
    assert torch.equal(whole[0], whole[1])
    step = router(tokens(2, 1, 6), torch.ones(2, 9))  # with a cache the mask is longer than the tokens
    assert torch.equal(step.indices, whole[:, -1:])
    assert router(tokens(2, 9, 6)).logits is None


# -- expert choice -------------------------------------------------------------------------------------


def test_each_expert_takes_its_most_probable_tokens():
    router, x = made("expert_choice", capacity_factor=1.5), tokens(2, 8, 6)
    routing = router(x)
    probabilities = (x @ router.classifier.weight.T).softmax(-1).reshape(16, 4)
    flat, gates = routing.indices.reshape(16, 4), routing.gates.reshape(16, 4)
    for e in range(4):
        expected = set(probabilities[:, e].topk(6).indices.tolist())  # 1.5 * 16 / 4
        assert set((flat[:, e] == e).nonzero()[:, 0].tolist()) == expected
    torch.testing.assert_close(gates, torch.where(flat == NONE, 0, probabilities))
    alone = ExpertChoiceRouter(6, 4, 1.5, group="sequence")
    alone.load_state_dict(router.state_dict())
    together = alone(x)
    for k in range(2):
        assert torch.equal(alone(x[k : k + 1]).indices, together.indices[k : k + 1])
        assert together.indices[k].ne(NONE).sum(0).tolist() == [3] * 4


# -- what all of them do -------------------------------------------------------------------------------

ALL = sorted(ROUTERS)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=15)
@given(
    batch=st.integers(0, 3), length=st.integers(0, 9), experts=st.integers(1, 6), training=st.booleans(),
    seed=st.integers(0, 99), padded=st.booleans(),
)  # fmt: skip
def test_shapes_and_sums(name, batch, length, experts, training, seed, padded):
    options = {"top_k": min(2, experts)} if name == "noisy_top_k" else {}
    router = made(name, 5, experts, seed, **options).train(training)
    x = tokens(batch, length, 5, seed=seed)
    mask = torch.rand(batch, length, generator=torch.Generator().manual_seed(seed)) < 0.6 if padded else None
    routing = call(router, x, mask)
    k = routing.indices.shape[-1]
    assert routing.indices.shape == routing.gates.shape == (batch, length, k)
    assert routing.logits is None or routing.logits.shape == (batch, length, experts)
    assert routing.indices.dtype == torch.int64
    assert ((routing.indices >= NONE) & (routing.indices < experts)).all()
    assert (routing.gates[routing.indices == NONE] == 0).all()
    assert routing.gates.isfinite().all() and ((routing.gates >= 0) & (routing.gates <= 1 + 1e-6)).all()
    assert routing.loss.isfinite() and all(loss.isfinite() for loss in routing.losses.values())
    if mask is not None:
        assert (routing.indices[~mask] == NONE).all()


@pytest.mark.parametrize("name", ALL)
def test_padding_changes_nothing(name):
    """Wherever padding stands, real tokens are routed, and losses computed, as if it were not there."""
    router, x = made(name, **({"jitter": 0.0} if name in ("switch", "mpoe") else {})).eval(), tokens(1, 7, 6)
    ids = torch.arange(7)[None]
    alone = router(x, None, ids)
    places = torch.tensor([0, 2, 3, 6, 7, 8, 10])
    wide = torch.full((1, 12, 6), 3.0).index_copy(1, places, x)
    mask = torch.zeros(1, 12).index_fill(1, places, 1)
    padded = router(wide, mask, torch.zeros(1, 12, dtype=torch.long).index_copy(1, places, ids))
    assert torch.equal(padded.indices[:, places], alone.indices)
    torch.testing.assert_close(padded.gates[:, places], alone.gates)
    torch.testing.assert_close(padded.loss, alone.loss)
    assert padded.load(4).tolist() == alone.load(4).tolist()


@pytest.mark.parametrize("name", ALL)
def test_half_precision_and_autocast(name):
    router = made(name)
    exact = call(copy.deepcopy(router).eval(), tokens(2, 8, 6).bfloat16().float())
    half = call(copy.deepcopy(router).eval(), tokens(2, 8, 6).bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        auto = call(copy.deepcopy(router).eval(), tokens(2, 8, 6).bfloat16())
        training = call(router.train(), tokens(2, 8, 6) * 1e4)
    for routing in (half, auto):
        assert torch.equal(routing.indices, exact.indices) and torch.equal(routing.gates, exact.gates)
        assert routing.logits is None or routing.logits.dtype == torch.float32
    assert training.loss.isfinite() and training.gates.isfinite().all()


@pytest.mark.parametrize("name", ["switch", "mpoe", "expert_choice", "noisy_top_k"])
def test_gradients(name):
    """Of gates and losses, by finite differences; p / stop_gradient(p) has none, its losses do."""
    router = made(name, 3, 3).double().eval()
    x = tokens(1, 4, 3, dtype=torch.float64).requires_grad_()

    def run(x, *_):
        routing = router(x)
        gates = [] if name == "mpoe" else [routing.gates]
        return (routing.loss, *gates)

    assert torch.autograd.gradcheck(run, (x, *router.parameters()))


def test_only_padding_is_no_load_at_all():
    routing = SwitchRouter(6, 4)(tokens(2, 5, 6), torch.zeros(2, 5))
    assert routing.loss == 0 and (routing.indices == NONE).all()


# -- bad input -----------------------------------------------------------------------------------------


def test_errors_say_what_would_work():
    with pytest.raises(RoutingError, match="top_k = 5, but there are only 4 experts"):
        make_router("noisy_top_k", 6, 4, top_k=5)
    for factor in (0, -1.0, float("nan")):
        with pytest.raises(RoutingError, match="all tokens would be dropped"):
            make_router("switch", 6, 4, capacity_factor=factor)
    with pytest.raises(RoutingError, match="all take all tokens"):
        make_router("expert_choice", 6, 4, capacity_factor=None)
    with pytest.raises(UnknownNameError, match="Did you mean 'switch'"):
        make_router("swich", 6, 4)
    with pytest.raises(UnknownNameError, match="load_balancing"):
        make_router("switch", 6, 4, weights={"balance": 1.0})
    for experts in (0, 2.5, True):
        with pytest.raises(RoutingError, match="whole number of at least 1"):
            make_router("switch", 6, experts)
    with pytest.raises(RoutingError, match="does not fit tokens"):
        make_router("switch", 6, 4)(tokens(2, 5, 6), torch.ones(2, 4))
    with pytest.raises(RoutingError, match=r"\(..., 6\)"):
        make_router("switch", 6, 4)(tokens(2, 5, 7))


def test_weights_are_seeded():
    one, two, three = (
        SwitchRouter(6, 4, generator=torch.Generator().manual_seed(seed)).classifier.weight for seed in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, three)
    assert one.abs().max() <= 2 * math.sqrt(0.1 / 6)


def test_every_router_is_in_the_table():
    def below(kind):
        return {kind, *(k for sub in kind.__subclasses__() for k in below(sub))}

    ours = {kind for kind in below(Router) if kind.__module__ == "mpolab.routers"}
    assert ours == {Router, *ROUTERS.values()}
