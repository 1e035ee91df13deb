"""Models and rows for `--task`: a model with the head that a task needs, its tokenizer, and so many rows."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, DataError, DataNotFoundError, TrainingError
from ..folders import plain
from .shared import positive

if TYPE_CHECKING:
    from torch import nn

    from ..pretrained import Pretrained
    from ..tasks import Task, TaskData

# Kind of task -> the head's name in `pretrained.HEADS`, and how transformers' classes with that head are called.
HEADS = {
    "single": ("sequence-classification", "ForSequenceClassification"),
    "pair": ("sequence-classification", "ForSequenceClassification"),
    "regression": ("sequence-classification", "ForSequenceClassification"),
    "span": ("question-answering", "ForQuestionAnswering"),
}

TASK_HELP = """\
where the rows of T come from, in this order; stderr says which it was:
  --data-dir DIR: T's own folder or the one that holds it, as originally released, plain or .gz;
  the Hugging Face cache, then the hub (not if HF_HUB_OFFLINE=1);
  sentences from a small grammar of this package, with gold labels: the task is then toy-T.
T: CoLA SST-2 MRPC STS-B QQP MNLI QNLI RTE WNLI SNLI SQuAD IMDB, or a part of one (MNLI-10k).
"""


def add_data(group: Any) -> None:
    """Options that say where the rows come from and how long they may be."""
    group.add_argument("--data-dir", metavar="DIR", type=Path, help="the folder that holds the task's rows")
    group.add_argument("--max-length", type=positive(int), metavar="N", help="tokens of a row at most (default: 128)")


# ----------------------------------------------------------------------------------------------------------- rows


def rows_to_train(arguments: argparse.Namespace) -> TaskData:
    """Splits "train", "select" and "dev" (MNLI: "dev_mismatched" as well) of --task.

    --rows N: N rows to train on and N/4 others that choose the best epoch; else all, a tenth of them to choose.
    --seed draws these; the rows that are reported are the same for every seed.
    """
    from ..data import load_task

    checked(named(arguments.task))
    data = load_task(arguments.task, data_dir=arguments.data_dir)
    select = None if arguments.rows is None else max(1, arguments.rows // 4)
    data = data.sample(arguments.rows, select, seed=arguments.seed)
    return _fewer(data, arguments.dev_rows, [split for split in data.splits if split.startswith("dev")])


def rows_to_score(arguments: argparse.Namespace) -> TaskData:
    """The reported splits of --task: dev, MNLI's second one where it is there; the diagnostic set has only a test."""
    from ..data import load_task

    task = checked(named(arguments.task))
    wanted = tuple(split for split in task.splits if split.startswith("dev")) or ("test",)
    try:
        data = load_task(arguments.task, data_dir=arguments.data_dir, splits=wanted)
    except DataNotFoundError:
        if len(wanted) == 1:
            raise
        data = load_task(arguments.task, data_dir=arguments.data_dir, splits=wanted[:1])
    return _fewer(data, arguments.rows, data.splits)


def _fewer(data: TaskData, count: int | None, splits: Iterable[str]) -> TaskData:
    from ..sampling import sample_reported

    fewer = {split: sample_reported(data.splits[split], count, 0, split) for split in splits}
    return dataclasses.replace(data, splits={**data.splits, **fewer})


def named(name: str) -> Task:
    """As `task_named`. Raises DataError for a task whose classes depend on this machine: no saved head would fit it."""
    from ..data import task_named
    from ..texts import ORIGIN_TASK

    if name.strip().lower() == ORIGIN_TASK:
        raise DataError(
            f"the classes of {ORIGIN_TASK!r} are packages installed here, so that a model saved with such a head could "
            f"not be scored elsewhere. In Python: mpolab.data.load_task({ORIGIN_TASK!r}) and mpolab.training.fine_tune."
        )
    return task_named(name)


def checked(task: Task) -> Task:
    if task.kind not in HEADS:
        raise DataError(f"task {task.name!r} is of kind {task.kind!r}, and heads are made for {', '.join(HEADS)}.")
    return task


# --------------------------------------------------------------------------------------------------------- models


def to_train(name: str, task: Task, seed: int) -> Pretrained:
    """The pre-trained model with a head for `task` (new from `seed` where it has none) and its tokenizer."""
    from ..pretrained import load_pretrained

    outputs = None if task.kind == "span" else task.num_labels
    pretrained = load_pretrained(name, head=HEADS[task.kind][0], num_labels=outputs, seed=seed)
    if pretrained.tokenizer is None:
        raise TrainingError(
            f"{name!r} has no tokenizer, so rows of {task.name} cannot be fed to it. Put its files (tokenizer.json or "
            "vocab.txt) beside config.json."
        )
    config = pretrained.model.config
    if task.labels:  # the saved model says what its outputs mean
        config.id2label = dict(enumerate(task.labels))
        config.label2id = {label: k for k, label in enumerate(task.labels)}
    if task.kind == "regression":
        config.problem_type = "regression"
    return pretrained


def to_score(name: str, task: Task) -> tuple[nn.Module, Any, str]:
    """(model, tokenizer, a line about it) of a saved folder or a pre-trained model, whose head must fit `task`.

    Raises CheckpointError where the head is missing or answers another question.
    """
    from ..checkpoint import ABOUT, load
    from ..pretrained import load_pretrained, load_tokenizer

    head, class_ending = HEADS[task.kind]
    advice = f"Train one: mpolab compress MODEL --ratio 0.5 --task {task.base} --out NEW_DIR."
    folder = Path(name).expanduser()
    if (folder / ABOUT).is_file():
        model, tokenizer = load(folder), load_tokenizer(folder)
        count = sum(parameter.numel() for parameter in model.parameters())
        about = f"{folder.resolve().name} (compressed): {type(model).__name__}, {count:,} parameters"
        has = type(model).__name__.endswith(class_ending)
    else:
        pretrained = load_pretrained(name, head=head)
        model, tokenizer = pretrained.model, pretrained.tokenizer
        about = f"{pretrained.describe()}; from {pretrained.source}"
        has = not pretrained.new
    if not has:
        held = _class_on_disk(folder) or "a model without that head"
        raise CheckpointError(f"{name!r} holds {held}, and {task.name} needs one {class_ending}. {advice}")
    if tokenizer is None:
        raise CheckpointError(f"{name!r} has no tokenizer, so rows of {task.name} cannot be fed to it. {advice}")
    _check_labels(name, model.config, task, advice)
    return model, tokenizer, about


def _class_on_disk(folder: Path) -> str | None:
    import json

    try:
        return "a " + json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _check_labels(name: str, config: Any, task: Task, advice: str) -> None:
    """Raises CheckpointError if the head has other classes than the task, as far as the config says."""
    if task.kind == "span":
        return
    if config.num_labels != task.num_labels:
        wanted = f"{task.num_labels} ({', '.join(task.labels)})" if task.labels else "1 (a score)"
        raise CheckpointError(
            f"the head of {name!r} has {config.num_labels} outputs, and {task.name} needs {wanted}. {advice}"
        )
    labels = [str(config.id2label.get(k, "")) for k in range(config.num_labels)]
    if not task.labels or all(label.startswith("LABEL_") for label in labels):  # it does not say
        return
    if [plain(label) for label in labels] != [plain(label) for label in task.labels]:
        raise CheckpointError(
            f"the head of {name!r} tells {', '.join(labels)} apart, and the classes of {task.name} are "
            f"{', '.join(task.labels)}, in this order. {advice}"
        )


# --------------------------------------------------------------------------------------------------------- scores


def score_lines(data: TaskData, scores: dict[str, dict[str, float]], when: str = "") -> list[str]:
    return [score_line(data.name, split, len(data.splits[split]), found, when) for split, found in scores.items()]


def score_line(task: str, split: str, rows: int, scores: dict[str, float], when: str = "") -> str:
    """ "SST-2 dev, 872 rows: accuracy 91.28, loss 0.2431": metrics in percent, the loss in nats."""
    values = [f"{metric} {value:.2f}" for metric, value in scores.items() if metric != "loss"]
    values += [f"loss {scores['loss']:.4f}"] if "loss" in scores else []  # a bag of words has none
    return f"{task} {split}, {rows:,} rows{when}: {', '.join(values)}"
