"""How experts drift apart while a model trains: snapshots every so many steps, and reading them back.

    watch = RoutingWatch(batch, every=50, out="work")
    train_lm(model, tokenizer, data, settings, out="work", callbacks=[watch])
    record.extra["routing"] = watch.snapshots

What is in a snapshot: `mpolab.expert_views.snapshot`. Notebook 04, "Who gets what, and who drifts where".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.trainer_callback import TrainerCallback

from .errors import CheckpointError, DataError
from .expert_views import snapshot
from .routing import whole_number
from .whole import write_whole

FORMAT = "mpolab.routing/1"
FILE = "routing.json"


class RoutingWatch(TrainerCallback):
    """Give it to a training: `train_lm(..., callbacks=[RoutingWatch(batch, 50, out)])`, or to a plain Trainer.

    Takes a snapshot before the first step, after every `every` steps and after the last one, of the weights as they
    are then, in evaluation mode, always on the same batch: a mapping with input_ids and what else of
    `expert_views.INPUTS` the model needs. The training does not notice, but for the time: modes, gradients and random
    streams stay as they are.

    out: the run's folder, where the snapshots are kept in routing.json, so that a run which was killed and goes on has
    those of before; None keeps them in memory. In several processes each takes them, and the first one writes; the
    model has to be whole in each (not FSDP). snapshots: [{"step", "layers": [...]}], for `Record.extra["routing"]`.

    Raises RoutingError for `every` below 1, CheckpointError for a file that is damaged.
    """

    def __init__(self, batch: Mapping[str, torch.Tensor], every: int, out: str | os.PathLike | None = None):
        self.every = whole_number("every", every)
        self.batch = {name: tensor.detach().clone() for name, tensor in batch.items()}
        self.path = None if out is None else Path(out) / FILE
        self._taken: list[dict[str, Any]] | None = None  # None: this process has trained nothing yet

    @property
    def snapshots(self) -> list[dict[str, Any]]:
        """In the order of their steps; of a run that was at its end already, those in its folder."""
        return self._read() if self._taken is None else self._taken

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        # what was taken after the checkpoint that a run goes on from is taken again
        self._taken = [entry for entry in self.snapshots if state.global_step and entry["step"] <= state.global_step]
        if not self._taken:
            self._take(given["model"], state)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step % self.every == 0:
            self._take(given["model"], state)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self._taken[-1]["step"] != state.global_step:
            self._take(given["model"], state)

    def _take(self, model: nn.Module, state: Any) -> None:
        self._taken.append({"step": state.global_step, **snapshot(model, self.batch)})
        if self.path is not None and state.is_world_process_zero:
            write_whole(self.path, json.dumps({"format": FORMAT, "snapshots": self._taken}).encode())

    def _read(self) -> list[dict[str, Any]]:
        if self.path is None or not self.path.is_file():
            return []
        try:
            content = json.loads(self.path.read_text("utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}, expected {FORMAT!r}")
            History.of(content["snapshots"])
            return content["snapshots"]
        except (ValueError, TypeError, KeyError) as problem:
            raise CheckpointError(
                f"{str(self.path)!r} holds no snapshots of a routing ({problem}); delete it, or train anew with "
                "resume=False."
            ) from None


@dataclass(frozen=True, eq=False)
class History:
    """The snapshots of one run as tensors, float64, S of them, L layers, n experts.

    steps: (S,) increasing. load: (S, L, n). load_entropy, router_entropy: (S, L); NaN for a router that has no
    distribution. distances: (S, L, n, n); NaN where a record has None, which stands for infinity.
    """

    steps: tuple[int, ...]
    names: tuple[str, ...]
    load: torch.Tensor
    load_entropy: torch.Tensor
    router_entropy: torch.Tensor
    distances: torch.Tensor

    @classmethod
    def of(cls, snapshots: Sequence[Mapping[str, Any]]) -> History:
        """Raises DataError for what are no snapshots, none at all, or some of different models."""
        try:
            steps = tuple(int(entry["step"]) for entry in snapshots)
            if not steps or sorted(set(steps)) != list(steps):
                raise ValueError("steps " + (", ".join(map(str, steps)) if steps else "are missing"))
            layers = [entry["layers"] for entry in snapshots]
            if not all(layers):
                raise ValueError("a step without layers")

            def table(key: str) -> torch.Tensor:
                read = [[_numbers(layer[key]) for layer in entry] for entry in layers]
                return torch.tensor(read, dtype=torch.float64)

            load, upper = table("load"), table("distances")  # (S, L, n), (S, L, pairs)
            first, second = torch.triu_indices(load.shape[-1], load.shape[-1], 1)
            distances = torch.zeros(*load.shape, load.shape[-1], dtype=torch.float64)
            distances[..., first, second] = distances[..., second, first] = upper
            names = tuple(str(layer["name"]) for layer in layers[0])
            return cls(steps, names, load, table("load_entropy"), table("router_entropy"), distances)
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as problem:
            raise DataError(
                "expected the snapshots of one run, as RoutingWatch.snapshots has them: a list of {'step', 'layers'} "
                f"with rising steps and always the same layers and experts ({type(problem).__name__}: {problem})."
            ) from None

    @property
    def mean_distance(self) -> torch.Tensor:
        """(S, L): over all pairs of experts; those that are infinite are left out."""
        first, second = torch.triu_indices(*self.distances.shape[-2:], 1)
        return self.distances[..., first, second].nanmean(-1)


def _numbers(value: Any) -> Any:
    return [_numbers(inner) for inner in value] if isinstance(value, list) else float("nan") if value is None else value
