"""What a model is made of, read off its objects: tensors with their shapes, who owns and who shares them, what trains.

    read_mpop(model)       one matrix as a chain of tensors, and the numbers of the whole model by kind
    read_mpobert(model)    what the layers of an MPOBERT share and what each owns
    read_experts(layer)    the matrices of a set of experts, dense or with a shared centre
    read_mixture(model)    a model with experts that share centres: the layer, the router, the gradient mask

Plain values come out, which `mpolab.architecture` and `mpolab.expert_architecture` draw. Nothing is computed from a
config or a formula: every count is of Parameters that are there, so that a picture cannot differ from its model. All
works on the meta device. Notebook 02, "Lightweight fine-tuning"; 03, "Sharing"; 04, "From FFN to experts".

Items: mpop-fig1, mpobert-fig2, mpoe-fig1, mpoe-fig2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from .errors import MatrixTypeError, unknown
from .experts import DenseExperts, DenseMatrix, Experts, MPOExperts, MPOMatrix
from .gradient_mask import central_tensors, draw
from .layers import MPOEmbedding, MPOLinear
from .moe import MOE
from .moe_layer import MoELayer
from .plans import Plan
from .squeeze import bonds_at_centre
from .surgery import mpo_layers
from .surgery_plans import REPORT_KINDS, kind_of

AUXILIARY, CENTRAL, OTHER = "auxiliary", "central", "other"


# -- a chain of tensors ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Core:
    """One tensor of a chain. name: "A1" .. or "C". shape: (d_{k-1}, i_k, j_k, d_k). trains: its requires_grad."""

    name: str
    shape: tuple[int, ...]
    trains: bool

    @property
    def central(self) -> bool:
        return self.name == "C"

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Chain:
    """A matrix as an MPO. shape: (out, in); padded: with zero rows and columns. full_bonds: d_0 .. d_n of eq. 2.
    squeezed: the bonds that dimension squeezing cuts, counted from 1.
    """

    name: str
    shape: tuple[int, int]
    padded: tuple[int, int]
    cores: tuple[Core, ...]
    full_bonds: tuple[int, ...]
    squeezed: tuple[int, ...]

    @property
    def bonds(self) -> tuple[int, ...]:
        """d_0 .. d_n."""
        return (*(core.shape[0] for core in self.cores), 1)

    @property
    def centre(self) -> int:
        return next(k for k, core in enumerate(self.cores) if core.central)

    @property
    def central(self) -> int:
        """Numbers of the central tensor."""
        return sum(core.numbers for core in self.cores if core.central)

    @property
    def auxiliary(self) -> int:
        """Numbers of all other tensors."""
        return sum(core.numbers for core in self.cores if not core.central)


def _chain(name: str, plan: Plan, tensors: Iterable[torch.Tensor], shapes: Iterable[tuple[int, ...]]) -> Chain:
    cores, c = [], plan.centre
    for k, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True)):
        called = "C" if k == c else f"A{k + 1 if k < c else k}"
        cores.append(Core(called, tuple(shape), tensor.requires_grad))
    return Chain(name, plan.shape, plan.padded, tuple(cores), plan.full_bonds, tuple(bonds_at_centre(plan)))


def _numbers(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


# -- MPOP ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compressed:
    """A model with MPOs in place of matrices, or one such layer.

    chain: of one matrix. matrices: how many are MPOs. kinds: {kind of matrix: {(part, trains): numbers}}, parts being
    "auxiliary", "central" and "other" (biases, LayerNorms, whatever is no MPO).
    """

    chain: Chain
    matrices: int
    kinds: dict[str, dict[tuple[str, bool], int]]

    def count(self, part: str | None = None, trains: bool | None = None) -> int:
        """Numbers of the model: of one part or all, those that train, that do not, or both."""
        found = (entry for parts in self.kinds.values() for entry in parts.items())
        return sum(n for (p, t), n in found if part in (None, p) and trains in (None, t))


def read_mpop(source: nn.Module, matrix: str | None = None) -> Compressed:
    """A model after `to_mpo`, or one `MPOLinear` or `MPOEmbedding`.

    matrix: the path of the layer whose chain is wanted; None = the first linear one. Raises MatrixTypeError for what
    has no MPO layer, UnknownNameError for a path that is none's.
    """
    layers = mpo_layers(source) if isinstance(source, nn.Module) else {}
    if not layers:
        raise MatrixTypeError(
            f"a {type(source).__name__} has no MPO layer to draw; give a model after `to_mpo(model)`, or one "
            "`MPOLinear.from_linear(layer)` (an MPO becomes one by `MPOLinear.from_mpo(mpo, None)`)."
        )
    if matrix is None:
        matrix = next((path for path, layer in layers.items() if isinstance(layer, MPOLinear)), next(iter(layers)))
    if matrix not in layers:
        raise unknown("MPO layer", matrix, layers)
    part = {id(core): AUXILIARY for layer in layers.values() for core in layer.auxiliary}
    part |= {id(layer.central): CENTRAL for layer in layers.values()}
    alone = isinstance(source, MPOLinear | MPOEmbedding)
    kinds: dict[str, dict[tuple[str, bool], int]]
    kinds = {kind: {} for kind in (("auxiliary tensors", "central tensor", "bias") if alone else REPORT_KINDS)}
    for name, parameter in source.named_parameters():
        what = part.get(id(parameter), OTHER)
        owner = name.rpartition(".")[0].removesuffix(".cores")
        kind = {AUXILIARY: "auxiliary tensors", CENTRAL: "central tensor"}.get(what, "bias") if alone else None
        counts = kinds.setdefault(kind or kind_of(source, owner), {})
        key = what, parameter.requires_grad
        counts[key] = counts.get(key, 0) + parameter.numel()
    layer = layers[matrix]
    chain = _chain(matrix, layer.plan, layer.cores, [core.shape for core in layer.cores])
    return Compressed(chain, len(layers), {kind: counts for kind, counts in kinds.items() if counts})


# -- MPOBERT ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SharedMatrix:
    """One matrix of all layers. central: shape of the shared tensor; auxiliary: shapes of a layer's own, left to right,
    `left` of them left of the centre. rank: of a layer's adapter beside it, 0 = none.
    """

    name: str
    shape: tuple[int, int]
    central: tuple[int, ...]
    auxiliary: tuple[tuple[int, ...], ...]
    left: int
    rank: int
    adapter: int

    @property
    def own(self) -> int:
        """Numbers of one layer's auxiliary tensors."""
        return sum(map(math.prod, self.auxiliary))


@dataclass(frozen=True)
class OwnParts:
    """What one layer owns: numbers of its auxiliary tensors, adapters, and biases and LayerNorms that are not shared.
    group: whose central tensors it uses."""

    group: int
    auxiliary: int
    adapters: int
    other: int

    @property
    def numbers(self) -> int:
        return self.auxiliary + self.adapters + self.other


@dataclass(frozen=True)
class SharedEncoder:
    """An MPOBERT. matrices: of its first layer. layers: from the input up. groups: numbers of each group's central
    tensors. embeddings: with the map to the hidden size. shared, shared_names: what all layers share besides, of
    "biases" and "norms". rest: pooler and heads. total: of all Parameters.
    """

    matrices: tuple[SharedMatrix, ...]
    layers: tuple[OwnParts, ...]
    groups: tuple[int, ...]
    embeddings: int
    shared: int
    shared_names: tuple[str, ...]
    rest: int
    total: int

    @property
    def parts(self) -> dict[str, int]:
        """{part: its numbers}, as `sharing.PARTS` names them; their sum is `total`."""
        return {
            "embeddings": self.embeddings,
            "central": sum(self.groups),
            "auxiliary": sum(layer.auxiliary for layer in self.layers),
            "adapters": sum(layer.adapters for layer in self.layers),
            "rest": self.shared + self.rest + sum(layer.other for layer in self.layers),
        }


def read_mpobert(model: nn.Module) -> SharedEncoder:
    """An `MPOBertModel`, or a model with a head on one. Raises MatrixTypeError for any other object."""
    from .mpobert import MPOBertModel  # transformers' ALBERT, which the other figures do not need

    modules = model.modules() if isinstance(model, nn.Module) else ()
    body = next((module for module in modules if isinstance(module, MPOBertModel)), None)
    if body is None:
        raise MatrixTypeError(
            f"a {type(model).__name__} has no layers that share central tensors; give an `MPOBertModel`, or a model "
            "with a head on one, e.g. `MPOBertModel(MPOBertConfig.preset('mpobert-12'))` on the meta device."
        )
    encoder = body.encoder
    first = encoder.layers[0].matrices
    matrices = tuple(_shared_matrix(name, matrix) for name, matrix in first.items())
    layers = tuple(_own_parts(layer, encoder.config.group(k)) for k, layer in enumerate(encoder.layers))
    groups = tuple(_numbers(group.parameters()) for group in encoder.groups)
    mapped = encoder.embedding_hidden_mapping_in.parameters()
    embeddings = _numbers(body.embeddings.parameters()) + _numbers(mapped)
    shared, total = _numbers(encoder.shared.parameters()), _numbers(model.parameters())
    rest = total - embeddings - shared - sum(groups) - sum(layer.numbers for layer in layers)
    there = {"biases": len(encoder.shared.biases), "norms": encoder.shared.attention_norm is not None}
    names = tuple(name for name, found in there.items() if found)
    return SharedEncoder(matrices, layers, groups, embeddings, shared, names, rest, total)


def _shared_matrix(name: str, matrix: nn.Module) -> SharedMatrix:
    mpo, adapter = matrix.mpo, matrix.adapter
    own = tuple(tuple(core.shape) for core in mpo.auxiliary)
    rank, numbers = (0, 0) if adapter is None else (adapter.rank, _numbers(adapter.parameters()))
    return SharedMatrix(name, mpo.plan.shape, tuple(mpo.central_shape), own, mpo.plan.centre, rank, numbers)


def _own_parts(layer: nn.Module, group: int) -> OwnParts:
    auxiliary = sum(_numbers(matrix.mpo.auxiliary) for matrix in layer.matrices.values())
    adapters = sum(_numbers(m.adapter.parameters()) for m in layer.matrices.values() if m.adapter is not None)
    return OwnParts(group, auxiliary, adapters, _numbers(layer.parameters()) - auxiliary - adapters)


# -- MPOE ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExpertMatrix:
    """One matrix of a set of experts. shape: (out, in). chain: of one expert, None where experts are dense.

    own: numbers of each expert (its matrix, or its auxiliary tensors), shared: of all together (the central tensor);
    own_bias, shared_bias: of biases.
    """

    name: str
    shape: tuple[int, int]
    chain: Chain | None
    own: int
    shared: int
    own_bias: int
    shared_bias: int


@dataclass(frozen=True)
class ExpertSet:
    """The experts of one layer. count: how many. matrices: "up", "down", and "gate" where blocks are gated."""

    count: int
    hidden: int
    matrices: tuple[ExpertMatrix, ...]

    @property
    def own(self) -> int:
        """Numbers of one expert's matrices or auxiliary tensors, without biases."""
        return sum(matrix.own for matrix in self.matrices)

    @property
    def shared(self) -> int:
        """Numbers of the central tensors."""
        return sum(matrix.shared for matrix in self.matrices)

    @property
    def biases(self) -> int:
        """Of all experts."""
        return sum(self.count * matrix.own_bias + matrix.shared_bias for matrix in self.matrices)

    @property
    def total(self) -> int:
        """Of all experts, biases included."""
        return self.count * self.own + self.shared + self.biases


def read_experts(layer: nn.Module, mpo: bool | None = None) -> ExpertSet:
    """A `MoELayer`, or its experts. mpo: whether their matrices must share a centre, or must be dense; None = either.

    Raises MatrixTypeError for another object, and for experts of the other kind.
    """
    experts = layer.experts if isinstance(layer, MoELayer) else layer
    wanted = {True: MPOExperts, False: DenseExperts, None: (MPOExperts, DenseExperts)}[mpo]
    if not isinstance(experts, wanted):
        kind = {True: "experts with a shared centre: a layer of `to_moe(model, 'mpoe')`, or `MPOExperts.from_ffn(ffn, "
                "8)`", False: "dense experts: a layer of `to_moe(model, 'moe')`, or `DenseExperts.from_ffn(ffn, 8)`",
                None: "a MoELayer with dense experts or with experts that share a centre"}[mpo]  # fmt: skip
        raise MatrixTypeError(f"a {type(experts).__name__} was given; expected {kind}.")
    return _expert_set(experts)


def _expert_set(experts: Experts) -> ExpertSet:
    order = [name for name in ("gate", "up", "down") if name in experts.matrices]
    return ExpertSet(
        experts.count, experts.hidden, tuple(_expert_matrix(name, experts.matrices[name]) for name in order)
    )


def _expert_matrix(name: str, matrix: DenseMatrix | MPOMatrix) -> ExpertMatrix:
    bias = matrix.bias
    stacked = bias is not None and bias.dim() == 2
    biases = (bias.shape[-1], 0) if stacked else (0, 0 if bias is None else bias.numel())
    if isinstance(matrix, DenseMatrix):
        _, out, size = matrix.weight.shape
        return ExpertMatrix(name, (out, size), None, out * size, 0, *biases)
    cores = matrix.cores(0)
    owners = [*matrix.auxiliary[: matrix.plan.centre], matrix.central, *matrix.auxiliary[matrix.plan.centre :]]
    chain = _chain(name, matrix.plan, owners, [core.shape for core in cores])
    return ExpertMatrix(name, matrix.plan.shape, chain, chain.auxiliary, chain.central, *biases)


@dataclass(frozen=True)
class Mixture:
    """A model with experts that share centres.

    path: of the layer that `experts` and `router` are of. layers: how many such layers. router: numbers of its
    Parameters, router_name: its class. dense_kept: whether one of the experts is the dense block. mask: p_b. centres:
    {matrix: its central tensor's name in the model}. seed: of the mask's draws. total: of all Parameters.
    """

    path: str
    layers: int
    experts: ExpertSet
    router: int
    router_name: str
    dense_kept: bool
    mask: float
    seed: int
    centres: Mapping[str, str]
    total: int

    def discarded(self, matrix: str, step: int) -> bool:
        """Whether the mask discards the update of this matrix's central tensor in an optimizer step."""
        return draw(self.seed, step, self.centres[matrix]) < self.mask


def read_mixture(model: nn.Module, layer: int = 0) -> Mixture:
    """A model after `to_moe(model, "mpoe")`. layer: which of its layers with experts, counted from 0.

    Raises MatrixTypeError for another object, UnknownNameError for a layer that is not there.
    """
    about = getattr(model, MOE, None) if isinstance(model, nn.Module) else None
    if not about or about["kind"] != "mpoe":
        what = f"a model of kind={about['kind']!r}" if about else f"a {type(model).__name__} without experts"
        raise MatrixTypeError(
            f"{what} was given; expected a GPT-2 or T5 after `to_moe(model, kind='mpoe')`, whose experts share centres."
        )
    found = {path: module for path, module in model.named_modules() if isinstance(module, MoELayer)}
    if not 0 <= layer < len(found):
        raise unknown("layer with experts", layer, range(len(found)))
    path, chosen = list(found.items())[layer]
    owner = {id(parameter): name for name, parameter in central_tensors(model).items()}
    centres = {name: owner[id(matrix.central)] for name, matrix in chosen.experts.matrices.items()}
    router = chosen.router
    return Mixture(
        path, len(found), read_experts(chosen, mpo=True), _numbers(router.parameters()), type(router).__name__,
        bool(about["keep_dense"]), float(about["mask_probability"]), int(about["seed"]), centres,
        _numbers(model.parameters()),
    )  # fmt: skip
