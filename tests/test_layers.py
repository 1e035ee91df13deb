"""MPOLinear, MPOTiedHead and LowRankAdapter against dense torch layers, and when a rebuilt W is used again.

Oracles: W by one einsum over the cores, differentiated by autograd; nn.Linear and transformers' Conv1D.
"""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear as dense_linear

from mpolab import MPO, cost, layer_base, rebuild
from mpolab.errors import BondError, MatrixError, MatrixTypeError, UnknownNameError
from mpolab.layers import MODES, LowRankAdapter, MPOEmbedding, MPOLinear, MPOTiedHead, rebuild_once, rebuild_once_in
from mpolab.plans import Plan


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def einsum_of(cores, shape) -> torch.Tensor:
    """W (I, J) from cores (d, i, j, e) in one einsum: subscripts 0 .. n bonds, then rows, then columns."""
    n = len(cores)
    operands = []
    for k, core in enumerate(cores):
        operands += [core, [k, n + 1 + k, 2 * n + 1 + k, k + 1]]
    legs = torch.einsum(*operands, [0, *range(n + 1, 3 * n + 1), n])
    rows, cols = (math.prod(core.shape[axis] for core in cores) for axis in (1, 2))
    return legs.reshape(rows, cols)[: shape[0], : shape[1]]


def make_layer(rows, cols, bonds, shape=None, kind=MPOLinear, seed=0, **settings):
    """A layer with random cores; `bonds` are the inner ones."""
    shape = shape or (math.prod(rows), math.prod(cols))
    layer = kind(Plan(tuple(rows), tuple(cols), tuple(shape)), [1, *bonds, 1], **settings)
    layer.reset_parameters(generator(seed))
    return layer


def small(**settings) -> MPOLinear:
    return make_layer((2, 3, 2), (2, 2, 3), (3, 4), **settings)


def dense_twin(layer: MPOLinear) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Leaves with the layer's values, for an oracle with gradients of its own."""
    cores = [core.detach().clone().requires_grad_() for core in layer.cores]
    return cores, None if layer.bias is None else layer.bias.detach().clone().requires_grad_()


def random(*shape, seed=1, dtype=None) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64).to(dtype or torch.float32)


# -- the same numbers as a dense layer ----------------------------------------------------------------


@st.composite
def chains(draw):
    """rows, cols, inner bonds, shape (perhaps padded by a row or a column)."""
    n = draw(st.integers(2, 5))
    rows = draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    cols = draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    bonds = draw(st.lists(st.integers(1, 5), min_size=n - 1, max_size=n - 1))
    sides = [math.prod(rows), math.prod(cols)]
    shape = [side - draw(st.integers(0, 1)) if side > 8 else side for side in sides]
    return rows, cols, bonds, shape


@given(
    chain=chains(),
    mode=st.sampled_from(MODES),
    keep_weight=st.booleans(),
    bias=st.booleans(),
    leading=st.sampled_from([(), (1,), (5,), (2, 3), (0,), (2, 0, 3)]),
    data=st.data(),
)
def test_output_and_gradients_are_those_of_the_dense_layer(chain, mode, keep_weight, bias, leading, data):
    rows, cols, bonds, shape = chain
    layer = make_layer(rows, cols, bonds, shape, mode=mode, keep_weight=keep_weight, bias=bias, dtype=torch.float64)
    frozen = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    for core, stays in zip(layer.cores, frozen):
        core.requires_grad_(not stays)
    cores, twin_bias = dense_twin(layer)
    x = random(*leading, shape[1], dtype=torch.float64).requires_grad_()
    twin_x = x.detach().clone().requires_grad_()
    y, expected = layer(x), dense_linear(twin_x, einsum_of(cores, shape), twin_bias)
    torch.testing.assert_close(y, expected)
    seen = random(*y.shape, seed=2, dtype=torch.float64)
    y.backward(seen)
    expected.backward(seen)
    torch.testing.assert_close(x.grad, twin_x.grad)
    for core, twin, stays in zip(layer.cores, cores, frozen):
        assert (core.grad is None) == stays
        if not stays:
            torch.testing.assert_close(core.grad, twin.grad)
    if bias:
        torch.testing.assert_close(layer.bias.grad, twin_bias.grad)


@pytest.mark.parametrize("keep_weight", [True, False])
@pytest.mark.parametrize("mode", ["reconstruct", "factorized"])
@pytest.mark.parametrize(
    ("rows", "cols", "bonds", "shape"),
    [
        ((2, 2), (2, 3), (3,), None),
        ((2, 3, 2), (2, 1, 2), (2, 3), (11, 4)),
        ((2, 1, 2, 2), (1, 2, 2, 1), (2, 3, 2), None),
    ],
)
def test_gradcheck(rows, cols, bonds, shape, mode, keep_weight):
    layer = make_layer(rows, cols, bonds, shape, mode=mode, keep_weight=keep_weight, dtype=torch.float64)
    x = random(3, layer.in_features, dtype=torch.float64).requires_grad_()

    def forward(*_):  # gradcheck perturbs the very Parameters, behind autograd's back
        return layer(x)

    assert torch.autograd.gradcheck(forward, (x, *layer.parameters()))


@pytest.mark.parametrize("keep_weight", [True, False])
@pytest.mark.parametrize("mode", ["reconstruct", "factorized"])
def test_second_derivatives(mode, keep_weight):
    layer = make_layer((2, 1, 2), (1, 2, 2), (2, 2), mode=mode, keep_weight=keep_weight, dtype=torch.float64)
    x = random(2, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("keep_weight", [True, False])
def test_a_core_changed_before_backward_is_an_error(keep_weight):
    layer = small(keep_weight=keep_weight, mode="reconstruct")
    y = layer(random(3, 12))
    with torch.no_grad():
        layer.central.add_(1)
    with pytest.raises(RuntimeError, match="modified"):
        y.sum().backward()


@pytest.mark.parametrize("mode", MODES)
def test_strides_do_not_matter(mode):
    layer = small(mode=mode)
    x = random(12, 5).T.requires_grad_()  # columns first
    assert not x.is_contiguous()
    y = layer(x)
    torch.testing.assert_close(y, dense_linear(x, layer.weight, layer.bias))
    y.sum().backward()  # the gradient of a sum is expanded from one number
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(5, 12))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["reconstruct", "factorized"])
@pytest.mark.parametrize("keep_weight", [True, False])
def test_half_precision_cores(dtype, mode, keep_weight):
    layer = small(mode=mode, keep_weight=keep_weight, dtype=dtype)
    W = einsum_of([core.double() for core in layer.cores], (12, 12))
    with torch.no_grad():  # computed in float32 and rounded once, so at most half a unit in the last place away
        assert ((layer.weight.double() - W).abs() <= W.abs() * torch.finfo(dtype).eps * 0.51 + 1e-7).all()
    x = random(4, 12, dtype=dtype)
    y = layer(x)
    assert y.dtype == dtype
    expected = dense_linear(x.double(), W, layer.bias.double())
    torch.testing.assert_close(y.double(), expected, rtol=0.05, atol=0.05)
    y.sum().backward()
    assert all(core.grad.dtype == dtype and core.grad.isfinite().all() for core in layer.cores)


# -- memory -----------------------------------------------------------------------------------------


def saved_sizes(call) -> list[int]:
    """Numbers in every tensor that autograd saves during a call."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        call()
    return sizes


def test_at_most_one_weight_is_saved_for_backward():
    kept, nothing = (
        make_layer((4, 4, 4), (4, 4, 4), (16, 16), mode="reconstruct", keep_weight=keep) for keep in (True, False)
    )
    x = random(2, 64).requires_grad_()
    assert saved_sizes(lambda: kept(x)).count(64 * 64) == 1
    sizes = saved_sizes(lambda: nothing(x))
    # the central core is as large as W here, and a parameter: saving it takes no memory
    assert sorted(sizes) == sorted([x.numel(), *(core.numel() for core in nothing.cores)])


# -- a W that is used again ---------------------------------------------------------------------------


@pytest.fixture
def contractions(monkeypatch):
    """Counts how often a W is made."""
    count = {"made": 0}

    def counted(make):
        def wrapper(*args, **kwargs):
            count["made"] += 1
            return make(*args, **kwargs)

        return wrapper

    for name in ("contract", "rebuild"):
        monkeypatch.setattr(layer_base, name, counted(getattr(layer_base, name)))
    return count


def step(layer, fused=False):
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def in_place(layer):
    with torch.no_grad():
        layer.cores[1].mul_(2)


def loaded(layer):
    layer.load_state_dict({key: value + 1 for key, value in layer.state_dict().items()})


def assigned(layer):
    layer.load_state_dict({key: value + 1 for key, value in layer.state_dict().items()}, assign=True)


def cut(layer):
    layer.set_cores(MPO.from_cores([core.detach() for core in layer.cores]).truncate(bond=2).cores)


def through_data(layer):
    layer.cores[0].data.mul_(2)


def other_data(layer):
    layer.central.data = layer.central.data + 1


def other_parameter(layer):
    layer.cores[2] = nn.Parameter(layer.cores[2].detach() + 1)


def fused_step(layer):
    step(layer, fused=True)


CHANGES = [in_place, loaded, assigned, cut, through_data, other_data, other_parameter, step, fused_step]


@pytest.mark.parametrize("change", CHANGES)
def test_evaluation_makes_the_weight_once_and_again_after_a_change(change, contractions):
    layer = small(mode="reconstruct").eval()
    x = random(3, 12)
    with torch.no_grad():
        for _ in range(3):
            layer(x)
        assert contractions["made"] == 1
        assert layer.weight is layer.weight
    change(layer)
    with torch.no_grad():
        after = layer(x)
        layer(x)
    assert contractions["made"] == 2
    expected = dense_linear(x, einsum_of([core.detach() for core in layer.cores], (12, 12)), layer.bias)
    torch.testing.assert_close(after, expected.detach())


def test_conversion_and_training_drop_the_kept_weight(contractions):
    layer = small(mode="reconstruct").eval()
    with torch.no_grad():
        layer(random(3, 12))
        assert layer.double()(random(3, 12, dtype=torch.float64)).dtype == torch.float64
        assert contractions["made"] == 2
        layer.train()
        assert not layer._kept._weights
        layer(random(3, 12, dtype=torch.float64))
        assert not layer._kept._weights  # in training nothing is kept between calls


def test_weight_without_gradients_does_not_come_back_in_training(contractions):
    """A step that hides its writes: evaluate, train in eval mode, evaluate."""
    layer = small(mode="reconstruct").eval()
    x = random(3, 12)
    with torch.no_grad():
        layer(x)
    layer(x).sum().backward()
    layer.cores[0].data[0, 1].add_(1.0)  # not the first number, and not counted
    with torch.no_grad():
        expected = einsum_of([core.detach() for core in layer.cores], (12, 12))
        torch.testing.assert_close(layer.weight, expected)


def test_frozen_layer_keeps_its_weight_in_training(contractions):
    layer = small(mode="reconstruct").requires_grad_(False)
    x = random(3, 12).requires_grad_()
    layer(x)
    layer(x).sum().backward()
    assert contractions["made"] == 1
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(3, 12))


def test_weight_kept_in_inference_mode_serves_training_of_others():
    layer = small(mode="reconstruct").requires_grad_(False).eval()
    with torch.inference_mode():
        layer(random(3, 12))
    x = random(3, 12).requires_grad_()
    layer(x).sum().backward()  # an inference tensor could not be saved for this
    assert x.grad is not None


@pytest.mark.parametrize("keep_weight", [True, False])
def test_rebuild_once_shares_one_weight_among_calls(keep_weight, contractions):
    layer, alone = small(mode="reconstruct", keep_weight=keep_weight), small(mode="reconstruct")
    x = random(3, 12)
    with rebuild_once():
        shared = layer(layer(layer(x)))
    made = contractions["made"]
    assert made == (1 if keep_weight else 0)  # without keep_weight the layer goes another way
    shared.sum().backward()
    alone(alone(alone(x))).sum().backward()
    for core, other in zip(layer.cores, alone.cores):
        torch.testing.assert_close(core.grad, other.grad)
    in_place(layer)  # outside, nothing is left of it
    torch.testing.assert_close(layer(x), dense_linear(x, einsum_of(layer.cores, (12, 12)), layer.bias))


def test_rebuild_once_in_a_model_survives_an_error_and_a_copy(contractions):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = small(mode="reconstruct")

        def forward(self, x):
            return self.layer(self.layer(x))

    model = Twice()
    handles = rebuild_once_in(model)
    with pytest.raises(MatrixError):
        model(random(3, 5))
    assert layer_base._scopes.depth == 0
    for each in (model, copy.deepcopy(model)):
        before = contractions["made"]
        each(random(3, 12)).sum().backward()
        assert contractions["made"] == before + 1
    for handle in handles:
        handle.remove()
    before = contractions["made"]
    model(random(3, 12))
    assert contractions["made"] == before + 2


# -- auto ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 3, 4096])
@pytest.mark.parametrize("way", ["kept", "not kept", "training"])
def test_auto_follows_the_cost_rule(tokens, way, monkeypatch):
    layer = make_layer((4, 4, 4, 4, 3), (4, 4, 8, 6, 4), (2, 4, 4, 2)).train(way != "kept")
    went, W = [], torch.zeros(768, 3072)
    monkeypatch.setattr(MPOLinear, "_chained", lambda self, x, bias: went.append("factorized"))
    monkeypatch.setattr(MPOLinear, "_weight", lambda self, dtype: went.append("reconstruct") or W)
    with torch.set_grad_enabled(way == "training"):
        layer(torch.zeros(tokens, 3072))
    assert layer._turns[1]["rebuilt"] > 3
    if way == "training":
        assert went == [layer_base.choose_for_training(layer.plan, tuple(layer.bonds), tokens)]
    else:
        assert went == [cost.choose(layer.plan, layer.bonds, tokens, cached=way == "kept")]


def test_training_rule_by_hand():
    """Two cores of 8x8 and bond 2: 64x64."""
    plan, bonds = Plan((8, 8), (8, 8), (64, 64)), (1, 2, 1)
    # a token: 8 * 64 * 1 * 2 and 64 * 8 * 2 * 1 multiply-adds; writes 8 * 64 * 2 and 64 * 8 * 1 numbers
    chained = 3 * 2 * 2048 + layer_base.FLOPS_PER_WRITE * 1536
    # L (64, 2) C (2, 64): two FLOPs for each; the half right of the centre is a single 1
    rebuilt = 3.5 * min(2 * 64 * 64 * (2 + 1), 2 * 2 * 64 * (1 + 64)) + layer_base.FLOPS_PER_REORDER * 64 * 64
    turn = int(rebuilt // (chained - 3 * 2 * 64 * 64))  # the last number of tokens at which the chain is cheaper
    assert layer_base.choose_for_training(plan, bonds, turn) == "factorized"
    assert layer_base.choose_for_training(plan, bonds, turn + 1) == "reconstruct"


def test_rebuild_flops_are_those_counted():
    from torch.utils.flop_counter import FlopCounterMode

    for bonds in ((4, 16, 3, 4), (4, 3, 16, 4)):
        layer = make_layer((2, 2, 2, 2, 2), (2, 2, 2, 2, 2), bonds)
        halves = 2 * (4 * 4 * 4 * bonds[1] + 4 * 4 * 4 * bonds[2])  # the cores of both sides
        with torch.no_grad(), FlopCounterMode(display=False) as counted:
            layer.weight  # noqa: B018
        assert counted.get_total_flops() == rebuild.rebuild_flops(layer.plan, layer.bonds) + halves


@torch.no_grad()
def test_auto_asks_with_the_bonds_of_the_moment():
    layer = make_layer((4, 4, 4, 4, 3), (4, 4, 8, 6, 4), (2, 4, 4, 2))
    assert layer._factorized(torch.zeros(100, 3072))
    layer.set_cores(make_layer((4, 4, 4, 4, 3), (4, 4, 8, 6, 4), (16, 200, 144, 12)).cores)
    assert not layer._factorized(torch.zeros(100, 3072))


# -- from and to dense layers -----------------------------------------------------------------------


def dense(in_features=24, out_features=30, **settings) -> nn.Linear:
    linear = nn.Linear(in_features, out_features, **settings)
    with torch.no_grad():
        for k, parameter in enumerate(linear.parameters()):
            parameter.copy_(random(*parameter.shape, seed=k))
    return linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("method", ["centre", "left_to_right", "symmetric"])
def test_there_and_back_from_a_linear(bias, method):
    linear = dense(bias=bias).eval()
    layer = MPOLinear.from_linear(linear, n=3, method=method)
    back = layer.to_linear()
    assert type(back) is nn.Linear and not layer.training and not back.training
    torch.testing.assert_close(back.weight, linear.weight, rtol=1e-5, atol=1e-5)
    assert back.weight.requires_grad and back.weight.is_contiguous()
    x = random(5, 24)
    torch.testing.assert_close(layer(x), linear(x), rtol=1e-4, atol=1e-5)
    if bias:
        assert torch.equal(back.bias, linear.bias) and layer.bias is not linear.bias
    else:
        assert back.bias is None and layer.bias is None


def test_there_and_back_from_a_conv1d():
    from transformers.pytorch_utils import Conv1D

    conv = Conv1D(30, 24)
    with torch.no_grad():
        conv.weight.copy_(random(24, 30))
        conv.bias.copy_(random(30))
    layer = MPOLinear.from_linear(conv, n=3)
    assert (layer.in_features, layer.out_features, layer.transposed) == (24, 30, True)
    x = random(2, 5, 24)
    torch.testing.assert_close(layer(x), conv(x), rtol=1e-4, atol=1e-5)
    back = layer.to_linear()
    assert type(back) is Conv1D and (back.nf, back.weight.shape) == (30, (24, 30))
    torch.testing.assert_close(back.weight, conv.weight, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back(x), conv(x), rtol=1e-4, atol=1e-5)
    assert MPOLinear.from_linear(dense(), n=3).transposed is False


@given(bond=st.integers(1, 12), dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_a_cut_layer_is_the_cut_mpo(bond, dtype):
    linear = dense().to(dtype).requires_grad_(False)
    linear.bias.requires_grad_(True)
    layer = MPOLinear.from_linear(linear, n=3, bond=bond)
    mpo = MPO.decompose(linear.weight, n=3, bond=bond)
    assert layer.bonds == mpo.bonds and layer.ratio == mpo.ratio and layer.parameters_count == mpo.parameters
    assert layer.weight.dtype == layer.bias.dtype == dtype
    tolerance = {torch.float16: 5e-3, torch.bfloat16: 5e-2}.get(dtype, 1e-5)
    torch.testing.assert_close(layer.weight.double(), mpo.to_matrix().double(), rtol=tolerance, atol=tolerance)
    assert not any(core.requires_grad for core in layer.cores) and layer.bias.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(layer.spectra, mpo.spectra))


@pytest.mark.parametrize("request_", [{"ratio": 0.3}, {"error": 0.5}, {"bond": [4, 5]}])
def test_requests_reach_the_decomposition(request_):
    linear = dense()
    settings = {"rows": (5, 3, 2), "cols": (2, 3, 4), **request_}
    layer = MPOLinear.from_linear(linear, mode="factorized", keep_weight=False, **settings)
    assert layer.bonds == MPO.decompose(linear.weight, **settings).bonds
    assert (layer.mode, layer.keep_weight, layer.plan.rows) == ("factorized", False, (5, 3, 2))


def test_spectra_are_computed_when_they_did_not_come_along():
    layer = small(dtype=torch.float64)
    spectra = MPO.from_cores([core.detach() for core in layer.cores]).spectra
    assert all(torch.allclose(a, b) for a, b in zip(layer.spectra, spectra))
    assert not any("spectr" in key for key in layer.state_dict())
    before = layer.spectra
    in_place(layer)
    assert layer.spectra is before  # those of the matrix that was decomposed


def test_mpo_of_the_cores_as_they_are():
    layer = MPOLinear.from_linear(dense(), n=3, bond=5)
    in_place(layer)
    torch.testing.assert_close(layer.mpo().to_matrix(), layer.weight.detach(), rtol=1e-4, atol=1e-4)
    assert layer.mpo().bonds == layer.bonds


# -- other cores in the same layer --------------------------------------------------------------------


def test_set_cores_keeps_the_parameters():
    layer = small()
    layer.central.requires_grad_(False)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    layer(random(3, 12)).sum().backward()
    before = list(layer.cores)
    cores = layer.mpo().truncate(bond=2).cores
    layer.set_cores(cores)
    assert layer.bonds == [1, 2, 2, 1] and all(a is b for a, b in zip(layer.cores, before))
    assert [core.requires_grad for core in layer.cores] == [True, False, True]
    assert all(core.grad is None for core in layer.cores)
    torch.testing.assert_close(layer.weight, einsum_of(cores, (12, 12)))
    layer(random(3, 12)).sum().backward()
    optimizer.step()
    assert all(core.is_leaf and core.is_contiguous() for core in layer.cores)


def test_set_cores_refuses_what_does_not_fit():
    layer = small()
    with pytest.raises(BondError, match="do not fit the plan"):
        layer.set_cores([core.detach() for core in layer.cores][:2])
    with pytest.raises(BondError, match="do not fit the plan"):
        layer.set_cores([torch.zeros(1, 2, 2, 3), torch.zeros(2, 3, 2, 4), torch.zeros(4, 2, 3, 1)])
    with pytest.raises(BondError):
        layer.set_cores([torch.zeros(2, 2, 2, 3), torch.zeros(3, 3, 2, 4), torch.zeros(4, 2, 3, 1)])


def test_set_cores_takes_new_spectra_and_copies():
    layer = small()
    cores = [core.detach().clone() for core in layer.cores]
    layer.set_cores(cores, spectra=[torch.ones(3), torch.ones(4)])
    cores[0].zero_()
    assert layer.cores[0].abs().sum() > 0
    assert [len(s) for s in layer.spectra] == [3, 4] and layer.spectra[0].dtype == torch.float64


# -- copies, files, devices ---------------------------------------------------------------------------


def pickled(layer):
    return pickle.loads(pickle.dumps(layer))


@pytest.mark.parametrize("how", [copy.deepcopy, pickled])
def test_copies_stand_alone(how):
    layer = small(mode="reconstruct").eval()
    with torch.no_grad():
        layer(random(3, 12))  # something is kept
        other = how(layer)
        in_place(other)
        torch.testing.assert_close(other.weight, 2 * layer.weight)
    with rebuild_once():
        layer(random(3, 12))  # and something with a graph
        how(layer)


def test_state_dict_round_trip():
    layer, other = small(seed=0), small(seed=5)
    assert list(layer.state_dict()) == ["bias", "cores.0", "cores.1", "cores.2"]
    other.load_state_dict(layer.state_dict())
    x = random(3, 12)
    assert torch.equal(layer(x), other(x))
    wrong = make_layer((2, 3, 2), (2, 2, 3), (3, 2))
    with pytest.raises(RuntimeError, match=r"cores\.1"):
        wrong.load_state_dict(layer.state_dict())


def test_meta_device():
    linear = nn.Linear(768, 3072, device="meta", dtype=torch.bfloat16)
    linear.weight.requires_grad_(False)
    layer = MPOLinear.from_linear(linear, bond=16)
    assert layer.central.is_meta and layer.bonds == [1, 16, 16, 16, 12, 1] and layer.central.dtype == torch.bfloat16
    assert not layer.central.requires_grad and layer.bias.requires_grad
    for mode in MODES:
        layer.mode = mode
        assert layer(torch.empty(2, 768, device="meta", dtype=torch.bfloat16)).shape == (2, 3072)
    assert MPOLinear.from_linear(linear, bond=[4, 300, 2, 1]).bonds == [1, 4, 256, 2, 1, 1]
    assert MPOLinear.from_linear(linear).bonds == list(layer.plan.full_bonds)
    for request_ in ({"ratio": 0.3}, {"error": 0.1}):
        with pytest.raises(BondError, match="meta"):
            MPOLinear.from_linear(linear, **request_)
    real = MPOLinear(layer.plan, layer.bonds)
    layer.load_state_dict(real.state_dict(), assign=True)
    torch.testing.assert_close(layer.weight, real.weight)


@pytest.mark.parametrize("bonds", [(1, 1), (3, 4), (4, 6), (7, 9)])
def test_fresh_cores_have_the_variance_of_a_linear(bonds):
    W = torch.stack([make_layer((4, 6, 5), (5, 4, 6), bonds, seed=seed).weight.detach() for seed in range(60)])
    assert abs(float(W.var() * 3 * 120) - 1) < 0.25
    assert abs(float(W.mean())) < 0.01
    layer = make_layer((4, 6, 5), (5, 4, 6), bonds)
    assert layer.bias.abs().max() <= 1 / math.sqrt(120)
    again = make_layer((4, 6, 5), (5, 4, 6), bonds)
    assert torch.equal(layer.weight, again.weight)  # from a generator, not from the global seed


def test_it_says_what_it_is():
    text = repr(MPOLinear.from_linear(dense(), n=3, bond=4))
    for part in ("24 -> 30", "bonds 1-4-4-1", "ratio 0.", "mode=auto", "bias=True"):
        assert part in text


# -- bad input ----------------------------------------------------------------------------------------


def test_bad_input():
    plan = small().plan
    with pytest.raises(UnknownNameError, match="reconstruct"):
        MPOLinear(plan, [1, 3, 4, 1], mode="reconstructed")
    for bonds in ([1, 3, 1], [1, 0, 4, 1], [3, 4], [2, 3, 4, 1]):
        with pytest.raises(BondError, match="bonds"):
            MPOLinear(plan, bonds)
    for module in (nn.LayerNorm(4), nn.Conv1d(3, 3, 1), "linear"):
        with pytest.raises(MatrixTypeError, match=r"nn\.Linear"):
            MPOLinear.from_linear(module)

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    with pytest.raises(MatrixTypeError, match="Doubled"):
        MPOLinear.from_linear(Doubled(4, 4))


@pytest.mark.parametrize("mode", MODES)
def test_inputs_that_do_not_fit(mode):
    layer = small(mode=mode)
    with pytest.raises(MatrixError, match="12 features"):
        layer(random(3, 11))
    with pytest.raises(MatrixTypeError, match="float64"):
        layer(random(3, 12, dtype=torch.float64))


# -- tied head ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding_idx", [None, 7])
@pytest.mark.parametrize("mode", ["reconstruct", "factorized"])
@pytest.mark.parametrize("keep_weight", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_tied_head_is_a_linear_with_the_embeddings_weight(padding_idx, mode, keep_weight, bias):
    settings = {"padding_idx": padding_idx, "mode": mode, "keep_weight": keep_weight, "dtype": torch.float64}
    embedding = make_layer((3, 2, 3), (2, 2, 2), (3, 3), (17, 8), MPOEmbedding, **settings)
    if padding_idx is not None:
        embedding.padding_row.copy_(random(8, dtype=torch.float64))
    head = MPOTiedHead(embedding, bias=random(17, dtype=torch.float64) if bias else None)
    cores = [core.detach().clone().requires_grad_() for core in embedding.cores]
    W = einsum_of(cores, (17, 8))
    if padding_idx is not None:
        W = W.index_copy(0, torch.tensor([padding_idx]), embedding.padding_row[None])
    x = random(4, 8, dtype=torch.float64).requires_grad_()
    twin = x.detach().clone().requires_grad_()
    y, expected = head(x), dense_linear(twin, W, None if head.bias is None else head.bias.detach())
    torch.testing.assert_close(y, expected)
    seen = random(4, 17, seed=3, dtype=torch.float64)
    y.backward(seen)
    expected.backward(seen)
    torch.testing.assert_close(x.grad, twin.grad)
    for core, twin in zip(embedding.cores, cores):
        torch.testing.assert_close(core.grad, twin.grad)
    if bias:
        torch.testing.assert_close(head.bias.grad, seen.sum(0))
    torch.testing.assert_close(head.weight, W)


def test_tied_head_owns_nothing_but_its_bias():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = make_layer((3, 2, 3), (2, 2, 2), (3, 3), kind=MPOEmbedding)
            self.head = MPOTiedHead(self.embedding, bias=True)

    model = Model()
    assert [name for name, _ in model.named_parameters()] == [*(f"embedding.cores.{k}" for k in range(3)), "head.bias"]
    assert list(model.state_dict()) == [*(f"embedding.cores.{k}" for k in range(3)), "head.bias"]
    assert torch.equal(model.head.bias, torch.zeros(18))
    other = copy.deepcopy(model)
    assert other.head.embedding is other.embedding and other.embedding is not model.embedding
    alone = copy.deepcopy(model.head)
    assert alone.embedding is not model.embedding
    shared = nn.Parameter(torch.zeros(18))
    assert MPOTiedHead(model.embedding, shared).bias is shared
    assert (model.head.in_features, model.head.out_features) == (8, 18)


# -- adapter ------------------------------------------------------------------------------------------


def test_adapter_starts_as_nothing_and_is_the_scaled_product():
    adapter = LowRankAdapter(12, 8, rank=3, alpha=6, generator=generator())
    x = random(2, 5, 12)
    assert torch.equal(adapter(x), torch.zeros(2, 5, 8))
    with torch.no_grad():
        adapter.B.copy_(random(8, 3))
    torch.testing.assert_close(adapter(x), x @ (2 * adapter.B @ adapter.A).T)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 3 * (12 + 8)
    assert adapter.A.abs().max() <= 1 / math.sqrt(12) and adapter.A.abs().max() > 0
    assert LowRankAdapter(12, 8, rank=3).alpha == 3


@pytest.mark.parametrize("rank", [0, -1, 9, 2.0, True, None])
def test_adapter_refuses_other_ranks(rank):
    with pytest.raises(BondError, match="between 1 and 8"):
        LowRankAdapter(12, 8, rank=rank)


def test_adapter_trains_in_half_precision_and_on_meta():
    adapter = LowRankAdapter(12, 8, rank=2, dtype=torch.bfloat16)
    adapter(random(3, 12, dtype=torch.bfloat16)).sum().backward()
    assert adapter.B.grad.abs().sum() > 0
    assert LowRankAdapter(12, 8, rank=2, device="meta").A.is_meta
