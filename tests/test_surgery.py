"""Surgery on whole models: counts against the papers, outputs against the dense model, and the way back."""

from __future__ import annotations

import copy
import io
import itertools
import math

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mpolab import layer_base, surgery
from mpolab.allocation import allocate
from mpolab.errors import BondError, MatrixError, PlanError, UnknownNameError
from mpolab.layers import MPOEmbedding, MPOLinear, MPOTiedHead
from mpolab.mpo import MPO
from mpolab.surgery import MPOTiedEmbedding, freeze_central, mpo_layers, to_dense, to_mpo, trainable_report
from mpolab.surgery_plans import FAMILIES, MPOP_RELEASED, Rule, kind_of, match, matrix_modules, nearest, rules_of, sites

WORDS = 90
SMALL = {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
T5 = {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
# model -> (config, classes): all seven families, each with a classifier and with a language-modelling head
MODELS: dict[str, tuple[dict, tuple[str, ...]]] = {
    "Albert": (SMALL | {"embedding_size": 16, "intermediate_size": 64}, ("ForSequenceClassification", "ForMaskedLM")),
    "Bert": (SMALL | {"intermediate_size": 64}, ("ForSequenceClassification", "ForMaskedLM", "ForQuestionAnswering")),
    "Roberta": (
        SMALL | {"intermediate_size": 64, "max_position_embeddings": 40},
        ("ForSequenceClassification", "ForMaskedLM"),
    ),
    "DistilBert": (
        {"vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
        ("ForSequenceClassification", "ForMaskedLM"),
    ),
    "MobileBert": (
        SMALL
        | {
            "hidden_size": 48,
            "embedding_size": 16,
            "intermediate_size": 64,
            "intra_bottleneck_size": 32,
            "true_hidden_size": 32,
        },
        ("ForSequenceClassification", "ForMaskedLM"),
    ),
    "GPT2": (
        {
            "vocab_size": WORDS,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        ("ForSequenceClassification", "LMHeadModel"),
    ),
    "T5": (T5 | {"decoder_start_token_id": 0, "pad_token_id": 0}, ("ForConditionalGeneration",)),
}
CASES = [(name, kind) for name, (_, kinds) in MODELS.items() for kind in kinds] + [("T5", "gated")]
CLASSIFIERS = ("ForSequenceClassification", "ForQuestionAnswering")
NO_DROPOUT = ("dropout", "dropout_rate", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob",
              "resid_pdrop", "embd_pdrop", "attn_pdrop", "seq_classif_dropout", "classifier_dropout_prob")  # fmt: skip


def build(name: str, kind: str, seed: int = 0, **more) -> nn.Module:
    """A small model with random weights, without dropout, in eval mode."""
    values = dict(MODELS[name][0])
    if kind == "gated":
        kind, values = "ForConditionalGeneration", values | {"feed_forward_proj": "gated-gelu"}
        values["tie_word_embeddings"] = False  # Flan-T5's configuration
    config = getattr(transformers, f"{name}Config")(**values | more)
    for dropout in NO_DROPOUT:
        if hasattr(config, dropout):
            setattr(config, dropout, 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{name}{kind}")(config)
        for parameter in model.parameters():  # zeros would hide a bias that got lost, and unit norms a lost factor
            parameter.data.add_(0.05 * torch.randn(parameter.shape))
    return model.eval()


def inputs(model: nn.Module, words: int = WORDS) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(3, words, (2, 7), generator=g)
    more = {}
    if getattr(model.config, "is_encoder_decoder", False):
        more["decoder_input_ids"] = torch.randint(3, words, (2, 5), generator=g)
    return {"input_ids": ids, **more}


def outputs(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found = model(**inputs(model))
    return found.logits if "logits" in found else torch.stack([found.start_logits, found.end_logits])


def stored(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(name: str, **config) -> nn.Module:
    model_class = getattr(transformers, name)
    with torch.device("meta"):
        return model_class(model_class.config_class(**config))


ALBERT_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
BERT_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
T5_LARGE = {"d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16}


# -- counts, on the meta device ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, config, count",
    [
        ("AlbertForSequenceClassification", ALBERT_BASE, 11_685_122),
        ("AlbertModel", ALBERT_BASE, 11_683_584),
        ("AlbertModel", {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}, 17_683_968),
        ("BertForSequenceClassification", {}, 109_483_778),
        ("DistilBertForSequenceClassification", {}, 66_955_010),
        ("MobileBertForSequenceClassification", {}, 24_845_570),
        ("T5ForConditionalGeneration", {"d_ff": 3072, "d_model": 768, "num_layers": 12, "num_heads": 12}, 222_903_552),
        ("T5ForConditionalGeneration", T5_LARGE, 737_668_096),
        ("GPT2LMHeadModel", {}, 124_439_808),
    ],
)
def test_the_report_counts_the_base_models(name, config, count):
    report = trainable_report(on_meta(name, **config))
    assert report.total == report.trainable == report.dense == count


def albert() -> nn.Module:
    return on_meta("AlbertForSequenceClassification", **ALBERT_BASE)


def chain(sizes, bonds) -> tuple[int, int]:
    """(auxiliary, all) numbers of five cores with a_k = `sizes` and the four inner bonds."""
    bonds = [1, *bonds, 1]
    cores = [bonds[k] * size * bonds[k + 1] for k, size in enumerate(sizes)]
    return sum(cores) - cores[2], sum(cores)


# facts: a_k = i_k j_k and full bonds of the balanced plan
EMBEDDING = (10, 20, 40, 40, 12), (10, 200, 480, 12)
ATTENTION = (12, 16, 16, 16, 12), (12, 192, 192, 12)
FFN = (12, 16, 32, 24, 16), (12, 192, 384, 16)


@pytest.mark.parametrize("caps", [(385, 308, 208), (240, 384, 256), (240, 308, 100), (1, 1, 1)])
def test_caps_per_kind(caps):
    """d'_k = min(cap, d_k), one cap per kind of matrix, worked out by hand."""
    report = trainable_report(
        freeze_central(to_mpo(albert(), bond=dict(zip(("embedding", "FFN", "attention"), caps))))
    )
    parts = [
        chain(sizes, [min(cap, d) for d in bonds]) for (sizes, bonds), cap in zip((EMBEDDING, FFN, ATTENTION), caps)
    ]
    rest = 11_685_122 - 3_840_000 - 2 * 2_359_296 - 5 * 589_824  # biases, LayerNorms, positions, projection, classifier
    assert report.trainable == rest + sum(count * part[0] for count, part in zip((1, 2, 5), parts))
    assert report.total == rest + sum(count * part[1] for count, part in zip((1, 2, 5), parts))
    if caps == (385, 308, 208):
        assert (report.trainable, report.total) == (1_083_606, 10_897_430)


def last_layers_of_bert(count: int) -> nn.Module:
    """MPOP Table 5, BERT_12 to BERT_10-12: the last layers, pooler and classifier train, and the embeddings."""
    model = on_meta("BertForSequenceClassification").requires_grad_(False)
    for part in (model.classifier, model.bert.pooler, model.bert.embeddings, *model.bert.encoder.layer[12 - count :]):
        part.requires_grad_(True)
    return model


BERT_CAPS = {
    "word_embeddings": {"bond": 350},
    r"self\.(query|key|value)|pooler\.dense": {"bond": 180},
    r"attention\.output\.dense": {},
    r"(intermediate|output)\.dense": {"bond": 240, "style": "mpop"},
}
# What is counted, as printed (millions trained / in all), the model, and the numbers themselves.
PAPER_COUNTS = [
    ("MPOP Table 3, full+LFA", "1.2 / 12.7", lambda: freeze_central(to_mpo(albert())), (1_187_574, 12_695_286)),
    ("MPOP Table 3, full", "12.7 / 12.7", lambda: to_mpo(albert()), (12_695_286, 12_695_286)),
    ("MPOP Table 3, released caps", "1.1 / 9", lambda: freeze_central(to_mpo(albert(), MPOP_RELEASED)),
     (1_109_707, 10_591_755)),
    ("MPOP Table 4, BERT with caps", "7.7 / 70.4",
     lambda: freeze_central(to_mpo(on_meta("BertForSequenceClassification"), BERT_CAPS)), (7_687_299, 70_399_267)),
    ("MPOP Table 5, BERT at full rank", "10.1",
     lambda: freeze_central(to_mpo(on_meta("BertForSequenceClassification"))), (9_759_266, 118_876_706)),
    ("MPOP Table 5, BERT 12", "31.5", lambda: last_layers_of_bert(1), (31_517_186, 109_483_778)),
    ("MPOP Table 5, BERT 11-12", "38.6", lambda: last_layers_of_bert(2), (38_605_058, 109_483_778)),
    ("MPOP Table 5, BERT 10-12", "45.7", lambda: last_layers_of_bert(3), (45_692_930, 109_483_778)),
]  # fmt: skip


@pytest.mark.parametrize("what, printed, make, counts", PAPER_COUNTS, ids=[row[0] for row in PAPER_COUNTS])
def test_the_counts_of_the_papers(what, printed, make, counts):
    """`pytest -s -k counts_of_the_papers` prints the table: printed, trained, in all."""
    report = trainable_report(make())
    print(f"\n{what:32} {printed:>12} {report.trainable:>12,} {report.total:>12,}")
    assert (report.trainable, report.total) == counts


def test_table_5_counts_the_embeddings_as_well():
    """Without them the three rows would read 7.7, 14.8 and 21.9 M."""
    for layers, millions in ((1, 7.680), (2, 14.768), (3, 21.856)):
        model = last_layers_of_bert(layers)
        model.bert.embeddings.requires_grad_(False)
        assert round(trainable_report(model).trainable / 1e6, 3) == millions


@pytest.mark.parametrize("config, layers, each", [({}, 12, 644_196), (BERT_LARGE, 24, 1_182_720)])
def test_mpobert_adds_the_auxiliaries_of_six_matrices_to_each_layer(config, layers, each):
    """MPOBERT: body = ALBERT's + L * (644,196 at H = 768; 1,182,720 at 1024); embeddings, pooler, head stay dense."""
    model = on_meta("BertForSequenceClassification", **config)
    before = stored(model)
    to_mpo(model, "mpobert")
    assert len(mpo_layers(model)) == 6 * layers
    assert stored(model) - before == layers * each
    assert isinstance(model.bert.embeddings.word_embeddings, nn.Embedding)
    assert isinstance(model.bert.pooler.dense, nn.Linear)


@pytest.mark.parametrize(
    "style, shape, n, auxiliary, central",
    [
        ("mpop", (768, 768), 5, 74_016, 589_824),
        ("mpop", (3072, 768), 5, 184_720, 2_359_296),
        ("mpop", (768, 3072), 5, 184_720, 2_359_296),
        ("mpobert", (768, 768), 5, 86_609, 589_824),
        ("mpobert", (3072, 768), 5, 148_880, 2_359_296),
        ("mpobert", (1024, 1024), 5, 131_584, 1_048_576),
        ("mpobert", (4096, 1024), 5, 328_192, 4_194_304),
        ("mpobert", (3072, 768), 3, 25_600, 2_359_296),
        ("mpobert", (3072, 768), 7, 346_720, 2_359_296),
        ("mpobert", (3072, 768), 9, 418_336, 2_359_296),
    ],
)
def test_each_matrix_has_the_counts_of_its_plan(style, shape, n, auxiliary, central):
    model = nn.Sequential(nn.Linear(shape[1], shape[0], bias=False, device="meta"))
    layer = to_mpo(model, {"0": {"style": style}}, n=n)[0]
    assert layer.central.numel() == central
    assert sum(core.numel() for core in layer.auxiliary) == auxiliary


@pytest.mark.parametrize(
    "shape, auxiliary, central", [((30000, 128), 270_644, 3_840_000), ((30522, 768), 1_180_800, 23_592_960)]
)
def test_each_embedding_has_the_counts_of_its_plan(shape, auxiliary, central):
    model = nn.Sequential(nn.Embedding(*shape, device="meta"))
    layer = to_mpo(model, {"0": {}})[0]
    assert layer.central.numel() == central
    assert sum(core.numel() for core in layer.auxiliary) == auxiliary


def test_real_sizes_of_every_family_convert_on_the_meta_device():
    for name in ("Bert", "Roberta", "DistilBert", "MobileBert", "GPT2", "T5"):
        head = "ForConditionalGeneration" if name == "T5" else "ForSequenceClassification"
        model = on_meta(name + head)
        before = stored(model)
        to_mpo(model, "mpop", bond=64)
        assert stored(model) < before / 2 or name == "MobileBert"  # whose matrices are small
        assert all(p.is_meta for p in model.parameters())


# -- outputs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, kind", CASES)
def test_at_full_bonds_nothing_changes_and_everything_can_be_undone(name, kind):
    model = build(name, kind)
    numbers = {key: value.clone() for key, value in model.state_dict().items()}
    modules = dict(model.named_modules())
    biases = {path: parameter for path, parameter in model.named_parameters() if path.endswith("bias")}
    expected, dense = outputs(model), stored(model)
    assert to_mpo(model, "mpop") is model
    assert all(parameter is biases[path] for path, parameter in model.named_parameters() if path in biases)
    kinds = {kind_of(model, path) for path in mpo_layers(model)}
    assert kinds == {k for k in FAMILIES[model.config.model_type] if k != "pooler"} | (kinds & {"pooler"})
    assert torch.allclose(outputs(model), expected, atol=1e-4)
    assert trainable_report(model).dense == dense < stored(model) == trainable_report(model).total

    rebuilt = to_dense(copy.deepcopy(model))
    assert not mpo_layers(rebuilt) and stored(rebuilt) == dense
    assert list(rebuilt.state_dict()) == list(numbers)
    assert torch.allclose(outputs(rebuilt), expected, atol=1e-4)

    with torch.no_grad():  # a training that went on for a while
        for module in model.modules():
            if isinstance(module, MPOLinear | MPOEmbedding | MPOTiedHead):
                for parameter in module.parameters():
                    parameter.add_(0.1)
    assert not torch.allclose(outputs(model), expected, atol=1e-3)
    assert to_dense(model, original=True) is model
    assert dict(model.named_modules()).keys() == modules.keys()
    assert all(module is modules[path] for path, module in model.named_modules())
    assert all(torch.equal(value, numbers[key]) for key, value in model.state_dict().items())
    assert torch.equal(outputs(model), expected) and stored(model) == dense
    model.tie_weights()
    assert stored(model) == dense


@pytest.mark.parametrize("name, kind", [case for case in CASES if case[1] not in CLASSIFIERS])
def test_ties_stay_ties(name, kind):
    model = to_mpo(build(name, kind), "mpop").train()
    heads = [m for m in model.modules() if isinstance(m, MPOTiedHead)]
    owner = model.get_input_embeddings()
    assert len(heads) == 1 and heads[0].embedding is owner and isinstance(owner, MPOEmbedding)
    assert sum(isinstance(m, MPOTiedEmbedding) for m in model.modules()) == (2 if name == "T5" else 0)
    loss = outputs_with_grad(model).square().mean()
    loss.backward()
    assert all(core.grad is not None and core.grad.abs().sum() > 0 for core in owner.cores)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    ids = torch.arange(WORDS)
    assert torch.allclose(heads[0].weight, owner(ids), atol=1e-6)
    names = [name for name, _ in model.named_parameters()]
    assert len({id(p) for p in model.parameters()}) == len(names)
    twin = copy.deepcopy(model)
    assert next(m for m in twin.modules() if isinstance(m, MPOTiedHead)).embedding is twin.get_input_embeddings()


def outputs_with_grad(model: nn.Module) -> torch.Tensor:
    return model(**inputs(model)).logits


@pytest.mark.parametrize(
    "name, kind", [("Bert", "ForMaskedLM"), ("GPT2", "LMHeadModel"), ("T5", "gated"), ("Albert", "ForMaskedLM")]
)
def test_gradients_outside_the_mpos_are_those_of_the_dense_model(name, kind):
    """Every parameter that was not converted gets the same gradient, in training mode."""
    model = build(name, kind).train()
    twin = to_mpo(copy.deepcopy(model), "mpop")
    for each in (model, twin):
        outputs_with_grad(each).square().mean().backward()
    same = dict(model.named_parameters())
    compared = 0
    for path, parameter in twin.named_parameters():
        if ".cores." not in path:
            assert torch.allclose(parameter.grad, same[path].grad, atol=1e-5, rtol=1e-3), path
            compared += 1
    assert compared > 10


def test_saving_and_tying_by_transformers_itself_goes_on(tmp_path):
    for name, kind in (("Bert", "ForMaskedLM"), ("T5", "ForConditionalGeneration"), ("Roberta", "ForMaskedLM")):
        model = to_mpo(build(name, kind), "mpop")
        expected, count = outputs(model), stored(model)
        model.tie_weights()
        model.save_pretrained(tmp_path / name)
        assert stored(model) == count and torch.equal(outputs(model), expected)


def test_the_vocabulary_stays_as_large_as_it_is():
    model = to_mpo(build("T5", "ForConditionalGeneration"), "mpop")
    expected = outputs(model)
    assert model.resize_token_embeddings(WORDS) is model.get_input_embeddings()
    with pytest.raises(PlanError, match=r"90 rows and cannot be resized to 96.*to_dense"):
        model.resize_token_embeddings(pad_to_multiple_of=32)
    assert torch.equal(outputs(model), expected)
    to_dense(model).resize_token_embeddings(96)
    assert model.get_output_embeddings().weight.shape == (96, 32)


@pytest.mark.parametrize("name, kind", [("Albert", "ForSequenceClassification"), ("T5", "gated")])
def test_a_training_step_rebuilds_each_matrix_once(name, kind, monkeypatch):
    """However often ALBERT calls a layer, and T5 looks at a weight's dtype."""
    model = to_mpo(build(name, kind), "mpop", mode="reconstruct").train()
    twin = to_dense(copy.deepcopy(model))
    assert twin._forward_hooks == {} and len(model._forward_hooks) == 1
    real, rebuilt = layer_base.rebuild, []
    monkeypatch.setattr(layer_base, "rebuild", lambda plan, *rest: rebuilt.append(plan) or real(plan, *rest))
    outputs_with_grad(model).square().mean().backward()
    words = 1 if name == "Albert" else 0  # an embedding is looked up without its W, but T5's tied head needs it
    assert len(rebuilt) == len(mpo_layers(model)) - words
    assert to_dense(model)._forward_hooks == {}


def test_generation_works():
    model = to_mpo(build("GPT2", "LMHeadModel"), "mpop")
    dense = to_dense(copy.deepcopy(model))
    ids = inputs(model)["input_ids"]
    made = [m.generate(ids, max_new_tokens=4, do_sample=False) for m in (model, dense)]
    assert torch.equal(*made)


def test_shared_modules_are_converted_once():
    model = to_mpo(build("Albert", "ForSequenceClassification"), "mpop")
    assert len(mpo_layers(model)) == 8  # embedding, four of attention, two of FFN, pooler; for both layers
    linear = nn.Linear(16, 16)
    shared = nn.Sequential(linear, nn.ReLU(), linear)
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    expected = shared(x)
    to_mpo(shared, "linear")
    assert shared[0] is shared[2] and isinstance(shared[0], MPOLinear)
    assert torch.allclose(shared(x), expected, atol=1e-5)
    assert to_dense(shared, original=True)[2] is linear


# -- other models ----------------------------------------------------------------------------------


def test_the_generic_plan_converts_any_model_of_linear_layers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        model = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 3))
        x = torch.randn(2, 5, 32)
    for training in (True, False):
        model.train(training)
        expected = model(x).detach()
        twin = to_mpo(copy.deepcopy(model), "linear")
        # the attention's output projection is a Linear, too; the last layer has three rows and is left alone
        assert len(mpo_layers(twin)) == 2 * 3 and isinstance(twin[1], nn.Linear)
        assert torch.allclose(twin(x), expected, atol=1e-4)


def llama() -> nn.Module:
    config = transformers.LlamaConfig(
        **SMALL, intermediate_size=64, num_key_value_heads=2, tie_word_embeddings=True, pad_token_id=0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config).eval()


def test_a_family_without_a_ready_plan_is_told_about_the_generic_one():
    model = llama()
    message = r"no ready plan 'mpop' for LlamaForCausalLM.*'llama'.*albert, bert.*plan='linear'"
    with pytest.raises(PlanError, match=message):
        to_mpo(model, "mpop")
    expected = outputs(model)
    to_mpo(model, "linear")
    assert len(mpo_layers(model)) == 2 * 7 and isinstance(model.lm_head, nn.Linear)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.allclose(outputs(model), expected, atol=1e-4)
    to_mpo(model, {"embed_tokens": {}})  # and its tied head with it
    assert isinstance(model.lm_head, MPOTiedHead)
    assert torch.allclose(outputs(model), expected, atol=1e-4)


def test_a_wrapper_and_a_model_of_two_families_find_their_plans():
    wrapped = nn.ModuleDict({"encoder": build("Bert", "ForMaskedLM").bert, "decoder": build("GPT2", "LMHeadModel")})
    to_mpo(wrapped, "mpop")
    assert isinstance(wrapped["encoder"].encoder.layer[0].intermediate.dense, MPOLinear)
    assert wrapped["decoder"].transformer.h[0].attn.c_attn.transposed


def test_decoders_with_cross_attention_are_converted_whole():
    config = {"add_cross_attention": True, "is_decoder": True}
    for name, count in (("BertLMHeadModel", 10), ("GPT2LMHeadModel", 7)):
        more = {"n_layer": 1, "n_embd": 32, "n_head": 4} if "GPT2" in name else SMALL | {"num_hidden_layers": 1}
        model = to_mpo(on_meta(name, **config, **more), "mpop")
        assert len(mpo_layers(model)) == count + 1


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(5, 40), min_size=2, max_size=4),
    n=st.integers(2, 6),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 100),
)
def test_stacks_of_any_shape_keep_their_outputs(sizes, n, dtype, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(*(nn.Linear(a, b, bias=a % 2 == 0) for a, b in itertools.pairwise(sizes))).to(dtype)
        x = torch.randn(4, sizes[0], dtype=dtype)
    expected = model(x)
    to_mpo(model, "linear", n=n)
    assert all(layer.plan.n == n for layer in mpo_layers(model).values()) and mpo_layers(model)
    assert all(p.dtype == dtype for p in model.parameters())
    assert torch.allclose(model(x), expected, atol=1e-5)


# -- plans ---------------------------------------------------------------------------------------


def test_a_dict_names_ends_of_paths():
    model = build("Bert", "ForSequenceClassification")
    to_mpo(model, {"query": {"bond": 6}, r"layer\.1\..*output\.dense": {"n": 3}, "pooler.dense": {"ratio": 0.5}})
    found = mpo_layers(model)
    assert [path.removeprefix("bert.encoder.layer.") for path in found] == [
        "0.attention.self.query",
        "1.attention.self.query",
        "1.attention.output.dense",
        "1.output.dense",
        "bert.pooler.dense",
    ]
    layers = list(found.values())
    assert max(layers[0].bonds) == 6 and layers[2].plan.n == 3 and layers[4].ratio <= 0.5


def test_the_first_rule_counts_and_arguments_fill_in_what_rules_leave_out():
    model = build("Bert", "ForSequenceClassification")
    rules = [Rule("query", bond=3), Rule("query|key", rows=(2, 4, 4), cols=(4, 4, 2), style="mpop")]
    layers = mpo_layers(to_mpo(model, rules, bond=5))
    assert {max(layer.bonds) for path, layer in layers.items() if path.endswith("query")} == {3}
    assert {max(layer.bonds) for path, layer in layers.items() if path.endswith("key")} == {5}
    assert all(layer.plan.rows == (2, 4, 4) for path, layer in layers.items() if path.endswith("key"))


def test_settings_per_kind():
    model = build("Bert", "ForSequenceClassification")
    to_mpo(model, "mpop", ratio={"embedding": 0.3, "ffn": 0.6, "Attention": 0.5})
    for path, layer in mpo_layers(model).items():
        kind = kind_of(model, path)
        assert layer.ratio <= {"word embedding": 0.3, "FFN": 0.6, "attention": 0.5, "pooler": 0.5}[kind]
    left_out = to_mpo(build("Bert", "ForSequenceClassification"), "mpop", bond={"FFN": 2})
    assert all(
        max(layer.bonds) == (2 if kind_of(left_out, path) == "FFN" else max(layer.plan.full_bonds))
        for path, layer in mpo_layers(left_out).items()
    )


def test_an_error_budget_is_kept_by_each_matrix():
    model = build("Bert", "ForSequenceClassification")
    weights = {path: module.weight.detach().clone() for path, module in matrix_modules(model).items()}
    to_mpo(model, "mpop", error=0.3)
    for path, layer in mpo_layers(model).items():
        with torch.no_grad():
            assert torch.linalg.norm(layer.weight - weights[path]) <= 0.3 * torch.linalg.norm(weights[path]) + 1e-5
        assert layer.parameters_count < layer.plan.parameters(layer.plan.full_bonds)


def test_modes_and_memory_settings_reach_the_layers():
    model = to_mpo(build("Bert", "ForSequenceClassification"), "mpop", mode="factorized", keep_weight=False)
    assert {(layer.mode, layer.keep_weight) for layer in mpo_layers(model).values()} == {("factorized", False)}


def test_requires_grad_training_mode_and_dtype_are_kept():
    model = build("Bert", "ForSequenceClassification").to(torch.bfloat16).train()
    model.bert.encoder.layer[0].requires_grad_(False)
    to_mpo(model, "mpop", bond=8)
    for path, parameter in model.named_parameters():
        assert parameter.requires_grad is not path.startswith("bert.encoder.layer.0.")
        assert parameter.dtype == torch.bfloat16
    assert all(module.training for module in model.modules())


# -- allocation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("allocation", ["spectra", "spectra-absolute"])
@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_one_budget_for_the_whole_model(allocation, ratio):
    model = build("Bert", "ForSequenceClassification")
    with torch.no_grad():  # of low rank, and large: the two allocations tell it apart
        model.bert.pooler.dense.weight.copy_(torch.ones(32, 32) * torch.linspace(1, 9, 32))
    chosen = sites(model, "mpop")
    mpos = [MPO.decompose(site.weight, site.plan(5).rows, site.plan(5).cols) for site in chosen]
    weighing = "absolute" if "absolute" in allocation else "relative"
    expected = allocate([mpo.plan for mpo in mpos], [mpo.spectra for mpo in mpos], ratio, weighing=weighing)
    layers = mpo_layers(to_mpo(model, "mpop", ratio=ratio, allocation=allocation))
    assert list(layers) == [site.path for site in chosen]
    assert [layer.bonds for layer in layers.values()] == expected
    whole = sum(math.prod(layer.plan.padded) for layer in layers.values())
    used = sum(layer.parameters_count for layer in layers.values())
    assert 0.9 * ratio * whole < used <= ratio * whole


def test_at_the_same_budget_spectra_discard_less_than_the_same_ratio_for_all():
    def discarded(allocation):
        model = build("Bert", "ForSequenceClassification")
        weights = {path: module.weight.detach().double() for path, module in matrix_modules(model).items()}
        to_mpo(model, "mpop", ratio=0.4, allocation=allocation)
        layers = mpo_layers(model).items()
        with torch.no_grad():
            return sum(float(((la.weight - weights[p]).norm() / weights[p].norm()) ** 2) for p, la in layers)

    assert discarded("spectra") < discarded("uniform")


def test_a_rules_own_bond_caps_what_a_budget_gives_it():
    model = build("Bert", "ForSequenceClassification")
    to_mpo(model, {"query": {"bond": 2}, "key": {}}, ratio=0.9, allocation="spectra")
    for path, layer in mpo_layers(model).items():
        assert (max(layer.bonds) == 2) is path.endswith("query")


# -- freezing and reporting ------------------------------------------------------------------------


def test_freezing_takes_the_central_tensors_and_nothing_else():
    model = to_mpo(build("Albert", "ForSequenceClassification"), "mpop", bond=8).requires_grad_(False)
    assert freeze_central(model) is model
    central = {id(layer.cores[2]) for layer in mpo_layers(model).values()}
    assert len(central) == 8
    assert {id(p) for p in model.parameters() if not p.requires_grad} == central
    with pytest.raises(PlanError, match="to_mpo first"):
        freeze_central(build("Bert", "ForSequenceClassification"))


def test_the_report_is_a_table():
    model = freeze_central(to_mpo(albert(), "mpop"))
    assert str(trainable_report(model)).splitlines() == [
        "                           #Pr           #To   trains",
        "word embedding         270,644     4,110,644     6.6%",
        "attention              299,136     2,658,432    11.3%",
        "FFN                    373,280     5,091,872     7.3%",
        "pooler                  74,784       664,608    11.3%",
        "head                     1,538         1,538   100.0%",
        "other                  168,192       168,192   100.0%",
        "all                  1,187,574    12,695,286     9.4%",
        "dense                             11,685,122",
    ]


@pytest.mark.parametrize("name, kind", CASES)
def test_the_kinds_of_the_report_are_those_of_the_ready_plans(name, kind):
    model = build(name, kind)
    chosen = sites(model, "mpop")
    assert all(site.kind == kind_of(model, site.path) for site in chosen)
    before = trainable_report(model).kinds
    assert ("head" in before) is (name != "T5" and kind != "LMHeadModel")  # which have nothing but a tied matrix
    after = trainable_report(to_mpo(model, "mpop")).kinds
    assert after.keys() == before.keys()
    assert all(after[k] == before[k] for k in ("head", "other") if k in before)


# -- one piece, and its cost -----------------------------------------------------------------------


def test_a_matrix_that_cannot_be_decomposed_leaves_the_model_as_it_was():
    model = build("Bert", "ForSequenceClassification")
    modules = list(model.modules())
    with torch.no_grad():
        model.bert.pooler.dense.weight[3, 4] = float("nan")
    with pytest.raises(MatrixError, match=r"bert.pooler.dense"):
        to_mpo(model, "mpop")
    assert list(model.modules()) == modules


def test_originals_are_outside_the_model_and_can_be_left_out():
    model = build("Bert", "ForSequenceClassification")
    dense = stored(model)
    to_mpo(model, "mpop", bond=4)
    kept = copy.deepcopy(model)
    assert stored(model) < dense and not any("original" in key for key in model.state_dict())
    assert to_dense(kept, original=True).bert.pooler.dense.weight.shape == (32, 32)
    gone = to_mpo(build("Bert", "ForSequenceClassification"), "mpop", undoable=False)
    modules = list(gone.modules())
    with pytest.raises(PlanError, match=r"undoable=False.*to_dense"):
        to_dense(gone, original=True)
    assert list(gone.modules()) == modules
    dense_again = to_dense(gone)
    assert to_dense(dense_again) is dense_again and stored(dense_again) == dense


def test_a_second_plan_converts_the_rest():
    model = to_mpo(build("Bert", "ForSequenceClassification"), {"query|key": {}})
    to_mpo(model, "mpop")
    assert len(mpo_layers(model)) == 14
    with pytest.raises(PlanError, match="MPO already"):
        to_mpo(model, {"query": {}})
    with pytest.raises(PlanError, match=r"chooses no matrix|matches no matrix"):
        to_mpo(model, "mpop")


def test_a_bar_appears_only_when_it_takes_long(capsys, monkeypatch):
    model = build("Albert", "ForSequenceClassification")
    monkeypatch.setattr(surgery, "PATIENCE", 3600)
    to_mpo(copy.deepcopy(model), "mpop")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(surgery, "PATIENCE", 0)
    to_mpo(copy.deepcopy(model), "mpop", ratio=0.5, allocation="spectra")
    shown = capsys.readouterr()
    assert "spectra" in shown.err and "to_mpo" in shown.err and shown.out == ""
    to_mpo(model, "mpop", progress=False)
    assert capsys.readouterr().err == ""


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan, arguments, error, message",
    [
        ({"querry": {}}, {}, PlanError, "'querry' matches no matrix.*Nearest: '.*attention.self.query'"),
        ({"query": {}, "lin1": {}}, {}, PlanError, "'lin1' matches no matrix"),
        ({"LayerNorm": {}}, {}, PlanError, "matches 'bert.embeddings.LayerNorm', which is no Linear"),
        ({"query(": {}}, {}, PlanError, "no regular expression"),
        ({"query": {"bonds": 3}}, {}, PlanError, "Did you mean 'bond'"),
        ({"query": 3}, {}, PlanError, "should be a dict"),
        ({}, {}, PlanError, "'mpop', 'mpobert', 'linear'"),
        (None, {}, PlanError, "'mpop', 'mpobert', 'linear'"),
        ("mpob", {}, UnknownNameError, "Did you mean 'mpop' or 'mpobert'"),
        ({"query": {"rows": (5, 5)}}, {}, PlanError, "layer.0.attention.self.query: rows = .*25, but the matrix has"),
        ({"query": {"bond": 3, "ratio": 0.5}}, {}, BondError, "'query' has bond and ratio"),
        ({"query": {"style": "mpo"}}, {}, UnknownNameError, "style"),
        ("mpop", {"bond": 0}, BondError, "bert.embeddings.word_embeddings: bond = 0"),
        ("mpop", {"bond": [4, 4]}, BondError, "word_embeddings: .*2 entries"),
        ("mpop", {"bond": 4, "ratio": 0.5}, BondError, "bond= and ratio="),
        ("mpop", {"ratio": 1e-6}, BondError, "word_embeddings: ratio = 1e-06 is out of reach"),
        ("mpop", {"ratio": -1}, BondError, "positive number"),
        ("mpop", {"bond": {"heads": 3}}, UnknownNameError, "kind of matrix in bond="),
        ("mpop", {"allocation": "spectral"}, UnknownNameError, "Did you mean 'spectra'"),
        ("mpop", {"allocation": "spectra"}, BondError, "give it as ratio="),
        ("mpop", {"allocation": "spectra", "bond": 4}, BondError, "give it as ratio="),
        ("mpop", {"allocation": "spectra", "ratio": 1e-4}, BondError, "14 matrices store"),
        ({"query": {"ratio": 0.2}}, {"allocation": "spectra", "ratio": 0.5}, BondError, "of its own"),
        ("mpop", {"mode": "fast"}, UnknownNameError, "mode"),
        ("mpop", {"n": 1}, PlanError, "word_embeddings: n = 1"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(plan, arguments, error, message):
    model = build("Bert", "ForSequenceClassification")
    modules = list(model.modules())
    with pytest.raises(error, match=message):
        to_mpo(model, plan, **arguments)
    assert list(model.modules()) == modules


def test_spectra_need_numbers():
    for arguments in ({"ratio": 0.5}, {"error": 0.1}, {"ratio": 0.5, "allocation": "spectra"}):
        with pytest.raises(BondError, match=r"word_embeddings: .*meta"):
            to_mpo(albert(), "mpop", **arguments)


def test_a_model_that_is_itself_a_linear_layer_cannot_be_replaced_in_place():
    with pytest.raises(PlanError, match="from_linear"):
        to_mpo(nn.Linear(16, 16), "linear")
    with pytest.raises(PlanError, match=r"no matrix.*no Linear"):
        to_mpo(nn.ReLU(), "linear")


def test_ties_that_cannot_be_kept_say_why():
    one, two = nn.Linear(16, 16), nn.Linear(16, 16)
    two.weight = one.weight
    with pytest.raises(PlanError, match=r"'0' and '1' share one weight.*not the bias"):
        to_mpo(nn.Sequential(one, two), "linear")
    two.bias = one.bias
    model = to_mpo(nn.Sequential(one, two), "linear")
    assert model[0] is model[1]
    table, again = nn.Embedding(16, 8), nn.Embedding(16, 8, padding_idx=0)
    again.weight = table.weight
    with pytest.raises(PlanError, match="padding rows differ"):
        to_mpo(nn.ModuleList([table, again]), {".*": {}})


def test_layers_that_compute_something_else_are_not_mistaken_for_linear_ones():
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return 2 * super().forward(ids)

    model = nn.ModuleDict({"words": Scaled(16, 8), "out": nn.Linear(8, 8)})
    assert list(matrix_modules(model)) == ["out"]
    with pytest.raises(PlanError, match="matches 'words', which is no Linear"):
        to_mpo(model, {"words": {}})


def test_rules_match_from_a_dot_on_and_near_names_are_found():
    assert Rule("query").matches("a.b.query") and Rule("query").matches("query")
    assert not Rule("query").matches("a.myquery") and not Rule("query").matches("a.query.b")
    paths = ["encoder.layer.0.attention.self.query", "encoder.layer.11.attention.self.query", "pooler.dense"]
    assert nearest("atention.self.quary", paths)[0] == "encoder.layer.N.attention.self.query"
    assert match(rules_of({"dense": {}}, nn.Identity()), dict.fromkeys(paths)).keys() == {"pooler.dense"}


# -- what happens to a converted model afterwards ----------------------------------------------------


@pytest.mark.parametrize("name, kind", [("Bert", "ForSequenceClassification"), ("T5", "ForConditionalGeneration")])
def test_a_converted_model_can_be_pickled(name, kind):
    model = to_mpo(build(name, kind), "mpop", progress=False)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    assert torch.equal(outputs(again), outputs(model))
    with pytest.raises(PlanError):
        again.resize_token_embeddings(WORDS + 1)
    assert again.resize_token_embeddings.args[0] is again
    assert copy.deepcopy(model).resize_token_embeddings.args[0] is not model


def test_the_way_back_after_a_change_of_dtype():
    model = to_mpo(build("Bert", "ForSequenceClassification"), "mpop", progress=False).to(torch.bfloat16)
    to_dense(model, original=True)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert torch.isfinite(outputs(model)).all()


def test_kinds_that_reach_nothing_are_refused():
    with pytest.raises(BondError, match=r"bond=\{'embedding': ...\} reaches no matrix.*FFN, attention"):
        to_mpo(build("Bert", "ForSequenceClassification"), "mpobert", bond={"embedding": 3}, progress=False)
    with pytest.raises(PlanError, match="attention"):
        to_mpo(build("Bert", "ForSequenceClassification"), {"query": {"kind": "atention"}}, progress=False)
    model = build("Bert", "ForSequenceClassification")
    layers = mpo_layers(to_mpo(model, {"query": {"kind": "Attention"}}, bond={"attention": 3}, progress=False))
    assert {max(layer.bonds) for layer in layers.values()} == {3}


def test_freezing_the_auxiliary_tensors_is_the_counterpart_of_freezing_the_centres():
    """Between them the two train every tensor of an MPO once; what is no tensor of one trains in both."""
    model = to_mpo(build("Albert", "ForSequenceClassification"), "mpop", progress=False)
    trains = []
    for freeze in (surgery.freeze_central, surgery.freeze_auxiliary):
        assert freeze(model) is model
        trains.append({name for name, parameter in model.named_parameters() if parameter.requires_grad})
    cores = {name for name, _ in model.named_parameters() if ".cores." in name}
    centres = {f"{name}.cores.{layer.plan.centre}" for name, layer in surgery.mpo_layers(model).items()}
    assert centres and trains[0] & cores == cores - centres and trains[1] & cores == centres
    assert trains[0] - cores == trains[1] - cores == {name for name, _ in model.named_parameters()} - cores
    with pytest.raises(PlanError, match="no MPO layers"):
        surgery.freeze_auxiliary(build("Bert", "ForSequenceClassification"))
