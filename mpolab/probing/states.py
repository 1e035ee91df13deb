"""Hidden states for probes: every sentence goes through the model once, however many tasks ask for it.

A *place* is a text and the part of it that is meant: `(text, None)` is the sentence, `(text, (begin, end))` the word
that stands at these characters. Its state is a matrix (layers + 1, hidden): row 0 is the embeddings' output, row k the
output of layer k (of the last one after the final LayerNorm, where a family has one). A sentence is the mean over its
tokens without padding, or its first token; a word is the mean over its pieces, or its first piece. What the tokenizer
adds (`[CLS]`, `[SEP]`) counts as tokens of the sentence.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, TrainingError, unknown
from ..whole import write_whole

Span = tuple[int, int]
Place = tuple[str, Span | None]
Asked = Mapping[str, Sequence[Span | None]]  # text -> what is wanted of it

POOLINGS = ("mean", "first")
MAX_LENGTH = 128
"""Tokens of a sentence that are read, unless the tokenizer or the model reads fewer."""
BATCH_TOKENS = 1024  # of padded input in one forward pass


class States:
    """The states of places, computed when they are first asked for.

    model: an encoder or decoder with any head or none; of an encoder-decoder the encoder is taken. tokenizer: its own;
    words need a fast one, which knows where its pieces stand in the text. pooling: one of POOLINGS. cache: a folder
    that keeps what was computed, under a checksum of the weights and of all that was asked for.

    Raises UnknownNameError for another pooling, TrainingError for a model without hidden states and for a tokenizer
    that does not serve. The model is in eval mode during a forward pass, and then as it was.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        pooling: str = "mean",
        max_length: int = MAX_LENGTH,
        cache: str | os.PathLike | None = None,
    ):
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        if not callable(tokenizer):
            raise TrainingError(
                f"probing reads text, and tokenizer={tokenizer!r} is no tokenizer. Give the model's own: "
                "`load_pretrained(name).tokenizer`, or transformers' AutoTokenizer.from_pretrained(folder)."
            )
        self.encoder, self.tokenizer, self.pooling = _encoder(model), tokenizer, pooling
        self.inputs = _inputs(self.encoder)
        positions = getattr(getattr(self.encoder, "config", None), "max_position_embeddings", None)
        limits = (max_length, getattr(tokenizer, "model_max_length", None), positions)
        self.max_length = min(int(limit) for limit in limits if limit)
        self.cache = None if cache is None else Path(cache)
        self.read = 0
        """Sentences that went through the model so far; those found in the cache did not."""
        self.full = 0
        """Of these, the ones that fill `max_length`: their ends may be cut off."""
        self._wanted: dict[str, set[Span | None]] = {}
        self._uses: Counter[Place] = Counter()
        self._kept: dict[Place, torch.Tensor] = {}

    def announce(self, places: Iterable[Place]) -> None:
        """Says what one later `take` will ask for: a sentence is then read once for all that is wanted of it, and its
        states are forgotten after their last use.
        """
        for text, span in dict.fromkeys(places):
            self._wanted.setdefault(text, set()).add(span)
            self._uses[text, span] += 1

    def take(self, places: Sequence[Place]) -> tuple[torch.Tensor, torch.Tensor]:
        """(states (places, layers + 1, hidden), float32 on the CPU; which places have one (places,)).

        A word has none, and zeros, where it was cut off with the end of its sentence, or where the tokenizer makes
        nothing of it.
        """
        asked: dict[str, set[Span | None]] = {}
        for text, span in places:
            if (text, span) not in self._kept:
                asked.setdefault(text, set(self._wanted.get(text, ()))).add(span)
        if asked:
            self._compute({text: sorted(spans, key=lambda span: span or (-1, -1)) for text, spans in asked.items()})
        states = torch.stack([self._kept[place] for place in places])
        for place in dict.fromkeys(places):
            self._uses[place] -= 1
            if self._uses[place] <= 0:
                del self._kept[place]
        there = ~states[:, 0, 0].isnan()
        return states.nan_to_num_(0.0), there

    # -- once per sentence ----------------------------------------------------------------------------

    def _compute(self, asked: Asked) -> None:
        """Fills `_kept`, from the cache or by forward passes."""
        tokens = self._tokenize(list(asked), any(span for spans in asked.values() for span in spans))
        file = None if self.cache is None else self.cache / f"{self._checksum(asked, tokens)}.safetensors"
        if file is not None and file.is_file():
            states = _load(file)
        else:
            states = self._forward(asked, tokens)
            if file is not None:
                _save(file, states)
        keys = [(text, span) for text, spans in asked.items() for span in spans]
        self._kept |= zip(keys, states, strict=True)

    def _tokenize(self, texts: Sequence[str], words: bool) -> list[dict[str, list]]:
        """The tokens of every text, cut to `max_length`; with "offset_mapping" if words are wanted."""
        if words and not getattr(self.tokenizer, "is_fast", False):
            raise TrainingError(
                f"{type(self.tokenizer).__name__} does not say where its pieces stand in a text, so the states of "
                "words cannot be found. Probe sentences only, or load the model's fast tokenizer (use_fast=True)."
            )
        more = {"return_offsets_mapping": True} if words else {}
        tokens = self.tokenizer(list(texts), truncation=True, max_length=self.max_length, **more)
        rows = [{key: list(values[k]) for key, values in tokens.items()} for k in range(len(texts))]
        empty = next((text for text, row in zip(texts, rows) if not row["input_ids"]), None)
        if empty is not None:
            raise TrainingError(f"the tokenizer makes no token of the text {empty!r}; leave that row out.")
        return rows

    @torch.no_grad()
    def _forward(self, asked: Asked, tokens: Sequence[dict[str, list]]) -> torch.Tensor:
        """(places, layers + 1, hidden) in the order of `asked`; NaN where a word has no state."""
        spans = list(asked.values())
        starts = torch.tensor([0, *(len(one) for one in spans)]).cumsum(0).tolist()
        states = None
        was_training = self.encoder.training
        self.encoder.eval()
        try:
            for batch in _batches([len(row["input_ids"]) for row in tokens]):
                found = self._pooled([tokens[k] for k in batch], [spans[k] for k in batch])
                if states is None:
                    states = torch.full((starts[-1], *found.shape[2:]), float("nan"))
                for row, k in enumerate(batch):
                    states[starts[k] : starts[k + 1]] = found[row, : len(spans[k])]
        finally:
            self.encoder.train(was_training)
        self.read += len(tokens)
        self.full += sum(len(row["input_ids"]) == self.max_length for row in tokens)
        return states

    def _pooled(self, tokens: Sequence[dict[str, list]], spans: Sequence[Sequence[Span | None]]) -> torch.Tensor:
        """One batch -> (sentences, places of each, layers + 1, hidden), filled up with NaN."""
        width = max(len(row["input_ids"]) for row in tokens)
        device = next(self.encoder.parameters()).device
        pad = {"input_ids": getattr(self.tokenizer, "pad_token_id", None) or 0}
        inputs = {
            key: torch.tensor([row[key] + [pad.get(key, 0)] * (width - len(row[key])) for row in tokens], device=device)
            for key in tokens[0]
            if key in self.inputs
        }
        inputs["attention_mask"] = torch.tensor(
            [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in tokens], device=device
        )
        shares = self._shares(tokens, spans, width).to(device)
        pooled = torch.stack([shares @ layer.float() for layer in self._hidden(inputs)], dim=2)
        if not pooled.isfinite().all():
            raise TrainingError(f"{type(self.encoder).__name__} gives hidden states that are NaN or infinite.")
        return pooled.masked_fill(shares.sum(-1)[..., None, None] == 0, float("nan")).cpu()

    def _shares(
        self, tokens: Sequence[dict[str, list]], spans: Sequence[Sequence[Span | None]], width: int
    ) -> torch.Tensor:
        """What each token contributes to each place: (sentences, places, tokens); a row adds up to 1, or is zero."""
        shares = torch.zeros(len(tokens), max(map(len, spans)), width)
        for b, (row, wanted) in enumerate(zip(tokens, spans)):
            for p, span in enumerate(wanted):
                pieces = range(len(row["input_ids"]))
                if span is not None:
                    offsets = row["offset_mapping"]
                    pieces = [t for t in pieces if offsets[t][0] < span[1] and offsets[t][1] > span[0]]
                pieces = list(pieces) if self.pooling == "mean" else list(pieces)[:1]
                if pieces:
                    shares[b, p, pieces] = 1 / len(pieces)
        return shares

    def _hidden(self, inputs: Mapping[str, torch.Tensor]) -> Sequence[torch.Tensor]:
        """The hidden states of all layers, each (sentences, tokens, hidden)."""
        try:
            output = self.encoder(**inputs, output_hidden_states=True)
        except TypeError as error:
            raise TrainingError(f"{_no_states(self.encoder)} ({' '.join(str(error).split())[:120]})") from error
        layers = getattr(output, "hidden_states", None)
        if not layers:
            raise TrainingError(_no_states(self.encoder))
        widths = sorted({layer.shape[-1] for layer in layers})
        if len(widths) > 1:
            raise TrainingError(
                f"the layers of {type(self.encoder).__name__} are of several widths ({', '.join(map(str, widths))}); "
                "probes compare layers of one width."
            )
        return layers

    def _checksum(self, asked: Asked, tokens: Sequence[Mapping[str, list]]) -> str:
        """Of all that decides the states."""
        digest = hashlib.sha256()
        for name, tensor in self.encoder.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        about = [type(self.encoder).__name__, self.pooling, [row["input_ids"] for row in tokens], list(asked.items())]
        digest.update(json.dumps(about).encode())
        return digest.hexdigest()[:32]


def _encoder(model: nn.Module) -> nn.Module:
    """The part of a model that reads text: without a task's head, and without a decoder."""
    body = getattr(model, "base_model", model)
    if getattr(getattr(body, "config", None), "is_encoder_decoder", False):
        body = body.get_encoder()
    if not isinstance(body, nn.Module) or not {"input_ids", "attention_mask"} <= _inputs(body):
        raise TrainingError(_no_states(body))
    return body


def _inputs(module: nn.Module) -> set[str]:
    """What its forward takes by name; of one that takes anything, the two that are needed."""
    parameters = inspect.signature(module.forward).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return set(parameters) | ({"input_ids", "attention_mask"} if anything else set())


def _no_states(model: object) -> str:
    return (
        f"{type(model).__name__} gives no hidden states: probing needs a model that takes input_ids and "
        "attention_mask and, asked with output_hidden_states=True, returns `.hidden_states`, one (sentences, tokens, "
        "hidden) per layer, as the models of transformers do."
    )


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of texts of like lengths, so that little is padded: shortest first."""
    batch: list[int] = []
    for k in sorted(range(len(lengths)), key=lambda k: lengths[k]):
        if batch and (len(batch) + 1) * lengths[k] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


def _save(file: Path, states: torch.Tensor) -> None:
    from safetensors.torch import save

    write_whole(file, save({"states": states.contiguous()}))


def _load(file: Path) -> torch.Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)["states"]
    except (SafetensorError, KeyError) as error:
        raise CheckpointError(
            f"{file} is no whole file of hidden states ({error}); delete it, and they are computed again."
        ) from error
