"""MPOBERT: an encoder whose layers share the central tensors of their matrices and keep their own auxiliary tensors.

Embeddings, pooler and heads are ALBERT's, taken from transformers; only the encoder is another. Its central tensors
belong to `MPOBertGroup`s, shared biases and LayerNorms to an `MPOBertParts`; layers are handed them in every call.
MPOBERT (Liu et al. 2023) section 3.2, Figure 2; notebook 03, "Sharing" and "From ALBERT to MPOBERT".

Items: mpobert-fig2.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import linear
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.albert import modeling_albert as albert

from . import shared_rebuild
from .adapters import LowRankAdapter
from .mpobert_config import MATRICES, MPOBertConfig
from .shared_linear import SharedLinear

if TYPE_CHECKING:
    from .pretrained import Pretrained

# -- what is shared -----------------------------------------------------------------------------------


class MPOBertGroup(nn.Module):
    """The central tensors of a group of layers: a Parameter (d_{c-1}, i_c, j_c, d_c) named after each matrix."""

    def __init__(self, config: MPOBertConfig):
        super().__init__()
        for matrix in MATRICES:
            plan = config.plan(matrix)
            core = torch.empty(plan.core_shape(plan.centre, config.bonds(matrix)))
            self.register_parameter(matrix, nn.Parameter(core))


class MPOBertParts(nn.Module):
    """The biases and the two LayerNorms of a layer, or of all layers, where the config has them shared."""

    def __init__(self, config: MPOBertConfig, biases: bool, norms: bool):
        super().__init__()
        self.biases = nn.ParameterDict()
        if biases:
            for matrix in MATRICES:
                self.biases[matrix] = nn.Parameter(torch.zeros(config.shape(matrix)[0]))
        size, epsilon = config.hidden_size, config.layer_norm_eps
        self.attention_norm = nn.LayerNorm(size, eps=epsilon) if norms else None
        self.output_norm = nn.LayerNorm(size, eps=epsilon) if norms else None


# -- a layer ------------------------------------------------------------------------------------------


class MPOBertMatrix(nn.Module):
    """One matrix of a layer: auxiliary tensors, and an adapter beside them where the config asks for one."""

    def __init__(self, config: MPOBertConfig, matrix: str):
        super().__init__()
        bonds = config.bonds(matrix)
        self.mpo = SharedLinear(config.plan(matrix), bonds, config.mpo_mode, config.mpo_keep_weight)
        out_size, in_size = config.shape(matrix)
        with_adapter = config.adapter_rank and matrix in config.adapter_matrices
        adapter = LowRankAdapter(in_size, out_size, config.adapter_rank, config.adapter_alpha) if with_adapter else None
        self.adapter = adapter

    def forward(
        self, x: torch.Tensor, central: torch.Tensor, bias: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """weight: W (out, in), where all layers' have been rebuilt together."""
        y = self.mpo(x, central, bias) if weight is None else linear(x, weight, bias)
        return y if self.adapter is None else y + self.adapter(x)


class MPOBertAttention(nn.Module):
    """Self-attention over matrices that are handed in as functions; its second output is recorded as attentions."""

    def __init__(self, config: MPOBertConfig):
        super().__init__()
        self.config = config
        self.head_size = config.hidden_size // config.num_attention_heads
        self.scaling, self.dropout, self.is_causal = self.head_size**-0.5, config.attention_probs_dropout_prob, False
        self.num_attention_heads = config.num_attention_heads

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """query, key, value, output: (batch, tokens, hidden)."""
        batch, tokens, hidden = query.shape
        heads = (x.view(batch, tokens, -1, self.head_size).transpose(1, 2) for x in (query, key, value))
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, albert.eager_attention_forward)
        dropout = self.dropout if self.training else 0.0
        seen, weights = attend(self, *heads, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs)
        return seen.reshape(batch, tokens, hidden), weights


ONE_KERNEL = {"gelu_new": "gelu_pytorch_tanh"}
"""The same function as one kernel: ALBERT's gelu_new is eight passes over the widest activations of a layer."""


class MPOBertLayer(GradientCheckpointingLayer):
    """A post-LN Transformer layer: x + attention, LayerNorm, + FFN, LayerNorm, as ALBERT's."""

    def __init__(self, config: MPOBertConfig):
        super().__init__()
        self.matrices = nn.ModuleDict({matrix: MPOBertMatrix(config, matrix) for matrix in MATRICES})
        self.parts = MPOBertParts(config, not config.share_biases, not config.share_norms)
        self.attention = MPOBertAttention(config)
        self.activation = ACT2FN[ONE_KERNEL.get(config.hidden_act, config.hidden_act)]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None,
        centres: Mapping[str, torch.Tensor],
        shared: MPOBertParts,
        weights: Mapping[str, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """hidden (batch, tokens, hidden) -> the same; centres: of the layer's group; shared: parts of all layers;
        weights: W by matrix, (out, in), where they are rebuilt already.
        """
        weights = weights or {}
        biases = self.parts.biases or shared.biases
        attention_norm = self.parts.attention_norm or shared.attention_norm
        output_norm = self.parts.output_norm or shared.output_norm

        def apply(matrix: str, x: torch.Tensor) -> torch.Tensor:
            return self.matrices[matrix](x, centres[matrix], biases[matrix], weights.get(matrix))

        query, key, value = (apply(matrix, hidden) for matrix in ("query", "key", "value"))
        seen, _ = self.attention(query, key, value, attention_mask, **kwargs)
        hidden = attention_norm(hidden + self.dropout(apply("dense", seen)))
        inner = self.activation(apply("ffn", hidden))  # (batch, tokens, intermediate)
        return output_norm(hidden + apply("ffn_output", inner))  # ALBERT has no dropout here either


class MPOBertEncoder(nn.Module):
    """All layers, and the owners of what they share."""

    def __init__(self, config: MPOBertConfig):
        super().__init__()
        self.config = config
        self.embedding_hidden_mapping_in = nn.Linear(config.embedding_size, config.hidden_size)
        self.groups = nn.ModuleList(MPOBertGroup(config) for _ in range(config.num_central_groups))
        self.shared = MPOBertParts(config, config.share_biases, config.share_norms)
        self.layers = nn.ModuleList(MPOBertLayer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutput:
        hidden = self.embedding_hidden_mapping_in(hidden_states)  # (batch, tokens, embedding) -> (.., hidden)
        together = self._rebuilt_together(hidden)
        for number, layer in enumerate(self.layers):
            centres = dict(self.groups[self.config.group(number)].named_parameters())
            weights = {matrix: W[number] for matrix, W in together.items()}
            hidden = layer(hidden, attention_mask, centres, self.shared, weights, **kwargs)
        return BaseModelOutput(last_hidden_state=hidden)

    def _rebuilt_together(self, hidden: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        """{matrix: W (out, in) of each layer}, for the matrices that are to be rebuilt in one batch; for training only:
        evaluated layers keep their W.
        """
        config, found = self.config, {}
        if config.mpo_rebuild == "layer" or not torch.is_grad_enabled() or not config.mpo_keep_weight:
            return found
        auto = config.mpo_rebuild == "auto"
        if auto and (torch.compiler.is_compiling() or any(layer.gradient_checkpointing for layer in self.layers)):
            return found
        numbers = range(len(self.layers))
        members = [[k for k in numbers if config.group(k) == g] for g in range(len(self.groups))]
        dtype = _compute_dtype(hidden)
        for matrix in MATRICES:
            mpos = [layer.matrices[matrix].mpo for layer in self.layers]
            if auto and not shared_rebuild.pays(config.plan(matrix), min(map(len, members))):
                continue
            plan, own = mpos[0].plan, [mpo.auxiliary for mpo in mpos]
            centres = [getattr(group, matrix) for group in self.groups]
            if not any(core.requires_grad for core in (*centres, *(core for cores in own for core in cores))):
                continue
            if mpos[0].would_chain(hidden, centres[0]):
                continue
            found[matrix] = [
                W
                for centre, group in zip(centres, members)
                for W in shared_rebuild.rebuild_all(plan, centre, [own[k] for k in group], dtype)
            ]
        return found


def _compute_dtype(x: torch.Tensor) -> torch.dtype:
    """In which a linear layer multiplies x here."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if kind != "meta" and torch.is_autocast_enabled(kind) else x.dtype


# -- the models ---------------------------------------------------------------------------------------


class MPOBertPreTrainedModel(albert.AlbertPreTrainedModel):
    """What all MPOBERT models share: config, initialisation, what is recorded."""

    config: MPOBertConfig
    config_class = MPOBertConfig
    _can_record_outputs: ClassVar = {"hidden_states": MPOBertLayer, "attentions": MPOBertAttention}
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the heads' losses are means over what they get

    @classmethod
    def from_albert(
        cls,
        source: str | os.PathLike | Pretrained | nn.Module,
        num_layers: int | None = None,
        init: str = "algorithm1",
        seed: int = 0,
        **changes: Any,
    ) -> MPOBertPreTrainedModel:
        """An MPOBERT that starts from a trained ALBERT (its embeddings, LayerNorms, pooler and head included).

        source: a model, or what `load_pretrained` takes. num_layers: None = as many as the source. init: for the layers
        above the source's depth, one of `mpobert_init.INITS`: "copy" (then the model computes what ALBERT unrolled to
        that depth does), "algorithm1" (the paper's listing), "paper_text" (its section 3.3.1), "theory" (its section
        3.3.2), "xavier". changes: to any entry of `MPOBertConfig`.

        Raises CheckpointError for a source that is no ALBERT with one set of matrices, UnknownNameError for another
        init, BondError and PlanError for changes that make no model. MPOBERT section 3.3.1; notebook 03.
        """
        from .mpobert_init import config_from, initialise, source_of

        model = source_of(source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            mine = cls(config_from(model, num_layers, **changes))
        return initialise(mine, model, init, seed).eval()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, SharedLinear):
            for core, spread in zip(module.auxiliary, module.spread):
                init.normal_(core, std=spread)
        elif isinstance(module, MPOBertGroup):  # W's entries get the variance of a dense layer's in transformers
            for matrix in MATRICES:
                init.normal_(getattr(module, matrix), std=self.config.initializer_range * self._gain(matrix))
        elif isinstance(module, nn.ParameterDict):  # biases
            for bias in module.values():
                init.zeros_(bias)
        elif isinstance(module, LowRankAdapter):
            limit = 1 / math.sqrt(module.in_features)
            init.uniform_(module.A, -limit, limit)
            init.zeros_(module.B)

    def _gain(self, matrix: str) -> float:
        """What the centre's entries are over W's: both halves have rows or columns of unit length, so ||W|| = ||C||."""
        plan, bonds = self.config.plan(matrix), self.config.bonds(matrix)
        return math.sqrt(math.prod(plan.padded) / math.prod(plan.core_shape(plan.centre, bonds)))


class MPOBertModel(MPOBertPreTrainedModel, albert.AlbertModel):
    """The encoder with embeddings and (as in ALBERT) a pooler: input ids -> last_hidden_state, pooler_output."""

    def __init__(self, config: MPOBertConfig, add_pooling_layer: bool = True):
        config.check()
        super().__init__(config, add_pooling_layer)
        self.encoder = MPOBertEncoder(config)
        self.post_init()


class _WithHead(MPOBertPreTrainedModel):
    """A head of ALBERT's on an MPOBertModel, which takes the place of the model that ALBERT's class makes."""

    def __init__(self, config: MPOBertConfig):
        config.check()
        super().__init__(config)
        self.albert = MPOBertModel(config, add_pooling_layer=self.albert.pooler is not None)
        self.post_init()


class MPOBertForPreTraining(_WithHead, albert.AlbertForPreTraining):
    """Masked LM and sentence order: prediction_logits (batch, tokens, vocabulary), sop_logits (batch, 2)."""


class MPOBertForMaskedLM(_WithHead, albert.AlbertForMaskedLM):
    """logits (batch, tokens, vocabulary)."""


class MPOBertForSequenceClassification(_WithHead, albert.AlbertForSequenceClassification):
    """logits (batch, num_labels), from the pooled first token."""


class MPOBertForQuestionAnswering(_WithHead, albert.AlbertForQuestionAnswering):
    """start_logits, end_logits (batch, tokens)."""


class MPOBertForTokenClassification(_WithHead, albert.AlbertForTokenClassification):
    """logits (batch, tokens, num_labels)."""


def register() -> None:
    """Makes the Auto classes know "mpobert"; done when this file is imported."""
    AutoConfig.register(MPOBertConfig.model_type, MPOBertConfig, exist_ok=True)
    for auto, model in (
        (AutoModel, MPOBertModel),
        (AutoModelForPreTraining, MPOBertForPreTraining),
        (AutoModelForMaskedLM, MPOBertForMaskedLM),
        (AutoModelForSequenceClassification, MPOBertForSequenceClassification),
        (AutoModelForQuestionAnswering, MPOBertForQuestionAnswering),
        (AutoModelForTokenClassification, MPOBertForTokenClassification),
    ):
        auto.register(MPOBertConfig, model, exist_ok=True)


register()
