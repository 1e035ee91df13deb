"""Equations and algorithms of the papers, worked out on small matrices or models: the lines of `Arithmetic`.

Everything is seeded and takes well under a second.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import torch

from ..cost import dense_flops, rebuild_flops, table_2
from ..gradient_mask import GradientMask
from ..mpo import MPO
from ..mpobert_config import MATRICES, MPOBertConfig
from ..papers import printed
from ..plans import Plan, make_plan
from . import counts
from .arithmetic import Line, number
from .counts import MILLION

EXACTLY = 1e-12
"""Relative Frobenius error of a float64 matrix that is rebuilt from its tensors."""

SOURCE_CENTRE = 0.5
"""Of the scalar model: the appendix wants it positive and below 1."""

FFN, ATTENTION, EMBEDDING = (3072, 768), (768, 768), (30000, 128)


def _gaussian(rows: int = 48, cols: int = 60, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _rebuilt(method: str) -> Line:
    W = _gaussian()
    error = float((MPO.decompose(W, method=method).to_matrix() - W).norm() / W.norm())
    return Line(f"{method}: relative error", "below 1e-12" if error < EXACTLY else f"{error:.1e}", error < EXACTLY)


def rebuilding() -> list[Line]:
    """Eq. 1: the product of the tensors against the matrix."""
    return [_rebuilt("centre")]


def left_to_right() -> list[Line]:
    """Algorithm 1 without and with its last line, "Normalization"."""
    return [_rebuilt("left_to_right"), _rebuilt("symmetric")]


def bonds_needed() -> list[Line]:
    """Eq. 2 against the ranks of a Gaussian matrix's unfoldings."""
    from ..decomposition import to_tensor

    W = _gaussian()
    plan = make_plan(tuple(W.shape), n=5)
    tensor, ranks = to_tensor(W, plan), []
    for k in range(1, plan.n):
        ranks.append(int(torch.linalg.matrix_rank(tensor.reshape(math.prod(plan.sizes[:k]), -1))))
    shown = "-".join(map(str, ranks))
    return [Line("ranks of the unfoldings", shown, ranks == list(plan.full_bonds[1:-1]))]


def bonds_in_the_middle() -> list[Line]:
    """That the bonds of the authors' plans rise to one beside the central tensor and fall after it."""
    lines = []
    for name, shape in (("FFN", FFN), ("attention", ATTENTION), ("embedding", EMBEDDING)):
        plan = make_plan(shape, n=5, style="mpop")
        bonds = list(plan.full_bonds)
        top = bonds.index(max(bonds))
        rises = bonds[: top + 1] == sorted(bonds[: top + 1]) and bonds[top:] == sorted(bonds[top:], reverse=True)
        beside = top in (plan.centre, plan.centre + 1)  # of a core k the bonds are k and k + 1
        lines.append(Line(name, "-".join(map(str, bonds[1:-1])), rises and beside))
    return lines


def most_in_the_centre() -> list[Line]:
    """MPOP's plans at full bonds."""
    lines = []
    for name, shape in (("FFN", FFN), ("attention", ATTENTION), ("embedding", EMBEDDING)):
        centre, auxiliary = counts.core_sizes(shape, "mpop")
        lines.append(Line(name, f"{100 * centre / (centre + auxiliary):.1f} %", centre > auxiliary))
    return lines


def falls_outwards(plan: Plan) -> tuple[bool, list[int]]:
    """(whether cores become smaller from the middle outwards, their sizes), at full bonds."""
    sizes = [math.prod(plan.core_shape(k, plan.full_bonds)) for k in range(plan.n)]
    left, right = sizes[plan.centre :: -1], sizes[plan.centre :]
    return all(a > b for side in (left, right) for a, b in pairwise(side)), sizes


def largest_in_the_middle() -> list[Line]:
    """Of MPOBERT's matrices and numbers of tensors, with balanced factors."""
    plans = [make_plan(shape, n=n, style="mpobert") for shape in (ATTENTION, FFN, (1024, 1024), (4096, 1024))
             for n in (3, 5, 7, 9)]  # fmt: skip
    falls = sum(falls_outwards(plan)[0] for plan in plans)
    return [Line("balanced factors of four matrices, n = 3, 5, 7, 9:", f"{falls} of {len(plans)}",
                 falls == len(plans))]  # fmt: skip


@cache
def _cuts() -> tuple[tuple[int, MPO], ...]:
    """A Gaussian 768 x 3072 matrix, cut at several bonds, the last one at none."""
    mpo = MPO.decompose(_gaussian(768, 3072).float())
    return tuple((bond, mpo.truncate(bond=bond)) for bond in (1, 16, 64, max(mpo.full_bonds)))


def printed_range() -> list[Line]:
    """Eq. 3 taken literally, in eq. 4: is the measured error below it?"""
    lines = []
    for bond, mpo in _cuts():
        error, bound = mpo.error(), mpo.printed_bound()
        lines.append(Line(f"bonds {bond}: error {error:.2f}, eq. 3 gives", f"{bound:.2f}", error <= bound + 1e-6))
    return lines


def tight_range() -> list[Line]:
    """Eq. 4 with the discarded squares."""
    return [
        Line(f"bonds {bond}: error {mpo.error():.2f}, bound", f"{mpo.bound():.2f}", mpo.error() <= mpo.bound() + 1e-6)
        for bond, mpo in _cuts()
    ]


def error_over_ratio() -> list[Line]:
    """One cap on all bonds of a matrix, less and less small."""
    cuts = [(mpo.ratio, mpo.error()) for _, mpo in _cuts()]
    shown = ", ".join(f"{error:.4f} at rho = {ratio:.3g}" for ratio, error in cuts)
    falls = cuts == sorted(cuts) and [e for _, e in cuts] == sorted((e for _, e in cuts), reverse=True)
    return [Line("a Gaussian 768 x 3072 matrix, relative error", shown, falls)]


def ratio_counts() -> list[Line]:
    """Eq. 5 against the numbers in the cores; above 1 where nothing is cut."""
    mpo = MPO.decompose(_gaussian(96, 96)).truncate(bond=8)
    stored = sum(core.numel() for core in mpo.cores) / math.prod(mpo.shape)
    plan = make_plan(FFN, n=5, style="mpobert")
    return [
        Line("96 x 96, bonds 8:", f"{mpo.ratio:.3f}", math.isclose(mpo.ratio, stored)),
        Line("an FFN matrix at full bonds:", f"{plan.ratio(plan.full_bonds):.2f}", plan.ratio(plan.full_bonds) > 1),
    ]


def sum_of_squares() -> list[Line]:
    """The sentence behind eq. 4, which has the root: one matrix in two units, its error, and the sum of the squares."""
    W = _gaussian(96, 96)
    lines = []
    for unit in (float(W.norm()), 1.0):
        cut = MPO.decompose(W / unit).truncate(bond=20)
        norm = float(W.norm()) / unit
        error, squares = cut.error() * norm, (cut.bound() * norm) ** 2
        lines.append(Line(f"a matrix of norm {norm:.3g}, cut to bonds of 20: error {error:.2f}, sum of the squares",
                          f"{squares:.4g}", error <= squares))  # fmt: skip
    return lines


def reach_of_a_change() -> list[Line]:
    """Which share of a matrix changes if all numbers of one auxiliary tensor do."""
    found = [reached(k, slice(None)) for k in (0, 1, 3, 4)]
    return [Line("of a 96 x 96 matrix", f"at least {100 * min(found):.1f} % of the entries", min(found) > 0.99)]


def reached(core: int, numbers: slice) -> float:
    """The share of a matrix's entries that change with some numbers of one of its five tensors."""
    cores = [each.clone(memory_format=torch.contiguous_format) for each in MPO.decompose(_gaussian(96, 96)).cores]
    before = MPO.from_cores(cores).to_matrix()
    cores[core].view(-1)[numbers] *= 1.5
    change = (MPO.from_cores(cores).to_matrix() - before).abs()
    return float((change > 1e-12 * before.abs().max()).double().mean())


def entropies() -> list[Line]:
    """Eq. 6: does the entropy grow with the bond's dimension, for a Gaussian matrix and for a Kronecker product?"""
    plan = make_plan((96, 96), n=5)
    product = torch.ones(1, 1, dtype=torch.float64)
    for k, (i, j) in enumerate(zip(plan.rows, plan.cols)):
        product = torch.kron(product, _gaussian(i, j, seed=k))
    lines = []
    for name, W in (("a Gaussian matrix", _gaussian(96, 96)), ("a Kronecker product", product)):
        mpo = MPO.decompose(W)
        found = sorted(zip(mpo.full_bonds[1:-1], mpo.entropy()))
        grows = all(S < T - 1e-6 for (d, S), (e, T) in pairwise(found) if d < e)
        shown = ", ".join(f"S = {abs(S):.2f} at d = {d}" for d, S in found)
        lines.append(Line(f"{name}:", shown, grows))
    return lines


def information_of_tensors() -> list[Line]:
    """Eq. 6 as shares of tensors: by all bonds that a tensor has, and with each bond halved between its two."""
    mpo = MPO.decompose(_gaussian(96, 96))
    centre, bonds = mpo.plan.centre, [0.0, *mpo.entropy(), 0.0]  # of core k the bonds are k and k + 1
    shares = [100 * (left + right) / sum(bonds) for left, right in pairwise(bonds)]
    beside = shares[centre - 1], shares[centre + 1]
    halved = ", ".join(f"{share / 2:.0f}" for share in shares)
    return [
        Line("of a Gaussian 96 x 96 matrix, per cent of the entropy that the central tensor's bonds have:",
             f"{shares[centre]:.0f}", shares[centre] > 50),
        Line("and those of the tensors beside it:", "{:.0f} and {:.0f}".format(*beside), max(beside) < shares[centre]),
        Line("of each tensor with bonds halved:", halved, max(shares) == shares[centre]),
    ]  # fmt: skip


def two_readings() -> list[Line]:
    """Eq. 6 of one matrix, with its singular values as they are and with their squares, the eigenvalues of M M^T."""
    mpo = MPO.decompose(_gaussian(96, 96))
    straight, squared = (max(mpo.entropy(definition)) for definition in ("singular_values", "von_neumann"))
    return [
        Line("a Gaussian 96 x 96 matrix, its largest S:", f"{straight:.2f} of s, {squared:.2f} of s^2",
             math.isclose(straight, squared))
    ]  # fmt: skip


def stopping() -> list[Line]:
    """Algorithm 2: three steps with gaps of 0.1, 0.2 and 5 points, a threshold of 1: where does each rule stop?"""
    gaps, threshold = (0.1, 0.2, 5.0), 1.0
    text = next(k for k, gap in enumerate(gaps, 1) if gap < threshold)
    listing = next(k for k, gap in enumerate(gaps, 1) if gap > threshold)
    return [Line("gaps of 0.1, 0.2 and 5 points, threshold 1:", f"after {text} (text), {listing} (listing) steps",
                 text == listing)]  # fmt: skip


def mpo_beside_tucker() -> list[Line]:
    """Table 2's expressions for an FFN matrix at MPOP's smallest cap, d = 208, the smallest d that will do, and what is
    counted once the activations are carried along.
    """
    lines = []
    for n in (4, 5, 7, 9):
        plan = make_plan(FFN, n=n)

        def below(d: int, plan=plan) -> bool:
            values = {row.method: row.printed for row in table_2(plan, d)}
            return values["MPO"] < values["Tucker"]

        least = next(d for d in range(2, 257) if below(d))
        lines.append(Line(f"n = {n}:", f"from d = {least} on", below(208)))
    plan, d = make_plan(FFN, n=5), 64
    exact = {row.method: row.exact / MILLION for row in table_2(plan, d)}
    dense = math.prod(FFN) / MILLION
    counted = f"MPO {exact['MPO']:.0f}, Tucker {exact['Tucker']:,.0f}, dense {dense:.1f}"
    lines.append(Line(f"counted at n = 5, d = {d}, million multiply-adds a token:", counted,
                      exact["MPO"] < exact["Tucker"]))  # fmt: skip
    return lines


def cp_as_tucker() -> list[Line]:
    """MPOP Table 2's "Tucker (d=1) (CP)": a tensor (3, 3, 3) made as CP of rank 3, by the best Tucker decomposition
    whose ranks are 1. (As the terms are orthogonal, the first singular vectors of the unfoldings give the best.)
    """
    weights, basis = (3.0, 2.0, 1.0), torch.eye(3, dtype=torch.float64)
    tensor = sum(w * torch.einsum("i,j,k->ijk", e, e, e) for w, e in zip(weights, basis))
    vectors = [torch.linalg.svd(tensor.movedim(k, 0).reshape(3, -1))[0][:, 0] for k in range(3)]  # (3,) a leg
    core = torch.einsum("ijk,i,j,k->", tensor, *vectors)
    tucker = core * torch.einsum("i,j,k->ijk", *vectors)
    error = float((tucker - tensor).norm() / tensor.norm())
    return [
        Line("relative error of Tucker with d = 1 for a sum of three terms, as CP is:", f"{error:.2f}", error < EXACTLY)
    ]


def _made_of(plan: Plan, bond: int, seed: int = 0) -> torch.Tensor:
    """The matrix of Gaussian tensors whose bonds are `bond`, or those of eq. 2 where these are smaller."""
    generator = torch.Generator().manual_seed(seed)
    bonds = [min(bond, full) for full in plan.full_bonds]
    return MPO.from_cores(
        [torch.randn(plan.core_shape(k, bonds), generator=generator, dtype=torch.float64) for k in range(plan.n)]
    ).to_matrix()


def more_tensors() -> list[Line]:
    """Table 2's d in common: the numbers of an FFN matrix that is cut there at every n, and how well three tensors and
    five do for each other, where the outer legs of the three are two of the five's.
    """
    plans, d = [make_plan(FFN, n=n) for n in (3, 5, 7)], 64
    counted = [plan.parameters([min(d, full) for full in plan.full_bonds]) / MILLION for plan in plans]
    five = make_plan((96, 96), n=5)
    joined = [[legs[0] * legs[1], legs[2], legs[3] * legs[4]] for legs in (five.rows, five.cols)]
    three = make_plan((96, 96), rows=joined[0], cols=joined[1])
    few, many = (
        MPO.decompose(_made_of(of, 2), rows=by.rows, cols=by.cols).truncate(bond=2).error()
        for of, by in ((five, three), (three, five))
    )
    shown = ", ".join(f"{count:.2f}" for count in counted)
    said = "below 1e-12" if few < EXACTLY else f"{few:.2f}"
    return [
        Line(f"an FFN matrix at d = {d}, n = 3, 5 and 7, million numbers:", shown, counted == sorted(counted)),
        Line("relative error of three tensors for a matrix of five, bonds of 2:", f"{said}, of five for one of three "
             f"{many:.2f}", few > many),
    ]  # fmt: skip


def time_over_n() -> list[Line]:
    """Three, five and seven tensors with bonds up to MPOP's smallest cap, of an FFN matrix and of BERT's embedding, to
    which the paper's sentence belongs: n m by Table 2, times d^3 each, and what is counted.
    """
    ns, d, lines = (3, 5, 7), 208, []
    for about, shape in (("an FFN matrix", FFN), ("BERT's embedding", (30522, 768))):
        rows = [next(row for row in table_2(make_plan(shape, n=n), d) if row.method == "MPO") for n in ns]
        for what, values in (
            ("n m for n = 3, 5 and 7", [row.printed / d**3 for row in rows]),
            ("counted, million multiply-adds a token", [row.exact / MILLION for row in rows]),
        ):
            shown = ", ".join(f"{value:.0f}" for value in values)
            lines.append(Line(f"{about}, {what}:", shown, values == sorted(values)))
    return lines


def memory_of_tucker() -> list[Line]:
    """Of BERT's embedding with five legs, in numbers: the core at the largest ranks that it can have, and as Table 2
    counts it, d^n, at MPOP's smallest cap.
    """
    plan, d = make_plan((30522, 768), n=5), 208
    matrix = math.prod(plan.rows) * math.prod(plan.cols)
    core, factors = math.prod(plan.sizes), sum(size**2 for size in plan.sizes)
    largest = f"{(core + factors) / MILLION:.1f} M, as {core / matrix:.2f} of the padded matrix"
    return [
        Line(f"Table 2's d^n at d = {d}, n = 5:", f"{d**5 / MILLION:,.0f} M numbers", d**5 > 10 * matrix),
        Line(f"with ranks up to {max(plan.sizes)}, which is all that the legs have:", largest, core > 10 * matrix),
    ]


def svd_is_mpo() -> list[Line]:
    """The spectrum of the one bond of an MPO with factors (I, 1) and (1, J) beside the singular values."""
    W = _gaussian()
    rows, cols = W.shape
    mpo = MPO.decompose(W, n=2, rows=(rows, 1), cols=(1, cols), method="left_to_right")
    gap = float((mpo.spectra[0] - torch.linalg.svdvals(W)).abs().max())
    return [Line("with the factors (I, 1) and (1, J) the spectra", "agree" if gap < 1e-9 else "differ", gap < 1e-9)]


def central_share() -> list[Line]:
    """Of the six matrices of an MPOBERT layer of hidden size 768."""
    attention, ffn = counts.core_sizes(ATTENTION), counts.core_sizes(FFN)
    lines = [
        Line(name, f"{100 * centre / (centre + auxiliary):.1f} %", centre / (centre + auxiliary) > 0.9)
        for name, (centre, auxiliary) in (("attention", attention), ("FFN", ffn))
    ]
    centre, auxiliary = (4 * attention[k] + 2 * ffn[k] for k in (0, 1))
    lines.append(Line("a whole layer", f"{100 * centre / (centre + auxiliary):.1f} %", centre > 9 * auxiliary))
    return lines


def scalar_update() -> list[Line]:
    """Corollary A.2 in its own model: what the auxiliary numbers' update does from 3 layers to 96, and the centre's."""
    from ..depth import scalar_update as update

    first, last = (update(depth, "theory", "corollary", n=3) for depth in (3, 96))
    return [
        Line(f"{part} at 3 and 96 layers", f"{getattr(first, part):.2f}, {getattr(last, part):.2f}",
             getattr(last, part) <= 1.1 * getattr(first, part))
        for part in ("auxiliary", "centre")
    ]  # fmt: skip


def _scaled(depth: int) -> tuple[float, float]:
    """(u = v, theta) of Corollary A.2's scalar model with the centre 0.5."""
    u = (2 * depth) ** -0.25
    return u, u * SOURCE_CENTRE * u


def scalar_bound() -> list[Line]:
    """Theorem A.1 in eq. 5's own model, x_1 = 1: every number a millionth larger; the change of F and the sum."""
    lines, step = [], 1e-6
    for depth in (3, 12, 48):
        u, theta = _scaled(depth)
        changed = (u + step) * (SOURCE_CENTRE + step) * (u + step)
        F, after = (((1 + t) / math.sqrt(1 + t**2)) ** depth for t in (theta, changed))
        bound = depth * step * (2 * SOURCE_CENTRE * u + u * u)
        lines.append(Line(f"{depth} layers: change / bound", f"{(after - F) / bound:.2f}", after - F <= bound))
    return lines


def last_derivative() -> list[Line]:
    """Of a sub-layer by its weight, eq. 8 with x = 1, beside what the proof of the corollary has for it, theta."""
    ratios = {}
    for depth in (3, 48):
        _, theta = _scaled(depth)
        ratios[depth] = theta / ((1 - theta) / (1 + theta**2) ** 1.5)
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios.values())
    alike = max(ratios.values()) <= 1.1 * min(ratios.values())
    return [Line("theta_N / eq. 8 at 3 and 48 layers, alike if both are of one size:", shown, alike)]


def _last_query(init: str, n: int, depth: int) -> torch.Tensor:
    """The query matrix of the last layer of a small MPOBERT all of whose layers count as being above the source's."""
    from ..depth import random_albert
    from ..mpobert import MPOBertModel
    from ..mpobert_init import config_from, initialise

    source = random_albert(seed=0)
    with torch.random.fork_rng(devices=[]):
        model = MPOBertModel(config_from(source, depth, mpo_n=n)).double()
    initialise(model, source, init, seed=0, start=0)
    own = list(model.encoder.layers[-1].matrices["query"].mpo.auxiliary)
    own.insert(n // 2, model.encoder.groups[0].query)
    return MPO.from_cores([core.detach() for core in own]).to_matrix()


def text_and_listing(depth: int = 12) -> list[Line]:
    """MPOBERT section 3.3.1 beside Algorithm 1: the cosine of a matrix above ALBERT's depth with ALBERT's own."""
    albert = _last_query("copy", 5, depth)
    lines = []
    for about, init in (("the text's random auxiliaries:", "paper_text"), ("the listing's, ALBERT's:", "algorithm1")):
        W = _last_query(init, 5, depth)
        cosine = float((W * albert).sum() / (W.norm() * albert.norm()))
        lines.append(Line(f"cosine with ALBERT's matrix, {about}", f"{cosine:.2f}", math.isclose(cosine, 1)))
    return lines


def algorithm_1_scale(depth: int = 12) -> list[Line]:
    """How much smaller a matrix becomes by MPOBERT's Algorithm 1 at n = 3 and 5, beside the theory's (2L)^(-1/2)."""
    lines = []
    wanted = (2 * depth) ** -0.5
    for n in (3, 5):
        factor = float(_last_query("algorithm1", n, depth).norm() / _last_query("copy", n, depth).norm())
        lines.append(Line(f"n = {n}, {depth} layers: times", f"{factor:.3f} where {wanted:.3f} is meant",
                          math.isclose(factor, wanted, rel_tol=1e-6)))  # fmt: skip
    return lines


def updates_of_the_listing(depth: int = 12) -> list[Line]:
    """MPOBERT Algorithm 1, line 14: how many numbers a step on the query matrices of all layers sets, and how many
    their tensors have.
    """
    centre, auxiliary = counts.core_sizes(ATTENTION)
    of_W, of_tensors = depth * math.prod(ATTENTION) / MILLION, (centre + depth * auxiliary) / MILLION
    shown = f"{of_W:.1f} M by the listing, {of_tensors:.1f} M of their tensors"
    return [Line(f"numbers of {depth} query matrices that a step sets:", shown, of_W == of_tensors)]


def rebuilding_in_a_step() -> list[Line]:
    """Making all of MPOBERT48's matrices once, beside multiplying the tokens with them, in a forward pass of the
    paper's batch; of several devices each makes its own. Backward, either costs twice as much again. What else a layer
    computes would only add to the tokens' part.
    """
    rows, devices, length = 4096, 8, 128
    config = MPOBertConfig.preset("mpobert-48")
    rebuilt = sum(rebuild_flops(config.plan(name), config.bonds(name)) for name in MATRICES)
    of_a_row = length * sum(dense_flops(config.plan(name), 1) for name in MATRICES)
    lines = []
    for about, met in (("one device", rows), (f"{devices} devices", rows // devices)):
        share = rebuilt / (met * of_a_row)
        lines.append(Line(f"of {rows:,} rows of {length} tokens on {about}, per cent:", f"{100 * share:.2f}",
                          share < 0.1))  # fmt: skip
    least = math.floor(10 * rebuilt / of_a_row) + 1
    return [*lines, Line("less than a tenth where a device takes", f"{least} rows at once", least <= rows // devices)]


def zero_gradient() -> list[Line]:
    """Eq. 4 under Adam: how far a parameter moves in a step whose gradient is zero, and in one that has none."""
    moved = {}
    for name, masked in (("a zero gradient", torch.zeros(1)), ("no gradient", None)):
        parameter = torch.nn.Parameter(torch.ones(1))
        optimiser = torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.0)
        parameter.grad = torch.ones(1)
        optimiser.step()
        before = parameter.detach().clone()
        parameter.grad = masked
        optimiser.step()
        moved[name] = float((parameter.detach() - before).abs()) / 1e-3
    return [Line(f"with {name} it moves by", f"{value:.2f} lr", value == 0) for name, value in moved.items()]


def orders_of_magnitude() -> list[Line]:
    """A T5 FFN's central tensor beside all its auxiliary ones together."""
    centre, auxiliary = counts.core_sizes(FFN, "mpop")
    return [Line("an FFN matrix of T5:", f"{centre / auxiliary:.1f} times", round(math.log10(centre / auxiliary)) >= 2)]


def gamma_of() -> list[Line]:
    """Of T5-base's experts; the other way to divide is shown beside it."""
    ratio = counts.gamma("t5-base")
    agrees = number("", 12, 1 / ratio, 0).agrees
    return [Line("auxiliary tensors by the central one, and that by them:", f"{1 / ratio:.3f}, {ratio:.1f}", agrees)]


def reach_of_auxiliaries() -> list[Line]:
    """Numbers that auxiliary tensors have, and those of the matrix, of T5-base's FFN."""
    _, auxiliary = counts.core_sizes(FFN, "mpop")
    size = math.prod(FFN)
    return [Line("numbers of the auxiliary tensors, and of the matrix:", f"{auxiliary:,} and {size:,}",
                 auxiliary >= size)]  # fmt: skip


def share_of_updates(steps: int = 1000) -> list[Line]:
    """How often this package's mask, which is eq. 4's, leaves the centre its update."""
    lines = []
    for p in (0.25, 0.75):
        mask = GradientMask(torch.nn.Identity(), p, tensors={"centre": torch.nn.Parameter(torch.ones(1))})
        updated = sum(not mask.masked(step) for step in range(steps)) / steps
        lines.append(Line(f"p_b = {p:g}, share of steps that update it:", f"{updated:.2f}", abs(updated - p) < 0.05))
    return lines


def ratio_of_sharing() -> list[Line]:
    """(n + gamma) / (n (gamma + 1)), MPOE section 3.1, at the printed gamma and at that of T5-base's experts."""

    def ratio(gamma: float, n: int = 8) -> float:
        return (n + gamma) / (n * (gamma + 1))

    true = counts.gamma("t5-base")
    return [number("gamma = 12:", 0.19, ratio(12), 2), number(f"gamma = {true:.2f}:", 0.19, ratio(true), 2)]


def ratio_with_more_experts() -> list[Line]:
    """T5-base with experts that share centres, by T5-base with separate ones: all parameters, counted."""
    ratios = [counts.moe("t5-base", "mpoe", n) / counts.moe("t5-base", "switch", n) for n in (4, 8, 16, 32)]
    shown = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    return [Line("T5-base, n = 4, 8, 16, 32:", shown, ratios == sorted(ratios, reverse=True))]


def adapters() -> list[Line]:
    """L r d_total beside what a rank adds to MPOBERT12 by Tables 4 and 5, and to this package's."""
    without = printed("mpobert-tab4", "w/o Adapter", "#To")
    lines = []
    for rank in (8, 64):
        by_formula = 12 * rank * (768 + 768) / MILLION
        by_print = printed("mpobert-tab5", str(rank), "#To") - without
        counted = counts.mpobert("mpobert-12", adapter_rank=rank) - counts.mpobert("mpobert-12")
        lines.append(Line(f"rank {rank}:", f"{by_formula:.2f} M, by the tables {by_print:.1f}, counted {counted:.2f}",
                          abs(by_formula - by_print) < 0.1))  # fmt: skip
    return lines


def numbers_of_sharing() -> list[Line]:
    """Eight experts of T5-base's FFN: numbers that are stored of a matrix; largely is taken to be by half or more."""
    centre, auxiliary = counts.core_sizes(FFN, "mpop")
    shared, separate = centre + 8 * auxiliary, 8 * math.prod(FFN)
    return [Line("million numbers of a matrix, shared and separate:",
                 f"{shared / MILLION:.1f} and {separate / MILLION:.1f}", shared < separate / 2)]  # fmt: skip


def distinct(what: str, first: float, second: float) -> Line:
    """Two printed numbers that are said to be the same."""
    return Line(what, f"{first:g} and {second:g}", first == second)
