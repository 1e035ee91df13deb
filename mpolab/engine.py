"""The engine: transformers' Trainer with exact averages, whole checkpoints and one progress bar.

What is changed, and why:

- **Loss.** The engine takes the logits of the model and averages over all items (rows, or tokens) of a step, those of
  all processes and of all accumulated micro-batches together. So neither the number of processes nor that of
  micro-batches changes the curve, and no model's own scaling of its loss plays a part.
- **Order of rows.** A function of seed and epoch (`features.Batches`), the same for any number of processes; nothing is
  read ahead, so a resumed run draws what the unbroken one would have drawn.
- **Checkpoints.** Whole or not at all, loaded strictly (`snapshots`).
- **Gradients.** A callback with `on_backward_end` sees those of a whole step before they are clipped: the Trainer's own
  `on_pre_optimizer_step` comes after. One with `around_step` is entered for the passes of every micro-batch.
- **FSDP.** The model is divided here and not by the Trainer, which on a CPU would not (`sharded` says why).
- **Learning rates.** MPO tensors may have their own; biases and the gains of norms do not decay.

Importing this file imports transformers' Trainer, which takes seconds: `training` does it when a training begins.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Adafactor, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from . import snapshots
from .errors import CheckpointError, TrainingError
from .features import Batches, Rows
from .lamb import lamb
from .meter import Meter, Streams
from .mixture import MixedRows
from .objectives import KINDS, Objective
from .pretrained import quiet_transformers
from .sharded import Sharded, total_norm
from .watch import TIMES, Bar, Board, Watch

if TYPE_CHECKING:
    from .settings import Settings


def is_mpo(module: nn.Module) -> bool:
    """Whether a module holds a matrix as MPO cores: MPOLinear, MPOEmbedding, or one like them."""
    return isinstance(getattr(module, "cores", None), nn.ParameterList)


def mpo_tensors(module: nn.Module) -> list[nn.Parameter]:
    """The cores of a module that `is_mpo`, or of one that names them itself, as experts with one centre do."""
    if is_mpo(module):
        return list(module.cores)
    return module.mpo_tensors() if hasattr(module, "mpo_tensors") else []


def parameter_groups(model: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """The trainable parameters, each once, as groups for an optimizer: "tensors", "matrices", "biases and norms".

    tensors: MPO cores, with `settings.tensor_lr`. matrices: all other parameters of two dimensions and more.
    Parameters of one dimension do not decay, nor do biases that are stacked over experts.
    """
    cores = {id(core) for module in model.modules() for core in mpo_tensors(module)}
    found: dict[str, list[nn.Parameter]] = {"tensors": [], "matrices": [], "biases and norms": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            flat = "biases and norms" if parameter.ndim < 2 or name.rsplit(".", 1)[-1] == "bias" else "matrices"
            found["tensors" if id(parameter) in cores else flat].append(parameter)
    lr = {"tensors": settings.lr if settings.tensor_lr is None else settings.tensor_lr}
    decay = {"biases and norms": 0.0}
    return [
        {
            "params": parameters,
            "name": name,
            "lr": lr.get(name, settings.lr),
            "weight_decay": decay.get(name, settings.weight_decay),
        }
        for name, parameters in found.items()
        if parameters
    ]


_MARKS = ("forward", "_original_forward", "_is_accelerate_prepared")


class Engine(Trainer):
    """A Trainer for one model and the tokenized splits of one task; `training.make_trainer` builds it.

    rows: the tokenized splits; "train" is trained on, `select` names the one that chooses. kind: one of KINDS, or
    an objective of its own.
    Attributes besides the Trainer's: rows, watch, batches, streams (the run's random streams), whole (the caller's
    model; with `parallel="fsdp"` it is trained as a divided copy, and gets the weights at the end of the block). Use it
    in a `with` block, or call `close()` at the end: it takes back what the Trainer and accelerate leave on the model (a
    patched forward, `use_cache`) and closes the bar and the logs.
    """

    def __init__(
        self,
        model: nn.Module,
        rows: dict[str, Rows],
        kind: str | Objective,
        settings: Settings,
        collate: Callable[[list], dict[str, torch.Tensor]],
        out: Path | None,
        seed: int,
        select: str | None = None,
        metric: str | None = None,
        lower: bool = False,
        callbacks: tuple[TrainerCallback, ...] = (),
        label: str | None = None,
    ):
        self.rows, self.settings, self.saving = rows, settings, out is not None
        self._stack = contextlib.ExitStack()
        # The Trainer insists on a folder, even where nothing is written.
        self.work = out or Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mpolab-")))
        self.streams = Streams(seed)
        self.objective = kind if isinstance(kind, Objective) else KINDS[kind]
        self._scored: Rows | None = None
        self._use_cache = getattr(getattr(model, "config", None), "use_cache", None)
        args = _arguments(settings, self.work, seed)
        micro = settings.micro_batch(args.world_size)
        args.per_device_train_batch_size = micro
        train = rows.get("train")
        processes = args.world_size, args.process_index
        if isinstance(train, MixedRows):
            self.batches = train.batches(micro, settings.accumulation, seed, *processes)
        else:
            self.batches = Batches(len(train) if train else 1, micro, seed, *processes)
        self.per_epoch = -(-len(self.batches) // settings.accumulation)
        args.max_steps = settings.steps(self.per_epoch)
        args.warmup_steps = settings.warmup_steps(args.max_steps)
        self.watch = Watch(settings, args.max_steps, self.per_epoch, self.batches, metric, lower, self.saving)
        self.meter: Meter | None = None
        self.whole = model
        self.sharded = Sharded(model, args.device.type) if settings.parallel == "fsdp" and train else None
        model = model if self.sharded is None else self.sharded.model
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=train,
            eval_dataset=rows.get(select),
            compute_loss_func=self._loss,
            compute_metrics=self._metrics,
            preprocess_logits_for_metrics=lambda logits, labels: logits,
            callbacks=[self.watch],
        )
        # Divided already: the Trainer is to prepare autocast, and to wrap nothing.
        self.is_distributed_loading_by_transformers = self.sharded is not None
        self.model_accepts_loss_kwargs = False  # its loss is not used, and its forward need not know of our counting
        self.remove_callback(PrinterCallback)
        ours: list[TrainerCallback] = [Board(self.work / "tensorboard")] if self.saving else []
        ours += [Bar(self.watch, label)] if label is not None else []
        for callback in ours:
            self._stack.callback(callback.close)
        for callback in (*ours, *callbacks):
            self.add_callback(callback)

    # ---- loss and scores

    def _loss(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None):
        """The sum over this micro-batch by the number of items of the whole step, in all processes."""
        items = self.objective.count(labels) if num_items_in_batch is None else num_items_in_batch
        items = items.to(labels.device).clamp(min=1)
        loss = (self.objective.loss(outputs, labels) / items).sum()
        extra = outputs.get("aux_loss") if torch.is_grad_enabled() else None  # of routers, a mean over this micro-batch
        if extra is None:
            return loss
        return loss + extra * (self.objective.count(labels).sum() / items.sum())

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> torch.Tensor:
        """Of all micro-batches and processes of a step: the Trainer's knows one kind of items only."""
        items = sum(self.objective.count(batch["labels"]) for batch in batch_samples).to(device)
        if self.args.world_size > 1:
            items = self.accelerator.gather(items[None]).sum(0)
        return items

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        with self.objective.around(self.model, inputs["labels"]):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Loss, what the kind of task keeps of the outputs, labels."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        with (
            torch.no_grad(),
            self.compute_loss_context_manager(),
            self.objective.around(self.model, labels),
        ):
            outputs = model(**inputs)
            loss = self._loss(outputs, labels)
            kept = self.objective.keep(outputs, labels)
        return loss.detach(), kept.detach(), labels

    def _metrics(self, predictions: Any) -> dict[str, float]:
        kept, labels = predictions.predictions, predictions.label_ids
        # Exact, where the Trainer's own mean of batches' means depends on how the rows fall into batches.
        loss = self.objective.mean(kept, labels)
        if not math.isfinite(loss):
            raise TrainingError(f"the loss of an evaluation after step {self.watch.step} is {loss}. {self.last_good()}")
        return {"loss": loss, **self._scored.score(kept, labels)}

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        self._scored = self.eval_dataset if eval_dataset is None else eval_dataset
        with Streams(self.args.seed):  # a loader draws a number when it starts: training must not notice
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def scores(self, split: str) -> dict[str, float]:
        """The metrics and the loss of a split, without the Trainer's times."""
        found = self.evaluate(self.rows[split], metric_key_prefix=split)
        named = {key.removeprefix(f"{split}_"): value for key, value in found.items() if key.startswith(f"{split}_")}
        return {key: value for key, value in named.items() if key not in TIMES}

    def train(self, *args: Any, **kwargs: Any) -> Any:
        if self.meter is None:
            self.start_meter()
        return super().train(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with contextlib.ExitStack() as around:
            for callback in self.callback_handler.callbacks:
                if hasattr(callback, "around_step"):
                    around.enter_context(callback.around_step(self.args, self.state, self.model_wrapped))
            loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1} of {self.watch.total}, so training "
                f"stopped before it. {self.last_good()} A smaller learning rate, a longer warm-up or precision='fp32' "
                "usually helps."
            )
        if self.accelerator.sync_gradients:  # the last micro-batch of a step, before gradients are clipped
            for callback in self.callback_handler.callbacks:
                if hasattr(callback, "on_backward_end"):
                    callback.on_backward_end(self.args, self.state, self.control)
        return loss

    def _refuse_bad_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """A finite loss can have gradients that are not: stops before they are written into the weights."""
        if getattr(optimizer, "found_inf", None) is not None:
            return  # fp16: the loss scaler looks itself, and leaves out such a step
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if grads and not torch.isfinite(total_norm(grads)):
            raise TrainingError(
                f"the gradients at step {self.state.global_step + 1} of {self.watch.total} are not finite, so training "
                f"stopped before it. {self.last_good()} A smaller learning rate, a longer warm-up or precision='fp32' "
                "usually helps."
            )

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        if self.sharded is None:
            return super()._clip_grad_norm(model)
        parameters = [p for p in model.parameters() if p.grad is not None]
        norm = total_norm([p.grad for p in parameters])
        torch.nn.utils.clip_grads_with_norm_(parameters, self.args.max_grad_norm, norm)
        return norm

    def _get_grad_norm(self, model: nn.Module, grad_norm: torch.Tensor | None = None) -> float:
        if self.sharded is not None and grad_norm is None:
            grad_norm = total_norm([p.grad for p in model.parameters() if p.grad is not None])
        return super()._get_grad_norm(model, grad_norm)

    @contextlib.contextmanager
    def _defer_fsdp_gradient_reduction(self):
        """Around all micro-batches of a step but the last: their gradients are added up before they are exchanged."""
        self.model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.model.set_requires_gradient_sync(True)

    def last_good(self) -> str:
        """What a run that cannot go on still has."""
        found = snapshots.last_whole(self.work) if self.saving else None
        if found is None:
            return "There is no checkpoint" + (" yet." if self.saving else ", since `out` was not given.")
        return f"The last good checkpoint is {str(found)!r}."

    # ---- data, optimizer

    def get_train_dataloader(self) -> DataLoader:
        # Not accelerate's loader: that one reads a batch ahead and fills up uneven ends with rows of its choice.
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            generator=torch.Generator(),  # the loader draws a number at every start; not from the stream of dropout
            pin_memory=self.args.device.type == "cuda",
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = parameter_groups(self.model, self.settings)
            if not groups:
                raise TrainingError("no parameter of the model is trainable: all have requires_grad=False.")
            betas, epsilon = self.settings.betas, self.settings.epsilon
            if self.settings.optimizer == "lamb":
                self.optimizer = lamb(groups, self.settings.lr, betas, epsilon)
            elif self.settings.optimizer == "adafactor":
                self.optimizer = Adafactor(  # as T5 was trained: steps in proportion to each tensor's size
                    groups, self.settings.lr, beta1=betas[0] or None, scale_parameter=True, relative_step=False
                )
            else:
                self.optimizer = torch.optim.AdamW(groups, betas=betas, eps=epsilon, fused=self.can_fuse(groups))
            self.optimizer.register_step_pre_hook(self._refuse_bad_gradients)
        return self.optimizer

    @staticmethod
    def can_fuse(groups: list[dict[str, Any]]) -> bool:
        """Whether torch's fused AdamW may be used, five times faster on a CPU (20 ms for MiniLM's 22.7 M numbers on
        one core, instead of 110). It walks through memory, so that a parameter which is a view with gaps would be
        updated with other entries' gradients, and nothing would say so.
        """
        return all(parameter.is_contiguous() for group in groups for parameter in group["params"])

    # ---- checkpoints

    def start_meter(self) -> None:
        """Counts seconds and memory from here on; what a resumed run had spent before is added."""
        self._spent = self.watch.seconds, self.watch.peak_bytes
        self.meter = Meter(self.args.device)

    def spend(self) -> None:
        """Brings the account of seconds and memory, which is part of a checkpoint, up to date."""
        self.watch.seconds = self._spent[0] + self.meter.seconds
        self.watch.peak_bytes = max(self._spent[1], self.meter.peak_bytes)

    def _save_checkpoint(self, model, trial=None, metrics=None) -> None:
        step = self.state.global_step
        self.spend()
        if self.sharded is not None:
            self.sharded.gather()
        if not all(torch.isfinite(parameter).all() for parameter in self.whole.parameters() if parameter.requires_grad):
            raise TrainingError(f"the weights hold NaN or infinity after step {step}. {self.last_good()}")
        try:
            with snapshots.writing(
                snapshots.at_step(self.work, step), self.args.should_save, self.accelerator.wait_for_everyone
            ) as folder:
                if self.args.should_save:
                    snapshots.save_weights(self.whole, folder / snapshots.WEIGHTS)
                    self.state.save_to_json(str(folder / "trainer_state.json"))
                    (folder / "watch.json").write_text(json.dumps(self.watch.state()))
                self._save_optimizer_and_scheduler(str(folder))
                self._save_scaler(str(folder))
                self._save_rng_state(str(folder))
        except Exception as error:  # OSError, torch's RuntimeError and safetensors' own for a disk that is full
            raise TrainingError(
                f"the checkpoint of step {step} could not be written ({' '.join(str(error).split())[:200]}). "
                f"{self.last_good()} Make room and run again: it goes on from there."
            ) from error
        if self.args.should_save:
            snapshots.prune(self.work, keep={step, self.watch.best_step})

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        self.load_weights(Path(resume_from_checkpoint) / snapshots.WEIGHTS)

    def load_weights(self, path: Path) -> None:
        """As `snapshots.load_weights`."""
        snapshots.load_weights(self.whole, path)
        if self.sharded is not None:
            self.sharded.scatter()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.sharded is None:
            return super()._save_optimizer_and_scheduler(output_dir)
        state = self.sharded.optimizer_state(self.optimizer)
        if self.args.should_save:  # the Trainer's names
            torch.save(state, Path(output_dir) / "optimizer.pt")
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.sharded is None or checkpoint is None:
            return super()._load_optimizer_and_scheduler(checkpoint)
        state = torch.load(Path(checkpoint) / "optimizer.pt", map_location="cpu", weights_only=True)
        self.sharded.load_optimizer_state(self.optimizer, state)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

    def load_best(self) -> None:
        """The weights of the best step into the model; raises CheckpointError if they are lost."""
        if self.watch.kept is not None:
            current = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
            with torch.no_grad():
                for name, tensor in self.watch.kept.items():
                    current[name].copy_(tensor)
            return
        folder = snapshots.at_step(self.work, self.watch.best_step)
        if not snapshots.is_whole(folder):
            raise CheckpointError(
                f"the checkpoint {str(folder)!r} of the best step is missing or not whole, so the best weights are "
                "lost. Train again with resume=False."
            )
        self.load_weights(folder / snapshots.WEIGHTS)

    def __enter__(self) -> Engine:
        self._block = contextlib.ExitStack()
        self._block.enter_context(quiet_transformers())
        self._block.enter_context(self.streams)
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        if self.sharded is not None and kind is None:  # after an error another process may not come to this line
            self.sharded.gather()
            self.whole.to(self.args.device)
        self._block.close()
        self.close()

    def close(self) -> None:
        self._stack.close()
        for name in _MARKS:  # accelerate's: an autocast around forward, among others
            self.model.__dict__.pop(name, None)
        if self._use_cache is not None:
            self.model.config.use_cache = self._use_cache
        self.model.eval()
        self.whole.eval()


def _arguments(settings: Settings, work: Path, seed: int) -> TrainingArguments:
    """The Trainer's settings: it says nothing, saves and evaluates when `Watch` says so, and logs every step."""
    cpu = settings.device_type == "cpu"
    args = TrainingArguments(
        output_dir=str(work),
        use_cpu=cpu,
        # Named for one process, accelerate would look for a group of processes that nobody started.
        ddp_backend="gloo" if cpu and int(os.environ.get("WORLD_SIZE", "1")) > 1 else None,
        seed=seed,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        max_steps=1,  # set when the number of batches is known
        per_device_eval_batch_size=settings.eval_batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type=settings.scheduler,
        average_tokens_across_devices=True,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,  # an average over several steps would depend on where a run was resumed
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        label_names=["labels"],
        remove_unused_columns=False,
        dataloader_pin_memory=not cpu,
    )
    if args.world_size == 1:
        args._n_gpu = min(args.n_gpu, 1)  # several GPUs are used through torchrun, not DataParallel
    return args
