"""MPOEmbedding against nn.Embedding: values, gradients, padding, memory, and that the table is never made.

Oracle: torch's embedding on the table from one einsum over the cores, differentiated by autograd.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_layers import chains, einsum_of, make_layer, random
from torch import nn
from torch.nn.functional import embedding as dense_lookup

from mpolab import MPO, cost, lookup
from mpolab.errors import BondError, MatrixTypeError
from mpolab.layers import MPOEmbedding
from mpolab.plans import Plan


def make(rows, cols, bonds, shape=None, **settings) -> MPOEmbedding:
    return make_layer(rows, cols, bonds, shape, MPOEmbedding, **settings)


def table_of(embedding: MPOEmbedding) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Cores with gradients of their own, and the table they make."""
    cores = [core.detach().clone().requires_grad_() for core in embedding.cores]
    table = einsum_of(cores, embedding.plan.shape)
    if embedding.padding_idx is not None:
        table = table.index_copy(0, torch.tensor([embedding.padding_idx]), embedding.padding_row[None])
    return cores, table


@given(
    chain=chains(),
    leading=st.sampled_from([(), (1,), (7,), (2, 5), (0,), (30,)]),
    padded=st.booleans(),
    pieces=st.sampled_from([0.01, 0.25, 100.0]),
    data=st.data(),
)
def test_rows_and_gradients_are_those_of_the_table(chain, leading, padded, pieces, data):
    """In pieces of one row as well as all at once; bonds of both orders go through the chain and its mirror image."""
    rows, cols, bonds, shape = chain
    size = shape[0]
    padding_idx = data.draw(st.integers(0, size - 1)) if padded else None
    embedding = make(rows, cols, bonds, shape, padding_idx=padding_idx, dtype=torch.float64)
    if padded:
        embedding.padding_row.copy_(random(shape[1], dtype=torch.float64))
    frozen = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    frozen[0] = frozen[0] and not all(frozen)
    for core, stays in zip(embedding.cores, frozen):
        core.requires_grad_(not stays)
    number = math.prod(leading)
    drawn = data.draw(st.lists(st.integers(0, size - 1), min_size=number, max_size=number))
    ids = torch.tensor(drawn, dtype=torch.long).view(leading)
    cores, table = table_of(embedding)
    whole = lookup.EXTRA, lookup.INDEX_NUMBERS
    try:
        lookup.EXTRA, lookup.INDEX_NUMBERS = pieces, 0
        found, expected = embedding(ids), dense_lookup(ids, table, padding_idx)
        torch.testing.assert_close(found, expected)
        seen = random(*found.shape, dtype=torch.float64)
        found.backward(seen)
    finally:
        lookup.EXTRA, lookup.INDEX_NUMBERS = whole
    expected.backward(seen)
    for core, twin, stays in zip(embedding.cores, cores, frozen):
        assert (core.grad is None) == stays
        if not stays:
            torch.testing.assert_close(core.grad, torch.zeros_like(twin) if twin.grad is None else twin.grad)


@pytest.mark.parametrize("bonds", [(2, 4), (4, 2)])
@pytest.mark.parametrize("padding_idx", [None, 3])
def test_gradcheck(bonds, padding_idx):
    embedding = make((2, 3, 2), (2, 1, 2), bonds, (11, 4), padding_idx=padding_idx, dtype=torch.float64)
    ids = torch.tensor([[0, 3, 10], [5, 5, 3]])
    assert torch.autograd.gradcheck(lambda *_: embedding(ids), tuple(embedding.cores))
    with pytest.raises(RuntimeError, match="twice"):
        torch.autograd.grad(embedding(ids).sum(), embedding.central, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    embedding = make((3, 4, 3), (2, 3, 2), (5, 4), dtype=dtype)
    table = einsum_of([core.detach().double() for core in embedding.cores], (36, 12))
    ids = torch.arange(36)
    found = embedding(ids)
    assert found.dtype == dtype
    assert ((found.double() - table).abs() <= table.abs() * torch.finfo(dtype).eps * 0.51 + 1e-6).all()
    found.sum().backward()
    assert all(core.grad.dtype == dtype for core in embedding.cores)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_ids_of_any_stride_and_kind(dtype):
    embedding = make((3, 4, 3), (2, 3, 2), (5, 4), (35, 12))
    ids = torch.arange(30, dtype=dtype).view(5, 6).T
    torch.testing.assert_close(embedding(ids), embedding.weight[ids.long()])


def test_ids_that_do_not_exist():
    embedding = make((3, 4, 3), (2, 3, 2), (5, 4), (35, 12))
    for wrong in (35, -1):  # 35 exists in the padded table only
        with pytest.raises(IndexError, match=rf"{wrong}.*35 rows"):
            embedding(torch.tensor([0, wrong]))
        with pytest.raises(IndexError):
            nn.Embedding(35, 12)(torch.tensor([0, wrong]))
    with pytest.raises(MatrixTypeError, match="int64"):
        embedding(torch.tensor([0.0]))


# -- padding_idx --------------------------------------------------------------------------------------


def test_padding_row_stays_what_it_was_while_the_others_train():
    dense = nn.Embedding(20, 6, padding_idx=2)
    with torch.no_grad():
        dense.weight.copy_(random(20, 6))  # also the padding row, as in pre-trained models
    embedding = MPOEmbedding.from_embedding(dense, n=3, bond=3)
    ids = torch.tensor([[2, 5, 7], [2, 2, 19]])
    optimizer = torch.optim.AdamW(embedding.parameters(), lr=0.1)
    before = embedding(ids).detach()
    embedding(ids).square().sum().backward()
    optimizer.step()
    after = embedding(ids).detach()
    assert torch.equal(after[ids == 2], before[ids == 2]) and torch.equal(before[0, 0], dense.weight[2])
    assert (after[ids != 2] != before[ids != 2]).all()
    for weight in (embedding.weight, embedding.to_embedding().weight):
        assert torch.equal(weight[2], dense.weight[2])
    assert "padding_row" in embedding.state_dict()


def test_only_padding_gives_no_gradient():
    embedding = make((3, 4, 3), (2, 3, 2), (5, 4), padding_idx=-1)
    assert embedding.padding_idx == 35
    embedding(torch.full((4,), 35)).sum().backward()
    assert all(core.grad is not None and not core.grad.any() for core in embedding.cores)
    assert torch.equal(embedding(torch.tensor([35])), torch.zeros(1, 12))
    with pytest.raises(IndexError, match="36"):
        make((3, 4, 3), (2, 3, 2), (5, 4), padding_idx=36)


# -- from and to dense ------------------------------------------------------------------------------


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_there_and_back(padding_idx):
    dense = nn.Embedding(47, 10, padding_idx=padding_idx).eval()
    embedding = MPOEmbedding.from_embedding(dense, n=3)
    assert embedding.plan.is_padded and not embedding.training
    assert (embedding.num_embeddings, embedding.embedding_dim, embedding.padding_idx) == (47, 10, padding_idx)
    ids = torch.arange(47).view(1, 47)
    torch.testing.assert_close(embedding(ids), dense(ids), rtol=1e-4, atol=1e-5)
    back = embedding.to_embedding()
    assert type(back) is nn.Embedding and back.padding_idx == padding_idx and not back.training
    torch.testing.assert_close(back.weight, dense.weight, rtol=1e-4, atol=1e-5)


def test_a_cut_embedding_is_the_cut_mpo():
    dense = nn.Embedding(64, 27, dtype=torch.bfloat16).requires_grad_(False)
    embedding = MPOEmbedding.from_embedding(dense, ratio=0.3, n=3)
    mpo = MPO.decompose(dense.weight, ratio=0.3, n=3)
    assert embedding.bonds == mpo.bonds and embedding.central.dtype == torch.bfloat16
    assert not any(core.requires_grad for core in embedding.cores)
    torch.testing.assert_close(embedding.weight.float(), mpo.to_matrix(), rtol=5e-2, atol=5e-2)


def test_from_an_mpo_the_padding_row_is_its_own():
    mpo = MPO.decompose(random(30, 12), n=3, bond=4)
    embedding = MPOEmbedding.from_mpo(mpo, padding_idx=4)
    torch.testing.assert_close(embedding.padding_row, mpo.to_matrix()[4])


def test_the_papers_vocabulary_on_the_meta_device():
    dense = nn.Embedding(30522, 768, padding_idx=0, device="meta")
    embedding = MPOEmbedding.from_embedding(dense, bond=32)
    assert embedding.plan.padded == (30720, 768) and embedding.padding_row.is_meta
    assert embedding(torch.zeros(2, 3, dtype=torch.long, device="meta")).shape == (2, 3, 768)
    with pytest.raises(BondError, match="meta"):
        MPOEmbedding.from_embedding(dense, ratio=0.1)


def test_fresh_rows_have_the_variance_of_an_embedding():
    table = torch.stack([make((4, 6, 5), (5, 4, 6), (4, 6), seed=seed).weight.detach() for seed in range(40)])
    assert abs(float(table.var()) - 1) < 0.25


def test_modules_that_are_refused():
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return 2 * super().forward(ids)

    for module in (Scaled(4, 4), nn.Linear(4, 4)):
        with pytest.raises(MatrixTypeError, match=r"nn\.Embedding"):
            MPOEmbedding.from_embedding(module)
    for option in ({"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}):
        with pytest.raises(MatrixTypeError, match="one by one"):
            MPOEmbedding.from_embedding(nn.Embedding(4, 4, **option))


# -- memory -------------------------------------------------------------------------------------------

BERT = Plan((6, 8, 10, 8, 8), (4, 4, 4, 4, 3), (30522, 768))
MINILM = Plan((6, 8, 10, 8, 8), (3, 4, 4, 4, 2), (30522, 384))
AT_ONE_TENTH = [  # inner bonds at ratio 0.1: balanced, and as the greedy path leaves a flat spectrum
    (BERT, (24, 240, 240, 24)),
    (BERT, (24, 768, 56, 24)),
    (BERT, (24, 56, 768, 24)),
    (MINILM, (18, 43, 512, 16)),
    (MINILM, (18, 170, 170, 16)),
]


def many_ids(kind: str, plan: Plan) -> torch.Tensor:
    """32x128 ids: all over the vocabulary, or as frequent as in text, or mostly padding."""
    generator = torch.Generator().manual_seed(0)
    if kind == "uniform":
        return torch.randint(plan.shape[0], (32, 128), generator=generator)
    weights = 1 / torch.arange(1.0, plan.shape[0] + 1)
    ids = torch.multinomial(weights, 4096, replacement=True, generator=generator).view(32, 128)
    if kind == "short":
        ids[:, 20:] = 0
    return ids


@pytest.mark.parametrize(("plan", "bonds"), AT_ONE_TENTH, ids=lambda value: str(value)[:24])
@pytest.mark.parametrize("kind", ["uniform", "text", "short"])
def test_a_look_up_needs_a_quarter_of_its_output(plan, bonds, kind):
    embedding = MPOEmbedding(plan, [1, *bonds, 1], padding_idx=0).eval()
    assert 0.08 < embedding.ratio < 0.13
    ids = many_ids(kind, plan)
    with torch.no_grad(), cost._Tensors() as seen:
        rows = embedding(ids)
    assert seen.peak - rows.nbytes <= rows.nbytes / 4
    some = ids.flatten()[::97]
    torch.testing.assert_close(rows.flatten(0, 1)[::97], oracle_rows(embedding, some), rtol=1e-3, atol=1e-3)


def oracle_rows(embedding: MPOEmbedding, ids: torch.Tensor) -> torch.Tensor:
    """Row by row, digit by digit, in float64."""
    rows = []
    for number in ids.tolist():
        if number == embedding.padding_idx:
            rows.append(embedding.padding_row.double())
            continue
        digits = []
        for size in reversed(embedding.plan.rows):
            number, digit = divmod(number, size)
            digits.insert(0, digit)
        row = torch.ones(1, 1, dtype=torch.float64)
        for core, digit in zip(embedding.cores, digits):
            row = torch.tensordot(row, core.detach()[:, digit].double(), dims=1).flatten(0, 1)  # (columns so far, d)
        rows.append(row[: embedding.plan.shape[1], 0])
    return torch.stack(rows).float()


def test_the_backward_pass_needs_half_of_the_output_beside_the_gradients(plan=BERT, bonds=(24, 240, 240, 24)):
    embedding = MPOEmbedding(plan, [1, *bonds, 1])
    rows = embedding(many_ids("text", plan))
    ones = torch.ones_like(rows)
    with cost._Tensors() as seen:
        rows.backward(ones)
    assert seen.peak - 4 * embedding.parameters_count <= rows.nbytes / 2


def test_the_table_is_never_made(monkeypatch):
    embedding = make((3, 4, 3), (2, 3, 2), (5, 4)).eval()

    def refuse(*_):
        raise AssertionError("the whole table was asked for")

    monkeypatch.setattr(MPOEmbedding, "_weight", refuse)
    ids = torch.arange(36)
    embedding(ids).sum().backward()
    with torch.no_grad():
        embedding(ids)
    assert not embedding._kept._weights
