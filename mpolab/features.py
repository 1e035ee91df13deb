"""From rows of text to batches of numbers: tokenizing, masking, dynamic padding, and the order of the rows.

Everything random here is a function of (seed, epoch, row), never of a stream that was drawn from before: a run that is
resumed, or spread over several processes, sees the same masks and the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from .errors import DataError, TrainingError

IGNORE = -100
"""The label of a position that has no part in the loss."""

MASKED_SHARE = 0.15
"""Positions that masked language modelling predicts; of these 80 % show the mask, 10 % a random token, 10 % themselves
(BERT, section 3.1)."""

Feature = dict[str, Any]


class Rows(Dataset):
    """Tokenized rows: dictionaries of lists, with "labels".

    An entry is asked for as `rows[number]` or as `rows[epoch, number]`; the epoch matters to `masker` only, which
    turns (feature, epoch, number) into the feature that is trained on. score: (predictions, labels) -> {metric: value},
    for all rows in their order here, which may not be the order of the texts.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        score: Callable[[Any, Any], dict[str, float]] | None = None,
        masker: Callable[[Feature, int, int], Feature] | None = None,
    ):
        self.features, self.score, self.masker = features, score, masker

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, key: int | tuple[int, int]) -> Feature:
        epoch, number = key if isinstance(key, tuple) else (-1, key)
        feature = self.features[number]
        return feature if self.masker is None else self.masker(feature, epoch, number)


class Batches(Sampler):
    """The micro-batches of one process: lists of (epoch, number), in an order that depends on (seed, epoch) only.

    An epoch is a permutation of the rows cut into pieces of `size` rows for each of `processes`; each process takes
    its part of every piece, so that one process with a `size` of 2 b and two with b see the same rows at every step.
    Set `epoch` before iterating.
    """

    def __init__(self, rows: int, size: int, seed: int, processes: int = 1, process: int = 0):
        self.rows, self.size, self.seed, self.processes, self.process = rows, size, seed, processes, process
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.rows // (self.size * self.processes))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = torch.randperm(self.rows, generator=stream(self.seed, self.epoch))
        piece = self.size * self.processes
        for begin in range(0, self.rows, piece):
            together = order[begin : begin + piece].tolist()
            # The last piece may be short: split it evenly, and where there are fewer rows than processes repeat one.
            share = -(-len(together) // self.processes)
            mine = together[self.process * share : (self.process + 1) * share] or together[:1]
            yield [(self.epoch, number) for number in mine]


def stream(*key: int) -> torch.Generator:
    """The random stream of a key such as (seed, epoch, row)."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def collator(tokenizer: Any, per_position: bool, multiple: int | None = None) -> Callable[[list[Feature]], dict]:
    """Pads a list of features on the right, to the longest of them, and makes tensors (rows, tokens).

    per_position: there is a label for each token, and they are padded too, with IGNORE. multiple: of which the number
    of tokens is to be one (a GPU likes 8).
    """
    from transformers import DataCollatorWithPadding

    pad = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)

    def collate(features: list[Feature]) -> dict[str, torch.Tensor]:
        labels = [feature["labels"] for feature in features]
        batch = dict(pad([{key: value for key, value in feature.items() if key != "labels"} for feature in features]))
        if per_position:
            width = batch["input_ids"].shape[1]
            labels = [row + [IGNORE] * (width - len(row)) for row in labels]
        batch["labels"] = torch.tensor(labels)
        return batch

    return collate


def target_collator(tokenizer: Any, start: int, multiple: int | None = None) -> Callable[[list[Feature]], dict]:
    """As `collator`, for an encoder and a decoder: "labels" is a text of its own, and the decoder reads it one later,
    from the token `start` on ("decoder_input_ids", "decoder_attention_mask").
    """
    sources = collator(tokenizer, False, multiple)

    def collate(features: list[Feature]) -> dict[str, torch.Tensor]:
        width = max(len(feature["labels"]) for feature in features)
        width = -(-width // multiple) * multiple if multiple else width
        rows = [row["labels"] + [IGNORE] * (width - len(row["labels"])) for row in features]
        batch = sources([{**feature, "labels": row} for feature, row in zip(features, rows)])
        labels = batch["labels"]  # (rows, width)
        shown = torch.where(labels == IGNORE, tokenizer.pad_token_id, labels)
        begin = torch.full_like(shown[:, :1], start)
        batch["decoder_input_ids"] = torch.cat([begin, shown[:, :-1]], dim=1)
        batch["decoder_attention_mask"] = (labels != IGNORE).long()
        return batch

    return collate


# ----------------------------------------------------------------------------------------------------- sentences


def encode_sentences(tokenizer: Any, rows: Sequence[dict], max_length: int, accepts: set[str]) -> list[Feature]:
    """One feature for each row with "text" (and "text_pair"); "labels" is the row's label, as int or float.

    accepts: the inputs that the model's forward takes; the tokenizer may make others. Longer rows are cut to
    max_length tokens. Raises DataError for a row without a label.
    """
    missing = next((row for row in rows if row.get("label") is None), None)
    if missing is not None:
        raise DataError(
            f"row {missing.get('id')!r} has no label, so it can neither be trained on nor scored. A test set of GLUE "
            "has none: use its dev set."
        )
    features: list[Feature] = []
    for begin in range(0, len(rows), 1000):
        part = rows[begin : begin + 1000]
        pairs = [row["text_pair"] for row in part] if part and "text_pair" in part[0] else None
        tokens = tokenizer([row["text"] for row in part], pairs, truncation=True, max_length=max_length)
        for k, row in enumerate(part):
            feature = {key: list(values[k]) for key, values in tokens.items() if key in accepts}
            features.append({**feature, "labels": row["label"]})
    return features


# ---------------------------------------------------------------------------------------------------------- text


def encode_text(tokenizer: Any, texts: Sequence[str], max_length: int, masked: bool) -> list[Feature]:
    """Running text cut into blocks of max_length tokens; the last one may be shorter, nothing is left out.

    masked: a block stands between the tokenizer's two special tokens, as in BERT, and "labels" are set by `Masker`.
    Otherwise (causal) the texts are joined by the end-of-text token, and "labels" are the tokens themselves: the
    model's loss shifts them. The first token of a block has nothing before it and is not predicted.
    """
    begin, end = (tokenizer.cls_token_id, tokenizer.sep_token_id) if masked else (None, tokenizer.eos_token_id)
    if masked and (begin is None or end is None or tokenizer.mask_token_id is None):
        raise TrainingError(
            f"the tokenizer {type(tokenizer).__name__} has no mask, cls and sep tokens, so it cannot serve masked "
            "language modelling; with a decoder such as GPT-2 choose objective='causal'."
        )
    ids: list[int] = []
    for first in range(0, len(texts), 1000):
        # verbose=False: no warning that a document is longer than the model, since it is cut here.
        for row in tokenizer(list(texts[first : first + 1000]), add_special_tokens=False, verbose=False)["input_ids"]:
            ids += row if end is None or masked else [*row, end]
    width = max_length - 2 if masked else max_length
    if width < 2:
        raise TrainingError(f"max_length={max_length} leaves no room for text; give at least {4 if masked else 2}.")
    blocks = [ids[k : k + width] for k in range(0, len(ids), width)]
    if blocks and len(blocks[-1]) < 2:  # nothing in it could be predicted from anything
        blocks.pop()
    features = []
    for block in blocks:
        block = [begin, *block, end] if masked else block
        labels = [IGNORE] + block[1:]
        features.append({"input_ids": block, "attention_mask": [1] * len(block), "labels": labels})
    return features


class Masker:
    """Hides tokens for masked language modelling, afresh in each epoch: see MASKED_SHARE.

    The masks of a row are a function of (seed, epoch, row). Epoch -1, which is that of an evaluation, is always the
    same. Special tokens are never hidden; a random token is any of the vocabulary.
    """

    def __init__(self, tokenizer: Any, seed: int, share: float = MASKED_SHARE):
        self.seed, self.share = seed, share
        self.mask, self.words = tokenizer.mask_token_id, len(tokenizer)
        self.special = torch.tensor(sorted(set(tokenizer.all_special_ids)))

    def __call__(self, feature: Feature, epoch: int, number: int, starts: Sequence[int] | None = None) -> Feature:
        """starts: whether a word begins at each token; then all tokens of a word are hidden together, or none."""
        generator = stream(self.seed, epoch, number)
        ids = torch.tensor(feature["input_ids"])
        drawn = torch.rand(2, len(ids), generator=generator)
        if starts is not None:
            drawn[0] = drawn[0, torch.tensor(starts).cumsum(0) - 1]  # that of the word's number
        hidden = (drawn[0] < self.share) & ~torch.isin(ids, self.special)
        labels = torch.where(hidden, ids, IGNORE)
        shown = torch.where(hidden & (drawn[1] < 0.8), self.mask, ids)
        anything = torch.randint(self.words, (len(ids),), generator=generator)
        shown = torch.where(hidden & (drawn[1] >= 0.9), anything, shown)
        return {**feature, "input_ids": shown.tolist(), "labels": labels.tolist()}
