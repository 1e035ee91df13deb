"""Texts that a model writes: held-out beginnings, its own continuations, and how they are scored.

BLEU-n of a continuation has all true continuations as references, as in Texygen (Zhu et al. 2018), which MPOE (Gao et
al. 2022, section 4.1) follows for Self-BLEU; what it took as references for BLEU is not said. Higher Self-BLEU means
less diverse text. Notebook 04, "Side by side".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from .errors import DataError
from .metrics import bleu, self_bleu
from .perplexity import evaluating

BATCH = 64


def cut(ids: np.ndarray, count: int, given: int, written: int) -> tuple[np.ndarray, np.ndarray]:
    """(beginnings (count, given), true continuations (count, written)) from a stream of tokens, spread evenly over it.

    Raises DataError where the stream is too short for so many that do not overlap.
    """
    each = given + written
    if len(ids) < count * each:
        raise DataError(
            f"{count} texts of {given} + {written} tokens were asked for, and there are {len(ids):,} tokens: at most "
            f"{len(ids) // each}."
        )
    starts = [k * (len(ids) - each) // max(1, count - 1) for k in range(count)]
    rows = np.stack([np.asarray(ids[start : start + each], np.int64) for start in starts])
    return rows[:, :given], rows[:, given:]


def continued(model: nn.Module, beginnings: np.ndarray, written: int, seed: int = 0) -> np.ndarray:
    """(count, written): sampled from the model's own distribution (temperature 1, nothing cut off), BATCH at a time.

    The end-of-text token is not drawn, so that all are of one length. The caller's random streams stay as they are.
    """
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        parts = []
        for first in range(0, len(beginnings), BATCH):
            ids = torch.as_tensor(beginnings[first : first + BATCH], device=device)
            found = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, top_p=1.0, temperature=1.0,
                max_new_tokens=written, min_new_tokens=written, pad_token_id=0, use_cache=True,
            )  # fmt: skip
            parts.append(found[:, ids.shape[1] :].cpu().numpy())
    return np.concatenate(parts)


def scored(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """{"bleu_2", "bleu_4", "self_bleu_2"} in per cent."""
    return {
        "bleu_2": bleu(texts, references, 2),
        "bleu_4": bleu(texts, references, 4),
        "self_bleu_2": self_bleu(texts, 2),
    }


def score(model: nn.Module, tokenizer: Any, ids: np.ndarray, count: int, given: int, written: int, seed: int) -> dict:
    """The scores of `count` continuations of a held-out stream, and beside them those of the true ones' halves.

    "true": the scores of one half of the true continuations with the other half as references, the ceiling of BLEU.
    "samples": [[beginning, continuation], ...], the first three.
    """
    beginnings, true = cut(ids, count, given, written)
    own = [tokenizer.decode(row) for row in continued(model, beginnings, written, seed)]
    references = [tokenizer.decode(row) for row in true]
    samples = [[tokenizer.decode(row), text] for row, text in zip(beginnings[:3], own)]
    half = scored(references[::2], references[1::2])
    return {"scores": scored(own, references), "true": half, "samples": samples, "texts": count}
