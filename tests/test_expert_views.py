"""Who computes which token and how far experts are apart: against hand-made routings and brute force."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from small import message, tiny_model, tiny_tokenizer
from test_moe import gpt2, t5

from mpolab import to_moe
from mpolab.errors import DataError, MatrixError, RoutingError
from mpolab.expert_views import (
    RoutingTrace,
    entropy_of,
    expert_distances,
    layer_name,
    load_of,
    model_distances,
    snapshot,
    trace_routing,
    upper_triangle,
)
from mpolab.experts import DenseExperts, MPOExperts
from mpolab.ffn import read_ffn
from mpolab.gradient_mask import all_experts
from mpolab.moefication import OracleRouter
from mpolab.routers import Router

TEXT = "the cat runs and the dog sleeps in the house . what is not good is bad ."
TOKENIZER = tiny_tokenizer()


def stirred(model, seed: int = 1, size: float = 0.5):
    """Routers that have something to say, and experts that differ."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Router):
                for parameter in module.parameters():
                    parameter += size * torch.randn(parameter.shape, generator=g)
        for experts in all_experts(model):
            for parameter in experts.own().values():
                parameter += 0.05 * torch.randn(parameter.shape, generator=g)
    return model.eval()


def small_gpt2(kind: str = "mpoe", experts: int = 4, **options):
    model = tiny_model("GPT2LMHeadModel")
    return stirred(to_moe(model, kind, experts, **options))


def small_t5(**changes):
    return t5(vocab_size=len(TOKENIZER), **changes)


def seen_by(model, **given):
    """What goes into every feed-forward block: [(tokens, hidden)]."""
    found, handles = [], []
    for module in model.modules():
        if hasattr(module, "router"):
            handles.append(module.register_forward_pre_hook(lambda _m, args: found.append(args[0][0])))
    with torch.no_grad():
        model(**given)
    for handle in handles:
        handle.remove()
    return found


def entropy(shares) -> float:
    return -sum(p * math.log(p) for p in shares if p > 0)


# -- traces ----------------------------------------------------------------------------------------------


def test_a_trace_is_softmax_and_argmax_of_what_the_router_sees():
    model = small_gpt2()
    trace = trace_routing(model, TOKENIZER, TEXT)
    ids = TOKENIZER(TEXT, add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert trace.tokens[:3] == ("the", " cat", " runs") and "".join(trace.tokens) == TEXT
    assert trace.experts.shape == (2, ids.shape[1], 1) and trace.probabilities.shape == (2, ids.shape[1], 4)
    assert trace.layers == ("layer 0", "layer 1") and trace.decoder is None and trace.count == 4
    for number, x in enumerate(seen_by(model, input_ids=ids)):
        classifier = model.transformer.h[number].mlp.router.classifier
        for token in range(ids.shape[1]):
            logits = (x[token] @ classifier.weight.detach().T + classifier.bias.detach()).tolist()
            total = sum(math.exp(logit) for logit in logits)
            p = [math.exp(logit) / total for logit in logits]
            assert trace.probabilities[number, token].tolist() == pytest.approx(p, abs=1e-5)
            assert trace.experts[number, token].tolist() == [p.index(max(p))]
        counts = Counter(trace.experts[number, :, 0].tolist())
        load = [counts[e] / ids.shape[1] for e in range(4)]
        assert trace.load[number].tolist() == pytest.approx(load) and len(counts) > 1
        assert trace.load_entropy[number].item() == pytest.approx(entropy(load))
        each = [entropy(p) for p in trace.probabilities[number].tolist()]
        assert trace.router_entropy[number].item() == pytest.approx(sum(each) / len(each))
    assert trace.dropped.tolist() == [0, 0] and trace.load.dtype == torch.float64


def test_two_experts_a_token_share_the_load():
    model = small_gpt2("moe", 4, top_k=2)
    trace = trace_routing(model, TOKENIZER, TEXT)
    best = trace.probabilities.topk(2, dim=-1).indices
    assert trace.experts.equal(best)
    for number in range(2):
        counts = Counter(trace.experts[number].reshape(-1).tolist())
        load = [counts[e] / (2 * len(trace.tokens)) for e in range(4)]
        assert trace.load[number].tolist() == pytest.approx(load) and trace.load[number].sum() == 1


def test_tokens_beyond_the_capacity_are_dropped_and_no_load():
    model = small_gpt2("switch", 2, eval_capacity_factor=0.5)
    trace = trace_routing(model, TOKENIZER, TEXT)
    tokens = len(trace.tokens)
    room = math.ceil(0.5 * tokens / 2)
    for number in range(2):
        choice, taken = trace.probabilities[number].argmax(-1).tolist(), Counter()
        expected = []
        for expert in choice:  # the first ones have room
            taken[expert] += 1
            expected.append(expert if taken[expert] <= room else -1)
        assert trace.experts[number, :, 0].tolist() == expected
        assert trace.dropped[number].item() == pytest.approx(expected.count(-1) / tokens) and -1 in expected
        kept = [e for e in expected if e != -1]
        assert trace.load[number].tolist() == pytest.approx([kept.count(e) / len(kept) for e in range(2)])


def test_hashing_has_no_distribution():
    trace = trace_routing(small_gpt2("mpoe", 4, router="hash"), TOKENIZER, "the cat the dog the")
    assert trace.probabilities is None and trace.router_entropy is None
    chosen = trace.experts[:, :, 0]
    assert (chosen[:, [0, 2, 4]] == chosen[:, :1]).all()  # by the token's id alone


def test_the_oracle_s_distribution_is_the_shares_of_its_scores():
    model = to_moe(tiny_model("GPT2LMHeadModel"), "moefication", 4, router="oracle").eval()
    trace = trace_routing(model, TOKENIZER, TEXT)
    ids = TOKENIZER(TEXT, add_special_tokens=False, return_tensors="pt")["input_ids"]
    for number, x in enumerate(seen_by(model, input_ids=ids)):
        layer = model.transformer.h[number].mlp
        assert type(layer.router) is OracleRouter
        scores = layer.experts.scores(x).double()
        torch.testing.assert_close(trace.probabilities[number], scores / scores.sum(-1, keepdim=True))
    learned = trace_routing(small_gpt2("moefication", 4), TOKENIZER, TEXT)  # its logits are no scores
    torch.testing.assert_close(learned.probabilities.sum(-1), torch.ones(2, len(trace.tokens), dtype=torch.float64))


def test_an_encoder_decoder_has_two_traces():
    model = stirred(to_moe(small_t5(), "mpoe", 4))
    trace = trace_routing(model, TOKENIZER, "the cat runs", "a dog")
    assert trace.tokens == ("[CLS]", "the", " cat", " runs", "[SEP]")
    assert trace.decoder.tokens == ("[PAD]", "[CLS]", "a", " dog")  # shifted: the last is never read
    assert trace.layers == ("encoder layer 0", "encoder layer 1")
    assert trace.decoder.layers == ("decoder layer 0", "decoder layer 1")
    source, target = (TOKENIZER(text, return_tensors="pt")["input_ids"] for text in ("the cat runs", "a dog"))
    before = torch.cat([torch.zeros(1, 1, dtype=torch.long), target[:, :-1]], dim=1)
    with torch.no_grad():
        out = model(input_ids=source, decoder_input_ids=before, output_router_logits=True)
    for number, logits in enumerate(out.router_logits):
        part = (trace, trace.decoder)[number // 2]
        torch.testing.assert_close(part.probabilities[number % 2], logits[0].double().softmax(-1))
        assert part.experts[number % 2, :, 0].equal(logits[0].argmax(-1))
    alone = trace_routing(model, TOKENIZER, "the cat runs")
    assert alone.decoder is None and alone.experts.equal(trace.experts)


def byte_level():
    """A tokenizer as GPT-2 has it: spaces belong to words, characters may be several tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inside = Tokenizer(models.BPE())
    inside.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inside.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inside.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=inside)


@pytest.mark.parametrize("text", ["the cat  runs\n\nand", " the dog", "naïve 日本 😀!", "a\tb ", "THE Cat's"])
def test_tokens_together_are_the_text(text):
    from mpolab.vocabulary import train_tokenizer

    for tokenizer in (byte_level(), train_tokenizer([TEXT, text] * 3, 400, progress=False)):
        model = to_moe(gpt2(vocab_size=len(tokenizer), n_positions=64), "mpoe", 2)
        trace = trace_routing(model, tokenizer, text)
        assert "".join(trace.tokens) in (text, text.rstrip())  # white space at the end may be no token
        assert len(trace.tokens) == len(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_tokenizer_that_tells_no_places_shows_its_pieces():
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()
    assert not tokenizer.is_fast
    trace = trace_routing(to_moe(t5(vocab_size=len(tokenizer)), "mpoe", 2), tokenizer, "ab c")
    assert trace.tokens == ("a", "b", " ", "c", "</s>")


def test_a_trace_survives_json():
    for model in (small_gpt2("moe", 4, top_k=2), small_gpt2("mpoe", 4, router="hash")):
        trace = trace_routing(model, TOKENIZER, TEXT)
        again = RoutingTrace.from_dict(json.loads(json.dumps(trace.to_dict())))
        assert again.tokens == trace.tokens and again.paths == trace.paths and again.experts.equal(trace.experts)
        if trace.probabilities is not None:
            torch.testing.assert_close(again.probabilities, trace.probabilities, atol=1e-4, rtol=1e-3)
    both = trace_routing(to_moe(small_t5(), "mpoe", 4), TOKENIZER, "the cat", "dog")
    again = RoutingTrace.from_dict(json.loads(json.dumps(both.to_dict())))
    assert again.decoder.tokens == both.decoder.tokens and again.decoder.experts.equal(both.decoder.experts)
    damaged = [{}, {**both.to_dict(), "tokens": ["one"]}, {**both.to_dict(), "probabilities": [[0.5]]}, {"tokens": 3}]
    for about in damaged:
        with pytest.raises(DataError, match="no trace of a routing"):
            RoutingTrace.from_dict(about)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("transformer.h.11.mlp", "layer 11"),
        ("encoder.block.3.layer.1.DenseReluDense", "encoder layer 3"),
        ("model.decoder.block.0.layer.2.DenseReluDense", "decoder layer 0"),
        ("mlp", "mlp"),
        ("h.2", "layer 2"),
    ],
)
def test_layers_have_names(path, name):
    assert layer_name(path) == name


def test_nothing_of_the_model_changes():
    model = small_gpt2("moe", 4, top_k=2)
    model.train()
    model.transformer.h[1].eval()
    with torch.no_grad():
        model.transformer.h[0].mlp.experts.routed[:] = torch.tensor([True, False, False, True])
    modes = [module.training for module in model.modules()]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trace_routing(model, TOKENIZER, TEXT)
    snapshot(model, {"input_ids": torch.arange(5, 25).view(2, 10)})
    assert torch.rand(3).equal(expected)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(tensor.equal(weights[name]) for name, tensor in model.state_dict().items())
    assert model.transformer.h[0].mlp.experts.routed.tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("model", "tokenizer", "text", "says"),
    [
        (small_gpt2, TOKENIZER, "  \n", "at least a word"),
        (small_gpt2, TOKENIZER, None, "at least a word"),
        (small_gpt2, TOKENIZER, "cat " * 65, "65 tokens, and GPT2LMHeadModelWithExperts takes 64"),
        (small_gpt2, None, TEXT, "NoneType is no tokenizer"),
        (small_gpt2, "gpt2", TEXT, "str is no tokenizer"),
        (lambda: to_moe(gpt2(), "mpoe", 2), TOKENIZER, TEXT, "knows 50 tokens"),
    ],
)
def test_bad_input_is_told(model, tokenizer, text, says):
    with pytest.raises(DataError) as error:
        trace_routing(model(), tokenizer, text)
    message(error, says)


def test_a_dense_model_and_a_target_without_decoder_are_told():
    for call in (trace_routing, lambda model, *_: model_distances(model), lambda model, *_: snapshot(model, {})):
        with pytest.raises(RoutingError) as error:
            call(tiny_model("GPT2LMHeadModel"), TOKENIZER, TEXT)
        message(error, "GPT2LMHeadModel has no experts", "to_moe")
    with pytest.raises(DataError, match="no decoder"):
        trace_routing(small_gpt2(), TOKENIZER, TEXT, target="a cat")


# -- distances -------------------------------------------------------------------------------------------


def brute_force(matrices):
    """[(n, out, in) array] -> (n, n): one pair after the other, in NumPy."""
    flat = [
        np.concatenate([np.asarray(W[e], dtype=np.float64).ravel() for W in matrices]) for e in range(len(matrices[0]))
    ]
    found = np.zeros((len(flat), len(flat)))
    for a, one in enumerate(flat):
        for b, other in enumerate(flat):
            found[a, b] = np.linalg.norm(one - other) / math.sqrt(np.linalg.norm(one) * np.linalg.norm(other))
    return found


@pytest.mark.parametrize("gated", [False, True])
def test_distances_of_dense_experts_are_those_of_brute_force(gated):
    block = t5(feed_forward_proj="gated-gelu" if gated else "relu").encoder.block[0].layer[1].DenseReluDense
    experts = DenseExperts.from_ffn(block, 5)
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in experts.own().values():
            parameter.copy_(torch.randn(parameter.shape, generator=g) * torch.rand(5, 1, 1, generator=g))
    found = expert_distances(experts)
    weights = [matrix.weight.detach().numpy() for matrix in experts.matrices.values()]
    assert len(weights) == 2 + gated and found.dtype == torch.float64
    np.testing.assert_allclose(found, brute_force(weights), rtol=1e-9, atol=1e-12)
    assert upper_triangle(found).tolist() == [found[a, b] for a in range(5) for b in range(a + 1, 5)]


def test_distances_of_mpo_experts_are_those_of_their_rebuilt_matrices(oracle):
    experts = MPOExperts.from_ffn(read_ffn(gpt2().transformer.h[0].mlp), 4)
    g = torch.Generator().manual_seed(3)
    weights = []
    with torch.no_grad():
        for parameter in experts.own().values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=g)
    for matrix in experts.matrices.values():
        c, out = matrix.plan.centre, []
        for e in range(4):
            own = [core[e].detach() for core in matrix.auxiliary]
            out.append(oracle.product([*own[:c], matrix.central.detach(), *own[c:]]))
        weights.append(out)
    found = expert_distances(experts)
    np.testing.assert_allclose(found, brute_force(weights), rtol=1e-9, atol=1e-12)
    assert (found + torch.eye(4) > 0.01).all()


@pytest.mark.parametrize("kind", ["mpoe", "moe", "switch"])
@pytest.mark.parametrize("make", [gpt2, t5, lambda: gpt2().double(), lambda: t5(feed_forward_proj="gated-gelu")])
def test_all_experts_are_alike_at_the_start(kind, make):
    for distances in model_distances(to_moe(make(), kind, 5)).values():
        assert distances.shape == (5, 5) and (distances == 0).all()


def test_distances_are_always_numbers_and_weights_have_to_be():
    experts = DenseExperts.from_ffn(read_ffn(gpt2().transformer.h[0].mlp), 4)
    with torch.no_grad():
        for matrix in experts.matrices.values():
            matrix.weight[2:] = 0
    found = expert_distances(experts)
    assert found[0, 1] == found[2, 3] == 0 and math.isinf(found[0, 2]) and not found.isnan().any()
    with torch.no_grad():
        experts.matrices["down"].weight[1, 0, 0] = math.nan
    with pytest.raises(MatrixError, match="expert 1 hold NaN"):
        expert_distances(experts)
    assert expert_distances(DenseExperts.from_ffn(read_ffn(gpt2().transformer.h[0].mlp), 1)).tolist() == [[0]]


# -- snapshots -------------------------------------------------------------------------------------------


def test_a_snapshot_of_a_batch_counts_no_padding():
    model = small_gpt2()
    rows = [torch.tensor(TOKENIZER(text, add_special_tokens=False)["input_ids"]) for text in (TEXT, "the cat runs .")]
    batch = {"input_ids": torch.zeros(2, len(rows[0]), dtype=torch.long)}
    batch["attention_mask"] = torch.zeros_like(batch["input_ids"])
    for k, row in enumerate(rows):  # padded on the right, which a causal model does not notice
        batch["input_ids"][k, : len(row)] = row
        batch["attention_mask"][k, : len(row)] = 1
    found = snapshot(model, batch)
    traces = [trace_routing(model, TOKENIZER, text) for text in (TEXT, "the cat runs .")]
    distances = list(model_distances(model).values())
    assert json.loads(json.dumps(found)) == found and [layer["name"] for layer in found["layers"]] == [
        "layer 0",
        "layer 1",
    ]
    for number, layer in enumerate(found["layers"]):
        experts = torch.cat([trace.experts[number] for trace in traces])
        known = torch.cat([trace.probabilities[number] for trace in traces])
        load = [(experts == e).sum().item() / len(experts) for e in range(4)]
        assert layer["load"] == pytest.approx(load, abs=1e-4)
        assert layer["load_entropy"] == pytest.approx(entropy(load), rel=1e-3)
        assert layer["router_entropy"] == pytest.approx(sum(map(entropy, known.tolist())) / len(known), rel=1e-3)
        assert layer["distances"] == pytest.approx(upper_triangle(distances[number]).tolist(), rel=1e-3)
        assert all(value == float(f"{value:.4g}") for value in layer["distances"])


def test_a_snapshot_of_a_trace_is_that_of_its_text():
    model = small_gpt2()
    ids = TOKENIZER(TEXT, add_special_tokens=False, return_tensors="pt")
    assert snapshot(model, trace_routing(model, TOKENIZER, TEXT)) == snapshot(model, ids)  # token_type_ids are left out
    both = stirred(to_moe(small_t5(), "mpoe", 3))
    source, target = (TOKENIZER(text, return_tensors="pt")["input_ids"] for text in (TEXT, "a dog"))
    seen = snapshot(both, trace_routing(both, TOKENIZER, TEXT, "a dog"))
    assert seen == snapshot(both, {"input_ids": source, "labels": target}) and len(seen["layers"]) == 4
    with pytest.raises(DataError, match="of another model"):
        snapshot(both, trace_routing(model, TOKENIZER, TEXT))


def test_a_snapshot_of_nothing_is_told():
    model = small_gpt2()
    ids = torch.arange(5, 11)[None]
    for batch in ({}, {"input_ids": [1, 2]}, None):
        with pytest.raises(DataError, match="a batch is a mapping"):
            snapshot(model, batch)
    with pytest.raises(DataError, match="nothing but padding"):
        snapshot(model, {"input_ids": ids, "attention_mask": torch.zeros_like(ids)})


def test_an_infinite_distance_is_none_in_a_record():
    model = small_gpt2("moe", 2)
    with torch.no_grad():
        for matrix in model.transformer.h[0].mlp.experts.matrices.values():
            matrix.weight[0] = 0
    found = snapshot(model, {"input_ids": torch.arange(5, 11)[None]})
    assert found["layers"][0]["distances"] == [None] and found["layers"][1]["distances"][0] > 0
    assert (
        snapshot(small_gpt2("mpoe", 2, router="hash"), {"input_ids": torch.arange(5, 9)[None]})["layers"][0][
            "router_entropy"
        ]
        is None
    )


def test_load_and_entropy_by_hand():
    assert load_of(torch.tensor([[0, 2], [2, -1]]), 4).tolist() == pytest.approx([1 / 3, 0, 2 / 3, 0])
    assert entropy_of(torch.tensor([1.0, 0, 0])) == 0
    assert entropy_of(torch.full((8,), 1 / 8)).item() == pytest.approx(math.log(8))
    assert entropy_of(torch.tensor([[0.5, 0.5], [0.9, 0.1]])).tolist() == pytest.approx([0.693147, 0.325083], abs=1e-6)
