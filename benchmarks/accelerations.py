"""What each acceleration of MPOBERT's pre-training buys: one training step, one change at a time and all together.

The section `accelerations` of bench_mpobert.py. A step is the forward pass with both heads (masked LM and sentence
order), the backward pass and the optimizer. MPOBERT section 3.3.3 names mixed precision and fused activation and
normalisation, and gives their sum only: 12.5 days became 3.8, 3.3 times as fast, on eight V100.
"""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass, replace
from functools import partial
from unittest import mock

import torch
from bench_layers import in_turns, over
from own_process import medians

from mpolab import mpobert
from mpolab.features import IGNORE
from mpolab.lamb import lamb
from mpolab.meter import Meter
from mpolab.mpobert_config import MPOBertConfig
from mpolab.objectives import KINDS, masked_only

PAPER = 12.5 / 3.8
VOCABULARY, BATCH, TOKENS = 8000, 8, 128


@dataclass(frozen=True)
class Way:
    """How a step is made; the defaults are the baseline, which accelerates nothing.

    attention: transformers' name. optimizer: "loop" (AdamW, tensor after tensor), "foreach", "fused", or "lamb" as
    pytorch-optimizer has it. fused_gelu: gelu_new as one kernel instead of ALBERT's eight passes in Python. bf16:
    autocast. masked_head: the LM head on the hidden 15 % of the tokens only. rebuild: see `MPOBertConfig`.
    checkpointing: of activations; it buys memory and costs time, so it is no part of "all together".
    """

    attention: str = "eager"
    optimizer: str = "loop"
    fused_gelu: bool = False
    bf16: bool = False
    masked_head: bool = False
    rebuild: str = "layer"
    checkpointing: bool = False


ALL = Way("sdpa", "fused", True, True, True, "batch")
WAYS: dict[str, Way] = {
    "baseline": Way(),
    "sdpa attention": Way(attention="sdpa"),
    "AdamW, foreach": Way(optimizer="foreach"),
    "AdamW, fused": Way(optimizer="fused"),
    "LAMB, as it is": Way(optimizer="lamb"),
    "fused GELU": Way(fused_gelu=True),
    "bf16 autocast": Way(bf16=True),
    "head on masked tokens": Way(masked_head=True),
    "rebuilt in one batch": Way(rebuild="batch"),
    "activation checkpointing": Way(checkpointing=True),
    "bf16 and fused GELU": Way(fused_gelu=True, bf16=True),  # what the paper names; PyTorch's LayerNorm is one kernel
    "all together": ALL,
    "all but bf16": replace(ALL, bf16=False),
    "all, with LAMB": replace(ALL, optimizer="lamb"),
    "all, with checkpointing": replace(ALL, checkpointing=True),
}


def batch(rows: int = BATCH, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, labels), both (rows, TOKENS), as `segments.Segments` makes them: the order's label in column 0."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY, (rows, TOKENS), generator=draw)
    labels = torch.where(torch.rand(ids.shape, generator=draw) < 0.15, ids, IGNORE)
    labels[:, 0] = torch.arange(rows) % 2
    return ids, labels


class Stepper:
    """A model, its optimizer, and a step of its training. seed: of the model and of the batch."""

    def __init__(self, way: Way, layers: int, rows: int = BATCH, seed: int = 0, device: str = "cpu"):
        config = MPOBertConfig(
            vocab_size=VOCABULARY, hidden_size=384, num_attention_heads=6, intermediate_size=1536,
            num_hidden_layers=layers, hidden_act="gelu_new", max_position_embeddings=TOKENS, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0, mpo_rebuild=way.rebuild,
            attn_implementation=way.attention,
        )  # fmt: skip
        torch.manual_seed(seed)
        passes = contextlib.nullcontext() if way.fused_gelu else mock.patch.dict(mpobert.ONE_KERNEL, clear=True)
        with passes:
            self.model = mpobert.MPOBertForPreTraining(config).train().to(device)
        if way.checkpointing:
            self.model.activation_checkpointing_enable()
        self.way, self.device = way, torch.device(device)
        self.ids, self.labels = (tensor.to(device) for tensor in batch(rows, seed))
        parameters = list(self.model.parameters())
        if way.optimizer == "lamb":
            self.optimizer = lamb(parameters, 1e-4)
        else:
            how = {"foreach": way.optimizer == "foreach", "fused": way.optimizer == "fused"}
            self.optimizer = torch.optim.AdamW(parameters, 1e-4, **how)

    def __call__(self) -> torch.Tensor:
        objective = KINDS["pretraining"]
        self.optimizer.zero_grad(set_to_none=True)
        head = masked_only(self.model, self.labels) if self.way.masked_head else contextlib.nullcontext()
        with head, torch.autocast(self.device.type, torch.bfloat16, enabled=self.way.bf16):
            outputs = self.model(self.ids)
            loss = (objective.loss(outputs, self.labels) / objective.count(self.labels)).sum()
        loss.backward()
        self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return loss.detach()


def _peak(layers: int, name: str, queue) -> None:
    """In a process of its own: the peak of a second step above what stays between steps."""
    step = Stepper(WAYS[name], layers)
    step()
    step.optimizer.zero_grad(set_to_none=True)
    meter = Meter()
    step()
    queue.put(meter.peak_bytes)


def accelerations(rounds: int, quick: bool) -> list[dict]:
    """One row for each way: times as fast as the baseline (median over the rounds), and the peak memory of a step."""
    layers, batch_rows = (2, 2) if quick else (12, BATCH)
    times = in_turns({name: Stepper(way, layers, batch_rows) for name, way in WAYS.items()}, rounds)
    measured = ["baseline", "activation checkpointing"] if quick else list(WAYS)
    memory = medians(partial(_peak, layers), measured, 1 if quick else 3)
    return [
        {
            "way": name,
            "layers": layers,
            "step_ms": 1e3 * statistics.median(times[name]),
            "times_as_fast": over(times, "baseline", name),
            "paper": PAPER if name == "all together" else None,
            "peak_mb": memory[name] / 1e6 if name in memory else None,
            "peak_over_baseline": memory[name] / memory["baseline"] if name in memory else None,
        }
        for name in WAYS
    ]


def table(rows: list[dict]) -> list[tuple[str, ...]]:
    """The rows as text, the paper's sum beside ours."""
    found = [("way", "layers", "ms a step", "times as fast", "in the paper", "peak, MB", "over baseline")]
    show = partial(_shown, digits=2)
    for row in rows:
        found.append((row["way"], str(row["layers"]), f"{row['step_ms']:.0f}", show(row["times_as_fast"]),
                      show(row["paper"]), _shown(row["peak_mb"], 0), show(row["peak_over_baseline"])))  # fmt: skip
    return found


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
