"""What experts do, as numbers: who gets which token of a text, how even that is, how far the experts have moved apart.

    trace = trace_routing(model, tokenizer, "It was a dark night.")  # of every layer: the experts of every token
    expert_distances(layer)                                          # between the experts of one layer
    snapshot(model, batch)                                           # both, small enough for a record

Load is the share of all assignments that an expert has; with one expert a token that is its share of the tokens.
Entropies are in nats: that of the load is at most ln n, which is even. Distances are between rebuilt matrices, since
single tensors of an MPO compare in a common gauge only. MPOE (Gao et al. 2022), section 3; notebook 04.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from .errors import DataError, MatrixError, RoutingError
from .experts import Experts, MPOMatrix
from .moe_layer import MoELayer, recorded
from .moefication import OracleRouter
from .perplexity import _foreign, evaluating
from .rebuild import rebuild
from .routers import Router
from .routing import NONE, Routing

DIGITS = 4  # significant ones, of what goes into a record
INPUTS = ("input_ids", "attention_mask", "labels", "decoder_input_ids", "decoder_attention_mask")
"""What of a batch the model is given. token_type_ids are not: GPT-2 would add the embedding of token 0 for each."""

MARKS = ("▁", "Ġ")
"""How tokenizers write a space, SentencePiece and byte-level ones."""


# -- of a text -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RoutingTrace:
    """Where the tokens of one text go, in every layer of a stack.

    tokens: as they stand in the text, with the white space before them, so that together they are the text. paths: of
    the layers in the model. experts: (layers, tokens, k) int64, -1 in a slot that is not used (a token without any was
    dropped or not chosen). probabilities: (layers, tokens, n) float64; None where a router has none (hashing). count:
    n, the experts of a layer. decoder: of an encoder-decoder's target, where one was given.
    """

    tokens: tuple[str, ...]
    paths: tuple[str, ...]
    experts: torch.Tensor
    probabilities: torch.Tensor | None
    count: int
    decoder: RoutingTrace | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers' names: "layer 0", "decoder layer 3"."""
        return tuple(map(layer_name, self.paths))

    @property
    def load(self) -> torch.Tensor:
        """(layers, n) float64, sums of one: the share of the assignments that each expert has."""
        return torch.stack([load_of(experts, self.count) for experts in self.experts])

    @property
    def load_entropy(self) -> torch.Tensor:
        """(layers,) float64: of the load, from 0 (one expert has all tokens) to ln n (all have the same)."""
        return entropy_of(self.load)

    @property
    def router_entropy(self) -> torch.Tensor | None:
        """(layers,) float64: of the router's distribution, the mean over tokens: 0 is sure, ln n does not care."""
        return None if self.probabilities is None else entropy_of(self.probabilities).mean(1)

    @property
    def dropped(self) -> torch.Tensor:
        """(layers,) float64: the share of the tokens that no expert has."""
        return (self.experts == NONE).all(-1).double().mean(1)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; probabilities keep `DIGITS` digits."""
        known = None if self.probabilities is None else _rounded(self.probabilities.tolist())
        decoder = None if self.decoder is None else self.decoder.to_dict()
        return {
            "tokens": list(self.tokens), "paths": list(self.paths), "experts": self.experts.tolist(),
            "probabilities": known, "count": self.count, "decoder": decoder,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, about: Mapping[str, Any]) -> RoutingTrace:
        """Reads what `to_dict` gave. Raises DataError where something is missing or does not fit together."""
        try:
            experts = torch.tensor(about["experts"], dtype=torch.long)
            given, decoder, count = about["probabilities"], about["decoder"], int(about["count"])
            known = None if given is None else torch.tensor(given, dtype=torch.float64)
            shape = (len(about["paths"]), len(about["tokens"]))
            if experts.shape[:2] != shape or (known is not None and known.shape != (*shape, count)):
                raise ValueError(f"experts of shape {tuple(experts.shape)} for {shape[0]} layers and {shape[1]} tokens")
            decoder = None if decoder is None else cls.from_dict(decoder)
            return cls(tuple(about["tokens"]), tuple(about["paths"]), experts, known, count, decoder)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as problem:
            names = ", ".join(entry.name for entry in fields(cls))
            raise DataError(f"no trace of a routing: {problem}. Expected the fields {names}.") from None


def trace_routing(model: nn.Module, tokenizer: Any, text: str, target: str | None = None) -> RoutingTrace:
    """Runs a text through a model with experts (`to_moe`) and reads what its routers answer, in evaluation mode.

    tokenizer: the model's own; special tokens are added for an encoder, which was trained with them. target: of an
    encoder-decoder, what its decoder is given; None leaves it out. The model stays as it was, its modes included.

    Raises RoutingError for a model without experts; DataError for text without a token in it or with more than the
    model takes, for a tokenizer that is none or that belongs to another model, and for a target without a decoder.
    """
    layers = moe_layers(model)
    config, device = getattr(model, "config", None), next(model.parameters()).device
    both = bool(getattr(config, "is_encoder_decoder", False))
    if target is not None and not both:
        raise DataError(f"a target was given, and {type(model).__name__} has no decoder beside an encoder to read it.")
    special = both or any(path.startswith("encoder.") for path in layers)
    ids, tokens = _read(model, tokenizer, text, special)
    given = {"input_ids": torch.tensor([ids], device=device)}
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    if target is None:
        stack = model.get_encoder() if both else model
        return _trace(_routed(model, lambda: _call(stack, given)), tokens)
    ids, heard = _read(model, tokenizer, target, special)
    start = tokenizer.convert_ids_to_tokens(config.decoder_start_token_id)
    given["labels"] = torch.tensor([ids], device=device)  # the model shifts them, and the decoder never reads the last
    found = _routed(model, lambda: _call(model, given))
    parts = [{p: entry for p, entry in found.items() if _in_decoder(p) is which} for which in (False, True)]
    return _trace(parts[0], tokens, _trace(parts[1], (start, *heard[:-1])))


def layer_name(path: str) -> str:
    """Such as "layer 3" for transformer.h.3.mlp, "decoder layer 0" for decoder.block.0; else the path as it is."""
    number = re.search(r"(?<=\.)\d+(?=\.|$)", f".{path}")
    side = "decoder " if _in_decoder(path) else "encoder " if "encoder" in path.split(".") else ""
    return path if number is None else f"{side}layer {number.group()}"


def _in_decoder(path: str) -> bool:
    return "decoder" in path.split(".")


def moe_layers(model: nn.Module) -> dict[str, MoELayer]:
    """{path: layer}, in the model's order. Raises RoutingError for a model without experts."""
    found = {path: module for path, module in model.named_modules() if isinstance(module, MoELayer)}
    if not found:
        raise RoutingError(
            f"{type(model).__name__} has no experts, so nothing is routed: convert it first, mpolab.to_moe(model)."
        )
    return found


def _read(model: nn.Module, tokenizer: Any, text: str, special: bool) -> tuple[list[int], tuple[str, ...]]:
    """The numbers of a text's tokens, and the tokens as they stand in the text."""
    if not (callable(tokenizer) and hasattr(tokenizer, "convert_ids_to_tokens")):
        raise DataError(
            f"a {type(tokenizer).__name__} is no tokenizer: give the model's own, load_pretrained(name).tokenizer."
        )
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"the text is {text!r}: give one with at least a word in it.")
    size, places = getattr(model.config, "vocab_size", math.inf), bool(getattr(tokenizer, "is_fast", False))
    if len(tokenizer) > size:
        raise _foreign(model, size, f"the tokenizer has {len(tokenizer):,} entries")
    read = tokenizer(text, add_special_tokens=special, return_offsets_mapping=places, verbose=False)
    ids = read["input_ids"]
    if not ids:
        raise DataError(f"the tokenizer makes no token of {text[:40]!r}: give a text with a word in it.")
    if max(ids) >= size:
        raise _foreign(model, size, f"the tokenizer gave number {max(ids):,}")
    relative = hasattr(model.config, "relative_attention_num_buckets")  # T5's positions have no end
    most = None if relative else getattr(model.config, "max_position_embeddings", None)
    if most is not None and len(ids) > most:
        raise DataError(f"the text has {len(ids):,} tokens, and {type(model).__name__} takes {most:,}: give a part.")
    pieces = tokenizer.convert_ids_to_tokens(ids)
    if not places:
        return ids, tuple(piece.translate(dict.fromkeys(map(ord, MARKS), " ")) for piece in pieces)
    names, found, end = set(tokenizer.all_special_tokens), [], 0
    for piece, (first, last) in zip(pieces, read["offset_mapping"]):
        if first == last and piece in names:
            found.append(piece)
            continue
        if piece in MARKS:  # a space by itself, which some tokenizers place on the letter after it
            last = end + len(text[end:last]) - len(text[end:last].lstrip())
        found.append(text[end:last])  # nothing for the second part of a character
        end = max(end, last)
    return ids, tuple(found)


def _trace(routed: Mapping[str, _Routed], tokens: Sequence[str], decoder: RoutingTrace | None = None) -> RoutingTrace:
    one = next(iter(routed.values()))
    if any(r.count != one.count or r.experts.shape != one.experts.shape for r in routed.values()):
        raise RoutingError("the layers have different numbers of experts; read them one by one (moe_layer.recorded).")
    known = None
    if all(r.probabilities is not None for r in routed.values()):
        known = torch.stack([r.probabilities for r in routed.values()])
    experts = torch.stack([r.experts for r in routed.values()])
    return RoutingTrace(tuple(tokens), tuple(routed), experts, known, one.count, decoder)


# -- what routers answer -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Routed:
    """One layer's answer for the tokens that are none of the padding: (tokens, k) and (tokens, n), on the CPU."""

    experts: torch.Tensor
    probabilities: torch.Tensor | None
    count: int


@torch.no_grad()
def _routed(model: nn.Module, run: Callable[[], Any]) -> dict[str, _Routed]:
    """What the routers of all layers that `run` calls answer, in evaluation mode, by the layer's path."""
    layers = moe_layers(model)
    with evaluating(model), recorded(model) as seen:
        run()
    return {path: _answer(layer, seen[f"{path}.router"]) for path, layer in layers.items() if f"{path}.router" in seen}


def _answer(layer: MoELayer, routing: Routing) -> _Routed:
    mask = layer.inputs.mask  # as the router was given it, by the stack that the layer is in
    shape = routing.indices.shape[:-1]
    valid = torch.ones(shape, dtype=torch.bool) if mask is None else mask[..., -shape[-1] :].cpu() != 0
    if not valid.any():
        raise DataError("the batch holds nothing but padding: no token is routed.")
    probabilities = None if routing.logits is None else _distribution(layer.router, routing.logits.cpu()[valid])
    return _Routed(routing.indices.cpu()[valid], probabilities, layer.experts.count)


def _distribution(router: Router, logits: torch.Tensor) -> torch.Tensor:
    """(tokens, n): softmax of the logits; the oracle of MoEfication has sums of activations, whose shares they are."""
    logits = logits.double()
    if type(router) is OracleRouter:
        return logits / logits.sum(-1, keepdim=True).clamp(min=1e-300)
    return logits.softmax(-1)


def _call(model: nn.Module, given: Mapping[str, torch.Tensor]) -> None:
    """No cache of keys, and of the vocabulary's logits one row only: neither is of use here."""
    accepted = inspect.signature(model.forward).parameters
    wanted = {"use_cache": False, "logits_to_keep": 1}
    more = {name: value for name, value in wanted.items() if name in accepted and "labels" not in given}
    model(**given, **more)


def load_of(experts: torch.Tensor, count: int) -> torch.Tensor:
    """(count,) float64: the share of the used slots of `experts`, -1 being none, that each expert has."""
    used = torch.bincount(experts[experts != NONE], minlength=count).double()
    return used / used.sum().clamp(min=1)


def entropy_of(shares: torch.Tensor) -> torch.Tensor:
    """-sum p ln p over the last dimension, in nats; 0 ln 0 is 0."""
    return torch.special.entr(shares.double()).sum(-1)


# -- distances -----------------------------------------------------------------------------------------


@torch.no_grad()
def expert_distances(layer: MoELayer | Experts) -> torch.Tensor:
    """(n, n) float64: ||W_a - W_b|| / sqrt(||W_a|| ||W_b||), Frobenius norms of all of an expert's rebuilt matrices.

    W is "up", "down" and, if gated, "gate" as one long list of numbers, without biases. Zero for experts that are
    alike, as all are at the start (not those of a MoEfication: they are different neurons); about sqrt(2) for
    independent ones. Infinite from an expert that is all zeros to one that is not.

    Raises MatrixError for weights that are not finite.
    """
    experts = layer.experts if isinstance(layer, MoELayer) else layer
    first, second = torch.triu_indices(experts.count, experts.count, 1)
    squares = torch.zeros(len(first), dtype=torch.float64)  # of the differences, pair by pair
    norms = torch.zeros(experts.count, dtype=torch.float64)  # squared
    for matrix in experts.matrices.values():
        W = _weights(matrix).flatten(1)  # (n, out * in)
        squares += torch.pdist(W).square().cpu()  # differences, not a Gram matrix: equal experts are exactly at zero
        norms += W.square().sum(1).cpu()
    if not norms.isfinite().all():
        number = int((~norms.isfinite()).nonzero()[0])
        raise MatrixError(f"the matrices of expert {number} hold NaN, infinity or numbers too large to be squared.")
    scale = (norms[first] * norms[second]) ** 0.25
    apart = torch.where(squares > 0, squares.sqrt() / scale, 0.0)
    distances = torch.zeros(experts.count, experts.count, dtype=torch.float64)
    distances[first, second] = distances[second, first] = apart
    return distances


def _weights(matrix: nn.Module) -> torch.Tensor:
    """(n, out, in) float64, rebuilt in float64: in float32 the rounding of a batch would set equal experts apart."""
    if not isinstance(matrix, MPOMatrix):
        return matrix.weights().double()
    c, stacked = matrix.plan.centre, matrix.auxiliary
    # copies, so that each begins where memory is aligned: sums then run in one order, whichever the expert
    central, *rest = (core.detach().to(torch.float64, copy=True) for core in (matrix.central, *stacked))
    own = [[core[e].clone() for core in rest] for e in range(matrix.count)]
    return torch.stack([rebuild(matrix.plan, [*cores[:c], central, *cores[c:]], torch.float64) for cores in own])


def model_distances(model: nn.Module) -> dict[str, torch.Tensor]:
    """{path of a layer with experts: its `expert_distances`}. Raises RoutingError for a model without experts."""
    return {path: expert_distances(layer) for path, layer in moe_layers(model).items()}


def upper_triangle(distances: torch.Tensor) -> torch.Tensor:
    """(n (n - 1) / 2,): the pairs 0-1, 0-2, ..., 1-2, ..."""
    first, second = torch.triu_indices(*distances.shape, 1)
    return distances[first, second]


# -- for a record --------------------------------------------------------------------------------------


def snapshot(model: nn.Module, seen: Mapping[str, torch.Tensor] | RoutingTrace) -> dict[str, Any]:
    """What experts do on a batch (of `INPUTS`, padded or not) or did on a traced text, and how far they are apart.

    {"layers": [{"name", "load": [n shares], "load_entropy", "router_entropy" (None for hashing), "distances": [upper
    triangle]}]}: JSON, `DIGITS` significant digits, an infinite distance as None. The model stays as it was.

    Raises RoutingError for a model without experts, DataError for a batch without tokens.
    """
    layers = moe_layers(model)
    if isinstance(seen, RoutingTrace):
        routed = {}
        for part in (seen, *([] if seen.decoder is None else [seen.decoder])):
            for number, path in enumerate(part.paths):
                known = None if part.probabilities is None else part.probabilities[number]
                routed[path] = _Routed(part.experts[number], known, part.count)
    else:
        routed = _routed(model, lambda: _call(model, _inputs(model, seen)))
    strange = [path for path in routed if path not in layers]
    if strange:
        raise DataError(f"the trace is of another model: {type(model).__name__} has no experts at {strange[0]!r}.")
    return {"layers": [_entry(path, layers[path], found) for path, found in routed.items()]}


def _inputs(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not isinstance(batch, Mapping) or not isinstance(batch.get("input_ids"), torch.Tensor):
        raise DataError("a batch is a mapping with tensors, of which input_ids (rows, tokens) has to be there.")
    both = getattr(model.config, "is_encoder_decoder", False)
    device = next(model.parameters()).device
    return {name: batch[name].to(device) for name in INPUTS if name in batch and (both or name in INPUTS[:2])}


def _entry(path: str, layer: MoELayer, routed: _Routed) -> dict[str, Any]:
    load = load_of(routed.experts, routed.count)
    known = routed.probabilities
    return {
        "name": layer_name(path),
        "load": _rounded(load.tolist()),
        "load_entropy": _rounded(entropy_of(load).item()),
        "router_entropy": None if known is None else _rounded(entropy_of(known).mean().item()),
        "distances": _rounded(upper_triangle(expert_distances(layer)).tolist()),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
