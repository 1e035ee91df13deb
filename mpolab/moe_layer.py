"""A mixture of experts in the place of a feed-forward block, and what its routers need to know of the tokens.

A block is called with vectors only, so which tokens are padding and what their ids are has to come by another way:
`TokenInputs.watch(model)` reads both from the arguments of the model's own forward. MPOE section 2.1, eq. 1.

Items: mpoe-eq1.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from .errors import RoutingError
from .experts import Experts
from .routers import Router
from .routing import Routing


class TokenInputs:
    """Mask and ids of the tokens that are on their way through a model (or an encoder, or a decoder).

    They stay until the next forward pass, so that activation checkpointing, which calls layers again in the backward
    pass, routes as before. One object is held by all layers of the stack; it is no module and stores nothing in a
    state_dict.
    """

    def __init__(self) -> None:
        self.mask: torch.Tensor | None = None
        self.ids: torch.Tensor | None = None
        self.heard: list[Routing] | None = None  # while a model collects what its routers say

    def __deepcopy__(self, memo: dict) -> TokenInputs:
        """A copied model gets one of its own, empty; its layers go on sharing it."""
        return memo.setdefault(id(self), TokenInputs())

    def watch(
        self, stack: nn.Module, mask: str = "attention_mask", ids: str = "input_ids"
    ) -> torch.utils.hooks.RemovableHandle:
        """Reads both from every call of a stack, by the names of its forward's arguments; returns the hook's handle.

        Masks of four dimensions (prepared for attention) say nothing about single tokens and are passed over.
        """
        names = tuple(inspect.signature(stack.forward).parameters)
        # a bound method, not a closure: in a copied model the hook belongs to the copied inputs
        return stack.register_forward_pre_hook(partial(self._read, names, (mask, ids)), with_kwargs=True)

    def _read(
        self, names: tuple[str, ...], wanted: tuple[str, str], _stack: nn.Module, arguments: tuple, named: dict
    ) -> None:
        given = {**dict(zip(names, arguments)), **named}
        self.mask, self.ids = (_of_tokens(given.get(name)) for name in wanted)


def _of_tokens(given: object) -> torch.Tensor | None:
    return given if isinstance(given, torch.Tensor) and given.dim() == 2 else None


class MoELayer(nn.Module):
    """x (batch, tokens, hidden) -> the same: route, then sum over a token's experts of gate * expert(x).

    inputs: where mask and ids come from when they are not given in the call; all layers of a stack hold the same one.
    """

    def __init__(self, router: Router, experts: Experts, inputs: TokenInputs | None = None):
        super().__init__()
        if router.experts != experts.count or router.hidden != experts.hidden:
            raise RoutingError(
                f"a router of {router.hidden} -> {router.experts} experts does not fit {experts.count} experts of "
                f"hidden size {experts.hidden}."
            )
        self.router, self.experts = router, experts
        self.inputs = TokenInputs() if inputs is None else inputs
        self.train(experts.training)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        mask = self.inputs.mask if mask is None else mask
        ids = self.inputs.ids if ids is None else ids
        routing = self.router(x, mask, ids)
        if self.inputs.heard is not None:
            self.inputs.heard.append(routing)
        return self.experts(x, routing.indices, routing.gates)


@contextlib.contextmanager
def recorded(model: nn.Module) -> Iterator[dict[str, Routing]]:
    """The last `Routing` of every router of a model, by the router's name, as long as the block lasts.

    For models that do not record outputs themselves, for panels and tests.

    >>> with recorded(model) as seen:  # doctest: +SKIP
    ...     loss = model(**batch).loss
    >>> loss = loss + sum(routing.loss for routing in seen.values())  # doctest: +SKIP
    """
    seen: dict[str, Routing] = {}

    def keep(name: str):
        return lambda _module, _arguments, routing: seen.__setitem__(name, routing)

    found = [(name, module) for name, module in model.named_modules() if isinstance(module, Router)]
    handles = [module.register_forward_hook(keep(name)) for name, module in found]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
