"""MPOBERT: counts of the paper, ALBERT unrolled as the oracle, sharing that survives saving, transformers' demands."""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from small import settle, tiny_tokenizer
from transformers import AlbertConfig, AutoModel, AutoModelForMaskedLM, pipeline
from transformers.models.albert import modeling_albert as albert

import mpolab
from mpolab import pretrained
from mpolab.errors import BondError, CheckpointError, PlanError, UnknownNameError
from mpolab.models import (
    MPOBertConfig,
    MPOBertForMaskedLM,
    MPOBertForPreTraining,
    MPOBertForQuestionAnswering,
    MPOBertForSequenceClassification,
    MPOBertForTokenClassification,
    MPOBertModel,
)
from mpolab.mpo import MPO
from mpolab.mpobert_config import MATRICES, PRESETS
from mpolab.mpobert_init import INITS
from mpolab.shared_linear import SharedLinear

SMALL = {
    "vocab_size": 60,
    "embedding_size": 16,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 40,
    "num_hidden_layers": 3,
    "initializer_range": 0.2,
    "classifier_dropout_prob": 0.0,
}
HEADS = {
    MPOBertModel: albert.AlbertModel,
    MPOBertForPreTraining: albert.AlbertForPreTraining,
    MPOBertForMaskedLM: albert.AlbertForMaskedLM,
    MPOBertForSequenceClassification: albert.AlbertForSequenceClassification,
    MPOBertForQuestionAnswering: albert.AlbertForQuestionAnswering,
    MPOBertForTokenClassification: albert.AlbertForTokenClassification,
}


@pytest.fixture(autouse=True, scope="module")
def _settled():
    settle()


def small_albert(kind=albert.AlbertForMaskedLM, **changes):
    torch.manual_seed(0)
    model = kind(AlbertConfig(**{**SMALL, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():  # zeros would hide a bias that got lost, and ones a LayerNorm's weight
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def ids(seed=0, batch=2, tokens=9):
    return torch.randint(5, SMALL["vocab_size"], (batch, tokens), generator=torch.Generator().manual_seed(seed))


def unrolled(model, depth):
    """The oracle: transformers' own ALBERT, its one set of weights applied `depth` times."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "config"):
            module.config.num_hidden_layers = depth
    return model


def first(output):
    return next(value for value in output.values() if value.ndim >= 2)


# -- counts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "preset, changes, count",
    [
        ("mpobert-12", {}, 11_683_584 + 12 * 644_196),
        ("mpobert-12", {"adapter_rank": 4}, 19_708_848),
        ("mpobert-12", {"adapter_rank": 8}, 20_003_760),
        ("mpobert-12", {"adapter_rank": 64}, 24_132_528),
        ("mpobert-24", {}, 17_683_968 + 24 * 1_182_720),
        ("mpobert-48", {}, 17_683_968 + 48 * 1_182_720),
        ("mpobert-48plus", {}, 99_620_352),
        ("mpobert-48plus", {"adapter_rank": 8}, 102_766_080),
        ("mpobert-48plus", {"adapter_rank": 8, "adapter_matrices": ("query", "key", "value")}, 101_979_648),
    ],
)
def test_counts_of_the_paper(preset, changes, count):
    with torch.device("meta"):
        model = MPOBertModel(MPOBertConfig.preset(preset, **changes))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_presets_can_be_changed_and_own_biases_cost_what_they_hold():
    assert MPOBertConfig.preset("mpobert-mini", num_hidden_layers=3).num_hidden_layers == 3
    config = {**SMALL, "share_biases": False, "share_norms": False}
    own, shared = MPOBertModel(MPOBertConfig(**config)), MPOBertModel(MPOBertConfig(**SMALL))
    biases, norms = 5 * 64 + 128, 4 * 64
    difference = sum(p.numel() for p in own.parameters()) - sum(p.numel() for p in shared.parameters())
    assert difference == 2 * (biases + norms)  # three layers instead of one owner
    with pytest.raises(UnknownNameError, match="mpobert-48plus"):
        MPOBertConfig.preset("mpobert-48+")


# -- ALBERT is the oracle ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HEADS, ids=lambda kind: kind.__name__)
def test_a_copy_computes_what_albert_does_unrolled_to_that_depth(kind):
    source = small_albert(HEADS[kind])
    mine = kind.from_albert(source, num_layers=7, init="copy")
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 5:] = 0
    expected = first(unrolled(source, 7)(ids(), attention_mask=mask))
    assert torch.allclose(first(mine(ids(), attention_mask=mask)), expected, atol=2e-5)
    assert not torch.allclose(first(source(ids(), attention_mask=mask)), expected, atol=1e-2)  # the depth matters


@pytest.mark.parametrize("sizes", [(197, 394, 1), (200, 400, 4), (202, 404, 2)], ids=str)
@pytest.mark.parametrize(
    "way",
    [
        {"mpo_mode": "factorized"},
        {"mpo_mode": "reconstruct", "mpo_rebuild": "layer"},
        {"mpo_mode": "reconstruct", "mpo_rebuild": "batch"},
    ],
    ids=lambda way: "-".join(way.values()),
)
def test_a_copy_of_sizes_without_a_plan_of_their_own(sizes, way):
    """A prime, and twice a prime, are padded with zeros, whichever way W is applied; 200 has factors."""
    hidden, inner, heads = sizes
    source = small_albert(hidden_size=hidden, intermediate_size=inner, num_attention_heads=heads)
    mine = MPOBertForMaskedLM.from_albert(source, num_layers=5, init="copy", **way)
    assert mine.config.plan("query").is_padded == mine.config.plan("ffn").is_padded == (hidden != 200)
    assert torch.allclose(mine(ids()).logits, unrolled(source, 5)(ids()).logits, atol=2e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_central_groups": 3},
        {"share_biases": False},
        {"share_norms": False},
        {"adapter_rank": 4},
        {"mpo_n": 3},
        {"mpo_mode": "factorized"},
        {"mpo_keep_weight": False, "mpo_mode": "reconstruct"},
        {"mpo_factors": {64: (2, 2, 4, 2, 2), 128: (2, 2, 8, 2, 2)}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_switch_changes_a_copy(changes):
    source = small_albert()
    mine = MPOBertForMaskedLM.from_albert(source, num_layers=6, init="copy", **changes)
    assert torch.allclose(mine(ids()).logits, unrolled(source, 6)(ids()).logits, atol=2e-5)


def test_gradients_are_those_of_the_dense_layers():
    """The chain rule by hand: autograd gives dL/dW for every W by itself; the rest is one contraction."""
    source = small_albert(albert.AlbertModel)
    mine = MPOBertModel.from_albert(source, num_layers=2, init="copy").train()
    seen = {}
    for number, layer in enumerate(mine.encoder.layers):
        for name in MATRICES:
            mpo = layer.matrices[name].mpo
            weight = mpo._weight

            def watched(dtype, key=(number, name), weight=weight):
                seen[key] = weight(dtype)
                seen[key].retain_grad()
                return seen[key]

            mpo._weight = watched
            mpo.mode = "reconstruct"
    mine(ids()).last_hidden_state.square().mean().backward()
    for name in ("query", "ffn"):
        central = getattr(mine.encoder.groups[0], name)
        total = torch.zeros_like(central)
        for number, layer in enumerate(mine.encoder.layers):
            mpo = layer.matrices[name].mpo
            cores = [core.detach().double().requires_grad_() for core in
                     (*mpo.auxiliary[:2], central, *mpo.auxiliary[2:])]  # fmt: skip
            chain = torch.einsum("aijb,bklc,cmnd,dopq,qrsz->aikmorjlnpsz", *cores)
            W = chain.reshape(mpo.plan.shape)
            (W * seen[number, name].grad.double()).sum().backward()
            total += cores[2].grad.float()
            own = [cores[k].grad.float() for k in (0, 1, 3, 4)]
            for parameter, expected in zip(mpo.auxiliary, own):
                assert torch.allclose(parameter.grad, expected, atol=1e-6, rtol=1e-3)
        assert torch.allclose(central.grad, total, atol=1e-6, rtol=1e-3)  # the sum over the layers


# -- initialisations ------------------------------------------------------------------------------------


def test_initialisations_by_hand():
    """L = 8 layers above a source of 3: (2L)^(-1/4) is 1/2."""
    source = small_albert(albert.AlbertModel)
    linear = source.encoder.albert_layer_groups[0].albert_layers[0].ffn
    found = {init: MPOBertModel.from_albert(source, num_layers=8, init=init, seed=1) for init in INITS}
    mpo = MPO.decompose(linear.weight)
    auxiliary = [core for k, core in enumerate(mpo.cores) if k != 2]
    for init, model in found.items():
        for number in (0, 2):
            for mine, its in zip(model.encoder.layers[number].matrices["ffn"].mpo.auxiliary, auxiliary):
                assert torch.equal(mine, its), (init, number)
        assert torch.equal(model.encoder.groups[0].ffn, mpo.cores[2])
    scales = {"copy": 1.0, "algorithm1": 0.5, "theory": 0.5**0.5}
    for init, scale in scales.items():
        for mine, its in zip(found[init].encoder.layers[5].matrices["ffn"].mpo.auxiliary, auxiliary):
            assert torch.allclose(mine, scale * its)
    random = [found[init].encoder.layers[5].matrices["ffn"].mpo.auxiliary for init in ("paper_text", "xavier")]
    for scaled, plain in zip(*random):
        assert torch.allclose(scaled, 0.5 * plain)  # the same draw
        before, i, j, after = plain.shape
        limit = (6 / (before * i + j * after)) ** 0.5
        assert 0.8 * limit < plain.abs().max() <= limit
    again = MPOBertModel.from_albert(source, num_layers=8, init="xavier", seed=1)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), found["xavier"].parameters()))
    other = MPOBertModel.from_albert(source, num_layers=8, init="xavier", seed=2)
    assert not torch.equal(
        other.encoder.layers[5].matrices["ffn"].mpo.A1, again.encoder.layers[5].matrices["ffn"].mpo.A1
    )


@pytest.mark.parametrize("depth", [4, 5])
def test_the_first_layer_above_the_source_is_not_a_copy_any_more(depth):
    source = small_albert(num_hidden_layers=3)
    plain, scaled = (MPOBertModel.from_albert(source, depth, init=init) for init in ("copy", "algorithm1"))
    for number, (one, two) in enumerate(zip(plain.encoder.layers, scaled.encoder.layers)):
        a, b = (layer.matrices["query"].mpo.auxiliary[0] for layer in (one, two))
        factor = 1.0 if number < 3 else (2 * depth) ** -0.25
        torch.testing.assert_close(b, factor * a, rtol=1e-5, atol=1e-7)


def test_the_theory_scales_each_side_once_whatever_n():
    source = small_albert(albert.AlbertModel)
    for n in (3, 5):
        model = MPOBertModel.from_albert(source, num_layers=8, init="theory", mpo_n=n)
        W = []
        for number in (0, 7):
            mpo = model.encoder.layers[number].matrices["query"].mpo
            with torch.no_grad(), mpo.handed(model.encoder.groups[0].query):
                W.append(mpo.weight.clone())
        assert torch.allclose(W[1], 0.25 * W[0], atol=1e-6)  # (2L)^(-1/4) on the left and on the right


def test_random_matrices_are_as_large_as_dense_ones():
    torch.manual_seed(0)
    model = MPOBertModel(MPOBertConfig(**{**SMALL, "initializer_range": 0.02, "mpo_bond": 12}))
    for name in MATRICES:
        spread = []
        for layer in model.encoder.layers:
            mpo = layer.matrices[name].mpo
            with torch.no_grad(), mpo.handed(getattr(model.encoder.groups[0], name)):
                spread.append(float(mpo.weight.std()))
        assert 0.01 < sum(spread) / len(spread) < 0.04, (name, spread)


# -- one owner -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"num_central_groups": 2, "adapter_rank": 2, "share_biases": False}])
def test_shared_tensors_are_stored_once_and_stay_shared(changes, tmp_path):
    mine = MPOBertForMaskedLM.from_albert(small_albert(), num_layers=4, init="theory", **changes)
    mine.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    count = sum(parameter.numel() for parameter in mine.parameters())
    assert sum(tensor.numel() for tensor in stored.values()) == count
    assert sum(name.endswith("groups.0.query") for name in stored) == 1
    script = (
        "import torch, sys, mpolab, json; from mpolab.pretrained import load_pretrained;"
        "found = load_pretrained(sys.argv[1], tokenizer=False, head='masked-lm').model;"
        "x = torch.tensor(json.loads(sys.argv[2]));"
        "print(json.dumps([sum(p.numel() for p in found.parameters()), found(x).logits[0, 0, :5].tolist()]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), json.dumps(ids().tolist())],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    there, logits = json.loads(said.stdout)
    assert there == count and torch.allclose(torch.tensor(logits), mine(ids()).logits[0, 0, :5], atol=1e-6)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert type(loaded) is MPOBertForMaskedLM
    with torch.no_grad():
        loaded.albert.encoder.groups[0].query.mul_(2)  # one owner: every layer of the group sees it
    layers = loaded.albert.encoder.layers
    for number in {0, 1}:
        mpo = layers[number].matrices["query"].mpo
        with mpo.handed(loaded.albert.encoder.groups[0].query):
            mine_mpo = mine.albert.encoder.layers[number].matrices["query"].mpo
            with mine_mpo.handed(mine.albert.encoder.groups[0].query):
                assert torch.allclose(mpo.weight, 2 * mine_mpo.weight, atol=1e-5)


@pytest.mark.parametrize("kind", [MPOBertForMaskedLM, MPOBertModel])
def test_the_package_saves_and_loads_its_own_models(kind, tmp_path):
    model = kind.from_albert(small_albert(), 3, adapter_rank=2, num_central_groups=3)
    mpolab.save_pretrained(model, tmp_path / "m")
    again = mpolab.load(tmp_path / "m")
    assert type(again) is kind
    with torch.no_grad():
        torch.testing.assert_close(first(again(ids())), first(model(ids())), rtol=0, atol=0)


def test_groups_are_of_neighbouring_layers():
    config = MPOBertConfig.preset("mpobert-48plus")
    assert [config.group(layer) for layer in (0, 15, 16, 31, 32, 47)] == [0, 0, 1, 1, 2, 2]
    mine = MPOBertModel.from_albert(small_albert(albert.AlbertModel), 6, "copy", num_central_groups=3)
    before = mine(ids(), output_hidden_states=True).hidden_states
    with torch.no_grad():
        mine.encoder.groups[1].ffn.mul_(3)  # that of layers 2 and 3
    after = mine(ids(), output_hidden_states=True).hidden_states
    assert [torch.equal(a, b) for a, b in zip(before, after)] == [True] * 3 + [False] * 4


def test_a_deep_copy_is_a_model_of_its_own():
    mine = MPOBertModel.from_albert(small_albert(albert.AlbertModel), init="copy")
    other = copy.deepcopy(mine)
    with torch.no_grad():
        other.encoder.groups[0].ffn.zero_()
    assert float(mine.encoder.groups[0].ffn.detach().abs().sum()) > 0
    assert not {id(p) for p in mine.parameters()} & {id(p) for p in other.parameters()}


def test_no_layer_owns_a_centre():
    model = MPOBertModel(MPOBertConfig(**SMALL))
    assert all(name.split(".")[-1] in ("A1", "A2", "A3", "A4") for name, _ in model.encoder.layers.named_parameters())
    lonely = model.encoder.layers[0].matrices["query"].mpo
    assert isinstance(lonely, SharedLinear)
    with pytest.raises(RuntimeError, match="no central tensor of its own"):
        _ = lonely.weight


# -- what transformers asks for ----------------------------------------------------------------------------


def test_hidden_states_and_attentions_are_recorded():
    source = small_albert(albert.AlbertModel)
    mine = MPOBertModel.from_albert(source, num_layers=5, init="copy")
    oracle = unrolled(source, 5)
    for model in (mine, oracle):
        model.set_attn_implementation("eager")
    ours, theirs = (model(ids(), output_hidden_states=True, output_attentions=True) for model in (mine, oracle))
    for name in ("hidden_states", "attentions"):
        assert len(ours[name]) == len(theirs[name])
        assert all(torch.allclose(a, b, atol=2e-5) for a, b in zip(ours[name], theirs[name]))


def test_attention_implementations_agree():
    mine = MPOBertModel.from_albert(small_albert(albert.AlbertModel), init="copy")
    found = []
    for name in ("sdpa", "eager"):
        mine.set_attn_implementation(name)
        found.append(mine(ids()).last_hidden_state)
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("mode, keep", [("reconstruct", True), ("reconstruct", False), ("factorized", True)])
def test_activation_checkpointing_changes_nothing(mode, keep):
    grads = []
    for checkpointing in (False, True):
        changes = {"mpo_mode": mode, "mpo_keep_weight": keep, "adapter_rank": 2}
        mine = MPOBertForMaskedLM.from_albert(small_albert(), 4, "theory", **changes).train()
        if checkpointing:
            getattr(mine, "activation_checkpointing_enable", mine.gradient_checkpointing_enable)()
            assert all(layer.gradient_checkpointing for layer in mine.albert.encoder.layers)
        loss = mine(ids(), labels=ids(1)).loss
        loss.backward()
        grads.append([loss.detach()] + [parameter.grad for parameter in mine.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads))
    assert len(grads[0]) > 50


def test_all_of_it_trains_and_a_step_lowers_the_loss():
    torch.manual_seed(0)
    config = MPOBertConfig(**{**SMALL, "initializer_range": 0.05}, adapter_rank=2)
    mine = MPOBertForPreTraining(config).train()
    optimizer = torch.optim.AdamW(mine.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        loss = mine(ids(), labels=ids(), sentence_order_label=torch.tensor([0, 1])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    without = [name for name, parameter in mine.named_parameters() if parameter.grad is None]
    assert without == [] and losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_and_in_half_precision(dtype):
    mine = MPOBertModel.from_albert(small_albert(albert.AlbertModel), init="copy")
    expected = mine(ids()).last_hidden_state
    with torch.autocast("cpu", dtype):
        assert torch.allclose(mine(ids()).last_hidden_state.float(), expected, atol=0.1)
    assert torch.allclose(mine.to(dtype)(ids()).last_hidden_state.float(), expected, atol=0.1)


def test_pipelines(tmp_path):
    tokenizer = tiny_tokenizer()
    config = {**SMALL, "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    filled = MPOBertForMaskedLM(MPOBertConfig(**config)).eval()
    answers = pipeline("fill-mask", model=filled, tokenizer=tokenizer)(f"the cat {tokenizer.mask_token} .")
    assert len(answers) == 5 and all(0 <= answer["score"] <= 1 for answer in answers)
    classes = MPOBertForSequenceClassification(MPOBertConfig(**config, num_labels=3)).eval()
    label = pipeline("text-classification", model=classes, tokenizer=tokenizer)("the cat sleeps")[0]["label"]
    assert label in ("LABEL_0", "LABEL_1", "LABEL_2")


def test_it_loads_by_the_name_of_a_folder(tmp_path):
    MPOBertModel.from_albert(small_albert(albert.AlbertModel), init="copy").save_pretrained(tmp_path)
    found = pretrained.load_pretrained(tmp_path, tokenizer=False)
    assert type(found.model) is MPOBertModel and "MPOBertModel, 3 layers" in found.describe()
    assert type(mpolab.load(tmp_path)) is MPOBertModel
    assert isinstance(AutoModel.from_pretrained(tmp_path), MPOBertModel)


def test_from_albert_takes_a_folder_and_keeps_the_head_that_fits(tmp_path):
    source = small_albert(albert.AlbertForMaskedLM)
    source.save_pretrained(tmp_path)
    by_name = MPOBertModel.from_albert(tmp_path, num_layers=2, init="copy")
    direct = MPOBertModel.from_albert(source.albert, num_layers=2, init="copy")
    assert torch.equal(by_name(ids()).last_hidden_state, direct(ids()).last_hidden_state)
    headed = MPOBertForMaskedLM.from_albert(source, num_layers=2, init="copy")
    assert torch.equal(headed.predictions.dense.weight, source.predictions.dense.weight)


# -- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, error, says",
    [
        ({"num_hidden_layers": 0}, BondError, "at least one layer"),
        ({"num_central_groups": 4}, BondError, "1 to 3 groups"),
        ({"adapter_rank": 65}, BondError, "at most 64"),
        ({"adapter_matrices": ("querry",)}, UnknownNameError, "query"),
        ({"mpo_bond": 0}, BondError, "None leaves all bonds full"),
        ({"num_attention_heads": 7}, BondError, "no multiple"),
        ({"mpo_factors": {64: (2, 2, 2, 2, 2)}}, PlanError, "64"),
    ],
    ids=str,
)
def test_configs_that_make_no_model(changes, error, says):
    with pytest.raises(error, match=says):
        MPOBertModel(MPOBertConfig(**{**SMALL, **changes}))


def test_sources_that_are_no_albert_with_one_set_of_matrices():
    for changes, says in (({"num_hidden_groups": 3}, "3 groups"), ({"inner_group_num": 2}, r"2 inner layer")):
        with pytest.raises(CheckpointError, match=says):
            MPOBertModel.from_albert(small_albert(albert.AlbertModel, **changes))
    with pytest.raises(CheckpointError, match="expected an ALBERT"):
        MPOBertModel.from_albert(MPOBertModel(MPOBertConfig(**SMALL)))
    with pytest.raises(UnknownNameError, match="paper_text"):
        MPOBertModel.from_albert(small_albert(albert.AlbertModel), init="paper-text")
    with pytest.raises(CheckpointError, match="may differ"):
        MPOBertModel.from_albert(small_albert(albert.AlbertModel), vocab_size=61)
    with pytest.raises(BondError, match="at least one layer"):
        MPOBertModel.from_albert(small_albert(albert.AlbertModel), num_layers=0)


def test_every_preset_makes_a_plan():
    for name, matrix in itertools.product(PRESETS, MATRICES):
        config = MPOBertConfig.preset(name)
        assert config.plan(matrix).shape == config.shape(matrix) and not config.plan(matrix).is_padded
