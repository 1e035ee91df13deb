"""Training: fine-tune a model on a task, train a language model on text, score a model, or train in short segments.

>>> outcome = fine_tune(model, tokenizer, data, Settings(epochs=3, lr=3e-5), seed=0, out="work")  # doctest: +SKIP
>>> outcome.scores["dev"]  # doctest: +SKIP

The engine is transformers' Trainer (`engine.py` says what is changed). The data's "select" split (for text: "valid")
chooses the checkpoint and stops early; "dev" is only scored, once, with the weights of the best step; "test" is never
looked at. The model may be any Hugging Face model with a head, MPO layers in it or not: see `surgery.to_mpo`.

Several processes: `torchrun --nproc-per-node 2 script.py`, where the script calls `fine_tune` as always; the batch of
`Settings` is that of all processes together, and `Settings(parallel="fsdp")` divides the model among them, too.
(`accelerate launch --cpu` starts one process and does not say so.)

Notebook 02, "Lightweight fine-tuning", is the lesson to this file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from . import prepare, snapshots
from .data import TaskData, TextData
from .errors import TrainingError
from .meter import Streams
from .pretrained import quiet_transformers
from .settings import Settings

if TYPE_CHECKING:
    from .engine import Engine
    from .mixture import TaskMixture
    from .prepare import Data
    from .segments import TokenData
    from .token_streams import StreamData

__all__ = ["Outcome", "Settings", "evaluate", "fine_tune", "make_trainer", "pretrain", "train_lm"]


@dataclass(frozen=True, repr=False)
class Outcome:
    """What a training came to. The model itself was trained in place and holds the weights of the best step.

    scores: {split: {metric: value, "loss": value}}. curve: [{"step", "loss", "lr"}], one entry a step (lr is that of
    the first group of parameters). evaluations: [{"step", metric: value, ...}] on the split that chooses.
    steps: done in all. best_step: whose weights the model has; None where no split chooses, and it has the last ones.
    seconds, peak_bytes: of the training, those before a kill included; memory: "cuda" or "rss" (`meter.Meter`).
    trainable, total: parameters, a shared one once. state: whether it stopped early, from which step it was resumed,
    on which device and in how many processes.
    """

    scores: dict[str, dict[str, float]]
    curve: list[dict[str, float]]
    evaluations: list[dict[str, float]]
    steps: int
    best_step: int | None
    seconds: float
    peak_bytes: int
    memory: str
    trainable: int
    total: int
    state: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = "; ".join(
            f"{split} " + ", ".join(f"{name} {value:.4g}" for name, value in found.items())
            for split, found in self.scores.items()
        )
        best = "" if self.best_step is None else f", best at {self.best_step}"
        return f"Outcome({self.steps} steps{best}: {shown}; {self.seconds:.1f} s)"


# ------------------------------------------------------------------------------------------------------ the calls


def fine_tune(
    model: nn.Module,
    tokenizer: Any,
    data: TaskData | TaskMixture,
    settings: Settings | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    resume: bool = True,
    progress: bool = True,
    callbacks: Sequence[Any] = (),
) -> Outcome:
    """Trains `model` in place on data's "train" split and scores it on "select" and "dev" (and "dev_mismatched").

    model: a Hugging Face model whose head fits the task (`load_pretrained(name, head=..., num_labels=...)`): classes
    for kinds "single" and "pair", one output for "regression", begin and end for "span"; for several tasks
    (`TaskMixture`) one head each, see `multitask`. Parameters that do not
    require a gradient stay as they are. It ends in eval mode, on the device of the training.
    seed: of the order of rows, of dropout and masks. The caller's random streams are not touched.
    out: a folder for checkpoints (the last and the best one) and TensorBoard logs; None = nothing is written.
    resume: go on from the last whole checkpoint in `out`, to the same end as an unbroken run (bit for bit on a CPU);
    False = delete what is there. progress: a bar on stderr. callbacks: further TrainerCallbacks of transformers.

    Raises TrainingError for a head or settings that do not fit, a loss that is no number, a checkpoint that cannot be
    written, a folder of another run; DataError for a split that is missing or has no labels; CheckpointError for
    checkpoints that are damaged beyond the last whole one.
    """
    return _run(model, tokenizer, data, settings, seed, out, resume, progress, callbacks, None)


def train_lm(
    model: nn.Module,
    tokenizer: Any,
    data: TextData,
    settings: Settings | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    resume: bool = True,
    progress: bool = True,
    callbacks: Sequence[Any] = (),
    objective: str | None = None,
) -> Outcome:
    """As `fine_tune`, for language modelling on running text: "valid" chooses, "valid" and "test" are scored.

    objective: "masked" (15 % of the tokens; of these 80 % hidden, 10 % another, 10 % shown) or "causal"; None = what
    the model's class is for. Scores are the mean negative log-likelihood per predicted token ("loss", in nats) and
    its exponential ("perplexity"); for "masked" of the masked tokens, always the same ones.
    """
    return _run(model, tokenizer, data, settings, seed, out, resume, progress, callbacks, objective)


def pretrain(
    model: nn.Module,
    tokenizer: Any,
    data: TokenData | StreamData,
    settings: Settings | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    resume: bool = True,
    progress: bool = True,
    callbacks: Sequence[Any] = (),
) -> Outcome:
    """As `fine_tune`, on tokens that lie on disk: "valid" chooses, "valid" and "test" are scored.

    Of `segments.TokenData`, masked tokens and sentence order together; model: MPOBertForPreTraining, transformers'
    AlbertForPreTraining, or one with the same outputs and a head that is called `predictions`. Scores: "loss", the mean
    over masked tokens plus the mean over rows, both in nats; "mlm_loss", "perplexity", "mlm_accuracy", "sop_loss",
    "sop_accuracy". Raises TrainingError as well for a tokenizer with more entries than the model's vocabulary. MPOBERT
    section 3.3.3.

    Of `token_streams.StreamData`, the next token (a causal model: GPT-2) or hidden spans (T5). Scores: "loss", in nats,
    the mean over all predicted tokens; "perplexity", for T5 of the hidden tokens alone, without sentinels and ends.
    """
    return _run(model, tokenizer, data, settings, seed, out, resume, progress, callbacks, None)


def evaluate(
    model: nn.Module,
    tokenizer: Any,
    data: Data,
    splits: Sequence[str] | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    objective: str | None = None,
) -> dict[str, dict[str, float]]:
    """{split: {metric: value, "loss": value}} without training; splits: None = "dev" and "dev_mismatched", or "test"
    of a text. seed: of the masks, for masked language modelling.
    """
    splits = tuple(splits or prepare.reported_splits(data))
    with _build(model, tokenizer, data, settings, seed, None, (), False, objective, splits) as engine:
        return {split: engine.scores(split) for split in splits}


def make_trainer(
    model: nn.Module,
    tokenizer: Any,
    data: Data,
    settings: Settings | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    callbacks: Sequence[Any] = (),
    progress: bool = False,
    objective: str | None = None,
) -> Engine:
    """The engine behind the other calls, a transformers Trainer, for what they do not offer. Inside a `with` block the
    global random streams are the run's own; at its end the model is as plain as before.

    >>> with make_trainer(model, tokenizer, data) as trainer:  # doctest: +SKIP
    ...     trainer.train()
    ...     trainer.scores("dev")

    To train in segments with changes to the model in between, use `mpolab.session.Session`.
    """
    return _build(model, tokenizer, data, settings, seed, out, callbacks, progress, objective)


# --------------------------------------------------------------------------------------------------------- inside


def _run(model, tokenizer, data, settings, seed, out, resume, progress, callbacks, objective) -> Outcome:
    with _build(model, tokenizer, data, settings, seed, out, callbacks, progress, objective) as engine:
        checkpoint = _resume_point(engine, data, seed, resume) if engine.saving else None
        engine.start_meter()
        if engine.watch.done:  # killed after its last checkpoint, or asked for again
            from transformers import TrainerState

            engine.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            engine.load_weights(checkpoint / snapshots.WEIGHTS)
        else:
            engine.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        engine.spend()
        if engine.watch.best_step is not None:
            engine.load_best()
        scores = {split: engine.scores(split) for split in engine.rows if split != "train"}
        return _outcome(engine, scores, checkpoint)


def _resume_point(engine: Engine, data: Data, seed: int, resume: bool) -> Path | None:
    """The checkpoint to go on from, with the watch as it was then; and a note in the folder whose it is."""
    shapes = [[name, list(p.shape), p.requires_grad] for name, p in engine.whole.named_parameters()]
    about = {
        "settings": {
            name: value  # a folder of before there was `parallel` is still its run's
            for name, value in dataclasses.asdict(engine.settings).items()
            if (name, value) != ("parallel", "ddp")
        },
        "seed": seed,
        "data": data.describe(),
        "model": type(engine.whole).__name__,
        "tensors": hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16],
        "device": engine.args.device.type,
        "processes": engine.args.world_size,  # each has its own stream of dropout
    }
    if engine.args.process_index == 0:
        snapshots.claim(engine.work, about, fresh=not resume)
    engine.accelerator.wait_for_everyone()
    checkpoint = snapshots.last_whole(engine.work)
    if checkpoint is not None:
        engine.watch.restore(json.loads((checkpoint / "watch.json").read_text()))
    return checkpoint


def _outcome(engine: Engine, scores: dict[str, dict[str, float]], checkpoint: Path | None) -> Outcome:
    history, watch = engine.state.log_history, engine.watch
    curve = [{"step": e["step"], "loss": e["loss"], "lr": e["learning_rate"]} for e in history if "loss" in e]
    chosen = [
        {"step": e["step"]} | {key.removeprefix("eval_"): e[key] for key in e if key.startswith("eval_")}
        for e in history
        if f"eval_{watch.metric}" in e
    ]
    from .watch import TIMES

    return Outcome(
        scores=scores,
        curve=curve,
        evaluations=[{key: value for key, value in entry.items() if key not in TIMES} for entry in chosen],
        steps=engine.state.global_step,
        best_step=watch.best_step,
        seconds=watch.seconds,
        peak_bytes=watch.peak_bytes,
        memory=engine.meter.kind,
        trainable=sum(p.numel() for p in engine.whole.parameters() if p.requires_grad),
        total=sum(p.numel() for p in engine.whole.parameters()),
        state={
            "stopped_early": watch.stopped_early,
            "resumed_from": None if checkpoint is None else snapshots.step_of(checkpoint),
            "device": engine.args.device.type,
            "processes": engine.args.world_size,
        },
    )


def _build(model, tokenizer, data, settings, seed, out, callbacks, progress, objective, splits=None) -> Engine:
    """The engine for this model and this data. splits: tokenize these, for scoring only."""
    prepare.need("accelerate")
    if out is not None:
        prepare.need("tensorboard")
    settings = settings or Settings()
    device = settings.device_type  # complains before the slow part
    prepare.check_model(model, tokenizer, settings)
    kind, metric, lower = prepare.kind_of(model, data, objective)
    tokenizer = prepare.copied(tokenizer, model.config)
    choosing = "select" if prepare.of_tasks(data) else "valid"
    wanted = splits or ("train", *prepare.scored_splits(data))
    if splits is None and choosing not in wanted and settings.patience is not None:
        raise TrainingError(
            f"patience={settings.patience} needs a split {choosing!r} to watch, and the data has only "
            f"{', '.join(data.splits)}. Set some training rows aside: data.sample(select=...)."
        )
    with quiet_transformers(), Streams(seed):
        from .engine import Engine

        chooses = choosing in wanted
        return Engine(
            model=model,
            rows={split: prepare.tokenized(model, tokenizer, data, split, kind, settings, seed) for split in wanted},
            kind=kind,
            settings=settings,
            collate=prepare.collator_for(tokenizer, model, kind, 8 if device == "cuda" else None),
            out=None if out is None else Path(out),
            seed=seed,
            select=choosing if chooses else None,
            metric=metric if chooses else None,
            lower=lower,
            callbacks=(*callbacks, *getattr(model, "training_callbacks", tuple)()),
            label=data.name if progress else None,
        )
