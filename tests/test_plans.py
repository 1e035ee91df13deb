"""Plans of factors: the authors' shapes and counts (facts.md section 1), eq. 2, eq. 5, and balanced ones elsewhere."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpolab.plans import FACTORS, MAX_PADDING, Plan, factors, make_plan

# shape, arguments, rows, cols, inner bonds, central, auxiliary, (centre / auxiliary as printed): facts.md section 1
AUTHORS = {
    "ALBERT embedding": (
        (30000, 128),
        {},
        (5, 10, 10, 10, 6),
        (2, 2, 4, 4, 2),
        (10, 200, 480, 12),
        3_840_000,
        270_644,
        14.2,
    ),
    "attention, balanced": (
        (768, 768),
        {"style": "mpop"},
        (3, 4, 4, 4, 4),
        (4, 4, 4, 4, 3),
        (12, 192, 192, 12),
        589_824,
        74_016,
        8.0,
    ),
    "attention, MPOBERT": (
        (768, 768),
        {},
        (4, 4, 4, 4, 3),
        (4, 4, 4, 4, 3),
        (16, 256, 144, 9),
        589_824,
        86_609,
        6.8,
    ),
    "FFN, MPOP": (
        (3072, 768),
        {"style": "mpop"},
        (4, 4, 8, 6, 4),
        (3, 4, 4, 4, 4),
        (12, 192, 384, 16),
        2_359_296,
        184_720,
        12.8,
    ),
    "FFN, MPOBERT": (
        (3072, 768),
        {},
        (4, 4, 8, 6, 4),
        (4, 4, 4, 4, 3),
        (16, 256, 288, 12),
        2_359_296,
        148_880,
        15.8,
    ),
    "attention 1024": (
        (1024, 1024),
        {},
        (4, 4, 4, 4, 4),
        (4, 4, 4, 4, 4),
        (16, 256, 256, 16),
        1_048_576,
        131_584,
        8.0,
    ),
    "FFN 4096": (
        (4096, 1024),
        {},
        (4, 4, 8, 8, 4),
        (4, 4, 4, 4, 4),
        (16, 256, 512, 16),
        4_194_304,
        328_192,
        12.8,
    ),
    "BERT embedding": (
        (30522, 768),
        {},
        (6, 8, 10, 8, 8),
        (4, 4, 4, 4, 3),
        (24, 768, 768, 24),
        23_592_960,
        1_180_800,
        20.0,
    ),
}


@pytest.mark.parametrize("name", AUTHORS)
def test_shapes_and_counts_of_the_papers(name):
    shape, how, rows, cols, inner, central, auxiliary, times = AUTHORS[name]
    plan = make_plan(shape, **how)
    assert (plan.rows, plan.cols) == (rows, cols)
    assert plan.full_bonds == (1, *inner, 1)
    d = plan.full_bonds
    counts = [d[k] * rows[k] * cols[k] * d[k + 1] for k in range(5)]
    assert counts[2] == central == math.prod(plan.core_shape(2, d))
    assert sum(counts) - counts[2] == auxiliary
    assert plan.parameters(d) == central + auxiliary
    assert round(central / auxiliary, 1) == times
    assert plan.centre == 2


def test_the_centre_at_full_rank_holds_exactly_the_matrix():
    for shape, how, *_ in AUTHORS.values():
        plan = make_plan(shape, **how)
        assert math.prod(plan.core_shape(2, plan.full_bonds)) == math.prod(plan.padded)


def test_a_full_rank_mpo_never_compresses():
    assert make_plan((3072, 768)).ratio(make_plan((3072, 768)).full_bonds) == pytest.approx(1.063, abs=5e-4)


def test_the_bert_embedding_is_padded_and_counted_so():
    plan = make_plan((30522, 768))
    assert plan.padded == (30720, 768) and plan.is_padded and plan.shape == (30522, 768)
    assert plan.ratio(plan.full_bonds) == (23_592_960 + 1_180_800) / (30720 * 768)
    assert not make_plan((768, 768)).is_padded


@pytest.mark.parametrize(
    "size, n, expected",
    [
        (768, 3, (8, 12, 8)),
        (768, 7, (2, 2, 4, 4, 3, 2, 2)),
        (768, 9, (2, 2, 2, 2, 3, 2, 2, 2, 2)),
        (3072, 3, (12, 16, 16)),
        (3072, 7, (2, 4, 4, 4, 4, 3, 2)),
        (3072, 9, (2, 2, 2, 4, 4, 3, 2, 2, 2)),
        (1024, 3, (8, 16, 8)),
        (1024, 7, (2, 2, 4, 4, 4, 2, 2)),
        (1024, 9, (2, 2, 2, 2, 4, 2, 2, 2, 2)),
        (4096, 3, (16, 16, 16)),
        (4096, 7, (2, 4, 4, 4, 4, 4, 2)),
        (4096, 9, (2, 2, 2, 4, 4, 4, 2, 2, 2)),
    ],
)
def test_the_authors_other_numbers_of_cores(size, n, expected):
    assert factors(size, n) == expected


@pytest.mark.parametrize("n, auxiliary", [(3, 25_600), (5, 148_880), (7, 346_720), (9, 418_336)])
def test_auxiliary_totals_of_the_ffn(n, auxiliary):
    plan = make_plan((3072, 768), n=n)
    d = plan.full_bonds
    assert plan.parameters(d) - math.prod(plan.core_shape(n // 2, d)) == auxiliary


def test_a_transposed_ffn_has_transposed_factors():
    for style in ("mpobert", "mpop"):
        plain, turned = make_plan((3072, 768), style=style), make_plan((768, 3072), style=style)
        assert (turned.rows, turned.cols) in [
            (plain.cols, plain.rows),
            (make_plan((768, 768), style=style).rows, plain.rows),
        ]


def test_every_entry_of_the_table_is_a_factorization():
    for (size, n), parts in FACTORS.items():
        assert len(parts) == n
        assert math.prod(parts) == size or (size, math.prod(parts)) == (30522, 30720)


@given(st.integers(1, 3000), st.integers(2, 9))
def test_any_other_size_gets_usable_factors(size, n):
    parts = factors(size, n)
    assert len(parts) == n and all(isinstance(p, int) and p >= 1 for p in parts)
    assert size <= math.prod(parts) <= size * (1 + MAX_PADDING)
    if (size, n) not in FACTORS:
        assert max(parts) == parts[n // 2], "the largest sits in the middle"


@given(st.integers(1, 360), st.integers(2, 4))
def test_unpadded_factors_are_the_most_balanced_there_are(size, n):
    parts = factors(size, n)
    if math.prod(parts) != size or (size, n) in FACTORS:
        return
    divisors = [d for d in range(1, size + 1) if size % d == 0]
    choices = [c for c in itertools.combinations_with_replacement(divisors, n) if math.prod(c) == size]
    assert max(parts) == min(max(c) for c in choices)
    assert min(parts) == max(min(c) for c in choices if max(c) == max(parts))


@given(st.integers(33, 3000), st.integers(2, 5))
def test_padding_happens_only_where_it_helps(size, n):
    parts = factors(size, n)
    if math.prod(parts) == size or (size, n) in FACTORS:
        return
    divisors = [d for d in range(1, size + 1) if size % d == 0]

    def search(rest: int, left: int, low: int) -> bool:
        """Is there a factorization of the size itself within a factor of four?"""
        if left == 0:
            return rest == 1
        return any(search(rest // d, left - 1, low) for d in divisors if low <= d <= 4 * low and rest % d == 0)

    assert not any(search(size // low, n - 1, low) for low in divisors)
    assert max(parts) <= 4 * min(parts)


def test_sizes_without_factors_are_padded():
    for prime in (127, 251, 769, 1009, 30011):
        parts = factors(prime, 5)
        assert prime < math.prod(parts) <= prime * 9 / 8 and max(parts) <= 4 * min(parts)


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=2, max_size=9))
def test_full_bonds_are_eq_2(pairs):
    rows, cols = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
    plan = make_plan((math.prod(rows), math.prod(cols)), rows=rows, cols=cols)
    for k in range(plan.n + 1):
        left = math.prod(rows[:k]) * math.prod(cols[:k])
        right = math.prod(rows[k:]) * math.prod(cols[k:])
        assert plan.full_bonds[k] == min(left, right)
    assert plan.padded == plan.shape and not plan.is_padded


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9)), min_size=2, max_size=9))
def test_parameters_and_ratio_are_eq_5(triples):
    rows, cols = tuple(t[0] for t in triples), tuple(t[1] for t in triples)
    bonds = [1, *(t[2] for t in triples[1:]), 1]
    plan = Plan(rows, cols, (math.prod(rows), math.prod(cols)))
    numbers = sum(bonds[k] * rows[k] * cols[k] * bonds[k + 1] for k in range(plan.n))
    assert plan.parameters(bonds) == numbers
    assert plan.ratio(bonds) == numbers / (math.prod(rows) * math.prod(cols))
    for k in range(plan.n):
        assert plan.core_shape(k, bonds) == (bonds[k], rows[k], cols[k], bonds[k + 1])


@pytest.mark.parametrize("n, centre", [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3), (8, 4), (9, 4)])
def test_the_centre_is_in_the_middle_or_right_of_the_middle_bond(n, centre):
    assert make_plan((512, 512), n=n).centre == centre


def test_given_factors_are_taken_and_decide_n():
    plan = make_plan((24, 30), rows=(2, 3, 4), cols=(5, 2, 3), n=5)
    assert (plan.rows, plan.cols, plan.n) == ((2, 3, 4), (5, 2, 3), 3)
    plan = make_plan((24, 30), rows=[24, 1])
    assert plan.rows == (24, 1) and plan.n == 2 and math.prod(plan.cols) == 30
    plan = make_plan((24, 30), cols=[5, 2, 3])
    assert plan.cols == (5, 2, 3) and len(plan.rows) == 3 and math.prod(plan.rows) == 24


def test_given_factors_may_pad():
    plan = make_plan((23, 30), rows=(2, 3, 4), cols=(5, 2, 3))
    assert plan.padded == (24, 30) and plan.shape == (23, 30) and plan.is_padded


def test_a_plan_prints_its_factors():
    assert str(make_plan((24, 30), rows=(2, 3, 4), cols=(5, 2, 3))) == "2·3·4 × 5·2·3"
