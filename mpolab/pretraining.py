"""Pre-training as methods and recipes: an ALBERT from nothing, an MPOBERT from it, and what both are compared with.

A run makes the vocabulary (or takes its source's, or a given one), the tokens and the model, trains on masked tokens
and sentence order, scores the held-out text beside counts of neighbours, and leaves the trained model in build/models/.
MPOBERT (Liu et al. 2023) sections 3.3 and 4.1, Figure 3; notebook 03, "Pre-training".

Items: mpobert-fig3, mpobert-tab6.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from . import runs, segments
from .corpora import SEPARATOR
from .errors import ModelNotFoundError, TrainingError, unknown
from .features import MASKED_SHARE
from .jobs import Job, Method, Recipe
from .mpobert_config import PRESETS
from .mpobert_init import INITS
from .ngrams import Counts, contexts, floors
from .phases import Phase, run_phases
from .pretrained import CHECKPOINTS, load_pretrained, load_tokenizer, quiet_transformers
from .settings import Settings
from .training import Outcome
from .vocabulary import train_tokenizer
from .whole import whole_folder

MINI: dict[str, Any] = {
    "embedding_size": 128,
    "hidden_size": 192,
    "num_attention_heads": 3,
    "intermediate_size": 768,
    "num_hidden_layers": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 128,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
"""albert-mini's shape: twelve applications of one layer. Its GELU is ALBERT's, as one kernel."""

OPTIONS: dict[str, Any] = {
    "shape": {},
    "vocabulary": 8000,
    "tokenizer": None,
    "whole_words": False,
    "phases": None,
    "positions": "sinusoids",
    "init": "algorithm1",
    "layers": 24,
    "changes": {},
    "separator": SEPARATOR,
}
"""shape: entries of the config, in place of MINI's. vocabulary: entries at most. tokenizer: whose is used as it is, see
`given_tokenizer`; None = one is trained on the text. whole_words: see `segments.Segments`.
phases: [[layers, share of the steps, learning rate], ...], with a fourth entry [.., masked share] where more than 15
% are hidden: an ALBERT is first applied fewer times and then more often, as its layers are all the same one; the rate
is constant but in the last phase, which follows the schedule; None = one phase. positions: "sinusoids" (Vaswani et
al. 2017, section 3.5) or "random", what position embeddings start as. init, layers, changes: see
`MPOBertModel.from_albert`; init "scratch" = random numbers. separator: see `load_text`."""

_OF_TEXT = ("whole_words", "separator")
_OF_ALBERT = ("shape", "vocabulary", "tokenizer", "phases", "positions", *_OF_TEXT)
_OF_MPOBERT = ("init", "layers", "changes", *_OF_TEXT)


def cache() -> Path:
    """Where tokens are kept: build/tokens/."""
    return runs.work_folder().parent / "tokens"


def models_folder() -> Path:
    """Where trained models are left: build/models/."""
    return runs.work_folder().parent / "models"


# -- the methods -----------------------------------------------------------------------------------------


def check(job: Job) -> None:
    """Raises TrainingError or UnknownNameError for options that cannot be meant."""
    asked = {**OPTIONS, **job.recipe.options}
    if asked["init"] not in (*INITS, "scratch"):
        raise unknown("initialisation", asked["init"], (*INITS, "scratch"))
    if asked["positions"] not in ("sinusoids", "random"):
        raise unknown("positions", asked["positions"], ("sinusoids", "random"))
    if asked["tokenizer"] is not None and "vocabulary" in job.recipe.options:
        raise TrainingError(
            f"tokenizer={asked['tokenizer']!r} has a vocabulary of its own, and the recipe asks for one of at most "
            f"{asked['vocabulary']!r} entries: give one of the two."
        )
    phases = asked["phases"]
    if phases is not None:
        if not all(len(phase) in (3, 4) for phase in phases):
            raise TrainingError(f"phases={phases!r}: expected [[layers, share of the steps, learning rate], ...].")
        shares = [phase[1] for phase in phases]
        if not phases or any(share <= 0 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-9):
            raise TrainingError(f"phases={phases!r}: expected [[layers, share, lr], ...] with shares that add up to 1.")
        if any(phase[0] < 1 for phase in phases):
            raise TrainingError(f"phases={phases!r}: a model has at least one layer.")
        if not all(0 < masked < 1 for phase in phases for masked in phase[3:]):
            raise TrainingError(f"phases={phases!r}: the share of masked tokens, the fourth entry, is between 0 and 1.")
    if job.settings.max_steps is None and phases is not None:
        raise TrainingError("phases are shares of max_steps, and the recipe gives epochs.")


def from_nothing(job: Job) -> None:
    """A vocabulary of the training text, or the given tokenizer's, and an ALBERT with random numbers."""
    from transformers import AlbertConfig, AlbertForPreTraining

    asked = {**OPTIONS, **job.recipe.options}
    splits = segments.held_out(job.data.splits)
    if asked["tokenizer"] is None:
        job.tokenizer = train_tokenizer(splits["train"], asked["vocabulary"], job.settings.max_length, job.progress)
    else:
        job.tokenizer = given_tokenizer(asked["tokenizer"])
    config = AlbertConfig(**{**MINI, **asked["shape"]}, vocab_size=len(job.tokenizer), **_special(job.tokenizer))
    job.model = seeded(partial(AlbertForPreTraining, config), job.seed)
    if asked["positions"] == "sinusoids":
        table = job.model.albert.embeddings.position_embeddings.weight
        with torch.no_grad():  # as large as random ones: a sinusoid's mean square is 1/2
            table.copy_(sinusoids(*table.shape) * config.initializer_range * math.sqrt(2))
    _tokenize(job, splits, asked["whole_words"])


def given_tokenizer(name: str | os.PathLike) -> Any:
    """The tokenizer that lies in a folder, with or without a model, or that of a model by its bundled or hub name.

    Raises ModelNotFoundError where there is none, CheckpointError for one that is damaged, TrainingError for one that
    lacks a token of which rows of masked tokens are made.
    """
    text = os.fspath(name)
    folder = next((place for place in (Path(text).expanduser(), CHECKPOINTS / text.lower()) if place.is_dir()), None)
    tokenizer = load_tokenizer(folder) if folder else load_pretrained(name).tokenizer
    if tokenizer is None:
        raise ModelNotFoundError(
            f"tokenizer={text!r}: no tokenizer is there. Give a folder as `tokenizer.save_pretrained(folder)` writes "
            "it, a model that has one ('albert-mini'), or None to train one on the text."
        )
    lacking = [kind for kind in ("pad", "cls", "sep", "mask") if getattr(tokenizer, f"{kind}_token_id") is None]
    if lacking:
        raise TrainingError(
            f"tokenizer={text!r} has no {' and no '.join(f'{kind}_token' for kind in lacking)}, and pre-training "
            "on masked tokens needs it: give the tokenizer of an encoder ('albert-mini'), or None to train one."
        )
    return tokenizer


def sinusoids(count: int, size: int) -> torch.Tensor:
    """(count, size): sin(p / 10000^(2k / size)) and, beside it, the cosine; p = 0, 1, ... Neighbours differ by a
    rotation that is the same everywhere, so that attention to them is a short way off.
    """
    rates = torch.exp(-math.log(10_000) * torch.arange(0, size, 2) / size)  # (size / 2,)
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).reshape(count, -1)[:, :size]


def from_source(job: Job, kind: str) -> None:
    """The recipe's model, an ALBERT with its vocabulary, as it is ("albert") or as an MPOBERT ("mpobert")."""
    asked = {**OPTIONS, **job.recipe.options}
    found = load_pretrained(job.recipe.model, head="pretraining", seed=job.seed)
    if found.tokenizer is None:
        raise TrainingError(f"the model {job.recipe.model!r} ({found.origin}) has no tokenizer: it reads no text.")
    job.tokenizer, job.model, job.pretrained = found.tokenizer, found.model, found
    if kind == "mpobert":
        from .mpobert import MPOBertForPreTraining
        from .mpobert_init import config_from

        if asked["init"] == "scratch":
            config = config_from(found.model, asked["layers"], **asked["changes"])
            job.model = seeded(partial(MPOBertForPreTraining, config), job.seed)
        else:
            job.model = MPOBertForPreTraining.from_albert(
                found, asked["layers"], asked["init"], job.seed, **asked["changes"]
            )
    _tokenize(job, segments.held_out(job.data.splits), asked["whole_words"])


def _special(tokenizer: Any) -> dict[str, int]:
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A model made with these random numbers; the caller's stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _tokenize(job: Job, splits: Mapping[str, Sequence[str]], whole_words: bool) -> None:
    """The job's text -> its tokens. The record's rows are those that are used."""
    about, most = of_text(job)
    length, bar, name = job.settings.max_length, job.progress, job.data.name
    job.data = segments.prepare(name, splits, job.tokenizer, length, cache(), whole_words, bar, about, most)


def of_text(job: Job) -> tuple[dict[str, Any], dict[str, int]]:
    """What a record says of the job's running text, and the most rows of its splits: `train`, `select` and `dev` of the
    recipe limit train, valid and test.
    """
    text, recipe = job.data, job.recipe
    about = text.describe() | {"task": text.name, "sha256": text.sha256}
    about.pop("pieces", None)  # the rows that are used are counted in tokens
    most = {"train": recipe.train, "valid": recipe.select, "test": recipe.dev}
    return about, {split: count for split, count in most.items() if count is not None}


def train(job: Job) -> Outcome:
    """Pre-training in phases; the record gets the floors, the interval of the sentence order and where the model is."""
    asked = {**OPTIONS, **job.recipe.options}
    final = job.model.config.num_hidden_layers
    phases = [_Phase(*phase) for phase in asked["phases"] or [[final, 1.0, job.settings.lr]]]
    if phases[-1].layers != final:
        raise TrainingError(f"phases={phases!r} must end with the model's {final} layers.")

    def layers(count: int) -> None:
        job.model.config.num_hidden_layers = count

    outcome, steps = run_phases(
        job,
        [
            Phase(
                phase.share, phase.lr, dataclasses.replace(job.data, masked=phase.masked), partial(layers, phase.layers)
            )
            for phase in phases
        ],
    )
    if len(phases) > 1:
        job.extra["phases"] = [
            {"layers": phase.layers, "steps": count, "lr": phase.lr}
            | ({} if phase.masked == MASKED_SHARE else {"masked": phase.masked})
            for phase, count in zip(phases, steps)
        ]
    test = outcome.scores["test"]
    rows = job.data.rows("test", job.tokenizer, job.seed + len(phases) - 1)  # with the masks that were scored
    special, size = set(job.tokenizer.all_special_ids), len(job.tokenizer)
    asked_for = contexts((rows[k] for k in range(len(rows))), special, size)
    counts = Counts(job.data.splits["train"].ids, size, asked_for)
    job.extra["floors"] = floors(counts, (rows[k] for k in range(len(rows))), special)
    job.extra["sop_interval"] = interval(test["sop_accuracy"] / 100, len(rows))
    if int(os.environ.get("RANK", "0")) == 0:
        job.extra["weights"] = leave_model(job, models_folder() / f"{job.recipe.name}-{job.scale}-seed{job.seed}")
    return outcome


class _Phase(NamedTuple):
    """An entry of the option `phases`."""

    layers: int
    share: float
    lr: float
    masked: float = MASKED_SHARE


def interval(share: float, number: int) -> list[float]:
    """Wilson's 95 % interval of a share of `number` rows, in per cent."""
    z = 1.959964
    middle = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z * math.sqrt(share * (1 - share) / number + z * z / (4 * number * number)) / (1 + z * z / number)
    return [100 * (middle - half), 100 * (middle + half)]


def leave_model(job: Job, folder: Path) -> dict[str, Any]:
    """Writes model and tokenizer to a folder, whole or not at all; returns the weights' bytes and checksum."""
    with whole_folder(folder) as stage, quiet_transformers():
        job.model.save_pretrained(stage)
        job.tokenizer.save_pretrained(stage)
        weights = (stage / "model.safetensors").read_bytes()
    return {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}


METHODS: dict[str, Method] = {
    "pretrain_albert": Method(
        "an ALBERT pre-trained from nothing on masked tokens and sentence order",
        from_nothing,
        train,
        _OF_ALBERT,
        check,
        needs_model=False,
    ),
    "pretrain_mpobert": Method(
        "an MPOBERT made from the recipe's ALBERT and pre-trained further",
        partial(from_source, kind="mpobert"),
        train,
        _OF_MPOBERT,
        check,
        needs_model=False,
    ),
    "continue_albert": Method(
        "the recipe's ALBERT, pre-trained further",
        partial(from_source, kind="albert"),
        train,
        _OF_TEXT,
        check,
        needs_model=False,
    ),
}


# -- the recipes -----------------------------------------------------------------------------------------

_NOVELS = {"separator": "=== .* ==="}
_LAMB = Settings(batch_size=16, lr=1e-2, max_length=128, warmup=100, optimizer="lamb", epsilon=1e-6, eval_every=200)
_ADAMW = Settings(
    batch_size=32, lr=1e-3, betas=(0.9, 0.98), max_length=128, warmup=100, precision="bf16", eval_every=400
)
_TINY = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128, "embedding_size": 32,
         "num_hidden_layers": 4}  # fmt: skip
MINI_FACTORS = {"mpo_factors": PRESETS["mpobert-mini"]["mpo_factors"]}
_SMOKE = {"max_steps": 20, "train": 2000, "select": 32, "dev": 32, "warmup": 5, "eval_every": None}
# After 60 updates these two had the same loss, so both were tried again: the best of two remedies and of nothing, on
# rows that choose and with a seed that is not reported: `scripts/choose_settings.py figure-3`,
# results/mpobert_figure_3.json.
FIGURE_3_LONGER, FIGURE_3_TIMES = ("decomposed", "continued"), 4
# MPOBERT sections 4.1 and A.2.1: 10,000 steps of 4,096 rows, LAMB, 1e-6 to 1e-5, fp16, 2.5 % of warm-up.
_PAPER = Settings(
    max_steps=10_000, batch_size=4096, accumulation=32, lr=1e-5, warmup=0.025, optimizer="lamb", epsilon=1e-6,
    max_length=128, precision="fp16", eval_every=500,
)  # fmt: skip

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="albert-mini",
        about="The checkpoint albert-mini: twelve applications of one layer, from nothing.",
        text="english_novels",
        model="",
        method="pretrain_albert",
        options={"phases": [[3, 0.8, 1e-3, 0.4], [6, 0.12, 5e-4, 0.4], [12, 0.08, 5e-4]], **_NOVELS},
        settings=_ADAMW,
        scales={
            "smoke": {**_SMOKE, "options": {"shape": _TINY, "vocabulary": 2000, **_NOVELS}},
            "laptop": {"max_steps": 4000, "dev": 2000},
            "gpu": {"max_steps": 60_000, "batch_size": 256, "precision": "bf16", "dev": 2000, "eval_every": 2000},
        },
        seeds=(0,),
    ),
    Recipe(
        name="albert-mini-lamb",
        about="A tiny ALBERT from nothing but albert-mini's tokenizer, by the paper's optimizer: shows that LAMB runs.",
        text="english_novels",
        model="",
        method="pretrain_albert",
        options={"shape": _TINY, "tokenizer": "albert-mini", **_NOVELS},
        settings=_LAMB,
        scales={"smoke": _SMOKE},
        seeds=(0,),
    ),
    Recipe(
        name="mpobert-mini",
        about="The checkpoint mpobert-mini: 24 layers that share their central tensors, continued from albert-mini.",
        text="english_novels",
        model="albert-mini",
        method="pretrain_mpobert",
        options={"layers": 24, "init": "copy", "changes": MINI_FACTORS, **_NOVELS},
        settings=dataclasses.replace(_ADAMW, batch_size=16, lr=5e-4),
        scales={
            "smoke": {**_SMOKE, "options": {"layers": 13, "init": "copy", "changes": MINI_FACTORS, **_NOVELS}},
            "laptop": {"max_steps": 640, "dev": 2000, "warmup": 20, "eval_every": 80},
            "gpu": {"max_steps": 60_000, "batch_size": 256, "precision": "bf16", "dev": 2000, "eval_every": 2000},
        },
        seeds=(0,),
    ),
    *(
        Recipe(
            name=f"fig3-{name}" + ("-longer" if times > 1 else ""),
            about=f"MPOBERT Figure 3, small: {about}, twelve layers, pre-trained for some steps"
            + (", four times as many." if times > 1 else "."),
            text="english_novels",
            model="albert-mini",
            method=method,
            options={**options, **_NOVELS},
            settings=dataclasses.replace(_ADAMW, lr=lr),
            scales={
                "smoke": _SMOKE,
                "laptop": {
                    "max_steps": 60 * times,
                    "batch_size": 16,
                    "select": 100,
                    "dev": 300,
                    "warmup": 10,
                    "eval_every": 20,
                },
                "gpu": {"max_steps": 10_000 * times, "batch_size": 256, "eval_every": 500},
            },
        )
        for name, about, method, lr, options in (
            (
                "scratch",
                "MPOBERT from random numbers",
                "pretrain_mpobert",
                1e-3,
                {"layers": 12, "init": "scratch", "changes": MINI_FACTORS},
            ),
            (
                "decomposed",
                "MPOBERT from albert-mini's decomposition",
                "pretrain_mpobert",
                2e-4,
                {"layers": 12, "init": "copy", "changes": MINI_FACTORS},
            ),
            ("continued", "albert-mini itself, continued", "continue_albert", 2e-4, {}),
        )
        for times in ((1, FIGURE_3_TIMES) if name in FIGURE_3_LONGER else (1,))
    ),
    Recipe(
        name="fig3-untouched",
        about="MPOBERT Figure 3, small: albert-mini itself as it is (one update at a rate of next to nothing).",
        text="english_novels",
        model="albert-mini",
        method="continue_albert",
        options=_NOVELS,
        settings=dataclasses.replace(_ADAMW, lr=1e-12, max_steps=1, warmup=0, eval_every=None),
        scales={
            "smoke": {**_SMOKE, "max_steps": 1, "warmup": 0},
            "laptop": {"batch_size": 16, "select": 100, "dev": 300},
            "gpu": {"batch_size": 256},
        },
    ),
    *(
        Recipe(
            name=name,
            about=f"{name.upper()} as in the paper, {layers} layers from {model}, on a text of yours (not run yet).",
            text="pretraining",
            model=model,
            method="pretrain_mpobert",
            options={"layers": layers, "init": "algorithm1", "changes": changes},
            settings=_PAPER,
            scales={"paper": {}},
            seeds=(0,),
        )
        for name, layers, model, changes in (
            ("mpobert-12", 12, "albert-base-v2", {"adapter_rank": 8}),
            ("mpobert-24", 24, "albert-large-v2", {}),
            ("mpobert-48", 48, "albert-large-v2", {}),
            ("mpobert-48plus", 48, "albert-large-v2", {"num_central_groups": 3}),
        )
    ),
)
