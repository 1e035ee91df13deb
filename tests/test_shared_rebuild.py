"""All layers' matrices in one batch, against each rebuilt by itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from mpolab import shared_rebuild
from mpolab.experts import BATCH_ENTRIES
from mpolab.mpobert import MPOBertForPreTraining, MPOBertModel
from mpolab.mpobert_config import MPOBertConfig
from mpolab.plans import make_plan
from mpolab.rebuild import contract, left_products, rebuild_flops, right_products
from mpolab.shared_rebuild import rebuild_all


def chains(plan, bonds, layers, dtype=torch.float64, seed=0):
    """(central tensor, auxiliary tensors of each layer), random."""
    generator = torch.Generator().manual_seed(seed)

    def core(k):
        return torch.randn(plan.core_shape(k, bonds), generator=generator, dtype=dtype).requires_grad_()

    own = [[core(k) for k in range(plan.n) if k != plan.centre] for _ in range(layers)]
    return core(plan.centre), own


def whole(plan, central, own):
    return [*own[: plan.centre], central, *own[plan.centre :]]


@given(
    rows=st.integers(2, 40),
    cols=st.integers(2, 40),
    n=st.integers(2, 6),
    cap=st.integers(1, 40),
    layers=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_values_and_gradients_are_those_of_each_chain(rows, cols, n, cap, layers):
    plan = make_plan((rows, cols), n=n)
    bonds = [min(d, cap) for d in plan.full_bonds]
    central, own = chains(plan, bonds, layers, seed=rows * 41 + cols)
    together = torch.stack(rebuild_all(plan, central, own))
    alone = torch.stack([contract(plan, whole(plan, central, cores)) for cores in own])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)
    weights = torch.randn(together.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    parameters = [central, *(core for cores in own for core in cores)]
    ours = torch.autograd.grad((together * weights).sum(), parameters)
    theirs = torch.autograd.grad((alone * weights).sum(), parameters)
    for one, two in zip(ours, theirs):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bonds", [[1, 2, 6, 4, 2, 1], [1, 2, 3, 7, 2, 1]], ids=["left first", "right first"])
def test_gradcheck_in_both_orders(bonds):
    plan = make_plan((12, 16), n=5, rows=[2, 2, 3, 1, 1], cols=[1, 2, 2, 2, 2])
    central, own = chains(plan, bonds, 2)
    flat = [core for cores in own for core in cores]

    def run(central, *flat):
        return tuple(rebuild_all(plan, central, [flat[:4], flat[4:]]))

    assert torch.autograd.gradcheck(run, (central, *flat))
    assert torch.autograd.gradgradcheck(run, (central, *flat))


@pytest.mark.parametrize("bonds", [[1, 2, 6, 4, 2, 1], [1, 2, 3, 7, 2, 1]], ids=["left first", "right first"])
def test_the_cheaper_order_is_taken(bonds):
    plan = make_plan((12, 16), n=5, rows=[2, 2, 3, 1, 1], cols=[1, 2, 2, 2, 2])
    central, own = chains(plan, bonds, 3)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        rebuild_all(plan, central, own)
    with torch.no_grad(), FlopCounterMode(display=False) as halves:
        for cores in own:
            left_products(cores[: plan.centre])
            right_products(cores[plan.centre :])
    assert counted.get_total_flops() - halves.get_total_flops() == 3 * rebuild_flops(plan, bonds)


def test_only_what_is_asked_for():
    plan = make_plan((8, 8), n=3)
    central, own = chains(plan, plan.full_bonds, 3)
    central.requires_grad_(False)
    torch.stack(rebuild_all(plan, central, own)).sum().backward()
    assert central.grad is None and all(core.grad is not None for cores in own for core in cores)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    plan = make_plan((24, 24), n=5)
    central, own = chains(plan, plan.full_bonds, 3)
    rounded = [[core.detach().to(dtype) for core in cores] for cores in own]
    found = torch.stack(rebuild_all(plan, central.detach().to(dtype), rounded))
    exact = rebuild_all(plan, central.detach().to(dtype).double(), [[c.double() for c in cores] for cores in rounded])
    assert found.dtype == dtype
    torch.testing.assert_close(
        found, torch.stack(exact).to(dtype), rtol=2e-2 if dtype == torch.bfloat16 else 2e-3, atol=1e-3
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rebuild_all(plan, central.float(), [[core.float() for core in cores] for cores in own])
    outside = rebuild_all(plan, central, own)
    torch.testing.assert_close(torch.stack(inside).double(), torch.stack(outside), rtol=1e-4, atol=1e-4)


def test_gradients_are_as_exact_inside_autocast():
    plan = make_plan((24, 24), n=5)
    central, own = chains(plan, plan.full_bonds, 3, torch.float32)
    parameters = [central, *(core for cores in own for core in cores)]

    def gradients():
        return torch.autograd.grad(torch.stack(rebuild_all(plan, central, own)).square().sum(), parameters)

    expected = gradients()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients()
    for one, two in zip(found, expected):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_the_first_product_is_not_made_twice():
    plan = make_plan((16, 16), n=3)  # halves of one core each: no product but a rebuild's two
    central, own = chains(plan, plan.full_bonds, 3)
    with FlopCounterMode(display=False) as counted:
        torch.stack(rebuild_all(plan, central, own)).sum().backward()
    assert counted.get_total_flops() == 3 * 3 * rebuild_flops(plan, plan.full_bonds)  # backward twice its forward


# -- in the model --------------------------------------------------------------------------------------

SMALL = {"vocab_size": 50, "embedding_size": 8, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 48,
         "num_hidden_layers": 6, "max_position_embeddings": 32, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.0}  # fmt: skip


def model(rebuild, kind=MPOBertForPreTraining, **changes):
    torch.manual_seed(0)
    made = kind(MPOBertConfig(**{**SMALL, "mpo_rebuild": rebuild, "mpo_mode": "reconstruct", **changes}))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return made.train()


@pytest.mark.parametrize(
    "changes",
    [{}, {"num_central_groups": 3}, {"adapter_rank": 2}, {"share_biases": False}, {"num_central_groups": 4}],
    ids=str,
)
def test_a_batch_changes_no_output_and_no_gradient(changes):
    ids = torch.randint(5, 50, (3, 20), generator=torch.Generator().manual_seed(0))
    found = {}
    for rebuild in ("layer", "batch"):
        made = model(rebuild, **changes)
        out = made(ids, labels=ids, sentence_order_label=torch.tensor([0, 1, 0]))
        out.loss.backward()
        found[rebuild] = out.prediction_logits, [parameter.grad for parameter in made.parameters()]
    torch.testing.assert_close(found["batch"][0], found["layer"][0], rtol=1e-4, atol=1e-5)
    for one, two in zip(found["batch"][1], found["layer"][1]):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def calls(monkeypatch):
    count = []
    plain = shared_rebuild.rebuild_all
    monkeypatch.setattr(shared_rebuild, "rebuild_all", lambda *a, **k: count.append(1) or plain(*a, **k))
    return count


def test_when_it_is_done(monkeypatch):
    count, ids = calls(monkeypatch), torch.randint(5, 50, (2, 9), generator=torch.Generator().manual_seed(0))
    made = model("auto", MPOBertModel)
    made(ids)
    assert len(count) == 6  # the six matrices, one group
    made.activation_checkpointing_enable()
    made(ids)
    assert len(count) == 6, "under activation checkpointing W is made again, layer by layer"
    made.activation_checkpointing_disable()
    with torch.no_grad():
        made.eval()(ids)
    assert len(count) == 6, "an evaluated layer keeps its own W"
    made.train().requires_grad_(False)
    made(ids)
    assert len(count) == 6
    for changes in ({"num_hidden_layers": 3}, {"mpo_keep_weight": False}, {"mpo_rebuild": "layer"}):
        model(**{"rebuild": "auto", "kind": MPOBertModel, **({"rebuild": changes.pop("mpo_rebuild")}
                 if "mpo_rebuild" in changes else {}), **changes})(ids)  # fmt: skip
        assert len(count) == 6, changes
    model("batch", MPOBertModel, num_hidden_layers=3, num_central_groups=3)(ids)
    assert len(count) == 6 + 3 * 6


def test_few_tokens_are_contracted_with_the_cores_instead(monkeypatch):
    count = calls(monkeypatch)
    made = model("batch", MPOBertModel, mpo_mode="factorized")
    made(torch.tensor([[5, 6, 7]]))
    assert not count


def test_the_rule_looks_at_size_and_depth():
    small, large = MPOBertConfig.preset("mpobert-mini"), MPOBertConfig.preset("mpobert-48")
    assert shared_rebuild.pays(small.plan("query"), 24) and not shared_rebuild.pays(small.plan("query"), 2)
    assert not shared_rebuild.pays(large.plan("ffn"), 48)
    middle = MPOBertConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536).plan("ffn")
    assert shared_rebuild.pays(middle, 12) and not shared_rebuild.pays(middle, 12, BATCH_ENTRIES)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_under_autocast(dtype):
    ids = torch.randint(5, 50, (2, 12), generator=torch.Generator().manual_seed(0))
    outputs = []
    for rebuild in ("layer", "batch"):
        with torch.autocast("cpu", dtype=dtype):
            outputs.append(model(rebuild, MPOBertModel)(ids).last_hidden_state.float())
    torch.testing.assert_close(*outputs, rtol=0.05, atol=0.05)
