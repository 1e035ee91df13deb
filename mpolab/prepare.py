"""What a model and its data must be before they are trained: checks, the kind of objective, tokenized splits."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from . import answers, features, metrics, multitask, spans
from .data import TaskData, TextData
from .errors import DataError, TrainingError, unknown
from .mixture import MixedRows, TaskMixture
from .objectives import Objective, of_spans
from .segments import Segments, TokenData
from .settings import Settings
from .token_streams import StreamData, Windows


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise TrainingError(f"training needs {package}, which is not installed: pip install 'mpolab[train]'.")


def one_process(what: str) -> None:
    """Raises TrainingError for a method that cannot be divided among the processes of torchrun."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1:
        raise TrainingError(
            f"{what} runs in one process, since replaced parameters would escape torch's DDP, and here are {count}: "
            "start it without torchrun."
        )


def check_model(model: nn.Module, tokenizer: Any, settings: Settings) -> None:
    """What can be said before anything is computed: a tokenizer, a head, room for max_length tokens."""
    if tokenizer is None:
        raise TrainingError("training needs the model's tokenizer: load_pretrained(name).tokenizer.")
    if getattr(model, "base_model", None) is model and getattr(model, "lm_head", None) is None:  # T5 is its own base
        raise TrainingError(
            f"{type(model).__name__} has no head, so it computes hidden states and no answer. Load it with one: "
            "load_pretrained(name, head='sequence-classification', num_labels=2)."
        )
    config = model.config
    words = getattr(config, "vocab_size", None)
    if words is not None and len(tokenizer) > words:
        raise TrainingError(
            f"the tokenizer has {len(tokenizer):,} entries and {type(model).__name__} {words:,}: tokens beyond its "
            "vocabulary have no embedding. Take the model's own tokenizer, or model.resize_token_embeddings(...)."
        )
    room = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if room is not None and "roberta" in str(getattr(config, "model_type", "")):
        room -= config.pad_token_id + 1  # its positions count from the one after padding's
    if room is not None and settings.max_length > room:
        raise TrainingError(f"max_length={settings.max_length}, but {type(model).__name__} has {room} positions.")


def start_at_the_mean(model: nn.Module, new: Sequence[str], data: TaskData) -> float | None:
    """A new regression head's bias becomes the mean of the training labels, which is returned (None for other tasks).

    Without it the few updates of a small training go into moving the bias there: Adam moves it by the learning rate an
    update, and STS-B's mean is 2.6. new: the names of the head's new tensors (`Pretrained.new`).
    """
    if data.task.kind != "regression":
        return None
    labels = [float(row["label"]) for row in data.splits["train"]]
    mean = sum(labels) / len(labels)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in new:
            if name.endswith("bias") and parameters[name].numel() == 1:
                parameters[name].fill_(mean)
    return mean


Data = TaskData | TaskMixture | TextData | TokenData | StreamData
"""What can be trained on."""


def of_tasks(data: Data) -> bool:
    """Whether the data are a task's, or several tasks', and no running text."""
    return isinstance(data, TaskData | TaskMixture)


# What stands in `objectives.KINDS` for each kind of task.
_OBJECTIVES = {"single": "class", "pair": "class", "regression": "score", "span": "span"}


def kind_of(model: nn.Module, data: Data, objective: str | None) -> tuple[str | Objective, str, bool]:
    """(kind of objective, the metric that chooses, whether lower is better)."""
    if of_tasks(data) and answers.writes(model):
        return answers.kind_of(model, data)
    if isinstance(data, TaskMixture):
        multitask.check_heads(model, data)
        return multitask.objective_of(data.tasks), multitask.MEAN, False
    if isinstance(data, TokenData):
        return "pretraining", "loss", True
    if isinstance(data, StreamData):
        return _kind_of_stream(model, data), "loss", True
    if isinstance(data, TextData):
        if objective is None:
            name = type(model).__name__
            objective = "masked" if name.endswith(("MaskedLM", "ForPreTraining")) else "causal"
        if objective not in ("masked", "causal"):
            raise unknown("objective", objective, ("masked", "causal"))
        return objective, "loss", True
    task = data.task
    kind = _OBJECTIVES.get(task.kind)
    if kind is None:
        raise TrainingError(f"task {task.name!r} is of kind {task.kind!r}; trained are: {', '.join(_OBJECTIVES)}.")
    heads = multitask.heads_of(model)
    if heads is not None:
        raise TrainingError(
            f"the model has heads for {', '.join(heads)}, and the data are of {task.name} alone: take "
            f"multitask.one_head(model, {task.name!r}), or data of all of them (TaskMixture)."
        )
    outputs = getattr(model.config, "num_labels", task.num_labels)
    if kind != "span" and outputs != task.num_labels:
        raise TrainingError(
            f"the model's head has {outputs} outputs, and {task.name} needs {task.num_labels}: load it with "
            f"load_pretrained(name, head='sequence-classification', num_labels={task.num_labels})."
        )
    return kind, task.main_metric, False


def _kind_of_stream(model: nn.Module, data: StreamData) -> str | Objective:
    """Raises TrainingError for a model that does not read the stream's rows."""
    two = bool(getattr(model.config, "is_encoder_decoder", False))
    if two != (data.sentinels is not None):
        expected = "an encoder and a decoder (T5)" if data.sentinels is not None else "a decoder alone (GPT-2)"
        rows = "spans are hidden" if data.sentinels is not None else "the next token is predicted"
        raise TrainingError(f"in the rows of {data.name} {rows}, which is for {expected}, not {type(model).__name__}.")
    if data.sentinels is None:
        return "causal"
    return of_spans([*data.sentinels, model.config.eos_token_id])


def collator_for(tokenizer: Any, model: nn.Module, kind: str | Objective, multiple: int | None) -> Any:
    """What makes batches of rows: see `features`. multiple: of which the number of tokens is to be one, or None."""
    if getattr(model.config, "is_encoder_decoder", False):
        return features.target_collator(tokenizer, model.config.decoder_start_token_id, multiple)
    return features.collator(tokenizer, kind in ("masked", "causal", "pretraining"), multiple)


def scored_splits(data: Data) -> tuple[str, ...]:
    """The splits that are scored beside training: never a task's test set, which is not ours to look at."""
    if not of_tasks(data):
        return tuple(split for split in ("valid", "test") if split in data.splits)
    return tuple(split for split in data.splits if split == "select" or split.startswith("dev"))


def reported_splits(data: Data) -> tuple[str, ...]:
    if not of_tasks(data):
        return ("test",) if "test" in data.splits else ("valid",)
    return tuple(split for split in data.splits if split.startswith("dev"))


def tokenized(
    model, tokenizer, data, split: str, kind, settings: Settings, seed: int
) -> features.Rows | Segments | Windows:
    """A split, tokenized, with the function that scores it. Rows that are only scored stand longest first, so that
    a batch has little padding and a model that does not fit into memory fails at once.
    """
    if of_tasks(data) and answers.writes(model):
        return answers.tokenized(model, tokenizer, data, split, settings)
    if isinstance(data, TaskMixture):
        return _mixed(model, tokenizer, data, split, settings, seed)
    if isinstance(data, TokenData | StreamData):
        return data.rows(split, tokenizer, seed)
    texts = data.splits.get(split)
    if not texts:
        raise DataError(f"the data has no rows in split {split!r}; there are {', '.join(data.splits) or 'none'}.")
    accepts = set(inspect.signature(model.forward).parameters)
    if getattr(model.config, "type_vocab_size", 0) < 2:
        accepts.discard("token_type_ids")  # GPT-2 would add the embedding of word 0 to every token
    length, masker, windows = settings.max_length, None, None
    if kind in ("masked", "causal"):
        encoded = features.encode_text(tokenizer, texts, length, kind == "masked")
        masker = features.Masker(tokenizer, seed) if kind == "masked" else None
        if not encoded:
            raise DataError(f"split {split!r} of {data.name} holds no text to learn from.")
    elif kind == "span":
        encoded, windows = spans.encode_questions(tokenizer, texts, length, int(settings.stride), accepts)
    else:
        encoded = features.encode_sentences(tokenizer, texts, length, accepts)
    if split != "train":
        order = sorted(range(len(encoded)), key=lambda k: -len(encoded[k]["input_ids"]))
        encoded = [encoded[k] for k in order]
        windows = windows and [windows[k] for k in order]

    def score(predictions: Any, labels: Any) -> dict[str, float]:
        if kind in ("masked", "causal"):  # (blocks, 2): sum of negative log-likelihoods, number of tokens
            nll, tokens = (float(column) for column in predictions.astype("float64").sum(0))
            return {"perplexity": metrics.perplexity_of(nll, tokens)}
        if kind == "span":
            answers = spans.best_answers(texts, windows, predictions, settings.max_answer)
            return metrics.squad(answers, [{"id": row["id"], "answers": row["answers"]} for row in texts])
        found = predictions.argmax(-1) if kind == "class" else predictions
        return metrics.glue(data.task, found, labels)

    return features.Rows(encoded, score, masker)


def _mixed(model, tokenizer, data: TaskMixture, split: str, settings: Settings, seed: int) -> MixedRows:
    """A split of several tasks; those that do not have it have no part in it."""
    parts = [
        tokenized(model, tokenizer, part, split, _OBJECTIVES[part.task.kind], settings, seed)
        if part.splits.get(split)
        else None
        for part in data.parts
    ]
    if not any(parts):
        raise DataError(f"no task has rows in split {split!r}; there are {', '.join(data.splits) or 'none'}.")
    score = multitask.score_of(data.tasks, parts)
    return MixedRows(parts, data.temperature, score, longest_first=split != "train")


def copied(tokenizer: Any, config: Any) -> Any:
    """The tokenizer for training: pads on the right, with the end-of-text token where it has no padding token.

    Where the model's config names no padding token it gets this one (GPT-2's classifier finds the last token by it).
    """
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise TrainingError(
                f"the tokenizer {type(tokenizer).__name__} has neither a padding nor an end-of-text token; set "
                "tokenizer.pad_token."
            )
        tokenizer.pad_token = tokenizer.eos_token
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    return tokenizer
