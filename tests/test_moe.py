"""GPT-2 and T5 as mixtures of experts: the dense model at the start, the printed counts, saving, training."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

import mpolab
from mpolab import to_moe, trainable_report
from mpolab.errors import MatrixTypeError, RoutingError, UnknownNameError
from mpolab.experts import MPOExperts
from mpolab.gradient_mask import central_tensors
from mpolab.moe import KINDS, WithExperts, class_with_experts
from mpolab.moe_layer import MoELayer
from mpolab.routers import Router

EQUAL = {
    "mpoe": {},
    "moe": {"top_k": 2},
    "switch": {"capacity_factor": None, "eval_capacity_factor": None, "scale": False},
    "moefication": {"top_k": 8},
}
"""Settings at which a converted model computes what the dense one does."""


def gpt2(cls=GPT2LMHeadModel, seed: int = 0, **changes):
    torch.manual_seed(seed)
    sizes = {"vocab_size": 50, "n_positions": 32, "n_embd": 24, "n_layer": 2, "n_head": 2}
    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 1}
    model = cls(GPT2Config(**{**sizes, **quiet, "pad_token_id": 0, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():  # biases too, and matrices large enough for experts to matter
            parameter.normal_(0, 0.2)
    return model.eval()


def t5(seed: int = 0, **changes):
    torch.manual_seed(seed)
    sizes = {"vocab_size": 50, "d_model": 24, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 3}
    config = T5Config(**{**sizes, "dropout_rate": 0.0, "pad_token_id": 0, "decoder_start_token_id": 0, **changes})
    return T5ForConditionalGeneration(config).eval()


IDS = torch.randint(5, 50, (3, 10), generator=torch.Generator().manual_seed(0))


def inputs(model):
    return {"input_ids": IDS} | ({"decoder_input_ids": IDS[:, :4]} if model.config.is_encoder_decoder else {})


DENSE = {"GPT-2": gpt2, "T5": t5, "T5 v1.1": lambda: t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False)}


@pytest.mark.parametrize("family", DENSE)
@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_dense_model_generation_included(family, kind):
    dense = DENSE[family]()
    model = to_moe(copy.deepcopy(dense), kind, 8, **EQUAL[kind])
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs(model)).logits, dense(**inputs(dense)).logits, atol=1e-5, rtol=1e-4)
    mask = torch.ones_like(IDS)
    mask[0, :3] = 0  # padding on the left, as generation has it
    asked = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "num_beams": 2}
    assert model.generate(IDS, **asked).tolist() == dense.generate(IDS, **asked).tolist()


def test_the_comparison_would_see_another_expert():
    """One expert's auxiliary tensor changed: the output moves, and only for its tokens."""
    dense = gpt2()
    model = to_moe(copy.deepcopy(dense), "mpoe", 4)
    out = model(IDS, output_router_logits=True)
    first = out.router_logits[0].argmax(-1)  # (batch, tokens)
    layer = model.transformer.h[0].mlp
    used = int(first[0, -1])
    with torch.no_grad():
        layer.experts.matrices["up"].A1[used] += 0.5
    seen = []
    layer.register_forward_hook(lambda module, given, out: seen.append(out))
    model(IDS)
    model.transformer.h[0].mlp.experts.matrices["up"].A1.data[used] -= 0.5
    model(IDS)
    moved = (seen[0] - seen[1]).abs().amax(-1) > 1e-6
    assert moved[first == used].all() and not moved[first != used].any() and moved.any() and not moved.all()


def test_padding_gets_no_expert_and_counts_for_no_load():
    model = to_moe(gpt2(), "mpoe", 4)
    mask = torch.ones_like(IDS)
    mask[:, :4] = 0
    with model._heard() as heard:
        model.transformer(IDS, attention_mask=mask)
    assert len(heard) == 2 and all(routing.load(4).sum() == mask.sum() for routing in heard)
    assert all((routing.indices[..., 0] == -1).equal(mask == 0) for routing in heard)


# -- counts ----------------------------------------------------------------------------------------------


def on_meta(family: str):
    with torch.device("meta"):
        if family == "gpt2":
            return GPT2LMHeadModel(GPT2Config())
        sizes = {"t5-base": (768, 3072, 12, 12), "t5-large": (1024, 4096, 24, 16)}[family]
        d_model, d_ff, layers, heads = sizes
        return T5ForConditionalGeneration(
            T5Config(vocab_size=32128, d_model=d_model, d_ff=d_ff, d_kv=64, num_layers=layers, num_heads=heads)
        )


@pytest.mark.parametrize(
    ("family", "settings", "millions"),
    [
        ("t5-base", {"kind": "mpoe", "experts": 8}, 293.98),
        ("t5-base", {"kind": "mpoe", "experts": 16}, 365.06),
        ("t5-base", {"kind": "mpoe", "experts": 4}, 258.4),
        ("t5-base", {"kind": "moe", "experts": 8, "routers": False}, 1015.6),
        ("t5-large", {"kind": "mpoe", "experts": 8}, 990.1),
        ("t5-large", {"kind": "mpoe", "experts": 7, "routers": False}, 958.2),
        ("gpt2", {"kind": "switch", "experts": 8, "keep_dense": True}, 577.9),
        ("gpt2", {"kind": "mpoe", "experts": 8, "keep_dense": True}, 157.0),
        ("gpt2", {"kind": "mpoe", "experts": 12, "keep_dense": True}, 171.6),
        ("gpt2", {"kind": "mpoe", "experts": 8, "keep_dense": True, "plan": 3, "routers": False}, 130.34),
        ("gpt2", {"kind": "mpoe", "experts": 8, "keep_dense": True, "plan": 7, "routers": False}, 199.7),
        ("gpt2", {"kind": "mpoe", "experts": 8, "keep_dense": True, "plan": 9, "routers": False}, 215.17),
    ],
)
def test_counts_are_those_of_the_paper_recomputed(family, settings, millions):
    """Some of them leave the routers out: 0.08 M for nine copies on GPT-2."""
    settings = dict(settings)
    with_routers = settings.pop("routers", True)
    model = to_moe(on_meta(family), **settings)
    total = trainable_report(model).total
    if not with_routers:
        total -= sum(p.numel() for m in model.modules() if isinstance(m, Router) for p in m.parameters())
    digits = len(str(millions).partition(".")[2])
    assert abs(total / 1e6 - millions) <= 0.51 * 10**-digits, total


def test_the_ratio_of_section_3_1_with_the_true_gamma():
    """(n + gamma) / (n (gamma + 1)) of the experts' own numbers: printed with gamma = 12 as 0.19."""
    model = to_moe(on_meta("t5-base"), "mpoe", 8)
    mixed = model.encoder.block[0].layer[-1].DenseReluDense.experts
    centre = sum(p.numel() for p in mixed.centres.values())
    own = sum(p.numel() for p in mixed.parameters()) - centre  # of all eight
    gamma = 8 * centre / own
    assert gamma == pytest.approx(12.77, abs=0.01)
    true = (centre + own) / (8 * (centre + own / 8))
    assert true == pytest.approx((8 + gamma) / (8 * (gamma + 1)), rel=1e-12) == pytest.approx(0.1885, abs=1e-4)
    assert (8 + 12) / (8 * 13) == pytest.approx(0.1923, abs=1e-4)


# -- outputs and losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["GPT-2", "T5"])
def test_router_logits_are_recorded_when_asked_for(family):
    model = to_moe(DENSE[family](), "mpoe", 4)
    assert "router_logits" not in model(**inputs(model))
    out = model(**inputs(model), output_router_logits=True)
    assert [tuple(logits.shape) for logits in out.router_logits] == (
        [(3, 10, 4)] * 2 if family == "GPT-2" else [(3, 10, 4)] * 2 + [(3, 4, 4)] * 2
    )
    model.config.output_router_logits = True
    assert len(model(**inputs(model)).router_logits) == len(out.router_logits)
    assert isinstance(model(**inputs(model), return_dict=False), tuple)


@pytest.mark.parametrize("family", ["GPT-2", "T5"])
def test_a_tuple_has_the_same_loss(family):
    model = to_moe(DENSE[family](), "switch", 4, jitter=0.0).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    given = inputs(model)
    given["labels"] = given.get("decoder_input_ids", given["input_ids"]).clone()
    out, found = model(**given), model(**given, return_dict=False)
    assert out.aux_loss > 0 and isinstance(found, tuple) and len(found) == len(out) - 1  # all but aux_loss
    torch.testing.assert_close(found[0], out.loss)


def test_the_routers_losses_join_the_loss_in_training_only():
    model = to_moe(gpt2(), "switch", 4, jitter=0.0)
    plain = model(IDS, labels=IDS)
    assert "aux_loss" not in plain
    model.train()
    with model._heard() as heard:
        bare = model.transformer(IDS)
    expected = sum(routing.loss for routing in heard)
    out = model(IDS, labels=IDS)
    assert bare is not None and out.aux_loss.item() == pytest.approx(expected.item(), rel=1e-6) and out.aux_loss > 0
    logits = out.logits[:, :-1].flatten(0, 1)
    lm = torch.nn.functional.cross_entropy(logits, IDS[:, 1:].flatten())
    assert out.loss.item() == pytest.approx((lm + out.aux_loss).item(), rel=1e-6)


def test_activation_checkpointing_gives_the_same_gradients():
    grads = []
    for checkpointing in (False, True):
        model = to_moe(gpt2(), "mpoe", 4).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(IDS, labels=IDS, use_cache=False).loss.backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    assert grads[0].keys() == grads[1].keys() and all(grad is not None for grad in grads[0].values())
    for name in grads[0]:
        torch.testing.assert_close(grads[0][name], grads[1][name], atol=1e-6, rtol=1e-5, msg=name)


def test_a_copy_listens_to_its_own_tokens():
    model = to_moe(gpt2(), "mpoe", 4)
    other = copy.deepcopy(model)
    mask = torch.ones_like(IDS)
    mask[:, :5] = 0
    other(IDS, attention_mask=mask)
    layers = [next(m for m in found.modules() if isinstance(m, MoELayer)) for found in (model, other)]
    assert layers[0].inputs.mask is None and layers[1].inputs.mask is mask
    assert layers[0].inputs is not layers[1].inputs
    assert layers[1].inputs is other.transformer.h[1].mlp.inputs


def test_another_head_works_too():
    dense = gpt2(GPT2ForSequenceClassification, num_labels=3)
    model = to_moe(copy.deepcopy(dense), "mpoe", 3)
    torch.testing.assert_close(model(IDS).logits, dense(IDS).logits, atol=1e-5, rtol=1e-4)
    assert type(model) is class_with_experts(GPT2ForSequenceClassification) and isinstance(model, WithExperts)


# -- saving ------------------------------------------------------------------------------------------------

FRESH = """
import sys, torch, mpolab
model = mpolab.load(sys.argv[1])
print(sum(p.numel() for p in model.parameters()))
torch.save(model(torch.arange(5, 15)[None], **({"decoder_input_ids": torch.arange(5, 9)[None]}
           if model.config.is_encoder_decoder else {})).logits, sys.argv[2])
"""


@pytest.mark.parametrize(("family", "kind"), [("GPT-2", "mpoe"), ("T5", "mpoe"), ("GPT-2", "moefication")])
def test_a_saved_model_is_the_same_in_a_fresh_process_with_each_centre_once(tmp_path, family, kind):
    from safetensors import safe_open

    model = to_moe(DENSE[family](), kind, 4, top_k=2 if kind == "moefication" else 1, keep_dense=kind == "mpoe")
    with torch.no_grad():  # experts that have drifted apart
        for name, parameter in model.named_parameters():
            if ".experts." in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    mpolab.save_pretrained(model, tmp_path / "m")
    with safe_open(tmp_path / "m" / "model.safetensors", "pt") as file:
        names = list(file.keys())
    layers = 2 if family == "GPT-2" else 4
    assert sum(name.endswith(".central") for name in names) == (2 * layers if kind == "mpoe" else 0)
    run = [sys.executable, "-c", FRESH, str(tmp_path / "m"), str(tmp_path / "out.pt")]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) == sum(p.numel() for p in model.parameters())
    ids = torch.arange(5, 15)[None]
    more = {"decoder_input_ids": torch.arange(5, 9)[None]} if family == "T5" else {}
    torch.testing.assert_close(torch.load(tmp_path / "out.pt"), model(ids, **more).logits)


# -- the gradient mask --------------------------------------------------------------------------------------


def test_at_probability_one_the_centres_stand_still_and_the_rest_moves():
    model = to_moe(gpt2(), "mpoe", 2, mask_probability=1.0).train()
    centres = central_tensors(model)
    assert len(centres) == 4 and not any(p.requires_grad for p in centres.values())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model(IDS, labels=IDS).loss.backward()
    optimizer.step()
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert {name for name in still if name.endswith("central")} == set(centres)
    assert any(".A1" in name for name in before if name not in still)


def test_a_training_finds_the_mask_by_itself():
    model = to_moe(gpt2(), "mpoe", 2, mask_probability=0.5, seed=3)
    (callback,) = model.training_callbacks()
    assert callback.mask.probability == 0.5 and callback.mask.seed == 3 and len(callback.mask.tensors) == 4
    assert to_moe(gpt2(), "moe", 2).training_callbacks() == []


def test_a_training_masks_and_adds_the_routers_losses():
    """Nothing is asked of the caller: the engine takes the callbacks from the model, and aux_loss from its outputs."""
    from small import tiny_text, tiny_tokenizer

    from mpolab.training import Settings, train_lm

    tokenizer = tiny_tokenizer()
    settings = Settings(max_steps=3, batch_size=8, lr=1e-2, max_length=16, warmup=0, device="cpu")
    curves = {}
    for weight in (0.0, 10.0):
        model = gpt2(vocab_size=len(tokenizer))
        to_moe(model, "mpoe", 2, mask_probability=0.9999, weights={"load_balancing": weight, "z": 0.0})
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        outcome = train_lm(model, tokenizer, tiny_text(40, 8), settings, progress=False)
        still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
        assert set(central_tensors(model)) <= still and len(still) < len(before) / 2
        curves[weight] = outcome.curve[0]["loss"]
    # two layers, whose losses are at least 1 each (1 = balanced): eqs. 4 to 6 of Fedus et al.
    assert curves[10.0] >= curves[0.0] + 2 * 10.0 * 0.99


# -- what cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"kind": "moee"}, UnknownNameError, "mpoe"),
        ({"kind": "moe", "experts": 2, "top_k": 3}, RoutingError, "only 2 experts"),
        ({"top_k": 2}, RoutingError, "kind='moe' can"),
        ({"kind": "switch", "capacity_factor": 0.0}, RoutingError, "capacity_factor"),
        ({"kind": "switch", "mask_probability": 0.5}, RoutingError, "has none"),
        ({"mask_probability": 1.5}, RoutingError, "between 0"),
        ({"kind": "moefication", "keep_dense": True}, RoutingError, "splits"),
        ({"kind": "moefication", "experts": 7}, RoutingError, "would do"),
        ({"kind": "moe", "plan": 5}, RoutingError, "decomposed"),
        ({"experts": 0}, RoutingError, "at least 1"),
        ({"router": "swich"}, UnknownNameError, "switch"),
        ({"experts": 0, "keep_dense": True}, RoutingError, "at least 1"),
        ({"experts": "8"}, RoutingError, "whole number"),
        ({"mask_probability": None}, RoutingError, "between 0"),
        ({"plan": "mpobrt"}, UnknownNameError, "mpobert"),
        ({"plan": {"bnd": 3}}, UnknownNameError, "bond"),
        ({"plan": 2.5}, RoutingError, "whole number"),
        ({"kind": "switch", "capacity": 2.0}, UnknownNameError, "capacity_factor"),
        ({"kind": "moefication", "widht": 4}, UnknownNameError, "width"),
    ],
)
def test_numbers_that_route_nothing_are_named_and_nothing_is_changed(settings, error, says):
    model = gpt2()
    with pytest.raises(error, match=says):
        to_moe(model, **settings)
    assert type(model) is GPT2LMHeadModel and not any(isinstance(m, MoELayer) for m in model.modules())
    assert model(IDS).logits.isfinite().all()


def test_a_style_of_plan_by_its_name():
    def shapes(plan):
        with torch.device("meta"):
            model = GPT2LMHeadModel(GPT2Config(n_layer=1))  # 768 and 3072, where the styles differ
        return [p.shape for p in to_moe(model, "mpoe", 2, plan=plan).parameters()]

    assert shapes("mpop") == shapes({"style": "mpop"}) != shapes(None)


def test_one_expert_is_the_dense_model():
    dense = gpt2()
    model = to_moe(copy.deepcopy(dense), "mpoe", 1)
    torch.testing.assert_close(model(IDS).logits, dense(IDS).logits, atol=1e-5, rtol=1e-4)
    assert isinstance(model.transformer.h[0].mlp.experts, MPOExperts)


def test_a_model_without_known_blocks_and_one_converted_twice():
    bert = BertModel(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                                intermediate_size=16))  # fmt: skip
    with pytest.raises(MatrixTypeError, match="GPT-2 and T5"):
        to_moe(bert)
    with pytest.raises(RoutingError, match="already"):
        to_moe(to_moe(gpt2(), "moe", 2), "mpoe", 2)
