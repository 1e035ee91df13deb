"""How to train: one frozen value, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import torch

from .errors import TrainingError, unknown

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
"""How the learning rate goes on after the warm-up: down to zero in a line or a half wave, or not at all."""

PRECISIONS = ("fp32", "bf16", "fp16")
DEVICES = ("cpu", "cuda")
OPTIMIZERS = ("adamw", "lamb", "adafactor")
PARALLELS = ("ddp", "fsdp")

# Of each number: whether it is a whole one, and the least it may be; None = anything above 0.
_NUMBERS: dict[str, tuple[type, int | None]] = {
    **dict.fromkeys(("epochs", "lr", "epsilon"), (Real, None)),
    **dict.fromkeys(("tensor_lr", "weight_decay", "warmup", "max_grad_norm"), (Real, 0)),
    **dict.fromkeys(("batch_size", "eval_batch_size", "accumulation", "max_length", "max_answer"), (Integral, 1)),
    **dict.fromkeys(("max_steps", "patience", "eval_every", "save_every"), (Integral, 1)),
    "stride": (Integral, 0),
}
_MAY_BE_NONE = ("max_steps", "tensor_lr", "patience", "eval_every", "save_every")


def _fits(value: object, kind: type, least: int | None) -> bool:
    if not isinstance(value, kind) or isinstance(value, bool) or not value < math.inf:
        return False
    return value > 0 if least is None else value >= least


@dataclass(frozen=True)
class Settings:
    """How to train. Raises TrainingError for values that cannot be meant.

    epochs, max_steps: how long; max_steps, if given, decides. A step is one update of the weights.
    batch_size: rows per step, over all processes and accumulated micro-batches together; changing `accumulation` or
    the number of processes changes memory and speed, not the result. eval_batch_size: rows at once when scoring.
    optimizer: "adamw", "lamb" (with MPOBERT's bounds of the trust ratio, `mpolab.lamb`; epsilon 1e-6 or more), or
    "adafactor" (transformers', for T5: lr is a share of each tensor's root mean square; of `betas` the first counts,
    0 = no momentum, as in T5).
    lr, tensor_lr: learning rates; tensor_lr is that of MPO tensors, None = lr (MPOP used 2e-6 .. 5e-5 beside
    1e-5 .. 5e-5). weight_decay: not of biases and norms.
    warmup: a share of all steps if below 1, else a number of steps. schedule: one of SCHEDULES.
    max_length: tokens; longer rows are cut. stride, max_answer: overlap of windows and longest answer (span questions).
    precision: "fp32", or autocast to "bf16" or "fp16" (CUDA only) with weights in float32.
    patience: stop after so many evaluations without a better score on the select split; None = never.
    eval_every, save_every: steps between evaluations and between checkpoints; None = an epoch; as evaluations.
    device: "cpu", "cuda", None = CUDA where there is one.
    parallel: what several processes (torchrun) have of the model in training: "ddp", each a whole one; "fsdp", each a
    part (`mpolab.sharded`: weights, gradients and optimizer states that do not fit on one device). The same result.
    """

    epochs: float = 3.0
    max_steps: int | None = None
    batch_size: int = 32
    eval_batch_size: int = 64
    accumulation: int = 1
    lr: float = 3e-5
    tensor_lr: float | None = None
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    warmup: float = 0.06
    schedule: str = "linear"
    max_grad_norm: float = 1.0
    max_length: int = 128
    stride: int = 64
    max_answer: int = 30
    precision: str = "fp32"
    patience: int | None = None
    eval_every: int | None = None
    save_every: int | None = None
    device: str | None = None
    optimizer: str = "adamw"
    parallel: str = "ddp"

    def __post_init__(self) -> None:
        words = {"schedule": SCHEDULES, "precision": PRECISIONS, "device": DEVICES, "optimizer": OPTIMIZERS,
                 "parallel": PARALLELS}  # fmt: skip
        for name, known in words.items():
            value = getattr(self, name)
            if not (isinstance(value, str) and value in known) and (value is not None or name != "device"):
                raise unknown(name, value, known)
        for name, (kind, least) in _NUMBERS.items():
            value = getattr(self, name)
            if (value is None and name in _MAY_BE_NONE) or _fits(value, kind, least):
                continue
            what = "a whole number" if kind is Integral else "a number"
            what = "a positive number" if least is None else f"{what} of at least {least}"
            raise TrainingError(f"{name}={value!r}: {what} was expected.")
        pair = tuple(self.betas) if isinstance(self.betas, tuple | list) else ()
        if len(pair) != 2 or not all(_fits(beta, Real, 0) and beta < 1 for beta in pair):
            raise TrainingError(f"betas={self.betas!r}: two numbers from 0 to below 1 were expected.")
        object.__setattr__(self, "betas", pair)
        if self.parallel == "fsdp" and self.optimizer == "adafactor":
            raise TrainingError(
                "parallel='fsdp' with optimizer='adafactor': the root mean square would be that of a part of a tensor. "
                "Use 'adamw' or 'lamb', or parallel='ddp'."
            )
        if self.parallel == "fsdp" and self.precision == "fp16":
            raise TrainingError(
                "parallel='fsdp' with precision='fp16': the loss scaler would see the parts of the gradients only. Use "
                "'bf16' or 'fp32', or parallel='ddp'."
            )

    @property
    def device_type(self) -> str:
        """ "cuda" or "cpu"; raises TrainingError for what this machine or the precision does not allow."""
        chosen = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if chosen == "cuda" and not torch.cuda.is_available():
            raise TrainingError("device='cuda', but torch finds no CUDA device here; leave device=None or say 'cpu'.")
        if chosen == "cpu" and self.precision == "fp16":
            raise TrainingError(
                "precision='fp16' needs CUDA, and this run is on the CPU: its gradients would underflow without a "
                "GPU's loss scaling. Use 'bf16' (the same range as fp32) or 'fp32'."
            )
        return chosen

    @property
    def scheduler(self) -> str:
        """transformers' name of the schedule."""
        return SCHEDULES[self.schedule]

    def steps(self, per_epoch: int) -> int:
        return self.max_steps or max(1, math.ceil(self.epochs * per_epoch))

    def warmup_steps(self, steps: int) -> int:
        return round(self.warmup * steps) if self.warmup < 1 else int(self.warmup)

    def micro_batch(self, processes: int) -> int:
        """Rows that one process takes at once."""
        parts = processes * self.accumulation
        if self.batch_size % parts:
            raise TrainingError(
                f"batch_size={self.batch_size} cannot be split among {processes} process(es) with "
                f"accumulation={self.accumulation}: it must be a multiple of {parts}, for example "
                f"{max(1, round(self.batch_size / parts)) * parts}."
            )
        return self.batch_size // parts
