"""The parameter counts behind the papers' columns #Pr and #To, each counted on a model that has only shapes.

Models are made on the meta device, so that counting a T5-large costs no memory. All numbers are in millions.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import nn

MILLION = 1e6

_SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "albert-base": (
        "AlbertForSequenceClassification",
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "albert-large": (
        "AlbertForSequenceClassification",
        {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24},
    ),
    "albert-xxlarge": (
        "AlbertModel",
        {"hidden_size": 4096, "num_attention_heads": 64, "intermediate_size": 16384},
    ),
    "bert-base": ("BertForSequenceClassification", {}),
    "bert-large": (
        "BertModel",
        {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24},
    ),
    "roberta-large": (
        "RobertaModel",
        {
            "vocab_size": 50265,
            "hidden_size": 1024,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
    ),
    "bart-large": ("BartModel", {}),
    "roberta-base": ("RobertaModel", {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}),
    "bart-base": (
        "BartModel",
        {
            "d_model": 768,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
        },
    ),
    "xlnet-base": (
        "XLNetModel",
        {"vocab_size": 32000, "d_model": 768, "n_layer": 12, "n_head": 12, "d_inner": 3072},
    ),
    "tinybert-6": ("BertModel", {"num_hidden_layers": 6}),
    "xlnet-large": (
        "XLNetModel",
        {"vocab_size": 32000, "d_model": 1024, "n_layer": 24, "n_head": 16, "d_inner": 4096},
    ),
    "t5-11b": (
        "T5ForConditionalGeneration",
        {"vocab_size": 32128, "d_model": 1024, "d_ff": 65536, "d_kv": 128, "num_layers": 24, "num_heads": 128},
    ),
    "minilm": (
        "BertForSequenceClassification",
        {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "num_hidden_layers": 6},
    ),
    "distilbert": ("DistilBertForSequenceClassification", {}),
    "mobilebert": ("MobileBertForSequenceClassification", {}),
    "gpt2": ("GPT2LMHeadModel", {}),
    "t5-small": (
        "T5ForConditionalGeneration",
        {"vocab_size": 32128, "d_model": 512, "d_ff": 2048, "d_kv": 64, "num_layers": 6, "num_heads": 8},
    ),
    "t5-base": (
        "T5ForConditionalGeneration",
        {"vocab_size": 32128, "d_model": 768, "d_ff": 3072, "d_kv": 64, "num_layers": 12, "num_heads": 12},
    ),
    "t5-large": (
        "T5ForConditionalGeneration",
        {"vocab_size": 32128, "d_model": 1024, "d_ff": 4096, "d_kv": 64, "num_layers": 24, "num_heads": 16},
    ),
}
"""Released models -> class of transformers and what differs from its config's defaults."""

RELEASED = {"minilm": "minilm", "gpt2": "gpt2", "albert-base-v2": "albert-base", "albert-large-v2": "albert-large",
            "bert-base-uncased": "bert-base", "roberta-base": "roberta-base", "distilbert-base-uncased": "distilbert",
            "google/mobilebert-uncased": "mobilebert", "t5-base": "t5-base", "t5-large": "t5-large"}  # fmt: skip
"""A model's name on the hub, or a recipe's -> its entry above."""

BERT_CAPS: dict[str, dict[str, Any]] = {
    "word_embeddings": {"bond": 350},
    r"self\.(query|key|value)|pooler\.dense": {"bond": 180},
    r"attention\.output\.dense": {},
    r"(intermediate|output)\.dense": {"bond": 240, "style": "mpop"},
}
"""One of the settings that give MPOP's Table 4 for BERT; the paper prints none."""

DISTIL_CAPS: dict[str, dict[str, Any]] = {
    "word_embeddings": {},
    r"attention\.(q|k|v|out)_lin": {"bond": 44, "style": "mpop"},
    r"ffn\.lin[12]": {"bond": 204, "style": "mpop"},
}
"""One of the settings that give it for DistilBERT."""

MOBILE_CAPS: dict[str, dict[str, Any]] = {
    "word_embeddings": {"bond": 190, "style": "mpop"},
    r"attention\.(self\.(query|key|value)|output\.dense)": {"bond": 54, "style": "mpop"},
    r"(layer|ffn)\.\d+\.(intermediate|output)\.dense|bottleneck\.(input|attention)\.dense": {
        "bond": 44,
        "style": "mpop",
    },
}
"""One for MobileBERT: two of the three projections of a layer are MPOs, the third and the pooler stay dense."""


def config_of(name: str) -> Any:
    """Of a released model, as transformers has it."""
    import transformers

    kind, changes = _SHAPES[name]
    return getattr(transformers, kind).config_class(**changes)


def on_meta(name: str) -> nn.Module:
    import transformers

    with torch.device("meta"):
        return getattr(transformers, _SHAPES[name][0])(config_of(name))


def shapes_of(name: str, auto: str, **changes: Any) -> nn.Module | None:
    """A recipe's model with only shapes: one of `RELEASED`, a preset of MPOBERT, or a checkpoint of this package; None
    for any other.

    auto: transformers' Auto class for the head. changes: to entries of the config. Nothing is looked up elsewhere.
    """
    import transformers

    from .. import mpobert  # noqa: F401  so that AutoConfig knows it
    from ..mpobert_config import PRESETS, MPOBertConfig
    from ..pretrained import CHECKPOINTS, bundled

    if name in bundled():
        config = transformers.AutoConfig.from_pretrained(CHECKPOINTS / name, local_files_only=True)
    elif name in RELEASED:
        config = config_of(RELEASED[name])
    elif name in PRESETS:
        config = MPOBertConfig.preset(name)
    else:
        return None
    for key, value in changes.items():
        setattr(config, key, value)
    with torch.device("meta"):
        return getattr(transformers, auto).from_config(config, attn_implementation="eager")


def depth_of(name: str) -> int:
    """Layers of a released model, those of encoder and decoder together, or of a preset of MPOBERT."""
    from ..mpobert_config import PRESETS, MPOBertConfig

    if name in PRESETS:
        return MPOBertConfig.preset(name).num_hidden_layers
    config = config_of(name)
    if config.model_type == "t5":
        return config.num_layers + config.num_decoder_layers
    return config.encoder_layers + config.decoder_layers if config.model_type == "bart" else config.num_hidden_layers


@cache
def dense(name: str) -> float:
    """#To of a released model."""
    return sum(parameter.numel() for parameter in on_meta(name).parameters()) / MILLION


@cache
def mpop(name: str, plan: str = "full", freeze: bool = True) -> tuple[float, float]:
    """(#Pr, #To) of a model whose matrices are MPOs. plan: "full" bonds, MPOP's "released" caps, or those of Table 4,
    by the model's name.
    """
    from ..surgery import freeze_central, to_mpo, trainable_report
    from ..surgery_plans import MPOP_RELEASED

    fitted = {"bert-base": (BERT_CAPS,), "distilbert": (DISTIL_CAPS,), "mobilebert": (MOBILE_CAPS,)}
    plans = {"full": (), "released": (MPOP_RELEASED,), **fitted}
    model = to_mpo(on_meta(name), *plans[plan], progress=False)
    report = trainable_report(freeze_central(model) if freeze else model)
    return report.trainable / MILLION, report.total / MILLION


@cache
def auxiliary_of_bert() -> tuple[float, float]:
    """#Pr of BERT-base at full bonds: with the embedding's factors in an order that gives MPOP's Table 5, and in this
    package's.
    """
    from ..plans import make_plan

    here = mpop("bert-base")[0]
    plans = [make_plan((30522, 768)), make_plan((30522, 768), rows=(6, 8, 8, 10, 8), cols=(4, 4, 4, 4, 3))]
    ours, fitted = (
        plan.parameters(plan.full_bonds) - math.prod(plan.core_shape(plan.centre, plan.full_bonds)) for plan in plans
    )
    return here + (fitted - ours) / MILLION, here


@cache
def last_layers(layers: int) -> float:
    """#Pr of BERT-base with so many last layers, pooler, classifier and the embeddings in training: MPOP Table 5."""
    from ..mpop import only_last_layers
    from ..surgery import trainable_report

    return trainable_report(only_last_layers(on_meta("bert-base"), layers, embedding=True)).trainable / MILLION


@cache
def mpobert(preset: str, heads: bool = False, **changes: Any) -> float:
    """#To of an MPOBERT by a preset's name; with the heads of pre-training, whose output layer is the embedding."""
    from ..mpobert import MPOBertForPreTraining
    from ..mpobert_config import MPOBertConfig
    from ..sharing import mpobert_counts, total

    config = MPOBertConfig.preset(preset, **changes)
    if not heads:
        return total(mpobert_counts(config)) / MILLION
    with torch.device("meta"):
        model = MPOBertForPreTraining(config)
    return sum(parameter.numel() for parameter in model.parameters()) / MILLION


def auxiliary(preset: str) -> float:
    """Numbers in the auxiliary tensors of all layers of an MPOBERT, by a preset's name."""
    from ..mpobert_config import MPOBertConfig
    from ..sharing import mpobert_counts

    return mpobert_counts(MPOBertConfig.preset(preset))["auxiliary"] / MILLION


def multiply_adds(name: str) -> float:
    """Of a token with the matrices of all layers, rebuilding them left out: a preset of MPOBERT, or BERT-base."""
    from ..mpobert_config import MATRICES, PRESETS, MPOBertConfig

    if name in PRESETS:
        config = MPOBertConfig.preset(name)
        return config.num_hidden_layers * sum(math.prod(config.shape(matrix)) for matrix in MATRICES) / MILLION
    found = on_meta(name).named_parameters()
    return sum(p.numel() for key, p in found if p.ndim == 2 and ".encoder.layer." in key) / MILLION


@cache
def albert(depth: int, preset: str) -> float:
    """#To of the AlbertModel of a preset's sizes, for any depth that of one layer."""
    from ..mpobert_config import MPOBertConfig
    from ..sharing import albert_counts, total

    return total(albert_counts(MPOBertConfig.preset(preset, num_hidden_layers=depth))) / MILLION


@cache
def moe(name: str, kind: str = "mpoe", experts: int = 8, routers: bool = True, **settings: Any) -> float:
    """#To of a model whose feed-forward blocks are experts: see `to_moe`. routers: whether theirs are counted."""
    from ..moe import to_moe
    from ..routers import Router

    model = to_moe(on_meta(name), kind, experts, **settings)
    count = sum(parameter.numel() for parameter in model.parameters())
    if not routers:
        count -= sum(p.numel() for module in model.modules() if isinstance(module, Router) for p in module.parameters())
    return count / MILLION


def unshared(name: str, experts: int = 8) -> float:
    """#To of a model each of whose experts has a central tensor of its own: MPOE without parameter sharing."""
    shared, without = moe(name, "mpoe", experts), 0.0
    for module in _with_experts(name, experts):
        without += sum(centre.numel() for centre in module.centres.values())
    return shared + (experts - 1) * without / MILLION


def gamma(name: str, experts: int = 8) -> float:
    """How many times larger a block's central tensors are than the auxiliary ones (and biases) of one of its experts:
    the gamma of MPOE section 3.1.
    """
    block = _with_experts(name, experts)[0]
    centre = sum(tensor.numel() for tensor in block.centres.values())
    return experts * centre / (sum(tensor.numel() for tensor in block.parameters()) - centre)


def _with_experts(name: str, experts: int) -> list[Any]:
    from ..experts import MPOExperts
    from ..moe import to_moe

    return [module for module in to_moe(on_meta(name), "mpoe", experts).modules() if isinstance(module, MPOExperts)]


def core_sizes(shape: tuple[int, int], style: str = "mpobert") -> tuple[int, int]:
    """(numbers of the central tensor, of the auxiliary ones) of a matrix at full bonds, with five tensors."""
    from ..plans import make_plan

    plan = make_plan(shape, n=5, style=style)
    centre = math.prod(plan.core_shape(plan.centre, plan.full_bonds))
    return centre, plan.parameters(plan.full_bonds) - centre
