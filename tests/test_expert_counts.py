"""Counts of experts by formula against converted models on the meta device, and the panel that shows them."""

from __future__ import annotations

import random
import time

import matplotlib.colors
import pytest
import torch
from transformers import AlbertConfig, GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from mpolab import to_moe, viz
from mpolab.errors import BondError, DataError, MatrixTypeError, PlanError, RoutingError, UnknownNameError
from mpolab.expert_counts import (
    PARTS,
    ModelShape,
    block_tensors,
    dense_counts,
    formula_ratio,
    gamma,
    moe_counts,
    mpoe_counts,
    plans,
    stored_ratio,
    total,
)
from mpolab.panels import PANELS

GPT2 = GPT2Config()
T5_BASE = T5Config(vocab_size=32128, d_model=768, d_ff=3072, num_layers=12, num_heads=12)
T5_LARGE = T5Config(vocab_size=32128, d_model=1024, d_ff=4096, num_layers=24, num_heads=16)


def on_meta(config):
    with torch.device("meta"):
        return {"gpt2": GPT2LMHeadModel, "t5": T5ForConditionalGeneration}[config.model_type](config)


def by_part(model):
    """Numbers of a model's parameters by what stands in their names."""
    found = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        in_block = any(word in name for word in (".mlp.", ".DenseReluDense."))
        last = name.rsplit(".", 1)[-1]
        if not in_block:
            tables = ("wte.", "wpe.", "shared.", "lm_head.")
            part = "embeddings" if any(table in name for table in tables) else "attention and norms"
        elif ".router." in name:
            part = "routers"
        else:
            part = {"bias": "biases", "weight": "dense", "central": "central"}.get(last, "auxiliary")
        found[part] += parameter.numel()
    return found


def small(seed: int):
    """A config of some sizes, several of them awkward."""
    draw = random.Random(seed)
    heads = draw.choice([1, 2, 3])
    if seed % 2:
        return T5Config(
            vocab_size=draw.randint(5, 50), d_model=draw.choice([24, 36, 60]), d_kv=draw.choice([4, 7]),
            num_heads=heads, d_ff=draw.choice([37, 64, 100, 144]), num_layers=draw.choice([1, 2]),
            num_decoder_layers=draw.choice([1, 3]), relative_attention_num_buckets=draw.choice([8, 32]),
            feed_forward_proj=draw.choice(["relu", "gated-gelu"]),
        )  # fmt: skip
    return GPT2Config(
        vocab_size=draw.randint(5, 50), n_positions=draw.choice([7, 16]), n_embd=12 * heads, n_head=heads,
        n_layer=draw.choice([1, 2]), n_inner=draw.choice([None, 40, 53, 64]),
        tie_word_embeddings=draw.choice([True, False]), add_cross_attention=draw.choice([True, False]),
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(24))
def test_every_part_is_that_of_the_converted_model(seed):
    """Any sizes, n, m, bond, biases, with and without the dense block: to the last number."""
    config, draw = small(seed), random.Random(1000 + seed)
    shape = ModelShape.of(config)
    n, keep, biases = draw.randint(1, 9), draw.choice([True, False]), draw.choice(["own", "shared"])
    m = draw.choice([2, 3, 4, 5, 7, 9])
    bond = draw.choice([None, 1, 3, 10, 10**6, [draw.randint(1, 40) for _ in range(m - 1)]])
    given = {"keep_dense": keep, "biases": biases}

    assert dense_counts(shape) == by_part(on_meta(config))
    model = to_moe(on_meta(config), "mpoe", n, plan={"n": m, "bond": bond}, **given)
    assert mpoe_counts(shape, n, m, bond, **given) == by_part(model)
    assert total(mpoe_counts(shape, n, m, bond, **given)) == sum(p.numel() for p in model.parameters())
    kind = draw.choice(["moe", "switch"])
    model = to_moe(on_meta(config), kind, n, **given)
    assert moe_counts(shape, n, kind=kind, **given) == by_part(model)


@pytest.mark.parametrize("config", [T5_BASE, GPT2])
@pytest.mark.parametrize("d_ff", [768, 1000, 4608])
def test_another_inner_size(config, d_ff):
    changed = type(config)(**{**config.to_dict(), ("d_ff" if config is T5_BASE else "n_inner"): d_ff})
    assert ModelShape.of(config, d_ff) == ModelShape.of(changed)
    model = to_moe(on_meta(changed), "mpoe", 3, plan=7)
    assert mpoe_counts(ModelShape.of(config, d_ff), 3, 7) == by_part(model)


def without_routers(counts):
    return total(counts) - counts["routers"]


@pytest.mark.parametrize(
    ("config", "settings", "millions"),
    [
        (T5_BASE, {"experts": 8}, 293.98),
        (T5_BASE, {"experts": 16}, 365.06),
        (T5_BASE, {"experts": 4}, 258.4),
        (T5_LARGE, {"experts": 8}, 990.1),
        (GPT2, {"experts": 8, "keep_dense": True}, 157.0),
        (GPT2, {"experts": 12, "keep_dense": True}, 171.6),
    ],
)
def test_the_columns_of_the_paper(config, settings, millions):
    """facts.md section 3."""
    digits = len(str(millions).partition(".")[2])
    assert round(total(mpoe_counts(ModelShape.of(config), **settings)) / 1e6, digits) == millions


@pytest.mark.parametrize(("m", "millions"), [(3, 130.34), (5, 156.97), (7, 199.70), (9, 215.17)])
def test_the_row_of_table_4(m, millions):
    """Nine copies with biases of their own, without routers."""
    found = without_routers(mpoe_counts(ModelShape.of(GPT2), 8, m, keep_dense=True))
    assert found / 1e6 == pytest.approx(millions, abs=0.0051)


def test_the_dense_models_and_their_copies():
    assert total(dense_counts(ModelShape.of(GPT2))) == 124_439_808
    assert total(dense_counts(ModelShape.of(T5_BASE))) == 222_903_552
    assert total(dense_counts(ModelShape.of(T5_LARGE))) == 737_668_096
    assert round(without_routers(moe_counts(ModelShape.of(T5_BASE), 8)) / 1e6, 1) == 1015.6
    switch = moe_counts(ModelShape.of(GPT2), 8, keep_dense=True, kind="switch")
    assert round(total(switch) / 1e6, 1) == 577.9


def test_ratios_by_hand():
    """T5-base at m = 5: 3072 x 768 as (4 4 8 6 4) x (3 4 4 4 4), and its mirror image.

    Sizes 12, 16, 32, 24, 16; bonds 12, 192 from the left and 16, 384 from the right; the centre is 192 x 32 x 384, and
    A1 .. A4 hold 12 x 12, 12 x 16 x 192, 384 x 24 x 16, 16 x 16.
    """
    shape = ModelShape.of(T5_BASE)
    centre, auxiliary = 2 * 192 * 32 * 384, 2 * (144 + 36_864 + 147_456 + 256)
    assert block_tensors(shape) == (centre, auxiliary)
    assert gamma(shape) == centre / auxiliary == pytest.approx(12.77, abs=0.005)
    # what is stored for eight experts, over eight copies of both matrices
    assert stored_ratio(shape, 8) == (centre + 8 * auxiliary) / (8 * 2 * 3072 * 768) == pytest.approx(0.2033, abs=5e-5)
    # the paper's formula: over eight MPOs that share nothing
    assert formula_ratio(8, gamma(shape)) == pytest.approx((centre + 8 * auxiliary) / (8 * (centre + auxiliary)))
    assert round(formula_ratio(8, gamma(shape)), 4) == 0.1885 and round(formula_ratio(8, 12), 4) == 0.1923
    assert formula_ratio(1, 5.0) == 1 and stored_ratio(shape, 1) > 1


def test_stored_ratio_is_that_of_the_counts():
    shape = ModelShape.of(T5Config(d_model=60, d_ff=100, num_layers=2, feed_forward_proj="gated-gelu"))
    mpoe, moe = mpoe_counts(shape, 6, 3, bond=7), moe_counts(shape, 6)
    assert stored_ratio(shape, 6, 3, bond=7) == pytest.approx((mpoe["central"] + mpoe["auxiliary"]) / moe["dense"])
    assert gamma(shape, 3, bond=7) == pytest.approx(6 * mpoe["central"] / mpoe["auxiliary"])


def test_settings_that_make_no_model_are_not_counted():
    shape = ModelShape.of(GPT2)
    with pytest.raises(MatrixTypeError, match="AlbertConfig; counted are gpt2, t5"):
        ModelShape.of(AlbertConfig())
    with pytest.raises(MatrixTypeError, match="got a Tensor"):
        ModelShape.of(torch.zeros(2, 2))
    with pytest.raises(RoutingError, match="d_ff = 0"):
        ModelShape.of(GPT2, 0)
    for wrong in (lambda: mpoe_counts(shape, 0), lambda: moe_counts(shape, 1.5), lambda: stored_ratio(shape, 0),
                  lambda: formula_ratio(0, 12)):  # fmt: skip
        with pytest.raises(RoutingError, match="at least 1"):
            wrong()
    with pytest.raises(BondError, match="bond = 0"):
        mpoe_counts(shape, 8, bond=0)
    with pytest.raises(PlanError, match="n = 1 cores"):
        mpoe_counts(shape, 8, 1)
    with pytest.raises(UnknownNameError, match="shared"):
        mpoe_counts(shape, 8, biases="none")
    with pytest.raises(UnknownNameError, match="switch"):
        moe_counts(shape, 8, kind="mpoe")


# -- the panel -------------------------------------------------------------------------------------------


def counted(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_panel_shows_the_counts_of_the_paper():
    panel = PANELS["parameters"]("T5-base")
    assert "T5-base, d_ff 3072: 8 experts, 5 tensors, full bonds: dense 222,903,552," in panel.readout
    assert "MPOE 293,983,680 (" in panel.readout and "gamma 12.77;" in panel.readout
    assert "0.2033 of MoE's matrices" in panel.readout and "0.1885 of MPOs that share nothing" in panel.readout
    assert "(0.1923 with its gamma of 12)" in panel.readout
    panel.set(model="GPT-2", keep_dense=True)
    assert "8 experts and the dense block" in panel.readout and "MPOE 157,049,580 (" in panel.readout
    assert "MoE 577,959,168," in panel.readout and panel.value("experts") == 8
    shape = ModelShape.of(GPT2)  # ratios of nine
    assert f"are {stored_ratio(shape, 9):.4f} of MoE's" in panel.readout
    assert f"and {formula_ratio(9, gamma(shape)):.4f} of MPOs" in panel.readout


@pytest.mark.parametrize(
    "setting",
    [
        {"model": "gpt2-mini", "experts": 5, "tensors": 3, "bond": 12, "keep_dense": True},
        {"model": "gpt2-mini", "experts": 64, "tensors": 9, "d_ff": 480},
        {"model": "T5-base", "experts": 1, "tensors": 7, "bond": 1, "d_ff": 768},
    ],
)
def test_the_sliders_count_the_model_that_they_describe(setting):
    panel = PANELS["parameters"](**setting)
    assert {name: panel.value(name) for name in setting} == setting
    given = panel.configs[setting["model"]]
    width = "d_ff" if given.model_type == "t5" else "n_inner"
    config = type(given)(**{**given.to_dict(), width: panel.value("d_ff")})
    n, keep = setting["experts"], setting.get("keep_dense", False)
    plan = {"n": setting["tensors"], "bond": setting.get("bond")}
    dense, moe = counted(on_meta(config)), counted(to_moe(on_meta(config), "moe", n, keep_dense=keep))
    mpoe = counted(to_moe(on_meta(config), "mpoe", n, keep_dense=keep, plan=plan))
    assert f"dense {dense:,}, MoE {moe:,}, MPOE {mpoe:,} (" in panel.readout
    more = counted(to_moe(on_meta(config), "mpoe", n + 1, keep_dense=keep, plan=plan)) - mpoe
    assert f" to MoE, {more:,} to MPOE" in panel.readout


def test_bonds_end_at_the_full_ones_and_widths_are_the_model_s():
    panel = PANELS["parameters"]("gpt2-mini")
    assert panel.value("d_ff") == 768 and panel.value("bond") == "full"
    bonds = panel.controls["bond"].options
    widest = max(max(plan.full_bonds) for plan in plans(panel.shape(), 5))
    assert bonds[-1] == "full" and bonds[-2] < widest and list(bonds[:-1]) == sorted(set(bonds[:-1]))
    panel.set(bond=24)
    panel.set(tensors=9)
    assert panel.value("bond") == 24 and "no bond above 24" in panel.readout  # a cap stays where it can
    panel.set(model="T5-large")
    assert panel.value("d_ff") == 4096 and {512, 2048, 8192} <= set(panel.controls["d_ff"].options)
    with pytest.raises(UnknownNameError, match="4096"):
        panel.set(d_ff=4097)


def test_a_cap_that_a_shorter_chain_does_not_have_becomes_full():
    panel = PANELS["parameters"]("GPT-2", tensors=9, bond=384)
    assert "no bond above 384" in panel.readout
    panel.set(tensors=3)  # its full bonds are 96 and 128
    assert panel.value("bond") == "full" and panel.controls["bond"].options[-2:] == (96, "full")


def test_a_model_of_one_s_own_stands_beside_the_presets():
    config = small(3)
    expected = total(mpoe_counts(ModelShape.of(config), 8))
    for source in (config, on_meta(config)):
        panel = PANELS["parameters"](source)
        assert panel.value("model") == "your model" and f"MPOE {expected:,} (" in panel.readout
        assert panel.value("d_ff") == config.d_ff
        panel.set(model="GPT-2")
        assert "dense 124,439,808" in panel.readout
    for wrong in (AlbertConfig(), "gpt3", torch.zeros(3, 3)):
        with pytest.raises(DataError, match="gpt2-mini, got"):
            PANELS["parameters"](wrong)


def test_the_picture_stacks_the_parts_and_marks_the_experts():
    panel = PANELS["parameters"]("T5-base", experts=20, keep_dense=True)
    numbers = panel.numbers()
    figure = panel.draw(numbers)
    bars, curves = figure.axes
    widths = [
        {matplotlib.colors.to_hex(colour): path.get_extents().width for colour, path in zip(
            bar.get_facecolor(), bar.get_paths())}
        for bar in bars.collections
    ]  # fmt: skip
    assert len(widths) == 3  # dense, MoE, MPOE
    mine = mpoe_counts(ModelShape.of(T5_BASE), 20, keep_dense=True)
    assert widths[2][viz.CENTRAL.lower()] == pytest.approx(mine["central"] / 1e6)
    assert widths[2][viz.AUXILIARY.lower()] == pytest.approx(mine["auxiliary"] / 1e6)
    assert widths[1][viz.CENTRAL.lower()] == 0
    # MoE: 20 copies more than the dense 222.903552 of 24 x 4.718592, and 24 routers of 21 x 2 x 768
    assert [text.get_text() for text in bars.texts if "," in text.get_text()] == ["2,488.6"]
    dots = [line for line in curves.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == [20, 20, 20]
    assert dots[2].get_ydata()[0] == pytest.approx(total(mine) / 1e6)
    low, high = curves.lines[2].get_ydata()  # the dot lies on its line
    assert dots[2].get_ydata()[0] == pytest.approx(low + (high - low) * 19 / 63)
    assert curves.get_ylim()[1] > max(line.get_ydata()[-1] for line in curves.lines)


def test_numbers_come_at_once():
    """A redraw is a picture and these; 100 ms are for both."""
    panel = PANELS["parameters"]()
    panel.numbers()
    start = time.process_time()
    for _ in range(50):
        panel.numbers()
    assert (time.process_time() - start) / 50 < 0.01
