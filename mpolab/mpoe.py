"""What MPOE (Gao et al. 2022) compares, at the size of a laptop: Tables 1, 3 and 4 as methods and recipes.

A recipe takes gpt2-mini, gives it experts (or makes it wider, or leaves it dense), trains it on further text and scores
held-out perplexity and continuations. Its record has the parameters, and what the experts did while they trained:
load, entropy of the router, distances. Notebook 04, "What the claims are worth".

Items: mpoe-tab1, mpoe-tab3, mpoe-tab4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from . import continuations, segments
from .corpora import SEPARATOR
from .errors import TrainingError, unknown
from .experts import DenseExperts, Experts
from .features import collator
from .gradient_mask import GradientDropout, central_tensors
from .jobs import Job, Method, Recipe
from .moe import KINDS, STYLES, to_moe
from .moe_layer import MoELayer
from .mpo import MPO
from .prepare import copied
from .pretrained import load_pretrained
from .routed_count import RoutedCount
from .routing_watch import RoutingWatch
from .settings import Settings
from .tangent import auxiliary_share
from .training import Outcome, pretrain
from .widening import widen
from .writers import tokenize

OPTIONS: dict[str, Any] = {
    "kind": "mpoe",
    "experts": 8,
    "top_k": 1,
    "mask_probability": 0.25,
    "mask_at": "centre",
    "plan": None,
    "router": {},
    "neurons": None,
    "snapshots": 4,
    "texts": 100,
    "reach": False,
    "separator": SEPARATOR,
}
"""kind: "dense", "wide", or one of `moe.KINDS`. experts, top_k, plan, router: see `to_moe`; mask_probability: of kind
"mpoe", and mask_at where its mask is (MASKED_AT). neurons: of each block, of kind "wide". snapshots: how often in a
training the experts are looked at. texts: how many held-out beginnings are continued; 0 = none. reach: of experts of
their own, which share of what they learned auxiliary tensors would reach (see `shares`). separator: see `load_text`."""

MASKED_AT = ("centre", "before", "after")
"""The gradient of the central tensors, a step at a time; or, entry by entry, that of the activation's input or output,
which MPOE's section 3.2 compares it with."""

WIDE = 1690
"""Neurons of a block of gpt2-mini as large as MPOE's eight experts: 385 parameters a neuron."""

WIDE_GPT2 = 4643
"""The same of GPT-2's: 1,537 parameters a neuron."""

STYLE = STYLES["gpt2"]  # of the factors, as `to_moe` chooses them for a GPT-2
TENSORS = 5
"""Of an expert's matrix, as `to_moe` decomposes it without a plan."""

GIVEN, WRITTEN = 16, 32
"""Tokens of a beginning and of its continuation."""


def check(job: Job) -> None:
    """Raises UnknownNameError or TrainingError for options that cannot be meant."""
    asked = {**OPTIONS, **job.recipe.options}
    kinds = ("dense", "wide", *KINDS)
    if asked["kind"] not in kinds:
        raise unknown("kind", asked["kind"], kinds)
    if asked["mask_at"] not in MASKED_AT:
        raise unknown("mask_at", asked["mask_at"], MASKED_AT)
    if asked["mask_at"] != "centre" and asked["kind"] != "mpoe":
        raise TrainingError(f"mask_at={asked['mask_at']!r} belongs to kind='mpoe', and the kind is {asked['kind']!r}.")
    if (asked["kind"] == "wide") != (asked["neurons"] is not None):
        raise TrainingError(f"neurons={asked['neurons']!r}: the number belongs to kind='wide', and to no other.")
    if asked["snapshots"] < 1:
        raise TrainingError(f"snapshots={asked['snapshots']}: at least one, which is taken at the end.")
    if asked["kind"] in KINDS and job.settings.max_steps is None:
        raise TrainingError("experts are looked at so often in max_steps, and the recipe gives epochs.")


def prepare(job: Job) -> None:
    """The recipe's model with its experts, and the text as windows of tokens."""
    load(job, "causal-lm")
    tokenize(job, segments.held_out(job.data.splits))


def load(job: Job, head: str) -> None:
    """The recipe's model, with that head and its experts, into the job; the record gets how many parameters it had and
    has.
    """
    asked = {**OPTIONS, **job.recipe.options}
    found = load_pretrained(job.recipe.model, head=head, seed=job.seed)
    if found.tokenizer is None:
        raise TrainingError(f"the model {job.recipe.model!r} ({found.origin}) has no tokenizer: it reads no text.")
    job.pretrained, job.tokenizer, job.model = found, found.tokenizer, found.model
    dense = _count(job.model)
    if asked["kind"] == "wide":
        widen(job.model, asked["neurons"], job.seed)
    elif asked["kind"] != "dense":
        at_centre = asked["kind"] == "mpoe" and asked["mask_at"] == "centre"
        masked = {"mask_probability": asked["mask_probability"]} if at_centre else {}
        plan = {"plan": asked["plan"]} if asked["kind"] == "mpoe" else {}
        to_moe(
            job.model, asked["kind"], asked["experts"], asked["top_k"], seed=job.seed, **masked, **plan,
            **asked["router"],
        )  # fmt: skip
        if asked["mask_at"] != "centre":
            for module in job.model.modules():
                if isinstance(module, Experts):
                    setattr(module, asked["mask_at"], GradientDropout(asked["mask_probability"]))
    job.extra["parameters"] = {"dense": dense, "here": _count(job.model)}


def _count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def train(job: Job) -> Outcome:
    """The training; the record gets the experts' snapshots, how far the centres went, and the continuations."""
    asked = {**OPTIONS, **job.recipe.options}
    matrices = _matrices(job.model) if asked["reach"] else {}
    outcome = followed(job, pretrain, _seen)
    if matrices:
        job.extra["auxiliary_share"] = shares(matrices, _matrices(job.model), TENSORS, job.seed)
    if asked["texts"]:
        job.extra["continuations"] = continuations.score(
            job.model, job.tokenizer, job.data.splits["test"], asked["texts"], GIVEN, WRITTEN, job.seed
        )
        outcome.scores["test"] |= job.extra["continuations"]["scores"]
    return outcome


def followed(job: Job, fit: Callable[..., Outcome], seen: Callable[[Job], Mapping[str, torch.Tensor]]) -> Outcome:
    """One training of the job's model by `fit` (`pretrain`, `fine_tune`); the record gets the experts' snapshots, on
    the batch that `seen` makes, how many of their updates fell out, and how far the centres went:
    ||change|| / ||centre||.
    """
    asked = {**OPTIONS, **job.recipe.options}
    watch = None
    if asked["kind"] in KINDS:
        watch = RoutingWatch(seen(job), max(1, job.settings.max_steps // asked["snapshots"]), job.out)
    before = {name: tensor.detach().clone() for name, tensor in central_tensors(job.model).items()}
    count = RoutedCount(job.out)
    outcome = fit(
        job.model, job.tokenizer, job.data, job.settings, job.seed, job.out, progress=job.progress,
        callbacks=() if watch is None else (watch, count),
    )  # fmt: skip
    if watch is not None:
        job.extra["routing"] = watch.snapshots
    if asked["kind"] == "mpoe":
        job.extra["updates"] = count.to_dict()
    if before:
        job.extra["centres_moved"] = {
            name: float((tensor.detach() - before[name]).norm() / before[name].norm())
            for name, tensor in central_tensors(job.model).items()
        }
    return outcome


def _matrices(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """{"layer 0 up": (experts, out, in)} of the first and the last layer with experts of their own, copied."""
    layers = [module.experts for module in model.modules() if isinstance(module, MoELayer)]
    ends = {number: layers[number] for number in (0, len(layers) - 1)} if layers else {}
    return {
        f"layer {number} {name}": matrix.weight.detach().clone()
        for number, experts in ends.items()
        if isinstance(experts, DenseExperts)
        for name, matrix in experts.matrices.items()
    }


def shares(
    before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], n: int, seed: int
) -> dict[str, dict[str, float]]:
    """Of each matrix: which share of the experts' changes the auxiliary tensors of the matrix they began with reach.

    {"share": mean over three experts, "random": of a change of independent numbers, "numbers": auxiliary numbers by
    those of W, "moved": mean ||change|| / ||W||}. Were experts to differ in what auxiliary tensors say, share would be
    near 1. `tangent.auxiliary_share`.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, starts in before.items():
        W = starts[0].double()
        mpo = MPO.decompose(W, n=n, style=STYLE)
        changes = [(trained - start).double() for start, trained in zip(starts[:3], after[name])]
        random = torch.randn(W.shape, generator=generator, dtype=torch.float64)
        auxiliary = sum(core.numel() for k, core in enumerate(mpo.cores) if k != mpo.plan.centre)
        found[name] = {
            "share": sum(auxiliary_share(mpo, change) for change in changes) / len(changes),
            "random": auxiliary_share(mpo, random),
            "numbers": auxiliary / W.numel(),
            "moved": sum(float(change.norm() / W.norm()) for change in changes) / len(changes),
        }
    return found


def _seen(job: Job) -> dict[str, torch.Tensor]:
    """Sixteen held-out rows, or as many as there are: on them the experts are looked at."""
    rows = job.data.rows("valid", job.tokenizer, job.seed)
    pads = copied(job.tokenizer, job.model.config)
    return collator(pads, True)([rows[k] for k in range(min(16, len(rows)))])


METHODS: dict[str, Method] = {
    "experts": Method(
        "a decoder with experts (or wider, or as it is), trained further on text", prepare, train, tuple(OPTIONS),
        check, needs_model=False,
    )
}  # fmt: skip

# -- the recipes -----------------------------------------------------------------------------------------

_MPOE = {"kind": "mpoe", "experts": 8, "mask_probability": 0.25}
_OWN = {"kind": "switch", "router": {"router": "mpoe"}}  # dense experts behind MPOE's router
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    # Table 1: the rows of GPT-2
    "dense": ("the dense model", {"kind": "dense"}),
    "moe": ("eight experts of their own, noisy top-2", {"kind": "moe", "experts": 8, "top_k": 2}),
    "switch": ("eight experts of their own, top-1 with a capacity", {"kind": "switch", "experts": 8}),
    "moefication": (
        "the neurons in eight clusters, two of which compute",
        {"kind": "moefication", "experts": 8, "top_k": 2},
    ),
    "mpoe": ("MPOE: eight experts with one centre, mask 0.25", _MPOE),
    "mpoe-16": ("MPOE++: sixteen experts with one centre, mask 0.25", {**_MPOE, "experts": 16}),
    # Table 3: what is left out, and the mask's probability
    "without-sharing": (
        "MPOE's routing, eight experts with matrices of their own",
        {**_OWN, "experts": 8, "reach": True},
    ),
    "mask-0": ("MPOE without the gradient mask", {**_MPOE, "mask_probability": 0.0}),
    "mask-0.5": ("MPOE, mask 0.5", {**_MPOE, "mask_probability": 0.5}),
    "mask-0.75": ("MPOE, mask 0.75", {**_MPOE, "mask_probability": 0.75}),
    "mask-1": ("MPOE with frozen centres", {**_MPOE, "mask_probability": 1.0}),
    # Section 3.2: masks elsewhere
    "mask-before": ("MPOE, the gradient of the activation's input masked, 0.25", {**_MPOE, "mask_at": "before"}),
    "mask-after": ("MPOE, the gradient of the activation's output masked, 0.25", {**_MPOE, "mask_at": "after"}),
    # Table 4: m, the number of tensors (5 is "mpoe")
    "m-3": ("MPOE, three tensors a matrix", {**_MPOE, "plan": 3}),
    "m-7": ("MPOE, seven tensors a matrix", {**_MPOE, "plan": 7}),
    "m-9": ("MPOE, nine tensors a matrix", {**_MPOE, "plan": 9}),
    # at MPOE's parameters
    "two-experts": ("MPOE's routing, two experts of their own: about MPOE's parameters", {**_OWN, "experts": 2}),
    "wide": ("the dense model with more neurons: MPOE's parameters", {"kind": "wide", "neurons": WIDE}),
}
"""End of a recipe's name -> (what it is, options)."""

# The rate is the best of 5e-4, 1e-3 and 2e-3 for the dense model and for MPOE, and for MoE and Switch, on rows that
# choose, with a seed that is not reported: `scripts/choose_settings.py experts` and `experts-rivals`,
# results/experts_learning_rates.json and results/experts_rivals.json.
_TRAIN = Settings(
    max_steps=100, batch_size=8, lr=1e-3, betas=(0.9, 0.95), max_length=128, warmup=10, precision="bf16", eval_every=50
)

# After 100 updates MPOE was behind the dense model and of the rest little could be told, so these were tried again: the
# best of two remedies for the dense model, for MPOE, for other numbers of its tensors and of experts, and for experts
# of their own, on rows that choose and with a seed that is not reported. The wider dense model has the dense one's.
# `scripts/choose_settings.py experts-longer`, `experts-tensors` and `experts-without-sharing`,
# results/experts_remedies.json, experts_tensors.json and experts_without_sharing.json.
_UNMASKED = {**_MPOE, "mask_probability": 0.0}
LONGER: dict[str, tuple[str, dict[str, Any]]] = {
    "dense-longer": ("the dense model, four times the updates", {"kind": "dense"}),
    "wide-longer": (
        "the dense model with more neurons: MPOE's parameters, four times the updates",
        VARIANTS["wide"][1],
    ),
    "mpoe-longer": ("MPOE without the gradient mask, four times the updates", _UNMASKED),
    "masked-longer": ("MPOE, mask 0.25, four times the updates", _MPOE),
    "mpoe-16-longer": (
        "MPOE++: sixteen experts with one centre, no gradient mask, four times the updates",
        {**_UNMASKED, "experts": 16},
    ),
    "without-sharing-longer": (
        "MPOE's routing, eight experts with matrices of their own, four times the updates",
        {**_OWN, "experts": 8, "reach": True},
    ),
    **{
        f"m-{m}-longer": (
            f"MPOE, {m} tensors a matrix, no gradient mask, four times the updates",
            {**_UNMASKED, "plan": m},
        )
        for m in (3, 7, 9)
    },
}
"""End of a recipe's name -> (what it is, options), with four times the updates of VARIANTS."""

FASTER: dict[str, tuple[str, dict[str, Any]]] = {
    "without-sharing-faster": (
        "MPOE's routing, eight experts with matrices of their own, three times the rate",
        VARIANTS["without-sharing"][1],
    ),
}
"""End of a recipe's name -> (what it is, options), with three times the rate of VARIANTS: experts go further. The
rate was not chosen by anything; these runs are read only for how far experts go, and where."""


# Table 1 asks for the text that models write on two more corpora. Learning rates are WikiText's: all have the same.
TEXTS: dict[str, tuple[str, str, str]] = {
    "news": ("EMNLP2017 News", "emnlp2017-news-valid", "emnlp2017-news"),
    "reviews": ("IMDB", "imdb-5k", "imdb"),
}
"""Middle of a recipe's name -> (the corpus, what stands for it at the size of a laptop, the whole)."""

WRITERS = ("dense", "moe", "switch", "mpoe", "mpoe-16", "mask-0", "without-sharing")
"""Of VARIANTS, those that also write in the manner of TEXTS."""

# What MPOE gains in BLEU over the other two on reviews could not be told after 100 updates, so these three were tried
# again, on rows that choose and with a seed that is not reported: `scripts/choose_settings.py experts-reviews`,
# results/experts_reviews.json.
REVIEWS_LONGER: dict[str, str] = {
    "mpoe": "mask-0", "moe": "moe", "switch": "switch", "without-sharing": "without-sharing",
}  # fmt: skip
"""End of a recipe's name, before "-longer" -> the entry of VARIANTS that has four times the updates."""

AS_PRINTED = ("gpu",)
"""Scales with the paper's GPT-2 or T5 and all rows."""

CONTINUED = 300
"""Held-out beginnings of TEXTS that are continued: BLEU-2 of a hundred varies by one to two points with the seed."""


def _scales(
    name: str, options: dict[str, Any], whole: str = "wikitext-2", longer: bool = False
) -> dict[str, dict[str, Any]]:
    """whole: the text of scale gpu. longer: four times the updates, as what is in LONGER has."""
    times = 4 if longer or name in LONGER else 1
    gpu = {"model": "gpt2", "text": whole, "max_steps": 2000 * times, "batch_size": 32, "lr": 1e-4,
           "max_length": 512, "eval_every": 500}  # fmt: skip
    if options["kind"] == "wide":
        gpu["options"] = {**options, "neurons": WIDE_GPT2}
    laptop = {"select": 100, "dev": 300} | ({"max_steps": 100 * times} if times > 1 else {})
    if name in FASTER:
        laptop["lr"], gpu["lr"] = 3 * _TRAIN.lr, 3 * gpu["lr"]
    smoke = {"max_steps": 4, "batch_size": 4, "train": 200, "select": 16, "dev": 16, "eval_every": None,
             "options": {**options, "texts": 8}}  # fmt: skip
    return {"smoke": smoke, "laptop": laptop, "gpu": gpu}


def _recipe(name: str, about: str, text: str, options: dict[str, Any], scales: dict[str, dict[str, Any]]) -> Recipe:
    return Recipe(
        name=f"experts-{name}", about=about, text=text, model="gpt2-mini", method="experts", options=options,
        settings=_TRAIN, scales=scales, as_printed=AS_PRINTED,
    )  # fmt: skip


def _writes(corpus: str, variant: str, longer: str = "") -> Recipe:
    """Of TEXTS and WRITERS. longer: the beginning of its name, where it has four times the updates."""
    (title, small, whole), (about, options) = TEXTS[corpus], VARIANTS[variant]
    options = {**options, "texts": CONTINUED}
    about = f"MPOE Table 1 on {title}, small: {about}" + (", four times the updates." if longer else ".")
    name = f"{corpus}-{longer}-longer" if longer else f"{corpus}-{variant}"
    return _recipe(name, about, small, options, _scales(variant, options, whole, bool(longer)))


RECIPES: tuple[Recipe, ...] = (
    *(
        _recipe(
            name, f"MPOE Tables 1, 3 and 4 on WikiText, small: {about}.", "wikitext-103-head", options,
            _scales(name, options),
        )
        for name, (about, options) in (VARIANTS | LONGER | FASTER).items()
    ),
    *(_writes(corpus, variant) for corpus in TEXTS for variant in WRITERS),
    *(_writes("reviews", variant, name) for name, variant in REVIEWS_LONGER.items()),
)
