"""One encoder with a head for each of several tasks, trained on all of them at once (MPOBERT, Table 2).

>>> data = TaskMixture(load_task(name).sample(200, 50, 250) for name in ("SST-2", "STS-B"))  # doctest: +SKIP
>>> loaded = load_pretrained("albert-mini", head="sequence-classification", num_labels=2)  # doctest: +SKIP
>>> model = with_heads(loaded.model, data.tasks, seed=0)  # doctest: +SKIP
>>> fine_tune(model, loaded.tokenizer, data, Settings()).scores["dev"]["mean"]  # doctest: +SKIP

The model stays the Hugging Face model that it is; only its last linear layer becomes a `TaskHeads`. What stands before
that layer (BERT's pooler, RoBERTa's dense layer) is shared. `fine_tune`, `evaluate` and `Session` take a `TaskMixture`
as they take a `TaskData`:

- a training step is of one task and calls that task's head alone, so the other heads have no gradient at all, and
  neither momentum nor weight decay moves them; its loss is that of the task (`objectives.py`);
- rows that are scored pass through the encoder once, in any order, and through all heads, which cost next to nothing;
- scores are named "SST-2/accuracy"; "mean" is the mean over tasks of each one's main metric, in per cent, and chooses
  the checkpoint; "loss" is the mean over tasks of each one's mean loss (nats; squared score points for a regression).

`one_head` takes out a plain model for one of the tasks, to be saved or used as any other. Notebook 03, "Fine-tuning".
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from .data import Task
from .errors import TrainingError, unknown
from .features import Rows, stream
from .mixture import TaskMixture, check_tasks
from .objectives import KINDS, Objective

MEAN = "mean"
"""The score that chooses: the mean over tasks of their main metrics, in per cent."""


# ----------------------------------------------------------------------------------------------------------- the model


class TaskHeads(nn.ModuleDict):
    """A linear layer for each task, by its name: (..., hidden) -> (..., outputs).

    only: the task whose head is called; None = all, their outputs side by side in the order of the tasks.
    """

    only: str | None = None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.only is not None:
            return self[self.only](hidden)
        return torch.cat([head(hidden) for head in self.values()], dim=-1)

    @property
    def outputs(self) -> dict[str, int]:
        """{task: number of outputs}"""
        return {name: head.out_features for name, head in self.items()}


def heads_of(model: nn.Module) -> TaskHeads | None:
    return next((module for module in model.modules() if isinstance(module, TaskHeads)), None)


def with_heads(model: nn.Module, tasks: Sequence[Task], seed: int = 0) -> nn.Module:
    """The model, in place, with a head for each task in the place of its last linear layer.

    That layer stays as the first task's head if it is as wide; all others are new, by the model's own initialisation
    from (seed, number of the task). Call it before or after `to_mpo`, which leaves heads as they are.
    Raises TrainingError for a model that does not classify texts or has such heads already, and as `check_tasks`.
    """
    tasks = tuple(tasks)
    check_tasks(tasks)
    there = heads_of(model)
    if there is not None:
        raise TrainingError(f"the model has heads already, for {', '.join(there)}: load it anew.")
    path = _last_linear(model)
    last = model.get_submodule(path)
    heads = {}
    for number, task in enumerate(tasks):
        if number == 0 and last.out_features == task.num_labels:
            heads[task.name] = last
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, number).initial_seed())
            head = nn.Linear(last.in_features, task.num_labels, bias=last.bias is not None)
            model._init_weights(head)
        heads[task.name] = head.to(last.weight)  # its device and type
    _put(model, path, TaskHeads(heads))
    model.config.num_labels = sum(task.num_labels for task in tasks)
    return model


def one_head(model: nn.Module, name: str) -> nn.Module:
    """A copy of the model with that task's head alone, as plain as one that was fine-tuned on it.

    Raises TrainingError for a model without `TaskHeads`, UnknownNameError for a task that it has no head for.
    """
    heads = heads_of(model)
    if heads is None:
        raise TrainingError(f"{type(model).__name__} has no heads of several tasks: see multitask.with_heads.")
    if name not in heads:
        raise unknown("task of this model", name, heads)
    path = next(path for path, module in model.named_modules() if module is heads)
    plain = copy.deepcopy(model)
    head = plain.get_submodule(path)[name]
    _put(plain, path, head)
    plain.config.num_labels = head.out_features
    if hasattr(plain, "num_labels"):
        plain.num_labels = head.out_features
    plain.config.problem_type = "regression" if head.out_features == 1 else "single_label_classification"
    return plain


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def _last_linear(model: nn.Module) -> str:
    """The path of the layer that makes the logits. Raises TrainingError for a model that classifies no texts."""
    if not type(model).__name__.endswith("ForSequenceClassification"):
        raise TrainingError(
            f"{type(model).__name__} gives no vector for a text, which heads of several tasks need. Load it with "
            "load_pretrained(name, head='sequence-classification', num_labels=2)."
        )
    base, outputs = f"{model.base_model_prefix}.", model.config.num_labels
    found = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and not path.startswith(base) and module.out_features == outputs
    ]
    if not found:
        raise TrainingError(
            f"{type(model).__name__} has no linear layer with {outputs} outputs outside its encoder: there is no head "
            "to replace."
        )
    return found[-1]


def check_heads(model: nn.Module, data: TaskMixture) -> None:
    """Raises TrainingError unless the model has just the heads that the tasks need."""
    heads, wanted = heads_of(model), {task.name: task.num_labels for task in data.tasks}
    if heads is None:
        raise TrainingError(
            f"{type(model).__name__} has one head, and the data are of {data.name}: "
            "multitask.with_heads(model, data.tasks) gives it one for each."
        )
    if list(heads.outputs.items()) != list(wanted.items()):
        there, needed = (
            ", ".join(f"{name} ({count})" for name, count in all_.items()) for all_ in (heads.outputs, wanted)
        )
        raise TrainingError(
            f"the model has heads (outputs) for {there}, and the data need {needed}, in this order: load the model "
            "anew and call multitask.with_heads(model, data.tasks)."
        )


# ------------------------------------------------------------------------------------------------- losses and scores


def objective_of(tasks: Sequence[Task]) -> Objective:
    """The losses of several tasks as one objective; labels (rows, 2): number of the task, label (`MixedRows`)."""

    def sums(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        return sum(
            _kind(task).loss({"logits": logits}, own.to(_label_type(task)))
            for task, logits, own in _by_task(tasks, outputs["logits"], labels)
        )

    def mean(kept: np.ndarray, labels: np.ndarray) -> float:
        found = losses(tasks, kept, labels)
        return sum(found.values()) / len(found)

    @contextlib.contextmanager
    def around(model: nn.Module, labels: torch.Tensor) -> Iterator[None]:
        heads = heads_of(model)
        if model.training:
            number = int(labels[0, 0])
            if (labels[:, 0] != number).any():
                raise TrainingError("a batch of a training holds rows of several tasks; each must be of one.")
            heads.only = tasks[number].name
        try:
            yield
        finally:
            heads.only = None

    return Objective(
        loss=sums,
        keep=lambda outputs, labels: outputs["logits"].float(),  # (rows, outputs of all heads)
        mean=mean,
        count=lambda labels: torch.tensor(len(labels)),
        around=around,
    )


def losses(tasks: Sequence[Task], kept: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """{task: its mean loss}, for those that have rows. kept (rows, outputs of all heads), labels (rows, 2)."""
    return {
        task.name: _kind(task).mean(logits.squeeze(-1) if task.kind == "regression" else logits, own)
        for task, logits, own in _of_arrays(tasks, kept, labels)
    }


def score_of(tasks: Sequence[Task], parts: Sequence[Rows | None]) -> Callable[[Any, Any], dict[str, float]]:
    """(kept (rows, outputs of all heads), labels (rows, 2)) -> {"SST-2/accuracy": ..., "SST-2/loss": ..., "mean": ...}.

    parts: the rows of each task, with the function that scores them.
    """
    scorer = {task.name: part.score for task, part in zip(tasks, parts) if part is not None}

    def score(kept: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        found, main, mean_loss = {}, [], losses(tasks, kept, labels)
        for task, logits, own in _of_arrays(tasks, kept, labels):
            values = scorer[task.name](logits.squeeze(-1) if task.kind == "regression" else logits, own)
            main.append(values[task.main_metric])
            values = {"loss": mean_loss[task.name], **values}
            found |= {f"{task.name}/{metric}": value for metric, value in values.items()}
        return {**found, MEAN: sum(main) / len(main)}

    return score


def _kind(task: Task) -> Objective:
    return KINDS["score" if task.kind == "regression" else "class"]


def _label_type(task: Task) -> torch.dtype:
    return torch.float32 if task.kind == "regression" else torch.int64


def _by_task(
    tasks: Sequence[Task], logits: torch.Tensor, labels: torch.Tensor
) -> Iterator[tuple[Task, torch.Tensor, torch.Tensor]]:
    """(task, its own logits (its rows, its outputs), its labels (its rows,)) for every task that has rows here.

    logits: of all heads side by side, or of the one whose rows these are.
    """
    begin, together = 0, logits.shape[1] == sum(task.num_labels for task in tasks)
    for number, task in enumerate(tasks):
        own = labels[:, 0] == number
        if own.any():
            mine = logits[own]
            yield task, mine[:, begin : begin + task.num_labels] if together else mine, labels[own, 1]
        begin += task.num_labels


def _of_arrays(
    tasks: Sequence[Task], kept: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[Task, np.ndarray, np.ndarray]]:
    for task, logits, own in _by_task(tasks, torch.from_numpy(kept), torch.from_numpy(labels)):
        yield task, logits.numpy(), own.to(_label_type(task)).numpy()
