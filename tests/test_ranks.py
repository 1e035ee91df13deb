"""Ranks within a budget: against all tuples there are, and against what was chosen by simpler rules."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from mpolab import MPO, make_plan, models
from mpolab.baselines import METHODS, Options, _Problem, mpo_parameters, tucker_parameters
from mpolab.decomposition import to_tensor
from mpolab.errors import DataNotFoundError
from mpolab.plans import Plan
from mpolab.ranks import can_be_filled


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FALL = torch.logspace(0, -2, 64, dtype=torch.float64)
MATRICES = {
    "flat": gaussian(64, 64),
    "decaying": gaussian(64, 64, seed=1) * FALL * FALL[:, None],
    "structured": torch.kron(gaussian(8, 8, seed=2), gaussian(8, 8, seed=3)) + 0.3 * gaussian(64, 64, seed=4),
    "padded": gaussian(37, 29, seed=5),
}
RATIOS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
CASES = [(name, n, ratio) for name in MATRICES for n in (3, 5) for ratio in RATIOS]


def budget_of(name: str, n: int, ratio: float) -> tuple[torch.Tensor, Plan, int]:
    matrix = MATRICES[name]
    plan = make_plan(matrix.shape, n=n)
    least = max(METHODS[method].least(plan) for method in ("Tucker", "MPO"))
    return matrix, plan, max(int(ratio * math.prod(plan.padded)), least)


def raised(ranks: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple(rank + (k == m) for m, rank in enumerate(ranks)) for k in range(len(ranks))]


def hosvd_core(matrix: torch.Tensor, plan: Plan) -> np.ndarray:
    """(a_1, ..., a_n), by an SVD of every unfolding of the tensor with norm 1."""
    tensor = to_tensor(matrix, plan).numpy()
    core = tensor = tensor / np.linalg.norm(tensor)
    for k in range(plan.n):
        vectors = np.linalg.svd(np.moveaxis(tensor, k, 0).reshape(plan.sizes[k], -1), full_matrices=True)[0]
        core = np.moveaxis(np.tensordot(vectors.T, core, axes=(1, k)), 0, k)
    return core


def useful(ranks: tuple[int, ...]) -> bool:
    return all(rank**2 <= math.prod(ranks) for rank in ranks)


# -- Tucker --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(24, 12), (23, 12), (16, 27)])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_no_ranks_within_the_budget_keep_more_than_tucker_s(shape, share):
    matrix, plan = gaussian(*shape, seed=6), make_plan(shape, n=3)
    budget = int(share * math.prod(plan.padded))
    squares = hosvd_core(matrix, plan) ** 2
    kept = {
        ranks: squares[tuple(slice(rank) for rank in ranks)].sum()
        for ranks in itertools.product(*(range(1, size + 1) for size in plan.sizes))
        if useful(ranks) and tucker_parameters(plan, ranks) <= budget
    }
    assert kept[METHODS["Tucker"].rank(matrix, plan, budget)] == pytest.approx(max(kept.values()), abs=1e-12)


def greedy_tucker_ranks(matrix: torch.Tensor, plan: Plan, budget: int) -> tuple[int, ...]:
    """A simpler rule: from full ranks down, the mode that loses the least per number saved, until it fits."""
    tensor, ranks = to_tensor(matrix, plan).numpy(), list(plan.sizes)
    unfoldings = [np.moveaxis(tensor, k, 0).reshape(size, -1) for k, size in enumerate(plan.sizes)]
    weights = [np.linalg.eigvalsh(unfolding @ unfolding.T)[::-1] for unfolding in unfoldings]
    while tucker_parameters(plan, ranks) > budget or not useful(ranks):
        too_wide = [k for k, rank in enumerate(ranks) if rank**2 > math.prod(ranks)]
        modes = too_wide or [k for k, rank in enumerate(ranks) if rank > 1]
        k = min(modes, key=lambda k: weights[k][ranks[k] - 1] / (math.prod(ranks) // ranks[k] + plan.sizes[k]))
        ranks[k] -= 1
    return tuple(ranks)


@pytest.mark.parametrize(("name", "n", "ratio"), CASES)
def test_tucker_spends_its_budget_and_is_never_worse_than_by_a_simpler_rule(name, n, ratio):
    matrix, plan, budget = budget_of(name, n, ratio)
    found = METHODS["Tucker"].fit(matrix, plan, budget)
    assert found.parameters <= budget
    assert not any(
        all(rank <= size for rank, size in zip(wider, plan.sizes))
        and useful(wider)
        and tucker_parameters(plan, wider) <= budget
        for wider in raised(found.rank)
    )
    simple = greedy_tucker_ranks(matrix, plan, budget)
    problem = _Problem(matrix, plan)
    approximation, _ = METHODS["Tucker"].compute(problem, simple, Options())
    assert found.error <= problem.error(approximation) + 1e-9


# -- MPO -----------------------------------------------------------------------------------------


def all_bonds(plan: Plan, budget: int) -> list[tuple[int, ...]]:
    """Those within the budget of which none can be widened."""
    ranges = [range(1, full + 1) for full in plan.full_bonds[1:-1]]
    fitting = {bonds for bonds in itertools.product(*ranges) if mpo_parameters(plan, bonds) <= budget}
    return [bonds for bonds in fitting if not any(wider in fitting for wider in raised(bonds))]


@pytest.mark.parametrize(("n", "slack"), [(3, 1e-9), (4, 2e-3), (5, 2e-3)])
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.4])
def test_mpo_s_bonds_are_the_best_there_are_or_close_to_it(name, n, slack, ratio, oracle):
    matrix = MATRICES[name][:36, :24]
    plan = make_plan(matrix.shape, n=n)
    budget = int(ratio * math.prod(plan.padded))
    found = METHODS["MPO"].fit(matrix, plan, budget)
    mpo = MPO.decompose(matrix, rows=plan.rows, cols=plan.cols)
    best = min(all_bonds(plan, budget), key=lambda bonds: mpo.truncate(bond=bonds).error())
    reachable = oracle.relative_error(oracle.cut(matrix, plan.rows, plan.cols, best), matrix)
    assert found.error <= reachable + slack


@pytest.mark.parametrize(("name", "n", "ratio"), CASES)
def test_mpo_spends_its_budget_and_is_never_worse_than_by_a_simpler_rule(name, n, ratio):
    matrix, plan, budget = budget_of(name, n, ratio)
    found = METHODS["MPO"].fit(matrix, plan, budget)
    assert found.parameters <= budget
    assert not any(
        all(bond <= full for bond, full in zip(wider, plan.full_bonds[1:-1]))
        and can_be_filled(plan, (1, *wider, 1))
        and mpo_parameters(plan, wider) <= budget
        for wider in raised(found.rank)
    )
    mpo = MPO.decompose(matrix, rows=plan.rows, cols=plan.cols)
    caps = [mpo.truncate(bond=cap) for cap in range(1, max(plan.full_bonds) + 1)]
    simple = [mpo.truncate(ratio=(budget + 0.5) / math.prod(plan.padded)), *caps]
    assert found.error <= min(cut.error() for cut in simple if cut.parameters <= budget) + 1e-9


def test_what_a_bond_s_neighbours_fill():
    plan = Plan((2, 2, 2), (3, 2, 2), (8, 12))  # a = 6, 4, 4
    assert can_be_filled(plan, (1, 6, 4, 1)) and can_be_filled(plan, (1, 1, 4, 1))
    assert not can_be_filled(plan, (1, 5, 1, 1)) and not can_be_filled(plan, (1, 7, 4, 1))


# -- a real matrix -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def query() -> torch.Tensor:
    try:
        model = models.load_pretrained("minilm", tokenizer=False)
    except DataNotFoundError as error:
        pytest.skip(str(error))
    return models.select(model, "layer.0.*query").popitem()[1].weight.double()


@pytest.mark.parametrize(
    ("ratio", "tucker", "mpo"),
    [(0.05, 0.942, 0.9411), (0.1, 0.896, 0.8917), (0.2, 0.823, 0.8131), (0.4, 0.688, 0.6750)],
)
def test_a_real_matrix_reaches_what_its_budget_allows(query, ratio, tucker, mpo):
    """Tucker's figure is that of the best HOSVD, MPO's of the best pair of bonds, each found by trying all."""
    plan = make_plan(query.shape, n=3)
    budget = int(ratio * query.numel())
    for name, reachable in (("Tucker", tucker), ("MPO", mpo)):
        found = METHODS[name].fit(query, plan, budget)
        assert found.error <= reachable
        assert 0.95 * budget <= found.parameters <= budget
