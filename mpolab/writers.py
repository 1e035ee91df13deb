"""Pre-training of models that write, as methods and recipes: a small GPT-2 and a small T5, from nothing.

A run makes the vocabulary, the tokens and the model, trains on the next token (GPT-2) or on hidden spans (T5), scores
held-out text beside n-grams with Kneser-Ney smoothing, and leaves the trained model in build/models/. Both are what
MPOE (Gao et al. 2022) section 4 turns into mixtures of experts, at the size of a laptop; notebook 04, "The models".
"""

from __future__ import annotations

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
from .pretraining import cache, leave_model, models_folder, of_text, seeded
from .settings import Settings
from .training import Outcome, pretrain
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
    outcome = pretrain(job.model, job.tokenizer, job.data, job.settings, job.seed, job.out, progress=job.progress)
    if int(os.environ.get("RANK", "0")) == 0:
        job.extra["floors"] = floors(job)
        job.extra["weights"] = leave_model(job, models_folder() / f"{job.recipe.name}-{job.scale}-seed{job.seed}")
    return outcome


def floors(job: Job) -> dict[str, dict[str, float]]:
    """{"unigram", "5-gram"} -> perplexity of the tokens that the model was scored on.

    The n-grams see the tokens before each, hidden or not, those of earlier windows too; T5 sees both sides of a span.
    """
    size, splits = len(job.tokenizer), job.data.splits
    chosen = job.data.rows("test", job.tokenizer, job.seed).predicted()
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
        "a T5 pre-trained from nothing on hidden spans", t5_from_nothing, train, tuple(OPTIONS), needs_model=False
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
        settings=_ADAMW,
        scales={
            "smoke": {
                **_SMOKE,
                "options": {
                    "shape": {"d_model": 64, "d_kv": 32, "num_heads": 2, "d_ff": 128, "num_layers": 2},
                    **_NOVELS,
                },
            },
            "laptop": {"max_steps": 5000, "dev": 2000},
            "gpu": _GPU,
        },
        seeds=(0,),
    ),
)
