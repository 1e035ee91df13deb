"""A dense GPT-2 or T5 into a mixture of experts, in place: every feed-forward block becomes a router and its experts.

    model = to_moe(GPT2LMHeadModel.from_pretrained("gpt2"), kind="mpoe", experts=8)
    out = model(ids, labels=ids, output_router_logits=True)   # out.router_logits, out.aux_loss; generate() works

All experts start from the block they replace, so that the model computes what it did where the kind allows it: "mpoe",
"moe", and "moefication" with all clusters; "switch" with capacity_factor=None and scale=False. On the meta device only
shapes exist, and counting costs nothing. MPOE (Gao et al. 2022) sections 2 and 3; notebook 04, "From FFN to experts".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any

import torch
from torch import nn

from .errors import MatrixTypeError, RoutingError, check_options, unknown
from .experts import DenseExperts, Experts, MPOExperts
from .ffn import LAYOUTS, read_ffn
from .mask_callback import MaskCallback
from .moe_layer import MoELayer, TokenInputs
from .moefication import LearnedRouter, MoEfied, OracleRouter
from .routers import Router, make_router
from .routing import Routing, whole_number
from .surgery import put_module

SUFFIX = "WithExperts"  # of the class of a converted model
MOE = "_moe"  # where a converted model keeps how it was converted

STYLES = {"t5": "mpop", "gpt2": "mpobert"}
"""Family -> whose plan of factors its FFN gets: those that give the printed parameter counts."""

Parts = tuple[Router, Experts]


# -- kinds -----------------------------------------------------------------------------------------------


def _moe(ffn, count: int, top_k: int, plan: Mapping[str, Any], biases: str, seed: int, options: dict) -> Parts:
    experts = DenseExperts.from_ffn(ffn, count, biases)
    return _router(ffn, options.pop("router", "noisy_top_k"), count, seed, {"top_k": top_k, **options}), experts


def _switch(ffn, count: int, top_k: int, plan: Mapping[str, Any], biases: str, seed: int, options: dict) -> Parts:
    _only_top_1("switch", top_k)
    return _router(ffn, options.pop("router", "switch"), count, seed, options), DenseExperts.from_ffn(
        ffn, count, biases
    )


def _mpoe(ffn, count: int, top_k: int, plan: Mapping[str, Any], biases: str, seed: int, options: dict) -> Parts:
    _only_top_1("mpoe", top_k)
    experts = MPOExperts.from_ffn(ffn, count, biases=biases, **plan)
    return _router(ffn, options.pop("router", "mpoe"), count, seed, options), experts


def _moefication(ffn, count: int, top_k: int, plan: Mapping[str, Any], biases: str, seed: int, options: dict) -> Parts:
    experts = MoEfied.from_ffn(ffn, count, seed)
    which = options.pop("router", "learned")
    if which == "oracle":
        return OracleRouter(experts, top_k), experts
    if which != "learned":
        raise unknown("router of a MoEfication", which, ("learned", "oracle"))
    check_options("the learned router", options, LearnedRouter, ("experts", "top_k", "generator"))
    return LearnedRouter(experts, top_k, generator=torch.Generator().manual_seed(seed), **options), experts


KINDS: dict[str, Callable[..., Parts]] = {"moe": _moe, "switch": _switch, "mpoe": _mpoe, "moefication": _moefication}
"""kind -> what makes the router and the experts of one block. A new kind is one entry here."""


def _only_top_1(kind: str, top_k: int) -> None:
    if top_k != 1:
        raise RoutingError(f"kind={kind!r} gives each token one expert, so top_k={top_k!r} cannot be; kind='moe' can.")


def _router(ffn, name: str, count: int, seed: int, options: Mapping[str, Any]) -> Router:
    if name == "hash":  # it has no weights
        return make_router(name, ffn.hidden, count, **{"seed": seed, **options})
    W = ffn.weights["up"]
    generator = None if W.is_meta else torch.Generator().manual_seed(seed)
    return make_router(name, ffn.hidden, count, generator=generator, device=W.device, dtype=W.dtype, **options)


# -- the surgery -----------------------------------------------------------------------------------------


def to_moe(
    model: nn.Module,
    kind: str = "mpoe",
    experts: int = 8,
    top_k: int = 1,
    mask_probability: float = 0.0,
    keep_dense: bool = False,
    plan: int | str | Mapping[str, Any] | None = None,
    biases: str = "own",
    seed: int = 0,
    **router: Any,
) -> nn.Module:
    """Turns every feed-forward block into experts, in place, and returns the model.

    kind: "moe" (copies of the block, noisy top-k of Shazeer et al.), "switch" (copies, top-1 with a capacity, Fedus et
    al.), "mpoe" (one central tensor, auxiliaries per expert, top-1, a gate of one), "moefication" (the block's neurons
    in `experts` clusters, `top_k` of which compute). mask_probability: p_b of MPOE's gradient mask, which a training by
    this package applies (with another, give it `MaskCallback(model, p)`). keep_dense: the original block stays as one
    more expert (a further copy, as all start from it); the printed 578, 157 and 171 M count so. plan: of "mpoe", the
    number m of tensors, a style of plan ("mpop", "mpobert"), or {"n": m, "bond": ..., "style": ...} as
    `MPOExperts.from_ffn` has it. biases: per expert ("own") or "shared". seed: of the routers and clusters. router:
    further options of the router, by name (router="hash" takes another one; see `mpolab.routers.ROUTERS`).

    Raises MatrixTypeError for a model without a block that is known; UnknownNameError for another kind, router, style
    or option; RoutingError for numbers that route nothing.
    """
    if kind not in KINDS:
        raise unknown("kind of mixture", kind, KINDS)
    if hasattr(model, MOE):
        raise RoutingError("this model has experts already; load the dense one and convert it once.")
    experts = whole_number("experts", experts)
    if not isinstance(mask_probability, Real) or not 0 <= mask_probability <= 1:
        raise RoutingError(f"mask_probability={mask_probability!r}: a number between 0 (never) and 1 (always).")
    if mask_probability and kind != "mpoe":
        raise RoutingError(f"mask_probability={mask_probability} masks central tensors, and kind={kind!r} has none.")
    if keep_dense and kind == "moefication":
        raise RoutingError("keep_dense=True adds a copy of the block, and moefication splits the one there is.")
    if plan is not None and kind != "mpoe":
        raise RoutingError(f"plan={plan!r} says how experts are decomposed, and those of kind={kind!r} are not.")
    about = {
        "kind": kind, "experts": experts, "top_k": top_k, "mask_probability": mask_probability,
        "keep_dense": keep_dense, "plan": plan, "biases": biases, "seed": seed, **router,
    }  # fmt: skip
    style = STYLES.get(getattr(getattr(model, "config", None), "model_type", ""), "mpobert")
    shape = {"style": style, **_shape(plan)}
    count = experts + bool(keep_dense)
    stacks = _stacks(model)
    inputs = {path: TokenInputs() for path in stacks}
    blocks = _blocks(model, stacks)
    made = {}
    for number, (path, (block, stack)) in enumerate(blocks.items()):
        ffn = read_ffn(block)
        made[path] = MoELayer(
            *KINDS[kind](ffn, count, top_k, shape, biases, seed + number, dict(router)), inputs[stack]
        )
    for path, layer in made.items():  # all or none
        put_module(model, path, layer)
    for path, stack in stacks.items():
        inputs[path].watch(stack)
    setattr(model, MOE, about)
    model.__class__ = class_with_experts(type(model))
    if mask_probability == 1:
        model.training_callbacks()  # freezes the centres now, before an optimizer sees them
    return model


def _shape(plan: object) -> Mapping[str, Any]:
    """The plan of `to_moe` as options of `MPOExperts.from_ffn`."""
    if plan is None:
        return {}
    if isinstance(plan, str):
        return {"style": plan}
    if isinstance(plan, Mapping):
        check_options("plan", plan, MPOExperts.from_ffn, ("module", "experts", "biases"))
        return plan
    return {"n": whole_number("plan", plan, 2)}


def _stacks(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that hold a list of layers and get ids and mask: GPT2Model; T5's encoder and decoder."""
    return {
        path: module
        for path, module in model.named_modules()
        if any(isinstance(getattr(module, name, None), nn.ModuleList) for name in ("h", "block"))
    }


def _blocks(model: nn.Module, stacks: Mapping[str, nn.Module]) -> dict[str, tuple[nn.Module, str]]:
    """{path of a feed-forward block: (block, path of the stack it is in)}; raises MatrixTypeError if there is none."""
    found = {}
    for path, module in model.named_modules():
        if not any(all(isinstance(getattr(module, n, None), nn.Module) for n in names) for names in LAYOUTS):
            continue
        owners = [name for name in stacks if not name or path.startswith(f"{name}.")]
        if owners:
            found[path] = (module, max(owners, key=len))
    if not found:
        known = "; ".join(" and ".join(names) for names in LAYOUTS)
        raise MatrixTypeError(
            f"{type(model).__name__} has no feed-forward block that is known: to_moe works on GPT-2 and T5 (blocks "
            f"with {known}, in a stack of layers)."
        )
    return found


# -- a model with experts --------------------------------------------------------------------------------


class WithExperts:
    """What a converted model does besides: routers are heard, and their losses join the model's.

    For output_router_logits=True the output has `router_logits`, a tuple of (batch, tokens, experts), encoder first.
    `aux_loss` is there in training: the weighted sum of all routers' losses; where labels are given it is part of
    `loss`. In eval mode `loss` is the plain one, so that perplexities compare. A tuple (return_dict=False) has the same
    loss, and nothing of what is here besides.
    """

    def forward(self, *args: Any, output_router_logits: bool | None = None, **kwargs: Any) -> Any:
        asked = kwargs.pop("return_dict", None)
        with self._heard() as routings:
            outputs = super().forward(*args, return_dict=True, **kwargs)
        aux_loss = None
        if self.training and routings:
            aux_loss = torch.stack([routing.loss.float() for routing in routings]).sum()
            if outputs.get("loss") is not None:
                outputs["loss"] = outputs["loss"] + aux_loss
        if not (self.config.return_dict if asked is None else asked):
            return outputs.to_tuple()
        if output_router_logits or (output_router_logits is None and getattr(self.config, "output_router_logits", 0)):
            outputs["router_logits"] = tuple(routing.logits for routing in routings)
        if aux_loss is not None:
            outputs["aux_loss"] = aux_loss
        return outputs

    @contextmanager
    def _heard(self) -> Iterator[list[Routing]]:
        """The routings of all layers, in order, as long as the block lasts."""
        heard: list[Routing] = []
        inputs = {id(layer.inputs): layer.inputs for layer in self.modules() if isinstance(layer, MoELayer)}
        for entry in inputs.values():
            entry.heard = heard
        try:
            yield heard
        finally:  # what activation checkpointing computes again is not heard twice
            for entry in inputs.values():
                entry.heard = None

    def training_callbacks(self) -> list[MaskCallback]:
        """What a training of this model needs: the gradient mask, and experts without tokens held still."""
        about = getattr(self, MOE)
        if about["kind"] != "mpoe":
            return []
        return [MaskCallback(self, about["mask_probability"], about["seed"])]


_CLASSES: dict[type, type] = {}


def class_with_experts(base: type) -> type:
    """The class of a model of class `base` with experts; always the same one."""
    if issubclass(base, WithExperts):
        return base
    if base not in _CLASSES:
        made = type(f"{base.__name__}{SUFFIX}", (WithExperts, base), {"__module__": base.__module__})

        def forward(self, *args, **kwargs):
            return WithExperts.forward(self, *args, **kwargs)

        own = inspect.Parameter("output_router_logits", inspect.Parameter.KEYWORD_ONLY, default=None)
        signature = inspect.signature(base.forward)
        given = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        rest = [p for p in signature.parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
        forward.__signature__ = signature.replace(parameters=[*given, own, *rest])  # generate() reads it
        made.forward = forward
        _CLASSES[base] = made
    return _CLASSES[base]
