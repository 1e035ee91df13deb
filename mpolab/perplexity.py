"""Perplexity of a causal language model on whole documents, by windows that overlap.

A document longer than the model is read in windows of `max_length` tokens, each `stride` further on, and a window
scores only the tokens that no window before it has scored: every token but a document's first exactly once, each with
at least max_length - stride tokens before it (all of them at the document's beginning). A smaller stride means more
context, more work and a lower perplexity; no token is scored at a window's first place, where it would have no context.

Two numbers come out. The token-level one, exp(nll / tokens), belongs to one tokenizer. The word-level one,
exp(nll / words) with the same nll and the words between white space, can be compared between tokenizers. MPOE's Table 1
says "PPL" and not which of the two, nor with which window and stride.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from .errors import DataError

LOGITS_AT_ONCE = 2**25
"""Logits of one batch where batch_size is not given: 134 MB in float32, and as much again while they are scored."""

CPU_TOKENS_AT_ONCE = 1024
"""Tokens of one batch on a CPU where batch_size is not given. More leave the caches between one layer's many passes: a
GPT-2 of 3.7 M parameters took 1.4 to 1.7 times as long with 4,096 and more (benchmarks/bench_generation.py)."""

NO_LIMIT = 1024
"""max_length of a model that names no longest input."""


def perplexity_of(nll_sum: float, tokens: int) -> float:
    """exp(nll_sum / tokens): `nll_sum` the summed negative log-likelihood in nats, `tokens` the number predicted.

    Infinity where exp overflows (a mean beyond 709 nats). Raises DataError for NaN, a negative sum or no tokens.
    """
    if not tokens > 0:
        raise DataError(f"perplexity over {tokens} tokens: at least one must be predicted.")
    if math.isnan(nll_sum) or nll_sum < 0:
        raise DataError(f"the summed negative log-likelihood is {nll_sum}, expected a number that is not negative.")
    try:
        return math.exp(nll_sum / tokens)
    except OverflowError:
        return math.inf


def perplexity(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    max_length: int | None = None,
    stride: int | None = None,
    batch_size: int | None = None,
    start: bool = False,
) -> dict[str, float]:
    """Perplexity of a causal language model on documents, each read by itself, from its beginning.

    model: any with causal logits (GPT2LMHeadModel and its like), on its own device; it is in evaluation mode here and
    as it was afterwards. tokenizer: the model's own; special tokens are not added.
    max_length: tokens of a window; None = the positions that the model has. stride: tokens that a further window
    scores, 1 .. max_length - 1; None = half a window. 1 gives every token the longest context.
    batch_size: windows at once; None = as many as make LOGITS_AT_ONCE logits or, on a CPU, CPU_TOKENS_AT_ONCE tokens.
    It changes the time, not the result (beyond rounding; a mixture of experts with a capacity may drop other tokens in
    another batch).
    start: put the beginning-of-text token (or, without one, the end-of-text token) before each document, so that its
    first token is scored as well.

    Returns {"token_perplexity", "word_perplexity", "nll" (the sum, in nats), "tokens" (scored), "words", "documents",
    "skipped"}. A document with nothing to score (fewer than two tokens, or one with `start`) is skipped: neither its
    tokens nor its words count. Words are those of the other documents, the first ones too.

    Raises DataError for no text, nothing but skipped documents, what is no text, a window that does not fit the model,
    a stride that would leave tokens out, a tokenizer with more entries than the model, and a model that is not causal.
    """
    size = _vocabulary(model, tokenizer)
    room, positions = _window(model, max_length)
    if stride is None:
        stride = max(1, room // 2)
    if not 1 <= stride < room:
        raise DataError(
            f"stride={stride} with windows of {room} tokens: at least one token of each window must be context, so "
            f"stride is 1 .. {room - 1}."
        )
    if batch_size is not None and batch_size < 1:
        raise DataError(f"batch_size={batch_size}: the windows at once, from 1 up.")
    documents = _tokenized(tokenizer, texts, start)
    scored = [(ids, words) for ids, words in documents if len(ids) > 1]
    if not scored:
        raise DataError(
            f"none of the {len(documents):,} texts has a token to score: each has fewer than two tokens, and the first "
            "is context only. Join short texts, or score the first tokens as well with start=True."
        )
    top = max(max(ids) for ids, _ in scored)
    if top >= size:
        raise _foreign(model, size, f"the tokenizer gave number {top}")

    lengths = [len(ids) for ids, _ in scored]
    windows = [window for number, length in enumerate(lengths) for window in windows_of(number, length, room, stride)]
    # The longest first: little padding, and a model that does not fit into memory fails at once.
    windows.sort(key=lambda window: (window.begin - window.end, window.first - window.begin))
    on_cpu = next(model.parameters()).device.type == "cpu"
    limits = (LOGITS_AT_ONCE // size, CPU_TOKENS_AT_ONCE if on_cpu else None)
    sums: list[float] = []
    with evaluating(model), torch.inference_mode():
        _check_causal(model, scored[windows[0].document][0][:positions], size)
        for batch in _batches(windows, batch_size, *limits):
            sums += _scores(model, batch, [ids for ids, _ in scored])
    nll = math.fsum(sums)
    tokens, words = sum(lengths) - len(lengths), sum(count for _, count in scored)
    return {
        "token_perplexity": perplexity_of(nll, tokens),
        "word_perplexity": perplexity_of(nll, words),
        "nll": nll,
        "tokens": tokens,
        "words": words,
        "documents": len(scored),
        "skipped": len(documents) - len(scored),
    }


class Window(NamedTuple):
    """Tokens begin .. end - 1 of a document are read, those from `first` on are scored."""

    document: int
    begin: int
    end: int
    first: int


def windows_of(document: int, length: int, room: int, stride: int) -> Iterator[Window]:
    """The windows of a document of `length` tokens: those scored are 1 .. length - 1, each in one window."""
    begin, first = 0, 1
    while first < length:
        end = min(begin + room, length)
        yield Window(document, begin, end, first)
        begin, first = begin + stride, end


def _batches(
    windows: Sequence[Window], batch_size: int | None, scored: int, tokens: int | None
) -> Iterator[Sequence[Window]]:
    """Windows, sorted with the longest first, some at a time: batch_size; or as many as the next one's length allows
    for about `scored` tokens that are scored and, if that is not None, `tokens` that are read; at least one."""
    begin = 0
    while begin < len(windows):
        at_once = batch_size
        if at_once is None:
            window = windows[begin]
            at_once = scored // (window.end - window.first + 1)
            if tokens is not None:
                at_once = min(at_once, tokens // (window.end - window.begin))
        at_once = max(1, at_once)
        yield windows[begin : begin + at_once]
        begin += at_once


# ---------------------------------------------------------------------------------------------------------- the model


def _scores(model: nn.Module, windows: Sequence[Window], documents: Sequence[Sequence[int]]) -> list[float]:
    """The summed negative log-likelihood of each window's scored tokens, in nats."""
    device = next(model.parameters()).device
    width = max(window.end - window.begin for window in windows)
    ids = torch.zeros(len(windows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, window in enumerate(windows):
        length = window.end - window.begin
        ids[row, :length] = torch.tensor(documents[window.document][window.begin : window.end])
        mask[row, :length] = 1
    # The logits before the first scored token of any row are of no use, and they are most of a small model's work.
    unused = min(window.first - window.begin for window in windows) - 1
    logits, ids = _logits(model, ids.to(device), mask.to(device), width - unused), ids.to(device)
    found = []
    for row, window in enumerate(windows):  # row by row, so that float32 copies stay small
        first, end = window.first - window.begin, window.end - window.begin
        about = logits[row, first - 1 - unused : end - 1 - unused].float()
        found.append(cross_entropy(about, ids[row, first:end], reduction="none"))
    counts = [len(one) for one in found]
    return [float(one.sum()) for one in torch.cat(found).cpu().double().split(counts)]


def _logits(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor, keep: int) -> torch.Tensor:
    """(rows, keep, vocabulary): those of the last `keep` positions."""
    more = {}
    accepted = inspect.signature(model.forward).parameters
    if "use_cache" in accepted:
        more["use_cache"] = False
    if "logits_to_keep" in accepted:
        more["logits_to_keep"] = keep
    outputs = model(input_ids=ids, attention_mask=mask, **more)
    logits = getattr(outputs, "logits", None)
    if logits is None or logits.ndim != 3:
        raise DataError(
            f"{type(model).__name__} gives {', '.join(outputs)}, and perplexity needs logits for every token: load it "
            "with a language modelling head, such as GPT2LMHeadModel."
        )
    return logits[:, -keep:]


def _check_causal(model: nn.Module, ids: Sequence[int], size: int) -> None:
    """A token must not change what is said before it: shown by changing the last of a few."""
    device = next(model.parameters()).device
    one = torch.tensor([ids[:8]], device=device)
    other = one.clone()
    other[0, -1] = (other[0, -1] + 1) % size
    both = [_logits(model, ids, torch.ones_like(ids), one.shape[1])[0, :-1].float() for ids in (one, other)]
    rounding = max(1e-4, 4 * torch.finfo(next(model.parameters()).dtype).eps)
    if not torch.allclose(*both, rtol=0.0, atol=rounding * float(both[0].abs().max())):
        raise DataError(
            f"{type(model).__name__} is not causal: what it says at a token changes with the next ones (a masked "
            "language model, or routing in which experts choose among all tokens), so its likelihood of a text is not "
            "the product of its tokens'. Take a causal model, such as GPT2LMHeadModel."
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and every module of it as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


# ---------------------------------------------------------------------------------------------------------- the input


def _vocabulary(model: nn.Module, tokenizer: Any) -> int:
    """Tokens that the model knows; raises for an encoder-decoder and for another model's tokenizer."""
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        raise DataError(
            f"{type(model).__name__} predicts a target from a source, so it has no likelihood of a text by itself: "
            "perplexity needs a causal model, such as GPT2LMHeadModel."
        )
    size = getattr(config, "vocab_size", None)
    if size is None:
        raise DataError(f"{type(model).__name__} has no config with a vocab_size: a transformers model was expected.")
    if len(tokenizer) > size:
        raise _foreign(model, size, f"the tokenizer has {len(tokenizer):,} entries")
    return size


def _foreign(model: nn.Module, size: int, what: str) -> DataError:
    return DataError(
        f"{what}, and {type(model).__name__} knows {size:,} tokens: they do not belong together. Take the model's own "
        "tokenizer, or model.resize_token_embeddings(...)."
    )


def _window(model: nn.Module, max_length: int | None) -> tuple[int, int]:
    """(tokens of a window, the most that the model takes)"""
    config = model.config
    most = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if max_length is None:
        max_length = most or NO_LIMIT
    if max_length < 2 or (most is not None and max_length > most):
        raise DataError(
            f"max_length={max_length}: windows of {type(model).__name__} have 2 .. {most or 'any number of'} tokens."
        )
    return max_length, most or max_length


def _tokenized(tokenizer: Any, texts: Sequence[str], start: bool) -> list[tuple[list[int], int]]:
    """(token numbers, words) of each text."""
    if isinstance(texts, str):
        raise DataError(f"texts is one text, {texts[:40]!r}: give a list of documents.")
    texts = list(texts)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"texts[{place}] is {text!r}, expected a text.")
    if not any(text.strip() for text in texts):
        raise DataError(f"{len(texts):,} texts with no word in them: perplexity needs some text.")
    before: list[int] = []
    if start:
        mark = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if mark is None:
            raise DataError("start=True, but the tokenizer has neither a beginning- nor an end-of-text token.")
        before = [mark]
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return [([*before, *ids], len(text.split())) for ids, text in zip(encoded, texts)]
