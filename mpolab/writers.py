"""Pre-training of models that write, as methods and recipes: a small GPT-2 and a small T5, from nothing.

A run makes the vocabulary, the tokens and the model, trains on the next token (GPT-2) or on hidden spans (T5), scores
held-out text beside n-grams with Kneser-Ney smoothing, and leaves the trained model in build/models/. Both are what
MPOE (Gao et al. 2022) section 4 turns into mixtures of experts, at the size of a laptop; notebook 04, "The models".
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from . import segments, token_streams
from .corpora import SEPARATOR
from .errors import TrainingError
from .jobs import Job, Method, Recipe
from .kneser_ney import KneserNey
from .metrics import perplexity_of
from .phases import Phase, run_phases
from .pretraining import cache, leave_model, models_folder, of_text, seeded
from .settings import Settings
from .training import Outcome
from .vocabulary import GPT2_SPECIAL, SENTINELS, T5_SPECIAL, train_byte_tokenizer

GPT2_MINI: dict[str, Any] = {
    "n_embd": 192,
    "n_layer": 4,
    "n_head": 3,
    "n_positions": 128,
    "activation_function": "gelu_pytorch_tanh",
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
"""gpt2-mini's shape: feed-forward blocks of 192 -> 768 -> 192; its GELU is GPT-2's, as one kernel."""

T5_MINI: dict[str, Any] = {
    "d_model": 192,
    "d_kv": 64,
    "num_heads": 3,
    "d_ff": 768,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "dropout_rate": 0.0,
}
"""t5-mini's shape: the T5 of 2020 (ReLU, one table for source, target and output)."""

ORDER = 5
"""Of the n-grams."""

ATTENTION = "eager"
"""In the training of GPT-2: at 128 tokens the fused kernel takes a quarter more of a step on a CPU. Not stored."""

OPTIONS: dict[str, Any] = {"shape": {}, "vocabulary": 5000, "separator": SEPARATOR}
"""shape: entries of the config, in place of GPT2_MINI's or T5_MINI's. vocabulary: entries at most. separator: see
`load_text`.
"""

T5_OPTIONS: dict[str, Any] = {**OPTIONS, "phases": None}
"""phases: [[share of the steps, learning rate, share of the tokens that is hidden, mean length of a span], ...]: many
hidden tokens first, so that more is learnt from a window (UL2, Tay et al. 2022, mixes such rows with T5's); None = as
in T5 from the first to the last step. Held-out text is always hidden as in T5.
"""


# -- the methods -----------------------------------------------------------------------------------------


def gpt2_from_nothing(job: Job) -> None:
    """A vocabulary of the training text, and a GPT-2 with random numbers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    asked, splits = {**OPTIONS, **job.recipe.options}, segments.held_out(job.data.splits)
    length = job.settings.max_length
    tokenizer = train_byte_tokenizer(splits["train"], asked["vocabulary"], length, GPT2_SPECIAL, progress=job.progress)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        **{**GPT2_MINI, **asked["shape"]}, vocab_size=len(tokenizer), bos_token_id=end, eos_token_id=end,
        attn_implementation=ATTENTION,
    )  # fmt: skip
    job.tokenizer, job.model = tokenizer, seeded(partial(GPT2LMHeadModel, config), job.seed)
    tokenize(job, splits)


def t5_from_nothing(job: Job) -> None:
    """A vocabulary of the training text with T5's sentinels, and a T5 with random numbers."""
    from transformers import T5Config, T5ForConditionalGeneration

    asked, splits = {**OPTIONS, **job.recipe.options}, segments.held_out(job.data.splits)
    tokenizer = train_byte_tokenizer(
        splits["train"], asked["vocabulary"], job.settings.max_length, T5_SPECIAL, SENTINELS, True, job.progress
    )
    start = tokenizer.pad_token_id
    config = T5Config(
        **{**T5_MINI, **asked["shape"]}, vocab_size=len(tokenizer), pad_token_id=start, decoder_start_token_id=start,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    job.tokenizer, job.model = tokenizer, seeded(partial(T5ForConditionalGeneration, config), job.seed)
    tokenize(job, splits)


def check_phases(job: Job) -> None:
    """Raises TrainingError for phases that cannot be meant."""
    phases = job.recipe.options.get("phases")
    if phases is None:
        return
    if not phases or not all(len(phase) == 4 for phase in phases):
        raise TrainingError(f"phases={phases!r}: expected [[share of the steps, lr, hidden share, mean span], ...].")
    shares = [phase[0] for phase in phases]
    if any(share <= 0 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise TrainingError(f"phases={phases!r}: the first entries are shares of the steps and add up to 1.")
    if not all(lr > 0 and 0 < hidden < 1 <= span for _, lr, hidden, span in phases):
        raise TrainingError(f"phases={phases!r}: a rate above 0, a share between 0 and 1, a span of at least 1.")
    if job.settings.max_steps is None:
        raise TrainingError("phases are shares of max_steps, and the recipe gives epochs.")


def sentinels_of(tokenizer: Any) -> list[int]:
    """The numbers of T5's sentinels, the first first. Raises TrainingError for a tokenizer without them."""
    words = tokenizer.get_vocab()
    found = [words[token] for token in SENTINELS if token in words]
    if not found:
        raise TrainingError(f"the tokenizer {type(tokenizer).__name__} has no {SENTINELS[0]}: it is not a T5's.")
    return found


def tokenize(job: Job, splits: Mapping[str, Any]) -> None:
    """The job's text -> its tokens, in windows."""
    about, most = of_text(job)
    sentinels = sentinels_of(job.tokenizer) if job.model.config.is_encoder_decoder else None
    job.data = token_streams.prepare(
        job.data.name, splits, job.tokenizer, job.settings.max_length, cache(), sentinels, job.progress, about, most
    )


def train(job: Job) -> Outcome:
    """The training; the record gets the n-grams' perplexity on the same tokens, and where the model is."""
    asked = _phases(job)
    phases = [
        Phase(share, lr, dataclasses.replace(job.data, spans=(hidden, span))) for share, lr, hidden, span in asked
    ]
    outcome, steps = run_phases(job, phases)
    if len(phases) > 1:
        job.extra["phases"] = [
            {"steps": count, "lr": lr, "hidden": hidden, "span": span}
            for count, (_, lr, hidden, span) in zip(steps, asked)
        ]
    if int(os.environ.get("RANK", "0")) == 0:
        job.extra["floors"] = floors(job)
        job.extra["weights"] = leave_model(job, models_folder() / f"{job.recipe.name}-{job.scale}-seed{job.seed}")
    return outcome


def _phases(job: Job) -> list[list[float]]:
    return job.recipe.options.get("phases") or [[1.0, job.settings.lr, *token_streams.T5_SPANS]]


def floors(job: Job) -> dict[str, dict[str, float]]:
    """{"unigram", "5-gram"} -> perplexity of the tokens that the model was scored on.

    The n-grams see the tokens before each, hidden or not, those of earlier windows too; T5 sees both sides of a span.
    """
    size, splits = len(job.tokenizer), job.data.splits
    seed = job.seed + len(_phases(job)) - 1  # that of the last phase, which scored the same hidden tokens
    chosen = job.data.rows("test", job.tokenizer, seed).predicted()
    counts = {"unigram": 1, f"{ORDER}-gram": ORDER}
    found = {
        name: KneserNey(splits["train"], size, order).nll(splits["test"], chosen) for name, order in counts.items()
    }
    return {name: {"perplexity": perplexity_of(*pair), "tokens": pair[1]} for name, pair in found.items()}


METHODS: dict[str, Method] = {
    "pretrain_gpt2": Method(
        "a GPT-2 pre-trained from nothing on the next token", gpt2_from_nothing, train, tuple(OPTIONS),
        needs_model=False,
    ),
    "pretrain_t5": Method(
        "a T5 pre-trained from nothing on hidden spans", t5_from_nothing, train, tuple(T5_OPTIONS), check_phases,
        needs_model=False,
    ),
}  # fmt: skip

# -- the recipes -----------------------------------------------------------------------------------------

_NOVELS = {"separator": "=== .* ==="}
_ADAMW = Settings(
    batch_size=16, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1, max_length=128, warmup=200, precision="bf16",
    schedule="cosine", eval_every=500,
)  # fmt: skip
_SMOKE = {"max_steps": 20, "train": 2000, "select": 32, "dev": 32, "warmup": 5, "eval_every": None}
_GPU = {"max_steps": 40_000, "batch_size": 128, "dev": 2000, "eval_every": 2000}

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="gpt2-mini",
        about="The checkpoint gpt2-mini: a GPT-2 of four layers, from nothing.",
        text="english_novels",
        model="",
        method="pretrain_gpt2",
        options=_NOVELS,
        settings=_ADAMW,
        scales={
            "smoke": {**_SMOKE, "options": {"shape": {"n_embd": 64, "n_layer": 2, "n_head": 2}, **_NOVELS}},
            "laptop": {"max_steps": 6000, "dev": 2000},
            "gpu": _GPU,
        },
        seeds=(0,),
    ),
    Recipe(
        name="t5-mini",
        about="The checkpoint t5-mini: a T5 of three and two layers, from nothing.",
        text="english_novels",
        model="",
        method="pretrain_t5",
        options=_NOVELS,
        settings=dataclasses.replace(_ADAMW, optimizer="adafactor", lr=2e-2, betas=(0.0, 0.999), weight_decay=0.0),
        scales={
            "smoke": {
                **_SMOKE,
                "options": {
                    "shape": {"d_model": 64, "d_kv": 32, "num_heads": 2, "d_ff": 128, "num_layers": 2},
                    **_NOVELS,
                },
            },
            "laptop": {
                "max_steps": 10_000,
                "dev": 2000,
                "eval_every": 1000,
                "options": {"phases": [[0.7, 2e-2, 0.5, 6.0], [0.3, 1e-2, 0.15, 3.0]], **_NOVELS},
            },
            "gpu": _GPU,
        },
        seeds=(0,),
    ),
)
