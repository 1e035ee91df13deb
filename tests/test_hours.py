"""What the papers' own models and pre-trainings cost: each row of a printed table that its authors trained, once."""

import re

import pytest

from mpolab import recipes
from mpolab.ledger import flops, hours
from mpolab.ledger.pre_trainings import PRE_TRAININGS, pre_trainings
from mpolab.papers import mpobert, mpoe, mpop

PRINTED = {table.id: table for module in (mpop, mpobert, mpoe) for table in module.TABLES}
RECIPE_OF = {"MPOBERT12": "mpobert-12", "MPOBERT24": "mpobert-24", "MPOBERT48": "mpobert-48",
             "MPOBERT48+": "mpobert-48plus"}  # fmt: skip
MODEL_OF = {
    **RECIPE_OF,
    "BERT12": "bert-base-uncased",
    "RoBERTa12": "roberta-base",
    "ALBERT12": "albert-base-v2",
    "ALBERT24": "albert-large-v2",
    "BERT": "bert-base-uncased",
    "DistilBERT": "distilbert-base-uncased",
    "MobileBERT": "google/mobilebert-uncased",
}


@pytest.fixture
def one_step(monkeypatch):
    """A step of any model is one operation."""
    monkeypatch.setattr(flops, "_step", lambda *_: (1, flops.COUNTED))


def told(item):
    """{of what: cost}, each label up to its first comma or semicolon."""
    return {re.split("[,;]", label)[0]: cost for label, cost in hours.item_costs(item)}


def large(item):
    """[(recipe, the printed model in it)] of an item's first settings."""
    first = hours.recipes_of(item, remedies=False)
    return [(name, sized.at("paper").model) for name in first for sized in hours.at_printed_sizes(name, item)]


def test_every_printed_mpobert_is_pre_trained():
    for item, table in (("tab1", "tab1-dev"), ("tab1", "tab1-test"), ("tab2", "tab2"), ("tab3", "tab3"),
                        ("tab6", "tab6")):  # fmt: skip
        rows = {RECIPE_OF[row] for row in PRINTED[f"mpobert-{table}"].rows if row in RECIPE_OF}
        assert set(PRE_TRAININGS[f"mpobert-{item}"]) == rows != set(), table
    assert PRE_TRAININGS["mpobert-fig1"] == PRE_TRAININGS["mpobert-tab1"], "the figure draws that table"
    for item in ("tab4", "tab5"):  # each row another model of twelve layers
        assert len(pre_trainings(f"mpobert-{item}")) == len(PRINTED[f"mpobert-{item}"].rows) == 3
    ranks = [each.at("paper").options["changes"]["adapter_rank"] for each in pre_trainings("mpobert-tab5")]
    assert sorted(ranks) == [4, 8, 64]
    of_4 = [each.at("paper").options["changes"] for each in pre_trainings("mpobert-tab4")]
    assert of_4 == [{"adapter_rank": 8}, {"adapter_rank": 0}, {"adapter_rank": 8, "num_central_groups": 12}]
    assert [each.name for each in pre_trainings("mpobert-fig4")] == ["mpobert-12"]
    assert pre_trainings("mpop-tab3") == ()


def test_fifty_thousand_steps_from_scratch_beside_ten_thousand():
    ten, fifty = pre_trainings("mpobert-fig3")
    assert [flops.steps_of(each.at("paper")) for each in (ten, fifty)] == [10_000, 50_000]
    assert fifty.at("paper").options["init"] == "scratch" and fifty.name not in recipes.RECIPES
    once = flops.of_recipe(recipes.RECIPES["mpobert-12"], "paper").flops
    assert flops.of_recipe(fifty, "paper").flops == 5 * once
    cost = told("mpobert-fig3")["the paper's pre-training"]
    assert cost.flops == 6 * once and cost.trainings == 2
    assert cost.hours == pytest.approx(6 * once / (0.4 * 312e12) / 3600)


def test_costs_of_pre_trainings_add_up():
    each = {name: flops.of_recipe(recipes.RECIPES[name], "paper").flops for name in ("mpobert-12", "mpobert-48")}
    cost = told("mpobert-tab2")["the paper's pre-training"]
    assert cost.flops == sum(each.values()) and cost.trainings == 2
    alone = told("mpobert-fig4")
    assert list(alone) == ["the paper's pre-training"], "nothing of ours is trained for it"
    assert alone["the paper's pre-training"].flops == each["mpobert-12"]
    # (4 x 1024^2 + 2 x 1024 x 4096) x 48 over (4 x 768^2 + 2 x 768 x 3072) x 12 are 7.1; heads and adapters take some
    assert 6 < each["mpobert-48"] / each["mpobert-12"] < 7.1


@pytest.mark.parametrize(
    "item, table, others",
    [
        ("mpobert-tab1", "mpobert-tab1-dev", ("T512", "XLNet12", "BART12")),
        ("mpobert-tab2", "mpobert-tab2", ()),
        ("mpobert-tab3", "mpobert-tab3", ()),
        ("mpop-tab4", "mpop-tab4", ()),
    ],
)
def test_every_printed_model_is_counted_once(item, table, others):
    rows = [row for row in PRINTED[table].rows if row not in others and not row.startswith("MPOP_")]
    found = large(item)
    assert {model for _, model in found} == {MODEL_OF[row] for row in rows}
    assert len(set(found)) == len(found), "no model twice in the place of one"
    assert {re.sub("[_ ]", "", name) for name in hours.UNCOUNTED.get(item, ())} == set(others)


def test_every_printed_t5_is_counted():
    """Without what others trained (Switch of T5-Large), and MoEfication++ and MPOE++, which no recipe is."""
    rows = [row for row in PRINTED["mpoe-tab1-nlu"].rows if "Fedus" not in row and "++" not in row]
    printed = {tuple(row.lower().replace("+", "").split()) for row in rows} - {("t5-large", "switch")}
    printed = {(model, *(way or ["dense"])) for model, *way in printed}
    found = [(model, name.rsplit("-", 1)[1]) for name, model in large("mpoe-tab1") if name.startswith("experts-glue")]
    assert set(found) == printed and all(found.count(pair) == 8 for pair in printed), "eight tasks"


def test_trainings_by_the_printed_rows(one_step):
    rows = "its recipes with the paper's models"
    trainings = {item: told(item)[rows].trainings for item in ("mpobert-tab1", "mpobert-tab2", "mpobert-tab3",
                                                               "mpop-tab4", "mpoe-tab1")}  # fmt: skip
    assert trainings == {
        "mpobert-tab1": 9 * (4 + 2 + 2) * 3,  # tasks, (MPOBERT, ALBERT, BERT and RoBERTa), seeds
        "mpobert-tab2": (2 + 1 + 1) * 3,
        "mpobert-tab3": 2 * 3 * 3 * 5,  # tasks, numbers of shots, models, seeds
        "mpop-tab4": 2 * (5 + 3) + (3 + 3),  # dense and squeezed: BERT and DistilBERT; MobileBERT
        "mpoe-tab1": 8 * (2 + 2 + 1 + 1 + 1) * 3 + 11 * 3,  # dense, MPOE, the three others of one size; and GPT-2
    }
    labels = [label for label, _ in hours.item_costs("mpobert-tab1")]
    of_all = "all its recipes, each at its largest scale"  # gpu, and laptop for remedies that are there alone
    with_models = "its recipes with the paper's models, without remedies; without T5_12, XLNet_12, BART_12"
    assert labels == [of_all, of_all, with_models, "the paper's pre-training"]
    assert [cost.scale for _, cost in hours.item_costs("mpobert-tab1")] == ["gpu", "laptop", "paper", "paper"]


def test_the_cost_is_the_sum_over_models():
    of = {sized.at("paper").model: hours.cost_of([sized], "paper")
          for sized in hours.at_printed_sizes("mpop-rte-full", "mpop-tab4")}  # fmt: skip
    both = hours.cost_of(hours.at_printed_sizes("mpop-rte-full", "mpop-tab4"), "paper")
    bert, half = (of[f"{name}-base-uncased"].flops for name in ("bert", "distilbert"))
    assert both.flops == bert + half and both.trainings == 10
    # six of twelve layers, and the same two matrices behind them, of 32 rows, forward and twice backward
    behind = 5 * 3 * -(-(2490 - 500) // 32) * 3 * 2 * 32 * (768**2 + 768 * 2)
    assert half == (bert - behind) / 2 + behind
    roberta, base = (hours.cost_of([sized], "paper").flops
                     for sized in hours.at_printed_sizes("table1-rte-minilm", "mpobert-tab1")[::-1])  # fmt: skip
    assert roberta == base, "the same matrices, and another vocabulary"


def test_a_large_t5_by_hand():
    small, big = hours.at_printed_sizes("experts-glue-rte-dense", "mpoe-tab1")
    assert [each.at("paper").model for each in (small, big)] == ["t5-base", "t5-large"]
    found = flops.of_recipe(big, "paper")
    at = big.at("paper").settings
    # encoder: attention and a block; decoder: two attentions and a block; the output layer; both tables of positions
    met = 24 * (4 + 8) * 1024**2 + 24 * (8 + 8) * 1024**2 + 1024 * 32128 + 2 * 32 * 16
    assert found.flops == found.steps * 6 * met * at.batch_size * at.max_length
    (only,) = hours.at_printed_sizes("experts-glue-rte-moefication", "mpoe-tab1")
    assert only.at("paper").model == "t5-large"
    (only,) = hours.at_printed_sizes("experts-together-dense", "mpoe-tab2")
    assert only.at("paper").model == "t5-base"
