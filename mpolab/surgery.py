"""Surgery on a model: matrices out, MPOs in, and back.

    model = to_mpo(model, "mpop", bond={"embedding": 385, "FFN": 308, "attention": 208})
    freeze_central(model)                # MPOP section 4.1: only auxiliary tensors and the small rest train
    print(trainable_report(model))       # #Pr and #To, as in MPOP Table 3
    to_dense(model)                      # nn.Linear and nn.Embedding again; original=True: the very weights of before

Works on any model made of nn.Linear, transformers' Conv1D and nn.Embedding, in place; on the meta device, too, where
only shapes exist and counting costs nothing. Tensors that the model ties stay tied: one MPO owns them, the others
refer to it. MPOP (Liu et al. 2021) sections 3 and 4; notebook 02, "Lightweight fine-tuning" and "Compression".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from .allocation import ALLOCATIONS, allocate
from .errors import BondError, MatrixError, MatrixTypeError, PlanError, unknown
from .layers import MPOEmbedding, MPOLinear, MPOTiedHead, rebuild_once_in
from .mpo import MPO
from .plans import Plan
from .surgery_plans import REPORT_KINDS, Rule, Site, check_kinds, kind_of, one_of, request, sites

PATIENCE = 2.0  # seconds before a progress bar shows
ORIGINAL = "_original"  # where a new layer keeps what it replaced: in __dict__, so outside the module tree
HOOKS = "_mpo_hooks"  # where a model keeps the handles of its hooks


class MPOTiedEmbedding(nn.Module):
    """An embedding that shares the table of another: it asks the MPOEmbedding that owns it and holds nothing itself.

    T5's encoder and decoder each look words up in the table of `shared`. forward: ids (...) -> (..., embedding_dim).
    """

    def __init__(self, owner: MPOEmbedding):
        super().__init__()
        self.__dict__["_owner"] = owner  # not registered: a shared tensor has one owner

    @property
    def owner(self) -> MPOEmbedding:
        return self.__dict__["_owner"]

    @property
    def weight(self) -> torch.Tensor:
        return self.owner.weight

    @property
    def num_embeddings(self) -> int:
        return self.owner.num_embeddings

    @property
    def embedding_dim(self) -> int:
        return self.owner.embedding_dim

    @property
    def padding_idx(self) -> int | None:
        return self.owner.padding_idx

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.owner(ids)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, tied"


MPOModule = MPOLinear | MPOEmbedding | MPOTiedHead | MPOTiedEmbedding


# -- there -----------------------------------------------------------------------------------------


@torch.no_grad()
def to_mpo(
    model: nn.Module,
    plan: str | Mapping | Iterable[Rule] = "mpop",
    bond: int | Sequence[int] | Mapping | None = None,
    ratio: float | Mapping | None = None,
    error: float | Mapping | None = None,
    n: int = 5,
    allocation: str = "uniform",
    mode: str = "auto",
    keep_weight: bool = True,
    undoable: bool = True,
    progress: bool = True,
) -> nn.Module:
    """Puts MPOs in place of the matrices that `plan` names; returns the same model, changed as a whole or not at all.

    plan: "mpop" (word embedding, attention, FFN and pooler in the factors of MPOP's appendix) or "mpobert" (the
        matrices of the layers, MPOBERT's factors) for ALBERT, BERT, RoBERTa, DistilBERT, MobileBERT, GPT-2 and T5;
        "linear" (all linear layers but the heads) for any other model; a dict {end of a module's path, as a regular
        expression: dict(rows=, cols=, bond=, ratio=, error=, n=, style=, kind=)}; or a list of `surgery_plans.Rule`.
    bond | ratio | error: at most one, as in `MPO.decompose`, for every matrix whose rule has none of its own; a dict
        {"embedding" | "attention" | "FFN" | "pooler" | "other": value} sets it per kind (a kind that is left out keeps
        full bonds; the pooler follows attention). Nothing: full bonds, and the model's outputs stay what they were.
    n: cores per matrix, where rule and factors leave it open.
    allocation: "uniform" applies the request to each matrix. "spectra" takes `ratio` as one budget for all chosen
        matrices together (`allocation.allocate`; errors relative to each matrix's norm; "spectra-absolute": not);
        a rule's own `bond` then caps its matrices.
    mode, keep_weight: how the new layers compute, see `layers`. undoable: keep the modules that are replaced, outside
        the module tree, for `to_dense(model, original=True)`; costs their memory. progress: a bar after two seconds.

    Biases stay the same Parameters. Raises PlanError, BondError, MatrixError or UnknownNameError, with the matrix's
    name; the model is then unchanged.
    """
    defaults = {"bond": bond, "ratio": ratio, "error": error}
    if allocation not in ALLOCATIONS:
        raise unknown("allocation", allocation, ALLOCATIONS)
    one_of(defaults)
    chosen = sites(model, plan)
    if allocation == "uniform":
        check_kinds(chosen, defaults)
        requests = [request(site, defaults) for site in chosen]
    else:
        requests = _allocated(chosen, defaults, n, allocation, progress)
    layers = []
    for site, wanted in zip(_bar(chosen, "to_mpo", progress), requests):
        layers.append(_named(site.path, _build, site, wanted, n, mode, keep_weight))
    replacements: dict[int, nn.Module] = {}
    for site, layer in zip(chosen, layers):
        replacements |= _replacements(site, layer, undoable)
    _swap(model, replacements)
    return model


def _build(site: Site, wanted: dict, n: int, mode: str, keep_weight: bool) -> MPOLinear | MPOEmbedding:
    rule = site.rule
    settings = {"rows": rule.rows, "cols": rule.cols, "n": rule.n or n, "style": rule.style or "mpobert", **wanted}
    make = MPOEmbedding.from_embedding if isinstance(site.module, nn.Embedding) else MPOLinear.from_linear
    return make(site.module, mode=mode, keep_weight=keep_weight, **settings)


def _named(path: str, call, *arguments):
    """Calls, and lets an error say which matrix it is about."""
    try:
        return call(*arguments)
    except (PlanError, BondError, MatrixError, MatrixTypeError) as problem:
        raise type(problem)(f"{path}: {problem}") from problem


def _allocated(chosen: list[Site], defaults: dict, n: int, allocation: str, progress: bool) -> list[dict]:
    """One budget -> {"bond": n-1 inner bonds} for each site."""
    ratio = defaults["ratio"]
    if ratio is None or isinstance(ratio, Mapping):
        raise BondError(
            f"allocation={allocation!r} spreads one budget over all matrices: give it as ratio=, one number, e.g. "
            "ratio=0.3."
        )
    for site in chosen:
        if site.rule.ratio is not None or site.rule.error is not None:
            raise BondError(
                f"the plan entry {site.rule.pattern!r} has a ratio or an error of its own, and allocation="
                f"{allocation!r} decides those from one budget; a bond= as a cap is all that an entry may add."
            )
        if site.weight.is_meta:
            raise BondError(
                f"{site.path}: there are no numbers on the meta device, so no spectra to allocate by; give bond=."
            )
    plans = [_named(site.path, site.plan, n) for site in chosen]
    ceilings = [_named(site.path, _ceiling, plan, site.rule.bond) for site, plan in zip(chosen, plans)]
    spectra = []
    for site, plan in zip(_bar(chosen, "spectra", progress), plans):
        # bonds of 1 make only the bases of both halves, and next to nothing of the centre
        cut = {"rows": plan.rows, "cols": plan.cols, "bond": 1, "keep_source": False}
        spectra.append(_named(site.path, lambda site=site, cut=cut: MPO.decompose(site.weight, **cut)).spectra)
    weighing = "absolute" if allocation == "spectra-absolute" else "relative"
    return [{"bond": bonds[1:-1]} for bonds in allocate(plans, spectra, ratio, ceilings, weighing)]


def _ceiling(plan: Plan, cap: int | Sequence[int] | None) -> list[int]:
    """Full bonds, cut to a rule's cap."""
    full = plan.full_bonds
    if cap is None:
        return list(full)
    caps = [cap] * (plan.n - 1) if isinstance(cap, int) else list(cap)
    if len(caps) != plan.n - 1 or any(not isinstance(d, int) or d < 1 for d in caps):
        raise BondError(f"bond = {cap!r}: expected a whole number of at least 1, or a list of {plan.n - 1} of them.")
    return [1, *map(min, caps, full[1:-1]), 1]


def _bar(items: list, what: str, progress: bool) -> Iterable:
    """A progress bar on stderr for what takes longer than two seconds."""
    from tqdm import tqdm

    return tqdm(items, what, unit="matrix", delay=PATIENCE, leave=False, file=sys.stderr, disable=not progress)


# -- swapping --------------------------------------------------------------------------------------


def _replacements(site: Site, layer: MPOLinear | MPOEmbedding, undoable: bool) -> dict[int, nn.Module]:
    """id of the old module -> the new one, for a matrix's owner and its twins."""
    made = {id(site.module): _dressed(layer, site.module, undoable)}
    for _, twin in site.twins:
        if isinstance(layer, MPOLinear):  # the same layer in two places
            made[id(twin)] = layer
        elif isinstance(twin, nn.Embedding):
            made[id(twin)] = _dressed(MPOTiedEmbedding(layer), twin, undoable)
        else:
            made[id(twin)] = _dressed(MPOTiedHead(layer, twin.bias), twin, undoable)
    return made


@dataclass
class Original:
    """A module that was replaced. Its bias stays in the model and may train, so the numbers of before are kept here."""

    module: nn.Module
    bias: torch.Tensor | None


def _dressed(new: nn.Module, old: nn.Module, undoable: bool) -> nn.Module:
    """The new module with what it takes over from the old one: the bias itself, the mode, and the way back."""
    bias = getattr(old, "bias", None)
    if bias is not None:
        new.bias = bias
    new.train(old.training)
    new._is_hf_initialized = True  # transformers must not draw random numbers over it
    if undoable:
        new.__dict__[ORIGINAL] = Original(old, None if bias is None else bias.detach().clone())
    return new


def _swap(model: nn.Module, replacements: Mapping[int, nn.Module]) -> None:
    """Puts new modules in every place where an old one stands."""
    places = [(path, module) for path, module in model.named_modules(remove_duplicate=False) if path]
    for path, module in places:
        if id(module) in replacements:
            put_module(model, path, replacements[id(module)])
    settle(model)


def put_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Puts a module in the place at `path`; AttributeError where there is no such place."""
    parent, _, name = path.rpartition(".")
    parent = model.get_submodule(parent)
    if not isinstance(getattr(parent, name), nn.Module):
        raise AttributeError(f"{path!r} is no module")
    setattr(parent, name, module)


def settle(model: nn.Module) -> None:
    """What a model as a whole needs after its layers were exchanged, in either direction.

    Each W is rebuilt once in a forward pass for training, however often its layer is called or its `weight` looked at
    (ALBERT calls each layer twelve times, T5 looks at the dtype of `wo.weight`): see `layers.rebuild_once`.
    """
    for handle in model.__dict__.pop(HOOKS, ()):
        handle.remove()
    if mpo_layers(model):
        model.__dict__[HOOKS] = rebuild_once_in(model)
    _refresh_ties(model)


def _refresh_ties(model: nn.Module) -> None:
    """Tells transformers which of the ties that a class declares are still between plain parameters.

    An MPO's weight is no parameter, and its ties need no help; without this, saving or `tie_weights()` would look for
    parameters that are gone. An MPO's vocabulary is not resized, either. After `to_dense` all is as the class says.
    """
    for module in model.modules():
        declared = getattr(type(module), "_tied_weights_keys", None)
        if not declared:
            continue
        module.__dict__.pop("_tied_weights_keys", None)
        names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
        left = _still_there(declared, names)
        if len(left) < len(declared):
            module._tied_weights_keys = left
    for module in model.modules():
        if hasattr(module, "all_tied_weights_keys"):  # transformers 5
            module.all_tied_weights_keys = module.get_expanded_tied_weights_keys(all_submodels=True)
        if hasattr(module, "resize_token_embeddings"):
            module.__dict__.pop("resize_token_embeddings", None)
            if isinstance(_input_embeddings(module), MPOEmbedding | MPOTiedEmbedding):
                module.resize_token_embeddings = partial(_resize, module)  # a bound method of it could not be pickled


def _input_embeddings(model: nn.Module) -> nn.Module | None:
    try:
        return model.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        return None


def _resize(model: nn.Module, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, *_, **__):
    """Stands in for transformers' resize_token_embeddings, which would write into an embedding that is no nn.Embedding.

    The size that it has is fine (tokenizer set-ups ask for that as a matter of form); another is an error.
    """
    embedding = model.get_input_embeddings()
    wanted = embedding.num_embeddings if new_num_tokens is None else new_num_tokens
    if pad_to_multiple_of:
        wanted = -(-wanted // pad_to_multiple_of) * pad_to_multiple_of
    if wanted != embedding.num_embeddings:
        raise PlanError(
            f"the word embedding is an MPO of {embedding.num_embeddings:,} rows and cannot be resized to {wanted:,}: "
            "its factors fix the size. Resize the model before to_mpo, or call to_dense first."
        )
    return embedding


def _still_there(declared, names: list[str]):
    """The entries (target -> source patterns, or in transformers 4 a list of patterns) that find parameters."""

    def there(pattern: str) -> bool:
        return any(re.search(f"^{pattern}", name) for name in names)

    if isinstance(declared, Mapping):
        return {target: source for target, source in declared.items() if there(target) and there(source)}
    return [pattern for pattern in declared if any(re.search(pattern, name) for name in names)]


# -- and back --------------------------------------------------------------------------------------


@torch.no_grad()
def to_dense(model: nn.Module, original: bool = False) -> nn.Module:
    """Puts dense layers in place of all MPOs; returns the same model. A model without MPOs stays as it is.

    original=False rebuilds each matrix from its cores as they are now. original=True puts the very modules back that
    `to_mpo` took out, with their numbers of then, biases included, bit for bit; what `to_mpo` did not touch
    (LayerNorms, heads) keeps its training.

    Raises PlanError where the originals were not kept (undoable=False, or a loaded model).
    """
    found = [(path, module) for path, module in model.named_modules() if isinstance(module, MPOModule)]
    if original:
        gone = [path for path, module in found if ORIGINAL not in module.__dict__]
        if gone:
            raise PlanError(
                f"the original weights of {gone[0]!r} ({len(gone)} of {len(found)} layers) are not at hand: the model "
                "was converted with undoable=False, or loaded from a file. to_dense(model) rebuilds dense weights from "
                "the cores; or load the pre-trained model again."
            )
    replacements: dict[int, nn.Module] = {}
    # owners first: what is tied to them takes the rebuilt parameter
    for _, module in sorted(found, key=lambda entry: not isinstance(entry[1], MPOLinear | MPOEmbedding)):
        dense = _restored(module) if original else _rebuilt(module, replacements)
        if getattr(module, "bias", None) is not None:
            dense.bias = module.bias  # the same Parameter, so that a tied bias stays tied
        replacements[id(module)] = dense.train(module.training)
    _swap(model, replacements)
    return model


def _restored(module: nn.Module) -> nn.Module:
    """The module that was replaced, on the device where its successor is, its bias as it was."""
    kept: Original = module.__dict__[ORIGINAL]
    if kept.bias is not None:
        module.bias.copy_(kept.bias)
    kept.module.bias = None if kept.bias is None else module.bias
    like = next(owner_of(module).parameters())  # the model may have been moved or converted in between
    return kept.module.to(like.device, like.dtype)


def owner_of(module: nn.Module) -> nn.Module:
    """The layer that holds a module's cores: itself, or the embedding that it is tied to."""
    if isinstance(module, MPOTiedEmbedding):
        return module.owner
    return module.embedding if isinstance(module, MPOTiedHead) else module


def _rebuilt(module: nn.Module, replacements: Mapping[int, nn.Module]) -> nn.Module:
    if isinstance(module, MPOLinear):
        return module.to_linear()
    if isinstance(module, MPOEmbedding):
        return module.to_embedding()
    owner = owner_of(module)
    table = replacements[id(owner)].weight
    if isinstance(module, MPOTiedEmbedding):
        dense = nn.Embedding(*table.shape, padding_idx=owner.padding_idx, device="meta")
    else:
        dense = nn.Linear(table.shape[1], table.shape[0], bias=False, device="meta")
    dense.weight = table
    return dense


# -- what trains -----------------------------------------------------------------------------------


def mpo_layers(model: nn.Module) -> dict[str, MPOLinear | MPOEmbedding]:
    """The layers that own cores by path, each once however many places share it."""
    return {path: module for path, module in model.named_modules() if isinstance(module, MPOLinear | MPOEmbedding)}


def freeze_central(model: nn.Module) -> nn.Module:
    """Lightweight fine-tuning (MPOP section 4.1): the central tensors stop training, *everything* else trains.

    Everything: auxiliary tensors, biases, LayerNorms, position embeddings, heads, also what was frozen before. Returns
    the model. Raises PlanError if it has no MPO layer.
    """
    layers = mpo_layers(model)
    if not layers:
        raise PlanError(f"this {type(model).__name__} has no MPO layers with a centre to freeze; call to_mpo first.")
    model.requires_grad_(True)
    for layer in layers.values():
        layer.central.requires_grad_(False)
    return model


def freeze_auxiliary(model: nn.Module) -> nn.Module:
    """The counterpart of `freeze_central`: of the MPO layers the central tensors alone train, and all that is no tensor
    of theirs. Returns the model. Raises PlanError if it has no MPO layer.
    """
    freeze_central(model)
    for layer in mpo_layers(model).values():
        for core in layer.cores:
            core.requires_grad_(core is layer.central)
    return model


@dataclass(frozen=True)
class Report:
    """How many numbers a model stores and how many of them train; a shared tensor counts once.

    kinds: kind of matrix -> (trainable, total), in the order of `REPORT_KINDS`; biases count with their matrix.
    dense: what the model would store with dense matrices in place of its MPOs.
    """

    kinds: dict[str, tuple[int, int]]
    dense: int

    @property
    def trainable(self) -> int:
        """#Pr of MPOP's tables."""
        return sum(trainable for trainable, _ in self.kinds.values())

    @property
    def total(self) -> int:
        """#To of MPOP's tables."""
        return sum(total for _, total in self.kinds.values())

    def __str__(self) -> str:
        rows = [*self.kinds.items(), ("all", (self.trainable, self.total))]
        lines = [f"{'':16}{'#Pr':>14}{'#To':>14}{'trains':>9}"]
        for kind, (trainable, total) in rows:
            share = f"{trainable / total:.1%}" if total else "-"
            lines.append(f"{kind:16}{trainable:>14,}{total:>14,}{share:>9}")
        if self.dense != self.total:
            lines.append(f"{'dense':16}{'':14}{self.dense:>14,}")
        return "\n".join(lines)


def trainable_report(model: nn.Module) -> Report:
    """Counts a model's parameters, trainable and total, per kind; works on the meta device and on models without MPOs.

    A parameter belongs to the kind of its module (`surgery_plans.kind_of`); LayerNorms, positions and projections are
    "other", whatever lies outside the model's base is "head".
    """
    kinds = {kind: [0, 0] for kind in REPORT_KINDS}
    for name, parameter in model.named_parameters():
        path = name.rpartition(".")[0].removesuffix(".cores")
        counts = kinds[kind_of(model, path)]
        counts[0] += parameter.numel() * parameter.requires_grad
        counts[1] += parameter.numel()
    total = sum(counts[1] for counts in kinds.values())
    dense = total
    for layer in mpo_layers(model).values():
        height, width = layer.plan.shape
        dense += height * width - sum(core.numel() for core in layer.cores)
    return Report({kind: tuple(counts) for kind, counts in kinds.items() if counts[1]}, dense)
