"""Sets of experts, against a dense layer per token, and what it takes to stand in a model."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mpolab.errors import MatrixTypeError, RoutingError, UnknownNameError
from mpolab.experts import DenseExperts, MPOExperts, grouped
from mpolab.ffn import read_ffn
from mpolab.moe_layer import MoELayer, TokenInputs, recorded
from mpolab.moefication import LearnedRouter, MoEfied, OracleRouter, balanced_kmeans
from mpolab.routers import HashRouter, MPOERouter, Router, SwitchRouter, make_router
from mpolab.routing import NONE

KINDS = ["gpt2", "t5", "gated"]
HIDDEN, INNER = 12, 24


def block(kind="gpt2", hidden=HIDDEN, inner=INNER, dropout=0.0, seed=0, dtype=torch.float64):
    """A transformers feed-forward block with biases that are not zero."""
    from transformers import GPT2Config, T5Config
    from transformers.models.gpt2.modeling_gpt2 import GPT2MLP
    from transformers.models.t5.modeling_t5 import T5DenseActDense, T5DenseGatedActDense

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "gpt2":
            made = GPT2MLP(inner, GPT2Config(n_embd=hidden, resid_pdrop=dropout))
            nn.init.normal_(made.c_fc.bias), nn.init.normal_(made.c_proj.bias)
            nn.init.normal_(made.c_fc.weight), nn.init.normal_(made.c_proj.weight)
        else:
            config = T5Config(d_model=hidden, d_ff=inner, dropout_rate=dropout, feed_forward_proj="gated-gelu")
            plain = T5Config(d_model=hidden, d_ff=inner, dropout_rate=dropout)
            made = T5DenseGatedActDense(config) if kind == "gated" else T5DenseActDense(plain)
    return made.to(dtype).eval()


def vectors(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def routes(shape, experts, k=1, seed=2, dropped=0.0):
    """Distinct experts per token, random gates; a share of the slots unused."""
    generator = torch.Generator().manual_seed(seed)
    indices = torch.rand(*shape, experts, generator=generator).argsort(-1)[..., :k]
    gates = torch.rand(*shape, k, generator=generator, dtype=torch.float64)
    unused = torch.rand(*shape, k, generator=generator) < dropped
    return indices.masked_fill(unused, NONE), gates.masked_fill(unused, 0)


def shaken(experts, seed=3):
    """Every number its own, so that no expert equals another."""
    with torch.no_grad():
        for k, parameter in enumerate(experts.parameters()):
            parameter.add_(vectors(*parameter.shape, seed=seed + k).to(parameter.dtype), alpha=0.3)
    return experts


def one_by_one(experts, x, indices, gates, kind):
    """The same by the formula, token by token and slot by slot, from W and b of each expert."""
    W = {name: experts.weight(name) for name in experts.matrices}
    out = torch.zeros_like(x)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in indices.shape)).tolist():
        e = indices[tuple(place)].item()
        if e == NONE:
            continue
        v = x[tuple(place[:-1])]

        def apply(name, v, e=e):
            b = experts.matrices[name].bias
            return W[name][e] @ v + (0 if b is None else b[e] if b.dim() == 2 else b)

        act = {"gpt2": lambda h: nn.functional.gelu(h, approximate="tanh"), "t5": torch.relu}.get(kind)
        inner = act(apply("up", v)) if act else (
            nn.functional.gelu(apply("gate", v), approximate="tanh") * apply("up", v)
        )  # fmt: skip
        out[tuple(place[:-1])] += gates[tuple(place)] * apply("down", inner)
    return out


def build(kind, what, count=4, **options):
    cls = {"dense": DenseExperts, "mpo": MPOExperts}[what]
    return cls.from_ffn(block(kind), count, **options)


# -- at the start --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["dense", "mpo"])
def test_every_expert_starts_as_the_block(kind, what):
    ffn, experts, x = block(kind), build(kind, what), vectors(2, 5, HIDDEN)
    for e in range(4):
        indices = torch.full((2, 5, 1), e)
        torch.testing.assert_close(experts(x, indices, torch.ones(2, 5, 1)), ffn(x), rtol=1e-11, atol=1e-11)
    layer = MoELayer(MPOERouter(HIDDEN, 4).double(), experts)
    torch.testing.assert_close(layer(x), ffn(x), rtol=1e-11, atol=1e-11)
    assert read_ffn(ffn).gated == (kind == "gated")


def test_a_bond_caps_the_experts():
    from mpolab import MPO

    experts, W = build("t5", "mpo", n=3, bond=2), block("t5").wi.weight
    assert experts.matrices["up"].bonds[1:-1] == [2, 2]
    expected = MPO.decompose(W.detach(), n=3, bond=2).to_matrix()
    torch.testing.assert_close(experts.weight("up")[2], expected)
    assert (expected - W).norm() > 0.1 * W.norm()


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7])
def test_counts_one_centre_and_many_auxiliaries(n):
    from mpolab import MPO

    ffn = block("gpt2")
    experts = MPOExperts.from_ffn(ffn, 6, n=n)
    expected = 6 * (INNER + HIDDEN)  # biases
    for W in (ffn.c_fc.weight.T, ffn.c_proj.weight.T):
        cores = MPO.decompose(W.detach(), n=n).cores
        expected += cores[n // 2].numel() + 6 * sum(core.numel() for k, core in enumerate(cores) if k != n // 2)
    assert sum(p.numel() for p in experts.parameters()) == expected
    shared = MPOExperts.from_ffn(ffn, 6, n=n, biases="shared")
    assert sum(p.numel() for p in shared.parameters()) == expected - 5 * (INNER + HIDDEN)


def test_on_the_meta_device():
    with torch.device("meta"):
        ffn = block("gpt2", 768, 3072)
    for what in (DenseExperts, MPOExperts, MoEfied):
        experts = what.from_ffn(ffn, 8)
        assert all(p.is_meta for p in experts.parameters())
    count = sum(p.numel() for p in MPOExperts.from_ffn(ffn, 9).parameters())  # GPT-2 under the n + 1 convention
    assert abs(124_439_808 + 12 * (count - (2 * 768 * 3072 + 768 + 3072) + 768 * 8 + 8) - 156.97e6) < 0.1e6  # facts 3
    assert sum(p.numel() for p in DenseExperts.from_ffn(ffn, 8).parameters()) == 8 * (2 * 768 * 3072 + 768 + 3072)


# -- routed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["dense", "mpo"])
@pytest.mark.parametrize("biases", ["own", "shared"])
def test_routed_is_a_sum_over_slots(kind, what, biases):
    experts, x = shaken(build(kind, what, biases=biases)), vectors(2, 5, HIDDEN)
    for k in (1, 2, 4):
        indices, gates = routes((2, 5), 4, k, dropped=0.3)
        expected = one_by_one(experts, x, indices, gates, kind)
        torch.testing.assert_close(experts(x, indices, gates), expected)


@settings(max_examples=15)
@given(
    batch=st.integers(0, 2), length=st.integers(0, 6), count=st.integers(1, 5), k=st.integers(1, 3),
    dropped=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 99), what=st.sampled_from(["dense", "mpo"]),
)  # fmt: skip
def test_any_shape(batch, length, count, k, dropped, seed, what):
    k = min(k, count)
    experts, x = shaken(build("t5", what, count), seed), vectors(batch, length, HIDDEN, seed=seed)
    indices, gates = routes((batch, length), count, k, seed, dropped)
    y = experts(x, indices, gates)
    assert y.shape == x.shape
    if x.numel():
        torch.testing.assert_close(y, one_by_one(experts, x, indices, gates, "t5"))


def test_grouping():
    order, counts = grouped(torch.tensor([[2, 0], [NONE, 2], [0, NONE]]), 4)
    assert order.tolist() == [1, 4, 0, 3] and counts == [2, 0, 2, 0]
    with pytest.raises(RoutingError, match="expert 4 was routed to, but the layer has 4"):
        grouped(torch.tensor([[4]]), 4)


@pytest.mark.parametrize("rebuild", ["batch", "loop", "recompute"])
@pytest.mark.parametrize("count", [1, 3])
def test_three_ways_to_rebuild(rebuild, count):
    """The same values and gradients; those of the loop over experts that autograd alone can follow."""
    options = {"keep_weight": False} if rebuild == "recompute" else {"rebuild": rebuild}
    experts = shaken(build("gated", "mpo", count, **options)).train()
    x, (indices, gates) = vectors(2, 6, HIDDEN).requires_grad_(), routes((2, 6), count)
    y = experts(x, indices, gates)
    grads = torch.autograd.grad(y.square().sum(), [x, *experts.parameters()])

    from mpolab.rebuild import contract

    W = {
        name: torch.stack([contract(m.plan, m.cores(e)) for e in range(count)]) for name, m in experts.matrices.items()
    }
    e = indices[..., 0]
    up = torch.einsum("btoi,bti->bto", W["up"][e], x)
    gate = torch.einsum("btoi,bti->bto", W["gate"][e], x)
    hidden = nn.functional.gelu(gate, approximate="tanh") * up
    expected = gates * torch.einsum("btoi,bti->bto", W["down"][e], hidden)
    torch.testing.assert_close(y, expected)
    for mine, theirs in zip(grads, torch.autograd.grad(expected.square().sum(), [x, *experts.parameters()])):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("what", ["dense", "mpo"])
def test_gradcheck(what):
    ffn = block("gated", 4, 6)
    experts = shaken(
        {"dense": DenseExperts, "mpo": MPOExperts}[what].from_ffn(ffn, 3, **({"n": 3} if what == "mpo" else {}))
    )
    x, (indices, gates) = vectors(1, 4, 4).requires_grad_(), routes((1, 4), 3, 2)
    names = [name for name, _ in experts.named_parameters()]

    def run(x, gates, *parameters):
        return torch.func.functional_call(experts, dict(zip(names, parameters)), (x, indices, gates))

    parameters = [p.detach().requires_grad_() for p in experts.parameters()]
    assert torch.autograd.gradcheck(run, (x, gates.requires_grad_(), *parameters))


@pytest.mark.parametrize("what", ["dense", "mpo"])
def test_experts_without_tokens(what):
    """Their gradient is zero, not missing (DDP waits for every parameter), and all in one expert works."""
    experts, x = shaken(build("gpt2", what)).train(), vectors(2, 5, HIDDEN)
    experts(x, torch.full((2, 5, 1), 2), torch.ones(2, 5, 1)).square().sum().backward()
    for name, parameter in experts.own().items():
        touched = parameter.grad.flatten(1).abs().sum(1) > 0
        assert touched.tolist() == [False, False, True, False], name
    assert experts.routed.tolist() == [False, False, True, False]
    assert (experts(x, torch.full((2, 5, 1), NONE), torch.zeros(2, 5, 1)) == 0).all()


def test_what_belongs_to_one_expert():
    experts = build("gpt2", "mpo", biases="shared")
    own = set(experts.own())
    everything = {name for name, _ in experts.named_parameters()}
    assert everything - own == {f"matrices.{m}.{p}" for m in ("up", "down") for p in ("central", "bias")}
    assert all(p.shape[0] == 4 for p in experts.own().values())
    assert set(build("gpt2", "mpo").own()) >= {"matrices.up.bias", "matrices.up.A1", "matrices.down.A4"}


# -- in eval mode --------------------------------------------------------------------------------------


def test_weights_are_kept_until_a_core_changes(monkeypatch):
    from mpolab import experts as module

    made = []
    monkeypatch.setattr(module, "rebuild", lambda *given: made.append(1) or torch.zeros(given[0].shape).double())
    experts, x = build("t5", "mpo", rebuild="loop").eval(), vectors(1, 3, HIDDEN)
    indices, gates = routes((1, 3), 4)
    with torch.no_grad():
        for _ in range(3):
            experts(x, indices, gates)
        assert len(made) == 8  # four experts, two matrices, once
        experts.matrices["up"].central.mul_(2)
        experts(x, indices, gates)
        assert len(made) == 12
        experts.train()
        experts(x, indices, gates)
    assert len(made) == 12 + 2 * len(indices.unique())


def test_kept_weights_are_right_after_a_step_and_in_inference_mode():
    experts, x = shaken(build("gpt2", "mpo")), vectors(2, 5, HIDDEN)
    indices, gates = routes((2, 5), 4)
    optimizer = torch.optim.AdamW(experts.parameters(), 0.1, fused=True)
    for _ in range(2):
        with torch.inference_mode():
            seen = experts.eval()(x, indices, gates)
        torch.testing.assert_close(seen, one_by_one(experts, x, indices, gates, "gpt2"))
        experts.train()(x, indices, gates).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("what", ["dense", "mpo"])
def test_half_precision(what):
    experts, x = shaken(build("gated", what)).float(), vectors(2, 5, HIDDEN, dtype=torch.float32)
    indices, gates = routes((2, 5), 4)
    exact = experts(x, indices, gates)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        auto = experts.train()(x, indices, gates)
        assert auto.dtype == torch.bfloat16
        auto.float().square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in experts.parameters())
    half = copy.deepcopy(experts).bfloat16()(x.bfloat16(), indices, gates)
    scale = exact.abs().max()
    assert (auto.float() - exact).abs().max() < 0.05 * scale and (half.float() - exact).abs().max() < 0.1 * scale


# -- as a layer of a model -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mpoe", "switch", "noisy_top_k", "hash", "expert_choice"])
def test_every_router_with_every_kind_of_experts(name):
    x, ids = vectors(2, 6, HIDDEN, dtype=torch.float32), torch.arange(12).view(2, 6)
    mask = torch.ones(2, 6).index_fill(1, torch.tensor([0, 5]), 0)
    for experts in (build("gpt2", "dense").float(), build("t5", "mpo").float()):
        layer = MoELayer(make_router(name, HIDDEN, 4), experts).train()
        y = layer(x, mask, ids)
        assert y.shape == x.shape and (y[:, [0, 5]] == 0).all() and y.isfinite().all()
        with recorded(layer) as seen:
            layer(x, mask, ids)
        assert list(seen) == ["router"] and seen["router"].loss.isfinite()


def test_switch_equals_transformers_sparse_layer():
    from transformers import SwitchTransformersConfig
    from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersSparseMLP

    config = SwitchTransformersConfig(
        d_model=HIDDEN, d_ff=INNER, num_experts=4, expert_capacity=3, router_jitter_noise=0.0, dropout_rate=0.0
    )
    torch.manual_seed(0)
    theirs = SwitchTransformersSparseMLP(config).eval()
    experts = DenseExperts.from_ffn(theirs.experts["expert_0"], 4)
    router = SwitchRouter(HIDDEN, 4, 3 * 4 / 10, 3 * 4 / 10, group="sequence")
    with torch.no_grad():
        router.classifier.weight.copy_(theirs.router.classifier.weight)
        for e in range(4):
            experts.matrices["up"].weight[e].copy_(theirs.experts[f"expert_{e}"].wi.weight)
            experts.matrices["down"].weight[e].copy_(theirs.experts[f"expert_{e}"].wo.weight)
    x = vectors(3, 10, HIDDEN, dtype=torch.float32)
    torch.testing.assert_close(MoELayer(router, experts).eval()(x), theirs(x))


@pytest.fixture
def model():
    """A GPT-2 whose blocks are experts, and whose class records router logits."""
    from transformers import GPT2Config, GPT2Model
    from transformers.utils.output_capturing import OutputRecorder

    class Routed(GPT2Model):
        _can_record_outputs = {  # noqa: RUF012
            **(GPT2Model._can_record_outputs or {}),
            "router_logits": OutputRecorder(Router, index=0),
            "router_losses": OutputRecorder(Router, index=4),
        }

    torch.manual_seed(0)
    made = Routed(GPT2Config(n_embd=HIDDEN, n_layer=2, n_head=2, vocab_size=50, n_positions=32))
    inputs = TokenInputs()
    inputs.watch(made)
    for layer in made.h:
        layer.mlp = MoELayer(MPOERouter(HIDDEN, 4), MPOExperts.from_ffn(layer.mlp, 4), inputs)
    return made


def test_transformers_records_the_logits(model):
    ids, mask = torch.arange(12).view(2, 6), torch.ones(2, 6, dtype=torch.long)
    mask[1, 4:] = 0
    model.eval()
    outputs = model(ids, attention_mask=mask, output_router_logits=True, output_router_losses=True)
    assert [tuple(logits.shape) for logits in outputs.router_logits] == [(2, 6, 4)] * 2
    with recorded(model) as seen:
        plain = model(ids, attention_mask=mask)
    assert "router_logits" not in plain
    for logits, loss, routing in zip(outputs.router_logits, outputs.router_losses, seen.values(), strict=True):
        assert torch.equal(logits, routing.logits) and torch.equal(loss, routing.loss)
        assert (routing.indices[1, 4:] == NONE).all() and (routing.indices[0] != NONE).all()


def test_checkpointed_layers_route_alike(model):
    """With padding and ids, which the second pass through a layer must see again."""
    for layer in model.h:
        layer.mlp.router = HashRouter(HIDDEN, 4)
    ids, mask = torch.arange(12).view(2, 6), torch.ones(2, 6, dtype=torch.long).index_fill(1, torch.tensor([5]), 0)
    model.eval()
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
            model.train()
            for module in model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
        model.zero_grad()
        model(ids, attention_mask=mask, use_cache=False).last_hidden_state.square().sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1])
    for one, two in zip(*found):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_a_copied_model_has_its_own_inputs(model):
    other = copy.deepcopy(model)
    assert other.h[0].mlp.inputs is other.h[1].mlp.inputs is not model.h[0].mlp.inputs
    assert not any("inputs" in key for key in model.state_dict())


def test_state_dict_has_each_centre_once(tmp_path):
    from safetensors.torch import load_file, save_file

    experts = shaken(build("gpt2", "mpo"))
    save_file(experts.state_dict(), tmp_path / "experts.safetensors")
    other = build("gpt2", "mpo")
    other.load_state_dict(load_file(tmp_path / "experts.safetensors"))
    x, (indices, gates) = vectors(2, 5, HIDDEN), routes((2, 5), 4)
    assert torch.equal(other(x, indices, gates), experts(x, indices, gates))
    assert sum("central" in key for key in experts.state_dict()) == 2


def test_dropout_stands_where_it_stood():
    for kind, inside in (("gpt2", False), ("t5", True)):
        experts = DenseExperts.from_ffn(block(kind, dropout=0.5), 1).train()
        x, zero, one = vectors(4, 8, HIDDEN), torch.zeros(4, 8, 1, dtype=torch.long), torch.ones(4, 8, 1)
        y = experts(x, zero, one)
        assert ((y == 0).float().mean() > 0.3) == (not inside)  # after the last matrix it leaves zeros
        assert not torch.equal(y, experts(x, zero, one))


# -- MoEfication ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_all_clusters_together_are_the_block(kind):
    ffn, x = block(kind), vectors(2, 5, HIDDEN)
    experts = MoEfied.from_ffn(ffn, 6)
    for router in (OracleRouter(experts, 6), LearnedRouter(experts, 6)):
        torch.testing.assert_close(MoELayer(router, experts)(x), ffn(x))
    assert sum(p.numel() for p in experts.parameters()) == sum(p.numel() for p in ffn.parameters())
    assert sorted(experts.neurons.flatten().tolist()) == list(range(INNER))


def test_the_oracle_finds_the_active_clusters():
    ffn, x = block("t5"), vectors(3, 7, HIDDEN)
    experts = MoEfied.from_ffn(ffn, 4)
    active = torch.relu(x @ ffn.wi.weight.T)  # (batch, tokens, inner)
    expected = torch.stack([active[..., neurons].sum(-1) for neurons in experts.neurons], -1)
    torch.testing.assert_close(experts.scores(x), expected)
    signed = block("gpt2")  # gelu is negative, too: what goes into the last matrix counts without its sign
    clusters = MoEfied.from_ffn(signed, 4)
    inner = nn.functional.gelu(signed.c_fc(x), approximate="tanh").abs()
    by_hand = torch.stack([inner[..., neurons].sum(-1) for neurons in clusters.neurons], -1)
    torch.testing.assert_close(clusters.scores(x), by_hand)
    routing = OracleRouter(experts, 2)(x)
    assert torch.equal(routing.indices, expected.topk(2).indices) and (routing.gates == 1).all()
    errors = [(MoELayer(OracleRouter(experts, k), experts)(x) - ffn(x)).norm().item() for k in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-10


def test_a_learned_router_learns_from_the_oracle():
    ffn = block("t5")
    experts = MoEfied.from_ffn(ffn, 4)
    router = LearnedRouter(experts, 1, width=32, generator=torch.Generator().manual_seed(0)).train()
    oracle, test = OracleRouter(experts, 1), vectors(1, 400, HIDDEN, seed=9)
    optimizer = torch.optim.Adam(router.parameters(), 0.01)

    def hits():
        return (router(test).indices == oracle(test).indices).double().mean().item()

    before = hits()
    for step in range(150):
        optimizer.zero_grad()
        router(vectors(1, 64, HIDDEN, seed=100 + step)).loss.backward()
        optimizer.step()
    assert hits() > max(before + 0.2, 0.6)
    assert all(p.grad is None for p in experts.parameters())
    assert not any("up" in key for key in router.state_dict())


@settings(max_examples=15)
@given(clusters=st.integers(1, 6), each=st.integers(1, 8), seed=st.integers(0, 99))
def test_clusters_are_equal_and_no_swap_is_wanted_by_both(clusters, each, seed):
    points = vectors(clusters * each, 3, seed=seed)
    found = balanced_kmeans(points, clusters, seed)
    assert torch.bincount(found, minlength=clusters).tolist() == [each] * clusters
    assert torch.equal(found, balanced_kmeans(points, clusters, seed))


def test_clusters_that_are_there_are_found():
    centres = torch.eye(4) * 20
    true = torch.arange(40) % 4
    points = centres[true] + vectors(40, 4, dtype=torch.float32)
    best = max(_purity(balanced_kmeans(points, 4, seed), true) for seed in range(3))
    assert best == 1.0


def _purity(found, true):
    return sum(torch.bincount(true[found == k]).max().item() for k in range(4)) / len(true)


# -- bad input -----------------------------------------------------------------------------------------


def test_errors_say_what_would_work():
    with pytest.raises(MatrixTypeError, match="c_fc and c_proj"):
        DenseExperts.from_ffn(nn.Linear(3, 3), 4)
    with pytest.raises(RoutingError, match="whole number of at least 1"):
        build("t5", "dense", 0)
    with pytest.raises(UnknownNameError, match="Did you mean 'shared'"):
        build("gpt2", "mpo", biases="share")
    with pytest.raises(UnknownNameError, match="batch"):
        build("gpt2", "mpo", rebuild="bach")
    with pytest.raises(RoutingError, match="4 or 6 would"):
        MoEfied.from_ffn(block("t5"), 5)
    with pytest.raises(RoutingError, match="there are only 4 experts"):
        OracleRouter(MoEfied.from_ffn(block("t5"), 4), 5)
    with pytest.raises(RoutingError, match="do not fit an input"):
        build("t5", "dense")(vectors(2, 5, HIDDEN), torch.zeros(2, 4, 1, dtype=torch.long), torch.ones(2, 4, 1))
    with pytest.raises(RoutingError, match="does not fit 4 experts"):
        MoELayer(MPOERouter(HIDDEN, 5), build("t5", "dense"))
    with pytest.raises(UnknownNameError, match="Did you mean 'up'"):
        build("t5", "dense").weight("ups")


def test_one_expert_is_a_feed_forward_block():
    ffn, x = block("gpt2"), vectors(2, 5, HIDDEN)
    for name in ("mpoe", "switch", "noisy_top_k", "expert_choice"):
        options = {"top_k": 1} if name == "noisy_top_k" else {}
        layer = MoELayer(make_router(name, HIDDEN, 1, **options).double(), DenseExperts.from_ffn(ffn, 1)).eval()
        torch.testing.assert_close(layer(x), ffn(x))
