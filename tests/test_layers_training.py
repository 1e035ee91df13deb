"""MPO layers inside what a training run puts around them: autocast, checkpointing, compilation, replicas, DDP.

Oracle: the same small model with dense layers made from the same cores, or the same run without the wrapper.
"""

from __future__ import annotations

import copy

import pytest
import torch
from small import one_of_two
from test_layers import einsum_of, make_layer, random, small
from torch import nn
from torch.nn.functional import linear as dense_linear
from torch.utils.checkpoint import checkpoint

from mpolab.layers import MODES, MPOEmbedding, MPOLinear, MPOTiedHead, rebuild_once


class Model(nn.Module):
    """Embedding, a layer that is called twice, another one, and a head tied to the embedding."""

    def __init__(self, mode: str = "reconstruct", keep_weight: bool = True):
        super().__init__()
        settings = {"mode": mode, "keep_weight": keep_weight}
        self.embedding = make_layer((3, 4, 2), (2, 3, 2), (4, 3), (23, 12), MPOEmbedding, padding_idx=0, **settings)
        self.shared = small(**settings)
        self.other = small(seed=1, **settings)
        self.head = MPOTiedHead(self.embedding, bias=True)

    def forward(self, ids: torch.Tensor, remember: str = "") -> torch.Tensor:
        x = self.embedding(ids)
        for layer in (self.shared, self.other, self.shared):
            if remember:
                x = checkpoint(self.block, layer, x, use_reentrant=remember == "reentrant")
            else:
                x = self.block(layer, x)
        return self.head(x)

    @staticmethod
    def block(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(layer(x)) + x


IDS = torch.tensor([[1, 5, 22, 0], [5, 5, 7, 0]])


def gradients(model: nn.Module, *args) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(*args).square().sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_same(found: dict, expected: dict, **tolerance) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


# -- autocast -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keep_weight", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_half_and_keeps_gradients_whole(mode, keep_weight, dtype):
    layer = small(mode=mode, keep_weight=keep_weight)
    dense = layer.to_linear()
    x, twin = (random(6, 12).requires_grad_() for _ in range(2))
    with torch.autocast("cpu", dtype=dtype):
        y, expected = layer(x), dense(twin)
        assert y.dtype == expected.dtype == dtype
        if mode == "reconstruct":  # W is made in float32 and rounded once, as the dense layer's is
            assert torch.equal(y, expected)
        torch.testing.assert_close(y, expected, rtol=0.1, atol=0.1)
        y.float().square().sum().backward()  # inside autocast, which must not reach the cores' gradients
    expected.float().square().sum().backward()
    assert x.grad.dtype == torch.float32 and all(core.grad.dtype == torch.float32 for core in layer.cores)
    torch.testing.assert_close(x.grad, twin.grad, rtol=0.1, atol=0.2)
    exact = small(mode=mode)
    exact(random(6, 12)).square().sum().backward()
    for core, other in zip(layer.cores, exact.cores):
        torch.testing.assert_close(core.grad, other.grad, rtol=0.1, atol=0.05 * float(other.grad.abs().max()))


def test_autocast_leaves_double_precision_alone():
    layer = small(dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(random(2, 12, dtype=torch.float64)).dtype == torch.float64


def test_evaluation_keeps_the_rounded_weight_under_autocast():
    layer = small(mode="reconstruct").eval()
    x = random(3, 12)
    with torch.no_grad():
        whole = layer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            first, kept = layer(x), layer._weight(torch.bfloat16)
            assert kept.dtype == torch.bfloat16 and kept is layer._weight(torch.bfloat16)
        assert torch.equal(layer(x), whole) and first.dtype == torch.bfloat16


def test_embedding_under_autocast_is_not_rounded():
    model = Model()
    expected = model.embedding(IDS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.embedding(IDS), expected)
        model.embedding(IDS).sum().backward()
    found = model.embedding.central.grad.clone()
    model.zero_grad()
    model.embedding(IDS).sum().backward()
    assert torch.equal(model.embedding.central.grad, found)


# -- checkpointing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("remember", ["reentrant", "not reentrant"])
@pytest.mark.parametrize("mode", ["reconstruct", "factorized"])
@pytest.mark.parametrize("keep_weight", [True, False])
@pytest.mark.parametrize("once", [True, False])
def test_activation_checkpointing_changes_nothing(remember, mode, keep_weight, once):
    model = Model(mode, keep_weight).double()  # sums in another order: in float32 a few roundings of large gradients
    expected = gradients(model, IDS)
    model.zero_grad()
    if once:
        with rebuild_once():
            y = model(IDS, remember)
    else:
        y = model(IDS, remember)
    y.square().sum().backward()
    assert_same({name: p.grad for name, p in model.named_parameters()}, expected)


# -- compilation --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "backend"), [("reconstruct", "aot_eager"), ("auto", "eager")])
def test_compiled_layer_gives_the_same_numbers(mode, backend):
    layer, x = small(mode=mode), random(3, 12)
    expected_output, expected = layer(x), gradients(layer, x)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend=backend)
    torch.testing.assert_close(compiled(x), expected_output)
    layer.zero_grad()
    compiled(x).square().sum().backward()
    assert_same({name: p.grad for name, p in layer.named_parameters()}, expected)


def test_compiled_model_gives_the_same_numbers():
    """With a look-up and a tied head with a padding row; a compiled evaluation, too, notices changed cores."""
    model = Model()
    expected_output, expected = model(IDS), gradients(model, IDS)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(IDS), expected_output)
    model.zero_grad()
    compiled(IDS).square().sum().backward()
    assert_same({name: p.grad for name, p in model.named_parameters()}, expected)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(IDS), expected_output)
        model.shared.central.mul_(2)
        torch.testing.assert_close(compiled(IDS), model(IDS))


def test_compiled_evaluation_uses_the_kept_weight():
    layer = small(mode="reconstruct").eval()
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="eager")
    with torch.no_grad():
        compiled(random(3, 12))
        kept = layer.weight
        compiled(random(3, 12))
        assert layer.weight is kept


# -- steps of training --------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("keep_weight", [True, False])
def test_training_follows_the_plain_contraction(keep_weight, fused):
    """Five steps of AdamW with an evaluation in between, against the same steps through one einsum."""
    layer = small(mode="reconstruct", keep_weight=keep_weight)
    layer.central.requires_grad_(False)
    cores = [core.detach().clone().requires_grad_(core.requires_grad) for core in layer.cores]
    bias = layer.bias.detach().clone().requires_grad_()
    ours = torch.optim.AdamW([p for p in layer.parameters() if p.requires_grad], lr=0.05, fused=fused)
    theirs = torch.optim.AdamW([bias, *(core for core in cores if core.requires_grad)], lr=0.05, fused=fused)
    for number in range(5):
        x = random(4, 12, seed=number)
        layer(x).square().sum().backward()
        dense_linear(x, einsum_of(cores, (12, 12)), bias).square().sum().backward()
        for optimizer in (ours, theirs):
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            torch.testing.assert_close(layer.eval()(x), dense_linear(x, einsum_of(cores, (12, 12)), bias))
        if number % 2:
            layer.train()  # and sometimes training goes on in eval mode
    for core, twin in zip(layer.cores, cores):
        torch.testing.assert_close(core, twin)


def test_accumulated_gradients():
    model = Model()
    halves = [gradients(model, part) for part in IDS.split(1)]
    whole = gradients(model, IDS)
    assert_same({name: halves[0][name] + halves[1][name] for name in whole}, whole, rtol=1e-4, atol=1e-5)


def test_a_copied_model_trains_like_the_first():
    model = Model()
    model.eval()
    with torch.no_grad():
        model(IDS)
    other = copy.deepcopy(model).train()
    assert other.head.embedding is other.embedding
    assert_same(gradients(other, IDS), gradients(model.train(), IDS))


def test_functional_call_uses_what_it_is_given():
    layer = small(mode="reconstruct").eval()
    cores = {f"cores.{k}": 2 * core.detach() for k, core in enumerate(layer.cores)}
    x = random(3, 12)
    with torch.no_grad():
        before = layer(x)
        found = torch.func.functional_call(layer, cores, (x,))
        torch.testing.assert_close(found - layer.bias, 8 * (before - layer.bias))
        assert torch.equal(layer(x), before)


# -- several processes --------------------------------------------------------------------------------


def _replica(rank: int, folder: str) -> None:
    """One of two processes of the test below; the first one writes the averaged gradients."""
    from torch.nn.parallel import DistributedDataParallel

    with one_of_two(rank, folder):
        for keep_weight in (True, False):
            replica = DistributedDataParallel(Model(keep_weight=keep_weight))
            for _ in range(2):  # the second step sees what the first one left
                replica.zero_grad()
                with rebuild_once():
                    y = replica(IDS[rank : rank + 1])
                y.square().sum().backward()
            if rank == 0:
                found = {name: p.grad for name, p in replica.module.named_parameters()}
                torch.save(found, f"{folder}/{keep_weight}.pt")


def test_two_processes_average_their_gradients(tmp_path):
    torch.multiprocessing.spawn(_replica, (str(tmp_path),), nprocs=2)
    expected = {name: grad / 2 for name, grad in gradients(Model(), IDS).items()}
    for keep_weight in (True, False):
        found = torch.load(tmp_path / f"{keep_weight}.pt", weights_only=True)
        assert_same(found, expected, rtol=1e-4, atol=1e-5)


# -- CUDA ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keep_weight", [True, False])
def test_cuda_gives_the_same_numbers(mode, keep_weight):
    model = Model(mode, keep_weight)
    expected_output, expected = model(IDS), gradients(model, IDS)
    model.cuda()
    torch.testing.assert_close(model(IDS.cuda()).cpu(), expected_output, rtol=1e-3, atol=1e-3)
    found = {name: grad.cpu() for name, grad in gradients(model, IDS.cuda()).items()}
    assert_same(found, expected, rtol=1e-2, atol=1e-2)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        model(IDS.cuda()).float().square().sum().backward()
    assert model(IDS.cuda()).device.type == "cuda"
    assert isinstance(model.shared, MPOLinear)
