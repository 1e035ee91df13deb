"""The size of one update: the appendix by hand and by finite steps, an encoder by torch's own optimizer, the record."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from scipy.stats import linregress
from torch import nn
from transformers import AlbertConfig, AlbertForMaskedLM

from mpolab import depth, runs
from mpolab.depth import DEPTHS, PARTS, READINGS, Slope, Study, fit, random_albert, scalar_update, study, update_size
from mpolab.errors import BondError, CheckpointError, DataError, DataNotFoundError, MatrixTypeError, UnknownNameError
from mpolab.mpobert import MPOBertModel
from mpolab.mpobert_config import MATRICES
from mpolab.mpobert_init import INITS, initialise

PARTS_ALONE = ("auxiliary", "centre")

# -- the scalar model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", DEPTHS)
def test_the_corollary_as_printed(layers):
    """Eq. 16: the sum of (v^2 + u^2) uN vN = L * 2 (2L)^(-1/2) (2L)^(-1/2) = 1. The centre's terms, left out there:
    the sum of vi ui |c* - c|, with |c* - c| the sum of thetaN ui vi, is (L (2L)^(-1/2)) (L / 2L)."""
    update = scalar_update(layers, "theory", "corollary", n=3)
    assert update.auxiliary == pytest.approx(1.0, abs=1e-12)
    assert update.centre == pytest.approx(layers / math.sqrt(2 * layers) / 2, rel=1e-12)
    assert update.together == pytest.approx(update.auxiliary + update.centre)


def test_the_corollary_s_centre_is_0_61_and_3_46():
    assert [round(scalar_update(L, "algorithm1").centre, 2) for L in (3, 96)] == [0.61, 3.46]


def stepped(reading, layers, power, n, start, optimiser, moving, eta=1e-7, c=0.5):
    """(F(theta) - F(theta after a step)) / eta with autograd's gradient and a real step; F is to be made smaller.

    The chain's F is eq. 5's. With every x_l = 1 eq. 8 is the derivative of a sum over layers.
    """
    matrices = 2 if reading == "two matrices" else 1
    a = torch.ones(layers, matrices, n - 1, dtype=torch.float64)
    a[start:] = (2 * layers) ** -power
    centre = torch.full((matrices,), c, dtype=torch.float64)
    a.requires_grad_(True), centre.requires_grad_(True)

    def F(a, centre):
        theta = (a.prod(2) * centre).prod(1)
        each = (1 + theta) / (1 + theta**2).sqrt()
        return each.prod() if reading == "chain" else each.sum()

    before = F(a, centre)
    steps = torch.autograd.grad(before, (a, centre)) if optimiser == "SGD" else (a.detach(), centre.detach())
    with torch.no_grad():
        after = F(a - eta * steps[0] * ("auxiliary" in moving), centre - eta * steps[1] * ("centre" in moving))
    return float(before.detach() - after) / eta


@pytest.mark.parametrize("optimiser", depth.OPTIMISERS)
@pytest.mark.parametrize("reading", READINGS[1:])
@pytest.mark.parametrize(
    "init, n, power", [("copy", 3, 0), ("algorithm1", 5, 0.25), ("theory", 5, 0.125), ("theory", 7, 1 / 12)]
)
def test_the_closed_forms_are_finite_steps(reading, init, n, power, optimiser):
    for layers, start in ((5, 0), (9, 3)):
        update = scalar_update(layers, init, reading, n, start, optimiser)
        moving = {"auxiliary": ("auxiliary",), "centre": ("centre",), "together": PARTS_ALONE}
        for part, tensors in moving.items():
            found = stepped(reading, layers, power, n, start, optimiser, tensors)
            assert getattr(update, part) == pytest.approx(found, rel=2e-4), part


def test_the_corollary_under_lamb_and_above_the_source():
    layers, start, scale = 7, 3, 14**-0.125  # n = 5: each of four numbers
    theta = [1.0] * start + [scale**4] * (layers - start)
    sgd = scalar_update(layers, "theory", "corollary", 5, start)
    auxiliary = sum(4 * (t / a) ** 2 * theta[-1] for t, a in zip(theta, [1.0] * 3 + [scale] * 4))
    assert sgd.auxiliary == pytest.approx(auxiliary) and sgd.centre == pytest.approx(sum(theta) ** 2 * theta[-1])
    lamb = scalar_update(layers, "theory", "corollary", 5, start, "LAMB")
    assert lamb.auxiliary == pytest.approx(4 * sum(theta)) and lamb.centre == pytest.approx(sum(theta))


def test_two_names_are_one_in_the_scalar_model():
    for n in (3, 5):
        for one, other in (("copy", "xavier"), ("algorithm1", "paper_text")):
            assert scalar_update(12, one, "theorem", n) == scalar_update(12, other, "theorem", n)
    assert scalar_update(12, "theory", n=3) == scalar_update(12, "algorithm1", n=3)
    assert scalar_update(12, "theory", n=5) != scalar_update(12, "algorithm1", n=5)
    found = study((3, 6, 12), ("paper_text", "algorithm1"), ("theorem",), (5,))
    assert len(found.curves) == 4  # two choices of layers, two optimisers
    at = (5, "paper_text", "all layers", "SGD")
    assert found.curve("theorem", *at).updates["centre"][1][0] == pytest.approx(
        scalar_update(6, "paper_text", "theorem", 5).centre, rel=1e-5
    )


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"depth": 3, "n": 4}, {"depth": 3, "c": 0.0}, {"depth": 3, "n": 1}])
def test_a_scalar_model_that_cannot_be(wrong):
    with pytest.raises(BondError, match="odd n"):
        scalar_update(**wrong)


def test_unknown_names_say_what_there_is():
    for values, known in (
        ({"init": "theroy"}, "theory"),
        ({"reading": "lemma"}, "corollary"),
        ({"optimiser": "adam"}, "LAMB"),
    ):
        with pytest.raises(UnknownNameError, match=known):
            scalar_update(3, **values)
    for values in ({"inits": ["no"]}, {"models": ["no"]}, {"scaled": ["no"]}, {"optimisers": ["no"]}):
        with pytest.raises(UnknownNameError, match="'no'"):
            study(depths=(3, 6, 12), **values)


# -- an encoder ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder():
    """(model, ids, readout): six layers above a source of three, each initialised as the theory wants it."""
    source = random_albert(5, hidden=16, depth=3)
    model = MPOBertModel.from_albert(source, num_layers=6, init="theory", seed=1).double()
    generator = torch.Generator().manual_seed(3)
    readout = torch.randn(16, generator=generator, dtype=torch.float64)
    return model, torch.randint(64, (2, 5), generator=generator), readout / readout.norm()


def auxiliary_and_centre(model):
    found = {"auxiliary": [], "centre": []}
    for name, parameter in model.encoder.named_parameters():
        if ".mpo.A" in name:
            found["auxiliary"].append(parameter)
        elif name.startswith("groups."):
            found["centre"].append(parameter)
    return found


def moved_by(model, ids, readout, optimiser, part, eta):
    """||dF|| / eta by a training step: torch's SGD, or LAMB's formula written out."""
    model = copy.deepcopy(model).eval()
    parts = auxiliary_and_centre(model)
    moving = [*parts["auxiliary"], *parts["centre"]] if part == "together" else parts[part]
    before = model(ids).last_hidden_state
    (before @ readout).mean().backward()
    if optimiser == "SGD":
        torch.optim.SGD(moving, lr=eta).step()
    else:
        with torch.no_grad():
            for p in moving:
                u = 0.1 * p.grad / (0.001 * p.grad**2).sqrt()
                p -= eta * float(p.norm() / u.norm()) * u  # within 0.01 .. 0.3 here
    change = (model(ids).last_hidden_state - before).detach()
    return float(change.norm(dim=-1).square().mean().sqrt()) / eta


@pytest.mark.parametrize("optimiser", depth.OPTIMISERS)
def test_the_update_is_that_of_a_training_step(encoder, optimiser):
    update = update_size(*encoder, optimiser)
    for part in PARTS:
        assert getattr(update, part) == pytest.approx(moved_by(*encoder, optimiser, part, 1e-7), rel=1e-3), part
    assert update.together < update.auxiliary + update.centre
    large = update_size(*encoder, optimiser, eta=1e-7)
    assert large.together == pytest.approx(update.together, rel=1e-3)


def test_every_tensor_moves_once(encoder):
    found = depth.tensors(encoder[0])
    assert [len(found[part]) for part in PARTS_ALONE] == [6 * len(MATRICES) * 4, len(MATRICES)]
    expected = auxiliary_and_centre(encoder[0])
    assert all({id(p) for p in found[part]} == {id(p) for p in expected[part]} for part in PARTS_ALONE)


def test_the_model_is_the_same_afterwards(encoder):
    model = copy.deepcopy(encoder[0]).train()
    centre = depth.tensors(model)["centre"]
    for parameter in centre:
        parameter.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert update_size(model, *encoder[1:]) == update_size(*encoder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and not any(p.requires_grad for p in centre) and model.encoder.layers[0].training
    assert all(p.grad is None for p in model.parameters())


def test_a_loss_that_nothing_changes(encoder):
    model, ids, readout = encoder
    assert update_size(model, ids, 0 * readout) == depth.Update(0.0, 0.0, 0.0)


def test_single_precision_is_refused(encoder):
    with pytest.raises(MatrixTypeError, match=r"model\.double"):
        update_size(copy.deepcopy(encoder[0]).float(), *encoder[1:])


# -- slopes ------------------------------------------------------------------------------------------------


def test_slopes_are_scipy_s():
    generator = torch.Generator().manual_seed(0)
    sizes = (torch.randn(5, 4, generator=generator).exp() * 3).tolist()
    x = [math.log(L) for L in (3, 6, 12, 24, 96)]
    found = fit((3, 6, 12, 24, 96), sizes)
    line = linregress(x, [sum(map(math.log, row)) / 4 for row in sizes])
    assert found.value == pytest.approx(line.slope) and found.error == pytest.approx(line.stderr)
    assert found.at_one == pytest.approx(math.exp(line.intercept))
    single = torch.tensor([linregress(x, [math.log(row[k]) for row in sizes]).slope for k in range(4)])
    assert found.seed_error == pytest.approx(float(single.std()) / 2)


def test_a_power_is_found_and_said():
    for power, says in ((0.5, "grows"), (0.02, "level"), (0.0, "level"), (-2.5, "shrinks")):
        slope = fit((3, 6, 12), [[7 * L**power] for L in (3, 6, 12)])
        assert slope.value == pytest.approx(power, abs=1e-12) and slope.error == pytest.approx(0, abs=1e-9)
        assert slope.at_one == pytest.approx(7) and slope.seed_error == 0 and slope.says == says
    assert Slope(0.5, 0.3, 0.1, 1.0).says == Slope(-0.5, 0.1, 0.3, 1.0).says == "unclear"
    assert Slope(0.1, 0.06, 0.0, 1.0).says == "level" and Slope(-0.6, 0.1, 0.2, 1.0).says == "shrinks"


@pytest.mark.parametrize(
    "depths, sizes", [((3, 6), [[1.0], [2.0]]), ((3, 3, 6), [[1.0]] * 3), ((3, 6, 12), [[1.0], [0.0], [2.0]])]
)
def test_no_slope_without_three_depths_and_sizes(depths, sizes):
    with pytest.raises(DataError, match=r"slope|slopes"):
        fit(depths, sizes)


# -- a study -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return study((3, 6, 12), models=("encoder",), n=(5,), optimisers=("SGD",), seeds=(0, 1), hidden=32)


@pytest.mark.parametrize("init", ["algorithm1", "theory"])
def test_an_encoder_follows_the_model_with_two_matrices(small, init):
    """A branch is its two matrices multiplied, each scaled; its gradient is that over the scale of the tensor."""
    encoder = small.curve("encoder", 5, init, "all layers", "SGD")
    scalar = study(models=("two matrices",)).curve("two matrices", 5, init, "all layers", "SGD")
    for part in PARTS_ALONE:
        assert encoder.slope(part).value == pytest.approx(scalar.slope(part).value, abs=0.15)


def test_what_scaling_changes_and_what_not(small):
    curves = {(c.init, c.scaled): c.updates for c in small.curves}
    assert set(curves) == {(init, scaled) for init in INITS for scaled in depth.SCALED}
    assert curves["copy", "all layers"] == curves["copy", "above the source"]
    for init in INITS:
        for part in PARTS:
            above, every = curves[init, "above the source"][part], curves[init, "all layers"][part]
            assert above[0] == curves["copy", "all layers"][part][0]  # three layers: all are the source's
            assert init == "copy" or (above[1] != every[1] and above[2] != every[2])
            assert every[0][0] != every[0][1]  # two seeds
    theory = small.curve("encoder", 5, "theory", "all layers", "SGD")
    assert theory.mean("centre") == pytest.approx([math.sqrt(a * b) for a, b in theory.updates["centre"]])


def test_a_source_of_one_s_own():
    torch.manual_seed(0)
    given = AlbertForMaskedLM(
        AlbertConfig(
            vocab_size=30, embedding_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=32,
            num_hidden_layers=2, max_position_embeddings=16, initializer_range=0.3,
        )
    )  # fmt: skip
    asked = dict(models=("encoder",), n=(3,), inits=("theory",), optimisers=("SGD",), seeds=(4,), source=given)
    found = study((2, 3, 5), **asked)
    assert given.dtype == torch.float32 and found.settings["source"] == "AlbertForMaskedLM"
    assert found.settings["hidden"] == 16 and found.settings["source_depth"] == 2
    assert found == study((2, 3, 5), **asked)
    source = copy.deepcopy(given).double().eval()  # the point at five layers by hand
    model = MPOBertModel.from_albert(source, 5, "theory", mpo_n=3).double()
    initialise(model, source, "theory", 4, 0)
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(30, (2, 8), generator=generator)
    readout = nn.functional.normalize(torch.randn(16, generator=generator, dtype=torch.float64), dim=0)
    by_hand = update_size(model, ids, readout)
    curve = found.curve("encoder", 3, "theory", "all layers", "SGD")
    assert curve.updates["centre"][2] == [pytest.approx(by_hand.centre, rel=1e-4)]
    with pytest.raises(CheckpointError, match="expected an ALBERT"):
        study(source=nn.Linear(2, 2))


def test_a_study_reads_back_as_it_was(small):
    again = Study.from_dict(json.loads(json.dumps(small.to_dict())))
    assert again == small and again.slopes == small.slopes
    row = next(r for r in small.slopes if (r["init"], r["scaled"], r["part"]) == ("theory", "all layers", "centre"))
    slope = small.curve("encoder", 5, "theory", "all layers", "SGD").slope("centre")
    assert (row["value"], row["error"], row["says"]) == (slope.value, slope.error, slope.says)
    with pytest.raises(UnknownNameError, match="encoder, 7, theory"):
        small.curve("encoder", 7, "theory", "all layers", "SGD")


@pytest.mark.parametrize("damage", ["lacks", "short", "none"])
def test_a_damaged_study_says_so(small, damage):
    content = small.to_dict()
    if damage == "lacks":
        del content["curves"][0]["init"]
    elif damage == "short":
        content["curves"][1]["updates"] = {part: [[1.0]] for part in PARTS}
    else:
        content = {"settings": {}}
    with pytest.raises(CheckpointError, match="no study of depth"):
        Study.from_dict(content)


def test_records_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("MPOLAB_RESULTS", str(tmp_path))
    with pytest.raises(DataNotFoundError, match="depth_study"):
        depth.load()
    for text in ('{"format": "mpolab.depth/1"', '{"format": "other"}', "[]"):
        (tmp_path / "depth.json").write_text(text)
        with pytest.raises(CheckpointError, match="no whole record"):
            depth.load()


# -- the committed record --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record():
    return json.loads((runs.results_folder() / "depth.json").read_text("utf-8"))


def test_the_record_says_where_it_comes_from(record):
    runs.refuse_paths(record)
    assert record["command"].startswith("python scripts/depth_study.py") and record["seconds"] > 0
    assert {"device", "threads", "versions", "commit", "date"} <= set(record)
    found = depth.load()
    assert len(found.settings["seeds"]) >= 5
    assert all(curve.depths == DEPTHS for curve in found.curves)
    everything = {(c.model, c.n, c.init, c.scaled, c.optimiser) for c in found.curves}
    assert len(everything) == len(found.curves) == 4 * 2 * 3 * 2 * 2 + 2 * 5 * 2 * 2


def test_the_record_s_numbers_come_out_again():
    found = depth.load()
    for curve in found.curves:
        if curve.model in READINGS:
            start = 0 if curve.scaled == "all layers" else found.settings["source_depth"]
            for place, L in enumerate(curve.depths):
                now = scalar_update(L, curve.init, curve.model, curve.n, start, curve.optimiser)
                for part in PARTS:
                    assert curve.updates[part][place] == [pytest.approx(getattr(now, part), rel=1e-5)]
    settings = found.settings
    seed = settings["seeds"][1]
    again = study((3, 6), ("theory", "paper_text"), ("encoder",), (5,), seeds=(seed,), hidden=settings["hidden"])
    for curve in again.curves:
        kept = found.curve(curve.model, curve.n, curve.init, curve.scaled, curve.optimiser)
        for part in PARTS:
            for now, then in zip(curve.updates[part], kept.updates[part]):
                assert now[0] == pytest.approx(then[1], rel=1e-3)


def test_what_the_record_says_of_the_paper_s_claim():
    """The verdict, as inequalities: whether ||dF|| is O(1) over 3 to 96 layers with all layers scaled."""
    found = depth.load()

    def slope(part, init, n=5, model="encoder", optimiser="SGD"):
        return found.curve(model, n, init, "all layers", optimiser).slope(part)

    assert slope("auxiliary", "theory", 3, "corollary").says == "level"
    assert slope("centre", "theory", 3, "corollary").value == pytest.approx(0.5, abs=1e-3)
    for n in (3, 5):
        assert slope("together", "xavier", n).value > 1 and slope("together", "copy", n).says == "grows"
        assert slope("centre", "theory", n).says == "level" and slope("auxiliary", "theory", n).says == "shrinks"
        assert slope("together", "theory", n, optimiser="LAMB").says == "level"
    for printed in ("paper_text", "algorithm1"):
        assert slope("together", printed).value < -2  # as printed with n = 5: bounded, and next to nothing
        assert slope("together", printed, optimiser="LAMB").value < -1
